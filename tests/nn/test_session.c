// The engine against plain loops: every operation, f32 and bf16, batch 1 and 3, optimized graphs.
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "nn/session.h"

// --- a reference interpreter: slow, plain, one image at a time, NHWC f32 ---

struct plain {
    float *data;
    int h, w, c;
};

static float *at(const struct plain *p, int y, int x, int c)
{
    return &p->data[((int64_t)y * p->w + x) * p->c + c];
}

static float activate(const struct op *op, float v, int c)
{
    switch (op->act) {
    case ACT_RELU:
        return fmaxf(v, 0);
    case ACT_RELU6:
        return fminf(fmaxf(v, 0), 6);
    case ACT_PRELU:
        return v > 0 ? v : v * op->slope[c];
    case ACT_LEAKY_RELU:
        return v > 0 ? v : v * op->alpha;
    case ACT_SIGMOID:
        return 1 / (1 + expf(-v));
    default:
        return v;
    }
}

static void plain_conv(const struct op *op, const struct plain *x, const struct plain *y)
{
    int in_per_group = x->c / op->groups, out_per_group = y->c / op->groups;
    for (int oy = 0; oy < y->h; oy++)
        for (int ox = 0; ox < y->w; ox++)
            for (int o = 0; o < y->c; o++) {
                double sum = op->bias ? op->bias[o] : 0;
                for (int i = 0; i < in_per_group; i++)
                    for (int ky = 0; ky < op->kernel_h; ky++)
                        for (int kx = 0; kx < op->kernel_w; kx++) {
                            int iy = oy * op->stride_h + ky * op->dilation_h - op->pad_top;
                            int ix = ox * op->stride_w + kx * op->dilation_w - op->pad_left;
                            if (iy < 0 || ix < 0 || iy >= x->h || ix >= x->w)
                                continue;
                            int w =
                                ((o * in_per_group + i) * op->kernel_h + ky) * op->kernel_w + kx;
                            sum += op->weight[w] *
                                   *at(x, iy, ix, o / out_per_group * in_per_group + i);
                        }
                *at(y, oy, ox, o) = (float)sum;
            }
}

static void plain_deconv(const struct op *op, const struct plain *x, const struct plain *y)
{
    for (int oy = 0; oy < y->h; oy++)
        for (int ox = 0; ox < y->w; ox++)
            for (int o = 0; o < y->c; o++)
                *at(y, oy, ox, o) = op->bias ? op->bias[o] : 0;
    for (int iy = 0; iy < x->h; iy++)
        for (int ix = 0; ix < x->w; ix++)
            for (int i = 0; i < x->c; i++)
                for (int o = 0; o < y->c; o++)
                    for (int ky = 0; ky < op->kernel_h; ky++)
                        for (int kx = 0; kx < op->kernel_w; kx++) {
                            int oy = iy * op->stride_h + ky - op->pad_top;
                            int ox = ix * op->stride_w + kx - op->pad_left;
                            if (oy < 0 || ox < 0 || oy >= y->h || ox >= y->w)
                                continue;
                            int w = ((i * y->c + o) * op->kernel_h + ky) * op->kernel_w + kx;
                            *at(y, oy, ox, o) += op->weight[w] * *at(x, iy, ix, i);
                        }
}

// Source element of one output element for the operations that only move numbers.
static float moved(const struct op *op, const struct plain *v, int y, int x, int c)
{
    const struct plain *a = &v[op->in[0]];
    switch (op->kind) {
    case OP_PAD:
        y -= op->pad_top;
        x -= op->pad_left;
        return y >= 0 && x >= 0 && y < a->h && x < a->w && c < a->c ? *at(a, y, x, c) : 0;
    case OP_RESHAPE:
        return a->data[((int64_t)y * op->out_w + x) * op->out_c + c];
    case OP_CONCAT:
        for (int k = 0; k < op->n_in; k++) {
            const struct plain *p = &v[op->in[k]];
            if (y < p->h && x < p->w && c < p->c)
                return *at(p, y, x, c);
            y -= op->axis == 'h' ? p->h : 0;
            x -= op->axis == 'w' ? p->w : 0;
            c -= op->axis == 'c' ? p->c : 0;
        }
        return NAN;
    default:
        return NAN;
    }
}

