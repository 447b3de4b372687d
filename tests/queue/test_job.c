// Leases, reports, lost workers, results, changes.
#include "tests/queue/queue.h"
#include "queue/batch.h"
#include "queue/job.h"
#include "queue/result.h"
#include "queue/lease.h"
#include "queue/sweep.h"
#include "queue/worker.h"
#include "queue/change.h"
#include "queue/stats.h"

#include <sys/wait.h>

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
    assert_ok(t->err, sweep_worker_lost(t->s, "w1", "gone", &t->err));
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
}

// From the queue to a result, as the API shows it.
static void test_life(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.attempt, 1);
    assert_string_equal(path_name(c.output), "1-1.mp4");
    assert_string_equal(c.audio_name, "speech.wav");
    assert_string_equal(c.video_name, "v.mp4");
    assert_string_equal(path_name(c.audio_path), c.audio_sha256);
    assert_string_equal(c.options, "{}");
    assert_string_equal(c.lang, "en");

    static const struct {
        struct job_report report;
        const char *state;
        double progress;
    } steps[] = {
        {{STAGE_LOADING, 1, 2, 0}, "loading", 0.0075},
        {{STAGE_AUDIO, 1, 2, 0}, "loading", 0.0225},
        {{STAGE_PREPROCESSING, 50, 100, 80}, "preprocessing", 0.19},
        {{STAGE_PREPROCESSING, 10, 100, 80}, "preprocessing", 0.19}, // never backwards
        {{STAGE_GENERATING, 0, 0, 0}, "generating", 0.35},
        {{STAGE_GENERATING, 125, 250, 25}, "generating", 0.66},
        {{STAGE_GENERATING, 900, 250, 25}, "generating", 0.97}, // a wrong estimate
        {{STAGE_FINISHING, 1, 1, 0}, "finishing", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        bool cancel = true;
        assert_ok(t->err, job_report(t->s, &c, &steps[i].report, &cancel, &t->err));
        assert_false(cancel);
        json_t *j = job_of(t, c.job);
        assert_string_equal(get_text(j, "state"), steps[i].state);
        double progress = json_number_value(json_object_get(j, "progress"));
        if (progress < steps[i].progress - 1e-4 || progress > steps[i].progress + 1e-4)
            fail_msg("step %zu: progress %g, wanted %g", i, progress, steps[i].progress);
        if (i == 5) // 125 frames left at 25 a second
            assert_int_equal(get_int(j, "eta"), 5);
        json_decref(j);
    }
    int64_t job = c.job;
    finish(t, &c);
    json_t *j = job_of(t, job), *result = json_object_get(j, "result");
    assert_string_equal(get_text(j, "state"), "done");
    assert_string_equal(get_text(result, "name"), "v.mp4");
    assert_string_equal(get_text(result, "video"), "/api/v1/results/1/video");
    assert_int_equal(get_int(result, "size"), 4);
    assert_int_equal(get_int(result, "duration"), 1000);
    assert_true(json_is_null(json_object_get(result, "thumbnail")));
    assert_true(json_is_null(json_object_get(j, "eta")));
    double audio = json_number_value(json_object_get(json_object_get(j, "stage_s"), "audio"));
    assert_true(audio == 0.25);
    json_decref(j);
    json_t *b = batch_of(t, 1);
    assert_string_equal(get_text(b, "state"), "ended");
    assert_true(json_number_value(json_object_get(b, "progress")) == 1);
    json_decref(b);
    assert_int_equal(ask(t, "SELECT done FROM tally"), 1);
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

static void claim_all(const char *folder, int to)
{
    struct store *s = NULL;
    struct job_claim c;
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
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_done(t->s, &old, &result, true, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_failed(t->s, &old, &why, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_give_back(t->s, &old, &t->err));
    assert_state(t, c.job, "loading");
    job_claim_free(&old);

    // The end of a job is the end of its lease too. Its sentence was cut inside a character.
    struct job_claim again = c;
    c.output = kb_strdup(again.output);
    assert_ok(t->err, job_failed(t->s, &again, &why, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_done(t->s, &c, &result, true, &t->err));
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

static void test_done_without_file(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    struct dub_result r = {0};
    assert_fails(t->err, KB_INTERNAL, "not there", job_done(t->s, &c, &r, false, &t->err));
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

// A worker that is killed: its row stays behind with the number of a dead process.
static void test_killed(void **state)
{
    struct queue_test *t = *state;
    int64_t batch = add_batch(t, 1, 5);
    for (int attempt = 1; attempt <= JOB_MAX_ATTEMPTS; attempt++) {
        pid_t child = fork();
        if (child == 0) {
            struct store *s = NULL;
            struct job_claim c = {0};
            struct job_report r = {STAGE_GENERATING, 120, 250, 25};
            bool fine = store_open(&s, t->folder, false, NULL) == KB_OK &&
                        job_claim(s, "w1", 0, &c, NULL) == KB_OK &&
                        job_report(s, &c, &r, NULL, NULL) == KB_OK &&
                        file_write_atomic(c.output, "half", 4, NULL) == KB_OK;
            _exit(fine ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_state(t, 1, "generating");
        assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
        json_t *j = job_of(t, 1), *error = json_object_get(j, "error");
        bool last = attempt == JOB_MAX_ATTEMPTS;
        assert_string_equal(get_text(j, "state"), last ? "failed" : "queued");
        assert_string_equal(get_text(j, "waiting"), last ? "(none)" : "retry");
        assert_string_equal(get_text(error, "code"), "crashed");
        assert_non_null(strstr(get_text(error, "text"), "while generating, at frame 120 of 250"));
        assert_non_null(strstr(get_text(error, "text"), last ? "tried 3 times" : "tried again"));
        assert_int_equal(get_int(j, "attempts"), attempt);
        json_decref(j);
        CLEANUP(kb_freep) char *name = kb_printf("1-%d.mp4", attempt);
        CLEANUP(kb_freep) char *half = store_path(t->s, "results", name);
        assert_false(file_exists(half));
        struct job_claim c = {0}; // not at once
        assert_int_equal(job_claim(t->s, "w1", 0, &c, &t->err), KB_EOF);
        int64_t pause = ask(t, "SELECT not_before_ms FROM job") - kb_wall_ms();
        assert_true(last || (pause > 0 && pause <= 2000 * attempt));
        run_sql(t, "UPDATE job SET not_before_ms = 0");
    }
    assert_int_equal(ask(t, "SELECT ended_ms IS NOT NULL FROM batch"), 1);
    assert_ok(t->err, batch_retry(t->s, batch, &t->err));
    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.attempt, 1);
    job_claim_free(&c);
}

// A worker that lives but does not report: the lease ends.
static void test_silent(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_state(t, 1, "loading");
    run_sql(t, "UPDATE job SET heartbeat_ms = heartbeat_ms - 20000");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){.lease_ms = 30000}, &t->err));
    assert_state(t, 1, "loading");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    json_t *j = job_of(t, 1);
    assert_string_equal(get_text(j, "state"), "queued");
    assert_non_null(strstr(get_text(json_object_get(j, "error"), "text"), "no sign of life"));
    json_decref(j);
    struct job_report r = {STAGE_GENERATING, 1, 2, 3};
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_report(t->s, &c, &r, NULL, &t->err));
    job_claim_free(&c);
}

static void test_hung(void **state)
{
    struct queue_test *t = *state;
    char stage[16] = "";
    add_batch(t, 2, 5);
    struct job_claim a = claim(t, "w1"), b = claim(t, "w2");
    assert_int_equal(sweep_hung(t->s, "w1", 60000, stage), 0);
    run_sql(t, "UPDATE job SET progressed_ms = progressed_ms - 61000 WHERE id = 1");
    assert_int_equal(sweep_hung(t->s, "w2", 60000, stage), 0);
    assert_int_equal(sweep_hung(t->s, "w1", 60000, stage), a.job);
    assert_string_equal(stage, "loading");
    assert_ok(t->err, sweep_worker_lost(t->s, "w1", "the worker stood still for 60 s", &t->err));
    assert_ok(t->err, sweep_worker_lost(t->s, "w2", "the worker crashed (signal 11)", &t->err));
    static const char *const wanted[][2] = {
        {"hung", "the worker stood still for 60 s while loading models; attempt 1 of 3"},
        {"crashed", "the worker crashed (signal 11) while loading models; attempt 1 of 3"}};
    for (int i = 0; i < 2; i++) {
        json_t *j = job_of(t, i + 1), *error = json_object_get(j, "error");
        assert_string_equal(get_text(j, "state"), "queued");
        assert_string_equal(get_text(error, "code"), wanted[i][0]);
        assert_non_null(strstr(get_text(error, "text"), wanted[i][1]));
        json_decref(j);
    }
    job_claim_free(&a);
    job_claim_free(&b);
}

static void test_cancel(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 3, 5);
    struct job_claim c = claim(t, "w1");
    struct job_report r = {STAGE_GENERATING, 1, 2, 3};
    bool cancel = false;
    assert_ok(t->err, job_cancel(t->s, 1, &t->err));
    assert_ok(t->err, job_cancel(t->s, 2, &t->err));
    assert_state(t, 2, "cancelled");
    json_t *j = job_of(t, 1);
    assert_true(json_is_true(json_object_get(j, "cancelling")));
    json_decref(j);
    assert_ok(t->err, job_report(t->s, &c, &r, &cancel, &t->err));
    assert_true(cancel);
    struct kb_error why = {.code = KB_CANCELLED, .text = "cancelled"};
    assert_ok(t->err, job_failed(t->s, &c, &why, &t->err));
    job_claim_free(&c);
    assert_state(t, 1, "cancelled");
    assert_fails(t->err, KB_BAD_INPUT, "ended", job_cancel(t->s, 1, &t->err));

    // Cancelled, then its worker dies or is told to stop: not repeated.
    c = claim(t, "w1");
    assert_ok(t->err, job_cancel(t->s, c.job, &t->err));
    assert_ok(t->err, sweep_worker_lost(t->s, "w1", "the worker is gone", &t->err));
    assert_state(t, c.job, "cancelled");
    job_claim_free(&c);
    assert_ok(t->err, job_retry(t->s, 3, &t->err));
    assert_int_equal(ask(t, "SELECT ended_ms IS NULL FROM batch"), 1);
    c = claim(t, "w1");
    assert_ok(t->err, job_cancel(t->s, c.job, &t->err));
    assert_ok(t->err, job_give_back(t->s, &c, &t->err));
    assert_state(t, c.job, "cancelled");
    job_claim_free(&c);
}

static void test_retry_and_delete(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    struct job_claim c = claim(t, "w1");
    assert_fails(t->err, KB_BAD_INPUT, "neither failed", job_retry(t->s, 1, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "cancel it first", job_delete(t->s, 1, &t->err));
    CLEANUP(kb_freep) char *output = kb_strdup(c.output);
    finish(t, &c);
    assert_fails(t->err, KB_BAD_INPUT, "neither failed", job_retry(t->s, 1, &t->err));
    assert_true(file_exists(output));
    assert_ok(t->err, job_delete(t->s, 1, &t->err));
    assert_false(file_exists(output));
    assert_ok(t->err, job_cancel(t->s, 2, &t->err));
    run_sql(t, "DELETE FROM asset WHERE name = 'v.mp4'");
    assert_fails(t->err, KB_NOT_FOUND, "was deleted", job_retry(t->s, 2, &t->err));
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
        {"UPDATE job SET not_before_ms = 9e15", "retry", 0},
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

static void test_bad_files(void **state)
{
    struct queue_test *t = *state;
    int64_t batch = add_batch(t, 2, 5);
    run_sql(t, "UPDATE asset SET state = 'bad', error = 'no sound in it'"
               " WHERE name = 'speech.wav'");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    for (int i = 1; i <= 2; i++) {
        json_t *j = job_of(t, i);
        assert_string_equal(get_text(j, "state"), "failed");
        assert_string_equal(get_text(json_object_get(j, "error"), "text"),
                            "the speech 'speech.wav' cannot be used: no sound in it");
        json_decref(j);
    }
    json_t *b = batch_of(t, batch);
    assert_string_equal(get_text(b, "state"), "ended");
    json_decref(b);

    add_batch(t, 1, 5);
    run_sql(t, "UPDATE asset SET state = 'bad', error = 'not a video' WHERE kind = 'video'");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    add_batch(t, 1, 5);
    run_sql(t, "DELETE FROM asset WHERE kind = 'video'");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    static const char *const wanted[] = {"not a video", "was deleted"};
    for (int i = 0; i < 2; i++) {
        json_t *j = job_of(t, i + 3);
        assert_string_equal(get_text(j, "state"), "failed");
        assert_non_null(strstr(get_text(json_object_get(j, "error"), "text"), wanted[i]));
        json_decref(j);
    }
}

static void test_results(void **state)
{
    struct queue_test *t = *state;
    int64_t batch = add_batch(t, 3, 5), other = add_batch(t, 1, 5);
    for (int i = 0; i < 4; i++) {
        struct job_claim c = claim(t, "w1");
        finish(t, &c);
    }
    run_sql(t, "UPDATE job SET ended_ms = id");
    run_sql(t, "UPDATE batch SET name = 'Weihnachten' WHERE id = 2");
    static const struct {
        struct result_filter filter;
        const char *jobs; // in order
    } cases[] = {
        {{0}, "4 3 2 1"},           {{.limit = 2}, "4 3"}, {{.limit = 2, .offset = 3}, "1"},
        {{.offset = 9}, ""},        {{.batch = 2}, "4"},   {{.batch = 1, .search = "-2"}, "2"},
        {{.search = "WEIHN"}, "4"}, {{.search = "%"}, ""},
    };
    assert_int_equal(batch, 1);
    assert_int_equal(other, 2);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text text = {0}, jobs = {0};
        assert_ok(t->err, result_list_json(t->s, &cases[i].filter, &text, &t->err));
        json_t *page = parse(&text), *item;
        size_t k;
        json_array_foreach(json_object_get(page, "items"), k, item)
            text_addf(&jobs, "%s%lld", k ? " " : "", get_int(item, "job"));
        assert_string_equal(text_get(&jobs), cases[i].jobs);
        assert_int_equal(get_int(page, "rev"), change_revision(t->s));
        text_free(&jobs);

        int64_t *ids = NULL;
        int n = 0;
        assert_ok(t->err, result_ids(t->s, &cases[i].filter, &ids, &n, &t->err));
        assert_int_equal(n, get_int(page, "total"));
        free(ids);
        json_decref(page);
    }
    struct result r = {0};
    assert_ok(t->err, result_find(t->s, 2, &r, &t->err));
    assert_string_equal(r.name, "v-2.mp4");
    assert_string_equal(path_name(r.path), "2-1.mp4");
    assert_int_equal(r.batch, 1);
    struct text one = {0};
    assert_ok(t->err, result_json(t->s, 2, &one, &t->err));
    json_t *shown = parse(&one);
    assert_string_equal(get_text(shown, "name"), r.name);
    assert_string_equal(get_text(shown, "batch_name"), r.batch_name);
    json_decref(shown);
    assert_null(r.thumb);
    assert_int_equal(r.size_bytes, 4);
    assert_int_equal(r.duration_ms, 1000);
    assert_int_equal(r.height, 48);
    assert_true(file_exists(r.path));
    assert_ok(t->err, result_delete(t->s, 2, &t->err));
    assert_false(file_exists(r.path));
    result_free(&r);
    assert_fails(t->err, KB_NOT_FOUND, "no result", result_find(t->s, 2, &r, &t->err));
    json_t *j = job_of(t, 2);
    assert_string_equal(get_text(j, "state"), "done");
    assert_true(json_is_null(json_object_get(j, "result")));
    json_decref(j);
}

// --- changes

static json_t *parse_changes(struct queue_test *t, int64_t *rev)
{
    static const bool wanted[KB_LANGUAGES] = {[KB_LANGUAGE_SOURCE] = true};
    struct text texts[KB_LANGUAGES] = {0};
    assert_ok(t->err, change_list_json(t->s, *rev, wanted, texts, rev, &t->err));
    assert_int_equal(texts[KB_LANGUAGE_CATALOGUE].size, 0);
    return parse(&texts[KB_LANGUAGE_SOURCE]);
}

static json_t *changes(struct queue_test *t, int64_t *rev)
{
    int64_t next = *rev;
    json_t *json = parse_changes(t, &next);
    assert_int_equal(get_int(json, "rev"), next);
    assert_true(next >= *rev);
    *rev = next;
    return json;
}

static void assert_changed(struct queue_test *t, int64_t *rev, size_t batches, size_t jobs,
                           size_t assets, size_t gone)
{
    json_t *json = changes(t, rev);
    assert_int_equal(json_array_size(json_object_get(json, "batches")), batches);
    assert_int_equal(json_array_size(json_object_get(json, "jobs")), jobs);
    assert_int_equal(json_array_size(json_object_get(json, "assets")), assets);
    assert_int_equal(json_array_size(json_object_get(json, "gone")), gone);
    assert_null(json_object_get(json, "reset"));
    json_decref(json);
}

static void test_changes(void **state)
{
    struct queue_test *t = *state;
    int64_t rev = 0;
    assert_changed(t, &rev, 0, 0, 0, 0);
    int64_t batch = add_batch(t, 3, 5);
    assert_changed(t, &rev, 1, 3, 2, 0);
    assert_changed(t, &rev, 0, 0, 0, 0);
    struct job_claim c = claim(t, "w1");
    assert_changed(t, &rev, 1, 1, 0, 0);
    assert_ok(t->err, job_report(t->s, &c, &(struct job_report){STAGE_GENERATING, 1, 2, 3}, NULL,
                                  &t->err));
    assert_changed(t, &rev, 1, 1, 0, 0);
    finish(t, &c);
    assert_changed(t, &rev, 1, 1, 0, 0);
    assert_ok(t->err, batch_rename(t->s, batch, "neu", &t->err));
    assert_changed(t, &rev, 1, 3, 0, 0);
    assert_ok(t->err, job_cancel(t->s, 2, &t->err));
    assert_changed(t, &rev, 1, 1, 0, 0);
    assert_ok(t->err, job_delete(t->s, 2, &t->err)); // its batch counts one less
    assert_changed(t, &rev, 1, 0, 0, 1);
    run_sql(t, "DELETE FROM asset WHERE name = 'v.mp4'");
    assert_changed(t, &rev, 0, 0, 0, 1);
    int64_t before = rev;
    assert_ok(t->err, batch_delete(t->s, batch, &t->err));
    json_t *json = changes(t, &rev);
    json_t *gone = json_object_get(json, "gone");
    assert_int_equal(json_array_size(gone), 3);
    assert_string_equal(get_text(json_array_get(gone, 0), "kind"), "job");
    assert_string_equal(get_text(json_array_get(gone, 2), "kind"), "batch");
    assert_int_equal(get_int(json_array_get(gone, 2), "id"), batch);
    json_decref(json);
    rev = before;
    assert_changed(t, &rev, 0, 0, 0, 3); // as often as asked
}

static void assert_reset(struct queue_test *t, int64_t rev)
{
    json_t *json = parse_changes(t, &rev);
    assert_true(json_is_true(json_object_get(json, "reset")));
    assert_int_equal(rev, change_revision(t->s));
    json_decref(json);
}

static void test_reset(void **state)
{
    struct queue_test *t = *state;
    int64_t rev = change_revision(t->s);
    assert_reset(t, rev + 1); // of another database
    add_asset(t, "audio", "ready", "a.wav");
    // A long list of deletions is cut, and only who needs what was cut is told.
    run_sql(t, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5100)"
               " INSERT INTO asset(id, state, name, size, created_ms)"
               " SELECT 'x' || i, 'new', 'n', 1, 1 FROM n");
    int64_t loaded = change_revision(t->s);
    run_sql(t, "DELETE FROM asset WHERE id LIKE 'x%'");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM gone"), 5000);
    assert_reset(t, loaded);
    rev = loaded + 100;
    assert_changed(t, &rev, 0, 0, 0, 5000);
    // Nearly everything is new: page by page is quicker.
    run_sql(t, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100)"
               " INSERT INTO asset(id, state, name, size, created_ms)"
               " SELECT 'y' || i, 'new', 'n', 1, 1 FROM n");
    assert_reset(t, rev);
}

