// The order of service and the sums of batches, against what is found by looking at every job.
#include "tests/queue/queue.h"

#include "queue/line.h"
#include "queue/result.h"
#include "queue/sweep.h"
#include "store/counts.h"

// --- the line

// By ranks that are counted out, as it is defined.
static const char in_line[] =
    "WITH ranked AS (SELECT *, iif(state = 'queued', row_number() OVER"
    " (PARTITION BY batch, state = 'queued' ORDER BY position, id), 0) AS rank FROM job)"
    " SELECT j.id FROM ranked j JOIN batch b ON b.id = j.batch WHERE ?1 IS NULL OR j.state = ?1"
    "  OR (?1 = 'running' AND j.state IN " JOB_STATES_RUNNING ")"
    "  OR (?1 = 'unfinished' AND j.state NOT IN " JOB_STATES_ENDED ")"
    " ORDER BY j.ended_ms IS NOT NULL, j.ended_ms DESC, iif(j.ended_ms IS NULL, j.rank > 0, 0),"
    " iif(j.ended_ms IS NULL, b.paused, 0), iif(j.ended_ms IS NULL, -b.priority, 0),"
    " iif(j.ended_ms IS NULL, j.rank + (SELECT count(*) FROM job r WHERE r.batch = b.id"
    "  AND r.state IN " JOB_STATES_RUNNING "), 0), iif(j.ended_ms IS NULL, b.turn, 0),"
    " iif(j.ended_ms IS NULL, b.id, 0), iif(j.ended_ms IS NULL, j.position, 0), j.id";

static unsigned seed = 7;
static int chance(int n)
{
    seed = seed * 1103515245 + 12345;
    return (int)(seed >> 16) % n;
}

// Some batches of some jobs in any state, by priority and turn.
static void shuffle(struct queue_test *t)
{
    static const char *const states[] = {"queued", "queued",     "queued",    "generating",
                                         "done",   "finishing",  "cancelled", "queued",
                                         "failed", "generating", "done"};
    char sql[300];
    int n = 1 + chance(7);
    run_sql(t, "DELETE FROM job; DELETE FROM batch;");
    for (int i = 0; i < n; i++)
        add_batch(t, 1 + chance(9), chance(3) + 4);
    run_sql(t, "UPDATE batch SET turn = 1 + id % 3, paused = id % 4 = 3");
    for (int64_t id = ask(t, "SELECT min(id) FROM job"); id <= ask(t, "SELECT max(id) FROM job");
         id++) {
        const char *state = states[chance(ARRAY_LEN(states))];
        bool ended = state[0] == 'd' || state[1] == 'a';
        snprintf(sql, sizeof(sql),
                 "UPDATE job SET state = '%s', position = %d, ended_ms = %s%d WHERE id = %lld",
                 state, chance(5), ended ? "" : "nullif(0, 0) + ", chance(4), (long long)id);
        run_sql(t, sql);
    }
    run_sql(t, "UPDATE batch SET ended_ms = iif(EXISTS (SELECT 1 FROM job WHERE batch = batch.id"
               " AND ended_ms IS NULL), NULL, 1)");
}

