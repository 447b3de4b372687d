// The log file: both forms, several processes, rotation; and languages per thread.
#include "tests/test.h"

#include "base/file.h"
#include "base/log.h"
#include "base/place.h"
#include "base/text.h"
#include "base/utf8.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

static int set_up(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/koubo-log-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static int tear_down(void **state)
{
    log_close();
    static const char *const names[] = {"log", "log.1", "log.2", "log.3", "log.4"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(in_folder(names[i]));
    return rmdir(folder);
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    struct text t = {0};
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof(buffer), f)) > 0;)
        text_add_bytes(&t, buffer, n);
    fclose(f);
    return t.data ? t.data : kb_strdup("");
}

static void test_entries_come_back(void **state)
{
    for (int json = 0; json < 2; json++) {
        struct kb_error err = {0};
        unlink(in_folder("log"));
        assert_ok(err, log_open(in_folder(""), "log", json, 0, &err));
        log_set_source("serve");
        log_line_of("w1", 12, LOG_INFO, "file '视频.mp4' is \"quoted\" \\ and has\na break");
        log_warn("%s", "second");
        log_close();

        CLEANUP(kb_freep) char *content = read_file(in_folder("log"));
        char *second = strchr(content, '\n') + 1;
        struct log_entry e;
        second[-1] = '\0';
        assert_true(log_parse(content, &e));
        assert_int_equal(e.level, LOG_INFO);
        assert_int_equal(e.job, 12);
        assert_string_equal(e.source, "w1");
        assert_string_equal(e.text, "file '视频.mp4' is \"quoted\" \\ and has a break");
        assert_int_equal(strlen(e.time), strlen("2026-11-23T06:29:31.123Z"));
        assert_true(log_parse(second, &e));
        assert_int_equal(e.level, LOG_WARN);
        assert_int_equal(e.job, 0);
        assert_string_equal(e.text, "second");
    }
}

static void test_foreign_lines_are_refused(void **state)
{
    static const char *const lines[] = {"",
                                        " ",
                                        "{",
                                        "{}",
                                        "{\"time\":",
                                        "a b c d e",
                                        "2026 info w1 12 no mark",
                                        "{\"text\":\"\\u12"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        CLEANUP(kb_freep) char *line = kb_strdup(lines[i]);
        struct log_entry e;
        assert_false(log_parse(line, &e));
    }
}

static void write_lines(int n)
{
    for (int i = 0; i < n; i++)
        log_verbose("line %d with some length to it, so that the file grows", i);
}

static void test_processes_share_and_rotate(void **state)
{
    struct kb_error err = {0};
    log_set_level(LOG_VERBOSE);
    freopen("/dev/null", "w", stderr); // a thousand lines
    assert_ok(err, log_open(in_folder(""), "log", false, 20000, &err));
    pid_t child = fork();
    if (child == 0) {
        log_close();
        if (log_open(in_folder(""), "log", false, 0, NULL) != KB_OK)
            _exit(1);
        write_lines(400);
        _exit(0);
    }
    write_lines(400);
    int status = -1;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    write_lines(1);
    log_close();
    log_set_level(LOG_INFO);

    int lines = 0;
    static const char *const names[] = {"log", "log.1", "log.2", "log.3", "log.4"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct stat st;
        if (stat(in_folder(names[i]), &st) != 0)
            continue;
        assert_true(st.st_size < 80000);
        CLEANUP(kb_freep) char *content = read_file(in_folder(names[i]));
        for (char *line = content, *end; (end = strchr(line, '\n')); line = end + 1) {
            struct log_entry e;
            *end = '\0';
            assert_true(log_parse(line, &e)); // none torn, none mixed
            lines++;
        }
    }
    assert_int_equal(lines, 801);
}

static void *say_in_source(void *text)
{
    kb_language_set_thread(KB_LANGUAGE_SOURCE);
    return (void *)_("cancelled");
}

