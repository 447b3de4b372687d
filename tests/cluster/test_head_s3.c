// The head with an S3 store as depot (tests/cluster/s3.mjs): what a job needs is there before it is
// offered, results are brought in from it, and nothing stays.
#include "tests/cluster/player.h"
#include "tests/cluster/s3_store.h"

#include "cluster/depot.h"

static struct s3_store s3;
static char *address, *credentials;
static struct depot *depot, *machine; // the head's, as a test looks into it; a machine's

// A file of keys, a new string.
static char *write_keys(struct queue_test *t, const char *name, const char *key, const char *secret)
{
    char *path = data_path(t, "%s", name);
    CLEANUP(kb_freep)
    char *lines = kb_printf("AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", key, secret);
    assert_ok(t->err, file_write_atomic(path, lines, strlen(lines), &t->err));
    assert_int_equal(chmod(path, 0600), 0);
    return path;
}

static int s3_setup(void **state)
{
    if (setup(state) != 0)
        return -1;
    struct queue_test *t = *state;
    if (!s3_store_is_here(&s3))
        return 0;
    credentials = write_keys(t, "credentials", S3_KEY, S3_SECRET);
    CLEANUP(kb_freep) char *theirs = write_keys(t, "theirs", S3_NODE_KEY, S3_NODE_SECRET);
    address = kb_printf("s3://films/koubo?endpoint=%s&region=us-east-1&style=path", s3.endpoint);
    head_how = (struct head_params){.depot = address, .credentials = credentials};
    struct depot_params p = {.address = address, .credentials = credentials};
    assert_ok(t->err, depot_open(&depot, &p, &t->err));
    p.credentials = theirs;
    p.side = DEPOT_NODE;
    assert_ok(t->err, depot_open(&machine, &p, &t->err));
    return 0;
}

static int s3_teardown(void **state)
{
    int failed = teardown(state);
    depot_close(&depot);
    depot_close(&machine);
    kb_freep(&address);
    kb_freep(&credentials);
    head_how = (struct head_params){0};
    return failed;
}

#define NEEDS_S3                                                                                   \
    NEEDS_REDIS;                                                                                   \
    if (!s3_store_is_here(&s3))                                                                    \
    SKIP_TEST("no node, or no s3rver in tests/cluster (npm ci)")

// As add_jobs(), whose contents are called after what they hold, as a depot wants it.
static void add_hashed(struct queue_test *t, int n)
{
    int first = t->n_assets + 1;
    add_batch(t, n, 0);
    for (int i = first; i <= t->n_assets; i++) {
        char hash[65];
        CLEANUP(kb_freep) char *text = kb_printf("content %d", i);
        hash_of(hash, text);
        CLEANUP(kb_freep) char *path = data_path(t, "files/%s", hash);
        CLEANUP(kb_freep) char *id = kb_printf("%032x", i);
        assert_ok(t->err, file_write_atomic(path, text, strlen(text), &t->err));
        assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                     "UPDATE asset SET sha256 = ? WHERE id = ?", "tt", hash, id));
    }
}

static bool is_there(struct queue_test *t, const char *hash)
{
    int64_t size = -1;
    assert_ok(t->err, depot_find(depot, hash, &size, &t->err));
    return size >= 0;
}

