// Pieces of addresses (RFC 3986): percent-encoding, and the schemes that koubo speaks. Thread-safe.
#ifndef BASE_URI_H
#define BASE_URI_H

#include "base/text.h"

// %XX, and in forms "+" for a space, become what they stand for, in place. A broken escape and %00
// stay as they are: then the answer is false, and whoever is strict refuses s. The result may be
// any bytes but NUL; whether it is UTF-8, utf8_valid() tells.
bool uri_decode(char *s, bool plus_is_space);

// n bytes as %XX, all but ASCII's letters and digits and the characters in others.
void uri_encode(struct text *ret, const char *bytes, size_t n, const char *others);

// How many bytes "http://" or "https://" takes at the start of s, in letters of any case; 0: s
// begins with neither.
size_t uri_http(const char *s);

#endif
