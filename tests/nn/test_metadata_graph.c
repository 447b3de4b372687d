// Networks as JSON in metadata: the bundled one against PyTorch (tools/golden/koubo_lips.py), and
// broken ones.
#include "tests/nn/random.h"

#include "nn/import.h"

#define LIPS "models/koubo-lips.safetensors"

static void make_session(struct session **ret, int batch, enum precision precision)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    assert_ok(err, graph_load(&g, source_path(LIPS), &err));
    const struct session_params params = {.batch = batch, .precision = precision, .threads = 2};
    assert_ok(err, session_create(ret, g, &params, &err));
}

static void test_as_pytorch(void **state)
{
    CLEANUP(session_free) struct session *s = NULL;
    struct kb_error err = {0};
    make_session(&s, 2, PRECISION_F32);
    struct value v = session_output_shape(s, 0);
    assert_string_equal(v.name, "lower_face");
    assert_true(v.h == 64 && v.w == 128 && v.c == 3);
    fill_inputs(s, 3);
    assert_ok(err, session_run(s, &err));
    struct distance d = compare_golden(s, "tests/golden/koubo_lips.bin", 2, 2);
    print_message("# f32: largest difference %g\n", d.largest);
    assert_true(d.largest < 1e-4);
}

static void test_bf16(void **state)
{
    CLEANUP(session_free) struct session *s = NULL;
    struct kb_error err = {0};
    if (precision_resolve(PRECISION_AUTO, false) != PRECISION_BF16) {
        print_message("# skipped: no native bf16 on this processor\n");
        return;
    }
    make_session(&s, 2, PRECISION_BF16);
    fill_inputs(s, 3);
    assert_ok(err, session_run(s, &err));
    struct distance d = compare_golden(s, "tests/golden/koubo_lips.bin", 2, 2);
    print_message("# bf16: %.1f dB\n", d.psnr_db);
    assert_true(d.psnr_db > 45);
}

#define X              "{\"x\":[-1,4,6,8]}"
#define Y              "{\"y\":[-1,4,6,8]}"
#define OP(name, more) "{\"op\":\"" name "\",\"input\":\"x\",\"output\":\"y\"" more "}"

static void test_broken(void **state)
{
    static const struct {
        const char *inputs, *output, *graph;
        const char *part; // NULL: accepted
    } cases[] = {
        {X, Y, "[" OP("relu", "") "]", NULL},
        {X, Y,
         "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":\"b\",\"padding\":[1,1],\"add\":\"x\"") "]",
         NULL},
        {X, Y,
         "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":null,\"padding\":[1,1],\"add\":null") "]",
         NULL},
        {X, "{\"y\":[-1,1,12,16]}", "[" OP("pixel_shuffle", "") "]", NULL},
        {X, "{\"y\":[-1,16,3,4]}", "[" OP("pixel_unshuffle", ",\"factor\":2") "]", NULL},
        {X, "{\"y\":[-1,4,3,8]}", "[" OP("lower_half", "") "]", NULL},
        {X, "{\"y\":[-1,4,18,24]}", "[" OP("upsample_nearest", ",\"factor\":3") "]", NULL},
        {X, "{\"y\":[-1,12,6,8]}",
         "[{\"op\":\"concat\",\"inputs\":[\"x\",\"x\",\"x\"],\"output\":\"y\"}]", NULL},

        {X, Y, NULL, "'graph'"},
        {X, Y, "[", "not JSON"},
        {X, Y, "{}", "a list of operations"},
        {X, Y, "[3]", "no output name"},
        {X, Y, "[]", "'y'"},
        {"[]", Y, "[]", "1 to 8 names"},
        {"{}", Y, "[]", "'y'"},
        {"{\"x\":[-1,4,6]}", Y, "[]", "shape of input 'x'"},
        {"{\"x\":[-1,4,6,-8]}", Y, "[]", "shape of input 'x'"},
        {"{\"x\":[-1,8000,8000,8000]}", Y, "[]", "shape of input 'x'"},
        {X, "[3]", "[" OP("relu", "") "]", "names with shapes"},
        {X, "{\"y\":[-1,4,6,9]}", "[" OP("relu", "") "]", "another shape"},
        {X, Y, "[" OP("system", "") "]", "'system'"},
        {X, Y, "[{\"op\":\"relu\",\"input\":\"z\",\"output\":\"y\"}]", "'z'"},
        {X, Y, "[{\"op\":\"relu\",\"output\":\"y\"}]", "computes"},
        {X, Y, "[" OP("relu", "") "," OP("relu", "") "]", "twice"},
        {X, "{\"x\":[-1,4,6,8]}", "[{\"op\":\"relu\",\"input\":\"x\",\"output\":\"x\"}]", "twice"},
        {X, Y, "[{\"op\":\"concat\",\"inputs\":[],\"output\":\"y\"}]", "1 to 8 inputs"},
        {X, Y, "[" OP("broadcast", ",\"height\":2,\"width\":2") "]", "1x1"},
        {X, Y, "[" OP("broadcast", ",\"height\":-2,\"width\":2") "]", "height or width"},
        {X, Y, "[" OP("upsample_nearest", ",\"factor\":99999999999999") "]", "factor"},
        {X, Y, "[" OP("pixel_unshuffle", ",\"factor\":5") "]", "divide"},
        {X, Y, "[" OP("conv2d", "") "]", "no tensor"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"nope\"") "]", "'nope'"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"b\"") "]", "4 dimensions"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":\"w\"") "]", "bias"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":\"nope\"") "]", "'nope'"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"narrow\",\"padding\":[1,1]") "]", "channels"},
        {"{\"x\":[-1,4,2,8]}", "{\"y\":[-1,4,1,3]}",
         "[" OP("conv2d", ",\"weight\":\"w\",\"stride\":[2,2]") "]", "kernel is larger"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"stride\":[0,1]") "]", "stride"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"stride\":[1.5,1]") "]", "stride"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"padding\":[-1,1]") "]", "padding"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"add\":\"y\"") "]", "'y'"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"add\":\"x\"") "]", "another shape"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"activation\":\"tanh\"") "]", "'tanh'"},
    };
    struct kb_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
        const int64_t w[4] = {4, 4, 3, 3}, narrow[4] = {4, 2, 3, 3};
        assert_ok(err, tensor_set_add(set, "w", DTYPE_F16, 4, w, NULL, NULL, &err));
        assert_ok(err, tensor_set_add(set, "narrow", DTYPE_BF16, 4, narrow, NULL, NULL, &err));
        assert_ok(err, tensor_set_add(set, "b", DTYPE_F32, 1, w, NULL, NULL, &err));
        tensor_set_put_meta(set, "inputs", cases[i].inputs);
        tensor_set_put_meta(set, "output", cases[i].output);
        if (cases[i].graph)
            tensor_set_put_meta(set, "graph", cases[i].graph);
        CLEANUP(graph_free) struct graph *g = NULL;
        err.text[0] = '\0';
        enum kb_code code = graph_from_metadata(&g, set, &err);
        if (code != (cases[i].part ? KB_BAD_INPUT : KB_OK) ||
            (cases[i].part && !strstr(err.text, cases[i].part)))
            fail_msg("case %zu: code %d, '%s', wanted '%s'", i, (int)code, err.text,
                     cases[i].part ? cases[i].part : "success");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_pytorch),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
