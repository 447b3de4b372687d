#include "nn/import/members.h"

#include <string.h>

#define MAX_NAME 4096 // bytes as it is written

static enum kb_code not_json(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT, _("the header of the file is not JSON; it is damaged"));
}

static void skip_blanks(struct members *m)
{
    while (m->at < m->end && memchr(" \t\r\n", *m->at, 4))
        m->at++;
}

static bool take(struct members *m, char c)
{
    skip_blanks(m);
    if (m->at == m->end || *m->at != c)
        return false;
    m->at++;
    return true;
}

void members_start(struct members *m, const char *text, size_t size)
{
    *m = (struct members){.at = text, .end = text + size};
}

// The end of the text in quotes that begins at p, NULL if it has none.
static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '"')
            return p + 1;
        if (*p == '\\')
            p++;
    }
    return NULL;
}

// The end of the value at p: its brackets closed, if it has some; jansson looks at what is inside.
static const char *value_end(const char *p, const char *end)
{
    size_t depth = 0;
    for (; p < end; p++) {
        if (*p == '"') {
            p = string_end(p, end);
            if (!p || depth == 0)
                return p;
            p--;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if (*p == '}' || *p == ']') {
            if (depth <= 1)
                return p + depth;
            depth--;
        } else if (*p == ',' && depth == 0) {
            return p;
        }
    }
    return NULL;
}

json_t *members_value(const char *value, size_t size)
{
    return json_loadb(value, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

static char *read_name(struct members *m)
{
    skip_blanks(m);
    const char *start = m->at;
    const char *end = start < m->end && *start == '"' ? string_end(start, m->end) : NULL;
    if (!end || end - start > MAX_NAME)
        return NULL;
    json_auto_t *name = members_value(start, (size_t)(end - start));
    m->at = end;
    return kb_strdup(json_string_value(name));
}

enum kb_code members_next(struct members *m, char **ret_name, const char **ret_value,
                          size_t *ret_size, struct kb_error *err)
{
    if (!m->begun && !take(m, '{'))
        return not_json(err);
    if (take(m, '}')) {
        skip_blanks(m);
        return m->at == m->end ? KB_EOF : not_json(err);
    }
    if (m->begun && !take(m, ','))
        return not_json(err);
    m->begun = true;
    CLEANUP(kb_freep) char *name = read_name(m);
    if (!name || !take(m, ':'))
        return not_json(err);
    skip_blanks(m);
    const char *value = m->at, *end = value_end(value, m->end);
    if (!end || end == value)
        return not_json(err);
    m->at = end;
    *ret_value = value;
    *ret_size = (size_t)(end - value);
    *ret_name = TAKE(name);
    return KB_OK;
}
