#include "tests/test.h"

#include "base/text.h"

static void test_begin_and_end(void **state)
{
    static const struct {
        const char *s, *piece;
        bool begins, ends;
    } cases[] = {
        {"a.pth", ".pth", false, true},  {".pth", ".pth", true, false},
        {"pth", ".pth", false, false},   {"a.pth.part", ".pth", false, false},
        {"a.PTH", ".pth", false, false}, {"/api/v1", "/api/", true, false},
        {"/api", "/api/", false, false}, {"aa", "a", true, true},
        {"a", "", true, true},           {"", "", true, false},
        {"", "a", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (text_begins(cases[i].s, cases[i].piece) != cases[i].begins)
            fail_msg("'%s' begins with '%s'?", cases[i].s, cases[i].piece);
        if (text_ends(cases[i].s, cases[i].piece) != cases[i].ends)
            fail_msg("'%s' ends with '%s'?", cases[i].s, cases[i].piece);
    }
}

static void test_growing(void **state)
{
    CLEANUP(text_free) struct text t = {0};
    assert_string_equal(text_get(&t), "");
    text_add_bytes(&t, NULL, 0);
    assert_string_equal(t.data, "");
    for (int i = 0; i < 1000; i++)
        text_addf(&t, "%d,", i);
    assert_int_equal(t.size, strlen(t.data));
    assert_true(text_begins(t.data, "0,1,2,") && text_ends(t.data, ",998,999,"));
    text_clear(&t);
    text_add(&t, "x");
    assert_string_equal(t.data, "x");
}

static void test_size(void **state)
{
    static const struct {
        int64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 MB"},
        {1, "0.1 MB"},
        {61000, "0.1 MB"},
        {1500000, "1.5 MB"},
        {9940000, "9.9 MB"},
        {9960000, "10 MB"},
        {61234567, "61 MB"},
        {999400000, "999 MB"},
        {999600000, "1.0 GB"},
        {1000000000, "1.0 GB"},
        {20000000000, "20.0 GB"},
    };
    char ret[TEXT_SIZE_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(text_size(ret, cases[i].bytes), cases[i].text);
    text_size(ret, INT64_MAX);
    text_size(ret, INT64_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_begin_and_end),
        cmocka_unit_test(test_growing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
