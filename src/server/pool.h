// Connections to the database for network threads, which each borrow one for the time of a request.
// Thread-safe.
#ifndef SERVER_POOL_H
#define SERVER_POOL_H

#include "store/store.h"

struct pool;

struct pool *pool_create(const char *folder); // the data folder, copied
// One that lies idle, else a new one. The caller gives it back.
enum kb_code pool_lend(struct pool *p, struct store **ret, struct kb_error *err);
void pool_take_back(struct pool *p, struct store *s);
void pool_free(struct pool **p); // when all are back; NULL is fine

#endif
