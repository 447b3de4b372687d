// Batches: made whole or not at all, served in order and in turn, steered, deleted.
#include "tests/queue/queue.h"

#include "asset/asset.h"
#include "base/utf8.h"
#include "queue/batch.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "queue/look.h"

static struct batch_params params(struct queue_test *t, const char *const *videos, int n)
{
    return (struct batch_params){.audio = add_asset(t, "audio", "ready", "讲话.wav"),
                                 .videos = videos,
                                 .n_videos = n,
                                 .priority = 5};
}

static void test_create(void **state)
{
    struct queue_test *t = *state;
    static const struct {
        const char *video, *result;
    } cases[] = {
        {"a.mov", "a_讲话_DATE.mp4"},
        {"a.mkv", "a_讲话_DATE-2.mp4"},
        {"a-2.mp4", "a-2_讲话_DATE.mp4"},
        {"A.avi", "A_讲话_DATE-3.mp4"}, // the same for some systems
        {"我的 视频.mp4", "我的 视频_讲话_DATE.mp4"},
        {"b.tar.gz", "b.tar_讲话_DATE.mp4"},
        {"no ending", "no ending_讲话_DATE.mp4"},
        {".mp4", "mp4_讲话_DATE.mp4"},
        {"what?*.mp4", "what___讲话_DATE.mp4"},
    };
    const char *videos[ARRAY_LEN(cases)];
    char ids[ARRAY_LEN(cases)][33];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(ids[i], 33, "%s", add_asset(t, "video", "ready", cases[i].video));
        videos[i] = ids[i];
    }
    struct batch_params p = params(t, videos, ARRAY_LEN(cases));
    p.options = "{\"crf\":20,\"pads\":[0,10,0,0]}";
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(store_reset) sqlite3_stmt *q = NULL;
        assert_ok(t->err, store_query(t->s, &q, &t->err,
                                      "SELECT result_name, name FROM job"
                                      " WHERE position = ?",
                                      "i", (int64_t)i + 1));
        const char *name = (const char *)sqlite3_column_text(q, 0);
        const char *date = strstr(cases[i].result, "DATE"), *at = name + (date - cases[i].result);
        CLEANUP(kb_freep)
        char *wanted = kb_printf("%.*s%.10s%s", (int)(date - cases[i].result), cases[i].result, at,
                                 date + strlen("DATE"));
        assert_string_equal(name, wanted);
        assert_string_equal((const char *)sqlite3_column_text(q, 1), cases[i].video);
    }
    json_t *b = batch_of(t, id);
    assert_string_equal(get_text(b, "name"), "讲话"); // after the speech
    assert_string_equal(get_text(b, "state"), "active");
    assert_string_equal(get_text(json_object_get(b, "audio"), "id"), p.audio);
    assert_int_equal(get_int(json_object_get(b, "audio"), "duration"), 1000);
    assert_int_equal(get_int(json_object_get(b, "options"), "crf"), 20);
    assert_int_equal(get_int(json_object_get(b, "counts"), "total"), ARRAY_LEN(cases));
    assert_int_equal(get_int(json_object_get(b, "counts"), "queued"), ARRAY_LEN(cases));
    assert_true(json_is_null(json_object_get(b, "ended")));
    json_decref(b);
}

