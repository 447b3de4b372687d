// Detector and landmarks on synthetic numbers and on real pictures.
#include "tests/drawn_face.h"
#include "tests/test.h"

#include "base/file.h"
#include "face/models_internal.h"
#include "media/reader.h"

#include <math.h>

static struct face_models *load_models(void)
{
    struct kb_error err = {0};
    struct face_models *m = NULL;
    assert_ok(err, face_models_load(&m, &err));
    return m;
}

// A picture of the package that is installed for the demo.
static const char *photo_path(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "node_modules/@vladmandic/face-api/demo/%s", name);
    return source_path(path);
}

static AVFrame *frame_of(const char *path, int number)
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *r = NULL;
    AVFrame *f = NULL;
    assert_ok(err, reader_open(&r, path, &(struct reader_params){0}, &err));
    for (int i = 0; i <= number; i++) {
        av_frame_free(&f);
        assert_ok(err, reader_next(r, &f, &err));
    }
    return f;
}

static void test_merge(void **state)
{
    struct detection d[5] = {
        {.x = 100, .y = 100, .width = 50, .height = 50, .score = 0.6f},
        {.x = 104, .y = 100, .width = 50, .height = 50, .score = 0.9f},
        {.x = 300, .y = 100, .width = 50, .height = 50, .score = 0.7f},
        {.x = 102, .y = 106, .width = 50, .height = 50, .score = 0.5f},
        {.x = 132, .y = 100, .width = 50, .height = 50, .score = 0.55f}, // IoU with the best: 0.28
    };
    assert_int_equal(detections_merge(d, 5), 3);
    assert_float_equal(d[0].score, 0.9, 1e-6); // the best keeps its score and averages the rest in
    assert_float_equal(d[0].x, (100 * 0.6 + 104 * 0.9 + 102 * 0.5) / 2.0, 1e-3);
    assert_float_equal(d[0].y, (100 * 1.5 + 106 * 0.5) / 2.0, 1e-3);
    assert_float_equal(d[1].x, 300, 1e-3);
    assert_float_equal(d[2].x, 132, 1e-3);
    assert_int_equal(detections_merge(d, 0), 0);
    assert_float_equal(box_iou((float[]){0, 0, 2, 2}, (float[]){1, 0, 3, 2}), 1.0 / 3, 1e-6);
    assert_float_equal(box_iou((float[]){0, 0, 2, 2}, (float[]){2, 0, 3, 2}), 0, 1e-6);
}

static float apart(const struct mesh *m, int a, int b)
{
    return hypotf(m->points[a][0] - m->points[b][0], m->points[a][1] - m->points[b][1]);
}

// What holds for every face that is seen from the front, in its own upright frame.
static void check_face(const struct mesh *m, float width, float height)
{
    assert_true(m->score > 0.9f);
    float angle = region_from_mesh(m).angle, c = cosf(angle), s = sinf(angle);
    float turned[MESH_POINTS][2];
    for (int i = 0; i < MESH_POINTS; i++) {
        turned[i][0] = c * m->points[i][0] + s * m->points[i][1];
        turned[i][1] = c * m->points[i][1] - s * m->points[i][0];
    }
    float face = apart(m, 10, 152), eyes = apart(m, 33, 263);
    assert_true(eyes / face > 0.35f && eyes / face < 0.75f);
    assert_true(apart(m, 61, 291) / face > 0.15f && apart(m, 61, 291) / face < 0.6f);
    static const int downwards[] = {10, 168, 4, 0, 17, 152}; // forehead, nose, lips, chin
    for (size_t i = 1; i < ARRAY_LEN(downwards); i++)
        assert_true(turned[downwards[i]][1] > turned[downwards[i - 1]][1]);
    assert_true(turned[33][0] < turned[133][0] && turned[133][0] < turned[362][0] &&
                turned[362][0] < turned[263][0]);
    assert_true(turned[61][0] < turned[13][0] && turned[13][0] < turned[291][0]);
    assert_true(m->points[4][2] < m->points[234][2] && m->points[4][2] < m->points[454][2]);
    for (int i = 0; i < MESH_POINTS; i++)
        assert_true(m->points[i][0] > -width / 4 && m->points[i][0] < width * 1.25f &&
                    m->points[i][1] > -height / 4 && m->points[i][1] < height * 1.25f);
}

