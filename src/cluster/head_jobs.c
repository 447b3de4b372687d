// Jobs on offer and in the hands of machines: how many are offered, and when one is taken away
// again.
#include "cluster/head_parts.h"

#include "base/beneath.h"
#include "base/log.h"
#include "store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AWAY_US   5000000 // a machine that was not heard for so long gets no offers
#define CANCEL_US 5000000 // between two of the same
#define CLAIMS    64      // of a turn
#define MISSING   3       // beats
#define COMES     8       // times as long a file may not come as a job may stand still
#define CANCELLED 15      // in this part of that a machine says that it ended what was cancelled

// --- ends

// Written down, so whoever has it is told, and its offer goes.
static void end(struct head *h, struct held *held, enum answer_kind kind)
{
    struct answer a = {
        .kind = held->r.node[0] ? kind : ANSWER_NONE, .job = held->r.job, .lease = held->r.lease};
    memcpy(a.node, held->r.node, sizeof(a.node));
    memcpy(a.sha256, held->r.sha256, sizeof(a.sha256));
    if (held->r.state == REMOTE_OFFERED)
        memcpy(a.entry, held->r.entry, sizeof(a.entry));
    head_answer(h, &a);
    held->ended = true;
    h->look = h->has_ended = true;
}

// False: the database cannot be asked now. That the job is not theirs any more is fine.
static bool ended(struct head *h, struct held *held, enum answer_kind kind, enum kb_code code,
                  const struct kb_error *err)
{
    if (code == KB_OK || code == KB_NOT_FOUND) {
        end(h, held, kind);
        return true;
    }
    head_store_failed(h, err);
    return false;
}

static bool give_back(struct head *h, struct held *held)
{
    struct kb_error err = {0};
    return ended(h, held, ANSWER_LOST, remote_back(h->store, &held->r, &err), &err);
}

static bool lose(struct head *h, struct held *held, const char *reason)
{
    struct kb_error err = {0};
    enum kb_code code = remote_lost(h->store, &held->r, reason, &err);
    if (code == KB_OK)
        log_warn(_("job %lld: %s (%s)"), (long long)held->r.job, _(reason), held->r.node);
    return ended(h, held, ANSWER_LOST, code, &err);
}

static bool cancel(struct head *h, struct held *held)
{
    struct kb_error err = {0}, why = {0};
    kb_fail(&why, KB_CANCELLED, _("cancelled"));
    return ended(h, held, ANSWER_LOST, remote_failed(h->store, &held->r, &why, &err), &err);
}

// --- results

// An S3 depot: the file is brought in by threads. False: the database cannot be asked now.
static bool bring_in(struct head *h, struct held *held)
{
    struct kb_error err = {0};
    // That it comes is only in our memory, until there is an asset for it.
    if (!h->files || held->r.state < REMOTE_MADE || held->r.state > REMOTE_COMING ||
        !held->wanted || !held->r.sha256[0])
        return true;
    enum kb_code code = files_fetch(h->files, held, &err);
    if (code == KB_EOF)
        return true;
    held->wanted = false;
    h->stale = true;
    if (code != KB_BAD_INPUT && code != KB_NOT_FOUND)
        return true; // it is there; or not now, and the machine says again that it is
    if (++held->sends >= HEAD_SENDS)
        return lose(h, held, N_("the file that the machine sent is not the one that it told of"));
    struct answer a = {.kind = ANSWER_AGAIN, .job = held->r.job, .lease = held->r.lease};
    a.why = code == KB_NOT_FOUND ? N_("the file is not in the depot")
                                 : N_("the file in the depot is not the one that was told");
    memcpy(a.node, held->r.node, sizeof(a.node));
    head_answer(h, &a);
    return true;
}

// --- looking after

static bool look_after_offer(struct head *h, struct held *held)
{
    if (held->r.cancel)
        return cancel(h, held);
    // Redis may have lost the offer, or its machine went before it told that it has read it.
    if (held->r.paused || (held->offered && kb_now_us() - held->since_us > h->silent_us / 3))
        return give_back(h, held);
    return true;
}