static void plain_rest(const struct op *op, const struct plain *v)
{
    const struct plain *a = &v[op->in[0]], *y = &v[op->out];
    for (int oy = 0; oy < y->h; oy++)
        for (int ox = 0; ox < y->w; ox++)
            for (int c = 0; c < y->c; c++) {
                float *out = at(y, oy, ox, c);
                if (op->kind == OP_BATCHNORM) {
                    *out = *at(a, oy, ox, c) * op->scale[c] + op->bias[c];
                } else if (op->kind == OP_ACTIVATION) {
                    *out = *at(a, oy, ox, c);
                } else if (op->kind == OP_ADD) {
                    *out = *at(a, oy, ox, c) + *at(&v[op->in[1]], oy, ox, c);
                } else if (op->kind == OP_MAX_POOL) {
                    *out = -INFINITY;
                    for (int k = 0; k < op->kernel_h * op->kernel_w; k++) {
                        int iy = oy * op->stride_h + k / op->kernel_w - op->pad_top;
                        int ix = ox * op->stride_w + k % op->kernel_w - op->pad_left;
                        if (iy >= 0 && ix >= 0 && iy < a->h && ix < a->w)
                            *out = fmaxf(*out, *at(a, iy, ix, c));
                    }
                } else if (op->kind == OP_RESIZE_BILINEAR) {
                    float fy = fminf(fmaxf((oy + 0.5f) * a->h / y->h - 0.5f, 0), a->h - 1);
                    float fx = fminf(fmaxf((ox + 0.5f) * a->w / y->w - 0.5f, 0), a->w - 1);
                    int y0 = (int)fy, x0 = (int)fx;
                    int y1 = KB_MIN(y0 + 1, a->h - 1), x1 = KB_MIN(x0 + 1, a->w - 1);
                    float ty = fy - y0, tx = fx - x0;
                    *out = (*at(a, y0, x0, c) * (1 - tx) + *at(a, y0, x1, c) * tx) * (1 - ty) +
                           (*at(a, y1, x0, c) * (1 - tx) + *at(a, y1, x1, c) * tx) * ty;
                } else {
                    *out = moved(op, v, oy, ox, c);
                }
            }
}

// Run an unoptimized graph on one image; returns all values.
static struct plain *plain_run(const struct graph *g, const float *const *inputs)
{
    struct plain *v = calloc((size_t)g->n_values, sizeof(*v));
    for (int i = 0; i < g->n_values; i++) {
        v[i] = (struct plain){NULL, g->values[i].h, g->values[i].w, g->values[i].c};
        v[i].data = calloc((size_t)v[i].h * (size_t)v[i].w * (size_t)v[i].c + 1, sizeof(float));
    }
    for (int i = 0; i < g->n_inputs; i++) {
        struct plain *p = &v[g->inputs[i]];
        memcpy(p->data, inputs[i], (size_t)p->h * (size_t)p->w * (size_t)p->c * sizeof(float));
    }
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        const struct plain *y = &v[op->out];
        if (op->kind == OP_CONV)
            plain_conv(op, &v[op->in[0]], y);
        else if (op->kind == OP_DECONV)
            plain_deconv(op, &v[op->in[0]], y);
        else
            plain_rest(op, v);
        for (int64_t k = 0; k < (int64_t)y->h * y->w * y->c; k++) {
            if (op->kind == OP_CONV && op->residual >= 0)
                y->data[k] += v[op->residual].data[k];
            y->data[k] = activate(op, y->data[k], (int)(k % y->c));
        }
    }
    return v;
}

static void plain_free(const struct graph *g, struct plain *v)
{
    for (int i = 0; i < g->n_values; i++)
        free(v[i].data);
    free(v);
}

// --- building graphs ---

static uint32_t seed;

static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (1 << 23) - 1;
}

static float *noises(int n, float scale)
{
    float *p = malloc((size_t)n * sizeof(*p));
    for (int i = 0; i < n; i++)
        p[i] = noise() * scale;
    return p;
}

