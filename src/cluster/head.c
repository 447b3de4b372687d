// The head's thread: its turns, its standing with Redis, and what others may ask of it.
#include "cluster/head.h"

#include "cluster/depot.h"
#include "cluster/head_parts.h"
#include "cluster/model.h"

#include "base/deadline.h"
#include "base/log.h"
#include "base/sentence.h"
#include "base/utf8.h"
#include "store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SILENT_MS   30000
#define STILL       60      // times the silence that loses a job: it is mentioned, and stands still
#define PAUSE_MS    10000   // no jobs are offered where the depot failed
#define PATIENCE_MS 250     // that it waits for locks in a turn
#define LOOK_US     1000000 // how often it is looked whether Redis still has what we said
#define PULSE_US    10000000
#define HEAD_MS     15000   // for which Redis knows who the head is
#define STEP_US     1000000 // of the clock of listening: a turn that lasts longer heard nothing
#define WAIT_MS     500     // while Redis cannot be reached
#define BREATH_US   5000    // from one turn to the next at least

// --- what is shown

static void show_error(struct head *h, const struct kb_error *err)
{
    pthread_mutex_lock(&h->lock);
    if (h->shown_connected || !h->shown_since_ms)
        h->shown_since_ms = kb_wall_ms();
    h->shown_connected = false;
    h->shown_error = *err;
    pthread_mutex_unlock(&h->lock);
}

static void show_connected(struct head *h, const char *version)
{
    pthread_mutex_lock(&h->lock);
    h->shown_connected = true;
    h->shown_since_ms = kb_wall_ms();
    h->shown_error = (struct kb_error){0};
    snprintf(h->shown_version, sizeof(h->shown_version), "%s", version);
    pthread_mutex_unlock(&h->lock);
}

static void show_counts(struct head *h)
{
    int offers = 0, arriving = 0;
    for (int i = 0; i < h->n_held; i++) {
        offers += !h->held[i].ended && h->held[i].r.state == REMOTE_OFFERED;
        arriving += !h->held[i].ended && h->held[i].r.state >= REMOTE_MADE;
    }
    struct kb_error depot = {0};
    if (h->files)
        files_error(h->files, &depot);
    pthread_mutex_lock(&h->lock);
    h->shown_offers = offers;
    h->shown_arriving = arriving;
    h->shown_depot_error = depot;
    pthread_mutex_unlock(&h->lock);
}

// --- Redis

// It cannot be reached, or another head is there: local workers go on, and so does what needs none.
static void lose_redis(struct head *h, const struct kb_error *err)
{
    if (cancel_requested(&h->cancel)) // it was broken off
        return;
    bool news = strcmp(h->shown_error.kept, err->kept) != 0; // written by this thread alone
    if (h->listens || news)
        log_warn(_("other machines: %s. Their jobs go on; what they say is heard when it is "
                   "mended"),
                 err->text);
    h->listens = h->is_head = false;
    h->heard_us = 0;
    h->look_us = 0;
    show_error(h, err);
}

static void new_pulse(struct head *h)
{
    pthread_mutex_lock(&h->lock);
    memmove(h->nonces[1], h->nonces[0], sizeof(h->nonces) - sizeof(h->nonces[0]));
    kb_random_hex(h->nonces[0], WIRE_NONCE_BYTES - 1);
    pthread_mutex_unlock(&h->lock);
    h->pulse_us = kb_now_us();
}

