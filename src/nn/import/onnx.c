// ONNX networks, as torch.onnx.export and others write them: a list of nodes in an order that can
// be run, each reading and writing values by name. Here the names become values of koubo's graph or
// constants, and the nodes its operations. What the file calls batch is left open.
#include "nn/import/onnx_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Constants may be used again and again, but a file must not unfold to more than this many times
// its size.
#define MAX_UNFOLD 8

bool onnx_recognize(const void *data, size_t size)
{
    // A model begins with its version, then says who made it, or comes to its graph or operators.
    const uint8_t *b = data;
    return size >= 3 && b[0] == 0x08 && b[1] >= 1 && b[1] < 64 &&
           memchr("\x12\x1a\x22\x28\x32\x3a\x42", b[2], 7) &&
           !(size >= 9 && b[8] == '{' && !(b[4] | b[5] | b[6] | b[7])); // that is safetensors
}

enum kb_code onnx_unsupported(const struct onnx_node *n, const char *what, struct kb_error *err)
{
    return kb_fail(
        err, KB_BAD_INPUT,
        _("the ONNX file needs something that koubo's engine does not have, at '%s' (%s): "
          "%s"),
        *n->name   ? n->name
        : n->n_out ? n->out[0]
                   : "?",
        n->type, what);
}

// --- names ---

static const struct onnx_entry *find(const struct onnx_import *im, const char *name)
{
    for (size_t i = im->n_entries; i-- > 0;) // the last ones are asked for most
        if (strcmp(im->entries[i].name, name) == 0)
            return &im->entries[i];
    return NULL;
}

static enum kb_code add_entry(struct onnx_import *im, struct onnx_entry entry, struct kb_error *err)
{
    if (im->n_entries == im->entries_room)
        return kb_fail(err, KB_BAD_INPUT, _("the ONNX file holds no network, or far too much"));
    im->entries[im->n_entries++] = entry;
    return KB_OK;
}

const struct onnx_entry *onnx_input(const struct onnx_import *im, const struct onnx_node *n,
                                    size_t i)
{
    return i < n->n_in && *n->in[i] ? find(im, n->in[i]) : NULL;
}

const struct onnx_entry *onnx_value(const struct onnx_import *im, const struct onnx_node *n,
                                    size_t i)
{
    const struct onnx_entry *e = onnx_input(im, n, i);
    return e && e->value >= 0 ? e : NULL;
}

const struct onnx_tensor *onnx_constant(const struct onnx_import *im, const struct onnx_node *n,
                                        size_t i)
{
    const struct onnx_entry *e = onnx_input(im, n, i);
    return e ? e->constant : NULL;
}

enum kb_code onnx_put(struct onnx_import *im, const struct onnx_node *n, struct onnx_entry entry,
                      struct kb_error *err)
{
    if (!n->n_out || !*n->out[0] || find(im, n->out[0]))
        return onnx_unsupported(n, _("its output is computed twice"), err);
    entry.name = n->out[0];
    return add_entry(im, entry, err);
}

enum kb_code onnx_put_op(struct onnx_import *im, const struct onnx_node *n, struct op *op,
                         enum onnx_layout layout, struct kb_error *err)
{
    op->name = (char *)(*n->name ? n->name : n->n_out ? n->out[0] : n->type);
    op->residual = -1;
    op->out = graph_add_value(im->graph, NULL);
    graph_add_op(im->graph, op);
    enum kb_code code = graph_infer_last(im->graph, err);
    if (code != KB_OK)
        return code;
    return onnx_put(im, n, (struct onnx_entry){.value = op->out, .layout = layout}, err);
}

// --- inputs and outputs ---

