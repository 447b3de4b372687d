// Names as users call their files. They are shown, logged and offered for downloads, and never
// become paths but by path_safe_name(); still nothing in them may fool a reader or a program behind
// us.
#include "asset/name.h"
#include "base/utf8.h"

#include <string.h>

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
        if (utf8_is_hidden(c) || (n == 0 && c == ' '))
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
