// The operations of ONNX (https://onnx.ai/onnx/operators/) that convolutional networks are exported
// with. Batch norm, additions and activations are left to graph_optimize() to fold.
#include "nn/import/onnx_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WINDOW 128 // kernel, stride, padding, dilation

static int64_t attribute_int(const struct onnx_node *n, const char *name, int64_t fallback)
{
    const struct onnx_attribute *a = onnx_attribute(n, name);
    return a ? a->i : fallback;
}

// A list of exactly n numbers from low to high; one that is missing leaves *ret as it is.
static bool attribute_ints(const struct onnx_node *node, const char *name, int n, int low, int high,
                           int *ret)
{
    const struct onnx_attribute *a = onnx_attribute(node, name);
    if (!a)
        return true;
    if (a->n_ints != (size_t)n)
        return false;
    for (int i = 0; i < n; i++) {
        if (a->ints[i] < low || a->ints[i] > high)
            return false;
        ret[i] = (int)a->ints[i];
    }
    return true;
}

static bool attribute_is(const struct onnx_node *n, const char *name, const char *text)
{
    const struct onnx_attribute *a = onnx_attribute(n, name);
    return a && a->text_size == strlen(text) && memcmp(a->text, text, a->text_size) == 0;
}

// A constant's numbers, counted against what a file may unfold to.
static enum kb_code unfold(struct onnx_import *im, const struct onnx_node *n,
                           const struct onnx_tensor *t, float **ret, struct kb_error *err)
{
    im->unfolded += (size_t)t->count * sizeof(float);
    if (im->unfolded > im->max_unfolded)
        return onnx_unsupported(n, _("the same weights too often"), err);
    return onnx_floats(ret, t, err);
}

static const struct value *shape_of(const struct onnx_import *im, const struct onnx_entry *e)
{
    return &im->graph->values[e->value];
}

// --- convolutions ---

// Weights of four dimensions and, if there is one, a bias.
static enum kb_code read_weights(struct onnx_import *im, const struct onnx_node *n, int outputs,
                                 struct op *op, struct kb_error *err)
{
    const struct onnx_tensor *w = onnx_constant(im, n, 1), *bias = onnx_constant(im, n, 2);
    if (n->n_in > 2 && *n->in[2] && (!bias || bias->rank != 1 || bias->count != outputs))
        return onnx_unsupported(n, _("a bias that does not match the channels"), err);
    enum kb_code code = unfold(im, n, w, &op->weight, err);
    return code == KB_OK && bias ? unfold(im, n, bias, &op->bias, err) : code;
}

static enum kb_code read_conv(struct onnx_import *im, const struct onnx_node *n,
                              struct kb_error *err)
{
    const struct onnx_entry *x = onnx_value(im, n, 0);
    const struct onnx_tensor *w = onnx_constant(im, n, 1);
    bool is_deconv = strcmp(n->type, "ConvTranspose") == 0;
    if (!x || x->layout != LAYOUT_CHW || !w || w->rank != 4)
        return onnx_unsupported(
            n, _("a convolution of anything but pictures, or without constant weights"), err);
    int stride[2] = {1, 1}, dilation[2] = {1, 1}, pads[4] = {0}, out_pad[2] = {0};
    int64_t groups = attribute_int(n, "group", 1);
    bool fits = attribute_ints(n, "strides", 2, 1, MAX_WINDOW, stride) &&
                attribute_ints(n, "dilations", 2, 1, MAX_WINDOW, dilation) &&
                attribute_ints(n, "pads", 4, 0, MAX_WINDOW, pads) &&
                attribute_ints(n, "output_padding", 2, 0, MAX_WINDOW, out_pad) && w->dims[2] >= 1 &&
                w->dims[2] <= MAX_WINDOW && w->dims[3] >= 1 && w->dims[3] <= MAX_WINDOW &&
                !onnx_attribute(n, "output_shape") &&
                (!onnx_attribute(n, "auto_pad") || attribute_is(n, "auto_pad", "NOTSET") ||
                 attribute_is(n, "auto_pad", "VALID"));
    if (!fits)
        return onnx_unsupported(n, _("an unknown kernel, stride or padding"), err);
    // ONNX cuts the output at both ends as it says, koubo as much below as above: the rest is
    // added.
    out_pad[0] += pads[0] - pads[2];
    out_pad[1] += pads[1] - pads[3];
    if (is_deconv &&
        (groups != 1 || dilation[0] != 1 || dilation[1] != 1 || out_pad[0] < 0 || out_pad[1] < 0))
        return onnx_unsupported(n, _("an unknown kernel, stride or padding"), err);
    int64_t channels = shape_of(im, x)->c, outputs = w->dims[is_deconv ? 1 : 0];
    if (groups < 1 || groups > channels || outputs < 1 || outputs > 1 << 20 ||
        w->dims[is_deconv ? 0 : 1] != channels / groups || channels % groups || outputs % groups)
        return onnx_unsupported(n, _("weights that do not match the channels"), err);

