// Whole jobs with the built program.
#include "tests/cli/program.h"

#include "base/file.h"
#include "base/text.h"
#include "cli/pairs.h"
#include "media/demux.h"
#include "media/reader.h"
#include "nn/import/import.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

// The video that most tests drive: 256 rows, one second, made once.
static const char *talking(void)
{
    const char *path = in_folder("talking.mp4");
    return file_exists(path) ? path : make_talking_video("talking.mp4");
}

static const char *speech(void)
{
    const char *path = in_folder("speech.wav");
    return file_exists(path) ? path : make_speech("speech.wav");
}

static void assert_video(const char *path, int height)
{
    struct kb_error err = {0};
    struct reader *reader = NULL;
    AVFrame *frame = NULL;
    assert_ok(err, reader_open(&reader, path, &(struct reader_params){0}, &err));
    assert_int_equal(reader_info(reader)->height, height);
    assert_ok(err, reader_next(reader, &frame, &err));
    av_frame_free(&frame);
    reader_close(&reader);
}

// The first picture of a .mov has nothing in its upper right corner.
static void assert_clear_corner(const char *path)
{
    struct kb_error err = {0};
    struct demux film = {0};
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    uint16_t alpha;
    assert_ok(err, demux_open(&film, path, AVMEDIA_TYPE_VIDEO, NULL, &err));
    assert_ok(err, demux_open_decoder(&film, 1, &err));
    assert_ok(err, demux_decode(&film, f, &err));
    assert_non_null(f->data[3]);
    memcpy(&alpha, f->data[3] + 2 * (f->width - 4), sizeof(alpha));
    assert_in_range(alpha, 0, 20);
    demux_close(&film);
}

#define SAY(wanted, ...)                                                                           \
    do {                                                                                           \
        struct outcome said = {0};                                                                 \
        RUN(&said, __VA_ARGS__);                                                                   \
        assert_status(&said, wanted);                                                              \
        free(said.out);                                                                            \
        free(said.err);                                                                            \
    } while (0)

// Kept under a name, written into a file, and used from both; what options say holds.
static void a_person_in_place_of_a_video(void **state)
{
    struct outcome r = {0};
    CLEANUP(kb_freep) char *data = kb_strdup(in_folder("people"));
    CLEANUP(kb_freep) char *file = kb_strdup(in_folder("anna.koubo"));
    SAY(0, "person", "add", "安娜", talking(), "--option", "height=128", "--data", data);
    SAY(3, "person", "add", "安娜", talking(), "--data", data);
    SAY(3, "person", "add", "b", talking(), "--option", "height=-1", "--data", data);
    SAY(0, "person", "export", "安娜", "-o", file, "--data", data);
    SAY(3, "person", "export", "安娜", "-o", file, "--data", data); // it is there
    SAY(0, "person", "import", file, "--name", "Anna", "--data", data);
    SAY(0, "person", "rename", "安娜", "b", "--data", data);
    SAY(3, "person", "import", talking(), "--data", data);
    RUN(&r, "person", "list", "--data", data);
    assert_status(&r, 0);
    assert_says(r.out, "Anna");
    assert_says(r.out, "talking.mp4");
    assert_null(strstr(r.out, "安娜"));
    free(r.out);
    free(r.err);

    CLEANUP(kb_freep) char *out = kb_strdup(in_folder("person.mp4"));
    SAY(0, "generate", "-a", speech(), "--person", "Anna", "--data", data, "-o", out, "--duration",
        "0.3");
    assert_video(out, 128);
    SAY(0, "generate", "-a", speech(), "--height", "96", "--person=安娜.koubo", "--help");
    SAY(0, "generate", "-a", speech(), "--height", "96", "--person", file, "-o", out, "--duration",
        "0.3", "-y");
    assert_video(out, 96);
    SAY(2, "generate", "-a", speech(), "-i", talking(), "--person", file, "-o", out, "-y");
    // Of two that exclude each other what is said holds.
    SAY(0, "person", "add", "blurred", talking(), "--option", "background=blur", "--option",
        "bitrate=source", "--option", "height=64", "--data", data);
    r = (struct outcome){0};
    RUN(&r, "generate", "-a", speech(), "--person", "blurred", "--data", data, "--alpha", "mov",
        "--crf", "40", "-o", in_folder("clear.mov"), "--duration", "0.1");
    assert_status(&r, 0);
    assert_says(r.err, "the background that the person was saved with is left out");
    assert_clear_corner(in_folder("clear.mov"));
    SAY(2, "generate", "-a", speech(), "--person", "blurred", "--data", data, "--alpha", "mov",
        "--background", "blur", "-o", in_folder("both.mov"));
    SAY(2, "generate", "-a", speech(), "--person", "blurred", "--data", data, "--crf", "40",
        "--bitrate", "source", "-o", out, "-y");
    SAY(0, "person", "add", "clear", talking(), "--option", "alpha=mov", "--option", "height=64",
        "--data", data);
    SAY(0, "generate", "-a", speech(), "--person", "clear", "--data", data, "--background",
        "#ff0000", "-o", out, "-y", "--duration", "0.1");
    free(r.out);
    free(r.err);
    SAY(3, "generate", "-a", speech(), "--person", "nobody", "--data", data, "-o", out, "-y");
    SAY(0, "person", "remove", "Anna", "--data", data);
    SAY(3, "person", "show", "Anna", "--data", data);
    assert_nothing_half_done();
}