// Nothing of what was said before counts any more, and everybody has all the time again.
static enum kb_code begin_anew(struct head *h, struct kb_error *err)
{
    char version[32] = "";
    redisReply *info = NULL;
    enum kb_code code = redis_ask(h->redis, &info, 0, err, "INFO server");
    if (code == KB_UNAVAILABLE)
        return code;
    const char *at = code == KB_OK && info->str ? strstr(info->str, "redis_version:") : NULL;
    if (at) // a user may lack the right to ask
        sscanf(at, "redis_version:%31[0-9.]", version);
    if (info)
        freeReplyObject(info);
    code = redis_ask(h->redis, NULL, 0, err, "DEL %s:jobs", redis_prefix(h->redis));
    if (code != KB_OK)
        return code;
    head_offer_anew(h);
    for (int i = 0; i < h->n_held; i++) {
        h->held[i].heard_clock = h->held[i].moved_clock = h->clock_us;
        h->held[i].asked_clock = 0;
    }
    for (int i = 0; i < h->n_mates; i++)
        h->mates[i].told = MATE_UNTOLD;
    h->heard_us = kb_now_us();
    h->listens = h->look = true;
    log_info(_("other machines are heard over %s"), redis_place(h->redis));
    show_connected(h, version);
    return KB_OK;
}

static enum kb_code be_head(struct head *h, struct kb_error *err)
{
    enum kb_code code = wire_be_head(h->redis, h->identity, HEAD_MS, &h->is_head, err);
    if (code == KB_OK && !h->is_head)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("another koubo serve already works with %s under the name '%s': stop one "
                         "of them, or give each its own ?prefix="),
                       redis_place(h->redis), redis_prefix(h->redis));
    return code;
}

// Does Redis still know what we said? It may have been started anew with an empty file.
static enum kb_code keep_pulse(struct head *h, struct kb_error *err)
{
    char there[WIRE_NONCE_BYTES];
    enum kb_code code = wire_pulse(h->redis, there, err);
    if (code != KB_OK)
        return code;
    bool lost = strcmp(there, h->nonces[0]) != 0;
    if (lost)
        head_offer_anew(h);
    bool old = kb_now_us() - h->pulse_us >= PULSE_US;
    if (old || !h->nonces[0][0])
        new_pulse(h);
    return old || lost ? wire_set_pulse(h->redis, h->nonces[0], err) : KB_OK;
}

// Once a second: are we the head, does it hear us? False: not now.
static bool stand(struct head *h)
{
    struct kb_error err = {0};
    int64_t now = kb_now_us();
    if (now < h->look_us)
        return h->listens;
    h->look_us = now + LOOK_US;
    enum kb_code code = be_head(h, &err);
    if (code == KB_OK)
        code = keep_pulse(h, &err);
    if (code == KB_OK && !h->listens)
        code = begin_anew(h, &err);
    if (code == KB_OK)
        return true;
    lose_redis(h, &err);
    return false;
}

// --- turns

static void rest(struct head *h, int ms)
{
    struct timespec until = deadline_in(ms);
    pthread_mutex_lock(&h->lock);
    while (!h->wake && pthread_cond_timedwait(&h->woken, &h->lock, &until) == 0)
        continue;
    h->wake = false;
    pthread_mutex_unlock(&h->lock);
}

// The clock of listening goes only while we hear, and hear all: where messages wait or were left
// out, who seems silent may have spoken.
static void pass_time(struct head *h, bool behind)
{
    int64_t now = kb_now_us();
    if (h->heard_us && !behind)
        h->clock_us += KB_MIN(now - h->heard_us, STEP_US);
    h->heard_us = now;
}

// What is not written yet stays first; the stream keeps the rest meanwhile.
static void listen_for(struct head *h, int ms)
{
    struct kb_error err = {0};
    int n = 0;
    bool behind = false;
    enum kb_code code = wire_hear(h->redis, h->after, ms, h->told, HEAD_TOLD, &n, &behind, &err);
    if (code != KB_OK) {
        lose_redis(h, &err);
        return;
    }
    pass_time(h, behind);
    head_refresh(h);
    h->turn_us = kb_now_us();
    head_take(h, h->told, n);
    for (int i = 0; i < n; i++)
        wire_told_free(&h->told[i]);
}

// So many machines speak that each would have a turn of its own: they share one.
static void take_breath(struct head *h)
{
    int64_t left = h->turn_us + BREATH_US - kb_now_us();
    if (left > 0)
        usleep((useconds_t)left);
}

