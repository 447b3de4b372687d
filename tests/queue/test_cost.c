// What is asked every second, or by every page, costs as much with ten times the jobs: counted in
// steps of SQLite's machine, which are the same on every machine and every day.
#include "tests/queue/queue.h"

#include "queue/change.h"
#include "queue/result.h"
#include "queue/stats.h"
#include "queue/sweep.h"
#include "queue/worker.h"

#define BATCHES 20
#define FEW     20 // jobs of a batch
#define MANY    200
// Where jobs are looked at that nobody asked for, the steps grow tenfold.
#define GROWTH 3.0

// So many jobs in each batch: half of the batches done, with results, the others queued and paused,
// but for one that could be claimed.
static void fill(struct queue_test *t, int each)
{
    char sql[4000];
    run_sql(t, "DELETE FROM job; DELETE FROM batch; DELETE FROM asset; DELETE FROM gone;");
    snprintf(
        sql, sizeof(sql),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
        " INSERT INTO asset(id, state, kind, name, size, received, sha256, duration_ms, width,"
        " height, created_ms) SELECT 'a' || i, 'ready', 'video', 'v', 1, 1, 'a' || i, 1000, 64,"
        " 64, 1 FROM n;"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
        " INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, paused, lang,"
        " created_ms, ended_ms) SELECT i, 'b' || i, 'a1', 's', '{}', 5, i,"
        " i > %d AND i < %d, 'en', 1, iif(i <= %d, 1000, NULL) FROM n;",
        BATCHES, BATCHES, BATCHES / 2, BATCHES, BATCHES / 2);
    run_sql(t, sql);
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO job(batch, video, name, result_name, position, state, waiting,"
             " state_since_ms, created_ms, started_ms, ended_ms, stage_s, result, result_size,"
             " result_ms, result_width, result_height)"
             " SELECT b.id, 'a' || (1 + i %% 10), 'v' || i, 'r' || i, i,"
             " iif(d.done, 'done', 'queued'), iif(d.done, NULL, 'worker'), 1, 1,"
             " iif(d.done, 1, NULL), iif(d.done, 1000 + i, NULL), iif(d.done, '{}', NULL),"
             " iif(d.done, b.id || '/' || i || '.mp4', NULL), 100, 1000, 64, 64"
             " FROM batch b JOIN (SELECT id, ended_ms IS NOT NULL AS done FROM batch) d"
             " ON d.id = b.id, n;",
             each);
    run_sql(t, sql);
}

// Of all statements since the last call.
static int64_t steps(struct queue_test *t)
{
    int64_t sum = 0;
    for (sqlite3_stmt *q = NULL; (q = sqlite3_next_stmt(t->s->db, q));)
        sum += sqlite3_stmt_status(q, SQLITE_STMTSTATUS_VM_STEP, 1);
    return sum;
}

static void sweep(struct queue_test *t)
{
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
}

// As if the last job ran.
static void beat(struct queue_test *t)
{
    run_sql(t, "UPDATE job SET done = done + 1 WHERE id = (SELECT max(id) FROM job)");
}

static void changes(struct queue_test *t)
{
    static const bool wanted[KB_LANGUAGES] = {[KB_LANGUAGE_SOURCE] = true};
    struct text json[KB_LANGUAGES] = {0};
    int64_t rev;
    assert_ok(t->err,
              change_list_json(t->s, change_revision(t->s) - 1, wanted, json, &rev, &t->err));
    text_free(&json[KB_LANGUAGE_SOURCE]);
}

// One is taken, and given back unused.
static void claim_one(struct queue_test *t)
{
    struct job_claim c = claim(t, "w1");
    assert_ok(t->err, job_give_back(t->s, &c, &t->err));
    job_claim_free(&c);
}

static void pause_all(struct queue_test *t)
{
    assert_ok(t->err, batch_pause(t->s, BATCHES, true, &t->err));
}

static void claim_none(struct queue_test *t)
{
    struct job_claim c;
    assert_int_equal(job_claim(t->s, "w1", 0, &c, &t->err), KB_EOF);
}

static void batches(struct queue_test *t)
{
    CLEANUP(text_free) struct text text = {0};
    struct batch_filter f = {.limit = 10};
    assert_ok(t->err, batch_list_json(t->s, &f, &text, &t->err));
}

static void jobs_of(struct queue_test *t, const char *state, int64_t batch, int offset)
{
    CLEANUP(text_free) struct text text = {0};
    struct job_filter f = {.state = state, .batch = batch, .limit = 10, .offset = offset};
    assert_ok(t->err, job_list_json(t->s, &f, &text, &t->err));
}

static void jobs(struct queue_test *t)
{
    jobs_of(t, NULL, 0, 0);
    jobs_of(t, "unfinished", 0, 0);
    jobs_of(t, "queued", 0, 20);
    jobs_of(t, "done", 0, 0);
    jobs_of(t, "failed", 0, 0);
}

static void results(struct queue_test *t)
{
    static const char *const sorts[] = {"created", "name", "size", "duration"};
    for (size_t i = 0; i < 2 * ARRAY_LEN(sorts); i++) {
        int64_t *ids;
        int n;
        struct result_filter f = {.sort = sorts[i / 2], .ascending = i % 2, .limit = 10};
        assert_ok(t->err, result_ids(t->s, &f, &ids, &n, &t->err));
        assert_int_equal(n, 10);
        free(ids);
    }
}

static void numbers(struct queue_test *t)
{
    struct stats stats;
    int64_t n;
    CLEANUP(text_free) struct text text = {0};
    assert_ok(t->err, stats_get(t->s, &stats, &t->err));
    assert_ok(t->err, worker_list_json(t->s, &text, &t->err));
    assert_ok(t->err, job_count(t->s, &(struct job_filter){.state = "queued"}, &n, &t->err));
    assert_int_equal(n, stats.jobs[JOB_QUEUED]);
    assert_ok(t->err, job_count(t->s, &(struct job_filter){.state = "running"}, &n, &t->err));
    assert_int_equal(n, 0);
}

static const struct {
    const char *name;
    void (*prepare)(struct queue_test *t); // not counted
    void (*act)(struct queue_test *t);
} acts[] = {
    {"sweep, at rest", sweep, sweep},
    {"sweep, after a heartbeat", beat, sweep},
    {"changes after a heartbeat", beat, changes},
    {"claim", sweep, claim_one},
    {"batches", sweep, batches},
    {"jobs", sweep, jobs},
    {"results", sweep, results},
    {"numbers", sweep, numbers},
    {"claim, when all is paused", pause_all, claim_none},
};

static void ten_times_as_many_jobs_cost_the_same(void **state)
{
    struct queue_test *t = *state;
    int64_t before[ARRAY_LEN(acts)];
    for (int round = 0; round < 2; round++) {
        fill(t, round ? MANY : FEW);
        sweep(t);
        for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
            acts[i].prepare(t);
            acts[i].act(t); // statements are prepared, temporary tables are there
            acts[i].prepare(t);
            steps(t);
            acts[i].act(t);
            int64_t cost = steps(t);
            if (round) {
                print_message("# %s: %lld steps, with ten times as many jobs %lld\n", acts[i].name,
                              (long long)before[i], (long long)cost);
                assert_true((double)cost < GROWTH * (double)before[i]);
            }
            before[i] = cost;
        }
        assert_int_equal(ask(t, "SELECT total(queued) FROM batch_sum"),
                         BATCHES / 2 * (round ? MANY : FEW));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ten_times_as_many_jobs_cost_the_same, queue_setup,
                                        queue_teardown),
    };
    return cmocka_run_group_tests_name("queue/cost", tests, NULL, NULL);
}
