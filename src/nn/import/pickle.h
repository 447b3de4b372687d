// A restricted reader of Python pickles: the part of protocol 2 that torch.save writes, able to
// build numbers, texts, containers, and descriptions of tensors, and nothing else. No function of
// the file's choosing ever runs: a name outside a short list ends the reading.
// Internal to nn/. Not thread-safe; two readers run side by side without trouble.
#ifndef NN_IMPORT_PICKLE_H
#define NN_IMPORT_PICKLE_H

#include "nn/tensor.h"

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,    // integer
    PICKLE_INT,     // integer
    PICKLE_BIG_INT, // text: two's complement, little-endian, more than 8 bytes
    PICKLE_FLOAT,   // real
    PICKLE_TEXT,    // text
    PICKLE_TUPLE,   // items
    PICKLE_LIST,    // items
    PICKLE_DICT,    // items: key, value, key, value, …
    PICKLE_GLOBAL,  // one of the few names allowed
    PICKLE_STORAGE, // storage
    PICKLE_TENSOR,  // tensor
};

enum pickle_storage_type {
    STORAGE_F32,
    STORAGE_F16,
    STORAGE_BF16,
    STORAGE_F64,
    STORAGE_I64,
    STORAGE_I32,
    STORAGE_I16,
    STORAGE_U8,
    STORAGE_S8,
    STORAGE_BOOL,
};

// A value lives as long as its reader. Containers may contain themselves: never walk one
// without a bound on the depth.
struct pickle_value {
    enum pickle_kind kind;
    union {
        int64_t integer;
        double real;
        struct {
            const char *bytes; // points into the input, not terminated
            size_t size;
        } text;
        struct {
            struct pickle_value **at;
            size_t n, room;
        } items;
        int global; // pickle.c's business
        struct {
            enum pickle_storage_type type;
            const struct pickle_value *key;  // a text
            int64_t count;                   // elements
            const struct pickle_value *view; // legacy form: a tuple (key, offset, count), or NULL
        } storage;
        struct {
            const struct pickle_value *storage;
            int64_t offset;                           // elements
            const struct pickle_value *size, *stride; // tuples, any content
        } tensor;
    };
};

struct pickle;

// Read one pickle from the start of data, which must outlive *ret. *ret_used is its length.
// KB_BAD_INPUT with a sentence, KB_NO_SPACE.
enum kb_code pickle_read(struct pickle **ret, const uint8_t *data, size_t size, size_t *ret_used,
                         struct kb_error *err);
void pickle_free(struct pickle **p); // NULL is fine

const struct pickle_value *pickle_root(const struct pickle *p);

// Every value that was made, in order, to find the storages.
size_t pickle_count(const struct pickle *p);
const struct pickle_value *pickle_at(const struct pickle *p, size_t i);

// The value under a text key, the last one if it is repeated. NULL: not there, or not a dict.
const struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key);

// Bytes of a file made fit to be shown: at most 60, control characters as '?'.
struct pickle_text {
    char text[61];
};
struct pickle_text pickle_printable(const char *bytes, size_t size);

#endif
