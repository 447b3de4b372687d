// TensorFlow Lite models. The file is a FlatBuffer (nn/flatbuffer.h); field numbers are those of
// TensorFlow's schema.fbs (version 3, identifier "TFL3").
//
// What is understood is what float networks of the MediaPipe kind use: weights in f32 or f16 (those
// go through DEQUANTIZE operations, folded here), batch 1, NHWC.
#include "nn/import.h"

#include "nn/flatbuffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// More than any sensible network, few enough that nothing below can take long.
#define MAX_TENSORS 8192
#define MAX_OPS     4096
// Constants may be shared, but a file must not unfold to more than this many times its size.
#define MAX_UNFOLD 16

// --- tensors ---

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_I32 = 2 }; // schema.fbs TensorType

struct tflite_tensor {
    int rank, dims[4];
    int type;
    const uint8_t *data; // of a constant, else NULL
    size_t size;
    int value; // in the graph, or -1
    char name[64];
};

struct import {
    struct flat flat;
    struct tflite_tensor *tensors;
    int n_tensors;
    int *codes; // operator codes
    int n_codes;
    size_t unfolded; // bytes of weights so far
    struct graph *graph;
};

static enum kb_code damaged(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the .tflite file is damaged: an offset or a count points outside the file"));
}

static enum kb_code not_supported(const char *what, const char *where, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the .tflite network uses %s at '%s', which is not supported"), what, where);
}

