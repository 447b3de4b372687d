#include "tests/test.h"

#include "base/file.h"
#include "base/place.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static void put(const char *folder, const char *name)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, name);
    assert_ok(err, file_write_cached(path, "x", 1, &err));
}

static void test_made_and_removed(void **state)
{
    struct kb_error err = {0};
    char *place = NULL, *other = NULL;
    assert_ok(err, place_make(&place, "koubo-a", &err));
    assert_ok(err, place_make(&other, "koubo-a", &err));
    assert_string_not_equal(place, other);
    struct stat st;
    assert_int_equal(stat(place, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);

    CLEANUP(kb_freep) char *deep = path_join(place, "b/c d/\xff\n");
    CLEANUP(kb_freep) char *tie = path_join(deep, "link");
    assert_ok(err, file_make_dirs(deep, &err));
    put(deep, "..x");
    put(place, "y");
    put(other, "stays");
    assert_int_equal(symlink(other, tie), 0);
    CLEANUP(kb_freep) char *was = kb_strdup(place);
    place_end(&place);
    assert_null(place);
    assert_int_not_equal(access(was, F_OK), 0);

    CLEANUP(kb_freep) char *kept = path_join(other, "stays");
    assert_true(file_exists(kept));  // a link is not followed
    assert_true(place_remove(kept)); // one file
    assert_false(file_exists(kept));
    CLEANUP(kb_freep) char *target = kb_strdup(other);
    place_end(&other);
    assert_true(place_remove(target)); // gone already
    place_end(&other);
}

static void test_where(void **state)
{
    struct kb_error err = {0};
    CLEANUP(place_end) char *place = NULL;
    CLEANUP(place_end) char *inner = NULL;
    CLEANUP(kb_freep) char *before = kb_strdup(getenv("TMPDIR"));
    assert_ok(err, place_make(&place, "koubo", &err));
    setenv("TMPDIR", place, 1);
    assert_ok(err, place_make(&inner, "koubo", &err));
    CLEANUP(kb_freep) char *folder = path_folder(inner);
    assert_string_equal(folder, place);
    char *none = NULL;
    setenv("TMPDIR", "/nowhere", 1);
    assert_fails(err, KB_BAD_INPUT, "set TMPDIR", place_make(&none, "koubo", &err));
    assert_null(none);
    setenv("TMPDIR", "", 1);
    assert_ok(err, place_make(&none, "koubo", &err));
    assert_int_equal(strncmp(none, "/tmp/koubo-", 11), 0);
    place_end(&none);
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
}

// --- copying

static char *copy_place;

static int open_new(const char *name)
{
    CLEANUP(kb_freep) char *path = path_join(copy_place, name);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static int copy_setup(void **state)
{
    struct kb_error err = {0};
    return place_make(&copy_place, "koubo-copy", &err);
}

static int copy_teardown(void **state)
{
    place_end(&copy_place);
    return 0;
}

static void test_copies(void **state)
{
    static const int64_t sizes[] = {0, 1, 4095, 4096, 3000000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char names[2][16];
        snprintf(names[0], sizeof(names[0]), "from%zu", i);
        snprintf(names[1], sizeof(names[1]), "to%zu", i);
        int from = open_new(names[0]), to = open_new(names[1]);
        CLEANUP(kb_freep) char *bytes = kb_alloc((size_t)sizes[i] + 1);
        CLEANUP(kb_freep) char *again = kb_alloc((size_t)sizes[i] + 1);
        for (int64_t j = 0; j < sizes[i]; j++)
            bytes[j] = (char)(j * 7 + j / 251);
        assert_int_equal(write(from, bytes, (size_t)sizes[i]), sizes[i]);
        // wherever from stands, and it stands there afterwards
        lseek(from, sizes[i] / 2, SEEK_SET);
        assert_true(file_copy(to, from, sizes[i], NULL));
        assert_int_equal(lseek(from, 0, SEEK_CUR), sizes[i] / 2);
        assert_int_equal(lseek(to, 0, SEEK_END), sizes[i]);
        assert_int_equal(pread(to, again, (size_t)sizes[i], 0), sizes[i]);
        assert_memory_equal(bytes, again, (size_t)sizes[i] + 1);
        close(from), close(to);
    }
}

static void test_copies_a_part(void **state)
{
    int from = open_new("from"), to = open_new("to"), more = open_new("more");
    assert_int_equal(write(from, "0123456789", 10), 10);
    assert_true(file_copy(to, from, 4, NULL)); // it grows while it is copied
    assert_int_equal(lseek(to, 0, SEEK_END), 4);
    assert_false(file_copy(more, from, 11, NULL)); // it was cut
    assert_int_equal(errno, EIO);
    close(from), close(to), close(more);
}

static void test_a_full_disk(void **state)
{
    int from = open_new("from"), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(from, "0123456789", 10), 10);
    errno = 0;
    assert_false(file_copy(full, from, 10, NULL));
    assert_int_equal(errno, ENOSPC);
    close(from), close(full);
}

#define COPY(name) cmocka_unit_test_setup_teardown(name, copy_setup, copy_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_and_removed),
        cmocka_unit_test(test_where),
        COPY(test_copies),
        COPY(test_copies_a_part),
        COPY(test_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
