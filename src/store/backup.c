#include "store/backup.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/uri.h"
#include "store/internal.h"
#include "store/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define PIECE_PAGES  256 // 1 MB between two looks at the cancel flag
#define BUSY_MS      5000
#define SPARE_BYTES  (16LL << 20) // that a backup leaves free besides
#define KEEP_DAILY   7
#define KEEP_SCHEMAS 3
#define PART         "backup.part" // one is made at a time
#define DATE_LENGTH  17            // "2026-11-27_180501"
#define DAY_MS       (24LL * 3600 * 1000)

// --- names

static bool is_date(const char *name)
{
    static const char form[] = "dddd-dd-dd_dddddd";
    for (size_t i = 0; i < DATE_LENGTH; i++)
        if (form[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != form[i])
            return false;
    return true;
}

// "2026-11-27_180501_daily.db" or "…_daily-2.db"; whatever else lies there is not ours.
static bool parse(const char *name, char why[16])
{
    size_t n = strlen(name);
    if (n >= BACKUP_NAME || n < DATE_LENGTH + 2 || !is_date(name) || name[DATE_LENGTH] != '_' ||
        !text_ends(name, ".db"))
        return false;
    const char *kind = name + DATE_LENGTH + 1;
    size_t length = strspn(kind, "abcdefghijklmnopqrstuvwxyz0123456789");
    const char *tail = kind + length;
    if (*tail == '-')
        tail += 1 + strspn(tail + 1, "0123456789");
    snprintf(why, 16, "%.*s", (int)KB_MIN(length, 15), kind);
    return strcmp(tail, ".db") == 0 && (strcmp(why, "daily") == 0 || strcmp(why, "replaced") == 0 ||
                                        text_begins(why, "schema"));
}

static void date_of(char ret[DATE_LENGTH + 1], int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm t = {0};
    snprintf(ret, DATE_LENGTH + 1, "0000-00-00_000000");
    if (localtime_r(&seconds, &t))
        strftime(ret, DATE_LENGTH + 1, "%Y-%m-%d_%H%M%S", &t);
}

// When it was made, by its name: a file that was copied back has the time of that, and a file
// server may have a clock of its own.
static int64_t time_of(const char *name)
{
    struct tm t = {.tm_isdst = -1};
    if (sscanf(name, "%4d-%2d-%2d_%2d%2d%2d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour,
               &t.tm_min, &t.tm_sec) != 6)
        return 0;
    t.tm_year -= 1900;
    t.tm_mon--;
    return (int64_t)mktime(&t) * 1000;
}

// Made while the clock was wrong, for names are local time and zones are less than a day apart.
static bool is_of_future(const char *name)
{
    char limit[DATE_LENGTH + 1];
    date_of(limit, kb_wall_ms() + DAY_MS);
    return strncmp(name, limit, DATE_LENGTH) > 0;
}

char *backup_name(const char *folder, const char *why, int64_t time_ms)
{
    CLEANUP(kb_freep) char *backups = path_join(folder, BACKUP_FOLDER);
    char date[DATE_LENGTH + 1];
    date_of(date, time_ms);
    for (int i = 1;; i++) {
        char number[16] = "";
        struct stat st;
        if (i > 1)
            snprintf(number, sizeof(number), "-%d", i);
        CLEANUP(kb_freep) char *name = kb_printf("%s_%s%s.db", date, why, number);
        CLEANUP(kb_freep) char *path = path_join(backups, name);
        if (lstat(path, &st) != 0)
            return TAKE(name);
    }
}

// What root makes in a user's folder (sudo koubo restore) is the user's, whose server shall read
// it.
static void give_to_owner(const char *path)
{
    CLEANUP(kb_freep) char *folder = path_folder(path);
    struct stat st;
    if (geteuid() == 0 && stat(folder, &st) == 0 && st.st_uid != 0 &&
        lchown(path, st.st_uid, st.st_gid) != 0)
        errno = 0; // then it is root's, and whoever cannot open it says so
}

enum kb_code backup_make_folder(const char *folder, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, BACKUP_FOLDER);
    if (beneath_make_dirs(folder, BACKUP_FOLDER, 0700)) {
        give_to_owner(path);
        return KB_OK;
    }
    return kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                   _("cannot create the folder '%s': %s; check the disk and the permissions of the "
                     "folder above it"),
                   path, beneath_reason(errno));
}