// Every detection must lead to a mesh that agrees with it, and a second look must change little:
// by settle of the height of the face (much for heads that lean, where the detector errs).
static int check_frame(struct face_models *m, const AVFrame *f, float settle)
{
    struct kb_error err = {0};
    struct detection d[16];
    int n = 0, n_faces = 0;
    assert_ok(err, face_detect(m, f, d, ARRAY_LEN(d), &n, &err));
    for (int i = 0; i < n; i++) {
        struct mesh first, mesh;
        struct face_region region = region_from_detection(&d[i]);
        assert_ok(err, face_mesh(m, f, &region, &first, &err));
        if (first.score < 0.5f)
            continue; // the detector saw something in an arm; this is how the tracker finds out
        n_faces++;
        region = region_from_mesh(&first);
        assert_ok(err, face_mesh(m, f, &region, &mesh, &err));
        check_face(&mesh, (float)f->width, (float)f->height);
        float size = apart(&mesh, 10, 152), moved = 0;
        for (int k = 0; k < MESH_POINTS; k++)
            moved += hypotf(mesh.points[k][0] - first.points[k][0],
                            mesh.points[k][1] - first.points[k][1]);
        assert_true(moved / MESH_POINTS < settle * size);
        // The detector's eyes, nose and mouth against the landmarks'.
        static const int ids[4][2] = {{33, 133}, {362, 263}, {1, 1}, {13, 14}};
        for (int k = 0; k < 4; k++) {
            float x = (mesh.points[ids[k][0]][0] + mesh.points[ids[k][1]][0]) / 2;
            float y = (mesh.points[ids[k][0]][1] + mesh.points[ids[k][1]][1]) / 2;
            assert_true(hypotf(d[i].points[k][0] - x, d[i].points[k][1] - y) < 0.25f * d[i].width);
        }
        if (i > 0)
            assert_true(d[i].score <= d[i - 1].score);
    }
    return n_faces;
}

static void test_photos(void **state)
{
    static const struct {
        const char *name;
        int n_faces;
    } photos[] = {{"sample1.jpg", 3}, {"sample4.jpg", 4}, {"sample6.jpg", 4}};
    CLEANUP(face_models_free) struct face_models *m = load_models();
    for (size_t i = 0; i < ARRAY_LEN(photos); i++) {
        AVFrame *f = frame_of(photo_path(photos[i].name), 0);
        assert_int_equal(check_frame(m, f, 0.15f), photos[i].n_faces);
        av_frame_free(&f);
    }
}

static void test_clips(void **state)
{
    static const struct {
        const char *name;
        int frame, n_faces;
        float x, y; // middle of the first face's mouth as seen by eye, in pixels; 0: not looked at
    } clips[] = {
        {"wide_1080p.mp4", 30, 1, 920, 853},  {"square_512.mp4", 30, 1, 280, 360},
        {"two_people_720p.mp4", 30, 2, 0, 0}, {"grid_brbk7n.mpg", 10, 1, 0, 0},
        {"uneven_700.mp4", 5, 1, 0, 0},
    };
    CLEANUP(face_models_free) struct face_models *m = load_models();
    for (size_t i = 0; i < ARRAY_LEN(clips); i++) {
        AVFrame *f = frame_of(clip_path(clips[i].name), clips[i].frame);
        assert_int_equal(check_frame(m, f, 0.06f), clips[i].n_faces);
        if (clips[i].x > 0) {
            struct kb_error err = {0};
            struct detection d;
            int n;
            struct mesh mesh;
            assert_ok(err, face_detect(m, f, &d, 1, &n, &err));
            struct face_region region = region_from_detection(&d);
            assert_ok(err, face_mesh(m, f, &region, &mesh, &err));
            float size = apart(&mesh, 10, 152);
            assert_float_equal((mesh.points[13][0] + mesh.points[14][0]) / 2, clips[i].x,
                               0.04 * size);
            assert_float_equal((mesh.points[13][1] + mesh.points[14][1]) / 2, clips[i].y,
                               0.04 * size);
        }
        av_frame_free(&f);
    }
}

