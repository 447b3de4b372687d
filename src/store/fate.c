#include "store/fate.h"

#include "base/beneath.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// --- one file

// The database is done with it, and a crash came before it was unlinked.
static enum kb_code is_loose(struct store *s, const char *kind, const char *stem, bool *ret,
                             struct kb_error *err)
{
    int64_t n = 0;
    enum kb_code code = store_query_int(
        s, &n, err, "SELECT count(*) FROM loose WHERE kind = ? AND name = ?", "tt", kind, stem);
    *ret = n > 0;
    return code;
}

static bool has_video(struct store *s, const char *film)
{
    CLEANUP(kb_freep) char *path = path_join("results", film);
    return beneath_size(s->folder, path) >= 0;
}

// A running job's attempt writes it.
static enum kb_code is_written(struct store *s, const char *mark, bool *ret, struct kb_error *err)
{
    int64_t n = 0;
    enum kb_code code = store_query_int(
        s, &n, err, "SELECT count(*) FROM job WHERE output = ? AND state IN " JOB_STATES_RUNNING,
        "t", mark);
    *ret = n > 0;
    return code;
}

// Half a file: did this database begin it? Some job's attempt, or what comes before version 3: it
// has the number of its job, whose last attempt is not earlier. Nothing at all in it is a name that
// was taken for an attempt which never began.
static enum kb_code is_begun(struct store *s, const char *path, const struct file_name *name,
                             const char *mark, bool *ret, struct kb_error *err)
{
    int64_t n = 0;
    enum kb_code code = is_loose(s, "halves", mark, ret, err);
    if (code != KB_OK || *ret)
        return code;
    if (beneath_size(s->folder, path) == 0) {
        *ret = true;
        return KB_OK;
    }
    code = store_query_int(s, &n, err,
                           "SELECT (SELECT count(*) FROM job WHERE output = ?3) + count(*) FROM job"
                           " WHERE id = ?1 AND output IS NOT NULL AND (instr(output, '/') OR"
                           " CAST(substr(output, instr(output, '-') + 1) AS INTEGER) >= ?2)",
                           "iit", name->job, name->attempt, mark);
    *ret = n > 0;
    return code;
}

// A whole video that no row names is never ours to remove, however well we know its job: the job
// may be one of a backup that was taken before this was made. What was never whole is of no use.
static enum kb_code film_fate(struct store *s, const char *path, const struct file_name *name,
                              const char *mark, enum fate *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *film = result_of_mark(mark);
    int64_t n = 0;
    bool loose = false, begun = false, written = false;
    bool useless = name->half || (name->picture && !has_video(s, film));
    enum kb_code code =
        store_query_int(s, &n, err, "SELECT count(*) FROM job WHERE result = ?", "t", film);
    if (code == KB_OK)
        code = is_loose(s, "results", mark, &loose, err);
    if (code == KB_OK)
        code = is_written(s, mark, &written, err);
    if (code == KB_OK && useless && !loose)
        code = is_begun(s, path, name, mark, &begun, err);
    if (written || (n > 0 && !name->half))
        *ret = FATE_KEPT;
    else
        *ret = loose || begun ? FATE_LOOSE : FATE_LOST;
    return code;
}

// What lies beside a result and is called like it, but for the ending, somebody made of it.
static enum kb_code is_beside(struct store *s, const struct file_name *name, bool *ret,
                              struct kb_error *err)
{
    CLEANUP(kb_freep) char *film = result_of_mark(name->stem);
    int64_t n = 0;
    for (size_t i = 0; i < N_FILM_ENDINGS && n == 0; i++) {
        CLEANUP(kb_freep) char *other = result_beside(film, film_endings[i]);
        enum kb_code code =
            store_query_int(s, &n, err, "SELECT count(*) FROM job WHERE result = ?", "t", other);
        if (code != KB_OK)
            return code;
    }
    *ret = n > 0;
    return KB_OK;
}

