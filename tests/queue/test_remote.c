// Jobs of other machines: every step and end of the picture in remote.h, a restart between each
// two, machines that race, lie and come late.
#include "tests/queue/remote.h"

#include "queue/change.h"
#include "queue/result.h"
#include "queue/retention.h"
#include "queue/worker.h"

#include <sys/wait.h>

// The one that is here, and that nothing else is.
static void settle(struct queue_test *t, struct remote_end *ret)
{
    struct remote_end none;
    assert_ok(t->err, remote_settle(t->s, ret, &t->err));
    assert_int_equal(remote_settle(t->s, &none, &t->err), KB_EOF);
}

static void restart(struct queue_test *t)
{
    store_close(&t->s);
    assert_ok(t->err, store_open(&t->s, t->folder, false, &t->err));
    store_set_durable(t->s, false);
    run_sql(t, "UPDATE job SET heartbeat_ms = 1 WHERE heartbeat_ms > 1");
    assert_ok(t->err, sweep_server_lost(t->s, &t->err));
    assert_ok(t->err, sweep_worker_lost(t->s, "n1", "the worker is gone", false, &t->err));
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    run_sql(t, "UPDATE job SET heartbeat_ms = strftime('%s') * 1000 WHERE heartbeat_ms = 1");
}

static void assert_done(struct queue_test *t, int64_t job)
{
    struct result r;
    struct stat st, picture;
    char text[64] = "";
    assert_state(t, job, "done");
    assert_ok(t->err, result_find(t->s, job, &r, &t->err));
    FILE *f = fopen(r.path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    assert_string_equal(text, FILM);
    assert_int_equal(stat(r.path, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(st.st_mode & 0777, 0640); // as the umask of this test has results made
    assert_non_null(r.thumb);
    assert_int_equal(stat(r.thumb, &picture), 0);
    assert_int_equal(r.size_bytes, strlen(FILM));
    assert_int_equal(r.duration_ms, 1000);
    assert_int_equal(r.height, 48);
    CLEANUP(kb_freep) char *part = file_part_path(r.path, 0);
    assert_false(file_exists(part));
    result_free(&r);
}

// --- the whole way

// restarts: after that many steps the server begins anew; -1: never.
static void walk(struct queue_test *t, int restarts)
{
    char asset[33], again[33], hash[65];
    struct remote_end end = {0};
    struct job_claim c = {0};
    int step = 0;
#define STEP                                                                                       \
    if (step++ == restarts)                                                                        \
    restart(t)
    struct remote r = offer(t);
    assert_int_equal(r.attempt, 1);
    assert_string_equal(r.entry, "1-0");
    STEP;
    json_t *json = job_of(t, r.job);
    assert_string_equal(get_text(json, "state"), "loading");
    assert_string_equal(get_text(json, "worker"), "");
    json_decref(json);
    run_sql(t, "UPDATE job SET started_ms = 5 WHERE started_ms > 0");
    assert_ok(t->err, remote_taken(t->s, r.job, r.lease, "n1", &t->err));
    STEP;
    json = job_of(t, r.job);
    assert_string_equal(get_text(json, "worker"), "n1");
    assert_true(get_int(json, "started") > 5); // it begins now
    json_decref(json);
    assert_ok(t->err, remote_read(t->s, &r, &c, &t->err));
    assert_int_equal(c.lease, r.lease);
    assert_string_equal(c.video_name, "v.mp4");
    assert_non_null(strstr(c.note, "\"koubo\":1"));
    job_claim_free(&c);
    struct remote_report p = {.job = r.job, .lease = r.lease, .at = {STAGE_GENERATING, 3, 9, 1}};
    assert_ok(t->err, remote_report(t->s, "n1", &p, 1, &t->err));
    assert_false(p.lost || p.cancel);
    assert_state(t, r.job, "generating");
    STEP;
    assert_ok(t->err, remote_made(t->s, r.job, r.lease, "n1", &t->err));
    assert_int_equal(state_of(t, r.job), REMOTE_MADE);
    STEP;
    hash_of(hash, FILM);
    tell_of(t, &r, "n1", FILM);
    STEP;
    tell_of(t, &r, "n1", FILM); // it says so until it is answered
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", asset, &t->err));
    assert_int_equal(state_of(t, r.job), REMOTE_COMING);
    STEP;
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", again, &t->err));
    assert_string_equal(asset, again);
    assert_int_equal(remote_settle(t->s, &end, &t->err), KB_EOF);
    write_part(t, asset, FILM);
    assert_int_equal(state_of(t, r.job), REMOTE_HERE);
    STEP;
    tell_of(t, &r, "n1", FILM);
    assert_int_equal(state_of(t, r.job), REMOTE_HERE);
    assert_int_equal(remote_settle(t->s, &end, &t->err), KB_EOF);
    // The subtitles that are said to be in it.
    run_sql(t, "UPDATE asset SET words = '{\"cues\":[[0,900,\"hello\"]]}' WHERE job IS NOT NULL");
    inspect(t, asset, "video", 1000);
    STEP;
    settle(t, &end);
    assert_true(end.good);
    assert_int_equal(ask(t, "SELECT cues LIKE '%%[0,900,\"hello\"]%%' FROM job WHERE id = %lld",
                         (long long)r.job),
                     1);
    assert_int_equal(end.job, r.job);
    assert_int_equal(end.lease, r.lease);
    assert_string_equal(end.node, "n1");
    assert_string_equal(end.entry, "1-0");
    STEP;
#undef STEP
    assert_done(t, r.job);
    assert_nothing_left(t);
    assert_int_equal(remote_settle(t->s, &end, &t->err), KB_EOF);
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_result(t->s, r.job, r.lease, "n1", hash, 5, &told, &t->err));
}

static void a_job_is_made_elsewhere(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    walk(t, -1);
    assert_int_equal(ask(t, "SELECT ended_ms IS NOT NULL FROM batch"), 1);
    assert_int_equal(ask(t, "SELECT done FROM tally"), 1);
    assert_int_equal(ask(t, "SELECT json_extract(stage_s, '$.generating') * 1000 FROM job"), 1500);
}

static void a_restart_between_each_two_steps(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 9, 5);
    for (int i = 0; i < 9; i++)
        walk(t, i);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'done' AND attempts = 1"), 9);
}

// --- others

static void two_machines_race(void **state)
{
    struct queue_test *t = *state;
    char asset[33], hash[65];
    add_batch(t, 2, 5);
    struct remote r = offer(t), other = take(t, "n2");
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_taken(t->s, r.job, r.lease + 1, "n1", &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_made(t->s, r.job, r.lease, "", &t->err)); // it is nobody's yet
    assert_ok(t->err, remote_taken(t->s, r.job, r.lease, "n1", &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_taken(t->s, r.job, r.lease, "n2", &t->err));
    assert_ok(t->err, remote_taken(t->s, r.job, r.lease, "n1", &t->err));
    // What n2 says of a job that n1 has is heard by nobody.
    hash_of(hash, FILM);
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_made(t->s, r.job, r.lease, "n2", &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_result(t->s, r.job, r.lease, "n2", hash, 9, &told, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_asset(t->s, r.job, r.lease, "n2", asset, &t->err));
    struct remote_report p[] = {
        {.job = r.job, .lease = r.lease, .at = {STAGE_FINISHING, 1, 1, 0}},
        {.job = other.job, .lease = other.lease + 1, .at = {STAGE_FINISHING, 1, 1, 0}},
        {.job = 77, .lease = 1, .at = {STAGE_FINISHING, 1, 1, 0}},
        {.job = other.job, .lease = other.lease, .at = {STAGE_AUDIO, 1, 1, 0}}};
    assert_ok(t->err, remote_report(t->s, "n2", p, 4, &t->err));
    assert_true(p[0].lost && p[1].lost && p[2].lost && !p[3].lost);
    assert_state(t, r.job, "loading");
    assert_state(t, other.job, "audio");
    // Who lost it ends nothing.
    struct remote late = r;
    struct kb_error why = {.code = KB_BAD_INPUT, .text = "bad"};
    assert_ok(t->err, remote_lost(t->s, &r, "the machine is gone", &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "", remote_failed(t->s, &late, &why, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "", remote_back(t->s, &late, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "", remote_lost(t->s, &late, "gone", &t->err));
    assert_state(t, r.job, "queued");
    run_sql(t, "UPDATE job SET not_before_ms = 0");
    struct remote next = take(t, "n2");
    assert_int_equal(next.job, r.job);
    assert_int_equal(next.attempt, 2);
    assert_fails(t->err, KB_NOT_FOUND, "this machine",
                 remote_result(t->s, r.job, r.lease, "n1", hash, 9, &told, &t->err));
    struct job_claim c = {0};
    assert_fails(t->err, KB_NOT_FOUND, "this machine", remote_read(t->s, &late, &c, &t->err));
    // Among others in one transaction it spoils none of them.
    p[0] = (struct remote_report){
        .job = late.job, .lease = late.lease, .at = {STAGE_FINISHING, 1, 1, 0}};
    assert_ok(t->err, store_begin(t->s, &t->err));
    assert_int_equal(remote_made(t->s, late.job, late.lease, "n1", &t->err), KB_NOT_FOUND);
    assert_int_equal(remote_taken(t->s, late.job, late.lease, "n1", &t->err), KB_NOT_FOUND);
    assert_int_equal(remote_asset(t->s, late.job, late.lease, "n1", asset, &t->err), KB_NOT_FOUND);
    assert_int_equal(remote_back(t->s, &late, &t->err), KB_NOT_FOUND);
    assert_int_equal(remote_lost(t->s, &late, "gone", &t->err), KB_NOT_FOUND);
    assert_int_equal(remote_failed(t->s, &late, &why, &t->err), KB_NOT_FOUND);
    assert_int_equal(remote_read(t->s, &late, &c, &t->err), KB_NOT_FOUND);
    assert_ok(t->err, remote_report(t->s, "n1", p, 1, &t->err));
    assert_true(p[0].lost);
    assert_ok(t->err, remote_made(t->s, next.job, next.lease, "n2", &t->err));
    assert_ok(t->err, store_commit(t->s, &t->err));
    assert_int_equal(state_of(t, next.job), REMOTE_MADE);
}

static void claim_all(const char *folder, int to)
{
    struct store *s = NULL;
    struct job_claim c[7] = {{0}};
    int n = 0;
    if (store_open(&s, folder, false, NULL) != KB_OK)
        _exit(1);
    for (enum kb_code code; (code = remote_claim(s, 0, c, 7, &n, NULL)) != KB_EOF;) {
        if (code != KB_OK)
            _exit(2);
        for (int i = 0; i < n; i++) {
            int32_t id = (int32_t)c[i].job;
            if (write(to, &id, sizeof(id)) != sizeof(id))
                _exit(3);
            job_claim_free(&c[i]);
        }
    }
    store_close(&s);
    _exit(0);
}

static void each_is_offered_once(void **state)
{
    struct queue_test *t = *state;
    bool seen[61] = {0};
    int ends[2], status;
    add_batch(t, 60, 5);
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < 2; i++)
        if (fork() == 0)
            claim_all(t->folder, ends[1]);
    close(ends[1]);
    for (int32_t id; read(ends[0], &id, sizeof(id)) == sizeof(id);) {
        assert_in_range(id, 1, 60);
        assert_false(seen[id]);
        seen[id] = true;
    }
    close(ends[0]);
    for (int i = 0; i < 2; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    struct remote *list = NULL;
    int n = 0;
    assert_ok(t->err, remote_list(t->s, &list, &n, &t->err));
    assert_int_equal(n, 60);
    for (int i = 0; i < n; i++)
        assert_true(list[i].job == i + 1 && list[i].lease && list[i].state == REMOTE_OFFERED);
    free(list);
    struct job_claim c = {0};
    assert_int_equal(job_claim(t->s, "w1", 0, &c, &t->err), KB_EOF);
}

// Not a process of this machine: a sweep takes it from nobody, whatever the machine is called.
static void no_sweep_takes_it(void **state)
{
    struct queue_test *t = *state;
    struct worker_row w = {.id = "w1", .kind = "generate", .pid = getpid(), .state = "idle"};
    struct text text = {0};
    add_batch(t, 1, 5);
    take(t, "w1");
    assert_ok(t->err, worker_put(t->s, &w, &t->err));
    assert_ok(t->err, worker_list_json(t->s, &text, &t->err));
    assert_non_null(strstr(text_get(&text), "\"job\":null"));
    text_free(&text);
    run_sql(t, "UPDATE job SET heartbeat_ms = 1, worker_pid = 99999999");
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_ok(t->err, sweep_worker_lost(t->s, "w1", "gone", false, &t->err));
    assert_ok(t->err, sweep_server_lost(t->s, &t->err));
    assert_state(t, 1, "loading");
}

// --- bad ones

static void what_is_no_video_costs_an_attempt(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    for (int attempt = 1; attempt <= JOB_MAX_ATTEMPTS; attempt++) {
        struct remote r = take(t, "n1");
        struct remote_end end = {0};
        bring(t, &r, "n1", "a text", attempt == 1 ? "" : "audio", 1000);
        settle(t, &end);
        assert_false(end.good);
        assert_string_equal(end.why.text, "the machine sent what is no video");
        json_t *j = job_of(t, 1), *error = json_object_get(j, "error");
        assert_string_equal(get_text(j, "state"), attempt < 3 ? "queued" : "failed");
        assert_string_equal(get_text(error, "code"), "crashed");
        assert_non_null(strstr(get_text(error, "text"), "the machine sent what is no video while"));
        assert_int_equal(get_int(j, "attempts"), attempt);
        json_decref(j);
        assert_nothing_left(t);
        run_sql(t, "UPDATE job SET not_before_ms = 0");
    }
    CLEANUP(kb_freep) char *results = data_path(t, "results");
    assert_int_equal(rmdir(results), 0); // no part is left there either
    assert_int_equal(mkdir(results, 0700), 0);
}

static void another_video_than_was_told(void **state)
{
    struct queue_test *t = *state;
    struct remote_end end = {0};
    add_batch(t, 4, 5);
    struct remote r = take(t, "n1");
    bring(t, &r, "n1", FILM, "video", 2100);
    settle(t, &end);
    assert_false(end.good);
    assert_non_null(strstr(end.why.text, "another video"));
    assert_state(t, r.job, "queued");
    // as long as was told, or nearly
    r = take(t, "n1");
    bring(t, &r, "n1", FILM, "video", 1900);
    settle(t, &end);
    assert_true(end.good);
    // of another size
    r = take(t, "n1");
    bring(t, &r, "n1", FILM, "video", 1000);
    run_sql(t, "UPDATE asset SET width = 66 WHERE job IS NOT NULL");
    settle(t, &end);
    assert_false(end.good);
    // of other bytes: whoever let them in did not look
    r = take(t, "n1");
    bring(t, &r, "n1", FILM, "video", 1000);
    run_sql(t, "UPDATE remote SET sha256 = 'x'");
    settle(t, &end);
    assert_false(end.good);
    assert_nothing_left(t);
}

// Over HTTP the bytes come before the machine says what they are.
static void a_result_comes_before_it_is_told_of(void **state)
{
    struct queue_test *t = *state;
    char asset[33], other[33];
    struct remote_end end = {0};
    add_batch(t, 2, 5);
    struct remote r = take(t, "n1");
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", asset, &t->err));
    assert_int_equal(state_of(t, r.job), REMOTE_COMING);
    write_whole(t, asset, FILM);
    inspect(t, asset, "video", 1000);
    assert_int_equal(state_of(t, r.job), REMOTE_HERE);
    assert_int_equal(remote_settle(t->s, &end, &t->err), KB_EOF); // what should it be?
    assert_ok(t->err, remote_made(t->s, r.job, r.lease, "n1", &t->err));
    tell_of(t, &r, "n1", FILM);
    settle(t, &end);
    assert_true(end.good);
    assert_done(t, r.job);
    // What came is not what is told then: it comes anew.
    r = take(t, "n1");
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", asset, &t->err));
    write_whole(t, asset, "what it is not");
    tell_of(t, &r, "n1", FILM);
    assert_int_equal(state_of(t, r.job), REMOTE_MADE);
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", other, &t->err));
    assert_string_not_equal(asset, other);
    assert_ok(t->err, remote_back(t->s, &r, &t->err));
    assert_nothing_left(t);
}

static void another_result_comes_anew(void **state)
{
    struct queue_test *t = *state;
    char first[33], second[33];
    struct remote_end end = {0};
    add_batch(t, 1, 5);
    struct remote r = take(t, "n1");
    tell_of(t, &r, "n1", "what it is not");
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", first, &t->err));
    write_part(t, first, "what it is not");
    tell_of(t, &r, "n1", FILM);
    assert_int_equal(state_of(t, r.job), REMOTE_MADE);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE job IS NOT NULL"), 0);
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", second, &t->err));
    assert_string_not_equal(first, second);
    // no byte came for a day
    write_part(t, second, "the");
    run_sql(t, "UPDATE asset SET expires_ms = 1 WHERE job IS NOT NULL");
    assert_ok(t->err, asset_sweep(t->s, &t->err));
    run_sql(t, "DELETE FROM loose"); // as the clean-up does with what is gone
    assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", first, &t->err));
    assert_string_not_equal(first, second);
    write_part(t, first, FILM);
    inspect(t, first, "video", 1000);
    settle(t, &end);
    assert_done(t, r.job);
    assert_nothing_left(t);
}

// --- ends

enum { TO_OFFERED, TO_TAKEN, TO_MADE, TO_COMING, TO_HALF, TO_HERE, TO_LOOKED, N_TO };

// A job in each of the states.
static struct remote come_to(struct queue_test *t, int to)
{
    char asset[33];
    struct remote r = offer(t);
    if (to >= TO_TAKEN)
        assert_ok(t->err, remote_taken(t->s, r.job, r.lease, "n1", &t->err));
    if (to >= TO_MADE)
        tell_of(t, &r, "n1", FILM);
    if (to >= TO_COMING)
        assert_ok(t->err, remote_asset(t->s, r.job, r.lease, "n1", asset, &t->err));
    if (to == TO_HALF)
        write_part(t, asset, HALF);
    if (to >= TO_HERE)
        write_part(t, asset, FILM);
    if (to >= TO_LOOKED)
        inspect(t, asset, "video", 1000);
    return r;
}

// Somebody uploaded the very film, as what a result is uploaded again.
static void an_upload_keeps_its_mode(void **state)
{
    struct queue_test *t = *state;
    char hash[65];
    struct stat st;
    struct remote_end end = {0};
    add_batch(t, 1, 5);
    const char *mine = add_asset(t, "video", "ready", "mine.mp4");
    come_to(t, TO_LOOKED);
    hash_of(hash, FILM);
    assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE asset SET sha256 = ? WHERE id = ?",
                                 "tt", hash, mine));
    CLEANUP(kb_freep) char *path = data_path(t, "files/%s", hash);
    assert_int_equal(chmod(path, 0600), 0);
    settle(t, &end);
    assert_true(end.good);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 2); // the result's
}

static void every_state_has_every_end(void **state)
{
    struct queue_test *t = *state;
    const struct kb_error cancelled = {.code = KB_CANCELLED, .text = "cancelled"};
    const struct kb_error bad = {.code = KB_BAD_INPUT, .text = "it cannot be read"};
    const struct kb_error full = {.code = KB_NO_SPACE, .text = "full"};
    add_batch(t, 6 * N_TO, 5);
    for (int to = 0; to < N_TO; to++) {
        struct remote r = come_to(t, to);
        int64_t job = r.job;
        assert_ok(t->err, remote_lost(t->s, &r, "the machine is gone", &t->err));
        assert_state(t, job, "queued");
        assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)job), 1);
        assert_nothing_left(t);
        run_sql(t, "UPDATE job SET not_before_ms = 0");

        r = come_to(t, to);
        assert_int_equal(r.job, job);
        assert_ok(t->err, remote_back(t->s, &r, &t->err));
        assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)job), 1);
        assert_state(t, job, "queued");
        assert_nothing_left(t);

        r = come_to(t, to);
        assert_ok(t->err, job_cancel(t->s, job, &t->err));
        struct remote_report p = {.job = job, .lease = r.lease, .at = {STAGE_AUDIO, 1, 1, 0}};
        assert_ok(t->err, remote_report(t->s, "n1", &p, 1, &t->err));
        assert_true(to == TO_OFFERED ? p.lost : p.cancel);
        assert_ok(t->err, remote_get(t->s, job, &r, &t->err));
        assert_true(r.cancel);
        assert_ok(t->err, to % 3 == 0   ? remote_back(t->s, &r, &t->err)
                          : to % 3 == 1 ? remote_failed(t->s, &r, &cancelled, &t->err)
                                        : remote_lost(t->s, &r, "gone", &t->err));
        assert_state(t, job, "cancelled");
        assert_nothing_left(t);

        r = come_to(t, to);
        assert_ok(t->err, remote_failed(t->s, &r, &bad, &t->err));
        assert_state(t, r.job, "failed");
        assert_nothing_left(t);

        r = come_to(t, to);
        assert_ok(t->err, remote_failed(t->s, &r, &full, &t->err));
        assert_state(t, r.job, "queued");
        run_sql(t, "UPDATE job SET state = 'skipped', ended_ms = 1 WHERE waiting = 'retry'");

        r = come_to(t, to);
        assert_ok(t->err, remote_disband(t->s, &t->err));
        assert_state(t, r.job, "queued");
        assert_int_equal(ask(t, "SELECT attempts FROM job WHERE id = %lld", (long long)r.job), 0);
        assert_nothing_left(t);
    }
}

