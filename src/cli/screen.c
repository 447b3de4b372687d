#include "cli/screen.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unigbrk.h>
#include <unilbrk.h>
#include <unistd.h>
#include <uniwidth.h>

#define USUAL_COLUMNS 80

static const uint8_t *bytes(const char *text)
{
    return (const uint8_t *)text;
}

int screen_columns(FILE *f)
{
    const char *variable = getenv("COLUMNS");
    long wanted = variable ? strtol(variable, NULL, 10) : 0;
    struct winsize window = {0};
    int columns = ioctl(fileno(f), TIOCGWINSZ, &window) == 0 ? window.ws_col : 0;
    if (wanted > 0 && wanted < 10000 && (columns == 0 || wanted < columns))
        columns = (int)wanted;
    return columns ? columns : USUAL_COLUMNS;
}

int screen_width(const char *text)
{
    return u8_strwidth(bytes(text), "UTF-8");
}

void screen_print_padded(FILE *f, const char *text, int width)
{
    int missing = width - screen_width(text);
    fprintf(f, "%s%*s", text, KB_MAX(missing, 0), "");
}

// A new string that a terminal only shows.
static char *harmless(const char *text)
{
    char *clean = utf8_clean(text);
    for (char *c = clean; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    // U+0080 to U+009F are commands, too: C2 80 to C2 9F.
    for (char *c = clean; (c = strchr(c, '\xc2')); c++)
        if ((unsigned char)c[1] < 0xa0)
            c[1] = '\xbf'; // an inverted question mark
    return clean;
}

char *screen_cut(const char *text, int width)
{
    CLEANUP(kb_freep) char *clean = harmless(text);
    if (screen_width(clean) <= width)
        return TAKE(clean);
    if (width < 1)
        return kb_strdup("");
    const uint8_t *s = bytes(clean), *end = s + strlen(clean), *head = s, *tail = end;
    int room = width - 1, head_room = room - room / 2;
    for (const uint8_t *next = s; (next = u8_grapheme_next(next, end)); head = next)
        if (u8_width(s, (size_t)(next - s), "UTF-8") > head_room)
            break;
    room -= u8_width(s, (size_t)(head - s), "UTF-8");
    for (const uint8_t *before = end; (before = u8_grapheme_prev(before, s)); tail = before)
        if (u8_width(before, (size_t)(end - before), "UTF-8") > room)
            break;
    return kb_printf("%.*s…%s", (int)(head - s), clean, (const char *)tail);
}

static bool is_ascii_word(char c)
{
    return c > ' ' && c < 0x7f;
}

void screen_wrap(struct text *ret, const char *text, int column, int indent, int width)
{
    size_t n = strlen(text);
    if (n == 0)
        return;
    // The rules let "--lang" and "a|b" break after a hyphen and a bar. Ours are options.
    CLEANUP(kb_freep) char *fixed = kb_alloc(n);
    CLEANUP(kb_freep) char *breaks = kb_alloc(n);
    memset(fixed, UC_BREAK_UNDEFINED, n);
    for (size_t i = 1; i < n; i++)
        if (is_ascii_word(text[i - 1]) && is_ascii_word(text[i]))
            fixed[i] = UC_BREAK_PROHIBITED;
    u8_width_linebreaks(bytes(text), n, width - indent, KB_MAX(column - indent, 0), 0, fixed,
                        "UTF-8", breaks);
    size_t begin = 0;
    for (size_t i = 1; i <= n; i++) {
        bool must = text[i - 1] == '\n';
        if (i < n && !must && breaks[i] != UC_BREAK_POSSIBLE)
            continue;
        size_t length = i - begin - must;
        while (i < n && length > 0 && text[begin + length - 1] == ' ')
            length--;
        text_add_bytes(ret, text + begin, length);
        if (i < n || must)
            text_addf(ret, "\n%*s", i < n ? indent : 0, "");
        begin = i;
    }
}

void screen_print_wrapped(FILE *f, const char *text, int column)
{
    CLEANUP(text_free) struct text lines = {0};
    if (isatty(fileno(f)))
        screen_wrap(&lines, text, column, column, KB_MAX(screen_columns(f) - 1, column + 10));
    else
        text_add(&lines, text);
    fprintf(f, "%s\n", text_get(&lines));
}
