// Results over HTTP, and zips of them read back with a reader that knows nothing of ours.
#include "tests/server/site.h"

#include "base/file.h"
#include "queue/result.h"
#include "server/api/zip.h"
#include "store/names.h"
#include "store/sql.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <locale.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct route *const tables[] = {api_results_routes, NULL};

static int start(void **state)
{
    site_begin(tables);
    return 0;
}

static const char *result_path(int64_t job, const char *tail)
{
    static char path[100];
    snprintf(path, sizeof(path), "/api/v1/results/%lld%s", (long long)job, tail);
    return path;
}

// What a result of site_result() is called today, with that tail; one of a few static buffers.
static const char *dated(const char *folder, const char *film, const char *tail)
{
    static char names[8][200];
    static int next;
    char *name = names[next++ % 8];
    CLEANUP(kb_freep) char *stem = shelf_stem(film, "speech", kb_wall_ms());
    snprintf(name, sizeof(names[0]), "%s%s%s", folder, stem, tail);
    return name;
}

// Do the bytes look like those of site_result()?
static void assert_bytes(const char *data, size_t n, int64_t job)
{
    for (size_t i = 0; i < n; i++)
        if (data[i] != (char)((int64_t)i * 7 + job))
            fail_msg("byte %zu of job %lld differs", i, (long long)job);
}

// --- one by one

static void test_show(void **state)
{
    int64_t job = site_result(&site, "批次", "主播 一号.mov", 5000);
    ASK(list, "GET", "/api/v1/results?search=%E4%B8%BB", NULL, NULL, 0);
    assert_status(&list, 200);
    json_auto_t *page = reply_object(&list);
    assert_int_equal(json_integer_value(json_object_get(page, "total")), 1);
    ASK(one, "GET", result_path(job, ""), NULL, NULL, 0);
    assert_status(&one, 200);
    json_auto_t *result = reply_object(&one);
    assert_int_equal(json_integer_value(json_object_get(result, "job")), job);
    assert_int_equal(json_integer_value(json_object_get(result, "size")), 5000);
    assert_string_equal(json_string_value(json_object_get(result, "name")),
                        dated("", "主播 一号", ".mp4"));
    assert_true(json_equal(result, json_array_get(json_object_get(page, "items"), 0)));

    ASK(video, "GET", result_path(job, "/video"), NULL, NULL, 0);
    assert_status(&video, 200);
    assert_string_equal(reply_value(&video, "Content-Type"), "video/mp4");
    assert_int_equal(video.size, 5000);
    assert_bytes(video.body, video.size, job);
    ASK(part, "GET", result_path(job, "/video"), "Range: bytes=4990-\r\n", NULL, 0);
    assert_status(&part, 206);
    assert_int_equal(part.size, 10);
    CLEANUP(kb_freep) char *tag = kb_printf("If-None-Match: %s\r\n", reply_value(&video, "ETag"));
    ASK(same, "GET", result_path(job, "/video"), tag, NULL, 0);
    assert_status(&same, 304);

    ASK(download, "GET", result_path(job, "/download"), NULL, NULL, 0);
    assert_status(&download, 200);
    const char *disposition = reply_value(&download, "Content-Disposition");
    assert_memory_equal(disposition, "attachment", 10);
    assert_non_null(
        strstr(disposition, "filename*=UTF-8''%E4%B8%BB%E6%92%AD%20%E4%B8%80%E5%8F%B7_speech_20"));
    for (const char *c = disposition; *c; c++)
        assert_in_range(*c, 0x20, 0x7e);
    ASK(picture, "GET", result_path(job, "/thumbnail"), NULL, NULL, 0);
    assert_status(&picture, 404); // none was made
}

static void test_delete(void **state)
{
    int64_t jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = site_result(&site, "b", "v.mp4", 100);
    ASK(one, "DELETE", result_path(jobs[0], ""), NULL, NULL, 0);
    assert_status(&one, 204);
    ASK(again, "DELETE", result_path(jobs[0], ""), NULL, NULL, 0);
    assert_status(&again, 404);
    ASK(gone, "GET", result_path(jobs[0], ""), NULL, NULL, 0);
    assert_status(&gone, 404);
    ASK(video, "GET", result_path(jobs[0], "/video"), NULL, NULL, 0);
    assert_status(&video, 404);

    char body[100];
    snprintf(body, sizeof(body), "{\"jobs\":[%lld,%lld,%lld,999999]}", (long long)jobs[0],
             (long long)jobs[1], (long long)jobs[2]);
    ASK(many, "POST", "/api/v1/results/delete", "Content-Type: application/json\r\n", body,
        strlen(body));
    assert_status(&many, 200);
    assert_string_equal(many.body, "{\"deleted\":2}");
    ASK(list, "GET", "/api/v1/results", NULL, NULL, 0);
    json_auto_t *page = reply_object(&list);
    assert_int_equal(json_integer_value(json_object_get(page, "total")), 1);
    assert_int_equal(site_count_files(&site, "results"), 1);
}