static void turn(struct head *h)
{
    take_breath(h);
    store_renew_patience(h->store);
    bool stands = stand(h); // also while nothing can be written: nobody else is to be the head
    if (h->n_said > 0)
        rest(h, HEAD_TURN_MS);
    else if (stands)
        listen_for(h, HEAD_TURN_MS);
    else
        rest(h, WAIT_MS);
    if (cancel_requested(&h->cancel) || !head_refresh(h))
        return;
    head_write(h);
    head_settle(h);
    if (head_refresh(h))
        head_look_after(h);
    head_say(h);
    head_offer(h);
    head_say_states(h);
    if (h->files)
        files_tidy(h->files, h, h->has_ended);
    h->has_ended = false;
    show_counts(h);
}

static void *head_run(void *opaque)
{
    struct head *h = opaque;
    while (!cancel_requested(&h->cancel))
        turn(h);
    return NULL;
}

// --- start and stop

static void head_free(struct head **head)
{
    struct head *h = TAKE(*head);
    if (!h)
        return;
    head_settler_stop(h);
    head_hasher_stop(h);
    files_stop(&h->files);
    for (int i = 0; i < h->n_said; i++)
        said_free(&h->said[i]);
    head_forget_rows(h);
    free(h->answers);
    redis_close(&h->redis);
    store_close(&h->store);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->woken);
    free(h->data);
    free(h->redis_url);
    free(h->depot);
    free(h->credentials);
    free(h);
}

// The same after a new start of this folder's server on this machine, so that it need not wait
// until the one before is forgotten; another one for a copy of the folder elsewhere.
static enum kb_code identify(struct head *h, struct kb_error *err)
{
    CLEANUP(text_free) struct text folder = {0};
    char host[256] = "", mac[WIRE_MAC_BYTES];
    enum kb_code code = setting_get(h->store, "folder", &folder, err);
    gethostname(host, sizeof(host) - 1);
    CLEANUP(kb_freep) char *text = kb_printf("%s %s", host, h->data);
    wire_sign(mac, text_get(&folder), text);
    snprintf(h->identity, sizeof(h->identity), "%.32s", mac);
    return code;
}

static enum kb_code open_all(struct head *h, struct kb_error *err)
{
    struct redis_params rp = {.url = h->redis_url, .cancel = &h->cancel};
    enum kb_code code = redis_open(&h->redis, &rp, err);
    if (code == KB_OK)
        code = store_open(&h->store, h->data, false, err);
    if (code == KB_OK)
        code = identify(h, err);
    if (code != KB_OK)
        return code;
    h->patience.budget_ms = PATIENCE_MS;
    store_set_patience(h->store, &h->patience);
    return h->depot ? files_start(&h->files, h, err) : KB_OK;
}

enum kb_code head_start(struct head **ret, const struct head_params *p, struct kb_error *err)
{
    CLEANUP(head_free) struct head *h = kb_alloc(sizeof(*h));
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->woken, &monotonic);
    pthread_condattr_destroy(&monotonic);
    h->data = kb_strdup(p->data);
    h->redis_url = kb_strdup(p->redis);
    h->depot = p->depot && depot_is_s3(p->depot) ? kb_strdup(p->depot) : NULL;
    h->credentials = kb_strdup(p->credentials);
    h->min_free_bytes = p->min_free_bytes;
    h->depot_keep_ms = p->depot_keep_ms;
    h->silent_us = 1000 * (p->silent_ms > 0 ? p->silent_ms : SILENT_MS);
    h->still_us = p->still_ms > 0 ? 1000 * p->still_ms : STILL * h->silent_us;
    h->pause_for_us = 1000 * (p->pause_ms > 0 ? p->pause_ms : PAUSE_MS);
    h->version = -1;
    h->stale = h->stale_mates = true;
    if (!utf8_valid(p->redis) || (p->depot && !utf8_valid(p->depot))) // the page could not be told
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the address of Redis or of the depot is not valid UTF-8; write such bytes "
              "as %%XX"));
    strcpy(h->after, "0-0"); // what an earlier head heard has an old nonce
    if (p->depot && !h->depot)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is no address of an S3 store (s3://bucket/prefix); without one, "
                         "machines take and bring files over this server's own port"),
                       p->depot);
    enum kb_code code = open_all(h, err);
    if (code != KB_OK)
        return code;
    if (pthread_create(&h->thread, NULL, head_run, h) != 0)
        return kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
    *ret = TAKE(h);
    return KB_OK;
}

