// The head with a real Redis; its machines are played by the test, which says as one what it likes
// and looks at what it is told and what the database says.
#include "tests/cluster/player.h"

#include "base/proc.h"

#include <sched.h>
#include <sys/mount.h>

// --- the walk

static void check_go(json_t *go)
{
    json_t *files = json_object_get(go, "files");
    assert_int_equal(get_int(go, "attempt"), 1);
    assert_int_equal(json_array_size(files), 2);
    json_t *audio = json_array_get(files, 0), *video = json_array_get(files, 1);
    assert_string_equal(get_text(audio, "role"), "audio");
    assert_string_equal(get_text(audio, "name"), "speech.wav");
    assert_string_equal(get_text(video, "role"), "video");
    assert_int_equal(get_int(video, "size"), 5);
    assert_int_equal(get_int(json_object_get(video, "facts"), "width"), 64);
    assert_string_equal(get_text(json_object_get(audio, "facts"), "kind"), "audio");
    assert_true(json_is_object(json_object_get(go, "options")));
    assert_string_equal(get_text(go, "lang"), "en");
    assert_non_null(strstr(get_text(go, "output_name"), ".mp4"));
    assert_null(strchr(get_text(go, "output_name"), '/'));
    assert_int_equal(json_array_size(json_object_get(go, "face_at")), 3);
}

static void test_job_goes_its_way(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 2, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = offered(p);
    expect_state(p, "active");
    assert_true(is_in(t, o.job, "loading"));
    assert_int_equal(entries(p), 1); // not more than there are places
    tell(p, about("taken", &o));
    json_t *go = order(p, "go", o.job);
    check_go(go);
    json_decref(go);
    assert_int_equal(entries(p), 0);
    beat(p, json_pack("[o]", report(&o, 3, 50)));
    WAIT(ask(t,
             "SELECT state = 'generating' AND done = 50 AND worker = 'n1' FROM job WHERE id ="
             " %lld",
             (long long)o.job));
    tell(p, about("made", &o)); // its place is free: the next one is offered
    struct wire_offer next;
    WAIT(take_offer(p, &next, 100));
    assert_true(next.job != o.job);
    tell(p, about("taken", &next));
    expect(p, "go", next.job);
    bring(t, p, &o);
    tell(p, done(&o));
    expect(p, "over", o.job);
    assert_true(is_in(t, o.job, "done"));
    finish_job(t, p, &next);
    assert_int_equal(ask(t, "SELECT count(*) FROM remote"), 0);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE job IS NOT NULL"), 0);
    struct text json = {0};
    head_json(head, &json);
    json_auto_t *all = parse(&json);
    assert_true(json_is_true(json_object_get(json_object_get(all, "redis"), "connected")));
    assert_string_equal(get_text(json_object_get(all, "depot"), "kind"), "http");
    assert_int_equal(ask(t, "SELECT slots FROM node"), 1);
}

static void test_ends_that_are_not_good(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    tell(p, about("back", &o));
    expect(p, "over", o.job);
    assert_true(is_in(t, o.job, "queued"));
    assert_int_equal(attempts(t, o.job), 0);
    p = join(t, "n2", 1); // that one gets nothing for some seconds
    o = begin_job(p);
    tell(p, json_pack("{s:s, s:I, s:I, s:i, s:s}", "is", "failed", "job", (json_int_t)o.job,
                      "lease", (json_int_t)o.lease, "code", KB_BAD_INPUT, "why", "no face"));
    expect(p, "over", o.job);
    assert_true(is_in(t, o.job, "failed"));
    tell(p, about("back", &o)); // and again: it is not theirs any more
    expect(p, "lost", o.job);
    assert_true(is_in(t, o.job, "failed"));
}

