// Direct convolutions against sums of products in double: every way, with each instruction set that
// this processor has, at sizes that neither vectors nor groups of pixels fill.
#include "tests/nn/graphs.h"

#include <math.h>
#include <stdlib.h>

#include "nn/direct/direct.h"
#include "tests/nn/vectors.h"

struct numbers {
    struct direct_shape shape;
    float *in, *weight, *each, *each_bias, *bias, *slope, *residual; // owned
    int in_stride, out_stride;                                       // floats from pixel to pixel
    float top;
};

static void numbers_free(struct numbers *l)
{
    float *all[] = {l->in, l->weight, l->each, l->each_bias, l->bias, l->slope, l->residual};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
}

static double tap(const struct numbers *l, int n, int y, int x, int c)
{
    const struct direct_shape *s = &l->shape;
    bool inside = y >= 0 && y < s->in_h && x >= 0 && x < s->in_w;
    return inside ? l->in[((n * s->in_h + y) * s->in_w + x) * l->in_stride + c] : 0;
}

// What input channel i gives to output o at a place: of DEPTHWISE what its own 3x3 makes of it.
static double part(const struct numbers *l, int n, int y, int x, int i, int o)
{
    const struct direct_shape *s = &l->shape;
    const bool each = s->way == DIRECT_DEPTHWISE;
    const int taps = s->kernel_h * s->kernel_w;
    const float *w = each ? l->each + i * taps : l->weight + (o * s->in_c + i) * taps;
    double sum = each ? l->each_bias[i] : 0;
    for (int t = 0; t < taps; t++)
        sum += w[t] * tap(l, n, y * s->stride_h - s->pad_top + t / s->kernel_w,
                          x * s->stride_w - s->pad_left + t % s->kernel_w, i);
    return each ? sum * l->weight[o * s->in_c + i] : sum;
}

static double expected(const struct numbers *l, int n, int y, int x, int o)
{
    const struct direct_shape *s = &l->shape;
    double sum = l->bias[o], more = -INFINITY;
    for (int i = 0; i < s->in_c; i++)
        sum += part(l, n, y, x, i, o);
    int side = s->is_pooled ? 2 : 1;
    for (int k = 0; k < side * side && o < s->residual_c; k++)
        more =
            fmax(more, l->residual[((n * s->out_h * side + y * side + k / side) * s->out_w * side +
                                    x * side + k % side) *
                                       s->residual_c +
                                   o]);
    sum += o < s->residual_c ? more : 0;
    return fmin(sum > 0 ? sum : sum * l->slope[o], l->top);
}

// Owned by the caller; what is not written stays 7. NULL where it is refused.
static float *computed(const struct numbers *l, enum vector_set vectors, int threads, size_t *ret_n)
{
    const struct direct_shape *s = &l->shape;
    struct direct d;
    if (!direct_make(&d, s, vectors, threads))
        return NULL;
    size_t scratch_size = (direct_scratch_size(&d) + 64) & ~(size_t)63;
    CLEANUP(kb_freep)
    float *weights = aligned_alloc(64, (direct_weights_size(&d) + 63) & ~(size_t)63);
    CLEANUP(kb_freep) float *scratch = aligned_alloc(64, scratch_size);
    memset(scratch, 0xff, scratch_size); // not a number
    *ret_n = (size_t)(s->n * s->out_h * s->out_w * l->out_stride);
    float *out = kb_alloc(*ret_n * sizeof(*out));
    for (size_t i = 0; i < *ret_n; i++)
        out[i] = 7;
    direct_weights(&d, l->weight, l->each, l->each_bias, weights);
    int side = s->is_pooled ? 2 : 1;
    struct direct_job job = {
        .weights = weights,
        .bias = l->bias,
        .slope = l->slope,
        .top = l->top,
        .in = {l->in, s->n, s->in_h, s->in_w, s->in_c, l->in_stride},
        .residual = {l->residual, s->n, s->out_h * side, s->out_w * side, s->residual_c,
                     s->residual_c},
        .out = {out, s->n, s->out_h, s->out_w, s->out_c, l->out_stride},
        .scratch = scratch,
    };
    direct_run(&d, &job);
    return out;
}

static void compare(const struct numbers *l, const float *got, size_t n_got, int vectors)
{
    const struct direct_shape *s = &l->shape;
    double worst = 0, largest = 1e-3;
    size_t untouched = 0;
    for (size_t i = 0; i < n_got; i++)
        untouched += got[i] == 7;
    for (int i = 0; i < s->n * s->out_h * s->out_w; i++)
        for (int o = 0; o < s->out_c; o++) {
            double want =
                expected(l, i / (s->out_h * s->out_w), i / s->out_w % s->out_h, i % s->out_w, o);
            worst = fmax(worst, fabs(want - got[i * l->out_stride + o]));
            largest = fmax(largest, fabs(want));
        }
    if (!(worst <= 1e-5 * largest))
        fail_msg("way %d, vectors %d, %dx%dx%d: off by %g of %g", (int)s->way, vectors, s->out_h,
                 s->out_w, s->out_c, worst, largest);
    assert_int_equal(untouched, n_got - (size_t)(s->n * s->out_h * s->out_w * s->out_c));
}

