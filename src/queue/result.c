// What done jobs left: rows of job with a file below results/.
#include "queue/result.h"

#include "queue/internal.h"
#include "store/fate.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHOSEN                                                                                     \
    " FROM job j JOIN batch b ON b.id = j.batch WHERE j.result IS NOT NULL"                        \
    " AND (?1 = 0 OR j.batch = ?1)"                                                                \
    " AND (?2 IS NULL OR j.result_name LIKE ?2 ESCAPE '\\' OR b.name LIKE ?2 ESCAPE '\\'"          \
    "  OR j.name LIKE ?2 ESCAPE '\\' OR b.audio_name LIKE ?2 ESCAPE '\\')"                         \
    " AND (?3 = 0 OR j.ended_ms >= ?3) AND (?4 = 0 OR j.ended_ms < ?4)"
#define TYPES "itii"
#define KEY                                                                                        \
    "CASE ?5 WHEN 'name' THEN lower(j.result_name) WHEN 'size' THEN j.result_size"                 \
    " WHEN 'duration' THEN j.result_ms ELSE j.ended_ms END"
#define PAGE                                                                                       \
    "SELECT j.id" CHOSEN " ORDER BY iif(?6, " KEY ", NULL), iif(?6, j.id, NULL),"                  \
    " iif(?6, NULL, " KEY ") DESC, j.id DESC LIMIT ?7 OFFSET ?8"

#define RESULT_JSON "SELECT json FROM result_json WHERE id = ?"

enum kb_code result_list_json(struct store *s, const struct result_filter *f, struct text *ret,
                              struct kb_error *err)
{
    static const struct store_page sql = {
        .page = PAGE,
        .total = "SELECT count(*)" CHOSEN " AND ?5 IS NOT ?6", // always: it takes the same bindings
        .one = RESULT_JSON,
    };
    CLEANUP(kb_freep) char *like = store_like(f->search);
    struct store_page page = sql;
    page.offset = f->offset;
    page.limit = f->limit;
    return store_page_json(s, &page, ret, err, TYPES "ti", f->batch, like, f->since_ms, f->until_ms,
                           f->sort ? f->sort : "created", (int64_t)f->ascending);
}

enum kb_code result_ids(struct store *s, const struct result_filter *f, int64_t **ret, int *ret_n,
                        struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) char *like = store_like(f->search);
    CLEANUP(kb_freep) int64_t *ids = NULL;
    int n = 0, capacity = 0;
    enum kb_code code =
        store_query(s, &q, err, PAGE, TYPES "tiii", f->batch, like, f->since_ms, f->until_ms,
                    f->sort ? f->sort : "created", (int64_t)f->ascending,
                    f->limit > 0 ? (int64_t)f->limit : -1, (int64_t)0);
    for (; code == KB_OK; code = store_step(s, q, err)) {
        if (n == capacity) {
            capacity = KB_MAX(64, capacity * 2);
            int64_t *grown = reallocarray(ids, (size_t)capacity, sizeof(*ids));
            if (!grown)
                return kb_no_memory(err);
            ids = grown;
        }
        ids[n++] = sqlite3_column_int64(q, 0);
    }
    if (code != KB_EOF)
        return code;
    *ret = TAKE(ids);
    *ret_n = n;
    return KB_OK;
}

static enum kb_code no_result(int64_t job, struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("job %lld has no result (any more)"), (long long)job);
}

enum kb_code result_json(struct store *s, int64_t job, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err, RESULT_JSON, "i", job);
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code == KB_EOF ? no_result(job, err) : code;
}

// "7-1.mp4" below results/ -> "7-1.jpg" there; a new string.
static char *thumb_path(struct store *s, const char *name)
{
    CLEANUP(kb_freep) char *stem = path_stem(name);
    CLEANUP(kb_freep) char *picture = kb_printf("%s.jpg", stem);
    return store_path(s, "results", picture);
}

enum kb_code result_find(struct store *s, int64_t job, struct result *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT j.result, j.result_name, j.result_thumb, j.result_size, j.ended_ms,"
                    " j.result_ms, j.result_width, j.result_height, j.batch, b.name"
                    " FROM job j JOIN batch b ON b.id = j.batch"
                    " WHERE j.id = ? AND j.result IS NOT NULL",
                    "i", job);
    if (code == KB_EOF)
        return no_result(job, err);
    if (code != KB_OK)
        return code;
    const char *file = (const char *)sqlite3_column_text(q, 0);
    struct result r = {
        .job = job,
        .path = store_path(s, "results", file),
        .thumb = sqlite3_column_int(q, 2) ? thumb_path(s, file) : NULL,
        .size_bytes = sqlite3_column_int64(q, 3),
        .created_ms = sqlite3_column_int64(q, 4),
        .duration_ms = sqlite3_column_int64(q, 5),
        .width = sqlite3_column_int(q, 6),
        .height = sqlite3_column_int(q, 7),
        .batch = sqlite3_column_int64(q, 8),
    };
    store_copy_column(r.name, sizeof(r.name), q, 1);
    store_copy_column(r.batch_name, sizeof(r.batch_name), q, 9);
    *ret = r;
    return KB_OK;
}

void result_free(struct result *r)
{
    free(r->path);
    free(r->thumb);
    *r = (struct result){0};
}

static bool remove_file(const char *path)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return true;
    log_warn(_("cannot delete '%s': %s; it stays until the next clean-up"), path,
             kb_strerror(errno));
    return false;
}

void result_unlink(struct store *s, const char *name)
{
    CLEANUP(kb_freep) char *path = store_path(s, "results", name);
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", path);
    CLEANUP(kb_freep) char *thumb = thumb_path(s, name);
    CLEANUP(kb_freep) char *stem = path_stem(name);
    bool gone = remove_file(path);
    gone = remove_file(part) && gone;
    gone = remove_file(thumb) && gone;
    if (gone)
        file_forget(s, "results", stem);
}

static enum kb_code forget(struct store *s, int64_t job, char **ret_file, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err, "SELECT result FROM job WHERE id = ? AND result IS NOT NULL", "i", job);
    if (code == KB_EOF)
        return no_result(job, err);
    if (code != KB_OK)
        return code;
    *ret_file = store_column(q, 0);
    store_reset(&q);
    return store_exec(s, NULL, err, "UPDATE job SET result = NULL, result_thumb = 0 WHERE id = ?",
                      "i", job);
}

enum kb_code result_delete(struct store *s, int64_t job, struct kb_error *err)
{
    CLEANUP(kb_freep) char *file = NULL;
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, forget(s, job, &file, err), err);
    if (code == KB_OK)
        result_unlink(s, file);
    return code;
}