// A film that lends its mouth, or its way of speaking: jobs get its path, and nobody takes it away
// before they have ended.
static void check_lender(struct queue_test *t, const char *option, const char *refusal)
{
    char film[33], other[33];
    snprintf(film, 33, "%s", add_asset(t, "video", "new", "laughs.mp4"));
    snprintf(other, 33, "%s", add_asset(t, "video", "ready", "v.mp4"));
    const char *videos[] = {other};
    CLEANUP(kb_freep) char *options = kb_printf("{\"%s\":\"%s\"}", option, film);
    struct batch_params p = params(t, videos, 1);
    p.name = "Tuesday";
    p.options = options;
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "Tuesday", asset_delete(t->s, film, &t->err));
    struct job_claim c = claim(t, "w1");
    CLEANUP(kb_freep) char *path = store_path(t->s, "files", film); // its content has its number
    assert_int_equal(c.n_materials, 1);
    assert_string_equal(c.materials[0].role->name, option);
    assert_string_equal(c.materials[0].path, path);
    assert_string_equal(c.materials[0].name, "laughs.mp4");
    finish(t, &c);
    assert_ok(t->err, asset_delete(t->s, film, &t->err));

    // Deleted, and asked for again: the worker is told that there is none.
    int64_t again = 0;
    assert_ok(t->err,
              batch_create(
                  t->s, &(struct batch_params){.audio = p.audio, .videos = videos, .n_videos = 1},
                  &again, &t->err));
    assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE batch SET options = ? WHERE id = ?",
                                 "ti", options, again));
    c = claim(t, "w1");
    assert_int_equal(c.n_materials, 1);
    assert_null(c.materials[0].path);
    finish(t, &c);
    assert_fails(t->err, KB_NOT_FOUND, "no file", batch_create(t->s, &p, &id, &t->err));

    static const struct {
        const char *kind, *state;
    } refused[] = {{"audio", "ready"}, {"video", "bad"}, {"video", "fetching"}};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        CLEANUP(kb_freep)
        char *wrong = kb_printf("{\"%s\":\"%s\"}", option,
                                add_asset(t, refused[i].kind, refused[i].state, "x.wav"));
        p.options = wrong;
        assert_fails(t->err, KB_BAD_INPUT, refusal, batch_create(t->s, &p, &id, &t->err));
    }
}

static void test_mouth_from(void **state)
{
    check_lender(*state, "mouth_from", "cannot lend its mouth");
}

static void test_style_from(void **state)
{
    check_lender(*state, "style_from", "'style_from' takes a video");
}

// Two speeches on one film do not give one name, and long names are cut, by whole letters.
static void test_result_names(void **state)
{
    struct queue_test *t = *state;
    char film[33], longest[256] = "";
    snprintf(film, 33, "%s", add_asset(t, "video", "ready", "主播.mp4"));
    const char *videos[] = {film};
    for (int i = 0; i < 85; i++)
        strcat(longest, "长"); // 255 bytes
    const char *const speeches[] = {"一.wav", "二.wav", longest};
    for (int i = 0; i < 3; i++) {
        struct batch_params p = {
            .audio = add_asset(t, "audio", "ready", speeches[i]), .videos = videos, .n_videos = 1};
        int64_t id = 0;
        assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    }
    snprintf(film, 33, "%s", add_asset(t, "video", "ready", longest));
    struct batch_params p = {
        .audio = add_asset(t, "audio", "ready", longest), .videos = videos, .n_videos = 1};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE result_name LIKE '主播~_一~_20%%'"
                            " ESCAPE '~' OR result_name LIKE '主播~_二~_20%%' ESCAPE '~'"),
                     2);
    assert_int_equal(ask(t, "SELECT count(DISTINCT result_name) FROM job"), 4);
    assert_true(ask(t, "SELECT max(length(CAST(result_name AS BLOB))) FROM job") <= SHELF_STEM + 4);
    for (int i = 0; i < 4; i++) {
        struct job_claim c = claim(t, "w1"); // the disk takes them
        assert_true(utf8_valid(c.output));
        finish(t, &c);
    }
}

// A thousand videos of one name are made in a moment, and all get names of their own.
static void test_equal_names(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1000, 5);
    assert_int_equal(ask(t, "SELECT count(DISTINCT result_name) FROM job"), 1000);
    assert_int_equal(
        ask(t, "SELECT count(*) FROM job WHERE result_name LIKE 'v_speech_20__-__-__-1000.mp4'"),
        1);
}

