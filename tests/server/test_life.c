// Downloads, start, stop and the token, on a real server.
#include "tests/server/live.h"

#include "asset/asset.h"
#include "store/backup.h"

#include <unistd.h>

static const struct server_params usual;

struct expected {
    struct live *l;
    const char *id, *state;
};

static bool asset_is(void *opaque)
{
    struct expected *e = opaque;
    struct kb_error err = {0};
    struct asset a;
    assert_ok(err, asset_find(e->l->site.store, e->id, &a, &err));
    return strcmp(a.state, e->state) == 0;
}

static void fetch(struct live *l, int port, const char *name, const char *state, const char *part)
{
    struct kb_error err = {0};
    struct asset_params p = {.lang = "en"};
    char url[200], id[33];
    snprintf(url, sizeof(url), "http://user:secret@127.0.0.1:%d/%s?key=hidden", port, name);
    assert_ok(err, asset_create_url(l->site.store, &p, url, id, &err));
    struct expected e = {l, id, state};
    CLEANUP(text_free) struct text json = {0};
    bool came = site_wait(asset_is, &e);
    assert_ok(err, asset_json(l->site.store, id, &json, &err));
    if (!came || !strstr(text_get(&json), part) || strstr(text_get(&json), "secret") ||
        strstr(text_get(&json), "hidden"))
        fail_msg("%s: %s (wanted '%s', %s)", name, text_get(&json), part, state);
}

static void addresses_are_downloaded(void **state)
{
    struct live *l = *state;
    int port;
    struct source *source = source_start(&port);
    live_restart(l, &(struct server_params){.upload_bytes = 5000});
    fetch(l, port, "file.wav", "new", "\"size\":1000");
    fetch(l, port, "old", "new", "\"received\":1000");
    fetch(l, port, "missing", "bad", "answered 404");
    fetch(l, port, "loop", "bad", "cannot be downloaded");
    fetch(l, port, "inner", "bad", "cannot be downloaded");
    fetch(l, port, "empty", "bad", "is empty");
    fetch(l, port, "big", "bad", "larger than");
    // With a token the server does not fetch from itself.
    live_restart(l, &(struct server_params){.token = "t"});
    fetch(l, port, "file.wav", "bad", "not allowed");
    source_stop(&source);
}

static bool is_backed_up(void *opaque)
{
    const struct live *l = opaque;
    return backup_last_ms(l->site.folder) > 0;
}

// Once a day, whoever starts it how often.
static void the_database_is_backed_up(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    assert_false(is_backed_up(l));
    for (int i = 0; i < 2; i++) {
        live_restart(l, &(struct server_params){.first_backup_ms = 1});
        assert_true(site_wait(is_backed_up, l));
    }
    usleep(300000);       // its thread looks ten times a second
    server_stop(&l->app); // what is under way is whole or gone
    int n = 0;
    assert_ok(err, backup_count(l->site.folder, &n, &err));
    assert_int_equal(n, 1);
}

static void downloads_go_on_after_a_restart(void **state)
{
    struct live *l = *state;
    int port;
    struct source *source = source_start(&port);
    struct kb_error err = {0};
    struct asset_params p = {.lang = "en"};
    char url[100], id[33];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/slow", port);
    assert_ok(err, asset_create_url(l->site.store, &p, url, id, &err));
    usleep(300000);
    // A download and a reader of the log do not hold the server up.
    int fd = site_connect(&l->site);
    site_sendf(fd, "GET /api/v1/logs?follow=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
               l->site.port);
    usleep(100000);
    int64_t begin = kb_now_us();
    server_stop(&l->app);
    assert_true(kb_now_us() - begin < 5000000);
    close(fd);
    struct asset a;
    assert_ok(err, asset_find(l->site.store, id, &a, &err));
    assert_string_equal(a.state, "fetching");
    live_restart(l, &usual);
    assert_ok(err, asset_delete(l->site.store, id, &err));
    source_stop(&source);
}

static void a_second_server_says_who_is_there(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    struct server *second = NULL;
    struct server_params p = {.data = l->site.folder, .supervisor.n_workers = -1};
    char pid[50], other[200];
    snprintf(pid, sizeof(pid), "(process %d)", (int)getpid());
    assert_fails(err, KB_UNAVAILABLE, pid, server_start(&second, &p, &err));
    assert_non_null(strstr(err.text, l->app->base_url));

    snprintf(other, sizeof(other), "%s/other", l->site.folder);
    p.data = other;
    p.port = l->site.port;
    assert_fails(err, KB_UNAVAILABLE, "--port", server_start(&second, &p, &err));
    assert_null(second);
    p.port = 0;
    p.listen = "0.0.0.0";
    assert_fails(err, KB_BAD_INPUT, "token", server_start(&second, &p, &err));
    p.token = "t";
    p.share = "/nonexistent/folder";
    assert_fails(err, KB_NOT_FOUND, "/nonexistent/folder", server_start(&second, &p, &err));
}

static void the_lock_tells_the_address(void **state)
{
    struct live *l = *state;
    char name[200], content[300] = "", wanted[300];
    snprintf(name, sizeof(name), "%s/lock", l->site.folder);
    snprintf(wanted, sizeof(wanted), "%d\nhttp://127.0.0.1:%d\n", (int)getpid(), l->site.port);
    FILE *f = fopen(name, "r");
    content[fread(content, 1, sizeof(content) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(content, wanted);
}

static void a_token_is_asked_for(void **state)
{
    struct live *l = *state;
    live_restart(l, &(struct server_params){.token = "apple"});
    live_refuses(l, 401, "token", "", "GET", "/api/v1/system", NULL);
    live_refuses(l, 401, "token", "", "GET", "/metrics", NULL);
    live_refuses(l, 401, "token", "", "POST", "/api/v1/session", "{\"token\":\"pear\"}");
    json_decref(live_ask(l, 200, "GET", "/healthz", NULL));
    json_t *s = live_ask(l, 200, "GET", "/api/v1/session", NULL);
    assert_true(json_is_true(json_object_get(s, "required")));
    assert_true(json_is_false(json_object_get(s, "ok")));
    json_decref(s);
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "POST", "/api/v1/session", NULL, "{\"token\":\"apple\"}", 17);
    assert_status(&r, 204);
    char cookie[600];
    snprintf(cookie, sizeof(cookie), "Cookie: %.*s\r\n",
             (int)strcspn(reply_value(&r, "Set-Cookie"), ";"), reply_value(&r, "Set-Cookie"));
    assert_non_null(strstr(reply_value(&r, "Set-Cookie"), "HttpOnly"));
    CLEANUP(reply_clear) struct reply in = {0};
    site_ask(&l->site, &in, "GET", "/api/v1/system", cookie, NULL, 0);
    assert_status(&in, 200);
    CLEANUP(reply_clear) struct reply out = {0};
    site_ask(&l->site, &out, "DELETE", "/api/v1/session", cookie, NULL, 0);
    assert_status(&out, 204);
    assert_non_null(strstr(reply_value(&out, "Set-Cookie"), "="));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(void)
{
    unsetenv("http_proxy");
    const struct CMUnitTest tests[] = {
        TEST(addresses_are_downloaded),
        TEST(downloads_go_on_after_a_restart),
        TEST(a_second_server_says_who_is_there),
        TEST(the_lock_tells_the_address),
        TEST(a_token_is_asked_for),
        TEST(the_database_is_backed_up),
    };
    return cmocka_run_group_tests_name("server/life", tests, NULL, NULL);
}