static int conv(struct graph *g, int x, int in_c, struct op o)
{
    int n = o.out_c * in_c / KB_MAX(o.groups, 1) * KB_MAX(o.kernel_h, 1) * KB_MAX(o.kernel_w, 1);
    o.n_in = 1;
    o.in[0] = x;
    o.residual = o.residual ? o.residual : -1; // value 0 is the input, never a residual here
    o.name = "conv";
    o.weight = noises(n, 1.7f / sqrtf((float)n / (float)o.out_c));
    o.bias = noises(o.out_c, 0.3f);
    if (o.act == ACT_PRELU)
        o.slope = noises(o.out_c, 0.5f);
    o.out = graph_add_value(g, NULL);
    graph_add_op(g, &o);
    return o.out;
}

static int unary(struct graph *g, int x, struct op o)
{
    o.n_in = o.n_in ? o.n_in : 1;
    o.in[0] = x;
    o.residual = -1;
    o.out = graph_add_value(g, NULL);
    graph_add_op(g, &o);
    return o.out;
}

#define CONV(g, x, in_c, ...) conv(g, x, in_c, (struct op){.kind = OP_CONV, __VA_ARGS__})
#define OP(g, x, ...)         unary(g, x, (struct op){__VA_ARGS__})

// A transposed convolution that doubles height and width, and a ReLU.
static int twice(struct graph *g, int x, int in_c, int out_c)
{
    struct op o = {.kind = OP_DECONV,
                   .kernel_h = 3,
                   .kernel_w = 3,
                   .stride_h = 2,
                   .stride_w = 2,
                   .pad_top = 1,
                   .pad_left = 1,
                   .out_pad_h = 1,
                   .out_pad_w = 1,
                   .out_c = out_c,
                   .residual = -1};
    return OP(g, conv(g, x, in_c, o), .kind = OP_ACTIVATION, .act = ACT_RELU);
}

static struct graph *build_unet(void)
{
    struct graph *g = graph_create();
    int x = graph_add_input(g, "face", 16, 24, 6);
    int e = CONV(g, x, 6, .out_c = 20, .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1,
                 .pad_bottom = 1, .pad_right = 1, .act = ACT_RELU);
    int f = CONV(g, e, 20, .out_c = 20, .kernel_h = 3, .kernel_w = 3, .dilation_w = 4, .pad_top = 1,
                 .pad_left = 4, .pad_bottom = 1, .pad_right = 4, .residual = e, .act = ACT_RELU);
    int d = CONV(g, f, 20, .out_c = 16, .kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2,
                 .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .act = ACT_PRELU);
    int pooled =
        OP(g, d, .kind = OP_MAX_POOL, .kernel_h = 2, .kernel_w = 2, .stride_h = 2, .stride_w = 2);
    int up = twice(g, twice(g, pooled, 16, 20), 20, 32);
    int c2 = OP(g, up, .kind = OP_CONCAT, .n_in = 2, .in = {0, f}, .axis = 'c');
    int out = CONV(g, c2, 52, .out_c = 12, .kernel_h = 3, .kernel_w = 3, .pad_top = 1,
                   .pad_left = 1, .pad_bottom = 1, .pad_right = 1);
    int y = OP(g, out, .kind = OP_ACTIVATION, .act = ACT_SIGMOID);
    graph_add_output(g, y);
    return g;
}

