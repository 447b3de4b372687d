// The life of connections: many, slow, sleeping, leaving; sinks and streams; start and stop.
#include "tests/http/host.h"

#include "base/file.h"
#include "http/http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

// --- routes

static void get_hello(struct request *r)
{
    reply_json(r, 200, "{\"hello\":true}");
}

static void get_lang(struct request *r)
{
    reply_text(r, 200, "text/plain", request_lang(r));
}

static void get_loan(struct request *r)
{
    reply_text(r, 200, "text/plain", request_loan(r) ? request_loan(r) : "no loan");
}

// A sink that counts. ?refuse answers before the body, ?fail=N after N bytes.
static atomic_int n_open, n_done, n_aborted;

struct counting {
    int64_t n, fail_at;
};

static void *count_open(struct request *r)
{
    if (request_query(r, "refuse")) {
        reply_problem(r, 409, "conflict", "refused");
        return NULL;
    }
    struct counting *c = kb_alloc(sizeof(*c));
    if (!request_query_int(r, "fail", 0, INT64_MAX, INT64_MAX, &c->fail_at)) {
        free(c);
        return NULL;
    }
    n_open++;
    return c;
}

static bool count_piece(struct request *r, void *ctx, const void *data, size_t n)
{
    struct counting *c = ctx;
    c->n += (int64_t)n;
    if (c->n <= c->fail_at)
        return true;
    reply_problem(r, 507, "no_space", "full");
    return false;
}

static void count_done(struct request *r, void *ctx)
{
    struct counting *c = ctx;
    char n[32];
    snprintf(n, sizeof(n), "%lld", (long long)c->n);
    n_done++;
    reply_text(r, 200, "text/plain", n);
    free(c);
}

static void count_abort(void *app, void *ctx)
{
    n_aborted++;
    free(ctx);
}

static const struct body_sink count_sink = {count_open, count_piece, count_done, count_abort};

// Streams that sleep until said is raised, then say it once.
#define MAX_TALKERS 256
static atomic_int said, n_freed;
static struct stream *talkers[MAX_TALKERS];
static atomic_int n_talkers;

static int64_t talk(void *ctx, char *buffer, size_t max)
{
    int *heard = ctx;
    if (*heard == said)
        return 0;
    *heard = said;
    return snprintf(buffer, max, "said %d\n", *heard);
}

static void talk_free(void *ctx)
{
    n_freed++;
    free(ctx);
}

static void get_talk(struct request *r)
{
    int *heard = kb_alloc(sizeof(*heard));
    *heard = said;
    reply_stream(r, "text/plain", talk, talk_free, heard, &talkers[n_talkers++]);
}

static void say(void)
{
    said++;
    for (int i = 0; i < n_talkers; i++)
        stream_wake(talkers[i]);
}

static void forget_talkers(void)
{
    while (n_talkers > 0)
        stream_unref(&talkers[--n_talkers]);
}

// An answer that is known only once somebody has said something, or, with ?now, at the second
// asking.
static atomic_int n_waiting;

static void get_later(struct request *r)
{
    int *heard = request_waited(r);
    if (heard && (*heard != said || request_query(r, "now"))) {
        char text[32];
        snprintf(text, sizeof(text), "said %d", said);
        reply_text(r, 202, "text/plain", text);
        return;
    }
    if (heard) // woken for nothing
        return;
    heard = kb_alloc(sizeof(*heard));
    *heard = said;
    int mine = n_talkers++; // other network threads come with theirs
    request_wait(r, talk_free, heard, &talkers[mine]);
    if (request_query(r, "now"))
        stream_wake(talkers[mine]);
    n_waiting++;
}

// A stream with an end, and one that breaks off.
static int64_t count_down(void *ctx, char *buffer, size_t max)
{
    int *left = ctx;
    if (*left == 0)
        return -1;
    if (*left < 0)
        return -2;
    int64_t n = KB_MIN((int64_t)max, *left);
    memset(buffer, 'x', (size_t)n);
    *left = *left == 12345 ? -1 : *left - (int)n;
    return n;
}

