// A sound that never ends: a file again and again, its end blended into its beginning. Internal to
// media/. Not thread-safe; may move between threads.
#ifndef MEDIA_REPEAT_H
#define MEDIA_REPEAT_H

#include "media/sound.h"

struct repeat;

// params: as sound_open(), with rate_hz, two channels and AV_SAMPLE_FMT_FLTP; path is borrowed.
enum kb_code repeat_open(struct repeat **ret, const char *path, const struct sound_params *params,
                         struct kb_error *err);
// The next samples into frame, which has room for `most` of them; its nb_samples says how many.
// Never KB_EOF; a file without any sample is KB_BAD_INPUT.
enum kb_code repeat_next(struct repeat *r, AVFrame *frame, int most, struct kb_error *err);
void repeat_close(struct repeat **r);

#endif
