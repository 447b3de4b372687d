// The .tflite importer, on the networks of faces and people it is for: their structure, their
// outputs against an independent run (tools/golden/tflite.py), and files that are cut or damaged.
#include "tests/drawn_face.h"
#include "tests/test.h"

#include "base/file.h"
#include "nn/import/import.h"
#include "nn/session.h"

#include <math.h>

static const struct network {
    const char *name;
    int size;             // of the square input
    int n_rows, n_values; // of the first output
    int convolutions, depthwise, pools;
} networks[] = {
    {"face_detection_short_range", 128, 896, 16, 21, 16, 3},
    {"face_detection_full_range", 192, 2304, 16, 49, 40, 4},
};

// The face mesh has seven outputs; these are what koubo reads.
#define ATTENTION "face_landmark_attention"
static const char *const kept[] = {"output_mesh_identity", "output_lips", "conv_faceflag"};
static const int kept_sizes[] = {468 * 3, 80 * 2, 1};

// The file, which tools/fetch_models.mjs fetches.
static void map_network(const char *name, struct file_map *ret)
{
    struct kb_error err = {0};
    char path[128];
    snprintf(path, sizeof(path), "models/face/%s.tflite", name);
    assert_ok(err, file_map(ret, source_path(path), &err));
}

static void test_structure(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        const struct network *net = &networks[i];
        struct kb_error err = {0};
        CLEANUP(file_unmap) struct file_map m = {0};
        CLEANUP(graph_free) struct graph *g = NULL;
        map_network(net->name, &m);
        assert_ok(err, tflite_graph(&g, m.data, m.size, &err));

        const struct value *in = &g->values[g->inputs[0]], *out = &g->values[g->outputs[0]];
        assert_int_equal(g->n_inputs, 1);
        assert_int_equal(g->n_outputs, 2);
        assert_int_equal(in->h, net->size);
        assert_int_equal(in->w, net->size);
        assert_int_equal(in->c, 3);
        assert_int_equal(out->w, net->n_rows);
        assert_int_equal(out->c, net->n_values);
        assert_int_equal(g->values[g->outputs[1]].w, net->n_rows);
        assert_int_equal(g->values[g->outputs[1]].c, 1);

        int convolutions = 0, depthwise = 0, pools = 0;
        for (int k = 0; k < g->n_ops; k++) {
            const struct op *op = &g->ops[k];
            convolutions += op->kind == OP_CONV && op->groups == 1;
            depthwise += op->kind == OP_CONV && op->groups > 1;
            pools += op->kind == OP_MAX_POOL;
            // A 3x3 of stride 2 over an even size pads below and right only.
            if (op->kind == OP_CONV && op->kernel_h == 3 && op->stride_h == 2) {
                assert_int_equal(op->pad_top, 0);
                assert_int_equal(op->pad_bottom, 1);
            }
        }
        assert_int_equal(convolutions, net->convolutions);
        assert_int_equal(depthwise, net->depthwise);
        assert_int_equal(pools, net->pools);
    }
}

// As tools/golden/tflite.py makes it.
static void fill_noise(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)((uint32_t)(i * 2654435761u) >> 8) / 8388608.0 - 1.0);
}

static void test_golden(void **state)
{
    const int step = 29;
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        const struct network *net = &networks[i];
        struct kb_error err = {0};
        char path[128];
        CLEANUP(file_unmap) struct file_map m = {0}, golden = {0};
        CLEANUP(graph_free) struct graph *g = NULL;
        CLEANUP(session_free) struct session *s = NULL;
        map_network(net->name, &m);
        snprintf(path, sizeof(path), "tests/golden/%s.f32", net->name);
        assert_ok(err, file_map(&golden, source_path(path), &err));
        assert_ok(err, tflite_graph(&g, m.data, m.size, &err));
        const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};
        assert_ok(err, session_create(&s, g, &params, &err));
        fill_noise(session_input(s, 0), (size_t)net->size * (size_t)net->size * 3);
        assert_ok(err, session_run(s, &err));

        const float *want = (const float *)golden.data;
        size_t at = 0;
        double worst = 0;
        for (int out = 0; out < 2; out++) {
            struct value v = session_output_shape(s, out);
            const float *have = session_output(s, out);
            for (size_t k = 0; k < (size_t)v.w * (size_t)v.c; k += (size_t)step, at++) {
                assert_true(at < golden.size / sizeof(float));
                worst =
                    fmax(worst, fabs((double)(have[k] - want[at])) / (1 + fabs((double)want[at])));
            }
        }
        assert_int_equal(at * sizeof(float), golden.size);
        print_message("# %s: largest difference from the reference %.2g\n", net->name, worst);
        assert_true(worst < 2e-4); // sums of some thousand f32 products in another order
    }
}

