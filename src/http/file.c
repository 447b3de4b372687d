// Files as answers: conditions (RFC 9110, section 13), ranges (section 14), names for saving.
#include "http/internal.h"

#include "base/beneath.h"
#include "base/date.h"
#include "base/uri.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES (64 << 10)

// --- conditions

bool etag_listed(const char *list, const char *etag, bool strong)
{
    size_t n = strlen(etag);
    for (const char *p = list; *p;) {
        p += strspn(p, ", \t");
        if (*p == '*')
            return true;
        bool weak = text_begins(p, "W/");
        p += weak ? 2 : 0;
        if (*p != '"')
            return false;
        const char *end = strchr(p + 1, '"');
        if (!end)
            return false;
        if (!(weak && strong) && (size_t)(end + 1 - p) == n && memcmp(p, etag, n) == 0)
            return true;
        p = end + 1;
    }
    return false;
}

struct file {
    int fd;
    int64_t size, modified_s;
    char etag[64], date[DATE_BYTES];
};

static void file_close(struct file *f)
{
    if (f->fd >= 0)
        close(f->fd);
}

static bool file_open(struct file *f, const char *folder, const char *path)
{
    struct stat st;
    f->fd = beneath_open(folder, path, O_RDONLY, 0);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return false;
    f->size = st.st_size;
    f->modified_s = st.st_mtim.tv_sec;
    snprintf(f->etag, sizeof(f->etag), "\"%jx-%jx-%jx\"", (uintmax_t)st.st_ino,
             (uintmax_t)st.st_size,
             (uintmax_t)st.st_mtim.tv_sec * 1000000000u + (uintmax_t)st.st_mtim.tv_nsec);
    date_http(f->date, f->modified_s);
    return true;
}

// 200 = go on, 304 or 412 (RFC 9110, 13.2.2).
static int check_conditions(const struct request *r, const struct file *f)
{
    int64_t when;
    const char *match = request_header(r, "If-Match");
    const char *unmodified = request_header(r, "If-Unmodified-Since");
    const char *none = request_header(r, "If-None-Match");
    const char *modified = request_header(r, "If-Modified-Since");
    if (match && !etag_listed(match, f->etag, true))
        return 412;
    if (!match && unmodified && date_http_parse(unmodified, &when) && f->modified_s > when)
        return 412;
    if (none)
        return etag_listed(none, f->etag, false) ? 304 : 200;
    if (modified && date_http_parse(modified, &when) && f->modified_s <= when)
        return 304;
    return 200;
}

// Is the file still the one that the client has a part of?
static bool check_if_range(const struct request *r, const struct file *f)
{
    const char *value = request_header(r, "If-Range");
    int64_t when;
    if (!value)
        return true;
    if (*value == '"' || text_begins(value, "W/"))
        return strcmp(value, f->etag) == 0;
    // A date only tells one second from another: the file must have rested since.
    return date_http_parse(value, &when) && when == f->modified_s &&
           kb_wall_ms() / 1000 - f->modified_s > 1;
}

// --- several ranges: multipart/byteranges

struct parts {
    int fd, n, i;     // i: the part that is being sent
    bool in_body;     // its header has been sent
    size_t text_sent; // of its header, or of the last line
    int64_t sent;     // of its bytes
    char *heads[MAX_RANGES];
    char last[64];
    struct range ranges[MAX_RANGES];
};

