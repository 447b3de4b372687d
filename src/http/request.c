// A request from its first line to its end, and what handlers ask it.
//
// libmicrohttpd calls request_handle() once with the headers, then for each piece of the body, then
// once more at the end. An answer given at the first call makes it close the connection, as the
// rest of the body would be in the way; so an answer waits for the last call (one that is given at
// once costs keep-alive, measured: 5,700 instead of 44,000 requests/s), unless the client waits for
// our word ("Expect: 100-continue") or has more to send than we care to throw away.
#include "http/internal.h"

#include "base/log.h"
#include "base/sentence.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

// --- life

void *request_begin(void *http, const char *uri, struct MHD_Connection *connection)
{
    struct request *r = kb_alloc(sizeof(*r));
    r->http = http;
    r->connection = connection;
    r->uri = kb_strdup(uri);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->peer = info ? info->socket_context : NULL;
    return r;
}

static enum kb_code borrow(struct request *r, struct kb_error *err)
{
    const struct http_app *app = &r->http->app;
    return r->loan || !app->lend ? KB_OK : app->lend(app->ctx, &r->loan, err);
}

static void give_back(struct request *r)
{
    const struct http_app *app = &r->http->app;
    if (r->loan)
        app->take_back(app->ctx, TAKE(r->loan));
}

void request_end(void *http, struct MHD_Connection *connection, void **request,
                 enum MHD_RequestTerminationCode how)
{
    struct request *r = TAKE(*request);
    if (!r)
        return;
    if (r->sink_open)
        r->route->sink->abort(r->http->app.ctx, r->sink_ctx);
    if (r->response)
        MHD_destroy_response(r->response);
    for (int i = 0; i < r->n_headers; i++) {
        free(r->headers[i][0]);
        free(r->headers[i][1]);
    }
    request_wait_over(r);
    if (r->peer)
        peer_ends(r->http, r->peer);
    text_free(&r->body);
    json_decref(r->json);
    free(r->path);
    free(r->target);
    free(r->uri);
    free(r);
}

// --- the way through

static void enter(struct request *r)
{
    kb_language_set_thread(request_language(r));
}

static void leave(struct request *r)
{
    give_back(r);
    kb_language_set_thread(KB_LANGUAGE_DEFAULT);
}

static void log_unavailable(const struct kb_error *err)
{
    CLEANUP(kb_freep) char *said = sentence_for_log(err);
    log_error("%s", said);
}

// Every route but the open ones may rely on the loan.
static bool need_loan(struct request *r)
{
    struct kb_error err = {0};
    if ((r->route->flags & ROUTE_OPEN) || borrow(r, &err) == KB_OK)
        return true;
    log_unavailable(&err);
    reply_header(r, "Retry-After", "1");
    reply_problem(r, 503, "unavailable", err.text);
    return false;
}

static void must_have_answered(struct request *r)
{
    if (r->answered)
        return;
    log_error("%s %s was not answered", r->method, r->path ? r->path : "?");
    reply_problem(r, 500, "internal", _("the server has no answer to this request"));
}

// Turned away, unless it asks for what must be answered: how the server is.
static bool check_peer(struct request *r)
{
    if (!r->peer || r->peer->state == PEER_WELCOME)
        return true;
    reply_header(r, "Connection", "close");
    if (r->route->flags & ROUTE_VITAL)
        return true;
    reply_header(r, "Retry-After", "10");
    if (r->peer->state == PEER_SERVER_FULL)
        reply_problem(r, 503, "busy",
                      _("the server has as many connections as it takes; try again in a moment"));
    else
        reply_problem(r, 429, "too_many",
                      _("too many connections from this computer; close some pages and try again"));
    return false;
}

static bool check_size(struct request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!info || info->header_size <= HTTP_HEADER_BYTES)
        return true;
    reply_header(r, "Connection", "close");
    reply_problem(r, 431, "too_large", _("the headers of this request are too long"));
    return false;
}

// Of a body in memory. Without the token nobody has much to say.
static size_t body_limit(const struct request *r)
{
    return r->known ? r->http->body_bytes : KB_MIN(r->http->body_bytes, HTTP_STRANGER_BYTES);
}

static void body_too_large(struct request *r)
{
    text_free(&r->body);
    CLEANUP(kb_freep)
    char *sentence =
        kb_printf(_("this request is too large: %zu bytes are the most"), body_limit(r));
    reply_problem(r, 413, "too_large", sentence);
}

// What of the headers decides where a request ends.
struct framing {
    int n_hosts, n_lengths, n_codings;
    bool bad_name;
};

