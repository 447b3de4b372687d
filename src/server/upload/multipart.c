// The delimiter between parts is CR LF "--" boundary. A boundary holds no CR, so the only CR of the
// delimiter is its first byte, and a comparison that fails can only start again at the byte where
// it failed: one counter is the whole search, however the body is cut into pieces.
#include "server/upload/multipart.h"

#include "base/uri.h"
#include "http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_BOUNDARY 70 // RFC 2046, 5.1.1
#define MAX_HEADERS  16384

enum multipart_state {
    PREAMBLE,  // before the first delimiter
    DELIMITED, // behind a delimiter, its line has not ended
    HEADERS,
    DATA,
    EPILOGUE, // behind the closing delimiter
    STOPPED,
};

struct multipart {
    const struct multipart_calls *calls;
    void *ctx;
    enum multipart_state state;
    char delimiter[MAX_BOUNDARY + 5];
    size_t n_delimiter;
    size_t n_matched; // bytes of the delimiter seen at the end of what was fed
    char tail[2];     // what follows a delimiter: "--" closes, CR LF opens a part
    size_t n_tail;
    char headers[MAX_HEADERS + 1];
    size_t n_headers;
    int n_parts;
};

// --- header parameters

// A token or quoted string from p; where it ends. ret may be NULL: only skip.
static const char *read_value(const char *p, char *ret)
{
    size_t n = 0;
    if (*p != '"') {
        size_t length = strcspn(p, "; \t");
        if (ret) {
            memcpy(ret, p, length);
            ret[length] = '\0';
        }
        return p + length;
    }
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
            p++;
        if (ret)
            ret[n] = *p;
        n++;
    }
    if (ret)
        ret[n] = '\0';
    return *p ? p + 1 : p;
}

static char *find_parameter(const char *value, const char *name)
{
    size_t n_name = strlen(name);
    const char *p = value + strcspn(value, ";");
    while (*p == ';') {
        p += 1 + strspn(p + 1, " \t");
        size_t n = strcspn(p, "=; \t");
        bool found = n == n_name && strncasecmp(p, name, n) == 0;
        p += n;
        p += strspn(p, " \t");
        if (*p == '=') {
            p += 1 + strspn(p + 1, " \t");
            char *ret = found ? kb_alloc(strlen(p) + 1) : NULL;
            p = read_value(p, ret);
            if (ret)
                return ret;
        }
        p += strcspn(p, ";");
    }
    return NULL;
}

// UTF-8'language'percent-encoded. NULL if it is not that.
static char *decode_extended(const char *value)
{
    if (strncasecmp(value, "utf-8'", 6) != 0)
        return NULL;
    const char *p = strchr(value + 6, '\'');
    if (!p)
        return NULL;
    CLEANUP(kb_freep) char *ret = kb_strdup(p + 1);
    return uri_decode(ret, false) ? TAKE(ret) : NULL;
}

char *header_parameter(const char *value, const char *name)
{
    CLEANUP(kb_freep) char *extended_name = kb_printf("%s*", name);
    CLEANUP(kb_freep) char *extended = find_parameter(value, extended_name);
    char *ret = extended ? decode_extended(extended) : NULL;
    return ret ? ret : find_parameter(value, name);
}

// --- the parser

static bool is_boundary(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= MAX_BOUNDARY && s[n - 1] != ' ' &&
           strspn(s,
                  "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ") ==
               n;
}

enum kb_code multipart_create(struct multipart **ret, const char *content_type,
                              const struct multipart_calls *calls, void *ctx, struct kb_error *err)
{
    if (!media_type_is(content_type, "multipart/form-data"))
        return kb_fail(err, KB_BAD_INPUT, _("the body is not a form (multipart/form-data)"));
    CLEANUP(kb_freep) char *boundary = header_parameter(content_type, "boundary");
    if (!boundary || !is_boundary(boundary))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the header Content-Type of the form has no valid boundary"));
    struct multipart *m = kb_alloc(sizeof(*m));
    m->calls = calls;
    m->ctx = ctx;
    m->n_delimiter = (size_t)snprintf(m->delimiter, sizeof(m->delimiter), "\r\n--%s", boundary);
    m->n_matched = 2; // the first delimiter needs no line before it
    *ret = m;
    return KB_OK;
}

// Browsers write a quote in a name as %22 and line ends as %0D %0A (HTML, 4.10.21.8), and nothing
// else in percent form. A line end has no place in a name.
static void unescape_filename(char *name)
{
    char *to = name;
    for (const char *p = name; *p; p++) {
        bool line_end = strncasecmp(p, "%0D", 3) == 0 || strncasecmp(p, "%0A", 3) == 0;
        bool quote = strncmp(p, "%22", 3) == 0;
        if (line_end || quote)
            p += 2;
        if (!line_end)
            *to++ = quote ? '"' : *p;
    }
    *to = '\0';
}

