// The connection: opening and bringing up to date, prepared statements, transactions, sentences.
#include "store/sql.h"

#include "base/file.h"
#include "base/sentence.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUSY_MS 5000

struct store_statement {
    const char *sql;
    sqlite3_stmt *prepared;
};

// --- errors

static enum kb_code cannot_write(struct store *s, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the database in '%s' cannot be written; check the permissions of the folder, "
                     "or choose another one with --data"),
                   s->folder);
}

// The sentence for the connection's last error.
static enum kb_code store_error(struct store *s, struct kb_error *err)
{
    int error = sqlite3_extended_errcode(s->db);
    int number = sqlite3_system_errno(s->db);
    switch (error & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the database in '%s' is locked by another program; end it (perhaps a "
                         "backup or a database browser) and try again"),
                       s->folder);
    case SQLITE_FULL:
        return kb_fail(err, KB_NO_SPACE,
                       _("no space left on the disk of '%s'; delete something and try again"),
                       s->folder);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return cannot_write(s, err);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the database '%s/koubo.db' is damaged; put a backup in its place, or move "
              "it away to start with an empty one"),
            s->folder);
    case SQLITE_NOMEM:
        return kb_no_memory(err);
    case SQLITE_IOERR:
        if (number == ENOSPC || number == EDQUOT)
            return kb_fail(err, KB_NO_SPACE,
                           _("no space left on the disk of '%s'; delete something and try again"),
                           s->folder);
        return kb_fail(err, KB_BAD_INPUT,
                       _("the disk of '%s' reports an error: %s; check the disk"), s->folder,
                       number ? kb_strerror(number) : sqlite3_errmsg(s->db));
    default:
        return kb_fail(err, KB_INTERNAL, _("the database in '%s' refused: %s"), s->folder,
                       sqlite3_errmsg(s->db));
    }
}

// --- statements

// Reset, with its bindings cleared. NULL: *err is filled.
static sqlite3_stmt *prepare(struct store *s, const char *sql, struct kb_error *err)
{
    for (int i = 0; i < s->n_statements; i++) {
        if (s->statements[i].sql == sql) {
            assert(!sqlite3_stmt_busy(s->statements[i].prepared)); // else walked twice at a time
            sqlite3_reset(s->statements[i].prepared);
            sqlite3_clear_bindings(s->statements[i].prepared);
            return s->statements[i].prepared;
        }
    }
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &q, NULL) != SQLITE_OK) {
        store_error(s, err);
        return NULL;
    }
    if (s->n_statements % 32 == 0) {
        size_t n = (size_t)s->n_statements + 32;
        void *grown = realloc(s->statements, n * sizeof(s->statements[0]));
        if (!grown)
            abort();
        s->statements = grown;
    }
    s->statements[s->n_statements++] = (struct store_statement){sql, q};
    return q;
}

// One binding. SQLite copies texts: the caller's may be gone before the last row is read.
static void bind_one(sqlite3_stmt *q, int i, char type, va_list *args)
{
    switch (type) {
    case 'i':
        sqlite3_bind_int64(q, i, va_arg(*args, int64_t));
        return;
    case 'd':
        sqlite3_bind_double(q, i, va_arg(*args, double));
        return;
    case 't':
        sqlite3_bind_text(q, i, va_arg(*args, const char *), -1, SQLITE_TRANSIENT);
        return;
    default:
        assert(type == 'n');
        sqlite3_bind_null(q, i);
    }
}

static enum kb_code query(struct store *s, sqlite3_stmt **ret, struct kb_error *err,
                          const char *sql, const char *types, va_list *args)
{
    *ret = NULL;
    sqlite3_stmt *q = prepare(s, sql, err);
    if (!q)
        return store_error(s, err);
    assert(sqlite3_bind_parameter_count(q) <= (int)strlen(types)); // nothing is left unbound
    for (int i = 0; types[i]; i++)
        bind_one(q, i + 1, types[i], args);
    enum kb_code code = store_step(s, q, err);
    if (code == KB_OK || code == KB_EOF)
        *ret = q;
    return code;
}

enum kb_code store_query(struct store *s, sqlite3_stmt **ret, struct kb_error *err, const char *sql,
                         const char *types, ...)
{
    va_list args;
    va_start(args, types);
    enum kb_code code = query(s, ret, err, sql, types, &args);
    va_end(args);
    return code;
}

enum kb_code store_step(struct store *s, sqlite3_stmt *q, struct kb_error *err)
{
    switch (sqlite3_step(q)) {
    case SQLITE_ROW:
        return KB_OK;
    case SQLITE_DONE:
        return KB_EOF;
    default: {
        enum kb_code code = store_error(s, err);
        sqlite3_reset(q);
        return code;
    }
    }
}

