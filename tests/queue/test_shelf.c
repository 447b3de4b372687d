// Where results lie: readable names, a folder for each batch, and what a crash, an older koubo or
// somebody's own file there must not change.
#include "tests/queue/queue.h"

#include "queue/result.h"
#include "queue/retention.h"
#include "queue/sweep.h"
#include "store/fate.h"
#include "store/lost.h"

static bool there(struct queue_test *t, const char *name)
{
    CLEANUP(kb_freep) char *path = data_path(t, "%s", name);
    return file_exists(path);
}

static bool folder_there(struct queue_test *t, const char *name)
{
    CLEANUP(kb_freep) char *path = data_path(t, "%s", name);
    return file_is_dir(path);
}

static void put_file(struct queue_test *t, const char *name, const char *content)
{
    CLEANUP(kb_freep) char *path = data_path(t, "%s", name);
    CLEANUP(kb_freep) char *folder = path_folder(path);
    assert_ok(t->err, file_make_dirs(folder, &t->err));
    assert_ok(t->err, file_write_atomic(path, content, strlen(content), &t->err));
    struct timespec when = {.tv_sec = kb_wall_ms() / 1000 - 7200};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){when, when}, 0), 0);
}

static struct retention_report clean_up(struct queue_test *t)
{
    struct retention_report report;
    assert_ok(t->err,
              retention_run(t->s, &(struct retention_params){0}, NULL, NULL, &report, &t->err));
    return report;
}

// The next job, done; what it wrote, below the data folder. free() it.
static char *make_result(struct queue_test *t)
{
    struct job_claim c = claim(t, "w1");
    int64_t job = c.job;
    finish(t, &c);
    return output_of(t, job, ".mp4");
}

static void test_a_folder_for_each_batch(void **state)
{
    struct queue_test *t = *state;
    int64_t batch = add_batch(t, 2, 5);
    assert_ok(t->err, batch_rename(t->s, batch, "新品/发布: 一", &t->err));
    CLEANUP(kb_freep) char *first = make_result(t);
    assert_memory_equal(first, "results/1_新品_发布_ 一/v_speech_20", 30);
    assert_ok(t->err, batch_rename(t->s, batch, "other", &t->err)); // it stays together
    CLEANUP(kb_freep) char *second = make_result(t);
    CLEANUP(kb_freep) char *shelf = path_folder(first);
    assert_memory_equal(second, shelf, strlen(shelf));
    assert_ok(t->err, result_delete(t->s, 1, &t->err));
    assert_true(there(t, second));
    assert_ok(t->err, result_delete(t->s, 2, &t->err));
    assert_false(folder_there(t, shelf)); // with its last file
}

// What fails, is cancelled or given back leaves no name taken and no empty folder.
static void test_nothing_left_of_attempts(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    for (int i = 0; i < 3; i++) {
        struct job_claim c = claim(t, "w1");
        CLEANUP(kb_freep) char *part = output_of(t, c.job, ".mp4.part");
        assert_true(there(t, part));
        struct kb_error why = {.code = i == 1 ? KB_NO_SPACE : KB_BAD_INPUT, .text = "x"};
        assert_ok(t->err,
                  i == 0 ? job_give_back(t->s, &c, &t->err) : job_failed(t->s, &c, &why, &t->err));
        run_sql(t, "UPDATE job SET not_before_ms = 0");
        assert_false(there(t, part));
        CLEANUP(kb_freep) char *shelf = path_folder(part);
        assert_false(folder_there(t, shelf));
        job_claim_free(&c);
    }
}

// A file that lies there is not overwritten, whosever it is, and no two attempts write one file.
static void test_names_are_not_shared(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    CLEANUP(kb_freep) char *name = dated("v", "speech", ".mp4");
    CLEANUP(kb_freep) char *theirs = kb_printf("results/1_speech/%s", name);
    put_file(t, theirs, "theirs");
    struct job_claim first = claim(t, "w1");
    CLEANUP(kb_freep) char *wanted = dated("v", "speech", "-2.mp4");
    assert_string_equal(path_name(first.output), wanted);
    // its worker is lost, though it lives: the next attempt writes elsewhere
    CLEANUP(kb_freep) char *half = output_of(t, 1, ".mp4.part");
    put_file(t, half, "some");
    run_sql(t, "UPDATE job SET state = 'queued', lease = NULL");
    struct job_claim second = claim(t, "w2");
    assert_string_not_equal(first.output, second.output);
    finish(t, &second);
    CLEANUP(kb_freep) char *file = path_join(t->folder, theirs);
    struct file_map map = {0};
    assert_ok(t->err, file_map(&map, file, &t->err));
    assert_int_equal(map.size, 6);
    file_unmap(&map);
    // what the first left half goes by age; were it whole, it would stay
    assert_int_equal(clean_up(t).n_removed, 1);
    assert_false(there(t, half));
    CLEANUP(kb_freep) char *whole = kb_printf("%.*s", (int)strlen(half) - 5, half);
    put_file(t, whole, "whole");
    run_sql(t, "INSERT OR IGNORE INTO loose SELECT 'halves', output, 1 FROM job");
    assert_int_equal(clean_up(t).n_removed, 0);
    assert_true(there(t, whole) && there(t, theirs));
    job_claim_free(&first);
}

