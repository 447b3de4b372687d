// Files on their way to and from an S3 depot: a list of errands, and threads that run them, each
// with a depot and a database of its own. The head asks what became of one again and again; it is
// there until that was told.
#include "cluster/depot.h"
#include "cluster/head_parts.h"

#include "asset/upload.h"
#include "base/deadline.h"
#include "base/log.h"
#include "base/text.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SENDERS      2
#define FETCHERS     2
#define MOVERS       (SENDERS + FETCHERS + 1) // and one that removes and tidies
#define TRUST_US     (600 * 1000000LL) // a content that was in the depot is not looked for again
#define TIDY_US      1000000 // between two clean-ups where something ended: as it is to be kept
#define TIDY_MOST_US (600 * 1000000LL)
#define CALM_US      (3600 * 1000000LL)
#define YOUNG_MS     600000   // a result that is not told of yet
#define PART_MS      86400000 // an upload in parts that nobody goes on with
#define WAIT_MS      1000
#define REMOVED      64  // objects of one clean-up that are taken out before it lists anew
#define ROUNDS       100 // so often at most: a store may go on listing what was removed
#define NAME_BYTES   1100

enum errand_kind { ERRAND_SEND, ERRAND_REMOVE, ERRAND_TIDY, ERRAND_FETCH };
enum errand_state { ERRAND_WAITS, ERRAND_RUNS, ERRAND_ENDED };
struct errand {
    enum errand_kind kind;
    enum errand_state state;
    bool dropped; // nobody asks any more: it goes when it has ended
    char sha256[65];
    char *path;        // to send
    bool anew;         // also if it seems to be there
    struct remote r;   // to fetch
    enum kb_code code; // of its end
    struct kb_error err;
    int64_t since_us; // of its end
    struct errand *next;
};

enum mover_does { MOVER_SENDS, MOVER_FETCHES, MOVER_TIDIES };
struct mover {
    struct files *files;
    enum mover_does does;
    pthread_t thread;
    struct store *store;
    struct depot *depot;
};

struct files {
    struct head *head; // its parameters, which do not change
    struct cancel cancel;
    struct mover movers[MOVERS];
    int n_movers;
    int64_t tidied_us; // the head's thread alone

    pthread_mutex_t lock;
    pthread_cond_t woken;
    // --- under lock
    bool untidy; // something ended, or was not removed, since the last clean-up
    struct errand *first;
    // While there is something to tidy, as of the head's latest turn:
    bool young_may_go;  // no machine may be sending anything
    char (*spared)[65]; // models that are needed
    int n_spared;
    bool failed;
    struct kb_error error;
};

static void errand_free(struct errand *e)
{
    free(e->path);
    free(e);
}

// --- the list, under lock

static struct errand *find(struct files *f, enum errand_kind kind, const char *sha256, int64_t job)
{
    struct errand *e = f->first;
    while (e && (e->dropped || e->kind != kind || (sha256 && strcmp(e->sha256, sha256) != 0) ||
                 e->r.job != job))
        e = e->next;
    return e;
}

static struct errand *add(struct files *f, enum errand_kind kind, const char *sha256)
{
    struct errand *e = kb_alloc(sizeof(*e));
    e->kind = kind;
    snprintf(e->sha256, sizeof(e->sha256), "%s", sha256);
    struct errand **at = &f->first;
    while (*at)
        at = &(*at)->next;
    *at = e;
    pthread_cond_broadcast(&f->woken);
    return e;
}

static void take_out(struct files *f, struct errand *e)
{
    struct errand **at = &f->first;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    errand_free(e);
}

// What is under way goes when it has ended.
static void drop(struct files *f, struct errand *e)
{
    if (e->state == ERRAND_RUNS)
        e->dropped = true;
    else
        take_out(f, e);
}

// Contents that are known to be there, for a while only: somebody may have removed them.
static void forget_old(struct files *f)
{
    int64_t now = kb_now_us();
    for (struct errand *e = f->first, *next; e; e = next) {
        next = e->next;
        if (e->kind == ERRAND_SEND && e->state == ERRAND_ENDED && now - e->since_us > TRUST_US)
            take_out(f, e);
    }
}

// --- what the head asks

