// Downloads, start, stop and the token, on a real server.
#include "tests/server/live.h"

#include "asset/asset.h"
#include "base/file.h"
#include "cluster/node.h"
#include "server/keeper.h"
#include "store/backup.h"
#include "store/sql.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

// An address to download, and what is to become of it. All of them are asked for at once.
struct wanted {
    const char *name; // below the source's address
    const char *state, *part;
};

static void fetch_all(struct live *l, int port, const struct wanted *list, size_t n)
{
    struct kb_error err = {0};
    char(*ids)[33] = kb_alloc(n * sizeof(*ids));
    for (size_t i = 0; i < n; i++) {
        struct asset_params p = {.lang = "en"};
        CLEANUP(kb_freep)
        char *url = kb_printf("http://user:secret@127.0.0.1:%d/%s?key=hidden", port, list[i].name);
        assert_ok(err, asset_create_url(l->site.store, &p, url, ids[i], &err));
    }
    for (size_t i = 0; i < n; i++) {
        struct expected e = {l, ids[i], list[i].state};
        CLEANUP(text_free) struct text json = {0};
        bool came = site_wait(asset_is, &e);
        assert_ok(err, asset_json(l->site.store, ids[i], &json, &err));
        if (!came || !strstr(text_get(&json), list[i].part) || strstr(text_get(&json), "secret") ||
            strstr(text_get(&json), "hidden"))
            fail_msg("%s: %s (wanted '%s', %s)", list[i].name, text_get(&json), list[i].part,
                     list[i].state);
    }
    free(ids);
}

static void addresses_are_downloaded(void **state)
{
    struct live *l = *state;
    int port;
    struct source *source = source_start(&port);
    live_restart(l, &(struct server_params){.upload_bytes = 5000});
    static const struct wanted list[] = {
        {"file.wav", "new", "\"size\":1000"},
        {"old", "new", "\"received\":1000"},
        {"missing", "bad", "answered 404"},
        {"loop", "bad", "cannot be downloaded"},
        {"inner", "bad", "cannot be downloaded"},
        {"empty", "bad", "is empty"},
        {"big", "bad", "larger than"},
    };
    fetch_all(l, port, list, ARRAY_LEN(list));
    // With a token the server does not fetch from itself.
    live_restart(l, &(struct server_params){.token = "t"});
    static const struct wanted itself = {"file.wav", "bad", "--allow-address 127.0.0.1:"};
    fetch_all(l, port, &itself, 1);
    source_stop(&source);
}

// With a token, no address leads back inside by a redirect, however it is written.
static void no_redirect_leads_inside(void **state)
{
    struct live *l = *state;
    int port;
    struct source *source = source_start(&port);
    static const struct {
        const char *to, *refused; // %d is the port of the source, which is allowed for 127.0.0.1
    } table[] = {
        {"http://127.0.0.1:1/", "127.0.0.1:1"},
        {"http://localhost:1/", ""}, // ::1 or 127.0.0.1
        {"http://2130706433:1/", "127.0.0.1:1"},
        {"http://0x7f.1:1/", "127.0.0.1:1"},
        {"http://[::ffff:127.0.0.1]:1/", "127.0.0.1:1"},
        {"http://[::ffff:7f00:1]:1/", "127.0.0.1:1"},
        {"http://0.0.0.0:%d/file.wav", "0.0.0.0:"},
        {"http://[::1]:%d/file.wav", "[::1]:"},
        {"http://[::]:%d/file.wav", "[::]:"},
        {"http://127.0.0.2:%d/file.wav", "127.0.0.2:"},
        {"http://[64:ff9b::7f00:1]:%d/", "[64:ff9b::7f00:1]:"},
        {"http://[2002:7f00:1::]:%d/", "[2002:7f00:1::]:"},
        {"http://169.254.169.254/latest/meta-data/", "169.254.169.254:80"},
        {"http://[fd00:ec2::254]/", "[fd00:ec2::254]:80"},
        {"http://100.100.100.200/", "100.100.100.200:80"},
        {"https://192.168.0.1/", "192.168.0.1:443"},
    };
    struct server_params p = {.token = "t"};
    struct kb_error err = {0};
    struct wanted list[ARRAY_LEN(table) + 1] = {{"jump/file.wav", "new", "\"size\":1000"}};
    char rule[50], names[ARRAY_LEN(list)][150], parts[ARRAY_LEN(list)][80];
    snprintf(rule, sizeof(rule), "127.0.0.1:%d", port);
    assert_ok(err, guard_allow(&p.guard, rule, &err));
    live_restart(l, &p);
    snprintf(names[0], sizeof(names[0]), "jump/http://127.0.0.1:%d/file.wav", port);
    list[0].name = names[0];
    int v6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = 1;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char to[100];
        if (v6 < 0 && strchr(table[i].to, '[')) // a kernel without IPv6 knows no such address
            continue;
        snprintf(to, sizeof(to), table[i].to, port);
        snprintf(names[i + 1], sizeof(names[0]), "jump/%s", to);
        snprintf(parts[i + 1], sizeof(parts[0]), "--allow-address %s", table[i].refused);
        list[n++] = (struct wanted){names[i + 1], "bad", parts[i + 1]};
    }
    if (v6 >= 0)
        close(v6);
    fetch_all(l, port, list, n);
    source_stop(&source);
}