static void test_refused(void **state)
{
    struct queue_test *t = *state;
    char good[33], uploading[33], bad[33];
    snprintf(good, 33, "%s", add_asset(t, "video", "ready", "good.mp4"));
    snprintf(uploading, 33, "%s", add_asset(t, "video", "uploading", "half.mp4"));
    snprintf(bad, 33, "%s", add_asset(t, "audio", "bad", "broken.mp3"));
    const char *unknown = "ffffffffffffffffffffffffffffffff", *odd = "x' OR '1'='1";
    const struct {
        const char *audio, *videos[2];
        int n, priority;
        const char *options, *notify;
        enum kb_code code;
        const char *sentence;
    } cases[] = {
        {unknown, {good}, 1, 5, NULL, NULL, KB_NOT_FOUND, unknown},
        {odd, {good}, 1, 5, NULL, NULL, KB_NOT_FOUND, odd},
        {NULL, {good}, 1, 5, NULL, NULL, KB_BAD_INPUT, "no speech"},
        {good, {good, unknown}, 2, 5, NULL, NULL, KB_NOT_FOUND, unknown},
        {good, {good, uploading}, 2, 5, NULL, NULL, KB_BAD_INPUT, "half.mp4"},
        {uploading, {good}, 1, 5, NULL, NULL, KB_BAD_INPUT, "half.mp4"},
        {bad, {good}, 1, 5, NULL, NULL, KB_BAD_INPUT, "broken.mp3"},
        {good, {good}, 0, 5, NULL, NULL, KB_BAD_INPUT, "1 to 1000"},
        {good, {good}, 1001, 5, NULL, NULL, KB_BAD_INPUT, "1001"},
        {good, {good}, 1, 10, NULL, NULL, KB_BAD_INPUT, "priority"},
        {good, {good}, 1, -1, NULL, NULL, KB_BAD_INPUT, "priority"},
        {good, {good}, 1, 5, "{\"crf\":99}", NULL, KB_BAD_INPUT, "crf"},
        {good, {good}, 1, 5, NULL, "[1]", KB_BAD_INPUT, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct batch_params p = {.audio = cases[i].audio,
                                 .videos = cases[i].videos,
                                 .n_videos = cases[i].n,
                                 .priority = cases[i].priority,
                                 .options = cases[i].options,
                                 .notify = cases[i].notify};
        int64_t id = -7;
        assert_fails(t->err, cases[i].code, cases[i].sentence,
                     batch_create(t->s, &p, &id, &t->err));
        assert_int_equal(id, -7);
        assert_int_equal(ask(t, "SELECT (SELECT count(*) FROM batch) + count(*) FROM job"), 0);
    }
}

static void test_names(void **state)
{
    struct queue_test *t = *state;
    char video[33], longest[400];
    snprintf(video, 33, "%s", add_asset(t, "video", "ready", "v.mp4"));
    const char *videos[] = {video};
    memset(longest, 0, sizeof(longest));
    for (int i = 0; i < 100; i++)
        strcat(longest, "视"); // 300 bytes, and 255 = 85 characters
    struct batch_params p = params(t, videos, 1);
    int64_t id = 0;
    p.name = longest;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    assert_int_equal(ask(t, "SELECT length(name) FROM batch WHERE id = %d", (int)id), 85);
    longest[0] = 'x', longest[1] = 'y', longest[2] = '\n'; // still whole characters behind it
    assert_ok(t->err, batch_rename(t->s, id, longest + 1, &t->err));
    json_t *b = batch_of(t, id);
    assert_int_equal(strncmp(get_text(b, "name"), "y 视", 5), 0);
    json_decref(b);
    assert_int_equal(ask(t, "SELECT length(CAST(name AS BLOB)) FROM batch"), 254);
    assert_fails(t->err, KB_BAD_INPUT, "needs a name", batch_rename(t->s, id, " \n", &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no batch 99", batch_rename(t->s, 99, "x", &t->err));
}

// The next n claims, by batch, as text; the jobs stay running.
static void assert_served(struct queue_test *t, int n, const char *wanted)
{
    CLEANUP(text_free) struct text served = {0};
    for (int i = 0; i < n; i++) {
        struct job_claim c = claim(t, "w1");
        text_addf(&served, "%s%lld", i ? " " : "", (long long)c.batch);
        job_claim_free(&c);
    }
    assert_string_equal(text_get(&served), wanted);
}

static void test_order_of_service(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 4, 5);
    add_batch(t, 2, 5);
    add_batch(t, 1, 9);
    add_batch(t, 1, 0);
    // The urgent one, then the two in turns, the one that can wait last.
    assert_served(t, 8, "3 1 2 1 2 1 1 4");
}

static void test_fewest_running_first(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 4, 5);
    assert_served(t, 2, "1 1");
    add_batch(t, 3, 5); // who comes later catches up before the first gets more
    assert_served(t, 5, "2 2 1 2 1");
}

static void test_turns(void **state)
{
    struct queue_test *t = *state;
    for (int i = 0; i < 3; i++)
        add_batch(t, 3, 5);
    for (int i = 0; i < 6; i++) { // one worker, so nothing else runs: the turn alone decides
        struct job_claim c = claim(t, "w1");
        assert_int_equal(c.batch, 1 + i % 3);
        finish(t, &c);
    }
    // The jobs of a batch by position.
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'queued' AND position = 3"), 3);
}

static void assert_listed(struct queue_test *t, const struct job_filter *f, const char *wanted,
                          int total)
{
    struct text text = {0};
    CLEANUP(text_free) struct text jobs = {0};
    assert_ok(t->err, job_list_json(t->s, f, &text, &t->err));
    json_t *page = parse(&text), *item;
    size_t i;
    json_array_foreach(json_object_get(page, "items"), i, item)
        text_addf(&jobs, "%s%lld", i ? " " : "", get_int(item, "id"));
    assert_string_equal(text_get(&jobs), wanted);
    assert_int_equal(get_int(page, "total"), total);
    json_decref(page);

    CLEANUP(kb_freep) struct job *list = NULL;
    int64_t counted = -1;
    int n;
    text_clear(&jobs);
    assert_ok(t->err, job_list(t->s, f, &list, &n, &t->err));
    for (int k = 0; k < n; k++)
        text_addf(&jobs, "%s%lld", k ? " " : "", (long long)list[k].id);
    assert_string_equal(text_get(&jobs), wanted);
    assert_ok(t->err, job_count(t->s, f, &counted, &t->err));
    assert_int_equal(counted, total);
}

static void test_job_list(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 3, 5); // jobs 1 2 3
    add_batch(t, 3, 5); // jobs 4 5 6
    add_batch(t, 1, 8); // job 7
    assert_listed(t, &(struct job_filter){0}, "7 1 4 2 5 3 6", 7);
    assert_ok(t->err, batch_pause(t->s, 2, true, &t->err));
    assert_listed(t, &(struct job_filter){0}, "7 1 2 3 4 5 6", 7);
    assert_ok(t->err, batch_pause(t->s, 2, false, &t->err));

    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.job, 7);
    finish(t, &c);
    c = claim(t, "w1");
    assert_int_equal(c.job, 1);
    assert_ok(t->err, job_cancel(t->s, 6, &t->err));
    run_sql(t, "UPDATE job SET ended_ms = id WHERE ended_ms IS NOT NULL");
    // Running, then as they will be served (batch 1 has one running), then ended, newest first.
    assert_listed(t, &(struct job_filter){0}, "1 4 5 2 3 7 6", 7);
    static const struct {
        struct job_filter filter;
        const char *jobs;
        int total;
    } cases[] = {
        {{.batch = 2}, "4 5 6", 3},
        {{.state = "running"}, "1", 1},
        {{.state = "loading"}, "1", 1},
        {{.state = "queued", .limit = 2, .offset = 1}, "5 2", 4},
        {{.state = "unfinished"}, "1 4 5 2 3", 5},
        {{.state = "done"}, "7", 1},
        {{.state = "' OR 1"}, "", 0},
        {{.search = "V.MP"}, "1 4 5 2 3 7 6", 7},
        {{.search = "speech", .batch = 3}, "7", 1},
        {{.search = "none"}, "", 0},
        {{.offset = -5, .limit = -5}, "1 4 5 2 3 7 6", 7},
        {{.offset = 100, .limit = 100000}, "", 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_listed(t, &cases[i].filter, cases[i].jobs, cases[i].total);
    job_claim_free(&c);
}

// The list says in which order jobs are served; here they are.
static void test_list_is_the_order(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 5, 5);
    add_batch(t, 2, 5);
    add_batch(t, 3, 7);
    assert_ok(t->err, batch_move(t->s, 2, -1, &t->err));
    assert_ok(t->err, job_move(t->s, 4, 1, &t->err));
    struct text text = {0};
    assert_ok(t->err, job_list_json(t->s, &(struct job_filter){0}, &text, &t->err));
    json_t *page = parse(&text), *item;
    size_t i;
    json_array_foreach(json_object_get(page, "items"), i, item)
    {
        struct job_claim c = claim(t, "w1");
        assert_int_equal(c.job, get_int(item, "id"));
        job_claim_free(&c);
    }
    assert_int_equal(i, 10);
    json_decref(page);
}

