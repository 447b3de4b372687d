// An S3-compatible store: its requests, its refusals, its lists. libcurl signs (SigV4).
//
// The query of each path stands here as the signature wants it: sorted by name, each with "=", all
// but letters, digits and "-._~" percent-encoded. libcurl 7.88 signs it as it is, later ones bring
// it into that form themselves. Names of objects need no encoding (depot_address.c).
#include "cluster/depot_internal.h"
#include "cluster/depot_xml.h"

#include "base/bytes.h"
#include "base/date.h"
#include "base/uri.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define NAME_DIGITS       64
#define CODE_BYTES        64
#define MAX_PAGES         10000 // of 1,000 objects
#define TRY_BYTES         64
#define SKEW_MS           600000 // from here on a refusal is explained by the clocks

// --- requests

char *s3_path(const struct depot *d, const char *folder, const char *name)
{
    return kb_printf("%s/%s%s%s", d->bucket, d->prefix, folder, name);
}

void s3_begin(struct depot *d, struct haul *t, const char *method, const char *path,
              const char *payload_sha256)
{
    haul_init(t, d, method, path);
    CLEANUP(kb_freep) char *scope = kb_printf("aws:amz:%s:s3", d->region);
    curl_easy_setopt(t->curl, CURLOPT_AWS_SIGV4, scope);
    curl_easy_setopt(t->curl, CURLOPT_USERNAME, d->key_id);
    curl_easy_setopt(t->curl, CURLOPT_PASSWORD, d->key_secret);
    haul_header(t, "x-amz-content-sha256: %s", payload_sha256 ? payload_sha256 : SHA256_OF_NOTHING);
    if (d->session_token)
        haul_header(t, "x-amz-security-token: %s", d->session_token);
}

enum kb_code s3_begin_get(struct depot *d, struct haul *t, const char *sha256)
{
    CLEANUP(kb_freep) char *path = s3_path(d, d->gets, sha256);
    s3_begin(d, t, "GET", path, NULL);
    return KB_OK;
}

// --- refusals

static void find_code(void *ctx, const char *parent, const char *name, const char *text)
{
    char *code = ctx; // of CODE_BYTES
    if (strcmp(parent, "Error") == 0 && strcmp(name, "Code") == 0)
        snprintf(code, CODE_BYTES, "%s", text);
}

// "NoSuchKey"; "" if it says none, or what is no word.
static void read_code(const struct haul *t, char ret[CODE_BYTES])
{
    *ret = '\0';
    if (!xml_read(text_get(&t->answer), t->answer.size, find_code, ret) ||
        strspn(ret, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
            strlen(ret))
        *ret = '\0';
}

// How far the store's clock is ahead of ours, from the answer's date, which counts in seconds.
static void note_clock(struct haul *t)
{
    int64_t date_s = 0;
    if (date_http_parse(haul_answer_header(t, "Date"), &date_s))
        t->depot->clock_ms = date_s * 1000 + 500 - kb_wall_ms();
}

static bool is_one_of(const char *code, const char *const *codes)
{
    for (; *codes; codes++)
        if (strcmp(code, *codes) == 0)
            return true;
    return false;
}

static enum kb_code explain_code(struct haul *t, const char *code, const char *what,
                                 struct kb_error *err)
{
    // What is only so now. The first two: it came garbled.
    static const char *const passing[] = {"BadDigest",
                                          "XAmzContentSHA256Mismatch",
                                          "IncompleteBody",
                                          "RequestTimeout",
                                          "SlowDown",
                                          "ServiceUnavailable",
                                          "InternalError",
                                          "OperationAborted",
                                          "InvalidPart",
                                          "ConditionalRequestConflict",
                                          NULL};
    static const char *const elsewhere[] = {"PermanentRedirect", "AuthorizationHeaderMalformed",
                                            "IllegalLocationConstraintException", NULL};
    struct depot *d = t->depot;
    int64_t skew_ms = llabs(d->clock_ms);
    if (strcmp(code, "RequestTimeTooSkewed") == 0 || (t->status == 403 && skew_ms > SKEW_MS))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the depot '%s' refuses because its clock and that of this machine differ "
                         "by %lld minutes; set the clock"),
                       d->place, (long long)(skew_ms + 30000) / 60000);
    if (strcmp(code, "NoSuchBucket") == 0)
        return kb_fail(err, KB_BAD_INPUT, _("the bucket of the depot '%s' does not exist"),
                       d->place);
    if (t->status == 507 || strstr(code, "QuotaExceeded") || strstr(code, "StorageFull"))
        return depot_explain(d, 507, what, err);
    if (is_one_of(code, elsewhere))
        return depot_explain(d, 301, what, err);
    if (is_one_of(code, passing))
        return kb_fail(err, KB_UNAVAILABLE, _("the depot '%s' cannot do it now: %s"), d->place,
                       code);
    return KB_OK;
}

