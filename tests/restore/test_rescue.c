// koubo restore where the database itself is lost, damaged or somebody else's: what a user types,
// and what is there afterwards.
#include "tests/cli/program.h"
#include "tests/queue/queue.h"
#include "tests/worker/grey.h"

#include "restore/rescue.h"
#include "store/backup.h"
#include "store/lock.h"

#define KOUBO(wanted, ...)                                                                         \
    RUN(&r, __VA_ARGS__, "--data", t->folder, "--lang", "en");                                     \
    assert_status(&r, wanted)

static int64_t make_result(struct queue_test *t)
{
    struct job_claim c = claim(t, "w1");
    int64_t job = c.job;
    struct dub_result done = {
        .frames = 25, .frames_animated = 24, .seconds = 1, .width = 128, .height = 96};
    make_grey(c.output, 25, c.note);
    assert_ok(t->err, job_done(t->s, &c, &done, false, NULL, &t->err));
    job_claim_free(&c);
    return job;
}

static void reopen(struct queue_test *t)
{
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    assert_ok(t->err, store_check(t->s, 0, &t->err));
}

static void lose_database(struct queue_test *t)
{
    static const char *const names[] = {"koubo.db", "koubo.db-wal", "koubo.db-shm"};
    store_close(&t->s);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(kb_freep) char *path = data_path(t, "%s", names[i]);
        unlink(path);
    }
}

static int64_t count_kept(struct queue_test *t)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    int n = 0;
    int64_t n_kept = 0;
    assert_ok(t->err, backup_list(t->folder, &list, &n, &t->err));
    for (int i = 0; i < n; i++)
        n_kept += strcmp(list[i].why, "replaced") == 0;
    return n_kept;
}

// Backed up with one result of three; the second is made after that.
static void test_a_lost_database(void **state)
{
    struct queue_test *t = *state;
    struct outcome r = {0};
    add_batch(t, 3, 5);
    make_result(t);
    run_sql(t, "INSERT INTO loose VALUES ('results', '1_speech/old', 1)");
    CLEANUP(kb_freep) char *name = NULL;
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, &name, &t->err));
    RUN(&r, "doctor", "--port", "1", "--data", t->folder, "--lang", "en");
    assert_says(r.out, "backed up 0 hours ago");
    int64_t rev = ask(t, "SELECT rev FROM clock");
    make_result(t);
    lose_database(t);
    KOUBO(0, "restore", "--list");
    assert_says(r.out, name);
    assert_says(r.out, "the daily one");
    KOUBO(0, "restore", "--dry-run");
    assert_says(r.out, "would be put in place");
    CLEANUP(kb_freep) char *database = data_path(t, "koubo.db");
    CLEANUP(kb_freep) char *part = data_path(t, "koubo.db.part");
    assert_false(file_exists(database) || file_exists(part));
    KOUBO(3, "clean");
    assert_says(r.err, "'koubo restore'");
    KOUBO(0, "restore");
    assert_says(r.out, "is in place");
    assert_says(r.out, "took in 1 results; 0 could not be read");
    reopen(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'done'"), 2);
    assert_int_equal(ask(t, "SELECT count(*) FROM loose"), 0);
    assert_true(ask(t, "SELECT oldest FROM clock") > rev + 1000); // pages load everything anew
    KOUBO(0, "restore");
    assert_says(r.out, "took in 0 results");
    free(r.out), free(r.err);
}

// Nothing is left: no backup, or one that is damaged, too.
static void test_only_results(void **state)
{
    struct queue_test *t = *state;
    struct outcome r = {0};
    add_batch(t, 2, 5);
    make_result(t);
    make_result(t);
    CLEANUP(kb_freep) char *name = NULL;
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, &name, &t->err));
    CLEANUP(kb_freep) char *backup = kb_printf("%s/backups/%s", t->folder, name);
    assert_int_equal(truncate(backup, 5000), 0);
    lose_database(t);
    KOUBO(3, "restore", "--backup", name);
    assert_says(r.err, "is damaged");
    KOUBO(0, "restore");
    assert_says(r.out, "an empty one was made");
    assert_says(r.out, "took in 2 results");
    reopen(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'done'"), 2);
    free(r.out), free(r.err);
}

