// Compiled once for each instruction set, with KB_DIRECT its name, KB_LANES floats in a vector and
// KB_ROWS pixels in a product: as many sums as its registers hold, two vectors for each pixel.
#include "nn/direct/kernels.h"
#include "nn/lanes.h"

// --- products ---

// The residual of one vector, n of whose channels have one.
INLINE vec residual_at(const float *p, int n)
{
    vec v = {0};
    if (n >= KB_LANES)
        return load(p);
    for (int i = 0; i < n; i++)
        v[i] = p[i];
    return v;
}

INLINE void finish(const struct direct_product *p, int pixel, int vectors, const vec *sums)
{
    const vec zero = {0}, top = zero + p->top;
    float *to = p->to + (size_t)pixel * p->to_row;
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        vec y = sums[v], slope = load(p->slope + v * KB_LANES);
        if (p->residual)
            y += residual_at(p->residual + (size_t)pixel * p->residual_row + v * KB_LANES,
                             p->residual_n - v * KB_LANES);
        y = LARGER(y, zero) + slope * SMALLER(y, zero);
        store(to + v * KB_LANES, SMALLER(y, top));
    }
}

INLINE void product_of(const struct direct_product *p, int first, int pixels, int vectors)
{
    vec sums[KB_ROWS][2];
    const float *weights = p->weights, *from = p->from + (size_t)first * p->from_row;
    const size_t from_row = p->from_row;
#pragma GCC unroll 16
    for (int i = 0; i < pixels; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sums[i][v] = load(p->bias + v * KB_LANES);
    for (int run = 0; run < p->runs; run++, from += p->from_run)
        for (int k = 0; k < p->run; k++) {
            vec w[2];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                w[v] = load(weights + v * KB_LANES);
            weights += vectors * KB_LANES;
#pragma GCC unroll 16
            for (int i = 0; i < pixels; i++) {
                float x = from[(size_t)i * from_row + (size_t)k];
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    sums[i][v] += x * w[v];
            }
        }
#pragma GCC unroll 16
    for (int i = 0; i < pixels; i++)
        finish(p, first + i, vectors, sums[i]);
}

// Of one pixel: sums of every fourth product, so that none waits for the one before it.
INLINE void product_of_one(const struct direct_product *p, int at, int vectors)
{
    vec sums[4][2] = {0};
    const float *weights = p->weights, *from = p->from + (size_t)at * p->from_row;
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++)
        sums[0][v] = load(p->bias + v * KB_LANES);
    for (int run = 0; run < p->runs; run++, from += p->from_run) {
        int k = 0;
        for (; k + 4 <= p->run; k += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++, weights += vectors * KB_LANES)
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    sums[i][v] += from[k + i] * load(weights + v * KB_LANES);
        for (; k < p->run; k++, weights += vectors * KB_LANES)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sums[0][v] += from[k] * load(weights + v * KB_LANES);
    }
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++)
        sums[0][v] = (sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v]);
    finish(p, at, vectors, sums[0]);
}

INLINE void products(const struct direct_product *p, int vectors)
{
    int at = 0;
    for (; at + KB_ROWS <= p->pixels; at += KB_ROWS)
        product_of(p, at, KB_ROWS, vectors);
    _Static_assert(KB_ROWS <= 12, "a case for each rest");
#define REST(n)                                                                                    \
    case (n):                                                                                      \
        product_of(p, at, (n) < KB_ROWS ? (n) : KB_ROWS - 1, vectors);                             \
        break;
    switch (p->pixels - at) {
    case 1:
        product_of_one(p, at, vectors);
        break;
        CASES_OF_REST(REST)
    default:
        break;
    }
}

static void product(const struct direct_product *p, int vectors)
{
    if (vectors == 2)
        products(p, 2);
    else
        products(p, 1);
}

// --- each channel by itself ---

// Row and column of what is read for a group; group NULL: by places.
INLINE vec read_window(const struct direct_window *w, const size_t *group, int row, int column,
                       int c)
{
    return load(group ? w->rows[row] + *group + (size_t)column * w->step + c
                      : w->places[row][column] + c);
}

INLINE void group_of(const struct direct_window *w, const size_t *group, int pixels, int stride,
                     int c, const vec taps[9], vec bias, float *to, size_t to_row)
{
    vec sums[DIRECT_GROUP];
#pragma GCC unroll 4
    for (int i = 0; i < pixels; i++)
        sums[i] = bias;
#pragma GCC unroll 3
    for (int row = 0; row < 3; row++)
#pragma GCC unroll 9
        for (int column = 0; column < stride * (pixels - 1) + 3; column++) {
            vec x = read_window(w, group, row, column, c);
#pragma GCC unroll 4
            for (int i = 0; i < pixels; i++)
                if (column >= i * stride && column < i * stride + 3)
                    sums[i] += x * taps[row * 3 + column - i * stride];
        }
#pragma GCC unroll 4
    for (int i = 0; i < pixels; i++)
        store(to + (size_t)i * to_row + c, sums[i]);
}

INLINE void depthwise_of(const struct direct_window *w, bool by_rows, int pixels, int stride,
                         int channels, const float *weights, const float *bias, float *to,
                         size_t to_row)
{
    const size_t from_group = (size_t)(DIRECT_GROUP * stride) * w->step;
    for (int at = 0; at < channels; at += KB_LANES) {
        int c = at + KB_LANES <= channels ? at : channels - KB_LANES;
        vec taps[9], start = load(bias + c);
#pragma GCC unroll 9
        for (int k = 0; k < 9; k++)
            taps[k] = load(weights + k * channels + c);
        if (!by_rows) {
            group_of(w, NULL, pixels, stride, c, taps, start, to, to_row);
            continue;
        }
        float *row = to;
        size_t group = 0;
        for (int i = 0; i < w->groups; i++, group += from_group, row += DIRECT_GROUP * to_row)
            group_of(w, &group, DIRECT_GROUP, stride, c, taps, start, row, to_row);
    }
}

static void depthwise(const struct direct_window *w, int channels, const float *weights,
                      const float *bias, float *to, size_t to_row)
{
#define CASE(number, by_rows, pixels, stride)                                                      \
    case (number):                                                                                 \
        depthwise_of(w, by_rows, pixels, stride, channels, weights, bias, to, to_row);             \
        break;
    switch ((w->stride - 1) * 5 + (w->groups > 0 ? 0 : w->pixels)) {
        CASE(0, true, 4, 1)
        CASE(1, false, 1, 1)
        CASE(2, false, 2, 1)
        CASE(3, false, 3, 1)
        CASE(4, false, 4, 1)
        CASE(5, true, 4, 2)
        CASE(6, false, 1, 2)
        CASE(7, false, 2, 2)
        CASE(8, false, 3, 2)
        CASE(9, false, 4, 2)
    default:
        break;
    }
}

static void largest(const float *above, const float *below, size_t step, int pixels, int channels,
                    float *to)
{
    for (int i = 0; i < pixels; i++, above += 2 * step, below += 2 * step, to += channels)
        for (int at = 0; at < channels; at += KB_LANES) {
            int c = at + KB_LANES <= channels ? at : channels - KB_LANES;
            vec a = LARGER(load(above + c), load(above + step + c));
            vec b = LARGER(load(below + c), load(below + step + c));
            store(to + c, LARGER(a, b));
        }
}

// --- the table ---

#define TABLE(name)  TABLE_(name)
#define TABLE_(name) direct_##name

const struct direct_kernels TABLE(KB_DIRECT) = {
    .lanes = KB_LANES,
    .rows = KB_ROWS,
    .product = product,
    .depthwise = depthwise,
    .largest = largest,
};
