// Batches and jobs, on a real server.
#include "tests/server/live.h"

#include "base/file.h"
#include "queue/lease.h"

static int64_t make_batch(struct live *l, const char *name, int n_videos)
{
    char audio[33], video[33];
    struct text body = {0};
    site_asset(&l->site, "speech.wav", "RIFF", 4, audio);
    text_addf(&body, "{\"name\":\"%s\",\"audio\":\"%s\",\"videos\":[", name, audio);
    for (int i = 0; i < n_videos; i++) {
        char content[20];
        snprintf(content, sizeof(content), "ftyp %s %d", name, i);
        site_asset(&l->site, "person.mp4", content, strlen(content), video);
        text_addf(&body, "%s\"%s\"", i ? "," : "", video);
    }
    text_add(&body, "]}");
    json_t *batch = live_ask(l, 201, "POST", "/api/v1/batches", text_get(&body));
    int64_t id = number_at(batch, "id");
    assert_string_equal(text_at(batch, "name"), name);
    assert_int_equal(number_at(batch, "counts.queued"), n_videos);
    json_decref(batch);
    text_free(&body);
    return id;
}

static void bad_bodies_are_refused_by_name(void **state)
{
    static const struct {
        const char *body, *part;
        int status;
    } table[] = {
        {"{", "line", 400},
        {"[]", "object", 400},
        {"{}", "'audio'", 400},
        {"{\"audio\":7}", "'audio'", 400},
        {"{\"audio\":\"\"}", "'audio' is empty", 400},
        {"{\"audio\":\"x\"}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[1]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"face_at\":[0,0]}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face\":1}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":[0.5]}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":[0.5,1.1]}]}", "face_at", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":[\"0\",0]}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":{\"x\":0}}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":[0,0,-1]}]}", "seconds]", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":[0,0,null]}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":[0,0,1,1]}]}", "'videos'", 400},
        {"{\"audio\":\"x\",\"videos\":[{\"id\":\"x\",\"face_at\":[]}]}", "'videos'", 400},
        {"{\"jobs\":[]}", "1 to 1000 pairs", 400},
        {"{\"jobs\":{}}", "'jobs'", 400},
        {"{\"jobs\":[7]}", "'video'", 400},
        {"{\"jobs\":[{\"video\":\"x\"}]}", "number 1 is none", 400},
        {"{\"audio\":\"x\",\"jobs\":[{\"audio\":\"x\"}]}", "'video'", 400},
        {"{\"jobs\":[{\"audio\":\"x\",\"video\":\"x\",\"colour\":1}]}", "'colour'", 400},
        {"{\"jobs\":[{\"audio\":\"x\",\"video\":\"x\",\"options\":[]}]}", "'options'", 400},
        {"{\"jobs\":[{\"audio\":\"x\",\"video\":\"x\",\"face_at\":[2,0]}]}", "'jobs'", 400},
        {"{\"jobs\":[{\"audio\":\"x\",\"video\":\"x\"}],\"videos\":[\"x\"]}", "exclude", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"priority\":10}", "from 0 to 9", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"priority\":\"5\"}", "'priority'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"options\":[]}", "'options'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"colour\":1}", "'colour'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"notify\":{\"pigeon\":{}}}", "pigeon", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"name\":\"a\\u0007b\"}", "'name'", 400},
        {"{\"audio\":\"x\",\"videos\":[\"x\"],\"name\":\"a\\u0000b\"}", "", 400},
        {"{\"audio\":\"00000000000000000000000000000000\",\"videos\":[\"x\"]}", "", 404},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        live_refuses(*state, table[i].status, table[i].status == 404 ? "not_found" : "bad_input",
                     table[i].part, "POST", "/api/v1/batches", table[i].body);
    struct text name = {0};
    text_add(&name, "{\"audio\":\"x\",\"videos\":[\"x\"],\"name\":\"");
    for (int i = 0; i < 201; i++)
        text_add(&name, "口");
    text_add(&name, "\"}");
    live_refuses(*state, 400, "bad_input", "201 letters", "POST", "/api/v1/batches",
                 text_get(&name));
    text_free(&name);
    json_t *none = live_ask(*state, 200, "GET", "/api/v1/batches", NULL);
    assert_int_equal(number_at(none, "total"), 0);
    json_decref(none);
}

