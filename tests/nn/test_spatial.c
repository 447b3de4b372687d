// Looking again at a part of the picture: crop, warp and the way back against a plain reckoning in
// double, through a whole session; what does not fit is refused.
#include "tests/nn/graphs.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "nn/session.h"

#define POINTS 6
#define BATCH  2

static const struct crop_rule rule = {.left = 1,
                                      .right = 4,
                                      .angle = 0.1f,
                                      .grow_x = 1.5f,
                                      .grow_y = 1.25f,
                                      .width = 5,
                                      .height = 4,
                                      .n_points = 4,
                                      .points = {1, 4, 0, 5}};

static void *copied(const void *data, size_t size)
{
    return memcpy(malloc(size), data, size);
}

// Landmarks in the pixels of a picture four times as wide, as in the face mesh; a matrix of the
// smaller picture, and one of the larger for what was found in the crop.
static struct graph *build(void)
{
    static const float quarter = 0.25f;
    static const float larger[16] = {1, 1, 1, 4, 1, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1};
    struct graph *g = graph_create();
    int points = graph_add_input(g, "points", 1, POINTS, 3);
    int picture = graph_add_input(g, "picture", 9, 7, 3);
    int found = graph_add_input(g, "found", 1, 3, 2);
    int small =
        OP(g, points, .kind = OP_SCALE, .scale = copied(&quarter, sizeof(quarter)), .n_scale = 1);
    int matrix = OP(g, small, .kind = OP_CROP_MATRIX, .crop = copied(&rule, sizeof(rule)));
    int crop =
        OP(g, picture, .kind = OP_WARP, .n_in = 2, .in = {0, matrix}, .out_h = 4, .out_w = 5);
    int back =
        OP(g, matrix, .kind = OP_SCALE, .scale = copied(larger, sizeof(larger)), .n_scale = 16);
    int unread = OP(g, crop, .kind = OP_ACTIVATION, .act = ACT_RELU);
    const char *names[] = {"matrix", "crop", "unread", "place"};
    int outputs[] = {matrix, crop, unread,
                     OP(g, found, .kind = OP_PLACE, .n_in = 2, .in = {0, back})};
    for (size_t i = 0; i < ARRAY_LEN(outputs); i++) {
        graph_add_output(g, outputs[i]);
        g->values[outputs[i]].name = kb_strdup(names[i]);
    }
    return g;
}

static float points[BATCH][POINTS][3] = {
    {{12, 20, 9}, {9, 15, 0}, {50, 50, 1}, {-9, 2, 5}, {20, 13, 2}, {15, 12, -3}},
    // Turned by a quarter, and half outside of the picture.
    {{2, 30, 9}, {8, 36, 0}, {50, 50, 1}, {-9, 2, 5}, {5, 22, 2}, {9, 27, -3}},
};
static const float found[3][2] = {{0, 0}, {5, 4}, {1.5f, 3.25f}};

static double picture_at(int n, int y, int x, int c)
{
    return sin(1 + n + 3.0 * y + 0.7 * x * x + 2.0 * c);
}

// to = to * by, 3x3 (the third axis of the 4x4 matrices is never touched).
static void multiply(double to[3][3], double a, double b, double x, double c, double d, double y)
{
    const double by[3][3] = {{a, b, x}, {c, d, y}, {0, 0, 1}};
    double product[3][3] = {0};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 3; k++)
                product[i][j] += to[i][k] * by[k][j];
    memcpy(to, product, sizeof(product));
}

// Step by step as MediaPipe writes it: move to the middle, turn, scale, move to the corner.
static void plain_matrix(int n, double m[3][3])
{
    double p[POINTS][2];
    for (int i = 0; i < POINTS; i++)
        for (int k = 0; k < 2; k++)
            p[i][k] = points[n][i][k] * 0.25;
    double r =
        rule.angle - atan2(p[rule.right][1] - p[rule.left][1], p[rule.right][0] - p[rule.left][0]);
    double low[2] = {1e9, 1e9}, high[2] = {-1e9, -1e9};
    for (int i = 0; i < rule.n_points; i++) {
        const double *q = p[rule.points[i]];
        double turned[2] = {cos(r) * q[0] - sin(r) * q[1], sin(r) * q[0] + cos(r) * q[1]};
        for (int k = 0; k < 2; k++) {
            low[k] = fmin(low[k], turned[k]);
            high[k] = fmax(high[k], turned[k]);
        }
    }
    double x = (low[0] + high[0]) / 2, y = (low[1] + high[1]) / 2;
    memset(m, 0, 9 * sizeof(double));
    m[0][0] = m[1][1] = m[2][2] = 1;
    multiply(m, 1, 0, cos(r) * x + sin(r) * y, 0, 1, cos(r) * y - sin(r) * x);
    multiply(m, cos(r), sin(r), 0, -sin(r), cos(r), 0);
    multiply(m, rule.grow_x * (high[0] - low[0]) / rule.width, 0, 0, 0,
             rule.grow_y * (high[1] - low[1]) / rule.height, 0);
    multiply(m, 1, 0, -rule.width / 2.0, 0, 1, -rule.height / 2.0);
}

