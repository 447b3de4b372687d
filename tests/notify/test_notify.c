// Messages, against small servers made here: what arrives, whether its signature is right, and what
// happens when it is refused.
#include "tests/queue/queue.h"

#include "base/log.h"
#include "notify/notify.h"
#include "queue/lease.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>

#define MAX_CALLS 16

// A server for one conversation after the other, in a thread.
struct server {
    int listener, port;
    pthread_t thread;
    bool mail;                      // SMTP, else HTTP
    bool asks;                      // for user and password, which it repeats and refuses
    const char *answers[MAX_CALLS]; // "500" or "200 body", by number of the call; NULL = "200"
    pthread_mutex_t lock;           // of what follows
    struct text calls[MAX_CALLS];   // all that the client said
    int n_calls;
};

static void say(int fd, const char *s)
{
    size_t left = strlen(s);
    while (left > 0) {
        ssize_t n = send(fd, s, left, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        s += n;
        left -= (size_t)n;
    }
}

// More bytes of the client, false at its end (or after 5 s, so that no test hangs).
static bool hear(int fd, struct text *heard)
{
    char buffer[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, 5000) == 1 ? recv(fd, buffer, sizeof(buffer), 0) : 0;
    if (n > 0)
        text_add_bytes(heard, buffer, (size_t)n);
    return n > 0;
}

static void hear_http(int fd, struct text *heard)
{
    const char *body = NULL, *length;
    while (!body || strlen(body) < strtoul(length, NULL, 10)) {
        if (!hear(fd, heard))
            return;
        length = strcasestr(text_get(heard), "Content-Length:");
        length = length ? length + strlen("Content-Length:") : "0";
        body = strstr(text_get(heard), "\r\n\r\n");
        body = body ? body + 4 : NULL;
    }
}

static void answer_http(int fd, const char *answer)
{
    const char *text = answer && strchr(answer, ' ') ? strchr(answer, ' ') + 1 : "";
    CLEANUP(kb_freep)
    char *reply = kb_printf("HTTP/1.1 %.3s x\r\nContent-Length: %zu\r\nConnection: close\r\n"
                            "Location: /elsewhere\r\n\r\n%s",
                            answer ? answer : "200", strlen(text), text);
    say(fd, reply);
}

// "AUTH PLAIN", then the password in base64: what the server says to both.
static void answer_auth(int fd, const char *line, size_t n)
{
    CLEANUP(kb_freep) char *refusal = kb_printf("535 not with %.*s\r\n", (int)n, line);
    say(fd, strncasecmp(line, "AUTH", 4) == 0 ? "334 \r\n" : refusal);
}

static void serve_mail(int fd, struct text *heard, bool asks)
{
    static const char *const verbs[] = {"EHLO", "MAIL", "RCPT", "DATA", "QUIT"};
    size_t read_to = 0;
    bool in_data = false;
    say(fd, "220 test\r\n");
    for (;;) {
        const char *line = text_get(heard) + read_to, *end = strstr(line, "\r\n");
        if (!end) {
            if (!hear(fd, heard))
                return;
            continue;
        }
        read_to += (size_t)(end + 2 - line);
        if (in_data && strncmp(line, ".\r\n", 3) != 0)
            continue;
        size_t verb = 0;
        while (verb < ARRAY_LEN(verbs) && strncasecmp(line, verbs[verb], 4) != 0)
            verb++;
        if (asks && !in_data && verb == ARRAY_LEN(verbs))
            answer_auth(fd, line, (size_t)(end - line));
        else if (asks && verb == 0)
            say(fd, "250-test\r\n250 AUTH PLAIN\r\n");
        else if (in_data || strncasecmp(line, "QUIT", 4) != 0)
            say(fd, strncasecmp(line, "DATA", 4) == 0   ? "354 go on\r\n"
                    : strncasecmp(line, "EHLO", 4) == 0 ? "250-test\r\n250 8BITMIME\r\n"
                                                        : "250 ok\r\n");
        else
            return;
        in_data = strncasecmp(line, "DATA", 4) == 0;
    }
}

static void *serve(void *opaque)
{
    struct server *s = opaque;
    for (int fd; (fd = accept(s->listener, NULL, NULL)) >= 0; close(fd)) {
        struct text heard = {0};
        if (s->mail)
            serve_mail(fd, &heard, s->asks);
        else
            hear_http(fd, &heard);
        // Recorded before the answer, because the test looks once the client has it.
        pthread_mutex_lock(&s->lock);
        int i = s->n_calls;
        if (i < MAX_CALLS)
            s->calls[s->n_calls++] = heard;
        else
            text_free(&heard);
        pthread_mutex_unlock(&s->lock);
        if (!s->mail)
            answer_http(fd, i < MAX_CALLS ? s->answers[i] : NULL);
    }
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &size), 0);
    s->port = ntohs(address.sin_port);
    pthread_mutex_init(&s->lock, NULL);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    for (int i = 0; i < s->n_calls; i++)
        text_free(&s->calls[i]);
    pthread_mutex_destroy(&s->lock);
}

