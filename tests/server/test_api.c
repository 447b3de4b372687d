// Batches, jobs, log, system view, settings, downloads, start and stop, on a real server.
#include "tests/server/live.h"

#include "asset/asset.h"
#include "base/file.h"
#include "base/log.h"
#include "queue/lease.h"
#include "store/sql.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct server_params usual;

static int start(void **state)
{
    struct live *l = kb_alloc(sizeof(*l));
    live_start(l, &usual);
    *state = l;
    return 0;
}

static int stop(void **state)
{
    live_stop(*state);
    free(*state);
    return 0;
}

// --- batches

static int64_t make_batch(struct live *l, const char *name, int n_videos)
{
    char audio[33], video[33];
    struct text body = {0};
    site_asset(&l->site, "speech.wav", "RIFF", 4, audio);
    text_addf(&body, "{\"name\":\"%s\",\"audio\":\"%s\",\"videos\":[", name, audio);
    for (int i = 0; i < n_videos; i++) {
        char content[20];
        snprintf(content, sizeof(content), "ftyp %s %d", name, i);
        site_asset(&l->site, "person.mp4", content, strlen(content), video);
        text_addf(&body, "%s\"%s\"", i ? "," : "", video);
    }
    text_add(&body, "]}");
    json_t *batch = live_ask(l, 201, "POST", "/api/v1/batches", text_get(&body));
    int64_t id = number_at(batch, "id");
    assert_string_equal(text_at(batch, "name"), name);
    assert_int_equal(number_at(batch, "counts.queued"), n_videos);
    json_decref(batch);
    text_free(&body);
    return id;
}

static const char *path(const char *fmt, int64_t id)
{
    static char paths[4][100];
    static int next;
    char *ret = paths[next++ % 4];
    snprintf(ret, sizeof(paths[0]), fmt, (long long)id);
    return ret;
}

static void bad_bodies_are_refused_by_name(void **state)
{
    static const struct {
        const char *body, *part;
        int status;
    } table[] = {
        {"{", "line", 400},
        {"[]", "object", 400},
        {"{}", "'audio'", 400},
        {"{\"audio\":7}", "'audio'", 400},
        {"{\"audio\":\"\"}", "'audio' is empty", 400},
        {"{\"audio\":\"x\"}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[1]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"priority\":10}", "from 0 to 9", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"priority\":\"5\"}", "'priority'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"options\":[]}", "'options'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"colour\":1}", "'colour'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"notify\":{\"pigeon\":{}}}", "pigeon", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"name\":\"a\\u0007b\"}", "'name'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"name\":\"a\\u0000b\"}", "", 400},
        {"{\"audio\":\"00000000000000000000000000000000\",\"videos\":[\"x\"]}", "", 404},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        live_refuses(*state, table[i].status, table[i].status == 404 ? "not_found" : "bad_input",
                     table[i].part, "POST", "/api/v1/batches", table[i].body);
    struct text name = {0};
    text_add(&name, "{\"audio\":\"x\",\"videos\":[\"x\"],\"name\":\"");
    for (int i = 0; i < 201; i++)
        text_add(&name, "口");
    text_add(&name, "\"}");
    live_refuses(*state, 400, "bad_input", "201 letters", "POST", "/api/v1/batches",
                 text_get(&name));
    text_free(&name);
    json_t *none = live_ask(*state, 200, "GET", "/api/v1/batches", NULL);
    assert_int_equal(number_at(none, "total"), 0);
    json_decref(none);
}

static void options_are_checked(void **state)
{
    char audio[33], video[33], body[300];
    struct live *l = *state;
    site_asset(&l->site, "speech.wav", "RIFF", 4, audio);
    site_asset(&l->site, "person.mp4", "ftyp", 4, video);
    snprintf(body, sizeof(body), "{\"audio\":\"%s\",\"videos\":[\"%s\"],\"options\":{\"crf\":99}}",
             audio, video);
    live_refuses(l, 400, "bad_input", "crf", "POST", "/api/v1/batches", body);
}

static void a_batch_goes_through_its_life(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    int64_t id = make_batch(l, "one", 2), other = make_batch(l, "two", 1);

    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "GET", path("/api/v1/batches/%lld", id), NULL, NULL, 0);
    assert_status(&r, 200);
    assert_string_equal(reply_value(&r, "Content-Type"), "application/json");

    json_decref(live_ask(l, 200, "POST", path("/api/v1/batches/%lld/pause", id), ""));
    json_t *b = live_ask(l, 200, "GET", "/api/v1/batches?state=paused", NULL);
    assert_int_equal(number_at(b, "total"), 1);
    assert_int_equal(number_at(b, "items.0.id"), id);
    json_decref(b);
    b = live_ask(l, 200, "POST", path("/api/v1/batches/%lld/resume", id), NULL);
    assert_string_equal(text_at(b, "state"), "active");
    json_decref(b);
    b = live_ask(l, 200, "PATCH", path("/api/v1/batches/%lld", id),
                 "{\"name\":\"新名字\",\"priority\":9}");
    assert_string_equal(text_at(b, "name"), "新名字");
    assert_int_equal(number_at(b, "priority"), 9);
    json_decref(b);
    live_refuses(l, 400, "bad_input", "'size'", "PATCH", path("/api/v1/batches/%lld", id),
                 "{\"size\":1}");
    live_refuses(l, 400, "bad_input", "'before'", "POST", path("/api/v1/batches/%lld/move", id),
                 "{}");
    json_decref(
        live_ask(l, 200, "POST", path("/api/v1/batches/%lld/move", other), "{\"before\":-1}"));

    struct job_claim claim = {0};
    assert_ok(err, job_claim(l->site.store, "w1", 0, &claim, &err));
    assert_int_equal(claim.batch, id);
    live_refuses(l, 409, "conflict", "", "DELETE", path("/api/v1/batches/%lld", id), NULL);
    live_refuses(l, 409, "conflict", "", "DELETE", path("/api/v1/jobs/%lld", claim.job), NULL);
    json_t *jobs = live_ask(l, 200, "GET", "/api/v1/jobs?state=running", NULL);
    assert_int_equal(number_at(jobs, "total"), 1);
    assert_int_equal(number_at(jobs, "items.0.id"), claim.job);
    json_decref(jobs);
    b = live_ask(l, 200, "POST", path("/api/v1/batches/%lld/cancel", id), NULL);
    assert_int_equal(number_at(b, "counts.cancelled"), 1);
    json_decref(b);
    struct kb_error why = {.code = KB_CANCELLED, .text = "cancelled"};
    assert_ok(err, job_failed(l->site.store, &claim, &why, &err));

    json_decref(live_ask(l, 200, "POST", path("/api/v1/jobs/%lld/retry", claim.job), NULL));
    json_t *job = live_ask(l, 200, "POST", path("/api/v1/jobs/%lld/cancel", claim.job), NULL);
    assert_string_equal(text_at(job, "state"), "cancelled");
    json_decref(job);
    live_ask(l, 204, "DELETE", path("/api/v1/batches/%lld", id), NULL);
    live_refuses(l, 404, "not_found", "", "GET", path("/api/v1/batches/%lld", id), NULL);
    live_refuses(l, 404, "not_found", "", "GET", path("/api/v1/jobs/%lld", claim.job), NULL);
    job_claim_free(&claim);
}