static void test_workers(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w2");
    struct worker_row rows[] = {
        {.id = "w10", .kind = "generate", .pid = 10, .state = "idle"},
        {.id = "w2",
         .kind = "generate",
         .pid = 2,
         .state = "busy",
         .model = "koubo-lips",
         .precision = "bf16",
         .rss_bytes = 5},
        {.id = "i1", .kind = "inspect", .pid = 3, .state = "idle"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_ok(t->err, worker_put(t->s, &rows[i], &t->err));
    rows[1].pid = 22; // restarted
    assert_ok(t->err, worker_put(t->s, &rows[1], &t->err));
    assert_ok(t->err, worker_put(t->s, &rows[1], &t->err));
    CLEANUP(kb_freep) struct worker_status *list = NULL;
    int n = 0;
    assert_ok(t->err, worker_list(t->s, &list, &n, &t->err));
    assert_int_equal(n, 3);
    static const char *const ids[] = {"w2", "w10", "i1"};
    for (int i = 0; i < n; i++)
        assert_string_equal(list[i].id, ids[i]);
    assert_string_equal(list[2].kind, "inspect");
    assert_string_equal(list[0].state, "busy");
    assert_true(list[0].heartbeat_ms > 0);

    struct text text = {0};
    assert_ok(t->err, worker_list_json(t->s, &text, &t->err));
    json_t *json = parse(&text), *w2 = json_array_get(json, 0);
    assert_int_equal(json_array_size(json), 3);
    assert_string_equal(get_text(w2, "id"), "w2");
    assert_string_equal(get_text(w2, "precision"), "bf16");
    assert_int_equal(get_int(w2, "restarts"), 1);
    assert_int_equal(get_int(w2, "pid"), 22);
    assert_int_equal(get_int(w2, "job"), c.job);
    assert_string_equal(get_text(json_array_get(json, 1), "id"), "w10");
    assert_true(json_is_null(json_object_get(json_array_get(json, 1), "job")));
    json_decref(json);
    assert_ok(t->err, worker_remove(t->s, "i1", &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM worker"), 2);
    assert_ok(t->err, worker_remove(t->s, "", &t->err));
    assert_ok(t->err, worker_list_json(t->s, &text, &t->err));
    assert_string_equal(text_get(&text), "[]");
    text_free(&text);
    job_claim_free(&c);
}

static void test_stats(void **state)
{
    struct queue_test *t = *state;
    struct text text = {0};
    struct stats stats;
    assert_ok(t->err, stats_get(t->s, &stats, &t->err)); // of nothing
    assert_true(stats.stage_average_s[STAGE_GENERATING] < 0);
    stats_json(&stats, &text);
    json_t *none = parse(&text);
    assert_true(json_is_null(json_object_get(json_object_get(none, "stage_average_s"), "audio")));
    json_decref(none);
    add_batch(t, 4, 5);
    struct job_claim c = claim(t, "w1");
    finish(t, &c);
    c = claim(t, "w1");
    struct kb_error why = {.code = KB_BAD_INPUT, .text = "x"};
    assert_ok(t->err, job_failed(t->s, &c, &why, &t->err));
    job_claim_free(&c);
    c = claim(t, "w1");
    CLEANUP(kb_freep) char *track = store_path(t->s, "tracks", "a.kbt");
    assert_ok(t->err, file_write_atomic(track, "12345", 5, &t->err));
    assert_ok(t->err, stats_get(t->s, &stats, &t->err));
    assert_int_equal(stats.jobs[JOB_LOADING], 1);
    assert_int_equal(stats.tracks_bytes, 5);
    assert_true(stats.stage_average_s[STAGE_GENERATING] == 1.5);
    stats_json(&stats, &text);
    json_t *json = parse(&text), *jobs = json_object_get(json, "jobs");
    json_t *bytes = json_object_get(json, "bytes");
    assert_int_equal(get_int(jobs, "queued"), 1);
    assert_int_equal(get_int(jobs, "loading"), 1);
    assert_int_equal(get_int(jobs, "done"), 1);
    assert_int_equal(get_int(jobs, "failed"), 1);
    assert_int_equal(get_int(bytes, "files"), 18);
    assert_int_equal(get_int(bytes, "results"), 4);
    assert_int_equal(get_int(bytes, "tracks"), 5);
    assert_int_equal(get_int(json, "seconds_total"), 1);
    json_t *average = json_object_get(json_object_get(json, "stage_average_s"), "generating");
    assert_true(json_number_value(average) == 1.5);
    json_decref(json);
    job_claim_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_life, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_reports_are_sparse, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_claimed_once, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_lease_lost, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_done_without_file, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_failures, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_killed, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_silent, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_hung, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_cancel, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_retry_and_delete, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_waiting, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_room_is_shared, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_bad_files, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_results, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_changes, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_reset, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_workers, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_stats, queue_setup, queue_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
