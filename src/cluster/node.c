// The machine itself: its folder, its threads, and what the main one decides.
#include "cluster/node_internal.h"

#include "base/beneath.h"
#include "base/deadline.h"
#include "base/descriptors.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "queue/batch.h"
#include "queue/worker.h"
#include "store/counts.h"
#include "store/lock.h"
#include "store/privacy.h"
#include "store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#define TURN_MS       100
#define LOOK_US       500000 // at what the own queue does, also where nothing seems to change
#define TRIM_US       60000000
#define SHORT_TRIM_US 5000000 // while the disk is short
#define LEAVE_US      3000000 // for the head to answer what is given back
#define TAKEN_US      60000000
#define LOG_BYTES     (10 << 20)
#define CHECK_BYTES   (256LL << 20)
#define CACHE_BYTES   ((int64_t)(20 * KB_GB))
#define COMPLAIN_US   60000000
#define SILENCE_US    15000000 // of the head, which says something every 10 s

// Of one thing that fails, so many times with nothing that moved in between.
#define MOST_TRIES    6
#define MOST_REFUSALS 3
#define LONGEST_S     30
#define REFUSAL_S     1 // what came is wrong: that is not a matter of time

// --- the folder

char *node_default_folder(void)
{
    const char *shared = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (shared && *shared)
        return path_join(shared, "koubo-node");
    return kb_printf("%s/.local/share/koubo-node", home && *home ? home : "/tmp");
}

// It is this machine's alone: what lies in a server's would be taken for copies and go.
static enum kb_code claim_folder(struct machine *m, struct kb_error *err)
{
    CLEANUP(text_free) struct text kept = {0};
    int64_t used = 0;
    enum kb_code code = setting_get(m->store, NODE_SETTING, &kept, err);
    if (code == KB_OK && kept.size == 0)
        code =
            store_query_int(m->store, &used, err,
                            "SELECT EXISTS(SELECT 1 FROM asset) + EXISTS(SELECT 1 FROM batch)", "");
    if (code == KB_OK && used)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is the data folder of a server; a machine of a cluster needs one of "
                         "its own: choose another with --data"),
                       m->data);
    CLEANUP(kb_freep) char *json = kb_printf("{\"name\":\"%s\"}", m->params->name);
    if (code == KB_OK && kept.size > 0 && strcmp(text_get(&kept), json) != 0)
        // It had another name: what it still holds was promised under that one.
        code =
            store_exec(m->store, NULL, err, "DELETE FROM setting WHERE name GLOB 'node-job-*'", "");
    if (code == KB_OK)
        code = setting_put(m->store, NODE_SETTING, json, err);
    m->owns = code == KB_OK;
    return code;
}

static enum kb_code open_folder(struct machine *m, struct kb_error *err)
{
    const struct supervisor_params *p = &m->params->supervisor;
    struct store_params how = {.create = true};
    enum kb_code code = file_make_dirs(m->data, err);
    if (code == KB_OK)
        code = folder_lock(&m->lock_fd, m->data, err);
    if (code == KB_OK) // a failure shows when the log is opened
        beneath_make_dirs(m->data, "logs", 0700);
    if (code == KB_OK)
        code = log_open(m->data, LOG_FILE, p->log_json, LOG_BYTES, err);
    if (code != KB_OK)
        return code;
    folder_lock_tell(m->lock_fd, NULL);
    log_set_source("node");
    code = store_open_as(&m->store, m->data, &how, err);
    if (code == KB_OK)
        code = store_check(m->store, CHECK_BYTES, err);
    if (code == KB_OK)
        code = counts_mend(m->store, err);
    if (code == KB_OK)
        code = claim_folder(m, err);
    if (code == KB_OK && !privacy_make_folder(m->data, MODELS_NAME))
        code = kb_fail(err, KB_BAD_INPUT,
                       _("cannot write into the data folder '%s': %s; choose another with --data"),
                       m->data, beneath_reason(errno));
    return code;
}

// --- jobs

static void give_back(struct machine *m, struct duty *d, const struct kb_error *why)
{
    log_warn(_("job %lld goes back to the head: %s"), (long long)d->job, why->text);
    duty_back(m, d);
}

