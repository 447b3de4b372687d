// PyTorch checkpoints (torch.save) in their two forms:
//
//   zip, since 1.6:  NAME/data.pkl is one pickle, NAME/data/KEY the bytes of each storage.
//   legacy:          five pickles in a row (magic number, protocol version, system facts, the
//                    object, list of storage keys), then for each key 8 bytes of element count
//                    and the storage's bytes.
//
// A tensor is a strided view into a storage; here it becomes a dense copy.
#include "nn/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "nn/import/pickle.h"
#include "nn/import/zip.h"

// 0x1950a86a20f9469cfc6c, little-endian.
static const uint8_t legacy_magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                         0x20, 0x6a, 0xa8, 0x50, 0x19};
#define LEGACY_PROTOCOL 1001

// Tied weights may share a storage, but not a hundred tensors: that is a memory bomb.
#define MAX_GROWTH 8

static const struct {
    size_t size; // bytes per element in the file
    enum dtype dtype;
} types[] = {
    [STORAGE_F32] = {4, DTYPE_F32},   [STORAGE_F16] = {2, DTYPE_F16},
    [STORAGE_BF16] = {2, DTYPE_BF16}, [STORAGE_F64] = {8, DTYPE_F32},
    [STORAGE_I64] = {8, DTYPE_I64},   [STORAGE_I32] = {4, DTYPE_I32},
    [STORAGE_I16] = {2, DTYPE_I32},   [STORAGE_U8] = {1, DTYPE_U8},
    [STORAGE_S8] = {1, DTYPE_S8},     [STORAGE_BOOL] = {1, DTYPE_U8},
};

// One storage of the legacy form.
struct slab {
    const struct pickle_value *key;
    enum pickle_storage_type type;
    const uint8_t *data; // NULL until found
    size_t count;
};

