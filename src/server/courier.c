#include "server/courier.h"

#include "asset/asset.h"
#include "base/cancel.h"
#include "base/deadline.h"
#include "base/log.h"
#include "notify/notify.h"
#include "server/duix/codes.h"
#include "server/duix/delivery.h"
#include "server/fetch.h"
#include "server/internal.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define LOOK_MS        1000 // how often the tables are looked at
#define SHARE_MS       250  // the same for the shared folder, where somebody may be waiting
#define FULL_MS        10000
#define DELAY_MS       1000 // of a result that could not be put there; twice as long each time
#define MOST_DELAY_MS  60000
#define DELAYS         64
#define FETCHES        4
#define FETCHES_A_HOST 2

// A download that is under way.
struct place {
    char id[33]; // "" = free
    char host[FETCH_HOST_BYTES];
};

struct courier {
    struct server *server;
    struct notify_way way;
    struct notifier *notifier;
    struct cancel cancel;
    pthread_t threads[FETCHES + 2];
    int n_threads;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // --- under the lock
    bool stopping;
    struct place places[FETCHES];
};

// --- waiting

// False: stop.
static bool rest(struct courier *f, int64_t ms)
{
    struct timespec until = deadline_in(ms);
    pthread_mutex_lock(&f->lock);
    while (!f->stopping && pthread_cond_timedwait(&f->changed, &f->lock, &until) == 0) {
    }
    bool go_on = !f->stopping;
    pthread_mutex_unlock(&f->lock);
    return go_on;
}

// A connection of this thread; waits for the database. NULL: stop.
static struct store *open_store(struct courier *f)
{
    struct store *store = NULL;
    struct kb_error err = {0};
    while (store_open(&store, f->server->params.data, false, &err) != KB_OK) {
        log_warn("%s", err.text);
        if (!rest(f, 5000))
            return NULL;
    }
    return store;
}

// --- downloads

// Under the lock: may this asset be downloaded beside those that are? Its host into ret_host.
static bool fits(const struct courier *f, const char *id, const char *url,
                 char ret_host[FETCH_HOST_BYTES])
{
    int n = 0;
    fetch_host(ret_host, url);
    for (int i = 0; i < FETCHES; i++) {
        const struct place *p = &f->places[i];
        if (p->id[0] && strcmp(p->id, id) == 0)
            return false;
        n += p->id[0] && strcasecmp(p->host, ret_host) == 0;
    }
    return n < FETCHES_A_HOST;
}

static bool would_fit(void *ctx, const char *id, const char *url)
{
    char host[FETCH_HOST_BYTES];
    return fits(ctx, id, url, host);
}

static struct place *free_place(struct courier *f)
{
    for (int i = 0; i < FETCHES; i++)
        if (!f->places[i].id[0])
            return &f->places[i];
    return NULL;
}

static bool take_place(void *ctx, const char *id, const char *url)
{
    struct courier *f = ctx;
    struct place *p = free_place(f); // there is one: each thread has one at most
    char host[FETCH_HOST_BYTES];
    if (!p || !fits(f, id, url, host))
        return false;
    snprintf(p->id, sizeof(p->id), "%s", id);
    memcpy(p->host, host, sizeof(host));
    return true;
}

// All places are taken, and there is an asset whose host has not got its share.
static bool is_crowded(void *ctx, struct store *store)
{
    struct courier *f = ctx;
    char id[33];
    pthread_mutex_lock(&f->lock);
    bool crowded = !free_place(f) && asset_next_fetch(store, would_fit, f, id, NULL) == KB_OK;
    pthread_mutex_unlock(&f->lock);
    return crowded;
}

static void leave_place(struct courier *f, const char *id)
{
    pthread_mutex_lock(&f->lock);
    for (int i = 0; i < FETCHES; i++)
        if (strcmp(f->places[i].id, id) == 0)
            f->places[i].id[0] = '\0';
    pthread_mutex_unlock(&f->lock);
}

