// A database that another program holds: everybody is answered soon, and nothing that was answered
// as kept is lost.
#include "tests/server/live.h"

#include "asset/asset.h"
#include "store/sql.h"

#include <pthread.h>
#include <stdatomic.h>

#define TUS      "Tus-Resumable: 1.0.0\r\n"
#define BODY     "Content-Type: application/offset+octet-stream\r\n"
#define WRITERS  16
#define ROUNDS   6
#define AGAIN_US 20000
#define PATIENT  60 // seconds until a test gives up
// A request waits 150 ms at most. The rest is for a machine that has much else to do; without that
// limit each of the sixteen writers takes one of four threads for five seconds.
#define SOON_US 3000000

static void lock_database(struct live *l)
{
    struct kb_error err = {0};
    assert_ok(err, store_begin(l->site.store, &err));
}

static void unlock_database(struct live *l)
{
    store_rollback(l->site.store);
}

// --- writers that ask again

struct writer {
    struct live *l;
    int number;
    pthread_t thread;
    atomic_int refused; // how often: 503 with Retry-After and a problem
    // --- when it has ended
    char location[64];
    char wrong[600]; // an answer that is neither
};

static bool is_refusal(const struct reply *r)
{
    return r->status == 503 && strcasestr(r->head, "\r\nRetry-After: 1\r\n") &&
           strstr(r->body, "\"code\":\"unavailable\"") && strstr(r->body, "try again");
}

static void *write_until_kept(void *opaque)
{
    struct writer *w = opaque;
    char content[16];
    int64_t end_us = kb_now_us() + PATIENT * 1000000LL;
    snprintf(content, sizeof(content), "content %02d", w->number);
    while (kb_now_us() < end_us) {
        CLEANUP(reply_clear) struct reply r = {0};
        site_ask(&w->l->site, &r, "POST", "/api/v1/uploads", TUS BODY "Upload-Length: 10\r\n",
                 content, 10);
        const char *location = r.status == 201 ? strcasestr(r.head, "\r\nLocation: ") : NULL;
        if (location) {
            snprintf(w->location, sizeof(w->location), "%.*s", (int)strcspn(location + 12, "\r"),
                     location + 12);
            return NULL;
        }
        if (!is_refusal(&r)) {
            snprintf(w->wrong, sizeof(w->wrong), "%d %s", r.status, r.body ? r.body : "");
            return NULL;
        }
        atomic_fetch_add(&w->refused, 1);
        usleep(AGAIN_US);
    }
    return NULL;
}

static void ask_soon(struct live *l, const char *method, const char *path, int wanted)
{
    CLEANUP(reply_clear) struct reply r = {0};
    int64_t begin = kb_now_us();
    site_ask(&l->site, &r, method, path, TUS, NULL, 0);
    int64_t took = kb_now_us() - begin;
    assert_status(&r, wanted);
    if (took > SOON_US)
        fail_msg("%s %s: %.1f s", method, path, (double)took / 1e6);
}

// Its first bytes, the greeting, are there soon.
static void listen_soon(struct live *l)
{
    char first[16] = "";
    int64_t begin = kb_now_us();
    int fd = site_connect(&l->site);
    site_sendf(fd, "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", l->site.port);
    assert_true(read(fd, first, sizeof(first) - 1) > 0);
    assert_memory_equal(first, "HTTP/1.1 200", 12);
    assert_true(kb_now_us() - begin < SOON_US);
    close(fd);
}

static bool all_were_refused(void *opaque)
{
    struct writer *writers = opaque;
    for (int i = 0; i < WRITERS; i++)
        if (atomic_load(&writers[i].refused) < 2)
            return false;
    return true;
}

static void everybody_is_answered_soon(void **state)
{
    struct live *l = *state;
    struct writer *writers = kb_alloc(WRITERS * sizeof(*writers));
    int64_t job = site_result(&l->site, "batch", "person.mp4", 100);
    lock_database(l);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.l = l, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_until_kept, &writers[i]),
                         0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        ask_soon(l, "GET", "/healthz", 200);
        ask_soon(l, "GET", "/api/v1/batches", 200);
        ask_soon(l, "GET", "/api/v1/results?limit=5", 200);
        ask_soon(l, "GET", live_path("/api/v1/jobs/%lld", job), 200);
        ask_soon(l, "GET", "/api/v1/system", 200);
        listen_soon(l);
    }
    bool refused = site_wait(all_were_refused, writers);
    unlock_database(l);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    assert_true(refused);
    for (int i = 0; i < WRITERS; i++) {
        char wanted[16];
        snprintf(wanted, sizeof(wanted), "content %02d", i);
        if (!writers[i].location[0])
            fail_msg("writer %d: %s", i, writers[i].wrong);
        char content[120];
        snprintf(content, sizeof(content), "/api/v1/assets/%s/content", writers[i].location + 16);
        CLEANUP(reply_clear) struct reply r = {0};
        site_ask(&l->site, &r, "GET", content, NULL, NULL, 0);
        assert_status(&r, 200);
        assert_string_equal(r.body, wanted);
    }
    free(writers);
}

