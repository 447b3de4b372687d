// What the files of server/ share about the application.
// Threads: what struct server points to is made before the first request and freed after the last;
// each part says what more it allows.
#ifndef SERVER_INTERNAL_H
#define SERVER_INTERNAL_H

#include "http/http.h"
#include "server/server.h"

struct events;  // server/events.h: the stream of changes
struct courier; // server/courier.h: the thread that downloads addresses and sends notices
struct speaker; // server/speaker.h: the threads that have texts spoken
struct page;    // server/page.h: the built page in memory
struct errands; // server/errand.h
struct followers;
struct doctor_cache;
struct pool;      // server/pool.h
struct transfers; // upload/tus.h
struct quota;     // server/quota.h

struct server {
    struct server_params params; // strings owned
    struct http *http;
    struct pool *pool; // NULL while there is no data folder (tests)
    struct supervisor *supervisor;
    struct head *head; // cluster/head.h: other machines; NULL: there is no cluster
    struct events *events;
    struct courier *courier;
    struct speaker *speaker;
    struct keeper *keeper; // server/keeper.h: the daily backup
    struct page *page;
    struct transfers *transfers; // upload/tus.h: who sends to which upload
    struct quota *zips; // that are being sent: each holds files, and is made on a network thread
    struct errands *errands;     // server/errand.h: work that is too long for a network thread
    struct followers *followers; // api/logs.c: who reads the log as it grows
    struct doctor_cache *doctor; // api/system.c: what it found lately
    char *base_url;              // "http://127.0.0.1:7860"
    int lock_fd;
    int connections; // HTTP connections that the system's limits allow
    int64_t started_ms;
};

// Is a request to the depot signed by a machine of the cluster? False: answered. api/depot.c.
bool depot_admits(struct request *r);

// The application as http/ sees it: requests borrow a connection to the database.
struct http_app server_app(struct server *s);

static inline struct server *request_server(const struct request *r)
{
    return request_app(r);
}

static inline struct store *request_store(struct request *r)
{
    return request_loan(r);
}

// An address by which other machines reach this one, a new string; NULL: none is known.
char *server_outside_address(void);

// What changes every few seconds, one object for the stream of events and the system view:
// {"now","cpu":{"load":[…]},"memory":{…},"disk":{…},"workers":[…],"counts":{"queued","running"},
// "cluster":{…}|null,"nodes":[…]}. Sentences in the language of the thread. Any thread; store is
// the caller's.
enum kb_code system_heartbeat_json(struct server *s, struct store *store, struct text *ret,
                                   struct kb_error *err);

#define ZIPS_EACH 4
#define ZIPS_ALL  32

// Wakes those who follow the log when it has grown. One thread, which sleeps while nobody does.
enum kb_code followers_start(struct followers **ret, const char *data, struct kb_error *err);
void followers_stop(struct followers **f); // after http_stop()

// The settings of notifications in json, checked, with the masked secrets filled in from those of
// the server. False: the request was answered already.
bool take_notify(struct request *r, const char *json, struct text *ret);

struct doctor_cache *doctor_cache_create(void);
void doctor_cache_unref(struct doctor_cache **c);

// All routes: tables, one per file, each ended by {0}; NULL ends the list.
extern const struct route *const server_routes[];
extern const struct route api_uploads_routes[];   // tus, multipart, assets
extern const struct route api_batches_routes[];   // batches and jobs
extern const struct route api_results_routes[];   // results, zip
extern const struct route api_subtitles_routes[]; // of speeches, files and results
extern const struct route api_system_routes[];    // system, settings, session, health, metrics
extern const struct route api_nodes_routes[];     // the machines of a cluster
extern const struct route api_previews_routes[];
extern const struct route api_people_routes[];
extern const struct route api_voices_routes[]; // who speaks a text
extern const struct route api_logs_routes[];
extern const struct route api_events_routes[]; // server-sent events
extern const struct route api_depot_routes[];  // files and results of the machines of a cluster
extern const struct route api_easy_routes[];   // the Duix engine's API
extern const struct route page_routes[];       // the page, docs/openapi.yaml

#endif
