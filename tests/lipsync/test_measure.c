#include "tests/test.h"

#include "lipsync/measure.h"

#include <math.h>

// --- a face drawn with numbers ---

// A face 200 pixels high and 160 wide whose inner lips gape by gap pixels.
static void draw_face(float (*points)[2], float gap)
{
    for (int i = 0; i < TRACK_N_OVAL; i++) {
        double a = 2 * M_PI * i / TRACK_N_OVAL; // from the top, clockwise in the picture
        points[TRACK_OVAL_FIRST + i][0] = (float)(150 + 80 * sin(a));
        points[TRACK_OVAL_FIRST + i][1] = (float)(150 - 100 * cos(a));
    }
    for (int i = 0; i < TRACK_N_LIPS; i++) {
        double a = M_PI * i / 10; // from the left corner over the upper lip
        bool corner = i % 10 == 0, upper = i < 10;
        float half = corner ? 0 : upper ? -gap / 2 : gap / 2;
        points[TRACK_INNER_FIRST + i][0] = (float)(150 - 25 * cos(a));
        points[TRACK_INNER_FIRST + i][1] = 200 + half;
        points[TRACK_OUTER_FIRST + i][0] = (float)(150 - 35 * cos(a));
        points[TRACK_OUTER_FIRST + i][1] = 200 + half + (corner ? 0 : upper ? -6.f : 6.f);
    }
    for (int i = TRACK_OTHER_FIRST; i < TRACK_N_POINTS; i++) {
        int k = i - TRACK_OTHER_FIRST;
        points[i][0] = (float)(110 + 80 * (k % 5) / 4.0);
        points[i][1] = (float)(100 + 70 * (k / 5) / 3.0);
    }
    points[track_point_of(2)][0] = 150; // the foot of the nose closes the mask
    points[track_point_of(2)][1] = 175;
}

static void move_face(float (*points)[2], float angle, float scale, float dx, float dy)
{
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        float x = points[i][0], y = points[i][1];
        points[i][0] = scale * (cosf(angle) * x - sinf(angle) * y) + dx;
        points[i][1] = scale * (sinf(angle) * x + cosf(angle) * y) + dy;
    }
}

typedef const float (*const_points)[2];

static void test_aperture(void **state)
{
    static const struct {
        float gap, angle, scale;
    } cases[] = {{0, 0, 1}, {10, 0, 1}, {40, 0, 1}, {10, 0.5f, 1}, {10, -1.2f, 3}, {10, 0, 0.4f}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        float p[TRACK_N_POINTS][2];
        draw_face(p, cases[i].gap);
        move_face(p, cases[i].angle, cases[i].scale, 7, -3);
        assert_float_equal(measure_aperture((const_points)p), cases[i].gap / 200, 1e-5);
    }
    float nothing[TRACK_N_POINTS][2] = {{0}};
    assert_float_equal(measure_aperture((const_points)nothing), 0, 0);
}

static void test_lip_distance(void **state)
{
    float truth[TRACK_N_POINTS][2], test[TRACK_N_POINTS][2];
    draw_face(truth, 10);
    draw_face(test, 10);
    move_face(test, 0.3f, 1.5f, 20, -40); // another head position is no difference
    assert_float_equal(measure_lip_distance((const_points)truth, (const_points)test), 0, 1e-4);

    // 36 of 40 points (all but four corners) are 2 pixels off, the face is some 158 wide.
    draw_face(test, 14);
    assert_float_equal(measure_lip_distance((const_points)truth, (const_points)test),
                       2 * 0.9f / measure_face_width((const_points)truth), 1e-4);
}

static void test_jitter(void **state)
{
    float a[TRACK_N_POINTS][2], b[TRACK_N_POINTS][2], c[TRACK_N_POINTS][2];
    draw_face(a, 10);
    draw_face(b, 10);
    draw_face(c, 10);
    move_face(b, 0, 1, 5, 0);
    move_face(c, 0, 1, 10, 0); // even motion is no jitter
    assert_float_equal(measure_jitter((const_points)a, (const_points)b, (const_points)c), 0, 1e-5);
    move_face(c, 0, 1, 0, 4);
    assert_float_equal(measure_jitter((const_points)a, (const_points)b, (const_points)c),
                       4 / measure_face_width((const_points)b), 1e-4);
}

// --- curves ---

#define N 60

static float wave(int k)
{
    return 0.05f + 0.04f * sinf((float)k * 0.7f) + 0.02f * sinf((float)k * 1.9f);
}

static void test_lag(void **state)
{
    for (int lag = -MEASURE_MAX_LAG; lag <= MEASURE_MAX_LAG; lag++) {
        float a[N], b[N];
        for (int k = 0; k < N; k++) {
            a[k] = wave(k);
            b[k] = 0.5f * wave(k - lag) + 0.1f; // late by lag, half as wide
        }
        a[10] = b[20] = b[21] = NAN; // frames without a face
        double r;
        assert_int_equal(measure_lag(a, b, N, &r), lag);
        assert_float_equal(r, 1, 1e-5);
    }
}

