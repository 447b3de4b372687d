#include "nn/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct graph *graph_create(void)
{
    return kb_alloc(sizeof(struct graph));
}

static void op_clear(struct op *op)
{
    free(op->name);
    free(op->weight);
    free(op->bias);
    free(op->scale);
    free(op->crop);
    free(op->slope);
}

void graph_free(struct graph **g)
{
    if (!*g)
        return;
    for (int i = 0; i < (*g)->n_ops; i++)
        op_clear(&(*g)->ops[i]);
    for (int i = 0; i < (*g)->n_values; i++)
        free((*g)->values[i].name);
    free((*g)->ops);
    free((*g)->values);
    free(*g);
    *g = NULL;
}

// Room for one more element; the arrays double, so appending is cheap.
static void *grow(void *array, int n, size_t size)
{
    if (n > 0 && (n & (n - 1)) != 0)
        return array;
    array = realloc(array, (n ? (size_t)n * 2 : 1) * size);
    if (!array)
        abort();
    return array;
}

int graph_add_value(struct graph *g, const char *name)
{
    g->values = grow(g->values, g->n_values, sizeof(g->values[0]));
    g->values[g->n_values] = (struct value){.name = kb_strdup(name)};
    return g->n_values++;
}

int graph_find_value(const struct graph *g, const char *name)
{
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i].name && strcmp(g->values[i].name, name) == 0)
            return i;
    return -1;
}

int graph_add_input(struct graph *g, const char *name, int h, int w, int c)
{
    int v = graph_add_value(g, name);
    g->values[v].h = h;
    g->values[v].w = w;
    g->values[v].c = c;
    if (g->n_inputs < (int)ARRAY_LEN(g->inputs))
        g->inputs[g->n_inputs] = v;
    g->n_inputs++; // too many is reported by graph_finish()
    return v;
}

void graph_add_output(struct graph *g, int value)
{
    if (g->n_outputs < (int)ARRAY_LEN(g->outputs))
        g->outputs[g->n_outputs] = value;
    g->n_outputs++;
}

void graph_add_op(struct graph *g, const struct op *op)
{
    g->ops = grow(g->ops, g->n_ops, sizeof(g->ops[0]));
    struct op *o = &g->ops[g->n_ops++];
    *o = *op;
    o->name = kb_strdup(op->name);
    int *ones[] = {&o->groups,   &o->kernel_h,   &o->kernel_w,  &o->stride_h,
                   &o->stride_w, &o->dilation_h, &o->dilation_w};
    for (size_t i = 0; i < ARRAY_LEN(ones); i++)
        if (*ones[i] == 0)
            *ones[i] = 1;
}

// --- shapes ---

static enum kb_code misfit(const struct op *op, const char *why, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT, _("the network does not fit together at '%s': %s"),
                   op->name ? op->name : "?", why);
}

static bool same_shape(const struct value *a, const struct value *b)
{
    return a->h == b->h && a->w == b->w && a->c == b->c;
}

// How far a kernel reaches, from its first tap to its last.
static int64_t op_reach_h(const struct op *op)
{
    return (op->kernel_h - 1) * (int64_t)op->dilation_h + 1;
}

static int64_t op_reach_w(const struct op *op)
{
    return (op->kernel_w - 1) * (int64_t)op->dilation_w + 1;
}

static enum kb_code shape_window(const struct op *op, const struct value *x, struct value *y,
                                 struct kb_error *err)
{
    if (op->kernel_h < 1 || op->kernel_w < 1 || op->stride_h < 1 || op->stride_w < 1 ||
        op->pad_top < 0 || op->pad_left < 0 || op->pad_bottom < 0 || op->pad_right < 0)
        return misfit(op, _("bad kernel, stride or padding"), err);
    if (op->kind == OP_DECONV) {
        int64_t h = (int64_t)(x->h - 1) * op->stride_h - 2 * (int64_t)op->pad_top + op->kernel_h +
                    op->out_pad_h;
        int64_t w = (int64_t)(x->w - 1) * op->stride_w - 2 * (int64_t)op->pad_left + op->kernel_w +
                    op->out_pad_w;
        if (h < 1 || w < 1 || h > 1 << 28 || w > 1 << 28)
            return misfit(op, _("its output has an impossible size"), err);
        y->h = (int)h;
        y->w = (int)w;
    } else {
        int64_t more_h = (int64_t)x->h + op->pad_top + op->pad_bottom - op_reach_h(op);
        int64_t more_w = (int64_t)x->w + op->pad_left + op->pad_right - op_reach_w(op);
        if (more_h < 0 || more_w < 0)
            return misfit(op, _("the kernel is larger than its padded input"), err);
        y->h = (int)(more_h / op->stride_h + 1);
        y->w = (int)(more_w / op->stride_w + 1);
    }
    return KB_OK;
}

