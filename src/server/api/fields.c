#include "server/api/fields.h"

#include "base/utf8.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool refuse(struct request *r, const char *fmt, ...) KB_PRINTF(2, 3);
static bool refuse(struct request *r, const char *fmt, ...)
{
    struct kb_error err = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.text, sizeof(err.text), fmt, args);
    va_end(args);
    utf8_mend(err.text, sizeof(err.text));
    err.code = KB_BAD_INPUT;
    reply_error(r, &err);
    return false;
}

// "a, b, c"
static void list_words(char *ret, size_t size, const char *const *words)
{
    ret[0] = '\0';
    for (size_t used = 0; *words && used < size; words++, used = strlen(ret))
        snprintf(ret + used, size - used, "%s%s", used ? ", " : "", *words);
}

static bool is_word(const char *text, const char *const *words)
{
    while (*words && strcmp(*words, text) != 0)
        words++;
    return *words != NULL;
}

bool fields_known(struct request *r, json_t *body, const char *const *names)
{
    const char *name;
    json_t *value;
    json_object_foreach(body, name, value)
    {
        if (is_word(name, names))
            continue;
        char list[300];
        list_words(list, sizeof(list), names);
        return refuse(r, _("there is no field '%.*s' here; the fields are: %s"), utf8_fit(name, 64),
                      name, list);
    }
    return true;
}

static bool has_control(const char *text)
{
    while (*text && (unsigned char)*text >= 0x20 && *text != 0x7f)
        text++;
    return *text != '\0';
}

bool field_text(struct request *r, json_t *body, const char *name, bool required, size_t max,
                const char **ret)
{
    json_t *value = json_object_get(body, name);
    *ret = NULL;
    if (!value || json_is_null(value))
        return !required || refuse(r, _("the field '%s' is missing; it is a text"), name);
    if (!json_is_string(value))
        return refuse(r, _("the field '%s' must be a text in quotation marks"), name);
    const char *text = json_string_value(value);
    size_t n = utf8_count(text);
    if (has_control(text) || strlen(text) != json_string_length(value))
        return refuse(r, _("the field '%s' holds a control character; take it out"), name);
    if (n > max)
        return refuse(r, _("the field '%s' has %zu letters; at most %zu are allowed"), name, n,
                      max);
    if (required && n == 0)
        return refuse(r, _("the field '%s' is empty"), name);
    *ret = text;
    return true;
}

bool field_int(struct request *r, json_t *body, const char *name, int64_t low, int64_t high,
               int64_t *ret, bool *ret_there)
{
    json_t *value = json_object_get(body, name);
    bool there = value && !json_is_null(value);
    if (ret_there)
        *ret_there = there;
    if (!there && ret_there)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < low ||
        json_integer_value(value) > high)
        return refuse(r, _("the field '%s' must be a whole number from %lld to %lld"), name,
                      (long long)low, (long long)high);
    *ret = json_integer_value(value);
    return true;
}

bool field_bool(struct request *r, json_t *body, const char *name, bool *ret, bool *ret_there)
{
    json_t *value = json_object_get(body, name);
    *ret_there = value && !json_is_null(value);
    if (*ret_there && !json_is_boolean(value))
        return refuse(r, _("the field '%s' must be true or false"), name);
    *ret = json_is_true(value);
    return true;
}

bool field_object(struct request *r, json_t *body, const char *name, char **ret)
{
    json_t *value = json_object_get(body, name);
    *ret = NULL;
    if (!value || json_is_null(value))
        return true;
    if (!json_is_object(value))
        return refuse(r, _("the field '%s' must be an object: {…}"), name);
    *ret = json_dumps(value, JSON_COMPACT);
    return true;
}

bool query_page(struct request *r, int *ret_offset, int *ret_limit)
{
    int64_t offset, limit;
    if (!request_query_int(r, "offset", 0, INT_MAX, 0, &offset) ||
        !request_query_int(r, "limit", 1, 1000, 50, &limit))
        return false;
    *ret_offset = (int)offset;
    *ret_limit = (int)limit;
    return true;
}

bool query_word(struct request *r, const char *name, const char *const *words, const char **ret)
{
    *ret = query_text(r, name);
    if (!*ret || is_word(*ret, words))
        return true;
    char list[300];
    list_words(list, sizeof(list), words);
    return refuse(r, _("'%s' must be one of %s"), name, list);
}

const char *query_text(struct request *r, const char *name)
{
    const char *text = request_query(r, name);
    return text && *text ? text : NULL;
}
