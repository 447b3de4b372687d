// Bitmaps in frames: the right colours in the right pixels, and no others.
#include "tests/test.h"

#include "finish/overlay.h"

#define W 64
#define H 48

// A frame all of one colour, shared with nobody.
static AVFrame *make_frame(enum AVPixelFormat format, int y, int u, int v, int a)
{
    const int values[] = {y, u, v, a};
    AVFrame *f = av_frame_alloc();
    f->format = format;
    f->width = W;
    f->height = H;
    f->colorspace = AVCOL_SPC_BT709;
    f->color_range = AVCOL_RANGE_MPEG;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int p = 0; p < 4 && f->data[p]; p++) {
        int rows = p == 1 || p == 2 ? H / 2 : H;
        memset(f->data[p], values[p], (size_t)f->linesize[p] * (size_t)rows);
    }
    return f;
}

static int at(const AVFrame *f, int p, int x, int y)
{
    return f->data[p][(ptrdiff_t)y * f->linesize[p] + x];
}

static void assert_near(int value, int wanted, int within)
{
    if (abs(value - wanted) > within)
        fail_msg("%d, wanted %d within %d", value, wanted, within);
}

static void assert_yuv(const AVFrame *f, int x, int y, int wy, int wu, int wv)
{
    assert_near(at(f, 0, x, y), wy, 1);
    assert_near(at(f, 1, x / 2, y / 2), wu, 1);
    assert_near(at(f, 2, x / 2, y / 2), wv, 1);
}

// All of plane p outside the rectangle has this value.
static void assert_rest(const AVFrame *f, int p, int x, int y, int w, int h, int value)
{
    int shift = p == 1 || p == 2;
    for (int j = 0; j < H >> shift; j++)
        for (int i = 0; i < W >> shift; i++)
            if (i < x || i >= x + w || j < y || j >= y + h)
                if (at(f, p, i, j) != value)
                    fail_msg("plane %d at %d, %d: %d, was %d", p, i, j, at(f, p, i, j), value);
}

static struct overlay *make_block(int w, int h, uint32_t colour)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) uint8_t *alpha = kb_alloc((size_t)w * (size_t)h);
    memset(alpha, 255, (size_t)w * (size_t)h);
    struct overlay *o = NULL;
    assert_ok(err, overlay_create(&o,
                                  &(struct overlay_bitmap){.data = alpha,
                                                           .stride = w,
                                                           .width = w,
                                                           .height = h,
                                                           .alpha_only = true,
                                                           .colour = colour},
                                  &err));
    return o;
}

static void draw(struct overlay *o, AVFrame *f, int x, int y, float opacity)
{
    struct kb_error err = {0};
    assert_ok(err, overlay_draw(o, f, x, y, opacity, &err));
}

// Pure colours as the standards' own tables have them, 8 bits.
static void test_colours(void **state)
{
    static const struct {
        enum AVColorSpace space;
        enum AVColorRange range;
        enum AVColorTransferCharacteristic transfer;
        uint32_t colour;
        int y, u, v;
    } cases[] = {
        {AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, AVCOL_TRC_BT709, 0xffffff, 235, 128, 128},
        {AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, AVCOL_TRC_BT709, 0xff0000, 63, 102, 240},
        {AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, AVCOL_TRC_BT709, 0x0000ff, 32, 240, 118},
        {AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG, AVCOL_TRC_BT709, 0xff0000, 81, 90, 240},
        {AVCOL_SPC_SMPTE170M, AVCOL_RANGE_JPEG, AVCOL_TRC_BT709, 0xff0000, 76, 85, 255},
        {AVCOL_SPC_BT709, AVCOL_RANGE_JPEG, AVCOL_TRC_BT709, 0xffffff, 255, 128, 128},
        {AVCOL_SPC_UNSPECIFIED, AVCOL_RANGE_MPEG, AVCOL_TRC_BT709, 0xff0000, 81, 90, 240},
        {AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, AVCOL_TRC_BT709, 0x000000, 16, 128, 128},
        // White of a page, not of the sun.
        {AVCOL_SPC_BT2020_NCL, AVCOL_RANGE_MPEG, AVCOL_TRC_SMPTE2084, 0xffffff, 143, 128, 128},
        {AVCOL_SPC_BT2020_NCL, AVCOL_RANGE_MPEG, AVCOL_TRC_ARIB_STD_B67, 0xffffff, 180, 128, 128},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(overlay_free) struct overlay *o = make_block(8, 8, cases[i].colour);
        CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUV420P, 50, 60, 70, 0);
        f->colorspace = cases[i].space;
        f->color_range = cases[i].range;
        f->color_trc = cases[i].transfer;
        draw(o, f, 4, 6, 1);
        assert_yuv(f, 4 + 4, 6 + 4, cases[i].y, cases[i].u, cases[i].v);
        assert_int_equal(at(f, 0, 4, 6), at(f, 0, 11, 13));
        assert_rest(f, 0, 4, 6, 8, 8, 50);
        assert_rest(f, 1, 2, 3, 5, 4, 60); // a chroma sample reaches a column further
        assert_rest(f, 2, 2, 3, 5, 4, 70);
    }
}

