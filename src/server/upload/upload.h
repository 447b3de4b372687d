// What both ways of uploading (tus.c, form.c) ask before they take bytes.
// Threads: on the network thread of the request.
#ifndef SERVER_UPLOAD_UPLOAD_H
#define SERVER_UPLOAD_UPLOAD_H

#include "asset/upload.h"
#include "http/http.h"

struct server;
struct store;

// The largest upload, bytes.
int64_t upload_limit(const struct server *s);

// May this client begin another upload of size_bytes (-1 = unknown)? False: answered 413, 429, 507.
bool upload_admit(struct request *r, int64_t size_bytes);
// Do that many more bytes leave enough of the disk free? False: answered 507.
bool upload_has_room(struct request *r, int64_t bytes);
// The limit is passed: answers 413.
void upload_too_large(struct request *r);
// What a failed asset_upload_… means in HTTP. too_long: the status for KB_BAD_INPUT.
void upload_reply_error(struct request *r, const struct kb_error *err, int too_long);

// Throw away an asset that nobody can know of, as it was not answered. Off this thread and later
// where the database is locked now.
void upload_forget(struct server *s, struct store *store, const char *id);
// Let go of an upload whose client is gone: keep what arrived, or throw the asset away. Borrows a
// store, as there is no request any more.
void upload_abandon(struct server *s, struct asset_upload **u, const char *id, bool keep);

#endif
