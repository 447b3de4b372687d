// The supervisor's side of the queue.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_SWEEP_H
#define QUEUE_SWEEP_H

#include "store/store.h"

// The worker is gone (reason: a sentence fragment such as "the worker crashed (signal 11)"): its
// job is queued again after a pause, or failed after the last attempt, with a sentence that names
// the stage. KB_OK also when it had none.
enum kb_code sweep_worker_lost(struct store *s, const char *worker, const char *reason,
                               struct kb_error *err);
// Jobs of workers that no longer exist (their lease is older than lease_ms, or their process is
// gone), and the column "waiting" of queued jobs. Call it every second.
struct sweep_params {
    int64_t lease_ms; // 0 = 15000
    int64_t min_free_bytes;
};
enum kb_code sweep_run(struct store *s, const struct sweep_params *p, struct kb_error *err);
// The running job of a worker without progress for this long, 0 if none. *ret_stage: its state.
int64_t sweep_hung(struct store *s, const char *worker, int64_t limit_ms, char ret_stage[16]);

#endif
