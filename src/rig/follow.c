#include "rig/follow.h"

#include "base/file.h"
#include "nn/import/import.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_INPUTS   (2 * FOLLOW_N_LIPS)
#define WEIGHT_MAX 10.0f // a point that moves ten times as far as the lips belongs to no face
#define FILE_NAME  "koubo-follow.safetensors"

struct follow {
    int n;                      // points that follow
    int points[TRACK_N_POINTS]; // of the track
    float moved[TRACK_N_POINTS][3][N_INPUTS];
    float depth[FOLLOW_N_LIPS][N_INPUTS];
};

static enum kb_code bad_file(struct kb_error *err, const char *what)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("it has no usable '%s', so it does not say how a face follows its lips "
                     "(docs/models.md)"),
                   what);
}

// The points of the track that a list of FaceMesh's numbers names, each once. -1: it is none.
static int read_ids(const struct tensor_set *set, const char *key, int *ret, int most)
{
    const char *text = tensor_set_meta(set, key);
    json_auto_t *ids = text ? json_loads(text, 0, NULL) : NULL;
    size_t n = json_array_size(ids);
    if (n == 0 || n > (size_t)most)
        return -1;
    bool is_named[TRACK_N_POINTS] = {false};
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
        ret[i] = number >= 0 && number < MESH_POINTS ? track_point_of((int)number) : -1;
        if (ret[i] < 0 || is_named[ret[i]])
            return -1;
        is_named[ret[i]] = true;
    }
    return (int)n;
}

// n rows of inputs, in the order of the track's lips whatever the file's is.
static enum kb_code read_rows(const struct tensor_set *set, const char *name, int64_t n,
                              const int *lips, float (*ret)[N_INPUTS], struct kb_error *err)
{
    const struct tensor *t = tensor_set_find(set, name);
    if (!t || t->n_dims < 2 || t->dims[t->n_dims - 1] != N_INPUTS ||
        tensor_count(t) != n * N_INPUTS)
        return bad_file(err, name);
    CLEANUP(kb_freep) float *values = tensor_to_f32(t);
    if (!values)
        return kb_no_memory(err);
    for (int64_t row = 0; row < n; row++)
        for (int k = 0; k < N_INPUTS; k++) {
            float v = values[row * N_INPUTS + k];
            if (!(fabsf(v) <= WEIGHT_MAX))
                return bad_file(err, name);
            ret[row][2 * (lips[k / 2] - TRACK_OUTER_FIRST) + k % 2] = v;
        }
    return KB_OK;
}

static enum kb_code read_set(struct follow *f, const struct tensor_set *set, struct kb_error *err)
{
    const char *format = tensor_set_meta(set, "format"), *version = tensor_set_meta(set, "version");
    int lips[FOLLOW_N_LIPS];
    if (!format || strcmp(format, "koubo-follow") != 0)
        return bad_file(err, "format");
    if (!version || strcmp(version, "1") != 0)
        return bad_file(err, "version");
    if (read_ids(set, "lips", lips, FOLLOW_N_LIPS) != FOLLOW_N_LIPS)
        return bad_file(err, "lips");
    for (int i = 0; i < FOLLOW_N_LIPS; i++)
        if (lips[i] < TRACK_OUTER_FIRST || lips[i] >= TRACK_OUTER_FIRST + FOLLOW_N_LIPS)
            return bad_file(err, "lips");
    f->n = read_ids(set, "points", f->points, TRACK_N_POINTS);
    if (f->n < 0)
        return bad_file(err, "points");
    for (int i = 0; i < f->n; i++)
        if (f->points[i] >= TRACK_OUTER_FIRST && f->points[i] < TRACK_OUTER_FIRST + FOLLOW_N_LIPS)
            return bad_file(err, "points");
    enum kb_code code = read_rows(set, "moved", 3 * f->n, lips, f->moved[0], err);
    // The depth's rows are in the order of the file's lips, too.
    float depth[FOLLOW_N_LIPS][N_INPUTS];
    if (code == KB_OK)
        code = read_rows(set, "lips_depth", FOLLOW_N_LIPS, lips, depth, err);
    for (int i = 0; code == KB_OK && i < FOLLOW_N_LIPS; i++)
        memcpy(f->depth[lips[i] - TRACK_OUTER_FIRST], depth[i], sizeof(depth[i]));
    return code;
}

enum kb_code follow_read(struct follow **ret, const char *path, struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    CLEANUP(follow_free) struct follow *f = kb_alloc(sizeof(*f));
    enum kb_code code = weights_load(&set, path, err);
    if (code != KB_OK)
        return code;
    code = read_set(f, set, err);
    if (code != KB_OK)
        return kb_wrap(err, _("model '%s'"), path);
    *ret = TAKE(f);
    return KB_OK;
}

enum kb_code follow_load(struct follow **ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = NULL;
    enum kb_code code = model_locate(&path, FILE_NAME, err);
    return code == KB_OK ? follow_read(ret, path, err) : code;
}

void follow_free(struct follow **f)
{
    free(*f);
    *f = NULL;
}

static float row_times(const float row[N_INPUTS], const float *inputs)
{
    float sum = 0;
    for (int k = 0; k < N_INPUTS; k++)
        sum += row[k] * inputs[k];
    return sum;
}

void follow_apply(const struct follow *f, const float delta[FOLLOW_N_LIPS][2],
                  float ret[TRACK_N_POINTS][3])
{
    memset(ret, 0, TRACK_N_POINTS * sizeof(*ret));
    for (int i = 0; i < FOLLOW_N_LIPS; i++) {
        float *to = ret[TRACK_OUTER_FIRST + i];
        to[0] = delta[i][0];
        to[1] = delta[i][1];
        to[2] = row_times(f->depth[i], delta[0]);
    }
    for (int i = 0; i < f->n; i++)
        for (int axis = 0; axis < 3; axis++)
            ret[f->points[i]][axis] = row_times(f->moved[i][axis], delta[0]);
}
