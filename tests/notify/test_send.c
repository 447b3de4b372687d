// What arrives, whether its signature is right, and what happens when it is refused.
#include "tests/notify/receiver.h"

#include "base/sentence.h"
#include "notify/reason.h"
#include "tests/chinese.h"

#include <ctype.h>
#include <fcntl.h>

static void test_webhook(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.answers = {"500", "302", "204"}};
    server_start(&s);
    set_notify(t, "{\"webhook\":{\"url\":\"http://127.0.0.1:%d/hook?x=1\",\"secret\":\"kéy\"}}",
               s.port);
    int64_t batch = ended_batch(t);
    assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    assert_ok(t->err, notify_job_failed(t->s, 2, &t->err)); // nobody asked for it
    assert_int_equal(ask(t, "SELECT count(*) FROM notice"), 1);

    // refused, then sent on by a redirect that is not followed: each time it waits longer
    int64_t before = kb_wall_ms();
    send_due(t);
    assert_int_equal(ask(t, "SELECT attempts FROM notice WHERE state = 'due'"), 1);
    int64_t next = ask(t, "SELECT next_ms FROM notice");
    assert_in_range(next, before + 10000, kb_wall_ms() + 10000);
    send_due(t); // not due
    assert_int_equal(n_calls(&s), 1);
    run_sql(t, "UPDATE notice SET next_ms = 1");
    before = kb_wall_ms();
    send_due(t);
    assert_in_range(ask(t, "SELECT next_ms FROM notice"), before + 30000, kb_wall_ms() + 30000);
    assert_int_equal(ask(t, "SELECT error LIKE '%%302%%' FROM notice"), 1);
    run_sql(t, "UPDATE notice SET next_ms = 1");
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'sent' AND attempts = 3"
                            " AND error IS NULL AND target NOT LIKE '%%http%%'"),
                     1);
    run_sql(t, "UPDATE notice SET next_ms = 1");
    send_due(t); // sent is sent

    const char *first = call(&s, 0), *last = call(&s, 2);
    assert_int_equal(n_calls(&s), 3);
    assert_int_equal(strncmp(last, "POST /hook?x=1 HTTP/1.1\r\n", 25), 0);
    CLEANUP(kb_freep) char *signature = header(last, "X-Koubo-Signature");
    CLEANUP(kb_freep) char *event = header(last, "X-Koubo-Event");
    CLEANUP(kb_freep) char *delivery = header(last, "X-Koubo-Delivery");
    CLEANUP(kb_freep) char *same = header(first, "X-Koubo-Delivery");
    CLEANUP(kb_freep) char *type = header(last, "Content-Type");
    unsigned char digest[32];
    char wanted[80] = "sha256=";
    hmac_sha256(digest, "kéy", body_of(last));
    for (int i = 0; i < 32; i++)
        snprintf(wanted + 7 + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(signature, wanted);
    assert_string_equal(event, "batch_ended");
    assert_int_equal(strlen(delivery), 32);
    assert_string_equal(delivery, same);
    assert_has(type, "application/json");

    json_t *body = json_body(last), *b = json_object_get(body, "batch");
    assert_string_equal(get_text(body, "event"), "batch_ended");
    assert_string_equal(get_text(b, "name"), "Monday 星期一");
    assert_int_equal(get_int(b, "id"), batch);
    assert_int_equal(get_int(json_object_get(b, "counts"), "failed"), 2);
    assert_int_equal(get_int(json_object_get(b, "counts"), "done"), 1);
    assert_string_equal(get_text(body, "url"), "http://127.0.0.1:7860/?batch=1");
    assert_true(llabs(get_int(body, "time") - kb_wall_ms()) < 60000);
    assert_null(strstr(last, "kéy"));
    json_decref(body);
    server_stop(&s);
}

