#include "server/errand.h"

#include "base/deadline.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RUNNING 64

struct errands {
    struct cancel cancel;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    // --- under the lock
    int refs; // the server's and one of each that runs
    int n_running;
};

// Shared by the thread that works and the stream that sends.
struct errand {
    struct errands *all; // the thread's reference
    errand_fn *work;     // NULL: it is not needed
    void (*free_ctx)(void *);
    void *ctx;
    enum kb_language language;
    struct stream *stream; // the thread's reference
    pthread_mutex_t lock;
    pthread_cond_t given;
    // --- under the lock
    int refs;
    bool go; // all above is set
    bool done;
    struct text body;
    size_t sent;
};

struct errands *errands_create(void)
{
    struct errands *e = kb_alloc(sizeof(*e));
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&e->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&e->lock, NULL);
    e->refs = 1;
    return e;
}

static void errands_unref(struct errands *e)
{
    pthread_mutex_lock(&e->lock);
    bool last = --e->refs == 0;
    pthread_mutex_unlock(&e->lock);
    if (!last)
        return;
    pthread_cond_destroy(&e->ended);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static void errand_unref(struct errand *a)
{
    pthread_mutex_lock(&a->lock);
    bool last = --a->refs == 0;
    pthread_mutex_unlock(&a->lock);
    if (!last)
        return;
    text_free(&a->body);
    pthread_cond_destroy(&a->given);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static void place_leave(struct errands *e)
{
    pthread_mutex_lock(&e->lock);
    e->n_running--;
    pthread_cond_broadcast(&e->ended);
    pthread_mutex_unlock(&e->lock);
    errands_unref(e);
}

static void *errand_main(void *opaque)
{
    struct errand *a = opaque;
    struct errands *all = a->all;
    struct text body = {0};
    pthread_mutex_lock(&a->lock);
    while (!a->go)
        pthread_cond_wait(&a->given, &a->lock);
    pthread_mutex_unlock(&a->lock);
    if (a->work) {
        kb_language_set_thread(a->language);
        a->work(a->ctx, &all->cancel, &body);
        a->free_ctx(a->ctx);
    }

    pthread_mutex_lock(&a->lock);
    a->body = body;
    a->done = true;
    pthread_mutex_unlock(&a->lock);
    if (a->stream)
        stream_wake(a->stream);
    stream_unref(&a->stream);
    errand_unref(a);

    place_leave(all);
    return NULL;
}

static int64_t errand_read(void *ctx, char *buffer, size_t max)
{
    struct errand *a = ctx;
    pthread_mutex_lock(&a->lock);
    int64_t n = 0;
    if (a->done) {
        n = (int64_t)KB_MIN(max, a->body.size - a->sent);
        if (n > 0)
            memcpy(buffer, a->body.data + a->sent, (size_t)n);
        a->sent += (size_t)n;
        if (n == 0)
            n = a->body.size > 0 ? -1 : -2;
    }
    pthread_mutex_unlock(&a->lock);
    return n;
}

static void errand_stream_gone(void *ctx)
{
    errand_unref(ctx);
}

static bool place_enter(struct errands *e)
{
    pthread_mutex_lock(&e->lock);
    bool room = e->n_running < MAX_RUNNING && !cancel_requested(&e->cancel);
    if (room) {
        e->n_running++;
        e->refs++;
    }
    pthread_mutex_unlock(&e->lock);
    return room;
}

struct errand *errand_enter(struct errands *e)
{
    if (!place_enter(e))
        return NULL;
    struct errand *a = kb_alloc(sizeof(*a));
    *a = (struct errand){.all = e, .refs = 1};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->given, NULL);
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED); // counted by n_running
    bool started = pthread_create(&thread, &attributes, errand_main, a) == 0;
    pthread_attr_destroy(&attributes);
    if (started)
        return a;
    errand_unref(a);
    place_leave(e);
    return NULL;
}

// What it needs is set; from now on it is the thread's.
static void errand_go(struct errand *a)
{
    pthread_mutex_lock(&a->lock);
    a->go = true;
    pthread_cond_signal(&a->given);
    pthread_mutex_unlock(&a->lock);
}

void errand_leave(struct errand *a)
{
    errand_go(a);
}

static void errand_set(struct errand *a, errand_fn *work, void (*free_ctx)(void *), void *ctx)
{
    a->work = work;
    a->free_ctx = free_ctx;
    a->ctx = ctx;
}

bool errands_run(struct errands *e, errand_fn *work, void (*free_ctx)(void *), void *ctx)
{
    struct errand *a = errand_enter(e);
    if (!a) {
        free_ctx(ctx);
        return false;
    }
    errand_set(a, work, free_ctx, ctx);
    errand_go(a);
    return true;
}

void reply_errand(struct request *r, struct errands *e, errand_fn *work, void (*free_ctx)(void *),
                  void *ctx)
{
    struct errand *a = errand_enter(e);
    if (a) {
        reply_errand_entered(r, a, work, free_ctx, ctx);
        return;
    }
    free_ctx(ctx);
    reply_header(r, "Retry-After", "1");
    reply_problem(r, 503, "unavailable",
                  _("the server is working on many such requests; try again in a moment"));
}

void reply_errand_entered(struct request *r, struct errand *a, errand_fn *work,
                          void (*free_ctx)(void *), void *ctx)
{
    errand_set(a, work, free_ctx, ctx);
    a->language = kb_language_of(request_lang(r));
    a->refs = 2; // nobody else has it yet
    reply_stream(r, "application/json", errand_read, errand_stream_gone, a, &a->stream);
    errand_go(a);
}

void errands_stop(struct errands **e, int wait_ms)
{
    struct errands *all = TAKE(*e);
    if (!all)
        return;
    struct timespec until = deadline_in(wait_ms);
    pthread_mutex_lock(&all->lock);
    cancel_request(&all->cancel);
    while (all->n_running > 0 && pthread_cond_timedwait(&all->ended, &all->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&all->lock);
    errands_unref(all);
}
