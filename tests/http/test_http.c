// The HTTP server over real sockets: routes, bodies in memory, answers.
#include "tests/http/host.h"

#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

// --- routes

static void get_hello(struct request *r)
{
    reply_json(r, 200, "{\"hello\":true}");
}

static void get_parts(struct request *r)
{
    json_t *all = json_pack("[s, s, s]", request_path(r), request_part(r, 0), request_part(r, 1));
    char *json = json_dumps(all, JSON_COMPACT);
    reply_json(r, 200, json);
    free(json);
    json_decref(all);
}

static void get_thing(struct request *r)
{
    int64_t id;
    if (request_part_id(r, 0, &id))
        reply_text(r, 200, "text/plain", request_part(r, 0));
}

static void get_word(struct request *r)
{
    reply_text(r, 200, "text/plain", "the word itself");
}

static void get_query(struct request *r)
{
    int64_t n;
    const char *text = request_query(r, "text");
    if (!request_query_int(r, "n", 1, 1000, 50, &n))
        return;
    CLEANUP(kb_freep) char *line = kb_printf("%d %s", (int)n, text ? text : "(none)");
    reply_text(r, 200, "text/plain; charset=utf-8", line);
}

static void get_lang(struct request *r)
{
    reply_text(r, 200, "text/plain", request_lang(r));
}

static void post_echo(struct request *r)
{
    json_t *body = request_json(r);
    if (!body)
        return;
    char *json = json_dumps(body, JSON_COMPACT);
    reply_json(r, 200, json);
    free(json);
}

static void get_silence(struct request *r)
{
}

static void get_twice(struct request *r)
{
    reply_text(r, 200, "text/plain", "first");
    reply_problem(r, 500, "internal", "second");
}

static void get_error(struct request *r)
{
    int64_t code;
    struct kb_error err = {0};
    request_query_int(r, "code", 0, 100, 0, &code);
    kb_fail(&err, (enum kb_code)code, "what \xe5\x8f went wrong"); // cut within a letter
    if (request_query(r, "conflict"))
        reply_conflict(r, &err);
    else
        reply_error(r, &err);
}

static void get_big(struct request *r)
{
    struct text t = {0};
    text_add(&t, "[");
    for (int i = 0; i < 1000; i++)
        text_addf(&t, "%d,", i);
    text_add(&t, "0]");
    reply_json(r, 200, t.data);
    text_free(&t);
}

static void own_options(struct request *r)
{
    reply_header(r, "X-Own", "yes");
    reply_empty(r, 204);
}

static const struct route first_routes[] = {
    {"GET", "/hello", get_hello, 0, NULL},       {"GET", "/open", get_hello, ROUTE_OPEN, NULL},
    {"GET", "/a/{x}/b/{y}", get_parts, 0, NULL}, {"GET", "/things/{id}", get_thing, 0, NULL},
    {"GET", "/things/word", get_word, 0, NULL},  {"DELETE", "/things/{id}", get_thing, 0, NULL},
    {"GET", "/query", get_query, 0, NULL},       {"GET", "/lang", get_lang, ROUTE_OPEN, NULL},
    {"POST", "/echo", post_echo, 0, NULL},       {"GET", "/silence", get_silence, 0, NULL},
    {"GET", "/twice", get_twice, 0, NULL},       {"GET", "/error", get_error, 0, NULL},
    {"GET", "/big", get_big, 0, NULL},           {0},
};
static const struct route second_routes[] = {
    {"GET", "/own", get_hello, 0, NULL},
    {"OPTIONS", "/own", own_options, 0, NULL},
    {0},
};
static const struct route *const tables[] = {first_routes, second_routes, NULL};

// --- set-up

static int start(void **state)
{
    start_with((struct http_params){.body_bytes = 10000}, tables);
    return 0;
}

static int stop(void **state)
{
    http_stop(&http);
    return 0;
}

// --- tests