static void a_batch_is_cancelled_and_paused(void **state)
{
    struct queue_test *t = *state;
    struct remote_end end = {0};
    int64_t batch = add_batch(t, 4, 5);
    struct remote offered = offer(t), taken = take(t, "n1"), here = come_to(t, TO_LOOKED);
    assert_ok(t->err, batch_pause(t->s, batch, true, &t->err));
    assert_ok(t->err, remote_get(t->s, offered.job, &offered, &t->err));
    assert_true(offered.paused && !offered.cancel);
    struct job_claim c = {0};
    int n = 7;
    assert_int_equal(remote_claim(t->s, 0, &c, 1, &n, &t->err), KB_EOF);
    assert_int_equal(n, 0);
    assert_ok(t->err, remote_back(t->s, &offered, &t->err)); // what nobody has begun waits
    assert_int_equal(remote_claim(t->s, 0, &c, 1, &n, &t->err), KB_EOF);
    assert_fails(t->err, KB_BAD_INPUT, "is running", batch_delete(t->s, batch, &t->err));
    assert_ok(t->err, batch_cancel(t->s, batch, &t->err));
    assert_ok(t->err, remote_get(t->s, taken.job, &taken, &t->err));
    assert_true(taken.cancel);
    settle(t, &end); // what is there is not thrown away
    assert_done(t, here.job);
    assert_ok(t->err, remote_lost(t->s, &taken, "the machine is gone", &t->err));
    assert_state(t, taken.job, "cancelled");
    assert_int_equal(ask(t, "SELECT ended_ms IS NOT NULL FROM batch"), 1);
    assert_ok(t->err, batch_delete(t->s, batch, &t->err));
    assert_nothing_left(t);
}

