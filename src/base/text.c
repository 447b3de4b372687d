#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
