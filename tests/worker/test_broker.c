// The broker against workers that somebody took over: the test holds their end of the line, says
// what it likes and lays what it likes into their folders.
#include "tests/worker/brokers.h"

#include "asset/asset.h"
#include "queue/sweep.h"
#include "worker/line.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

struct worker {
    int seat, line;
};

static void wait_for(struct queue_test *t, int64_t job, const char *state)
{
    WAIT(ask(t, "SELECT state = '%s' FROM job WHERE id = %lld", state, (long long)job));
}

static struct worker sit(struct queue_test *t, const char *id, bool inspect)
{
    struct worker w;
    w.seat = broker_seat(broker, id, inspect, &w.line, &t->err);
    assert_true(w.seat >= 0);
    broker_begin(broker, w.seat, getpid());
    return w;
}

// Its process is gone, and all it said is written down.
static void leave(struct worker *w, const char *reason)
{
    close(w->line);
    broker_end(broker, w->seat, reason, false);
    WAIT(!broker_is_seated(broker, w->seat));
}

static void say(const struct worker *w, const char *text)
{
    if (send(w->line, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        fail_msg("cannot say: %s", text ? text : "nothing");
}

static bool is_bad(const struct worker *w)
{
    struct broker_look look;
    broker_look(broker, w->seat, &look);
    return look.bad;
}

static struct broker_look look_at(const struct worker *w)
{
    struct broker_look look;
    broker_look(broker, w->seat, &look);
    return look;
}

static json_t *hear(const struct worker *w, const char *is)
{
    json_t *m = NULL;
    WAIT(line_receive(w->line, &m) == LINE_MESSAGE);
    assert_string_equal(line_is(m), is);
    return m;
}

// Asks for work; the name of its files, in its folder.
static char *take(struct queue_test *t, const struct worker *w, const char *id, const char *is)
{
    say(w, "{\"is\":\"next\"}");
    json_t *m = hear(w, is);
    char *path = data_path(t, "work/%s/%s", id, get_text(m, "file"));
    json_decref(m);
    return path;
}

static void put(const char *stem, const char *tail, const char *text)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = kb_printf("%s%s", stem, tail);
    assert_ok(err, file_write_atomic(path, text, strlen(text), &err));
}

static void assert_holds(const char *path, const char *text)
{
    struct kb_error err = {0};
    struct file_map map = {0};
    assert_ok(err, file_map(&map, path, &err));
    assert_int_equal(map.size, strlen(text));
    assert_memory_equal(map.data, text, map.size);
    file_unmap(&map);
}

// A batch of one job, whose files are there.
static int64_t add_job(struct queue_test *t)
{
    int64_t batch = add_batch(t, 1, 5);
    for (int i = t->n_assets - 1; i <= t->n_assets; i++) {
        CLEANUP(kb_freep) char *path = data_path(t, "files/%032x", i);
        put(path, "", "content");
    }
    return ask(t, "SELECT id FROM job WHERE batch = %lld", (long long)batch);
}

static char *result_path(struct queue_test *t, int64_t job, const char *tail)
{
    CLEANUP(kb_freep) char *name = output_of(t, job, tail);
    return path_join(t->folder, name);
}

#define DONE                                                                                       \
    "{\"is\":\"done\",\"frames\":25,\"animated\":24,\"seconds\":1.0,\"width\":64,\"height\":48,"   \
    "\"picture\":true,\"stages\":[0,0.1,0.2,0.3,0.4]}"

static void test_what_makes_no_sense(void **state)
{
    static const char *const cases[] = {
        "x",
        "[]",
        "{}",
        "{\"is\":1}",
        "{\"is\":\"done\"}",
        "{\"is\":\"delete\",\"job\":1}",
        "{\"is\":\"at\",\"stage\":5,\"done\":0,\"total\":0,\"fps\":0}",
        "{\"is\":\"at\",\"stage\":-1,\"done\":0,\"total\":0,\"fps\":0}",
        "{\"is\":\"at\",\"stage\":3,\"done\":-1,\"total\":0,\"fps\":0}",
        "{\"is\":\"at\",\"stage\":3,\"done\":0,\"total\":0,\"fps\":-1}",
        "{\"is\":\"at\",\"stage\":3,\"done\":0,\"total\":0,\"fps\":0,\"job\":2}",
        "{\"is\":\"at\",\"is\":\"at\",\"stage\":3,\"done\":0,\"total\":0,\"fps\":0}",
        "{\"is\":\"done\",\"frames\":0,\"animated\":0,\"seconds\":1,\"width\":64,\"height\":48,"
        "\"picture\":false,\"stages\":[0,0,0,0,0]}",
        "{\"is\":\"done\",\"frames\":9,\"animated\":10,\"seconds\":1,\"width\":64,\"height\":48,"
        "\"picture\":false,\"stages\":[0,0,0,0,0]}",
        "{\"is\":\"done\",\"frames\":9,\"animated\":9,\"seconds\":1e300,\"width\":64,\"height\":48,"
        "\"picture\":false,\"stages\":[0,0,0,0,0]}",
        "{\"is\":\"done\",\"frames\":9,\"animated\":9,\"seconds\":1,\"width\":64,\"height\":48,"
        "\"picture\":false,\"stages\":[0,0,0,0]}",
        "{\"is\":\"failed\",\"code\":0,\"why\":\"all is well\"}",
        "{\"is\":\"failed\",\"code\":99,\"why\":\"\"}",
        "{\"is\":\"failed\",\"code\":3,\"why\":\"\xff\"}",
        "{\"is\":\"worker\",\"state\":\"stopped\",\"rss\":1}",
        "{\"is\":\"worker\",\"state\":\"idle\",\"precision\":\"f99\",\"rss\":1}",
        "{\"is\":\"log\",\"level\":9,\"text\":\"x\"}",
        "{\"is\":\"facts\"}",
        "{\"is\":\"spoken\"}",
    };
    struct queue_test *t = *state;
    int64_t job = add_job(t);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct worker w = sit(t, "w1", false);
        free(take(t, &w, "w1", "job"));
        say(&w, cases[i]);
        WAIT(is_bad(&w));
        leave(&w, "the worker said what makes no sense and was ended");
        assert_state(t, job, "queued");
        assert_int_equal(ask(t, "SELECT attempts FROM job"), 1);
        run_sql(t, "UPDATE job SET attempts = 0, not_before_ms = 0");
    }
    // The same of one who has nothing.
    static const char *const of_a_job[] = {
        DONE, "{\"is\":\"back\"}", "{\"is\":\"loaded\"}",
        "{\"is\":\"failed\",\"code\":3,\"why\":\"x\"}",
        "{\"is\":\"at\",\"stage\":3,\"done\":1,\"total\":2,\"fps\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(of_a_job); i++) {
        struct worker idle = sit(t, "w1", false), inspector = sit(t, "i1", true);
        say(&idle, of_a_job[i]);
        say(&inspector, of_a_job[i]);
        WAIT(is_bad(&idle) && is_bad(&inspector));
        leave(&idle, NULL);
        leave(&inspector, NULL);
    }
    // More than a message may have.
    struct worker w = sit(t, "w1", false);
    CLEANUP(kb_freep) char *much = malloc(LINE_BYTES + 2);
    memset(much, ' ', LINE_BYTES + 1);
    much[LINE_BYTES + 1] = '\0';
    say(&w, much);
    WAIT(is_bad(&w));
    leave(&w, NULL);
    assert_state(t, job, "queued");
    assert_int_equal(ask(t, "SELECT attempts FROM job"), 0);
}

