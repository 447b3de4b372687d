// What done jobs left: rows of job with a file below results/.
#include "queue/result.h"

#include "queue/internal.h"
#include "store/fate.h"
#include "store/privacy.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

// Where a batch is named its jobs are looked at, else the results in the order that is wanted, by
// an index for each key: a page costs what lies before it. The plus keeps the others from an index
// of the dates. A search looks at all of them, once, in an index that has the texts; the batch is
// looked up only for its name.
#define CHOSEN(from, date)                                                                         \
    " FROM job j" from " j.result IS NOT NULL AND " date " >= ?3 AND " date " < ?4"
#define OF_ALL   " WHERE ?1 = 0 AND ?2 IS NULL AND"
#define OF_BATCH " WHERE j.batch = ?1 AND ?2 IS NULL AND"
#define OF_TEXT                                                                                    \
    " INDEXED BY job_result_text WHERE (?1 = 0 OR j.batch = ?1)"                                   \
    " AND (j.result_name LIKE ?2 ESCAPE '\\' OR j.name LIKE ?2 ESCAPE '\\' OR j.batch IN"          \
    "  (SELECT id FROM batch WHERE name LIKE ?2 ESCAPE '\\' OR audio_name LIKE ?2 ESCAPE '\\'))"   \
    " AND"
#define TYPES "itii"
#define PAGE(from, date, key, down)                                                                \
    "SELECT j.id" CHOSEN(from, date) " ORDER BY " key down ", j.id" down " LIMIT ?5 OFFSET ?6"
#define BOTH(from, date, key)                                                                      \
    {                                                                                              \
        PAGE(from, date, key, " DESC"), PAGE(from, date, key, "")                                  \
    }
#define PAGES(date, key)                                                                           \
    {                                                                                              \
        BOTH(OF_ALL, date, key), BOTH(OF_BATCH, "+j.ended_ms", key),                               \
            BOTH(OF_TEXT, "j.ended_ms", key)                                                       \
    }

static const struct order {
    const char *name;
    const char *pages[3][2]; // of all, of a batch, with a text; the largest first, the smallest
} orders[] = {
    {"created", PAGES("j.ended_ms", "j.ended_ms")},
    {"name", PAGES("+j.ended_ms", "lower(j.result_name)")},
    {"size", PAGES("+j.ended_ms", "j.result_size")},
    {"duration", PAGES("+j.ended_ms", "j.result_ms")},
};

static const char *page_of(const struct result_filter *f)
{
    size_t i = 0;
    while (f->sort && i < ARRAY_LEN(orders) - 1 && strcmp(orders[i].name, f->sort) != 0)
        i++;
    return orders[i].pages[f->search ? 2 : f->batch != 0][f->ascending];
}

static const char *total_of(const struct result_filter *f)
{
    if (f->batch)
        return "SELECT count(*)" CHOSEN(OF_BATCH, "+j.ended_ms");
    if (f->since_ms > 0 || f->until_ms > 0)
        return "SELECT count(*)" CHOSEN(OF_ALL, "j.ended_ms");
    return "SELECT CAST(total(results) AS INTEGER) FROM batch_sum WHERE ?1 = 0 AND ?2 IS NULL"
           " AND ?3 <= ?4";
}

static int64_t until(const struct result_filter *f)
{
    return f->until_ms > 0 ? f->until_ms : INT64_MAX;
}

#define RESULT_JSON "SELECT json FROM result_json WHERE id = ?"

