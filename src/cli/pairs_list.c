// The list of koubo batch --list: a line a pair.
#include "cli/pairs.h"

#include "base/csv.h"
#include "base/file.h"
#include "base/utf8.h"
#include "cli/outputs.h"
#include "queue/options.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum column { COLUMN_AUDIO, COLUMN_VIDEO, COLUMN_OUTPUT, COLUMN_TEXT, COLUMN_VOICE, COLUMN_OPTION };

// What columns are called, whatever the language; the page knows the same (web/src/pairs.ts).
static const struct {
    const char *name;
    enum column column;
} columns[] = {
    {"audio", COLUMN_AUDIO},    {"speech", COLUMN_AUDIO},  {"语音", COLUMN_AUDIO},
    {"音频", COLUMN_AUDIO},     {"video", COLUMN_VIDEO},   {"视频", COLUMN_VIDEO},
    {"output", COLUMN_OUTPUT},  {"result", COLUMN_OUTPUT}, {"输出", COLUMN_OUTPUT},
    {"text", COLUMN_TEXT},      {"文字", COLUMN_TEXT},     {"文本", COLUMN_TEXT},
    {"language", COLUMN_VOICE}, {"voice", COLUMN_VOICE},   {"语言", COLUMN_VOICE},
    {"音色", COLUMN_VOICE},
};

struct list {
    struct pairs *pairs;
    struct csv csv;
    const char *folder; // where outputs go, or NULL
    const char *ending; // of those that name none
    char *base;         // what its paths are relative to
    enum column kinds[CSV_COLUMNS];
    const char *names[CSV_COLUMNS]; // of options
    int n;
};

static void list_free(struct list *l)
{
    csv_free(&l->csv);
    free(l->base);
}

// --- the first line

static bool is_option(const char *name)
{
    json_auto_t *o = json_pack("{s:n}", name);
    CLEANUP(kb_freep) char *json = o ? json_dumps(o, 0) : NULL;
    CLEANUP(batch_options_free) struct batch_options options = {0};
    return json && batch_options_parse(json, &options, NULL) == KB_OK;
}

static enum kb_code read_header(struct list *l, struct kb_error *err)
{
    bool video = false, speech = false;
    if (l->csv.n_rows == 0)
        return kb_fail(err, KB_BAD_INPUT, _("the list is empty"));
    const struct csv_row *row = &l->csv.rows[0];
    l->n = row->n;
    for (int i = 0; i < row->n; i++) {
        l->kinds[i] = COLUMN_OPTION;
        l->names[i] = row->cells[i];
        for (size_t k = 0; k < ARRAY_LEN(columns); k++)
            if (strcasecmp(row->cells[i], columns[k].name) == 0)
                l->kinds[i] = columns[k].column;
        video = video || l->kinds[i] == COLUMN_VIDEO;
        speech = speech || l->kinds[i] == COLUMN_AUDIO || l->kinds[i] == COLUMN_TEXT;
    }
    if (!video || !speech)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the first line of the list must name its columns: video, and audio or "
                         "text (koubo batch --list-template shows one)"));
    for (int i = 0; i < row->n; i++)
        if (l->kinds[i] == COLUMN_OPTION && *l->names[i] && !is_option(l->names[i]))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the list has a column '%.*s', which is neither audio, video, output, "
                             "text or voice nor an option"),
                           utf8_fit(l->names[i], 60), l->names[i]);
    return KB_OK;
}

// --- options

// With those before it in the line, which it may need.
static enum kb_code try_option(const json_t *before, const char *name, json_t *value,
                               struct kb_error *err)
{
    CLEANUP(batch_options_free) struct batch_options options = {0};
    json_auto_t *all = json_copy((json_t *)before);
    if (json_object_set(all, name, value) != 0)
        return kb_no_memory(err);
    CLEANUP(kb_freep) char *json = json_dumps(all, 0);
    return json ? batch_options_parse(json, &options, err) : kb_no_memory(err);
}

