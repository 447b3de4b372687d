// ONNX networks: golden files that PyTorch 1.13 exported (tools/golden/onnx.py), and hostile ones
// made here, byte by byte.
#include "tests/nn/random.h"

#include "base/file.h"
#include "nn/import/import.h"

static const char *golden(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "tests/golden/onnx_%s", name);
    return source_path(path);
}

// Whatever its inputs are called and in which order: mel, face, and what PyTorch computes.
static void test_as_pytorch(void **state)
{
    static const struct {
        const char *name, *bin;
        int side;
    } cases[] = {
        {"96.onnx", "96.bin", 96},         // batch norms folded, batch left open
        {"norms.onnx", "96.bin", 96},      // batch norms as they are
        {"face_first.onnx", "96.bin", 96}, // opset 9, inputs "source" and "audio"
        {"channels_last.onnx", "96.bin", 96},
        {"scripted.onnx", "96.bin", 96}, // lists of values
        {"192.onnx", "192.bin", 192},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(graph_free) struct graph *g = NULL;
        CLEANUP(session_free) struct session *s = NULL;
        assert_ok(err, wav2lip_onnx(&g, golden(cases[i].name), &err));
        assert_string_equal(g->values[g->inputs[0]].name, "mel");
        assert_string_equal(g->values[g->inputs[1]].name, "face");
        assert_string_equal(g->values[g->outputs[0]].name, "face_out");
        assert_int_equal(g->values[g->inputs[1]].h, cases[i].side);
        const struct session_params params = {.batch = 2, .precision = PRECISION_F32, .threads = 1};
        assert_ok(err, session_create(&s, g, &params, &err));
        fill_inputs(s, 2);
        assert_ok(err, session_run(s, &err));
        char bin[64];
        snprintf(bin, sizeof(bin), "tests/golden/onnx_%s", cases[i].bin);
        struct distance d = compare_golden(s, bin, cases[i].side / 32, 2);
        print_message("# %s: largest difference %g\n", cases[i].name, d.largest);
        assert_true(d.largest < 1e-5);
    }
}

// Cut, and every byte of the nodes changed: an error or a graph, never a crash or a leak. The
// weights, behind the nodes, are thinned out.
static void test_damaged(void **state)
{
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map m = {0};
    assert_ok(err, file_map(&m, golden("scripted.onnx"), &err));
    CLEANUP(kb_freep) uint8_t *bent = malloc(m.size);
    memcpy(bent, m.data, m.size);
    for (size_t i = 0; i < m.size; i += i < 8000 ? 1 : 61) {
        CLEANUP(graph_free) struct graph *g = NULL, *cut = NULL;
        bent[i] = m.data[i] ^ (uint8_t)(1 << i % 8);
        if (onnx_graph(&g, bent, m.size, &err) != KB_OK)
            assert_true(err.code == KB_BAD_INPUT || err.code == KB_NO_SPACE);
        else
            graph_optimize(g, &err);
        bent[i] = m.data[i];
        if (i % 16 == 0 && onnx_graph(&cut, bent, i, &err) == KB_OK && wav2lip_arrange(cut))
            fail_msg("cut to %zu bytes it was accepted", i);
    }
}

// --- handmade files ---

struct message {
    uint8_t bytes[16384];
    size_t n;
};

static void put_byte(struct message *m, uint8_t b)
{
    assert_true(m->n < sizeof(m->bytes));
    m->bytes[m->n++] = b;
}

static void put_varint(struct message *m, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        put_byte(m, (uint8_t)(v | 128));
    put_byte(m, (uint8_t)v);
}

static void put_int(struct message *m, int field, int64_t v)
{
    put_varint(m, (uint64_t)field << 3);
    put_varint(m, (uint64_t)v);
}

static void put_bytes(struct message *m, int field, const void *bytes, size_t n)
{
    put_varint(m, (uint64_t)field << 3 | 2);
    put_varint(m, n);
    for (size_t i = 0; i < n; i++)
        put_byte(m, ((const uint8_t *)bytes)[i]);
}