static void test_attention_structure(void **state)
{
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map m = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    map_network(ATTENTION, &m);
    assert_ok(err, tflite_graph(&g, m.data, m.size, &err));
    assert_int_equal(g->n_outputs, 7);
    int64_t all = graph_macs(g);
    assert_ok(err, graph_keep_outputs(g, kept, ARRAY_LEN(kept), &err));
    int kinds[OP_PLACE + 1] = {0};
    for (int i = 0; i < g->n_ops; i++)
        kinds[g->ops[i].kind]++;
    // One crop, that of the lips; its matrix is made from points in the pixels of the inner picture
    // and taken back to those of the input.
    assert_int_equal(kinds[OP_CROP_MATRIX], 1);
    assert_int_equal(kinds[OP_WARP], 1);
    assert_int_equal(kinds[OP_PLACE], 1);
    assert_int_equal(kinds[OP_SCALE], 2);
    print_message("# %s: %.1f of %.1f million products kept\n", ATTENTION,
                  (double)graph_macs(g) * 1e-6, (double)all * 1e-6);
    assert_true(graph_macs(g) < all * 9 / 10);
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->kind != OP_CROP_MATRIX)
            continue;
        assert_int_equal(op->crop->left, 61); // the corners of the mouth
        assert_int_equal(op->crop->right, 291);
        assert_int_equal(op->crop->n_points, 80);
        assert_float_equal(op->crop->grow_x, 1.5, 0);
        assert_int_equal(op->crop->width, 16);
    }
}

static void test_attention_golden(void **state)
{
    static const int turns[2][3] = {{1, 0, 1}, {24, 7, 25}};
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map m = {0}, golden = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    CLEANUP(session_free) struct session *s = NULL;
    map_network(ATTENTION, &m);
    assert_ok(err, file_map(&golden, source_path("tests/golden/" ATTENTION ".f32"), &err));
    assert_ok(err, tflite_graph(&g, m.data, m.size, &err));
    assert_ok(err, graph_keep_outputs(g, kept, ARRAY_LEN(kept), &err));
    const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};
    assert_ok(err, session_create(&s, g, &params, &err));

    const float *want = (const float *)golden.data;
    assert_int_equal(golden.size, sizeof(float) * 2 * (468 * 3 + 80 * 2 + 1));
    for (int turn = 0; turn < 2; turn++) {
        draw_face(session_input(s, 0), turns[turn][0], turns[turn][1], turns[turn][2]);
        assert_ok(err, session_run(s, &err));
        for (int out = 0; out < 3; out++) {
            double worst = 0;
            for (int k = 0; k < kept_sizes[out]; k++)
                worst = fmax(worst, fabs((double)session_output(s, out)[k] - (double)*want++));
            print_message("# face %d, %s: largest difference %.2g\n", turn, kept[out], worst);
            assert_true(worst < 1e-3); // pixels of 192
        }
        assert_true(session_output(s, 2)[0] > 5); // it is taken for a face
    }
}

#define FACE_SIZE 192 // of draw_face()

// The networks that tell people from what is behind them: the drawn face is one.
static const struct {
    const char *name;
    int width, height;
} people[] = {{"selfie_segmentation", 256, 256}, {"selfie_segmentation_landscape", 256, 144}};

// As stretched_face() of tools/golden/tflite.py.
static void stretch_face(float *to, int width, int height)
{
    static float face[FACE_SIZE * FACE_SIZE * 3];
    draw_face(face, 1, 0, 1);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int column = (x - (width - height) / 2) * FACE_SIZE;
            column = column < 0 ? 0 : KB_MIN(column / height, FACE_SIZE - 1);
            memcpy(to + 3 * (y * width + x),
                   face + 3 * (y * FACE_SIZE / height * FACE_SIZE + column), 3 * sizeof(float));
        }
}

