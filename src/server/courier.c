#include "server/courier.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "base/cancel.h"
#include "base/log.h"
#include "notify/notify.h"
#include "notify/reason.h"
#include "server/duix/codes.h"
#include "server/duix/delivery.h"
#include "server/internal.h"
#include "server/system.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS       1000 // how often the tables are looked at
#define RECORD_US     1000000
#define CONNECT_S     15L
#define SLOW_BYTES_S  1000L // slower than this for SLOW_S seconds ends a download
#define SLOW_S        30L
#define MAX_S         (6 * 3600L)
#define MAX_REDIRECTS 5L

// Downloads have one thread, notices and deliveries another: a slow server on the network must not
// keep back the message that a batch has ended.
struct courier {
    struct server *server;
    struct cancel cancel;
    pthread_t threads[2];
    int n_threads;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // --- under the lock
    bool stopping;
};

// --- one download

struct download {
    struct courier *courier;
    struct store *store;
    const struct asset *asset;
    char *url;
    struct asset_upload *upload;
    int64_t received, recorded_us;
    struct kb_error err; // why it was broken off from our side
    bool address_refused;
};

// Lets the page see how far it is, which also tells whether the asset was deleted meanwhile.
static enum kb_code record(struct download *d)
{
    d->recorded_us = kb_now_us();
    enum kb_code code = asset_upload_close(&d->upload, d->store, false, NULL, &d->err);
    if (code == KB_OK)
        code = asset_upload_open(&d->upload, d->store, d->asset->id, &d->err);
    return code;
}

static size_t on_data(char *data, size_t size, size_t n, void *opaque)
{
    struct download *d = opaque;
    const struct server_params *p = &d->courier->server->params;
    size_t bytes = size * n;
    d->received += (int64_t)bytes;
    if (d->received > p->upload_bytes) {
        kb_fail(&d->err, KB_BAD_INPUT, _("the file is larger than %lld MB, the most that is taken"),
                (long long)(p->upload_bytes >> 20));
        return 0;
    }
    if (asset_upload_write(d->upload, data, bytes, &d->err) != KB_OK)
        return 0;
    if (kb_now_us() - d->recorded_us > RECORD_US) {
        int64_t free_bytes = system_disk_free(p->data);
        if (free_bytes >= 0 && free_bytes < p->supervisor.worker.min_free_bytes) {
            kb_fail(&d->err, KB_NO_SPACE,
                    _("the disk has less than %lld MB left; free some space and try again"),
                    (long long)(p->supervisor.worker.min_free_bytes >> 20));
            return 0;
        }
        if (record(d) != KB_OK)
            return 0;
    }
    return bytes;
}

static int on_progress(void *opaque, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now)
{
    struct download *d = opaque;
    return cancel_requested(&d->courier->cancel);
}

// Loopback, link-local or unspecified: services of this machine that its owner did not offer.
static bool is_inner_address(const struct sockaddr *address)
{
    const uint8_t *v4 = NULL;
    if (address->sa_family == AF_INET) {
        v4 = (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *v6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        if (IN6_IS_ADDR_LOOPBACK(v6) || IN6_IS_ADDR_LINKLOCAL(v6) || IN6_IS_ADDR_UNSPECIFIED(v6))
            return true;
        if (IN6_IS_ADDR_V4MAPPED(v6) || IN6_IS_ADDR_V4COMPAT(v6))
            v4 = v6->s6_addr + 12;
    }
    return v4 && (v4[0] == 127 || v4[0] == 0 || (v4[0] == 169 && v4[1] == 254));
}

// With a token others than the owner use the server, so it must not become their hand inside.
static curl_socket_t open_socket(void *opaque, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct download *d = opaque;
    if (d->courier->server->params.token && is_inner_address(&address->addr)) {
        d->address_refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// The address without user, password, query: these may be secrets. A new string.
static char *plain_address(const char *url)
{
    CURLU *u = curl_url();
    char *text = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        curl_url_set(u, CURLUPART_QUERY, NULL, 0);
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        curl_url_get(u, CURLUPART_URL, &text, 0);
    }
    char *copy = kb_strdup(text ? text : "?");
    curl_free(text);
    curl_url_cleanup(u);
    return copy;
}

static void set_options(CURL *curl, struct download *d)
{
    const struct server_params *p = &d->courier->server->params;
    curl_easy_setopt(curl, CURLOPT_URL, d->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "koubo/" KOUBO_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SLOW_S);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, MAX_S);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)p->upload_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, d);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, d);
    if (p->token) // a proxy would resolve names where they cannot be checked
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    else if (!getenv("no_proxy") && !getenv("NO_PROXY"))
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
}

