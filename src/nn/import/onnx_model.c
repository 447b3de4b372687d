// The file behind an ONNX network: one protobuf message, taken apart by protobuf-c. It makes
// copies, so what they may take is bounded: a file of empty messages would else become a hundred
// times its size.
#include "nn/import/onnx_internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "onnx.pb-c.h"

// Memory over the file's size: weights are copied once, short names and attributes take more.
#define MAX_GROWTH    2
#define SMALL_CHANGE  (32 << 20)
#define MAX_NODES     8192
#define MAX_CONSTANTS 16384

// TensorProto.DataType
enum { OF_F32 = 1, OF_I32 = 6, OF_I64 = 7, OF_F16 = 10, OF_F64 = 11, OF_BF16 = 16 };

// --- memory ---

// Each block knows its size, so that it can be counted off again.
struct block {
    size_t size;
    max_align_t at[];
};

static void *budget_alloc(void *budget, size_t size)
{
    size_t *left = budget, all = size + sizeof(struct block);
    if (size > *left || all > *left)
        return NULL;
    struct block *b = malloc(all);
    if (!b)
        return NULL;
    *left -= all;
    b->size = all;
    return b->at;
}

static void budget_free(void *budget, void *at)
{
    if (!at)
        return;
    struct block *b = (struct block *)((char *)at - offsetof(struct block, at));
    *(size_t *)budget += b->size;
    free(b);
}

struct proto {
    ProtobufCAllocator allocator;
    size_t budget;
    Onnx__Model *model;
};

// --- constants ---

// How many numbers of the tensor's type the file has. False: a type of which koubo reads none.
static bool numbers_there(const Onnx__Tensor *t, size_t *ret)
{
    size_t raw = t->raw_data.len;
    switch (t->data_type) {
    case OF_F32:
        *ret = raw ? raw / 4 : t->n_float_data;
        return true;
    case OF_I32:
        *ret = raw ? raw / 4 : t->n_int32_data;
        return true;
    case OF_F16:
    case OF_BF16: // without raw data each in an int32 of its own
        *ret = raw ? raw / 2 : t->n_int32_data;
        return true;
    case OF_I64:
        *ret = raw ? raw / 8 : t->n_int64_data;
        return true;
    case OF_F64:
        *ret = raw ? raw / 8 : t->n_double_data;
        return true;
    default:
        *ret = 0;
        return false;
    }
}

static enum kb_code read_tensor(struct onnx_tensor *ret, const Onnx__Tensor *t,
                                struct kb_error *err)
{
    *ret = (struct onnx_tensor){.name = t->name, .rank = (int)t->n_dims, .count = 1, .data = t};
    if (t->data_location == 1)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the numbers of this ONNX file lie in another file beside it; in Python, "
                         "save the model as one file (onnx.save_model(onnx.load(FILE), OUT))"));
    if (t->n_dims > ONNX_MAX_RANK)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' in the ONNX file has %zu dimensions"), t->name,
                       t->n_dims);
    for (size_t i = 0; i < t->n_dims; i++) {
        ret->dims[i] = t->dims[i];
        if (t->dims[i] < 0 || __builtin_mul_overflow(ret->count, t->dims[i], &ret->count))
            return kb_fail(err, KB_BAD_INPUT, _("'%s' in the ONNX file has an impossible size"),
                           t->name);
    }
    size_t there;
    if (numbers_there(t, &there) && (uint64_t)ret->count != there)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' in the ONNX file has %zu numbers instead of %lld; it is damaged, "
                         "copy or download it again"),
                       t->name, there, (long long)ret->count);
    return KB_OK;
}

// Half types that are spread over int32s.
static float *spread_halves(const Onnx__Tensor *t, enum dtype type)
{
    size_t n = t->n_int32_data;
    CLEANUP(kb_freep) uint16_t *halves = kb_calloc_checked(n, sizeof(*halves));
    for (size_t i = 0; halves && i < n; i++)
        halves[i] = (uint16_t)t->int32_data[i];
    struct tensor flat = {.dtype = type, .n_dims = 1, .dims = {(int64_t)n}, .data = halves};
    return halves ? tensor_to_f32(&flat) : NULL;
}

