// The depot over HTTP, and machines that ask for what is not theirs. The rows of the queue play the
// head, and this file its memory of nonces (head_admits and head_wake are wrapped by the linker).
#include "tests/server/site.h"

#include "asset/claim.h"
#include "asset/upload.h"
#include "base/file.h"
#include "cluster/head.h"
#include "cluster/wire.h"
#include "queue/batch.h"
#include "queue/node.h"
#include "queue/remote.h"
#include "server/upload/tus.h"
#include "server/upload/upload.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#define NONCE "0123456789abcdef0123456789abcdef"
#define OLD   "fedcba9876543210fedcba9876543210"

static int n_woken;
static char secrets[2][65];                            // of n1 and n2
static const char *const nodes[] = {"n1", "n2", "n3"}; // n3: nobody added it
static int64_t job, lease;
static char audio[33], video[33], other[33], audio_hash[65], other_hash[65];
static char result[300000];
static char result_hash[65];

// --- the head

bool __wrap_head_admits(struct head *h, struct store *store, const char *node, const char *nonce,
                        const char *mac, const char *text);
void __wrap_head_wake(struct head *h);

static void hex_of(char ret[65], const unsigned char *digest)
{
    for (int i = 0; i < 32; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

static void sign(char ret[65], const char *secret, const char *text)
{
    unsigned char digest[32];
    unsigned n = sizeof(digest);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text),
         digest, &n);
    hex_of(ret, digest);
}

static void hash(char ret[65], const void *data, size_t n)
{
    unsigned char digest[32];
    SHA256(data, n, digest);
    hex_of(ret, digest);
}

bool __wrap_head_admits(struct head *h, struct store *store, const char *node, const char *nonce,
                        const char *mac, const char *text)
{
    struct node n;
    char right[65];
    if (strcmp(nonce, NONCE) != 0 || node_get(store, node, &n, NULL) != KB_OK)
        return false;
    sign(right, n.secret, text);
    return strcmp(right, mac) == 0;
}

void __wrap_head_wake(struct head *h)
{
    n_woken++;
}

// --- the machines

static struct kb_error err;

// A batch of one job, which n1 takes.
static void hand_out(const char *options)
{
    struct job_claim claim = {0};
    int n = 0;
    const char *videos[] = {video};
    struct batch_params p = {.name = "b",
                             .audio = audio,
                             .videos = videos,
                             .n_videos = 1,
                             .options = options,
                             .priority = 5,
                             .lang = "en"};
    int64_t id;
    assert_ok(err, batch_create(site.store, &p, &id, &err));
    assert_ok(err, remote_claim(site.store, 0, &claim, 1, &n, &err));
    assert_int_equal(n, 1);
    job = claim.job;
    lease = claim.lease;
    assert_ok(err, remote_offered(site.store, job, lease, "1-0", &err));
    assert_ok(err, remote_taken(site.store, job, lease, "n1", &err));
    job_claim_free(&claim);
}

static int start(void **state)
{
    static const struct route *const tables[] = {api_depot_routes, api_uploads_routes,
                                                 api_batches_routes, NULL};
    site_begin(tables);
    site.server.head = (struct head *)&n_woken;
    n_woken = 0;
    for (int i = 0; i < 2; i++)
        assert_ok(err, node_add(site.store, nodes[i], "", secrets[i], &err));
    site_asset(&site, "speech.wav", "RIFF and sound", 14, audio);
    site_asset(&site, "film.mp4", "a film", 6, video);
    site_asset(&site, "secret.mp4", "another film", 12, other);
    hash(audio_hash, "RIFF and sound", 14);
    hash(other_hash, "another film", 12);
    site_noise(result, sizeof(result), 3);
    hash(result_hash, result, sizeof(result));
    hand_out(NULL);
    return 0;
}

// The header of a request that this machine signs.
static char *signed_by(int node, const char *method, const char *target, const char *nonce)
{
    char mac[65];
    CLEANUP(kb_freep) char *text = kb_printf("%s\n%s\n%s", method, target, nonce);
    sign(mac, node < 2 ? secrets[node] : secrets[0], text);
    return kb_printf("Authorization: Koubo-Node %s:%s:%s\r\n", nodes[node], nonce, mac);
}