// What else than a text a cell may be: a number, true, false or a list; yes and no as people and
// spreadsheets write them. NULL: nothing. The page says the same (web/src/pairs.ts).
static json_t *plain_value(const char *cell)
{
    static const char *const yes[] = {"true", "yes", "是", "对"};
    static const char *const no[] = {"false", "no", "否", "不"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (strcasecmp(cell, yes[i]) == 0 || strcasecmp(cell, no[i]) == 0)
            return json_boolean(strcasecmp(cell, yes[i]) == 0);
    json_t *v = json_loads(cell, JSON_DECODE_ANY, NULL);
    double number = json_real_value(v);
    if (!json_is_real(v) || number != trunc(number) || fabs(number) > INT32_MAX)
        return v;
    json_decref(v); // 720.0 is a whole number
    return json_integer((json_int_t)number);
}

// The option says what it takes: a text, however it looks (a subtitle may be 2026 or no), or a
// value of another kind.
static enum kb_code read_option(json_t *options, const char *name, const char *cell,
                                struct kb_error *err)
{
    json_t *candidates[] = {json_string(cell), plain_value(cell)};
    enum kb_code code = KB_BAD_INPUT;
    struct kb_error why = {0}; // about the text: it says what the option takes
    for (size_t i = 0; i < ARRAY_LEN(candidates) && code != KB_OK; i++) {
        code = candidates[i] ? try_option(options, name, candidates[i], i == 0 ? &why : NULL)
                             : KB_BAD_INPUT;
        if (code == KB_OK)
            json_object_set(options, name, candidates[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(candidates); i++)
        json_decref(candidates[i]);
    if (code != KB_OK)
        *err = why;
    return code;
}

// --- a line

static char *path_from(const char *base, const char *path)
{
    bool here = path[0] == '/' || strcmp(base, ".") == 0;
    return here ? kb_strdup(path) : path_join(base, path);
}

// Once the line's options are known, which say what it ends in.
static enum kb_code end_output(const struct list *l, struct pair *pair, struct kb_error *err)
{
    const char *ending = pair_ending(pair, l->ending);
    if (!pair->output)
        return KB_OK;
    if (!film_name_has_ending(path_name(pair->output))) {
        char *path = kb_printf("%s%s", pair->output, ending);
        free(pair->output);
        pair->output = path;
    }
    return film_name_check(pair->output, ending, err);
}

static enum kb_code check_line(const struct list *l, const struct pair *pair, struct kb_error *err)
{
    if (!pair->video)
        return kb_fail(err, KB_BAD_INPUT, _("it names no video"));
    if (!pair->audio == !pair->text)
        return kb_fail(err, KB_BAD_INPUT,
                       pair->text ? _("it has a speech and a text; give one of them")
                                  : _("it names no speech and has no text"));
    if (!pair->output && !l->folder)
        return kb_fail(err, KB_BAD_INPUT,
                       _("it names no output; give the folder of the results with -o FOLDER"));
    return KB_OK;
}

static enum kb_code read_cell(const struct list *l, struct pair *pair, json_t *options, int i,
                              const char *cell, struct kb_error *err)
{
    char **place = l->kinds[i] == COLUMN_AUDIO    ? &pair->audio
                   : l->kinds[i] == COLUMN_VIDEO  ? &pair->video
                   : l->kinds[i] == COLUMN_OUTPUT ? &pair->output
                   : l->kinds[i] == COLUMN_TEXT   ? &pair->text
                   : l->kinds[i] == COLUMN_VOICE  ? &pair->voice
                                                  : NULL;
    if (!place)
        return *l->names[i] ? read_option(options, l->names[i], cell, err) : KB_OK;
    free(*place); // a column that is there twice
    bool path = l->kinds[i] == COLUMN_AUDIO || l->kinds[i] == COLUMN_VIDEO;
    *place = l->kinds[i] == COLUMN_OUTPUT ? path_from(l->folder ? l->folder : l->base, cell)
             : path                       ? path_from(l->base, cell)
                                          : kb_strdup(cell);
    return KB_OK;
}

static void read_line(const struct list *l, const struct csv_row *row)
{
    struct pair *pair = pairs_add(l->pairs, NULL, NULL);
    json_auto_t *options = json_object();
    enum kb_code code = KB_OK;
    pair->line = row->line;
    pair->base = kb_strdup(l->base);
    if (row->n > l->n)
        code = kb_fail(&pair->why, KB_BAD_INPUT,
                       _("it has %d cells, and the first line names %d; put what holds the "
                         "separator into quotation marks"),
                       row->n, l->n);
    for (int i = 0; code == KB_OK && i < row->n; i++)
        if (*row->cells[i])
            code = read_cell(l, pair, options, i, row->cells[i], &pair->why);
    if (code == KB_OK)
        code = check_line(l, pair, &pair->why);
    if (code == KB_OK && json_object_size(options) > 0)
        pair->options = json_dumps(options, JSON_COMPACT);
    if (code == KB_OK)
        code = end_output(l, pair, &pair->why);
    if (code != KB_OK)
        kb_wrap(&pair->why, _("line %d of the list"), row->line);
}

enum kb_code pairs_from_list(struct pairs *p, const char *path, const char *folder,
                             const char *ending, struct kb_error *err)
{
    bool input = strcmp(path, "-") == 0;
    CLEANUP(list_free)
    struct list l = {.pairs = p,
                     .folder = folder,
                     .ending = ending,
                     .base = input ? kb_strdup(".") : path_folder(path)};
    enum kb_code code = csv_read(&l.csv, path, err);
    if (code == KB_OK)
        code = read_header(&l, err);
    for (int i = 1; code == KB_OK && i < l.csv.n_rows; i++)
        read_line(&l, &l.csv.rows[i]);
    if (code == KB_OK && p->n == 0)
        code = kb_fail(err, KB_BAD_INPUT, _("the list has no line but the one with the names"));
    return code;
}

void pairs_print_template(void)
{
    // With a byte order mark, without which spreadsheets take it for another encoding. The words of
    // columns are those of read_header(), in both languages.
    printf("\xef\xbb\xbf%s,%s,%s,%s,%s,mouth_amount\r\n", _("audio"), _("video"), _("result"),
           _("text"), _("voice"));
    printf("1.wav,1.mp4,%s1.mp4,,,\r\n", _("lesson"));
    printf(",1.mp4,%s2.mp4,\"%s\",%s,1.2\r\n", _("lesson"),
           _("This text is spoken where there is no audio"), _("en"));
}
