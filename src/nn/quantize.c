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
                all = all && (slots[op->in[k]].type == SLOT_U8 || slots[op->in[k]].scale > 0);
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

// --- what stays wide because it is faster so ---

void int8_costs_clear(struct int8_costs *c)
{
    free(c->as_u8);
    free(c->as_wide);
}

// Values of one type with those of the chain, since sums are made in place. False: no more.
static bool bind_sums(bool *chain, const struct graph *g)
{
    bool changed = false;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->kind != OP_CONV || op->residual < 0)
            continue;
        const int bound[] = {op->in[0], op->residual, op->out};
        bool any = chain[bound[0]] || chain[bound[1]] || chain[bound[2]];
        for (size_t k = 0; k < ARRAY_LEN(bound) && any; k++) {
            changed |= !chain[bound[k]];
            chain[bound[k]] = true;
        }
    }
    return changed;
}

static double numbers_of(const struct graph *g, int value)
{
    const struct value *v = &g->values[value];
    return (double)v->h * v->w * v->c;
}

// What it gains when the values of a chain are wide; less than 0 where that cannot be.
static double gain_of(const bool *chain, const struct slot *slots, const struct graph *g,
                      const struct int8_costs *costs)
{
    double gain = 0;
    for (int v = 0; v < g->n_values; v++) {
        int p = graph_producer(g, v);
        if (!chain[v])
            continue;
        if (slots[v].type != SLOT_U8 || p < 0 || g->ops[p].kind == OP_CONCAT)
            return -1;
        if (g->ops[p].kind != OP_CONV || !chain[g->ops[p].in[0]])
            gain -= costs->convert * numbers_of(g, v);
    }
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        for (int k = 0; k < op->n_in; k++) {
            if (!chain[op->in[k]])
                continue;
            if (op->kind == OP_CONCAT)
                gain -= costs->convert * numbers_of(g, op->in[k]);
            else if (op->kind == OP_CONV && chain[op->out])
                gain += costs->as_u8[i] - costs->as_wide[i];
            else
                return -1;
        }
    }
    return gain;
}

static void spare_faster(struct slot *slots, const struct graph *g, const struct ranges *ranges,
                         const struct int8_costs *costs, enum slot_type wide)
{
    CLEANUP(kb_freep) bool *chain = kb_alloc((size_t)g->n_values * sizeof(*chain));
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->kind != OP_CONV || slots[op->in[0]].type != SLOT_U8)
            continue;
        for (int v = 0; v < g->n_values; v++)
            chain[v] = v == op->in[0] || v == op->out;
        while (bind_sums(chain, g))
            ;
        if (!(gain_of(chain, slots, g, costs) > 0))
            continue;
        for (int v = 0; v < g->n_values; v++)
            if (chain[v]) {
                slots[v].type = wide;
                slots[v].scale = ranges->limits[v] / 255; // where it becomes part of something
            }
    }
}

// --- all of it ---

void quantize_choose(struct slot *slots, const struct graph *g, const struct ranges *ranges,
                     const struct int8_costs *costs)
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
    if (costs)
        spare_faster(slots, g, ranges, costs, wide);
    while (settle(slots, g, wide))
        ;

    for (int v = 0; v < g->n_values; v++)
        if (slots[v].type == SLOT_U8)
            slots[v].scale = ranges->limits[v] / 255;
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
