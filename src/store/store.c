// The data folder and the connection: opening, bringing up to date, settings.
#include "store/store.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/sentence.h"
#include "store/backup.h"
#include "store/identity.h"
#include "store/internal.h"
#include "store/names.h"
#include "store/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUSY_MS 5000

// --- opening

static enum kb_code run(struct store *s, const char *sql, struct kb_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? KB_OK : store_error(s, err);
}

// What brings a database of version i to version i + 1.
static const char *const upgrades[STORE_VERSION] = {store_schema,   store_schema_2, store_schema_3,
                                                    store_schema_4, store_schema_5, store_schema_6};

// What was committed so far: nobody else can write now, and a copy reads the state before this
// transaction.
static enum kb_code save_version(struct store *s, int64_t version, struct kb_error *err)
{
    CLEANUP(kb_freep) char *why = kb_printf("schema%lld", (long long)version);
    enum kb_code code = backup_make(s->folder, why, NULL, NULL, err);
    if (code != KB_OK)
        code = kb_wrap(err, _("the database is not brought up to date without a backup"));
    return code;
}

int store_make_tables(sqlite3 *db, int version)
{
    int result = SQLITE_OK;
    for (int i = 0; result == SQLITE_OK && i < version; i++)
        result = sqlite3_exec(db, upgrades[i], NULL, NULL, NULL);
    CLEANUP(kb_freep) char *mark = kb_printf("PRAGMA user_version = %d", version);
    return result == SQLITE_OK ? sqlite3_exec(db, mark, NULL, NULL, NULL) : result;
}

static enum kb_code upgrade(struct store *s, struct kb_error *err)
{
    int64_t version = 0;
    enum kb_code code = store_query_int(s, &version, err, "PRAGMA user_version", "");
    if (code != KB_OK || version == STORE_VERSION)
        return code;
    if (version > STORE_VERSION || version < 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the database in '%s' was made by a newer koubo (version %lld, this one "
                         "knows %d); update koubo, or choose another folder with --data"),
                       s->folder, (long long)version, STORE_VERSION);
    code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    // Another process may have done it in the meantime.
    code = store_query_int(s, &version, err, "PRAGMA user_version", "");
    if (code == KB_OK && version > 0 && version < STORE_VERSION)
        code = save_version(s, version, err);
    for (; code == KB_OK && version < STORE_VERSION; version++) {
        CLEANUP(kb_freep) char *mark = kb_printf("PRAGMA user_version = %lld", version + 1LL);
        code = run(s, upgrades[version], err);
        if (code == KB_OK)
            code = run(s, mark, err);
    }
    return store_end(s, code, err);
}

static enum kb_code make_folders(struct store *s, struct kb_error *err)
{
    static const char *const kinds[] = {"files",  "uploads",  "thumbs", "results",
                                        "tracks", "networks", "logs",   "work"};
    enum kb_code code = file_make_dirs(s->folder, err);
    for (size_t i = 0; code == KB_OK && i < ARRAY_LEN(kinds); i++) {
        if (beneath_make_dirs(s->folder, kinds[i], 0700)) // who may enter: store/privacy.h
            continue;
        if (errno == ELOOP)
            return kb_fail(err, KB_BAD_INPUT,
                           _("'%s/%s' is a link, and koubo follows none in its data folder; mount "
                             "the other disk there (mount --bind), or put the whole data folder on "
                             "it and say so with --data"),
                           s->folder, kinds[i]);
        code = kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot create the folder '%s/%s': %s; check the disk and the permissions "
                         "of the folder above it"),
                       s->folder, kinds[i], beneath_reason(errno));
    }
    return code;
}

// The database holds passwords (for mail): made here, because SQLite would let everyone read it.
// One that exists is not opened: closing it would take away every lock that this process has on it
// (POSIX), whereupon another process that ends believes to be the last one and removes the WAL.
// https://www.sqlite.org/howtocorrupt.html, 2.2
static enum kb_code make_database(struct store *s, const char *path, struct kb_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return KB_OK;
    if (fd < 0)
        return errno == ENOSPC ? kb_fail(err, KB_NO_SPACE,
                                         _("no space left on the disk of '%s'; delete something "
                                           "and try again"),
                                         s->folder)
                               : store_cannot_write(s, err);
    close(fd);
    return KB_OK;
}

