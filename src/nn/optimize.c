// The rewriting of a graph before it runs. Every pass keeps the meaning and only makes the list of
// operations shorter or cheaper:
//
//   batch norm      into the weights and bias of the convolution before it
//   deconvolution   stride 1: a convolution with the kernel turned around; stride 2: one ordinary
//                   convolution per output phase (Shi et al. 2016, "Is the deconvolution layer the
//                   same as a convolutional layer?"), then interleaved. oneDNN's own f32 and bf16
//                   transposed convolution runs at a third to a fifth of its convolution's speed.
//   residual add    into the convolution that computes one of its sides
//   activation      into the operation before it
#include "nn/graph.h"

#include <stdlib.h>
#include <string.h>

// Remove op i, whose only effect is now done by the producer of its input: that one writes i's
// output.
static void absorb(struct graph *g, int producer, int i)
{
    g->ops[producer].out = g->ops[i].out;
    free(g->ops[i].name);
    memmove(&g->ops[i], &g->ops[i + 1], (size_t)(g->n_ops - i - 1) * sizeof(g->ops[0]));
    g->n_ops--;
}

// Multiply the weights by a factor per output channel and shift the bias.
static void scale_weights(struct op *conv, int in_c, const float *scale, const float *shift)
{
    size_t kernel = (size_t)conv->kernel_h * (size_t)conv->kernel_w;
    size_t out_c = (size_t)conv->out_c;
    if (!conv->bias)
        conv->bias = kb_alloc(out_c * sizeof(float));
    for (size_t o = 0; o < out_c; o++)
        conv->bias[o] = conv->bias[o] * scale[o] + (shift ? shift[o] : 0);

    if (conv->kind == OP_CONV) {
        size_t per_output = (size_t)(in_c / conv->groups) * kernel;
        for (size_t o = 0; o < out_c; o++)
            for (size_t k = 0; k < per_output; k++)
                conv->weight[o * per_output + k] *= scale[o];
    } else {
        for (size_t i = 0; i < (size_t)in_c; i++)
            for (size_t o = 0; o < out_c; o++)
                for (size_t k = 0; k < kernel; k++)
                    conv->weight[(i * out_c + o) * kernel + k] *= scale[o];
    }
}

static void fold_batchnorm(struct graph *g)
{
    for (int i = 0; i < g->n_ops; i++) {
        struct op *bn = &g->ops[i];
        if (bn->kind != OP_BATCHNORM)
            continue;
        int p = graph_producer(g, bn->in[0]);
        struct op *conv = p >= 0 ? &g->ops[p] : NULL;
        if (!conv || (conv->kind != OP_CONV && conv->kind != OP_DECONV) ||
            graph_uses(g, bn->in[0]) != 1 || conv->act != ACT_NONE ||
            (conv->kind == OP_CONV && conv->residual >= 0)) {
            // Alone it is a 1x1 convolution with one weight per channel.
            int c = g->values[bn->in[0]].c;
            bn->kind = OP_CONV;
            bn->weight = TAKE(bn->scale);
            bn->groups = c;
            bn->out_c = c;
            bn->residual = -1;
            continue;
        }
        scale_weights(conv, g->values[conv->in[0]].c, bn->scale, bn->bias);
        enum activation act = bn->act;
        float *slope = TAKE(bn->slope);
        conv->act = act;
        conv->slope = slope;
        conv->alpha = bn->alpha;
        free(bn->scale);
        free(bn->bias);
        absorb(g, p, i--);
    }
}

// Transposed convolution of stride 1: convolution with the kernel turned by 180 degrees and the
// padding kernel - 1 - padding.
static void flip_deconv(struct op *op, int in_c)
{
    int kh = op->kernel_h, kw = op->kernel_w, out_c = op->out_c;
    float *w = kb_alloc((size_t)in_c * (size_t)out_c * (size_t)kh * (size_t)kw * sizeof(float));
    for (int o = 0; o < out_c; o++)
        for (int i = 0; i < in_c; i++)
            for (int y = 0; y < kh; y++)
                for (int x = 0; x < kw; x++)
                    w[((size_t)(o * in_c + i) * (size_t)kh + (size_t)y) * (size_t)kw + (size_t)x] =
                        op->weight[((size_t)(i * out_c + o) * (size_t)kh + (size_t)(kh - 1 - y)) *
                                       (size_t)kw +
                                   (size_t)(kw - 1 - x)];
    free(op->weight);
    op->weight = w;
    int pad_h = kh - 1 - op->pad_top, pad_w = kw - 1 - op->pad_left;
    op->kind = OP_CONV;
    op->residual = -1;
    op->pad_top = pad_h;
    op->pad_left = pad_w;
    op->pad_bottom = pad_h + op->out_pad_h;
    op->pad_right = pad_w + op->out_pad_w;
    op->out_pad_h = op->out_pad_w = 0;
}

