#include "tests/nn/graphs.h"

#include <math.h>
#include <stdlib.h>

uint32_t seed;

float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (1 << 23) - 1;
}

float *noises(int n, float scale)
{
    float *p = malloc((size_t)n * sizeof(*p));
    for (int i = 0; i < n; i++)
        p[i] = noise() * scale;
    return p;
}

int graph_conv(struct graph *g, int x, int in_c, struct op o)
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

int graph_op(struct graph *g, int x, struct op o)
{
    o.n_in = o.n_in ? o.n_in : 1;
    o.in[0] = x;
    o.residual = -1;
    o.name = o.name ? o.name : "op";
    o.out = graph_add_value(g, NULL);
    graph_add_op(g, &o);
    return o.out;
}

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
    return OP(g, graph_conv(g, x, in_c, o), .kind = OP_ACTIVATION, .act = ACT_RELU);
}

struct graph *build_unet(void)
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

struct graph *build_wav2lip_like(void)
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
        int y = graph_conv(g, x, 16, de);
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
    x = graph_conv(g, x, 16, de4);
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

struct graph *build_mediapipe_like(void)
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

struct graph *build_rectified(void)
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

struct graph *build_wide(void)
{
    struct graph *g = graph_create();
    int x = graph_add_input(g, "x", 21, 17, 32);
#define WIDE(in, in_c, ...)                                                                        \
    CONV(g, in, in_c, .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1,  \
         .pad_right = 1, __VA_ARGS__)
    int a = WIDE(x, 32, .out_c = 32, .act = ACT_PRELU);
    int b = WIDE(a, 32, .out_c = 32);
    int sum =
        OP(g, b, .kind = OP_ADD, .n_in = 2, .in = {0, a}, .act = ACT_LEAKY_RELU, .alpha = 0.1f);
    int up = twice(g, sum, 32, 16);
    int c = WIDE(up, 16, .out_c = 16, .act = ACT_RELU6);
    int both = OP(g, up, .kind = OP_CONCAT, .n_in = 2, .in = {0, c}, .axis = 'c');
    graph_add_output(g, WIDE(both, 32, .out_c = 16));
    return g;
}

// One pair and the activation of its sum with its input; stride 2: with the maximum of that.
static int narrow_pair(struct graph *g, int x, int in_c, int out_c, int stride)
{
    int beside = x;
    int each = CONV(g, x, in_c, .out_c = in_c, .groups = in_c, .kernel_h = 3, .kernel_w = 3,
                    .stride_h = stride, .stride_w = stride, .pad_top = 2 - stride,
                    .pad_left = 2 - stride, .pad_bottom = 1, .pad_right = 1);
    int y = CONV(g, each, in_c, .out_c = out_c);
    if (stride == 2)
        beside = OP(g, x, .kind = OP_MAX_POOL, .kernel_h = 2, .kernel_w = 2, .stride_h = 2,
                    .stride_w = 2);
    if (out_c > in_c)
        beside = OP(g, beside, .kind = OP_PAD, .pad_channels = out_c - in_c);
    y = OP(g, beside, .kind = OP_ADD, .n_in = 2, .in = {0, y});
    return OP(g, y, .kind = OP_ACTIVATION, .act = ACT_PRELU, .slope = noises(out_c, 0.5f));
}

struct graph *build_narrow(void)
{
    struct graph *g = graph_create();
    int x = graph_add_input(g, "picture", 44, 68, 3);
    x = CONV(g, x, 3, .out_c = 24, .kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2,
             .pad_bottom = 1, .pad_right = 1, .act = ACT_RELU);
    x = narrow_pair(g, x, 24, 24, 1);
    x = narrow_pair(g, x, 24, 28, 1);
    x = narrow_pair(g, x, 28, 32, 2);
    x = narrow_pair(g, x, 32, 32, 1);
    graph_add_output(g, CONV(g, x, 32, .out_c = 5));
    graph_add_output(g, CONV(g, x, 32, .out_c = 1));
    return g;
}

struct graph *(*const builders[N_BUILDERS])(void) = {
    build_unet, build_wav2lip_like, build_mediapipe_like, build_narrow, build_wide};

struct ranges *calibrate(struct graph *(*build)(void), int batch)
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