    struct op op = {.kind = is_deconv ? OP_DECONV : OP_CONV,
                    .n_in = 1,
                    .in = {x->value},
                    .groups = (int)groups,
                    .kernel_h = (int)w->dims[2],
                    .kernel_w = (int)w->dims[3],
                    .stride_h = stride[0],
                    .stride_w = stride[1],
                    .dilation_h = dilation[0],
                    .dilation_w = dilation[1],
                    .pad_top = pads[0],
                    .pad_left = pads[1],
                    .pad_bottom = pads[2],
                    .pad_right = pads[3],
                    .out_pad_h = is_deconv ? out_pad[0] : 0,
                    .out_pad_w = is_deconv ? out_pad[1] : 0,
                    .out_c = (int)outputs};
    enum kb_code code = read_weights(im, n, (int)outputs, &op, err);
    if (code != KB_OK) {
        free(op.weight);
        free(op.bias);
        return code;
    }
    return onnx_put_op(im, n, &op, LAYOUT_CHW, err);
}

// --- numbers for each channel ---

// Is the constant one number, or one for each channel, as it lies under a value of that layout?
static bool is_per_channel(const struct onnx_tensor *t, enum onnx_layout layout, int channels)
{
    if (t->count == 1)
        return true;
    if (t->count != channels)
        return false;
    // Counted from the last side: where the channels stand.
    int place = layout == LAYOUT_CHW ? 3 : 1;
    return t->rank >= place && t->dims[t->rank - place] == channels;
}

// n numbers out of a constant of n or of one.
static enum kb_code spread(struct onnx_import *im, const struct onnx_node *node,
                           const struct onnx_tensor *t, int n, float **ret, struct kb_error *err)
{
    CLEANUP(kb_freep) float *numbers = NULL;
    enum kb_code code = unfold(im, node, t, &numbers, err);
    if (code != KB_OK)
        return code;
    assert(numbers);
    if (t->count == n) {
        *ret = TAKE(numbers);
        return KB_OK;
    }
    *ret = kb_calloc_checked((size_t)n, sizeof(**ret));
    if (!*ret)
        return kb_no_memory(err);
    for (int i = 0; i < n; i++)
        (*ret)[i] = numbers[0];
    return KB_OK;
}

// One number for each channel, or NULL with the error set.
static float *norm_part(struct onnx_import *im, const struct onnx_node *n, size_t i, int channels,
                        struct kb_error *err)
{
    const struct onnx_tensor *t = onnx_constant(im, n, i);
    float *numbers = NULL;
    if (!t || t->count != channels)
        onnx_unsupported(n, _("weights that do not match the channels"), err);
    else
        unfold(im, n, t, &numbers, err);
    return numbers;
}

