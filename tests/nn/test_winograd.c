// Winograd's convolutions against sums of products in double: every form, with each instruction set
// that this processor has, at sizes that tiles do not fill.
#include "tests/nn/graphs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/winograd/winograd.h"
#include "tests/nn/vectors.h"

struct floats {
    float *data;
    size_t n;
};

static struct floats filled(size_t n, bool random)
{
    struct floats f = {aligned_alloc(64, (n * sizeof(float) + 63) & ~(size_t)63), n};
    assert_non_null(f.data);
    for (size_t i = 0; i < n; i++)
        f.data[i] = random ? noise() : 7;
    return f;
}

static void floats_free(struct floats *f)
{
    free(f->data);
}
#define FLOATS CLEANUP(floats_free) struct floats

// --- points in 16 bits ---

struct numbers {
    enum winograd_type type;
    void *data;
};

static float number_at(const struct numbers *x, size_t i)
{
    uint32_t bits = x->type == WINOGRAD_BF16 ? (uint32_t)((uint16_t *)x->data)[i] << 16 : 0;
    float ret;
    memcpy(&ret, &bits, sizeof(ret));
    return x->type == WINOGRAD_U8     ? ((uint8_t *)x->data)[i]
           : x->type == WINOGRAD_BF16 ? ret
                                      : ((float *)x->data)[i];
}

// Whole numbers 0 to 255, all of them the largest where is_full; bf16 has those too.
static struct numbers picture(enum winograd_type type, size_t n, bool is_full)
{
    struct numbers x = {type, aligned_alloc(64, (n * 4 + 127) & ~(size_t)63)};
    assert_non_null(x.data);
    for (size_t i = 0; i < n; i++) {
        float value = is_full ? (i % 7 == 0 ? 0 : 255) : rintf(fabsf(noise()) * 255);
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        if (type == WINOGRAD_U8)
            ((uint8_t *)x.data)[i] = (uint8_t)value;
        else
            ((uint16_t *)x.data)[i] = (uint16_t)(bits >> 16);
    }
    return x;
}

// A convolution of 3x3 of what stands in u8 or bf16 into every type, with a residual and ReLU,
// against sums in double. Full pictures and weights of one sign would leave 32 bits, if any did.
static double worst_of(enum winograd_type in, enum winograd_type out, enum vector_set vectors,
                       int tile, int in_c, bool is_full)
{
    enum { H = 7, W = 9, OUT = 48 };
    struct winograd_shape s = {2, H, W, in_c, H, W, OUT, 3, 3, 1, 1, in, out, !is_full};
    struct winograd w;
    if (!winograd_make(&w, &s, tile, vectors, 2))
        return -1;
    seed = 5;
    const size_t pixels = 2 * H * W;
    struct numbers x = picture(in, pixels * (size_t)in_c, is_full);
    struct numbers r = {out, aligned_alloc(64, (pixels * OUT * 4 + 63) & ~(size_t)63)};
    struct numbers y = {out, aligned_alloc(64, (pixels * OUT * 4 + 63) & ~(size_t)63)};
    memset(r.data, 0, pixels * OUT * 4);
    if (out == WINOGRAD_U8)
        memset(r.data, 40, pixels * OUT);
    FLOATS weight = filled((size_t)OUT * (size_t)in_c * 9, true), bias = filled(OUT, true);
    FLOATS slope = filled(OUT, false), scratch = filled(winograd_scratch_size(&w) / 4, true);
    FLOATS packed = filled(winograd_weights_size(&w) / 4 + 1, false);
    for (size_t i = 0; i < weight.n; i++)
        weight.data[i] = (is_full ? fabsf(weight.data[i]) : weight.data[i]) / (float)in_c;
    memset(slope.data, 0, OUT * sizeof(float));
    winograd_weights(&w, weight.data, packed.data);
    const struct winograd_job job = {.weights = packed.data,
                                     .bias = bias.data,
                                     .slope = slope.data,
                                     .top = INFINITY,
                                     .residual_factor = 0.5f,
                                     .in = {x.data, 2, H, W, in_c, in_c},
                                     .residual = {r.data, 2, H, W, OUT, OUT},
                                     .out = {y.data, 2, H, W, OUT, OUT},
                                     .scratch = scratch.data};
    winograd_run(&w, &job);
    double worst = 0, largest = 1e-3;
    for (size_t at = 0; at < pixels; at++)
        for (size_t o = 0; o < OUT; o++) {
            int py = (int)(at % (H * W)) / W, px = (int)(at % W);
            double sum = (double)bias.data[o] + 0.5 * (double)number_at(&r, at * OUT + o);
            for (int k = 0; k < 9; k++) {
                int dy = k / 3 - 1, dx = k % 3 - 1;
                if (py + dy < 0 || py + dy >= H || px + dx < 0 || px + dx >= W)
                    continue;
                size_t from = at + (size_t)(dy * W + dx); // wraps to what lies before it
                for (size_t i = 0; i < (size_t)in_c; i++)
                    sum += (double)number_at(&x, from * (size_t)in_c + i) *
                           (double)weight.data[(o * (size_t)in_c + i) * 9 + (size_t)k];
            }
            double want = fmax(sum, 0), got = (double)number_at(&y, at * OUT + o);
            want = out == WINOGRAD_U8 ? fmin(want, 255) : want;
            worst = fmax(worst, fabs(want - got));
            largest = fmax(largest, want);
        }
    free(x.data);
    free(r.data);
    free(y.data);
    return out == WINOGRAD_U8 ? worst : worst / largest;
}