static struct graph *build_wav2lip_like(void)
{
    struct graph *g = graph_create();
    int x = graph_add_input(g, "x", 3, 3, 16);
    for (int stride = 1; stride <= 2; stride++) { // stride 1, then 2, then 2 with a 4x4 kernel
        int k = 3;
        struct op de = {.kind = OP_DECONV,
                        .kernel_h = k,
                        .kernel_w = k,
                        .stride_h = stride,
                        .stride_w = stride,
                        .pad_top = stride - 1,
                        .pad_left = stride - 1,
                        .out_pad_h = stride - 1,
                        .out_pad_w = stride - 1,
                        .out_c = 16,
                        .residual = -1};
        int y = conv(g, x, 16, de);
        y = OP(g, y, .kind = OP_BATCHNORM, .scale = noises(16, 1), .bias = noises(16, 1));
        x = OP(g, y, .kind = OP_ACTIVATION, .act = ACT_RELU);
    }
    struct op de4 = {.kind = OP_DECONV,
                     .kernel_h = 4,
                     .kernel_w = 4,
                     .stride_h = 2,
                     .stride_w = 2,
                     .pad_top = 1,
                     .pad_left = 1,
                     .out_c = 16,
                     .residual = -1};
    x = conv(g, x, 16, de4);
    int y = CONV(g, x, 16, .out_c = 16, .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1,
                 .pad_bottom = 1, .pad_right = 1);
    y = OP(g, y, .kind = OP_BATCHNORM, .scale = noises(16, 1), .bias = noises(16, 1));
    int sum = OP(g, y, .kind = OP_ADD, .n_in = 2, .in = {0, x});
    int relu = OP(g, sum, .kind = OP_ACTIVATION, .act = ACT_RELU);
    graph_add_output(g, relu);
    int lone = OP(g, relu, .kind = OP_BATCHNORM, .scale = noises(16, 1), .bias = noises(16, 1));
    graph_add_output(g, lone);
    return g;
}

static struct graph *build_mediapipe_like(void)
{
    struct graph *g = graph_create();
    int x = graph_add_input(g, "x", 16, 16, 3);
    int a = CONV(g, x, 3, .out_c = 8, .kernel_h = 5, .kernel_w = 5, .stride_h = 2, .stride_w = 2,
                 .pad_top = 1, .pad_left = 1, .pad_bottom = 2, .pad_right = 2, .act = ACT_RELU);
    int b = CONV(g, a, 8, .groups = 8, .out_c = 8, .kernel_h = 3, .kernel_w = 3, .stride_h = 2,
                 .stride_w = 2, .pad_bottom = 1, .pad_right = 1);
    int c = CONV(g, b, 8, .out_c = 12);
    int p =
        OP(g, a, .kind = OP_MAX_POOL, .kernel_h = 2, .kernel_w = 2, .stride_h = 2, .stride_w = 2);
    int q = OP(g, p, .kind = OP_PAD, .pad_channels = 4);
    int s = OP(g, c, .kind = OP_ADD, .n_in = 2, .in = {0, q}, .act = ACT_RELU);
    int t = OP(g, s, .kind = OP_ACTIVATION, .act = ACT_PRELU, .slope = noises(12, 0.4f));
    int r = OP(g, t, .kind = OP_RESIZE_BILINEAR, .out_h = 8, .out_w = 8);
    int pad =
        OP(g, r, .kind = OP_PAD, .pad_top = 1, .pad_left = 2, .pad_bottom = 3, .pad_right = 0);
    int l1 = OP(g, s, .kind = OP_RESHAPE, .out_h = 1, .out_w = 48, .out_c = 4);
    int l2 = OP(g, pad, .kind = OP_RESHAPE, .out_h = 1, .out_w = 360, .out_c = 4);
    int cat = OP(g, l1, .kind = OP_CONCAT, .n_in = 2, .in = {0, l2}, .axis = 'w');
    int leaky = OP(g, cat, .kind = OP_ACTIVATION, .act = ACT_LEAKY_RELU, .alpha = 0.1f);
    graph_add_output(g, leaky);
    graph_add_output(g, OP(g, a, .kind = OP_ACTIVATION, .act = ACT_RELU6));
    graph_add_output(g, OP(g, a, .kind = OP_CONCAT, .n_in = 2, .in = {0, a}, .axis = 'h'));
    return g;
}

static struct graph *(*const builders[])(void) = {build_unet, build_wav2lip_like,
                                                  build_mediapipe_like};

