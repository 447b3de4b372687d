#include "lipsync/lips.h"

#include "base/cache.h"
#include "base/file.h"
#include "media/mel.h"
#include "nn/import.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SMALL_NETWORK_MACS 1000000000 // a frame

struct lips {
    struct lips_spec spec;
    struct session *session;
    enum precision precision;
    int mel_input, face_input; // which of the session's inputs
    int64_t params;
    bool is_large;
    struct pack *pack; // where the session's weights lie, or NULL
};

// --- the spec out of a file ---

static enum kb_code bad_meta(struct kb_error *err, const char *key)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the model's metadata has no usable '%s'; it is not a lip-sync model of this "
                     "version"),
                   key);
}

// "crop": {"33": [0.28, 0.32], …}: FaceMesh point to its place in the crop.
static enum kb_code read_crop(struct lips_spec *spec, const char *text, struct kb_error *err)
{
    json_auto_t *root = text ? json_loads(text, 0, NULL) : NULL;
    const char *key;
    json_t *xy;
    json_object_foreach(root, key, xy)
    {
        double x, y;
        char *end;
        long id = strtol(key, &end, 10);
        int point = *end || id < 0 || id >= MESH_POINTS ? -1 : track_point_of((int)id);
        if (point < 0 || spec->n_points == (int)ARRAY_LEN(spec->points) ||
            json_unpack(xy, "[F,F]", &x, &y) != 0)
            return bad_meta(err, "crop");
        spec->points[spec->n_points] = point;
        spec->canonical[spec->n_points][0] = (float)x;
        spec->canonical[spec->n_points][1] = (float)y;
        spec->n_points++;
    }
    return spec->n_points >= 2 ? KB_OK : bad_meta(err, "crop");
}

static double meta_number(const struct tensor_set *set, const char *key, double fallback)
{
    const char *text = tensor_set_meta(set, key);
    char *end;
    double v = text ? strtod(text, &end) : fallback;
    return text && (end == text || !isfinite(v)) ? fallback : v;
}

// The contract of koubo's own weights: docs/models.md.
static enum kb_code spec_from_metadata(struct lips_spec *spec, const struct tensor_set *set,
                                       struct kb_error *err)
{
    const char *name = tensor_set_meta(set, "name"), *colour = tensor_set_meta(set, "colour");
    snprintf(spec->name, sizeof(spec->name), "%s", name ? name : "koubo");
    spec->bgr = colour && strcmp(colour, "BGR") == 0;
    spec->mel_offset_s = meta_number(set, "mel_offset_s", -0.08);
    const char *rounding = tensor_set_meta(set, "mel_rounding");
    spec->mel_round = !rounding || strcmp(rounding, "down") != 0;
    const char *reference = tensor_set_meta(set, "reference");
    spec->reference_is_self = reference && strcmp(reference, "self") == 0;
    return read_crop(spec, tensor_set_meta(set, "crop"), err);
}

static void spec_of_wav2lip(struct lips_spec *spec)
{
    snprintf(spec->name, sizeof(spec->name), "wav2lip");
    spec->bgr = true;
    spec->mel_inside = true;
    spec->reference_is_self = true;
}

// What the graph itself tells: sizes of the face, the mel window and the output.
static enum kb_code spec_from_graph(struct lips *l, const struct graph *g, struct kb_error *err)
{
    struct lips_spec *s = &l->spec;
    l->mel_input = l->face_input = -1;
    for (int i = 0; i < g->n_inputs; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        if (v->c == 1 && v->h == MEL_BANDS)
            l->mel_input = i;
        else if (v->c == 6)
            l->face_input = i;
    }
    if (l->mel_input < 0 || l->face_input < 0 || g->n_inputs != 2 || g->n_outputs != 1)
        return kb_fail(err, KB_BAD_INPUT,
                       _("this is not a lip-sync network: it must take a mel (80 bands) and a face "
                         "(6 channels) and give one picture"));
    const struct value *mel = &g->values[g->inputs[l->mel_input]];
    const struct value *face = &g->values[g->inputs[l->face_input]];
    const struct value *out = &g->values[g->outputs[0]];
    if (out->c != 3 || out->w != face->w || out->h > face->h || face->h > 1024 || face->w > 1024)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("this lip-sync network gives %dx%dx%d for a face of %dx%d, which cannot be "
              "pasted back"),
            out->w, out->h, out->c, face->w, face->h);
    s->width = face->w;
    s->height = face->h;
    s->out_width = out->w;
    s->out_height = out->h;
    s->out_top = face->h - out->h;
    s->mask_top = face->h / 2;
    s->mel_columns = mel->w;
    return KB_OK;
}

enum kb_code lips_find(char **ret, const char *model, struct kb_error *err)
{
    // A bare name is one of the shipped models, anything else a path.
    model = model ? model : "koubo-lips";
    if (strchr(model, '/') || strchr(model, '.')) {
        *ret = kb_strdup(model);
        return KB_OK;
    }
    CLEANUP(kb_freep) char *file = kb_printf("%s.safetensors", model);
    return model_locate(ret, file, err);
}

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

// The ranges that are kept for these weights, as JSON, or NULL.
static char *find_ranges(const struct tensor_set *set, const char *model_path, const char *folder)
{
    const char *inside = tensor_set_meta(set, "int8");
    return inside ? kb_strdup(inside) : read_kept_ranges(model_path, folder);
}

// --- loading ---

// What lips_load() has found out about a model before it builds anything.
struct source {
    const struct lips_params *params;
    char *path, *ranges; // owned; ranges as JSON, may be NULL
    struct tensor_set *set;
};

