#include "../test.h"

#include "media/clock.h"

#define MS  (CLOCK_HZ / 1000)
#define ANY INT32_MIN // no time stamp

// Pieces of 20 ms with time stamps in milliseconds, and where each of them begins.
static void test_place(void **state)
{
    static const struct {
        const char *what;
        int n;
        int stamps[10], places[10];
    } cases[] = {
        {"without a hole", 4, {0, 20, 40, 60}, {0, 20, 40, 60}},
        {"rounded", 5, {0, 21, 39, 61, 80}, {0, 20, 40, 60, 80}},
        {"no stamps", 4, {ANY, ANY, ANY, ANY}, {0, 20, 40, 60}},
        {"some stamps", 5, {0, ANY, ANY, 160, ANY}, {0, 20, 40, 160, 180}},
        {"a late start", 3, {500, 520, 540}, {500, 520, 540}},
        {"an early start", 3, {-20, 0, 20}, {-20, 0, 20}},
        {"a start that was rounded", 3, {-1, 19, 39}, {0, 20, 40}},
        {"a hole", 5, {0, 20, 1040, 1060, 1080}, {0, 20, 1040, 1060, 1080}},
        {"one piece is lost", 5, {0, 20, 60, 80, 100}, {0, 20, 60, 80, 100}},
        {"two holes", 6, {0, 40, 60, 200, 220, 240}, {0, 40, 60, 200, 220, 240}},
        {"one stamp is off", 6, {0, 20, 90, 60, 80, 100}, {0, 20, 40, 60, 80, 100}},
        {"one is early", 6, {0, 20, 40, 30, 80, 100}, {0, 20, 40, 60, 80, 100}},
        {"they tremble", 8, {0, 45, 40, 85, 99, 100, 150, 140}, {0, 20, 40, 60, 80, 100, 120, 140}},
        {"a new clock", 6, {5000, 5020, 0, 20, 40, 60}, {5000, 5020, 5040, 5060, 5080, 5100}},
        {"and a hole", 6, {5000, 5020, 0, 20, 140, 160}, {5000, 5020, 5040, 5060, 5180, 5200}},
        {"a little back", 6, {0, 20, 40, 0, 20, 40}, {0, 20, 40, 60, 80, 100}},
        {"far away", 5, {0, 20, 1000000000, 1000000020, 1000000040}, {0, 20, 40, 60, 80}},
        {"far away from the start", 3, {1000000000, 1000000020, 1000000140}, {0, 20, 140}},
        {"the last one is late", 3, {0, 20, 200}, {0, 20, 200}},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        struct piece pieces[10];
        struct clock c = {0};
        for (int i = 0; i < cases[t].n; i++)
            pieces[i] = (struct piece){cases[t].stamps[i] != ANY, cases[t].stamps[i] * MS, 20 * MS};
        for (int i = 0; i < cases[t].n; i++) {
            int64_t place = clock_place(&c, pieces + i, KB_MIN(cases[t].n - i, CLOCK_AHEAD));
            if (llabs(place - cases[t].places[i] * MS) > 2 * MS)
                fail_msg("%s: piece %d is at %g ms, wanted %d", cases[t].what, i,
                         (double)place / (double)MS, cases[t].places[i]);
        }
    }
}

// The clock of the samples and that of the stamps are two: neither holes nor new clocks come of it.
static void test_drift(void **state)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        struct clock c = {0};
        for (int i = 0; i < 100000; i++) {
            struct piece p = {true, i * (20 * MS + sign * MS / 200), 20 * MS};
            assert_true(clock_place(&c, &p, 1) == i * 20 * MS);
        }
        assert_int_equal(c.missing, 0);
    }
}

// However often stamps jump ahead, there is an end to the silence.
static void test_bounded(void **state)
{
    struct clock c = {0};
    for (int i = 0; i < 1000; i++) {
        struct piece p = {true, i * 600000 * MS, 20 * MS};
        clock_place(&c, &p, 1);
    }
    assert_true(c.next <= (3600000 + 1000 * 20) * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
