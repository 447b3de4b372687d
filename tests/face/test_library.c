// The library of mouths: which it keeps of faces and pictures made here, and what the crops hold.
#include "tests/test.h"

#include "face/library.h"
#include "face/mouth_crop.h"

#include <math.h>

// --- faces and pictures ---

// Lengths in distances between the outer corners of the eyes.
struct look {
    float opening, width, yaw;
    float x, y, eyes; // middle of the mouth and distance of the eyes, pixels
};

static void put(struct mesh *m, int id, float x, float y, float z, const struct look *l)
{
    float c = cosf(l->yaw), s = sinf(l->yaw);
    m->points[id][0] = l->x + l->eyes * (c * x - s * z);
    m->points[id][1] = l->y + l->eyes * y;
    m->points[id][2] = l->eyes * (s * x + c * z);
}

// A flat face whose mouth is the origin; what is of no concern here lies on the nose.
static struct mesh draw(const struct look *l)
{
    struct mesh m = {.score = 0.99f};
    for (int i = 0; i < MESH_POINTS; i++)
        put(&m, i, 0, -0.4f, 0, l);
    put(&m, 33, -0.5f, -0.8f, 0, l);
    put(&m, 263, 0.5f, -0.8f, 0, l);
    put(&m, 10, 0, -1.4f, 0, l);
    put(&m, 152, 0, 0.6f, 0, l);
    for (int i = 0; i < TRACK_N_LIPS; i++) {
        double a = M_PI * i / 10; // from the left corner over the upper lip
        bool corner = i % 10 == 0, upper = i < 10;
        float y = corner ? 0 : l->opening / (upper ? -2.0f : 2.0f);
        float red = corner ? 0 : upper ? -0.06f : 0.06f, half = l->width / 2;
        put(&m, track_point_ids[TRACK_INNER_FIRST + i], -half * (float)cos(a), y, 0, l);
        put(&m, track_point_ids[TRACK_OUTER_FIRST + i], -(half + 0.05f) * (float)cos(a), y + red, 0,
            l);
    }
    return m;
}

static AVFrame *picture(int width, int height)
{
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = width;
    f->height = height;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int k = 0; k < 3; k++)
        memset(f->data[k], 128, (size_t)f->linesize[k] * (size_t)(k ? height / 2 : height));
    return f;
}

// Noise of this strength: the more, the sharper.
static void fill(AVFrame *f, int strength)
{
    uint32_t state = 1;
    for (int y = 0; y < f->height; y++) {
        for (int x = 0; x < f->width; x++) {
            state = state * 1664525 + 1013904223;
            f->data[0][y * f->linesize[0] + x] =
                (uint8_t)(128 + (int)(state >> 24) * strength / 256 - strength / 2);
        }
    }
}

static void offer(struct library *l, const AVFrame *f, int number, const struct mesh *m)
{
    struct kb_error err = {0};
    assert_ok(err, library_offer(l, f, number, m, &err));
    assert_true(l->n <= (l->whole ? TRACK_MAX_MOUTHS : LIBRARY_FEW));
}

static void free_mouths(struct kept_mouth *mouths, int n)
{
    for (int i = 0; i < n; i++)
        free(mouths[i].pixels);
    free(mouths);
}

// --- what is kept ---

// Somebody who talks for a minute and a half, opens the mouth wide, rounds it and turns the head
// only once each.
static struct look look_at(int i)
{
    float t = (float)i;
    struct look l = {.x = 160, .y = 150, .eyes = 80, .width = 0.5f};
    l.opening = fmaxf(0, 0.05f * sinf(t * 0.31f) + 0.03f * sinf(t * 0.047f));
    l.width += 0.04f * sinf(t * 0.13f);
    if (i >= 700 && i < 712) // wide
        l.opening = 0.3f * sinf((t - 700) / 12 * (float)M_PI);
    if (i >= 1200 && i < 1212) { // an o
        l.opening = 0.15f * sinf((t - 1200) / 12 * (float)M_PI);
        l.width = 0.5f - 0.2f * sinf((t - 1200) / 12 * (float)M_PI);
    }
    if (i >= 1600 && i < 1700) // aside
        l.yaw = 0.6f * sinf((t - 1600) / 100 * (float)M_PI);
    return l;
}

