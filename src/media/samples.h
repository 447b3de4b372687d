// What is done to decoded samples one by one. Internal to media/. Thread-safe (a struct mono: one
// thread at a time).
#ifndef MEDIA_SAMPLES_H
#define MEDIA_SAMPLES_H

#include <stdbool.h>

#include <libavutil/frame.h>

// Float formats can hold anything; other frames are left alone. What is no number, or larger than
// any scale that is in use (2^32), becomes 0 and is counted in *n_bad; the rest is multiplied by
// gain. *peak: the largest magnitude before the gain. 0 or FFmpeg's error.
int samples_mend(AVFrame *f, float gain, float *peak, int64_t *n_bad);

// Silence of the same format, n samples. NULL: out of memory.
AVFrame *samples_silence(int format, int rate_hz, const AVChannelLayout *layout, int n);

// Drop the first n samples of a frame that has more. 0 or FFmpeg's error.
int samples_cut(AVFrame *f, int n);

// Mixes two channels to one that cannot cancel: their mean, as everybody's, but where they are each
// other's opposites the louder one of the two. Goes from one to the other in 30 ms. All-zero is
// new.
struct mono {
    double left, right, mean; // energy, of late
    float part;               // of the louder one in the mix
    int chosen;
    bool begun;
};
// Stereo (AV_SAMPLE_FMT_FLT or FLTP) to mono of the same format. 0 or FFmpeg's error.
int mono_mix(struct mono *m, AVFrame *f);

#endif
