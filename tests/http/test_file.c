// Files over HTTP: ranges, conditions, names for saving.
#include "tests/http/client.h"
#include "tests/http/folder.h"

#include "base/file.h"
#include "base/place.h"
#include "http/internal.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 100000 // of the file "big"; byte i is i % 251

static struct http *http;
static int port;

// --- routes

static void get_file(struct request *r)
{
    struct reply_file_params p = {
        .folder = folder, .path = request_part(r, 0), .type = "video/mp4"};
    p.download = request_query(r, "as");
    p.immutable = request_query(r, "immutable");
    reply_file(r, &p);
}

static const struct route routes[] = {
    {"GET", "/files/{name}", get_file, 0, NULL},
    {0},
};
static const struct route *const tables[] = {routes, NULL};

static int setup(void **state)
{
    struct kb_error err = {0};
    char *big = kb_alloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        big[i] = (char)(i % 251);
    assert_non_null(mkdtemp(folder));
    write_file("big", big, SIZE);
    write_file("ten", "0123456789", 10);
    write_file("empty", "", 0);
    assert_int_equal(mkdir(in_folder("folder"), 0700), 0);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    free(big);
    struct http_params p = {.listen = "127.0.0.1", .tables = tables};
    assert_ok(err, http_start(&http, &p, &err));
    port = http_port(http);
    return 0;
}

static int teardown(void **state)
{
    http_stop(&http);
    return place_remove(folder) ? 0 : -1;
}

// --- ranges

