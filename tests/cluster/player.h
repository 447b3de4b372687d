// A head with a real Redis, and machines that the test plays: it says as one what it likes, and
// looks at what it is told. Threads: the test's alone.
#ifndef TESTS_CLUSTER_PLAYER_H
#define TESTS_CLUSTER_PLAYER_H

#include "tests/cluster/redis_server.h"
#include "tests/queue/queue.h"

#include "asset/asset.h"
#include "asset/claim.h"
#include "asset/upload.h"
#include "base/bytes.h"
#include "base/log.h"
#include "cluster/head.h"
#include "cluster/wire.h"
#include "queue/node.h"
#include "queue/remote.h"

#include <openssl/sha.h>

#define LONG_MS 60000 // until what must come has come
#define ORDERS  64

static struct redis_server server;
static struct head *head;
static char *url;

// A machine.
struct player {
    char name[NODE_NAME_BYTES], secret[NODE_SECRET_BYTES], boot[17];
    const char *version;
    int slots;
    struct redis *redis;
    char after[WIRE_ID_BYTES];
    json_t *unread[ORDERS];
    int n_unread;
};
static struct player players[4];
static int n_players;

static struct head_params head_how; // what is not usual about it

static inline void head_begin(struct queue_test *t, int64_t silent_ms)
{
    struct head_params p = head_how;
    p.data = t->folder;
    p.redis = url;
    p.silent_ms = silent_ms;
    assert_ok(t->err, head_start(&head, &p, &t->err));
}

static inline struct redis *connect_redis(struct queue_test *t)
{
    struct redis *r = NULL;
    const struct redis_params p = {.url = url, .timeout_ms = LONG_MS};
    assert_ok(t->err, redis_open(&r, &p, &t->err));
    return r;
}

static inline int setup(void **state)
{
    if (queue_setup(state) != 0)
        return -1;
    if (!server.pid)
        return 0;
    struct redis *r = connect_redis(*state);
    struct queue_test *t = *state;
    assert_ok(t->err, redis_ask(r, NULL, 0, &t->err, "FLUSHALL"));
    redis_close(&r);
    return 0;
}

static inline int teardown(void **state)
{
    head_stop(&head);
    for (int i = 0; i < n_players; i++) {
        for (int j = 0; j < players[i].n_unread; j++)
            json_decref(players[i].unread[j]);
        redis_close(&players[i].redis);
    }
    n_players = 0;
    head_how = (struct head_params){0};
    return queue_teardown(state);
}

#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t end_ = kb_now_us() + LONG_MS * 1000LL;                                             \
        while (!(condition)) {                                                                     \
            if (kb_now_us() > end_)                                                                \
                fail_msg("waited too long for: %s", #condition);                                   \
            usleep(2000);                                                                          \
        }                                                                                          \
    } while (0)

// --- speaking as a machine

static inline struct player *join(struct queue_test *t, const char *name, int slots)
{
    struct player *p = &players[n_players++];
    *p = (struct player){.slots = slots, .version = KOUBO_VERSION, .after = "0-0"};
    snprintf(p->name, sizeof(p->name), "%s", name);
    kb_random_hex(p->boot, 16);
    assert_ok(t->err, node_add(t->s, name, name, p->secret, &t->err));
    p->redis = connect_redis(t);
    return p;
}

static inline void pulse_of(struct player *p, char ret[WIRE_NONCE_BYTES])
{
    struct kb_error err = {0};
    WAIT(wire_pulse(p->redis, ret, &err) == KB_OK && ret[0]);
}

static inline void tell(struct player *p, json_t *body)
{
    struct kb_error err = {0};
    char nonce[WIRE_NONCE_BYTES];
    pulse_of(p, nonce);
    assert_non_null(body);
    assert_ok(err, wire_tell(p->redis, p->name, p->secret, nonce, body, &err));
}

static inline json_t *about(const char *is, const struct wire_offer *o)
{
    return json_pack("{s:s, s:I, s:I}", "is", is, "job", (json_int_t)o->job, "lease",
                     (json_int_t)o->lease);
}