// A user's own files beside ours: never counted, never removed, and they keep the folder.
static void test_own_files(void **state)
{
    struct queue_test *t = *state;
    struct lost lost;
    add_batch(t, 1, 5);
    CLEANUP(kb_freep) char *file = make_result(t);
    put_file(t, "results/1_speech/holiday.mp4", "x");
    put_file(t, "results/1_speech/notes.txt", "x");
    assert_ok(t->err, result_delete(t->s, 1, &t->err));
    assert_ok(t->err, lost_survey(t->s, &lost, &t->err));
    assert_int_equal(lost.n_results + lost.n_others, 0);
    struct retention_report report;
    struct retention_params p = {.lost = true, .keep_days = 1};
    assert_ok(t->err, retention_run(t->s, &p, NULL, NULL, &report, &t->err));
    assert_int_equal(report.n_removed, 0);
    assert_true(there(t, "results/1_speech/holiday.mp4") && there(t, "results/1_speech/notes.txt"));
}

// A transparent one is called as what it is, from the first byte to the last trace of it; what a
// user made of it beside it is the user's.
static void test_other_endings(void **state)
{
    struct queue_test *t = *state;
    struct lost lost;
    char audio[33], video[33];
    snprintf(audio, sizeof(audio), "%s", add_asset(t, "audio", "ready", "speech.wav"));
    snprintf(video, sizeof(video), "%s", add_asset(t, "video", "ready", "v.mp4"));
    const struct batch_pair pairs[] = {{audio, video, "one.mp4", .face_at = {-1}},
                                       {audio, video, "One.MP4", "{\"alpha\":\"none\"}", {-1}},
                                       {audio, video, "two", "{\"alpha\":\"mov\"}", {-1}}};
    const struct batch_params p = {
        .pairs = pairs, .n_pairs = 3, .options = "{\"alpha\":\"webm\"}", .lang = "en"};
    int64_t batch;
    assert_ok(t->err, batch_create(t->s, &p, &batch, &t->err));
    static const char *const names[] = {"one.webm", "One-2.mp4", "two.mov"};
    for (int i = 0; i < 3; i++) {
        struct result r = {0};
        struct job_claim c = claim(t, "w1");
        assert_string_equal(path_name(c.output_name), names[i]);
        assert_int_equal(
            ask(t, "SELECT result_name = '%s' FROM job WHERE id = %d", names[i], i + 1), 1);
        CLEANUP(kb_freep) char *half = kb_printf("%s.part", c.output);
        assert_true(file_exists(half));
        // its worker is gone, and with it what it had written
        assert_ok(t->err, file_write_atomic(half, "some", 4, &t->err));
        assert_ok(t->err, sweep_worker_lost(t->s, "w1", NULL, false, &t->err));
        assert_false(file_exists(half));
        run_sql(t, "UPDATE job SET not_before_ms = 0");
        job_claim_free(&c);
        c = claim(t, "w1");
        finish(t, &c);
        assert_ok(t->err, result_find(t->s, i + 1, &r, &t->err));
        assert_string_equal(r.name, names[i]);
        assert_true(file_exists(r.path));
        result_free(&r);
    }
    CLEANUP(kb_freep) char *shelf = kb_printf("results/%lld_speech", (long long)batch);
    CLEANUP(kb_freep) char *own = path_join(shelf, "one.mov");
    put_file(t, own, "theirs");
    assert_ok(t->err, result_rename(t->s, 1, "neu.mp4", &t->err));
    CLEANUP(kb_freep) char *renamed = path_join(shelf, "neu.webm");
    CLEANUP(kb_freep) char *like = path_join(shelf, "neu.mov");
    CLEANUP(kb_freep) char *picture = path_join(shelf, "neu.jpg");
    assert_true(there(t, renamed));
    put_file(t, like, "theirs");
    put_file(t, picture, "jpg");
    put_file(t, renamed, "film");
    assert_ok(t->err, lost_survey(t->s, &lost, &t->err));
    assert_int_equal(lost.n_results + lost.n_others, 0);
    struct retention_report report;
    const struct retention_params all = {.lost = true};
    assert_ok(t->err, retention_run(t->s, &all, NULL, NULL, &report, &t->err));
    assert_int_equal(report.n_removed, 0);
    // A crash between the row and its files: they go with the clean-up, the others stay.
    run_sql(t, "DELETE FROM job WHERE id = 1");
    assert_int_equal(clean_up(t).n_removed, 2);
    assert_false(there(t, renamed) || there(t, picture));
    assert_true(there(t, like) && there(t, own));
    run_sql(t, "UPDATE loose SET since_ms = 1");
    clean_up(t);
    assert_int_equal(ask(t, "SELECT count(*) FROM loose WHERE kind = 'results'"), 0);
}

