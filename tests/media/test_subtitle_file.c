#include "../test.h"

#include "media/cues.h"
#include "media/subtitle_file.h"

static const char srt[] = "1\r\n00:00:03,000 --> 00:00:05,000\r\n第二句，<b>粗</b>\r\n两行\r\n\r\n"
                          "2\r\n00:00:00,500 --> 00:00:02,250\r\n第一句\r\n\r\n"
                          "3\r\n00:00:09,000 --> 00:00:08,000\r\n倒着的\r\n\r\n";
static const char vtt[] = "WEBVTT - title\n\nNOTE nothing\n\nSTYLE\n::cue { color: red }\n\n"
                          "one\n00:00.500 --> 00:02.250 line:80%\n第一句\n\n"
                          "00:03.000 --> 00:05.000\n<v Roger>第二句，粗\n两行\n";
static const char ass[] =
    "[Script Info]\nScriptType: v4.00+\nPlayResX: 1280\nPlayResY: 720\n\n[V4+ Styles]\n"
    "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, "
    "Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, "
    "Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n"
    "Style: Default,Sans,40,&H0000FFFF,&H0,&H0,&H0,0,0,0,0,100,100,0,0,1,2,0,2,10,10,40,1\n\n"
    "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:03.00,0:00:05.00,Default,,0,0,0,,{\\i1}第二句，粗\\N两行\n"
    "Dialogue: 0,0:00:00.50,0:00:02.25,Default,,0,0,0,,第一句\n";

static void check_two(const struct subtitle_file *f)
{
    assert_int_equal(f->track.n, 2);
    assert_int_equal(f->track.at[0].start_us, 500000);
    assert_int_equal(f->track.at[0].end_us, 2250000);
    assert_string_equal(f->track.at[0].text, "第一句");
    assert_int_equal(f->track.at[1].start_us, 3000000);
    assert_int_equal(f->track.at[1].end_us, 5000000);
    assert_string_equal(f->track.at[1].text, "第二句，粗\n两行");
}

static void test_formats(void **state)
{
    static const char *const files[][2] = {{srt, "srt"}, {vtt, "vtt"}, {ass, "ass"}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        CLEANUP(subtitle_file_clear) struct subtitle_file f = {0};
        struct kb_error err = {0};
        assert_ok(err,
                  subtitle_file_parse(&f, files[i][0], strlen(files[i][0]), files[i][1], &err));
        assert_string_equal(f.format, files[i][1]);
        assert_string_equal(f.encoding, "UTF-8");
        assert_int_equal(f.ass != NULL, i == 2);
        check_two(&f);
        assert_true(subtitle_file_begins((const uint8_t *)files[i][0], strlen(files[i][0])));
    }
    assert_false(subtitle_file_begins((const uint8_t *)"# a text\nname = 1\n", 18));
}

// What was written is read again, whatever stands in the texts.
static void test_round(void **state)
{
    struct subtitle_track t = {0};
    subtitle_add(&t, 500000, 2250000, "a < b & c --> d\n\n\nnext");
    subtitle_add(&t, 3723456000, 3725000400, "第二句");
    for (int k = 0; k < 2; k++) {
        CLEANUP(text_free) struct text out = {0};
        CLEANUP(subtitle_file_clear) struct subtitle_file f = {0};
        struct kb_error err = {0};
        (k ? subtitles_to_vtt : subtitles_to_srt)(&out, &t, 1000000);
        assert_ok(err, subtitle_file_parse(&f, out.data, out.size, "a", &err));
        assert_int_equal(f.track.n, 2);
        assert_int_equal(f.track.at[0].start_us, 1500000);
        assert_int_equal(f.track.at[1].start_us, 3724456000);
        assert_int_equal(f.track.at[1].end_us, 3726000000);
        assert_string_equal(f.track.at[0].text, "a < b & c → d\nnext");
    }
    CLEANUP(text_free) struct text out = {0};
    subtitles_to_srt(&out, &t, 0);
    assert_true(text_begins(out.data, "1\n00:00:00,500 --> 00:00:02,250\na < b & c → d\nnext\n\n2\n"
                                      "01:02:03,456 --> 01:02:05,000\n"));
    subtitle_track_clear(&t);
}

static void test_bad(void **state)
{
    static const char *const bad[][2] = {
        {"some text\nof two lines\n", "no file of subtitles"},
        {"1\n00:00:03,000 --> nowhere\ntext\n", "no subtitles"},
        {"WEBVTT\n\n", "no subtitles"},
        {"[Script Info]\n[Events]\n", "no subtitles"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct subtitle_file f;
        struct kb_error err = {0};
        assert_fails(err, KB_BAD_INPUT, bad[i][1],
                     subtitle_file_parse(&f, bad[i][0], strlen(bad[i][0]), "a", &err));
        assert_null(f.track.at);
    }
    struct subtitle_file f;
    struct kb_error err = {0};
    assert_fails(err, KB_NOT_FOUND, "/nowhere.srt", subtitle_file_read(&f, "/nowhere.srt", &err));
}

// What a film says of its subtitles is read back the same, and nothing else is.
static void test_tag(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"burned\":1,\"cues\":[[0,9,\"a\"]]}",
        "{\"burned\":true}",
        "{\"burned\":true,\"cues\":{}}",
        "{\"burned\":true,\"cues\":[[0,9]]}",
        "{\"burned\":true,\"cues\":[[0,9,\"\"]]}",
        "{\"burned\":true,\"cues\":[[-1,9,\"a\"]]}",
        "{\"burned\":true,\"cues\":[[5,9,\"a\"],[4,9,\"b\"]]}",
        "{\"burned\":true,\"cues\":[[0,99999999999999,\"a\"]]}",
        "{\"burned\":true,\"cues\":[[0,9,\"a\\u0000b\"]]}",
    };
    CLEANUP(subtitle_track_clear) struct subtitle_track t = {0}, back = {0};
    bool burned = false;
    assert_null(cues_tag(&t, true));
    assert_true(subtitle_add(&t, 0, 900000, "你好\n\"quoted\"") &&
                subtitle_add(&t, 900000, 2000000, "b"));
    CLEANUP(kb_freep) char *tag = cues_tag(&t, true);
    assert_true(cues_read_tag(&back, &burned, tag) && burned);
    assert_int_equal(back.n, 2);
    assert_string_equal(back.at[0].text, t.at[0].text);
    assert_int_equal(back.at[1].end_us, 2000000);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(subtitle_track_clear) struct subtitle_track none = {0};
        if (cues_read_tag(&none, &burned, bad[i]))
            fail_msg("'%s' is taken", bad[i]);
    }
    // More than it may be is not written, and not read.
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    for (int i = 0; i < 1100; i++)
        assert_true(subtitle_add(&t, 2000000 + i, 3000000, text));
    assert_null(cues_tag(&t, true));
    CLEANUP(kb_freep) char *large = kb_printf("%s%*s", tag, CUES_TAG_BYTES, "");
    assert_false(cues_read_tag(&back, &burned, large));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
