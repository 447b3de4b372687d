// Bad input gets one sentence, an exit code, and nothing is left behind.
#include "tests/cli/program.h"

#include "base/file.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// generate -q with these files must fail so.
static void fails(int status, const char *audio, const char *video, const char *output,
                  const char *says)
{
    struct outcome r = {0};
    RUN(&r, "generate", "-q", "-a", audio, "-i", video, "-o", output);
    if (r.status != status || !strstr(r.err, says) || count_lines(r.err) != 1)
        fail_msg("exit code %d, wanted %d and one line with '%s':\n%s", r.status, status, says,
                 r.err);
    assert_string_equal(r.out, "");
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void files_that_are_not_there_or_empty(void **state)
{
    const char *tone = make_tone("tone.wav", 1), *video = make_faceless_video("v.mp4", 25);
    const char *out = in_folder("out.mp4"), *empty = make_text_file("empty.mp4", "");
    fails(3, in_folder("none.wav"), video, out, "none.wav");
    fails(3, tone, in_folder("none.mp4"), out, "none.mp4");
    fails(3, empty, video, out, "empty.mp4");
    fails(3, tone, empty, out, "empty.mp4");
    fails(3, tone, in_folder("tmp"), out, "tmp");
    assert_false(file_exists(out));
}

static void files_of_another_kind(void **state)
{
    const char *tone = make_tone("tone.wav", 1), *video = make_faceless_video("v.mp4", 25);
    const char *out = in_folder("out.mp4");
    fails(3, video, video, out, "no sound");
    fails(3, tone, tone, out, "no picture");
    fails(3, make_text_file("renamed.wav", "This is a letter, not a sound.\n"), video, out,
          "renamed.wav");
    fails(3, tone, make_text_file("renamed.mp4", "<!doctype html><p>Not found</p>\n"), out,
          "renamed.mp4");
    fails(3, tone, make_cut("cut.mp4", video, 300), out, "cut.mp4");
    fails(3, make_tone("short.wav", 0.01), video, out, "");
    fails(3, make_cut("cut.wav", tone, 20), video, out, "cut.wav");
    assert_false(file_exists(out));
}

// What is opened only once the track is there is looked at before: the video has no face, and that
// is not what is said.
static void what_is_needed_only_later(void **state)
{
    CLEANUP(kb_freep) char *tone = kb_strdup(make_tone("tone.wav", 1));
    CLEANUP(kb_freep) char *video = kb_strdup(make_faceless_video("v.mp4", 25));
    CLEANUP(kb_freep) char *letter = kb_strdup(make_text_file("letter.png", "No picture.\n"));
    CLEANUP(kb_freep) char *cut = kb_strdup(make_cut("half.mp4", video, 300));
    CLEANUP(kb_freep) char *gone = kb_strdup(in_folder("gone"));
    const struct {
        const char *option, *file, *more, *more_value;
    } table[] = {
        {"--background", gone, NULL, NULL},   {"--background", letter, NULL, NULL},
        {"--logo", gone, NULL, NULL},         {"--logo", letter, "--crop", "9:16"},
        {"--intro", gone, NULL, NULL},        {"--outro", cut, NULL, NULL},
        {"--music", video, NULL, NULL}, // has no sound
        {"--subtitles", gone, NULL, NULL},    {"--subtitles", letter, "--subtitles-as", "srt"},
        {"--mouth-from", letter, NULL, NULL}, {"--style-from", gone, NULL, NULL},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        RUN(&r, "generate", "-q", "--no-cache", "-a", tone, "-i", video, "-o", in_folder("out.mp4"),
            table[i].option, table[i].file, table[i].more, table[i].more_value);
        assert_status(&r, 3);
        assert_says(r.err, table[i].option);
        assert_says(r.err, path_name(table[i].file));
        assert_int_equal(count_lines(r.err), 1);
    }
    // Before a text is spoken, too, which may cost money.
    RUN(&r, "generate", "-v", "--text", "Hello. Hello.", "-i", video, "-o", in_folder("out.mp4"),
        "--logo", gone);
    assert_status(&r, 3);
    assert_says(r.err, "the logo (--logo)");
    assert_null(strstr(r.err, "espeak"));
    RUN(&r, "generate", "-q", "-a", tone, "-i", video, "-o", in_folder("out.mp4"), "--crop", "1:4",
        "--crop-zoom", "3");
    assert_status(&r, 3);
    assert_says(r.err, "--crop");
    assert_false(file_exists(in_folder("out.mp4")));
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

// The network that finds people is a file of its own.
static void a_network_that_is_broken(void **state)
{
    CLEANUP(kb_freep) char *tone = kb_strdup(make_tone("tone.wav", 1));
    CLEANUP(kb_freep) char *video = kb_strdup(make_faceless_video("v.mp4", 25));
    CLEANUP(kb_freep) char *before = kb_strdup(getenv("KOUBO_MODELS"));
    struct kb_error err = {0};
    struct outcome r = {0};
    // Those that are not there are looked for elsewhere.
    assert_ok(err, file_make_dirs(in_folder("models/face"), &err));
    make_text_file("models/face/selfie_segmentation.tflite", "no network");
    make_text_file("models/face/selfie_segmentation_landscape.tflite", "no network");
    assert_int_equal(setenv("KOUBO_MODELS", in_folder("models"), 1), 0);
    RUN(&r, "generate", "-q", "-a", tone, "-i", video, "-o", in_folder("out.mp4"), "--background",
        "blur");
    assert_int_equal(setenv("KOUBO_MODELS", before, 1), 0);
    assert_status(&r, 3);
    assert_says(r.err, "selfie_segmentation");
    free(r.out);
    free(r.err);
}

static void a_video_without_a_face(void **state)
{
    const char *tone = make_tone("tone.wav", 1), *video = make_faceless_video("v.mp4", 25);
    fails(3, tone, video, in_folder("out.mp4"), "no face");
    assert_false(file_exists(in_folder("out.mp4")));
}

static void outputs_that_cannot_be(void **state)
{
    const char *tone = make_tone("tone.wav", 1), *video = make_faceless_video("v.mp4", 25);
    fails(3, tone, video, in_folder("missing/out.mp4"), "missing");
    fails(3, tone, video, in_folder("tmp"), "tmp");
    fails(3, tone, video, video, "also an input");
    fails(3, tone, video, tone, "also an input");
    fails(3, tone, video, make_text_file("there.mp4", "precious"), "-y");
    // A folder that nobody can write to, not even root.
    fails(3, tone, video, "/proc/out.mp4", "/proc");
    struct file_map map = {0};
    struct kb_error err = {0};
    assert_ok(err, file_map(&map, in_folder("there.mp4"), &err));
    assert_int_equal(map.size, 8);
    file_unmap(&map);
}

static void models_of_another_network(void **state)
{
    static const struct {
        const char *model, *says;
    } table[] = {
        {"tests/golden/pth_nested_zip.pth", "pth_nested_zip.pth"},
        {"models/face/face_landmark_attention.tflite", "face_landmark_attention.tflite"},
        {"README.md", "README.md"},
        {"models/none.pth", "none.pth"},
    };
    const char *tone = make_tone("tone.wav", 1), *video = make_faceless_video("v.mp4", 25);
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        RUN(&r, "generate", "-q", "-a", tone, "-i", video, "-o", in_folder("out.mp4"), "--model",
            source_path(table[i].model));
        assert_status(&r, 3);
        assert_says(r.err, table[i].says);
        assert_int_equal(count_lines(r.err), 1);
        assert_nothing_half_done();
    }
    free(r.out);
    free(r.err);
}

// A name reaches its file if the sentence about a missing face or sound says so.
static void unusual_names(void **state)
{
    static const char *const names[] = {"with space", "说话的人", "it's \"quoted\"",
                                        "-dash",      "%d",       "a:b",
                                        "new\\nline", "file:x",   "*?[a]"};
    char before[1024];
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(in_folder("")), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char sound[128], video[128], out[128];
        snprintf(sound, sizeof(sound), "%s.wav", names[i]);
        snprintf(video, sizeof(video), "%s.mp4", names[i]);
        snprintf(out, sizeof(out), "%s out.mp4", names[i]);
        make_tone(sound, 0.5);
        make_faceless_video(video, 12);
        fails(3, sound, video, out, "no face");
        fails(3, video, video, out, "no sound");
    }
    assert_int_equal(chdir(before), 0);
}

