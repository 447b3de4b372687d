// Who sends what is in the outbox. One thread, that of notifier_turn(), speaks to the database:
// it hands messages to SENDERS threads and writes down what became of them. Each sender waits for
// its one transfer, which ends after 15 s at the latest.
//
// So that nobody has to wait for a server that does not answer:
// * one message at a time goes to a server (name and port), whatever paths are asked for on it;
// * a target that failed rests, longer with each failure, with all that waits for it;
// * targets that have failed lately use half of the senders at most.
#include "notify/internal.h"
#include "store/sql.h"

#include "base/deadline.h"
#include "base/log.h"
#include "base/sentence.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SENDERS      8
#define RESTING      256 // failing targets that are remembered
#define SECOND_MS    1000LL
#define NEXT_LOOK_MS (60 * SECOND_MS)
#define OLD_MS       (2 * 3600 * SECOND_MS) // more than all pauses together
#define SERVER_BYTES 256

static const int pauses_s[] = {10, 30, 60, 5 * 60, 15 * 60, 60 * 60};

enum phase { FREE, HANDED, ENDED };

// One sender and its message. The turning thread writes it while FREE or ENDED, the sender's own
// thread while HANDED.
struct slot {
    struct notifier *all;
    pthread_t thread;
    enum phase phase; // under the lock
    int64_t id;
    int attempts; // before this one
    bool failing; // its target failed the last time
    json_t *target, *message;
    char *target_text; // as the row has it: what is compared
    char server[SERVER_BYTES];
    enum kb_code code; // the outcome
    struct kb_error why;
};

// A target that failed the last time, by its text. Only the turning thread knows these.
struct rest {
    char *target_text;
    int failures;
    int64_t until_us;
};

struct notifier {
    const struct notify_way *way;
    struct cancel cancel;
    int64_t version, next_ms; // of the database; when to look again
    int n_rests;
    struct rest rests[RESTING];
    int n_threads;
    struct slot slots[SENDERS];
    pthread_mutex_t lock;
    pthread_cond_t handed, changed;
    // --- under the lock
    bool stopping;
};

// --- a sender