// Downloads it, and writes down why not. False: it was broken off.
static bool fetch(struct courier *f, struct store *store, const char *id)
{
    const struct fetch what = {f->server, id, &f->cancel, is_crowded, f};
    struct kb_error err = {0}, why = {0};
    struct asset asset;
    int64_t bytes = 0;
    enum kb_code code = fetch_run(&what, store, &bytes, &why), noted = KB_OK;
    if (code == KB_CANCELLED)
        return false;
    if (code != KB_OK) {
        log_warn("%s", why.text);
        noted = asset_fail(store, id, &why, &err);
    } else if ((noted = asset_find(store, id, &asset, &err)) == KB_OK) {
        log_info(_("downloaded '%s', %lld bytes"), asset.name, (long long)bytes);
    }
    if (noted != KB_OK && noted != KB_NOT_FOUND) // deleted meanwhile
        log_warn(_("downloads wait: %s"), err.text);
    return noted == KB_OK;
}

// True: there may be more to fetch at once.
static bool fetch_one(struct courier *f, struct store *store)
{
    struct kb_error err = {0};
    char id[33];
    pthread_mutex_lock(&f->lock);
    enum kb_code code = asset_next_fetch(store, take_place, f, id, &err);
    pthread_mutex_unlock(&f->lock);
    if (code == KB_OK) {
        bool go_on = fetch(f, store, id);
        leave_place(f, id);
        return go_on;
    }
    if (code != KB_EOF)
        log_warn(_("downloads wait: %s"), err.text);
    return false;
}

static void *download_main(void *opaque)
{
    struct courier *f = opaque;
    CLEANUP(store_close) struct store *store = open_store(f);
    while (store) {
        while (!cancel_requested(&f->cancel) && fetch_one(f, store)) {
        }
        if (!rest(f, LOOK_MS))
            break;
    }
    return NULL;
}

// --- the shared folder

// A result that could not be put there.
struct delay {
    char code[EASY_CODE_BYTES + 1];
    int64_t until_us, pause_ms;
};

struct deliverer {
    struct courier *courier;
    struct store *store;
    struct delay delays[DELAYS];
    int n_delays;
    int64_t look_us; // when to look also without a change in the tables
};

static struct delay *find_delay(struct deliverer *d, const char *code)
{
    for (int i = 0; i < d->n_delays; i++)
        if (strcmp(d->delays[i].code, code) == 0)
            return &d->delays[i];
    return NULL;
}

static bool is_due(void *ctx, const char *code)
{
    const struct delay *delay = find_delay(ctx, code);
    return !delay || delay->until_us <= kb_now_us();
}

static void look_again_in(struct deliverer *d, int64_t ms)
{
    d->look_us = KB_MIN(d->look_us, kb_now_us() + ms * 1000);
}

// The others go on meanwhile. False: there are too many of these for that.
static bool delay_code(struct deliverer *d, const char *code)
{
    struct delay *delay = find_delay(d, code);
    if (!delay && d->n_delays == DELAYS)
        return false;
    if (!delay) {
        delay = &d->delays[d->n_delays++];
        *delay = (struct delay){.pause_ms = DELAY_MS / 2};
        snprintf(delay->code, sizeof(delay->code), "%s", code);
    }
    delay->pause_ms = KB_MIN(delay->pause_ms * 2, (int64_t)MOST_DELAY_MS);
    delay->until_us = kb_now_us() + delay->pause_ms * 1000;
    return true;
}

static void end_delay(struct deliverer *d, const char *code)
{
    struct delay *delay = find_delay(d, code);
    if (delay)
        *delay = d->delays[--d->n_delays];
}

