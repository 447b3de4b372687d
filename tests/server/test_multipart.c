// The form parser: what it makes of bodies, however they are cut into pieces; and the metadata of
// tus, which is a small language of its own.
#include "tests/test.h"

#include "base/text.h"
#include "server/upload/multipart.h"
#include "server/upload/tus.h"

// What was told, as text: "<name|filename>content." per part; "!" where it stopped.
struct told {
    struct text text;
    int stop_after; // calls; 0 = never
};

static bool go_on(struct told *t)
{
    return t->stop_after == 0 || --t->stop_after > 0;
}

static bool told_part(void *ctx, const char *name, const char *filename)
{
    struct told *t = ctx;
    text_addf(&t->text, "<%s|%s>", name, filename ? filename : "-");
    return go_on(t);
}

static bool told_data(void *ctx, const void *data, size_t n)
{
    struct told *t = ctx;
    assert_true(n > 0);
    text_add_bytes(&t->text, data, n);
    return go_on(t);
}

static bool told_end(void *ctx)
{
    struct told *t = ctx;
    text_add(&t->text, ".");
    return go_on(t);
}

static const struct multipart_calls calls = {told_part, told_data, told_end};

// cut: bytes of a piece, or, if first > 0, only one cut there.
static enum kb_code parse(struct text *ret, const char *type, const char *body, size_t size,
                          size_t cut, size_t first, struct kb_error *err)
{
    struct told t = {0};
    CLEANUP(multipart_free) struct multipart *m = NULL;
    enum kb_code code = multipart_create(&m, type, &calls, &t, err);
    for (size_t at = 0; code == KB_OK && at < size;) {
        size_t n = at == 0 && first ? first : KB_MIN(cut, size - at);
        char *piece = malloc(n); // of its own, so that ASan sees a read beyond it
        memcpy(piece, body + at, n);
        code = multipart_feed(m, piece, n, err);
        free(piece);
        at += n;
    }
    if (code == KB_OK)
        code = multipart_finish(m, err);
    *ret = t.text;
    return code;
}

#define TYPE "multipart/form-data; boundary=AaB"
#define PART "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\r\n"

