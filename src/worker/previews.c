#include "worker/previews.h"

#include "base/file.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES (PREVIEWS_WAITING + PREVIEWS_KEPT + 8)

struct preview {
    char id[33]; // "": a free place
    char *client;
    char viewer[PREVIEW_VIEWER_BYTES + 1];
    struct preview_order order;
    struct preview_look look;
    int64_t number;   // in the order in which they were asked for
    int64_t ended_us; // 0: not yet
    bool dropped;     // while it runs: nobody wants it
    void (*ended)(void *ctx);
    void *ctx;
};

struct previews {
    void (*changed)(void *ctx);
    void *ctx;
    pthread_mutex_t lock;
    // --- under the lock
    int64_t number;
    bool closed;
    char state[16]; // the worker's; "": it is not there
    int64_t rss_bytes;
    struct preview all[PLACES];
    char rubbish[PLACES][40];
    int n_rubbish;
};

void preview_order_clear(struct preview_order *o)
{
    job_claim_free(&o->claim);
    free(o->words);
    *o = (struct preview_order){0};
}

struct previews *previews_create(void (*changed)(void *ctx), void *ctx)
{
    struct previews *p = kb_alloc(sizeof(*p));
    p->changed = changed;
    p->ctx = ctx;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

static struct preview *find(struct previews *p, const char *id)
{
    for (int i = 0; *id && i < PLACES; i++)
        if (strcmp(p->all[i].id, id) == 0)
            return &p->all[i];
    return NULL;
}

static bool is_over(const struct preview *v)
{
    return v->look.state == PREVIEW_DONE || v->look.state == PREVIEW_FAILED;
}

static void tell(struct preview *v)
{
    if (v->ended)
        v->ended(v->ctx);
    v->ended = NULL;
}

// The place is free again; its file is somebody's to remove.
static void forget(struct previews *p, struct preview *v)
{
    tell(v);
    if (v->look.state == PREVIEW_DONE && p->n_rubbish < PLACES)
        snprintf(p->rubbish[p->n_rubbish++], sizeof(p->rubbish[0]), "%s%s", v->id,
                 v->look.picture ? ".jpg" : ".mp4");
    free(v->client);
    preview_order_clear(&v->order);
    *v = (struct preview){0};
}

static void fail(struct preview *v, const struct kb_error *why)
{
    v->look.state = PREVIEW_FAILED;
    v->look.why = *why;
    v->ended_us = kb_now_us();
    tell(v);
}

// What is not made yet. One that runs keeps its place until the worker has let it go.
static void give_up(struct preview *v, const struct kb_error *why)
{
    if (v->look.state == PREVIEW_RUNNING) {
        v->dropped = true;
        v->look.why = *why;
        tell(v);
    } else {
        fail(v, why);
    }
}

// --- asking

// Those that are too old, and where there are too many, the oldest.
static void trim(struct previews *p)
{
    int64_t now = kb_now_us();
    for (;;) {
        struct preview *oldest = NULL;
        int n = 0;
        for (int i = 0; i < PLACES; i++) {
            struct preview *v = &p->all[i];
            if (!v->id[0] || !is_over(v))
                continue;
            n++;
            if (!oldest || v->ended_us < oldest->ended_us)
                oldest = v;
        }
        if (!oldest ||
            (n <= PREVIEWS_KEPT && now - oldest->ended_us < PREVIEWS_KEPT_S * INT64_C(1000000)))
            return;
        forget(p, oldest);
    }
}

static struct preview *find_place(struct previews *p, const char *client, struct kb_error *err)
{
    struct preview *free_place = NULL;
    int mine = 0, all = 0;
    for (int i = 0; i < PLACES; i++) {
        struct preview *v = &p->all[i];
        if (!v->id[0]) {
            free_place = v;
            continue;
        }
        bool unmade = !is_over(v) && !v->dropped;
        all += unmade;
        mine += unmade && strcmp(v->client, client) == 0;
    }
    if (p->closed)
        kb_fail(err, KB_UNAVAILABLE, _("the server is being stopped"));
    else if (mine >= PREVIEWS_EACH)
        kb_fail(err, KB_UNAVAILABLE,
                _("%d previews of yours are being made already; wait for one of them"), mine);
    else if (all >= PREVIEWS_WAITING || !free_place)
        kb_fail(err, KB_UNAVAILABLE, _("many previews are being made; try again in a moment"));
    else
        return free_place;
    return NULL;
}

enum kb_code previews_ask(struct previews *p, struct preview_order *order, const char *client,
                          const char *viewer, char ret_id[33], struct kb_error *err)
{
    struct kb_error newer = {0};
    kb_fail(&newer, KB_CANCELLED, _("a newer preview was asked for"));
    pthread_mutex_lock(&p->lock);
    trim(p);
    for (int i = 0; i < PLACES; i++) {
        struct preview *v = &p->all[i];
        if (*viewer && v->id[0] && !is_over(v) && !v->dropped && strcmp(v->client, client) == 0 &&
            strcmp(v->viewer, viewer) == 0)
            give_up(v, &newer);
    }
    struct preview *v = find_place(p, client, err);
    if (v) {
        *v = (struct preview){.client = kb_strdup(client), .order = *order, .number = ++p->number};
        v->look.picture = order->at >= 0;
        snprintf(v->viewer, sizeof(v->viewer), "%s", viewer);
        kb_random_hex(v->id, sizeof(v->id) - 1);
        memcpy(ret_id, v->id, sizeof(v->id));
        *order = (struct preview_order){0};
    }
    pthread_mutex_unlock(&p->lock);
    if (!v) {
        preview_order_clear(order);
        return err ? err->code : KB_UNAVAILABLE;
    }
    p->changed(p->ctx);
    return KB_OK;
}

double preview_progress(const struct preview_look *l)
{
    static const double begin[N_STAGES + 1] = {0, 0.05, 0.1, 0.45, 0.95, 1};
    const struct job_report *p = &l->report;
    double part = p->total > 0 ? (double)p->done / (double)p->total : 0;
    if (l->state == PREVIEW_WAITING)
        return 0;
    if (l->state != PREVIEW_RUNNING)
        return 1;
    return begin[p->stage] + (begin[p->stage + 1] - begin[p->stage]) * KB_MIN(part, 1);
}

void previews_worker(struct previews *p, const char *state, int64_t rss_bytes)
{
    pthread_mutex_lock(&p->lock);
    snprintf(p->state, sizeof(p->state), "%s", state ? state : "");
    p->rss_bytes = rss_bytes;
    pthread_mutex_unlock(&p->lock);
}

static void name_into(char *ret, size_t size, const char *name)
{
    snprintf(ret, size, "%s", name ? name : "");
}

void previews_view(struct previews *p, struct previews_view *ret)
{
    *ret = (struct previews_view){0};
    pthread_mutex_lock(&p->lock);
    ret->there = p->state[0];
    ret->rss_bytes = p->rss_bytes;
    memcpy(ret->state, p->state, sizeof(ret->state));
    for (int i = 0; i < PLACES; i++) {
        const struct preview *v = &p->all[i];
        ret->waiting += v->id[0] && v->look.state == PREVIEW_WAITING;
        if (!v->id[0] || v->look.state != PREVIEW_RUNNING || v->dropped)
            continue;
        ret->making = true;
        ret->picture = v->look.picture;
        ret->progress = preview_progress(&v->look);
        name_into(ret->video, sizeof(ret->video), v->order.claim.video_name);
        name_into(ret->audio, sizeof(ret->audio), v->order.claim.audio_name);
        name_into(ret->client, sizeof(ret->client), v->client);
    }
    pthread_mutex_unlock(&p->lock);
}

bool previews_look(struct previews *p, const char *id, struct preview_look *ret)
{
    pthread_mutex_lock(&p->lock);
    const struct preview *v = find(p, id);
    if (v) {
        *ret = v->look;
        if (v->dropped)
            ret->state = PREVIEW_FAILED;
    }
    pthread_mutex_unlock(&p->lock);
    return v;
}

bool previews_await(struct previews *p, const char *id, void (*ended)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&p->lock);
    struct preview *v = find(p, id);
    if (v) {
        v->ended = ended;
        v->ctx = ctx;
        if (is_over(v) || v->dropped)
            tell(v);
    }
    pthread_mutex_unlock(&p->lock);
    return v;
}

