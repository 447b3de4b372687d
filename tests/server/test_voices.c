// Voices of services: added and tried over the API, asked by the server's own threads; an inspector
// is played by the test. tests/voices/service.mjs is the service.
#include "tests/server/live.h"
#include "tests/voices/service.h"

#include "asset/claim.h"
#include "asset/speech.h"
#include "base/file.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEY "sk-of-the-test"

// Is the disk full for what a service says, which only the write tells? Else it is libc's own.
static atomic_bool full;

ssize_t write(int fd, const void *data, size_t n)
{
    char at[40], path[400];
    snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
    ssize_t length = atomic_load(&full) ? readlink(at, path, sizeof(path)) : 0;
    if (length < 5 || memcmp(path + length - 5, ".part", 5) != 0)
        return syscall(SYS_write, fd, data, n);
    errno = ENOSPC;
    return -1;
}

static int setup(void **state)
{
    return live_setup(state) == 0 ? service_start() : -1;
}

static int teardown(void **state)
{
    service_stop();
    return live_teardown(state);
}

static json_t *ask(struct live *l, int wanted, const char *method, const char *path,
                   const char *body)
{
    CLEANUP(kb_freep) char *json = body ? service_json(body) : NULL;
    return live_ask(l, wanted, method, path, json);
}