static void generate_with_every_option(void **state)
{
    struct outcome r = {0};
    const char *out = in_folder("every.mp4");
    RUN(&r, "generate", "-a", speech(), "-i", talking(), "-o", out, "--start", "0.2", "--duration",
        "00:00:00.5", "--height", "128", "--face", "1", "--loop", "restart", "--keep-video",
        "--pads", "0", "10", "0", "0", "--nosmooth", "--mask-feather", "0.1", "--mask-dilate",
        "0.05", "--sharpen", "0.5", "--denoise", "--loudnorm", "--crf", "30", "--preset",
        "ultrafast", "--model", "koubo-lips", "--precision", "f32", "--batch-size", "2",
        "--threads", "2", "--no-cache", "--progress", "lines", "-v", "-y");
    assert_status(&r, 0);
    assert_says(r.err, "loading models");
    assert_says(r.err, "koubo-lips runs in f32");
    assert_says(r.err, "generating");
    assert_says(r.err, "every.mp4");
    assert_video(out, 128);
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void options_in_other_forms(void **state)
{
    static const char *const pads[] = {"--pads=0 10 0 0", "--pads=0,10,0,0"};
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(pads); i++) {
        RUN(&r, "generate", "-a", speech(), "-i", talking(), pads[i], "--duration", "0.2",
            "--bitrate", "source", "-q", "-y", in_folder("forms.mp4"));
        assert_status(&r, 0);
        assert_string_equal(r.err, "");
    }
    free(r.out);
    free(r.err);
}

