// Changes: who asks what is new since a number misses nothing.
#include "tests/queue/queue.h"

#include "queue/batch.h"
#include "queue/job.h"
#include "queue/change.h"
#include "queue/lease.h"
#include "queue/sweep.h"

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
    assert_ok(t->err,
              job_report(t->s, &c, &(struct job_report){STAGE_GENERATING, 1, 2, 3}, NULL, &t->err));
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_changes),
        TEST(test_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