static int64_t number_of(struct live *l, const char *sql)
{
    int64_t n = -1;
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(l->site.store->db, sql, -1, &q, NULL), SQLITE_OK);
    if (sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static void wait_for(struct live *l, const char *sql)
{
    for (int i = 0; i < 30000 && number_of(l, sql) != 1; i++)
        usleep(2000);
    if (number_of(l, sql) != 1)
        fail_msg("never: %s", sql);
}

static const char *add_body(const char *more)
{
    static char ret[1000];
    snprintf(ret, sizeof(ret),
             "{'name':'demo','kind':'openai','url':'URL','title':'示范','languages':['zh'],"
             "'key':'%s','timeout_s':10}",
             more);
    return ret;
}

static void test_settings(void **state)
{
    struct live *l = *state;
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    assert_string_equal(text_at(saved, "items.0.key"), "********");
    assert_true(json_is_true(
        json_object_get(json_array_get(json_object_get(saved, "items"), 0), "changeable")));
    CLEANUP(kb_freep) char *path = path_join(l->site.folder, "voices.json");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    json_auto_t *voices = ask(l, 200, "GET", "/api/v1/voices", NULL);
    assert_string_equal(text_at(voices, "items.0.name"), "demo");
    assert_string_equal(text_at(voices, "items.0.title"), "示范");
    assert_string_equal(text_at(voices, "items.0.languages.0"), "zh");
    assert_string_equal(text_at(voices, "items.1.kind"), "espeak-ng");

    // With stars the key stays, to another address it does not go.
    json_auto_t *again = ask(l, 200, "POST", "/api/v1/settings/voices", add_body("********"));
    json_auto_t *sample =
        ask(l, 200, "POST", "/api/v1/voices/sample", "{'text':'refuse','voice':'demo'}");
    assert_true(json_is_false(json_object_get(sample, "ok")));
    assert_non_null(strstr(text_at(sample, "error"), "answered 400: no: Bearer *****"));
    json_auto_t *last = ask_service("last");
    assert_string_equal(text_at(last, "headers.authorization"), "Bearer " KEY);
    live_refuses(l, 400, "bad_input", "give its key again", "POST", "/api/v1/settings/voices",
                 "{\"name\":\"demo\",\"kind\":\"openai\",\"url\":\"http://127.0.0.1:1\","
                 "\"key\":\"********\"}");
    live_refuses(l, 400, "bad_input", "at the machine itself", "POST", "/api/v1/settings/voices",
                 "{\"name\":\"x\",\"kind\":\"command\",\"command\":[\"id\"]}");
    json_auto_t *gone = ask(l, 200, "DELETE", "/api/v1/settings/voices/demo", NULL);
    assert_int_equal(number_at(gone, "total"), 0);
    live_refuses(l, 404, "not_found", "no such voice", "DELETE", "/api/v1/settings/voices/demo",
                 NULL);
    live_refuses(l, 400, "bad_input", "no such voice", "POST", "/api/v1/assets",
                 "{\"text\":\"x\",\"voice\":\"demo\"}");
}

static void test_fields(void **state)
{
    static const char *const bad[][2] = {
        {"{\"text\":\"x\",\"speed\":3}", "0.5 to 2"},
        {"{\"text\":\"x\",\"speed\":\"1\"}", "0.5 to 2"},
        {"{\"text\":\"x\",\"pause\":-1}", "0 to 5"},
        {"{\"text\":\"x\",\"sample\":true}", "sample"},
    };
    struct live *l = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        live_refuses(l, 400, "bad_input", bad[i][1], "POST", "/api/v1/assets", bad[i][0]);
    json_auto_t *a = ask(l, 201, "POST", "/api/v1/assets", "{'text':'x','speed':1.5,'pause':0}");
    struct asset_speech how;
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *pieces = NULL;
    assert_ok(err, asset_speech(l->site.store, text_at(a, "id"), &how, &pieces, &err));
    assert_true(how.speed > 1.49 && how.speed < 1.51 && how.has_pause && how.pause_ms == 0);
    assert_false(how.fetched || how.sample);
}

// The server asks, one text at a time of a voice, and keeps what comes for the inspector; what
// fails says why, in the asset.
static void test_speeches(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    json_auto_t *good = ask(l, 201, "POST", "/api/v1/assets",
                            "{'text':'你好。再见！','voice':'demo','speed':1.25}");
    json_auto_t *bad = ask(l, 201, "POST", "/api/v1/assets", "{'text':'refuse','voice':'demo'}");
    json_auto_t *more = ask(l, 201, "POST", "/api/v1/assets", "{'text':'hello','voice':'demo'}");
    wait_for(l, "SELECT count(*) = 2 FROM asset WHERE pieces LIKE '[%]'");
    wait_for(l, "SELECT count(*) = 1 FROM asset WHERE state = 'bad'");
    assert_int_equal(service_number("most"), 1);
    CLEANUP(kb_freep) char *why = asset_error(l->site.store, text_at(bad, "id"));
    assert_non_null(strstr(why, "answered 400"));
    assert_null(strstr(why, KEY));

    struct asset_speech how;
    CLEANUP(kb_freep) char *pieces = NULL;
    assert_ok(err, asset_speech(l->site.store, text_at(good, "id"), &how, &pieces, &err));
    assert_string_equal(pieces, "[30764,30764]"); // a tone of 3 letters with 0.4 s of silence
    assert_true(how.tempo == 1);                  // the service was told
    CLEANUP(kb_freep)
    char *part = kb_printf("%s/uploads/%s.part", l->site.folder, text_at(good, "id"));
    struct stat st;
    assert_int_equal(stat(part, &st), 0);
    assert_int_equal(st.st_size, 2 * 30764);

    // An inspector gets it now, and not before.
    struct asset claimed;
    assert_ok(err, asset_claim(l->site.store, "i1", false, &claimed, &err));
    assert_string_equal(claimed.id, text_at(good, "id"));

    // Removed, nothing of it stays.
    CLEANUP(kb_freep) char *path = kb_printf("/api/v1/assets/%s", text_at(good, "id"));
    json_auto_t *nothing = ask(l, 204, "DELETE", path, NULL);
    assert_int_not_equal(stat(part, &st), 0);
}

// What is wrong with the server's own disk or files passes: the speech waits and says why, and the
// service is not asked meanwhile.
static void test_waits_for_the_disk(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    int before = service_number("count");
    char id[33];
    live_restart(l, &(struct server_params){.supervisor.worker.min_free_bytes = INT64_MAX / 2});
    const struct asset_params p = {.name = "a", .speech = &(struct asset_speech){.fetched = true}};
    assert_ok(err, asset_create_speech(l->site.store, &p, "hello", "demo", id, &err));
    wait_for(l, "SELECT count(*) = 1 FROM asset WHERE state = 'making' AND"
                " error LIKE '%not enough disk space%'");
    CLEANUP(kb_freep) char *path = kb_printf("/api/v1/assets/%s", id);
    json_auto_t *shown = ask(l, 200, "GET", path, NULL);
    assert_non_null(strstr(text_at(shown, "error"), "must stay free"));
    CLEANUP(kb_freep) char *part = kb_printf("%s/uploads/%s.part", l->site.folder, id);
    int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0); // somebody has it
    live_restart(l, &(struct server_params){0});
    wait_for(l, "SELECT count(*) = 1 FROM asset WHERE state = 'making' AND"
                " error LIKE '%could not be stored%'");
    assert_int_equal(service_number("count"), before);
    close(fd);
    wait_for(l, "SELECT count(*) = 1 FROM asset WHERE pieces LIKE '[%]' AND error IS NULL");
    assert_int_equal(service_number("count"), before + 1);
}