// What cannot be removed is told by the status while that is not sent, else by the end of the
// answer.
static void test_delete_fails(void **state)
{
    struct kb_error err = {0};
    int64_t jobs[3];
    char body[100];
    for (int i = 0; i < 3; i++)
        jobs[i] = site_result(&site, "batch", "person.mp4", 10);
    assert_ok(err, store_exec(site.store, NULL, &err,
                              "CREATE TRIGGER stuck BEFORE UPDATE OF result ON job"
                              " WHEN old.id = (SELECT max(id) FROM job) BEGIN"
                              " SELECT RAISE(ABORT, 'not now'); END",
                              ""));
    snprintf(body, sizeof(body), "{\"jobs\":[%lld,%lld]}", (long long)jobs[2], (long long)jobs[0]);
    ASK(first, "POST", "/api/v1/results/delete", "Content-Type: application/json\r\n", body,
        strlen(body));
    assert_int_equal(first.status, 500);
    assert_int_equal(site_count_files(&site, "results"), 3);
    snprintf(body, sizeof(body), "{\"jobs\":[%lld,%lld,%lld]}", (long long)jobs[0],
             (long long)jobs[1], (long long)jobs[2]);
    ASK(last, "POST", "/api/v1/results/delete", "Content-Type: application/json\r\n", body,
        strlen(body));
    assert_false(last.whole);
    assert_int_equal(site_count_files(&site, "results"), 1);
    assert_ok(err, store_exec(site.store, NULL, &err, "DROP TRIGGER stuck", ""));
    ASK(again, "POST", "/api/v1/results/delete", "Content-Type: application/json\r\n", body,
        strlen(body));
    assert_status(&again, 200);
    assert_string_equal(again.body, "{\"deleted\":1}");
}

