// The rig's way of moving pixels: samples, triangles, and a frame that changes only where it
// should.
#include "tests/test.h"

#include "rig/canvas.h"
#include "rig/rig.h"

#include <math.h>

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static void fill_random(uint8_t *data, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)next_random(&seed);
}

// --- samples ---

static void test_whole_positions_are_the_pixels(void **state)
{
    uint8_t data[16 * 12], got[8];
    float x[8], y[8];
    fill_random(data, sizeof(data), 1);
    struct plane p = {data, 16, 16, 12};
    for (int i = 0; i < 8; i++) {
        x[i] = (float)(3 + i);
        y[i] = 5;
    }
    sample_row_c(&p, x, y, 8, got);
    assert_memory_equal(got, data + 5 * 16 + 3, 8);
}

static void test_samples_are_keys_cubic(void **state)
{
    uint8_t data[16 * 12];
    fill_random(data, sizeof(data), 2);
    struct plane p = {data, 16, 16, 12};
    double worst = 0;
    uint32_t seed = 3;
    for (int i = 0; i < 2000; i++) {
        float x = 2 + (float)(next_random(&seed) % 11000) / 1000;
        float y = 2 + (float)(next_random(&seed) % 7000) / 1000;
        uint8_t got;
        sample_row_c(&p, &x, &y, 1, &got);
        double sum = 0;
        for (int ky = -1; ky < 3; ky++)
            for (int kx = -1; kx < 3; kx++) {
                int ix = (int)floorf(x) + kx, iy = (int)floorf(y) + ky;
                double d[2] = {fabs((double)x - ix), fabs((double)y - iy)}, w = 1;
                for (int k = 0; k < 2; k++)
                    w *= d[k] < 1   ? 1.25 * d[k] * d[k] * d[k] - 2.25 * d[k] * d[k] + 1
                         : d[k] < 2 ? -0.75 * d[k] * d[k] * d[k] + 3.75 * d[k] * d[k] - 6 * d[k] + 3
                                    : 0;
                sum += w * data[iy * 16 + ix];
            }
        worst = fmax(worst, fabs(fmin(fmax(sum, 0), 255) - got));
    }
    // 1/128 pixel beside, and weights of 1/64, in noise from black to white.
    if (worst > 9)
        fail_msg("%.1f levels off", worst);
}

#ifdef __x86_64__
static void test_vectors_give_the_same_bytes(void **state)
{
    enum { W = 61, H = 37, N = 203 };
    if (!__builtin_cpu_supports("avx2"))
        SKIP_TEST("this processor has no AVX2");
    uint8_t *data = malloc(W * H), a[N], b[N]; // no byte more: reading past it is seen by ASan
    float x[N], y[N];
    for (int round = 0; round < 40; round++) {
        uint32_t seed = (uint32_t)round + 10;
        fill_random(data, W * H, seed);
        if (round % 4 == 1) // overflow and underflow
            for (int i = 0; i < W * H; i++)
                data[i] = (i + i / W) & 1 ? 255 : 0;
        for (int i = 0; i < N; i++) {
            x[i] = (float)(next_random(&seed) % (W * 1200)) / 1000 - 5;
            y[i] = (float)(next_random(&seed) % (H * 1400)) / 1000 - 5;
        }
        x[7] = NAN;
        y[8] = INFINITY;
        x[9] = -INFINITY;
        x[10] = 1e30f;
        struct plane p = {data, W, W, H};
        sample_row_c(&p, x, y, N, a);
        sample_row_avx2(&p, x, y, N, b);
        assert_memory_equal(a, b, N);
    }
    free(data);
}
#endif

// --- triangles ---

static void test_shared_edges_belong_to_one(void **state)
{
    CLEANUP(raster_clear) struct raster m = {0};
    uint32_t seed = 5;
    for (int round = 0; round < 200; round++) {
        float at[5][2] = {{0, 0}, {40, 0}, {0, 30}, {40, 30}, {0, 0}};
        at[4][0] = (float)(next_random(&seed) % 4000) / 100;
        at[4][1] = (float)(next_random(&seed) % 3000) / 100;
        static const int fan[4][2] = {{0, 1}, {1, 3}, {3, 2}, {2, 0}};
        int covered[30][40] = {{0}};
        for (int k = 0; k < 4; k++) {
            assert_true(raster_begin(&m, 0, 0, 40, 30, 1, -1));
            struct corner c[3] = {{at[fan[k][0]][0], at[fan[k][0]][1], {1}},
                                  {at[fan[k][1]][0], at[fan[k][1]][1], {1}},
                                  {at[4][0], at[4][1], {1}}};
            raster_triangle(&m, &c[0], &c[1], &c[2]);
            for (int y = 0; y < 30; y++)
                for (int x = 0; x < 40; x++)
                    covered[y][x] += m.values[0][y * 40 + x] > 0;
        }
        for (int y = 0; y < 30; y++)
            for (int x = 0; x < 40; x++)
                if (covered[y][x] != 1)
                    fail_msg("pixel %d %d is covered %d times", x, y, covered[y][x]);
    }
}