// Every line is an object; every stage appears, the loading of the model first.
static void progress_as_json(void **state)
{
    static const char *const stages[] = {"loading",    "audio",     "preprocessing",
                                         "generating", "finishing", "done"};
    struct outcome r = {0};
    bool seen[ARRAY_LEN(stages)] = {false};
    RUN(&r, "generate", "-a", speech(), "-i", talking(), "-o", in_folder("json.mp4"), "--duration",
        "0.5", "--progress", "json", "--no-cache", "-y");
    assert_status(&r, 0);
    int n = 0;
    char *rest = NULL;
    for (char *line = strtok_r(r.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++) {
        json_error_t error;
        json_t *object = json_loads(line, 0, &error);
        if (!json_is_object(object))
            fail_msg("not a JSON object: %s (%s)", line, error.text);
        const char *stage = json_string_value(json_object_get(object, "stage"));
        assert_non_null(stage);
        if (n == 0)
            assert_string_equal(stage, "loading");
        for (size_t i = 0; i < ARRAY_LEN(stages); i++)
            seen[i] |= strcmp(stage, stages[i]) == 0;
        if (strcmp(stage, "done") != 0) {
            assert_true(json_is_integer(json_object_get(object, "done")));
            assert_true(json_is_integer(json_object_get(object, "total")));
            assert_true(json_is_number(json_object_get(object, "fps")));
            assert_true(json_is_number(json_object_get(object, "eta_s")));
        }
        json_decref(object);
    }
    for (size_t i = 0; i < ARRAY_LEN(stages); i++)
        if (!seen[i])
            fail_msg("no line of the stage '%s'", stages[i]);
    free(r.out);
    free(r.err);
}

static void text_instead_of_a_file(void **state)
{
    struct outcome r = {0};
    RUN(&r, "generate", "--text", "你好", "--voice", "zh", "-i", talking(), "-o",
        in_folder("text.mp4"), "-q");
    assert_status(&r, 0);
    assert_video(in_folder("text.mp4"), 256);

    // Of a batch it is spoken once there is a video to say it, and then once for all of them.
    const char *before = getenv("XDG_CONFIG_HOME");
    CLEANUP(kb_freep) char *kept = kb_strdup(before), *asked = kb_strdup(in_folder("asked"));
    setenv("XDG_CONFIG_HOME", in_folder("config"), 1);
    RUN(&r, "voice", "add", "told", "--kind", "command", "--", "cp", "{text_file}", asked);
    assert_status(&r, 0);
    const char *bad = make_text_file("bad.mp4", "not a video");
    RUN(&r, "batch", "-q", "--text", "Good morning", "--voice", "told", bad, "-o",
        in_folder("texts"));
    assert_status(&r, 6);
    assert_says(r.out, "0 done, 0 failed, 0 cancelled, 1 skipped");
    assert_false(file_exists(asked));
    RUN(&r, "batch", "-q", "--text", "Good morning", "--voice", "told", talking(), bad, "-o",
        in_folder("texts"));
    assert_status(&r, 5); // what cp says is no sound
    assert_true(file_exists(asked));
    if (kept)
        setenv("XDG_CONFIG_HOME", kept, 1);
    else
        unsetenv("XDG_CONFIG_HOME");
    RUN(&r, "batch", "-q", "--text", "Good morning", "--voice", "nobodys", talking(), "-o",
        in_folder("texts"));
    assert_status(&r, 3);
    RUN(&r, "batch", "-q", "--text", "Good morning", "--voice", "en", "--duration", "0.4",
        "--subtitles", "text", "--subtitles-as", "srt", bad, talking(), "-o", in_folder("texts"));
    assert_status(&r, 6);
    assert_video(in_folder("texts/talking.mp4"), 256);
    struct kb_error err = {0};
    struct file_map map = {0};
    assert_ok(err, file_map(&map, in_folder("texts/talking.srt"), &err));
    assert_non_null(memmem(map.data, map.size, "Good", 4));
    file_unmap(&map);
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void unusual_names_from_end_to_end(void **state)
{
    char before[1024];
    assert_non_null(getcwd(before, sizeof(before)));
    const char *video = talking(), *sound = speech();
    assert_int_equal(chdir(in_folder("")), 0);
    make_cut("-说 \"video\".mp4", video, 1 << 30);
    make_cut("-it's sound.wav", sound, 1 << 30);
    struct outcome r = {0};
    RUN(&r, "generate", "-q", "-a", "-it's sound.wav", "-i=-说 \"video\".mp4", "--duration", "0.2",
        "--", "-out 结果.mp4");
    assert_status(&r, 0);
    assert_true(file_exists("./-out 结果.mp4"));
    assert_int_equal(chdir(before), 0);
    free(r.out);
    free(r.err);
}

// Films and outputs with names of 252 and 255 bytes, Chinese and other.
static void the_longest_names(void **state)
{
    struct outcome r = {0};
    char chinese[256] = "", plain[256] = "", wanted[320];
    for (int i = 0; i < 83; i++)
        strcat(chinese, "\xe5\xa5\xbd");
    strcat(chinese, ".ts");
    memset(plain, 'x', 252);
    strcpy(plain + 252, ".ts"); // for "….mp4" a byte too long
    char out[300];
    snprintf(out, sizeof(out), "%.249s.mp4", chinese);
    struct kb_error err = {0};
    assert_ok(err, file_make_dirs(in_folder("long"), &err));
    const char *films[] = {make_cut(chinese, talking(), 1 << 30),
                           make_cut(plain, talking(), 1 << 30)};
    RUN(&r, "generate", "-q", "-a", speech(), "-i", films[0], "-o", in_folder(out), "--duration",
        "0.4");
    assert_status(&r, 0);
    assert_video(in_folder(out), 256);
    RUN(&r, "batch", "-q", "-a", speech(), films[0], films[1], "-o", in_folder("long"),
        "--duration", "0.4");
    assert_status(&r, 0);
    snprintf(wanted, sizeof(wanted), "long/%s", out);
    assert_video(in_folder(wanted), 256);
    snprintf(wanted, sizeof(wanted), "long/%.251s.mp4", plain);
    assert_video(in_folder(wanted), 256);
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void batch(void **state)
{
    struct outcome r = {0};
    const char *one = talking(), *two = in_folder("more/talking.mp4");
    struct kb_error err = {0};
    assert_ok(err, file_make_dirs(in_folder("more"), &err));
    make_cut("more/talking.mp4", one, 1 << 30);
    const char *bad = make_text_file("bad.mp4", "not a video");
    const char *out = in_folder("outputs");

    RUN(&r, "batch", "-a", speech(), one, bad, two, "-o", out, "--duration", "0.4");
    assert_status(&r, 6);
    assert_says(r.out, "2 done, 0 failed, 0 cancelled, 1 skipped");
    assert_says(r.out, "bad.mp4");
    assert_video(in_folder("outputs/talking.mp4"), 256);
    assert_video(in_folder("outputs/talking-2.mp4"), 256);
    assert_false(file_exists(in_folder("outputs/bad.mp4")));

    RUN(&r, "batch", "-a", speech(), one, two, "-o", out, "--duration", "0.4");
    assert_status(&r, 0);
    assert_says(r.out, "0 done, 0 failed, 0 cancelled, 2 skipped");
    RUN(&r, "batch", "-a", speech(), "-i", in_folder("more"), "-o", out, "--force", "--duration",
        "0.4");
    assert_status(&r, 0);
    assert_says(r.out, "1 done, 0 failed, 0 cancelled, 0 skipped");
    // A video that opens and then has no face is tried, and fails.
    const char *faceless = make_faceless_video("faceless.mp4", 5);
    RUN(&r, "batch", "-q", "-a", speech(), faceless, "-o", out);
    assert_status(&r, 6);
    assert_says(r.out, "Failed  faceless.mp4");
    assert_says(r.out, "0 done, 1 failed, 0 cancelled, 0 skipped");
    // The folder of the videos themselves.
    RUN(&r, "batch", "-q", "-a", speech(), two, "-o", in_folder("more"), "--force");
    assert_status(&r, 6);
    assert_says(r.out, "replace its own video");
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

// Several speeches: each with each, by name, and from a list whose wrong lines stop nothing.
static void batch_of_pairs(void **state)
{
    struct outcome r = {0};
    struct kb_error err = {0};
    assert_ok(err, file_make_dirs(in_folder("pairs"), &err));
    const char *one = make_cut("pairs/01.wav", speech(), 1 << 30);
    const char *two = make_cut("pairs/2.wav", speech(), 1 << 30);
    const char *film = make_cut("pairs/teacher_01.mp4", talking(), 1 << 30);

    RUN(&r, "batch", "-q", "-a", one, "-a", two, film, "-o", in_folder("each"), "--duration",
        "0.2");
    assert_status(&r, 0);
    assert_says(r.out, "teacher_01.mp4 + 2.wav");
    assert_video(in_folder("each/teacher_01_01.mp4"), 256);
    assert_video(in_folder("each/teacher_01_2.mp4"), 256);
    RUN(&r, "batch", "-a", two, "-a", one, "--pair", "name", film, "-o", in_folder("named"),
        "--duration", "0.2");
    assert_status(&r, 0);
    assert_says(r.err, "'teacher_01.mp4' says '01.wav'");
    assert_says(r.err, "no video fits the speech '2.wav'");
    assert_says(r.out, "1 done, 0 failed, 0 cancelled, 0 skipped");
    assert_video(in_folder("named/teacher_01.mp4"), 256);
    RUN(&r, "batch", "-a", two, "--pair", "name", film, "-o", in_folder("named"));
    assert_status(&r, 3);

    const char *list = make_text_file(
        "pairs/list.csv", "\xef\xbb\xbf语音,视频,output,text,duration,keep_video,mouth_from\r\n"
                          "01.wav,teacher_01.mp4,\"deep/one, two.mp4\",,0.2,是,teacher_01.mp4\r\n"
                          ",teacher_01.mp4,spoken,Good morning,0.2,,\r\n"
                          "01.wav,teacher_01.mp4,spoken.mp4,,,,\r\n"
                          "gone.wav,teacher_01.mp4,a.mp4,,,,\r\n"
                          "01.wav,teacher_01.mp4,b.mp4,,x,,\r\n"
                          "01.wav,,c.mp4,,,,\r\n");
    RUN(&r, "batch", "-q", "--list", list, "-o", in_folder("listed"));
    assert_status(&r, 6);
    assert_says(r.out, "2 done, 0 failed, 0 cancelled, 4 skipped");
    assert_says(r.out, "line 4 of the list: its output is that of line 3");
    assert_says(r.out, "gone.wav");
    assert_says(r.out, "line 6 of the list: the option 'duration'");
    assert_says(r.out, "line 7 of the list: it names no video");
    assert_video(in_folder("listed/deep/one, two.mp4"), 256);
    assert_video(in_folder("listed/spoken.mp4"), 256);
    RUN(&r, "batch", "-q", "--strict", "--list", list, "-o", in_folder("strict"));
    assert_status(&r, 3);
    assert_says(r.err, "3 lines of the list are wrong");
    assert_false(file_exists(in_folder("strict")));
    // However it is written, and where koubo gives a name that somebody else gave before.
    list = make_text_file("pairs/twice.csv", "audio,video,output,duration\n"
                                             "01.wav,teacher_01.mp4,new/a.mp4,0.2\n"
                                             "01.wav,teacher_01.mp4,new/./a.mp4,0.2\n"
                                             "01.wav,teacher_01.mp4,teacher_01.mp4,0.2\n"
                                             "01.wav,teacher_01.mp4,,0.2\n");
    RUN(&r, "batch", "-q", "--list", list, "-o", in_folder("twice"));
    assert_status(&r, 6);
    assert_says(r.out, "2 done, 0 failed, 0 cancelled, 2 skipped");
    assert_says(r.out, "line 3 of the list: its output is that of line 2");
    assert_says(r.out, "line 5 of the list: its output is that of line 4");
    // What only the tenth line needs is missed before the first is begun.
    list = make_text_file("pairs/gone.csv", "audio,text,voice,video,logo,background,duration\n"
                                            "01.wav,,,teacher_01.mp4,,,0.2\n"
                                            "01.wav,,,teacher_01.mp4,gone.png,,0.2\n"
                                            "01.wav,,,teacher_01.mp4,,gone.jpg,0.2\n"
                                            ",Good morning,nobodys,teacher_01.mp4,,,0.2\n");
    RUN(&r, "batch", "-q", "--list", list, "-o", in_folder("gone"));
    assert_status(&r, 6);
    assert_says(r.out, "1 done, 0 failed, 0 cancelled, 3 skipped");
    assert_says(r.out, "line 3 of the list: the logo (--logo)");
    assert_says(r.out, "line 4 of the list: the background (--background)");
    assert_says(r.out, "line 5 of the list: there is no voice 'nobodys'");
    RUN(&r, "batch", "-q", "--strict", "--list", list, "-o", in_folder("gone"), "--force");
    assert_status(&r, 3);
    assert_says(r.err, "3 lines of the list are wrong");
    list = make_text_file("pairs/odd.csv", "audio,video,colour\n01.wav,teacher_01.mp4,red\n");
    RUN(&r, "batch", "-q", "--list", list, "-o", in_folder("strict"));
    assert_status(&r, 3);
    assert_says(r.err, "'colour'");
    RUN(&r, "batch", "--list-template");
    assert_status(&r, 0);
    assert_says(r.out, "audio,video,result,text,voice,mouth_amount\r\n");
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void add_cell(struct text *list, const char *cell)
{
    text_add(list, "\"");
    for (; *cell; cell++)
        text_addf(list, *cell == '"' ? "\"%c" : "%c", *cell);
    text_add(list, "\"");
}

// What a cell means, by the table that the page is held to as well: the option's own type says it.
static void cells_of_a_list_as_options(void **state)
{
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map table = {0};
    assert_ok(err, file_map(&table, source_path("tests/golden/list_cells.tsv"), &err));
    CLEANUP(kb_freep) char *lines = strndup((const char *)table.data, table.size);
    char *rest = NULL;
    int n = 0;
    for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *in = line, *name = strsep(&in, "\t"), *cell = strsep(&in, "\t");
        const char *json = strsep(&in, "\t");
        if (*line == '#')
            continue;
        CLEANUP(text_free) struct text list = {0};
        text_addf(&list, "audio,video,%s\na.wav,a.mp4,", name);
        add_cell(&list, cell);
        struct pairs pairs = {0};
        const char *path = make_text_file("cells.csv", text_get(&list));
        assert_ok(err, pairs_from_list(&pairs, path, ".", ".mp4", &err));
        const struct pair *p = &pairs.items[0];
        json_t *got = p->options ? json_loads(p->options, 0, NULL) : NULL;
        json_t *wanted = json_loads(json, JSON_DECODE_ANY, NULL);
        if (wanted ? !json_equal(json_object_get(got, name), wanted) : p->why.code == KB_OK)
            fail_msg("%s: '%s' is %s, not %s (%s)", name, cell, p->options ? p->options : "wrong",
                     json, p->why.text);
        json_decref(got);
        json_decref(wanted);
        pairs_free(&pairs);
        n++;
    }
    assert_in_range(n, 50, 1000);
}

// With --alpha webm: null is as if nothing was said, for the name as for what is made.
static void endings_of_lines(void **state)
{
    struct kb_error err = {0};
    struct pairs pairs = {0};
    const char *const wanted[] = {".webm", ".webm", ".mp4", ".mov"};
    const char *path = make_text_file("endings.csv", "audio,video,alpha,crf\na.wav,a.mp4,,20\n"
                                                     "a.wav,b.mp4,null,\na.wav,c.mp4,none,\n"
                                                     "a.wav,d.mp4,mov,\n");
    assert_ok(err, pairs_from_list(&pairs, path, ".", ".webm", &err));
    pairs_name_outputs(&pairs, ".", ".webm");
    assert_int_equal(pairs.n, ARRAY_LEN(wanted));
    for (int i = 0; i < pairs.n; i++)
        assert_true(text_ends(pairs.items[i].output, wanted[i]));
    pairs_free(&pairs);
}

// What a recording says comes through a pipe as well as from a file.
static void text_through_a_pipe(void **state)
{
    static const char said[] = "Bin red by seven now.\n";
    struct outcome r = {0};
    struct kb_error err = {0};
    for (int i = 0; i < 2; i++) {
        int ends[2], before = dup(STDIN_FILENO);
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], said, strlen(said)), strlen(said));
        close(ends[1]);
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        RUN(&r, "generate", "-q", "-y", "-a", speech(), "-i", talking(), "-o",
            in_folder("pipe.mp4"), "--duration", "0.6", "--subtitles-as", "srt", "--subtitles-text",
            i ? "/dev/stdin" : "-");
        dup2(before, STDIN_FILENO);
        close(before);
        assert_status(&r, 0);
        struct file_map map = {0};
        assert_ok(err, file_map(&map, in_folder("pipe.srt"), &err));
        assert_non_null(memmem(map.data, map.size, "Bin", 3));
        file_unmap(&map);
        assert_int_equal(unlink(in_folder("pipe.srt")), 0);
    }
    free(r.out);
    free(r.err);
}

// A name ends as its line's format does; "1.2" is part of a name. A look that was given no name
// takes the place of the one before it, and of nothing else.
static void endings_of_outputs(void **state)
{
    struct outcome r = {0};
    struct kb_error err = {0};
    assert_ok(err, file_make_dirs(in_folder("ends"), &err));
    const char *voice = make_cut("ends/v.wav", speech(), 1 << 30);
    const char *film = make_cut("ends/film.mp4", talking(), 1 << 30);
    const char *list = make_text_file("ends/list.csv", "audio,video,output,duration,alpha\n"
                                                       "v.wav,film.mp4,lesson 1.2,0.1,\n"
                                                       "v.wav,film.mp4,clear,0.1,webm\n"
                                                       "v.wav,film.mp4,,0.1,mov\n"
                                                       "v.wav,film.mp4,a.mkv,0.1,\n"
                                                       "v.wav,film.mp4,a.mp4,0.1,webm\n");
    RUN(&r, "batch", "-q", "--list", list, "-o", in_folder("ended"));
    assert_status(&r, 6);
    assert_says(r.out, "3 done, 0 failed, 0 cancelled, 2 skipped");
    assert_says(r.out, "line 5 of the list");
    assert_says(r.out, "a.mkv' does not end in .mp4");
    assert_says(r.out, "a.mp4' does not end in .webm, as --alpha webm wants it");
    assert_video(in_folder("ended/lesson 1.2.mp4"), 256);
    assert_video(in_folder("ended/clear.webm"), 256);
    assert_video(in_folder("ended/film.mov"), 256);

    for (int i = 0; i < 2; i++) {
        RUN(&r, "generate", "-q", "-a", voice, "-i", film, "--preview=0.2", "--alpha", "webm");
        assert_status(&r, 0);
    }
    assert_video(in_folder("ends/film_preview.webm"), 256);
    make_cut("ends/film_preview.mp4", talking(), 1 << 30); // somebody's own
    RUN(&r, "generate", "-q", "-a", voice, "-i", film, "--preview=0.2");
    assert_status(&r, 3);
    assert_says(r.err, "film_preview.mp4' exists");
    free(r.out);
    free(r.err);
}

// The objects of a batch, by video: what failed or was skipped moves nothing, and the time left is
// that of all that is to come.
static void batch_as_json(void **state)
{
    struct outcome r = {0};
    const char *one = talking(), *bad = make_text_file("bad.mp4", "not a video");
    make_cut("second.mp4", one, 1 << 30);
    const char *faceless = make_faceless_video("faceless.mp4", 30);
    RUN(&r, "batch", "-a", speech(), bad, faceless, one, in_folder("second.mp4"), "-o",
        in_folder("json"), "--no-cache", "--progress", "json");
    assert_status(&r, 6);
    double last = 0, progress_of_second = -1;
    bool prepared = false;
    int ended[5] = {0};
    char *rest = NULL;
    for (char *line = strtok_r(r.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *o = json_loads(line, 0, NULL);
        assert_true(json_is_object(o));
        const char *stage = json_string_value(json_object_get(o, "stage"));
        json_int_t video = json_integer_value(json_object_get(o, "video"));
        json_t *batch = json_object_get(o, "batch");
        double progress = json_number_value(json_object_get(batch, "progress"));
        if (strcmp(stage, "audio") == 0 || strcmp(stage, "loading") == 0) {
            assert_int_equal(json_integer_value(json_object_get(o, "total")), 0);
            assert_null(batch);
        } else if (batch) {
            assert_int_equal(json_integer_value(json_object_get(o, "videos")), 4);
            assert_true(video >= 2 && video <= 4);
            // Two can succeed, and until it has failed the one without a face, too.
            assert_true(progress >= (video == 2 ? 0 : last) && progress <= 1);
            if (video == 3 && progress_of_second < 0)
                progress_of_second = progress;
            last = video == 2 ? 0 : progress;
            json_t *eta = json_object_get(batch, "eta_s");
            assert_true(json_is_null(eta) || json_number_value(eta) >= 0);
            // The second is prepared while the first is generated, and none after it.
            json_t *next = json_object_get(o, "next");
            if (strcmp(stage, "finishing") == 0)
                assert_true(!next == (video != 3));
            if (next) {
                assert_int_equal(json_integer_value(json_object_get(next, "video")), 4);
                assert_in_range(json_number_value(json_object_get(next, "progress")) * 1000, 0,
                                1000);
                prepared = true;
            }
        } else if (strcmp(stage, "ended") == 0) {
            json_t *counts = json_object_get(o, "counts");
            assert_string_equal(json_string_value(json_object_get(o, "outcome")), "partly");
            assert_int_equal(json_integer_value(json_object_get(counts, "done")), 2);
            assert_int_equal(json_integer_value(json_object_get(counts, "failed")), 1);
            assert_int_equal(json_integer_value(json_object_get(counts, "skipped")), 1);
            assert_int_equal(json_integer_value(json_object_get(counts, "cancelled")), 0);
            assert_int_equal(json_integer_value(json_object_get(counts, "total")), 4);
            ended[0]++;
        } else {
            static const char *const wanted[] = {"", "skipped", "failed", "done", "done"};
            assert_in_range(video, 1, 4);
            assert_string_equal(stage, wanted[video]);
            assert_true(!json_object_get(o, "error") == (video > 2));
            ended[video]++;
        }
        json_decref(o);
    }
    for (size_t i = 0; i < ARRAY_LEN(ended); i++)
        assert_int_equal(ended[i], 1);
    // The two that ended before it count for nothing.
    assert_true(progress_of_second >= 0 && progress_of_second < 0.1);
    assert_true(last > 0.9);
    assert_true(prepared);
    free(r.out);
    free(r.err);
}

// Every byte, but for the number in the mark that a film is made by AI, which is new each time and
// stands there twice.
static void assert_same_film(const char *a, const char *b)
{
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map x = {0};
    CLEANUP(file_unmap) struct file_map y = {0};
    assert_ok(err, file_map(&x, a, &err));
    assert_ok(err, file_map(&y, b, &err));
    assert_int_equal(x.size, y.size);
    int differ = 0;
    for (size_t i = 0; i < x.size; i++)
        differ += x.data[i] != y.data[i];
    assert_in_range(differ, 0, 2 * 32);
}

// What was made ahead is what each would have made alone: with and without a cache, with another
// speech each, and beside a film that fails, in its own turn.
static void what_is_prepared_changes_nothing(void **state)
{
    struct outcome r = {0};
    struct kb_error err = {0};
    assert_ok(err, file_make_dirs(in_folder("ahead"), &err));
    make_cut("ahead/one.mp4", talking(), 1 << 30);
    make_cut("ahead/three.mp4", talking(), 1 << 30);
    make_faceless_video("ahead/two.mp4", 5);
    make_cut("ahead/said.wav", speech(), 1 << 30);
    const char *list = make_text_file("ahead/list.csv", "audio,text,video,duration,start\n"
                                                        "said.wav,,one.mp4,0.4,\n"
                                                        "said.wav,,two.mp4,0.4,\n"
                                                        ",Good morning,three.mp4,0.4,0.2\n"
                                                        "said.wav,,three.mp4,0.4,0.2\n");
    SAY(0, "generate", "-q", "-a", speech(), "-i", talking(), "--duration", "0.4", "--no-cache",
        "-o", in_folder("ahead/alone.mp4"));
    SAY(0, "generate", "-q", "-a", speech(), "-i", talking(), "--duration", "0.4", "--start", "0.2",
        "--no-cache", "-o", in_folder("ahead/later.mp4"));
    for (int cached = 0; cached < 2; cached++) {
        RUN(&r, "batch", "--list", list, "-o", in_folder("ahead/out"), "--force", "--progress",
            "lines", cached ? "--track-dir" : "--no-cache",
            cached ? in_folder("ahead/tracks") : "-v");
        assert_status(&r, 6);
        assert_says(r.out, "3 done, 1 failed, 0 cancelled, 0 skipped");
        const char *first = strstr(r.err, "[1/4] one.mp4 + said.wav  Done");
        const char *why = strstr(r.err, "no face was found in");
        const char *third = strstr(r.err, "[3/4] ");
        assert_true(first && why && third);
        assert_true(first < why && why < third);
        assert_same_film(in_folder("ahead/out/one_said.mp4"), in_folder("ahead/alone.mp4"));
        assert_same_film(in_folder("ahead/out/three_said.mp4"), in_folder("ahead/later.mp4"));
    }
    free(r.out);
    free(r.err);
    assert_nothing_half_done();
}

static void preprocess_then_generate(void **state)
{
    struct outcome r = {0};
    const char *tracks = in_folder("tracks");
    RUN(&r, "preprocess", "--input", talking(), "--output", tracks);
    assert_status(&r, 0);
    assert_says(r.out, "faces: 1");
    assert_says(r.out, "whole video");
    RUN(&r, "preprocess", "--input", talking(), "--output", tracks, "-q");
    assert_status(&r, 0);
    assert_says(r.out, "was there already");
    RUN(&r, "preprocess", "--force", "--input", talking(), "--output", tracks, "-q");
    assert_status(&r, 0);
    assert_says(r.out, "made");

    char hash[33];
    struct kb_error err = {0};
    assert_ok(err, file_hash(hash, talking(), &err));
    CLEANUP(kb_freep) char *name = kb_printf("tracks/%s.kbt", hash);
    assert_true(file_exists(in_folder(name)));
    RUN(&r, "generate", "-a", speech(), "-i", talking(), "-o", in_folder("tracked.mp4"),
        "--preprocessed", tracks, "--duration", "0.2", "--progress", "json", "-y");
    assert_status(&r, 0);
    assert_says(r.out, "\"track_cached\":true");
    free(r.out);
    free(r.err);
}

static void models(void **state)
{
    struct outcome r = {0};
    RUN(&r, "model", "list");
    assert_status(&r, 0);
    assert_says(r.out, "koubo-lips.safetensors");
    assert_null(strstr(r.out, "not usable")); // koubo ships nothing that it cannot use
    RUN(&r, "model", "info", source_path("models/koubo-lips.safetensors"), "-v", "--lang", "en");
    assert_status(&r, 0);
    assert_says(r.out, "listener: from speech to the motion of lips");
    assert_says(r.out, "mel (n, 80, 1, ");
    assert_says(r.out, "stem.weight");
    assert_says(r.out, "safetensors");
    RUN(&r, "model", "info", source_path("models/koubo-sync.safetensors"), "--lang", "en");
    assert_status(&r, 0);
    assert_says(r.out, "judge of sync");

    const char *converted = in_folder("types.safetensors");
    RUN(&r, "model", "convert", source_path("tests/golden/pth_types_zip.pth"), converted);
    assert_status(&r, 0);
    RUN(&r, "model", "info", converted);
    assert_status(&r, 0);
    assert_says(r.out, "metadata format = pt");
    RUN(&r, "model", "convert", source_path("tests/golden/pth_types_zip.pth"), converted);
    assert_status(&r, 3); // it exists
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static const char *make_wav2lip(void)
{
    const char *path = in_folder("wav2lip.safetensors");
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = wav2lip_random(1);
    assert_ok(err, safetensors_write(path, set, &err));
    return path;
}

static void quantize_a_model(void **state)
{
    struct outcome r = {0};
    const char *video = talking(), *out = in_folder("int8.safetensors");
    const char *model = make_wav2lip();
    RUN(&r, "model", "quantize", model, "-i", video, "-o", out);
    assert_status(&r, 0);
    assert_says(r.err, "int8 against f32");
    RUN(&r, "model", "info", out);
    assert_status(&r, 0);
    assert_says(r.out, "wav2lip");
    assert_says(r.out, "int8");
    RUN(&r, "model", "quantize", model, "-i", video, "-o", out);
    assert_status(&r, 3); // it exists
    RUN(&r, "model", "quantize", model, "-i", video, "-o", in_folder("x.pth"));
    assert_status(&r, 3);
    assert_says(r.err, ".safetensors");
    RUN(&r, "model", "quantize", "koubo-lips", "-i", video, "--lang", "en");
    assert_status(&r, 3);
    assert_says(r.err, "is a listener");
    RUN(&r, "model", "quantize", model);
    assert_status(&r, 2);
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void run_a_network(void **state)
{
    struct kb_error err = {0};
    struct outcome r = {0};
    float *zeros = kb_alloc(2 * 6 * 96 * 96 * sizeof(*zeros));
    const int64_t mel[] = {2, 1, 80, 16}, face[] = {2, 6, 96, 96}, other[] = {3, 1, 80, 16};
    const char *model = make_wav2lip();
    assert_ok(err, npy_write(in_folder("mel.npy"), 4, mel, zeros, &err));
    assert_ok(err, npy_write(in_folder("mel3.npy"), 4, other, zeros, &err));
    assert_ok(err, npy_write(in_folder("face.npy"), 4, face, zeros, &err));
    free(zeros);
    CLEANUP(kb_freep) char *mel_input = kb_printf("mel=%s", in_folder("mel.npy"));
    CLEANUP(kb_freep) char *face_input = kb_printf("face=%s", in_folder("face.npy"));
    CLEANUP(kb_freep) char *mel3_input = kb_printf("mel=%s", in_folder("mel3.npy"));
    CLEANUP(kb_freep) char *wrong = kb_printf("mel=%s", in_folder("face.npy"));

    RUN(&r, "model", "run", model, "--input", mel_input, "--input", face_input, "-o",
        in_folder("out.npy"), "--output-name", "face_out", "--precision", "f32");
    assert_status(&r, 0);
    struct tensor_set *out = NULL;
    assert_ok(err, npy_read(&out, in_folder("out.npy"), &err));
    assert_string_equal(tensor_shape(tensor_set_at(out, 0)).text, "[2, 3, 96, 96]");
    tensor_set_free(&out);

    const struct {
        const char *arguments[8];
        const char *says;
    } bad[] = {
        {{"--input", mel_input}, "missing"},
        {{"--input", wrong, "--input", face_input}, "wants (n, 1, 80, 16)"},
        {{"--input", mel3_input, "--input", face_input}, "same number"},
        {{"--input", mel_input, "--input", mel_input}, "twice"},
        {{"--input", "x=y.npy"}, "it has: mel, face"},
        {{"--output-name", "x"}, "it has: face_out"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *arguments[16] = {"model", "run", model, "-o", in_folder("bad.npy")};
        memcpy(arguments + 5, bad[i].arguments, sizeof(bad[i].arguments));
        program_run(&r, arguments);
        assert_status(&r, 3);
        assert_says(r.err, bad[i].says);
    }
    assert_false(file_exists(in_folder("bad.npy")));
    free(r.out);
    free(r.err);
}

static void eval_as_json(void **state)
{
    static const char *const keys[] = {"aperture_correlation",
                                       "lag_frames",
                                       "lip_landmark_distance",
                                       "aperture_correlation_lag_0",
                                       "width_correlation",
                                       "width_lag_frames",
                                       "width_correlation_lag_0",
                                       "closure_precision",
                                       "closure_recall",
                                       "closure_f1",
                                       "lip_sharpness",
                                       "motion_smoothness",
                                       "psnr_outside_mask",
                                       "jitter_ratio",
                                       "still_jitter",
                                       "frames"};
    struct outcome r = {0};
    RUN(&r, "eval", "--truth", talking(), talking(), "--json", "-q");
    assert_status(&r, 0);
    json_t *object = json_loads(r.out, 0, NULL);
    assert_true(json_is_object(object));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!json_object_get(object, keys[i]))
            fail_msg("no '%s' in %s", keys[i], r.out);
    assert_int_equal(json_integer_value(json_object_get(object, "lag_frames")), 0);
    assert_true(json_number_value(json_object_get(object, "aperture_correlation")) > 0.999);
    json_decref(object);
    RUN(&r, "eval", "--truth", talking(), talking(), "-q");
    assert_status(&r, 0);
    assert_says(r.out, "aperture correlation");
    assert_says(r.out, "lip sharpness                 1.00");
    assert_says(r.out, "closures found, F1            1.00");
    free(r.out);
    free(r.err);
}

static void eval_of_sync(void **state)
{
    static const char *const keys[] = {"offset_ms", "offset_frames", "sureness", "agreement",
                                       "judged_s",  "face",          "windows"};
    struct outcome r = {0};
    RUN(&r, "eval", "--sync", clip_path("grid_brbk7n.mpg"), "--json", "-q");
    assert_status(&r, 0);
    json_t *object = json_loads(r.out, 0, NULL);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!json_object_get(object, keys[i]))
            fail_msg("no '%s' in %s", keys[i], r.out);
    assert_true(fabs(json_number_value(json_object_get(object, "offset_ms"))) <= 40);
    json_decref(object);
    RUN(&r, "eval", "--sync", clip_path("grid_brbk7n.mpg"), "-q");
    assert_status(&r, 0);
    assert_says(r.out, "The sound is in time with the lips");
    RUN(&r, "eval", "--sync", clip_path("sound_late.mkv"), "-q");
    assert_status(&r, 0);
    assert_says(r.out, "late for the lips");
    RUN(&r, "eval", "--sync", clip_path("silent.mp4"), "-q");
    assert_status(&r, 3);
    assert_says(r.err, "has no sound");
    free(r.out);
    free(r.err);
}

// Read lines of JSON progress until one names the stage.
static bool wait_for_stage(int fd, const char *stage)
{
    FILE *f = fdopen(dup(fd), "r");
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof(line), f))
        found = strstr(line, stage) != NULL;
    fclose(f);
    return found;
}

static void an_interrupted_job_leaves_nothing(void **state)
{
    static const struct {
        const char *stage;
        int signal;
    } table[] = {{"preprocessing", SIGINT}, {"generating", SIGINT}, {"generating", SIGTERM}};
    const char *out = in_folder("interrupted.mp4"), *sound = make_tone("long.wav", 60);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int progress;
        int pid =
            program_start((const char *const[]){"generate", "-a", sound, "-i", talking(), "-o", out,
                                                "--no-cache", "--progress", "json", NULL},
                          &progress);
        assert_true(wait_for_stage(progress, table[i].stage));
        kill(pid, table[i].signal);
        int status = program_wait(pid);
        close(progress);
        assert_int_equal(status, 130);
        assert_false(file_exists(out));
        assert_nothing_half_done();
    }
}

