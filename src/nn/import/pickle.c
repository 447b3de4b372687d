// The machine of a pickle is a stack, a memo (numbered values to come back to) and marks (heights
// of the stack). Every opcode makes at most one value, and values, stack and memo are bounded, so
// a hostile file costs at most some tens of megabytes and time linear in its size.
// Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
#include "nn/import/pickle_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool pickle_is_text(const struct pickle_value *v, const char *text)
{
    size_t n = strlen(text);
    return v->kind == PICKLE_TEXT && v->text.size == n && memcmp(v->text.bytes, text, n) == 0;
}

enum kb_code pickle_damaged(struct pickle *p, const char *what)
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

// A little-endian number of n <= 8 bytes.
static enum kb_code take_uint(struct pickle *p, size_t n, uint64_t *ret)
{
    const uint8_t *b = take(p, n);
    if (!b)
        return KB_BAD_INPUT;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret |= (uint64_t)b[i] << (8 * i);
    return KB_OK;
}

// A line without its newline.
enum kb_code pickle_take_line(struct pickle *p, const char **ret, size_t *ret_size)
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

static bool array_reserve(struct pickle_array *a, size_t n, size_t item)
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

enum kb_code pickle_push(struct pickle *p, struct pickle_value *v)
{
    if (p->stack.n >= PICKLE_MAX_VALUES)
        return pickle_damaged(p, _("too many values"));
    if (!array_reserve(&p->stack, p->stack.n + 1, sizeof(v)))
        return kb_no_memory(p->err);
    ((struct pickle_value **)p->stack.at)[p->stack.n++] = v;
    return KB_OK;
}

// A new value on top of the stack; *ret (may be NULL) to fill it.
enum kb_code pickle_push_new(struct pickle *p, enum pickle_kind kind, struct pickle_value **ret)
{
    if (p->n_values >= PICKLE_MAX_VALUES)
        return pickle_damaged(p, _("too many values"));
    size_t block = p->n_values / PICKLE_BLOCK;
    if (!p->blocks[block]) {
        p->blocks[block] = calloc(PICKLE_BLOCK, sizeof(struct pickle_value));
        if (!p->blocks[block])
            return kb_no_memory(p->err);
    }
    struct pickle_value *v = &p->blocks[block][p->n_values++ % PICKLE_BLOCK];
    v->kind = kind;
    if (ret)
        *ret = v;
    return pickle_push(p, v);
}

static enum kb_code push_int(struct pickle *p, enum pickle_kind kind, int64_t i)
{
    struct pickle_value *v;
    enum kb_code code = pickle_push_new(p, kind, &v);
    if (code == KB_OK)
        v->integer = i;
    return code;
}

// How many values lie above the last mark: only those may be popped.
size_t pickle_available(const struct pickle *p)
{
    size_t floor = p->marks.n ? ((size_t *)p->marks.at)[p->marks.n - 1] : 0;
    return p->stack.n - floor;
}

// The i-th value from the top, 0 is the top.
struct pickle_value *pickle_top(const struct pickle *p, size_t i)
{
    return ((struct pickle_value **)p->stack.at)[p->stack.n - 1 - i];
}

static enum kb_code push_mark(struct pickle *p)
{
    if (p->marks.n >= PICKLE_MAX_VALUES)
        return pickle_damaged(p, _("too many values"));
    if (!array_reserve(&p->marks, p->marks.n + 1, sizeof(size_t)))
        return kb_no_memory(p->err);
    ((size_t *)p->marks.at)[p->marks.n++] = p->stack.n;
    return KB_OK;
}

// Append n values of the top of the stack to a container and take them off the stack.
static enum kb_code move_items(struct pickle *p, struct pickle_value *to, size_t n)
{
    struct pickle_array items = {to->items.at, to->items.n, to->items.room};
    if (to->items.n + n > PICKLE_MAX_VALUES)
        return pickle_damaged(p, _("too many values"));
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
    if (pickle_available(p) < n)
        return pickle_damaged(p, _("a tuple of values that are not there"));
    struct pickle_value *tuple = NULL;
    enum kb_code code = pickle_push_new(p, PICKLE_TUPLE, &tuple);
    if (code != KB_OK)
        return code;
    p->stack.n--; // the tuple itself, until its items are gone
    code = move_items(p, tuple, n);
    return code == KB_OK ? pickle_push(p, tuple) : code;
}

// APPEND(S), ADDITEMS, SETITEM(S): n values on top go into the container below them. What an object
// holds beside its attributes is dropped.
static enum kb_code fill(struct pickle *p, enum pickle_kind kind, size_t n)
{
    struct pickle_value *to = pickle_available(p) > n ? pickle_top(p, n) : NULL;
    bool is_dropped = to && (to->kind == PICKLE_OBJECT || to->kind == PICKLE_OPAQUE);
    if (!to || (to->kind != kind && !is_dropped) || (kind == PICKLE_DICT && n % 2))
        return pickle_damaged(p, _("values for a container that is not there"));
    if (!is_dropped)
        return move_items(p, to, n);
    p->stack.n -= n;
    return KB_OK;
}

