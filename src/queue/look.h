// A look before the long run: a job that is in no queue. Threads: as the store (store/store.h).
#ifndef QUEUE_LOOK_H
#define QUEUE_LOOK_H

#include "queue/batch.h"
#include "queue/lease.h"

// What a job of p's speech and first video would be given: contents, names, materials, options,
// whom to animate. Nothing is written. The codes and sentences of batch_create(); *ret is the
// caller's (job_claim_free()).
enum kb_code look_claim(struct store *s, const struct batch_params *p, struct job_claim *ret,
                        struct kb_error *err);

#endif
