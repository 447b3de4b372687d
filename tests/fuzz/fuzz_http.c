// Whole HTTP requests to the whole server, over loopback. An input is text that becomes requests of
// one connection, apart by lines of "===":
//
//   POST /api/v1/batches HTTP/1.1        sent with \r\n; {asset}, {job} and {batch} are some that
//   exist Content-Type: application/json
//   @length                              becomes Content-Length: of the body
//   @chunked 7                           or the body goes in chunks of so many bytes
//   @raw                                 nothing is added or changed in what follows
//
//   {"audio": …}
//
// Host is added where it is not given. An input that begins with '#' goes to a server that wants a
// token. No answer may be a 500, and the server must still be well afterwards.
#include "asset/asset.h"
#include "asset/upload.h"
#include "base/log.h"
#include "base/place.h"
#include "queue/batch.h"
#include "queue/lease.h"
#include "server/internal.h"
#include "tests/fuzz/fuzz.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOKEN      "open sesame"
#define FRESH      20000 // inputs after which the data folder is made anew
#define QUIET_MS   150   // an answer that is a stream has no end
#define ANSWER_MAX (1 << 20)

static struct {
    struct server *server;
    struct http *guarded; // the same server behind a token
    char *folder;
    char asset[33], job[24], batch[24];
    int n_inputs;
} site;

static void must(enum kb_code code, const struct kb_error *err)
{
    if (code == KB_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    abort();
}

// --- the server, with a job that is done

static void make_asset(struct store *s, const char *name, char ret[33])
{
    struct kb_error err = {0};
    struct asset_upload *u = NULL;
    struct asset_params p = {.name = name, .size_bytes = 4, .lang = "en"};
    must(asset_create(s, &p, ret, &err), &err);
    must(asset_upload_open(&u, s, ret, &err), &err);
    must(asset_upload_write(u, "RIFF", 4, &err), &err);
    must(asset_upload_close(&u, s, false, NULL, &err), &err);
}

static void make_result(struct store *s)
{
    struct kb_error err = {0};
    char audio[33];
    make_asset(s, "speech.wav", audio);
    make_asset(s, "film.mp4", site.asset);
    const char *videos[] = {site.asset};
    struct batch_params p = {
        .audio = audio, .videos = videos, .n_videos = 1, .priority = 5, .lang = "en"};
    struct job_claim claim = {0};
    struct dub_result result = {.frames = 25, .frames_animated = 25, .width = 64, .height = 64};
    int64_t batch;
    must(batch_create(s, &p, &batch, &err), &err);
    must(job_claim(s, "w1", 0, &claim, &err), &err);
    int fd = open(claim.output, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "whole film", 10) != 10)
        abort();
    close(fd);
    must(job_done(s, &claim, &result, false, NULL, &err), &err);
    snprintf(site.batch, sizeof(site.batch), "%lld", (long long)batch);
    snprintf(site.job, sizeof(site.job), "%lld", (long long)claim.job);
    job_claim_free(&claim);
}

static void site_start(void)
{
    static const struct route *const tables[] = {
        api_uploads_routes, api_batches_routes, api_results_routes,
        api_system_routes,  api_logs_routes,    api_events_routes,
        api_easy_routes,    page_routes,        NULL};
    struct kb_error err = {0};
    CLEANUP(store_close) struct store *store = NULL;
    log_set_level(LOG_ERROR);
    must(place_make(&site.folder, "koubo-fuzz", &err), &err);
    const struct server_params p = {.data = site.folder,
                                    .page = site.folder,
                                    .lang = "en",
                                    .upload_bytes = 1 << 20,
                                    .supervisor.n_workers = -1};
    must(server_start(&site.server, &p, &err), &err);
    const struct http_params guarded = {.listen = "127.0.0.1",
                                        .token = TOKEN,
                                        .app = server_app(site.server),
                                        .lang = "en",
                                        .tables = tables};
    must(http_start(&site.guarded, &guarded, &err), &err);
    must(store_open(&store, site.folder, false, &err), &err);
    store_set_durable(store, false);
    make_result(store);
}

static void site_stop(void)
{
    http_stop(&site.guarded);
    server_stop(&site.server);
    place_end(&site.folder);
}

static void site_need(void)
{
    static bool again;
    if (!again) {
        OPENSSL_init_crypto(0, NULL); // what is noted later is called earlier
        atexit(site_stop);
    }
    again = true;
    if (site.server && site.n_inputs++ % FRESH != 0)
        return;
    site_stop();
    site_start();
}

// --- what is sent

static const char *end_of_line(const char *s)
{
    return s + strcspn(s, "\n");
}

