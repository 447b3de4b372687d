// From a view into a storage of a PyTorch checkpoint to a tensor of its own.
#include "nn/import/pth_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct pth_type pth_types[] = {
    [STORAGE_F32] = {4, DTYPE_F32},   [STORAGE_F16] = {2, DTYPE_F16},
    [STORAGE_BF16] = {2, DTYPE_BF16}, [STORAGE_F64] = {8, DTYPE_F32},
    [STORAGE_I64] = {8, DTYPE_I64},   [STORAGE_I32] = {4, DTYPE_I32},
    [STORAGE_I16] = {2, DTYPE_I32},   [STORAGE_U8] = {1, DTYPE_U8},
    [STORAGE_S8] = {1, DTYPE_S8},     [STORAGE_BOOL] = {1, DTYPE_U8},
};

// A view that was checked against its storage.
struct view {
    enum pickle_storage_type type;
    const uint8_t *data; // the first element
    int n_dims;
    int64_t size[TENSOR_MAX_DIMS], stride[TENSOR_MAX_DIMS];
};

static int compare_key(const struct pickle_value *a, const struct pickle_value *b)
{
    int order = memcmp(a->text.bytes, b->text.bytes, KB_MIN(a->text.size, b->text.size));
    return order ? order : (a->text.size > b->text.size) - (a->text.size < b->text.size);
}

int pth_compare_slab(const void *a, const void *b)
{
    return compare_key(((const struct pth_slab *)a)->key, ((const struct pth_slab *)b)->key);
}

static enum kb_code zip_storage(const struct pth_source *s, const struct pickle_value *storage,
                                const uint8_t **ret, size_t *ret_count, struct kb_error *err)
{
    struct pickle_text key =
        pickle_printable(storage->storage.key->text.bytes, storage->storage.key->text.size);
    char name[sizeof(key.text) + 8];
    snprintf(name, sizeof(name), "data/%s", key.text);
    const struct zip_file *f = zip_find(s->zip, s->folder, s->folder_size, name);
    if (!f || storage->storage.view)
        return kb_fail(err, KB_BAD_INPUT, _("the checkpoint names '%s' but does not hold it"),
                       name);
    if (f->is_packed)
        return zip_refuse_packed(err);
    *ret = f->data;
    *ret_count = f->size / pth_types[storage->storage.type].size;
    return KB_OK;
}

static enum kb_code legacy_storage(const struct pth_source *s, const struct pickle_value *storage,
                                   const uint8_t **ret, size_t *ret_count, struct kb_error *err)
{
    struct pth_slab wanted = {.key = storage->storage.key};
    const struct pth_slab *slab =
        bsearch(&wanted, s->slabs, s->n_slabs, sizeof(*s->slabs), pth_compare_slab);
    if (!slab || !slab->data)
        return kb_fail(err, KB_BAD_INPUT, _("the checkpoint names a storage but does not hold it"));
    size_t offset = 0, count = slab->count;
    const struct pickle_value *view = storage->storage.view;
    if (view) { // (key, offset, count) within the slab
        if (view->kind != PICKLE_TUPLE || view->items.n != 3 ||
            view->items.at[1]->kind != PICKLE_INT || view->items.at[2]->kind != PICKLE_INT ||
            view->items.at[1]->integer < 0 || view->items.at[2]->integer < 0 ||
            (uint64_t)view->items.at[1]->integer > count ||
            (uint64_t)view->items.at[2]->integer > count - (size_t)view->items.at[1]->integer)
            return kb_fail(err, KB_BAD_INPUT, _("a view lies outside its storage"));
        offset = (size_t)view->items.at[1]->integer;
        count = (size_t)view->items.at[2]->integer;
    }
    *ret = slab->data + offset * pth_types[slab->type].size;
    *ret_count = count;
    return KB_OK;
}

