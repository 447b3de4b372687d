// Whose database is it: the folder's file and the row, in all their combinations, and the lock.
#include "tests/queue/queue.h"

#include "store/backup.h"
#include "store/identity.h"
#include "store/lock.h"
#include "store/replace.h"

#include <sys/wait.h>

static char *in_data(struct queue_test *t, const char *name)
{
    return path_join(t->folder, name);
}

static void put_file(struct queue_test *t, const char *name, const char *content)
{
    CLEANUP(kb_freep) char *path = in_data(t, name);
    CLEANUP(kb_freep) char *folder = path_folder(path);
    assert_ok(t->err, file_make_dirs(folder, &t->err));
    assert_ok(t->err, file_write_atomic(path, content, strlen(content), &t->err));
}

static bool there(struct queue_test *t, const char *name)
{
    struct stat st;
    CLEANUP(kb_freep) char *path = in_data(t, name);
    return lstat(path, &st) == 0;
}

static void lose(struct queue_test *t, const char *name)
{
    CLEANUP(kb_freep) char *path = in_data(t, name);
    assert_int_equal(unlink(path), 0);
}

static void reopen(struct queue_test *t)
{
    store_close(&t->s);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
}

// The file's number is the row's; a copy of it.
static void identity(struct queue_test *t, char ret[IDENTITY_DIGITS + 1])
{
    CLEANUP(kb_freep) char *path = in_data(t, "id");
    struct stat st;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fread(ret, 1, IDENTITY_DIGITS, f), IDENTITY_DIGITS);
    fclose(f);
    ret[IDENTITY_DIGITS] = '\0';
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(ask(t,
                         "SELECT count(*) FROM setting WHERE name = 'folder' AND"
                         " json = '\"%s\"'",
                         ret),
                     1);
}

static void test_made_with_the_folder(void **state)
{
    struct queue_test *t = *state;
    char first[IDENTITY_DIGITS + 1], again[IDENTITY_DIGITS + 1];
    identity(t, first);
    reopen(t);
    identity(t, again);
    assert_string_equal(first, again);
}

// An older koubo's database has no row, a copied folder perhaps no file: given quietly.
static void test_missing_halves(void **state)
{
    struct queue_test *t = *state;
    char first[IDENTITY_DIGITS + 1], now[IDENTITY_DIGITS + 1];
    add_batch(t, 1, 5);
    put_file(t, "results/7-1.mp4", "film");
    identity(t, first);
    lose(t, "id");
    reopen(t);
    identity(t, now);
    assert_string_equal(first, now);
    run_sql(t, "DELETE FROM setting");
    reopen(t);
    identity(t, now);
    assert_string_equal(first, now);
    run_sql(t, "DELETE FROM setting");
    lose(t, "id");
    reopen(t);
    identity(t, now);
    assert_string_not_equal(first, now);
    // what lies there is no number: neither is the link followed
    CLEANUP(kb_freep) char *path = in_data(t, "id");
    lose(t, "id");
    assert_int_equal(symlink("/etc/hostname", path), 0);
    reopen(t);
    identity(t, first);
    assert_string_equal(first, now);
}

static void test_a_lost_database(void **state)
{
    struct queue_test *t = *state;
    char first[IDENTITY_DIGITS + 1], now[IDENTITY_DIGITS + 1];
    identity(t, first);
    store_close(&t->s);
    lose(t, "koubo.db");
    reopen(t); // nothing lies there: nothing is lost
    put_file(t, "results/7-1.mp4", "film");
    put_file(t, "results/1_news/a_b_2026-11-27.mp4", "film");
    put_file(t, "uploads/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.part", "x");
    put_file(t, "results/holiday.mp4", "somebody's");
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, NULL, &t->err));
    store_close(&t->s);
    lose(t, "koubo.db");
    put_file(t, "koubo.db-wal", "perhaps");
    for (int i = 0; i < 2; i++) {
        assert_fails(t->err, KB_NOT_FOUND, "2 results, 1 others, 1 backups",
                     store_open(&t->s, t->folder, i == 0, &t->err));
        assert_non_null(strstr(t->err.text, "'koubo restore'"));
        assert_non_null(strstr(t->err.text, "--new-database"));
        assert_false(there(t, "koubo.db"));
    }
    put_file(t, "koubo.db", ""); // as good as none
    assert_fails(t->err, KB_NOT_FOUND, "is gone", store_open(&t->s, t->folder, true, &t->err));

    struct store_params anew = {.create = true, .anew = true};
    assert_ok(t->err, store_open_as(&t->s, t->folder, &anew, &t->err));
    identity(t, now);
    assert_string_not_equal(first, now);
    struct backup *list;
    int n;
    assert_ok(t->err, backup_list(t->folder, &list, &n, &t->err));
    assert_int_equal(n, 2); // the daily one, and what was left of the lost one
    free(list);
    add_batch(t, 1, 5);
    store_close(&t->s);
    assert_ok(t->err, store_open_as(&t->s, t->folder, &anew, &t->err)); // not lost: kept
    assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 1);

    // an older koubo has begun an empty one
    run_sql(t, "DELETE FROM setting; DELETE FROM job; DELETE FROM batch; DELETE FROM asset");
    store_close(&t->s);
    assert_fails(t->err, KB_NOT_FOUND, "is gone", store_open(&t->s, t->folder, true, &t->err));
    assert_ok(t->err, store_open_as(&t->s, t->folder, &anew, &t->err));
}