enum kb_code s3_verdict(struct haul *t, const char *what, struct kb_error *err)
{
    struct depot *d = t->depot;
    note_clock(t);
    if (t->status / 100 == 2)
        return KB_OK;
    char code[CODE_BYTES];
    read_code(t, code);
    enum kb_code kind = explain_code(t, code, what, err);
    if (kind == KB_OK)
        kind = depot_explain(d, t->status, what, err);
    if (kind != KB_OK)
        return kind;
    if (t->status == 401 || t->status == 403)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the depot '%s' refuses the key, or what is done with it (%s); check the "
                         "credentials and their rights"),
                       d->place, *code ? code : "403");
    CLEANUP(kb_freep) char *status = kb_printf("%ld", t->status);
    return kb_fail(err, KB_BAD_INPUT, _("the depot '%s' refuses (HTTP status %ld): %s"), d->place,
                   t->status, *code ? code : status);
}

enum kb_code s3_makes_no_sense(struct depot *d, struct kb_error *err)
{
    return kb_fail(err, KB_UNAVAILABLE,
                   _("the depot '%s' answers what makes no sense; is there an S3 store at its "
                     "address?"),
                   d->place);
}

// --- one request after the other

enum kb_code s3_ask(struct depot *d, struct haul *t, const char *method, const char *path,
                    const char *body, int answer_stalls, struct kb_error *err)
{
    char sha256[65] = SHA256_OF_NOTHING;
    if (body) {
        unsigned char digest[32];
        EVP_Digest(body, strlen(body), digest, NULL, EVP_sha256(), NULL);
        bytes_hex(sha256, digest, sizeof(digest));
    }
    for (int tries = 0;;) {
        s3_begin(d, t, method, path, sha256);
        t->answer_stalls = answer_stalls;
        if (body) {
            haul_header(t, "Content-Type: application/xml");
            haul_send_text(t, body);
        }
        enum kb_code code = haul_run(t, err);
        if (code == KB_OK)
            code = s3_verdict(t, path, err);
        if (!depot_again(d, &tries, code))
            return code;
        haul_free(t);
    }
}

static enum kb_code find_in(struct depot *d, const char *folder, const char *sha256,
                            int64_t *ret_size, struct kb_error *err)
{
    CLEANUP(haul_free) struct haul t = {0};
    CLEANUP(kb_freep) char *path = s3_path(d, folder, sha256);
    struct kb_error why = {0};
    enum kb_code code = s3_ask(d, &t, "HEAD", path, NULL, 1, &why);
    curl_off_t size = -1;
    if (code == KB_OK)
        curl_easy_getinfo(t.curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size);
    if (code == KB_OK && size < 0)
        return s3_makes_no_sense(d, err);
    *ret_size = size;
    if (code == KB_OK || code == KB_NOT_FOUND)
        return KB_OK;
    if (err)
        *err = why;
    return code;
}

enum kb_code depot_find(struct depot *d, const char *sha256, int64_t *ret_size,
                        struct kb_error *err)
{
    assert(d->s3);
    return find_in(d, S3_IN, sha256, ret_size, err);
}

enum kb_code depot_remove(struct depot *d, const char *name, struct kb_error *err)
{
    assert(d->s3);
    CLEANUP(haul_free) struct haul t = {0};
    CLEANUP(text_free) struct text path = {0};
    const char *upload = strchr(name, '?');
    CLEANUP(kb_freep) char *object = kb_printf("%.*s", (int)strcspn(name, "?"), name);
    CLEANUP(kb_freep) char *of_object = s3_path(d, "", object);
    text_add(&path, of_object);
    if (upload) {
        text_add(&path, "?uploadId=");
        uri_encode(&path, upload + 1, strlen(upload + 1), "-._~");
    }
    struct kb_error why = {0};
    enum kb_code code = s3_ask(d, &t, "DELETE", text_get(&path), NULL, 1, &why);
    if (code == KB_OK || code == KB_NOT_FOUND)
        return KB_OK;
    if (err)
        *err = why;
    return code;
}