static void test_wecom(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.answers = {"200 {\"errcode\":310000,\"errmsg\":\"keywords 不对\"}",
                                   "200 {\"errcode\":0,\"errmsg\":\"ok\"}", "200 <html>"}};
    server_start(&s);
    set_notify(t, "{\"wecom\":{\"url\":\"http://127.0.0.1:%d/send?key=SECRETKEY\"}}", s.port);
    assert_ok(t->err, notify_batch_ended(t->s, ended_batch(t), &t->err));
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'due' AND error LIKE"
                            " '%%keywords 不对%%310000%%' AND error NOT LIKE '%%SECRETKEY%%'"),
                     1);
    run_sql(t, "UPDATE notice SET next_ms = 1");
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'sent'"), 1);
    assert_has(call(&s, 1), "POST /send?key=SECRETKEY ");
    json_t *body = json_body(call(&s, 1));
    assert_string_equal(get_text(body, "msgtype"), "markdown");
    const char *content = get_text(json_object_get(body, "markdown"), "content");
    assert_has(content, "Monday 星期一");
    assert_has(content, "done: 1, failed: 2, cancelled: 0");
    assert_has(content, "v［x］(y).mp4: no face in it"); // a name is not a link
    assert_has(content, "(http://127.0.0.1:7860/?batch=1)");
    json_decref(body);

    run_sql(t, "UPDATE notice SET state = 'due'");
    run_sql(t, "DELETE FROM notice");
    assert_ok(t->err, notify_batch_ended(t->s, 1, &t->err));
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'due' AND error LIKE"
                            " '%%something else%%'"),
                     1);
    server_stop(&s);
}

static void test_dingtalk(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.answers = {"200 {\"errcode\":0}", "200 {\"errcode\":0}"}};
    server_start(&s);
    set_notify(t,
               "{\"dingtalk\":{\"url\":\"http://127.0.0.1:%d/send?access_token=x\","
               "\"secret\":\"SEC123\"}}",
               s.port);
    assert_ok(t->err, notify_batch_ended(t->s, ended_batch(t), &t->err));
    send_due(t);
    long long timestamp;
    char sign[200], what[100], wanted[64], plain[200];
    assert_int_equal(sscanf(call(&s, 0), "POST /send?access_token=x&timestamp=%lld&sign=%199s ",
                            &timestamp, sign),
                     2);
    assert_true(llabs(timestamp - kb_wall_ms()) < 60000);
    snprintf(what, sizeof(what), "%lld\nSEC123", timestamp);
    hmac_base64(wanted, "SEC123", what);
    size_t n = 0;
    for (const char *c = sign; *c; c++) {
        unsigned int byte = (unsigned char)*c;
        if (*c == '%') {
            assert_int_equal(sscanf(c + 1, "%2x", &byte), 1);
            c += 2;
        } else {
            assert_true(isalnum(byte));
        }
        plain[n++] = (char)byte;
    }
    plain[n] = '\0';
    assert_string_equal(plain, wanted);
    json_t *body = json_body(call(&s, 0)), *m = json_object_get(body, "markdown");
    assert_string_equal(get_text(body, "msgtype"), "markdown");
    assert_has(get_text(m, "title"), "Monday 星期一");
    assert_has(get_text(m, "text"), "failed: 2");
    json_decref(body);

    set_notify(t, "{\"dingtalk\":{\"url\":\"http://127.0.0.1:%d/send\"}}", s.port);
    assert_ok(t->err, notify_batch_ended(t->s, 1, &t->err));
    send_due(t);
    assert_has(call(&s, 1), "POST /send HTTP");
    server_stop(&s);
}

static void test_feishu(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.answers = {"200 {\"code\":0,\"msg\":\"success\"}",
                                   "200 {\"code\":19021,\"msg\":\"sign match fail\"}",
                                   "200 {\"StatusCode\":0,\"StatusMessage\":\"success\"}"}};
    server_start(&s);
    set_notify(t, "{\"feishu\":{\"url\":\"http://127.0.0.1:%d/hook/abc\",\"secret\":\"s3\"}}",
               s.port);
    assert_ok(t->err, notify_batch_ended(t->s, ended_batch(t), &t->err));
    send_due(t);
    json_t *body = json_body(call(&s, 0));
    char key[100], wanted[64];
    snprintf(key, sizeof(key), "%s\ns3", get_text(body, "timestamp"));
    hmac_base64(wanted, key, "");
    assert_string_equal(get_text(body, "sign"), wanted);
    assert_true(llabs(atoll(get_text(body, "timestamp")) - kb_wall_ms() / 1000) < 60);
    assert_string_equal(get_text(body, "msg_type"), "text");
    assert_has(get_text(json_object_get(body, "content"), "text"), "Monday 星期一");
    json_decref(body);

    set_notify(t, "{\"feishu\":{\"url\":\"http://127.0.0.1:%d/hook/abc\"}}", s.port);
    assert_ok(t->err, notify_batch_ended(t->s, 1, &t->err));
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE error LIKE '%%sign match fail%%'"),
                     1);
    body = json_body(call(&s, 1));
    assert_null(json_object_get(body, "sign"));
    json_decref(body);
    run_sql(t, "UPDATE notice SET next_ms = 1 WHERE state = 'due'");
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'sent'"), 2);
    server_stop(&s);
}

