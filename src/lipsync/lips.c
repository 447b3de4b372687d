#include "lipsync/lips.h"

#include "base/cache.h"
#include "base/file.h"
#include "media/mel.h"
#include "nn/import/import.h"
#include "nn/tuning.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct lips {
    struct session *session;
    enum precision precision;
    bool was_measured;
    int64_t params;
    int side;
    struct pack *pack; // where the session's weights lie, or NULL
};

enum { MEL_INPUT, FACE_INPUT }; // of wav2lip_graph()

// --- the ranges ---

char *lips_ranges_path(const char *model_path)
{
    return kb_printf("%s.koubo-int8.json", model_path);
}

static char *path_in_folder(const char *folder, const char *hash)
{
    return kb_printf("%s/%s.koubo-int8.json", folder, hash);
}

// {"weights": HASH, "int8": {…}}. NULL: there is none for these weights.
static char *read_ranges_file(const char *path, const char *hash)
{
    json_auto_t *root = json_load_file(path, 0, NULL);
    const char *weights = json_string_value(json_object_get(root, "weights"));
    if (!weights || strcmp(weights, hash) != 0)
        return NULL;
    return json_dumps(json_object_get(root, "int8"), JSON_COMPACT);
}

static char *read_kept_ranges(const char *model_path, const char *folder)
{
    CLEANUP(kb_freep) char *beside = lips_ranges_path(model_path);
    char hash[33], *text = NULL;
    if ((!file_exists(beside) && !folder) || file_hash(hash, model_path, NULL) != KB_OK)
        return NULL;
    text = read_ranges_file(beside, hash);
    if (text || !folder)
        return text;
    CLEANUP(kb_freep) char *path = path_in_folder(folder, hash);
    return read_ranges_file(path, hash);
}

