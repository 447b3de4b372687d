// The CPU backend: convolutions, pooling and element-wise arithmetic by oneDNN's C API, moving of
// numbers by kernels.c. Every dnnl_ name of koubo stands in this file and in onednn.c, which has
// what versions 2 and 3 call otherwise.
//
// Layout. All values are NHWC: oneDNN's fastest convolutions for AVX-512 (brgconv) want it, and a
// concatenation over channels needs no pass of its own: an operation that only moves numbers writes
// straight into its slice of the concatenated value (struct slot: a root that owns the memory, an
// offset and a pixel stride). Convolutions themselves must write dense values: given a strided
// destination the library falls back to its reference code.
//
// Residuals. A full-tensor binary post-op would leave brgconv for an older kernel; the sum post-op
// does not, so the residual is copied to the destination first.
//
// int8. A convolution that reads u8 has s8 weights and gives u8, or the wide type (f32 or bf16)
// where the next operation wants that; one that reads wide and whose result is u8 writes beside it
// first and is then converted.
//
// Memory. One arena for all inner values, planned by first fit over lifetimes; one scratchpad of
// the largest size (user mode: in the library's default mode a primitive must run in the thread
// that created it).
#include "nn/backend.h"
#include "nn/kernels.h"
#include "nn/layout.h"
#include "nn/onednn/library.h"
#include "nn/quantize.h"
#include "nn/spatial.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Where a primitive's argument lies: a value, or memory of the plan's own.
struct binding {
    int arg;
    int value; // -1: fixed
    dnnl_memory_t memory;
};

struct step {
    enum { STEP_PRIMITIVE, STEP_MOVE, STEP_PRELU, STEP_QUANTIZE, STEP_SPATIAL } kind;
    dnnl_primitive_t primitive;
    int n_bindings;
    struct binding bindings[6];
    struct move move; // pointers are filled in when memory is planned
    int src[4], dst;  // values of move; dst_offset elements into dst's slot
    int64_t dst_offset;
    float *slope;           // STEP_PRELU, owned; STEP_SPATIAL: the factors
    struct crop_rule *crop; // STEP_SPATIAL, owned
    struct spatial spatial; // STEP_SPATIAL; images from src[0], src[1], dst when memory is planned
    float factor;           // STEP_QUANTIZE: from src[0] to dst
};

struct plan {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int batch, threads;
    int n_steps, n_slots;
    struct step *steps;
    struct slot *slots;
    char *arena, *scratch;
    size_t arena_bytes, scratch_bytes, weight_bytes;
    dnnl_memory_t *owned; // weights and biases
    int n_owned;
    struct descs descs; // while it is made
    struct observer *observer;
    struct pack *pack;               // constants come from here, or
    struct pack_writer *pack_writer; // are written there as they are made; either may be NULL
};

static enum kb_code check(dnnl_status_t s, const char *what, struct kb_error *err)
{
    if (s == dnnl_success)
        return KB_OK;
    return kb_fail(err, s == dnnl_out_of_memory ? KB_NO_SPACE : KB_INTERNAL,
                   _("the inference library failed at '%s' (oneDNN status %d)"), what, (int)s);
}

#define DNNL_CHECK(call)                                                                           \
    do {                                                                                           \
        enum kb_code code_ = check(call, #call, err);                                              \
        if (code_ != KB_OK)                                                                        \
            return code_;                                                                          \
    } while (0)
#define CHECK(call)                                                                                \
    do {                                                                                           \
        enum kb_code code_ = call;                                                                 \
        if (code_ != KB_OK)                                                                        \
            return code_;                                                                          \
    } while (0)

static dnnl_data_type_t type_of(const struct plan *p, int value)
{
    enum slot_type t = p->slots[value].type;
    return t == SLOT_F32 ? dnnl_f32 : t == SLOT_BF16 ? dnnl_bf16 : dnnl_u8;
}

// NHWC memory of a value, dense. Logical dims are NCHW as the library wants them.
static desc_ref desc_of(struct plan *p, const struct graph *g, int value, dnnl_data_type_t type)
{
    const struct value *v = &g->values[p->slots[value].value];
    const dnnl_dims_t dims = {p->batch, v->c, v->h, v->w};
    return desc_new(&p->descs, 4, dims, type, dnnl_nhwc);
}

static struct step *new_step(struct plan *p, int kind)
{
    struct step *s = &p->steps[p->n_steps++];
    *s = (struct step){.kind = kind, .dst = -1, .src = {-1, -1, -1, -1}};
    return s;
}

static enum kb_code bind(struct plan *p, struct step *s, int arg, desc_ref md, int value,
                         struct kb_error *err)
{
    struct binding *b = &s->bindings[s->n_bindings];
    DNNL_CHECK(dnnl_memory_create(&b->memory, md, p->engine, DNNL_MEMORY_NONE));
    b->arg = arg;
    b->value = value;
    s->n_bindings++;
    return KB_OK;
}

static enum kb_code unfit(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT, _("the packed network does not fit"));
}

