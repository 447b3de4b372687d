#include "server/pool.h"

#include "store/patience.h"

#include <pthread.h>
#include <stdlib.h>

#define MAX_IDLE 8 // more than http/ has threads
#define AT_ONCE  4 // as many as it has

struct pool {
    char *folder;
    struct patience patience;
    pthread_mutex_t lock;
    // --- under the lock
    struct store *idle[MAX_IDLE];
    int n_idle;
};

struct pool *pool_create(const char *folder)
{
    struct pool *p = kb_alloc(sizeof(*p));
    p->folder = kb_strdup(folder);
    p->patience.budget_ms = POOL_WAIT_MS;
    pthread_mutex_init(&p->lock, NULL);
    // Where this fails, whoever borrows tries again and says why.
    while (p->n_idle < AT_ONCE && store_open(&p->idle[p->n_idle], folder, false, NULL) == KB_OK)
        p->n_idle++;
    return p;
}

enum kb_code pool_lend(struct pool *p, struct store **ret, struct kb_error *err)
{
    struct store *s = NULL;
    pthread_mutex_lock(&p->lock);
    if (p->n_idle > 0)
        s = p->idle[--p->n_idle];
    pthread_mutex_unlock(&p->lock);
    enum kb_code code = s ? KB_OK : store_open(&s, p->folder, false, err);
    if (code == KB_BAD_INPUT && err) // damaged, or another's: no fault of him who asks
        err->code = KB_INTERNAL;
    if (code != KB_OK)
        return code == KB_BAD_INPUT ? KB_INTERNAL : code;
    store_set_patience(s, &p->patience);
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

bool pool_is_locked(struct pool *p)
{
    return patience_is_locked(&p->patience);
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
