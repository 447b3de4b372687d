#include "base/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct queue {
    size_t capacity;
    void (*item_free)(void *item);
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // --- the following fields are protected by lock
    size_t first, count;
    bool closed, aborted;
    void *items[];
};

struct queue *queue_create(size_t capacity, void (*item_free)(void *item))
{
    assert(capacity > 0);
    struct queue *q = kb_alloc(sizeof(*q) + capacity * sizeof(q->items[0]));
    q->capacity = capacity;
    q->item_free = item_free;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    return q;
}

bool queue_push(struct queue *q, void *item)
{
    pthread_mutex_lock(&q->lock);
    while (q->count == q->capacity && !q->aborted && !q->closed)
        pthread_cond_wait(&q->changed, &q->lock);
    bool ok = !q->aborted && !q->closed;
    if (ok) {
        q->items[(q->first + q->count++) % q->capacity] = item;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return ok;
}

void *queue_pop(struct queue *q)
{
    void *item = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->count == 0 && !q->closed && !q->aborted)
        pthread_cond_wait(&q->changed, &q->lock);
    if (q->count > 0 && !q->aborted) {
        item = q->items[q->first];
        q->first = (q->first + 1) % q->capacity;
        q->count--;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return item;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void queue_abort(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->aborted = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void queue_free(struct queue **q)
{
    if (!*q)
        return;
    for (size_t i = 0; i < (*q)->count; i++)
        (*q)->item_free((*q)->items[((*q)->first + i) % (*q)->capacity]);
    pthread_cond_destroy(&(*q)->changed);
    pthread_mutex_destroy(&(*q)->lock);
    free(*q);
    *q = NULL;
}
