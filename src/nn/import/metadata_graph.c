// A network as JSON in the metadata of a .safetensors file: "graph" is a list of operations in an
// order that can be run, on values that it names; "inputs" and "output" map names to (n, c, h, w)
// with n = -1. docs/models.md lists the operations.
#include "nn/import/import.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPS  4096
#define MAX_SIDE 8192

struct reading {
    const struct tensor_set *set;
    struct graph *graph;
    int *weight_in; // per operation: input channels of its weight
    struct kb_error *err;
};

static enum kb_code bad(struct reading *r, const char *what, const char *name)
{
    return kb_fail(r->err, KB_BAD_INPUT, _("the file's network: %s '%.100s'"), what,
                   name ? name : "?");
}

static json_t *parse(struct reading *r, const char *key)
{
    const char *text = tensor_set_meta(r->set, key);
    json_error_t where;
    json_t *json = text ? json_loads(text, JSON_REJECT_DUPLICATES, &where) : NULL;
    if (!json)
        kb_fail(r->err, KB_BAD_INPUT, _("metadata '%s' of the file is not JSON: %.200s"), key,
                text ? where.text : _("it is missing"));
    return json;
}

// "stride": [2, 1] and the like; when absent, fallback. Both within 0 … MAX_SIDE.
static bool get_pair(const json_t *op, const char *key, int fallback, int *ret_h, int *ret_w)
{
    const json_t *pair = json_object_get(op, key);
    *ret_h = *ret_w = fallback;
    if (!pair)
        return true;
    const json_t *h = json_array_get(pair, 0), *w = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(h) || !json_is_integer(w) ||
        json_integer_value(h) < 0 || json_integer_value(h) > MAX_SIDE ||
        json_integer_value(w) < 0 || json_integer_value(w) > MAX_SIDE)
        return false;
    *ret_h = (int)json_integer_value(h);
    *ret_w = (int)json_integer_value(w);
    return true;
}

static enum kb_code get_activation(struct reading *r, const json_t *op, enum activation *ret)
{
    static const struct {
        const char *name;
        enum activation act;
    } names[] = {
        {"none", ACT_NONE}, {"relu", ACT_RELU}, {"relu6", ACT_RELU6}, {"sigmoid", ACT_SIGMOID}};
    const json_t *value = json_object_get(op, "activation");
    *ret = ACT_NONE;
    if (!value || json_is_null(value))
        return KB_OK;
    const char *name = json_string_value(value);
    for (size_t i = 0; name && i < ARRAY_LEN(names); i++)
        if (strcmp(names[i].name, name) == 0) {
            *ret = names[i].act;
            return KB_OK;
        }
    return bad(r, _("unknown activation"), name);
}

static enum kb_code find_input(struct reading *r, const char *name, int *ret)
{
    *ret = name ? graph_find_value(r->graph, name) : -1;
    return *ret >= 0 ? KB_OK : bad(r, _("no operation before it computes"), name);
}

static enum kb_code get_weight(struct reading *r, const json_t *op, struct op *ret)
{
    const char *name = json_string_value(json_object_get(op, "weight"));
    const struct tensor *w = name ? tensor_set_find(r->set, name) : NULL;
    if (!w)
        return bad(r, _("there is no tensor"), name);
    if (w->n_dims != 4)
        return bad(r, _("a convolution needs 4 dimensions, not so"), name);
    for (int i = 0; i < 4; i++)
        if (w->dims[i] < 1 || w->dims[i] > 1 << 20)
            return bad(r, _("impossible shape of"), name);
    const json_t *bias_entry = json_object_get(op, "bias");
    const char *bias_name = json_string_value(bias_entry);
    const struct tensor *b = bias_name ? tensor_set_find(r->set, bias_name) : NULL;
    if (bias_entry && !json_is_null(bias_entry) && !b)
        return bad(r, _("there is no tensor"), bias_name);
    if (b && (b->n_dims != 1 || b->dims[0] != w->dims[0]))
        return bad(r, _("the bias does not fit its weight"), bias_name);

    ret->out_c = (int)w->dims[0];
    ret->kernel_h = (int)w->dims[2];
    ret->kernel_w = (int)w->dims[3];
    ret->weight = tensor_to_f32(w);
    ret->bias = b ? tensor_to_f32(b) : NULL;
    r->weight_in[r->graph->n_ops] = (int)w->dims[1];
    return ret->weight && (!b || ret->bias) ? KB_OK : kb_no_memory(r->err);
}

static enum kb_code read_conv(struct reading *r, const json_t *op, struct op *ret)
{
    int pad_h, pad_w;
    if (!get_pair(op, "stride", 1, &ret->stride_h, &ret->stride_w) || ret->stride_h < 1 ||
        ret->stride_w < 1 || !get_pair(op, "padding", 0, &pad_h, &pad_w))
        return bad(r, _("bad stride or padding of"), ret->name);
    if (!get_pair(op, "dilation", 1, &ret->dilation_h, &ret->dilation_w) || ret->dilation_h < 1 ||
        ret->dilation_w < 1)
        return bad(r, _("bad dilation of"), ret->name);
    ret->pad_top = ret->pad_bottom = pad_h;
    ret->pad_left = ret->pad_right = pad_w;
    enum kb_code code = get_activation(r, op, &ret->act);
    const json_t *add = json_object_get(op, "add");
    if (code == KB_OK && add && !json_is_null(add))
        code = find_input(r, json_string_value(add), &ret->residual);
    return code == KB_OK ? get_weight(r, op, ret) : code;
}

