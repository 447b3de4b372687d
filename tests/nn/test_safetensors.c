// The safetensors format: what is written can be read, what is broken is named.
#include "tests/test.h"

#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "nn/import/import.h"

// 8 bytes of length, the header, then n bytes of data. Free the result.
static uint8_t *make_file(const char *header, size_t n, size_t *ret_size)
{
    uint64_t length = strlen(header);
    *ret_size = 8 + (size_t)length + n;
    uint8_t *file = kb_alloc(*ret_size);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, (size_t)length);
    return file;
}

static void test_round_trip(void **state)
{
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I64,
                                        DTYPE_I32, DTYPE_U8,  DTYPE_S8};
    uint8_t data[256];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++)
        assert_ok(err, tensor_set_add(set, dtype_name(dtypes[i]), dtypes[i], 3,
                                      (int64_t[]){2, 3, 1 + (int64_t)i % 3}, data, NULL, &err));
    assert_ok(err, tensor_set_add(set, "scalar", DTYPE_F32, 0, NULL, data, NULL, &err));
    assert_ok(err, tensor_set_add(set, "empty", DTYPE_F32, 2, (int64_t[]){0, 4}, NULL, NULL, &err));
    tensor_set_put_meta(set, "title", "口播 \"quoted\"\n");

    char path[] = "/tmp/koubo-test-XXXXXX";
    close(mkstemp(path));
    assert_ok(err, safetensors_write(path, set, &err));
    CLEANUP(tensor_set_free) struct tensor_set *back = NULL;
    assert_ok(err, weights_load(&back, path, &err));
    CLEANUP(file_unmap) struct file_map m = {0};
    assert_ok(err, file_map(&m, path, &err));
    uint64_t length;
    memcpy(&length, m.data, 8);
    assert_int_equal((8 + length) % 8, 0); // data is aligned for its widest type
    unlink(path);

    assert_int_equal(tensor_set_count(back), tensor_set_count(set));
    for (size_t i = 0; i < tensor_set_count(set); i++) {
        const struct tensor *a = tensor_set_at(set, i), *b = tensor_set_at(back, i);
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->dtype, b->dtype);
        assert_string_equal(tensor_shape(a).text, tensor_shape(b).text);
        assert_memory_equal(a->data, b->data, (size_t)tensor_count(a) * dtype_size(a->dtype));
    }
    assert_string_equal(tensor_set_meta(back, "title"), "口播 \"quoted\"\n");
}

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_broken_headers(void **state)
{
    static const struct {
        const char *header;
        size_t n;
        const char *part;
    } cases[] = {
        {"[]", 0, "not JSON"},
        {"{\"a\":", 0, "not JSON"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"a\":" ENTRY("F32", "[1]", "[4,8]") "}", 8,
         "twice"},
        {"{\"a\":3}", 0, "of type"},
        {"{\"a\":" ENTRY("F8_E4M3", "[4]", "[0,4]") "}", 4, "F8_E4M3"},
        {"{\"a\":" ENTRY("F32", "4", "[0,4]") "}", 4, "no shape"},
        {"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "no shape"},
        {"{\"a\":" ENTRY("F32", "[-1]", "[0,4]") "}", 4, "whole numbers"},
        {"{\"a\":" ENTRY("F32", "[1.5]", "[0,4]") "}", 4, "whole numbers"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0]") "}", 4, "data_offsets"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,5]") "}", 4, "incomplete"},
        {"{\"a\":" ENTRY("F32", "[1]", "[-4,0]") "}", 4, "lies at"},
        {"{\"a\":" ENTRY("F32", "[1]", "[4,0]") "}", 4, "lies at"},
        {"{\"a\":" ENTRY("F32", "[2]", "[0,4]") "}", 4, "does not match"},
        {"{\"a\":" ENTRY("F32", "[4611686018427387904,2]", "[0,0]") "}", 0, "does not match"},
        {"{\"a\":" ENTRY("U8", "[4]", "[0,4]") ",\"b\":" ENTRY("U8", "[4]", "[2,6]") "}", 6,
         "overlap"},
        {"{\"a\":" ENTRY("U8", "[4]", "[0,4]") ",\"b\":" ENTRY("U8", "[4]", "[0,4]") "}", 4,
         "overlap"},
        {"{\"a\":" ENTRY("U8", "[4]", "[0,4]") ",\"b\":" ENTRY("U8", "[1]", "[5,6]") "}", 6,
         "no tensor uses"},
        {"{\"a\":" ENTRY("U8", "[4]", "[0,4]") "}", 6, "follow after"},
        {"{\"\":" ENTRY("U8", "[4]", "[0,4]") "}", 4, "name"},
        {"{\"__metadata__\":{\"x\":1}}", 0, "not a text"},
        {"{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}", 0, "twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "of type"},
        {"{\"__metadata__\":3}", 0, "not JSON"},
        {"{\"__metadata__\":{\"x\":\"1\"}", 0, "not JSON"},
        {"{\"__metadata__\":{\"x\":\"1\",}}", 0, "not JSON"},
        {"{\"a\" " ENTRY("U8", "[4]", "[0,4]") "}", 4, "not JSON"},
        {"{\"a\":" ENTRY("U8", "[4]", "[0,4]") "},", 4, "not JSON"},
        {"{\"a\":" ENTRY("U8", "[4}", "[0,4]") "}", 4, "not JSON"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 4, "not JSON"},
        {"{\"a\\\":" ENTRY("U8", "[4]", "[0,4]") "}", 4, "not JSON"},
        {"{\"\xff\":" ENTRY("U8", "[4]", "[0,4]") "}", 4, "not JSON"},
        {"{,}", 0, "not JSON"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        size_t size;
        CLEANUP(kb_freep) uint8_t *file = make_file(cases[i].header, cases[i].n, &size);
        struct tensor_set *set = NULL;
        assert_fails(err, KB_BAD_INPUT, cases[i].part, safetensors_read(&set, file, size, &err));
        assert_null(set);
    }
}

