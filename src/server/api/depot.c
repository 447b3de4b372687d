// The depot over HTTP: where the machines of a cluster get the files of their jobs, and bring what
// they made (docs/cluster.md). They have no token; each request is signed with the machine's
// secret.
//
// A machine reads what its own jobs need and writes the results of its own jobs, nothing else: the
// rows of queue/remote.h decide, at every request. What it brings goes into an asset that no user
// sees, is filed only if it is what was announced, and is looked at like an upload before anybody
// else sees it.
#include "server/internal.h"

#include "asset/upload.h"
#include "base/file.h"
#include "cluster/head.h"
#include "cluster/wire.h"
#include "queue/node.h"
#include "queue/remote.h"
#include "server/upload/transfer.h"
#include "server/upload/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SCHEME      "Koubo-Node "
#define RESULT_MOST ((int64_t)(64 * KB_GB)) // where no limit is set
#define HEX         "0123456789abcdef"

// --- who asks

struct sender {
    char node[NODE_NAME_BYTES], nonce[WIRE_NONCE_BYTES], mac[WIRE_MAC_BYTES];
};

// The next of "a:b:c". False: it is none, or too long.
static bool take_word(const char **rest, char *ret, size_t size)
{
    size_t n = strcspn(*rest, ":");
    if (n == 0 || n >= size)
        return false;
    memcpy(ret, *rest, n);
    ret[n] = '\0';
    *rest += n + ((*rest)[n] == ':');
    return true;
}

static bool read_sender(const struct request *r, struct sender *ret)
{
    const char *rest = request_header(r, "Authorization");
    if (!rest || strncasecmp(rest, SCHEME, strlen(SCHEME)) != 0)
        return false;
    rest += strlen(SCHEME);
    return take_word(&rest, ret->node, sizeof(ret->node)) && node_name_is_valid(ret->node) &&
           take_word(&rest, ret->nonce, sizeof(ret->nonce)) &&
           take_word(&rest, ret->mac, sizeof(ret->mac)) && *rest == '\0';
}

static void reply_stranger(struct request *r)
{
    reply_header(r, "WWW-Authenticate", "Koubo-Node");
    reply_problem(r, 401, "signature",
                  _("this is for the machines of the cluster, and the request is not signed by one "
                    "of them"));
}

bool depot_admits(struct request *r)
{
    struct sender who;
    struct server *s = request_server(r);
    if (!s->head) {
        reply_problem(r, 404, "not_found",
                      _("this server has no other machines; start it with --cluster"));
        return false;
    }
    if (read_sender(r, &who)) {
        CLEANUP(kb_freep)
        char *text = kb_printf("%s\n%s\n%s", request_method(r), request_target(r), who.nonce);
        if (head_admits(s->head, request_store(r), who.node, who.nonce, who.mac, text))
            return true;
    }
    reply_stranger(r);
    return false;
}

// The machine that signed; it was admitted.
static void sender_name(const struct request *r, char ret[NODE_NAME_BYTES])
{
    struct sender who = {0};
    read_sender(r, &who);
    memcpy(ret, who.node, NODE_NAME_BYTES);
}

// --- files

static bool is_sha256(const char *text)
{
    return text && strlen(text) == 64 && strspn(text, HEX) == 64;
}

// What somebody gave lies in the data folder; a model may lie anywhere.
static enum kb_code find_file(struct request *r, const char *node, const char *sha256,
                              char **ret_folder, char **ret_path, struct kb_error *err)
{
    CLEANUP(kb_freep) char *model = NULL;
    struct store *s = request_store(r);
    bool may = false;
    enum kb_code code = remote_may_read(s, node, sha256, &may, err);
    if (code == KB_OK && may) {
        *ret_folder = kb_strdup(request_server(r)->params.data);
        *ret_path = path_join("files", sha256);
        return KB_OK;
    }
    if (code == KB_OK)
        code = head_model(s, node, sha256, &model, err);
    // The folder of models may hold links, and where they lead is the owner's choice.
    CLEANUP(kb_freep) char *real = code == KB_OK ? realpath(model, NULL) : NULL;
    if (code == KB_OK && !real)
        code = kb_fail(err, KB_NOT_FOUND, "%s", kb_strerror(errno));
    if (code == KB_OK) {
        *ret_folder = path_folder(real);
        *ret_path = kb_strdup(path_name(real));
    }
    return code;
}

static void get_file(struct request *r)
{
    char node[NODE_NAME_BYTES];
    CLEANUP(kb_freep) char *folder = NULL;
    CLEANUP(kb_freep) char *path = NULL;
    const char *sha256 = request_part(r, 0);
    struct kb_error err = {0};
    sender_name(r, node);
    enum kb_code code =
        is_sha256(sha256) ? find_file(r, node, sha256, &folder, &path, &err) : KB_NOT_FOUND;
    if (code == KB_NOT_FOUND)
        kb_fail(&err, code, _("no job of this machine needs such a file"));
    if (code == KB_OK)
        reply_file(r, &(struct reply_file_params){.folder = folder,
                                                  .path = path,
                                                  .type = "application/octet-stream",
                                                  .immutable = true});
    else
        reply_error(r, &err);
}

