// The worker process: claims jobs, runs them with a model it keeps loaded, reports. And its cage.
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
    int threads; // 0 = all processors (from the supervisor: its share)
    int64_t min_free_bytes;
    int64_t memory_bytes; // address space; 0 = no limit
    int64_t output_bytes; // largest file it may write; 0 = no limit
    int cpu_factor;       // CPU seconds a job may use: 600 + cpu_factor * seconds of output;
                          // 0 = 60
    bool unconfined;      // without seccomp and Landlock: only with --no-sandbox
    int parent_fd;        // its end of file means that the server is gone; -1 = none
    const struct cancel *cancel;
};
// Runs until cancelled or the parent is gone; the job in work is then given back. Returns KB_OK
// then. Heartbeats come from a thread of their own every second.
enum kb_code worker_run(const struct worker_params *p, struct kb_error *err);

// What worker_run() does with inspect: job/inspect.c. Called in a loop; looks at one asset.
// KB_EOF: there is none. Errors of one asset are stored with it and are not returned. cancel: this
// asset takes too long; its parent: leave it to another inspector (KB_CANCELLED).
struct face_models;
enum kb_code inspect_next(struct store *s, const char *worker, struct face_models *faces,
                          const struct cancel *cancel, struct kb_error *err);

// After this the process can neither reach a network, start programs, nor write outside data (it
// may read everything). Each limit that the kernel lacks is named in *ret_missing ("" = none), and
// is no error. Call before threads are started, after models were located.
enum kb_code sandbox_enter(const char *data, char ret_missing[200], struct kb_error *err);

#endif
