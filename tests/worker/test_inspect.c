// What an inspector finds in uploads, and what it says about those it cannot read.
#include "tests/media/make.h"
#include "tests/queue/queue.h"
#include "tests/worker/grey.h"

#include "asset/asset.h"
#include "asset/speech.h"
#include "face/models.h"
#include "media/reader.h"
#include "media/subtitle_file.h"
#include "media/words.h"
#include "queue/subtitles.h"
#include "worker/broker.h"
#include "worker/inspect.h"
#include "worker/limits.h"

#include <math.h>

#define PHOTO "node_modules/@vladmandic/face-api/demo/sample6.jpg"

static struct face_models *faces;
static struct broker *broker; // of the server that the test is
static struct pulse *pulse;   // and the inspector's side
static struct worker_params params;
static char *work;
static int seat;

static int setup(void **state)
{
    if (queue_setup(state) != 0)
        return -1;
    struct queue_test *t = *state;
    assert_ok(t->err, broker_start(&broker, t->folder, 0, &t->err));
    params = (struct worker_params){.data = t->folder, .id = "i1", .inspect = true};
    seat = broker_seat(broker, "i1", true, &params.parent_fd, &t->err);
    assert_true(seat >= 0);
    work = work_folder(&params);
    assert_ok(t->err, pulse_start(&pulse, &params, &t->err));
    broker_begin(broker, seat, getpid());
    return 0;
}

static int teardown(void **state)
{
    pulse_stop(&pulse);
    close(params.parent_fd);
    broker_end(broker, seat, NULL, false);
    broker_stop(&broker, 60000);
    kb_freep(&work);
    return queue_teardown(state);
}

// Looks at the next asset; when all is written down.
static void inspect_next(struct queue_test *t)
{
    int64_t todo = ask(t, "SELECT count(*) FROM asset WHERE state IN ('new', 'making')");
    json_t *message = pulse_ask(pulse);
    assert_ok(t->err, inspect_asset(pulse, message, t->folder, work, faces, &t->err));
    json_decref(message);
    for (int i = 0; i < 60000 && ask(t, "SELECT count(*) FROM asset WHERE worker IS NOT NULL"); i++)
        usleep(1000);
    assert_true(todo > 0);
}

static int load_faces(void **state)
{
    struct kb_error err = {0};
    return face_models_load(&faces, &err) == KB_OK ? 0 : -1;
}

static int free_faces(void **state)
{
    face_models_free(&faces);
    return 0;
}

static void write_bytes(const char *path, const void *data, size_t size)
{
    struct kb_error err = {0};
    assert_ok(err, file_write_atomic(path, data, size, &err));
}

// A mono 16 kHz WAV file of a tone of this amplitude.
static void write_tone(const char *path, double seconds, double amplitude)
{
    uint32_t n = (uint32_t)(seconds * 16000), size = n * 2;
    uint8_t *wav = kb_alloc(44 + size);
    uint32_t head[] = {36 + size, 16, 16000, 32000, size};
    memcpy(wav, "RIFF....WAVEfmt ....\1\0\1\0........\2\0\20\0data", 40);
    memcpy(wav + 4, &head[0], 4);
    memcpy(wav + 16, &head[1], 4);
    memcpy(wav + 24, &head[2], 4);
    memcpy(wav + 28, &head[3], 4);
    memcpy(wav + 40, &head[4], 4);
    for (uint32_t i = 0; i < n; i++) {
        int16_t v = (int16_t)lrint(amplitude * 32767 * sin(i * 0.1));
        memcpy(wav + 44 + i * 2, &v, 2);
    }
    write_bytes(path, wav, 44 + size);
    free(wav);
}

// Upload the file at path under this name and let an inspector look at all there is.
static void add_and_inspect(struct queue_test *t, const char *name, const char *path, char id[33])
{
    struct asset_params p = {.name = name, .size_bytes = -1, .lang = "en"};
    assert_ok(t->err, asset_add_file(t->s, &p, path, id, &t->err));
    inspect_next(t);
}

static json_t *shown(struct queue_test *t, const char *id)
{
    struct text text = {0};
    assert_ok(t->err, asset_json(t->s, id, &text, &t->err));
    json_t *asset = json_loads(text_get(&text), 0, NULL);
    text_free(&text);
    assert_non_null(asset);
    return asset;
}

