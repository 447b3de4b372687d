// Connections to Redis: addresses, answers that are no answers, and a real server that asks for
// passwords, speaks TLS, dies and comes back.
#include "base/text.h"
#include "cluster/internal.h"
#include "tests/cluster/redis_server.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

static struct kb_error err;

static void reply_free(redisReply **r)
{
    freeReplyObject(*r);
}

static struct redis *open_url(const char *url, int timeout_ms, const struct cancel *cancel)
{
    struct redis *r = NULL;
    const struct redis_params p = {.url = url, .timeout_ms = timeout_ms, .cancel = cancel};
    assert_ok(err, redis_open(&r, &p, &err));
    return r;
}

static struct redis *open_server(const struct redis_server *s, const char *rest)
{
    CLEANUP(kb_freep) char *url = redis_server_url(s, rest);
    return open_url(url, 60000, NULL);
}

// Asks until Redis is there again.
static void wait_for(struct redis *r)
{
    enum kb_code code = KB_UNAVAILABLE;
    for (int64_t end = kb_now_us() + 60 * 1000000; code != KB_OK && kb_now_us() < end;
         usleep(10000))
        code = redis_ask(r, NULL, 0, &err, "PING");
    assert_ok(err, code);
}

// --- addresses

static void test_addresses(void **state)
{
    static const struct {
        const char *url, *place, *user, *password, *prefix;
    } good[] = {
        {"redis://h", "redis://h:6379/0", NULL, NULL, "koubo"},
        {"REDIS://h.example:1/", "redis://h.example:1/0", NULL, NULL, "koubo"},
        {"redis://:pass@h/3", "redis://h:6379/3", NULL, "pass", "koubo"},
        {"redis://pass@h", "redis://h:6379/0", NULL, "pass", "koubo"},
        {"rediss://u%20x:p%40%2f%3A@10.0.0.1:7000/99999?prefix=a.b-C_9",
         "rediss://10.0.0.1:7000/99999", "u x", "p@/:", "a.b-C_9"},
        {"redis://u:p@ss:w@[fe80::1]:99", "redis://[fe80::1]:99/0", "u", "p@ss:w", "koubo"},
        {"rediss://[::1]?ca=%2fa%20b.pem&key=k&prefix=p&cert=c", "rediss://[::1]:6379/0", NULL,
         NULL, "p"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct redis_address a;
        assert_ok(err, redis_address_parse(&a, good[i].url, &err));
        assert_string_equal(a.place, good[i].place);
        assert_string_equal(a.prefix, good[i].prefix);
        assert_int_equal(!a.user, !good[i].user);
        assert_int_equal(!a.password, !good[i].password);
        if (a.user)
            assert_string_equal(a.user, good[i].user);
        if (a.password)
            assert_string_equal(a.password, good[i].password);
        if (strstr(good[i].url, "ca="))
            assert_string_equal(a.ca, "/a b.pem");
        redis_address_free(&a);
    }
}

static void test_bad_addresses(void **state)
{
    static const char *const bad[] = {
        "",
        "h:6379",
        "http://h",
        "redis://",
        "redis://:6379",
        "redis://@h",
        "redis://hunter2:@h",
        "redis://user:hun%ter2@h",
        "redis://user:hunter2%00@h",
        "redis://user:hunter2/x@h",
        "redis://user:hunter2?x@h",
        "redis://user:hunter2#x@h",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:hunter2",
        "redis://h:+80",
        "redis://h:",
        "redis://h/hunter2",
        "redis://h/-1",
        "redis://h/100000",
        "redis://h/0/1",
        "redis://h hunter2",
        "redis://h%41",
        "redis://[::1",
        "redis://[::1]hunter2",
        "redis://[fe80::1%eth0]",
        "redis://[]",
        "redis://h?",
        "redis://h?hunter2",
        "redis://h?prefix=",
        "redis://h?prefix=a*",
        "redis://h?prefix=a:b",
        "redis://h?prefix=a&prefix=a",
        "redis://h?prefix=hunter2hunter2hunter2hunter2hunte",
        "redis://h?password=hunter2",
        "redis://h?ca=x",
        "rediss://h?key=x",
        "rediss://h?cert=x&",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct redis *r = NULL;
        err = (struct kb_error){0};
        enum kb_code code = redis_open(&r, &(struct redis_params){.url = bad[i]}, &err);
        if (code != KB_BAD_INPUT || !*err.text || strstr(err.text, "hunter") ||
            strstr(err.kept, "hunter"))
            fail_msg("'%s': %d, %s", bad[i], code, err.text);
        assert_null(r);
    }
    char *longest = kb_alloc(6000);
    memcpy(longest, "redis://", 8);
    memset(longest + 8, 'h', 5000);
    struct redis *r = NULL;
    assert_fails(err, KB_BAD_INPUT, "too long",
                 redis_open(&r, &(struct redis_params){.url = longest}, &err));
    free(longest);
}

// --- answers

// All of text in pieces of n bytes: how many answers it is; -1: none of Redis's.
static int count_answers(const char *text, size_t size, size_t n)
{
    struct redis_answer *a = redis_answer_new();
    int count = 0;
    for (size_t i = 0; count >= 0 && i < size; i += n) {
        redisReply *reply = NULL;
        if (!redis_answer_feed(a, text + i, KB_MIN(n, size - i)))
            count = -1;
        while (count >= 0 && redis_answer_next(a, &reply) && reply) {
            freeReplyObject(reply);
            count++;
        }
        if (count >= 0 && !redis_answer_next(a, &reply))
            count = -1;
    }
    redis_answer_free(&a);
    return count;
}

static void test_answers(void **state)
{
    static const struct {
        const char *text;
        int n;
    } cases[] = {
        {"+OK\r\n", 1},
        {"+OK\r\n:1\r\n-ERR no\r\n$-1\r\n*-1\r\n$0\r\n\r\n*0\r\n", 7},
        {"$3\r\na\nb\r\n*2\r\n$1\r\na\r\n*1\r\n:2\r\n", 2},
        {"*2\r\n$1\r\na\r\n", 0},
        {"$3\r\nab", 0},
        {"\r\n", -1},
        {"\n", -1},
        {"+OK\n", -1},
        {"HTTP/1.1 400 Bad Request\r\n", -1},
        {"$-2\r\n", -1},
        {"$\r\n", -1},
        {"$1x\r\n", -1},
        {"$536870913\r\n", -1},
        {"$99999999999999999999\r\n", -1},
        {"*-2\r\n", -1},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", -1},
        {",1.5\r\n", -1}, // RESP3, which nobody asked for
        {"%1\r\n+a\r\n+b\r\n", -1},
        {"#t\r\n", -1},
        {"(12\r\n", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t n = 1; n < 40; n += 6)
            if (count_answers(cases[i].text, strlen(cases[i].text), n) != cases[i].n)
                fail_msg("'%s' in pieces of %zu", cases[i].text, n);
    char line[5000];
    memset(line, '+', sizeof(line));
    assert_int_equal(count_answers(line, sizeof(line), 777), -1); // a line without an end
}

// Lists promise as much as an answer may have, and then one more promises anything.
static void test_promises_are_bounded(void **state)
{
    CLEANUP(text_free) struct text text = {0};
    text_addf(&text, "*%d\r\n*%d\r\n", REDIS_ANSWER_PIECES, REDIS_ANSWER_PIECES - 1);
    for (int i = 0; i < REDIS_ANSWER_PIECES - 1; i++)
        text_add(&text, ":1\r\n");
    text_add(&text, "*2000000000\r\n*0\r\n");
    struct redis_answer *a = redis_answer_new();
    redisReply *reply = NULL;
    assert_true(redis_answer_feed(a, text.data, text.size));
    assert_true(redis_answer_next(a, &reply));
    assert_null(reply);
    redis_answer_free(&a);
}

// What is too long is left out, and what comes behind it is there.
static void test_answers_are_bounded(void **state)
{
    enum { N = REDIS_STRING_BYTES + 1 };
    CLEANUP(text_free) struct text text = {0};
    CLEANUP(kb_freep) char *bulk = kb_alloc(N + 1);
    memset(bulk, 'x', N);
    // A string too long, then the longest that may be, then more of them than an answer holds.
    enum { COUNT = REDIS_ANSWER_BYTES / REDIS_STRING_BYTES + 3 };
    text_addf(&text, "*%d\r\n$2\r\nid\r\n$%d\r\n%s\r\n", COUNT, N, bulk);
    for (int i = 2; i < COUNT; i++)
        text_addf(&text, "$%d\r\n%s\r\n", N - 1, bulk + 1);
    text_addf(&text, "*2\r\n:7\r\n*3\r\n:1\r\n*%d\r\n", REDIS_ANSWER_PIECES);
    for (int i = 0; i < REDIS_ANSWER_PIECES / 2; i++)
        text_add(&text, "$1\r\na\r\n*1\r\n:1\r\n");
    text_addf(&text, "+last\r\n*2147483647\r\n");

    struct redis_answer *a = redis_answer_new();
    CLEANUP(reply_free) redisReply *first = NULL;
    CLEANUP(reply_free) redisReply *second = NULL;
    redisReply *third = NULL;
    for (size_t i = 0; i < text.size; i += 100000) {
        assert_true(redis_answer_feed(a, text.data + i, KB_MIN((size_t)100000, text.size - i)));
        assert_true(redis_answer_next(a, first ? second ? &third : &second : &first));
    }
    assert_int_equal(first->elements, COUNT);
    assert_string_equal(first->element[0]->str, "id");
    assert_int_equal(first->element[1]->type, REDIS_REPLY_NIL);
    assert_int_equal(first->element[2]->len, N - 1);
    assert_int_equal(first->element[COUNT - 1]->type, REDIS_REPLY_NIL);
    assert_int_equal(second->elements, 2);
    assert_int_equal(second->element[0]->integer, 7);
    assert_int_equal(second->element[1]->elements, 3);
    assert_int_equal(second->element[1]->element[0]->integer, 1);
    assert_int_equal(second->element[1]->element[1]->type, REDIS_REPLY_NIL);
    assert_string_equal(second->element[1]->element[2]->str, "last");
    assert_null(third);

    // A list as long as can be said costs nothing, and its elements neither.
    CLEANUP(text_free) struct text more = {0};
    while (more.size < 1 << 20)
        text_add(&more, "$10\r\n0123456789\r\n*2\r\n:1\r\n:2\r\n");
    assert_true(redis_answer_feed(a, more.data, more.size));
    assert_true(redis_answer_next(a, &third));
    assert_null(third);
    redis_answer_free(&a);
}

// --- somebody who is no Redis

// Accepts one connection after the other; to each it says text, n times, and then waits until it
// is closed, or closes it.
struct stranger {
    int fd, port;
    const char *text;
    size_t size;
    int64_t times;
    int pause_ms; // before each
    bool closes;
    _Atomic int n_seen;
    pthread_t thread;
};

static void *be_strange(void *opaque)
{
    struct stranger *s = opaque;
    for (;;) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        s->n_seen++;
        char c[4096];
        bool is_there = true;
        for (int64_t i = 0; is_there && i < s->times; i++) {
            usleep((useconds_t)s->pause_ms * 1000);
            is_there = send(fd, s->text, s->size, MSG_NOSIGNAL) == (ssize_t)s->size;
        }
        while (is_there && !s->closes && recv(fd, c, sizeof(c), 0) > 0) {
        }
        close(fd);
    }
}

static void stranger_start(struct stranger *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, be_strange, s), 0);
}

