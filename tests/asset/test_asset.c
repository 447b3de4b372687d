// Assets: contents kept once, names, addresses and texts; and what inspectors do with them.
#include "tests/asset/assets.h"

#include "asset/asset.h"
#include "asset/claim.h"
#include "asset/upload.h"
#include "asset/internal.h"
#include "queue/batch.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <fcntl.h>

// --- contents

static void set_facts(struct queue_test *t, const char *id)
{
    static const uint8_t peaks[] = {0, 128, 255};
    struct asset_facts f = {.kind = "video",
                            .duration_ms = 1500,
                            .width = 640,
                            .height = 480,
                            .fps = 29.97,
                            .codec = "h264",
                            .n_faces = 2,
                            .n_face_boxes = 2,
                            .face_boxes = {{0.1f, 0.2f, 0.3f, 0.4f}, {0.6f, 0.2f, 0.3f, 0.4f}},
                            .warnings = {"no_face", "short"},
                            .peaks = peaks,
                            .n_peaks = 3,
                            .thumbnail = true};
    assert_ok(t->err, asset_set_facts(t->s, id, &f, &t->err));
}

static json_t *json_of(struct queue_test *t, const char *id)
{
    struct text text = {0};
    assert_ok(t->err, asset_json(t->s, id, &text, &t->err));
    return parse(&text);
}

static void test_kept_once(void **state)
{
    struct queue_test *t = *state;
    char first[33], second[33], third[33], other[33];
    upload(t, "same.mp4", "content", 7, first);
    upload(t, "same.mp4", "content", 7, second); // two of one name, one content
    upload(t, "same.mp4", "another", 7, other);  // and another content
    assert_string_not_equal(first, second);
    assert_int_equal(count_files(t, "files"), 2);
    assert_string_equal(find(t, second).state, "new");

    // what is known about the first is known about the third at once
    set_facts(t, first);
    run_sql(t, "UPDATE asset SET face_boxes_at = 7321.48 WHERE state = 'ready'");
    upload(t, "third.mp4", "content", 7, third);
    json_t *a = json_of(t, third);
    assert_string_equal(get_text(a, "state"), "ready");
    assert_string_equal(get_text(a, "name"), "third.mp4");
    assert_string_equal(get_text(a, "kind"), "video");
    assert_string_equal(get_text(a, "codec"), "h264");
    assert_int_equal(get_int(a, "duration"), 1500);
    assert_int_equal(get_int(a, "faces"), 2);
    assert_int_equal(json_array_size(json_object_get(a, "face_boxes")), 2);
    assert_int_equal(json_array_size(json_object_get(a, "warnings")), 2);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(a, "peaks"), 2)), 255);
    assert_non_null(strstr(get_text(a, "thumbnail"), third));
    assert_true(json_number_value(json_object_get(a, "face_boxes_at")) == 7321.48);
    json_decref(a);

    // the content goes with its last asset, and its picture too
    char sha256[65];
    sha256_hex(sha256, "content", 7);
    CLEANUP(kb_freep) char *name = kb_printf("%s.jpg", sha256);
    CLEANUP(kb_freep) char *thumb = store_path(t->s, "thumbs", name);
    CLEANUP(kb_freep) char *content = asset_path(t->s, sha256);
    assert_ok(t->err, file_write_atomic(thumb, "jpeg", 4, &t->err));
    assert_ok(t->err, asset_delete(t->s, first, &t->err));
    assert_ok(t->err, asset_delete(t->s, third, &t->err));
    assert_true(file_exists(content) && file_exists(thumb));
    assert_ok(t->err, asset_delete(t->s, second, &t->err));
    assert_false(file_exists(content) || file_exists(thumb));
    assert_int_equal(count_files(t, "files"), 1);
    assert_fails(t->err, KB_NOT_FOUND, "exist", asset_delete(t->s, second, &t->err));
}

// A file's subtitles are its content's; what a speech says is of the text that it was made of.
static void test_words_are_kept_with_the_content(void **state)
{
    struct queue_test *t = *state;
    char first[33], second[33], third[33];
    upload(t, "a.srt", "content", 7, first);
    set_facts(t, first);
    run_sql(t, "UPDATE asset SET kind = 'text', words = '{\"cues\":[]}'");
    upload(t, "b.srt", "content", 7, second);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE words = '{\"cues\":[]}'"), 2);
    run_sql(t, "UPDATE asset SET kind = 'audio'");
    upload(t, "c.wav", "content", 7, third);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE words IS NULL"), 1);
}