static inline json_t *report(const struct wire_offer *o, int stage, int done)
{
    return json_pack("{s:I, s:I, s:i, s:i, s:i, s:f}", "job", (json_int_t)o->job, "lease",
                     (json_int_t)o->lease, "stage", stage, "done", done, "total", 100, "fps", 12.5);
}

// jobs: a list, taken; NULL = none.
static inline void beat(struct player *p, json_t *jobs)
{
    tell(p,
         json_pack("{s:s, s:s, s:s, s:i, s:b, s:i, s:i, s:s, s:f, s:{s:i, s:i}, s:{s:i, s:i},"
                   " s:i, s:[s], s:i, s:o}",
                   "is", "beat", "version", p->version, "boot", p->boot, "slots", p->slots,
                   "draining", 0, "workers", p->slots, "cores", 8, "cpu", "a processor", "load",
                   0.5, "memory", "total", 100, "available", 50, "disk", "total", 100, "free", 50,
                   "cache", 0, "gpus", "a card", "clock", 5, "jobs", jobs ? jobs : json_array()));
}

static inline void hear_orders(struct player *p, int block_ms)
{
    struct kb_error err = {0};
    int n = 0, forged = 0;
    if (wire_orders(p->redis, p->name, p->secret, p->after, block_ms, p->unread + p->n_unread,
                    ORDERS - p->n_unread, &n, &forged, &err) == KB_OK)
        p->n_unread += n;
    assert_int_equal(forged, 0);
}

// The next order of that kind, which json_decref(); others before it stay. NULL: none now.
static inline json_t *find_order(struct player *p, const char *is, int64_t job)
{
    for (int i = 0; i < p->n_unread; i++) {
        json_t *o = p->unread[i];
        if (strcmp(wire_is(o), is) != 0 ||
            (job && json_integer_value(json_object_get(o, "job")) != job))
            continue;
        memmove(p->unread + i, p->unread + i + 1, (size_t)(--p->n_unread - i) * sizeof(*p->unread));
        return o;
    }
    return NULL;
}

static inline json_t *order(struct player *p, const char *is, int64_t job)
{
    json_t *found = NULL;
    int64_t end = kb_now_us() + LONG_MS * 1000LL;
    while (!(found = find_order(p, is, job))) {
        if (kb_now_us() > end)
            fail_msg("%s was never told '%s' of job %lld", p->name, is, (long long)job);
        hear_orders(p, 20);
    }
    return found;
}

static inline void expect(struct player *p, const char *is, int64_t job)
{
    json_decref(order(p, is, job));
}

static inline void expect_state(struct player *p, const char *wanted)
{
    for (;;) {
        json_auto_t *o = order(p, "state", 0);
        if (strcmp(get_text(o, "state"), wanted) == 0)
            return;
    }
}

// Beats until it hears from the head: one that has just begun does not hear what was told before.
static inline void greet(struct player *p, json_t *jobs)
{
    json_t *state = NULL;
    int64_t end = kb_now_us() + LONG_MS * 1000LL;
    hear_orders(p, 0);
    while ((state = find_order(p, "state", 0)))
        json_decref(state);
    while (!(state = find_order(p, "state", 0))) {
        if (kb_now_us() > end)
            fail_msg("%s never heard from the head", p->name);
        beat(p, jobs ? json_incref(jobs) : NULL);
        hear_orders(p, 100);
    }
    json_decref(state);
    json_decref(jobs);
}

static inline bool take_offer(struct player *p, struct wire_offer *ret, int block_ms)
{
    struct kb_error err = {0};
    int n = 0;
    return wire_take(p->redis, p->name, block_ms, ret, 1, &n, &err) == KB_OK && n == 1;
}

// Beats until it is offered something.
static inline struct wire_offer offered(struct player *p)
{
    struct wire_offer o;
    int64_t end = kb_now_us() + LONG_MS * 1000LL;
    do {
        if (kb_now_us() > end)
            fail_msg("%s was never offered anything", p->name);
        beat(p, NULL);
    } while (!take_offer(p, &o, 200));
    return o;
}

