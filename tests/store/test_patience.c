// How long a connection waits for another one that writes.
#include "tests/queue/queue.h"

#include "store/patience.h"

struct two {
    struct queue_test *t; // whose connection holds the database
    struct store *other;
    struct patience patience;
};

static void open_other(struct two *two, struct queue_test *t, int budget_ms)
{
    *two = (struct two){.t = t, .patience.budget_ms = budget_ms};
    assert_ok(t->err, store_open(&two->other, t->folder, false, &t->err));
    store_set_patience(two->other, &two->patience);
}

// Milliseconds that the refusal took.
static int64_t refused(struct two *two)
{
    int64_t begin = kb_now_us();
    assert_fails(two->t->err, KB_UNAVAILABLE, "busy",
                 setting_put(two->other, "a", "{}", &two->t->err));
    return (kb_now_us() - begin) / 1000;
}

static void a_budget_is_for_all_statements(void **state)
{
    struct queue_test *t = *state;
    struct two two;
    open_other(&two, t, 120);
    assert_ok(t->err, store_begin(t->s, &t->err));
    assert_true(refused(&two) >= 120); // and less than the 5 s of others, see the next test
    assert_true(patience_is_locked(&two.patience));
    int64_t begin = kb_now_us();
    store_renew_patience(two.other);
    for (int i = 0; i < 50; i++) // known to be locked: nobody waits any more
        refused(&two);
    assert_true(kb_now_us() - begin < 50 * 120 * 1000);
    int64_t n = 0; // who reads does not wait
    assert_ok(t->err, store_query_int(two.other, &n, &t->err, "SELECT count(*) FROM job", ""));

    store_rollback(t->s);
    assert_ok(t->err, setting_put(two.other, "a", "{}", &t->err));
    assert_false(patience_is_locked(&two.patience));
    store_close(&two.other);
}

// A database in which much is written is not a locked one: as long as others come in, each waits.
static void who_sees_others_come_in_does_not_call_it_locked(void **state)
{
    struct queue_test *t = *state;
    struct two two;
    open_other(&two, t, 60);
    store_set_patience(t->s, &two.patience);
    assert_ok(t->err, store_begin(t->s, &t->err));
    // The handler asks at the end of its budget whether somebody came in since it began to wait.
    two.other->wait_left_us = 0;
    assert_fails(t->err, KB_UNAVAILABLE, "busy", setting_put(two.other, "a", "{}", &t->err));
    assert_true(patience_is_locked(&two.patience)); // nobody did
    store_rollback(t->s);
    assert_ok(t->err, setting_put(t->s, "b", "{}", &t->err));
    assert_false(patience_is_locked(&two.patience));
    store_set_patience(t->s, NULL);
    store_close(&two.other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_budget_is_for_all_statements, queue_setup,
                                        queue_teardown),
        cmocka_unit_test_setup_teardown(who_sees_others_come_in_does_not_call_it_locked,
                                        queue_setup, queue_teardown),
    };
    return cmocka_run_group_tests_name("store/patience", tests, NULL, NULL);
}