static void test_covers_what_occurs(void **state)
{
    enum { N = 2250 };
    CLEANUP(av_frame_free) AVFrame *f = picture(320, 240);
    static struct library l;
    library_allow(&l, true);
    fill(f, 60);
    for (int i = 0; i < N; i++) {
        struct look look = look_at(i);
        struct mesh m = draw(&look);
        offer(&l, f, i, &m);
    }
    assert_int_equal(l.n, TRACK_MAX_MOUTHS);
    struct kept_mouth *mouths;
    int n, n_closed = 0;
    library_take(&l, &mouths, &n);
    assert_int_equal(l.n, 0);
    assert_true(n > TRACK_MAX_MOUTHS / 2);
    for (int k = 0; k < n; k++) {
        assert_true(k == 0 || mouths[k].frame > mouths[k - 1].frame);
        n_closed += look_at(mouths[k].frame).opening < 0.015f;
    }
    assert_in_range(n_closed, 1, TRACK_MAX_MOUTHS / 8); // though half of the frames are closed
    // Whatever occurred, something like it was kept.
    for (int i = 1; i < N; i++) {
        struct look a = look_at(i);
        float best = INFINITY;
        for (int k = 0; k < n; k++) {
            struct look b = look_at(mouths[k].frame);
            best = fminf(
                best, hypotf(hypotf((a.opening - b.opening) / 0.03f, (a.width - b.width) / 0.05f),
                             (a.yaw - b.yaw) / 0.15f));
        }
        if (best > 2)
            fail_msg("frame %d is %.2f from all that is kept", i, (double)best);
    }
    free_mouths(mouths, n);
}

// Of the same mouth the sharp picture stays, whether it comes first or later.
static void test_sharp_wins(void **state)
{
    for (int first = 0; first < 2; first++) {
        CLEANUP(av_frame_free) AVFrame *sharp = picture(320, 240), *soft = picture(320, 240);
        fill(sharp, 120);
        fill(soft, 20);
        struct library l = {0};
        struct look look = {.opening = 0.1f, .width = 0.5f, .x = 160, .y = 150, .eyes = 80};
        struct mesh m = draw(&look);
        for (int i = 0; i < 120; i++)
            offer(&l, (i < 30) == (first == 0) ? sharp : soft, i, &m);
        assert_int_equal(l.n, 1);
        assert_true((l.list[0].mouth.frame < 30) == (first == 0));
        library_clear(&l);
    }
}

// Frame 1 is a little off from frame 0, frame 2 far away from both.
static void test_blurred_goes_at_the_end(void **state)
{
    for (int blurred = 0; blurred < 3; blurred++) {
        CLEANUP(av_frame_free) AVFrame *sharp = picture(320, 240), *soft = picture(320, 240);
        fill(sharp, 120);
        fill(soft, 20);
        struct library l = {0};
        static const float openings[] = {0.1f, 0.13f, 0.3f};
        for (int i = 0; i < 3; i++) {
            struct look look = {.width = 0.5f, .x = 160, .y = 150, .eyes = 80};
            look.opening = openings[i];
            struct mesh m = draw(&look);
            offer(&l, i == blurred ? soft : sharp, 10 * i, &m);
        }
        assert_int_equal(l.n, 3);
        struct kept_mouth *mouths;
        int n;
        library_take(&l, &mouths, &n);
        assert_int_equal(n, blurred == 2 ? 3 : 2); // nothing else shows what frame 2 shows
        for (int i = 0; i < n; i++)
            assert_true(blurred == 2 || mouths[i].frame != 10 * blurred);
        free_mouths(mouths, n);
    }
}