static void test_a_file_that_came_damaged(void **state)
{
    NEEDS_REDIS;
    char hash[65];
    hash_of(hash, "bytes");
    add_jobs(t, 1, 0);
    CLEANUP(kb_freep) char *path = data_path(t, "files/%s", hash);
    assert_ok(t->err, file_write_atomic(path, "bytes", 5, &t->err));
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "UPDATE asset SET sha256 = ? WHERE name = 'v.mp4'", "t", hash));
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    json_t *back = about("back", &o);
    json_object_set_new(back, "bad", json_string(hash));
    tell(p, back);
    expect(p, "lost", o.job);
    assert_true(is_in(t, o.job, "queued"));
    assert_int_equal(attempts(t, o.job), 1); // else it would go back and forth for ever

    // It is the head's own.
    assert_ok(t->err, file_write_atomic(path, "bytex", 5, &t->err));
    assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE job SET not_before_ms = 0", ""));
    p = join(t, "n2", 1);
    o = begin_job(p);
    back = about("back", &o);
    json_object_set_new(back, "bad", json_string(hash));
    tell(p, back);
    expect(p, "over", o.job);
    assert_true(is_in(t, o.job, "failed"));
    assert_int_equal(ask(t, "SELECT error LIKE '%%is damaged: upload it again%%' FROM job"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE state = 'bad'"), 1);
    assert_int_not_equal(access(path, F_OK), 0); // so that a sound one can come in its place
}

// A machine whose workers break must not end the queue.
static void test_another_machine_tries_what_broke(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    for (int i = 1; i <= JOB_MAX_ATTEMPTS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "n%d", i);
        struct player *p = join(t, name, 1);
        struct wire_offer o = begin_job(p);
        tell(p, json_pack("{s:s, s:I, s:I, s:i, s:s}", "is", "failed", "job", (json_int_t)o.job,
                          "lease", (json_int_t)o.lease, "code", KB_INTERNAL, "why", "it crashed"));
        expect(p, "over", o.job);
        assert_true(is_in(t, o.job, i < JOB_MAX_ATTEMPTS ? "queued" : "failed"));
        assert_int_equal(attempts(t, o.job), i);
        assert_int_equal(ask(t, "SELECT error LIKE '%%it crashed%%' FROM job"), 1);
        run_sql(t, "UPDATE job SET not_before_ms = 0"); // it need not rest here
    }
}

static void test_what_is_not_theirs(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1), *evil = join(t, "n2", 0);
    beat(evil, NULL);
    struct wire_offer o = begin_job(p), wrong = o;
    const struct wire_offer none = {.job = 999, .lease = 5};
    wrong.lease++;
    tell(evil, about("taken", &o));
    expect(evil, "lost", o.job);
    tell(evil, about("made", &o));
    expect(evil, "lost", o.job);
    tell(evil, done(&o));
    expect(evil, "lost", o.job);
    tell(evil, about("back", &o));
    expect(evil, "lost", o.job);
    beat(evil, json_pack("[o]", report(&o, 4, 99)));
    expect(evil, "lost", o.job);
    tell(p, about("made", &wrong));
    expect(p, "lost", o.job);
    beat(p, json_pack("[o, o]", report(&none, 4, 99), report(&o, 1, 7)));
    expect(p, "lost", 999);
    WAIT(ask(t, "SELECT done = 7 AND worker = 'n1' FROM job"));
    finish_job(t, p, &o);
    tell(p, done(&o)); // a second time
    expect(p, "lost", o.job);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'done'"), 1);
}

// --- the silent and the lost

// The same folder's head again, as after a crash.
static void begin_again(struct queue_test *t, int64_t silent_ms)
{
    head_stop(&head);
    head_begin(t, silent_ms);
}

static void test_silence(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    begin_again(t, 300); // everybody has all the time again, and nobody says anything
    WAIT(is_in(t, o.job, "queued"));
    assert_int_equal(attempts(t, o.job), 1);
    expect(p, "lost", o.job);
    greet(p, NULL);
    tell(p, done(&o)); // it comes back late
    expect(p, "lost", o.job);
    assert_true(is_in(t, o.job, "queued"));
}