// Whom somebody chose by a click, in each video: the worker is told, and it can be looked up.
static void a_face_is_chosen_for_a_video(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    char audio[33], videos[4][33], body[500];
    site_asset(&l->site, "speech.wav", "RIFF", 4, audio);
    for (int i = 0; i < 4; i++) {
        char content[20];
        snprintf(content, sizeof(content), "ftyp face %d", i);
        site_asset(&l->site, "person.mp4", content, strlen(content), videos[i]);
    }
    snprintf(body, sizeof(body),
             "{\"audio\":\"%s\",\"videos\":[\"%s\",{\"id\":\"%s\",\"face_at\":[0.7,0.75]},"
             "{\"id\":\"%s\",\"face_at\":null},{\"id\":\"%s\",\"face_at\":[0.1,1,7321.48]}],"
             "\"options\":{\"face\":\"left\"}}",
             audio, videos[0], videos[1], videos[2], videos[3]);
    json_t *batch = live_ask(l, 201, "POST", "/api/v1/batches", body);
    for (int i = 0; i < 4; i++) {
        struct job_claim c = {0};
        assert_ok(err, job_claim(l->site.store, "w1", 0, &c, &err));
        assert_int_equal(c.batch, number_at(batch, "id"));
        char path[60];
        snprintf(path, sizeof(path), "/api/v1/jobs/%lld", (long long)c.job);
        json_t *job = live_ask(l, 200, "GET", path, NULL);
        assert_string_equal(text_at(job, "video"), videos[i]);
        const json_t *at = json_object_get(job, "face_at");
        if (i == 1 || i == 3) { // as it was given
            static const double given[2][3] = {{0.7, 0.75, -1}, {0.1, 1, 7321.48}};
            assert_int_equal(json_array_size(at), i == 1 ? 2 : 3);
            for (size_t k = 0; k < 3; k++)
                assert_true(c.face_at[k] == given[i / 2][k]);
            for (size_t k = 0; k < json_array_size(at); k++)
                assert_true(json_number_value(json_array_get(at, k)) == given[i / 2][k]);
        } else {
            assert_true(c.face_at[0] < 0);
            assert_true(json_is_null(at));
        }
        json_decref(job);
        job_claim_free(&c);
    }
    json_decref(batch);
}

// Pairs: each job has its own speech, options and name, the others those of the batch.
static void pairs_have_their_own(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    char one[33], two[33], film[33], body[700];
    site_asset(&l->site, "one.wav", "RIFF", 4, one);
    site_asset(&l->site, "two.wav", "RIFG", 4, two);
    site_asset(&l->site, "person.mp4", "ftyp", 4, film);
    snprintf(body, sizeof(body),
             "{\"audio\":\"%s\",\"options\":{\"crf\":20,\"loop\":\"freeze\"},\"jobs\":[{\"video\":"
             "\"%s\"},"
             "{\"audio\":\"%s\",\"video\":\"%s\",\"name\":\"lesson 2.mp4\",\"face_at\":[0.5,0.25],"
             "\"options\":{\"crf\":30,\"loop\":null,\"height\":480}}]}",
             one, film, two, film);
    json_decref(live_ask(l, 200, "POST", "/api/v1/estimate", body));
    json_t *batch = live_ask(l, 201, "POST", "/api/v1/batches", body);
    assert_string_equal(text_at(batch, "name"), "one +1");
    assert_int_equal(number_at(batch, "speeches"), 2);
    static const char *const names[] = {"one.wav", "two.wav"};
    for (int i = 0; i < 2; i++) {
        struct job_claim c = {0};
        assert_ok(err, job_claim(l->site.store, "w1", 0, &c, &err));
        assert_string_equal(c.audio_name, names[i]);
        json_auto_t *options = json_loads(c.options, 0, NULL);
        assert_int_equal(number_at(options, "crf"), i ? 30 : 20);
        assert_int_equal(json_object_get(options, "loop") == NULL, i);
        assert_true(c.face_at[0] == (i ? 0.5 : -1));
        assert_int_equal(strcmp(path_name(c.output_name), "lesson 2.mp4") == 0, i);
        assert_non_null(strstr(c.note, names[i]));
        char path[60];
        snprintf(path, sizeof(path), "/api/v1/jobs/%lld", (long long)c.job);
        json_t *job = live_ask(l, 200, "GET", path, NULL);
        assert_string_equal(text_at(job, "audio"), i ? two : one);
        assert_string_equal(text_at(job, "audio_name"), names[i]);
        assert_int_equal(json_is_null(json_object_get(job, "options")), !i);
        json_decref(job);
        job_claim_free(&c);
    }
    json_decref(batch);
}