enum kb_code lips_ranges_save(char **ret_path, const struct ranges *r, const char *model_path,
                              const char *folder, struct kb_error *err)
{
    char hash[33];
    enum kb_code code = file_hash(hash, model_path, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *json = ranges_to_json(r);
    CLEANUP(kb_freep) char *text = kb_printf("{\"weights\": \"%s\", \"int8\": %s}\n", hash, json);
    CLEANUP(kb_freep) char *path = lips_ranges_path(model_path);
    code = file_write_atomic(path, text, strlen(text), err);
    if (code != KB_OK && folder && file_make_dirs(folder, NULL) == KB_OK) {
        free(path);
        path = path_in_folder(folder, hash);
        code = file_write_atomic(path, text, strlen(text), err);
    }
    if (code == KB_OK)
        *ret_path = TAKE(path);
    return code;
}

char *lips_tuning_path(const char *folder)
{
    char backend[SESSION_BACKEND_SIZE];
    session_backend(backend);
    return kb_printf("%s/tuning-%016llx.json", folder,
                     (unsigned long long)XXH3_64bits(backend, strlen(backend)));
}

// The ranges that are kept for these weights, as JSON, or NULL.
static char *find_ranges(const struct tensor_set *set, const char *model_path, const char *folder)
{
    const char *inside = set ? tensor_set_meta(set, "int8") : NULL;
    return inside ? kb_strdup(inside) : read_kept_ranges(model_path, folder);
}

// --- loading ---

// What lips_load() has found out about a model before it builds anything.
struct source {
    const struct lips_params *params;
    enum precision precision; // no auto
    bool was_measured;        // it was auto
    char *path, *ranges;      // owned; ranges as JSON, may be NULL
    struct tuning *tuning;  // what was measured on this machine, or NULL where that does not matter
    struct tensor_set *set; // NULL: an .onnx file, which is read only where nothing is packed yet
};

static void source_clear(struct source *s)
{
    free(s->path);
    free(s->ranges);
    tuning_free(&s->tuning);
    tensor_set_free(&s->set);
}

static struct tuning *find_tuning(const char *folder)
{
    CLEANUP(kb_freep) char *path = folder ? lips_tuning_path(folder) : NULL;
    return path ? tuning_load(path) : NULL;
}

enum precision lips_auto(const char *cache_folder, bool has_ranges, bool *ret_measured)
{
    CLEANUP(tuning_free) struct tuning *t = find_tuning(cache_folder);
    if (ret_measured)
        *ret_measured = tuning_knows_precisions(t);
    return tuning_precision(t, PRECISION_AUTO, has_ranges);
}

static enum kb_code source_find(struct source *s, const struct lips_params *params,
                                struct kb_error *err)
{
    s->params = params;
    s->path = kb_strdup(params->model);
    if (file_form(s->path) != FORM_ONNX) {
        enum kb_code code = weights_load(&s->set, s->path, err);
        if (code != KB_OK)
            return code;
    }
    bool may_be_int8 = params->precision == PRECISION_AUTO || params->precision == PRECISION_INT8;
    if (params->ranges)
        s->ranges = ranges_to_json(params->ranges);
    else if (may_be_int8)
        s->ranges = find_ranges(s->set, s->path, params->cache_folder);
    s->tuning = find_tuning(params->cache_folder);
    s->precision = tuning_precision(s->tuning, params->precision, s->ranges != NULL);
    s->was_measured = params->precision == PRECISION_AUTO && tuning_knows_precisions(s->tuning);
    return KB_OK;
}

static enum kb_code build_graph(struct graph **ret, struct lips *l, const struct source *s,
                                struct kb_error *err)
{
    CLEANUP(graph_free) struct graph *g = NULL;
    enum kb_code code = s->set ? wav2lip_graph(&g, s->set, err) : wav2lip_onnx(&g, s->path, err);
    if (code == KB_OK)
        code = graph_optimize(g, err);
    if (code != KB_OK)
        return code;
    l->params = graph_params(g);
    *ret = TAKE(g);
    return KB_OK;
}

static enum kb_code create_session(struct lips *l, struct graph *g, const struct source *s,
                                   struct pack_writer *writer, struct kb_error *err)
{
    CLEANUP(ranges_free) struct ranges *ranges = NULL;
    enum kb_code code = KB_OK;
    if (s->ranges)
        code = ranges_from_json(&ranges, s->ranges, g->n_values, err);
    if (code != KB_OK)
        return code;
    const struct lips_params *p = s->params;
    struct session_params sp = {.batch = p->batch > 0 ? p->batch : 8, // gains a tenth over 1
                                .precision = s->precision,
                                .threads = p->threads,
                                .ranges = ranges,
                                .observer = p->observer,
                                .tuning = s->tuning,
                                .pack = l->pack,
                                .pack_writer = writer};
    l->precision = s->precision;
    l->was_measured = s->was_measured;
    l->side = g->values[g->inputs[FACE_INPUT]].h;
    return session_create(&l->session, g, &sp, err);
}

// --- the packed form, kept in the cache folder ---

// What lies in a pack before the graph is lips.params.
#define PACK_VERSION 5 // to be raised when the graph of a file, or what is made of it, changes

// Where the packed form of this source lies, and what it depends on beside the weights.
#define KEY_SIZE 300

static bool pack_place(const struct source *s, char **ret_path, char ret_key[KEY_SIZE])
{
    char hash[33], backend[SESSION_BACKEND_SIZE];
    const struct lips_params *p = s->params;
    if (!p->cache_folder || p->observer || file_hash(hash, s->path, NULL) != KB_OK)
        return false;
    const char *precision = precision_name(s->precision);
    char ranges[17] = "";
    if (s->ranges)
        snprintf(ranges, sizeof(ranges), "%016llx",
                 (unsigned long long)XXH3_64bits(s->ranges, strlen(s->ranges)));
    session_backend(backend);
    snprintf(ret_key, KEY_SIZE,
             "%d %s %s batch %d threads %d ranges %s tuned %llx sizes %zu %zu %s", PACK_VERSION,
             hash, precision, p->batch, p->threads, ranges,
             (unsigned long long)tuning_hash(s->tuning), sizeof(struct op), sizeof(struct value),
             backend);
    *ret_path = kb_printf("%s/%s-%016llx.kbp", p->cache_folder, hash,
                          (unsigned long long)XXH3_64bits(ret_key, strlen(ret_key)));
    return true;
}

static enum kb_code load_packed(struct lips *l, const struct source *s, const char *path,
                                const char *key)
{
    l->pack = pack_open(path, key);
    if (!l->pack)
        return KB_NOT_FOUND;
    const int64_t *params = pack_take(l->pack, sizeof(*params));
    CLEANUP(graph_free) struct graph *g = params ? pack_take_graph(l->pack) : NULL;
    if (!g)
        return KB_BAD_INPUT;
    l->params = *params;
    enum kb_code code = create_session(l, g, s, NULL, NULL);
    if (code == KB_OK)
        cache_touch(path);
    return code;
}

static enum kb_code load_and_pack(struct lips *l, const struct source *s, const char *path,
                                  const char *key, struct kb_error *err)
{
    CLEANUP(pack_writer_free) struct pack_writer *writer = path ? pack_writer_create(key) : NULL;
    CLEANUP(graph_free) struct graph *g = NULL;
    enum kb_code code = build_graph(&g, l, s, err);
    if (code == KB_OK && writer) {
        pack_put(writer, &l->params, sizeof(l->params));
        pack_put_graph(writer, g);
    }
    if (code == KB_OK)
        code = create_session(l, g, s, writer, err);
    if (code == KB_OK && writer && file_make_dirs(s->params->cache_folder, NULL) == KB_OK &&
        pack_save(writer, path, NULL) == KB_OK)
        cache_trim(s->params->cache_folder, ".kbp", cache_limit());
    return code;
}

enum kb_code lips_load(struct lips **ret, const struct lips_params *params, struct kb_error *err)
{
    CLEANUP(source_clear) struct source s = {0};
    CLEANUP(lips_free) struct lips *packed = kb_alloc(sizeof(*packed));
    CLEANUP(lips_free) struct lips *built = NULL;
    CLEANUP(kb_freep) char *path = NULL;
    char key[KEY_SIZE] = "";
    enum kb_code code = source_find(&s, params, err);
    if (code != KB_OK)
        return code;
    bool may_pack = pack_place(&s, &path, key);
    if (may_pack && load_packed(packed, &s, path, key) == KB_OK) {
        *ret = TAKE(packed);
        return KB_OK;
    }
    built = kb_alloc(sizeof(*built));
    code = load_and_pack(built, &s, path, key, err);
    if (code != KB_OK)
        return kb_wrap(err, _("model '%s'"), s.path);
    // The first time too, so that processes which start together share the memory.
    lips_free(&packed);
    packed = kb_alloc(sizeof(*packed));
    bool is_packed = may_pack && load_packed(packed, &s, path, key) == KB_OK;
    *ret = is_packed ? TAKE(packed) : TAKE(built);
    return KB_OK;
}

void lips_free(struct lips **l)
{
    if (!*l)
        return;
    session_free(&(*l)->session);
    pack_close(&(*l)->pack);
    free(*l);
    *l = NULL;
}

enum precision lips_precision(const struct lips *l)
{
    return l->precision;
}

bool lips_was_measured(const struct lips *l)
{
    return l->was_measured;
}

int lips_batch(const struct lips *l)
{
    return session_batch(l->session);
}

int lips_side(const struct lips *l)
{
    return l->side;
}

bool lips_wants_lanes(const struct lips *l)
{
    return l->pack;
}

float *lips_mel(struct lips *l, int i)
{
    return session_input(l->session, MEL_INPUT) + (ptrdiff_t)i * MEL_BANDS * LIPS_MEL_COLUMNS;
}

float *lips_face(struct lips *l, int i)
{
    return session_input(l->session, FACE_INPUT) +
           (ptrdiff_t)i * 2 * (ptrdiff_t)LIPS_FLOATS_OF(l->side);
}

int lips_mel_start(const struct mel *mel, int64_t pts_us)
{
    int start = (int)((double)pts_us / 1e6 * MEL_PER_S);
    return KB_MAX(KB_MIN(start, mel_columns(mel) - LIPS_MEL_COLUMNS), 0);
}

enum kb_code lips_run(struct lips *l, struct kb_error *err)
{
    return session_run(l->session, err);
}

const float *lips_output(const struct lips *l, int i)
{
    return session_output(l->session, 0) + (ptrdiff_t)i * (ptrdiff_t)LIPS_FLOATS_OF(l->side);
}
