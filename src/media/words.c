#include "media/words.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <unictype.h>

void words_free(struct words *w)
{
    free(w->text);
    free(w->list);
    *w = (struct words){0};
}

bool words_add(struct words *w, struct word word)
{
    if (w->n >= WORDS_MOST || !kb_grow(&w->list, w->n, &w->capacity, sizeof(*w->list)))
        return false;
    w->list[w->n++] = word;
    return true;
}

// --- finding words

enum letter {
    LETTER_NONE, // blanks, punctuation
    LETTER_ONE,  // a word by itself
    LETTER_PART, // of a word
    LETTER_JOIN, // of a word if it stands between parts of one
};

static enum letter letter_kind(int32_t c)
{
    if (c < 0)
        return LETTER_NONE;
    if (c == '.' || c == ',' || c == ':' || c == '-' || c == '\'' || c == 0x2019 || c == '@' ||
        c == '/' || c == '_')
        return LETTER_JOIN;
    bool hangul = c >= 0xac00 && c <= 0xd7a3, wide_latin = c >= 0xff10 && c <= 0xff5a;
    bool alphabetic = uc_is_property_alphabetic((ucs4_t)c);
    if (alphabetic && c >= 0x2e80 && !hangul && !wide_latin)
        return LETTER_ONE;
    return alphabetic || c == '%' || c == 0x2103 || c == '&' || c == '+' || c == '#' ||
                   uc_is_general_category((ucs4_t)c, UC_NUMBER) ||
                   uc_is_general_category((ucs4_t)c, UC_MARK) ||
                   uc_is_general_category((ucs4_t)c, UC_CURRENCY_SYMBOL)
               ? LETTER_PART
               : LETTER_NONE;
}

bool words_split(struct words *w, size_t first, size_t n)
{
    size_t end = first + n, begin = end; // begin < end: inside a word
    int length = 0, ignored;
    for (size_t at = first; at < end; at += (size_t)length) {
        enum letter kind = letter_kind(utf8_next(w->text + at, &length));
        size_t after = at + (size_t)length;
        if (kind == LETTER_JOIN)
            kind = begin < end && after < end &&
                           letter_kind(utf8_next(w->text + after, &ignored)) == LETTER_PART
                       ? LETTER_PART
                       : LETTER_NONE;
        if (kind == LETTER_PART && begin == end)
            begin = at;
        if (kind != LETTER_PART && begin < end) {
            if (!words_add(w, (struct word){.first = begin, .n = at - begin}))
                return false;
            begin = end;
        }
        if (kind == LETTER_ONE && !words_add(w, (struct word){.first = at, .n = after - at}))
            return false;
    }
    return begin == end || words_add(w, (struct word){.first = begin, .n = end - begin});
}

// --- as JSON

// Times in the file are milliseconds. Rounded, so that what was written stays what it is.
static json_int_t ms(int64_t us)
{
    return (us + 500) / 1000;
}

char *words_json(const struct words *w)
{
    json_auto_t *list = json_array();
    for (int i = 0; i < w->n; i++) {
        const struct word *word = &w->list[i];
        if (json_array_append_new(list,
                                  json_pack("[I, I, I, I]", ms(word->begin_us), ms(word->end_us),
                                            (json_int_t)word->first, (json_int_t)word->n)) != 0)
            return NULL;
    }
    json_auto_t *root = json_pack("{s:s, s:O}", "text", w->text ? w->text : "", "words", list);
    return root ? json_dumps(root, JSON_COMPACT) : NULL;
}

// Does the text have a letter that begins at this byte? Its end counts.
static bool is_between_letters(const char *text, size_t at)
{
    return ((unsigned char)text[at] & 0xc0) != 0x80;
}