static enum kb_code read_op(struct reading *r, const json_t *op)
{
    const char *output = json_string_value(json_object_get(op, "output"));
    const char *kind = json_string_value(json_object_get(op, "op"));
    struct op o = {.kind = OP_CONV, .name = (char *)output, .n_in = 1, .residual = -1};
    if (!output)
        return bad(r, _("no output name at an operation"), kind);
    if (!kind || strcmp(kind, "conv2d") != 0)
        return bad(r, _("unknown operation (a newer koubo may know it)"), kind);
    enum kb_code code = find_input(r, json_string_value(json_object_get(op, "input")), &o.in[0]);
    if (code == KB_OK)
        code = read_conv(r, op, &o);
    if (code != KB_OK) {
        free(o.weight);
        free(o.bias);
        return code;
    }
    o.out = graph_find_value(r->graph, output); // found: graph_finish() refuses the second one
    if (o.out < 0)
        o.out = graph_add_value(r->graph, output);
    graph_add_op(r->graph, &o);
    return KB_OK;
}

static enum kb_code read_ports(struct reading *r, const json_t *inputs)
{
    const char *name;
    json_t *shape;
    if (!json_is_object(inputs) || json_object_size(inputs) > 8)
        return bad(r, _("1 to 8 names with shapes are needed in"), "inputs");
    json_object_foreach((json_t *)inputs, name, shape)
    {
        int64_t side[4]; // n, c, h, w
        bool is_good = json_array_size(shape) == 4;
        for (size_t i = 0; is_good && i < 4; i++) {
            side[i] = json_integer_value(json_array_get(shape, i));
            is_good = i == 0 || (side[i] >= 1 && side[i] <= MAX_SIDE);
        }
        if (!is_good || side[1] * side[2] * side[3] > 1 << 28)
            return bad(r, _("impossible shape of input"), name);
        graph_add_input(r->graph, name, (int)side[2], (int)side[3], (int)side[1]);
    }
    return KB_OK;
}

static enum kb_code read_outputs(struct reading *r, const json_t *outputs)
{
    const char *name;
    json_t *shape;
    if (!json_is_object(outputs))
        return bad(r, _("names with shapes are needed in"), "output");
    json_object_foreach((json_t *)outputs, name, shape)
    {
        int value;
        enum kb_code code = find_input(r, name, &value);
        if (code != KB_OK)
            return code;
        graph_add_output(r->graph, value);
    }
    return KB_OK;
}

// Once shapes are known: do the weights have as many input channels as there are, and does the
// file keep its word about the shape of its output?
static enum kb_code check_shapes(struct reading *r, const json_t *outputs)
{
    const struct graph *g = r->graph;
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        const struct value *x = &g->values[op->in[0]];
        if (r->weight_in[i] != x->c)
            return bad(r, _("the weight has other channels than the input of"), op->name);
    }
    for (int i = 0; i < g->n_outputs; i++) {
        const struct value *v = &g->values[g->outputs[i]];
        const json_t *shape = json_object_get(outputs, v->name);
        if (json_integer_value(json_array_get(shape, 1)) != v->c ||
            json_integer_value(json_array_get(shape, 2)) != v->h ||
            json_integer_value(json_array_get(shape, 3)) != v->w)
            return bad(r, _("it computes another shape than it promises for"), v->name);
    }
    return KB_OK;
}

enum kb_code graph_from_metadata(struct graph **ret, const struct tensor_set *set,
                                 struct kb_error *err)
{
    CLEANUP(graph_free) struct graph *g = graph_create();
    struct reading r = {.set = set, .graph = g, .err = err};
    json_auto_t *inputs = parse(&r, "inputs");
    json_auto_t *outputs = inputs ? parse(&r, "output") : NULL;
    json_auto_t *ops = outputs ? parse(&r, "graph") : NULL;
    if (!ops)
        return KB_BAD_INPUT;
    if (!json_is_array(ops) || json_array_size(ops) > MAX_OPS)
        return bad(&r, _("a list of operations is needed in"), "graph");
    CLEANUP(kb_freep) int *weight_in = kb_alloc((json_array_size(ops) + 1) * sizeof(*weight_in));
    r.weight_in = weight_in;
    enum kb_code code = read_ports(&r, inputs);
    for (size_t i = 0; code == KB_OK && i < json_array_size(ops); i++)
        code = read_op(&r, json_array_get(ops, i));
    if (code == KB_OK)
        code = read_outputs(&r, outputs);
    if (code == KB_OK)
        code = graph_finish(g, err);
    if (code == KB_OK)
        code = check_shapes(&r, outputs);
    if (code == KB_OK)
        *ret = TAKE(g);
    return code;
}
