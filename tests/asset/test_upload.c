// The bytes of uploads: cut anywhere, resumed, repeated, too long.
#include "tests/asset/assets.h"

#include "asset/internal.h"
#include "store/patience.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static char *part_path(struct queue_test *t, const char *id)
{
    CLEANUP(kb_freep) char *below = asset_part_path(id);
    return path_join(t->folder, below);
}

static void test_cut_and_resumed(void **state)
{
    struct queue_test *t = *state;
    enum { SIZE = 300001 };
    static unsigned char bytes[SIZE];
    srand(7);
    for (int round = 0; round < 8; round++) {
        char id[33];
        bool complete = false;
        int runs = 0;
        make_bytes(bytes, SIZE, (uint32_t)round + 1);
        create(t, "talk.mp4", SIZE, id);
        for (int64_t sent = 0; !complete; runs++) {
            struct asset_upload *u = NULL;
            assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
            assert_int_equal(asset_upload_offset(u), sent);
            for (int piece = rand() % 4; piece >= 0 && sent < SIZE; piece--) {
                size_t n = (size_t)(rand() % 60000);
                n = KB_MIN(n, (size_t)(SIZE - sent));
                assert_ok(t->err, asset_upload_write(u, bytes + sent, n, &t->err));
                sent += (int64_t)n;
            }
            assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
            assert_int_equal(complete, sent == SIZE);
            assert_int_equal(find(t, id).received_bytes, sent);
        }
        assert_content(t, id, bytes, SIZE);
        assert_string_equal(find(t, id).state, "new");
        assert_true(runs > 1);
    }
}