// Where there are many sharp ones, a blurred one goes even if nothing is like it; so it costs no
// place, whether it comes before the library is full or after.
static void test_blurred_among_many(void **state)
{
    for (int late = 0; late < 2; late++) {
        CLEANUP(av_frame_free) AVFrame *sharp = picture(320, 240), *soft = picture(320, 240);
        fill(sharp, 120);
        fill(soft, 20);
        static struct library l;
        library_allow(&l, true);
        for (int i = 0; i < 400; i++) {
            float t = (float)i;
            struct look look = {.x = 160, .y = 150, .eyes = 80};
            look.opening = 0.2f + 0.15f * sinf(t * 0.1f);
            look.width = 0.5f + 0.1f * sinf(t * 0.017f);
            bool blurred = late ? i >= 380 : i >= 20 && i < 30;
            if (blurred)
                look.yaw = 0.04f * (float)(i - (late ? 380 : 20));
            struct mesh m = draw(&look);
            offer(&l, blurred ? soft : sharp, i, &m);
            assert_true(i != 379 || l.n == TRACK_MAX_MOUTHS);
        }
        struct kept_mouth *mouths;
        int n;
        library_take(&l, &mouths, &n);
        assert_true(n > TRACK_MAX_MOUTHS * 3 / 4);
        for (int i = 0; i < n; i++)
            assert_true(late ? mouths[i].frame < 380
                             : mouths[i].frame < 20 || mouths[i].frame >= 30);
        free_mouths(mouths, n);
    }
}

// A still mouth is better than the same one in quick movement.
static void test_still_wins(void **state)
{
    CLEANUP(av_frame_free) AVFrame *f = picture(320, 240);
    struct library l = {0};
    for (int i = 0; i < 120; i++) {
        struct look look = {.opening = 0.1f, .width = 0.5f, .x = 160, .y = 150, .eyes = 80};
        look.x += i < 30 ? (i % 2 ? 4.0f : -4.0f) : 0;
        struct mesh m = draw(&look);
        offer(&l, f, i, &m);
    }
    assert_int_equal(l.n, 1);
    assert_true(l.list[0].mouth.frame > 30);
    library_clear(&l);
}

// Known afterwards: something was before the mouth.
static void test_forgets(void **state)
{
    CLEANUP(av_frame_free) AVFrame *f = picture(320, 240);
    struct library l = {0};
    fill(f, 60);
    for (int i = 0; i < 4; i++) {
        struct look look = {.width = 0.5f, .x = 160, .y = 150, .eyes = 80};
        look.opening = 0.1f * (float)i;
        struct mesh m = draw(&look);
        offer(&l, f, 10 * i, &m);
    }
    assert_int_equal(l.n, 4);
    library_forget(&l, 20);
    library_forget(&l, 21);
    assert_int_equal(l.n, 3);
    for (int i = 0; i < l.n; i++)
        assert_int_not_equal(l.list[i].mouth.frame, 20);
    library_clear(&l);
}

// A person who may hold a few only holds few, from the start and after having held many.
static void test_memory_is_bounded(void **state)
{
    CLEANUP(av_frame_free) AVFrame *f = picture(1920, 1920);
    static struct library l;
    for (int i = 0; i < 900; i++) {
        float t = (float)i;
        struct look look = {.x = 960, .y = 900, .eyes = 700};
        look.opening = 0.3f + 0.3f * sinf(t * 0.11f);
        look.width = 0.5f + 0.1f * sinf(t * 0.017f);
        look.yaw = 0.5f * sinf(t * 0.023f);
        struct mesh m = draw(&look);
        library_allow(&l, i >= 300 && i < 600);
        assert_true(i != 600 || l.n == LIBRARY_FEW);
        offer(&l, f, i, &m);
        size_t bytes = 0;
        for (int k = 0; k < l.n; k++)
            bytes += mouth_bytes(l.list[k].mouth.width, l.list[k].mouth.height);
        assert_true(bytes <= (size_t)(i >= 300 && i < 600 ? 24 : 3) << 20);
        assert_true(i != 299 || l.n == LIBRARY_FEW);
        assert_true(i != 599 || (l.n == TRACK_MAX_MOUTHS && bytes > 10 << 20));
    }
    library_clear(&l);
    assert_int_equal(l.n, 0);
}

