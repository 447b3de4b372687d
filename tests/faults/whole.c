// Is a data folder whole?
#include "tests/faults/world.h"

#include "tests/asset/assets.h"

#include "asset/asset.h"
#include "queue/retention.h"
#include "queue/sweep.h"
#include "store/backup.h"
#include "store/fate.h"
#include "store/lock.h"

#include <ftw.h>
#include <time.h>

struct look {
    struct store *s;
    bool settled;
    char *why; // "" while all is well
};

static void broken(struct look *l, const char *fmt, ...) KB_PRINTF(2, 3);
static void broken(struct look *l, const char *fmt, ...)
{
    if (l->why[0])
        return; // the first one tells most
    va_list args;
    va_start(args, fmt);
    vsnprintf(l->why, WORLD_WHY, fmt, args);
    va_end(args);
}

// --- files

// An mp4 is boxes from its first byte to its last, and one of them is the index.
static bool is_whole_film(const struct file_map *m)
{
    bool index = false;
    size_t at = 0;
    while (at + 8 <= m->size) {
        size_t size = ((size_t)m->data[at] << 24) | ((size_t)m->data[at + 1] << 16) |
                      ((size_t)m->data[at + 2] << 8) | m->data[at + 3];
        index = index || memcmp(m->data + at + 4, "moov", 4) == 0;
        if (size < 8 || size > m->size - at)
            return false;
        at += size;
    }
    return index && at == m->size;
}

static bool is_whole_picture(const struct file_map *m)
{
    return m->size > 4 && m->data[0] == 0xff && m->data[1] == 0xd8 &&
           m->data[m->size - 2] == 0xff && m->data[m->size - 1] == 0xd9;
}

static bool has_hash(const struct file_map *m, const char *sha256)
{
    char found[65];
    sha256_hex(found, m->data, m->size);
    return strcmp(found, sha256) == 0;
}

// A file under a whole one's name must be whole; what has none of koubo's names is none of its own.
static enum kb_code look_at_file(void *opaque, const char *folder, const char *name,
                                 const struct file_name *parsed, const struct stat *st,
                                 struct kb_error *err)
{
    struct look *l = opaque;
    enum fate fate = FATE_KEPT;
    CLEANUP(kb_freep) char *path = store_path(l->s, folder, name);
    (void)st;
    CLEANUP(file_unmap) struct file_map m = {0};
    bool half = parsed->half || strcmp(folder, "uploads") == 0;
    file_map(&m, path, err); // an empty one stays empty
    if (!half && strcmp(folder, "files") == 0 && !has_hash(&m, parsed->stem))
        broken(l, "%s/%s has %zu bytes and not the hash it is named after", folder, name, m.size);
    if (!half && strcmp(folder, "results") == 0 && !parsed->picture && !is_whole_film(&m))
        broken(l, "%s/%s is no whole film (%zu bytes)", folder, name, m.size);
    if (!half && (parsed->picture || strcmp(folder, "thumbs") == 0) && !is_whole_picture(&m))
        broken(l, "%s/%s is no whole picture (%zu bytes)", folder, name, m.size);
    enum kb_code code = file_fate(l->s, folder, name, parsed, &fate, err);
    if (code == KB_OK && fate == FATE_LOST)
        broken(l, "%s/%s is a stranger: no row names or named it", folder, name);
    if (code == KB_OK && l->settled && fate != FATE_KEPT)
        broken(l, "%s/%s is left over after the clean-up", folder, name);
    return code;
}

static char *walked_folder;
static struct look *walking;

static int look_at_name(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)at;
    const char *name = path + strlen(walked_folder);
    name += *name == '/';
    const char *slash = strchr(name, '/');
    if (type == FTW_D || !slash)
        return 0; // the database and what SQLite has beside it
    CLEANUP(kb_freep) char *folder = kb_printf("%.*s", (int)(slash - name), name);
    const char *below = slash + 1;
    if (strcmp(folder, "work") == 0)
        below = path_name(name);
    if (strcmp(folder, "logs") != 0 && strcmp(folder, "backups") != 0 &&
        !file_name_parse(NULL, folder, below))
        broken(walking, "%s: no clean-up knows a file of that name", name);
    return 0;
}

// --- rows

// Every content that a row has lies there, but for what machines sent for attempts that are over:
// its row goes last.
static void look_at_assets(struct look *l, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(l->s, &q, err,
                                    "SELECT id, sha256, size, thumbnail FROM asset"
                                    " WHERE sha256 IS NOT NULL AND (job IS NULL OR id IN"
                                    "  (SELECT asset FROM remote))",
                                    "");
    for (; code == KB_OK; code = store_step(l->s, q, err)) {
        const char *id = (const char *)sqlite3_column_text(q, 0);
        CLEANUP(kb_freep) char *path = asset_path(l->s, (const char *)sqlite3_column_text(q, 1));
        CLEANUP(kb_freep)
        char *thumb = kb_printf("%s/thumbs/%s.jpg", l->s->folder, sqlite3_column_text(q, 1));
        struct stat st;
        if (stat(path, &st) != 0 || st.st_size != sqlite3_column_int64(q, 2))
            broken(l, "asset %s has a row and no content", id);
        if (sqlite3_column_int(q, 3) && !file_exists(thumb))
            broken(l, "asset %s has a row and no picture", id);
    }
    if (code != KB_EOF)
        broken(l, "assets: %s", err->text);
}

