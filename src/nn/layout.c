#include "nn/layout.h"

#include "nn/quantize.h"

#include <stdlib.h>

bool layout_is_move(enum op_kind k)
{
    return k == OP_INTERLEAVE || k == OP_PAD;
}

// In bf16 the outputs of the network stay f32, and so do the values on the way to them that only
// one movement or activation separates from the convolution that makes them.
static void choose_types(struct slot *slots, const struct graph *g, enum slot_type wide)
{
    for (int v = 0; v < g->n_values; v++)
        slots[v].type = wide;
    if (wide == SLOT_F32)
        return;
    for (int i = 0; i < g->n_outputs; i++)
        slots[g->outputs[i]].type = SLOT_F32;
    for (int i = g->n_ops - 1; i >= 0; i--) {
        const struct op *op = &g->ops[i];
        if (slots[op->out].type != SLOT_F32)
            continue;
        int producer = graph_producer(g, op->in[0]), uses = graph_uses(g, op->in[0]);
        bool carries = op->kind == OP_ACTIVATION || op->kind == OP_RESHAPE;
        if (carries && producer >= 0 && uses == 1)
            slots[op->in[0]].type = SLOT_F32;
        else if (op->kind != OP_CONV || op->residual >= 0)
            slots[op->out].type = SLOT_BF16; // converted when it is copied out
    }
    // A value that lost its f32 in the middle takes the chain behind it along.
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->kind != OP_CONV && slots[op->out].type == SLOT_F32 &&
            slots[op->in[0]].type != SLOT_F32)
            slots[op->out].type = SLOT_BF16;
    }
}

// Values that share another's memory: reshapes, and slices of a channel concatenation.
static void choose_roots(struct slot *slots, const struct graph *g)
{
    for (int v = 0; v < g->n_values; v++) {
        slots[v].value = v;
        slots[v].root = v;
        slots[v].pixel_stride = g->values[v].c;
    }
    for (int i = 0; i < g->n_ops; i++)
        if (g->ops[i].kind == OP_RESHAPE)
            slots[g->ops[i].out].root = slots[g->ops[i].in[0]].root;

    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->kind != OP_CONCAT || op->axis != 'c')
            continue;
        int64_t offset = 0;
        for (int k = 0; k < op->n_in; k++) {
            int v = op->in[k], uses = graph_uses(g, v), producer = graph_producer(g, v);
            if (producer >= 0 && uses == 1 && layout_is_move(g->ops[producer].kind) &&
                g->ops[producer].kind != OP_PAD && slots[v].root == v) {
                slots[v].root = op->out;
                slots[v].offset = offset;
                slots[v].pixel_stride = g->values[op->out].c;
            }
            offset += g->values[v].c;
        }
    }
}

void layout_choose(struct slot *slots, const struct graph *g, enum slot_type wide,
                   const struct ranges *ranges)
{
    choose_types(slots, g, wide);
    if (ranges)
        quantize_choose(slots, g, ranges);
    choose_roots(slots, g);
}

struct slot layout_extra(const struct graph *g, int value, int index, enum slot_type type)
{
    return (struct slot){
        .value = value, .root = index, .pixel_stride = g->values[value].c, .type = type};
}

int slot_elem_size(enum slot_type t)
{
    return t == SLOT_F32 ? 4 : t == SLOT_BF16 ? 2 : 1;
}

// First fit: every root gets the lowest place that no root alive at the same time covers.
size_t layout_place(struct slot *slots, int n_slots, const struct graph *g, int batch)
{
    int *order = kb_alloc((size_t)n_slots * sizeof(*order));
    int n = 0;
    size_t arena_bytes = 0;
    for (int v = 0; v < n_slots; v++) {
        struct slot *s = &slots[v];
        if (s->root != v || s->external || s->last < 0)
            continue;
        const struct value *x = &g->values[s->value];
        s->bytes = ((size_t)batch * (size_t)x->h * (size_t)x->w * (size_t)x->c *
                        (size_t)slot_elem_size(s->type) +
                    63) &
                   ~(size_t)63;
        s->at = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (int i = 0; i < n; i++) {
                const struct slot *o = &slots[order[i]];
                bool together = o->first <= s->last && s->first <= o->last;
                if (together && o->at < s->at + s->bytes && s->at < o->at + o->bytes) {
                    s->at = o->at + o->bytes;
                    moved = true;
                }
            }
        }
        order[n++] = v;
        arena_bytes = KB_MAX(arena_bytes, s->at + s->bytes);
    }
    free(order);
    return arena_bytes;
}