static void put_text(struct message *m, int field, const char *text)
{
    put_bytes(m, field, text, strlen(text));
}

static void put_message(struct message *m, int field, const struct message *inner)
{
    put_bytes(m, field, inner->bytes, inner->n);
}

// "1,6,96,96"; a side of 0 is left open.
static void put_value_info(struct message *graph, int field, const char *name, const char *sides)
{
    struct message info = {0}, type = {0}, tensor = {0}, shape = {0};
    for (const char *at = sides; *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
        struct message side = {0};
        if (atoi(at))
            put_int(&side, 1, atoi(at));
        put_message(&shape, 1, &side);
    }
    put_int(&tensor, 1, 1);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&info, 1, name);
    put_message(&info, 2, &type);
    put_message(graph, field, &info);
}

// A node: "Type in,in out name=1,2 name=3", numbers as ints or, where there is one, as i too.
static void put_node(struct message *graph, const char *text)
{
    struct message node = {0};
    char copy[256], *save, *part;
    snprintf(copy, sizeof(copy), "%s", text);
    char *type = strtok_r(copy, " ", &save), *in = strtok_r(NULL, " ", &save);
    char *out = strtok_r(NULL, " ", &save), *names;
    for (char *name = strtok_r(in, ",", &names); name; name = strtok_r(NULL, ",", &names))
        put_text(&node, 1, strcmp(name, "-") == 0 ? "" : name);
    put_text(&node, 2, out);
    put_text(&node, 4, type);
    while ((part = strtok_r(NULL, " ", &save))) {
        struct message attribute = {0};
        char *numbers = strchr(part, '=');
        *numbers++ = '\0';
        put_text(&attribute, 1, part);
        bool one = !strchr(numbers, ',');
        for (char *n = strtok_r(numbers, ",", &names); n; n = strtok_r(NULL, ",", &names)) {
            put_int(&attribute, 8, atoi(n));
            if (one)
                put_int(&attribute, 3, atoi(n));
        }
        put_message(&node, 5, &attribute);
    }
    put_message(graph, 1, &node);
}

// A constant of zeros: f32 in raw bytes as many as its sides say and `extra` more numbers; or whole
// numbers.
static void put_constant(struct message *graph, const char *name, const char *sides, int extra)
{
    struct message t = {0};
    static const uint8_t zeros[8192];
    int64_t count = 1; // which may wrap: some sides are impossible
    for (const char *at = sides; *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
        put_int(&t, 1, atoll(at));
        count = (int64_t)((uint64_t)count * (uint64_t)atoll(at));
    }
    put_int(&t, 2, 1);
    put_text(&t, 8, name);
    put_bytes(&t, 9, zeros, (size_t)(KB_MIN(KB_MAX(count, 0), 2000) + extra) * 4);
    put_message(graph, 5, &t);
}

static void put_whole(struct message *graph, const char *name, const int64_t *numbers, int n)
{
    struct message t = {0};
    put_int(&t, 1, n);
    put_int(&t, 2, 7);
    for (int i = 0; i < n; i++)
        put_int(&t, 7, numbers[i]);
    put_text(&t, 8, name);
    put_message(graph, 5, &t);
}

static enum kb_code read_graph(struct graph **ret, const struct message *graph,
                               struct kb_error *err)
{
    struct message model = {0};
    put_int(&model, 1, 8);
    put_message(&model, 7, graph);
    assert_true(onnx_recognize(model.bytes, model.n));
    return onnx_graph(ret, model.bytes, model.n, err);
}