static void look_at_jobs(struct look *l, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(l->s, &q, err,
                                    "SELECT id, result, result_size, result_thumb FROM job"
                                    " WHERE result IS NOT NULL",
                                    "");
    for (; code == KB_OK; code = store_step(l->s, q, err)) {
        const char *name = (const char *)sqlite3_column_text(q, 1);
        CLEANUP(kb_freep) char *path = store_path(l->s, "results", name);
        CLEANUP(kb_freep) char *beside = result_beside(name, ".jpg");
        CLEANUP(kb_freep) char *thumb = store_path(l->s, "results", beside);
        struct stat st;
        if (stat(path, &st) != 0 || st.st_size != sqlite3_column_int64(q, 2))
            broken(l, "job %lld has a row and no result", sqlite3_column_int64(q, 0));
        if (sqlite3_column_int(q, 3) && !file_exists(thumb))
            broken(l, "job %lld has a row and no picture", sqlite3_column_int64(q, 0));
    }
    if (code != KB_EOF)
        broken(l, "jobs: %s", err->text);
}

// A name of a backup is that of a whole one.
static void look_at_backups(struct look *l)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    struct kb_error err = {0};
    int n = 0;
    if (backup_list(l->s->folder, &list, &n, &err) != KB_OK)
        broken(l, "backups: %s", err.text);
    for (int i = 0; i < n; i++) {
        CLEANUP(kb_freep) char *path = kb_printf("%s/backups/%s", l->s->folder, list[i].name);
        CLEANUP(kb_freep) char *uri = kb_printf("file:%s?mode=ro", path);
        sqlite3 *db = NULL;
        sqlite3_stmt *q = NULL;
        if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) != SQLITE_OK ||
            sqlite3_prepare_v2(db, "PRAGMA quick_check", -1, &q, NULL) != SQLITE_OK ||
            sqlite3_step(q) != SQLITE_ROW ||
            strcmp((const char *)sqlite3_column_text(q, 0), "ok") != 0)
            broken(l, "the backup %s is not whole", list[i].name);
        sqlite3_finalize(q);
        sqlite3_close(db);
    }
}

static void look_at_database(struct look *l)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(l->s->db, "PRAGMA integrity_check", -1, &q, NULL) != SQLITE_OK ||
        sqlite3_step(q) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(q, 0), "ok") != 0)
        broken(l, "integrity_check: %s", q ? (const char *)sqlite3_column_text(q, 0) : "failed");
    sqlite3_finalize(q);
    if (sqlite3_prepare_v2(l->s->db, "PRAGMA foreign_key_check", -1, &q, NULL) != SQLITE_OK ||
        sqlite3_step(q) != SQLITE_DONE)
        broken(l, "a job has no batch");
    sqlite3_finalize(q);
}

bool world_is_whole(struct store *s, bool settled, char why[WORLD_WHY])
{
    static const char *const kinds[] = {"results", "files", "thumbs", "uploads", "tracks"};
    struct kb_error err = {0};
    struct look l = {.s = s, .settled = settled, .why = why};
    why[0] = '\0';
    look_at_database(&l);
    look_at_assets(&l, &err);
    look_at_jobs(&l, &err);
    look_at_backups(&l);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (folder_for_each(s, kinds[i], look_at_file, &l, &err) != KB_OK)
            broken(&l, "%s: %s", kinds[i], err.text);
    walked_folder = s->folder;
    walking = &l;
    nftw(s->folder, look_at_name, 16, FTW_PHYS);
    return why[0] == '\0';
}

// --- what comes after a crash

enum kb_code world_open(struct store **ret, const char *folder, struct kb_error *err)
{
    int lock = -1;
    enum kb_code code = folder_lock(&lock, folder, err);
    if (code == KB_OK)
        code = store_open(ret, folder, true, err);
    folder_unlock(lock);
    return code;
}

static int make_old(const char *path, const struct stat *st, int type, struct FTW *at)
{
    const struct timespec hour_ago[2] = {{.tv_sec = time(NULL) - 3600},
                                         {.tv_sec = time(NULL) - 3600}};
    (void)st, (void)at;
    if (type == FTW_F && strstr(path, "/koubo.db") == NULL)
        utimensat(AT_FDCWD, path, hour_ago, 0);
    return 0;
}

bool world_settle(struct store *s, char why[WORLD_WHY])
{
    struct kb_error err = {0};
    const struct retention_params keep_all = {0};
    struct retention_report report;
    enum kb_code code = sweep_worker_lost(s, "w1", "the worker is gone", false, &err);
    if (code == KB_OK)
        code = sweep_run(s, &(struct sweep_params){0}, &err);
    if (code == KB_OK)
        code = asset_sweep(s, &err);
    // Ten minutes later.
    nftw(s->folder, make_old, 16, FTW_PHYS);
    if (code == KB_OK)
        code = store_exec(s, NULL, &err, "UPDATE job SET not_before_ms = 0", "");
    if (code == KB_OK)
        code = store_exec(s, NULL, &err, "UPDATE loose SET since_ms = 1", "");
    if (code == KB_OK)
        code = retention_run(s, &keep_all, NULL, NULL, &report, &err);
    if (code != KB_OK)
        snprintf(why, WORLD_WHY, "the clean-up failed: %s", err.text);
    return code == KB_OK;
}

int64_t world_ask(struct store *s, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}