// A line with the names of what exists put in.
static void add_line(struct text *ret, const char *line, size_t n)
{
    const struct {
        const char *name, *value;
    } known[] = {{"{asset}", site.asset}, {"{job}", site.job}, {"{batch}", site.batch}};
    while (n > 0) {
        size_t skip = 0;
        for (size_t i = 0; !skip && i < ARRAY_LEN(known); i++) {
            size_t length = strlen(known[i].name);
            if (n >= length && memcmp(line, known[i].name, length) == 0) {
                text_add(ret, known[i].value);
                skip = length;
            }
        }
        if (!skip)
            text_add_bytes(ret, line, skip = 1);
        line += skip;
        n -= skip;
    }
}

static void add_chunks(struct text *ret, const char *body, size_t size, size_t piece)
{
    for (size_t at = 0; at < size; at += piece) {
        size_t n = KB_MIN(piece, size - at);
        text_addf(ret, "%zx\r\n", n);
        text_add_bytes(ret, body + at, n);
        text_add(ret, "\r\n");
    }
    text_add(ret, "0\r\n\r\n");
}

static void add_request(struct text *ret, const char *text, size_t size)
{
    const char *end = text + size, *line = text;
    bool has_host = false, has_length = false;
    size_t chunk = 0;
    CLEANUP(text_free) struct text head = {0}, body = {0};
    for (; line < end && *line != '\n'; line = end_of_line(line) + 1) {
        size_t n = KB_MIN((size_t)(end_of_line(line) - line), (size_t)(end - line));
        if (text_begins(line, "@raw\n")) {
            text_add_bytes(ret, line + 5, (size_t)(end - line) - 5);
            return;
        }
        if (text_begins(line, "@length")) {
            has_length = true;
        } else if (text_begins(line, "@chunked")) {
            chunk = KB_MAX(strtoul(line + 8, NULL, 10) % 4096, 1);
        } else {
            has_host |= strncasecmp(line, "Host", 4) == 0;
            add_line(&head, line, n);
            text_add(&head, "\r\n");
        }
    }
    if (line < end)
        add_line(&body, line + 1, (size_t)(end - line) - 1);
    text_add_bytes(ret, text_get(&head), head.size);
    if (!has_host)
        text_add(ret, "Host: localhost\r\n");
    if (has_length)
        text_addf(ret, "Content-Length: %zu\r\n", body.size);
    text_add(ret, chunk ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    if (chunk)
        add_chunks(ret, text_get(&body), body.size, chunk);
    else
        text_add_bytes(ret, text_get(&body), body.size);
}

static void add_all(struct text *ret, const char *text)
{
    for (const char *end; *text; text = end) {
        const char *parting = strstr(text, "\n===\n");
        end = parting ? parting + 5 : text + strlen(text);
        add_request(ret, text, (size_t)((parting ? parting + 1 : end) - text));
    }
}

// --- what comes back

static int connect_to(int port)
{
    const struct linger at_once = {1, 0}; // no port is kept for a minute after each input
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        perror("the server does not listen");
        abort();
    }
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    return fd;
}

// Sends all, hears what comes until the end or until nothing comes any more.
static void talk(int fd, const struct text *all, struct text *ret)
{
    static char buffer[1 << 16];
    struct pollfd p = {.fd = fd};
    for (size_t at = 0; ret->size < ANSWER_MAX;) {
        p.events = (short)(POLLIN | (at < all->size ? POLLOUT : 0));
        if (poll(&p, 1, QUIET_MS) <= 0)
            return;
        if (p.revents & POLLOUT) {
            ssize_t n = send(fd, all->data + at, all->size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
            at = n > 0 ? at + (size_t)n : all->size;
            if (at == all->size)
                shutdown(fd, SHUT_WR);
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = read(fd, buffer, sizeof(buffer));
            if (n <= 0)
                return;
            text_add_bytes(ret, buffer, (size_t)n);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    site_need();
    CLEANUP(kb_freep) char *text = fuzz_text(data, size);
    CLEANUP(text_free) struct text all = {0}, heard = {0};
    bool guarded = text[0] == '#';
    add_all(&all, text + guarded);
    if (all.size == 0)
        return 0;
    int fd = connect_to(guarded ? http_port(site.guarded) : server_port(site.server));
    talk(fd, &all, &heard);
    close(fd);
    if (text_begins(text_get(&heard), "HTTP/1.1 500") ||
        (heard.size >= 9 && memmem(heard.data, heard.size, "\r\nHTTP/1.1 500", 14))) {
        fprintf(stderr, "%s\n", heard.data);
        abort();
    }
    return 0;
}
