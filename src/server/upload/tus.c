#include "server/upload/tus.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "base/bytes.h"
#include "base/date.h"
#include "server/internal.h"
#include "server/upload/transfer.h"
#include "server/upload/upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#define VERSION    "1.0.0"
#define EXTENSIONS "creation,creation-with-upload,termination,expiration,checksum"
#define BODY_TYPE  "application/offset+octet-stream"

// --- headers

static void add_number(struct request *r, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    reply_header(r, name, text);
}

static void add_expires(struct request *r, int64_t expires_ms)
{
    char date[DATE_BYTES];
    date_http(date, expires_ms / 1000);
    reply_header(r, "Upload-Expires", date);
}

// A whole number of at most 18 digits. False: absent or something else.
static bool header_number(struct request *r, const char *name, int64_t *ret)
{
    const char *text = request_header(r, name);
    size_t n = text ? strlen(text) : 0;
    if (n < 1 || n > 18 || strspn(text, "0123456789") != n)
        return false;
    *ret = strtoll(text, NULL, 10);
    return true;
}

static bool is_body_type(struct request *r)
{
    return media_type_is(request_header(r, "Content-Type"), BODY_TYPE);
}

// Every answer says the version; a client that speaks another one is turned away.
static bool begin(struct request *r)
{
    reply_header(r, "Tus-Resumable", VERSION);
    const char *version = request_header(r, "Tus-Resumable");
    if (version && strcmp(version, VERSION) == 0)
        return true;
    reply_header(r, "Tus-Version", VERSION);
    reply_problem(r, 412, "tus_version",
                  _("the header Tus-Resumable must be 1.0.0, the version of tus spoken here"));
    return false;
}

// --- checksums

static const struct algorithm {
    const char *name;
    const EVP_MD *(*digest)(void);
} algorithms[] = {{"sha1", EVP_sha1}, {"md5", EVP_md5}, {"sha256", EVP_sha256}};
#define ALGORITHMS "sha1,md5,sha256"

static void reply_taken(struct request *r)
{
    reply_problem(r, 423, "locked", _("another request goes on with this upload"));
}

// False: answered 400.
static bool read_checksum(struct request *r, struct transfer *t)
{
    const char *header = request_header(r, "Upload-Checksum");
    if (!header)
        return true;
    size_t n = strcspn(header, " ");
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
        const struct algorithm *a = &algorithms[i];
        if (strlen(a->name) != n || memcmp(a->name, header, n) != 0)
            continue;
        const char *text = header + n + strspn(header + n, " ");
        CLEANUP(kb_freep) char *value = base64_decode(text, strlen(text), &t->n_wanted);
        if (!value || t->n_wanted != (size_t)EVP_MD_get_size(a->digest())) {
            reply_problem(r, 400, "bad_input",
                          _("the value in the header Upload-Checksum is not such a checksum"));
            return false;
        }
        memcpy(t->wanted, value, t->n_wanted);
        t->digest = EVP_MD_CTX_new();
        if (t->digest && EVP_DigestInit_ex(t->digest, a->digest(), NULL))
            return true;
        reply_problem(r, 503, "unavailable", _("this system refuses that kind of checksum"));
        return false;
    }
    reply_problem(r, 400, "bad_input",
                  _("the header Upload-Checksum must name sha1, md5 or sha256"));
    return false;
}

static bool checksum_fits(struct transfer *t)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return !t->digest || (EVP_DigestFinal_ex(t->digest, digest, &n) && n == t->n_wanted &&
                          memcmp(digest, t->wanted, n) == 0);
}

// --- finding

// Fetched and spoken assets, and uploads as a form, are none of tus until they are whole.
static bool find_upload(struct request *r, struct asset *ret)
{
    struct kb_error err = {0};
    enum kb_code code = asset_find(request_store(r), request_part(r, 0), ret, &err);
    bool whole = code == KB_OK && ret->sha256[0];
    if (code == KB_OK && ret->job)
        code = kb_fail(&err, KB_NOT_FOUND, _("there is no such upload"));
    if (code == KB_OK && !whole && (strcmp(ret->state, "uploading") != 0 || ret->size_bytes < 0))
        code = kb_fail(&err, KB_NOT_FOUND, _("there is no such upload"));
    if (code != KB_OK) {
        reply_error(r, &err);
        return false;
    }
    if (!whole && ret->expires_ms > 0 && ret->expires_ms < kb_wall_ms()) {
        reply_problem(r, 410, "gone",
                      _("this upload has waited too long for its rest; send the file again"));
        return false;
    }
    return true;
}

