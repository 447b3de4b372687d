// Geometry, colour and sampling: exact cases, regions against their definition, and the AVX2 rows
// against plain C.
#include "tests/test.h"

#include "face/region.h"
#include "face/warp.h"
#include "face/warp_row.h"

#include <math.h>
#include <stdlib.h>

static uint32_t seed = 7;
static float noise(void) // 0..1
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 16777216.0f;
}

static AVFrame *make_frame(int width, int height, uint8_t y, uint8_t u, uint8_t v)
{
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = width;
    f->height = height;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    const uint8_t fill[3] = {y, u, v};
    for (int i = 0; i < 3; i++)
        memset(f->data[i], fill[i],
               (size_t)f->linesize[i] * (size_t)(i ? (height + 1) / 2 : height));
    return f;
}

static void test_affine(void **state)
{
    struct affine m = {.xx = 1.5f, .xy = -0.7f, .x0 = 12, .yx = 0.6f, .yy = 2.5f, .y0 = -3};
    struct affine back = affine_invert(&m);
    float x, y;
    affine_apply(&m, 100, -40, &x, &y);
    assert_float_equal(x, 190, 1e-3);
    assert_float_equal(y, -43, 1e-3);
    affine_apply(&back, x, y, &x, &y);
    assert_float_equal(x, 100, 1e-3);
    assert_float_equal(y, -40, 1e-3);
}

static void test_fit_similarity(void **state)
{
    float from[10][2], to[10][2];
    struct affine truth = {.xx = 0.9f, .xy = -1.2f, .x0 = 30, .yx = 1.2f, .yy = 0.9f, .y0 = 7};
    for (int i = 0; i < 10; i++) {
        from[i][0] = 500 * noise();
        from[i][1] = 500 * noise();
        affine_apply(&truth, from[i][0], from[i][1], &to[i][0], &to[i][1]);
    }
    struct affine m = affine_fit_similarity((const float(*)[2])from, (const float(*)[2])to, 10);
    const float *a = &truth.xx, *b = &m.xx;
    for (int i = 0; i < 6; i++)
        assert_float_equal(a[i], b[i], 1e-3 * (1 + fabs((double)a[i])));
    // All in one place: a shift, no division by zero.
    const float point[2][2] = {{3, 4}, {3, 4}}, there[2][2] = {{10, 10}, {10, 10}};
    m = affine_fit_similarity(point, there, 2);
    float x, y;
    affine_apply(&m, 3, 4, &x, &y);
    assert_float_equal(x, 10, 1e-5);
    assert_float_equal(y, 10, 1e-5);
}