static void test_refusals(void **state)
{
    static const struct {
        const char *method, *path, *body;
        int status;
    } cases[] = {
        {"GET", "/api/v1/results?limit=0x", NULL, 400},
        {"GET", "/api/v1/results?batch=-1", NULL, 400},
        {"GET", "/api/v1/results?sort=colour", NULL, 400},
        {"GET", "/api/v1/results/ids?order=up", NULL, 400},
        {"GET", "/api/v1/results/zip?since=x", NULL, 400},
        {"GET", "/api/v1/results/9", NULL, 404},
        {"GET", "/api/v1/results/x", NULL, 404},
        {"GET", "/api/v1/results/../../koubo.db", NULL, 400},
        {"GET", "/api/v1/results/%2e%2e%2fkoubo.db/video", NULL, 400},
        {"GET", "/api/v1/results/zip", NULL, 404},
        {"GET", "/api/v1/results/zip?batch=7", NULL, 404},
        {"GET", "/api/v1/results/zip?jobs=7", NULL, 404},
        {"GET", "/api/v1/results/zip?jobs=", NULL, 400},
        {"GET", "/api/v1/results/zip?jobs=1,", NULL, 400},
        {"GET", "/api/v1/results/zip?jobs=1,,2", NULL, 400},
        {"GET", "/api/v1/results/zip?jobs=-1", NULL, 400},
        {"GET", "/api/v1/results/zip?jobs=99999999999999999999", NULL, 400},
        {"POST", "/api/v1/results/zip", "{\"jobs\":[]}", 400},
        {"POST", "/api/v1/results/zip", "{\"jobs\":[7]}", 404},
        {"POST", "/api/v1/results/zip", "{\"jobs\":[\"7\"]}", 400},
        {"POST", "/api/v1/results/zip", "{\"jobs\":7}", 400},
        {"POST", "/api/v1/results/delete", "{}", 400},
        {"POST", "/api/v1/results/delete", "{\"jobs\":[0]}", 400},
        {"POST", "/api/v1/results/delete", "{\"job\":[1]}", 400},
        {"POST", "/api/v1/results/delete", "[", 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ASK(r, cases[i].method, cases[i].path,
            cases[i].body ? "Content-Type: application/json\r\n" : NULL, cases[i].body,
            cases[i].body ? strlen(cases[i].body) : 0);
        if (r.status != cases[i].status)
            fail_msg("%s %s %s: %d %s", cases[i].method, cases[i].path,
                     cases[i].body ? cases[i].body : "", r.status, r.body);
    }
}

static void rename_to(int64_t job, const char *name, int status, const char *wanted)
{
    CLEANUP(kb_freep) char *body = kb_printf("{\"name\":\"%s\"}", name);
    ASK(r, "PATCH", result_path(job, ""), "Content-Type: application/json\r\n", body, strlen(body));
    assert_status(&r, status);
    if (status != 200)
        return;
    struct kb_error err = {0};
    CLEANUP(result_free) struct result result = {0};
    json_auto_t *json = reply_object(&r);
    assert_string_equal(json_string_value(json_object_get(json, "name")), wanted);
    assert_ok(err, result_find(site.store, job, &result, &err));
    assert_string_equal(path_name(result.path), wanted); // on the disk, too
    ASK(video, "GET", result_path(job, "/download"), NULL, NULL, 0);
    assert_status(&video, 200);
    assert_bytes(video.body, video.size, job);
}

static void test_rename(void **state)
{
    int64_t job = site_result(&site, "b", "v.mp4", 100),
            other = site_result(&site, "c", "v.mp4", 99);
    rename_to(job, "给 妈妈", 200, "给 妈妈.mp4");
    rename_to(job, "给 妈妈.MP4", 200, "给 妈妈.mp4"); // as it is
    rename_to(job, "a/b:c?.mov", 200, "a_b_c_.mov.mp4");
    rename_to(job, "con", 200, "_con.mp4");
    rename_to(other, "con", 200, "_con.mp4"); // of another batch
    rename_to(job, "..", 400, NULL);
    rename_to(job, "", 400, NULL);
    rename_to(999, "x", 404, NULL);
    assert_int_equal(site_count_files(&site, "results"), 2);     // two folders…
    assert_int_equal(site_count_files(&site, "results/1_b"), 1); // …and no old name
}

// --- zip

// Read the zip with libarchive; each entry must be one of names (NULL-terminated, in any order) and
// hold what its job left.
static void check_zip(const struct reply *r, const char *const *names, const int64_t *jobs,
                      size_t size)
{
    assert_status(r, 200);
    assert_true(r->whole);
    struct archive *a = archive_read_new();
    archive_read_support_format_zip_seekable(a); // by its directory, as unzip does
    archive_read_set_options(a, "zip:hdrcharset=UTF-8");
    assert_int_equal(archive_read_open_memory(a, r->body, r->size), ARCHIVE_OK);
    struct archive_entry *entry;
    char *data = malloc(size + 1);
    int n = 0, n_wanted = 0;
    while (names[n_wanted])
        n_wanted++;
    while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname_utf8(entry);
        int i = 0;
        while (names[i] && strcmp(names[i], name) != 0)
            i++;
        if (!names[i])
            fail_msg("'%s' should not be in the zip", name);
        assert_int_equal(archive_entry_size(entry), size);
        assert_int_equal(archive_read_data(a, data, size + 1), size);
        assert_bytes(data, size, jobs[i]);
        n++;
    }
    assert_int_equal(n, n_wanted);
    assert_int_equal(archive_read_free(a), ARCHIVE_OK);
    free(data);
}