// A constant out of the pack, where it lies: the library only reads it.
static enum kb_code bind_packed(struct plan *p, struct step *s, int arg, desc_ref wanted,
                                struct kb_error *err)
{
    const void *made_for = pack_take(p->pack, desc_bytes_size());
    const void *data = pack_take(p->pack, dnnl_memory_desc_get_size(wanted));
    dnnl_memory_t memory = NULL;
    if (!made_for || !data || !desc_matches(made_for, wanted))
        return unfit(err);
    DNNL_CHECK(dnnl_memory_create(&memory, wanted, p->engine, (void *)data));
    p->owned[p->n_owned++] = memory;
    s->bindings[s->n_bindings++] = (struct binding){arg, -1, memory};
    return KB_OK;
}

static enum kb_code write_packed(struct plan *p, dnnl_memory_t memory, desc_ref desc,
                                 struct kb_error *err)
{
    void *data = NULL;
    DNNL_CHECK(dnnl_memory_get_data_handle(memory, &data));
    CLEANUP(kb_freep) char *made_for = kb_alloc(desc_bytes_size());
    desc_save(made_for, desc);
    pack_put(p->pack_writer, made_for, desc_bytes_size());
    pack_put(p->pack_writer, data, dnnl_memory_desc_get_size(desc));
    return KB_OK;
}

// Memory of the plan's own with this content, in the layout the primitive asked for; or the pack's.
static enum kb_code bind_constant(struct plan *p, struct step *s, int arg, const float *data,
                                  desc_ref user, desc_ref wanted, struct kb_error *err)
{
    dnnl_memory_t from = NULL, to = NULL;
    if (p->pack)
        return bind_packed(p, s, arg, wanted, err);
    DNNL_CHECK(dnnl_memory_create(&to, wanted, p->engine, DNNL_MEMORY_ALLOCATE));
    p->owned[p->n_owned++] = to;
    p->weight_bytes += dnnl_memory_desc_get_size(wanted);
    DNNL_CHECK(dnnl_memory_create(&from, user, p->engine, (void *)data));

    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_status_t st =
        dnnl_reorder_primitive_desc_create(&pd, user, p->engine, wanted, p->engine, NULL);
    if (st == dnnl_success)
        st = dnnl_primitive_create(&reorder, pd);
    if (st == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        st = dnnl_primitive_execute(reorder, p->stream, 2, args);
    }
    if (st == dnnl_success)
        st = dnnl_stream_wait(p->stream);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(pd);
    dnnl_memory_destroy(from);
    DNNL_CHECK(st);
    s->bindings[s->n_bindings++] = (struct binding){arg, -1, to};
    return p->pack_writer ? write_packed(p, to, wanted, err) : KB_OK;
}

// Make the primitive of a step from its descriptor and remember its scratchpad.
static enum kb_code finish_primitive(struct plan *p, struct step *s, dnnl_primitive_desc_t pd,
                                     struct kb_error *err)
{
    desc_ref scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t bytes = dnnl_memory_desc_get_size(scratch);
    p->scratch_bytes = KB_MAX(p->scratch_bytes, bytes);
    if (bytes > 0)
        CHECK(bind(p, s, DNNL_ARG_SCRATCHPAD, scratch, -1, err));
    DNNL_CHECK(dnnl_primitive_create(&s->primitive, pd));
    return KB_OK;
}

// Post-ops of one operation: the residual already in the destination, times sum (0: none), then the
// activation. unit: the real value of 1 in the destination.
static enum kb_code make_attr(dnnl_primitive_attr_t *ret, float sum, const struct op *op,
                              float unit, struct kb_error *err)
{
    dnnl_post_ops_t post = NULL;
    DNNL_CHECK(dnnl_primitive_attr_create(ret));
    DNNL_CHECK(dnnl_primitive_attr_set_scratchpad_mode(*ret, dnnl_scratchpad_mode_user));
    DNNL_CHECK(dnnl_post_ops_create(&post));
    if (sum > 0)
        post_ops_add_sum(post, sum);
    if (op && op->act == ACT_RELU)
        post_ops_add_eltwise(post, dnnl_eltwise_relu, 0, 0);
    else if (op && op->act == ACT_LEAKY_RELU)
        post_ops_add_eltwise(post, dnnl_eltwise_relu, op->alpha, 0);
    else if (op && op->act == ACT_RELU6)
        post_ops_add_eltwise(post, dnnl_eltwise_clip, 0, 6 / unit);
    else if (op && op->act == ACT_SIGMOID)
        post_ops_add_eltwise(post, dnnl_eltwise_logistic, 0, 0);
    dnnl_status_t st = dnnl_primitive_attr_set_post_ops(*ret, post);
    dnnl_post_ops_destroy(post);
    DNNL_CHECK(st);
    return KB_OK;
}

