// The thread writes each change into a chunk, which is the text that goes out, and puts it into a
// ring. A listener has a place in the ring and the revision it has seen:
//
//   chunk (from, to]  with to <= seen: it has that already, skip
//                     with from == seen: send, seen = to
//                     otherwise, or pushed out of the ring before it was sent: the listener is
//                     "lost" and the thread writes one for it alone, of all changes after seen
//
// So every listener sees each change exactly once and in order, whether it has just come with the
// revision of its last visit, reads slowly, or is always there. Heartbeats have no revision;
// whoever missed one misses nothing.
//
// Locks: events.lock is held for a few pointers only and never while a stream is woken, because a
// stream is read (and that takes events.lock) under whatever lock http has for it.
#include "server/events.h"

#include "base/deadline.h"
#include "base/log.h"
#include "queue/change.h"
#include "server/internal.h"
#include "server/listener.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS      100
#define HEARTBEAT_US 2000000
#define RING         256       // chunks
#define RING_BYTES   (4 << 20) // of text in them

// Shared by the ring and by those who are sending it. Counted under events.lock.
struct chunk {
    int refs;
    int64_t from, to; // revisions; -1 = a heartbeat
    // What goes out, by language. Few changes have a sentence in them: then all are the same bytes.
    struct {
        const char *text; // in data; NULL: nobody was there who speaks it
        size_t size;
    } in[KB_LANGUAGES];
    size_t size; // of data
    char data[];
};

struct listener {
    struct events *events;
    struct listener *next, **link; // in events->listeners; link is NULL outside
    int refs;                      // the stream and whoever wakes it
    struct stream *stream;
    enum kb_language language;
    struct chunk *sending; // what is being sent
    size_t sent;
    struct chunk *own; // to be sent next, before the ring
    uint64_t place;    // number of the next chunk of the ring to look at
    int64_t seen;      // revision
    bool lost;
};

struct events {
    struct server *server;
    struct store *store; // of the thread
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    // under lock:
    int refs; // the server and each listener
    bool stopping, asked;
    int n_listeners, n_speakers[KB_LANGUAGES]; // those who greet already count among the speakers
    struct listener *listeners;
    struct chunk *ring[RING];
    uint64_t first, next; // numbers of the oldest chunk and of the one to come
    size_t ring_bytes;
    struct chunk *heartbeat; // the last one
    // of the thread:
    int64_t revision, version;
    bool failing;
};

static void chunk_unref(struct chunk **c)
{
    if (*c && --(*c)->refs == 0)
        free(*c);
    *c = NULL;
}

static struct chunk *chunk_ref(struct chunk *c)
{
    if (c)
        c->refs++;
    return c;
}

static void events_free(struct events *e)
{
    for (; e->first < e->next; e->first++)
        chunk_unref(&e->ring[e->first % RING]);
    chunk_unref(&e->heartbeat);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    store_close(&e->store);
    free(e);
}

static void events_unref(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    bool last = --e->refs == 0;
    pthread_cond_signal(&e->wake); // who waits for the last listener
    pthread_mutex_unlock(&e->lock);
    if (last)
        events_free(e);
}

// --- text

// The JSON is one line; if it ever is not, its line ends are only white space.
static void write_event(struct text *ret, int64_t to, const char *event, struct text *json)
{
    for (size_t i = 0; i < json->size; i++)
        if (json->data[i] == '\n' || json->data[i] == '\r')
            json->data[i] = ' ';
    if (to >= 0)
        text_addf(ret, "id: %lld\n", (long long)to);
    text_addf(ret, "event: %s\ndata: %s\n\n", event, text_get(json));
}

// texts: by language, empty ones are left out.
static struct chunk *chunk_make(int64_t from, int64_t to, const struct text texts[KB_LANGUAGES])
{
    const struct text *source = &texts[KB_LANGUAGE_SOURCE], *other = &texts[KB_LANGUAGE_CATALOGUE];
    bool same = source->size == other->size && source->size > 0 &&
                memcmp(source->data, other->data, source->size) == 0;
    size_t size = source->size + (same ? 0 : other->size);
    struct chunk *c = kb_alloc(sizeof(*c) + size);
    c->refs = 1;
    c->from = from;
    c->to = to;
    c->size = size;
    char *at = c->data;
    for (int i = KB_LANGUAGE_SOURCE; i < KB_LANGUAGES; i++) {
        c->in[i].size = texts[i].size;
        c->in[i].text = same ? c->data : at;
        if (texts[i].size == 0)
            c->in[i].text = NULL;
        else if (!same || at == c->data)
            at = mempcpy(at, texts[i].data, texts[i].size);
    }
    return c;
}