static void test_hostile(void **state)
{
    static const struct {
        const char *input, *constant; // sides
        int extra;
        const char *nodes[3];
        const char *part; // NULL: must be accepted
    } cases[] = {
        {"0,6,8,8", "3,6,1,1", 0, {"Conv x,w y"}, NULL},
        {"1,6,8,8", "3,6,1,1", 0, {"Identity x a", "Conv a,w b", "Sigmoid b y"}, NULL},
        {"1,6,8,8", "6,3,2,2", 0, {"ConvTranspose x,w y strides=2,2"}, NULL},
        {"1,6,8,8", "6,1,1", 0, {"Mul x,w a", "Add w,a y"}, NULL},
        // what is not there
        {"1,6,8,8", "3,6,1,1", 0, {"Conv z,w y"}, "without constant weights"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,x y"}, "without constant weights"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w z"}, "'y' of the ONNX file is never computed"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y", "Conv x,w y"}, "computed twice"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w x"}, "computed twice"},
        {"1,6,8,8", "3,6,1,1", 0, {"Relu w y"}, "activation of a constant"},
        {"1,6,8,8", "3,6,1,1", 0, {"GridSample x,w y"}, "'y' (GridSample)"},
        {"1,6,8,8", "3,6,1,1", 0, {"Softmax\x1b[31m x y"}, "(Softmax?[31m)"},
        // weights
        {"1,6,8,8", "3,5,1,1", 0, {"Conv x,w y"}, "match the channels"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y group=2"}, "match the channels"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y group=0"}, "match the channels"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y group=-1"}, "match the channels"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w,w y"}, "bias"},
        {"1,6,8,8", "3,6,1", 0, {"Conv x,w y"}, "without constant weights"},
        {"1,6,8,8", "3,6,1,1", 1, {"Conv x,w y"}, "19 numbers instead of 18"},
        {"1,6,8,8", "3,6,0,1", 0, {"Conv x,w y"}, "kernel"},
        {"1,6,8,8", "3,6,1,-1", 0, {"Conv x,w y"}, "impossible size"},
        {"1,6,8,8", "4611686018427387904,6,1,8", 0, {"Conv x,w y"}, "impossible size"},
        {"1,6,8,8", "1,1,1,1,1,1,1", 0, {"Conv x,w y"}, "7 dimensions"},
        {"1,6,8,8", "5,1,1", 0, {"Mul x,w y"}, "different shapes"},
        {"1,6,8,8", "5", 0, {"BatchNormalization x,w,w,w,w y"}, "match the channels"},
        {"1,6,8,8", "6", 0, {"BatchNormalization x,w,w,w,w y training_mode=1"}, "in training"},
        // windows
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y strides=0,1"}, "stride"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y strides=1"}, "stride"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y strides=1,1,1"}, "stride"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y pads=0,0,-1,0"}, "stride"},
        {"1,6,8,8", "3,6,1,1", 0, {"Conv x,w y pads=0,0,1000000,0"}, "stride"},
        {"1,6,8,8", "1,6,9,9", 0, {"Conv x,w y"}, "larger than its padded input"},
        {"1,6,8,8", "6,3,2,2", 0, {"ConvTranspose x,w y pads=9,9,9,9"}, "impossible size"},
        {"1,6,8,8", "6,3,2,2", 0, {"ConvTranspose x,w y pads=0,0,1,1"}, "stride"},
        {"1,6,8,8", "6,3,2,2", 0, {"ConvTranspose x,w y group=3"}, "stride"},
        {"1,6,8,8", "6,3,2,2", 0, {"ConvTranspose x,w y dilations=2,2"}, "stride"},
        // shapes
        {"1,6,8,8", "1", 0, {"Concat x,x y axis=0"}, "concatenation"},
        {"1,6,8,8", "1", 0, {"Concat x,x y axis=4"}, "concatenation"},
        {"1,6,8,8", "1", 0, {"Concat x,x,x,x,x,x,x,x,x y"}, "concatenation"},
        {"1,6,8,8", "1", 0, {"Concat x,w y"}, "concatenation"},
        {"1,6,8,8", "1", 0, {"Transpose x y perm=0,1,3,2"}, "order of the sides"},
        {"1,6,8,8", "1", 0, {"Transpose x y"}, "order of the sides"},
        {"1,6,8,8", "1", 0, {"Reshape x,w y"}, "2 or 4 sides"},
        {"1,6,8,8", "1", 0, {"Reshape x,flat y"}, "another order"},
        {"1,1,8,8", "1", 0, {"Reshape x,flat y"}, NULL},
        {"1,1,8,8", "1", 0, {"Reshape x,huge y"}, "impossible shape"},
        {"1,1,8,8", "1", 0, {"Flatten x y axis=2"}, "impossible shape"},
        {"1,6,8,8", "1", 0, {"Squeeze x y axes=2,3"}, "impossible shape"},
        {"1,6,1,1", "1", 0, {"Squeeze x a axes=2,3", "Unsqueeze a y axes=2,3"}, NULL},
        {"1,6,8,8", "6", 0, {"Unsqueeze w a axes=1,2", "Mul x,a y"}, NULL},
        {"1,6,8,8", "6", 0, {"Unsqueeze w a axes=1,1", "Mul x,a y"}, "impossible shape"},
        {"1,6,8,8", "6", 0, {"Unsqueeze w a axes=1,2,3,4,5,6,7,8", "Mul x,a y"}, "impossible"},
        {"1,6,8,8", "1", 0, {"Cast x y to=7"}, "no floats"},
        {"1,6,8,8", "1", 0, {"Cast x y to=10"}, NULL},
        {"1,6,8,8", "1", 0, {"Add x,one y"}, "type 7"},
        // inputs
        {"1,6,0,8", "1", 0, {"Relu x y"}, "left open"},
        {"1,6,99999,8", "1", 0, {"Relu x y"}, "left open or impossible"},
        {"1,6,5,96,96", "1", 0, {"Relu x y"}, "5 dimensions"},
        {"", "1", 0, {"Relu x y"}, "0 dimensions"},
        {"1,16777216", "1", 0, {"Relu x y"}, "left open or impossible"},
        // lists
        {"1,6,8,8", "1", 0, {"SequenceConstruct x,x l", "SequenceAt l,one y"}, NULL},
        {"1,6,8,8", "1", 0, {"SequenceConstruct x l", "SequenceAt l,one y"}, "outside its list"},
        {"1,6,8,8", "1", 0, {"SequenceConstruct x,w l", "SequenceAt l,one y"}, "unknown list"},
        {"1,6,8,8", "1", 0, {"SequenceErase x l", "SequenceAt l,one y"}, "unknown list"},
        {"1,6,8,8",
         "1",
         0,
         {"SequenceEmpty - l", "SequenceErase l m", "SequenceAt m,one y"},
         "outside its list"},
    };
    static const int64_t flat[] = {1, -1}, huge[] = {1, 1 << 20, 1 << 20, -1}, one[] = {1};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(graph_free) struct graph *g = NULL;
        struct message graph = {0};
        for (size_t k = 0; k < ARRAY_LEN(cases[i].nodes) && cases[i].nodes[k]; k++)
            put_node(&graph, cases[i].nodes[k]);
        put_constant(&graph, "w", cases[i].constant, cases[i].extra);
        put_whole(&graph, "flat", flat, 2);
        put_whole(&graph, "huge", huge, 4);
        put_whole(&graph, "one", one, 1);
        put_value_info(&graph, 11, "x", cases[i].input);
        put_value_info(&graph, 12, "y", "");
        enum kb_code code = read_graph(&g, &graph, &err);
        if (code != (cases[i].part ? KB_BAD_INPUT : KB_OK) ||
            (cases[i].part && !strstr(err.text, cases[i].part)))
            fail_msg("case %zu (%s): code %d, '%s', wanted '%s'", i, cases[i].nodes[0], (int)code,
                     err.text, cases[i].part ? cases[i].part : "success");
    }
}

