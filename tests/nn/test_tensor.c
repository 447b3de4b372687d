// Element types, conversion to float, names and shapes.
#include "tests/test.h"

#include <math.h>

#include "nn/tensor.h"

static const void *bits16(uint16_t *store, uint16_t bits)
{
    *store = bits;
    return store;
}

static void test_half_types(void **state)
{
    static const struct {
        enum dtype dtype;
        uint16_t bits;
        float value;
    } cases[] = {
        {DTYPE_F16, 0x0000, 0.0f},      {DTYPE_F16, 0x8000, -0.0f},
        {DTYPE_F16, 0x3c00, 1.0f},      {DTYPE_F16, 0xc100, -2.5f},
        {DTYPE_F16, 0x7bff, 65504.0f},  {DTYPE_F16, 0x0400, 0x1p-14f},
        {DTYPE_F16, 0x0001, 0x1p-24f},  {DTYPE_F16, 0x83ff, -1023 * 0x1p-24f},
        {DTYPE_F16, 0x7c00, INFINITY},  {DTYPE_F16, 0xfc00, -INFINITY},
        {DTYPE_BF16, 0x3f80, 1.0f},     {DTYPE_BF16, 0xc020, -2.5f},
        {DTYPE_BF16, 0x7f80, INFINITY}, {DTYPE_BF16, 0x0001, 0x1p-133f},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint16_t store;
        struct tensor t = {.dtype = cases[i].dtype, .data = bits16(&store, cases[i].bits)};
        CLEANUP(kb_freep) float *f = tensor_to_f32(&t);
        if (memcmp(f, &cases[i].value, sizeof(*f)) != 0)
            fail_msg("case %zu: %a, wanted %a", i, (double)*f, (double)cases[i].value);
    }
    uint16_t nan_bits;
    struct tensor t = {.dtype = DTYPE_F16, .data = bits16(&nan_bits, 0x7e01)};
    CLEANUP(kb_freep) float *f = tensor_to_f32(&t);
    assert_true(isnan(*f));
}

static void test_integers(void **state)
{
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    const int64_t two = 2;
    assert_ok(err,
              tensor_set_add(set, "i64", DTYPE_I64, 1, &two, (int64_t[]){-3, 1 << 20}, NULL, &err));
    assert_ok(err,
              tensor_set_add(set, "i32", DTYPE_I32, 1, &two, (int32_t[]){-3, 1 << 20}, NULL, &err));
    assert_ok(err, tensor_set_add(set, "u8", DTYPE_U8, 1, &two, (uint8_t[]){253, 7}, NULL, &err));
    assert_ok(err, tensor_set_add(set, "s8", DTYPE_S8, 1, &two, (int8_t[]){-3, 7}, NULL, &err));
    const float wanted[4][2] = {{-3, 1 << 20}, {-3, 1 << 20}, {253, 7}, {-3, 7}};
    for (size_t i = 0; i < tensor_set_count(set); i++) {
        CLEANUP(kb_freep) float *f = tensor_to_f32(tensor_set_at(set, i));
        assert_memory_equal(f, wanted[i], sizeof(wanted[i]));
    }
}

static void test_set(void **state)
{
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    assert_null(tensor_set_find(set, "a"));
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        void *data;
        assert_ok(err, tensor_set_add(set, name, DTYPE_F32, 0, NULL, NULL, &data, &err));
        assert_true(*(float *)data == 0);
        *(float *)data = (float)i;
    }
    assert_int_equal(tensor_set_count(set), 1000);
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        const struct tensor *t = tensor_set_find(set, name);
        assert_non_null(t);
        assert_ptr_equal(t, tensor_set_at(set, (size_t)i));
        assert_true(*(const float *)t->data == (float)i);
    }
    assert_null(tensor_set_find(set, "t1000"));
}

static void test_refused(void **state)
{
    static const struct {
        const char *name;
        int n_dims;
        int64_t dims[TENSOR_MAX_DIMS];
        const char *part;
    } cases[] = {
        {"there", 1, {2}, "twice"},
        {"", 1, {2}, "name"},
        {"bell\a", 1, {2}, "name"},
        {"negative", 2, {2, -1}, "impossible shape"},
        {"huge", 3, {1 << 30, 1 << 30, 1 << 30}, "impossible shape"},
        {"huge, empty", 4, {1 << 30, 1 << 30, 1 << 30, 0}, "impossible shape"},
        {"flat", 9, {1, 1, 1, 1, 1, 1, 1, 1}, "impossible shape"},
        {"flatter", -1, {0}, "impossible shape"},
    };
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    assert_ok(err, tensor_set_add(set, "there", DTYPE_U8, 1, (int64_t[]){2}, NULL, NULL, &err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_fails(err, KB_BAD_INPUT, cases[i].part,
                     tensor_set_add(set, cases[i].name, DTYPE_F32, cases[i].n_dims, cases[i].dims,
                                    NULL, NULL, &err));
    assert_int_equal(tensor_set_count(set), 1);
}

static void test_texts(void **state)
{
    struct tensor t = {.n_dims = 4, .dims = {64, 32, 3, 3}};
    assert_string_equal(tensor_shape(&t).text, "[64, 32, 3, 3]");
    t.n_dims = 0;
    assert_string_equal(tensor_shape(&t).text, "[]");
    assert_int_equal(tensor_count(&t), 1);
    t.n_dims = TENSOR_MAX_DIMS;
    for (int i = 0; i < TENSOR_MAX_DIMS; i++)
        t.dims[i] = INT64_MAX;
    assert_true(strlen(tensor_shape(&t).text) < sizeof(tensor_shape(&t).text)); // cut, not overrun

    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    tensor_set_put_meta(set, "a", "1");
    tensor_set_put_meta(set, "b", "2");
    tensor_set_put_meta(set, "a", "3");
    assert_int_equal(tensor_set_meta_count(set), 2);
    assert_string_equal(tensor_set_meta(set, "a"), "3");
    assert_null(tensor_set_meta(set, "c"));
    const char *key, *value;
    tensor_set_meta_at(set, 1, &key, &value);
    assert_string_equal(key, "b");
    assert_string_equal(value, "2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_types), cmocka_unit_test(test_integers),
        cmocka_unit_test(test_set),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