// What curl's outcome means to the user.
static enum kb_code explain(CURL *curl, CURLcode result, const struct download *d,
                            struct kb_error *err)
{
    const struct server_params *p = &d->courier->server->params;
    CLEANUP(kb_freep) char *address = plain_address(d->url);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (d->err.text[0]) {
        *err = d->err;
        return kb_wrap(err, _("downloading '%s' failed"), address);
    }
    if (d->address_refused)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' leads to an address of the server itself, which is not allowed"),
                       address);
    if (result == CURLE_HTTP_RETURNED_ERROR)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' cannot be downloaded: its server answered %ld; does the address "
                         "open in a browser?"),
                       address, status);
    if (result == CURLE_FILESIZE_EXCEEDED)
        return kb_fail(err, KB_BAD_INPUT,
                       _("downloading '%s' failed: the file is larger than %lld MB, the most that "
                         "is taken"),
                       address, (long long)(p->upload_bytes >> 20));
    if (result == CURLE_OK)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is empty (0 bytes)"), address);
    return kb_fail(err, KB_UNAVAILABLE,
                   _("'%s' cannot be downloaded: %s; does the address open in a browser?"), address,
                   transfer_reason(result));
}

// KB_CANCELLED: to be tried again if the asset is still there; nothing is to be said about it.
static enum kb_code download_run(struct download *d, struct kb_error *err)
{
    enum kb_code code = asset_source(d->store, d->asset->id, &d->url, err);
    if (code == KB_OK)
        code = asset_upload_open(&d->upload, d->store, d->asset->id, err);
    if (code == KB_NOT_FOUND || code == KB_UNAVAILABLE)
        return KB_CANCELLED;
    if (code == KB_OK && asset_upload_offset(d->upload) > 0)
        code = asset_upload_truncate(d->upload, 0, err); // of a server that ended
    CURL *curl = code == KB_OK ? curl_easy_init() : NULL;
    if (code == KB_OK && !curl)
        code = kb_no_memory(err);
    if (code == KB_OK) {
        set_options(curl, d);
        d->recorded_us = kb_now_us();
        CURLcode result = curl_easy_perform(curl);
        // Deleted meanwhile, or a database that is locked for long: not the address's fault.
        if (cancel_requested(&d->courier->cancel) || d->err.code == KB_NOT_FOUND ||
            d->err.code == KB_UNAVAILABLE)
            code = kb_fail(err, KB_CANCELLED, "%s", _("cancelled"));
        else if (result != CURLE_OK || d->received == 0)
            code = explain(curl, result, d, err);
    }
    curl_easy_cleanup(curl);
    if (d->upload) {
        struct kb_error closing = {0};
        enum kb_code closed =
            asset_upload_close(&d->upload, d->store, code == KB_OK, NULL, &closing);
        if (code == KB_OK && closed != KB_OK) {
            *err = closing;
            code = closed == KB_NOT_FOUND ? KB_CANCELLED : closed;
        }
    }
    return code;
}