// --- lists

struct list {
    struct depot *d;
    depot_each *each;
    void *ctx;
    const char *folder; // S3_IN or S3_OUT
    bool parts;
    char *key, *upload; // of the entry that is read
    int64_t size, modified_ms;
    bool truncated;
    char *next, *next_upload; // where the next page begins
};

static void list_free(struct list *l)
{
    free(l->key);
    free(l->upload);
    free(l->next);
    free(l->next_upload);
}

// Is it named as depot_put() does it? Then *ret points to the name behind the prefix.
static bool is_ours(const struct list *l, const char **ret)
{
    const char *key = l->key ? l->key : "", *prefix = l->d->prefix;
    if (!text_begins(key, prefix) || !text_begins(key + strlen(prefix), l->folder))
        return false;
    *ret = key + strlen(prefix);
    const char *digits = *ret + strlen(l->folder);
    return strlen(digits) == NAME_DIGITS && strspn(digits, "0123456789abcdef") == NAME_DIGITS;
}

static void end_entry(struct list *l)
{
    const char *name = NULL;
    bool whole = is_ours(l, &name) && (!l->parts || l->upload);
    if (whole && l->parts) {
        CLEANUP(kb_freep) char *part = kb_printf("%s?%s", name, l->upload);
        l->each(l->ctx, part, 0, l->modified_ms, true);
    } else if (whole) {
        l->each(l->ctx, name, l->size, l->modified_ms, false);
    }
    kb_freep(&l->key);
    kb_freep(&l->upload);
    l->size = l->modified_ms = 0;
}

static void keep(char **place, const char *text)
{
    free(*place);
    *place = kb_strdup(text);
}