static void an_interrupted_batch_says_how_far_it_came(void **state)
{
    const char *sound = make_tone("long.wav", 60);
    int progress;
    int pid = program_start((const char *const[]){"batch", "-a", sound, talking(), talking(), "-o",
                                                  in_folder("stopped"), "--progress", "json", NULL},
                            &progress);
    assert_true(wait_for_stage(progress, "generating"));
    kill(pid, SIGINT);
    assert_true(wait_for_stage(progress, "\"outcome\":\"cancelled\""));
    int status = program_wait(pid);
    close(progress);
    assert_int_equal(status, 130);
    assert_false(file_exists(in_folder("stopped/talking.mp4")));
    assert_false(file_exists(in_folder("stopped/talking-2.mp4")));
    assert_nothing_half_done();
}

static void fails_for_space(const char *out)
{
    struct outcome r = {0};
    RUN(&r, "generate", "-q", "-a", in_folder("long.wav"), "-i", talking(), "-o", out, "--crf", "5",
        "--preset", "ultrafast");
    assert_status(&r, 4);
    assert_int_equal(count_lines(r.err), 1);
    assert_false(file_exists(out));
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void a_disk_that_fills_up(void **state)
{
    make_tone("long.wav", 10);
    talking();
    // Where nothing can be mounted, a limit on the size of files does nearly the same.
    program_file_limit = 60000;
    fails_for_space(in_folder("limited.mp4"));
    program_file_limit = 0;

    struct kb_error err = {0};
    const char *full = in_folder("full");
    assert_ok(err, file_make_dirs(full, &err));
    if (mount("tmpfs", full, "tmpfs", 0, "size=8k") != 0) {
        print_message("not mounting a small disk: %s\n", strerror(errno));
        return;
    }
    struct outcome r = {0};
    RUN(&r, "generate", "-q", "-a", in_folder("long.wav"), "-i", talking(), "-o",
        in_folder("full/out.mp4"));
    umount(full);
    assert_status(&r, 4);
    free(r.out);
    free(r.err);
}

static void demo(void **state)
{
    struct outcome r = {0};
    RUN(&r, "demo", "--text", "Hi", "-o", in_folder("new/demo.mp4"));
    assert_status(&r, 0);
    assert_says(r.err, "new/demo.mp4");
    assert_video(in_folder("new/demo.mp4"), 420);
    assert_nothing_half_done();
    assert_int_not_equal(access(in_folder("new/.koubo-person.mp4"), F_OK), 0);
    free(r.out);
    free(r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate_with_every_option),
        cmocka_unit_test(options_in_other_forms),
        cmocka_unit_test(progress_as_json),
        cmocka_unit_test(text_instead_of_a_file),
        cmocka_unit_test(unusual_names_from_end_to_end),
        cmocka_unit_test(the_longest_names),
        cmocka_unit_test(batch),
        cmocka_unit_test(a_person_in_place_of_a_video),
        cmocka_unit_test(batch_of_pairs),
        cmocka_unit_test(cells_of_a_list_as_options),
        cmocka_unit_test(endings_of_lines),
        cmocka_unit_test(endings_of_outputs),
        cmocka_unit_test(text_through_a_pipe),
        cmocka_unit_test(batch_as_json),
        cmocka_unit_test(what_is_prepared_changes_nothing),
        cmocka_unit_test(preprocess_then_generate),
        cmocka_unit_test(models),
        cmocka_unit_test(quantize_a_model),
        cmocka_unit_test(run_a_network),
        cmocka_unit_test(eval_as_json),
        cmocka_unit_test(eval_of_sync),
        cmocka_unit_test(an_interrupted_job_leaves_nothing),
        cmocka_unit_test(an_interrupted_batch_says_how_far_it_came),
        cmocka_unit_test(a_disk_that_fills_up),
        cmocka_unit_test(demo),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
