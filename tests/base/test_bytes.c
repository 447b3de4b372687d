#include "tests/test.h"

#include "base/bytes.h"

static void test_hex(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x9f, 0xa0, 0xff};
    char text[9];
    memset(text, 'x', sizeof(text));
    bytes_hex(text, bytes, 4);
    assert_string_equal(text, "009fa0ff");
    bytes_hex(text, bytes, 0);
    assert_string_equal(text, "");
}

static void test_base64(void **state)
{
    static const struct {
        const char *plain, *text;
    } cases[] = {
        // RFC 4648, section 10
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xef\xbe\xfb", "/++++w=="},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = strlen(cases[i].plain), size = 99;
        CLEANUP(kb_freep) char *text = base64_encode(cases[i].plain, n);
        assert_string_equal(text, cases[i].text);
        CLEANUP(kb_freep) char *plain = base64_decode(text, strlen(text), &size);
        assert_non_null(plain);
        assert_int_equal(size, n);
        assert_string_equal(plain, cases[i].plain);
    }

    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)(i * 7);
    for (size_t n = 0; n <= 256; n++) {
        size_t size = 999;
        CLEANUP(kb_freep) char *text = base64_encode(all, n);
        CLEANUP(kb_freep) char *plain = base64_decode(text, strlen(text), &size);
        assert_int_equal(size, n);
        assert_memory_equal(plain, all, n);
        assert_int_equal(plain[n], '\0');
    }
}

static void test_not_base64(void **state)
{
    static const char *const wrong[] = {
        "Z",      "Zg",    "Zg=",   "Zg===",        "====", "=Zg=", "Z===", "Zg==Zg==",
        "Zm9v\n", " Zm9v", "Zm 9v", "Zm9v\r\n\r\n", "Zm9-", "Zm9_", "Zm9,", "视v",
    };
    size_t size = 7;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (base64_decode(wrong[i], strlen(wrong[i]), &size) || size != 7)
            fail_msg("'%s' is base64", wrong[i]);
    assert_null(base64_decode("Zm\0v", 4, &size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_not_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
