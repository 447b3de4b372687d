// Convolutions that are computed Winograd's way (nn/winograd), where that is faster than the
// library's: which they are, and their steps. Beside fewer products they save passes over memory:
// the residual is read where it lies, and phases of a transposed convolution are written where they
// belong, without a step that interleaves them.
#include "nn/onednn/internal.h"
#include "nn/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct winograd_step {
    struct winograd how;
    struct winograd_job job;
    struct constants constants;
};

void onednn_winograd_free(struct winograd_step **w)
{
    if (!*w)
        return;
    onednn_constants_clear(&(*w)->constants);
    free(*w);
    *w = NULL;
}

// --- which ---

#define WORTH 0.9 // of the library's time, at most
// How much longer products of u8 take without VNNI.
#define NO_VNNI 2

// The interleaving that is all that reads this value, or NULL; and which of its four it is.
static const struct op *interleaving(const struct graph *g, int value, int *ret_phase)
{
    if (graph_uses(g, value) != 1)
        return NULL;
    for (int i = 0; i < g->n_ops; i++)
        for (int k = 0; k < 4 && g->ops[i].kind == OP_INTERLEAVE; k++)
            if (g->ops[i].in[k] == value) {
                *ret_phase = k;
                return &g->ops[i];
            }
    return NULL;
}

static enum winograd_type type_of(const struct plan *p, int value)
{
    static const enum winograd_type types[] = {
        [SLOT_F32] = WINOGRAD_F32, [SLOT_BF16] = WINOGRAD_BF16, [SLOT_U8] = WINOGRAD_U8};
    return types[p->slots[value].type];
}

// Is no number of this value below zero? What only moves numbers is as what it moves.
static bool is_positive(const struct graph *g, int value)
{
    int producer = graph_producer(g, value);
    const struct op *op = producer >= 0 ? &g->ops[producer] : NULL;
    if (!op)
        return false;
    if (op->act == ACT_RELU || op->act == ACT_RELU6 || op->act == ACT_SIGMOID)
        return true;
    bool ret = op->kind == OP_CONCAT || op->kind == OP_INTERLEAVE;
    for (int i = 0; i < op->n_in && ret; i++)
        ret = is_positive(g, op->in[i]);
    return ret;
}

static struct winograd_shape shape_of(const struct plan *p, const struct graph *g,
                                      const struct op *op)
{
    const struct value *x = &g->values[op->in[0]], *y = &g->values[op->out];
    return (struct winograd_shape){.n = p->batch,
                                   .in_h = x->h,
                                   .in_w = x->w,
                                   .in_c = x->c,
                                   .out_h = y->h,
                                   .out_w = y->w,
                                   .out_c = y->c,
                                   .kernel_h = op->kernel_h,
                                   .kernel_w = op->kernel_w,
                                   .pad_top = op->pad_top,
                                   .pad_left = op->pad_left,
                                   .in = type_of(p, op->in[0]),
                                   .out = type_of(p, op->out),
                                   .in_is_positive = is_positive(g, op->in[0])};
}

static bool can(const struct plan *p, const struct graph *g, const struct op *op)
{
    const struct winograd_shape shape = shape_of(p, g, op);
    return op->kind == OP_CONV && op->groups == 1 && op->stride_h == 1 && op->stride_w == 1 &&
           op->dilation_h == 1 && op->dilation_w == 1 && !p->observer &&
           (shape.in != WINOGRAD_BF16 || onednn_has_isa(dnnl_cpu_isa_avx512_core_bf16)) &&
           (op->residual < 0 || type_of(p, op->residual) == shape.out) && op->act != ACT_SIGMOID &&
           op->act != ACT_HARD_SWISH && winograd_has_form(&shape, onednn_vectors());
}