// text as the object that is called hash, by whom d is opened for.
static void put_by(struct queue_test *t, struct depot *d, const char *hash, const char *text)
{
    CLEANUP(kb_freep) char *path = data_path(t, "made");
    assert_ok(t->err, file_write_atomic(path, text, strlen(text), &t->err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    const struct depot_put p = {.sha256 = hash, .fd = fd, .size = (int64_t)strlen(text)};
    assert_ok(t->err, depot_put(d, &p, &t->err));
    close(fd);
}

// As a machine.
static void put(struct queue_test *t, const char *hash, const char *text)
{
    put_by(t, machine, hash, text);
}

// The inspector, of a result that has come.
static void inspect(struct queue_test *t)
{
    WAIT(ask(t, "SELECT count(*) FROM asset WHERE job IS NOT NULL AND state = 'new'") == 1);
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    char asset[33];
    assert_ok(t->err,
              store_query(t->s, &q, &t->err, "SELECT id FROM asset WHERE job IS NOT NULL", ""));
    store_copy_column(asset, sizeof(asset), q, 0);
    store_reset(&q);
    const struct asset_facts facts = {
        .kind = "video", .duration_ms = 1000, .width = 64, .height = 48, .n_faces = -1};
    assert_ok(t->err, asset_set_facts(t->s, asset, &facts, &t->err));
}

static void count_object(void *ctx, const char *name, int64_t size, int64_t modified_ms, bool part)
{
    ++*(int *)ctx;
}

static int count(struct queue_test *t)
{
    int n = 0;
    assert_ok(t->err, depot_list(depot, count_object, &n, &t->err));
    return n;
}

static void test_job_over_s3(void **state)
{
    NEEDS_S3;
    char speech[65], made[65];
    add_hashed(t, 2);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    hash_of(speech, "content 1");
    hash_of(made, film);
    for (int i = 0; i < 2; i++) {
        struct wire_offer o = offered(p);
        assert_true(is_there(t, speech)); // before it is offered
        tell(p, about("taken", &o));
        expect(p, "go", o.job);
        tell(p, about("made", &o));
        put(t, made, film);
        tell(p, done(&o));
        inspect(t);
        expect(p, "over", o.job);
        assert_true(is_in(t, o.job, "done"));
    }
    WAIT(count(t) == 0); // nothing stays, as it is to be kept for no time
}

// A store that refuses to remove for a while keeps nothing for longer than that.
static void test_what_was_not_removed_goes_soon(void **state)
{
    NEEDS_S3;
    char made[65], said[64];
    add_hashed(t, 1);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    hash_of(made, film);
    struct wire_offer o = begin_job(p);
    tell(p, about("made", &o));
    put(t, made, film);
    fprintf(s3.to, "{\"what\":\"error\",\"status\":403,\"code\":\"AccessDenied\","
                   "\"method\":\"DELETE\",\"times\":4}\n");
    fflush(s3.to);
    assert_non_null(fgets(said, sizeof(said), s3.from));
    tell(p, done(&o));
    inspect(t);
    expect(p, "over", o.job);
    WAIT(count(t) == 0);
}

static enum kb_code keep(void *ctx, const void *data, size_t n, struct kb_error *err)
{
    text_add_bytes(ctx, data, n);
    return KB_OK;
}

// As a machine: what the depot has for it by that name, a new string.
static char *fetched(struct queue_test *t, const char *hash, size_t size)
{
    struct text text = {0};
    int64_t came;
    assert_ok(t->err, depot_get(machine, hash, (int64_t)size, 0, keep, &text, &came, &t->err));
    return text.data;
}

// What one machine puts there is never what others are given to work with.
static void test_a_machine_spoils_nothing(void **state)
{
    NEEDS_S3;
    char speech[65];
    add_hashed(t, 1);
    hash_of(speech, "content 1");
    put(t, speech, "CONTENT 1"); // as long as it
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    begin_job(p);
    CLEANUP(kb_freep) char *content = fetched(t, speech, strlen("content 1"));
    assert_string_equal(content, "content 1");
}

// What the store has spoiled is sent once more, as a machine says so.
static void test_what_came_damaged_is_sent_anew(void **state)
{
    NEEDS_S3;
    char speech[65], other[65];
    add_hashed(t, 1);
    hash_of(speech, "content 1");
    hash_of(other, "content 7");
    put_by(t, depot, speech, "CONTENT 1"); // as long as it: the head takes it for the content
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    CLEANUP(kb_freep) char *before = fetched(t, speech, strlen("content 1"));
    assert_string_equal(before, "CONTENT 1");
    json_t *back = about("back", &o);
    json_object_set_new(back, "bad", json_string("../in"));
    tell(p, back); // nobody listens to that
    back = about("back", &o);
    json_object_set_new(back, "bad", json_string(other));
    tell(p, back); // not of that job: it goes on elsewhere, and that is all
    expect(p, "lost", o.job);
    assert_false(is_there(t, other));
    p = join(t, "n2", 1); // a place that went back has to wait
    o = begin_job(p);
    back = about("back", &o);
    json_object_set_new(back, "bad", json_string(speech));
    tell(p, back);
    expect(p, "lost", o.job);
    begin_job(join(t, "n3", 1));
    CLEANUP(kb_freep) char *after = fetched(t, speech, strlen("content 1"));
    assert_string_equal(after, "content 1");
}

static void test_what_is_not_what_was_told(void **state)
{
    NEEDS_S3;
    char made[65];
    add_hashed(t, 1);
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    struct wire_offer o = begin_job(p);
    hash_of(made, film);
    tell(p, done(&o)); // it is not there
    json_auto_t *missing = order(p, "again", o.job);
    assert_true(strlen(get_text(missing, "why")) > 10);
    put(t, made, "a lie."); // as long as it
    tell(p, done(&o));
    expect(p, "again", o.job);
    tell(p, done(&o)); // the third time
    expect(p, "lost", o.job);
    WAIT(is_in(t, o.job, "queued"));
    assert_int_equal(attempts(t, o.job), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE job IS NOT NULL"), 0);
}

static void test_depot_that_refuses(void **state)
{
    NEEDS_S3;
    add_hashed(t, 1);
    CLEANUP(kb_freep) char *wrong = write_keys(t, "wrong", S3_KEY, "wrong");
    head_how.credentials = wrong;
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    greet(p, NULL);
    char *error = NULL;
    WAIT(({
        struct text json = {0};
        head_json(head, &json);
        error = strstr(text_get(&json), "\"kind\":\"s3\"");
        error = error ? strstr(error, "\"error\":\"") : NULL;
        text_free(&json);
        error != NULL;
    }));
    WAIT(is_in(t, 1, "queued")); // nobody's, so that a worker of this machine can have it
    assert_int_equal(attempts(t, 1), 0);
    struct wire_offer o;
    beat(p, NULL);
    assert_false(take_offer(p, &o, 300));
}

static void s3_say(const char *line)
{
    char answer[1024];
    fprintf(s3.to, "%s\n", line);
    fflush(s3.to);
    assert_non_null(fgets(answer, sizeof(answer), s3.from));
}

static void test_depot_that_comes_back(void **state)
{
    NEEDS_S3;
    add_hashed(t, 1);
    s3_say("{\"what\":\"error\",\"status\":403,\"code\":\"AccessDenied\",\"times\":1000000}");
    head_how.pause_ms = 100;
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 1);
    greet(p, NULL);
    struct text json = {0};
    WAIT(({
        text_free(&json);
        head_json(head, &json);
        strstr(text_get(&json), "\"kind\":\"s3\"") &&
            strstr(strstr(text_get(&json), "\"kind\":\"s3\""), "\"error\":\"");
    }));
    text_free(&json);
    s3_say("clear");
    struct wire_offer o = begin_job(p);
    assert_int_equal(o.job, 1);
    assert_int_equal(attempts(t, 1), 1);
}

static bool depot_complains(void)
{
    struct text json = {0};
    head_json(head, &json);
    bool complains = !strstr(text_get(&json), "\"place\":\"s3://films/koubo\",\"error\":null");
    text_free(&json);
    return complains;
}

// The folder of models may hold links. A file that cannot be read is its job's trouble alone.
static void test_files_of_here(void **state)
{
    NEEDS_S3;
    char hash[65];
    CLEANUP(kb_freep) char *before = kb_strdup(getenv("KOUBO_MODELS"));
    CLEANUP(kb_freep) char *folder = data_path(t, "models");
    CLEANUP(kb_freep) char *link = data_path(t, "models/mine.pth");
    CLEANUP(kb_freep) char *model = data_path(t, "elsewhere.pth");
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_ok(t->err, file_write_atomic(model, "weights", 7, &t->err));
    assert_int_equal(symlink(model, link), 0);
    setenv("KOUBO_MODELS", folder, 1);
    add_hashed(t, 1); // its speech will be a link, which nobody follows
    hash_of(hash, "content 1");
    CLEANUP(kb_freep) char *speech = data_path(t, "files/%s", hash);
    assert_int_equal(unlink(speech), 0);
    assert_int_equal(symlink(model, speech), 0);
    add_hashed(t, 1);
    run_sql(t, "UPDATE batch SET options = '{\"model\":\"mine.pth\"}' WHERE id = 2");
    head_begin(t, LONG_MS);
    struct player *p = join(t, "n1", 2);
    struct wire_offer o = begin_job(p);
    assert_int_equal(o.job, 2);
    hash_of(hash, "weights");
    assert_true(is_there(t, hash));
    WAIT(attempts(t, 1) == JOB_MAX_ATTEMPTS || is_in(t, 1, "queued"));
    assert_true(attempts(t, 1) >= 1);
    assert_false(depot_complains());
    head_stop(&head); // which reads the environment
    if (before)
        setenv("KOUBO_MODELS", before, 1);
    else
        unsetenv("KOUBO_MODELS");
}

static int s3_group_setup(void **state)
{
    s3_store_start(&s3);
    return group_setup(state);
}

static int s3_group_teardown(void **state)
{
    s3_store_stop(&s3);
    return group_teardown(state);
}

#define S3_TEST(test) cmocka_unit_test_setup_teardown(test, s3_setup, s3_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_job_over_s3),
        S3_TEST(test_what_was_not_removed_goes_soon),
        S3_TEST(test_a_machine_spoils_nothing),
        S3_TEST(test_what_came_damaged_is_sent_anew),
        S3_TEST(test_what_is_not_what_was_told),
        S3_TEST(test_depot_that_refuses),
        S3_TEST(test_depot_that_comes_back),
        S3_TEST(test_files_of_here),
    };
    return cmocka_run_group_tests(tests, s3_group_setup, s3_group_teardown);
}