// tolerance: largest allowed difference over the largest value of the output.
static void compare_ranges(struct graph *(*build)(void), enum precision precision,
                           const struct ranges *ranges, int batch, int threads, double tolerance)
{
    struct kb_error err = {0};
    seed = 7;
    struct graph *g = build(), *plain = NULL;
    seed = 7;
    plain = build();
    assert_ok(err, graph_finish(g, &err));
    assert_ok(err, graph_finish(plain, &err));

    struct session *s = NULL;
    struct session_params params = {
        .batch = batch, .precision = precision, .threads = threads, .ranges = ranges};
    assert_ok(err, session_create(&s, g, &params, &err));
    graph_free(&g);
    struct value in = session_input_shape(s, 0);
    int n_in = in.h * in.w * in.c;
    for (int i = 0; i < n_in * batch; i++)
        session_input(s, 0)[i] = noise();
    assert_ok(err, session_run(s, &err));
    assert_ok(err, session_run(s, &err)); // a second run must not see the first

    for (int b = 0; b < batch; b++) {
        const float *inputs[] = {session_input(s, 0) + (size_t)b * (size_t)n_in};
        struct plain *v = plain_run(plain, inputs);
        for (int o = 0; o < session_n_outputs(s); o++) {
            struct value shape = session_output_shape(s, o);
            int n = shape.h * shape.w * shape.c;
            const float *got = session_output(s, o) + (size_t)b * (size_t)n;
            const float *want = v[plain->outputs[o]].data;
            double worst = 0, largest = 0;
            for (int i = 0; i < n; i++) {
                worst = fmax(worst, fabs((double)got[i] - want[i]));
                largest = fmax(largest, fabs((double)want[i]));
            }
            if (!(worst <= tolerance * fmax(largest, 1e-3)))
                fail_msg("output %d of image %d: off by %g of %g", o, b, worst, largest);
        }
        plain_free(plain, v);
    }
    assert_true(session_memory_bytes(s) > 0);
    session_free(&s);
    graph_free(&plain);
}

static void compare(struct graph *(*build)(void), enum precision precision, int batch, int threads,
                    double tolerance)
{
    compare_ranges(build, precision, NULL, batch, threads, tolerance);
}

static void test_f32_matches_plain_loops(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(builders); i++) {
        compare(builders[i], PRECISION_F32, 1, 1, 2e-5);
        compare(builders[i], PRECISION_F32, 3, 2, 2e-5);
    }
}

static void test_bf16_stays_near(void **state)
{
    if (!precision_can_run(PRECISION_BF16)) { // says so
        struct kb_error err = {0};
        struct graph *g = builders[0]();
        struct session *s = NULL;
        assert_ok(err, graph_finish(g, &err));
        struct session_params params = {.precision = PRECISION_BF16};
        assert_fails(err, KB_UNAVAILABLE, "bf16", session_create(&s, g, &params, &err));
        graph_free(&g);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(builders); i++) {
        compare(builders[i], PRECISION_BF16, 1, 1, 0.05);
        compare(builders[i], PRECISION_BF16, 3, 2, 0.05);
    }
}

// The ranges of a graph's values on the inputs that compare() gives it.
static struct ranges *calibrate(struct graph *(*build)(void), int batch)
{
    struct kb_error err = {0};
    CLEANUP(observer_free) struct observer *observer = observer_create();
    seed = 7;
    struct graph *g = build();
    seed = 7;
    struct graph *same = build(); // compare() draws its weights twice
    graph_free(&same);
    assert_ok(err, graph_finish(g, &err));
    struct session *s = NULL;
    struct session_params params = {
        .batch = batch, .precision = PRECISION_F32, .observer = observer};
    assert_ok(err, session_create(&s, g, &params, &err));
    struct value in = session_input_shape(s, 0);
    for (int i = 0; i < in.h * in.w * in.c * batch; i++)
        session_input(s, 0)[i] = noise();
    assert_ok(err, session_run(s, &err));
    session_free(&s);
    graph_free(&g);
    return observer_ranges(observer);
}

static void test_int8_stays_near(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(builders); i++) {
        CLEANUP(ranges_free) struct ranges *one = calibrate(builders[i], 1);
        CLEANUP(ranges_free) struct ranges *three = calibrate(builders[i], 3);
        compare_ranges(builders[i], PRECISION_INT8, one, 1, 1, 0.06);
        compare_ranges(builders[i], PRECISION_INT8, three, 3, 2, 0.06);
    }
}

// --- packed networks ---

static char packed_path[] = "/tmp/koubo-pack-XXXXXX";

