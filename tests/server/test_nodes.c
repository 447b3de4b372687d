// The machines of a cluster by the API, on a real server whose Redis cannot be reached: they are
// kept in the database all the same.
#include "tests/chinese.h"
#include "tests/server/live.h"

#include "base/file.h"
#include "base/sentence.h"
#include "queue/node.h"

#include <unistd.h>

#define REDIS "redis://head:very-secret@127.0.0.1:1/3?prefix=studio"

static const struct server_params cluster = {.proxies = "", .head = {.redis = REDIS}};

static int setup(void **state)
{
    struct live *l = kb_alloc(sizeof(*l));
    live_start(l, &cluster);
    *state = l;
    return 0;
}

static void add(struct live *l, const char *name)
{
    char secret[65];
    struct kb_error err = {0};
    assert_ok(err, node_add(l->site.store, name, NULL, secret, &err));
}

static void alone_it_says_how_to_begin(void **state)
{
    struct live *l = *state;
    static const char *const asked[][2] = {{"GET", "/api/v1/nodes"},
                                           {"POST", "/api/v1/nodes"},
                                           {"PATCH", "/api/v1/nodes/n1"},
                                           {"DELETE", "/api/v1/nodes/n1"},
                                           {"POST", "/api/v1/nodes/n1/renew"}};
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        live_refuses(l, 409, "no_cluster", "--cluster redis://", asked[i][0], asked[i][1], NULL);
    json_t *s = live_ask(l, 200, "GET", "/api/v1/system", NULL);
    assert_true(json_is_null(json_object_get(s, "cluster")));
    assert_int_equal(json_array_size(json_object_get(s, "nodes")), 0);
    json_decref(s);
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "GET", "/metrics", NULL, NULL, 0);
    assert_status(&r, 200);
    assert_null(strstr(r.body, "koubo_node"));
}

static void one_is_added_named_drained_renewed_removed(void **state)
{
    struct live *l = *state;
    struct node row;
    struct kb_error err = {0};
    char first[65];
    json_t *a = live_ask(l, 201, "POST", "/api/v1/nodes", "{\"name\":\"n1\",\"title\":\"Up\"}");
    assert_string_equal(text_at(a, "node.name"), "n1");
    assert_string_equal(text_at(a, "node.title"), "Up");
    assert_string_equal(text_at(a, "node.state"), "new");
    assert_ok(err, node_get(l->site.store, "n1", &row, &err));
    assert_string_equal(text_at(a, "secret"), row.secret);
    snprintf(first, sizeof(first), "%s", row.secret);
    json_decref(a);

    a = live_ask(l, 200, "PATCH", "/api/v1/nodes/n1", "{\"title\":\"Down\",\"draining\":true}");
    assert_string_equal(text_at(a, "title"), "Down");
    assert_true(json_is_true(json_object_get(a, "draining")));
    json_decref(a);
    a = live_ask(l, 200, "PATCH", "/api/v1/nodes/n1", "{\"draining\":false}");
    assert_string_equal(text_at(a, "title"), "Down");
    assert_true(json_is_false(json_object_get(a, "draining")));
    json_decref(a);

    a = live_ask(l, 200, "POST", "/api/v1/nodes/n1/renew", NULL);
    assert_ok(err, node_get(l->site.store, "n1", &row, &err));
    assert_string_equal(text_at(a, "secret"), row.secret);
    assert_string_not_equal(row.secret, first);
    json_decref(a);

    a = live_ask(l, 200, "GET", "/api/v1/nodes", NULL);
    assert_int_equal(number_at(a, "total"), 1);
    CLEANUP(kb_freep) char *list = json_dumps(a, 0);
    assert_null(strstr(list, row.secret));
    json_decref(a);
    live_ask(l, 204, "DELETE", "/api/v1/nodes/n1", NULL);
    a = live_ask(l, 200, "GET", "/api/v1/nodes", NULL);
    assert_int_equal(number_at(a, "total"), 0);
    json_decref(a);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct live *l = *state;
    static const char nodes[] = "/api/v1/nodes", n1[] = "/api/v1/nodes/n1";
    add(l, "n1");
    live_refuses(l, 409, "conflict", "'n1' already", "POST", nodes, "{\"name\":\"n1\"}");
    live_refuses(l, 400, "bad_input", "small letters", "POST", nodes, "{\"name\":\"N 1\"}");
    live_refuses(l, 400, "bad_input", "small letters", "POST", nodes, "{\"name\":\"-n\"}");
    live_refuses(l, 400, "bad_input", "worker of this machine", "POST", nodes, "{\"name\":\"w1\"}");
    live_refuses(l, 400, "bad_input", "'name' is missing", "POST", nodes, "{}");
    live_refuses(l, 400, "bad_input", "'secret'", "POST", nodes,
                 "{\"name\":\"n2\",\"secret\":\"x\"}");
    live_refuses(l, 400, "bad_input", "true or false", "PATCH", n1, "{\"draining\":1}");
    live_refuses(l, 400, "bad_input", "text", "PATCH", n1, "{\"title\":1}");
    live_refuses(l, 400, "bad_input", "letters", "PATCH", n1,
                 "{\"title\":\"0123456789012345678901234567890123456789012345678901234567890123456"
                 "78901234567890123456789012345678901\"}");
    live_refuses(l, 404, "not_found", "'n2'", "PATCH", "/api/v1/nodes/n2", "{\"draining\":true}");
    live_refuses(l, 404, "not_found", "'n2'", "PATCH", "/api/v1/nodes/n2", "{}");
    live_refuses(l, 404, "not_found", "'n2'", "DELETE", "/api/v1/nodes/n2", NULL);
    live_refuses(l, 404, "not_found", "'n2'", "POST", "/api/v1/nodes/n2/renew", NULL);
}

