#include "server/speaker.h"

#include "asset/speech.h"
#include "base/cancel.h"
#include "base/deadline.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "server/internal.h"
#include "server/upload/upload.h"
#include "store/patience.h"
#include "voices/voices.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS     3
#define LOOK_MS     500 // how often the table is looked at
#define PATIENCE_MS 500 // how long a database is waited for that another program holds
// What cannot be spoken now, for a reason of this server's own, is tried again after that; where
// the disk is full later. Where that shows only in what the service said, which it may ask money
// for, each try waits twice as long as the one before, and the last one fails.
#define AGAIN_MS      1000
#define AGAIN_FULL_MS 10000
#define TRIES         5
#define FORGET_MS     3600000 // a text that was to be tried so long ago was deleted

// A text that is not to be tried before then.
struct later {
    char id[33];
    int64_t until_us;
    int tries; // after which what the service said could not be kept
};

struct speaker {
    struct server *server;
    struct cancel cancel;
    pthread_t threads[THREADS];
    int n_threads;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // --- under the lock
    bool stopping;
    unsigned calls;        // of speaker_wake()
    char ids[THREADS][33]; // what is under way, "" = nothing
    char voices[THREADS][VOICES_NAME_BYTES + 24];
    struct later *later;
    int n_later, later_capacity;
};

// A text that is being asked for.
struct turn {
    struct speaker *speaker;
    struct store *store;
    const char *id;
    struct cancel gone; // it was deleted
    int later_ms;       // 0: it ends as it did; else it is to be tried again then
    int tries;          // as of struct later
};

// Until there were more calls than those, at most. False: stop.
static bool rest(struct speaker *s, int64_t ms, unsigned calls)
{
    struct timespec until = deadline_in(ms);
    pthread_mutex_lock(&s->lock);
    while (!s->stopping && s->calls == calls &&
           pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0) {
    }
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

static unsigned calls_of(struct speaker *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned calls = s->calls;
    pthread_mutex_unlock(&s->lock);
    return calls;
}

// Under the lock: no other thread is at this text or voice.
static bool take(void *ctx, const char *id, const char *voice)
{
    struct speaker *s = ctx;
    int place = -1;
    for (int i = 0; i < s->n_later; i++)
        if (strcmp(s->later[i].id, id) == 0 && kb_now_us() < s->later[i].until_us)
            return false;
    for (int i = 0; i < THREADS; i++) {
        if (!s->ids[i][0])
            place = i;
        else if (strcmp(s->ids[i], id) == 0 || strcmp(s->voices[i], voice) == 0)
            return false;
    }
    if (place < 0)
        return false;
    snprintf(s->ids[place], sizeof(s->ids[place]), "%s", id);
    snprintf(s->voices[place], sizeof(s->voices[place]), "%s", voice);
    return true;
}

static int tries_of(struct speaker *s, const char *id)
{
    int tries = 0;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->n_later; i++)
        if (strcmp(s->later[i].id, id) == 0)
            tries = s->later[i].tries;
    pthread_mutex_unlock(&s->lock);
    return tries;
}

// False: there was no memory to hold it.
static bool leave(struct speaker *s, const struct turn *t)
{
    const char *id = t->id;
    int64_t now_us = kb_now_us();
    bool held = true;
    int n = 0;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->n_later; i++)
        if (strcmp(s->later[i].id, id) != 0 &&
            now_us < s->later[i].until_us + FORGET_MS * INT64_C(1000))
            s->later[n++] = s->later[i];
    s->n_later = n;
    if (t->later_ms > 0) {
        held = kb_grow(&s->later, n, &s->later_capacity, sizeof(*s->later));
        if (held) {
            struct later *l = &s->later[s->n_later++];
            snprintf(l->id, sizeof(l->id), "%s", id);
            l->until_us = now_us + t->later_ms * INT64_C(1000);
            l->tries = t->tries;
        }
    }
    for (int i = 0; i < THREADS; i++)
        if (strcmp(s->ids[i], id) == 0)
            s->ids[i][0] = '\0';
    pthread_mutex_unlock(&s->lock);
    return held;
}