static enum kb_code read_batchnorm(struct onnx_import *im, const struct onnx_node *n,
                                   struct kb_error *err)
{
    const struct onnx_entry *x = onnx_value(im, n, 0);
    const struct onnx_attribute *epsilon = onnx_attribute(n, "epsilon");
    if (!x || x->layout == LAYOUT_HWC || attribute_int(n, "training_mode", 0))
        return onnx_unsupported(n, _("a batch norm that is still in training"), err);
    int c = shape_of(im, x)->c;
    CLEANUP(kb_freep) float *scale = norm_part(im, n, 1, c, err);
    CLEANUP(kb_freep) float *shift = scale ? norm_part(im, n, 2, c, err) : NULL;
    CLEANUP(kb_freep) float *mean = shift ? norm_part(im, n, 3, c, err) : NULL;
    CLEANUP(kb_freep) float *variance = mean ? norm_part(im, n, 4, c, err) : NULL;
    if (!variance)
        return err ? err->code : KB_BAD_INPUT;
    for (int i = 0; i < c; i++) {
        double s = scale[i] / sqrt((double)variance[i] + (epsilon ? (double)epsilon->f : 1e-5));
        scale[i] = (float)s;
        shift[i] = (float)(shift[i] - mean[i] * s);
    }
    struct op op = {.kind = OP_BATCHNORM,
                    .n_in = 1,
                    .in = {x->value},
                    .scale = TAKE(scale),
                    .bias = TAKE(shift)};
    return onnx_put_op(im, n, &op, x->layout, err);
}

// x + constant, x - constant, x * constant, x / constant: a batch norm that only scales or shifts.
static enum kb_code read_with_constant(struct onnx_import *im, const struct onnx_node *n, size_t at,
                                       struct kb_error *err)
{
    const struct onnx_entry *x = onnx_value(im, n, at);
    const struct onnx_tensor *t = onnx_constant(im, n, 1 - at);
    bool scales = *n->type == 'M' || *n->type == 'D', turns = *n->type == 'D' || *n->type == 'S';
    int c = x ? shape_of(im, x)->c : 0;
    if (!x || !t || !is_per_channel(t, x->layout, c) || (turns && at != 0))
        return onnx_unsupported(n, _("values of different shapes"), err);
    CLEANUP(kb_freep) float *scale = kb_calloc_checked((size_t)c, sizeof(*scale));
    CLEANUP(kb_freep) float *numbers = NULL;
    if (!scale)
        return kb_no_memory(err);
    enum kb_code code = spread(im, n, t, c, &numbers, err);
    if (code != KB_OK)
        return code;
    struct op op = {.kind = OP_BATCHNORM, .n_in = 1, .in = {x->value}};
    for (int i = 0; i < c; i++) {
        if (turns)
            numbers[i] = scales ? 1 / numbers[i] : -numbers[i];
        scale[i] = 1;
    }
    op.scale = scales ? TAKE(numbers) : TAKE(scale);
    op.bias = scales ? NULL : TAKE(numbers);
    return onnx_put_op(im, n, &op, x->layout, err);
}

static enum kb_code read_arithmetic(struct onnx_import *im, const struct onnx_node *n,
                                    struct kb_error *err)
{
    const struct onnx_entry *a = onnx_value(im, n, 0), *b = onnx_value(im, n, 1);
    if (!a || !b)
        return read_with_constant(im, n, a ? 0 : 1, err);
    if (strcmp(n->type, "Add") != 0 || a->layout != b->layout)
        return onnx_unsupported(n, _("arithmetic of two computed values, other than adding"), err);
    struct op op = {.kind = OP_ADD, .n_in = 2, .in = {a->value, b->value}};
    return onnx_put_op(im, n, &op, a->layout, err);
}

// --- activations ---

static enum kb_code read_activation(struct onnx_import *im, const struct onnx_node *n,
                                    struct kb_error *err)
{
    const struct onnx_entry *x = onnx_value(im, n, 0);
    if (!x)
        return onnx_unsupported(n, _("an activation of a constant"), err);
    struct op op = {.kind = OP_ACTIVATION, .n_in = 1, .in = {x->value}};
    const struct onnx_tensor *slope = onnx_constant(im, n, 1);
    int c = shape_of(im, x)->c;
    if (strcmp(n->type, "Relu") == 0) {
        op.act = ACT_RELU;
    } else if (strcmp(n->type, "Sigmoid") == 0) {
        op.act = ACT_SIGMOID;
    } else if (strcmp(n->type, "LeakyRelu") == 0) {
        const struct onnx_attribute *alpha = onnx_attribute(n, "alpha");
        op.act = ACT_LEAKY_RELU;
        op.alpha = alpha ? alpha->f : 0.01f;
    } else { // PRelu
        if (!slope || !is_per_channel(slope, x->layout, c))
            return onnx_unsupported(n, _("weights that do not match the channels"), err);
        op.act = ACT_PRELU;
        enum kb_code code = spread(im, n, slope, c, &op.slope, err);
        if (code != KB_OK)
            return code;
    }
    return onnx_put_op(im, n, &op, x->layout, err);
}

