// The virtual camera: rests to the pixel, walks softly, jumps at cuts; and what it sees of frames.
#include "tests/test.h"

#include "face/track_internal.h"
#include "finish/camera.h"
#include "finish/finish.h"
#include "finish/window.h"
#include "media/deep.h"

#include <math.h>

#define FPS  25
#define ROOM 1312 // a window of 608 in 1920
#define SIZE 608

struct walk {
    int n;
    struct camera_point *points;
    float *path;
};

static struct walk walk_of(int n)
{
    struct walk w = {n, kb_alloc((size_t)n * sizeof(*w.points)),
                     kb_alloc((size_t)n * sizeof(float))};
    for (int i = 0; i < n; i++)
        w.points[i] = (struct camera_point){.pts_us = (int64_t)i * 1000000 / FPS, .seen = true};
    return w;
}

static void walk_plan(struct walk *w)
{
    struct kb_error err = {0};
    assert_ok(err, camera_plan(w->path, w->points, w->n, ROOM, SIZE, NULL, &err));
    for (int i = 0; i < w->n; i++)
        if (!(w->path[i] >= 0 && w->path[i] <= ROOM))
            fail_msg("frame %d: %g is outside", i, (double)w->path[i]);
}

static void walk_free(struct walk *w)
{
    free(w->points);
    free(w->path);
}

static void test_who_only_nods_is_not_followed(void **state)
{
    CLEANUP(walk_free) struct walk w = walk_of(20 * FPS);
    for (int i = 0; i < w.n; i++) // to and fro, a jitter, and for half a second quite away
        w.points[i].wanted =
            600 + 40 * sinf((float)i * 0.2f) + (float)(i * 7 % 5) + (i > 200 && i < 212 ? 250 : 0);
    walk_plan(&w);
    for (int i = 0; i < w.n; i++)
        assert_true(w.path[i] == w.path[0]);
    assert_int_equal((int)w.path[0] % 2, 0);
    assert_true(w.path[0] == floorf(w.path[0]));
    assert_true(fabsf(w.path[0] - 600) < 20);
}

// Pixels a frame, and by how much that changes from frame to frame.
static void fastest(const struct walk *w, int first, int end, float *speed, float *jerk)
{
    *speed = *jerk = 0;
    for (int i = first + 1; i + 1 < end; i++) {
        float a = w->path[i] - w->path[i - 1], b = w->path[i + 1] - w->path[i];
        *speed = fmaxf(*speed, fabsf(a));
        *jerk = fmaxf(*jerk, fabsf(b - a));
    }
}

static void test_who_walks_is_followed_softly(void **state)
{
    CLEANUP(walk_free) struct walk w = walk_of(20 * FPS);
    for (int i = 0; i < w.n; i++) // stands, walks for 5 s, stands
        w.points[i].wanted = i < 150 ? 200 : i < 275 ? 200 + (float)(i - 150) * 6.4f : 1000;
    walk_plan(&w);
    float speed, jerk;
    fastest(&w, 0, w.n, &speed, &jerk);
    assert_true(speed < 3 * 6.4f);
    assert_true(jerk < 1.5f);
    for (int i = 0; i < w.n; i++) // they never leave the middle half of the window
        assert_true(fabsf(w.path[i] - w.points[i].wanted) < SIZE * 0.25f);
    for (int i = 0; i < 100; i++)
        assert_true(w.path[i] == w.path[0]);
    for (int i = 350; i < w.n; i++)
        assert_true(w.path[i] == w.path[w.n - 1]);
    assert_true(fabsf(w.path[w.n - 1] - 1000) <= SIZE * 0.11f);
    // Fractions of pixels on the way: no steps.
    int between = 0;
    for (int i = 160; i < 260; i++)
        between += w.path[i] != floorf(w.path[i]);
    assert_true(between > 50);
}