static const char *string_at(json_t *asset, const char *name)
{
    const char *s = json_string_value(json_object_get(asset, name));
    return s ? s : "";
}

static bool warns(json_t *asset, const char *code)
{
    size_t i;
    json_t *warning;
    json_array_foreach(json_object_get(asset, "warnings"), i,
                       warning) if (strcmp(json_string_value(warning), code) == 0) return true;
    return false;
}

static void test_sounds(void **state)
{
    static const struct {
        const char *name;
        double seconds, amplitude;
        bool silent, quiet, brief;
    } cases[] = {
        {"loud.wav", 2, 0.8, false, false, false},
        {"far away.wav", 2, 0.003, false, false, false},
        {"quiet.wav", 2, 0.001, false, true, false},
        {"silent.wav", 2, 0, true, false, false},
        {"brief.wav", 0.2, 0.8, false, false, true},
    };
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = path_join(t->folder, "tone.wav");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char id[33];
        write_tone(path, cases[i].seconds, cases[i].amplitude);
        add_and_inspect(t, cases[i].name, path, id);
        json_t *a = shown(t, id);
        assert_string_equal(string_at(a, "state"), "ready");
        assert_string_equal(string_at(a, "kind"), "audio");
        int64_t ms = json_integer_value(json_object_get(a, "duration"));
        assert_true(fabs((double)ms - cases[i].seconds * 1000) < 5);
        assert_int_equal(warns(a, "silent"), cases[i].silent);
        assert_int_equal(warns(a, "quiet"), cases[i].quiet);
        assert_false(warns(a, "gaps"));
        assert_int_equal(warns(a, "short"), cases[i].brief);
        json_t *peaks = json_object_get(a, "peaks");
        assert_true(json_array_size(peaks) > 5 && json_array_size(peaks) <= 400);
        int64_t peak = json_integer_value(json_array_get(peaks, json_array_size(peaks) / 2));
        assert_true(llabs(peak - lrint(cases[i].amplitude * 255)) <= 2);
        json_decref(a);
    }
}

static void test_gaps_are_told(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    assert_int_equal(make_setup(NULL), 0);
    add_and_inspect(t, "hole.mkv",
                    make_file("hole.mkv", "-f lavfi -i sine=duration=3 -af "
                                          "aselect='not(between(t,1,2))' -c:a pcm_s16le"),
                    id);
    json_t *a = shown(t, id);
    assert_true(warns(a, "gaps"));
    json_decref(a);
    make_teardown(NULL);
}

static void test_a_person_is_found(void **state)
{
    struct queue_test *t = *state;
    const char *photo = source_path(PHOTO);
    char id[33];
    add_and_inspect(t, "团队.jpg", photo, id);
    json_t *a = shown(t, id);
    assert_string_equal(string_at(a, "state"), "ready");
    assert_string_equal(string_at(a, "kind"), "video");
    assert_true(json_integer_value(json_object_get(a, "faces")) > 1);
    assert_true(warns(a, "several_faces"));
    assert_false(warns(a, "no_face"));
    assert_true(json_integer_value(json_object_get(a, "width")) > 500);
    // Where they are: apart from each other, inside the picture.
    const json_t *boxes = json_object_get(a, "face_boxes"), *box;
    size_t n, k;
    assert_true(json_array_size(boxes) > 1);
    double left = 1, right = 0;
    json_array_foreach(boxes, n, box)
    {
        double v[4];
        assert_int_equal(json_array_size(box), 4);
        for (k = 0; k < 4; k++)
            v[k] = json_number_value(json_array_get(box, k));
        assert_true(v[0] >= 0 && v[1] >= 0 && v[2] > 0.01 && v[3] > 0.01 && v[0] + v[2] < 1.001 &&
                    v[1] + v[3] < 1.001);
        left = fmin(left, v[0]);
        right = fmax(right, v[0]);
    }
    assert_true(right - left > 0.1);
    assert_true(string_at(a, "thumbnail")[0] == '/');
    assert_true(json_is_null(json_object_get(a, "progress")));
    assert_int_equal(ask(t, "SELECT progress > 0 FROM asset"), 1); // it was told on the way
    json_decref(a);

    struct asset found;
    assert_ok(t->err, asset_find(t->s, id, &found, &t->err));
    CLEANUP(kb_freep) char *name = kb_printf("%s.jpg", found.sha256);
    CLEANUP(kb_freep) char *thumb = store_path(t->s, "thumbs", name);
    struct file_map map = {0};
    assert_ok(t->err, file_map(&map, thumb, &t->err));
    assert_true(map.size > 500 && map.data[0] == 0xFF && map.data[1] == 0xD8);
    file_unmap(&map);
}

