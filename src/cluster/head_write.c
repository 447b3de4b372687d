// What machines said goes into the database, all of a turn in one transaction; what answers it has
// is said after that.
#include "cluster/head_parts.h"

#include "base/log.h"
#include "base/sentence.h"
#include "store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_US    900000  // how often the row of a node is written
#define MOST_LOST 50      // answers of a turn to one machine
#define OFF_US    5000000 // a machine that gave a job back

// It is not theirs. Whoever names many such jobs need not hear of each at once.
static void answer_lost(struct head *h, const struct said *s)
{
    struct mate *mate = head_mate(h, s->node);
    struct answer a = {.kind = ANSWER_LOST, .job = s->job, .lease = s->lease};
    memcpy(a.node, s->node, sizeof(a.node));
    if (mate && mate->n_lost++ < MOST_LOST)
        head_answer(h, &a);
}

// It ended, however: what of it lies in the depot may go.
static void answer_over(struct head *h, const struct said *s, const struct held *held)
{
    struct answer a = {.kind = ANSWER_OVER, .job = s->job, .lease = s->lease};
    memcpy(a.node, s->node, sizeof(a.node));
    memcpy(a.sha256, held->r.sha256, sizeof(a.sha256));
    head_answer(h, &a);
}

// May that machine have one more? One that takes more than it has places for is kept to them, and
// so is one that says of all that it has made it and sends nothing.
static bool may_take(struct head *h, const struct mate *mate)
{
    head_count_places(h);
    return !mate->refused && !mate->row.draining && head_has_place(mate);
}

static enum kb_code write_taken(struct head *h, struct mate *mate, const struct said *s,
                                struct kb_error *err)
{
    struct held *held = head_held(h, s->job);
    struct answer a = {.kind = ANSWER_GO, .job = s->job, .lease = s->lease};
    memcpy(a.node, s->node, sizeof(a.node));
    if (!held || held->r.lease != s->lease ||
        (held->r.node[0] && strcmp(held->r.node, s->node) != 0)) {
        answer_lost(h, s);
        return KB_OK;
    }
    if (held->r.state > REMOTE_TAKEN || !mate->version[0])
        return KB_OK; // it was far ahead already; or it will say so again, when it has told of
                      // itself
    if (held->r.state == REMOTE_TAKEN) {
        head_answer(h, &a);
        return KB_OK;
    }
    memcpy(a.entry, held->r.entry, sizeof(a.entry));
    enum kb_code code;
    if (may_take(h, mate) && !held->r.cancel && !held->r.paused) {
        code = remote_taken(h->store, s->job, s->lease, s->node, err);
        if (code != KB_OK)
            return code;
        held->r.state = REMOTE_TAKEN;
        snprintf(held->r.node, sizeof(held->r.node), "%s", s->node);
        memcpy(held->boot, mate->boot, sizeof(held->boot));
        held->heard_clock = held->moved_clock = h->clock_us;
        held->since_us = kb_now_us();
    } else {
        code = remote_back(h->store, &held->r, err);
        if (code != KB_OK)
            return code;
        held->ended = true;
        a.kind = ANSWER_LOST;
        h->look = true;
    }
    head_answer(h, &a);
    return KB_OK;
}

static enum kb_code write_made(struct head *h, const struct said *s, struct held *held,
                               struct kb_error *err)
{
    if (held->r.state != REMOTE_TAKEN)
        return KB_OK;
    enum kb_code code = remote_made(h->store, s->job, s->lease, s->node, err);
    if (code != KB_OK)
        return code;
    held->r.state = REMOTE_MADE;
    held->moved_clock = h->clock_us;
    return KB_OK;
}

static enum kb_code write_done(struct head *h, const struct said *s, struct held *held,
                               struct kb_error *err)
{
    bool same = held->r.size == s->size && strcmp(held->r.sha256, s->sha256) == 0;
    held->wanted = held->r.state != REMOTE_HERE; // over HTTP it may have come by now
    if (held->r.state >= REMOTE_COMING && same)
        return KB_OK;
    enum kb_code code =
        remote_result(h->store, s->job, s->lease, s->node, s->sha256, s->size, &s->result, err);
    if (code != KB_OK)
        return code;
    held->r.state = KB_MAX(held->r.state, REMOTE_COMING);
    held->moved_clock = h->clock_us;
    held->r.size = s->size;
    memcpy(held->r.sha256, s->sha256, sizeof(held->r.sha256));
    return KB_OK;
}

// A file came to it as another one. What becomes of the job is seen when ours has been looked at,
// which takes too long here; until then it says so again.
static enum kb_code write_bad(struct mate *mate, const struct said *s, struct held *held)
{
    mate->off_us = kb_now_us() + OFF_US;
    memcpy(held->bad, s->bad, sizeof(held->bad));
    return KB_OK;
}

static enum kb_code end_job(struct head *h, const struct said *s, const struct held *held,
                            bool back, bool broke, struct kb_error *err)
{
    if (back)
        return remote_back(h->store, &held->r, err);
    return broke ? remote_crashed(h->store, &held->r, &s->why, err)
                 : remote_failed(h->store, &held->r, &s->why, err);
}