static enum kb_code shape_concat(const struct graph *g, const struct op *op, struct value *y,
                                 struct kb_error *err)
{
    *y = (struct value){.name = y->name,
                        .h = g->values[op->in[0]].h,
                        .w = g->values[op->in[0]].w,
                        .c = g->values[op->in[0]].c};
    for (int i = 1; i < op->n_in; i++) {
        const struct value *x = &g->values[op->in[i]];
        if ((op->axis != 'h' && x->h != y->h) || (op->axis != 'w' && x->w != y->w) ||
            (op->axis != 'c' && x->c != y->c))
            return misfit(op, _("concatenated values differ in shape"), err);
        y->h += op->axis == 'h' ? x->h : 0;
        y->w += op->axis == 'w' ? x->w : 0;
        y->c += op->axis == 'c' ? x->c : 0;
        if (y->h > 1 << 28 || y->w > 1 << 28 || y->c > 1 << 28)
            return misfit(op, _("its output has an impossible size"), err);
    }
    return KB_OK;
}

static bool is_matrix(const struct value *v)
{
    return v->h == 1 && v->w == 4 && v->c == 4;
}

static bool rule_fits(const struct crop_rule *r, const struct value *points)
{
    bool fits = r && points->h == 1 && points->c == 3 && r->width > 0 && r->height > 0 &&
                isfinite(r->angle) && isfinite(r->grow_x) && isfinite(r->grow_y) && r->left >= 0 &&
                r->left < points->w && r->right >= 0 && r->right < points->w && r->n_points > 0 &&
                r->n_points <= CROP_MAX_POINTS;
    for (int i = 0; fits && i < r->n_points; i++)
        fits = r->points[i] >= 0 && r->points[i] < points->w;
    return fits;
}

// The operations of spatial.h.
static enum kb_code shape_spatial(const struct graph *g, const struct op *op, struct value *y,
                                  struct kb_error *err)
{
    const struct value *x = &g->values[op->in[0]];
    if (op->kind == OP_SCALE)
        return op->scale && op->n_scale > 0 && (int64_t)x->h * x->w * x->c % op->n_scale == 0
                   ? KB_OK
                   : misfit(op, _("the number of factors does not divide that of the values"), err);
    if (op->kind == OP_CROP_MATRIX) {
        y->h = 1;
        y->w = y->c = 4;
        return rule_fits(op->crop, x)
                   ? KB_OK
                   : misfit(op, _("the crop names points that do not exist"), err);
    }
    if (op->kind == OP_MEAN) {
        y->h = y->w = 1;
        return KB_OK;
    }
    if (op->kind == OP_GATE) {
        const struct value *by = op->n_in == 2 ? &g->values[op->in[1]] : NULL;
        return by && by->h == 1 && by->w == 1 && by->c == x->c
                   ? KB_OK
                   : misfit(op, _("needs one factor a channel"), err);
    }
    if (op->n_in != 2 || !is_matrix(&g->values[op->in[1]]))
        return misfit(op, _("needs a 4x4 matrix"), err);
    if (op->kind == OP_PLACE)
        return x->h == 1 && x->c == 2 ? KB_OK : misfit(op, _("needs points of two numbers"), err);
    y->h = op->out_h;
    y->w = op->out_w;
    return KB_OK;
}

// Numbers of a file must stay so small that shape arithmetic cannot overflow an int.
static bool is_bounded(const struct op *op)
{
    const int numbers[] = {op->groups,    op->kernel_h,  op->kernel_w,  op->stride_h,
                           op->stride_w,  op->pad_top,   op->pad_left,  op->pad_bottom,
                           op->pad_right, op->out_pad_h, op->out_pad_w, op->pad_channels,
                           op->out_h,     op->out_w,     op->out_c,     op->dilation_h,
                           op->dilation_w};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i] < 0 || numbers[i] > 1 << 20)
            return false;
    return op->stride_h > 0 && op->stride_w > 0 && op->groups > 0 && op->dilation_h > 0 &&
           op->dilation_w > 0;
}

