#include "tests/test.h"

#include "base/uri.h"

static void test_decode(void **state)
{
    static const struct {
        const char *from, *to;
        bool plus, whole;
    } cases[] = {
        {"", "", false, true},
        {"a b+c", "a b+c", false, true},
        {"a+b%2Bc", "a b+c", true, true},
        {"%E5%8f%a3.mp4", "口.mp4", false, true},
        {"%25 41%2541", "% 41%41", false, true}, // once
        {"%2F%2e%2E%01%7F%ff", "/..\x01\x7f\xff", false, true},
        // broken ones and NUL stay
        {"%00", "%00", false, false},
        {"a%00b%41", "a%00bA", false, false},
        {"%", "%", false, false},
        {"%4", "%4", false, false},
        {"x%zz%4g%g4", "x%zz%4g%g4", false, false},
        {"%+1%-1% 1", "%+1%-1% 1", false, false},
        {"%+41", "% 41", true, false},
        {"%%41", "%A", false, false},
        {"100%", "100%", true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *s = kb_strdup(cases[i].from); // exact: a sanitizer sees its end
        assert_int_equal(uri_decode(s, cases[i].plus), cases[i].whole);
        assert_string_equal(s, cases[i].to);
    }
}

static void test_encode(void **state)
{
    CLEANUP(text_free) struct text t = {0};
    uri_encode(&t, "a Z0/%_-口\0\xff", 12, "_-");
    assert_string_equal(text_get(&t), "a%20Z0%2F%25_-%E5%8F%A3%00");
    text_clear(&t);
    uri_encode(&t, "é!", 3, "!");
    assert_string_equal(text_get(&t), "%C3%A9!");

    // whatever the bytes, they come back
    char all[256];
    for (int i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    all[255] = '\0';
    text_clear(&t);
    uri_encode(&t, all, 255, "");
    assert_int_equal(t.size, 62 + 3 * (255 - 62));
    assert_true(uri_decode(t.data, true));
    assert_string_equal(t.data, all);
}

static void test_http(void **state)
{
    static const struct {
        const char *s;
        size_t n;
    } cases[] = {
        {"http://", 7},  {"HTTPS://x", 8}, {"Http://x", 7},  {"http:/x", 0},
        {"httpx://", 0}, {"https:/", 0},   {" http://x", 0}, {"", 0},
        {"h", 0},        {"ftp://x", 0},   {"http:///", 7},  {"https://http", 8},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(uri_http(cases[i].s), cases[i].n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_http),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
