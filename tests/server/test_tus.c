// Sending files over HTTP by tus 1.0.0, request by request, and what goes wrong on the way.
#include "tests/server/site.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "base/file.h"
#include "server/pool.h"
#include "server/upload/upload.h"

#include <openssl/evp.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TUS  "Tus-Resumable: 1.0.0\r\n"
#define BODY "Content-Type: application/offset+octet-stream\r\n"

static const struct route *const tables[] = {api_uploads_routes, NULL};

static int start(void **state)
{
    site_begin(tables);
    return 0;
}

// Creates an upload of that size; its address in ret.
static void create(char ret[64], size_t size)
{
    char headers[200];
    snprintf(headers, sizeof(headers),
             TUS "Upload-Length: %zu\r\nUpload-Metadata: filename 5paw5bu6Lm1wNA==\r\n", size);
    ASK(r, "POST", "/api/v1/uploads", headers, "", 0);
    assert_status(&r, 201);
    snprintf(ret, 64, "%s", reply_value(&r, "Location"));
    assert_memory_equal(ret, "/api/v1/uploads/", 16);
    assert_int_equal(strlen(ret), 16 + 32);
}

static int patch(struct reply *r, const char *path, int64_t offset, const char *more,
                 const void *data, size_t n)
{
    char headers[400];
    snprintf(headers, sizeof(headers), TUS BODY "Upload-Offset: %lld\r\n%s", (long long)offset,
             more);
    site_ask(&site, r, "PATCH", path, headers, data, n);
    return r->status;
}

static int patch_status(const char *path, int64_t offset, const char *more, const void *data,
                        size_t n)
{
    CLEANUP(reply_clear) struct reply r = {0};
    return patch(&r, path, offset, more, data, n);
}

// -1 while it is locked.
static int64_t offset_of(const char *path)
{
    ASK(r, "HEAD", path, TUS, NULL, 0);
    if (r.status == 423)
        return -1;
    assert_status(&r, 200);
    assert_string_equal(reply_value(&r, "Cache-Control"), "no-store");
    return atoll(reply_value(&r, "Upload-Offset"));
}

static bool is_unlocked(void *path)
{
    return offset_of(path) >= 0;
}

// Every connection has been seen to its end, also one whose first bytes were late.
static bool is_quiet(void *unused)
{
    return http_connections(site.server.http) == 0;
}

static void test_options(void **state)
{
    ASK(r, "OPTIONS", "/api/v1/uploads", NULL, NULL, 0);
    assert_status(&r, 204);
    assert_string_equal(reply_value(&r, "Tus-Resumable"), "1.0.0");
    assert_string_equal(reply_value(&r, "Tus-Version"), "1.0.0");
    assert_string_equal(reply_value(&r, "Tus-Extension"),
                        "creation,creation-with-upload,termination,expiration,checksum");
    assert_string_equal(reply_value(&r, "Tus-Max-Size"), "20000000000");
    assert_string_equal(reply_value(&r, "Tus-Checksum-Algorithm"), "sha1,md5,sha256");
}

