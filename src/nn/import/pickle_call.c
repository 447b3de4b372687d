// What a pickle asks for by name. In Python a name is looked up and called; here it is a name. A
// few stand for what koubo builds itself: containers, storages, tensors. A class makes a
// description of an object. A call of anything else is refused, but for some that only wrap a value
// which weights do not need.
#include "nn/import/pickle_internal.h"

#include <string.h>

enum function {
    FUNCTION_UNKNOWN,
    FUNCTION_REBUILD_TENSOR,
    FUNCTION_REBUILD_PARAMETER,
    FUNCTION_REBUILD_FROM_TYPE,
    FUNCTION_DICT,
    FUNCTION_FIRST,       // its first argument is as good
    FUNCTION_RECONSTRUCT, // an object of its first argument
    FUNCTION_OPAQUE,
    FUNCTION_STORAGE, // + enum pickle_storage_type, so it stays the last one
};

// All that a pickle may call.
static const struct {
    const char *module, *name;
    int function;
} functions[] = {
    {"torch._utils", "_rebuild_tensor", FUNCTION_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", FUNCTION_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_parameter", FUNCTION_REBUILD_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", FUNCTION_REBUILD_PARAMETER},
    {"torch._tensor", "_rebuild_from_type_v2", FUNCTION_REBUILD_FROM_TYPE},
    {"collections", "OrderedDict", FUNCTION_DICT},
    {"collections", "defaultdict", FUNCTION_DICT},
    {"torch", "Size", FUNCTION_FIRST},
    {"torch.jit._pickle", "build_intlist", FUNCTION_FIRST},
    {"torch.jit._pickle", "build_doublelist", FUNCTION_FIRST},
    {"torch.jit._pickle", "build_boollist", FUNCTION_FIRST},
    {"torch.jit._pickle", "build_tensorlist", FUNCTION_FIRST},
    {"torch.jit._pickle", "restore_type_tag", FUNCTION_FIRST},
    {"__builtin__", "set", FUNCTION_FIRST},
    {"builtins", "set", FUNCTION_FIRST},
    {"__builtin__", "frozenset", FUNCTION_FIRST},
    {"builtins", "frozenset", FUNCTION_FIRST},
    {"copy_reg", "_reconstructor", FUNCTION_RECONSTRUCT},
    {"copyreg", "_reconstructor", FUNCTION_RECONSTRUCT},
    {"torch", "device", FUNCTION_OPAQUE},
    {"_codecs", "encode", FUNCTION_OPAQUE},
    {"numpy", "dtype", FUNCTION_OPAQUE},
    {"numpy.core.multiarray", "_reconstruct", FUNCTION_OPAQUE},
    {"numpy.core.multiarray", "scalar", FUNCTION_OPAQUE},
    {"numpy._core.multiarray", "_reconstruct", FUNCTION_OPAQUE},
    {"numpy._core.multiarray", "scalar", FUNCTION_OPAQUE},
    {"pathlib", "Path", FUNCTION_OPAQUE},
    {"pathlib", "PosixPath", FUNCTION_OPAQUE},
    {"pathlib", "WindowsPath", FUNCTION_OPAQUE},
    {"torch", "FloatStorage", FUNCTION_STORAGE + STORAGE_F32},
    {"torch", "HalfStorage", FUNCTION_STORAGE + STORAGE_F16},
    {"torch", "BFloat16Storage", FUNCTION_STORAGE + STORAGE_BF16},
    {"torch", "DoubleStorage", FUNCTION_STORAGE + STORAGE_F64},
    {"torch", "LongStorage", FUNCTION_STORAGE + STORAGE_I64},
    {"torch", "IntStorage", FUNCTION_STORAGE + STORAGE_I32},
    {"torch", "ShortStorage", FUNCTION_STORAGE + STORAGE_I16},
    {"torch", "ByteStorage", FUNCTION_STORAGE + STORAGE_U8},
    {"torch", "CharStorage", FUNCTION_STORAGE + STORAGE_S8},
    {"torch", "BoolStorage", FUNCTION_STORAGE + STORAGE_BOOL},
};

// --- names ---

static bool is_name(const char *bytes, size_t size, const char *name)
{
    return strlen(name) == size && memcmp(name, bytes, size) == 0;
}

static enum kb_code push_name(struct pickle *p, const char *module, size_t module_size,
                              const char *name, size_t name_size)
{
    struct pickle_value *v;
    enum kb_code code = pickle_push_new(p, PICKLE_GLOBAL, &v);
    if (code != KB_OK)
        return code;
    v->global.module = module;
    v->global.module_size = module_size;
    v->global.name = name;
    v->global.name_size = name_size;
    v->global.function = FUNCTION_UNKNOWN;
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (is_name(module, module_size, functions[i].module) &&
            is_name(name, name_size, functions[i].name))
            v->global.function = functions[i].function;
    return KB_OK;
}

enum kb_code pickle_op_global(struct pickle *p)
{
    const char *module, *name;
    size_t module_size, name_size;
    if (pickle_take_line(p, &module, &module_size) != KB_OK ||
        pickle_take_line(p, &name, &name_size) != KB_OK)
        return KB_BAD_INPUT;
    return push_name(p, module, module_size, name, name_size);
}

enum kb_code pickle_op_stack_global(struct pickle *p)
{
    const struct pickle_value *name = pickle_available(p) > 1 ? pickle_top(p, 0) : NULL;
    const struct pickle_value *module = name ? pickle_top(p, 1) : NULL;
    if (!name || name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT)
        return pickle_damaged(p, _("a name that is no text"));
    p->stack.n -= 2;
    return push_name(p, module->text.bytes, module->text.size, name->text.bytes, name->text.size);
}

// --- calls ---

static enum kb_code refuse(struct pickle *p, const struct pickle_value *callee)
{
    return kb_fail(
        p->err, KB_BAD_INPUT,
        _("koubo refuses to run '%s.%s', which the file asks for: weights need only "
          "tensors and containers. If you trust the file, load it in Python and save its "
          "state_dict alone"),
        pickle_printable(callee->global.module, callee->global.module_size).text,
        pickle_printable(callee->global.name, callee->global.name_size).text);
}

static enum kb_code push_object(struct pickle *p, const struct pickle_value *type)
{
    struct pickle_value *v;
    enum kb_code code = pickle_push_new(p, PICKLE_OBJECT, &v);
    if (code == KB_OK)
        v->object.type = type;
    return code;
}

enum kb_code pickle_op_new(struct pickle *p, size_t n_args)
{
    const struct pickle_value *type = pickle_available(p) > n_args ? pickle_top(p, n_args) : NULL;
    if (!type || type->kind != PICKLE_GLOBAL)
        return pickle_damaged(p, _("an object without a class"));
    p->stack.n -= n_args + 1;
    if (type->global.function == FUNCTION_DICT)
        return pickle_push_new(p, PICKLE_DICT, NULL);
    return push_object(p, type);
}

static bool is_tensor_args(const struct pickle_value *args)
{
    struct pickle_value **at = args->items.at;
    return args->items.n >= 4 && at[0]->kind == PICKLE_STORAGE && at[1]->kind == PICKLE_INT &&
           at[2]->kind == PICKLE_TUPLE && at[3]->kind == PICKLE_TUPLE;
}

static enum kb_code rebuild_tensor(struct pickle *p, const struct pickle_value *args)
{
    if (!is_tensor_args(args))
        return pickle_damaged(p, _("a tensor without storage, offset, size and stride"));
    struct pickle_value *v;
    enum kb_code code = pickle_push_new(p, PICKLE_TENSOR, &v);
    if (code == KB_OK) {
        v->tensor.storage = args->items.at[0];
        v->tensor.offset = args->items.at[1]->integer;
        v->tensor.size = args->items.at[2];
        v->tensor.stride = args->items.at[3];
    }
    return code;
}

// (function, type, arguments, state): a subclass of Tensor is as good as its tensor.
static enum kb_code rebuild_from_type(struct pickle *p, const struct pickle_value *args)
{
    struct pickle_value **at = args->items.at;
    if (args->items.n < 3 || at[0]->kind != PICKLE_GLOBAL ||
        at[0]->global.function != FUNCTION_REBUILD_TENSOR || at[2]->kind != PICKLE_TUPLE)
        return pickle_damaged(p, _("a tensor without storage, offset, size and stride"));
    return rebuild_tensor(p, at[2]);
}

enum kb_code pickle_op_reduce(struct pickle *p)
{
    if (pickle_available(p) < 2 || pickle_top(p, 1)->kind != PICKLE_GLOBAL ||
        pickle_top(p, 0)->kind != PICKLE_TUPLE)
        return pickle_damaged(p, _("a call of something that is no function"));
    const struct pickle_value *args = pickle_top(p, 0), *callee = pickle_top(p, 1);
    struct pickle_value *first = args->items.n ? args->items.at[0] : NULL;
    p->stack.n -= 2;
    switch (callee->global.function) {
    case FUNCTION_REBUILD_TENSOR:
        return rebuild_tensor(p, args);
    case FUNCTION_REBUILD_PARAMETER: // (tensor, requires_grad, hooks[, state])
        if (!first || first->kind != PICKLE_TENSOR)
            return pickle_damaged(p, _("a parameter that is no tensor"));
        return pickle_push(p, first);
    case FUNCTION_REBUILD_FROM_TYPE:
        return rebuild_from_type(p, args);
    case FUNCTION_DICT: // a defaultdict names what it fills itself with
        if (first && first->kind != PICKLE_GLOBAL && first->kind != PICKLE_NONE)
            return pickle_damaged(p, _("a dict with arguments"));
        return pickle_push_new(p, PICKLE_DICT, NULL);
    case FUNCTION_FIRST: // torch.Size((3, 4)) is as good as its tuple
        return first ? pickle_push(p, first) : pickle_push_new(p, PICKLE_TUPLE, NULL);
    case FUNCTION_RECONSTRUCT:
        if (!first || first->kind != PICKLE_GLOBAL)
            return pickle_damaged(p, _("an object without a class"));
        return push_object(p, first);
    case FUNCTION_OPAQUE:
        return pickle_push_new(p, PICKLE_OPAQUE, NULL);
    case FUNCTION_UNKNOWN:
        return refuse(p, callee);
    default:
        return pickle_damaged(p, _("a storage outside the file"));
    }
}

// BUILD sets the attributes of an object. Of an OrderedDict these are the versions of its modules
// (_metadata), which koubo has no use for.
enum kb_code pickle_op_build(struct pickle *p)
{
    struct pickle_value *to = pickle_available(p) > 1 ? pickle_top(p, 1) : NULL;
    if (!to || (to->kind != PICKLE_DICT && to->kind != PICKLE_OBJECT && to->kind != PICKLE_OPAQUE))
        return pickle_damaged(p, _("attributes for something that has none"));
    if (to->kind == PICKLE_OBJECT)
        to->object.state = pickle_top(p, 0);
    p->stack.n--;
    return KB_OK;
}

// BINPERSID: ("storage", type, key, device, count[, view]) names data that lies elsewhere in the
// file; before PyTorch 1.6 ("module", class, path of its source, source) stands for the class of a
// whole model.
enum kb_code pickle_op_persistent(struct pickle *p)
{
    const struct pickle_value *id = pickle_available(p) ? pickle_top(p, 0) : NULL;
    bool is_tuple = id && id->kind == PICKLE_TUPLE && id->items.n > 0;
    if (is_tuple && id->items.n == 4 && pickle_is_text(id->items.at[0], "module") &&
        id->items.at[1]->kind == PICKLE_GLOBAL) {
        p->stack.n--;
        return pickle_push(p, id->items.at[1]);
    }
    if (!is_tuple || id->items.n < 5 || id->items.n > 6 ||
        !pickle_is_text(id->items.at[0], "storage") || id->items.at[1]->kind != PICKLE_GLOBAL ||
        id->items.at[1]->global.function < FUNCTION_STORAGE ||
        id->items.at[2]->kind != PICKLE_TEXT || id->items.at[4]->kind != PICKLE_INT)
        return pickle_damaged(p, _("a storage that is not described as PyTorch does"));
    const struct pickle_value *view = id->items.n == 6 ? id->items.at[5] : NULL;
    if (view && view->kind == PICKLE_NONE)
        view = NULL;
    p->stack.n--;
    struct pickle_value *v;
    enum kb_code code = pickle_push_new(p, PICKLE_STORAGE, &v);
    if (code != KB_OK)
        return code;
    v->storage.type =
        (enum pickle_storage_type)(id->items.at[1]->global.function - FUNCTION_STORAGE);
    v->storage.key = id->items.at[2];
    v->storage.count = id->items.at[4]->integer;
    v->storage.view = view;
    return KB_OK;
}
