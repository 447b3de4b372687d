// One transfer of libcurl, or a few at a time, which move on, stall, are broken off.
//
// All go through curl's multi interface, also where there is one: it wakes often enough to be
// cancelled at once, and tells better than curl's own average over some seconds when nothing moves.
#include "cluster/depot_internal.h"

#include "notify/reason.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_S    15L
#define STALL_MS     30000
#define SLOW_BYTES_S 1000 // slower than this is no movement
#define TICK_MS      100
#define PAUSE_MS     500 // before the second try; four times that before the third
#define BUFFER_BYTES (512L << 10)
#define GATHER_BYTES (512 << 10)
#define UPLOAD_BYTES (1L << 20)

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_set_up(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int64_t stall_us(const struct depot *d)
{
    return (d->p.stall_ms > 0 ? d->p.stall_ms : STALL_MS) * 1000LL;
}

static void moved(struct haul *t, size_t n)
{
    struct depot *d = t->depot;
    t->moved += (int64_t)n;
    if (t->moved - t->mark_bytes >= stall_us(d) * SLOW_BYTES_S / 1000000) {
        t->mark_bytes = t->moved;
        t->mark_us = kb_now_us();
    }
}

static void tell(struct depot *d, int64_t n)
{
    d->done += n;
    if (d->p.progress)
        d->p.progress(d->p.ctx, d->done, d->total);
}

// "bytes 5-9/10" (RFC 9110): -1 for what it does not tell.
static void read_range(const char *header, int64_t *ret_first, int64_t *ret_total)
{
    *ret_first = *ret_total = -1;
    const char *slash = strchr(header, '/');
    char *end = NULL;
    if (!text_begins(header, "bytes ") || !slash)
        return;
    int64_t first = strtoll(header + strlen("bytes "), &end, 10);
    if (*end == '-')
        *ret_first = first;
    int64_t total = strtoll(slash + 1, &end, 10);
    if (end != slash + 1 && total >= 0)
        *ret_total = total;
}

// The answer says of itself which part of a file of which size it is: does that fit what was asked
// for?
static enum kb_code check_range(struct haul *t)
{
    int64_t first = 0, total = -1;
    if (t->status == 206) {
        read_range(haul_answer_header(t, "Content-Range"), &first, &total);
    } else { // all of it, whatever was asked for
        curl_off_t length = -1;
        curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        total = length;
        t->skip = t->offset;
    }
    if (t->status == 206 && first != t->offset)
        return kb_fail(&t->err, KB_UNAVAILABLE,
                       _("the depot '%s' sends another part of the file than it was asked for"),
                       t->depot->place);
    if (total >= 0 && total != t->file_size)
        return kb_fail(&t->err, KB_NOT_FOUND,
                       _("the file in the depot '%s' has %lld bytes instead of %lld"),
                       t->depot->place, (long long)total, (long long)t->file_size);
    return KB_OK;
}

// What the sink has taken so far.
static void note_done(struct haul *t, int64_t done)
{
    int64_t more = t->from + done - t->offset;
    t->offset += more;
    if (more > 0)
        tell(t->depot, more);
}

static enum kb_code note_failure(struct haul *t, enum kb_code code)
{
    t->err.code = code;
    t->final = true;
    return code;
}

// The last of what is gathered, or all if there is no other thread.
static enum kb_code pour_here(struct haul *t)
{
    int64_t n = (int64_t)t->answer.size;
    enum kb_code code = t->sink(t->ctx, t->answer.data, t->answer.size, &t->err);
    text_clear(&t->answer);
    if (code != KB_OK)
        return note_failure(t, code);
    note_done(t, t->offset - t->from + n);
    return KB_OK;
}

// What is gathered goes to the sink. curl brings 16 kB at a time, and each would be a call into the
// kernel.
static enum kb_code pour_gathered(struct haul *t)
{
    int64_t done = 0;
    if (!t->pour)
        t->pour = pour_begin(t->sink, t->ctx);
    if (!t->pour)
        return pour_here(t);
    t->handed += (int64_t)t->answer.size;
    enum kb_code code = pour_give(t->pour, &t->answer, &done, &t->err);
    note_done(t, done);
    return code == KB_OK ? KB_OK : note_failure(t, code);
}

// The end of it, also of what was cut.
static void pour_rest(struct haul *t)
{
    struct kb_error err = {0};
    int64_t done = t->offset - t->from;
    enum kb_code code = pour_end(&t->pour, &done, &err);
    note_done(t, done);
    if (code != KB_OK && t->err.code == KB_OK) {
        t->err = err;
        note_failure(t, code);
    }
    if (t->began && t->answer.size > 0 && t->err.code == KB_OK)
        pour_here(t);
}

static enum kb_code take_file(struct haul *t, const char *data, size_t n)
{
    if (!t->began && check_range(t) != KB_OK)
        return t->err.code;
    t->began = true;
    size_t skipped = (size_t)KB_MIN((int64_t)n, t->skip);
    t->skip -= (int64_t)skipped;
    data += skipped;
    n -= skipped;
    if ((int64_t)(t->answer.size + n) > t->file_size - t->from - t->handed)
        return kb_fail(&t->err, KB_NOT_FOUND,
                       _("the file in the depot '%s' is longer than %lld bytes"), t->depot->place,
                       (long long)t->file_size);
    text_add_bytes(&t->answer, data, n);
    return t->answer.size < GATHER_BYTES ? KB_OK : pour_gathered(t);
}

static size_t on_data(char *data, size_t size, size_t n, void *opaque)
{
    struct haul *t = opaque;
    n *= size;
    moved(t, n);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    if (t->sink && t->status / 100 == 2)
        return take_file(t, data, n) == KB_OK ? n : 0;
    if (t->answer.size + n > ANSWER_BYTES) {
        kb_fail(&t->err, KB_UNAVAILABLE, _("the depot '%s' answers more than was asked for"),
                t->depot->place);
        return 0;
    }
    text_add_bytes(&t->answer, data, n);
    return n;
}

static size_t on_read(char *buffer, size_t size, size_t n, void *opaque)
{
    struct haul *t = opaque;
    size_t wanted = (size_t)KB_MIN((int64_t)(size * n), t->size - t->sent);
    ssize_t got = wanted > 0 ? pread(t->fd, buffer, wanted, (off_t)(t->first + t->sent)) : 0;
    if (got < 0 || (got == 0 && wanted > 0)) {
        depot_cannot_read(got < 0 ? errno : 0, &t->err);
        return CURL_READFUNC_ABORT;
    }
    t->sent += got;
    moved(t, (size_t)got);
    tell(t->depot, got);
    return (size_t)got;
}

// Of a kept connection that turned out to be closed curl sends what it has sent once more.
static int on_seek(void *opaque, curl_off_t offset, int origin)
{
    struct haul *t = opaque;
    if (origin != SEEK_SET || offset < 0 || offset > t->size)
        return CURL_SEEKFUNC_FAIL;
    tell(t->depot, offset - t->sent);
    t->sent = offset;
    return CURL_SEEKFUNC_OK;
}

static void set_method(CURL *c, const char *method)
{
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    else if (strcmp(method, "PUT") == 0)
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    else if (strcmp(method, "POST") == 0)
        curl_easy_setopt(c, CURLOPT_POST, 1L);
    else if (strcmp(method, "GET") != 0)
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
}

void haul_init(struct haul *t, struct depot *d, const char *method, const char *path)
{
    pthread_once(&curl_once, curl_set_up);
    if (!d->multi)
        d->multi = curl_multi_init();
    CURL *c = curl_easy_init();
    if (!d->multi || !c)
        abort(); // memory is out
    *t = (struct haul){.depot = d, .curl = c, .fd = -1, .answer_stalls = 1};
    CLEANUP(kb_freep) char *url = kb_printf("%s%s", d->base, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1); // as fast as it gets
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L); // what was signed is for this server alone
    curl_easy_setopt(c, CURLOPT_USERAGENT, "koubo/" KOUBO_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); // a thread that looks a name up ends alone
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BYTES);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    if (d->ca)
        curl_easy_setopt(c, CURLOPT_CAINFO, d->ca);
    if (!getenv("no_proxy") && !getenv("NO_PROXY"))
        curl_easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    set_method(c, method);
    if (strcmp(method, "PUT") == 0)
        haul_send_file(t, -1, 0, 0);
}