static void test_values_are_planes(void **state)
{
    CLEANUP(raster_clear) struct raster m = {0};
    assert_true(raster_begin(&m, 10, 20, 50, 60, 2, 0));
    struct corner c[3] = {{12, 22, {0}}, {47, 25, {0}}, {20, 55, {0}}};
    for (int k = 0; k < 3; k++) {
        c[k].value[0] = 2 * c[k].x - c[k].y;
        c[k].value[1] = 7;
    }
    raster_triangle(&m, &c[1], &c[0], &c[2]);
    int n = 0;
    for (int y = 0; y < m.height; y++)
        for (int x = m.first[y]; x < m.last[y]; x++, n++) {
            float px = (float)(x + 10) + 0.5f, py = (float)(y + 20) + 0.5f;
            assert_float_equal(m.values[0][y * 40 + x], 2 * px - py, 1e-3);
            assert_float_equal(m.values[1][y * 40 + x], 7, 1e-5);
        }
    assert_in_range(n, 555, 576); // the area is 565.5
}

static void test_no_triangle_harms(void **state)
{
    CLEANUP(raster_clear) struct raster m = {0};
    assert_false(raster_begin(&m, 5, 5, 5, 9, 1, 0));
    assert_false(raster_begin(&m, 0, 0, 1 << 20, 1 << 20, 1, 0));
    assert_true(raster_begin(&m, 0, 0, 8, 8, 1, 0));
    static const float hard[][6] = {
        {NAN, 0, 4, 4, 0, 4}, {INFINITY, 0, 4, 4, 0, 4}, {-1e30f, -1e30f, 1e30f, 0, 0, 1e30f},
        {1, 1, 1, 1, 1, 1},   {-5, -5, -4, -4, -9, -1},  {1, 1, 5, 5, 3, 3}};
    for (size_t i = 0; i < ARRAY_LEN(hard); i++) {
        struct corner c[3] = {{hard[i][0], hard[i][1], {1}},
                              {hard[i][2], hard[i][3], {2}},
                              {hard[i][4], hard[i][5], {3}}};
        raster_triangle(&m, &c[0], &c[1], &c[2]);
    }
    for (int y = 0; y < 8; y++)
        assert_true(m.first[y] >= 0 && m.last[y] <= 8);
}

// --- a frame ---

static AVFrame *make_frame(int width, int height, uint32_t seed)
{
    AVFrame *f = av_frame_alloc();
    f->width = width;
    f->height = height;
    f->format = AV_PIX_FMT_YUV420P;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int k = 0; k < 3; k++)
        fill_random(f->data[k], (size_t)f->linesize[k] * (size_t)((height + (k > 0)) >> (k > 0)),
                    seed + (uint32_t)k);
    return f;
}

static struct corner moved(float x, float y, float dx, float dy)
{
    return (struct corner){x, y, {dx, dy}};
}

static void test_warp_changes_what_the_map_says(void **state)
{
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    CLEANUP(av_frame_free) AVFrame *frame = make_frame(64, 48, 7);
    CLEANUP(av_frame_free) AVFrame *before = make_frame(64, 48, 7);
    // A square that comes from 6 pixels to the right and 4 below.
    assert_true(canvas_copy(c, frame, 4, 4, 60, 44));
    assert_true(raster_begin(&c->raster, 10, 10, 40, 30, 2, 0));
    struct corner q[4] = {moved(12, 12, 6, 4), moved(36, 12, 6, 4), moved(12, 28, 6, 4),
                          moved(36, 28, 6, 4)};
    raster_triangle(&c->raster, &q[0], &q[1], &q[2]);
    raster_triangle(&c->raster, &q[1], &q[3], &q[2]);
    canvas_warp(c, frame);
    for (int k = 0; k < 3; k++) {
        int half = k > 0, w = 64 >> half, h = 48 >> half;
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                bool inside =
                    x >= 12 >> half && x < 36 >> half && y >= 12 >> half && y < 28 >> half;
                int from = inside ? (y + (4 >> half)) * before->linesize[k] + x + (6 >> half)
                                  : y * before->linesize[k] + x;
                if (frame->data[k][y * frame->linesize[k] + x] != before->data[k][from])
                    fail_msg("plane %d, pixel %d %d", k, x, y);
            }
    }
}