static int ask_as(int node, struct reply *ret, const char *method, const char *target,
                  const char *more, const void *body, size_t size)
{
    CLEANUP(kb_freep) char *who = signed_by(node, method, target, NONCE);
    CLEANUP(kb_freep) char *headers = kb_printf("%s%s", who, more);
    site_ask(&site, ret, method, target, headers, body, size);
    return ret->status;
}

static char *file_target(const char *sha256)
{
    return kb_printf("/api/v1/depot/files/%s", sha256);
}

static char *put_target(int64_t of, int64_t by, const char *sha256, int64_t size, int64_t offset)
{
    return kb_printf("/api/v1/depot/results/%lld?lease=%lld&sha256=%s&size=%lld&offset=%lld",
                     (long long)of, (long long)by, sha256, (long long)size, (long long)offset);
}

// Bytes of the result, from offset to end. The status; *ret_offset: what was told, -1 = nothing.
static int put(int node, int64_t offset, int64_t end, int64_t *ret_offset)
{
    CLEANUP(reply_clear) struct reply r = {0};
    CLEANUP(kb_freep)
    char *target = put_target(job, lease, result_hash, sizeof(result), offset);
    ask_as(node, &r, "PUT", target, "", result + offset, (size_t)(end - offset));
    *ret_offset = -1;
    if (r.status == 200 || r.status == 409) {
        json_auto_t *said = reply_object(&r);
        assert_int_equal(json_object_size(said), 1);
        *ret_offset = json_integer_value(json_object_get(said, "offset"));
    }
    return r.status;
}

static int64_t offset_there(int node, int wanted)
{
    CLEANUP(reply_clear) struct reply r = {0};
    CLEANUP(kb_freep)
    char *target =
        kb_printf("/api/v1/depot/results/%lld?lease=%lld", (long long)job, (long long)lease);
    // 503: a connection that broke is just being let go.
    while (ask_as(node, &r, "GET", target, "", NULL, 0) == 503)
        reply_clear(&r);
    assert_status(&r, wanted);
    json_auto_t *said = reply_object(&r);
    return wanted == 200 ? json_integer_value(json_object_get(said, "offset")) : -1;
}

// --- the tests

static void test_files(void **state)
{
    CLEANUP(kb_freep) char *own = file_target(audio_hash);
    CLEANUP(kb_freep) char *others = file_target(other_hash);
    {
        CLEANUP(reply_clear) struct reply r = {0};
        ask_as(0, &r, "GET", own, "", NULL, 0);
        assert_status(&r, 200);
        assert_int_equal(r.size, 14);
        assert_memory_equal(r.body, "RIFF and sound", 14);
    }
    {
        CLEANUP(reply_clear) struct reply r = {0};
        ask_as(0, &r, "GET", own, "Range: bytes=9-\r\n", NULL, 0);
        assert_status(&r, 206);
        assert_string_equal(r.body, "sound");
    }
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000", "0000",
        "..%2f..%2fkoubo.db", "koubo.db"};
    for (size_t i = 0; i < ARRAY_LEN(bad) + 2; i++) {
        CLEANUP(reply_clear) struct reply r = {0};
        CLEANUP(kb_freep)
        char *target = i < ARRAY_LEN(bad) ? file_target(bad[i])
                                          : kb_strdup(i == ARRAY_LEN(bad) ? others : own);
        // The last one: a file of a job, but of another machine's.
        int status = ask_as(i == ARRAY_LEN(bad) + 1, &r, "GET", target, "", NULL, 0);
        if (status != (i == 2 ? 400 : 404))
            fail_msg("%s: %d", target, status);
    }
}