enum kb_code result_ids(struct store *s, const struct result_filter *f, int64_t **ret, int *ret_n,
                        struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) char *like = store_like(f->search);
    CLEANUP(kb_freep) int64_t *ids = NULL;
    int n = 0, capacity = 0;
    enum kb_code code = store_query(s, &q, err, page_of(f), TYPES "ii", f->batch, like, f->since_ms,
                                    until(f), f->limit > 0 ? (int64_t)f->limit : -1, (int64_t)0);
    for (; code == KB_OK; code = store_step(s, q, err)) {
        if (!kb_grow(&ids, n, &capacity, sizeof(*ids)))
            return kb_no_memory(err);
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

// One look at all of them tells the page and how many there are.
static enum kb_code add_found(struct store *s, const struct result_filter *f, struct text *ret,
                              struct kb_error *err)
{
    CLEANUP(kb_freep) int64_t *ids = NULL;
    struct result_filter all = *f;
    int64_t rev = 0;
    int n = 0, first = KB_MAX(f->offset, 0);
    all.limit = 0;
    enum kb_code code = store_query_int(s, &rev, err, "SELECT rev FROM clock", "");
    if (code == KB_OK)
        code = result_ids(s, &all, &ids, &n, err);
    text_addf(ret, "{\"total\":%d,\"rev\":%lld,\"items\":[", n, (long long)rev);
    for (int i = first; code == KB_OK && i < n && i - first < store_limit(f->limit); i++) {
        text_add(ret, i > first ? "," : "");
        code = result_json(s, ids[i], ret, err);
    }
    text_add(ret, "]}");
    return code;
}

enum kb_code result_list_json(struct store *s, const struct result_filter *f, struct text *ret,
                              struct kb_error *err)
{
    if (f->search) {
        enum kb_code code = store_begin_read(s, err);
        return code == KB_OK ? store_end(s, add_found(s, f, ret, err), err) : code;
    }
    const struct store_page page = {
        .page = page_of(f),
        .total = total_of(f),
        .one = RESULT_JSON,
        .offset = f->offset,
        .limit = f->limit,
    };
    return store_page_json(s, &page, ret, err, TYPES, f->batch, NULL, f->since_ms, until(f));
}

// Below the data folder: the picture of a result, whose name is below results/. A new string.
static char *thumb_path(const char *name)
{
    CLEANUP(kb_freep) char *picture = result_beside(name, ".jpg");
    return path_join("results", picture);
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
        .size_bytes = sqlite3_column_int64(q, 3),
        .created_ms = sqlite3_column_int64(q, 4),
        .duration_ms = sqlite3_column_int64(q, 5),
        .width = sqlite3_column_int(q, 6),
        .height = sqlite3_column_int(q, 7),
        .batch = sqlite3_column_int64(q, 8),
    };
    store_copy_column(r.name, sizeof(r.name), q, 1);
    store_copy_column(r.batch_name, sizeof(r.batch_name), q, 9);
    size_t above = strlen(s->folder) + 1;
    r.file = r.path + above;
    if (sqlite3_column_int(q, 2)) {
        CLEANUP(kb_freep) char *picture = thumb_path(file);
        r.thumb = path_join(s->folder, picture);
        r.picture = r.thumb + strlen(r.thumb) - strlen(picture);
    }
    *ret = r;
    return KB_OK;
}

void result_free(struct result *r)
{
    free(r->path);
    free(r->thumb);
    *r = (struct result){0};
}

static bool remove_file(struct store *s, const char *path)
{
    if (beneath_unlink(s->folder, path) || errno == ENOENT)
        return true;
    log_warn(_("cannot delete '%s': %s; it stays until the next clean-up"), path,
             beneath_reason(errno));
    return false;
}

void result_unlink(struct store *s, const char *name)
{
    CLEANUP(kb_freep) char *path = path_join("results", name);
    CLEANUP(kb_freep) char *part = file_part_path(path, 0);
    CLEANUP(kb_freep) char *thumb = thumb_path(name);
    CLEANUP(kb_freep) char *mark = result_mark(name);
    bool gone = remove_file(s, path);
    gone = remove_file(s, part) && gone;
    gone = remove_file(s, thumb) && gone;
    shelf_prune(s, name);
    if (gone && file_settle(s, "results", name)) {
        file_forget(s, "results", mark);
        file_forget(s, "halves", mark);
    }
}

// Has a job that file, as its result or as what its attempt writes? lease: of the attempt that
// asks, whose own file it is; 0: nobody's. What is "loose" may be about to become a result (see
// move_file).
static enum kb_code is_anothers(struct store *s, const char *name, int64_t lease, bool *ret,
                                struct kb_error *err)
{
    CLEANUP(kb_freep) char *mark = result_mark(name);
    int64_t n = 0;
    enum kb_code code = store_query_int(
        s, &n, err,
        "SELECT (SELECT count(*) FROM job WHERE result = ?1) + (SELECT count(*) FROM job"
        " WHERE output = ?2 AND lease IS NOT ?3 AND state IN " JOB_STATES_RUNNING ") +"
        " (SELECT count(*) FROM loose WHERE ?3 AND kind = 'results' AND name = ?2)",
        "tti", name, mark, lease);
    *ret = n > 0;
    return code;
}

static enum kb_code release(struct store *s, const char *name, int64_t lease, struct kb_error *err)
{
    bool anothers = true;
    enum kb_code code = is_anothers(s, name, lease, &anothers, err);
    if (code == KB_OK && !anothers)
        result_unlink(s, name);
    return code;
}

void result_release(struct store *s, const char *name, int64_t lease)
{
    bool durable = s->durable;
    store_set_durable(s, false); // only what is loose is written, see file_forget
    if (store_begin(s, NULL) == KB_OK)
        store_end(s, release(s, name, lease, NULL), NULL);
    store_set_durable(s, durable);
}

// --- names