// Where the bytes of storages come from: zip and folder, or slabs sorted by key.
struct source {
    const struct zip *zip;
    const char *folder;
    size_t folder_size;
    const struct slab *slabs;
    size_t n_slabs;
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

static int compare_slab(const void *a, const void *b)
{
    return compare_key(((const struct slab *)a)->key, ((const struct slab *)b)->key);
}

static enum kb_code zip_storage(const struct source *s, const struct pickle_value *storage,
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
    *ret = f->data;
    *ret_count = f->size / types[storage->storage.type].size;
    return KB_OK;
}

static enum kb_code legacy_storage(const struct source *s, const struct pickle_value *storage,
                                   const uint8_t **ret, size_t *ret_count, struct kb_error *err)
{
    struct slab wanted = {.key = storage->storage.key};
    const struct slab *slab =
        bsearch(&wanted, s->slabs, s->n_slabs, sizeof(*s->slabs), compare_slab);
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
    *ret = slab->data + offset * types[slab->type].size;
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

static enum kb_code make_view(const struct source *s, const char *name,
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
        ret->data += (size_t)tensor->tensor.offset * types[ret->type].size;
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
        memcpy((uint8_t *)to + i * types[type].size, from, types[type].size);
    }
}

// Row-major, dense, converted to the set's types. n is the number of elements.
static void copy_view(void *to, const struct view *v, size_t n)
{
    int64_t at[TENSOR_MAX_DIMS] = {0}, from = 0, dense = 1;
    bool is_dense = v->type != STORAGE_F64 && v->type != STORAGE_I16;
    for (int d = v->n_dims - 1; d >= 0; d--) {
        is_dense = is_dense && (v->size[d] == 1 || v->stride[d] == dense);
        dense *= v->size[d];
    }
    size_t element = types[v->type].size;
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

static enum kb_code add_tensor(struct tensor_set *set, const struct source *s,
                               const struct pickle_value *key, const struct pickle_value *tensor,
                               size_t *budget, struct kb_error *err)
{
    CLEANUP(kb_freep) char *name = strndup(key->text.bytes, key->text.size);
    if (!name || strlen(name) != key->text.size)
        return kb_fail(err, KB_BAD_INPUT, _("a tensor's name holds a zero byte"));
    // torch.nn.DataParallel puts "module." before every name.
    const char *plain = text_begins(name, "module.") ? name + 7 : name;
    struct view v;
    enum kb_code code = make_view(s, plain, tensor, &v, err);
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
    *budget -= n * dtype_size(types[v.type].dtype);
    void *to;
    code = tensor_set_add(set, plain, types[v.type].dtype, v.n_dims, v.size, NULL, &to, err);
    if (code == KB_OK && n)
        copy_view(to, &v, n);
    return code;
}

// All tensors of the state_dict at the top or under "state_dict". Other things (optimizer, step
// counts) are passed over.
static enum kb_code add_state_dict(struct tensor_set *set, const struct source *s,
                                   const struct pickle_value *top, size_t file_size,
                                   struct kb_error *err)
{
    const struct pickle_value *inner = pickle_get(top, "state_dict");
    const struct pickle_value *dict = inner && inner->kind == PICKLE_DICT ? inner : top;
    size_t budget = file_size * MAX_GROWTH + (1 << 20);
    for (size_t i = 0; dict->kind == PICKLE_DICT && i < dict->items.n; i += 2) {
        const struct pickle_value *key = dict->items.at[i], *value = dict->items.at[i + 1];
        if (key->kind != PICKLE_TEXT || value->kind != PICKLE_TENSOR)
            continue;
        enum kb_code code = add_tensor(set, s, key, value, &budget, err);
        if (code != KB_OK)
            return code;
    }
    if (tensor_set_count(set) == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the checkpoint has no weights at its top nor under 'state_dict'; in "
                         "Python, save model.state_dict()"));
    return KB_OK;
}

static enum kb_code read_zip(struct tensor_set *set, const uint8_t *data, size_t size,
                             struct kb_error *err)
{
    CLEANUP(zip_free) struct zip *zip = NULL;
    enum kb_code code = zip_open(&zip, data, size, err);
    if (code != KB_OK)
        return code;
    const struct zip_file *f = zip_find_suffix(zip, "/data.pkl");
    if (!f)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the zip archive holds no data.pkl, so it is not a PyTorch checkpoint"));
    struct source s = {.zip = zip, .folder = f->name, .folder_size = f->name_size - 9};
    const struct zip_file *order = zip_find(zip, s.folder, s.folder_size, "byteorder");
    if (order && order->size >= 3 && memcmp(order->data, "big", 3) == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the checkpoint was written on a big-endian machine, which koubo cannot "
                         "read"));
    CLEANUP(pickle_free) struct pickle *pickle = NULL;
    size_t used;
    code = pickle_read(&pickle, f->data, f->size, &used, err);
    return code == KB_OK ? add_state_dict(set, &s, pickle_root(pickle), size, err) : code;
}

// One slab for each storage that the object names, sorted by key.
static enum kb_code collect_slabs(const struct pickle *object, struct slab **ret, size_t *ret_n,
                                  struct kb_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < pickle_count(object); i++)
        n += pickle_at(object, i)->kind == PICKLE_STORAGE;
    struct slab *slabs = kb_calloc_checked(n, sizeof(*slabs));
    *ret = slabs;
    *ret_n = 0;
    if (!slabs)
        return kb_no_memory(err);
    n = 0;
    for (size_t i = 0; i < pickle_count(object); i++) {
        const struct pickle_value *v = pickle_at(object, i);
        if (v->kind == PICKLE_STORAGE)
            slabs[n++] = (struct slab){.key = v->storage.key, .type = v->storage.type};
    }
    qsort(slabs, n, sizeof(*slabs), compare_slab);
    for (size_t i = 0; i < n; i++) {
        struct slab *last = *ret_n ? &slabs[*ret_n - 1] : NULL;
        if (!last || compare_slab(last, &slabs[i]) != 0)
            slabs[(*ret_n)++] = slabs[i];
        else if (last->type != slabs[i].type)
            return kb_fail(err, KB_BAD_INPUT,
                           _("one storage is used with two types; the file is damaged"));
    }
    return KB_OK;
}

