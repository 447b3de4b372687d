#include "tests/test.h"

#include "base/utf8.h"

// Unicode 15, table 3-7, at each of its edges.
static const struct {
    const char *bytes;
    int32_t character; // -1: the first byte belongs to none
    int length;
} table[] = {
    {"", 0, 1},
    {"a", 'a', 1},
    {"\x7f", 0x7f, 1},
    {"\xc2\x80", 0x80, 2},
    {"\xdf\xbf", 0x7ff, 2},
    {"\xe0\xa0\x80", 0x800, 3},
    {"\xe8\xa7\x86", 0x89c6, 3}, // 视
    {"\xed\x9f\xbf", 0xd7ff, 3},
    {"\xee\x80\x80", 0xe000, 3},
    {"\xef\xbf\xbf", 0xffff, 3},
    {"\xf0\x90\x80\x80", 0x10000, 4},
    {"\xf4\x8f\xbf\xbf", 0x10ffff, 4},
    // longer than needed
    {"\xc0\x80", -1, 1},
    {"\xc0\xaf", -1, 1},
    {"\xc1\xbf", -1, 1},
    {"\xe0\x80\xaf", -1, 1},
    {"\xe0\x9f\xbf", -1, 1},
    {"\xf0\x80\x80\xaf", -1, 1},
    {"\xf0\x8f\xbf\xbf", -1, 1},
    // surrogates
    {"\xed\xa0\x80", -1, 1},
    {"\xed\xbf\xbf", -1, 1},
    // beyond the last one
    {"\xf4\x90\x80\x80", -1, 1},
    {"\xf5\x80\x80\x80", -1, 1},
    {"\xf8\x88\x80\x80\x80", -1, 1},
    {"\xfe", -1, 1},
    {"\xff", -1, 1},
    // cut, and cut by another character
    {"\xc2", -1, 1},
    {"\xe8", -1, 1},
    {"\xe8\xa7", -1, 1},
    {"\xf0\x90\x80", -1, 1},
    {"\xe8\xa7z", -1, 1},
    {"\xc2\xc2\x80", -1, 1},
    // continuations of nothing
    {"\x80", -1, 1},
    {"\xbf\xbf", -1, 1},
};

static void test_next(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int length = 0;
        int32_t c = utf8_next(table[i].bytes, &length);
        if (c != table[i].character || length != table[i].length)
            fail_msg("row %zu: %d, %d bytes", i, (int)c, length);
        if (utf8_valid(table[i].bytes) != (table[i].character >= 0))
            fail_msg("row %zu is %s", i, table[i].character >= 0 ? "valid" : "not valid");
        CLEANUP(kb_freep) char *clean = utf8_clean(table[i].bytes);
        assert_true(utf8_valid(clean));
        assert_int_equal(utf8_count(clean), utf8_count(table[i].bytes));
        assert_int_equal(strcmp(clean, table[i].bytes) == 0, table[i].character >= 0);
    }
}

static void test_count_and_clean(void **state)
{
    static const struct {
        const char *bytes, *clean;
        size_t n;
    } cases[] = {
        {"", "", 0},
        {"口播 ok", "口播 ok", 5},
        {"\xe8\xa7视", "\xef\xbf\xbd\xef\xbf\xbd视", 3},
        {"a\xff", "a\xef\xbf\xbd", 2},
        {"\xf0\x9f\x98\x80\n", "\xf0\x9f\x98\x80\n", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *clean = utf8_clean(cases[i].bytes);
        assert_string_equal(clean, cases[i].clean);
        assert_int_equal(utf8_count(cases[i].bytes), cases[i].n);
    }
    assert_null(utf8_clean(NULL));
}

static void test_fit(void **state)
{
    static const struct {
        const char *text;
        int n, fits;
    } cases[] = {
        {"", 0, 0},
        {"", 5, 0},
        {"abc", 5, 3},
        {"abc", 3, 3},
        {"abc", 2, 2},
        {"视频", 6, 6},
        {"视频", 5, 3},
        {"视频", 4, 3},
        {"视频", 3, 3},
        {"视频", 2, 0},
        {"a\xf0\x9f\x98\x80", 4, 1},
        // no character is that long: there is nothing to keep whole, and a caller that cuts a text
        // into pieces goes on
        {"\x80\x80\x80\x80\x80\x80\x80\x80", 5, 5},
        {"\xe8\xa7\x86\x80\x80\x80\x80\x80", 7, 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (utf8_fit(cases[i].text, cases[i].n) != cases[i].fits)
            fail_msg("row %zu: %d", i, utf8_fit(cases[i].text, cases[i].n));
}

static void test_mend(void **state)
{
    static const struct {
        const char *text;
        size_t size; // of what it was written into
        const char *wanted;
    } cases[] = {
        {"", 1, ""},           {"ab", 3, "ab"},
        {"a\xe8", 9, "a\xe8"}, // not cut: its writer's bytes
        {"a\xe8", 3, "a"},     {"a\xe8\xa7", 4, "a"},
        {"a视", 5, "a视"},     {"\xf0\x9f\x98", 4, ""},
        {"视\xc2", 5, "视"},   {"\x80\x80\x80\x80", 5, "\x80\x80\x80\x80"}, // never was a character
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[16];
        snprintf(text, sizeof(text), "%s", cases[i].text);
        utf8_mend(text, cases[i].size);
        assert_string_equal(text, cases[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_count_and_clean),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_mend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