static void test_the_camera_jumps_only_at_cuts(void **state)
{
    CLEANUP(walk_free) struct walk w = walk_of(12 * FPS);
    for (int i = 0; i < w.n; i++) {
        w.points[i].wanted = i < 100 ? 100 : 900;
        w.points[i].cut = i == 100 || i == 200;
        w.points[i].seen = i < 200; // the last view shows nobody
    }
    walk_plan(&w);
    for (int i = 0; i < w.n; i++)
        assert_true(w.path[i] == (i < 100 ? 100 : 900));
    w.points[100].cut = false; // without a cut: a move
    walk_plan(&w);
    float speed, jerk;
    fastest(&w, 0, 200, &speed, &jerk);
    assert_true(speed < 50 && speed > 10);
    assert_true(jerk < 6);
}

static void test_nobody_and_the_edges(void **state)
{
    CLEANUP(walk_free) struct walk w = walk_of(50);
    for (int i = 0; i < w.n; i++)
        w.points[i].seen = false;
    walk_plan(&w);
    assert_true(w.path[0] == ROOM / 4 * 2 && w.path[49] == w.path[0]);
    for (int i = 0; i < w.n; i++)
        w.points[i] = (struct camera_point){.pts_us = i * 40000, .seen = true, .wanted = -300};
    walk_plan(&w);
    assert_true(w.path[0] == 0 && w.path[49] == 0);
    for (int i = 0; i < w.n; i++) // time stamps of years, one frame in each
        w.points[i] = (struct camera_point){
            .pts_us = i * INT64_C(2000000000000), .seen = true, .wanted = i < 25 ? 1e9f : 100};
    walk_plan(&w);
    if (w.path[0] != ROOM || w.path[49] != 100)
        fail_msg("%g, %g", (double)w.path[0], (double)w.path[49]);
}

// --- pictures

static AVFrame *make_picture(enum AVPixelFormat format, int width, int height)
{
    AVFrame *f = av_frame_alloc();
    f->format = format;
    f->width = width;
    f->height = height;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    return f;
}

// A smooth surface, of which the value between two pixels is known.
static double surface(int plane, double x, double y, double most)
{
    double scale = plane == 1 || plane == 2 ? 2 : 1;
    return most * (0.5 + 0.2 * sin(x * scale * 0.11 + plane) + 0.2 * cos(y * scale * 0.07));
}

static void paint(AVFrame *f, int planes, bool wide)
{
    for (int p = 0; p < planes; p++) {
        int half = p == 1 || p == 2;
        for (int y = 0; y < f->height >> half; y++)
            for (int x = 0; x < f->width >> half; x++) {
                long v = lrint(surface(p, x, y, wide ? 1023 : 255));
                uint8_t *row = f->data[p] + y * f->linesize[p];
                if (wide)
                    ((uint16_t *)row)[x] = (uint16_t)v;
                else
                    row[x] = (uint8_t)v;
            }
    }
}

static void check_window(const AVFrame *from, int planes, bool wide, double x0, double y0)
{
    CLEANUP(av_frame_free) AVFrame *to = make_picture(from->format, 64, 48);
    window_take(from, x0, y0, to);
    bool whole = x0 == floor(x0) && y0 == floor(y0);
    for (int p = 0; p < planes; p++) {
        int half = p == 1 || p == 2;
        double s = half ? 2 : 1, most = wide ? 1023 : 255;
        for (int y = 0; y < 48 >> half; y++)
            for (int x = 0; x < 64 >> half; x++) {
                const uint8_t *row = to->data[p] + y * to->linesize[p];
                int v = wide ? ((const uint16_t *)row)[x] : row[x];
                double wanted = surface(p, x + x0 / s, y + y0 / s, most);
                if (fabs(v - wanted) > (whole ? 0.51 : most * 0.012))
                    fail_msg("plane %d at %d, %d: %d, wanted %g", p, x, y, v, wanted);
            }
    }
}

static void test_a_window_may_begin_between_pixels(void **state)
{
    static const double places[][2] = {{0, 0}, {20, 10}, {21.25, 10}, {20, 9.5}, {33.9, 17.1}};
    CLEANUP(av_frame_free) AVFrame *a = make_picture(AV_PIX_FMT_YUV420P, 128, 96);
    CLEANUP(av_frame_free) AVFrame *b = make_picture(AV_PIX_FMT_YUVA420P, 128, 96);
    CLEANUP(av_frame_free) AVFrame *c = make_picture(DEEP_FORMAT, 128, 96);
    paint(a, 3, false);
    paint(b, 4, false);
    paint(c, 3, true);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        check_window(a, 3, false, places[i][0], places[i][1]);
        check_window(b, 4, false, places[i][0], places[i][1]);
        check_window(c, 3, true, places[i][0], places[i][1]);
    }
    // Beyond the edge it goes on.
    CLEANUP(av_frame_free) AVFrame *to = make_picture(AV_PIX_FMT_YUV420P, 64, 48);
    window_take(a, 127, 95, to);
    assert_int_equal(to->data[0][40], a->data[0][95 * a->linesize[0] + 127]);
}