static void test_zip(void **state)
{
    enum { SIZE = 200000 };
    int64_t jobs[4] = {
        site_result(&site, "第一批", "主播.mov", SIZE),
        site_result(&site, "a/b\\..", "主播.mp4", SIZE),
        site_result(&site, "A/B\\..", "主播.mp4", SIZE), // the same folder for Windows
        site_result(&site, "第一批", "x.mp4", SIZE),
    };
    ASK(all, "GET", "/api/v1/results/zip", NULL, NULL, 0);
    // newest first: the third is there before the second
    const char *const names[] = {dated("第一批/", "主播", ".mp4"), dated("a_b_/", "主播", "-2.mp4"),
                                 dated("A_B_/", "主播", ".mp4"), dated("第一批/", "x", ".mp4"),
                                 NULL};
    check_zip(&all, names, jobs, SIZE);
    assert_string_equal(reply_value(&all, "Content-Type"), "application/zip");
    const char *disposition = reply_value(&all, "Content-Disposition");
    assert_memory_equal(disposition, "attachment; filename=\"koubo-20", 30);
    assert_non_null(strstr(disposition, ".zip\""));

    char path[100], body[100];
    snprintf(path, sizeof(path), "/api/v1/results/zip?jobs=%lld", (long long)jobs[0]);
    ASK(one, "GET", path, NULL, NULL, 0);
    check_zip(&one, (const char *const[]){dated("", "主播", ".mp4"), NULL}, jobs, SIZE);
    snprintf(body, sizeof(body), "{\"jobs\":[%lld,%lld]}", (long long)jobs[0], (long long)jobs[3]);
    ASK(two, "POST", "/api/v1/results/zip", "Content-Type: application/json\r\n", body,
        strlen(body));
    check_zip(&two,
              (const char *const[]){dated("第一批/", "主播", ".mp4"), dated("第一批/", "x", ".mp4"),
                                    NULL},
              (int64_t[]){jobs[0], jobs[3]}, SIZE);
    ASK(found, "GET", "/api/v1/results/zip?search=x.mp4", NULL, NULL, 0);
    check_zip(&found, (const char *const[]){dated("", "x", ".mp4"), NULL}, &jobs[3], SIZE);
}

static char *read_zip(struct zip_stream *z, size_t limit, size_t *ret_size, int64_t *ret_end)
{
    struct text t = {0};
    char buffer[10000];
    int64_t n = 0;
    while (t.size < limit && (n = zip_stream_read(z, buffer, sizeof(buffer))) > 0)
        text_add_bytes(&t, buffer, (size_t)n);
    *ret_size = t.size;
    *ret_end = n;
    return t.data;
}

static void test_zip_names(void **state)
{
    static const struct {
        const char *folder, *name, *wanted;
    } cases[] = {
        {NULL, "a.mp4", "a.mp4"},
        {NULL, "a.mp4", "a-2.mp4"},
        {NULL, "A.MP4", "A-3.MP4"},
        {NULL, "a-2.mp4", "a-2-2.mp4"},
        {NULL, "../../etc/passwd", "_.._etc_passwd"},
        {NULL, "..", "_"},
        {NULL, "", "_-2"},
        {NULL, "a:b?c\n.mp4", "a_b_c_.mp4"},
        {NULL, ".hidden", "hidden"},
        {NULL, ".hidden", "hidden-2"},
        {NULL, "con.mp4", "_con.mp4"},
        {"..", "x", "_/x"},
        {"C:\\dir ", "新. .", "C__dir/新"},
        {"b.c", "x", "b.c/x"},
        {"b.c", "x", "b.c/x-2"},
    };
    int64_t job = site_result(&site, "b", "v.mp4", 10);
    struct zip_stream *z = zip_stream_create(site.folder, site.server.pool, "gone:");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        zip_stream_add(z, job, cases[i].folder, cases[i].name);
    size_t size;
    int64_t end;
    setlocale(LC_ALL, "C"); // names do not depend on it
    CLEANUP(kb_freep) char *data = read_zip(z, SIZE_MAX, &size, &end);
    zip_stream_free(z);
    setlocale(LC_ALL, "C.UTF-8");
    assert_int_equal(end, -1);
    const char *at = data;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) { // local headers are in order
        at = memmem(at, size - (size_t)(at - data), "PK\3\4", 4);
        assert_non_null(at);
        size_t n = strlen(cases[i].wanted);
        assert_int_equal((uint8_t)at[26] | (uint8_t)at[27] << 8, n);
        if (memcmp(at + 30, cases[i].wanted, n) != 0)
            fail_msg("'%.*s', wanted '%s'", (int)n, at + 30, cases[i].wanted);
        bool ascii = strspn(cases[i].wanted, "新") == 0 && !strstr(cases[i].wanted, "新");
        if (!ascii)
            assert_true(at[7] & 8); // bit 11: the name is UTF-8
        at += 30;
    }
}

static void cut_result(int64_t job)
{
    struct kb_error err = {0};
    CLEANUP(result_free) struct result result = {0};
    assert_ok(err, result_find(site.store, job, &result, &err));
    assert_int_equal(truncate(result.path, 10), 0);
}