// Every request that is refused, with its status, in one table. The path "U" is an upload of 10
// bytes of which 4 are there.
static void test_refusals(void **state)
{
    static const struct {
        const char *method, *path, *headers, *body;
        int status;
    } cases[] = {
        // the version
        {"POST", "/api/v1/uploads", "Upload-Length: 5\r\n", "", 412},
        {"POST", "/api/v1/uploads", "Tus-Resumable: 0.2.2\r\nUpload-Length: 5\r\n", "", 412},
        {"HEAD", "U", "", NULL, 412},
        {"PATCH", "U", BODY "Upload-Offset: 4\r\n", "x", 412},
        {"DELETE", "U", "Tus-Resumable: 2\r\n", NULL, 412},
        // creating
        {"POST", "/api/v1/uploads", TUS, "", 400},
        {"POST", "/api/v1/uploads", TUS "Upload-Defer-Length: 1\r\n", "", 400},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: -1\r\n", "", 400},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 1x\r\n", "", 400},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 0\r\n", "", 400},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 99999999999999999999\r\n", "", 400},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 999999999999999999\r\n", "", 413},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 21474836481\r\n", "", 413},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 5\r\nUpload-Metadata: filename ?\r\n", "",
         400},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 5\r\nUpload-Metadata: filename //79\r\n",
         "", 400},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 5\r\nContent-Type: text/plain\r\n", "abc",
         415},
        {"POST", "/api/v1/uploads", TUS "Upload-Length: 2\r\n" BODY, "abc", 413},
        // going on
        {"PATCH", "U", TUS "Upload-Offset: 4\r\nContent-Type: text/plain\r\n", "x", 415},
        {"PATCH", "U", TUS "Upload-Offset: 4\r\n", "x", 415},
        {"PATCH", "U", TUS BODY, "x", 400},
        {"PATCH", "U", TUS BODY "Upload-Offset: four\r\n", "x", 400},
        {"PATCH", "U", TUS BODY "Upload-Offset: 3\r\n", "x", 409},
        {"PATCH", "U", TUS BODY "Upload-Offset: 5\r\n", "x", 409},
        {"PATCH", "U", TUS BODY "Upload-Offset: 4\r\n", "1234567", 413},
        {"PATCH", "U", TUS BODY "Upload-Offset: 4\r\nUpload-Checksum: crc32 AAAA\r\n", "x", 400},
        {"PATCH", "U", TUS BODY "Upload-Offset: 4\r\nUpload-Checksum: md5 AAAA\r\n", "x", 400},
        {"PATCH", "U", TUS BODY "Upload-Offset: 4\r\nUpload-Checksum: md5\r\n", "x", 400},
        // no such upload
        {"HEAD", "/api/v1/uploads/00000000000000000000000000000000", TUS, NULL, 404},
        {"PATCH", "/api/v1/uploads/00000000000000000000000000000000",
         TUS BODY "Upload-Offset: 0\r\n", "x", 404},
        {"DELETE", "/api/v1/uploads/..%2f..%2fkoubo.db", TUS, NULL, 400},
        {"HEAD", "/api/v1/uploads/%2e%2e", TUS, NULL, 400},
        {"DELETE", "/api/v1/uploads/%00", TUS, NULL, 400},
        // a POST to an upload
        {"POST", "U", TUS, "", 405},
        {"POST", "U", TUS "X-HTTP-Method-Override: PUT\r\n", "", 405},
    };
    char upload[64];
    create(upload, 10);
    assert_int_equal(patch_status(upload, 0, "", "1234", 4), 204);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *path = strcmp(cases[i].path, "U") == 0 ? upload : cases[i].path;
        ASK(r, cases[i].method, path, cases[i].headers, cases[i].body,
            cases[i].body ? strlen(cases[i].body) : 0);
        if (r.status != cases[i].status)
            fail_msg("case %zu: %s %s: %d, wanted %d: %s", i, cases[i].method, path, r.status,
                     cases[i].status, r.body);
        if (strcmp(cases[i].method, "HEAD") != 0 && r.status != 404 && !strstr(path, "%"))
            assert_non_null(strstr(r.body, "\"detail\":\""));
        if (r.status == 412)
            assert_string_equal(reply_value(&r, "Tus-Version"), "1.0.0");
    }
    assert_int_equal(offset_of(upload), 4); // none of them moved anything
    assert_int_equal(site_count_files(&site, "uploads"), 1);
}

