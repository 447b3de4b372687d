// Damaged databases: whatever is broken, as much as possible comes back, nothing that was not
// there, and the new one is whole.
#include "tests/queue/queue.h"

#include "store/backup.h"
#include "store/salvage.h"

#define PAGE 4096

struct damaged {
    struct queue_test t;
    char *whole;  // a copy of the database before the damage
    char *broken; // what is damaged, with its WAL
    char *mended; // what comes out
    int64_t n_pages;
};

static uint32_t seed;

static uint32_t chance(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

static void run_many(struct queue_test *t, const char *sql, int n)
{
    CLEANUP(kb_freep) char *all = kb_printf(sql, n);
    run_sql(t, all);
}

// A year of use: rows of all kinds on some hundred pages, long texts, deleted ones, free pages.
static void fill(struct queue_test *t)
{
    assert_ok(t->err, store_begin(t->s, &t->err));
    for (int i = 0; i < 12; i++)
        add_batch(t, 60, 5);
    run_sql(t, "UPDATE batch SET ended_ms = 5 WHERE id < 4;"
               "UPDATE job SET state = 'done', waiting = NULL, attempts = 1, ended_ms = 7,"
               " stage_s = '{\"loading\":0.5}', result_ms = 60000,"
               " output = batch || '_x/film ' || id, result = batch || '_x/film ' || id || '.mp4'"
               " WHERE id % 3 = 0 OR batch < 4;"
               "UPDATE asset SET peaks = '[' || replace(hex(zeroblob(3000)), '00', '7,') || '1]',"
               " fps = 25 WHERE rowid % 5 = 0;"
               "INSERT INTO setting VALUES ('notify', '{\"mail\":\"x\"}'), ('a', '[1]');"
               "INSERT INTO easy VALUES ('code-1', 3, NULL, 5, 0), ('code-2', NULL, 'no', 6, 1);"
               "INSERT INTO notice(target, message, next_ms) VALUES ('{}', '{}', 5);"
               "INSERT INTO node(name, title, secret, facts, created_ms) VALUES"
               " ('n1', '一楼', 'a', '{\"cores\":8}', 5), ('n2', 'n2', 'b', NULL, 6);"
               "INSERT INTO remote(job, lease, since_ms) VALUES (1, 7, 5)");
    run_many(t,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             "INSERT INTO asset(id, state, kind, name, size, sha256, created_ms) SELECT"
             " printf('%%032x', i + 4096), 'ready', 'video', '影片 ' || i || '.mp4', i,"
             " printf('%%064x', i), i FROM n",
             900);
    assert_ok(t->err, store_commit(t->s, &t->err));
    run_sql(t, "DELETE FROM job WHERE batch IN (5, 6); DELETE FROM batch WHERE id IN (5, 6);"
               "DELETE FROM asset WHERE size BETWEEN 100 AND 250;"
               "UPDATE job SET result_size = 9 WHERE batch = 11");
}

static void copy_file(const char *from, const char *to)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    struct kb_error err = {0};
    unlink(to);
    if (file_exists(from)) {
        assert_ok(err, file_map(&m, from, &err));
        assert_ok(err, file_write_cached(to, m.data, m.size, &err));
    }
}

static void copy_database(const char *from, const char *to)
{
    CLEANUP(kb_freep) char *wal_from = kb_printf("%s-wal", from);
    CLEANUP(kb_freep) char *wal_to = kb_printf("%s-wal", to);
    copy_file(from, to);
    copy_file(wal_from, wal_to);
}

static int setup(void **state)
{
    void *made;
    queue_setup(&made);
    struct damaged *d = kb_alloc(sizeof(*d));
    d->t = *(struct queue_test *)made;
    free(made);
    fill(&d->t);
    d->n_pages = ask(&d->t, "PRAGMA page_count");
    assert_true(d->n_pages > 150);
    d->whole = path_join(d->t.folder, "whole.db");
    d->broken = path_join(d->t.folder, "broken.db");
    d->mended = path_join(d->t.folder, "mended.db");
    CLEANUP(kb_freep) char *database = path_join(d->t.folder, "koubo.db");
    assert_ok(d->t.err, backup_copy(database, d->whole, NULL, &d->t.err));
    run_sql(&d->t, "PRAGMA wal_checkpoint(TRUNCATE)");
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct damaged *d = *state;
    store_close(&d->t.s);
    place_remove(d->t.folder);
    free(d->whole);
    free(d->broken);
    free(d->mended);
    free(d);
    return 0;
}

// The next one to be broken.
static void begin(struct damaged *d)
{
    CLEANUP(kb_freep) char *wal = kb_printf("%s-wal", d->broken);
    copy_file(d->whole, d->broken);
    unlink(wal);
}

static void overwrite(const char *path, int64_t at, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, at), size);
    close(fd);
}

