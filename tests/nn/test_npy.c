// NumPy's file format.
#include "tests/test.h"

#include <unistd.h>

#include "base/file.h"
#include "nn/import/import.h"

static char path[64];

static int make_path(void **state)
{
    snprintf(path, sizeof(path), "/tmp/koubo-test-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    return unlink(path);
}

// Write a version 1 (or 2) file with this dict and data, and read it.
static enum kb_code read_made(struct tensor_set **ret, int version, const char *dict,
                              const void *data, size_t size, struct kb_error *err)
{
    uint8_t file[512] = "\x93NUMPY";
    size_t n = strlen(dict), start = version == 1 ? 10 : 12;
    file[6] = (uint8_t)version;
    file[8] = (uint8_t)(n & 255);
    file[9] = (uint8_t)(n >> 8);
    memcpy(file + start, dict, n);
    memcpy(file + start + n, data, size);
    enum kb_code code = file_write_atomic(path, file, start + n + size, err);
    return code == KB_OK ? npy_read(ret, path, err) : code;
}

static void test_types(void **state)
{
    const struct {
        const char *descr;
        enum dtype dtype;
        size_t size;
        const void *data;
    } cases[] = {
        {"<f4", DTYPE_F32, 8, (const float[]){1.5f, -2}},
        {"<f8", DTYPE_F32, 16, (const double[]){1.5, -2}},
        {"<f2", DTYPE_F16, 4, (const uint16_t[]){0x3e00, 0xc000}},
        {"<i4", DTYPE_I32, 8, (const int32_t[]){1, -2}},
        {"<i8", DTYPE_I64, 16, (const int64_t[]){1, -2}},
        {"|u1", DTYPE_U8, 2, (const uint8_t[]){1, 254}},
        {"|i1", DTYPE_S8, 2, (const int8_t[]){1, -2}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        char dict[128];
        snprintf(dict, sizeof(dict),
                 "{'descr': '%s', 'fortran_order': False, 'shape': (2, 1), }    \n",
                 cases[i].descr);
        assert_ok(err, read_made(&set, 1 + (int)(i % 2), dict, cases[i].data, cases[i].size, &err));
        const struct tensor *t = tensor_set_find(set, "array");
        assert_int_equal(t->dtype, cases[i].dtype);
        assert_string_equal(tensor_shape(t).text, "[2, 1]");
        CLEANUP(kb_freep) float *f = tensor_to_f32(t);
        assert_true(f[0] == (i < 3 ? 1.5f : 1) && f[1] == (cases[i].dtype == DTYPE_U8 ? 254 : -2));
    }
}

static void test_broken(void **state)
{
    static const struct {
        const char *dict, *part;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", "column by column"},
        {"{'descr': '<f4', 'shape': (2,), }", "column by column"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, }", "shorter"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 2, }", "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "shorter"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
         "shorter"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", "<c8"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "type"},
        {"{'fortran_order': False, 'shape': (2,), }", "type"},
        {"", "column"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        struct tensor_set *set = NULL;
        // "(2, }" is read as far as it goes wrong, which is the brace.
        const char *part = i == 2 ? "shape" : cases[i].part;
        assert_fails(err, KB_BAD_INPUT, part,
                     read_made(&set, 1, cases[i].dict, (const float[]){1, 2}, 8, &err));
        assert_non_null(strstr(err.text, path));
    }
}

static void test_write(void **state)
{
    struct kb_error err = {0};
    const float data[6] = {0, 1, 2, 3, 4, 5};
    static const struct {
        int n_dims;
        int64_t dims[3];
        const char *shape;
    } cases[] = {
        {0, {0}, "[]"}, {1, {6}, "[6]"}, {3, {1, 2, 3}, "[1, 2, 3]"}, {2, {0, 3}, "[0, 3]"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
        assert_ok(err, npy_write(path, cases[i].n_dims, cases[i].dims, data, &err));
        assert_ok(err, npy_read(&set, path, &err));
        const struct tensor *t = tensor_set_at(set, 0);
        assert_string_equal(tensor_shape(t).text, cases[i].shape);
        assert_memory_equal(t->data, data, (size_t)tensor_count(t) * sizeof(float));
    }
}

static void test_truncated(void **state)
{
    struct kb_error err = {0};
    const float data[2] = {1, 2};
    assert_ok(err, npy_write(path, 1, (int64_t[]){2}, data, &err));
    uint8_t file[256];
    CLEANUP(file_unmap) struct file_map m = {0};
    assert_ok(err, file_map(&m, path, &err));
    size_t size = m.size;
    assert_true(size <= sizeof(file));
    memcpy(file, m.data, size);
    for (size_t n = 0; n < size; n++) {
        struct tensor_set *set = NULL;
        assert_ok(err, file_write_atomic(path, file, n, &err));
        assert_fails(err, KB_BAD_INPUT, path, npy_read(&set, path, &err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_truncated),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