static double plain_sample(int n, double x, double y, int c)
{
    if (x < 0 || y < 0 || x > 6 || y > 8)
        return 0;
    int x0 = (int)x, y0 = (int)y, x1 = KB_MIN(x0 + 1, 6), y1 = KB_MIN(y0 + 1, 8);
    double u = x - x0, v = y - y0;
    return (picture_at(n, y0, x0, c) * (1 - u) + picture_at(n, y0, x1, c) * u) * (1 - v) +
           (picture_at(n, y1, x0, c) * (1 - u) + picture_at(n, y1, x1, c) * u) * v;
}

static void fill(struct session *s)
{
    memcpy(session_input(s, 0), points, sizeof(points));
    for (int n = 0; n < BATCH; n++) {
        for (int i = 0; i < 9 * 7 * 3; i++)
            session_input(s, 1)[n * 9 * 7 * 3 + i] = (float)picture_at(n, i / 21, i / 3 % 7, i % 3);
        memcpy(session_input(s, 2) + n * 6, found, sizeof(found));
    }
}

static struct session *session_of(struct graph *g, struct pack *pack, struct pack_writer *writer)
{
    struct kb_error err = {0};
    struct session *s = NULL;
    struct session_params params = {
        .batch = BATCH, .precision = PRECISION_F32, .pack = pack, .pack_writer = writer};
    assert_ok(err, session_create(&s, g, &params, &err));
    fill(s);
    assert_ok(err, session_run(s, &err));
    return s;
}

// Outputs: matrix, crop, place.
static void check(const struct session *s)
{
    int outside = 0;
    for (int n = 0; n < BATCH; n++) {
        double m[3][3];
        plain_matrix(n, m);
        const float *matrix = session_output(s, 0) + n * 16;
        for (int i = 0; i < 16; i++) {
            static const int column[] = {0, 1, -1, 2};
            int k = column[i % 4];
            double want = i >= 8 || k < 0 ? i % 5 == 0 : m[i / 4][k];
            assert_float_equal(matrix[i], want, 1e-5);
        }
        for (int i = 0; i < 4 * 5; i++) {
            double x = i % 5 + 0.5, y = i / 5 + 0.5;
            double at_x = m[0][0] * x + m[0][1] * y + m[0][2] - 0.5;
            double at_y = m[1][0] * x + m[1][1] * y + m[1][2] - 0.5;
            outside += at_x < 0 || at_y < 0 || at_x > 6 || at_y > 8;
            for (int c = 0; c < 3; c++)
                assert_float_equal(session_output(s, 1)[(n * 20 + i) * 3 + c],
                                   plain_sample(n, at_x, at_y, c), 1e-4);
        }
        for (int i = 0; i < 6; i++) {
            const double *row = m[i % 2];
            double want = row[0] * found[i / 2][0] + row[1] * found[i / 2][1] + 4 * row[2];
            assert_float_equal(session_output(s, 2)[n * 6 + i], want, 1e-4);
        }
    }
    assert_true(outside > 3 && outside < 35);
}

static struct graph *kept(void)
{
    static const char *const names[] = {"matrix", "crop", "place"};
    struct kb_error err = {0};
    struct graph *g = build();
    assert_ok(err, graph_finish(g, &err));
    int before = g->n_ops;
    assert_ok(err, graph_keep_outputs(g, names, ARRAY_LEN(names), &err));
    assert_int_equal(g->n_outputs, 3);
    assert_int_equal(g->n_ops, before - 1); // nobody reads the activation
    return g;
}

static void test_against_double(void **state)
{
    CLEANUP(graph_free) struct graph *g = kept();
    CLEANUP(session_free) struct session *s = session_of(g, NULL, NULL);
    check(s);
}