// By the address that the client uses.
static json_t *added(struct live *l, const char *host, const char *name)
{
    CLEANUP(reply_clear) struct reply r = {0};
    CLEANUP(kb_freep) char *body = kb_printf("{\"name\":\"%s\"}", name);
    int fd = site_connect(&l->site);
    site_sendf(fd,
               "POST /api/v1/nodes HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Proto: https\r\n"
               "Authorization: Bearer lemon\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
               host, strlen(body), body);
    site_receive(fd, &r, "POST");
    assert_status(&r, 201);
    assert_string_equal(reply_value(&r, "Cache-Control"), "no-store");
    return reply_object(&r);
}

static bool warns(json_t *answer, const char *part)
{
    size_t i;
    json_t *w;
    json_array_foreach(json_object_get(answer, "warnings"), i, w)
    {
        if (strstr(json_string_value(w), part))
            return true;
    }
    return false;
}

static void assert_holds(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in '%s'", part, text);
}

static void the_lines_lead_here_and_tell_no_password(void **state)
{
    struct live *l = *state;
    json_t *a = live_ask(l, 201, "POST", "/api/v1/nodes", "{\"name\":\"n1\"}");
    CLEANUP(kb_freep) char *all = json_dumps(a, 0);
    assert_null(strstr(all, "very-secret"));
    assert_holds(text_at(a, "commands.0"), text_at(a, "secret"));
    assert_holds(text_at(a, "commands.0"), "install -D -m 600 /dev/stdin");
    assert_holds(text_at(a, "commands.1"), "'redis://USER:PASSWORD@");
    assert_holds(text_at(a, "commands.1"), ":1/3?prefix=studio'");
    assert_holds(text_at(a, "commands.2"), "koubo node --name n1 ");
    CLEANUP(kb_freep) char *port = kb_printf(":%d'", l->site.port);
    assert_holds(text_at(a, "commands.2"), port);
    assert_null(strstr(text_at(a, "commands.2"), text_at(a, "secret")));
    assert_true(warns(a, "USER:PASSWORD"));
    assert_true(warns(a, "Redis is reached by an address of this machine"));
    assert_true(warns(a, "--listen 0.0.0.0"));
    json_decref(a);
}