// The writer is killed: nothing is recorded, the size of the part is the offset all the same.
static void test_writer_killed(void **state)
{
    struct queue_test *t = *state;
    unsigned char bytes[5000];
    char id[33];
    struct asset_upload *u = NULL;
    bool complete = false;
    make_bytes(bytes, sizeof(bytes), 3);
    create(t, "a.wav", sizeof(bytes), id);
    pid_t child = fork();
    if (child == 0) {
        struct store *s = NULL;
        if (store_open(&s, t->folder, false, NULL) != KB_OK ||
            asset_upload_open(&u, s, id, NULL) != KB_OK ||
            asset_upload_write(u, bytes, 1234, NULL) != KB_OK)
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(find(t, id).received_bytes, 0);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_int_equal(asset_upload_offset(u), 1234);
    assert_ok(t->err, asset_upload_write(u, bytes + 1234, sizeof(bytes) - 1234, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
    assert_true(complete);
    assert_content(t, id, bytes, sizeof(bytes));
}

// The machine went off: what came after the last sync may be zeros, so it is sent again.
static void test_power_cut(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset_upload *u = NULL;
    create(t, "a.wav", 100, id);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "0123456789", 10, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
    CLEANUP(kb_freep) char *part = part_path(t, id);
    FILE *f = fopen(part, "ab");
    assert_non_null(f);
    assert_int_equal(fwrite("\0\0\0", 1, 3, f), 3);
    fclose(f);
    struct timespec long_ago[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    assert_int_equal(utimensat(AT_FDCWD, part, long_ago, 0), 0);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_int_equal(asset_upload_offset(u), 10);
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
}

// Between the link and the commit of a content: the part and the content are one file, and the row
// is unfinished. Writing must not change the content.
static void test_crash_while_filing(void **state)
{
    struct queue_test *t = *state;
    char id[33], sha256[65];
    struct asset_params p = {.name = "fetched.mp4", .size_bytes = -1};
    struct asset_upload *u = NULL;
    bool complete = false;
    assert_ok(t->err, asset_create(t->s, &p, id, &t->err));
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "hello", 5, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
    assert_false(complete); // of unknown size, and not whole
    sha256_hex(sha256, "hello", 5);
    CLEANUP(kb_freep) char *part = part_path(t, id);
    CLEANUP(kb_freep) char *content = asset_path(t->s, sha256);
    assert_int_equal(link(part, content), 0);

    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_int_equal(asset_upload_offset(u), 5);
    assert_ok(t->err, asset_upload_write(u, " world", 6, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, true, &complete, &t->err));
    assert_true(complete);
    assert_content(t, id, "hello world", 11);
    struct stat st;
    assert_int_equal(stat(content, &st), 0);
    assert_int_equal(st.st_size, 5);
}

static void test_declared_size(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset_upload *u = NULL;
    bool complete = false;
    struct asset_params p = {.name = "empty.wav"};
    assert_fails(t->err, KB_BAD_INPUT, "empty", asset_create(t->s, &p, id, &t->err));
    p.size_bytes = -2;
    assert_fails(t->err, KB_BAD_INPUT, "negative", asset_create(t->s, &p, id, &t->err));

    create(t, "b.wav", 10, id);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "01234567", 8, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "10", asset_upload_write(u, "abc", 3, &t->err));
    assert_int_equal(asset_upload_offset(u), 8);
    assert_ok(t->err, asset_upload_write(u, "89", 2, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "more bytes", asset_upload_write(u, "a", 1, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
    assert_true(complete);
    assert_content(t, id, "0123456789", 10);
    assert_fails(t->err, KB_BAD_INPUT, "complete", asset_upload_open(&u, t->s, id, &t->err));

    // of unknown size, and nothing came
    p = (struct asset_params){.name = "n.wav", .size_bytes = -1};
    assert_ok(t->err, asset_create(t->s, &p, id, &t->err));
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "empty",
                 asset_upload_close(&u, t->s, true, &complete, &t->err));
    assert_false(complete);
    assert_null(u);
    assert_fails(t->err, KB_NOT_FOUND, "exist", asset_upload_open(&u, t->s, "../x", &t->err));
}

// A piece whose checksum was wrong is cut off; the hash must follow.
static void test_truncate(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset_upload *u = NULL;
    bool complete = false;
    create(t, "c.wav", 6, id);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "xx", 2, &t->err));
    assert_ok(t->err, asset_upload_truncate(u, 0, &t->err));
    assert_ok(t->err, asset_upload_write(u, "abcd", 4, &t->err));
    assert_ok(t->err, asset_upload_truncate(u, 3, &t->err));
    assert_int_equal(asset_upload_offset(u), 3);
    assert_fails(t->err, KB_INTERNAL, "cut back", asset_upload_truncate(u, 4, &t->err));
    assert_fails(t->err, KB_INTERNAL, "cut back", asset_upload_truncate(u, -1, &t->err));
    assert_ok(t->err, asset_upload_write(u, "DEF", 3, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
    assert_true(complete);
    assert_content(t, id, "abcDEF", 6);
}

static void test_one_at_a_time(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset_upload *first = NULL, *second = NULL;
    create(t, "d.wav", 4, id);
    assert_ok(t->err, asset_upload_open(&first, t->s, id, &t->err));
    assert_fails(t->err, KB_UNAVAILABLE, "another request",
                 asset_upload_open(&second, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(first, "ab", 2, &t->err));
    assert_ok(t->err, asset_upload_close(&first, t->s, false, NULL, &t->err));
    assert_ok(t->err, asset_upload_open(&second, t->s, id, &t->err));
    assert_int_equal(asset_upload_offset(second), 2);

    // deleted while bytes arrive: the writer finds out and leaves nothing
    assert_ok(t->err, asset_delete(t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(second, "cd", 2, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "deleted",
                 asset_upload_close(&second, t->s, false, NULL, &t->err));
    assert_int_equal(count_files(t, "uploads"), 0);
    assert_int_equal(count_files(t, "files"), 0);
}

// A disk that is full (here: the largest file is): nothing of the call is kept.
static void test_disk_full(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset_upload *u = NULL;
    static unsigned char bytes[100000];
    bool complete = false;
    struct rlimit before, small;
    make_bytes(bytes, sizeof(bytes), 9);
    create(t, "e.wav", sizeof(bytes), id);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, bytes, 40000, &t->err));
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum kb_code code = asset_upload_write(u, bytes + 40000, 60000, &t->err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(code, KB_NO_SPACE);
    assert_int_equal(asset_upload_offset(u), 40000);
    CLEANUP(kb_freep) char *part = part_path(t, id);
    struct stat st;
    assert_int_equal(stat(part, &st), 0);
    assert_int_equal(st.st_size, 40000);
    assert_ok(t->err, asset_upload_write(u, bytes + 40000, 60000, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
    assert_true(complete);
    assert_content(t, id, bytes, sizeof(bytes));
}

// What cannot be recorded now is not lost, and goes on.
static void test_recorded_later(void **state)
{
    struct queue_test *t = *state;
    char id[33];
    struct asset a;
    struct store *other = NULL;
    struct patience short_one = {.budget_ms = 1};
    struct asset_upload *u = NULL;
    create(t, "r.wav", 10, id);
    assert_ok(t->err, store_open(&other, t->folder, false, &t->err));
    store_set_patience(other, &short_one);
    assert_ok(t->err, asset_upload_open(&u, other, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "01234", 5, &t->err));
    assert_ok(t->err, store_begin(t->s, &t->err));
    assert_int_equal(asset_upload_record(u, other, &t->err), KB_UNAVAILABLE);
    store_rollback(t->s);
    assert_ok(t->err, asset_upload_write(u, "567", 3, &t->err));
    store_renew_patience(other);
    assert_ok(t->err, asset_upload_record(u, other, &t->err));
    assert_ok(t->err, asset_find(t->s, id, &a, &t->err));
    assert_int_equal(a.received_bytes, 8);
    assert_ok(t->err, asset_upload_write(u, "89", 2, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
    assert_content(t, id, (const unsigned char *)"0123456789", 10);
    store_close(&other);
}

// Links in files/ and uploads/ are not written through, nor taken for the content.
static void test_links(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(place_end) char *outside = NULL;
    assert_ok(t->err, place_make(&outside, "koubo-outside", &t->err));
    CLEANUP(kb_freep) char *theirs = path_join(outside, "theirs");
    assert_ok(t->err, file_write_cached(theirs, "0123456789", 10, &t->err));
    char sha256[65], id[33];
    sha256_hex(sha256, "abcdefghij", 10);
    CLEANUP(kb_freep) char *content = asset_path(t->s, sha256);
    assert_int_equal(symlink(theirs, content), 0); // of the same size
    upload(t, "a.wav", "abcdefghij", 10, id);
    assert_content(t, id, (const unsigned char *)"abcdefghij", 10);
    struct stat st;
    assert_true(lstat(content, &st) == 0 && S_ISREG(st.st_mode));

    struct asset_upload *u = NULL;
    create(t, "b.wav", 10, id);
    CLEANUP(kb_freep) char *part = part_path(t, id);
    assert_int_equal(symlink(theirs, part), 0);
    assert_int_not_equal(asset_upload_open(&u, t->s, id, &t->err), KB_OK);
    assert_non_null(strstr(t->err.text, "a link"));
    assert_false(upload_part_remove(t->s, id));
    assert_int_equal(stat(theirs, &st), 0);
    assert_int_equal(st.st_size, 10);
}

// What another machine sends has a hash that was announced.
static void test_expected_content(void **state)
{
    struct queue_test *t = *state;
    unsigned char bytes[4000];
    char id[33], sha256[65];
    struct asset_upload *u = NULL;
    bool complete = true;
    make_bytes(bytes, sizeof(bytes), 5);
    sha256_hex(sha256, bytes, sizeof(bytes));
    create(t, "result.mp4", -1, id);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    asset_upload_expect(u, sha256);
    assert_ok(t->err, asset_upload_write(u, bytes, 3999, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "not the one that was announced",
                 asset_upload_close(&u, t->s, true, &complete, &t->err));
    assert_false(complete);
    assert_string_equal(find(t, id).state, "uploading");
    assert_int_equal(count_files(t, "files"), 0);

    // From the beginning, in two goes: the first part's hash is reckoned again.
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_int_equal(asset_upload_offset(u), 0);
    assert_ok(t->err, asset_upload_write(u, bytes, 1000, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, &complete, &t->err));
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    asset_upload_expect(u, sha256);
    assert_ok(t->err, asset_upload_write(u, bytes + 1000, 3000, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, true, &complete, &t->err));
    assert_true(complete);
    assert_content(t, id, bytes, sizeof(bytes));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    const struct CMUnitTest tests[] = {
        TEST(test_cut_and_resumed),    TEST(test_writer_killed), TEST(test_power_cut),
        TEST(test_crash_while_filing), TEST(test_declared_size), TEST(test_truncate),
        TEST(test_expected_content),   TEST(test_one_at_a_time), TEST(test_disk_full),
        TEST(test_recorded_later),     TEST(test_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
