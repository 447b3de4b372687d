#include "server/fetch.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "notify/gate.h"
#include "notify/reason.h"
#include "server/internal.h"
#include "server/system.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#define RECORD_US    1000000
#define CONNECT_S    15L
#define SLOW_BYTES_S 1000L // slower than this for SLOW_S seconds ends a download
#define SLOW_S       30L
#define CROWDED_BYTES_S                                                                            \
    32000                  // slower than this for a minute ends it if others wait; twice this for
#define CROWDED_MINUTES 32 // the second minute, and so on up to here: a megabyte a second
#define MINUTE_US       60000000LL
#define MAX_S           (6 * 3600L)
#define MAX_REDIRECTS   5L

struct download {
    const struct fetch *fetch;
    struct store *store;
    char *url;
    struct asset_upload *upload;
    int64_t received, recorded_us, started_us;
    int64_t minute_us, minute_bytes; // where its present minute began
    struct kb_error err;             // why it was broken off from our side
    struct gate gate;
};

// Lets the page see how far it is, which also tells whether the asset was deleted meanwhile. A
// database that is locked only keeps the page waiting.
static enum kb_code record(struct download *d)
{
    struct kb_error err = {0};
    enum kb_code code = asset_upload_record(d->upload, d->store, &err);
    d->recorded_us = kb_now_us();
    if (code == KB_UNAVAILABLE)
        return KB_OK;
    if (code != KB_OK)
        d->err = err;
    return code;
}

static size_t on_data(char *data, size_t size, size_t n, void *opaque)
{
    struct download *d = opaque;
    const struct server_params *p = &d->fetch->server->params;
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

// A download that gives little and takes a place away from others ends, when these others are
// there. The longer it has had the place, the faster it must be.
static bool is_in_the_way(struct download *d)
{
    const struct server_params *p = &d->fetch->server->params;
    int64_t minute_us = p->crowded_ms > 0 ? p->crowded_ms * 1000 : MINUTE_US;
    int64_t now_us = kb_now_us(), us = now_us - d->minute_us;
    if (us < minute_us)
        return false;
    int64_t bytes_s = (d->received - d->minute_bytes) * 1000000 / us;
    d->minute_us = now_us;
    d->minute_bytes = d->received;
    int64_t minutes = KB_MIN((now_us - d->started_us) / minute_us, (int64_t)CROWDED_MINUTES);
    if (bytes_s >= CROWDED_BYTES_S * minutes || !d->fetch->crowded(d->fetch->ctx, d->store))
        return false;
    kb_fail(&d->err, KB_BAD_INPUT,
            _("its server sends only %lld kB a second, and others wait; fetch the file by other "
              "means and upload it, or try again later"),
            (long long)(bytes_s / 1000));
    return true;
}

// libcurl asks about once a second, also while nothing comes.
static int on_progress(void *opaque, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now)
{
    struct download *d = opaque;
    return cancel_requested(d->fetch->cancel) || is_in_the_way(d);
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
    const struct server_params *p = &d->fetch->server->params;
    curl_easy_setopt(curl, CURLOPT_URL, d->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "koubo/" KOUBO_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); // a thread that looks a name up ends alone
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SLOW_S);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, MAX_S);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)p->upload_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, d);
    gate_set(curl, &d->gate);
    if (!p->guard.trusting) // a proxy would resolve names where they cannot be judged
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    else if (!getenv("no_proxy") && !getenv("NO_PROXY"))
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
}

// What curl's outcome means to the user.
static enum kb_code explain(CURL *curl, CURLcode result, const struct download *d,
                            struct kb_error *err)
{
    const struct server_params *p = &d->fetch->server->params;
    CLEANUP(kb_freep) char *address = plain_address(d->url);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (d->err.text[0]) {
        *err = d->err;
        return kb_wrap(err, _("downloading '%s' failed"), address);
    }
    if (gate_check(&d->gate, err) != KB_OK)
        return kb_wrap(err, _("downloading '%s' failed"), address);
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

static enum kb_code download_run(struct download *d, struct kb_error *err)
{
    enum kb_code code = asset_source(d->store, d->fetch->id, &d->url, err);
    if (code == KB_OK)
        code = asset_upload_open(&d->upload, d->store, d->fetch->id, err);
    if (code == KB_NOT_FOUND || code == KB_UNAVAILABLE)
        return KB_CANCELLED;
    if (code == KB_OK && asset_upload_offset(d->upload) > 0)
        code = asset_upload_truncate(d->upload, 0, err); // of a server that ended
    CURL *curl = code == KB_OK ? curl_easy_init() : NULL;
    if (code == KB_OK && !curl)
        code = kb_no_memory(err);
    if (code == KB_OK) {
        set_options(curl, d);
        d->recorded_us = d->started_us = d->minute_us = kb_now_us();
        CURLcode result = curl_easy_perform(curl);
        // Deleted meanwhile, or too many open files: not the address's fault.
        if (cancel_requested(d->fetch->cancel) || d->err.code == KB_NOT_FOUND ||
            d->err.code == KB_UNAVAILABLE)
            code = kb_fail(err, KB_CANCELLED, "%s", _("cancelled"));
        else if (result != CURLE_OK || d->received == 0)
            code = explain(curl, result, d, err);
    }
    curl_easy_cleanup(curl);
    if (d->upload) {
        struct kb_error closing = {0};
        // To be filed it needs the database: all of it would be fetched again otherwise.
        while (code == KB_OK && !cancel_requested(d->fetch->cancel) &&
               asset_upload_record(d->upload, d->store, NULL) == KB_UNAVAILABLE) {
        }
        enum kb_code closed =
            asset_upload_close(&d->upload, d->store, code == KB_OK, NULL, &closing);
        if (code == KB_OK && closed != KB_OK) {
            *err = closing;
            code = closed == KB_NOT_FOUND || closed == KB_UNAVAILABLE ? KB_CANCELLED : closed;
        }
    }
    return code;
}

enum kb_code fetch_run(const struct fetch *f, struct store *store, int64_t *ret_bytes,
                       struct kb_error *err)
{
    struct download d = {.fetch = f, .store = store, .gate = {.guard = &f->server->params.guard}};
    enum kb_code code = download_run(&d, err);
    free(d.url);
    *ret_bytes = d.received;
    return code;
}

void fetch_host(char ret[FETCH_HOST_BYTES], const char *url)
{
    CURLU *u = curl_url();
    char *host = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
        curl_url_get(u, CURLUPART_HOST, &host, 0);
    snprintf(ret, FETCH_HOST_BYTES, "%s", host ? host : "");
    curl_free(host);
    curl_url_cleanup(u);
}
