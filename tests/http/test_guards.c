// Who may ask: the names of this machine, the origins of pages, the token and the session.
#include "http/internal.h"
#include "tests/http/host.h"

#include <unistd.h>

static void get_hello(struct request *r)
{
    reply_json(r, 200, "{\"hello\":true}");
}

static void change(struct request *r)
{
    reply_empty(r, 200);
}

static void post_session(struct request *r)
{
    json_t *body = request_json(r);
    if (!body || !http_token_ok(r, json_string_value(json_object_get(body, "token"))))
        return;
    CLEANUP(kb_freep) char *cookie = http_session_cookie(r, false);
    reply_header(r, "Set-Cookie", cookie);
    reply_empty(r, 204);
}

static void get_session(struct request *r)
{
    reply_text(r, 200, "text/plain", http_session_ok(r) ? "ok" : "not ok");
}

static void get_client(struct request *r)
{
    reply_text(r, 200, "text/plain", request_client(r));
}

static void get_target(struct request *r)
{
    reply_text(r, 200, "text/plain", request_target(r));
}

// Whoever says the path as it was sent.
static bool admits(struct request *r)
{
    const char *said = request_header(r, "Authorization");
    if (said && strcmp(said, request_target(r)) == 0)
        return true;
    reply_problem(r, 401, "signature", "that is not right");
    return false;
}

static const struct route routes[] = {
    {"GET", "/client", get_client, 0, NULL},
    {"GET", "/hello", get_hello, 0, NULL},
    {"GET", "/open", get_hello, ROUTE_OPEN, NULL},
    {"POST", "/echo", change, 0, NULL},
    {"GET", "/signed/{id}", get_target, ROUTE_SIGNED, NULL},
    {"POST", "/signed/{id}", change, ROUTE_SIGNED, NULL},
    {"DELETE", "/things/{id}", change, 0, NULL},
    {"POST", "/session", post_session, ROUTE_OPEN, NULL},
    {"GET", "/session", get_session, ROUTE_OPEN, NULL},
    {0},
};
static const struct route *const tables[] = {routes, NULL};

static int start(void **state)
{
    start_with((struct http_params){0}, tables);
    return 0;
}

static int stop(void **state)
{
    http_stop(&http);
    return 0;
}