// "2009-10-12T17:50:30.000Z"; 0 for what is no time.
static int64_t read_time(const char *text)
{
    struct tm tm = {0};
    return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void read_list(void *ctx, const char *parent, const char *name, const char *text)
{
    struct list *l = ctx;
    const char *entry = l->parts ? "Upload" : "Contents";
    bool in_entry = strcmp(parent, entry) == 0;
    if (strcmp(name, entry) == 0)
        end_entry(l);
    else if (in_entry && strcmp(name, "Key") == 0)
        keep(&l->key, text);
    else if (in_entry && strcmp(name, "UploadId") == 0)
        keep(&l->upload, text);
    else if (in_entry && strcmp(name, "Size") == 0)
        l->size = strtoll(text, NULL, 10);
    else if (in_entry && (strcmp(name, "LastModified") == 0 || strcmp(name, "Initiated") == 0))
        l->modified_ms = read_time(text);
    else if (strcmp(name, "IsTruncated") == 0)
        l->truncated = strcmp(text, "true") == 0;
    else if (strcmp(name, "NextContinuationToken") == 0 || strcmp(name, "NextKeyMarker") == 0)
        keep(&l->next, text);
    else if (strcmp(name, "NextUploadIdMarker") == 0)
        keep(&l->next_upload, text);
}

static void add_query(struct text *path, const char *name, const char *value)
{
    text_addf(path, "%s%s=", strchr(text_get(path), '?') ? "&" : "?", name);
    uri_encode(path, value, strlen(value), "-._~");
}

static void write_query(const struct list *l, struct text *ret)
{
    const struct depot *d = l->d;
    text_add(ret, *d->bucket ? d->bucket : "/");
    if (!l->parts && l->next)
        add_query(ret, "continuation-token", l->next);
    add_query(ret, "delimiter", "/"); // of what lies deeper nothing is ours
    if (l->parts && l->next)
        add_query(ret, "key-marker", l->next);
    if (!l->parts)
        add_query(ret, "list-type", "2");
    add_query(ret, l->parts ? "max-uploads" : "max-keys", "1000");
    CLEANUP(kb_freep) char *prefix = kb_printf("%s%s", d->prefix, l->folder);
    add_query(ret, "prefix", prefix);
    if (l->parts && l->next_upload)
        add_query(ret, "upload-id-marker", l->next_upload);
    if (l->parts)
        add_query(ret, "uploads", "");
}

static enum kb_code list_all(struct list *l, struct kb_error *err)
{
    for (int page = 0; page == 0 || l->truncated; page++) {
        CLEANUP(haul_free) struct haul t = {0};
        CLEANUP(text_free) struct text path = {0};
        CLEANUP(kb_freep)
        char *before =
            kb_printf("%s?%s", l->next ? l->next : "", l->next_upload ? l->next_upload : "");
        write_query(l, &path);
        enum kb_code code = s3_ask(l->d, &t, "GET", text_get(&path), NULL, 1, err);
        if (code != KB_OK && l->parts && t.status == 501)
            return KB_OK; // a store without such uploads has none that could be left over
        if (code != KB_OK)
            return code;
        l->truncated = false;
        if (!xml_read(text_get(&t.answer), t.answer.size, read_list, l))
            return s3_makes_no_sense(l->d, err);
        CLEANUP(kb_freep)
        char *after =
            kb_printf("%s?%s", l->next ? l->next : "", l->next_upload ? l->next_upload : "");
        if (l->truncated && (page == MAX_PAGES || strcmp(before, after) == 0))
            return s3_makes_no_sense(l->d, err);
    }
    return KB_OK;
}

enum kb_code depot_list(struct depot *d, depot_each *each, void *ctx, struct kb_error *err)
{
    assert(d->s3);
    enum kb_code code = KB_OK;
    for (int i = 0; i < 4 && code == KB_OK; i++) {
        CLEANUP(list_free)
        struct list l = {.d = d,
                         .each = each,
                         .ctx = ctx,
                         .folder = i % 2 == 0 ? S3_IN : S3_OUT,
                         .parts = i >= 2};
        code = list_all(&l, err);
    }
    return code;
}

// --- is all well?

struct read_back {
    char text[TRY_BYTES];
    size_t n;
};

static enum kb_code keep_all(void *ctx, const void *data, size_t n, struct kb_error *err)
{
    struct read_back *r = ctx; // no more than was asked for comes
    memcpy(r->text + r->n, data, n);
    r->n += n;
    return KB_OK;
}

static enum kb_code put_and_get(struct depot *d, const struct depot_put *p, const char *text,
                                struct kb_error *err)
{
    struct read_back back = {0};
    int64_t came = 0;
    const char *gets = d->gets;
    enum kb_code code = depot_put(d, p, err);
    d->gets = d->puts;
    if (code == KB_OK)
        code = depot_get(d, p->sha256, p->size, 0, keep_all, &back, &came, err);
    d->gets = gets;
    if (code == KB_OK && memcmp(back.text, text, back.n) != 0)
        return s3_makes_no_sense(d, err);
    return code;
}

// What could be written is removed also if it could not be read (code). In the machines' folder
// there is nothing of that name, which only who may read and remove there is told.
static enum kb_code remove_tried(struct depot *d, const char *name, enum kb_code code,
                                 struct kb_error *err)
{
    CLEANUP(kb_freep) char *in = kb_printf(S3_IN "%s", name);
    CLEANUP(kb_freep) char *out = kb_printf(S3_OUT "%s", name);
    int64_t size;
    enum kb_code removed = depot_remove(d, in, code == KB_OK ? err : NULL);
    if (code == KB_OK)
        code = removed;
    if (code == KB_OK)
        code = find_in(d, S3_OUT, name, &size, err);
    return code == KB_OK ? depot_remove(d, out, err) : code;
}

enum kb_code depot_try(struct depot *d, int64_t *ret_ms, int64_t *ret_clock_ms,
                       struct kb_error *err)
{
    assert(d->s3);
    char text[TRY_BYTES] = "koubo ", name[NAME_DIGITS + 1];
    unsigned char digest[NAME_DIGITS / 2];
    kb_random_hex(text + strlen(text), 32);
    struct depot_put p = {.sha256 = name, .size = (int64_t)strlen(text)};
    EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL);
    bytes_hex(name, digest, sizeof(digest));
    p.fd = memfd_create("koubo-depot", MFD_CLOEXEC);
    if (p.fd < 0 || write(p.fd, text, strlen(text)) != (ssize_t)p.size) {
        if (p.fd >= 0)
            close(p.fd);
        return kb_no_memory(err);
    }
    int64_t from_us = kb_now_us();
    bool is_node = d->p.side == DEPOT_NODE;
    enum kb_code code = is_node ? depot_put(d, &p, err) : put_and_get(d, &p, text, err);
    close(p.fd);
    if (!is_node)
        code = remove_tried(d, name, code, err);
    *ret_ms = (kb_now_us() - from_us) / 1000;
    *ret_clock_ms = d->clock_ms;
    return code;
}