// The name is for messages only: cut, and kept printable.
static void copy_name(struct flat *f, const struct vector *v, char *ret, size_t capacity)
{
    size_t n = KB_MIN(v->n, capacity - 1);
    for (size_t i = 0; i < n; i++) {
        char c = (char)f->data[v->at + i];
        ret[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    ret[n] = '\0';
}

static enum kb_code read_tensor(struct import *im, const struct table *t,
                                const struct vector *buffers, struct tflite_tensor *ret,
                                struct kb_error *err)
{
    struct flat *f = &im->flat;
    struct vector shape = table_vector(f, t, 0, 4), name = table_vector(f, t, 3, 1);
    copy_name(f, &name, ret->name, sizeof(ret->name));
    ret->type = table_byte(f, t, 1);
    ret->value = -1;
    if (table_field(f, t, 6) != 0)
        return not_supported(_("a sparse tensor"), ret->name, err);
    if (shape.n > ARRAY_LEN(ret->dims))
        return not_supported(_("a tensor of more than 4 dimensions"), ret->name, err);

    ret->rank = (int)shape.n;
    for (int i = 0; i < ret->rank; i++) {
        ret->dims[i] = flat_i32(f, shape.at + 4 * (size_t)i);
        if (ret->dims[i] < 1 || ret->dims[i] > 1 << 24)
            return not_supported(_("a tensor of empty, open or huge size"), ret->name, err);
    }
    uint32_t buffer = (uint32_t)table_i32(f, t, 2, 0);
    if (buffer >= buffers->n)
        return damaged(err);
    struct table b = vector_table(f, buffers, buffer);
    struct vector bytes = table_vector(f, &b, 0, 1);
    if (bytes.n > 0) {
        ret->data = f->data + bytes.at;
        ret->size = bytes.n;
        if ((uintptr_t)ret->data % sizeof(float) != 0)
            return damaged(err);
    }
    return f->bad ? damaged(err) : KB_OK;
}

// [1, h, w, c], [1, n, k] as h = 1, w = n, c = k, and [1, k] or [k] as c = k.
static enum kb_code tensor_image(const struct tflite_tensor *t, struct value *ret,
                                 struct kb_error *err)
{
    int r = t->rank;
    if (r < 1 || (r > 1 && t->dims[0] != 1))
        return not_supported(_("a batch other than 1"), t->name, err);
    ret->c = t->dims[r - 1];
    ret->w = r >= 3 ? t->dims[r - 2] : 1;
    ret->h = r >= 4 ? t->dims[r - 3] : 1;
    return KB_OK;
}

// A constant's n numbers as a new array of floats.
static enum kb_code constant_floats(struct import *im, const struct tflite_tensor *t, size_t n,
                                    float **ret, struct kb_error *err)
{
    if (!t->data)
        return not_supported(_("weights that are not constant"), t->name, err);
    if (t->type != TYPE_F32 && t->type != TYPE_F16)
        return not_supported(_("quantised weights"), t->name, err);
    enum dtype type = t->type == TYPE_F32 ? DTYPE_F32 : DTYPE_F16;
    if (t->size / dtype_size(type) != n || t->size % dtype_size(type) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' in the .tflite file has %zu bytes instead of %zu"), t->name, t->size,
                       n * dtype_size(type));
    im->unfolded += n * sizeof(float);
    if (im->unfolded / MAX_UNFOLD > im->flat.size)
        return not_supported(_("the same weights too often"), t->name, err);
    struct tensor flat = {.dtype = type, .n_dims = 1, .dims = {(int64_t)n}, .data = t->data};
    *ret = tensor_to_f32(&flat);
    return *ret ? KB_OK : kb_no_memory(err);
}

// --- operations ---

struct tflite_op {
    int code;
    struct table options;
    int n_in, in[8], out; // tensors; an optional input that is absent is -1
};

// schema.fbs BuiltinOperator
enum {
    CODE_ADD = 0,
    CODE_CONCATENATION = 2,
    CODE_CONV_2D = 3,
    CODE_DEPTHWISE_CONV_2D = 4,
    CODE_DEQUANTIZE = 6,
    CODE_LOGISTIC = 14,
    CODE_MAX_POOL_2D = 17,
    CODE_RELU = 19,
    CODE_RELU6 = 21,
    CODE_RESHAPE = 22,
    CODE_RESIZE_BILINEAR = 23,
    CODE_PAD = 34,
    CODE_PRELU = 54,
};

static const struct tflite_tensor *op_tensor(const struct import *im, const struct tflite_op *o,
                                             int i)
{
    return i < o->n_in && o->in[i] >= 0 ? &im->tensors[o->in[i]] : NULL;
}

static enum kb_code read_activation(struct import *im, const struct tflite_op *o, size_t field,
                                    struct op *op, struct kb_error *err)
{
    // schema.fbs ActivationFunctionType
    switch (table_byte(&im->flat, &o->options, field)) {
    case 0:
        return KB_OK;
    case 1:
        op->act = ACT_RELU;
        return KB_OK;
    case 3:
        op->act = ACT_RELU6;
        return KB_OK;
    default:
        return not_supported(_("an unknown fused activation"), op->name, err);
    }
}

// TensorFlow's SAME: as many outputs as ceil(size / stride); an odd rest goes below and right.
static void same_padding(int size, int kernel, int stride, int *ret_before, int *ret_after)
{
    int out = (size + stride - 1) / stride;
    int total = KB_MAX((out - 1) * stride + kernel - size, 0);
    *ret_before = total / 2;
    *ret_after = total - total / 2;
}

// Strides and padding, which convolutions and pools store alike; op's kernel is set already.
static enum kb_code read_window(struct import *im, const struct tflite_op *o, struct op *op,
                                struct kb_error *err)
{
    struct value x = {0};
    enum kb_code code = tensor_image(op_tensor(im, o, 0), &x, err);
    if (code != KB_OK)
        return code;
    int padding = table_byte(&im->flat, &o->options, 0);
    op->stride_w = table_i32(&im->flat, &o->options, 1, 1);
    op->stride_h = table_i32(&im->flat, &o->options, 2, 1);
    if (padding > 1 || op->stride_w < 1 || op->stride_h < 1 || op->kernel_w < 1 ||
        op->kernel_h < 1 || op->stride_w > 64 || op->stride_h > 64 || op->kernel_w > 64 ||
        op->kernel_h > 64)
        return not_supported(_("an unknown kernel, stride or padding"), op->name, err);
    if (padding == 0) {
        same_padding(x.h, op->kernel_h, op->stride_h, &op->pad_top, &op->pad_bottom);
        same_padding(x.w, op->kernel_w, op->stride_w, &op->pad_left, &op->pad_right);
    } else if (x.h < op->kernel_h || x.w < op->kernel_w) {
        return not_supported(_("a kernel larger than its picture"), op->name, err);
    }
    return KB_OK;
}

// From TensorFlow's (O, kh, kw, I) or, depthwise, (1, kh, kw, O) to OIHW.
static float *to_oihw(const float *from, size_t outputs, size_t inputs, size_t taps, bool depthwise)
{
    float *to = kb_calloc_checked(outputs * inputs * taps, sizeof(float));
    for (size_t o = 0; to && o < outputs; o++)
        for (size_t i = 0; i < inputs; i++)
            for (size_t t = 0; t < taps; t++)
                to[(o * inputs + i) * taps + t] =
                    depthwise ? from[t * outputs + o] : from[(o * taps + t) * inputs + i];
    return to;
}

static enum kb_code read_conv(struct import *im, const struct tflite_op *o, struct op *op,
                              struct kb_error *err)
{
    bool depthwise = o->code == CODE_DEPTHWISE_CONV_2D;
    const struct tflite_tensor *w = op_tensor(im, o, 1), *bias = op_tensor(im, o, 2);
    size_t act_field = depthwise ? 4 : 3;
    if (!w || w->rank != 4)
        return not_supported(_("a convolution without 4-dimensional weights"), op->name, err);
    if (table_i32(&im->flat, &o->options, act_field + 1, 1) != 1 ||
        table_i32(&im->flat, &o->options, act_field + 2, 1) != 1)
        return not_supported(_("a dilated convolution"), op->name, err);

    struct value x = {0};
    op->kind = OP_CONV;
    op->kernel_h = w->dims[1];
    op->kernel_w = w->dims[2];
    enum kb_code code = tensor_image(op_tensor(im, o, 0), &x, err);
    if (code == KB_OK)
        code = read_window(im, o, op, err);
    if (code == KB_OK)
        code = read_activation(im, o, act_field, op, err);
    if (code != KB_OK)
        return code;
    op->out_c = depthwise ? w->dims[3] : w->dims[0];
    op->groups = depthwise ? x.c : 1;
    if (depthwise ? w->dims[0] != 1 || op->out_c % x.c != 0 : w->dims[3] != x.c)
        return not_supported(_("weights that do not match the channels"), op->name, err);

    // At most 2^24 * 2^24 * 64 * 64 elements: the product fits in 64 bits.
    size_t taps = (size_t)op->kernel_h * (size_t)op->kernel_w, outputs = (size_t)op->out_c;
    size_t inputs = depthwise ? 1 : (size_t)x.c;
    CLEANUP(kb_freep) float *as_stored = NULL;
    code = constant_floats(im, w, outputs * inputs * taps, &as_stored, err);
    if (code != KB_OK)
        return code;
    op->weight = to_oihw(as_stored, outputs, inputs, taps, depthwise);
    if (!op->weight)
        return kb_no_memory(err);
    return bias ? constant_floats(im, bias, outputs, &op->bias, err) : KB_OK;
}

static enum kb_code read_pool(struct import *im, const struct tflite_op *o, struct op *op,
                              struct kb_error *err)
{
    op->kind = OP_MAX_POOL;
    op->kernel_w = table_i32(&im->flat, &o->options, 3, 0);
    op->kernel_h = table_i32(&im->flat, &o->options, 4, 0);
    if (table_byte(&im->flat, &o->options, 5) != 0)
        return not_supported(_("a fused activation of a pool"), op->name, err);
    return read_window(im, o, op, err);
}

static enum kb_code read_pad(struct import *im, const struct tflite_op *o, struct op *op,
                             struct kb_error *err)
{
    const struct tflite_tensor *t = op_tensor(im, o, 1);
    int32_t p[8];
    if (!t || !t->data || t->type != TYPE_I32 || t->size != sizeof(p))
        return not_supported(_("a padding that is not constant"), op->name, err);
    memcpy(p, t->data, sizeof(p)); // before and after, for n, h, w, c
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        if (p[i] < 0 || p[i] > 1 << 16 || (p[i] != 0 && (i < 2 || i == 6)))
            return not_supported(_("an unknown padding"), op->name, err);
    op->kind = OP_PAD;
    op->pad_top = p[2];
    op->pad_bottom = p[3];
    op->pad_left = p[4];
    op->pad_right = p[5];
    op->pad_channels = p[7];
    return KB_OK;
}

static enum kb_code read_prelu(struct import *im, const struct tflite_op *o, struct op *op,
                               struct kb_error *err)
{
    const struct tflite_tensor *alpha = op_tensor(im, o, 1);
    struct value x = {0};
    enum kb_code code = tensor_image(op_tensor(im, o, 0), &x, err);
    if (code != KB_OK)
        return code;
    if (!alpha)
        return not_supported(_("a PReLU without slopes"), op->name, err);
    op->kind = OP_ACTIVATION;
    op->act = ACT_PRELU;
    return constant_floats(im, alpha, (size_t)x.c, &op->slope, err);
}

static enum kb_code read_concat(struct import *im, const struct tflite_op *o, struct op *op,
                                struct kb_error *err)
{
    int rank = im->tensors[o->out].rank;
    int axis = table_i32(&im->flat, &o->options, 0, 0);
    axis += axis < 0 ? rank : 0;
    int from_last = rank - 1 - axis; // 0: c, 1: w, 2: h
    if (axis < 1 || from_last < 0 || from_last > 2 || table_byte(&im->flat, &o->options, 1) != 0)
        return not_supported(_("an unknown concatenation"), op->name, err);
    op->kind = OP_CONCAT;
    op->axis = "cwh"[from_last];
    op->n_in = o->n_in;
    return KB_OK;
}

static enum kb_code read_resize(struct import *im, const struct tflite_op *o, struct op *op,
                                struct kb_error *err)
{
    bool align_corners = table_byte(&im->flat, &o->options, 2) != 0;
    bool half_pixel = table_byte(&im->flat, &o->options, 3) != 0;
    if (align_corners || !half_pixel)
        return not_supported(_("a bilinear resize without half-pixel centres"), op->name, err);
    op->kind = OP_RESIZE_BILINEAR;
    return KB_OK;
}

// What is particular to one kind of operation. op has name, inputs (only the first), output shape.
static enum kb_code read_kind(struct import *im, const struct tflite_op *o, struct op *op,
                              struct kb_error *err)
{
    char unknown[48];
    switch (o->code) {
    case CODE_CONV_2D:
    case CODE_DEPTHWISE_CONV_2D:
        return read_conv(im, o, op, err);
    case CODE_MAX_POOL_2D:
        return read_pool(im, o, op, err);
    case CODE_PAD:
        return read_pad(im, o, op, err);
    case CODE_PRELU:
        return read_prelu(im, o, op, err);
    case CODE_CONCATENATION:
        return read_concat(im, o, op, err);
    case CODE_RESIZE_BILINEAR:
        return read_resize(im, o, op, err);
    case CODE_ADD:
        op->kind = OP_ADD;
        op->n_in = 2;
        return read_activation(im, o, 0, op, err);
    case CODE_RESHAPE:
        op->kind = OP_RESHAPE; // to the shape the file gives the output
        return KB_OK;
    case CODE_RELU:
    case CODE_RELU6:
    case CODE_LOGISTIC:
        op->kind = OP_ACTIVATION;
        op->act = o->code == CODE_RELU ? ACT_RELU : o->code == CODE_RELU6 ? ACT_RELU6 : ACT_SIGMOID;
        return KB_OK;
    default:
        snprintf(unknown, sizeof(unknown), _("operation number %d"), o->code);
        return not_supported(unknown, op->name, err);
    }
}

// Read the operation's table: its kind and the tensors it works on, all of them checked.
static enum kb_code read_op_table(struct import *im, const struct table *t, struct tflite_op *ret,
                                  struct kb_error *err)
{
    struct flat *f = &im->flat;
    struct vector in = table_vector(f, t, 1, 4), out = table_vector(f, t, 2, 4);
    uint32_t code = (uint32_t)table_i32(f, t, 0, 0);
    ret->options = table_child(f, t, 4);
    if (f->bad || code >= (uint32_t)im->n_codes)
        return damaged(err);
    ret->code = im->codes[code];
    if (in.n < 1 || in.n > ARRAY_LEN(ret->in) || out.n != 1)
        return not_supported(_("an operation with an unusual number of inputs or outputs"), "?",
                             err);
    ret->n_in = (int)in.n;
    ret->out = flat_i32(f, out.at);
    for (int i = 0; i < ret->n_in; i++) {
        ret->in[i] = flat_i32(f, in.at + 4 * (size_t)i);
        if (ret->in[i] < -1 || ret->in[i] >= im->n_tensors)
            return damaged(err);
    }
    return ret->in[0] < 0 || ret->out < 0 || ret->out >= im->n_tensors ? damaged(err) : KB_OK;
}

static enum kb_code import_op(struct import *im, const struct table *t, struct kb_error *err)
{
    struct tflite_op o = {0};
    enum kb_code code = read_op_table(im, t, &o, err);
    if (code != KB_OK)
        return code;
    struct tflite_tensor *in = &im->tensors[o.in[0]], *out = &im->tensors[o.out];
    if (out->value >= 0 || out->data)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' in the .tflite file is computed twice"),
                       out->name);
    if (o.code == CODE_DEQUANTIZE &&
        in->data) { // a constant stored as f16: widened where it is used
        out->type = in->type;
        out->data = in->data;
        out->size = in->size;
        return KB_OK;
    }

    struct op op = {.name = out->name, .n_in = 1, .residual = -1};
    struct value shape = {0};
    code = tensor_image(out, &shape, err);
    if (code != KB_OK)
        return code;
    op.out_h = shape.h;
    op.out_w = shape.w;
    op.out_c = shape.c;
    code = read_kind(im, &o, &op, err);
    for (int i = 0; code == KB_OK && i < op.n_in; i++) {
        const struct tflite_tensor *x = op_tensor(im, &o, i);
        if (!x || x->value < 0)
            code =
                not_supported(_("an input that is not computed before it is used"), op.name, err);
        else
            op.in[i] = x->value;
    }
    op.out = graph_add_value(im->graph, NULL);
    out->value = op.out;
    graph_add_op(im->graph, &op); // also after a failure: the graph frees what op owns
    return code;
}

// --- the file ---

static enum kb_code read_codes(struct import *im, const struct table *model, struct kb_error *err)
{
    struct flat *f = &im->flat;
    struct vector codes = table_vector(f, model, 1, 4);
    if (f->bad || codes.n > MAX_OPS)
        return damaged(err);
    im->codes = kb_alloc((codes.n + 1) * sizeof(im->codes[0]));
    for (size_t i = 0; i < codes.n; i++) {
        struct table t = vector_table(f, &codes, i);
        // Old files use the byte, new ones the number and the byte while it fits.
        int old = (int8_t)table_byte(f, &t, 0), now = table_i32(f, &t, 3, 0);
        im->codes[i] = KB_MAX(old, now);
    }
    im->n_codes = (int)codes.n;
    return f->bad ? damaged(err) : KB_OK;
}

static enum kb_code read_tensors(struct import *im, const struct table *model,
                                 const struct table *subgraph, struct kb_error *err)
{
    struct flat *f = &im->flat;
    struct vector tensors = table_vector(f, subgraph, 0, 4), buffers = table_vector(f, model, 4, 4);
    if (f->bad || tensors.n > MAX_TENSORS)
        return damaged(err);
    im->tensors = kb_alloc((tensors.n + 1) * sizeof(im->tensors[0]));
    im->n_tensors = (int)tensors.n;
    for (size_t i = 0; i < tensors.n; i++) {
        struct table t = vector_table(f, &tensors, i);
        enum kb_code code = read_tensor(im, &t, &buffers, &im->tensors[i], err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

// The network's inputs (field 1) or outputs (field 2).
static enum kb_code read_ports(struct import *im, const struct table *subgraph, size_t field,
                               struct kb_error *err)
{
    struct vector ports = table_vector(&im->flat, subgraph, field, 4);
    for (size_t i = 0; i < ports.n; i++) {
        int32_t index = flat_i32(&im->flat, ports.at + 4 * i);
        if (index < 0 || index >= im->n_tensors)
            return damaged(err);
        struct tflite_tensor *t = &im->tensors[index];
        struct value v = {0};
        enum kb_code code = tensor_image(t, &v, err);
        if (code != KB_OK)
            return code;
        if (t->type != TYPE_F32 || t->data || (field == 1 ? t->value >= 0 : t->value < 0))
            return not_supported(_("an unusual input or output"), t->name, err);
        if (field == 1) {
            t->value = graph_add_input(im->graph, t->name, v.h, v.w, v.c);
        } else {
            graph_add_output(im->graph, t->value);
            free(im->graph->values[t->value].name);
            im->graph->values[t->value].name = kb_strdup(t->name);
        }
    }
    return im->flat.bad ? damaged(err) : KB_OK;
}

// The file tells every shape too: ours must come out the same.
static enum kb_code check_shapes(const struct import *im, struct kb_error *err)
{
    for (int i = 0; i < im->n_tensors; i++) {
        const struct tflite_tensor *t = &im->tensors[i];
        struct value want = {0};
        if (t->value < 0)
            continue;
        const struct value *have = &im->graph->values[t->value];
        enum kb_code code = tensor_image(t, &want, err);
        if (code != KB_OK)
            return code;
        if (want.h != have->h || want.w != have->w || want.c != have->c)
            return kb_fail(err, KB_BAD_INPUT,
                           _("'%s' in the .tflite file should be %d x %d x %d but comes out as "
                             "%d x %d x %d"),
                           t->name, want.h, want.w, want.c, have->h, have->w, have->c);
    }
    return KB_OK;
}

static enum kb_code import_all(struct import *im, struct kb_error *err)
{
    struct flat *f = &im->flat;
    struct table model = flat_table(f, flat_follow(f, 0));
    struct vector subgraphs = table_vector(f, &model, 2, 4);
    if (f->bad)
        return damaged(err);
    if (subgraphs.n != 1)
        return not_supported(_("several subgraphs"), "model", err);
    struct table subgraph = vector_table(f, &subgraphs, 0);
    struct vector ops = table_vector(f, &subgraph, 3, 4);
    if (f->bad || ops.n > MAX_OPS)
        return damaged(err);

    enum kb_code code = read_codes(im, &model, err);
    if (code == KB_OK)
        code = read_tensors(im, &model, &subgraph, err);
    if (code == KB_OK)
        code = read_ports(im, &subgraph, 1, err);
    for (size_t i = 0; code == KB_OK && i < ops.n; i++) {
        struct table t = vector_table(f, &ops, i);
        code = import_op(im, &t, err);
        if (code == KB_OK && f->bad)
            code = damaged(err);
    }
    if (code == KB_OK)
        code = read_ports(im, &subgraph, 2, err);
    if (code == KB_OK)
        code = graph_finish(im->graph, err);
    return code == KB_OK ? check_shapes(im, err) : code;
}

enum kb_code tflite_graph(struct graph **ret, const void *data, size_t size, struct kb_error *err)
{
    if (size < 8 || memcmp((const uint8_t *)data + 4, "TFL3", 4) != 0)
        return kb_fail(err, KB_BAD_INPUT, _("this is not a .tflite model (no TFL3 identifier)"));
    struct import im = {.flat = {.data = data, .size = size}, .graph = graph_create()};
    enum kb_code code = import_all(&im, err);
    free(im.tensors);
    free(im.codes);
    if (code == KB_OK)
        *ret = TAKE(im.graph);
    graph_free(&im.graph);
    return code;
}
