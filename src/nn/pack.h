// A network as a session needs it, as one file that is mapped and not read: the optimized graph,
// and the weights in the layout, type and order in which the backend wants them. Loading it skips
// reading, rewriting and packing, and processes that map the same file share its memory.
//
// The file is a cache: it is good only for the key it was made with, on the machine that made it,
// and anything that does not fit is made anew.
//
// Neither a writer nor an open pack is thread-safe; several of them, also of one file, are no
// trouble.
#ifndef NN_PACK_H
#define NN_PACK_H

#include "nn/graph.h"

// --- making one ---

struct pack_writer; // pieces in the order in which they will be asked for

struct pack_writer *pack_writer_create(const char *key); // never NULL
void pack_writer_free(struct pack_writer **w);
void pack_put(struct pack_writer *w, const void *data, size_t size);
void pack_put_graph(struct pack_writer *w, const struct graph *g); // without weights
// KB_NO_SPACE also when memory ran out while it was made.
enum kb_code pack_save(struct pack_writer *w, const char *path, struct kb_error *err);

// --- reading ---

struct pack;

// NULL: there is none, it is damaged, was made with another key, or others may write to it.
struct pack *pack_open(const char *path, const char *key);
void pack_close(struct pack **p);
// The next piece, if it has this size: aligned to 64 bytes, read-only, valid until pack_close().
const void *pack_take(struct pack *p, size_t size); // or NULL
// The next piece as a graph; NULL if it is none. Its convolutions have no weights: a session takes
// those from the pack.
struct graph *pack_take_graph(struct pack *p);

#endif
