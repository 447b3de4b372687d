#include "base/csv.h"

#include "base/charset.h"
#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- letters

// GB18030, as spreadsheets in China write it: a list is too short for a guess to be safe. NULL: it
// is not that.
static char *from_gb18030(const char *bytes, size_t size)
{
    iconv_t converter = iconv_open("UTF-8", "GB18030");
    if (converter == (iconv_t)-1)
        return NULL;
    size_t room = size * 3, left = size; // two bytes become three at most
    char *ret = kb_alloc(room + 1), *to = ret, *from = (char *)bytes;
    bool good = iconv(converter, &from, &left, &to, &room) != (size_t)-1 && left == 0;
    iconv_close(converter);
    if (good)
        return ret;
    free(ret);
    return NULL;
}

static enum kb_code to_utf8(const char *bytes, size_t size, const char *name, char **ret,
                            struct kb_error *err)
{
    const uint8_t *b = (const uint8_t *)bytes;
    bool marked = size >= 2 && ((b[0] == 0xff && b[1] == 0xfe) || (b[0] == 0xfe && b[1] == 0xff));
    CLEANUP(kb_freep) char *text = kb_alloc(size + 1);
    memcpy(text, bytes, size);
    *ret = NULL;
    if (!marked && strlen(text) == size && !utf8_valid(text))
        *ret = from_gb18030(bytes, size);
    return *ret ? KB_OK : charset_decode(ret, NULL, bytes, size, name, err);
}

// --- cells

// What parts the cells: of the three the one that the first line has most of, outside quotes.
static char find_separator(const char *text)
{
    static const char candidates[] = ",;\t";
    int counts[3] = {0};
    bool quoted = false;
    for (const char *c = text; *c && (quoted || (*c != '\n' && *c != '\r')); c++) {
        if (*c == '"')
            quoted = !quoted;
        const char *found = quoted ? NULL : strchr(candidates, *c);
        if (found)
            counts[found - candidates]++;
    }
    int best = 0;
    for (int i = 1; i < 3; i++)
        best = counts[i] > counts[best] ? i : best;
    return candidates[best];
}

struct reading {
    char *at; // the next byte; cells are made in place, and never grow
    char separator;
    int line;
    struct csv *csv;
    int n_cells, max_cells, max_rows;
};

static bool is_end(char c, char separator)
{
    return c == separator || c == '\n' || c == '\r' || c == '\0';
}

// One cell. r->at stands at what ends it; *ret is not yet closed by a NUL, *ret_end is where it
// belongs, as what stands there is still to be read.
static enum kb_code read_cell(struct reading *r, char **ret, char **ret_end, struct kb_error *err)
{
    while ((*r->at == ' ' || *r->at == '\t') && *r->at != r->separator)
        r->at++;
    char *in = r->at, *out = in;
    *ret = in;
    if (*in != '"') {
        while (!is_end(*in, r->separator))
            in++;
        for (out = in; out > *ret && (out[-1] == ' ' || out[-1] == '\t');)
            out--;
        r->at = in;
        *ret_end = out;
        return KB_OK;
    }
    int line = r->line;
    for (in++; *in && (*in != '"' || in[1] == '"'); *out++ = *in++) {
        r->line += *in == '\n';
        in += *in == '"'; // two of them are one
    }
    if (!*in)
        return kb_fail(err, KB_BAD_INPUT,
                       _("line %d of the list begins a quotation that nothing closes"), line);
    for (in++; !is_end(*in, r->separator);) // what stands behind the quotation belongs to it
        *out++ = *in++;
    r->at = in;
    *ret_end = out;
    return KB_OK;
}

static bool add_cell(struct reading *r, char *cell)
{
    if (!kb_grow(&r->csv->cells, r->n_cells, &r->max_cells, sizeof(*r->csv->cells)))
        return false;
    r->csv->cells[r->n_cells++] = cell;
    return true;
}

// A row; an empty one is left out. KB_EOF: there is none any more.
static enum kb_code read_row(struct reading *r, struct kb_error *err)
{
    struct csv_row row = {.line = r->line};
    bool any = false;
    if (!*r->at)
        return KB_EOF;
    for (char end = r->separator; end == r->separator; row.n++) {
        char *cell = NULL, *close = NULL;
        enum kb_code code = read_cell(r, &cell, &close, err);
        if (code != KB_OK)
            return code;
        if (row.n == CSV_COLUMNS)
            return kb_fail(err, KB_BAD_INPUT, _("line %d of the list has more than %d cells"),
                           row.line, CSV_COLUMNS);
        end = *r->at;
        if (end == '\r' && r->at[1] == '\n')
            r->at++;
        if (end)
            r->at++;
        *close = '\0';
        any = any || *cell;
        if (!add_cell(r, cell))
            return kb_no_memory(err);
        r->line += end == '\n' || end == '\r';
    }
    if (!any) {
        r->n_cells -= row.n;
        return KB_OK;
    }
    if (r->csv->n_rows == CSV_ROWS)
        return kb_fail(err, KB_BAD_INPUT, _("the list has more than %d lines"), CSV_ROWS);
    if (!kb_grow(&r->csv->rows, r->csv->n_rows, &r->max_rows, sizeof(*r->csv->rows)))
        return kb_no_memory(err);
    r->csv->rows[r->csv->n_rows++] = row;
    return KB_OK;
}

enum kb_code csv_parse(struct csv *ret, const char *bytes, size_t size, const char *name,
                       struct kb_error *err)
{
    *ret = (struct csv){0};
    if (size > CSV_BYTES)
        return kb_fail(err, KB_BAD_INPUT, _("the list is larger than %d MB"), CSV_BYTES >> 20);
    enum kb_code code = to_utf8(bytes, size, name, &ret->text, err);
    struct reading r = {.line = 1, .csv = ret};
    if (code == KB_OK) {
        r.at = ret->text;
        r.separator = find_separator(ret->text);
    }
    while (code == KB_OK)
        code = read_row(&r, err);
    if (code != KB_EOF) {
        csv_free(ret);
        return code;
    }
    char **at = ret->cells;
    for (int i = 0; i < ret->n_rows; at += ret->rows[i++].n)
        ret->rows[i].cells = at;
    return KB_OK;
}

enum kb_code csv_read(struct csv *ret, const char *path, struct kb_error *err)
{
    bool input = strcmp(path, "-") == 0;
    FILE *f = input ? stdin : fopen(path, "re");
    *ret = (struct csv){0};
    if (!f)
        return kb_fail(err, errno == ENOENT ? KB_NOT_FOUND : KB_BAD_INPUT,
                       _("the list '%s' cannot be read: %s"), path, kb_strerror(errno));
    CLEANUP(text_free) struct text all = {0};
    char part[65536];
    size_t n;
    while (all.size <= CSV_BYTES && (n = fread(part, 1, sizeof(part), f)) > 0)
        text_add_bytes(&all, part, n);
    bool bad = ferror(f);
    int number = errno;
    if (!input)
        fclose(f);
    if (bad)
        return kb_fail(err, KB_BAD_INPUT, _("the list '%s' cannot be read: %s"), path,
                       kb_strerror(number));
    return csv_parse(ret, all.data ? all.data : "", all.size, path, err);
}

void csv_free(struct csv *c)
{
    free(c->text);
    free(c->cells);
    free(c->rows);
    *c = (struct csv){0};
}