void haul_header(struct haul *t, const char *fmt, ...)
{
    va_list args;
    char *line = NULL;
    va_start(args, fmt);
    int n = vasprintf(&line, fmt, args);
    va_end(args);
    struct curl_slist *longer = n < 0 ? NULL : curl_slist_append(t->headers, line);
    if (!longer)
        abort(); // memory is out
    t->headers = longer;
    free(line);
}

void haul_send_file(struct haul *t, int fd, int64_t first, int64_t size)
{
    t->fd = fd;
    t->first = first;
    t->size = size;
    t->answer_stalls = 4; // it is hashed and written down at the other end
    curl_easy_setopt(t->curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(t->curl, CURLOPT_READDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(t->curl, CURLOPT_SEEKDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
}

void haul_send_text(struct haul *t, const char *text)
{
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, text);
}

void haul_receive(struct haul *t, int64_t size, int64_t offset, depot_sink *sink, void *ctx)
{
    t->sink = sink;
    t->ctx = ctx;
    t->file_size = size;
    t->from = t->offset = offset;
    if (offset > 0) {
        CLEANUP(kb_freep) char *range = kb_printf("%lld-", (long long)offset);
        curl_easy_setopt(t->curl, CURLOPT_RANGE, range);
    }
}

void haul_start(struct haul *t)
{
    struct depot *d = t->depot;
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
    t->mark_us = kb_now_us();
    for (int i = 0; i < DEPOT_PARALLEL; i++) {
        if (d->active[i])
            continue;
        d->active[i] = t;
        if (curl_multi_add_handle(d->multi, t->curl) != CURLM_OK)
            abort(); // memory is out
        return;
    }
    abort(); // more at a time than there are places
}

static void leave(struct haul *t)
{
    struct depot *d = t->depot;
    for (int i = 0; i < DEPOT_PARALLEL; i++) {
        if (d->active[i] != t)
            continue;
        d->active[i] = NULL;
        curl_multi_remove_handle(d->multi, t->curl);
    }
}

static bool has_stalled(const struct haul *t)
{
    return kb_now_us() - t->mark_us >
           stall_us(t->depot) * (t->sent == t->size ? t->answer_stalls : 1);
}

struct haul *haul_next(struct depot *d)
{
    while (!cancel_requested(d->p.cancel)) {
        int n = 0;
        curl_multi_perform(d->multi, &n);
        CURLMsg *m = curl_multi_info_read(d->multi, &n);
        if (m) {
            CURL *c = m->easy_handle;
            CURLcode result = m->data.result; // m is gone with the handle
            struct haul *t = NULL;
            curl_easy_getinfo(c, CURLINFO_PRIVATE, (char **)&t);
            t->result = result;
            leave(t);
            return t;
        }
        for (int i = 0; i < DEPOT_PARALLEL; i++) {
            struct haul *t = d->active[i];
            if (!t || !has_stalled(t))
                continue;
            t->result = CURLE_OPERATION_TIMEDOUT;
            leave(t);
            return t;
        }
        curl_multi_poll(d->multi, NULL, 0, TICK_MS, NULL);
    }
    return NULL;
}

enum kb_code haul_outcome(struct haul *t, struct kb_error *err)
{
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    pour_rest(t);
    if (t->err.code != KB_OK) {
        if (err)
            *err = t->err;
        return t->err.code;
    }
    // An answer may come before all is sent, and ends the sending: then it is what counts.
    bool refused = t->status >= 300 && t->result == CURLE_SEND_ERROR;
    if (t->result != CURLE_OK && !refused)
        return kb_fail(err, KB_UNAVAILABLE, _("the depot '%s' cannot be reached: %s"),
                       t->depot->place, transfer_reason(t->result));
    return KB_OK;
}

enum kb_code haul_run(struct haul *t, struct kb_error *err)
{
    haul_start(t);
    if (!haul_next(t->depot)) {
        leave(t);
        pour_rest(t);
        return kb_fail(err, KB_CANCELLED, _("cancelled"));
    }
    return haul_outcome(t, err);
}

void haul_free(struct haul *t)
{
    if (!t->curl)
        return;
    leave(t);
    pour_end(&t->pour, &(int64_t){0}, NULL);
    curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->headers);
    text_free(&t->answer);
    *t = (struct haul){0};
}

const char *haul_answer_header(struct haul *t, const char *name)
{
    struct curl_header *h = NULL;
    return curl_easy_header(t->curl, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value : "";
}

bool depot_again(struct depot *d, int *tries, enum kb_code code)
{
    if (code != KB_UNAVAILABLE || ++*tries >= DEPOT_TRIES)
        return false;
    int64_t pause_ms = (d->p.pause_ms > 0 ? d->p.pause_ms : PAUSE_MS) * (*tries == 1 ? 1 : 4);
    int64_t until_us = kb_now_us() + pause_ms * 1000;
    for (int64_t left_us; (left_us = until_us - kb_now_us()) > 0;) {
        if (cancel_requested(d->p.cancel))
            return true; // the next try says so
        usleep((useconds_t)KB_MIN(left_us, TICK_MS * 1000LL));
    }
    return true;
}

enum kb_code depot_cannot_read(int number, struct kb_error *err)
{
    return kb_fail(err, KB_INTERNAL, _("a file on its way to the depot cannot be read: %s"),
                   number ? kb_strerror(number) : _("it is shorter than it was"));
}

enum kb_code depot_explain(struct depot *d, long status, const char *what, struct kb_error *err)
{
    if (status == 404 || status == 416)
        return kb_fail(err, KB_NOT_FOUND, _("the depot '%s' has no file %s"), d->place, what);
    if (status == 507)
        return kb_fail(err, KB_NO_SPACE,
                       _("the disk of the depot '%s' is full; free some space there"), d->place);
    if (status >= 300 && status < 400)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the depot '%s' sends to another address (HTTP status %ld), where nothing "
                         "is sent; check its address, for S3 also region and style"),
                       d->place, status);
    if (status >= 500 || status == 408 || status == 429)
        return kb_fail(err, KB_UNAVAILABLE, _("the depot '%s' cannot do it now (HTTP status %ld)"),
                       d->place, status);
    return KB_OK;
}