// All of conversation i, which is waited for: a mail is over a moment after its client.
static const char *call(struct server *s, int i)
{
    for (int waited_ms = 0; waited_ms < 5000; waited_ms += 5) {
        pthread_mutex_lock(&s->lock);
        const char *text = i < s->n_calls ? text_get(&s->calls[i]) : NULL;
        pthread_mutex_unlock(&s->lock);
        if (text)
            return text;
        usleep(5000);
    }
    fail_msg("conversation %d did not happen", i);
    return "";
}

static int n_calls(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    int n = s->n_calls;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static const char *body_of(const char *request)
{
    const char *body = strstr(request, "\r\n\r\n");
    assert_non_null(body);
    return body + 4;
}

static json_t *json_body(const char *request)
{
    json_error_t where;
    json_t *json = json_loads(body_of(request), 0, &where);
    if (!json)
        fail_msg("%s in %s", where.text, request);
    return json;
}

// The value of a header, a new string; NULL if there is none.
static char *header(const char *request, const char *name)
{
    CLEANUP(kb_freep) char *start = kb_printf("\r\n%s: ", name);
    const char *at = strcasestr(request, start);
    if (!at || at > strstr(request, "\r\n\r\n"))
        return NULL;
    at += strlen(start);
    return kb_printf("%.*s", (int)strcspn(at, "\r"), at);
}

static void hmac_sha256(unsigned char ret[32], const char *key, const char *data)
{
    unsigned int n = 32;
    assert_non_null(HMAC(EVP_sha256(), key, (int)strlen(key), (const unsigned char *)data,
                         strlen(data), ret, &n));
    assert_int_equal(n, 32);
}

static void hmac_base64(char ret[64], const char *key, const char *data)
{
    unsigned char digest[32];
    hmac_sha256(digest, key, data);
    EVP_EncodeBlock((unsigned char *)ret, digest, 32);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in:\n%s", part, text);
}

// --- the outbox

static void set_notify(struct queue_test *t, const char *fmt, ...) KB_PRINTF(2, 3);
static void set_notify(struct queue_test *t, const char *fmt, ...)
{
    char json[2000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(json, sizeof(json), fmt, args);
    va_end(args);
    assert_ok(t->err, notify_check(json, &t->err));
    assert_ok(t->err, setting_put(t->s, "notify", json, &t->err));
}

// A batch of three videos: one done, two failed. The outbox is empty after it.
static int64_t ended_batch(struct queue_test *t)
{
    int64_t batch = add_batch(t, 3, 5);
    run_sql(t, "UPDATE batch SET name = 'Monday 星期一', notify = NULL;"
               "UPDATE job SET state = 'failed', error_code = 'bad_input', ended_ms = 5,"
               " error = 'no face in it', name = 'v[x](y).mp4';"
               "UPDATE job SET state = 'done' WHERE id = (SELECT min(id) FROM job);"
               "UPDATE batch SET ended_ms = 6; DELETE FROM notice");
    return batch;
}

static void send_due(struct queue_test *t)
{
    int64_t next_ms = 0;
    assert_ok(t->err, notify_send_due(t->s, "http://127.0.0.1:7860/", NULL, &next_ms, &t->err));
    assert_true(next_ms > kb_wall_ms());
}

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
    struct cancel cancel = {0};
    int64_t next_ms;
    cancel_request(&cancel);
    assert_fails(t->err, KB_CANCELLED, "", notify_send_due(t->s, NULL, &cancel, &next_ms, &t->err));
    assert_int_equal(ask(t, "SELECT attempts FROM notice WHERE state = 'due'"), 0);
    send_due(t); // nobody listens on port 1
    assert_int_equal(ask(t, "SELECT attempts FROM notice WHERE state = 'due' AND error <> ''"), 1);
}

// --- robots

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

// --- mail

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

// --- configuration

static void test_check(void **state)
{
    (void)state;
    struct kb_error err = {0};
    static const char *const good[] = {
        "{}",
        "{\"events\":[\"batch_ended\",\"job_failed\"]}",
        "{\"webhook\":{\"url\":\"https://example.com\"}}",
        "{\"webhook\":{\"url\":\"http://[::1]:80/x\",\"secret\":null}}",
        "{\"webhook\":{\"url\":\"\",\"secret\":\"\"},\"email\":{\"smtp\":\"\",\"to\":[]}}",
        "{\"email\":{\"smtp\":\"smtps://mail.example.com:465\",\"user\":\"u\",\"password\":\"p\","
        "\"from\":\"a@b.c\",\"to\":[\"d@e.f\"]}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_ok(err, notify_check(good[i], &err));
    const struct {
        const char *json, *part;
    } bad[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{\"webhook\":", "JSON"},
        {"{\"events\":[\"everything\"]}", "events"},
        {"{\"events\":\"job_failed\"}", "events"},
        {"{\"telegram\":{}}", "telegram"},
        {"{\"电报电报电报电报电报电报电报\":{}}", "电报电报电报电报电报电报电'"},
        {"{\"webhook\":\"https://x\"}", "webhook"},
        {"{\"webhook\":{\"url\":7}}", "url"},
        {"{\"webhook\":{\"url\":\"file:///etc/passwd\"}}", "https://"},
        {"{\"webhook\":{\"url\":\"https://\"}}", "name a server"},
        {"{\"webhook\":{\"url\":\"https:///x\"}}", "name a server"},
        {"{\"wecom\":{\"url\":\"https://a b\"}}", "wecom"},
        {"{\"feishu\":{\"url\":\"https://a\\r\\nHost: b\"}}", "feishu"},
        {"{\"dingtalk\":{\"url\":\"https://a\",\"secret\":1}}", "secret"},
        {"{\"email\":{\"smtp\":\"https://a\",\"from\":\"a@b\",\"to\":[\"a@b\"]}}", "smtps://"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a\",\"to\":[\"a@b\"]}}", "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\"}}", "list"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[]}}", "list"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[1]}}", "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[\"a@b\\r\\nBcc: c@d\"]}}",
         "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"N <a@b>\",\"to\":[\"a@b\"]}}",
         "mail address"},
        {"{\"email\":{\"smtp\":\"smtp://a\",\"from\":\"a@b\",\"to\":[\"a@b\"],\"tls\":\"no\"}}",
         "tls"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(err, KB_BAD_INPUT, bad[i].part, notify_check(bad[i].json, &err));
}

static void test_mask(void **state)
{
    (void)state;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text masked = {0}, back = {0}, fresh = {0};
    static const char old[] =
        "{\"webhook\":{\"url\":\"https://a\",\"secret\":\"one\"},"
        "\"email\":{\"smtp\":\"smtps://a\",\"user\":\"u\",\"password\":\"two\",\"from\":\"a@b\","
        "\"to\":[\"c@d\"]},\"feishu\":{\"url\":\"https://f\",\"secret\":\"\"}}";
    assert_ok(err, notify_mask(old, &masked, &err));
    assert_null(strstr(masked.data, "one"));
    assert_null(strstr(masked.data, "two"));
    assert_has(masked.data, "\"secret\":\"********\"");
    assert_has(masked.data, "\"password\":\"********\"");
    assert_has(masked.data, "\"secret\":\"\"");
    assert_ok(err, notify_unmask(masked.data, old, &back, &err));
    json_t *a = json_loads(old, 0, NULL), *b = json_loads(back.data, 0, NULL);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    // a new secret replaces
    assert_ok(err, notify_unmask("{\"webhook\":{\"url\":\"https://b\",\"secret\":\"new\"}}", old,
                                 &fresh, &err));
    assert_has(fresh.data, "\"new\"");
    assert_fails(err, KB_BAD_INPUT, "", notify_unmask("[", old, &fresh, &err));
}

// A masked secret is filled in for the target it was given for, and for no other.
static void test_secrets_stay_with_their_target(void **state)
{
    (void)state;
    static const char old[] =
        "{\"webhook\":{\"url\":\"https://a/x\",\"secret\":\"one\"},"
        "\"email\":{\"smtp\":\"smtp://m:587\",\"user\":\"u\",\"password\":\"two\",\"from\":\"a@b\","
        "\"to\":[\"c@d\"]},\"feishu\":{\"url\":\"https://f\",\"secret\":\"three\"},"
        "\"wecom\":{\"url\":\"https://w\"}}";
#define MAIL(smtp, user, more)                                                                     \
    "{\"email\":{\"smtp\":\"" smtp "\",\"user\":\"" user "\",\"password\":\"********\","           \
    "\"from\":\"e@b\",\"to\":[\"f@d\"]" more "}}"
#define HOOK(kind, url) "{\"" kind "\":{\"url\":\"" url "\",\"secret\":\"********\"}}"
    static const struct {
        const char *json, *part; // part of the sentence, or of what comes out if it is taken
        bool taken;
    } table[] = {
        {MAIL("smtp://m:587", "u", ""), "\"two\"",
         true}, // to others from another: still that server
        {MAIL("smtp://m:587", "u", ",\"tls\":true"), "\"two\"", true},
        {MAIL("smtp://m:587", "u", ",\"tls\":false"), "the TLS of 'email' has changed", false},
        {MAIL("smtps://m:587", "u", ""), "the TLS of 'email' has changed", false},
        {MAIL("smtp://evil:587", "u", ""), "the server or port of 'email' has changed", false},
        {MAIL("smtp://m:25", "u", ""), "the server or port of 'email' has changed", false},
        {MAIL("smtp://m", "u", ""), "give the password again", false},
        {MAIL("smtp://m:587@evil", "u", ""), "the server or port of 'email' has changed", false},
        {MAIL("smtp://m:587", "v", ""), "the user of 'email' has changed", false},
        {MAIL("", "u", ""), "\"password\":\"\"", true}, // emptied in a form
        {HOOK("webhook", "https://a/x"), "\"one\"", true},
        {HOOK("webhook", "https://a/y"), "the address of 'webhook' has changed", false},
        {HOOK("webhook", "http://a/x"), "give the secret again", false},
        {HOOK("webhook", "https://f"), "the address of 'webhook' has changed", false},
        {HOOK("feishu", "https://f"), "\"three\"", true},
        {HOOK("feishu", "https://f/"), "the address of 'feishu' has changed", false},
        {HOOK("dingtalk", "https://f"), "no secret of 'dingtalk' is stored", false},
        {HOOK("wecom", "https://w"), "no secret of 'wecom' is stored", false},
        {"{\"email\":{\"smtp\":\"smtp://m:587\",\"secret\":\"********\",\"from\":\"a@b\","
         "\"to\":[\"c@d\"]}}",
         "no password of 'email' is stored", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kb_error err = {0};
        CLEANUP(text_free) struct text ret = {0};
        if (table[i].taken) {
            assert_ok(err, notify_unmask(table[i].json, old, &ret, &err));
            assert_has(ret.data, table[i].part);
            continue;
        }
        assert_fails(err, KB_BAD_INPUT, table[i].part,
                     notify_unmask(table[i].json, old, &ret, &err));
        assert_int_equal(ret.size, 0);
        assert_fails(err, KB_BAD_INPUT, "is stored", notify_unmask(table[i].json, "", &ret, &err));
    }
#undef MAIL
#undef HOOK
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
    assert_ok(t->err, notify_test(json, NULL, &text, &t->err));
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    log_set_level(LOG_ERROR);
    // a proxy of the environment must not see the messages
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    const struct CMUnitTest tests[] = {
        TEST(test_webhook),
        TEST(test_given_up),
        TEST(test_events_and_batch),
        TEST(test_in_the_transaction),
        TEST(test_wecom),
        TEST(test_dingtalk),
        TEST(test_feishu),
        TEST(test_mail),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_secrets_stay_with_their_target),
        TEST(test_sentences_hold_no_secret),
        TEST(test_test_button),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