static void check(struct direct_shape s, int apart, float top)
{
    const int taps = s.kernel_h * s.kernel_w, side = s.is_pooled ? 2 : 1;
    seed = 5;
    CLEANUP(numbers_free)
    struct numbers l = {
        .shape = s,
        .in = noises(s.n * s.in_h * s.in_w * (s.in_c + apart), 1),
        .weight = noises(s.out_c * s.in_c * taps, 1),
        .each = noises(s.in_c * taps, 1),
        .each_bias = noises(s.in_c, 1),
        .bias = noises(s.out_c, 1),
        .slope = noises(s.out_c, 1),
        .residual = noises(s.n * s.out_h * s.out_w * side * side * (s.residual_c + 1), 1),
        .in_stride = s.in_c + apart,
        .out_stride = s.out_c + apart,
        .top = top,
    };
    for (enum vector_set v = VECTORS_PLAIN; v <= VECTORS_AVX512; v++) {
        if (!has(v))
            continue;
        size_t n;
        CLEANUP(kb_freep) float *one = computed(&l, v, 1, &n), *three = computed(&l, v, 3, &n);
        assert_non_null(one);
        assert_memory_equal(one, three, n * sizeof(float));
        compare(&l, one, n, (int)v);
    }
}

static void test_points(void **state)
{
    static const int channels[][2] = {{16, 16}, {3, 24}, {40, 100}, {128, 32}, {9, 6}, {130, 47}};
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        for (int size = 1; size <= 16; size += 5)
            check((struct direct_shape){.way = DIRECT_POINTS,
                                        .n = 2,
                                        .in_h = size,
                                        .in_w = size + 1,
                                        .in_c = channels[i][0],
                                        .out_h = size,
                                        .out_w = size + 1,
                                        .out_c = channels[i][1],
                                        .kernel_h = 1,
                                        .kernel_w = 1,
                                        .stride_h = 1,
                                        .stride_w = 1,
                                        .residual_c = size % 2 ? channels[i][1] - 2 : 0},
                  size == 6 ? 3 : 0, size == 11 ? 6 : INFINITY);
}

static void test_depthwise(void **state)
{
    static const int channels[][2] = {{16, 16}, {24, 28}, {36, 42}, {64, 128}, {10, 36}};
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        for (int size = 1; size <= 13; size += 3)
            for (int stride = 1; stride <= 2; stride++)
                check((struct direct_shape){.way = DIRECT_DEPTHWISE,
                                            .n = 2,
                                            .in_h = size * stride,
                                            .in_w = (size + 2) * stride,
                                            .in_c = channels[i][0],
                                            .out_h = size,
                                            .out_w = size + 2,
                                            .out_c = channels[i][1],
                                            .kernel_h = 3,
                                            .kernel_w = 3,
                                            .stride_h = stride,
                                            .stride_w = stride,
                                            .pad_top = 2 - stride,
                                            .pad_left = 2 - stride,
                                            .residual_c = channels[i][0],
                                            .is_pooled = stride == 2},
                      size == 4 ? 5 : 0, INFINITY);
}

static void test_patches(void **state)
{
    static const struct {
        int side, in_c, out_c, kernel, stride, pad;
    } cases[] = {
        {17, 3, 16, 3, 2, 0}, {16, 3, 24, 5, 2, 1}, {3, 32, 140, 3, 3, 0}, {9, 1, 33, 3, 1, 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int apart = 0; apart < 2; apart++) {
            // Rows and columns at the end are missing: zeros, as those before.
            int out = (cases[i].side + cases[i].stride - 1) / cases[i].stride;
            check((struct direct_shape){.way = DIRECT_PATCHES,
                                        .n = 2,
                                        .in_h = cases[i].side,
                                        .in_w = cases[i].side,
                                        .in_c = cases[i].in_c,
                                        .out_h = out,
                                        .out_w = out,
                                        .out_c = cases[i].out_c,
                                        .kernel_h = cases[i].kernel,
                                        .kernel_w = cases[i].kernel,
                                        .stride_h = cases[i].stride,
                                        .stride_w = cases[i].stride,
                                        .pad_top = cases[i].pad,
                                        .pad_left = cases[i].pad},
                  apart, INFINITY);
        }
}

// Channels that fill no vector and more pixels than can be counted are not for it.
static void test_refused(void **state)
{
    struct direct_shape s = {.way = DIRECT_POINTS,
                             .n = 1,
                             .in_h = 8,
                             .in_w = 8,
                             .in_c = 16,
                             .out_h = 8,
                             .out_w = 8,
                             .out_c = 4,
                             .kernel_h = 1,
                             .kernel_w = 1,
                             .stride_h = 1,
                             .stride_w = 1};
    struct direct d;
    assert_true(direct_make(&d, &s, VECTORS_PLAIN, 1));
    s.out_c = 3;
    assert_false(direct_make(&d, &s, VECTORS_PLAIN, 1));
    s.out_c = 4;
    s.out_h = s.out_w = 1 << 16; // their number is 0 in 32 bits
    assert_false(direct_make(&d, &s, VECTORS_PLAIN, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_depthwise),
        cmocka_unit_test(test_patches),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
