// Jobs and results as the API shows them; workers and figures.
#include "tests/queue/queue.h"

#include "queue/batch.h"
#include "queue/job.h"
#include "queue/change.h"
#include "queue/lease.h"
#include "queue/result.h"
#include "queue/stats.h"
#include "queue/sweep.h"
#include "queue/worker.h"

// From the queue to a result, as the API shows it.
static void test_life(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.attempt, 1);
    CLEANUP(kb_freep) char *name = dated("v", "speech", ".mp4");
    CLEANUP(kb_freep) char *file = kb_printf("1_speech/%s", name);
    assert_string_equal(c.output_name, file);
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", c.output);
    assert_true(file_exists(part)); // the name is taken
    assert_string_equal(c.audio_name, "speech.wav");
    assert_string_equal(c.video_name, "v.mp4");
    assert_string_equal(path_name(c.audio_path), c.audio_sha256);
    assert_string_equal(c.options, "{}");

    static const struct {
        struct job_report report;
        const char *state;
        double progress;
    } steps[] = {
        {{STAGE_LOADING, 1, 2, 0}, "loading", 0.0075},
        {{STAGE_AUDIO, 1, 2, 0}, "audio", 0.0225},
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
    assert_string_equal(get_text(result, "name"), name);
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

// Whom somebody chose by a point, with a time or without.
static void test_chosen_faces(void **state)
{
    static const double chosen[3][3] = {{-1, -1, -1}, {0.7, 0, -1}, {0.25, 1, 7321.48}};
    struct queue_test *t = *state;
    const char *videos[3];
    for (int i = 0; i < 3; i++)
        videos[i] = add_asset(t, "video", "ready", "v.mp4");
    struct batch_params p = {.audio = add_asset(t, "audio", "ready", "speech.wav"),
                             .videos = videos,
                             .n_videos = 3,
                             .face_at = chosen,
                             .priority = 5,
                             .lang = "en"};
    int64_t id;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    for (int i = 0; i < 3; i++) {
        struct job_claim c = claim(t, "w1");
        json_t *j = job_of(t, c.job), *at = json_object_get(j, "face_at"), *number;
        size_t k;
        assert_true(i == 0 ? c.face_at[0] < 0 : memcmp(c.face_at, chosen[i], sizeof(*chosen)) == 0);
        assert_int_equal(json_array_size(at), i == 0 ? 0 : i + 1);
        json_array_foreach(at, k, number)
        {
            assert_true(json_number_value(number) == chosen[i][k]);
        }
        json_decref(j);
        job_claim_free(&c);
    }
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
    assert_ok(t->err, sweep_worker_lost(t->s, "w1", "the worker is gone", false, &t->err));
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
        {{.offset = 9}, ""},        {{.batch = 2}, "4"},   {{.batch = 1, .search = "-2.mp4"}, "2"},
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
        struct result_filter all = cases[i].filter;
        all.limit = 0;
        assert_ok(t->err, result_ids(t->s, &all, &ids, &n, &t->err));
        assert_int_equal(n, get_int(page, "total"));
        free(ids);
        json_decref(page);
    }
    struct result r = {0};
    assert_ok(t->err, result_find(t->s, 2, &r, &t->err));
    CLEANUP(kb_freep) char *name = dated("v", "speech", "-2.mp4");
    assert_string_equal(r.name, name);
    assert_string_equal(path_name(r.path), name);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),         TEST(test_cancel),  TEST(test_retry_and_delete),
        TEST(test_chosen_faces), TEST(test_results), TEST(test_workers),
        TEST(test_stats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