// The convolutions that are computed alike or not at all so: of what is interleaved all four, else
// this one. Their number, 0 where one of them cannot be.
static int group_of(const struct op *ret[4], const struct plan *p, const struct graph *g,
                    const struct op *op)
{
    int phase;
    const struct op *join = interleaving(g, op->out, &phase);
    ret[0] = op;
    if (join && type_of(p, join->out) != type_of(p, op->out))
        return 0;
    if (!join)
        return op->kernel_h == 3 && op->kernel_w == 3 && can(p, g, op);
    for (int i = 0; i < 4; i++) {
        int producer = graph_producer(g, join->in[i]), unused;
        ret[i] = producer >= 0 ? &g->ops[producer] : NULL;
        if (!ret[i] || interleaving(g, join->in[i], &unused) != join || !can(p, g, ret[i]))
            return 0;
    }
    return 4;
}

static struct layer layer_of(const struct plan *p, const struct graph *g, const struct op *op,
                             bool is_twice)
{
    const struct value *x = &g->values[op->in[0]], *y = &g->values[op->out];
    const int bits = 8 * slot_elem_size(p->slots[op->in[0]].type);
    return (struct layer){x->c, y->c, y->h, y->w, p->batch, is_twice, bits};
}

static bool can_tile(const struct plan *p, const struct graph *g, const struct op **group, int n,
                     int tile)
{
    for (int i = 0; i < n; i++) {
        const struct winograd_shape s = shape_of(p, g, group[i]);
        struct winograd w;
        if (!winograd_make(&w, &s, tile, onednn_vectors(), p->threads))
            return false;
    }
    return true;
}

// The operations of a group share what is said of its layer, and so does what interleaves them.
static void note_layer(const struct plan *p, const struct graph *g, const struct op **group, int n)
{
    int phase;
    const struct op_time note = {.can_choose = true, .layer = layer_of(p, g, group[0], n == 4)};
    const struct op *join = interleaving(g, group[0]->out, &phase);
    for (int i = 0; i < n; i++)
        p->times[group[i] - g->ops] = note;
    p->times[group[0] - g->ops].is_first = true;
    if (join)
        p->times[join - g->ops] = note;
}

// The side of the tiles by which a group is fastest, 0: the library is.
static int best_tile(const struct plan *p, const struct graph *g, const struct op **group, int n)
{
    const struct layer layer = layer_of(p, g, group[0], n == 4);
    int known = tuning_find(p->tuning, &layer);
    if (known >= 0)
        return known > 0 && can_tile(p, g, group, n, known) ? known : 0;
    double best = 0;
    int ret = 0;
    if (layer.bits < 32 && onednn_has_isa(dnnl_cpu_isa_avx512_core_amx))
        return 0; // whose products take an eighth of the time
    for (int i = 0; i < n; i++) {
        const struct winograd_shape s = shape_of(p, g, group[i]);
        best += WORTH * (layer.bits == 8 && !onednn_has_vnni() ? NO_VNNI : 1) *
                winograd_direct_cost(&s);
    }
    for (int tile = 2; tile <= 4; tile++) {
        double cost = 0;
        if (!can_tile(p, g, group, n, tile))
            continue;
        for (int i = 0; i < n; i++) {
            const struct winograd_shape s = shape_of(p, g, group[i]);
            struct winograd w;
            winograd_make(&w, &s, tile, onednn_vectors(), p->threads);
            cost += winograd_cost(&w);
        }
        if (cost >= best)
            continue;
        best = cost;
        ret = tile;
    }
    return ret;
}

// The same, as the pack has it, or written there.
static enum kb_code choose(int *ret, const struct plan *p, const struct graph *g,
                           const struct op *op, struct kb_error *err)
{
    const struct op *group[4];
    int n = group_of(group, p, g, op);
    *ret = 0;
    if (n == 0)
        return KB_OK;
    if (p->times)
        note_layer(p, g, group, n);
    if (p->pack) {
        const int *kept = pack_take(p->pack, sizeof(*kept));
        if (!kept)
            return onednn_unfit(err);
        *ret = *kept;
        return KB_OK;
    }
    *ret = best_tile(p, g, group, n);
    if (p->pack_writer)
        pack_put(p->pack_writer, ret, sizeof(*ret));
    return KB_OK;
}

// --- a step ---

// The real value of 1 in the output.
static float unit_of(const struct plan *p, const struct op *op)
{
    const struct slot *out = &p->slots[op->out];
    return out->type == SLOT_U8 ? out->scale : 1;
}

