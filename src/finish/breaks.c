#include "finish/breaks.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/utext.h>
#include <unilbrk.h>
#include <uniwidth.h>

static bool one_of(int32_t c, const char *letters)
{
    for (int length; *letters; letters += length)
        if (utf8_next(letters, &length) == c)
            return true;
    return false;
}

bool is_han(int32_t c)
{
    return (c >= 0x3400 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x20000 && c <= 0x3ffff) || (c >= 0x3040 && c <= 0x30ff) || c == 0x3005 ||
           c == 0x3007;
}

static bool is_digit(int32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 0xff10 && c <= 0xff19);
}

// Bounds of words, by ICU's dictionary for Chinese: marked at their bytes.
static bool mark_words(const char *text, size_t n, bool *ret)
{
    UErrorCode e = U_ZERO_ERROR;
    UText *bytes = utext_openUTF8(NULL, text, (int64_t)n, &e);
    UBreakIterator *words = ubrk_open(UBRK_WORD, "zh", NULL, 0, &e);
    if (U_SUCCESS(e))
        ubrk_setUText(words, bytes, &e);
    bool ok = U_SUCCESS(e);
    for (int32_t at = ok ? ubrk_first(words) : UBRK_DONE; at != UBRK_DONE; at = ubrk_next(words))
        if (at >= 0 && (size_t)at <= n)
            ret[at] = true;
    ubrk_close(words);
    utext_close(bytes);
    return ok;
}

// What a text up to here ends with; blanks and what closes are looked through.
static enum break_kind ended_with(const int32_t last[2], bool blank)
{
    if (one_of(last[0], "。！？!?…；;"))
        return BREAK_SENTENCE;
    if (last[0] == '.' && blank)
        return BREAK_SENTENCE;
    if (last[0] == 0x3001) // 、
        return BREAK_LIST;
    if (one_of(last[0], "，：:—–") || (last[0] == ',' && blank))
        return BREAK_CLAUSE;
    return BREAK_WORD;
}

uint8_t *breaks_find(const char *text)
{
    size_t n = strlen(text);
    CLEANUP(kb_freep) char *rules = kb_calloc_checked(n + 1, 1);
    CLEANUP(kb_freep) bool *words = kb_calloc_checked(n + 1, sizeof(*words));
    uint8_t *ret = kb_calloc_checked(n + 1, 1);
    if (!rules || !words || !ret) {
        free(ret);
        return NULL;
    }
    u8_possible_linebreaks((const uint8_t *)text, n, "UTF-8", rules);
    bool known = mark_words(text, n, words);
    int32_t last[2] = {0}; // the letter before, and the one before that
    bool blank = false;    // between it and here
    for (size_t i = 0; i < n;) {
        int length;
        int32_t c = utf8_next(text + i, &length);
        if (c == '\n' || c == '\r') {
            ret[i] = BREAK_LINE;
        } else if (rules[i] == UC_BREAK_POSSIBLE || rules[i] == UC_BREAK_MANDATORY) {
            ret[i] = (uint8_t)ended_with(last, blank);
            bool counts = is_digit(last[0]) && is_han(c) && !blank;
            if (ret[i] == BREAK_WORD && ((known && !words[i]) || counts))
                ret[i] = BREAK_INSIDE;
        }
        if (c == ' ' || c == '\t' || c == 0x3000) {
            blank = true;
        } else if (c == '\n' || c == '\r') {
            last[1] = last[0] = 0;
            blank = false;
        } else if (!one_of(c, "”’」』）)]】》\"")) {
            last[1] = last[0];
            last[0] = c;
            blank = false;
        }
        i += (size_t)length;
    }
    ret[n] = BREAK_LINE;
    return ret;
}

double breaks_width(const char *text, size_t n, const struct letters *l)
{
    double width = 0;
    for (size_t i = 0; i < n;) {
        int length;
        int32_t c = utf8_next(text + i, &length);
        int columns = c > 0 ? uc_width((ucs4_t)c, "UTF-8") : 1;
        width += columns == 2 ? 1 / l->han : columns == 1 ? 1 / l->latin : 0;
        i += (size_t)length;
    }
    return width;
}

size_t breaks_trim(const char *text, size_t n)
{
    // The last letters, from behind.
    while (n > 0) {
        size_t at = n - 1;
        int length;
        while (at > 0 && ((uint8_t)text[at] & 0xc0) == 0x80)
            at--;
        int32_t c = utf8_next(text + at, &length);
        bool drops = c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0x3000 ||
                     one_of(c, "，。、；：");
        if (!drops && one_of(c, ",.;:") && at > 0) {
            size_t before = at - 1;
            while (before > 0 && ((uint8_t)text[before] & 0xc0) == 0x80)
                before--;
            drops = is_han(utf8_next(text + before, &length));
        }
        if (!drops)
            break;
        n = at;
    }
    return n;
}
