// How many of one thing clients may have at the same time: each of them, and all together.
// Thread-safe.
#ifndef SERVER_QUOTA_H
#define SERVER_QUOTA_H

#include <stdbool.h>

struct quota;
struct quota *quota_create(int each, int all);
void quota_free(struct quota **q); // NULL is fine

// One more for this client (request_client_key()). False: he has as many as he may, or all have.
bool quota_enter(struct quota *q, const char *client);
void quota_leave(struct quota *q, const char *client); // once for each that entered

#endif
