// NumPy's .npy: "\x93NUMPY", version, header length, a Python dict literal as text, raw array.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include "nn/import/import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

static const struct {
    const char *descr;
    enum dtype dtype;
    size_t file_size; // bytes per element in the file
} types[] = {
    {"'<f4'", DTYPE_F32, 4}, {"'<f8'", DTYPE_F32, 8}, {"'<f2'", DTYPE_F16, 2},
    {"'<i4'", DTYPE_I32, 4}, {"'<i8'", DTYPE_I64, 8}, {"'|u1'", DTYPE_U8, 1},
    {"'|i1'", DTYPE_S8, 1},
};

// The text after "'key': ", or NULL.
static const char *dict_value(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (!at)
        return NULL;
    at += strlen(key);
    return at + strspn(at, ": ");
}

// "(3, 4)", "(3,)" or "()".
static bool parse_shape(const char *text, int64_t *dims, int *ret_n)
{
    if (!text || *text++ != '(')
        return false;
    int n = 0;
    for (;;) {
        text += strspn(text, ", ");
        if (*text == ')')
            break;
        if (*text < '0' || *text > '9' || n == TENSOR_MAX_DIMS)
            return false;
        char *end;
        errno = 0;
        dims[n++] = strtoll(text, &end, 10);
        if (errno)
            return false;
        text = end;
    }
    *ret_n = n;
    return true;
}

// Split the file into header text (a new string) and the offset of the array.
static char *read_header(const struct file_map *m, size_t *ret_offset)
{
    if (m->size < 12 || memcmp(m->data, "\x93NUMPY", 6) != 0)
        return NULL;
    int version = m->data[6];
    size_t length = (size_t)m->data[8] | (size_t)m->data[9] << 8, start = 10;
    if (version == 2) {
        length |= (size_t)m->data[10] << 16 | (size_t)m->data[11] << 24;
        start = 12;
    } else if (version != 1) {
        return NULL;
    }
    if (length > m->size - start || length > 65536)
        return NULL;
    *ret_offset = start + length;
    return strndup((const char *)m->data + start, length);
}

static enum kb_code read_mapped(struct tensor_set *set, const struct file_map *m,
                                struct kb_error *err)
{
    size_t offset = 0;
    CLEANUP(kb_freep) char *header = read_header(m, &offset);
    if (!header)
        return kb_fail(err, KB_BAD_INPUT, _("not a NumPy .npy file of version 1 or 2"));
    const char *order = dict_value(header, "'fortran_order'");
    if (!order || !text_begins(order, "False"))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the array is stored column by column; save numpy.ascontiguousarray(a)"));
    int64_t dims[TENSOR_MAX_DIMS];
    int n_dims = 0;
    if (!parse_shape(dict_value(header, "'shape'"), dims, &n_dims))
        return kb_fail(err, KB_BAD_INPUT, _("the shape of the array cannot be read"));
    const char *descr = dict_value(header, "'descr'");
    size_t t = 0;
    while (t < ARRAY_LEN(types) && descr && !text_begins(descr, types[t].descr))
        t++;
    if (!descr || t == ARRAY_LEN(types))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the array is of type %.10s; koubo reads float16, float32, float64, int8, "
                         "uint8, int32 and int64"),
                       descr ? descr : "?");

    size_t count = 1, bytes = 0;
    bool fits = true;
    for (int i = 0; i < n_dims; i++)
        fits = fits && !__builtin_mul_overflow(count, (size_t)dims[i], &count);
    fits = fits && !__builtin_mul_overflow(count, types[t].file_size, &bytes);
    if (!fits || bytes > m->size - offset)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the file is shorter than its shape says; copy or download it again"));
    const uint8_t *from = m->data + offset;
    bool wide = types[t].dtype == DTYPE_F32 && types[t].file_size == 8;
    void *to = NULL;
    enum kb_code code = tensor_set_add(set, "array", types[t].dtype, n_dims, dims,
                                       wide || bytes == 0 ? NULL : from, &to, err);
    for (size_t i = 0; code == KB_OK && wide && i < count; i++) {
        double d;
        memcpy(&d, from + i * 8, 8);
        ((float *)to)[i] = (float)d;
    }
    return code;
}

enum kb_code npy_read(struct tensor_set **ret, const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    enum kb_code code = file_map(&m, path, err);
    if (code != KB_OK)
        return code;
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    code = read_mapped(set, &m, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", path);
    *ret = TAKE(set);
    return KB_OK;
}

enum kb_code npy_write(const char *path, int n_dims, const int64_t *dims, const float *data,
                       struct kb_error *err)
{
    char shape[TENSOR_MAX_DIMS * 24] = "";
    size_t used = 0, count = 1;
    if (n_dims < 0 || n_dims > TENSOR_MAX_DIMS)
        return kb_fail(err, KB_INTERNAL, _("cannot write an array of %d dimensions"), n_dims);
    for (int i = 0; i < n_dims; i++) {
        used += (size_t)snprintf(shape + used, sizeof(shape) - used, "%" PRId64 ",%s", dims[i],
                                 i + 1 < n_dims ? " " : "");
        count *= (size_t)dims[i];
    }
    CLEANUP(kb_freep)
    char *dict = kb_printf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    // Header and text together fill a multiple of 64 bytes and end in a newline.
    size_t length = strlen(dict), start = (10 + length + 1 + 63) / 64 * 64;
    CLEANUP(kb_freep) uint8_t *file = kb_calloc_checked(start + count * sizeof(*data), 1);
    if (!file)
        return kb_no_memory(err);
    memcpy(file, "\x93NUMPY\x01\x00", 8);
    file[8] = (uint8_t)((start - 10) & 255);
    file[9] = (uint8_t)((start - 10) >> 8);
    memset(file + 10, ' ', start - 10);
    memcpy(file + 10, dict, length);
    file[start - 1] = '\n';
    if (count)
        memcpy(file + start, data, count * sizeof(*data));
    return file_write_atomic(path, file, start + count * sizeof(*data), err);
}
