// Assets over HTTP: their content, list, names and end.
#include "tests/server/site.h"

#include "asset/asset.h"
#include "queue/batch.h"
#include "store/sql.h"

static const struct route *const tables[] = {api_uploads_routes, NULL};

static int start(void **state)
{
    site_begin(tables);
    return 0;
}

static void test_content(void **state)
{
    static const struct {
        const char *name, *type;
    } names[] = {
        {"a.mp4", "video/mp4"},
        {"A.MP4", "video/mp4"},
        {"speech.wav", "audio/wav"},
        {"a.html", "application/octet-stream"},
        {"a.svg", "application/octet-stream"},
        {"a.mp4.js", "application/octet-stream"},
        {"no extension", "application/octet-stream"},
        {"mp4", "application/octet-stream"},
    };
    char id[33], path[100];
    struct kb_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        site_asset(&site, names[i].name, "0123456789", 10, id);
        snprintf(path, sizeof(path), "/api/v1/assets/%s/content", id);
        ASK(r, "GET", path, NULL, NULL, 0);
        assert_status(&r, 200);
        assert_string_equal(reply_value(&r, "Content-Type"), names[i].type);
        assert_string_equal(reply_value(&r, "X-Content-Type-Options"), "nosniff");
        bool unknown = strstr(names[i].type, "octet") != NULL;
        assert_int_equal(strncmp(reply_value(&r, "Content-Disposition"), "attachment", 10) == 0,
                         unknown);
    }
    // what has a source was fetched from an address, or is a text that was spoken
    static const char *const sources[][2] = {{"HTTP://example.com/mp4", "application/octet-stream"},
                                             {"good morning", "audio/wav"}};
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        assert_ok(err,
                  store_exec(site.store, NULL, &err, "UPDATE asset SET source = ? WHERE id = ?",
                             "tt", sources[i][0], id));
        ASK(r, "GET", path, NULL, NULL, 0);
        assert_string_equal(reply_value(&r, "Content-Type"), sources[i][1]);
    }
    ASK(range, "GET", path, "Range: bytes=2-4\r\n", NULL, 0);
    assert_status(&range, 206);
    assert_string_equal(range.body, "234");
    assert_string_equal(reply_value(&range, "Content-Range"), "bytes 2-4/10");

    snprintf(path, sizeof(path), "/api/v1/assets/%s/thumbnail", id);
    ASK(none, "GET", path, NULL, NULL, 0);
    assert_status(&none, 404);
    struct asset_params p = {.name = "half.mp4", .size_bytes = 10, .lang = "en"};
    assert_ok(err, asset_create(site.store, &p, id, &err));
    snprintf(path, sizeof(path), "/api/v1/assets/%s/content", id);
    ASK(half, "GET", path, NULL, NULL, 0);
    assert_status(&half, 404);
}

static void test_assets(void **state)
{
    char audio[33], video[33], other[33], path[200];
    site_asset(&site, "speech.wav", "RIFF", 4, audio);
    site_asset(&site, "主播.mp4", "ftyp", 4, video);
    site_asset(&site, "100%_x.mp4", "free", 4, other);
    ASK(list, "GET", "/api/v1/assets?search=%E4%B8%BB&limit=1", NULL, NULL, 0);
    assert_status(&list, 200);
    json_auto_t *answer = reply_object(&list);
    assert_int_equal(json_integer_value(json_object_get(answer, "total")), 1);
    assert_string_equal(item_text(answer, 0, "name"), "主播.mp4");
    ASK(literally, "GET", "/api/v1/assets?search=%25_", NULL, NULL, 0);
    json_auto_t *one = reply_object(&literally);
    assert_int_equal(json_integer_value(json_object_get(one, "total")), 1);
    static const char *const wrong[] = {"?kind=film", "?state=gone", "?limit=0x", "?offset=-1",
                                        "?limit=100000"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        snprintf(path, sizeof(path), "/api/v1/assets%s", wrong[i]);
        ASK(r, "GET", path, NULL, NULL, 0);
        assert_status(&r, 400);
    }

    const char *videos[] = {video};
    struct batch_params p = {.audio = audio, .videos = videos, .n_videos = 1, .priority = 5};
    struct kb_error err = {0};
    int64_t batch;
    assert_ok(err, batch_create(site.store, &p, &batch, &err));
    snprintf(path, sizeof(path), "/api/v1/assets/%s", video);
    ASK(used, "DELETE", path, NULL, NULL, 0);
    assert_status(&used, 409);
    ASK(there, "GET", path, NULL, NULL, 0);
    assert_status(&there, 200);
    snprintf(path, sizeof(path), "/api/v1/assets/%s", other);
    ASK(unused, "DELETE", path, NULL, NULL, 0);
    assert_status(&unused, 204);
    ASK(gone, "GET", path, NULL, NULL, 0);
    assert_status(&gone, 404);
}

// No text of an address becomes a path.
static void test_path_tricks(void **state)
{
    static const char *const ids[] = {"..",
                                      "%2e%2e",
                                      "..%2f..%2fkoubo.db",
                                      "%2fetc%2fpasswd",
                                      "%00",
                                      "a%00b",
                                      "....//....//koubo.db",
                                      "%c0%ae%c0%ae",
                                      "'; DROP TABLE asset; --",
                                      "%ff"};
    static const char *const tails[] = {"", "/content", "/thumbnail"};
    char path[6000];
    for (size_t i = 0; i <= ARRAY_LEN(ids); i++)
        for (size_t k = 0; k < ARRAY_LEN(tails); k++) {
            char id[5000] = "";
            if (i < ARRAY_LEN(ids))
                snprintf(id, sizeof(id), "%s", ids[i]);
            else
                memset(id, 'a', sizeof(id) - 1);
            for (char *c = id; *c; c++)
                *c = *c == ' ' ? '+' : *c;
            snprintf(path, sizeof(path), "/api/v1/assets/%s%s", id, tails[k]);
            ASK(r, "GET", path, NULL, NULL, 0);
            if (r.status < 400 || r.status >= 500)
                fail_msg("%.100s: %d %s", path, r.status, r.body ? r.body : "");
        }
    ASK(alive, "GET", "/api/v1/assets", NULL, NULL, 0);
    assert_status(&alive, 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, site_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_content),
        TEST(test_assets),
        TEST(test_path_tricks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
