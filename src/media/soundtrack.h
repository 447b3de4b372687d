// The sound of a file on its way into an mp4: AAC packets as they are, or encoded anew.
// Not thread-safe; may move between threads.
#ifndef MEDIA_SOUNDTRACK_H
#define MEDIA_SOUNDTRACK_H

#include "base/base.h"
#include "media/mux.h"

struct soundtrack;

// Adds a stream to mux, which must not have been started. mux must outlive the soundtrack.
enum kb_code soundtrack_open(struct soundtrack **ret, struct mux *mux, const char *path,
                             bool loudnorm, struct kb_error *err);
// Write what ends at or before until_us.
enum kb_code soundtrack_write(struct soundtrack *t, int64_t until_us, struct kb_error *err);
// Write the rest up to end_us.
enum kb_code soundtrack_finish(struct soundtrack *t, int64_t end_us, struct kb_error *err);
void soundtrack_close(struct soundtrack **t);

#endif