static bool has_phases(const struct graph *g, const struct op *op)
{
    for (int i = 1; i < 4 && op->n_in == 4; i++)
        if (!same_shape(&g->values[op->in[0]], &g->values[op->in[i]]))
            return false;
    return op->n_in == 4;
}

static enum kb_code infer_shape(const struct graph *g, const struct op *op, struct kb_error *err)
{
    const struct value *x = &g->values[op->in[0]];
    struct value *y = &g->values[op->out];

    y->h = x->h;
    y->w = x->w;
    y->c = x->c;
    switch (op->kind) {
    case OP_CONV:
    case OP_DECONV:
        if ((!op->weight && !g->is_packed) || op->out_c < 1 || op->groups < 1 ||
            x->c % op->groups != 0 || op->out_c % op->groups != 0)
            return misfit(op, _("weights and channels do not match"), err);
        y->c = op->out_c;
        return shape_window(op, x, y, err);
    case OP_MAX_POOL:
        return shape_window(op, x, y, err);
    case OP_ADD:
        return op->n_in == 2 && same_shape(x, &g->values[op->in[1]])
                   ? KB_OK
                   : misfit(op, _("added values differ in shape"), err);
    case OP_CONCAT:
        return shape_concat(g, op, y, err);
    case OP_RESIZE_BILINEAR:
        y->h = op->out_h;
        y->w = op->out_w;
        return KB_OK;
    case OP_PAD:
        y->h = x->h + op->pad_top + op->pad_bottom;
        y->w = x->w + op->pad_left + op->pad_right;
        y->c = x->c + op->pad_channels;
        return KB_OK;
    case OP_RESHAPE:
        y->h = op->out_h;
        y->w = op->out_w;
        y->c = op->out_c;
        return (int64_t)x->h * x->w * x->c == (int64_t)y->h * y->w * y->c
                   ? KB_OK
                   : misfit(op, _("reshaped value has another number of elements"), err);
    case OP_INTERLEAVE:
        y->h = x->h * 2;
        y->w = x->w * 2;
        return has_phases(g, op) ? KB_OK : misfit(op, _("needs four phases of one shape"), err);
    case OP_SCALE:
    case OP_CROP_MATRIX:
    case OP_WARP:
    case OP_PLACE:
    case OP_MEAN:
    case OP_GATE:
        return shape_spatial(g, op, y, err);
    case OP_INPUT:
    case OP_BATCHNORM:
    case OP_ACTIVATION:
        return KB_OK;
    }
    return misfit(op, _("unknown operation"), err);
}

static enum kb_code infer_bounded(const struct graph *g, const struct op *op, struct kb_error *err)
{
    if (!is_bounded(op))
        return misfit(op, _("a number is negative or far too large"), err);
    enum kb_code code = infer_shape(g, op, err);
    if (code != KB_OK)
        return code;
    const struct value *y = &g->values[op->out];
    // 2^28 elements bounds what a hostile file can make us allocate for one value.
    if (y->h < 1 || y->w < 1 || y->c < 1 || (int64_t)y->h * y->w > (1 << 28) ||
        (int64_t)y->h * y->w * y->c > (1 << 28))
        return misfit(op, _("its output has an impossible size"), err);
    return KB_OK;
}

enum kb_code graph_infer_last(struct graph *g, struct kb_error *err)
{
    return infer_bounded(g, &g->ops[g->n_ops - 1], err);
}