static void test_a_damaged_database(void **state)
{
    struct queue_test *t = *state;
    struct outcome r = {0};
    add_batch(t, 400, 5);
    make_result(t);
    CLEANUP(kb_freep) char *later = data_path(t, "results/9_x/a_b_2026-11-27.mp4");
    CLEANUP(kb_freep) char *shelf = path_folder(later);
    assert_ok(t->err, file_make_dirs(shelf, &t->err));
    make_grey(later, 25, "{\"koubo\":1,\"batch\":9,\"batch_name\":\"lost one\"}");
    run_sql(t, "PRAGMA wal_checkpoint(TRUNCATE)");
    int64_t root = ask(t, "SELECT rootpage FROM sqlite_master WHERE name = 'job'");
    store_close(&t->s);
    CLEANUP(kb_freep) char *database = data_path(t, "koubo.db");
    char noise[4096];
    memset(noise, 0xb7, sizeof(noise));
    int fd = open(database, O_WRONLY);
    assert_int_equal(pwrite(fd, noise, sizeof(noise), (root - 1) * 4096), sizeof(noise));
    close(fd);

    KOUBO(3, "serve", "--port", "0");
    assert_says(r.err, "is damaged; stop koubo and run 'koubo restore'");
    KOUBO(1, "doctor", "--port", "1");
    assert_says(r.out, "is damaged");
    KOUBO(0, "restore", "--dry-run");
    assert_says(r.out, "of the database could be read:\n");
    assert_says(r.out, "videos: 400 came back, 0 are lost");
    assert_int_equal(count_kept(t), 0);
    int lock = -1;
    assert_ok(t->err, folder_lock(&lock, t->folder, &t->err));
    assert_true(folder_lock_tell(lock, "http://127.0.0.1:7860"));
    KOUBO(5, "restore");
    assert_says(r.err, "already uses the data folder");
    folder_unlock(lock);
    KOUBO(0, "restore");
    assert_says(r.out, "a new database was made of what could be read:");
    assert_says(r.out, "the one before is kept: backups/");
    assert_says(r.out, "took in 1 results; 0 could not be read");
    assert_int_equal(count_kept(t), 1);
    reopen(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM job"), 401);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch WHERE name = 'lost one'"), 1);
    KOUBO(0, "restore"); // beside one that works with it
    assert_says(r.out, "took in 0 results");
    free(r.out), free(r.err);
}

static void test_a_chosen_backup(void **state)
{
    struct queue_test *t = *state;
    struct outcome r = {0};
    CLEANUP(kb_freep) char *first = NULL;
    add_batch(t, 1, 5);
    assert_ok(t->err, backup_make(t->folder, "schema2", NULL, &first, &t->err));
    add_batch(t, 1, 5);
    assert_ok(t->err, backup_make(t->folder, "daily", NULL, NULL, &t->err));
    add_batch(t, 1, 5);
    store_close(&t->s);
    static const char *const none[] = {"no such.db", "../koubo.db", "", "/etc/passwd"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        KOUBO(3, "restore", "--backup", none[i]);
        assert_says(r.err, "koubo restore --list");
    }
    KOUBO(0, "restore", "--backup", first);
    reopen(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 1);
    store_close(&t->s);
    KOUBO(0, "restore", "--backup=latest");
    reopen(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 2);
    assert_int_equal(count_kept(t), 2);
    store_close(&t->s);
    // back to what was there at first
    CLEANUP(kb_freep) struct backup *list = NULL;
    int n = 0;
    assert_ok(t->err, backup_list(t->folder, &list, &n, &t->err));
    for (int i = n - 1; i >= 0; i--)
        if (strcmp(list[i].why, "replaced") == 0) {
            KOUBO(0, "restore", "--backup", list[i].name);
            break;
        }
    reopen(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 3);
    KOUBO(2, "restore", "--list", "--salvage");
    assert_says(r.err, "four ways");
    free(r.out), free(r.err);
}

static void test_adopt(void **state)
{
    struct queue_test *t = *state;
    struct outcome r = {0};
    add_batch(t, 1, 5);
    run_sql(t, "UPDATE setting SET json = '\"0123456789abcdef0123456789abcdef\"'"
               " WHERE name = 'folder'");
    store_close(&t->s);
    KOUBO(3, "restore");
    assert_says(r.err, "--adopt");
    KOUBO(3, "clean", "--lost");
    KOUBO(0, "restore", "--adopt", "--dry-run");
    KOUBO(3, "restore");
    KOUBO(0, "restore", "--adopt");
    reopen(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 1);
    KOUBO(0, "restore");
    free(r.out), free(r.err);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    const struct CMUnitTest tests[] = {
        TEST(test_a_lost_database), TEST(test_only_results), TEST(test_a_damaged_database),
        TEST(test_a_chosen_backup), TEST(test_adopt),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
