// What goes, in which order, and what must stay.
#include "tests/queue/queue.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "asset/internal.h"
#include "queue/retention.h"
#include "queue/lease.h"
#include "queue/change.h"
#include "queue/result.h"
#include "queue/sweep.h"

#include <fcntl.h>

#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B32 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C32 "cccccccccccccccccccccccccccccccc"

#define DAY_MS (24 * 3600 * 1000LL)

// A file of size bytes below the data folder, last written age_s ago.
static void put_file(struct queue_test *t, const char *name, size_t size, long age_s)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, name);
    CLEANUP(kb_freep) char *folder = path_folder(path);
    CLEANUP(kb_freep) char *bytes = kb_alloc(size + 1);
    assert_ok(t->err, file_make_dirs(folder, &t->err));
    assert_ok(t->err, file_write_atomic(path, bytes, size, &t->err));
    struct timespec when = {.tv_sec = kb_wall_ms() / 1000 - age_s};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){when, when}, 0), 0);
}

static bool there(struct queue_test *t, const char *name)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, name);
    return file_exists(path);
}

struct seen {
    struct text names;
    int n;
    int64_t bytes;
};

static void see(void *opaque, const char *name, int64_t size_bytes)
{
    struct seen *seen = opaque;
    text_addf(&seen->names, "%s\n", name);
    seen->n++;
    seen->bytes += size_bytes;
}

// One run; returns the names of what went, a line each, in *ret.
static struct retention_report run(struct queue_test *t, struct retention_params p,
                                   struct text *ret)
{
    struct seen seen = {0};
    struct retention_report report;
    assert_ok(t->err, retention_run(t->s, &p, see, &seen, &report, &t->err));
    assert_int_equal(report.n_removed, seen.n);
    assert_int_equal(report.bytes_removed, seen.bytes);
    text_clear(ret);
    text_add(ret, text_get(&seen.names));
    text_free(&seen.names);
    return report;
}

static void assert_went(const struct text *names, const char *name, bool wanted)
{
    CLEANUP(kb_freep) char *line = kb_printf("%s\n", name);
    bool went = strstr(text_get(names), line);
    if (went != wanted)
        fail_msg("%s should %s:\n%s", name, wanted ? "go" : "stay", text_get(names));
}

// The content of an asset that add_asset() made, and its picture.
static char *put_content(struct queue_test *t, const char *id, size_t size, long age_s)
{
    // contents are named by 64 digits; add_asset has 32
    run_sql(t, "UPDATE asset SET sha256 = id || id WHERE length(sha256) = 32");
    char *name = kb_printf("files/%s%s", id, id);
    CLEANUP(kb_freep) char *thumb = kb_printf("thumbs/%s%s.jpg", id, id);
    put_file(t, name, size, age_s);
    put_file(t, thumb, 10, age_s);
    return name;
}

static void set_created(struct queue_test *t, const char *id, int64_t days)
{
    assert_ok(t->err,
              store_exec(t->s, NULL, &t->err, "UPDATE asset SET created_ms = ? WHERE id = ?", "it",
                         kb_wall_ms() - days * DAY_MS, id));
}

// A done job with a result of size bytes that ended so many days ago; its batch too.
static int64_t add_result(struct queue_test *t, int days, size_t size)
{
    int64_t batch = add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    int64_t job = c.job;
    finish(t, &c);
    CLEANUP(kb_freep) char *video = output_of(t, job, ".mp4");
    CLEANUP(kb_freep) char *thumb = output_of(t, job, ".jpg");
    put_file(t, video, size, days * 86400L);
    put_file(t, thumb, 5, days * 86400L);
    int64_t then = kb_wall_ms() - days * DAY_MS;
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "UPDATE job SET ended_ms = ?1, result_thumb = 1 WHERE id = ?2",
                                 "ii", then, job));
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "UPDATE batch SET ended_ms = ?1, created_ms = ?1 WHERE id = ?2",
                                 "ii", then, batch));
    // its assets play no part here
    run_sql(t, "DELETE FROM asset");
    return job;
}

