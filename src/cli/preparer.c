#include "cli/preparer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What is made ahead yields to the dub that runs, and takes what that leaves.
#define NICE 5

enum state { IDLE, ASKED, BUSY, READY };

struct preparer {
    struct cancel cancel;
    struct face_models *faces; // the thread's own: networks are no thread's but one
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // --- the following fields are protected by lock
    bool started, end;
    enum state state;
    struct preparing what; // not changed while BUSY
    struct progress now;
    const struct watch *listener; // who waits for it, or NULL
    struct prepared made;
};

static void hear_of_it(void *opaque, const struct progress *now)
{
    struct preparer *p = opaque;
    pthread_mutex_lock(&p->lock);
    p->now = *now;
    const struct watch *listener = p->listener; // stays until this work is over
    pthread_mutex_unlock(&p->lock);
    watch_tell(listener, now->stage, now->done, now->total);
}

static void find_faces(struct preparer *p, const struct mel *mel, struct prepared *ret)
{
    struct dub_params dub = p->what.dub;
    dub.mel = mel;
    dub.watch = (struct watch){&p->cancel, hear_of_it, p};
    dub.kept = dub_kept_create();
    enum kb_code code = p->faces ? KB_OK : face_models_load(&p->faces, NULL);
    if (code == KB_OK)
        code = dub_prepare(p->faces, &dub, NULL);
    if (code == KB_OK)
        ret->kept = dub.kept;
    else
        dub_kept_free(&dub.kept);
}

static void make(struct preparer *p, struct prepared *ret)
{
    const struct preparing *w = &p->what;
    const struct watch watch = {&p->cancel, hear_of_it, p};
    const struct mel *mel = w->heard->mel;
    if (!hearing_fits(w->heard, w->pair, w->dub.loudnorm)) {
        ret->tried = true;
        ret->code =
            hearing_make(&ret->hearing, w->pair, w->dub.loudnorm, w->how, &watch, &ret->err);
        mel = ret->hearing.mel;
    }
    if (ret->code == KB_OK)
        find_faces(p, mel, ret);
}

static void *work(void *opaque)
{
    struct preparer *p = opaque;
    (void)!nice(NICE); // of this thread, and of those that it starts
    pthread_mutex_lock(&p->lock);
    while (!p->end) {
        if (p->state != ASKED) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        p->state = BUSY;
        pthread_mutex_unlock(&p->lock);
        struct prepared made = {0};
        make(p, &made);
        pthread_mutex_lock(&p->lock);
        p->made = made;
        p->state = READY;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct preparer *preparer_create(void)
{
    struct preparer *p = kb_alloc(sizeof(*p));
    p->cancel.parent = cli_cancel();
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    return p;
}

void preparer_begin(struct preparer *p, const struct preparing *what)
{
    pthread_mutex_lock(&p->lock);
    if (!p->started) // without a thread each dub does all itself
        p->started = pthread_create(&p->thread, NULL, work, p) == 0;
    if (p->started && p->state == IDLE) {
        p->what = *what;
        p->now = (struct progress){.stage = STAGE_PREPROCESSING};
        p->state = ASKED;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
}

int preparer_state(struct preparer *p, struct progress *ret, bool *ret_ready)
{
    pthread_mutex_lock(&p->lock);
    bool failed = p->state == READY && !p->made.kept;
    int number = p->state == IDLE || failed ? 0 : p->what.number;
    *ret = p->now;
    *ret_ready = p->state == READY;
    pthread_mutex_unlock(&p->lock);
    return number;
}

void preparer_take(struct preparer *p, int number, const struct watch *watch, struct prepared *ret)
{
    *ret = (struct prepared){0};
    pthread_mutex_lock(&p->lock);
    if (p->state != IDLE && p->what.number == number) {
        p->listener = watch;
        while (p->state != READY)
            pthread_cond_wait(&p->changed, &p->lock);
        p->listener = NULL;
        *ret = p->made;
        p->made = (struct prepared){0};
        p->state = IDLE;
    }
    pthread_mutex_unlock(&p->lock);
}

void prepared_clear(struct prepared *r)
{
    hearing_clear(&r->hearing);
    dub_kept_free(&r->kept);
}

void preparer_free(struct preparer **preparer)
{
    struct preparer *p = TAKE(*preparer);
    if (!p)
        return;
    cancel_request(&p->cancel);
    pthread_mutex_lock(&p->lock);
    p->end = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->started)
        pthread_join(p->thread, NULL);
    prepared_clear(&p->made);
    face_models_free(&p->faces);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
