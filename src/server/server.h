// The application behind the routes: what `koubo serve` runs.
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/cancel.h"
#include "job/supervisor.h"

struct server_params {
    const char *data;    // folder
    const char *listen;  // NULL = 127.0.0.1
    int port;            // 0 = any free one
    const char *token;   // NULL: none, only allowed on loopback
    const char *page;    // folder of the built page; NULL = beside the program
    const char *share;   // folder whose files /easy may name; NULL = none
    int64_t upload_bytes; // largest upload; 0 = 20 GiB
    int uploads_per_client; // unfinished ones at a time; 0 = 200
    struct supervisor_params supervisor;
    const char *lang; // "zh" or "en" for clients that do not say
};

struct server;
// Opens the store, takes the folder's lock (KB_UNAVAILABLE when another server has it, with its
// pid), listens, starts workers and threads. Logs the address.
enum kb_code server_start(struct server **ret, const struct server_params *p, struct kb_error *err);
int server_port(const struct server *s);
void server_stop(struct server **s);

#endif