// Beside the program of this test, as it is beside one in a folder of sources.
static void from_a_folder_of_sources_the_script_is_meant(void **state)
{
    struct live *l = *state;
    CLEANUP(kb_freep) char *script = path_beside_program("../start.sh");
    fclose(fopen(script, "w"));
    json_t *a = live_ask(l, 201, "POST", "/api/v1/nodes", "{\"name\":\"n1\"}");
    unlink(script);
    assert_true(text_begins(text_at(a, "commands.2"), "./start.sh node --name n1 "));
    assert_true(warns(a, "in the folder of koubo"));
    json_decref(a);
}

static void the_lines_take_the_address_of_who_asks(void **state)
{
    static const struct {
        const char *redis, *host, *line, *depot;
        int warnings;
    } table[] = {
        {"rediss://192.0.2.7/0", "head.example.com:8443", "'rediss://192.0.2.7/0'",
         "--depot 'https://head.example.com:8443'", 0},
        // what would end the word of the shell does not; a name that is more than one is not taken
        {"rediss://192.0.2.7/0?ca=/it's", "head';reboot;'", "'rediss://192.0.2.7/0?ca=/it'\\''s'",
         "--depot 'https://", 1},
        {"redis://a:b@[::1]:6380/0", "[2001:db8::5]:7860", "USER:PASSWORD@[2001:db8::5]:6380/0'",
         "--depot 'https://[2001:db8::5]:7860'", 2},
        {"redis://localhost", "head.example.com", "'redis://head.example.com'",
         "--depot 'https://head.example.com'", 1},
    };
    struct live *l = *state;
    struct server_params p = cluster;
    p.token = "lemon";
    p.proxies = "127.0.0.1";
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%zu", i);
        p.head.redis = table[i].redis;
        live_restart(l, &p);
        json_t *a = added(l, table[i].host, name);
        assert_holds(text_at(a, "commands.1"), table[i].line);
        assert_holds(text_at(a, "commands.2"), table[i].depot);
        assert_null(strstr(text_at(a, "commands.2"), "reboot"));
        assert_int_equal(json_array_size(json_object_get(a, "warnings")), table[i].warnings);
        json_decref(a);
    }
}

static void of_an_s3_store_the_lines_say_what_others_lack(void **state)
{
    static const struct {
        const char *depot;
        bool loopback, ca;
    } table[] = {
        {"s3://films/a?endpoint=https://192.0.2.7:1", false, false},
        {"s3://films/a?endpoint=http://127.0.0.1:1&style=path", true, false},
        {"s3://films/a?region=eu&endpoint=http%3A%2F%2Flocalhost", true, false},
        {"s3://films/a?endpoint=http://[::1]:1&ca=/etc/hostname", true, true},
        {"s3://films/a?ca=/etc/hostname&endpoint=https://localhost.example.com:1", false, true},
    };
    struct live *l = *state;
    struct server_params p = cluster;
    p.token = "lemon";
    p.proxies = "127.0.0.1";
    setenv("AWS_ACCESS_KEY_ID", "key", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "very-secret", 1);
    setenv("no_proxy", "*", 1);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%zu", i);
        p.head.depot = table[i].depot;
        live_restart(l, &p);
        json_t *a = added(l, "head.example.com", name);
        assert_holds(text_at(a, "commands.2"), table[i].depot);
        assert_int_equal(warns(a, "(endpoint)"), table[i].loopback);
        assert_int_equal(warns(a, "--depot names (ca)"), table[i].ca);
        assert_true(warns(a, "~/.config/koubo/depot"));
        json_decref(a);
    }
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
}

