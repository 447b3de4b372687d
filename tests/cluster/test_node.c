// A machine of a cluster as a process of its own: this program plays it (called "node"), its
// workers ("worker"), the head, over a real Redis, and the head's depot.
#include "tests/cluster/node_play.h"

// --- jobs

static void test_a_job_from_offer_to_over(void **state)
{
    struct play *t = *state;
    start_node(t, NULL);
    json_t *beat = wait_beat(t, "slots", 1);
    assert_string_equal(get_text(beat, "version"), "9.9.9");
    assert_int_equal(strlen(get_text(beat, "boot")), 16);
    json_decref(beat);

    offer(t, 1, 11);
    json_decref(hear(t, "taken", 1));
    struct given g = {.audio = "speech one", .video = "ok film", .mouth = "teeth", .model = "net"};
    go(t, 1, 11, &g);
    json_decref(hear(t, "made", 1));
    json_t *done = hear(t, "done", 1);
    assert_int_equal(get_int(done, "frames"), 10);
    assert_int_equal(get_int(done, "animated"), 9);
    assert_int_equal(get_int(done, "width"), 64);
    assert_int_equal(json_array_size(json_object_get(done, "stages")), 5);
    assert_int_equal(json_object_size(done), 11);

    // What came is what was told, and what the worker was told is what the head said.
    json_t *result = arrived(t, 1, done);
    assert_string_equal(get_text(result, "audio_name"), "speech one.wav");
    assert_string_equal(get_text(result, "video_name"), "ok film.mp4");
    assert_string_equal(get_text(result, "note"), "{\"koubo\":1,\"job\":1}");
    json_t *options = json_loads(get_text(result, "options"), 0, NULL);
    assert_string_equal(get_text(options, "loop"), "freeze");
    assert_true(text_ends(get_text(options, "model"), ".pth"));
    assert_int_equal(strlen(get_text(options, "mouth_from")), 32);
    assert_string_equal(get_text(result, "model_holds"), "net");
    assert_string_equal(get_text(result, "mouth_holds"), "teeth");
    json_decref(options);
    json_decref(result);
    json_decref(done);
    assert_int_equal(t->depot.n_gets, 4);
    over(t, 1, 11);
    wait_gone(t);

    // The next one needs to fetch only what is not here.
    offer(t, 2, 12);
    json_decref(hear(t, "taken", 2));
    g = (struct given){.audio = "speech one", .video = "ok film 2", .model = "net"};
    go(t, 2, 12, &g);
    json_decref(hear(t, "done", 2));
    assert_int_equal(t->depot.n_gets, 5);
    order(t, "again", 2, 12);
    json_decref(hear(t, "made", 2));
    json_decref(hear(t, "done", 2));
    over(t, 2, 12);
    wait_gone(t);

    // One file as speech and as whose teeth are taken, of which nothing is known yet.
    offer(t, 3, 13);
    json_decref(hear(t, "taken", 3));
    g = (struct given){.audio = "both", .video = "ok film", .mouth = "both", .unseen = true};
    go(t, 3, 13, &g);
    json_decref(hear(t, "done", 3));
    assert_int_equal(t->depot.n_gets, 6);
    over(t, 3, 13);
    wait_gone(t);
    assert_int_equal(stop_node(t, SIGTERM), 0);
    assert_int_equal(count_files(t, "results"), 0);
    assert_int_equal(count_files(t, "files"), 6);
    assert_int_equal(count_files(t, "models"), 1);
}