static void test_orphans(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text names = {0};
    char hex[65], id[33];
    memset(hex, 'a', 64);
    hex[64] = '\0';
    CLEANUP(kb_freep) char *half_content = kb_printf("files/%s.part", hex);
    int64_t done = add_result(t, 1, 50);
    for (char c = 'b'; c <= 'c'; c++) { // contents whose assets are gone, but not their files
        char sql[200], other[65];
        memset(other, c, 64);
        other[64] = '\0';
        snprintf(sql, sizeof(sql),
                 "INSERT INTO asset(id, state, name, size, sha256, created_ms)"
                 " VALUES ('%c', 'ready', 'x', 1, '%s', 1)",
                 c, other);
        run_sql(t, sql);
        run_sql(t, "DELETE FROM asset WHERE length(id) = 1");
    }
    CLEANUP(kb_freep) char *deleted = kb_printf("files/%s%s", B32, B32);
    CLEANUP(kb_freep) char *half_deleted = kb_printf("files/%s%s.part", B32, B32);
    CLEANUP(kb_freep) char *young_deleted = kb_printf("files/%s%s.part", C32, C32);
    struct asset_params upload = {.name = "u.mp4", .size_bytes = 100};
    assert_ok(t->err, asset_create(t->s, &upload, id, &t->err));
    CLEANUP(kb_freep) char *part = kb_printf("uploads/%s.part", id);
    CLEANUP(kb_freep) char *lost_part = kb_printf("uploads/%.32s.part", hex);
    CLEANUP(kb_freep) char *content = kb_printf("files/%s", hex);
    CLEANUP(kb_freep) char *thumb = kb_printf("thumbs/%s.jpg", hex);
    add_batch(t, 2, 5);
    struct job_claim running = claim(t, "w1");
    run_sql(t, "INSERT INTO worker(id, kind, pid, state, started_ms, heartbeat_ms)"
               " VALUES ('w1', 'generate', 1, 'busy', 0, 0)");
    CLEANUP(kb_freep)
    char *output = kb_printf("results/%s.part", running.output_name);
    CLEANUP(kb_freep) char *lost = output_of(t, done, ".mp4.part");

    const struct {
        const char *name;
        long age_s;
        bool goes;
    } files[] = {
        {part, 7200, false},                // can still go on
        {lost_part, 7200, false},           // never had a row: not this database's
        {content, 7200, false},             // never had an asset
        {thumb, 7200, false},               //
        {half_content, 7200, false},        // about to become one
        {deleted, 60, true},                // had an asset
        {half_deleted, 7200, true},         //
        {young_deleted, 60, false},         // may be in the making
        {output, 7200, false},              // of a job that runs, however slow
        {lost, 7200, true},                 // of an attempt that ended
        {"results/999-1.mp4", 7200, false}, // of a job that never was
        {"results/notes.txt", 7200, false}, // not ours
        {"files/README", 7200, false},
        {"uploads/../koubo.db", 0, false},
        {"tracks/" A32 ".kbt.123.part", 7200, true},
        {"tracks/" A32 ".kbt.part", 7200, true},
        {"tracks/" A32 ".kbs.part", 7200, true},
        {"tracks/a.kbt.123.part", 7200, false},
        {"work/w1/" A32 ".wav", 7200, false}, // of a worker that lives
        {"work/w9/" A32 ".wav", 7200, true},
        {"work/w9/" A32 "-00ff.kbp", 7200, true},
        {"work/w9/" A32 "-00fx.kbp", 7200, false},
        {"work/w9/x.wav", 7200, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (files[i].age_s)
            put_file(t, files[i].name, 10, files[i].age_s);

    for (int dry_run = 1; dry_run >= 0; dry_run--) {
        run(t, (struct retention_params){.dry_run = dry_run}, &names);
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
            assert_went(&names, files[i].name, files[i].goes);
            assert_int_equal(there(t, files[i].name), dry_run || !files[i].goes);
        }
        CLEANUP(kb_freep) char *result = output_of(t, done, ".mp4");
        assert_true(there(t, result));
    }
    assert_int_equal(run(t, (struct retention_params){0}, &names).n_removed, 0);
    job_claim_free(&running);
}

static void test_expired_uploads(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text names = {0};
    char id[33];
    struct asset_upload *u = NULL;
    struct asset_params p = {.name = "u.mp4", .size_bytes = 100, .expires_ms = kb_wall_ms() - 1};
    assert_ok(t->err, asset_create(t->s, &p, id, &t->err));
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "0123", 4, &t->err));
    CLEANUP(kb_freep) char *part = kb_printf("uploads/%s.part", id);
    run(t, (struct retention_params){0}, &names);
    assert_went(&names, part, false); // bytes are arriving
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
    run_sql(t, "UPDATE asset SET expires_ms = 1"); // it counts from the last byte
    run(t, (struct retention_params){.dry_run = true}, &names);
    assert_went(&names, part, true);
    assert_true(there(t, part));
    run(t, (struct retention_params){0}, &names);
    assert_went(&names, part, true);
    assert_false(there(t, part));
    assert_int_equal(ask(t, "SELECT count(*) FROM asset"), 0);
}

