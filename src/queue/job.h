// Jobs, one by one: what the API does. batch.h tells their life.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_JOB_H
#define QUEUE_JOB_H

#include "store/states.h"
#include "store/store.h"

struct job_filter {
    int64_t batch;              // 0 = any
    const char *state, *search; // NULL = any; state "running" is all four; "unfinished" too
    int offset, limit;          // limit 1..1000, 0 = 50
};
// In the order in which they are served; ended ones last, newest first.
enum kb_code job_list_json(struct store *s, const struct job_filter *f, struct text *ret,
                            struct kb_error *err);
enum kb_code job_json(struct store *s, int64_t id, struct text *ret, struct kb_error *err);
enum kb_code job_cancel(struct store *s, int64_t id, struct kb_error *err);
enum kb_code job_retry(struct store *s, int64_t id, struct kb_error *err); // failed or cancelled
enum kb_code job_move(struct store *s, int64_t id, int64_t before, struct kb_error *err); // in its
                                                                  // batch; 0 last, -1 first
enum kb_code job_delete(struct store *s, int64_t id, struct kb_error *err); // ended ones

#endif
