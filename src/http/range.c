// The header Range: RFC 9110, sections 14.1 and 14.2.
#include "http/internal.h"

#include <string.h>
#include <strings.h>

// Digits at *p as a number; too many of them are the largest number. False: no digit.
static bool parse_position(const char **p, int64_t *ret)
{
    const char *start = *p;
    int64_t value = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, **p - '0', &value))
            value = INT64_MAX / 10; // stays too large, whatever digits follow
    *ret = value;
    return *p > start;
}

// One "first-last", "first-" or "-suffix". False: none of them.
// An empty *ret (end < start) lies outside the file.
static bool parse_spec(const char **p, int64_t size, struct range *ret)
{
    int64_t first, last;
    bool has_first = parse_position(p, &first);
    if (*(*p)++ != '-')
        return false;
    bool has_last = parse_position(p, &last);
    if (!has_first && !has_last)
        return false;
    if (has_first && has_last && last < first)
        return false;
    if (!has_first) {
        ret->start = KB_MAX(size - last, 0);
        ret->end = last > 0 ? size - 1 : -1;
    } else {
        ret->start = first;
        ret->end = has_last ? KB_MIN(last, size - 1) : size - 1;
    }
    if (ret->start > ret->end)
        *ret = (struct range){0, -1};
    return true;
}

int range_parse(const char *header, int64_t size, struct range ret[MAX_RANGES])
{
    int n_asked = 0, n = 0;
    int64_t sum = 0;
    if (!header || strncasecmp(header, "bytes=", 6) != 0)
        return 0;
    for (const char *p = header + 6; *p;) {
        p += strspn(p, " \t");
        if (*p == ',') { // a list may have empty elements
            p++;
            continue;
        }
        if (!*p)
            break;
        struct range range;
        if (!parse_spec(&p, size, &range))
            return 0;
        p += strspn(p, " \t");
        if (*p && *p != ',')
            return 0;
        if (++n_asked > MAX_RANGES)
            return 0;
        if (range.end >= range.start) {
            ret[n++] = range;
            sum += range.end - range.start + 1;
        }
    }
    if (n_asked == 0)
        return 0;
    // Ranges that overlap to more than the file has are no way to read it.
    if (n > 1 && sum > size)
        return 0;
    return n > 0 ? n : -1;
}