enum kb_code graph_finish(struct graph *g, struct kb_error *err)
{
    if (g->n_inputs < 1 || g->n_inputs > (int)ARRAY_LEN(g->inputs) || g->n_outputs < 1 ||
        g->n_outputs > (int)ARRAY_LEN(g->outputs))
        return kb_fail(err, KB_BAD_INPUT, _("the network needs 1 to 8 inputs and 1 to 8 outputs"));
    CLEANUP(kb_freep) bool *known = kb_alloc((size_t)g->n_values);
    for (int i = 0; i < g->n_inputs; i++)
        known[g->inputs[i]] = true;

    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        if (op->n_in < 1 || op->n_in > (int)ARRAY_LEN(op->in))
            return misfit(op, _("wrong number of inputs"), err);
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] < 0 || op->in[k] >= g->n_values || !known[op->in[k]])
                return misfit(op, _("an input is not computed before it is used"), err);
        if (op->out < 0 || op->out >= g->n_values || known[op->out])
            return misfit(op, _("its output is computed twice"), err);
        enum kb_code code = infer_bounded(g, op, err);
        if (code != KB_OK)
            return code;
        const struct value *y = &g->values[op->out];
        if (op->kind == OP_CONV && op->residual >= 0 &&
            (op->residual >= g->n_values || !known[op->residual] ||
             !same_shape(&g->values[op->residual], y)))
            return misfit(op, _("the added value has another shape"), err);
        known[op->out] = true;
    }
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] < 0 || g->outputs[i] >= g->n_values || !known[g->outputs[i]])
            return kb_fail(err, KB_BAD_INPUT, _("output %d of the network is never computed"), i);
    return KB_OK;
}

static int output_named(const struct graph *g, const char *name)
{
    for (int i = 0; i < g->n_outputs; i++) {
        const char *have = g->values[g->outputs[i]].name;
        if (have && strcmp(have, name) == 0)
            return g->outputs[i];
    }
    return -1;
}

enum kb_code graph_keep_outputs(struct graph *g, const char *const *names, int n_names,
                                struct kb_error *err)
{
    int kept[ARRAY_LEN(g->outputs)], n_ops = 0;
    CLEANUP(kb_freep) bool *needed = kb_alloc((size_t)g->n_values * sizeof(*needed));
    for (int i = 0; i < n_names; i++) {
        kept[i] = output_named(g, names[i]);
        if (kept[i] < 0)
            return kb_fail(err, KB_BAD_INPUT, _("the network has no output '%s'"), names[i]);
        needed[kept[i]] = true;
    }
    memcpy(g->outputs, kept, (size_t)n_names * sizeof(kept[0]));
    g->n_outputs = n_names;

    for (int i = g->n_ops - 1; i >= 0; i--)
        for (int k = 0; k < g->ops[i].n_in; k++)
            needed[g->ops[i].in[k]] |= needed[g->ops[i].out];
    for (int i = 0; i < g->n_ops; i++) {
        if (needed[g->ops[i].out])
            g->ops[n_ops++] = g->ops[i];
        else
            op_clear(&g->ops[i]);
    }
    g->n_ops = n_ops;
    return KB_OK;
}

int graph_uses(const struct graph *g, int value)
{
    int uses = 0;
    for (int i = 0; i < g->n_ops; i++) {
        for (int k = 0; k < g->ops[i].n_in; k++)
            uses += g->ops[i].in[k] == value;
        uses += g->ops[i].kind == OP_CONV && g->ops[i].residual == value;
    }
    for (int i = 0; i < g->n_outputs; i++)
        uses += g->outputs[i] == value;
    return uses;
}

int graph_producer(const struct graph *g, int value)
{
    for (int i = 0; i < g->n_ops; i++)
        if (g->ops[i].out == value)
            return i;
    return -1;
}

int64_t graph_macs(const struct graph *g)
{
    int64_t total = 0;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        // A transposed convolution spends its kernel on every input pixel, a convolution on every
        // output pixel.
        const struct value *at = &g->values[op->kind == OP_DECONV ? op->in[0] : op->out];
        if (op->kind == OP_CONV || op->kind == OP_DECONV)
            total += (int64_t)at->h * at->w * op->out_c * g->values[op->in[0]].c / op->groups *
                     op->kernel_h * op->kernel_w;
    }
    return total;
}

int64_t graph_params(const struct graph *g)
{
    int64_t total = 0;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        int c = g->values[op->out].c;
        if (op->weight)
            total += (int64_t)op->out_c * (g->values[op->in[0]].c / op->groups) * op->kernel_h *
                     op->kernel_w;
        total += (op->bias ? c : 0) + (op->slope ? c : 0);
        total += op->kind == OP_SCALE ? op->n_scale : op->scale ? c : 0;
    }
    return total;
}