// A drawn face, every pixel doubled, so that 4:2:0 loses none of its colours.
static AVFrame *drawn_frame(void)
{
    enum { SIZE = 192 };
    static float rgb[SIZE * SIZE * 3];
    draw_face(rgb, 1, 0, 1);
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = f->height = 2 * SIZE;
    f->colorspace = AVCOL_SPC_SMPTE170M;
    f->color_range = AVCOL_RANGE_MPEG;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int i = 0; i < SIZE * SIZE; i++) {
        const float *p = rgb + 3 * i;
        float luma = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
        int x = i % SIZE, y = i / SIZE;
        for (int k = 0; k < 4; k++)
            f->data[0][(2 * y + k / 2) * f->linesize[0] + 2 * x + k % 2] =
                (uint8_t)lrintf(16 + 219 * luma);
        f->data[1][y * f->linesize[1] + x] = (uint8_t)lrintf(128 + 224 * (p[2] - luma) / 1.772f);
        f->data[2][y * f->linesize[2] + x] = (uint8_t)lrintf(128 + 224 * (p[0] - luma) / 1.402f);
    }
    return f;
}

// The lips' x and y are those that were seen from near (the golden file's second part), everything
// else is the mesh's.
static void test_lips_are_refined(void **state)
{
    static const struct {
        int point, lip;
    } middles[] = {{13, 35}, {14, 25}, {0, 15}, {17, 5}, {61, 0}, {291, 10}};
    struct kb_error err = {0};
    CLEANUP(face_models_free) struct face_models *m = load_models();
    CLEANUP(file_unmap) struct file_map golden = {0};
    const char *path = source_path("tests/golden/face_landmark_attention.f32");
    assert_ok(err, file_map(&golden, path, &err));
    const float *points = (const float *)golden.data, *lips = points + 3 * MESH_POINTS;
    AVFrame *f = drawn_frame();
    struct face_region all = {192, 192, 384, 0};
    struct mesh mesh;
    assert_ok(err, face_mesh(m, f, &all, &mesh, &err));
    assert_true(mesh.score > 0.99f);
    float moved = 0;
    for (size_t i = 0; i < ARRAY_LEN(middles); i++) {
        const float *have = mesh.points[middles[i].point], *lip = lips + 2 * middles[i].lip;
        assert_float_equal(have[0], 2 * lip[0], 1);
        assert_float_equal(have[1], 2 * lip[1], 1);
        assert_float_equal(have[2], 2 * points[3 * middles[i].point + 2], 1);
        moved = fmaxf(moved, fabsf(lip[1] - points[3 * middles[i].point + 1]));
    }
    assert_true(moved > 3); // the mesh alone would have failed
    static const int others[] = {10, 33, 152, 263};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_float_equal(mesh.points[others[i]][1], 2 * points[3 * others[i] + 1], 1);
    av_frame_free(&f);
}

// Grey, noise, and sizes at the edge: nothing is found and nothing breaks.
static void test_no_face(void **state)
{
    static const int sizes[][2] = {{320, 240}, {16, 16}, {2, 2}, {1000, 8}};
    CLEANUP(face_models_free) struct face_models *m = load_models();
    uint32_t seed = 3;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct kb_error err = {0};
        AVFrame *f = av_frame_alloc();
        f->format = AV_PIX_FMT_YUV420P;
        f->width = sizes[i][0];
        f->height = sizes[i][1];
        assert_int_equal(av_frame_get_buffer(f, 0), 0);
        for (int k = 0; k < 3; k++)
            for (int y = 0; y < (k ? (f->height + 1) / 2 : f->height); y++)
                for (int x = 0; x < (k ? (f->width + 1) / 2 : f->width); x++)
                    f->data[k][y * f->linesize[k] + x] =
                        i ? (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24) : 128;
        struct detection d[4];
        int n = -1;
        assert_ok(err, face_detect(m, f, d, 4, &n, &err));
        assert_int_equal(n, 0);
        struct mesh mesh;
        struct face_region all = {(float)f->width / 2, (float)f->height / 2, (float)f->width, 0.3f};
        assert_ok(err, face_mesh(m, f, &all, &mesh, &err));
        assert_true(mesh.score < 0.5f);
        av_frame_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),   cmocka_unit_test(test_photos),
        cmocka_unit_test(test_clips),   cmocka_unit_test(test_lips_are_refined),
        cmocka_unit_test(test_no_face),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
