// One worker process on a queue: it does what it should, and what it cannot do it says.
#include "tests/worker/workers.h"

#include "base/log.h"
#include "queue/job.h"
#include "queue/sweep.h"
#include "worker/broker.h"

#include <fcntl.h>
#include <sys/wait.h>

static struct broker *broker; // of the server that the test is
static int seat, pid;         // of the worker that runs, 0 = none
static int terminal;          // what it writes there is read here

// Start koubo worker on the store with further options.
static void start_process(struct queue_test *t, const char *const *options)
{
    int line, ends[2];
    char *arguments[40] = {(char *)"koubo",     (char *)"worker", (char *)"--data",
                           t->folder,           (char *)"--id",   (char *)"w1",
                           (char *)"--threads", (char *)"1",      (char *)"--parent-fd",
                           (char *)"0"};
    for (int i = 0; options && options[i]; i++)
        arguments[10 + i] = (char *)options[i];
    seat = broker_seat(broker, "w1", false, &line, &t->err);
    assert_true(seat >= 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    terminal = ends[0];
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(line, STDIN_FILENO);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execv(getenv("KOUBO_PROGRAM"), arguments);
        _exit(127);
    }
    close(line);
    close(ends[1]);
    broker_begin(broker, seat, pid);
}

static void start_worker(struct queue_test *t, const char *const *options)
{
    assert_ok(t->err, log_open(t->folder, "logs/koubo.log", false, 0, &t->err));
    assert_ok(t->err, broker_start(&broker, t->folder, 0, &t->err));
    start_process(t, options);
}

// As a supervisor does with one that was sent away after a job that failed.
static int replace_the_spent(struct queue_test *t)
{
    struct broker_look look;
    broker_look(broker, seat, &look);
    if (!look.leaves)
        return 0;
    assert_int_equal(program_wait(pid), 0);
    pid = 0;
    close(terminal);
    broker_end(broker, seat, NULL, false);
    while (broker_is_seated(broker, seat))
        usleep(2000);
    start_process(t, NULL);
    return 1;
}

// Tell it to end and wait; the worker's status and how long it took.
static int end_worker(double *ret_seconds)
{
    int64_t begin = kb_now_us();
    broker_leave(broker);
    int status = program_wait(pid);
    pid = 0;
    close(terminal);
    if (ret_seconds)
        *ret_seconds = (double)(kb_now_us() - begin) / 1e6;
    broker_end(broker, seat, NULL, false);
    broker_stop(&broker, 60000);
    log_close();
    return status;
}

static int worker_teardown(void **state)
{
    if (pid > 0) {
        kill(pid, SIGKILL);
        end_worker(NULL);
    }
    broker_stop(&broker, 0);
    return queue_teardown(state);
}

static void assert_no_leftovers(struct queue_test *t)
{
    assert_int_equal(count_files(t, "work"), 0);
    assert_int_equal(count_files(t, "results"),
                     ask(t, "SELECT count(*) FROM job WHERE state = 'done'") +
                         ask(t, "SELECT total(result_thumb) FROM job WHERE state = 'done'"));
}

static void test_good_and_bad_videos(void **state)
{
    struct queue_test *t = *state;
    const char *letter = make_text_file("letter", "this is a letter, not a film\n");
    const char *faceless = make_faceless_video("grey.mp4", 20);
    const char *videos[] = {upload(t, "王.jpg", photo), upload(t, "假的.mp4", letter),
                            upload(t, "grey.mp4", faceless), upload(t, "li.jpg", photo)};
    int64_t batch = start_batch(t, upload(t, "speech.wav", speech), videos, 4);
    start_worker(t, NULL);
    int n_spent = 0;
    for (int64_t end = kb_now_us() + 100000000;
         !ask(t, "SELECT ended_ms IS NOT NULL FROM batch WHERE id = %lld", (long long)batch);
         usleep(3000)) {
        assert_true(kb_now_us() < end);
        n_spent += replace_the_spent(t);
    }
    assert_int_equal(n_spent, 2);
    int64_t first = ask(t, "SELECT min(id) FROM job");
    assert_state(t, first, "done");
    assert_state(t, first + 1, "failed");
    assert_state(t, first + 2, "failed");
    assert_state(t, first + 3, "done");
    for (int i = 1; i <= 2; i++) { // the user's name, and no path of ours
        CLEANUP(kb_freep) char *text = error_of(t, first + i);
        assert_says(text, i == 1 ? "假的.mp4" : "grey.mp4");
        assert_null(strstr(text, t->folder));
    }
    assert_int_equal(ask(t, "SELECT max(attempts) FROM job"), 1);
    assert_int_equal(ask(t, "SELECT min(result_frames) FROM job WHERE state = 'done'"), 15);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE result_thumb"), 2);

    CLEANUP(kb_freep) char *thumb = output_path(t, first, ".jpg");
    struct file_map map = {0};
    assert_ok(t->err, file_map(&map, thumb, &t->err));
    assert_true(map.size > 500 && map.data[0] == 0xFF && map.data[1] == 0xD8);
    file_unmap(&map);
    CLEANUP(kb_freep) char *log = data_path(t, "logs/koubo.log");
    assert_ok(t->err, file_map(&map, log, &t->err));
    CLEANUP(kb_freep) char *lines = kb_printf("%.*s", (int)map.size, (const char *)map.data);
    file_unmap(&map);
    CLEANUP(kb_freep) char *mark = kb_printf(" w1 #%lld ", (long long)first);
    assert_says(lines, mark);

    WAIT_FOR(t,
             "SELECT count(*) FROM worker WHERE id = 'w1' AND state = 'idle' AND pid = %d"
             " AND model = 'koubo-lips-research' AND rss > 1000000",
             pid);
    assert_int_equal(end_worker(NULL), 0);
    assert_no_leftovers(t);
}