static void get_finite(struct request *r)
{
    int64_t n;
    request_query_int(r, "n", 0, 1 << 30, 0, &n);
    int *left = kb_alloc(sizeof(*left));
    *left = (int)n;
    reply_stream(r, "application/octet-stream", count_down, talk_free, left, NULL);
}

static const struct route routes[] = {
    {"GET", "/hello", get_hello, 0, NULL},
    {"GET", "/open", get_hello, ROUTE_OPEN, NULL},
    {"GET", "/lang", get_lang, ROUTE_OPEN, NULL},
    {"GET", "/loan", get_loan, 0, NULL},
    {"POST", "/sink", NULL, ROUTE_SINK, &count_sink},
    {"GET", "/talk", get_talk, 0, NULL},
    {"GET", "/later", get_later, 0, NULL},
    {"GET", "/finite", get_finite, 0, NULL},
    {0},
};
static const struct route *const tables[] = {routes, NULL};

// --- set-up

static int start(void **state)
{
    n_open = n_done = n_aborted = n_freed = 0;
    start_with((struct http_params){0}, tables);
    return 0;
}

static int stop(void **state)
{
    http_stop(&http);
    forget_talkers();
    return 0;
}

static void wait_for(atomic_int *what, int wanted)
{
    for (int i = 0; i < 1000 && *what < wanted; i++)
        usleep(10000);
    assert_int_equal(*what, wanted);
}

// --- tests

static void test_slow_loris(void **state)
{
    enum { N = 100 };
    static const char drip[] = "GET /hello HTTP/1.1\r\nHost: localhost\r\nX: ";
    int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = client_connect(port);
    int64_t slowest = 0;
    for (size_t i = 0; i < sizeof(drip) - 1; i++) {
        for (int k = 0; k < N; k++)
            client_send(fds[k], &drip[i], 1);
        CLEANUP(answer_clear) struct answer a = {0};
        int64_t begin = kb_now_us();
        client_ask(port, &a, "GET", "/hello", "", NULL);
        assert_answer(&a, 200);
        slowest = KB_MAX(slowest, kb_now_us() - begin);
    }
    if (slowest > 1000000)
        fail_msg("a request took %d ms beside slow clients", (int)(slowest / 1000));
    for (int i = 0; i < N; i++)
        close(fds[i]);
}

