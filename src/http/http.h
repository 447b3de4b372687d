// A small HTTP server over libmicrohttpd: routes, JSON, problems, files with ranges, streams, and
// the guards that every request passes. It knows nothing of what the routes do (server/api/).
//
// Threads: handlers run on one of a few network threads and must not block longer than a query
// takes. A request belongs to the thread that handles it.
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/base.h"
#include "base/text.h"

#include <jansson.h>

struct request;

// The program behind the routes.
struct http_app {
    void *ctx; // request_app()
    // What a handler borrows while it runs, such as a connection to a database, is lent when the
    // first one asks and taken back after the handler. Called on network threads. NULL: there is
    // nothing to borrow.
    enum kb_code (*lend)(void *ctx, void **ret, struct kb_error *err);
    void (*take_back)(void *ctx, void *loan);
    // Does who sends this request to a route with ROUTE_SIGNED show that he may? Asked once the
    // headers are there, with the loan. False: answered. NULL: nobody may.
    bool (*admits)(struct request *r);
};

enum route_flags {
    ROUTE_OPEN = 1,    // no token needed (/healthz, the page's files, POST /session)
    ROUTE_SINK = 2,    // the body goes to a body_sink instead of memory
    ROUTE_VITAL = 8,   // answered also when the server has as many connections as it takes
    ROUTE_FOREIGN = 4, // API for programs of other kinds (/easy): no Origin check beyond the usual
    ROUTE_SIGNED = 16, // instead of the token, which counts for nothing here, what http_app.admits
                       // asks for. Who is admitted is as known as one who has shown the token
};

// Where the body of an upload goes, piece by piece. open is called once the headers are there, and
// may answer (reply_…) at once, which refuses the body. A piece that fails answers too; what still
// comes is thrown away. done is called when the whole body is there and must answer. abort is
// called instead of done when the client went away. After done or abort, ctx is the sink's to free.
struct body_sink {
    void *(*open)(struct request *r);
    bool (*piece)(struct request *r, void *ctx, const void *data, size_t n);
    void (*done)(struct request *r, void *ctx);
    void (*abort)(void *app, void *ctx);
};
// After a piece that failed no more pieces come; done is still called at the end (for ctx) and need
// not answer again. open that answers and returns a ctx all the same gets abort for it.

struct route {
    const char *method;  // "GET" serves HEAD too
    const char *pattern; // "/api/v1/batches/{id}/cancel": at most 3 parts in braces. "/*": any GET
                         // that nothing else matches. Words go before braces, whatever their order
    void (*handle)(struct request *r); // NULL with a sink
    int flags;
    const struct body_sink *sink;
};

// --- reading the request

void *request_app(const struct request *r); // http_params.app.ctx
// What the app lends, the same all through the handler. Never NULL if it lends at all, as a request
// is answered 503 when it cannot; only routes with ROUTE_OPEN are called without, and have to
// check.
void *request_loan(struct request *r);
const char *request_path(const struct request *r);   // decoded, no query
const char *request_target(const struct request *r); // path and query as they were sent
const char *request_method(const struct request *r);
const char *request_part(const struct request *r, int i);     // text that stood for the i-th brace
bool request_part_id(struct request *r, int i, int64_t *ret); // else answered 404 already
const char *request_query(const struct request *r, const char *name); // NULL if absent
// A whole number of the query within bounds; absent = fallback; else answered 400, returns false.
bool request_query_int(struct request *r, const char *name, int64_t low, int64_t high,
                       int64_t fallback, int64_t *ret);
const char *request_header(const struct request *r, const char *name);
// Does the header Content-Type (may be NULL) name this media type, whatever its parameters?
bool media_type_is(const char *header, const char *type);
// "127.0.0.1"; of a request that a trusted proxy passed on, the address that it was sent from
const char *request_client(const struct request *r);
// By TLS, as a trusted proxy says: this server itself has none.
bool request_is_secure(const struct request *r);
// What limits count the client by: his address, of IPv6 the first 64 bits, for whoever has those
// has all addresses below them.
const char *request_client_key(const struct request *r);
const char *request_lang(const struct request *r); // "zh" or "en": ?lang, Accept-Language, default
int64_t request_content_length(const struct request *r); // -1 unknown
const void *request_body(const struct request *r, size_t *ret_size);
// The body as a JSON object (an empty body is {}): borrowed, lives as long as the request. NULL:
// answered 400 with line and column.
json_t *request_json(struct request *r);

// --- answering: exactly once for each request

void reply_header(struct request *r, const char *name, const char *value); // before the reply
void reply_json(struct request *r, int status, const char *json);          // copied
void reply_empty(struct request *r, int status);
void reply_text(struct request *r, int status, const char *type, const char *text);
// Before the reply: to be kept under that name (RFC 6266, with filename* of RFC 8187).
void reply_download(struct request *r, const char *name);
// RFC 9457: {"type":"about:blank","title":…,"status":…,"code":CODE,"detail":SENTENCE}
void reply_problem(struct request *r, int status, const char *code, const char *sentence);
// The same for an error of a lower layer: KB_BAD_INPUT 400 (409 if conflict), NOT_FOUND 404,
// NO_SPACE 507, UNAVAILABLE 503 with Retry-After: 1, CANCELLED 409, INTERNAL 500 (logged; the
// same sentence once a minute).
void reply_error(struct request *r, const struct kb_error *err);
void reply_conflict(struct request *r, const struct kb_error *err); // KB_BAD_INPUT as 409

