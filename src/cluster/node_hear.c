// What a node hears: offers, while it has places, and orders of the head. Both come from threads of
// their own, which wait in Redis; the main thread does something about it.
#include "cluster/node_internal.h"

#include "base/deadline.h"
#include "base/log.h"
#include "base/sentence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MS   2000
#define AGAIN_MS   200
#define LOOK_MS    500      // while there is no place
#define AT_A_TIME  64       // orders, offers
#define SILENCE_US 25000000 // the head says something every 10 s

static void add_order(struct machine *m, json_t *order)
{
    pthread_mutex_lock(&m->lock);
    while (m->n_orders == MACHINE_BOX && !cancel_requested(&m->stop)) {
        struct timespec end = deadline_in(LOOK_MS);
        pthread_cond_timedwait(&m->errand, &m->lock, &end);
    }
    if (m->n_orders < MACHINE_BOX)
        m->orders[m->n_orders++] = TAKE(order);
    pthread_cond_signal(&m->stir);
    pthread_mutex_unlock(&m->lock);
    json_decref(order);
}

static void sleep_a_little(struct machine *m, int ms)
{
    struct timespec end = deadline_in(ms);
    pthread_mutex_lock(&m->lock);
    if (!cancel_requested(&m->stop))
        pthread_cond_timedwait(&m->errand, &m->lock, &end);
    pthread_mutex_unlock(&m->lock);
}

static struct redis *open_redis(struct machine *m)
{
    struct redis *r = NULL;
    struct redis_params p = {.url = m->params->redis, .cancel = &m->stop};
    redis_open(&r, &p, NULL); // the address was looked at already
    return r;
}

// From the beginning of what the stream still holds: old orders are of jobs that are not here any
// more, and nothing that was said while this machine started is missed.
void *machine_ears(void *opaque)
{
    struct machine *m = opaque;
    const struct node_params *p = m->params;
    CLEANUP(redis_close) struct redis *r = open_redis(m);
    char after[WIRE_ID_BYTES] = "0";
    int64_t heard_us = kb_now_us();
    int n_forged = 0;
    while (!cancel_requested(&m->stop)) {
        json_t *orders[AT_A_TIME];
        int n = 0, forged = 0;
        enum kb_code code = wire_orders(r, p->name, p->secret, after, BLOCK_MS, orders, AT_A_TIME,
                                        &n, &forged, NULL);
        if (code != KB_OK)
            sleep_a_little(m, AGAIN_MS);
        if (forged > 0 && n_forged == 0)
            log_warn("%s", _("orders came that this machine's token does not fit, and are left "
                             "alone: is it the one that the page showed last?"));
        n_forged += forged;
        if (n > 0)
            heard_us = kb_now_us();
        for (int i = 0; i < n; i++)
            add_order(m, orders[i]);
        if (kb_now_us() - heard_us > SILENCE_US) { // a Redis whose clock was set back
            snprintf(after, sizeof(after), "0");
            heard_us = kb_now_us();
        }
    }
    return NULL;
}

static int wait_for_place(struct machine *m)
{
    pthread_mutex_lock(&m->lock);
    if (m->places <= 0 && !cancel_requested(&m->stop)) {
        struct timespec end = deadline_in(LOOK_MS);
        pthread_cond_timedwait(&m->errand, &m->lock, &end);
    }
    int places = m->places;
    pthread_mutex_unlock(&m->lock);
    return KB_MIN(places, AT_A_TIME);
}

void *machine_taker(void *opaque)
{
    struct machine *m = opaque;
    CLEANUP(redis_close) struct redis *r = open_redis(m);
    while (!cancel_requested(&m->stop)) {
        struct wire_offer offers[AT_A_TIME];
        int n = 0, places = wait_for_place(m);
        if (places <= 0)
            continue;
        if (wire_take(r, m->params->name, BLOCK_MS, offers, places, &n, NULL) != KB_OK)
            sleep_a_little(m, AGAIN_MS);
        pthread_mutex_lock(&m->lock);
        for (int i = 0; i < n && m->n_offers < MACHINE_BOX; i++)
            m->offers[m->n_offers++] = offers[i];
        m->places -= n;
        if (n > 0)
            pthread_cond_signal(&m->stir);
        pthread_mutex_unlock(&m->lock);
    }
    return NULL;
}

// --- what is done about it: the main thread