static void test_pause(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 2, 5);
    struct job_claim c = claim(t, "w1"), none = {0};
    assert_ok(t->err, batch_pause(t->s, id, true, &t->err));
    assert_int_equal(job_claim(t->s, "w2", 0, &none, &t->err), KB_EOF);
    json_t *j = job_of(t, 2), *b = batch_of(t, id);
    assert_string_equal(get_text(j, "waiting"), "paused");
    assert_string_equal(get_text(b, "state"), "paused");
    json_decref(j);
    json_decref(b);
    finish(t, &c); // what runs goes on
    assert_ok(t->err, batch_pause(t->s, id, false, &t->err));
    c = claim(t, "w1");
    finish(t, &c);
    assert_fails(t->err, KB_BAD_INPUT, "has ended", batch_pause(t->s, id, true, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no batch 9", batch_pause(t->s, 9, true, &t->err));
}

static void test_cancel_and_retry(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 4, 5);
    struct job_claim done = claim(t, "w1"), c;
    finish(t, &done);
    assert_fails(t->err, KB_BAD_INPUT, "nothing to repeat", batch_retry(t->s, id, &t->err));
    c = claim(t, "w1");
    assert_ok(t->err, batch_cancel(t->s, id, &t->err));
    json_t *b = batch_of(t, id), *counts = json_object_get(b, "counts");
    assert_string_equal(get_text(b, "state"), "active"); // one still runs
    assert_int_equal(get_int(counts, "running"), 1);
    assert_int_equal(get_int(counts, "cancelled"), 2);
    json_decref(b);
    bool cancel = false;
    struct job_report r = {STAGE_LOADING, 1, 2, 0};
    assert_ok(t->err, job_report(t->s, &c, &r, &cancel, &t->err));
    assert_true(cancel);
    assert_ok(t->err,
              job_failed(t->s, &c, &(struct kb_error){.code = KB_CANCELLED, .text = "x"}, &t->err));
    job_claim_free(&c);
    assert_int_equal(ask(t, "SELECT ended_ms IS NOT NULL FROM batch"), 1);
    assert_fails(t->err, KB_BAD_INPUT, "has ended", batch_cancel(t->s, id, &t->err));

    assert_ok(t->err, batch_retry(t->s, id, &t->err));
    b = batch_of(t, id);
    counts = json_object_get(b, "counts");
    assert_string_equal(get_text(b, "state"), "active");
    assert_int_equal(get_int(counts, "queued"), 3);
    assert_int_equal(get_int(counts, "done"), 1);
    json_decref(b);
    for (int i = 0; i < 3; i++) {
        c = claim(t, "w1");
        assert_int_equal(c.attempt, 1);
        finish(t, &c);
    }
    assert_int_equal(ask(t, "SELECT ended_ms IS NOT NULL FROM batch"), 1);
}

