#include "nn/import/flexbuffer.h"

#include <limits.h>
#include <string.h>

// More than any operation has options: looking one up is a walk over all.
#define MAX_KEYS 64

// A type byte is the type times four and the logarithm of the width of what it points to.
enum { FLEX_INT = 1, FLEX_UINT = 2, FLEX_FLOAT = 3, FLEX_MAP = 9, FLEX_VECTOR_INT = 11 };

struct found {
    int type;
    size_t at;          // of the value itself
    size_t width;       // its own
    size_t child_width; // of what it points to
};

// The place an offset points back to; 0 and bad when that is outside.
static size_t follow_back(struct flat *f, size_t at, size_t width)
{
    uint64_t offset = flat_read(f, at, width);
    if (offset == 0 || offset > at)
        f->bad = true;
    return f->bad ? 0 : at - offset;
}

static int64_t read_signed(struct flat *f, size_t at, size_t width)
{
    uint64_t v = flat_read(f, at, width);
    unsigned unused = 64 - 8 * (unsigned)width;
    return (int64_t)(v << unused) >> unused;
}

bool flex_open(struct flex_map *ret, const void *data, size_t size)
{
    struct flex_map m = {.flat = {.data = data, .size = size}};
    struct flat *f = &m.flat;
    size_t root_width = size < 3 ? 0 : f->data[size - 1], type = size < 3 ? 0 : f->data[size - 2];
    if ((root_width != 1 && root_width != 2 && root_width != 4 && root_width != 8) ||
        root_width > size - 2 || type >> 2 != FLEX_MAP)
        return false;
    m.width = (size_t)1 << (type & 3);
    m.values = follow_back(f, size - 2 - root_width, root_width);
    // Before the values: their number, the width of the keys, and where the keys are.
    if (f->bad || m.values < 3 * m.width)
        return false;
    m.n = flat_read(f, m.values - m.width, m.width);
    m.key_width = flat_read(f, m.values - 2 * m.width, m.width);
    m.keys = follow_back(f, m.values - 3 * m.width, m.width);
    if (f->bad || m.n > MAX_KEYS ||
        (m.key_width != 1 && m.key_width != 2 && m.key_width != 4 && m.key_width != 8))
        return false;
    *ret = m;
    return true;
}

static bool is_key(struct flex_map *m, size_t i, const char *key)
{
    size_t at = follow_back(&m->flat, m->keys + i * m->key_width, m->key_width);
    size_t length = strlen(key) + 1; // with the zero that ends it
    return !m->flat.bad && length <= m->flat.size - at &&
           memcmp(m->flat.data + at, key, length) == 0;
}

static bool find(struct flex_map *m, const char *key, struct found *ret)
{
    struct flat *f = &m->flat;
    for (size_t i = 0; i < m->n && !f->bad; i++) {
        if (!is_key(m, i, key))
            continue;
        uint64_t type = flat_read(f, m->values + m->n * m->width + i, 1);
        ret->type = (int)(type >> 2);
        ret->at = m->values + i * m->width;
        ret->width = m->width;
        ret->child_width = (size_t)1 << (type & 3);
        return !f->bad;
    }
    return false;
}

static bool to_int(int64_t v, int *ret)
{
    *ret = (int)v;
    return v >= INT_MIN && v <= INT_MAX;
}

bool flex_int(struct flex_map *m, const char *key, int *ret)
{
    struct found v;
    if (!find(m, key, &v) || (v.type != FLEX_INT && v.type != FLEX_UINT))
        return false;
    // An unsigned number of eight bytes that looks negative is far too large either way.
    int64_t number = v.type == FLEX_INT ? read_signed(&m->flat, v.at, v.width)
                                        : (int64_t)flat_read(&m->flat, v.at, v.width);
    return to_int(number, ret) && !m->flat.bad && (v.type == FLEX_INT || number >= 0);
}

bool flex_float(struct flex_map *m, const char *key, float *ret)
{
    struct found v;
    if (!find(m, key, &v) || v.type != FLEX_FLOAT || v.width < 4)
        return false;
    uint64_t bits = flat_read(&m->flat, v.at, v.width);
    if (v.width == 4) {
        uint32_t low = (uint32_t)bits;
        memcpy(ret, &low, sizeof(*ret));
    } else {
        double wide;
        memcpy(&wide, &bits, sizeof(wide));
        *ret = (float)wide;
    }
    return !m->flat.bad;
}

bool flex_ints(struct flex_map *m, const char *key, int *ret, int capacity, int *ret_n)
{
    struct found v;
    struct flat *f = &m->flat;
    if (!find(m, key, &v) || v.type != FLEX_VECTOR_INT)
        return false;
    size_t at = follow_back(f, v.at, v.width), width = v.child_width;
    if (f->bad || at < width)
        return false;
    uint64_t n = flat_read(f, at - width, width);
    if (f->bad || n > (uint64_t)capacity)
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (!to_int(read_signed(f, at + i * width, width), &ret[i]))
            return false;
    *ret_n = (int)n;
    return !f->bad;
}
