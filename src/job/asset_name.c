// Names as users call their files. They are shown, logged and offered for downloads, and never
// become paths; still nothing in them may fool a reader or a program behind us.
#include "job/assets_internal.h"

#include <string.h>

// One character of UTF-8 (Unicode 15, table 3-7), its length in *ret_length; -1 and length 1 for a
// byte that does not belong to one. s ends with a NUL, which no continuation byte equals.
static int32_t next_character(const char *s, int *ret_length)
{
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

static bool is_left_out(int32_t c)
{
    return (c >= 0 && c < 0x20) || (c >= 0x7f && c < 0xa0) ||              // control characters
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || // direction overrides
           c == 0x200e || c == 0x200f || c == 0x061c ||                    // direction marks
           c == 0x2028 || c == 0x2029 || c == 0xfeff; // line ends, byte order mark
}

void asset_clean_name(char ret[256], const char *name)
{
    size_t n = 0;
    for (const char *p = name; *p; p++)
        if (*p == '/' || *p == '\\')
            name = p + 1;
    while (*name) {
        int length;
        int32_t c = next_character(name, &length);
        const char *bytes = c < 0 ? "\xef\xbf\xbd" : name;
        size_t size = c < 0 ? 3 : (size_t)length;
        name += length;
        if (is_left_out(c) || (n == 0 && c == ' '))
            continue;
        if (n + size > 255)
            break;
        memcpy(ret + n, bytes, size);
        n += size;
    }
    while (n > 0 && ret[n - 1] == ' ')
        n--;
    ret[n] = '\0';
    if (strcmp(ret, ".") == 0 || strcmp(ret, "..") == 0)
        ret[0] = '\0';
}
