#include "tests/test.h"

#include "base/date.h"

#include <locale.h>

static void test_writing(void **state)
{
    static const struct {
        int64_t time_s;
        const char *text;
    } cases[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 "},
        {0, "Thu, 01 Jan 1970 00:00:00 "},
        {951782399, "Mon, 28 Feb 2000 23:59:59 "},
        {951782400, "Tue, 29 Feb 2000 00:00:00 "},
        {4102444800, "Fri, 01 Jan 2100 00:00:00 "},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 "},
        // what a file system may say
        {253402300800, "Fri, 31 Dec 9999 23:59:59 "},
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 "},
        {-1, "Thu, 01 Jan 1970 00:00:00 "},
        {INT64_MIN, "Thu, 01 Jan 1970 00:00:00 "},
    };
    setlocale(LC_ALL, "zh_CN.UTF-8"); // where there is one
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[DATE_BYTES], wanted[40];
        date_http(text, cases[i].time_s);
        snprintf(wanted, sizeof(wanted), "%sGMT", cases[i].text);
        assert_string_equal(text, wanted);
        date_mail(text, cases[i].time_s);
        snprintf(wanted, sizeof(wanted), "%s+0000", cases[i].text);
        assert_string_equal(text, wanted);
    }
    setlocale(LC_ALL, "C");
}

static void test_reading(void **state)
{
    static const int64_t times[] = {0, 1, 784111777, 951782400, 4102444800, 253402300799};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        char text[DATE_BYTES];
        int64_t time_s = -1;
        date_http(text, times[i]);
        assert_true(date_http_parse(text, &time_s));
        assert_int_equal(time_s, times[i]);
    }
    static const char *const wrong[] = {
        "",
        "yesterday",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT, Mon",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "Sun, 06 anF 1994 08:49:37 GMT",
        "Sun, 06 No 1994 08:49:37 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Wed, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 -8:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        int64_t time_s = -7;
        if (date_http_parse(wrong[i], &time_s) || time_s != -7)
            fail_msg("'%s' is a date", wrong[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