// The base64 text decoded, a new string; what is not of the alphabet is skipped.
static char *unbase64(const char *s, size_t n)
{
    char *clean = kb_alloc(n + 4), *ret = kb_alloc(n + 4);
    size_t n_clean = 0, padding = 0;
    for (size_t i = 0; i < n; i++)
        if (isalnum((unsigned char)s[i]) || strchr("+/=", s[i])) {
            clean[n_clean++] = s[i];
            padding += s[i] == '=';
        }
    int size = EVP_DecodeBlock((unsigned char *)ret, (const unsigned char *)clean, (int)n_clean);
    assert_true(size >= 0);
    ret[size - (int)padding] = '\0';
    free(clean);
    return ret;
}

// The words of an encoded subject put together, a new string.
static char *subject_of(const char *mail)
{
    struct text ret = {0};
    const char *at = strstr(mail, "\r\nSubject:"), *end;
    assert_non_null(at);
    at += 10;
    while (strncmp(at, " =?UTF-8?B?", 11) == 0) {
        at += 11;
        end = strstr(at, "?=\r\n");
        assert_non_null(end);
        assert_true(end - at + 12 <= 75);
        CLEANUP(kb_freep) char *word = unbase64(at, (size_t)(end - at));
        assert_true((word[0] & 0xc0) != 0x80); // no character is cut
        text_add(&ret, word);
        at = end + 4;
    }
    return ret.data ? ret.data : kb_strdup("");
}

static void test_mail(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.mail = true};
    server_start(&s);
    set_notify(t,
               "{\"email\":{\"smtp\":\"smtp://127.0.0.1:%d\",\"tls\":false,"
               "\"from\":\"koubo@example.com\",\"to\":[\"a@example.com\",\"b@example.org\"]}}",
               s.port);
    int64_t batch = ended_batch(t);
    run_sql(t, "UPDATE batch SET name = '星期一的口播视频，第一百二十三期，一个很长很长的名字'");
    assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'sent'"), 1);
    const char *mail = call(&s, 0);
    assert_has(mail, "MAIL FROM:<koubo@example.com>");
    assert_has(mail, "RCPT TO:<a@example.com>");
    assert_has(mail, "RCPT TO:<b@example.org>");
    assert_has(mail, "\r\nFrom: koubo@example.com\r\n");
    assert_has(mail, "\r\nTo: a@example.com,\r\n b@example.org\r\n");
    assert_has(mail, "Date: ");
    assert_has(mail, "\r\nMessage-ID: <");
    assert_has(mail, "@example.com>\r\nAuto-Submitted: ");
    assert_has(mail, "\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    for (const char *line = mail; *line; line++) { // short lines of ASCII
        size_t n = strcspn(line, "\r");
        assert_true(n <= 76);
        for (size_t i = 0; i < n; i++)
            assert_in_range(line[i], ' ', '~');
        line += n + 1;
    }
    CLEANUP(kb_freep) char *subject = subject_of(mail);
    assert_string_equal(subject, "koubo: the batch '星期一的口播视频，第一百二十三期，一个很长很长"
                                 "的名字' has ended");
    const char *body = strstr(mail, "base64\r\n\r\n") + 10, *end = strstr(body, "\r\n.\r\n");
    assert_non_null(end);
    CLEANUP(kb_freep) char *text = unbase64(body, (size_t)(end - body));
    assert_string_equal(text, "done: 1, failed: 2, cancelled: 0\r\nv[x](y).mp4: no face in it\r\n"
                              "v[x](y).mp4: no face in it\r\n\r\n"
                              "http://127.0.0.1:7860/?batch=1\r\n");

    // Without "tls":false a server that cannot encrypt gets neither mail nor password.
    set_notify(t,
               "{\"email\":{\"smtp\":\"smtp://127.0.0.1:%d\",\"user\":\"u\","
               "\"password\":\"hunter2\",\"from\":\"k@example.com\",\"to\":[\"a@example.com\"]}}",
               s.port);
    assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
    send_due(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'due'"
                            " AND error NOT LIKE '%%hunter2%%'"),
                     1);
    assert_null(strstr(call(&s, 1), "MAIL"));
    assert_null(strstr(call(&s, 1), "AUTH"));
    server_stop(&s);
}

