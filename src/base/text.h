// A string that grows. Not thread-safe. Running out of memory aborts: callers bound what they add.
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/base.h"
#include "base/cancel.h"

// Zero-initialise; release with text_free(). data is NULL while nothing was added, else it ends
// with a NUL that size does not count.
struct text {
    char *data;
    size_t size, capacity;
};

void text_add(struct text *t, const char *s);
void text_add_bytes(struct text *t, const void *bytes, size_t n);
void text_addf(struct text *t, const char *fmt, ...) KB_PRINTF(2, 3);
void text_clear(struct text *t); // empty, memory kept
void text_free(struct text *t);

// An amount of bytes for people, in ret: "12.3 GB", below a GB "450 MB", below 10 MB "4.5 MB". Of
// what is too little at this scale "0.1 MB"; 0 is "0 MB".
#define TEXT_SIZE_BYTES 24
const char *text_size(char ret[TEXT_SIZE_BYTES], int64_t bytes);

// The string itself, "" if nothing was added.
static inline const char *text_get(const struct text *t)
{
    return t->data ? t->data : "";
}

// Does s begin with start? Does it end with end, and stands something before that? (".pth" is the
// name of a hidden file and has no ending.)
bool text_begins(const char *s, const char *start);
bool text_ends(const char *s, const char *end);

// What a pipe says up to its end. False: more than max_bytes, not whole after wait_us, cancelled or
// an error.
bool text_hear(struct text *ret, int fd, size_t max_bytes, int64_t wait_us,
               const struct cancel *cancel);

#endif
