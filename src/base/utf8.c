#include "base/utf8.h"

#include "base/text.h"

#include <string.h>

int32_t utf8_next(const char *s, int *ret_length)
{
    // s ends with a NUL, which no continuation byte equals: nothing behind it is read.
    const unsigned char *b = (const unsigned char *)s;
    *ret_length = 1;
    if (b[0] < 0x80)
        return b[0];
    int length = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (b[0] < 0xc2 || b[0] > 0xf4)
        return -1;
    int32_t c = b[0] & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return -1;
        c = c << 6 | (b[i] & 0x3f);
    }
    static const int32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return -1;
    *ret_length = length;
    return c;
}

bool utf8_valid(const char *s)
{
    for (int length; *s; s += length)
        if (utf8_next(s, &length) < 0)
            return false;
    return true;
}

size_t utf8_count(const char *s)
{
    size_t n = 0;
    for (int length; *s; s += length, n++)
        utf8_next(s, &length);
    return n;
}

bool utf8_is_hidden(int32_t c)
{
    return (c >= 0 && c < 0x20) || (c >= 0x7f && c < 0xa0) ||              // control characters
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || // direction overrides
           c == 0x200e || c == 0x200f || c == 0x061c ||                    // direction marks
           c == 0x2028 || c == 0x2029 || c == 0xfeff; // line ends, byte order mark
}

char *utf8_clean(const char *s)
{
    if (!s)
        return NULL;
    struct text ret = {0};
    text_add(&ret, "");
    while (*s) {
        int length;
        if (utf8_next(s, &length) < 0)
            text_add(&ret, "\xef\xbf\xbd");
        else
            text_add_bytes(&ret, s, (size_t)length);
        s += length;
    }
    return ret.data;
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

int utf8_fit(const char *s, int n)
{
    int fits = (int)strnlen(s, (size_t)n), back = 0;
    if (s[fits] == '\0')
        return fits;
    while (back < 3 && back < fits && continues(s[fits - back]))
        back++;
    return continues(s[fits - back]) ? fits : fits - back;
}

void utf8_mend(char *text, size_t size)
{
    size_t n = strlen(text), tail = 0;
    if (n + 1 < size)
        return;
    while (tail < 3 && tail < n && continues(text[n - 1 - tail]))
        tail++;
    unsigned char lead = tail < n ? (unsigned char)text[n - 1 - tail] : 0;
    size_t wanted = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    if (tail < wanted)
        text[n - 1 - tail] = '\0';
}
