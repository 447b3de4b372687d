// Who looks after long work: a flag that stops it, and somebody who is told how far it is.
// Read by the work from any of its threads; who made it keeps it until the work is over.
#ifndef BASE_WATCH_H
#define BASE_WATCH_H

#include "base/cancel.h"
#include "base/progress.h"

// All-zero: never cancelled, and nobody is told. So is NULL, wherever a struct watch * is taken.
struct watch {
    const struct cancel *cancel;
    progress_fn *progress;
    void *opaque; // of progress
};

static inline void watch_tell(const struct watch *w, enum stage stage, int64_t done, int64_t total)
{
    if (w && w->progress)
        w->progress(w->opaque, &(struct progress){stage, done, total});
}

// For what can be stopped but has nothing to tell.
static inline const struct cancel *watch_cancel(const struct watch *w)
{
    return w ? w->cancel : NULL;
}

// As cancel_check().
static inline enum kb_code watch_check(const struct watch *w, struct kb_error *err)
{
    return cancel_check(watch_cancel(w), err);
}

#endif