static void test_thread_language(void **state)
{
    pthread_t thread;
    void *said = NULL;
    assert_int_equal(pthread_create(&thread, NULL, say_in_source, NULL), 0);
    pthread_join(thread, &said);
    assert_string_equal(said, "cancelled");
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    assert_string_equal(kb_strerror(2), "No such file or directory");
    kb_language_set_process(KB_LANGUAGE_DEFAULT);
}

static void test_a_long_sentence_ends_with_a_whole_character(void **state)
{
    char long_name[2000];
    for (size_t shift = 0; shift < 4; shift++) { // each place of the cut inside a character
        memset(long_name, 'a', shift);
        long_name[shift] = '\0';
        for (size_t i = shift; i + 4 < sizeof(long_name); i += 3)
            memcpy(long_name + i, "视", 4);
        struct kb_error err = {0};
        kb_fail(&err, KB_BAD_INPUT, "%s", long_name);
        size_t n = strlen(err.text);
        assert_true(n > sizeof(err.text) - 4);
        assert_int_equal((n - shift) % 3, 0);
        kb_wrap(&err, "%s", "context");
        assert_int_equal((strlen(err.text) - strlen("context: ") - shift) % 3, 0);
    }
}

static void test_a_long_line_ends_with_a_whole_character(void **state)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text name = {0};
    for (int i = 0; i < 1000; i++)
        text_add(&name, "视");
    assert_ok(err, log_open(in_folder(""), "log", false, 0, &err));
    for (int shift = 0; shift < 3; shift++)
        log_info("%.*s%s", shift, "aa", name.data);
    log_close();
    CLEANUP(kb_freep) char *content = read_file(in_folder("log"));
    assert_true(strlen(content) > 3 * 2040 && utf8_valid(content));
}

static void test_random_hex(void **state)
{
    char a[33], b[33], odd[4];
    kb_random_hex(a, 32);
    kb_random_hex(b, 32);
    kb_random_hex(odd, 3);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_int_equal(strlen(odd), 3);
    assert_string_not_equal(a, b);
}

// Who can put a link where the log is, would have lines of his choice written elsewhere.
static void test_no_link_is_followed(void **state)
{
    struct kb_error err = {0};
    CLEANUP(place_end) char *outside = NULL;
    assert_ok(err, place_make(&outside, "koubo-outside", &err));
    CLEANUP(kb_freep) char *theirs = path_join(outside, "theirs");
    assert_ok(err, file_write_cached(theirs, "x", 1, &err));
    assert_int_equal(symlink(theirs, in_folder("log")), 0);
    assert_int_equal(log_open(folder, "log", false, 0, &err), KB_BAD_INPUT);
    assert_non_null(strstr(err.text, "take away"));
    assert_int_equal(unlink(in_folder("log")), 0);

    // Nor one that comes while the log is open: lines go on into the file that was opened.
    assert_ok(err, log_open(folder, "log", false, 0, &err));
    log_warn("%s", "first");
    assert_int_equal(rename(in_folder("log"), in_folder("log.1")), 0);
    assert_int_equal(symlink(theirs, in_folder("log")), 0);
    log_warn("%s", "second");
    log_close();
    CLEANUP(kb_freep) char *untouched = read_file(theirs);
    assert_string_equal(untouched, "x");
    CLEANUP(kb_freep) char *content = read_file(in_folder("log.1"));
    assert_non_null(strstr(content, "first"));
    assert_non_null(strstr(content, "second"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries_come_back, set_up, tear_down),
        cmocka_unit_test(test_foreign_lines_are_refused),
        cmocka_unit_test_setup_teardown(test_processes_share_and_rotate, set_up, tear_down),
        cmocka_unit_test(test_thread_language),
        cmocka_unit_test(test_a_long_sentence_ends_with_a_whole_character),
        cmocka_unit_test_setup_teardown(test_a_long_line_ends_with_a_whole_character, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_no_link_is_followed, set_up, tear_down),
        cmocka_unit_test(test_random_hex),
    };
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
