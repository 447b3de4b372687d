// Keeping the data folder small. Never touches what a job that has not ended needs.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_RETENTION_H
#define QUEUE_RETENTION_H

#include "store/lost.h"
#include "store/store.h"

struct retention_params {
    int keep_days;      // results, batches, assets and tracks older than this go; 0 = keep. An
                        // asset is as old as the newest batch that uses it
    bool of_any_age;    // instead of keep_days: those of this moment go, too
    int64_t keep_bytes; // then the oldest results, assets and tracks, until the folder is smaller;
                        // 0 = no limit
    bool lost;          // also remove what this database never named
    bool dry_run;
};

// Called for everything that goes (or would): a path below the data folder and its size.
typedef void retention_fn(void *opaque, const char *name, int64_t size_bytes);

struct retention_report {
    int n_removed;
    int64_t bytes_removed, bytes_left;
    struct lost lost; // that are left
};

// Also removes what this database named once and does not any more: half outputs of lost attempts
// (older than 10 minutes) and what a crash left of a deletion. What it never named stays (lost.h),
// and so does every file that has none of koubo's names (store/names.h).
enum kb_code retention_run(struct store *s, const struct retention_params *p, retention_fn *each,
                           void *opaque, struct retention_report *ret, struct kb_error *err);

#endif
