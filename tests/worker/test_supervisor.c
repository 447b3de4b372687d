// The supervisor with real workers that are killed, stopped and told to end.
#include "tests/worker/workers.h"

#include "base/log.h"
#include "media/writer.h"
#include "worker/supervisor.h"

#include <fcntl.h>
#include <sys/wait.h>

#define LEASE_MS 1000

static struct supervisor *supervisor;
static int64_t memory_bytes;

static void start_supervisor(struct queue_test *t, int64_t hang_ms, const char *program)
{
    struct supervisor_params p = {.data = t->folder,
                                  .program = program ? program : getenv("KOUBO_PROGRAM"),
                                  .n_workers = 1,
                                  .worker = {.parent_fd = -1, .memory_bytes = memory_bytes},
                                  .hang_ms = hang_ms,
                                  .lease_ms = LEASE_MS};
    assert_ok(t->err, log_open(t->folder, "logs/koubo.log", false, 0, &t->err));
    assert_ok(t->err, supervisor_start(&supervisor, &p, &t->err));
}

static int supervisor_teardown(void **state)
{
    supervisor_stop(&supervisor);
    log_close();
    return queue_teardown(state);
}

// The process of a worker that has reported itself; waits for one that is not the old.
static int worker_pid(struct queue_test *t, const char *id, int old)
{
    WAIT_FOR(t,
             "SELECT count(*) FROM worker WHERE id = '%s' AND state IN ('idle', 'busy')"
             " AND pid <> %d",
             id, old);
    return (int)ask(t, "SELECT pid FROM worker WHERE id = '%s'", id);
}

static int job_pid(struct queue_test *t, int64_t job)
{
    return (int)ask(t, "SELECT worker_pid FROM job WHERE id = %lld", (long long)job);
}

// The job is queued again and says why; it need not wait for its next attempt.
static void assert_tried_again(struct queue_test *t, int64_t job, const char *reason,
                               const char *stage)
{
    wait_for_state(t, job, "queued");
    CLEANUP(kb_freep) char *text = error_of(t, job);
    assert_says(text, reason);
    assert_says(text, stage);
    run_sql(t, "UPDATE job SET not_before_ms = 0");
}

static void assert_done_once(struct queue_test *t, int64_t job, int attempts)
{
    wait_for_state(t, job, "done");
    assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)job), attempts);
    CLEANUP(kb_freep) char *output = output_path(t, job, ".mp4");
    assert_true(file_exists(output));
    assert_int_equal(count_files(t, "results"), 2); // and its picture
}

static char *read_log(struct queue_test *t)
{
    struct file_map map = {0};
    CLEANUP(kb_freep) char *log = data_path(t, "logs/koubo.log");
    assert_ok(t->err, file_map(&map, log, &t->err));
    char *text = kb_printf("%.*s", (int)map.size, (const char *)map.data);
    file_unmap(&map);
    return text;
}

static void test_a_death_while_loading_and_while_looking_for_faces(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_long_job(t);
    start_supervisor(t, 0, NULL);
    // The model may be loaded before the job is begun: then it is the speech that is being read.
    WAIT_FOR(t, "SELECT state IN ('loading', 'audio') FROM job WHERE id = %lld", (long long)job);
    kill(job_pid(t, job), SIGKILL);
    assert_tried_again(t, job, "memory ran out", "while");

    wait_for_state(t, job, "preprocessing");
    kill(job_pid(t, job), SIGSEGV);
    assert_tried_again(t, job, "the worker crashed", "finding faces");
    assert_done_once(t, job, 3);
    CLEANUP(kb_freep) char *log = read_log(t);
    assert_says(log, "SIGSEGV");
}

static void test_a_death_while_generating_and_after_the_last_frame(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_long_job(t);
    start_supervisor(t, 0, NULL);
    wait_for_state(t, job, "generating");
    kill(job_pid(t, job), SIGXCPU);
    assert_tried_again(t, job, "too much processor time", "generating");

    // The file is whole, but somebody holds the database for longer than any lease. The worker dies
    // meanwhile, and nothing is lost.
    wait_for_state(t, job, "generating");
    CLEANUP(kb_freep) char *output = output_path(t, job, ".mp4");
    int pid = job_pid(t, job);
    run_sql(t, "BEGIN EXCLUSIVE");
    for (int i = 0; i < 10000 && !file_exists(output); i++)
        usleep(10000);
    assert_true(file_exists(output));
    kill(pid, SIGABRT);
    usleep(2 * LEASE_MS * 1000);
    run_sql(t, "ROLLBACK");
    assert_done_once(t, job, 2);
}

