// The worker process: asks its server for jobs, runs them with a model it keeps loaded, reports.
// Of the process, so from its main thread.
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "base/cancel.h"
#include "nn/session.h"
#include "store/store.h"

struct worker_params {
    const char *data; // folder
    const char *id;   // "w1"
    bool inspect;     // look at assets and speak texts instead of running jobs
    enum precision precision;
    int threads;            // 0 = all processors (from the supervisor: its share)
    int64_t min_free_bytes; // the supervisor's: what jobs must leave on the disk
    int64_t memory_bytes;   // address space; 0 = no limit
    int64_t output_bytes;   // largest file it may write; 0 = no limit
    int cpu_factor;         // CPU seconds a job may use: 600 + cpu_factor * seconds of output;
                            // 0 = 60
    bool unconfined;        // without seccomp and Landlock: only with --no-sandbox
    int parent_fd;          // the line to the server (worker/line.h)
    const struct cancel *cancel;
};
// Runs until cancelled or the server is gone; the job in work is then given back. Returns KB_OK
// then. Its log goes over the line. A thread of its own tells every second that it lives.
enum kb_code worker_run(const struct worker_params *p, struct kb_error *err);

#endif