// --- shapes ---

static enum kb_code read_concat(struct onnx_import *im, const struct onnx_node *n,
                                struct kb_error *err)
{
    static const char *const axes[] = {
        [LAYOUT_CHW] = "chw", [LAYOUT_HWC] = "hwc", [LAYOUT_C] = "c"};
    struct op op = {.kind = OP_CONCAT, .n_in = (int)n->n_in};
    const struct onnx_entry *first = onnx_value(im, n, 0);
    if (!first || n->n_in > ARRAY_LEN(op.in))
        return onnx_unsupported(n, _("an unknown concatenation"), err);
    enum onnx_layout layout = first->layout;
    int64_t sides = (int64_t)strlen(axes[layout]), axis = attribute_int(n, "axis", 1);
    axis += axis < 0 ? sides + 1 : 0;
    if (axis < 1 || axis > sides)
        return onnx_unsupported(n, _("an unknown concatenation"), err);
    op.axis = axes[layout][axis - 1];
    for (size_t i = 0; i < n->n_in; i++) {
        const struct onnx_entry *x = onnx_value(im, n, i);
        if (!x || x->layout != layout)
            return onnx_unsupported(n, _("an unknown concatenation"), err);
        op.in[i] = x->value;
    }
    return onnx_put_op(im, n, &op, layout, err);
}

// The same value, or constant, under another name.
static enum kb_code read_identity(struct onnx_import *im, const struct onnx_node *n,
                                  struct kb_error *err)
{
    const struct onnx_entry *x = onnx_input(im, n, 0);
    return x ? onnx_put(im, n, *x, err)
             : onnx_unsupported(n, _("an input that is not computed before it is used"), err);
}

// Numbers are f32 here whatever the file says, so between floats there is nothing to do.
static enum kb_code read_cast(struct onnx_import *im, const struct onnx_node *n,
                              struct kb_error *err)
{
    int64_t to = attribute_int(n, "to", 1);
    bool is_float = to == 1 || to == 10 || to == 11 || to == 16; // f32, f16, f64, bf16
    return is_float ? read_identity(im, n, err)
                    : onnx_unsupported(n, _("numbers that are no floats"), err);
}

static enum kb_code read_constant(struct onnx_import *im, const struct onnx_node *n,
                                  struct kb_error *err)
{
    const struct onnx_attribute *value = onnx_attribute(n, "value");
    if (!value || !value->has_tensor)
        return onnx_unsupported(n, _("a constant without numbers"), err);
    return onnx_put(im, n, (struct onnx_entry){.value = -1, .constant = &value->tensor}, err);
}

static enum kb_code read_transpose(struct onnx_import *im, const struct onnx_node *n,
                                   struct kb_error *err)
{
    static const int to_chw[] = {0, 3, 1, 2}, to_hwc[] = {0, 2, 3, 1};
    const struct onnx_entry *x = onnx_value(im, n, 0);
    int perm[4] = {-1};
    if (!x || x->layout == LAYOUT_C || !attribute_ints(n, "perm", 4, 0, 3, perm))
        return onnx_unsupported(n, _("an unknown order of the sides"), err);
    struct onnx_entry y = *x;
    if (x->layout == LAYOUT_HWC && memcmp(perm, to_chw, sizeof(perm)) == 0)
        y.layout = LAYOUT_CHW;
    else if (x->layout == LAYOUT_CHW && memcmp(perm, to_hwc, sizeof(perm)) == 0)
        y.layout = LAYOUT_HWC;
    else
        return onnx_unsupported(n, _("an unknown order of the sides"), err);
    return onnx_put(im, n, y, err);
}

// The sides of a value as the file counts them, without the batch; how many there are.
static int file_sides(const struct onnx_import *im, const struct onnx_entry *x, int64_t ret[3])
{
    const struct value *v = shape_of(im, x);
    ret[0] = x->layout == LAYOUT_HWC ? v->h : v->c;
    ret[1] = x->layout == LAYOUT_HWC ? v->w : v->h;
    ret[2] = x->layout == LAYOUT_HWC ? v->c : v->w;
    return x->layout == LAYOUT_C ? 1 : 3;
}