// A picture belongs to the film beside it, whatever that ends in; where none is there, to the one
// that is known to go.
static enum kb_code result_fate(struct store *s, const char *path, const struct file_name *name,
                                enum fate *ret, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    bool beside = false;
    if (!name->picture) {
        code = film_fate(s, path, name, name->stem, ret, err);
        if (code == KB_OK && *ret == FATE_LOST && !name->half)
            code = is_beside(s, name, &beside, err);
        if (beside)
            *ret = FATE_KEPT;
        return code;
    }
    *ret = FATE_LOST;
    for (size_t i = 0; i < N_FILM_ENDINGS && code == KB_OK && *ret != FATE_KEPT; i++) {
        CLEANUP(kb_freep) char *film = kb_printf("%s%s", name->stem, film_endings[i]);
        CLEANUP(kb_freep) char *mark = result_mark(film);
        enum fate one = FATE_LOST;
        code = film_fate(s, path, name, mark, &one, err);
        if (one != FATE_LOST)
            *ret = one;
    }
    return code;
}

static enum kb_code content_fate(struct store *s, const struct file_name *name, enum fate *ret,
                                 struct kb_error *err)
{
    int64_t n = 0;
    bool loose = false;
    enum kb_code code =
        store_query_int(s, &n, err, "SELECT count(*) FROM asset WHERE sha256 = ?", "t", name->stem);
    if (code == KB_OK)
        code = is_loose(s, "files", name->stem, &loose, err);
    if (n > 0)
        *ret = name->half ? FATE_LOOSE : FATE_KEPT;
    else
        *ret = loose ? FATE_LOOSE : FATE_LOST;
    return code;
}

static enum kb_code upload_fate(struct store *s, const struct file_name *name, enum fate *ret,
                                struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    bool loose = false;
    enum kb_code code = is_loose(s, "uploads", name->stem, &loose, err);
    if (code == KB_OK)
        code = store_query(s, &q, err,
                           "SELECT state IN ('uploading', 'fetching', 'making') FROM asset"
                           " WHERE id = ?",
                           "t", name->stem);
    if (code == KB_OK)
        *ret = sqlite3_column_int(q, 0) && !name->half ? FATE_KEPT : FATE_LOOSE;
    else
        *ret = loose ? FATE_LOOSE : FATE_LOST;
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code find_fate(struct store *s, const char *folder, const char *path,
                              const struct file_name *name, enum fate *ret, struct kb_error *err)
{
    *ret = FATE_KEPT;
    if (strcmp(folder, "results") == 0)
        return result_fate(s, path, name, ret, err);
    if (strcmp(folder, "files") == 0 || strcmp(folder, "thumbs") == 0)
        return content_fate(s, name, ret, err);
    if (strcmp(folder, "uploads") == 0)
        return upload_fate(s, name, ret, err);
    // Tracks are a cache of contents, whichever database had them: only half a one is waste.
    *ret = name->half ? FATE_LOOSE : FATE_KEPT;
    return KB_OK;
}

// One state of the database: rows of different tables take turns in naming a file.
enum kb_code file_fate(struct store *s, const char *folder, const char *name,
                       const struct file_name *parsed, enum fate *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, name);
    struct stat st;
    enum kb_code code = store_begin_read(s, err);
    if (code == KB_OK)
        code = store_end(s, find_fate(s, folder, path, parsed, ret, err), err);
    // Who deletes a file forgets it only afterwards: what is forgotten and gone was no stranger.
    if (code == KB_OK && *ret == FATE_LOST && !beneath_stat(s->folder, path, &st))
        *ret = FATE_KEPT;
    return code;
}

bool file_settle(const struct store *s, const char *folder, const char *name)
{
    const char *slash = strchr(name, '/');
    CLEANUP(kb_freep)
    char *shelf = slash ? kb_printf("%s/%.*s", folder, (int)(slash - name), name) : NULL;
    if (shelf && !beneath_sync(s->folder, shelf) && errno != ENOENT) // the last file takes it along
        return false;
    return beneath_sync(s->folder, folder);
}

enum kb_code file_loosen(struct store *s, const char *folder, const char *stem,
                         struct kb_error *err)
{
    return store_exec(s, NULL, err, "INSERT OR IGNORE INTO loose VALUES (?, ?, ?)", "tti", folder,
                      stem, kb_wall_ms());
}

void file_forget(struct store *s, const char *folder, const char *stem)
{
    bool durable = s->durable;
    store_set_durable(s,
                      false); // a row that comes back after a power cut goes at the next clean-up
    store_exec(s, NULL, NULL, "DELETE FROM loose WHERE kind = ? AND name = ?", "tt", folder, stem);
    store_set_durable(s, durable);
}