void previews_drop(struct previews *p, const char *id)
{
    struct kb_error why = {0};
    kb_fail(&why, KB_CANCELLED, _("the preview was given up"));
    pthread_mutex_lock(&p->lock);
    struct preview *v = find(p, id);
    if (v && v->look.state == PREVIEW_RUNNING)
        give_up(v, &why);
    else if (v)
        forget(p, v);
    pthread_mutex_unlock(&p->lock);
    p->changed(p->ctx);
}

// --- making

static struct preview *first(struct previews *p)
{
    struct preview *best = NULL;
    for (int i = 0; i < PLACES; i++) {
        struct preview *v = &p->all[i];
        if (v->id[0] && v->look.state == PREVIEW_WAITING && (!best || v->number < best->number))
            best = v;
    }
    return best;
}

bool previews_take(struct previews *p, char ret_id[33], const struct preview_order **ret)
{
    pthread_mutex_lock(&p->lock);
    struct preview *v = first(p);
    if (v) {
        v->look.state = PREVIEW_RUNNING;
        memcpy(ret_id, v->id, sizeof(v->id));
        *ret = &v->order;
    }
    pthread_mutex_unlock(&p->lock);
    return v;
}

bool previews_wait(struct previews *p)
{
    pthread_mutex_lock(&p->lock);
    bool any = first(p);
    pthread_mutex_unlock(&p->lock);
    return any;
}

bool previews_report(struct previews *p, const char *id, const struct job_report *r)
{
    pthread_mutex_lock(&p->lock);
    struct preview *v = find(p, id);
    bool wanted = v && !v->dropped;
    if (wanted)
        v->look.report = *r;
    pthread_mutex_unlock(&p->lock);
    return wanted;
}

bool previews_end(struct previews *p, const char *id, const struct dub_result *r,
                  const struct kb_error *why)
{
    pthread_mutex_lock(&p->lock);
    struct preview *v = find(p, id);
    bool wanted = v && !v->dropped;
    if (wanted && why) {
        fail(v, why);
    } else if (wanted) {
        v->look.state = PREVIEW_DONE;
        v->look.seconds = r->seconds;
        v->look.from_s = r->from_s;
        v->look.width = r->width;
        v->look.height = r->height;
        v->ended_us = kb_now_us();
        tell(v);
    }
    if (v && !wanted)
        forget(p, v);
    pthread_mutex_unlock(&p->lock);
    return wanted && !why;
}

bool previews_rubbish(struct previews *p, char ret_name[40])
{
    pthread_mutex_lock(&p->lock);
    trim(p);
    bool any = p->n_rubbish > 0;
    if (any)
        memcpy(ret_name, p->rubbish[--p->n_rubbish], sizeof(p->rubbish[0]));
    pthread_mutex_unlock(&p->lock);
    return any;
}

void previews_free(struct previews **previews)
{
    struct previews *p = TAKE(*previews);
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    for (int i = 0; i < PLACES; i++)
        if (p->all[i].id[0])
            forget(p, &p->all[i]);
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