static void stranger_stop(struct stranger *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static void test_strangers(void **state)
{
    static const char page[] = "HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n";
    static const char greeting[] = "+OK\r\n"; // to CLIENT SETNAME; then nothing
    static const char twice[] = "+OK\r\n+PONG\r\n+PONG\r\n";
    static const char endless[] = "*2147483647\r\n";
    static char bulk[65536];
    memset(bulk, 'x', sizeof(bulk));
    memcpy(bulk, "+OK\r\n$536870912\r\n", 17);
    static const struct {
        struct stranger who;
        const char *sentence;
        int timeout_ms;
    } cases[] = {
        {{.times = 0, .closes = true}, "broke off", 60000},
        {{.text = "+OK", .size = 3, .times = 1, .closes = true}, "broke off", 60000},
        {{.text = page, .size = sizeof(page) - 1, .times = 1}, "no Redis", 60000},
        {{.times = 0}, "in time", 100},
        {{.text = greeting, .size = 5, .times = 1}, "in time", 100},
        {{.text = greeting, .size = 5, .times = 1, .closes = true}, "broke off", 60000},
        {{.text = twice, .size = sizeof(twice) - 1, .times = 1}, "no Redis", 60000},
        // Drop by drop: each in time, the whole never.
        {{.text = "+", .size = 1, .times = 10000, .pause_ms = 5}, "", 30},
        {{.text = endless, .size = sizeof(endless) - 1, .times = 1000000}, "no Redis", 60000},
        {{.text = bulk, .size = sizeof(bulk), .times = 10}, "", 100},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stranger s = cases[i].who;
        stranger_start(&s);
        CLEANUP(kb_freep) char *url = kb_printf("redis://127.0.0.1:%d", s.port);
        CLEANUP(redis_close) struct redis *r = open_url(url, cases[i].timeout_ms, NULL);
        enum kb_code code = redis_ask(r, NULL, 0, &err, "PING");
        if (code == KB_OK) // what came too much is found by the next
            code = redis_ask(r, NULL, 0, &err, "PING");
        assert_false(redis_is_connected(r));
        if (code != KB_UNAVAILABLE || !strstr(err.text, cases[i].sentence) ||
            !strstr(err.text, redis_place(r)))
            fail_msg("case %zu: %d, %s", i, code, err.text);
        redis_close(&r);
        stranger_stop(&s);
    }
}

// Nobody is asked again and again.
static void test_backoff(void **state)
{
    struct stranger s = {.closes = true};
    stranger_start(&s);
    CLEANUP(kb_freep) char *url = kb_printf("redis://127.0.0.1:%d", s.port);
    CLEANUP(redis_close) struct redis *r = open_url(url, 60000, NULL);
    int n = 0;
    int64_t begin = kb_now_us();
    for (; kb_now_us() - begin < 800000; n++) {
        assert_fails(err, KB_UNAVAILABLE, "broke off", redis_ask(r, NULL, 0, &err, "PING"));
        usleep(1000);
    }
    assert_true(n > 10);
    assert_in_range(s.n_seen, 1, 5); // at 0, 0.1, 0.3, 0.7 s
    stranger_stop(&s);

    // The secret of a server that quotes what it was sent.
    static const char quotes[] = "-ERR unknown command `AUTH`, args: `hunter2`\r\n";
    s = (struct stranger){.text = quotes, .size = sizeof(quotes) - 1, .times = 1};
    stranger_start(&s);
    CLEANUP(kb_freep) char *with = kb_printf("redis://me:hunter2@127.0.0.1:%d", s.port);
    redis_close(&r);
    r = open_url(with, 60000, NULL);
    for (int i = 0; i < 2; i++) {
        assert_fails(err, KB_BAD_INPUT, "refuses", redis_ask(r, NULL, 0, &err, "PING"));
        assert_null(strstr(err.text, "hunter2"));
        assert_null(strstr(err.kept, "hunter2"));
    }
    stranger_stop(&s);
}

static void *cancel_later(void *opaque)
{
    usleep(50000);
    cancel_request(opaque);
    return NULL;
}

// The limit is a minute; that it ends at all while the test has patience is by the flag.
static void test_cancel(void **state)
{
    struct stranger mute = {0}, greets = {.text = "+OK\r\n", .size = 5, .times = 1};
    struct stranger *who[] = {&mute, &greets};
    for (size_t i = 0; i < ARRAY_LEN(who); i++) {
        stranger_start(who[i]);
        CLEANUP(kb_freep)
        char *url = kb_printf("redis%s://127.0.0.1:%d", i == 0 ? "s" : "", who[i]->port);
        struct cancel cancel = {0};
        CLEANUP(redis_close) struct redis *r = open_url(url, 60000, &cancel);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &cancel), 0);
        int64_t begin = kb_now_us();
        assert_fails(err, KB_CANCELLED, "", redis_ask(r, NULL, 60000, &err, "PING"));
        assert_true(kb_now_us() - begin < 30 * 1000000);
        pthread_join(thread, NULL);
        assert_false(redis_is_connected(r));
        redis_close(&r);
        stranger_stop(who[i]);
    }
}