static void test_the_last_attempt_fails_the_job_alone(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_long_job(t);
    const char *video = upload(t, "b.jpg", photo);
    start_batch(t, upload(t, "b.wav", speech), &video, 1);
    run_sql(t, "UPDATE job SET attempts = 2 WHERE id = 1");
    start_supervisor(t, 0, NULL);
    wait_for_state(t, job, "generating");
    kill(job_pid(t, job), SIGKILL);
    wait_for_state(t, job, "failed");
    CLEANUP(kb_freep) char *text = error_of(t, job);
    assert_says(text, "while generating");
    assert_says(text, "3 times");
    wait_for_state(t, job + 1, "done");
    assert_int_equal(count_files(t, "results"), 2);
}

static void test_what_hangs_is_replaced(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_long_job(t);
    start_supervisor(t, 4000, NULL);
    int inspector = worker_pid(t, "i1", 0);
    wait_for_state(t, job, "generating");
    kill(job_pid(t, job), SIGSTOP); // at work
    kill(inspector, SIGSTOP);       // idle by now, or at work as well
    assert_tried_again(t, job, "no progress", "generating");
    worker_pid(t, "i1", inspector);
    assert_done_once(t, job, 2);

    int idle = worker_pid(t, "w1", 0);
    kill(idle, SIGSTOP);
    worker_pid(t, "w1", idle);
    assert_int_equal(ask(t, "SELECT min(restarts) FROM worker"), 1);
}

// It holds the database, so that no sweep comes through; it is ended all the same.
static void test_what_hangs_with_the_database_is_replaced(void **state)
{
    struct queue_test *t = *state;
    start_supervisor(t, 4000, NULL);
    int idle = worker_pid(t, "w1", 0);
    run_sql(t, "BEGIN IMMEDIATE");
    kill(idle, SIGSTOP);
    for (int i = 0; i < 3000 && kill(idle, 0) == 0; i++)
        usleep(10000);
    assert_int_equal(kill(idle, 0), -1);
    run_sql(t, "ROLLBACK");
    worker_pid(t, "w1", idle);
}

static void test_stopping_gives_jobs_back(void **state)
{
    struct queue_test *t = *state;
    int64_t job = start_longest_job(t);
    start_supervisor(t, 0, NULL);
    wait_for_state(t, job, "generating");
    int pids[] = {job_pid(t, job), worker_pid(t, "i1", 0)};
    int64_t begin = kb_now_us();
    supervisor_stop(&supervisor);
    assert_true(kb_now_us() - begin < 7000000);
    assert_state(t, job, "queued");
    assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)job), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM worker"), 0);
    for (size_t i = 0; i < ARRAY_LEN(pids); i++)
        assert_true(kill(pids[i], 0) != 0);
    assert_int_equal(count_files(t, "results"), 0);
    assert_int_equal(count_files(t, "work"), 0);
}

// Sanitizers take terabytes of address space.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// A video whose every frame takes 50 MB. Grey: nobody gets as far as looking at it.
static const char *make_huge_video(struct queue_test *t)
{
    enum { WIDTH = 7680, HEIGHT = 4320, N = 6 };
    const char *path = in_folder("huge.mp4");
    struct writer_params params = {.width = WIDTH,
                                   .height = HEIGHT,
                                   .frame_rate = {25, 1},
                                   .sample_aspect = {1, 1},
                                   .crf = 40,
                                   .preset = "ultrafast"};
    struct writer *writer = NULL;
    assert_ok(t->err, writer_open(&writer, path, &params, &t->err));
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = WIDTH;
    f->height = HEIGHT;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int plane = 0; plane < 3; plane++)
        memset(f->data[plane], 128, (size_t)f->linesize[plane] * (HEIGHT >> !!plane));
    for (int i = 0; i < N; i++) {
        f->pts = i * 40000;
        FRAME_DURATION(f) = 40000;
        assert_ok(t->err, writer_put(writer, f, &t->err));
    }
    av_frame_free(&f);
    assert_ok(t->err, writer_finish(writer, &t->err));
    writer_close(&writer);
    return path;
}