static float *narrow_doubles(const Onnx__Tensor *t, size_t n)
{
    float *to = kb_calloc_checked(n, sizeof(*to));
    for (size_t i = 0; to && i < n; i++) {
        double d;
        memcpy(&d, t->raw_data.len ? t->raw_data.data + i * 8 : (uint8_t *)&t->double_data[i], 8);
        to[i] = (float)d;
    }
    return to;
}

enum kb_code onnx_floats(float **ret, const struct onnx_tensor *t, struct kb_error *err)
{
    const Onnx__Tensor *p = t->data;
    const void *raw = p->raw_data.len ? p->raw_data.data : NULL;
    enum dtype half = p->data_type == OF_F16 ? DTYPE_F16 : DTYPE_BF16;
    struct tensor flat = {.n_dims = 1, .dims = {t->count}};
    switch (p->data_type) {
    case OF_F32:
        flat.dtype = DTYPE_F32;
        flat.data = raw ? raw : p->float_data;
        *ret = tensor_to_f32(&flat);
        break;
    case OF_F16:
    case OF_BF16:
        flat.dtype = half;
        flat.data = raw;
        *ret = raw ? tensor_to_f32(&flat) : spread_halves(p, half);
        break;
    case OF_F64:
        *ret = narrow_doubles(p, (size_t)t->count);
        break;
    default:
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' in the ONNX file has numbers of type %d, where floats belong; koubo "
                         "reads networks in f32, f16, bf16 and f64"),
                       t->name, (int)p->data_type);
    }
    return *ret ? KB_OK : kb_no_memory(err);
}

enum kb_code onnx_ints(int64_t *ret, int n, const struct onnx_tensor *t, struct kb_error *err)
{
    const Onnx__Tensor *p = t->data;
    const uint8_t *raw = p->raw_data.len ? p->raw_data.data : NULL;
    if ((p->data_type != OF_I64 && p->data_type != OF_I32) || t->count > n)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' in the ONNX file is no list of at most %d whole numbers"), t->name,
                       n);
    for (int64_t i = 0; i < t->count; i++) {
        int32_t narrow;
        if (p->data_type == OF_I64) {
            memcpy(&ret[i], raw ? raw + i * 8 : (const uint8_t *)&p->int64_data[i], 8);
        } else {
            memcpy(&narrow, raw ? raw + i * 4 : (const uint8_t *)&p->int32_data[i], 4);
            ret[i] = narrow;
        }
    }
    return KB_OK;
}

// --- the rest of the graph ---

// Names end up in messages.
static void make_plain(char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            *name = '?';
}

