// The way into the crop and back into the frame, on synthetic pictures.
#include "tests/test.h"

#include <math.h>

#include "lipsync/blend.h"
#include "lipsync/crop.h"
#include "lipsync/paste.h"

#define SIZE LIPS_SIDE

// A smooth coloured picture with some detail.
static AVFrame *picture(int width, int height)
{
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = width;
    f->height = height;
    f->colorspace = AVCOL_SPC_BT709;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            f->data[0][y * f->linesize[0] + x] =
                (uint8_t)(120 + 50 * sin(x * 0.03) * cos(y * 0.04));
    for (int y = 0; y < height / 2; y++)
        for (int x = 0; x < width / 2; x++) {
            f->data[1][y * f->linesize[1] + x] = (uint8_t)(118 + 10 * sin(x * 0.05));
            f->data[2][y * f->linesize[2] + x] = (uint8_t)(140 + 10 * cos(y * 0.05));
        }
    return f;
}

// An oval of landmarks in crop pixels, as a frontal face has them.
static void face_points(float (*points)[2])
{
    memset(points, 0, TRACK_N_POINTS * sizeof(points[0]));
    for (int i = 0; i < TRACK_N_OVAL; i++) {
        double a = 2 * M_PI * i / TRACK_N_OVAL; // from the forehead, clockwise
        points[TRACK_OVAL_FIRST + i][0] = (float)(48 + 30 * sin(a));
        points[TRACK_OVAL_FIRST + i][1] = (float)(47 - 41 * cos(a));
    }
    points[track_point_of(2)][0] = 48;
    points[track_point_of(2)][1] = 51;
}

static const struct affine turned = {1.6f, 0.3f, 90, -0.3f, 1.6f, 110};

static struct paster *make_paster(float sharpen)
{
    struct paste_params pp = {.side = SIZE, .feather = 0.08f, .dilate = 0.02f, .sharpen = sharpen};
    return paster_create(&pp);
}

static void test_mask_covers_the_mouth_and_fades_out(void **state)
{
    float points[TRACK_N_POINTS][2];
    face_points(points);
    struct paster *p = make_paster(0);
    const float *m = paster_mask(p, (const float(*)[2])points);
    assert_true(m[66 * SIZE + 48] > 0.99f); // the mouth
    for (int i = 0; i < SIZE; i++) {
        assert_true(m[30 * SIZE + i] == 0); // the eyes
        assert_true(m[i] == 0 && m[(SIZE - 1) * SIZE + i] == 0);
        assert_true(m[i * SIZE] == 0 && m[i * SIZE + SIZE - 1] == 0);
    }
    for (int i = 0; i < SIZE * SIZE; i++)
        assert_true(m[i] >= 0 && m[i] <= 1);
    paster_free(&p);
}

static void test_own_crop_pasted_back_changes_next_to_nothing(void **state)
{
    float points[TRACK_N_POINTS][2];
    face_points(points);
    AVFrame *f = picture(480, 400), *before = picture(480, 400);
    float *target = malloc(LIPS_FLOATS * sizeof(float));
    crop_take(f, &turned, SIZE, target);
    struct paster *p = make_paster(0);
    paste(p, f, &turned, target, target, (const float(*)[2])points);

    int worst = 0;
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            int d = abs(f->data[0][y * f->linesize[0] + x] -
                        before->data[0][y * before->linesize[0] + x]);
            worst = KB_MAX(worst, d);
        }
    assert_true(worst <= 3);
    free(target);
    paster_free(&p);
    av_frame_free(&f);
    av_frame_free(&before);
}

static void test_outside_the_mask_not_a_byte_changes(void **state)
{
    float points[TRACK_N_POINTS][2];
    face_points(points);
    AVFrame *f = picture(480, 400), *before = picture(480, 400);
    float *target = malloc(LIPS_FLOATS * sizeof(float));
    float *red = malloc(LIPS_FLOATS * sizeof(float));
    for (int i = 0; i < LIPS_FLOATS; i++)
        red[i] = i % 3 == 2 ? 0.9f : 0.05f;
    crop_take(f, &turned, SIZE, target);
    struct paster *p = make_paster(0.5f);
    paste(p, f, &turned, target, red, (const float(*)[2])points);
    const float *m = paster_mask(p, (const float(*)[2])points);

    struct affine to_crop = affine_invert(&turned);
    int changed = 0;
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            bool differs =
                f->data[0][y * f->linesize[0] + x] != before->data[0][y * before->linesize[0] + x];
            changed += differs;
            float cx, cy;
            affine_apply(&to_crop, (float)x + 0.5f, (float)y + 0.5f, &cx, &cy);
            int mx = (int)floorf(cx - 0.5f), my = (int)floorf(cy - 0.5f);
            bool near = false;
            for (int k = 0; k < 4; k++) {
                int px = mx + (k & 1), py = my + (k >> 1);
                near |= px >= 0 && py >= 0 && px < SIZE && py < SIZE && m[py * SIZE + px] > 0;
            }
            assert_false(differs && !near);
        }
    assert_true(changed > 1500);
    // In the middle of the mouth it is red: V far above its former 140.
    float fx, fy;
    affine_apply(&turned, 48, 68, &fx, &fy);
    assert_true(f->data[2][(int)(fy / 2) * f->linesize[2] + (int)(fx / 2)] > 180);
    free(target);
    free(red);
    paster_free(&p);
    av_frame_free(&f);
    av_frame_free(&before);
}

