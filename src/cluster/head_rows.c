// Nodes and jobs as the database has them, and what is remembered of them beside it.
#include "cluster/head_parts.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

// The database changes many times a second, its machines seldom do.
#define MATES_US 200000

static int compare_mates(const void *a, const void *b)
{
    return strcmp(((const struct mate *)a)->row.name, ((const struct mate *)b)->row.name);
}

static int compare_held(const void *a, const void *b)
{
    int64_t one = ((const struct held *)a)->r.job, other = ((const struct held *)b)->r.job;
    return (one > other) - (one < other);
}

struct mate *head_mate(struct head *h, const char *name)
{
    struct mate key = {0};
    if (strlen(name) >= sizeof(key.row.name) || h->n_mates == 0)
        return NULL;
    memcpy(key.row.name, name, strlen(name) + 1);
    return bsearch(&key, h->mates, (size_t)h->n_mates, sizeof(key), compare_mates);
}

void head_count_places(struct head *h)
{
    for (int i = 0; i < h->n_mates; i++)
        h->mates[i].busy = h->mates[i].owes = 0;
    for (int i = 0; i < h->n_held; i++) {
        const struct held *held = &h->held[i];
        struct mate *m = held->ended ? NULL : head_mate(h, held->r.node);
        if (m && held->r.state == REMOTE_TAKEN)
            m->busy++;
        else if (m && (held->r.state != REMOTE_HERE || !held->r.sha256[0]))
            m->owes++;
    }
}

bool head_has_place(const struct mate *m)
{
    return m->busy < m->slots && m->owes < 4 * m->slots + HEAD_OWED;
}

struct held *head_held(struct head *h, int64_t job)
{
    struct held key = {.r.job = job};
    struct held *held = NULL;
    if (h->n_held > 0)
        held = bsearch(&key, h->held, (size_t)h->n_held, sizeof(key), compare_held);
    return held && !held->ended ? held : NULL;
}

struct held *head_held_by(struct head *h, const char *node, int64_t job, int64_t lease)
{
    struct held *held = head_held(h, job);
    return held && held->r.lease == lease && strcmp(held->r.node, node) == 0 ? held : NULL;
}

void head_store_failed(struct head *h, const struct kb_error *err)
{
    if (!h->complained)
        log_warn(_("other machines: %s; what they said is kept until then"), err->text);
    h->complained = true;
    h->stale = true;
    h->again_us = kb_now_us() + HEAD_AGAIN_US;
}

// --- nodes

// What is known of it since it was last heard stays, unless it is another one by that name.
static void keep_mate(const struct head *h, struct mate *m, const struct node *row)
{
    const struct mate *old = head_mate((struct head *)h, row->name);
    *m = old && strcmp(old->row.secret, row->secret) == 0 ? *old : (struct mate){0};
    m->row = *row;
}

static enum kb_code read_mates(struct head *h, struct kb_error *err)
{
    CLEANUP(kb_freep) struct node *rows = NULL;
    int n = 0;
    enum kb_code code = node_list(h->store, &rows, &n, err);
    if (code != KB_OK)
        return code;
    struct mate *mates = kb_alloc((size_t)(n + 1) * sizeof(*mates));
    for (int i = 0; i < n; i++)
        keep_mate(h, &mates[i], &rows[i]);
    qsort(mates, (size_t)n, sizeof(*mates), compare_mates);
    free(h->mates);
    h->mates = mates;
    h->n_mates = n;
    return KB_OK;
}

// --- jobs

static void drop_held(struct head *h, struct held *held)
{
    if (h->files)
        files_drop_fetch(h->files, held->r.job);
    needs_free(&held->needs);
}

// What is remembered of this attempt moves to its new place. (What was marked as ended and is still
// there, was not: its transaction failed.)
static void keep_held(struct head *h, struct held *to, const struct remote *row)
{
    struct held key = {.r.job = row->job};
    struct held *old = NULL;
    if (h->n_held > 0)
        old = bsearch(&key, h->held, (size_t)h->n_held, sizeof(key), compare_held);
    if (old && old->r.lease == row->lease) {
        *to = *old;
        to->ended = false;
        old->needs = NULL;
        old->r.lease = -1; // moved
        if (to->r.state != row->state)
            to->since_us = kb_now_us();
    } else {
        *to = (struct held){
            .since_us = kb_now_us(), .heard_clock = h->clock_us, .moved_clock = h->clock_us};
    }
    to->r = *row;
}

static enum kb_code read_held(struct head *h, struct kb_error *err)
{
    CLEANUP(kb_freep) struct remote *rows = NULL;
    int n = 0;
    enum kb_code code = remote_list(h->store, &rows, &n, err);
    if (code != KB_OK)
        return code;
    struct held *held = kb_alloc((size_t)(n + 1) * sizeof(*held));
    for (int i = 0; i < n; i++)
        keep_held(h, &held[i], &rows[i]);
    for (int i = 0; i < h->n_held; i++)
        if (h->held[i].r.lease != -1)
            drop_held(h, &h->held[i]);
    free(h->held);
    h->held = held;
    h->n_held = n;
    return KB_OK;
}

bool head_refresh(struct head *h)
{
    struct kb_error err = {0};
    enum kb_code code = KB_OK;
    int64_t version = store_data_version(h->store), now = kb_now_us();
    if (version != h->version)
        h->stale = h->stale_mates = h->look = true;
    h->version = version;
    bool mates = h->stale_mates && now - h->mates_us >= MATES_US;
    if (!h->stale && !mates)
        return true;
    if (mates)
        code = read_mates(h, &err);
    if (code == KB_OK && mates) {
        h->mates_us = now;
        h->stale_mates = false;
    }
    if (code == KB_OK && h->stale)
        code = read_held(h, &err);
    if (code != KB_OK)
        head_store_failed(h, &err);
    else
        h->stale = h->complained = false;
    return code == KB_OK;
}

void head_refresh_mates(struct head *h)
{
    if (h->mates_us >= h->turn_us)
        return;
    h->stale_mates = true;
    h->mates_us = 0;
    head_refresh(h);
}

void head_forget_rows(struct head *h)
{
    for (int i = 0; i < h->n_held; i++)
        needs_free(&h->held[i].needs);
    free(h->held);
    free(h->mates);
    h->held = NULL;
    h->mates = NULL;
    h->n_held = h->n_mates = 0;
}
