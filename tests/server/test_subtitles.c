// Subtitles over HTTP: of a speech whose words are known, of an uploaded file, of a result.
#include "tests/server/site.h"

#include "media/subtitle_file.h"
#include "media/words.h"
#include "queue/subtitles.h"
#include "store/sql.h"

#include <math.h>

static const struct route *const tables[] = {api_subtitles_routes, api_results_routes, NULL};

#define HAN 60 // letters of the speech, a quarter of a second each
static const char letter[] =
    "\xe6\x98\x8e"; // 明: no two of them are a word that must stay together

static int start(void **state)
{
    site_begin(tables);
    return 0;
}

// A speech of HAN letters without a comma, whose voice told when each of them is said, or only when
// all of it is.
static void make_speech(char id[33], bool letters)
{
    struct kb_error err = {0};
    CLEANUP(words_free) struct words w = {.text = kb_alloc(HAN * 3 + 1)};
    for (int i = 0; i < HAN; i++)
        memcpy(w.text + (size_t)i * 3, letter, 3);
    for (int i = 0; letters && i < HAN; i++)
        assert_true(
            words_add(&w, (struct word){i * 250000, i * 250000 + 250000, (size_t)i * 3, 3}));
    if (!letters)
        assert_true(words_add(&w, (struct word){0, HAN * 250000, 0, HAN * 3}));
    CLEANUP(kb_freep) char *json = words_json(&w);
    site_asset(&site, "speech.wav", "RIFF", 4, id);
    assert_ok(err, store_exec(site.store, NULL, &err,
                              "UPDATE asset SET words = ?, kind = 'audio' WHERE id = ?", "tt", json,
                              id));
}

static const char *path_of(const char *id, const char *query)
{
    static char path[200];
    snprintf(path, sizeof(path), "/api/v1/assets/%s/subtitles%s", id, query);
    return path;
}

static const char *result_of(int64_t job, const char *query)
{
    static char path[200];
    snprintf(path, sizeof(path), "/api/v1/results/%lld/subtitles%s", (long long)job, query);
    return path;
}

// Letters of the longest line of all subtitles of an answer, which must hold the whole speech in
// order and in time.
static size_t longest_line(const struct reply *r)
{
    json_auto_t *all = reply_object(r);
    size_t i, longest = 0, whole = 0;
    json_t *one;
    double last = 0;
    json_array_foreach(json_object_get(all, "subtitles"), i, one)
    {
        double begin = json_number_value(json_object_get(one, "begin"));
        double end = json_number_value(json_object_get(one, "end"));
        assert_true(begin >= last && end > begin && end <= HAN * 0.25 + 2);
        // The letters before it were said before it.
        assert_true(fabs(begin - (double)whole * 0.25) < 0.3);
        last = end;
        size_t line = 0, lines = 1;
        for (const char *c = json_string_value(json_object_get(one, "text")); *c;) {
            if (*c == '\n') {
                c++, lines++, line = 0;
                continue;
            }
            assert_memory_equal(c, letter, 3);
            c += 3, line++, whole++;
            longest = KB_MAX(longest, line);
        }
        assert_true(lines <= 2);
    }
    assert_int_equal(whole, HAN);
    return longest;
}

static void test_lines_fit_the_shape(void **state)
{
    static const struct {
        const char *query;
        size_t most;
    } cases[] = {
        {"", 17},
        {"?width=1280&height=720&size=5.5", 17},
        {"?width=1280&height=720&size=7.5", 17},
        {"?width=720&height=1280&size=7.5", 12},
        {"?width=1280&height=720&size=7.5&crop=9:16", 12}, // the shape, not the film
        {"?width=1280&height=720&size=15&crop=1:1", 6},
        {"?width=720&height=1280&size=7.5&crop=16:9", 17},
    };
    for (int letters = 0; letters < 2; letters++) {
        char id[33];
        make_speech(id, letters);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            ASK(r, "GET", path_of(id, cases[i].query), NULL, NULL, 0);
            assert_status(&r, 200);
            size_t longest = longest_line(&r);
            if (longest > cases[i].most || longest * 3 < cases[i].most * 2)
                fail_msg("'%s': a line of %zu letters, %zu fit", cases[i].query, longest,
                         cases[i].most);
        }
    }
}

static void test_bad_questions(void **state)
{
    static const char *const bad[] = {
        "?size=1",
        "?size=15.5",
        "?size=nan",
        "?size=5x",
        "?size=-1",
        "?width=1",
        "?height=0.5",
        "?width=65537",
        "?crop=9x16",
        "?crop=0:1",
        "?crop=1:5",
        "?crop=9:16:1",
        "?crop=9:",
        "?crop=101:99",
        "?width=99999999999999999999",
        "?crop=999999999999:1",
    };
    char id[33], plain[33];
    make_speech(id, true);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ASK(r, "GET", path_of(id, bad[i]), NULL, NULL, 0);
        assert_status(&r, 400);
        json_auto_t *problem = reply_object(&r);
        char name[20] = {0};
        sscanf(bad[i], "?%19[a-z]", name);
        assert_non_null(strstr(json_string_value(json_object_get(problem, "detail")), name));
    }
    site_asset(&site, "recording.wav", "RIFF", 4, plain); // nobody knows what it says
    ASK(unknown, "GET", path_of(plain, ""), NULL, NULL, 0);
    assert_status(&unknown, 404);
    ASK(none, "GET", path_of("00000000000000000000000000000000", ""), NULL, NULL, 0);
    assert_status(&none, 404);
    // The parts of a result that another machine sends are nobody's upload.
    struct kb_error err = {0};
    assert_ok(err,
              store_exec(site.store, NULL, &err, "UPDATE asset SET job = 7 WHERE id = ?", "t", id));
    ASK(hidden, "GET", path_of(id, ""), NULL, NULL, 0);
    assert_status(&hidden, 404);
}