// The file of a model that the job names; a link in the folder of models leads to it.
static void test_models(void **state)
{
    char model_hash[65];
    CLEANUP(kb_freep) char *real = path_join(site.folder, "checkpoint");
    CLEANUP(kb_freep) char *link = path_join(site.folder, "logs/mine.pth");
    CLEANUP(kb_freep) char *folder = path_join(site.folder, "logs");
    CLEANUP(kb_freep) char *before = kb_strdup(getenv("KOUBO_MODELS"));
    hash(model_hash, "weights", 7);
    CLEANUP(kb_freep) char *target = file_target(model_hash);
    assert_ok(err, file_write_atomic(real, "weights", 7, &err));
    assert_int_equal(symlink(real, link), 0);
    setenv("KOUBO_MODELS", folder, 1);
    CLEANUP(reply_clear) struct reply none = {0};
    assert_int_equal(ask_as(0, &none, "GET", target, "", NULL, 0), 404);
    hand_out("{\"model\":\"mine.pth\"}");
    CLEANUP(reply_clear) struct reply r = {0};
    ask_as(0, &r, "GET", target, "", NULL, 0);
    assert_status(&r, 200);
    assert_string_equal(r.body, "weights");
    CLEANUP(reply_clear) struct reply others = {0};
    assert_int_equal(ask_as(1, &others, "GET", target, "", NULL, 0), 404);
    if (before)
        setenv("KOUBO_MODELS", before, 1);
    else
        unsetenv("KOUBO_MODELS");
}

static void refuse(const char *method, const char *target, const char *headers)
{
    ASK(r, method, target, headers, method[0] == 'P' ? "x" : NULL, method[0] == 'P');
    if (r.status != 401)
        fail_msg("%s %s with %s: %d", method, target, headers, r.status);
    assert_string_equal(reply_value(&r, "WWW-Authenticate"), "Koubo-Node");
}

static void test_signatures(void **state)
{
    CLEANUP(kb_freep) char *own = file_target(audio_hash);
    CLEANUP(kb_freep) char *others = file_target(other_hash);
    CLEANUP(kb_freep) char *one = put_target(job, lease, result_hash, 1, 0);
    CLEANUP(kb_freep) char *ten = put_target(job, lease, result_hash, 10, 0);
    CLEANUP(kb_freep) char *right = signed_by(0, "GET", own, NONCE);
    CLEANUP(kb_freep) char *old = signed_by(0, "GET", own, OLD);
    CLEANUP(kb_freep) char *nobody = signed_by(2, "GET", own, NONCE);
    CLEANUP(kb_freep) char *none = signed_by(0, "GET", own, "");
    CLEANUP(kb_freep) char *got = signed_by(0, "GET", one, NONCE);
    CLEANUP(kb_freep) char *put_one = signed_by(0, "PUT", one, NONCE);
    CLEANUP(kb_freep)
    char *stolen =
        kb_printf("Authorization: Koubo-Node n2%s", right + strlen("Authorization: Koubo-Node n1"));
    CLEANUP(kb_freep) char *cut = kb_printf("%.*s\r\n", (int)strlen(right) - 4, right);
    refuse("GET", own, NULL);
    refuse("GET", own, "Authorization: Bearer what a user has\r\n");
    refuse("GET", own, "Authorization: Koubo-Node n1\r\n");
    refuse("GET", own, "Authorization: Koubo-Node ::\r\n");
    refuse("GET", own, "Authorization: Koubo-Node ../n1:" NONCE ":" NONCE NONCE "\r\n");
    refuse("GET", own, old);
    refuse("GET", own, nobody);
    refuse("GET", own, none);
    refuse("GET", own, stolen);
    refuse("GET", own, cut);
    refuse("GET", others, right);
    refuse("PUT", one, got);     // of another method
    refuse("PUT", ten, put_one); // of another address
    ASK(r, "GET", own, right, NULL, 0);
    assert_status(&r, 200);

    assert_ok(err, node_remove(site.store, "n1", &err));
    refuse("GET", own, right);
    site.server.head = NULL;
    ASK(alone, "GET", own, right, NULL, 0);
    assert_status(&alone, 404);
}

static struct asset asset_of_result(void)
{
    char id[33];
    struct asset a;
    assert_ok(err, remote_asset(site.store, job, lease, "n1", id, &err));
    assert_ok(err, asset_find(site.store, id, &a, &err));
    return a;
}