// A file of empty nodes, each of which would take a hundred bytes of memory.
static void test_bomb(void **state)
{
    struct kb_error err = {0};
    struct graph *g = NULL;
    size_t n = 8 << 20, head = 0;
    struct message start = {0};
    put_int(&start, 1, 8);
    put_varint(&start, 7 << 3 | 2);
    put_varint(&start, n);
    CLEANUP(kb_freep) uint8_t *file = kb_alloc(start.n + n);
    memcpy(file, start.bytes, start.n);
    for (head = start.n; head < start.n + n; head += 2)
        file[head] = 1 << 3 | 2; // a node of no bytes
    assert_fails(err, KB_BAD_INPUT, "ONNX file is damaged", onnx_graph(&g, file, head, &err));
}

// Numbers beside the graph, functions, other networks: told apart.
static void test_sentences(void **state)
{
    struct kb_error err = {0};
    struct graph *g = NULL;
    struct message graph = {0}, t = {0}, model = {0}, empty = {0};
    put_node(&graph, "Relu x y");
    put_int(&t, 14, 1);
    put_text(&t, 8, "w");
    put_message(&graph, 5, &t);
    assert_fails(err, KB_BAD_INPUT, "another file beside it", read_graph(&g, &graph, &err));
    assert_fails(err, KB_BAD_INPUT, "no network", read_graph(&g, &empty, &err));
    put_int(&model, 1, 8);
    put_message(&model, 7, &graph);
    put_text(&model, 25, "f");
    assert_fails(err, KB_BAD_INPUT, "functions", onnx_graph(&g, model.bytes, model.n, &err));
    assert_fails(err, KB_BAD_INPUT, "damaged", onnx_graph(&g, "\x08\x08\x3a\x05g", 5, &err));

    struct tensor_set *set = NULL;
    assert_fails(err, KB_BAD_INPUT, "ONNX file holds a network",
                 weights_load(&set, golden("96.onnx"), &err));
    assert_int_equal(file_form(golden("96.onnx")), FORM_ONNX);
    // Half of an f32 network is no Wav2Lip.
    struct message other = {0};
    put_node(&other, "Sigmoid x y");
    put_value_info(&other, 11, "x", "1,6,96,96");
    put_value_info(&other, 12, "y", "");
    assert_ok(err, read_graph(&g, &other, &err));
    assert_false(wav2lip_arrange(g));
    graph_free(&g);
}

