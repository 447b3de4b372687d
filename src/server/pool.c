#include "server/pool.h"

#include <pthread.h>
#include <stdlib.h>

#define MAX_IDLE 8 // more than http/ has threads

struct pool {
    char *folder;
    pthread_mutex_t lock;
    // --- under the lock
    struct store *idle[MAX_IDLE];
    int n_idle;
};

struct pool *pool_create(const char *folder)
{
    struct pool *p = kb_alloc(sizeof(*p));
    p->folder = kb_strdup(folder);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

enum kb_code pool_lend(struct pool *p, struct store **ret, struct kb_error *err)
{
    struct store *s = NULL;
    pthread_mutex_lock(&p->lock);
    if (p->n_idle > 0)
        s = p->idle[--p->n_idle];
    pthread_mutex_unlock(&p->lock);
    if (!s)
        return store_open(ret, p->folder, false, err);
    *ret = s;
    return KB_OK;
}

void pool_take_back(struct pool *p, struct store *s)
{
    pthread_mutex_lock(&p->lock);
    if (p->n_idle < MAX_IDLE)
        p->idle[p->n_idle++] = TAKE(s);
    pthread_mutex_unlock(&p->lock);
    store_close(&s);
}

void pool_free(struct pool **pool)
{
    struct pool *p = TAKE(*pool);
    if (!p)
        return;
    for (int i = 0; i < p->n_idle; i++)
        store_close(&p->idle[i]);
    pthread_mutex_destroy(&p->lock);
    free(p->folder);
    free(p);
}
