#include "base/charset.h"

#include "base/file.h"
#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uchardet/uchardet.h>

#define GUESS_BYTES 65536 // from the beginning, enough to tell

// Encodings that the detector finds and that have an elder sister in files that people have, which
// holds all of it and more.
static const char *const sisters[][2] = {
    {"GB2312", "GB18030"}, {"GBK", "GB18030"}, {"HZ-GB-2312", "HZ"}, {"ASCII", "UTF-8"}};

static const struct {
    const char *mark;
    size_t n;
    const char *encoding;
} marks[] = {
    {"\xef\xbb\xbf", 3, "UTF-8"},
    {"\xff\xfe", 2, "UTF-16LE"},
    {"\xfe\xff", 2, "UTF-16BE"},
};

// How many of the first bytes at even and at odd places are zero: Latin letters in UTF-16.
static const char *wide(const uint8_t *bytes, size_t n)
{
    size_t zeros[2] = {0}, seen = KB_MIN(n, 4096) & ~(size_t)1;
    for (size_t i = 0; i < seen; i++)
        zeros[i & 1] += bytes[i] == 0;
    if (zeros[1] * 8 > seen && zeros[0] * 64 < seen)
        return "UTF-16LE";
    return zeros[0] * 8 > seen && zeros[1] * 64 < seen ? "UTF-16BE" : NULL;
}

// Not cut inside of a letter.
static bool is_utf8(const uint8_t *bytes, size_t n)
{
    CLEANUP(kb_freep) char *copy = kb_calloc_checked(n + 1, 1);
    if (!copy)
        return false;
    memcpy(copy, bytes, n);
    return strlen(copy) == n && utf8_valid(copy);
}

// KB_BAD_INPUT: nobody knows.
static bool guess(const uint8_t *bytes, size_t n, char ret[CHARSET_NAME])
{
    const char *known = wide(bytes, n);
    if (!known && is_utf8(bytes, n))
        known = "UTF-8";
    if (known) {
        snprintf(ret, CHARSET_NAME, "%s", known);
        return true;
    }
    uchardet_t detector = uchardet_new();
    if (!detector)
        return false;
    if (uchardet_handle_data(detector, (const char *)bytes, KB_MIN(n, GUESS_BYTES)) == 0) {
        uchardet_data_end(detector);
        snprintf(ret, CHARSET_NAME, "%s", uchardet_get_charset(detector));
    }
    uchardet_delete(detector);
    for (size_t i = 0; i < ARRAY_LEN(sisters); i++)
        if (strcmp(ret, sisters[i][0]) == 0)
            snprintf(ret, CHARSET_NAME, "%s", sisters[i][1]);
    return *ret != '\0';
}

// Text in which nothing that a text cannot hold stands: of control characters only blanks.
static bool is_text(const char *text)
{
    size_t odd = 0, n = 0;
    for (int length; *text; text += length, n++) {
        int32_t c = utf8_next(text, &length);
        odd += (c < 32 && c != '\n' && c != '\r' && c != '\t' && c != '\f') || c == 0x7f;
        odd += c == 0xfffd;
    }
    return odd * 20 <= n;
}

static enum kb_code convert(struct text *ret, const char *encoding, const uint8_t *bytes, size_t n,
                            const char *name, struct kb_error *err)
{
    iconv_t converter = iconv_open("UTF-8", encoding);
    if (converter == (iconv_t)-1)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("'%s' is in the encoding %s, which this system cannot read; save it as "
                         "UTF-8"),
                       name, encoding);
    char *from = (char *)bytes;
    size_t left = n;
    while (left > 0) {
        char part[4096], *to = part;
        size_t room = sizeof(part);
        size_t done = iconv(converter, &from, &left, &to, &room);
        text_add_bytes(ret, part, sizeof(part) - room);
        if (done != (size_t)-1 || errno == E2BIG)
            continue;
        if (errno == EINVAL) // ends inside of a letter
            break;
        text_add(ret, "\xef\xbf\xbd");
        from++;
        left--;
    }
    iconv_close(converter);
    return KB_OK;
}

static void leave_nuls_out(struct text *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->size; i++)
        if (t->data[i])
            t->data[n++] = t->data[i];
    if (t->data)
        t->data[n] = '\0';
    t->size = n;
}

enum kb_code charset_decode(char **ret, char ret_name[CHARSET_NAME], const void *bytes, size_t n,
                            const char *name, struct kb_error *err)
{
    const uint8_t *from = bytes;
    char encoding[CHARSET_NAME] = "";
    CLEANUP(text_free) struct text text = {0};
    for (size_t i = 0; i < ARRAY_LEN(marks) && !*encoding; i++)
        if (n >= marks[i].n && memcmp(from, marks[i].mark, marks[i].n) == 0) {
            snprintf(encoding, sizeof(encoding), "%s", marks[i].encoding);
            from += marks[i].n;
            n -= marks[i].n;
        }
    if (!*encoding && !guess(from, n, encoding))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is not a text, or in no encoding that is known; "
                         "save it as UTF-8"),
                       name);
    enum kb_code code = convert(&text, encoding, from, n, name, err);
    if (code != KB_OK)
        return code;
    leave_nuls_out(&text);
    if (text.size == 0)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is empty"), name);
    if (!is_text(text_get(&text)))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is not a text, or in no encoding that is known; "
                         "save it as UTF-8"),
                       name);
    if (ret_name)
        memcpy(ret_name, encoding, CHARSET_NAME);
    *ret = TAKE(text.data);
    return KB_OK;
}

enum kb_code charset_read(char **ret, char ret_name[CHARSET_NAME], const char *path,
                          size_t max_bytes, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map map = {0};
    enum kb_code code = file_map(&map, path, err);
    if (code == KB_OK && map.size > max_bytes)
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' is too long for a text"), path);
    return code == KB_OK ? charset_decode(ret, ret_name, map.data, map.size, path, err) : code;
}
