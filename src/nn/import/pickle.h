// A restricted reader of Python pickles: what torch.save and TorchScript write in protocols 2 to 5,
// able to build numbers, texts, containers, descriptions of tensors and of objects (the name of
// their class and their attributes), and nothing else. Nothing of the file's choosing ever runs: an
// object stays a description, and a call of a name outside a short list ends the reading.
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
    PICKLE_TEXT,    // text; bytes too
    PICKLE_TUPLE,   // items; frozen sets too
    PICKLE_LIST,    // items; sets too
    PICKLE_DICT,    // items: key, value, key, value, …
    PICKLE_GLOBAL,  // global: a name, which says nothing of what is behind it
    PICKLE_STORAGE, // storage
    PICKLE_TENSOR,  // tensor
    PICKLE_OBJECT,  // object
    PICKLE_OPAQUE,  // something that koubo has no use for, such as a device or a path
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
        struct {
            int function;              // pickle_call.c's business
            const char *module, *name; // point into the input, not terminated
            size_t module_size, name_size;
        } global;
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
        struct {
            const struct pickle_value *type;  // a global
            const struct pickle_value *state; // what it was given, mostly a dict; NULL: nothing
        } object;
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