static struct session *session_of(struct graph *g, enum precision precision,
                                  const struct ranges *ranges, struct pack *pack,
                                  struct pack_writer *writer)
{
    struct kb_error err = {0};
    struct session *s = NULL;
    struct session_params params = {.batch = 3,
                                    .precision = precision,
                                    .threads = 2,
                                    .ranges = ranges,
                                    .pack = pack,
                                    .pack_writer = writer};
    assert_ok(err, session_create(&s, g, &params, &err));
    struct value in = session_input_shape(s, 0);
    for (int i = 0; i < in.h * in.w * in.c * 3; i++)
        session_input(s, 0)[i] = (float)(i % 101) / 101;
    assert_ok(err, session_run(s, &err));
    return s;
}

static void write_pack(struct graph *g, enum precision precision, const struct ranges *ranges,
                       struct session **ret)
{
    struct kb_error err = {0};
    CLEANUP(pack_writer_free) struct pack_writer *w = pack_writer_create("the key");
    assert_ok(err, graph_optimize(g, &err));
    pack_put_graph(w, g);
    *ret = session_of(g, precision, ranges, NULL, w);
    assert_ok(err, pack_save(w, packed_path, &err));
}

static void test_packed_is_the_same(void **state)
{
    struct kb_error err = {0};
    close(mkstemp(packed_path));
    for (int i = 0; i < 3 * (int)ARRAY_LEN(builders); i++) {
        enum precision precision = (enum precision)(PRECISION_F32 + i % 3);
        if (!precision_can_run(precision))
            continue;
        CLEANUP(ranges_free) struct ranges *ranges = NULL;
        CLEANUP(graph_free) struct graph *g = NULL, *again = NULL;
        CLEANUP(session_free) struct session *made = NULL, *loaded = NULL;
        CLEANUP(pack_close) struct pack *pack = NULL;
        if (precision == PRECISION_INT8)
            ranges = calibrate(builders[i / 3], 3);
        seed = 7;
        g = builders[i / 3]();
        assert_ok(err, graph_finish(g, &err));
        write_pack(g, precision, ranges, &made);

        assert_null(pack_open(packed_path, "another key"));
        pack = pack_open(packed_path, "the key");
        assert_non_null(pack);
        again = pack_take_graph(pack);
        assert_non_null(again);
        loaded = session_of(again, precision, ranges, pack, NULL);
        assert_int_equal(session_n_outputs(loaded), session_n_outputs(made));
        for (int o = 0; o < session_n_outputs(made); o++) {
            struct value shape = session_output_shape(made, o);
            size_t n = 3 * (size_t)(shape.h * shape.w * shape.c);
            assert_memory_equal(session_output(made, o), session_output(loaded, o),
                                n * sizeof(float));
        }
    }
}

static void write_bytes(const char *data, size_t size)
{
    struct kb_error err = {0};
    assert_ok(err, file_write_atomic(packed_path, data, size, &err));
}

// A pack that is cut short, or in which any byte was changed, is none; one of another graph does
// not fit.
static void test_damaged_packs(void **state)
{
    struct kb_error err = {0};
    CLEANUP(session_free) struct session *made = NULL, *none = NULL;
    CLEANUP(graph_free) struct graph *g = build_unet(), *other = build_wav2lip_like();
    CLEANUP(file_unmap) struct file_map whole = {0};
    assert_ok(err, graph_finish(g, &err));
    write_pack(g, PRECISION_F32, NULL, &made);
    assert_ok(err, file_map(&whole, packed_path, &err));
    size_t size = whole.size;
    CLEANUP(kb_freep) char *data = malloc(size);
    memcpy(data, whole.data, size);
    for (size_t i = 0; i < size; i += i < 300 ? 7 : 4999) {
        data[i] ^= 1;
        write_bytes(data, size);
        data[i] ^= 1;
        bool unused = i >= 24 && i < 64; // of the header
        CLEANUP(pack_close) struct pack *p = pack_open(packed_path, "the key");
        assert_int_equal(p != NULL, unused);
        write_bytes(data, KB_MAX(i, 1));
        assert_null(pack_open(packed_path, "the key"));
    }
    write_bytes(data, size);
    assert_int_equal(chmod(packed_path, 0666), 0); // anybody could have written that
    assert_null(pack_open(packed_path, "the key"));
    assert_int_equal(chmod(packed_path, 0644), 0);
    CLEANUP(pack_close) struct pack *p = pack_open(packed_path, "the key");
    CLEANUP(graph_free) struct graph *own = pack_take_graph(p);
    assert_ok(err, graph_finish(other, &err));
    assert_ok(err, graph_optimize(other, &err));
    struct session_params params = {.pack = p, .precision = PRECISION_F32};
    assert_fails(err, KB_BAD_INPUT, "does not fit", session_create(&none, other, &params, &err));
    unlink(packed_path);
}

