// Connections to the database for network threads, which each borrow one for the time of a request.
// They are impatient (store/patience.h): other people's answers stand behind the one that waits.
// Thread-safe.
#ifndef SERVER_POOL_H
#define SERVER_POOL_H

#include "store/store.h"

struct pool;

#define POOL_WAIT_MS 150 // the longest that a request waits for other writers, in all

// folder: the data folder, copied. Opens a few connections at once, as opening waits for locks
// patiently.
struct pool *pool_create(const char *folder);
// One that lies idle, else a new one. The caller gives it back. A database that is damaged is
// KB_INTERNAL, here and from what is asked of it: whoever sends a request is not to blame.
enum kb_code pool_lend(struct pool *p, struct store **ret, struct kb_error *err);
void pool_take_back(struct pool *p, struct store *s);
// Did requests lately find the database locked by another program? Does not touch it.
bool pool_is_locked(struct pool *p);
void pool_free(struct pool **p); // when all are back; NULL is fine

#endif
