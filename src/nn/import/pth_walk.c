// Where in a checkpoint its weights are. torch.save(model.state_dict()) is a dict of tensors, often
// inside another dict that holds the optimizer and counters too. torch.save(model) and TorchScript
// archives are a module: an object whose attributes hold tensors and modules, and so on. Python
// keeps them in three dicts of the object, TorchScript as attributes of it.
#include "nn/import/pth_internal.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

// Tied weights may share a storage, but not a hundred tensors: that is a memory bomb.
#define MAX_GROWTH 8

#define MAX_DEPTH 32      // modules in modules
#define MAX_STEPS 1000000 // objects may hold each other: the ways through them are bounded

struct walk {
    struct tensor_set *set;
    const struct pth_source *source;
    size_t budget; // bytes
    size_t steps;
    struct kb_error *err;
};

// "prefix.key", or NULL with the error set; free().
static char *join_name(struct walk *w, const char *prefix, const struct pickle_value *key)
{
    if (memchr(key->text.bytes, '\0', key->text.size)) {
        kb_fail(w->err, KB_BAD_INPUT, _("a tensor's name holds a zero byte"));
        return NULL;
    }
    if (key->text.size + strlen(prefix) > 500) {
        kb_fail(w->err, KB_BAD_INPUT, _("a tensor's name is longer than 500 bytes"));
        return NULL;
    }
    return kb_printf("%s%s%.*s", prefix, *prefix ? "." : "", (int)key->text.size, key->text.bytes);
}

// torch.nn.DataParallel and torch.compile put a word before every name.
static const char *plain_name(const char *name)
{
    static const char *const words[] = {"module.", "_orig_mod."};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (text_begins(name, words[i]))
            return plain_name(name + strlen(words[i]));
    return name;
}

static enum kb_code too_many(struct walk *w)
{
    return kb_fail(w->err, KB_BAD_INPUT, _("the model has too many modules"));
}

// A dict of tensors; what else is in it (optimizer, step counts) is passed over.
static enum kb_code add_dict(struct walk *w, const char *prefix, const struct pickle_value *dict)
{
    for (size_t i = 0; dict && dict->kind == PICKLE_DICT && i + 1 < dict->items.n; i += 2) {
        const struct pickle_value *key = dict->items.at[i], *value = dict->items.at[i + 1];
        if (++w->steps > MAX_STEPS)
            return too_many(w);
        if (key->kind != PICKLE_TEXT || value->kind != PICKLE_TENSOR)
            continue;
        CLEANUP(kb_freep) char *name = join_name(w, prefix, key);
        if (!name)
            return KB_BAD_INPUT;
        enum kb_code code =
            pth_add_tensor(w->set, w->source, plain_name(name), value, &w->budget, w->err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

static enum kb_code add_module(struct walk *w, const char *prefix,
                               const struct pickle_value *module, int depth);

// The modules among the values of a dict.
static enum kb_code add_modules(struct walk *w, const char *prefix, const struct pickle_value *dict,
                                int depth)
{
    for (size_t i = 0; dict && dict->kind == PICKLE_DICT && i + 1 < dict->items.n; i += 2) {
        const struct pickle_value *key = dict->items.at[i], *value = dict->items.at[i + 1];
        if (++w->steps > MAX_STEPS)
            return too_many(w);
        if (key->kind != PICKLE_TEXT || value->kind != PICKLE_OBJECT)
            continue;
        CLEANUP(kb_freep) char *name = join_name(w, prefix, key);
        enum kb_code code = name ? add_module(w, name, value, depth + 1) : KB_BAD_INPUT;
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

static enum kb_code add_module(struct walk *w, const char *prefix,
                               const struct pickle_value *module, int depth)
{
    const struct pickle_value *state = module->object.state;
    if (depth > MAX_DEPTH)
        return kb_fail(w->err, KB_BAD_INPUT, _("the model's modules lie too deep in each other"));
    if (state && state->kind == PICKLE_TUPLE && state->items.n) // (attributes, slots)
        state = state->items.at[0];
    if (!state)
        return KB_OK;
    const struct pickle_value *modules = pickle_get(state, "_modules");
    enum kb_code code = add_dict(w, prefix, modules ? pickle_get(state, "_parameters") : state);
    if (code == KB_OK && modules)
        code = add_dict(w, prefix, pickle_get(state, "_buffers"));
    return code == KB_OK ? add_modules(w, prefix, modules ? modules : state, depth) : code;
}

// The state_dict or the module that the weights are in.
static const struct pickle_value *find_weights(const struct pickle_value *top)
{
    static const char *const keys[] = {"state_dict", "model_state_dict", "model", "generator",
                                       "net"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct pickle_value *v = pickle_get(top, keys[i]);
        if (v && (v->kind == PICKLE_DICT || v->kind == PICKLE_OBJECT))
            return v;
    }
    return top;
}

enum kb_code pth_add_all(struct tensor_set *set, const struct pth_source *s,
                         const struct pickle_value *root, size_t file_size, struct kb_error *err)
{
    struct walk w = {
        .set = set, .source = s, .budget = file_size * MAX_GROWTH + (1 << 20), .err = err};
    const struct pickle_value *weights = find_weights(root);
    bool is_module = weights->kind == PICKLE_OBJECT;
    enum kb_code code = is_module ? add_module(&w, "", weights, 0) : add_dict(&w, "", weights);
    if (code != KB_OK || tensor_set_count(set) > 0)
        return code;
    if (is_module)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the model in the file has no weights under names (a frozen one has none); "
              "in Python, save the state_dict() of the model as it was trained"));
    return kb_fail(err, KB_BAD_INPUT,
                   _("the checkpoint has no weights at its top nor under 'state_dict'; in "
                     "Python, save model.state_dict()"));
}