// Positive weights into a ReLU, a residual and a concatenation: all of it can be u8, so the arena
// is about half of bf16's and the weights too.
static struct graph *build_rectified(void)
{
    struct graph *g = graph_create();
    int x = graph_add_input(g, "x", 16, 16, 8);
    int a = CONV(g, x, 8, .out_c = 32, .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1,
                 .pad_bottom = 1, .pad_right = 1, .act = ACT_RELU);
    int b = CONV(g, a, 32, .out_c = 32, .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1,
                 .pad_bottom = 1, .pad_right = 1, .residual = a, .act = ACT_RELU);
    int both = OP(g, a, .kind = OP_CONCAT, .n_in = 2, .in = {0, b}, .axis = 'c');
    int c = CONV(g, both, 64, .out_c = 64, .kernel_h = 3, .kernel_w = 3, .pad_top = 1,
                 .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .act = ACT_RELU);
    int d = CONV(g, c, 64, .out_c = 3, .kernel_h = 1, .kernel_w = 1);
    graph_add_output(g, OP(g, d, .kind = OP_ACTIVATION, .act = ACT_SIGMOID));
    return g;
}

static size_t memory_of(enum precision precision, const struct ranges *ranges)
{
    struct kb_error err = {0};
    struct graph *g = build_rectified();
    assert_ok(err, graph_finish(g, &err));
    struct session *s = NULL;
    struct session_params params = {.precision = precision, .ranges = ranges};
    assert_ok(err, session_create(&s, g, &params, &err));
    size_t bytes = session_memory_bytes(s);
    session_free(&s);
    graph_free(&g);
    return bytes;
}

static void test_int8_is_used(void **state)
{
    CLEANUP(ranges_free) struct ranges *ranges = calibrate(build_rectified, 4);
    compare_ranges(build_rectified, PRECISION_INT8, ranges, 4, 2, 0.03);
    assert_true(memory_of(PRECISION_INT8, ranges) * 3 < memory_of(PRECISION_F32, NULL) * 2);
}

static void test_int8_needs_ranges(void **state)
{
    struct kb_error err = {0};
    struct graph *g = build_rectified();
    assert_ok(err, graph_finish(g, &err));
    struct session *s = NULL;
    struct session_params params = {.precision = PRECISION_INT8};
    assert_fails(err, KB_BAD_INPUT, "model quantize", session_create(&s, g, &params, &err));
    graph_free(&g);
}

static void test_ranges_are_kept(void **state)
{
    struct kb_error err = {0};
    CLEANUP(ranges_free) struct ranges *made = calibrate(build_rectified, 1);
    CLEANUP(kb_freep) char *text = ranges_to_json(made);
    CLEANUP(ranges_free) struct ranges *read = NULL;
    assert_ok(err, ranges_from_json(&read, text, made->n_values, &err));
    int n_known = 0;
    for (int i = 0; i < made->n_values; i++) {
        assert_true(fabsf(read->limits[i] - made->limits[i]) <= 1e-5f * made->limits[i]);
        n_known += made->limits[i] > 0;
    }
    assert_true(n_known >= 3);
    ranges_free(&read);
    assert_fails(err, KB_BAD_INPUT, "do not belong",
                 ranges_from_json(&read, text, made->n_values + 1, &err));
    assert_fails(err, KB_BAD_INPUT, "do not belong", ranges_from_json(&read, "{", 3, &err));
    assert_fails(err, KB_BAD_INPUT, "no value reaches",
                 ranges_from_json(&read, "{\"limits\": [1, -2]}", 2, &err));
}