// Take the last mark away; *ret is how many values lay above it.
static enum kb_code pop_mark(struct pickle *p, size_t *ret)
{
    if (!p->marks.n)
        return pickle_damaged(p, _("no mark"));
    *ret = pickle_available(p);
    p->marks.n--;
    return KB_OK;
}

static enum kb_code fill_to_mark(struct pickle *p, enum pickle_kind kind)
{
    size_t n = 0;
    enum kb_code code = pop_mark(p, &n);
    return code == KB_OK ? fill(p, kind, n) : code;
}

static enum kb_code op_put(struct pickle *p, uint64_t i)
{
    if (!pickle_available(p) || i >= PICKLE_MAX_VALUES)
        return pickle_damaged(p, _("a memo that cannot be"));
    size_t old = p->memo.room;
    if (!array_reserve(&p->memo, (size_t)i + 1, sizeof(void *)))
        return kb_no_memory(p->err);
    struct pickle_value **memo = p->memo.at;
    if (p->memo.room > old)
        memset(memo + old, 0, (p->memo.room - old) * sizeof(*memo));
    p->n_memo += memo[i] == NULL;
    memo[i] = pickle_top(p, 0);
    return KB_OK;
}

static enum kb_code op_get(struct pickle *p, uint64_t i)
{
    struct pickle_value **memo = p->memo.at;
    if (i >= p->memo.room || !memo[i])
        return pickle_damaged(p, _("a value that was not remembered"));
    return pickle_push(p, memo[i]);
}

// Bytes behind their number, which has size_bytes itself.
static enum kb_code take_counted(struct pickle *p, size_t size_bytes, const uint8_t **ret,
                                 uint64_t *ret_n)
{
    *ret = NULL;
    if (take_uint(p, size_bytes, ret_n) == KB_OK)
        *ret = take(p, *ret_n);
    return *ret ? KB_OK : KB_BAD_INPUT;
}

static enum kb_code op_text(struct pickle *p, size_t size_bytes)
{
    uint64_t n;
    const uint8_t *bytes;
    struct pickle_value *v;
    enum kb_code code = take_counted(p, size_bytes, &bytes, &n);
    if (code == KB_OK)
        code = pickle_push_new(p, PICKLE_TEXT, &v);
    if (code != KB_OK)
        return code;
    v->text.bytes = (const char *)bytes;
    v->text.size = n;
    return KB_OK;
}

// LONG1, LONG4: two's complement, little-endian.
static enum kb_code op_long(struct pickle *p, size_t size_bytes)
{
    uint64_t n;
    const uint8_t *bytes;
    enum kb_code code = take_counted(p, size_bytes, &bytes, &n);
    if (code != KB_OK)
        return code;
    if (n > 8) {
        struct pickle_value *v;
        code = pickle_push_new(p, PICKLE_BIG_INT, &v);
        if (code != KB_OK)
            return code;
        v->text.bytes = (const char *)bytes;
        v->text.size = n;
        return KB_OK;
    }
    uint64_t i = n && bytes[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint64_t k = n; k-- > 0;)
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
    enum kb_code code = pickle_push_new(p, PICKLE_FLOAT, &v);
    if (code == KB_OK)
        memcpy(&v->real, &bits, sizeof(bits));
    return code;
}

static enum kb_code op_with_number(struct pickle *p, uint8_t op)
{
    bool is_wide = op == 'J' || op == 'r' || op == 'j';
    uint64_t n;
    enum kb_code code = take_uint(p, op == 0x95 ? 8 : is_wide ? 4 : op == 'M' ? 2 : 1, &n);
    if (code != KB_OK)
        return code;
    switch (op) {
    case 'J': // BININT
        return push_int(p, PICKLE_INT, (int32_t)(uint32_t)n);
    case 'K': // BININT1
    case 'M': // BININT2
        return push_int(p, PICKLE_INT, (int64_t)n);
    case 'q': // BINPUT
    case 'r': // LONG_BINPUT
        return op_put(p, n);
    case 'h': // BINGET
    case 'j': // LONG_BINGET
        return op_get(p, n);
    case 0x95: // FRAME: how many bytes to fetch at once, which are here already
        return n <= p->size - p->pos ? KB_OK : pickle_damaged(p, _("a frame longer than the file"));
    default: // PROTO
        return n <= 5 ? KB_OK
                      : kb_fail(p->err, KB_BAD_INPUT,
                                _("the file uses pickle protocol %u; koubo reads protocols 2 to 5; "
                                  "torch.save writes 2 by default"),
                                (unsigned)n);
    }
}

