// The stream of events: who listens sees every change exactly once, however often the line breaks.
#include "tests/chinese.h"
#include "tests/server/site.h"

#include "asset/asset.h"
#include "queue/batch.h"
#include "queue/change.h"
#include "queue/lease.h"
#include "server/events.h"
#include "server/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct route *const tables[] = {api_events_routes, NULL};

static int start(void **state)
{
    struct kb_error err = {0};
    site = (struct site){0};
    site_open(&site);
    assert_ok(err, events_start(&site.server.events, &site.server, &err));
    site_start(&site, tables);
    return 0;
}

static int stop(void **state)
{
    http_stop(&site.server.http);
    events_stop(&site.server.events);
    site_stop(&site);
    return 0;
}

// --- a client

struct line {
    int fd;
    struct text raw, text; // as it came, chunks put together
    size_t used;           // of raw
    bool ended;            // by the last chunk
    int64_t last;          // id
};

struct event {
    char name[16];
    json_t *data;
};

static void line_open(struct line *l, const char *query, int64_t last)
{
    char headers[60] = "";
    if (last >= 0)
        snprintf(headers, sizeof(headers), "Last-Event-ID: %lld\r\n", (long long)last);
    *l = (struct line){.fd = site_connect(&site), .last = last};
    site_sendf(l->fd, "GET /api/v1/events%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", query,
               site.port, headers);
}

static void line_close(struct line *l)
{
    close(l->fd);
    text_free(&l->raw);
    text_free(&l->text);
}

static void take_chunks(struct line *l)
{
    if (l->used == 0) {
        char *end = l->raw.size ? memmem(l->raw.data, l->raw.size, "\r\n\r\n", 4) : NULL;
        if (!end)
            return;
        if (!strstr(l->raw.data, " 200 ") || !strcasestr(l->raw.data, "text/event-stream"))
            fail_msg("%s", l->raw.data);
        l->used = (size_t)(end - l->raw.data) + 4;
    }
    while (l->used < l->raw.size && !l->ended) {
        const char *size_end = memmem(l->raw.data + l->used, l->raw.size - l->used, "\r\n", 2);
        if (!size_end)
            return;
        size_t n = strtoul(l->raw.data + l->used, NULL, 16);
        size_t at = (size_t)(size_end - l->raw.data) + 2;
        if (at + n + 2 > l->raw.size)
            return;
        text_add_bytes(&l->text, l->raw.data + at, n);
        l->used = at + n + 2;
        l->ended = n == 0;
    }
}

// Read what there is, waiting at most ms for something. False: nothing came, or it is over.
static bool line_read(struct line *l, int ms)
{
    char buffer[65536];
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    if (poll(&p, 1, ms) != 1)
        return false;
    ssize_t n = read(l->fd, buffer, sizeof(buffer));
    if (n > 0)
        text_add_bytes(&l->raw, buffer, (size_t)n);
    take_chunks(l);
    return n > 0;
}

// The next whole event; ret->data for json_decref. False: none within ms.
static bool line_next(struct line *l, struct event *ret, int ms)
{
    for (int64_t until = kb_now_us() + ms * 1000LL;;) {
        char *end = l->text.size ? strstr(l->text.data, "\n\n") : NULL;
        if (end) {
            *end = '\0';
            char *name = strstr(l->text.data, "event: "), *data = strstr(l->text.data, "data: ");
            char *id = strncmp(l->text.data, "id: ", 4) == 0 ? l->text.data + 4 : NULL;
            bool is_event = name && data;
            if (is_event) {
                snprintf(ret->name, sizeof(ret->name), "%.*s", (int)strcspn(name + 7, "\n"),
                         name + 7);
                ret->data = json_loads(data + 6, 0, NULL);
                assert_non_null(ret->data);
            }
            if (id) {
                assert_true(atoll(id) > l->last); // they only ever grow
                l->last = atoll(id);
                assert_int_equal(l->last, json_integer_value(json_object_get(ret->data, "rev")));
            }
            size_t n = (size_t)(end - l->text.data) + 2;
            memmove(l->text.data, l->text.data + n, l->text.size - n + 1);
            l->text.size -= n;
            if (is_event)
                return true;
            continue;
        }
        int64_t left = (until - kb_now_us()) / 1000;
        if (left <= 0 || (!line_read(l, (int)left) && l->ended))
            return false;
    }
}

