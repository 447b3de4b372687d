// UTF-8 from outside: names, and sentences that were cut inside a character. Thread-safe.
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/base.h"

// The character that s begins with and its length in bytes (Unicode 15, table 3-7), or -1 and
// length 1 for a byte that belongs to none.
int32_t utf8_next(const char *s, int *ret_length);

// A new string in which every such byte is U+FFFD. NULL stays NULL.
char *utf8_clean(const char *s);

// The bytes of s that fit into n without cutting a character: for printf's %.*s.
int utf8_fit(const char *s, int n);

#endif