static void test_keep_alive(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    int fd = client_connect(port);
    for (int i = 0; i < 3; i++) {
        client_sendf(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client_receive(fd, &a, "GET");
        assert_answer(&a, 200);
        assert_string_equal(a.body, "{\"hello\":true}");
        client_sendf(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n"
                         "{\"a\":1}");
        client_receive(fd, &a, "POST");
        assert_string_equal(a.body, "{\"a\":1}");
        client_sendf(fd,
                     "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nxyz");
        client_receive(fd, &a, "POST");
        assert_answer(&a, 404);
    }
    // Several at once.
    client_sendf(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
                     "HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
                     "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3\r\n{\"b\r\n4\r\n\":2}\r\n0\r\n\r\n"
                     "GET /query?n=7 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    static const char *const bodies[] = {"{\"hello\":true}", "", "{\"b\":2}", "7 (none)"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        client_receive(fd, &a, i == 1 ? "HEAD" : "GET");
        assert_answer(&a, 200);
        assert_string_equal(a.body, bodies[i]);
    }
    assert_true(client_is_closed(fd));
    close(fd);
    // A client of old.
    fd = client_connect(port);
    client_sendf(fd, "GET /hello HTTP/1.0\r\n\r\n");
    client_receive(fd, &a, "GET");
    assert_answer(&a, 200);
    assert_true(client_is_closed(fd));
    close(fd);
}

static void test_routes(void **state)
{
    static const struct {
        const char *method, *path;
        int status;
        const char *header, *value, *body;
    } cases[] = {
        {"GET", "/hello", 200, "Content-Type", "application/json", "{\"hello\":true}"},
        {"GET", "/hello", 200, "Cache-Control", "no-store", NULL},
        {"HEAD", "/hello", 200, "Content-Length", "14", ""},
        {"GET", "/hello/", 404, "Content-Type", "application/problem+json", NULL},
        {"GET", "/", 404, "", "", "\"code\":\"not_found\""},
        {"GET", "/nothing", 404, "", "", "\"status\":404"},
        {"POST", "/hello", 405, "Allow", "GET, HEAD, OPTIONS", "\"code\":\"method\""},
        {"BREW", "/hello", 405, "Allow", "GET, HEAD, OPTIONS", NULL},
        {"PUT", "/things/1", 405, "Allow", "GET, HEAD, DELETE, OPTIONS", NULL},
        {"DELETE", "/things/word", 405, "Allow", "GET, HEAD, OPTIONS", NULL},
        {"OPTIONS", "/things/1", 204, "Allow", "GET, HEAD, DELETE, OPTIONS", ""},
        {"OPTIONS", "/own", 204, "X-Own", "yes", ""},
        {"OPTIONS", "*", 204, "", "", ""},
        {"OPTIONS", "/nothing", 404, "", "", NULL},
        {"GET", "/things/word", 200, "", "", "the word itself"},
        {"GET", "/things/12", 200, "", "", "12"},
        {"GET", "/things/-1", 404, "", "", NULL},
        {"GET", "/things/12x", 404, "", "", NULL},
        {"GET", "/things/99999999999999999999", 404, "", "", NULL},
        {"GET", "/things/", 404, "", "", NULL},
        {"GET", "/a/1/b/2", 200, "", "", "[\"/a/1/b/2\",\"1\",\"2\"]"},
        {"GET", "/a/%E5%8F%A3%20x/b/%25", 200, "", "", "[\"/a/口 x/b/%\",\"口 x\",\"%\"]"},
        {"GET", "/query", 200, "", "", "50 (none)"},
        {"GET", "/query?n=1000&text=a+b%26c", 200, "", "", "1000 a b&c"},
        {"GET", "/query?text", 200, "", "", "50 "},
        {"GET", "/query?n=0", 400, "", "", "from 1 to 1000"},
        {"GET", "/query?n=1x", 400, "", "", NULL},
        {"GET", "/query?n=9223372036854775808", 400, "", "", NULL},
        {"GET", "/silence", 500, "", "", "\"code\":\"internal\""},
        {"GET", "/twice", 200, "", "", "first"},
        {"GET", "/error?code=3", 400, "", "",
         "\"detail\":\"what \xef\xbf\xbd\xef\xbf\xbd went wrong\""},
        {"GET", "/error?code=3&conflict", 409, "", "", "\"code\":\"conflict\""},
        {"GET", "/error?code=4", 404, "", "", "\"title\":\"Not Found\""},
        {"GET", "/error?code=4&conflict", 404, "", "", NULL},
        {"GET", "/error?code=5", 507, "", "", "no_space"},
        {"GET", "/error?code=6", 503, "", "", "unavailable"},
        {"GET", "/error?code=2", 409, "", "", "cancelled"},
        {"GET", "/error?code=7", 500, "", "", "internal"},
    };
    static const char *const security[] = {"Content-Security-Policy", "X-Content-Type-Options",
                                           "X-Frame-Options", "Referrer-Policy"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        client_ask(port, &a, cases[i].method, cases[i].path, "", NULL);
        if (a.status != cases[i].status || !a.whole ||
            strcmp(answer_header(&a, cases[i].header), cases[i].value) != 0 ||
            (cases[i].body && !strstr(a.body, cases[i].body)))
            fail_msg("%s %s: %s%s", cases[i].method, cases[i].path, a.head, a.body);
        for (size_t k = 0; k < ARRAY_LEN(security); k++)
            assert_true(*answer_header(&a, security[k]));
    }
}

// Nothing that means another place than it says gets through.
static void test_paths(void **state)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/a/../b/2", 400},
        {"/../hello", 400},
        {"/a/%2e%2e/b/2", 400},
        {"/a/%2E./b/2", 400},
        {"/a/./b/2", 400},
        {"/a/x%2fy/b/2", 400},
        {"/a/%2F/b/2", 400},
        {"/a/%00/b/2", 400},
        {"/a/x%00y/b/2", 400},
        {"/a/%0d%0aX:y/b/2", 400},
        {"/a/%7f/b/2", 400},
        {"/a/%/b/2", 400},
        {"/a/%4/b/2", 400},
        {"/a/%zz/b/2", 400},
        {"/a/%ff/b/2", 400},
        {"/a/%c0%af/b/2", 400},
        {"/a/%ed%a0%80/b/2", 400},
        {"/a/%252e%252e/b/2", 200}, // decoded once: the text "%2e%2e"
        {"/a/.../b/2", 200},
        {"/a/..x/b/2", 200},
        {"/a//b/2", 404},
        {"//hello", 404},
        {"hello", 400},
        {"*", 400},
        {"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", 400},
        {"http://localhost/hello", 200},
        {"HTTP://127.0.0.1:99/hello?x", 200},
        {"http://localhost", 404},
        {"http://evil.example/hello", 403},
        {"http:///hello", 403},
        {"/query?text=%00", 400},
        {"/query?text=%ff", 400},
        {"/query?text=%", 400},
        {"/query?&&=&text=a=b", 200},
    };
    CLEANUP(answer_clear) struct answer a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(port, &a, "GET", cases[i].path, "", NULL);
        if (a.status != cases[i].status)
            fail_msg("%s: %d, wanted %d", cases[i].path, a.status, cases[i].status);
    }
    struct text path = {0};
    text_add(&path, "/query?");
    for (int i = 0; i < 100; i++)
        text_addf(&path, "f%d=1&", i);
    client_ask(port, &a, "GET", path.data, "", NULL); // more fields than anybody needs
    assert_answer(&a, 400);
    for (int i = 0; i < 100000; i++)
        text_add(&path, "x");
    client_ask(port, &a, "GET", path.data, "", NULL);
    assert_answer(&a, 414);
    text_free(&path);
}

