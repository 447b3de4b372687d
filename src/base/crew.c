#include "base/crew.h"

#include <pthread.h>
#include <stdlib.h>

struct helper {
    struct crew *crew;
    pthread_t thread;
    int worker;
};

struct crew {
    int threads;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    // --- the following fields are protected by lock
    crew_fn *fn;
    void *context;
    int n_tasks, next, n_running; // of what is being run
    bool ends;
    struct helper helpers[];
};

// Do tasks until none is left to begin. The lock is held, and given away during each.
static void help(struct crew *c, int worker)
{
    while (c->next < c->n_tasks) {
        int task = c->next++;
        crew_fn *fn = c->fn;
        void *context = c->context;
        c->n_running++;
        pthread_mutex_unlock(&c->lock);
        fn(context, task, worker);
        pthread_mutex_lock(&c->lock);
        if (--c->n_running == 0 && c->next == c->n_tasks)
            pthread_cond_signal(&c->done);
    }
}

static void *helper_main(void *opaque)
{
    struct helper *h = opaque;
    struct crew *c = h->crew;
    pthread_mutex_lock(&c->lock);
    while (!c->ends) {
        help(c, h->worker);
        if (!c->ends)
            pthread_cond_wait(&c->work, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct crew *crew_create(int threads)
{
    int wanted = KB_MIN(KB_MAX(threads, 1), CREW_MAX_THREADS);
    struct crew *c = kb_alloc(sizeof(*c) + (size_t)wanted * sizeof(c->helpers[0]));
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_cond_init(&c->done, NULL);
    c->threads = 1;
    while (c->threads < wanted) {
        struct helper *h = &c->helpers[c->threads - 1];
        *h = (struct helper){.crew = c, .worker = c->threads};
        if (pthread_create(&h->thread, NULL, helper_main, h) != 0)
            break;
        c->threads++;
    }
    return c;
}

int crew_threads(const struct crew *c)
{
    return c->threads;
}

void crew_run(struct crew *c, int n_tasks, crew_fn *fn, void *context)
{
    pthread_mutex_lock(&c->lock);
    c->fn = fn;
    c->context = context;
    c->next = 0;
    c->n_tasks = n_tasks;
    if (n_tasks > 1 && c->threads > 1)
        pthread_cond_broadcast(&c->work);
    help(c, 0);
    while (c->n_running > 0)
        pthread_cond_wait(&c->done, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void crew_free(struct crew **cp)
{
    struct crew *c = *cp;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->ends = true;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < c->threads - 1; i++)
        pthread_join(c->helpers[i].thread, NULL);
    pthread_cond_destroy(&c->done);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    free(c);
    *cp = NULL;
}