// The names by which the database knows them.
static void test_marks(void **state)
{
    (void)state;
    static const struct {
        const char *name, *mark, *stem;
    } cases[] = {{"1_a/b.mp4", "1_a/b", "1_a/b"},
                 {"1_a/b.webm", "1_a/b.webm", "1_a/b"},
                 {"1_a/b.mov.mp4", "1_a/b.mov.mp4", "1_a/b.mov"},
                 {"1_a/b.mp4.mp4", "1_a/b.mp4.mp4", "1_a/b.mp4"},
                 {"7-1.mp4", "7-1", "7-1"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct file_name parsed;
        CLEANUP(kb_freep) char *mark = result_mark(cases[i].name);
        CLEANUP(kb_freep) char *name = result_of_mark(mark);
        CLEANUP(kb_freep) char *stem = result_beside(cases[i].name, "");
        CLEANUP(kb_freep) char *half = kb_printf("%s.part", cases[i].name);
        assert_string_equal(mark, cases[i].mark);
        assert_string_equal(name, cases[i].name);
        assert_string_equal(stem, cases[i].stem);
        assert_true(file_name_parse(&parsed, "results", half) && parsed.half);
        assert_string_equal(parsed.stem, cases[i].mark);
    }
    assert_false(file_name_parse(NULL, "results", "7-1.webm")); // before there were any
    assert_true(file_name_parse(NULL, "work", "0123456789abcdef0123456789abcdef.webm.part"));
}

// The file moves by a second name, so a crash at any moment leaves one whole file and the row that
// names it. These are the moments.
static void test_rename_and_crash(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    CLEANUP(kb_freep) char *old = make_result(t);
    CLEANUP(kb_freep) char *old_path = data_path(t, "%s", old);
    CLEANUP(kb_freep) char *new_path = data_path(t, "results/1_speech/new.mp4");
    // before the row was changed
    assert_ok(t->err, file_loosen(t->s, "results", "1_speech/new", &t->err));
    assert_int_equal(link(old_path, new_path), 0);
    assert_int_equal(clean_up(t).n_removed, 1);
    assert_true(file_exists(old_path));
    assert_false(file_exists(new_path));
    // behind that
    assert_int_equal(link(old_path, new_path), 0);
    run_sql(t, "UPDATE job SET result = '1_speech/new.mp4'");
    assert_int_equal(clean_up(t).n_removed, 1);
    assert_false(file_exists(old_path));
    assert_true(file_exists(new_path));
    // and without any
    run_sql(t, "DELETE FROM loose");
    CLEANUP(kb_freep) char *picture = data_path(t, "results/1_speech/new.jpg");
    assert_ok(t->err, file_write_atomic(picture, "jpg", 3, &t->err));
    run_sql(t, "UPDATE job SET result_thumb = 1");
    assert_ok(t->err, result_rename(t->s, 1, "newer", &t->err));
    struct result r = {0};
    assert_ok(t->err, result_find(t->s, 1, &r, &t->err));
    assert_true(file_exists(r.path) && file_exists(r.thumb));
    assert_string_equal(r.name, "newer.mp4");
    result_free(&r);
    assert_false(file_exists(new_path) || file_exists(picture));
    assert_int_equal(ask(t, "SELECT count(*) FROM loose"), 0);
    assert_int_equal(clean_up(t).n_removed, 0);
    // a file that somebody else took away
    assert_int_equal(unlink(new_path), -1);
    CLEANUP(kb_freep) char *newer = data_path(t, "results/1_speech/newer.mp4");
    assert_int_equal(unlink(newer), 0);
    assert_fails(t->err, KB_NOT_FOUND, "is gone", result_rename(t->s, 1, "x", &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM loose"), 0);
}

// A clean-up by another process, in the middle of a change of job.result.
static void clean_beside(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n, (void)values;
    struct store *other = sqlite3_user_data(context);
    struct retention_report report;
    retention_run(other, &(struct retention_params){0}, NULL, NULL, &report, NULL);
}

static void test_rename_beside_a_clean_up(void **state)
{
    struct queue_test *t = *state;
    struct store *other = NULL;
    add_batch(t, 1, 5);
    free(make_result(t));
    assert_ok(t->err, store_open(&other, t->folder, false, &t->err));
    sqlite3_busy_timeout(other->db, 0);
    assert_int_equal(sqlite3_create_function(t->s->db, "clean_beside", 0, SQLITE_UTF8, other,
                                             clean_beside, NULL, NULL),
                     SQLITE_OK);
    run_sql(t, "CREATE TEMP TRIGGER beside BEFORE UPDATE OF result ON job"
               " BEGIN SELECT clean_beside(); END");
    assert_ok(t->err, result_rename(t->s, 1, "new", &t->err));
    assert_true(there(t, "results/1_speech/new.mp4"));
    run_sql(t, "DROP TRIGGER beside");
    store_close(&other);
    assert_int_equal(clean_up(t).n_removed, 0);
}

// A name that differs in capitals only is another one's on many disks.
static void test_capitals(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    for (int i = 1; i <= 2; i++)
        free(make_result(t));
    assert_ok(t->err, result_rename(t->s, 1, "Film", &t->err));
    assert_ok(t->err, result_rename(t->s, 2, "fILM", &t->err));
    assert_true(there(t, "results/1_speech/Film.mp4"));
    assert_true(there(t, "results/1_speech/fILM-2.mp4"));
    assert_ok(t->err, result_rename(t->s, 1, "FILM", &t->err)); // its own does not count
    assert_true(there(t, "results/1_speech/FILM.mp4"));
}

// Results of a koubo before version 3 lie in no folder. They are kept, found, renamed, deleted.
static void test_results_of_older_versions(void **state)
{
    struct queue_test *t = *state;
    struct lost lost;
    add_batch(t, 2, 5);
    for (int i = 0; i < 2; i++)
        free(make_result(t));
    CLEANUP(kb_freep) char *shelf = data_path(t, "results/1_speech");
    assert_true(place_remove(shelf));
    run_sql(t, "UPDATE job SET result = id || '-1.mp4', output = id || '-1', result_thumb = 1,"
               " result_name = 'v.mp4'");
    run_sql(t, "UPDATE batch SET folder = NULL");
    run_sql(t, "DELETE FROM loose");
    for (int i = 1; i <= 2; i++) {
        CLEANUP(kb_freep) char *video = kb_printf("results/%d-1.mp4", i);
        CLEANUP(kb_freep) char *picture = kb_printf("results/%d-1.jpg", i);
        CLEANUP(kb_freep) char *half = kb_printf("results/%d-1.mp4.part", i);
        put_file(t, video, "film");
        put_file(t, picture, "jpg");
        put_file(t, half, "half");
    }
    assert_ok(t->err, lost_survey(t->s, &lost, &t->err));
    assert_int_equal(lost.n_results + lost.n_others, 0);
    assert_int_equal(clean_up(t).n_removed, 2); // the halves
    struct result r = {0};
    assert_ok(t->err, result_find(t->s, 1, &r, &t->err));
    assert_true(file_exists(r.path) && file_exists(r.thumb));
    result_free(&r);
    assert_ok(t->err, result_rename(t->s, 1, "mine", &t->err));
    assert_true(there(t, "results/1_speech/mine.mp4") && there(t, "results/1_speech/mine.jpg"));
    assert_false(there(t, "results/1-1.mp4") || there(t, "results/1-1.jpg"));
    assert_ok(t->err, result_delete(t->s, 2, &t->err));
    assert_false(there(t, "results/2-1.mp4") || there(t, "results/2-1.jpg"));
    assert_ok(t->err, result_delete(t->s, 1, &t->err));
    assert_false(folder_there(t, "results/1_speech"));
    assert_int_equal(ask(t, "SELECT count(*) FROM loose"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_folder_for_each_batch),
        TEST(test_nothing_left_of_attempts),
        TEST(test_names_are_not_shared),
        TEST(test_own_files),
        TEST(test_other_endings),
        TEST(test_marks),
        TEST(test_rename_and_crash),
        TEST(test_rename_beside_a_clean_up),
        TEST(test_capitals),
        TEST(test_results_of_older_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