static void tell(void *ctx, int done, int total)
{
    struct turn *t = ctx;
    if (asset_tell_speech(t->store, t->id, (double)done / total, NULL) == KB_NOT_FOUND)
        cancel_request(&t->gone);
}

// What of the server's own passes: somebody holds the database, the disk is full.
static bool passes(enum kb_code code)
{
    return code == KB_UNAVAILABLE || code == KB_NO_SPACE;
}

static int again_full_ms(const struct turn *t)
{
    int ms = t->speaker->server->params.speech_again_ms;
    return ms > 0 ? ms : AGAIN_FULL_MS;
}

// What was said is there already: the service need not say it again.
static enum kb_code keep(struct turn *t, const char *sizes, double tempo, struct kb_error *err)
{
    enum kb_code code = asset_set_pieces(t->store, t->id, sizes, tempo, err);
    bool told = false;
    while (passes(code) && rest(t->speaker, LOOK_MS, calls_of(t->speaker))) {
        if (!told)
            log_warn(_("a speech waits to be written down: %s"), err->text);
        told = true;
        store_renew_patience(t->store);
        code = asset_set_pieces(t->store, t->id, sizes, tempo, err);
    }
    if (passes(code))
        t->later_ms = AGAIN_MS; // the server ends
    return code;
}

// Nor need it say again why it does not.
static enum kb_code fail(struct turn *t, const struct kb_error *why, struct kb_error *err)
{
    enum kb_code code = asset_fail(t->store, t->id, why, err);
    while (passes(code) && rest(t->speaker, LOOK_MS, calls_of(t->speaker))) {
        store_renew_patience(t->store);
        code = asset_fail(t->store, t->id, why, err);
    }
    return code;
}

static enum kb_code ask(struct turn *t, const json_t *voice, const char *text,
                        const struct asset_speech *how, struct kb_error *err)
{
    CLEANUP(kb_freep) int64_t *sizes = NULL;
    json_auto_t *list = json_array();
    int n = 0;
    const struct voice_wish wish = {
        .speed = how->speed,
        .guard = &t->speaker->server->params.guard,
        .cancel = &t->gone,
        .tell = tell,
        .ctx = t,
    };
    int fd = asset_open_pieces(t->store, t->id, err);
    if (fd < 0) {
        t->later_ms = AGAIN_MS;
        return err->code;
    }
    enum kb_code code = voice_recite(voice, text, &wish, fd, &sizes, &n, err);
    close(fd);
    if (code == KB_NO_SPACE && t->tries + 1 < TRIES)
        t->later_ms = again_full_ms(t) << t->tries++;
    for (int i = 0; code == KB_OK && i < n; i++)
        json_array_append_new(list, json_integer(sizes[i]));
    CLEANUP(kb_freep) char *json = code == KB_OK ? json_dumps(list, JSON_COMPACT) : NULL;
    if (code == KB_OK && !json)
        code = kb_no_memory(err);
    double tempo = voice_has_speed(voice) || how->speed <= 0 ? 1 : how->speed;
    return code == KB_OK ? keep(t, json, tempo, err) : code;
}

