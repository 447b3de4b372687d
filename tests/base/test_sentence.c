// Sentences that are kept and said in another language later.
#include "tests/chinese.h"

#include "base/sentence.h"

#include <errno.h>

static int setup(void **state)
{
    load_chinese();
    return 0;
}

static void assert_said(const char *kept, enum kb_language language, const char *wanted)
{
    enum kb_language before = kb_language_set_thread(language);
    CLEANUP(kb_freep) char *said = sentence_say(kept);
    kb_language_set_thread(before);
    assert_string_equal(said, wanted);
}

static void assert_kept(const struct kb_error *err, const char *english, const char *chinese)
{
    CLEANUP(kb_freep) char *kept = sentence_of(err);
    assert_said(kept, KB_LANGUAGE_SOURCE, english);
    assert_said(kept, KB_LANGUAGE_CATALOGUE, chinese);
}

// Whoever reports, in whichever language: it can be said in both.
static void test_both_ways(void **state)
{
    for (int i = KB_LANGUAGE_SOURCE; i < KB_LANGUAGES; i++) {
        struct kb_error err = {0};
        kb_language_set_thread((enum kb_language)i);
        kb_fail(&err, KB_NOT_FOUND, _("cannot open '%s': %s"), "a%s.mp4", kb_strerror(ENOENT));
        const char *word = i == KB_LANGUAGE_SOURCE ? "cannot open" : "打不开";
        assert_non_null(strstr(err.text, word));
        kb_language_set_thread(KB_LANGUAGE_DEFAULT);
        CLEANUP(kb_freep) char *kept = sentence_of(&err);
        assert_said(kept, KB_LANGUAGE_SOURCE, "cannot open 'a%s.mp4': No such file or directory");
        kb_language_set_thread(KB_LANGUAGE_CATALOGUE);
        CLEANUP(kb_freep)
        char *wanted = kb_printf(_("cannot open '%s': %s"), "a%s.mp4", kb_strerror(ENOENT));
        kb_language_set_thread(KB_LANGUAGE_DEFAULT);
        assert_said(kept, KB_LANGUAGE_CATALOGUE, wanted);
    }
}

static void test_context(void **state)
{
    struct kb_error err = {0};
    kb_fail(&err, KB_BAD_INPUT, "%s", _("it cannot be read"));
    kb_wrap(&err, _("the speech '%s' cannot be used"), "讲话.wav");
    assert_string_equal(err.text, "the speech '讲话.wav' cannot be used: it cannot be read");
    assert_kept(&err, err.text, "音频“讲话.wav”无法使用：无法读取");

    // A context that ends with a space is its own sentence, with its own sign before the next one.
    err = (struct kb_error){0};
    kb_fail(&err, KB_INTERNAL, _("attempt %d of %d, it is tried again"), 1, 3);
    kb_wrap(&err, _("%s while %s, at frame %lld of %lld; "), _("the worker crashed"),
            _("generating"), 7LL, 90LL);
    assert_string_equal(err.text,
                        "the worker crashed while generating, at frame 7 of 90; attempt 1 "
                        "of 3, it is tried again");
    CLEANUP(kb_freep) char *kept = sentence_of(&err);
    assert_said(kept, KB_LANGUAGE_SOURCE, err.text);
    kb_language_set_thread(KB_LANGUAGE_CATALOGUE);
    CLEANUP(kb_freep) char *chinese = sentence_say(kept);
    assert_non_null(strstr(chinese, _("the worker crashed")));
    assert_non_null(strstr(chinese, _("generating")));
    assert_non_null(strstr(chinese, "90"));
    kb_language_set_thread(KB_LANGUAGE_DEFAULT);
    for (const char *c = chinese; *c; c++)
        assert_false(*c >= 'a' && *c <= 'z'); // every part has its Chinese
}

// Each kind of value is kept as printf writes it.
static void test_values(void **state)
{
    struct kb_error err = {0};
    const char *volatile nothing = NULL;
    kb_fail(&err, KB_BAD_INPUT, "%d %5d|%-4u|%lld %zu %.2f %x %c %.*s %s %% %5.1f %ld %hhu", -3, 42,
            7u, -(1LL << 40), (size_t)9, 3.14159, 255u, 'k', 2, "abcdef", nothing, 2.25, 8L,
            (unsigned char)200);
    assert_kept(&err, err.text, err.text);
    assert_string_equal(err.text,
                        "-3    42|7   |-1099511627776 9 3.14 ff k ab (null) %   2.2 8 200");
}

