// How the files of job/ talk to SQLite. Not for other layers.
#ifndef JOB_STORE_INTERNAL_H
#define JOB_STORE_INTERNAL_H

#include "job/store.h"

#include <sqlite3.h>

struct store {
    sqlite3 *db;
    char *folder;
};

// The tables, views and triggers of the present version, and PRAGMA user_version of it.
extern const char store_schema[];
#define STORE_VERSION 1

// A statement of a string literal, prepared once per connection and kept (looked up by address).
// Reset with its bindings cleared. NULL: *err is filled.
sqlite3_stmt *store_prepare(struct store *s, const char *sql, struct kb_error *err);

// Bind in order; the letters of types: i int64_t, d double, t const char * (NULL = NULL), n NULL.
// Then step once: KB_OK with a row, KB_EOF without one (or done).
enum kb_code store_query(struct store *s, sqlite3_stmt **ret, struct kb_error *err, const char *sql,
                         const char *types, ...);
enum kb_code store_step(struct store *s, sqlite3_stmt *q, struct kb_error *err);
// Bind and run a statement without rows. *ret_changes (may be NULL): rows changed.
enum kb_code store_exec(struct store *s, int *ret_changes, struct kb_error *err, const char *sql,
                        const char *types, ...);
// For CLEANUP: reset, so that the read transaction ends.
void store_reset(sqlite3_stmt **q);
// The sentence for the connection's last error.
enum kb_code store_error(struct store *s, struct kb_error *err);

// BEGIN IMMEDIATE; nests (an inner begin/commit does nothing, an inner rollback dooms the outer).
enum kb_code store_begin(struct store *s, struct kb_error *err);
enum kb_code store_commit(struct store *s, struct kb_error *err);
void store_rollback(struct store *s); // fine when none is open

// Append the text of column i of the row (JSON from a view) to ret.
void store_add_column(struct text *ret, sqlite3_stmt *q, int i);
// "…%…" for LIKE … ESCAPE '\', a new string; NULL stays NULL.
char *store_like(const char *search);

#endif