static void add_move(struct plan *p, const struct op *op, int src, int dst)
{
    struct step *s = new_step(p, STEP_MOVE);
    s->src[0] = src;
    s->dst = dst;
    s->move = (struct move){.kind = op->kind, .n_src = 1, .top = op->pad_top, .left = op->pad_left};
}

// A dense copy of one value into another of the same shape and type.
static void add_copy(struct plan *p, int src, int dst)
{
    struct op copy = {.kind = OP_CONCAT};
    add_move(p, &copy, src, dst);
}

static void *copy_of(const void *data, size_t bytes)
{
    return memcpy(kb_alloc(bytes), data, bytes);
}

static void add_prelu(struct plan *p, const struct graph *g, const struct op *op)
{
    struct step *s = new_step(p, STEP_PRELU);
    s->dst = op->out;
    s->slope = copy_of(op->slope, (size_t)g->values[op->out].c * sizeof(float));
}

static int add_slot(struct plan *p, const struct graph *g, int value, enum slot_type type)
{
    p->slots[p->n_slots] = layout_extra(g, value, p->n_slots, type);
    return p->n_slots++;
}

// From a wide value to u8.
static void add_quantize(struct plan *p, int src, int dst)
{
    struct step *s = new_step(p, STEP_QUANTIZE);
    s->src[0] = src;
    s->dst = dst;
    s->move.n_src = 1;
    s->factor = 1 / p->slots[dst].scale;
}

// Weights and bias of a convolution in the numbers it computes with, and what one of its sums is
// worth in the destination.
struct conv_numbers {
    float *weight, *bias, *scales; // owned; scales NULL: 1
    float sum, unit;               // see make_attr()
};

static void conv_numbers_clear(struct conv_numbers *n)
{
    free(n->weight);
    free(n->bias);
    free(n->scales);
}

static enum kb_code quantized(struct conv_numbers *ret, const struct plan *p, const struct graph *g,
                              const struct op *op, struct kb_error *err)
{
    size_t out_c = (size_t)g->values[op->out].c, in_c = (size_t)g->values[op->in[0]].c;
    size_t n_weights = out_c * in_c * (size_t)op->kernel_h * (size_t)op->kernel_w;
    const struct slot *out = &p->slots[op->out];
    struct conv_numbers *n = ret; // released by the caller
    *n = (struct conv_numbers){.scales = kb_alloc(out_c * sizeof(float)),
                               .sum = op->residual >= 0,
                               .unit = out->type == SLOT_U8 ? out->scale : 1};
    if (op->residual >= 0 && out->type == SLOT_U8)
        n->sum = p->slots[op->residual].scale / out->scale;
    if (p->pack) { // which has the weights and the bias too
        const void *scales = pack_take(p->pack, out_c * sizeof(float));
        if (!scales)
            return unfit(err);
        memcpy(n->scales, scales, out_c * sizeof(float));
        return KB_OK;
    }
    n->weight = kb_alloc(n_weights * sizeof(float));
    n->bias = op->bias ? kb_alloc(out_c * sizeof(float)) : NULL;
    quantize_weights(p->slots, g, op, n->weight, n->scales);
    for (size_t o = 0; o < out_c; o++) {
        if (op->bias) // it is added after the scale, or before
            n->bias[o] = op->bias[o] / (ONEDNN_ARG_SCALES ? n->unit : n->scales[o]);
        n->scales[o] /= n->unit;
    }
    if (p->pack_writer)
        pack_put(p->pack_writer, n->scales, out_c * sizeof(float));
    return KB_OK;
}

static enum kb_code make_conv_attr(dnnl_primitive_attr_t *ret, const struct conv_numbers *n,
                                   const struct op *op, int out_c, struct kb_error *err)
{
    CHECK(make_attr(ret, n->sum, op, n->unit, err));
    if (n->scales)
        DNNL_CHECK(attr_set_scales(*ret, out_c, op->groups > 1, n->scales));
    return KB_OK;
}