static void test_bodies(void **state)
{
    static const struct {
        const char *type, *body, *told; // told NULL: refused
    } cases[] = {
        {TYPE, "--AaB\r\n" PART "hello\r\n--AaB--\r\n", "<file|a.mp4>hello."},
        {TYPE, "\r\n--AaB\r\n" PART "hello\r\n--AaB--", "<file|a.mp4>hello."},
        {TYPE, "preamble\r\nmore\r\n--AaB\r\n" PART "x\r\n--AaB--\r\nepilogue", "<file|a.mp4>x."},
        {"Multipart/Form-Data ; boundary=\"AaB\"", "--AaB\r\n" PART "x\r\n--AaB--",
         "<file|a.mp4>x."},
        {TYPE "; charset=utf-8", "--AaB\r\n" PART "x\r\n--AaB--", "<file|a.mp4>x."},
        // content that looks like the delimiter until its last byte
        {TYPE, "--AaB\r\n" PART "a\r\n--Aa\r\n--AaC\r\r\n\r\n--Aa\r\n--AaB--",
         "<file|a.mp4>a\r\n--Aa\r\n--AaC\r\r\n\r\n--Aa."},
        {TYPE, "--AaB\r\n" PART "\r\n--AaB--", "<file|a.mp4>."},
        {TYPE, "--AaB\r\n" PART "\r\n\r\n--AaB--", "<file|a.mp4>\r\n."},
        // several, other headers around, a field that is no file, padding behind the boundary
        {TYPE,
         "--AaB \t\r\nContent-Type: x\r\n" PART "1\r\n--AaB\r\ncontent-disposition:form-data;"
         "name=n\r\nX: y\r\n\r\nv\r\n--AaB--",
         "<file|a.mp4>1.<n|->v."},
        // names
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=\"f\"; filename=\"新建 视频;1.mp4\""
         "\r\n\r\nx\r\n--AaB--",
         "<f|新建 视频;1.mp4>x."},
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=\"f\"; filename=\"C:\\dir\\a.mp4\""
         "\r\n\r\nx\r\n--AaB--",
         "<f|C:\\dir\\a.mp4>x."},
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\\\"b\\\\c\""
         "\r\n\r\nx\r\n--AaB--",
         "<f|a\"b\\c>x."},
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=\"f\"; filename=\"%22a%0D%0a%25.mp4\""
         "\r\n\r\nx\r\n--AaB--",
         "<f|\"a%25.mp4>x."},
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=f; filename=a; "
         "filename*=utf-8'zh'%e6%96%b0.mp4\r\n\r\nx\r\n--AaB--",
         "<f|新.mp4>x."},
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=f; filename*=UTF-8''%E6%9; "
         "filename=plain\r\n\r\nx\r\n--AaB--",
         "<f|plain>x."},
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=f; filename*=UTF-8''a%00b; "
         "filename=plain\r\n\r\nx\r\n--AaB--",
         "<f|plain>x."},
        {TYPE,
         "--AaB\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\r\n"
         "\r\n--AaB--",
         "<f|>."},
        {TYPE, "--AaB--\r\n", ""},
        // wrong ones
        {TYPE, "", NULL},
        {TYPE, "--AaB\r\n" PART "hello\r\n--Aa", NULL},
        {TYPE, "--AaB\r\n" PART "hello\r\n--AaB\r\n", NULL},
        {TYPE, "--AaB\r\n" PART "hello\r\n--AaBx\r\n", NULL},
        {TYPE, "--AaB\r\n\r\nhello\r\n--AaB--", NULL},
        {TYPE, "--AaB\r\nContent-Disposition: attachment; name=x\r\n\r\nhello\r\n--AaB--", NULL},
        {TYPE, "--other\r\n" PART "hello\r\n--other--", NULL},
        {"multipart/form-data", "--AaB--", NULL},
        {"multipart/form-data; boundary=", "--AaB--", NULL},
        {"multipart/form-data; boundary=\"a b \"", "--AaB--", NULL},
        {"multipart/form-data; boundary=\"a\tb\"", "--AaB--", NULL},
        {"multipart/form-data; boundary="
         "12345678901234567890123456789012345678901234567890123456789012345678901",
         "--AaB--", NULL},
        {"multipart/form-dataX; boundary=AaB", "--AaB--", NULL},
        {"multipart/mixed; boundary=AaB", "--AaB--", NULL},
        {"text/plain", "--AaB--", NULL},
        {NULL, "--AaB--", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t size = strlen(cases[i].body);
        // whole, byte by byte, in threes, and cut once at every place
        for (size_t cut = 0; cut < size + 3; cut++) {
            struct kb_error err = {0};
            CLEANUP(text_free) struct text told = {0};
            size_t piece = cut == 0 ? size + 1 : cut == 1 ? 1 : cut == 2 ? 3 : size + 1;
            enum kb_code code = parse(&told, cases[i].type, cases[i].body, size, piece,
                                      cut > 2 ? cut - 2 : 0, &err);
            if (cases[i].told && (code != KB_OK || strcmp(text_get(&told), cases[i].told) != 0))
                fail_msg("case %zu, cut %zu: '%s' %s", i, cut, text_get(&told), err.text);
            if (!cases[i].told && (code != KB_BAD_INPUT || !err.text[0]))
                fail_msg("case %zu, cut %zu was taken as '%s'", i, cut, text_get(&told));
        }
    }
}

// Whoever is told may stop it, and is told no more.
static void test_stopping(void **state)
{
    static const char body[] = "--AaB\r\n" PART "hello\r\n--AaB\r\n" PART "x\r\n--AaB--";
    for (int n = 1; n <= 6; n++) {
        struct told t = {.stop_after = n};
        struct multipart *m = NULL;
        struct kb_error err = {0};
        assert_ok(err, multipart_create(&m, TYPE, &calls, &t, &err));
        assert_int_equal(multipart_feed(m, body, sizeof(body) - 1, &err), KB_CANCELLED);
        assert_string_equal(err.text, "");
        size_t size = t.text.size;
        assert_int_equal(multipart_feed(m, body, sizeof(body) - 1, &err), KB_CANCELLED);
        assert_int_equal(t.text.size, size);
        assert_int_equal(t.stop_after, 0);
        multipart_free(&m);
        text_free(&t.text);
    }
}

