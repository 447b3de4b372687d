// What a batch says about itself: how far it is, what became of it, its place in line, when it will
// be done.
#include "tests/queue/queue.h"

#include "base/sentence.h"
#include "queue/change.h"
#include "queue/estimate.h"
#include "queue/result.h"
#include "queue/sweep.h"
#include "queue/worker.h"

static const char *place_of(struct queue_test *t, int64_t batch)
{
    static char text[20];
    json_t *b = batch_of(t, batch), *place = json_object_get(b, "place");
    snprintf(text, sizeof(text), "%s", json_is_null(place) ? "null" : "");
    if (json_is_integer(place))
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(place));
    json_decref(b);
    return text;
}

// Seconds; -1: not known.
static double eta_of(struct queue_test *t, int64_t batch)
{
    json_t *b = batch_of(t, batch), *eta = json_object_get(b, "eta");
    assert_true(json_is_number(eta) || json_is_null(eta));
    double seconds = json_is_number(eta) ? json_number_value(eta) : -1;
    json_decref(b);
    return seconds;
}

static int64_t count_of(struct queue_test *t, int64_t batch, const char *what)
{
    json_t *b = batch_of(t, batch);
    int64_t n = get_int(json_object_get(b, "counts"), what);
    json_decref(b);
    return n;
}

static void assert_near(double value, double wanted)
{
    if (value < wanted - 0.11 || value > wanted + 0.11)
        fail_msg("%g, wanted %g", value, wanted);
}

static void assert_progress(struct queue_test *t, int64_t batch, double wanted, const char *outcome)
{
    json_t *b = batch_of(t, batch);
    double progress = json_number_value(json_object_get(b, "progress"));
    if (progress < wanted - 1e-3 || progress > wanted + 1e-3)
        fail_msg("progress %g, wanted %g", progress, wanted);
    assert_string_equal(get_text(b, "outcome"), outcome);
    json_decref(b);
}

static void report(struct queue_test *t, const struct job_claim *c, struct job_report r)
{
    assert_ok(t->err, job_report(t->s, c, &r, NULL, &t->err));
}

static void fail_job(struct queue_test *t, struct job_claim *c)
{
    assert_ok(t->err,
              job_failed(t->s, c, &(struct kb_error){.code = KB_BAD_INPUT, .text = "x"}, &t->err));
    job_claim_free(c);
}

// The bar counts what can still succeed: no failure and no cancelling moves it forward.
static void test_progress(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 4, 5);
    struct job_claim c = claim(t, "w1");
    fail_job(t, &c);
    assert_progress(t, id, 0, "(none)");
    c = claim(t, "w1");
    report(t, &c, (struct job_report){STAGE_GENERATING, 1, 2, 25});
    assert_progress(t, id, 0.66 / 3, "(none)");
    finish(t, &c);
    assert_progress(t, id, 1.0 / 3, "(none)");
    assert_ok(t->err, job_cancel(t->s, 4, &t->err));
    assert_progress(t, id, 0.5, "(none)");
    assert_ok(t->err, job_cancel(t->s, 3, &t->err));
    assert_progress(t, id, 1, "partly");

    id = add_batch(t, 2, 5);
    assert_ok(t->err, batch_cancel(t->s, id, &t->err));
    assert_progress(t, id, 0, "cancelled");
    id = add_batch(t, 2, 5);
    c = claim(t, "w1");
    fail_job(t, &c);
    assert_ok(t->err, batch_cancel(t->s, id, &t->err));
    assert_progress(t, id, 0, "failed");
    id = add_batch(t, 2, 5);
    for (int i = 0; i < 2; i++) {
        c = claim(t, "w1");
        assert_int_equal(count_of(t, id, "results"), i);
        finish(t, &c);
    }
    assert_progress(t, id, 1, "done");
    // done stays done when the result is deleted
    assert_ok(t->err, result_delete(t->s, ask(t, "SELECT max(id) FROM job"), &t->err));
    assert_int_equal(count_of(t, id, "results"), 1);
    assert_int_equal(count_of(t, id, "done"), 2);
}