static void test_json(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *says;
    } cases[] = {
        {"", 200, "{}"},
        {"{}", 200, "{}"},
        {" {\"a\": [1, \"\xe5\x8f\xa3\"]} ", 200, "{\"a\":[1,\"\xe5\x8f\xa3\"]}"},
        {"{\n  \"a\": 1,\n}", 400, "line 3, column 1"},
        {"{\"a\":1,\"a\":2}", 400, "line 1"},
        {"{\"a\":\"\xff\"}", 400, "not valid JSON"},
        {"{\"a\":\"\\u0000\"}", 400, "not valid JSON"},
        {"[1]", 400, "JSON object"},
        {"1", 400, "bad_input"},
        {"nonsense", 400, "line 1, column"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        client_ask(port, &a, "POST", "/echo", "", cases[i].body);
        if (a.status != cases[i].status || !strstr(a.body, cases[i].says))
            fail_msg("'%s': %d %s", cases[i].body, a.status, a.body);
    }
    // As deep as a body can nest: refused, not overrun.
    CLEANUP(answer_clear) struct answer a = {0};
    char deep[9001];
    memset(deep, '[', 9000);
    deep[9000] = '\0';
    client_ask(port, &a, "POST", "/echo", "", deep);
    assert_answer(&a, 400);
}