static enum MHD_Result see_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    // RFC 9110, 5.6.2. "Content-Length :" is another header to one program and the same to others.
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    struct framing *f = ctx;
    f->n_hosts += strcasecmp(name, "Host") == 0;
    f->n_lengths += strcasecmp(name, "Content-Length") == 0;
    f->n_codings += strcasecmp(name, "Transfer-Encoding") == 0;
    f->bad_name = f->bad_name || !*name || name[strspn(name, token)];
    return MHD_YES;
}

// Headers that two programs on the way could understand in two ways, so that what one takes for a
// body is a request to the other: refused, and the connection closed.
static bool check_framing(struct request *r)
{
    const char *coding = request_header(r, "Transfer-Encoding");
    const char *length = request_header(r, "Content-Length");
    const char *sentence = NULL;
    struct framing f = {0};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, see_header, &f);
    if (f.bad_name)
        sentence = _("the name of a header has letters that none may have");
    else if (f.n_hosts > 1)
        sentence = _("this request has more than one header Host");
    else if (coding && length)
        sentence = _("this request has both Content-Length and Transfer-Encoding");
    else if (f.n_lengths > 1 || f.n_codings > 1)
        sentence = _("this request says twice how long it is");
    else if (coding && (strcasecmp(coding, "chunked") != 0 || r->old))
        sentence = _("of Transfer-Encoding only 'chunked' is understood, in HTTP/1.1");
    else if (length && (!*length || strspn(length, "0123456789") != strlen(length)))
        sentence = _("the header Content-Length must be a number of bytes");
    if (!sentence)
        return true;
    r->closes = true;
    reply_header(r, "Connection", "close");
    reply_problem(r, 400, "bad_input", sentence);
    return false;
}

static bool check_uri(struct request *r)
{
    bool ok = request_parse_uri(r);
    enter(r); // ?lang is known now
    if (ok)
        return true;
    reply_problem(r, 400, "bad_input", _("this address is not valid"));
    return false;
}

static void open_sink(struct request *r)
{
    const struct body_sink *sink = r->route->sink;
    if (!need_loan(r))
        return;
    r->sink_ctx = sink->open(r);
    r->sink_open = r->sink_ctx != NULL;
    if (r->answered && r->sink_open) {
        r->sink_open = false;
        sink->abort(r->http->app.ctx, TAKE(r->sink_ctx));
    }
    if (!r->sink_open)
        must_have_answered(r);
}

static enum MHD_Result add_hops(void *ctx, enum MHD_ValueKind kind, const char *name,
                                const char *value)
{
    struct text *hops = ctx;
    if (strcasecmp(name, "X-Forwarded-For") == 0) {
        text_add(hops, hops->size > 0 ? "," : "");
        text_add(hops, value ? value : "");
    }
    return MHD_YES;
}

// Whom a trusted proxy speaks for.
static void find_client(struct request *r)
{
    CLEANUP(text_free) struct text hops = {0};
    if (r->peer && r->peer->proxy) {
        MHD_get_connection_values(r->connection, MHD_HEADER_KIND, add_hops, &hops);
        proxies_client(r->http->proxies, text_get(&hops), r->client);
    }
    client_key(r->key, request_client(r));
}

// By the token, or as the route has it.
static bool check_sender(struct request *r)
{
    const struct http_app *app = &r->http->app;
    if (!(r->route->flags & ROUTE_SIGNED))
        return auth_check_token(r);
    r->known = need_loan(r) && app->admits && app->admits(r);
    if (!r->known)
        must_have_answered(r);
    return r->known;
}

// All that the headers alone decide.
static void handle_headers(struct request *r)
{
    find_client(r);
    bool passes = check_size(r) && check_framing(r) && check_uri(r) && auth_check_host(r) &&
                  request_find_route(r) && check_peer(r) && auth_check_origin(r) && check_sender(r);
    if (r->peer)
        peer_shows(r->http, r->peer, r->known);
    if (!passes)
        return;
    if (r->route->sink)
        open_sink(r);
    else if (request_content_length(r) > (int64_t)body_limit(r))
        body_too_large(r);
}

static bool handle_piece(struct request *r, const char *data, size_t n)
{
    if (r->answered || r->sink_failed) {
        r->thrown += (int64_t)n;
        return r->thrown <= (r->known ? HTTP_THROW_BYTES : HTTP_STRANGER_BYTES);
    }
    if (r->sink_open) {
        r->sink_failed = !need_loan(r) || !r->route->sink->piece(r, r->sink_ctx, data, n);
        if (r->sink_failed)
            must_have_answered(r);
    } else if (r->body.size + n > body_limit(r)) {
        body_too_large(r);
    } else {
        text_add_bytes(&r->body, data, n);
    }
    return true;
}