// A person is chosen without an upload, and goes from one folder to another as a file.
static void people_are_chosen_and_sent(void **state)
{
    struct live *l = *state;
    char film[33], speech[33], text[400];
    site_asset(&l->site, "anna.mp4", "ftyp anna", 9, film);
    site_asset(&l->site, "speech.wav", "RIFF", 4, speech);
    snprintf(text, sizeof(text),
             "{\"name\":\"安娜\",\"video\":\"%s\",\"options\":{\"crf\":20,\"loop\":\"none\"},"
             "\"face_at\":[0.25,0.5]}",
             film);
    json_t *person = live_ask(l, 201, "POST", "/api/v1/people", text);
    CLEANUP(kb_freep) char *path = kb_printf("/api/v1/people/%s", text_at(person, "id"));
    CLEANUP(kb_freep) char *of_film = kb_printf("/api/v1/assets/%s", film);
    assert_string_equal(text_at(person, "video.name"), "anna.mp4");
    live_refuses(l, 400, "bad_input", "already", "POST", "/api/v1/people", text);
    live_refuses(l, 409, "conflict", "安娜", "DELETE", of_film, NULL);
    live_refuses(l, 400, "bad_input", "'video'", "POST", "/api/v1/people", "{\"name\":\"b\"}");
    live_refuses(l, 400, "bad_input", "face_at", "PATCH", path, "{\"face_at\":[7,0]}");
    json_decref(live_ask(l, 200, "PATCH", path, "{\"name\":\"Anna\"}"));

    snprintf(text, sizeof(text),
             "{\"audio\":\"%s\",\"videos\":[{\"person\":\"%s\"}],\"options\":{\"crf\":30}}", speech,
             text_at(person, "id"));
    json_decref(live_ask(l, 201, "POST", "/api/v1/batches", text));
    struct job_claim c;
    struct kb_error err = {0};
    assert_ok(err, job_claim(l->site.store, "w1", 0, &c, &err));
    assert_true(c.face_at[0] == 0.25 && c.face_at[1] == 0.5);
    assert_non_null(strstr(c.options, "\"crf\":30"));
    assert_non_null(strstr(c.options, "\"loop\":\"none\""));
    job_claim_free(&c);
    live_refuses(l, 404, "not_found", "no such person", "POST", "/api/v1/batches",
                 "{\"audio\":\"x\",\"videos\":[{\"person\":\"x\"}]}");
    live_refuses(l, 400, "bad_input", "'videos'", "POST", "/api/v1/batches",
                 "{\"audio\":\"x\",\"videos\":[{\"person\":\"x\",\"id\":\"x\"}]}");

    // What is sent by GET comes in again as an upload.
    CLEANUP(kb_freep) char *export = kb_printf("%s/export", path);
    CLEANUP(reply_clear) struct reply a = {0};
    site_ask(&l->site, &a, "GET", export, NULL, NULL, 0);
    assert_status(&a, 200);
    assert_non_null(strstr(a.head, "Anna.koubo"));
    char sent[33];
    site_asset(&l->site, "Anna.koubo", a.body, a.size, sent);
    snprintf(text, sizeof(text), "{\"file\":\"%s\"}", sent);
    json_t *again = live_ask(l, 200, "POST", "/api/v1/people", text);
    assert_string_equal(text_at(again, "person.name"), "Anna-2");
    snprintf(text, sizeof(text), "{\"file\":\"%s\"}", film);
    json_t *none = live_ask(l, 200, "POST", "/api/v1/people", text);
    assert_non_null(strstr(text_at(none, "error"), "no person file"));
    json_decref(none);
    json_decref(again);
    live_ask(l, 204, "DELETE", path, NULL);
    live_refuses(l, 404, "not_found", "no such person", "GET", path, NULL);
    json_decref(person);
}

static void options_are_checked(void **state)
{
    char audio[33], video[33], body[300];
    struct live *l = *state;
    site_asset(&l->site, "speech.wav", "RIFF", 4, audio);
    site_asset(&l->site, "person.mp4", "ftyp", 4, video);
    snprintf(body, sizeof(body), "{\"audio\":\"%s\",\"videos\":[\"%s\"],\"options\":{\"crf\":99}}",
             audio, video);
    live_refuses(l, 400, "bad_input", "crf", "POST", "/api/v1/batches", body);
}

