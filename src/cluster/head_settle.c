// Results that were looked at get their places, and their jobs are done. Where results/ is another
// disk each is copied, which may take minutes: that does a thread with a database of its own, while
// the head goes on.
#include "cluster/head_parts.h"

#include "base/log.h"
#include "store/sql.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SETTLED 100      // in a transaction
#define SAY_US  60000000 // between two lines about results that must wait

struct settler {
    pthread_t thread;
    struct store *store;
    const char *data; // the head's, as is cancel
    const struct cancel *cancel;
    pthread_mutex_t lock;
    // --- under lock
    struct remote_end *ends; // that nobody was told of yet
    int n_ends, room;
    bool is_over;
    enum kb_code code; // of its end: KB_EOF if there is none left
    struct kb_error err;
};

// --- what has ended is told

static void tell_end(struct head *h, const struct remote_end *e)
{
    if (!e->good)
        log_warn(_("job %lld: what machine %s made cannot be used: %s"), (long long)e->job, e->node,
                 e->why.text);
    struct held *held = head_held(h, e->job);
    struct answer a = {.kind = ANSWER_OVER, .job = e->job, .lease = e->lease};
    memcpy(a.node, e->node, sizeof(a.node));
    memcpy(a.sha256, e->sha256, sizeof(a.sha256));
    if (held && held->r.lease == e->lease)
        held->ended = true;
    head_answer(h, &a);
    h->look = h->has_ended = true;
}

// Only results wait: their disk may be another one, and all else goes on.
static void wait_with_results(struct head *h, const struct kb_error *err)
{
    int64_t now = kb_now_us();
    if (!h->settle_said_us || now - h->settle_said_us >= SAY_US) {
        log_warn(_("results of other machines wait: %s"), err->text);
        h->settle_said_us = now;
    }
    h->settle_us = now + HEAD_AGAIN_US;
    h->stale = true;
}

// --- on one disk: many with one write to it

static enum kb_code settle_one(struct head *h, struct kb_error *err)
{
    struct remote_end e = {0};
    enum kb_code code = remote_settle(h->store, &e, err);
    if (code == KB_OK)
        tell_end(h, &e);
    return code;
}

// KB_EOF: there are no more.
static enum kb_code settle_some(struct head *h, struct kb_error *err)
{
    int n_answers = h->n_answers;
    enum kb_code code = store_begin(h->store, err);
    if (code != KB_OK)
        return code;
    for (int i = 0; i < SETTLED && code == KB_OK; i++)
        code = settle_one(h, err);
    bool none = code == KB_EOF;
    code = store_end(h->store, none ? KB_OK : code, err);
    if (code != KB_OK) {
        h->n_answers = n_answers;
        h->stale = true;
    }
    return code == KB_OK && none ? KB_EOF : code;
}

static enum kb_code settle_all(struct head *h, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    while (code == KB_OK)
        code = settle_some(h, err);
    if (code == KB_UNAVAILABLE || code == KB_NO_SPACE)
        return code;
    // What all that ended left goes with the last call; and one that spoils a transaction is for
    // itself.
    for (code = KB_OK; code == KB_OK;)
        code = settle_one(h, err);
    return code;
}

// --- on another disk: a copy each, with nobody waiting for it

static void *settler_run(void *opaque)
{
    struct settler *s = opaque;
    struct kb_error err = {0};
    enum kb_code code = store_open(&s->store, s->data, false, &err);
    while (code == KB_OK && !cancel_requested(s->cancel)) {
        struct remote_end e = {0};
        code = remote_settle(s->store, &e, &err);
        if (code != KB_OK)
            break;
        pthread_mutex_lock(&s->lock);
        if (s->n_ends == s->room) {
            s->room = KB_MAX(16, 2 * s->room);
            s->ends = realloc(s->ends, (size_t)s->room * sizeof(*s->ends));
            if (!s->ends)
                abort(); // memory is out
        }
        s->ends[s->n_ends++] = e;
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_lock(&s->lock);
    s->is_over = true;
    s->code = code == KB_OK ? KB_EOF : code; // broken off
    s->err = err;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void settler_free(struct settler *s)
{
    store_close(&s->store);
    pthread_mutex_destroy(&s->lock);
    free(s->ends);
    free(s);
}

void head_settler_stop(struct head *h)
{
    struct settler *s = TAKE(h->settler);
    if (!s)
        return;
    pthread_join(s->thread, NULL);
    settler_free(s);
}

static enum kb_code settler_start(struct head *h, struct kb_error *err)
{
    struct settler *s = kb_alloc(sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->data = h->data;
    s->cancel = &h->cancel;
    if (pthread_create(&s->thread, NULL, settler_run, s) != 0) {
        settler_free(s);
        return kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
    }
    h->settler = s;
    return KB_EOF;
}

// What it has done since; KB_EOF: no failure.
static enum kb_code hear_settler(struct head *h, struct kb_error *err)
{
    struct settler *s = h->settler;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->n_ends; i++)
        tell_end(h, &s->ends[i]);
    s->n_ends = 0;
    bool is_over = s->is_over;
    enum kb_code code = is_over ? s->code : KB_EOF;
    *err = s->err;
    pthread_mutex_unlock(&s->lock);
    if (is_over)
        head_settler_stop(h);
    return code;
}

// Where a result gets a second name nothing is copied.
static bool is_one_disk(const struct head *h)
{
    CLEANUP(kb_freep) char *files = store_path(h->store, "files", "");
    CLEANUP(kb_freep) char *results = store_path(h->store, "results", "");
    struct stat a, b;
    return stat(files, &a) == 0 && stat(results, &b) == 0 && a.st_dev == b.st_dev;
}

void head_settle(struct head *h)
{
    bool any = false, arrived = false;
    struct kb_error err = {0};
    enum kb_code code = KB_EOF;
    if (h->settler)
        code = hear_settler(h, &err);
    for (int i = 0; i < h->n_held && !any; i++)
        any = !h->held[i].ended && h->held[i].r.state == REMOTE_HERE;
    if (code == KB_EOF && any && !h->settler && kb_now_us() >= h->settle_us) {
        code = remote_arrived(h->store, &arrived, &err);
        if (code == KB_OK && !arrived)
            code = KB_EOF;
        else if (code == KB_OK)
            code = is_one_disk(h) ? settle_all(h, &err) : settler_start(h, &err);
    }
    if (code != KB_EOF)
        wait_with_results(h, &err);
}
