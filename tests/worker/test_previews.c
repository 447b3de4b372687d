// Looks before the long run: who gets what in which order, what the broker believes of the worker
// that makes them (the test holds its end of the line), and one that is made by a real one.
#define WAIT_S 100
#include "tests/worker/brokers.h"
#include "tests/worker/workers.h"

#include "media/reader.h"
#include "queue/look.h"
#include "worker/line.h"
#include "worker/previews.h"
#include "worker/supervisor.h"

#include <poll.h>
#include <sys/socket.h>

static int n_changed;

static void count(void *n)
{
    ++*(int *)n;
}

static struct preview_order order_of(double at)
{
    struct preview_order o = {.seconds = 5, .at = at};
    o.claim.options = kb_strdup("{}");
    return o;
}

static enum kb_code ask_for(struct previews *p, const char *client, const char *viewer,
                            char ret_id[33])
{
    struct kb_error err = {0};
    struct preview_order o = order_of(-1);
    return previews_ask(p, &o, client, viewer, ret_id, &err);
}

static enum preview_state state_of(struct previews *p, const char *id)
{
    struct preview_look look;
    assert_true(previews_look(p, id, &look));
    return look.state;
}

// The newest of a viewer wins, whether the older one waits or runs; others are not touched.
static void test_the_newest_of_a_viewer(void **state)
{
    n_changed = 0;
    struct previews *p = previews_create(count, &n_changed);
    const struct dub_result made = {.frames = 1, .seconds = 5, .width = 64, .height = 48};
    const struct preview_order *order;
    char a[33], b[33], c[33], d[33], taken[33];
    int told = 0;
    assert_int_equal(ask_for(p, "1.2.3.4", "x", a), KB_OK);
    assert_int_equal(ask_for(p, "1.2.3.4", "y", b), KB_OK);
    assert_int_equal(ask_for(p, "5.6.7.8", "x", c), KB_OK);
    assert_int_equal(n_changed, 3);
    assert_true(previews_await(p, a, count, &told));
    assert_true(previews_take(p, taken, &order));
    assert_string_equal(taken, a);
    assert_string_equal(order->claim.options, "{}");
    assert_true(previews_report(p, a, &(struct job_report){.stage = STAGE_GENERATING}));
    assert_int_equal(ask_for(p, "1.2.3.4", "x", d), KB_OK);
    assert_int_equal(told, 1);
    assert_int_equal(state_of(p, a), PREVIEW_FAILED); // it runs, for nobody
    assert_false(previews_report(p, a, &(struct job_report){0}));
    assert_false(previews_end(p, a, &made, NULL)); // nobody has its file
    assert_false(previews_look(p, a, &(struct preview_look){0}));
    assert_int_equal(state_of(p, b), PREVIEW_WAITING);
    assert_int_equal(state_of(p, c), PREVIEW_WAITING);
    for (int i = 0; i < 3; i++) { // b, c, d in turn
        const char *ids[] = {b, c, d};
        assert_true(previews_wait(p));
        assert_true(previews_take(p, taken, &order));
        assert_string_equal(taken, ids[i]);
        assert_true(previews_end(p, taken, &made, NULL));
        assert_int_equal(state_of(p, taken), PREVIEW_DONE);
    }
    assert_false(previews_wait(p));
    told = 0;
    assert_true(previews_await(p, d, count, &told)); // at once
    assert_int_equal(told, 1);
    char name[40], wanted[40];
    assert_false(previews_rubbish(p, name));
    previews_drop(p, d);
    assert_true(previews_rubbish(p, name));
    snprintf(wanted, sizeof(wanted), "%s.mp4", d);
    assert_string_equal(name, wanted);
    assert_false(previews_await(p, d, count, &told));
    previews_free(&p);
}

// Two who name no viewer may be two people behind one address.
static void test_nobodys_place(void **state)
{
    struct previews *p = previews_create(count, &n_changed);
    struct previews_view view;
    char a[33], b[33], c[33];
    const struct preview_order *order;
    assert_int_equal(ask_for(p, "1.2.3.4", "", a), KB_OK);
    assert_true(previews_take(p, c, &order));
    assert_int_equal(ask_for(p, "1.2.3.4", "", b), KB_OK);
    assert_int_equal(state_of(p, a), PREVIEW_RUNNING);
    assert_int_equal(state_of(p, b), PREVIEW_WAITING);
    previews_view(p, &view);
    assert_true(view.making && view.waiting == 1 && !view.there && !view.picture);
    assert_string_equal(view.client, "1.2.3.4");
    for (int i = 2; i < PREVIEWS_EACH; i++)
        assert_int_equal(ask_for(p, "1.2.3.4", "", c), KB_OK);
    assert_int_equal(ask_for(p, "1.2.3.4", "", c), KB_UNAVAILABLE); // as many as anybody
    previews_free(&p);
}

