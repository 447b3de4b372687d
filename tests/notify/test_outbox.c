// When messages are written, tried again and given up.
#include "tests/notify/receiver.h"

#include "tests/chinese.h"

static void test_given_up(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.answers = {"500", "500", "500", "500", "500", "500", "500"}};
    server_start(&s);
    set_notify(t, "{\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"}}", s.port);
    assert_ok(t->err, notify_batch_ended(t->s, ended_batch(t), &t->err));
    static const int pauses_s[] = {10, 30, 60, 300, 900, 3600};
    for (size_t i = 0; i < ARRAY_LEN(pauses_s); i++) {
        run_sql(t, "UPDATE notice SET next_ms = 1");
        int64_t before = kb_wall_ms() + pauses_s[i] * 1000LL;
        send_due(t);
        assert_in_range(ask(t, "SELECT next_ms FROM notice WHERE state = 'due'"), before,
                        kb_wall_ms() + pauses_s[i] * 1000LL);
    }
    run_sql(t, "UPDATE notice SET next_ms = 1");
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'given_up'"
                            " AND error LIKE '%%500%%' AND attempts = 7"),
                     1);
    send_due(t);
    assert_int_equal(n_calls(&s), 7);
    CLEANUP(kb_freep) char *signature = header(call(&s, 0), "X-Koubo-Signature");
    assert_null(signature); // no secret, no signature
    server_stop(&s);
}

static void test_events_and_batch(void **state)
{
    struct queue_test *t = *state;
    struct server s = {0};
    server_start(&s);
    int64_t batch = ended_batch(t);
    const struct {
        const char *server, *batch; // configurations; %d is the port
        int n_ended, n_failed;      // messages
    } cases[] = {
        {NULL, NULL, 0, 0},
        {"{}", NULL, 0, 0},
        {"{\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"}}", NULL, 1, 0},
        {"{\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"}}", "{}", 0, 0},
        {"{\"webhook\":{\"url\":\"\",\"secret\":\"\"},\"email\":null}", NULL, 0, 0},
        {"{}",
         "{\"events\":[\"job_failed\"],\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"},"
         "\"wecom\":{\"url\":\"http://127.0.0.1:%d/\"}}",
         0, 2},
        {"{\"events\":[],\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"}}", NULL, 0, 0},
        // one that cannot work (written by hand) must not keep a job from ending
        {"{\"webhook\":{\"url\":\"gopher://x\"}}", NULL, 0, 0},
        {"not json", NULL, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run_sql(t, "DELETE FROM setting; DELETE FROM notice");
        if (cases[i].server)
            assert_ok(t->err, setting_put(t->s, "notify", cases[i].server, &t->err));
        assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE batch SET notify = ?", "t",
                                     cases[i].batch));
        char json[1000];
        snprintf(json, sizeof(json),
                 "UPDATE setting SET json = replace(json, '%%d', '%d');"
                 "UPDATE batch SET notify = replace(notify, '%%d', '%d')",
                 s.port, s.port);
        run_sql(t, json);
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
        assert_int_equal(ask(t, "SELECT count(*) FROM notice"), cases[i].n_ended);
        run_sql(t, "DELETE FROM notice");
        assert_ok(t->err, notify_job_failed(t->s, 2, &t->err));
        assert_int_equal(ask(t, "SELECT count(*) FROM notice"), cases[i].n_failed);
        if (cases[i].n_failed == 0)
            continue;
        run_sql(t, "DELETE FROM notice WHERE target NOT LIKE '%webhook%'");
        send_due(t);
        json_t *body = json_body(call(&s, 0)), *job = json_object_get(body, "job");
        assert_string_equal(get_text(body, "event"), "job_failed");
        assert_int_equal(get_int(job, "id"), 2);
        assert_string_equal(get_text(json_object_get(job, "error"), "text"), "no face in it");
        json_decref(body);
    }
    assert_fails(t->err, KB_NOT_FOUND, "", notify_batch_ended(t->s, 77, &t->err));
    server_stop(&s);
}

// A message is written with the end of the batch or not at all.
static void test_in_the_transaction(void **state)
{
    struct queue_test *t = *state;
    set_notify(t, "{\"webhook\":{\"url\":\"http://127.0.0.1:1/\"}}");
    int64_t batch = ended_batch(t);
    assert_ok(t->err, store_begin(t->s, &t->err));
    assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    store_rollback(t->s);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice"), 0);

    // and none is tried while the sender shall stop
    assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    const struct notify_way way = {NULL, &trusting};
    struct notifier *n = NULL;
    assert_ok(t->err, notifier_start(&n, &way, &t->err));
    notifier_cancel(n);
    assert_fails(t->err, KB_CANCELLED, "", notifier_turn(n, t->s, 0, NULL, &t->err));
    notifier_stop(&n, t->s);
    assert_int_equal(ask(t, "SELECT attempts FROM notice WHERE state = 'due'"), 0);
    send_due(t); // nobody listens on port 1
    assert_int_equal(ask(t, "SELECT attempts FROM notice WHERE state = 'due' AND error <> ''"), 1);
}

