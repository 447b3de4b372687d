// The options of custom operations: what is there is read, and nothing outside is.
#include "tests/test.h"

#include <stdlib.h>

#include "nn/import/flexbuffer.h"

// {"a": -3, "b": 1.5, "c": [1, -2, 300]}
static const uint8_t sample[50] = {
    'a',  0,    'b',  0,    'c',  0,                       // 0: keys
    3,    0,    1,    0,    0xfe, 0xff, 0x2c, 1,    0,  0, // 6: length, numbers of two bytes
    3,    17,   16,   15,                                  // 16: number and offsets of the keys
    3,    0,    0,    0,    1,    0,    0,    0,    3,  0, 0, 0, // 20: keys, their width, number
    0xfd, 0xff, 0xff, 0xff, 0,    0,    0xc0, 0x3f, 32, 0, 0, 0, // 32: values
    0x06, 0x0e, 0x2d,                                            // 44: types
    15,   0x26, 1,                                               // 47: root, its type, its width
};

static void test_values(void **state)
{
    struct flex_map m;
    int v, list[4], n;
    float f;
    assert_true(flex_open(&m, sample, sizeof(sample)));
    assert_true(flex_int(&m, "a", &v));
    assert_int_equal(v, -3);
    assert_true(flex_float(&m, "b", &f));
    assert_float_equal(f, 1.5f, 0);
    assert_true(flex_ints(&m, "c", list, 4, &n));
    assert_int_equal(n, 3);
    assert_int_equal(list[0], 1);
    assert_int_equal(list[1], -2);
    assert_int_equal(list[2], 300);
    // Of another type, too many, not there.
    assert_false(flex_int(&m, "b", &v));
    assert_false(flex_float(&m, "a", &f));
    assert_false(flex_ints(&m, "a", list, 4, &n));
    assert_false(flex_ints(&m, "c", list, 2, &n));
    assert_false(flex_int(&m, "", &v));
    assert_false(flex_int(&m, "aa", &v));
}

// All lookups on a copy of exact size, so that the sanitizer sees a read outside. Returns how many
// were answered.
static int look_up(const uint8_t *data, size_t size)
{
    struct flex_map m;
    int v, list[4], n, answered = 0;
    float f;
    CLEANUP(kb_freep) uint8_t *copy = malloc(size + 1); // + 1: malloc(0) may be NULL
    uint8_t *exact = copy + 1;
    memcpy(exact, data, size);
    if (!flex_open(&m, exact, size))
        return 0;
    answered += flex_int(&m, "a", &v);
    answered += flex_float(&m, "b", &f);
    answered += flex_ints(&m, "c", list, 4, &n);
    return answered;
}

static void test_cut(void **state)
{
    assert_int_equal(look_up(sample, sizeof(sample)), 3);
    for (size_t n = 0; n < sizeof(sample); n++) {
        look_up(sample, n);
        look_up(sample + sizeof(sample) - n, n); // the map is whole, what it points to is not
    }
    assert_int_equal(look_up(sample + 20, sizeof(sample) - 20), 0);
    assert_int_equal(look_up(sample, 0), 0);
}

static void test_damaged(void **state)
{
    uint8_t copy[sizeof(sample)];
    for (size_t at = 0; at < sizeof(sample); at++)
        for (int fill = 0; fill < 256; fill++) {
            memcpy(copy, sample, sizeof(sample));
            copy[at] = (uint8_t)fill;
            look_up(copy, sizeof(copy));
        }
    uint32_t seed = 1;
    for (int i = 0; i < 20000; i++) { // several at once
        memcpy(copy, sample, sizeof(sample));
        for (int k = 0; k < 4; k++) {
            seed = seed * 1664525u + 1013904223u;
            copy[(seed >> 8) % sizeof(copy)] = (uint8_t)(seed >> 24);
        }
        look_up(copy, sizeof(copy));
    }
    // Numbers that do not fit: more keys than are looked through, a width of three bytes.
    memcpy(copy, sample, sizeof(sample));
    copy[28] = 65;
    assert_int_equal(look_up(copy, sizeof(copy)), 0);
    memcpy(copy, sample, sizeof(sample));
    copy[24] = 3;
    assert_int_equal(look_up(copy, sizeof(copy)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