static void source_clear(struct source *s)
{
    free(s->path);
    free(s->ranges);
    tensor_set_free(&s->set);
}

static enum kb_code source_find(struct source *s, const struct lips_params *params,
                                struct kb_error *err)
{
    s->params = params;
    enum kb_code code = lips_find(&s->path, params->model, err);
    if (code == KB_OK)
        code = weights_load(&s->set, s->path, err);
    if (code != KB_OK)
        return code;
    bool may_be_int8 = params->precision == PRECISION_AUTO || params->precision == PRECISION_INT8;
    if (params->ranges)
        s->ranges = ranges_to_json(params->ranges);
    else if (may_be_int8)
        s->ranges = find_ranges(s->set, s->path, params->cache_folder);
    return KB_OK;
}

static enum kb_code build_graph(struct graph **ret, struct lips *l, const struct source *s,
                                struct kb_error *err)
{
    CLEANUP(graph_free) struct graph *g = NULL;
    enum kb_code code;
    if (tensor_set_meta(s->set, "graph")) {
        code = spec_from_metadata(&l->spec, s->set, err);
        if (code == KB_OK)
            code = graph_from_metadata(&g, s->set, err);
    } else { // Wav2Lip, or else the list of what it lacks to be that
        spec_of_wav2lip(&l->spec);
        code = wav2lip_graph(&g, s->set, err);
    }
    if (code == KB_OK)
        code = spec_from_graph(l, g, err);
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
    // A large network is where the time goes and gets all processors in any case. A small one is as
    // fast with 1 frame at a time as with 16, and fewer take less memory; Wav2Lip gains a tenth up
    // to 8.
    const struct lips_params *p = s->params;
    bool small = graph_macs(g) < SMALL_NETWORK_MACS;
    struct session_params sp = {.batch = p->batch > 0 ? p->batch
                                         : small      ? 4
                                                      : 8,
                                .precision = p->precision,
                                .threads = p->beside_others && small ? 1 : p->threads,
                                .ranges = ranges,
                                .observer = p->observer,
                                .pack = l->pack,
                                .pack_writer = writer};
    l->precision = precision_resolve(p->precision, ranges != NULL);
    l->is_large = !small;
    return session_create(&l->session, g, &sp, err);
}

// --- the packed form, kept in the cache folder ---

// What lies in a pack before the graph: what building it would have found out.
struct packed_lips {
    struct lips_spec spec;
    int mel_input, face_input;
    int64_t params;
};

#define PACK_VERSION 1 // to be raised when the graph of a file, or what is made of it, changes

// Where the packed form of this source lies, and what it depends on beside the weights.
#define KEY_SIZE 300

static bool pack_place(const struct source *s, char **ret_path, char ret_key[KEY_SIZE])
{
    char hash[33], backend[SESSION_BACKEND_SIZE];
    const struct lips_params *p = s->params;
    if (!p->cache_folder || p->observer || file_hash(hash, s->path, NULL) != KB_OK)
        return false;
    const char *precision = precision_name(precision_resolve(p->precision, s->ranges != NULL));
    char ranges[17] = "";
    if (s->ranges)
        snprintf(ranges, sizeof(ranges), "%016llx",
                 (unsigned long long)XXH3_64bits(s->ranges, strlen(s->ranges)));
    session_backend(backend);
    snprintf(ret_key, KEY_SIZE,
             "%d %s %s batch %d threads %d beside %d ranges %s sizes %zu %zu %zu %s", PACK_VERSION,
             hash, precision, p->batch, p->threads, p->beside_others, ranges,
             sizeof(struct packed_lips), sizeof(struct op), sizeof(struct value), backend);
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
    const struct packed_lips *packed = pack_take(l->pack, sizeof(*packed));
    CLEANUP(graph_free) struct graph *g = packed ? pack_take_graph(l->pack) : NULL;
    if (!g)
        return KB_BAD_INPUT;
    l->spec = packed->spec;
    l->mel_input = packed->mel_input;
    l->face_input = packed->face_input;
    l->params = packed->params;
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
        struct packed_lips packed = {l->spec, l->mel_input, l->face_input, l->params};
        pack_put(writer, &packed, sizeof(packed));
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

const struct lips_spec *lips_spec(const struct lips *l)
{
    return &l->spec;
}

enum precision lips_precision(const struct lips *l)
{
    return l->precision;
}

int lips_batch(const struct lips *l)
{
    return session_batch(l->session);
}

bool lips_wants_lanes(const struct lips *l)
{
    return l->is_large && l->pack;
}

float *lips_mel(struct lips *l, int i)
{
    return session_input(l->session, l->mel_input) +
           (size_t)i * MEL_BANDS * (size_t)l->spec.mel_columns;
}

float *lips_face(struct lips *l, int i)
{
    return session_input(l->session, l->face_input) +
           (size_t)i * (size_t)l->spec.height * (size_t)l->spec.width * 6;
}

int lips_mel_start(const struct lips_spec *s, const struct mel *mel, int64_t pts_us)
{
    double column = MEL_PER_S * ((double)pts_us / 1e6 + s->mel_offset_s);
    int start = (int)(s->mel_round ? lround(column) : floor(column));
    return s->mel_inside ? KB_MAX(KB_MIN(start, mel_columns(mel) - s->mel_columns), 0) : start;
}

enum kb_code lips_run(struct lips *l, struct kb_error *err)
{
    return session_run(l->session, err);
}

const float *lips_output(const struct lips *l, int i)
{
    return session_output(l->session, 0) +
           (size_t)i * (size_t)l->spec.out_height * (size_t)l->spec.out_width * 3;
}

int64_t lips_params_count(const struct lips *l)
{
    return l->params;
}
