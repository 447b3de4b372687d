// Numbers about everything.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_STATS_H
#define QUEUE_STATS_H

#include "store/store.h"

// Numbers for /metrics, the system view and koubo doctor, one object:
// {"jobs":{"queued":n,…},"batches":n,"assets":n,"results":n,"bytes":{"files":n,"results":n,
//  "tracks":n,"uploads":n},"done_total":n,"failed_total":n,"seconds_total":x,
//  "stage_average_s":{"loading":x,…}}
enum kb_code stats_json(struct store *s, struct text *ret, struct kb_error *err);

#endif
