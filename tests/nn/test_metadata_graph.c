// Networks as JSON in metadata: what is one, and what is none.
#include "tests/test.h"

#include "nn/import/import.h"

#define X              "{\"x\":[-1,4,6,8]}"
#define Y              "{\"y\":[-1,4,6,8]}"
#define CONV(more)     OP("conv2d", ",\"weight\":\"w\",\"padding\":[1,1]" more)
#define OP(name, more) "{\"op\":\"" name "\",\"input\":\"x\",\"output\":\"y\"" more "}"

static void test_broken(void **state)
{
    static const struct {
        const char *inputs, *output, *graph;
        const char *part; // NULL: accepted
    } cases[] = {
        {X, Y, "[" CONV("") "]", NULL},
        {X, Y,
         "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":\"b\",\"padding\":[1,1],\"add\":\"x\"") "]",
         NULL},
        {X, Y,
         "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":null,\"padding\":[1,1],\"add\":null") "]",
         NULL},

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
        {X, "[3]", "[" CONV("") "]", "names with shapes"},
        {X, "{\"y\":[-1,4,6,9]}", "[" CONV("") "]", "another shape"},
        {X, Y, "[" OP("system", "") "]", "'system'"},
        {X, Y, "[" OP("relu", "") "]", "'relu'"},
        {X, Y, "[{\"op\":\"conv2d\",\"input\":\"z\",\"output\":\"y\"}]", "'z'"},
        {X, Y, "[{\"op\":\"conv2d\",\"output\":\"y\"}]", "computes"},
        {X, Y, "[" CONV("") "," CONV("") "]", "twice"},
        {X, "{\"x\":[-1,4,6,8]}",
         "[{\"op\":\"conv2d\",\"input\":\"x\",\"output\":\"x\",\"weight\":\"w\",\"padding\":[1,1]}"
         "]",
         "twice"},
        {X, Y, "[" OP("conv2d", "") "]", "no tensor"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"nope\"") "]", "'nope'"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"b\"") "]", "4 dimensions"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":\"w\"") "]", "bias"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"bias\":\"nope\"") "]", "'nope'"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"narrow\",\"padding\":[1,1]") "]", "channels"},
        {"{\"x\":[-1,4,2,8]}", "{\"y\":[-1,4,1,3]}",
         "[" OP("conv2d", ",\"weight\":\"w\",\"stride\":[2,2]") "]", "kernel is larger"},
        {X, "{\"y\":[-1,4,2,4]}", "[" OP("conv2d", ",\"weight\":\"w\",\"dilation\":[2,2]") "]",
         NULL},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"dilation\":[3,1]") "]", "kernel is larger"},
        {X, Y, "[" OP("conv2d", ",\"weight\":\"w\",\"dilation\":[0,1]") "]", "dilation"},
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
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