// Names of "….slow" are looked up until somebody lets it go on. libcurl calls this one.
static _Atomic bool may_go_on;

__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **ret)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    if (!name || !strstr(name, ".slow"))
        return real(name, service, hints, ret);
    for (int i = 0; i < 6000 && !may_go_on; i++)
        usleep(10000);
    return EAI_AGAIN;
}

// Neither the time limit nor the cancel flag waits for a name server that says nothing.
static void test_slow_names(void **state)
{
    struct cancel cancel = {0};
    for (int i = 0; i < 2; i++) {
        CLEANUP(redis_close)
        struct redis *r = open_url("redis://redis.slow", i == 0 ? 100 : 60000, &cancel);
        pthread_t thread;
        if (i == 1)
            assert_int_equal(pthread_create(&thread, NULL, cancel_later, &cancel), 0);
        int64_t begin = kb_now_us();
        assert_fails(err, i == 0 ? KB_UNAVAILABLE : KB_CANCELLED, "",
                     redis_ask(r, NULL, 0, &err, "PING"));
        redis_close(&r);
        assert_true(kb_now_us() - begin < 30 * 1000000);
        if (i == 1)
            pthread_join(thread, NULL);
    }
    may_go_on = true;
}

// --- a real one

static void test_commands(void **state)
{
    if (!redis_server_is_here())
        SKIP_TEST("no redis-server here");
    struct redis_server server;
    redis_server_start(&server, NULL);
    CLEANUP(redis_close) struct redis *r = open_server(&server, "/5?prefix=studio");
    assert_string_equal(redis_prefix(r), "studio");
    assert_false(redis_is_connected(r));
    CLEANUP(reply_free) redisReply *reply = NULL;
    assert_ok(err, redis_ask(r, NULL, 0, &err, "SET %s:a %b", "x", "a\0b c", (size_t)5));
    assert_true(redis_is_connected(r));
    assert_ok(err, redis_ask(r, &reply, 0, &err, "GET x:a"));
    assert_int_equal(reply->len, 5);
    assert_memory_equal(reply->str, "a\0b c", 5);
    assert_fails(err, KB_INTERNAL, "WRONGTYPE",
                 redis_ask(r, NULL, 0, &err, "INCRBY x:a b") == KB_INTERNAL
                     ? redis_ask(r, NULL, 0, &err, "LPUSH x:a %d", 1)
                     : KB_OK);
    // Several at once: the first error is told, the others are done, and they count from anew.
    redis_note(r, "SET n 1");
    redis_note(r, "LPUSH n 1");
    redis_note(r, "NONSENSE");
    redis_note(r, "INCR n");
    assert_fails(err, KB_INTERNAL, "WRONGTYPE", redis_send_noted(r, &err));
    assert_ok(err, redis_send_noted(r, &err));
    freeReplyObject(TAKE(reply));
    assert_ok(err, redis_ask(r, &reply, 0, &err, "GET n"));
    assert_string_equal(reply->str, "2");
    // The database is the one of the address, and the connection has a name.
    freeReplyObject(TAKE(reply));
    assert_ok(err, redis_ask(r, &reply, 0, &err, "CLIENT LIST"));
    assert_non_null(strstr(reply->str, "name=koubo"));
    assert_non_null(strstr(reply->str, "db=5"));
    redis_close(&r);
    r = open_server(&server, "/99");
    assert_fails(err, KB_INTERNAL, "out of range", redis_ask(r, NULL, 0, &err, "PING"));
    redis_server_stop(&server);
}