static void speech_that_cannot_be_spoken(void **state)
{
    const char *video = make_faceless_video("v.mp4", 25);
    struct outcome r = {0};
    RUN(&r, "generate", "-q", "--text", "", "-i", video, "-o", in_folder("out.mp4"));
    assert_status(&r, 3);
    assert_int_equal(count_lines(r.err), 1);
    RUN(&r, "generate", "-q", "--text", "hello", "--voice", "xx-none", "-i", video, "-o",
        in_folder("out.mp4"));
    assert_status(&r, 3);
    assert_says(r.err, "xx-none");
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

// A file of voices that others can read is not read; espeak-ng's voices need none.
static void voices_that_others_can_read(void **state)
{
    struct outcome r = {0};
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *before = kb_strdup(getenv("XDG_CONFIG_HOME"));
    CLEANUP(kb_freep) char *sound = kb_strdup(in_folder("said.wav"));
    assert_ok(err, file_make_dirs(in_folder("config/koubo"), &err));
    make_text_file(
        "config/koubo/voices.json",
        "[{\"name\": \"alloy\", \"kind\": \"openai\", \"url\": \"http://127.0.0.1:1\"}]");
    assert_int_equal(chmod(in_folder("config/koubo/voices.json"), 0644), 0);
    assert_int_equal(setenv("XDG_CONFIG_HOME", in_folder("config"), 1), 0);
    RUN(&r, "voice", "say", "Hello.", "--voice", "en", "-o", sound);
    assert_status(&r, 0);
    assert_says(r.err, "chmod 600");
    assert_says(r.err, "espeak-ng speaks");
    assert_true(file_exists(sound));
    RUN(&r, "voice", "say", "Hello.", "--voice", "alloy", "-o", in_folder("other.wav"));
    assert_status(&r, 3);
    assert_says(r.err, "chmod 600");
    assert_null(strstr(r.err, "espeak-ng"));
    assert_int_equal(setenv("XDG_CONFIG_HOME", before, 1), 0);
    free(r.out);
    free(r.err);
}

static void other_commands(void **state)
{
    const char *video = make_faceless_video("v.mp4", 25), *text = make_text_file("t.mp4", "text");
    const char *there = make_text_file("there.safetensors", "precious");
    const struct {
        const char *arguments[10];
        int status;
        const char *says;
    } table[] = {
        {{"batch", "-q", "-a", in_folder("none.wav"), video, "-o", in_folder("o")}, 3, "none.wav"},
        {{"batch", "-q", "-a", video, video, "-o", in_folder("o")}, 3, "no sound"},
        {{"batch", "-q", "-a", "x", in_folder("tmp"), "-o", in_folder("o")}, 3, "tmp"},
        {{"preprocess", "-q", in_folder("none.mp4"), "-o", in_folder("p")}, 3, "none.mp4"},
        {{"preprocess", "-q", text, "-o", in_folder("p")}, 3, "t.mp4"},
        {{"preprocess", "-q", video, text, "-o", in_folder("p")}, 6, "t.mp4"},
        {{"preprocess", "-q", video, "-o", "/proc/p"}, 3, "/proc/p"},
        {{"eval", "-q", "--truth", in_folder("none.mp4"), video}, 3, "none.mp4"},
        {{"eval", "-q", "--truth", video, text}, 3, ""},
        {{"eval", "-q", "--truth", video, video}, 3, "face"},
        {{"model", "info", text}, 3, "t.mp4"},
        {{"model", "info", in_folder("none.pth")}, 3, "none.pth"},
        {{"model", "convert", text, in_folder("x.safetensors")}, 3, "t.mp4"},
        {{"model", "convert", text, in_folder("x.pth")}, 3, "x.pth"},
        {{"model", "convert", there, there, "-y"}, 3, "also an input"},
        {{"model", "convert", text, there}, 3, "-y"},
        {{"model", "quantize", "koubo-lips", "-i", text, "-o", there}, 3, "-y"},
        {{"model", "quantize", "koubo-lips", "-i", text, "-o", "x.json"}, 3, ".safetensors"},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        program_run(&r, table[i].arguments);
        assert_status(&r, table[i].status);
        assert_says(r.err, table[i].says);
        assert_nothing_half_done();
    }
    assert_false(file_exists(in_folder("x.safetensors")));
    free(r.out);
    free(r.err);
}

// An mp4 that is called avi opens in nobody's player.
static void a_name_of_another_format(void **state)
{
    static const struct {
        const char *name;
        bool good;
    } table[] = {
        {"o.avi", false}, {"o.mov", false}, {"o.mkv", false}, {"o", false},    {"o.d/x", false},
        {".mp4", false},  {"o.mp4", true},  {"O.MP4", true},  {"o.m4v", true}, {"o.mp4.avi", false},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        RUN(&r, "generate", "-q", "-a", "none.wav", "-i", "none.mp4", "-o", table[i].name);
        assert_status(&r, 3);
        assert_true(!strstr(r.err, "does not end in .mp4") == table[i].good);
    }
    RUN(&r, "generate", "-q", "-a", "none.wav", "-i", "none.mp4", "-o", "d/影片.avi");
    assert_says(r.err, "'影片.mp4'");
    free(r.out);
    free(r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_of_another_format),
        cmocka_unit_test(files_that_are_not_there_or_empty),
        cmocka_unit_test(files_of_another_kind),
        cmocka_unit_test(what_is_needed_only_later),
        cmocka_unit_test(a_network_that_is_broken),
        cmocka_unit_test(a_video_without_a_face),
        cmocka_unit_test(outputs_that_cannot_be),
        cmocka_unit_test(models_of_another_network),
        cmocka_unit_test(unusual_names),
        cmocka_unit_test(speech_that_cannot_be_spoken),
        cmocka_unit_test(voices_that_others_can_read),
        cmocka_unit_test(other_commands),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