// A person who comes into the film after two seconds: when the picture with their face is shown is
// told, and it is there.
static void test_when_a_face_is_seen(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    assert_int_equal(make_setup(NULL), 0);
    CLEANUP(kb_freep)
    char *options = kb_printf("-f lavfi -i color=gray:s=360x288:r=25:d=2 -i %s -filter_complex "
                              "[0:v][1:v]concat=n=2:v=1[v] -map [v] -pix_fmt yuv420p",
                              clip_path("grid_lbax4n.mpg"));
    const char *path = make_file("later.mp4", options);
    add_and_inspect(t, "later.mp4", path, id);
    json_t *a = shown(t, id);
    const json_t *box = json_array_get(json_object_get(a, "face_boxes"), 0);
    double at = json_number_value(json_object_get(a, "face_boxes_at"));
    assert_true(at >= 2 && at < 5);

    CLEANUP(reader_close) struct reader *r = NULL;
    CLEANUP(av_frame_free) AVFrame *frame = NULL;
    struct detection found[1];
    int n;
    assert_ok(t->err, reader_open(&r, path, &(struct reader_params){0}, &t->err));
    assert_ok(t->err, reader_seek(r, llrint(at * 1e6), &t->err));
    assert_ok(t->err, reader_next(r, &frame, &t->err));
    assert_int_equal(frame->pts, llrint(at * 1e6));
    assert_ok(t->err, face_detect(faces, frame, found, 1, &n, &t->err));
    assert_int_equal(n, 1);
    assert_true(
        fabs(json_number_value(json_array_get(box, 0)) - (double)found[0].x / frame->width) < 1e-3);
    json_decref(a);
    make_teardown(NULL);
}

static void test_a_film_without_a_face(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = path_join(t->folder, "grey.mp4");
    make_grey(path, 30, NULL);

    char id[33];
    add_and_inspect(t, "grey.mp4", path, id);
    json_t *a = shown(t, id);
    assert_string_equal(string_at(a, "state"), "ready");
    assert_true(warns(a, "no_face") && warns(a, "low_resolution"));
    assert_true(json_is_null(json_object_get(a, "face_boxes_at")));
    assert_int_equal(json_integer_value(json_object_get(a, "faces")), 0);
    assert_true(llabs(json_integer_value(json_object_get(a, "duration")) - 1200) <= 40);
    assert_true(fabs(json_number_value(json_object_get(a, "fps")) - 25) < 0.01);
    json_decref(a);
}

// A file may say anything of itself. What an inspector says of it stays in the broker's range, or
// the inspector counts as mad and dies of every such file.
static void test_a_film_that_says_it_is_endless(void **state)
{
    struct queue_test *t = *state;
    size_t size;
    make_setup(NULL);
    const char *path = make_file("endless.mkv", "-f lavfi -i testsrc2=s=64x64:d=0.4 -c:v mpeg4");
    CLEANUP(kb_freep) char *film = load_bytes(path, &size);
    char *duration = memmem(film, size, "\x44\x89\x88", 3);
    assert_non_null(duration);
    memcpy(duration + 3, "\x43\x2c\x6b\xf5\x26\x34\0\0", 8); // 4e15, of milliseconds
    write_bytes(path, film, size);
    char id[33];
    add_and_inspect(t, "endless.mkv", path, id);
    json_t *a = shown(t, id);
    assert_string_equal(string_at(a, "state"), "ready");
    assert_int_equal(json_integer_value(json_object_get(a, "duration")), INT64_C(100000000000));
    json_decref(a);
    make_teardown(NULL);
}

