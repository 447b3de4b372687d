// What the machine of a pickle (pickle.c) and what its file asks for by name (pickle_call.c) share.
// Not thread-safe: one reading belongs to one thread.
#ifndef NN_IMPORT_PICKLE_INTERNAL_H
#define NN_IMPORT_PICKLE_INTERNAL_H

#include "nn/import/pickle.h"

// A checkpoint of a large network with its optimizer makes some 100,000 values.
#define PICKLE_MAX_VALUES (1u << 20)
#define PICKLE_BLOCK      1024u // values that are allocated together
#define PICKLE_MAX_BLOCKS (PICKLE_MAX_VALUES / PICKLE_BLOCK)

// A growing array of pointers (stack, memo) or of stack heights (marks).
struct pickle_array {
    void *at;
    size_t n, room;
};

struct pickle {
    const uint8_t *data;
    size_t size, pos;
    struct pickle_value *blocks[PICKLE_MAX_BLOCKS];
    size_t n_values;
    struct pickle_array stack; // struct pickle_value *
    struct pickle_array memo;  // struct pickle_value *, NULL where nothing was put
    size_t n_memo;             // places up to the last that was put into
    struct pickle_array marks; // size_t
    struct kb_error *err;
    struct pickle_value *root;
};

// --- pickle.c ---

enum kb_code pickle_damaged(struct pickle *p, const char *what); // KB_BAD_INPUT
// A line without its newline.
enum kb_code pickle_take_line(struct pickle *p, const char **ret, size_t *ret_size);

enum kb_code pickle_push(struct pickle *p, struct pickle_value *v);
// A new value on top of the stack; *ret (may be NULL) to fill it.
enum kb_code pickle_push_new(struct pickle *p, enum pickle_kind kind, struct pickle_value **ret);
// How many values lie above the last mark: only those may be taken off.
size_t pickle_available(const struct pickle *p);
// The i-th value from the top, 0 is the top.
struct pickle_value *pickle_top(const struct pickle *p, size_t i);
bool pickle_is_text(const struct pickle_value *v, const char *text);

// --- pickle_call.c: the opcodes that name something outside the pickle ---

enum kb_code pickle_op_global(struct pickle *p);             // GLOBAL
enum kb_code pickle_op_stack_global(struct pickle *p);       // STACK_GLOBAL
enum kb_code pickle_op_new(struct pickle *p, size_t n_args); // NEWOBJ (1), NEWOBJ_EX (2)
enum kb_code pickle_op_reduce(struct pickle *p);             // REDUCE
enum kb_code pickle_op_build(struct pickle *p);              // BUILD
enum kb_code pickle_op_persistent(struct pickle *p);         // BINPERSID

#endif
