#include "nn/quantize.h"

#include <math.h>
#include <stdlib.h>

// Operations that copy u8 numbers and leave channels their scale, or keep whole channels together.
static bool copies(const struct op *op)
{
    return op->kind == OP_INTERLEAVE || (op->kind == OP_CONCAT && op->axis == 'c');
}

static bool reads_u8(const struct op *op)
{
    return copies(op) || (op->kind == OP_CONV && op->groups == 1);
}

static bool widen(struct slot *slots, int value, enum slot_type wide)
{
    bool was = slots[value].type == SLOT_U8;
    if (was)
        slots[value].type = wide;
    return was;
}

// One round of taking u8 away from values whose neighbours do not fit; false when nothing changed.
static bool settle(struct slot *slots, const struct graph *g, enum slot_type wide)
{
    bool changed = false;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        bool all = slots[op->out].type == SLOT_U8;
        if (copies(op)) {
            for (int k = 0; k < op->n_in; k++)
                all = all && slots[op->in[k]].type == SLOT_U8;
            if (all)
                continue;
            for (int k = 0; k < op->n_in; k++)
                changed |= widen(slots, op->in[k], wide);
            changed |= widen(slots, op->out, wide);
        } else if (op->kind == OP_CONV && op->residual >= 0) {
            // The sum is made in place, so both have one type; and a wide convolution sums wide.
            all = all && slots[op->residual].type == SLOT_U8 && slots[op->in[0]].type == SLOT_U8;
            if (all)
                continue;
            changed |= widen(slots, op->residual, wide);
            changed |= widen(slots, op->out, wide);
        }
    }
    return changed;
}

// The convolution that makes the picture reads a wide value: its error goes to the eye unchanged.
static void spare_last(struct slot *slots, const struct graph *g, enum slot_type wide)
{
    for (int i = 0; i < g->n_outputs; i++) {
        int v = g->outputs[i], p;
        while ((p = graph_producer(g, v)) >= 0) {
            v = g->ops[p].in[0];
            if (g->ops[p].kind == OP_CONV)
                break;
        }
        if (p >= 0)
            widen(slots, v, wide);
    }
}

void quantize_choose(struct slot *slots, const struct graph *g, const struct ranges *ranges)
{
    enum slot_type wide = SLOT_F32;
    for (int v = 0; v < g->n_values; v++)
        wide = slots[v].type == SLOT_BF16 ? SLOT_BF16 : wide;

    for (int i = 0; i < g->n_inputs; i++)
        if (ranges->limits[g->inputs[i]] > 0)
            slots[g->inputs[i]].type = SLOT_U8;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        bool positive = op->act == ACT_RELU || op->act == ACT_RELU6;
        if (copies(op) || (op->kind == OP_CONV && positive && ranges->limits[op->out] > 0))
            slots[op->out].type = SLOT_U8;
    }
    for (int i = 0; i < g->n_ops; i++)
        for (int k = 0; k < g->ops[i].n_in && !reads_u8(&g->ops[i]); k++)
            widen(slots, g->ops[i].in[k], wide);
    for (int i = 0; i < g->n_outputs; i++)
        if (slots[g->outputs[i]].type == SLOT_U8)
            slots[g->outputs[i]].type = SLOT_F32;
    spare_last(slots, g, wide);
    while (settle(slots, g, wide))
        ;

    for (int v = 0; v < g->n_values; v++)
        slots[v].scale = slots[v].type == SLOT_U8 ? ranges->limits[v] / 255 : 0;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (slots[op->out].type != SLOT_U8 || op->kind == OP_CONV)
            continue;
        float largest = 0;
        for (int k = 0; k < op->n_in; k++)
            largest = fmaxf(largest, slots[op->in[k]].scale);
        // The phases of a transposed convolution become one picture: one scale for all of them.
        for (int k = 0; k < op->n_in && op->kind == OP_INTERLEAVE; k++)
            slots[op->in[k]].scale = largest;
        slots[op->out].scale = op->kind == OP_CONCAT ? 0 : largest;
    }
}

void quantize_scales(const struct slot *slots, const struct graph *g, int value, float *ret)
{
    int p = graph_producer(g, value), c = g->values[value].c;
    const struct op *op = p >= 0 ? &g->ops[p] : NULL;
    if (slots[value].scale > 0 || !op) {
        for (int i = 0; i < c; i++)
            ret[i] = slots[value].scale;
    } else if (op->kind == OP_CONCAT) {
        for (int k = 0; k < op->n_in; k++) {
            quantize_scales(slots, g, op->in[k], ret);
            ret += g->values[op->in[k]].c;
        }
    } else { // a copy of a concatenation
        quantize_scales(slots, g, op->in[0], ret);
    }
}

// The largest weight of n channels; in_pairs: or the largest sum of two of one sign that are added.
static float largest_of(const float *q, size_t n, size_t kernel, bool in_pairs)
{
    float largest = 0;
    for (size_t i = 0; i < n * kernel; i++) {
        size_t channel = i / kernel;
        float other = in_pairs && channel % 2 == 0 && channel + 1 < n ? q[i + kernel] : 0;
        float together = q[i] * other > 0 ? fabsf(q[i] + other) : 0;
        largest = fmaxf(largest, fmaxf(fabsf(q[i]), together));
    }
    return largest;
}

void quantize_weights(const struct slot *slots, const struct graph *g, const struct op *op,
                      bool in_pairs, float *ret_weight, float *ret_step)
{
    size_t in_c = (size_t)g->values[op->in[0]].c, out_c = (size_t)g->values[op->out].c;
    size_t kernel = (size_t)op->kernel_h * (size_t)op->kernel_w;
    CLEANUP(kb_freep) float *scales = kb_alloc(in_c * sizeof(*scales));
    quantize_scales(slots, g, op->in[0], scales);
    for (size_t o = 0; o < out_c; o++) {
        const float *w = op->weight + o * in_c * kernel;
        float *q = ret_weight + o * in_c * kernel;
        for (size_t i = 0; i < in_c * kernel; i++)
            q[i] = w[i] * scales[i / kernel];
        float largest = largest_of(q, in_c, kernel, in_pairs); // becomes 127; a pair's rounded, 128
        ret_step[o] = largest > 0 ? largest / 127 : 1;
        for (size_t i = 0; i < in_c * kernel; i++)
            q[i] = rintf(q[i] / ret_step[o]);
    }
}
