// Names as users call their files. They are shown, logged and offered for downloads, and never
// become paths; still nothing in them may fool a reader or a program behind us.
#include "asset/name.h"
#include "base/utf8.h"

#include <string.h>

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
        int32_t c = utf8_next(name, &length);
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
