// People: rows, what of theirs must stay, and the files that hold one.
#include "tests/queue/queue.h"

#include "asset/asset.h"
#include "queue/person.h"
#include "queue/person_file.h"
#include "queue/retention.h"

#include <archive.h>
#include <archive_entry.h>

static const double at[] = {0.25, 0.5, 1.5};

// An asset of these bytes that an inspector has looked at.
static void add_content(struct queue_test *t, const char *name, const char *bytes, char ret[33])
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, "given");
    char sql[200];
    assert_ok(t->err, file_write_atomic(path, bytes, strlen(bytes), &t->err));
    assert_ok(t->err,
              asset_add_file(t->s, &(struct asset_params){.name = name}, path, ret, &t->err));
    snprintf(sql, sizeof(sql), "UPDATE asset SET state = 'ready', kind = 'video' WHERE id = '%s'",
             ret);
    run_sql(t, sql);
    unlink(path);
}

struct anna {
    char id[33], film[33], mouth[33];
};

static struct anna add_anna(struct queue_test *t)
{
    struct anna a;
    char options[200];
    add_content(t, "安娜.mp4", "the film of anna", a.film);
    add_content(t, "mouth.mov", "another film", a.mouth);
    snprintf(options, sizeof(options), "{\"mouth_from\":\"%s\",\"crf\":20,\"loop\":\"freeze\"}",
             a.mouth);
    struct person_params p = {.name = "安娜", .video = a.film, .options = options, .face_at = at};
    assert_ok(t->err, person_create(t->s, &p, a.id, &t->err));
    return a;
}