// Two stretches of a film give together what the whole one would: all that occurred in either, no
// more than a face may have, each picture once.
static void test_joins(void **state)
{
    CLEANUP(av_frame_free) AVFrame *f = picture(320, 240);
    static struct library parts[2];
    fill(f, 60);
    for (int i = 0; i < 2250; i++) {
        struct library *l = &parts[i >= 1100];
        struct look look = look_at(i);
        struct mesh m = draw(&look);
        library_allow(l, true);
        offer(l, f, i, &m);
    }
    library_join(&parts[0], &parts[1]);
    assert_int_equal(parts[1].n, 0);
    assert_in_range(parts[0].n, TRACK_MAX_MOUTHS / 2, TRACK_MAX_MOUTHS);
    bool wide = false, round = false, aside = false;
    for (int k = 0; k < parts[0].n; k++) {
        int frame = parts[0].list[k].mouth.frame;
        wide = wide || (frame >= 700 && frame < 712);
        round = round || (frame >= 1200 && frame < 1212);
        aside = aside || (frame >= 1600 && frame < 1700);
        for (int i = 0; i < k; i++)
            assert_int_not_equal(parts[0].list[i].mouth.frame, frame);
    }
    assert_true(wide && round && aside);
    library_clear(&parts[0]);
}

// --- what is not ---

static void test_refuses(void **state)
{
    static const struct look fine = {
        .opening = 0.1f, .width = 0.5f, .x = 160, .y = 150, .eyes = 80};
    struct look looks[9];
    for (size_t i = 0; i < ARRAY_LEN(looks); i++)
        looks[i] = fine;
    looks[1].x = 5; // half outside, on every side
    looks[2].x = 315;
    looks[3].y = 2;
    looks[4].y = 239;
    looks[5].x = 5000;
    looks[6].eyes = 10; // five pixels of mouth
    looks[7].eyes = 0;
    looks[8].eyes = 1e20f;
    CLEANUP(av_frame_free) AVFrame *f = picture(320, 240);
    for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
        struct library l = {0};
        struct mesh m = draw(&looks[i]);
        offer(&l, f, 0, &m);
        assert_int_equal(l.n, i == 0);
        library_clear(&l);
    }
    // A point that is no number, wherever it matters.
    static const int ids[] = {33, 10, 152, 61, 0, 17, 78, 13, 14, 312, 405};
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < ARRAY_LEN(ids) * ARRAY_LEN(values); i++) {
        struct library l = {0};
        struct mesh m = draw(&fine);
        m.points[ids[i % ARRAY_LEN(ids)]][1] = values[i / ARRAY_LEN(ids)];
        offer(&l, f, 0, &m);
        assert_int_equal(l.n, 0);
    }
    // A mesh that is unsure of itself, and lips that jump.
    struct library l = {0};
    struct mesh m = draw(&fine);
    m.score = 0.6f;
    offer(&l, f, 0, &m);
    assert_int_equal(l.n, 0);
    m = draw(&looks[1]);
    offer(&l, f, 1, &m);
    m = draw(&fine);
    offer(&l, f, 2, &m);
    assert_int_equal(l.n, 0);
    offer(&l, f, 3, &m);
    assert_int_equal(l.n, 1);
    library_clear(&l);
}

// --- the pixels ---

static void fill_gradient(AVFrame *f)
{
    for (int k = 0; k < 3; k++)
        for (int y = 0; y < f->height >> (k > 0); y++)
            for (int x = 0; x < f->width >> (k > 0); x++)
                f->data[k][y * f->linesize[k] + x] = (uint8_t)((k * 40 + x / 16 + y / 8) & 255);
}