static void add_noise(const char *path, int64_t at, size_t size)
{
    CLEANUP(kb_freep) char *noise = kb_alloc(size);
    for (size_t i = 0; i < size; i++)
        noise[i] = (char)chance(256);
    overwrite(path, at, noise, size);
}

static struct salvage_report mend(struct damaged *d)
{
    struct salvage_report r;
    CLEANUP(kb_freep)
    char *attach = kb_printf("ATTACH '%s' AS w; ATTACH '%s' AS m", d->whole, d->mended);
    sqlite3_exec(d->t.s->db, "DETACH w", NULL, NULL, NULL);
    sqlite3_exec(d->t.s->db, "DETACH m", NULL, NULL, NULL);
    assert_ok(d->t.err, salvage_run(d->broken, d->mended, &r, &d->t.err));
    assert_int_equal(r.n_tables, SALVAGE_TABLES);
    run_sql(&d->t, attach);
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(d->t.s->db, "PRAGMA m.integrity_check", -1, &q, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(q, 0), "ok");
    sqlite3_finalize(q);
    return r;
}

static int64_t missing(struct damaged *d, const char *table)
{
    return ask(&d->t, "SELECT count(*) FROM (SELECT * FROM w.%s EXCEPT SELECT * FROM m.%s)", table,
               table);
}

static int64_t invented(struct damaged *d, const char *table)
{
    return ask(&d->t, "SELECT count(*) FROM (SELECT * FROM m.%s EXCEPT SELECT * FROM w.%s)", table,
               table);
}

static const char *const kinds[] = {"asset", "batch", "job", "setting", "easy"};

static void assert_all_there(struct damaged *d)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (missing(d, kinds[i]) || invented(d, kinds[i]))
            fail_msg("%s: %d missing, %d invented", kinds[i], (int)missing(d, kinds[i]),
                     (int)invented(d, kinds[i]));
}

static void test_a_whole_one(void **state)
{
    struct damaged *d = *state;
    begin(d);
    struct salvage_report r = mend(d);
    assert_all_there(d);
    for (int i = 0; i < r.n_tables; i++)
        if (r.tables[i].n_lost || r.headless || r.n_bad)
            fail_msg("%s: %d lost, %d bad", r.tables[i].table, (int)r.tables[i].n_lost,
                     (int)r.n_bad);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.notice WHERE state = 'due'"), 1);
    assert_true(!missing(d, "node") && !invented(d, "node"));
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.remote"), 0); // an attempt is over
    // numbers go on where they were, revisions behind all that were known
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.sqlite_sequence a JOIN w.sqlite_sequence b"
                                " ON b.name = a.name AND b.seq = a.seq"),
                     2);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.clock, w.clock wc WHERE m.clock.rev >"
                                " wc.rev AND m.clock.oldest = m.clock.rev"),
                     1);
}

// The way to the rows is lost, the rows are not: roots, inner pages, the first page.
static void test_lost_ways(void **state)
{
    struct damaged *d = *state;
    static const char *const roots[] = {"job", "asset", "job_state", "sqlite_autoindex_asset_1"};
    char zeros[PAGE] = {0};
    seed = 1;
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        begin(d);
        int64_t root = ask(&d->t, "SELECT rootpage FROM sqlite_master WHERE name = '%s'", roots[i]);
        add_noise(d->broken, (root - 1) * PAGE, PAGE);
        mend(d);
        assert_all_there(d);
    }
    begin(d);
    overwrite(d->broken, 0, zeros, PAGE);
    struct salvage_report r = mend(d);
    assert_true(r.headless);
    assert_all_there(d); // deleted rows, too, stand in free pages, and stay deleted
    begin(d);
    add_noise(d->broken, 0, PAGE);
    mend(d);
    assert_all_there(d);
}

// Noise on whole pages: what stands on the others comes back, and nothing else.
static void test_noise(void **state)
{
    struct damaged *d = *state;
    for (uint32_t round = 1; round <= 15; round++) {
        begin(d);
        seed = round;
        int n = 1 + (int)chance(8);
        for (int i = 0; i < n; i++)
            add_noise(d->broken, (int64_t)chance((uint32_t)d->n_pages) * PAGE, PAGE);
        struct salvage_report r = mend(d);
        int64_t lost = missing(d, "job") + missing(d, "asset");
        if (lost > 60 * n || invented(d, "job") || invented(d, "asset") || r.n_bad > 4 * n + 8)
            fail_msg("seed %u: %d pages, %d rows missing, %d and %d invented, %d bad", round, n,
                     (int)lost, (int)invented(d, "job"), (int)invented(d, "asset"), (int)r.n_bad);
    }
}