enum kb_code files_send(struct files *f, const struct need *n, struct kb_error *err)
{
    enum kb_code code = KB_EOF;
    pthread_mutex_lock(&f->lock);
    struct errand *e = find(f, ERRAND_SEND, n->sha256, 0);
    if (!e) {
        e = add(f, ERRAND_SEND, n->sha256);
        e->path = kb_strdup(n->path);
    } else if (e->state == ERRAND_ENDED) {
        code = e->code;
        if (code != KB_OK) {
            *err = e->err;
            take_out(f, e);
        }
    }
    pthread_mutex_unlock(&f->lock);
    return code;
}

void files_doubt(struct files *f, const char *sha256)
{
    pthread_mutex_lock(&f->lock);
    struct errand *e = *sha256 ? find(f, ERRAND_SEND, sha256, 0) : NULL;
    if (e && e->state == ERRAND_ENDED)
        take_out(f, e);
    pthread_mutex_unlock(&f->lock);
}

void files_send_anew(struct files *f, const struct need *n)
{
    pthread_mutex_lock(&f->lock);
    struct errand *e = find(f, ERRAND_SEND, n->sha256, 0);
    if (e && e->state == ERRAND_ENDED) {
        take_out(f, e);
        e = NULL;
    }
    if (!e) {
        e = add(f, ERRAND_SEND, n->sha256);
        e->path = kb_strdup(n->path);
        e->anew = true;
    }
    pthread_mutex_unlock(&f->lock);
}

enum kb_code files_fetch(struct files *f, const struct held *held, struct kb_error *err)
{
    enum kb_code code = KB_EOF;
    pthread_mutex_lock(&f->lock);
    struct errand *e = find(f, ERRAND_FETCH, held->r.sha256, held->r.job);
    if (!e) {
        e = add(f, ERRAND_FETCH, held->r.sha256);
        e->r = held->r;
    } else if (e->state == ERRAND_ENDED) {
        code = e->code == KB_EOF ? KB_OK : e->code;
        *err = e->err;
        take_out(f, e);
    }
    pthread_mutex_unlock(&f->lock);
    return code;
}

void files_drop_fetch(struct files *f, int64_t job)
{
    pthread_mutex_lock(&f->lock);
    struct errand *e;
    while ((e = find(f, ERRAND_FETCH, NULL, job)))
        drop(f, e);
    pthread_mutex_unlock(&f->lock);
}

void files_remove(struct files *f, const char *sha256)
{
    pthread_mutex_lock(&f->lock);
    if (!find(f, ERRAND_REMOVE, sha256, 0))
        add(f, ERRAND_REMOVE, sha256);
    pthread_mutex_unlock(&f->lock);
}

// What may go is looked at when it goes: minutes may lie between an errand and its end.
static void note_needs(struct files *f, const struct head *h)
{
    free(f->spared);
    f->spared = kb_alloc((size_t)(h->n_held + 1) * sizeof(*f->spared));
    f->n_spared = 0;
    f->young_may_go = true;
    for (int i = 0; i < h->n_held; i++) {
        const struct held *held = &h->held[i];
        if (held->r.state <= REMOTE_MADE)
            f->young_may_go = false;
        if (held->needs && held->needs[HEAD_NEEDS - 1].sha256[0])
            memcpy(f->spared[f->n_spared++], held->needs[HEAD_NEEDS - 1].sha256, 65);
    }
}

// Called in each turn of the head; what one that is under way may have passed is for the next one.
void files_tidy(struct files *f, const struct head *h, bool ended)
{
    int64_t now = kb_now_us();
    int64_t pause_us = KB_MAX(TIDY_US, KB_MIN(h->depot_keep_ms * 100, TIDY_MOST_US)); // a tenth
    pthread_mutex_lock(&f->lock);
    f->untidy = f->untidy || ended;
    bool due = !f->tidied_us || now - f->tidied_us >= (f->untidy ? pause_us : CALM_US);
    bool any = find(f, ERRAND_TIDY, NULL, 0);
    if (due && !any) {
        f->tidied_us = now;
        f->untidy = false;
        forget_old(f);
        add(f, ERRAND_TIDY, "");
    }
    if (due || any)
        note_needs(f, h);
    pthread_mutex_unlock(&f->lock);
}

bool files_error(struct files *f, struct kb_error *ret)
{
    pthread_mutex_lock(&f->lock);
    bool failed = f->failed;
    if (failed)
        *ret = f->error;
    pthread_mutex_unlock(&f->lock);
    return failed;
}

