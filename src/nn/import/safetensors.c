// safetensors: 8 bytes little-endian header length, that many bytes of JSON, then raw arrays.
// The header maps a name to {"dtype", "shape", "data_offsets": [begin, end]} counted from the end
// of the header; "__metadata__" maps strings to strings. The format's rule that arrays tile the
// rest of the file without gap or overlap is checked, because a file that breaks it was truncated
// or tampered with. Numbers are little-endian, as is every processor koubo runs on.
#include "nn/import/import.h"
#include "nn/import/members.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define MAX_HEADER (8u << 20) // a thousand times that of a network with a hundred tensors
#define MAX_ENTRY  4096       // of one tensor: its type, eight sides, two numbers
#define MAX_METAS  1024

static const struct {
    const char *name;
    enum dtype dtype;
} names[] = {
    {"F32", DTYPE_F32}, {"F16", DTYPE_F16}, {"BF16", DTYPE_BF16}, {"I64", DTYPE_I64},
    {"I32", DTYPE_I32}, {"U8", DTYPE_U8},   {"I8", DTYPE_S8},
};

// Where one tensor lies, to check that all of them together fill the file.
struct span {
    size_t begin, end;
};

static int span_compare(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static enum kb_code read_shape(const char *name, const json_t *shape, int64_t *dims, int *ret_n,
                               struct kb_error *err)
{
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > TENSOR_MAX_DIMS)
        return kb_fail(err, KB_BAD_INPUT, _("tensor '%s' has no shape of at most %d sides"), name,
                       TENSOR_MAX_DIMS);
    for (size_t i = 0; i < n; i++) {
        const json_t *side = json_array_get(shape, i);
        if (!json_is_integer(side) || json_integer_value(side) < 0)
            return kb_fail(err, KB_BAD_INPUT,
                           _("the shape of tensor '%s' is not made of whole numbers"), name);
        dims[i] = json_integer_value(side);
    }
    *ret_n = (int)n;
    return KB_OK;
}

static enum kb_code read_span(const char *name, const json_t *offsets, size_t payload,
                              struct span *ret, struct kb_error *err)
{
    const json_t *begin = json_array_get(offsets, 0);
    const json_t *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return kb_fail(err, KB_BAD_INPUT, _("tensor '%s' has no data_offsets [begin, end]"), name);
    json_int_t b = json_integer_value(begin), e = json_integer_value(end);
    if (b < 0 || e < b || (uint64_t)e > payload)
        return kb_fail(err, KB_BAD_INPUT,
                       _("tensor '%s' lies at bytes %lld to %lld of the data, but the file has "
                         "only %zu; it is damaged or incomplete, copy or download it again"),
                       name, (long long)b, (long long)e, payload);
    *ret = (struct span){(size_t)b, (size_t)e};
    return KB_OK;
}

static bool find_dtype(const char *name, enum dtype *ret)
{
    for (size_t i = 0; name && i < ARRAY_LEN(names); i++)
        if (strcmp(names[i].name, name) == 0) {
            *ret = names[i].dtype;
            return true;
        }
    return false;
}

// payload is the part of the file behind the header.
static enum kb_code read_tensor(struct tensor_set *set, const char *name, const json_t *entry,
                                const uint8_t *payload, size_t payload_size, struct span *ret,
                                struct kb_error *err)
{
    int64_t dims[TENSOR_MAX_DIMS];
    int n_dims = 0;
    enum dtype dtype = DTYPE_F32;
    const char *dtype_text = json_string_value(json_object_get(entry, "dtype"));
    if (!find_dtype(dtype_text, &dtype))
        return kb_fail(
            err, KB_BAD_INPUT,
            _("tensor '%.100s' is of type '%.20s'; koubo reads F32, F16, BF16, I64, I32, "
              "U8 and I8"),
            name, dtype_text ? dtype_text : "?");
    enum kb_code code = read_shape(name, json_object_get(entry, "shape"), dims, &n_dims, err);
    if (code == KB_OK)
        code = read_span(name, json_object_get(entry, "data_offsets"), payload_size, ret, err);
    if (code != KB_OK)
        return code;