// f16, f64 and numbers that stand in lists of their own instead of raw bytes.
static void test_types(void **state)
{
    static const struct {
        int type, field; // of TensorProto
        int64_t number;  // as a varint, or the bits of a float or double
    } cases[] = {
        {1, 4, 0x40200000},
        {1, 9, 0x40200000},
        {10, 5, 0x4100},
        {10, 9, 0x4100},
        {16, 5, 0x4020},
        {16, 9, 0x4020},
        {11, 10, 0x4004000000000000},
        {11, 9, 0x4004000000000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(graph_free) struct graph *g = NULL;
        struct message graph = {0}, t = {0};
        int64_t v = cases[i].number;
        put_int(&t, 1, 1);
        put_int(&t, 2, cases[i].type);
        put_text(&t, 8, "w");
        if (cases[i].field == 5)
            put_int(&t, 5, v);
        else
            put_bytes(&t, cases[i].field, &v, cases[i].type == 11 ? 8 : cases[i].type == 1 ? 4 : 2);
        put_message(&graph, 5, &t);
        put_node(&graph, "Add x,w y");
        put_value_info(&graph, 11, "x", "1,3,4,4");
        put_value_info(&graph, 12, "y", "");
        assert_ok(err, read_graph(&g, &graph, &err));
        for (int c = 0; c < 3; c++)
            assert_true(g->ops[0].bias[c] == 2.5f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_pytorch), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_sentences),  cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