// --- crashes and strangers in the middle

static void the_end_is_tried_again(void **state)
{
    struct queue_test *t = *state;
    struct remote_end end = {0};
    char hash[65];
    hash_of(hash, FILM);
    add_batch(t, 3, 5);
    CLEANUP(kb_freep) char *content = data_path(t, "files/%s", hash);
    for (int i = 0; i < 3; i++) {
        struct remote r = come_to(t, TO_LOOKED);
        CLEANUP(kb_freep) char *output = output_of(t, r.job, ".mp4");
        CLEANUP(kb_freep) char *picture = output_of(t, r.job, ".jpg");
        CLEANUP(kb_freep) char *to = data_path(t, "%s", output);
        CLEANUP(kb_freep) char *to_picture = data_path(t, "%s", picture);
        CLEANUP(kb_freep) char *part = file_part_path(to, 0);
        if (i == 0) // killed after the link
            assert_int_equal(link(content, to), 0);
        if (i == 1) { // killed after the copy, on a disk that knows no links
            assert_ok(t->err, file_write_atomic(to, FILM, strlen(FILM), &t->err));
            assert_int_equal(chmod(to, 0640), 0);
            assert_ok(t->err, file_write_atomic(to_picture, "pic", 3, &t->err));
            assert_int_equal(unlink(part), 0);
        }
        if (i == 2) { // somebody's own file lies there
            assert_ok(t->err, file_write_atomic(to, "mine", 4, &t->err));
            assert_int_equal(unlink(part), 0);
        }
        settle(t, &end);
        assert_true(end.good);
        assert_done(t, r.job);
        CLEANUP(kb_freep) char *now = output_of(t, r.job, ".mp4");
        if (i == 2) {
            assert_string_not_equal(now, output);
            struct stat st;
            assert_int_equal(stat(to, &st), 0);
            assert_int_equal(st.st_size, 4);
        } else {
            assert_string_equal(now, output);
        }
        assert_nothing_left(t);
    }
}