// --- a copy

struct copy {
    sqlite3 *from, *to;
    sqlite3_backup *backup;
};

static void copy_close(struct copy *c)
{
    if (c->backup)
        sqlite3_backup_finish(c->backup);
    sqlite3_close(c->from);
    sqlite3_close(c->to);
}

static enum kb_code damaged(const char *path, struct kb_error *err)
{
    return kb_fail(
        err, KB_BAD_INPUT,
        _("the database '%s' is damaged; stop koubo and run 'koubo restore', which lists "
          "what can be put in its place"),
        path);
}

// What SQLite says of db, in the words of a store.
static enum kb_code refused(sqlite3 *db, const char *path, struct kb_error *err)
{
    if (!db)
        return kb_no_memory(err);
    int error = sqlite3_errcode(db) & 0xff;
    if (error == SQLITE_CORRUPT || error == SQLITE_NOTADB)
        return damaged(path, err);
    CLEANUP(kb_freep) char *folder = path_folder(path);
    struct store bare = {.db = db, .folder = folder};
    return store_error(&bare, err);
}

// Nothing may be written beside a file that is only read: no WAL is made, none is applied.
static enum kb_code open_alone(sqlite3 **ret, const char *path, struct kb_error *err)
{
    CLEANUP(text_free) struct text uri = {0};
    text_add(&uri, "file:");
    uri_encode(&uri, path, strlen(path), "/");
    text_add(&uri, "?immutable=1");
    if (sqlite3_open_v2(text_get(&uri), ret,
                        SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return refused(*ret, path, err);
    store_guard(*ret);
    return KB_OK;
}

// One with a WAL is read with it, and both stay as they are. The one in use is never opened alone:
// closing it would take away the locks that this process has on it.
static enum kb_code open_source(sqlite3 **ret, const char *path, bool in_use, struct kb_error *err)
{
    CLEANUP(kb_freep) char *wal = kb_printf("%s-wal", path);
    if (!file_exists(path))
        return kb_fail(err, KB_NOT_FOUND, _("there is no database '%s'"), path);
    if (!in_use && !file_exists(wal))
        return open_alone(ret, path, err);
    if (sqlite3_open_v2(path, ret, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return refused(*ret, path, err);
    store_guard(*ret);
    sqlite3_busy_timeout(*ret, BUSY_MS);
    sqlite3_db_config(*ret, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, in_use ? 0 : 1, NULL);
    return KB_OK;
}

// Made here, because SQLite would let everyone read it.
enum kb_code database_make_file(const char *path, struct kb_error *err)
{
    unlink(path); // of a copy that a crash interrupted
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot write '%s': %s; check the disk and the permissions of its folder"),
                       path, kb_strerror(errno));
    close(fd);
    give_to_owner(path);
    return KB_OK;
}

static enum kb_code open_copy(sqlite3 **ret, const char *path, struct kb_error *err)
{
    enum kb_code code = database_make_file(path, err);
    if (code != KB_OK)
        return code;
    if (sqlite3_open_v2(path, ret, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return refused(*ret, path, err);
    sqlite3_exec(*ret, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL);
    return KB_OK;
}

// The transaction on the source keeps one state of it for all pieces, so that a copy which takes
// long does not begin again with every commit.
static enum kb_code copy_pages(struct copy *c, const char *from, const char *to,
                               const struct cancel *cancel, struct kb_error *err)
{
    if (sqlite3_exec(c->from, "BEGIN; SELECT count(*) FROM sqlite_master", NULL, NULL, NULL) !=
        SQLITE_OK)
        return refused(c->from, from, err);
    c->backup = sqlite3_backup_init(c->to, "main", c->from, "main");
    if (!c->backup)
        return refused(c->to, to, err);
    int64_t deadline = kb_now_us() + BUSY_MS * 1000LL;
    for (;;) {
        if (cancel_requested(cancel))
            return cancel_check(cancel, err);
        int step = sqlite3_backup_step(c->backup, PIECE_PAGES);
        if (step == SQLITE_DONE)
            break;
        if (step == SQLITE_BUSY || step == SQLITE_LOCKED) {
            if (kb_now_us() > deadline)
                break; // finish() says so
            usleep(20000);
        } else if (step != SQLITE_OK) {
            break;
        }
    }
    int result = sqlite3_backup_finish(TAKE(c->backup)); // and puts it into c->to
    return result == SQLITE_OK ? KB_OK : refused(c->to, to, err);
}

static enum kb_code copy_into(const char *from, const char *to, bool in_use,
                              const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(copy_close) struct copy c = {0};
    enum kb_code code = open_source(&c.from, from, in_use, err);
    if (code == KB_OK)
        code = open_copy(&c.to, to, err);
    return code == KB_OK ? copy_pages(&c, from, to, cancel, err) : code;
}

static enum kb_code look_through(const char *path, const char *of, struct kb_error *err)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    enum kb_code code = open_alone(&db, path, err);
    if (code == KB_OK &&
        (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &q, NULL) != SQLITE_OK ||
         sqlite3_step(q) != SQLITE_ROW))
        code = refused(db, of, err); // it could not be read, which says nothing about what is in it
    else if (code == KB_OK && strcmp((const char *)sqlite3_column_text(q, 0), "ok") != 0)
        code = damaged(of, err);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return code;
}

static enum kb_code sync_file(const char *path, struct kb_error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    int number = errno;
    if (fd >= 0)
        close(fd);
    return done ? KB_OK
                : kb_fail(
                      err, number == ENOSPC || number == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                      _("cannot write '%s': %s; check the disk and the permissions of its folder"),
                      path, kb_strerror(number));
}

enum kb_code database_finish_file(const char *path, const char *of, struct kb_error *err)
{
    enum kb_code code = look_through(path, of, err);
    return code == KB_OK ? sync_file(path, err) : code;
}

static enum kb_code copy(const char *from, const char *to, bool in_use, const struct cancel *cancel,
                         struct kb_error *err)
{
    enum kb_code code = copy_into(from, to, in_use, cancel, err);
    if (code == KB_OK)
        code = database_finish_file(to, from, err);
    if (code != KB_OK)
        unlink(to);
    return code;
}

enum kb_code backup_copy(const char *from, const char *to, const struct cancel *cancel,
                         struct kb_error *err)
{
    return copy(from, to, false, cancel, err);
}

// --- a backup

static enum kb_code check_space(const char *path, const char *folder, struct kb_error *err)
{
    CLEANUP(kb_freep) char *wal = kb_printf("%s-wal", path);
    struct stat st = {0}, of_wal = {0};
    struct statvfs vfs;
    stat(path, &st);
    stat(wal, &of_wal);
    int64_t needed = st.st_size + of_wal.st_size + SPARE_BYTES;
    if (statvfs(folder, &vfs) != 0 || (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize >= needed)
        return KB_OK;
    return kb_fail(err, KB_NO_SPACE,
                   _("there is no room in '%s' for a backup of the database, which takes %.1f MB; "
                     "delete something and try again"),
                   folder, (double)needed / KB_MB);
}

// Newest first: by name, for files that were copied back have the time of that.
static int by_age(const void *a, const void *b)
{
    const struct backup *x = a, *y = b;
    int date = strncmp(y->name, x->name, DATE_LENGTH);
    return date ? date : (x->time_ms < y->time_ms) - (x->time_ms > y->time_ms);
}

// What is beyond the number of its kind. Those of the future go first: a clock that leaps there and
// back does not make them the newest.
static void prune(const char *folder, const char *why)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    struct kb_error ignored;
    const char *kind = text_begins(why, "schema") ? "schema" : why;
    int n = 0, seen = 0, keep = strcmp(kind, "schema") == 0 ? KEEP_SCHEMAS : KEEP_DAILY;
    if (backup_list(folder, &list, &n, &ignored) != KB_OK)
        return;
    for (int future = 0; future < 2; future++)
        for (int i = 0; i < n; i++) {
            CLEANUP(kb_freep) char *path = path_join(BACKUP_FOLDER, list[i].name);
            if (text_begins(list[i].why, kind) && is_of_future(list[i].name) == future &&
                ++seen > keep)
                beneath_unlink(folder, path);
        }
}

enum kb_code backup_make(const char *folder, const char *why, const struct cancel *cancel,
                         char **ret_name, struct kb_error *err)
{
    CLEANUP(kb_freep) char *database = path_join(folder, DATABASE_NAME);
    CLEANUP(kb_freep) char *backups = path_join(folder, BACKUP_FOLDER);
    CLEANUP(kb_freep) char *part = path_join(backups, PART);
    enum kb_code code = backup_make_folder(folder, err);
    if (code == KB_OK)
        code = check_space(database, backups, err);
    if (code == KB_OK)
        code = copy(database, part, true, cancel, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *name = backup_name(folder, why, kb_wall_ms());
    CLEANUP(kb_freep) char *whole = path_join(BACKUP_FOLDER, name);
    if (!beneath_rename(folder, BACKUP_FOLDER "/" PART, whole) ||
        !beneath_sync(folder, BACKUP_FOLDER)) {
        code = kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot write '%s': %s; check the disk and the permissions of its folder"),
                       part, beneath_reason(errno));
        unlink(part);
        beneath_unlink(folder, whole); // its name may not be on the disk
        return code;
    }
    prune(folder, why);
    if (ret_name)
        *ret_name = TAKE(name);
    return KB_OK;
}

// --- what is there

enum kb_code backup_list(const char *folder, struct backup **ret, int *ret_n, struct kb_error *err)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    int n = 0;
    DIR *d = beneath_list(folder, BACKUP_FOLDER);
    if (!d && errno != ENOENT)
        return kb_fail(err, errno == EMFILE || errno == ENFILE ? KB_UNAVAILABLE : KB_INTERNAL,
                       _("cannot look into the folder '%s/%s': %s; check the disk and its "
                         "permissions"),
                       folder, BACKUP_FOLDER, beneath_reason(errno));
    for (struct dirent *e; d && (e = readdir(d));) {
        struct backup b;
        struct stat st;
        if (!parse(e->d_name, b.why) ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        snprintf(b.name, sizeof(b.name), "%s", e->d_name);
        b.time_ms = st.st_mtim.tv_sec * 1000LL + st.st_mtim.tv_nsec / 1000000;
        b.size_bytes = st.st_size;
        struct backup *grown = reallocarray(list, (size_t)n + 1, sizeof(*list));
        if (!grown) {
            closedir(d);
            return kb_no_memory(err);
        }
        list = grown;
        list[n++] = b;
    }
    if (d)
        closedir(d);
    if (n > 0)
        qsort(list, (size_t)n, sizeof(*list), by_age);
    *ret = TAKE(list);
    *ret_n = n;
    return KB_OK;
}

enum kb_code backup_count(const char *folder, int *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    return backup_list(folder, &list, ret, err);
}

int64_t backup_last_ms(const char *folder)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    struct kb_error ignored;
    int n = 0;
    if (backup_list(folder, &list, &n, &ignored) != KB_OK)
        return 0;
    for (int i = 0; i < n; i++)
        if (strcmp(list[i].why, "daily") == 0 && !is_of_future(list[i].name))
            return time_of(list[i].name);
    return 0;
}
