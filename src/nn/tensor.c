#include "nn/tensor.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

// A weight file of a large network has a few thousand tensors.
#define MAX_TENSORS (1 << 18)
#define MAX_NAME    512
#define DATA_ALIGN  64 // one cache line, and what the widest vector loads like

struct meta {
    char *key, *value;
};

struct tensor_set {
    enum form form;
    struct tensor *tensors;
    size_t n_tensors, tensors_room;
    // Names to tensors: open addressing, 0 is free, else index + 1. The size is a power of two and
    // at least twice n_tensors, so a hostile file cannot make adding quadratic.
    uint32_t *slots;
    size_t n_slots;
    struct meta *metas;
    size_t n_metas;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [DTYPE_F32] = {"f32", 4}, [DTYPE_F16] = {"f16", 2}, [DTYPE_BF16] = {"bf16", 2},
    [DTYPE_I64] = {"i64", 8}, [DTYPE_I32] = {"i32", 4}, [DTYPE_U8] = {"u8", 1},
    [DTYPE_S8] = {"s8", 1},
};

size_t dtype_size(enum dtype t)
{
    return dtypes[t].size;
}

const char *dtype_name(enum dtype t)
{
    return dtypes[t].name;
}

int64_t tensor_count(const struct tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++) {
        assert(t->dims[i] == 0 || n <= INT64_MAX / t->dims[i]); // as tensor_set_add() has checked
        n *= t->dims[i];
    }
    return n;
}

