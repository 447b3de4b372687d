// How long a connection waits while another one writes, or while another program holds the
// database.
//
// A connection waits up to 5 s for each lock. Who must not, as other people's answers stand behind
// his, shares a struct patience with those like him: between two renewals each of them waits at
// most budget_ms in all, however many statements he runs. When one has waited in vain and nobody
// came in meanwhile, the database is locked, and that is known to all of them: they try once and do
// not wait, until one comes in again. So a lock that lasts costs one budget in all, not one for
// each request.
//
// Threads: a struct patience is shared, a store is not (store/store.h).
#ifndef STORE_PATIENCE_H
#define STORE_PATIENCE_H

#include "store/store.h"

#include <stdatomic.h>

struct patience {
    int budget_ms;
    // --- any thread
    atomic_llong entered;   // how often somebody came in
    atomic_llong locked_ms; // when somebody last waited in vain (CLOCK_MONOTONIC); 0: came in since
};

// p is borrowed and outlives s; renewed at once. NULL: 5 s for each lock, as at the beginning.
void store_set_patience(struct store *s, struct patience *p);
// A new request begins.
void store_renew_patience(struct store *s);
// Has somebody found the database locked in the last seconds, and nobody come in since?
bool patience_is_locked(struct patience *p);

#endif
