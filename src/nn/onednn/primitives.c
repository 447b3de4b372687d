// What else oneDNN computes: sums, activations, pooling, resizing, conversion between types.
#include "nn/onednn/internal.h"

// x * clip(alpha * x + beta, 0, 1). The library's version 2 has these numbers built in.
#define HARD_SWISH_ALPHA (1.0f / 6)
#define HARD_SWISH_BETA  0.5f

enum kb_code onednn_primitive(struct plan *p, struct step *s, dnnl_primitive_desc_t pd,
                              struct kb_error *err)
{
    desc_ref scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t bytes = dnnl_memory_desc_get_size(scratch);
    p->scratch_bytes = KB_MAX(p->scratch_bytes, bytes);
    if (bytes > 0)
        CHECK(onednn_bind(p, s, DNNL_ARG_SCRATCHPAD, scratch, -1, err));
    DNNL_CHECK(dnnl_primitive_create(&s->primitive, pd));
    return KB_OK;
}

enum kb_code onednn_attr(dnnl_primitive_attr_t *ret, float sum, const struct op *op, float unit,
                         struct kb_error *err)
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
    else if (op && op->act == ACT_HARD_SWISH)
        post_ops_add_eltwise(post, dnnl_eltwise_hardswish, HARD_SWISH_ALPHA, HARD_SWISH_BETA);
    dnnl_status_t st = dnnl_primitive_attr_set_post_ops(*ret, post);
    dnnl_post_ops_destroy(post);
    DNNL_CHECK(st);
    return KB_OK;
}

// A primitive of one source, or two (src1 >= 0), and one destination, as the library described it
// (st). pd is destroyed. act: whose PReLU comes behind it; may be NULL.
static enum kb_code add_simple(struct plan *p, const struct graph *g, dnnl_status_t st,
                               dnnl_primitive_desc_t pd, const struct op *act, int src, int src1,
                               int dst, struct kb_error *err)
{
    struct step *s = onednn_step(p, STEP_PRIMITIVE);
    desc_ref src_md = onednn_desc(p, g, src, onednn_type(p, src));
    desc_ref dst_md = onednn_desc(p, g, dst, onednn_type(p, dst));
    enum kb_code code = onednn_check(st, "primitive", err);
    if (code == KB_OK)
        code = onednn_bind(p, s, DNNL_ARG_SRC_0, src_md, src, err);
    if (code == KB_OK && src1 >= 0)
        code = onednn_bind(p, s, DNNL_ARG_SRC_1, src_md, src1, err);
    if (code == KB_OK)
        code = onednn_bind(p, s, DNNL_ARG_DST, dst_md, dst, err);
    if (code == KB_OK)
        code = onednn_primitive(p, s, pd, err);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (code == KB_OK && act && act->act == ACT_PRELU)
        onednn_add_prelu(p, g, act);
    return code;
}

enum kb_code onednn_add_sum(struct plan *p, const struct graph *g, const struct op *op,
                            struct kb_error *err)
{
    desc_ref md = onednn_desc(p, g, op->in[0], onednn_type(p, op->in[0]));
    desc_ref out = onednn_desc(p, g, op->out, onednn_type(p, op->out));
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(onednn_attr(&attr, 0, op, 1, err));
    dnnl_status_t st = describe_add(&pd, p->engine, md, md, out, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, op, op->in[0], op->in[1], op->out, err);
}

static dnnl_alg_kind_t algorithm(const struct op *op, float *ret_alpha, float *ret_beta)
{
    *ret_alpha = *ret_beta = 0;
    switch (op->act) {
    case ACT_SIGMOID:
        return dnnl_eltwise_logistic;
    case ACT_HARD_SWISH:
        *ret_alpha = HARD_SWISH_ALPHA;
        *ret_beta = HARD_SWISH_BETA;
        return dnnl_eltwise_hardswish;
    case ACT_RELU6:
        *ret_beta = 6;
        return dnnl_eltwise_clip;
    case ACT_LEAKY_RELU:
        *ret_alpha = op->alpha;
        return dnnl_eltwise_relu;
    default:
        return dnnl_eltwise_relu;
    }
}