static void test_copy_repeats_the_edges(void **state)
{
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    CLEANUP(av_frame_free) AVFrame *frame = make_frame(32, 24, 9);
    assert_true(canvas_copy(c, frame, -7, -9, 41, 33));
    const struct plane *p = &c->planes[0];
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            int fx = KB_MIN(KB_MAX(x + c->x0, 0), 31), fy = KB_MIN(KB_MAX(y + c->y0, 0), 23);
            assert_int_equal(p->data[y * p->stride + x],
                             frame->data[0][fy * frame->linesize[0] + fx]);
        }
    assert_false(canvas_copy(c, frame, 40, 0, 50, 10));
    assert_false(canvas_copy(c, frame, -20, 0, -4, 10));
}

static void test_inlay_is_inside(void **state)
{
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    CLEANUP(av_frame_free) AVFrame *frame = make_frame(64, 48, 11);
    CLEANUP(av_frame_free) AVFrame *before = make_frame(64, 48, 11);
    CLEANUP(av_frame_free) AVFrame *white = make_frame(32, 24, 0);
    for (int k = 0; k < 3; k++)
        memset(white->data[k], k ? 100 : 200, (size_t)white->linesize[k] * (k ? 12u : 24u));
    struct inlay in = {.from = {{white->data[0], white->data[1], white->data[2]},
                                {white->linesize[0], white->linesize[1], white->linesize[2]},
                                32,
                                24},
                       .gain = 1,
                       .shift = {5, -5},
                       .cavity = {40, 120, 140},
                       .feather = 2,
                       .strength = 1};
    assert_true(raster_begin(&c->raster, 8, 8, 50, 40, 6, -1e6f));
    struct corner q[4];
    for (int i = 0; i < 4; i++) {
        float x = i & 1 ? 44 : 16, y = i & 2 ? 34 : 14;
        // The cavity covers the right half of it.
        q[i] = (struct corner){
            x, y, {(x - 16) + 2, (y - 14) + 2, 1, y - 14, 34 - y, (x - 29.5f) * 1e3f}};
    }
    raster_triangle(&c->raster, &q[0], &q[1], &q[2]);
    raster_triangle(&c->raster, &q[1], &q[3], &q[2]);
    for (int i = 0; i < c->raster.width * c->raster.height; i++)
        c->raster.values[5][i] = KB_MIN(KB_MAX(c->raster.values[5][i], 0), 1);
    canvas_inlay(c, frame, &in);
    for (int y = 0; y < 48; y++)
        for (int x = 0; x < 64; x++) {
            int got = frame->data[0][y * frame->linesize[0] + x];
            int old = before->data[0][y * before->linesize[0] + x];
            if (x >= 16 && x < 44 && y >= 16 && y < 32)
                assert_int_equal(got, x < 30 ? 200 : 40);
            else if (x < 16 || x >= 44 || y < 14 || y >= 34)
                assert_int_equal(got, old);
        }
    assert_int_equal(frame->data[1][12 * frame->linesize[1] + 12], 105);
    assert_int_equal(frame->data[2][12 * frame->linesize[2] + 12], 95);
    assert_int_equal(frame->data[1][12 * frame->linesize[1] + 17], 120);
    assert_int_equal(frame->data[2][12 * frame->linesize[2] + 17], 140);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_positions_are_the_pixels),
        cmocka_unit_test(test_samples_are_keys_cubic),
#ifdef __x86_64__
        cmocka_unit_test(test_vectors_give_the_same_bytes),
#endif
        cmocka_unit_test(test_shared_edges_belong_to_one),
        cmocka_unit_test(test_values_are_planes),
        cmocka_unit_test(test_no_triangle_harms),
        cmocka_unit_test(test_warp_changes_what_the_map_says),
        cmocka_unit_test(test_copy_repeats_the_edges),
        cmocka_unit_test(test_inlay_is_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
