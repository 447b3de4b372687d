// Sending files in forms, and addresses and texts as JSON.
#include "tests/server/site.h"

#include "asset/asset.h"

#include <sys/socket.h>
#include <unistd.h>

static const struct route *const tables[] = {api_uploads_routes, api_voices_routes, NULL};

static int start(void **state)
{
    site_begin(tables);
    return 0;
}

#define FORM "Content-Type: multipart/form-data; boundary=AaB\r\n"
#define FILE_AS(name)                                                                              \
    "--AaB\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" name                     \
    "\"\r\nContent-Type: video/mp4\r\n\r\n"

static void test_form(void **state)
{
    static const char body[] = FILE_AS("主播 一号.mp4") "first\r\n" FILE_AS(
        "..\\\\..\\\\x.mp4") "second\r\n--AaB\r\nContent-Disposition: form-data; "
                             "name=\"note\"\r\n\r\nnone\r\n" FILE_AS(
                                 "/etc/passwd") "third\r"
                                                "\n" FILE_AS("") "\r\n--AaB--\r\n";
    ASK(r, "POST", "/api/v1/assets", FORM, body, sizeof(body) - 1);
    assert_status(&r, 201);
    json_auto_t *answer = reply_object(&r);
    assert_int_equal(json_array_size(json_object_get(answer, "items")), 3);
    static const char *const names[] = {"主播 一号.mp4", "x.mp4", "passwd"};
    static const char *const contents[] = {"first", "second", "third"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(item_text(answer, i, "name"), names[i]);
        assert_string_equal(item_text(answer, i, "state"), "new");
        char address[100];
        snprintf(address, sizeof(address), "/api/v1/uploads/%s", item_text(answer, i, "id"));
        assert_content(address, contents[i], strlen(contents[i]));
    }
    assert_int_equal(site_count_files(&site, "uploads"), 0);
}

// One bad file of a form, and nothing of it stays.
static void test_form_refused(void **state)
{
    static const struct {
        const char *headers, *body;
        int status;
        const char *sentence;
    } cases[] = {
        {FORM, FILE_AS("a") "good\r\n" FILE_AS("b.mp4") "\r\n--AaB--", 400, "'b.mp4' is empty"},
        {FORM, FILE_AS("a") "good\r\n" FILE_AS("b") "longer than the ten allowed\r\n--AaB--", 413,
         "larger than"},
        {FORM, FILE_AS("a") "good\r\n" FILE_AS("b") "cut", 400, "ends in the middle"},
        {FORM, FILE_AS("a") "good\r\n--AaBBB", 400, "boundary"},
        {FORM, FILE_AS("\xff\xfe") "good\r\n--AaB--", 400, "UTF-8"},
        {FORM, "--AaB\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--AaB--", 400,
         "no file"},
        {FORM, "--AaB--", 400, "no file"},
        {"Content-Type: multipart/form-data\r\n", FILE_AS("a") "good\r\n--AaB--", 400, "boundary"},
        {"Content-Type: multipart/form-data; boundary=\"\"\r\n", "x", 400, "boundary"},
        {"Content-Type: text/plain\r\n", "x", 415, "multipart/form-data"},
        {"", "x", 415, "multipart/form-data"},
    };
    site.server.params.upload_bytes = 10;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ASK(r, "POST", "/api/v1/assets", cases[i].headers, cases[i].body, strlen(cases[i].body));
        if (r.status != cases[i].status || !strstr(r.body, cases[i].sentence))
            fail_msg("case %zu: %d %s", i, r.status, r.body);
        ASK(list, "GET", "/api/v1/assets", NULL, NULL, 0);
        json_auto_t *answer = reply_object(&list);
        if (json_integer_value(json_object_get(answer, "total")) != 0)
            fail_msg("case %zu left %s", i, list.body);
        assert_int_equal(site_count_files(&site, "uploads"), 0);
        assert_int_equal(site_count_files(&site, "files"), 0);
    }
}

static bool nothing_left(void *opaque)
{
    return site_count_files(&site, "uploads") == 0 && site_count_files(&site, "files") == 0;
}

static void test_form_cut_off(void **state)
{
    int fd = site_connect(&site);
    site_sendf(fd,
               "POST /api/v1/assets HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" FORM
               "Content-Length: 100000\r\n\r\n" FILE_AS("a") "whole\r\n" FILE_AS("b") "half",
               site.port);
    for (int i = 0; i < 500 && nothing_left(NULL); i++)
        usleep(10000);
    assert_false(nothing_left(NULL));
    close(fd);
    assert_true(site_wait(nothing_left, NULL));
}

// A large one in odd pieces: the content is the same to the byte.
static void test_form_large(void **state)
{
    enum { SIZE = 2 << 20 };
    CLEANUP(kb_freep) char *data = malloc(SIZE);
    site_noise(data, SIZE, 3);
    for (size_t i = 0; i + 8 < SIZE; i += 1013)
        memcpy(data + i, "\r\n--AaA", 7);
    static const char head[] = FILE_AS("large.wav"), tail[] = "\r\n--AaB--\r\n";
    int fd = site_connect(&site);
    site_sendf(fd,
               "POST /api/v1/assets HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n" FORM
               "Content-Length: %zu\r\n\r\n%s",
               site.port, sizeof(head) - 1 + SIZE + sizeof(tail) - 1, head);
    for (size_t at = 0, n; at < SIZE; at += n) {
        n = KB_MIN(1 + (at * 31 + 17) % 60000, SIZE - at);
        site_send(fd, data + at, n);
    }
    site_send(fd, tail, sizeof(tail) - 1);
    CLEANUP(reply_clear) struct reply r = {0};
    site_receive(fd, &r, "POST");
    assert_status(&r, 201);
    json_auto_t *answer = reply_object(&r);
    char address[100];
    snprintf(address, sizeof(address), "/api/v1/uploads/%s", item_text(answer, 0, "id"));
    assert_content(address, data, SIZE);
}