static enum kb_code add_conv(struct plan *p, const struct graph *g, const struct op *op,
                             struct kb_error *err)
{
    const struct value *x = &g->values[op->in[0]], *y = &g->values[op->out];
    enum slot_type src_type = p->slots[op->in[0]].type;
    bool is_int8 = src_type == SLOT_U8;
    dnnl_data_type_t weight_type = is_int8 ? dnnl_s8 : type_of(p, op->in[0]);
    int gr = op->groups, out = op->out;
    if (!is_int8 && p->slots[out].type == SLOT_U8)
        out = add_slot(p, g, op->out, src_type);
    CLEANUP(conv_numbers_clear)
    struct conv_numbers numbers = {.sum = op->residual >= 0, .unit = 1};
    if (is_int8)
        CHECK(quantized(&numbers, p, g, op, err));
    desc_ref src = desc_of(p, g, op->in[0], type_of(p, op->in[0]));
    desc_ref dst = desc_of(p, g, out, type_of(p, out));
    const dnnl_dims_t plain = {y->c, x->c, op->kernel_h, op->kernel_w};
    const dnnl_dims_t grouped = {gr, y->c / gr, x->c / gr, op->kernel_h, op->kernel_w};
    const dnnl_dims_t channels = {y->c};
    int nd = gr > 1 ? 5 : 4;
    desc_ref user = desc_new(&p->descs, nd, gr > 1 ? grouped : plain, dnnl_f32,
                             gr > 1 ? dnnl_goihw : dnnl_oihw);
    desc_ref any =
        desc_new(&p->descs, nd, gr > 1 ? grouped : plain, weight_type, dnnl_format_tag_any);
    desc_ref each = desc_new(&p->descs, 1, channels, dnnl_f32, dnnl_x);

    if (op->residual >= 0)
        add_copy(p, op->residual, op->out);
    struct step *s = new_step(p, STEP_PRIMITIVE);
    const struct conv_geometry geometry = {
        .strides = {op->stride_h, op->stride_w},
        .dilates = {op->dilation_h - 1, op->dilation_w - 1},
        .before = {op->pad_top, op->pad_left},
        .after = {op->pad_bottom, op->pad_right},
    };

    dnnl_primitive_attr_t attr = NULL;
    enum kb_code code = make_conv_attr(&attr, &numbers, op, y->c, err);
    dnnl_primitive_desc_t pd = NULL;
    if (code == KB_OK)
        code = check(
            describe_conv(&pd, p->engine, src, any, op->bias ? each : NULL, dst, &geometry, attr),
            op->name ? op->name : "conv", err);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (code == KB_OK)
        code = bind(p, s, DNNL_ARG_SRC, src, op->in[0], err);
    if (code == KB_OK)
        code = bind(p, s, DNNL_ARG_DST, dst, out, err);
    if (code == KB_OK)
        code = bind_constant(p, s, DNNL_ARG_WEIGHTS, is_int8 ? numbers.weight : op->weight, user,
                             dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), err);
    if (code == KB_OK && op->bias)
        code =
            bind_constant(p, s, DNNL_ARG_BIAS, is_int8 ? numbers.bias : op->bias, each, each, err);
    if (code == KB_OK && numbers.scales && ONEDNN_ARG_SCALES)
        code = bind_constant(p, s, ONEDNN_ARG_SCALES, numbers.scales, each, each, err);
    if (code == KB_OK)
        code = finish_primitive(p, s, pd, err);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (code == KB_OK && op->act == ACT_PRELU)
        add_prelu(p, g, op);
    if (code == KB_OK && out != op->out)
        add_quantize(p, out, op->out);
    return code;
}

// A primitive of one source, or two (src1 >= 0), and one destination, as the library described it
// (st). pd is destroyed. act: whose PReLU comes behind it; may be NULL.
static enum kb_code add_simple(struct plan *p, const struct graph *g, dnnl_status_t st,
                               dnnl_primitive_desc_t pd, const struct op *act, int src, int src1,
                               int dst, struct kb_error *err)
{
    struct step *s = new_step(p, STEP_PRIMITIVE);
    desc_ref src_md = desc_of(p, g, src, type_of(p, src));
    desc_ref dst_md = desc_of(p, g, dst, type_of(p, dst));
    enum kb_code code = check(st, "primitive", err);
    if (code == KB_OK)
        code = bind(p, s, DNNL_ARG_SRC_0, src_md, src, err);
    if (code == KB_OK && src1 >= 0)
        code = bind(p, s, DNNL_ARG_SRC_1, src_md, src1, err);
    if (code == KB_OK)
        code = bind(p, s, DNNL_ARG_DST, dst_md, dst, err);
    if (code == KB_OK)
        code = finish_primitive(p, s, pd, err);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (code == KB_OK && act && act->act == ACT_PRELU)
        add_prelu(p, g, act);
    return code;
}

