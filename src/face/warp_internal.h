// The inner loop of warp_crop(), in C and for AVX2, for the test that compares them.
#ifndef FACE_WARP_INTERNAL_H
#define FACE_WARP_INTERNAL_H

#include <stdint.h>

struct warp_plane {
    const uint8_t *data;
    int stride, width, height;
    float x_min, x_max, y_min, y_max; // outside this every sample is `outside`
    float outside;
};

// Samples at (x + i * dx, y + i * dy), pixel centres at integer + 0.5.
struct warp_line {
    float x, y, dx, dy;
};

// Add n bilinear samples, 0..255, to sum.
typedef void warp_add_row_fn(const struct warp_plane *p, const struct warp_line *l, int n,
                             float *sum);
warp_add_row_fn warp_add_row_c;
#ifdef __x86_64__
warp_add_row_fn warp_add_row_avx2; // width >= 4, height >= 2, stride * height < 2^31
#endif

#endif
