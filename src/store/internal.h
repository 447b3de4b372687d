// What the files of store/ share. Threads: as a store, see store.h.
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "store/sql.h"

// The sentence for the connection's last error.
enum kb_code store_error(struct store *s, struct kb_error *err);
enum kb_code store_damaged(struct store *s, struct kb_error *err);
enum kb_code store_cannot_write(struct store *s, struct kb_error *err);
// Let a commit be as durable as is wanted. Not possible inside a transaction; then store_begin() or
// the end of it comes here again.
void store_apply_durable(struct store *s);
// Of any connection to a file that may be a stranger's.
void store_guard(sqlite3 *db);
void store_free_statements(struct store *s);
// From now on the connection waits for locks as patience.h says.
void store_begin_patience(struct store *s);
// It has the write lock, or had it.
void store_came_in(struct store *s);

#endif