static void test_whole_life(void **state)
{
    char upload[64];
    create(upload, 10);
    assert_int_equal(offset_of(upload), 0);
    CLEANUP(reply_clear) struct reply r = {0}, head = {0}, last = {0};
    assert_int_equal(patch(&r, upload, 0, "", "1234", 4), 204);
    assert_string_equal(reply_value(&r, "Upload-Offset"), "4");
    assert_string_equal(reply_value(&r, "Tus-Resumable"), "1.0.0");
    struct tm t = {0};
    const char *expires = reply_value(&r, "Upload-Expires");
    assert_non_null(strptime(expires, "%a, %d %b %Y %H:%M:%S GMT", &t));
    // time() may be a tick behind the clock that the server read.
    assert_in_range(timegm(&t) - time(NULL), 24 * 3600 - 60, 24 * 3600 + 1);

    site_ask(&site, &head, "HEAD", upload, TUS, NULL, 0);
    assert_string_equal(reply_value(&head, "Upload-Offset"), "4");
    assert_string_equal(reply_value(&head, "Upload-Length"), "10");
    assert_non_null(strstr(reply_value(&head, "Upload-Metadata"), "filename 5paw5bu6Lm1wNA=="));

    assert_int_equal(patch_status(upload, 4, "", "", 0), 204); // nothing is fine too
    assert_int_equal(patch(&last, upload, 4, "", "567890", 6), 204);
    assert_string_equal(reply_value(&last, "Upload-Offset"), "10");
    assert_string_equal(reply_value(&last, "Upload-Expires"), "");
    assert_int_equal(offset_of(upload), 10);
    assert_content(upload, "1234567890", 10);
    assert_int_equal(patch_status(upload, 10, "", "", 0), 204);
    assert_int_equal(patch_status(upload, 10, "", "x", 1), 413);
    assert_int_equal(patch_status(upload, 4, "", "x", 1), 409);
    assert_int_equal(site_count_files(&site, "uploads"), 0);

    struct asset a;
    struct kb_error err = {0};
    assert_ok(err, asset_find(site.store, upload + 16, &a, &err));
    assert_string_equal(a.state, "new");
    assert_string_equal(a.name, "新建.mp4");
    assert_string_equal(a.lang, "en");

    ASK(gone, "DELETE", upload, TUS, NULL, 0);
    assert_status(&gone, 204);
    ASK(after, "HEAD", upload, TUS, NULL, 0);
    assert_status(&after, 404);
    assert_int_equal(site_count_files(&site, "files"), 0);
}

static void test_created_with_content(void **state)
{
    ASK(r, "POST", "/api/v1/uploads", TUS BODY "Upload-Length: 6\r\n", "abc", 3);
    assert_status(&r, 201);
    assert_string_equal(reply_value(&r, "Upload-Offset"), "3");
    char upload[64];
    snprintf(upload, sizeof(upload), "%s", reply_value(&r, "Location"));
    // Through a network that knows only GET and POST.
    ASK(rest, "POST", upload, TUS BODY "X-HTTP-Method-Override: PATCH\r\nUpload-Offset: 3\r\n",
        "def", 3);
    assert_status(&rest, 204);
    assert_content(upload, "abcdef", 6);
    ASK(gone, "POST", upload, TUS "X-HTTP-Method-Override: DELETE\r\n", "", 0);
    assert_status(&gone, 204);

    ASK(all, "POST", "/api/v1/uploads", TUS BODY "Upload-Length: 3\r\n", "abc", 3);
    assert_status(&all, 201);
    assert_content(reply_value(&all, "Location"), "abc", 3);
    // Bytes that are not those that were sent: nothing of it stays.
    ASK(bad, "POST", "/api/v1/uploads",
        TUS BODY "Upload-Length: 6\r\nUpload-Checksum: md5 AAAAAAAAAAAAAAAAAAAAAA==\r\n", "abc", 3);
    assert_status(&bad, 460);
    assert_int_equal(asset_count_uploads(site.store, "127.0.0.1"), 0);
}

// Say no more and wait until the server has seen that. A question asked before would hold the
// upload for a moment, and a PATCH that a busy machine is late to accept would be refused.
static void see_end(int fd)
{
    char rest[256];
    shutdown(fd, SHUT_WR);
    while (recv(fd, rest, sizeof(rest), 0) > 0)
        continue;
}

