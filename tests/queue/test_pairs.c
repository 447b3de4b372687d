// Batches of several speeches: each job has its own, wherever a batch's one was looked at.
#include "tests/queue/queue.h"

#include "asset/asset.h"
#include "finish/label.h"
#include "queue/estimate.h"
#include "queue/internal.h"
#include "queue/remote.h"
#include "queue/result.h"
#include "queue/retention.h"
#include "queue/sweep.h"

#include <time.h>

struct files {
    char speech[2][33], film[2][33];
};

static struct files add_files(struct queue_test *t, const char *state)
{
    struct files f;
    snprintf(f.speech[0], 33, "%s", add_asset(t, "audio", "ready", "第一课.wav"));
    snprintf(f.speech[1], 33, "%s", add_asset(t, "audio", state, "第二课.wav"));
    snprintf(f.film[0], 33, "%s", add_asset(t, "video", "ready", "王老师.mp4"));
    snprintf(f.film[1], 33, "%s", add_asset(t, "video", "ready", "李老师.mp4"));
    return f;
}

// The first speech with the first film, and options of their own.
static struct batch_pair first_with(const struct files *f, const char *own)
{
    return (struct batch_pair){
        .audio = f->speech[0], .video = f->film[0], .options = own, .face_at = {-1, -1, -1}};
}

// Each speech with each film, speeches first.
static int64_t add_pairs(struct queue_test *t, const struct files *f)
{
    struct batch_pair pairs[4];
    for (int i = 0; i < 4; i++)
        pairs[i] = (struct batch_pair){
            .audio = f->speech[i / 2], .video = f->film[i % 2], .face_at = {-1, -1, -1}};
    struct batch_params p = {.pairs = pairs, .n_pairs = 4, .priority = 5};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    return id;
}

static void each_with_each(void **state)
{
    struct queue_test *t = *state;
    struct files f = add_files(t, "ready");
    int64_t id = add_pairs(t, &f);
    json_t *b = batch_of(t, id);
    assert_string_equal(get_text(b, "name"), "第一课 +1");
    assert_int_equal(get_int(b, "speeches"), 2);
    assert_int_equal(get_int(json_object_get(b, "counts"), "queued"), 4);
    json_decref(b);
    // Names say both; what is the batch's own is not written twice.
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE result_name LIKE '李老师~_第二课~_20%%'"
                            " ESCAPE '~' AND position = 4"),
                     1);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE audio IS NOT NULL"), 2);
    for (int i = 0; i < 4; i++) {
        struct job_claim c = claim(t, "w1");
        CLEANUP(kb_freep) char *path = store_path(t->s, "files", f.speech[i / 2]);
        assert_string_equal(c.audio_path, path);
        assert_string_equal(c.audio_name, i < 2 ? "第一课.wav" : "第二课.wav");
        assert_non_null(strstr(c.note, c.audio_name));
        int64_t job = c.job;
        finish(t, &c);
        CLEANUP(text_free) struct text json = {0};
        assert_ok(t->err, result_json(t->s, job, &json, &t->err));
        json_auto_t *r = json_loads(text_get(&json), 0, NULL);
        assert_string_equal(get_text(json_object_get(r, "source"), "audio"), f.speech[i / 2]);
    }
    // A search finds the batch by the speech that is not its first.
    CLEANUP(text_free) struct text list = {0};
    assert_ok(t->err,
              batch_list_json(t->s, &(struct batch_filter){.search = "第二"}, &list, &t->err));
    assert_non_null(strstr(text_get(&list), "\"total\":1"));
}

// What a job costs, and what an estimate says, is by its own speech and options.
static void costs_are_their_own(void **state)
{
    struct queue_test *t = *state;
    struct files f = add_files(t, "ready");
    run_sql(t, "UPDATE asset SET duration_ms = 3000 WHERE name = '第二课.wav'");
    struct batch_pair pairs[] = {
        {.audio = f.speech[0], .video = f.film[0], .face_at = {-1, -1, -1}},
        {.audio = f.speech[1], .video = f.film[0], .face_at = {-1, -1, -1}},
        {.audio = f.speech[1], .video = f.film[1], .options = "{\"duration\":2}"},
    };
    struct batch_params p = {.pairs = pairs, .n_pairs = 3, .priority = 5};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    static const int seconds[] = {1, 3, 2};
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(t, "SELECT cost FROM job WHERE position = %d", i + 1),
                         seconds[i] * 64 * 64);
    run_sql(t, "UPDATE job SET state = 'done', result = 'x', stage_s = '{}', result_ms = 1000,"
               " result_width = 64, result_height = 64, result_size = 100, started_ms = 0,"
               " ended_ms = 2000 WHERE position = 1");
    struct batch_estimate e;
    assert_ok(t->err, batch_estimate(t->s, &p, &e, &t->err));
    assert_float_equal(e.bytes, 600, 0.5);
    assert_float_equal(e.seconds, 12, 0.1);
    pairs[2].options = "{\"duration\":0}";
    assert_fails(t->err, KB_BAD_INPUT, "pair 3", batch_estimate(t->s, &p, &e, &t->err));
}