// False: answered, 423 while another request that sends to it is just ending.
static bool hold_upload(struct request *r, const char *id, struct asset_upload **ret)
{
    struct kb_error err = {0};
    enum kb_code code =
        transfers_hold(request_server(r)->transfers, request_store(r), id, ret, &err);
    if (code == KB_UNAVAILABLE)
        reply_problem(r, 423, "locked", err.text);
    else if (code != KB_OK)
        reply_error(r, &err);
    return code == KB_OK;
}

// --- the methods without a body

void tus_options(struct request *r)
{
    reply_header(r, "Tus-Resumable", VERSION);
    reply_header(r, "Tus-Version", VERSION);
    reply_header(r, "Tus-Extension", EXTENSIONS);
    reply_header(r, "Tus-Checksum-Algorithm", ALGORITHMS);
    add_number(r, "Tus-Max-Size", upload_limit(request_server(r)));
    reply_empty(r, 204);
}

// What was kept of the metadata.
static void add_metadata(struct request *r, const struct asset *a)
{
    CLEANUP(kb_freep) char *name = base64_encode(a->name, strlen(a->name));
    CLEANUP(kb_freep) char *lang = base64_encode(a->lang, strlen(a->lang));
    CLEANUP(kb_freep) char *value = kb_printf("filename %s,lang %s", name, lang);
    reply_header(r, "Upload-Metadata", value);
}

// How much of an unfinished upload is there. The file knows better than the database, if the server
// was killed. And if that was all, it is filed now. False: answered.
static bool find_offset(struct request *r, const char *id, int64_t size, int64_t *ret)
{
    struct kb_error err = {0};
    struct transfers *all = request_server(r)->transfers;
    struct asset_upload *u = NULL;
    enum kb_code code = KB_OK;
    *ret = transfers_sent(all, id);
    if (*ret < 0)
        code = asset_upload_open(&u, request_store(r), id, &err);
    if (code == KB_UNAVAILABLE) // somebody has just begun
        *ret = transfers_sent(all, id);
    if (*ret >= 0)
        return true;
    if (code == KB_OK) {
        *ret = asset_upload_offset(u);
        code = asset_upload_close(&u, request_store(r), false, NULL, &err);
        if (code == KB_UNAVAILABLE && *ret < size) // not noted, but that is how far it is
            code = KB_OK;
    } else if (code == KB_UNAVAILABLE) {
        reply_problem(r, 423, "locked", err.text);
        return false;
    }
    if (code != KB_OK)
        reply_error(r, &err);
    return code == KB_OK;
}

void tus_head(struct request *r)
{
    reply_header(r, "Cache-Control", "no-store");
    struct asset a;
    if (!begin(r) || !find_upload(r, &a))
        return;
    int64_t offset = a.size_bytes;
    if (strcmp(a.state, "uploading") == 0) {
        if (!find_offset(r, a.id, a.size_bytes, &offset))
            return;
        add_expires(r, a.expires_ms);
    }
    add_metadata(r, &a);
    add_number(r, "Upload-Offset", offset);
    add_number(r, "Upload-Length", a.size_bytes);
    reply_empty(r, 200);
}

void tus_delete(struct request *r)
{
    struct asset a;
    struct kb_error err = {0};
    if (!begin(r) || !find_upload(r, &a))
        return;
    if (strcmp(a.state, "uploading") == 0) { // who sends to it is sent away first
        struct asset_upload *u = NULL;
        if (!hold_upload(r, a.id, &u))
            return;
        asset_upload_close(&u, request_store(r), false, NULL, NULL);
    }
    if (asset_delete(request_store(r), a.id, &err) == KB_OK)
        reply_empty(r, 204);
    else
        reply_conflict(r, &err);
}

// --- bodies

// The bytes of a chunk that cannot be checked any more are not kept.
static enum kb_code close_early(struct transfer *t, struct store *s, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    if (t->digest)
        code = asset_upload_truncate(t->upload, t->start, err);
    enum kb_code closed = asset_upload_close(&t->upload, s, false, NULL, err);
    return code != KB_OK ? code : closed;
}