static void test_comes_back(void **state)
{
    if (!redis_server_is_here())
        SKIP_TEST("no redis-server here");
    struct redis_server server;
    redis_server_start(&server, NULL);
    CLEANUP(redis_close) struct redis *r = open_server(&server, "");
    assert_ok(err, redis_ask(r, NULL, 0, &err, "SET a 1"));
    redis_server_kill(&server);
    assert_fails(err, KB_UNAVAILABLE, "", redis_ask(r, NULL, 0, &err, "PING"));
    assert_false(redis_is_connected(r));
    assert_fails(err, KB_UNAVAILABLE, "", redis_ask(r, NULL, 0, &err, "PING"));
    // What was noted while it was away is not sent later.
    redis_note(r, "SET late 1");
    assert_fails(err, KB_UNAVAILABLE, "", redis_send_noted(r, &err));
    redis_server_again(&server);
    wait_for(r);
    CLEANUP(reply_free) redisReply *reply = NULL;
    assert_ok(err, redis_ask(r, &reply, 0, &err, "EXISTS a late"));
    assert_int_equal(reply->integer, 0);
    // It gets too much in its memory to take more: that is for now.
    assert_ok(err, redis_ask(r, NULL, 0, &err, "CONFIG SET maxmemory 1"));
    assert_fails(err, KB_UNAVAILABLE, "OOM", redis_ask(r, NULL, 0, &err, "SET a 1"));
    assert_true(redis_is_connected(r));
    assert_ok(err, redis_ask(r, NULL, 0, &err, "CONFIG SET maxmemory 0"));
    // A replica takes nothing: under the name there may be another master by now.
    assert_ok(err, redis_ask(r, NULL, 0, &err, "REPLICAOF 127.0.0.1 1"));
    assert_fails(err, KB_UNAVAILABLE, "READONLY", redis_ask(r, NULL, 0, &err, "SET a 1"));
    assert_false(redis_is_connected(r));
    wait_for(r);
    redis_server_stop(&server);
}

