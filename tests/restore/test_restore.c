// Files of an earlier database: nothing of theirs is removed or overwritten, they are told, taken
// in again, or removed when the user says so.
#include "tests/cli/program.h"
#include "tests/queue/queue.h"
#include "tests/worker/grey.h"

#include "base/log.h"
#include "queue/retention.h"
#include "media/subtitle_file.h"
#include "queue/subtitles.h"
#include "restore/restore.h"
#include "store/lost.h"
#include "store/names.h"
#include "queue/batch.h"
#include "queue/job.h"
#include "queue/result.h"
#include "queue/lease.h"
#include "queue/sweep.h"

#include <fcntl.h>

static bool there(struct queue_test *t, const char *name)
{
    CLEANUP(kb_freep) char *path = data_path(t, "%s", name);
    return file_exists(path);
}

static void make_old(const char *path)
{
    struct timespec when = {.tv_sec = kb_wall_ms() / 1000 - 7200};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){when, when}, 0), 0);
}

static void put_file(struct queue_test *t, const char *name, const char *content)
{
    CLEANUP(kb_freep) char *path = data_path(t, "%s", name);
    CLEANUP(kb_freep) char *folder = path_folder(path);
    assert_ok(t->err, file_make_dirs(folder, &t->err));
    assert_ok(t->err, file_write_atomic(path, content, strlen(content), &t->err));
    make_old(path);
}

// A second of grey, two hours old.
static void write_film(struct queue_test *t, const char *path, const char *note)
{
    make_grey(path, 25, note);
    make_old(path);
}

// The next job, done: its result says of itself what a worker makes it say.
static int64_t make_result(struct queue_test *t)
{
    struct job_claim c = claim(t, "w1");
    int64_t job = c.job;
    struct dub_result r = {
        .frames = 25, .frames_animated = 24, .seconds = 1, .width = 128, .height = 96};
    write_film(t, c.output, c.note);
    assert_ok(t->err, job_done(t->s, &c, &r, false, NULL, &t->err));
    job_claim_free(&c);
    return job;
}

// Another database in the same folder, as of a server that starts.
static void change_database(struct queue_test *t, const char *backup, struct lost *ret)
{
    static const char *const names[] = {"koubo.db", "koubo.db-wal", "koubo.db-shm"};
    store_close(&t->s);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(kb_freep) char *path = data_path(t, "%s", names[i]);
        unlink(path);
    }
    CLEANUP(kb_freep) char *path = data_path(t, "koubo.db");
    if (backup)
        assert_int_equal(rename(backup, path), 0);
    // One that is lost is not silently begun anew beside the files.
    if (!backup)
        assert_fails(t->err, KB_NOT_FOUND, "--new-database",
                     store_open(&t->s, t->folder, true, &t->err));
    struct store_params how = {.create = true, .anew = true};
    assert_ok(t->err, store_open_as(&t->s, t->folder, &how, &t->err));
    store_set_durable(t->s, false);
    t->n_assets = 1000; // their names are of another database, too
    assert_ok(t->err, lost_survey(t->s, ret, &t->err));
}

// A copy as "VACUUM INTO" makes it. free() it.
static char *back_up(struct queue_test *t)
{
    char *backup = data_path(t, "backup.db");
    CLEANUP(kb_freep) char *sql = kb_printf("VACUUM INTO '%s'", backup);
    run_sql(t, sql);
    return backup;
}

static int clean_up(struct queue_test *t, bool lost, bool dry_run)
{
    struct retention_params p = {.lost = lost, .dry_run = dry_run};
    struct retention_report report;
    assert_ok(t->err, retention_run(t->s, &p, NULL, NULL, &report, &t->err));
    return report.n_removed;
}

static struct restore_report restore(struct queue_test *t, bool dry_run)
{
    struct restore_params p = {.lang = "en", .dry_run = dry_run};
    struct restore_report report;
    assert_ok(t->err, restore_run(t->s, &p, NULL, NULL, &report, &t->err));
    return report;
}

static json_t *results_of(struct queue_test *t)
{
    struct text text = {0};
    assert_ok(t->err, result_list_json(t->s, &(struct result_filter){0}, &text, &t->err));
    return parse(&text);
}

