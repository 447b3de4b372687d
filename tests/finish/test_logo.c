// A logo: where it is, how large, how much of it shows, and nothing around it.
#include "tests/test.h"

#include "finish/finish.h"
#include "media/rgba.h"

#include <libavcodec/avcodec.h>

#define W 320
#define H 180

static char path[] = "/tmp/koubo-logo-XXXXXX";
static char bad[] = "/tmp/koubo-logo-XXXXXX";

// 40 x 20: the left half red, the right half clear, with a hidden green that must not come out.
static int set_up(void **state)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    AVFrame *a = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    a->width = c->width = 40;
    a->height = c->height = 20;
    a->format = c->pix_fmt = AV_PIX_FMT_RGBA;
    c->time_base = (AVRational){1, 25};
    if (avcodec_open2(c, codec, NULL) < 0 || av_frame_get_buffer(a, 0) < 0)
        return -1;
    for (int i = 0; i < 800; i++)
        memcpy(a->data[0] + i / 40 * a->linesize[0] + i % 40 * 4,
               i % 40 < 20 ? "\xff\0\0\xff" : "\0\xff\0\0", 4);
    if (avcodec_send_frame(c, a) < 0 || avcodec_receive_packet(c, packet) < 0)
        return -1;
    FILE *f = fdopen(mkstemp(path), "wb");
    fwrite(packet->data, 1, (size_t)packet->size, f);
    fclose(f);
    av_packet_free(&packet);
    av_frame_free(&a);
    avcodec_free_context(&c);
    f = fdopen(mkstemp(bad), "wb");
    fputs("no picture", f);
    fclose(f);
    return 0;
}

static int tear_down(void **state)
{
    unlink(path);
    unlink(bad);
    return 0;
}

static AVFrame *draw_in(const struct logo_params *logo, int width, int height)
{
    struct kb_error err = {0};
    const struct finish_params p = {.logo = *logo};
    const struct finish_source s = {.threads = 1};
    struct finish_picture picture = {.width = width, .height = height};
    CLEANUP(finisher_close) struct finisher *f = NULL;
    assert_ok(err, finisher_open(&f, &p, &s, &picture, &err));
    AVFrame *a = av_frame_alloc();
    a->format = AV_PIX_FMT_YUV420P;
    a->width = width;
    a->height = height;
    a->colorspace = AVCOL_SPC_BT709;
    a->color_range = AVCOL_RANGE_MPEG;
    assert_int_equal(av_frame_get_buffer(a, 0), 0);
    for (int i = 0; i < 3; i++)
        memset(a->data[i], 128, (size_t)a->linesize[i] * (size_t)(i ? height / 2 : height));
    assert_ok(err, finisher_put(f, &a, &(struct finish_moment){0}, &err));
    return a;
}

static AVFrame *draw(const struct logo_params *logo)
{
    return draw_in(logo, W, H);
}

// The rectangle that is changed: x0, y0, x1, y1.
static void changed(const AVFrame *a, int ret[4])
{
    ret[0] = a->width, ret[1] = a->height, ret[2] = ret[3] = 0;
    for (int y = 0; y < a->height; y++)
        for (int x = 0; x < a->width; x++)
            if (a->data[0][y * a->linesize[0] + x] != 128) {
                ret[0] = KB_MIN(ret[0], x);
                ret[1] = KB_MIN(ret[1], y);
                ret[2] = KB_MAX(ret[2], x + 1);
                ret[3] = KB_MAX(ret[3], y + 1);
            }
}

static void test_every_corner(void **state)
{
    static const char *const names[] = {"top-left", "top-right", "bottom-left", "bottom-right"};
    for (int i = 0; i < 4; i++) {
        struct logo_params p = {.path = path, .size = 0.25f};
        int r[4];
        assert_true(logo_place_parse(names[i], &p.place));
        CLEANUP(av_frame_free) AVFrame *a = draw(&p);
        changed(a, r);
        // 80 x 40 with a clear right half, 7 from the edges.
        int x = i % 2 ? W - 7 - 80 : 7, y = i / 2 ? H - 7 - 40 : 7;
        assert_true(abs(r[0] - x) <= 1 && abs(r[2] - (x + 40)) <= 3);
        assert_true(abs(r[1] - y) <= 1 && abs(r[3] - (y + 40)) <= 1);
        // Red of BT.709; no green at the rim of what is clear.
        int cx = (x + 20) / 2, cy = (y + 20) / 2;
        assert_true(abs(a->data[0][(y + 20) * a->linesize[0] + x + 20] - 63) <= 2);
        assert_true(abs(a->data[1][cy * a->linesize[1] + cx] - 102) <= 2);
        assert_true(abs(a->data[2][cy * a->linesize[2] + cx] - 240) <= 2);
        for (int k = 0; k < 50; k++)
            assert_true(a->data[0][(y + 20) * a->linesize[0] + x + 36 + k % 10] <= 129);
    }
}

static void test_half_of_it_shows(void **state)
{
    CLEANUP(av_frame_free)
    AVFrame *a = draw(&(struct logo_params){path, LOGO_TOP_LEFT, 0.25f, 0.5f});
    assert_true(abs(a->data[0][27 * a->linesize[0] + 27] - (63 + 128) / 2) <= 2);
}

// As large in every shape, and never beyond the edges.
static void test_every_shape(void **state)
{
    static const struct {
        int width, height;
        float size;
        int red; // half of the logo
    } table[] = {{320, 180, 0, 22},    {180, 320, 0, 22},
                 {240, 240, 0, 22},    {320, 180, 0.5f, 45}, // a fourth of the height at most
                 {180, 320, 0.5f, 80}, {96, 384, 0.5f, 44}}; // within its margins
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct logo_params p = {path, LOGO_TOP_LEFT, table[i].size, 1};
        int r[4];
        CLEANUP(av_frame_free) AVFrame *a = draw_in(&p, table[i].width, table[i].height);
        changed(a, r);
        if (abs(r[2] - r[0] - table[i].red) > 2)
            fail_msg("%dx%d: %d wide", table[i].width, table[i].height, r[2] - r[0]);
    }
}

static void test_what_is_no_picture(void **state)
{
    struct kb_error err = {0};
    AVFrame *f = NULL;
    enum logo_place place;
    assert_fails(err, KB_BAD_INPUT, bad, rgba_read(&f, bad, 10, 10, NULL, &err));
    assert_fails(err, KB_NOT_FOUND, "/nowhere", rgba_read(&f, "/nowhere", 10, 10, NULL, &err));
    assert_false(logo_place_parse("middle", &place));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_corner),
        cmocka_unit_test(test_half_of_it_shows),
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_what_is_no_picture),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