// IEEE 754 binary16 to binary32. Every half value has an exact float.
static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = (h >> 10) & 31;
    uint32_t fraction = h & 1023;
    uint32_t bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000 | fraction << 13; // infinity or not a number
    } else if (exponent > 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        float f = (float)fraction * 0x1p-24f; // subnormal, or zero
        memcpy(&bits, &f, sizeof(bits));
        bits |= sign;
    }
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static float bfloat_to_float(uint16_t b)
{
    uint32_t bits = (uint32_t)b << 16;
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

float *tensor_to_f32(const struct tensor *t)
{
    size_t n = (size_t)tensor_count(t);
    float *to = kb_calloc_checked(n, sizeof(*to));
    if (!to)
        return NULL;
    switch (t->dtype) {
    case DTYPE_F32:
        memcpy(to, t->data, n * sizeof(*to));
        break;
    case DTYPE_F16:
        for (size_t i = 0; i < n; i++)
            to[i] = half_to_float(((const uint16_t *)t->data)[i]);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            to[i] = bfloat_to_float(((const uint16_t *)t->data)[i]);
        break;
    case DTYPE_I64:
        for (size_t i = 0; i < n; i++)
            to[i] = (float)((const int64_t *)t->data)[i];
        break;
    case DTYPE_I32:
        for (size_t i = 0; i < n; i++)
            to[i] = (float)((const int32_t *)t->data)[i];
        break;
    case DTYPE_U8:
        for (size_t i = 0; i < n; i++)
            to[i] = ((const uint8_t *)t->data)[i];
        break;
    case DTYPE_S8:
        for (size_t i = 0; i < n; i++)
            to[i] = ((const int8_t *)t->data)[i];
        break;
    }
    return to;
}

struct tensor_shape_text tensor_shape(const struct tensor *t)
{
    struct tensor_shape_text s;
    size_t used = (size_t)snprintf(s.text, sizeof(s.text), "[");
    for (int i = 0; i < t->n_dims && used < sizeof(s.text); i++)
        used += (size_t)snprintf(s.text + used, sizeof(s.text) - used, "%s%" PRId64, i ? ", " : "",
                                 t->dims[i]);
    if (used < sizeof(s.text))
        snprintf(s.text + used, sizeof(s.text) - used, "]");
    return s;
}

const char *form_name(enum form f)
{
    switch (f) {
    case FORM_SAFETENSORS:
        return "safetensors";
    case FORM_PYTORCH:
        return _("PyTorch (zip)");
    case FORM_PYTORCH_LEGACY:
        return _("PyTorch (before 1.6)");
    case FORM_TORCHSCRIPT:
        return "TorchScript";
    case FORM_ONNX:
        return "ONNX";
    case FORM_TFLITE:
        return "tflite";
    case FORM_NONE:
        break;
    }
    return _("unknown");
}

void tensor_set_put_form(struct tensor_set *set, enum form f)
{
    set->form = f;
}

enum form tensor_set_form(const struct tensor_set *set)
{
    return set->form;
}

struct tensor_set *tensor_set_create(void)
{
    return kb_alloc(sizeof(struct tensor_set));
}

void tensor_set_free(struct tensor_set **set)
{
    if (!*set)
        return;
    for (size_t i = 0; i < (*set)->n_tensors; i++) {
        free((*set)->tensors[i].name);
        free((void *)(*set)->tensors[i].data);
    }
    for (size_t i = 0; i < (*set)->n_metas; i++) {
        free((*set)->metas[i].key);
        free((*set)->metas[i].value);
    }
    free((*set)->tensors);
    free((*set)->slots);
    free((*set)->metas);
    free(*set);
    *set = NULL;
}

// The slot where name is, or where it would go. The table must not be full.
static uint32_t *slot_of(const struct tensor_set *set, const char *name)
{
    size_t i = XXH3_64bits(name, strlen(name)) & (set->n_slots - 1);
    while (set->slots[i] && strcmp(set->tensors[set->slots[i] - 1].name, name) != 0)
        i = (i + 1) & (set->n_slots - 1);
    return &set->slots[i];
}

static bool grow(struct tensor_set *set)
{
    if (set->n_tensors < set->tensors_room)
        return true;
    size_t room = set->tensors_room ? set->tensors_room * 2 : 64;
    struct tensor *tensors = realloc(set->tensors, room * sizeof(*tensors));
    if (!tensors)
        return false;
    set->tensors = tensors;
    uint32_t *slots = kb_calloc_checked(room * 2, sizeof(*slots));
    if (!slots)
        return false;
    free(set->slots);
    set->slots = slots;
    set->n_slots = room * 2;
    set->tensors_room = room;
    for (size_t i = 0; i < set->n_tensors; i++)
        *slot_of(set, set->tensors[i].name) = (uint32_t)i + 1;
    return true;
}

// Names end up in messages and in JSON, so control characters have no place in them.
static bool name_is_plain(const char *name)
{
    size_t n = 0;
    for (; name[n]; n++)
        if ((unsigned char)name[n] < 0x20 || name[n] == 0x7f || n >= MAX_NAME)
            return false;
    return n > 0;
}

// Bytes of a tensor, or false when dims are negative or the product does not fit.
static bool tensor_bytes(enum dtype dtype, int n_dims, const int64_t *dims, size_t *ret)
{
    if (n_dims < 0 || n_dims > TENSOR_MAX_DIMS)
        return false;
    size_t bytes = dtype_size(dtype);
    bool empty = false;
    for (int i = 0; i < n_dims; i++) {
        if (dims[i] < 0)
            return false;
        empty = empty || dims[i] == 0;
        // An empty tensor is checked as if that side were 1: its other sides must make sense too.
        if (dims[i] > 0 && __builtin_mul_overflow(bytes, (size_t)dims[i], &bytes))
            return false;
    }
    *ret = empty ? 0 : bytes;
    return bytes <= SIZE_MAX / 4;
}

enum kb_code tensor_set_add(struct tensor_set *set, const char *name, enum dtype dtype, int n_dims,
                            const int64_t *dims, const void *data, void **ret_data,
                            struct kb_error *err)
{
    size_t bytes;
    if (!name_is_plain(name))
        return kb_fail(
            err, KB_BAD_INPUT,
            _("a tensor has an empty, overlong or unprintable name; the file is damaged"));
    if (!tensor_bytes(dtype, n_dims, dims, &bytes))
        return kb_fail(err, KB_BAD_INPUT,
                       _("tensor '%s' has an impossible shape; the file is damaged"), name);
    if (set->n_tensors >= MAX_TENSORS)
        return kb_fail(err, KB_BAD_INPUT, _("more than %d tensors in one file"), MAX_TENSORS);
    if (!grow(set))
        return kb_no_memory(err);
    uint32_t *slot = slot_of(set, name);
    if (*slot)
        return kb_fail(err, KB_BAD_INPUT, _("tensor '%s' appears twice; the file is damaged"),
                       name);

    size_t room = (bytes / DATA_ALIGN + 1) * DATA_ALIGN; // never 0, so data is never NULL
    void *copy = aligned_alloc(DATA_ALIGN, room);
    if (!copy)
        return kb_no_memory(err);
    if (data && bytes)
        memcpy(copy, data, bytes);
    else
        memset(copy, 0, room);

    struct tensor *t = &set->tensors[set->n_tensors++];
    *t = (struct tensor){.name = kb_strdup(name), .dtype = dtype, .n_dims = n_dims, .data = copy};
    for (int i = 0; i < n_dims; i++)
        t->dims[i] = dims[i];
    *slot = (uint32_t)set->n_tensors;
    if (ret_data)
        *ret_data = copy;
    return KB_OK;
}

const struct tensor *tensor_set_find(const struct tensor_set *set, const char *name)
{
    if (!set->n_slots)
        return NULL;
    uint32_t slot = *slot_of(set, name);
    return slot ? &set->tensors[slot - 1] : NULL;
}

size_t tensor_set_count(const struct tensor_set *set)
{
    return set->n_tensors;
}

const struct tensor *tensor_set_at(const struct tensor_set *set, size_t i)
{
    return &set->tensors[i];
}

void tensor_set_put_meta(struct tensor_set *set, const char *key, const char *value)
{
    size_t i = 0;
    while (i < set->n_metas && strcmp(set->metas[i].key, key) != 0)
        i++;
    if (i < set->n_metas) {
        struct meta *m = &set->metas[i];
        free(m->value);
        m->value = kb_strdup(value);
        if (!value) {
            free(m->key);
            *m = set->metas[--set->n_metas];
        }
        return;
    }
    if (!value)
        return;
    struct meta *metas = realloc(set->metas, (set->n_metas + 1) * sizeof(*metas));
    if (!metas)
        abort();
    set->metas = metas;
    set->metas[set->n_metas++] = (struct meta){kb_strdup(key), kb_strdup(value)};
}

const char *tensor_set_meta(const struct tensor_set *set, const char *key)
{
    for (size_t i = 0; i < set->n_metas; i++)
        if (strcmp(set->metas[i].key, key) == 0)
            return set->metas[i].value;
    return NULL;
}

size_t tensor_set_meta_count(const struct tensor_set *set)
{
    return set->n_metas;
}

void tensor_set_meta_at(const struct tensor_set *set, size_t i, const char **ret_key,
                        const char **ret_value)
{
    *ret_key = set->metas[i].key;
    *ret_value = set->metas[i].value;
}