// All of the result is there, but its machine went before it said what it is.
static void test_silence_about_a_result(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    bring(t, p, &o);
    assert_int_equal(ask(t, "SELECT count(*) FROM remote WHERE state = 4 AND sha256 = ''"), 1);
    begin_again(t, 300);
    WAIT(is_in(t, o.job, "queued"));
    WAIT(ask(t, "SELECT count(*) FROM asset WHERE job IS NOT NULL") == 0);
}

static void test_time_without_redis_does_not_count(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    redis_server_kill(&server);
    begin_again(t, 200);
    usleep(800000);
    assert_true(is_in(t, o.job, "loading"));
    redis_server_again(&server); // and empty
    WAIT(is_in(t, o.job, "queued"));
    assert_int_equal(attempts(t, o.job), 1);
}

static void test_a_new_process_without_the_job(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    kb_random_hex(p->boot, 16);
    beat(p, json_pack("[o]", report(&o, 1, 1))); // it goes on with it
    WAIT(is_in(t, o.job, "audio"));
    for (int i = 0; i < 4; i++)
        beat(p, NULL); // as it is that process's own, it is only not mentioned
    expect_state(p, "active");
    assert_true(is_in(t, o.job, "audio"));
    kb_random_hex(p->boot, 16);
    for (int i = 0; i < 3; i++)
        beat(p, NULL);
    WAIT(is_in(t, o.job, "queued"));
    assert_int_equal(attempts(t, o.job), 1);
    expect(p, "lost", o.job);
}

static void test_untaken_offers(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = offered(p), again;
    begin_again(t, 300);
    WAIT(is_in(t, o.job, "queued")); // it has not said that it takes it
    assert_int_equal(attempts(t, o.job), 0);
    begin_again(t, LONG_MS);
    greet(p, NULL);
    tell(p, about("taken", &o));
    expect(p, "lost", o.job);
    again = begin_job(p);
    assert_true(again.job == o.job && again.lease != o.lease);
}

// Mentioned, made as it says, and then nothing comes.
static void test_a_file_that_never_comes(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_how.still_ms = 100;
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = offered(p);
    tell(p, about("taken", &o));
    tell(p, about("made", &o));
    int n = 0;
    WAIT(({
        beat(p, json_pack("[o]", report(&o, 4, ++n))); // what it says does not count
        tell(p, about("made", &o));
        is_in(t, o.job, "queued");
    }));
    assert_int_equal(attempts(t, o.job), 1);
    expect(p, "lost", o.job);
}

static void test_a_cancel_that_nobody_answers(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_how.still_ms = 15000; // a fifteenth of that
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    tell(p, about("made", &o));
    WAIT(ask(t, "SELECT state = %d FROM remote", REMOTE_MADE));
    assert_ok(t->err, job_cancel(t->s, o.job, &t->err));
    expect(p, "cancel", o.job);
    WAIT(is_in(t, o.job, "cancelled"));
    expect(p, "lost", o.job);
}

// --- results on another disk

// For this process alone. False: no right to.
static bool mount_results(struct queue_test *t)
{
    CLEANUP(kb_freep) char *results = data_path(t, "results");
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", results, "tmpfs", 0, "size=64k,mode=0700") == 0;
}

// Only the results wait.
static void test_results_on_a_full_disk(void **state)
{
    NEEDS_REDIS;
    static char much[100000];
    add_jobs(t, 3, 0);
    if (!mount_results(t))
        SKIP_TEST("no right to mount");
    CLEANUP(kb_freep) char *results = data_path(t, "results");
    CLEANUP(kb_freep) char *filler = data_path(t, "results/filler");
    int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, much, sizeof(much)) > 0)
        continue;
    close(fd);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p), next;
    tell(p, about("made", &o));
    bring(t, p, &o);
    tell(p, done(&o));
    WAIT(ask(t, "SELECT state = %d AND sha256 <> '' FROM remote WHERE job = %lld", REMOTE_HERE,
             (long long)o.job));
    for (int i = 0; i < 2; i++) {
        next = begin_job(p);
        tell(p, json_pack("{s:s, s:I, s:I, s:i, s:s}", "is", "failed", "job", (json_int_t)next.job,
                          "lease", (json_int_t)next.lease, "code", KB_BAD_INPUT, "why", "no face"));
        expect(p, "over", next.job);
        usleep(100000); // the head tries again meanwhile, in vain
    }
    assert_false(is_in(t, o.job, "done"));
    assert_int_equal(unlink(filler), 0);
    expect(p, "over", o.job);
    assert_true(is_in(t, o.job, "done"));
    assert_int_equal(attempts(t, o.job), 1);
    head_stop(&head);
    assert_int_equal(umount(results), 0);
}