// A pair waits for its own speech, and fails with it alone.
static void one_speech_waits_and_fails_alone(void **state)
{
    struct queue_test *t = *state;
    struct files f = add_files(t, "making");
    char swap[33];
    memcpy(swap, f.speech[0], 33); // the first one, the batch's, is the one that is being made
    memcpy(f.speech[0], f.speech[1], 33);
    memcpy(f.speech[1], swap, 33);
    int64_t id = add_pairs(t, &f);
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_int_equal(ask(t, "SELECT group_concat(waiting = 'speech', '') FROM job"), 1100);
    struct job_claim c = claim(t, "w1");
    assert_string_equal(c.audio_name, "第一课.wav");
    finish(t, &c);
    // The other way round: the own speech of pairs turns out to be bad.
    run_sql(t, "UPDATE asset SET state = 'ready' WHERE name = '第二课.wav'");
    run_sql(t, "UPDATE asset SET state = 'bad' WHERE name = '第一课.wav'");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'failed' AND position = 4"
                            " AND error LIKE '%%第一课.wav%%'"),
                     1);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'queued'"), 2);
    // And it is not taken away while a pair needs it.
    assert_fails(t->err, KB_BAD_INPUT, "第二课 +1", asset_delete(t->s, f.speech[0], &t->err));
    assert_ok(t->err, asset_delete(t->s, f.speech[1], &t->err));
    assert_ok(t->err, batch_cancel(t->s, id, &t->err));
}

static void files_of_pairs_are_kept(void **state)
{
    struct queue_test *t = *state;
    struct files f = add_files(t, "ready");
    int64_t id = add_pairs(t, &f);
    char lent[33];
    snprintf(lent, 33, "%s", add_asset(t, "video", "ready", "laughs.mp4"));
    assert_fails(t->err, KB_BAD_INPUT, "needed", asset_delete(t->s, f.speech[1], &t->err));
    // An option of one pair alone names a file, too.
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "UPDATE job SET options = json_object('mouth_from', ?)"
                                 " WHERE position = 4",
                                 "t", lent));
    run_sql(t, "UPDATE asset SET created_ms = 1");
    struct retention_report report;
    assert_ok(t->err, retention_run(t->s, &(struct retention_params){.of_any_age = true}, NULL,
                                    NULL, &report, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM asset"), 5);
    assert_fails(t->err, KB_BAD_INPUT, "needed", asset_delete(t->s, lent, &t->err));
    for (int i = 0; i < 4; i++) {
        struct job_claim c = claim(t, "w1");
        assert_int_equal(c.n_materials, i == 3);
        finish(t, &c);
    }
    assert_ok(t->err, batch_delete(t->s, id, &t->err));
    assert_ok(t->err, asset_delete(t->s, lent, &t->err));
    assert_ok(t->err, asset_delete(t->s, f.speech[1], &t->err));
}

// Null is the server's default again, not nothing.
static void a_pair_without_a_word_keeps_the_label(void **state)
{
    struct queue_test *t = *state;
    struct files f = add_files(t, "ready");
    struct batch_pair pair = first_with(&f, "{\"ai_label\":null,\"crf\":null}");
    struct batch_params p = {
        .pairs = &pair, .n_pairs = 1, .priority = 5, .defaults = "{\"ai_label\":\"corner\"}"};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    struct job_claim c = claim(t, "w1");
    assert_non_null(strstr(c.options, "\"ai_label\":\"corner\""));
    job_claim_free(&c);
}

// A result says what its job did with the subtitles: null is the default there too.
static void a_result_knows_whether_its_subtitles_are_drawn(void **state)
{
    static const struct {
        const char *own;
        bool burned;
    } cases[] = {{NULL, false},
                 {"{\"crf\":20}", false},
                 {"{\"subtitles_as\":\"burn,srt\"}", true},
                 {"{\"subtitles_as\":null}", true}};
    struct queue_test *t = *state;
    struct files f = add_files(t, "ready");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct batch_pair pair = first_with(&f, cases[i].own);
        struct batch_params p = {
            .pairs = &pair, .n_pairs = 1, .priority = 5, .options = "{\"subtitles_as\":\"srt\"}"};
        int64_t id = 0;
        assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
        struct job_claim c = claim(t, "w1");
        int64_t job = c.job;
        finish(t, &c);
        run_sql(t, "UPDATE job SET cues = '{\"cues\":[]}'");
        CLEANUP(text_free) struct text json = {0};
        assert_ok(t->err, result_json(t->s, job, &json, &t->err));
        json_auto_t *r = json_loads(text_get(&json), 0, NULL);
        assert_int_equal(json_is_true(json_object_get(r, "subtitles_burned")), cases[i].burned);
    }
}

