// The network is made for stretches of one length (its mel input has a fixed width); a speech is
// run through it stretch by stretch, each beginning where the last one's samples end.
#include "lipsync/motion.h"

#include "face/track.h"
#include "lipsync/network.h"
#include "lipsync/vad.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEP       (MEL_PER_S / MOTION_RATE_HZ) // columns of the mel from sample to sample
#define MAX_KNOTS  16
#define INNER      20  // the first of the inner lips
#define MAX_OFFSET 2.0 // seconds
#define MAX_MARGIN 200 // samples
// Lips that move further than this, half a face, are a broken model's.
#define MAX_DELTA   0.5f
#define MAX_OPENING 10.0f // the same for how a point goes with the opening

struct motion_model {
    char name[64], hash[33];
    int first_column; // of the mel, for sample 0
    int stretch;      // samples in a run
    int margin;       // samples before and after these that only half of the speech was seen for
    float gain;
    int order[MOTION_POINTS]; // which of the file's points is the track's i-th
    // What the opening becomes: flat before the first knot (from, to), straight lines between
    // knots, of slope 1 behind the last.
    int n_knots;
    float knots[MAX_KNOTS][2];
    float opening[MOTION_POINTS][2]; // how the points move when the opening grows by 1
    struct session *session;
};

// --- out of a file ---

static enum kb_code bad_meta(struct kb_error *err, const char *key)
{
    return kb_fail(
        err, KB_BAD_INPUT,
        _("the model's metadata has no usable '%s'; it is not a listener of this version "
          "(docs/models.md)"),
        key);
}

// "points": FaceMesh's number of each of the 40 points that move, all lips, none twice.
static enum kb_code read_points(struct motion_model *m, const struct tensor_set *set,
                                struct kb_error *err)
{
    const char *text = tensor_set_meta(set, "points");
    json_auto_t *ids = text ? json_loads(text, 0, NULL) : NULL;
    if (json_array_size(ids) != MOTION_POINTS)
        return bad_meta(err, "points");
    for (int i = 0; i < MOTION_POINTS; i++) {
        m->order[i] = -1;
        for (int k = 0; k < MOTION_POINTS; k++)
            if (json_integer_value(json_array_get(ids, (size_t)k)) ==
                track_point_ids[TRACK_OUTER_FIRST + i])
                m->order[i] = k;
        if (m->order[i] < 0)
            return bad_meta(err, "points");
    }
    return KB_OK;
}

// "curve": [[from, to], …], both rising.
static enum kb_code read_curve(struct motion_model *m, const struct tensor_set *set,
                               struct kb_error *err)
{
    const char *text = tensor_set_meta(set, "curve");
    json_auto_t *knots = text ? json_loads(text, 0, NULL) : NULL;
    size_t n = json_array_size(knots);
    if (n < 2 || n > MAX_KNOTS)
        return bad_meta(err, "curve");
    for (size_t i = 0; i < n; i++) {
        double from, to;
        if (json_unpack(json_array_get(knots, i), "[F,F]", &from, &to) != 0 ||
            !(fabs(from) <= MAX_DELTA && fabs(to) <= MAX_DELTA))
            return bad_meta(err, "curve");
        float *knot = m->knots[i];
        knot[0] = (float)from;
        knot[1] = (float)to;
        if (i > 0 && !(knot[0] > knot[-2] && knot[1] >= knot[-1]))
            return bad_meta(err, "curve");
    }
    m->n_knots = (int)n;
    return KB_OK;
}

float motion_opening(const float (*points)[2])
{
    // Both rows run from the left corner to the right.
    float sum = 0;
    for (int k = 1; k < 10; k++)
        sum += points[INNER + 20 - k][1] - points[INNER + k][1];
    return sum / 9;
}

static enum kb_code read_opening(struct motion_model *m, const struct tensor_set *set,
                                 struct kb_error *err)
{
    const struct tensor *t = tensor_set_find(set, "opening");
    if (!t || t->n_dims != 2 || t->dims[0] != MOTION_POINTS || t->dims[1] != 2)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the model has no tensor 'opening' of %d points; it is not a listener of "
                         "this version (docs/models.md)"),
                       MOTION_POINTS);
    CLEANUP(kb_freep) float *values = tensor_to_f32(t);
    if (!values)
        return kb_no_memory(err);
    bool sane = true;
    for (int i = 0; i < MOTION_POINTS; i++)
        for (int axis = 0; axis < 2; axis++) {
            m->opening[i][axis] = values[2 * m->order[i] + axis];
            sane = sane && fabsf(m->opening[i][axis]) <= MAX_OPENING; // NaN is not
        }
    // As the curve counts in openings, a step along this must be one.
    if (!sane || !(fabsf(motion_opening(m->opening) - 1) < 0.01f))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the model's tensor 'opening' does not open the mouth by 1"));
    return KB_OK;
}

