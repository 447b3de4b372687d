// Convolutions that are computed directly (nn/direct), where the library loses more in passes over
// memory and in calling so many small primitives than it computes: which they are, and their steps.
// What they take in is no step of its own: a 3x3 of each channel by itself before a 1x1, and of a
// residual the 2x2 maximum and the channels of zeros that make it fit.
#include "nn/onednn/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct direct_step {
    struct direct how;
    struct direct_job job;
    struct constants constants;
};

void onednn_direct_free(struct direct_step **d)
{
    if (!*d)
        return;
    onednn_constants_clear(&(*d)->constants);
    free(*d);
    *d = NULL;
}

// --- which ---

// From here on the library's kernels, which block the depth too, are as fast. One pixel reads each
// weight once, whatever is done.
#define MOST_WEIGHTS     (1 << 16)
#define MOST_WEIGHTS_ONE (1 << 20)
#define FEW_CHANNELS     4 // of input: the library's vectors are mostly empty

// A convolution and the operations that it takes in; NULL where it does not.
struct found {
    const struct op *each, *pad, *pool;
    int in, residual; // values; residual -1: none
    struct direct how;
};

static const struct op *producer_of(const struct graph *g, int value)
{
    int i = value >= 0 ? graph_producer(g, value) : -1;
    return i >= 0 ? &g->ops[i] : NULL;
}

// The operation that is all that reads this value, or NULL.
static const struct op *reader_of(const struct graph *g, int value)
{
    if (graph_uses(g, value) != 1)
        return NULL;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->kind == OP_CONV && op->residual == value)
            return op;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] == value)
                return op;
    }
    return NULL;
}

static bool has_no_border(const struct op *op)
{
    return op->pad_top == 0 && op->pad_left == 0 && op->pad_bottom == 0 && op->pad_right == 0;
}

static bool is_plain(const struct op *op)
{
    return op->kind == OP_CONV && op->dilation_h == 1 && op->dilation_w == 1;
}

static bool is_each(const struct graph *g, const struct op *op)
{
    return op && is_plain(op) && op->groups > 1 && op->groups == g->values[op->in[0]].c &&
           op->groups == g->values[op->out].c && op->kernel_h == 3 && op->kernel_w == 3 &&
           op->stride_h == op->stride_w && op->stride_h <= 2 && op->residual < 0 &&
           op->act == ACT_NONE && graph_uses(g, op->out) == 1;
}

static bool is_halving(const struct graph *g, const struct op *op)
{
    return op && op->kind == OP_MAX_POOL && op->kernel_h == 2 && op->kernel_w == 2 &&
           op->stride_h == 2 && op->stride_w == 2 && has_no_border(op) &&
           graph_uses(g, op->out) == 1;
}

static bool is_filling(const struct graph *g, const struct op *op)
{
    return op && op->kind == OP_PAD && has_no_border(op) && graph_uses(g, op->out) == 1;
}

static bool is_f32(const struct plan *p, int value)
{
    return value < 0 || p->slots[value].type == SLOT_F32;
}

static void find_residual(struct found *f, const struct graph *g, const struct op *op)
{
    f->residual = op->residual;
    const struct op *before = producer_of(g, f->residual);
    if (is_filling(g, before)) {
        f->pad = before;
        f->residual = before->in[0];
        before = producer_of(g, f->residual);
    }
    if (is_halving(g, before)) {
        f->pool = before;
        f->residual = before->in[0];
    }
}

static struct direct_shape shape_of(const struct plan *p, const struct graph *g,
                                    const struct op *op, const struct found *f)
{
    const struct value *x = &g->values[f->in], *y = &g->values[op->out];
    const struct op *window = f->each ? f->each : op; // what moves over the picture
    bool is_points = op->kernel_h == 1 && op->kernel_w == 1 && op->stride_h == 1 &&
                     op->stride_w == 1 && has_no_border(op);
    return (struct direct_shape){
        .way = f->each     ? DIRECT_DEPTHWISE
               : is_points ? DIRECT_POINTS
                           : DIRECT_PATCHES,
        .n = p->batch,
        .in_h = x->h,
        .in_w = x->w,
        .in_c = x->c,
        .out_h = y->h,
        .out_w = y->w,
        .out_c = y->c,
        .kernel_h = window->kernel_h,
        .kernel_w = window->kernel_w,
        .stride_h = window->stride_h,
        .stride_w = window->stride_w,
        .pad_top = window->pad_top,
        .pad_left = window->pad_left,
        .residual_c = f->residual >= 0 ? g->values[f->residual].c : 0,
        .is_pooled = f->pool != NULL,
    };
}

