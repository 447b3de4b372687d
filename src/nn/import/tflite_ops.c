// The operations of TensorFlow's schema.fbs that networks of the MediaPipe kind use.
#include "nn/import/tflite_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Constants may be shared, but a file must not unfold to more than this many times its size.
#define MAX_UNFOLD 16

// A constant's n numbers as a new array of floats.
static enum kb_code constant_floats(struct import *im, const struct tflite_tensor *t, size_t n,
                                    float **ret, struct kb_error *err)
{
    if (!t->data)
        return tflite_unsupported(_("weights that are not constant"), t->name, err);
    if (t->type != TYPE_F32 && t->type != TYPE_F16)
        return tflite_unsupported(_("quantised weights"), t->name, err);
    enum dtype type = t->type == TYPE_F32 ? DTYPE_F32 : DTYPE_F16;
    if (t->size / dtype_size(type) != n || t->size % dtype_size(type) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' in the .tflite file has %zu bytes instead of %zu"), t->name, t->size,
                       n * dtype_size(type));
    im->unfolded += n * sizeof(float);
    if (im->unfolded / MAX_UNFOLD > im->flat.size)
        return tflite_unsupported(_("the same weights too often"), t->name, err);
    struct tensor flat = {.dtype = type, .n_dims = 1, .dims = {(int64_t)n}, .data = t->data};
    *ret = tensor_to_f32(&flat);
    return *ret ? KB_OK : kb_no_memory(err);
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
        return tflite_unsupported(_("an unknown fused activation"), op->name, err);
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
    enum kb_code code = tflite_image(tflite_input(im, o, 0), &x, err);
    if (code != KB_OK)
        return code;
    int padding = table_byte(&im->flat, &o->options, 0);
    op->stride_w = table_i32(&im->flat, &o->options, 1, 1);
    op->stride_h = table_i32(&im->flat, &o->options, 2, 1);
    if (padding > 1 || op->stride_w < 1 || op->stride_h < 1 || op->kernel_w < 1 ||
        op->kernel_h < 1 || op->stride_w > 64 || op->stride_h > 64 || op->kernel_w > 64 ||
        op->kernel_h > 64)
        return tflite_unsupported(_("an unknown kernel, stride or padding"), op->name, err);
    if (padding == 0) {
        same_padding(x.h, op->kernel_h, op->stride_h, &op->pad_top, &op->pad_bottom);
        same_padding(x.w, op->kernel_w, op->stride_w, &op->pad_left, &op->pad_right);
    } else if (x.h < op->kernel_h || x.w < op->kernel_w) {
        return tflite_unsupported(_("a kernel larger than its picture"), op->name, err);
    }
    return KB_OK;
}