static void test_range(void **state)
{
    // Of the ten bytes "0123456789".
    static const struct {
        const char *range;
        int status;
        const char *content_range, *body;
    } cases[] = {
        {"bytes=0-4", 206, "bytes 0-4/10", "01234"},
        {"BYTES=0-0", 206, "bytes 0-0/10", "0"},
        {"bytes=9-9", 206, "bytes 9-9/10", "9"},
        {"bytes=4-", 206, "bytes 4-9/10", "456789"},
        {"bytes=-3", 206, "bytes 7-9/10", "789"},
        {"bytes=-10", 206, "bytes 0-9/10", "0123456789"},
        {"bytes=-99", 206, "bytes 0-9/10", "0123456789"},
        {"bytes=8-99", 206, "bytes 8-9/10", "89"},
        {"bytes= 1-2 ", 206, "bytes 1-2/10", "12"},
        {"bytes=,,1-2,", 206, "bytes 1-2/10", "12"},
        {"bytes=8-99999999999999999999999", 206, "bytes 8-9/10", "89"},
        {"bytes=-99999999999999999999999", 206, "bytes 0-9/10", "0123456789"},
        {"bytes=20-30,1-2", 206, "bytes 1-2/10", "12"}, // one of two is there
        {"bytes=10-", 416, "bytes */10", NULL},
        {"bytes=10-20", 416, "bytes */10", NULL},
        {"bytes=99999999999999999999999-", 416, "bytes */10", NULL},
        {"bytes=9223372036854775807-9223372036854775807", 416, "bytes */10", NULL},
        {"bytes=-0", 416, "bytes */10", NULL},
        {"bytes=10-,-0", 416, "bytes */10", NULL},
        // Not understood: the whole.
        {"bytes=4-2", 200, "", "0123456789"},
        {"bytes=0-1,4-2", 200, "", "0123456789"},
        {"bytes=", 200, "", "0123456789"},
        {"bytes=,", 200, "", "0123456789"},
        {"bytes=-", 200, "", "0123456789"},
        {"bytes=a-b", 200, "", "0123456789"},
        {"bytes=1", 200, "", "0123456789"},
        {"bytes=1-2x", 200, "", "0123456789"},
        {"bytes=1-2 3-4", 200, "", "0123456789"},
        {"bytes=--1", 200, "", "0123456789"},
        {"bytes=+1-2", 200, "", "0123456789"},
        {"bytes 0-4", 200, "", "0123456789"},
        {"lines=0-4", 200, "", "0123456789"},
        {"0-4", 200, "", "0123456789"},
        {"", 200, "", "0123456789"},
        // Beyond reason.
        {"bytes=0-,0-", 200, "", "0123456789"},
        {"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,0-0", 200, "", "0123456789"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        char header[256];
        snprintf(header, sizeof(header), "Range: %s\r\n", cases[i].range);
        client_ask(port, &a, "GET", "/files/ten", header, NULL);
        if (a.status != cases[i].status || !a.whole ||
            strcmp(answer_header(&a, "Content-Range"), cases[i].content_range) != 0 ||
            (cases[i].body && strcmp(a.body, cases[i].body) != 0))
            fail_msg("'%s': %s%s", cases[i].range, a.head, a.body);
        if (a.status != 416)
            assert_string_equal(answer_header(&a, "Accept-Ranges"), "bytes");
        // The same for HEAD is the whole file without its bytes.
        client_ask(port, &a, "HEAD", "/files/ten", header, NULL);
        assert_answer(&a, 200);
        assert_string_equal(answer_header(&a, "Content-Length"), "10");
    }
}

static void test_empty(void **state)
{
    static const struct {
        const char *range;
        int status;
    } cases[] = {{"", 200}, {"bytes=0-", 416}, {"bytes=0-0", 416}, {"bytes=-5", 416}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        char header[64];
        snprintf(header, sizeof(header), "Range: %s\r\n", cases[i].range);
        client_ask(port, &a, "GET", "/files/empty", header, NULL);
        assert_answer(&a, cases[i].status);
    }
}

// A part of "multipart/byteranges" at *p: its bytes must be those of "big" from start on.
static void assert_part(const char **p, const char *boundary, int start, int n)
{
    char head[512];
    int m = snprintf(head, sizeof(head),
                     "--%s\r\nContent-Type: video/mp4\r\nContent-Range: bytes %d-%d/%d\r\n\r\n",
                     boundary, start, start + n - 1, SIZE);
    assert_memory_equal(*p, head, (size_t)m);
    *p += m;
    for (int i = 0; i < n; i++)
        if ((*p)[i] != (char)((start + i) % 251))
            fail_msg("byte %d", start + i);
    *p += n;
    assert_memory_equal(*p, "\r\n", 2);
    *p += 2;
}

static void test_several_ranges(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "GET", "/files/big", "Range: bytes=500-599, 0-0,-1 ,90000-1000000\r\n",
               NULL);
    // 1 + 100 + 1 + 10000 bytes in the order of the request.
    assert_answer(&a, 206);
    assert_true(a.whole);
    const char *type = answer_header(&a, "Content-Type");
    const char *boundary = strstr(type, "boundary=");
    assert_int_equal(strncmp(type, "multipart/byteranges; ", 22), 0);
    assert_non_null(boundary);
    boundary += 9;
    assert_string_equal(answer_header(&a, "Content-Range"), "");
    const char *p = a.body;
    assert_part(&p, boundary, 500, 100);
    assert_part(&p, boundary, 0, 1);
    assert_part(&p, boundary, SIZE - 1, 1);
    assert_part(&p, boundary, 90000, 10000);
    char last[64];
    snprintf(last, sizeof(last), "--%s--\r\n", boundary);
    assert_string_equal(p, last);

    // Larger than one block; and keep-alive works after it.
    int fd = client_connect(port);
    client_sendf(fd, "GET /files/big HTTP/1.1\r\nHost: localhost\r\n"
                     "Range: bytes=0-79999,80001-\r\n\r\n");
    client_receive(fd, &a, "GET");
    assert_answer(&a, 206);
    boundary = strstr(answer_header(&a, "Content-Type"), "boundary=") + 9;
    p = a.body;
    assert_part(&p, boundary, 0, 80000);
    assert_part(&p, boundary, 80001, SIZE - 80001);
    client_sendf(fd, "GET /files/ten HTTP/1.1\r\nHost: localhost\r\nRange: bytes=2-3\r\n\r\n");
    client_receive(fd, &a, "GET");
    assert_string_equal(a.body, "23");
    // A client that leaves midway.
    client_sendf(fd, "GET /files/big HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1,3-\r\n\r\n");
    close(fd);
}

