// koubo restore: take results that this database never named back into its history.
// Threads: as the store they are given (store/store.h).
#ifndef RESTORE_RESTORE_H
#define RESTORE_RESTORE_H

#include "base/cancel.h"
#include "store/lost.h"

struct restore_params {
    bool dry_run;
    const char *lang; // "zh" or "en": of the batch's own name
    const struct cancel *cancel;
};

// Called for each file below results/: the name it has in the page, and in which batch; or with
// name NULL and the sentence why it stays where it is.
typedef void restore_fn(void *opaque, const char *file, const char *name, const char *batch,
                        const char *why);

struct restore_report {
    int n_taken, n_refused;
    struct lost lost; // that is left
};

// A server may run; each result is one transaction. Files without koubo's note are taken in under
// their own name into a batch "Restored results". From a process with one thread (peek.h).
enum kb_code restore_run(struct store *s, const struct restore_params *p, restore_fn *each,
                         void *opaque, struct restore_report *ret, struct kb_error *err);

#endif