static void test_guards(void **state)
{
    static const struct {
        const char *method, *path, *headers;
        int status;
    } cases[] = {
        {"GET", "/hello", "Host: localhost\r\n", 200},
        {"GET", "/hello", "Host: LOCALHOST:7860\r\n", 200},
        {"GET", "/hello", "Host: koubo.localhost\r\n", 200},
        {"GET", "/hello", "Host: 127.0.0.1:1\r\n", 200},
        {"GET", "/hello", "Host: 127.1.2.3\r\n", 200},
        {"GET", "/hello", "Host: [::1]:7860\r\n", 200},
        {"GET", "/hello", "Host: evil.example\r\n", 403},
        {"GET", "/hello", "Host: localhost.evil.example\r\n", 403},
        {"GET", "/hello", "Host: 127.0.0.1.evil.example\r\n", 403},
        {"GET", "/hello", "Host: 192.168.1.2\r\n", 403},
        {"GET", "/hello", "Host: evillocalhost\r\n", 403},
        {"GET", "/hello", "Host: localhost:x\r\n", 403},
        {"GET", "/hello", "Host: [::1\r\n", 403},
        {"GET", "/hello", "Host: \r\n", 403},
        {"GET", "/open", "Host: evil.example\r\n", 403},
        {"POST", "/echo", "Host: localhost:81\r\nOrigin: http://localhost:81\r\n", 200},
        {"POST", "/echo", "Host: localhost\r\nOrigin: http://localhost:80\r\n", 200},
        {"POST", "/echo", "Host: localhost:443\r\nOrigin: https://localhost\r\n", 200},
        {"POST", "/echo", "Host: localhost:81\r\nOrigin: http://localhost:82\r\n", 403},
        {"POST", "/echo", "Host: localhost\r\nOrigin: http://evil.example\r\n", 403},
        {"POST", "/echo", "Host: localhost\r\nOrigin: http://localhost.evil.example\r\n", 403},
        {"POST", "/echo", "Host: localhost\r\nOrigin: null\r\n", 403},
        {"POST", "/echo", "Host: localhost\r\nOrigin: \r\n", 403},
        {"POST", "/session", "Host: localhost\r\nOrigin: http://evil.example\r\n", 403},
        {"DELETE", "/things/1", "Host: localhost\r\nOrigin: http://evil.example\r\n", 403},
        {"GET", "/hello", "Host: localhost\r\nOrigin: http://evil.example\r\n", 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        client_ask(port, &a, cases[i].method, cases[i].path, cases[i].headers, NULL);
        if (a.status != cases[i].status)
            fail_msg("%s: %d, wanted %d", cases[i].headers, a.status, cases[i].status);
    }
}

static void test_token(void **state)
{
    http_stop(&http);
    start_with((struct http_params){.token = "s3cret, very"}, tables);
    static const struct {
        const char *path, *headers;
        int status;
    } cases[] = {
        {"/hello", "", 401},
        {"/hello", "Host: evil.example\r\n", 401}, // with a token any name will do
        {"/open", "", 200},
        {"/nothing", "", 404},
        {"/hello", "Authorization: Bearer s3cret, very\r\n", 200},
        {"/hello", "authorization: bearer   s3cret, very\r\n", 200},
        {"/hello", "Authorization: Bearer s3cret, ver\r\n", 401},
        {"/hello", "Authorization: Bearer s3cret, veryy\r\n", 401},
        {"/hello", "Authorization: Bearer \r\n", 401},
        {"/hello", "Authorization: Basic s3cret, very\r\n", 401},
        {"/hello", "Cookie: koubo_session=s3cret, very\r\n", 401},
        {"/hello", "Cookie: koubo_session=\r\n", 401},
    };
    CLEANUP(answer_clear) struct answer a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_ask(port, &a, "GET", cases[i].path, cases[i].headers, NULL);
        if (a.status != cases[i].status)
            fail_msg("%s %s: %d", cases[i].path, cases[i].headers, a.status);
        if (a.status == 401)
            assert_non_null(strstr(a.body, "\"code\":\"token\""));
    }
    client_ask(port, &a, "POST", "/session", "", "{\"token\":\"s3cret, very\"}");
    assert_answer(&a, 204);
    const char *cookie = answer_header(&a, "Set-Cookie");
    assert_non_null(strstr(cookie, "HttpOnly"));
    assert_non_null(strstr(cookie, "SameSite=Strict"));
    assert_non_null(strstr(cookie, "Path=/;"));
    assert_null(strstr(cookie, "s3cret"));
    char header[256];
    snprintf(header, sizeof(header), "Cookie: a=b; %.78s; c=d\r\n", cookie);
    client_ask(port, &a, "GET", "/hello", header, NULL);
    assert_answer(&a, 200);
    client_ask(port, &a, "GET", "/session", header, NULL);
    assert_string_equal(a.body, "ok");
    client_ask(port, &a, "GET", "/session", "", NULL);
    assert_string_equal(a.body, "not ok");

    // Three wrong ones so far; from the eleventh on it is no use to try.
    for (int i = 3; i < 10; i++) {
        client_ask(port, &a, "POST", "/session", "", "{\"token\":\"guess\"}");
        assert_answer(&a, 401);
    }
    client_ask(port, &a, "POST", "/session", "", "{\"token\":\"guess\"}");
    assert_answer(&a, 429);
    assert_true(*answer_header(&a, "Retry-After"));
    client_ask(port, &a, "GET", "/hello", "Authorization: Bearer s3cret\r\n", NULL);
    assert_answer(&a, 429);
    // Who has the token is let in, though somebody at the same address guesses.
    client_ask(port, &a, "POST", "/session", "", "{\"token\":\"s3cret, very\"}");
    assert_answer(&a, 204);
    client_ask(port, &a, "GET", "/hello", "Authorization: Bearer s3cret, very\r\n", NULL);
    assert_answer(&a, 200);
    client_ask(port, &a, "GET", "/hello", header, NULL);
    assert_answer(&a, 200);
}

// What two programs could read in two ways is refused, and nothing behind it is taken for a
// request.
// Programs that have no token and show otherwise who they are; the token does not let in there.
static void test_signed(void **state)
{
    http_stop(&http);
    start_with((struct http_params){.token = "s3cret, very", .app.admits = admits}, tables);
    static const struct {
        const char *path, *headers;
        int status;
    } cases[] = {
        {"/signed/a%20b?x=1&x=%41", "Authorization: /signed/a%20b?x=1&x=%41\r\n", 200},
        {"/signed/1", "Authorization: /signed/1\r\n", 200},
        {"http://localhost/signed/1?a", "Authorization: /signed/1?a\r\n", 200},
        {"/signed/1", "Authorization: /signed/2\r\n", 401},
        {"/signed/1", "Authorization: Bearer s3cret, very\r\n", 401},
        {"/signed/1", "", 401},
        {"/hello", "Authorization: /hello\r\n", 401},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        client_ask(port, &a, "GET", cases[i].path, cases[i].headers, NULL);
        if (a.status != cases[i].status)
            fail_msg("%s with %s: %d", cases[i].path, cases[i].headers, a.status);
        if (a.status == 200)
            assert_memory_equal(a.body, cases[i].headers + strlen("Authorization: "), a.size);
    }
    // Who is admitted is no stranger, whose bodies are short.
    char body[20001];
    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    CLEANUP(answer_clear) struct answer a = {0};
    client_ask(port, &a, "POST", "/signed/1", "Authorization: /signed/1\r\n", body);
    assert_answer(&a, 200);
    client_ask(port, &a, "POST", "/signed/1", "Authorization: /signed/2\r\n", body);
    assert_answer(&a, 401);
}

