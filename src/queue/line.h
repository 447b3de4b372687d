// The order in which jobs are served, for who claims the next one and who lists them. What it costs
// grows with the batches that are open and the rows that are asked for, not with the jobs that wait
// or have ended.
// Threads: as the store they are given (store/store.h). All of it inside the caller's transaction.
#ifndef QUEUE_LINE_H
#define QUEUE_LINE_H

#include "queue/job.h"

// The job that is to be claimed now: its speech and video are there, the time for it has come, and
// it fits into room bytes of the disk. KB_EOF: none.
enum kb_code line_next(struct store *s, int64_t room, int64_t *ret, struct kb_error *err);
// Does a job wait in a batch that is not paused? Cheap, for who asks often.
enum kb_code line_waits(struct store *s, bool *ret, struct kb_error *err);

// The numbers of the jobs that f chooses, from its offset on, at most max of them (its limit is
// ignored). Those that run, those that wait in the order of service, and those that have ended, the
// newest first. Where f names a batch or a text, batches take turns among what it chooses.
enum kb_code line_list(struct store *s, const struct job_filter *f, int64_t *ret, int max,
                       int *ret_n, struct kb_error *err);
enum kb_code line_count(struct store *s, const struct job_filter *f, int64_t *ret,
                        struct kb_error *err);

#endif
