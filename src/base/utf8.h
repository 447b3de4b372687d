// UTF-8 from outside: names, and sentences that were cut inside a character. What is well-formed,
// Unicode 15 says in table 3-7: nothing longer than needed, no surrogates, nothing beyond U+10FFFF.
// Thread-safe.
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/base.h"

// The character that s begins with and its length in bytes, or -1 and length 1 for a byte that
// belongs to none.
int32_t utf8_next(const char *s, int *ret_length);

bool utf8_valid(const char *s);   // no such byte in it
size_t utf8_count(const char *s); // characters; such a byte counts as one

// Control characters, line ends, byte order marks and those that turn the direction of writing:
// what a name must not hold that somebody reads.
bool utf8_is_hidden(int32_t c);

// A new string in which every such byte is U+FFFD. NULL stays NULL.
char *utf8_clean(const char *s);

// The bytes of s that fit into n without cutting a character: for printf's %.*s. Where s is not
// UTF-8, it is cut anywhere; from n = 4 on, what is not empty never fits with 0 bytes.
int utf8_fit(const char *s, int n);

// snprintf() wrote text into size bytes and may have cut it: takes a begun character off its end.
void utf8_mend(char *text, size_t size);

#endif