// --- results

static void reply_offset(struct request *r, int status, int64_t offset)
{
    char json[48];
    snprintf(json, sizeof(json), "{\"offset\":%lld}", (long long)offset);
    reply_json(r, status, json);
}

static bool is_whole(const struct asset *a)
{
    return strcmp(a->state, "uploading") != 0;
}

// The asset into which the result of the job in the address comes. False: answered, 404 if it is
// not, or not by this lease any more, the sender's.
static bool find_result(struct request *r, struct asset *ret)
{
    char node[NODE_NAME_BYTES], id[33];
    int64_t job, lease;
    struct kb_error err = {0};
    if (!request_part_id(r, 0, &job) || !request_query_int(r, "lease", 1, INT64_MAX, 0, &lease))
        return false;
    sender_name(r, node);
    struct store *s = request_store(r);
    enum kb_code code = remote_asset(s, job, lease, node, id, &err);
    if (code == KB_OK)
        code = asset_find(s, id, ret, &err);
    if (code != KB_OK)
        reply_error(r, &err);
    return code == KB_OK;
}

// How much of it is there; the file knows better than the database, if the server was killed.
static void get_result(struct request *r)
{
    struct asset a;
    struct asset_upload *u = NULL;
    struct kb_error err = {0};
    struct transfers *all = request_server(r)->transfers;
    if (!find_result(r, &a))
        return;
    int64_t offset = is_whole(&a) ? a.size_bytes : transfers_sent(all, a.id);
    enum kb_code code = KB_OK;
    if (offset < 0)
        code = asset_upload_open(&u, request_store(r), a.id, &err);
    if (u) {
        offset = asset_upload_offset(u);
        asset_upload_drop(&u);
    }
    if (code == KB_OK)
        reply_offset(r, 200, offset);
    else
        reply_error(r, &err);
}

// A result under way.
struct arrival {
    struct transfer *transfer;
    int64_t size; // of all of it
    char node[NODE_NAME_BYTES], secret[NODE_SECRET_BYTES];
};

static void arrival_free(struct arrival **pointer)
{
    struct arrival *a = TAKE(*pointer);
    if (a)
        transfer_free(&a->transfer);
    if (a)
        explicit_bzero(a->secret, sizeof(a->secret));
    free(a);
}

// What the address says is to come. False: answered.
static bool read_wish(struct request *r, const char **ret_sha256, int64_t *ret_size,
                      int64_t *ret_offset)
{
    int64_t most = request_server(r)->params.supervisor.worker.output_bytes;
    int64_t length = request_content_length(r);
    *ret_sha256 = request_query(r, "sha256");
    if (!is_sha256(*ret_sha256)) {
        reply_problem(r, 400, "bad_input",
                      _("sha256 must be the SHA-256 of the file, 64 hexadecimal digits"));
        return false;
    }
    if (!request_query_int(r, "size", 1, most > 0 ? most : RESULT_MOST, 0, ret_size) ||
        !request_query_int(r, "offset", 0, *ret_size, 0, ret_offset))
        return false;
    if (*ret_size >= 1 && length <= *ret_size - *ret_offset)
        return true;
    reply_problem(r, 413, "too_large", _("more bytes than the upload has room for"));
    return false;
}

// Whole, but of another file than the machine has now, as one that was started anew may have. What
// was not told of yet comes anew; what was told of is looked at as it is.
static void reply_other(struct request *r, const struct asset *a)
{
    char node[NODE_NAME_BYTES];
    int64_t job, lease;
    bool anew = false;
    struct kb_error err = {0};
    if (!request_part_id(r, 0, &job) || !request_query_int(r, "lease", 1, INT64_MAX, 0, &lease))
        return;
    sender_name(r, node);
    if (remote_anew(request_store(r), job, lease, node, &anew, &err) == KB_OK)
        reply_offset(r, 409, anew ? 0 : a->size_bytes);
    else
        reply_error(r, &err);
}

// What is there already, or comes by another request. False: answered.
static bool is_to_come(struct request *r, const struct asset *a, const char *sha256, int64_t size,
                       int64_t offset)
{
    int64_t there =
        is_whole(a) ? a->size_bytes : transfers_sent(request_server(r)->transfers, a->id);
    if (is_whole(a) && offset == size && strcmp(a->sha256, sha256) == 0) {
        reply_empty(r, 204); // the answer of before was lost
        return false;
    }
    if (is_whole(a) && strcmp(a->sha256, sha256) != 0) {
        reply_other(r, a);
        return false;
    }
    if (!is_whole(a) && a->size_bytes >= 0 && a->size_bytes != size) {
        reply_problem(r, 422, "checksum", _("this is not the size that the machine told of"));
        return false;
    }
    if (!is_whole(a) && (there < 0 || there == offset))
        return true;
    reply_offset(r, 409, there);
    return false;
}

