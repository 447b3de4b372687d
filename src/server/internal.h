// What the files of server/ share about the application.
#ifndef SERVER_INTERNAL_H
#define SERVER_INTERNAL_H

#include "server/http.h"
#include "server/server.h"

struct events;  // server/events.h: the stream of changes
struct fetcher; // server/fetcher.h: the thread that downloads addresses and sends notices
struct page;    // server/page.h: the built page in memory

struct server {
    struct server_params params; // strings owned
    struct http *http;
    struct supervisor *supervisor;
    struct events *events;
    struct fetcher *fetcher;
    struct page *page;
    char *base_url; // "http://127.0.0.1:7860"
    int lock_fd;
    int64_t started_ms;
};

// The route tables, one per file, each ended by {0}.
extern const struct route api_uploads_routes[]; // tus, multipart, assets
extern const struct route api_batches_routes[]; // batches and jobs
extern const struct route api_results_routes[]; // results, zip
extern const struct route api_system_routes[];  // system, logs, settings, session, health, metrics
extern const struct route api_events_routes[];  // server-sent events
extern const struct route api_easy_routes[];    // the Duix engine's API
extern const struct route page_routes[];        // the page, docs/openapi.yaml

#endif
