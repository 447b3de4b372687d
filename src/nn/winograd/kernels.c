// Compiled once for each instruction set, with KB_WINOGRAD its name, KB_LANES floats in a vector
// and KB_ROWS tiles in a product: as many sums as its registers hold, two vectors for each tile.
#include "nn/winograd/vectors.h"

// --- from inputs to points ---

INLINE void input_tile(const float *const *pixels, int channels, float *to, size_t step, int down,
                       int across, int out)
{
    const int rows = WINOGRAD_POINTS(down, out), columns = WINOGRAD_POINTS(across, out);
    for (int c = 0; c < channels; c += KB_LANES) {
        vec x[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS];
#pragma GCC unroll 6
        for (int i = 0; i < columns; i++) {
#pragma GCC unroll 6
            for (int k = 0; k < rows; k++)
                x[k * columns + i] = load(pixels[k * columns + i] + c);
            to_points(x + i, columns, down, rows);
        }
#pragma GCC unroll 6
        for (int k = 0; k < rows; k++) {
            to_points(x + k * columns, 1, across, columns);
#pragma GCC unroll 6
            for (int i = 0; i < columns; i++)
                store(to + (size_t)(k * columns + i) * step + c, x[k * columns + i]);
        }
    }
}

// --- products ---

INLINE void product_of(int tiles, int depth, const float *from, size_t from_row,
                       const float *weights, float *to, size_t to_row)
{
    vec sums[KB_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < tiles; i++)
        sums[i][0] = sums[i][1] = (vec){0};
    for (int k = 0; k < depth; k++) {
        vec left = load(weights), right = load(weights + KB_LANES);
        weights += 2 * KB_LANES;
#pragma GCC unroll 16
        for (int i = 0; i < tiles; i++) {
            float x = from[(size_t)i * from_row + (size_t)k];
            sums[i][0] += x * left;
            sums[i][1] += x * right;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < tiles; i++) {
        store(to + (size_t)i * to_row, sums[i][0]);
        store(to + (size_t)i * to_row + KB_LANES, sums[i][1]);
    }
}

static void product(int tiles, int depth, const float *from, size_t from_row, const float *weights,
                    float *to, size_t to_row)
{
    for (; tiles >= KB_ROWS; tiles -= KB_ROWS) {
        product_of(KB_ROWS, depth, from, from_row, weights, to, to_row);
        from += KB_ROWS * from_row;
        to += KB_ROWS * to_row;
    }
    _Static_assert(KB_ROWS <= 12, "a case for each rest");
#define REST(n)                                                                                    \
    case (n):                                                                                      \
        product_of((n) < KB_ROWS ? (n) : KB_ROWS - 1, depth, from, from_row, weights, to, to_row); \
        break;
    switch (tiles) {
        REST(1)
        CASES_OF_REST(REST)
    default:
        break;
    }
}

// --- from points to outputs ---

INLINE void output_tile(const float *from, size_t step, int channels,
                        const struct winograd_finish *f, int down, int across, int out)
{
    const int rows = WINOGRAD_POINTS(down, out), columns = WINOGRAD_POINTS(across, out);
    const vec zero = {0}, top = zero + f->top;
    for (int c = 0; c < channels; c += KB_LANES) {
        vec half[WINOGRAD_MAX_OUT * WINOGRAD_MAX_POINTS];
        vec bias = load(f->bias + c), slope = load(f->slope + c);
#pragma GCC unroll 6
        for (int i = 0; i < columns; i++) {
            vec x[WINOGRAD_MAX_POINTS];
#pragma GCC unroll 6
            for (int k = 0; k < rows; k++)
                x[k] = load(from + (size_t)(k * columns + i) * step + c);
            to_outputs(half + i, columns, x, 1, down, out);
        }
        for (int k = 0; k < f->rows; k++) {
            vec y[WINOGRAD_MAX_OUT];
            to_outputs(y, 1, half + k * columns, 1, across, out);
#pragma GCC unroll 4
            for (int i = 0; i < out; i++) {
                if (i >= f->columns)
                    break;
                y[i] += bias;
                if (f->residual)
                    y[i] += load((const float *)f->residual + k * f->residual_row +
                                 i * f->residual_pixel + c);
                y[i] = LARGER(y[i], zero) + slope * SMALLER(y[i], zero);
                store((float *)f->to + k * f->to_row + i * f->to_pixel + c, SMALLER(y[i], top));
            }
        }
    }
}

// --- the table ---

#define FUNCTIONS(down, across, out)                                                               \
    static void input_##down##across##out(const float *const *pixels, int channels, float *to,     \
                                          size_t step)                                             \
    {                                                                                              \
        input_tile(pixels, channels, to, step, down, across, out);                                 \
    }                                                                                              \
    static void output_##down##across##out(const float *from, size_t step, int channels,           \
                                           const struct winograd_finish *f)                        \
    {                                                                                              \
        output_tile(from, step, channels, f, down, across, out);                                   \
    }
#define INPUT(down, across, out)  input_##down##across##out,
#define OUTPUT(down, across, out) output_##down##across##out,

WINOGRAD_FORMS(FUNCTIONS)

#define TABLE(name)  TABLE_(name)
#define TABLE_(name) winograd_##name

const struct winograd_kernels TABLE(KB_WINOGRAD) = {
    .lanes = KB_LANES,
    .rows = KB_ROWS,
    .input = {WINOGRAD_FORMS(INPUT)},
    .product = product,
    .output = {WINOGRAD_FORMS(OUTPUT)},
};