enum kb_code store_exec(struct store *s, int *ret_changes, struct kb_error *err, const char *sql,
                        const char *types, ...)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    va_list args;
    va_start(args, types);
    enum kb_code code = query(s, &q, err, sql, types, &args);
    va_end(args);
    if (code != KB_OK && code != KB_EOF)
        return code;
    if (ret_changes)
        *ret_changes = sqlite3_changes(s->db);
    return KB_OK;
}

enum kb_code store_query_int(struct store *s, int64_t *ret, struct kb_error *err, const char *sql,
                             const char *types, ...)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    va_list args;
    va_start(args, types);
    enum kb_code code = query(s, &q, err, sql, types, &args);
    va_end(args);
    if (code != KB_OK && code != KB_EOF)
        return code;
    *ret = code == KB_OK ? sqlite3_column_int64(q, 0) : 0;
    return KB_OK;
}

void store_reset(sqlite3_stmt **q)
{
    if (*q) {
        sqlite3_reset(*q);
        sqlite3_clear_bindings(*q);
        *q = NULL;
    }
}

// --- transactions

// Not possible inside a transaction; then store_begin or the end of it comes here again.
static void apply_durable(struct store *s)
{
    if (s->synced == s->durable || !sqlite3_get_autocommit(s->db))
        return;
    const char *sql = s->durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL";
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        s->synced = s->durable;
}

static enum kb_code begin(struct store *s, const char *sql, struct kb_error *err)
{
    if (s->depth == 0) {
        apply_durable(s);
        enum kb_code code = store_exec(s, NULL, err, sql, "");
        if (code != KB_OK)
            return code;
        s->doomed = false;
    }
    s->depth++;
    return KB_OK;
}

enum kb_code store_begin(struct store *s, struct kb_error *err)
{
    return begin(s, "BEGIN IMMEDIATE", err);
}

enum kb_code store_begin_read(struct store *s, struct kb_error *err)
{
    return begin(s, "BEGIN", err);
}

// A full disk makes SQLite roll back by itself.
static void roll_back_all(struct store *s)
{
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->doomed = false;
    apply_durable(s);
}

enum kb_code store_commit(struct store *s, struct kb_error *err)
{
    assert(s->depth > 0);
    if (s->depth > 1) {
        s->depth--;
        return KB_OK;
    }
    s->depth = 0;
    if (s->doomed || sqlite3_get_autocommit(s->db)) {
        roll_back_all(s);
        return kb_fail(err, KB_INTERNAL, "the transaction was rolled back before its end");
    }
    enum kb_code code = store_exec(s, NULL, err, "COMMIT", "");
    if (code != KB_OK)
        roll_back_all(s);
    apply_durable(s);
    return code;
}

void store_rollback(struct store *s)
{
    if (s->depth == 0)
        return;
    s->doomed = true;
    if (--s->depth == 0)
        roll_back_all(s);
}

enum kb_code store_end(struct store *s, enum kb_code code, struct kb_error *err)
{
    if (code == KB_OK)
        return store_commit(s, err);
    store_rollback(s);
    return code;
}

// --- opening

static enum kb_code run(struct store *s, const char *sql, struct kb_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? KB_OK : store_error(s, err);
}

