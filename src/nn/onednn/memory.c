// Memory as oneDNN sees it: values where they lie, constants in the layout a primitive asked for,
// and at last the arena and the scratchpad that all of it points into.
#include "nn/onednn/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

dnnl_data_type_t onednn_type(const struct plan *p, int value)
{
    enum slot_type t = p->slots[value].type;
    return t == SLOT_F32 ? dnnl_f32 : t == SLOT_BF16 ? dnnl_bf16 : dnnl_u8;
}

desc_ref onednn_desc(struct plan *p, const struct graph *g, int value, dnnl_data_type_t type)
{
    const struct value *v = &g->values[p->slots[value].value];
    const dnnl_dims_t dims = {p->batch, v->c, v->h, v->w};
    return desc_new(&p->descs, 4, dims, type, dnnl_nhwc);
}

int onednn_add_slot(struct plan *p, const struct graph *g, int value, enum slot_type type)
{
    assert(p->n_slots < p->max_slots);
    p->slots[p->n_slots] = layout_extra(g, value, p->n_slots, type);
    return p->n_slots++;
}

void onednn_add_binding(struct step *s, int arg, int value, dnnl_memory_t memory)
{
    assert(s->n_bindings < (int)ARRAY_LEN(s->bindings));
    s->bindings[s->n_bindings++] = (struct binding){arg, value, memory};
}

enum kb_code onednn_bind(struct plan *p, struct step *s, int arg, desc_ref md, int value,
                         struct kb_error *err)
{
    dnnl_memory_t memory;
    DNNL_CHECK(dnnl_memory_create(&memory, md, p->engine, DNNL_MEMORY_NONE));
    onednn_add_binding(s, arg, value, memory);
    return KB_OK;
}

void onednn_own(struct plan *p, dnnl_memory_t memory)
{
    assert(p->n_owned < p->max_owned);
    p->owned[p->n_owned++] = memory;
}

enum kb_code onednn_unfit(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT, _("the packed network does not fit"));
}

// A constant out of the pack, where it lies: the library only reads it.
static enum kb_code bind_packed(struct plan *p, struct step *s, int arg, desc_ref wanted,
                                struct kb_error *err)
{
    const void *made_for = pack_take(p->pack, desc_bytes_size());
    const void *data = pack_take(p->pack, dnnl_memory_desc_get_size(wanted));
    dnnl_memory_t memory = NULL;
    if (!made_for || !data || !desc_matches(made_for, wanted))
        return onednn_unfit(err);
    DNNL_CHECK(dnnl_memory_create(&memory, wanted, p->engine, (void *)data));
    onednn_own(p, memory);
    onednn_add_binding(s, arg, -1, memory);
    return KB_OK;
}

static enum kb_code write_packed(struct plan *p, dnnl_memory_t memory, desc_ref desc,
                                 struct kb_error *err)
{
    void *data = NULL;
    DNNL_CHECK(dnnl_memory_get_data_handle(memory, &data));
    CLEANUP(kb_freep) char *made_for = kb_alloc(desc_bytes_size());
    desc_save(made_for, desc);
    pack_put(p->pack_writer, made_for, desc_bytes_size());
    pack_put(p->pack_writer, data, dnnl_memory_desc_get_size(desc));
    return KB_OK;
}

enum kb_code onednn_bind_constant(struct plan *p, struct step *s, int arg, const float *data,
                                  desc_ref user, desc_ref wanted, struct kb_error *err)
{
    dnnl_memory_t from = NULL, to = NULL;
    if (p->pack)
        return bind_packed(p, s, arg, wanted, err);
    DNNL_CHECK(dnnl_memory_create(&to, wanted, p->engine, DNNL_MEMORY_ALLOCATE));
    onednn_own(p, to);
    p->weight_bytes += dnnl_memory_desc_get_size(wanted);
    DNNL_CHECK(dnnl_memory_create(&from, user, p->engine, (void *)data));

    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_status_t st =
        dnnl_reorder_primitive_desc_create(&pd, user, p->engine, wanted, p->engine, NULL);
    if (st == dnnl_success)
        st = dnnl_primitive_create(&reorder, pd);
    if (st == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        st = dnnl_primitive_execute(reorder, p->stream, 2, args);
    }
    if (st == dnnl_success)
        st = dnnl_stream_wait(p->stream);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(pd);
    dnnl_memory_destroy(from);
    DNNL_CHECK(st);
    onednn_add_binding(s, arg, -1, to);
    return p->pack_writer ? write_packed(p, to, wanted, err) : KB_OK;
}

static void use(struct plan *p, int value, int step)
{
    if (value < 0)
        return;
    struct slot *root = &p->slots[p->slots[value].root];
    root->first = KB_MIN(root->first, step);
    root->last = KB_MAX(root->last, step);
}

char *onednn_address(const struct plan *p, int value)
{
    const struct slot *s = &p->slots[value], *root = &p->slots[s->root];
    char *base = root->external ? root->external : p->arena + root->at;
    return base + s->offset * slot_elem_size(s->type);
}

static struct image image_of(const struct plan *p, const struct graph *g, int value)
{
    const struct value *v = &g->values[p->slots[value].value];
    return (struct image){onednn_address(p, value),    p->batch, v->h, v->w, v->c,
                          p->slots[value].pixel_stride};
}

enum kb_code onednn_map_memory(struct plan *p, const struct graph *g, struct kb_error *err)
{
    for (int v = 0; v < p->n_slots; v++) {
        p->slots[v].first = p->n_steps;
        p->slots[v].last = -1;
    }
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        for (int k = 0; k < s->n_bindings; k++)
            use(p, s->bindings[k].value, i);
        for (int k = 0; k < 4; k++)
            use(p, s->src[k], i);
        use(p, s->dst, i);
    }
    for (int i = 0; i < g->n_outputs; i++)
        use(p, g->outputs[i], p->n_steps);
    p->arena_bytes = layout_place(p->slots, p->n_slots, g, p->batch);
    p->arena = aligned_alloc(64, KB_MAX(p->arena_bytes, 64));
    p->scratch_bytes = (p->scratch_bytes + 63) & ~(size_t)63;
    p->scratch = aligned_alloc(64, KB_MAX(p->scratch_bytes, 64));
    if (!p->arena || !p->scratch)
        return kb_no_memory(err);
    memset(p->arena, 0, p->arena_bytes);

    for (int i = 0; i < p->n_steps; i++) {
        struct step *s = &p->steps[i];
        for (int k = 0; k < s->n_bindings; k++) {
            struct binding *b = &s->bindings[k];
            if (b->value >= 0)
                DNNL_CHECK(dnnl_memory_set_data_handle(b->memory, onednn_address(p, b->value)));
            else if (b->arg == DNNL_ARG_SCRATCHPAD)
                DNNL_CHECK(dnnl_memory_set_data_handle(b->memory, p->scratch));
        }
        if (s->kind == STEP_PRIMITIVE)
            continue;
        int channels = s->move.dst.c; // of a part of a concatenation
        s->move.elem_size = slot_elem_size(p->slots[s->dst].type);
        s->move.dst = image_of(p, g, s->dst);
        s->move.dst.data = (char *)s->move.dst.data + s->dst_offset * s->move.elem_size;
        s->move.dst.c = channels ? channels : s->move.dst.c;
        for (int k = 0; k < s->move.n_src; k++)
            s->move.src[k] = image_of(p, g, s->src[k]);
        s->spatial.x = s->move.src[0];
        s->spatial.matrix = s->move.src[1];
        s->spatial.y = s->move.dst;
    }
    return KB_OK;
}
