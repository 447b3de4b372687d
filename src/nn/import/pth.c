// PyTorch checkpoints (torch.save, torch.jit.save) in their two forms:
//
//   zip, since 1.6:  NAME/data.pkl is one pickle, NAME/data/KEY the bytes of each storage. With
//                    NAME/code/…, the source text of a model, it is a TorchScript archive.
//   legacy:          five pickles in a row (magic number, protocol version, system facts, the
//                    object, list of storage keys), then for each key 8 bytes of element count
//                    and the storage's bytes.
//
// A tensor is a strided view into a storage; here it becomes a dense copy.
#include "nn/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/import/pth_internal.h"

// 0x1950a86a20f9469cfc6c, little-endian.
static const uint8_t legacy_magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                         0x20, 0x6a, 0xa8, 0x50, 0x19};
#define LEGACY_PROTOCOL 1001

// The archive of TorchScript holds the model's source text beside its weights. What koubo reads is
// the same: module objects with tensors.
static bool is_torchscript(const struct pth_source *s)
{
    return zip_find(s->zip, s->folder, s->folder_size, "constants.pkl") ||
           zip_has_folder(s->zip, s->folder, s->folder_size, "code");
}

static enum kb_code refuse_zip(const struct zip *zip, struct kb_error *err)
{
    if (zip_find_suffix(zip, "/model.json"))
        return kb_fail(err, KB_BAD_INPUT,
                       _("a TorchScript archive from before PyTorch 1.4, which koubo cannot read; "
                         "load it in Python with torch.jit.load and save its state_dict()"));
    return kb_fail(err, KB_BAD_INPUT,
                   _("the zip archive holds no data.pkl, so it is not a PyTorch checkpoint"));
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
        return refuse_zip(zip, err);
    if (f->is_packed)
        return zip_refuse_packed(err);
    struct pth_source s = {.zip = zip, .folder = f->name, .folder_size = f->name_size - 9};
    const struct zip_file *order = zip_find(zip, s.folder, s.folder_size, "byteorder");
    if (order && order->size >= 3 && memcmp(order->data, "big", 3) == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the checkpoint was written on a big-endian machine, which koubo cannot "
                         "read"));
    tensor_set_put_form(set, is_torchscript(&s) ? FORM_TORCHSCRIPT : FORM_PYTORCH);
    CLEANUP(pickle_free) struct pickle *pickle = NULL;
    size_t used;
    code = pickle_read(&pickle, f->data, f->size, &used, err);
    return code == KB_OK ? pth_add_all(set, &s, pickle_root(pickle), size, err) : code;
}

// One slab for each storage that the object names, sorted by key.
static enum kb_code collect_slabs(const struct pickle *object, struct pth_slab **ret, size_t *ret_n,
                                  struct kb_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < pickle_count(object); i++)
        n += pickle_at(object, i)->kind == PICKLE_STORAGE;
    struct pth_slab *slabs = kb_calloc_checked(n, sizeof(*slabs));
    *ret = slabs;
    *ret_n = 0;
    if (!slabs)
        return kb_no_memory(err);
    n = 0;
    for (size_t i = 0; i < pickle_count(object); i++) {
        const struct pickle_value *v = pickle_at(object, i);
        if (v->kind == PICKLE_STORAGE)
            slabs[n++] = (struct pth_slab){.key = v->storage.key, .type = v->storage.type};
    }
    qsort(slabs, n, sizeof(*slabs), pth_compare_slab);
    for (size_t i = 0; i < n; i++) {
        struct pth_slab *last = *ret_n ? &slabs[*ret_n - 1] : NULL;
        if (!last || pth_compare_slab(last, &slabs[i]) != 0)
            slabs[(*ret_n)++] = slabs[i];
        else if (last->type != slabs[i].type)
            return kb_fail(err, KB_BAD_INPUT,
                           _("one storage is used with two types; the file is damaged"));
    }
    return KB_OK;
}

// The bytes of the storages follow the list of their keys, in its order.
static enum kb_code locate_slabs(struct pth_slab *slabs, size_t n, const struct pickle_value *keys,
                                 const uint8_t *data, size_t size, struct kb_error *err)
{
    if (keys->kind != PICKLE_LIST)
        return kb_fail(err, KB_BAD_INPUT, _("the checkpoint's list of storages is damaged"));
    for (size_t i = 0; i < keys->items.n; i++) {
        struct pth_slab wanted = {.key = keys->items.at[i]};
        struct pth_slab *slab = NULL;
        if (wanted.key->kind == PICKLE_TEXT)
            slab = bsearch(&wanted, slabs, n, sizeof(*slabs), pth_compare_slab);
        if (!slab || slab->data)
            return kb_fail(err, KB_BAD_INPUT, _("the checkpoint's list of storages is damaged"));
        uint64_t count = 0, bytes = 0;
        if (size >= 8)
            memcpy(&count, data, 8);
        if (size < 8 || __builtin_mul_overflow(count, pth_types[slab->type].size, &bytes) ||
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
    CLEANUP(kb_freep) struct pth_slab *slabs = NULL;
    size_t n;
    code = collect_slabs(object, &slabs, &n, err);
    if (code == KB_OK)
        code = locate_slabs(slabs, n, pickle_root(keys), data + pos, size - pos, err);
    if (code != KB_OK)
        return code;
    struct pth_source s = {.slabs = slabs, .n_slabs = n};
    tensor_set_put_form(set, FORM_PYTORCH_LEGACY);
    return pth_add_all(set, &s, pickle_root(object), size, err);
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
    else if (tensor_set_form(set) == FORM_TORCHSCRIPT)
        kb_wrap(err, "TorchScript");
    return code;
}