// Does the view reach any element twice? True also for a few odd but harmless layouts that
// PyTorch never saves as a weight.
static bool overlaps_itself(const struct view *v)
{
    int order[TENSOR_MAX_DIMS], n = 0;
    for (int i = 0; i < v->n_dims; i++) { // insertion sort of the sides by stride
        if (v->size[i] == 1)
            continue;
        int at = n++;
        for (; at > 0 && v->stride[order[at - 1]] > v->stride[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    int64_t reach = 0; // of the sides with smaller strides
    for (int i = 0; i < n; i++) {
        if (v->stride[order[i]] <= reach)
            return true;
        reach += (v->size[order[i]] - 1) * v->stride[order[i]]; // fits: see view_fits()
    }
    return false;
}

// Does the view stay within count elements from offset on?
static bool view_fits(const struct view *v, int64_t offset, size_t count, bool *ret_empty)
{
    int64_t last = offset;
    bool fits = offset >= 0;
    *ret_empty = false;
    for (int i = 0; i < v->n_dims; i++) {
        int64_t reach = 0;
        fits = fits && v->size[i] >= 0 && v->stride[i] >= 0;
        *ret_empty = *ret_empty || v->size[i] == 0;
        if (v->size[i] > 1)
            fits = fits && !__builtin_mul_overflow(v->size[i] - 1, v->stride[i], &reach) &&
                   !__builtin_add_overflow(last, reach, &last);
    }
    return fits && (*ret_empty || (uint64_t)last < count);
}

static enum kb_code make_view(const struct pth_source *s, const char *name,
                              const struct pickle_value *tensor, struct view *ret,
                              struct kb_error *err)
{
    const struct pickle_value *storage = tensor->tensor.storage;
    const struct pickle_value *size = tensor->tensor.size, *stride = tensor->tensor.stride;
    size_t count = 0;
    enum kb_code code = s->zip ? zip_storage(s, storage, &ret->data, &count, err)
                               : legacy_storage(s, storage, &ret->data, &count, err);
    if (code != KB_OK)
        return kb_wrap(err, _("tensor '%s'"), name);
    // A zip names the element count in the pickle too; a shorter file is a damaged one.
    if (!storage->storage.view &&
        (storage->storage.count < 0 || (uint64_t)storage->storage.count > count))
        return kb_fail(err, KB_BAD_INPUT,
                       _("tensor '%s' is cut off: %zu numbers of %lld are there; copy or download "
                         "the file again"),
                       name, count, (long long)storage->storage.count);

    ret->type = storage->storage.type;
    ret->n_dims = (int)size->items.n;
    bool sane = size->items.n <= TENSOR_MAX_DIMS && size->items.n == stride->items.n;
    for (size_t i = 0; sane && i < size->items.n; i++) {
        sane = size->items.at[i]->kind == PICKLE_INT && stride->items.at[i]->kind == PICKLE_INT;
        ret->size[i] = size->items.at[i]->integer;
        ret->stride[i] = stride->items.at[i]->integer;
    }
    bool is_empty = false;
    if (!sane || !view_fits(ret, tensor->tensor.offset, count, &is_empty) ||
        (!is_empty && overlaps_itself(ret)))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the sizes of tensor '%s' do not fit its data; the file is damaged"),
                       name);
    if (!is_empty)
        ret->data += (size_t)tensor->tensor.offset * pth_types[ret->type].size;
    return KB_OK;
}

static void convert(void *to, size_t i, const uint8_t *from, enum pickle_storage_type type)
{
    double d;
    int16_t s;
    switch (type) {
    case STORAGE_F64:
        memcpy(&d, from, sizeof(d));
        ((float *)to)[i] = (float)d;
        break;
    case STORAGE_I16:
        memcpy(&s, from, sizeof(s));
        ((int32_t *)to)[i] = s;
        break;
    default:
        memcpy((uint8_t *)to + i * pth_types[type].size, from, pth_types[type].size);
    }
}

// Row-major, dense, converted to the set's types. n is the number of elements.
static void copy_view(void *to, const struct view *v, size_t n)
{
    assert(v->data);
    int64_t at[TENSOR_MAX_DIMS] = {0}, from = 0, dense = 1;
    bool is_dense = v->type != STORAGE_F64 && v->type != STORAGE_I16;
    for (int d = v->n_dims - 1; d >= 0; d--) {
        is_dense = is_dense && (v->size[d] == 1 || v->stride[d] == dense);
        dense *= v->size[d];
    }
    size_t element = pth_types[v->type].size;
    if (is_dense) {
        memcpy(to, v->data, n * element);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        convert(to, i, v->data + (size_t)from * element, v->type);
        for (int d = v->n_dims - 1; d >= 0; d--) {
            from += v->size[d] > 1 ? v->stride[d] : 0;
            if (++at[d] < v->size[d])
                break;
            from -= v->size[d] > 1 ? v->stride[d] * v->size[d] : 0;
            at[d] = 0;
        }
    }
}

enum kb_code pth_add_tensor(struct tensor_set *set, const struct pth_source *s, const char *name,
                            const struct pickle_value *tensor, size_t *budget, struct kb_error *err)
{
    struct view v = {0};
    enum kb_code code = make_view(s, name, tensor, &v, err);
    if (code != KB_OK)
        return code;
    size_t n = 1;
    for (int i = 0; i < v.n_dims; i++)
        if (__builtin_mul_overflow(n, (size_t)v.size[i], &n))
            n = 0; // only with a side of 0
    if (n > *budget / 8)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the tensors share their data so often that they would fill the memory; "
                         "the file is damaged or malicious"));
    *budget -= n * dtype_size(pth_types[v.type].dtype);
    void *to;
    code = tensor_set_add(set, name, pth_types[v.type].dtype, v.n_dims, v.size, NULL, &to, err);
    if (code == KB_OK && n)
        copy_view(to, &v, n);
    return code;
}