// Neither what a mail server repeats of a password nor what a robot repeats of its address is told.
static void test_sentences_hold_no_secret(void **state)
{
    struct queue_test *t = *state;
    struct server mail = {.mail = true, .asks = true};
    struct server robot = {
        .answers = {"200 {\"errcode\":1,\"errmsg\":\"no key 0123456789abcdef, robot\"}"}};
    server_start(&mail);
    server_start(&robot);
    set_notify(t,
               "{\"email\":{\"smtp\":\"smtp://127.0.0.1:%d\",\"tls\":false,\"user\":\"u\","
               "\"password\":\"hunter2\",\"from\":\"k@example.com\",\"to\":[\"a@example.com\"]},"
               "\"wecom\":{\"url\":\"http://127.0.0.1:%d/robot?key=0123456789abcdef\"}}",
               mail.port, robot.port);
    assert_ok(t->err, notify_batch_ended(t->s, ended_batch(t), &t->err));
    send_due(t);
    assert_has(call(&mail, 0), "AHUAaHVudGVyMg=="); // \0u\0hunter2
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'due' AND error <> ''"), 2);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE error LIKE '%%hunter2%%'"
                            " OR error LIKE '%%AHUAaHVudGVyMg%%' OR error LIKE '%%0123456789%%'"),
                     0);
    assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE error LIKE"
                            " '%%no key ****************, robot%%'"),
                     1);
    server_stop(&mail);
    server_stop(&robot);
}

static const char *const all_kinds[] = {
    "{\"webhook\":{\"url\":\"http://127.0.0.1:%d/hook?token=webhooktoken1234\","
    "\"secret\":\"webhooksecret\"}}",
    "{\"email\":{\"smtp\":\"smtp://127.0.0.1:%d\",\"tls\":false,\"user\":\"u\","
    "\"password\":\"mailpassword\",\"from\":\"k@example.com\",\"to\":[\"a@example.com\"]}}",
    "{\"wecom\":{\"url\":\"http://127.0.0.1:%d/send?key=wecomkey12345678\"}}",
    "{\"dingtalk\":{\"url\":\"http://127.0.0.1:%d/send?access_token=dingtalktoken123\","
    "\"secret\":\"SECdingtalk\"}}",
    "{\"feishu\":{\"url\":\"http://127.0.0.1:%d/hook/feishuhookkey123\","
    "\"secret\":\"feishusecret\"}}",
};

// A server whose users are strangers knocks at none of its own ports, whatever it is told to send;
// one whose owner allows the port, does.
static void test_guarded(void **state)
{
    struct queue_test *t = *state;
    static const struct guard strict;
    int64_t batch = ended_batch(t);
    for (size_t i = 0; i < ARRAY_LEN(all_kinds); i++) {
        struct server s = {.answers = {"200 {\"errcode\":0}"},
                           .mail = strstr(all_kinds[i], "smtp://"),
                           .asks = strstr(all_kinds[i], "smtp://")};
        struct guard allowing = {0};
        char rule[50];
        server_start(&s);
        set_notify(t, all_kinds[i], s.port);
        snprintf(rule, sizeof(rule), "127.0.0.1:%d", s.port);
        assert_ok(t->err, guard_allow(&allowing, rule, &t->err));
        run_sql(t, "DELETE FROM notice");
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
        send_due_by(t, &strict);
        assert_int_equal(n_calls(&s), 0);
        assert_int_equal(ask(t, "SELECT count(*) FROM notice WHERE state = 'due' AND"
                                " say(error) LIKE '%%--allow-address 127.0.0.1:%%'"),
                         1);
        run_sql(t, "UPDATE notice SET next_ms = 1");
        send_due_by(t, &allowing);
        assert_has(call(&s, 0), s.mail ? "EHLO" : "POST");
        server_stop(&s);
    }
}