// The parser against a slow and obvious one, for every pair of numbers around the size.
static void test_range_exhaustive(void **state)
{
    struct range ranges[MAX_RANGES];
    for (int size = 0; size <= 4; size++)
        for (int first = -1; first <= 6; first++)
            for (int last = -1; last <= 6; last++) {
                char header[64], a[16] = "", b[16] = "";
                if (first >= 0)
                    snprintf(a, sizeof(a), "%d", first);
                if (last >= 0)
                    snprintf(b, sizeof(b), "%d", last);
                snprintf(header, sizeof(header), "bytes=%s-%s", a, b);
                int n = 0, start = 0;
                for (int i = 0; i < size; i++) {
                    bool in = first < 0 ? i >= size - last : i >= first && (last < 0 || i <= last);
                    if (in && n++ == 0)
                        start = i;
                }
                bool valid =
                    (first >= 0 || last >= 0) && !(first >= 0 && last >= 0 && last < first);
                int wanted = !valid ? 0 : n > 0 ? 1 : -1;
                int got = range_parse(header, size, ranges);
                if (got != wanted ||
                    (got == 1 && (ranges[0].start != start || ranges[0].end != start + n - 1)))
                    fail_msg("%s of %d: %d", header, size, got);
            }
    assert_int_equal(range_parse(NULL, 10, ranges), 0);
}

// --- conditions