static void test_a_result_is_moved(void **state)
{
    struct queue_test *t = *state;
    int64_t job = add_job(t);
    struct worker w = sit(t, "w1", false);
    CLEANUP(kb_freep) char *stem = take(t, &w, "w1", "job");
    say(&w, "{\"is\":\"at\",\"stage\":3,\"done\":7,\"total\":25,\"fps\":12.5}");
    WAIT(ask(t, "SELECT done = 7 AND state = 'generating' FROM job"));
    put(stem, ".mp4", "film");
    put(stem, ".jpg", "picture");
    say(&w, DONE);
    wait_for(t, job, "done");
    CLEANUP(kb_freep) char *film = result_path(t, job, ".mp4");
    CLEANUP(kb_freep) char *picture = result_path(t, job, ".jpg");
    assert_holds(film, "film");
    assert_holds(picture, "picture");
    assert_int_equal(ask(t, "SELECT result_thumb AND result_size = 4 AND result_frames = 25"
                            " AND json_extract(stage_s, '$.generating') = 0.3 FROM job"),
                     1);
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", film);
    assert_false(file_exists(part));
    say(&w, "{\"is\":\"back\"}"); // too late: it is done
    WAIT(is_bad(&w));
    leave(&w, "the worker crashed");
    assert_state(t, job, "done");
}

