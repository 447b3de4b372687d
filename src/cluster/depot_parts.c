// The way of a file to an S3 store: whole if it is small, else in parts, a few at a time. Each
// request says the digests of what it brings, so that the store refuses what came garbled: SHA-256,
// which the signature covers, and MD5, which also those stores compare that look at nothing else.
#include "cluster/depot_internal.h"
#include "cluster/depot_xml.h"

#include "base/bytes.h"
#include "base/uri.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PART_BYTES    (16LL << 20)
#define MAX_PARTS     10000 // S3's own limit
#define CHUNK_BYTES   (256 << 10)
#define ETAG_BYTES    128
#define ID_BYTES      1024
#define ENDING_STALLS 20 // a store puts parts together for minutes
#define ABORT_MS      5000

static void context_free(EVP_MD_CTX **c)
{
    EVP_MD_CTX_free(*c);
}

// A request that brings these bytes of the file, with its digests.
static enum kb_code begin_put(struct depot *d, struct haul *t, const char *path, int fd,
                              int64_t first, int64_t size, struct kb_error *err)
{
    CLEANUP(context_free) EVP_MD_CTX *sha256 = EVP_MD_CTX_new();
    CLEANUP(context_free) EVP_MD_CTX *md5 = EVP_MD_CTX_new();
    CLEANUP(kb_freep) char *chunk = kb_alloc(CHUNK_BYTES);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    if (!sha256 || !md5 || !EVP_DigestInit_ex(sha256, EVP_sha256(), NULL))
        return kb_no_memory(err);
    bool has_md5 = EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1; // not where FIPS forbids it
    for (int64_t at = 0; at < size;) {
        size_t wanted = (size_t)KB_MIN(size - at, CHUNK_BYTES);
        ssize_t n = pread(fd, chunk, wanted, (off_t)(first + at));
        if (n <= 0)
            return depot_cannot_read(n < 0 ? errno : 0, err);
        EVP_DigestUpdate(sha256, chunk, (size_t)n);
        if (has_md5)
            EVP_DigestUpdate(md5, chunk, (size_t)n);
        at += n;
    }
    EVP_DigestFinal_ex(sha256, digest, &n_digest);
    bytes_hex(hex, digest, n_digest);
    s3_begin(d, t, "PUT", path, hex);
    if (has_md5) {
        EVP_DigestFinal_ex(md5, digest, &n_digest);
        CLEANUP(kb_freep) char *base64 = base64_encode(digest, n_digest);
        haul_header(t, "Content-MD5: %s", base64);
    }
    haul_header(t, "Content-Type: application/octet-stream");
    haul_send_file(t, fd, first, size);
    return KB_OK;
}

static enum kb_code put_whole(struct depot *d, const struct depot_put *p, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = s3_path(d, d->puts, p->sha256);
    for (int tries = 0;;) {
        CLEANUP(haul_free) struct haul t = {0};
        d->done = 0;
        enum kb_code code = begin_put(d, &t, path, p->fd, 0, p->size, err);
        if (code == KB_OK)
            code = haul_run(&t, err);
        if (code == KB_OK)
            code = s3_verdict(&t, p->sha256, err);
        if (!depot_again(d, &tries, code))
            return code;
    }
}

// --- in parts

static int64_t part_bytes(const struct depot *d)
{
    return d->p.part_bytes > 0 ? d->p.part_bytes : PART_BYTES;
}

struct slot {
    struct haul t;
    int part; // from 0 on
    int tries;
    bool busy;
};

struct upload {
    struct depot *d;
    const struct depot_put *p;
    char *path;  // of the object
    char *query; // "?uploadId=…"
    char id[ID_BYTES];
    int64_t part_bytes;
    int n_parts, n_begun, n_done;
    char (*etags)[ETAG_BYTES];
    struct slot slots[DEPOT_PARALLEL];
};

static void upload_free(struct upload *u)
{
    for (int i = 0; i < DEPOT_PARALLEL; i++)
        haul_free(&u->slots[i].t);
    free(u->path);
    free(u->query);
    free(u->etags);
}

static void find_id(void *ctx, const char *parent, const char *name, const char *text)
{
    struct upload *u = ctx;
    if (strcmp(name, "UploadId") == 0 && strlen(text) < ID_BYTES)
        snprintf(u->id, ID_BYTES, "%s", text);
}

static enum kb_code begin_upload(struct upload *u, struct kb_error *err)
{
    CLEANUP(haul_free) struct haul t = {0};
    CLEANUP(text_free) struct text query = {0};
    CLEANUP(kb_freep) char *path = kb_printf("%s?uploads=", u->path);
    enum kb_code code = s3_ask(u->d, &t, "POST", path, "", 1, err);
    if (code != KB_OK)
        return code;
    if (!xml_read(text_get(&t.answer), t.answer.size, find_id, u) || !u->id[0])
        return s3_makes_no_sense(u->d, err);
    text_add(&query, "uploadId=");
    uri_encode(&query, u->id, strlen(u->id), "-._~");
    u->query = kb_strdup(text_get(&query));
    return KB_OK;
}

static enum kb_code start_part(struct upload *u, struct slot *s, struct kb_error *err)
{
    int64_t first = s->part * u->part_bytes;
    CLEANUP(kb_freep)
    char *path = kb_printf("%s?partNumber=%d&%s", u->path, s->part + 1, u->query);
    haul_free(&s->t);
    enum kb_code code = begin_put(u->d, &s->t, path, u->p->fd, first,
                                  KB_MIN(u->part_bytes, u->p->size - first), err);
    if (code == KB_OK)
        haul_start(&s->t);
    return code;
}