static bool line_next_change(struct line *l, struct event *ret, int ms)
{
    for (int64_t until = kb_now_us() + ms * 1000LL; kb_now_us() < until;) {
        if (!line_next(l, ret, (int)((until - kb_now_us()) / 1000) + 1))
            return false;
        if (strcmp(ret->name, "change") == 0)
            return true;
        json_decref(ret->data);
    }
    return false;
}

static void make_asset(struct store *s, int number)
{
    struct kb_error err = {0};
    char name[40], id[33];
    snprintf(name, sizeof(name), "%d", number);
    struct asset_params p = {.name = name, .size_bytes = 10, .expires_ms = INT64_MAX};
    assert_ok(err, asset_create(s, &p, id, &err));
}

// Count each asset of a change by its name, which is its number.
static int count_assets(json_t *change, int *counts, int n)
{
    size_t i;
    json_t *asset;
    json_array_foreach(json_object_get(change, "assets"), i, asset)
    {
        int number = atoi(json_string_value(json_object_get(asset, "name")));
        assert_in_range(number, 0, n - 1);
        counts[number]++;
    }
    return (int)json_array_size(json_object_get(change, "assets"));
}

// --- tests

static void test_greeting(void **state)
{
    struct line l;
    struct event e;
    make_asset(site.store, 0); // the past, not asked for
    line_open(&l, "", -1);
    int64_t begin = kb_now_us();
    assert_true(line_next(&l, &e, 4000));
    assert_memory_equal(strstr(l.raw.data, "retry: "), "retry: 1000\n\n", 13);
    assert_string_equal(e.name, "heartbeat");
    assert_true(json_integer_value(json_object_get(e.data, "now")) > 0);
    assert_true(json_is_object(json_object_get(e.data, "memory")));
    json_decref(e.data);
    assert_true(line_next(&l, &e, 4000)); // and the next one
    assert_string_equal(e.name, "heartbeat");
    assert_true(kb_now_us() - begin < 5000000);
    json_decref(e.data);
    assert_int_equal(l.last, -1); // heartbeats have no number
    make_asset(site.store, 1);
    assert_true(line_next_change(&l, &e, 3000));
    assert_int_equal(json_array_size(json_object_get(e.data, "assets")), 1);
    json_decref(e.data);
    line_close(&l);
}

static void test_since(void **state)
{
    static const char *const wrong[] = {"?since=x", "?since=-1", "?since=", "?since=1e3",
                                        "?since=99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        CLEANUP(kb_freep) char *path = kb_printf("/api/v1/events%s", wrong[i]);
        CLEANUP(reply_clear) struct reply r = {0};
        site_ask(&site, &r, "GET", path, NULL, NULL, 0);
        assert_status(&r, 400);
    }
    int counts[3] = {0};
    for (int i = 0; i < 3; i++)
        make_asset(site.store, i);
    int64_t rev = change_revision(site.store);
    struct line l;
    struct event e;
    line_open(&l, "?since=0", -1);
    assert_true(line_next_change(&l, &e, 3000));
    count_assets(e.data, counts, 3);
    json_decref(e.data);
    assert_int_equal(l.last, rev);
    for (int i = 0; i < 3; i++)
        assert_int_equal(counts[i], 1);
    line_close(&l);
    // The header is newer than the address it goes with: nothing to tell.
    line_open(&l, "?since=0", rev);
    assert_false(line_next_change(&l, &e, 500));
    line_close(&l);
    // A number of another time: begin anew.
    line_open(&l, "?since=1000000", -1);
    assert_true(line_next_change(&l, &e, 3000));
    assert_true(json_is_true(json_object_get(e.data, "reset")));
    assert_int_equal(l.last, rev);
    json_decref(e.data);
    line_close(&l);
}

enum { N_ASSETS = 120 };

static void *write_assets(void *opaque)
{
    struct kb_error err = {0};
    struct store *s = NULL;
    assert_ok(err, store_open(&s, site.folder, false, &err));
    store_set_durable(s, false);
    for (int i = 0; i < N_ASSETS; i++) {
        make_asset(s, i);
        usleep((unsigned)(i * 7919 % 20000));
    }
    store_close(&s);
    return NULL;
}