static void test_points_of_16_bits(void **state)
{
    int n = 0;
    for (enum vector_set v = VECTORS_AVX2; v <= VECTORS_VNNI; v++)
        for (int k = 0; has(v) && k < 2 * 2 * 3 * 3; k++) {
            enum winograd_type in = k % 2 ? WINOGRAD_U8 : WINOGRAD_BF16;
            enum winograd_type out = (enum winograd_type)(k / 4 % 3);
            bool is_full = k / 2 % 2;
            int tile = 2 + k / 12;
            double worst = worst_of(in, out, v, tile, is_full ? 304 : 80, is_full);
            double most = out == WINOGRAD_U8 ? 0.8 : out == WINOGRAD_BF16 ? 0.005 : 0.0015;
            n += worst >= 0;
            if (worst > most)
                fail_msg("%d to %d, vectors %d, tiles of %d, full %d: off by %g", (int)in, (int)out,
                         (int)v, tile, is_full, worst);
        }
#ifdef __x86_64__
    if (has(VECTORS_AVX2))
        assert_true(n >= 12);
#endif
}

// --- f32 ---

// What stands around the numbers of one convolution.
struct layer {
    struct winograd_shape shape;
    struct floats in, weight, bias, slope, residual;
    int in_stride, out_stride; // floats from pixel to pixel
    bool has_residual, interleaved;
    int row, column;
    float top;
};

static double expected(const struct layer *l, int n, int y, int x, int o)
{
    const struct winograd_shape *s = &l->shape;
    double sum = l->bias.data[o];
    for (int r = 0; r < s->kernel_h; r++)
        for (int c = 0; c < s->kernel_w; c++) {
            int in_y = y + r - s->pad_top, in_x = x + c - s->pad_left;
            if (in_y < 0 || in_y >= s->in_h || in_x < 0 || in_x >= s->in_w)
                continue;
            const float *pixel =
                l->in.data + ((n * s->in_h + in_y) * s->in_w + in_x) * l->in_stride;
            const float *weight =
                l->weight.data + o * s->in_c * s->kernel_h * s->kernel_w + r * s->kernel_w + c;
            for (int i = 0; i < s->in_c; i++)
                sum += (double)pixel[i] * weight[i * s->kernel_h * s->kernel_w];
        }
    if (l->has_residual)
        sum += l->residual.data[((n * s->out_h + y) * s->out_w + x) * s->out_c + o];
    return fmin(sum > 0 ? sum : sum * l->slope.data[o], l->top);
}