// What is known to be useless is not tried, and does not count.
static void test_useless_videos(void **state)
{
    struct queue_test *t = *state;
    char audio[33], good[33], bad[33], sound[33];
    snprintf(audio, 33, "%s", add_asset(t, "audio", "ready", "a.wav"));
    snprintf(good, 33, "%s", add_asset(t, "video", "ready", "good.mp4"));
    snprintf(bad, 33, "%s", add_asset(t, "video", "bad", "bad.mp4"));
    snprintf(sound, 33, "%s", add_asset(t, "audio", "ready", "song.mp3"));
    run_sql(t, "UPDATE asset SET error = 'this is no video' WHERE name = 'bad.mp4'");
    const char *videos[] = {bad, good, sound};
    struct batch_params p = {
        .audio = audio, .videos = videos, .n_videos = 3, .priority = 5, .lang = "en"};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    json_t *b = batch_of(t, id), *counts = json_object_get(b, "counts");
    assert_int_equal(get_int(counts, "skipped"), 2);
    assert_int_equal(get_int(counts, "failed"), 0);
    assert_int_equal(get_int(counts, "queued"), 1);
    assert_int_equal(get_int(counts, "total"), 3);
    json_decref(b);
    assert_state(t, 1, "skipped");
    json_t *j = job_of(t, 1), *error = json_object_get(j, "error");
    assert_string_equal(get_text(error, "text"), "this is no video");
    assert_string_equal(get_text(error, "code"), "bad_input");
    assert_true(json_is_integer(json_object_get(j, "ended")));
    json_decref(j);
    j = job_of(t, 3);
    assert_non_null(strstr(get_text(json_object_get(j, "error"), "text"), "a sound"));
    json_decref(j);
    assert_fails(t->err, KB_BAD_INPUT, "was not tried", job_retry(t->s, 1, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "nothing to repeat", batch_retry(t->s, id, &t->err));

    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.job, 2);
    finish(t, &c);
    assert_progress(t, id, 1, "partly");
    assert_int_equal(ask(t, "SELECT failed FROM tally"), 0);

    p.videos = (const char *[]){bad, bad, sound};
    id = -7;
    assert_fails(t->err, KB_BAD_INPUT, "none of these videos can be used: this is no video",
                 batch_create(t->s, &p, &id, &t->err));
    assert_int_equal(id, -7);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 1);
}

static void test_place(void **state)
{
    struct queue_test *t = *state;
    for (int i = 1; i <= 4; i++)
        add_batch(t, 1, i == 4 ? 9 : 5);
    static const char *const first[] = {"2", "3", "4", "1"};
    for (int i = 0; i < 4; i++)
        assert_string_equal(place_of(t, i + 1), first[i]);
    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.batch, 4);
    assert_ok(t->err, batch_pause(t->s, 2, true, &t->err));
    static const char *const then[] = {"1", "null", "2", "null"};
    for (int i = 0; i < 4; i++)
        assert_string_equal(place_of(t, i + 1), then[i]);
    finish(t, &c);
    assert_string_equal(place_of(t, 4), "null");
    assert_ok(t->err, batch_move(t->s, 3, -1, &t->err));
    assert_string_equal(place_of(t, 3), "1");
    assert_string_equal(place_of(t, 1), "2");
}

static void put_worker(struct queue_test *t, const char *id)
{
    struct worker_row w = {.kind = "generate", .pid = 1, .state = "idle"};
    snprintf(w.id, sizeof(w.id), "%s", id);
    assert_ok(t->err, worker_put(t->s, &w, &t->err));
}

// Done jobs took 10 s each: 1 s of 64x48 for a speech of 1 s.
static void took_10_s(struct queue_test *t)
{
    run_sql(t, "UPDATE job SET started_ms = ended_ms - 10000 WHERE state = 'done'");
}

