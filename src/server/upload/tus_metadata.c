#include "server/upload/tus.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

static enum kb_code read_pair(struct tus_metadata *ret, const char *pair, size_t n,
                              struct kb_error *err)
{
    const char *space = memchr(pair, ' ', n);
    size_t n_key = space ? (size_t)(space - pair) : n;
    if (n_key == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the header Upload-Metadata has a value without a name"));
    size_t size = 0;
    CLEANUP(kb_freep)
    char *value = space ? base64_decode(space + 1, n - n_key - 1, &size) : kb_strdup("");
    if (!value)
        return kb_fail(err, KB_BAD_INPUT, _("'%.*s' in the header Upload-Metadata is not base64"),
                       utf8_fit(pair, (int)KB_MIN(n_key, 40)), pair);
    bool filename = n_key == 8 && memcmp(pair, "filename", 8) == 0;
    if (filename && (strlen(value) != size || !utf8_valid(value)))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the file name in the header Upload-Metadata is not UTF-8"));
    if (filename && !ret->filename)
        ret->filename = TAKE(value);
    else if (filename)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the header Upload-Metadata names the file more than once"));
    else if (n_key == 4 && memcmp(pair, "lang", 4) == 0 &&
             (strcmp(value, "zh") == 0 || strcmp(value, "en") == 0))
        memcpy(ret->lang, value, 3);
    return KB_OK;
}

enum kb_code tus_metadata_parse(struct tus_metadata *ret, const char *header, struct kb_error *err)
{
    CLEANUP(tus_metadata_free) struct tus_metadata m = {0};
    const char *p = header && *header ? header : NULL;
    while (p) {
        p += strspn(p, " \t");
        size_t n = strcspn(p, ",");
        const char *next = p[n] == ',' ? p + n + 1 : NULL;
        while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) // around a comma, or no value
            n--;
        enum kb_code code = read_pair(&m, p, n, err);
        if (code != KB_OK)
            return code;
        p = next;
    }
    *ret = m;
    m = (struct tus_metadata){0};
    return KB_OK;
}

void tus_metadata_free(struct tus_metadata *m)
{
    free(m->filename);
    *m = (struct tus_metadata){0};
}