// Somebody writes all the time; one listener stays, one is cut off again and again.
static void test_every_change_once(void **state)
{
    pthread_t writer;
    struct line steady, cut;
    struct event e;
    int counts[2][N_ASSETS] = {0}, n[2] = {0};
    line_open(&steady, "?since=0", -1);
    line_open(&cut, "?since=0", -1);
    assert_int_equal(pthread_create(&writer, NULL, write_assets, NULL), 0);
    for (int i = 0; n[1] < N_ASSETS && i < 500; i++) {
        if (line_next_change(&cut, &e, 20 + i * 37 % 150)) {
            n[1] += count_assets(e.data, counts[1], N_ASSETS);
            json_decref(e.data);
        }
        int64_t last = cut.last;
        line_close(&cut);
        line_open(&cut, "?since=0", last);
    }
    while (n[0] < N_ASSETS && line_next_change(&steady, &e, 5000)) {
        n[0] += count_assets(e.data, counts[0], N_ASSETS);
        json_decref(e.data);
    }
    pthread_join(writer, NULL);
    assert_false(line_next_change(&steady, &e, 300)); // and that was all
    for (int i = 0; i < N_ASSETS; i++)
        if (counts[0][i] != 1 || counts[1][i] != 1)
            fail_msg("asset %d was told %d and %d times", i, counts[0][i], counts[1][i]);
    line_close(&steady);
    line_close(&cut);
}

// A worker's report is with the pages within a second; what is deleted is told too.
static void test_progress(void **state)
{
    struct kb_error err = {0};
    char audio[33], video[33];
    site_asset(&site, "speech.wav", "RIFF", 4, audio);
    site_asset(&site, "v.mp4", "ftyp", 4, video);
    const char *videos[] = {video};
    struct batch_params p = {.audio = audio, .videos = videos, .n_videos = 1, .priority = 5};
    int64_t batch;
    assert_ok(err, batch_create(site.store, &p, &batch, &err));
    struct job_claim claim = {0};
    assert_ok(err, job_claim(site.store, "w1", 0, &claim, &err));
    struct line l;
    struct event e;
    line_open(&l, "", -1);
    assert_true(line_next(&l, &e, 4000));
    json_decref(e.data);
    for (int i = 1; i <= 3; i++) {
        struct job_report report = {.stage = STAGE_GENERATING, .done = 10 * i, .total = 100};
        bool cancel;
        assert_ok(err, job_report(site.store, &claim, &report, &cancel, &err));
        int64_t begin = kb_now_us();
        assert_true(line_next_change(&l, &e, 3000));
        assert_true(kb_now_us() - begin < 1000000);
        json_t *job = json_array_get(json_object_get(e.data, "jobs"), 0);
        assert_int_equal(json_integer_value(json_object_get(job, "id")), claim.job);
        assert_int_equal(json_integer_value(json_object_get(job, "done")), 10 * i);
        json_decref(e.data);
    }
    char other[33];
    site_asset(&site, "other.mp4", "free", 4, other);
    assert_ok(err, asset_delete(site.store, other, &err));
    bool told = false;
    while (!told && line_next_change(&l, &e, 3000)) {
        size_t i;
        json_t *gone;
        json_array_foreach(json_object_get(e.data, "gone"), i, gone) told |=
            strcmp(json_string_value(json_object_get(gone, "id")), other) == 0;
        json_decref(e.data);
    }
    assert_true(told);
    line_close(&l);
    job_claim_free(&claim);
}

static bool all_listen(void *n)
{
    return events_listeners(site.server.events) == *(int *)n;
}

static void test_many(void **state)
{
    enum { N = 200 };
    static struct line lines[N];
    struct event e;
    for (int i = 0; i < N; i++)
        line_open(&lines[i], "", -1);
    int n = N;
    assert_true(site_wait(all_listen, &n));
    make_asset(site.store, 7);
    int64_t begin = kb_now_us();
    for (int i = 0; i < N; i++) {
        assert_true(line_next_change(&lines[i], &e, 5000));
        assert_int_equal(json_array_size(json_object_get(e.data, "assets")), 1);
        json_decref(e.data);
    }
    assert_true(kb_now_us() - begin < 3000000);
    for (int i = 0; i < N; i += 2)
        line_close(&lines[i]);
    n = N / 2;
    assert_true(site_wait(all_listen, &n)); // those who went are forgotten
    // The server stops: the others are told properly.
    events_end(site.server.events);
    http_stop(&site.server.http);
    for (int i = 1; i < N; i += 2) {
        while (line_read(&lines[i], 5000))
            ;
        if (!lines[i].ended)
            fail_msg("line %d was cut off", i);
        line_close(&lines[i]);
    }
}

// The server ends before the events do.
static void test_stop(void **state)
{
    struct line l;
    struct event e;
    line_open(&l, "", -1);
    assert_true(line_next(&l, &e, 4000));
    json_decref(e.data);
    http_stop(&site.server.http);
    while (line_read(&l, 5000))
        ;
    assert_int_equal(events_listeners(site.server.events), 0);
    events_stop(&site.server.events);
    line_close(&l);
}