static void test_a_file_as_it_is(void **state)
{
    struct kb_error err = {0};
    CLEANUP(subtitle_track_clear) struct subtitle_track t = {0};
    char id[33];
    site_asset(&site, "film.srt", "1\n", 2, id);
    assert_true(subtitle_add(&t, 500000, 2250000, "\xe4\xbd\xa0\xe5\xa5\xbd\nsecond \"line\""));
    assert_true(subtitle_add(&t, 3661000000, 3662000000, "later"));
    assert_ok(err, subtitles_set_file(site.store, id, &t, &err));
    assert_ok(err, store_exec(site.store, NULL, &err, "UPDATE asset SET kind = 'text' WHERE id = ?",
                              "t", id));
    ASK(r, "GET", path_of(id, "?width=100&height=1000&size=15"), NULL, NULL, 0);
    assert_status(&r, 200);
    json_auto_t *is = reply_object(&r);
    json_auto_t *wanted =
        json_pack("{s:[{s:f, s:f, s:s}, {s:f, s:f, s:s}]}", "subtitles", "begin", 0.5, "end", 2.25,
                  "text", t.at[0].text, "begin", 3661.0, "end", 3662.0, "text", "later");
    assert_true(json_equal(is, wanted));
}

// As if the job had been made with them.
static void keep(int64_t job, const struct subtitle_track *t)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *cues = subtitles_pack(t);
    assert_non_null(cues);
    assert_ok(err, store_exec(site.store, NULL, &err, "UPDATE job SET cues = ? WHERE id = ?", "ti",
                              cues, job));
}

static void test_of_a_result(void **state)
{
    CLEANUP(subtitle_track_clear) struct subtitle_track t = {0};
    int64_t bare = site_result(&site, "batch", "v.mp4", 10);
    int64_t job = site_result(&site, "batch", "\xe8\x80\x81\xe5\xb8\x88.mp4", 10);
    // What would end a subtitle, or be a tag.
    assert_true(subtitle_add(&t, 500000, 2250000, "a --> b\n\n<b>c</b> & d"));
    keep(job, &t);

    ASK(none, "GET", result_of(bare, ""), NULL, NULL, 0);
    assert_status(&none, 404);
    ASK(plain, "GET", result_of(job, ""), NULL, NULL, 0);
    assert_status(&plain, 200);
    json_auto_t *list = reply_object(&plain);
    json_t *one = json_array_get(json_object_get(list, "subtitles"), 0);
    assert_string_equal(json_string_value(json_object_get(one, "text")), t.at[0].text);

    ASK(vtt, "GET", result_of(job, "?format=vtt"), NULL, NULL, 0);
    assert_status(&vtt, 200);
    assert_string_equal(reply_value(&vtt, "Content-Type"), "text/vtt; charset=utf-8");
    assert_string_equal(vtt.body, "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\na \xe2\x86\x92 b\n"
                                  "&lt;b&gt;c&lt;/b&gt; &amp; d\n\n");
    ASK(srt, "GET", result_of(job, "?format=srt&download"), NULL, NULL, 0);
    assert_status(&srt, 200);
    assert_memory_equal(srt.body, "1\n00:00:00,500 --> 00:00:02,250\n", 32);
    assert_non_null(strstr(reply_value(&srt, "Content-Disposition"), "%E8%80%81%E5%B8%88_speech_"));
    assert_non_null(strstr(reply_value(&srt, "Content-Disposition"), ".srt"));
    ASK(odd, "GET", result_of(job, "?format=ass"), NULL, NULL, 0);
    assert_status(&odd, 400);

    // They go with it.
    char path[100];
    snprintf(path, sizeof(path), "/api/v1/results/%lld", (long long)job);
    ASK(removed, "DELETE", path, NULL, NULL, 0);
    assert_status(&removed, 204);
    ASK(gone, "GET", result_of(job, ""), NULL, NULL, 0);
    assert_status(&gone, 404);
}

// As many as can be kept come back, and one more cannot be kept.
static void test_as_many_as_there_may_be(void **state)
{
    CLEANUP(subtitle_track_clear) struct subtitle_track t = {0};
    int64_t job = site_result(&site, "batch", "v.mp4", 10);
    while (subtitle_add(&t, (int64_t)t.n * 1000, (int64_t)t.n * 1000 + 1000, "x"))
        ;
    assert_in_range(t.n, 1000, 1000000);
    keep(job, &t);
    ASK(r, "GET", result_of(job, ""), NULL, NULL, 0);
    assert_status(&r, 200);
    json_auto_t *list = reply_object(&r);
    assert_int_equal(json_array_size(json_object_get(list, "subtitles")), t.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_fit_the_shape, start, site_end),
        cmocka_unit_test_setup_teardown(test_bad_questions, start, site_end),
        cmocka_unit_test_setup_teardown(test_a_file_as_it_is, start, site_end),
        cmocka_unit_test_setup_teardown(test_of_a_result, start, site_end),
        cmocka_unit_test_setup_teardown(test_as_many_as_there_may_be, start, site_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