// --- the end of an upload

static int patch(struct live *l, const char *path, int offset, const char *data)
{
    CLEANUP(reply_clear) struct reply r = {0};
    char headers[200];
    snprintf(headers, sizeof(headers), TUS BODY "Upload-Offset: %d\r\n", offset);
    site_ask(&l->site, &r, "PATCH", path, headers, data, strlen(data));
    if (r.status == 503)
        assert_true(is_refusal(&r));
    return r.status;
}

// -1: refused.
static int offset_of(struct live *l, const char *path)
{
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "HEAD", path, TUS, NULL, 0);
    if (r.status != 200)
        return -1;
    return atoi(reply_value(&r, "Upload-Offset"));
}

static void the_end_of_an_upload_is_not_lost(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    CLEANUP(reply_clear) struct reply r = {0};
    char path[64], content[120];
    site_ask(&l->site, &r, "POST", "/api/v1/uploads", TUS "Upload-Length: 6\r\n", "", 0);
    assert_status(&r, 201);
    snprintf(path, sizeof(path), "%s", reply_value(&r, "Location"));
    assert_int_equal(patch(l, path, 0, "ab"), 204);
    lock_database(l);
    assert_int_equal(patch(l, path, 2, "cdef"), 503);
    assert_int_equal(offset_of(l, path), -1); // whole, but that cannot be written down yet
    unlock_database(l);
    assert_int_equal(offset_of(l, path), 6);
    struct asset a;
    assert_ok(err, asset_find(l->site.store, path + 16, &a, &err));
    assert_string_equal(a.state, "new");
    snprintf(content, sizeof(content), "/api/v1/assets/%s/content", path + 16);
    CLEANUP(reply_clear) struct reply got = {0};
    site_ask(&l->site, &got, "GET", content, NULL, NULL, 0);
    assert_string_equal(got.body, "abcdef");
}

static void how_far_an_upload_is_can_be_asked(void **state)
{
    struct live *l = *state;
    CLEANUP(reply_clear) struct reply r = {0};
    char path[64];
    site_ask(&l->site, &r, "POST", "/api/v1/uploads", TUS BODY "Upload-Length: 6\r\n", "abc", 3);
    assert_status(&r, 201);
    snprintf(path, sizeof(path), "%s", reply_value(&r, "Location"));
    lock_database(l);
    assert_int_equal(offset_of(l, path), 3);
    unlock_database(l);
    assert_int_equal(patch(l, path, 3, "def"), 204);
}

// What was refused leaves nothing behind, though it could not be removed then.

static bool is_empty(void *opaque)
{
    struct live *l = opaque;
    int64_t n = 1;
    CLEANUP(text_free) struct text list = {0};
    struct asset_filter none = {0};
    if (asset_list_json(l->site.store, &none, &list, NULL) == KB_OK)
        n = strncmp(text_get(&list), "{\"total\":0,", 11);
    return n == 0 && site_count_files(&l->site, "uploads") == 0;
}

static void what_was_refused_goes_later(void **state)
{
    struct live *l = *state;
    int fd = site_connect(&l->site);
    site_sendf(
        fd,
        "POST /api/v1/uploads HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n" TUS BODY
        "Upload-Length: 3\r\nContent-Length: 3\r\n\r\nab",
        l->site.port);
    int64_t end_us = kb_now_us() + PATIENT * 1000000LL;
    while (is_empty(l) && kb_now_us() < end_us)
        usleep(1000);
    lock_database(l);
    site_send(fd, "c", 1);
    CLEANUP(reply_clear) struct reply r = {0};
    site_receive(fd, &r, "POST");
    assert_true(is_refusal(&r));
    assert_false(is_empty(l));
    unlock_database(l);
    assert_true(site_wait(is_empty, l));
}

// --- who tells

static void health_tells(void **state)
{
    struct live *l = *state;
    lock_database(l);
    assert_true(is_empty(l));
    live_refuses(l, 503, "unavailable", "try again", "PUT", "/api/v1/settings/notify", "{}");
    json_t *h = live_ask(l, 200, "GET", "/healthz", NULL);
    assert_string_equal(text_at(h, "status"), "ok");
    assert_string_equal(text_at(h, "database"), "locked");
    json_decref(h);
    unlock_database(l);
    json_decref(live_ask(l, 200, "PUT", "/api/v1/settings/notify", "{}"));
    h = live_ask(l, 200, "GET", "/healthz", NULL);
    assert_string_equal(text_at(h, "database"), "ok");
    json_decref(h);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everybody_is_answered_soon),
        TEST(the_end_of_an_upload_is_not_lost),
        TEST(how_far_an_upload_is_can_be_asked),
        TEST(what_was_refused_goes_later),
        TEST(health_tells),
    };
    return cmocka_run_group_tests_name("server/locked", tests, NULL, NULL);
}