// Cancelled without being asked to is given back. What broke there, another machine tries: this one
// may be at fault.
static enum kb_code write_end(struct head *h, struct mate *mate, const struct said *s,
                              struct held *held, struct kb_error *err)
{
    bool back = s->kind == SAID_BACK || (s->why.code == KB_CANCELLED && !held->r.cancel);
    bool broke = !back && s->why.code == KB_INTERNAL && !held->r.cancel;
    enum kb_code code = end_job(h, s, held, back, broke, err);
    if (code != KB_OK)
        return code;
    if (back || broke)
        mate->off_us = kb_now_us() + OFF_US;
    if (back) {
        for (int i = 0; held->needs && h->files && i < HEAD_NEEDS; i++)
            files_doubt(h->files, held->needs[i].sha256);
    }
    answer_over(h, s, held);
    held->ended = h->has_ended = true;
    h->look = true;
    return KB_OK;
}

static enum kb_code write_reports(struct head *h, struct mate *mate, const struct said *s,
                                  struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; i < s->n_reports && code == KB_OK; i++) {
        const struct held *held = head_held(h, s->reports[i].job);
        struct said taken = {.job = s->reports[i].job, .lease = s->reports[i].lease};
        memcpy(taken.node, s->node, sizeof(taken.node));
        if (held && held->r.state == REMOTE_OFFERED && held->r.lease == taken.lease)
            code = write_taken(h, mate, &taken, err); // what it said of that was lost
    }
    if (code == KB_OK && s->n_reports > 0)
        code = remote_report(h->store, s->node, s->reports, s->n_reports, err);
    for (int i = 0; i < s->n_reports && code == KB_OK; i++) {
        const struct remote_report *r = &s->reports[i];
        struct said of = {.job = r->job, .lease = r->lease};
        memcpy(of.node, s->node, sizeof(of.node));
        if (r->lost)
            answer_lost(h, &of);
    }
    return code;
}

static enum kb_code write_beat(struct head *h, struct mate *mate, const struct said *s,
                               struct kb_error *err)
{
    if (!s->is_last)
        return KB_OK;
    int64_t now = kb_now_us();
    CLEANUP(kb_freep) char *refused = NULL;
    if (mate->refused) {
        struct kb_error why;
        head_refusal(mate, &why);
        refused = sentence_of(&why);
    }
    if (now - mate->row_us >= ROW_US || mate->row.slots != s->slots) {
        enum kb_code code = node_heard(h->store, s->node, s->slots, s->facts, refused, err);
        if (code != KB_OK)
            return code;
        mate->row_us = now;
        mate->row.slots = s->slots;
    }
    return write_reports(h, mate, s, err);
}

static enum kb_code write_one(struct head *h, const struct said *s, struct kb_error *err)
{
    struct mate *mate = head_mate(h, s->node);
    if (!mate) // removed since
        return KB_OK;
    if (s->kind == SAID_BEAT)
        return write_beat(h, mate, s, err);
    if (s->kind == SAID_TAKEN)
        return write_taken(h, mate, s, err);
    struct held *held = head_held_by(h, s->node, s->job, s->lease);
    if (!held) {
        answer_lost(h, s);
        return KB_OK;
    }
    if (s->kind == SAID_MADE)
        return write_made(h, s, held, err);
    if (s->kind == SAID_BACK && s->bad[0] && held->r.state == REMOTE_TAKEN)
        return write_bad(mate, s, held);
    return s->kind == SAID_DONE ? write_done(h, s, held, err) : write_end(h, mate, s, held, err);
}

// In one transaction, which survives a power cut if a machine forgets something after it.
static enum kb_code write_some(struct head *h, int from, int to, struct kb_error *err)
{
    int n_answers = h->n_answers;
    bool durable = false;
    for (int i = from; i < to; i++)
        durable = durable || h->said[i].kind == SAID_FAILED || h->said[i].kind == SAID_BACK;
    store_set_durable(h->store, durable);
    enum kb_code code = store_begin(h->store, err);
    bool begun = code == KB_OK;
    for (int i = from; i < to && code == KB_OK; i++)
        code = write_one(h, &h->said[i], err);
    if (begun)
        code = store_end(h->store, code, err);
    store_set_durable(h->store, true);
    if (code != KB_OK) {
        h->n_answers = n_answers;
        h->stale = true; // what was changed here only
    }
    return code;
}

static void drop_said(struct head *h, int n)
{
    for (int i = 0; i < n; i++)
        said_free(&h->said[i]);
    h->n_said -= n;
    memmove(h->said, h->said + n, (size_t)h->n_said * sizeof(*h->said));
}

// One of them cannot be written: each for itself. What is nobody's business is told so.
static void write_each(struct head *h)
{
    int n = 0;
    for (; n < h->n_said; n++) {
        struct kb_error err = {0};
        if (!head_refresh(h))
            break;
        enum kb_code code = write_some(h, n, n + 1, &err);
        if (code == KB_UNAVAILABLE || code == KB_NO_SPACE) {
            head_store_failed(h, &err);
            break;
        }
        if (code == KB_NOT_FOUND && h->said[n].kind != SAID_BEAT)
            answer_lost(h, &h->said[n]);
        else if (code != KB_OK)
            log_error("%s", err.text);
    }
    drop_said(h, n);
}

void head_write(struct head *h)
{
    struct kb_error err = {0};
    if (h->n_said == 0 || kb_now_us() < h->again_us)
        return;
    for (int i = 0; i < h->n_mates; i++)
        h->mates[i].n_lost = 0;
    enum kb_code code = write_some(h, 0, h->n_said, &err);
    if (code == KB_OK) {
        drop_said(h, h->n_said);
    } else if (code == KB_UNAVAILABLE || code == KB_NO_SPACE) {
        head_store_failed(h, &err);
    } else {
        write_each(h);
    }
}