// Of a batch whose row is lost, the videos that it made bring it back; what waits for it has no
// speech any more.
static void test_a_lost_batch(void **state)
{
    struct damaged *d = *state;
    run_sql(&d->t, "UPDATE job SET state = 'done', ended_ms = 9, result = '7_晨报/a' || id ||"
                   " '.mp4' WHERE batch = 7 AND id % 2;"
                   "DELETE FROM batch WHERE id = 7; DELETE FROM gone");
    CLEANUP(kb_freep) char *database = path_join(d->t.folder, "koubo.db");
    unlink(d->whole);
    assert_ok(d->t.err, backup_copy(database, d->whole, NULL, &d->t.err));
    begin(d);
    mend(d);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.batch WHERE id = 7 AND name = '晨报' AND"
                                " folder = '7_晨报' AND ended_ms = 9"),
                     1);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.job WHERE batch = 7"
                                " AND state = 'queued'"),
                     0);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.job WHERE batch = 7 AND result LIKE"
                                " '7_晨报/%%'"),
                     30);
}

// A few bytes of a page: of its head, of the list of its cells, or anywhere; or it is that of
// another one.
static void speck(struct damaged *d)
{
    int64_t page = (int64_t)chance((uint32_t)d->n_pages) * PAGE;
    CLEANUP(file_unmap) struct file_map m = {0};
    switch (chance(5)) {
    case 0:
        add_noise(d->broken, page + chance(16), 1);
        return;
    case 1:
        add_noise(d->broken, page + 8 + chance(200), 1);
        return;
    case 2:
        assert_ok(d->t.err, file_map(&m, d->whole, &d->t.err));
        overwrite(d->broken, page, m.data + (int64_t)chance((uint32_t)d->n_pages) * PAGE, PAGE);
        return;
    default:
        add_noise(d->broken, page + chance(PAGE - 16), 1 + chance(16));
    }
}

// Bits here and there: rows may be changed by it, but the new database is sound. KOUBO_SEEDS=1000
// tries so many.
static void test_specks(void **state)
{
    struct damaged *d = *state;
    const char *wish = getenv("KOUBO_SEEDS");
    uint32_t n_seeds = wish ? (uint32_t)strtoul(wish, NULL, 10) : 10;
    for (uint32_t round = 100; round < 100 + n_seeds; round++) {
        begin(d);
        seed = round;
        for (int i = 0, n = 1 + (int)chance(40); i < n; i++)
            speck(d);
        mend(d);
        if (missing(d, "job") > 400 || missing(d, "asset") > 600)
            fail_msg("seed %u: %d jobs and %d assets missing", round, (int)missing(d, "job"),
                     (int)missing(d, "asset"));
    }
}

static void test_cut(void **state)
{
    struct damaged *d = *state;
    static const double parts[] = {0.9, 0.5, 0.2, 0.02};
    int64_t last = -1;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        begin(d);
        assert_int_equal(truncate(d->broken, (off_t)((double)(d->n_pages * PAGE) * parts[i])), 0);
        mend(d);
        int64_t n = ask(&d->t, "SELECT (SELECT count(*) FROM m.job) + count(*) FROM m.asset");
        assert_true(last < 0 || n <= last);
        assert_true(i > 1 || n > 200);
        assert_int_equal(invented(d, "job") + invented(d, "asset"), 0);
        last = n;
    }
    struct salvage_report r;
    begin(d);
    assert_int_equal(truncate(d->broken, 100), 0);
    assert_fails(d->t.err, KB_NOT_FOUND, "nothing to be read",
                 salvage_run(d->broken, d->mended, &r, &d->t.err));
    unlink(d->broken);
    assert_fails(d->t.err, KB_NOT_FOUND, "nothing to be read",
                 salvage_run(d->broken, d->mended, &r, &d->t.err));
    assert_false(file_exists(d->mended));
}

// What is committed in the WAL counts; of a WAL that is broken, what stands before; without it, the
// state before; and of a WAL alone, what is in it.
static void test_wal(void **state)
{
    struct damaged *d = *state;
    CLEANUP(kb_freep) char *database = path_join(d->t.folder, "koubo.db");
    CLEANUP(kb_freep) char *wal = kb_printf("%s-wal", d->broken);
    run_sql(&d->t, "PRAGMA wal_autocheckpoint = 0");
    int64_t first = add_batch(&d->t, 50, 5);
    int64_t second = add_batch(&d->t, 50, 5);
    unlink(d->whole);
    assert_ok(d->t.err, backup_copy(database, d->whole, NULL, &d->t.err));
    copy_database(database, d->broken);
    mend(d);
    assert_all_there(d);

    struct stat st;
    assert_int_equal(stat(wal, &st), 0);
    add_noise(wal, st.st_size - 20000, 4000);
    mend(d);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.job WHERE batch = %d", (int)first), 50);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.batch WHERE id = %d", (int)second), 0);

    unlink(wal);
    mend(d);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.batch WHERE id >= %d", (int)first), 0);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.batch"), 10);

    copy_database(database, d->broken);
    unlink(d->broken);
    mend(d);
    assert_true(ask(&d->t, "SELECT count(*) FROM m.job WHERE batch >= %d", (int)first) >= 50);
}