static void add_address(struct live *l, const char *host, int port, const char *name, char id[33])
{
    struct kb_error err = {0};
    struct asset_params p = {.lang = "en"};
    CLEANUP(kb_freep) char *url = kb_printf("http://%s:%d/%s", host, port, name);
    assert_ok(err, asset_create_url(l->site.store, &p, url, id, &err));
}

// A server that sends nothing takes two of four places; four that are taken by such servers are
// given up when others wait.
static void a_slow_server_keeps_back_no_other(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    int port;
    struct source *source = source_start(&port);
    char slow[4][33], id[33];
    live_restart(l, &(struct server_params){.crowded_ms = 300});
    for (int i = 0; i < 4; i++)
        add_address(l, "a.localhost", port, "slow", slow[i]);
    add_address(l, "b.localhost", port, "file.wav", id);
    struct expected e = {l, id, "new"};
    assert_true(site_wait(asset_is, &e));
    for (int i = 0; i < 4; i++) {
        struct expected waits = {l, slow[i], "fetching"};
        assert_true(asset_is(&waits)); // nobody else waited
    }

    add_address(l, "b.localhost", port, "slow", id);
    add_address(l, "b.localhost", port, "slow", id);
    add_address(l, "c.localhost", port, "file.wav", id);
    assert_true(site_wait(asset_is, &e));
    e.id = slow[0];
    e.state = "bad";
    assert_true(site_wait(asset_is, &e));
    CLEANUP(text_free) struct text json = {0};
    assert_ok(err, asset_json(l->site.store, slow[0], &json, &err));
    assert_non_null(strstr(text_get(&json), "others wait"));
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

// A household has one network of IPv6 and any number of addresses in it.
static void a_network_is_one_client(void **state)
{
    static const struct {
        const char *address;
        int status;
    } cases[] = {
        {"2001:db8:1:2::1", 201}, {"2001:db8:1:2::2", 429}, {"2001:db8:1:3::1", 201},
        {"203.0.113.1", 201},     {"203.0.113.2", 201},     {"203.0.113.2", 429},
    };
    struct live *l = *state;
    live_restart(l, &(struct server_params){.proxies = "127.0.0.1", .uploads_per_client = 1});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(reply_clear) struct reply r = {0};
        CLEANUP(kb_freep)
        char *headers = kb_printf("Tus-Resumable: 1.0.0\r\nUpload-Length: 10\r\n"
                                  "X-Forwarded-For: %s\r\n",
                                  cases[i].address);
        site_ask(&l->site, &r, "POST", "/api/v1/uploads", headers, "", 0);
        if (r.status != cases[i].status)
            fail_msg("%s: %d, wanted %d", cases[i].address, r.status, cases[i].status);
    }
}