static int naive(struct queue_test *t, const char *state, int64_t *ret)
{
    sqlite3_stmt *q = NULL;
    int n = 0;
    assert_int_equal(sqlite3_prepare_v2(t->s->db, in_line, -1, &q, NULL), SQLITE_OK);
    sqlite3_bind_text(q, 1, state, -1, SQLITE_STATIC);
    while (sqlite3_step(q) == SQLITE_ROW)
        ret[n++] = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static void pages_are_those_of_the_whole_line(void **state)
{
    struct queue_test *t = *state;
    static const char *const states[] = {NULL,         "unfinished", "queued", "running",
                                         "generating", "failed",     "done",   "nothing"};
    for (int round = 0; round < 40; round++) {
        shuffle(t);
        for (size_t i = 0; i < ARRAY_LEN(states); i++) {
            int64_t all[200], page[200], count;
            int n = naive(t, states[i], all), got;
            struct job_filter f = {.state = states[i]};
            assert_ok(t->err, line_count(t->s, &f, &count, &t->err));
            assert_int_equal(count, n);
            f.offset = chance(n + 2);
            int max = 1 + chance(20), wanted = KB_MIN(max, KB_MAX(n - f.offset, 0));
            assert_ok(t->err, line_list(t->s, &f, page, max, &got, &t->err));
            assert_int_equal(got, wanted);
            for (int k = 0; k < got; k++)
                if (page[k] != all[f.offset + k])
                    fail_msg("round %d, %s, place %d: job %lld, not %lld", round,
                             states[i] ? states[i] : "all", f.offset + k, (long long)page[k],
                             (long long)all[f.offset + k]);
        }
    }
}

// --- the sums

#define SUMS                                                                                       \
    "SELECT b.id, coalesce(sum(state = 'queued'), 0), coalesce(sum(state IN " JOB_STATES_RUNNING   \
    "), 0), coalesce(sum(state = 'done'), 0), coalesce(sum(state = 'failed'), 0),"                 \
    " coalesce(sum(state = 'cancelled'), 0), coalesce(sum(state = 'skipped'), 0), count(result),"  \
    " coalesce(sum(iif(result IS NULL, 0, result_size)), 0),"                                      \
    " coalesce(sum(state = 'done' AND stage_s IS NOT NULL), 0),"                                   \
    " coalesce(sum(iif(state = 'done' AND stage_s IS NOT NULL, j.ended_ms - started_ms, 0)), 0),"  \
    " coalesce(sum(iif(state = 'queued', cost, 0)), 0),"                                           \
    " coalesce(sum(state = 'queued' AND cost IS NULL), 0)"                                         \
    " FROM batch b LEFT JOIN job j ON j.batch = b.id GROUP BY b.id"

static void assert_sums(struct queue_test *t)
{
    assert_int_equal(ask(t, "SELECT count(*) FROM (SELECT * FROM batch_sum EXCEPT " SUMS ")"), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch_sum"),
                     ask(t, "SELECT count(*) FROM batch"));
}

static void sums_follow_every_change(void **state)
{
    struct queue_test *t = *state;
    int64_t batch = add_batch(t, 6, 5), other = add_batch(t, 2, 5);
    assert_sums(t);
    assert_int_equal(ask(t, "SELECT unknown FROM batch_sum WHERE batch = %lld", (long long)batch),
                     0);
    struct job_claim c = claim(t, "w1");
    struct job_report r = {STAGE_GENERATING, 100, 200, 2};
    assert_ok(t->err, job_report(t->s, &c, &r, NULL, &t->err));
    assert_sums(t);
    finish(t, &c);
    assert_sums(t);
    c = claim(t, "w1");
    struct kb_error why = {.code = KB_BAD_INPUT, .text = "no"};
    assert_ok(t->err, job_failed(t->s, &c, &why, &t->err));
    int64_t failed = c.job;
    job_claim_free(&c);
    c = claim(t, "w1");
    assert_ok(t->err, job_give_back(t->s, &c, &t->err));
    job_claim_free(&c);
    assert_sums(t);
    assert_ok(t->err, job_retry(t->s, failed, &t->err));
    assert_sums(t);
    run_sql(t, "UPDATE asset SET width = NULL"); // what it takes is not known any more
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_true(ask(t, "SELECT total(unknown) FROM batch_sum") > 0);
    assert_sums(t);
    assert_ok(t->err, batch_cancel(t->s, batch, &t->err));
    assert_sums(t);
    assert_ok(t->err, batch_retry(t->s, batch, &t->err));
    assert_sums(t);
    assert_ok(t->err,
              result_delete(t->s, ask(t, "SELECT id FROM job WHERE state = 'done'"), &t->err));
    assert_sums(t);
    assert_ok(t->err, batch_cancel(t->s, other, &t->err));
    assert_ok(t->err, batch_delete(t->s, other, &t->err));
    assert_sums(t);
}

// What costs is no news: nobody is told of a job whose price became known.
static void a_price_is_no_news(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    run_sql(t, "UPDATE asset SET duration_ms = 5000");
    int64_t rev = ask(t, "SELECT max(rev) FROM job");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_int_equal(ask(t, "SELECT max(rev) FROM job"), rev);
    assert_int_equal(ask(t, "SELECT min(cost) FROM job"), 5 * 64 * 64);
}

// A database that counted nothing is brought up to date.
static void an_older_database_is_counted(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 3, 5);
    struct job_claim c = claim(t, "w1");
    finish(t, &c);
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    sqlite3 *db = NULL;
    store_close(&t->s);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "DROP INDEX job_audio; ALTER TABLE job DROP COLUMN audio;" // of version 6
                     "ALTER TABLE job DROP COLUMN audio_name; ALTER TABLE job DROP COLUMN options;"
                     "ALTER TABLE asset DROP COLUMN words; ALTER TABLE batch DROP COLUMN speeches;"
                     "ALTER TABLE asset DROP COLUMN speech; ALTER TABLE asset DROP COLUMN pieces;"
                     "ALTER TABLE asset DROP COLUMN sample; ALTER TABLE job DROP COLUMN cues;"
                     "DROP TABLE person;"
                     "DROP TABLE remote; DROP TABLE node;" // of version 5
                     "DROP TRIGGER remote_over; DROP TRIGGER remote_gone; DROP TRIGGER remote_here;"
                     "DROP TRIGGER asset_insert; DROP TRIGGER asset_update;"
                     "DROP TRIGGER asset_delete; DROP INDEX asset_job;"
                     "ALTER TABLE asset DROP COLUMN job; ALTER TABLE job DROP COLUMN note;"
                     "CREATE TRIGGER asset_insert AFTER INSERT ON asset BEGIN SELECT 1; END;"
                     "CREATE TRIGGER asset_update AFTER UPDATE ON asset BEGIN SELECT 1; END;"
                     "CREATE TRIGGER asset_delete AFTER DELETE ON asset BEGIN SELECT 1; END;"
                     "DROP TABLE batch_sum; DROP TRIGGER batch_sum_begin;"
                     "DROP TRIGGER batch_sum_end; DROP TRIGGER batch_sum_insert;"
                     "DROP TRIGGER batch_sum_delete; DROP TRIGGER batch_sum_update;"
                     "DROP INDEX job_queued; DROP INDEX job_retry; DROP INDEX job_disk;"
                     "DROP INDEX job_ended; DROP INDEX job_result_name;"
                     "DROP INDEX job_result_text;"
                     "DROP INDEX job_result_size; DROP INDEX job_result_ms;"
                     "DROP TRIGGER job_update;"
                     "CREATE TRIGGER job_update AFTER UPDATE ON job BEGIN SELECT 1; END;"
                     "ALTER TABLE job DROP COLUMN cost; PRAGMA user_version = 3;",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    assert_sums(t);
    assert_int_equal(ask(t, "SELECT queued + 10 * done + 100 * unknown FROM batch_sum"), 212);
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_int_equal(ask(t, "SELECT unknown FROM batch_sum"), 0);
    assert_sums(t);
    run_sql(t,
            "UPDATE batch_sum SET queued = 7, cost = 1; INSERT INTO batch_sum(batch) VALUES (9)");
    assert_ok(t->err, counts_mend(t->s, &t->err));
    assert_sums(t);
}