// --- what the user wants

static void test_cancel(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 2, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 2);
    struct wire_offer o = begin_job(p), other = offered(p);
    assert_ok(t->err, job_cancel(t->s, other.job, &t->err));
    WAIT(is_in(t, other.job, "cancelled"));
    WAIT(entries(p) == 0);
    tell(p, about("taken", &other));
    expect(p, "lost", other.job);
    assert_ok(t->err, job_cancel(t->s, o.job, &t->err));
    expect(p, "cancel", o.job);
    tell(p, json_pack("{s:s, s:I, s:I, s:i, s:s}", "is", "failed", "job", (json_int_t)o.job,
                      "lease", (json_int_t)o.lease, "code", KB_CANCELLED, "why", "cancelled"));
    expect(p, "over", o.job);
    assert_true(is_in(t, o.job, "cancelled"));
}

static void test_pause_and_order(void **state)
{
    NEEDS_REDIS;
    int64_t one = add_jobs(t, 3, 0), other = add_jobs(t, 3, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    assert_int_equal(ask(t, "SELECT batch FROM job WHERE id = %lld", (long long)o.job), one);
    assert_ok(t->err, batch_set_priority(t->s, one, 3, &t->err));
    tell(p, about("made", &o));
    struct wire_offer next;
    WAIT(take_offer(p, &next, 100));
    assert_int_equal(ask(t, "SELECT batch FROM job WHERE id = %lld", (long long)next.job), one);
    assert_ok(t->err, batch_pause(t->s, one, true, &t->err));
    WAIT(is_in(t, next.job, "queued")); // what is only offered stops, too
    assert_int_equal(attempts(t, next.job), 0);
    struct wire_offer last = begin_job(p);
    assert_int_equal(ask(t, "SELECT batch FROM job WHERE id = %lld", (long long)last.job), other);
}

static void test_machines_that_get_nothing(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 3, 0);
    head_begin(t, LONG_MS);
    struct player *old = join(t, "old", 4), *p = join(t, "n1", 1);
    struct wire_offer o;
    old->version = "0.0.1";
    tell(old, json_loads("{\"is\":\"beat\",\"version\":\"0.0.1\",\"mood\":\"good\"}", 0, NULL));
    json_auto_t *refusal = order(old, "state", 0);
    assert_string_equal(get_text(refusal, "state"), "refused");
    assert_non_null(strstr(get_text(refusal, "why"), "0.0.1"));
    beat(old, NULL);
    assert_false(take_offer(old, &o, 300));
    WAIT(ask(t, "SELECT error IS NOT NULL FROM node WHERE name = 'old'"));
    o = offered(p);
    tell(old, about("taken", &o)); // what it may not
    expect(old, "lost", o.job);
    o = begin_job(p);
    assert_ok(t->err, node_drain(t->s, "n1", true, &t->err));
    expect_state(p, "draining");
    finish_job(t, p, &o); // what it has, it ends
    beat(p, NULL);
    assert_false(take_offer(p, &o, 300));
    assert_ok(t->err, node_drain(t->s, "n1", false, &t->err));
    expect_state(p, "active");
    o = begin_job(p);
    assert_ok(t->err, node_remove(t->s, "n1", &t->err));
    assert_true(is_in(t, o.job, "queued"));
    tell(p, done(&o)); // nobody listens any more
    WAIT(ask(t, "SELECT count(*) = 0 FROM remote"));
    assert_true(is_in(t, o.job, "queued"));
}

// --- Redis and the head come and go