// A listener that does not read while more is told than the ring holds.
static void test_slow(void **state)
{
    enum { ROUNDS = 8, EACH = 1500, N = ROUNDS * EACH };
    struct kb_error err = {0};
    CLEANUP(kb_freep) int *counts = calloc(N, sizeof(*counts));
    struct listener *l = listener_create(site.server.events, KB_LANGUAGE_SOURCE);
    assert_ok(err, listener_greet(l, site.store, -1, &err));
    listener_stream(l);
    listener_join(l);
    listener_unref(l); // the stream's reference remains
    struct line watch;
    struct event e;
    line_open(&watch, "?since=0", -1);
    for (int i = 0, seen = 0; i < ROUNDS; i++) {
        for (int k = 0; k < EACH; k++) {
            char name[256], id[33];
            snprintf(name, sizeof(name), "%d %0200d", i * EACH + k, 0);
            struct asset_params p = {.name = name, .size_bytes = 10, .expires_ms = INT64_MAX};
            assert_ok(err, asset_create(site.store, &p, id, &err));
        }
        while (seen < (i + 1) * EACH && line_next_change(&watch, &e, 5000)) {
            seen += (int)json_array_size(json_object_get(e.data, "assets"));
            json_decref(e.data);
        }
        assert_int_equal(seen, (i + 1) * EACH);
    }
    line_close(&watch);
    // Now it reads: too much has gone by for a list of changes, so it is told to begin anew, and
    // after that it is up to date.
    CLEANUP(text_free) struct text t = {0};
    char buffer[65536];
    int64_t n;
    for (int i = 0; i < 500 && !(t.data && strstr(t.data, "\"reset\":true")); i++) {
        while ((n = listener_read(l, buffer, sizeof(buffer))) > 0)
            text_add_bytes(&t, buffer, (size_t)n);
        usleep(10000);
    }
    assert_non_null(strstr(text_get(&t), "\"reset\":true"));
    text_clear(&t);
    make_asset(site.store, 1);
    for (int i = 0; i < 500 && !strstr(text_get(&t), "event: change"); i++) {
        while ((n = listener_read(l, buffer, sizeof(buffer))) > 0)
            text_add_bytes(&t, buffer, (size_t)n);
        usleep(10000);
    }
    char wanted[40];
    snprintf(wanted, sizeof(wanted), "id: %lld\n", (long long)change_revision(site.store));
    assert_non_null(strstr(text_get(&t), wanted));
    assert_null(strstr(text_get(&t), "\"reset\":true"));
    listener_leave(l);
}

static void assert_hears(struct line *l, const char *sentence)
{
    struct event e;
    assert_true(line_next_change(l, &e, 3000));
    json_t *asset = json_array_get(json_object_get(e.data, "assets"), 0);
    assert_string_equal(json_string_value(json_object_get(asset, "error")), sentence);
    json_decref(e.data);
}

// Each listener is told in their own language, whoever reported and whoever else listens.
static void test_languages(void **state)
{
    static const char chinese[] = "下载“a.mp4”失败：已取消";
    static const char english[] = "downloading 'a.mp4' failed: cancelled";
    struct kb_error why = {0}, err = {0};
    char id[33];
    struct asset_params p = {.name = "1", .size_bytes = 10, .expires_ms = INT64_MAX};
    struct line zh, en, late;
    line_open(&zh, "?lang=zh", -1);
    line_open(&en, "?lang=en", -1);
    while (events_listeners(site.server.events) < 2)
        usleep(1000);
    assert_ok(err, asset_create(site.store, &p, id, &err));
    struct event e;
    assert_true(line_next_change(&zh, &e, 3000));
    json_decref(e.data);
    assert_true(line_next_change(&en, &e, 3000));
    json_decref(e.data);

    kb_fail(&why, KB_CANCELLED, "%s", _("cancelled"));
    kb_wrap(&why, _("downloading '%s' failed"), "a.mp4");
    assert_ok(err, asset_fail(site.store, id, &why, &err));
    assert_hears(&zh, chinese);
    assert_hears(&en, english);
    line_open(&late, "?lang=zh&since=0", -1);
    assert_hears(&late, chinese);
    line_close(&late);
    line_close(&zh);
    line_close(&en);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    load_chinese();
    const struct CMUnitTest tests[] = {
        TEST(test_greeting), TEST(test_since),     TEST(test_every_change_once),
        TEST(test_progress), TEST(test_many),      TEST(test_stop),
        TEST(test_slow),     TEST(test_languages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