// Whatever is logged, the most of it, too: no secret and no key is among it.
static void test_the_log_holds_no_secret(void **state)
{
    struct queue_test *t = *state;
    static const char *const secrets[] = {
        "webhooktoken1234",   "webhooksecret",    "mailpassword",
        "AG1haWxwYXNzd29yZA", "wecomkey12345678", "SECdingtalk",
        "dingtalktoken123",   "feishuhookkey123", "feishusecret",
    };
    CLEANUP(kb_freep) char *path = kb_printf("%s/debug.log", t->s->folder);
    CLEANUP(text_free) struct text log = {0};
    assert_ok(t->err, log_open(t->s->folder, "debug.log", false, 1 << 20, &t->err));
    log_set_level(LOG_DEBUG);
    int64_t batch = ended_batch(t);
    for (size_t i = 0; i < ARRAY_LEN(all_kinds); i++) {
        struct server s = {.answers = {"500", "200 {\"errcode\":0}"},
                           .mail = strstr(all_kinds[i], "smtp://"),
                           .asks = strstr(all_kinds[i], "smtp://")};
        server_start(&s);
        set_notify(t, all_kinds[i], s.port);
        run_sql(t, "DELETE FROM notice");
        assert_ok(t->err, notify_batch_ended(t->s, batch, &t->err));
        for (int k = 0; k < 2; k++) { // refused, then taken
            run_sql(t, "UPDATE notice SET next_ms = 1");
            send_due(t);
        }
        server_stop(&s);
        run_sql(t, "UPDATE notice SET state = 'due', next_ms = 1, attempts = 6");
        send_due(t); // nobody is there any more: given up
    }
    log_set_level(LOG_ERROR);
    log_close();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && text_hear(&log, fd, 1 << 20, 1000000, NULL));
    close(fd);
    assert_has(text_get(&log), "a message to 'feishu' was given up");
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (strstr(text_get(&log), secrets[i]))
            fail_msg("'%s' is in the log:\n%s", secrets[i], text_get(&log));
}

static void test_test_button(void **state)
{
    struct queue_test *t = *state;
    struct server s = {.answers = {"200", "200 {\"errcode\":93000,\"errmsg\":\"bad \xff key\"}"}};
    server_start(&s);
    CLEANUP(kb_freep)
    char *json = kb_printf("{\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"},"
                           "\"wecom\":{\"url\":\"http://127.0.0.1:%d/?key=K\"},"
                           "\"feishu\":{\"url\":\"\"}}",
                           s.port, s.port);
    struct text text = {0};
    const struct notify_way way = {NULL, &trusting};
    assert_ok(t->err, notify_test(json, &way, &text, &t->err));
    json_t *list = parse(&text);
    assert_int_equal(json_array_size(list), 2);
    json_t *first = json_array_get(list, 0), *second = json_array_get(list, 1);
    assert_string_equal(get_text(first, "target"), "webhook");
    assert_true(json_is_true(json_object_get(first, "ok")));
    assert_true(json_is_null(json_object_get(first, "error")));
    assert_string_equal(get_text(second, "target"), "wecom");
    assert_true(json_is_false(json_object_get(second, "ok")));
    assert_true(strlen(get_text(second, "error")) > 10);
    json_decref(list);
    json_t *body = json_body(call(&s, 0));
    assert_string_equal(get_text(body, "event"), "test");
    json_decref(body);
    assert_has(call(&s, 1), "test message");
    server_stop(&s);
}

// Whatever code libcurl has, a Chinese sentence holds no English, and an English one no Chinese.
static void test_reasons_in_one_language(void **state)
{
    load_chinese();
    for (int code = 1; code < CURL_LAST; code++) {
        kb_language_set_thread(KB_LANGUAGE_CATALOGUE);
        for (const char *c = transfer_reason((CURLcode)code); *c; c++)
            assert_true((unsigned char)*c >= 0x80);
        kb_language_set_thread(KB_LANGUAGE_SOURCE);
        for (const char *c = transfer_reason((CURLcode)code); *c; c++)
            assert_true((unsigned char)*c < 0x80);
    }
    struct kb_error err = {0};
    kb_fail(&err, KB_UNAVAILABLE, _("the message could not be delivered: %s"),
            transfer_reason(CURLE_COULDNT_CONNECT));
    CLEANUP(kb_freep) char *kept = sentence_of(&err);
    kb_language_set_thread(KB_LANGUAGE_CATALOGUE);
    CLEANUP(kb_freep) char *said = sentence_say(kept);
    assert_string_equal(said, "通知没有送达：连不上服务器");
    kb_language_set_thread(KB_LANGUAGE_DEFAULT);
}

int main(void)
{
    receiver_prepare();
    const struct CMUnitTest tests[] = {
        TEST(test_webhook),
        TEST(test_wecom),
        TEST(test_dingtalk),
        TEST(test_feishu),
        TEST(test_mail),
        TEST(test_sentences_hold_no_secret),
        TEST(test_test_button),
        TEST(test_guarded),
        TEST(test_the_log_holds_no_secret),
        cmocka_unit_test(test_reasons_in_one_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