// Ten thousand of one name, among names that look like theirs.
static void test_zip_equal_names(void **state)
{
    struct zip_stream *z = zip_stream_create(site.folder, site.server.pool, "gone:");
    for (int i = 2; i < 5000; i++) {
        char name[40];
        snprintf(name, sizeof(name), "a-%d.mp4", i);
        zip_stream_add(z, i, NULL, name);
    }
    int64_t begin = kb_now_us();
    for (int i = 0; i < 10000; i++)
        zip_stream_add(z, i, NULL, i % 2 ? "a.mp4" : "A.mp4");
    zip_stream_free(z);
    if (kb_now_us() - begin > 3000000) // a hundred million tries would take longer
        fail_msg("%lld ms", (long long)(kb_now_us() - begin) / 1000);
}

// Four zips at once for one client.
static void test_zip_many(void **state)
{
    int64_t job = site_result(&site, "b", "v.mp4", 64 << 20);
    int fds[ZIPS_EACH];
    char path[80], some[1000];
    snprintf(path, sizeof(path), "/api/v1/results/zip?jobs=%lld", (long long)job);
    for (int i = 0; i < ZIPS_EACH; i++) {
        fds[i] = site_connect(&site);
        site_sendf(fds[i], "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, site.port);
        assert_true(read(fds[i], some, sizeof(some)) > 0);
    }
    ASK(refused, "GET", path, NULL, NULL, 0);
    assert_status(&refused, 429);
    ASK(none, "GET", "/api/v1/results/zip?jobs=7777", NULL, NULL, 0);
    assert_status(&none, 404); // takes no place
    close(fds[0]);
    int status = 0;
    for (int i = 0; i < 500 && status != 200; i++) {
        usleep(10000);
        CLEANUP(reply_clear) struct reply r = {0};
        site_ask(&site, &r, "HEAD", path, NULL, NULL, 0);
        status = r.status;
    }
    assert_int_equal(status, 200);
    for (int i = 1; i < ZIPS_EACH; i++)
        close(fds[i]);
}

// A file that becomes shorter while it is packed: the zip does not end well.
static void test_zip_broken(void **state)
{
    int64_t first = site_result(&site, "b", "v.mp4", 300000);
    struct zip_stream *z = zip_stream_create(site.folder, site.server.pool, "gone:");
    zip_stream_add(z, first, NULL, "v");
    size_t size;
    int64_t end;
    CLEANUP(kb_freep) char *some = read_zip(z, 100000, &size, &end);
    assert_true(end > 0);
    cut_result(first);
    CLEANUP(kb_freep) char *rest = read_zip(z, SIZE_MAX, &size, &end);
    assert_int_equal(end, -2);
    assert_int_equal(zip_stream_read(z, some, 1), -2); // and stays so
    zip_stream_free(z);

    // The same over HTTP: what arrives is not whole.
    int64_t second = site_result(&site, "c", "w.mp4", 64 << 20);
    int fd = site_connect(&site);
    site_sendf(fd,
               "GET /api/v1/results/zip?jobs=%lld HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
               "Connection: close\r\n\r\n",
               (long long)second, site.port);
    char some_of_it[4096]; // more than the answer's head: the video has begun
    assert_int_equal(recv(fd, some_of_it, sizeof(some_of_it), MSG_PEEK | MSG_WAITALL),
                     sizeof(some_of_it));
    cut_result(second);
    CLEANUP(reply_clear) struct reply r = {0};
    site_receive(fd, &r, "GET");
    assert_false(r.whole);
}

// A result that is gone is left out, and the zip says so.
static void test_zip_missing(void **state)
{
    struct kb_error err = {0};
    int64_t jobs[3];
    for (int i = 0; i < 3; i++)
        jobs[i] = site_result(&site, "b", (const char *[]){"u.mp4", "v.mp4", "w.mp4"}[i], 1000);
    CLEANUP(result_free) struct result lost = {0};
    assert_ok(err, result_find(site.store, jobs[1], &lost, &err));
    assert_int_equal(unlink(lost.path), 0); // by somebody else
    assert_ok(err, result_delete(site.store, jobs[2], &err));
    char path[100];
    snprintf(path, sizeof(path), "/api/v1/results/zip?jobs=%lld,%lld,%lld", (long long)jobs[0],
             (long long)jobs[1], (long long)jobs[2]);
    ASK(r, "GET", path, NULL, NULL, 0);
    assert_status(&r, 200);
    assert_true(r.whole);
    struct archive *a = archive_read_new();
    struct archive_entry *entry;
    char text[1000] = "";
    archive_read_support_format_zip_seekable(a);
    assert_int_equal(archive_read_open_memory(a, r.body, r.size), ARCHIVE_OK);
    assert_int_equal(archive_read_next_header(a, &entry), ARCHIVE_OK);
    assert_int_equal(archive_entry_size(entry), 1000);
    assert_int_equal(archive_read_next_header(a, &entry), ARCHIVE_OK);
    assert_string_equal(archive_entry_pathname(entry), "MISSING.txt");
    assert_true(archive_read_data(a, text, sizeof(text) - 1) > 0);
    assert_non_null(strstr(text, "their files are gone:\r\n"));
    assert_non_null(strstr(text, lost.name));
    CLEANUP(kb_freep) char *deleted = kb_printf("job %lld has no result", (long long)jobs[2]);
    assert_non_null(strstr(text, deleted));
    assert_int_equal(archive_read_next_header(a, &entry), ARCHIVE_EOF);
    archive_read_free(a);
}

// --- which, and in which order

static void assert_chosen(const char *query, const char *wanted)
{
    CLEANUP(kb_freep) char *ids = kb_printf("/api/v1/results/ids%s", query);
    CLEANUP(kb_freep) char *list = kb_printf("/api/v1/results%s", query);
    CLEANUP(kb_freep) char *zip = kb_printf("/api/v1/results/zip%s", query);
    CLEANUP(kb_freep) char *body = kb_printf("{\"jobs\":[%s]}", wanted);
    CLEANUP(text_free) struct text listed = {0};
    ASK(all, "GET", ids, NULL, NULL, 0);
    assert_status(&all, 200);
    if (strcmp(all.body, body) != 0)
        fail_msg("%s: %s, wanted %s", query, all.body, body);
    ASK(page, "GET", list, NULL, NULL, 0);
    assert_status(&page, 200);
    json_auto_t *json = reply_object(&page);
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(json, "items"), i, item)
        text_addf(&listed, "%s%lld", i ? "," : "",
                  (long long)json_integer_value(json_object_get(item, "job")));
    assert_string_equal(text_get(&listed), wanted);
    assert_int_equal(json_integer_value(json_object_get(json, "total")), i);
    ASK(packed, "GET", zip, NULL, NULL, 0);
    assert_status(&packed, *wanted ? 200 : 404);
    int n = 0;
    for (char *at = packed.body;
         *wanted && (at = memmem(at, packed.size - (size_t)(at - packed.body), "PK\1\2", 4));
         at += 4)
        n++;
    assert_int_equal(n, *wanted ? i : 0);
}