static void test_a_face_half_outside_the_frame_is_safe(void **state)
{
    static const struct affine places[] = {{3, 0, -200, 0, 3, -150},
                                           {3, 0, 300, 0, 3, 250},
                                           {0.2f, 0, 5, 0, 0.2f, 5},
                                           {20, 3, -900, -3, 20, -900},
                                           {1, 0, 100000, 0, 1, -100000}};
    float points[TRACK_N_POINTS][2];
    face_points(points);
    float *target = calloc(LIPS_FLOATS, sizeof(float));
    struct paster *p = make_paster(0);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        AVFrame *f = picture(322, 242);
        crop_take(f, &places[i], SIZE, target);
        paste(p, f, &places[i], target, target, (const float(*)[2])points);
        av_frame_free(&f);
    }
    paster_free(&p);
    free(target);
}

static void test_colour_is_matched_at_the_rim(void **state)
{
    // The network's picture is right but 0.08 too bright: the pasted frame must not show it.
    float points[TRACK_N_POINTS][2];
    face_points(points);
    AVFrame *f = picture(480, 400), *before = picture(480, 400);
    float *target = malloc(LIPS_FLOATS * sizeof(float));
    float *bright = malloc(LIPS_FLOATS * sizeof(float));
    crop_take(f, &turned, SIZE, target);
    for (int i = 0; i < LIPS_FLOATS; i++)
        bright[i] = target[i] + 0.08f;
    struct paster *p = make_paster(0);
    paste(p, f, &turned, target, bright, (const float(*)[2])points);
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++)
            assert_true(abs(f->data[0][y * f->linesize[0] + x] -
                            before->data[0][y * before->linesize[0] + x]) <= 4);
    free(target);
    free(bright);
    paster_free(&p);
    av_frame_free(&f);
    av_frame_free(&before);
}

static void test_interleave_masks_the_lower_half(void **state)
{
    static float crop[LIPS_FLOATS], out[2 * LIPS_FLOATS];
    for (int i = 0; i < LIPS_FLOATS; i++)
        crop[i] = 0.25f;
    crop_interleave(crop, SIZE, out);
    for (int i = 0; i < 2 * LIPS_FLOATS; i++)
        assert_true(out[i] == (i % 6 < 3 && i >= LIPS_FLOATS ? 0 : 0.25f));
}

#ifdef __x86_64__
static float noise(void) // 0..1
{
    static uint32_t seed = 11;
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 16777216.0f;
}

static void test_blend_rows(void **state)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        SKIP_TEST("this processor has no AVX2");
    static const int sizes[][2] = {{2, 2}, {3, 9}, {16, 16}, {41, 23}};
    for (int t = 0; t < 2000; t++) {
        int w = sizes[t % 4][0], h = sizes[t % 4][1], n = 40 - t % 11;
        float(*yuva)[4] = malloc((size_t)(w * h) * sizeof(*yuva)); // AddressSanitizer sees its end
        for (int i = 0; i < w * h * 4; i++)
            yuva[i / 4][i % 4] = i % 4 < 3 ? 300 * noise() - 20 : t % 3 ? noise() : 0;
        struct patch p = {w, h, (const float(*)[4])yuva};
        struct blend_line l = {(float)w * (2 * noise() - 0.5f), (float)h * (2 * noise() - 0.5f),
                               (float)w * (noise() - 0.5f) / 8, (float)h * (noise() - 0.5f) / 8};
        if (t % 400 == 1)
            l.x = (float[]){NAN, INFINITY, -INFINITY, 1e30f, -1e30f}[t / 400 % 5];
        uint8_t a[2][48], b[2][48], before[2][48];
        for (int i = 0; i < 96; i++)
            a[i / 48][i % 48] = b[i / 48][i % 48] = before[i / 48][i % 48] =
                (uint8_t)(noise() * 256);
        bool chroma = t % 2;
        blend_row_c(&p, &l, chroma, n, (uint8_t *const[]){a[0], a[1]});
        blend_row_avx2(&p, &l, chroma, n, (uint8_t *const[]){b[0], b[1]});
        for (int i = 0; i < 96; i++) {
            assert_true(abs(a[i / 48][i % 48] - b[i / 48][i % 48]) <=
                        1); // a half rounds either way
            // alpha 0, behind the row, or the plane that luma has not
            if (t % 3 == 0 || i % 48 >= n || (i >= 48 && !chroma))
                assert_int_equal(b[i / 48][i % 48], before[i / 48][i % 48]);
        }
        free(yuva);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask_covers_the_mouth_and_fades_out),
        cmocka_unit_test(test_own_crop_pasted_back_changes_next_to_nothing),
        cmocka_unit_test(test_outside_the_mask_not_a_byte_changes),
        cmocka_unit_test(test_a_face_half_outside_the_frame_is_safe),
        cmocka_unit_test(test_colour_is_matched_at_the_rim),
        cmocka_unit_test(test_interleave_masks_the_lower_half),
#ifdef __x86_64__
        cmocka_unit_test(test_blend_rows),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