static void test_too_little_memory_is_said(void **state)
{
    struct queue_test *t = *state;
    const char *videos[] = {upload(t, "八千.mp4", make_huge_video(t)),
                            upload(t, "b.mp4", long_video)};
    start_batch(t, upload(t, "speech.wav", speech), videos, 2);
    memory_bytes = 1100000000;
    start_supervisor(t, 0, NULL);
    memory_bytes = 0;
    WAIT_FOR(t, "SELECT state = 'queued' AND error IS NOT NULL FROM job WHERE id = 1");
    CLEANUP(kb_freep) char *text = error_of(t, 1);
    assert_says(text, "--memory");
    assert_says(text, "八千.mp4");
    wait_for_state(t, 2, "done"); // by a fresh process
    assert_int_equal(ask(t, "SELECT restarts FROM worker WHERE id = 'w1'"), 1);
}

#endif

// A worker that ends as soon as it is started is started ever more rarely.
static void test_a_broken_program_is_not_started_over_and_over(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *program = data_path(t, "broken");
    CLEANUP(kb_freep) char *starts = data_path(t, "starts");
    CLEANUP(kb_freep)
    char *script =
        kb_printf("#!/bin/sh\necho \"$@ key:$AWS_SECRET_ACCESS_KEY\" >> '%s'\nexit 3\n", starts);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    assert_ok(t->err, file_write_atomic(program, script, strlen(script), &t->err));
    assert_int_equal(chmod(program, 0755), 0);
    log_set_level(LOG_DEBUG);
    start_supervisor(t, 0, program);
    usleep(2500000);
    supervisor_stop(&supervisor);
    log_set_level(LOG_INFO);
    struct file_map map = {0};
    assert_ok(t->err, file_map(&map, starts, &t->err));
    CLEANUP(kb_freep) char *lines = kb_printf("%.*s", (int)map.size, (const char *)map.data);
    file_unmap(&map);
    int n = count_lines(lines);
    assert_true(n >= 4 && n <= 10); // of two processes: at 0, 0.1, 0.5 and 2.1 s or later
    assert_says(lines, "--id w1");
    assert_says(lines, "--id i1");
    assert_says(lines, "--inspect");
    assert_says(lines, "key:");
    assert_null(strstr(lines, "hush")); // nor has it the keys of a depot
    unsetenv("AWS_SECRET_ACCESS_KEY");
    assert_null(strstr(lines, "--no-sandbox"));
    assert_says(lines, "-vv"); // they say as much as their server
    CLEANUP(kb_freep) char *log = read_log(t);
    assert_says(log, "exit code 3");
}

// A node's files are known by its head; a head may leave the jobs to its nodes.
static void test_without_inspector_or_generators(void **state)
{
    struct queue_test *t = *state;
    struct supervisor_params p = {.data = t->folder,
                                  .program = getenv("KOUBO_PROGRAM"),
                                  .worker = {.parent_fd = -1},
                                  .no_inspector = true};
    const char *id = upload(t, "speech.wav", speech);
    p.n_workers = 2;
    assert_ok(t->err, supervisor_start(&supervisor, &p, &t->err));
    worker_pid(t, "w1", 0);
    worker_pid(t, "w2", 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM worker"), 2);
    assert_int_equal(ask(t, "SELECT state = 'new' FROM asset WHERE id = '%s'", id), 1);
    supervisor_stop(&supervisor);

    p.no_inspector = false;
    p.no_generators = true;
    assert_ok(t->err, supervisor_start(&supervisor, &p, &t->err));
    WAIT_FOR(t, "SELECT state = 'ready' FROM asset WHERE id = '%s'", id);
    assert_int_equal(ask(t, "SELECT count(*) FROM worker"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM worker WHERE kind = 'inspect'"), 1);
}

static void test_auto_means_at_least_one(void **state)
{
    int n = supervisor_auto_workers();
    assert_true(n >= 1 && n <= KB_MAX(kb_cpu_count() / 2, 1));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, queue_setup, supervisor_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_a_death_while_loading_and_while_looking_for_faces),
        CASE(test_a_death_while_generating_and_after_the_last_frame),
        CASE(test_the_last_attempt_fails_the_job_alone),
        CASE(test_what_hangs_is_replaced),
        CASE(test_what_hangs_with_the_database_is_replaced),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        CASE(test_too_little_memory_is_said),
#endif
        CASE(test_stopping_gives_jobs_back),
        CASE(test_a_broken_program_is_not_started_over_and_over),
        CASE(test_without_inspector_or_generators),
        cmocka_unit_test(test_auto_means_at_least_one),
    };
    return cmocka_run_group_tests_name("worker/supervisor", tests, make_materials, folder_teardown);
}