static void a_batch_goes_through_its_life(void **state)
{
    struct live *l = *state;
    struct kb_error err = {0};
    int64_t id = make_batch(l, "one", 2), other = make_batch(l, "two", 1);

    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&l->site, &r, "GET", live_path("/api/v1/batches/%lld", id), NULL, NULL, 0);
    assert_status(&r, 200);
    assert_string_equal(reply_value(&r, "Content-Type"), "application/json");

    json_decref(live_ask(l, 200, "POST", live_path("/api/v1/batches/%lld/pause", id), ""));
    json_t *b = live_ask(l, 200, "GET", "/api/v1/batches?state=paused", NULL);
    assert_int_equal(number_at(b, "total"), 1);
    assert_int_equal(number_at(b, "items.0.id"), id);
    json_decref(b);
    b = live_ask(l, 200, "POST", live_path("/api/v1/batches/%lld/resume", id), NULL);
    assert_string_equal(text_at(b, "state"), "active");
    json_decref(b);
    b = live_ask(l, 200, "PATCH", live_path("/api/v1/batches/%lld", id),
                 "{\"name\":\"新名字\",\"priority\":9}");
    assert_string_equal(text_at(b, "name"), "新名字");
    assert_int_equal(number_at(b, "priority"), 9);
    json_decref(b);
    live_refuses(l, 400, "bad_input", "'size'", "PATCH", live_path("/api/v1/batches/%lld", id),
                 "{\"size\":1}");
    live_refuses(l, 400, "bad_input", "'before'", "POST",
                 live_path("/api/v1/batches/%lld/move", id), "{}");
    json_decref(
        live_ask(l, 200, "POST", live_path("/api/v1/batches/%lld/move", other), "{\"before\":-1}"));

    struct job_claim claim = {0};
    assert_ok(err, job_claim(l->site.store, "w1", 0, &claim, &err));
    assert_int_equal(claim.batch, id);
    live_refuses(l, 409, "conflict", "", "DELETE", live_path("/api/v1/batches/%lld", id), NULL);
    live_refuses(l, 409, "conflict", "", "DELETE", live_path("/api/v1/jobs/%lld", claim.job), NULL);
    json_t *jobs = live_ask(l, 200, "GET", "/api/v1/jobs?state=running", NULL);
    assert_int_equal(number_at(jobs, "total"), 1);
    assert_int_equal(number_at(jobs, "items.0.id"), claim.job);
    json_decref(jobs);
    b = live_ask(l, 200, "POST", live_path("/api/v1/batches/%lld/cancel", id), NULL);
    assert_int_equal(number_at(b, "counts.cancelled"), 1);
    json_decref(b);
    struct kb_error why = {.code = KB_CANCELLED, .text = "cancelled"};
    assert_ok(err, job_failed(l->site.store, &claim, &why, &err));

    json_decref(live_ask(l, 200, "POST", live_path("/api/v1/jobs/%lld/retry", claim.job), NULL));
    json_t *job = live_ask(l, 200, "POST", live_path("/api/v1/jobs/%lld/cancel", claim.job), NULL);
    assert_string_equal(text_at(job, "state"), "cancelled");
    json_decref(job);
    live_ask(l, 204, "DELETE", live_path("/api/v1/batches/%lld", id), NULL);
    live_refuses(l, 404, "not_found", "", "GET", live_path("/api/v1/batches/%lld", id), NULL);
    live_refuses(l, 404, "not_found", "", "GET", live_path("/api/v1/jobs/%lld", claim.job), NULL);
    job_claim_free(&claim);
}

static void jobs_move_within_their_batch(void **state)
{
    struct live *l = *state;
    int64_t id = make_batch(l, "three", 3);
    json_t *jobs = live_ask(l, 200, "GET", live_path("/api/v1/jobs?batch=%lld", id), NULL);
    int64_t first = number_at(jobs, "items.0.id"), last = number_at(jobs, "items.2.id");
    json_decref(jobs);
    char body[50];
    snprintf(body, sizeof(body), "{\"before\":%lld}", (long long)first);
    json_decref(live_ask(l, 200, "POST", live_path("/api/v1/jobs/%lld/move", last), body));
    jobs = live_ask(l, 200, "GET", live_path("/api/v1/jobs?batch=%lld", id), NULL);
    assert_int_equal(number_at(jobs, "items.0.id"), last);
    assert_int_equal(number_at(jobs, "items.1.id"), first);
    json_decref(jobs);
}

static void lists_check_their_questions(void **state)
{
    static const struct {
        const char *path, *part;
    } table[] = {
        {"/api/v1/batches?limit=0", "limit"},    {"/api/v1/batches?limit=1001", "limit"},
        {"/api/v1/batches?offset=-1", "offset"}, {"/api/v1/batches?state=old", "active"},
        {"/api/v1/jobs?batch=x", "batch"},       {"/api/v1/jobs?state=old", "queued"},
        {"/api/v1/logs?lines=9999", "lines"},    {"/api/v1/logs?level=loud", "error, warn"},
        {"/api/v1/logs?after=-5", "after"},      {"/api/v1/logs?job=x", "job"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        live_refuses(*state, 400, "bad_input", table[i].part, "GET", table[i].path, NULL);
    live_refuses(*state, 404, "not_found", "", "GET", "/api/v1/batches/99999999999999999999", NULL);
    live_refuses(*state, 400, "bad_input", "address", "GET", "/api/v1/jobs/..%2f1", NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

int main(void)
{
    unsetenv("http_proxy");
    const struct CMUnitTest tests[] = {
        TEST(bad_bodies_are_refused_by_name),
        TEST(a_face_is_chosen_for_a_video),
        TEST(pairs_have_their_own),
        TEST(people_are_chosen_and_sent),
        TEST(options_are_checked),
        TEST(a_batch_goes_through_its_life),
        TEST(jobs_move_within_their_batch),
        TEST(lists_check_their_questions),
    };
    return cmocka_run_group_tests_name("server/batches", tests, NULL, NULL);
}
