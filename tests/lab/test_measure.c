#include "tests/test.h"

#include "lab/measure.h"

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

static void test_width(void **state)
{
    static const struct {
        float angle, scale;
    } cases[] = {{0, 1}, {0.5f, 1}, {-1.2f, 3}, {0, 0.4f}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        float p[TRACK_N_POINTS][2];
        draw_face(p, 10);
        // The drawn eyes do not lie level; the mouth counts along the line through them.
        float *left = p[track_point_of(33)], *right = p[track_point_of(263)];
        left[0] = 110, left[1] = 120;
        right[0] = 190, right[1] = 120;
        move_face(p, cases[i].angle, cases[i].scale, 7, -3);
        assert_float_equal(measure_width((const_points)p), 50 / 80.f, 1e-5);
    }
    float nothing[TRACK_N_POINTS][2] = {{0}};
    assert_float_equal(measure_width((const_points)nothing), 0, 0);
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

// A head that trembles moves the lip points and nothing of the mouth; a mouth that jerks moves
// both.
static void test_lip_motion(void **state)
{
    float a[TRACK_N_POINTS][2], b[TRACK_N_POINTS][2], c[TRACK_N_POINTS][2];
    draw_face(a, 10);
    draw_face(b, 10);
    draw_face(c, 10);
    move_face(a, 0.2f, 1.1f, 9, -20);
    move_face(c, -0.1f, 0.8f, 30, 5);
    const_points before = (const_points)a, at = (const_points)b, after = (const_points)c;
    assert_float_equal(measure_lip_motion(before, at, after), 0, 1e-5);
    assert_true(measure_jitter(before, at, after) > 0.05f);
    assert_true(measure_still_jitter(before, at, after) > 0.05f);

    // Gaps of 10, 14 and 10 pixels: 36 of the 40 lip points are bent by 4, the nine gaps by 8.
    draw_face(a, 10);
    draw_face(b, 14);
    draw_face(c, 10);
    float expected = (36 * 4 + 9 * 8) / 49.f / measure_face_width(at);
    assert_float_equal(measure_lip_motion(before, at, after), expected, 1e-5);
    assert_float_equal(measure_still_jitter(before, at, after), 0, 0);
    move_face(b, -0.3f, 1.3f, 12, 7); // by whatever head: all is told in widths of the face
    assert_float_equal(measure_lip_motion(before, at, after), expected, 1e-5);

    float nothing[TRACK_N_POINTS][2] = {{0}}; // no similarity can be told from it
    at = (const_points)nothing;
    assert_true(isfinite(measure_lip_motion(at, at, at)));
}

static void test_still_jitter(void **state)
{
    float a[TRACK_N_POINTS][2], b[TRACK_N_POINTS][2];
    draw_face(a, 10);
    draw_face(b, 10);
    const_points same = (const_points)a, at = (const_points)b;
    b[track_point_of(6)][0] += 1.5f;   // one of twenty: ridge of the nose
    b[track_point_of(145)][1] -= 0.5f; // a lid
    b[track_point_of(17)][1] += 30;    // a lip may do what it wants
    b[track_point_of(176)][1] += 30;   // and so may the chin
    assert_float_equal(measure_still_jitter(same, at, same),
                       (3 + 1) / 20.f / measure_face_width(at), 1e-6);
}

static void test_ratio(void **state)
{
    assert_float_equal(measure_ratio(2, 3), 1.5, 0);
    assert_float_equal(measure_ratio(2, 0), 0, 0);
    assert_float_equal(measure_ratio(0, 0), 1, 0);
    assert_true(isinf(measure_ratio(0, 1)));
    assert_true(isnan(measure_ratio(NAN, 1)) && isnan(measure_ratio(1, NAN)));
}

static void test_median(void **state)
{
    double odd[] = {5, NAN, 1, 3, NAN}, even[] = {INFINITY, 2, 1, 4}, none[] = {NAN};
    assert_float_equal(measure_median(odd, 5), 3, 0);
    assert_float_equal(measure_median(even, 4), 3, 0);
    assert_true(isnan(measure_median(none, 1)));
    assert_true(isnan(measure_median(NULL, 0)));
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
    assert_float_equal(measure_correlation(a, b, 12), 0.6429488, 1e-6);
    assert_float_equal(measure_correlation(a, b, 11), 0, 0); // too few
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

// --- closures ---

static struct closures closures_of(const float *truth, const float *test, int n)
{
    struct kb_error err = {0};
    struct closures c = {-1, -1, -1};
    assert_ok(err, measure_closures(&c, truth, test, n, &err));
    return c;
}

// A mouth that is closed at the frames written as '_', half closed at '-' and open at '^'; '?' is
// no face.
static int draw_openings(const char *drawn, float *ret)
{
    int n = 0;
    for (; drawn[n]; n++)
        ret[n] = drawn[n] == '_' ? 0.01f : drawn[n] == '-' ? 0.018f : drawn[n] == '^' ? 0.05f : NAN;
    return n;
}

// The range is 0.04, so a mouth closes below 0.016 and opens at 0.02.
static void test_closures(void **state)
{
    static const struct {
        const char *truth, *test;
        struct closures expected;
    } cases[] = {
        {"^^^__^^^^^__^^^^^", "^^^__^^^^^__^^^^^", {2, 2, 2}}, // the same
        {"^^^_-_^^^^__^^^^^", "^^^_-_^^^^__^^^^^", {2, 2, 2}}, // half closed does not open
        {"^^^__^^^^^__^^^^^", "^^^--^^^^^__^^^^^", {2, 1, 1}}, // nor does it close
        {"^^^__^^^^^^^^^^^^", "^^^^^^_^^^^^^^^^^", {1, 1, 1}}, // two frames late: one between them
        {"^^^__^^^^^^^^^^^^", "^^^^^^^_^^^^^^^^^", {1, 1, 0}}, // three
        {"^^^^^^^__^^^^^^^", "^^^^^_^^^^^^^^^^", {1, 1, 1}},   // two early
        {"^^^^^^^__^^^^^^^", "^^^^_^^^^^^^^^^^", {1, 1, 0}},
        {"^_^^_^^_^^_^^^^^^", "_________________", {4, 1, 1}}, // never open: one, not four
        {"^^^^^__^^^^^^^^^", "^^^^_^_^_^^^^^^^", {1, 3, 1}},   // fluttering: one, not three
        {"^^^_?_^^^^^^^^^^^", "^^^___^^^^^^^^^^^", {2, 2, 2}}, // no face: no stretch, in either
        {"^^^_____________", "^^^^^^^^^^^^^^^^", {1, 0, 0}},
        {"^^^__^^^^^^", "^^^__^^^^^^", {0, 0, 0}},           // too short
        {"________________", "^^^__^^^^^^^^^^^", {0, 0, 0}}, // flat
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        float truth[40], test[40];
        int n = draw_openings(cases[i].truth, truth);
        assert_int_equal(draw_openings(cases[i].test, test), n);
        struct closures c = closures_of(truth, test, n), e = cases[i].expected;
        if (c.n_truth != e.n_truth || c.n_test != e.n_test || c.n_matched != e.n_matched)
            fail_msg("%s, %s: %d %d %d", cases[i].truth, cases[i].test, c.n_truth, c.n_test,
                     c.n_matched);
    }
}

static void test_closure_ratios(void **state)
{
    const struct closures some = {4, 2, 1}, none = {0}, never = {3, 0, 0};
    assert_float_equal(closures_precision(&some), 0.5, 0);
    assert_float_equal(closures_recall(&some), 0.25, 0);
    assert_float_equal(closures_f1(&some), 1 / 3.0, 1e-12);
    assert_true(isnan(closures_precision(&none)) && isnan(closures_recall(&none)));
    assert_true(isnan(closures_f1(&none)) && isnan(closures_precision(&never)));
    assert_float_equal(closures_recall(&never), 0, 0);
    assert_float_equal(closures_f1(&never), 0, 0);
}

// training/test.py has these two curves and these figures too: both measure alike.
static void test_as_training_measures(void **state)
{
    float truth[200], test[200];
    for (int k = 0; k < 200; k++) {
        int late = KB_MAX(k - 2, 0);
        truth[k] = (float)(0.04 * fabs(sin(0.21 * k)) * (0.7 + 0.3 * sin(0.05 * k)));
        test[k] = (float)(0.03 * fabs(sin(0.21 * late)) + 0.006 * sin(0.37 * k) + 0.003);
    }
    truth[50] = truth[51] = truth[52] = test[120] = NAN;
    double best;
    assert_int_equal(measure_lag(truth, test, 200, &best), 2);
    assert_float_equal(best, 0.828097, 1e-5);
    assert_float_equal(measure_correlation(truth, test, 200), 0.589196, 1e-5);
    assert_float_equal(measure_amplitude(truth, test, 200), 1.013168, 1e-5);
    struct closures c = closures_of(truth, test, 200);
    assert_true(c.n_truth == 15 && c.n_test == 12 && c.n_matched == 12);
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

// --- sharpness ---

static AVFrame *grating(int width, int height, double wave, double amplitude)
{
    AVFrame *f = grey(width, height, 0);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            f->data[0][y * f->linesize[0] + x] =
                (uint8_t)lrint(128 + amplitude * cos(2 * M_PI * x / wave));
    return f;
}

// What measure_sharpness() says of waves that long and high: the Gaussian and the Laplacian leave a
// wave a wave, times what each of them answers to its frequency.
static double sharpness_of_grating(double wave, double amplitude)
{
    double w = 2 * M_PI / wave, gaussian = 0, weights = 0;
    for (int k = -3; k <= 3; k++) {
        gaussian += exp(-k * k / (2 * 0.8 * 0.8)) * cos(k * w);
        weights += exp(-k * k / (2 * 0.8 * 0.8));
    }
    return amplitude / sqrt(2) * gaussian / weights * (2 - 2 * cos(w)) / 219;
}

static void test_sharpness_of_a_grating(void **state)
{
    static const struct {
        double wave, amplitude;
    } cases[] = {{4, 100}, {8, 100}, {8, 50}, {16, 100}, {32, 120}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(av_frame_free) AVFrame *f = grating(256, 96, cases[i].wave, cases[i].amplitude);
        double is = measure_sharpness(f, (const float[4]){32, 8, 224, 88}); // whole waves
        double expected = sharpness_of_grating(cases[i].wave, cases[i].amplitude);
        if (fabs(is / expected - 1) > 0.02) // luma is whole numbers
            fail_msg("waves of %g: %g instead of %g", cases[i].wave, is, expected);
        f->color_range = AVCOL_RANGE_JPEG; // black and white lie further apart there
        double full = measure_sharpness(f, (const float[4]){32, 8, 224, 88});
        assert_float_equal(full / is, 219 / 255.0, 1e-6);
    }
}

static AVFrame *noise(int width, int height)
{
    AVFrame *f = grey(width, height, 0);
    uint32_t state = 1;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            state = state * 1664525 + 1013904223;
            f->data[0][y * f->linesize[0] + x] = (uint8_t)(state >> 24);
        }
    return f;
}

static int within(int v, int n)
{
    return v < 0 ? 0 : v >= n ? n - 1 : v;
}

static double luma_at(const AVFrame *f, int x, int y)
{
    return f->data[0][within(y, f->height) * f->linesize[0] + within(x, f->width)];
}

static double blurred_at(const AVFrame *f, int x, int y)
{
    double sum = 0, weights = 0;
    for (int dy = -3; dy <= 3; dy++)
        for (int dx = -3; dx <= 3; dx++) {
            double weight = exp(-(dx * dx + dy * dy) / (2 * 0.8 * 0.8));
            sum += weight * luma_at(f, x + dx, y + dy);
            weights += weight;
        }
    return sum / weights;
}

// As the definition reads, pixel by pixel in double. area: x0, y0, x1, y1 of whole pixels.
static double sharpness_by_definition(const AVFrame *f, const int area[4])
{
    double sum = 0;
    for (int y = area[1]; y < area[3]; y++)
        for (int x = area[0]; x < area[2]; x++) {
            double v = blurred_at(f, x - 1, y) + blurred_at(f, x + 1, y) + blurred_at(f, x, y - 1) +
                       blurred_at(f, x, y + 1) - 4 * blurred_at(f, x, y);
            sum += v * v;
        }
    return sqrt(sum / (area[2] - area[0]) / (area[3] - area[1])) / 219;
}

// Boxes of one pixel, of several tiles, of parts of pixels, at and over the picture's border.
static void test_sharpness_by_definition(void **state)
{
    static const struct {
        float box[4];
        int area[4];
    } cases[] = {
        {{60, 40, 61, 41}, {60, 40, 61, 41}},
        {{60.2f, 40.9f, 66.1f, 42.1f}, {60, 40, 67, 43}},
        {{3, 5, 150, 137}, {3, 5, 150, 137}},
        {{20, 10, 84, 74}, {20, 10, 84, 74}},
        {{20, 10, 85, 75}, {20, 10, 85, 75}},
        {{0, 0, 9, 9}, {0, 0, 9, 9}},
        {{-30, 100, 20, 900}, {0, 100, 20, 140}},
        {{155.5f, 139.5f, 1e30f, 1e30f}, {155, 139, 160, 140}},
        {{-1e30f, -1e30f, 1e30f, 1e30f}, {0, 0, 160, 140}},
    };
    CLEANUP(av_frame_free) AVFrame *f = noise(160, 140);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double expected = sharpness_by_definition(f, cases[i].area);
        double is = measure_sharpness(f, cases[i].box);
        if (!(fabs(is - expected) <= 1e-5 * expected + 1e-9))
            fail_msg("box %zu: %.9g instead of %.9g", i, is, expected);
    }
    CLEANUP(av_frame_free) AVFrame *dot = noise(1, 1); // a picture of one pixel is flat
    assert_float_equal(measure_sharpness(dot, (const float[4]){0, 0, 1, 1}), 0, 0);
}

static void test_sharpness_of_nothing(void **state)
{
    CLEANUP(av_frame_free) AVFrame *flat = grey(200, 100, 77), *f = noise(200, 100);
    const float box[4] = {10, 10, 190, 90};
    double none = measure_sharpness(flat, box), some = measure_sharpness(f, box);
    assert_float_equal(none, 0, 0);
    assert_float_equal(measure_ratio(none, none), 1, 0);
    assert_float_equal(measure_ratio(some, none), 0, 0);
    assert_true(isinf(measure_ratio(none, some)));

    static const float outside[][4] = {{-9, 0, -1, 9},   {200, 0, 250, 9},     {9, 100, 20, 120},
                                       {20, 20, 10, 30}, {NAN, NAN, NAN, NAN}, {30, 30, 30, 30}};
    for (size_t i = 0; i < ARRAY_LEN(outside); i++)
        assert_true(isnan(measure_sharpness(f, outside[i])));
}

// Only what lies in the box counts.
static void test_sharpness_in_a_shifted_box(void **state)
{
    CLEANUP(av_frame_free) AVFrame *a = noise(200, 100), *b = noise(200, 100);
    for (int y = 0; y < 100; y++) // the right half loses what it has of detail
        memset(b->data[0] + y * b->linesize[0] + 100, 128, 100);
    static const struct {
        float box[4];
        double low, high;
    } cases[] = {
        {{10, 10, 90, 90}, 1, 1},
        {{60, 10, 140, 90}, 0.65, 0.75}, // half of the squares: sqrt(1 / 2)
        {{110, 10, 190, 90}, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double ratio =
            measure_ratio(measure_sharpness(a, cases[i].box), measure_sharpness(b, cases[i].box));
        assert_true(ratio >= cases[i].low && ratio <= cases[i].high);
    }
}

static void test_lips_box(void **state)
{
    float p[TRACK_N_POINTS][2], box[4];
    draw_face(p, 10); // lips from 115 to 185 and from 189 to 211
    measure_lips_box((const_points)p, box);
    static const float expected[4] = {115 - 21, 189 - 6.6f, 185 + 21, 211 + 6.6f};
    for (int k = 0; k < 4; k++)
        assert_float_equal(box[k], expected[k], 1e-3);

    // A face ten pixels high in a corner, its mouth shut: a few pixels, but some.
    CLEANUP(av_frame_free) AVFrame *f = noise(64, 48);
    draw_face(p, 0);
    move_face(p, 0, 0.05f, 0, 0);
    measure_lips_box((const_points)p, box);
    assert_true(box[2] - box[0] > 5 && box[2] - box[0] < 6 && box[3] - box[1] < 1);
    double tiny = measure_sharpness(f, box);
    assert_true(tiny > 0.01 && tiny < 10);
    assert_float_equal(measure_ratio(tiny, tiny), 1, 0);

    static const float odd[] = {0, NAN, 1e30f, INFINITY};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        draw_face(p, 10);
        move_face(p, 0, odd[i], 500, 0);
        measure_lips_box((const_points)p, box);
        measure_sharpness(f, box); // says what it likes, but breaks nothing
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aperture),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_lip_distance),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_lip_motion),
        cmocka_unit_test(test_still_jitter),
        cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_median),
        cmocka_unit_test(test_lag),
        cmocka_unit_test(test_lag_of_odd_curves),
        cmocka_unit_test(test_correlation_is_pearsons),
        cmocka_unit_test(test_amplitude),
        cmocka_unit_test(test_closures),
        cmocka_unit_test(test_closure_ratios),
        cmocka_unit_test(test_as_training_measures),
        cmocka_unit_test(test_psnr),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_mask_outside_the_picture),
        cmocka_unit_test(test_sharpness_of_a_grating),
        cmocka_unit_test(test_sharpness_by_definition),
        cmocka_unit_test(test_sharpness_of_nothing),
        cmocka_unit_test(test_sharpness_in_a_shifted_box),
        cmocka_unit_test(test_lips_box),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