// A file of it came to its machine as another one, again and again. Where ours is sound it counts
// as an attempt: else it would go back and forth for ever between machines that cannot get it.
static bool look_at_bad(struct head *h, struct held *held)
{
    struct kb_error err = {0};
    bool later = false;
    enum kb_code code = head_end_damaged(h, held, &later, &err);
    if (later)
        return true;
    for (int i = 0; code == KB_EOF && held->needs && h->files && i < HEAD_NEEDS; i++)
        if (strcmp(held->needs[i].sha256, held->bad) == 0)
            files_send_anew(h->files, &held->needs[i]); // the store's is damaged
    if (code == KB_EOF)
        return lose(h, held, N_("a file of the job came damaged to the machine"));
    return ended(h, held, ANSWER_OVER, code, &err);
}

// For so long nothing of it was further than before. Of a file that comes only its bytes count, not
// what the machine says; and they are looked at only when it has been long.
static bool stands_still(struct head *h, struct held *held)
{
    int64_t still_us = h->clock_us - held->moved_clock;
    if (held->r.state == REMOTE_TAKEN)
        return still_us > h->still_us;
    if (still_us <= COMES * h->still_us)
        return false;
    CLEANUP(kb_freep) char *part = kb_printf("uploads/%s.part", held->r.asset);
    int64_t came = held->r.asset[0] ? beneath_size(h->store->folder, part) : -1;
    if (came <= held->came)
        return true;
    held->came = came;
    held->moved_clock = h->clock_us;
    return false;
}

static bool look_after_job(struct head *h, struct held *held)
{
    int64_t now = kb_now_us();
    if (!head_mate(h, held->r.node))
        return give_back(h, held); // it was removed
    if (held->bad[0])
        return look_at_bad(h, held);
    // Nobody is needed for it any more, if what it is was told of: over HTTP the bytes come first.
    if (held->r.state == REMOTE_HERE && held->r.sha256[0])
        return true;
    if (held->missing >= MISSING)
        return lose(h, held, N_("the machine was started anew and does not have the job any more"));
    if (h->clock_us - held->heard_clock > h->silent_us)
        return lose(h, held, N_("the machine gave no sign of life"));
    if (held->asked_clock && h->clock_us - held->asked_clock > h->still_us / CANCELLED)
        return cancel(h, held); // it does not answer
    if (stands_still(h, held))
        return lose(h, held,
                    held->r.state == REMOTE_TAKEN
                        ? N_("the machine made no progress")
                        : N_("the machine made it, and its file did not come"));
    if (held->r.cancel && now - held->cancel_us > CANCEL_US) {
        if (!held->asked_clock)
            held->asked_clock = h->clock_us;
        struct answer a = {.kind = ANSWER_CANCEL, .job = held->r.job, .lease = held->r.lease};
        memcpy(a.node, held->r.node, sizeof(a.node));
        head_answer(h, &a);
        held->cancel_us = now;
    }
    return bring_in(h, held);
}

void head_look_after(struct head *h)
{
    for (int i = 0; i < h->n_mates; i++) {
        struct mate *m = &h->mates[i];
        if (m->here && h->clock_us - m->heard_clock > KB_MAX(AWAY_US, h->silent_us)) {
            log_warn(_("machine %s was not heard for %lld s"), m->row.name,
                     (long long)((h->clock_us - m->heard_clock) / 1000000));
            m->here = false;
            m->told = MATE_UNTOLD;
        }
    }
    bool on = kb_now_us() >= h->again_us;
    for (int i = 0; i < h->n_held && on; i++) {
        struct held *held = &h->held[i];
        if (!held->ended)
            on = held->r.state == REMOTE_OFFERED ? look_after_offer(h, held)
                                                 : look_after_job(h, held);
    }
}

// --- offers

static int free_places(struct head *h)
{
    int64_t now = kb_now_us();
    int n = 0;
    head_count_places(h);
    for (int i = 0; i < h->n_held; i++)
        n -= !h->held[i].ended && h->held[i].r.state == REMOTE_OFFERED;
    for (int i = 0; i < h->n_mates; i++) {
        const struct mate *m = &h->mates[i];
        if (m->here && !m->refused && !m->row.draining && !m->leaves && now >= m->off_us &&
            h->clock_us - m->heard_clock <= AWAY_US && head_has_place(m))
            n += m->slots - m->busy;
    }
    return n;
}