// The same overlay in frames of other colours: as if it were new.
static void test_other_frames(void **state)
{
    CLEANUP(overlay_free) struct overlay *o = make_block(8, 8, 0xff0000);
    CLEANUP(av_frame_free) AVFrame *a = make_frame(AV_PIX_FMT_YUV420P, 50, 60, 70, 0);
    CLEANUP(av_frame_free) AVFrame *b = make_frame(AV_PIX_FMT_YUV420P, 50, 60, 70, 0);
    b->colorspace = AVCOL_SPC_SMPTE170M;
    draw(o, a, 4, 6, 1);
    draw(o, b, 5, 7, 1);
    assert_yuv(a, 8, 10, 63, 102, 240);
    assert_yuv(b, 8, 10, 81, 90, 240);
    assert_rest(b, 0, 5, 7, 8, 8, 50);
    draw(o, a, 20, 6, 1);
    assert_yuv(a, 24, 10, 63, 102, 240);
}

// At an odd place chroma samples hold parts of the block, by how they lie to it.
static void test_odd(void **state)
{
    CLEANUP(overlay_free) struct overlay *o = make_block(4, 4, 0x0000ff);
    CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUV420P, 16, 128, 128, 0);
    draw(o, f, 5, 7, 1); // luma 5 to 8, 7 to 10
    assert_rest(f, 0, 5, 7, 4, 4, 16);
    assert_int_equal(at(f, 0, 5, 7), 32);
    assert_int_equal(at(f, 0, 8, 10), 32);
    // U of blue is 240, 112 above nothing. Columns 4, 6, 8 lie on luma 4, 6, 8: a quarter, all,
    // three quarters. Rows 3, 4, 5 are luma 6 and 7, 8 and 9, 10 and 11: half, all, half.
    static const float across[] = {0.25f, 1, 0.75f}, down[] = {0.5f, 1, 0.5f};
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < 3; i++)
            assert_near(at(f, 1, 2 + i, 3 + j), 128 + (int)(112 * across[i] * down[j] + 0.5f), 1);
    assert_rest(f, 1, 2, 3, 3, 3, 128);

    CLEANUP(av_frame_free) AVFrame *g = make_frame(AV_PIX_FMT_YUV420P, 16, 128, 128, 0);
    g->chroma_location = AVCHROMA_LOC_CENTER;
    draw(o, g, 5, 7, 1); // columns 2, 3, 4 are luma 4 and 5, 6 and 7, 8 and 9
    static const float pairs[] = {0.5f, 1, 0.5f};
    for (int i = 0; i < 3; i++)
        assert_near(at(g, 1, 2 + i, 4), 128 + (int)(112 * pairs[i] + 0.5f), 1);
}

// What lies outside is cut off, on each side, and nothing beyond the frame is touched (the build
// with the address sanitizer sees that too).
static void test_edges(void **state)
{
    static const int places[][2] = {{-5, -3}, {W - 3, H - 5}, {-5, H - 4},   {W - 1, -7},
                                    {-8, 4},  {4, -8},        {W, 3},        {3, H},
                                    {-9, -9}, {-900, 0},      {-3, H - 1},   {W - 4, 11},
                                    {0, 900}, {INT16_MIN, 0}, {0, INT16_MAX}};
    CLEANUP(overlay_free) struct overlay *o = make_block(8, 8, 0xffffff);
    CLEANUP(overlay_free) struct overlay *large = make_block(2 * W, 2 * H, 0xffffff);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUV420P, 50, 128, 128, 0);
        int x = places[i][0], y = places[i][1];
        draw(o, f, x, y, 1);
        assert_rest(f, 0, x, y, 8, 8, 50);
        for (int j = KB_MAX(y, 0); j < KB_MIN(y + 8, H); j++)
            for (int k = KB_MAX(x, 0); k < KB_MIN(x + 8, W); k++)
                assert_int_equal(at(f, 0, k, j), 235);
    }
    CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUV420P, 50, 60, 70, 0);
    draw(large, f, -7, -9, 1);
    for (int j = 0; j < H; j++)
        for (int i = 0; i < W; i++)
            assert_yuv(f, i, j, 235, 128, 128);
}

