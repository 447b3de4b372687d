// FlexBuffers, the schemaless sister of FlatBuffers, as far as TensorFlow Lite stores the options
// of custom operations in them: one map from names to numbers and lists of numbers. Every offset is
// checked. Thread-safe (a struct flex_map belongs to one thread).
//
// The format is written backwards: the last byte is the width of the root, the byte before it the
// root's type, before that the root itself, and every offset points towards the beginning.
#ifndef NN_IMPORT_FLEXBUFFER_H
#define NN_IMPORT_FLEXBUFFER_H

#include "nn/import/flatbuffer.h"

struct flex_map {
    struct flat flat;
    size_t n;
    size_t values, width;   // place of the first value, bytes of each
    size_t keys, key_width; // the same of the offsets of the keys
};

// The root of these bytes, which stay the caller's. False when it is no map or is damaged.
bool flex_open(struct flex_map *ret, const void *data, size_t size);

// False when the key is not there, is of another type or points outside.
bool flex_int(struct flex_map *m, const char *key, int *ret);
bool flex_float(struct flex_map *m, const char *key, float *ret);
// At most capacity whole numbers; false also when there are more.
bool flex_ints(struct flex_map *m, const char *key, int *ret, int capacity, int *ret_n);

#endif
