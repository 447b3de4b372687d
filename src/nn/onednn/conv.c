// Convolutions, in f32, bf16 and int8, with the residual and the activation that follow them.
#include "nn/onednn/internal.h"
#include "nn/quantize.h"

#include <stdlib.h>
#include <string.h>

// Weights and bias of a convolution in the numbers it computes with, and what one of its sums is
// worth in the destination.
struct conv_numbers {
    float *weight, *bias, *scales; // owned; scales NULL: 1
    float sum, unit;               // see onednn_attr()
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
            return onednn_unfit(err);
        memcpy(n->scales, scales, out_c * sizeof(float));
        return KB_OK;
    }
    n->weight = kb_alloc(n_weights * sizeof(float));
    n->bias = op->bias ? kb_alloc(out_c * sizeof(float)) : NULL;
    quantize_weights(p->slots, g, op, !onednn_has_vnni(), n->weight, n->scales);
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
    CHECK(onednn_attr(ret, n->sum, op, n->unit, err));
    if (n->scales)
        DNNL_CHECK(attr_set_scales(*ret, out_c, op->groups > 1, n->scales));
    return KB_OK;
}

enum kb_code onednn_add_conv(struct plan *p, const struct graph *g, const struct op *op,
                             struct kb_error *err)
{
    bool done;
    CHECK(onednn_add_winograd(p, g, op, &done, err));
    if (done)
        return KB_OK;
    const struct value *x = &g->values[op->in[0]], *y = &g->values[op->out];
    enum slot_type src_type = p->slots[op->in[0]].type;
    bool is_int8 = src_type == SLOT_U8;
    dnnl_data_type_t weight_type = is_int8 ? dnnl_s8 : onednn_type(p, op->in[0]);
    int gr = op->groups, out = op->out;
    if (!is_int8 && p->slots[out].type == SLOT_U8)
        out = onednn_add_slot(p, g, op->out, src_type);
    CLEANUP(conv_numbers_clear)
    struct conv_numbers numbers = {.sum = op->residual >= 0, .unit = 1};
    if (is_int8)
        CHECK(quantized(&numbers, p, g, op, err));
    desc_ref src = onednn_desc(p, g, op->in[0], onednn_type(p, op->in[0]));
    desc_ref dst = onednn_desc(p, g, out, onednn_type(p, out));
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
        onednn_add_copy(p, op->residual, op->out);
    struct step *s = onednn_step(p, STEP_PRIMITIVE);
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
        code = onednn_check(
            describe_conv(&pd, p->engine, src, any, op->bias ? each : NULL, dst, &geometry, attr),
            op->name ? op->name : "conv", err);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (code == KB_OK)
        code = onednn_bind(p, s, DNNL_ARG_SRC, src, op->in[0], err);
    if (code == KB_OK)
        code = onednn_bind(p, s, DNNL_ARG_DST, dst, out, err);
    if (code == KB_OK)
        code = onednn_bind_constant(
            p, s, DNNL_ARG_WEIGHTS, is_int8 ? numbers.weight : op->weight, user,
            dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), err);
    if (code == KB_OK && op->bias)
        code = onednn_bind_constant(p, s, DNNL_ARG_BIAS, is_int8 ? numbers.bias : op->bias, each,
                                    each, err);
    if (code == KB_OK && numbers.scales && ONEDNN_ARG_SCALES)
        code = onednn_bind_constant(p, s, ONEDNN_ARG_SCALES, numbers.scales, each, each, err);
    if (code == KB_OK)
        code = onednn_primitive(p, s, pd, err);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (code == KB_OK && op->act == ACT_PRELU)
        onednn_add_prelu(p, g, op);
    if (code == KB_OK && out != op->out)
        onednn_add_quantize(p, out, op->out);
    return code;
}
