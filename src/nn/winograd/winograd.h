// Convolutions of stride 1 with fewer products: Winograd's way. A tile of the input is turned into
// its values at a few points, where a convolution is one product for each pair of channels; so the
// channels of many tiles make one matrix product for each point. Kernels of 3x3 need 36 products
// instead of 144 for 4x4 outputs (tile 4), 25 instead of 81 for 3x3 (3) or 16 instead of 36 for 2x2
// (2); those of 1x2, 2x1 and 2x2 taps, of which a transposed convolution of stride 2 is made, 20,
// 20 and 25 instead of 32, 32 and 64.
//
// Pictures are NHWC, in f32, bf16 or u8. In f32 the points are f32 too. Those of the other two are
// whole numbers of 16 bits, whose products take half the time. Points in bf16 would have too few
// digits: what is rounded off them grows on its way to the outputs (docs/engine.md).
//
// Internal to nn/. Thread-safe: no state; winograd_weights() and winograd_run() use
// OpenMP, and their results do not depend on how many threads there are.
#ifndef NN_WINOGRAD_WINOGRAD_H
#define NN_WINOGRAD_WINOGRAD_H

#include "nn/graph.h"
#include "nn/kernels.h"
#include "nn/winograd/kernels.h"

struct winograd_shape {
    int n; // images
    int in_h, in_w, in_c;
    int out_h, out_w, out_c;
    int kernel_h, kernel_w;
    int pad_top, pad_left;
    enum winograd_type in, out; // f32 both or, where in is none, any. A residual has out's
    bool in_is_positive;        // bf16: never below zero, which gains a bit
};

// How one convolution is computed.
struct winograd {
    struct winograd_shape shape;
    const struct winograd_kernels *kernels;      // points in f32, or
    const struct winograd_short_kernels *shorts; // in 16 bits
    int lanes, rows;                             // of either
    int tile, form;     // outputs of a tile along one side; index into WINOGRAD_FORMS
    int points, panels; // of a tile; groups of output channels
    int across, down;   // tiles of an image
    int chunk, threads; // tiles that one thread takes at once
    size_t in_row, in_step, out_row, out_step; // numbers from tile to tile and point to point
    // Points in 16 bits. bf16: the largest number of a tile is made this one, and all numbers are
    // multiplied by these too; outputs by the others. spread_…: what they are made of.
    float limit;
    double spread_h, spread_w;
    float in_factors[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS];
    float out_factors[WINOGRAD_MAX_OUT * WINOGRAD_MAX_OUT];
};

// Can it be computed so, by tiles of this side, with these vectors? False where there is no such
// form for its types, channels do not fill the vectors, or there are more tiles than an int can
// count.
bool winograd_make(struct winograd *ret, const struct winograd_shape *shape, int tile,
                   enum vector_set vectors, int threads);

// Has it a form that these vectors can compute, with tiles of any side?
bool winograd_has_form(const struct winograd_shape *shape, enum vector_set vectors);
// What it costs so, and as an ordinary convolution, in floating point operations or what takes as
// long.
double winograd_cost(const struct winograd *w);
double winograd_direct_cost(const struct winograd_shape *s);

// The weights as winograd_run() wants them, from O I kernel_h kernel_w; aligned to 64 bytes.
size_t winograd_weights_size(const struct winograd *w); // bytes
void winograd_weights(const struct winograd *w, const float *weight, void *ret);
size_t winograd_scales_at(const struct winograd *w); // bytes: those of the sums, behind the weights
// The largest that each point can become where no number of a tile is larger than 1, in_factors
// included.
void winograd_reach(const struct winograd *w,
                    double ret[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS]);
// Bytes of memory that a run needs for itself.
size_t winograd_scratch_size(const struct winograd *w);

struct winograd_job {
    const void *weights;
    const float *bias, *slope;      // of each output channel: y > 0 ? y : slope * y
    float top;                      // then at most this
    float residual_factor;          // not f32: times this
    struct image in, residual, out; // residual.data NULL: there is none, else it is added first
    // out is twice as high and wide, and only every second row from row on and column from column
    // on is written. A residual lies densely.
    bool interleaved;
    int row, column;
    void *scratch; // aligned to 64 bytes
};

void winograd_run(const struct winograd *w, const struct winograd_job *job);

#endif