static void test_media_types(void **state)
{
    static const struct {
        const char *header;
        bool is;
    } cases[] = {
        {"application/json", true},
        {"APPLICATION/json", true},
        {"application/json; charset=utf-8", true},
        {"application/json\t;x", true},
        {"application/jsonx", false},
        {"application/json-seq", false},
        {"application/jso", false},
        {" application/json", false},
        {"text/plain; a=application/json", false},
        {"", false},
        {NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (media_type_is(cases[i].header, "application/json") != cases[i].is)
            fail_msg("case %zu", i);
}

static void test_too_large(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    char *body = calloc(1, 20001);
    memset(body, ' ', 20000);
    body[9998] = '{';
    body[9999] = '}';
    client_ask(port, &a, "POST", "/echo", "", body);
    assert_answer(&a, 413);
    body[10000] = '\0';
    client_ask(port, &a, "POST", "/echo", "", body);
    assert_answer(&a, 200);

    int fd = client_connect(port); // chunked: nobody said how much would come
    client_sendf(fd,
                 "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 11; i++)
        client_sendf(fd, "3e8\r\n%.1000s\r\n", body);
    client_sendf(fd, "0\r\n\r\n");
    client_receive(fd, &a, "POST");
    assert_answer(&a, 413);
    client_sendf(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"); // still usable
    client_receive(fd, &a, "GET");
    assert_answer(&a, 200);
    close(fd);

    fd = client_connect(port); // who asks first is told before he sends
    client_sendf(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                     "Content-Length: 20000\r\n\r\n");
    client_receive(fd, &a, "POST");
    assert_answer(&a, 413);
    close(fd);
    fd = client_connect(port);
    client_sendf(fd,
                 "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n");
    client_receive(fd, &a, "POST");
    assert_answer(&a, 413);
    close(fd);
    free(body);
}

static void test_large_headers(void **state)
{
    static const struct {
        int bytes, status;
    } cases[] = {{8000, 200}, {15000, 200}, {17000, 431}, {30000, 431}, {200000, 431}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        char *line = kb_alloc((size_t)cases[i].bytes + 16);
        memset(line, 'x', (size_t)cases[i].bytes);
        memcpy(line, "X-Long: ", 8);
        strcpy(line + cases[i].bytes, "\r\n");
        client_ask(port, &a, "GET", "/hello", line, NULL);
        free(line);
        if (a.status != cases[i].status)
            fail_msg("%d bytes of headers: %d", cases[i].bytes, a.status);
    }
    struct text many = {0};
    for (int i = 0; i < 3000; i++)
        text_addf(&many, "X-%d: y\r\n", i);
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "GET", "/hello", many.data, NULL);
    assert_answer(&a, 431);
    text_free(&many);
}

static void test_garbage(void **state)
{
    static const char *const lines[] = {
        "\r\n\r\nGARBAGE\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xff\xff\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost localhost\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        int fd = client_connect(port);
        client_send(fd, lines[i], strlen(lines[i]));
        shutdown(fd, SHUT_WR);
        struct answer a = {0};
        client_receive(fd, &a, "GET");
        if (a.status >= 200 && a.status < 300)
            fail_msg("'%s': %d", lines[i], a.status);
        answer_clear(&a);
        close(fd);
    }
    struct answer a = {0};
    client_ask(port, &a, "GET", "/hello", "", NULL);
    assert_answer(&a, 200);
    answer_clear(&a);
}

static void test_gzip(void **state)
{
    static const struct {
        const char *path, *accept;
        bool packed;
    } cases[] = {
        {"/big", "gzip, deflate, br", true},
        {"/big", "deflate, GZIP;q=0.5", true},
        {"/big", "gzip;q=1.0", true},
        {"/big", "gzip;q=0", false},
        {"/big", "gzip; q=0.000", false},
        {"/big", "gzip2, identity", false},
        {"/big", "*", false},
        {"/big", "", false},
        {"/hello", "gzip", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        char header[128];
        snprintf(header, sizeof(header), "Accept-Encoding: %s\r\n", cases[i].accept);
        client_ask(port, &a, "GET", cases[i].path, header, NULL);
        assert_answer(&a, 200);
        bool packed = strcmp(answer_header(&a, "Content-Encoding"), "gzip") == 0;
        if (packed != cases[i].packed)
            fail_msg("%s with '%s'", cases[i].path, cases[i].accept);
        if (!packed)
            continue;
        char plain[8192] = "";
        z_stream z = {.next_in = (unsigned char *)a.body, .avail_in = (unsigned)a.size};
        z.next_out = (unsigned char *)plain;
        z.avail_out = sizeof(plain) - 1;
        assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        inflateEnd(&z);
        assert_non_null(strstr(plain, "[0,1,2,3,"));
        assert_non_null(strstr(plain, "998,999,0]"));
    }
}

static void test_language(void **state)
{
    static const struct {
        const char *path, *accept, *lang;
    } cases[] = {
        {"/lang", "", "zh"},
        {"/lang", "Accept-Language: en-US,en;q=0.9\r\n", "en"},
        {"/lang", "Accept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n", "zh"},
        {"/lang", "Accept-Language: fr, en;q=0.5, zh;q=0.4\r\n", "en"},
        {"/lang", "Accept-Language: en;q=0, zh;q=0.1\r\n", "zh"},
        {"/lang", "Accept-Language: fr\r\n", "zh"},
        {"/lang", "Accept-Language: english, zhx\r\n", "zh"},
        {"/lang", "Accept-Language: ,;=q,,en;q=\r\n", "zh"},
        {"/lang?lang=en", "Accept-Language: zh\r\n", "en"},
        {"/lang?lang=zh-CN", "Accept-Language: en\r\n", "zh"},
        {"/lang?lang=fr", "Accept-Language: en\r\n", "en"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        client_ask(port, &a, "GET", cases[i].path, cases[i].accept, NULL);
        if (strcmp(a.body, cases[i].lang) != 0)
            fail_msg("%s %s: %s", cases[i].path, cases[i].accept, a.body);
    }
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "GET", "/nothing", "Accept-Language: en\r\n", NULL);
    assert_string_equal(answer_header(&a, "Content-Language"), "en");
    assert_non_null(strstr(a.body, "there is nothing at this address"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keep_alive),  TEST(test_routes),    TEST(test_paths),         TEST(test_json),
        TEST(test_media_types), TEST(test_too_large), TEST(test_large_headers), TEST(test_garbage),
        TEST(test_gzip),        TEST(test_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
