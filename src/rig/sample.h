// One row of cubic samples of a plane of bytes: the innermost loop of the rig.
// Thread-safe (no state).
#ifndef RIG_SAMPLE_H
#define RIG_SAMPLE_H

#include "base/base.h"

struct plane {
    const uint8_t *data;
    ptrdiff_t stride;
    int width, height; // at least 4
};

// ret[i] = the plane at (x[i], y[i]), whole numbers being pixel centres, by Keys' cubic convolution
// (1981) in steps of 1/64 pixel, weights of 1/64. Positions nearer to the edge than the four by
// four neighbours allow take the nearest place where they do not. Not a number: the first pixel.
typedef void sample_row_fn(const struct plane *p, const float *x, const float *y, int n,
                           uint8_t *ret);
sample_row_fn sample_row_c;
#ifdef __x86_64__
sample_row_fn sample_row_avx2; // planes under 2^31 bytes
#endif
// The fastest that this processor and this plane allow; all give the same bytes.
sample_row_fn *sample_row_best(const struct plane *p);

#endif
