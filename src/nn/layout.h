// Where the values of a graph live: which share memory, in which type, and at which place of one
// arena. Independent of the library that computes them. Internal to nn/. Thread-safe (no state).
#ifndef NN_LAYOUT_H
#define NN_LAYOUT_H

#include "nn/graph.h"
#include "nn/ranges.h"

enum slot_type { SLOT_F32, SLOT_BF16, SLOT_U8 };

struct slot {
    int value;            // whose shape it has; of the first n_values slots the same as their index
    int root;             // value that owns the memory (itself for most)
    int64_t offset;       // elements from the root's start
    int64_t pixel_stride; // elements
    enum slot_type type;
    float scale;        // SLOT_U8: real value of 1; SLOT_U8 of a concatenation: 0, its parts differ
    int first, last;    // steps between which the root's memory is in use
    size_t bytes, at;   // of a root in the arena
    void *external;     // the session's buffer, for f32 inputs and outputs
    bool written_apart; // one of an interleaving's four, and it lies in what that makes already
};

int slot_elem_size(enum slot_type t);

// Does this operation only move numbers, so that it can write into a slice of a wider value?
bool layout_is_move(enum op_kind k);

// Fill value, root, offset, pixel_stride and type of the graph's n_values zeroed slots. wide: f32
// or bf16. ranges not NULL: u8 where that can be, wide elsewhere (quantize.h).
void layout_choose(struct slot *slots, const struct graph *g, enum slot_type wide,
                   const struct ranges *ranges);

// A slot beside those of the values, of the shape of a value, dense, with memory of its own.
struct slot layout_extra(const struct graph *g, int value, int index, enum slot_type type);

// Give every root that is used (last >= first) and not external its bytes and place. Returns the
// arena's size.
size_t layout_place(struct slot *slots, int n_slots, const struct graph *g, int batch);

#endif