// The connection breaks in the middle of each request, at a place that chance chooses.
static void test_cut_and_resumed(void **state)
{
    enum { SIZE = 3 << 20 };
    CLEANUP(kb_freep) char *data = malloc(SIZE);
    site_noise(data, SIZE, 7);
    char upload[64];
    create(upload, SIZE);
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    int64_t offset = 0;
    for (int i = 0; i < 12 && offset < SIZE; i++) {
        int fd = site_connect(&site);
        site_sendf(fd,
                   "PATCH %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" TUS BODY
                   "Upload-Offset: %lld\r\nContent-Length: %lld\r\n\r\n",
                   upload, site.port, (long long)offset, (long long)(SIZE - offset));
        seed = seed * 1103515245 + 12345;
        size_t n = (size_t)KB_MIN((seed >> 8) % (SIZE / 6), SIZE - offset - 1);
        site_send(fd, data + offset, n);
        if (i % 2) // half of the time as a process that is killed, which resets the connection
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        else
            see_end(fd);
        close(fd);
        if (!site_wait(is_quiet, NULL) || !site_wait(is_unlocked, upload))
            fail_msg("cut %d, after %zu bytes: still locked", i, n);
        int64_t now = offset_of(upload);
        assert_in_range(now, offset, offset + (int64_t)n);
        if (i % 2 == 0) // closed in order: every byte that was sent is kept
            assert_int_equal(now, offset + (int64_t)n);
        offset = now;
    }
    assert_int_equal(patch_status(upload, offset, "", data + offset, (size_t)(SIZE - offset)), 204);
    assert_content(upload, data, SIZE);
}

static void checksum_header(char *ret, size_t size, const char *name, const void *data, size_t n)
{
    unsigned char digest[EVP_MAX_MD_SIZE], text[2 * EVP_MAX_MD_SIZE];
    unsigned n_digest;
    EVP_Digest(data, n, digest, &n_digest, EVP_get_digestbyname(name), NULL);
    EVP_EncodeBlock(text, digest, (int)n_digest);
    snprintf(ret, size, "Upload-Checksum: %s %s\r\n", name, text);
}

static bool is_at_four(void *path)
{
    return offset_of(path) == 4;
}

static void test_checksums(void **state)
{
    static const char *const names[] = {"sha1", "md5", "sha256"};
    char upload[64], header[200];
    create(upload, 30);
    for (int i = 0; i < 3; i++) {
        checksum_header(header, sizeof(header), names[i], "0123456789", 10);
        assert_int_equal(patch_status(upload, i * 10, header, "0123456780", 10), 460);
        assert_int_equal(offset_of(upload), i * 10);
        assert_int_equal(patch_status(upload, i * 10, header, "0123456789", 10), 204);
    }
    assert_content(upload, "012345678901234567890123456789", 30);

    // Half a part cannot be checked, so it is not kept.
    create(upload, 20);
    assert_int_equal(patch_status(upload, 0, "", "abcd", 4), 204);
    int fd = site_connect(&site);
    site_sendf(fd,
               "PATCH %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" TUS BODY
               "Upload-Offset: 4\r\n%sContent-Length: 10\r\n\r\n01234",
               upload, site.port, header);
    close(fd);
    assert_true(site_wait(is_at_four, upload)); // 423 while the part begins or ends
}

static bool is_locked(const char *path, int64_t *ret_offset)
{
    struct kb_error err = {0};
    struct asset_upload *u = NULL;
    struct stat st = {0};
    CLEANUP(kb_freep) char *name = kb_printf("%s.part", path_name(path));
    CLEANUP(kb_freep) char *part = store_path(site.store, "uploads", name);
    if (stat(part, &st) == 0)
        *ret_offset = st.st_size;
    if (asset_upload_open(&u, site.store, path_name(path), &err) == KB_UNAVAILABLE)
        return true;
    if (u)
        asset_upload_close(&u, site.store, false, NULL, NULL);
    return false;
}