static bool transfer_piece(struct request *r, void *ctx, const void *data, size_t n)
{
    struct transfer *t = ctx;
    if (t->failed)
        return false;
    struct kb_error err = {0};
    t->checked -= (int64_t)n;
    bool room = t->checked >= 0 || upload_has_room(r, UPLOAD_CHECK_BYTES);
    if (t->checked < 0)
        t->checked = UPLOAD_CHECK_BYTES;
    pthread_mutex_lock(&t->lock);
    bool taken = t->taken;
    bool written = room && t->upload && asset_upload_write(t->upload, data, n, &err) == KB_OK;
    if (written && t->digest)
        EVP_DigestUpdate(t->digest, data, n);
    pthread_mutex_unlock(&t->lock);
    if (written)
        return true;
    t->failed = true;
    transfer_leave(t);
    taken = taken || t->taken;
    bool whole = !t->upload;
    if (!taken && !whole)
        close_early(t, request_store(r), NULL);
    if (!room) // it is answered
        return false;
    if (taken)
        reply_taken(r);
    else if (whole) // bytes behind a file that is whole
        reply_problem(r, 413, "too_large", _("more bytes than the upload has room for"));
    else
        upload_reply_error(r, &err, 413);
    return false;
}

// An upload that nobody can know of, as it was not answered.
static void forget_created(struct request *r, const struct transfer *t)
{
    if (t->created)
        upload_forget(request_server(r), request_store(r), t->id);
}

static void answer_done(struct request *r, struct transfer *t, int64_t offset, bool complete)
{
    if (!complete) {
        struct asset a;
        if (asset_find(request_store(r), t->id, &a, NULL) == KB_OK && a.expires_ms > 0)
            add_expires(r, a.expires_ms);
    }
    add_number(r, "Upload-Offset", offset);
    if (t->created) {
        CLEANUP(kb_freep) char *location = kb_printf("/api/v1/uploads/%s", t->id);
        reply_header(r, "Location", location);
    }
    reply_empty(r, t->created ? 201 : 204);
}

static void transfer_done(struct request *r, void *ctx)
{
    CLEANUP(transfer_free) struct transfer *t = ctx;
    struct store *s = request_store(r);
    struct kb_error err = {0};
    transfer_leave(t);
    if (t->taken) {
        if (!t->failed)
            reply_taken(r);
        return;
    }
    if (t->failed) {
        forget_created(r, t);
        return;
    }
    if (!t->upload) { // nothing came: to a new upload, or to one that is whole
        answer_done(r, t, t->created ? 0 : t->size, !t->created);
        return;
    }
    if (!checksum_fits(t)) {
        close_early(t, s, NULL);
        forget_created(r, t);
        reply_problem(r, 460, "checksum",
                      _("the bytes that arrived are not those that were sent (their checksum "
                        "differs); send this part again"));
        return;
    }
    bool complete = false;
    int64_t offset = asset_upload_offset(t->upload);
    if (asset_upload_close(&t->upload, s, false, &complete, &err) == KB_OK) {
        answer_done(r, t, offset, complete);
        return;
    }
    forget_created(r, t);
    reply_error(r, &err);
}

static void transfer_abort(void *server, void *ctx)
{
    CLEANUP(transfer_free) struct transfer *t = ctx;
    transfer_leave(t);
    if (t->taken)
        return;
    if (t->upload && t->digest)
        asset_upload_truncate(t->upload, t->start, NULL);
    if (t->upload || t->created)
        upload_abandon(server, &t->upload, t->id, !t->created);
}

// --- PATCH

// May these bytes go there? False: answered.
static bool check_patch(struct request *r, const struct asset *a, int64_t offset)
{
    int64_t length = request_content_length(r);
    if (length > a->size_bytes - offset) {
        reply_problem(r, 413, "too_large", _("more bytes than the upload has room for"));
        return false;
    }
    return upload_has_room(r, a->size_bytes - offset);
}

static void reply_offset(struct request *r, int64_t there)
{
    add_number(r, "Upload-Offset", there);
    reply_problem(r, 409, "conflict",
                  _("the header Upload-Offset is not the number of bytes that are here; ask for it "
                    "with HEAD"));
}