// results/ is a disk of its own: the bytes go there on a thread of their own, whether the worker
// lives on or not, and the job is done when all of them are there.
static void test_results_on_another_disk(void **state)
{
    struct queue_test *t = *state;
    static const char whole[] = "the end of the film";
    CLEANUP(kb_freep) char *results = path_join(t->folder, "results");
    broker_stop(&broker, 0);
    bool mounted = unshare(CLONE_NEWNS) == 0 &&
                   mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                   mount("koubo", results, "tmpfs", 0, NULL) == 0;
    assert_ok(t->err, broker_start(&broker, t->folder, 0, &t->err)); // its thread sees the mount
    if (!mounted)
        SKIP_TEST("no disk can be mounted here");
    struct worker w = sit(t, "w1", false);
    for (int i = 0; i < 2; i++) {
        int64_t job = add_job(t);
        CLEANUP(kb_freep) char *stem = take(t, &w, "w1", "job");
        CLEANUP(kb_freep) char *made = kb_printf("%s.mp4", stem);
        put(stem, ".jpg", "picture");
        int fd = open(made, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(pwrite(fd, whole, sizeof(whole), 32 << 20), sizeof(whole));
        close(fd);
        say(&w, DONE);
        if (i == 1)
            leave(&w, "the worker crashed"); // with its last word said
        wait_for(t, job, "done");
        CLEANUP(kb_freep) char *film = result_path(t, job, ".mp4");
        CLEANUP(kb_freep) char *part = kb_printf("%s.part", film);
        CLEANUP(kb_freep) char *picture = result_path(t, job, ".jpg");
        char end[sizeof(whole)] = "";
        fd = open(film, O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, end, sizeof(end), 32 << 20), sizeof(end));
        assert_memory_equal(end, whole, sizeof(end));
        close(fd);
        assert_holds(picture, "picture");
        assert_false(file_exists(part) || file_exists(made));
    }
    broker_stop(&broker, 0); // its database lies beside the mount
    assert_int_equal(umount(results), 0);
}

