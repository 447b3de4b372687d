// A small server in a thread that hears what is sent, by HTTP or by mail, and batches whose end is
// to be told.
#ifndef TESTS_NOTIFY_RECEIVER_H
#define TESTS_NOTIFY_RECEIVER_H

#include "tests/queue/queue.h"

#include "base/log.h"
#include "notify/notify.h"
#include "queue/lease.h"

#include <arpa/inet.h>
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

static inline void say(int fd, const char *s)
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
static inline bool hear(int fd, struct text *heard)
{
    char buffer[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, 5000) == 1 ? recv(fd, buffer, sizeof(buffer), 0) : 0;
    if (n > 0)
        text_add_bytes(heard, buffer, (size_t)n);
    return n > 0;
}

static inline void hear_http(int fd, struct text *heard)
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

static inline void answer_http(int fd, const char *answer)
{
    const char *text = answer && strchr(answer, ' ') ? strchr(answer, ' ') + 1 : "";
    CLEANUP(kb_freep)
    char *reply = kb_printf("HTTP/1.1 %.3s x\r\nContent-Length: %zu\r\nConnection: close\r\n"
                            "Location: /elsewhere\r\n\r\n%s",
                            answer ? answer : "200", strlen(text), text);
    say(fd, reply);
}

// "AUTH PLAIN", then the password in base64: what the server says to both.
static inline void answer_auth(int fd, const char *line, size_t n)
{
    CLEANUP(kb_freep) char *refusal = kb_printf("535 not with %.*s\r\n", (int)n, line);
    say(fd, strncasecmp(line, "AUTH", 4) == 0 ? "334 \r\n" : refusal);
}

static inline void serve_mail(int fd, struct text *heard, bool asks)
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

static inline void *serve(void *opaque)
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

static inline void server_start(struct server *s)
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

static inline void server_stop(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    for (int i = 0; i < s->n_calls; i++)
        text_free(&s->calls[i]);
    pthread_mutex_destroy(&s->lock);
}

// All of conversation i, which is waited for: a mail is over a moment after its client.
static inline const char *call(struct server *s, int i)
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

static inline int n_calls(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    int n = s->n_calls;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static inline const char *body_of(const char *request)
{
    const char *body = strstr(request, "\r\n\r\n");
    assert_non_null(body);
    return body + 4;
}

static inline json_t *json_body(const char *request)
{
    json_error_t where;
    json_t *json = json_loads(body_of(request), 0, &where);
    if (!json)
        fail_msg("%s in %s", where.text, request);
    return json;
}

// The value of a header, a new string; NULL if there is none.
static inline char *header(const char *request, const char *name)
{
    CLEANUP(kb_freep) char *start = kb_printf("\r\n%s: ", name);
    const char *at = strcasestr(request, start);
    if (!at || at > strstr(request, "\r\n\r\n"))
        return NULL;
    at += strlen(start);
    return kb_printf("%.*s", (int)strcspn(at, "\r"), at);
}

static inline void hmac_sha256(unsigned char ret[32], const char *key, const char *data)
{
    unsigned int n = 32;
    assert_non_null(HMAC(EVP_sha256(), key, (int)strlen(key), (const unsigned char *)data,
                         strlen(data), ret, &n));
    assert_int_equal(n, 32);
}

static inline void hmac_base64(char ret[64], const char *key, const char *data)
{
    unsigned char digest[32];
    hmac_sha256(digest, key, data);
    EVP_EncodeBlock((unsigned char *)ret, digest, 32);
}

static inline void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in:\n%s", part, text);
}

static inline void set_notify(struct queue_test *t, const char *fmt, ...) KB_PRINTF(2, 3);
static inline void set_notify(struct queue_test *t, const char *fmt, ...)
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
static inline int64_t ended_batch(struct queue_test *t)
{
    int64_t batch = add_batch(t, 3, 5);
    run_sql(t, "UPDATE batch SET name = 'Monday 星期一', notify = NULL;"
               "UPDATE job SET state = 'failed', error_code = 'bad_input', ended_ms = 5,"
               " error = 'no face in it', name = 'v[x](y).mp4';"
               "UPDATE job SET state = 'done' WHERE id = (SELECT min(id) FROM job);"
               "UPDATE batch SET ended_ms = 6; DELETE FROM notice");
    return batch;
}

// All that is due is tried once, by a notifier that knows nothing of earlier failures.
static inline void send_due_by(struct queue_test *t, const struct guard *guard)
{
    const struct notify_way way = {"http://127.0.0.1:7860/", guard};
    struct notifier *n = NULL;
    bool idle = false;
    assert_ok(t->err, notifier_start(&n, &way, &t->err));
    while (!idle)
        assert_ok(t->err, notifier_turn(n, t->s, 10, &idle, &t->err));
    notifier_stop(&n, t->s);
}

static const struct guard trusting = {.trusting = true};

static inline void send_due(struct queue_test *t)
{
    send_due_by(t, &trusting);
}

// For main(): sentences are compared in English, what fails here on purpose is not logged, and a
// proxy of the environment must not see the messages.
static inline void receiver_prepare(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    log_set_level(LOG_ERROR);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

#endif