// --- the step, with a track made of numbers

#define N 60

// One face that stands at x for half of the film and, after a cut, at y.
static struct track *make_track(float x, float y)
{
    struct track *t = kb_alloc(sizeof(*t));
    t->info =
        (struct track_info){.width = 640, .height = 360, .n_frames = N, .n_faces = 1, .n_cuts = 1};
    t->pts = kb_alloc(N * sizeof(*t->pts));
    t->cuts = kb_alloc(sizeof(*t->cuts));
    t->cuts[0] = (struct track_cut){N / 2, 0};
    t->faces = kb_alloc(TRACK_MAX_FACES * sizeof(*t->faces));
    struct track_identity *id = t->faces;
    id->at = kb_alloc(N * sizeof(*id->at));
    id->records = kb_alloc(N * sizeof(*id->records));
    id->n_records = N;
    for (int i = 0; i < N; i++) {
        struct mesh m = {.score = 0.97f};
        float cx = i < N / 2 ? x : y;
        for (int k = 0; k < MESH_POINTS; k++) {
            float a = (float)k * 0.31f, r = 60 * (float)(k + 1) / MESH_POINTS;
            m.points[k][0] = cx + r * cosf(a);
            m.points[k][1] = 180 + r * sinf(a);
        }
        static const int eyes[] = {33, 133, 362, 263};
        for (size_t k = 0; k < ARRAY_LEN(eyes); k++)
            m.points[eyes[k]][1] = 150;
        t->pts[i] = (int64_t)i * 1000000 / FPS;
        id->at[i] = i;
        record_pack(&id->records[i], &m);
    }
    return t;
}

static enum kb_code open_step(struct finisher **ret, const struct track *t, const struct cast *c,
                              const char *shape, float zoom, int rows,
                              struct finish_picture *picture, struct kb_error *err)
{
    struct finish_params p = {.reframe = {.zoom = zoom, .rows = rows}};
    assert_true(reframe_parse(shape, &p.reframe));
    const struct finish_source s = {.track = t, .cast = c, .length_us = 2000000, .threads = 1};
    return finisher_open(ret, &p, &s, picture, err);
}