// TUPLE and FROZENSET.
static enum kb_code op_tuple_to_mark(struct pickle *p)
{
    size_t n = 0;
    enum kb_code code = pop_mark(p, &n);
    return code == KB_OK ? make_tuple(p, n) : code;
}

// POP takes the last value away, or the mark where there is none above it.
static enum kb_code op_pop(struct pickle *p)
{
    size_t n;
    if (!pickle_available(p))
        return pop_mark(p, &n);
    p->stack.n--;
    return KB_OK;
}

static enum kb_code op_pop_mark(struct pickle *p)
{
    size_t n = 0;
    enum kb_code code = pop_mark(p, &n);
    if (code == KB_OK)
        p->stack.n -= n;
    return code;
}

// The opcodes that put a new value on the stack which needs nothing of it. False: none of them.
static bool run_making(struct pickle *p, uint8_t op, enum kb_code *ret)
{
    switch (op) {
    case 'N':
        *ret = pickle_push_new(p, PICKLE_NONE, NULL);
        return true;
    case 0x88: // NEWTRUE
    case 0x89: // NEWFALSE
        *ret = push_int(p, PICKLE_BOOL, op == 0x88);
        return true;
    case '}':
        *ret = pickle_push_new(p, PICKLE_DICT, NULL);
        return true;
    case ']':
    case 0x8f: // EMPTY_SET
        *ret = pickle_push_new(p, PICKLE_LIST, NULL);
        return true;
    case ')':
        *ret = pickle_push_new(p, PICKLE_TUPLE, NULL);
        return true;
    case 'U':  // SHORT_BINSTRING, from Python 2
    case 'C':  // SHORT_BINBYTES
    case 0x8c: // SHORT_BINUNICODE
        *ret = op_text(p, 1);
        return true;
    case 'X': // BINUNICODE
    case 'T': // BINSTRING, from Python 2
    case 'B': // BINBYTES
        *ret = op_text(p, 4);
        return true;
    case 0x8d: // BINUNICODE8
    case 0x8e: // BINBYTES8
    case 0x96: // BYTEARRAY8
        *ret = op_text(p, 8);
        return true;
    case 0x8a:
        *ret = op_long(p, 1);
        return true;
    case 0x8b:
        *ret = op_long(p, 4);
        return true;
    case 'G':
        *ret = op_float(p);
        return true;
    default:
        return false;
    }
}

static enum kb_code run_op(struct pickle *p, uint8_t op)
{
    enum kb_code code;
    if (run_making(p, op, &code))
        return code;
    switch (op) {
    case '(':
        return push_mark(p);
    case 't':
    case 0x91:
        return op_tuple_to_mark(p);
    case 0x85: // TUPLE1 …
    case 0x86:
    case 0x87:
        return make_tuple(p, op - 0x84u);
    case 'a':
        return fill(p, PICKLE_LIST, 1);
    case 'e':
    case 0x90: // ADDITEMS
        return fill_to_mark(p, PICKLE_LIST);
    case 's':
        return fill(p, PICKLE_DICT, 2);
    case 'u':
        return fill_to_mark(p, PICKLE_DICT);
    case '0':
        return op_pop(p);
    case '1':
        return op_pop_mark(p);
    case '2': // DUP
        return pickle_available(p) ? pickle_push(p, pickle_top(p, 0))
                                   : pickle_damaged(p, _("a value that is not there"));
    case 'c':
        return pickle_op_global(p);
    case 0x93:
        return pickle_op_stack_global(p);
    case 0x81: // NEWOBJ
        return pickle_op_new(p, 1);
    case 0x92: // NEWOBJ_EX
        return pickle_op_new(p, 2);
    case 'R':
        return pickle_op_reduce(p);
    case 'Q':
        return pickle_op_persistent(p);
    case 'b':
        return pickle_op_build(p);
    case 0x94: // MEMOIZE
        return op_put(p, p->n_memo);
    case 0x80:
    case 0x95:
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
        return pickle_damaged(p, _("it does not end with one value"));
    p->root = pickle_top(p, 0);
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
        struct pickle_value *v = &(*p)->blocks[i / PICKLE_BLOCK][i % PICKLE_BLOCK];
        if (v->kind == PICKLE_TUPLE || v->kind == PICKLE_LIST || v->kind == PICKLE_DICT)
            free(v->items.at);
    }
    for (size_t i = 0; i < PICKLE_MAX_BLOCKS; i++)
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
    return &p->blocks[i / PICKLE_BLOCK][i % PICKLE_BLOCK];
}

const struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key)
{
    if (dict->kind != PICKLE_DICT)
        return NULL;
    for (size_t i = dict->items.n; i >= 2; i -= 2)
        if (pickle_is_text(dict->items.at[i - 2], key))
            return dict->items.at[i - 1];
    return NULL;
}