static void test_limits(void **state)
{
    struct previews *p = previews_create(count, &n_changed);
    const struct dub_result made = {.frames = 1, .width = 1, .height = 1};
    const struct preview_order *order;
    char first[33], id[33], viewer[16], name[40];
    for (int i = 0; i < PREVIEWS_EACH; i++) {
        snprintf(viewer, sizeof(viewer), "%d", i);
        assert_int_equal(ask_for(p, "me", viewer, i ? id : first), KB_OK);
    }
    assert_int_equal(ask_for(p, "me", "one more", id), KB_UNAVAILABLE);
    assert_int_equal(ask_for(p, "me", "0", id), KB_OK); // in the place of the first
    assert_int_equal(state_of(p, first), PREVIEW_FAILED);
    for (int i = PREVIEWS_EACH; i < PREVIEWS_WAITING; i++) {
        snprintf(viewer, sizeof(viewer), "client %d", i);
        assert_int_equal(ask_for(p, viewer, "", id), KB_OK);
    }
    assert_int_equal(ask_for(p, "somebody", "", id), KB_UNAVAILABLE);
    // Made and kept: so many, the oldest go.
    int n_gone = 0;
    for (int i = 0; i < 3 * PREVIEWS_KEPT; i++) {
        snprintf(viewer, sizeof(viewer), "client %d", i);
        if (!previews_wait(p))
            assert_int_equal(ask_for(p, viewer, "", id), KB_OK);
        assert_true(previews_take(p, id, &order));
        assert_true(previews_end(p, id, &made, NULL));
        while (previews_rubbish(p, name))
            n_gone++;
    }
    // The first that failed counted among them until it was too old.
    assert_in_range(n_gone, 2 * PREVIEWS_KEPT - 1, 2 * PREVIEWS_KEPT);
    previews_free(&p);
}

// --- the broker and a worker that may say anything

