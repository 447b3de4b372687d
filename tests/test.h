// What every cmocka test includes first.
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/base.h"

// The call must succeed; on failure print its sentence.
#define assert_ok(err, call)                                                                       \
    do {                                                                                           \
        enum kb_code code_ = (call);                                                               \
        if (code_ != KB_OK)                                                                        \
            fail_msg("%s: code %d, %s", #call, (int)code_, (err).text);                            \
    } while (0)

// The call must fail with this code and a sentence that contains part.
#define assert_fails(err, wanted, part, call)                                                      \
    do {                                                                                           \
        (err).text[0] = '\0';                                                                      \
        enum kb_code code_ = (call);                                                               \
        if (code_ != (wanted) || !strstr((err).text, part))                                        \
            fail_msg("%s: code %d (wanted %d), '%s' (wanted '%s')", #call, (int)code_,             \
                     (int)(wanted), (err).text, part);                                             \
    } while (0)

// Path of a file below the source root, in one of a few static buffers (tests only).
static inline const char *source_path(const char *name)
{
    static char paths[4][4096];
    static int next;
    const char *root = getenv("KOUBO_SOURCE_ROOT");
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", root ? root : ".", name);
    return path;
}

// A clip of tests/clips: one that lies there, or one that the build made of those. In one of a few
// static buffers.
static inline const char *clip_path(const char *name)
{
    static char paths[4][4096];
    static int next;
    const char *made = getenv("KOUBO_CLIPS");
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", source_path("tests/clips"), name);
    if (access(path, R_OK) != 0 && made)
        snprintf(path, sizeof(paths[0]), "%s/%s", made, name);
    if (access(path, R_OK) != 0)
        fail_msg("no clip '%s': tests/clips/meson.build makes it if the program ffmpeg is there",
                 path);
    return path;
}

// The tests of this program that are wanted, a copy: one that is skipped gets the reason into its
// name.
static struct CMUnitTest tests_here[128];
static size_t n_tests_here;

// A test whose threads do nothing that they do not do in others: with ThreadSanitizer, where it
// would take ten times as long, it is none.
#ifdef __SANITIZE_THREAD__
#define unit_test_without_tsan(test)                                                               \
    {                                                                                              \
        NULL, test, NULL, NULL, NULL                                                               \
    }
#else
#define unit_test_without_tsan(test) cmocka_unit_test(test)
#endif

// KOUBO_TEST=text runs only the tests that have the text in their name.
static inline int group_run(const char *group, const struct CMUnitTest *tests, size_t n,
                            CMFixtureFunction set_up, CMFixtureFunction tear_down)
{
    const char *wanted = getenv("KOUBO_TEST");
    assert(n <= ARRAY_LEN(tests_here));
    n_tests_here = 0;
    for (size_t i = 0; i < n; i++)
        if (tests[i].name && (!wanted || strstr(tests[i].name, wanted)))
            tests_here[n_tests_here++] = tests[i];
    if (n_tests_here == 0) {
        printf("1..0 # SKIP no test with '%s' in its name\n", wanted ? wanted : "");
        return 0;
    }
    return _cmocka_run_group_tests(group, tests_here, n_tests_here, set_up, tear_down);
}

#undef cmocka_run_group_tests
#undef cmocka_run_group_tests_name
#define cmocka_run_group_tests(tests, set_up, tear_down)                                           \
    group_run(#tests, tests, ARRAY_LEN(tests), set_up, tear_down)
#define cmocka_run_group_tests_name(name, tests, set_up, tear_down)                                \
    group_run(name, tests, ARRAY_LEN(tests), set_up, tear_down)

// In a test that this machine cannot run: its line becomes "ok 3 - test_x # SKIP why". What cmocka
// prints for its own skip(), "not ok", is a failure to those who read TAP.
#define SKIP_TEST(why)                                                                             \
    do {                                                                                           \
        test_skipped(__func__, why);                                                               \
        return;                                                                                    \
    } while (0)

static inline void test_skipped(const char *name, const char *why)
{
    for (size_t i = 0; i < n_tests_here; i++)
        if (strcmp(tests_here[i].name, name) == 0)
            tests_here[i].name = kb_printf("%s # SKIP %s", name, why);
}

#endif