// --- sending

// KB_INTERNAL: the file here cannot be read, of which the depot knows nothing.
static enum kb_code send_file(struct mover *m, const struct errand *e, struct kb_error *err)
{
    struct stat st;
    int64_t there = -1;
    int fd = open(e->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int number = errno;
        if (fd >= 0)
            close(fd);
        return kb_fail(err, KB_INTERNAL, _("cannot open '%s': %s"), e->path, kb_strerror(number));
    }
    enum kb_code code = e->anew ? KB_OK : depot_find(m->depot, e->sha256, &there, err);
    if (code == KB_OK && there != st.st_size)
        code = depot_put(
            m->depot, &(struct depot_put){.sha256 = e->sha256, .fd = fd, .size = st.st_size}, err);
    close(fd);
    return code;
}

// --- fetching

static enum kb_code sink(void *ctx, const void *data, size_t n, struct kb_error *err)
{
    return asset_upload_write(ctx, data, n, err);
}

static bool has_room(const struct mover *m, int64_t size)
{
    struct statvfs disk;
    int64_t low = m->files->head->min_free_bytes;
    return statvfs(m->store->folder, &disk) != 0 || // then writing will tell
           (double)disk.f_bavail * (double)disk.f_frsize >= (double)size + (double)low;
}

// A depot that refuses us is not the machine's fault.
static enum kb_code get(struct mover *m, const struct remote *r, struct asset_upload *u, int64_t at,
                        struct kb_error *err)
{
    if (!has_room(m, r->size - at))
        return kb_fail(err, KB_NO_SPACE,
                       _("no space left on the server's disk; delete old results or files and try "
                         "again"));
    enum kb_code code = depot_get(m->depot, r->sha256, r->size, at, sink, u, &at, err);
    return code == KB_BAD_INPUT ? KB_UNAVAILABLE : code;
}

// Into the asset of the job; what has come of it before stays.
static enum kb_code fetch_file(struct mover *m, const struct errand *e, struct kb_error *err)
{
    char asset[33];
    struct asset_upload *u = NULL;
    const struct remote *r = &e->r;
    enum kb_code code = remote_asset(m->store, r->job, r->lease, r->node, asset, err);
    if (code == KB_NOT_FOUND) // it ended
        return KB_OK;
    if (code == KB_OK)
        code = asset_upload_open(&u, m->store, asset, err);
    if (code != KB_OK)
        return code == KB_BAD_INPUT ? KB_OK : code; // it is whole already
    asset_upload_expect(u, r->sha256);
    int64_t at = asset_upload_offset(u);
    if (at > r->size) {
        at = 0;
        code = asset_upload_truncate(u, 0, err);
    }
    if (code == KB_OK && at < r->size)
        code = get(m, r, u, at, err);
    bool whole = code == KB_OK;
    struct kb_error why = {0};
    enum kb_code closed = asset_upload_close(&u, m->store, whole, NULL, &why);
    if (whole && closed != KB_OK)
        *err = why;
    return whole ? closed : code;
}

// --- tidying

// What the depot has and nobody needs; 64 digits each.
struct stock {
    char (*needed)[65];
    int n_needed;
    struct files *files;
    bool young_stay;
    int64_t now_ms, keep_ms;
    char old[REMOVED][NAME_BYTES];
    int n_old;
};

static int compare_names(const void *a, const void *b)
{
    return strncmp(a, b, 64);
}

// A model of a job, or it is just being looked for.
static bool is_spared(struct files *f, const char *sha256)
{
    pthread_mutex_lock(&f->lock);
    const struct errand *e = find(f, ERRAND_SEND, sha256, 0);
    bool spared = e && e->state != ERRAND_ENDED;
    for (int i = 0; i < f->n_spared && !spared; i++)
        spared = strcmp(sha256, f->spared[i]) == 0;
    pthread_mutex_unlock(&f->lock);
    return spared;
}

// sha256: 64 digits, whatever is behind them.
static bool is_needed(const struct stock *s, const char *sha256)
{
    return is_spared(s->files, sha256) ||
           (s->n_needed > 0 &&
            bsearch(sha256, s->needed, (size_t)s->n_needed, sizeof(*s->needed), compare_names));
}

