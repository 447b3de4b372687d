// A flag that asks long work to stop. Thread- and signal-safe.
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include "base/base.h"

#include <stdatomic.h>

// All-zero is "not cancelled". NULL means "never" everywhere a struct cancel * is taken.
struct cancel {
    atomic_bool requested;
    const struct cancel *parent; // its request counts too; may be NULL
};

static inline void cancel_request(struct cancel *c)
{
    atomic_store(&c->requested, true);
}

static inline bool cancel_requested(const struct cancel *c)
{
    for (; c; c = c->parent)
        if (atomic_load(&c->requested))
            return true;
    return false;
}

// KB_OK, or KB_CANCELLED with its sentence.
static inline enum kb_code cancel_check(const struct cancel *c, struct kb_error *err)
{
    return cancel_requested(c) ? kb_fail(err, KB_CANCELLED, _("cancelled")) : KB_OK;
}

#endif