// False: no more of them now.
static bool deliver_one(struct deliverer *d, const struct easy *e)
{
    struct courier *f = d->courier;
    struct kb_error err = {0};
    enum kb_code code = easy_deliver(d->store, f->server->params.share, e, &f->cancel, &err);
    if (code == KB_CANCELLED)
        return false;
    if (code != KB_OK)
        log_warn(_("the result of '%s' was not put into the shared folder: %s"), e->code, err.text);
    if (code == KB_NO_SPACE) { // for all of them
        look_again_in(d, FULL_MS);
        return false;
    }
    if (code == KB_OK || code == KB_NOT_FOUND) {
        code = easy_set_delivered(d->store, e, &err);
        if (code == KB_OK) {
            end_delay(d, e->code);
            return true;
        }
        log_warn("%s", err.text);
    }
    if (delay_code(d, e->code))
        return true;
    look_again_in(d, FULL_MS);
    return false;
}

static void deliver(struct deliverer *d)
{
    struct easy e;
    struct kb_error err = {0};
    enum kb_code code = KB_OK;
    d->look_us = INT64_MAX;
    while (!cancel_requested(&d->courier->cancel)) {
        code = easy_next_delivery(d->store, is_due, d, &e, &err);
        if (code != KB_OK || !deliver_one(d, &e))
            break;
    }
    if (code != KB_OK && code != KB_EOF)
        look_again_in(d, LOOK_MS);
    for (int i = d->n_delays - 1; i >= 0; i--) {
        const struct delay *delay = &d->delays[i];
        if (code == KB_EOF && delay->until_us <= kb_now_us()) // it was deleted
            end_delay(d, delay->code);
        else
            d->look_us = KB_MIN(d->look_us, delay->until_us);
    }
}

static void *delivery_main(void *opaque)
{
    struct courier *f = opaque;
    CLEANUP(store_close) struct store *store = open_store(f);
    struct deliverer d = {.courier = f, .store = store};
    int64_t version = -1;
    do {
        if (!store)
            break;
        int64_t now = store_data_version(store);
        if (now != version || kb_now_us() >= d.look_us)
            deliver(&d);
        version = now;
    } while (rest(f, SHARE_MS));
    return NULL;
}

// --- notices

static void *notice_main(void *opaque)
{
    struct courier *f = opaque;
    CLEANUP(store_close) struct store *store = open_store(f);
    while (store && !cancel_requested(&f->cancel)) {
        struct kb_error err = {0};
        enum kb_code code = notifier_turn(f->notifier, store, LOOK_MS, NULL, &err);
        if (code == KB_OK || code == KB_CANCELLED)
            continue;
        log_warn(_("notices wait: %s"), err.text);
        rest(f, LOOK_MS);
    }
    notifier_stop(&f->notifier, store);
    return NULL;
}

// --- start and stop

enum kb_code courier_start(struct courier **ret, struct server *s, struct kb_error *err)
{
    struct courier *f = kb_alloc(sizeof(*f));
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&f->lock, NULL);
    f->server = s;
    f->way = (struct notify_way){s->base_url, &s->params.guard};
    void *(*mains[ARRAY_LEN(f->threads)])(void *) = {notice_main};
    int n = 1;
    for (int i = 0; i < FETCHES; i++)
        mains[n++] = download_main;
    if (s->params.share)
        mains[n++] = delivery_main;
    enum kb_code code = notifier_start(&f->notifier, &f->way, err);
    for (int i = 0; code == KB_OK && i < n; i++) {
        if (pthread_create(&f->threads[i], NULL, mains[i], f) == 0)
            f->n_threads++;
        else
            code = kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
    }
    if (code != KB_OK) {
        courier_stop(&f);
        return code;
    }
    *ret = f;
    return KB_OK;
}

void courier_stop(struct courier **courier)
{
    struct courier *f = TAKE(*courier);
    if (!f)
        return;
    if (f->n_threads == 0)
        notifier_stop(&f->notifier, NULL);
    else // first: its thread, which ends it, goes when all are cancelled
        notifier_cancel(f->notifier);
    cancel_request(&f->cancel);
    pthread_mutex_lock(&f->lock);
    f->stopping = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    for (int i = 0; i < f->n_threads; i++)
        pthread_join(f->threads[i], NULL);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