static void test_eta(void **state)
{
    struct queue_test *t = *state;
    int64_t first = add_batch(t, 3, 5);
    assert_near(eta_of(t, first), -1); // nothing was ever measured
    struct job_claim c = claim(t, "w1");
    finish(t, &c);
    took_10_s(t);
    assert_near(eta_of(t, first), 20); // two more like the first
    put_worker(t, "w1");
    assert_near(eta_of(t, first), 20);
    put_worker(t, "w2");
    assert_near(eta_of(t, first), 10);

    // A batch that has done nothing: by the seconds and pixels of what others did. The videos of
    // these are 64x64, the result that was measured 64x48.
    double one = 10.0 * 64 / 48;
    int64_t second = add_batch(t, 1, 5);
    assert_near(eta_of(t, second), (10 + one) / 2); // in turn with one job of the first
    assert_near(eta_of(t, first), (20 + one) / 2);
    assert_ok(t->err, batch_set_priority(t->s, second, 9, &t->err));
    assert_near(eta_of(t, second), one); // one job is not shared
    assert_ok(t->err, batch_set_priority(t->s, second, 1, &t->err));
    assert_near(eta_of(t, second), (20 + one) / 2);
    assert_ok(t->err, batch_pause(t->s, first, true, &t->err));
    assert_near(eta_of(t, first), -1);
    assert_near(eta_of(t, second), one);
    assert_ok(t->err, batch_pause(t->s, first, false, &t->err));

    // What runs: by its own progress.
    c = claim(t, "w1");
    assert_int_equal(c.batch, first);
    report(t, &c, (struct job_report){STAGE_GENERATING, 100, 200, 2});
    assert_near(eta_of(t, first), 50);
    assert_near(eta_of(t, second), (50 + 10 + one) / 2);
    job_claim_free(&c);

    // A video that was not looked at yet can take any time.
    int64_t third = add_batch(t, 1, 5);
    run_sql(t, "UPDATE asset SET width = NULL WHERE id = (SELECT video FROM job ORDER BY id DESC"
               " LIMIT 1)");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_near(eta_of(t, third), -1);
    assert_ok(t->err, batch_cancel(t->s, third, &t->err));
    assert_near(eta_of(t, third), -1);
}

static struct batch_estimate estimate(struct queue_test *t, const char *audio, const char *video,
                                      int n, const char *options)
{
    const char *videos[4] = {video, video, video, video};
    struct batch_params p = {.audio = audio, .videos = videos, .n_videos = n, .options = options};
    struct batch_estimate e;
    assert_ok(t->err, batch_estimate(t->s, &p, &e, &t->err));
    return e;
}

// Before a batch is made: by what was measured here, and nothing before that.
static void test_estimate(void **state)
{
    struct queue_test *t = *state;
    char audio[33], video[33], bad[33];
    snprintf(audio, 33, "%s", add_asset(t, "audio", "ready", "a.wav"));
    snprintf(video, 33, "%s", add_asset(t, "video", "ready", "v.mp4"));
    snprintf(bad, 33, "%s", add_asset(t, "video", "bad", "b.mp4"));
    assert_true(estimate(t, audio, video, 1, NULL).seconds < 0);
    assert_true(estimate(t, audio, video, 1, NULL).bytes < 0);
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    finish(t, &c); // 1 s of 64x48: 4 bytes
    took_10_s(t);
    double one = 10.0 * 64 / 48; // of 1 s of 64x64
    assert_near(estimate(t, audio, video, 1, NULL).seconds, one);
    assert_near(estimate(t, audio, video, 3, NULL).seconds, 3 * one);
    assert_near(estimate(t, audio, video, 3, NULL).bytes, 3 * 4.0 * 64 / 48);
    put_worker(t, "w1");
    put_worker(t, "w2");
    assert_near(estimate(t, audio, video, 4, NULL).seconds, 2 * one);
    assert_near(estimate(t, audio, video, 1, NULL).seconds, one); // one video is not shared
    assert_near(estimate(t, audio, video, 1, "{\"height\":128}").seconds, 4 * one);
    assert_near(estimate(t, audio, video, 1, "{\"duration\":0.5}").seconds, one / 2);
    assert_near(estimate(t, audio, bad, 2, NULL).seconds, 0); // left out
    assert_true(estimate(t, NULL, video, 1, NULL).seconds < 0);
    run_sql(t, "UPDATE asset SET width = NULL WHERE name = 'v.mp4'");
    assert_true(estimate(t, audio, video, 1, NULL).seconds < 0);
}