// The rows of an end were written, and then the server was killed: its sweep takes the rest away.
static void the_sweep_takes_the_rest(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 3, 5);
    struct remote here = come_to(t, TO_HERE), coming = come_to(t, TO_HALF);
    run_sql(t, "UPDATE job SET state = 'failed', lease = NULL, ended_ms = 1 WHERE lease > 0");
    assert_int_equal(ask(t, "SELECT count(*) FROM remote"), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE job IN (%lld, %lld)",
                         (long long)here.job, (long long)coming.job),
                     2);
    assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
    assert_nothing_left(t);
    // in a transaction that may be rolled back nothing is removed
    struct remote r = come_to(t, TO_HERE);
    assert_ok(t->err, store_begin(t->s, &t->err));
    assert_ok(t->err, remote_back(t->s, &r, &t->err));
    store_rollback(t->s);
    assert_int_equal(state_of(t, r.job), REMOTE_HERE);
    char hash[65];
    hash_of(hash, FILM);
    CLEANUP(kb_freep) char *content = data_path(t, "files/%s", hash);
    assert_true(file_exists(content));
}

// Neither a part nor a content is old while somebody waits for it.
static void a_clean_up_leaves_what_comes(void **state)
{
    struct queue_test *t = *state;
    const struct retention_params all = {.of_any_age = true};
    struct retention_report report;
    add_batch(t, 4, 5);
    for (int to = TO_COMING; to <= TO_LOOKED; to++) {
        struct remote_end end = {0};
        struct remote r = come_to(t, to);
        assert_ok(t->err, retention_run(t->s, &all, NULL, NULL, &report, &t->err));
        assert_ok(t->err, remote_get(t->s, r.job, &r, &t->err));
        assert_string_not_equal(r.asset, "");
        if (to <= TO_HALF)
            write_part(t, r.asset, FILM + (to == TO_HALF ? strlen(HALF) : 0));
        if (to < TO_LOOKED)
            inspect(t, r.asset, "video", 1000);
        settle(t, &end);
        assert_true(end.good);
        assert_done(t, r.job);
    }
}

