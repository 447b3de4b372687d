// Header, then the pieces: a block of 64 bytes that starts with the size, then the data, filled up
// to 64 bytes. The first piece is the key.
#include "nn/pack.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define PACK_MAGIC "KBPACK1"
#define ALIGNMENT  64
#define MAX_COUNT  (1 << 20) // values or operations of a network
#define MAX_FLOATS (1 << 28) // of a value, as in graph.c

struct header {
    char magic[8];
    uint64_t file_size;
    uint64_t checksum; // XXH3-64 of what follows the header
    char unused[ALIGNMENT - 24];
};
_Static_assert(sizeof(struct header) == ALIGNMENT, "pieces are aligned");

static size_t padded(size_t n)
{
    return (n + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

// --- writing ---

struct pack_writer {
    char *data;
    size_t size, capacity;
    bool failed; // memory ran out: pack_save() says so
};

// Room for n more bytes, zeroed, or NULL.
static char *extend(struct pack_writer *w, size_t n)
{
    if (w->failed || n > w->capacity - w->size) {
        size_t capacity = KB_MAX(w->capacity * 2, w->size + n);
        char *grown = w->failed ? NULL : realloc(w->data, capacity);
        w->failed = !grown;
        if (!grown)
            return NULL;
        w->data = grown;
        w->capacity = capacity;
    }
    char *at = w->data + w->size;
    memset(at, 0, n);
    w->size += n;
    return at;
}

void pack_put(struct pack_writer *w, const void *data, size_t size)
{
    char *at = extend(w, ALIGNMENT + padded(size));
    if (!at)
        return;
    uint64_t stored = size;
    memcpy(at, &stored, sizeof(stored));
    if (size > 0)
        memcpy(at + ALIGNMENT, data, size);
}

struct pack_writer *pack_writer_create(const char *key)
{
    struct pack_writer *w = kb_alloc(sizeof(*w));
    extend(w, sizeof(struct header));
    pack_put(w, key, strlen(key) + 1);
    return w;
}

void pack_writer_free(struct pack_writer **w)
{
    if (!*w)
        return;
    free((*w)->data);
    free(*w);
    *w = NULL;
}

enum kb_code pack_save(struct pack_writer *w, const char *path, struct kb_error *err)
{
    if (w->failed)
        return kb_no_memory(err);
    struct header h = {.magic = PACK_MAGIC, .file_size = w->size};
    h.checksum = XXH3_64bits(w->data + sizeof(h), w->size - sizeof(h));
    memcpy(w->data, &h, sizeof(h));
    return file_write_cached(path, w->data, w->size, err);
}

// --- reading ---

struct pack {
    struct file_map file;
    size_t at;
};

// The next piece of whatever size.
static const void *take_any(struct pack *p, size_t *ret_size)
{
    uint64_t size;
    size_t left = p->file.size - p->at;
    if (left < ALIGNMENT)
        return NULL;
    memcpy(&size, p->file.data + p->at, sizeof(size));
    if (size > left - ALIGNMENT || padded(size) > left - ALIGNMENT)
        return NULL;
    const void *data = p->file.data + p->at + ALIGNMENT;
    p->at += ALIGNMENT + padded(size);
    *ret_size = size;
    return data;
}

const void *pack_take(struct pack *p, size_t size)
{
    size_t have;
    const void *data = take_any(p, &have);
    return data && have == size ? data : NULL;
}

static bool is_whole(const struct file_map *m)
{
    struct header h;
    if (m->size < sizeof(h))
        return false;
    memcpy(&h, m->data, sizeof(h));
    return memcmp(h.magic, PACK_MAGIC, sizeof(h.magic)) == 0 && h.file_size == m->size &&
           h.checksum == XXH3_64bits(m->data + sizeof(h), m->size - sizeof(h));
}

// Its numbers are used as they stand, so nobody else may have written them.
static bool is_own(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0) &&
           (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

struct pack *pack_open(const char *path, const char *key)
{
    CLEANUP(pack_close) struct pack *p = kb_alloc(sizeof(*p));
    if (!is_own(path) || file_map(&p->file, path, NULL) != KB_OK || !is_whole(&p->file))
        return NULL;
    p->at = sizeof(struct header);
    size_t size = strlen(key) + 1;
    const char *made_with = pack_take(p, size);
    if (!made_with || memcmp(made_with, key, size) != 0)
        return NULL;
    return TAKE(p);
}

void pack_close(struct pack **p)
{
    if (!*p)
        return;
    file_unmap(&(*p)->file);
    free(*p);
    *p = NULL;
}

// --- the graph ---

struct graph_head {
    int n_values, n_ops, n_inputs, n_outputs;
    int inputs[8], outputs[8];
};

static int out_channels(const struct graph *g, const struct op *op)
{
    return g->values[op->out].c;
}

static void put_floats(struct pack_writer *w, const float *data, int n)
{
    if (data)
        pack_put(w, data, (size_t)n * sizeof(*data));
}

void pack_put_graph(struct pack_writer *w, const struct graph *g)
{
    struct graph_head head = {g->n_values, g->n_ops, g->n_inputs, g->n_outputs, {0}, {0}};
    memcpy(head.inputs, g->inputs, sizeof(head.inputs));
    memcpy(head.outputs, g->outputs, sizeof(head.outputs));
    pack_put(w, &head, sizeof(head));
    for (int i = 0; i < g->n_values; i++) {
        const struct value *v = &g->values[i];
        const char *name = v->name ? v->name : "";
        pack_put(w, v, sizeof(*v)); // its pointer only says whether it has a name
        pack_put(w, name, strlen(name) + 1);
    }
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = &g->ops[i];
        pack_put(w, op, sizeof(*op)); // its pointers only say what it has
        put_floats(w, op->bias, out_channels(g, op));
        put_floats(w, op->slope, out_channels(g, op));
        put_floats(w, op->scale, op->n_scale);
        if (op->crop)
            pack_put(w, op->crop, sizeof(*op->crop));
    }
}

static bool take_value(struct pack *p, struct graph *g)
{
    const struct value *v = pack_take(p, sizeof(*v));
    size_t size = 0;
    const char *name = v ? take_any(p, &size) : NULL;
    if (!name || size == 0 || name[size - 1] != '\0')
        return false;
    int number = graph_add_value(g, v->name ? name : NULL); // may move the values
    struct value *added = &g->values[number];
    added->h = v->h;
    added->w = v->w;
    added->c = v->c;
    return v->h > 0 && v->w > 0 && v->c > 0 && (int64_t)v->h * v->w <= MAX_FLOATS &&
           (int64_t)v->h * v->w * v->c <= MAX_FLOATS;
}

// A copy of the next piece, which has n floats.
static float *take_floats(struct pack *p, int n, bool *ok)
{
    const void *data = pack_take(p, (size_t)n * sizeof(float));
    float *copy = data ? kb_calloc_checked((size_t)n, sizeof(float)) : NULL;
    if (copy)
        memcpy(copy, data, (size_t)n * sizeof(float));
    *ok = *ok && copy;
    return copy;
}

static struct crop_rule *take_crop(struct pack *p, bool *ok)
{
    const struct crop_rule *stored = pack_take(p, sizeof(*stored));
    struct crop_rule *copy = stored ? kb_alloc(sizeof(*copy)) : NULL;
    if (copy)
        *copy = *stored;
    *ok = *ok && copy;
    return copy;
}

static bool take_op(struct pack *p, struct graph *g)
{
    const struct op *stored = pack_take(p, sizeof(*stored));
    if (!stored || stored->out < 0 || stored->out >= g->n_values || stored->n_in < 0 ||
        stored->n_in > (int)ARRAY_LEN(stored->in) || stored->residual >= g->n_values ||
        stored->n_scale < 0)
        return false;
    for (int i = 0; i < stored->n_in; i++)
        if (stored->in[i] < 0 || stored->in[i] >= g->n_values)
            return false;
    struct op op = *stored;
    bool ok = true;
    op.name = NULL;
    op.weight = NULL;
    op.bias = stored->bias ? take_floats(p, out_channels(g, stored), &ok) : NULL;
    op.slope = stored->slope ? take_floats(p, out_channels(g, stored), &ok) : NULL;
    op.scale = stored->scale ? take_floats(p, stored->n_scale, &ok) : NULL;
    op.crop = stored->crop ? take_crop(p, &ok) : NULL;
    graph_add_op(g, &op);
    return ok;
}

// How many values an operation reads; 0: as many as it likes.
static int inputs_of(enum op_kind kind)
{
    switch (kind) {
    case OP_CONCAT:
        return 0;
    case OP_ADD:
    case OP_WARP:
    case OP_PLACE:
    case OP_GATE:
        return 2;
    case OP_INTERLEAVE:
        return 4;
    default:
        return 1;
    }
}

// What graph_finish() does not look at, since no importer gets it wrong.
static bool op_fits(const struct op *op)
{
    int n_in = inputs_of(op->kind);
    bool axis_fits = op->axis == 'h' || op->axis == 'w' || op->axis == 'c';
    return (n_in == 0 || op->n_in == n_in) && op->act >= ACT_NONE && op->act <= ACT_HARD_SWISH &&
           (op->act != ACT_PRELU || op->slope) && (op->kind != OP_CONCAT || axis_fits) &&
           op->kind != OP_BATCHNORM; // folded, where a graph is packed
}

// A session believes a graph, and this one's numbers are those of a file. They must make a network
// again, with the shapes that were stored, for of these are the weights.
static bool graph_fits(struct graph *g)
{
    CLEANUP(kb_freep) struct value *stored = kb_alloc((size_t)g->n_values * sizeof(*stored));
    memcpy(stored, g->values, (size_t)g->n_values * sizeof(*stored));
    for (int i = 0; i < g->n_ops; i++)
        if (!op_fits(&g->ops[i]))
            return false;
    if (graph_finish(g, NULL) != KB_OK)
        return false;
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i].h != stored[i].h || g->values[i].w != stored[i].w ||
            g->values[i].c != stored[i].c)
            return false;
    return true;
}