static enum kb_code add_add(struct plan *p, const struct graph *g, const struct op *op,
                            struct kb_error *err)
{
    desc_ref md = desc_of(p, g, op->in[0], type_of(p, op->in[0]));
    desc_ref out = desc_of(p, g, op->out, type_of(p, op->out));
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(make_attr(&attr, 0, op, 1, err));
    dnnl_status_t st = describe_add(&pd, p->engine, md, md, out, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, op, op->in[0], op->in[1], op->out, err);
}

static enum kb_code add_activation(struct plan *p, const struct graph *g, const struct op *op,
                                   struct kb_error *err)
{
    if (op->act == ACT_PRELU) {
        add_copy(p, op->in[0], op->out);
        add_prelu(p, g, op);
        return KB_OK;
    }
    dnnl_alg_kind_t alg = dnnl_eltwise_relu;
    float alpha = 0, beta = 0;
    if (op->act == ACT_SIGMOID)
        alg = dnnl_eltwise_logistic;
    else if (op->act == ACT_LEAKY_RELU)
        alpha = op->alpha;
    else if (op->act == ACT_RELU6) {
        alg = dnnl_eltwise_clip;
        beta = 6;
    } else if (op->act == ACT_NONE) {
        add_copy(p, op->in[0], op->out);
        return KB_OK;
    }
    desc_ref md = desc_of(p, g, op->in[0], type_of(p, op->in[0]));
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(make_attr(&attr, 0, NULL, 1, err));
    dnnl_status_t st = describe_eltwise(&pd, p->engine, md, alg, alpha, beta, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, NULL, op->in[0], -1, op->out, err);
}

static enum kb_code add_pool(struct plan *p, const struct graph *g, const struct op *op,
                             struct kb_error *err)
{
    desc_ref src = desc_of(p, g, op->in[0], type_of(p, op->in[0]));
    desc_ref dst = desc_of(p, g, op->out, type_of(p, op->out));
    const struct pool_geometry geometry = {
        .strides = {op->stride_h, op->stride_w},
        .kernel = {op->kernel_h, op->kernel_w},
        .before = {op->pad_top, op->pad_left},
        .after = {op->pad_bottom, op->pad_right},
    };
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(make_attr(&attr, 0, NULL, 1, err));
    dnnl_status_t st = describe_max_pool(&pd, p->engine, src, dst, &geometry, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, NULL, op->in[0], -1, op->out, err);
}

static enum kb_code add_resize(struct plan *p, const struct graph *g, const struct op *op,
                               struct kb_error *err)
{
    desc_ref src = desc_of(p, g, op->in[0], type_of(p, op->in[0]));
    desc_ref dst = desc_of(p, g, op->out, type_of(p, op->out));
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(make_attr(&attr, 0, NULL, 1, err));
    dnnl_status_t st = describe_resize(&pd, p->engine, src, dst, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, NULL, op->in[0], -1, op->out, err);
}

// f32 <-> bf16 between a value and the session's buffer, which is f32.
static enum kb_code add_convert(struct plan *p, const struct graph *g, int value, float *buffer,
                                bool to_value, struct kb_error *err)
{
    struct step *s = new_step(p, STEP_PRIMITIVE);
    desc_ref inner = desc_of(p, g, value, type_of(p, value));
    desc_ref outer = desc_of(p, g, value, dnnl_f32);
    dnnl_primitive_attr_t attr = NULL;
    CHECK(make_attr(&attr, 0, NULL, 1, err));
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t st = dnnl_reorder_primitive_desc_create(
        &pd, to_value ? outer : inner, p->engine, to_value ? inner : outer, p->engine, attr);
    dnnl_primitive_attr_destroy(attr);
    DNNL_CHECK(st);
    enum kb_code code = bind(p, s, to_value ? DNNL_ARG_TO : DNNL_ARG_FROM, inner, value, err);
    if (code == KB_OK) {
        dnnl_memory_t mem = NULL;
        code = check(dnnl_memory_create(&mem, outer, p->engine, buffer), "buffer", err);
        if (code == KB_OK) {
            p->owned[p->n_owned++] = mem;
            s->bindings[s->n_bindings++] =
                (struct binding){to_value ? DNNL_ARG_FROM : DNNL_ARG_TO, -1, mem};
            code = finish_primitive(p, s, pd, err);
        }
    }
    dnnl_primitive_desc_destroy(pd);
    return code;
}

