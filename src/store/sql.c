// How rooms talk to the database: prepared statements, transactions, columns, pages, and what
// SQLite's errors mean to the user.
#include "store/sql.h"

#include "store/internal.h"
#include "base/descriptors.h"
#include "base/utf8.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct store_statement {
    const char *sql;
    sqlite3_stmt *prepared;
};

// --- errors

enum kb_code store_cannot_write(struct store *s, struct kb_error *err)
{
    if (descriptors_used_up())
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the database in '%s' cannot be opened: koubo has as many files open as "
                         "the system allows; raise the limit (ulimit -n) and start koubo again"),
                       s->folder);
    return kb_fail(err, KB_INTERNAL,
                   _("the database in '%s' cannot be written; check the permissions of the folder, "
                     "or choose another one with --data"),
                   s->folder);
}

enum kb_code store_damaged(struct store *s, struct kb_error *err)
{
    // Who opens a database named it; who asks a server did not.
    return kb_fail(err, s->patience ? KB_INTERNAL : KB_BAD_INPUT,
                   _("the database '%s/koubo.db' is damaged; stop koubo and run 'koubo restore', "
                     "which brings back what can still be read of it"),
                   s->folder);
}

enum kb_code store_error(struct store *s, struct kb_error *err)
{
    int error = sqlite3_extended_errcode(s->db);
    int number = sqlite3_system_errno(s->db);
    switch (error & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        if (s->patience) // whoever holds it may be one of us
            return kb_fail(err, KB_UNAVAILABLE,
                           _("the database is busy; try again in a moment. If it stays so, another "
                             "program holds it: end it (perhaps a backup or a database browser)"));
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
        return store_cannot_write(s, err);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return store_damaged(s, err);
    case SQLITE_NOMEM:
        return kb_no_memory(err);
    case SQLITE_IOERR:
        if (number == ENOSPC || number == EDQUOT || number == EFBIG)
            return kb_fail(err, KB_NO_SPACE,
                           _("no space left on the disk of '%s'; delete something and try again"),
                           s->folder);
        if (descriptors_used_up())
            return store_cannot_write(s, err);
        return kb_fail(err, KB_INTERNAL, _("the disk of '%s' reports an error: %s; check the disk"),
                       s->folder, number ? kb_strerror(number) : sqlite3_errmsg(s->db));
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

void store_free_statements(struct store *s)
{
    for (int i = 0; i < s->n_statements; i++)
        sqlite3_finalize(s->statements[i].prepared);
    free(s->statements);
}

// One binding. SQLite copies texts: the caller's may be gone before the last row is read. False: it
// had no memory for the copy; a statement run all the same would see NULL there. More than a
// statement takes may be given (place_find).
static bool bind_one(sqlite3_stmt *q, int i, char type, va_list *args)
{
    int e;
    switch (type) {
    case 'i':
        e = sqlite3_bind_int64(q, i, va_arg(*args, int64_t));
        break;
    case 'd':
        e = sqlite3_bind_double(q, i, va_arg(*args, double));
        break;
    case 't':
        e = sqlite3_bind_text(q, i, va_arg(*args, const char *), -1, SQLITE_TRANSIENT);
        break;
    default:
        assert(type == 'n');
        e = sqlite3_bind_null(q, i);
    }
    return e == SQLITE_OK || e == SQLITE_RANGE;
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
        if (!bind_one(q, i + 1, types[i], args))
            return store_error(s, err);
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
    int result = sqlite3_step(q);
    if (s->patience && (result == SQLITE_ROW || result == SQLITE_DONE) && !sqlite3_stmt_readonly(q))
        store_came_in(s);
    switch (result) {
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

void store_apply_durable(struct store *s)
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
        store_apply_durable(s);
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
    store_apply_durable(s);
}

enum kb_code store_commit(struct store *s, struct kb_error *err)
{
    assert(s->depth > 0);
    if (s->depth > 1) {
        s->depth--;
        return KB_OK;
    }
    s->depth = 0;
    if (s->doomed) {
        roll_back_all(s);
        return kb_fail(err, KB_INTERNAL, "the transaction was rolled back before its end");
    }
    if (sqlite3_get_autocommit(s->db)) { // by SQLite, in a statement whose error was not heeded
        roll_back_all(s);
        return kb_fail(
            err, KB_NO_SPACE,
            _("the database in '%s' could not keep a change: its disk is full or reports "
              "errors; free some space, check the disk and try again"),
            s->folder);
    }
    enum kb_code code = store_exec(s, NULL, err, "COMMIT", "");
    if (code != KB_OK)
        roll_back_all(s);
    store_apply_durable(s);
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

// --- columns

char *store_column(sqlite3_stmt *q, int i)
{
    return kb_strdup((const char *)sqlite3_column_text(q, i));
}

void store_copy_column(char *ret, size_t size, sqlite3_stmt *q, int i)
{
    const char *value = (const char *)sqlite3_column_text(q, i);
    snprintf(ret, size, "%s", value ? value : "");
    utf8_mend(ret, size);
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

// The items of a page: for each key its JSON, or what the page itself gives.
static enum kb_code add_items(struct store *s, const struct store_page *p, sqlite3_stmt *keys,
                              struct text *ret, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    bool first = true;
    while (code == KB_OK) {
        sqlite3_stmt *one = p->one ? prepare(s, p->one, err) : keys;
        if (!one)
            return store_error(s, err);
        if (p->one && sqlite3_bind_value(one, 1, sqlite3_column_value(keys, 0)) != SQLITE_OK)
            return store_error(s, err);
        if (p->one)
            code = store_step(s, one, err);
        if (code == KB_OK) {
            text_add(ret, first ? "" : ",");
            first = false;
            store_add_column(ret, one, 0);
        }
        if (p->one)
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
    bool bound = true;
    for (size_t i = 0; i < n; i++) {
        bound = bind_one(keys, (int)i + 1, types[i], &args) && bound;
        bound = bind_one(count, (int)i + 1, types[i], &again) && bound;
    }
    va_end(again);
    va_end(args);
    if (!bound)
        return store_end(s, store_error(s, err), err);
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