struct graph *pack_take_graph(struct pack *p)
{
    CLEANUP(graph_free) struct graph *g = graph_create();
    const struct graph_head *head = pack_take(p, sizeof(*head));
    if (!head || head->n_values < 1 || head->n_values > MAX_COUNT || head->n_ops < 1 ||
        head->n_ops > MAX_COUNT || head->n_inputs < 1 || head->n_inputs > 8 ||
        head->n_outputs < 1 || head->n_outputs > 8)
        return NULL;
    for (int i = 0; i < head->n_values; i++)
        if (!take_value(p, g))
            return NULL;
    for (int i = 0; i < head->n_ops; i++)
        if (!take_op(p, g))
            return NULL;
    g->is_optimized = true;
    g->n_inputs = head->n_inputs;
    g->n_outputs = head->n_outputs;
    for (int i = 0; i < 8; i++) {
        g->inputs[i] = head->inputs[i];
        g->outputs[i] = head->outputs[i];
        if ((i < g->n_inputs && (g->inputs[i] < 0 || g->inputs[i] >= g->n_values)) ||
            (i < g->n_outputs && (g->outputs[i] < 0 || g->outputs[i] >= g->n_values)))
            return NULL;
    }
    g->is_packed = true;
    return graph_fits(g) ? TAKE(g) : NULL;
}