static void test_people_golden(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(people); i++) {
        struct kb_error err = {0};
        char path[128];
        CLEANUP(file_unmap) struct file_map m = {0}, golden = {0};
        CLEANUP(graph_free) struct graph *g = NULL;
        CLEANUP(session_free) struct session *s = NULL;
        map_network(people[i].name, &m);
        snprintf(path, sizeof(path), "tests/golden/%s.f32", people[i].name);
        assert_ok(err, file_map(&golden, source_path(path), &err));
        assert_ok(err, tflite_graph(&g, m.data, m.size, &err));
        int means = 0, gates = 0, swishes = 0;
        for (int k = 0; k < g->n_ops; k++) {
            means += g->ops[k].kind == OP_MEAN;
            gates += g->ops[k].kind == OP_GATE;
            swishes += g->ops[k].act == ACT_HARD_SWISH;
        }
        assert_int_equal(means, 10);
        assert_int_equal(gates, 10);
        assert_int_equal(swishes, 11);
        const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};
        assert_ok(err, session_create(&s, g, &params, &err));
        stretch_face(session_input(s, 0), people[i].width, people[i].height);
        assert_ok(err, session_run(s, &err));

        const float *want = (const float *)golden.data;
        const size_t n = golden.size / sizeof(float);
        assert_int_equal(n, ((size_t)people[i].width * (size_t)people[i].height + 28) / 29);
        double worst = 0, mean = 0;
        for (size_t k = 0; k < n; k++) {
            worst = fmax(worst, fabs((double)(session_output(s, 0)[29 * k] - want[k])));
            mean += (double)want[k] / (double)n;
        }
        print_message("# %s: mean %.2f, largest difference %.2g\n", people[i].name, mean, worst);
        assert_true(mean > 0.05 && mean < 0.95);
        assert_true(worst < 1e-3);
    }
}

// Any outcome is fine but a crash, a leak or a failure without a sentence.
static void import_quietly(const uint8_t *data, size_t size, bool must_fail)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    enum kb_code code = tflite_graph(&g, data, size, &err);
    assert_true(code == KB_OK ? g && !must_fail : !g && err.text[0]);
}

static void cut(const char *name)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    map_network(name, &m);
    for (size_t i = 0; i < 160; i++) {
        // A copy of exact size, so that the sanitizer sees a read behind it.
        size_t size = i < 60 ? i : m.size * i / 160;
        CLEANUP(kb_freep) uint8_t *copy = malloc(size + 1);
        memcpy(copy, m.data, size);
        import_quietly(copy, size, true);
    }
}

static void test_cut(void **state)
{
    cut(networks[0].name);
    cut(ATTENTION);
    cut(people[0].name);
}

static void damage(const char *name, int times)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    map_network(name, &m);
    CLEANUP(kb_freep) uint8_t *copy = malloc(m.size);
    memcpy(copy, m.data, m.size);
    uint32_t seed = 1;
    for (int i = 0; i < times; i++) {
        // Most of the middle is weights, where any byte is as good as another: aim at the tables.
        static const uint8_t fills[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
        size_t n_tables = 48 * 1024;
        seed = seed * 1664525u + 1013904223u;
        size_t at = seed % n_tables;
        at = i % 4 == 0 ? (size_t)seed % m.size : i % 2 ? at % 2048 : m.size - 1 - at;
        size_t n = KB_MIN((size_t)(1 + i % 4), m.size - at);
        memset(copy + at, fills[(seed >> 24) % ARRAY_LEN(fills)], n);
        import_quietly(copy, m.size, false);
        memcpy(copy + at, m.data + at, n);
    }
}

static void test_damaged(void **state)
{
    damage(networks[0].name, 1500);
    damage(ATTENTION, 400);
    damage(people[0].name, 400);
    damage(people[1].name, 400);
}

static size_t find_bytes(const struct file_map *m, const void *bytes, size_t n)
{
    const uint8_t *at = memmem(m->data, m->size, bytes, n);
    assert_non_null(at);
    return (size_t)(at - m->data);
}