// A user has the same film: it stays, and has nothing of the light look that a result gets.
static void a_users_content_stays(void **state)
{
    struct queue_test *t = *state;
    struct remote_end end = {0};
    char own[33], hash[65];
    hash_of(hash, FILM);
    add_batch(t, 2, 5);
    struct remote r = come_to(t, TO_LOOKED);
    struct asset_params p = {.name = "own.mp4", .size_bytes = (int64_t)strlen(FILM)};
    assert_ok(t->err, asset_create(t->s, &p, own, &t->err));
    write_part(t, own, FILM);
    struct asset a;
    assert_ok(t->err, asset_find(t->s, own, &a, &t->err));
    assert_string_equal(a.state, "new");
    settle(t, &end);
    assert_true(end.good);
    CLEANUP(kb_freep) char *content = data_path(t, "files/%s", hash);
    assert_true(file_exists(content));
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE sha256 = '%s'", hash), 1);
    r = come_to(t, TO_HERE);
    assert_ok(t->err, remote_lost(t->s, &r, "gone", &t->err));
    assert_true(file_exists(content));
    assert_ok(t->err, asset_delete(t->s, own, &t->err));
    assert_false(file_exists(content));
}

// --- what others see of it

static void nobody_sees_it_come(void **state)
{
    struct queue_test *t = *state;
    struct text text = {0};
    add_batch(t, 1, 5);
    int64_t assets = ask(t, "SELECT count(*) FROM asset"), rev = 0;
    struct remote r = come_to(t, TO_LOOKED);
    assert_ok(t->err, remote_get(t->s, r.job, &r, &t->err));
    assert_fails(t->err, KB_NOT_FOUND, "", asset_json(t->s, r.asset, &text, &t->err));
    assert_ok(t->err, asset_list_json(t->s, &(struct asset_filter){0}, &text, &t->err));
    json_t *list = parse(&text);
    assert_int_equal(get_int(list, "total"), assets);
    assert_int_equal(json_array_size(json_object_get(list, "items")), assets);
    json_decref(list);
    struct asset a;
    assert_ok(t->err, asset_find(t->s, r.asset, &a, &t->err));
    assert_int_equal(a.job, r.job);
    const char *videos[] = {r.asset};
    char audio[33];
    snprintf(audio, sizeof(audio), "%032x", 1);
    struct batch_params p = {.audio = audio, .videos = videos, .n_videos = 1, .priority = 5};
    assert_fails(t->err, KB_NOT_FOUND, "no file", batch_create(t->s, &p, &rev, &t->err));
    rev = change_revision(t->s);
    run_sql(t, "UPDATE asset SET progress = 0.5 WHERE job IS NOT NULL");
    run_sql(t, "DELETE FROM asset WHERE job IS NOT NULL");
    assert_int_equal(change_revision(t->s), rev);
    assert_int_equal(ask(t, "SELECT count(*) FROM gone"), 0);
}