static void test_redis_forgets(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 3, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 2);
    struct wire_offer o = begin_job(p), other = offered(p), again;
    assert_ok(t->err, redis_ask(p->redis, NULL, 0, &t->err, "FLUSHALL"));
    WAIT(take_offer(p, &again, 100)); // the one that it had read is offered anew
    assert_true(again.job == other.job && again.lease == other.lease);
    tell(p, about("taken", &again));
    expect(p, "go", again.job);
    finish_job(t, p, &again);
    finish_job(t, p, &o);
    redis_server_kill(&server);
    redis_server_again(&server);
    strcpy(p->after, "0-0");
    o = begin_job(p);
    finish_job(t, p, &o);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'done' AND attempts = 1"), 3);
}

static void test_head_starts_anew(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = offered(p), again;
    begin_again(t, LONG_MS);
    greet(p, NULL);
    WAIT(take_offer(p, &again, 100)); // the same one is offered, in a stream made anew
    assert_true(again.job == o.job && again.lease == o.lease);
    tell(p, about("taken", &o));
    expect(p, "go", o.job);
    begin_again(t, LONG_MS);
    greet(p, json_pack("[o]", report(&o, 2, 9)));
    WAIT(ask(t, "SELECT done = 9 FROM job"));
    tell(p, about("made", &o));
    WAIT(ask(t, "SELECT state = %d FROM remote", REMOTE_MADE));
    begin_again(t, LONG_MS);
    bring(t, p, &o);
    begin_again(t, LONG_MS);
    greet(p, NULL);
    tell(p, done(&o));
    expect(p, "over", o.job);
    assert_true(is_in(t, o.job, "done"));
    begin_again(t, LONG_MS);
    greet(p, NULL);
    tell(p, done(&o)); // it has not heard the answer
    expect(p, "lost", o.job);
    assert_int_equal(attempts(t, o.job), 1);
}