// The turns of the batches, or the positions of the jobs, in order, as text of their ids.
static void assert_order(struct queue_test *t, const char *sql, const char *wanted)
{
    CLEANUP(text_free) struct text order = {0};
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(t->s->db, sql, -1, &q, NULL), SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW)
        text_addf(&order, "%s%d", order.size ? " " : "", sqlite3_column_int(q, 0));
    sqlite3_finalize(q);
    assert_string_equal(text_get(&order), wanted);
}

static void test_move(void **state)
{
    struct queue_test *t = *state;
    static const struct {
        int id, before;
        const char *order;
    } cases[] = {
        {3, 1, "3 1 2 4"}, {3, 0, "1 2 4 3"}, {4, -1, "4 1 2 3"}, {4, 4, "4 1 2 3"},
        {1, 3, "4 2 1 3"}, {2, 1, "4 2 1 3"}, {3, 2, "4 3 2 1"},
    };
    for (int i = 0; i < 4; i++)
        add_batch(t, 1, 5);
    add_batch(t, 4, 5); // jobs 5 6 7 8
    run_sql(t, "UPDATE batch SET ended_ms = 1, turn = -99 WHERE id = 5");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int job = cases[i].id + 4,
            other = cases[i].before > 0 ? cases[i].before + 4 : cases[i].before;
        int64_t rev = ask(t, "SELECT rev FROM clock");
        assert_ok(t->err, batch_move(t->s, cases[i].id, cases[i].before, &t->err));
        assert_int_equal(ask(t, "SELECT min(rev) FROM batch WHERE id < 5") > rev,
                         cases[i].id != cases[i].before); // pages hear of it
        assert_order(t, "SELECT id FROM batch WHERE id < 5 ORDER BY turn", cases[i].order);
        assert_ok(t->err, job_move(t->s, job, other, &t->err));
        assert_order(t, "SELECT id - 4 FROM job WHERE batch = 5 ORDER BY position", cases[i].order);
    }
    assert_fails(t->err, KB_NOT_FOUND, "no batch 77", batch_move(t->s, 1, 77, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no batch 77", batch_move(t->s, 77, 1, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "has ended", batch_move(t->s, 5, 1, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "in the batch of job 5", job_move(t->s, 5, 1, &t->err));
}

// Between two neighbours there is room for some fifty moves, then all are numbered anew.
static void test_move_often(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 4, 5);
    for (int i = 0; i < 200; i++) {
        assert_ok(t->err, job_move(t->s, i % 2 ? 2 : 3, 4, &t->err));
        assert_order(t, "SELECT id FROM job ORDER BY position", i % 2 ? "1 3 2 4" : "1 2 3 4");
        assert_int_equal(ask(t, "SELECT count(DISTINCT position) FROM job"), 4);
    }
}

