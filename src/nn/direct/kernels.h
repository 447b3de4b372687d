// The loops of a direct convolution for one instruction set. kernels.c is compiled once for each of
// them; direct.c says what is called when. Thread-safe (no state).
//
// A vector never goes beyond the channels that there are: the last one of a pixel begins earlier
// and computes some of them twice. So there are at least as many channels as a vector has floats.
#ifndef NN_DIRECT_KERNELS_H
#define NN_DIRECT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

// Pixels side by side that are computed together, and the columns of input that they read.
#define DIRECT_GROUP       4
#define DIRECT_MAX_COLUMNS (2 * (DIRECT_GROUP - 1) + 3)

// What a kernel of 3x3 reads for pixels side by side.
struct direct_window {
    int stride; // 1 or 2
    // So many groups of pixels, for which all that is read lies in the picture: rows says where,
    // each from its first column on, columns so many floats apart. 0: places says it, for pixels of
    // them, 1 to DIRECT_GROUP; what lies outside points at zeros.
    int groups;
    const float *rows[3];
    size_t step;
    int pixels;
    const float *places[3][DIRECT_MAX_COLUMNS];
};

// One panel of a product: pixels times the weights of one or two vectors of output channels.
// to[pixel][j] = activation(bias[j] + residual[pixel][j] + sum over k of from[pixel][k] *
// weights[k][j]). What a pixel is made of lies in as many runs as the kernel has rows.
struct direct_product {
    int pixels;
    int runs, run; // the sum: so many runs, each of so many floats
    const float *from;
    size_t from_row, from_run; // floats from pixel to pixel, so all _row below; from run to run
    const float *weights;
    const float *bias, *slope; // y > 0 ? y : slope * y
    float top;                 // then at most this
    const float *residual;     // may be NULL
    size_t residual_row;
    int residual_n; // so many of these channels have one
    float *to;
    size_t to_row;
};

struct direct_kernels {
    int lanes; // floats of a vector
    int rows;  // pixels that a product takes at once
    void (*product)(const struct direct_product *p, int vectors);
    // Each channel by itself: to[pixel][c] = bias[c] + sum over taps t of its pixels *
    // weights[t][c].
    void (*depthwise)(const struct direct_window *w, int channels, const float *weights,
                      const float *bias, float *to, size_t to_row);
    // Of two rows of 2 * pixels pixels the largest of each 2x2, densely; step: floats from pixel to
    // pixel.
    void (*largest)(const float *above, const float *below, size_t step, int pixels, int channels,
                    float *to);
};

extern const struct direct_kernels direct_plain, direct_avx2, direct_avx512;

#endif
