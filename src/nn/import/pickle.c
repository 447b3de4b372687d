// The machine of a pickle is a stack, a memo (numbered values to come back to) and marks (heights
// of the stack). Every opcode makes at most one value, and values, stack and memo are bounded, so
// a hostile file costs at most some tens of megabytes and time linear in its size.
// Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
#include "nn/import/pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A checkpoint of a large network with its optimizer makes some 100,000 values.
#define MAX_VALUES (1u << 20)
#define BLOCK      1024u // values that are allocated together
#define MAX_BLOCKS (MAX_VALUES / BLOCK)

enum global {
    GLOBAL_REBUILD_TENSOR,
    GLOBAL_REBUILD_PARAMETER,
    GLOBAL_ORDERED_DICT,
    GLOBAL_SIZE,
    GLOBAL_STORAGE, // + enum pickle_storage_type, so it stays the last one
};

// All that a pickle may name.
static const struct {
    const char *module, *name;
    int global;
} globals[] = {
    {"torch._utils", "_rebuild_tensor", GLOBAL_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_parameter", GLOBAL_REBUILD_PARAMETER},
    {"collections", "OrderedDict", GLOBAL_ORDERED_DICT},
    {"torch", "Size", GLOBAL_SIZE},
    {"torch", "FloatStorage", GLOBAL_STORAGE + STORAGE_F32},
    {"torch", "HalfStorage", GLOBAL_STORAGE + STORAGE_F16},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE + STORAGE_BF16},
    {"torch", "DoubleStorage", GLOBAL_STORAGE + STORAGE_F64},
    {"torch", "LongStorage", GLOBAL_STORAGE + STORAGE_I64},
    {"torch", "IntStorage", GLOBAL_STORAGE + STORAGE_I32},
    {"torch", "ShortStorage", GLOBAL_STORAGE + STORAGE_I16},
    {"torch", "ByteStorage", GLOBAL_STORAGE + STORAGE_U8},
    {"torch", "CharStorage", GLOBAL_STORAGE + STORAGE_S8},
    {"torch", "BoolStorage", GLOBAL_STORAGE + STORAGE_BOOL},
};

// A growing array of pointers (stack, memo) or of stack heights (marks).
struct array {
    void *at;
    size_t n, room;
};

struct pickle {
    const uint8_t *data;
    size_t size, pos;
    struct pickle_value *blocks[MAX_BLOCKS];
    size_t n_values;
    struct array stack; // struct pickle_value *
    struct array memo;  // struct pickle_value *, NULL where nothing was put
    struct array marks; // size_t
    struct kb_error *err;
    struct pickle_value *root;
};