// Only machines of a cluster say sentences in it: without, it is the same in all languages.
static enum kb_code heartbeat_make(struct chunk **ret, struct events *e, struct kb_error *err)
{
    struct text texts[KB_LANGUAGES] = {0};
    enum kb_code code = KB_OK;
    for (int i = KB_LANGUAGE_SOURCE; i < KB_LANGUAGES && code == KB_OK; i++) {
        CLEANUP(text_free) struct text json = {0};
        if (i > KB_LANGUAGE_SOURCE && !e->server->head) {
            text_add(&texts[i], text_get(&texts[KB_LANGUAGE_SOURCE]));
            continue;
        }
        enum kb_language before = kb_language_set_thread((enum kb_language)i);
        code = system_heartbeat_json(e->server, e->store, &json, err);
        kb_language_set_thread(before);
        write_event(&texts[i], -1, "heartbeat", &json);
    }
    if (code == KB_OK)
        *ret = chunk_make(-1, -1, texts);
    for (int i = 0; i < KB_LANGUAGES; i++)
        text_free(&texts[i]);
    return code;
}

// Everything after revision from, for the wanted languages; NULL when that is nothing.
static enum kb_code chunk_of_changes(struct chunk **ret, struct store *s, int64_t from,
                                     const bool wanted[KB_LANGUAGES], struct kb_error *err)
{
    struct text json[KB_LANGUAGES] = {0}, events[KB_LANGUAGES] = {0};
    int64_t to = from;
    enum kb_code code = change_list_json(s, from, wanted, json, &to, err);
    for (int i = 0; i < KB_LANGUAGES; i++) {
        if (wanted[i])
            write_event(&events[i], to, "change", &json[i]);
        text_free(&json[i]);
    }
    if (code == KB_OK)
        *ret = from == to ? NULL : chunk_make(from, to, events);
    for (int i = 0; i < KB_LANGUAGES; i++)
        text_free(&events[i]);
    return code;
}

// Of those who are there.
static void languages_wanted(struct events *e, bool ret[KB_LANGUAGES])
{
    pthread_mutex_lock(&e->lock);
    for (int i = 0; i < KB_LANGUAGES; i++)
        ret[i] = e->n_speakers[i] > 0;
    pthread_mutex_unlock(&e->lock);
}

// --- the ring; under events.lock

static void ring_drop_oldest(struct events *e)
{
    struct chunk **c = &e->ring[e->first % RING];
    e->ring_bytes -= (*c)->size;
    chunk_unref(c);
    e->first++;
}

// Takes the reference of c.
static void ring_add(struct events *e, struct chunk *c)
{
    while (e->first < e->next &&
           (e->next - e->first == RING || e->ring_bytes + c->size > RING_BYTES))
        ring_drop_oldest(e);
    e->ring[e->next % RING] = c;
    e->ring_bytes += c->size;
    e->next++;
}

// What l sends next, a reference; NULL: nothing now.
static struct chunk *listener_next(struct events *e, struct listener *l)
{
    if (l->own)
        return TAKE(l->own);
    if (l->place < e->first)
        l->lost = true;
    while (!l->lost && l->place < e->next) {
        struct chunk *c = e->ring[l->place % RING];
        if (c->to < 0) {
            l->place++;
            return chunk_ref(c);
        }
        if (c->to <= l->seen) {
            l->place++;
            continue;
        }
        if (c->from != l->seen || !c->in[l->language].text) {
            l->lost = true;
            break;
        }
        l->place++;
        l->seen = c->to;
        return chunk_ref(c);
    }
    if (l->lost) {
        e->asked = true;
        pthread_cond_signal(&e->wake);
    }
    return NULL;
}

// --- the thread

// Wake everybody. The references keep listeners alive while the lock is not held.
static void wake_all(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    int n = 0;
    struct listener **all = calloc((size_t)e->n_listeners + 1, sizeof(struct listener *));
    for (struct listener *l = all ? e->listeners : NULL; l; l = l->next) {
        l->refs++;
        all[n++] = l;
    }
    pthread_mutex_unlock(&e->lock);
    for (int i = 0; i < n; i++) {
        if (all[i]->stream)
            stream_wake(all[i]->stream);
        listener_unref(all[i]);
    }
    free(all);
}

static void complain(struct events *e, const struct kb_error *err)
{
    if (!e->failing)
        log_warn(_("the page cannot be told what changes: %s; trying again"), err->text);
    e->failing = true;
}

// A chunk of what has changed since the last one.
static bool publish_changes(struct events *e)
{
    int64_t version = store_data_version(e->store);
    if (version == e->version && !e->failing)
        return false;
    struct kb_error err = {0};
    struct chunk *c = NULL;
    bool wanted[KB_LANGUAGES];
    languages_wanted(e, wanted);
    if (chunk_of_changes(&c, e->store, e->revision, wanted, &err) != KB_OK) {
        complain(e, &err);
        return false;
    }
    e->failing = false;
    e->version = version;
    if (!c)
        return false;
    e->revision = c->to;
    pthread_mutex_lock(&e->lock);
    ring_add(e, c);
    pthread_mutex_unlock(&e->lock);
    return true;
}

