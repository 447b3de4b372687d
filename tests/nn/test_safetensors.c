// The safetensors format: what is written can be read, what is broken is named.
#include "tests/test.h"

#include <unistd.h>

#include "base/file.h"
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
         "JSON"},
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
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_load_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
