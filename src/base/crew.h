// A few threads that do the parts of one piece of work together with who wants it. Which thread
// does which part is chance, so what the parts give must not depend on it.
// Thread-safety: a crew belongs to one thread at a time, which is the only one that calls these.
#ifndef BASE_CREW_H
#define BASE_CREW_H

#include "base/base.h"

struct crew;

#define CREW_MAX_THREADS 16

// threads: with the caller's own, at least 1; CREW_MAX_THREADS at most are used, and fewer where
// the system gives no more. Never NULL. The threads sleep while there is nothing to do.
struct crew *crew_create(int threads);
// How many there are: workers are numbered 0 (the caller) to crew_threads() - 1.
int crew_threads(const struct crew *c);
// fn(context, task, worker) for each task from 0 to n_tasks - 1, the lower ones begun first; no two
// at once have the same worker. Returns when all are done.
typedef void crew_fn(void *context, int task, int worker);
void crew_run(struct crew *c, int n_tasks, crew_fn *fn, void *context);
void crew_free(struct crew **c); // NULL is fine

#endif
