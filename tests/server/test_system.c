// The view of the system, the settings and the doctor, on a real server.
#include "tests/server/live.h"

#include "store/sql.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static void health_metrics_system(void **state)
{
    struct live *l = *state;
    site_result(&l->site, "batch", "person.mp4", 100);
    json_t *h = live_ask(l, 200, "GET", "/healthz", NULL);
    assert_string_equal(text_at(h, "version"), KOUBO_VERSION);
    json_decref(h);
    json_t *s = live_ask(l, 200, "GET", "/api/v1/system", NULL);
    assert_true(number_at(s, "cpu.cores") >= 1);
    assert_true(number_at(s, "memory.total") > number_at(s, "memory.available"));
    assert_true(number_at(s, "disk.total") > 0);
    assert_true(number_at(s, "server.rss") > 1000000);
    assert_int_equal(number_at(s, "server.connections"), 1);
    assert_int_equal(number_at(s, "stats.jobs.done"), 1);
    assert_int_equal(number_at(s, "lost.results"), 0);
    assert_string_equal(text_at(s, "models.0.name"), "koubo-lips-research.safetensors");
    assert_string_equal(text_at(s, "models.0.kind"), "listener");
    json_decref(s);
    json_t *session = live_ask(l, 200, "GET", "/api/v1/session", NULL);
    assert_true(json_is_false(json_object_get(session, "required")));
    assert_true(json_is_true(json_object_get(session, "ok")));
    json_decref(session);

    static const char *const lines[] = {
        "\nkoubo_jobs{state=\"done\"} 1\n",
        "koubo_jobs{state=\"queued\"} 0\n",
        "koubo_workers{kind=\"generate\",state=\"busy\"} 0\n",
        "\nkoubo_connections ",
        "\nkoubo_disk_free_bytes ",
        "\nprocess_resident_memory_bytes ",
        "koubo_build_info{version=\"" KOUBO_VERSION "\"} 1\n",
        "# TYPE koubo_jobs gauge\n",
    };
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "GET", "/metrics", NULL, NULL, 0);
    assert_status(&r, 200);
    assert_non_null(strstr(reply_value(&r, "Content-Type"), "text/plain; version=0.0.4"));
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (!strstr(r.body, lines[i]))
            fail_msg("'%s' is not in:\n%s", lines[i], r.body);
}

static void secrets_do_not_come_back(void **state)
{
    static const char address[] = "/api/v1/settings/notify";
    json_t *d = live_ask(*state, 200, "GET", address, NULL);
    assert_int_equal(json_object_size(d), 0);
    json_decref(d);
    d = live_ask(*state, 200, "PUT", address,
                 "{\"webhook\":{\"url\":\"http://127.0.0.1:1/hook\",\"secret\":\"apple\"}}");
    assert_string_equal(text_at(d, "webhook.secret"), "********");
    json_decref(d);
    d = live_ask(*state, 200, "PUT", address,
                 "{\"webhook\":{\"url\":\"http://127.0.0.1:1/hook\",\"secret\":\"********\"},"
                 "\"events\":[\"job_failed\"]}");
    json_decref(d);
    struct live *l = *state;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text stored = {0};
    assert_ok(err, setting_get(l->site.store, "notify", &stored, &err));
    assert_non_null(strstr(text_get(&stored), "apple"));
    assert_non_null(strstr(text_get(&stored), "job_failed"));
    live_refuses(l, 400, "bad_input", "pigeon", "PUT", address, "{\"pigeon\":{}}");

    // The stored one; nobody listens on port 1.
    d = live_ask(l, 200, "POST", "/api/v1/settings/notify/test", NULL);
    assert_string_equal(text_at(d, "items.0.target"), "webhook");
    assert_true(
        json_is_false(json_object_get(json_array_get(json_object_get(d, "items"), 0), "ok")));
    assert_true(strlen(text_at(d, "items.0.error")) > 0);
    json_decref(d);
    d = live_ask(l, 200, "POST", "/api/v1/settings/notify/test", "{\"events\":[]}");
    assert_int_equal(json_array_size(json_object_get(d, "items")), 0);
    json_decref(d);
}

// A mail server of somebody else on loopback: asks for a password, keeps what it hears.
struct stranger {
    int listener, port, n_calls;
    pthread_t thread;
    struct text heard; // read after stranger_stop()
};

static void *stranger_listen(void *opaque)
{
    struct stranger *s = opaque;
    for (int fd; (fd = accept(s->listener, NULL, NULL)) >= 0; close(fd)) {
        char line[1000];
        const char *answer = "220 hello\r\n";
        s->n_calls++;
        while (send(fd, answer, strlen(answer), MSG_NOSIGNAL) > 0) {
            ssize_t n = recv(fd, line, sizeof(line), 0);
            if (n <= 0)
                break;
            text_add_bytes(&s->heard, line, (size_t)n);
            answer = strncmp(line, "EHLO", 4) == 0   ? "250-x\r\n250 AUTH PLAIN\r\n"
                     : strncmp(line, "AUTH", 4) == 0 ? "334 \r\n"
                                                     : "535 no\r\n";
        }
    }
    return NULL;
}