static void test_result_in_pieces(void **state)
{
    int64_t offset;
    assert_int_equal(offset_there(0, 200), 0);
    assert_int_equal(put(0, 0, 100000, &offset), 200);
    assert_int_equal(offset, 100000);
    assert_int_equal(put(0, 0, 100000, &offset), 409); // again, as its answer was lost
    assert_int_equal(offset, 100000);
    assert_int_equal(put(0, 200000, 300000, &offset), 409);
    assert_int_equal(offset_there(0, 200), 100000);
    assert_int_equal(n_woken, 0);
    assert_int_equal(put(0, 100000, 300000, &offset), 204);
    assert_int_equal(n_woken, 1);
    assert_int_equal(offset_there(0, 200), 300000);
    assert_int_equal(put(0, 300000, 300000, &offset), 204);
    assert_int_equal(put(0, 0, 300000, &offset), 409);
    assert_int_equal(offset, 300000);
    struct asset a = asset_of_result();
    assert_string_equal(a.state, "new");
    assert_string_equal(a.sha256, result_hash);
    assert_int_equal(a.job, job);
}

static void tell(const char *sha256)
{
    const struct dub_result r = {
        .frames = 25, .frames_animated = 25, .seconds = 2, .width = 64, .height = 48};
    assert_ok(err, remote_result(site.store, job, lease, "n1", sha256, sizeof(result), &r, &err));
}

// The bytes may come first: the job ends when they are told of, too.
static void test_told_afterwards(void **state)
{
    int64_t offset;
    struct remote_end end;
    const struct asset_facts facts = {
        .kind = "video", .duration_ms = 2000, .width = 64, .height = 48, .n_faces = -1};
    for (int told = 0; told < 2; told++) {
        assert_int_equal(put(0, 0, 300000, &offset), 204);
        assert_ok(err, asset_set_facts(site.store, asset_of_result().id, &facts, &err));
        if (told) // before these bytes came
            break;
        assert_int_equal(remote_settle(site.store, &end, &err), KB_EOF);
        tell(other_hash);
        assert_int_equal(offset_there(0, 200), 0); // that is not what came
        tell(result_hash);
    }
    assert_ok(err, remote_settle(site.store, &end, &err));
    assert_true(end.good);
    assert_int_equal(remote_settle(site.store, &end, &err), KB_EOF); // takes what is left away
    assert_int_equal(site_count_files(&site, "files"), 3);
    offset_there(0, 404);
}

// Not asked for, for who asks holds the upload for a moment, and a PUT that comes in it is refused.
static bool has_come(void *opaque)
{
    struct stat st;
    CLEANUP(kb_freep)
    char *part = kb_printf("%s/uploads/%s.part", site.folder, asset_of_result().id);
    return stat(part, &st) == 0 && st.st_size >= *(int64_t *)opaque;
}

struct coming {
    int fd;
    int64_t wanted;
};

