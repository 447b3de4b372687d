// What a film has beside its picture, and its subtitles on the way into an mp4.
#include "make.h"

#include "base/utf8.h"
#include "media/extras.h"
#include "media/writer.h"

static const char *make_srt(const char *name, const char *text)
{
    const char *path = make_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

// The same two subtitles out of each kind of text: style is gone, lines stay.
static void test_text(void **state)
{
    static const struct {
        const char *name, *codec;
    } cases[] = {{"srt.mkv", "srt"}, {"ass.mkv", "ass"}, {"text.mp4", "mov_text"}};
    const char *srt = make_srt("a.srt", "1\n00:00:00,500 --> 00:00:01,000\n<i>Hello</i> there\n\n"
                                        "2\n00:00:01,200 --> 00:00:01,800\n第二行\n{x} 字幕\n");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(extras_clear) struct extras e = {0};
        char options[900];
        snprintf(options, sizeof(options),
                 "-f lavfi -i testsrc2=s=64x48:d=2 -f lavfi -i sine=d=2 -i %s -map 0 -map 1 -map 1 "
                 "-map 2 -c:s %s -metadata:s:s:0 language=chi",
                 srt, cases[i].codec);
        const char *film = make_file(cases[i].name, options);
        CLEANUP(reader_close) struct reader *r = NULL;
        assert_ok(err, reader_open(&r, film, NULL, &err));
        assert_ok(err, extras_read(&e, film, reader_info(r)->start_us, NULL, &err));
        assert_int_equal(e.n_tracks, 1);
        assert_int_equal(e.n_sounds, 2);
        assert_int_equal(e.n_lost_subtitles, 0);
        assert_false(e.has_alpha);
        assert_string_equal(e.tracks[0].language, "chi");
        assert_int_equal(e.tracks[0].n, 2);
        const struct subtitle *s = e.tracks[0].at;
        assert_string_equal(s[0].text, "Hello there");
        assert_true(strncmp(s[1].text, "第二行\n", 10) == 0);
        assert_in_range(s[0].start_us, 499000, 501000);
        assert_in_range(s[0].end_us, 999000, 1001000);
        assert_in_range(s[1].start_us, 1199000, 1201000);
    }
}

// A long text ends with a whole character: of 3 bytes each, behind 2, 998 of 1000 are full.
static void test_long_text(void **state)
{
    struct kb_error err = {0};
    CLEANUP(extras_clear) struct extras e = {0};
    char text[1400] = "1\n00:00:00,100 --> 00:00:00,300\nab";
    for (int i = 0; i < 400; i++)
        strcat(text, "字");
    char options[900];
    snprintf(options, sizeof(options),
             "-f lavfi -i testsrc2=s=64x48:d=1 -i %s -map 0 -map 1 -c:s srt",
             make_srt("long.srt", text));
    assert_ok(err, extras_read(&e, make_file("long.mkv", options), 0, NULL, &err));
    assert_int_equal(e.n_tracks, 1);
    assert_int_equal(e.tracks[0].n, 1);
    assert_int_equal(strlen(e.tracks[0].at[0].text), 998);
    assert_true(utf8_valid(e.tracks[0].at[0].text));
}

// A time that does not fit into 64 bits is none.
static void test_garbage_time(void **state)
{
    struct kb_error err = {0};
    CLEANUP(extras_clear) struct extras e = {0};
    const char *srt = make_srt("late.srt", "1\n00:00:00,100 --> 00:00:00,300\nx\n");
    char options[900];
    snprintf(options, sizeof(options),
             "-f lavfi -i testsrc2=s=64x48:d=1 -itsoffset 4000000000000 -i %s -map 0 -map 1 -c:s "
             "srt",
             srt);
    size_t size;
    CLEANUP(kb_freep) char *data = load_bytes(make_file("late.mkv", options), &size);
    char *scale = memmem(data, size, "\x2a\xd7\xb1\x83", 4); // a millisecond, in nanoseconds
    assert_non_null(scale);
    memset(scale + 4, 0xff, 3); // 17
    assert_ok(err, extras_read(&e, make_bytes("never.mkv", data, size), 1, NULL, &err));
    assert_int_equal(e.n_tracks, 1);
    assert_int_equal(e.tracks[0].n, 0);
}