static void handle_end(struct request *r)
{
    if (r->sink_open) {
        // Without the loan the sink cannot finish; request_end() lets it abort.
        if (!need_loan(r))
            return;
        r->sink_open = false;
        r->route->sink->done(r, TAKE(r->sink_ctx));
    } else if (!r->answered && need_loan(r)) {
        r->route->handle(r);
        if (!r->answered && r->waiting && !atomic_load(&r->http->stopping))
            return;
        if (!r->answered && r->waiting) {
            reply_header(r, "Retry-After", "1");
            reply_problem(r, 503, "unavailable", _("the server is being stopped"));
        }
    }
    must_have_answered(r);
}

// A client that leaves in the middle of a body: where its last bytes and the end of the connection
// come together, libmicrohttpd 0.9.75 takes the bytes and does not look again (it clears its mark
// "ready" after a short read, and epoll tells each thing once), so an upload would stay open until
// the idle timeout. Shutting the reading side, which is over anyway, makes epoll tell again.
static void notice_end(const struct request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct pollfd socket = {.fd = info ? info->connect_fd : -1, .events = POLLRDHUP};
    if (poll(&socket, 1, 0) > 0)
        shutdown(socket.fd, SHUT_RD);
}

static enum MHD_Result deliver(struct request *r)
{
    enum MHD_Result done = MHD_NO;
    if (r->response) {
        log_debug("%s %s: %d, %.1f ms", r->method, r->path ? r->path : "?", r->status,
                  (double)(kb_now_us() - r->started_us) / 1e3);
        done = MHD_queue_response(r->connection, (unsigned)r->status, r->response);
        MHD_destroy_response(TAKE(r->response));
    }
    return done;
}

// The answer does not wait for the body: there may be much of it, or nobody knows how much.
static bool answer_at_once(const struct request *r)
{
    int64_t length = request_content_length(r);
    int64_t most = r->known ? HTTP_THROW_ANNOUNCED : HTTP_STRANGER_BYTES;
    return r->answered && (length > most || request_header(r, "Transfer-Encoding") ||
                           request_header(r, "Expect") || r->closes ||
                           (r->peer && r->peer->state != PEER_WELCOME));
}

static enum MHD_Result handle_first(struct request *r)
{
    r->started_us = kb_now_us();
    if (r->peer && !peer_begins(r->http, r->peer))
        return MHD_NO;
    enter(r);
    handle_headers(r);
    if (answer_at_once(r)) {
        if (r->peer) {
            atomic_store(&r->peer->phase, PEER_ANSWER);
            peer_linger(r->http, r->peer);
        }
        return deliver(r);
    }
    if (r->sink_open)
        notice_end(r);
    return MHD_YES;
}

static enum MHD_Result handle_next(struct request *r, const char *data, size_t n)
{
    enter(r);
    if (n > 0) {
        bool goes_on = handle_piece(r, data, n);
        notice_end(r);
        return goes_on ? MHD_YES : MHD_NO;
    }
    if (r->peer)
        atomic_store(&r->peer->phase, PEER_ANSWER);
    bool gone = false;
    do {
        handle_end(r);
        if (!r->answered && request_sleep(r, &gone)) // and is called again
            return MHD_YES;
    } while (!r->answered && !gone);
    return deliver(r);
}

enum MHD_Result request_handle(void *http, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **request)
{
    struct request *r = *request;
    enum MHD_Result result;
    if (r->peer)
        atomic_store(&r->peer->working, true);
    if (!r->started_us) {
        r->method = method;
        r->old = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
        result = handle_first(r);
    } else {
        if (r->peer)
            atomic_fetch_add(&r->peer->received, (long long)*size);
        result = handle_next(r, data, *size);
        *size = 0;
    }
    leave(r);
    if (r->peer)
        atomic_store(&r->peer->working, false);
    return result;
}

// --- what handlers ask

void *request_app(const struct request *r)
{
    return r->http->app.ctx;
}

void *request_loan(struct request *r)
{
    struct kb_error err = {0};
    if (borrow(r, &err) != KB_OK)
        log_unavailable(&err);
    return r->loan;
}

const char *request_path(const struct request *r)
{
    return r->path;
}

const char *request_target(const struct request *r)
{
    return r->target;
}

const char *request_method(const struct request *r)
{
    return r->method;
}

