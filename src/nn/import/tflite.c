// TensorFlow Lite models. The file is a FlatBuffer (nn/import/flatbuffer.h); field numbers are
// those of TensorFlow's schema.fbs (version 3, identifier "TFL3").
//
// What is understood is what float networks of the MediaPipe kind use: weights in f32 or f16 (those
// go through DEQUANTIZE operations, folded here), batch 1, NHWC.
#include "nn/import/tflite_internal.h"

#include <stdlib.h>
#include <string.h>

// More than any sensible network, few enough that nothing below can take long.
#define MAX_TENSORS 8192
#define MAX_OPS     4096

static enum kb_code damaged(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the .tflite file is damaged: an offset or a count points outside the file"));
}

enum kb_code tflite_unsupported(const char *what, const char *where, struct kb_error *err)
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
        return tflite_unsupported(_("a sparse tensor"), ret->name, err);
    if (shape.n > ARRAY_LEN(ret->dims))
        return tflite_unsupported(_("a tensor of more than 4 dimensions"), ret->name, err);

    ret->rank = (int)shape.n;
    for (int i = 0; i < ret->rank; i++) {
        ret->dims[i] = flat_i32(f, shape.at + 4 * (size_t)i);
        if (ret->dims[i] < 1 || ret->dims[i] > 1 << 24)
            return tflite_unsupported(_("a tensor of empty, open or huge size"), ret->name, err);
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

enum kb_code tflite_image(const struct tflite_tensor *t, struct value *ret, struct kb_error *err)
{
    int r = t->rank;
    if (r < 1 || (r > 1 && t->dims[0] != 1))
        return tflite_unsupported(_("a batch other than 1"), t->name, err);
    ret->c = t->dims[r - 1];
    ret->w = r >= 3 ? t->dims[r - 2] : 1;
    ret->h = r >= 4 ? t->dims[r - 3] : 1;
    return KB_OK;
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
    ret->code = &im->codes[code];
    ret->custom_options = table_vector(f, t, 5, 1);
    if (in.n < 1 || in.n > ARRAY_LEN(ret->in) || out.n != 1)
        return tflite_unsupported(_("an operation with an unusual number of inputs or outputs"),
                                  "?", err);
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
    if (o.code->builtin == CODE_DEQUANTIZE &&
        in->data) { // a constant stored as f16: widened where it is used
        out->type = in->type;
        out->data = in->data;
        out->size = in->size;
        return KB_OK;
    }

    struct op op = {.name = out->name, .n_in = 1, .residual = -1};
    struct value shape = {0};
    code = tflite_image(out, &shape, err);
    if (code != KB_OK)
        return code;
    op.out_h = shape.h;
    op.out_w = shape.w;
    op.out_c = shape.c;
    code = tflite_read_op(im, &o, &op, err);
    for (int i = 0; code == KB_OK && i < op.n_in; i++) {
        const struct tflite_tensor *x = tflite_input(im, &o, i);
        if (!x || x->value < 0)
            code = tflite_unsupported(_("an input that is not computed before it is used"), op.name,
                                      err);
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
        int8_t old = (int8_t)table_byte(f, &t, 0);
        int now = table_i32(f, &t, 3, 0);
        struct vector name = table_vector(f, &t, 1, 1);
        im->codes[i].builtin = KB_MAX(old, now);
        copy_name(f, &name, im->codes[i].custom, sizeof(im->codes[i].custom));
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
        enum kb_code code = tflite_image(t, &v, err);
        if (code != KB_OK)
            return code;
        if (t->type != TYPE_F32 || t->data || (field == 1 ? t->value >= 0 : t->value < 0))
            return tflite_unsupported(_("an unusual input or output"), t->name, err);
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
        enum kb_code code = tflite_image(t, &want, err);
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
        return tflite_unsupported(_("several subgraphs"), "model", err);
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
