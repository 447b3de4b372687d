#include "tests/server/site.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "base/file.h"
#include "base/place.h"
#include "queue/batch.h"
#include "queue/lease.h"
#include "server/errand.h"
#include "server/pool.h"
#include "server/quota.h"
#include "server/upload/tus.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20000

// --- the server

void site_open(struct site *s)
{
    struct kb_error err = {0};
    signal(SIGPIPE, SIG_IGN);
    snprintf(s->folder, sizeof(s->folder), "%s/koubo-site-XXXXXX",
             getenv("TMPDIR") && strlen(getenv("TMPDIR")) < 40 ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(s->folder));
    s->server.params.data = s->folder;
    s->server.params.lang = "en";
    assert_ok(err, store_open(&s->store, s->folder, true, &err));
    store_set_durable(s->store, false);
}

void site_start(struct site *s, const struct route *const *tables)
{
    struct kb_error err = {0};
    s->server.pool = pool_create(s->folder);
    s->server.transfers = transfers_create();
    s->server.zips = quota_create(ZIPS_EACH, ZIPS_ALL);
    s->server.errands = errands_create();
    struct http_params p = {
        .listen = "127.0.0.1", .app = server_app(&s->server), .lang = "en", .tables = tables};
    assert_ok(err, http_start(&s->server.http, &p, &err));
    s->port = http_port(s->server.http);
}

void site_stop(struct site *s)
{
    http_stop(&s->server.http);
    pool_free(&s->server.pool);
    transfers_free(&s->server.transfers);
    quota_free(&s->server.zips);
    errands_stop(&s->server.errands, 60000);
    store_close(&s->store);
    place_remove(s->folder);
}

struct site site;

void site_begin(const struct route *const *tables)
{
    site = (struct site){0};
    site_open(&site);
    site_start(&site, tables);
}

int site_end(void **state)
{
    site_stop(&site);
    return 0;
}

int site_count_files(const struct site *s, const char *kind)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", s->folder, kind);
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

bool site_wait(bool (*check)(void *), void *opaque)
{
    for (int i = 0; i < 1000; i++) {
        if (check(opaque))
            return true;
        usleep(10000);
    }
    return false;
}

// --- the client

int site_connect(const struct site *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)s->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void site_send(int fd, const void *data, size_t n)
{
    // A server that has refused may have closed; its answer is read all the same.
    for (ssize_t sent; n > 0; data = (const char *)data + sent, n -= (size_t)sent)
        if ((sent = send(fd, data, n, MSG_NOSIGNAL)) <= 0)
            return;
}

void site_sendf(int fd, const char *fmt, ...)
{
    char text[8192];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    assert_in_range(n, 0, sizeof(text) - 1);
    site_send(fd, text, (size_t)n);
}

const char *reply_value(const struct reply *r, const char *header)
{
    static _Thread_local char values[8][512];
    static _Thread_local int next;
    char *ret = values[next++ % 8];
    ret[0] = '\0';
    size_t n = strlen(header);
    for (const char *line = r->head; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, header, n) == 0 && line[n] == ':') {
            const char *value = line + n + 1 + strspn(line + n + 1, " ");
            snprintf(ret, sizeof(values[0]), "%.*s", (int)strcspn(value, "\r\n"), value);
            break;
        }
    }
    return ret;
}

void reply_clear(struct reply *r)
{
    free(r->head);
    free(r->body);
    *r = (struct reply){0};
}

json_t *reply_object(const struct reply *r)
{
    json_error_t where;
    json_t *ret = json_loadb(r->body ? r->body : "", r->size, 0, &where);
    if (!ret)
        fail_msg("not JSON: %s", r->body ? r->body : "");
    return ret;
}

// Chunks put together in place.
static void join_chunks(struct reply *r)
{
    size_t at = 0, n = 0;
    r->whole = false;
    while (at < r->size) {
        char *end;
        size_t size = strtoul(r->body + at, &end, 16);
        at = (size_t)(end - r->body) + 2;
        r->whole = size == 0;
        if (size == 0 || at > r->size)
            break;
        size = KB_MIN(size, r->size - at);
        memmove(r->body + n, r->body + at, size);
        n += size;
        at += size + 2;
    }
    r->size = n;
    r->body[n] = '\0';
}

const char *item_text(json_t *answer, int i, const char *field)
{
    return json_string_value(
        json_object_get(json_array_get(json_object_get(answer, "items"), (size_t)i), field));
}