// Give x the sides [c] or [c, h, w], if its numbers stay in their order, which is another one here
// than in the file.
static enum kb_code put_reshaped(struct onnx_import *im, const struct onnx_node *n,
                                 const struct onnx_entry *x, int n_sides, const int64_t *sides,
                                 struct kb_error *err)
{
    const struct value *from = shape_of(im, x);
    enum onnx_layout layout = n_sides == 1 ? LAYOUT_C : LAYOUT_CHW;
    int64_t c = sides[0], area = n_sides == 1 ? 1 : sides[1] * sides[2];
    bool same = n_sides == 3 && x->layout == LAYOUT_CHW && c == from->c && sides[1] == from->h &&
                sides[2] == from->w;
    bool from_line = from->c == 1 || (int64_t)from->h * from->w == 1 || x->layout == LAYOUT_HWC;
    bool to_line = c == 1 || area == 1;
    if (!same && (!from_line || !to_line))
        return onnx_unsupported(n, _("a picture whose numbers are put in another order"), err);
    struct op op = {.kind = OP_RESHAPE,
                    .n_in = 1,
                    .in = {x->value},
                    .out_h = n_sides == 1 ? 1 : (int)sides[1],
                    .out_w = n_sides == 1 ? 1 : (int)sides[2],
                    .out_c = (int)c};
    return onnx_put_op(im, n, &op, layout, err);
}

static enum kb_code read_reshape(struct onnx_import *im, const struct onnx_node *n,
                                 struct kb_error *err)
{
    const struct onnx_entry *x = onnx_value(im, n, 0);
    const struct onnx_tensor *shape = onnx_constant(im, n, 1);
    int64_t wanted[4], now[3], total = 1, known = 1;
    int unknown = -1;
    if (!x || !shape || (shape->count != 2 && shape->count != 4))
        return onnx_unsupported(n, _("a shape that is not constant, or not of 2 or 4 sides"), err);
    enum kb_code code = onnx_ints(wanted, 4, shape, err);
    if (code != KB_OK)
        return code;
    int n_now = file_sides(im, x, now), n_wanted = (int)shape->count - 1;
    for (int i = 0; i < n_now; i++)
        total *= now[i];
    for (int i = 0; i < n_wanted; i++) {
        int64_t *side = &wanted[i + 1];
        if (*side == 0 && i < n_now)
            *side = now[i];
        if (*side == -1 && unknown < 0)
            unknown = i + 1;
        else if (*side < 1 || *side > 1 << 20)
            return onnx_unsupported(n, _("an impossible shape"), err);
        else
            known *= *side; // at most 2^60
    }
    if (unknown >= 0)
        wanted[unknown] = total / known;
    if (total != known * (unknown >= 0 ? wanted[unknown] : 1) || total > 1 << 28)
        return onnx_unsupported(n, _("an impossible shape"), err);
    return put_reshaped(im, n, x, n_wanted, wanted + 1, err);
}

// The sides that Squeeze and Unsqueeze name, in an attribute or, since opset 13, a constant.
static bool read_axes(const struct onnx_import *im, const struct onnx_node *n, int rank,
                      bool ret[ONNX_MAX_RANK])
{
    const struct onnx_attribute *a = onnx_attribute(n, "axes");
    const struct onnx_tensor *t = onnx_constant(im, n, 1);
    int64_t axes[ONNX_MAX_RANK];
    size_t count = a ? a->n_ints : t ? (size_t)t->count : 0;
    if (count < 1 || count > ONNX_MAX_RANK || rank > ONNX_MAX_RANK)
        return false;
    if (a)
        memcpy(axes, a->ints, count * sizeof(axes[0]));
    else if (onnx_ints(axes, ONNX_MAX_RANK, t, NULL) != KB_OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] + (axes[i] < 0 ? rank : 0);
        if (axis < 0 || axis >= rank || ret[axis])
            return false;
        ret[axis] = true;
    }
    return true;
}

