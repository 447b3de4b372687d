#include "nn/ranges.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Bins of a histogram over the upper bits of a float: the exponent and five bits of the mantissa,
// so each is some 2 % wide whatever the scale.
#define BIN_SHIFT 18
#define N_BINS    (1 << (31 - BIN_SHIFT))

struct seen {
    bool negative;
    uint64_t zeros;
    uint32_t bins[N_BINS];
};

struct observer {
    int n_values;
    struct seen **at; // NULL: nothing seen
};

struct observer *observer_create(void)
{
    return kb_alloc(sizeof(struct observer));
}

void observer_prepare(struct observer *o, int n_values)
{
    if (o->at)
        return;
    o->n_values = n_values;
    o->at = kb_alloc((size_t)n_values * sizeof(struct seen *));
}

void observer_free(struct observer **o)
{
    if (!*o)
        return;
    for (int i = 0; i < (*o)->n_values; i++)
        free((*o)->at[i]);
    free((*o)->at);
    free(*o);
    *o = NULL;
}

void observer_note(struct observer *o, int value, const float *data, size_t n)
{
    if (!o->at[value])
        o->at[value] = kb_alloc(sizeof(struct seen));
    struct seen *s = o->at[value];
    for (size_t i = 0; i < n; i++) {
        if (data[i] < 0)
            s->negative = true;
        if (!(data[i] > 0)) {
            s->zeros++;
            continue;
        }
        uint32_t bits;
        memcpy(&bits, &data[i], sizeof(bits));
        s->bins[bits >> BIN_SHIFT]++;
    }
}

// The middle of a bin.
static double bin_value(uint32_t bin)
{
    uint32_t bits = bin << BIN_SHIFT | 1u << (BIN_SHIFT - 1);
    float v;
    memcpy(&v, &bits, sizeof(v));
    return (double)v;
}

// Uniform rounding to steps of limit / 255 costs a twelfth of the step squared, cutting off the
// square of what is cut. The upper edge of each bin is tried.
static float best_limit(const struct seen *s)
{
    double best_cost = INFINITY, best = 0, n_above = 0, sum_above = 0, squares_above = 0;
    double n_all = (double)s->zeros;
    for (uint32_t b = 0; b < N_BINS; b++)
        n_all += s->bins[b];
    for (uint32_t b = N_BINS - 1; b > 0; b--) {
        double v = bin_value(b);
        if (!isfinite(v))
            continue;
        double limit = bin_value(b) * (1 + 1.0 / 128), step = limit / 255;
        if (n_above > 0 || s->bins[b] > 0) {
            double cut = squares_above - 2 * limit * sum_above + limit * limit * n_above;
            double cost = cut + (n_all - n_above) * step * step / 12;
            if (cost < best_cost) {
                best_cost = cost;
                best = limit;
            }
        }
        n_above += s->bins[b];
        sum_above += v * s->bins[b];
        squares_above += v * v * s->bins[b];
    }
    return (float)best;
}

struct ranges *observer_ranges(const struct observer *o)
{
    struct ranges *r = kb_alloc(sizeof(*r));
    r->n_values = o->n_values;
    r->limits = kb_alloc((size_t)o->n_values * sizeof(float));
    for (int i = 0; i < o->n_values; i++)
        r->limits[i] = o->at[i] && !o->at[i]->negative ? best_limit(o->at[i]) : 0;
    return r;
}

char *ranges_to_json(const struct ranges *r)
{
    json_auto_t *root = json_object();
    json_t *limits = json_array();
    for (int i = 0; i < r->n_values; i++)
        json_array_append_new(limits, json_real((double)r->limits[i]));
    json_object_set_new(root, "limits", limits);
    return json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
}

enum kb_code ranges_from_json(struct ranges **ret, const char *text, int n_values,
                              struct kb_error *err)
{
    json_auto_t *root = json_loads(text, 0, NULL);
    const json_t *limits = json_object_get(root, "limits");
    if (!json_is_array(limits) || json_array_size(limits) != (size_t)n_values)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the int8 ranges do not belong to this network; make them again with "
                         "koubo model quantize"));
    CLEANUP(ranges_free) struct ranges *r = kb_alloc(sizeof(*r));
    r->n_values = n_values;
    r->limits = kb_alloc((size_t)n_values * sizeof(float));
    for (int i = 0; i < n_values; i++) {
        double v = json_number_value(json_array_get(limits, (size_t)i));
        if (!(v >= 0 && v < 1e9))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the int8 ranges hold %g, which no value reaches; make them again "
                             "with koubo model quantize"),
                           v);
        r->limits[i] = (float)v;
    }
    *ret = TAKE(r);
    return KB_OK;
}

void ranges_free(struct ranges **r)
{
    if (!*r)
        return;
    free((*r)->limits);
    free(*r);
    *r = NULL;
}