static void jobs_move_within_their_batch(void **state)
{
    struct live *l = *state;
    int64_t id = make_batch(l, "three", 3);
    json_t *jobs = live_ask(l, 200, "GET", path("/api/v1/jobs?batch=%lld", id), NULL);
    int64_t first = number_at(jobs, "items.0.id"), last = number_at(jobs, "items.2.id");
    json_decref(jobs);
    char body[50];
    snprintf(body, sizeof(body), "{\"before\":%lld}", (long long)first);
    json_decref(live_ask(l, 200, "POST", path("/api/v1/jobs/%lld/move", last), body));
    jobs = live_ask(l, 200, "GET", path("/api/v1/jobs?batch=%lld", id), NULL);
    assert_int_equal(number_at(jobs, "items.0.id"), last);
    assert_int_equal(number_at(jobs, "items.1.id"), first);
    json_decref(jobs);
}

static void lists_check_their_questions(void **state)
{
    static const struct {
        const char *path, *part;
    } table[] = {
        {"/api/v1/batches?limit=0", "limit"},    {"/api/v1/batches?limit=1001", "limit"},
        {"/api/v1/batches?offset=-1", "offset"}, {"/api/v1/batches?state=old", "active"},
        {"/api/v1/jobs?batch=x", "batch"},       {"/api/v1/jobs?state=old", "queued"},
        {"/api/v1/logs?lines=9999", "lines"},    {"/api/v1/logs?level=loud", "error, warn"},
        {"/api/v1/logs?after=-5", "after"},      {"/api/v1/logs?job=x", "job"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        live_refuses(*state, 400, "bad_input", table[i].part, "GET", table[i].path, NULL);
    live_refuses(*state, 404, "not_found", "", "GET", "/api/v1/batches/99999999999999999999", NULL);
    live_refuses(*state, 400, "bad_input", "address", "GET", "/api/v1/jobs/..%2f1", NULL);
}

// --- the log

static void a_log_is_read_from_its_end(void **state)
{
    struct live *l = *state;
    log_warn("first mark");
    log_set_job(7);
    log_info("second mark");
    log_set_job(0);
    log_info("口播 third mark");

    json_t *a = live_ask(l, 200, "GET", "/api/v1/logs?search=mark&lines=2", NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 2);
    assert_string_equal(text_at(a, "items.0.text"), "second mark");
    assert_string_equal(text_at(a, "items.1.text"), "口播 third mark");
    assert_int_equal(number_at(a, "items.0.job"), 7);
    assert_string_equal(text_at(a, "items.0.source"), "serve");
    assert_true(llabs(number_at(a, "items.0.time") - kb_wall_ms()) < 60000);
    json_t *b = live_ask(l, 200, "GET", "/api/v1/logs?level=warn&search=mark", NULL);
    assert_int_equal(json_array_size(json_object_get(b, "items")), 1);
    assert_string_equal(text_at(b, "items.0.text"), "first mark");
    json_decref(b);
    b = live_ask(l, 200, "GET", "/api/v1/logs?job=7", NULL);
    assert_int_equal(json_array_size(json_object_get(b, "items")), 1);
    json_decref(b);

    // What comes after a place, also when the file was renamed in between.
    int64_t cursor = number_at(a, "cursor");
    json_decref(a);
    a = live_ask(l, 200, "GET", path("/api/v1/logs?after=%lld", cursor), NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 0);
    assert_int_equal(number_at(a, "cursor"), cursor);
    json_decref(a);
    log_info("fourth mark");
    char from[200], to[210];
    snprintf(from, sizeof(from), "%s/logs/koubo.log", l->site.folder);
    snprintf(to, sizeof(to), "%s.1", from);
    sleep(1); // a file is known by the second of its first line
    assert_int_equal(rename(from, to), 0);
    log_info("fifth mark");
    log_info("sixth mark");
    a = live_ask(l, 200, "GET", path("/api/v1/logs?lines=2&search=mark&after=%lld", cursor), NULL);
    assert_string_equal(text_at(a, "items.0.text"), "fourth mark");
    assert_string_equal(text_at(a, "items.1.text"), "fifth mark");
    cursor = number_at(a, "cursor");
    json_decref(a);
    a = live_ask(l, 200, "GET", path("/api/v1/logs?after=%lld&search=mark", cursor), NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 1);
    assert_string_equal(text_at(a, "items.0.text"), "sixth mark");
    json_decref(a);
    a = live_ask(l, 200, "GET", "/api/v1/logs?search=mark&lines=5", NULL);
    assert_string_equal(text_at(a, "items.0.text"), "second mark");
    json_decref(a);
    log_info("a name of any bytes: \xe8\xa7.mp4 mark");
    a = live_ask(l, 200, "GET", "/api/v1/logs?search=mark&lines=1", NULL);
    assert_string_equal(text_at(a, "items.0.text"),
                        "a name of any bytes: \xef\xbf\xbd\xef\xbf\xbd.mp4 mark");
    json_decref(a);
    a = live_ask(l, 200, "GET", "/api/v1/logs?after=123456789012345&lines=1", NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 1);
    json_decref(a);
}

// Reads until text was seen, at most 10 s.
static void expect_text(int fd, struct text *got, const char *text)
{
    struct timeval wait = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    while (!strstr(text_get(got), text)) {
        char buffer[4096];
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            fail_msg("'%s' did not come; there is:\n%s", text, text_get(got));
        text_add_bytes(got, buffer, (size_t)n);
    }
}

static void a_log_is_followed(void **state)
{
    struct live *l = *state;
    struct text got = {0};
    int fd = site_connect(&l->site);
    site_sendf(fd, "GET /api/v1/logs?follow=1&level=warn HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
               l->site.port);
    expect_text(fd, &got, "text/plain");
    usleep(100000);
    log_info("not asked for");
    log_warn("one to follow");
    expect_text(fd, &got, "one to follow");
    char from[200], to[210];
    snprintf(from, sizeof(from), "%s/logs/koubo.log", l->site.folder);
    snprintf(to, sizeof(to), "%s.1", from);
    assert_int_equal(rename(from, to), 0);
    log_warn("in the next file");
    expect_text(fd, &got, "in the next file");
    assert_null(strstr(text_get(&got), "not asked for"));
    close(fd);
    text_free(&got);
}

// --- the system

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

// --- downloads

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

// --- start

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    unsetenv("http_proxy");
    const struct CMUnitTest tests[] = {
        TEST(bad_bodies_are_refused_by_name),
        TEST(options_are_checked),
        TEST(a_batch_goes_through_its_life),
        TEST(jobs_move_within_their_batch),
        TEST(lists_check_their_questions),
        TEST(a_log_is_read_from_its_end),
        TEST(a_log_is_followed),
        TEST(health_metrics_system),
        TEST(secrets_do_not_come_back),
        TEST(a_password_goes_to_its_own_server_alone),
        TEST(the_doctor_looks_once_for_all),
        TEST(addresses_are_downloaded),
        TEST(downloads_go_on_after_a_restart),
        TEST(a_second_server_says_who_is_there),
        TEST(the_lock_tells_the_address),
        TEST(a_token_is_asked_for),
    };
    return cmocka_run_group_tests_name("server/api", tests, NULL, NULL);
}