// Brightness tells the column of the film that is shown at the left edge of frame i.
static int column_at(struct finisher *f, int frame, int width, int height, int wanted_width)
{
    struct kb_error err = {0};
    CLEANUP(av_frame_free) AVFrame *a = make_picture(AV_PIX_FMT_YUV420P, width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            a->data[0][y * a->linesize[0] + x] = (uint8_t)(x * 255 / width);
    for (int p = 1; p < 3; p++)
        memset(a->data[p], 128, (size_t)a->linesize[p] * (size_t)height / 2);
    a->pts = 77;
    const struct finish_moment at = {.track_frame = frame};
    assert_ok(err, finisher_put(f, &a, &at, &err));
    assert_int_equal(a->width, wanted_width);
    assert_int_equal(a->pts, 77);
    return a->data[0][0] * width / 255;
}

static void test_the_face_is_in_the_middle_of_the_shape(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = make_track(200, 400);
    CLEANUP(cast_free) struct cast *c = NULL;
    assert_ok(err, cast_make(&c, t, &(struct cast_params){.choice = FACE_LARGEST}, &err));
    // The film is read at half of its size again.
    struct finish_picture picture = {.width = 1280, .height = 720, .sample_aspect = {1, 1}};
    CLEANUP(finisher_close) struct finisher *f = NULL;
    assert_ok(err, open_step(&f, t, c, "9:16", 0, 0, &picture, &err));
    assert_int_equal(picture.width, 406);
    assert_int_equal(picture.height, 720);
    assert_true(abs(column_at(f, 3, 1280, 720, 406) - (400 - 203)) < 20);
    assert_true(abs(column_at(f, 29, 1280, 720, 406) - (400 - 203)) < 20);
    assert_true(abs(column_at(f, 30, 1280, 720, 406) - (800 - 203)) < 20);
    finisher_close(&f);
    // Nearer and smaller: the window is half of it, the output as many rows as were asked for.
    picture = (struct finish_picture){.width = 1280, .height = 720, .sample_aspect = {1, 1}};
    assert_ok(err, open_step(&f, t, c, "1:1", 2, 240, &picture, &err));
    assert_int_equal(picture.width, 240);
    assert_int_equal(picture.height, 240);
    assert_true(abs(column_at(f, 3, 1280, 720, 240) - (400 - 180)) < 20);
    finisher_close(&f);
    // Pixels that are not square become so: 720x576 that is shown as 16:9.
    picture = (struct finish_picture){.width = 720, .height = 576, .sample_aspect = {64, 45}};
    assert_ok(err, open_step(&f, t, c, "1:1", 0, 0, &picture, &err));
    assert_int_equal(picture.width, 576);
    assert_int_equal(picture.height, 576);
    assert_int_equal(picture.sample_aspect.num, 1);
    finisher_close(&f);
    // 4K to what platforms take; and a film that has the shape already is left alone.
    picture = (struct finish_picture){.width = 3840, .height = 2160, .sample_aspect = {1, 1}};
    assert_ok(err, open_step(&f, t, c, "9:16", 0, 0, &picture, &err));
    assert_int_equal(picture.width, 1080);
    assert_int_equal(picture.height, 1920);
    finisher_close(&f);
    picture = (struct finish_picture){.width = 1280, .height = 720};
    assert_ok(err, open_step(&f, t, c, "16:9", 0, 0, &picture, &err));
    assert_null(f);
    picture = (struct finish_picture){.width = 64, .height = 64};
    assert_fails(err, KB_BAD_INPUT, "too small", open_step(&f, t, c, "1:4", 0, 0, &picture, &err));
}

static void test_ten_bits_come_along(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = make_track(200, 400);
    CLEANUP(cast_free) struct cast *c = NULL;
    assert_ok(err, cast_make(&c, t, &(struct cast_params){.choice = FACE_LARGEST}, &err));
    struct finish_picture picture = {.width = 128, .height = 96, .deep = true};
    CLEANUP(finisher_close) struct finisher *f = NULL;
    assert_ok(err, open_step(&f, t, c, "1:1", 0, 0, &picture, &err));
    CLEANUP(av_frame_free) AVFrame *a = make_picture(DEEP_FORMAT, 128, 96);
    paint(a, 3, true);
    assert_int_equal(deep_split(a), 0);
    const struct finish_moment at = {.track_frame = 0};
    assert_ok(err, finisher_put(f, &a, &at, &err));
    CLEANUP(av_frame_free) AVFrame *ten = av_frame_alloc();
    assert_int_equal(deep_join(a, ten), 0);
    assert_int_equal(ten->width, 96);
    int fine = 0; // there is something in the lower two bits
    for (int x = 0; x < 96; x++)
        fine += ((const uint16_t *)ten->data[0])[x] % 4 != 0;
    assert_true(fine > 30);
}

static void test_shapes_that_are_none(void **state)
{
    static const char *const bad[] = {"",      "9",   "9:",   ":16",    "0:1",
                                      "9:16x", "1:5", "-1:2", "200:100"};
    struct reframe_params p = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(reframe_parse(bad[i], &p));
    assert_true(reframe_parse("4:5", &p) && p.width == 4 && p.height == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_only_nods_is_not_followed),
        cmocka_unit_test(test_who_walks_is_followed_softly),
        cmocka_unit_test(test_the_camera_jumps_only_at_cuts),
        cmocka_unit_test(test_nobody_and_the_edges),
        cmocka_unit_test(test_a_window_may_begin_between_pixels),
        cmocka_unit_test(test_the_face_is_in_the_middle_of_the_shape),
        cmocka_unit_test(test_ten_bits_come_along),
        cmocka_unit_test(test_shapes_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
