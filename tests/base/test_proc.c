// /proc of this machine, and a file that looks like it.
#include "tests/test.h"

#include "base/proc.h"

#include <unistd.h>

static void test_a_file(void **state)
{
    static const char text[] = "model\t\t: 17\nmodel name\t:  A B \nMemFree: 12 kB\nempty:\n";
    char path[] = "/tmp/koubo-proc-XXXXXX", value[16];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    assert_true(proc_value(path, "model name", value, sizeof(value)));
    assert_string_equal(value, "A B ");
    assert_true(proc_value(path, "model", value, sizeof(value)));
    assert_string_equal(value, "17");
    assert_true(proc_value(path, "empty", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_true(proc_value(path, "model name", value, 2)); // cut
    assert_string_equal(value, "A");
    assert_false(proc_value(path, "mod", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_int_equal(proc_bytes(path, "MemFree"), 12 * 1024);
    assert_int_equal(proc_bytes(path, "MemTotal"), 0);
    unlink(path);
    assert_false(proc_value(path, "model", value, sizeof(value)));
}

static void test_this_process(void **state)
{
    int64_t resident = proc_resident_bytes();
    assert_true(resident > 0);
    assert_true(proc_bytes("/proc/self/status", "VmPeak") > resident);
    assert_true(proc_bytes("/proc/meminfo", "MemTotal") > resident);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file),
        cmocka_unit_test(test_this_process),
    };
    return cmocka_run_group_tests_name("base/proc", tests, NULL, NULL);
}