static void test_lag_of_odd_curves(void **state)
{
    float a[N], flat[N], few[N], against[N];
    for (int k = 0; k < N; k++) {
        a[k] = wave(k);
        flat[k] = 0.1f;
        few[k] = k < MEASURE_MIN_FRAMES - 1 ? wave(k) : NAN;
        against[k] = (float)k * 0.01f; // in a line: no lag is better than another
    }
    double r = 5;
    assert_int_equal(measure_lag(a, flat, N, &r), 0);
    assert_float_equal(r, 0, 0);
    assert_int_equal(measure_lag(a, few, N, &r), 0);
    assert_float_equal(r, 0, 0);
    assert_int_equal(measure_lag(against, against, N, &r), 0);
    assert_float_equal(r, 1, 1e-9);
    assert_int_equal(measure_lag(NULL, NULL, 0, &r), 0);
}

static void test_correlation_is_pearsons(void **state)
{
    // numpy.corrcoef of these twelve pairs at lag 0 is 0.6429488; other lags have too few pairs.
    static const float a[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const float b[] = {2, 1, 4, 3, 7, 8, 5, 6, 6, 12, 9, 4};
    double r;
    assert_int_equal(measure_lag(a, b, 12, &r), 0);
    assert_float_equal(r, 0.6429488, 1e-6);
}

static void test_amplitude(void **state)
{
    float a[N], b[N], flat[N];
    for (int k = 0; k < N; k++) {
        a[k] = wave(k);
        b[k] = 0.25f * wave(k);
        flat[k] = 1;
    }
    b[3] = NAN;
    assert_float_equal(measure_amplitude(a, b, N), 0.25, 1e-5);
    assert_float_equal(measure_amplitude(flat, flat, N), 1, 0);
    assert_true(isinf(measure_amplitude(flat, a, N)));
}

// --- pictures ---

static AVFrame *grey(int width, int height, int value)
{
    AVFrame *f = av_frame_alloc();
    f->format = 0; // AV_PIX_FMT_YUV420P
    f->width = width;
    f->height = height;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int y = 0; y < height; y++)
        memset(f->data[0] + y * f->linesize[0], value, (size_t)width);
    return f;
}

static void test_psnr(void **state)
{
    CLEANUP(av_frame_free) AVFrame *a = grey(300, 300, 100), *b = grey(300, 300, 105);
    struct luma_error sum = {0};
    measure_outside(&sum, a, a, NULL, 0);
    assert_true(isinf(measure_psnr(&sum)));
    sum = (struct luma_error){0};
    measure_outside(&sum, a, b, NULL, 0);
    assert_int_equal(sum.pixels, 300 * 300);
    assert_float_equal(measure_psnr(&sum), 34.1514, 1e-3); // 20 log10(255 / 5)
}

static void test_mask(void **state)
{
    float p[TRACK_N_POINTS][2];
    draw_face(p, 10);
    static const struct {
        int x, y;
        bool counts;
    } cases[] = {
        {150, 200, false}, // mouth
        {150, 240, false}, // chin
        {90, 190, false},  // jaw
        {150, 120, true},  // eyes
        {150, 290, true},  // neck
        {20, 200, true},   // beside the head
        {0, 0, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(av_frame_free) AVFrame *a = grey(300, 300, 100), *b = grey(300, 300, 100);
        b->data[0][cases[i].y * b->linesize[0] + cases[i].x] = 110;
        struct luma_error sum = {0};
        measure_outside(&sum, a, b, (const_points)p, 16);
        assert_true(sum.pixels > 60000 && sum.pixels < 85000);
        assert_float_equal(sum.squares, cases[i].counts ? 100 : 0, 0);
    }
}

// A face beyond the rim, of no size, or of impossible numbers hides nothing and breaks nothing.
static void test_mask_outside_the_picture(void **state)
{
    static const struct {
        float scale, dx;
    } cases[] = {{1, 5000}, {1, -5000}, {0, 50}, {1e30f, 0}, {NAN, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(av_frame_free) AVFrame *a = grey(64, 48, 100);
        float p[TRACK_N_POINTS][2];
        draw_face(p, 10);
        move_face(p, 0, cases[i].scale, cases[i].dx, 0);
        struct luma_error sum = {0};
        measure_outside(&sum, a, a, (const_points)p, 4);
        assert_true(sum.pixels <= 64 * 48);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aperture),
        cmocka_unit_test(test_lip_distance),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_lag),
        cmocka_unit_test(test_lag_of_odd_curves),
        cmocka_unit_test(test_correlation_is_pearsons),
        cmocka_unit_test(test_amplitude),
        cmocka_unit_test(test_psnr),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_mask_outside_the_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
