// What a batch would take, before it is made.
// Threads: as the store they are given (store/store.h).
#ifndef QUEUE_ESTIMATE_H
#define QUEUE_ESTIMATE_H

#include "queue/batch.h"

struct batch_estimate {
    double seconds; // of the workers there are, once it is its turn; negative: not known
    double bytes;   // of all results; negative: not known
};
// By what jobs done lately took for a second and pixel of output; nothing is guessed before any is
// done. Of p only audio (may be NULL), videos or pairs, and options count. Videos that cannot be
// used are left out; with one that was not looked at yet nothing is known. KB_BAD_INPUT: the
// options.
enum kb_code batch_estimate(struct store *s, const struct batch_params *p,
                            struct batch_estimate *ret, struct kb_error *err);

#endif