static enum kb_code add_spatial(struct plan *p, const struct op *op, struct kb_error *err)
{
    const int values[] = {op->in[0], op->in[op->n_in - 1], op->out};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (p->slots[values[i]].type != SLOT_F32)
            return kb_fail(
                err, KB_BAD_INPUT,
                _("'%s' of the network works out places in a picture, which only f32 can "
                  "do; use --precision f32"),
                op->name ? op->name : "?");
    struct step *s = new_step(p, STEP_SPATIAL);
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

static void add_concat(struct plan *p, const struct graph *g, const struct op *op)
{
    int64_t channel = 0;
    int row = 0, column = 0;
    for (int i = 0; i < op->n_in; i++) {
        const struct value *x = &g->values[op->in[i]];
        if (p->slots[op->in[i]].root != p->slots[op->out].root) { // else it is already in place
            struct op part = {.kind = OP_CONCAT, .pad_top = row, .pad_left = column};
            add_move(p, &part, op->in[i], op->out);
            p->steps[p->n_steps - 1].dst_offset = channel;
            p->steps[p->n_steps - 1].move.dst.c = op->axis == 'c' ? x->c : 0;
        }
        channel += op->axis == 'c' ? x->c : 0;
        row += op->axis == 'h' ? x->h : 0;
        column += op->axis == 'w' ? x->w : 0;
    }
}

static enum kb_code add_op(struct plan *p, const struct graph *g, const struct op *op,
                           struct kb_error *err)
{
    switch (op->kind) {
    case OP_CONV:
        return add_conv(p, g, op, err);
    case OP_ADD:
        return add_add(p, g, op, err);
    case OP_ACTIVATION:
        return add_activation(p, g, op, err);
    case OP_MAX_POOL:
        return add_pool(p, g, op, err);
    case OP_RESIZE_BILINEAR:
        return add_resize(p, g, op, err);
    case OP_CONCAT:
        add_concat(p, g, op);
        return KB_OK;
    case OP_RESHAPE: // the same memory
        return KB_OK;
    default:
        break;
    }
    if (is_spatial(op->kind))
        return add_spatial(p, op, err);
    if (!layout_is_move(op->kind))
        return kb_fail(err, KB_INTERNAL, _("operation %d cannot run on this backend"),
                       (int)op->kind);
    add_move(p, op, op->in[0], op->out);
    struct step *s = &p->steps[p->n_steps - 1];
    s->move.n_src = op->n_in;
    for (int i = 1; i < op->n_in; i++)
        s->src[i] = op->in[i];
    return KB_OK;
}

// --- lifetimes, arena ---

static void use(struct plan *p, int value, int step)
{
    if (value < 0)
        return;
    struct slot *root = &p->slots[p->slots[value].root];
    root->first = KB_MIN(root->first, step);
    root->last = KB_MAX(root->last, step);
}

static char *address(const struct plan *p, int value)
{
    const struct slot *s = &p->slots[value], *root = &p->slots[s->root];
    char *base = root->external ? root->external : p->arena + root->at;
    return base + s->offset * slot_elem_size(s->type);
}

static struct image image_of(const struct plan *p, const struct graph *g, int value)
{
    const struct value *v = &g->values[p->slots[value].value];
    return (struct image){address(p, value),           p->batch, v->h, v->w, v->c,
                          p->slots[value].pixel_stride};
}

static enum kb_code plan_memory_map(struct plan *p, const struct graph *g, struct kb_error *err)
{
    for (int v = 0; v < p->n_slots; v++) {
        p->slots[v].first = p->n_steps;
        p->slots[v].last = -1;
    }
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        for (int k = 0; k < s->n_bindings; k++)
            use(p, s->bindings[k].value, i);
        for (int k = 0; k < 4; k++)
            use(p, s->src[k], i);
        use(p, s->dst, i);
    }
    for (int i = 0; i < g->n_outputs; i++)
        use(p, g->outputs[i], p->n_steps);
    p->arena_bytes = layout_place(p->slots, p->n_slots, g, p->batch);
    p->arena = aligned_alloc(64, KB_MAX(p->arena_bytes, 64));
    p->scratch_bytes = (p->scratch_bytes + 63) & ~(size_t)63;
    p->scratch = aligned_alloc(64, KB_MAX(p->scratch_bytes, 64));
    if (!p->arena || !p->scratch)
        return kb_no_memory(err);
    memset(p->arena, 0, p->arena_bytes);