static void *sender_main(void *opaque)
{
    struct slot *slot = opaque;
    struct notifier *n = slot->all;
    pthread_mutex_lock(&n->lock);
    for (;;) {
        while (slot->phase != HANDED && !n->stopping)
            pthread_cond_wait(&n->handed, &n->lock);
        if (slot->phase != HANDED)
            break;
        pthread_mutex_unlock(&n->lock);
        const char *lang = json_string_value(json_object_get(slot->message, "lang"));
        kb_language_set_thread(kb_language_of(lang));
        slot->why = (struct kb_error){0};
        slot->code = message_say(slot->target, slot->message, n->way, &n->cancel, &slot->why);
        kb_language_set_thread(KB_LANGUAGE_DEFAULT);
        pthread_mutex_lock(&n->lock);
        slot->phase = ENDED;
        pthread_cond_broadcast(&n->changed);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

static void slot_clear(struct slot *slot)
{
    json_decref(slot->target);
    json_decref(slot->message);
    free(slot->target_text);
    slot->target = slot->message = NULL;
    slot->target_text = NULL;
}

// --- targets that rest

static struct rest *rest_of(struct notifier *n, const char *target_text)
{
    for (int i = 0; i < n->n_rests; i++)
        if (strcmp(n->rests[i].target_text, target_text) == 0)
            return &n->rests[i];
    return NULL;
}

// It took a message.
static void rest_end(struct notifier *n, const char *target_text)
{
    struct rest *r = rest_of(n, target_text);
    if (!r)
        return;
    free(r->target_text);
    *r = n->rests[--n->n_rests];
}

// How long it is to rest after this failure, in seconds. attempts: how often this message was tried
// before.
static int rest_seconds(struct notifier *n, const char *target_text, int attempts)
{
    const struct rest *r = rest_of(n, target_text);
    int step = KB_MAX(attempts, r ? r->failures : 0);
    return pauses_s[KB_MIN(step, (int)ARRAY_LEN(pauses_s) - 1)];
}

static void rest_begin(struct notifier *n, const char *target_text, int pause_s)
{
    struct rest *r = rest_of(n, target_text);
    if (!r && n->n_rests == RESTING) { // the one that would go on first is forgotten
        r = n->rests;
        for (int i = 1; i < n->n_rests; i++)
            if (n->rests[i].until_us < r->until_us)
                r = &n->rests[i];
        rest_end(n, r->target_text);
        r = NULL;
    }
    if (!r) {
        r = &n->rests[n->n_rests++];
        *r = (struct rest){.target_text = kb_strdup(target_text)};
    }
    r->failures++;
    r->until_us = kb_now_us() + pause_s * 1000000LL;
}

// --- what became of a message

static const char *kind_of(const struct slot *slot)
{
    const char *kind = json_string_value(json_object_get(slot->target, "kind"));
    return kind ? kind : "?";
}

// It is over: the row stays as a record for a while, without the secrets of its target.
static enum kb_code finish(struct store *s, const struct slot *slot, const char *state,
                           const char *error, struct kb_error *err)
{
    return store_exec(s, NULL, err,
                      "UPDATE notice SET state = ?, attempts = attempts + 1, next_ms = ?,"
                      " error = ?, target = json_object('kind', ?) WHERE id = ?",
                      "titti", state, kb_wall_ms(), error, kind_of(slot), slot->id);
}

// Its target is in no state to take anything: what else waits for it, waits as long, or has waited
// for too long.
static enum kb_code put_off_others(struct store *s, const struct slot *slot, int64_t next_ms,
                                   const char *kept, struct kb_error *err)
{
    int n_old = 0;
    enum kb_code code =
        store_exec(s, &n_old, err,
                   "UPDATE notice SET state = 'given_up', next_ms = ?, error = ?, target ="
                   " json_object('kind', ?) WHERE state = 'due' AND target = ? AND id <> ?"
                   " AND coalesce(json_extract(message, '$.time'), 0) < ?",
                   "itttii", kb_wall_ms(), kept, kind_of(slot), slot->target_text, slot->id,
                   kb_wall_ms() - OLD_MS);
    if (n_old > 0)
        log_warn(_("%d messages to '%s' were given up with it: they have waited for hours"), n_old,
                 kind_of(slot));
    if (code != KB_OK)
        return code;
    return store_exec(s, NULL, err,
                      "UPDATE notice SET next_ms = ? WHERE state = 'due' AND target = ?"
                      " AND next_ms < ?",
                      "iti", next_ms, slot->target_text, next_ms);
}

static enum kb_code put_off(struct store *s, const struct slot *slot, int pause_s,
                            struct kb_error *err)
{
    CLEANUP(kb_freep) char *kept = sentence_of(&slot->why), *said = sentence_for_log(&slot->why);
    int64_t next_ms = kb_wall_ms() + pause_s * SECOND_MS;
    enum kb_code code = KB_OK;
    if (slot->attempts >= (int)ARRAY_LEN(pauses_s)) {
        log_warn(_("a message to '%s' was given up after %d attempts: %s"), kind_of(slot),
                 slot->attempts + 1, said);
        code = finish(s, slot, "given_up", kept, err);
    } else {
        log_warn(_("a message to '%s' could not be sent and is sent again in %d seconds: %s"),
                 kind_of(slot), pause_s, said);
        code = store_exec(s, NULL, err,
                          "UPDATE notice SET attempts = attempts + 1, next_ms = ?, error = ?"
                          " WHERE id = ?",
                          "iti", next_ms, kept, slot->id);
    }
    if (code == KB_OK && slot->code != KB_BAD_INPUT)
        code = put_off_others(s, slot, next_ms, kept, err);
    return code;
}

static enum kb_code write_down(struct notifier *n, struct store *s, const struct slot *slot,
                               struct kb_error *err)
{
    bool whole = slot->code != KB_OK && slot->code != KB_BAD_INPUT; // the target, not the message
    int pause_s = whole ? rest_seconds(n, slot->target_text, slot->attempts)
                        : pauses_s[KB_MIN(slot->attempts, (int)ARRAY_LEN(pauses_s) - 1)];
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code =
        slot->code == KB_OK ? finish(s, slot, "sent", NULL, err) : put_off(s, slot, pause_s, err);
    code = store_end(s, code, err);
    if (code == KB_OK && whole)
        rest_begin(n, slot->target_text, pause_s);
    else if (code == KB_OK)
        rest_end(n, slot->target_text);
    return code;
}

// What could not be written down stays and is tried again with the next turn.
static enum kb_code collect(struct notifier *n, struct store *s, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < n->n_threads; i++) {
        struct slot *slot = &n->slots[i];
        pthread_mutex_lock(&n->lock);
        bool ended = slot->phase == ENDED;
        pthread_mutex_unlock(&n->lock);
        if (!ended)
            continue;
        if (slot->code != KB_CANCELLED)
            code = write_down(n, s, slot, err);
        if (code != KB_OK)
            continue;
        slot_clear(slot);
        n->next_ms = 0; // there may be more for this server
        pthread_mutex_lock(&n->lock);
        slot->phase = FREE;
        pthread_mutex_unlock(&n->lock);
    }
    return code;
}

// --- handing out

// Name and port of the server that a target is reached by.
static void server_of(const json_t *target, char ret[SERVER_BYTES])
{
    const char *url = json_string_value(json_object_get(target, "url"));
    if (!url)
        url = json_string_value(json_object_get(target, "smtp"));
    const char *name = url ? strstr(url, "://") : NULL;
    name = name ? name + 3 : "";
    int n = (int)strcspn(name, "/?#");
    for (int i = n; i > 0; i--) // without user and password
        if (name[i - 1] == '@') {
            name += i;
            n -= i;
            break;
        }
    snprintf(ret, SERVER_BYTES, "%.*s", n, name);
}

// May the message id be sent now?
static bool is_free(struct notifier *n, int64_t id, const char *target_text, const char *server,
                    bool *ret_failing)
{
    const struct rest *r = rest_of(n, target_text);
    int n_failing = 0;
    *ret_failing = r;
    if (r && r->until_us > kb_now_us())
        return false;
    for (int i = 0; i < n->n_threads; i++) {
        const struct slot *slot = &n->slots[i];
        if (!slot->target) // no message
            continue;
        n_failing += slot->failing;
        if (slot->id == id || strcasecmp(slot->server, server) == 0)
            return false;
    }
    return !r || n_failing < SENDERS / 2;
}

static enum kb_code load_notice(struct store *s, struct slot *slot, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err, "SELECT attempts, message, target FROM notice WHERE id = ?", "i", slot->id);
    if (code != KB_OK)
        return code;
    slot->attempts = KB_MAX(sqlite3_column_int(q, 0), 0);
    slot->message = json_loads((const char *)sqlite3_column_text(q, 1), 0, NULL);
    slot->target_text = store_column(q, 2);
    slot->target = json_loads(slot->target_text, 0, NULL);
    if (!slot->target)
        slot->target = json_object(); // written by hand: of no kind, so it fails
    return KB_OK;
}

