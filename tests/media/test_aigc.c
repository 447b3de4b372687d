// The implicit label: made, checked, written into films and read back by others' programs.
#include "films.h"

#include "media/aigc.h"
#include "media/copy.h"
#include "media/demux.h"
#include "media/writer.h"

#define ID "0123456789abcdef"

static void test_make(void **state)
{
    CLEANUP(kb_freep) char *json = aigc_make("001191440300708461136T1XGW3", ID);
    assert_string_equal(json,
                        "{\"Label\":\"1\",\"ContentProducer\":\"001191440300708461136T1XGW3\","
                        "\"ProduceID\":\"" ID "\",\"ReservedCode1\":\"\","
                        "\"ContentPropagator\":\"001191440300708461136T1XGW3\","
                        "\"PropagateID\":\"" ID "\",\"ReservedCode2\":\"\"}");
    CLEANUP(kb_freep) char *one = aigc_make(NULL, NULL);
    CLEANUP(kb_freep) char *other = aigc_make("a\"b\\\xff", NULL);
    struct aigc a, b;
    assert_true(aigc_parse(one, &a));
    assert_true(aigc_parse(other, &b));
    assert_string_equal(a.value[AIGC_CONTENT_PRODUCER], "koubo");
    assert_string_equal(b.value[AIGC_CONTENT_PRODUCER], "a\"b\\\ufffd");
    assert_int_equal(strlen(a.value[AIGC_PRODUCE_ID]), 32);
    assert_string_not_equal(a.value[AIGC_PRODUCE_ID], b.value[AIGC_PRODUCE_ID]);
    aigc_clear(&a);
    aigc_clear(&b);
}