static void stranger_start(struct stranger *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &size), 0);
    s->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, stranger_listen, s), 0);
}

static void stranger_stop(struct stranger *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

static json_t *stored_settings(struct live *l)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text stored = {0};
    assert_ok(err, setting_get(l->site.store, "notify", &stored, &err));
    return json_loads(text_get(&stored), 0, NULL);
}

#define MAIL_TO                                                                                    \
    "{\"email\":{\"smtp\":\"smtp://"                                                               \
    "127.0.0.1:%d\",\"tls\":false,\"user\":\"u\",\"password\":\"%s\","                             \
    "\"from\":\"a@example.com\",\"to\":[\"b@example.com\"]}}"

// Whoever has the token may change the mail server, but not have the stored password sent to it.
static void a_password_goes_to_its_own_server_alone(void **state)
{
    static const char address[] = "/api/v1/settings/notify";
    static const char again[] = "server or port of 'email' has changed: give the password again";
    static const char hook[] = "{\"webhook\":{\"url\":\"http://127.0.0.1:2/x\",\"secret\":\"%s\"}}";
    struct live *l = *state;
    struct stranger other = {0}, own = {0};
    stranger_start(&other);
    stranger_start(&own);
    CLEANUP(kb_freep) char *mine = kb_printf(MAIL_TO, own.port, "hunter2");
    CLEANUP(kb_freep) char *same = kb_printf(MAIL_TO, own.port, "********");
    CLEANUP(kb_freep) char *theirs = kb_printf(MAIL_TO, other.port, "********");
    CLEANUP(kb_freep) char *masked = kb_printf(hook, "********");
    json_decref(live_ask(l, 200, "PUT", address, mine));
    json_t *before = stored_settings(l);
    live_refuses(l, 400, "bad_input", again, "POST", "/api/v1/settings/notify/test", theirs);
    live_refuses(l, 400, "bad_input", again, "PUT", address, theirs);
    live_refuses(l, 400, "bad_input", "no secret of 'webhook'", "PUT", address, masked);
    json_t *after = stored_settings(l);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
    // Its own server hears it, so the other one could have.
    json_decref(live_ask(l, 200, "POST", "/api/v1/settings/notify/test", same));
    stranger_stop(&own);
    assert_non_null(strstr(text_get(&own.heard), "AHUAaHVudGVyMg==")); // \0u\0hunter2
    text_free(&own.heard);

    // A batch may name the secrets of the server for the server's targets, too.
    char audio[33], video[33];
    site_asset(&l->site, "speech.wav", "RIFF", 4, audio);
    site_asset(&l->site, "person.mp4", "ftyp", 4, video);
    static const char batch[] = "{\"audio\":\"%s\",\"videos\":[\"%s\"],\"notify\":%s}";
    CLEANUP(kb_freep) char *good = kb_printf(batch, audio, video, same);
    CLEANUP(kb_freep) char *bad = kb_printf(batch, audio, video, theirs);
    live_refuses(l, 400, "bad_input", again, "POST", "/api/v1/batches", bad);
    json_decref(live_ask(l, 201, "POST", "/api/v1/batches", good));
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    struct kb_error err = {0};
    assert_ok(err, store_query(l->site.store, &q, &err,
                               "SELECT count(*) FROM batch WHERE notify LIKE '%hunter2%'", ""));
    assert_int_equal(sqlite3_column_int(q, 0), 1);
    stranger_stop(&other);
    assert_int_equal(other.n_calls, 0);
    text_free(&other.heard);
}

static void the_doctor_looks_once_for_all(void **state)
{
    struct live *l = *state;
    live_restart(l, &(struct server_params){0});
    json_t *d = live_ask(l, 200, "GET", "/api/v1/doctor", NULL);
    json_t *server = json_array_get(json_object_get(d, "checks"), 0);
    assert_string_equal(text_at(server, "name"), "server");
    assert_non_null(strstr(text_at(server, "text"), "and answers at http://127.0.0.1:"));
    // The speed of the disk is never the same twice: this answer was kept.
    json_t *again = live_ask(l, 200, "GET", "/api/v1/doctor", NULL);
    assert_true(json_equal(d, again));
    json_decref(again);
    json_decref(d);

    d = live_ask(l, 200, "GET", "/api/v1/doctor?lang=zh", NULL);
    assert_int_equal(strlen(text_at(d, "verdict.text")) > 0, 1);
    json_decref(d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(void)
{
    unsetenv("http_proxy");
    const struct CMUnitTest tests[] = {
        TEST(health_metrics_system),
        TEST(secrets_do_not_come_back),
        TEST(a_password_goes_to_its_own_server_alone),
        TEST(the_doctor_looks_once_for_all),
    };
    return cmocka_run_group_tests_name("server/system", tests, NULL, NULL);
}
