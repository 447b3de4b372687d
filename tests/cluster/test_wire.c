// What goes over Redis between a head and its nodes: whole, and malformed, forged, repeated, far
// too long or lost.
#include "base/text.h"
#include "cluster/internal.h"
#include "tests/cluster/redis_server.h"

#include <pthread.h>

#define NONCE  "00112233445566778899aabbccddeeff"
#define SECRET "8f0e2c5d8f0e2c5d8f0e2c5d8f0e2c5d8f0e2c5d8f0e2c5d8f0e2c5d8f0e2c5d"

static struct kb_error err;
static bool is_here;
static struct redis_server server;
static struct redis *redis; // of each test its own, to an empty server

static struct redis *open_redis(void)
{
    CLEANUP(kb_freep) char *url = redis_server_url(&server, "/?prefix=p");
    struct redis *r = NULL;
    assert_ok(err, redis_open(&r, &(struct redis_params){.url = url, .timeout_ms = 60000}, &err));
    return r;
}

static int set_up_all(void **state)
{
    is_here = redis_server_is_here();
    if (is_here)
        redis_server_start(&server, NULL);
    return 0;
}

static int tear_down_all(void **state)
{
    redis_server_stop(&server);
    return 0;
}

static int set_up(void **state)
{
    if (!is_here)
        return 0;
    redis = open_redis();
    assert_ok(err, redis_ask(redis, NULL, 0, &err, "FLUSHALL"));
    return 0;
}

static int tear_down(void **state)
{
    redis_close(&redis);
    return 0;
}

static long long number(const char *command)
{
    redisReply *reply = NULL;
    assert_ok(err, redis_ask(redis, &reply, 0, &err, command));
    long long n = reply->type == REDIS_REPLY_ARRAY ? reply->element[0]->integer : reply->integer;
    freeReplyObject(reply);
    return n;
}