// The options of the custom operations, and the tables beside them, byte by byte.
static void test_damaged_options(void **state)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    map_network(ATTENTION, &m);
    CLEANUP(kb_freep) uint8_t *copy = malloc(m.size);
    memcpy(copy, m.data, m.size);
    static const uint8_t fills[] = {0x00, 0x7f, 0xff};
    const struct {
        size_t from, to;
    } options[] = {
        {find_bytes(&m, "subset_idxs\0P\0", 14) + 12, 276}, // numbers, keys, values, types
        {find_bytes(&m, "output_width\0\2\34\17", 16), 28},
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        for (size_t k = 0; k < options[i].to; k++) {
            size_t at = options[i].from + k;
            copy[at] = fills[k % ARRAY_LEN(fills)];
            import_quietly(copy, m.size, false);
            copy[at] = m.data[at];
        }
}

// One wrong thing, and what is said about it.
static void test_attention_sentences(void **state)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    map_network(ATTENTION, &m);
    // The first list of points, the options behind it, those of the warp, and a whole slice's end.
    size_t points = find_bytes(&m, "subset_idxs\0P\0", 14) + 14;
    static const uint8_t values_start[] = {61, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0, 0};
    size_t values = find_bytes(&m, values_start, sizeof(values_start));
    size_t warp = find_bytes(&m, "output_width\0\2\34\17", 16) + 13;
    static const int32_t whole[] = {1, 1, 1, 1404};
    size_t end = find_bytes(&m, whole, sizeof(whole));
    const struct {
        size_t at, n;
        const void *bytes;
        const char *says;
    } table[] = {
        {points, 2, "\xff\x7f", "points that do not exist"},
        {points + 158, 2, "\xff\xff", "points that do not exist"},
        {points - 2, 2, "\xff\xff", "subset_idxs is missing"},
        {points - 2, 2, "\0\0", "subset_idxs is missing"},
        {values, 4, "\xd4\1\0\0", "points that do not exist"}, // 468
        {values, 4, "\xff\xff\xff\xff", "left_rotation_idx is missing"},
        {values + 4, 4, "\0\0\0\0", "output_height is missing"},
        {values + 8, 4, "\0\0\0\x40", "output_width is missing"},
        {values + 16, 4, "\0\0\xc0\x7f", "scale_x is missing"}, // not a number
        {values + 20, 4, "\0\0\0\0", "scale_y is missing"},
        {values + 24, 4, "\xff\xff\0\0", "subset_idxs is missing"}, // points before the file
        {warp + 7, 1, "\0", "output_width is missing"},
        {warp + 7, 1, "\17", "does not fit together"},
        {warp + 11, 1, "\3", "the list of options is missing"},
        {find_bytes(&m, "TransformTensorBilinear", 23) + 22, 1, "R",
         "the custom operation TransformTensorBilineaR"},
        {end + 12, 4, "\x7b\5\0\0", "a slice that leaves something out"},
    };
    CLEANUP(kb_freep) uint8_t *copy = malloc(m.size);
    memcpy(copy, m.data, m.size);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kb_error err = {0};
        CLEANUP(graph_free) struct graph *g = NULL;
        memcpy(copy + table[i].at, table[i].bytes, table[i].n);
        assert_fails(err, KB_BAD_INPUT, table[i].says, tflite_graph(&g, copy, m.size, &err));
        memcpy(copy + table[i].at, m.data + table[i].at, table[i].n);
    }
}

static void test_sentences(void **state)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    static const char zip[16] = "PK\3\4 not a model";
    assert_fails(err, KB_BAD_INPUT, "TFL3", tflite_graph(&g, zip, sizeof(zip), &err));
    assert_fails(err, KB_BAD_INPUT, "TFL3", tflite_graph(&g, zip, 0, &err));
    static const uint8_t hollow[16] = {0xff, 0xff, 0xff, 0x7f, 'T', 'F', 'L', '3'};
    assert_fails(err, KB_BAD_INPUT, "damaged", tflite_graph(&g, hollow, sizeof(hollow), &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_attention_structure),
        cmocka_unit_test(test_attention_golden),
        cmocka_unit_test(test_people_golden),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_damaged_options),
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_attention_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