static void contents_are_read_by_who_needs_them(void **state)
{
    struct queue_test *t = *state;
    char speech[33], film[33], other[33], hash[65];
    bool may = true;
    add_batch(t, 2, 5);
    snprintf(speech, sizeof(speech), "%032x", 1);
    snprintf(film, sizeof(film), "%032x", 2);
    snprintf(other, sizeof(other), "%s", add_asset(t, "video", "ready", "other.mp4"));
    hash_of(hash, FILM);
    struct remote r = offer(t);
    assert_ok(t->err, remote_may_read(t->s, "n1", speech, &may, &t->err));
    assert_false(may);
    assert_ok(t->err, remote_may_read(t->s, "", speech, &may, &t->err));
    assert_false(may);
    assert_ok(t->err, remote_taken(t->s, r.job, r.lease, "n1", &t->err));
    const char *const names[] = {speech, film, other};
    for (int i = 0; i < 3; i++) {
        assert_ok(t->err, remote_may_read(t->s, "n1", names[i], &may, &t->err));
        assert_int_equal(may, i < 2);
        assert_ok(t->err, remote_may_read(t->s, "n2", names[i], &may, &t->err));
        assert_false(may);
    }
    CLEANUP(kb_freep)
    char *options = kb_printf("UPDATE batch SET options = '{\"mouth_from\":\"%s\"}'", other);
    run_sql(t, options);
    assert_ok(t->err, remote_may_read(t->s, "n1", other, &may, &t->err));
    assert_true(may);
    tell_of(t, &r, "n1", FILM);
    char(*list)[65] = NULL;
    int n = 0;
    assert_ok(t->err, remote_contents(t->s, &list, &n, &t->err));
    assert_int_equal(n, 4);
    assert_string_equal(list[0], speech);
    assert_string_equal(list[1], film);
    assert_string_equal(list[2], other);
    assert_string_equal(list[3], hash);
    for (int i = 0; i < n; i++) {
        assert_ok(t->err, remote_needs(t->s, list[i], &may, &t->err));
        assert_true(may);
    }
    free(list);
    list = NULL;
    assert_ok(t->err, remote_back(t->s, &r, &t->err));
    assert_ok(t->err, batch_cancel(t->s, 1, &t->err));
    assert_ok(t->err, remote_contents(t->s, &list, &n, &t->err));
    assert_int_equal(n, 0);
    free(list);
    for (int i = 0; i < 3; i++) {
        assert_ok(t->err, remote_needs(t->s, names[i], &may, &t->err));
        assert_false(may);
    }
}