static int count_in_log(const struct live *l, const char *what)
{
    CLEANUP(kb_freep) char *path = path_join(l->site.folder, "logs/koubo.log");
    FILE *log = fopen(path, "r");
    char line[2000];
    int n = 0;
    assert_non_null(log);
    while (fgets(line, sizeof(line), log))
        n += strstr(line, what) != NULL;
    fclose(log);
    return n;
}

// All but the first page. By a child, whose close() takes no locks of this process away.
static void damage_database(const struct live *l)
{
    CLEANUP(kb_freep) char *path = path_join(l->site.folder, "koubo.db");
    struct kb_error err = {0};
    int64_t busy = 1;
    for (int i = 0; i < 500 && busy; i++) {
        assert_ok(err, store_query_int(l->site.store, &busy, &err,
                                       "PRAGMA wal_checkpoint(TRUNCATE)", ""));
        usleep(busy ? 20000 : 0);
    }
    assert_int_equal(busy, 0);
    pid_t child = fork();
    if (child == 0) {
        char bad[4096];
        struct stat st;
        int fd = open(path, O_WRONLY);
        bool done = fd >= 0 && fstat(fd, &st) == 0;
        memset(bad, 'z', sizeof(bad));
        for (off_t at = sizeof(bad); done && at < st.st_size; at += (off_t)sizeof(bad))
            done = pwrite(fd, bad, sizeof(bad), at) == (ssize_t)sizeof(bad);
        _exit(done ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

// The database goes bad under a running server: the server's fault, and told once.
static void a_damaged_database_is_no_bad_request(void **state)
{
    struct live *l = *state;
    damage_database(l);
    for (int i = 0; i < 3; i++)
        live_refuses(l, 500, "internal", "is damaged", "GET", "/api/v1/assets", NULL);
    assert_int_equal(count_in_log(l, "GET /api/v1/assets: "), 1);
    live_refuses(l, 500, "internal", "is damaged", "DELETE", "/api/v1/results/1", NULL);
}

// A clock that leaps to and fro makes no more of them.
static void no_clock_wears_out_backups(void **state)
{
    const int64_t hour = 3600 * 1000, now = 1800000000000;
    assert_true(keeper_is_due(0, now, -1));
    assert_false(keeper_is_due(now - 23 * hour, now, -1));
    assert_true(keeper_is_due(now - 24 * hour, now, -1));
    assert_false(keeper_is_due(now + hour, now, -1));
    assert_false(keeper_is_due(now, now + 9000 * hour, hour));
    assert_false(keeper_is_due(0, now - 9000 * hour, 2 * hour));
    assert_true(keeper_is_due(now - 24 * hour, now, 24 * hour));
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

static void the_folder_of_a_machine_is_refused(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    struct server *server = NULL;
    struct store *store = NULL;
    CLEANUP(kb_freep) char *folder = path_join(l->site.folder, "machine");
    struct server_params p = {.data = folder, .supervisor.n_workers = -1};
    assert_ok(err, store_open(&store, folder, true, &err));
    assert_ok(err, setting_put(store, NODE_SETTING, "{\"name\":\"n1\"}", &err));
    store_close(&store);
    assert_fails(err, KB_BAD_INPUT, "koubo node", server_start(&server, &p, &err));
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
        TEST(addresses_are_downloaded),          TEST(downloads_go_on_after_a_restart),
        TEST(a_second_server_says_who_is_there), TEST(the_folder_of_a_machine_is_refused),
        TEST(the_lock_tells_the_address),        TEST(no_redirect_leads_inside),
        TEST(a_slow_server_keeps_back_no_other), TEST(a_token_is_asked_for),
        TEST(the_database_is_backed_up),         TEST(no_clock_wears_out_backups),
        TEST(a_network_is_one_client),           TEST(a_damaged_database_is_no_bad_request),
    };
    return cmocka_run_group_tests_name("server/life", tests, NULL, NULL);
}