static enum kb_code speak(struct turn *t, struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = NULL;
    CLEANUP(kb_freep) char *pieces = NULL;
    json_auto_t *voices = NULL;
    const struct server_params *p = &t->speaker->server->params;
    CLEANUP(kb_freep) char *uploads = path_join(p->data, "uploads");
    struct asset asset;
    struct asset_speech how;
    enum kb_code code = asset_find(t->store, t->id, &asset, err);
    if (code == KB_OK)
        code = asset_source(t->store, t->id, &text, err);
    if (code == KB_OK)
        code = asset_speech(t->store, t->id, &how, &pieces, err);
    int64_t bytes = code == KB_OK ? (int64_t)utf8_count(text) * SPEECH_BYTES_A_LETTER : 0;
    if (code == KB_OK)
        code = upload_check_room(p->data, p->supervisor.worker.min_free_bytes, bytes, err);
    if (code == KB_OK) // which may be a disk of its own
        code = upload_check_room(uploads, 0, bytes, err);
    if (code == KB_OK)
        code = voices_load_all(&voices, p->data, err);
    if (passes(code))
        t->later_ms = code == KB_NO_SPACE ? again_full_ms(t) : AGAIN_MS;
    if (code != KB_OK)
        return code;
    const json_t *voice = voices_find(voices, asset.voice);
    if (!voice)
        return kb_fail(err, KB_BAD_INPUT,
                       _("there is no voice '%s' (any more); choose another one"), asset.voice);
    return ask(t, voice, text, &how, err);
}

// False: no more now.
static bool speak_next(struct speaker *s, struct store *store)
{
    struct kb_error err = {0}, why = {0};
    char id[33];
    store_renew_patience(store);
    pthread_mutex_lock(&s->lock);
    enum kb_code code = asset_next_speech(store, take, s, id, &err);
    pthread_mutex_unlock(&s->lock);
    if (code != KB_OK) {
        if (code != KB_EOF)
            log_warn(_("speeches wait: %s"), err.text);
        return false;
    }
    struct turn t = {.speaker = s,
                     .store = store,
                     .id = id,
                     .gone = {.parent = &s->cancel},
                     .tries = tries_of(s, id)};
    code = speak(&t, &why);
    if (t.later_ms) {
        log_verbose("a speech is tried again in %d ms: %s", t.later_ms, why.text);
        asset_hold_speech(store, id, &why, NULL);
        code = KB_OK;
    } else if (code != KB_OK && code != KB_CANCELLED && code != KB_NOT_FOUND) {
        log_warn("%s", why.text);
        code = fail(&t, &why, &err);
    }
    bool over = code == KB_OK || code == KB_NOT_FOUND || code == KB_CANCELLED;
    if (!over) { // else the service would be asked again at once
        t.later_ms = again_full_ms(&t) << KB_MIN(t.tries, TRIES);
        t.tries++;
    }
    return leave(s, &t) && over;
}

static void *speaker_main(void *opaque)
{
    struct speaker *s = opaque;
    // Who waits in the database cannot be stopped, and waits here just as well.
    struct patience patience = {.budget_ms = PATIENCE_MS};
    CLEANUP(store_close) struct store *store = NULL;
    struct kb_error err = {0};
    while (store_open(&store, s->server->params.data, false, &err) != KB_OK)
        if (!rest(s, 5000, calls_of(s)))
            return NULL;
    store_set_patience(store, &patience);
    unsigned calls;
    do {
        calls = calls_of(s); // before looking: a call meanwhile is not missed
        while (!cancel_requested(&s->cancel) && speak_next(s, store)) {
        }
    } while (rest(s, LOOK_MS, calls));
    return NULL;
}

void speaker_wake(struct speaker *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->calls++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

enum kb_code speaker_start(struct speaker **ret, struct server *server, struct kb_error *err)
{
    struct speaker *s = kb_alloc(sizeof(*s));
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&s->lock, NULL);
    s->server = server;
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < THREADS; i++) {
        if (pthread_create(&s->threads[i], NULL, speaker_main, s) == 0)
            s->n_threads++;
        else
            code = kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
    }
    if (code == KB_OK)
        *ret = s;
    else
        speaker_stop(&s);
    return code;
}

void speaker_stop(struct speaker **speaker)
{
    struct speaker *s = TAKE(*speaker);
    if (!s)
        return;
    cancel_request(&s->cancel);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->n_threads; i++)
        pthread_join(s->threads[i], NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->later);
    free(s);
}
