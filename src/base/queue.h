// A bounded first-in first-out queue of pointers between threads of a pipeline.
// Thread-safety: all functions but queue_create and queue_free are safe from any thread.
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include "base/base.h"

struct queue;

// capacity >= 1. item_free releases what is left inside when the queue is freed.
// Never fails: a few hundred bytes, running out aborts.
struct queue *queue_create(size_t capacity, void (*item_free)(void *item));

// Blocks while full. True: the queue owns item now. False: the queue was aborted or closed,
// item is still the caller's.
bool queue_push(struct queue *q, void *item);

// Blocks while empty. NULL: closed and drained, or aborted. Otherwise the caller owns the item.
void *queue_pop(struct queue *q);

// No more pushes; what is inside can still be popped.
void queue_close(struct queue *q);

// Wake every thread that blocks; pushes fail and pops return NULL from now on.
void queue_abort(struct queue *q);

// No thread may use the queue any more. NULL is fine; sets *q to NULL.
void queue_free(struct queue **q);

#endif