static void test_idle(void **state)
{
    http_stop(&http);
    start_with((struct http_params){.idle_s = 1}, tables);
    int idle = client_connect(port), asleep = client_connect(port);
    CLEANUP(answer_clear) struct answer a = {0};
    client_sendf(idle, "GET /hel");
    client_sendf(asleep, "GET /talk HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_true(client_is_closed(idle)); // after a second
    usleep(1200000);
    char chunk[64];
    say(); // the stream slept longer, and is still there
    struct text head = {0};
    char c;
    while (!strstr(text_get(&head), "\r\n\r\n") && recv(asleep, &c, 1, 0) == 1)
        text_add_bytes(&head, &c, 1);
    assert_true(client_chunk(asleep, chunk, sizeof(chunk)) > 0);
    text_free(&head);
    close(idle);
    close(asleep);
}

static int open_talk(void)
{
    int fd = client_connect(port);
    client_sendf(fd, "GET /talk HTTP/1.1\r\nHost: localhost\r\n\r\n");
    struct text head = {0};
    char c;
    while (!strstr(text_get(&head), "\r\n\r\n") && recv(fd, &c, 1, 0) == 1)
        text_add_bytes(&head, &c, 1);
    assert_non_null(strstr(text_get(&head), "200 OK"));
    text_free(&head);
    return fd;
}

static void test_streams(void **state)
{
    enum { N = 200 };
    int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = open_talk();
    for (int round = 0; round < 3; round++) {
        say();
        for (int i = 0; i < N; i++) {
            char chunk[64] = "", wanted[64];
            int n = client_chunk(fds[i], chunk, sizeof(chunk));
            snprintf(wanted, sizeof(wanted), "said %d\n", said);
            assert_int_equal(n, strlen(wanted));
            assert_memory_equal(chunk, wanted, (size_t)n);
        }
        CLEANUP(answer_clear) struct answer a = {0};
        client_ask(port, &a, "GET", "/hello", "", NULL);
        assert_answer(&a, 200);
    }
    assert_int_equal(n_freed, 0);
    n_waiting = 0;
    int unanswered = client_connect(port);
    client_sendf(unanswered, "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_for(&n_waiting, 1);
    close(unanswered);
    for (int i = 0; i < N; i += 2) // half of them go; nobody tells the server, and nothing is said
        close(fds[i]);
    wait_for(&n_freed, N / 2 + 1);
    http_stop(&http); // the others sleep
    assert_int_equal(n_freed, N + 1);
    say(); // nobody hears it
    for (int i = 1; i < N; i += 2) {
        char chunk[64];
        assert_int_equal(client_chunk(fds[i], chunk, sizeof(chunk)), 0); // a proper end
        close(fds[i]);
    }
}

// Wakes from many threads while streams sleep, read and go.
static atomic_bool shouting;

static void *shout(void *unused)
{
    while (shouting)
        say();
    return NULL;
}

static void test_wake_storm(void **state)
{
    enum { N = 20 };
    int fds[N];
    pthread_t threads[2];
    for (int i = 0; i < N; i++)
        fds[i] = open_talk();
    shouting = true;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, shout, NULL);
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < N; i++) {
            char chunk[64];
            assert_true(client_chunk(fds[i], chunk, sizeof(chunk)) > 0);
        }
    for (int i = 0; i < N; i++)
        close(fds[i]);
    wait_for(&n_freed, N);
    shouting = false;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
}

static void test_stream_ends(void **state)
{
    static const struct {
        const char *path;
        size_t size;
        bool whole;
    } cases[] = {
        {"/finite?n=0", 0, true},
        {"/finite?n=5", 5, true},
        {"/finite?n=1000000", 1000000, true},
        {"/finite?n=12345", 12345, false},
    };
    CLEANUP(answer_clear) struct answer a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(port, &a, "GET", cases[i].path, "Accept-Encoding: gzip\r\n", NULL);
        assert_answer(&a, 200);
        assert_int_equal(a.whole, cases[i].whole);
        assert_int_equal(a.size, cases[i].size);
        assert_string_equal(answer_header(&a, "Content-Encoding"), "");
    }
    client_ask(port, &a, "HEAD", "/finite?n=5", "", NULL);
    assert_answer(&a, 200);
    int fd = client_connect(port); // without chunks the end is the end of the connection
    client_sendf(fd, "GET /finite?n=100000 HTTP/1.0\r\n\r\n");
    client_receive(fd, &a, "GET");
    assert_int_equal(a.size, 100000);
    close(fd);
    wait_for(&n_freed, ARRAY_LEN(cases) + 2);
}