// A node's file says what the head says of it.
static void a_note_is_taken_over(void **state)
{
    struct queue_test *t = *state;
    char audio[33], video[33];
    snprintf(audio, sizeof(audio), "%s", add_asset(t, "audio", "ready", "s.wav"));
    snprintf(video, sizeof(video), "%s", add_asset(t, "video", "ready", "v.mp4"));
    const char *videos[] = {video};
    struct batch_params p = {.audio = audio,
                             .videos = videos,
                             .n_videos = 1,
                             .priority = 5,
                             .note = "{\"koubo\":1,\"job\":7}"};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    struct job_claim c = claim(t, "w1");
    assert_string_equal(c.note, p.note);
    job_claim_free(&c);
}

// --- many

static int count_steps(void *opaque)
{
    ++*(int *)opaque;
    return 0;
}

// A turn of the head costs what machines have, not what waits.
static void many_wait(void **state)
{
    struct queue_test *t = *state;
    int64_t batch = add_batch(t, 1, 5);
    run_sql(t, "INSERT INTO job(batch, video, name, result_name, position, state_since_ms,"
               " created_ms, cost) WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n"
               " WHERE i <= 20000) SELECT 1, (SELECT video FROM job LIMIT 1), 'v', 'v.mp4', i, 1,"
               " 1, 1 FROM n");
    assert_int_equal(batch, 1);
    t->s->swept.revision = ask(t, "SELECT rev FROM clock"); // the first round is over
    t->s->swept.round_id = -1;
    for (int turn = 0; turn < 4; turn++) { // in the first the batch gets its folder
        struct remote_end end = {0};
        struct remote *list = NULL;
        int n = 0, steps = 0;
        sqlite3_progress_handler(t->s->db, 1000, count_steps, &steps);
        struct remote r = take(t, "n1");
        struct remote_report p = {.job = r.job, .lease = r.lease, .at = {STAGE_AUDIO, 1, 1, 0}};
        assert_ok(t->err, remote_report(t->s, "n1", &p, 1, &t->err));
        assert_ok(t->err, remote_list(t->s, &list, &n, &t->err));
        assert_int_equal(n, 1);
        free(list);
        bring(t, &r, "n1", FILM, "video", 1000);
        settle(t, &end);
        assert_ok(t->err, sweep_run(t->s, &(struct sweep_params){0}, &t->err));
        sqlite3_progress_handler(t->s->db, 0, NULL, NULL);
        if (turn > 0 && steps > 20)
            fail_msg("a job costs %d000 steps of SQLite with 20,000 that wait", steps);
    }
}