// Into slot, the oldest message of the first target that can take one. KB_EOF: none; *ret_waits:
// some only have to wait.
static enum kb_code take_due(struct notifier *n, struct store *s, struct slot *slot,
                             bool *ret_waits, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    // Beyond all pauses: the clock was set back.
                                    "SELECT min(id), target FROM notice WHERE state = 'due'"
                                    " AND (next_ms <= ? OR next_ms > ?) GROUP BY target ORDER BY 1",
                                    "ii", kb_wall_ms(), kb_wall_ms() + OLD_MS);
    for (; code == KB_OK; code = store_step(s, q, err)) {
        const char *text = (const char *)sqlite3_column_text(q, 1);
        json_auto_t *target = json_loads(text, 0, NULL);
        server_of(target, slot->server);
        slot->id = sqlite3_column_int64(q, 0);
        if (is_free(n, slot->id, text, slot->server, &slot->failing))
            return load_notice(s, slot, err);
        *ret_waits = true;
    }
    return code;
}

static struct slot *free_slot(struct notifier *n)
{
    for (int i = 0; i < n->n_threads; i++)
        if (!n->slots[i].target)
            return &n->slots[i];
    return NULL;
}

static enum kb_code hand_out(struct notifier *n, struct store *s, struct kb_error *err)
{
    bool waits = false;
    int64_t soon = 0, latest_ms = kb_wall_ms() + NEXT_LOOK_MS;
    enum kb_code code = KB_OK;
    for (struct slot *slot; code == KB_OK && (slot = free_slot(n));) {
        code = take_due(n, s, slot, &waits, err);
        if (code != KB_OK)
            break;
        pthread_mutex_lock(&n->lock);
        if (!slot->message) { // no JSON: somebody has written it by hand
            slot->code = kb_fail(&slot->why, KB_BAD_INPUT, "not JSON");
            slot->phase = ENDED;
        } else {
            slot->phase = HANDED;
            pthread_cond_broadcast(&n->handed);
        }
        pthread_mutex_unlock(&n->lock);
    }
    if (code != KB_OK && code != KB_EOF)
        return code;
    code = store_query_int(s, &soon, err,
                           "SELECT min(next_ms) FROM notice WHERE state = 'due' AND next_ms > ?",
                           "i", kb_wall_ms());
    n->next_ms = soon > 0 ? KB_MIN(soon, latest_ms) : latest_ms;
    if (waits) // for a pause that is over at a time of its own
        n->next_ms = KB_MIN(n->next_ms, kb_wall_ms() + SECOND_MS);
    return code;
}

