#include "cluster/depot_pour.h"

#include <pthread.h>
#include <stdlib.h>

struct pour {
    depot_sink *sink;
    void *ctx;
    enum kb_language language;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // Under the lock; the piece is the thread's while it is full.
    struct text piece;
    bool full, ending;
    int64_t done;
    enum kb_code code; // of the sink, once it has failed
    struct kb_error err;
};

static void *pour_run(void *opaque)
{
    struct pour *p = opaque;
    kb_language_set_thread(p->language);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->full && !p->ending)
            pthread_cond_wait(&p->changed, &p->lock);
        if (!p->full)
            break;
        struct kb_error err = {0};
        enum kb_code code = p->code;
        pthread_mutex_unlock(&p->lock);
        if (code == KB_OK) // else nothing comes after what failed
            code = p->sink(p->ctx, p->piece.data, p->piece.size, &err);
        pthread_mutex_lock(&p->lock);
        if (code == KB_OK)
            p->done += (int64_t)p->piece.size;
        else if (p->code == KB_OK)
            p->err = err;
        p->code = code;
        text_clear(&p->piece);
        p->full = false;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct pour *pour_begin(depot_sink *sink, void *ctx)
{
    struct pour *p = kb_alloc(sizeof(*p));
    p->sink = sink;
    p->ctx = ctx;
    p->language = kb_language_set_thread(KB_LANGUAGE_DEFAULT);
    kb_language_set_thread(p->language);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    if (pthread_create(&p->thread, NULL, pour_run, p) == 0)
        return p;
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

// With the lock held.
static enum kb_code wait_until_through(struct pour *p, int64_t *ret_done, struct kb_error *err)
{
    while (p->full)
        pthread_cond_wait(&p->changed, &p->lock);
    *ret_done = p->done;
    if (p->code != KB_OK && err)
        *err = p->err;
    return p->code;
}

enum kb_code pour_give(struct pour *p, struct text *piece, int64_t *ret_done, struct kb_error *err)
{
    pthread_mutex_lock(&p->lock);
    enum kb_code code = wait_until_through(p, ret_done, err);
    if (code == KB_OK) {
        struct text empty = p->piece;
        p->piece = *piece;
        *piece = empty;
        p->full = true;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return code;
}

enum kb_code pour_end(struct pour **pour, int64_t *ret_done, struct kb_error *err)
{
    struct pour *p = TAKE(*pour);
    if (!p)
        return KB_OK;
    pthread_mutex_lock(&p->lock);
    enum kb_code code = wait_until_through(p, ret_done, err);
    p->ending = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    text_free(&p->piece);
    free(p);
    return code;
}