static void test_colour(void **state)
{
    static const struct {
        enum AVColorSpace space;
        enum AVColorRange range;
        int height;
        uint8_t yuv[3];
        float rgb[3];
    } cases[] = {
        // White, black and the primaries of BT.601 and BT.709 as everybody's tables have them.
        {AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG, 64, {235, 128, 128}, {1, 1, 1}},
        {AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, 64, {16, 128, 128}, {0, 0, 0}},
        {AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG, 64, {81, 90, 240}, {1, 0, 0}},
        {AVCOL_SPC_UNSPECIFIED, AVCOL_RANGE_UNSPECIFIED, 64, {81, 90, 240}, {1, 0, 0}},
        {AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, 64, {63, 102, 240}, {1, 0, 0}},
        {AVCOL_SPC_UNSPECIFIED, AVCOL_RANGE_MPEG, 720, {63, 102, 240}, {1, 0, 0}},
        {AVCOL_SPC_BT470BG, AVCOL_RANGE_JPEG, 64, {76, 85, 255}, {1, 0, 0}},
        {AVCOL_SPC_BT470BG, AVCOL_RANGE_JPEG, 64, {29, 255, 107}, {0, 0, 1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AVFrame *f =
            make_frame(64, cases[i].height, cases[i].yuv[0], cases[i].yuv[1], cases[i].yuv[2]);
        f->colorspace = cases[i].space;
        f->color_range = cases[i].range;
        struct affine id = {.xx = 1, .yy = 1};
        struct warp_params p = {.width = 8, .height = 8, .pixel_stride = 3, .high = 1};
        float rgb[8 * 8 * 3];
        warp_crop(f, &id, &p, rgb);
        struct yuv_matrix m = yuv_matrix_of(f);
        for (int k = 0; k < 3; k++)
            assert_float_equal(rgb[27 * 3 + k], cases[i].rgb[k], 0.01);
        const float *c = cases[i].rgb;
        assert_float_equal(m.y_offset + m.to_y[0] * c[0] + m.to_y[1] * c[1] + m.to_y[2] * c[2],
                           cases[i].yuv[0], 1);
        assert_float_equal(128 + m.to_u[0] * c[0] + m.to_u[1] * c[1] + m.to_u[2] * c[2],
                           cases[i].yuv[1], 1);
        assert_float_equal(128 + m.to_v[0] * c[0] + m.to_v[1] * c[1] + m.to_v[2] * c[2],
                           cases[i].yuv[2], 1);
        av_frame_free(&f);
    }
}

static void test_sampling(void **state)
{
    AVFrame *f = make_frame(128, 64, 0, 128, 128);
    f->color_range = AVCOL_RANGE_JPEG;
    for (int y = 0; y < 64; y++)
        for (int x = 0; x < 128; x++)
            f->data[0][y * f->linesize[0] + x] = (uint8_t)(x + y);
    // A slope is reproduced exactly by bilinear sampling: value = x + y - 1 at pixel coordinates.
    struct affine m = {.xx = 0.5f, .xy = 0.25f, .x0 = 20, .yx = -0.25f, .yy = 0.5f, .y0 = 20};
    struct warp_params p = {
        .width = 20, .height = 20, .pixel_stride = 5, .bgr = true, .low = -1, .high = 1};
    float out[20 * 20 * 5];
    for (size_t i = 0; i < ARRAY_LEN(out); i++)
        out[i] = 77;
    warp_crop(f, &m, &p, out);
    for (int y = 0; y < 20; y++) {
        for (int x = 0; x < 20; x++) {
            float fx, fy, *px = out + (y * 20 + x) * 5;
            affine_apply(&m, (float)x + 0.5f, (float)y + 0.5f, &fx, &fy);
            for (int k = 0; k < 3; k++)
                assert_float_equal((px[k] + 1) / 2 * 255, fx + fy - 1, 0.01);
            assert_float_equal(px[3], 77, 0); // other channels are left alone
        }
    }
    // Shrunk eightfold a checkerboard is grey, outside is black.
    for (int y = 0; y < 64; y++)
        for (int x = 0; x < 128; x++)
            f->data[0][y * f->linesize[0] + x] = (x + y) % 2 ? 255 : 0;
    struct affine shrink = {.xx = 8, .yy = 8, .x0 = -32};
    p = (struct warp_params){.width = 20, .height = 10, .pixel_stride = 3, .high = 1};
    warp_crop(f, &shrink, &p, out);
    for (int i = 0; i < 20 * 10; i++) {
        bool inside = i % 20 >= 4 && i / 20 < 8;
        assert_float_equal(out[i * 3], inside ? 0.5 : 0, inside ? 0.06 : 1e-6);
    }
    av_frame_free(&f);
}

// Red on the left, blue on the right: the edge must lie where luma's does, at the left-cosited
// place.
static void test_chroma_place(void **state)
{
    AVFrame *f = make_frame(64, 64, 128, 128, 0);
    f->color_range = AVCOL_RANGE_JPEG;
    for (int y = 0; y < 32; y++)
        for (int x = 0; x < 32; x++)
            f->data[1][y * f->linesize[1] + x] = (uint8_t)(4 * x + 64);
    struct affine id = {.xx = 1, .yy = 1};
    struct warp_params p = {.width = 64, .height = 64, .pixel_stride = 3, .high = 1};
    static float out[64 * 64 * 3];
    struct yuv_matrix m = yuv_matrix_of(f);
    for (int centre = 0; centre < 2; centre++) {
        f->chroma_location = centre ? AVCHROMA_LOC_CENTER : AVCHROMA_LOC_LEFT;
        warp_crop(f, &id, &p, out);
        for (int x = 8; x < 40; x++) {
            float u = (out[(20 * 64 + x) * 3 + 2] - 128 * m.y_scale) / m.b_u + 128;
            float at = centre ? ((float)x + 0.5f) / 2 - 0.5f : (float)x / 2;
            assert_float_equal(u, 4 * at + 64, 0.05);
        }
    }
    av_frame_free(&f);
}

static void fill_noise(AVFrame *f)
{
    for (int i = 0; i < 3; i++)
        for (int y = 0; y < (i ? (f->height + 1) / 2 : f->height); y++)
            for (int x = 0; x < (i ? (f->width + 1) / 2 : f->width); x++)
                f->data[i][y * f->linesize[i] + x] = (uint8_t)(noise() * 256);
}

// A plane at a real position, its samples' centres at whole numbers; the edge repeats.
static double linear(const AVFrame *f, int i, double x, double y)
{
    int w = i ? (f->width + 1) / 2 : f->width, h = i ? (f->height + 1) / 2 : f->height;
    double value = 0;
    for (int k = 0; k < 4; k++) {
        int ix = (int)floor(x) + k % 2, iy = (int)floor(y) + k / 2;
        double weight = (1 - fabs(x - ix)) * (1 - fabs(y - iy));
        ix = KB_MIN(KB_MAX(ix, 0), w - 1);
        iy = KB_MIN(KB_MAX(iy, 0), h - 1);
        value += weight * f->data[i][iy * f->linesize[i] + ix];
    }
    return value;
}

// The mean over the luma pixels, or chroma samples in their place, that region pixel (x, y) stands
// for.
static double region_value(const AVFrame *f, int i, const struct region_place *p, int x, int y)
{
    enum AVChromaLocation where = f->chroma_location;
    bool left = where == AVCHROMA_LOC_LEFT || where == AVCHROMA_LOC_TOPLEFT;
    bool top = where == AVCHROMA_LOC_TOPLEFT || where == AVCHROMA_LOC_TOP;
    int step = i ? 2 : 1; // luma pixels from one sample to the next
    int nx = KB_MAX(p->shrink_x / step, 1), ny = KB_MAX(p->shrink_y / step, 1);
    double sum = 0;
    for (int k = 0; k < nx * ny; k++) {
        // middle of this share of the region pixel, in luma pixels from the frame's corner
        double lx = (p->x0 + x + (k % nx + 0.5) / nx) * p->shrink_x;
        double ly = (p->y0 + y + (k / nx + 0.5) / ny) * p->shrink_y;
        sum += linear(f, i, (lx - (i && left ? 0.5 : step / 2.0)) / step,
                      (ly - (i && top ? 0.5 : step / 2.0)) / step);
    }
    return sum / (nx * ny);
}

static void test_region(void **state)
{
    static const enum AVChromaLocation where[] = {AVCHROMA_LOC_LEFT, AVCHROMA_LOC_CENTER,
                                                  AVCHROMA_LOC_TOPLEFT, AVCHROMA_LOC_TOP};
    for (int t = 0; t < 400; t++) {
        AVFrame *f = make_frame(32 + t % 7, 48 + t % 5, 0, 0, 0);
        fill_noise(f);
        f->chroma_location = where[t % 4];
        struct region_place p = {.shrink_x = 1 << t % 5, .shrink_y = 1 << t / 5 % 5};
        int across = (f->width - 1) / p.shrink_x, down = (f->height - 1) / p.shrink_y;
        p.x0 = (int)(noise() * (float)across) & ~1;
        p.y0 = (int)(noise() * (float)down) & ~1;
        p.width = across - p.x0 + 2; // one beyond the frame
        p.height = down - p.y0 + 2;
        struct region r = {0};
        region_take(&r, f, &p);
        for (int k = 0; k < p.width * p.height * 3; k++) {
            int x = k / 3 % p.width, y = k / 3 / p.width;
            double want = region_value(f, k % 3, &p, x, y);
            double got = r.pixels[k / 3] >> (8 * (k % 3)) & 255;
            assert_float_equal(got, want, 0.51);
        }
        region_clear(&r);
        av_frame_free(&f);
    }
}

static struct warp_colours some_colours(void)
{
    struct warp_colours c = {.low = -1, .high = 1};
    for (int k = 0; k < 3; k++) {
        c.from_y[k] = noise() / 100;
        c.from_u[k] = noise() / 100 - 0.005f;
        c.from_v[k] = noise() / 100 - 0.005f;
        c.constant[k] = -noise();
        c.outside[k] = -0.5f - (float)k;
    }
    return c;
}

// The region ends where its memory does, which AddressSanitizer watches.
static void test_rows(void **state)
{
    static const int sizes[][2] = {{2, 2}, {5, 7}, {16, 16}, {64, 48}, {33, 90}};
    for (int i = 0; i < 3000; i++) {
        const int *size = sizes[i % (int)ARRAY_LEN(sizes)];
        struct region r = {.place = {2 * (i % 3), 2 * (i % 2), size[0], size[1], 1 << i % 3, 2}};
        r.pixels = malloc((size_t)size[0] * (size_t)size[1] * 4);
        for (int k = 0; k < size[0] * size[1]; k++)
            r.pixels[k] = (uint32_t)(noise() * 0xffffff);
        float w = (float)(size[0] << i % 3), h = (float)size[1] * 2;
        struct warp_row l = {.x = w * (3 * noise() - 1),
                             .y = h * (3 * noise() - 1),
                             .dx = w * (noise() - 0.5f),
                             .dy = h * (noise() - 0.5f),
                             .frame_w = w,
                             .frame_h = h,
                             .x_scale = 1 / (float)(1 << i % 3),
                             .y_scale = 0.5f};
        if (i % 7 == 0)
            l.dx = l.dy = 0;
        if (i % 500 == 1)
            l.x = (float[]){NAN, INFINITY, -INFINITY, 1e30f, -1e30f}[i / 500 % 5];
        struct warp_colours c = some_colours();
        int stride = 3 + i % 2, n = 37 - i % 9;
        float a[37 * 4], b[37 * 4];
        memset(a, 0x55, sizeof(a));
        memset(b, 0x55, sizeof(b));
        warp_row_c(&r, &l, &c, n, stride, a);
        warp_row_best (&r)(&r, &l, &c, n, stride, b);
        for (int k = 0; k < 37 * 4; k++)
            assert_float_equal(a[k], b[k], 1e-4 * (1 + fabs((double)a[k])));
        free(r.pixels);
    }
}

static void test_nowhere(void **state)
{
    AVFrame *f = make_frame(64, 64, 200, 128, 128);
    static const float wild[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, -500, 500};
    struct warp_params p = {.width = 9, .height = 4, .pixel_stride = 3, .high = 1};
    for (size_t i = 0; i < 6 * ARRAY_LEN(wild); i++) {
        struct affine m = {.xx = 1, .yy = 1};
        (&m.xx)[i / ARRAY_LEN(wild)] = wild[i % ARRAY_LEN(wild)];
        float out[9 * 4 * 3];
        warp_crop(f, &m, &p, out);
        for (size_t k = 0; k < ARRAY_LEN(out); k++)
            assert_in_range((int)(out[k] * 1000), 0, 1000);
    }
    av_frame_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_affine),       cmocka_unit_test(test_fit_similarity),
        cmocka_unit_test(test_colour),       cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_chroma_place), cmocka_unit_test(test_region),
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