// The state of a result that a machine sent, once it was looked at.
static const char *inspect_result(struct queue_test *t, const char *path, struct asset *ret)
{
    char id[33];
    struct asset_params p = {.name = "result.mp4", .size_bytes = -1, .job = 7, .lang = "en"};
    assert_ok(t->err, asset_add_file(t->s, &p, path, id, &t->err));
    inspect_next(t);
    assert_ok(t->err, asset_find(t->s, id, ret, &t->err));
    return ret->state;
}

static void test_results_are_looked_at_lightly(void **state)
{
    struct queue_test *t = *state;
    struct asset a;
    make_setup(NULL);
    CLEANUP(kb_freep) char *path = path_join(t->folder, "grey.mp4");
    const char *talk =
        make_file("talk.mp4", "-f lavfi -i testsrc2=s=128x96:d=4 -f lavfi -i sine=d=4 -c:v mpeg4 -g"
                              " 10 -c:a aac -movflags +faststart");
    assert_string_equal(inspect_result(t, talk, &a), "ready");
    assert_string_equal(a.kind, "video");
    assert_true(llabs(a.duration_ms - 4000) <= 40);
    assert_true(a.width > 0 && a.height > 0);
    assert_int_equal(ask(t, "SELECT faces IS NULL AND peaks IS NULL AND warnings = '[]'"
                            " AND thumbnail AND abs(fps - 25) < 0.01 FROM asset"),
                     1);
    CLEANUP(kb_freep) char *thumb = kb_printf("%s/thumbs/%s.jpg", t->folder, a.sha256);
    assert_true(file_exists(thumb));
    make_grey(path, 30, NULL); // without a sound
    assert_string_equal(inspect_result(t, path, &a), "bad");

    // What it says of its subtitles, unless they cannot be any.
    static const struct {
        const char *tag;
        int n;
    } cues[] = {{"{\"burned\":true,\"cues\":[[0,900,\"a\"],[1000,2000,\"b\"]]}", 2},
                {"{\"burned\":true,\"cues\":[[1000,900,\"a\"]]}", 0},
                {"{\"burned\":true,\"cues\":[[0,900,7]]}", 0},
                {"[[[[[", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cues); i++) {
        CLEANUP(kb_freep)
        char *how = kb_printf("-i %s -c copy -movflags +faststart+use_metadata_tags -metadata "
                              "koubo_cues=%s",
                              talk, cues[i].tag);
        const char *told = make_file("told.mp4", how);
        assert_string_equal(inspect_result(t, told, &a), "ready");
        assert_int_equal(ask(t,
                             "SELECT coalesce(json_array_length(words, '$.cues'), 0) FROM asset"
                             " WHERE id = '%s'",
                             a.id),
                         cues[i].n);
        char own[33]; // of a user's own film they are nothing
        add_and_inspect(t, "told.mp4", told, own);
        assert_int_equal(
            ask(t, "SELECT words IS NULL AND state = 'ready' FROM asset WHERE id = '%s'", own), 1);
    }

    // What is none, however it is called.
    const char *const bad[] = {
        make_file("film.mkv", "-f lavfi -i testsrc2=s=64x64:d=1 -c:v mpeg4"),
        make_file("sound.mp4", "-f lavfi -i sine=d=1 -c:a aac"),
        make_file("sound.wav", "-f lavfi -i sine=d=1"),
        source_path(PHOTO),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (strcmp(inspect_result(t, bad[i], &a), "bad") != 0)
            fail_msg("%s: %s", bad[i], a.state);
    size_t size;
    CLEANUP(kb_freep) char *film = load_bytes(talk, &size);
    write_bytes(path, film, size * 2 / 3); // its header is whole
    assert_string_equal(inspect_result(t, path, &a), "bad");
    assert_int_equal(ask(t, "SELECT error LIKE '%%breaks off%%' FROM asset WHERE id = '%s'", a.id),
                     1);
    write_bytes(path, film, size / 200); // where it says what is in it is missing
    assert_string_equal(inspect_result(t, path, &a), "bad");
    write_bytes(path, "a letter, not a film", 20);
    assert_string_equal(inspect_result(t, path, &a), "bad");
    assert_int_equal(ask(t,
                         "SELECT error LIKE '%%result.mp4%%' AND error NOT LIKE '%%files/%%'"
                         " FROM asset WHERE id = '%s'",
                         a.id),
                     1);
    make_teardown(NULL);
}

// A table of the header with two thousand million entries, of a file of a few kB: there is memory
// enough for what is in it, so nobody waits for more.
static void test_a_film_that_asks_for_all_memory(void **state)
{
    struct queue_test *t = *state;
    struct asset a;
    char id[33];
    size_t size;
    make_setup(NULL);
    const char *path = make_file("greedy.mp4", "-f lavfi -i testsrc2=s=64x64:d=1 -c:v mpeg4");
    CLEANUP(kb_freep) char *film = load_bytes(path, &size);
    char *table = memmem(film, size, "stco", 4);
    assert_non_null(table);
    table[8] = (char)0x80;
    write_bytes(path, film, size);
    assert_string_equal(inspect_result(t, path, &a), "bad");
    add_and_inspect(t, "greedy.mp4", path, id);
    assert_ok(t->err, asset_find(t->s, id, &a, &t->err));
    assert_string_equal(a.state, "bad");
    make_teardown(NULL);
}

static void test_what_cannot_be_read_is_named(void **state)
{
    static const char text[] = "this is a letter, not a film. this is a letter, not a film.";
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = path_join(t->folder, "letter");
    char id[33];
    write_bytes(path, text, sizeof(text));
    add_and_inspect(t, "假的.mp4", path, id);
    json_t *a = shown(t, id);
    assert_string_equal(string_at(a, "state"), "bad");
    assert_non_null(strstr(string_at(a, "error"), "假的.mp4"));
    assert_null(strstr(string_at(a, "error"), "files/")); // no path of ours
    json_decref(a);
}

// GB18030, one of three with its end before its beginning.
static void test_subtitles_are_read(void **state)
{
    static const char srt[] =
        "1\n00:00:00,500 --> "
        "00:00:02,250\n\xbd\xf1\xcc\xec\xce\xd2\xc3\xc7\xd1\xa7\xcf\xb0\xc5\xc4\xc9\xe3\n\n"
        "2\n00:00:09,000 --> 00:00:08,000\n\xb4\xf3\xbc\xd2\n\n"
        "3\n00:00:03,000 --> 00:00:05,000\n\xc7\xeb\xb4\xf2\xbf\xaa\xcf\xe0\xbb\xfa\n";
    struct queue_test *t = *state;
    char id[33], path[] = "/tmp/koubo-srt-XXXXXX";
    close(mkstemp(path));
    write_bytes(path, srt, sizeof(srt) - 1);
    add_and_inspect(t, "film.srt", path, id);
    unlink(path);
    json_t *a = shown(t, id);
    assert_string_equal(string_at(a, "state"), "ready");
    assert_string_equal(string_at(a, "kind"), "text");
    assert_string_equal(string_at(a, "codec"), "srt GB18030");
    assert_int_equal(json_integer_value(json_object_get(a, "duration")), 5000);
    assert_string_equal(json_string_value(json_array_get(json_object_get(a, "warnings"), 0)),
                        "bad_cues");
    json_decref(a);
    struct subtitle_track found = {0};
    assert_ok(t->err, subtitles_of_asset(t->s, id, 1280, 720, 0, &found, &t->err));
    assert_int_equal(found.n, 2);
    assert_int_equal(found.at[1].start_us, 3000000);
    assert_string_equal(found.at[0].text, "今天我们学习拍摄");
    subtitle_track_clear(&found);
}

static void test_a_text_becomes_a_speech(void **state)
{
    struct queue_test *t = *state;
    struct asset_params p = {.name = "hello", .size_bytes = -1, .lang = "en"};
    char id[33], bad[33];
    assert_ok(t->err, asset_create_speech(t->s, &p, "hello everybody", "en", id, &t->err));
    assert_ok(t->err, asset_create_speech(t->s, &p, "hello", "no-such-voice", bad, &t->err));
    while (ask(t, "SELECT count(*) FROM asset WHERE state IN ('new', 'making')"))
        inspect_next(t);
    json_t *a = shown(t, id);
    assert_string_equal(string_at(a, "state"), "ready");
    assert_string_equal(string_at(a, "kind"), "audio");
    assert_true(json_integer_value(json_object_get(a, "duration")) > 500);
    json_decref(a);
    CLEANUP(kb_freep) char *json = NULL;
    CLEANUP(words_free) struct words words = {0};
    assert_ok(t->err, asset_words(t->s, id, &json, &t->err));
    assert_ok(t->err, words_parse(&words, json, &t->err));
    assert_string_equal(words.text, "hello everybody");
    assert_int_equal(words.n, 2);
    assert_int_equal(words.list[1].first, 6);
    assert_true(words.list[1].begin_us > 200000 && words.list[1].end_us > 600000);
    a = shown(t, bad);
    assert_string_equal(string_at(a, "state"), "bad");
    assert_non_null(strstr(string_at(a, "error"), "no-such-voice"));
    json_decref(a);
}

// What a voice service said, sentence by sentence, is joined in the cage.
static void test_pieces_become_a_speech(void **state)
{
    static const char text[] = "Hello. Good bye!";
    struct queue_test *t = *state;
    const struct asset_speech how = {.fetched = true, .has_pause = true, .pause_ms = 700};
    struct asset_params p = {.size_bytes = -1, .lang = "en", .speech = &how};
    char ids[2][33];
    make_setup(NULL);
    const char *bytes[2];
    size_t sizes[2];
    static const char *const tones[] = {"-f lavfi -i sine=d=0.4 -ar 16000",
                                        "-f lavfi -i sine=d=0.6 -ar 32000 -c:a mp3 -f mp3"};
    for (int i = 0; i < 2; i++)
        bytes[i] = load_bytes(make_file(i ? "b" : "a.wav", tones[i]), &sizes[i]);
    for (int k = 0; k < 2; k++) { // the second is damaged: its second piece is text
        assert_ok(t->err, asset_create_speech(t->s, &p, text, "demo", ids[k], &t->err));
        assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE state = 'making'"), k + 1);
        int fd = asset_open_pieces(t->s, ids[k], &t->err);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes[0], sizes[0]), sizes[0]);
        assert_int_equal(write(fd, k ? text : bytes[1], k ? 16 : sizes[1]), k ? 16 : sizes[1]);
        close(fd);
    }
    for (int k = 0; k < 2; k++) {
        char json[60];
        snprintf(json, sizeof(json), "[%zu,%zu]", sizes[0], k ? 16 : sizes[1]);
        assert_ok(t->err, asset_set_pieces(t->s, ids[k], json, 2, &t->err));
    }
    while (ask(t, "SELECT count(*) FROM asset WHERE state IN ('new', 'making')"))
        inspect_next(t);
    CLEANUP(kb_freep) char *json = NULL;
    CLEANUP(words_free) struct words words = {0};
    json_t *a = shown(t, ids[0]);
    assert_string_equal(string_at(a, "state"), "ready");
    assert_ok(t->err, asset_words(t->s, ids[0], &json, &t->err));
    assert_ok(t->err, words_parse(&words, json, &t->err));
    assert_int_equal(words.n, 2);
    // Twice as fast, and the pause is what was asked for.
    assert_in_range(words.list[0].end_us, 150000, 260000);
    assert_in_range(words.list[1].begin_us - words.list[0].end_us, 600000, 720000);
    assert_in_range(words.list[1].end_us - words.list[1].begin_us, 250000, 380000);
    json_decref(a);
    a = shown(t, ids[1]);
    assert_string_equal(string_at(a, "state"), "bad");
    assert_non_null(strstr(string_at(a, "error"), "'Good bye!' is no sound"));
    assert_null(strstr(string_at(a, "error"), "work/"));
    json_decref(a);
    for (int i = 0; i < 2; i++)
        free((void *)bytes[i]);
    make_teardown(NULL);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_sounds),
        CASE(test_gaps_are_told),
        CASE(test_a_person_is_found),
        CASE(test_when_a_face_is_seen),
        CASE(test_a_film_without_a_face),
        CASE(test_a_film_that_says_it_is_endless),
        CASE(test_results_are_looked_at_lightly),
        CASE(test_a_film_that_asks_for_all_memory),
        CASE(test_what_cannot_be_read_is_named),
        CASE(test_subtitles_are_read),
        CASE(test_a_text_becomes_a_speech),
        CASE(test_pieces_become_a_speech),
    };
    return cmocka_run_group_tests_name("worker/inspect", tests, load_faces, free_faces);
}