// Of each kind one, all of another database, all old enough to go by age.
static const char *const strangers[] = {
    "results/7-1.mp4.part",
    "results/9-1.jpg",
    "results/12_晨报/主播_讲话_2026-11-27.mp4.part",
    "results/12_晨报/a.b_c_2026-11-27-3-2.jpg",
    "results/12_晨报/a_c_2026-11-27.jpg.77.part",
    "files/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thumbs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.jpg",
    "uploads/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.part",
};
// What nobody may ever remove: names that are not koubo's, if nearly.
static const char *const not_ours[] = {
    "results/holiday.mp4",
    "results/12-1.mp4.bak",
    "results/12-1.mp4.part~",
    "results/012-1.mp4",
    "results/20240101120000000-1.mp4",
    "results/12.mp4",
    "results/.12-1.mp4",
    "results/12_晨报/notes.txt",
    "results/12_晨报/.a_b_2026-11-27.mp4",
    "results/12_晨报/below/a_b_2026-11-27.mp4",
    "results/012_x/a_b_2026-11-27.mp4",
    "results/holiday/a_b_2026-11-27.mp4",
    "results/12_/a_b_2026-11-27.mp4",
    "files/notes.txt",
    "files/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "files/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "thumbs/me.jpg",
    "uploads/film.part",
    "tracks/mine.kbt",
    "tracks/mine.part",
    "work/w9/diary.txt",
};

static void test_names(void **state)
{
    (void)state;
    struct file_name name;
    assert_true(file_name_parse(&name, "results", "123-2.mp4"));
    assert_int_equal(name.job, 123);
    assert_int_equal(name.attempt, 2);
    assert_string_equal(name.stem, "123-2");
    assert_false(name.half || name.picture);
    assert_true(file_name_parse(&name, "results", "123-2.jpg.77.part"));
    assert_true(name.half && name.picture);
    assert_true(file_name_parse(&name, "work", "0123456789abcdef0123456789abcdef.wav"));
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        size_t n = strcspn(strangers[i], "/");
        CLEANUP(kb_freep) char *folder = kb_printf("%.*s", (int)n, strangers[i]);
        if (!file_name_parse(&name, folder, strangers[i] + n + 1) || name.foreign)
            fail_msg("%s is koubo's", strangers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(not_ours); i++) {
        size_t n = strcspn(not_ours[i], "/");
        CLEANUP(kb_freep) char *folder = kb_printf("%.*s", (int)n, not_ours[i]);
        if (strcmp(folder, "work") == 0)
            n = strlen("work/w9");
        if (file_name_parse(NULL, folder, not_ours[i] + n + 1))
            fail_msg("%s is not koubo's", not_ours[i]);
    }
    assert_true(file_name_parse(&name, "results", "12_晨报/主播.v2_讲话_2026-11-27-2.mp4"));
    assert_int_equal(name.batch, 12);
    assert_int_equal(name.job, 0);
    assert_string_equal(name.stem, "12_晨报/主播.v2_讲话_2026-11-27-2");
    assert_false(name.half || name.picture || name.foreign);
    static const char *const perhaps[] = {"12_晨报/holiday.mp4", "12_晨报/a_2026-11-27.mp4",
                                          "12_晨报/a_b_2026-1-27.jpg", "12_晨报/_2026-11-27-.mp4"};
    for (size_t i = 0; i < ARRAY_LEN(perhaps); i++)
        assert_true(file_name_parse(&name, "results", perhaps[i]) && name.foreign);
    assert_false(file_name_parse(NULL, "logs", "123-2.mp4"));
}

