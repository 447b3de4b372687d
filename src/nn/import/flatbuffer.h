// FlatBuffers, read with every offset checked. The format: tables that point forward by 32-bit
// offsets, each with a vtable that says where its fields are. The official reader is C++ only.
// Thread-safe (a struct flat belongs to one thread).
#ifndef NN_IMPORT_FLATBUFFER_H
#define NN_IMPORT_FLATBUFFER_H

#include "base/base.h"

// A read outside the file gives 0 and sets bad: callers look once at the end of a step.
struct flat {
    const uint8_t *data;
    size_t size;
    bool bad;
};

struct table {
    size_t at; // 0: absent, every field has its default
    size_t vtable;
    size_t vtable_size;
};

struct vector {
    size_t at; // first element
    size_t n;
};

static inline uint64_t flat_read(struct flat *f, size_t at, size_t bytes)
{
    if (at > f->size || bytes > f->size - at) {
        f->bad = true;
        return 0;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)f->data[at + i] << (8 * i);
    return v;
}

static inline int32_t flat_i32(struct flat *f, size_t at)
{
    return (int32_t)flat_read(f, at, 4);
}

// The place that the forward offset at `at` points to.
static inline size_t flat_follow(struct flat *f, size_t at)
{
    size_t offset = flat_read(f, at, 4);
    if (offset == 0 || offset > f->size - KB_MIN(at, f->size))
        f->bad = true;
    return f->bad ? 0 : at + offset;
}

static inline struct table flat_table(struct flat *f, size_t at)
{
    struct table t = {.at = at};
    int64_t vtable = (int64_t)at - flat_i32(f, at);
    if (vtable < 0 || (uint64_t)vtable > f->size)
        f->bad = true;
    if (!f->bad) {
        t.vtable = (size_t)vtable;
        t.vtable_size = flat_read(f, t.vtable, 2);
    }
    return f->bad ? (struct table){0} : t;
}

// Where field number i is, or 0 when the file leaves it at its default.
static inline size_t table_field(struct flat *f, const struct table *t, size_t i)
{
    size_t slot = 4 + 2 * i;
    if (t->at == 0 || slot + 2 > t->vtable_size)
        return 0;
    size_t offset = flat_read(f, t->vtable + slot, 2);
    return offset ? t->at + offset : 0;
}

static inline int32_t table_i32(struct flat *f, const struct table *t, size_t i, int32_t missing)
{
    size_t at = table_field(f, t, i);
    return at ? flat_i32(f, at) : missing;
}

static inline int table_byte(struct flat *f, const struct table *t, size_t i)
{
    size_t at = table_field(f, t, i);
    return at ? (int)flat_read(f, at, 1) : 0;
}

static inline struct vector table_vector(struct flat *f, const struct table *t, size_t i,
                                         size_t item_size)
{
    size_t at = table_field(f, t, i);
    if (at == 0)
        return (struct vector){0};
    struct vector v = {.at = flat_follow(f, at)};
    v.n = flat_read(f, v.at, 4);
    v.at += 4;
    if (!f->bad && v.n > (f->size - KB_MIN(v.at, f->size)) / item_size)
        f->bad = true;
    return f->bad ? (struct vector){0} : v;
}

static inline struct table table_child(struct flat *f, const struct table *t, size_t i)
{
    size_t at = table_field(f, t, i);
    return at ? flat_table(f, flat_follow(f, at)) : (struct table){0};
}

static inline struct table vector_table(struct flat *f, const struct vector *v, size_t i)
{
    return flat_table(f, flat_follow(f, v->at + 4 * i));
}

#endif
