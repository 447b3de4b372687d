// The supervisor's side of the queue.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_SWEEP_H
#define QUEUE_SWEEP_H

#include "store/store.h"

// The worker is gone (reason: a sentence fragment such as "the worker crashed (signal 11)"; hung:
// it stood still and was ended for that): its job is queued again after a pause, or failed after
// the last attempt, with a sentence that names the stage. KB_OK also when it had none.
enum kb_code sweep_worker_lost(struct store *s, const char *worker, const char *reason, bool hung,
                               struct kb_error *err);
// All running jobs are queued again, and the attempt does not count: their server is gone, which
// says nothing about them. Before this server gives any out. Here and below: but for those of other
// machines (queue/remote.h).
enum kb_code sweep_server_lost(struct store *s, struct kb_error *err);
// Jobs of workers that no longer exist (their lease is older than lease_ms, or their process is
// gone), and the column "waiting" of queued jobs. Call it every second.
struct sweep_params {
    int64_t lease_ms; // 0 = 15000
    int64_t min_free_bytes;
    const int64_t *held; // jobs that a broker answers for: never lost by a sweep
    int n_held;
};
enum kb_code sweep_run(struct store *s, const struct sweep_params *p, struct kb_error *err);

#endif
