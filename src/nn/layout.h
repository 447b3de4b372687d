// Where the values of a graph live: which share memory, in which type, and at which place of one
// arena. Independent of the library that computes them. Internal to nn/. Thread-safe (no state).
#ifndef NN_LAYOUT_H
#define NN_LAYOUT_H

#include "nn/graph.h"

struct slot {
    int root;             // value that owns the memory (itself for most)
    int64_t offset;       // elements from the root's start
    int64_t pixel_stride; // elements
    bool is_f32;          // else bf16
    int first, last;      // steps between which the root's memory is in use
    size_t bytes, at;     // of a root in the arena
    void *external;       // the session's buffer, for f32 inputs and outputs
};

// Does this operation only move numbers, so that it can write into a slice of a wider value?
bool layout_is_move(enum op_kind k);

// Fill root, offset, pixel_stride and is_f32 of the graph's n_values zeroed slots.
void layout_choose(struct slot *slots, const struct graph *g, bool bf16);

// Give every root that is used (last >= first) and not external its bytes and place. Returns the
// arena's size.
size_t layout_place(struct slot *slots, const struct graph *g, int batch);

#endif