// Two processes that change a new database to WAL at once meet a lock for which SQLite does not
// wait, hence the loop.
static enum kb_code enter_wal(struct store *s, struct kb_error *err)
{
    int64_t deadline = kb_now_us() + BUSY_MS * 1000LL;
    enum kb_code code;
    while ((code = run(s, "PRAGMA journal_mode = WAL", err)) == KB_UNAVAILABLE &&
           kb_now_us() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    return code;
}

// say(TEXT): a kept sentence in the language of the thread that asks.
static void sql_say(sqlite3_context *c, int n, sqlite3_value **values)
{
    char *text = sentence_say((const char *)sqlite3_value_text(values[0]));
    sqlite3_result_text(c, text, -1, free);
}

// What a file that somebody else made may not do: have its schema call functions that do more than
// compute, let itself be written where the format is concerned, or hold cells that reach beyond
// their page. The views are ours, made by each connection; say() in them is marked as harmless.
void store_guard(sqlite3 *db)
{
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_exec(db, "PRAGMA cell_size_check = ON", NULL, NULL, NULL);
}

// Nothing is in it: it is not there, or of no byte.
static bool is_missing(const char *path)
{
    struct stat st;
    return stat(path, &st) != 0 ? errno == ENOENT : st.st_size == 0;
}

// Before the database is opened: is it there, and if not, may one be made?
static enum kb_code prepare_folder(struct store *s, const char *path, const struct store_params *p,
                                   struct kb_error *err)
{
    enum kb_code code = p->create ? make_folders(s, err) : KB_OK;
    if (code == KB_OK && is_missing(path)) {
        if (!p->anew)
            code = identity_expect(s->folder, err);
        else if ((code = replace_set_aside(s->folder, err)) == KB_OK)
            identity_forget(s->folder);
        if (code != KB_OK)
            return code;
    }
    if (code == KB_OK && p->create)
        return make_database(s, path, err);
    if (code == KB_OK && !file_exists(path))
        code = kb_fail(err, KB_NOT_FOUND,
                       _("there is no database in '%s'; start koubo serve once, or say with --data "
                         "where its data are"),
                       s->folder);
    return code;
}

enum kb_code store_open(struct store **ret, const char *folder, bool create, struct kb_error *err)
{
    return store_open_as(ret, folder, &(struct store_params){.create = create}, err);
}

enum kb_code store_open_as(struct store **ret, const char *folder, const struct store_params *p,
                           struct kb_error *err)
{
    CLEANUP(store_close) struct store *s = kb_alloc(sizeof(*s));
    CLEANUP(kb_freep) char *path = path_join(folder, DATABASE_NAME);
    s->folder = kb_strdup(folder);
    enum kb_code code = prepare_folder(s, path, p, err);
    if (code != KB_OK)
        return code;

    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db ? store_error(s, err) : kb_no_memory(err);
    sqlite3_extended_result_codes(s->db, 1);
    store_begin_patience(s);
    store_guard(s->db);
    s->durable = s->synced = true;
    code = enter_wal(s, err);
    if (code == KB_OK)
        code = run(s, "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;", err);
    if (code == KB_OK)
        code = upgrade(s, err);
    if (code == KB_OK)
        code = identity_check(s, p->adopt || p->anew, err);
    if (code == KB_OK && sqlite3_create_function(s->db, "say", 1, SQLITE_UTF8 | SQLITE_INNOCUOUS,
                                                 NULL, sql_say, NULL, NULL) != SQLITE_OK)
        code = store_error(s, err);
    if (code == KB_OK)
        code = run(s, store_views, err);
    if (code != KB_OK)
        return code;
    *ret = TAKE(s);
    return KB_OK;
}

void store_close(struct store **store)
{
    struct store *s = *store;
    if (!s)
        return;
    store_free_statements(s);
    sqlite3_close(s->db);
    free(s->folder);
    free(s);
    *store = NULL;
}

char *store_path(const struct store *s, const char *kind, const char *name)
{
    return kb_printf("%s/%s/%s", s->folder, kind, name);
}

enum kb_code store_check(struct store *s, int64_t max_bytes, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    int64_t bytes = 0;
    enum kb_code code = store_query_int(
        s, &bytes, err, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        "");
    if (code != KB_OK || (max_bytes > 0 && bytes > max_bytes))
        return code;
    code = store_query(s, &q, err, "SELECT quick_check FROM pragma_quick_check(1)", "");
    if (code != KB_OK)
        return code;
    const char *answer = (const char *)sqlite3_column_text(q, 0);
    return answer && strcmp(answer, "ok") == 0 ? KB_OK : store_damaged(s, err);
}

enum kb_code store_is_damaged(const char *folder, bool *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, DATABASE_NAME);
    CLEANUP(store_close) struct store *s = kb_alloc(sizeof(*s));
    s->folder = kb_strdup(folder);
    *ret = false;
    if (is_missing(path))
        return KB_OK;
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return s->db ? store_error(s, err) : kb_no_memory(err);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    store_guard(s->db);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); // it stays as it is
    struct kb_error why = {0};
    enum kb_code code = store_check(s, 0, &why);
    int error = sqlite3_errcode(s->db) & 0xff;
    *ret = code != KB_OK && (error == SQLITE_CORRUPT || error == SQLITE_NOTADB ||
                             error == SQLITE_OK || error == SQLITE_ROW);
    if (code == KB_OK || *ret)
        return KB_OK;
    *err = why;
    return code;
}

void store_set_durable(struct store *s, bool durable)
{
    s->durable = durable;
    store_apply_durable(s);
}

int64_t store_data_version(struct store *s)
{
    int64_t version = 0;
    return store_query_int(s, &version, NULL, "PRAGMA data_version", "") == KB_OK ? version : -1;
}

char *store_default_folder(void)
{
    const char *own = getenv("KOUBO_DATA"), *shared = getenv("XDG_DATA_HOME");
    if (own && *own)
        return kb_strdup(own);
    if (shared && *shared)
        return path_join(shared, "koubo");
    const char *home = getenv("HOME");
    if (!home || !*home) {
        const struct passwd *user = getpwuid(geteuid());
        home = user && user->pw_dir ? user->pw_dir : "/";
    }
    return path_join(home, ".local/share/koubo");
}

// --- settings

enum kb_code setting_get(struct store *s, const char *name, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err, "SELECT json FROM setting WHERE name = ?", "t", name);
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code == KB_EOF ? KB_OK : code;
}

enum kb_code setting_put(struct store *s, const char *name, const char *json, struct kb_error *err)
{
    return store_exec(s, NULL, err,
                      "INSERT INTO setting(name, json) VALUES (?, ?)"
                      " ON CONFLICT(name) DO UPDATE SET json = excluded.json",
                      "tt", name, json);
}