static void the_system_view_and_the_metrics_tell(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    add(l, "n1");
    add(l, "n2");
    assert_ok(err, node_heard(l->site.store, "n2", 3,
                              "{\"version\":\"" KOUBO_VERSION "\",\"load\":1.5}", NULL, &err));
    json_t *s = live_ask(l, 200, "GET", "/api/v1/system", NULL);
    CLEANUP(kb_freep) char *all = json_dumps(s, 0);
    assert_null(strstr(all, "very-secret"));
    assert_true(json_is_false(
        json_object_get(json_object_get(json_object_get(s, "cluster"), "redis"), "connected")));
    assert_string_equal(text_at(s, "cluster.depot.kind"), "http");
    assert_string_equal(text_at(s, "nodes.0.state"), "new");
    assert_string_equal(text_at(s, "nodes.1.state"), "active");
    assert_int_equal(number_at(s, "nodes.1.slots"), 3);
    json_decref(s);
    static const char *const lines[] = {
        "koubo_nodes{state=\"new\"} 1\n",
        "koubo_nodes{state=\"active\"} 1\n",
        "koubo_nodes{state=\"silent\"} 0\n",
        "koubo_node_jobs{node=\"n1\"} 0\n",
        "koubo_node_slots{node=\"n2\"} 3\n",
        "koubo_node_heard_time_seconds{node=\"n1\"} 0\n",
        "\nkoubo_offers 0\n",
        "\nkoubo_arriving 0\n",
        "\nkoubo_redis_connected 0\n",
        "# TYPE koubo_nodes gauge\n",
    };
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "GET", "/metrics", NULL, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_holds(r.body, lines[i]);
}

// The page's doctor looks at this head's Redis, and shows no password.
static void the_doctor_looks_at_redis(void **state)
{
    struct live *l = *state;
    json_t *d = live_ask(l, 200, "GET", "/api/v1/doctor", NULL);
    CLEANUP(kb_freep) char *all = json_dumps(d, 0);
    assert_holds(all, "{\"name\": \"redis\"");
    assert_holds(all, "Redis at redis://127.0.0.1:1/3 cannot be reached");
    assert_holds(all, "none has been added to this head");
    assert_null(strstr(all, "very-secret"));
    json_decref(d);
}

// A sentence in the heartbeat is said to each in his own language.
static void a_heartbeat_speaks_to_each(void **state)
{
    struct live *l = *state;
    add(l, "n1");
    static const char *const languages[] = {"en", "zh"};
    struct kb_error err = {0}, why = {0};
    kb_fail(&why, KB_BAD_INPUT, "%s", _("cancelled"));
    CLEANUP(kb_freep) char *kept = sentence_of(&why);
    assert_ok(err, node_heard(l->site.store, "n1", 0, "{}", kept, &err));
    for (size_t i = 0; i < ARRAY_LEN(languages); i++) {
        CLEANUP(kb_freep) char *path = kb_printf("/api/v1/events?since=0&lang=%s", languages[i]);
        CLEANUP(text_free) struct text heard = {0};
        char piece[4096];
        int fd = site_connect(&l->site);
        site_sendf(fd, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, l->site.port);
        while (!strstr(text_get(&heard), "event: heartbeat") ||
               !strstr(strstr(text_get(&heard), "event: heartbeat"), "\n\n")) {
            ssize_t n = read(fd, piece, sizeof(piece));
            assert_true(n > 0);
            text_add_bytes(&heard, piece, (size_t)n);
        }
        close(fd);
        assert_holds(text_get(&heard), "\"state\":\"refused\"");
        assert_holds(text_get(&heard), i == 0 ? "\"error\":\"cancelled\"" : "\"error\":\"已取消\"");
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, live_teardown)

int main(void)
{
    load_chinese();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(alone_it_says_how_to_begin, live_setup, live_teardown),
        TEST(one_is_added_named_drained_renewed_removed),
        TEST(what_makes_no_sense_is_refused),
        TEST(the_lines_lead_here_and_tell_no_password),
        TEST(from_a_folder_of_sources_the_script_is_meant),
        TEST(the_lines_take_the_address_of_who_asks),
        TEST(of_an_s3_store_the_lines_say_what_others_lack),
        TEST(the_system_view_and_the_metrics_tell),
        TEST(the_doctor_looks_at_redis),
        TEST(a_heartbeat_speaks_to_each),
    };
    return cmocka_run_group_tests_name("server/nodes", tests, NULL, NULL);
}
