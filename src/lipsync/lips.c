#include "lipsync/lips.h"

#include "base/file.h"
#include "media/mel.h"
#include "nn/import.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_NETWORK_MACS 1000000000 // a frame

struct lips {
    struct lips_spec spec;
    struct session *session;
    enum precision precision;
    int mel_input, face_input; // which of the session's inputs
    int64_t params;
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

static enum kb_code find_ranges(struct ranges **ret, const struct tensor_set *set,
                                const char *model_path, const char *folder, const struct graph *g,
                                struct kb_error *err)
{
    const char *inside = tensor_set_meta(set, "int8");
    CLEANUP(kb_freep)
    char *text = inside ? kb_strdup(inside) : read_kept_ranges(model_path, folder);
    return text ? ranges_from_json(ret, text, g->n_values, err) : KB_OK;
}

enum kb_code lips_load(struct lips **ret, const struct lips_params *params, struct kb_error *err)
{
    CLEANUP(lips_free) struct lips *l = kb_alloc(sizeof(*l));
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    CLEANUP(graph_free) struct graph *g = NULL;
    CLEANUP(kb_freep) char *path = NULL;
    CLEANUP(ranges_free) struct ranges *own_ranges = NULL;
    enum kb_code code = lips_find(&path, params->model, err);
    if (code == KB_OK)
        code = weights_load(&set, path, err);
    if (code != KB_OK)
        return code;

    if (tensor_set_meta(set, "graph")) {
        code = spec_from_metadata(&l->spec, set, err);
        if (code == KB_OK)
            code = graph_from_metadata(&g, set, err);
    } else { // Wav2Lip, or else the list of what it lacks to be that
        spec_of_wav2lip(&l->spec);
        code = wav2lip_graph(&g, set, err);
    }
    if (code == KB_OK)
        code = spec_from_graph(l, g, err);
    if (code == KB_OK)
        code = graph_optimize(g, err);
    bool may_be_int8 = params->precision == PRECISION_AUTO || params->precision == PRECISION_INT8;
    if (code == KB_OK && may_be_int8 && !params->ranges)
        code = find_ranges(&own_ranges, set, path, params->ranges_folder, g, err);
    if (code != KB_OK)
        return kb_wrap(err, _("model '%s'"), path);

    l->params = graph_params(g);
    tensor_set_free(&set); // the graph has its own copy
    // A large network is where the time goes and gets all processors in any case.
    bool small = graph_macs(g) < SMALL_NETWORK_MACS;
    bool leaves_room = params->beside_others && small;
    // A small network is as fast with 1 as with 16, and fewer take less memory; Wav2Lip gains a
    // tenth up to 8.
    int batch = small ? 4 : 8;
    struct session_params sp = {.batch = params->batch > 0 ? params->batch : batch,
                                .precision = params->precision,
                                .threads = leaves_room ? 1 : params->threads,
                                .ranges = params->ranges ? params->ranges : own_ranges,
                                .observer = params->observer};
    l->precision = precision_resolve(params->precision, sp.ranges != NULL);
    code = session_create(&l->session, g, &sp, err);
    if (code == KB_OK)
        *ret = TAKE(l);
    return code;
}

void lips_free(struct lips **l)
{
    if (!*l)
        return;
    session_free(&(*l)->session);
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