static void *patch_open(struct request *r)
{
    struct asset a;
    int64_t offset;
    if (!begin(r))
        return NULL;
    if (!is_body_type(r)) {
        reply_problem(r, 415, "media_type",
                      _("the header Content-Type must be application/offset+octet-stream"));
        return NULL;
    }
    if (!header_number(r, "Upload-Offset", &offset)) {
        reply_problem(r, 400, "bad_input", _("the header Upload-Offset must be a number of bytes"));
        return NULL;
    }
    if (!find_upload(r, &a))
        return NULL;
    CLEANUP(transfer_free) struct transfer *t = transfer_create();
    memcpy(t->id, a.id, sizeof(t->id));
    t->size = a.size_bytes;
    t->start = offset;
    if (!read_checksum(r, t))
        return NULL;
    // Who is wrong about that disturbs nobody who sends.
    int64_t sent = transfers_sent(request_server(r)->transfers, a.id);
    if (sent >= 0 && sent != offset) {
        reply_offset(r, sent);
        return NULL;
    }
    if (strcmp(a.state, "uploading") == 0 && !hold_upload(r, a.id, &t->upload))
        return NULL;
    int64_t there = t->upload ? asset_upload_offset(t->upload) : a.size_bytes;
    if (offset == there && check_patch(r, &a, offset)) {
        transfer_enter(t, request_server(r)->transfers);
        return TAKE(t);
    }
    if (offset != there)
        reply_offset(r, there);
    if (t->upload)
        asset_upload_close(&t->upload, request_store(r), false, NULL, NULL);
    return NULL;
}

const struct body_sink tus_patch_sink = {patch_open, transfer_piece, transfer_done, transfer_abort};

// --- POST

// *ret_body: bytes of the file come with it. False: answered.
static bool check_create(struct request *r, int64_t *ret_size, bool *ret_body)
{
    if (!begin(r))
        return false;
    if (request_header(r, "Upload-Defer-Length")) {
        reply_problem(r, 400, "bad_input",
                      _("the size of the file must be known beforehand (header Upload-Length)"));
        return false;
    }
    if (!header_number(r, "Upload-Length", ret_size)) {
        reply_problem(r, 400, "bad_input", _("the header Upload-Length must be a number of bytes"));
        return false;
    }
    int64_t length = request_content_length(r);
    *ret_body = is_body_type(r);
    if (!*ret_body && (length > 0 || request_header(r, "Transfer-Encoding"))) {
        reply_problem(r, 415, "media_type",
                      _("the header Content-Type must be application/offset+octet-stream"));
        return false;
    }
    if (length > *ret_size) {
        reply_problem(r, 413, "too_large", _("more bytes than the upload has room for"));
        return false;
    }
    return upload_admit(r, &(struct upload_wish){.n_files = 1, .sizes = {*ret_size}});
}

static void *create_open(struct request *r)
{
    struct kb_error err = {0};
    CLEANUP(tus_metadata_free) struct tus_metadata m = {0};
    CLEANUP(transfer_free) struct transfer *t = transfer_create();
    bool body;
    if (!check_create(r, &t->size, &body))
        return NULL;
    if (tus_metadata_parse(&m, request_header(r, "Upload-Metadata"), &err) != KB_OK) {
        reply_error(r, &err);
        return NULL;
    }
    if (body && !read_checksum(r, t))
        return NULL;
    struct asset_params p = {
        .name = m.filename && m.filename[0] ? m.filename : _("unnamed file"),
        .size_bytes = t->size,
        .client = request_client_key(r),
        .lang = m.lang[0] ? m.lang : request_lang(r),
        .expires_ms = kb_wall_ms() + UPLOAD_KEEP_MS,
    };
    if (asset_create(request_store(r), &p, t->id, &err) != KB_OK) {
        reply_error(r, &err);
        return NULL;
    }
    t->created = true;
    if (!body || hold_upload(r, t->id, &t->upload)) {
        transfer_enter(t, request_server(r)->transfers);
        return TAKE(t);
    }
    forget_created(r, t);
    return NULL;
}

const struct body_sink tus_create_sink = {create_open, transfer_piece, transfer_done,
                                          transfer_abort};

// --- POST in place of PATCH and DELETE, which some networks do not let through

static void *override_open(struct request *r)
{
    const char *method = request_header(r, "X-HTTP-Method-Override");
    if (method && strcasecmp(method, "PATCH") == 0)
        return patch_open(r);
    if (method && strcasecmp(method, "DELETE") == 0) {
        tus_delete(r);
        return NULL;
    }
    reply_header(r, "Allow", "HEAD, PATCH, DELETE, OPTIONS");
    reply_problem(r, 405, "method",
                  _("POST to an upload needs the header X-HTTP-Method-Override: PATCH or DELETE"));
    return NULL;
}

const struct body_sink tus_override_sink = {override_open, transfer_piece, transfer_done,
                                            transfer_abort};