static void say(int line, const char *text)
{
    assert_int_equal(send(line, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static json_t *hear(int line, const char *is)
{
    json_t *m = NULL;
    WAIT(line_receive(line, &m) == LINE_MESSAGE);
    assert_string_equal(line_is(m), is);
    return m;
}

// Asks for one of a made-up pair.
static void want(char ret_id[33], double at)
{
    struct kb_error err = {0};
    struct preview_order o = order_of(at);
    memset(o.claim.audio_sha256, 'a', 64);
    memset(o.claim.video_sha256, 'b', 64);
    o.claim.audio_name = kb_strdup("speech.wav");
    o.claim.video_name = kb_strdup("片.mp4");
    o.claim.face_at[0] = -1;
    assert_ok(err, previews_ask(broker_previews(broker), &o, "c", "v", ret_id, &err));
}

// The name of the files of the one that the worker is given, in its folder.
static char *take(struct queue_test *t, int line, double at)
{
    say(line, "{\"is\":\"next\"}");
    json_t *m = hear(line, "job");
    const json_t *look = json_object_get(m, "look");
    assert_true(json_real_value(json_object_get(look, "seconds")) == 5);
    assert_true(json_real_value(json_object_get(look, "at")) == at);
    assert_string_equal(get_text(m, "video_name"), "片.mp4");
    char *stem = data_path(t, "work/p1/%s", get_text(m, "file"));
    json_decref(m);
    return stem;
}

static bool has_file(struct queue_test *t, const char *id, const char *tail)
{
    CLEANUP(kb_freep) char *path = data_path(t, PREVIEWS_FOLDER "/%s%s", id, tail);
    return file_exists(path);
}

#define DONE                                                                                       \
    "{\"is\":\"done\",\"frames\":125,\"animated\":125,\"seconds\":5.0,\"width\":64,"               \
    "\"height\":48,\"picture\":false,\"stages\":[0,0.1,0.2,0.3,0.4],\"from\":0.75}"

static void test_the_broker(void **state)
{
    struct queue_test *t = *state;
    struct previews *p = broker_previews(broker);
    struct preview_look look;
    char id[33], newer[33];
    int line, seat = broker_seat(broker, "p1", SEAT_PREVIEWS, &line, &t->err);
    assert_true(seat >= 0);
    broker_begin(broker, seat, getpid());
    add_batch(t, 1, 5); // which is none of its business

    want(id, -1);
    CLEANUP(kb_freep) char *stem = take(t, line, -1);
    say(line, "{\"is\":\"at\",\"stage\":3,\"done\":5,\"total\":125,\"fps\":20}");
    WAIT(previews_look(p, id, &look) && look.report.done == 5);
    assert_int_equal(look.state, PREVIEW_RUNNING);
    struct previews_view view;
    previews_view(p, &view);
    assert_true(view.there && view.making && view.waiting == 0);
    assert_string_equal(view.video, "片.mp4");
    assert_string_equal(view.audio, "speech.wav");
    assert_true(view.progress > 0.45 && view.progress < 0.5);
    CLEANUP(kb_freep) char *film = kb_printf("%s.mp4", stem);
    assert_ok(t->err, file_write_atomic(film, "film", 4, &t->err));
    say(line, DONE);
    WAIT(previews_look(p, id, &look) && look.state == PREVIEW_DONE);
    assert_true(look.seconds == 5 && look.from_s == 0.75);
    assert_true(has_file(t, id, ".mp4"));
    assert_false(file_exists(film));

    // What it did not make, or what is another name of something, is not taken.
    want(newer, 1.5);
    CLEANUP(kb_freep) char *linked = take(t, line, 1.5);
    CLEANUP(kb_freep) char *picture = kb_printf("%s.jpg", linked);
    assert_int_equal(symlink("../../koubo.db", picture), 0);
    say(line, DONE);
    WAIT(previews_look(p, newer, &look) && look.state == PREVIEW_FAILED);
    assert_int_equal(look.why.code, KB_INTERNAL);
    assert_false(has_file(t, newer, ".jpg"));

    // What the speech says is told only where subtitles are made of it.
    struct preview_order spoken = order_of(-1);
    free(spoken.claim.options);
    spoken.claim.options = kb_strdup("{\"subtitles\":\"text\",\"subtitles_as\":\"burn\"}");
    spoken.claim.audio_name = kb_strdup("speech.wav");
    spoken.claim.video_name = kb_strdup("片.mp4");
    spoken.words = kb_strdup("{\"text\":\"hi\",\"words\":[[0,100,0,2]]}");
    assert_ok(t->err, previews_ask(p, &spoken, "c", "v", id, &t->err));
    CLEANUP(kb_freep) char *told = take(t, line, -1);
    CLEANUP(kb_freep) char *words = kb_printf("%s" WORDS_TAIL, told);
    CLEANUP(file_unmap) struct file_map said = {0};
    assert_ok(t->err, file_map(&said, words, &t->err));
    assert_int_equal(said.size, strlen("{\"text\":\"hi\",\"words\":[[0,100,0,2]]}"));
    say(line, "{\"is\":\"failed\",\"code\":3,\"why\":\"x\"}");
    WAIT(previews_look(p, id, &look) && look.state == PREVIEW_FAILED);
    close(line); // who failed at a file is sent away
    broker_end(broker, seat, NULL, false);
    WAIT(!broker_is_seated(broker, seat));
    seat = broker_seat(broker, "p1", SEAT_PREVIEWS, &line, &t->err);
    assert_true(seat >= 0);
    broker_begin(broker, seat, getpid());

    // A newer one: the worker is told, and what it makes of the older one is nobody's.
    want(id, -1);
    CLEANUP(kb_freep) char *old = take(t, line, -1);
    want(newer, 0.5);
    json_decref(hear(line, "cancel"));
    say(line, "{\"is\":\"failed\",\"code\":2,\"why\":\"cancelled\"}");
    CLEANUP(kb_freep) char *next = take(t, line, 0.5);
    assert_false(previews_look(p, id, &look));
    CLEANUP(kb_freep) char *still = kb_printf("%s.jpg", next);
    assert_ok(t->err, file_write_atomic(still, "jpeg", 4, &t->err));
    say(line, DONE);
    WAIT(state_of(p, newer) == PREVIEW_DONE);
    assert_true(has_file(t, newer, ".jpg"));
    previews_drop(p, newer);
    WAIT(!has_file(t, newer, ".jpg"));

    // It dies.
    want(id, -1);
    free(take(t, line, -1));
    close(line);
    broker_end(broker, seat, "the worker crashed", false);
    WAIT(!broker_is_seated(broker, seat));
    assert_true(previews_look(p, id, &look));
    assert_int_equal(look.state, PREVIEW_FAILED);
    assert_non_null(strstr(look.why.text, "crashed"));
    WAIT((previews_view(p, &view), !view.there && !view.making));
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE state = 'queued'"), 1);
    assert_int_equal(ask(t, "SELECT count(*) FROM worker"), 0);
}

// --- a real one

static void make(struct queue_test *t, struct previews *p, const char *audio, const char *video,
                 const char *options, double at, char ret_id[33])
{
    struct preview_order o = {.seconds = 1, .at = at};
    const struct batch_params pair = {
        .audio = audio, .videos = &video, .n_videos = 1, .options = options};
    struct preview_look look;
    assert_ok(t->err, look_claim(t->s, &pair, &o.claim, &t->err));
    assert_ok(t->err, previews_ask(p, &o, "c", "v", ret_id, &t->err));
    WAIT(previews_look(p, ret_id, &look) && look.state >= PREVIEW_DONE);
    if (look.state != PREVIEW_DONE)
        fail_msg("%s", look.why.text);
}

// Of two pictures in the folder of previews: how far apart they are.
static double pictures_apart(struct queue_test *t, const char *a, const char *b)
{
    struct kb_error err = {0};
    const char *ids[] = {a, b};
    AVFrame *frames[2] = {0};
    for (int i = 0; i < 2; i++) {
        CLEANUP(reader_close) struct reader *r = NULL;
        CLEANUP(kb_freep) char *path = data_path(t, PREVIEWS_FOLDER "/%s.jpg", ids[i]);
        assert_ok(err, reader_open(&r, path, NULL, &err));
        assert_ok(err, reader_next(r, &frames[i], &err));
    }
    double sum = 0;
    for (int y = 0; y < frames[0]->height; y++)
        for (int x = 0; x < frames[0]->width; x++)
            sum += abs(frames[0]->data[0][y * frames[0]->linesize[0] + x] -
                       frames[1]->data[0][y * frames[1]->linesize[0] + x]);
    sum /= frames[0]->width * frames[0]->height;
    av_frame_free(&frames[0]);
    av_frame_free(&frames[1]);
    return sum;
}

static void test_a_real_one(void **state)
{
    struct queue_test *t = *state;
    struct supervisor *s = NULL;
    char film[33], still[33], same[33], other[33], video[33], audio[33];
    snprintf(audio, sizeof(audio), "%s", upload(t, "speech.mpg", clip_path("grid_brbk7n.mpg")));
    snprintf(video, sizeof(video), "%s", upload(t, "人.jpg", source_path(PHOTO)));
    const struct supervisor_params sp = {.data = t->folder,
                                         .program = getenv("KOUBO_PROGRAM"),
                                         .no_generators = true,
                                         .no_inspector = true,
                                         .previews = true};
    assert_ok(t->err, supervisor_start(&s, &sp, &t->err));
    struct previews *p = supervisor_previews(s);
    make(t, p, audio, video, "{\"height\":240}", -1, film);
    CLEANUP(kb_freep) char *path = data_path(t, PREVIEWS_FOLDER "/%s.mp4", film);
    CLEANUP(reader_close) struct reader *r = NULL;
    assert_ok(t->err, reader_open(&r, path, NULL, &t->err));
    assert_int_equal(reader_info(r)->height, 240);
    if (llabs(reader_info(r)->duration_us - 1000000) > 50000)
        fail_msg("%lld us long", (long long)reader_info(r)->duration_us);
    // A still picture opens its mouth as far as it is told.
    make(t, p, audio, video, "{\"height\":240,\"still_motion\":0}", 0.3, still);
    make(t, p, audio, video, "{\"height\":240,\"still_motion\":0}", 0.3, same);
    make(t, p, audio, video, "{\"height\":240,\"still_motion\":0,\"mouth_amount\":3}", 0.3, other);
    double nothing = pictures_apart(t, still, same);
    assert_true(nothing == 0);
    double apart = pictures_apart(t, still, other);
    if (!(apart > 0.02))
        fail_msg("another setting: %.3f levels", apart);
    struct batch_params gone = {.audio = audio,
                                .videos = (const char *[]){"ffffffffffffffffffffffffffffffff"}};
    struct job_claim claim = {0};
    assert_int_equal(look_claim(t->s, &gone, &claim, &t->err), KB_NOT_FOUND);
    supervisor_stop(&s);
    assert_int_equal(count_files(t, PREVIEWS_FOLDER), 0);
}

static int caged_setup(void **state)
{
    setenv("ASAN_OPTIONS", "detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0", 1);
    return folder_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_of_a_viewer),
        cmocka_unit_test(test_nobodys_place),
        cmocka_unit_test(test_limits),
        cmocka_unit_test_setup_teardown(test_the_broker, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(test_a_real_one, queue_setup, queue_teardown),
    };
    return cmocka_run_group_tests_name("worker/previews", tests, caged_setup, folder_teardown);
}