static void test_addresses_that_no_page_could_show(void **state)
{
    NEEDS_REDIS;
    const struct head_params wrong[] = {
        {.data = t->folder, .redis = url, .depot = "s3://films/\xff?region=x"},
        {.data = t->folder, .redis = "redis://127.0.0.1/?prefix=\xff"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_fails(t->err, KB_BAD_INPUT, "UTF-8", head_start(&head, &wrong[i], &t->err));
}

static void test_two_heads(void **state)
{
    NEEDS_REDIS;
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    beat(p, NULL);
    expect_state(p, "active");
    struct queue_test other = {0};
    CLEANUP(kb_freep) char *folder = data_path(t, "other");
    struct head *second = NULL;
    assert_ok(t->err, store_open(&other.s, folder, true, &t->err));
    const struct head_params hp = {.data = folder, .redis = url};
    assert_ok(t->err, head_start(&second, &hp, &t->err));
    char *at = NULL;
    WAIT(({
        struct text json = {0};
        head_json(second, &json);
        at = strstr(text_get(&json), "prefix=");
        text_free(&json);
        at != NULL;
    }));
    char nonce[WIRE_NONCE_BYTES], mac[WIRE_MAC_BYTES];
    pulse_of(p, nonce);
    wire_sign(mac, p->secret, "GET\n/x");
    assert_true(head_admits(head, t->s, "n1", nonce, mac, "GET\n/x"));
    assert_false(head_admits(head, t->s, "n1", nonce, mac, "PUT\n/x"));
    assert_false(head_admits(second, t->s, "n1", nonce, mac, "GET\n/x"));
    head_stop(&head); // the other one takes over
    WAIT(({
        struct text json = {0};
        head_json(second, &json);
        at = strstr(text_get(&json), "\"connected\":true");
        text_free(&json);
        at != NULL;
    }));
    head_stop(&second);
    store_close(&other.s);
}

// For how much longer Redis knows who the head is.
static int64_t hold_ms(struct player *p)
{
    struct kb_error err = {0};
    redisReply *reply = NULL;
    assert_ok(err, redis_ask(p->redis, &reply, 0, &err, "PTTL koubo:head"));
    int64_t ms = reply->integer;
    freeReplyObject(reply);
    return ms;
}

// What is said once is not lost while somebody else writes to the database for long; and the head
// stays the head.
static void test_locked_database(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 2, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p), next;
    assert_ok(t->err, store_begin(t->s, &t->err));
    tell(p, about("made", &o));
    usleep(700000);
    int64_t before = hold_ms(p), now;
    WAIT(({
        now = hold_ms(p);
        bool renewed = now > before;
        before = now;
        renewed;
    }));
    store_rollback(t->s);
    WAIT(ask(t, "SELECT state = %d FROM remote WHERE job = %lld", REMOTE_MADE, (long long)o.job));
    WAIT(take_offer(p, &next, 100));
}

static void test_a_model_of_ones_own(void **state)
{
    NEEDS_REDIS;
    char hash[65];
    CLEANUP(kb_freep) char *before = kb_strdup(getenv("KOUBO_MODELS"));
    CLEANUP(kb_freep) char *folder = data_path(t, "models");
    CLEANUP(kb_freep) char *model = data_path(t, "models/mine.pth");
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_ok(t->err, file_write_atomic(model, "weights", 7, &t->err));
    setenv("KOUBO_MODELS", folder, 1);
    int64_t batch = add_jobs(t, 2, 0);
    assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE batch SET options = ? WHERE id = ?",
                                 "ti", "{\"model\":\"mine.pth\"}", batch));
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 2);
    struct wire_offer o = offered(p);
    tell(p, about("taken", &o));
    json_auto_t *go = NULL;
    WAIT(({ // until its model has been read, who took it says so again
        hear_orders(p, 100);
        go = find_order(p, "go", o.job);
        if (!go)
            tell(p, about("taken", &o));
        go != NULL;
    }));
    json_t *file = json_array_get(json_object_get(go, "files"), 2);
    hash_of(hash, "weights");
    assert_string_equal(get_text(file, "role"), "model");
    assert_string_equal(get_text(file, "name"), "mine.pth");
    assert_string_equal(get_text(file, "sha256"), hash);
    assert_int_equal(get_int(file, "size"), 7);
    CLEANUP(kb_freep) char *path = NULL;
    assert_ok(t->err, head_model(t->s, "n1", hash, &path, &t->err));
    assert_string_equal(path, model);
    assert_int_equal(head_model(t->s, "n2", hash, &path, &t->err), KB_NOT_FOUND);
    // Another file by that name is another model; without one, jobs end.
    assert_ok(t->err, file_write_atomic(model, "better weights", 14, &t->err));
    assert_int_equal(head_model(t->s, "n1", hash, &path, &t->err), KB_NOT_FOUND);
    assert_int_equal(unlink(model), 0);
    o = offered(p);
    tell(p, about("taken", &o));
    expect(p, "lost", o.job);
    assert_true(is_in(t, o.job, "failed"));
    head_stop(&head); // which reads the environment
    if (before)
        setenv("KOUBO_MODELS", before, 1);
    else
        unsetenv("KOUBO_MODELS");
}