static void claim(struct head *h)
{
    int n = KB_MIN(free_places(h), CLAIMS), got = 0;
    int64_t now = kb_now_us();
    if (n <= 0 || now < h->pause_us || (!h->look && now - h->looked_us < HEAD_LOOK_US))
        return;
    struct job_claim claims[CLAIMS];
    memset(claims, 0, sizeof(claims));
    struct kb_error err = {0};
    store_set_durable(h->store, false); // what is lost of it was not told to anybody
    enum kb_code code = remote_claim(h->store, h->min_free_bytes, claims, n, &got, &err);
    store_set_durable(h->store, true);
    for (int i = 0; i < got; i++)
        job_claim_free(&claims[i]);
    h->looked_us = now;
    h->look = code == KB_OK && got == n; // there may be more
    h->stale = h->stale || got > 0;
    if (code != KB_OK && code != KB_EOF)
        head_store_failed(h, &err);
}

// Is all that its machine will need in the depot? KB_EOF: on its way. Where it cannot be, the job
// is anybody's again.
static enum kb_code is_ready(struct head *h, struct held *held)
{
    struct kb_error err = {0};
    enum kb_code code = KB_OK;
    if (!h->files)
        return KB_OK;
    if (!held->needs)
        code = head_needs(h, held, &err);
    if (code == KB_EOF)
        return KB_EOF;
    if (code == KB_NOT_FOUND) {
        held->ended = true;
        return KB_EOF;
    }
    if (code != KB_OK) {
        head_store_failed(h, &err);
        return KB_EOF;
    }
    for (int i = 0; i < HEAD_NEEDS; i++) {
        enum kb_code one =
            held->needs[i].sha256[0] ? files_send(h->files, &held->needs[i], &err) : KB_OK;
        if (one != KB_OK && (code == KB_OK || one != KB_EOF))
            code = one;
    }
    if (code == KB_INTERNAL) { // nor the depot's fault
        log_warn(_("job %lld ended: %s"), (long long)held->r.job, err.text);
        ended(h, held, ANSWER_LOST, remote_crashed(h->store, &held->r, &err, &err), &err);
        return KB_EOF;
    }
    if (code != KB_OK && code != KB_EOF) {
        log_warn(_("the depot: %s; jobs wait for it or are done here"), err.text);
        h->pause_us = kb_now_us() + h->pause_for_us;
        give_back(h, held);
        return KB_EOF;
    }
    return code;
}

// The entries of those that were put into the stream, in one transaction.
static void write_entries(struct head *h, struct held **offered, int n)
{
    struct kb_error err = {0};
    store_set_durable(h->store, false);
    enum kb_code code = store_begin(h->store, &err);
    if (code == KB_OK) {
        for (int i = 0; i < n && code == KB_OK; i++)
            code = remote_offered(h->store, offered[i]->r.job, offered[i]->r.lease,
                                  offered[i]->r.entry, &err);
        code = store_end(h->store, code, &err);
    }
    store_set_durable(h->store, true);
    if (code != KB_OK) // who takes one is known by its lease; the entry stays until the next start
        head_store_failed(h, &err);
}

static void put_into_stream(struct head *h)
{
    struct held *offered[CLAIMS];
    int n = 0;
    bool on = h->listens;
    for (int i = 0; i < h->n_held && n < CLAIMS && on; i++) {
        struct held *held = &h->held[i];
        if (held->ended || held->r.state != REMOTE_OFFERED || held->offered ||
            is_ready(h, held) != KB_OK)
            continue;
        on = wire_offer(h->redis, held->r.job, held->r.lease, held->r.entry, NULL) == KB_OK;
        if (!on)
            break;
        held->offered = true;
        held->since_us = kb_now_us();
        offered[n++] = held;
    }
    if (n > 0)
        write_entries(h, offered, n);
}

void head_offer(struct head *h)
{
    if (!h->listens || kb_now_us() < h->again_us || !head_refresh(h))
        return;
    claim(h);
    if (head_refresh(h))
        put_into_stream(h);
}

void head_offer_anew(struct head *h)
{
    for (int i = 0; i < h->n_held; i++) {
        h->held[i].offered = false;
        h->held[i].r.entry[0] = '\0';
    }
}