static void test_progress_is_told_and_cancelling_is_heard(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_longest_job(t);
    start_worker(t, NULL);
    wait_for_state(t, job, "preprocessing");
    WAIT_FOR(t, "SELECT done > 0 AND total > 0 FROM job WHERE id = %lld", (long long)job);
    wait_for_state(t, job, "generating");
    WAIT_FOR(t, "SELECT done > 0 AND progress > 0.3 FROM job WHERE id = %lld", (long long)job);
    assert_true(ask(t, "SELECT %lld - heartbeat_ms < 3000 FROM job", (long long)kb_wall_ms()));
    assert_ok(t->err, job_cancel(t->s, job, &t->err));
    wait_for_state(t, job, "cancelled");
    assert_int_equal(end_worker(NULL), 0);
    assert_no_leftovers(t);
}

static void test_a_server_that_is_gone_gets_its_job_back(void **state)
{
    struct queue_test *t = *state;
    double seconds;
    int64_t job = start_long_job(t);
    start_worker(t, NULL);
    wait_for_state(t, job, "generating");
    assert_int_equal(end_worker(&seconds), 0);
    assert_true(seconds < 4.5);
    assert_state(t, job, "queued");
    assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)job), 0);
    assert_no_leftovers(t);

    start_worker(t, NULL); // by another server
    wait_for_state(t, job, "done");
    assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)job), 1);
    assert_int_equal(end_worker(NULL), 0);
    assert_no_leftovers(t);
}

// The server dies at once, and says nothing to anybody.
static void test_a_server_that_was_killed_costs_no_attempt(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_longest_job(t);
    start_worker(t, NULL);
    wait_for_state(t, job, "generating");
    broker_stop(&broker, 0);
    assert_int_equal(program_wait(pid), 0);
    pid = 0;
    assert_state(t, job, "generating");
    assert_ok(t->err, sweep_server_lost(t->s, &t->err)); // the next one
    assert_state(t, job, "queued");
    assert_int_equal(ask(t, "SELECT attempts FROM job"), 0);
    assert_int_equal(count_files(t, "results"), 0);
}

static void test_a_job_that_was_taken_away_is_left_alone(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_longest_job(t);
    start_worker(t, NULL);
    wait_for_state(t, job, "generating");
    run_sql(t, "UPDATE job SET lease = 12345, worker = 'w2'");
    WAIT_FOR(t, "SELECT count(*) FROM worker WHERE id = 'w1' AND state = 'idle'");
    assert_int_equal(ask(t, "SELECT lease FROM job WHERE id = %lld", (long long)job), 12345);
    assert_state(t, job, "generating");
    assert_int_equal(end_worker(NULL), 0);
    assert_int_equal(count_files(t, "work"), 0);
    assert_int_equal(count_files(t, "results"), 1); // the empty one that holds the other's name
}

// The database is locked by somebody for longer than the job takes: it goes on meanwhile.
static void test_a_locked_database_does_not_stop_the_work(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_long_job(t);
    start_worker(t, NULL);
    wait_for_state(t, job, "preprocessing");
    CLEANUP(kb_freep) char *output = output_path(t, job, ".mp4");
    run_sql(t, "BEGIN IMMEDIATE");
    int64_t end = kb_now_us() + 100000000;
    while (!file_exists(output) && kb_now_us() < end)
        usleep(10000);
    assert_true(file_exists(output));
    run_sql(t, "ROLLBACK");
    wait_for_state(t, job, "done");
    assert_int_equal(end_worker(NULL), 0);
    assert_no_leftovers(t);
}