// Somebody empties the folder while it is worked.
static void test_folders_are_made_anew(void **state)
{
    struct queue_test *t = *state;
    struct worker w = sit(t, "w1", false);
    for (int i = 0; i < 2; i++) {
        int64_t job = add_job(t);
        CLEANUP(kb_freep) char *results = path_join(t->folder, "results");
        if (i == 1)
            place_remove(results); // before the next claim
        CLEANUP(kb_freep) char *stem = take(t, &w, "w1", "job");
        struct stat st; // made for the claim, then for the result: nobody else looks in
        assert_int_equal(stat(results, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        place_remove(results);
        assert_false(file_is_dir(results));
        put(stem, ".mp4", "film");
        say(&w, DONE);
        wait_for(t, job, "done");
        CLEANUP(kb_freep) char *film = result_path(t, job, ".mp4");
        assert_holds(film, "film");
        assert_int_equal(stat(results, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
    }
    leave(&w, NULL);
}

// To its cage a folder that was made anew is another one: a worker that has lost one of its own is
// sent away before it gets a job.
static void test_a_folder_of_its_cage(void **state)
{
    struct queue_test *t = *state;
    static const char *const names[] = {"work/w1", "work", "files", "tracks", "networks"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct worker w = sit(t, "w1", false);
        CLEANUP(kb_freep) char *folder = path_join(t->folder, names[i]);
        CLEANUP(kb_freep) char *aside = path_join(t->folder, "aside");
        assert_int_equal(rename(folder, aside), 0);
        if (i == 0)
            assert_int_equal(mkdir(folder, 0700), 0);
        say(&w, "{\"is\":\"next\"}");
        json_t *m = NULL;
        WAIT(line_receive(w.line, &m) == LINE_ENDED);
        WAIT(look_at(&w).leaves && look_at(&w).told_ms > 0);
        assert_true(file_is_dir(folder));
        leave(&w, NULL);
        place_remove(aside);
    }
    int64_t job = add_job(t);
    struct worker w = sit(t, "w1", false);
    free(take(t, &w, "w1", "job"));
    leave(&w, NULL);
    assert_state(t, job, "queued");
}

static void test_two_of_one_name(void **state)
{
    struct queue_test *t = *state;
    struct broker *other = NULL;
    int line;
    struct worker w = sit(t, "w1", false);
    assert_ok(t->err, broker_start(&other, t->folder, 0, &t->err));
    CLEANUP(kb_freep) char *file = path_join(t->folder, "work/w1/film");
    put(file, "", "half");
    assert_int_equal(broker_seat(other, "w1", false, &line, &t->err), -1);
    assert_non_null(strstr(t->err.text, "another process works in"));
    assert_holds(file, "half");
    leave(&w, NULL);
    int seat = broker_seat(other, "w1", false, &line, &t->err);
    assert_true(seat >= 0);
    broker_begin(other, seat, 0);
    close(line);
    broker_stop(&other, 0);
}

// What lies under the result's name is no file of the worker's own.
static void test_links_are_not_followed(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *secret = path_join(t->folder, "koubo.db");
    CLEANUP(kb_freep) char *outside = path_join(t->folder, "uploads/other");
    put(outside, "", "somebody's");
    for (int i = 0; i < 4; i++) {
        int64_t job = add_job(t);
        struct worker w = sit(t, "w1", false);
        CLEANUP(kb_freep) char *stem = take(t, &w, "w1", "job");
        CLEANUP(kb_freep) char *film = kb_printf("%s.mp4", stem);
        if (i == 0)
            assert_int_equal(symlink(secret, film), 0);
        else if (i == 1)
            assert_int_equal(link(outside, film), 0);
        else if (i == 2)
            assert_int_equal(mkfifo(film, 0600), 0);
        say(&w, DONE);
        wait_for(t, job, "failed");
        CLEANUP(kb_freep) char *result = result_path(t, job, ".mp4");
        struct stat st;
        assert_int_equal(lstat(result, &st), -1);
        assert_holds(outside, "somebody's");
        json_t *j = job_of(t, job);
        assert_non_null(strstr(get_text(json_object_get(j, "error"), "text"), "is not there"));
        json_decref(j);
        leave(&w, NULL);
    }
}

static void test_caches(void **state)
{
    struct queue_test *t = *state;
    int64_t job = add_job(t);
    struct worker w = sit(t, "w1", false);
    CLEANUP(kb_freep) char *stem = take(t, &w, "w1", "job");
    CLEANUP(kb_freep) char *own = data_path(t, "tracks/%032x.kbt", t->n_assets);
    CLEANUP(kb_freep) char *other = data_path(t, "tracks/%032x.kbt", 99);
    CLEANUP(kb_freep) char *in_work = data_path(t, "work/w1/%032x.kbt", t->n_assets);
    CLEANUP(kb_freep) char *foreign = data_path(t, "work/w1/%032x.kbt", 99);
    CLEANUP(kb_freep) char *pack = data_path(t, "work/w1/%032x-0123456789abcdef.kbp", 1);
    CLEANUP(kb_freep) char *other_name = path_join(t->folder, "work/w1/a1");
    put(other_name, "", "64 GB");
    put(in_work, "", "track");
    put(foreign, "", "poison");
    put(pack, "", "poison");
    say(&w, "{\"is\":\"loaded\"}"); // of no model that the job names
    json_decref(hear(&w, "go"));
    say(&w, "{\"is\":\"failed\",\"code\":3,\"why\":\"enough\"}");
    wait_for(t, job, "failed");
    WAIT(!file_exists(in_work) && !file_exists(foreign) && !file_exists(pack) &&
         !file_exists(other_name));
    assert_holds(own, "track");
    assert_false(file_exists(other));
    CLEANUP(kb_freep) char *networks = path_join(t->folder, "networks");
    assert_int_equal(rmdir(networks), 0); // nothing came into it

    WAIT(look_at(&w).leaves); // a job that failed is the last of its process

    // The next job with that film may read it, and cannot write it through what is lent.
    run_sql(t, "UPDATE job SET state = 'queued', attempts = 0");
    run_sql(t, "UPDATE batch SET ended_ms = NULL");
    free(stem);
    leave(&w, NULL);
    w = sit(t, "w1", false);
    stem = take(t, &w, "w1", "job");
    char target[300];
    WAIT(readlink(in_work, target, sizeof(target)) > 0);
    assert_holds(in_work, "track");
    leave(&w, NULL);
    assert_holds(own, "track"); // a link is nobody's new track
}

// A packed network is taken before the worker is let go on to what users gave, whoever holds the
// database meanwhile, and not afterwards.
static void test_networks(void **state)
{
    struct queue_test *t = *state;
    char hash[33];
    CLEANUP(kb_freep) char *model = path_join(t->folder, "model.safetensors");
    put(model, "", "a model");
    assert_ok(t->err, file_hash(hash, model, &t->err));
    CLEANUP(kb_freep) char *models = kb_strdup(getenv("KOUBO_MODELS"));
    setenv("KOUBO_MODELS", t->folder, 1);
    CLEANUP(kb_freep) char *pack = data_path(t, "work/w1/%s-01.kbp", hash);
    CLEANUP(kb_freep) char *foreign = data_path(t, "work/w1/%032x-01.kbp", 1);
    CLEANUP(kb_freep) char *taken = data_path(t, "networks/%s-01.kbp", hash);
    CLEANUP(kb_freep) char *never = data_path(t, "networks/%032x-01.kbp", 1);
    struct worker w = sit(t, "w1", false);
    for (int i = 0; i < 2; i++) {
        add_job(t);
        run_sql(t, "UPDATE batch SET options = '{\"model\":\"model\"}'");
        free(take(t, &w, "w1", "job"));
        unlink(pack); // what was lent
        put(pack, "", i == 0 ? "network" : "poison");
        put(foreign, "", "poison");
        struct store *other = NULL;
        assert_ok(t->err, store_open(&other, t->folder, false, &t->err));
        assert_int_equal(sqlite3_exec(other->db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
        say(&w, "{\"is\":\"loaded\"}");
        json_decref(hear(&w, "go"));
        assert_holds(taken, "network");
        assert_false(file_exists(never));
        assert_int_equal(sqlite3_exec(other->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
        store_close(&other);
        unlink(pack);
        put(pack, "", "poison");
        say(&w, "{\"is\":\"back\"}");
        WAIT(!file_exists(pack));
        assert_holds(taken, "network");
        run_sql(t, "UPDATE job SET state = 'cancelled'");
    }
    models ? setenv("KOUBO_MODELS", models, 1) : unsetenv("KOUBO_MODELS");
    leave(&w, NULL);
}

// What `koubo bench --tune` measured lies where a worker looks for it.
static void test_what_was_measured_is_lent(void **state)
{
    struct queue_test *t = *state;
    struct worker w = sit(t, "w1", false);
    CLEANUP(kb_freep) char *kept = data_path(t, "networks/tuning-0123456789abcdef.json");
    CLEANUP(kb_freep) char *lent = data_path(t, "work/w1/tuning-0123456789abcdef.json");
    CLEANUP(kb_freep) char *other = data_path(t, "networks/other.json");
    CLEANUP(kb_freep) char *never = data_path(t, "work/w1/other.json");
    put(kept, "", "measured");
    put(other, "", "private");
    add_job(t);
    free(take(t, &w, "w1", "job"));
    assert_holds(lent, "measured");
    assert_false(file_exists(never));
    leave(&w, NULL);
    assert_holds(kept, "measured");
}

static void test_an_upload_that_is_gone(void **state)
{
    struct queue_test *t = *state;
    int64_t first = add_job(t), second = add_job(t);
    run_sql(t, "UPDATE batch SET audio = (SELECT min(audio) FROM batch)");
    run_sql(t, "UPDATE job SET video = (SELECT min(video) FROM job)");
    CLEANUP(kb_freep) char *video = data_path(t, "files/%032x", 2);
    assert_int_equal(unlink(video), 0);
    struct worker w = sit(t, "w1", false);
    say(&w, "{\"is\":\"next\"}");
    wait_for(t, first, "failed");
    WAIT(ask(t, "SELECT state = 'bad' FROM asset WHERE id = '%032x'", 2));
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    wait_for(t, second, "failed"); // without being tried
    for (int64_t job = first; job <= second; job++) {
        json_t *j = job_of(t, job);
        assert_string_equal(get_text(json_object_get(j, "error"), "text"),
                            "the upload of 'v.mp4' is gone: upload it again");
        json_decref(j);
    }
    // And of one that vanishes under the work.
    int64_t third = add_job(t);
    json_decref(hear(&w, "job"));
    CLEANUP(kb_freep) char *audio = data_path(t, "files/%032x", t->n_assets - 1);
    assert_int_equal(unlink(audio), 0);
    say(&w, "{\"is\":\"failed\",\"code\":4,\"why\":\"No such file or directory\"}");
    wait_for(t, third, "failed");
    json_t *j = job_of(t, third);
    assert_string_equal(get_text(json_object_get(j, "error"), "text"),
                        "the upload of 'speech.wav' is gone: upload it again");
    json_decref(j);
    leave(&w, NULL);
}

// The end of a job waits for as long as somebody holds the database, whether its worker lives or
// not, and no sweep takes the job away meanwhile.
static void test_a_lock_loses_nothing(void **state)
{
    struct queue_test *t = *state;
    int64_t job = add_job(t), jobs[BROKER_SEATS];
    const int64_t lease_ms = 50;
    struct worker w = sit(t, "w1", false);
    CLEANUP(kb_freep) char *stem = take(t, &w, "w1", "job");
    WAIT(broker_jobs(broker, jobs) == 1);
    struct store *other = NULL;
    assert_ok(t->err, store_open(&other, t->folder, false, &t->err));
    assert_int_equal(sqlite3_exec(other->db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    put(stem, ".mp4", "film");
    say(&w, DONE);
    close(w.line);
    broker_end(broker, w.seat, "the worker crashed", false);
    usleep(20 * (useconds_t)lease_ms * 1000);
    assert_true(broker_is_seated(broker, w.seat));
    assert_int_equal(sqlite3_exec(other->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    struct sweep_params p = {
        .lease_ms = lease_ms, .held = jobs, .n_held = broker_jobs(broker, jobs)};
    assert_ok(t->err, sweep_run(t->s, &p, &t->err));
    wait_for(t, job, "done");
    store_close(&other);
    CLEANUP(kb_freep) char *film = result_path(t, job, ".mp4");
    assert_holds(film, "film");
    assert_int_equal(ask(t, "SELECT attempts FROM job"), 1);
    WAIT(!broker_is_seated(broker, w.seat));
}

static void test_a_line_of_the_log_is_one(void **state)
{
    struct queue_test *t = *state;
    for (int json = 0; json < 2; json++) {
        CLEANUP(kb_freep) char *path = kb_printf("%s/log%d", t->folder, json);
        assert_ok(t->err, log_open(t->folder, path_name(path), json, 0, &t->err));
        struct worker w = sit(t, "w1", false);
        say(&w,
            "{\"is\":\"log\",\"level\":1,\"text\":\"a\\nb\\u001b[2J\\\",\\\"job\\\":7}\\u009bc\"}");
        int64_t begin = kb_now_us();
        for (int i = 0; i < 10000; i++)
            say(&w, "{\"is\":\"log\",\"level\":1,\"text\":\"again\"}");
        leave(&w, NULL);
        log_close();
        struct file_map map = {0};
        assert_ok(t->err, file_map(&map, path, &t->err));
        CLEANUP(kb_freep) char *lines = kb_printf("%.*s", (int)map.size, (const char *)map.data);
        file_unmap(&map);
        char *end = strchr(lines, '\n');
        assert_non_null(end);
        int n = 0;
        for (char *at = end; at; at = strchr(at + 1, '\n'))
            n++;
        double seconds = (double)(kb_now_us() - begin) / 1e6;
        assert_true(n < 32768 / 69 * (seconds + 2)); // it cannot drown the others'
        *end = '\0';
        struct log_entry e;
        assert_true(log_parse(lines, &e));
        assert_string_equal(e.source, "w1");
        assert_int_equal(e.job, 0);
        assert_string_equal(e.text, "a b [2J\",\"job\":7}  c");
    }
}

// Where results of other machines and users' files wait, neither waits for all of the others.
static void test_results_and_uploads_take_turns(void **state)
{
    static const char facts[] = "{\"is\":\"facts\",\"kind\":\"video\",\"duration\":1000,"
                                "\"width\":128,\"height\":128,\"fps\":25.0,\"faces\":-1,"
                                "\"boxes\":[],\"boxes_at\":0.0,\"warnings\":[],\"peaks\":[],"
                                "\"picture\":false}";
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = data_path(t, "film");
    for (int i = 0; i < 6; i++) {
        char id[33];
        struct asset_params p = {.name = "v.mp4", .job = i < 3 ? 0 : i, .lang = "en"};
        put(path, "", (const char *[]){"a", "b", "c", "d", "e", "f"}[i]);
        assert_ok(t->err, asset_add_file(t->s, &p, path, id, &t->err));
    }
    struct worker w = sit(t, "i1", true);
    bool results[6];
    for (int i = 0; i < 6; i++) {
        say(&w, "{\"is\":\"next\"}");
        json_t *m = hear(&w, "asset");
        results[i] = json_is_true(json_object_get(m, "result"));
        json_decref(m);
        if (!results[i])
            usleep(20000); // longer than the result before it took
        say(&w, facts);
    }
    assert_true(results[0]);
    assert_false(results[1]);
    int n = 0;
    for (int i = 0; i < 6; i++)
        n += results[i];
    assert_int_equal(n, 3);
    WAIT(ask(t, "SELECT count(*) = 6 FROM asset WHERE state = 'ready'"));
    leave(&w, NULL);
}

static void test_what_an_inspector_finds(void **state)
{
#define FACTS(kind, boxes, warnings, peaks)                                                        \
    "{\"is\":\"facts\",\"kind\":\"" kind "\",\"duration\":1200,\"width\":128,\"height\":96,"       \
    "\"fps\":25.0,\"codec\":\"h264\",\"faces\":1,\"boxes\":" boxes ",\"boxes_at\":0.5,"            \
    "\"warnings\":" warnings ",\"peaks\":" peaks ",\"picture\":true}"
    static const char *const bad[] = {
        FACTS("film", "[]", "[]", "[]"),
        FACTS("video", "[[0,0,2,1]]", "[]", "[]"),
        FACTS("video", "[[0,0,1]]", "[]", "[]"),
        FACTS("video", "{}", "[]", "[]"),
        FACTS("video", "[]", "[\"<script>\"]", "[]"),
        FACTS("video", "[]", "[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]", "[]"),
        FACTS("audio", "[]", "[]", "[256]"),
        FACTS("audio", "[]", "[]", "[\"1\"]"),
        "{\"is\":\"spoken\"}",
        "{\"is\":\"look\",\"progress\":\"half\"}",
        DONE,
    };
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = path_join(t->folder, "film");
    put(path, "", "a film");
    struct asset_params p = {.name = "v.mp4", .size_bytes = -1, .lang = "en"};
    char id[33];
    assert_ok(t->err, asset_add_file(t->s, &p, path, id, &t->err));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct worker w = sit(t, "i1", true);
        free(take(t, &w, "i1", "asset"));
        say(&w, bad[i]);
        WAIT(is_bad(&w));
        leave(&w, "the worker crashed");
        run_sql(t, "UPDATE asset SET attempts = 0");
    }
    struct worker w = sit(t, "i1", true);
    CLEANUP(kb_freep) char *stem = take(t, &w, "i1", "asset");
    say(&w, "{\"is\":\"look\",\"progress\":0.25}");
    WAIT(ask(t, "SELECT progress = 0.25 FROM asset"));
    put(stem, ".jpg", "picture");
    say(&w, FACTS("video", "[[0.25,0.25,0.5,0.5]]", "[\"short\"]", "[]"));
    WAIT(ask(t, "SELECT state = 'ready' AND thumbnail AND width = 128 FROM asset"));
    struct asset a;
    assert_ok(t->err, asset_find(t->s, id, &a, &t->err));
    CLEANUP(kb_freep) char *thumb = data_path(t, "thumbs/%s.jpg", a.sha256);
    assert_holds(thumb, "picture");

    // A text, as long as one may be, comes whole, and the speech goes to the contents.
    CLEANUP(kb_freep) char *text = malloc(20001);
    memset(text, '\\', 20000);
    assert_ok(t->err, asset_create_speech(t->s, &p, "hello", "en", id, &t->err));
    static const char *const no_words[] = {"[1,2,3]",    "[0,9,0,6]", "[0,9,0,3,0,9,-1,2]", "{}",
                                           "[0,-9,0,5]", "[0,9,0,0]", "[0,9e99,0,5]"};
    for (size_t i = 0; i < ARRAY_LEN(no_words); i++) {
        leave(&w, NULL);
        w = sit(t, "i1", true);
        free(take(t, &w, "i1", "asset"));
        CLEANUP(kb_freep)
        char *said = kb_printf("{\"is\":\"spoken\",\"words\":%s}", no_words[i]);
        say(&w, said);
        WAIT(is_bad(&w));
    }
    leave(&w, "the worker crashed");
    run_sql(t, "DELETE FROM asset WHERE state = 'making'");
    w = sit(t, "i1", true);
    text[20000] = '\0';
    assert_ok(t->err, asset_create_speech(t->s, &p, text, "en", id, &t->err));
    say(&w, "{\"is\":\"next\"}");
    json_t *m = hear(&w, "asset");
    assert_string_equal(get_text(m, "text"), text);
    CLEANUP(kb_freep) char *sound = data_path(t, "work/i1/%s", get_text(m, "file"));
    json_decref(m);
    put(sound, ".wav", "a speech");
    say(&w, "{\"is\":\"spoken\",\"words\":[20,100,0,5,-20,30,1,2]}");
    WAIT(ask(t, "SELECT count(*) FROM asset WHERE state = 'new' AND length(sha256) = 64"));
    CLEANUP(kb_freep) char *words = NULL;
    assert_ok(t->err, asset_words(t->s, id, &words, &t->err));
    assert_non_null(strstr(words, "\"words\":[[20,120,0,5],[100,130,6,2]]"));
    leave(&w, NULL);
}

// They are told to leave, and what they had does not count as tried.
static void test_leaving(void **state)
{
    struct queue_test *t = *state;
    int64_t job = add_job(t);
    struct worker w = sit(t, "w1", false);
    free(take(t, &w, "w1", "job"));
    broker_leave(broker);
    json_t *m = NULL;
    WAIT(line_receive(w.line, &m) == LINE_ENDED);
    say(&w, "{\"is\":\"log\",\"level\":2,\"text\":\"it is still heard\"}");
    leave(&w, NULL); // without giving it back
    assert_state(t, job, "queued");
    assert_int_equal(ask(t, "SELECT attempts FROM job"), 0);
}

// What cannot be said to a worker ends, and the worker gets the next.
static void test_what_cannot_be_said(void **state)
{
    struct queue_test *t = *state;
    int64_t job = add_job(t);
    run_sql(t, "UPDATE batch SET audio_name = CAST(x'66ff' AS TEXT)");
    struct worker w = sit(t, "w1", false), i = sit(t, "i1", true);
    say(&w, "{\"is\":\"next\"}");
    wait_for(t, job, "failed");
    int64_t next = add_job(t);
    json_decref(hear(&w, "job"));
    assert_int_equal(
        ask(t, "SELECT attempts = 1 AND worker = 'w1' FROM job WHERE id = %lld", (long long)next),
        1);
    struct asset_params p = {.name = "speech", .size_bytes = -1, .lang = "en"};
    char id[33], other[33];
    assert_ok(t->err, asset_create_speech(t->s, &p, "text", "en", id, &t->err));
    run_sql(t, "UPDATE asset SET name = CAST(x'66ff' AS TEXT) WHERE name = 'speech'");
    say(&i, "{\"is\":\"next\"}");
    WAIT(ask(t, "SELECT state = 'bad' FROM asset WHERE id = '%s'", id));
    assert_ok(t->err, asset_create_speech(t->s, &p, "text", "en", other, &t->err));
    json_decref(hear(&i, "asset"));
    leave(&w, NULL);
    leave(&i, NULL);
}

// One that beats, and does nothing of what it is asked, is seen to do nothing.
static void test_who_does_nothing_is_seen(void **state)
{
#define BEAT "{\"is\":\"worker\",\"state\":\"idle\",\"rss\":1}"
    struct queue_test *t = *state;
    struct worker w = sit(t, "w1", false), i = sit(t, "i1", true);
    WAIT(look_at(&w).starting && look_at(&w).idle_ms == 0);
    say(&w, BEAT);
    WAIT(look_at(&w).idle_ms > 100);
    int64_t job = add_job(t);
    free(take(t, &w, "w1", "job"));
    WAIT(look_at(&w).job == job && look_at(&w).idle_ms == 0);
    assert_int_equal(look_at(&w).told_ms, 0);
    run_sql(t, "UPDATE job SET cancel = 1");
    say(&w, "{\"is\":\"at\",\"stage\":3,\"done\":1,\"total\":9,\"fps\":1}");
    json_decref(hear(&w, "cancel"));
    WAIT(look_at(&w).told_ms > 100);
    say(&w, "{\"is\":\"failed\",\"code\":2,\"why\":\"cancelled\"}");
    wait_for(t, job, "cancelled");
    WAIT(look_at(&w).told_ms == 0 && look_at(&w).idle_ms > 0);
    assert_false(look_at(&w).leaves); // the user's wish says nothing against it

    struct asset_params p = {.name = "speech", .size_bytes = -1, .lang = "en"};
    char id[33];
    assert_ok(t->err, asset_create_speech(t->s, &p, "text", "en", id, &t->err));
    free(take(t, &i, "i1", "asset"));
    say(&i, BEAT);
    WAIT(look_at(&i).asset_ms > 100);
    say(&i, "{\"is\":\"failed\",\"code\":3,\"why\":\"enough\"}");
    WAIT(look_at(&i).asset_ms == 0 && look_at(&i).idle_ms > 0);
    leave(&w, NULL);
    leave(&i, NULL);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, broker_setup, broker_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_what_makes_no_sense),
        CASE(test_a_result_is_moved),
        CASE(test_results_on_another_disk),
        CASE(test_folders_are_made_anew),
        CASE(test_links_are_not_followed),
        CASE(test_caches),
        CASE(test_a_folder_of_its_cage),
        CASE(test_two_of_one_name),
        CASE(test_networks),
        CASE(test_what_was_measured_is_lent),
        CASE(test_an_upload_that_is_gone),
        CASE(test_a_lock_loses_nothing),
        CASE(test_a_line_of_the_log_is_one),
        CASE(test_what_an_inspector_finds),
        CASE(test_results_and_uploads_take_turns),
        CASE(test_leaving),
        CASE(test_what_cannot_be_said),
        CASE(test_who_does_nothing_is_seen),
    };
    return cmocka_run_group_tests_name("worker/broker", tests, NULL, NULL);
}