// Is there a film of that name, whatever it ends in?
static bool is_there(const struct store *s, const char *path)
{
    struct stat st;
    for (size_t i = 0; i < N_FILM_ENDINGS; i++) {
        CLEANUP(kb_freep) char *one = result_beside(path, film_endings[i]);
        if (beneath_stat(s->folder, one, &st))
            return true;
    }
    return false;
}

// False: another one has the name. Where no file can be made the writer will say why.
static bool begin_file(struct store *s, const char *shelf, const char *path)
{
    CLEANUP(kb_freep) char *part = file_part_path(path, 0);
    CLEANUP(kb_freep) char *folder = path_join("results", shelf);
    if (is_there(s, path))
        return false;
    int fd = -1;
    for (int i = 0; i < 10 && fd < 0; i++) { // whoever removes the last file takes the folder along
        privacy_make_folder(s->folder, folder);
        fd = beneath_open(s->folder, part, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (fd < 0 && errno != ENOENT)
            break;
    }
    if (fd < 0)
        return errno != EEXIST;
    close(fd);
    return true;
}

// Has another job that name, in small or capital letters, whatever it ends in? Only rows of its
// folder are read.
static enum kb_code is_named(struct store *s, const char *shelf, const char *name, int64_t job,
                             bool *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *from = kb_printf("%s/", shelf);
    CLEANUP(kb_freep) char *to = kb_printf("%s0", shelf); // "0" comes behind "/"
    *ret = false;
    for (size_t i = 0; i < N_FILM_ENDINGS && !*ret; i++) {
        CLEANUP(kb_freep) char *one = result_beside(name, film_endings[i]);
        CLEANUP(kb_freep) char *mark = result_mark(one);
        int64_t n = 0;
        enum kb_code code = store_query_int(
            s, &n, err,
            "SELECT (SELECT count(*) FROM job WHERE result >= ?1 AND result < ?2"
            " AND lower(result) = lower(?3) AND id <> ?5) + (SELECT count(*) FROM job WHERE"
            " output >= ?1 AND output < ?2 AND lower(output) = lower(?4) AND id <> ?5"
            " AND state IN " JOB_STATES_RUNNING ")",
            "tttti", from, to, one, mark, job);
        if (code != KB_OK)
            return code;
        *ret = n > 0;
    }
    return KB_OK;
}

// A file of that name may lie there: of an attempt that a newer state of this database knew, before
// an older backup was put back. It is not overwritten; nor is a name taken whose file somebody else
// removed, and which a row still has.
enum kb_code result_take_name(struct store *s, const char *shelf, const char *stem,
                              const char *ending, int64_t job, char **ret, struct kb_error *err)
{
    for (int i = 1;; i++) {
        CLEANUP(kb_freep)
        char *name = i == 1 ? kb_printf("%s/%s%s", shelf, stem, ending)
                            : kb_printf("%s/%s-%d%s", shelf, stem, i, ending);
        CLEANUP(kb_freep) char *path = path_join("results", name);
        bool named = false;
        enum kb_code code = is_named(s, shelf, name, job, &named, err);
        if (code != KB_OK)
            return code;
        if (named || !begin_file(s, shelf, path))
            continue;
        *ret = TAKE(name);
        return KB_OK;
    }
}

struct renaming {
    char *old, *shelf, *stem; // the present file; where it goes, and how it is wanted
    char *name;               // taken for it
    bool thumb;
};

static void renaming_free(struct renaming *r)
{
    free(r->old);
    free(r->shelf);
    free(r->stem);
    free(r->name);
}

char *result_bare_name(const char *name, const char *ending)
{
    const char *const endings[] = {ending, ".mp4"};
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        size_t length = strlen(endings[i]);
        if (n >= length && strcasecmp(name + n - length, endings[i]) == 0)
            return kb_printf("%.*s", (int)(n - length), name);
    }
    return kb_strdup(name);
}

// What the user typed, as the stem of a file.
static enum kb_code wanted_stem(const char *name, const char *ending, char **ret,
                                struct kb_error *err)
{
    CLEANUP(kb_freep) char *typed = result_bare_name(name, ending);
    if (typed[strspn(typed, " ./\\")] == '\0')
        return kb_fail(err, KB_BAD_INPUT, _("a result needs a name"));
    *ret = path_safe_name(typed, SHELF_STEM);
    return KB_OK;
}