// A header as large as is taken, of the kinds that took most: 45 times its size and seconds.
static void test_large_headers(void **state)
{
    static const char *const members[] = {"\"%07d\":{},", "\"%07d\":[[[[]]]],", "\"%07d\":\"\","};
    size_t most = 8 << 20, size;
    for (size_t kind = 0; kind < ARRAY_LEN(members) + 2; kind++) {
        struct text t = {0};
        struct kb_error err = {0};
        struct tensor_set *set = NULL;
        text_add(&t, kind == 3 ? "{\"__metadata__\":{" : kind == 4 ? "{\"a\":[" : "{");
        for (int i = 0; t.size < most - 100; i++)
            if (kind == 4)
                text_add(&t, "1,");
            else
                text_addf(&t, members[kind % 3], i);
        text_add(&t, kind == 3 ? "\"x\":\"\"}}" : kind == 4 ? "1]}" : "\"x\":\"\"}");
        uint8_t *file = make_file(t.data, 0, &size);
        int64_t begin = kb_now_us();
        assert_fails(err, KB_BAD_INPUT, "", safetensors_read(&set, file, size, &err));
        assert_true(kb_now_us() - begin < 10000000);
        uint64_t beyond = most + 1;
        memcpy(file, &beyond, 8);
        assert_fails(err, KB_BAD_INPUT, "", safetensors_read(&set, file, size, &err));
        free(file);
        text_free(&t);
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    if (used.ru_maxrss > 200000) // 40,000; a tree of it takes 370,000
        fail_msg("%ld kB", used.ru_maxrss);
#endif
}

// As many tensors as a header can name: in one pass, and with little more than their names.
static void test_many_tensors(void **state)
{
    enum { N = 80000 };
    struct text t = {0};
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    size_t size;
    text_add(&t, "{");
    for (int i = 0; i < N; i++)
        text_addf(&t, "%s\"%x\":" ENTRY("U8", "[1]", "[%d,%d]"), i ? " , " : " ", i, i, i + 1);
    text_add(&t, "}  ");
    CLEANUP(kb_freep) uint8_t *file = make_file(t.data, N, &size);
    int64_t begin = kb_now_us();
    assert_ok(err, safetensors_read(&set, file, size, &err));
    print_message("# %d tensors: %.0f ms\n", N, (double)(kb_now_us() - begin) / 1e3);
    assert_int_equal(tensor_set_count(set), N);
    text_free(&t);
}

// Cut at every byte: never a crash, never a success.
static void test_truncated(void **state)
{
    size_t size;
    CLEANUP(kb_freep)
    uint8_t *file =
        make_file("{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("U8", "[3]", "[8,11]") "}",
                  11, &size);
    for (size_t n = 0; n < size; n++) {
        struct kb_error err = {0};
        struct tensor_set *set = NULL;
        CLEANUP(kb_freep)
        uint8_t *cut = malloc(n + 1); // its own block, so that ASan sees overreads
        memcpy(cut, file, n);
        assert_fails(err, KB_BAD_INPUT, "", safetensors_read(&set, cut, n, &err));
    }
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    assert_ok(err, safetensors_read(&set, file, size, &err));
}

static void test_load_errors(void **state)
{
    struct kb_error err = {0};
    struct tensor_set *set = NULL;
    assert_fails(err, KB_NOT_FOUND, "/tmp/koubo-no-such-file",
                 weights_load(&set, "/tmp/koubo-no-such-file", &err));
    char path[] = "/tmp/koubo-test-XXXXXX";
    close(mkstemp(path));
    assert_ok(err, file_write_atomic(path, "<html>404</html>", 16, &err));
    assert_fails(err, KB_BAD_INPUT, "neither safetensors", weights_load(&set, path, &err));
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_large_headers),
        cmocka_unit_test(test_many_tensors), cmocka_unit_test(test_load_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
