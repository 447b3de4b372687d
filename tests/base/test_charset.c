#include "tests/test.h"

#include "base/charset.h"

#include <iconv.h>

static const char srt[] =
    "1\r\n00:00:01,000 --> 00:00:02,500\r\n今天我们来学习怎样用手机拍摄视频\r\n\r\n"
    "2\r\n00:00:03,000 --> 00:00:05,000\r\n请大家先打开相机，然后选择录像\r\n";
static const char traditional[] =
    "1\n00:00:01,000 --> 00:00:02,500\n今天我們來學習怎樣用手機拍攝影片\n\n"
    "2\n00:00:03,000 --> 00:00:05,000\n請大家先打開相機，然後選擇錄影\n";
static const char western[] =
    "1\n00:00:01,000 --> 00:00:02,500\nCet été, un café à la crème était déjà prêt\n\n"
    "2\n00:00:03,000 --> 00:00:05,000\nD'où êtes-vous arrivés, chère Hélène?\n";

static size_t encode(char *ret, size_t room, const char *encoding, const char *text)
{
    iconv_t c = iconv_open(encoding, "UTF-8");
    char *from = (char *)text, *to = ret;
    size_t left = strlen(text), space = room;
    assert_true(c != (iconv_t)-1);
    assert_int_not_equal(iconv(c, &from, &left, &to, &space), (size_t)-1);
    iconv_close(c);
    return room - space;
}

static const struct {
    const char *text, *encoding, *mark, *told;
} table[] = {
    {srt, "UTF-8", "", "UTF-8"},
    {srt, "UTF-8", "\xef\xbb\xbf", "UTF-8"},
    {srt, "GB18030", "", "GB18030"},
    {srt, "GBK", "", "GB18030"},
    {srt, "UTF-16LE", "\xff\xfe", "UTF-16LE"},
    {srt, "UTF-16BE", "\xfe\xff", "UTF-16BE"},
    {srt, "UTF-16LE", "", "UTF-16LE"},
    {srt, "UTF-16BE", "", "UTF-16BE"},
    {traditional, "BIG5", "", "BIG5"},
    {western, "WINDOWS-1252", "", NULL}, // by which of its names does not matter
    {"name,语音\n", "UTF-8", "", "UTF-8"},
    {"plain\n", "ASCII", "", "UTF-8"},
};

static void test_encodings(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char bytes[4096], name[CHARSET_NAME];
        CLEANUP(kb_freep) char *text = NULL;
        struct kb_error err = {0};
        size_t mark = strlen(table[i].mark);
        memcpy(bytes, table[i].mark, mark);
        size_t n =
            mark + encode(bytes + mark, sizeof(bytes) - mark, table[i].encoding, table[i].text);
        assert_ok(err, charset_decode(&text, name, bytes, n, "a.srt", &err));
        if (strcmp(text, table[i].text) != 0)
            fail_msg("row %zu, taken for %s: %s", i, name, text);
        if (table[i].told)
            assert_string_equal(name, table[i].told);
    }
}

static void test_no_text(void **state)
{
    char *text = NULL;
    struct kb_error err = {0};
    assert_fails(err, KB_BAD_INPUT, "a.srt", charset_decode(&text, NULL, "", 0, "a.srt", &err));
    uint8_t film[4096];
    uint32_t seed = 7;
    for (size_t i = 0; i < sizeof(film); i++)
        film[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    assert_fails(err, KB_BAD_INPUT, "a.srt",
                 charset_decode(&text, NULL, film, sizeof(film), "a.srt", &err));
    assert_null(text);
    // Cut inside of a letter, and with a byte that belongs to none: the rest is there.
    CLEANUP(kb_freep) char *cut = NULL;
    assert_ok(err, charset_decode(&cut, NULL,
                                  "\xef\xbb\xbf"
                                  "abcdefghijklmnopqrstuvwxyz \xff good \xe4\xbd",
                                  39, "a.srt", &err));
    assert_non_null(strstr(cut, "\xef\xbf\xbd good "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_encodings),
                                       cmocka_unit_test(test_no_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