static bool young_may_go(struct files *f)
{
    pthread_mutex_lock(&f->lock);
    bool may = f->young_may_go;
    pthread_mutex_unlock(&f->lock);
    return may;
}

static enum kb_code ask_needed(struct mover *m, struct stock *s, struct kb_error *err)
{
    kb_freep(&s->needed);
    s->n_needed = 0;
    return remote_contents(m->store, &s->needed, &s->n_needed, err);
}

// "in/SHA256" or "out/SHA256", and of what is only begun "?ID".
static const char *hash_in(const char *name)
{
    return strchr(name, '/') + 1;
}

static void look_at_object(void *ctx, const char *name, int64_t size, int64_t modified_ms,
                           bool part)
{
    struct stock *s = ctx;
    int64_t keep = s->young_stay ? KB_MAX(s->keep_ms, part ? PART_MS : YOUNG_MS) : s->keep_ms;
    if (s->now_ms - modified_ms >= keep && s->n_old < REMOVED && strlen(name) < NAME_BYTES &&
        (part || !is_needed(s, hash_in(name))))
        snprintf(s->old[s->n_old++], NAME_BYTES, "%s", name);
}

// What became needed since it was listed stays.
static enum kb_code remove_old(struct mover *m, struct stock *s, struct kb_error *err)
{
    enum kb_code code = ask_needed(m, s, err);
    for (int i = 0; i < s->n_old && code == KB_OK; i++) {
        const char *hash = hash_in(s->old[i]);
        bool part = strlen(hash) != 64;
        if (!s->young_stay && !young_may_go(m->files)) // somebody may be sending this one
            return KB_EOF;
        if (!part && is_needed(s, hash))
            continue;
        if (!part && text_begins(s->old[i], "in/")) // who sends it next looks for it again
            files_doubt(m->files, hash);
        code = depot_remove(m->depot, s->old[i], err);
    }
    return code;
}

static enum kb_code tidy_once(struct mover *m, struct stock *s, int64_t ahead_ms,
                              struct kb_error *err)
{
    s->n_old = 0;
    s->young_stay = !young_may_go(m->files);
    s->now_ms = kb_wall_ms() + ahead_ms; // as the depot sees it
    enum kb_code code = ask_needed(m, s, err);
    if (code == KB_OK)
        code = depot_list(m->depot, look_at_object, s, err);
    return code == KB_OK && s->n_old > 0 ? remove_old(m, s, err) : code;
}

static enum kb_code tidy(struct mover *m, struct kb_error *err)
{
    struct stock *s = kb_alloc(sizeof(*s));
    int64_t ms, ahead_ms = 0;
    enum kb_code code = depot_try(m->depot, &ms, &ahead_ms, err);
    s->files = m->files;
    s->keep_ms = m->files->head->depot_keep_ms;
    bool more = true;
    for (int i = 0; code == KB_OK && more && i < ROUNDS; i++) {
        code = tidy_once(m, s, ahead_ms, err);
        more = s->n_old == REMOVED;
    }
    if (code == KB_EOF || (code == KB_OK && more)) { // the next one goes on, and soon
        pthread_mutex_lock(&m->files->lock);
        m->files->untidy = true;
        pthread_mutex_unlock(&m->files->lock);
        code = KB_OK;
    }
    free(s->needed);
    free(s);
    return code;
}

// A result that is in its place; another job's that is still to come may have the same bytes.
static enum kb_code remove_result(struct mover *m, const struct errand *e, struct kb_error *err)
{
    bool needed = false;
    CLEANUP(kb_freep) char *name = kb_printf("out/%s", e->sha256);
    enum kb_code code = remote_needs(m->store, e->sha256, &needed, err);
    if (code == KB_OK && !needed)
        code = depot_remove(m->depot, name, err);
    return code == KB_NOT_FOUND ? KB_OK : code;
}

// --- the threads

static enum kb_code run(struct mover *m, struct errand *e, struct kb_error *err)
{
    switch (e->kind) {
    case ERRAND_SEND:
        return send_file(m, e, err);
    case ERRAND_REMOVE:
        return remove_result(m, e, err);
    case ERRAND_TIDY:
        return tidy(m, err);
    case ERRAND_FETCH:
        break;
    }
    return fetch_file(m, e, err);
}