static void test_check(void **state)
{
    static const struct {
        const char *json;
        int n; // problems; -1: no object of texts
        bool broken;
    } cases[] = {
        {"{\"Label\":\"1\",\"ContentProducer\":\"x\",\"ProduceID\":\"y\",\"ReservedCode1\":\"\","
         "\"ContentPropagator\":\"x\",\"PropagateID\":\"y\",\"ReservedCode2\":\"\"}",
         0, false},
        {"{\"AIGC\":{\"Label\":\"3\",\"ContentProducer\":\"x\",\"ProduceID\":\"y\","
         "\"ReservedCode1\":\"\",\"ContentPropagator\":\"\",\"ReservedCode2\":\"\"}}",
         2, false},
        {"{\"Label\":\"4\",\"ContentProducer\":\"\",\"ProduceID\":\"y\",\"ReservedCode1\":\"\","
         "\"ContentPropagator\":\"x\",\"PropagateID\":\"y\",\"ReservedCode2\":\"\",\"More\":\"\"}",
         3, true},
        {"{\"Label\":\"1\",\"ContentProducer\":\"\xe6\x88\x91\",\"ProduceID\":\"a b\","
         "\"ReservedCode1\":\"\",\"ContentPropagator\":\"x\",\"PropagateID\":\"y\","
         "\"ReservedCode2\":\"\"}",
         2, false},
        {"{}", 7, true},
        {"{\"Label\":1}", -1, true},
        {"{\"Label\":\"1\",\"Label\":\"2\"}", -1, true},
        {"[]", -1, true},
        {"", -1, true},
        {"{\"Label\":\"1\\u0000\"}", -1, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct aigc a;
        char *problems[AIGC_MAX_PROBLEMS];
        bool broken;
        bool parsed = aigc_parse(cases[i].json, &a);
        assert_int_equal(parsed, cases[i].n >= 0);
        if (!parsed)
            continue;
        int n = aigc_check(&a, problems, &broken);
        if (n != cases[i].n || broken != cases[i].broken)
            fail_msg("%s: %d problems, %s", cases[i].json, n, broken ? "broken" : "not broken");
        while (n > 0)
            free(problems[--n]);
        aigc_clear(&a);
    }
    struct kb_error err = {0};
    assert_ok(err, aigc_producer_check("--ai-producer", "我的公司", &err));
    assert_fails(err, KB_BAD_INPUT, "--ai-producer",
                 aigc_producer_check("--ai-producer", "", &err));
    assert_fails(err, KB_BAD_INPUT, "one line", aigc_producer_check("--ai-producer", "a\nb", &err));
}

// A film of two pictures with the label of ID, as the program writes it.
static const char *write_film(const char *name)
{
    struct kb_error err = {0};
    const char *path = make_path(name);
    CLEANUP(kb_freep) char *label = aigc_make("X1", ID);
    struct writer_params wp = {.width = 64,
                               .height = 48,
                               .frame_rate = {25, 1},
                               .crf = 18,
                               .threads = 1,
                               .comment = "{\"koubo\":1}",
                               .aigc = label,
                               .mark = "corner AI生成"};
    CLEANUP(writer_close) struct writer *w = NULL;
    assert_ok(err, writer_open(&w, path, &wp, &err));
    for (int i = 0; i < 2; i++) {
        CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
        f->format = AV_PIX_FMT_YUV420P;
        f->width = 64;
        f->height = 48;
        assert_int_equal(av_frame_get_buffer(f, 0), 0);
        for (int p = 0; p < 3; p++)
            memset(f->data[p], 128, (size_t)f->linesize[p] * (p ? 24 : 48));
        f->pts = i * 40000;
        assert_ok(err, writer_put(w, f, &err));
    }
    assert_ok(err, writer_finish(w, &err));
    return path;
}

static char *said_by(char *const argv[])
{
    const char *out = make_path("said.txt");
    size_t size;
    int fd = open(out, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    int status = run_program(argv, fd);
    close(fd);
    return status == 0 ? load_bytes(out, &size) : NULL;
}

// FFmpeg's ffprobe and ExifTool read back what was written, and what else the file says is as it
// was.
static void test_written(void **state)
{
    const char *path = write_film("written.mp4");
    CLEANUP(kb_freep) char *wanted = aigc_make("X1", ID);
    CLEANUP(kb_freep) char *probed = probe(path, "v", "format_tags=AIGC,comment,koubo_label");
    CLEANUP(kb_freep) char *all = kb_printf("{\"koubo\":1}\n%s\ncorner AI生成\n", wanted);
    CLEANUP(kb_freep) char *turned = kb_printf("%s\n{\"koubo\":1}\ncorner AI生成\n", wanted);
    if (strcmp(probed, all) != 0) // the order is FFmpeg's
        assert_string_equal(probed, turned);
    struct aigc_tags tags;
    struct kb_error err = {0};
    assert_ok(err, aigc_read(path, NULL, &tags, &err));
    assert_string_equal(tags.aigc, wanted);
    assert_string_equal(tags.mark, "corner AI生成");
    assert_string_equal(tags.comment, "{\"koubo\":1}");
    aigc_tags_clear(&tags);

    char *exiftool[] = {(char *)"exiftool", (char *)"-s3", (char *)"-Keys:AIGC", (char *)path,
                        NULL};
    CLEANUP(kb_freep) char *said = said_by(exiftool);
    if (!said)
        SKIP_TEST("there is no exiftool here");
    CLEANUP(kb_freep) char *line = kb_printf("%s\n", wanted);
    assert_string_equal(said, line);
}

static char *packets_of(const char *path)
{
    char *argv[] = {(char *)"ffmpeg", (char *)"-v",  (char *)"error", (char *)"-i",    (char *)path,
                    (char *)"-map",   (char *)"0:v", (char *)"-map",  (char *)"0:a?",  (char *)"-c",
                    (char *)"copy",   (char *)"-f",  (char *)"md5",   (char *)"pipe:", NULL};
    return said_by(argv);
}

// The label comes into a finished film of each format; not one packet changes, nor what it says.
static void test_copy(void **state)
{
    CLEANUP(kb_freep)
    char *film = kb_strdup(
        make_file("film.mp4",
                  "-f lavfi -i testsrc=s=64x48:d=0.4 -f lavfi -i sine=d=0.4 -c:v libx264 -c:a "
                  "aac -metadata title=T -metadata:s:a:0 language=chi -metadata:s:v:0 rotate=90"));
    CLEANUP(kb_freep) char *turned = probe(film, "v", "stream_side_data=rotation");
    static const char *const names[] = {"copy.mp4", "copy.mov", "copy.mkv"};
    CLEANUP(kb_freep) char *label = aigc_make("X1", ID);
    CLEANUP(kb_freep) char *before = packets_of(film);
    assert_non_null(before);
    struct kb_error err = {0};
    struct copied copied;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(kb_freep) char *path = kb_strdup(make_path(names[i]));
        assert_ok(err, copy_with_tag(film, path, AIGC_KEY, label, NULL, &copied, &err));
        assert_int_equal(copied.n_left, 0);
        struct aigc_tags tags;
        assert_ok(err, aigc_read(path, NULL, &tags, &err));
        assert_string_equal(tags.aigc, label);
        aigc_tags_clear(&tags);
        CLEANUP(kb_freep) char *after = packets_of(path);
        if (i != 2) // Matroska's own time stamps are coarser
            assert_string_equal(after, before);
        CLEANUP(kb_freep) char *said = probe(path, "a", "format_tags=title:stream_tags=language");
        assert_non_null(strstr(said, "chi"));
        assert_non_null(strstr(said, "T\n"));
        CLEANUP(kb_freep) char *still = probe(path, "v", "stream_side_data=rotation");
        if (i != 2) // Matroska of FFmpeg 5.1 does not keep it
            assert_string_equal(still, turned);
    }
    // Once more: the same label in the place of the first.
    CLEANUP(kb_freep) char *second = aigc_make("X2", ID);
    assert_ok(err, copy_with_tag(make_path("copy.mp4"), make_path("again.mp4"), AIGC_KEY, second,
                                 NULL, &copied, &err));
    CLEANUP(kb_freep) char *said = probe(make_path("again.mp4"), "v", "format_tags=AIGC");
    CLEANUP(kb_freep) char *line = kb_printf("%s\n", second);
    assert_string_equal(said, line);
}

// What cannot be copied says why and leaves nothing behind.
static void test_refused(void **state)
{
    struct kb_error err = {0};
    struct copied copied;
    CLEANUP(kb_freep)
    char *film =
        kb_strdup(make_file("plain.mp4", "-f lavfi -i testsrc=s=64x48:d=0.2 -c:v libx264"));
    CLEANUP(kb_freep) char *sound = kb_strdup(make_file("sound.wav", "-f lavfi -i sine=d=0.2"));
    CLEANUP(kb_freep)
    char *picture = kb_strdup(make_file("picture.png", "-f lavfi -i testsrc=s=64x48 -frames:v 1"));
    CLEANUP(kb_freep) char *text = kb_strdup(make_path("text.mp4"));
    int fd = open(text, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "not a film", 10), 10);
    close(fd);
    assert_fails(err, KB_BAD_INPUT, "h264",
                 copy_with_tag(film, make_path("x.webm"), AIGC_KEY, "{}", NULL, &copied, &err));
    assert_fails(err, KB_BAD_INPUT, "",
                 copy_with_tag(sound, make_path("x.mp4"), AIGC_KEY, "{}", NULL, &copied, &err));
    assert_fails(err, KB_BAD_INPUT, "not a video",
                 copy_with_tag(picture, make_path("x.mp4"), AIGC_KEY, "{}", NULL, &copied, &err));
    assert_fails(err, KB_BAD_INPUT, "",
                 copy_with_tag(text, make_path("x.mp4"), AIGC_KEY, "{}", NULL, &copied, &err));
    assert_fails(err, KB_NOT_FOUND, "",
                 copy_with_tag(make_path("no.mp4"), make_path("x.mp4"), AIGC_KEY, "{}", NULL,
                               &copied, &err));
    struct cancel cancel = {0};
    cancel_request(&cancel);
    assert_fails(err, KB_CANCELLED, "",
                 copy_with_tag(film, make_path("x.mp4"), AIGC_KEY, "{}", &cancel, &copied, &err));
    assert_int_not_equal(access(make_path("x.mp4"), F_OK), 0);
    assert_int_not_equal(access(make_path("x.mp4.part"), F_OK), 0);
    assert_int_not_equal(access(make_path("x.webm"), F_OK), 0);

    struct aigc_tags tags;
    assert_ok(err, aigc_read(sound, NULL, &tags, &err)); // no label, but it can be looked at
    assert_null(tags.aigc);
    assert_fails(err, KB_BAD_INPUT, "", aigc_read(text, NULL, &tags, &err));
    assert_null(tags.aigc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make), cmocka_unit_test(test_check),   cmocka_unit_test(test_written),
        cmocka_unit_test(test_copy), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