static void test_names(void **state)
{
    static const char *const good[] = {"a", "n1", "0", "a-", "abcdefghijklmnopqrstuvwxyz-01234"};
    static const char *const bad[] = {
        "", "-a", "A", "a b", "a:b", "\xe4\xb8\xad", "a\n", "abcdefghijklmnopqrstuvwxyz-012345"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(node_name_is_valid(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(node_name_is_valid(bad[i]));
}

static void test_signature(void **state)
{
    char mac[WIRE_MAC_BYTES]; // RFC 4231, test case 2
    wire_sign(mac, "Jefe", "what do ya want for nothing?");
    assert_string_equal(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_true(wire_is_signed(mac, "Jefe", "what do ya want for nothing?"));
    assert_false(wire_is_signed(mac, "Jefe", "what do ya want for nothing"));
    assert_false(wire_is_signed(mac, "jefe", "what do ya want for nothing?"));
    mac[63] ^= 1;
    assert_false(wire_is_signed(mac, "Jefe", "what do ya want for nothing?"));
    assert_false(wire_is_signed("", "Jefe", "what do ya want for nothing?"));
}

static void test_pulse(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    char pulse[WIRE_NONCE_BYTES] = "x";
    assert_ok(err, wire_pulse(redis, pulse, &err));
    assert_string_equal(pulse, "");
    assert_ok(err, wire_set_pulse(redis, NONCE, &err));
    assert_ok(err, wire_pulse(redis, pulse, &err));
    assert_string_equal(pulse, NONCE);
    assert_in_range(number("TTL p:pulse"), 1, 60);
    static const char *const bad[] = {"", "short", "00112233445566778899AABBCCDDEEFF",
                                      "00112233445566778899aabbccddeeff0"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_ok(err, redis_ask(redis, NULL, 0, &err, "SET p:pulse %s", bad[i]));
        assert_ok(err, wire_pulse(redis, pulse, &err));
        assert_string_equal(pulse, "");
    }
}

static void test_head(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    bool is_head = false;
    assert_ok(err, wire_be_head(redis, "one", 3600000, &is_head, &err));
    assert_true(is_head);
    assert_ok(err, wire_be_head(redis, "two", 3600000, &is_head, &err));
    assert_false(is_head);
    assert_ok(err, wire_leave_head(redis, "two", &err)); // is not, so cannot
    assert_ok(err, wire_be_head(redis, "one", 7200000, &is_head, &err));
    assert_true(is_head);
    assert_in_range(number("PTTL p:head"), 3600001, 7200000);
    assert_ok(err, wire_leave_head(redis, "one", &err));
    assert_int_equal(number("EXISTS p:head"), 0);
    assert_ok(err, wire_leave_head(redis, "one", &err));
    assert_ok(err, wire_be_head(redis, "two", 1, &is_head, &err));
    while (number("EXISTS p:head") > 0) { // its time runs out
    }
    assert_ok(err, wire_be_head(redis, "one", 3600000, &is_head, &err));
    assert_true(is_head);
    // What was watched is forgotten: a command after it is done at once.
    assert_ok(err, redis_ask(redis, NULL, 0, &err, "SET p:head x"));
    assert_ok(err, wire_be_head(redis, "one", 1000, &is_head, &err));
    assert_false(is_head);
}

// Two that want to be it at the same time.
static void *race_for_head(void *opaque)
{
    int *wins = opaque;
    struct redis *r = open_redis();
    struct kb_error ignored = {0};
    CLEANUP(kb_freep) char *name = kb_printf("%p", opaque);
    bool is_head = false;
    *wins = 0;
    for (int i = 0; i < 200; i++) {
        if (wire_be_head(r, name, 60000, &is_head, &ignored) != KB_OK || !is_head)
            continue;
        // Nobody else is until it leaves.
        redisReply *reply = NULL;
        for (int look = 0; look < 3; look++) {
            if (redis_ask(r, &reply, 0, &ignored, "GET p:head") != KB_OK ||
                reply->type != REDIS_REPLY_STRING || strcmp(reply->str, name) != 0)
                *wins = -1000000;
            freeReplyObject(reply);
            reply = NULL;
        }
        (*wins)++;
        wire_leave_head(r, name, &ignored);
    }
    redis_close(&r);
    return NULL;
}

static void test_one_head(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    pthread_t threads[4];
    int wins[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_for_head, &wins[i]), 0);
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(wins[i] >= 0);
        sum += wins[i];
    }
    assert_true(sum > 0);
}

// --- offers

static void offer(int64_t job, int64_t lease, char id[WIRE_ID_BYTES])
{
    assert_ok(err, wire_offer(redis, job, lease, id, &err));
}

static void test_offers(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    char ids[3][WIRE_ID_BYTES];
    struct wire_offer got[8];
    int n = 7;
    assert_ok(err, wire_take(redis, "n1", 0, got, 8, &n, &err)); // makes the group
    assert_int_equal(n, 0);
    offer(1, INT64_MAX, ids[0]);
    offer(2, 20, ids[1]);
    offer(3, 30, ids[2]);
    assert_ok(err, wire_take(redis, "n1", 0, got, 2, &n, &err));
    assert_int_equal(n, 2);
    assert_int_equal(got[0].job, 1);
    assert_true(got[0].lease == INT64_MAX);
    assert_string_equal(got[0].id, ids[0]);
    assert_int_equal(got[1].lease, 20);
    assert_ok(err, wire_take(redis, "n2", 1000, got, 8, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(got[0].job, 3);
    assert_ok(err, wire_take(redis, "n2", 1, got, 8, &n, &err)); // each only once
    assert_int_equal(n, 0);
    assert_int_equal(number("XPENDING p:jobs nodes"), 3);
    for (int i = 0; i < 3; i++)
        assert_ok(err, wire_withdraw(redis, ids[i], &err));
    assert_ok(err, wire_withdraw(redis, ids[0], &err));
    assert_int_equal(number("XPENDING p:jobs nodes"), 0);
    assert_int_equal(number("XLEN p:jobs"), 0);
    // One that nobody has taken yet.
    offer(4, 40, ids[0]);
    assert_ok(err, wire_withdraw(redis, ids[0], &err));
    assert_ok(err, wire_take(redis, "n1", 0, got, 8, &n, &err));
    assert_int_equal(n, 0);
}

static void test_offers_that_are_none(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    static const char *const bad[] = {
        "job 1",
        "job 1 lease 0",
        "job 0 lease 1",
        "job -1 lease 1",
        "job +1 lease 1",
        "job 01 lease 1",
        "job 1x lease 1",
        "job 1 lease 1 more 1",
        "job 1 job 1",
        "lease 1 lease 1",
        "job 1 lease",
        "JOB 1 lease 1",
        "job 1 lease 9223372036854775808",
        "job 1 lease 99999999999999999999",
        "job 1 lease 1.0",
        "job 0x1 lease 1",
    };
    size_t n_bad = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(kb_freep) char *command = kb_printf("XADD p:jobs * %s", bad[i]);
        n_bad += redis_ask(redis, NULL, 0, &err, command) == KB_OK;
    }
    assert_ok(err,
              redis_ask(redis, NULL, 0, &err, "XADD p:jobs * job %b lease 1", "1\0", (size_t)2));
    assert_true(n_bad + 2 > ARRAY_LEN(bad)); // Redis itself refuses a field without a value
    char id[WIRE_ID_BYTES];
    struct wire_offer got[64];
    int n = 0;
    offer(1, 2, id);
    assert_ok(err, wire_take(redis, "n1", 0, got, 64, &n, &err));
    assert_int_equal(n, 1);
    assert_string_equal(got[0].id, id);
    assert_int_equal(number("XLEN p:jobs"), 1); // they are taken out
    assert_int_equal(number("XPENDING p:jobs nodes"), 1);
}

static void *flush_later(void *opaque)
{
    usleep(100000);
    struct redis *r = open_redis();
    struct kb_error ignored = {0};
    redis_ask(r, NULL, 0, &ignored, "FLUSHALL");
    char id[WIRE_ID_BYTES];
    wire_offer(r, 5, 50, id, &ignored);
    redis_close(&r);
    return NULL;
}

// Redis forgets the group: before, and while a node waits.
static void test_offers_after_all_is_lost(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    char id[WIRE_ID_BYTES];
    struct wire_offer got[8];
    int n = 0;
    offer(1, 10, id);
    assert_ok(err, wire_take(redis, "n1", 0, got, 8, &n, &err));
    assert_int_equal(n, 1);
    assert_ok(err, redis_ask(redis, NULL, 0, &err, "FLUSHALL"));
    offer(1, 11, id);
    assert_ok(err, wire_take(redis, "n1", 0, got, 8, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(got[0].lease, 11);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flush_later, NULL), 0);
    n = 0;
    for (int64_t end = kb_now_us() + 60 * 1000000; n == 0 && kb_now_us() < end;)
        assert_ok(err, wire_take(redis, "n1", 60000, got, 8, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(got[0].lease, 50);
    pthread_join(thread, NULL);
    // The key is something else altogether: a sentence, and no end of the program.
    assert_ok(err, redis_ask(redis, NULL, 0, &err, "SET p:jobs x"));
    assert_fails(err, KB_INTERNAL, "WRONGTYPE", wire_take(redis, "n1", 0, got, 8, &n, &err));
    assert_fails(err, KB_INTERNAL, "WRONGTYPE", wire_offer(redis, 1, 1, id, &err));
}

// --- messages

static void tell(const char *is)
{
    assert_ok(err, wire_tell(redis, "n1", SECRET, NONCE, json_pack("{s:s}", "is", is), &err));
}

// What the next that is heard calls itself, "" if it is nothing.
static const char *hear(char after[WIRE_ID_BYTES])
{
    static char is[64];
    struct wire_told told;
    int n = 0;
    assert_ok(err, wire_hear(redis, after, 0, &told, 1, &n, NULL, &err));
    snprintf(is, sizeof(is), "%s", n ? wire_is(told.body) : "");
    if (n)
        wire_told_free(&told);
    return is;
}

static void test_told(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    char after[WIRE_ID_BYTES] = "$", again[WIRE_ID_BYTES] = "$";
    struct wire_told told[8];
    int n = 0;
    tell("before");
    assert_ok(err, wire_hear(redis, after, 0, told, 8, &n, NULL, &err));
    assert_int_equal(n, 0);
    tell("one");
    assert_ok(err, wire_tell(redis, "n2", SECRET, NONCE,
                             json_pack("{s:s, s:s}", "is", "two", "why", "a \"b\" \xe4\xb8\xad\n"),
                             &err));
    tell("three");
    assert_string_equal(hear(again), ""); // "$" is now
    assert_ok(err, wire_hear(redis, after, 60000, told, 2, &n, NULL, &err));
    assert_int_equal(n, 2);
    assert_string_equal(wire_is(told[0].body), "one");
    assert_string_equal(told[0].node, "n1");
    assert_string_equal(told[0].nonce, NONCE);
    assert_string_equal(told[1].node, "n2");
    assert_string_equal(json_string_value(json_object_get(told[1].body, "why")),
                        "a \"b\" \xe4\xb8\xad\n");
    assert_true(wire_is_by(&told[0], SECRET));
    assert_true(wire_is_by(&told[1], SECRET));
    assert_false(wire_is_by(&told[0], "other"));
    // Another's, with another nonce, with another body.
    snprintf(told[0].node, sizeof(told[0].node), "n2");
    assert_false(wire_is_by(&told[0], SECRET));
    told[1].nonce[0] = 'f';
    assert_false(wire_is_by(&told[1], SECRET));
    told[1].nonce[0] = '0';
    assert_true(wire_is_by(&told[1], SECRET));
    told[1].text[8] = 'x';
    assert_false(wire_is_by(&told[1], SECRET));
    wire_told_free(&told[0]);
    wire_told_free(&told[1]);
    assert_string_equal(hear(after), "three");
    assert_string_equal(hear(after), "");

    char *much = kb_alloc(WIRE_BYTES + 1);
    memset(much, 'x', WIRE_BYTES);
    assert_fails(err, KB_INTERNAL, "longer",
                 wire_tell(redis, "n1", SECRET, NONCE, json_pack("{s:s}", "is", much), &err));
    much[WIRE_BYTES - 9] = '\0'; // {"is":"…"}
    tell(much);
    int64_t length = 0;
    assert_ok(err, wire_hear(redis, after, 0, told, 8, &n, NULL, &err));
    assert_int_equal(n, 1);
    length = (int64_t)strlen(told[0].text);
    assert_int_equal(length, WIRE_BYTES);
    assert_true(wire_is_by(&told[0], SECRET));
    wire_told_free(&told[0]);
    free(much);
}

#define MAC "0000000000000000000000000000000000000000000000000000000000000000"

// They are passed over, and do not hide what comes behind them.
static void test_told_malformed(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    static const char *const bad[] = {
        "body {}",
        "node n1 nonce " NONCE " mac " MAC,
        "node n1 nonce " NONCE " mac " MAC " body {} more x",
        "node n1 nonce " NONCE " mac " MAC " mac " MAC,
        "node N1 nonce " NONCE " mac " MAC " body {}",
        "node abcdefghijklmnopqrstuvwxyz-0123456 nonce " NONCE " mac " MAC " body {}",
        "node n1 nonce " NONCE "0 mac " MAC " body {}",
        "node n1 nonce x mac " MAC " body {}",
        "node n1 nonce " NONCE " mac " MAC "0 body {}",
        "node n1 nonce " NONCE " mac g body {}",
    };
    char after[WIRE_ID_BYTES] = "0-0";
    struct wire_told told[64];
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(kb_freep) char *command = kb_printf("XADD p:told * %s", bad[i]);
        assert_ok(err, redis_ask(redis, NULL, 0, &err, command));
    }
    static const char *const nul[] = {"node %b nonce " NONCE " mac " MAC " body {}",
                                      "node n nonce " NONCE " mac " MAC " body %b"};
    for (size_t i = 0; i < ARRAY_LEN(nul); i++) {
        CLEANUP(kb_freep) char *command = kb_printf("XADD p:told * %s", nul[i]);
        assert_ok(err, redis_ask(redis, NULL, 0, &err, command, "n\0n", (size_t)3));
    }
    tell("good");
    assert_ok(err, wire_hear(redis, after, 0, told, 64, &n, NULL, &err));
    assert_int_equal(n, 1);
    assert_string_equal(wire_is(told[0].body), "good");
    wire_told_free(&told[0]);

    // Of the right shape, but no message: they are there, for who counts them, without a body.
    static const char *const odd[] = {"",
                                      "[]",
                                      "{",
                                      "null",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}",
                                      "{}x"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        assert_ok(err, redis_ask(redis, NULL, 0, &err,
                                 "XADD p:told * body %s node n1 mac " MAC " nonce " NONCE, odd[i]));
    assert_ok(err, wire_hear(redis, after, 0, told, 64, &n, NULL, &err));
    assert_int_equal(n, ARRAY_LEN(odd));
    for (int i = 0; i < n; i++) {
        assert_null(told[i].body);
        assert_string_equal(wire_is(told[i].body), "");
        assert_false(wire_is_by(&told[i], SECRET));
        wire_told_free(&told[i]);
    }
}

// An entry of n fields, past hiredis, which takes long to write that down.
static void add_fields(int n)
{
    CLEANUP(text_free) struct text text = {0};
    text_addf(&text, "*%d\r\n$4\r\nXADD\r\n$6\r\np:told\r\n$1\r\n*\r\n", 3 + 2 * n);
    for (int i = 0; i < n; i++)
        text_add(&text, "$1\r\nf\r\n$1\r\nv\r\n");
    CLEANUP(kb_freep) char *url = redis_server_url(&server, "");
    struct redis_address address;
    struct redis_link *link = NULL;
    assert_ok(err, redis_address_parse(&address, url, &err));
    assert_ok(err, redis_link_open(&link, &address, 60000, NULL, &err));
    char answer[64];
    size_t sent = 0, step = 0;
    for (; sent < text.size; sent += step) {
        assert_true(redis_link_send(link, text.data + sent, text.size - sent, &step));
        redis_link_wait(link, true, 10);
    }
    for (step = 0; step == 0; redis_link_wait(link, false, 10))
        assert_true(redis_link_receive(link, answer, sizeof(answer), &step));
    assert_int_equal(answer[0], '$'); // the id
    redis_link_close(&link);
    redis_address_free(&address);
}

// One entry of many MB, one of very many fields, and more of them together than an answer may hold.
static void test_told_far_too_much(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    enum { N = 5 << 20, N_FIELDS = 100000 };
    char after[WIRE_ID_BYTES] = "0-0";
    char *much = kb_alloc(N + 1);
    memset(much, 'x', N);
    for (int i = 0; i < 3; i++)
        assert_ok(err,
                  redis_ask(redis, NULL, 0, &err,
                            "XADD p:told * node n1 nonce " NONCE " mac " MAC " body %s", much));
    tell("behind");
    add_fields(N_FIELDS);
    much[REDIS_STRING_BYTES] = '\0';
    for (int i = 0; i < 80; i++)
        assert_ok(err, redis_ask(redis, NULL, 0, &err, "XADD p:told * body %s", much));
    tell("last");
    struct wire_told told[256];
    int n = 0;
    bool behind = false;
    assert_ok(err, wire_hear(redis, after, 0, told, 256, &n, &behind, &err));
    assert_true(behind);    // it may have been anybody's
    assert_int_equal(n, 2); // what is left out leaves room for what is short
    assert_string_equal(wire_is(told[0].body), "behind");
    assert_string_equal(wire_is(told[1].body), "last");
    wire_told_free(&told[0]);
    wire_told_free(&told[1]);
    tell("small");
    assert_ok(err, wire_hear(redis, after, 0, told, 256, &n, &behind, &err));
    assert_int_equal(n, 1);
    assert_false(behind);
    wire_told_free(&told[0]);
    tell("one");
    tell("two");
    assert_ok(err, wire_hear(redis, after, 0, told, 1, &n, &behind, &err));
    assert_true(behind);
    wire_told_free(&told[0]);
    assert_string_equal(hear(after), "two");
    assert_string_equal(hear(after), "");
    free(much);
}

static void test_told_is_capped(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    for (int i = 0; i < 300; i++) {
        for (int k = 0; k < 50; k++)
            redis_note(redis, "XADD p:told * a b");
        assert_ok(err, redis_send_noted(redis, &err));
    }
    tell("x");
    assert_in_range(number("XLEN p:told"), 10000, 10200);
}

// Another Redis, whose clock is behind: its ids begin below what the head has heard already.
static void test_ids_that_go_back(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    char after[WIRE_ID_BYTES] = "$", of_node[WIRE_ID_BYTES] = "$";
    tell("one");
    assert_string_equal(hear(after), "");
    tell("two");
    assert_string_equal(hear(after), "two");
    assert_ok(err, redis_ask(redis, NULL, 0, &err, "FLUSHALL"));
    assert_ok(err, redis_ask(redis, NULL, 0, &err,
                             "XADD p:told 5-5 node n1 nonce " NONCE " mac " MAC " body %s",
                             "{\"is\":\"early\"}"));
    assert_string_equal(hear(after), "");
    assert_string_equal(hear(after), "early");
    assert_string_equal(hear(after), "");
    assert_string_equal(after, "5-5");
    json_t *orders[4];
    int n = 0, forged = 0;
    snprintf(of_node, sizeof(of_node), "99999999999999-0");
    assert_ok(err, wire_order(redis, "n1", SECRET, json_pack("{s:s}", "is", "go"), &err));
    assert_ok(err, wire_orders(redis, "n1", SECRET, of_node, 1, orders, 4, &n, &forged, &err));
    assert_int_equal(n, 0);
    assert_ok(err, wire_orders(redis, "n1", SECRET, of_node, 1, orders, 4, &n, &forged, &err));
    assert_int_equal(n, 1);
    json_decref(orders[0]);
}

static void test_orders(void **state)
{
    if (!is_here)
        SKIP_TEST("no redis-server here");
    char after[WIRE_ID_BYTES] = "$";
    json_t *orders[16];
    int n = 0, forged = 0;
    assert_ok(err, wire_orders(redis, "n1", SECRET, after, 0, orders, 16, &n, &forged, &err));
    assert_int_equal(n, 0);
    assert_ok(err, wire_order(redis, "n2", SECRET, json_pack("{s:s}", "is", "cancel"), &err));
    assert_ok(err, wire_order(redis, "n1", SECRET, json_pack("{s:s}", "is", "go"), &err));
    assert_ok(err, wire_order(redis, "n1", "other", json_pack("{s:s}", "is", "lost"), &err));
    // n2's, shown to n1.
    redisReply *reply = NULL;
    assert_ok(err, redis_ask(redis, &reply, 0, &err, "XRANGE p:to:n2 - +"));
    const redisReply *fields = reply->element[0]->element[1];
    assert_ok(err, redis_ask(redis, NULL, 0, &err, "XADD p:to:n1 * mac %s body %s",
                             fields->element[1]->str, fields->element[3]->str));
    freeReplyObject(reply);
    assert_ok(err, redis_ask(redis, NULL, 0, &err, "XADD p:to:n1 * body x"));
    assert_ok(err, wire_order(redis, "n1", SECRET, json_pack("[]"), &err)); // signed, no object
    assert_ok(err, wire_order(redis, "n1", SECRET, json_pack("{s:s}", "is", "over"), &err));
    assert_ok(err, wire_orders(redis, "n1", SECRET, after, 60000, orders, 16, &n, &forged, &err));
    assert_int_equal(n, 2);
    assert_int_equal(forged, 4);
    assert_string_equal(wire_is(orders[0]), "go");
    assert_string_equal(wire_is(orders[1]), "over");
    json_decref(orders[0]);
    json_decref(orders[1]);
    assert_in_range(number("TTL p:to:n1"), 1, 3600); // nothing stays of a node that is no more
}

#define wire_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_signature),
        wire_test(test_pulse),
        wire_test(test_head),
        wire_test(test_one_head),
        wire_test(test_offers),
        wire_test(test_offers_that_are_none),
        wire_test(test_offers_after_all_is_lost),
        wire_test(test_told),
        wire_test(test_told_malformed),
        wire_test(test_told_far_too_much),
        wire_test(test_told_is_capped),
        wire_test(test_ids_that_go_back),
        wire_test(test_orders),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