static enum mover_does who_does(enum errand_kind kind)
{
    if (kind == ERRAND_FETCH)
        return MOVER_FETCHES;
    return kind == ERRAND_SEND ? MOVER_SENDS : MOVER_TIDIES;
}

static struct errand *next_errand(struct mover *m)
{
    struct errand *e = m->files->first;
    while (e && (e->state != ERRAND_WAITS || who_does(e->kind) != m->does))
        e = e->next;
    return e;
}

// The depot itself failed, or did not.
static void note_health(struct files *f, enum kb_code code, const struct kb_error *err)
{
    if (code == KB_CANCELLED || code == KB_NOT_FOUND)
        return;
    f->failed = code != KB_OK;
    if (f->failed)
        f->error = *err;
}

static void end_errand(struct files *f, struct errand *e, enum kb_code code,
                       const struct kb_error *err)
{
    // Of a fetch only the depot's failures count; a file that is another one is a machine's. Nor is
    // it the depot's that a file here cannot be read.
    if (e->kind == ERRAND_FETCH ? code == KB_OK || code == KB_UNAVAILABLE : code != KB_INTERNAL)
        note_health(f, code, err);
    if (code != KB_OK && (e->kind == ERRAND_REMOVE || e->kind == ERRAND_TIDY)) {
        log_verbose("the depot: %s", err->text);
        f->untidy = true; // the next clean-up does it, and soon
    }
    e->state = ERRAND_ENDED;
    e->code = code;
    e->err = *err;
    e->since_us = kb_now_us();
    if (e->dropped || e->kind == ERRAND_REMOVE || e->kind == ERRAND_TIDY)
        take_out(f, e);
}

static void *mover_run(void *opaque)
{
    struct mover *m = opaque;
    struct files *f = m->files;
    pthread_mutex_lock(&f->lock);
    while (!cancel_requested(&f->cancel)) {
        struct errand *e = next_errand(m);
        struct timespec until = deadline_in(WAIT_MS);
        if (!e) {
            pthread_cond_timedwait(&f->woken, &f->lock, &until);
            continue;
        }
        e->state = ERRAND_RUNS;
        pthread_mutex_unlock(&f->lock);
        struct kb_error err = {0};
        enum kb_code code = run(m, e, &err);
        pthread_mutex_lock(&f->lock);
        end_errand(f, e, code, &err);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static enum kb_code mover_start(struct files *f, enum mover_does does, struct kb_error *err)
{
    struct mover *m = &f->movers[f->n_movers];
    const struct head *h = f->head;
    struct depot_params p = {
        .address = h->depot, .credentials = h->credentials, .cancel = &f->cancel};
    m->files = f;
    m->does = does;
    enum kb_code code = store_open(&m->store, h->data, false, err);
    if (code == KB_OK)
        code = depot_open(&m->depot, &p, err);
    if (code == KB_OK && pthread_create(&m->thread, NULL, mover_run, m) != 0)
        code = kb_fail(err, KB_NO_SPACE, "%s", _("cannot start a thread"));
    if (code == KB_OK) {
        f->n_movers++;
        return KB_OK;
    }
    depot_close(&m->depot);
    store_close(&m->store);
    return code;
}

enum kb_code files_start(struct files **ret, struct head *h, struct kb_error *err)
{
    struct files *f = kb_alloc(sizeof(*f));
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->woken, &monotonic);
    pthread_condattr_destroy(&monotonic);
    f->head = h;
    enum kb_code code = KB_OK;
    for (int i = 0; i < MOVERS && code == KB_OK; i++)
        code = mover_start(f,
                           i < SENDERS              ? MOVER_SENDS
                           : i < SENDERS + FETCHERS ? MOVER_FETCHES
                                                    : MOVER_TIDIES,
                           err);
    *ret = f;
    if (code != KB_OK)
        files_stop(ret);
    return code;
}

void files_stop(struct files **files)
{
    struct files *f = TAKE(*files);
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    cancel_request(&f->cancel);
    pthread_cond_broadcast(&f->woken);
    pthread_mutex_unlock(&f->lock);
    for (int i = 0; i < f->n_movers; i++) {
        struct mover *m = &f->movers[i];
        pthread_join(m->thread, NULL);
        depot_close(&m->depot);
        store_close(&m->store);
    }
    while (f->first)
        take_out(f, f->first);
    free(f->spared);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->woken);
    free(f);
}