static void test_not_finite(void **state)
{
    CLEANUP(graph_free) struct graph *g = kept();
    CLEANUP(session_free) struct session *s = session_of(g, NULL, NULL);
    struct kb_error err = {0};
    static const float odd[] = {NAN, INFINITY, -3e38f};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        fill(s);
        session_input(s, 0)[3 * rule.left] = odd[i];
        assert_ok(err, session_run(s, &err));
        for (int k = 0; k < 4 * 5 * 3; k++)
            assert_float_equal(session_output(s, 1)[k], 0, 0);
    }
}

static void test_packed(void **state)
{
    struct kb_error err = {0};
    char path[] = "/tmp/koubo-spatial-XXXXXX";
    close(mkstemp(path));
    CLEANUP(graph_free) struct graph *g = kept(), *again = NULL;
    CLEANUP(session_free) struct session *made = NULL, *loaded = NULL;
    CLEANUP(pack_writer_free) struct pack_writer *w = pack_writer_create("key");
    CLEANUP(pack_close) struct pack *pack = NULL;
    assert_ok(err, graph_optimize(g, &err));
    pack_put_graph(w, g);
    made = session_of(g, NULL, w);
    assert_ok(err, pack_save(w, path, &err));
    pack = pack_open(path, "key");
    assert_non_null(pack);
    unlink(path);
    again = pack_take_graph(pack);
    assert_non_null(again);
    loaded = session_of(again, pack, NULL);
    check(loaded);
}

static void test_f32_only(void **state)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = kept();
    CLEANUP(session_free) struct session *s = NULL;
    struct session_params params = {.precision = PRECISION_BF16};
    if (!precision_can_run(PRECISION_BF16))
        SKIP_TEST("this processor has no bf16");
    assert_fails(err, KB_BAD_INPUT, "only f32", session_create(&s, g, &params, &err));
}

// One graph of two inputs and one operation.
static void refuses(int h, int w, int c, struct op o, const char *says)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = graph_create();
    int x = graph_add_input(g, "x", h, w, c), m = graph_add_input(g, "m", 1, 4, 3);
    o.in[1] = m;
    graph_add_output(g, graph_op(g, x, o));
    assert_fails(err, KB_BAD_INPUT, says, graph_finish(g, &err));
}

static void refuses_rule(struct crop_rule r)
{
    refuses(1, POINTS, 3, (struct op){.kind = OP_CROP_MATRIX, .crop = copied(&r, sizeof(r))},
            "do not exist");
}

static void test_refused(void **state)
{
    static const float factors[4] = {1, 1, 1, 1};
    struct crop_rule r;
    refuses(1, 5, 3, (struct op){.kind = OP_SCALE, .n_scale = 4, .scale = copied(factors, 16)},
            "does not divide");
    refuses(1, 5, 3, (struct op){.kind = OP_SCALE}, "does not divide");
    refuses(1, 5, 3, (struct op){.kind = OP_CROP_MATRIX}, "do not exist");
    refuses(8, 8, 3, (struct op){.kind = OP_WARP, .n_in = 2, .out_h = 4, .out_w = 4}, "4x4 matrix");
    refuses(8, 8, 3, (struct op){.kind = OP_WARP, .out_h = 4, .out_w = 4}, "4x4 matrix");
    refuses(1, 8, 2, (struct op){.kind = OP_PLACE, .n_in = 2}, "4x4 matrix");
    refuses(8, 8, 3, (struct op){.kind = OP_GATE, .n_in = 2}, "one factor a channel");
    refuses(1, 1, 3, (struct op){.kind = OP_GATE}, "one factor a channel");
    r = rule, r.left = POINTS, refuses_rule(r);
    r = rule, r.right = -1, refuses_rule(r);
    r = rule, r.points[3] = POINTS, refuses_rule(r);
    r = rule, r.points[0] = -1, refuses_rule(r);
    r = rule, r.n_points = 0, refuses_rule(r);
    r = rule, r.n_points = CROP_MAX_POINTS + 1, refuses_rule(r);
    r = rule, r.width = 0, refuses_rule(r);
    r = rule, r.grow_x = NAN, refuses_rule(r);

    struct kb_error err = {0};
    static const char *const names[] = {"crop", "eyes"};
    CLEANUP(graph_free) struct graph *g = build();
    assert_ok(err, graph_finish(g, &err));
    assert_fails(err, KB_BAD_INPUT, "'eyes'", graph_keep_outputs(g, names, 2, &err));
    assert_int_equal(g->n_outputs, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_packed),         cmocka_unit_test(test_f32_only),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