// --- all files

static enum kb_code cannot_look(const struct store *s, const char *folder, int number,
                                struct kb_error *err)
{
    return kb_fail(err, number == EMFILE || number == ENFILE ? KB_UNAVAILABLE : KB_INTERNAL,
                   _("cannot look into the folder '%s/%s': %s; check the disk and its permissions"),
                   s->folder, folder, beneath_reason(number));
}

// The next one, NULL at the end; *ret_number: 0, or why there is none.
static struct dirent *next_of(DIR *d, int *ret_number)
{
    errno = 0;
    struct dirent *e = readdir(d);
    *ret_number = e ? 0 : errno;
    return e;
}

// below: a folder in it, with its slash, or "".
static enum kb_code each_file(struct store *s, const char *folder, const char *below,
                              folder_fn *each, void *opaque, struct kb_error *err)
{
    size_t n = strlen(below);
    CLEANUP(kb_freep)
    char *path = n ? kb_printf("%s/%.*s", folder, (int)(n - 1), below) : kb_strdup(folder);
    CLEANUP(kb_freep) char *kind = kb_printf("%.*s", (int)strcspn(folder, "/"), folder);
    enum kb_code code = KB_OK;
    DIR *d = beneath_list(s->folder, path);
    int number = errno;
    if (!d)
        return number == ENOENT ? KB_OK : cannot_look(s, path, number, err);
    for (struct dirent *e; code == KB_OK && (e = next_of(d, &number));) {
        struct file_name parsed;
        struct stat st;
        CLEANUP(kb_freep) char *name = kb_printf("%s%s", below, e->d_name);
        if (!file_name_parse(&parsed, kind, name))
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            code = errno == ENOENT ? KB_OK : cannot_look(s, path, errno, err); // gone meanwhile
        else if (S_ISREG(st.st_mode))
            code = each(opaque, folder, name, &parsed, &st, err);
    }
    closedir(d);
    return code == KB_OK && number ? cannot_look(s, path, number, err) : code;
}

// The folders of batches, their names each with a NUL behind it. A link is not one.
static enum kb_code list_shelves(struct store *s, struct text *ret, struct kb_error *err)
{
    DIR *d = beneath_list(s->folder, "results");
    int number = errno;
    if (!d)
        return number == ENOENT ? KB_OK : cannot_look(s, "results", number, err);
    for (struct dirent *e; (e = next_of(d, &number));) {
        struct stat st;
        if (shelf_parse(e->d_name) && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode))
            text_add_bytes(ret, e->d_name, strlen(e->d_name) + 1);
    }
    closedir(d);
    return number ? cannot_look(s, "results", number, err) : KB_OK;
}

enum kb_code folder_for_each(struct store *s, const char *folder, folder_fn *each, void *opaque,
                             struct kb_error *err)
{
    CLEANUP(text_free) struct text shelves = {0};
    enum kb_code code = each_file(s, folder, "", each, opaque, err);
    if (code == KB_OK && strcmp(folder, "results") == 0)
        code = list_shelves(s, &shelves, err);
    for (size_t at = 0; code == KB_OK && at < shelves.size; at += strlen(shelves.data + at) + 1) {
        CLEANUP(kb_freep) char *below = kb_printf("%s/", shelves.data + at);
        code = each_file(s, folder, below, each, opaque, err);
    }
    return code;
}

// --- folders of batches

void shelf_prune(struct store *s, const char *name)
{
    const char *slash = strchr(name, '/');
    CLEANUP(kb_freep) char *shelf = slash ? kb_printf("%.*s", (int)(slash - name), name) : NULL;
    CLEANUP(kb_freep) char *path = shelf ? path_join("results", shelf) : NULL;
    if (shelf && shelf_parse(shelf))
        beneath_rmdir(s->folder, path); // not if something is in it
}

void shelf_prune_all(struct store *s)
{
    CLEANUP(text_free) struct text shelves = {0};
    list_shelves(s, &shelves, NULL);
    for (size_t at = 0; at < shelves.size; at += strlen(shelves.data + at) + 1) {
        CLEANUP(kb_freep) char *path = path_join("results", shelves.data + at);
        beneath_rmdir(s->folder, path);
    }
}