static void parts_free(void *opaque)
{
    struct parts *p = opaque;
    for (int i = 0; i < p->n; i++)
        free(p->heads[i]);
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

static ssize_t parts_read(void *opaque, uint64_t position, char *buffer, size_t max)
{
    struct parts *p = opaque;
    if (p->i < p->n && p->in_body) {
        const struct range *range = &p->ranges[p->i];
        int64_t left = range->end - range->start + 1 - p->sent;
        ssize_t n = pread(p->fd, buffer, KB_MIN(max, (size_t)left), range->start + p->sent);
        if (n <= 0)
            return MHD_CONTENT_READER_END_WITH_ERROR; // the file was cut meanwhile
        p->sent += n;
        if (n == left) {
            p->i++;
            p->in_body = false;
            p->sent = 0;
            p->text_sent = 0;
        }
        return n;
    }
    const char *text = p->i < p->n ? p->heads[p->i] : p->last;
    size_t n = KB_MIN(max, strlen(text) - p->text_sent);
    memcpy(buffer, text + p->text_sent, n);
    p->text_sent += n;
    p->in_body = p->i < p->n && !text[p->text_sent];
    return n > 0 ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static void reply_parts(struct request *r, struct file *f, const char *type,
                        const struct range *ranges, int n)
{
    struct parts *p = kb_alloc(sizeof(*p));
    char boundary[33];
    kb_random_hex(boundary, 32);
    p->fd = f->fd;
    f->fd = -1;
    p->n = n;
    int64_t size = snprintf(p->last, sizeof(p->last), "\r\n--%s--\r\n", boundary);
    for (int i = 0; i < n; i++) {
        p->ranges[i] = ranges[i];
        p->heads[i] = kb_printf("%s--%s\r\nContent-Type: %s\r\n"
                                "Content-Range: bytes %jd-%jd/%jd\r\n\r\n",
                                i > 0 ? "\r\n" : "", boundary, type, (intmax_t)ranges[i].start,
                                (intmax_t)ranges[i].end, (intmax_t)f->size);
        size += (int64_t)strlen(p->heads[i]) + ranges[i].end - ranges[i].start + 1;
    }
    CLEANUP(kb_freep) char *multi = kb_printf("multipart/byteranges; boundary=%s", boundary);
    reply_header(r, "Content-Type", multi);
    struct MHD_Response *response =
        MHD_create_response_from_callback((uint64_t)size, BLOCK_BYTES, parts_read, p, parts_free);
    if (!response)
        parts_free(p);
    reply_response(r, 206, response);
}

// --- names

// RFC 6266 with RFC 8187: an ASCII name for old clients, the true one beside it. A name may hold
// anything; quotes, backslashes and percent signs are where clients disagree, so the plain form
// has none.
static char *disposition(const char *name)
{
    CLEANUP(text_free) struct text plain = {0};
    CLEANUP(text_free) struct text full = {0};
    for (const char *p = name; *p;) {
        int n;
        int32_t letter = utf8_next(p, &n);
        bool ascii = letter >= 0x20 && letter < 0x7f && !strchr("\"\\%/", letter);
        text_add_bytes(&plain, ascii ? p : "_", 1);
        if (letter < 0)
            text_add(&full, "_");
        else
            uri_encode(&full, p, (size_t)n, "!#$&+-.^_`|~");
        p += n;
    }
    return kb_printf("attachment; filename=\"%s\"; filename*=UTF-8''%s", text_get(&plain),
                     text_get(&full));
}

// --- the answer

static void reply_unsatisfiable(struct request *r, const struct file *f)
{
    CLEANUP(kb_freep) char *value = kb_printf("bytes */%jd", (intmax_t)f->size);
    reply_header(r, "Content-Range", value);
    reply_problem(r, 416, "range", _("the file has no such part"));
}

static void reply_bytes_of(struct request *r, struct file *f, int status, int64_t start,
                           int64_t size)
{
    struct MHD_Response *response =
        MHD_create_response_from_fd_at_offset64((uint64_t)size, f->fd, (uint64_t)start);
    if (response)
        f->fd = -1; // the response closes it
    reply_response(r, status, response);
}

static void reply_content(struct request *r, struct file *f, const char *type)
{
    struct range ranges[MAX_RANGES];
    int n = 0;
    // Only GET knows ranges.
    if (strcmp(r->method, "GET") == 0 && check_if_range(r, f))
        n = range_parse(request_header(r, "Range"), f->size, ranges);
    if (n < 0) {
        reply_unsatisfiable(r, f);
        return;
    }
    if (n > 1) {
        reply_parts(r, f, type, ranges, n);
        return;
    }
    reply_header(r, "Content-Type", type);
    if (n == 1) {
        CLEANUP(kb_freep)
        char *value = kb_printf("bytes %jd-%jd/%jd", (intmax_t)ranges[0].start,
                                (intmax_t)ranges[0].end, (intmax_t)f->size);
        reply_header(r, "Content-Range", value);
        reply_bytes_of(r, f, 206, ranges[0].start, ranges[0].end - ranges[0].start + 1);
    } else {
        reply_bytes_of(r, f, 200, 0, f->size);
    }
}

// A file that is there is not told to be gone: who asks would forget it.
static void reply_unopened(struct request *r, const char *path, int number)
{
    struct kb_error err = {0};
    if (beneath_is_gone(number)) {
        reply_problem(r, 404, "not_found", _("this file is not there any more"));
    } else if (number == EMFILE || number == ENFILE) {
        reply_header(r, "Retry-After", "5");
        reply_problem(r, 503, "unavailable",
                      _("the server has as many files open as the system allows; try again in "
                        "a moment"));
    } else {
        kb_fail(&err, KB_INTERNAL,
                _("the file '%s' cannot be read: %s; check the disk and its permissions"), path,
                beneath_reason(number));
        reply_error(r, &err); // and logs it
    }
}

void reply_download(struct request *r, const char *name)
{
    CLEANUP(kb_freep) char *value = disposition(name);
    reply_header(r, "Content-Disposition", value);
}

void reply_file(struct request *r, const struct reply_file_params *p)
{
    CLEANUP(file_close) struct file f = {.fd = -1};
    if (r->answered)
        return;
    if (!file_open(&f, p->folder, p->path)) {
        reply_unopened(r, p->path, errno);
        return;
    }
    int status = check_conditions(r, &f);
    if (status == 412) {
        reply_problem(r, 412, "precondition", _("the file has changed meanwhile"));
        return;
    }
    if (!reply_header_get(r, "Cache-Control"))
        reply_header(r, "Cache-Control",
                     p->immutable ? "private, max-age=31536000, immutable" : "no-cache");
    reply_header(r, "ETag", f.etag);
    reply_header(r, "Last-Modified", f.date);
    if (status == 304) {
        reply_empty(r, 304);
        return;
    }
    reply_header(r, "Accept-Ranges", "bytes");
    if (p->download)
        reply_download(r, p->download);
    reply_content(r, &f, p->type);
}
