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
// Of a refused body that is still read, so that the answer reaches a client that sends first and
// reads then: where more was announced, the answer comes at once and the connection closes; where
// the refusal comes midway, so much goes on being read.
#define HTTP_THROW_ANNOUNCED (1LL << 20)
#define HTTP_THROW_BYTES     (64LL << 20)
#define HTTP_STRANGER_BYTES  (8 << 10) // of a body, and of one thrown away, without the token
// Connections above our limit that get an answer.
#define HTTP_SPARE(connections) KB_MAX(4, KB_MIN(64, (connections) / 4))
#define MAX_SEGMENTS            16
#define MAX_PARTS               3
#define MAX_QUERY               64
#define MAX_HEADERS             16

// Those with one address (of IPv6, one /64, which is what a household gets), while any of them is
// connected.
struct client {
    char key[INET6_ADDRSTRLEN];
    int refs, n_known, n_strangers; // connections
    struct client *next;
};

// One connection's other end. Lives as long as the connection.
struct peer {
    char address[INET6_ADDRSTRLEN];
    enum { PEER_WELCOME, PEER_SERVER_FULL, PEER_CLIENT_FULL } state;
    bool proxy;            // one of --trusted-proxy: it keeps slow clients off itself
    atomic_int phase;      // into PEER_BODY under the lock, out of it by its network thread
    atomic_llong received; // bytes of the present body
    atomic_bool working;   // a handler runs, so nobody reads
    struct peer *next, *previous;
    // --- under the lock
    struct client *client;
    int fd;             // -1: shut, the network thread will notice
    bool known;         // showed the token with its present or last request
    bool counted;       // among those that may stay
    bool served;        // a request was made already
    int64_t came_us;    // the connection
    int64_t since_us;   // the phase, or of a body when it last brought enough
    int64_t seen_bytes; // of received, then
};
enum peer_phase { PEER_HEADER, PEER_BODY, PEER_ANSWER };

struct parting;
struct proxies;
struct guesses;

struct http {
    struct http_app app;
    const struct route *const *tables;
    struct MHD_Daemon *daemon;
    char *listen;
    const char *lang; // of clients that do not say: "zh" or "en"
    int port, threads, connections, connections_per_client;
    int strangers; // connections that have not shown the token, once they are grace_us old
    int64_t header_us, idle_us, slow_us, grace_us;
    int64_t slow_bytes;
    size_t body_bytes;
    struct proxies *proxies;
    struct guesses *guesses;
    atomic_int n_connections;
    atomic_bool stopping;

    bool needs_token; // the two below are set then
    unsigned char token_digest[32];
    char cookie[65];

    pthread_mutex_t lock;
    // --- under the lock
    struct peer *peers;
    struct client *clients;
    int n_counted, n_strangers, n_turned_away;
    struct parting *lingering;
    int n_lingering;
    pthread_cond_t reap; // stopping
    pthread_t reaper;
    bool reaping;
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
    char client[INET6_ADDRSTRLEN]; // behind a trusted proxy the address that it names
    char key[INET6_ADDRSTRLEN];    // of request_client()
    bool old;                      // HTTP/1.0
    bool known;                    // it carries the token, or none is needed; or is admitted
    const char *method, *lang;
    const struct route *route;

    char *uri;             // as sent, then cut and decoded in place
    const char *authority; // host and port of an address in absolute form, else NULL
    char *target;          // path and query as sent
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
    void *loan;             // of the app
    struct stream *waiting; // by which it sleeps before it is answered; NULL: it did not yet

    int n_headers;
    char *headers[MAX_HEADERS][2]; // of the answer
    int status;
    struct MHD_Response *response; // made and not yet handed to the connection
    bool answered, closes;         // closes: the connection does, after the answer
};

// route.c: takes the address apart; false: it is not one.
bool request_parse_uri(struct request *r);
// Finds r->route and r->parts. False: answered 404, 405, or 204 to OPTIONS.
bool request_find_route(struct request *r);

// peer.c: who is connected
struct peer *peer_create(struct http *h, struct MHD_Connection *connection);
void peer_free(struct http *h, struct peer *peer);
// The headers of a request are there; false: too late, the connection was shut.
bool peer_begins(struct http *h, struct peer *peer);
void peer_shows(struct http *h, struct peer *peer, bool known);
void peer_ends(struct http *h, struct peer *peer); // the request; the next may come
// The answer goes out before the body is read: keeps the socket open for a moment behind
// libmicrohttpd's back, as closing it over unread bytes would take the answer away.
void peer_linger(struct http *h, const struct peer *peer);
bool peers_start(struct http *h); // the thread that looks at the clock
void peers_stop(struct http *h);

// proxy.c: the networks of trusted proxies, and whom they speak for.
enum kb_code proxies_parse(struct proxies **ret, const char *list, struct kb_error *err);
void proxies_free(struct proxies **p);
bool proxies_have(const struct proxies *p, const char *address);
// The right-most address in X-Forwarded-For that is no proxy's, "" if there is none.
void proxies_client(const struct proxies *p, const char *forwarded, char ret[INET6_ADDRSTRLEN]);
// What one client is counted by: an address of IPv4, the first 64 bits of one of IPv6.
void client_key(char ret[INET6_ADDRSTRLEN], const char *address);

// guess.c: who sent wrong tokens lately. Thread-safe.
struct guesses *guesses_create(void);
void guesses_free(struct guesses **g);
// One more wrong token of this client: how many there were within the last minute.
int guesses_add(struct guesses *g, const char *address, int64_t now_us);

// auth.c
bool auth_shows_token(const struct request *r); // the token or the cookie, or none is needed
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

// stream.c: a request that waits to be answered. False: it need not sleep, or must not, for the
// client has gone (*ret_gone).
bool request_sleep(struct request *r, bool *ret_gone);
void request_wait_over(struct request *r);
// The thread that notices clients that left while their stream slept.
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