static bool is_worth(const struct direct_shape *s)
{
    int64_t weights = (int64_t)s->in_c * s->out_c;
    if (s->way != DIRECT_PATCHES)
        return weights <= MOST_WEIGHTS;
    weights *= s->kernel_h * s->kernel_w;
    if ((int64_t)s->n * s->out_h * s->out_w == 1)
        return weights <= MOST_WEIGHTS_ONE;
    return s->in_c <= FEW_CHANNELS && weights <= MOST_WEIGHTS;
}

// Is this convolution one of them? What a pack holds depends on the answer, which therefore depends
// on nothing but shapes, types and the instruction set.
static bool find(struct found *ret, const struct plan *p, const struct graph *g,
                 const struct op *op)
{
    struct found f = {.in = op->in[0]};
    if (!is_plain(op) || op->groups != 1 || p->observer || op->act == ACT_SIGMOID ||
        op->act == ACT_HARD_SWISH || !is_f32(p, op->in[0]) || !is_f32(p, op->out) ||
        !is_f32(p, op->residual))
        return false;
    const struct op *reader = reader_of(g, op->out), *before = producer_of(g, op->in[0]);
    if (reader && reader->kind == OP_INTERLEAVE)
        return false; // Winograd's, as the other phases are
    if (is_each(g, before) && op->kernel_h == 1 && op->kernel_w == 1 && op->stride_h == 1 &&
        op->stride_w == 1 && has_no_border(op)) {
        f.each = before;
        f.in = before->in[0];
    }
    find_residual(&f, g, op);
    if (!is_f32(p, f.in) || !is_f32(p, f.residual))
        return false;
    const struct direct_shape shape = shape_of(p, g, op, &f);
    *ret = f;
    return is_worth(&shape) && direct_make(&ret->how, &shape, onednn_vectors(), p->threads);
}

// Is this operation computed by a convolution that comes later?
static bool is_taken_in(const struct plan *p, const struct graph *g, const struct op *op)
{
    struct found f;
    const struct op *reader = reader_of(g, op->out);
    if (op->kind != OP_CONV && op->kind != OP_PAD && op->kind != OP_MAX_POOL)
        return false;
    if (reader && reader->kind == OP_PAD)
        reader = reader_of(g, reader->out);
    return reader && reader->kind == OP_CONV && find(&f, p, g, reader) &&
           (f.each == op || f.pad == op || f.pool == op);
}

// --- a step ---

static enum kb_code make_weights(struct plan *p, struct direct_step *d, const struct op *op,
                                 const struct op *each, struct kb_error *err)
{
    size_t size = direct_weights_size(&d->how);
    const void *weights;
    CHECK(onednn_take_weights(p, &d->constants, size, &weights, err));
    d->job.weights = weights;
    if (!d->constants.weights)
        return KB_OK;
    direct_weights(&d->how, op->weight, each ? each->weight : NULL, each ? each->bias : NULL,
                   d->constants.weights);
    onednn_keep_weights(p, &d->constants, size);
    return KB_OK;
}

enum kb_code onednn_add_direct(struct plan *p, const struct graph *g, const struct op *op,
                               bool *ret_done, struct kb_error *err)
{
    struct found f;
    bool is_found = find(&f, p, g, op);
    *ret_done = is_found || is_taken_in(p, g, op);
    if (!is_found)
        return KB_OK;
    struct step *s = onednn_step(p, STEP_DIRECT);
    struct direct_step *d = s->direct = kb_alloc(sizeof(*d));
    d->how = f.how;
    CHECK(make_weights(p, d, op, f.each, err));
    struct constants *c = &d->constants;
    onednn_activation(op, g->values[op->out].c, &c->bias, &c->slope, &d->job.top);
    d->job.bias = c->bias;
    d->job.slope = c->slope;
    s->src[0] = f.in;
    s->src[1] = f.residual;
    s->dst = op->out;
    s->move.n_src = f.residual >= 0 ? 2 : 1;
    p->scratch_bytes = KB_MAX(p->scratch_bytes, direct_scratch_size(&d->how));
    return KB_OK;
}

void onednn_direct_run(const struct plan *p, const struct step *s)
{
    struct direct_job job = s->direct->job;
    job.in = s->move.src[0];
    job.residual = s->src[1] >= 0 ? s->move.src[1] : (struct image){0};
    job.out = s->move.dst;
    job.scratch = p->scratch;
    direct_run(&s->direct->how, &job);
}
