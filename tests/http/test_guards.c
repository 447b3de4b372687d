// Who may ask: the names of this machine, the origins of pages, the token and the session.
#include "tests/http/host.h"

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

static const struct route routes[] = {
    {"GET", "/hello", get_hello, 0, NULL},
    {"GET", "/open", get_hello, ROUTE_OPEN, NULL},
    {"POST", "/echo", change, 0, NULL},
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
    client_ask(port, &a, "POST", "/session", "", "{\"token\":\"s3cret, very\"}");
    assert_answer(&a, 429);
    assert_true(*answer_header(&a, "Retry-After"));
    client_ask(port, &a, "GET", "/hello", "Authorization: Bearer s3cret, very\r\n", NULL);
    assert_answer(&a, 429);
    client_ask(port, &a, "GET", "/hello", header, NULL); // who is in stays in
    assert_answer(&a, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_guards, start, stop),
        cmocka_unit_test_setup_teardown(test_token, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