// One outlier among many small values does not take all the steps.
static void test_outliers_are_cut_off(void **state)
{
    CLEANUP(observer_free) struct observer *o = observer_create();
    observer_prepare(o, 3);
    enum { N = 200000 };
    CLEANUP(kb_freep) float *data = kb_alloc(N * sizeof(*data));
    for (int i = 0; i < N; i++)
        data[i] = (float)(i % 1000) / 1000;
    observer_note(o, 0, data, N);
    for (int i = 0; i < 10; i++)
        observer_note(o, 1, data, N);
    data[5] = 3;
    observer_note(o, 1, data, N);
    data[6] = -0.1f;
    observer_note(o, 2, data, N);
    CLEANUP(ranges_free) struct ranges *r = observer_ranges(o);
    assert_true(r->limits[0] > 0.97f && r->limits[0] < 1.05f);
    assert_true(r->limits[1] > 0.97f && r->limits[1] < 2);
    assert_true(r->limits[2] == 0); // can be negative
}

static void test_bad_graphs_are_refused(void **state)
{
    struct kb_error err = {0};
    struct graph *g = graph_create();
    assert_fails(err, KB_BAD_INPUT, "inputs", graph_finish(g, &err));
    int x = graph_add_input(g, "x", 4, 4, 3);
    int y = OP(g, x, .kind = OP_ADD, .n_in = 2, .in = {0, 99});
    graph_add_output(g, y);
    assert_fails(err, KB_BAD_INPUT, "before it is used", graph_finish(g, &err));
    graph_free(&g);

    g = graph_create();
    x = graph_add_input(g, "x", 4, 4, 3);
    y = OP(g, x, .kind = OP_PAD, .pad_top = 1 << 21, .name = "big");
    graph_add_output(g, y);
    assert_fails(err, KB_BAD_INPUT, "'big'", graph_finish(g, &err));
    graph_free(&g);

    g = graph_create();
    x = graph_add_input(g, "x", 4, 4, 3);
    y = CONV(g, x, 3, .out_c = 4, .kernel_h = 5, .kernel_w = 1);
    graph_add_output(g, y);
    assert_fails(err, KB_BAD_INPUT, "larger than its padded input", graph_finish(g, &err));
    graph_free(&g);

    g = graph_create();
    x = graph_add_input(g, "x", 4, 4, 3);
    y = CONV(g, x, 3, .out_c = 4);
    g->ops[0].residual = x;
    graph_add_output(g, y);
    assert_fails(err, KB_BAD_INPUT, "another shape", graph_finish(g, &err));
    graph_free(&g);
}

static void test_counts(void **state)
{
    struct kb_error err = {0};
    struct graph *g = graph_create();
    int x = graph_add_input(g, "x", 8, 8, 4);
    int y = CONV(g, x, 4, .out_c = 16, .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1,
                 .pad_bottom = 1, .pad_right = 1);
    graph_add_output(g, y);
    assert_ok(err, graph_finish(g, &err));
    assert_int_equal(graph_macs(g), 8 * 8 * 16 * 4 * 9);
    assert_int_equal(graph_params(g), 16 * 4 * 9 + 16);
    graph_free(&g);
}

static void test_precision_names(void **state)
{
    enum precision p;
    assert_true(precision_parse("bf16", &p) && p == PRECISION_BF16);
    assert_true(precision_parse("auto", &p) && p == PRECISION_AUTO);
    assert_false(precision_parse("fp8", &p));
    assert_int_not_equal(precision_resolve(PRECISION_AUTO, true), PRECISION_AUTO);
    assert_int_not_equal(precision_resolve(PRECISION_AUTO, false), PRECISION_INT8);
    assert_int_equal(precision_resolve(PRECISION_F32, true), PRECISION_F32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32_matches_plain_loops),
        cmocka_unit_test(test_bf16_stays_near),
        cmocka_unit_test(test_int8_stays_near),
        cmocka_unit_test(test_packed_is_the_same),
        cmocka_unit_test(test_damaged_packs),
        cmocka_unit_test(test_int8_is_used),
        cmocka_unit_test(test_int8_needs_ranges),
        cmocka_unit_test(test_ranges_are_kept),
        cmocka_unit_test(test_outliers_are_cut_off),
        cmocka_unit_test(test_bad_graphs_are_refused),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_precision_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
