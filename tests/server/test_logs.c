// The log, read and followed, on a real server.
#include "tests/server/live.h"

#include "base/log.h"

#include <sys/socket.h>
#include <unistd.h>

static void a_log_is_read_from_its_end(void **state)
{
    struct live *l = *state;
    log_warn("first mark");
    log_line_of("serve", 7, LOG_INFO, "second mark");
    log_info("口播 third mark");

    json_t *a = live_ask(l, 200, "GET", "/api/v1/logs?search=mark&lines=2", NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 2);
    assert_string_equal(text_at(a, "items.0.text"), "second mark");
    assert_string_equal(text_at(a, "items.1.text"), "口播 third mark");
    assert_int_equal(number_at(a, "items.0.job"), 7);
    assert_string_equal(text_at(a, "items.0.source"), "serve");
    assert_true(llabs(number_at(a, "items.0.time") - kb_wall_ms()) < 60000);
    json_t *b = live_ask(l, 200, "GET", "/api/v1/logs?level=warn&search=mark", NULL);
    assert_int_equal(json_array_size(json_object_get(b, "items")), 1);
    assert_string_equal(text_at(b, "items.0.text"), "first mark");
    json_decref(b);
    b = live_ask(l, 200, "GET", "/api/v1/logs?job=7", NULL);
    assert_int_equal(json_array_size(json_object_get(b, "items")), 1);
    json_decref(b);

    // What comes after a place, also when the file was renamed in between.
    int64_t cursor = number_at(a, "cursor");
    json_decref(a);
    a = live_ask(l, 200, "GET", live_path("/api/v1/logs?after=%lld", cursor), NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 0);
    assert_int_equal(number_at(a, "cursor"), cursor);
    json_decref(a);
    log_info("fourth mark");
    char from[200], to[210];
    snprintf(from, sizeof(from), "%s/logs/koubo.log", l->site.folder);
    snprintf(to, sizeof(to), "%s.1", from);
    sleep(1); // a file is known by the second of its first line
    assert_int_equal(rename(from, to), 0);
    log_info("fifth mark");
    log_info("sixth mark");
    a = live_ask(l, 200, "GET", live_path("/api/v1/logs?lines=2&search=mark&after=%lld", cursor),
                 NULL);
    assert_string_equal(text_at(a, "items.0.text"), "fourth mark");
    assert_string_equal(text_at(a, "items.1.text"), "fifth mark");
    cursor = number_at(a, "cursor");
    json_decref(a);
    a = live_ask(l, 200, "GET", live_path("/api/v1/logs?after=%lld&search=mark", cursor), NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 1);
    assert_string_equal(text_at(a, "items.0.text"), "sixth mark");
    json_decref(a);
    a = live_ask(l, 200, "GET", "/api/v1/logs?search=mark&lines=5", NULL);
    assert_string_equal(text_at(a, "items.0.text"), "second mark");
    json_decref(a);
    log_info("a name of any bytes: \xe8\xa7.mp4 mark");
    a = live_ask(l, 200, "GET", "/api/v1/logs?search=mark&lines=1", NULL);
    assert_string_equal(text_at(a, "items.0.text"),
                        "a name of any bytes: \xef\xbf\xbd\xef\xbf\xbd.mp4 mark");
    json_decref(a);
    a = live_ask(l, 200, "GET", "/api/v1/logs?after=123456789012345&lines=1", NULL);
    assert_int_equal(json_array_size(json_object_get(a, "items")), 1);
    json_decref(a);
}

// Reads until text was seen, at most 10 s.
static void expect_text(int fd, struct text *got, const char *text)
{
    struct timeval wait = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    while (!strstr(text_get(got), text)) {
        char buffer[4096];
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            fail_msg("'%s' did not come; there is:\n%s", text, text_get(got));
        text_add_bytes(got, buffer, (size_t)n);
    }
}

static void a_log_is_followed(void **state)
{
    struct live *l = *state;
    struct text got = {0};
    int fd = site_connect(&l->site);
    site_sendf(fd, "GET /api/v1/logs?follow=1&level=warn HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
               l->site.port);
    expect_text(fd, &got, "text/plain");
    usleep(100000);
    log_info("not asked for");
    log_warn("one to follow");
    expect_text(fd, &got, "one to follow");
    char from[200], to[210];
    snprintf(from, sizeof(from), "%s/logs/koubo.log", l->site.folder);
    snprintf(to, sizeof(to), "%s.1", from);
    assert_int_equal(rename(from, to), 0);
    log_warn("in the next file");
    expect_text(fd, &got, "in the next file");
    assert_null(strstr(text_get(&got), "not asked for"));
    close(fd);
    text_free(&got);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(void)
{
    unsetenv("http_proxy");
    const struct CMUnitTest tests[] = {
        TEST(a_log_is_read_from_its_end),
        TEST(a_log_is_followed),
    };
    return cmocka_run_group_tests_name("server/logs", tests, NULL, NULL);
}