// From TensorFlow's (O, kh, kw, I) or, depthwise, (1, kh, kw, O) to OIHW.
static float *to_oihw(const float *from, size_t outputs, size_t inputs, size_t taps, bool depthwise)
{
    assert(from);
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
    bool depthwise = o->code->builtin == CODE_DEPTHWISE_CONV_2D;
    const struct tflite_tensor *w = tflite_input(im, o, 1), *bias = tflite_input(im, o, 2);
    size_t act_field = depthwise ? 4 : 3;
    if (!w || w->rank != 4)
        return tflite_unsupported(_("a convolution without 4-dimensional weights"), op->name, err);
    if (table_i32(&im->flat, &o->options, act_field + 1, 1) != 1 ||
        table_i32(&im->flat, &o->options, act_field + 2, 1) != 1)
        return tflite_unsupported(_("a dilated convolution"), op->name, err);

    struct value x = {0};
    op->kind = OP_CONV;
    op->kernel_h = w->dims[1];
    op->kernel_w = w->dims[2];
    enum kb_code code = tflite_image(tflite_input(im, o, 0), &x, err);
    if (code == KB_OK)
        code = read_window(im, o, op, err);
    if (code == KB_OK)
        code = read_activation(im, o, act_field, op, err);
    if (code != KB_OK)
        return code;
    op->out_c = depthwise ? w->dims[3] : w->dims[0];
    op->groups = depthwise ? x.c : 1;
    if (depthwise ? w->dims[0] != 1 || op->out_c % x.c != 0 : w->dims[3] != x.c)
        return tflite_unsupported(_("weights that do not match the channels"), op->name, err);

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

// Of a kernel as large as its stride, so that taps do not meet: what upsamples a mask. Its options
// are three numbers as they lie in memory: padding, strides.
enum kb_code tflite_read_deconv(struct import *im, const struct tflite_op *o, struct op *op,
                                struct kb_error *err)
{
    const struct tflite_tensor *w = tflite_input(im, o, 1), *bias = tflite_input(im, o, 2);
    struct value x = {0};
    int32_t numbers[3];
    enum kb_code code = tflite_image(tflite_input(im, o, 0), &x, err);
    if (code != KB_OK)
        return code;
    if (!w || w->rank != 4 || w->dims[3] != x.c)
        return tflite_unsupported(_("weights that do not match the channels"), op->name, err);
    if (o->custom_options.n < sizeof(numbers))
        return tflite_unsupported(_("an unknown kernel, stride or padding"), op->name, err);
    memcpy(numbers, im->flat.data + o->custom_options.at, sizeof(numbers));
    if (w->dims[1] != 2 || w->dims[2] != 2 || numbers[1] != 2 || numbers[2] != 2)
        return tflite_unsupported(_("an unknown kernel, stride or padding"), op->name, err);
    op->kind = OP_DECONV;
    op->kernel_h = op->kernel_w = op->stride_h = op->stride_w = 2;
    op->out_c = w->dims[0];

    const size_t taps = 4, outputs = (size_t)op->out_c, inputs = (size_t)x.c;
    CLEANUP(kb_freep) float *as_stored = NULL;
    code = constant_floats(im, w, outputs * inputs * taps, &as_stored, err);
    if (code != KB_OK)
        return code;
    assert(as_stored);
    op->weight = kb_calloc_checked(outputs * inputs * taps, sizeof(float));
    if (!op->weight)
        return kb_no_memory(err);
    for (size_t i = 0; i < inputs; i++) // from (O, kh, kw, I) to IOHW
        for (size_t k = 0; k < outputs; k++)
            for (size_t t = 0; t < taps; t++)
                op->weight[(i * outputs + k) * taps + t] = as_stored[(k * taps + t) * inputs + i];
    return bias ? constant_floats(im, bias, outputs, &op->bias, err) : KB_OK;
}

static enum kb_code read_pool(struct import *im, const struct tflite_op *o, struct op *op,
                              struct kb_error *err)
{
    op->kind = OP_MAX_POOL;
    op->kernel_w = table_i32(&im->flat, &o->options, 3, 0);
    op->kernel_h = table_i32(&im->flat, &o->options, 4, 0);
    if (table_byte(&im->flat, &o->options, 5) != 0)
        return tflite_unsupported(_("a fused activation of a pool"), op->name, err);
    return read_window(im, o, op, err);
}

// The mean over the whole picture: a pool of its size, or a reduction over rows and columns.
static enum kb_code read_mean(struct import *im, const struct tflite_op *o, struct op *op,
                              struct kb_error *err)
{
    const struct tflite_tensor *x = tflite_input(im, o, 0), *axes = tflite_input(im, o, 1);
    int32_t a[2];
    op->kind = OP_MEAN;
    if (o->code->builtin == CODE_MEAN) {
        if (!axes || !axes->data || axes->type != TYPE_I32 || axes->size != sizeof(a) ||
            x->rank != 4)
            return tflite_unsupported(_("a mean over something else than rows and columns"),
                                      op->name, err);
        memcpy(a, axes->data, sizeof(a));
        return a[0] + a[1] == 3 && a[0] * a[1] == 2
                   ? KB_OK
                   : tflite_unsupported(_("a mean over something else than rows and columns"),
                                        op->name, err);
    }
    struct value image = {0};
    enum kb_code code = tflite_image(x, &image, err);
    if (code != KB_OK)
        return code;
    if (table_i32(&im->flat, &o->options, 3, 0) != image.w ||
        table_i32(&im->flat, &o->options, 4, 0) != image.h || op->out_h != 1 || op->out_w != 1 ||
        table_byte(&im->flat, &o->options, 5) != 0)
        return tflite_unsupported(_("a mean over a part of the picture"), op->name, err);
    return KB_OK;
}

static enum kb_code read_pad(struct import *im, const struct tflite_op *o, struct op *op,
                             struct kb_error *err)
{
    const struct tflite_tensor *t = tflite_input(im, o, 1);
    int32_t p[8];
    if (!t || !t->data || t->type != TYPE_I32 || t->size != sizeof(p))
        return tflite_unsupported(_("a padding that is not constant"), op->name, err);
    memcpy(p, t->data, sizeof(p)); // before and after, for n, h, w, c
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        if (p[i] < 0 || p[i] > 1 << 16 || (p[i] != 0 && (i < 2 || i == 6)))
            return tflite_unsupported(_("an unknown padding"), op->name, err);
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
    const struct tflite_tensor *alpha = tflite_input(im, o, 1);
    struct value x = {0};
    enum kb_code code = tflite_image(tflite_input(im, o, 0), &x, err);
    if (code != KB_OK)
        return code;
    if (!alpha)
        return tflite_unsupported(_("a PReLU without slopes"), op->name, err);
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
        return tflite_unsupported(_("an unknown concatenation"), op->name, err);
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
        return tflite_unsupported(_("a bilinear resize without half-pixel centres"), op->name, err);
    op->kind = OP_RESIZE_BILINEAR;
    return KB_OK;
}

// Times a constant: one number, one a channel, or one a value; or times what was computed for each
// channel.
static enum kb_code read_mul(struct import *im, const struct tflite_op *o, struct op *op,
                             struct kb_error *err)
{
    const struct tflite_tensor *factors = tflite_input(im, o, 1);
    struct value x = {0};
    enum kb_code code = tflite_image(tflite_input(im, o, 0), &x, err);
    if (code != KB_OK)
        return code;
    if (!factors || table_byte(&im->flat, &o->options, 0) != 0)
        return tflite_unsupported(_("a product of two computed values"), op->name, err);
    if (!factors->data) {
        op->kind = OP_GATE; // whose shapes are looked at as every operation's
        op->n_in = 2;
        return KB_OK;
    }
    size_t n = factors->size / (factors->type == TYPE_F16 ? 2 : sizeof(float)), c = (size_t)x.c;
    bool whole = n % c == 0 && n / c == (size_t)x.h * (size_t)x.w;
    if (n != 1 && n != c && !whole)
        return tflite_unsupported(_("a product of values of different shapes"), op->name, err);
    op->kind = OP_SCALE;
    op->n_scale = (int)n;
    return constant_floats(im, factors, n, &op->scale, err);
}

// Only the slice that leaves nothing out, which renames a value: MediaPipe's converter writes it.
static enum kb_code read_slice(struct import *im, const struct tflite_op *o, struct op *op,
                               struct kb_error *err)
{
    const struct tflite_tensor *x = tflite_input(im, o, 0);
    bool whole = o->n_in == 4;
    for (size_t mask = 0; mask < 5; mask++)
        whole = whole && table_i32(&im->flat, &o->options, mask, 0) == 0;
    for (int i = 1; whole && i < 4; i++) { // begin, end, stride
        const struct tflite_tensor *t = tflite_input(im, o, i);
        whole = t && t->data && t->type == TYPE_I32 && t->size == (size_t)x->rank * sizeof(int32_t);
        for (int k = 0; whole && k < x->rank; k++) {
            int32_t v;
            memcpy(&v, t->data + (size_t)k * sizeof(v), sizeof(v));
            whole = v == (i == 1 ? 0 : i == 2 ? x->dims[k] : 1);
        }
    }
    if (!whole)
        return tflite_unsupported(_("a slice that leaves something out"), op->name, err);
    op->kind = OP_RESHAPE;
    return KB_OK;
}

enum kb_code tflite_read_op(struct import *im, const struct tflite_op *o, struct op *op,
                            struct kb_error *err)
{
    char unknown[48];
    int code = o->code->builtin;
    switch (code) {
    case CODE_CONV_2D:
    case CODE_DEPTHWISE_CONV_2D:
        return read_conv(im, o, op, err);
    case CODE_MAX_POOL_2D:
        return read_pool(im, o, op, err);
    case CODE_AVERAGE_POOL_2D:
    case CODE_MEAN:
        return read_mean(im, o, op, err);
    case CODE_PAD:
        return read_pad(im, o, op, err);
    case CODE_PRELU:
        return read_prelu(im, o, op, err);
    case CODE_CONCATENATION:
        return read_concat(im, o, op, err);
    case CODE_RESIZE_BILINEAR:
        return read_resize(im, o, op, err);
    case CODE_MUL:
        return read_mul(im, o, op, err);
    case CODE_STRIDED_SLICE:
        return read_slice(im, o, op, err);
    case CODE_CUSTOM:
        return tflite_read_custom(im, o, op, err);
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
    case CODE_HARD_SWISH:
        op->kind = OP_ACTIVATION;
        op->act = code == CODE_RELU       ? ACT_RELU
                  : code == CODE_RELU6    ? ACT_RELU6
                  : code == CODE_LOGISTIC ? ACT_SIGMOID
                                          : ACT_HARD_SWISH;
        return KB_OK;
    default:
        snprintf(unknown, sizeof(unknown), _("operation number %d"), code);
        return tflite_unsupported(unknown, op->name, err);
    }
}
