// Leases: each job is claimed once, reported, waited for, and lost only to whoever may take it.
#include "tests/queue/queue.h"

#include "queue/batch.h"
#include "queue/job.h"
#include "queue/change.h"
#include "queue/lease.h"
#include "queue/result.h"
#include "queue/sweep.h"
#include "queue/worker.h"
#include "base/utf8.h"

#include <sys/wait.h>

static void claim_all(const char *folder, int to)
{
    struct store *s = NULL;
    struct job_claim c = {0};
    if (store_open(&s, folder, false, NULL) != KB_OK)
        _exit(1);
    store_set_durable(s, false);
    for (enum kb_code code; (code = job_claim(s, "w", 0, &c, NULL)) != KB_EOF;) {
        int32_t id = (int32_t)c.job;
        if (code != KB_OK || write(to, &id, sizeof(id)) != sizeof(id))
            _exit(2);
        job_claim_free(&c);
    }
    store_close(&s);
}

static void test_nothing(void **state)
{
    struct queue_test *t = *state;
    struct job_claim c = {0};
    struct text text = {0};
    assert_int_equal(job_claim(t->s, "w1", 0, &c, &t->err), KB_EOF);
    assert_fails(t->err, KB_NOT_FOUND, "no job 7", job_json(t->s, 7, &text, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no job 7", job_cancel(t->s, 7, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no job 7", job_retry(t->s, 7, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no job 7", job_move(t->s, 7, 0, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no job 7", job_delete(t->s, 7, &t->err));
    struct result r;
    struct job job;
    assert_fails(t->err, KB_NOT_FOUND, "no job 7", job_get(t->s, 7, &job, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no result", result_find(t->s, 7, &r, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no result", result_json(t->s, 7, &text, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no result", result_delete(t->s, 7, &t->err));
    assert_ok(t->err, sweep_worker_lost(t->s, "w1", "gone", false, &t->err));
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
}

static void test_reports_are_sparse(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    struct job_report r = {STAGE_GENERATING, 3, 9, 1};
    assert_ok(t->err, job_report(t->s, &c, &r, NULL, &t->err));
    int64_t rev = change_revision(t->s);
    run_sql(t, "UPDATE job SET progressed_ms = 5, state_since_ms = 6");
    assert_ok(t->err, job_report(t->s, &c, &r, NULL, &t->err));
    assert_int_equal(change_revision(t->s), rev + 1); // nothing new: only the line above
    run_sql(t, "UPDATE job SET heartbeat_ms = heartbeat_ms - 901");
    assert_ok(t->err, job_report(t->s, &c, &r, NULL, &t->err)); // a heartbeat
    assert_int_equal(ask(t, "SELECT progressed_ms"
                            " FROM job WHERE heartbeat_ms > 1000"),
                     5);
    r.done = 4;
    assert_ok(t->err, job_report(t->s, &c, &r, NULL, &t->err));
    assert_true(ask(t, "SELECT progressed_ms FROM job") > 5);
    assert_int_equal(ask(t, "SELECT state_since_ms FROM job"), 6);
    r.stage = STAGE_FINISHING;
    assert_ok(t->err, job_report(t->s, &c, &r, NULL, &t->err));
    assert_true(ask(t, "SELECT state_since_ms FROM job") > 6);
    assert_true(ask(t, "SELECT json_extract(stage_s, '$.generating') FROM job") > 1000);
    job_claim_free(&c);
}

// 200 jobs, two processes and two connections in this one: each is claimed exactly once.
static void test_claimed_once(void **state)
{
    enum { N = 200 };
    struct queue_test *t = *state;
    int to[2], seen[N + 1] = {0};
    add_batch(t, N / 2, 5);
    add_batch(t, N / 2, 5);
    assert_int_equal(pipe(to), 0);
    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            claim_all(t->folder, to[1]);
            _exit(0);
        }
    }
    CLEANUP(store_close) struct store *other = NULL;
    assert_ok(t->err, store_open(&other, t->folder, false, &t->err));
    store_set_durable(other, false);
    struct store *mine[2] = {t->s, other};
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK; i++) {
        struct job_claim c = {0};
        code = job_claim(mine[i % 2], i % 2 ? "x" : "y", 0, &c, &t->err);
        if (code == KB_OK)
            seen[c.job]++;
        job_claim_free(&c);
    }
    assert_int_equal(code, KB_EOF);
    for (int i = 0; i < 2; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    close(to[1]);
    for (int32_t id; read(to[0], &id, sizeof(id)) == sizeof(id);)
        seen[id]++;
    close(to[0]);
    for (int i = 1; i <= N; i++)
        if (seen[i] != 1)
            fail_msg("job %d was claimed %d times", i, seen[i]);
    assert_int_equal(ask(t, "SELECT count(DISTINCT lease) FROM job"), N);
}

static void test_lease_lost(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim old = claim(t, "w1");
    assert_ok(t->err, job_give_back(t->s, &old, &t->err));
    struct job_claim c = claim(t, "w2");
    assert_int_equal(c.job, old.job);
    assert_int_equal(c.attempt, 1); // not counted

    struct job_report report = {STAGE_GENERATING, 1, 2, 3};
    struct dub_result result = {0};
    struct kb_error why = {.code = KB_BAD_INPUT, .text = "no face \xe8\xa7"};
    bool cancel;
    assert_ok(t->err, file_write_atomic(old.output, "x", 1, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer",
                 job_report(t->s, &old, &report, &cancel, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer",
                 job_done(t->s, &old, &result, true, NULL, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_failed(t->s, &old, &why, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_give_back(t->s, &old, &t->err));
    assert_state(t, c.job, "loading");
    job_claim_free(&old);

    // The end of a job is the end of its lease too. Its sentence was cut inside a character.
    struct job_claim again = c;
    c.output = kb_strdup(again.output);
    assert_ok(t->err, job_failed(t->s, &again, &why, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer",
                 job_done(t->s, &c, &result, true, NULL, &t->err));
    free(c.output);
    job_claim_free(&again);
    json_t *j = job_of(t, 1);
    assert_string_equal(get_text(j, "state"), "failed");
    assert_string_equal(get_text(json_object_get(j, "error"), "code"), "bad_input");
    assert_string_equal(get_text(json_object_get(j, "error"), "text"),
                        "no face \xef\xbf\xbd\xef\xbf\xbd");
    json_decref(j);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch WHERE ended_ms IS NOT NULL"), 1);
}

// Both or nothing, whenever the server is killed.
static void test_subtitles_end_with_their_job(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    struct dub_result r = {.frames = 1, .seconds = 1, .width = 64, .height = 48};
    const char *cues = "{\"cues\":[[0,900,\"hello\"]]}";
    assert_ok(t->err, file_write_atomic(c.output, "x", 1, &t->err));
    run_sql(t, "CREATE TRIGGER crash BEFORE UPDATE OF cues ON job WHEN new.cues IS NOT NULL BEGIN"
               " SELECT RAISE(ABORT, 'not now'); END");
    assert_int_not_equal(job_done(t->s, &c, &r, false, cues, &t->err), KB_OK);
    assert_state(t, c.job, "loading");
    run_sql(t, "DROP TRIGGER crash");
    assert_ok(t->err, job_done(t->s, &c, &r, false, cues, &t->err));
    assert_state(t, c.job, "done");
    assert_int_equal(ask(t, "SELECT cues = '%s' FROM job", cues), 1);
    job_claim_free(&c);
}

static void test_done_without_file(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    struct dub_result r = {0};
    assert_fails(t->err, KB_INTERNAL, "not there", job_done(t->s, &c, &r, false, NULL, &t->err));
    assert_state(t, c.job, "loading");
    job_claim_free(&c);
}

static void test_failures(void **state)
{
    static const struct {
        struct kb_error why;
        const char *state, *code;
    } cases[] = {
        {{.code = KB_BAD_INPUT, .text = "a"}, "failed", "bad_input"},
        {{.code = KB_NOT_FOUND, .text = "b"}, "failed", "not_found"},
        {{.code = KB_UNAVAILABLE, .text = "c"}, "failed", "unavailable"},
        {{.code = KB_INTERNAL, .text = "d"}, "failed", "internal"},
        {{.code = KB_CANCELLED, .text = "e"}, "cancelled", "cancelled"},
        {{.code = KB_NO_SPACE, .text = "f"}, "queued", "no_space"},
    };
    struct queue_test *t = *state;
    add_batch(t, ARRAY_LEN(cases), 5);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct job_claim c = claim(t, "w1");
        assert_ok(t->err, job_failed(t->s, &c, &cases[i].why, &t->err));
        json_t *j = job_of(t, c.job);
        assert_string_equal(get_text(j, "state"), cases[i].state);
        assert_string_equal(get_text(json_object_get(j, "error"), "code"), cases[i].code);
        assert_string_equal(get_text(json_object_get(j, "error"), "text"), cases[i].why.text);
        json_decref(j);
        job_claim_free(&c);
    }
    // What is longer when it is said than C has room for ends with a whole character.
    run_sql(t, "UPDATE job SET error_code = 'bad_input', error = (SELECT char(30) || 'x%s%s%s' ||"
               " char(31) || replace(hex(zeroblob(120)), '00', '口') || char(31) ||"
               " replace(hex(zeroblob(120)), '00', '口')) WHERE id = 1");
    struct job job;
    assert_ok(t->err, job_get(t->s, 1, &job, &t->err));
    assert_true(strlen(job.error) > sizeof(job.error) - 4);
    assert_true(utf8_valid(job.error));
    // A full disk is tried again, later, and not for ever.
    struct job_claim c = {0};
    assert_int_equal(job_claim(t->s, "w1", 0, &c, &t->err), KB_EOF);
    for (int attempt = 2; attempt <= JOB_MAX_ATTEMPTS; attempt++) {
        run_sql(t, "UPDATE job SET not_before_ms = 0");
        c = claim(t, "w1");
        assert_int_equal(c.attempt, attempt);
        assert_ok(t->err, job_failed(t->s, &c, &cases[5].why, &t->err));
        job_claim_free(&c);
    }
    assert_state(t, 6, "failed");
    assert_int_equal(ask(t, "SELECT failed FROM tally"), 5);
}

// What queued jobs wait for, and those that wait in vain.
static void test_waiting(void **state)
{
    struct queue_test *t = *state;
    static const struct {
        const char *sql, *waiting;
        int64_t min_free;
    } cases[] = {
        {"UPDATE job SET waiting = NULL", "worker", 0},
        {"UPDATE asset SET state = 'making' WHERE name = 'speech.wav'", "speech", 0},
        {"UPDATE asset SET state = 'fetching'", "download", 0},
        {"UPDATE asset SET state = 'ready'", "disk", INT64_MAX},
        {"UPDATE asset SET width = 1000000, height = 1000000, duration_ms = 3600000", "disk", 0},
        {"UPDATE asset SET width = 64, height = 64, duration_ms = 1000", "worker", 0},
        {"UPDATE job SET not_before_ms = 1000 * unixepoch() + 30000", "retry", 0},
        {"UPDATE job SET not_before_ms = 9e15", "worker", 0}, // the clock was set back
        {"UPDATE batch SET paused = 1", "paused", 0},
    };
    add_batch(t, 1, 5);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run_sql(t, cases[i].sql);
        struct sweep_params p = {.min_free_bytes = cases[i].min_free};
        assert_ok(t->err, sweep_run(t->s, &p, &t->err));
        json_t *j = job_of(t, 1);
        assert_string_equal(get_text(j, "waiting"), cases[i].waiting);
        json_decref(j);
        int64_t rev = change_revision(t->s); // and says it once
        assert_ok(t->err, sweep_run(t->s, &p, &t->err));
        assert_int_equal(change_revision(t->s), rev);
        struct job_claim c = {0};
        if (strcmp(cases[i].waiting, "worker") != 0)
            assert_int_equal(job_claim(t->s, "w1", cases[i].min_free, &c, &t->err), KB_EOF);
    }
}

// The need of running jobs counts, so that two that fit alone do not start together.
static void test_room_is_shared(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    run_sql(t, "UPDATE asset SET width = NULL"); // not looked at: 200 MB each
    struct job_claim c = {0};
    int64_t low = 0, high = INT64_MAX / 2; // the largest min_free with which one may start
    for (int i = 0; i < 62 && high - low > 100000000; i++) {
        int64_t middle = low + (high - low) / 2;
        if (job_claim(t->s, "w1", middle, &c, &t->err) == KB_OK) {
            assert_ok(t->err, job_give_back(t->s, &c, &t->err));
            job_claim_free(&c);
            low = middle;
        } else {
            high = middle;
        }
    }
    if (low == 0)
        SKIP_TEST("less than 300 MB are free here");
    assert_ok(t->err, job_claim(t->s, "w1", low, &c, &t->err));
    job_claim_free(&c);
    assert_int_equal(job_claim(t->s, "w2", low, &c, &t->err), KB_EOF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing),
        TEST(test_reports_are_sparse),
        TEST(test_claimed_once),
        TEST(test_lease_lost),
        TEST(test_done_without_file),
        TEST(test_failures),
        TEST(test_subtitles_end_with_their_job),
        TEST(test_failures),
        TEST(test_waiting),
        TEST(test_room_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
