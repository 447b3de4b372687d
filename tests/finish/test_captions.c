// Pixels: letters where they should be, none outside, and only while they are to be seen.
#include "tests/test.h"

#include "finish/finish.h"
#include "media/subtitle_file.h"

#include <libavutil/imgutils.h>

#define WIDTH  320
#define HEIGHT 180

struct ink {
    int n, left, right, top, bottom; // pixels that were changed, and around them
    int brightest, darkest;          // of the luma there
};

static AVFrame *grey(int width, int height)
{
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = width;
    f->height = height;
    f->color_range = AVCOL_RANGE_MPEG;
    f->colorspace = AVCOL_SPC_BT709;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int p = 0; p < 3; p++)
        memset(f->data[p], p ? 128 : 100,
               (size_t)f->linesize[p] * (size_t)(p ? height / 2 : height));
    return f;
}

static struct ink look(const AVFrame *f)
{
    struct ink ink = {
        .left = f->width, .top = f->height, .right = -1, .bottom = -1, .darkest = 255};
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            int v = f->data[0][y * f->linesize[0] + x];
            if (v == 100)
                continue;
            ink.n++;
            ink.left = KB_MIN(ink.left, x);
            ink.right = KB_MAX(ink.right, x);
            ink.top = KB_MIN(ink.top, y);
            ink.bottom = KB_MAX(ink.bottom, y);
            ink.brightest = KB_MAX(ink.brightest, v);
            ink.darkest = KB_MIN(ink.darkest, v);
        }
    return ink;
}

struct scene {
    struct finish_params p;
    struct finish_picture picture;
    struct finisher *finisher;
};

static void open_scene(struct scene *s, int width, int height)
{
    struct kb_error err = {0};
    s->picture = (struct finish_picture){.width = width,
                                         .height = height,
                                         .frame_rate = {25, 1},
                                         .range = AVCOL_RANGE_MPEG,
                                         .space = AVCOL_SPC_BT709};
    const struct finish_source source = {
        .length_us = 10000000, .output_us = 10000000, .threads = 1};
    assert_ok(err, captions_load(&s->p.captions.loaded, &s->p.captions, NULL, &err));
    assert_ok(err, finisher_open(&s->finisher, &s->p, &source, &s->picture, &err));
}

static struct ink draw_at(struct scene *s, int64_t us)
{
    struct kb_error err = {0};
    AVFrame *f = grey(s->picture.width, s->picture.height);
    const struct finish_moment at = {.part = PART_DUB, .pts_us = us, .output_us = us};
    assert_ok(err, finisher_put(s->finisher, &f, &at, &err));
    struct ink ink = look(f);
    av_frame_free(&f);
    return ink;
}

static void close_scene(struct scene *s)
{
    finisher_close(&s->finisher);
    captions_free(&s->p.captions.loaded);
}

static struct subtitle_track two(void)
{
    struct subtitle_track t = {0};
    subtitle_add(&t, 1000000, 3000000, "国国国国国");
    subtitle_add(&t, 4000000, 6000000, "第二句");
    subtitle_add(&t, 9000000, 12000000, "最后");
    subtitle_add(&t, 11000000, 12000000, "听不到");
    return t;
}

static void test_burn(void **state)
{
    struct subtitle_track cues = two();
    struct scene s = {.p.captions = {.as = CAPTIONS_BURN, .cues = &cues, .size = 10}};
    open_scene(&s, WIDTH, HEIGHT);
    assert_int_equal(draw_at(&s, 0).n, 0);
    struct ink ink = draw_at(&s, 1000000);
    assert_true(ink.n > 300);
    // In the middle, at the bottom above a player's controls; as high as asked for: 18 pixels.
    assert_in_range(ink.left + ink.right, WIDTH - 6, WIDTH + 4);
    assert_in_range(ink.bottom, HEIGHT * 80 / 100, HEIGHT * 94 / 100);
    assert_in_range(ink.bottom - ink.top, 15, 23);
    assert_in_range(ink.right - ink.left, 5 * 18 - 4, 5 * 18 + 8);
    assert_true(ink.brightest > 225 && ink.darkest < 40); // white, with a dark outline
    assert_int_equal(draw_at(&s, 2960000).n, ink.n);
    assert_int_equal(draw_at(&s, 3500000).n, 0);
    assert_true(draw_at(&s, 5000000).n > 100);
    const struct subtitle_track *t = captions_track(s.p.captions.loaded);
    assert_int_equal(t->n, 3); // what lies behind the end is not there
    assert_int_equal(t->at[2].end_us, 10000000);
    close_scene(&s);

    struct scene top = {.p.captions = {.as = CAPTIONS_BURN,
                                       .cues = &cues,
                                       .place = CAPTIONS_TOP,
                                       .box = true,
                                       .coloured = true,
                                       .colour = 0x000000}};
    open_scene(&top, WIDTH, HEIGHT);
    ink = draw_at(&top, 2000000);
    assert_true(ink.n > 0 && ink.bottom < HEIGHT / 4 && ink.brightest <= 100); // black on dark
    close_scene(&top);

    struct scene tall = {.p.captions = {.as = CAPTIONS_BURN, .cues = &cues}};
    open_scene(&tall, HEIGHT, WIDTH);
    ink = draw_at(&tall, 2000000);
    assert_in_range(ink.bottom, WIDTH * 74 / 100, WIDTH * 82 / 100);
    close_scene(&tall);
    subtitle_track_clear(&cues);
}