static bool has_come_or_is_answered(void *opaque)
{
    struct coming *c = opaque;
    char byte;
    return has_come(&c->wanted) || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

// One that left in the middle, and one that only seems to be there still.
static void test_result_broken_off(void **state)
{
    int64_t offset, wanted = 150000;
    int fds[2];
    for (int i = 0, tries = 0; i < 2 && tries < 100; tries++) {
        CLEANUP(kb_freep)
        char *next = put_target(job, lease, result_hash, sizeof(result), i ? 150000 : 0);
        CLEANUP(kb_freep) char *header = signed_by(0, "PUT", next, NONCE);
        fds[i] = site_connect(&site);
        site_sendf(fds[i],
                   "PUT %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%sContent-Length: "
                   "150000\r\n\r\n",
                   next, header);
        site_send(fds[i], result + (i ? 150000 : 0), i ? 50000 : 150000);
        if (i == 0)
            shutdown(fds[i], 2);
        assert_true(site_wait(has_come_or_is_answered, &(struct coming){fds[i], wanted}));
        if (offset_there(0, 200) < wanted) { // 503: the first is just being let go
            close(fds[i]);
            continue;
        }
        wanted += 50000;
        i++;
    }
    assert_int_equal(wanted, 250000);
    assert_int_equal(put(0, 200000, 300000, &offset), 204);
    CLEANUP(reply_clear) struct reply r = {0};
    site_send(fds[1], result + 200000, 100000);
    site_receive(fds[1], &r, "PUT");
    assert_status(&r, 503); // the other one went on with it
    close(fds[0]);
    assert_string_equal(asset_of_result().state, "new");
    assert_int_equal(site_count_files(&site, "uploads"), 0);
}

static void test_wrong_result(void **state)
{
    int64_t offset;
    result[299999] ^= 1;
    assert_int_equal(put(0, 0, 100000, &offset), 200);
    assert_int_equal(put(0, 100000, 300000, &offset), 422);
    assert_int_equal(offset_there(0, 200), 0);
    assert_string_equal(asset_of_result().state, "uploading");
    assert_int_equal(n_woken, 0);
    result[299999] ^= 1;
    assert_int_equal(put(0, 0, 300000, &offset), 204);
}

// A machine that was started anew made another file than it had brought before it could tell of it.
static void test_another_result_than_came(void **state)
{
    int64_t offset;
    assert_int_equal(put(0, 0, 300000, &offset), 204);
    result[299999] ^= 1;
    hash(result_hash, result, sizeof(result));
    assert_int_equal(offset_there(0, 200), 300000);
    assert_int_equal(put(0, 300000, 300000, &offset), 409);
    assert_int_equal(offset, 0);
    assert_int_equal(offset_there(0, 200), 0);
    assert_int_equal(put(0, 0, 300000, &offset), 204);
    assert_string_equal(asset_of_result().sha256, result_hash);
    tell(result_hash); // now only what was told counts
    result[299999] ^= 1;
    hash(result_hash, result, sizeof(result));
    assert_int_equal(put(0, 0, 300000, &offset), 409);
    assert_int_equal(offset, 300000);
}

// Its secret is void at once, also for what it is sending.
static void test_renewed_while_it_sends(void **state)
{
    int64_t size = UPLOAD_CHECK_BYTES + 2 * (1 << 20), begun = 1000;
    CLEANUP(kb_freep) char *bytes = kb_alloc((size_t)size);
    CLEANUP(kb_freep) char *target = put_target(job, lease, result_hash, size, 0);
    CLEANUP(kb_freep) char *header = signed_by(0, "PUT", target, NONCE);
    int fd = site_connect(&site);
    site_sendf(fd,
               "PUT %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%sContent-Length: "
               "%lld\r\n\r\n",
               target, header, (long long)size);
    site_send(fd, bytes, 1000);
    assert_true(site_wait(has_come, &begun));
    assert_ok(err, node_renew(site.store, "n1", secrets[0], &err));
    CLEANUP(reply_clear) struct reply r = {0};
    site_send(fd, bytes + 1000, (size_t)size - 1000);
    site_receive(fd, &r, "PUT");
    assert_status(&r, 401);
}

static void test_no_result_of_others(void **state)
{
    int64_t offset;
    static const int64_t wrong[][2] = {{1, 0}, {0, 1}, {1000, 0}};
    assert_int_equal(put(1, 0, 300000, &offset), 404);
    offset_there(1, 404);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        CLEANUP(kb_freep)
        char *target = put_target(job + wrong[i][0], lease + wrong[i][1], result_hash, 5, 0);
        CLEANUP(reply_clear) struct reply r = {0};
        ask_as(0, &r, "PUT", target, "", "12345", 5);
        assert_status(&r, 404);
    }
    // Lost while it sends.
    assert_int_equal(put(0, 0, 100000, &offset), 200);
    struct remote rm;
    assert_ok(err, remote_get(site.store, job, &rm, &err));
    assert_ok(err, remote_lost(site.store, &rm, N_("the machine was not heard any more"), &err));
    assert_int_equal(put(0, 100000, 300000, &offset), 404);
}