static void test_chosen(void **state)
{
    struct kb_error err = {0};
    static const char *const names[] = {"Anna.mp4", "berta.mp4", "Carl.mp4"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(site_result(&site, i ? "second" : "first", names[i], 300 - 100 * i),
                         i + 1);
    assert_ok(err, store_exec(site.store, NULL, &err,
                              "UPDATE job SET ended_ms = id * 1000, result_ms = 10 - id % 2", ""));
    static const struct {
        const char *query, *wanted;
    } cases[] = {
        {"", "3,2,1"},
        {"?order=asc", "1,2,3"},
        {"?sort=name", "3,2,1"},
        {"?sort=name&order=asc", "1,2,3"},
        {"?sort=size", "1,2,3"},
        {"?sort=size&order=asc", "3,2,1"},
        {"?sort=duration", "2,3,1"},
        {"?sort=created&order=desc", "3,2,1"},
        {"?since=2000", "3,2"},
        {"?until=2000", "1"},
        {"?since=2000&until=3000", "2"},
        {"?since=9000", ""},
        {"?search=BERTA", "2"},
        {"?search=second&order=asc", "2,3"},
        {"?batch=1", "1"},
        {"?batch=2&search=anna", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_chosen(cases[i].query, cases[i].wanted);
}

// What it was made of can be used again, until it is deleted.
static void test_source(void **state)
{
    struct kb_error err = {0};
    int64_t job = site_result(&site, "b", "v.mp4", 10);
    for (int deleted = 0; deleted < 2; deleted++) {
        ASK(r, "GET", result_path(job, ""), NULL, NULL, 0);
        json_auto_t *result = reply_object(&r);
        json_t *source = json_object_get(result, "source");
        assert_int_equal(json_is_null(json_object_get(source, "video")), deleted);
        assert_true(json_is_string(json_object_get(source, "audio")));
        assert_ok(err, store_exec(site.store, NULL, &err,
                                  "DELETE FROM asset WHERE id IN (SELECT video FROM job)", ""));
    }
}

static int count_open_files(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static bool files_closed(void *before)
{
    return count_open_files() <= *(int *)before;
}

// Whoever walks away from a large download leaves nothing open.
static void test_zip_cancelled(void **state)
{
    int64_t job = site_result(&site, "b", "v.mp4", 64 << 20);
    ASK(list, "GET", "/api/v1/results", NULL, NULL, 0); // the server has its connections now
    int before = count_open_files();
    for (int i = 0; i < 3; i++) {
        int fd = site_connect(&site);
        site_sendf(fd, "GET /api/v1/results/zip?jobs=%lld HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
                   (long long)job, site.port);
        char some[1000];
        assert_true(read(fd, some, sizeof(some)) > 0);
        close(fd);
    }
    before += 4; // connections to the store that other network threads may have opened
    assert_true(site_wait(files_closed, &before));
}

// More than 4 GiB: offsets and sizes of 64 bits. The file is a hole, so only its sum takes time.
static void test_zip64(void **state)
{
    int64_t large = site_result(&site, "b", "large.mp4", (4LL << 30) + 10);
    int64_t small = site_result(&site, "b", "small.mp4", 1000);
    struct zip_stream *z = zip_stream_create(site.folder, site.server.pool, "gone:");
    zip_stream_add(z, large, NULL, "large.mp4");
    zip_stream_add(z, small, NULL, "small.mp4");
    char *buffer = malloc(1 << 20), tail[4096];
    size_t n_tail = 0;
    int64_t n, total = 0;
    while ((n = zip_stream_read(z, buffer, 1 << 20)) > 0) {
        total += n;
        size_t keep = KB_MIN((size_t)n, sizeof(tail)), old = KB_MIN(n_tail, sizeof(tail) - keep);
        memmove(tail, tail + n_tail - old, old);
        memcpy(tail + old, buffer + n - keep, keep);
        n_tail = old + keep;
    }
    free(buffer);
    zip_stream_free(z);
    assert_int_equal(n, -1);
    assert_true(total > (4LL << 30) + 1010);
    assert_non_null(memmem(tail, n_tail, "PK\6\6", 4)); // the end of a ZIP64 directory
    const char *entry = memmem(tail, n_tail, "PK\1\2", 4);
    const char *second = memmem(entry + 4, n_tail - (size_t)(entry + 4 - tail), "PK\1\2", 4);
    assert_memory_equal(second + 46, "small.mp4", 9);
    // Its offset, beyond 32 bits, is in the extra field 1.
    assert_memory_equal(second + 42, "\xff\xff\xff\xff", 4);
    const char *extra = memmem(second + 55, 60, "\1\0", 2);
    int64_t offset = 0;
    assert_non_null(extra);
    uint16_t n_extra;
    memcpy(&n_extra, extra + 2, 2);
    memcpy(&offset, extra + 4 + n_extra - 8, 8);
    assert_in_range(offset, (4LL << 30) + 10, (4LL << 30) + 400);
}

// Transparent ones are sent as what they are, and keep their ending.
static void test_types(void **state)
{
    static const char *const types[][2] = {{".webm", "video/webm"}, {".mov", "video/quicktime"}};
    struct kb_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        int64_t job = site_result(&site, "b", "v.mp4", 1000);
        CLEANUP(result_free) struct result was = {0};
        assert_ok(err, result_find(site.store, job, &was, &err));
        CLEANUP(kb_freep) char *path = result_beside(was.path, types[i][0]);
        CLEANUP(kb_freep) char *name = result_beside(strchr(was.file, '/') + 1, types[i][0]);
        assert_int_equal(rename(was.path, path), 0);
        assert_ok(err, store_exec(site.store, NULL, &err,
                                  "UPDATE job SET result = ?, result_name = ? WHERE id = ?", "tti",
                                  name, path_name(name), job));
        ASK(video, "GET", result_path(job, "/video"), NULL, NULL, 0);
        assert_status(&video, 200);
        assert_string_equal(reply_value(&video, "Content-Type"), types[i][1]);
        ASK(renamed, "PATCH", result_path(job, ""), "Content-Type: application/json\r\n",
            "{\"name\":\"neu.mp4\"}", 18);
        assert_status(&renamed, 200);
        ASK(download, "GET", result_path(job, "/download"), NULL, NULL, 0);
        assert_status(&download, 200);
        assert_int_equal(download.size, 1000);
        assert_string_equal(reply_value(&download, "Content-Type"), types[i][1]);
        CLEANUP(kb_freep) char *wanted = kb_printf("neu%s", types[i][0]);
        assert_non_null(strstr(reply_value(&download, "Content-Disposition"), wanted));
        ASK(gone, "DELETE", result_path(job, ""), NULL, NULL, 0);
        assert_status(&gone, 204);
        CLEANUP(kb_freep) char *folder = path_folder(path);
        assert_false(file_exists(folder)); // nothing of it is left
    }
}

// Links are not followed, whether a worker made them or its rows lead out.
static void test_links(void **state)
{
    static const char *const asked[] = {"/video", "/download", "/thumbnail"};
    struct kb_error err = {0};
    int64_t jobs[3];
    for (int i = 0; i < 3; i++)
        jobs[i] = site_result(&site, "b", (const char *[]){"u.mp4", "v.mp4", "w.mp4"}[i], 1000);
    CLEANUP(result_free) struct result linked = {0};
    assert_ok(err, result_find(site.store, jobs[0], &linked, &err));
    CLEANUP(kb_freep) char *picture = result_beside(linked.path, ".jpg");
    assert_int_equal(unlink(linked.path), 0);
    assert_int_equal(symlink("/etc/passwd", linked.path), 0);
    assert_int_equal(symlink("/etc/passwd", picture), 0);
    assert_ok(err, store_exec(site.store, NULL, &err,
                              "UPDATE job SET result_thumb = 1, result = iif(id = ?, result,"
                              " '../koubo.db') WHERE id <> ?",
                              "ii", jobs[0], jobs[2]));
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < ARRAY_LEN(asked); k++) {
            ASK(r, "GET", result_path(jobs[i], asked[k]), NULL, NULL, 0);
            assert_status(&r, 404);
            assert_non_null(strstr(r.body, "not there any more"));
        }
    }
    char path[100];
    snprintf(path, sizeof(path), "/api/v1/results/zip?jobs=%lld,%lld,%lld", (long long)jobs[0],
             (long long)jobs[1], (long long)jobs[2]);
    ASK(zip, "GET", path, NULL, NULL, 0);
    assert_status(&zip, 200);
    assert_true(zip.whole);
    assert_null(memmem(zip.body, zip.size, "root:", 5));
    assert_null(memmem(zip.body, zip.size, "SQLite format", 13));
    assert_non_null(memmem(zip.body, zip.size, "MISSING.txt", 11));
}

// A file that cannot be read now is not gone: nobody is told so, and no zip is made without it.
static void test_unreadable(void **state)
{
    struct kb_error err = {0};
    int64_t job = site_result(&site, "b", "u.mp4", 1000);
    CLEANUP(result_free) struct result result = {0};
    assert_ok(err, result_find(site.store, job, &result, &err));
    assert_int_equal(geteuid() == 0 ? chown(result.path, 12345, 12345) : chmod(result.path, 0), 0);
    ASK(r, "GET", result_path(job, "/video"), NULL, NULL, 0);
    assert_status(&r, 500);
    assert_non_null(strstr(r.body, "cannot be read"));
    struct zip_stream *z = zip_stream_create(site.folder, site.server.pool, "gone:");
    zip_stream_add(z, job, NULL, "u");
    size_t size;
    int64_t end;
    CLEANUP(kb_freep) char *none = read_zip(z, SIZE_MAX, &size, &end);
    assert_int_equal(end, -2);
    zip_stream_free(z);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, site_end)

int main(void)
{
    setlocale(LC_ALL, "C.UTF-8"); // for the reader of zips
    const struct CMUnitTest tests[] = {
        TEST(test_show),         TEST(test_delete),        TEST(test_refusals),
        TEST(test_delete_fails), TEST(test_unreadable),    TEST(test_zip),
        TEST(test_zip_names),    TEST(test_zip_broken),    TEST(test_zip_equal_names),
        TEST(test_zip_many),     TEST(test_zip_cancelled), TEST(test_zip_missing),
        TEST(test_chosen),       TEST(test_source),        TEST(test_rename),
        TEST(test_links),        TEST(test_types),
    };
    const struct CMUnitTest slow[] = {TEST(test_zip64)}; // reads 4 GiB, 10 s
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return getenv("KOUBO_SLOW_TESTS") ? failed + cmocka_run_group_tests(slow, NULL, NULL) : failed;
}