// How often, and after how long, is it worth another try? While the head is away, as often as it
// takes: the depot may be its own.
static void try_again(struct machine *m, struct duty *d, enum kb_code code, bool moved,
                      const struct kb_error *why)
{
    bool alone = !*m->pulse || kb_now_us() - m->heard_us > SILENCE_US;
    bool refused = code == KB_BAD_INPUT, first = d->tries == 0;
    d->tries = (moved && !refused) || (code == KB_UNAVAILABLE && alone) ? 1 : d->tries + 1;
    int pause_s = refused ? REFUSAL_S : KB_MIN(1 << KB_MIN(d->tries, 5), LONGEST_S);
    d->again_us = kb_now_us() + pause_s * INT64_C(1000000);
    if (d->state == DUTY_SENDING) { // it is made, and that would be a pity
        if (d->tries == 1 || d->tries % 10 == 0)
            log_warn(_("the result of job %lld cannot be sent yet: %s"), (long long)d->job,
                     why->text);
        return;
    }
    if (code == KB_NO_SPACE && !d->trimmed) { // what is only kept makes room
        d->trimmed = true;
        d->again_us = 0;
        copies_trim(m, 0, 0, &m->cache_used, NULL);
        return;
    }
    if (code == KB_NO_SPACE || d->tries >= (refused ? MOST_REFUSALS : MOST_TRIES))
        give_back(m, d, why);
    else if (first || refused)
        log_warn(_("the files of job %lld cannot be fetched yet: %s"), (long long)d->job,
                 why->text);
}

static void fetched(struct machine *m, struct duty *d)
{
    struct kb_error err = {0};
    enum kb_code code = duty_begin(m, d, &err);
    if (code == KB_BAD_INPUT) {
        d->why = err;
        duty_become(d, DUTY_FAILED);
        log_warn(_("job %lld ended: %s"), (long long)d->job, err.text);
    } else if (code != KB_OK) {
        try_again(m, d, code, false, &err);
    }
}

static void sent(struct machine *m, struct duty *d)
{
    m->n_back = 0;
    duty_become(d, DUTY_SENT);
}

static void hear_porter(struct machine *m, struct duty *d)
{
    pthread_mutex_lock(&m->lock);
    enum kb_code code = d->outcome;
    enum duty_state errand = d->errand;
    struct kb_error why = d->trouble;
    bool moved = d->carried_on;
    const char *bad = d->came_bad;
    d->outcome = KB_EOF;
    pthread_mutex_unlock(&m->lock);
    if (code == KB_EOF || d->state != errand)
        return;
    if (code == KB_OK && errand == DUTY_FETCHING)
        fetched(m, d);
    else if (code == KB_OK)
        sent(m, d);
    else if (errand == DUTY_SENDING && beneath_size(m->data, d->result) < 0)
        give_back(m, d, &why);
    else if (code != KB_CANCELLED)
        try_again(m, d, code, moved, &why);
    if (d->state == DUTY_BACK && errand == DUTY_FETCHING)
        d->bad = bad;
}

static void call_porter(struct machine *m, struct duty *d)
{
    if ((d->state != DUTY_FETCHING && d->state != DUTY_SENDING) || kb_now_us() < d->again_us)
        return;
    pthread_mutex_lock(&m->lock);
    if (!d->wanted && !d->carried && d->outcome == KB_EOF) {
        d->wanted = true;
        d->errand = d->state;
        d->carried_on = false;
        if (d->tries == 0)
            d->most = 0;
        pthread_cond_broadcast(&m->errand);
    }
    pthread_mutex_unlock(&m->lock);
}

static int count_living(struct machine *m)
{
    CLEANUP(kb_freep) struct worker_status *workers = NULL;
    int n = 0, living = 0;
    if (worker_list(m->store, &workers, &n, NULL) != KB_OK)
        return m->living;
    for (int i = 0; i < n; i++)
        living += strcmp(workers[i].kind, "generate") == 0 &&
                  (strcmp(workers[i].state, "idle") == 0 || strcmp(workers[i].state, "busy") == 0);
    return living;
}

static void look_at_queue(struct machine *m)
{
    int64_t version = store_data_version(m->store);
    if (version == m->version && kb_now_us() - m->looked_us < LOOK_US)
        return;
    m->version = version;
    m->looked_us = kb_now_us();
    m->living = count_living(m);
    for (struct duty *d = m->duties; d; d = d->next) {
        struct kb_error err = {0};
        if (d->state == DUTY_WORKING && d->cancel && !d->dropped)
            duty_drop(m, d); // the database refused it before
        if (d->state == DUTY_WORKING && duty_look(m, d, &err) != KB_OK)
            log_warn("%s", err.text);
    }
}

static void look_at_duties(struct machine *m)
{
    look_at_queue(m);
    for (struct duty *d = m->duties; d; d = d->next) {
        hear_porter(m, d);
        call_porter(m, d);
        if (d->state == DUTY_TAKEN && m->connected && kb_now_us() - d->since_us > TAKEN_US)
            duty_become(d, DUTY_FORGOTTEN); // nobody knows it any more
    }
    duty_bury(m);
}