// What a batch is told before and after it is made is one, whatever its options.
static void test_estimate_is_eta(void **state)
{
    struct queue_test *t = *state;
    static const struct {
        const char *options;
        double share; // of the time that 1 s of 64x64 takes
    } cases[] = {
        {"{}", 1},
        {"{\"height\":96}", 2.25},
        {"{\"duration\":0.5}", 0.5},
        {"{\"keep_video\":true}", 3},
        {"{\"keep_video\":true,\"start\":1}", 2},
        {"{\"keep_video\":true,\"duration\":2.5,\"height\":128}", 10},
        {"{\"loop\":\"none\"}", 1},
        {"{\"loop\":\"none\",\"start\":2.75}", 0.25},
        {"{\"loop\":\"freeze\",\"start\":2.75}", 1},
        {"{\"crop\":\"1:1\"}", 1}, // the film is square
        {"{\"crop\":\"1:2\"}", 0.5},
        {"{\"crop\":\"2:1\"}", 0.5},
        {"{\"crop\":\"1:2\",\"height\":640}", 0.5}, // there are no more rows
        {"{\"crop\":\"1:1\",\"crop_zoom\":2}", 0.25},
        {"{\"background\":\"none\"}", 1},
        {"{\"background\":\"blur\"}", 2.2},
        {"{\"background\":\"#ffffff\",\"crop\":\"1:2\"}", 1},
        {NULL, 1 + 4 + 3}, // a film before, a picture after
    };
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    finish(t, &c);
    took_10_s(t);
    char audio[33], video[33];
    snprintf(audio, 33, "%s", add_asset(t, "audio", "ready", "a.wav"));
    snprintf(video, 33, "%s", add_asset(t, "video", "ready", "v.mp4"));
    run_sql(t, "UPDATE asset SET duration_ms = 3000 WHERE id = (SELECT max(id) FROM asset)");
    char film[33], picture[33];
    snprintf(film, 33, "%s", add_asset(t, "video", "ready", "intro.mp4"));
    snprintf(picture, 33, "%s", add_asset(t, "video", "ready", "end.png"));
    CLEANUP(kb_freep)
    char *lengths = kb_printf("UPDATE asset SET duration_ms = iif(id = '%s', 4000, 40)"
                              " WHERE id IN ('%s', '%s')",
                              film, film, picture);
    run_sql(t, lengths);
    CLEANUP(kb_freep)
    char *around = kb_printf("{\"intro\":\"%s\",\"outro\":\"%s\"}", film, picture);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *options = cases[i].options ? cases[i].options : around;
        const char *videos[] = {video};
        struct batch_params p = {
            .audio = audio, .videos = videos, .n_videos = 1, .options = options, .lang = "en"};
        int64_t id = 0;
        assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
        double wanted = 10.0 * 64 / 48 * cases[i].share;
        print_message("# %s\n", options);
        assert_near(estimate(t, audio, video, 1, options).seconds, wanted);
        assert_near(eta_of(t, id), wanted);
        assert_ok(t->err, batch_cancel(t->s, id, &t->err));
    }
    run_sql(t, "UPDATE asset SET width = 4096, height = 4096 WHERE name = 'v.mp4'");
    double pixels = 10.0 / 48 / 64;
    assert_near(estimate(t, audio, video, 1, "{\"crop\":\"1:2\",\"height\":128}").seconds,
                64 * 128 * pixels);
    assert_near(estimate(t, audio, video, 1, "{\"crop\":\"2:1\"}").seconds, // as it is
                2160 * 1080 * pixels);
}