static void test_a_new_database_removes_nothing(void **state)
{
    struct queue_test *t = *state;
    struct lost lost;
    add_batch(t, 2, 5);
    CLEANUP(kb_freep) char *first = output_of(t, make_result(t), ".mp4");
    make_result(t);
    CLEANUP(kb_freep) char *own = data_path(t, "work/w9");
    CLEANUP(kb_freep) char *folder = data_path(t, "results/5-1.mp4");
    CLEANUP(kb_freep) char *link = data_path(t, "results/6-1.mp4");
    assert_ok(t->err, file_make_dirs(own, &t->err));
    assert_ok(t->err, file_make_dirs(folder, &t->err));
    assert_int_equal(symlink("/etc/passwd", link), 0);
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
        put_file(t, strangers[i], "x");
    for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
        put_file(t, not_ours[i], "x");

    change_database(t, NULL, &lost);
    assert_int_equal(lost.n_results, 2);
    assert_int_equal(lost.n_others, ARRAY_LEN(strangers));
    assert_int_equal(clean_up(t, false, false), 0);
    assert_ok(t->err, lost_remembered(t->s, &lost, &t->err));
    assert_int_equal(lost.n_results, 2);

    // the next numbers are above all that lie there
    assert_int_equal(add_batch(t, 1, 5), 13);
    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.job, 10);
    job_claim_free(&c);

    // the user wants them gone: exactly them
    assert_int_equal(clean_up(t, true, true), 2 + (int)ARRAY_LEN(strangers));
    assert_true(there(t, first));
    assert_int_equal(clean_up(t, true, false), 2 + (int)ARRAY_LEN(strangers));
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
        assert_false(there(t, strangers[i]));
    assert_false(there(t, first));
    CLEANUP(kb_freep) char *shelf = path_folder(first);
    CLEANUP(kb_freep) char *shelf_path = data_path(t, "%s", shelf);
    assert_false(file_is_dir(shelf_path)); // with its last file
    for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
        assert_true(there(t, not_ours[i]));
    assert_true(there(t, "results/6-1.mp4"));
    assert_true(file_is_dir(folder));
    assert_ok(t->err, lost_remembered(t->s, &lost, &t->err));
    assert_int_equal(lost.n_results + lost.n_others + lost.bytes, 0);
}

static void test_restore(void **state)
{
    struct queue_test *t = *state;
    struct lost lost;
    int64_t batch = add_batch(t, 2, 5);
    assert_ok(t->err, batch_rename(t->s, batch, "晨报/一", &t->err));
    int64_t first = make_result(t);
    CLEANUP(kb_freep) char *first_file = output_of(t, first, ".mp4");
    CLEANUP(kb_freep) char *first_picture = output_of(t, first, ".jpg");
    assert_memory_equal(first_file, "results/1_晨报_一/v_speech_20",
                        strlen("results/1_晨报_一/v_speech_20"));
    make_result(t);
    // one that has another name by now, and two that were put beside it
    assert_ok(t->err, result_rename(t->s, 2, "给妈妈", &t->err));
    CLEANUP(kb_freep) char *own = data_path(t, "results/1_晨报_一/holiday.mp4");
    write_film(t, own, "{\"title\":\"mine\"}");
    put_file(t, "results/1_晨报_一/letter.mp4", "not a film");
    CLEANUP(kb_freep) char *plain = data_path(t, "results/40-3.mp4");
    write_film(t, plain, NULL);
    CLEANUP(kb_freep) char *rude = data_path(t, "results/41-1.mp4");
    write_film(t, rude,
               "{\"koubo\":1,\"name\":\"../../etc/x\\u0007.exe\",\"batch_name\":\"\\u001b[31m\","
               "\"created\":-5,\"started\":99999999999999}");
    put_file(t, "results/42-1.mp4", "not a film");
    put_file(t, "results/holiday.mp4", "x");
    int64_t ended = ask(t, "SELECT max(ended_ms) FROM job");
    change_database(t, NULL, &lost);
    assert_int_equal(lost.n_results, 4); // nobody is told of a name that may be anybody's

    struct restore_report report = restore(t, true);
    assert_int_equal(report.n_taken, 4);
    assert_int_equal(ask(t, "SELECT count(*) FROM job"), 0);
    assert_false(there(t, first_picture));
    report = restore(t, false);
    assert_int_equal(report.n_taken, 4);
    assert_int_equal(report.n_refused, 1);
    assert_int_equal(report.lost.n_results, 1);
    assert_true(there(t, "results/42-1.mp4"));

    json_t *list = results_of(t);
    assert_int_equal(get_int(list, "total"), 4);
    json_decref(list);
    assert_int_equal(ask(t, "SELECT min(id) FROM job"), 43);
    assert_int_equal(ask(t,
                         "SELECT count(*) FROM job j JOIN batch b ON b.id = j.batch"
                         " WHERE b.name = '晨报/一' AND b.audio_name = 'speech.wav' AND"
                         " j.name = 'v.mp4' AND (j.result_name LIKE 'v_speech_20__-__-__.mp4' OR"
                         "  j.result_name = '给妈妈.mp4' AND j.result = '1_晨报_一/给妈妈.mp4') AND"
                         " j.result_ms = 1000 AND j.result_width = 128 AND j.result_height = 96"
                         " AND j.result_frames = 25 AND j.result_thumb AND"
                         " b.ended_ms >= j.ended_ms AND j.ended_ms < %lld",
                         (long long)ended),
                     2);
    assert_int_equal(ask(t, "SELECT count(*) FROM job j JOIN batch b ON b.id = j.batch WHERE"
                            " b.name = 'Restored results' AND j.result_name = '40-3.mp4'"),
                     1);
    assert_int_equal(ask(t, "SELECT count(*) FROM job j JOIN batch b ON b.id = j.batch WHERE"
                            " b.name = ' [31m' AND j.result_name = 'x.mp4' AND"
                            " j.created_ms = j.ended_ms AND j.started_ms = j.ended_ms"),
                     1);
    assert_true(there(t, first_picture));
    CLEANUP(kb_freep) char *work = path_join(t->folder, "work");
    assert_int_equal(rmdir(work), 0); // nothing is left of the folder in which it was made
    assert_true(there(t, "results/1_晨报_一/给妈妈.jpg"));
    assert_false(there(t, "results/1_晨报_一/holiday.jpg")); // nothing is made beside it
    assert_true(file_exists(own) && there(t, "results/1_晨报_一/letter.mp4"));

    // they are results as others: found, kept, deleted with their files
    assert_int_equal(restore(t, false).n_taken, 0);
    assert_int_equal(clean_up(t, false, false), 0);
    int64_t job = ask(t, "SELECT id FROM job WHERE 'results/' || result = '%s'", first_file);
    struct result found;
    assert_ok(t->err, result_find(t->s, job, &found, &t->err));
    assert_true(file_exists(found.path) && file_exists(found.thumb));
    result_free(&found);
    assert_ok(t->err, result_delete(t->s, job, &t->err));
    assert_false(there(t, first_file) || there(t, first_picture));
    assert_int_equal(clean_up(t, true, false), 1); // the one that is no film
    assert_true(file_exists(own) && there(t, "results/1_晨报_一/letter.mp4"));
    assert_int_equal(restore(t, false).n_taken, 0);
    json_t *one = job_of(t, job);
    assert_string_equal(get_text(one, "state"), "done");
    json_decref(one);
    // two processes cannot take in one file
    char *message = NULL;
    assert_int_not_equal(
        sqlite3_exec(t->s->db, "UPDATE job SET result = '40-3.mp4'", NULL, NULL, &message),
        SQLITE_OK);
    sqlite3_free(message);
}