bool motion_recognize(const struct tensor_set *set)
{
    const char *format = tensor_set_meta(set, "format");
    return format && strcmp(format, "koubo-motion") == 0;
}

static enum kb_code read_contract(void *owner, const struct tensor_set *set, struct kb_error *err)
{
    struct motion_model *m = owner;
    const char *name = tensor_set_meta(set, "name");
    double version, rate, offset_s, gain, margin = 0;
    if (!motion_recognize(set))
        return bad_meta(err, "format");
    if (!network_number(set, "version", 2, 2, &version))
        return bad_meta(err, "version");
    if (!network_number(set, "rate", MOTION_RATE_HZ, MOTION_RATE_HZ, &rate))
        return bad_meta(err, "rate");
    if (!network_number(set, "mel_offset_s", -MAX_OFFSET, MAX_OFFSET, &offset_s))
        return bad_meta(err, "mel_offset_s");
    if (!network_number(set, "gain", 0, 10, &gain))
        return bad_meta(err, "gain");
    if (tensor_set_meta(set, "margin") && !network_number(set, "margin", 0, MAX_MARGIN, &margin))
        return bad_meta(err, "margin");
    snprintf(m->name, sizeof(m->name), "%s", name ? name : "koubo");
    m->first_column = (int)lround(offset_s * MEL_PER_S);
    m->gain = (float)gain;
    m->margin = (int)margin;
    enum kb_code code = read_points(m, set, err);
    if (code == KB_OK)
        code = read_curve(m, set, err);
    return code == KB_OK ? read_opening(m, set, err) : code;
}

// One mel of fixed width goes in; a sample for every second column that a window fits behind comes
// out.
static enum kb_code read_shape(void *owner, const struct graph *g, struct kb_error *err)
{
    struct motion_model *m = owner;
    const struct value *mel = &g->values[g->inputs[0]], *out = &g->values[g->outputs[0]];
    bool is_one = g->n_inputs == 1 && g->n_outputs == 1;
    if (!is_one || mel->c != MEL_BANDS || mel->h != 1 || out->c != 2 * MOTION_POINTS ||
        out->h != 1 || mel->w <= STEP * (out->w - 1) || out->w <= 2 * m->margin)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("this is not a listener: it must take a mel (%d bands) and give %d numbers "
              "for every second column"),
            MEL_BANDS, 2 * MOTION_POINTS);
    m->stretch = out->w - 2 * m->margin;
    return KB_OK;
}

enum kb_code motion_model_load(struct motion_model **ret, const char *model, int threads,
                               struct kb_error *err)
{
    CLEANUP(motion_model_free) struct motion_model *m = kb_alloc(sizeof(*m));
    static const struct network_owner us = {read_contract, read_shape};
    enum kb_code code = network_load(&m->session, m->hash, model, threads, &us, m, err);
    if (code == KB_OK)
        *ret = TAKE(m);
    return code;
}

void motion_model_free(struct motion_model **m)
{
    if (!*m)
        return;
    session_free(&(*m)->session);
    free(*m);
    *m = NULL;
}

const char *motion_model_hash(const struct motion_model *m)
{
    return m->hash;
}

const char *motion_model_name(const struct motion_model *m)
{
    return m->name;
}

// --- running it ---

static float curve_at(const struct motion_model *m, float x)
{
    const float(*k)[2] = m->knots;
    int last = m->n_knots - 1;
    if (x <= k[0][0])
        return k[0][1];
    if (x >= k[last][0])
        return k[last][1] + x - k[last][0];
    int i = 1;
    while (x > k[i][0])
        i++;
    float part = (x - k[i - 1][0]) / (k[i][0] - k[i - 1][0]);
    return k[i - 1][1] + part * (k[i][1] - k[i - 1][1]);
}

// One sample, as the network tells it, to the track's points. False if it is no motion.
static bool take_sample(const struct motion_model *m, const float *told, float (*ret)[2])
{
    for (int i = 0; i < MOTION_POINTS; i++)
        for (int axis = 0; axis < 2; axis++) {
            ret[i][axis] = told[2 * m->order[i] + axis];
            if (!(fabsf(ret[i][axis]) <= MAX_DELTA))
                return false;
        }
    float opening = motion_opening(ret), more = curve_at(m, opening) - opening;
    for (int i = 0; i < MOTION_POINTS; i++)
        for (int axis = 0; axis < 2; axis++)
            ret[i][axis] = m->gain * (ret[i][axis] + more * m->opening[i][axis]);
    return true;
}