// The taps of one output phase along one axis. Output row 2*j + phase is the sum over input rows i
// and taps k with 2*i + k - pad = 2*j + phase, so k has the parity of phase + pad and
// i = j + (phase + pad - k) / 2.
struct phase_axis {
    int n, k[8];       // taps, in order of growing input row
    int before, after; // padding of the ordinary convolution
};

static struct phase_axis phase_of(int kernel, int pad, int phase, int in, int out)
{
    struct phase_axis a = {0};
    int first_shift = 0, last_shift = 0;
    for (int k = kernel - 1; k >= 0; k--) { // a larger k reads an earlier row
        if (((phase + pad - k) & 1) != 0)
            continue;
        int shift = (phase + pad - k) / 2;
        if (a.n == 0)
            first_shift = shift;
        last_shift = shift;
        a.k[a.n++] = k;
    }
    a.before = -first_shift;
    a.after = out / 2 - 1 + last_shift - (in - 1);
    return a;
}

// Replace op (a stride-2 transposed convolution) by up to four convolutions appended to list.
static void split_deconv(struct graph *g, struct op *op, struct graph *list)
{
    const struct value in = g->values[op->in[0]], out = g->values[op->out];
    struct op join = {
        .kind = OP_INTERLEAVE, .name = op->name, .n_in = 4, .out = op->out, .residual = -1};

    for (int phase = 0; phase < 4; phase++) {
        struct phase_axis v = phase_of(op->kernel_h, op->pad_top, phase / 2, in.h, out.h);
        struct phase_axis u = phase_of(op->kernel_w, op->pad_left, phase % 2, in.w, out.w);
        struct op conv = {.kind = OP_CONV,
                          .name = op->name,
                          .n_in = 1,
                          .in = {op->in[0]},
                          .groups = 1,
                          .kernel_h = v.n,
                          .kernel_w = u.n,
                          .stride_h = 1,
                          .stride_w = 1,
                          .pad_top = v.before,
                          .pad_bottom = v.after,
                          .pad_left = u.before,
                          .pad_right = u.after,
                          .out_c = op->out_c,
                          .residual = -1,
                          .act = op->act,
                          .alpha = op->alpha};
        size_t taps = (size_t)v.n * (size_t)u.n, all = (size_t)op->kernel_h * (size_t)op->kernel_w;
        size_t out_c = (size_t)op->out_c, in_c = (size_t)in.c;
        conv.weight = kb_alloc(out_c * in_c * taps * sizeof(float));
        float *w = conv.weight;
        for (size_t o = 0; o < out_c; o++)
            for (size_t i = 0; i < in_c; i++)
                for (int y = 0; y < v.n; y++)
                    for (int x = 0; x < u.n; x++)
                        *w++ = op->weight[(i * out_c + o) * all +
                                          (size_t)(v.k[y] * op->kernel_w + u.k[x])];
        if (op->bias) {
            conv.bias = kb_alloc(out_c * sizeof(float));
            memcpy(conv.bias, op->bias, out_c * sizeof(float));
        }
        if (op->slope) {
            conv.slope = kb_alloc(out_c * sizeof(float));
            memcpy(conv.slope, op->slope, out_c * sizeof(float));
        }
        conv.out = graph_add_value(g, NULL);
        g->values[conv.out].h = out.h / 2;
        g->values[conv.out].w = out.w / 2;
        g->values[conv.out].c = op->out_c;
        join.in[phase] = conv.out;
        graph_add_op(list, &conv);
    }
    graph_add_op(list, &join);
    free(op->name);
    free(op->weight);
    free(op->bias);
    free(op->slope);
}

// Is a transposed convolution of stride 2 along one axis one of stride 1 for each phase, with a
// padding that there is?
static bool can_split_axis(int kernel, int pad, int in, int out)
{
    if (kernel < 2 || kernel > 8 || out % 2 != 0)
        return false;
    for (int phase = 0; phase < 2; phase++) {
        struct phase_axis a = phase_of(kernel, pad, phase, in, out);
        if (a.before < 0 || a.after < 0)
            return false;
    }
    return true;
}