static void test_days(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text names = {0};
    int64_t old = add_result(t, 10, 100), young = add_result(t, 2, 100);
    CLEANUP(kb_freep) char *old_file = output_of(t, old, ".mp4");
    CLEANUP(kb_freep) char *old_thumb = output_of(t, old, ".jpg");
    CLEANUP(kb_freep) char *young_file = output_of(t, young, ".mp4");

    // an old file that an unfinished batch needs, one that a young batch used, and one of nobody
    int64_t waiting = add_batch(t, 1, 5); // assets 5 and 6
    CLEANUP(kb_freep) char *needed = put_content(t, "00000000000000000000000000000006", 20, 999);
    set_created(t, "00000000000000000000000000000005", 30);
    set_created(t, "00000000000000000000000000000006", 30);
    char used_id[33], idle_id[33], lent_id[33], spoken_id[33];
    snprintf(lent_id, 33, "%s", add_asset(t, "video", "ready", "lent.mp4"));
    CLEANUP(kb_freep) char *lent = put_content(t, lent_id, 20, 999); // its mouth
    set_created(t, lent_id, 30);
    snprintf(spoken_id, 33, "%s", add_asset(t, "video", "ready", "spoken.mp4"));
    CLEANUP(kb_freep) char *spoken = put_content(t, spoken_id, 20, 999); // its way of speaking
    set_created(t, spoken_id, 30);
    assert_ok(t->err,
              store_exec(t->s, NULL, &t->err,
                         "UPDATE batch SET created_ms = 1,"
                         " options = json_object('mouth_from', ?, 'style_from', ?) WHERE id = ?",
                         "tti", lent_id, spoken_id, waiting));
    snprintf(used_id, 33, "%s", add_asset(t, "video", "ready", "used.mp4"));
    snprintf(idle_id, 33, "%s", add_asset(t, "video", "ready", "idle.mp4"));
    CLEANUP(kb_freep) char *used = put_content(t, used_id, 20, 999);
    CLEANUP(kb_freep) char *idle = put_content(t, idle_id, 20, 999);
    CLEANUP(kb_freep) char *idle_thumb = kb_printf("thumbs/%s%s.jpg", idle_id, idle_id);
    set_created(t, used_id, 30);
    set_created(t, idle_id, 30);
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "UPDATE batch SET audio = ? WHERE id ="
                                 " (SELECT batch FROM job WHERE id = ?)",
                                 "ti", used_id, young));
    run_sql(t, "INSERT INTO asset(id, state, name, size, created_ms)"
               " VALUES ('failed', 'bad', 'f', -1, 1)");
    put_file(t, "tracks/" A32 ".kbt", 30, 30 * 86400L);
    put_file(t, "tracks/" B32 ".kbt", 30, 86400L);

    const struct {
        const char *name;
        bool goes;
    } files[] = {{old_file, true},
                 {old_thumb, true},
                 {young_file, false},
                 {needed, false},
                 {lent, false},
                 {spoken, false},
                 {used, false},
                 {idle, true},
                 {idle_thumb, true},
                 {"tracks/" A32 ".kbt", true},
                 {"tracks/" B32 ".kbt", false}};
    int64_t rev = change_revision(t->s);
    for (int dry_run = 1; dry_run >= 0; dry_run--) {
        run(t, (struct retention_params){.keep_days = 7, .dry_run = dry_run}, &names);
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
            assert_went(&names, files[i].name, files[i].goes);
            assert_int_equal(there(t, files[i].name), dry_run || !files[i].goes);
        }
        assert_int_equal(ask(t, "SELECT count(*) FROM batch"), dry_run ? 3 : 2);
        if (dry_run)
            assert_int_equal(change_revision(t->s), rev);
    }
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE id = %lld", (long long)old), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE id IN ('failed', '%s')", idle_id), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch WHERE id = %lld AND ended_ms IS NULL",
                         (long long)waiting),
                     1);
}

static void test_bytes(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text names = {0};
    enum { BIG = 1000000 };
    int64_t oldest = add_result(t, 5, BIG), newest = add_result(t, 1, BIG);
    put_file(t, "tracks/" C32 ".kbt", BIG, 4 * 86400L);
    char needed_id[33], third_id[33];
    snprintf(third_id, 33, "%s", add_asset(t, "video", "ready", "third.mp4"));
    CLEANUP(kb_freep) char *third = put_content(t, third_id, BIG, 999);
    set_created(t, third_id, 3);
    add_batch(t, 1, 5);
    snprintf(needed_id, 33, "%032x", t->n_assets);
    CLEANUP(kb_freep) char *needed = put_content(t, needed_id, BIG, 999);
    set_created(t, needed_id, 100); // the oldest of all, but a job waits for it
    CLEANUP(kb_freep) char *first = output_of(t, oldest, ".mp4");
    CLEANUP(kb_freep) char *last = output_of(t, newest, ".mp4");

    int64_t total = run(t, (struct retention_params){0}, &names).bytes_left;
    assert_true(total > 5 * BIG);
    const char *const order[] = {first, "tracks/" C32 ".kbt", third, last};
    for (int n = 0; n <= 4; n++) {
        struct retention_params p = {.keep_bytes = total - (int64_t)n * BIG, .dry_run = true};
        struct retention_report report = run(t, p, &names);
        for (int i = 0; i < 4; i++)
            assert_went(&names, order[i], i < n);
        assert_went(&names, needed, false);
        assert_true(report.bytes_left <= p.keep_bytes);
        assert_int_equal(report.bytes_left, total - report.bytes_removed);
    }
    struct retention_params any_age = {.of_any_age = true, .dry_run = true};
    run(t, any_age, &names);
    for (int i = 0; i < 4; i++)
        assert_went(&names, order[i], true);
    assert_went(&names, needed, false);
    // what is needed stays, however small the folder shall be
    struct retention_report report = run(t, (struct retention_params){.keep_bytes = 1}, &names);
    assert_int_equal(report.n_removed, 4 + 3);
    assert_true(there(t, needed));
    for (int i = 0; i < 4; i++)
        assert_false(there(t, order[i]));
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE result IS NOT NULL"), 0);
}

