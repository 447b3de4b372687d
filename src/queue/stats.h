// Numbers about everything, for /metrics, the system view and koubo doctor.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_STATS_H
#define QUEUE_STATS_H

#include "queue/job.h"

struct stats {
    int64_t jobs[N_JOB_STATES];
    int64_t batches, assets, results;
    int64_t files_bytes, results_bytes, tracks_bytes, uploads_bytes; // of the data folder
    // Of all jobs there ever were, deleted ones too; a counter never goes back.
    int64_t done_total, failed_total;
    double seconds_total;             // wall clock of the done ones
    double stage_average_s[N_STAGES]; // of jobs done lately; negative: there are none
};
enum kb_code stats_get(struct store *s, struct stats *ret, struct kb_error *err);

// The same for the API (docs/openapi.yaml: Stats).
void stats_json(const struct stats *stats, struct text *ret);

#endif
