#include "media/sentences.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unictype.h>

// Abbreviations that are followed by more of their sentence; without their last dot.
static const char *const abbreviations[] = {
    "Mr",  "Mrs", "Ms",     "Dr",  "Prof", "St",  "Sr",  "Jr",  "Gen",   "Col", "Sgt",
    "Rev", "Hon", "Capt",   "Lt",  "vs",   "No",  "Nos", "Fig", "fig",   "Vol", "vol",
    "pp",  "cf",  "approx", "e.g", "i.e",  "Jan", "Feb", "Mar", "Apr",   "Jun", "Jul",
    "Aug", "Sep", "Sept",   "Oct", "Nov",  "Dec", "Mt",  "Ave", "a.k.a",
};

static bool is_one_of(int32_t c, const int32_t *list)
{
    while (*list && *list != c)
        list++;
    return *list != 0;
}

static bool is_blank(int32_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v' || c == 0xa0 ||
           c == 0x3000 || c == 0x2028 || c == 0x2029 || c == 0xfeff;
}

static bool ends_line(int32_t c)
{
    return c == '\n' || c == '\r' || c == 0x2028 || c == 0x2029;
}

// Of full width: they end a sentence wherever they stand. 。！？｡
static bool is_full_stop(int32_t c)
{
    return is_one_of(c, (const int32_t[]){0x3002, 0xff01, 0xff1f, 0xff61, 0});
}

// What may stand behind the end and belongs to it: quotes, brackets, more of the same.
static bool is_closing(int32_t c)
{
    return is_full_stop(c) ||
           is_one_of(c, (const int32_t[]){'"',    '\'',   ')',    ']',    '}',    '!',    '?',
                                          '.',    0x201d, 0x2019, 0x300d, 0x300f, 0x3011, 0xff09,
                                          0x300b, 0x3009, 0x2026, '~',    0xff5e, 0});
}

// Where a sentence that is too long may be parted: ，、；：, after ;
static bool is_comma(int32_t c)
{
    return is_one_of(
        c, (const int32_t[]){',', ';', ':', 0xff0c, 0x3001, 0xff1b, 0xff1a, 0x2014, 0x2026, 0});
}

static bool says_something(int32_t c)
{
    return c > 0 &&
           (uc_is_property_alphabetic((ucs4_t)c) || uc_is_general_category((ucs4_t)c, UC_NUMBER));
}

static int32_t letter(const char *text, size_t at, int *ret_length)
{
    *ret_length = 0;
    return text[at] ? utf8_next(text + at, ret_length) : 0;
}

// The word of Latin letters and dots that ends before `at`, within the sentence from first on.
static size_t word_before(const char *text, size_t first, size_t at)
{
    size_t begin = at;
    while (begin > first && ((unsigned char)text[begin - 1] > ' ') &&
           (unsigned char)text[begin - 1] < 0x80 && !strchr("\"'([{", text[begin - 1]))
        begin--;
    return begin;
}

// Is the dot at `at`, with a blank or a Chinese letter behind it, one of an abbreviation, an
// initial or a number of a list?
static bool is_abbreviation(const char *text, size_t first, size_t at)
{
    size_t begin = word_before(text, first, at), n = at - begin;
    const char *word = text + begin;
    for (size_t i = 0; i < ARRAY_LEN(abbreviations); i++)
        if (strlen(abbreviations[i]) == n && strncmp(abbreviations[i], word, n) == 0)
            return true;
    if (n == 1 && *word >= 'A' && *word <= 'Z') // an initial
        return true;
    return begin == first && n > 0 && n <= 3 && strspn(word, "0123456789") >= n; // "1. Open it"
}

// Does the '.', '!' or '?' at `at` end the sentence that began at first? after: what follows its
// kind and closing marks.
static bool ends_there(const char *text, size_t first, size_t at, size_t after)
{
    int length;
    int32_t next = letter(text, after, &length);
    if (next == 0 || ends_line(next))
        return true;
    if (!is_blank(next)) // 3.14, koubo.com, "?a=b"; but Chinese writes on without a blank
        return next >= 0x2e80 && at > first &&
               !(text[at] == '.' && strchr("0123456789", text[at - 1]));
    if (text[at] != '.')
        return true;
    if (after == at + 1 && is_abbreviation(text, first, at))
        return false;
    while (is_blank(next)) {
        after += (size_t)length;
        next = letter(text, after, &length);
    }
    return !(next >= 'a' && next <= 'z'); // it goes on: "etc. and so on"
}