// The convolution's output on so many threads; false where there is no such form.
static bool computed(struct floats *ret, const struct layer *l, int tile, enum vector_set vectors,
                     int threads)
{
    const struct winograd_shape *s = &l->shape;
    struct winograd w;
    if (!winograd_make(&w, s, tile, vectors, threads))
        return false;
    const int side = l->interleaved ? 2 : 1;
    FLOATS weights = filled(winograd_weights_size(&w) / sizeof(float), false);
    FLOATS scratch = filled(winograd_scratch_size(&w) / sizeof(float), true);
    *ret = filled((size_t)(s->n * s->out_h * side * s->out_w * side * l->out_stride), false);
    winograd_weights(&w, l->weight.data, weights.data);
    struct winograd_job job = {
        .weights = weights.data,
        .bias = l->bias.data,
        .slope = l->slope.data,
        .top = l->top,
        .in = {l->in.data, s->n, s->in_h, s->in_w, s->in_c, l->in_stride},
        .out = {ret->data, s->n, s->out_h * side, s->out_w * side, s->out_c, l->out_stride},
        .interleaved = l->interleaved,
        .row = l->row,
        .column = l->column,
        .scratch = scratch.data,
    };
    if (l->has_residual)
        job.residual =
            (struct image){l->residual.data, s->n, s->out_h, s->out_w, s->out_c, s->out_c};
    winograd_run(&w, &job);
    return true;
}

// What was computed is what was expected, and nothing else was touched.
static void compare(const struct layer *l, const struct floats *got, int tile, int vectors)
{
    const struct winograd_shape *s = &l->shape;
    const int side = l->interleaved ? 2 : 1;
    double worst = 0, largest = 1e-3;
    size_t untouched = 0;
    for (size_t i = 0; i < got->n; i++)
        untouched += got->data[i] == 7;
    for (int n = 0; n < s->n; n++)
        for (int y = 0; y < s->out_h; y++)
            for (int x = 0; x < s->out_w; x++)
                for (int o = 0; o < s->out_c; o++) {
                    int at = (n * s->out_h * side + y * side + l->row) * s->out_w * side +
                             x * side + l->column;
                    double want = expected(l, n, y, x, o);
                    worst = fmax(worst, fabs(want - got->data[at * l->out_stride + o]));
                    largest = fmax(largest, fabs(want));
                }
    if (!(worst <= 1e-4 * largest))
        fail_msg("%dx%d taps, tiles of %d, vectors %d, %dx%d: off by %g of %g", s->kernel_h,
                 s->kernel_w, tile, vectors, s->out_h, s->out_w, worst, largest);
    assert_int_equal(untouched, got->n - (size_t)(s->n * s->out_h * s->out_w * s->out_c));
}

static void layer_free(struct layer *l)
{
    struct floats *all[] = {&l->in, &l->weight, &l->bias, &l->slope, &l->residual};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]->data);
}

static void check(struct layer *l)
{
    const struct winograd_shape *s = &l->shape;
    size_t pixels = (size_t)(s->n * s->in_h * s->in_w);
    seed = 3;
    l->in = filled(pixels * (size_t)l->in_stride, true);
    l->weight = filled((size_t)(s->out_c * s->in_c * s->kernel_h * s->kernel_w), true);
    l->bias = filled((size_t)s->out_c, true);
    l->slope = filled((size_t)s->out_c, true);
    l->residual = filled((size_t)(s->n * s->out_h * s->out_w * s->out_c), true);
    int n_tiles = 0;
    for (enum vector_set v = VECTORS_PLAIN; v <= VECTORS_AVX512; v++)
        for (int tile = 2; has(v) && tile <= 4; tile++) {
            FLOATS one = {0}, three = {0};
            if (!computed(&one, l, tile, v, 1))
                continue;
            assert_true(computed(&three, l, tile, v, 3));
            assert_memory_equal(one.data, three.data, one.n * sizeof(float));
            compare(l, &one, tile, (int)v);
            n_tiles++;
        }
    assert_true(n_tiles >= 2);
    layer_free(l);
}