// The bytes of the storages follow the list of their keys, in its order.
static enum kb_code locate_slabs(struct slab *slabs, size_t n, const struct pickle_value *keys,
                                 const uint8_t *data, size_t size, struct kb_error *err)
{
    if (keys->kind != PICKLE_LIST)
        return kb_fail(err, KB_BAD_INPUT, _("the checkpoint's list of storages is damaged"));
    for (size_t i = 0; i < keys->items.n; i++) {
        struct slab wanted = {.key = keys->items.at[i]};
        struct slab *slab = NULL;
        if (wanted.key->kind == PICKLE_TEXT)
            slab = bsearch(&wanted, slabs, n, sizeof(*slabs), compare_slab);
        if (!slab || slab->data)
            return kb_fail(err, KB_BAD_INPUT, _("the checkpoint's list of storages is damaged"));
        uint64_t count = 0, bytes = 0;
        if (size >= 8)
            memcpy(&count, data, 8);
        if (size < 8 || __builtin_mul_overflow(count, types[slab->type].size, &bytes) ||
            bytes > size - 8)
            return kb_fail(err, KB_BAD_INPUT,
                           _("the checkpoint ends within its tensors (storage %zu of %zu): it is "
                             "incomplete, copy or download it again"),
                           i + 1, keys->items.n);
        slab->data = data + 8;
        slab->count = (size_t)count;
        data += 8 + bytes;
        size -= 8 + (size_t)bytes;
    }
    return KB_OK;
}

// The three small pickles before the object. *pos is where the object starts.
static enum kb_code read_legacy_head(const uint8_t *data, size_t size, size_t *pos,
                                     struct kb_error *err)
{
    for (int i = 0; i < 3; i++) {
        CLEANUP(pickle_free) struct pickle *p = NULL;
        size_t used;
        enum kb_code code = pickle_read(&p, data + *pos, size - *pos, &used, err);
        if (code != KB_OK)
            return code;
        *pos += used;
        const struct pickle_value *v = pickle_root(p);
        const struct pickle_value *little = i == 2 ? pickle_get(v, "little_endian") : NULL;
        if (i == 0 && (v->kind != PICKLE_BIG_INT || v->text.size != sizeof(legacy_magic) ||
                       memcmp(v->text.bytes, legacy_magic, sizeof(legacy_magic)) != 0))
            return kb_fail(err, KB_BAD_INPUT,
                           _("a pickle, but not a PyTorch checkpoint (torch.save writes those)"));
        if (i == 1 && (v->kind != PICKLE_INT || v->integer != LEGACY_PROTOCOL))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the checkpoint is of a format version that koubo does not know"));
        if (little && little->kind == PICKLE_BOOL && !little->integer)
            return kb_fail(
                err, KB_BAD_INPUT,
                _("the checkpoint was written on a big-endian machine, which koubo cannot "
                  "read"));
    }
    return KB_OK;
}

static enum kb_code read_legacy(struct tensor_set *set, const uint8_t *data, size_t size,
                                struct kb_error *err)
{
    size_t pos = 0, used;
    enum kb_code code = read_legacy_head(data, size, &pos, err);
    if (code != KB_OK)
        return code;
    CLEANUP(pickle_free) struct pickle *object = NULL;
    code = pickle_read(&object, data + pos, size - pos, &used, err);
    if (code != KB_OK)
        return code;
    pos += used;
    CLEANUP(pickle_free) struct pickle *keys = NULL;
    code = pickle_read(&keys, data + pos, size - pos, &used, err);
    if (code != KB_OK)
        return code;
    pos += used;
    CLEANUP(kb_freep) struct slab *slabs = NULL;
    size_t n;
    code = collect_slabs(object, &slabs, &n, err);
    if (code == KB_OK)
        code = locate_slabs(slabs, n, pickle_root(keys), data + pos, size - pos, err);
    if (code != KB_OK)
        return code;
    struct source s = {.slabs = slabs, .n_slabs = n};
    return add_state_dict(set, &s, pickle_root(object), size, err);
}

enum kb_code pth_read(struct tensor_set **ret, const void *data, size_t size, struct kb_error *err)
{
    const uint8_t *bytes = data;
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    enum kb_code code;
    if (size >= 4 && memcmp(bytes, "PK\3\4", 4) == 0)
        code = read_zip(set, bytes, size, err);
    else if (size >= 2 && bytes[0] == 0x80)
        code = read_legacy(set, bytes, size, err);
    else
        code = kb_fail(err, KB_BAD_INPUT, _("not a PyTorch checkpoint"));
    if (code == KB_OK)
        *ret = TAKE(set);
    return code;
}