// Many requests sleep before they are answered, with a status of their own; one is woken before it
// sleeps, all for nothing, and the server stops. test_streams has a client that leaves.
static void test_later(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    int fds[40];
    n_waiting = 0;
    client_ask(port, &a, "GET", "/later?now", "", NULL);
    assert_answer(&a, 202);
    wait_for(&n_freed, 1);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = client_connect(port);
        client_sendf(fds[i], "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    wait_for(&n_waiting, ARRAY_LEN(fds) + 1);
    for (int i = 0; i < n_talkers; i++)
        stream_wake(talkers[i]); // for nothing
    client_ask(port, &a, "GET", "/hello", "", NULL);
    assert_answer(&a, 200);
    say();
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        client_receive(fds[i], &a, "GET");
        assert_answer(&a, 202);
        assert_true(text_begins(a.body, "said "));
        client_sendf(fds[i], "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client_receive(fds[i], &a, "GET");
        assert_answer(&a, 200);
    }
    wait_for(&n_freed, ARRAY_LEN(fds) + 1);
    client_sendf(fds[0], "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_for(&n_waiting, ARRAY_LEN(fds) + 2);
    http_stop(&http);
    client_receive(fds[0], &a, "GET");
    assert_answer(&a, 503);
    assert_int_equal(n_freed, ARRAY_LEN(fds) + 2);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
}

static void test_sink(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    enum { N = 300000 }; // above body_bytes: sinks have no such limit
    char *body = kb_alloc(N + 1);
    memset(body, 'b', N);
    client_ask(port, &a, "POST", "/sink", "", body);
    assert_answer(&a, 200);
    assert_string_equal(a.body, "300000");
    client_ask(port, &a, "POST", "/sink", "", "");
    assert_string_equal(a.body, "0");
    assert_int_equal(n_done, 2);

    client_ask(port, &a, "POST", "/sink?refuse", "", body);
    assert_answer(&a, 409);
    client_ask(port, &a, "POST", "/sink?fail=x", "", body);
    assert_answer(&a, 400);
    client_ask(port, &a, "POST", "/sink?fail=1000", "", body);
    assert_answer(&a, 507);
    assert_int_equal(n_open, 3);
    assert_int_equal(n_done, 3); // for its ctx

    int fd = client_connect(port); // refused before terabytes are on their way
    client_sendf(fd, "POST /sink?refuse HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Length: 1000000000000\r\n\r\n");
    client_receive(fd, &a, "POST");
    assert_answer(&a, 409);
    assert_true(client_is_closed(fd));
    close(fd);
    fd = client_connect(port);
    client_sendf(fd, "POST /sink HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                     "Content-Length: 4\r\n\r\n");
    char go_on[26] = "";
    assert_int_equal(recv(fd, go_on, 25, MSG_WAITALL), 25);
    assert_string_equal(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
    client_sendf(fd, "four");
    client_receive(fd, &a, "POST");
    assert_string_equal(a.body, "4");
    close(fd);

    for (int how = 0; how < 2; how++) { // gone midway
        fd = client_connect(port);
        client_sendf(fd, "POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%.*s",
                     N, N / 2, body);
        wait_for(&n_open, 5 + how);
        struct linger rough = {.l_onoff = 1};
        if (how == 1)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &rough, sizeof(rough));
        close(fd);
        wait_for(&n_aborted, 1 + how);
    }
    fd = client_connect(port); // the server stops midway
    client_sendf(fd, "POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%.*s", N,
                 N / 2, body);
    wait_for(&n_open, 7);
    http_stop(&http);
    assert_int_equal(n_aborted, 3);
    assert_int_equal(n_done, 4);
    close(fd);
    free(body);
}

static void test_full(void **state)
{
    http_stop(&http);
    start_with((struct http_params){.connections = 12, .connections_per_client = 10}, tables);
    int fds[12];
    CLEANUP(answer_clear) struct answer a = {0};
    for (int i = 0; i < 12; i++) {
        fds[i] = client_connect(port);
        client_sendf(fds[i], "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client_receive(fds[i], &a, "GET");
        assert_answer(&a, i < 10 ? 200 : 429);
        assert_string_equal(answer_header(&a, "Connection"), i < 10 ? "" : "close");
    }
    assert_true(http_connections(http) >= 10);
    for (int i = 0; i < 12; i++)
        close(fds[i]);
    for (int i = 0; i < 500 && http_connections(http) > 0; i++)
        usleep(10000);
    client_ask(port, &a, "GET", "/hello", "", NULL);
    assert_answer(&a, 200);

    http_stop(&http);
    start_with((struct http_params){.connections = 3}, tables);
    for (int i = 0; i < 4; i++) {
        fds[i] = client_connect(port);
        client_sendf(fds[i], "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client_receive(fds[i], &a, "GET");
        assert_answer(&a, i < 3 ? 200 : 503);
    }
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

static void test_start(void **state)
{
    struct kb_error err = {0};
    struct http *second = NULL;
    struct http_params p = {.listen = "127.0.0.1", .port = port, .tables = tables};
    assert_fails(err, KB_UNAVAILABLE, "is taken by", http_start(&second, &p, &err));
    p.port = 70000;
    assert_fails(err, KB_BAD_INPUT, "70000", http_start(&second, &p, &err));
    p.port = 0;
    p.listen = "not an address";
    assert_fails(err, KB_BAD_INPUT, "not an address", http_start(&second, &p, &err));
    p.listen = "192.0.2.1";
    assert_fails(err, KB_UNAVAILABLE, "192.0.2.1", http_start(&second, &p, &err));
    assert_null(second);
    http_stop(&second);

    int old = port;
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "GET", "/hello", "", NULL);
    http_stop(&http); // and at once again on the same port
    p = (struct http_params){.port = old};
    start_with(p, tables);
    client_ask(port, &a, "GET", "/hello", "", NULL);
    assert_answer(&a, 200);
}

// An app with one thing to lend, and whether it is lent.
struct library {
    bool closed;
    atomic_int n_lent, n_out;
};

static enum kb_code lend(void *ctx, void **ret, struct kb_error *err)
{
    struct library *l = ctx;
    if (l->closed)
        return kb_fail(err, KB_UNAVAILABLE, "closed today");
    l->n_lent++;
    l->n_out++;
    *ret = "a book";
    return KB_OK;
}

static void take_back(void *ctx, void *loan)
{
    struct library *l = ctx;
    l->n_out--;
}

static void test_loan(void **state)
{
    struct library library = {.closed = true};
    http_stop(&http);
    start_with((struct http_params){.app = {&library, lend, take_back}, .lang = "en"}, tables);
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "GET", "/loan", "", NULL); // none to be had: told, and not called
    assert_answer(&a, 503);
    assert_non_null(strstr(a.body, "closed today"));
    client_ask(port, &a, "GET", "/open", "", NULL);
    assert_answer(&a, 200);
    client_ask(port, &a, "GET", "/lang", "", NULL);
    assert_string_equal(a.body, "en");

    library.closed = false;
    for (int i = 1; i <= 20; i++) {
        client_ask(port, &a, "GET", "/loan", "", NULL);
        assert_string_equal(a.body, "a book");
        assert_int_equal(library.n_lent, i); // asked for twice, lent once
    }
    http_stop(&http);
    assert_int_equal(library.n_out, 0);
}

// The end of the connection comes together with its last bytes: noticed all the same, at once.
static void test_sink_cut(void **state)
{
    enum { N = 40 };
    int64_t begin = kb_now_us();
    for (int i = 0; i < N; i++) {
        int fd = client_connect(port);
        client_sendf(fd, "POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n%s",
                     i % 2 ? "half" : "");
        close(fd);
    }
    wait_for(&n_aborted, N);
    assert_int_equal(n_open, N);
    assert_true(kb_now_us() - begin < 5000000);
}

static void test_sink_guarded(void **state)
{
    http_stop(&http);
    start_with((struct http_params){.token = "secret"}, tables);
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "POST", "/sink", "", "body");
    assert_answer(&a, 401);
    client_ask(port, &a, "POST", "/sink", "Origin: http://evil.example\r\n", "body");
    assert_answer(&a, 403);
    assert_int_equal(n_open, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_slow_loris), TEST(test_idle),         TEST(test_streams),
        TEST(test_wake_storm), TEST(test_later),        TEST(test_stream_ends),
        TEST(test_sink),       TEST(test_full),         TEST(test_start),
        TEST(test_loan),       TEST(test_sink_guarded), TEST(test_sink_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
