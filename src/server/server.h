// The application behind the routes: what `koubo serve` runs.
// Threads: started and stopped by one; the rest is safe from any.
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/cancel.h"
#include "base/guard.h"
#include "cluster/head.h"
#include "worker/supervisor.h"

struct server_params {
    const char *data;    // folder
    const char *listen;  // NULL = 127.0.0.1
    int port;            // 0 = any free one
    const char *token;   // NULL: none, only allowed on loopback
    const char *proxies; // addresses and networks of trusted proxies, with commas; NULL = none
    const char *page;    // folder of the built page; NULL = beside the program
    const char *share;   // folder whose files /easy may name; NULL = none
    struct guard
        guard; // where downloads and notices may go; trusting is filled in: no token, no proxy
    int64_t crowded_ms;     // how long a download may be slow while others wait; 0 = a minute
    int64_t upload_bytes;   // largest upload; 0 = 20 GiB
    int uploads_per_client; // unfinished ones at a time; 0 = 200
    struct supervisor_params supervisor;
    struct head_params
        head;            // redis: NULL = no other machines. data and min_free_bytes are filled in
    int speech_again_ms; // a text is spoken again where the disk was full; 0 = 10000
    int sample_ms;       // how long a sample is waited for; 0 = two minutes
    int64_t first_backup_ms; // after the start, if one is due; 0 = 30000
    const char *lang;        // "zh" or "en" for clients that do not say; NULL = "zh"
    const char *defaults;    // options of batches that do not say them, JSON; NULL = none
    bool new_database;       // where that of the folder is lost, go on with an empty one
};

struct server;
// Makes the data folder, takes its lock (KB_UNAVAILABLE when another server has it, with its pid),
// opens log and store, listens, starts workers and threads. Logs the address. With
// supervisor.n_workers < 0 no worker is started (tests play them).
enum kb_code server_start(struct server **ret, const struct server_params *p, struct kb_error *err);
int server_port(const struct server *s);
// Within seconds: running jobs are given back to the queue, downloads begin again next time.
void server_stop(struct server **s);

// Only reached from this machine: 127.x.y.z, ::1, localhost.
bool server_is_loopback(const char *listen);

#endif
