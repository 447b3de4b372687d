// How many files, sockets and pipes this process may have open at once (RLIMIT_NOFILE).
// Thread-safe.
#ifndef BASE_DESCRIPTORS_H
#define BASE_DESCRIPTORS_H

#include <stdbool.h>

// Raise the limit as far as this user may, a million at most. The limit then.
int descriptors_raise(void);

// Is none left, for this process or for the whole system? For the sentence of what could not be
// opened by a library that does not say why.
bool descriptors_used_up(void);

#endif