// The weights that make sums in the output's units of what the input holds; NULL: the graph's do.
static float *scaled_weights(const struct plan *p, const struct graph *g, const struct op *op)
{
    const size_t taps = (size_t)op->kernel_h * (size_t)op->kernel_w;
    const size_t in_c = (size_t)g->values[op->in[0]].c, out_c = (size_t)g->values[op->out].c;
    const bool reads_u8 = type_of(p, op->in[0]) == WINOGRAD_U8;
    if (!reads_u8 && type_of(p, op->out) != WINOGRAD_U8)
        return NULL;
    CLEANUP(kb_freep) float *scales = kb_alloc(in_c * sizeof(*scales));
    float *ret = kb_alloc(out_c * in_c * taps * sizeof(*ret));
    for (size_t i = 0; i < in_c; i++)
        scales[i] = 1;
    if (reads_u8)
        quantize_scales(p->slots, g, op->in[0], scales);
    for (size_t i = 0; i < out_c * in_c * taps; i++)
        ret[i] = op->weight[i] * scales[i / taps % in_c] / unit_of(p, op);
    return ret;
}

static enum kb_code make_weights(struct plan *p, const struct graph *g, struct winograd_step *w,
                                 const struct op *op, struct kb_error *err)
{
    size_t size = winograd_weights_size(&w->how);
    CHECK(onednn_take_weights(p, &w->constants, size, &w->job.weights, err));
    if (!w->constants.weights)
        return KB_OK;
    CLEANUP(kb_freep) float *scaled = scaled_weights(p, g, op);
    winograd_weights(&w->how, scaled ? scaled : op->weight, w->constants.weights);
    onednn_keep_weights(p, &w->constants, size);
    return KB_OK;
}

// Bias, top and residual in units of the output.
static void set_finish(struct winograd_step *w, const struct plan *p, const struct op *op)
{
    const float unit = unit_of(p, op);
    struct constants *c = &w->constants;
    onednn_activation(op, w->how.shape.out_c, &c->bias, &c->slope, &w->job.top);
    for (int i = 0; i < w->how.shape.out_c; i++)
        c->bias[i] /= unit;
    w->job.bias = c->bias;
    w->job.slope = c->slope;
    w->job.top /= unit;
    bool is_scaled = op->residual >= 0 && p->slots[op->residual].type == SLOT_U8;
    w->job.residual_factor = is_scaled ? p->slots[op->residual].scale / unit : 1;
}

enum kb_code onednn_add_winograd(struct plan *p, const struct graph *g, const struct op *op,
                                 bool *ret_done, struct kb_error *err)
{
    const struct winograd_shape shape = shape_of(p, g, op);
    int tile = 0, phase = 0;
    *ret_done = false;
    CHECK(choose(&tile, p, g, op, err));
    if (tile == 0)
        return KB_OK;
    struct step *s = onednn_step(p, STEP_WINOGRAD);
    struct winograd_step *w = s->winograd = kb_alloc(sizeof(*w));
    if (!winograd_make(&w->how, &shape, tile, onednn_vectors(), p->threads))
        return onednn_unfit(err);
    CHECK(make_weights(p, g, w, op, err));
    set_finish(w, p, op);
    s->src[0] = op->in[0];
    s->src[1] = op->residual;
    s->dst = op->out;
    s->move.n_src = op->residual >= 0 ? 2 : 1;
    const struct op *join = interleaving(g, op->out, &phase);
    if (join) {
        s->dst = join->out;
        w->job.interleaved = true;
        w->job.row = phase / 2;
        w->job.column = phase % 2;
        p->slots[op->out].written_apart = true;
    }
    p->scratch_bytes = KB_MAX(p->scratch_bytes, winograd_scratch_size(&w->how));
    *ret_done = true;
    return KB_OK;
}

void onednn_winograd_run(const struct plan *p, const struct step *s)
{
    struct winograd_job job = s->winograd->job;
    job.in = s->move.src[0];
    job.residual = s->src[1] >= 0 ? s->move.src[1] : (struct image){0};
    job.out = s->move.dst;
    job.scratch = p->scratch;
    winograd_run(&s->winograd->how, &job);
}
