// What the files of store/ share. Threads: as a store, see store.h.
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "store/sql.h"

// Does result_of_mark() take that for a whole name?
#define IS_FILM(mark)                                                                              \
    "(" mark " GLOB '*?.mp4' OR " mark " GLOB '*?.webm' OR " mark " GLOB '*?.mov')"
// What is being written (job.output) of before version 6, where "a.mov" was "a.mov.mp4".
#define STORE_OUTPUTS_6 "UPDATE job SET output = output || '.mp4' WHERE " IS_FILM("output") ";"

// The sentence for the connection's last error.
enum kb_code store_error(struct store *s, struct kb_error *err);
enum kb_code store_damaged(struct store *s, struct kb_error *err);
enum kb_code store_cannot_write(struct store *s, struct kb_error *err);
// Let a commit be as durable as is wanted. Not possible inside a transaction; then store_begin() or
// the end of it comes here again.
void store_apply_durable(struct store *s);
// The tables of that version in an empty database, inside the caller's transaction or none.
// SQLite's code.
int store_make_tables(sqlite3 *db, int version);
// An empty file for a database that only this user can read; one that lies there goes. And when it
// is closed: is it whole (else KB_BAD_INPUT: the database of is damaged), and on the disk?
enum kb_code database_make_file(const char *path, struct kb_error *err);
enum kb_code database_finish_file(const char *path, const char *of, struct kb_error *err);
// Of any connection to a file that may be a stranger's.
void store_guard(sqlite3 *db);
void store_free_statements(struct store *s);
// From now on the connection waits for locks as patience.h says.
void store_begin_patience(struct store *s);
// It has the write lock, or had it.
void store_came_in(struct store *s);

#endif