// Who reads English gets a mark in English, also of a pair that alone has one.
static void a_pair_that_alone_is_labelled_says_so_in_its_language(void **state)
{
    static const struct {
        const char *options, *own, *lang, *text;
    } cases[] = {
        {"{\"ai_label\":\"off\"}", "{\"ai_label\":\"corner\"}", "en", LABEL_TEXT_ENGLISH},
        {NULL, "{\"ai_label\":\"start\"}", "en", LABEL_TEXT_ENGLISH},
        {"{\"ai_label\":\"both\"}", "{\"ai_label_text\":null}", "en", LABEL_TEXT_ENGLISH},
        {"{\"ai_label\":\"off\"}", "{\"ai_label\":\"corner\"}", "zh", NULL},
        {"{\"ai_label\":\"off\"}",
         "{\"ai_label\":\"corner\",\"ai_label_text\":\"Generated by AI\"}", "en",
         "Generated by AI"},
        {"{\"ai_label\":\"off\",\"ai_label_text\":\"Generated by AI\"}",
         "{\"ai_label\":\"corner\"}", "en", "Generated by AI"},
        {"{\"ai_label\":\"corner\"}", "{\"ai_label\":\"off\"}", "en", LABEL_TEXT_ENGLISH},
        {"{\"ai_label\":\"off\"}", "{\"crf\":20}", "en", NULL},
    };
    struct queue_test *t = *state;
    struct files f = add_files(t, "ready");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct batch_pair pair = first_with(&f, cases[i].own);
        struct batch_params p = {.pairs = &pair,
                                 .n_pairs = 1,
                                 .priority = 5,
                                 .options = cases[i].options,
                                 .defaults = "{}",
                                 .lang = cases[i].lang};
        int64_t id = 0;
        assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
        struct job_claim c = claim(t, "w1");
        json_auto_t *options = json_loads(c.options, 0, NULL);
        const char *text = json_string_value(json_object_get(options, "ai_label_text"));
        if (cases[i].text ? !text || strcmp(text, cases[i].text) != 0 : text != NULL)
            fail_msg("%s and %s in %s: '%s'", cases[i].options, cases[i].own, cases[i].lang, text);
        finish(t, &c);
    }
}

static void what_is_wrong_with_a_pair_is_said(void **state)
{
    struct queue_test *t = *state;
    struct files f = add_files(t, "bad");
    char sound[33];
    snprintf(sound, 33, "%s", add_asset(t, "audio", "ready", "song.wav"));
    struct batch_pair pairs[] = {
        {.audio = f.speech[0], .video = f.film[0], .name = "a/b", .face_at = {-1, -1, -1}},
        {.audio = f.speech[1], .video = f.film[1], .name = "A_B.MP4", .face_at = {-1, -1, -1}},
        {.audio = f.speech[0], .video = sound, .face_at = {-1, -1, -1}},
    };
    struct batch_params p = {
        .pairs = pairs, .n_pairs = 3, .priority = 5, .options = "{\"crf\":20}"};
    int64_t id = 0;
    pairs[1].options = "{\"bitrate\":\"source\"}"; // does not go with the batch's crf
    assert_fails(t->err, KB_BAD_INPUT, "pair 2", batch_create(t->s, &p, &id, &t->err));
    pairs[1].options = "{\"mouth_from\":\"nobody\"}";
    assert_fails(t->err, KB_NOT_FOUND, "pair 2", batch_create(t->s, &p, &id, &t->err));
    pairs[1].options = "{\"bitrate\":\"source\",\"crf\":null}";
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'skipped'"), 2);
    assert_int_equal(
        ask(t, "SELECT count(*) FROM job WHERE position = 2 AND error LIKE '%%第二课.wav%%'"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE result_name = 'a_b.mp4'"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE result_name = 'A_B-2.mp4'"), 1);
    p.pairs = pairs + 1;
    p.n_pairs = 2;
    p.options = NULL;
    assert_fails(t->err, KB_BAD_INPUT, "none of these pairs", batch_create(t->s, &p, &id, &t->err));
    p.n_pairs = 1001;
    assert_fails(t->err, KB_BAD_INPUT, "1 to 1000 pairs", batch_create(t->s, &p, &id, &t->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_with_each, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(costs_are_their_own, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(one_speech_waits_and_fails_alone, queue_setup,
                                        queue_teardown),
        cmocka_unit_test_setup_teardown(files_of_pairs_are_kept, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(a_pair_that_alone_is_labelled_says_so_in_its_language,
                                        queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(a_pair_without_a_word_keeps_the_label, queue_setup,
                                        queue_teardown),
        cmocka_unit_test_setup_teardown(a_result_knows_whether_its_subtitles_are_drawn, queue_setup,
                                        queue_teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_with_a_pair_is_said, queue_setup,
                                        queue_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
