// Sweeping: workers that are dead, silent or hung, and files that cannot be used.
#include "tests/queue/queue.h"

#include "queue/batch.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "queue/sweep.h"
#include "queue/worker.h"

#include <sys/wait.h>

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

static void write_part(const struct job_claim *c, const char *text)
{
    CLEANUP(kb_freep) char *part = file_part_path(c->output, 0);
    FILE *f = fopen(part, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static bool holds(const char *path, const char *text)
{
    struct file_map map = {0};
    if (file_map(&map, path, NULL) != KB_OK)
        return false;
    bool same = map.size == strlen(text) && memcmp(map.data, text, map.size) == 0;
    file_unmap(&map);
    return same;
}

static void lose_silent(struct queue_test *t)
{
    run_sql(t, "UPDATE job SET heartbeat_ms = heartbeat_ms - 20000 WHERE state = 'loading'");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    run_sql(t, "UPDATE job SET not_before_ms = 0");
}

// A worker that comes back late finds its own file, and leaves that of the next attempt alone,
// while that is written and when it is done.
static void test_late(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim a = claim(t, "w1");
    write_part(&a, "half");
    lose_silent(t);
    struct job_claim b = claim(t, "w2");
    assert_string_not_equal(a.output, b.output);
    CLEANUP(kb_freep) char *part_a = file_part_path(a.output, 0);
    CLEANUP(kb_freep) char *part_b = file_part_path(b.output, 0);
    CLEANUP(kb_freep) char *output = kb_strdup(b.output);
    assert_true(holds(part_a, "half"));
    write_part(&b, "next");
    job_remove_output(t->s, &a);
    assert_false(file_exists(part_a));
    assert_true(holds(part_b, "next"));
    assert_int_equal(unlink(part_b), 0);
    finish(t, &b);
    job_remove_output(t->s, &a);
    assert_true(holds(output, "film"));
    job_claim_free(&a);
}

// The late one has removed its part itself, so the next attempt has its name. Nothing that the late
// one still does takes the file away: giving up, failing, giving back.
static void test_late_with_one_name(void **state)
{
    struct queue_test *t = *state;
    struct kb_error why = {.code = KB_BAD_INPUT, .text = "x"};
    add_batch(t, 1, 5);
    struct job_claim a = claim(t, "w1");
    CLEANUP(kb_freep) char *part = file_part_path(a.output, 0);
    CLEANUP(kb_freep) char *output = kb_strdup(a.output);
    assert_int_equal(unlink(part), 0);
    lose_silent(t);
    struct job_claim b = claim(t, "w2");
    assert_string_equal(a.output, b.output);
    write_part(&b, "next");
    job_remove_output(t->s, &a);
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_failed(t->s, &a, &why, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no longer", job_give_back(t->s, &a, &t->err));
    assert_true(holds(part, "next"));
    assert_int_equal(unlink(part), 0);
    finish(t, &b);
    job_remove_output(t->s, &a);
    assert_true(holds(output, "film"));
    job_claim_free(&a);
}

static void test_hung(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    struct job_claim a = claim(t, "w1"), b = claim(t, "w2");
    assert_ok(t->err,
              sweep_worker_lost(t->s, "w1", "the worker stood still for 60 s", true, &t->err));
    assert_ok(t->err,
              sweep_worker_lost(t->s, "w2", "the worker crashed (signal 11)", false, &t->err));
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

// What a broker answers for is not the sweep's, however old its heartbeat is.
static void test_held(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    struct job_claim a = claim(t, "w1"), b = claim(t, "w2");
    run_sql(t, "UPDATE job SET heartbeat_ms = 1");
    const struct sweep_params p = {.held = &a.job, .n_held = 1};
    assert_ok(t->err, sweep_run(t->s, &p, &t->err));
    assert_state(t, a.job, "loading");
    assert_state(t, b.job, "queued");
    job_claim_free(&a);
    job_claim_free(&b);
}

// A server that is gone costs no attempt, however often that happens.
static void test_a_server_is_lost(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    for (int i = 0; i <= JOB_MAX_ATTEMPTS; i++) {
        struct job_claim a = claim(t, "w1"), b = claim(t, "w2");
        if (i == JOB_MAX_ATTEMPTS)
            assert_ok(t->err, job_cancel(t->s, b.job, &t->err));
        CLEANUP(kb_freep) char *half = kb_printf("%s.part", a.output);
        assert_true(file_exists(half));
        assert_ok(t->err, sweep_server_lost(t->s, &t->err));
        assert_false(file_exists(half));
        job_claim_free(&a);
        job_claim_free(&b);
    }
    assert_int_equal(ask(t, "SELECT attempts FROM job WHERE state = 'queued'"), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'cancelled'"), 1);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_killed),
        TEST(test_silent),
        TEST(test_late),
        TEST(test_late_with_one_name),
        TEST(test_hung),
        TEST(test_held),
        TEST(test_a_server_is_lost),
        TEST(test_bad_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