static void test_conditions(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    struct timespec times[2] = {{.tv_sec = 784111777}, {.tv_sec = 784111777}};
    assert_int_equal(utimensat(AT_FDCWD, in_folder("ten"), times, 0), 0);
    client_ask(port, &a, "GET", "/files/ten", "", NULL);
    char etag[64];
    snprintf(etag, sizeof(etag), "%s", answer_header(&a, "ETag"));
    assert_true(etag[0] == '"' && etag[strlen(etag) - 1] == '"');
    assert_string_equal(answer_header(&a, "Last-Modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(answer_header(&a, "Cache-Control"), "no-cache");

    static const struct {
        const char *headers; // %s is the ETag
        int status;
    } cases[] = {
        {"If-None-Match: %s\r\n", 304},
        {"If-None-Match: W/%s\r\n", 304},
        {"If-None-Match: \"a,b\", \"c\" ,%s\r\n", 304},
        {"If-None-Match: *\r\n", 304},
        {"If-None-Match: \"other\"\r\n", 200},
        {"If-None-Match: x%s\r\n", 200},
        {"If-None-Match: \"\r\n", 200},
        {"If-None-Match: \"other\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 200},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304},
        {"If-Modified-Since: Fri, 01 Jan 2027 00:00:00 GMT\r\n", 304},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200},
        {"If-Modified-Since: yesterday\r\n", 200},
        {"If-Modified-Since: Sun, 06 Xyz 1994 08:49:37 GMT\r\n", 200},
        {"If-Match: %s\r\n", 200},
        {"If-Match: *\r\n", 200},
        {"If-Match: W/%s\r\n", 412},
        {"If-Match: \"other\"\r\n", 412},
        {"If-Match: %s\r\nIf-None-Match: %s\r\n", 304},
        {"If-Match: %s\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200},
        {"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 200},
        {"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 412},
        {"Range: bytes=0-1\r\nIf-Range: %s\r\n", 206},
        {"Range: bytes=0-1\r\nIf-Range: W/%s\r\n", 200},
        {"Range: bytes=0-1\r\nIf-Range: \"old\"\r\n", 200},
        {"Range: bytes=99-\r\nIf-Range: \"old\"\r\n", 200},
        {"Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 206},
        {"Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", 200},
        {"Range: bytes=0-1\r\nIf-Range: nonsense\r\n", 200},
        {"Range: bytes=0-1\r\nIf-None-Match: %s\r\n", 304},
        {"Range: bytes=0-1\r\nIf-Match: \"old\"\r\n", 412},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char headers[512];
        snprintf(headers, sizeof(headers), cases[i].headers, etag, etag);
        client_ask(port, &a, "GET", "/files/ten", headers, NULL);
        if (a.status != cases[i].status)
            fail_msg("%s: %d, wanted %d", headers, a.status, cases[i].status);
        if (a.status == 304)
            assert_string_equal(answer_header(&a, "ETag"), etag);
    }
    // Another content of the same size is another file.
    write_file("ten", "abcdefghij", 10);
    char headers[128];
    snprintf(headers, sizeof(headers), "Range: bytes=0-1\r\nIf-Range: %s\r\n", etag);
    client_ask(port, &a, "GET", "/files/ten", headers, NULL);
    assert_answer(&a, 200);
    assert_string_equal(a.body, "abcdefghij");
    // A date that is not a second old is no proof.
    snprintf(headers, sizeof(headers), "Range: bytes=0-1\r\nIf-Range: %s\r\n",
             answer_header(&a, "Last-Modified"));
    client_ask(port, &a, "GET", "/files/ten", headers, NULL);
    assert_answer(&a, 200);
}

static void test_files(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "GET", "/files/big?immutable", "Accept-Encoding: gzip\r\n", NULL);
    assert_answer(&a, 200);
    assert_int_equal(a.size, SIZE);
    assert_string_equal(answer_header(&a, "Content-Type"), "video/mp4");
    assert_string_equal(answer_header(&a, "Content-Encoding"), "");
    assert_string_equal(answer_header(&a, "Cache-Control"), "private, max-age=31536000, immutable");
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal((unsigned char)a.body[i], i % 251);
    static const char *const missing[] = {"/files/nothing", "/files/folder", "/files/pipe"};
    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        client_ask(port, &a, "GET", missing[i], "", NULL);
        assert_answer(&a, 404);
    }
}

static void test_names(void **state)
{
    static const struct {
        const char *name, *header; // the name percent-encoded for the address
    } cases[] = {
        {"a.mp4", "attachment; filename=\"a.mp4\"; filename*=UTF-8''a.mp4"},
        {"%E5%8F%A3%E6%92%AD.mp4",
         "attachment; filename=\"__.mp4\"; filename*=UTF-8''%E5%8F%A3%E6%92%AD.mp4"},
        {"a%20%22b%22%5C%25%3B%27.mp4",
         "attachment; filename=\"a _b___;'.mp4\"; filename*=UTF-8''a%20%22b%22%5C%25%3B%27.mp4"},
        {"%2E%2E%2Fetc%2Fx", "attachment; filename=\".._etc_x\"; filename*=UTF-8''..%2Fetc%2Fx"},
        {"x%0D%0ASet-Cookie:%20y",
         "attachment; filename=\"x__Set-Cookie: y\"; filename*=UTF-8''x%0D%0ASet-Cookie%3A%20y"},
        {"%F0%9F%98%80", "attachment; filename=\"_\"; filename*=UTF-8''%F0%9F%98%80"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        char path[256];
        snprintf(path, sizeof(path), "/files/big?as=%s", cases[i].name);
        client_ask(port, &a, "HEAD", path, "", NULL);
        assert_answer(&a, 200);
        assert_string_equal(answer_header(&a, "Content-Disposition"), cases[i].header);
    }
}

// A file that cannot be opened now is not gone.
static void test_no_descriptors(void **state)
{
    static const char ask[] = "GET /files/ten HTTP/1.1\r\nHost: localhost\r\n\r\n";
    CLEANUP(answer_clear) struct answer a = {0};
    int fds[200], n = 0, fd = client_connect(port);
    client_send(fd, ask, strlen(ask));
    client_receive(fd, &a, "GET");
    assert_answer(&a, 200);
    struct rlimit limit, low;
    getrlimit(RLIMIT_NOFILE, &limit);
    low = (struct rlimit){KB_MIN(150, limit.rlim_cur), limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (n < 200 && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    client_send(fd, ask, strlen(ask));
    client_receive(fd, &a, "GET");
    while (n > 0)
        close(fds[--n]);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_answer(&a, 503);
    client_send(fd, ask, strlen(ask));
    client_receive(fd, &a, "GET");
    assert_answer(&a, 200);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),          cmocka_unit_test(test_empty),
        cmocka_unit_test(test_several_ranges), cmocka_unit_test(test_range_exhaustive),
        cmocka_unit_test(test_conditions),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