// A content on disk that is too short (a damaged disk, an old crash) is replaced by whole bytes.
static void test_damaged_content_heals(void **state)
{
    struct queue_test *t = *state;
    char id[33], sha256[65];
    sha256_hex(sha256, "content", 7);
    CLEANUP(kb_freep) char *path = asset_path(t->s, sha256);
    assert_ok(t->err, file_write_atomic(path, "con", 3, &t->err));
    upload(t, "x.mp4", "content", 7, id);
    assert_content(t, id, "content", 7);
}

// Contents behind a border that links cannot cross: a mount of their own.
static void test_content_on_other_disk(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    CLEANUP(kb_freep) char *files = path_join(t->folder, "files");
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("koubo", files, "tmpfs", 0, NULL) != 0)
        SKIP_TEST("no disk can be mounted here");
    upload(t, "x.mp4", "content", 7, id);
    assert_content(t, id, "content", 7);
    assert_int_equal(count_files(t, "files"), 1);
    assert_ok(t->err, asset_delete(t->s, id, &t->err));
    assert_int_equal(count_files(t, "files"), 0);
    assert_int_equal(umount(files), 0);
}

static void test_delete_needed(void **state)
{
    struct queue_test *t = *state;
    int64_t batch = add_batch(t, 1, 5);
    run_sql(t, "UPDATE batch SET name = 'Monday'");
    char audio[33], video[33];
    snprintf(audio, sizeof(audio), "%032x", 1);
    snprintf(video, sizeof(video), "%032x", 2);
    assert_fails(t->err, KB_BAD_INPUT, "Monday", asset_delete(t->s, audio, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "v.mp4", asset_delete(t->s, video, &t->err));
    assert_ok(t->err, batch_cancel(t->s, batch, &t->err));
    assert_ok(t->err, asset_delete(t->s, audio, &t->err));
    assert_ok(t->err, asset_delete(t->s, video, &t->err));
}

static enum kb_code room_for_one_more(void *ctx, struct kb_error *err)
{
    int *left = ctx;
    return (*left)-- > 0 ? KB_OK : kb_fail(err, KB_NO_SPACE, "the disk is full");
}

// A long copy looks at the disk all the while, and can be broken off; nothing of it stays.
static void test_copy_with_care(void **state)
{
    struct queue_test *t = *state;
    char id[33], path[64];
    int from = memfd_create("long", MFD_CLOEXEC), left = 2; // no disk shares blocks with that
    assert_int_equal(ftruncate(from, 40 << 20), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", from);
    struct cancel cancel = {0};
    const struct asset_care care = {&cancel, room_for_one_more, &left};
    struct asset_params p = {.lang = "en", .name = "long.wav", .care = &care};
    assert_fails(t->err, KB_NO_SPACE, "full", asset_add_file(t->s, &p, path, id, &t->err));
    assert_int_equal(left, -1);
    cancel_request(&cancel);
    left = 100;
    assert_fails(t->err, KB_CANCELLED, "", asset_add_file(t->s, &p, path, id, &t->err));
    assert_int_equal(left, 100);
    assert_int_equal(asset_count_uploads(t->s, NULL), 0);
    close(from);
}

static void test_file_of_this_machine(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    CLEANUP(kb_freep) char *path = path_join(t->folder, "given.wav");
    CLEANUP(kb_freep) char *empty = path_join(t->folder, "empty.wav");
    CLEANUP(kb_freep) char *fifo = path_join(t->folder, "fifo");
    struct asset_params p = {.lang = "en"};
    assert_ok(t->err, file_write_atomic(path, "speech", 6, &t->err));
    assert_ok(t->err, file_write_atomic(empty, "", 0, &t->err));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_ok(t->err, asset_add_file(t->s, &p, path, id, &t->err));
    assert_content(t, id, "speech", 6);
    assert_string_equal(find(t, id).name, "given.wav");
    assert_true(file_exists(path));
    assert_fails(t->err, KB_BAD_INPUT, "empty", asset_add_file(t->s, &p, empty, id, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "regular", asset_add_file(t->s, &p, t->folder, id, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "regular", asset_add_file(t->s, &p, fifo, id, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no.wav",
                 asset_add_file(t->s, &p, "/nowhere/no.wav", id, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM asset"), 1);
}

// --- names

static void test_names(void **state)
{
    struct queue_test *t = *state;
    char utf8_long[600], utf8_cut[256];
    for (int i = 0; i < 199; i++)
        memcpy(utf8_long + 3 * i, "口", 4);
    memcpy(utf8_cut, utf8_long, 255);
    utf8_cut[255] = '\0'; // 85 characters of 3 bytes
    char odd_long[600] = "a", odd_cut[256];
    memcpy(odd_long + 1, utf8_long, sizeof(odd_long) - 1);
    memcpy(odd_cut, odd_long, 253);
    odd_cut[253] = '\0';
    const struct {
        const char *given, *kept;
    } cases[] = {
        {"talk.mp4", "talk.mp4"},
        {"口播 第一期.mp4", "口播 第一期.mp4"},
        {"../../etc/passwd", "passwd"},
        {"/absolute/a.mp4", "a.mp4"},
        {"C:\\Users\\me\\b.mp4", "b.mp4"},
        {"a/..\\c.mp4", "c.mp4"},
        {"..", "unnamed"},
        {"x/.", "unnamed"},
        {"folder/", "unnamed"},
        {"", "unnamed"},
        {" \t\n ", "unnamed"},
        {"line\r\nbreak\x01\x7f.mp4", "linebreak.mp4"},
        {"zero\xc0\x80.mp4", "zero\xef\xbf\xbd\xef\xbf\xbd.mp4"},   // NUL, overlong
        {"slash\xc0\xaf.mp4", "slash\xef\xbf\xbd\xef\xbf\xbd.mp4"}, // "/", overlong
        {"half\xe5\x8f", "half\xef\xbf\xbd\xef\xbf\xbd"},
        {"surrogate\xed\xa0\x80", "surrogate\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"latin\xe9.mp4", "latin\xef\xbf\xbd.mp4"},
        {"exe\xe2\x80\xae"
         "4pm.js",
         "exe4pm.js"}, // right-to-left override
        {"a\xe2\x81\xa6"
         "b\xe2\x81\xa9.mp4",
         "ab.mp4"}, // isolates
        {"c1\xc2\x85"
         "end",
         "c1end"},
        {"family 👨\u200d👩\u200d👧.mp4", "family 👨\u200d👩\u200d👧.mp4"}, // joiners stay
        {utf8_long, utf8_cut},
        {odd_long, odd_cut},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char id[33];
        create(t, cases[i].given, 1, id);
        assert_string_equal(find(t, id).name, cases[i].kept);
        json_decref(json_of(t, id)); // valid JSON, so valid UTF-8
    }
}

static void assert_source(struct queue_test *t, const char *id, const char *expected)
{
    CLEANUP(kb_freep) char *source = NULL;
    assert_ok(t->err, asset_source(t->s, id, &source, &t->err));
    assert_string_equal(source, expected);
}

static bool any(void *ctx, const char *id, const char *url)
{
    return true;
}

static void test_addresses_and_texts(void **state)
{
    struct queue_test *t = *state;
    struct asset_params p = {.lang = "en"};
    struct asset a;
    char id[33];
    const struct {
        const char *url, *name;
    } good[] = {{"https://example.com/videos/%E5%8F%A3.mp4?x=/y.z#f", "口.mp4"},
                {"HTTP://example.com/a%2Fb%00c%zz.mp4", "b%00c%zz.mp4"},
                {"http://example.com", "unnamed"},
                {"http://example.com/%+1%", "%+1%"}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_ok(t->err, asset_create_url(t->s, &p, good[i].url, id, &t->err));
        a = find(t, id);
        assert_string_equal(a.name, good[i].name);
        assert_source(t, id, good[i].url);
        assert_false(a.spoken);
        assert_string_equal(a.state, "fetching");
        assert_int_equal(a.size_bytes, -1);
    }
    static const char *const bad[] = {"file:///etc/passwd", "ftp://a/b",    "http://", "//x",
                                      "http://a b/",        "http://a/\nb", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(t->err, KB_BAD_INPUT, "address",
                     asset_create_url(t->s, &p, bad[i], id, &t->err));

    assert_ok(t->err, asset_next_fetch(t->s, any, NULL, id, &t->err));
    assert_source(t, id, good[0].url);
    struct kb_error why = {.code = KB_UNAVAILABLE, .text = "no such server"};
    assert_ok(t->err, asset_fail(t->s, id, &why, &t->err));
    json_t *json = json_of(t, id);
    assert_string_equal(get_text(json, "state"), "bad");
    assert_string_equal(get_text(json, "error"), "no such server");
    json_decref(json);
    assert_ok(t->err, asset_next_fetch(t->s, any, NULL, id, &t->err));
    assert_source(t, id, good[1].url);

    assert_fails(t->err, KB_BAD_INPUT, "text",
                 asset_create_speech(t->s, &p, " \n", NULL, id, &t->err));
    assert_ok(t->err, asset_create_speech(t->s, &p, "大家好，\n欢迎。", "zh", id, &t->err));
    a = find(t, id);
    assert_string_equal(a.name, "大家好， 欢迎。");
    assert_source(t, a.id, "大家好，\n欢迎。");
    assert_true(a.spoken);
    assert_string_equal(a.voice, "zh");
    assert_string_equal(a.state, "making");
}

// What a machine sends of a job is filed as what users send, and none of theirs.
static void test_results(void **state)
{
    struct queue_test *t = *state;
    char id[33], twin[33];
    CLEANUP(text_free) struct text json = {0};
    struct asset_upload *u = NULL;
    struct asset_params p = {.name = "result.mp4", .size_bytes = -1, .job = 7};
    upload(t, "twin.mp4", "result", 6, twin);
    set_facts(t, twin);
    assert_ok(t->err, asset_create(t->s, &p, id, &t->err));
    assert_int_equal(find(t, id).job, 7);
    assert_int_equal(find(t, twin).job, 0);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "res", 3, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
    assert_int_equal(find(t, id).expires_ms, 0);
    assert_int_equal(asset_count_uploads(t->s, NULL), 0);
    assert_fails(t->err, KB_NOT_FOUND, "does not exist", asset_json(t->s, id, &json, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "does not exist", asset_delete(t->s, id, &t->err));
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "ult", 3, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, true, NULL, &t->err));
    assert_string_equal(find(t, id).state, "new"); // it is looked at as a result is
    run_sql(t, "UPDATE asset SET state = 'bad' WHERE job = 7");
    assert_fails(t->err, KB_NOT_FOUND, "does not exist", asset_inspect_again(t->s, id, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "does not exist", asset_delete(t->s, id, &t->err));
    // Nor does what was found of it count for users.
    run_sql(t, "UPDATE asset SET state = iif(job, 'ready', 'bad')");
    upload(t, "twin.mp4", "result", 6, twin);
    assert_string_equal(find(t, twin).state, "new");
}

// --- inspectors

static void test_whose_turn(void **state)
{
    struct queue_test *t = *state;
    char ids[4][33];
    struct asset a;
    static const int jobs[] = {0, 7, 0, 8};
    for (int i = 0; i < 4; i++) {
        upload(t, "f.mp4", ids[i], 5 + (size_t)i, ids[i]);
        CLEANUP(kb_freep)
        char *sql = kb_printf("UPDATE asset SET created_ms = %d, job = NULLIF(%d, 0)"
                              " WHERE id = '%s'",
                              i, jobs[i], ids[i]);
        run_sql(t, sql);
    }
    static const struct {
        bool results_first;
        int wanted;
    } turns[] = {{true, 1}, {false, 0}, {true, 3}, {true, 2}};
    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        assert_ok(t->err, asset_claim(t->s, "i1", turns[i].results_first, &a, &t->err));
        assert_string_equal(a.id, ids[turns[i].wanted]);
        assert_int_equal(a.job, jobs[turns[i].wanted]);
    }
}

static void test_claims(void **state)
{
    struct queue_test *t = *state;
    char file[33], speech[33];
    struct asset a;
    struct asset_params p = {.lang = "en"};
    assert_fails(t->err, KB_EOF, "", asset_claim(t->s, "i1", false, &a, &t->err));
    upload(t, "f.mp4", "bytes", 5, file);
    run_sql(t, "UPDATE asset SET created_ms = 1");
    assert_ok(t->err, asset_create_speech(t->s, &p, "hello", "en", speech, &t->err));

    assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err));
    assert_string_equal(a.id, file);
    assert_ok(t->err, asset_claim(t->s, "i2", false, &a, &t->err));
    assert_string_equal(a.id, speech);
    assert_fails(t->err, KB_EOF, "", asset_claim(t->s, "i1", false, &a, &t->err));
    set_facts(t, file);
    assert_string_equal(find(t, file).state, "ready");
    assert_fails(t->err, KB_NOT_FOUND, "",
                 asset_set_facts(t->s, file, &(struct asset_facts){.kind = "audio"}, &t->err));

    // the speech is made, and then looked at as any other file
    CLEANUP(kb_freep) char *wav = path_join(t->folder, "speech.wav");
    assert_ok(t->err, file_write_atomic(wav, "RIFF", 4, &t->err));
    assert_ok(t->err, asset_set_content(t->s, speech, wav, &t->err));
    assert_content(t, speech, "RIFF", 4);
    assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err));
    assert_string_equal(a.id, speech);
    assert_string_equal(a.state, "new");

    // an inspector that ends with its server frees what it had, and is late with what a full disk
    // hinders, however often; one that crashes three times is blamed on the file
    for (int i = 0; i < 5; i++) {
        assert_fails(t->err, KB_EOF, "", asset_claim(t->s, "i1", false, &a, &t->err));
        if (i % 2)
            run_sql(t, "UPDATE asset SET lease_ms = 1 WHERE worker IS NOT NULL");
        else
            assert_ok(t->err, asset_worker_lost(t->s, "i1", &t->err));
        assert_ok(t->err, asset_sweep(t->s, &t->err));
        assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err));
        assert_string_equal(a.id, speech);
    }
    for (int i = 0; i < 3; i++) {
        assert_ok(t->err, asset_worker_crashed(t->s, "i1", &t->err));
        assert_ok(t->err, asset_sweep(t->s, &t->err));
        assert_int_equal(asset_claim(t->s, "i1", false, &a, &t->err), i < 2 ? KB_OK : KB_EOF);
    }
    json_t *json = json_of(t, speech);
    assert_string_equal(get_text(json, "state"), "bad");
    assert_non_null(strstr(get_text(json, "error"), "crashed on this one 3 times"));
    json_decref(json);

    // It may be looked at again while its content is there.
    assert_fails(t->err, KB_BAD_INPUT, "not bad", asset_inspect_again(t->s, file, &t->err));
    assert_ok(t->err, asset_inspect_again(t->s, speech, &t->err));
    assert_string_equal(find(t, speech).state, "new");
    assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err));
    struct kb_error why = {0};
    kb_fail(&why, KB_BAD_INPUT, "it is no sound");
    assert_ok(t->err, asset_fail(t->s, speech, &why, &t->err));
    CLEANUP(kb_freep) char *content = asset_path(t->s, a.sha256);
    assert_int_equal(unlink(content), 0);
    assert_fails(t->err, KB_BAD_INPUT, "upload it again",
                 asset_inspect_again(t->s, speech, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "", asset_inspect_again(t->s, "none", &t->err));
}

// Whoever held it before the clock was set back by hours does not hold it for hours.
static void test_clock_set_back(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset a;
    upload(t, "f.mp4", "bytes", 5, id);
    assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err));
    assert_fails(t->err, KB_EOF, "", asset_claim(t->s, "i1", false, &a, &t->err));
    run_sql(t, "UPDATE asset SET lease_ms = lease_ms + 36000000");
    assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err));
    assert_string_equal(a.id, id);
}