#define JSON "Content-Type: application/json\r\n"

static void test_json(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *part;
    } cases[] = {
        {"{\"text\":\"你好，世界\",\"voice\":\"zh\",\"name\":\"问候\"}", 201, "\"name\":\"问候\""},
        {"{\"text\":\"first line\\nsecond\"}", 201, "\"state\":\"making\""},
        {"{\"url\":\"https://example.org/a/b%20c.mp4?x=1\"}", 201, "\"state\":\"fetching\""},
        {"{\"url\":\"file:///etc/passwd\"}", 400, "http"},
        {"{\"url\":\"\"}", 400, "url"},
        {"{\"url\":7}", 400, "url"},
        {"{\"text\":\"  \\n \"}", 400, "nothing to speak"},
        {"{\"text\":null}", 400, "nothing to speak"},
        {"{\"text\":\"a\",\"voice\":\"../x\"}", 400, "no such voice"},
        {"{\"text\":\"a\",\"url\":\"http://x\"}", 400, "either"},
        {"{\"text\":\"a\",\"nmae\":\"x\"}", 400, "nmae"},
        {"{}", 400, "either"},
        {"[]", 400, "object"},
        {"{\"text\":", 400, "line 1"},
        {"", 400, "JSON"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ASK(r, "POST", "/api/v1/assets", JSON, cases[i].body, strlen(cases[i].body));
        if (r.status != cases[i].status || !strstr(r.body, cases[i].part))
            fail_msg("case %zu (%s): %d %s", i, cases[i].body, r.status, r.body);
    }
    for (int letters = 5000; letters <= 5001; letters++) {
        CLEANUP(text_free) struct text t = {0};
        text_add(&t, "{\"text\":\"");
        for (int i = 0; i < letters; i++)
            text_add(&t, "s");
        text_add(&t, "\"}");
        ASK(r, "POST", "/api/v1/assets", JSON, t.data, t.size);
        assert_status(&r, letters == 5000 ? 201 : 400);
    }
    CLEANUP(kb_freep) char *large = calloc(1, 100000);
    memset(large, ' ', 100000);
    ASK(refused, "POST", "/api/v1/assets", JSON, large, 100000);
    assert_status(&refused, 413);

    ASK(voices, "GET", "/api/v1/voices", NULL, NULL, 0);
    json_auto_t *answer = reply_object(&voices);
    assert_string_equal(item_text(answer, 0, "name"), "zh");
    assert_string_equal(item_text(answer, 0, "title"), "Chinese (Mandarin)");
}

static int speak(int letters, struct reply *ret)
{
    CLEANUP(text_free) struct text t = {0};
    text_add(&t, "{\"text\":\"");
    for (int i = 0; i < letters; i++)
        text_add(&t, "说");
    text_add(&t, "\"}");
    site_ask(&site, ret, "POST", "/api/v1/assets", JSON, t.data, t.size);
    return ret->status;
}

// A speech takes disk and time like a file that is sent.
static void test_speeches_are_counted(void **state)
{
    CLEANUP(reply_clear) struct reply r = {0};
    struct server_params *p = &site.server.params;
    p->supervisor.worker.min_free_bytes = INT64_MAX / 4;
    assert_int_equal(speak(5000, &r), 507);
    assert_non_null(strstr(r.body, "this needs 65 MB")); // no "0.0 GB"
    p->supervisor.worker.min_free_bytes = 0;

    p->uploads_per_client = 3;
    for (int i = 0; i < 3; i++) {
        reply_clear(&r);
        assert_int_equal(speak(5000, &r), 201);
    }
    reply_clear(&r);
    assert_int_equal(speak(1, &r), 429);
    assert_non_null(strstr(r.body, "3 files"));
    p->supervisor.worker.min_free_bytes = INT64_MAX / 4; // those that wait are reckoned with
    p->uploads_per_client = 4;
    reply_clear(&r);
    assert_int_equal(speak(1, &r), 507);
    assert_non_null(strstr(r.body, "this needs 195 MB"));
    p->supervisor.worker.min_free_bytes = 0;

    struct kb_error err = {0}; // of others, too many in all
    struct asset_params other = {.client = "192.0.2.1", .lang = "en", .size_bytes = -1};
    char id[33];
    p->uploads_per_client = 4;
    for (int i = 0; i < 40; i++)
        assert_ok(err, asset_create_speech(site.store, &other, "one", NULL, id, &err));
    reply_clear(&r);
    assert_int_equal(speak(1, &r), 429);
    assert_non_null(strstr(r.body, "40 files"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, site_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_form),       TEST(test_form_refused), TEST(test_form_cut_off),
        TEST(test_form_large), TEST(test_json),         TEST(test_speeches_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
