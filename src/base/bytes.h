// Bytes as text: digits and base64. Thread-safe.
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/base.h"

// Two lower-case hex digits for each of n bytes, and a NUL: ret holds 2 * n + 1.
void bytes_hex(char *ret, const void *bytes, size_t n);

// RFC 4648, section 4, with padding and without line breaks; a new string.
char *base64_encode(const void *bytes, size_t n);
// The n characters of such a text, decoded: a new string with a NUL behind its *ret_size bytes.
// NULL if it is something else; white space is.
char *base64_decode(const char *text, size_t n, size_t *ret_size);

#endif