    size_t bytes = dtype_size(dtype);
    bool fits = true;
    for (int i = 0; i < n_dims; i++)
        fits = fits && !__builtin_mul_overflow(bytes, (size_t)dims[i], &bytes);
    if (!fits || bytes != ret->end - ret->begin)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the shape of tensor '%s' does not match its %zu bytes; the file is damaged"), name,
            ret->end - ret->begin);
    return tensor_set_add(set, name, dtype, n_dims, dims, payload + ret->begin, NULL, err);
}

static enum kb_code read_metadata(struct tensor_set *set, const char *text, size_t size,
                                  struct kb_error *err)
{
    struct members m;
    const char *value;
    size_t n;
    enum kb_code code;
    members_start(&m, text, size);
    for (int i = 0;; i++) {
        CLEANUP(kb_freep) char *key = NULL;
        code = members_next(&m, &key, &value, &n, err);
        if (code != KB_OK)
            return code == KB_EOF ? KB_OK : code;
        json_auto_t *json = members_value(value, n);
        if (i == MAX_METAS)
            return kb_fail(err, KB_BAD_INPUT, _("more than %d metadata entries"), MAX_METAS);
        if (!json_is_string(json))
            return kb_fail(err, KB_BAD_INPUT, _("metadata '%.100s' is not a text"), key);
        if (tensor_set_meta(set, key))
            return kb_fail(err, KB_BAD_INPUT, _("metadata '%.100s' appears twice"), key);
        tensor_set_put_meta(set, key, json_string_value(json));
    }
}

static enum kb_code check_spans(struct span *spans, size_t n, size_t payload, struct kb_error *err)
{
    if (n > 0)
        qsort(spans, n, sizeof(*spans), span_compare);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (spans[i].begin != at)
            return kb_fail(
                err, KB_BAD_INPUT,
                spans[i].begin < at
                    ? _("two tensors overlap at byte %zu of the data; the file is damaged")
                    : _("no tensor uses byte %zu of the data; the file is damaged"),
                spans[i].begin < at ? spans[i].begin : at);
        at = spans[i].end;
    }
    if (at != payload)
        return kb_fail(err, KB_BAD_INPUT,
                       _("%zu bytes follow after the last tensor; the file is damaged"),
                       payload - at);
    return KB_OK;
}

// One member of the header. *spans has room for it.
static enum kb_code read_member(struct tensor_set *set, const char *name, const char *value,
                                size_t size, const uint8_t *payload, size_t payload_size,
                                struct span *ret, struct kb_error *err)
{
    if (size > MAX_ENTRY)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the header of the file says more of '%.100s' than anybody needs; the "
                         "file is damaged"),
                       name);
    json_auto_t *entry = members_value(value, size);
    if (!entry)
        return kb_fail(err, KB_BAD_INPUT,
                       _("what the header of the file says of '%.100s' is not "
                         "JSON; it is damaged"),
                       name);
    return read_tensor(set, name, entry, payload, payload_size, ret, err);
}

// In one pass, member by member. free(*spans), one for each of *ret_n tensors.
static enum kb_code read_header(struct tensor_set *set, const char *text, size_t size,
                                const uint8_t *payload, size_t payload_size, struct span **spans,
                                size_t *ret_n, struct kb_error *err)
{
    struct members m;
    size_t room = 0, n_value;
    const char *value;
    bool metadata = false;
    members_start(&m, text, size);
    for (;;) {
        CLEANUP(kb_freep) char *name = NULL;
        enum kb_code code = members_next(&m, &name, &value, &n_value, err);
        if (code != KB_OK)
            return code == KB_EOF ? KB_OK : code;
        if (strcmp(name, "__metadata__") == 0 && !metadata) {
            metadata = true;
            code = read_metadata(set, value, n_value, err);
        } else {
            if (*ret_n == room) {
                room = KB_MAX(256, 2 * room);
                struct span *more = reallocarray(*spans, room, sizeof(*more));
                if (!more)
                    return kb_no_memory(err);
                *spans = more;
            }
            code = read_member(set, name, value, n_value, payload, payload_size,
                               &(*spans)[(*ret_n)++], err);
        }
        if (code != KB_OK)
            return code;
    }
}