const char *request_part(const struct request *r, int i)
{
    return i >= 0 && i < r->n_parts ? r->parts[i] : NULL;
}

static bool parse_int(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == ' ' || *text == '+')
        return false;
    *ret = value;
    return true;
}

bool request_part_id(struct request *r, int i, int64_t *ret)
{
    const char *part = request_part(r, i);
    if (part && parse_int(part, ret) && *ret > 0)
        return true;
    reply_problem(r, 404, "not_found", _("there is nothing with that number"));
    return false;
}

const char *request_query(const struct request *r, const char *name)
{
    for (int i = 0; i < r->n_query; i++)
        if (strcmp(r->query[i].name, name) == 0)
            return r->query[i].value;
    return NULL;
}

bool request_query_int(struct request *r, const char *name, int64_t low, int64_t high,
                       int64_t fallback, int64_t *ret)
{
    const char *text = request_query(r, name);
    if (!text || !*text) {
        *ret = fallback;
        return true;
    }
    if (parse_int(text, ret) && *ret >= low && *ret <= high)
        return true;
    CLEANUP(kb_freep)
    char *sentence = kb_printf(_("%s must be a whole number from %lld to %lld"), name,
                               (long long)low, (long long)high);
    reply_problem(r, 400, "bad_input", sentence);
    return false;
}

const char *request_header(const struct request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

const char *request_client(const struct request *r)
{
    return *r->client ? r->client : r->peer ? r->peer->address : "";
}

const char *request_client_key(const struct request *r)
{
    return r->key;
}

int64_t request_content_length(const struct request *r)
{
    const char *text = request_header(r, "Content-Length");
    int64_t n;
    if (!text || request_header(r, "Transfer-Encoding"))
        return -1;
    return parse_int(text, &n) && n >= 0 ? n : -1;
}

const void *request_body(const struct request *r, size_t *ret_size)
{
    *ret_size = r->body.size;
    return text_get(&r->body);
}

bool media_type_is(const char *header, const char *type)
{
    size_t n = strlen(type);
    return header && strncasecmp(header, type, n) == 0 && strchr("; \t", header[n]); // or its end
}

json_t *request_json(struct request *r)
{
    if (r->json)
        return r->json;
    json_error_t where = {0};
    if (r->body.size == 0) {
        r->json = json_object();
        return r->json;
    }
    json_t *value = json_loadb(r->body.data, r->body.size, JSON_REJECT_DUPLICATES, &where);
    if (value && json_is_object(value)) {
        r->json = value;
        return value;
    }
    CLEANUP(kb_freep)
    char *sentence = value ? kb_strdup(_("the request must be a JSON object, {…}"))
                           : kb_printf(_("the request is not valid JSON, line %d, column %d: %s"),
                                       where.line, where.column, where.text);
    json_decref(value);
    reply_problem(r, 400, "bad_input", sentence);
    return NULL;
}

// --- language

// The weight of a language in Accept-Language, in thousandths; -1 if it is not in there.
static int language_weight(const char *accept, const char *language)
{
    size_t n = strlen(language);
    int best = -1;
    for (const char *p = accept; *p; p += strcspn(p, ",")) {
        p += strspn(p, ", \t");
        const char *end = p + strcspn(p, ",");
        if (strncasecmp(p, language, n) != 0 || (p[n] && !strchr("-;, \t", p[n])))
            continue;
        const char *q = memchr(p, '=', (size_t)(end - p));
        // "1", "0.8": the digits are enough, and this process's locale has no say in them.
        int weight = q ? (q[1] == '1') * 1000 : 1000;
        for (int i = 0, unit = 100; q && q[1] == '0' && q[2] == '.' && i < 3; i++, unit /= 10) {
            if (q + 3 + i >= end || q[3 + i] < '0' || q[3 + i] > '9')
                break;
            weight += (q[3 + i] - '0') * unit;
        }
        best = KB_MAX(best, weight);
    }
    return best;
}

const char *request_lang(const struct request *r)
{
    const char *asked = request_query(r, "lang");
    if (asked && strncasecmp(asked, "zh", 2) == 0)
        return "zh";
    if (asked && strncasecmp(asked, "en", 2) == 0)
        return "en";
    const char *accept = request_header(r, "Accept-Language");
    int zh = accept ? language_weight(accept, "zh") : -1;
    int en = accept ? language_weight(accept, "en") : -1;
    if (KB_MAX(zh, en) <= 0 || zh == en)
        return r->http->lang;
    return zh > en ? "zh" : "en";
}

enum kb_language request_language(const struct request *r)
{
    return kb_language_of(request_lang(r));
}
