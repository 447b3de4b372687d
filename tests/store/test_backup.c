// Backups: made out of one state while others write, whole or not there, so many of each kind.
#include "tests/queue/queue.h"

#include "store/backup.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <signal.h>
#include <time.h>

static struct backup *list(struct queue_test *t, int *ret_n)
{
    struct backup *all = NULL;
    assert_ok(t->err, backup_list(t->folder, &all, ret_n, &t->err));
    return all;
}

static char *path_of(struct queue_test *t, const char *name)
{
    return kb_printf("%s/backups/%s", t->folder, name);
}

// The answer of a backup to a question.
static int64_t ask_backup(struct queue_test *t, const char *name, const char *sql)
{
    CLEANUP(kb_freep) char *path = path_of(t, name);
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return n;
}

static void test_make(void **state)
{
    struct queue_test *t = *state;
    struct stat st;
    add_batch(t, 3, 5);
    run_sql(t, "PRAGMA wal_checkpoint(TRUNCATE)");
    add_batch(t, 4, 5);
    assert_true(backup_last_ms(t->folder) == 0);
    CLEANUP(kb_freep) char *name = NULL;
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, &name, &t->err));
    CLEANUP(kb_freep) char *path = path_of(t, name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(backup_last_ms(t->folder) > kb_wall_ms() - 60000);
    assert_int_equal(ask_backup(t, name, "SELECT count(*) FROM job"), 7);
    assert_int_equal(ask_backup(t, name, "PRAGMA user_version"), STORE_VERSION);
    int n;
    CLEANUP(kb_freep) struct backup *all = list(t, &n);
    assert_int_equal(n, 1);
    assert_string_equal(all->name, name);
    assert_string_equal(all->why, "daily");
    assert_true(all->size_bytes == st.st_size && all->size_bytes > 10000);
}

// Made by root in a user's folder, a backup is the user's.
static void test_whose(void **state)
{
    struct queue_test *t = *state;
    struct stat st;
    CLEANUP(kb_freep) char *name = NULL;
    if (geteuid() != 0 || chown(t->folder, 1234, 1234) != 0)
        SKIP_TEST("only root can give files away");
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, &name, &t->err));
    CLEANUP(kb_freep) char *path = path_of(t, name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 1234);
}

static void test_how_many(void **state)
{
    struct queue_test *t = *state;
    char *last = NULL;
    for (int i = 0; i < 12; i++) { // within a second, so that names get numbers
        kb_freep(&last);
        assert_ok(t->err, backup_make(t->folder, i % 3 ? "daily" : "schema2", NULL, NULL, &t->err));
        assert_ok(t->err, backup_make(t->folder, "daily", NULL, &last, &t->err));
    }
    CLEANUP(kb_freep) char *stranger = path_of(t, "2026-01-01_000000_mine.db");
    CLEANUP(kb_freep) char *replaced = path_of(t, "2026-01-01_000000_replaced.db");
    CLEANUP(kb_freep) char *cut = path_of(t, "backup.part");
    const char *const others[] = {stranger, replaced, cut};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_ok(t->err, file_write_atomic(others[i], "x", 1, &t->err));
    kb_freep(&last);
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, &last, &t->err));
    int n, n_daily = 0, n_schema = 0;
    CLEANUP(kb_freep) struct backup *all = list(t, &n);
    for (int i = 0; i < n; i++) {
        n_daily += strcmp(all[i].why, "daily") == 0;
        n_schema += strcmp(all[i].why, "schema2") == 0;
    }
    assert_int_equal(n_daily, 7);
    assert_int_equal(n_schema, 3);
    assert_int_equal(n, 11);
    CLEANUP(kb_freep) char *newest = path_of(t, last);
    assert_true(file_exists(newest) && file_exists(stranger) && file_exists(replaced));
    assert_false(file_exists(cut));
    free(last);
}

// A clock that leaps a year ahead and comes back: what was made meanwhile is not the newest.
static void test_of_the_future(void **state)
{
    struct queue_test *t = *state;
    assert_ok(t->err, backup_make_folder(t->folder, &t->err));
    for (int i = 0; i < 7; i++) {
        CLEANUP(kb_freep) char *name = kb_printf("2020-01-0%d_000000_daily.db", i + 1);
        CLEANUP(kb_freep) char *late = kb_printf("2999-01-0%d_000000_daily.db", i + 1);
        CLEANUP(kb_freep) char *path = path_of(t, i < 4 ? name : late);
        assert_ok(t->err, file_write_atomic(path, "x", 1, &t->err));
    }
    struct tm day = {.tm_year = 120, .tm_mday = 4, .tm_isdst = -1};
    assert_int_equal(backup_last_ms(t->folder), (int64_t)mktime(&day) * 1000);
    for (int i = 0; i < 2; i++)
        assert_ok(t->err, backup_make(t->folder, "daily", NULL, NULL, &t->err));
    int n, n_late = 0;
    CLEANUP(kb_freep) struct backup *all = list(t, &n);
    for (int i = 0; i < n; i++)
        n_late += text_begins(all[i].name, "2999");
    assert_int_equal(n, 7);
    assert_int_equal(n_late, 1);
    assert_true(backup_last_ms(t->folder) > kb_wall_ms() - 600000);
}