// --- places

static void count_places(struct machine *m)
{
    int in_hand = 0, before = m->slots;
    int64_t min_free = m->params->supervisor.worker.min_free_bytes;
    bool takes = m->head == HEAD_ACTIVE && !m->drain_end_us && m->connected && *m->pulse &&
                 kb_now_us() >= m->wait_until_us && copies_free_bytes(m->data) >= min_free;
    m->slots = takes ? m->living : 0;
    for (const struct duty *d = m->duties; d; d = d->next)
        in_hand += d->state <= DUTY_WORKING || (d->state == DUTY_FORGOTTEN && d->batch);
    pthread_mutex_lock(&m->lock);
    m->places = KB_MAX(m->slots - in_hand - m->n_offers, 0);
    if (m->places > 0)
        pthread_cond_broadcast(&m->errand);
    pthread_mutex_unlock(&m->lock);
    m->beat_now = m->beat_now || (before == 0) != (m->slots == 0);
}

static void trim(struct machine *m)
{
    struct kb_error err = {0};
    int64_t min_free = m->params->supervisor.worker.min_free_bytes;
    int64_t limit = m->params->cache_bytes < 0 ? CACHE_BYTES : m->params->cache_bytes;
    bool is_short = copies_free_bytes(m->data) < min_free;
    if (m->trimmed_us && kb_now_us() - m->trimmed_us < (is_short ? SHORT_TRIM_US : TRIM_US))
        return;
    m->trimmed_us = kb_now_us();
    if (copies_trim(m, limit, min_free, &m->cache_used, &err) != KB_OK)
        log_warn("%s", err.text);
}

// --- the head

static void tell_head(struct machine *m)
{
    struct kb_error err = {0};
    enum kb_code code = machine_tell(m, &err);
    m->connected = code == KB_OK;
    if (m->connected && !m->was_connected)
        log_info(_("connected with %s"), redis_place(m->redis));
    else if (!m->connected && (m->was_connected || !m->lost_us ||
                               (code != KB_UNAVAILABLE && kb_now_us() - m->lost_us > COMPLAIN_US)))
        log_warn("%s", err.text);
    if (!m->connected && (m->was_connected || !m->lost_us))
        m->lost_us = kb_now_us();
    m->was_connected = m->connected;
}

// --- the end

static void start_draining(struct machine *m)
{
    int n = 0;
    for (struct duty *d = m->duties; d; d = d->next) {
        n += d->state != DUTY_FORGOTTEN;
        if (d->state == DUTY_TAKEN)
            duty_become(d, DUTY_BACK);
    }
    m->drain_end_us = kb_now_us() + KB_MAX(m->params->drain_ms, 0) * 1000;
    m->beat_now = true;
    if (n > 0 && m->params->drain_ms > 0)
        log_info(_("no new jobs; %d are finished in the next %lld s, what is not goes back to the "
                   "head (once more Ctrl-C: at once)"),
                 n, (long long)m->params->drain_ms / 1000);
}

static void give_all_back(struct machine *m)
{
    m->leaving = true;
    m->drain_end_us = kb_now_us() + LEAVE_US;
    for (struct duty *d = m->duties; d; d = d->next) {
        if (d->state >= DUTY_SENT)
            continue;
        log_info(_("job %lld goes back to the head"), (long long)d->job);
        duty_back(m, d);
    }
}

// True: nothing is left to be done.
static bool is_drained(struct machine *m)
{
    if (!m->drain_end_us && cancel_requested(m->params->cancel))
        start_draining(m);
    if (!m->drain_end_us)
        return false;
    bool any = false;
    for (const struct duty *d = m->duties; d; d = d->next)
        any = any || d->state != DUTY_FORGOTTEN;
    bool late = kb_now_us() >= m->drain_end_us;
    if (any && !m->leaving && (late || cancel_requested(m->params->hurry)))
        give_all_back(m);
    else if (any && !m->leaving)
        return false;
    return !any || (m->leaving && kb_now_us() >= m->drain_end_us);
}

static void work(struct machine *m)
{
    while (!is_drained(m)) {
        machine_empty_box(m);
        look_at_duties(m);
        trim(m);
        count_places(m);
        tell_head(m);
        struct timespec end = deadline_in(TURN_MS);
        pthread_mutex_lock(&m->lock);
        if (m->n_orders + m->n_offers == 0)
            pthread_cond_timedwait(&m->stir, &m->lock, &end);
        pthread_mutex_unlock(&m->lock);
    }
}

// --- threads