// Its cage is bound to the folders that were there when it started.
static void test_removed_folders_cost_no_job(void **state)
{
    struct queue_test *t = *state;
    static const char *const names[] = {"work", "files", "tracks", "networks"};
    start_worker(t, NULL);
    WAIT_FOR(t, "SELECT count(*) FROM worker WHERE id = 'w1' AND state = 'idle'");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(kb_freep) char *folder = data_path(t, "%s", names[i]);
        place_remove(folder);
        mkdir(folder, 0700); // the broker may have been quicker
    }
    int64_t job = start_job(t, "speech.wav", speech);
    int n_replaced = 0;
    for (int64_t end = kb_now_us() + 100000000; !ask(t, "SELECT ended_ms IS NOT NULL FROM job");
         usleep(3000)) {
        assert_true(kb_now_us() < end);
        n_replaced += replace_the_spent(t);
    }
    assert_state(t, job, "done");
    assert_true(n_replaced >= 1);
    assert_int_equal(ask(t, "SELECT attempts FROM job"), 1);
    assert_int_equal(end_worker(NULL), 0);
}

// Started by hand it is its own server; Ctrl-C gives the job back. Whoever binds the threads of
// all programs to processors binds no worker's: its cage forbids that, and OpenMP's library would
// end the process.
static void test_by_hand(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_job(t, "speech.wav", speech), long_job = start_longest_job(t);
    const char *const arguments[] = {"worker", "--data", t->folder, "--threads", "2", NULL};
    setenv("OMP_PROC_BIND", "true", 1);
    int out, by_hand = program_start(arguments, &out);
    unsetenv("OMP_PROC_BIND");
    wait_for_state(t, job, "done");
    wait_for_state(t, long_job, "generating");
    assert_true(ask(t, "SELECT worker_pid FROM job WHERE id = %lld", (long long)long_job) !=
                by_hand); // the one that reads users' files has no database
    kill(by_hand, SIGINT);
    assert_int_equal(program_wait(by_hand), 0);
    close(out);
    assert_state(t, long_job, "queued");
    assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)long_job), 0);
    assert_int_equal(count_files(t, "work"), 0);
}

// From its start on, not only once its job has been looked at.
static void test_what_an_idle_worker_has(void **state)
{
    struct queue_test *t = *state;
    start_worker(t, NULL);
    WAIT_FOR(t, "SELECT count(*) FROM worker WHERE id = 'w1' AND state = 'idle'");
    CLEANUP(kb_freep) char *path = kb_printf("/proc/%d/limits", pid);
    char line[200];
    long seconds = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        sscanf(line, "Max cpu time %ld", &seconds);
    fclose(f);
    assert_true(seconds >= 600 && seconds < 1200);

    // And nobody in it can write to the terminal any more, whatever is written there.
    char byte;
    while (read(terminal, &byte, 1) == 1)
        ;
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(end_worker(NULL), 0);
}

static void test_no_store_no_worker(void **state)
{
    static const struct {
        const char *arguments[6], *says;
        int status;
    } cases[] = {
        {{"worker"}, "--data", 2},
        {{"worker", "--data", "/nonexistent/koubo"}, "/nonexistent/koubo", 3},
        {{"worker", "--data", "/tmp", "--memory-bytes", "-1"}, "--memory-bytes", 2},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        program_run(&r, cases[i].arguments);
        assert_status(&r, cases[i].status);
        assert_says(r.err, cases[i].says);
    }
    free(r.out);
    free(r.err);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, queue_setup, worker_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_good_and_bad_videos),
        CASE(test_progress_is_told_and_cancelling_is_heard),
        CASE(test_a_server_that_is_gone_gets_its_job_back),
        CASE(test_a_server_that_was_killed_costs_no_attempt),
        CASE(test_a_job_that_was_taken_away_is_left_alone),
        CASE(test_a_locked_database_does_not_stop_the_work),
        CASE(test_removed_folders_cost_no_job),
        CASE(test_by_hand),
        CASE(test_what_an_idle_worker_has),
        cmocka_unit_test(test_no_store_no_worker),
    };
    return cmocka_run_group_tests_name("worker/worker", tests, make_materials, folder_teardown);
}
