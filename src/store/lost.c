#include "store/lost.h"

#include "store/fate.h"

#include <string.h>
#include <sys/stat.h>

#define SETTING "lost"

void lost_count(struct lost *l, const char *folder, const struct file_name *name, int64_t size)
{
    if (strcmp(folder, "results") == 0 && !name->half && !name->picture)
        l->n_results++;
    else
        l->n_others++;
    l->bytes += size;
}

struct survey {
    struct store *s;
    struct lost lost;
    int64_t highest_job, highest_batch;
};

static enum kb_code survey_file(void *opaque, const char *folder, const char *name,
                                const struct file_name *parsed, const struct stat *st,
                                struct kb_error *err)
{
    struct survey *v = opaque;
    enum fate fate;
    v->highest_job = KB_MAX(v->highest_job, parsed->job);
    v->highest_batch = KB_MAX(v->highest_batch, parsed->batch);
    enum kb_code code = file_fate(v->s, folder, name, parsed, &fate, err);
    if (code == KB_OK && fate == FATE_LOST && !parsed->foreign)
        lost_count(&v->lost, folder, parsed, st->st_size);
    return code;
}

// AUTOINCREMENT takes the next number of a table from here; there is no row before the first one.
static enum kb_code lift_numbers(struct store *s, const char *table, int64_t highest,
                                 struct kb_error *err)
{
    int64_t last = 0, present = 0;
    enum kb_code code = store_query_int(
        s, &last, err, "SELECT coalesce(max(seq), -1) FROM sqlite_sequence WHERE name = ?", "t",
        table);
    if (code != KB_OK || highest <= last || highest == 0)
        return code;
    code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = store_query_int(s, &present, err, "SELECT count(*) FROM sqlite_sequence WHERE name = ?",
                           "t", table);
    if (code == KB_OK && present)
        code =
            store_exec(s, NULL, err, "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?",
                       "it", highest, table);
    else if (code == KB_OK)
        code = store_exec(s, NULL, err, "INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)",
                          "ti", table, highest);
    return store_end(s, code, err);
}

static const char *const folders[] = {"results", "files", "thumbs", "uploads"};

static enum kb_code count_file(void *opaque, const char *folder, const char *name,
                               const struct file_name *parsed, const struct stat *st,
                               struct kb_error *err)
{
    if (!parsed->foreign && st->st_size > 0)
        lost_count(opaque, folder, parsed, st->st_size);
    return KB_OK;
}

enum kb_code folder_count(const char *folder, struct lost *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *copy = kb_strdup(folder);
    struct store bare = {.folder = copy}; // to walk the folder nothing else is needed
    enum kb_code code = KB_OK;
    *ret = (struct lost){0};
    for (size_t i = 0; code == KB_OK && i < ARRAY_LEN(folders); i++)
        code = folder_for_each(&bare, folders[i], count_file, ret, err);
    return code;
}

enum kb_code lost_survey(struct store *s, struct lost *ret, struct kb_error *err)
{
    struct survey v = {.s = s};
    enum kb_code code = KB_OK;
    for (size_t i = 0; code == KB_OK && i < ARRAY_LEN(folders); i++)
        code = folder_for_each(s, folders[i], survey_file, &v, err);
    if (code == KB_OK)
        code = lift_numbers(s, "job", v.highest_job, err);
    if (code == KB_OK)
        code = lift_numbers(s, "batch", v.highest_batch, err);
    if (code == KB_OK)
        code = lost_remember(s, &v.lost, err);
    if (code == KB_OK)
        *ret = v.lost;
    return code;
}

// --- the numbers

enum kb_code lost_remembered(struct store *s, struct lost *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT json_extract(json, '$.results'), json_extract(json,"
                                    " '$.others'), json_extract(json, '$.bytes') FROM setting"
                                    " WHERE name = '" SETTING "' AND json_valid(json)",
                                    "");
    if (code != KB_OK && code != KB_EOF)
        return code;
    *ret = (struct lost){0};
    if (code == KB_OK) {
        ret->n_results = sqlite3_column_int(q, 0);
        ret->n_others = sqlite3_column_int(q, 1);
        ret->bytes = sqlite3_column_int64(q, 2);
    }
    return KB_OK;
}

// Only a change is written: every write wakes whoever waits for one.
enum kb_code lost_remember(struct store *s, const struct lost *l, struct kb_error *err)
{
    struct lost old = {0};
    enum kb_code code = lost_remembered(s, &old, err);
    if (code != KB_OK ||
        (old.n_results == l->n_results && old.n_others == l->n_others && old.bytes == l->bytes))
        return code;
    CLEANUP(kb_freep)
    char *json = kb_printf("{\"results\":%d,\"others\":%d,\"bytes\":%lld}", l->n_results,
                           l->n_others, (long long)l->bytes);
    return setting_put(s, SETTING, json, err);
}
