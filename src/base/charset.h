// Text files of anybody, whatever encoding they were written in, as UTF-8. Thread-safe.
#ifndef BASE_CHARSET_H
#define BASE_CHARSET_H

#include "base/base.h"

// What it was taken for, as iconv calls it: "UTF-8", "UTF-16LE", "GB18030", "BIG5", "SHIFT_JIS",
// "WINDOWS-1252"…
#define CHARSET_NAME 24

// The n bytes as a new string of well-formed UTF-8 without a byte order mark, NULs left out, bytes
// that mean nothing replaced; free(*ret). A byte order mark tells the encoding, else that the bytes
// are good UTF-8 does, else it is guessed. ret_name may be NULL. KB_BAD_INPUT: it is no text (a
// film, for instance), or nothing is in it; name is what sentences call it. KB_NO_SPACE.
enum kb_code charset_decode(char **ret, char ret_name[CHARSET_NAME], const void *bytes, size_t n,
                            const char *name, struct kb_error *err);

// A whole file, of at most max_bytes: longer is KB_BAD_INPUT. KB_NOT_FOUND.
enum kb_code charset_read(char **ret, char ret_name[CHARSET_NAME], const char *path,
                          size_t max_bytes, struct kb_error *err);

#endif
