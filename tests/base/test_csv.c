// Tables as spreadsheets write them.
#include "base/csv.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

// The cells, '|' between them, '/' behind a row.
static char *flat(const char *bytes, size_t n)
{
    struct kb_error err = {0};
    struct csv csv;
    struct text all = {0};
    assert_ok(err, csv_parse(&csv, bytes, n, "list.csv", &err));
    for (int i = 0; i < csv.n_rows; i++) {
        text_addf(&all, "%d:", csv.rows[i].line);
        for (int k = 0; k < csv.rows[i].n; k++)
            text_addf(&all, "%s%s", k ? "|" : "", csv.rows[i].cells[k]);
        text_add(&all, "/");
    }
    csv_free(&csv);
    return all.data;
}

static void cells(void **state)
{
    (void)state;
    static const struct {
        const char *text, *flat;
    } cases[] = {
        {"a,b\n1,2\n", "1:a|b/2:1|2/"},
        {"a;b;c,d\r\n1;;3\r\n", "1:a|b|c,d/2:1||3/"},
        {"a\tb\r1\t 2 \r", "1:a|b/2:1|2/"},
        {"a, b ,\"c\"\n", "1:a|b|c/"},
        {"a,b\n\n , \n1,2", "1:a|b/4:1|2/"},
        {"\"x;y\";b\n\"1\n2\",\"3 \"\"4\"\"\"\nlast", "1:x;y|b/2:1\n2,\"3 \"\"4\"\"\"/4:last/"},
        {"\"x;y\",b\n\"1\n2\",\"3 \"\"4\"\"\"\nlast", "1:x;y|b/2:1\n2|3 \"4\"/4:last/"},
        {"\xef\xbb\xbf语音,视频\n一,二\n", "1:语音|视频/2:一|二/"},
        {"\xd3\xef\xd2\xf4,\xca\xd3\xc6\xb5\n", "1:语音|视频/"}, // GB18030
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *found = flat(cases[i].text, strlen(cases[i].text));
        assert_string_equal(found, cases[i].flat);
    }
    CLEANUP(kb_freep) char *wide = flat("\xff\xfe\xed\x8b\t\0\xc6\x89\n\0", 10); // UTF-16
    assert_string_equal(wide, "1:语|视/");
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    struct kb_error err = {0};
    struct csv csv;
    assert_fails(err, KB_BAD_INPUT, "line 2", csv_parse(&csv, "a\n\"b\n\n", 6, "l", &err));
    assert_fails(err, KB_BAD_INPUT, "not a text",
                 csv_parse(&csv, "\x80\x01\x02\xff\xfe\x03\x04\x81", 8, "l", &err));
    assert_fails(err, KB_NOT_FOUND, "none.csv", csv_read(&csv, "/nowhere/none.csv", &err));
    CLEANUP(text_free) struct text many = {0};
    for (int i = 0; i < CSV_COLUMNS + 1; i++)
        text_add(&many, "x,");
    assert_fails(err, KB_BAD_INPUT, "200 cells", csv_parse(&csv, many.data, many.size, "l", &err));
    text_clear(&many);
    for (int i = 0; i < CSV_ROWS + 1; i++)
        text_add(&many, "x\n");
    assert_fails(err, KB_BAD_INPUT, "10000 lines",
                 csv_parse(&csv, many.data, many.size, "l", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
