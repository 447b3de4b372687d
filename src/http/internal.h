// What the files of http/ share.
// Threads: a request belongs to its network thread; struct http says what its lock guards.
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include "http/http.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#define HTTP_HEADER_BYTES (16 << 10) // of one request
#define HTTP_THROW_BYTES                                                                           \
    (256LL << 20) // of a refused body that is still read, so that the answer
                  // reaches a client that sends first and reads then
#define MAX_SEGMENTS 16
#define MAX_PARTS    3
#define MAX_QUERY    64
#define MAX_HEADERS  16

// One connection's other end. Lives as long as the connection.
struct peer {
    char address[INET6_ADDRSTRLEN];
    enum { PEER_WELCOME, PEER_SERVER_FULL, PEER_CLIENT_FULL } state;
    struct peer *next, *previous;
};

// Those that sent wrong tokens lately.
struct guesser {
    char address[INET6_ADDRSTRLEN];
    int n_wrong;
    int64_t since_us; // of the first of them
};

struct http {
    struct http_app app;
    const struct route *const *tables;
    struct MHD_Daemon *daemon;
    char *listen;
    const char *lang; // of clients that do not say: "zh" or "en"
    int port, threads, connections, connections_per_client;
    size_t body_bytes;
    atomic_int n_connections;
    atomic_bool stopping;

    bool needs_token; // the two below are set then
    unsigned char token_digest[32];
    char cookie[65];

    pthread_mutex_t lock;
    // --- under the lock
    struct peer *peers;
    struct guesser guessers[64];
    struct stream *streams; // all whose answers are under way
    pthread_cond_t watch;   // streams were added, or stopping
    pthread_t watcher;
    bool watching;
};

struct query_field {
    const char *name, *value;
};

struct request {
    struct http *http;
    struct MHD_Connection *connection;
    struct peer *peer;
    const char *method, *lang;
    const struct route *route;

    char *uri;             // as sent, then cut and decoded in place
    const char *authority; // host and port of an address in absolute form, else NULL
    char *path;            // decoded
    int n_segments, n_parts, n_query;
    char *segments[MAX_SEGMENTS];
    const char *parts[MAX_PARTS];
    struct query_field query[MAX_QUERY];

    int64_t started_us; // when the access handler was first called, 0 = it was not
    bool sink_open;     // sink_ctx is the sink's and neither done nor abort was called
    bool sink_failed;
    void *sink_ctx;
    struct text body;
    int64_t thrown; // bytes of the body that nobody wanted
    json_t *json;
    void *loan; // of the app

    int n_headers;
    char *headers[MAX_HEADERS][2]; // of the answer
    int status;
    struct MHD_Response *response; // made and not yet handed to the connection
    bool answered;
};

// route.c: takes the address apart; false: it is not one.
bool request_parse_uri(struct request *r);
// Finds r->route and r->parts. False: answered 404, 405, or 204 to OPTIONS.
bool request_find_route(struct request *r);

// auth.c
void auth_init(struct http *h, const char *token);
bool auth_check_host(struct request *r); // each answers when false
bool auth_check_origin(struct request *r);
bool auth_check_token(struct request *r);

// request.c: the callbacks of libmicrohttpd
void *request_begin(void *http, const char *uri, struct MHD_Connection *connection);
enum MHD_Result request_handle(void *http, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **request);
void request_end(void *http, struct MHD_Connection *connection, void **request,
                 enum MHD_RequestTerminationCode how);

// reply.c: what all answers have in common. Takes response (NULL: out of memory).
void reply_response(struct request *r, int status, struct MHD_Response *response);
// The value of a header of the answer so far; NULL if not set.
const char *reply_header_get(const struct request *r, const char *name);

enum kb_language request_language(const struct request *r);

// stream.c: the thread that notices clients that left while their stream slept.
bool streams_start(struct http *h);
void streams_stop(struct http *h); // before the daemon stops

// file.c
// Is etag ("\"…\"", strong) in a list as of If-None-Match ("*", weak comparison)?
bool etag_listed(const char *list, const char *etag, bool strong);

// range.c: the header Range (RFC 9110, 14.2) for a file of size bytes.
#define MAX_RANGES 10
struct range {
    int64_t start, end; // both included, within the file
};
// How many ranges were asked for and are there, in the order of the header: 0 = the whole file is
// the answer (no, foreign or broken header, or ranges beyond reason), -1 = none of them is there.
int range_parse(const char *header, int64_t size, struct range ret[MAX_RANGES]);

#endif
