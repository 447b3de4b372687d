// The steps of a plan, and those of them that koubo computes itself: moves, PReLU, conversion to u8
// (kernels.h, quantize.h) and what works out places in a picture (spatial.h).
#include "nn/onednn/internal.h"

#include <assert.h>
#include <string.h>

struct step *onednn_step(struct plan *p, int kind)
{
    assert(p->n_steps < p->max_steps);
    struct step *s = &p->steps[p->n_steps++];
    *s = (struct step){.kind = kind, .op = -1, .dst = -1, .src = {-1, -1, -1, -1}};
    return s;
}

void onednn_add_move(struct plan *p, const struct op *op, int src, int dst)
{
    struct step *s = onednn_step(p, STEP_MOVE);
    s->src[0] = src;
    s->dst = dst;
    s->move = (struct move){.kind = op->kind, .n_src = 1, .top = op->pad_top, .left = op->pad_left};
}

void onednn_add_copy(struct plan *p, int src, int dst)
{
    struct op copy = {.kind = OP_CONCAT};
    onednn_add_move(p, &copy, src, dst);
}

static void *copy_of(const void *data, size_t bytes)
{
    return memcpy(kb_alloc(bytes), data, bytes);
}

void onednn_add_prelu(struct plan *p, const struct graph *g, const struct op *op)
{
    struct step *s = onednn_step(p, STEP_PRELU);
    s->dst = op->out;
    s->slope = copy_of(op->slope, (size_t)g->values[op->out].c * sizeof(float));
}

void onednn_add_quantize(struct plan *p, int src, int dst)
{
    struct step *s = onednn_step(p, STEP_QUANTIZE);
    s->src[0] = src;
    s->dst = dst;
    s->move.n_src = 1;
    s->factor = 1 / p->slots[dst].scale;
}

enum kb_code onednn_add_spatial(struct plan *p, const struct op *op, struct kb_error *err)
{
    const int values[] = {op->in[0], op->in[op->n_in - 1], op->out};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (p->slots[values[i]].type != SLOT_F32)
            return kb_fail(
                err, KB_BAD_INPUT,
                _("'%s' of the network works out places in a picture, which only f32 can "
                  "do; use --precision f32"),
                op->name ? op->name : "?");
    struct step *s = onednn_step(p, STEP_SPATIAL);
    s->src[0] = op->in[0];
    s->src[1] = op->n_in > 1 ? op->in[1] : -1;
    s->dst = op->out;
    s->move.n_src = op->n_in;
    if (op->kind == OP_SCALE)
        s->slope = copy_of(op->scale, (size_t)op->n_scale * sizeof(*op->scale));
    if (op->kind == OP_CROP_MATRIX)
        s->crop = copy_of(op->crop, sizeof(*op->crop));
    s->spatial = (struct spatial){
        .kind = op->kind, .factors = s->slope, .n_factors = op->n_scale, .crop = s->crop};
    return KB_OK;
}

void onednn_add_concat(struct plan *p, const struct graph *g, const struct op *op)
{
    int64_t channel = 0;
    int row = 0, column = 0;
    for (int i = 0; i < op->n_in; i++) {
        const struct value *x = &g->values[op->in[i]];
        if (p->slots[op->in[i]].root != p->slots[op->out].root) { // else it is already in place
            struct op part = {.kind = OP_CONCAT, .pad_top = row, .pad_left = column};
            onednn_add_move(p, &part, op->in[i], op->out);
            p->steps[p->n_steps - 1].dst_offset = channel;
            p->steps[p->n_steps - 1].move.dst.c = op->axis == 'c' ? x->c : 0;
        }
        channel += op->axis == 'c' ? x->c : 0;
        row += op->axis == 'h' ? x->h : 0;
        column += op->axis == 'w' ? x->w : 0;
    }
}