// --- parting

struct finder {
    const char *text;
    struct sentence *list;
    int n, capacity;
    bool out_of_memory;
};

static void trim(const char *text, size_t *first, size_t *end)
{
    int length;
    while (*first < *end && is_blank(letter(text, *first, &length)))
        *first += (size_t)length;
    for (size_t at = *first, last = *first; at <= *end; at += (size_t)length) {
        if (at == *end) {
            *end = last;
            return;
        }
        bool blank = is_blank(letter(text, at, &length));
        last = blank ? last : at + (size_t)length;
    }
}

static bool has_words(const char *text, size_t first, size_t end)
{
    int length;
    for (size_t at = first; at < end; at += (size_t)length)
        if (says_something(letter(text, at, &length)))
            return true;
    return false;
}

static void add(struct finder *f, size_t first, size_t end)
{
    trim(f->text, &first, &end);
    if (f->out_of_memory || !has_words(f->text, first, end))
        return;
    if (!kb_grow(&f->list, f->n, &f->capacity, sizeof(*f->list)))
        f->out_of_memory = true;
    else
        f->list[f->n++] = (struct sentence){.first = first, .n = end - first};
}

// The last place before limit at which what begins at first may be parted; if there is none, limit.
static size_t part_at(const char *text, size_t first, size_t limit)
{
    size_t comma = 0, blank = 0, last = first;
    int length;
    for (size_t at = first; at < limit; at += (size_t)length) {
        int32_t c = letter(text, at, &length);
        size_t after = at + (size_t)length;
        if (after > limit)
            break;
        int ignored;
        int32_t next = letter(text, after, &ignored);
        // 1,000 and 12:30 stay whole.
        if (is_comma(c) && (c >= 0x80 || is_blank(next)) && !is_comma(next))
            comma = after;
        if (is_blank(c))
            blank = after;
        last = after;
    }
    return comma > first ? comma : blank > first ? blank : last;
}

static void add_parts(struct finder *f, size_t first, size_t end)
{
    trim(f->text, &first, &end);
    while (end - first > SENTENCE_BYTES) {
        // Not a long part and a short one: equal ones, as far as commas let it.
        size_t n = (end - first + SENTENCE_BYTES - 1) / SENTENCE_BYTES;
        size_t wish = KB_MIN((end - first) / n + SENTENCE_BYTES / 6, (size_t)SENTENCE_BYTES);
        size_t at = part_at(f->text, first, first + wish);
        add(f, first, at);
        first = at;
    }
    add(f, first, end);
}

bool sentences_find(const char *text, struct sentence **ret, int *ret_n)
{
    struct finder f = {.text = text};
    size_t first = 0, at = 0;
    int length;
    while (text[at]) {
        int32_t c = letter(text, at, &length);
        size_t after = at + (size_t)length;
        if (ends_line(c)) {
            int before = f.n;
            add_parts(&f, first, at);
            if (f.n > before || (f.n > 0 && first == at))
                f.list[f.n - 1].paragraph = true;
            first = after;
        } else if (is_full_stop(c) || c == '.' || c == '!' || c == '?') {
            int more;
            for (int32_t next = letter(text, after, &more); next && is_closing(next);
                 next = letter(text, after, &more))
                after += (size_t)more;
            if (is_full_stop(c) || ends_there(text, first, at, after)) {
                add_parts(&f, first, after);
                first = after;
            }
        }
        at = after;
    }
    add_parts(&f, first, at);
    if (f.n > 0)
        f.list[f.n - 1].paragraph = true;
    if (f.out_of_memory) {
        free(f.list);
        return false;
    }
    *ret = f.list;
    *ret_n = f.n;
    return true;
}