// One of those that are lost, with a reference; NULL if there is none.
static struct listener *find_lost(struct events *e, uint64_t *ret_place, int64_t *ret_seen)
{
    pthread_mutex_lock(&e->lock);
    struct listener *l = e->listeners;
    while (l && !(l->lost && !l->own))
        l = l->next;
    if (l) {
        l->refs++;
        *ret_seen = l->seen;
        *ret_place = e->next;
    }
    e->asked = false;
    pthread_mutex_unlock(&e->lock);
    return l;
}

// All who are lost at the same revision and speak the same share one chunk.
static void help_lost(struct events *e)
{
    struct listener *l;
    uint64_t place;
    int64_t seen;
    while ((l = find_lost(e, &place, &seen))) {
        struct kb_error err = {0};
        struct chunk *c = NULL;
        enum kb_language language = l->language;
        bool wanted[KB_LANGUAGES] = {false};
        wanted[language] = true;
        enum kb_code code = chunk_of_changes(&c, e->store, seen, wanted, &err);
        if (code == KB_OK) {
            pthread_mutex_lock(&e->lock);
            for (struct listener *i = e->listeners; i; i = i->next) {
                if (!i->lost || i->own || i->seen != seen || i->language != language)
                    continue;
                i->own = chunk_ref(c);
                i->seen = c ? c->to : seen;
                i->place = place;
                i->lost = false;
            }
            chunk_unref(&c);
            pthread_mutex_unlock(&e->lock);
        }
        listener_unref(l);
        if (code != KB_OK) {
            complain(e, &err);
            break;
        }
    }
}

static void publish_heartbeat(struct events *e)
{
    struct kb_error err = {0};
    struct chunk *c = NULL;
    if (heartbeat_make(&c, e, &err) != KB_OK) {
        complain(e, &err);
        return;
    }
    pthread_mutex_lock(&e->lock);
    chunk_unref(&e->heartbeat);
    e->heartbeat = chunk_ref(c);
    ring_add(e, c);
    pthread_mutex_unlock(&e->lock);
}

// Nobody is there: changes are passed over unwritten. Whoever comes at this moment has a revision
// from before it, so nothing is passed over then.
static void skip_changes(struct events *e)
{
    int64_t version = store_data_version(e->store);
    if (version == e->version)
        return;
    int64_t revision = change_revision(e->store);
    pthread_mutex_lock(&e->lock);
    if (e->refs == 1) {
        e->version = version;
        e->revision = revision;
        chunk_unref(&e->heartbeat);
    }
    pthread_mutex_unlock(&e->lock);
}

// Sleep until the next poll; while the store fails also when somebody asks. False: stop.
static bool rest(struct events *e, bool *ret_listeners, bool *ret_asked)
{
    struct timespec until = deadline_in(POLL_MS);
    pthread_mutex_lock(&e->lock);
    while (!e->stopping && (!e->asked || e->failing))
        if (pthread_cond_timedwait(&e->wake, &e->lock, &until) != 0)
            break;
    bool go_on = !e->stopping;
    *ret_listeners = e->refs > 1;
    *ret_asked = e->asked;
    pthread_mutex_unlock(&e->lock);
    return go_on;
}

static void *broadcast(void *argument)
{
    struct events *e = argument;
    int64_t next_heartbeat_us = 0;
    bool listeners, asked;
    while (rest(e, &listeners, &asked)) {
        if (!listeners) {
            skip_changes(e);
            continue;
        }
        bool news = publish_changes(e);
        if (kb_now_us() >= next_heartbeat_us) {
            next_heartbeat_us = kb_now_us() + HEARTBEAT_US;
            publish_heartbeat(e);
            news = true;
        }
        if (asked)
            help_lost(e);
        if (news || asked)
            wake_all(e);
    }
    return NULL;
}

enum kb_code events_start(struct events **ret, struct server *s, struct kb_error *err)
{
    struct events *e = kb_alloc(sizeof(*e));
    e->server = s;
    e->refs = 1;
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    enum kb_code code = store_open(&e->store, s->params.data, false, err);
    if (code == KB_OK) {
        e->version = store_data_version(e->store);
        e->revision = change_revision(e->store);
        if (pthread_create(&e->thread, NULL, broadcast, e) == 0)
            e->started = true;
        else
            code = kb_fail(err, KB_NO_SPACE, _("cannot start another thread"));
    }
    if (code != KB_OK) {
        events_stop(&e);
        return code;
    }
    *ret = e;
    return KB_OK;
}