// A part has ended; it is there, or goes once more.
static enum kb_code end_part(struct upload *u, struct slot *s, struct kb_error *err)
{
    enum kb_code code = haul_outcome(&s->t, err);
    if (code == KB_OK)
        code = s3_verdict(&s->t, u->p->sha256, err);
    if (code == KB_OK) {
        const char *etag = haul_answer_header(&s->t, "ETag");
        if (!*etag || strlen(etag) >= ETAG_BYTES || strpbrk(etag, "<>&"))
            return s3_makes_no_sense(u->d, err);
        snprintf(u->etags[s->part], ETAG_BYTES, "%s", etag);
        haul_free(&s->t);
        s->busy = false;
        u->n_done++;
        return KB_OK;
    }
    u->d->done -= s->t.sent;
    return depot_again(u->d, &s->tries, code) ? start_part(u, s, err) : code;
}

static enum kb_code send_parts(struct upload *u, struct kb_error *err)
{
    while (u->n_done < u->n_parts) {
        for (int i = 0; i < DEPOT_PARALLEL && u->n_begun < u->n_parts; i++) {
            struct slot *s = &u->slots[i];
            if (s->busy)
                continue;
            *s = (struct slot){.part = u->n_begun++, .busy = true};
            enum kb_code code = start_part(u, s, err);
            if (code != KB_OK)
                return code;
        }
        struct haul *t = haul_next(u->d);
        if (!t)
            return kb_fail(err, KB_CANCELLED, _("cancelled"));
        int i = 0;
        while (&u->slots[i].t != t)
            i++;
        enum kb_code code = end_part(u, &u->slots[i], err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

static void find_root(void *ctx, const char *parent, const char *name, const char *text)
{
    bool *is_done = ctx;
    if (!*parent)
        *is_done = strcmp(name, "CompleteMultipartUploadResult") == 0;
}

// The store says 200 before it knows, and in the body how it ended.
static enum kb_code end_upload(struct upload *u, struct kb_error *err)
{
    CLEANUP(text_free) struct text list = {0};
    CLEANUP(kb_freep) char *path = kb_printf("%s?%s", u->path, u->query);
    text_add(&list, "<CompleteMultipartUpload>");
    for (int i = 0; i < u->n_parts; i++)
        text_addf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i + 1,
                  u->etags[i]);
    text_add(&list, "</CompleteMultipartUpload>");
    for (int tries = 0;;) {
        CLEANUP(haul_free) struct haul t = {0};
        bool is_done = false;
        enum kb_code code = s3_ask(u->d, &t, "POST", path, text_get(&list), ENDING_STALLS, err);
        if (code == KB_OK &&
            !(xml_read(text_get(&t.answer), t.answer.size, find_root, &is_done) && is_done))
            code = kb_fail(err, KB_UNAVAILABLE,
                           _("the depot '%s' could not put the parts of the file together"),
                           u->d->place);
        else
            return code;
        if (!depot_again(u->d, &tries, code))
            return code;
    }
}

// Also when cancelled, but then it must not take long. What is left all the same the head finds
// (depot_list()).
static void abort_upload(struct upload *u)
{
    struct depot *d = u->d;
    const struct depot_params p = d->p;
    CLEANUP(haul_free) struct haul t = {0};
    CLEANUP(kb_freep) char *path = kb_printf("%s?%s", u->path, u->query);
    for (int i = 0; i < DEPOT_PARALLEL; i++)
        haul_free(&u->slots[i].t);
    d->p.cancel = NULL;
    d->p.stall_ms = ABORT_MS;
    s3_begin(d, &t, "DELETE", path, NULL);
    haul_run(&t, NULL);
    d->p = p;
}

static enum kb_code put_in_parts(struct depot *d, const struct depot_put *p, struct kb_error *err)
{
    CLEANUP(upload_free) struct upload u = {.d = d, .p = p, .path = s3_path(d, d->puts, p->sha256)};
    int64_t least = (p->size + MAX_PARTS - 1) / MAX_PARTS;
    u.part_bytes = KB_MAX(part_bytes(d), least);
    u.n_parts = (int)((p->size + u.part_bytes - 1) / u.part_bytes);
    u.etags = kb_alloc((size_t)u.n_parts * ETAG_BYTES);
    enum kb_code code = begin_upload(&u, err);
    if (code != KB_OK)
        return code;
    code = send_parts(&u, err);
    if (code == KB_NOT_FOUND) // somebody has ended the upload meanwhile
        code = kb_fail(err, KB_UNAVAILABLE,
                       _("the depot '%s' does not know the upload any more that was begun there"),
                       d->place);
    if (code == KB_OK)
        code = end_upload(&u, err);
    if (code == KB_NOT_FOUND) // it was ended, and the answer was lost: the head looks
        code = KB_OK;
    if (code != KB_OK)
        abort_upload(&u);
    return code;
}

enum kb_code s3_put(struct depot *d, const struct depot_put *p, struct kb_error *err)
{
    enum kb_code code = p->size > part_bytes(d) ? put_in_parts(d, p, err) : put_whole(d, p, err);
    int64_t size = -1;
    if (code != KB_OK || d->p.side == DEPOT_NODE)
        return code;
    code = depot_find(d, p->sha256, &size, err);
    if (code == KB_OK && size != p->size)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the file in the depot '%s' has %lld bytes instead of %lld"), d->place,
                       (long long)size, (long long)p->size);
    return code;
}