// A connection that sends 2 of 5 bytes, which the server has written; -1: it could not be had.
static int hold(char *upload, const char *headers)
{
    for (int i = 0; i < 100; i++) {
        int fd = site_connect(&site);
        site_sendf(fd,
                   "PATCH %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n" TUS BODY "%s"
                   "Upload-Offset: 0\r\nContent-Length: 5\r\n\r\n12",
                   upload, site.port, headers);
        struct pollfd answered = {.fd = fd, .events = POLLIN};
        int64_t offset = 0;
        while (poll(&answered, 1, 10) == 0)
            if (is_locked(upload, &offset) && offset == 2)
                return fd;
        close(fd);
    }
    return -1;
}

// Asking how much is there disturbs nobody who sends.
static void test_asked_meanwhile(void **state)
{
    char upload[64];
    create(upload, 10);
    int fd = hold(upload, "");
    assert_true(fd >= 0);
    assert_int_equal(offset_of(upload), 2);
    site_send(fd, "345", 3);
    CLEANUP(reply_clear) struct reply sent = {0};
    site_receive(fd, &sent, "PATCH");
    assert_status(&sent, 204);
    assert_string_equal(reply_value(&sent, "Upload-Offset"), "5");
    assert_int_equal(patch_status(upload, 5, "", "67890", 5), 204);
    assert_content(upload, "1234567890", 10);

    create(upload, 10); // of a chunk with a checksum nothing counts before its end
    fd = hold(upload, "Upload-Checksum: md5 AAAAAAAAAAAAAAAAAAAAAA==\r\n");
    assert_int_equal(offset_of(upload), 0);
    close(fd);
}

// A page that was loaded anew goes on at once: the later request takes the upload over, whatever
// the server still believes of the older one's connection.
static void test_taken_over(void **state)
{
    char upload[64];
    create(upload, 10);
    int fd = hold(upload, "");
    assert_true(fd >= 0);
    assert_int_equal(patch_status(upload, 2, "", "3456", 4), 204);
    site_send(fd, "abc", 3);
    CLEANUP(reply_clear) struct reply older = {0};
    site_receive(fd, &older, "PATCH");
    assert_status(&older, 423);
    assert_int_equal(offset_of(upload), 6); // of the older one's rest nothing is kept
    assert_int_equal(patch_status(upload, 6, "", "7890", 4), 204);
    assert_content(upload, "1234567890", 10);

    create(upload, 10); // a chunk that cannot be checked any more is not kept
    fd = hold(upload, "Upload-Checksum: md5 AAAAAAAAAAAAAAAAAAAAAA==\r\n");
    assert_int_equal(patch_status(upload, 0, "", "1234567890", 10), 204);
    close(fd);
    assert_content(upload, "1234567890", 10);

    create(upload, 10);
    fd = hold(upload, "");
    ASK(r, "DELETE", upload, TUS, NULL, 0);
    assert_status(&r, 204);
    close(fd);
    assert_true(site_wait(is_quiet, NULL));
    ASK(gone, "HEAD", upload, TUS, NULL, 0);
    assert_status(&gone, 404);
    assert_int_equal(site_count_files(&site, "uploads"), 0);
}

// Who is wrong about the offset disturbs nobody who sends.
static void test_wrong_offset_takes_nothing(void **state)
{
    char upload[64];
    create(upload, 5);
    int fd = hold(upload, "");
    assert_true(fd >= 0);
    assert_int_equal(patch_status(upload, 0, "", "12345", 5), 409);
    assert_int_equal(patch_status(upload, 4, "", "5", 1), 409);
    site_send(fd, "345", 3);
    CLEANUP(reply_clear) struct reply r = {0};
    site_receive(fd, &r, "PATCH");
    assert_status(&r, 204);
    assert_content(upload, "12345", 5);
}

