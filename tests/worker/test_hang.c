// How long nothing may be heard of a worker, and how much it may say.
#include "tests/test.h"

#include "worker/flood.h"
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

static void test_flood(void **state)
{
    struct flood f = {0};
    int64_t now = 50000000, heard = 0;
    for (int i = 0; i < 3000; i++) { // ms: ten messages each, then silence, then one of 160 KiB
        flood_may_speak(&f, now);    // as in every turn
        for (int k = 0; k < 10 && i < 1000 && flood_may_speak(&f, now); k++, heard++)
            flood_heard(&f, 100);
        if (i >= 2000 && flood_may_speak(&f, now))
            flood_heard(&f, 160 << 10);
        if (i == 999)
            assert_int_equal(heard, 5000);
        now += 1000;
    }
    assert_true(f.bytes >= 4 << 20 && f.bytes < (4 << 20) + (160 << 10));
    assert_false(flood_is_too_long(&f));
    for (int second = 0; second < 11; second++, now += 1000000) {
        assert_int_equal(flood_is_too_long(&f), second >= 10);
        while (flood_may_speak(&f, now))
            flood_heard(&f, 100);
    }
    assert_true(flood_is_too_long(&f));
    flood_may_speak(&f, now + 1000000);
    flood_may_speak(&f, now + 2000000); // a second of silence
    assert_false(flood_is_too_long(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits), cmocka_unit_test(test_flood)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