// Materials: files that options name go with the job, their ids do not; words stay. One that was
// deleted ends the job here.
static void test_files_that_options_name(void **state)
{
    NEEDS_REDIS;
    char lent[33];
    int64_t batch = add_jobs(t, 2, 0);
    snprintf(lent, sizeof(lent), "%s", add_asset(t, "video", "ready", "laughs.mp4"));
    CLEANUP(kb_freep) char *path = data_path(t, "files/%s", lent);
    assert_ok(t->err, file_write_atomic(path, "teeth", 5, &t->err));
    CLEANUP(kb_freep)
    char *options = kb_printf("{\"mouth_from\":\"%s\",\"style_from\":\"no\"}", lent);
    assert_ok(t->err, store_exec(t->s, NULL, &t->err, "UPDATE batch SET options = ? WHERE id = ?",
                                 "ti", options, batch));
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 2);
    struct wire_offer o = offered(p);
    tell(p, about("taken", &o));
    json_auto_t *go = order(p, "go", o.job);
    json_t *file = json_array_get(json_object_get(go, "files"), 2);
    assert_string_equal(get_text(file, "role"), "mouth_from");
    assert_string_equal(get_text(file, "name"), "laughs.mp4");
    assert_string_equal(get_text(file, "sha256"), lent);
    json_t *left = json_object_get(go, "options");
    assert_int_equal(json_object_size(left), 1);
    assert_string_equal(get_text(left, "style_from"), "no");
    bring(t, p, &o);
    tell(p, done(&o));
    expect(p, "over", o.job);

    run_sql(t, "DELETE FROM asset WHERE name = 'laughs.mp4'");
    o = offered(p);
    tell(p, about("taken", &o));
    expect(p, "lost", o.job);
    assert_true(is_in(t, o.job, "failed"));
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE error LIKE '%%mouth_from%%'"), 1);
}

// --- evil

static void test_what_makes_no_sense(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    static const char *const odd[] = {
        "{\"is\":\"beat\"}",
        "{\"is\":\"taken\",\"job\":\"1\",\"lease\":2}",
        "{\"is\":\"taken\",\"job\":-1,\"lease\":2}",
        "{\"is\":\"made\",\"job\":1,\"lease\":2,\"more\":3}",
        "{\"is\":\"done\",\"job\":1,\"lease\":2}",
        "{\"is\":\"failed\",\"job\":1,\"lease\":2,\"code\":99,\"why\":\"x\"}",
        "{\"is\":\"over\",\"job\":1,\"lease\":2}",
        "{\"is\":7}",
        "{}",
    };
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        tell(p, json_loads(odd[i], 0, NULL));
    json_t *d = done(&o);
    json_object_set_new(d, "sha256", json_string("../../etc/passwd"));
    tell(p, d);
    d = done(&o);
    json_object_set_new(d, "size", json_integer(INT64_MAX));
    tell(p, d);
    d = report(&o, 9, 1);
    beat(p, json_pack("[o]", d));
    d = report(&o, 1, 1);
    json_object_set_new(d, "fps", json_real(1e300));
    beat(p, json_pack("[o]", d));
    beat(p, json_pack("[o]", report(&o, 1, 42)));
    WAIT(ask(t, "SELECT done = 42 FROM job"));
    // Another one's secret, and an old nonce.
    char secret[65], nonce[WIRE_NONCE_BYTES];
    kb_random_hex(secret, 64);
    pulse_of(p, nonce);
    assert_ok(t->err, wire_tell(p->redis, "n1", secret, nonce, about("back", &o), &t->err));
    assert_ok(t->err, wire_tell(p->redis, "n1", p->secret, "00112233445566778899aabbccddeeff",
                                about("back", &o), &t->err));
    assert_ok(t->err, wire_tell(p->redis, "stranger", secret, nonce, about("back", &o), &t->err));
    beat(p, json_pack("[o]", report(&o, 1, 43)));
    WAIT(ask(t, "SELECT done = 43 FROM job"));
    assert_int_equal(ask(t, "SELECT count(*) FROM remote WHERE node = 'n1'"), 1);
}

static void test_a_flood(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1), *evil = join(t, "n2", 0);
    struct wire_offer o = begin_job(p);
    char nonce[WIRE_NONCE_BYTES];
    pulse_of(evil, nonce);
    int64_t end = kb_now_us() + 500000;
    for (int i = 0; kb_now_us() < end; i++) {
        CLEANUP(kb_freep) char *body = kb_printf("{\"is\":\"made\",\"job\":999,\"lease\":%d}", i);
        CLEANUP(kb_freep) char *text = kb_printf("told\nn2\n%s\n%s", nonce, body);
        char mac[WIRE_MAC_BYTES];
        wire_sign(mac, evil->secret, text);
        redis_note(evil->redis, "XADD koubo:told MAXLEN ~ 10000 * node n2 nonce %s mac %s body %s",
                   nonce, mac, body);
        if (i % 100 == 99)
            assert_ok(t->err, redis_send_noted(evil->redis, &t->err));
    }
    assert_ok(t->err, redis_send_noted(evil->redis, &t->err));
    beat(p, json_pack("[o]", report(&o, 1, 44)));
    int64_t begun = kb_now_us();
    WAIT(ask(t, "SELECT done = 44 FROM job"));
    printf("# heard %.2f s after the flood began to end\n", (double)(kb_now_us() - begun) / 1e6);
    finish_job(t, p, &o);
}