// A folder that cannot be read may hold anything: it is not taken for an empty one.
static void test_a_folder_that_cannot_be_read(void **state)
{
    struct queue_test *t = *state;
    static const char *const names[] = {"files", "results", "backups"};
    assert_ok(t->err, identity_expect(t->folder, &t->err));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(kb_freep) char *path = in_data(t, names[i]);
        rmdir(path);
        assert_ok(t->err, identity_expect(t->folder, &t->err));
        put_file(t, names[i], "in its place"); // refuses root, too
        assert_fails(t->err, KB_INTERNAL, "cannot look into", identity_expect(t->folder, &t->err));
        lose(t, names[i]);
    }
}

static void test_a_database_from_elsewhere(void **state)
{
    struct queue_test *t = *state;
    char first[IDENTITY_DIGITS + 1], now[IDENTITY_DIGITS + 1];
    identity(t, first);
    run_sql(t, "UPDATE setting SET json = '\"0123456789abcdef0123456789abcdef\"'"
               " WHERE name = 'folder'");
    store_close(&t->s);
    assert_fails(t->err, KB_BAD_INPUT, "koubo restore --adopt",
                 store_open(&t->s, t->folder, true, &t->err));
    assert_non_null(strstr(t->err.text, "01234567,"));
    struct store_params adopt = {.adopt = true};
    assert_ok(t->err, store_open_as(&t->s, t->folder, &adopt, &t->err));
    reopen(t);
    identity(t, now);
    assert_string_equal(first, now);
}

static void test_lock(void **state)
{
    struct queue_test *t = *state;
    int fd = -1, other = -1;
    assert_ok(t->err, folder_lock(&fd, t->folder, &t->err));
    assert_true(folder_lock_tell(fd, NULL));
    CLEANUP(kb_freep) char *process = kb_printf("(process %d) is at work", (int)getpid());
    assert_fails(t->err, KB_UNAVAILABLE, process, folder_lock(&other, t->folder, &t->err));
    assert_true(folder_lock_tell(fd, "http://127.0.0.1:1"));
    assert_fails(t->err, KB_UNAVAILABLE, "its page is http://127.0.0.1:1.",
                 folder_lock(&other, t->folder, &t->err));
    folder_unlock(fd);
    assert_ok(t->err, folder_lock(&other, t->folder, &t->err));
    folder_unlock(other);
}

// A crash at each step of putting a database into the place of another.
static void test_an_interrupted_exchange(void **state)
{
    struct queue_test *t = *state;
    for (int step = 0; step < 4; step++) {
        CLEANUP(kb_freep) char *new_path = in_data(t, "koubo.db.new");
        CLEANUP(kb_freep) char *database = in_data(t, "koubo.db");
        add_batch(t, 1, 5);
        run_sql(t, "PRAGMA wal_checkpoint(TRUNCATE)");
        add_batch(t, 1, 5); // in the WAL
        int64_t n = ask(t, "SELECT count(*) FROM batch");
        assert_ok(t->err, backup_copy(database, new_path, NULL, &t->err)); // with its WAL
        // what is there when everything is killed
        CLEANUP(kb_freep) char *wal = in_data(t, "koubo.db-wal");
        CLEANUP(kb_freep) char *kept = kb_printf("%s/kept", t->folder);
        CLEANUP(kb_freep) char *kept_wal = kb_printf("%s/kept-wal", t->folder);
        assert_int_equal(link(database, kept), 0);
        assert_int_equal(link(wal, kept_wal), 0);
        store_close(&t->s);
        unlink(database);
        unlink(wal);
        assert_int_equal(rename(kept, database) | rename(kept_wal, wal), 0);
        struct stat st;
        assert_int_equal(stat(new_path, &st), 0);
        assert_ok(t->err, backup_make_folder(t->folder, &t->err));
        CLEANUP(kb_freep)
        char *name = backup_name(t->folder, "replaced", st.st_mtim.tv_sec * 1000LL);
        CLEANUP(kb_freep) char *aside = kb_printf("%s/backups/%s", t->folder, name);
        CLEANUP(kb_freep) char *aside_wal = kb_printf("%s-wal", aside);
        if (step > 0)
            assert_int_equal(rename(wal, aside_wal), 0);
        if (step > 1)
            assert_int_equal(rename(database, aside), 0);
        if (step > 2)
            assert_int_equal(rename(new_path, database), 0);
        int fd = -1;
        assert_ok(t->err, folder_lock(&fd, t->folder, &t->err));
        folder_unlock(fd);
        assert_false(there(t, "koubo.db.new"));
        assert_true(file_exists(aside) && file_exists(aside_wal));
        assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
        assert_int_equal(ask(t, "SELECT count(*) FROM batch"), n);
        assert_ok(t->err, store_check(t->s, 0, &t->err));
        // the one that was replaced is whole, too
        CLEANUP(kb_freep) char *copy = in_data(t, "copy.db");
        assert_ok(t->err, backup_copy(aside, copy, NULL, &t->err));
        CLEANUP(kb_freep) char *attach = kb_printf("ATTACH '%s' AS old", copy);
        run_sql(t, attach);
        assert_int_equal(ask(t, "SELECT count(*) FROM old.batch"), n);
        run_sql(t, "DETACH old");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_with_the_folder, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_missing_halves, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_a_lost_database, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_a_folder_that_cannot_be_read, queue_setup,
                                        queue_teardown),
        cmocka_unit_test_setup_teardown(test_a_database_from_elsewhere, queue_setup,
                                        queue_teardown),
        cmocka_unit_test_setup_teardown(test_lock, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_an_interrupted_exchange, queue_setup, queue_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