static void test_opacity(void **state)
{
    CLEANUP(overlay_free) struct overlay *o = make_block(8, 8, 0xffffff);
    CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUV420P, 35, 28, 228, 0);
    draw(o, f, 4, 6, 0.25f);
    assert_yuv(f, 8, 10, 35 + 50, 28 + 25, 228 - 25);
    draw(o, f, 4, 6, 0);
    assert_yuv(f, 8, 10, 35 + 50, 28 + 25, 228 - 25);
    draw(o, f, 4, 6, 7); // as 1
    assert_yuv(f, 8, 10, 235, 128, 128);
}

// RGBA, each pixel with a colour and alpha of its own; more colour than alpha is cut.
static void test_rgba(void **state)
{
    static const uint8_t rgba[2][2][4] = {{{255, 255, 255, 255}, {0, 0, 0, 255}},
                                          {{64, 64, 64, 128}, {255, 255, 255, 51}}};
    struct kb_error err = {0};
    CLEANUP(overlay_free) struct overlay *o = NULL;
    struct overlay_bitmap b = {.data = rgba[0][0], .stride = 8, .width = 2, .height = 2};
    assert_ok(err, overlay_create(&o, &b, &err));
    assert_int_equal(overlay_width(o), 2);
    assert_int_equal(overlay_height(o), 2);
    CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUV420P, 100, 128, 128, 0);
    draw(o, f, 4, 6, 1);
    assert_near(at(f, 0, 4, 6), 235, 1);
    assert_near(at(f, 0, 5, 6), 16, 1);
    assert_near(at(f, 0, 4, 7), (100 + 126) / 2, 1); // grey of 128 is 126
    assert_near(at(f, 0, 5, 7), 100 + 135 / 5, 1);
    overlay_free(&o);
    b.width = 0;
    assert_fails(err, KB_INTERNAL, "0 x 2", overlay_create(&o, &b, &err));
    b.width = OVERLAY_MAX_SIDE + 1;
    assert_fails(err, KB_INTERNAL, "x 2", overlay_create(&o, &b, &err));
}

// Over a picture that is transparent: opaque where it is drawn, and its colour is not mixed with
// what was not to be seen.
static void test_transparent(void **state)
{
    CLEANUP(overlay_free) struct overlay *o = make_block(8, 8, 0xffffff);
    CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUVA420P, 16, 200, 40, 0);
    draw(o, f, 4, 6, 0.5f);
    assert_yuv(f, 8, 10, 235, 128, 128);
    assert_near(at(f, 3, 8, 10), 128, 1);
    assert_rest(f, 3, 4, 6, 8, 8, 0);
    assert_rest(f, 0, 4, 6, 8, 8, 16);

    CLEANUP(av_frame_free) AVFrame *g = make_frame(AV_PIX_FMT_YUVA420P, 35, 128, 128, 255);
    draw(o, g, 4, 6, 0.5f);
    assert_yuv(g, 8, 10, 135, 128, 128);
    assert_int_equal(at(g, 3, 8, 10), 255);

    CLEANUP(av_frame_free) AVFrame *h = make_frame(AV_PIX_FMT_YUVA420P, 35, 128, 128, 128);
    draw(o, h, 5, 7, 0.5f); // half over a half: three quarters, of which two thirds are white
    assert_yuv(h, 8, 10, 35 + 200 * 2 / 3, 128, 128);
    assert_near(at(h, 3, 8, 10), 191, 1);
}

// Whoever else has the frame keeps it as it was.
static void test_shared(void **state)
{
    CLEANUP(overlay_free) struct overlay *o = make_block(8, 8, 0xffffff);
    CLEANUP(av_frame_free) AVFrame *f = make_frame(AV_PIX_FMT_YUV420P, 50, 60, 70, 0);
    CLEANUP(av_frame_free) AVFrame *other = av_frame_clone(f);
    draw(o, f, 4, 6, 1);
    assert_int_equal(at(f, 0, 8, 10), 235);
    assert_rest(other, 0, 0, 0, 0, 0, 50);
    assert_rest(other, 1, 0, 0, 0, 0, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_colours),     cmocka_unit_test(test_other_frames),
        cmocka_unit_test(test_odd),         cmocka_unit_test(test_edges),
        cmocka_unit_test(test_opacity),     cmocka_unit_test(test_rgba),
        cmocka_unit_test(test_transparent), cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