// Backup with job 1 done, job 2 running, job 3 and 4 waiting; then 2 and 3 are done, 1 is deleted
// and job 5 is made and done. Then the backup is put back.
// A file offers a name of any length. What is cut of it leaves text.
static void test_a_long_name(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text note = {0};
    text_add(&note, "{\"koubo\":1,\"name\":\"ab");
    for (int i = 0; i < 200; i++)
        text_add(&note, "视");
    text_add(&note, "\"}");
    CLEANUP(kb_freep) char *path = data_path(t, "results/9-1.mp4");
    write_film(t, path, note.data);
    assert_int_equal(restore(t, false).n_taken, 1);
    json_t *list = results_of(t); // is JSON
    assert_int_equal(get_int(list, "total"), 1);
    json_decref(list);
    assert_int_equal(ask(t, "SELECT length(CAST(result_name AS BLOB)) FROM job"), 2 + 82 * 3 + 4);
}

static void note_line(void *opaque, enum log_level level, const char *text)
{
    (void)level;
    text_add(opaque, text);
}

static void test_an_older_backup_overwrites_nothing(void **state)
{
    struct queue_test *t = *state;
    struct lost lost;
    add_batch(t, 4, 5);
    make_result(t);
    struct job_claim second = claim(t, "w2");
    CLEANUP(kb_freep) char *backup = back_up(t);
    struct dub_result r = {.frames = 25, .seconds = 1, .width = 128, .height = 96};
    write_film(t, second.output, second.note);
    assert_ok(t->err, job_done(t->s, &second, &r, false, NULL, &t->err));
    CLEANUP(kb_freep) char *second_file = output_of(t, 2, ".mp4");
    assert_int_equal(make_result(t), 3);
    CLEANUP(kb_freep) char *third_file = output_of(t, 3, ".mp4");
    job_claim_free(&second);
    int64_t later = add_batch(t, 1, 9);
    assert_int_equal(make_result(t), 5);
    assert_ok(t->err, batch_rename(t->s, later, "later", &t->err));

    change_database(t, backup, &lost);
    assert_int_equal(lost.n_results, 2); // 3 and 5; 2 is still being made, as far as it knows
    assert_int_equal(clean_up(t, false, false), 0);
    // the worker of job 2 is long gone; what lies there was made after all that is known of it
    run_sql(t, "UPDATE job SET heartbeat_ms = 1000, worker_pid = 999999999 WHERE id = 2");
    CLEANUP(text_free) struct text said = {0};
    log_send_to(note_line, &said);
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){.lease_ms = 1}, &t->err));
    log_send_to(NULL, NULL);
    assert_true(there(t, second_file));
    assert_non_null(strstr(said.data, second_file));
    assert_int_equal(clean_up(t, false, false), 0);
    assert_ok(t->err, lost_remembered(t->s, &lost, &t->err));
    assert_int_equal(lost.n_results, 3);

    // job 3 is run again: as its first attempt, under the next name
    run_sql(t, "UPDATE job SET not_before_ms = 0");
    run_sql(t, "DELETE FROM job WHERE id = 2");
    struct job_claim c = claim(t, "w1");
    assert_int_equal(c.job, 3);
    assert_int_equal(c.attempt, 1);
    CLEANUP(kb_freep)
    char *again = kb_printf("%.*s-2.mp4", (int)strlen(third_file) - 4, third_file);
    CLEANUP(kb_freep) char *again_path = data_path(t, "%s", again);
    assert_string_equal(c.output, again_path);
    finish(t, &c);
    assert_true(there(t, third_file));
    assert_int_equal(restore(t, false).n_taken, 3);
    assert_int_equal(ask(t, "SELECT count(DISTINCT result) FROM job WHERE result IS NOT NULL"), 5);
    assert_true(add_batch(t, 1, 9) > later);
}