// --- a database of version 4

static void an_older_database(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    const char *const schema[] = {
        store_schema, store_schema_2, store_schema_3, store_schema_4,
        "PRAGMA user_version = 4;"
        "INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang, created_ms)"
        " VALUES (1, 'b', 'a', 'a.wav', '{}', 5, 1, 'en', 1);"
        "INSERT INTO asset(id, state, kind, name, size, sha256, created_ms, duration_ms, width,"
        " height) VALUES ('a', 'ready', 'audio', 'a.wav', 9, 'x', 1, 1000, 0, 0),"
        " ('v', 'ready', 'video', 'v.mp4', 9, 'y', 1, 1000, 64, 48);"
        "INSERT INTO job(id, batch, video, name, result_name, position, state_since_ms, created_ms)"
        " VALUES (1, 1, 'v', 'v', 'v.mp4', 1, 1, 1)"};
    store_close(&t->s);
    assert_int_equal(unlink(path), 0);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (size_t i = 0; i < ARRAY_LEN(schema); i++)
        assert_int_equal(sqlite3_exec(db, schema[i], NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    assert_int_equal(ask(t, "PRAGMA user_version"), STORE_VERSION);
    int64_t rev = change_revision(t->s);
    run_sql(t, "UPDATE asset SET name = 'w.mp4' WHERE id = 'v'");
    assert_int_equal(change_revision(t->s), rev + 1); // users' assets are news as before
    struct remote_end end = {0};
    struct remote r = come_to(t, TO_LOOKED);
    settle(t, &end);
    assert_done(t, r.job);
    run_sql(t, "DELETE FROM asset WHERE id = 'v'");
    assert_int_equal(ask(t, "SELECT count(*) FROM gone WHERE kind = 'asset' AND id = 'v'"), 1);
}

int main(void)
{
    umask(027);
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0); // many small files, each of them synced
#define T(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)
    const struct CMUnitTest tests[] = {
        T(a_job_is_made_elsewhere),
        T(a_restart_between_each_two_steps),
        T(two_machines_race),
        T(each_is_offered_once),
        T(no_sweep_takes_it),
        T(what_is_no_video_costs_an_attempt),
        T(another_video_than_was_told),
        T(a_result_comes_before_it_is_told_of),
        T(another_result_comes_anew),
        T(an_upload_keeps_its_mode),
        T(every_state_has_every_end),
        T(a_batch_is_cancelled_and_paused),
        T(the_end_is_tried_again),
        T(the_sweep_takes_the_rest),
        T(a_clean_up_leaves_what_comes),
        T(a_users_content_stays),
        T(nobody_sees_it_come),
        T(contents_are_read_by_who_needs_them),
        T(a_note_is_taken_over),
        T(many_wait),
        T(an_older_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