static void test_delete(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 3, 5);
    add_batch(t, 1, 5);
    struct job_claim c = claim(t, "w1");
    CLEANUP(kb_freep) char *output = kb_strdup(c.output);
    assert_fails(t->err, KB_BAD_INPUT, "is running", batch_delete(t->s, id, &t->err));
    finish(t, &c);
    assert_true(file_exists(output));
    assert_ok(t->err, batch_delete(t->s, id, &t->err));
    assert_false(file_exists(output));
    assert_int_equal(ask(t, "SELECT count(*) FROM job"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 1);
    assert_fails(t->err, KB_NOT_FOUND, "no batch", batch_delete(t->s, id, &t->err));
}

static void test_list(void **state)
{
    struct queue_test *t = *state;
    for (int i = 0; i < 5; i++)
        add_batch(t, 1, i == 3 ? 9 : 5);
    assert_ok(t->err, batch_pause(t->s, 2, true, &t->err));
    assert_ok(t->err, batch_cancel(t->s, 1, &t->err));
    assert_ok(t->err, batch_cancel(t->s, 5, &t->err));
    run_sql(t, "UPDATE batch SET ended_ms = id WHERE ended_ms IS NOT NULL");
    assert_ok(t->err, batch_rename(t->s, 3, "Frühling", &t->err));
    static const struct {
        struct batch_filter filter;
        const char *batches;
        int total;
    } cases[] = {
        {{0}, "4 2 3 5 1", 5},
        {{.state = "active"}, "4 3", 2},
        {{.state = "paused"}, "2", 1},
        {{.state = "ended"}, "5 1", 2},
        {{.state = "odd"}, "", 0},
        {{.search = "frühl"}, "3", 1},
        {{.search = "speech.wav"}, "4 2 3 5 1", 5},
        {{.limit = 2, .offset = 1}, "2 3", 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text text = {0};
        CLEANUP(text_free) struct text batches = {0};
        assert_ok(t->err, batch_list_json(t->s, &cases[i].filter, &text, &t->err));
        json_t *page = parse(&text), *item;
        size_t k;
        json_array_foreach(json_object_get(page, "items"), k, item)
            text_addf(&batches, "%s%lld", k ? " " : "", get_int(item, "id"));
        assert_string_equal(text_get(&batches), cases[i].batches);
        assert_int_equal(get_int(page, "total"), cases[i].total);
        json_decref(page);
    }
}

static int count_steps(void *n)
{
    ++*(int64_t *)n;
    return 0;
}

static int64_t steps_of_list(struct queue_test *t, int limit)
{
    int64_t n = 0;
    struct text text = {0};
    sqlite3_progress_handler(t->s->db, 100, count_steps, &n);
    assert_ok(t->err,
              batch_list_json(t->s, &(struct batch_filter){.limit = limit}, &text, &t->err));
    sqlite3_progress_handler(t->s->db, 0, NULL, NULL);
    json_t *page = parse(&text);
    assert_int_equal(json_array_size(json_object_get(page, "items")), limit);
    json_decref(page);
    return n;
}

// A page of 40 batches does not look through the queue 40 times.
static void test_list_is_cheap(void **state)
{
    struct queue_test *t = *state;
    for (int i = 0; i < 40; i++)
        add_batch(t, 25, 5);
    int64_t one = steps_of_list(t, 1), all = steps_of_list(t, 40);
    print_message("# %lld hundred steps for one, %lld for all\n", (long long)one, (long long)all);
    assert_true(all < 5 * one);
}

// Ends of batches and failures reach the outbox in the same transaction.
static void test_notices(void **state)
{
    struct queue_test *t = *state;
    assert_ok(t->err, setting_put(t->s, "notify",
                                  "{\"events\":[\"batch_ended\",\"job_failed\"],"
                                  "\"webhook\":{\"url\":\"https://example.com/x\"}}",
                                  &t->err));
    add_batch(t, 2, 5);
    struct job_claim c = claim(t, "w1");
    assert_ok(t->err,
              job_failed(t->s, &c, &(struct kb_error){.code = KB_BAD_INPUT, .text = "x"}, &t->err));
    job_claim_free(&c);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice"), 1);
    c = claim(t, "w1");
    finish(t, &c);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice"), 2);
    assert_ok(t->err, job_retry(t->s, 1, &t->err)); // it begins again, and ends again
    assert_ok(t->err, batch_cancel(t->s, 1, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM notice"), 3);
}

// What the server does where a client says nothing is among the options, of a look too.
static void test_defaults(void **state)
{
    struct queue_test *t = *state;
    const char *video = add_asset(t, "video", "ready", "v.mp4");
    struct batch_params p = params(t, &video, 1);
    p.options = "{\"crf\":20}";
    p.defaults = "{\"ai_label\":\"corner\",\"crf\":30}";
    p.lang = "en";
    int64_t id;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    static const char wanted[] =
        "{\"crf\":20,\"ai_label\":\"corner\",\"ai_label_text\":\"AI-generated\"}";
    assert_int_equal(
        ask(t, "SELECT options = '%s' FROM batch WHERE id = %lld", wanted, (long long)id), 1);
    struct job_claim c = {0};
    assert_ok(t->err, look_claim(t->s, &p, &c, &t->err));
    assert_string_equal(c.options, wanted);
    job_claim_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_mouth_from, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_style_from, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_defaults, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_result_names, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_equal_names, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_refused, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_names, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_order_of_service, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_fewest_running_first, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_turns, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_job_list, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_list_is_the_order, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_pause, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_cancel_and_retry, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_move, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_move_often, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_delete, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_list, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_list_is_cheap, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_notices, queue_setup, queue_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
