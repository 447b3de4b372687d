// Answers that lie in memory, and what all answers have in common.
#include "http/internal.h"

#include "base/log.h"
#include "base/sentence.h"
#include "base/utf8.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <zlib.h>

#define GZIP_FROM_BYTES 1024
#define GZIP_LEVEL      4
#define SAME_FAULT_US   60000000LL

// The page draws pictures and sound of files that are not uploaded yet from blobs, its icons from
// data addresses, and sets styles on elements; it needs no more than that, and no other host.
#define CONTENT_POLICY                                                                             \
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "                     \
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; object-src 'none'; "                 \
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

static const char *const security_headers[][2] = {
    {"Content-Security-Policy", CONTENT_POLICY},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

// --- what all have in common

void reply_header(struct request *r, const char *name, const char *value)
{
    if (r->n_headers == MAX_HEADERS || r->answered) {
        log_error("%s: the header %s comes too late", r->path, name);
        return;
    }
    r->headers[r->n_headers][0] = kb_strdup(name);
    r->headers[r->n_headers++][1] = kb_strdup(value);
}

const char *reply_header_get(const struct request *r, const char *name)
{
    for (int i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->headers[i][0], name) == 0)
            return r->headers[i][1];
    return NULL;
}

void reply_response(struct request *r, int status, struct MHD_Response *response)
{
    if (r->answered) {
        if (response)
            MHD_destroy_response(response);
        return; // for instance by done() after a piece that failed
    }
    r->answered = true;
    r->status = status;
    r->response = response;
    if (!response) {
        log_error("%s: no memory for the answer", r->path);
        return; // deliver() closes the connection
    }
    for (size_t i = 0; i < ARRAY_LEN(security_headers); i++)
        if (!reply_header_get(r, security_headers[i][0]))
            MHD_add_response_header(response, security_headers[i][0], security_headers[i][1]);
    for (int i = 0; i < r->n_headers; i++)
        if (MHD_add_response_header(response, r->headers[i][0], r->headers[i][1]) != MHD_YES)
            log_error("%s: the header %s has a value that cannot be sent", r->path,
                      r->headers[i][0]);
}

static void default_header(struct request *r, const char *name, const char *value)
{
    if (!reply_header_get(r, name))
        reply_header(r, name, value);
}

// --- text

static bool accepts_gzip(const struct request *r)
{
    const char *p = request_header(r, "Accept-Encoding");
    while (p && *p) {
        p += strspn(p, ", \t");
        size_t n = strcspn(p, ",; \t");
        const char *end = p + strcspn(p, ",");
        if (n == 4 && strncasecmp(p, "gzip", 4) == 0) {
            const char *q = memchr(p, '=', (size_t)(end - p));
            // Refused by "q=0", "q=0.0", "q=0.000".
            return !q || strspn(q + 1, "0.") < strcspn(q + 1, ", \t");
        }
        p = end;
    }
    return false;
}

// A new block, or NULL where the text is as good.
static void *compress_text(const char *text, size_t size, size_t *ret_size)
{
    z_stream z = {0};
    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    CLEANUP(kb_freep) unsigned char *out = malloc(size);
    z.next_in = (unsigned char *)text;
    z.avail_in = (unsigned)size;
    z.next_out = out;
    z.avail_out = (unsigned)size;
    bool smaller = out && deflate(&z, Z_FINISH) == Z_STREAM_END;
    *ret_size = z.total_out;
    deflateEnd(&z);
    return smaller ? TAKE(out) : NULL;
}

static void reply_bytes(struct request *r, int status, const char *type, const char *text)
{
    size_t size = strlen(text), packed_size = 0;
    void *packed = NULL;
    if (r->answered)
        return;
    default_header(r, "Cache-Control", "no-store");
    default_header(r, "Content-Type", type);
    if (size >= GZIP_FROM_BYTES && size < 1 << 30) {
        default_header(r, "Vary", "Accept-Encoding");
        if (accepts_gzip(r) && !reply_header_get(r, "Content-Encoding"))
            packed = compress_text(text, size, &packed_size);
    }
    if (packed) {
        reply_header(r, "Content-Encoding", "gzip");
        reply_response(r, status,
                       MHD_create_response_from_buffer(packed_size, packed, MHD_RESPMEM_MUST_FREE));
    } else {
        reply_response(r, status,
                       MHD_create_response_from_buffer(size, (void *)text, MHD_RESPMEM_MUST_COPY));
    }
}

void reply_json(struct request *r, int status, const char *json)
{
    reply_bytes(r, status, "application/json", json);
}