// The new database is one that a server works with.
static void test_it_works(void **state)
{
    struct damaged *d = *state;
    seed = 7;
    begin(d);
    for (int i = 0; i < 5; i++)
        add_noise(d->broken, (int64_t)(20 + chance(100)) * PAGE, PAGE);
    mend(d);
    run_sql(&d->t, "DETACH m");
    store_close(&d->t.s);
    CLEANUP(kb_freep) char *database = path_join(d->t.folder, "koubo.db");
    CLEANUP(kb_freep) char *wal = kb_printf("%s-wal", database);
    unlink(wal);
    assert_int_equal(rename(d->mended, database), 0);
    assert_ok(d->t.err, store_open_as(&d->t.s, d->t.folder, &(struct store_params){.adopt = true},
                                      &d->t.err));
    assert_ok(d->t.err, store_check(d->t.s, 0, &d->t.err));
    d->t.n_assets = 100000;
    int64_t rev = ask(&d->t, "SELECT rev FROM clock"), highest = ask(&d->t, "SELECT max(id) FROM"
                                                                            " job");
    int64_t id = add_batch(&d->t, 3, 9);
    assert_true(id > 12 && ask(&d->t, "SELECT rev FROM clock") > rev);
    struct job_claim c = claim(&d->t, "w1");
    assert_true(c.job > highest);
    finish(&d->t, &c);
    json_t *batch = batch_of(&d->t, id);
    json_decref(batch);
}

// One of version 1 becomes one of today; one of tomorrow is refused.
static void test_versions(void **state)
{
    struct damaged *d = *state;
    struct salvage_report r;
    unlink(d->broken);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(d->broken, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, store_schema, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "PRAGMA user_version = 1;"
                     "INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang,"
                     " created_ms) VALUES (4, 'b', 'a', 'a.wav', '{broken', 5, 1, 'en', 1);"
                     "INSERT INTO job(id, batch, video, name, result_name, position, state,"
                     " state_since_ms, created_ms, result) VALUES"
                     " (8, 4, 'v', 'v', 'v.mp4', 1, 'done', 1, 1, '8-2.mp4'),"
                     " (9, 5, 'v', 'v', 'w.mp4', 2, 'queued', 1, 1, NULL),"
                     " (10, 4, 'v', 'v', 'x.mp4', 3, 'dreaming', 1, 1, NULL)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    r = mend(d);
    // a job of no batch and one in a state that there is not are left out and counted
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.job WHERE id = 8 AND result = '8-2.mp4'"),
                     1);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.job"), 1);
    assert_string_equal(r.tables[2].table, "job");
    assert_int_equal(r.tables[2].n_lost, 2);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.batch WHERE options = '{}' AND"
                                " ended_ms > 0"),
                     1);
    assert_int_equal(ask(&d->t, "PRAGMA m.user_version"), STORE_VERSION);

    // What version 5 called "a.mov" is a film called so today: it was "a.mov.mp4".
    unlink(d->broken);
    unlink(d->mended);
    assert_int_equal(sqlite3_open(d->broken, &db), SQLITE_OK);
    const char *const versions[] = {store_schema,   store_schema_2, store_schema_3,
                                    store_schema_4, store_schema_5, "PRAGMA user_version = 5"};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++)
        assert_int_equal(sqlite3_exec(db, versions[i], NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang,"
                     " created_ms) VALUES (4, 'b', 'a', 'a.wav', '{}', 5, 1, 'en', 1);"
                     "INSERT INTO job(id, batch, video, name, result_name, position, state,"
                     " state_since_ms, created_ms, output) VALUES"
                     " (8, 4, 'v', 'v', 'v.mp4', 1, 'generating', 1, 1, '4_b/a.mov'),"
                     " (9, 4, 'v', 'v', 'w.mp4', 2, 'generating', 1, 1, '4_b/a')",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    mend(d);
    assert_int_equal(
        ask(&d->t, "SELECT count(*) FROM m.job WHERE id = 8 AND output = '4_b/a.mov.mp4'"), 1);
    assert_int_equal(ask(&d->t, "SELECT count(*) FROM m.job WHERE id = 9 AND output = '4_b/a'"), 1);
    begin(d);
    char version[4] = {0, 0, 0, STORE_VERSION + 1};
    overwrite(d->broken, 60, version, 4);
    assert_fails(d->t.err, KB_BAD_INPUT, "newer koubo",
                 salvage_run(d->broken, d->mended, &r, &d->t.err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_whole_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_noise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_lost_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_specks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_works, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