// The upload, held, its bytes so far those before offset. False: answered.
static bool hold(struct request *r, const char *id, int64_t size, int64_t offset,
                 struct asset_upload **ret)
{
    struct kb_error err = {0};
    struct asset_upload *u = NULL;
    struct store *s = request_store(r);
    enum kb_code code = transfers_hold(request_server(r)->transfers, s, id, &u, &err);
    if (code == KB_OK && asset_upload_offset(u) > size) // of another file
        code = asset_upload_truncate(u, 0, &err);
    if (code != KB_OK) {
        reply_error(r, &err);
    } else if (asset_upload_offset(u) != offset) {
        reply_offset(r, 409, asset_upload_offset(u));
    } else if (upload_has_room(r, size - offset)) {
        *ret = u;
        return true;
    }
    asset_upload_drop(&u);
    return false;
}

static void *put_open(struct request *r)
{
    struct asset a;
    const char *sha256;
    int64_t size, offset;
    struct asset_upload *u = NULL;
    if (!read_wish(r, &sha256, &size, &offset) || !find_result(r, &a) ||
        !is_to_come(r, &a, sha256, size, offset) || !hold(r, a.id, size, offset, &u))
        return NULL;
    struct node n = {0};
    struct arrival *new = kb_alloc(sizeof(*new));
    new->size = size;
    sender_name(r, new->node);
    if (node_get(request_store(r), new->node, &n, NULL) == KB_OK) // else it was just removed
        memcpy(new->secret, n.secret, sizeof(new->secret));
    new->transfer = transfer_create();
    new->transfer->upload = u;
    memcpy(new->transfer->id, a.id, sizeof(a.id));
    asset_upload_expect(u, sha256);
    transfer_enter(new->transfer, request_server(r)->transfers);
    return new;
}

static void reply_taken(struct request *r)
{
    reply_header(r, "Retry-After", "1");
    reply_problem(r, 503, "unavailable", _("another request goes on with this upload"));
}

// A machine that is removed, or gets another secret, is out at once, also in the midst of a body.
static bool is_still_admitted(struct request *r, const struct arrival *a)
{
    struct node n;
    enum kb_code code = node_get(request_store(r), a->node, &n, NULL);
    if (code == KB_OK ? strcmp(n.secret, a->secret) == 0 : code != KB_NOT_FOUND)
        return true; // also where the database cannot tell now
    reply_stranger(r);
    return false;
}

static bool put_piece(struct request *r, void *ctx, const void *data, size_t n)
{
    struct arrival *a = ctx;
    struct transfer *t = a->transfer;
    struct kb_error err = {0};
    t->checked -= (int64_t)n;
    bool room =
        t->checked >= 0 || (is_still_admitted(r, a) && upload_has_room(r, UPLOAD_CHECK_BYTES));
    bool fits = true, written = false;
    if (t->checked < 0)
        t->checked = UPLOAD_CHECK_BYTES;
    pthread_mutex_lock(&t->lock);
    if (room && t->upload) {
        fits = (int64_t)n <= a->size - asset_upload_offset(t->upload);
        written = fits && asset_upload_write(t->upload, data, n, &err) == KB_OK;
    }
    pthread_mutex_unlock(&t->lock);
    if (written)
        return true;
    t->failed = true;
    transfer_leave(t);
    if (room && t->taken) // without room (or right) it was answered already
        reply_taken(r);
    else if (room && !fits)
        reply_problem(r, 413, "too_large", _("more bytes than the upload has room for"));
    else if (room)
        reply_error(r, &err);
    if (t->upload)
        asset_upload_close(&t->upload, request_store(r), false, NULL, NULL);
    return false;
}

static void put_done(struct request *r, void *ctx)
{
    struct kb_error err = {0};
    struct arrival *a = ctx;
    struct transfer *t = a->transfer;
    transfer_leave(t);
    if (t->taken && !t->failed) {
        reply_taken(r);
    } else if (!t->failed) {
        int64_t offset = asset_upload_offset(t->upload);
        enum kb_code code =
            asset_upload_close(&t->upload, request_store(r), offset == a->size, NULL, &err);
        if (code == KB_BAD_INPUT)
            reply_problem(r, 422, "checksum", err.text);
        else if (code != KB_OK)
            reply_error(r, &err);
        else if (offset < a->size)
            reply_offset(r, 200, offset);
        else
            reply_empty(r, 204);
        if (code == KB_OK && offset == a->size)
            head_wake(request_server(r)->head);
    }
    arrival_free(&a);
}

static void put_abort(void *server, void *ctx)
{
    struct arrival *a = ctx;
    struct transfer *t = a->transfer;
    transfer_leave(t);
    if (!t->taken && t->upload)
        upload_abandon(server, &t->upload, t->id, true);
    arrival_free(&a);
}

static const struct body_sink put_sink = {put_open, put_piece, put_done, put_abort};

const struct route api_depot_routes[] = {
    {"GET", "/api/v1/depot/files/{sha256}", get_file, ROUTE_SIGNED, NULL},
    {"GET", "/api/v1/depot/results/{job}", get_result, ROUTE_SIGNED, NULL},
    {"PUT", "/api/v1/depot/results/{job}", NULL, ROUTE_SIGNED | ROUTE_SINK, &put_sink},
    {0},
};