static inline struct wire_offer begin_job(struct player *p)
{
    struct wire_offer o = offered(p);
    tell(p, about("taken", &o));
    expect(p, "go", o.job);
    return o;
}

// --- what it made

static const char film[] = "a film";

static inline void hash_of(char ret[65], const char *text)
{
    unsigned char digest[32];
    SHA256((const unsigned char *)text, strlen(text), digest);
    bytes_hex(ret, digest, sizeof(digest));
}

static inline json_t *done(const struct wire_offer *o)
{
    char hash[65];
    hash_of(hash, film);
    return json_pack("{s:s, s:I, s:I, s:s, s:i, s:i, s:i, s:f, s:i, s:i, s:[f, f, f, f, f]}", "is",
                     "done", "job", (json_int_t)o->job, "lease", (json_int_t)o->lease, "sha256",
                     hash, "size", (int)strlen(film), "frames", 25, "animated", 24, "seconds", 1.0,
                     "width", 64, "height", 48, "stages", 0.0, 0.25, 0.5, 1.5, 0.125);
}

// As the HTTP depot does it; then as the inspector.
static inline void bring(struct queue_test *t, const struct player *p, const struct wire_offer *o)
{
    char asset[33];
    struct asset_upload *u = NULL;
    bool whole = false;
    assert_ok(t->err, remote_asset(t->s, o->job, o->lease, p->name, asset, &t->err));
    assert_ok(t->err, asset_upload_open(&u, t->s, asset, &t->err));
    assert_ok(t->err, asset_upload_write(u, film, strlen(film), &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, true, &whole, &t->err));
    assert_true(whole);
    const struct asset_facts facts = {.kind = "video",
                                      .duration_ms = 1000,
                                      .width = 64,
                                      .height = 48,
                                      .fps = 25,
                                      .codec = "h264",
                                      .n_faces = -1};
    assert_ok(t->err, asset_set_facts(t->s, asset, &facts, &t->err));
}

static inline void finish_job(struct queue_test *t, struct player *p, const struct wire_offer *o)
{
    tell(p, about("made", o));
    bring(t, p, o);
    tell(p, done(o));
    expect(p, "over", o->job);
}

// --- jobs

// A batch of n videos whose files are there.
static inline int64_t add_jobs(struct queue_test *t, int n, int priority)
{
    int64_t batch = add_batch(t, n, priority);
    for (int i = 1; i <= t->n_assets; i++) {
        CLEANUP(kb_freep) char *path = data_path(t, "files/%032x", i);
        assert_ok(t->err, file_write_atomic(path, "bytes", 5, &t->err));
    }
    return batch;
}

static inline bool is_in(struct queue_test *t, int64_t job, const char *state)
{
    return ask(t, "SELECT state = '%s' FROM job WHERE id = %lld", state, (long long)job);
}

static inline int64_t attempts(struct queue_test *t, int64_t job)
{
    return ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)job);
}

static inline int64_t entries(struct player *p)
{
    struct kb_error err = {0};
    redisReply *reply = NULL;
    assert_ok(err, redis_ask(p->redis, &reply, 0, &err, "XLEN koubo:jobs"));
    int64_t n = reply->integer;
    freeReplyObject(reply);
    return n;
}

static inline int group_setup(void **state)
{
    log_set_level(LOG_ERROR);
    if (!redis_server_is_here())
        return 0;
    redis_server_start(&server, NULL);
    url = redis_server_url(&server, "");
    return 0;
}

static inline int group_teardown(void **state)
{
    redis_server_stop(&server);
    free(url);
    return 0;
}

#define HEAD_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#define NEEDS_REDIS                                                                                \
    struct queue_test *t = *state;                                                                 \
    if (!server.pid)                                                                               \
    SKIP_TEST("redis-server is not installed")

#endif