static void test_crop_at_full_resolution(void **state)
{
    struct kb_error err = {0};
    CLEANUP(av_frame_free) AVFrame *f = picture(320, 240);
    fill_gradient(f);
    struct kept_mouth m = {0};
    const float lips[4] = {101.3f, 120.9f, 163.2f, 150};
    mouth_crop_place(&m, f, lips, 20);
    assert_ok(err, mouth_crop_take(&m, f, &err));
    assert_true(m.x0 == 80 && m.y0 == 100 && m.scale == 1);
    assert_true(m.width == 104 && m.height == 70);
    const uint8_t *at = m.pixels;
    for (int k = 0; k < 3; k++) {
        int half = k ? 1 : 0;
        for (int y = 0; y < m.height >> half; y++)
            for (int x = 0; x < m.width >> half; x++)
                assert_int_equal(
                    *at++, f->data[k][(y + (100 >> half)) * f->linesize[k] + x + (80 >> half)]);
    }
    free(m.pixels);

    // At the picture's edge it is cut.
    const float corner[4] = {2, 200, 60, 239};
    mouth_crop_place(&m, f, corner, 20);
    assert_true(m.x0 == 0 && m.y0 == 180 && m.width == 80 && m.height == 60);
}

static void test_crop_is_scaled(void **state)
{
    struct kb_error err = {0};
    CLEANUP(av_frame_free) AVFrame *f = picture(1600, 1000);
    fill_gradient(f);
    static const float boxes[][4] = {
        {300, 400, 1100, 700}, {900, 300, 1599, 999}, {100, 5, 210, 995}};
    for (size_t i = 0; i < ARRAY_LEN(boxes); i++) {
        struct kept_mouth m = {0};
        mouth_crop_place(&m, f, boxes[i], 100);
        assert_ok(err, mouth_crop_take(&m, f, &err));
        assert_int_equal(KB_MAX(m.width, m.height), TRACK_MOUTH_MAX_WIDTH);
        assert_true(m.width % 2 == 0 && m.height % 2 == 0 && m.scale < 1);
        assert_true(m.x0 + (float)m.width / m.scale <= 1600.01f);
        assert_true(m.y0 + (float)m.height / m.scale <= 1000.01f);
        const uint8_t *at = m.pixels;
        for (int k = 0; k < 3; k++) {
            float half = k ? 2 : 1;
            for (int y = 0; y < m.height / (int)half; y++) {
                for (int x = 0; x < m.width / (int)half; x++, at++) {
                    float px = m.x0 / half + ((float)x + 0.5f) / m.scale;
                    float py = m.y0 / half + ((float)y + 0.5f) / m.scale;
                    // The steps of the gradient lie half a step under the line.
                    float wanted = (float)k * 40 + px / 16 + py / 8 - 0.97f;
                    assert_float_equal(*at, wanted, 1.6);
                }
            }
        }
        free(m.pixels);
    }
}

// Sharpness knows blur at every size of the mouth.
static void test_sharpness(void **state)
{
    static const float widths[] = {40, 120, 300, 900};
    CLEANUP(av_frame_free) AVFrame *f = picture(1600, 1000);
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        const float lips[4] = {100, 100, 100 + widths[i], 100 + widths[i] / 2};
        struct kept_mouth m = {0};
        mouth_crop_place(&m, f, lips, 0.45f * widths[i]);
        fill(f, 100);
        float sharp = mouth_crop_sharpness(f, &m);
        fill(f, 25);
        assert_true(mouth_crop_sharpness(f, &m) < sharp - 2);
    }
    // The same picture at half the size is not sharper.
    float sharpness[2];
    for (int i = 0; i < 2; i++) {
        float period = i ? 16 : 8, width = period * 8;
        for (int y = 0; y < f->height; y++)
            for (int x = 0; x < f->width; x++)
                f->data[0][y * f->linesize[0] + x] =
                    (uint8_t)(128 + 60 * sinf(2 * (float)M_PI * (float)x / period));
        struct kept_mouth m = {0};
        mouth_crop_place(&m, f, (float[4]){100, 100, 100 + width, 100 + width}, 0);
        sharpness[i] = mouth_crop_sharpness(f, &m);
    }
    assert_float_equal(sharpness[0], sharpness[1], 0.3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_covers_what_occurs),
        cmocka_unit_test(test_sharp_wins),
        cmocka_unit_test(test_blurred_goes_at_the_end),
        cmocka_unit_test(test_blurred_among_many),
        cmocka_unit_test(test_still_wins),
        cmocka_unit_test(test_forgets),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_joins),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_crop_at_full_resolution),
        cmocka_unit_test(test_crop_is_scaled),
        cmocka_unit_test(test_sharpness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
