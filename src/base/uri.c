#include "base/uri.h"

#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uri_decode(char *s, bool plus_is_space)
{
    bool whole = true;
    char *to = s;
    for (const char *from = s; *from; from++) {
        // s ends with a NUL, which is no digit: nothing behind it is read.
        int high = *from == '%' ? hex_digit(from[1]) : -1;
        int low = high >= 0 ? hex_digit(from[2]) : -1;
        if (low >= 0 && high + low > 0) {
            *to++ = (char)(high << 4 | low);
            from += 2;
        } else {
            whole = whole && *from != '%';
            *to++ = plus_is_space && *from == '+' ? ' ' : *from;
        }
    }
    *to = '\0';
    return whole;
}

void uri_encode(struct text *ret, const char *bytes, size_t n, const char *others)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool stays = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     (c && strchr(others, c));
        text_addf(ret, stays ? "%c" : "%%%02X", c);
    }
}

size_t uri_http(const char *s)
{
    return strncasecmp(s, "http://", 7) == 0 ? 7 : strncasecmp(s, "https://", 8) == 0 ? 8 : 0;
}