// A disk that only the write finds full: the service is asked a few times, not for ever, and the
// speech says what was wrong.
static void test_fails_where_nothing_can_be_kept(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    char id[33];
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    int before = service_number("count");
    const struct asset_params p = {.name = "a", .speech = &(struct asset_speech){.fetched = true}};
    live_restart(l, &(struct server_params){.speech_again_ms = 10});
    atomic_store(&full, true);
    assert_ok(err, asset_create_speech(l->site.store, &p, "hello", "demo", id, &err));
    wait_for(l, "SELECT count(*) = 1 FROM asset WHERE state = 'bad' AND"
                " error LIKE '%could not be stored%'");
    atomic_store(&full, false);
    assert_int_equal(service_number("count"), before + 5);
}

// However many wait for the disk, each is tried, and then not again for ten seconds.
static void test_many_wait_for_the_disk(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    char id[33];
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    live_restart(l, &(struct server_params){.supervisor.worker.min_free_bytes = INT64_MAX / 2});
    const struct asset_params p = {.name = "a", .speech = &(struct asset_speech){.fetched = true}};
    store_set_durable(l->site.store, false);
    int64_t began_us = kb_now_us();
    for (int i = 0; i < 100; i++)
        assert_ok(err, asset_create_speech(l->site.store, &p, "hello", "demo", id, &err));
    wait_for(l, "SELECT count(*) = 100 FROM asset WHERE error LIKE '%not enough disk space%'");
    assert_ok(err, store_exec(l->site.store, NULL, &err, "UPDATE asset SET error = NULL", ""));
    usleep(500000);
    bool early = number_of(l, "SELECT count(*) FROM asset WHERE error IS NOT NULL") > 0;
    assert_false(early && kb_now_us() - began_us < 10000000);
}

// The database is held while the speech is to be written down: once that ends it is, without
// another request.
static void test_waits_for_the_database(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    int before = service_number("count");
    json_auto_t *good = ask(l, 201, "POST", "/api/v1/assets", "{'text':'hello','voice':'demo'}");
    while (service_number("count") < before + 1)
        usleep(500);
    assert_ok(err, store_begin(l->site.store, &err));
    usleep(1200000); // longer than the speaker is patient
    store_rollback(l->site.store);
    wait_for(l, "SELECT count(*) = 1 FROM asset WHERE pieces LIKE '[%]'");
    assert_int_equal(service_number("count"), before + 1);
}

// Removed while the service thinks: it is let go at once.
static void test_removed_meanwhile(void **state)
{
    struct live *l = *state;
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    int before = service_number("count");
    json_auto_t *slow = ask(l, 201, "POST", "/api/v1/assets",
                            "{'text':'Hello. Good. This is slow. More.','voice':'demo'}");
    while (service_number("count") < before + 3)
        usleep(2000);
    CLEANUP(kb_freep) char *path = kb_printf("/api/v1/assets/%s", text_at(slow, "id"));
    json_auto_t *shown = ask(l, 200, "GET", path, NULL);
    assert_true(json_number_value(json_object_get(shown, "progress")) >= 0.5);
    // The server ends in the middle of it, and the next begins anew.
    live_restart(l, &(struct server_params){0});
    while (service_number("count") < before + 6)
        usleep(2000);
    json_auto_t *nothing = ask(l, 204, "DELETE", path, NULL);
    assert_int_equal(number_of(l, "SELECT count(*) FROM asset"), 0);
}