static void test_smuggling(void **state)
{
    static const char *const cases[] = {
        "Host: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n", // HTTP/1.0
        "Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        "Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n",
        "Host: localhost\r\nTransfer-Encoding: xchunked\r\n",
        "Host: localhost\r\nContent-Length: +5\r\n",
        "Host: localhost\r\nContent-Length: 5, 5\r\n",
        "Host: localhost\r\nContent-Length: -1\r\n",
        "Host: localhost\r\nContent-Length: 0x5\r\n",
        "Host: localhost\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n",
        "Host: localhost\r\nContent-Length : 5\r\nTransfer-Encoding: chunked\r\n",
        "Host: localhost\r\nContent-Length\t: 5\r\n",
        "Host: localhost\r\nTransfer\x01-Encoding: chunked\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nHost: localhost\r\n",
        "Host: localhost\r\nhost: localhost\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        int fd = client_connect(port);
        client_sendf(fd,
                     "POST /echo HTTP/1.%d\r\n%s\r\n0\r\n\r\n"
                     "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
                     i > 0, cases[i]);
        client_receive(fd, &a, "POST");
        if (a.status != 400)
            fail_msg("%s: %d, wanted 400", cases[i], a.status);
        client_receive(fd, &a, "GET");
        if (a.status != 0)
            fail_msg("%s: what follows was answered %d", cases[i], a.status);
        close(fd);
    }
}

// Nothing of a request comes back where it makes a header, or leads out of the routes.
static void test_tricks(void **state)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/things/../hello", 400},
        {"/things/%2e%2e/hello", 400},
        {"/things/..%2fhello", 400},
        {"/things/a%2fb", 400},
        {"/things/a%00b", 400},
        {"/things/a%0d%0aX-Evil:%201", 400},
        {"/things/%c0%ae%c0%ae", 400},
        {"/things/%ff", 400},
        {"/things/%zz", 400},
        {"/things/%", 400},
        {"//evil.example/hello", 404},
        {"http://evil.example/hello", 403},
        {"hello", 400},
        {"/hello/", 404},
        {"/things/a?x=%0d%0aX-Evil:1", 405},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(answer_clear) struct answer a = {0};
        client_ask(port, &a, "GET", cases[i].path, "", NULL);
        if (a.status != cases[i].status)
            fail_msg("%s: %d, wanted %d", cases[i].path, a.status, cases[i].status);
        assert_string_equal(answer_header(&a, "X-Evil"), "");
    }
}

// --- behind a proxy

static void ask_as(struct answer *ret, const char *method, const char *path, const char *headers,
                   const char *forwarded, const char *body)
{
    CLEANUP(kb_freep) char *all = kb_printf("%sX-Forwarded-For: %s\r\n", headers, forwarded);
    client_ask(port, ret, method, path, all, body);
}

