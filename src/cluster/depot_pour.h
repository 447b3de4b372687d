// A sink in a thread of its own: while a piece of a file is hashed and written, the next one comes.
// Used by one thread, the sink's aside.
#ifndef CLUSTER_DEPOT_POUR_H
#define CLUSTER_DEPOT_POUR_H

#include "base/text.h"
#include "cluster/depot.h"

struct pour;
// NULL: there is no thread to be had now. The sink speaks the caller's language.
struct pour *pour_begin(depot_sink *sink, void *ctx);
// Hands a piece over, which is empty afterwards, when the one before is through the sink.
// *ret_done: bytes that are through it so far. What the sink failed with before it fails with
// again.
enum kb_code pour_give(struct pour *p, struct text *piece, int64_t *ret_done, struct kb_error *err);
// The same for all that was handed over, and the end of the thread. NULL is fine.
enum kb_code pour_end(struct pour **p, int64_t *ret_done, struct kb_error *err);

#endif