enum kb_code safetensors_read(struct tensor_set **ret, const void *data, size_t size,
                              struct kb_error *err)
{
    const uint8_t *bytes = data;
    uint64_t header_size = 0;
    if (size > 8)
        memcpy(&header_size, bytes, 8);
    if (size <= 8 || header_size > size - 8 || header_size > MAX_HEADER)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("not a safetensors file, or cut off within its header; copy or download it "
              "again"));
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    CLEANUP(kb_freep) struct span *spans = NULL;
    tensor_set_put_form(set, FORM_SAFETENSORS);
    size_t payload = size - 8 - (size_t)header_size, n = 0;
    enum kb_code code = read_header(set, (const char *)bytes + 8, (size_t)header_size,
                                    bytes + size - payload, payload, &spans, &n, err);
    if (code == KB_OK)
        code = check_spans(spans, n, payload, err);
    if (code != KB_OK)
        return code;
    *ret = TAKE(set);
    return KB_OK;
}

static const char *dtype_text(enum dtype dtype)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].dtype == dtype)
            return names[i].name;
    return "?";
}

static size_t tensor_size(const struct tensor *t)
{
    return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

// The JSON header as a new text, and the size of all arrays. NULL when a name is not UTF-8.
static char *make_header(const struct tensor_set *set, size_t *ret_payload)
{
    json_auto_t *header = json_object();
    json_t *metadata = json_object();
    json_object_set_new(header, "__metadata__", metadata);
    for (size_t i = 0; i < tensor_set_meta_count(set); i++) {
        const char *key, *value;
        tensor_set_meta_at(set, i, &key, &value);
        if (json_object_set_new(metadata, key, json_string(value)) != 0)
            return NULL;
    }
    size_t at = 0;
    for (size_t i = 0; i < tensor_set_count(set); i++) {
        const struct tensor *t = tensor_set_at(set, i);
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++)
            json_array_append_new(shape, json_integer(t->dims[d]));
        size_t end = at + tensor_size(t);
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_text(t->dtype), "shape",
                                  shape, "data_offsets", (json_int_t)at, (json_int_t)end);
        if (json_object_set_new(header, t->name, entry) != 0)
            return NULL;
        at = end;
    }
    *ret_payload = at;
    return json_dumps(header, JSON_COMPACT);
}

enum kb_code safetensors_write(const char *path, const struct tensor_set *set, struct kb_error *err)
{
    size_t payload = 0;
    CLEANUP(kb_freep) char *header = make_header(set, &payload);
    if (!header)
        return kb_fail(err, KB_BAD_INPUT,
                       _("cannot write '%s': a name of a tensor or of metadata is not UTF-8"),
                       path);
    // The arrays start on a multiple of 8, the header is filled up with spaces.
    size_t header_size = strlen(header), padded = (header_size + 7) / 8 * 8;
    CLEANUP(kb_freep) uint8_t *file = kb_calloc_checked(8 + padded + payload, 1);
    if (!file)
        return kb_no_memory(err);
    uint64_t length = padded;
    memcpy(file, &length, 8);
    memset(file + 8, ' ', padded);
    memcpy(file + 8, header, header_size);
    uint8_t *at = file + 8 + padded;
    for (size_t i = 0; i < tensor_set_count(set); i++) {
        const struct tensor *t = tensor_set_at(set, i);
        memcpy(at, t->data, tensor_size(t));
        at += tensor_size(t);
    }
    return file_write_atomic(path, file, (size_t)(at - file), err);
}
