// The machines of a cluster: added, named, drained, given another secret, removed.
#include "tests/queue/remote.h"

#include "base/sentence.h"
#include "queue/estimate.h"

static json_t *nodes_of(struct queue_test *t)
{
    struct text text = {0};
    assert_ok(t->err, node_list_json(t->s, &text, &t->err));
    return parse(&text);
}

#define assert_node(t, key, wanted)                                                                \
    do {                                                                                           \
        json_t *list_ = nodes_of(t);                                                               \
        assert_string_equal(get_text(json_array_get(list_, 0), key), wanted);                      \
        json_decref(list_);                                                                        \
    } while (0)

static void names_are_checked(void **state)
{
    struct queue_test *t = *state;
    char secret[65], other[65];
    static const char *const bad[] = {"",    "N1",  "-a",   "a b",
                                      "a_b", "a/b", "机器", "w1",
                                      "w22", "i1",  "a.b",  "a23456789012345678901234567890123"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(t->err, KB_BAD_INPUT, "name", node_add(t->s, bad[i], NULL, secret, &t->err));
    static const char *const good[] = {
        "n1", "w", "w1a", "wide", "1", "a-b", "a2345678901234567890123456789012"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_ok(t->err, node_add(t->s, good[i], NULL, secret, &t->err));
    assert_int_equal(strspn(secret, "0123456789abcdef"), 64);
    assert_int_equal(strlen(secret), 64);
    assert_fails(t->err, KB_BAD_INPUT, "already", node_add(t->s, "n1", NULL, other, &t->err));
    assert_ok(t->err, node_remove(t->s, "n1", &t->err));
    assert_ok(t->err, node_add(t->s, "n1", NULL, other, &t->err));
    assert_string_not_equal(secret, other);
    struct node *list = NULL;
    int n = 0;
    assert_ok(t->err, node_list(t->s, &list, &n, &t->err));
    assert_int_equal(n, ARRAY_LEN(good));
    assert_string_equal(list[0].name, "1"); // by name
    free(list);
}

static void one_is_steered(void **state)
{
    struct queue_test *t = *state;
    char secret[65], renewed[65];
    struct node n;
    assert_fails(t->err, KB_NOT_FOUND, "no machine 'n1'", node_get(t->s, "n1", &n, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no machine", node_rename(t->s, "n1", "x", &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no machine", node_drain(t->s, "n1", true, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no machine", node_renew(t->s, "n1", secret, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no machine", node_remove(t->s, "n1", &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "no machine",
                 node_heard(t->s, "n1", 1, "{}", NULL, &t->err));
    assert_ok(t->err, node_add(t->s, "n1", "二楼\n的机器", secret, &t->err));
    assert_node(t, "title", "二楼 的机器");
    assert_ok(t->err, node_rename(t->s, "n1", " ", &t->err));
    assert_node(t, "title", "n1"); // none: its name
    assert_ok(t->err, node_get(t->s, "n1", &n, &t->err));
    assert_string_equal(n.secret, secret);
    assert_true(!n.draining && n.slots == 0 && n.heard_ms == 0);
    assert_ok(t->err, node_renew(t->s, "n1", renewed, &t->err));
    assert_string_not_equal(secret, renewed);
    assert_ok(t->err, node_get(t->s, "n1", &n, &t->err));
    assert_string_equal(n.secret, renewed);
}

static void its_state_is_told(void **state)
{
    struct queue_test *t = *state;
    char secret[65];
    struct node n;
    add_batch(t, 2, 5);
    assert_ok(t->err, node_add(t->s, "n1", NULL, secret, &t->err));
    assert_node(t, "state", "new");
    assert_ok(t->err, node_heard(t->s, "n1", 2, "{\"cores\":8}", NULL, &t->err));
    assert_node(t, "state", "active");
    assert_ok(t->err, node_get(t->s, "n1", &n, &t->err));
    assert_true(n.slots == 2 && n.heard_ms > 0);
    assert_ok(t->err, node_heard(t->s, "n1", 0, "{\"draining\":true}", NULL, &t->err));
    assert_node(t, "state", "draining"); // it says so
    assert_ok(t->err, node_heard(t->s, "n1", 0, "{\"cores\":8}", NULL, &t->err));
    assert_ok(t->err, node_drain(t->s, "n1", true, &t->err));
    assert_node(t, "state", "draining"); // we say so
    CLEANUP(kb_freep) char *kept = sentence_keep(_("the worker is gone"));
    assert_ok(t->err, node_heard(t->s, "n1", 2, "{\"cores\":8}", kept, &t->err));
    assert_node(t, "state", "refused");
    assert_node(t, "error", "the worker is gone");
    struct remote r = take(t, "n1");
    offer(t);
    json_t *list = nodes_of(t), *one = json_array_get(list, 0);
    assert_int_equal(get_int(json_object_get(one, "facts"), "cores"), 8);
    assert_true(json_is_true(json_object_get(one, "draining")));
    assert_int_equal(json_array_size(json_object_get(one, "jobs")), 1);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(one, "jobs"), 0)), r.job);
    assert_null(json_object_get(one, "secret"));
    json_decref(list);
    run_sql(t, "UPDATE node SET heard_ms = heard_ms - 11000");
    assert_node(t, "state", "silent");
}

// Its jobs go to others at once, and nothing of what it sent stays.
static void a_removed_one_has_nothing(void **state)
{
    struct queue_test *t = *state;
    char secret[65], asset[33];
    add_batch(t, 3, 5);
    assert_ok(t->err, node_add(t->s, "n1", NULL, secret, &t->err));
    assert_ok(t->err, node_add(t->s, "n2", NULL, secret, &t->err));
    struct remote first = take(t, "n1"), second = take(t, "n1"), other = take(t, "n2");
    tell_of(t, &second, "n1", FILM);
    assert_ok(t->err, remote_asset(t->s, second.job, second.lease, "n1", asset, &t->err));
    write_part(t, asset, "the");
    assert_ok(t->err, node_remove(t->s, "n1", &t->err));
    assert_state(t, first.job, "queued");
    assert_state(t, second.job, "queued");
    assert_state(t, other.job, "loading");
    assert_int_equal(ask(t, "SELECT total(attempts) FROM job"), 1);
    assert_ok(t->err, remote_back(t->s, &other, &t->err));
    assert_nothing_left(t);
}

// What machines have room for shortens the time left.
static void places_are_counted(void **state)
{
    struct queue_test *t = *state;
    char secret[65], audio[33], video[33];
    int64_t batch = add_batch(t, 8, 5);
    struct job_claim c = claim(t, "w1");
    finish(t, &c);
    run_sql(t, "UPDATE job SET started_ms = ended_ms - 10000 WHERE state = 'done'");
    snprintf(audio, sizeof(audio), "%032x", 1);
    snprintf(video, sizeof(video), "%032x", 2);
    const char *videos[] = {video, video, video, video};
    const struct batch_params p = {.audio = audio, .videos = videos, .n_videos = 4};
    struct batch_estimate one, e;
    assert_ok(t->err, batch_estimate(t->s, &p, &one, &t->err));
    assert_true(one.seconds > 0);
    json_t *json = batch_of(t, batch);
    assert_int_equal(get_int(json, "eta"), 70);
    json_decref(json);
    assert_ok(t->err, node_add(t->s, "n1", NULL, secret, &t->err));
    static const struct {
        int slots;
        const char *sql, *error;
        int eta;
    } cases[] = {
        {7, "SELECT 1", NULL, 10},
        {2, "SELECT 1", NULL, 35},
        {2, "UPDATE node SET draining = 1", NULL, 70},
        {2, "UPDATE node SET draining = 0", "refused", 70},
        {2, "UPDATE node SET heard_ms = heard_ms - 11000", NULL, 70},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_ok(t->err, node_heard(t->s, "n1", cases[i].slots, "{}", cases[i].error, &t->err));
        run_sql(t, cases[i].sql);
        json = batch_of(t, batch);
        assert_int_equal(get_int(json, "eta"), cases[i].eta);
        json_decref(json);
        assert_ok(t->err, batch_estimate(t->s, &p, &e, &t->err));
        assert_true(cases[i].eta == 70 ? e.seconds == one.seconds : e.seconds < one.seconds);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)
    const struct CMUnitTest tests[] = {
        T(names_are_checked),         T(one_is_steered),     T(its_state_is_told),
        T(a_removed_one_has_nothing), T(places_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