void site_receive(int fd, struct reply *ret, const char *method)
{
    struct text all = {0};
    char *buffer = malloc(1 << 18);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = 1;
    while (n > 0 && poll(&p, 1, WAIT_MS) == 1)
        if ((n = read(fd, buffer, 1 << 18)) > 0)
            text_add_bytes(&all, buffer, (size_t)n);
    free(buffer);
    close(fd);
    *ret = (struct reply){0};
    char *end = all.data ? memmem(all.data, all.size, "\r\n\r\n", 4) : NULL;
    if (end) {
        size_t n_head = (size_t)(end - all.data) + 4;
        ret->head = strndup(all.data, n_head);
        ret->status = atoi(ret->head + 9);
        ret->size = all.size - n_head;
        ret->body = malloc(ret->size + 1);
        memcpy(ret->body, all.data + n_head, ret->size);
        ret->body[ret->size] = '\0';
        const char *length = reply_value(ret, "Content-Length");
        ret->whole = strcmp(method, "HEAD") == 0 || !*length || (size_t)atoll(length) == ret->size;
        if (strcmp(method, "HEAD") != 0 &&
            strcasecmp(reply_value(ret, "Transfer-Encoding"), "chunked") == 0)
            join_chunks(ret);
    }
    text_free(&all);
}

void site_ask(const struct site *s, struct reply *ret, const char *method, const char *path,
              const char *headers, const void *body, size_t size)
{
    int fd = site_connect(s);
    site_sendf(fd, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n%s", method, path,
               s->port, headers ? headers : "");
    if (body)
        site_sendf(fd, "Content-Length: %zu\r\n", size);
    site_send(fd, "\r\n", 2);
    if (body)
        site_send(fd, body, size);
    site_receive(fd, ret, method);
}

void site_noise(char *data, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++, seed = seed * 1103515245 + 12345)
        data[i] = (char)(seed >> 16);
}

void assert_content(const char *path, const void *data, size_t n)
{
    char content[100];
    snprintf(content, sizeof(content), "/api/v1/assets/%s/content", path + 16);
    ASK(r, "GET", content, NULL, NULL, 0);
    assert_status(&r, 200);
    assert_int_equal(r.size, n);
    assert_memory_equal(r.body, data, n);
}

// --- the store's contents

void site_asset(struct site *s, const char *name, const void *content, size_t size, char ret[33])
{
    struct kb_error err = {0};
    struct asset_params p = {.name = name, .size_bytes = (int64_t)size, .lang = "en"};
    struct asset_upload *u = NULL;
    assert_ok(err, asset_create(s->store, &p, ret, &err));
    assert_ok(err, asset_upload_open(&u, s->store, ret, &err));
    assert_ok(err, asset_upload_write(u, content, size, &err));
    assert_ok(err, asset_upload_close(&u, s->store, false, NULL, &err));
}

static void write_output(const char *path, int64_t job, int64_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    char *bytes = size <= 16 << 20 ? malloc((size_t)size + 1) : NULL;
    for (int64_t i = 0; bytes && i < size; i++)
        bytes[i] = (char)(i * 7 + job);
    if (bytes)
        assert_int_equal(write(fd, bytes, (size_t)size), size);
    free(bytes);
    close(fd);
}

int64_t site_result(struct site *s, const char *batch, const char *video, int64_t size)
{
    struct kb_error err = {0};
    char audio_id[33], video_id[33];
    site_asset(s, "speech.wav", "RIFF", 4, audio_id);
    site_asset(s, video, "ftyp", 4, video_id);
    const char *videos[] = {video_id};
    struct batch_params p = {.name = batch,
                             .audio = audio_id,
                             .videos = videos,
                             .n_videos = 1,
                             .priority = 5,
                             .lang = "en"};
    int64_t id;
    assert_ok(err, batch_create(s->store, &p, &id, &err));
    struct job_claim claim = {0};
    assert_ok(err, job_claim(s->store, "w1", 0, &claim, &err));
    assert_int_equal(claim.batch, id);
    write_output(claim.output, claim.job, size);
    struct dub_result result = {.frames = 25, .frames_animated = 25, .width = 64, .height = 64};
    assert_ok(err, job_done(s->store, &claim, &result, false, NULL, &err));
    int64_t job = claim.job;
    job_claim_free(&claim);
    return job;
}
