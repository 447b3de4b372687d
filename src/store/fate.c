#include "store/fate.h"

#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

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

static bool has_video(struct store *s, const char *stem)
{
    CLEANUP(kb_freep) char *name = kb_printf("%s.mp4", stem);
    CLEANUP(kb_freep) char *path = store_path(s, "results", name);
    return file_exists(path);
}

// The job of the file's number. Its latest attempt, 0: there is no such job.
static enum kb_code result_job(struct store *s, const struct file_name *name, bool *ret_running,
                               int *ret_attempt, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    *ret_running = false;
    *ret_attempt = 0;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT state IN " JOB_STATES_RUNNING " AND output = ?2,"
                                    " CAST(substr(output, instr(output, '-') + 1) AS INTEGER)"
                                    " FROM job WHERE id = ?1",
                                    "it", name->job, name->stem);
    if (code == KB_OK) {
        *ret_running = sqlite3_column_int(q, 0);
        *ret_attempt = sqlite3_column_int(q, 1);
    }
    return code == KB_EOF ? KB_OK : code;
}

// A whole video that no row names is never ours to remove, however well we know its job: the job
// may be one of a backup that was taken before this was made. What was never whole is of no use.
static enum kb_code result_fate(struct store *s, const struct file_name *name, enum fate *ret,
                                struct kb_error *err)
{
    CLEANUP(kb_freep) char *video = kb_printf("%s.mp4", name->stem);
    int64_t n = 0;
    bool loose = false, running = false;
    int attempt = 0;
    enum kb_code code =
        store_query_int(s, &n, err, "SELECT count(*) FROM job WHERE result = ?", "t", video);
    if (code == KB_OK)
        code = is_loose(s, "results", name->stem, &loose, err);
    if (code == KB_OK)
        code = result_job(s, name, &running, &attempt, err);
    bool ours = loose || name->attempt <= attempt;
    if (running || (n > 0 && !name->half))
        *ret = FATE_KEPT;
    else if (name->half || (name->picture && !has_video(s, name->stem)))
        *ret = ours ? FATE_LOOSE : FATE_LOST;
    else
        *ret = loose ? FATE_LOOSE : FATE_LOST;
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

static enum kb_code find_fate(struct store *s, const char *folder, const struct file_name *name,
                              enum fate *ret, struct kb_error *err)
{
    *ret = FATE_KEPT;
    if (strcmp(folder, "results") == 0)
        return result_fate(s, name, ret, err);
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
    CLEANUP(kb_freep) char *path = store_path(s, folder, name);
    struct stat st;
    enum kb_code code = store_begin_read(s, err);
    if (code == KB_OK)
        code = store_end(s, find_fate(s, folder, parsed, ret, err), err);
    // Who deletes a file forgets it only afterwards: what is forgotten and gone was no stranger.
    if (code == KB_OK && *ret == FATE_LOST && lstat(path, &st) != 0)
        *ret = FATE_KEPT;
    return code;
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

enum kb_code folder_for_each(struct store *s, const char *folder, folder_fn *each, void *opaque,
                             struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(s->folder, folder);
    CLEANUP(kb_freep) char *kind = kb_printf("%.*s", (int)strcspn(folder, "/"), folder);
    enum kb_code code = KB_OK;
    DIR *d = opendir(path);
    if (!d)
        return KB_OK;
    for (struct dirent *e; code == KB_OK && (e = readdir(d));) {
        struct file_name parsed;
        struct stat st;
        if (file_name_parse(&parsed, kind, e->d_name) &&
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            code = each(opaque, folder, e->d_name, &parsed, &st, err);
    }
    closedir(d);
    return code;
}