// A file, with ETag, Last-Modified, If-None-Match, If-Modified-Since, Range (one or several, the
// latter as multipart/byteranges or the whole, as RFC 9110 allows) and If-Range. download: the name
// for Content-Disposition: attachment (RFC 6266, with filename* of RFC 8187), NULL = inline.
// path lies below folder, and no link is followed on the way (base/beneath.h): else 404. One that
// cannot be read now is answered 500, or 503 for want of descriptors.
struct reply_file_params {
    const char *folder, *path, *type, *download;
    bool immutable; // Cache-Control: private, max-age=31536000, immutable; else no-cache
};
void reply_file(struct request *r, const struct reply_file_params *p);
// Bytes that a table in memory holds for as long as the server lives (the page). gzip may be NULL.
void reply_memory(struct request *r, const char *type, const char *etag, bool immutable,
                  const void *data, size_t size, const void *gzip, size_t gzip_size);

// A body that is made while it is sent. read fills at most max bytes: > 0 = that many, 0 = nothing
// now: the connection sleeps until stream_wake(), -1 = the end, -2 = broken off. Called on network
// threads, never two at once for one stream.
struct stream;
typedef int64_t stream_read_fn(void *ctx, char *buffer, size_t max);
typedef void stream_free_fn(void *ctx); // after the last read
// Status 200. *ret may be NULL if the stream never sleeps; else the caller's reference, given back
// with stream_unref().
void reply_stream(struct request *r, const char *type, stream_read_fn *read, stream_free_fn *free,
                  void *ctx, struct stream **ret);
// The answer is not known yet: the connection sleeps until stream_wake(), then the handler is
// called again, and answers or waits once more, with what it gets from request_waited(). free: at
// the end of the request, on its network thread. Not for sinks. *ret as above, each time; for the
// waking.
void request_wait(struct request *r, stream_free_fn *free, void *ctx, struct stream **ret);
void *request_waited(const struct request *r); // ctx of the wait before; NULL: it is the first time
void stream_wake(struct stream *s);            // from any thread; also after the client has gone
void stream_unref(struct stream **s);

// --- the session: for the routes of /api/v1/session

bool http_needs_token(const struct request *r);
// Does this request carry the token or the cookie, or is none needed? Answers nothing.
bool http_session_ok(struct request *r);
// Is token (may be NULL) the right one? False: answered 401, or 429 from the eleventh wrong one
// within a minute from one client on.
bool http_token_ok(struct request *r, const char *token);
// The value for a header Set-Cookie that begins or ends a session, a new string. Secure where a
// trusted proxy says that the client came by TLS.
char *http_session_cookie(const struct request *r, bool end);

// --- the daemon

struct http;
struct http_params {
    const char *listen; // address: "127.0.0.1", "0.0.0.0", "::1"
    int port;           // 0 = any free one
    const char *token;  // NULL: none needed. Else bearer header or session cookie
    struct http_app app;
    const char *lang;                  // of clients that do not say: "zh" (NULL) or "en"
    const struct route *const *tables; // NULL-terminated list of route tables, each ended by {0}
    const char *proxies;               // addresses and networks, "10.0.0.1,fd00::/8": whose
                                       // X-Forwarded-For and -Proto are believed. NULL: nobody's
    int threads;                       // 0 = 4
    int connections;                   // 0 = 1000
    int connections_per_client;        // that have shown the token; not of proxies. 0 = 400
    size_t body_bytes;                 // largest body kept in memory; 0 = 1 MiB
    int idle_s;                        // 0 = 30
    // Against those who take their time. A header must be whole within header_ms (0 = 30,000). A
    // body must bring slow_bytes (0 = 30,000) within each slow_ms (0 = 30,000). Connections that
    // have not shown the token and are older than grace_ms (0 = 2000) may be strangers (0 = an
    // eighth of connections) at most.
    int header_ms, slow_ms, slow_bytes, grace_ms, strangers;
};
// KB_UNAVAILABLE when the port is taken: the sentence names the program that has it where /proc
// tells.
enum kb_code http_start(struct http **ret, const struct http_params *p, struct kb_error *err);
int http_port(const struct http *h);
int http_connections(const struct http *h);
// Ends sleeping streams, closes everything.
void http_stop(struct http **h);

// Guards, in this order: the Host header must name this machine when no token is set (against DNS
// rebinding); state-changing requests with an Origin header must come from the same host and port;
// the token. 401 problems carry code "token". Security headers (CSP default-src 'self', nosniff,
// frame-ancestors 'none', Referrer-Policy) go on every answer.

#endif
