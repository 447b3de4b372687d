#include "server/quota.h"

#include "base/base.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct holder {
    char *client;
    int n;
    struct holder *next;
};

struct quota {
    int each, all;
    pthread_mutex_t lock;
    // --- under the lock
    int n;
    struct holder *first; // as many as have something, so no more than all
};

struct quota *quota_create(int each, int all)
{
    struct quota *q = kb_alloc(sizeof(*q));
    q->each = each;
    q->all = all;
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

void quota_free(struct quota **pointer)
{
    struct quota *q = TAKE(*pointer);
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static struct holder **find(struct quota *q, const char *client)
{
    struct holder **link = &q->first;
    while (*link && strcmp((*link)->client, client) != 0)
        link = &(*link)->next;
    return link;
}

bool quota_enter(struct quota *q, const char *client)
{
    pthread_mutex_lock(&q->lock);
    struct holder **link = find(q, client);
    bool room = q->n < q->all && (!*link || (*link)->n < q->each);
    if (room) {
        if (!*link) {
            *link = kb_alloc(sizeof(**link));
            (*link)->client = kb_strdup(client);
        }
        (*link)->n++;
        q->n++;
    }
    pthread_mutex_unlock(&q->lock);
    return room;
}

void quota_leave(struct quota *q, const char *client)
{
    pthread_mutex_lock(&q->lock);
    struct holder **link = find(q, client), *h = *link;
    assert(h); // who leaves has entered
    q->n--;
    if (--h->n == 0) {
        *link = h->next;
        free(h->client);
        free(h);
    }
    pthread_mutex_unlock(&q->lock);
}
