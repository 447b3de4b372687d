// The loops of a Winograd convolution for one instruction set: with points in f32 (kernels.c), and
// in 16 bits (short.c) out of pictures in u8 or bf16. Each file is compiled once for each set;
// winograd.c says what is called when. Thread-safe (no state).
#ifndef NN_WINOGRAD_KERNELS_H
#define NN_WINOGRAD_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// Kernels of taps x taps (down, across) and tiles of out x out outputs: WINOGRAD_FORMS(X) says
// X(taps down, taps across, out) for each that there is. 3x3 is an ordinary convolution, the others
// are what a transposed one of stride 2 is made of. F(4, 3) loses four digits of seven in the worst
// case, larger tiles more.
#define WINOGRAD_FORMS(X)                                                                          \
    X(3, 3, 2)                                                                                     \
    X(3, 3, 3)                                                                                     \
    X(3, 3, 4)                                                                                     \
    X(1, 1, 3)                                                                                     \
    X(1, 2, 3)                                                                                     \
    X(2, 1, 3)                                                                                     \
    X(2, 2, 3)                                                                                     \
    X(1, 1, 4)                                                                                     \
    X(1, 2, 4)                                                                                     \
    X(2, 1, 4)                                                                                     \
    X(2, 2, 4)
#define WINOGRAD_N_FORMS    11
#define WINOGRAD_MAX_POINTS 6 // along one side
#define WINOGRAD_MAX_OUT    4

// Points at which the products are taken: as many as a tile has inputs.
#define WINOGRAD_POINTS(taps, out) ((taps) + (out)-1)

// The numbers of a picture.
enum winograd_type { WINOGRAD_F32, WINOGRAD_BF16, WINOGRAD_U8 };
#define WINOGRAD_N_TYPES 3

// What becomes of one tile's sums. Pointers to the first channel of the tile's first pixel, in the
// type of the output; steps in numbers.
struct winograd_finish {
    const float *factors; // points in 16 bits: what each output, row by row, is multiplied by first
    const float *bias, *slope; // of each channel; y > 0 ? y : slope * y
    float top;                 // then at most this
    const void *residual;      // added before that; may be NULL
    float residual_factor;     // points in 16 bits: times this
    ptrdiff_t residual_row, residual_pixel;
    void *to;
    ptrdiff_t to_row, to_pixel;
    int rows, columns; // of the tile, that lie in the picture
};

typedef void winograd_input_fn(const float *const *pixels, int channels, float *to, size_t step);
typedef void winograd_output_fn(const float *from, size_t step, int channels,
                                const struct winograd_finish *f);

struct winograd_kernels {
    int lanes; // floats of a vector: channels, in and out, are multiples of it
    int rows;  // tiles that the product takes at once
    // pixels: one tile's inputs, row by row, each of so many channels (those outside point at
    // zeros). Point p of it is written at to + p * step. Form: index into WINOGRAD_FORMS.
    winograd_input_fn *input[WINOGRAD_N_FORMS];
    // to[tile][column] = sum over k of from[tile][k] * weights[k][column] for 2 * lanes columns.
    // Rows of from and to lie from_row and to_row floats apart.
    void (*product)(int tiles, int depth, const float *from, size_t from_row, const float *weights,
                    float *to, size_t to_row);
    winograd_output_fn *output[WINOGRAD_N_FORMS];
};

extern const struct winograd_kernels winograd_plain, winograd_avx2, winograd_avx512;

// --- points in 16 bits ---

// So many products are added in 32 bits before their sum goes to f32.
#define WINOGRAD_BLOCK 128

// factors: what each pixel of bf16 is multiplied by; u8 is taken as it is.
typedef void winograd_short_input_fn(const void *const *pixels, int channels, const float *factors,
                                     int16_t *to, size_t step);

// lanes, rows and forms as above, but that there are at least 2 * lanes channels to read.
struct winograd_short_kernels {
    int lanes, rows;
    // Of n pixels in bf16: the largest number, without its sign.
    float (*largest)(const void *const *pixels, int n, int channels);
    winograd_short_input_fn *input[WINOGRAD_N_TYPES][WINOGRAD_N_FORMS]; // NULL: not that type
    // The same sums, times scales[column]. weights[k / 2][column][k % 2].
    void (*product)(int tiles, int depth, const int16_t *from, size_t from_row,
                    const int16_t *weights, const float *scales, float *to, size_t to_row);
    winograd_output_fn *output[WINOGRAD_N_TYPES][WINOGRAD_N_FORMS];
};

extern const struct winograd_short_kernels winograd_short_avx2, winograd_short_avx512,
    winograd_short_vnni;

#endif