// Without burning they are laid out all the same, and nothing is drawn.
static void test_not_burnt(void **state)
{
    struct subtitle_track cues = {0};
    subtitle_add(&cues, 0, 2000000, "今天我们来学习怎样用手机拍摄视频，请大家先打开相机");
    struct scene s = {.p.captions = {.as = CAPTIONS_SRT, .cues = &cues}};
    open_scene(&s, WIDTH, HEIGHT);
    assert_null(s.finisher);
    assert_string_equal(captions_track(s.p.captions.loaded)->at[0].text,
                        "今天我们来学习怎样用手机拍摄视频\n请大家先打开相机");
    close_scene(&s);
    subtitle_track_clear(&cues);
}

// An ASS says itself where and how; what is in braces of another's text means nothing.
static void test_ass(void **state)
{
    static const char ass[] =
        "[Script Info]\nScriptType: v4.00+\nPlayResX: 320\nPlayResY: 180\n\n[V4+ Styles]\n"
        "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, "
        "BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, "
        "BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n"
        "Style: Default,Sans,20,&H00FFFFFF,&H0,&H0,&H0,0,0,0,0,100,100,0,0,1,0,0,2,0,0,0,1\n\n"
        "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, "
        "Text\n"
        "Dialogue: 0,0:00:00.00,0:00:02.00,Default,,0,0,0,,{\\an7\\pos(10,20)}abc\n";
    char path[] = "/tmp/koubo-test-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, ass, strlen(ass)), strlen(ass));
    close(fd);
    struct scene s = {.p.captions = {.as = CAPTIONS_BURN, .file = path, .place = CAPTIONS_TOP}};
    open_scene(&s, WIDTH, HEIGHT);
    struct ink ink = draw_at(&s, 1000000);
    assert_in_range(ink.left, 8, 14);
    assert_in_range(ink.top, 20, 30);
    assert_true(ink.right < 60 && ink.bottom < 45 && ink.darkest >= 95); // no outline
    close_scene(&s);
    unlink(path);

    struct subtitle_track cues = {0};
    subtitle_add(&cues, 0, 2000000, "{\\pos(0,0)}a\\Nb");
    struct scene plain = {.p.captions = {.as = CAPTIONS_BURN, .cues = &cues}};
    open_scene(&plain, WIDTH, HEIGHT);
    ink = draw_at(&plain, 1000000);
    assert_true(ink.top > HEIGHT / 2 && ink.right - ink.left > 60); // one line, at the bottom
    close_scene(&plain);
    subtitle_track_clear(&cues);
}

static void test_words(void **state)
{
    unsigned as = 9;
    enum captions_place place;
    uint32_t colour;
    assert_true(captions_as_parse("burn,stream", &as) && as == (CAPTIONS_BURN | CAPTIONS_STREAM));
    assert_true(captions_as_parse("none", &as) && as == 0);
    assert_false(captions_as_parse("burn,", &as) || captions_as_parse("", &as) ||
                 captions_as_parse("burn,none", &as));
    assert_true(captions_place_parse("middle", &place) && place == CAPTIONS_MIDDLE);
    assert_false(captions_place_parse("left", &place));
    assert_true(captions_colour_parse("#ffCC00", &colour) && colour == 0xffcc00);
    assert_false(captions_colour_parse("#fc0", &colour) ||
                 captions_colour_parse("yellow", &colour));
    struct kb_error err = {0};
    struct subtitle_track none = {0};
    struct captions_params p = {.as = CAPTIONS_BURN, .cues = &none, .font = "No Such Font At All"};
    assert_fails(err, KB_NOT_FOUND, "No Such Font", captions_check(&p, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burn),
        cmocka_unit_test(test_not_burnt),
        cmocka_unit_test(test_ass),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