// --- turning

// Until a message has ended.
static void wait_a_moment(struct notifier *n, int64_t wait_ms)
{
    struct timespec until = deadline_in(wait_ms);
    pthread_mutex_lock(&n->lock);
    for (;;) {
        bool ended = n->stopping;
        for (int i = 0; i < n->n_threads; i++)
            ended = ended || n->slots[i].phase == ENDED;
        if (ended || pthread_cond_timedwait(&n->changed, &n->lock, &until) != 0)
            break;
    }
    pthread_mutex_unlock(&n->lock);
}

enum kb_code notifier_turn(struct notifier *n, struct store *s, int64_t wait_ms, bool *ret_idle,
                           struct kb_error *err)
{
    enum kb_code code = cancel_check(&n->cancel, err);
    if (code == KB_OK)
        code = collect(n, s, err);
    int64_t version = store_data_version(s), now_ms = kb_wall_ms();
    bool is_time = now_ms >= n->next_ms || n->next_ms > now_ms + NEXT_LOOK_MS; // it was set back
    if (code == KB_OK && (version != n->version || is_time)) {
        n->version = version;
        code = hand_out(n, s, err);
    }
    bool idle = code == KB_OK;
    for (int i = 0; i < n->n_threads; i++)
        idle = idle && !n->slots[i].target;
    if (ret_idle)
        *ret_idle = idle;
    if (code == KB_OK)
        wait_a_moment(n, wait_ms);
    return code;
}

// --- its life

enum kb_code notifier_start(struct notifier **ret, const struct notify_way *way,
                            struct kb_error *err)
{
    struct notifier *n = kb_alloc(sizeof(*n));
    pthread_condattr_t attributes;
    n->way = way;
    n->version = -1;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->handed, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&n->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    for (int i = 0; i < SENDERS; i++) {
        n->slots[i].all = n;
        if (pthread_create(&n->slots[i].thread, NULL, sender_main, &n->slots[i]) != 0) {
            notifier_stop(&n, NULL);
            return kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
        }
        n->n_threads++;
    }
    *ret = n;
    return KB_OK;
}

void notifier_cancel(struct notifier *n)
{
    cancel_request(&n->cancel);
    pthread_mutex_lock(&n->lock);
    n->stopping = true;
    pthread_cond_broadcast(&n->handed);
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
}

void notifier_stop(struct notifier **notifier, struct store *s)
{
    struct notifier *n = TAKE(*notifier);
    struct kb_error err = {0};
    if (!n)
        return;
    notifier_cancel(n);
    for (int i = 0; i < n->n_threads; i++)
        pthread_join(n->slots[i].thread, NULL);
    if (s && collect(n, s, &err) != KB_OK)
        log_warn("%s", err.text);
    for (int i = 0; i < n->n_threads; i++)
        slot_clear(&n->slots[i]);
    while (n->n_rests > 0)
        free(n->rests[--n->n_rests].target_text);
    pthread_cond_destroy(&n->changed);
    pthread_cond_destroy(&n->handed);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