static void test_rows(void **state)
{
    struct queue_test *t = *state;
    struct anna a = add_anna(t);
    char other[33];
    CLEANUP(person_free) struct person p = {0};
    assert_ok(t->err, person_find(t->s, "安娜", true, &p, &t->err));
    assert_string_equal(p.id, a.id);
    assert_string_equal(p.video, a.film);
    assert_true(p.face_at[0] == 0.25 && p.face_at[1] == 0.5 && p.face_at[2] == 1.5);

    struct person_params again = {.name = "安娜", .video = a.film};
    assert_fails(t->err, KB_BAD_INPUT, "already", person_create(t->s, &again, other, &t->err));
    again.name = " ";
    assert_fails(t->err, KB_BAD_INPUT, "give the person a name",
                 person_create(t->s, &again, other, &t->err));
    again.name = "b";
    again.video = add_asset(t, "audio", "ready", "speech.wav");
    assert_fails(t->err, KB_BAD_INPUT, "speech.wav", person_create(t->s, &again, other, &t->err));
    again.video = a.film;
    again.options = "{\"mouth_from\":\"00000000000000000000000000000000\"}";
    assert_fails(t->err, KB_NOT_FOUND, "no file", person_create(t->s, &again, other, &t->err));

    struct person_params named = {.name = "Anna", .face_at = (const double[]){-1, -1, -1}};
    assert_ok(t->err, person_change(t->s, a.id, &named, &t->err));
    CLEANUP(text_free) struct text json = {0};
    assert_ok(t->err, person_list_json(t->s, &json, &t->err));
    assert_non_null(strstr(text_get(&json), "\"name\":\"Anna\""));
    assert_non_null(strstr(text_get(&json), "\"face_at\":null"));
    assert_non_null(strstr(text_get(&json), "\"name\":\"安娜.mp4\""));
    assert_non_null(strstr(text_get(&json), "\"bytes\":28"));

    // What the batch says itself holds.
    CLEANUP(kb_freep) char *own = NULL;
    assert_ok(t->err, person_own_options(&p, "{\"crf\":30}", &own, &t->err));
    assert_null(strstr(own, "crf"));
    assert_non_null(strstr(own, "mouth_from"));

    assert_ok(t->err, person_delete(t->s, a.id, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no such person", person_delete(t->s, a.id, &t->err));
}

// Nobody can have both: what the batch says holds.
static void test_what_excludes_each_other(void **state)
{
    struct queue_test *t = *state;
    static const struct {
        const char *his, *said, *left;
    } cases[] = {
        {"{\"background\":\"blur\",\"background_key\":\"green\"}", "{\"alpha\":\"webm\"}",
         "{\"background_key\":\"green\"}"},
        {"{\"alpha\":\"mov\",\"loop\":\"none\"}", "{\"background\":\"#ffffff\"}",
         "{\"loop\":\"none\"}"},
        {"{\"background\":\"blur\"}", "{\"alpha\":\"none\"}", "{\"background\":\"blur\"}"},
        {"{\"background\":\"blur\"}", "{\"alpha\":null}", "{\"background\":\"blur\"}"},
        {"{\"crf\":20}", "{\"bitrate\":\"source\"}", "{}"},
        {"{\"bitrate\":\"source\"}", "{\"crf\":30}", "{}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *his = kb_strdup(cases[i].his);
        CLEANUP(kb_freep) char *own = NULL;
        struct person p = {.options = his};
        assert_ok(t->err, person_own_options(&p, cases[i].said, &own, &t->err));
        assert_string_equal(own, cases[i].left);
    }
}

// Neither age nor somebody's deleting takes the files of a person.
static void test_files_stay(void **state)
{
    struct queue_test *t = *state;
    struct anna a = add_anna(t);
    struct retention_report report;
    struct retention_params all = {.of_any_age = true, .keep_days = 0};
    char alone[33];
    add_content(t, "c.mp4", "nobody's", alone);
    assert_fails(t->err, KB_BAD_INPUT, "belongs to the person",
                 asset_delete(t->s, a.film, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "安娜", asset_delete(t->s, a.mouth, &t->err));
    assert_ok(t->err, retention_run(t->s, &all, NULL, NULL, &report, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM asset"), 2);

    assert_ok(t->err, person_delete(t->s, a.id, &t->err));
    assert_ok(t->err, retention_run(t->s, &all, NULL, NULL, &report, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM asset"), 0);
}

// A person's options are laid under the batch's, above the server's.
static void test_in_a_batch(void **state)
{
    struct queue_test *t = *state;
    struct anna a = add_anna(t);
    const char *videos[] = {a.film, a.film}, *own[] = {"{\"crf\":20}", NULL};
    int64_t id = 0;
    struct batch_params p = {.audio = add_asset(t, "audio", "ready", "speech.wav"),
                             .videos = videos,
                             .n_videos = 2,
                             .own_options = own,
                             .options = "{\"loop\":\"none\"}",
                             .priority = 5,
                             .lang = "en"};
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE options = '{\"crf\":20}'"), 1);
    struct job_claim c = claim(t, "w1");
    assert_non_null(strstr(c.options, "\"crf\":20"));
    assert_non_null(strstr(c.options, "none"));
    job_claim_free(&c);
    own[1] = "{\"crf\":99}";
    assert_fails(t->err, KB_BAD_INPUT, "crf", batch_create(t->s, &p, &id, &t->err));
}

// --- files

static void export(struct queue_test *t, const char *id, struct text *ret)
{
    struct person_export *e = NULL;
    char piece[1000];
    int64_t n;
    assert_ok(t->err, person_export_create(t->s, id, &e, &t->err));
    assert_string_equal(person_export_name(e), "安娜.koubo");
    while ((n = person_export_read(e, piece, sizeof(piece))) > 0)
        text_add_bytes(ret, piece, (size_t)n);
    assert_int_equal(n, -1);
    person_export_free(e);
}

static enum kb_code import(struct queue_test *t, const void *bytes, size_t size, char ret[33])
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, "sent.koubo");
    assert_ok(t->err, file_write_atomic(path, bytes, size, &t->err));
    struct person_import p = {.path = path, .lang = "en", .most_bytes = 100000};
    enum kb_code code = person_import(t->s, &p, ret, &t->err);
    unlink(path);
    return code;
}

static void test_export_and_import(void **state)
{
    struct queue_test *t = *state;
    struct anna a = add_anna(t);
    CLEANUP(text_free) struct text file = {0};
    CLEANUP(person_free) struct person p = {0};
    char id[33];
    export(t, a.id, &file);
    assert_ok(t->err, import(t, file.data, file.size, id));
    assert_ok(t->err, person_find(t->s, "安娜-2", true, &p, &t->err));
    assert_string_equal(p.id, id);
    assert_string_not_equal(p.video, a.film);
    assert_true(p.face_at[0] == 0.25 && p.face_at[2] == 1.5);
    assert_null(strstr(p.options, a.mouth));
    assert_non_null(strstr(p.options, "\"crf\":20"));
    struct asset film = {0};
    assert_ok(t->err, asset_find(t->s, p.video, &film, &t->err));
    assert_string_equal(film.name, "安娜.mp4");
    CLEANUP(kb_freep) char *path = asset_path(t->s, film.sha256);
    CLEANUP(file_unmap) struct file_map map = {0};
    assert_ok(t->err, file_map(&map, path, &t->err));
    assert_int_equal(map.size, 16);
    assert_memory_equal(map.data, "the film of anna", 16);

    // The same again, where the folder does not have it.
    assert_int_equal(ask(t, "SELECT count(*) FROM person"), 2);
    assert_int_equal(ask(t, "SELECT count(*) FROM person_asset"), 4);
}

// Whatever byte of it is another, or is missing: nothing, or the same person.
static void test_damaged_files(void **state)
{
    struct queue_test *t = *state;
    struct anna a = add_anna(t);
    CLEANUP(text_free) struct text file = {0};
    char id[33];
    export(t, a.id, &file);
    for (size_t i = 0; i < file.size; i += 13) {
        file.data[i] ^= 0x41;
        if (import(t, file.data, file.size, id) == KB_OK)
            assert_ok(t->err, person_delete(t->s, id, &t->err));
        file.data[i] ^= 0x41;
    }
    for (size_t n = 1; n < 700; n += 37)
        assert_int_equal(import(t, file.data, n, id), KB_BAD_INPUT);
    char *film = memmem(file.data, file.size, "the film of anna", 16);
    assert_non_null(film);
    film[2] = 'E';
    assert_fails(t->err, KB_BAD_INPUT, "no person file", import(t, file.data, file.size, id));
    assert_int_equal(ask(t, "SELECT count(*) FROM person"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE state = 'uploading'"), 0);
}

struct packed {
    const char *name, *bytes;
};

// A zip as others make them.
static size_t pack(char *ret, size_t size, const struct packed *list, size_t n, const char *how)
{
    size_t used = 0;
    struct archive *z = archive_write_new();
    archive_write_set_format_zip(z);
    archive_write_set_options(z, how);
    assert_int_equal(archive_write_open_memory(z, ret, size, &used), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, list[i].name);
        archive_entry_set_size(e, (la_int64_t)strlen(list[i].bytes));
        archive_entry_set_filetype(e, AE_IFREG);
        archive_entry_set_perm(e, 0644);
        assert_int_equal(archive_write_header(z, e), ARCHIVE_OK);
        archive_write_data(z, list[i].bytes, strlen(list[i].bytes));
        archive_entry_free(e);
    }
    archive_write_close(z);
    archive_write_free(z);
    return used;
}

#define HASH_OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define MANIFEST_OF(name, files)                                                                   \
    "{\"koubo_person\":1,\"name\":\"" name "\",\"options\":{},\"files\":[" files "]}"
#define FILM(size)                                                                                 \
    "{\"role\":\"video\",\"name\":\"../../a.mp4\",\"size\":" size ",\"sha256\":\"" HASH_OF_ABC "\"}"

static void test_files_of_strangers(void **state)
{
    struct queue_test *t = *state;
    static char zip[20000];
    char id[33];
    const struct packed good[] = {{"manifest.json", MANIFEST_OF("x/../y", FILM("3"))},
                                  {"video", "abc"}};
    size_t n = pack(zip, sizeof(zip), good, 2, "zip:compression=store");
    assert_ok(t->err, import(t, zip, n, id));
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE name = 'a.mp4'"), 1);
    assert_ok(t->err, person_delete(t->s, id, &t->err));

    static const struct packed bad[][2] = {
        {{"manifest.json", MANIFEST_OF("a", FILM("4"))}, {"video", "abc"}},
        {{"manifest.json", MANIFEST_OF("a", FILM("2"))}, {"video", "abc"}},
        {{"manifest.json", MANIFEST_OF("a", FILM("9000000000"))}, {"video", "abc"}},
        {{"manifest.json", MANIFEST_OF("a", FILM("-3"))}, {"video", "abc"}},
        {{"manifest.json", MANIFEST_OF("a", FILM("3") "," FILM("3"))}, {"video", "abc"}},
        {{"manifest.json", MANIFEST_OF("a", FILM("3"))}, {"../video", "abc"}},
        {{"manifest.json", MANIFEST_OF("a", FILM("3"))}, {"video", "abd"}},
        {{"video", "abc"}, {"manifest.json", MANIFEST_OF("a", FILM("3"))}},
        {{"manifest.json", MANIFEST_OF("a", "")}, {"video", "abc"}},
        {{"manifest.json", "[]"}, {"video", "abc"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        n = pack(zip, sizeof(zip), bad[i], 2, "zip:compression=store");
        assert_int_equal(import(t, zip, n, id), KB_BAD_INPUT);
    }
    n = pack(zip, sizeof(zip), good, 2, "zip:compression=deflate"); // nothing is decompressed
    assert_fails(t->err, KB_BAD_INPUT, "no person file", import(t, zip, n, id));
    assert_int_equal(ask(t, "SELECT count(*) FROM person"), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_what_excludes_each_other, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_files_stay, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_in_a_batch, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_export_and_import, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_damaged_files, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_files_of_strangers, queue_setup, queue_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