static void test_limits(void **state)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text long_header = {0}, many = {0}, zero = {0}, told = {0};
    text_add(&long_header, "--AaB\r\nX: ");
    for (int i = 0; i < 20000; i++)
        text_add(&long_header, "y");
    text_add(&long_header, "\r\n" PART "x\r\n--AaB--");
    assert_fails(err, KB_BAD_INPUT, "too long",
                 parse(&told, TYPE, long_header.data, long_header.size, 1000, 0, &err));
    text_free(&told);
    for (int i = 0; i <= MULTIPART_MAX_PARTS; i++)
        text_add(&many, "--AaB\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n");
    assert_fails(err, KB_BAD_INPUT, "parts",
                 parse(&told, TYPE, many.data, many.size, 999, 0, &err));
    text_free(&told);
    text_add_bytes(&zero, "--AaB\r\nContent-Disposition: form-data; name=\"a\0b\"\r\n\r\n", 53);
    assert_fails(err, KB_BAD_INPUT, "zero byte",
                 parse(&told, TYPE, zero.data, zero.size, 999, 0, &err));
}

static void test_parameters(void **state)
{
    static const struct {
        const char *value, *name, *wanted;
    } cases[] = {
        {"form-data; name=a", "name", "a"},
        {"form-data; NAME=a", "name", "a"},
        {"form-data;name = \"a b\" ; x=y", "name", "a b"},
        {"form-data; xname=a; name=b", "name", "b"},
        {"form-data; x=\"; name=a\"; name=b", "name", "b"},
        {"form-data; name", "name", NULL},
        {"form-data; name=", "name", ""},
        {"form-data; name=\"a", "name", "a"},
        {"form-data; name=\"a\\", "name", "a\\"},
        {"form-data", "name", NULL},
        {"", "name", NULL},
        {";;;=;name=a", "name", "a"},
        {"x; name*=latin-1''a; name=b", "name", "b"},
        {"x; name*=UTF-8'de'a%41; name=b", "name", "aA"},
        {"x; name*=UTF-8''%4; name=b", "name", "b"},
        {"x; name*=UTF-8''%1g; name=b", "name", "b"},
        {"x; name*=UTF-8", "name", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *got = header_parameter(cases[i].value, cases[i].name);
        if ((got == NULL) != (cases[i].wanted == NULL) ||
            (got && strcmp(got, cases[i].wanted) != 0))
            fail_msg("%s: '%s', wanted '%s'", cases[i].value, got ? got : "NULL",
                     cases[i].wanted ? cases[i].wanted : "NULL");
    }
}

static void test_tus_metadata(void **state)
{
    static const struct {
        const char *header, *filename, *lang, *error;
    } cases[] = {
        {NULL, NULL, "", NULL},
        {"", NULL, "", NULL},
        {"filename YS5tcDQ=", "a.mp4", "", NULL},
        {"filename 5paw5bu6Lm1wNA==,filetype dmlkZW8vbXA0,lang emg=", "新建.mp4", "zh", NULL},
        {"filetype dmlkZW8vbXA0 , lang ZW4= ,filename YQ==", "a", "en", NULL},
        {"is_confidential,filename YQ==", "a", "", NULL},
        {"lang ZnI=", NULL, "", NULL}, // a language that is not spoken here
        {"filename", "", "", NULL},
        {"filename !!!!", NULL, NULL, "base64"},
        {"filename YQ=", NULL, NULL, "base64"},
        {"filename YQ", NULL, NULL, "base64"},
        {"filename Y=Q=", NULL, NULL, "base64"},
        {"filename ====", NULL, NULL, "base64"},
        {"filename YQ==  YQ==", NULL, NULL, "base64"},
        {"other *", NULL, NULL, "base64"},
        {"filename YQ==,,lang emg=", NULL, NULL, "without a name"},
        {"filename YQ==,", NULL, NULL, "without a name"},
        {"filename YQ==,filename Yg==", NULL, NULL, "more than once"},
        {"filename YQBi", NULL, NULL, "UTF-8"}, // a NUL inside
        {"filename //79", NULL, NULL, "UTF-8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        struct tus_metadata m = {0};
        enum kb_code code = tus_metadata_parse(&m, cases[i].header, &err);
        if (cases[i].error) {
            if (code != KB_BAD_INPUT || !strstr(err.text, cases[i].error))
                fail_msg("'%s': %d %s", cases[i].header, code, err.text);
            continue;
        }
        assert_ok(err, code);
        assert_string_equal(m.lang, cases[i].lang);
        assert_int_equal(m.filename == NULL, cases[i].filename == NULL);
        if (m.filename)
            assert_string_equal(m.filename, cases[i].filename);
        tus_metadata_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),       cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_tus_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