    for (int i = 0; i < p->n_steps; i++) {
        struct step *s = &p->steps[i];
        for (int k = 0; k < s->n_bindings; k++) {
            struct binding *b = &s->bindings[k];
            if (b->value >= 0)
                DNNL_CHECK(dnnl_memory_set_data_handle(b->memory, address(p, b->value)));
            else if (b->arg == DNNL_ARG_SCRATCHPAD)
                DNNL_CHECK(dnnl_memory_set_data_handle(b->memory, p->scratch));
        }
        if (s->kind == STEP_PRIMITIVE)
            continue;
        int channels = s->move.dst.c; // of a part of a concatenation
        s->move.elem_size = slot_elem_size(p->slots[s->dst].type);
        s->move.dst = image_of(p, g, s->dst);
        s->move.dst.data = (char *)s->move.dst.data + s->dst_offset * s->move.elem_size;
        s->move.dst.c = channels ? channels : s->move.dst.c;
        for (int k = 0; k < s->move.n_src; k++)
            s->move.src[k] = image_of(p, g, s->src[k]);
        s->spatial.x = s->move.src[0];
        s->spatial.matrix = s->move.src[1];
        s->spatial.y = s->move.dst;
    }
    return KB_OK;
}

static void plan_free(struct plan **pp)
{
    struct plan *p = *pp;
    if (!p)
        return;
    for (int i = 0; i < p->n_steps; i++) {
        struct step *s = &p->steps[i];
        for (int k = 0; k < s->n_bindings; k++)
            if (s->bindings[k].value >= 0 || s->bindings[k].arg == DNNL_ARG_SCRATCHPAD)
                dnnl_memory_destroy(s->bindings[k].memory);
        if (s->primitive)
            dnnl_primitive_destroy(s->primitive);
        free(s->slope);
        free(s->crop);
    }
    for (int i = 0; i < p->n_owned; i++)
        dnnl_memory_destroy(p->owned[i]);
    if (p->stream)
        dnnl_stream_destroy(p->stream);
    if (p->engine)
        dnnl_engine_destroy(p->engine);
    descs_clear(&p->descs);
    free(p->owned);
    free(p->steps);
    free(p->slots);
    free(p->arena);
    free(p->scratch);
    free(p);
    *pp = NULL;
}

// What is not u8 in int8: the faster of the two on this processor.
static enum slot_type wide_type(enum precision precision)
{
    if (precision == PRECISION_INT8)
        precision = precision_resolve(PRECISION_AUTO, false);
    return precision == PRECISION_BF16 ? SLOT_BF16 : SLOT_F32;
}

static enum kb_code plan_create(struct plan **ret, const struct graph *g,
                                const struct session_params *params, float *const *inputs,
                                float *const *outputs, struct kb_error *err)
{
    CLEANUP(plan_free) struct plan *p = kb_alloc(sizeof(*p));
    p->batch = params->batch;
    p->threads = params->threads;
    p->observer = params->observer;
    p->pack = params->pack;
    p->pack_writer = params->pack_writer;
    omp_set_num_threads(p->threads); // the calling thread's own setting
    DNNL_CHECK(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
    DNNL_CHECK(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));

    // At most: a copy, a primitive and a PReLU or a conversion an operation, eight parts a
    // concatenation.
    size_t n_steps = 2 * ARRAY_LEN(g->inputs);
    for (int i = 0; i < g->n_ops; i++)
        n_steps += KB_MAX(3, (size_t)g->ops[i].n_in);
    p->steps = kb_alloc(n_steps * sizeof(p->steps[0]));
    p->n_slots = g->n_values;
    // Beside the values: one an operation and one an input that is converted to u8.
    size_t n_extra = (size_t)g->n_ops + (size_t)g->n_inputs;
    p->slots = kb_alloc(((size_t)p->n_slots + n_extra) * sizeof(p->slots[0]));
    p->owned = kb_alloc((3 * (size_t)g->n_ops + 16) * sizeof(p->owned[0]));

    layout_choose(p->slots, g, wide_type(params->precision),
                  params->precision == PRECISION_INT8 ? params->ranges : NULL);
    for (int i = 0; i < g->n_inputs; i++) {
        int v = g->inputs[i];
        if (p->slots[v].type == SLOT_F32) {
            p->slots[v].external = inputs[i];
        } else if (p->slots[v].type == SLOT_BF16) {
            CHECK(add_convert(p, g, v, inputs[i], true, err));
        } else {
            int outer = add_slot(p, g, v, SLOT_F32);
            p->slots[outer].external = inputs[i];
            add_quantize(p, outer, v);
        }
    }
    for (int i = 0; i < g->n_ops; i++)
        CHECK(add_op(p, g, &g->ops[i], err));
    for (int i = 0; i < g->n_outputs; i++) {
        struct slot *s = &p->slots[g->outputs[i]];
        if (s->type == SLOT_F32 && s->root == g->outputs[i] && !s->external)
            s->external = outputs[i];
        else
            CHECK(add_convert(p, g, g->outputs[i], outputs[i], false, err));
    }
    CHECK(plan_memory_map(p, g, err));
    descs_clear(&p->descs);
    *ret = TAKE(p);
    return KB_OK;
}

