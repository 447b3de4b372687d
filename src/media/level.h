// How loud a speech of 16 kHz is, its pauses left out. Not thread-safe.
#ifndef MEDIA_LEVEL_H
#define MEDIA_LEVEL_H

#include <stdint.h>

#define LEVEL_BINS 512

// All-zero is new.
struct level {
    float peak;    // largest magnitude
    double energy; // of the block that is being fed, of n samples
    int n;
    int64_t blocks;
    struct level_bin {
        int64_t blocks;
        double square;  // sum of their mean squares
    } bins[LEVEL_BINS]; // by loudness
};

void level_feed(struct level *l, const float *samples, int n);
// Mean square of what stands out, in dB below full scale; a knock or two does not count. -INFINITY:
// nothing but silence was fed.
double level_db(const struct level *l);
double level_peak_db(const struct level *l); // -INFINITY likewise

#endif