// A job with another background is no slow job: it tells what others take.
static void test_pace_knows_of_effort(void **state)
{
    struct queue_test *t = *state;
    char audio[33], video[33];
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    finish(t, &c);
    took_10_s(t);
    run_sql(t, "UPDATE batch SET options = '{\"background\":\"blur\"}'");
    snprintf(audio, 33, "%s", add_asset(t, "audio", "ready", "a.wav"));
    snprintf(video, 33, "%s", add_asset(t, "video", "ready", "v.mp4"));
    double one = 10.0 * 64 / 48;
    char picture[33], film[33];
    snprintf(picture, 33, "%s", add_asset(t, "video", "ready", "p.jpg"));
    snprintf(film, 33, "%s", add_asset(t, "video", "ready", "f.mp4"));
    run_sql(t, "UPDATE asset SET duration_ms = 40 WHERE name = 'p.jpg'");
    run_sql(t, "UPDATE asset SET duration_ms = 5000 WHERE name = 'f.mp4'");
    const struct {
        const char *name, *value;
        double effort;
    } cases[] = {
        {"alpha", "none", 1},       {"background", "blur", 2.2}, {"background", "#ffffff", 2},
        {"background", picture, 2}, {"background", film, 2.3},   {"alpha", "webm", 2.9},
        {"alpha", "mov", 8},        {"background", "none", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char options[100];
        snprintf(options, sizeof(options), "{\"%s\":\"%s\"}", cases[i].name, cases[i].value);
        assert_near(estimate(t, audio, video, 1, options).seconds, one / 2.2 * cases[i].effort);
        // In the line it is the same.
        struct batch_params p = {.audio = audio,
                                 .videos = (const char *const[]){video},
                                 .n_videos = 1,
                                 .options = options,
                                 .priority = 5,
                                 .lang = "en"};
        int64_t id = 0;
        assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
        assert_near(eta_of(t, id), one / 2.2 * cases[i].effort);
        assert_ok(t->err, batch_cancel(t->s, id, &t->err));
    }
    assert_near(estimate(t, audio, video, 1, NULL).seconds, one / 2.2);
    assert_near(estimate(t, audio, video, 1, NULL).bytes, 4.0 * 64 / 48); // not of size
}

// The first job of all tells about the others of its batch when it is far enough.
static void test_first_eta(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 3, 5);
    struct job_claim c = claim(t, "w1");
    report(t, &c, (struct job_report){STAGE_GENERATING, 100, 200, 20});
    run_sql(t, "UPDATE job SET started_ms = heartbeat_ms - 5000 WHERE state = 'generating'");
    assert_near(eta_of(t, id), 5 + 2 * 10);
    job_claim_free(&c);
}

// How often a user asked for it again, and frames where frames are counted.
static void test_job_facts(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 1, 5);
    for (int i = 0; i < 3; i++) {
        json_t *j = job_of(t, 1);
        assert_int_equal(get_int(j, "retried"), i);
        json_decref(j);
        struct job_claim c = claim(t, "w1");
        fail_job(t, &c);
        assert_ok(t->err, i % 2 ? job_retry(t->s, 1, &t->err) : batch_retry(t->s, id, &t->err));
    }
    struct job_claim c = claim(t, "w1");
    static const struct {
        enum stage stage;
        int done, total;
    } cases[] = {{STAGE_LOADING, 0, 0},
                 {STAGE_AUDIO, 0, 0},
                 {STAGE_PREPROCESSING, 7, 9},
                 {STAGE_GENERATING, 7, 9},
                 {STAGE_FINISHING, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        report(t, &c, (struct job_report){cases[i].stage, 7, 9, 0});
        json_t *j = job_of(t, 1);
        assert_string_equal(get_text(j, "state"), stage_id(cases[i].stage));
        assert_int_equal(get_int(j, "done"), cases[i].done);
        assert_int_equal(get_int(j, "total"), cases[i].total);
        json_decref(j);
    }
    job_claim_free(&c);
}

// Those who wait are told when what stands before them moves.
static void test_followed(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    static const bool wanted[KB_LANGUAGES] = {[KB_LANGUAGE_SOURCE] = true};
    struct text texts[KB_LANGUAGES] = {0};
    int64_t rev = change_revision(t->s);
    report(t, &c, (struct job_report){STAGE_GENERATING, 1, 2, 3});
    assert_ok(t->err, change_list_json(t->s, rev, wanted, texts, &rev, &t->err));
    json_t *json = parse(&texts[KB_LANGUAGE_SOURCE]);
    assert_int_equal(json_array_size(json_object_get(json, "batches")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "jobs")), 1);
    json_decref(json);
    job_claim_free(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_progress),
        TEST(test_useless_videos),
        TEST(test_place),
        TEST(test_eta),
        TEST(test_estimate),
        TEST(test_estimate_is_eta),
        TEST(test_pace_knows_of_effort),
        TEST(test_first_eta),
        TEST(test_job_facts),
        TEST(test_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