static enum kb_code start_threads(struct machine *m, struct kb_error *err)
{
    int e = 0;
    for (int i = 0; e == 0 && i < (int)ARRAY_LEN(m->threads); i++) {
        e = pthread_create(&m->threads[i], NULL,
                           i == 0   ? machine_ears
                           : i == 1 ? machine_taker
                                    : machine_porter,
                           m);
        m->n_threads += e == 0;
    }
    return e == 0 ? KB_OK
                  : kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
}

static void stop_threads(struct machine *m)
{
    cancel_request(&m->stop);
    pthread_mutex_lock(&m->lock);
    pthread_cond_broadcast(&m->errand);
    pthread_mutex_unlock(&m->lock);
    for (int i = 0; i < m->n_threads; i++)
        pthread_join(m->threads[i], NULL);
}

static void init_condition(pthread_cond_t *c)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attributes);
    pthread_condattr_destroy(&attributes);
}

// --- the whole

static void no_pulse(void *ctx, char ret[WIRE_NONCE_BYTES])
{
    (void)ctx;
    *ret = '\0';
}

static enum kb_code check(struct machine *m, struct kb_error *err)
{
    const struct node_params *p = m->params;
    struct depot *depot = NULL;
    struct redis_params redis = {.url = p->redis};
    struct depot_params dp = {.address = p->depot,
                              .credentials = p->credentials,
                              .side = DEPOT_NODE,
                              .node = p->name,
                              .secret = p->secret,
                              .pulse = no_pulse};
    if (!node_name_is_valid(p->name))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is no name of a machine: it has 1 to %d small letters, digits and "
                         "-, none at the front (--name)"),
                       p->name, NODE_NAME_BYTES - 1);
    if (strlen(p->secret) != NODE_SECRET_BYTES - 1 ||
        strspn(p->secret, "0123456789abcdef") != NODE_SECRET_BYTES - 1)
        return kb_fail(err, KB_BAD_INPUT,
                       _("this is no token of a machine: it has %d digits and letters from a to f; "
                         "the page of the head shows it when the machine is added"),
                       NODE_SECRET_BYTES - 1);
    enum kb_code code = redis_open(&m->redis, &redis, err);
    if (code == KB_OK)
        code = depot_open(&depot, &dp, err);
    depot_close(&depot);
    return code;
}

// What is of no use to anybody any more, and all that is in memory.
static void leave(struct machine *m)
{
    stop_threads(m);
    supervisor_stop(&m->supervisor);
    for (struct duty *d = m->duties; d; d = d->next)
        if (d->batch && d->state >= DUTY_BACK) {
            batch_cancel(m->store, d->batch, NULL);
            batch_delete(m->store, d->batch, NULL);
        }
    if (m->owns && m->params->cache_bytes == 0)
        copies_trim(m, 0, 0, &m->cache_used, NULL);
    duty_free_all(m);
    for (int i = 0; i < m->n_orders; i++)
        json_decref(m->orders[i]);
    redis_close(&m->redis);
    store_close(&m->store);
    if (m->lock_fd >= 0) {
        log_info("%s", _("this machine has stopped"));
        log_close();
    }
    folder_unlock(m->lock_fd);
    pthread_cond_destroy(&m->stir);
    pthread_cond_destroy(&m->errand);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static enum kb_code start(struct machine *m, struct kb_error *err)
{
    struct supervisor_params p = m->params->supervisor;
    char pulse[WIRE_NONCE_BYTES];
    enum kb_code code = check(m, err);
    if (code == KB_OK)
        code = open_folder(m, err);
    // A wrong password ends it here; a Redis that is not there yet is waited for.
    if (code == KB_OK && wire_pulse(m->redis, pulse, err) == KB_BAD_INPUT)
        code = KB_BAD_INPUT;
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *models = path_join(m->data, MODELS_NAME);
    setenv("KOUBO_FETCHED_MODELS", models, 1);
    p.no_inspector = true;
    p.data = p.worker.data = m->data;
    code = duty_load(m, err);
    if (code == KB_OK)
        code = supervisor_start(&m->supervisor, &p, err);
    return code == KB_OK ? start_threads(m, err) : code;
}

enum kb_code node_run(const struct node_params *params, struct kb_error *err)
{
    struct machine *m = kb_alloc(sizeof(*m));
    m->params = params;
    m->data = params->supervisor.data;
    m->lock_fd = -1;
    kb_random_hex(m->boot, 16);
    pthread_mutex_init(&m->lock, NULL);
    init_condition(&m->stir);
    init_condition(&m->errand);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    descriptors_raise();
    enum kb_code code = start(m, err);
    if (code == KB_OK)
        work(m);
    leave(m);
    return code;
}
