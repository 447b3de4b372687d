// Mixes a patch with an alpha channel into a frame. Internal to lipsync/. Thread-safe (no state).
#ifndef LIPSYNC_BLEND_H
#define LIPSYNC_BLEND_H

#include "face/warp.h"

struct patch {
    int width, height;
    const float (*yuva)[4]; // width * height pixels: Y, U, V as in the frame, 0..255; alpha 0..1
};

// to_frame: patch pixels (pixel centres at integer + 0.5) to frame pixels. frame: writable
// AV_PIX_FMT_YUV420P. One bilinear sample of the patch for every pixel of the frame whose centre
// lies between the centres of its outermost pixels; where alpha is 0 not one byte changes.
void blend(const struct patch *p, AVFrame *frame, const struct affine *to_frame);

// --- its inner loop, in C and for AVX2; for the test that compares them ---

// Pixel i lies at (x + i * dx, y + i * dy), in patch pixels whose centres are at whole numbers.
struct blend_line {
    float x, y, dx, dy;
};

// Mix n pixels of the patch's Y into dst[0], or of its U and V into dst[0] and dst[1].
typedef void blend_row_fn(const struct patch *p, const struct blend_line *l, bool chroma, int n,
                          uint8_t *const dst[2]);
blend_row_fn blend_row_c;
#ifdef __x86_64__
blend_row_fn blend_row_avx2; // patches of at least 2 x 2 pixels, fewer than 2^29
#endif

#endif