static void test_limits(void **state)
{
    char body[100] = "";
    const struct {
        const char *sha256;
        int64_t size, offset;
        int status;
    } cases[] = {
        {result_hash, 0, 0, 400},    {result_hash, 70000000000, 0, 400},
        {result_hash, -1, 0, 400},   {result_hash, 50, 0, 413},
        {result_hash, 150, 60, 413}, {result_hash, 150, -1, 400},
        {"abc", 150, 0, 400},        {"../../../../koubo.db", 150, 0, 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(reply_clear) struct reply r = {0};
        CLEANUP(kb_freep)
        char *target = put_target(job, lease, cases[i].sha256, cases[i].size, cases[i].offset);
        ask_as(0, &r, "PUT", target, "", body, sizeof(body));
        if (r.status != cases[i].status)
            fail_msg("%s: %d", target, r.status);
    }
    // More than was said, where nothing says beforehand how much comes.
    CLEANUP(kb_freep) char *target = put_target(job, lease, result_hash, 10, 0);
    CLEANUP(kb_freep) char *who = signed_by(0, "PUT", target, NONCE);
    int fd = site_connect(&site);
    site_sendf(fd,
               "PUT %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s"
               "Transfer-Encoding: chunked\r\n\r\nf\r\n0123456789abcde\r\n0\r\n\r\n",
               target, who);
    CLEANUP(reply_clear) struct reply longer = {0};
    site_receive(fd, &longer, "PUT");
    assert_status(&longer, 413);

    int64_t offset;
    site.server.params.supervisor.worker.min_free_bytes = INT64_C(1) << 60;
    assert_int_equal(put(0, 0, 300000, &offset), 507);
    assert_int_equal(offset_there(0, 200), 0);
}

// What comes is no user's file, whoever knows its number.
static void test_users_see_nothing(void **state)
{
    int64_t offset;
    assert_int_equal(put(0, 0, 100000, &offset), 200);
    for (int whole = 0; whole < 2; whole++) {
        char path[100];
        struct asset a = asset_of_result();
        static const char *const ways[][2] = {{"GET", ""},
                                              {"GET", "/content"},
                                              {"GET", "/thumbnail"},
                                              {"DELETE", ""},
                                              {"POST", "/inspect"}};
        for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
            snprintf(path, sizeof(path), "/api/v1/assets/%s%s", a.id, ways[i][1]);
            ASK(r, ways[i][0], path, NULL, ways[i][0][0] == 'P' ? "{}" : NULL, 2);
            assert_status(&r, 404);
        }
        static const char *const tus[] = {"HEAD", "DELETE", "PATCH"};
        for (size_t i = 0; i < ARRAY_LEN(tus); i++) {
            snprintf(path, sizeof(path), "/api/v1/uploads/%s", a.id);
            ASK(r, tus[i], path,
                "Tus-Resumable: 1.0.0\r\nUpload-Offset: 100000\r\n"
                "Content-Type: application/offset+octet-stream\r\n",
                tus[i][0] == 'P' ? "x" : NULL, 1);
            assert_status(&r, 404);
        }
        ASK(list, "GET", "/api/v1/assets", NULL, NULL, 0);
        assert_null(strstr(list.body, a.id));
        CLEANUP(kb_freep)
        char *batch = kb_printf("{\"audio\":\"%s\",\"videos\":[\"%s\"]}", audio, a.id);
        ASK(made, "POST", "/api/v1/batches", "Content-Type: application/json\r\n", batch,
            strlen(batch));
        if (made.status < 400)
            fail_msg("a result became a video of a batch: %d", made.status);
        assert_int_equal(asset_count_uploads(site.store, NULL), 0);
        assert_int_equal(put(0, 100000 + whole * 200000, 300000, &offset), 204);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, start, site_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_files),
        CASE(test_models),
        CASE(test_signatures),
        CASE(test_result_in_pieces),
        CASE(test_result_broken_off),
        CASE(test_wrong_result),
        CASE(test_another_result_than_came),
        CASE(test_renewed_while_it_sends),
        CASE(test_no_result_of_others),
        CASE(test_limits),
        CASE(test_told_afterwards),
        CASE(test_users_see_nothing),
    };
    return cmocka_run_group_tests_name("server/depot", tests, NULL, NULL);
}
