// Errors, files, the queue between threads.
#include "tests/test.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/cancel.h"
#include "base/file.h"
#include "base/queue.h"
#include "base/text.h"

static void test_errors_are_sentences(void **state)
{
    struct kb_error err = {0};
    assert_int_equal(kb_fail(&err, KB_BAD_INPUT, "no %s", "face"), KB_BAD_INPUT);
    assert_int_equal(kb_wrap(&err, "video '%s'", "a.mp4"), KB_BAD_INPUT);
    assert_string_equal(err.text, "video 'a.mp4': no face");
    assert_int_equal(kb_fail(NULL, KB_NO_SPACE, "x"), KB_NO_SPACE);

    char deep[2 * sizeof(err.text)];
    memset(deep, 'x', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    kb_wrap(&err, "%s", deep); // cut, never overrun
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void test_cache(void **state)
{
    char folder[] = "/tmp/koubo-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    static const char *const names[] = {"a.kbt", "b.kbt", "c.kbt", "d.txt"};
    char paths[4][64];
    struct kb_error err = {0};
    for (int i = 0; i < 4; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, names[i]);
        assert_ok(err, file_write_atomic(paths[i], "0123456789", 10, &err));
        struct timespec times[2] = {{1000 + i, 0}, {1000 + i, 0}};
        assert_int_equal(utimensat(AT_FDCWD, paths[i], times, 0), 0);
    }
    cache_touch(paths[0]); // now b is the oldest
    cache_trim(folder, ".kbt", 30);
    for (int i = 0; i < 4; i++)
        assert_true(file_exists(paths[i]));
    cache_trim(folder, ".kbt", 29);
    assert_false(file_exists(paths[1]));
    assert_true(file_exists(paths[0]) && file_exists(paths[2]));
    cache_trim(folder, ".kbt", 0); // the last used stays
    assert_true(file_exists(paths[0]) && !file_exists(paths[2]) && file_exists(paths[3]));
    cache_trim("/nonexistent", ".kbt", 0);
    unlink(paths[0]);
    unlink(paths[3]);
    rmdir(folder);

    setenv("KOUBO_CACHE_MB", "3", 1);
    assert_int_equal(cache_limit(), 3 << 20);
    setenv("KOUBO_CACHE_MB", "lots", 1);
    assert_int_equal(cache_limit(), 1 << 30);
    unsetenv("KOUBO_CACHE_MB");
    setenv("KOUBO_CACHE", "/x", 1);
    CLEANUP(kb_freep) char *own = cache_folder("tracks");
    assert_string_equal(own, "/x");
    unsetenv("KOUBO_CACHE");
    setenv("XDG_CACHE_HOME", "/y", 1);
    CLEANUP(kb_freep) char *shared = cache_folder("tracks");
    assert_string_equal(shared, "/y/koubo/tracks");
}

static void test_paths(void **state)
{
    static const struct {
        const char *path, *folder, *stem, *name;
    } cases[] = {
        {"a/b.mp4", "a", "b", "b.mp4"},
        {"b.mp4", ".", "b", "b.mp4"},
        {"/b", "/", "b", "b"},
        {"/x/.hidden", "/x", ".hidden", ".hidden"},
        {"课程/第 1 讲.v2.mov", "课程", "第 1 讲.v2", "第 1 讲.v2.mov"},
        {"a.b/c", "a.b", "c", "c"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *folder = path_folder(cases[i].path);
        CLEANUP(kb_freep) char *stem = path_stem(cases[i].path);
        assert_string_equal(folder, cases[i].folder);
        assert_string_equal(stem, cases[i].stem);
        assert_string_equal(path_name(cases[i].path), cases[i].name);
    }
}

static void test_safe_names(void **state)
{
    static const struct {
        const char *name;
        int max;
        const char *wanted;
    } cases[] = {
        {"主播 一号", 255, "主播 一号"},
        {"a/b\\c:d*e?f\"g<h>i|j", 255, "a_b_c_d_e_f_g_h_i_j"},
        {"line\nend\ttab\x01", 255, "line_end_tab"},
        {"..hidden. ", 255, "hidden"},
        {"", 255, "_"},
        {" . ", 255, "_"},
        {"nul", 255, "_nul"},
        {"COM1.txt", 255, "_COM1.txt"},
        {"conference", 255, "conference"},
        {"com10", 255, "com10"},
        {"视频视频", 7, "视频"}, // whole letters
        {"abc def", 4, "abc"},
        {"ab\xff", 255, "ab\xef\xbf\xbd"},
        {"a\xe2\x80\xaegpj.exe", 255, "agpj.exe"}, // nothing is written backwards
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *safe = path_safe_name(cases[i].name, cases[i].max);
        assert_string_equal(safe, cases[i].wanted);
    }
}

// Names as long as there can be: while one is written, it has a short one.
static void test_long_names(void **state)
{
    struct kb_error err = {0};
    char folder[] = "/tmp/koubo-base-XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (int n = 240; n <= NAME_MAX; n++) {
        char name[NAME_MAX + 1] = "";
        for (int at = 0; at + 3 <= n - 4; at += 3)
            memcpy(name + at, "\xe5\xa5\xbd", 4); // 好
        while ((int)strlen(name) < n - 4)
            strcat(name, "x");
        strcat(name, ".mp4");
        assert_int_equal(strlen(name), n);
        CLEANUP(kb_freep) char *path = path_join(folder, name);
        for (int writer = 0; writer < 2; writer++) {
            CLEANUP(kb_freep) char *part = file_part_path(path, writer * 123456);
            assert_true(strlen(path_name(part)) <= NAME_MAX);
            assert_true(text_ends(part, writer ? ".123456.part" : ".part"));
            CLEANUP(kb_freep) char *where = path_folder(part);
            assert_string_equal(where, folder);
        }
        assert_ok(err, file_write_atomic(path, "hello", 5, &err));
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0); // nothing else is there
    CLEANUP(kb_freep) char *usual = file_part_path("a/b.mp4", 0);
    CLEANUP(kb_freep) char *mine = file_part_path("b.mp4", 7);
    assert_string_equal(usual, "a/b.mp4.part");
    assert_string_equal(mine, "b.mp4.7.part");
}

static void test_files(void **state)
{
    struct kb_error err = {0};
    char folder[] = "/tmp/koubo-base-XXXXXX";
    assert_non_null(mkdtemp(folder));
    CLEANUP(kb_freep) char *path = path_join(folder, "a b.txt");
    CLEANUP(kb_freep) char *nested = path_join(folder, "x/y/z");

    assert_ok(err, file_write_atomic(path, "hello", 5, &err));
    struct file_map m = {0};
    assert_ok(err, file_map(&m, path, &err));
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    file_unmap(&m);
    char hex[33], again[33];
    assert_ok(err, file_hash(hex, path, &err));
    assert_ok(err, file_write_atomic(path, "hellp", 5, &err));
    assert_ok(err, file_hash(again, path, &err));
    assert_int_equal(strlen(hex), 32);
    assert_string_not_equal(hex, again);

    assert_ok(err, file_make_dirs(nested, &err));
    assert_ok(err, file_make_dirs(nested, &err));
    assert_true(file_is_dir(nested));
    assert_ok(err, file_check_writable(path, 0, &err));
    assert_fails(err, KB_NO_SPACE, "B are free", file_check_writable(path, INT64_MAX, &err));
    assert_fails(err, KB_BAD_INPUT, "is a folder", file_check_writable(nested, 0, &err));
    assert_fails(err, KB_NOT_FOUND, "does not exist",
                 file_check_writable("/no/such/f.mp4", 0, &err));
    assert_fails(err, KB_NOT_FOUND, "cannot open", file_map(&m, "/no/such", &err));
    assert_fails(err, KB_BAD_INPUT, "not a regular file", file_map(&m, folder, &err));
    assert_fails(err, KB_BAD_INPUT, "cannot write",
                 file_write_atomic("/proc/nothing", "x", 1, &err));
    assert_ok(err, file_write_atomic(path, "", 0, &err));
    assert_fails(err, KB_BAD_INPUT, "empty", file_map(&m, path, &err));
    assert_fails(err, KB_NOT_FOUND, "start.sh", ({
                     char *p = NULL;
                     model_locate(&p, "nope.bin", &err);
                 }));
    CLEANUP(kb_freep) char *model = NULL, *bundled = NULL;
    assert_fails(err, KB_NOT_FOUND, "'no-such-model.safetensors'",
                 model_find(&model, "no-such-model", &err));
    assert_ok(err, model_find(&model, "./nothing.pth", &err)); // a path is the caller's to open
    assert_string_equal(model, "./nothing.pth");
    assert_ok(err, model_find(&bundled, NULL, &err));
    assert_true(file_exists(bundled));

    CLEANUP(kb_freep) char *y = path_join(folder, "x/y");
    CLEANUP(kb_freep) char *x = path_join(folder, "x");
    unlink(path);
    rmdir(nested);
    rmdir(y);
    rmdir(x);
    assert_int_equal(rmdir(folder), 0); // nothing else was left behind
}

static void *produce(void *q)
{
    for (int i = 1; i <= 1000; i++) {
        char *item = kb_printf("%d", i);
        if (!queue_push(q, item)) {
            free(item); // a refused item stays its producer's
            return NULL;
        }
    }
    queue_close(q);
    return NULL;
}

static void test_queue_keeps_order(void **state)
{
    struct queue *q = queue_create(3, free);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, produce, q), 0);
    for (int i = 1; i <= 1000; i++) {
        CLEANUP(kb_freep) char *item = queue_pop(q);
        assert_non_null(item);
        assert_int_equal(atoi(item), i);
    }
    assert_null(queue_pop(q));
    pthread_join(thread, NULL);
    queue_free(&q);
    queue_free(&q);
}

static void test_queue_abort_wakes_a_blocked_producer(void **state)
{
    struct queue *q = queue_create(2, free);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, produce, q), 0);
    free(queue_pop(q));
    queue_abort(q);
    assert_null(queue_pop(q));
    pthread_join(thread, NULL);
    queue_free(&q); // frees what was still inside
}

static void test_cancel(void **state)
{
    struct kb_error err = {0};
    struct cancel batch = {0}, job = {.parent = &batch};
    assert_false(cancel_requested(NULL));
    assert_ok(err, cancel_check(&job, &err));
    cancel_request(&batch);
    assert_fails(err, KB_CANCELLED, "cancelled", cancel_check(&job, &err));
}

static void test_a_list_grows(void **state)
{
    int *list = NULL, capacity = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(kb_grow(&list, i, &capacity, sizeof(*list)));
        assert_true(i < capacity);
        list[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(list[i], i);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_errors_are_sentences),
        cmocka_unit_test(test_safe_names),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_queue_keeps_order),
        cmocka_unit_test(test_queue_abort_wakes_a_blocked_producer),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_a_list_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
