// The sound of a file as frames of one format: decoded, perhaps normalised, resampled.
// Not thread-safe; may move between threads.
#ifndef MEDIA_SOUND_H
#define MEDIA_SOUND_H

#include "base/base.h"
#include "base/cancel.h"

#include <libavutil/frame.h>
#include <libavutil/samplefmt.h>

struct sound;

struct sound_params {
    int rate_hz;  // 0 = the file's, or the nearest one that AAC knows
    int channels; // 1 or 2; 0 = the file's, at most two
    enum AVSampleFormat format;
    bool loudnorm;
    const struct cancel *cancel;
};

// path: any file with sound. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code sound_open(struct sound **ret, const char *path, const struct sound_params *params,
                        struct kb_error *err);
int sound_rate_hz(const struct sound *s);
int sound_channels(const struct sound *s);
int64_t sound_duration_us(const struct sound *s); // from the header, 0 if unknown
// Fills frame with the next samples; the first is at time 0 of the file, silence stands in for a
// later start. av_frame_unref() it. KB_EOF at the end.
enum kb_code sound_next(struct sound *s, AVFrame *frame, struct kb_error *err);
void sound_close(struct sound **s);

#endif
