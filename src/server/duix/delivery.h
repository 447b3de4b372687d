// Results of the Duix engine's API in the folder that its clients share (docs/easy.md).
// Threads: as the store they are given (store/store.h).
#ifndef SERVER_DUIX_DELIVERY_H
#define SERVER_DUIX_DELIVERY_H

#include "server/duix/codes.h"

// The name of a result: "<code>-r.mp4". A code of other letters than A-Z a-z 0-9 _ - has them as
// %XX, so that no code is a path. A new string.
char *easy_result_name(const char *code);
// Put the result of e->job as temp/<name> into the folder share, as a hard link where that can be.
enum kb_code easy_deliver(struct store *s, const char *share, const struct easy *e,
                          struct kb_error *err);

#endif
