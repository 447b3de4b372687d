// Reads a video ahead in a thread of its own, so that decoding goes on while the caller is busy.
// Not thread-safe.
#ifndef MEDIA_AHEAD_H
#define MEDIA_AHEAD_H

#include "media/reader.h"

struct ahead;

// Read at most n_frames (>= 1) ahead. The reader stays the caller's, who may not touch it until
// ahead_stop(); reader_info() is fine. KB_NO_SPACE: no thread could be started.
enum kb_code ahead_start(struct ahead **ret, struct reader *reader, int n_frames,
                         struct kb_error *err);

// As reader_next().
enum kb_code ahead_next(struct ahead *a, AVFrame **ret, struct kb_error *err);

// Frames that were read and not taken are dropped. NULL is fine; sets *a to NULL.
void ahead_stop(struct ahead **a);

#endif