static void test_records(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text names = {0};
    run_sql(t, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10005)"
               " INSERT INTO gone(rev, kind, id) SELECT i, 'job', i FROM n");
    run_sql(t, "UPDATE clock SET rev = 10005");
    int64_t now = kb_wall_ms();
    const struct {
        const char *state;
        int days;
    } notices[] = {{"sent", 8}, {"sent", 6}, {"given_up", 8}, {"due", 8}};
    for (size_t i = 0; i < ARRAY_LEN(notices); i++)
        assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                     "INSERT INTO notice(target, message, state, next_ms)"
                                     " VALUES ('{}', '{}', ?, ?)",
                                     "ti", notices[i].state, now - notices[i].days * DAY_MS));
    run(t, (struct retention_params){.dry_run = true}, &names);
    assert_int_equal(ask(t, "SELECT count(*) FROM gone"), 10005);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice"), 4);
    run(t, (struct retention_params){0}, &names);
    assert_int_equal(ask(t, "SELECT count(*) FROM gone"), 10000);
    assert_int_equal(ask(t, "SELECT min(rev) FROM gone"), 6);
    assert_int_equal(ask(t, "SELECT oldest FROM clock"), 5);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice"), 2);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'due'"), 1);
}

// A worker that a file has taken over could make links and rows. Whoever follows them, deletes
// files of others.
static void test_links_and_lies(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text names = {0};
    CLEANUP(place_end) char *outside = NULL;
    assert_ok(t->err, place_make(&outside, "koubo-outside", &t->err));

    // The folder of a batch became a link to one that holds the same names.
    int64_t job = add_result(t, 9, 50);
    CLEANUP(kb_freep) char *video = output_of(t, job, ".mp4");
    CLEANUP(kb_freep) char *path = path_join(t->folder, video);
    CLEANUP(kb_freep) char *shelf = path_folder(path);
    CLEANUP(kb_freep) char *theirs = path_join(outside, path_name(video));
    CLEANUP(kb_freep) char *stranger = path_join(outside, "other_speech_2020-01-01.mp4");
    assert_ok(t->err, file_write_cached(theirs, "theirs", 6, &t->err));
    assert_ok(t->err, file_write_cached(stranger, "theirs", 6, &t->err));
    assert_true(place_remove(shelf));
    assert_int_equal(symlink(outside, shelf), 0);
    run(t, (struct retention_params){.of_any_age = true, .lost = true}, &names);
    assert_true(file_exists(theirs) && file_exists(stranger));
    assert_int_equal(unlink(shelf), 0);

    // A row that names a file outside: deleted by its user, removed for its age, lost with a
    // worker.
    CLEANUP(kb_freep) char *up = kb_printf("../..%s", theirs);
    CLEANUP(kb_freep) char *stem = kb_printf("%.*s", (int)strlen(up) - 4, up);
    for (int i = 0; i < 2; i++) {
        job = add_result(t, 9, 50);
        assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE job SET result = ? WHERE id = ?",
                                     "ti", up, job));
        if (i == 0)
            assert_ok(t->err, result_delete(t->s, job, &t->err));
        else
            run(t, (struct retention_params){.of_any_age = true}, &names);
        assert_true(file_exists(theirs));
    }
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE job SET output = ? WHERE id = ?",
                                 "ti", stem, c.job));
    assert_ok(t->err, sweep_worker_lost(t->s, "w1", NULL, false, &t->err));
    assert_true(file_exists(theirs));
    job_claim_free(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    const struct CMUnitTest tests[] = {
        TEST(test_orphans), TEST(test_expired_uploads), TEST(test_days),
        TEST(test_bytes),   TEST(test_records),         TEST(test_links_and_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
