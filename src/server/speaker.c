#include "server/speaker.h"

#include "asset/speech.h"
#include "base/cancel.h"
#include "base/deadline.h"
#include "base/log.h"
#include "server/internal.h"
#include "voices/voices.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 3
#define LOOK_MS 500 // how often the table is looked at

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
};

// A text that is being asked for.
struct turn {
    struct speaker *speaker;
    struct store *store;
    const char *id;
    struct cancel gone; // it was deleted
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

static void leave(struct speaker *s, const char *id)
{
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < THREADS; i++)
        if (strcmp(s->ids[i], id) == 0)
            s->ids[i][0] = '\0';
    pthread_mutex_unlock(&s->lock);
}

static void tell(void *ctx, int done, int total)
{
    struct turn *t = ctx;
    if (asset_tell_speech(t->store, t->id, (double)done / total, NULL) == KB_NOT_FOUND)
        cancel_request(&t->gone);
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
    if (fd < 0)
        return KB_UNAVAILABLE;
    enum kb_code code = voice_recite(voice, text, &wish, fd, &sizes, &n, err);
    close(fd);
    for (int i = 0; code == KB_OK && i < n; i++)
        json_array_append_new(list, json_integer(sizes[i]));
    CLEANUP(kb_freep) char *json = code == KB_OK ? json_dumps(list, JSON_COMPACT) : NULL;
    if (code == KB_OK && !json)
        code = kb_no_memory(err);
    double tempo = voice_has_speed(voice) || how->speed <= 0 ? 1 : how->speed;
    return code == KB_OK ? asset_set_pieces(t->store, t->id, json, tempo, err) : code;
}

static enum kb_code speak(struct turn *t, struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = NULL;
    CLEANUP(kb_freep) char *pieces = NULL;
    json_auto_t *voices = NULL;
    struct asset asset;
    struct asset_speech how;
    enum kb_code code = asset_find(t->store, t->id, &asset, err);
    if (code == KB_OK)
        code = asset_source(t->store, t->id, &text, err);
    if (code == KB_OK)
        code = asset_speech(t->store, t->id, &how, &pieces, err);
    if (code == KB_OK)
        code = voices_load_all(&voices, t->speaker->server->params.data, err);
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
    pthread_mutex_lock(&s->lock);
    enum kb_code code = asset_next_speech(store, take, s, id, &err);
    pthread_mutex_unlock(&s->lock);
    if (code != KB_OK) {
        if (code != KB_EOF)
            log_warn(_("speeches wait: %s"), err.text);
        return false;
    }
    struct turn t = {.speaker = s, .store = store, .id = id, .gone = {.parent = &s->cancel}};
    code = speak(&t, &why);
    if (code != KB_OK && code != KB_CANCELLED && code != KB_NOT_FOUND) {
        log_warn("%s", why.text);
        code = asset_fail(store, id, &why, &err);
    }
    leave(s, id);
    return code == KB_OK || code == KB_NOT_FOUND || code == KB_CANCELLED; // else it is too early
}

static void *speaker_main(void *opaque)
{
    struct speaker *s = opaque;
    CLEANUP(store_close) struct store *store = NULL;
    struct kb_error err = {0};
    while (store_open(&store, s->server->params.data, false, &err) != KB_OK)
        if (!rest(s, 5000, calls_of(s)))
            return NULL;
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
    free(s);
}