static void test_ends_other_than_well(void **state)
{
    struct play *t = *state;
    start_node(t, "workers=2");
    json_decref(wait_beat(t, "slots", 2));

    // A file that is useless, with the worker's own sentence.
    begin(t, 1, 11, "bad film");
    json_t *failed = hear(t, "failed", 1);
    assert_int_equal(get_int(failed, "code"), KB_BAD_INPUT);
    assert_says(get_text(failed, "why"), "no face");
    json_decref(failed);
    over(t, 1, 11);

    // Cancelled while a worker is at it, and while its files come.
    begin(t, 2, 12, "slow film");
    json_decref(wait_stage(t, 2, STAGE_GENERATING));
    order(t, "cancel", 2, 12);
    failed = hear(t, "failed", 2);
    assert_int_equal(get_int(failed, "code"), KB_CANCELLED);
    json_decref(failed);
    over(t, 2, 12);
    t->depot.hold = true;
    begin(t, 3, 13, "ok held film");
    json_decref(wait_stage(t, 3, STAGE_LOADING));
    order(t, "cancel", 3, 13);
    failed = hear(t, "failed", 3);
    assert_int_equal(get_int(failed, "code"), KB_CANCELLED);
    json_decref(failed);
    over(t, 3, 13);
    t->depot.hold = false;

    // Its database refuses that for a moment.
    begin(t, 8, 18, "slow film");
    json_decref(wait_stage(t, 8, STAGE_GENERATING));
    struct store *s = NULL;
    assert_ok(t->err, store_open(&s, t->folder, false, &t->err));
    assert_ok(t->err, store_exec(s, NULL, &t->err,
                                 "CREATE TRIGGER test BEFORE UPDATE OF cancel ON job"
                                 " BEGIN SELECT RAISE(ABORT, 'not today'); END",
                                 ""));
    order(t, "cancel", 8, 18);
    wait_log(t, "not today");
    assert_ok(t->err, store_exec(s, NULL, &t->err, "DROP TRIGGER test", ""));
    store_close(&s);
    failed = hear(t, "failed", 8);
    assert_int_equal(get_int(failed, "code"), KB_CANCELLED);
    json_decref(failed);
    over(t, 8, 18);

    // Lost: nothing more is said of it, nothing of it stays, and the place is free again.
    begin(t, 4, 14, "slow film");
    json_decref(wait_stage(t, 4, STAGE_GENERATING));
    order(t, "lost", 4, 14);
    wait_gone(t);

    // An order that makes no sense; one of a job that is not here; and one that was forged.
    offer(t, 5, 15);
    json_decref(hear(t, "taken", 5));
    tell_order(t, json_pack("{s:s, s:i, s:i, s:s}", "is", "go", "job", 5, "lease", 15, "x", "y"));
    failed = hear(t, "failed", 5);
    assert_says(get_text(failed, "why"), "version");
    json_decref(failed);
    over(t, 5, 15);
    // A file in a role that this machine does not know, as a newer head may ask for.
    offer(t, 9, 19);
    json_decref(hear(t, "taken", 9));
    struct given g = {.audio = "a", .video = "ok b", .odd = "smell"};
    go(t, 9, 19, &g);
    failed = hear(t, "failed", 9);
    assert_says(get_text(failed, "why"), "of one version");
    json_decref(failed);
    over(t, 9, 19);
    order(t, "cancel", 99, 1);
    go(t, 98, 1, &(struct given){.audio = "a", .video = "ok b"});
    struct play forger = *t;
    forger.secret[0] = forger.secret[0] == '0' ? '1' : '0';
    begin(t, 6, 16, "slow film");
    json_decref(wait_stage(t, 6, STAGE_GENERATING));
    order(&forger, "lost", 6, 16);

    // A worker dies once over it: tried again here, and the head hears nothing of that.
    begin(t, 7, 17, "once crash");
    end_pauses(t);
    json_decref(hear(t, "done", 7));
    over(t, 7, 17);
    order(t, "lost", 6, 16);
    wait_gone(t);
    assert_int_equal(stop_node(t, SIGTERM), 0);
    assert_int_equal(count_files(t, "results"), 0);
    assert_int_equal(count_files(t, "work"), 0);
}

