// The page out of memory, over real sockets.
#include "tests/http/client.h"
#include "tests/http/folder.h"

#include "base/place.h"
#include "server/internal.h"
#include "server/page.h"

#include <sys/stat.h>
#include <unistd.h>

static struct server server;
static int port;

static const struct route *const tables[] = {page_routes, NULL};

static int setup(void **state)
{
    struct kb_error err = {0};
    assert_non_null(mkdtemp(folder));
    struct http_params p = {.listen = "127.0.0.1", .tables = tables, .app = server_app(&server)};
    assert_ok(err, http_start(&server.http, &p, &err));
    port = http_port(server.http);
    return 0;
}

static int teardown(void **state)
{
    http_stop(&server.http);
    page_free(&server.page);
    return place_remove(folder) ? 0 : -1;
}

static void test_no_page(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "GET", "/", "Accept-Language: en\r\n", NULL);
    assert_answer(&a, 503);
    assert_non_null(strstr(a.body, "./start.sh"));
}

static void test_page(void **state)
{
    struct kb_error err = {0};
    assert_int_equal(mkdir(in_folder("web"), 0700), 0);
    assert_int_equal(mkdir(in_folder("web/assets"), 0700), 0);
    write_file("web/index.html", "<html>koubo</html>", 18);
    write_file("web/favicon.svg", "<svg/>", 6);
    write_file("web/openapi.yaml", "openapi: 3.1.0\n", 15);
    write_file("web/assets/index-1a2b.js", "let x = 'plain'", 15);
    write_file("web/assets/index-1a2b.js.gz", "(packed)", 8);
    write_file("web/assets/empty-0.css", "", 0);
    write_file("web/.secret", "no", 2);
    assert_ok(err, page_load(&server.page, in_folder("web"), &err));
    // What the build does later is not seen.
    assert_int_equal(truncate(in_folder("web/index.html"), 0), 0);

    static const struct {
        const char *path, *headers;
        int status;
        const char *header, *value, *body;
    } cases[] = {
        {"/", "", 200, "Content-Type", "text/html; charset=utf-8", "<html>koubo</html>"},
        {"/", "", 200, "Cache-Control", "no-cache", NULL},
        {"/index.html", "", 200, "", "", "<html>koubo</html>"},
        {"/history", "", 404, "Content-Type", "application/problem+json", NULL},
        {"/results/12", "", 404, "Content-Type", "application/problem+json", NULL},
        {"/wp-login.php", "Accept: text/html,*/*\r\n", 404, "Content-Type",
         "text/html; charset=utf-8", NULL},
        {"/?lang=en", "", 200, "", "", "<html>koubo</html>"},
        {"/favicon.svg", "", 200, "Content-Type", "image/svg+xml", "<svg/>"},
        {"/assets/index-1a2b.js", "", 200, "Vary", "Accept-Encoding", "let x = 'plain'"},
        {"/assets/index-1a2b.js", "Accept-Encoding: gzip\r\n", 200, "Content-Encoding", "gzip",
         "(packed)"},
        {"/assets/index-1a2b.js", "", 200, "Cache-Control", "public, max-age=31536000, immutable",
         NULL},
        {"/assets/empty-0.css", "", 200, "Content-Length", "0", ""},
        {"/api/v1/openapi.yaml", "", 200, "Content-Type", "application/yaml", "openapi: 3.1.0\n"},
        {"/assets/index-1a2b.js.gz", "", 404, "", "", NULL},
        {"/assets/other.js", "", 404, "", "", NULL},
        {"/assets", "", 404, "", "", NULL},
        {"/missing.png", "", 404, "", "", NULL},
        {"/.secret", "", 404, "", "", NULL},
        {"/api/v1/nothing", "", 404, "Content-Type", "application/problem+json", NULL},
        {"/easy/nothing", "", 404, "", "", NULL},
        {"/assets/%2e%2e/index.html", "", 400, "", "", NULL},
        {"/assets/..%2findex.html", "", 400, "", "", NULL},
    };
    CLEANUP(answer_clear) struct answer a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(port, &a, "GET", cases[i].path, cases[i].headers, NULL);
        if (a.status != cases[i].status ||
            strcmp(answer_header(&a, cases[i].header), cases[i].value) != 0 ||
            (cases[i].body && strcmp(a.body, cases[i].body) != 0))
            fail_msg("%s: %s%s", cases[i].path, a.head, a.body);
        if (a.status != 200)
            continue;
        const char *etag = answer_header(&a, "ETag");
        char headers[256];
        snprintf(headers, sizeof(headers), "%sIf-None-Match: %s\r\n", cases[i].headers, etag);
        client_ask(port, &a, "GET", cases[i].path, headers, NULL);
        assert_int_equal(a.status, *etag ? 304 : 200);
    }
    int64_t begin = kb_now_us();
    client_ask(port, &a, "GET", "/", "", NULL);
    print_message("# first page in %d us\n", (int)(kb_now_us() - begin));
    client_ask(port, &a, "POST", "/history", "", "x");
    assert_answer(&a, 405);
    client_ask(port, &a, "POST", "/api/v1/nothing", "", "x");
    assert_answer(&a, 404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_page), cmocka_unit_test(test_page)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