// A socket that takes connections and never answers.
static int silent_start(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

// What is sent to a server that does not answer holds up nothing else, and takes one sender.
static void test_a_silent_target(void **state)
{
    struct queue_test *t = *state;
    const struct notify_way way = {NULL, &trusting};
    struct server s = {.answers = {"200 {\"errcode\":0}", "200 {\"errcode\":0}",
                                   "200 {\"errcode\":0}", "200 {\"errcode\":0}"}};
    int silent_port, silent = silent_start(&silent_port);
    struct notifier *n = NULL;
    server_start(&s);
    int64_t batch = ended_batch(t), begin = kb_now_us();
    for (int i = 0; i < 20;
         i++) { // more than there are senders, at different addresses of one server
        set_notify(t, "{\"webhook\":{\"url\":\"http://127.0.0.1:%d/%d\"}}", silent_port, i / 2);
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    }
    set_notify(t, "{\"wecom\":{\"url\":\"http://127.0.0.1:%d/\"}}", s.port);
    for (int i = 0; i < 4; i++)
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    assert_ok(t->err, notifier_start(&n, &way, &t->err));
    while (ask(t, "SELECT count(*) FROM notice WHERE state = 'sent'") < 4)
        assert_ok(t->err, notifier_turn(n, t->s, 100, NULL, &t->err));
    assert_int_equal(n_calls(&s), 4);
    assert_true(kb_now_us() - begin < 10 * 1000000); // one time-out is 15 s
    struct pollfd p = {.fd = silent, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    close(accept(silent, NULL, NULL));
    assert_int_equal(poll(&p, 1, 0), 0); // one at a time
    begin = kb_now_us();
    notifier_stop(&n, t->s);
    assert_true(kb_now_us() - begin < 10 * 1000000);
    close(silent);
    server_stop(&s);
}

// A target that is down is not asked for each message; those that are too late are given up.
static void test_a_target_rests(void **state)
{
    struct queue_test *t = *state;
    set_notify(t, "{\"webhook\":{\"url\":\"http://127.0.0.1:1/\"}}"); // nobody listens
    int64_t batch = ended_batch(t);
    for (int i = 0; i < 6; i++)
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    run_sql(t, "UPDATE notice SET message = json_set(message, '$.time', 5) WHERE id > 4");
    int64_t before = kb_wall_ms();
    send_due(t);
    assert_int_equal(ask(t, "SELECT attempts FROM notice WHERE id = 1"), 1);
    assert_int_equal(ask(t, "SELECT sum(attempts) FROM notice WHERE id > 1"), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'due' AND id < 5"), 4);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'given_up' AND id > 4"
                            " AND target NOT LIKE '%%http%%' AND error <> ''"),
                     2);
    assert_in_range(ask(t, "SELECT min(next_ms) FROM notice WHERE state = 'due'"), before + 10000,
                    kb_wall_ms() + 10000);

    // A new message for it does not begin a new row of attempts; one that is refused for itself
    // (400) does not keep back the next.
    const struct notify_way way = {NULL, &trusting};
    struct notifier *n = NULL;
    bool idle = false;
    run_sql(t, "DELETE FROM notice");
    assert_ok(t->err, notifier_start(&n, &way, &t->err));
    for (int i = 0; i < 2; i++, idle = false) {
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
        for (int64_t until = kb_now_us() + 300000; !idle || (i > 0 && kb_now_us() < until);)
            assert_ok(t->err, notifier_turn(n, t->s, 10, &idle, &t->err));
    }
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE attempts = 1"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE attempts = 0"), 1);
    notifier_stop(&n, t->s);

    struct server s = {.answers = {"400", "200", "200", "200"}};
    server_start(&s);
    run_sql(t, "DELETE FROM notice");
    set_notify(t, "{\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"}}", s.port);
    for (int i = 0; i < 3; i++)
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    send_due(t);
    assert_int_equal(n_calls(&s), 3);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'sent'"), 2);

    // The clock was set back by a day: it does not wait for so long.
    run_sql(t, "UPDATE notice SET next_ms = next_ms + 86400000 WHERE state = 'due'");
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'sent'"), 3);
    server_stop(&s);
}

// The words of the page and the command line, in the language of the batch.
static void test_words(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.answers = {"200 {\"errcode\":0}", "200 {\"errcode\":0}"}};
    static const char *const wanted[][2] = {
        {"en", "done: 1, failed: 1, cancelled: 0, skipped: 1"},
        {"zh", "成功：1，失败：1，取消：0，跳过：1"},
    };
    load_chinese();
    server_start(&s);
    set_notify(t, "{\"wecom\":{\"url\":\"http://127.0.0.1:%d/\"}}", s.port);
    int64_t batch = ended_batch(t);
    run_sql(t, "UPDATE job SET state = 'skipped' WHERE id = 3");
    for (int i = 0; i < 2; i++) {
        assert_ok(t->err,
                  store_exec(t->s, NULL, &t->err, "UPDATE batch SET lang = ?", "t", wanted[i][0]));
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
        send_due(t);
        json_t *body = json_body(call(&s, i));
        assert_has(get_text(json_object_get(body, "markdown"), "content"), wanted[i][1]);
        json_decref(body);
    }
    server_stop(&s);
}

int main(void)
{
    receiver_prepare();
    const struct CMUnitTest tests[] = {
        TEST(test_given_up),        TEST(test_events_and_batch), TEST(test_in_the_transaction),
        TEST(test_a_silent_target), TEST(test_a_target_rests),   TEST(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