static void test_users(void **state)
{
    if (!redis_server_is_here())
        SKIP_TEST("no redis-server here");
    static const char *const extra[] = {"--user",  "default", "off",   "--user", "little",  "on",
                                        ">p%w@/:", "-@all",   "+ping", "+get",   "~mine:*", NULL};
    struct redis_server server;
    redis_server_start(&server, extra);
    static const struct {
        const char *before;
        const char *sentence;
    } refused[] = {{"", "NOAUTH"},
                   {"wrong@", "refuses the user or the password"},
                   {"little:wrong@", "refuses the user or the password"},
                   {"nobody:p%25w%40%2f%3a@", "refuses the user or the password"}};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        CLEANUP(kb_freep)
        char *url = kb_printf("redis://%s127.0.0.1:%d", refused[i].before, server.port);
        CLEANUP(redis_close) struct redis *r = open_url(url, 60000, NULL);
        assert_fails(err, KB_BAD_INPUT, refused[i].sentence, redis_ask(r, NULL, 0, &err, "PING"));
        assert_fails(err, KB_BAD_INPUT, refused[i].sentence, redis_ask(r, NULL, 0, &err, "PING"));
        assert_false(redis_is_connected(r));
    }
    CLEANUP(kb_freep)
    char *url = kb_printf("redis://little:p%%25w%%40%%2f%%3a@127.0.0.1:%d", server.port);
    CLEANUP(redis_close) struct redis *r = open_url(url, 60000, NULL);
    assert_ok(err, redis_ask(r, NULL, 0, &err, "PING")); // though it may not say its name
    assert_ok(err, redis_ask(r, NULL, 0, &err, "GET mine:a"));
    assert_fails(err, KB_BAD_INPUT, "NOPERM", redis_ask(r, NULL, 0, &err, "GET yours:a"));
    assert_fails(err, KB_BAD_INPUT, "NOPERM", redis_ask(r, NULL, 0, &err, "SET mine:a 1"));
    assert_true(redis_is_connected(r));
    redis_server_stop(&server);
}

