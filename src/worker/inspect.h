// What a worker does with --inspect: looks at what users gave, and speaks texts.
// Threads: as the store it is given (store/store.h).
#ifndef WORKER_INSPECT_H
#define WORKER_INSPECT_H

#include "base/cancel.h"
#include "store/store.h"

// Called in a loop; looks at one asset. KB_EOF: there is none. Errors of one asset are stored with
// it and are not returned. cancel: this asset takes too long; its parent: leave it to another
// inspector (KB_CANCELLED).
struct face_models;
enum kb_code inspect_next(struct store *s, const char *worker, struct face_models *faces,
                          const struct cancel *cancel, struct kb_error *err);

#endif