static void test_killed_at_each_step_it_goes_on(void **state)
{
    struct play *t = *state;
    start_node(t, NULL);
    char boot[17];
    json_t *beat = wait_beat(t, "slots", 1);
    snprintf(boot, sizeof(boot), "%s", get_text(beat, "boot"));
    json_decref(beat);

    // Half of the film has come.
    t->depot.cut = 1 << 20;
    t->depot.hold = true;
    offer(t, 1, 11);
    json_decref(hear(t, "taken", 1));
    go(t, 1, 11, &(struct given){.audio = "speech", .video = "slow film", .pad = 2 << 20});
    wait_bytes(t, "uploads", 1 << 19);
    kill_node(t);
    t->depot.hold = false;
    t->depot.cut = 0;
    start_node(t, NULL);
    json_t *job = wait_stage(t, 1, STAGE_GENERATING);
    json_decref(job);
    assert_true(t->depot.ranged);
    beat = wait_beat(t, "slots", 1);
    assert_string_not_equal(get_text(beat, "boot"), boot);
    json_decref(beat);

    // A worker is at it.
    kill_node(t);
    start_node(t, NULL);
    json_decref(wait_stage(t, 1, STAGE_GENERATING));
    t->depot.busy = true;
    let_go(t);
    json_decref(hear(t, "made", 1));

    // It is made, and could not be sent.
    kill_node(t);
    t->depot.busy = false;
    start_node(t, NULL);
    json_t *done = hear(t, "done", 1);
    json_decref(arrived(t, 1, done));
    json_decref(done);

    // It was told, and not heard.
    kill_node(t);
    start_node(t, NULL);
    json_decref(hear(t, "done", 1));
    over(t, 1, 11);
    wait_gone(t);
    assert_int_equal(stop_node(t, SIGTERM), 0);
    assert_int_equal(count_files(t, "results"), 0);
}

static void test_redis_forgets_everything(void **state)
{
    struct play *t = *state;
    start_node(t, NULL);
    begin(t, 1, 11, "slow film");
    json_decref(wait_stage(t, 1, STAGE_GENERATING));
    redis_server_kill(&redis_server);
    let_go(t);
    redis_server_again(&redis_server);
    begin_pulse(t);
    json_decref(hear(t, "done", 1));
    over(t, 1, 11);
    wait_gone(t);
    begin(t, 2, 12, "ok film");
    json_decref(hear(t, "done", 2));
    assert_int_equal(stop_node(t, SIGKILL), -SIGKILL);
}

// Four jobs of one batch whose film is slow to come do not keep another one's files from coming.
static void test_one_content_takes_one_porter(void **state)
{
    struct play *t = *state;
    start_node(t, "workers=5");
    json_decref(wait_beat(t, "slots", 5));
    t->depot.spared = 100;
    t->depot.hold = true;
    for (int i = 1; i <= MACHINE_PORTERS; i++)
        begin(t, i, 10 + i, "ok film");
    json_decref(wait_stage(t, MACHINE_PORTERS, STAGE_LOADING));
    offer(t, 9, 19);
    json_decref(hear(t, "taken", 9));
    go(t, 9, 19, &(struct given){.audio = "another speech", .video = "ok other film"});
    json_decref(hear(t, "done", 9));
    t->depot.hold = false;
    for (int i = 1; i <= MACHINE_PORTERS; i++)
        json_decref(hear(t, "done", i));
    assert_int_equal(stop_node(t, SIGKILL), -SIGKILL);
}

static void test_a_damaged_file_goes_back(void **state)
{
    struct play *t = *state;
    start_node(t, NULL);
    json_decref(wait_beat(t, "slots", 1));
    offer(t, 1, 11);
    json_decref(hear(t, "taken", 1));
    struct given g = {.audio = "speech", .video = "ok film", .pad = 1 << 20, .damaged = true};
    go(t, 1, 11, &g);
    json_t *back = hear(t, "back", 1);
    assert_string_equal(get_text(back, "bad"), t->depot.files[1].sha256);
    json_decref(back);
    assert_int_equal(t->depot.n_gets, 4); // the speech, and three times the film
    over(t, 1, 11);
    wait_gone(t);
    assert_int_equal(stop_node(t, SIGTERM), 0);
    CLEANUP(kb_freep) char *log = read_log(t);
    assert_says(log, "cannot be fetched yet");
    assert_says(log, "SHA-256");
}

