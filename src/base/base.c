#include "base/base.h"

#include "base/sentence.h"
#include "base/utf8.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum kb_code(kb_fail)(struct kb_error *err, enum kb_code code, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        sentence_pack(err->kept, sizeof(err->kept), fmt, args);
        vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
        utf8_mend(err->text, sizeof(err->text));
        err->code = code;
    }
    return code;
}

enum kb_code kb_wrap(struct kb_error *err, const char *fmt, ...)
{
    if (!err)
        return KB_INTERNAL;
    char cause[sizeof(err->text)], kept[sizeof(err->kept)];
    memcpy(cause, err->text, sizeof(cause));
    memcpy(kept, err->kept, sizeof(kept));

    const char *joint = sentence_joint(fmt);
    va_list args;
    va_start(args, fmt);
    sentence_pack(err->kept, sizeof(err->kept), fmt, args);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(err->text))
        snprintf(err->text + n, sizeof(err->text) - (size_t)n, "%s%.*s", joint,
                 (int)sizeof(err->text) - n, cause);
    utf8_mend(err->text, sizeof(err->text));
    size_t n_context = strlen(err->kept), n_kept = strlen(kept);
    if (n_kept == 0 || n_context == 0 || n_context + n_kept >= sizeof(err->kept))
        err->kept[0] = '\0'; // then the text is all there is
    else
        memcpy(err->kept + n_context, kept, n_kept + 1);
    return err->code;
}

enum kb_code(kb_no_memory)(struct kb_error *err)
{
    return kb_fail(err, KB_NO_SPACE,
                   _("out of memory; close other programs or use a smaller video"));
}

void kb_freep(void *pointer_to_pointer)
{
    void **p = pointer_to_pointer;
    free(*p);
    *p = NULL;
}

bool kb_grow(void *list, int n, int *capacity, size_t size)
{
    void *items;
    if (n < *capacity)
        return true;
    int more = KB_MAX(64, *capacity * 2);
    memcpy(&items, list, sizeof(items));
    items = reallocarray(items, (size_t)more, size);
    if (!items)
        return false;
    memcpy(list, &items, sizeof(items));
    *capacity = more;
    return true;
}

void *kb_alloc(size_t size)
{
    void *p = calloc(1, size);
    if (!p)
        abort();
    return p;
}

char *kb_strdup(const char *s)
{
    if (!s)
        return NULL;
    char *copy = strdup(s);
    if (!copy)
        abort();
    return copy;
}

char *kb_printf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        abort();
    return text;
}

void *kb_calloc_checked(size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total) || total > SIZE_MAX / 2)
        return NULL;
    return calloc(1, total ? total : 1);
}

int64_t kb_now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int kb_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

int64_t kb_wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void kb_random_hex(char *ret, size_t n)
{
    for (size_t i = 0; i < n; i += 2) {
        uint8_t byte;
        if (getrandom(&byte, 1, 0) != 1)
            abort(); // never on Linux once the machine has started
        char digits[3];
        snprintf(digits, sizeof(digits), "%02x", byte);
        memcpy(ret + i, digits, KB_MIN(n - i, (size_t)2));
    }
    ret[n] = '\0';
}