// Until the streams have ended; not for those who do not read.
static void await_last(struct events *e)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    pthread_mutex_lock(&e->lock);
    while (e->refs > 1)
        if (pthread_cond_timedwait(&e->wake, &e->lock, &until) != 0)
            break;
    pthread_mutex_unlock(&e->lock);
}

void events_end(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    if (e->started)
        pthread_join(e->thread, NULL);
    e->started = false;
    wake_all(e); // each finds that it is over
    await_last(e);
}

void events_stop(struct events **pointer)
{
    struct events *e = TAKE(*pointer);
    if (!e)
        return;
    events_end(e);
    events_unref(e);
}

int events_listeners(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    int n = e->n_listeners;
    pthread_mutex_unlock(&e->lock);
    return n;
}

// --- listeners

// Before the handler has its answer: position in the ring first, then what has changed since.
struct listener *listener_create(struct events *e, enum kb_language language)
{
    struct listener *l = kb_alloc(sizeof(*l));
    l->events = e;
    l->refs = 1;
    l->language = language;
    pthread_mutex_lock(&e->lock);
    e->refs++;
    e->n_speakers[language]++;
    l->place = e->next;
    pthread_mutex_unlock(&e->lock);
    return l;
}

enum kb_code listener_greet(struct listener *l, struct store *s, int64_t since,
                            struct kb_error *err)
{
    struct events *e = l->events;
    struct chunk *changes = NULL;
    bool wanted[KB_LANGUAGES] = {false};
    enum kb_code code = KB_OK;
    wanted[l->language] = true;
    if (since < 0)
        l->seen = change_revision(s);
    else
        code = chunk_of_changes(&changes, s, since, wanted, err);
    if (code != KB_OK)
        return code;
    if (since >= 0)
        l->seen = changes ? changes->to : since;

    struct text texts[KB_LANGUAGES] = {0}, *t = &texts[l->language];
    text_add(t, "retry: 1000\n\n");
    if (changes)
        text_add_bytes(t, changes->in[l->language].text, changes->in[l->language].size);
    pthread_mutex_lock(&e->lock);
    if (e->heartbeat)
        text_add_bytes(t, e->heartbeat->in[l->language].text, e->heartbeat->in[l->language].size);
    chunk_unref(&changes);
    pthread_mutex_unlock(&e->lock);
    l->own = chunk_make(-1, -1, texts);
    text_free(t);
    return KB_OK;
}

struct stream **listener_stream(struct listener *l)
{
    l->refs++; // the stream's; nobody else knows l yet
    return &l->stream;
}

void listener_join(struct listener *l)
{
    struct events *e = l->events;
    pthread_mutex_lock(&e->lock);
    if (l->refs > 1) { // else the stream is over already
        l->next = e->listeners;
        l->link = &e->listeners;
        if (l->next)
            l->next->link = &l->next;
        e->listeners = l;
        e->n_listeners++;
    }
    pthread_mutex_unlock(&e->lock);
}

void listener_unref(struct listener *l)
{
    struct events *e = l->events;
    pthread_mutex_lock(&e->lock);
    bool last = --l->refs == 0;
    if (last) {
        e->n_speakers[l->language]--;
        chunk_unref(&l->own);
        chunk_unref(&l->sending);
    }
    pthread_mutex_unlock(&e->lock);
    if (!last)
        return;
    if (l->stream)
        stream_unref(&l->stream);
    free(l);
    events_unref(e);
}

void listener_leave(void *ctx)
{
    struct listener *l = ctx;
    struct events *e = l->events;
    pthread_mutex_lock(&e->lock);
    if (l->link) {
        *l->link = l->next;
        if (l->next)
            l->next->link = l->link;
        l->link = NULL;
        e->n_listeners--;
    }
    pthread_mutex_unlock(&e->lock);
    listener_unref(l);
}

int64_t listener_read(void *ctx, char *buffer, size_t max)
{
    struct listener *l = ctx;
    struct events *e = l->events;
    int64_t n = 0;
    pthread_mutex_lock(&e->lock);
    if (l->sending && l->sent == l->sending->in[l->language].size)
        chunk_unref(&l->sending);
    if (!l->sending && !e->stopping) {
        l->sending = listener_next(e, l);
        l->sent = 0;
    }
    // A chunk is sent to its end even when the server stops: half an event would be a lie.
    struct chunk *c = l->sending;
    bool over = !c && e->stopping;
    pthread_mutex_unlock(&e->lock);
    if (over)
        return -1;
    if (c) {
        n = (int64_t)KB_MIN(max, c->in[l->language].size - l->sent);
        memcpy(buffer, c->in[l->language].text + l->sent, (size_t)n);
        l->sent += (size_t)n;
    }
    return n;
}