static void hear_state(struct machine *m, const json_t *o)
{
    const char *state;
    const json_t *why = NULL;
    struct kb_error err = {0};
    if (json_unpack_ex((json_t *)o, NULL, JSON_STRICT, "{s:s, s:s, s?o}", "is", &(const char *){0},
                       "state", &state, "why", &why) != 0)
        return;
    int before = m->head;
    if (strcmp(state, "active") == 0)
        m->head = HEAD_ACTIVE;
    else if (strcmp(state, "draining") == 0)
        m->head = HEAD_DRAINING;
    else if (strcmp(state, "refused") == 0)
        m->head = HEAD_REFUSED;
    if ((int)m->head == before)
        return;
    m->beat_now = true;
    if (m->head == HEAD_ACTIVE)
        log_info(_("the head has taken this machine in as '%s'"), m->params->name);
    else if (m->head == HEAD_DRAINING)
        log_info("%s", _("the head gives this machine no more jobs until the page lets it go on"));
    else {
        const char *kept = json_string_value(why);
        sentence_fail(&err, KB_BAD_INPUT, kept ? kept : "");
        log_error(_("the head does not take this machine in: %s"), err.text);
    }
}

static void hear_go(struct machine *m, struct duty *d, json_t *order)
{
    struct kb_error err = {0};
    if (d->state != DUTY_TAKEN)
        return; // said again
    enum kb_code code = duty_read(d, json_incref(order), &err);
    if (code == KB_OK && (m->drain_end_us || m->head != HEAD_ACTIVE)) {
        duty_become(d, DUTY_BACK);
        return;
    }
    if (code == KB_OK)
        code = duty_keep(m, d, &err);
    if (code == KB_OK) {
        duty_become(d, DUTY_FETCHING);
        log_verbose(_("job %lld comes to this machine"), (long long)d->job);
        return;
    }
    log_error(_("job %lld ended: %s"), (long long)d->job, err.text);
    d->why = err;
    if (code == KB_BAD_INPUT)
        duty_become(d, DUTY_FAILED);
    else
        duty_back(m, d);
}

static void hear_cancel(struct machine *m, struct duty *d)
{
    d->cancel = true;
    cancel_request(&d->stop);
    if (d->batch && d->state == DUTY_WORKING) {
        duty_drop(m, d); // and it ends when its worker has heard it
    } else if (!duty_is_over(d)) {
        kb_fail(&d->why, KB_CANCELLED, _("cancelled"));
        duty_become(d, DUTY_FAILED);
    }
}

// What came is not what was told.
static void hear_again(struct machine *m, struct duty *d)
{
    if (d->state != DUTY_SENT)
        return;
    log_warn(_("job %lld: the head asks for its result once more"), (long long)d->job);
    duty_become(d, DUTY_SENDING);
}

static void hear_order(struct machine *m, json_t *o)
{
    const char *is = wire_is(o);
    json_int_t job = 0, lease = 0;
    m->heard_us = kb_now_us();
    if (strcmp(is, "state") == 0) {
        hear_state(m, o);
        return;
    }
    if (json_unpack(o, "{s:I, s:I}", "job", &job, "lease", &lease) != 0)
        return;
    struct duty *d = duty_find(m, job, lease);
    if (!d || d->state == DUTY_FORGOTTEN)
        return; // long over
    if (strcmp(is, "go") == 0)
        hear_go(m, d, o);
    else if (strcmp(is, "cancel") == 0)
        hear_cancel(m, d);
    else if (strcmp(is, "again") == 0)
        hear_again(m, d);
    else if (strcmp(is, "over") == 0 || strcmp(is, "lost") == 0) {
        if (strcmp(is, "lost") == 0)
            log_warn(_("job %lld is not this machine's any more; what was made of it goes"),
                     (long long)job);
        else if (d->state == DUTY_SENT)
            log_info(_("job %lld is done and delivered"), (long long)job);
        duty_forget(m, d);
    }
}

void machine_empty_box(struct machine *m)
{
    json_t *orders[MACHINE_BOX];
    struct wire_offer offers[MACHINE_BOX];
    pthread_mutex_lock(&m->lock);
    int n_orders = m->n_orders, n_offers = m->n_offers;
    memcpy(orders, m->orders, sizeof(*orders) * (size_t)n_orders);
    memcpy(offers, m->offers, sizeof(*offers) * (size_t)n_offers);
    m->n_orders = m->n_offers = 0;
    if (n_orders > 0)
        pthread_cond_broadcast(&m->errand);
    pthread_mutex_unlock(&m->lock);
    for (int i = 0; i < n_offers; i++)
        if (!duty_find(m, offers[i].job, offers[i].lease))
            duty_add(m, offers[i].job, offers[i].lease, DUTY_TAKEN);
    for (int i = 0; i < n_orders; i++) {
        hear_order(m, orders[i]);
        json_decref(orders[i]);
    }
}