// A crash between the commit and the unlinking: the files are known as this database's own.
static void test_a_crash_leaves_no_stranger(void **state)
{
    struct queue_test *t = *state;
    char hex[65], id[33];
    struct lost lost;
    memset(hex, 'c', 64);
    hex[64] = '\0';
    add_batch(t, 3, 5);
    char *files[3];
    for (int i = 0; i < 3; i++)
        files[i] = output_of(t, make_result(t), ".mp4");
    CLEANUP(kb_freep) char *picture = output_of(t, 1, ".jpg");
    put_file(t, picture, "x");
    snprintf(id, sizeof(id), "%s", add_asset(t, "video", "uploading", "u.mp4"));
    CLEANUP(kb_freep) char *part = kb_printf("uploads/%s.part", id);
    CLEANUP(kb_freep) char *content = kb_printf("files/%s", hex);
    CLEANUP(kb_freep) char *thumb = kb_printf("thumbs/%s.jpg", hex);
    put_file(t, part, "x");
    put_file(t, content, "x");
    put_file(t, thumb, "x");
    CLEANUP(kb_freep)
    char *sql = kb_printf("UPDATE asset SET sha256 = '%s' WHERE id = '%s'", hex, id);
    run_sql(t, sql);
    run_sql(t, "UPDATE job SET result = NULL WHERE id = 1");
    run_sql(t, "DELETE FROM job WHERE id = 2");
    run_sql(t, "DELETE FROM asset WHERE state = 'uploading'");
    assert_ok(t->err, lost_survey(t->s, &lost, &t->err));
    assert_int_equal(lost.n_results + lost.n_others, 0);
    assert_int_equal(clean_up(t, false, true), 6);
    assert_int_equal(clean_up(t, false, false), 6);
    assert_false(there(t, files[0]) || there(t, files[1]) || there(t, picture));
    assert_false(there(t, part) || there(t, content) || there(t, thumb));
    assert_true(there(t, files[2]));
    for (int i = 0; i < 3; i++)
        free(files[i]);
    run_sql(t, "UPDATE loose SET since_ms = 1");
    clean_up(t, false, false);
    assert_int_equal(ask(t, "SELECT count(*) FROM loose"), 0);
}