enum kb_code onednn_add_activation(struct plan *p, const struct graph *g, const struct op *op,
                                   struct kb_error *err)
{
    if (op->act == ACT_PRELU) {
        onednn_add_copy(p, op->in[0], op->out);
        onednn_add_prelu(p, g, op);
        return KB_OK;
    }
    if (op->act == ACT_NONE) {
        onednn_add_copy(p, op->in[0], op->out);
        return KB_OK;
    }
    float alpha, beta;
    dnnl_alg_kind_t alg = algorithm(op, &alpha, &beta);
    desc_ref md = onednn_desc(p, g, op->in[0], onednn_type(p, op->in[0]));
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(onednn_attr(&attr, 0, NULL, 1, err));
    dnnl_status_t st = describe_eltwise(&pd, p->engine, md, alg, alpha, beta, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, NULL, op->in[0], -1, op->out, err);
}

enum kb_code onednn_add_pool(struct plan *p, const struct graph *g, const struct op *op,
                             struct kb_error *err)
{
    desc_ref src = onednn_desc(p, g, op->in[0], onednn_type(p, op->in[0]));
    desc_ref dst = onednn_desc(p, g, op->out, onednn_type(p, op->out));
    const struct pool_geometry geometry = {
        .strides = {op->stride_h, op->stride_w},
        .kernel = {op->kernel_h, op->kernel_w},
        .before = {op->pad_top, op->pad_left},
        .after = {op->pad_bottom, op->pad_right},
    };
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(onednn_attr(&attr, 0, NULL, 1, err));
    dnnl_status_t st = describe_max_pool(&pd, p->engine, src, dst, &geometry, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, NULL, op->in[0], -1, op->out, err);
}

enum kb_code onednn_add_resize(struct plan *p, const struct graph *g, const struct op *op,
                               struct kb_error *err)
{
    desc_ref src = onednn_desc(p, g, op->in[0], onednn_type(p, op->in[0]));
    desc_ref dst = onednn_desc(p, g, op->out, onednn_type(p, op->out));
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    CHECK(onednn_attr(&attr, 0, NULL, 1, err));
    dnnl_status_t st = describe_resize(&pd, p->engine, src, dst, attr);
    dnnl_primitive_attr_destroy(attr);
    return add_simple(p, g, st, pd, NULL, op->in[0], -1, op->out, err);
}

enum kb_code onednn_add_convert(struct plan *p, const struct graph *g, int value, float *buffer,
                                bool to_value, struct kb_error *err)
{
    struct step *s = onednn_step(p, STEP_PRIMITIVE);
    desc_ref inner = onednn_desc(p, g, value, onednn_type(p, value));
    desc_ref outer = onednn_desc(p, g, value, dnnl_f32);
    dnnl_primitive_attr_t attr = NULL;
    CHECK(onednn_attr(&attr, 0, NULL, 1, err));
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t st = dnnl_reorder_primitive_desc_create(
        &pd, to_value ? outer : inner, p->engine, to_value ? inner : outer, p->engine, attr);
    dnnl_primitive_attr_destroy(attr);
    DNNL_CHECK(st);
    enum kb_code code =
        onednn_bind(p, s, to_value ? DNNL_ARG_TO : DNNL_ARG_FROM, inner, value, err);
    if (code == KB_OK) {
        dnnl_memory_t mem = NULL;
        code = onednn_check(dnnl_memory_create(&mem, outer, p->engine, buffer), "buffer", err);
        if (code == KB_OK) {
            onednn_own(p, mem);
            onednn_add_binding(s, to_value ? DNNL_ARG_FROM : DNNL_ARG_TO, -1, mem);
            code = onednn_primitive(p, s, pd, err);
        }
    }
    dnnl_primitive_desc_destroy(pd);
    return code;
}