// Results of an older koubo lie in no folder yet; they move into that of their batch.
static enum kb_code find_renamed(struct store *s, int64_t job, struct renaming *r,
                                 struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT j.result, j.result_thumb, b.folder, b.id, b.name FROM job j"
                    " JOIN batch b ON b.id = j.batch WHERE j.id = ? AND j.result IS NOT NULL",
                    "i", job);
    if (code != KB_OK)
        return code == KB_EOF ? no_result(job, err) : code;
    r->old = store_column(q, 0);
    r->thumb = sqlite3_column_int(q, 1);
    const char *slash = strchr(r->old, '/');
    if (slash)
        r->shelf = kb_printf("%.*s", (int)(slash - r->old), r->old);
    else if (sqlite3_column_type(q, 2) != SQLITE_NULL)
        r->shelf = store_column(q, 2);
    else
        r->shelf = shelf_name(sqlite3_column_int64(q, 3), (const char *)sqlite3_column_text(q, 4));
    return KB_OK;
}

static bool link_beside(struct store *s, const struct renaming *r, const char *tail)
{
    CLEANUP(kb_freep) char *old = result_beside(r->old, tail);
    CLEANUP(kb_freep) char *new = result_beside(r->name, tail);
    CLEANUP(kb_freep) char *old_path = path_join("results", old);
    CLEANUP(kb_freep) char *new_path = path_join("results", new);
    return beneath_link(s->folder, old_path, new_path);
}

// The row follows its file, if it is still that one. file: NULL if that keeps its name.
static enum kb_code put_name(struct store *s, int64_t job, const struct renaming *r,
                             const char *file, bool thumb, struct kb_error *err)
{
    int changes = 0;
    enum kb_code code = store_exec(
        s, &changes, err,
        "UPDATE job SET result = coalesce(?3, result), result_thumb = ?4, result_name = ?5"
        " WHERE id = ?1 AND result = ?2",
        "ittit", job, r->old, file, (int64_t)thumb, path_name(r->name));
    return code == KB_OK && changes == 0 ? no_result(job, err) : code;
}

// Under the write lock: a clean-up sees the new name with its row, or not at all.
static enum kb_code move_locked(struct store *s, int64_t job, const struct renaming *r,
                                const char *mark, bool *ret_moved, struct kb_error *err)
{
    *ret_moved = link_beside(s, r, film_ending(r->old));
    if (!*ret_moved && errno == ENOENT)
        return kb_fail(err, KB_NOT_FOUND, _("the file of this result is gone"));
    bool thumb = *ret_moved ? r->thumb && link_beside(s, r, ".jpg") : r->thumb;
    if (*ret_moved && !file_settle(s, "results", r->name))
        return kb_fail(err, KB_INTERNAL, _("the disk of '%s' reports an error: %s; check the disk"),
                       s->folder, kb_strerror(errno));
    // On a disk where no file has two names it keeps the one it has.
    enum kb_code code = put_name(s, job, r, *ret_moved ? r->name : NULL, thumb, err);
    if (code == KB_OK)
        file_forget(s, "results", mark);
    return code;
}

// The file gets the new name beside the old one, then the row says so, then the old name goes. The
// database knows the new one as its own before it is there: a crash at any moment leaves one file.
static enum kb_code move_file(struct store *s, int64_t job, const struct renaming *r,
                              const char *mark, struct kb_error *err)
{
    bool moved = false;
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, move_locked(s, job, r, mark, &moved, err), err);
    if (code == KB_OK && moved)
        result_release(s, r->old, 0);
    return code;
}

static enum kb_code take_new_name(struct store *s, int64_t job, struct renaming *r, char **ret_mark,
                                  struct kb_error *err)
{
    enum kb_code code =
        result_take_name(s, r->shelf, r->stem, film_ending(r->old), job, &r->name, err);
    if (code != KB_OK)
        return code;
    *ret_mark = result_mark(r->name);
    return file_loosen(s, "results", *ret_mark, err);
}

enum kb_code result_rename(struct store *s, int64_t job, const char *name, struct kb_error *err)
{
    CLEANUP(renaming_free) struct renaming r = {0};
    CLEANUP(kb_freep) char *mark = NULL;
    enum kb_code code = find_renamed(s, job, &r, err);
    if (code == KB_OK)
        code = wanted_stem(name, film_ending(r.old), &r.stem, err);
    CLEANUP(kb_freep)
    char *same = code == KB_OK ? kb_printf("%s/%s%s", r.shelf, r.stem, film_ending(r.old)) : NULL;
    if (code != KB_OK || strcmp(same, r.old) == 0)
        return code;
    code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, take_new_name(s, job, &r, &mark, err), err);
    if (code == KB_OK)
        code = move_file(s, job, &r, mark, err);
    if (code != KB_OK && r.name)
        result_release(s, r.name, 0);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *part = file_part_path(r.name, 0);
    CLEANUP(kb_freep) char *path = path_join("results", part);
    beneath_unlink(s->folder, path);
    shelf_prune(s, r.name);
    return code;
}

// --- deleting

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
        result_release(s, file, 0);
    return code;
}