// A machine that takes whatever it gets hold of has no more than it has places.
static void test_no_more_than_places(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 3, 0);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 2), *greedy = join(t, "n2", 1);
    beat(p, NULL);
    beat(greedy, NULL);
    struct wire_offer o;
    int n = 0, n_taken = 0;
    for (; n < 3; n++) {
        WAIT(take_offer(greedy, &o, 100));
        tell(greedy, about("taken", &o));
    }
    WAIT(({
        hear_orders(greedy, 20);
        json_t *go = find_order(greedy, "go", 0), *lost = find_order(greedy, "lost", 0);
        n_taken += go != NULL;
        n -= (go != NULL) + (lost != NULL);
        json_decref(go);
        json_decref(lost);
        n == 0;
    }));
    assert_int_equal(n_taken, 1);
}

// --- many

static void test_ten_thousand(void **state)
{
    NEEDS_REDIS;
    add_jobs(t, 1000, 0);
    for (int i = 0; i < 9; i++)
        add_batch(t, 1000, 0);
    for (int i = 1; i <= t->n_assets; i++) {
        CLEANUP(kb_freep) char *path = data_path(t, "files/%032x", i);
        assert_ok(t->err, file_write_atomic(path, "bytes", 5, &t->err));
    }
    int64_t before = proc_resident_bytes();
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 50);
    struct wire_offer o[50];
    int64_t begun = kb_now_us();
    beat(p, NULL);
    for (int i = 0; i < 50; i++) {
        WAIT(take_offer(p, &o[i], 100));
        tell(p, about("taken", &o[i]));
        expect(p, "go", o[i].job);
    }
    int64_t took = kb_now_us() - begun, grown = proc_resident_bytes() - before;
    printf("# 50 of 10,000 jobs begun in %.0f ms; %.1f MB\n", (double)took / 1e3,
           (double)grown / 1e6);
    assert_true(grown < 60e6);
    assert_int_equal(ask(t, "SELECT count(*) FROM remote"), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HEAD_TEST(test_job_goes_its_way),
        HEAD_TEST(test_ends_that_are_not_good),
        HEAD_TEST(test_a_file_that_came_damaged),
        HEAD_TEST(test_another_machine_tries_what_broke),
        HEAD_TEST(test_what_is_not_theirs),
        HEAD_TEST(test_silence),
        HEAD_TEST(test_silence_about_a_result),
        HEAD_TEST(test_time_without_redis_does_not_count),
        HEAD_TEST(test_a_new_process_without_the_job),
        HEAD_TEST(test_untaken_offers),
        HEAD_TEST(test_a_file_that_never_comes),
        HEAD_TEST(test_a_cancel_that_nobody_answers),
        HEAD_TEST(test_results_on_a_full_disk),
        HEAD_TEST(test_cancel),
        HEAD_TEST(test_pause_and_order),
        HEAD_TEST(test_machines_that_get_nothing),
        HEAD_TEST(test_redis_forgets),
        HEAD_TEST(test_head_starts_anew),
        HEAD_TEST(test_addresses_that_no_page_could_show),
        HEAD_TEST(test_two_heads),
        HEAD_TEST(test_locked_database),
        HEAD_TEST(test_a_model_of_ones_own),
        HEAD_TEST(test_files_that_options_name),
        HEAD_TEST(test_what_makes_no_sense),
        HEAD_TEST(test_a_flood),
        HEAD_TEST(test_no_more_than_places),
        HEAD_TEST(test_ten_thousand),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
