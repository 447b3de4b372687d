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

// What a request is to bring: files of these sizes (-1 = not known yet), and letters to be spoken.
#define UPLOAD_CHECK_BYTES (16 << 20) // how often the disk is looked at while bytes come

#define UPLOAD_WISH_FILES 2
struct upload_wish {
    int n_files;
    int64_t sizes[UPLOAD_WISH_FILES];
    int64_t letters;
};
// The one rule for all that takes or makes files: uploads, forms, addresses, speeches, /easy. The
// files of a client, and of all, that have not ended coming are counted; the disk must hold what is
// wished and the speeches that wait, and keep --min-free. KB_BAD_INPUT: larger than --max-upload;
// KB_UNAVAILABLE: too many; KB_NO_SPACE.
enum kb_code upload_allowed(const struct server *s, struct store *store, const char *client,
                            const struct upload_wish *wish, struct kb_error *err);
// The same for the client of a request. False: answered 413, 429, 507.
bool upload_admit(struct request *r, const struct upload_wish *wish);
// Of speech: the slowest voices say a Chinese letter in a quarter of a second, 22,050 Hz, 16 bits.
#define SPEECH_BYTES_A_LETTER 13000
// Do that many more bytes leave keep_bytes of the folder's disk free? KB_NO_SPACE: no. Any thread.
enum kb_code upload_check_room(const char *folder, int64_t keep_bytes, int64_t bytes,
                               struct kb_error *err);
// The same of the data folder and --min-free. False: answered 507.
bool upload_has_room(struct request *r, int64_t bytes);
// The limit is passed: answers 413.
void upload_too_large(struct request *r);
// What a failed asset_upload_… means in HTTP. too_long: the status for KB_BAD_INPUT.
void upload_reply_error(struct request *r, const struct kb_error *err, int too_long);

// Throw away an asset that nobody can know of, as it was not answered. Off this thread and later
// where the database is locked now, or there is no store (NULL).
void upload_forget(struct server *s, struct store *store, const char *id);
// Let go of an upload whose client is gone: keep what arrived, or throw the asset away. Borrows a
// store, as there is no request any more; *u is released even where there is none.
void upload_abandon(struct server *s, struct asset_upload **u, const char *id, bool keep);

#endif
