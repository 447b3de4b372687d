// The kinds of values that options have, in JSON.
#include "queue/options_internal.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

#define MAX_SECONDS 360000.0

enum kb_code option_read_bool(const char *name, const json_t *v, bool *ret, struct kb_error *err)
{
    if (!json_is_boolean(v))
        return kb_fail(err, KB_BAD_INPUT, _("the option '%s' takes true or false"), name);
    *ret = json_is_true(v);
    return KB_OK;
}

enum kb_code option_read_int(const char *name, const json_t *v, int low, int high, int *ret,
                             struct kb_error *err)
{
    json_int_t value = json_integer_value(v);
    if (!json_is_integer(v) || value < low || value > high)
        return kb_fail(err, KB_BAD_INPUT, _("the option '%s' takes a whole number from %d to %d"),
                       name, low, high);
    *ret = (int)value;
    return KB_OK;
}

enum kb_code option_read_number(const char *name, const json_t *v, double low, double high,
                                double *ret, struct kb_error *err)
{
    double value = json_number_value(v);
    if (!json_is_number(v) || !(value >= low && value <= high))
        return kb_fail(err, KB_BAD_INPUT, _("the option '%s' takes a number from %g to %g"), name,
                       low, high);
    *ret = value;
    return KB_OK;
}

enum kb_code option_read_fraction(const char *name, const json_t *v, double high, float *ret,
                                  struct kb_error *err)
{
    double value = 0;
    enum kb_code code = option_read_number(name, v, 0, high, &value, err);
    if (code == KB_OK)
        *ret = (float)value;
    return code;
}

enum kb_code option_read_seconds(const char *name, const json_t *v, int64_t *ret_us,
                                 struct kb_error *err)
{
    double value = 0;
    enum kb_code code = option_read_number(name, v, 0, MAX_SECONDS, &value, err);
    if (code == KB_OK)
        *ret_us = (int64_t)(value * 1e6);
    return code;
}

enum kb_code option_not_one_of(const char *name, const char *words, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT, _("the option '%s' takes one of %s"), name, words);
}

enum kb_code option_read_material(struct batch_options *o, const char *name, const json_t *v,
                                  const char *refusal, struct kb_error *err)
{
    const struct material_role *role = material_find(name);
    const char *asset = json_string_value(v);
    size_t n = asset ? strlen(asset) : 0;
    assert(role && o->n_materials < MATERIAL_MOST); // an option is there once
    if (n == 0 || n > 4096 || n != json_string_length(v))
        return kb_fail(err, KB_BAD_INPUT, "%s", refusal);
    json_t *kept = json_string(asset);
    if (json_object_set_new(o->keep, name, kept) != 0)
        return kb_no_memory(err);
    o->materials[o->n_materials].role = role;
    o->materials[o->n_materials++].asset = json_string_value(kept);
    return KB_OK;
}