// What users write cannot pose as a text of the program, nor as a part of what is kept.
static void test_hostile_values(void **state)
{
    struct kb_error err = {0};
    char name[] = "generating\x1e"
                  "a\x1f"
                  "b\x0e"
                  "c";
    kb_fail(&err, KB_BAD_INPUT, _("cannot open '%s': %s"), name, "generating");
    CLEANUP(kb_freep) char *kept = sentence_of(&err);
    CLEANUP(kb_freep) char *said = sentence_say(kept);
    assert_string_equal(said, "cannot open 'generating a b c': generating");
    kb_language_set_thread(KB_LANGUAGE_CATALOGUE);
    CLEANUP(kb_freep) char *chinese = sentence_say(kept);
    kb_language_set_thread(KB_LANGUAGE_DEFAULT);
    assert_non_null(strstr(chinese, "generating a b c"));

    // A database may hold anything.
    static const char *const cases[] = {
        "",
        "as an older koubo kept it: 100% %s",
        "\x1e",
        "\x1e\x1f\x1f",
        "\x1e%s %s %9$s %",
        "\x1e%n%*d\x1fx",
        "\x1e"
        "a\x1e\x1e"
        "b\x1f\x0e",
        "\x1e%99999999999999999999d\x1fx",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int l = 0; l < KB_LANGUAGES; l++) {
            kb_language_set_thread((enum kb_language)l);
            CLEANUP(kb_freep) char *any = sentence_say(cases[i]);
            assert_non_null(any);
        }
    kb_language_set_thread(KB_LANGUAGE_DEFAULT);
    assert_said(cases[1], KB_LANGUAGE_CATALOGUE, cases[1]);
    assert_null(sentence_say(NULL));
}

// What does not fit is kept as it was said.
static void test_long(void **state)
{
    struct kb_error err = {0};
    char name[900];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    kb_fail(&err, KB_BAD_INPUT, _("cannot open '%s': %s"), name, "no");
    CLEANUP(kb_freep) char *kept = sentence_of(&err);
    assert_string_equal(kept, err.text);
    // Nor is a context left out that is too long.
    kb_fail(&err, KB_BAD_INPUT, "%s", _("it cannot be read"));
    kb_wrap(&err, "'%s'", name);
    CLEANUP(kb_freep) char *wrapped = sentence_of(&err);
    assert_string_equal(wrapped, err.text);
    kb_fail(&err, KB_BAD_INPUT, "%.580s", name);
    for (int i = 0; i < 100; i++)
        kb_wrap(&err, "%s", "again");
    CLEANUP(kb_freep) char *deep = sentence_of(&err);
    assert_string_equal(deep, err.text);
}

static void test_keep_and_fail(void **state)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *kept = sentence_keep(_("cancelled"));
    assert_said(kept, KB_LANGUAGE_SOURCE, "cancelled");
    assert_said(kept, KB_LANGUAGE_CATALOGUE, "已取消");
    assert_int_equal(sentence_fail(&err, KB_CANCELLED, kept), KB_CANCELLED);
    assert_int_equal(err.code, KB_CANCELLED);
    assert_kept(&err, "cancelled", "已取消");
    assert_int_equal(sentence_fail(&err, KB_INTERNAL, "plain 100%"), KB_INTERNAL);
    assert_kept(&err, "plain 100%", "plain 100%");
}

static void test_replace(void **state)
{
    static const struct {
        const char *text, *path, *name, *wanted;
    } cases[] = {
        {"cannot open '/d/files/ab': no", "/d/files/ab", "我.mp4", "cannot open '我.mp4': no"},
        {"/d/files/ab, /d/files/ab", "/d/files/ab", "x", "x, x"},
        {"nothing here", "/d/files/ab", "x", "nothing here"},
        {"as it is", "", "x", "as it is"},
        {"as it is", NULL, "x", "as it is"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        kb_fail(&err, KB_BAD_INPUT, "%s", cases[i].text);
        sentence_replace(&err, cases[i].path, cases[i].name);
        assert_string_equal(err.text, cases[i].wanted);
        assert_kept(&err, cases[i].wanted, cases[i].wanted);
        assert_int_equal(err.code, KB_BAD_INPUT);
    }
    // A long sentence is not given up for a name that is not in it.
    struct kb_error whole = {0};
    char long_name[400];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    kb_fail(&whole, KB_BAD_INPUT, _("cannot open '%s': %s"), long_name, kb_strerror(ENOENT));
    sentence_replace(&whole, "/not/there", long_name);
    sentence_replace(&whole, long_name, "n.mp4");
    CLEANUP(kb_freep) char *still = sentence_of(&whole);
    assert_said(still, KB_LANGUAGE_SOURCE, "cannot open 'n.mp4': No such file or directory");
    kb_language_set_thread(KB_LANGUAGE_CATALOGUE);
    CLEANUP(kb_freep) char *chinese = sentence_say(still);
    kb_language_set_thread(KB_LANGUAGE_DEFAULT);
    assert_non_null(strstr(chinese, "打不开"));

    // Cut between characters where the new name is longer.
    struct kb_error err = {0};
    char names[600] = "";
    for (int i = 0; i < 190; i++)
        strcat(names, "口");
    kb_fail(&err, KB_BAD_INPUT, "PPPP %s", names);
    sentence_replace(&err, "PPPP", names);
    assert_true(strlen(err.text) < sizeof(err.text));
    CLEANUP(kb_freep) char *kept = sentence_of(&err);
    assert_null(strstr(kept, "\xef\xbf\xbd"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways), cmocka_unit_test(test_context),
        cmocka_unit_test(test_values),    cmocka_unit_test(test_hostile_values),
        cmocka_unit_test(test_long),      cmocka_unit_test(test_keep_and_fail),
        cmocka_unit_test(test_replace),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