static void test_transparency(void **state)
{
    static const struct {
        const char *name, *options;
        bool expected;
    } cases[] = {
        {"clear.mov", "-f lavfi -i testsrc2=s=64x48:d=0.2,format=rgba -c:v qtrle", true},
        {"opaque.gif", "-f lavfi -i testsrc2=s=64x48:d=0.4", false},
        // Says that it has it: what does not change is left out.
        {"opaque.webp", "-f lavfi -i testsrc2=s=64x48:d=0.4 -c:v libwebp_anim -lossless 1", false},
        {"clear.webp", "-f lavfi -i testsrc2=s=64x48:d=0.4:alpha=99,format=rgba -c:v libwebp_anim",
         true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(extras_clear) struct extras e = {0};
        const char *path = make_file(cases[i].name, cases[i].options);
        assert_ok(err, extras_read(&e, path, 0, NULL, &err));
        if (e.has_alpha != cases[i].expected)
            fail_msg("%s: %d", cases[i].name, e.has_alpha);
    }
}

static void test_what_is_lost(void **state)
{
    struct kb_error err = {0};
    CLEANUP(extras_clear) struct extras e = {0};
    const char *clear = make_file("clear.mov", "-f lavfi -i testsrc2=s=64x48:d=0.2,format=rgba "
                                               "-c:v qtrle");
    assert_ok(err, extras_read(&e, clear, 0, NULL, &err));
    assert_true(e.has_alpha);
    assert_int_equal(e.n_tracks + e.n_sounds + e.n_lost_subtitles, 0);
    // More tracks than there is room for.
    CLEANUP(extras_clear) struct extras many = {0};
    const char *srt = make_srt("b.srt", "1\n00:00:00,100 --> 00:00:00,300\nx\n");
    char options[900];
    snprintf(options, sizeof(options),
             "-f lavfi -i testsrc2=s=64x48:d=1 -i %s -map 0 -map 1 -map 1 -map 1 -map 1 -map 1 "
             "-map 1 -map 1 -map 1 -map 1 -c:s srt",
             srt);
    assert_ok(err, extras_read(&many, make_file("many.mkv", options), 0, NULL, &err));
    assert_int_equal(many.n_tracks, EXTRAS_MAX_TRACKS);
    assert_int_equal(many.n_lost_subtitles, 1);
    struct extras none = {0};
    assert_fails(err, KB_NOT_FOUND, "cannot open", extras_read(&none, "/no/such", 0, NULL, &err));
}

static void test_written(void **state)
{
    struct kb_error err = {0};
    struct subtitle one[] = {{40000, 200000, (char *)"eins"}, {200000, 360000, (char *)"zwei 二"}};
    struct subtitle_track tracks[] = {{"ger", one, 2}, {"", one + 1, 1}};
    const char *path = make_path("captions.mp4");
    struct writer_params params = {.width = 64,
                                   .height = 48,
                                   .frame_rate = {25, 1},
                                   .crf = 18,
                                   .threads = 1,
                                   .subtitles = tracks,
                                   .n_subtitles = 2};
    CLEANUP(writer_close) struct writer *w = NULL;
    assert_ok(err, writer_open(&w, path, &params, &err));
    for (int i = 0; i < 12; i++) {
        CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
        f->format = AV_PIX_FMT_YUV420P;
        f->width = 64;
        f->height = 48;
        assert_int_equal(av_frame_get_buffer(f, 0), 0);
        for (int plane = 0; plane < 3; plane++)
            memset(f->data[plane], 90 + i, (size_t)f->linesize[plane] * (plane ? 24 : 48));
        f->pts = i * 40000;
        FRAME_DURATION(f) = 40000;
        assert_ok(err, writer_put(w, f, &err));
    }
    assert_ok(err, writer_finish(w, &err));
    CLEANUP(extras_clear) struct extras back = {0};
    assert_ok(err, extras_read(&back, path, 0, NULL, &err));
    assert_int_equal(back.n_tracks, 2);
    assert_string_equal(back.tracks[0].language, "ger");
    assert_int_equal(back.tracks[0].n, 2);
    assert_int_equal(back.tracks[1].n, 1);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(back.tracks[0].at[i].text, one[i].text);
        assert_int_equal(back.tracks[0].at[i].start_us, one[i].start_us);
        assert_int_equal(back.tracks[0].at[i].end_us, one[i].end_us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),         cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_garbage_time), cmocka_unit_test(test_transparency),
        cmocka_unit_test(test_what_is_lost), cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
