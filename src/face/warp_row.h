// The inner loop of warp_crop(), in C and for AVX2. Internal to face/. Thread-safe (no state).
#ifndef FACE_WARP_ROW_H
#define FACE_WARP_ROW_H

#include "face/region.h"

// Pixel i of the row lies at (x + i * dx, y + i * dy) in frame pixels, centres at integer + 0.5.
struct warp_row {
    float x, y, dx, dy;
    float frame_w, frame_h; // positions outside 0 … frame_w, 0 … frame_h are not sampled
    float x_scale, y_scale; // 1 / the region's shrink
};

// What a sample becomes: from_y * Y + from_u * U + from_v * V + constant, kept within low … high.
struct warp_colours {
    float from_y[4], from_u[4], from_v[4], constant[4]; // the fourth is 0
    float low, high;
    float outside[4];
};

// Write the first three floats of each of n pixels, pixel_stride floats apart. The region may be
// empty only if frame_w is 0.
typedef void warp_row_fn(const struct region *r, const struct warp_row *row,
                         const struct warp_colours *c, int n, int pixel_stride, float *dst);
warp_row_fn warp_row_c;
#ifdef __x86_64__
warp_row_fn warp_row_avx2; // regions of at least 2 x 2 pixels, fewer than 2^31
#endif
// The best of them for this processor and region.
warp_row_fn *warp_row_best(const struct region *r);

#endif
