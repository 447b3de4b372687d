#include "tests/test.h"

#include "base/utf8.h"
#include "finish/cut.h"
#include "media/subtitle_file.h"

static const struct cut_limits wide = {.han = 17, .latin = 42}, narrow = {.han = 12, .latin = 24};

static void check_lines(const char *text, const struct cut_limits *l, const char *wanted)
{
    CLEANUP(kb_freep) char *lines = cut_lines(text, l);
    assert_string_equal(lines, wanted);
}

static void test_lines(void **state)
{
    check_lines("今天我们来学习，", &wide, "今天我们来学习");
    check_lines("真的吗？", &wide, "真的吗？");
    // even, behind the comma, not inside of a word
    check_lines("今天我们来学习怎样用手机拍摄视频，请大家先打开相机", &wide,
                "今天我们来学习怎样用手机拍摄视频\n请大家先打开相机");
    check_lines("人工智能生成的数字人口播视频制作流程非常简单", &narrow,
                "人工智能生成的数字人口\n播视频制作流程非常简单");
    // neither words nor numbers are parted
    check_lines("新版本只需要3.14159265秒就能完成全部的工作", &narrow,
                "新版本只需要3.14159265秒\n就能完成全部的工作");
    check_lines("The quick brown fox jumps over the lazy dog near the river.", &wide,
                "The quick brown fox jumps over\nthe lazy dog near the river.");
    // an author's lines stay while they fit
    check_lines("第一行\n第二行", &wide, "第一行\n第二行");
    check_lines("一行太长了所以要重新来分成两行才可以\n放得下的一段字幕", &narrow,
                "一行太长了所以要\n重新来分成两行才可以\n放得下的一段字幕");
    check_lines("", &wide, "");
    check_lines(
        "https://example.org/a/very/long/address/without/any/blank/in/it/that/does/not/fit",
        &narrow,
        "https://example.org/\na/very/long/address/\nwithout/any/blank/in/\nit/that/does/not/fit");
}

// Words of 250 ms a letter; "|" in the text is a pause of 600 ms.
static struct words speak(const char *text)
{
    struct words w = {.text = kb_strdup("")};
    struct text plain = {0};
    int64_t now = 100000;
    for (int length; *text; text += length) {
        int32_t c = utf8_next(text, &length);
        size_t n = (size_t)length;
        if (c == '|') {
            now += 600000;
            continue;
        }
        bool latin = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        while (latin && ((text[n] >= '0' && text[n] <= '9') || (text[n] >= 'A' && text[n] <= 'z')))
            n++;
        if (latin || (c >= 0x4e00 && c <= 0x9fff)) {
            assert_true(words_add(&w, (struct word){now, now + 250000, plain.size, n}));
            now += 250000;
        }
        text_add_bytes(&plain, text, n);
        length = (int)n;
    }
    free(w.text);
    w.text = TAKE(plain.data);
    return w;
}

static void check_rules(const struct subtitle_track *t, const struct cut_limits *l)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct subtitle *s = &t->at[i];
        int64_t length = s->end_us - s->start_us;
        assert_true(length >= 500000 && length <= 7300000);
        if (i > 0)
            assert_true(s->start_us >= t->at[i - 1].end_us);
        int lines = 1;
        for (const char *c = s->text; *c; c++)
            lines += *c == '\n';
        assert_true(lines <= 2);
        CLEANUP(kb_freep) char *again = cut_lines(s->text, l);
        assert_string_equal(again, s->text); // each line fits
        assert_false(text_begins(s->text, "，") || text_begins(s->text, "。"));
        assert_false(text_ends(s->text, "，") || text_ends(s->text, "。"));
    }
}

static void test_subtitles(void **state)
{
    CLEANUP(words_free)
    struct words w =
        speak("大家好，欢迎来到今天的课程。|我们将用三分钟，学会怎样用koubo制作口播视频。|"
              "首先准备一段语音，再准备一个人物的视频；然后点击开始，等待几分钟就可以了！");
    struct subtitle_track t = {0};
    struct kb_error err = {0};
    assert_ok(err, cut_words(&t, &w, &wide, &err));
    static const char *const wanted[] = {
        "大家好，欢迎来到今天的课程", "我们将用三分钟",       "学会怎样用koubo制作口播视频",
        "首先准备一段语音",           "再准备一个人物的视频", "然后点击开始，等待几分钟就可以了！"};
    assert_int_equal(t.n, ARRAY_LEN(wanted));
    for (size_t i = 0; i < t.n; i++)
        assert_string_equal(t.at[i].text, wanted[i]);
    assert_int_equal(t.at[0].start_us, 100000); // when the voice begins
    check_rules(&t, &wide);
    subtitle_track_clear(&t);
    assert_ok(err, cut_words(&t, &w, &narrow, &err));
    check_rules(&t, &narrow);
    subtitle_track_clear(&t);
    CLEANUP(words_free)
    struct words e = speak(
        "Hello everyone, and welcome to this course. |Today we learn how a video of three minutes "
        "is made from a text alone, with a voice and with lips that say it.");
    assert_ok(err, cut_words(&t, &e, &wide, &err));
    check_rules(&t, &wide);
    subtitle_track_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_subtitles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
