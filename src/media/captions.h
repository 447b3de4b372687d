// Text subtitles in the film that is being made: timed text in mp4 and mov, WebVTT in webm.
// Internal to media/. Not thread-safe.
#ifndef MEDIA_CAPTIONS_H
#define MEDIA_CAPTIONS_H

#include "media/extras.h"
#include "media/mux.h"

struct captions;

// Adds a stream for each of n tracks, before mux_start(). Tracks are borrowed; the times in them
// are those of the output, in order and apart from each other. KB_NO_SPACE.
enum kb_code captions_open(struct captions **ret, struct mux *mux,
                           const struct subtitle_track *tracks, int n, struct kb_error *err);
// Write those that begin before until_us.
enum kb_code captions_write(struct captions *c, int64_t until_us, struct kb_error *err);
void captions_close(struct captions **c); // NULL is fine

#endif