static void test_ordinary(void **state)
{
    static const struct {
        int n, h, w, in_c, out_c, pad, less; // less: rows and columns that no padding gives
    } cases[] = {
        {1, 1, 1, 16, 16, 1, 0},  {2, 3, 3, 32, 48, 1, 0}, {3, 5, 7, 48, 32, 1, 0},
        {1, 13, 9, 80, 32, 1, 0}, {2, 6, 8, 16, 64, 0, 2}, {5, 4, 11, 64, 16, 1, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int residual = 0; residual < 2; residual++) {
            struct layer l = {.shape = {.n = cases[i].n,
                                        .in_h = cases[i].h,
                                        .in_w = cases[i].w,
                                        .in_c = cases[i].in_c,
                                        .out_h = cases[i].h - cases[i].less,
                                        .out_w = cases[i].w - cases[i].less,
                                        .out_c = cases[i].out_c,
                                        .kernel_h = 3,
                                        .kernel_w = 3,
                                        .pad_top = cases[i].pad,
                                        .pad_left = cases[i].pad},
                              .in_stride = cases[i].in_c + 5 * residual,
                              .out_stride = cases[i].out_c + 3 * residual,
                              .has_residual = residual,
                              .top = residual ? 6 : INFINITY};
            check(&l);
        }
}

// The phases of a transposed convolution, each into its own pixels of a picture twice as large.
static void test_interleaved(void **state)
{
    for (int phase = 0; phase < 4; phase++)
        for (int size = 3; size <= 10; size += 7) {
            struct layer l = {.shape = {.n = 2,
                                        .in_h = size,
                                        .in_w = size + 2,
                                        .in_c = 32,
                                        .out_h = size,
                                        .out_w = size + 2,
                                        .out_c = 16,
                                        .kernel_h = 1 + phase / 2,
                                        .kernel_w = 1 + phase % 2},
                              .in_stride = 32,
                              .out_stride = 24,
                              .interleaved = true,
                              .row = phase / 2,
                              .column = phase % 2,
                              .top = INFINITY};
            check(&l);
        }
}

// Channels that fill no vector, kernels and tiles of other sizes, and more tiles than can be
// counted are not for it.
static void test_refused(void **state)
{
    struct winograd_shape s = {.n = 1,
                               .in_h = 8,
                               .in_w = 8,
                               .in_c = 16,
                               .out_h = 8,
                               .out_w = 8,
                               .out_c = 16,
                               .kernel_h = 3,
                               .kernel_w = 3};
    struct winograd w;
    assert_true(winograd_make(&w, &s, 4, VECTORS_PLAIN, 1));
    assert_false(winograd_make(&w, &s, 5, VECTORS_PLAIN, 1));
    s.n = 256;
    s.out_h = s.out_w = 1 << 13;
    assert_true(winograd_make(&w, &s, 4, VECTORS_PLAIN, 1));
    s.out_h = s.out_w = 1 << 14; // their number is 0 in 32 bits
    assert_false(winograd_make(&w, &s, 4, VECTORS_PLAIN, 1));
    s.n = 1;
    s.out_h = s.out_w = 8;
    s.in_c = 6;
    assert_false(winograd_has_form(&s, VECTORS_PLAIN));
    s.in_c = 16;
    s.kernel_w = 5;
    assert_false(winograd_has_form(&s, VECTORS_PLAIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary),
        cmocka_unit_test(test_interleaved),
        cmocka_unit_test(test_points_of_16_bits),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