// May it follow the last word of w, whose text is valid UTF-8?
static bool fits(const struct words *w, size_t text_size, const struct word *word)
{
    const struct word none = {0};
    const struct word *last = w->n > 0 ? &w->list[w->n - 1] : &none;
    return word->begin_us >= last->begin_us && word->end_us >= word->begin_us &&
           word->end_us <= WORDS_LAST_US && word->first >= last->first + last->n && word->n > 0 &&
           word->first < text_size && word->n <= text_size - word->first &&
           is_between_letters(w->text, word->first) &&
           is_between_letters(w->text, word->first + word->n);
}

// Four whole numbers from place `at` of a list. False: they are none, or larger than any can be.
static bool read_four(const json_t *list, size_t at, int64_t ret[4])
{
    for (size_t i = 0; i < 4; i++) {
        const json_t *v = json_array_get(list, at + i);
        ret[i] = json_integer_value(v);
        if (!json_is_integer(v) || ret[i] < -WORDS_LAST_US / 1000 || ret[i] > WORDS_LAST_US / 1000)
            return false;
    }
    return true;
}

static bool read_list(struct words *ret, const json_t *list)
{
    size_t size = strlen(ret->text), n = json_array_size(list);
    if (!json_is_array(list) || n > WORDS_MOST)
        return false;
    for (size_t i = 0; i < n; i++) {
        int64_t v[4];
        const json_t *one = json_array_get(list, i);
        if (json_array_size(one) != 4 || !read_four(one, 0, v) || v[2] < 0 || v[3] < 0)
            return false;
        const struct word word = {v[0] * 1000, v[1] * 1000, (size_t)v[2], (size_t)v[3]};
        if (!fits(ret, size, &word) || !words_add(ret, word))
            return false;
    }
    return true;
}

enum kb_code words_parse(struct words *ret, const char *json, struct kb_error *err)
{
    json_auto_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    const char *text;
    json_t *list;
    if (root &&
        json_unpack_ex(root, NULL, JSON_STRICT, "{s:s, s:o}", "text", &text, "words", &list) == 0 &&
        strlen(text) <= WORDS_TEXT_BYTES) {
        ret->text = kb_strdup(text);
        if (read_list(ret, list))
            return KB_OK;
        words_free(ret);
    }
    return kb_fail(err, KB_BAD_INPUT, _("the times of the words are not as koubo writes them"));
}

json_t *words_pack(const struct words *w)
{
    json_t *ret = json_array();
    int64_t end_ms = 0;
    size_t end = 0;
    bool ok = ret;
    for (int i = 0; ok && i < w->n; i++) {
        const struct word *word = &w->list[i];
        const json_int_t four[] = {ms(word->begin_us) - end_ms,
                                   ms(word->end_us) - ms(word->begin_us),
                                   (json_int_t)(word->first - end), (json_int_t)word->n};
        for (int k = 0; ok && k < 4; k++)
            ok = json_array_append_new(ret, json_integer(four[k])) == 0;
        end_ms = ms(word->end_us);
        end = word->first + word->n;
    }
    if (ok)
        return ret;
    json_decref(ret);
    return NULL;
}

bool words_unpack(struct words *ret, const json_t *packed)
{
    size_t size = strlen(ret->text), n = json_array_size(packed), end = 0;
    int64_t end_ms = 0;
    bool ok = json_is_array(packed) && n % 4 == 0 && n / 4 <= WORDS_MOST && utf8_valid(ret->text);
    for (size_t i = 0; ok && i < n; i += 4) {
        int64_t v[4];
        if (!read_four(packed, i, v) || v[2] < 0 || v[3] < 0) {
            ok = false;
            break;
        }
        int64_t begin_ms = end_ms + v[0];
        const struct word word = {begin_ms * 1000, (begin_ms + v[1]) * 1000, end + (size_t)v[2],
                                  (size_t)v[3]};
        ok = fits(ret, size, &word) && words_add(ret, word);
        end_ms = begin_ms + v[1];
        end = word.first + word.n;
    }
    if (!ok) {
        free(ret->list);
        ret->list = NULL;
        ret->n = ret->capacity = 0;
    }
    return ok;
}
