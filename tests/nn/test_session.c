// The engine against plain loops: every operation, f32 and bf16, batch 1 and 3, optimized graphs.
#include "tests/nn/graphs.h"
#include "tests/nn/plain.h"

#include <math.h>
#include <stdlib.h>

#include "nn/onednn/internal.h"
#include "nn/session.h"

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

static void test_int8_stays_near(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(builders); i++) {
        CLEANUP(ranges_free) struct ranges *one = calibrate(builders[i], 1);
        CLEANUP(ranges_free) struct ranges *three = calibrate(builders[i], 3);
        compare_ranges(builders[i], PRECISION_INT8, one, 1, 1, 0.06);
        compare_ranges(builders[i], PRECISION_INT8, three, 3, 2, 0.06);
    }
}

// The sum of a kernel's weights, by brightest pixels. c input channels; by: what they are by turns.
static void check_sum(int c, int side, const float by[4])
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = graph_create();
    CLEANUP(session_free) struct session *s = NULL;
    int x = graph_add_input(g, "x", 8, 8, c);
    int y = CONV(g, x, c, .out_c = 32, .kernel_h = side, .kernel_w = side);
    graph_add_output(g, CONV(g, y, 32, .out_c = 32, .kernel_h = 1, .kernel_w = 1));
    double want = 0;
    for (int k = 0; k < 32 * c * side * side; k++) {
        g->ops[0].weight[k] = by[k / (side * side) % c % 4];
        want += g->ops[0].weight[k] / 32;
    }
    for (int k = 0; k < 32 * 32; k++)
        g->ops[1].weight[k] = k / 32 == k % 32;
    memset(g->ops[0].bias, 0, 32 * sizeof(float));
    memset(g->ops[1].bias, 0, 32 * sizeof(float));
    assert_ok(err, graph_finish(g, &err));
    float limits[3] = {1};
    struct ranges ranges = {.n_values = 3, .limits = limits};
    struct session_params params = {.precision = PRECISION_INT8, .ranges = &ranges};
    assert_ok(err, session_create(&s, g, &params, &err));
    for (int k = 0; k < 8 * 8 * c; k++)
        session_input(s, 0)[k] = 1;
    assert_ok(err, session_run(s, &err));
    double got = session_output(s, 0)[32 * 4 + 5];
    if (!(fabs(got - want) < 0.05 * fabs(want)))
        fail_msg("%d channels, %dx%d: %g instead of %g", c, side, side, got, want);
}

// Where products are added in pairs of 16 bits, those of large weights of 8 bits and one sign would
// be cut. The third is cut where others than neighbours are pairs.
static void test_int8_does_not_saturate(void **state)
{
    static const float by[][4] = {{1, 1, 0.98f, 1}, {-1, -1, -0.98f, -1}, {1, -0.8f, -1, 0.5f}};
    static const int channels[] = {6, 7, 32, 64};
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        for (size_t k = 0; k < ARRAY_LEN(by); k++)
            for (int side = 1; side <= 3; side += 2)
                check_sum(channels[i], side, by[k]);
}

static size_t memory_of(struct graph *(*build)(void), enum precision precision,
                        const struct ranges *ranges, struct observer *observer)
{
    struct kb_error err = {0};
    struct graph *g = build();
    assert_ok(err, graph_finish(g, &err));
    struct session *s = NULL;
    struct session_params params = {.precision = precision, .ranges = ranges, .observer = observer};
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
    // Watched, neither runs by Winograd, whose weights are larger.
    CLEANUP(observer_free) struct observer *observer = observer_create();
    assert_true(memory_of(build_rectified, PRECISION_INT8, ranges, observer) * 3 <
                memory_of(build_rectified, PRECISION_F32, NULL, observer) * 2);
}

// Winograd's weights take more memory. Who observes values gets the library's convolutions.
static void test_winograd_is_used(void **state)
{
    CLEANUP(observer_free) struct observer *observer = observer_create();
    assert_true(memory_of(build_wide, PRECISION_F32, NULL, NULL) >
                memory_of(build_wide, PRECISION_F32, NULL, observer) + 100000);
}

// What is taken in by a direct convolution has no memory of its own.
static void test_direct_is_used(void **state)
{
    CLEANUP(observer_free) struct observer *observer = observer_create();
    assert_true(memory_of(build_narrow, PRECISION_F32, NULL, NULL) + 30000 <
                memory_of(build_narrow, PRECISION_F32, NULL, observer));
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

// int8 by rule: 512 bits of VNNI, or 256 as Alder Lake has them without AVX-512.
static void test_vnni_of_instruction_sets(void **state)
{
    static const struct {
        unsigned isa;
        bool has;
    } cases[] = {
        {dnnl_cpu_isa_sse41, false},           {dnnl_cpu_isa_avx2, false},
        {dnnl_cpu_isa_avx2_vnni, true},        {dnnl_cpu_isa_avx512_core, false},
        {dnnl_cpu_isa_avx512_core_vnni, true}, {dnnl_cpu_isa_avx512_core_bf16, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(onednn_is_vnni(cases[i].isa), cases[i].has);
    bool here = onednn_has_vnni();
    assert_int_equal(precision_resolve(PRECISION_AUTO, true) == PRECISION_INT8, here);
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
        cmocka_unit_test(test_int8_is_used),
        cmocka_unit_test(test_int8_does_not_saturate),
        cmocka_unit_test(test_winograd_is_used),
        cmocka_unit_test(test_direct_is_used),
        cmocka_unit_test(test_int8_needs_ranges),
        cmocka_unit_test(test_ranges_are_kept),
        cmocka_unit_test(test_outliers_are_cut_off),
        cmocka_unit_test(test_bad_graphs_are_refused),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_vnni_of_instruction_sets),
        cmocka_unit_test(test_precision_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
