// The sound of a file as frames of one format: decoded, perhaps normalised, resampled. What is
// missing in it (clock.h), does not decode or is no number is silence, so that lips, length and
// sound count the same samples. Two channels that are each other's opposites do not cancel when
// they become one (samples.h). Not thread-safe; may move between threads.
#ifndef MEDIA_SOUND_H
#define MEDIA_SOUND_H

#include "base/base.h"
#include "base/cancel.h"

#include <libavutil/frame.h>
#include <libavutil/samplefmt.h>

struct sound;

struct sound_params {
    int rate_hz;                // 0 = the file's, or the nearest one that AAC knows
    int channels;               // 1 or 2; 0 = the file's, at most two
    enum AVSampleFormat format; // AV_SAMPLE_FMT_FLT or FLTP
    float gain;                 // of what was stored as float, 0 = 1: 1 / peak keeps it below 0 dB
    bool loudnorm;
    const struct cancel *cancel;
};

// A stretch that is silence because it is missing, or damaged.
struct sound_hole {
    double at_s, length_s;
};
#define SOUND_HOLES 8 // are kept

// What became known of a sound so far; all of it after KB_EOF.
struct sound_facts {
    int n_holes; // the first SOUND_HOLES of them are in holes
    struct sound_hole holes[SOUND_HOLES];
    double missing_s; // in all holes
    int changes;      // of rate, channels or format on the way
    int64_t n_broken; // times that something did not decode, with or without a hole
    float peak;       // of float samples: above 1 is above 0 dB. 0 if there were none. From
                      // mel_sound(): of the speech, without clicks.
    int64_t n_bad;    // samples that were no numbers
};

// path: any file with sound. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE.
enum kb_code sound_open(struct sound **ret, const char *path, const struct sound_params *params,
                        struct kb_error *err);
int sound_rate_hz(const struct sound *s);
int sound_channels(const struct sound *s);
int64_t sound_duration_us(const struct sound *s); // from the header, 0 if unknown
const struct sound_facts *sound_facts(const struct sound *s);
// Fills frame with the next samples; the first is at time 0 of the file, silence stands in for a
// later start. av_frame_unref() it. KB_EOF at the end.
enum kb_code sound_next(struct sound *s, AVFrame *frame, struct kb_error *err);
void sound_close(struct sound **s);

#endif
