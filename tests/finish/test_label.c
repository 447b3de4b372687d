// The visible label: as large, as long and where it must be, and nowhere else.
#include "tests/test.h"

#include "finish/finish.h"

#define GROUND 60 // luma of the picture; letters are white, rims darker than that

static struct finisher *open_ok(const struct label_params *p, int width, int height)
{
    struct kb_error err = {0};
    struct finisher *f = NULL;
    struct finish_params params = {.label = *p};
    struct finish_source source = {.length_us = 10000000, .output_us = 10000000, .threads = 1};
    struct finish_picture picture = {.width = width,
                                     .height = height,
                                     .frame_rate = {25, 1},
                                     .range = AVCOL_RANGE_MPEG,
                                     .space = AVCOL_SPC_BT709};
    assert_ok(err, finisher_open(&f, &params, &source, &picture, &err));
    assert_int_equal(picture.width, width);
    return f;
}

// A grey picture after the finisher.
static AVFrame *put(struct finisher *f, enum finish_part part, int64_t output_us, int width,
                    int height)
{
    struct kb_error err = {0};
    AVFrame *frame = av_frame_alloc();
    frame->format = AV_PIX_FMT_YUV420P;
    frame->width = width;
    frame->height = height;
    frame->colorspace = AVCOL_SPC_BT709;
    frame->color_range = AVCOL_RANGE_MPEG;
    assert_int_equal(av_frame_get_buffer(frame, 0), 0);
    for (int p = 0; p < 3; p++)
        memset(frame->data[p], p ? 128 : GROUND,
               (size_t)frame->linesize[p] * (size_t)(p ? height / 2 : height));
    struct finish_moment at = {
        .part = part, .pts_us = output_us, .output_us = output_us, .duration_us = 40000};
    assert_ok(err, finisher_put(f, &frame, &at, &err));
    return frame;
}

struct box {
    int left, top, right, bottom, n;
};

// Where luma is above low; below it, where low is negative.
static struct box find(const AVFrame *f, int low)
{
    struct box b = {.left = f->width, .top = f->height};
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            int value = f->data[0][(ptrdiff_t)y * f->linesize[0] + x];
            if (low < 0 ? value == GROUND : value <= low)
                continue;
            b.left = KB_MIN(b.left, x);
            b.top = KB_MIN(b.top, y);
            b.right = KB_MAX(b.right, x + 1);
            b.bottom = KB_MAX(b.bottom, y + 1);
            b.n++;
        }
    return b;
}

#define CHANGED (-1)
#define WHITE   200 // at an opacity of 0.9 letters are 217

static const int sizes[][2] = {{320, 240}, {1280, 720}, {360, 640}, {640, 640}};

// In each corner, in pictures of each shape: letters of 5 % of the shorter side or more (those of
// GB 45438-2025), no more than needed, inside of the picture, and nothing else is touched.
static void test_corner(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int w = sizes[i][0], h = sizes[i][1], shorter = KB_MIN(w, h);
        for (enum label_place place = 0; place < N_LABEL_PLACES; place++) {
            struct label_params p = {.show = LABEL_CORNER, .place = place};
            assert_int_equal(label_corner(&p), place);
            CLEANUP(finisher_close) struct finisher *f = open_ok(&p, w, h);
            CLEANUP(av_frame_free) AVFrame *frame = put(f, PART_DUB, 8000000, w, h);
            struct box letters = find(frame, WHITE), all = find(frame, CHANGED);
            int height = letters.bottom - letters.top;
            assert_true(height >= shorter * 5 / 100 && height <= shorter * 9 / 100 + 2);
            assert_true(letters.right - letters.left >= 3 * height);
            assert_true(letters.n > height * height / 3);
            bool right = place == LABEL_TOP_RIGHT || place == LABEL_BOTTOM_RIGHT;
            bool bottom = place == LABEL_BOTTOM_LEFT || place == LABEL_BOTTOM_RIGHT;
            int margin = shorter * 3 / 100;
            assert_in_range(right ? w - all.right : all.left, margin, margin + 4);
            assert_in_range(bottom ? h - all.bottom : all.top, margin, margin + 4);
            assert_true(all.right - all.left < w * 2 / 3 && all.bottom - all.top < h / 6);
        }
    }
}

static int white_at(struct finisher *f, enum finish_part part, int64_t output_us)
{
    CLEANUP(av_frame_free) AVFrame *frame = put(f, part, output_us, 320, 240);
    return find(frame, WHITE).n;
}