static enum kb_code read_attributes(struct onnx_node *ret, const Onnx__Node *n,
                                    struct kb_error *err)
{
    ret->attributes = kb_calloc_checked(n->n_attribute, sizeof(*ret->attributes));
    if (!ret->attributes)
        return kb_no_memory(err);
    ret->n_attributes = n->n_attribute;
    for (size_t i = 0; i < n->n_attribute; i++) {
        const Onnx__Attribute *a = n->attribute[i];
        struct onnx_attribute *to = &ret->attributes[i];
        *to = (struct onnx_attribute){.name = a->name,
                                      .i = a->i,
                                      .f = a->f,
                                      .text = (const char *)a->s.data,
                                      .text_size = a->s.len,
                                      .ints = a->ints,
                                      .n_ints = a->n_ints,
                                      .has_tensor = a->t};
        if (!a->t)
            continue;
        make_plain(a->t->name);
        enum kb_code code = read_tensor(&to->tensor, a->t, err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

static enum kb_code read_nodes(struct onnx_model *ret, const Onnx__Graph *g, struct kb_error *err)
{
    ret->nodes = kb_calloc_checked(g->n_node, sizeof(*ret->nodes));
    if (!ret->nodes)
        return kb_no_memory(err);
    for (; ret->n_nodes < g->n_node; ret->n_nodes++) {
        const Onnx__Node *n = g->node[ret->n_nodes];
        make_plain(n->op_type);
        make_plain(n->name);
        for (size_t i = 0; i < n->n_input; i++)
            make_plain(n->input[i]);
        for (size_t i = 0; i < n->n_output; i++)
            make_plain(n->output[i]);
        struct onnx_node *to = &ret->nodes[ret->n_nodes];
        *to = (struct onnx_node){.type = n->op_type,
                                 .name = n->name,
                                 .in = n->input,
                                 .n_in = n->n_input,
                                 .out = n->output,
                                 .n_out = n->n_output};
        enum kb_code code = read_attributes(to, n, err);
        if (code != KB_OK) {
            free(to->attributes);
            return code;
        }
    }
    return KB_OK;
}

static enum kb_code read_constants(struct onnx_model *ret, const Onnx__Graph *g,
                                   struct kb_error *err)
{
    ret->constants = kb_calloc_checked(g->n_initializer, sizeof(*ret->constants));
    if (!ret->constants)
        return kb_no_memory(err);
    for (; ret->n_constants < g->n_initializer; ret->n_constants++) {
        const Onnx__Tensor *t = g->initializer[ret->n_constants];
        make_plain(t->name);
        enum kb_code code = read_tensor(&ret->constants[ret->n_constants], t, err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

static enum kb_code read_values(struct onnx_value_info **ret, size_t *ret_n, Onnx__ValueInfo **from,
                                size_t n, struct kb_error *err)
{
    *ret = kb_calloc_checked(n, sizeof(**ret));
    if (!*ret)
        return kb_no_memory(err);
    *ret_n = n;
    for (size_t i = 0; i < n; i++) {
        const Onnx__ValueInfo *v = from[i];
        const Onnx__Shape *shape =
            v->type && v->type->tensor_type ? v->type->tensor_type->shape : NULL;
        struct onnx_value_info *to = &(*ret)[i];
        make_plain(v->name);
        to->name = v->name;
        to->rank = shape && shape->n_dim <= ONNX_MAX_RANK ? (int)shape->n_dim : -1;
        for (int k = 0; k < to->rank; k++)
            to->dims[k] = KB_MAX(shape->dim[k]->dim_value, 0);
    }
    return KB_OK;
}

enum kb_code onnx_model_read(struct onnx_model *ret, const void *data, size_t size,
                             struct kb_error *err)
{
    *ret = (struct onnx_model){0};
    struct proto *p = ret->proto = kb_alloc(sizeof(*p));
    p->budget = size * MAX_GROWTH + SMALL_CHANGE;
    p->allocator = (ProtobufCAllocator){budget_alloc, budget_free, &p->budget};
    p->model = onnx__model__unpack(&p->allocator, size, data);
    if (!p->model)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the ONNX file is damaged or incomplete; copy or download it again"));
    const Onnx__Graph *g = p->model->graph;
    if (p->model->n_functions)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the ONNX file holds functions, which koubo does not unfold; export it "
                         "again with torch.onnx.export(…, dynamo=False)"));
    if (!g || !g->n_node || g->n_node > MAX_NODES || g->n_initializer > MAX_CONSTANTS ||
        g->n_input > MAX_CONSTANTS || g->n_output > MAX_NODES)
        return kb_fail(err, KB_BAD_INPUT, _("the ONNX file holds no network, or far too much"));
    enum kb_code code = read_constants(ret, g, err);
    if (code == KB_OK)
        code = read_nodes(ret, g, err);
    if (code == KB_OK)
        code = read_values(&ret->inputs, &ret->n_inputs, g->input, g->n_input, err);
    if (code == KB_OK)
        code = read_values(&ret->outputs, &ret->n_outputs, g->output, g->n_output, err);
    return code;
}

void onnx_model_clear(struct onnx_model *m)
{
    struct proto *p = m->proto;
    for (size_t i = 0; i < m->n_nodes; i++)
        free(m->nodes[i].attributes);
    free(m->nodes);
    free(m->constants);
    free(m->inputs);
    free(m->outputs);
    if (p && p->model)
        onnx__model__free_unpacked(p->model, &p->allocator);
    free(p);
    *m = (struct onnx_model){0};
}

const struct onnx_attribute *onnx_attribute(const struct onnx_node *n, const char *name)
{
    for (size_t i = 0; i < n->n_attributes; i++)
        if (strcmp(n->attributes[i].name, name) == 0)
            return &n->attributes[i];
    return NULL;
}