struct pickle_text pickle_printable(const char *bytes, size_t size)
{
    struct pickle_text t;
    size_t n = KB_MIN(size, sizeof(t.text) - 1);
    for (size_t i = 0; i < n; i++)
        t.text[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : '?';
    t.text[n] = '\0';
    return t;
}

// bytes

static enum kb_code damaged(struct pickle *p, const char *what)
{
    return kb_fail(p->err, KB_BAD_INPUT, _("the pickle is damaged at byte %zu: %s"), p->pos, what);
}

// The next n bytes, or NULL with the error set.
static const uint8_t *take(struct pickle *p, size_t n)
{
    if (n > p->size - p->pos) {
        kb_fail(
            p->err, KB_BAD_INPUT,
            _("the file ends in the middle of its pickle; it is incomplete, copy or download it "
              "again"));
        return NULL;
    }
    p->pos += n;
    return p->data + p->pos - n;
}

// A little-endian number of n <= 4 bytes.
static enum kb_code take_uint(struct pickle *p, size_t n, uint32_t *ret)
{
    const uint8_t *b = take(p, n);
    if (!b)
        return KB_BAD_INPUT;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret |= (uint32_t)b[i] << (8 * i);
    return KB_OK;
}

// A line without its newline.
static enum kb_code take_line(struct pickle *p, const char **ret, size_t *ret_size)
{
    const uint8_t *end = memchr(p->data + p->pos, '\n', p->size - p->pos);
    size_t n = end ? (size_t)(end - p->data) - p->pos : p->size - p->pos;
    const uint8_t *line = take(p, n + 1);
    if (!line)
        return KB_BAD_INPUT;
    *ret = (const char *)line;
    *ret_size = n;
    return KB_OK;
}

// values

static bool array_reserve(struct array *a, size_t n, size_t item)
{
    if (n <= a->room)
        return true;
    size_t room = KB_MAX(n, a->room * 2);
    void *at = realloc(a->at, room * item);
    if (!at)
        return false;
    a->at = at;
    a->room = room;
    return true;
}

static enum kb_code push(struct pickle *p, struct pickle_value *v)
{
    if (p->stack.n >= MAX_VALUES)
        return damaged(p, _("too many values"));
    if (!array_reserve(&p->stack, p->stack.n + 1, sizeof(v)))
        return kb_no_memory(p->err);
    ((struct pickle_value **)p->stack.at)[p->stack.n++] = v;
    return KB_OK;
}

// A new value on top of the stack; *ret (may be NULL) to fill it.
static enum kb_code push_new(struct pickle *p, enum pickle_kind kind, struct pickle_value **ret)
{
    if (p->n_values >= MAX_VALUES)
        return damaged(p, _("too many values"));
    size_t block = p->n_values / BLOCK;
    if (!p->blocks[block]) {
        p->blocks[block] = calloc(BLOCK, sizeof(struct pickle_value));
        if (!p->blocks[block])
            return kb_no_memory(p->err);
    }
    struct pickle_value *v = &p->blocks[block][p->n_values++ % BLOCK];
    v->kind = kind;
    if (ret)
        *ret = v;
    return push(p, v);
}

static enum kb_code push_int(struct pickle *p, enum pickle_kind kind, int64_t i)
{
    struct pickle_value *v;
    enum kb_code code = push_new(p, kind, &v);
    if (code == KB_OK)
        v->integer = i;
    return code;
}

// How many values lie above the last mark: only those may be popped.
static size_t available(const struct pickle *p)
{
    size_t floor = p->marks.n ? ((size_t *)p->marks.at)[p->marks.n - 1] : 0;
    return p->stack.n - floor;
}

// The i-th value from the top, 0 is the top.
static struct pickle_value *top(const struct pickle *p, size_t i)
{
    return ((struct pickle_value **)p->stack.at)[p->stack.n - 1 - i];
}

static enum kb_code push_mark(struct pickle *p)
{
    if (p->marks.n >= MAX_VALUES)
        return damaged(p, _("too many values"));
    if (!array_reserve(&p->marks, p->marks.n + 1, sizeof(size_t)))
        return kb_no_memory(p->err);
    ((size_t *)p->marks.at)[p->marks.n++] = p->stack.n;
    return KB_OK;
}

// Append n values of the top of the stack to a container and take them off the stack.
static enum kb_code move_items(struct pickle *p, struct pickle_value *to, size_t n)
{
    struct array items = {to->items.at, to->items.n, to->items.room};
    if (to->items.n + n > MAX_VALUES)
        return damaged(p, _("too many values"));
    if (!array_reserve(&items, items.n + n, sizeof(to)))
        return kb_no_memory(p->err);
    p->stack.n -= n;
    if (n)
        memcpy((struct pickle_value **)items.at + items.n,
               (struct pickle_value **)p->stack.at + p->stack.n, n * sizeof(to));
    to->items.at = items.at;
    to->items.n = items.n + n;
    to->items.room = items.room;
    return KB_OK;
}

// opcodes

// TUPLE1..3 and TUPLE: the n values on top become one.
static enum kb_code make_tuple(struct pickle *p, size_t n)
{
    if (available(p) < n)
        return damaged(p, _("a tuple of values that are not there"));
    struct pickle_value *tuple = NULL;
    enum kb_code code = push_new(p, PICKLE_TUPLE, &tuple);
    if (code != KB_OK)
        return code;
    p->stack.n--; // the tuple itself, until its items are gone
    code = move_items(p, tuple, n);
    return code == KB_OK ? push(p, tuple) : code;
}

// APPEND(S), SETITEM(S): n values on top go into the container below them.
static enum kb_code fill(struct pickle *p, enum pickle_kind kind, size_t n)
{
    if (available(p) < n + 1 || top(p, n)->kind != kind || (kind == PICKLE_DICT && n % 2))
        return damaged(p, _("values for a container that is not there"));
    return move_items(p, top(p, n), n);
}

// Take the last mark away; *ret is how many values lay above it.
static enum kb_code pop_mark(struct pickle *p, size_t *ret)
{
    if (!p->marks.n)
        return damaged(p, _("no mark"));
    *ret = available(p);
    p->marks.n--;
    return KB_OK;
}

static enum kb_code fill_to_mark(struct pickle *p, enum pickle_kind kind)
{
    size_t n = 0;
    enum kb_code code = pop_mark(p, &n);
    return code == KB_OK ? fill(p, kind, n) : code;
}

static enum kb_code op_global(struct pickle *p)
{
    const char *module, *name;
    size_t module_size, name_size;
    if (take_line(p, &module, &module_size) != KB_OK || take_line(p, &name, &name_size) != KB_OK)
        return KB_BAD_INPUT;
    for (size_t i = 0; i < ARRAY_LEN(globals); i++) {
        if (strlen(globals[i].module) != module_size || strlen(globals[i].name) != name_size ||
            memcmp(globals[i].module, module, module_size) != 0 ||
            memcmp(globals[i].name, name, name_size) != 0)
            continue;
        struct pickle_value *v;
        enum kb_code code = push_new(p, PICKLE_GLOBAL, &v);
        if (code == KB_OK)
            v->global = globals[i].global;
        return code;
    }
    return kb_fail(
        p->err, KB_BAD_INPUT,
        _("koubo refuses to run '%s.%s', which the file asks for: weights need only "
          "tensors and containers. If you trust the file, load it in Python and save its "
          "state_dict alone"),
        pickle_printable(module, module_size).text, pickle_printable(name, name_size).text);
}

static bool is_tensor_args(const struct pickle_value *args)
{
    struct pickle_value **at = args->items.at;
    return args->items.n >= 4 && at[0]->kind == PICKLE_STORAGE && at[1]->kind == PICKLE_INT &&
           at[2]->kind == PICKLE_TUPLE && at[3]->kind == PICKLE_TUPLE;
}

// REDUCE: call what lies below the arguments. Only these four "functions" exist.
static enum kb_code op_reduce(struct pickle *p)
{
    if (available(p) < 2 || top(p, 1)->kind != PICKLE_GLOBAL || top(p, 0)->kind != PICKLE_TUPLE)
        return damaged(p, _("a call of something that is no function"));
    struct pickle_value *args = top(p, 0), *v;
    int function = top(p, 1)->global;
    p->stack.n -= 2;
    enum kb_code code;
    switch (function) {
    case GLOBAL_REBUILD_TENSOR:
        if (!is_tensor_args(args))
            return damaged(p, _("a tensor without storage, offset, size and stride"));
        code = push_new(p, PICKLE_TENSOR, &v);
        if (code == KB_OK) {
            v->tensor.storage = args->items.at[0];
            v->tensor.offset = args->items.at[1]->integer;
            v->tensor.size = args->items.at[2];
            v->tensor.stride = args->items.at[3];
        }
        return code;
    case GLOBAL_REBUILD_PARAMETER: // (tensor, requires_grad, hooks)
        if (args->items.n < 1 || args->items.at[0]->kind != PICKLE_TENSOR)
            return damaged(p, _("a parameter that is no tensor"));
        return push(p, args->items.at[0]);
    case GLOBAL_ORDERED_DICT:
        if (args->items.n != 0)
            return damaged(p, _("an ordered dict with arguments"));
        return push_new(p, PICKLE_DICT, NULL);
    case GLOBAL_SIZE: // torch.Size((3, 4)) is as good as its tuple
        if (args->items.n != 1 || args->items.at[0]->kind != PICKLE_TUPLE)
            return damaged(p, _("a size that is no tuple"));
        return push(p, args->items.at[0]);
    default:
        return damaged(p, _("a storage outside the file"));
    }
}

static bool is_text(const struct pickle_value *v, const char *text)
{
    size_t n = strlen(text);
    return v->kind == PICKLE_TEXT && v->text.size == n && memcmp(v->text.bytes, text, n) == 0;
}

// BINPERSID: ("storage", type, key, device, count[, view]) names data that lies elsewhere in the
// file.
static enum kb_code op_storage(struct pickle *p)
{
    const struct pickle_value *id = available(p) ? top(p, 0) : NULL;
    if (id && id->kind == PICKLE_TUPLE && id->items.n > 0 && is_text(id->items.at[0], "module"))
        return kb_fail(
            p->err, KB_BAD_INPUT,
            _("the file holds a whole Python model with its code, not weights; load it in "
              "Python and save its state_dict"));
    if (!id || id->kind != PICKLE_TUPLE || id->items.n < 5 || id->items.n > 6 ||
        !is_text(id->items.at[0], "storage") || id->items.at[1]->kind != PICKLE_GLOBAL ||
        id->items.at[1]->global < GLOBAL_STORAGE || id->items.at[2]->kind != PICKLE_TEXT ||
        id->items.at[4]->kind != PICKLE_INT)
        return damaged(p, _("a storage that is not described as PyTorch does"));
    const struct pickle_value *view = id->items.n == 6 ? id->items.at[5] : NULL;
    if (view && view->kind == PICKLE_NONE)
        view = NULL;
    p->stack.n--;
    struct pickle_value *v;
    enum kb_code code = push_new(p, PICKLE_STORAGE, &v);
    if (code != KB_OK)
        return code;
    v->storage.type = (enum pickle_storage_type)(id->items.at[1]->global - GLOBAL_STORAGE);
    v->storage.key = id->items.at[2];
    v->storage.count = id->items.at[4]->integer;
    v->storage.view = view;
    return KB_OK;
}

// BUILD sets attributes of an object. The only one in weight files is OrderedDict's _metadata
// (versions of the modules), which koubo has no use for.
static enum kb_code op_build(struct pickle *p)
{
    if (available(p) < 2 || top(p, 1)->kind != PICKLE_DICT || top(p, 0)->kind != PICKLE_DICT)
        return damaged(p, _("attributes for something that has none"));
    p->stack.n--;
    return KB_OK;
}

static enum kb_code op_put(struct pickle *p, uint32_t i)
{
    if (!available(p) || i >= MAX_VALUES)
        return damaged(p, _("a memo that cannot be"));
    size_t old = p->memo.room;
    if (!array_reserve(&p->memo, (size_t)i + 1, sizeof(void *)))
        return kb_no_memory(p->err);
    struct pickle_value **memo = p->memo.at;
    if (p->memo.room > old)
        memset(memo + old, 0, (p->memo.room - old) * sizeof(*memo));
    memo[i] = top(p, 0);
    return KB_OK;
}

static enum kb_code op_get(struct pickle *p, uint32_t i)
{
    struct pickle_value **memo = p->memo.at;
    if (i >= p->memo.room || !memo[i])
        return damaged(p, _("a value that was not remembered"));
    return push(p, memo[i]);
}

static enum kb_code op_text(struct pickle *p, size_t size_bytes)
{
    uint32_t n;
    const uint8_t *bytes = NULL;
    if (take_uint(p, size_bytes, &n) == KB_OK)
        bytes = take(p, n);
    if (!bytes)
        return KB_BAD_INPUT;
    struct pickle_value *v;
    enum kb_code code = push_new(p, PICKLE_TEXT, &v);
    if (code != KB_OK)
        return code;
    v->text.bytes = (const char *)bytes;
    v->text.size = n;
    return KB_OK;
}

// LONG1: up to 255 bytes, two's complement, little-endian.
static enum kb_code op_long(struct pickle *p)
{
    uint32_t n;
    const uint8_t *bytes = NULL;
    if (take_uint(p, 1, &n) == KB_OK)
        bytes = take(p, n);
    if (!bytes)
        return KB_BAD_INPUT;
    if (n > 8) {
        struct pickle_value *v;
        enum kb_code code = push_new(p, PICKLE_BIG_INT, &v);
        if (code != KB_OK)
            return code;
        v->text.bytes = (const char *)bytes;
        v->text.size = n;
        return KB_OK;
    }
    uint64_t i = n && bytes[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint32_t k = n; k-- > 0;)
        i = i << 8 | bytes[k];
    return push_int(p, PICKLE_INT, (int64_t)i);
}

// BINFLOAT: 8 bytes, big-endian.
static enum kb_code op_float(struct pickle *p)
{
    const uint8_t *b = take(p, 8);
    if (!b)
        return KB_BAD_INPUT;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | b[i];
    struct pickle_value *v;
    enum kb_code code = push_new(p, PICKLE_FLOAT, &v);
    if (code == KB_OK)
        memcpy(&v->real, &bits, sizeof(bits));
    return code;
}

static enum kb_code op_with_number(struct pickle *p, uint8_t op)
{
    bool is_wide = op == 'J' || op == 'r' || op == 'j';
    uint32_t n;
    enum kb_code code = take_uint(p, is_wide ? 4 : op == 'M' ? 2 : 1, &n);
    if (code != KB_OK)
        return code;
    switch (op) {
    case 'J': // BININT
        return push_int(p, PICKLE_INT, (int32_t)n);
    case 'K': // BININT1
    case 'M': // BININT2
        return push_int(p, PICKLE_INT, n);
    case 'q': // BINPUT
    case 'r': // LONG_BINPUT
        return op_put(p, n);
    case 'h': // BINGET
    case 'j': // LONG_BINGET
        return op_get(p, n);
    default: // PROTO
        return n <= 2 ? KB_OK
                      : kb_fail(p->err, KB_BAD_INPUT,
                                _("the file uses pickle protocol %u; koubo reads protocol 2, which "
                                  "torch.save writes by default"),
                                (unsigned)n);
    }
}

static enum kb_code op_tuple_to_mark(struct pickle *p)
{
    size_t n = 0;
    enum kb_code code = pop_mark(p, &n);
    return code == KB_OK ? make_tuple(p, n) : code;
}

static enum kb_code run_op(struct pickle *p, uint8_t op)
{
    switch (op) {
    case '(':
        return push_mark(p);
    case 'N':
        return push_new(p, PICKLE_NONE, NULL);
    case 0x88:
    case 0x89:
        return push_int(p, PICKLE_BOOL, op == 0x88);
    case '}':
        return push_new(p, PICKLE_DICT, NULL);
    case ']':
        return push_new(p, PICKLE_LIST, NULL);
    case ')':
        return push_new(p, PICKLE_TUPLE, NULL);
    case 't':
        return op_tuple_to_mark(p);
    case 0x85:
    case 0x86:
    case 0x87:
        return make_tuple(p, op - 0x84u);
    case 'a':
        return fill(p, PICKLE_LIST, 1);
    case 'e':
        return fill_to_mark(p, PICKLE_LIST);
    case 's':
        return fill(p, PICKLE_DICT, 2);
    case 'u':
        return fill_to_mark(p, PICKLE_DICT);
    case 'X': // BINUNICODE
    case 'T': // BINSTRING, from Python 2
        return op_text(p, 4);
    case 'U': // SHORT_BINSTRING, from Python 2
        return op_text(p, 1);
    case 0x8a:
        return op_long(p);
    case 'G':
        return op_float(p);
    case 'c':
        return op_global(p);
    case 'R':
        return op_reduce(p);
    case 'Q':
        return op_storage(p);
    case 'b':
        return op_build(p);
    case 0x80:
    case 'J':
    case 'K':
    case 'M':
    case 'q':
    case 'r':
    case 'h':
    case 'j':
        return op_with_number(p, op);
    default:
        return kb_fail(p->err, KB_BAD_INPUT,
                       _("the pickle has the opcode 0x%02x at byte %zu, which torch.save does not "
                         "write; the file is damaged or not a PyTorch checkpoint"),
                       op, p->pos - 1);
    }
}

enum kb_code pickle_read(struct pickle **ret, const uint8_t *data, size_t size, size_t *ret_used,
                         struct kb_error *err)
{
    CLEANUP(pickle_free) struct pickle *p = kb_alloc(sizeof(*p));
    p->data = data;
    p->size = size;
    p->err = err;
    for (;;) {
        const uint8_t *op = take(p, 1);
        if (!op)
            return KB_BAD_INPUT;
        if (*op == '.') // STOP
            break;
        enum kb_code code = run_op(p, *op);
        if (code != KB_OK)
            return code;
    }
    if (p->stack.n != 1 || p->marks.n)
        return damaged(p, _("it does not end with one value"));
    p->root = top(p, 0);
    p->err = NULL;
    *ret_used = p->pos;
    *ret = TAKE(p);
    return KB_OK;
}

void pickle_free(struct pickle **p)
{
    if (!*p)
        return;
    for (size_t i = 0; i < (*p)->n_values; i++) {
        struct pickle_value *v = &(*p)->blocks[i / BLOCK][i % BLOCK];
        if (v->kind == PICKLE_TUPLE || v->kind == PICKLE_LIST || v->kind == PICKLE_DICT)
            free(v->items.at);
    }
    for (size_t i = 0; i < MAX_BLOCKS; i++)
        free((*p)->blocks[i]);
    free((*p)->stack.at);
    free((*p)->memo.at);
    free((*p)->marks.at);
    free(*p);
    *p = NULL;
}

const struct pickle_value *pickle_root(const struct pickle *p)
{
    return p->root;
}

size_t pickle_count(const struct pickle *p)
{
    return p->n_values;
}

const struct pickle_value *pickle_at(const struct pickle *p, size_t i)
{
    return &p->blocks[i / BLOCK][i % BLOCK];
}

const struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key)
{
    if (dict->kind != PICKLE_DICT)
        return NULL;
    for (size_t i = dict->items.n; i >= 2; i -= 2)
        if (is_text(dict->items.at[i - 2], key))
            return dict->items.at[i - 1];
    return NULL;
}