static void test_client_of_proxy(void **state)
{
    static const struct {
        const char *forwarded, *client;
    } cases[] = {
        {"203.0.113.7", "203.0.113.7"},
        {"1.2.3.4, 203.0.113.7", "203.0.113.7"}, // what stands before may be made up
        {"1.2.3.4\r\nX-Forwarded-For: 203.0.113.7", "203.0.113.7"},
        {"203.0.113.7, 10.1.2.3", "203.0.113.7"}, // two proxies
        {"203.0.113.7 , 10.1.2.3:444", "203.0.113.7"},
        {"203.0.113.7:5678", "203.0.113.7"},
        {"10.1.2.3, 10.1.2.4", "10.1.2.3"},
        {"[2001:db8::1]:80", "2001:db8::1"},
        {"2001:db8::1", "2001:db8::1"},
        {"::ffff:203.0.113.7", "203.0.113.7"},
        {"fd00:1::9, 10.0.0.1", "fd00:1::9"},
        {"203.0.113.7, 11.1.2.3", "11.1.2.3"}, // not within 10.0.0.0/8
        {"evil", "127.0.0.1"},
        {"203.0.113.7, evil", "127.0.0.1"},
        {"", "127.0.0.1"},
        {",,", "127.0.0.1"},
    };
    CLEANUP(answer_clear) struct answer a = {0};
    ask_as(&a, "GET", "/client", "", "203.0.113.7", NULL); // nobody is trusted
    assert_string_equal(a.body, "127.0.0.1");
    http_stop(&http);
    start_with((struct http_params){.proxies = "127.0.0.1,10.0.0.0/8"}, tables);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ask_as(&a, "GET", "/client", "", cases[i].forwarded, NULL);
        if (strcmp(a.body, cases[i].client) != 0)
            fail_msg("'%s' is %s, wanted %s", cases[i].forwarded, a.body, cases[i].client);
    }
    static const char *const wrong[] = {"localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1",
                                        "::/129",    "10.0.0.1,,",  "1.2.3"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct kb_error err = {0};
        struct http *none = NULL;
        struct http_params p = {.listen = "127.0.0.1", .tables = tables, .proxies = wrong[i]};
        assert_fails(err, KB_BAD_INPUT, "--trusted-proxy", http_start(&none, &p, &err));
    }
}

// One who guesses behind a proxy shuts out nobody but himself.
static void test_guesses_behind_proxy(void **state)
{
    CLEANUP(answer_clear) struct answer a = {0};
    http_stop(&http);
    start_with((struct http_params){.token = "s3cret, very", .proxies = "127.0.0.1"}, tables);
    for (int i = 0; i < 12; i++) {
        char forwarded[60];
        snprintf(forwarded, sizeof(forwarded), "2001:db8:1:2::%x", i + 1); // of one household
        ask_as(&a, "POST", "/session", "", forwarded, "{\"token\":\"guess\"}");
        assert_answer(&a, i < 10 ? 401 : 429);
    }
    ask_as(&a, "POST", "/session", "", "2001:db8:1:3::1", "{\"token\":\"typo\"}");
    assert_answer(&a, 401);
}

// Many others with a guess each do not make one forgotten who guesses a lot.
static void test_guesses_are_remembered(void **state)
{
    CLEANUP(guesses_free) struct guesses *g = guesses_create();
    const int64_t minute = 60000000, now = 1000 * minute;
    char address[60];
    for (int i = 1; i <= 9; i++)
        assert_int_equal(guesses_add(g, "203.0.113.7", now), i);
    for (int i = 0; i < 200000; i++) {
        snprintf(address, sizeof(address), "2001:db8:%x:%x::1", i >> 12, i & 0xfff);
        assert_in_range(guesses_add(g, address, now + i), 1, 9);
    }
    assert_int_equal(guesses_add(g, "203.0.113.7", now + minute - 1), 10);
    assert_int_equal(guesses_add(g, "203.0.113.8", now + minute - 1), 1);
    assert_int_equal(guesses_add(g, "203.0.113.7", now + minute + 1), 1); // its minute is over
}

static void test_secure_cookie(void **state)
{
    static const char body[] = "{\"token\":\"s3cret, very\"}";
    CLEANUP(answer_clear) struct answer a = {0};
    http_stop(&http);
    start_with((struct http_params){.token = "s3cret, very"}, tables);
    client_ask(port, &a, "POST", "/session", "X-Forwarded-Proto: https\r\n", body);
    assert_null(strstr(answer_header(&a, "Set-Cookie"), "Secure")); // anybody can say so
    http_stop(&http);
    start_with((struct http_params){.token = "s3cret, very", .proxies = "127.0.0.0/8"}, tables);
    client_ask(port, &a, "POST", "/session", "X-Forwarded-Proto: https\r\n", body);
    assert_non_null(strstr(answer_header(&a, "Set-Cookie"), "; Secure"));
    client_ask(port, &a, "POST", "/session", "X-Forwarded-Proto: http\r\n", body);
    assert_null(strstr(answer_header(&a, "Set-Cookie"), "Secure"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_guards, start, stop),
        cmocka_unit_test_setup_teardown(test_token, start, stop),
        cmocka_unit_test_setup_teardown(test_signed, start, stop),
        cmocka_unit_test_setup_teardown(test_smuggling, start, stop),
        cmocka_unit_test_setup_teardown(test_tricks, start, stop),
        cmocka_unit_test_setup_teardown(test_client_of_proxy, start, stop),
        cmocka_unit_test_setup_teardown(test_guesses_behind_proxy, start, stop),
        cmocka_unit_test_setup_teardown(test_secure_cookie, start, stop),
        cmocka_unit_test(test_guesses_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
