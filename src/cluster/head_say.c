// What the head says: answers once what they tell of is written, and orders. What cannot be said
// now is not kept: a machine says again what was not answered.
#include "cluster/head_parts.h"

#include "base/log.h"
#include "base/sentence.h"

#include <stdlib.h>
#include <string.h>

#define STATE_US 10000000 // between two of the same

void head_answer(struct head *h, const struct answer *a)
{
    if (h->n_answers == h->room_for_answers) {
        h->room_for_answers = KB_MAX(64, 2 * h->room_for_answers);
        h->answers = realloc(h->answers, (size_t)h->room_for_answers * sizeof(*h->answers));
        if (!h->answers)
            abort(); // memory is out
    }
    h->answers[h->n_answers++] = *a;
}

// False: Redis is gone.
static bool order(struct head *h, const char *node, json_t *body)
{
    const struct mate *mate = head_mate(h, node);
    if (!mate || !body) {
        json_decref(body);
        return true;
    }
    struct kb_error err = {0};
    enum kb_code code = wire_order(h->redis, node, mate->row.secret, body, &err);
    if (code != KB_OK && code != KB_UNAVAILABLE)
        log_warn("%s", err.text);
    return code != KB_UNAVAILABLE;
}

static json_t *plain(const char *is, const struct answer *a)
{
    return json_pack("{s:s, s:I, s:I}", "is", is, "job", (json_int_t)a->job, "lease",
                     (json_int_t)a->lease);
}

static json_t *again(const struct answer *a)
{
    CLEANUP(kb_freep) char *why = sentence_keep(_(a->why));
    return json_pack("{s:s, s:I, s:I, s:s}", "is", "again", "job", (json_int_t)a->job, "lease",
                     (json_int_t)a->lease, "why", why);
}

// To begin; or, where a file of the job is gone, that it is lost.
static json_t *go(struct head *h, const struct answer *a)
{
    const struct held *held = head_held_by(h, a->node, a->job, a->lease);
    struct kb_error err = {0};
    json_t *body = NULL;
    if (!held)
        return plain("lost", a);
    enum kb_code code = head_go(h, held, &body, &err);
    if (code == KB_OK)
        return body;
    if (code == KB_NOT_FOUND)
        return plain("lost", a);
    if (code == KB_EOF) // it is asked for again, and known then
        return NULL;
    head_store_failed(h, &err); // it is asked for again
    return NULL;
}

static json_t *body_of(struct head *h, const struct answer *a)
{
    switch (a->kind) {
    case ANSWER_GO:
        return go(h, a);
    case ANSWER_CANCEL:
        return plain("cancel", a);
    case ANSWER_LOST:
        return plain("lost", a);
    case ANSWER_AGAIN:
        return again(a);
    case ANSWER_OVER:
        return plain("over", a);
    case ANSWER_NONE:
        break;
    }
    return NULL;
}

void head_say(struct head *h)
{
    if (h->n_answers == 0)
        return;
    head_refresh(h);
    bool on = h->listens;
    for (int i = 0; i < h->n_answers; i++) {
        const struct answer *a = &h->answers[i];
        if (a->sha256[0] && h->files)
            files_remove(h->files, a->sha256);
        if (on && a->entry[0])
            on = wire_withdraw(h->redis, a->entry, NULL) != KB_UNAVAILABLE;
        if (on && a->node[0])
            on = order(h, a->node, body_of(h, a));
    }
    h->n_answers = 0;
}

void head_refusal(const struct mate *m, struct kb_error *ret)
{
    *ret = (struct kb_error){0};
    kb_fail(ret, KB_BAD_INPUT,
            _("this machine runs koubo %s and the main one koubo %s: install the same version on "
              "both"),
            m->version, KOUBO_VERSION);
}

void head_say_states(struct head *h)
{
    static const char *const names[] = {"", "active", "draining", "refused"};
    int64_t now = kb_now_us();
    bool on = h->listens;
    for (int i = 0; i < h->n_mates && on; i++) {
        struct mate *m = &h->mates[i];
        enum mate_state state = m->refused        ? MATE_REFUSED
                                : m->row.draining ? MATE_DRAINING
                                                  : MATE_ACTIVE;
        if (!m->here || !m->version[0] || (m->told == state && now - m->told_us < STATE_US))
            continue;
        CLEANUP(kb_freep) char *why = NULL;
        if (m->refused) {
            struct kb_error refusal;
            head_refusal(m, &refusal);
            why = sentence_of(&refusal);
        }
        on = order(h, m->row.name,
                   json_pack("{s:s, s:s, s:s*}", "is", "state", "state", names[state], "why", why));
        if (on) {
            m->told = state;
            m->told_us = now;
        }
    }
}