// How far the looking at a file is.
static void test_progress(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset a;
    upload(t, "f.mp4", "bytes", 5, id);
    static const struct {
        double told, shown; // negative: null
    } steps[] = {{-1, 0}, {0.25, 0.25}, {0.1, 0.25}, {1.7, 1}};
    json_t *json = json_of(t, id);
    assert_true(json_is_null(json_object_get(json, "progress"))); // nobody looks
    json_decref(json);
    assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        if (steps[i].told >= 0)
            asset_tell(t->s, id, steps[i].told);
        json = json_of(t, id);
        assert_true(json_number_value(json_object_get(json, "progress")) == steps[i].shown);
        json_decref(json);
    }
    assert_ok(t->err, asset_give_back(t->s, id, "i1", &t->err));
    json = json_of(t, id);
    assert_true(json_is_null(json_object_get(json, "progress")));
    json_decref(json);
    assert_ok(t->err, asset_claim(t->s, "i1", false, &a, &t->err)); // from the beginning
    json = json_of(t, id);
    assert_true(json_number_value(json_object_get(json, "progress")) == 0);
    json_decref(json);
    set_facts(t, id);
    json = json_of(t, id);
    assert_true(json_is_null(json_object_get(json, "progress")));
    json_decref(json);
}

static void test_expired(void **state)
{
    struct queue_test *t = *state;
    char old[33], young[33], busy[33];
    struct asset_upload *u = NULL;
    struct asset_params p = {
        .name = "o.mp4", .size_bytes = 10, .client = "me", .expires_ms = kb_wall_ms() + 100000};
    assert_ok(t->err, asset_create(t->s, &p, old, &t->err));
    assert_ok(t->err, asset_create(t->s, &p, busy, &t->err));
    assert_ok(t->err, asset_create(t->s, &p, young, &t->err));
    assert_int_equal(asset_count_uploads(t->s, "me"), 3);
    assert_int_equal(asset_count_uploads(t->s, "you"), 0);
    assert_ok(t->err, asset_upload_open(&u, t->s, old, &t->err));
    assert_ok(t->err, asset_upload_write(u, "01", 2, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
    assert_ok(t->err, asset_sweep(t->s, &t->err)); // a byte came just now
    assert_int_equal((find(t, old).expires_ms - kb_wall_ms() + 60000) / 3600000, 24);
    run_sql(t, "UPDATE asset SET expires_ms = 1 WHERE rowid < 3"); // old and busy
    assert_ok(t->err, asset_upload_open(&u, t->s, busy, &t->err)); // bytes are arriving
    assert_ok(t->err, asset_sweep(t->s, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "", asset_find(t->s, old, &(struct asset){0}, &t->err));
    assert_string_equal(find(t, young).state, "uploading");
    assert_string_equal(find(t, busy).state, "uploading");
    assert_int_equal(count_files(t, "uploads"), 1);
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
    run_sql(t, "UPDATE asset SET expires_ms = 1 WHERE rowid = 2");
    assert_ok(t->err, asset_sweep(t->s, &t->err));
    assert_int_equal(asset_count_uploads(t->s, "me"), 1);
    assert_int_equal(count_files(t, "uploads"), 0);
}

static void test_list(void **state)
{
    struct queue_test *t = *state;
    add_asset(t, "audio", "ready", "one 100%.wav");
    add_asset(t, "video", "ready", "two.mp4");
    add_asset(t, "video", "bad", "three.mp4");
    const struct {
        struct asset_filter filter;
        int total, items;
        const char *first;
    } cases[] = {
        {{0}, 3, 3, "three.mp4"},
        {{.kind = "video"}, 2, 2, "three.mp4"},
        {{.state = "ready"}, 2, 2, "two.mp4"},
        {{.search = "%"}, 1, 1, "one 100%.wav"},
        {{.search = "O"}, 2, 2, "two.mp4"},
        {{.offset = 1, .limit = 1}, 3, 1, "two.mp4"},
        {{.kind = "video", .state = "bad", .search = "thr"}, 1, 1, "three.mp4"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text text = {0};
        assert_ok(t->err, asset_list_json(t->s, &cases[i].filter, &text, &t->err));
        json_t *json = parse(&text), *items = json_object_get(json, "items");
        assert_int_equal(get_int(json, "total"), cases[i].total);
        assert_int_equal(json_array_size(items), cases[i].items);
        assert_string_equal(get_text(json_array_get(items, 0), "name"), cases[i].first);
        json_decref(json);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    const struct CMUnitTest tests[] = {
        TEST(test_kept_once),
        TEST(test_words_are_kept_with_the_content),
        TEST(test_damaged_content_heals),
        TEST(test_content_on_other_disk),
        TEST(test_delete_needed),
        TEST(test_file_of_this_machine),
        TEST(test_copy_with_care),
        TEST(test_names),
        TEST(test_addresses_and_texts),
        TEST(test_results),
        TEST(test_whose_turn),
        TEST(test_claims),
        TEST(test_clock_set_back),
        TEST(test_progress),
        TEST(test_expired),
        TEST(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