// True: there may be more to fetch at once.
static bool fetch_one(struct courier *f, struct store *store)
{
    struct kb_error err = {0}, why = {0};
    struct asset asset;
    enum kb_code code = asset_next_fetch(store, &asset, &err);
    if (code == KB_OK) {
        struct download d = {.courier = f, .store = store, .asset = &asset};
        enum kb_code outcome = download_run(&d, &why);
        free(d.url);
        if (outcome == KB_CANCELLED)
            return false;
        if (outcome == KB_OK) {
            log_info(_("downloaded '%s', %lld bytes"), asset.name, (long long)d.received);
        } else {
            log_warn("%s", why.text);
            code = asset_fail(store, asset.id, &why, &err);
        }
    }
    if (code != KB_OK && code != KB_EOF)
        log_warn(_("downloads wait: %s"), err.text);
    return code == KB_OK;
}

// --- the threads

// False: stop.
static bool rest(struct courier *f, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&f->lock);
    while (!f->stopping && pthread_cond_timedwait(&f->changed, &f->lock, &until) == 0) {
    }
    bool go_on = !f->stopping;
    pthread_mutex_unlock(&f->lock);
    return go_on;
}

// A connection of this thread; waits for the database. NULL: stop.
static struct store *open_store(struct courier *f)
{
    struct store *store = NULL;
    struct kb_error err = {0};
    while (store_open(&store, f->server->params.data, false, &err) != KB_OK) {
        log_warn("%s", err.text);
        if (!rest(f, 5000))
            return NULL;
    }
    return store;
}

static void *download_main(void *opaque)
{
    struct courier *f = opaque;
    CLEANUP(store_close) struct store *store = open_store(f);
    while (store) {
        while (!cancel_requested(&f->cancel) && fetch_one(f, store)) {
        }
        if (!rest(f, LOOK_MS))
            break;
    }
    return NULL;
}

static void deliver(struct courier *f, struct store *store)
{
    struct easy e;
    struct kb_error err = {0};
    while (!cancel_requested(&f->cancel) && easy_next_delivery(store, &e, &err) == KB_OK) {
        if (easy_deliver(store, f->server->params.share, &e, &err) != KB_OK)
            log_warn(_("the result of '%s' was not put into the shared folder: %s"), e.code,
                     err.text);
        if (easy_set_delivered(store, &e, &err) != KB_OK) {
            log_warn("%s", err.text);
            break;
        }
    }
}

static void *notice_main(void *opaque)
{
    struct courier *f = opaque;
    const struct server *s = f->server;
    CLEANUP(store_close) struct store *store = open_store(f);
    int64_t version = -1, next_ms = 0;
    do {
        if (!store)
            break;
        int64_t now = store_data_version(store);
        if (now == version && kb_wall_ms() < next_ms)
            continue;
        version = now;
        struct kb_error err = {0};
        next_ms = kb_wall_ms() + 60000;
        if (notify_send_due(store, s->base_url, &f->cancel, &next_ms, &err) != KB_OK &&
            !cancel_requested(&f->cancel))
            log_warn(_("notices wait: %s"), err.text);
        if (s->params.share)
            deliver(f, store);
    } while (rest(f, LOOK_MS));
    return NULL;
}

enum kb_code courier_start(struct courier **ret, struct server *s, struct kb_error *err)
{
    struct courier *f = kb_alloc(sizeof(*f));
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&f->lock, NULL);
    f->server = s;
    void *(*const mains[])(void *) = {download_main, notice_main};
    for (size_t i = 0; i < ARRAY_LEN(mains); i++) {
        if (pthread_create(&f->threads[i], NULL, mains[i], f) != 0) {
            courier_stop(&f);
            return kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
        }
        f->n_threads++;
    }
    *ret = f;
    return KB_OK;
}

void courier_stop(struct courier **courier)
{
    struct courier *f = TAKE(*courier);
    if (!f)
        return;
    cancel_request(&f->cancel);
    pthread_mutex_lock(&f->lock);
    f->stopping = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    for (int i = 0; i < f->n_threads; i++)
        pthread_join(f->threads[i], NULL);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