// --- the sweep looks at what changed

static void sweep(struct queue_test *t)
{
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
}

static void what_changed_is_swept(void **state)
{
    struct queue_test *t = *state;
    int64_t first = add_batch(t, 2, 5), second = add_batch(t, 2, 5);
    sweep(t);
    sweep(t);
    int64_t rev = ask(t, "SELECT rev FROM clock");
    sweep(t);
    assert_int_equal(ask(t, "SELECT rev FROM clock"), rev); // at rest nothing is written
    run_sql(t, "UPDATE batch SET paused = 1 WHERE id = 1");
    sweep(t);
    assert_int_equal(
        ask(t, "SELECT sum(waiting = 'paused') FROM job WHERE batch = %lld", (long long)first), 2);
    // The speech of the second is made anew, then it is gone.
    run_sql(t,
            "UPDATE asset SET state = 'making' WHERE id = (SELECT audio FROM batch WHERE id = 2)");
    sweep(t);
    assert_int_equal(
        ask(t, "SELECT sum(waiting = 'speech') FROM job WHERE batch = %lld", (long long)second), 2);
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "UPDATE job SET not_before_ms = ?, waiting = 'retry' WHERE id = 1",
                                 "i", kb_wall_ms() + 50000));
    run_sql(t, "UPDATE batch SET paused = 0 WHERE id = 1");
    sweep(t);
    assert_int_equal(ask(t, "SELECT waiting = 'retry' FROM job WHERE id = 1"), 1);
    rev = ask(t, "SELECT rev FROM clock");
    // Its time comes, and nothing else changes.
    run_sql(t, "DROP TRIGGER job_update; UPDATE job SET not_before_ms = 1 WHERE id = 1");
    assert_int_equal(ask(t, "SELECT rev FROM clock"), rev);
    sweep(t);
    assert_int_equal(ask(t, "SELECT waiting = 'worker' FROM job WHERE id = 1"), 1);
    run_sql(t, "DELETE FROM asset WHERE id = (SELECT audio FROM batch WHERE id = 2)");
    sweep(t);
    assert_int_equal(ask(t, "SELECT sum(state = 'failed') FROM job WHERE batch = 2"), 2);
    run_sql(t, "UPDATE asset SET state = 'bad' WHERE id = (SELECT video FROM job WHERE id = 2)");
    sweep(t);
    assert_int_equal(ask(t, "SELECT state = 'failed' FROM job WHERE id = 2"), 1);
}

static void a_full_disk_is_seen_though_nothing_changed(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    sweep(t);
    sweep(t);
    assert_ok(t->err,
              sweep_run(t->s, &(struct sweep_params){.min_free_bytes = INT64_MAX}, &t->err));
    t->s->swept.next_us = 0; // it may be looked at again
    assert_ok(t->err,
              sweep_run(t->s, &(struct sweep_params){.min_free_bytes = INT64_MAX}, &t->err));
    assert_int_equal(ask(t, "SELECT sum(waiting = 'disk') FROM job"), 2);
    t->s->swept.next_us = 0;
    sweep(t);
    assert_int_equal(ask(t, "SELECT sum(waiting = 'worker') FROM job"), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, queue_setup, queue_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_are_those_of_the_whole_line),
        TEST(sums_follow_every_change),
        TEST(a_price_is_no_news),
        TEST(an_older_database_is_counted),
        TEST(what_changed_is_swept),
        TEST(a_full_disk_is_seen_though_nothing_changed),
    };
    return cmocka_run_group_tests_name("queue/line", tests, NULL, NULL);
}