static enum kb_code run_stretch(struct motion *ret, struct motion_model *m, const struct mel *mel,
                                int first, struct kb_error *err)
{
    float *columns = session_input(m->session, 0);
    for (int i = 0; i < session_input_shape(m->session, 0).w; i++)
        memcpy(columns + (ptrdiff_t)i * MEL_BANDS,
               mel_column(mel, m->first_column + STEP * first + i), MEL_BANDS * sizeof(float));
    enum kb_code code = session_run(m->session, err);
    if (code != KB_OK)
        return code;
    const float *told = session_output(m->session, 0) + (ptrdiff_t)m->margin * 2 * MOTION_POINTS;
    for (int i = first; i < KB_MIN(first + m->stretch, ret->n); i++, told += 2 * MOTION_POINTS)
        if (!take_sample(m, told, ret->delta[i]))
            return kb_fail(
                err, KB_BAD_INPUT,
                _("model '%s' tells of lips that leave the face; the file is damaged, or "
                  "it was trained on other units"),
                m->name);
    return KB_OK;
}

enum kb_code motion_run(struct motion **ret, struct motion_model *m, const struct mel *mel,
                        const struct watch *watch, struct kb_error *err)
{
    CLEANUP(motion_free) struct motion *o = kb_alloc(sizeof(*o));
    o->n = (mel_columns(mel) - 1) / STEP + 1;
    o->delta = kb_calloc_checked((size_t)o->n, sizeof(*o->delta));
    o->voice = kb_calloc_checked((size_t)o->n, sizeof(*o->voice));
    if (!o->delta || !o->voice)
        return kb_no_memory(err);
    enum kb_code code = vad_find(o->voice, o->n, STEP, mel, err);
    for (int first = 0; code == KB_OK && first < o->n; first += m->stretch) {
        watch_tell(watch, STAGE_AUDIO, first, o->n);
        code = watch_check(watch, err);
        if (code == KB_OK)
            code = run_stretch(o, m, mel, first, err);
    }
    if (code != KB_OK)
        return code;
    watch_tell(watch, STAGE_AUDIO, o->n, o->n);
    *ret = TAKE(o);
    return KB_OK;
}

void motion_free(struct motion **m)
{
    if (!*m)
        return;
    free((*m)->delta);
    free((*m)->voice);
    free(*m);
    *m = NULL;
}

// --- reading what it said ---

void motion_at(const struct motion *m, int64_t pts_us, float amount, float ret[MOTION_POINTS][2])
{
    double place = (double)pts_us * MOTION_RATE_HZ / 1e6;
    place = fmin(fmax(place, 0), m->n - 1);
    int i = KB_MAX(KB_MIN((int)place, m->n - 2), 0);
    float t = (float)(place - i);
    const float(*p[4])[2];
    for (int k = 0; k < 4; k++)
        p[k] = m->delta[KB_MAX(KB_MIN(i + k - 1, m->n - 1), 0)];
    // Catmull and Rom 1974: through the samples, with the slope between their neighbours.
    float w[4] = {t * (-0.5f + t * (1 - 0.5f * t)), 1 + t * t * (-2.5f + 1.5f * t),
                  t * (0.5f + t * (2 - 1.5f * t)), t * t * (-0.5f + 0.5f * t)};
    float voice = m->voice[i] + t * (m->voice[KB_MIN(i + 1, m->n - 1)] - m->voice[i]);
    for (int j = 0; j < MOTION_POINTS; j++)
        for (int axis = 0; axis < 2; axis++)
            ret[j][axis] = amount * voice *
                           (w[0] * p[0][j][axis] + w[1] * p[1][j][axis] + w[2] * p[2][j][axis] +
                            w[3] * p[3][j][axis]);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void motion_spread(float *values, int n, float *ret_low, float *ret_high)
{
    qsort(values, (size_t)n, sizeof(*values), compare_floats);
    *ret_low = n ? values[(int)lroundf(0.05f * (float)(n - 1))] : 0;
    *ret_high = n ? values[(int)lroundf(0.95f * (float)(n - 1))] : 0;
}

void motion_range(const struct motion *m, float *ret_low, float *ret_high)
{
    CLEANUP(kb_freep) float *openings = kb_alloc((size_t)m->n * sizeof(*openings));
    int n = 0;
    for (int i = 0; i < m->n; i++)
        if (m->voice[i] > 0.5f)
            openings[n++] = motion_opening(m->delta[i]);
    motion_spread(openings, n, ret_low, ret_high);
}