static enum kb_code begin_part(struct multipart *m, struct kb_error *err)
{
    if (memchr(m->headers, '\0', m->n_headers))
        return kb_fail(err, KB_BAD_INPUT, _("a part of the form has a zero byte in its headers"));
    CLEANUP(kb_freep) char *name = NULL;
    CLEANUP(kb_freep) char *filename = NULL;
    static const char header[] = "content-disposition:";
    for (char *line = m->headers; *line; line += strcspn(line, "\r\n")) {
        line += strspn(line, "\r\n");
        if (strncasecmp(line, header, sizeof(header) - 1) != 0)
            continue;
        char *value = line + sizeof(header) - 1;
        value += strspn(value, " \t");
        char *end = value + strcspn(value, "\r\n");
        char kept = *end;
        *end = '\0';
        if (strncasecmp(value, "form-data", 9) == 0) {
            name = header_parameter(value, "name");
            filename = header_parameter(value, "filename");
        }
        *end = kept;
        break; // only the first one counts
    }
    if (!name)
        return kb_fail(err, KB_BAD_INPUT, _("a part of the form has no name"));
    if (++m->n_parts > MULTIPART_MAX_PARTS)
        return kb_fail(err, KB_BAD_INPUT, _("the form has more than %d parts"),
                       MULTIPART_MAX_PARTS);
    if (filename)
        unescape_filename(filename);
    m->state = DATA;
    m->n_headers = 0;
    return m->calls->part(m->ctx, name, filename) ? KB_OK : KB_CANCELLED;
}

static enum kb_code feed_headers(struct multipart *m, char c, struct kb_error *err)
{
    if (m->n_headers == MAX_HEADERS)
        return kb_fail(err, KB_BAD_INPUT, _("the headers of a part of the form are too long"));
    m->headers[m->n_headers++] = c;
    m->headers[m->n_headers] = '\0';
    bool whole = c == '\n' &&
                 ((m->n_headers == 2 && m->headers[0] == '\r') ||
                  (m->n_headers >= 4 && memcmp(m->headers + m->n_headers - 4, "\r\n\r\n", 4) == 0));
    return whole ? begin_part(m, err) : KB_OK;
}

static enum kb_code feed_tail(struct multipart *m, char c, struct kb_error *err)
{
    if (m->n_tail == 0 && (c == ' ' || c == '\t')) // padding that transports may add
        return KB_OK;
    m->tail[m->n_tail++] = c;
    if (m->n_tail < 2)
        return KB_OK;
    m->n_tail = 0;
    if (memcmp(m->tail, "--", 2) == 0)
        m->state = EPILOGUE;
    else if (memcmp(m->tail, "\r\n", 2) == 0)
        m->state = HEADERS;
    else
        return kb_fail(err, KB_BAD_INPUT,
                       _("a line of the form that begins like its boundary "
                         "does not end like it"));
    return KB_OK;
}

static bool emit(struct multipart *m, const char *data, size_t n)
{
    return n == 0 || m->state != DATA || m->calls->data(m->ctx, data, n);
}

// Content up to the next delimiter or the end of the piece; *ret_used: how much of it.
static enum kb_code feed_data(struct multipart *m, const char *data, size_t n, size_t *ret_used)
{
    size_t before = m->n_matched; // bytes of the delimiter that earlier pieces held back
    size_t i = 0;
    while (i < n && m->n_matched < m->n_delimiter) {
        if (m->n_matched == 0) {
            const char *cr = memchr(data + i, '\r', n - i);
            i = cr ? (size_t)(cr - data) : n;
            if (!cr)
                break;
        }
        if (data[i] == m->delimiter[m->n_matched]) {
            m->n_matched++;
            i++;
            continue;
        }
        if (before > 0) { // they were content after all
            // The 2 bytes that stand in for a line before the first delimiter are in PREAMBLE,
            // where nothing is emitted.
            if (!emit(m, m->delimiter, before))
                return KB_CANCELLED;
            before = 0;
        }
        m->n_matched = 0;
    }
    *ret_used = i;
    size_t held = m->n_matched - before; // of this piece
    if (!emit(m, data, i - held))
        return KB_CANCELLED;
    if (m->n_matched < m->n_delimiter)
        return KB_OK;
    bool ended = m->state == DATA;
    m->n_matched = 0;
    m->state = DELIMITED;
    return !ended || m->calls->end(m->ctx) ? KB_OK : KB_CANCELLED;
}

enum kb_code multipart_feed(struct multipart *m, const void *data, size_t n, struct kb_error *err)
{
    const char *p = data;
    enum kb_code code = m->state == STOPPED ? KB_CANCELLED : KB_OK;
    while (n > 0 && code == KB_OK && m->state != EPILOGUE) {
        size_t used = 1;
        if (m->state == DELIMITED)
            code = feed_tail(m, *p, err);
        else if (m->state == HEADERS)
            code = feed_headers(m, *p, err);
        else
            code = feed_data(m, p, n, &used);
        p += used;
        n -= used;
    }
    if (code != KB_OK)
        m->state = STOPPED;
    return code;
}

enum kb_code multipart_finish(struct multipart *m, struct kb_error *err)
{
    if (m->state == EPILOGUE)
        return KB_OK;
    return kb_fail(err, KB_BAD_INPUT, _("the form ends in the middle"));
}

void multipart_free(struct multipart **m)
{
    free(*m);
    *m = NULL;
}