void head_stop(struct head **head)
{
    struct head *h = *head;
    if (!h)
        return;
    cancel_request(&h->cancel);
    head_wake(h);
    pthread_join(h->thread, NULL);
    // So that another one need not wait until Redis forgets; of what cancel broke off, nothing is
    // sent any more.
    struct redis_params rp = {.url = h->redis_url, .timeout_ms = 500};
    struct redis *last = NULL;
    if (h->is_head && redis_open(&last, &rp, NULL) == KB_OK)
        wire_leave_head(last, h->identity, NULL);
    redis_close(&last);
    head_free(head);
}

// --- for others

void head_wake(struct head *h)
{
    pthread_mutex_lock(&h->lock);
    h->wake = true;
    pthread_cond_signal(&h->woken);
    pthread_mutex_unlock(&h->lock);
}

bool head_admits(struct head *h, struct store *store, const char *node, const char *nonce,
                 const char *mac, const char *text)
{
    bool fresh = false;
    pthread_mutex_lock(&h->lock);
    for (int i = 0; i < HEAD_NONCES; i++)
        fresh = fresh || (h->nonces[i][0] && strcmp(h->nonces[i], nonce) == 0);
    pthread_mutex_unlock(&h->lock);
    struct node n;
    return fresh && node_name_is_valid(node) && node_get(store, node, &n, NULL) == KB_OK &&
           wire_is_signed(mac, n.secret, text);
}

enum kb_code head_model(struct store *s, const char *node, const char *sha256, char **ret_path,
                        struct kb_error *err)
{
    CLEANUP(kb_freep) struct remote *rows = NULL;
    int n = 0;
    enum kb_code code = remote_list(s, &rows, &n, err);
    for (int i = 0; i < n && code == KB_OK; i++) {
        CLEANUP(job_claim_free) struct job_claim c = {0};
        CLEANUP(model_file_free) struct model_file m = {0};
        if (strcmp(rows[i].node, node) != 0 || remote_read(s, &rows[i], &c, NULL) != KB_OK ||
            model_of_options(&m, c.options, NULL) != KB_OK || !m.path ||
            strcmp(m.sha256, sha256) != 0)
            continue;
        *ret_path = TAKE(m.path);
        return KB_OK;
    }
    return code == KB_OK ? kb_fail(err, KB_NOT_FOUND, _("no job of this machine has that model"))
                         : code;
}

static json_t *sentence_or_null(const struct kb_error *err)
{
    CLEANUP(kb_freep) char *kept = err->text[0] ? sentence_of(err) : NULL;
    CLEANUP(kb_freep) char *said = sentence_say(kept);
    return said ? json_string(said) : json_null();
}

static json_t *depot_json(const struct head *h)
{
    size_t n = h->depot ? strcspn(h->depot, "?") : 0;
    return json_pack("{s:s, s:o, s:o}", "kind", h->depot ? "s3" : "http", "place",
                     h->depot ? json_stringn(h->depot, n) : json_null(), "error",
                     sentence_or_null(&h->shown_depot_error));
}

void head_json(struct head *h, struct text *ret)
{
    pthread_mutex_lock(&h->lock);
    json_auto_t *all = json_pack("{s:{s:s, s:b, s:I, s:s, s:o}, s:o, s:i, s:i}", "redis", "place",
                                 redis_place(h->redis), "connected", h->shown_connected, "since",
                                 (json_int_t)h->shown_since_ms, "version", h->shown_version,
                                 "error", sentence_or_null(&h->shown_error), "depot", depot_json(h),
                                 "offers", h->shown_offers, "arriving", h->shown_arriving);
    pthread_mutex_unlock(&h->lock);
    CLEANUP(kb_freep) char *json = json_dumps(all, JSON_COMPACT);
    text_add(ret, json ? json : "null");
}
