#include "lipsync/network.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>

static enum kb_code load_file(struct session **ret, const char *path, int threads,
                              const struct network_owner *of, void *owner, struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    CLEANUP(graph_free) struct graph *g = NULL;
    enum kb_code code = weights_load(&set, path, err);
    if (code == KB_OK)
        code = of->read_contract(owner, set, err);
    if (code == KB_OK)
        code = graph_from_metadata(&g, set, err);
    if (code == KB_OK)
        code = of->read_shape(owner, g, err);
    // f32: the half type of some processors is off by more than a lip may be.
    struct session_params p = {.batch = 1, .precision = PRECISION_F32, .threads = threads};
    return code == KB_OK ? session_create(ret, g, &p, err) : code;
}

enum kb_code network_load(struct session **ret, char *hash, const char *model, int threads,
                          const struct network_owner *of, void *owner, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = NULL;
    CLEANUP(session_free) struct session *s = NULL;
    enum kb_code code = model_find(&path, model, err);
    if (code != KB_OK)
        return code;
    code = load_file(&s, path, threads, of, owner, err);
    if (code == KB_OK && hash)
        code = file_hash(hash, path, err);
    if (code != KB_OK)
        return kb_wrap(err, _("model '%s'"), path);
    *ret = TAKE(s);
    return KB_OK;
}

bool network_number(const struct tensor_set *set, const char *key, double low, double high,
                    double *ret)
{
    const char *text = tensor_set_meta(set, key);
    char *end = NULL;
    *ret = text ? strtod(text, &end) : NAN;
    return text && end != text && *end == '\0' && *ret >= low && *ret <= high; // NaN is not
}
