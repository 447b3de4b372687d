// How long nothing may be heard of a worker.
#include "tests/test.h"

#include "worker/hang.h"

static void test_limits(void **state)
{
    static const struct {
        int64_t hang_ms, silent_ms;
    } table[] = {
        {60000, 20000},       // as it comes
        {5000, 5000},         // a shorter one is not made longer
        {20000, 20000},       //
        {30000, 20000},       //
        {90000, 30000},       //
        {86400000, 28800000}, // of who looks at a worker in the debugger
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int64_t hang = table[i].hang_ms;
        assert_int_equal(hang_silent_ms(hang), table[i].silent_ms);
        assert_int_equal(hang_asset_ms(hang), KB_MAX(hang, 60000)); // longer than a worker's own 40
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