// The larger one: from the first picture on, two seconds at least, then gone; over an intro too.
static void test_start(void **state)
{
    struct label_params p = {.show = LABEL_START};
    assert_int_equal(label_corner(&p), -1);
    CLEANUP(finisher_close) struct finisher *f = open_ok(&p, 320, 240);
    int n = white_at(f, PART_DUB, 0);
    assert_true(n > 0);
    assert_int_equal(white_at(f, PART_INTRO, 0), n);
    assert_int_equal(white_at(f, PART_DUB, 2040000), n);
    assert_true(white_at(f, PART_DUB, 3200000) < n); // fading
    assert_int_equal(white_at(f, PART_DUB, 3300000), 0);
    assert_int_equal(white_at(f, PART_OUTRO, 9000000), 0);

    CLEANUP(av_frame_free) AVFrame *frame = put(f, PART_DUB, 0, 320, 240);
    struct box b = find(frame, WHITE);
    assert_true(b.bottom - b.top >= 240 * 15 / 200);
    assert_in_range(b.left + b.right, 310, 330); // in the middle
    assert_true(b.top > 120);

    CLEANUP(finisher_close)
    struct finisher *both = open_ok(&(struct label_params){.show = LABEL_BOTH}, 320, 240);
    int later = white_at(both, PART_OUTRO, 9000000);
    assert_true(later > 0);
    assert_int_equal(white_at(both, PART_DUB, 0), n + later);
}

// A text that is wider than the picture gets lines, its letters stay as large.
static void test_long(void **state)
{
    struct label_params p = {.show = LABEL_CORNER,
                             .text = "本视频由人工智能技术生成合成请注意分辨真伪"};
    CLEANUP(finisher_close) struct finisher *f = open_ok(&p, 240, 426);
    CLEANUP(av_frame_free) AVFrame *frame = put(f, PART_DUB, 0, 240, 426);
    struct box b = find(frame, WHITE);
    assert_true(b.right <= 240 * 97 / 100 && b.right - b.left > 120);
    assert_true(b.bottom - b.top > 2 * 12); // two lines at least
    // Larger, and in English, at its spaces.
    p = (struct label_params){.show = LABEL_BOTH, .text = "Synthesised by an AI"};
    CLEANUP(finisher_close) struct finisher *g = open_ok(&p, 240, 426);
    CLEANUP(av_frame_free) AVFrame *start = put(g, PART_DUB, 0, 240, 426);
    b = find(start, WHITE);
    assert_true(b.left > 0 && b.right < 240);
}

// Less opaque than can be seen is not possible.
static void test_opacity(void **state)
{
    static const float wanted[] = {0, 0.01f, 0.6f, 1};
    static const int luma[] = {217, 165, 165, 235}; // of the letters on GROUND
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct label_params p = {.show = LABEL_CORNER, .opacity = wanted[i]};
        CLEANUP(finisher_close) struct finisher *f = open_ok(&p, 640, 480);
        CLEANUP(av_frame_free) AVFrame *frame = put(f, PART_DUB, 0, 640, 480);
        int brightest = 0;
        for (int y = 0; y < 480; y++)
            for (int x = 0; x < 640; x++)
                brightest =
                    KB_MAX(brightest, frame->data[0][(ptrdiff_t)y * frame->linesize[0] + x]);
        assert_in_range(brightest, luma[i] - 2, luma[i] + 2);
    }
}

static void test_words(void **state)
{
    static const char *const good[] = {"AI生成", "本视频由人工智能合成", "AI 生成合成",
                                       "AI-generated", "ai-synthesised"};
    static const char *const bad[] = {"",
                                      "AI",
                                      "由我生成",
                                      "数字人",
                                      "AI生成\n",
                                      "{\\b1}AI生成",
                                      "AI生成\\N合成",
                                      "AI\xff生成",
                                      "AI生成AI生成AI生成AI生成AI生成AI生成AI生成"};
    struct kb_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_ok(err, label_text_check(good[i], &err));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(err, KB_BAD_INPUT, "label", label_text_check(bad[i], &err));
    enum label_show show = LABEL_OFF;
    enum label_place place = LABEL_TOP_LEFT;
    assert_true(label_show_parse("both", &show) && show == LABEL_BOTH);
    assert_false(label_show_parse("on", &show));
    assert_true(label_place_parse("bottom-left", &place) && place == LABEL_BOTTOM_LEFT);
    assert_false(label_place_parse("middle", &place));
}

static void test_off(void **state)
{
    assert_null(open_ok(&(struct label_params){.show = LABEL_OFF}, 320, 240));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corner),  cmocka_unit_test(test_start), cmocka_unit_test(test_long),
        cmocka_unit_test(test_opacity), cmocka_unit_test(test_words), cmocka_unit_test(test_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