// Deleting as users do leaves nothing to be cleaned up.
static void test_deleting_forgets(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 2, 5);
    make_result(t);
    make_result(t);
    assert_ok(t->err, result_delete(t->s, 1, &t->err));
    assert_ok(t->err, job_delete(t->s, 2, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM loose"), 0);
    assert_int_equal(clean_up(t, true, false), 0);
}

static void test_the_program(void **state)
{
    struct queue_test *t = *state;
    struct lost lost;
    struct outcome r = {0};
    add_batch(t, 2, 5);
    CLEANUP(kb_freep) char *file = output_of(t, make_result(t), ".mp4");
    make_result(t);
    put_file(t, "results/7-1.mp4", "not a film");
    put_file(t, "results/holiday.mp4", "x");
    change_database(t, NULL, &lost);
    store_close(&t->s);
#define KOUBO(wanted, ...)                                                                         \
    RUN(&r, __VA_ARGS__, "--data", t->folder, "--lang", "en");                                     \
    assert_status(&r, wanted)
    KOUBO(0, "clean");
    assert_says(r.out, "removed 0 files");
    assert_says(r.out, "does not know stay: 3 results");
    KOUBO(6, "restore", "--dry-run");
    assert_says(r.out, "would take in 2 results; 1 could not be read");
    KOUBO(6, "restore");
    CLEANUP(kb_freep)
    char *line = kb_printf("%s  %s  (speech)", file + strlen("results/"), path_name(file));
    assert_says(r.out, line);
    assert_says(r.out, "took in 2 results; 1 could not be read");
    assert_says(r.err, "7-1.mp4 stays as it is: ");
    KOUBO(0, "clean", "--lost", "--dry-run");
    assert_says(r.out, "results/7-1.mp4\nwould remove 1 files");
    KOUBO(0, "clean", "--lost");
    assert_false(there(t, "results/7-1.mp4"));
    assert_true(there(t, "results/holiday.mp4") && there(t, file));
    KOUBO(2, "restore", "everything");
    assert_says(r.err, "takes options only");
    free(r.out), free(r.err);
    assert_ok(t->err, store_open(&t->s, t->folder, false, &t->err));
}

// What the files say of their subtitles comes back, but for what cannot be any.
static void test_subtitles_come_back(void **state)
{
    static const struct {
        const char *name, *cues;
    } films[] = {
        {"results/7-1.mp4", "{\"burned\":false,\"cues\":[[0,900,\"你好\"],[900,1000,\"b\"]]}"},
        {"results/8-1.mp4", "{\"burned\":true,\"cues\":[[0,900,\"c\"]]}"},
        {"results/9-1.mp4", "{\"burned\":true,\"cues\":[[900,0,\"ends before\"]]}"},
        {"results/10-1.mp4", "not JSON"},
    };
    struct queue_test *t = *state;
    CLEANUP(subtitle_track_clear) struct subtitle_track cues = {0};
    CLEANUP(kb_freep) char *folder = data_path(t, "results");
    assert_ok(t->err, file_make_dirs(folder, &t->err));
    for (size_t i = 0; i < ARRAY_LEN(films); i++) {
        CLEANUP(kb_freep) char *path = data_path(t, "%s", films[i].name);
        make_grey_with(path, 25, "{\"koubo\":1}", films[i].cues);
        make_old(path);
    }
    assert_int_equal(restore(t, false).n_taken, 4);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE cues IS NOT NULL"), 2);
    int64_t job = ask(t, "SELECT id FROM job WHERE result = '7-1.mp4'");
    assert_ok(t->err, subtitles_of_result(t->s, job, &cues, &t->err));
    assert_int_equal(cues.n, 2);
    assert_string_equal(cues.at[0].text, "你好");
    assert_int_equal(cues.at[1].start_us, 900000);
    json_t *list = results_of(t);
    size_t i;
    json_t *one;
    int burned = 0;
    json_array_foreach(json_object_get(list, "items"), i, one)
    {
        bool first = strcmp(get_text(one, "name"), "8-1.mp4") == 0;
        assert_int_equal(json_is_true(json_object_get(one, "subtitles_burned")), first);
        burned += first;
    }
    assert_int_equal(burned, 1);
    json_decref(list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)

int main(void)
{
    kb_language_set_process(KB_LANGUAGE_SOURCE);
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_a_new_database_removes_nothing),
        TEST(test_restore),
        TEST(test_a_long_name),
        TEST(test_subtitles_come_back),
        TEST(test_an_older_backup_overwrites_nothing),
        TEST(test_a_crash_leaves_no_stranger),
        TEST(test_deleting_forgets),
        TEST(test_the_program),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