// What brings a database of version i to version i + 1.
static const char *const upgrades[STORE_VERSION] = {store_schema, store_schema_2};

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
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        CLEANUP(kb_freep) char *path = path_join(s->folder, kinds[i]);
        enum kb_code code = file_make_dirs(path, err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
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
                               : cannot_write(s, err);
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

enum kb_code store_open(struct store **ret, const char *folder, bool create, struct kb_error *err)
{
    CLEANUP(store_close) struct store *s = kb_alloc(sizeof(*s));
    CLEANUP(kb_freep) char *path = path_join(folder, "koubo.db");
    s->folder = kb_strdup(folder);
    enum kb_code code = KB_OK;
    if (create) {
        code = make_folders(s, err);
        if (code == KB_OK)
            code = make_database(s, path, err);
    } else if (!file_exists(path)) {
        code = kb_fail(err, KB_NOT_FOUND,
                       _("there is no database in '%s'; start koubo serve once, or say with --data "
                         "where its data are"),
                       folder);
    }
    if (code != KB_OK)
        return code;

    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db ? store_error(s, err) : kb_no_memory(err);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    s->durable = s->synced = true;
    code = enter_wal(s, err);
    if (code == KB_OK)
        code = run(s, "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;", err);
    if (code == KB_OK)
        code = upgrade(s, err);
    if (code == KB_OK &&
        sqlite3_create_function(s->db, "say", 1, SQLITE_UTF8, NULL, sql_say, NULL, NULL) !=
            SQLITE_OK)
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
    for (int i = 0; i < s->n_statements; i++)
        sqlite3_finalize(s->statements[i].prepared);
    sqlite3_close(s->db);
    free(s->statements);
    free(s->folder);
    free(s);
    *store = NULL;
}

char *store_path(const struct store *s, const char *kind, const char *name)
{
    return kb_printf("%s/%s/%s", s->folder, kind, name);
}

void store_set_durable(struct store *s, bool durable)
{
    s->durable = durable;
    apply_durable(s);
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

// --- small things

char *store_column(sqlite3_stmt *q, int i)
{
    return kb_strdup((const char *)sqlite3_column_text(q, i));
}

void store_copy_column(char *ret, size_t size, sqlite3_stmt *q, int i)
{
    const char *value = (const char *)sqlite3_column_text(q, i);
    snprintf(ret, size, "%s", value ? value : "");
}

void store_add_column(struct text *ret, sqlite3_stmt *q, int i)
{
    const void *data = sqlite3_column_text(q, i);
    if (data)
        text_add_bytes(ret, data, (size_t)sqlite3_column_bytes(q, i));
}

char *store_like(const char *search)
{
    if (!search)
        return NULL;
    CLEANUP(text_free) struct text like = {0};
    text_add(&like, "%");
    for (; *search; search++) {
        if (strchr("%_\\", *search))
            text_add(&like, "\\");
        text_add_bytes(&like, search, 1);
    }
    text_add(&like, "%");
    return TAKE(like.data);
}

// The items of a page: for each key its JSON.
static enum kb_code add_items(struct store *s, const struct store_page *p, sqlite3_stmt *keys,
                              struct text *ret, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    bool first = true;
    while (code == KB_OK) {
        sqlite3_stmt *one = prepare(s, p->one, err);
        if (!one)
            return store_error(s, err);
        sqlite3_bind_value(one, 1, sqlite3_column_value(keys, 0));
        code = store_step(s, one, err);
        if (code == KB_OK) {
            text_add(ret, first ? "" : ",");
            first = false;
            store_add_column(ret, one, 0);
        }
        store_reset(&one);
        if (code == KB_OK || code == KB_EOF)
            code = store_step(s, keys, err);
    }
    return code == KB_EOF ? KB_OK : code;
}

int store_limit(int wanted)
{
    return wanted <= 0 ? 50 : KB_MIN(wanted, STORE_PAGE_MAX);
}

enum kb_code store_page_json(struct store *s, const struct store_page *p, struct text *ret,
                             struct kb_error *err, const char *types, ...)
{
    CLEANUP(store_reset) sqlite3_stmt *keys = NULL, *count = NULL;
    int64_t rev = 0, total = 0;
    size_t n = strlen(types);
    enum kb_code code = store_begin_read(s, err);
    if (code != KB_OK)
        return code;
    code = store_query_int(s, &rev, err, "SELECT rev FROM clock", "");
    keys = code == KB_OK ? prepare(s, p->page, err) : NULL;
    count = keys ? prepare(s, p->total, err) : NULL;
    if (!count)
        return store_end(s, code == KB_OK ? store_error(s, err) : code, err);
    va_list args, again;
    va_start(args, types);
    va_copy(again, args);
    for (size_t i = 0; i < n; i++) {
        bind_one(keys, (int)i + 1, types[i], &args);
        bind_one(count, (int)i + 1, types[i], &again);
    }
    va_end(again);
    va_end(args);
    sqlite3_bind_int64(keys, (int)n + 1, store_limit(p->limit));
    sqlite3_bind_int64(keys, (int)n + 2, KB_MAX(p->offset, 0));
    code = store_step(s, count, err);
    if (code == KB_OK) {
        total = sqlite3_column_int64(count, 0);
        text_addf(ret, "{\"total\":%lld,\"rev\":%lld,\"items\":[", (long long)total,
                  (long long)rev);
        code = store_step(s, keys, err);
    }
    if (code == KB_OK)
        code = add_items(s, p, keys, ret, err);
    if (code == KB_OK || code == KB_EOF) {
        text_add(ret, "]}");
        code = KB_OK;
    }
    store_reset(&keys);
    store_reset(&count);
    return store_end(s, code, err);
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