struct writer {
    char *folder;
    atomic_bool stop;
    int n, n_failed;
    int64_t longest_us;
};

static void *keep_writing(void *opaque)
{
    struct writer *w = opaque;
    struct store *s = NULL;
    w->n_failed = store_open(&s, w->folder, false, NULL) != KB_OK;
    store_set_durable(s, false);
    while (!atomic_load(&w->stop) && !w->n_failed) {
        int64_t begin = kb_now_us();
        w->n_failed += store_exec(s, NULL, NULL, "UPDATE job SET total = total + 1", "") != KB_OK;
        w->longest_us = KB_MAX(w->longest_us, kb_now_us() - begin);
        w->n++;
    }
    store_close(&s);
    return NULL;
}

// Who writes does not wait for a backup, and no backup has half a transaction.
static void test_while_others_write(void **state)
{
    struct queue_test *t = *state;
    pthread_t thread;
    add_batch(t, 900, 5);
    struct writer w = {.folder = t->folder};
    assert_int_equal(pthread_create(&thread, NULL, keep_writing, &w), 0);
    for (int i = 0; i < 5; i++) {
        CLEANUP(kb_freep) char *name = NULL;
        assert_ok(t->err, backup_make(t->folder, "daily", NULL, &name, &t->err));
        assert_int_equal(ask_backup(t, name, "SELECT count(DISTINCT total) FROM job"), 1);
    }
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(w.n_failed, 0);
    assert_true(w.n > 0);
}

// A disk that is full at any moment of it (a file may not grow beyond a limit): no half copy, and
// those that were there stay.
static void test_no_space(void **state)
{
    struct queue_test *t = *state;
    struct rlimit old;
    add_batch(t, 600, 5);
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, NULL, &t->err));
    run_sql(t, "PRAGMA wal_checkpoint(TRUNCATE)");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t limit = 0; limit < 200000; limit += 30000) {
        struct rlimit now = {limit, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
        enum kb_code code = backup_make(t->folder, "daily", NULL, NULL, &t->err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_true(code == KB_NO_SPACE || code == KB_BAD_INPUT);
        int n;
        free(list(t, &n));
        assert_int_equal(n, 1);
        CLEANUP(kb_freep) char *part = path_of(t, "backup.part");
        assert_false(file_exists(part));
    }
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, NULL, &t->err));
}

static void test_stopped_and_damaged(void **state)
{
    struct queue_test *t = *state;
    struct cancel stop = {0};
    int n;
    add_batch(t, 600, 5);
    cancel_request(&stop);
    assert_int_equal(backup_make(t->folder, "daily", &stop, NULL, &t->err), KB_CANCELLED);
    run_sql(t, "PRAGMA wal_checkpoint(TRUNCATE)");
    int64_t root = ask(t, "SELECT rootpage FROM sqlite_master WHERE name = 'job_video'");
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    store_close(&t->s);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)(root - 1) * 4096, SEEK_SET);
    for (int i = 0; i < 4096; i++)
        fputc('z', f);
    fclose(f);
    assert_fails(t->err, KB_BAD_INPUT, "is damaged",
                 backup_make(t->folder, "daily", NULL, NULL, &t->err));
    free(list(t, &n));
    assert_int_equal(n, 0); // a damaged copy would push out a good one
    assert_ok(t->err, store_open(&t->s, t->folder, false, &t->err));
}

// A database of version 1 is kept before it is changed; where that is not possible, it is not.
static void test_before_a_new_schema(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    CLEANUP(kb_freep) char *backups = path_join(t->folder, "backups");
    store_close(&t->s);
    assert_int_equal(unlink(path), 0);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, store_schema, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "PRAGMA user_version = 1; INSERT INTO setting VALUES ('a', '1');"
                                  "INSERT INTO asset(id, state, name, size, created_ms)"
                                  " VALUES ('a', 'bad', 'a', 1, 1)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    assert_ok(t->err, file_write_atomic(backups, "in the way", 10, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "without a backup",
                 store_open(&t->s, t->folder, true, &t->err));
    unlink(backups);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    assert_int_equal(ask(t, "PRAGMA user_version"), STORE_VERSION);
    int n;
    CLEANUP(kb_freep) struct backup *all = list(t, &n);
    assert_int_equal(n, 1);
    assert_string_equal(all->why, "schema1");
    assert_int_equal(ask_backup(t, all->name, "PRAGMA user_version"), 1);
    assert_int_equal(ask_backup(t, all->name, "SELECT count(*) FROM setting"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_make, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_whose, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_how_many, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_of_the_future, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_while_others_write, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_no_space, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_stopped_and_damaged, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_before_a_new_schema, queue_setup, queue_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