// --- room

static void test_a_full_disk_gives_jobs_back(void **state)
{
    struct play *t = *state;
    int64_t free_bytes = copies_free_bytes(t->folder), size = KB_MIN(free_bytes, (int64_t)1 << 40);
    CLEANUP(kb_freep)
    char *how = kb_printf("min-free=%lld", (long long)(free_bytes - size / 2));
    start_node(t, how);
    json_decref(wait_beat(t, "slots", 1));
    offer(t, 1, 11);
    json_decref(hear(t, "taken", 1));
    struct given g = {.audio = "speech", .video = "ok film", .video_size = size};
    go(t, 1, 11, &g);
    json_decref(hear(t, "back", 1));
    json_decref(wait_beat(t, "slots", 0));
    order(t, "lost", 1, 11);
    wait_gone(t);
    assert_int_equal(stop_node(t, SIGTERM), 0);
}

static void test_the_copies_keep_to_their_limit(void **state)
{
    struct play *t = *state;
    start_node(t, "cache=2500"); // each is of 1000 bytes
    static const char *const films[] = {"ok one", "ok two", "ok three", "ok one"};
    for (int i = 0; i < 4; i++) {
        offer(t, i + 1, 11);
        json_decref(hear(t, "taken", i + 1));
        struct given g = {.audio = "speech", .video = films[i], .pad = 1000};
        go(t, i + 1, 11, &g);
        json_decref(hear(t, "done", i + 1));
        over(t, i + 1, 11);
        wait_gone(t);
        assert_true(get_int(t->beat, "cache") <= 2500);
    }
    assert_int_equal(t->depot.n_gets, 5); // the speech was used each time, the first film too late
    assert_int_equal(stop_node(t, SIGTERM), 0);
    assert_int_equal(count_files(t, "files"), 2);

    start_node(t, "cache=0");
    begin(t, 9, 11, "ok film");
    json_decref(hear(t, "done", 9));
    over(t, 9, 11);
    wait_gone(t);
    assert_int_equal(stop_node(t, SIGTERM), 0);
    assert_int_equal(count_files(t, "files"), 0);
    assert_int_equal(count_files(t, "models"), 0);
}

// --- the end, and the head

static void test_it_drains(void **state)
{
    struct play *t = *state;
    start_node(t, "drain=60000");
    begin(t, 1, 11, "slow film");
    json_decref(wait_stage(t, 1, STAGE_GENERATING));
    kill(t->node, SIGTERM);
    json_t *beat = wait_beat(t, "slots", 0);
    assert_true(json_is_true(json_object_get(beat, "draining")));
    json_decref(beat);
    offer(t, 2, 12);
    let_go(t);
    json_decref(hear(t, "done", 1));
    over(t, 1, 11);
    assert_int_equal(stop_node(t, 0), 0);
    assert_false(was_told(t, "taken", 2));

    // The second time at once; what was given back is not here at the next start.
    start_node(t, "drain=60000");
    json_decref(hear(t, "taken", 2));
    go(t, 2, 12, &(struct given){.audio = "speech", .video = "slow film"});
    json_decref(wait_stage(t, 2, STAGE_GENERATING));
    kill(t->node, SIGTERM);
    json_decref(wait_beat(t, "slots", 0));
    kill(t->node, SIGTERM);
    json_decref(hear(t, "back", 2));
    over(t, 2, 12);
    assert_int_equal(stop_node(t, 0), 0);
    start_node(t, "drain=0");
    beat = wait_beat(t, "slots", 1);
    assert_int_equal(json_array_size(json_object_get(beat, "jobs")), 0);
    json_decref(beat);
    assert_int_equal(stop_node(t, SIGTERM), 0);
    assert_int_equal(count_files(t, "results"), 0);
}

