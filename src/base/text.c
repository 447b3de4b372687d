#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void make_room(struct text *t, size_t n)
{
    size_t needed;
    if (__builtin_add_overflow(t->size, n + 1, &needed))
        abort();
    if (needed <= t->capacity)
        return;
    size_t capacity = KB_MAX(needed, t->capacity * 2);
    char *data = realloc(t->data, capacity);
    if (!data)
        abort();
    t->data = data;
    t->capacity = capacity;
}

void text_add_bytes(struct text *t, const void *bytes, size_t n)
{
    make_room(t, n);
    if (n)
        memcpy(t->data + t->size, bytes, n);
    t->size += n;
    t->data[t->size] = '\0';
}

void text_add(struct text *t, const char *s)
{
    text_add_bytes(t, s, strlen(s));
}

void text_addf(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    make_room(t, (size_t)n);
    va_start(args, fmt);
    vsnprintf(t->data + t->size, (size_t)n + 1, fmt, args);
    va_end(args);
    t->size += (size_t)n;
}

void text_clear(struct text *t)
{
    t->size = 0;
    if (t->data)
        t->data[0] = '\0';
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

bool text_begins(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

bool text_ends(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n > k && strcmp(s + n - k, end) == 0;
}

bool text_hear(struct text *ret, int fd, size_t max_bytes, int64_t wait_us,
               const struct cancel *cancel)
{
    int64_t until = kb_now_us() + wait_us;
    while (ret->size < max_bytes && kb_now_us() < until && !cancel_requested(cancel)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char buffer[4096];
        if (poll(&p, 1, 200) <= 0)
            continue;
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        text_add_bytes(ret, buffer, (size_t)n);
    }
    return false;
}

const char *text_size(char ret[TEXT_SIZE_BYTES], int64_t bytes)
{
    double mb = (double)bytes / KB_MB;
    if (bytes > 0 && mb < 0.1)
        mb = 0.1;
    // What is rounded up to 1000 MB is a GB.
    if (mb >= 999.5)
        snprintf(ret, TEXT_SIZE_BYTES, "%.1f GB", mb * KB_MB / KB_GB);
    else
        snprintf(ret, TEXT_SIZE_BYTES, mb >= 9.95 || mb <= 0 ? "%.0f MB" : "%.1f MB", mb);
    return ret;
}
