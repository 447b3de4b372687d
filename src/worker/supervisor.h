// Starts worker processes, restarts those that die, kills those that hang. One thread.
#ifndef WORKER_SUPERVISOR_H
#define WORKER_SUPERVISOR_H

#include "worker/worker.h"

struct supervisor;
struct previews;

struct supervisor_params {
    const char *data;
    const char *program;         // the koubo to start; NULL = this one
    int n_workers;               // 0 = auto: min(cores / 2, free memory / 1 GiB), at least 1;
                                 // -1: the server starts no supervisor
    bool no_generators;          // w…: none, whatever n_workers says: other machines do the jobs
    bool no_inspector;           // i1: none: who fills this queue knows what the files are
    bool previews;               // p1, while looks before the long run are asked for
    struct worker_params worker; // limits handed to each as options
    int64_t hang_ms;             // without progress; 0 = 60000
    int64_t lease_ms;            // of jobs that are nobody's here; 0: as sweep_params
    bool log_json;               // the log file as JSON objects, one a line
    int keep_days;               // retention, once an hour
    int64_t keep_bytes;
};

// Starts the thread, the generators w1..wN and one inspector "i1", or what of them is wanted;
// leases and retention are looked after in any case. p is copied.
enum kb_code supervisor_start(struct supervisor **ret, const struct supervisor_params *p,
                              struct kb_error *err);
// Tell workers to give their jobs back and end (at most 5 s, then SIGKILL), join, free.
void supervisor_stop(struct supervisor **s);

// Where those looks are asked for, with supervisor_params.previews; else they wait for ever.
struct previews *supervisor_previews(struct supervisor *s);

// How many workers auto means here.
int supervisor_auto_workers(void);

#endif