// Show the observer what a step has written.
static enum kb_code observe(const struct plan *p, const struct step *s, struct kb_error *err)
{
    for (int i = 0; i < s->n_bindings; i++) {
        const struct binding *b = &s->bindings[i];
        desc_ref md;
        if (b->arg != DNNL_ARG_DST || b->value < 0)
            continue;
        DNNL_CHECK(dnnl_memory_get_memory_desc(b->memory, &md));
        observer_note(p->observer, b->value, (const float *)(void *)address(p, b->value),
                      dnnl_memory_desc_get_size(md) / sizeof(float));
    }
    return KB_OK;
}

static enum kb_code plan_run(struct plan *p, struct kb_error *err)
{
    omp_set_num_threads(p->threads);
    for (int i = 0; i < p->n_steps; i++) {
        struct step *s = &p->steps[i];
        if (s->kind == STEP_MOVE) {
            move_run(&s->move);
        } else if (s->kind == STEP_PRELU) {
            prelu_run(&s->move.dst, s->slope, p->slots[s->dst].type == SLOT_BF16);
        } else if (s->kind == STEP_QUANTIZE) {
            quantize_run(&s->move.dst, &s->move.src[0], p->slots[s->src[0]].type == SLOT_BF16,
                         s->factor);
        } else if (s->kind == STEP_SPATIAL) {
            spatial_run(&s->spatial);
        } else {
            dnnl_exec_arg_t args[ARRAY_LEN(s->bindings)];
            for (int k = 0; k < s->n_bindings; k++)
                args[k] = (dnnl_exec_arg_t){s->bindings[k].arg, s->bindings[k].memory};
            DNNL_CHECK(dnnl_primitive_execute(s->primitive, p->stream, s->n_bindings, args));
            if (p->observer)
                CHECK(observe(p, s, err));
        }
    }
    DNNL_CHECK(dnnl_stream_wait(p->stream));
    return KB_OK;
}

static size_t plan_memory(const struct plan *p)
{
    return p->arena_bytes + p->scratch_bytes + p->weight_bytes;
}

static bool available(void)
{
    return true; // oneDNN runs on any x86-64 and picks kernels by what the processor has
}

static void describe(char *ret, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(ret, size, "onednn %d.%d.%d %s isa %x", v->major, v->minor, v->patch, v->hash,
             (unsigned)dnnl_get_effective_cpu_isa());
}

// The library's word, not the processor's: it can be limited by ONEDNN_MAX_CPU_ISA.
static bool has_isa(dnnl_cpu_isa_t wanted)
{
    return (dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

static void library(char *ret, size_t size)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } sets[] = {
        // The largest that is whole: each includes those below it, but for AVX2 with VNNI.
        {dnnl_cpu_isa_avx512_core_amx, "AVX-512 with VNNI, BF16 and AMX"},
        {dnnl_cpu_isa_avx512_core_bf16, "AVX-512 with VNNI and BF16"},
        {dnnl_cpu_isa_avx512_core_vnni, "AVX-512 with VNNI"},
        {dnnl_cpu_isa_avx512_core, "AVX-512"},
        {dnnl_cpu_isa_avx2_vnni, "AVX2 with VNNI"},
        {dnnl_cpu_isa_avx2, "AVX2"},
        {dnnl_cpu_isa_avx, "AVX"},
        {dnnl_cpu_isa_sse41, "SSE4.1"},
    };
    size_t i = 0;
    while (i < ARRAY_LEN(sets) && !has_isa(sets[i].isa))
        i++;
    const dnnl_version_t *v = dnnl_version();
    snprintf(ret, size, "%d.%d.%d, %s", v->major, v->minor, v->patch,
             i < ARRAY_LEN(sets) ? sets[i].name : "no vector instructions");
}

// bf16 is emulated with AVX-512 alone; below that the library has no kernels for it.
static bool can(enum precision p)
{
    return p != PRECISION_BF16 || has_isa(dnnl_cpu_isa_avx512_core);
}

static bool is_native(enum precision p)
{
    return p == PRECISION_F32 || (p == PRECISION_BF16 && has_isa(dnnl_cpu_isa_avx512_core_bf16)) ||
           (p == PRECISION_INT8 &&
            (has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni)));
}

const struct backend backend_onednn = {
    .name = "onednn",
    .describe = describe,
    .library = library,
    .available = available,
    .can = can,
    .is_native = is_native,
    .plan_create = plan_create,
    .plan_run = plan_run,
    .plan_memory = plan_memory,
    .plan_free = plan_free,
};