static void test_it_takes_only_what_a_head_lets_it(void **state)
{
    struct play *t = *state;
    t->head_state = "refused";
    start_node(t, NULL);
    json_t *beat = wait_beat(t, "workers", 1);
    assert_int_equal(get_int(beat, "slots"), 0);
    json_decref(beat);
    offer(t, 1, 11);
    t->head_state = "draining";
    say_state(t);
    json_decref(wait_beat(t, "slots", 0));
    assert_false(was_told(t, "taken", 1));
    t->head_state = "active";
    say_state(t);
    json_decref(hear(t, "taken", 1));
    order(t, "lost", 1, 11);
    assert_int_equal(stop_node(t, SIGTERM), 0);
    CLEANUP(kb_freep) char *log = read_log(t);
    assert_says(log, "of another version"); // as the head said
}

static void test_what_cannot_be_is_said(void **state)
{
    struct play *t = *state;
    struct kb_error err = {0};
    struct store *store = NULL;
    CLEANUP(kb_freep) char *url = redis_server_url(&redis_server, t->prefix);
    struct node_params p = {.name = "n1",
                            .secret = t->secret,
                            .redis = url,
                            .depot = "http://127.0.0.1:9",
                            .version = "9.9.9",
                            .supervisor = {.data = t->folder, .worker = {.parent_fd = -1}}};
    struct node_params q = p;
    q.name = "No Name";
    assert_fails(err, KB_BAD_INPUT, "--name", node_run(&q, &err));
    q = p;
    q.secret = "short";
    assert_fails(err, KB_BAD_INPUT, "token", node_run(&q, &err));
    q = p;
    q.redis = "http://there";
    assert_fails(err, KB_BAD_INPUT, "", node_run(&q, &err));
    q = p;
    q.depot = "ftp://there";
    assert_fails(err, KB_BAD_INPUT, "", node_run(&q, &err));

    // A server's folder.
    assert_ok(err, store_open(&store, t->folder, true, &err));
    char id[33];
    struct asset_params a = {.name = "a.wav", .size_bytes = 9};
    assert_ok(err, asset_create(store, &a, id, &err));
    store_close(&store);
    assert_fails(err, KB_BAD_INPUT, "of a server", node_run(&p, &err)); // it keeps no copies
    assert_ok(err, store_open(&store, t->folder, false, &err));
    struct asset found;
    assert_ok(err, asset_find(store, id, &found, &err));
    store_close(&store);
}

// --- with a worker that makes a film

static void test_a_film_is_made(void **state)
{
    struct play *t = *state;
    start_node(t, "koubo");
    offer(t, 1, 11);
    json_decref(hear(t, "taken", 1));
    struct given g = {.audio_path = make_tone("speech.wav", 0.6), .video_path = source_path(PHOTO)};
    go(t, 1, 11, &g);
    json_t *done = hear(t, "done", 1);
    assert_true(get_int(done, "frames") >= 10);
    assert_true(t->depot.size > 10000);
    assert_memory_equal(t->depot.result + 4, "ftyp", 4);
    json_decref(done);
    over(t, 1, 11);
    wait_gone(t);
    assert_int_equal(stop_node(t, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        play_worker(argc, argv);
    if (argc > 1 && strcmp(argv[1], "node") == 0)
        return play_node(argc, argv);
    if (!redis_server_is_here()) {
        printf("1..0 # SKIP redis-server is not installed\n");
        return 0;
    }
#define CASE(f) cmocka_unit_test_setup_teardown(f, play_setup, play_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_a_job_from_offer_to_over),
        CASE(test_ends_other_than_well),
        CASE(test_killed_at_each_step_it_goes_on),
        CASE(test_redis_forgets_everything),
        CASE(test_one_content_takes_one_porter),
        CASE(test_a_damaged_file_goes_back),
        CASE(test_a_full_disk_gives_jobs_back),
        CASE(test_the_copies_keep_to_their_limit),
        CASE(test_it_drains),
        CASE(test_it_takes_only_what_a_head_lets_it),
        CASE(test_what_cannot_be_is_said),
        CASE(test_a_film_is_made),
    };
    return cmocka_run_group_tests_name("cluster/node", tests, group_setup, group_teardown);
}