static bool can_split(const struct op *op, const struct value *in, const struct value *out)
{
    return op->stride_h == 2 && op->stride_w == 2 && op->groups == 1 &&
           can_split_axis(op->kernel_h, op->pad_top, in->h, out->h) &&
           can_split_axis(op->kernel_w, op->pad_left, in->w, out->w);
}

static bool can_flip(const struct op *op)
{
    return op->stride_h == 1 && op->stride_w == 1 && op->groups == 1 &&
           op->pad_top < op->kernel_h && op->pad_left < op->kernel_w;
}

static enum kb_code lower_deconv(struct graph *g, struct kb_error *err)
{
    struct graph list = {0}; // only its ops are used
    enum kb_code code = KB_OK;
    for (int i = 0; i < g->n_ops; i++) {
        struct op *op = &g->ops[i];
        if (op->kind == OP_DECONV && can_split(op, &g->values[op->in[0]], &g->values[op->out])) {
            split_deconv(g, op, &list);
            continue;
        }
        if (op->kind == OP_DECONV) {
            if (!can_flip(op))
                code = kb_fail(err, KB_BAD_INPUT,
                               _("transposed convolution '%s' has a form that is not supported "
                                 "(stride 1 or 2, one group, even output size)"),
                               op->name ? op->name : "?");
            else
                flip_deconv(op, g->values[op->in[0]].c);
        }
        graph_add_op(&list, op);
        free(op->name); // graph_add_op copied it; the arrays moved over
    }
    free(g->ops);
    g->ops = list.ops;
    g->n_ops = list.n_ops;
    return code;
}

static bool can_take_activation(const struct op *op)
{
    return (op->kind == OP_CONV || op->kind == OP_ADD) && op->act == ACT_NONE;
}

static void fuse_activations(struct graph *g)
{
    for (int i = 0; i < g->n_ops; i++) {
        struct op *act = &g->ops[i];
        if (act->kind != OP_ACTIVATION)
            continue;
        int p = graph_producer(g, act->in[0]);
        if (p < 0 || graph_uses(g, act->in[0]) != 1 || !can_take_activation(&g->ops[p]))
            continue;
        g->ops[p].act = act->act;
        g->ops[p].alpha = act->alpha;
        g->ops[p].slope = TAKE(act->slope);
        absorb(g, p, i--);
    }
}

// Can this convolution take in an addition that reads its output, value?
static bool can_take_residual(const struct graph *g, int conv, int value)
{
    return conv >= 0 && g->ops[conv].kind == OP_CONV && g->ops[conv].act == ACT_NONE &&
           g->ops[conv].residual < 0 && graph_uses(g, value) == 1;
}

// Operation from moves behind those up to to, none of which reads what it writes.
static void move_behind(struct graph *g, int from, int to)
{
    struct op op = g->ops[from];
    memmove(&g->ops[from], &g->ops[from + 1], (size_t)(to - from) * sizeof(op));
    g->ops[to] = op;
}

// y = act(conv(x) + r): the convolution runs where the addition was, so that r is there. Of two
// convolutions it is the one that was computed last.
static void fuse_residuals(struct graph *g)
{
    for (int i = 0; i < g->n_ops; i++) {
        struct op *add = &g->ops[i];
        if (add->kind != OP_ADD)
            continue;
        int a = graph_producer(g, add->in[0]), b = graph_producer(g, add->in[1]);
        int side = a > b ? 0 : 1;
        if (a == b)
            continue;
        if (!can_take_residual(g, KB_MAX(a, b), add->in[side])) {
            side = 1 - side;
            if (!can_take_residual(g, KB_MIN(a, b), add->in[side]))
                continue;
        }
        int p = side == 0 ? a : b;
        g->ops[p].residual = add->in[1 - side];
        g->ops[p].act = add->act;
        g->ops[p].alpha = add->alpha;
        g->ops[p].slope = TAKE(add->slope);
        absorb(g, p, i--);
        move_behind(g, p, i);
    }
}

enum kb_code graph_optimize(struct graph *g, struct kb_error *err)
{
    if (g->is_optimized)
        return KB_OK;
    g->is_optimized = true;
    fold_batchnorm(g);
    fuse_residuals(g);
    fuse_activations(g);
    fuse_residuals(g);
    return lower_deconv(g, err);
}
