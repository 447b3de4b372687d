// Mail as RFC 5322 wants it: a subject of encoded words (RFC 2047), a body of base64 (RFC 2045), so
// that every line is short ASCII whatever the language.
#include "base/bytes.h"
#include "base/date.h"
#include "base/utf8.h"
#include "notify/internal.h"

#include <string.h>

#define WORD_BYTES 39 // as base64 52 characters; a line with an encoded word has at most 76
#define LINE_BYTES 57 // as base64 76 characters

static void add_subject(struct text *ret, const char *subject)
{
    text_add(ret, "Subject:");
    for (int n; *subject; subject += n) {
        n = utf8_fit(subject, WORD_BYTES); // words hold whole characters
        CLEANUP(kb_freep) char *word = base64_encode(subject, (size_t)n);
        text_addf(ret, " =?UTF-8?B?%s?=\r\n", word);
    }
}

static void add_body(struct text *ret, const struct message *m)
{
    CLEANUP(text_free) struct text body = {0};
    for (const char *c = m->text; *c; c++) // lines of a text end with CR LF, RFC 2046
        text_addf(&body, *c == '\n' ? "\r\n" : "%c", *c);
    if (m->url)
        text_addf(&body, "\r\n\r\n%s", m->url);
    text_add(&body, "\r\n");
    for (size_t at = 0; at < body.size; at += LINE_BYTES) {
        CLEANUP(kb_freep)
        char *line = base64_encode(body.data + at, KB_MIN(body.size - at, (size_t)LINE_BYTES));
        text_addf(ret, "%s\r\n", line);
    }
}

void mail_write(struct text *ret, const char *from, const json_t *to, const struct message *m)
{
    char date[DATE_BYTES];
    date_mail(date, kb_wall_ms() / 1000);
    text_addf(ret, "Date: %s\r\nFrom: %s\r\nTo:", date, from);
    for (size_t i = 0; i < json_array_size(to); i++)
        text_addf(ret, "%s %s", i ? ",\r\n" : "", json_string_value(json_array_get(to, i)));
    text_add(ret, "\r\n");
    add_subject(ret, m->title);
    text_addf(ret, "Message-ID: <%s%s>\r\n", m->delivery, strrchr(from, '@'));
    text_add(ret, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                  "Content-Type: text/plain; charset=utf-8\r\n"
                  "Content-Transfer-Encoding: base64\r\n\r\n");
    add_body(ret, m);
}