// --- a sample

static void *play_inspector(void *opaque)
{
    struct live *l = opaque;
    struct store *s = NULL;
    struct kb_error err = {0};
    char id[33];
    struct asset a;
    CLEANUP(kb_freep) char *wav = path_join(l->site.folder, "said.wav");
    FILE *f = fopen(wav, "w");
    fputs("a speech", f);
    fclose(f);
    if (store_open(&s, l->site.folder, false, &err) != KB_OK)
        return NULL;
    while (asset_claim(s, "i1", false, &a, &err) != KB_OK)
        usleep(2000);
    snprintf(id, sizeof(id), "%s", a.id);
    const struct asset_facts facts = {.kind = "audio", .duration_ms = 640, .n_faces = -1};
    if (asset_set_content(s, id, wav, &err) == KB_OK)
        asset_set_facts(s, id, &facts, &err);
    store_close(&s);
    return l;
}

static void test_samples(void **state)
{
    struct live *l = *state;
    pthread_t inspector;
    void *played = NULL;
    struct kb_error err = {0};
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    assert_int_equal(pthread_create(&inspector, NULL, play_inspector, l), 0);
    json_auto_t *heard =
        ask(l, 200, "POST", "/api/v1/voices/sample", "{'text':'你好。','voice':'demo','speed':2}");
    pthread_join(inspector, &played);
    assert_ptr_equal(played, l);
    assert_true(json_is_true(json_object_get(heard, "ok")));
    assert_int_equal(number_at(heard, "duration"), 640);
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "GET", text_at(heard, "content"), NULL, NULL, 0);
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body, "a speech", 8);
    // It is in no list, and goes after an hour.
    json_auto_t *list = ask(l, 200, "GET", "/api/v1/assets", NULL);
    assert_int_equal(number_at(list, "total"), 0);
    assert_int_equal(number_of(l, "SELECT count(*) FROM asset"), 1);
    assert_ok(err, asset_sweep(l->site.store, &err));
    assert_int_equal(number_of(l, "SELECT count(*) FROM asset"), 1);
    assert_ok(err, store_exec(l->site.store, NULL, &err,
                              "UPDATE asset SET created_ms = created_ms - 3700000", ""));
    assert_ok(err, asset_sweep(l->site.store, &err));
    assert_int_equal(number_of(l, "SELECT count(*) FROM asset"), 0);
    CLEANUP(text_free) struct text long_text = {0};
    text_add(&long_text, "{\"text\":\"");
    for (int i = 0; i < 301; i++)
        text_add(&long_text, "x");
    text_add(&long_text, "\"}");
    live_refuses(l, 400, "bad_input", "one sentence", "POST", "/api/v1/voices/sample",
                 long_text.data);
}

// One that waits for the disk is answered with that.
static void test_sample_waits_for_the_disk(void **state)
{
    struct live *l = *state;
    json_auto_t *saved = ask(l, 200, "POST", "/api/v1/settings/voices", add_body(KEY));
    live_restart(l, &(struct server_params){.speech_again_ms = 100000, .sample_ms = 3000});
    atomic_store(&full, true);
    json_auto_t *answer =
        ask(l, 200, "POST", "/api/v1/voices/sample", "{'text':'hello','voice':'demo'}");
    atomic_store(&full, false);
    assert_true(json_is_false(json_object_get(answer, "ok")));
    assert_non_null(strstr(text_at(answer, "error"), "could not be stored"));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_settings),
        CASE(test_fields),
        CASE(test_speeches),
        CASE(test_waits_for_the_disk),
        CASE(test_many_wait_for_the_disk),
        CASE(test_fails_where_nothing_can_be_kept),
        CASE(test_waits_for_the_database),
        CASE(test_removed_meanwhile),
        CASE(test_samples),
        CASE(test_sample_waits_for_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
