// Decodes the sound of a file to 16 kHz mono float samples, in pieces.
// Not thread-safe; may move between threads.
#ifndef MEDIA_AUDIO_H
#define MEDIA_AUDIO_H

#include "base/base.h"
#include "base/cancel.h"

struct audio_reader;
struct sound_facts;

struct audio_params {
    int rate_hz;   // 0 = 16000
    bool loudnorm; // EBU R128 normalisation to -16 LUFS (libavfilter's loudnorm)
    const struct cancel *cancel;
};

// path: any file FFmpeg opens that has an audio stream (the best one is taken).
// KB_NOT_FOUND, KB_BAD_INPUT (no audio stream: says so), KB_NO_SPACE.
enum kb_code audio_open(struct audio_reader **ret, const char *path,
                        const struct audio_params *params, struct kb_error *err);
// Up to capacity samples; *ret_n > 0 on KB_OK. KB_EOF at the end. In -1..1, but where a decoder
// overshoots or a float file holds more. The first sample is at the first time stamp of the file (a
// later start is filled with silence, and so is what is missing: sound.h).
enum kb_code audio_read(struct audio_reader *a, float *samples, int capacity, int *ret_n,
                        struct kb_error *err);
// What is known of the sound so far; all of it after KB_EOF.
const struct sound_facts *audio_facts(const struct audio_reader *a);
int64_t audio_duration_us(const struct audio_reader *a); // from the header, 0 if unknown
void audio_close(struct audio_reader **a);

#endif