// A constant with more sides of 1.
static enum kb_code unsqueeze_constant(struct onnx_import *im, const struct onnx_node *n,
                                       const struct onnx_tensor *t, struct kb_error *err)
{
    const struct onnx_attribute *a = onnx_attribute(n, "axes");
    const struct onnx_tensor *axes = onnx_constant(im, n, 1);
    int more = a      ? (int)KB_MIN(a->n_ints, ONNX_MAX_RANK)
               : axes ? (int)KB_MIN(axes->count, ONNX_MAX_RANK)
                      : 0;
    bool is_new[ONNX_MAX_RANK] = {0};
    if (!read_axes(im, n, t->rank + more, is_new))
        return onnx_unsupported(n, _("an impossible shape"), err);
    struct onnx_tensor *made = &im->made[im->n_made++];
    *made = *t;
    made->rank = t->rank + more;
    for (int i = 0, from = 0; i < made->rank; i++)
        made->dims[i] = is_new[i] ? 1 : t->dims[from++];
    return onnx_put(im, n, (struct onnx_entry){.value = -1, .constant = made}, err);
}

// [n, c, 1, 1] to [n, c] and back; and constants.
static enum kb_code read_squeeze(struct onnx_import *im, const struct onnx_node *n,
                                 struct kb_error *err)
{
    const struct onnx_entry *x = onnx_value(im, n, 0);
    const struct onnx_tensor *t = onnx_constant(im, n, 0);
    bool removes = strcmp(n->type, "Squeeze") == 0, axes[ONNX_MAX_RANK] = {0};
    if (t && !removes)
        return unsqueeze_constant(im, n, t, err);
    bool known = x && x->layout == (removes ? LAYOUT_CHW : LAYOUT_C) && read_axes(im, n, 4, axes) &&
                 !axes[0] && !axes[1] && axes[2] && axes[3];
    const struct value *v = known ? shape_of(im, x) : NULL;
    if (!known || v->h != 1 || v->w != 1)
        return onnx_unsupported(n, _("an impossible shape"), err);
    const int64_t sides[3] = {v->c, 1, 1};
    return put_reshaped(im, n, x, removes ? 1 : 3, sides, err);
}

// All but the batch in one line.
static enum kb_code read_flatten(struct onnx_import *im, const struct onnx_node *n,
                                 struct kb_error *err)
{
    const struct onnx_entry *x = onnx_value(im, n, 0);
    if (!x || attribute_int(n, "axis", 1) != 1)
        return onnx_unsupported(n, _("an impossible shape"), err);
    const struct value *v = shape_of(im, x);
    int64_t all = (int64_t)v->c * v->h * v->w;
    return put_reshaped(im, n, x, 1, &all, err);
}

enum kb_code onnx_read_node(struct onnx_import *im, const struct onnx_node *n, struct kb_error *err)
{
    static const struct {
        const char *type;
        enum kb_code (*read)(struct onnx_import *im, const struct onnx_node *n,
                             struct kb_error *err);
    } readers[] = {
        {"Conv", read_conv},
        {"ConvTranspose", read_conv},
        {"BatchNormalization", read_batchnorm},
        {"Relu", read_activation},
        {"LeakyRelu", read_activation},
        {"PRelu", read_activation},
        {"Sigmoid", read_activation},
        {"Add", read_arithmetic},
        {"Sub", read_arithmetic},
        {"Mul", read_arithmetic},
        {"Div", read_arithmetic},
        {"Concat", read_concat},
        {"Reshape", read_reshape},
        {"Flatten", read_flatten},
        {"Squeeze", read_squeeze},
        {"Unsqueeze", read_squeeze},
        {"Transpose", read_transpose},
        {"Constant", read_constant},
        {"Identity", read_identity},
        {"Dropout", read_identity},
        {"Cast", read_cast},
        {"SequenceEmpty", onnx_read_sequence},
        {"SequenceConstruct", onnx_read_sequence},
        {"SequenceInsert", onnx_read_sequence},
        {"SequenceAt", onnx_read_sequence},
        {"SequenceErase", onnx_read_sequence},
    };
    for (size_t i = 0; i < ARRAY_LEN(readers); i++)
        if (strcmp(readers[i].type, n->type) == 0)
            return readers[i].read(im, n, err);
    return onnx_unsupported(n, _("an operation that it does not know"), err);
}