void reply_text(struct request *r, int status, const char *type, const char *text)
{
    reply_bytes(r, status, type, text);
}

void reply_empty(struct request *r, int status)
{
    if (r->answered)
        return;
    default_header(r, "Cache-Control", "no-store");
    reply_response(r, status, MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT));
}

// --- problems

static const char *title_of(int status)
{
    const char *title = MHD_get_reason_phrase_for((unsigned)status);
    if (status == 460) // of the tus protocol
        return "Checksum Mismatch";
    return title && strcmp(title, "Unknown") != 0 ? title : "Error";
}

void reply_problem(struct request *r, int status, const char *code, const char *sentence)
{
    if (r->answered)
        return;
    CLEANUP(kb_freep) char *detail = utf8_clean(sentence); // may quote a name of any bytes
    json_t *problem = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", "about:blank", "title",
                                title_of(status), "status", status, "code", code, "detail", detail);
    CLEANUP(kb_freep) char *json = problem ? json_dumps(problem, JSON_COMPACT) : NULL;
    json_decref(problem);
    default_header(r, "Content-Language",
                   request_language(r) == KB_LANGUAGE_SOURCE ? "en" : "zh-CN");
    reply_bytes(r, status, "application/problem+json", json ? json : "{}");
}

// The same fault meets every request, and the page asks again and again: one line a minute tells
// it.
static bool is_news(const char *said)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char last[700];
    static int64_t until_us;
    pthread_mutex_lock(&lock);
    int64_t now_us = kb_now_us();
    bool news = now_us >= until_us || strncmp(last, said, sizeof(last) - 1) != 0;
    if (news) {
        snprintf(last, sizeof(last), "%s", said);
        until_us = now_us + SAME_FAULT_US;
    }
    pthread_mutex_unlock(&lock);
    return news;
}

static void reply_code(struct request *r, const struct kb_error *err, int bad_input_status)
{
    static const struct {
        int status;
        const char *code;
    } table[] = {
        [KB_OK] = {500, "internal"},
        [KB_EOF] = {500, "internal"},
        [KB_CANCELLED] = {409, "cancelled"},
        [KB_BAD_INPUT] = {400, "bad_input"},
        [KB_NOT_FOUND] = {404, "not_found"},
        [KB_NO_SPACE] = {507, "no_space"},
        [KB_UNAVAILABLE] = {503, "unavailable"},
        [KB_INTERNAL] = {500, "internal"},
    };
    unsigned code = err->code;
    if (code >= ARRAY_LEN(table))
        code = KB_INTERNAL;
    bool conflict = code == KB_BAD_INPUT && bad_input_status == 409;
    int status = conflict ? 409 : table[code].status;
    CLEANUP(kb_freep) char *said = sentence_for_log(err);
    if (status == 500 && is_news(said))
        log_error("%s %s: %s", r->method, r->path, said);
    else
        log_verbose("%s %s: %d, %s", r->method, r->path, status, said);
    if (status == 503)
        default_header(r, "Retry-After", "1");
    reply_problem(r, status, conflict ? "conflict" : table[code].code, err->text);
}

void reply_error(struct request *r, const struct kb_error *err)
{
    reply_code(r, err, 400);
}

void reply_conflict(struct request *r, const struct kb_error *err)
{
    reply_code(r, err, 409);
}

// --- the page

void reply_memory(struct request *r, const char *type, const char *etag, bool immutable,
                  const void *data, size_t size, const void *gzip, size_t gzip_size)
{
    if (r->answered)
        return;
    bool packed = gzip && accepts_gzip(r);
    // The two forms are two representations: each has an ETag of its own.
    CLEANUP(kb_freep)
    char *own = packed ? kb_printf("%.*s-gzip\"", (int)strlen(etag) - 1, etag) : kb_strdup(etag);
    default_header(r, "Cache-Control",
                   immutable ? "public, max-age=31536000, immutable" : "no-cache");
    reply_header(r, "ETag", own);
    if (gzip)
        reply_header(r, "Vary", "Accept-Encoding");
    const char *listed = request_header(r, "If-None-Match");
    if (listed && etag_listed(listed, own, false)) {
        reply_response(r, 304, MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT));
        return;
    }
    default_header(r, "Content-Type", type);
    if (packed)
        reply_header(r, "Content-Encoding", "gzip");
    reply_response(r, 200,
                   MHD_create_response_from_buffer(packed ? gzip_size : size,
                                                   (void *)(packed ? gzip : data),
                                                   MHD_RESPMEM_PERSISTENT));
}