static int patience_ms = 60000;

static void try_tls(const struct redis_server *s, const char *host, const char *query,
                    enum kb_code wanted, const char *sentence)
{
    CLEANUP(text_free) struct text url = {0};
    text_addf(&url, "rediss://%s:%d", host, s->tls_port);
    for (const char *p = query; *p; p++) // @ is the folder
        text_addf(&url, *p == '@' ? "%s" : "%.1s", *p == '@' ? s->folder : p);
    CLEANUP(redis_close) struct redis *r = open_url(text_get(&url), patience_ms, NULL);
    err = (struct kb_error){0};
    enum kb_code code = redis_ask(r, NULL, 0, &err, "PING");
    if (code == KB_OK) // many at once, and much
        for (int i = 0; i < 200; i++)
            redis_note(r, "SET a %b", s->extra, (size_t)100);
    if (code == KB_OK)
        code = redis_send_noted(r, &err);
    if (code != wanted || !strstr(err.text, sentence))
        fail_msg("%s: %d, %s", text_get(&url), code, err.text);
}

static void test_tls(void **state)
{
    if (!redis_server_is_here() || system("openssl version >/dev/null 2>&1") != 0)
        SKIP_TEST("no redis-server or openssl here");
    struct redis_server server;
    redis_server_start_tls(&server, false);
    try_tls(&server, "127.0.0.1", "?ca=@/ca.pem", KB_OK, "");
    try_tls(&server, "localhost", "?ca=@/ca.pem&prefix=p", KB_OK, "");
    try_tls(&server, "127.0.0.1", "", KB_BAD_INPUT, "certificate");
    try_tls(&server, "127.0.0.2", "?ca=@/ca.pem", KB_BAD_INPUT, "certificate");
    try_tls(&server, "127.0.0.1", "?ca=@/log", KB_BAD_INPUT, "PEM");
    try_tls(&server, "127.0.0.1", "?ca=@/none", KB_BAD_INPUT, "cannot be read");
    try_tls(&server, "127.0.0.1", "?ca=@/ca.pem&cert=@/none", KB_BAD_INPUT, "cannot be read");
    // TLS where none is spoken, and none where it is.
    int plain = server.port, tls = server.tls_port;
    server.tls_port = plain;
    patience_ms = 200; // it waits for the rest of a command
    try_tls(&server, "127.0.0.1", "?ca=@/ca.pem", KB_UNAVAILABLE, "");
    patience_ms = 60000;
    CLEANUP(kb_freep) char *url = kb_printf("redis://127.0.0.1:%d", tls);
    CLEANUP(redis_close) struct redis *r = open_url(url, 60000, NULL);
    assert_fails(err, KB_UNAVAILABLE, "", redis_ask(r, NULL, 0, &err, "PING"));
    redis_server_stop(&server);

    redis_server_start_tls(&server, true);
    try_tls(&server, "127.0.0.1", "?ca=@/ca.pem", KB_UNAVAILABLE, "");
    try_tls(&server, "127.0.0.1", "?ca=@/ca.pem&cert=@/tls.pem", KB_OK, "");
    try_tls(&server, "127.0.0.1", "?ca=@/ca.pem&cert=@/ca.pem&key=@/key.pem", KB_OK, "");
    redis_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answers_are_bounded),
        cmocka_unit_test(test_promises_are_bounded),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_slow_names),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