// A data folder that cannot be written is the server's fault, not the client's: 400 would make him
// believe that his file is bad.
static void test_folder_gone(void **state)
{
    char upload[64], from[200], to[200];
    create(upload, 5);
    snprintf(from, sizeof(from), "%s/uploads", site.folder);
    snprintf(to, sizeof(to), "%s/elsewhere", site.folder);
    assert_int_equal(rename(from, to), 0);
    int fd = open(from, O_WRONLY | O_CREAT | O_CLOEXEC,
                  0600); // root may write anywhere, but not below a file
    close(fd);
    assert_int_equal(patch_status(upload, 0, "", "12345", 5), 500);
    unlink(from);
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(patch_status(upload, 0, "", "12345", 5), 204);
}

// Without a connection to the database an upload whose client is gone is let go all the same.
static void test_abandoned_without_a_store(void **state)
{
    char upload[64];
    struct kb_error err = {0};
    struct asset_upload *u = NULL;
    create(upload, 5);
    assert_ok(err, asset_upload_open(&u, site.store, upload + 16, &err));
    struct server none = {.pool = pool_create("/nonexistent/folder")};
    upload_abandon(&none, &u, upload + 16, true);
    pool_free(&none.pool);
    assert_null(u);
    assert_int_equal(patch_status(upload, 0, "", "12345", 5), 204);
}

static void test_limits(void **state)
{
    struct kb_error err = {0};
    char upload[64], id[33];
    site.server.params.upload_bytes = 1000;
    ASK(large, "POST", "/api/v1/uploads", TUS "Upload-Length: 1001\r\n", "", 0);
    assert_status(&large, 413);
    create(upload, 1000);

    site.server.params.uploads_per_client = 2;
    create(upload, 1000);
    ASK(many, "POST", "/api/v1/uploads", TUS "Upload-Length: 10\r\n", "", 0);
    assert_status(&many, 429);
    assert_true(atoi(reply_value(&many, "Retry-After")) > 0);
    site.server.params.uploads_per_client = 0;

    site.server.params.supervisor.worker.min_free_bytes = INT64_MAX / 4;
    ASK(full, "POST", "/api/v1/uploads", TUS "Upload-Length: 10\r\n", "", 0);
    assert_status(&full, 507);
    assert_non_null(strstr(full.body, "must stay free"));
    assert_int_equal(patch_status(upload, 0, "", "x", 1), 507);
    site.server.params.supervisor.worker.min_free_bytes = 0;
    assert_int_equal(offset_of(upload), 0);

    struct asset_params p = {.name = "late", .size_bytes = 5, .expires_ms = kb_wall_ms() - 1};
    assert_ok(err, asset_create(site.store, &p, id, &err));
    snprintf(upload, sizeof(upload), "/api/v1/uploads/%s", id);
    assert_int_equal(patch_status(upload, 0, "", "x", 1), 410);
    ASK(late, "HEAD", upload, TUS, NULL, 0);
    assert_status(&late, 410);
    assert_ok(err, asset_sweep(site.store, &err));
    assert_int_equal(patch_status(upload, 0, "", "x", 1), 404);
}

// All bytes came, then the server was killed: asking how much is there files them.
static void test_killed_at_the_end(void **state)
{
    char upload[64], part[200];
    create(upload, 5);
    snprintf(part, sizeof(part), "%s/uploads/%s.part", site.folder, upload + 16);
    FILE *f = fopen(part, "wb");
    assert_non_null(f);
    fputs("abcde", f);
    fclose(f);
    assert_int_equal(offset_of(upload), 5);
    assert_content(upload, "abcde", 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, site_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_options),
        TEST(test_refusals),
        TEST(test_whole_life),
        TEST(test_created_with_content),
        TEST(test_cut_and_resumed),
        TEST(test_checksums),
        TEST(test_asked_meanwhile),
        TEST(test_taken_over),
        TEST(test_wrong_offset_takes_nothing),
        TEST(test_folder_gone),
        TEST(test_abandoned_without_a_store),
        TEST(test_limits),
        TEST(test_killed_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