// [n, c, h, w], [n, h, w, c] (where the last side is as small as channels are) or [n, c].
static enum kb_code add_input(struct onnx_import *im, const struct onnx_value_info *v,
                              struct kb_error *err)
{
    struct onnx_entry entry = {.name = v->name, .value = -1};
    int h = 1, w = 1, c;
    for (int i = 1; i < v->rank; i++)
        if (v->dims[i] < 1 || v->dims[i] > 4096)
            return kb_fail(err, KB_BAD_INPUT,
                           _("side %d of input '%s' of the ONNX file is left open or impossible; "
                             "koubo needs to know all but the first, the batch"),
                           i + 1, v->name);
    if (v->rank == 4) {
        bool is_hwc = v->dims[3] <= 6 && v->dims[1] > 6;
        entry.layout = is_hwc ? LAYOUT_HWC : LAYOUT_CHW;
        c = (int)v->dims[is_hwc ? 3 : 1];
        h = (int)v->dims[is_hwc ? 1 : 2];
        w = (int)v->dims[is_hwc ? 2 : 3];
    } else if (v->rank == 2) {
        entry.layout = LAYOUT_C;
        c = (int)v->dims[1];
    } else {
        return kb_fail(err, KB_BAD_INPUT,
                       _("input '%s' of the ONNX file has %d dimensions; koubo takes (batch, "
                         "channels, height, width)"),
                       v->name, v->rank);
    }
    if (find(im, v->name))
        return kb_fail(err, KB_BAD_INPUT, _("the ONNX file has '%s' twice"), v->name);
    entry.value = graph_add_input(im->graph, v->name, h, w, c);
    return add_entry(im, entry, err);
}

// In old files constants are listed among the inputs too.
static enum kb_code add_inputs(struct onnx_import *im, struct kb_error *err)
{
    const struct onnx_model *m = im->model;
    enum kb_code code = KB_OK;
    for (size_t i = 0; code == KB_OK && i < m->n_constants; i++) {
        if (find(im, m->constants[i].name))
            return kb_fail(err, KB_BAD_INPUT, _("the ONNX file has '%s' twice"),
                           m->constants[i].name);
        code =
            add_entry(im,
                      (struct onnx_entry){
                          .name = m->constants[i].name, .value = -1, .constant = &m->constants[i]},
                      err);
    }
    for (size_t i = 0; code == KB_OK && i < m->n_inputs; i++) {
        const struct onnx_entry *e = find(im, m->inputs[i].name);
        if (!e || !e->constant)
            code = add_input(im, &m->inputs[i], err);
    }
    return code;
}

static enum kb_code add_outputs(struct onnx_import *im, struct kb_error *err)
{
    struct graph *g = im->graph;
    for (size_t i = 0; i < im->model->n_outputs; i++) {
        const char *name = im->model->outputs[i].name;
        const struct onnx_entry *e = find(im, name);
        if (!e || e->value < 0)
            return kb_fail(err, KB_BAD_INPUT, _("output '%s' of the ONNX file is never computed"),
                           name);
        if (!g->values[e->value].name)
            g->values[e->value].name = kb_strdup(name);
        graph_add_output(g, e->value);
    }
    return KB_OK;
}

static enum kb_code import(struct onnx_import *im, struct kb_error *err)
{
    const struct onnx_model *m = im->model;
    im->entries_room = m->n_constants + m->n_inputs + m->n_nodes;
    im->entries = kb_calloc_checked(im->entries_room, sizeof(*im->entries));
    im->made = kb_calloc_checked(m->n_nodes, sizeof(*im->made));
    if (!im->entries || !im->made)
        return kb_no_memory(err);
    enum kb_code code = add_inputs(im, err);
    for (size_t i = 0; code == KB_OK && i < m->n_nodes; i++)
        code = onnx_read_node(im, &m->nodes[i], err);
    if (code == KB_OK)
        code = add_outputs(im, err);
    return code == KB_OK ? graph_finish(im->graph, err) : code;
}

enum kb_code onnx_graph(struct graph **ret, const void *data, size_t size, struct kb_error *err)
{
    CLEANUP(onnx_model_clear) struct onnx_model model = {0};
    CLEANUP(graph_free) struct graph *g = graph_create();
    enum kb_code code = onnx_model_read(&model, data, size, err);
    if (code != KB_OK)
        return code;
    struct onnx_import im = {.model = &model, .graph = g, .max_unfolded = size * MAX_UNFOLD};
    code = import(&im, err);
    free(im.entries);
    free(im.made);
    onnx_sequences_free(im.sequences);
    if (code == KB_OK)
        *ret = TAKE(g);
    return code;
}
