// Results of the Duix engine's API in the folder that its clients share (docs/easy.md).
// Threads: as the store they are given (store/store.h).
#ifndef SERVER_DUIX_DELIVERY_H
#define SERVER_DUIX_DELIVERY_H

#include "base/cancel.h"
#include "server/duix/codes.h"

// The name of a result: "<code>-r.mp4". A code of other letters than A-Z a-z 0-9 _ - has them as
// %XX, so that no code is a path. A new string.
char *easy_result_name(const char *code);
// Put a copy of the result of e->job as temp/<name> into the folder share: a copy, because a client
// can change what lies there (where the disk can, both share their blocks until then). temp must be
// a folder, no link. Long for large results. KB_NOT_FOUND: the result was deleted; all else is to
// be tried again.
enum kb_code easy_deliver(struct store *s, const char *share, const struct easy *e,
                          const struct cancel *cancel, struct kb_error *err);

#endif
