// The order in which frames are shown, for every loop mode, on a video whose frames tell their
// number by their brightness.
#include "tests/test.h"

#include <stdlib.h>
#include <unistd.h>

#include "face/track_internal.h"
#include "lipsync/timeline.h"
#include "media/writer.h"

#define N_FRAMES 20
#define STEP_US  40000

static char video[4096];
static struct track *track;

static int make_video(void **state)
{
    struct kb_error err = {0};
    char folder[] = "/tmp/koubo-source-XXXXXX";
    if (!mkdtemp(folder))
        return -1;
    snprintf(video, sizeof(video), "%s/numbers.mp4", folder);
    struct writer *w = NULL;
    struct writer_params wp = {.width = 64,
                               .height = 48,
                               .frame_rate = {25, 1},
                               .crf = 10,
                               .preset = "ultrafast",
                               .threads = 1};
    assert_ok(err, writer_open(&w, video, &wp, &err));
    for (int k = 0; k < N_FRAMES; k++) {
        AVFrame *f = av_frame_alloc();
        f->format = AV_PIX_FMT_YUV420P;
        f->width = 64;
        f->height = 48;
        assert_int_equal(av_frame_get_buffer(f, 0), 0);
        memset(f->data[0], 20 + 10 * k, (size_t)f->linesize[0] * 48);
        memset(f->data[1], 128, (size_t)f->linesize[1] * 24);
        memset(f->data[2], 128, (size_t)f->linesize[2] * 24);
        f->pts = k * STEP_US;
        FRAME_DURATION(f) = STEP_US;
        assert_ok(err, writer_put(w, f, &err));
        av_frame_free(&f);
    }
    assert_ok(err, writer_finish(w, &err));
    writer_close(&w);

    struct face_models *models = NULL;
    assert_ok(err, face_models_load(&models, &err));
    assert_ok(err, track_make(&track, video, models, &(struct track_params){0}, &err));
    face_models_free(&models);
    assert_int_equal(track_info(track)->n_frames, N_FRAMES);
    assert_int_equal(track_info(track)->n_faces, 0);
    return 0;
}

static int remove_video(void **state)
{
    track_free(&track);
    unlink(video);
    *strrchr(video, '/') = '\0';
    rmdir(video);
    return 0;
}

// Play and compare with the expected numbers (-1 ends the list); times must follow without gaps.
static void play(enum loop_mode loop, int64_t start_us, int64_t length_us, const int *expected)
{
    struct kb_error err = {0};
    struct reader *r = NULL;
    assert_ok(err, reader_open(&r, video, NULL, &err));
    struct timeline_params sp = {r, track, loop, start_us, length_us};
    struct timeline *s = timeline_create(&sp);
    int n = 0;
    for (;; n++) {
        struct shown_frame f = {0};
        enum kb_code code = timeline_next(s, &f, &err);
        if (code == KB_EOF)
            break;
        assert_int_equal(code, KB_OK);
        int luma = f.frame->data[0][20 * f.frame->linesize[0] + 30];
        assert_int_equal((luma - 20 + 5) / 10, expected[n]);
        assert_int_equal(f.track_frame, expected[n]);
        assert_int_equal(f.pts_us, (int64_t)n * STEP_US);
        assert_int_equal(f.duration_us, STEP_US);
        av_frame_free(&f.frame);
    }
    assert_int_equal(expected[n], -1);
    timeline_free(&s);
    reader_close(&r);
}

static void test_speech_shorter_than_video(void **state)
{
    play(LOOP_PINGPONG, 0, 3 * STEP_US, (const int[]){0, 1, 2, -1});
}

static void test_start(void **state)
{
    play(LOOP_PINGPONG, 7 * STEP_US + 100, 3 * STEP_US, (const int[]){7, 8, 9, -1});
    play(LOOP_RESTART, 17 * STEP_US, 7 * STEP_US, (const int[]){17, 18, 19, 17, 18, 19, 17, -1});
}

static void test_pingpong(void **state)
{
    int expected[4 * 19 + 6 + 1], n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < N_FRAMES; k++)
            expected[n++] = k;
        for (int k = N_FRAMES - 2; k > 0; k--)
            expected[n++] = k;
    }
    for (int k = 0; k < 6; k++)
        expected[n++] = k;
    expected[n] = -1;
    play(LOOP_PINGPONG, 0, (int64_t)n * STEP_US, expected);
    play(LOOP_PINGPONG, 17 * STEP_US, 7 * STEP_US, (const int[]){17, 18, 19, 18, 17, 18, 19, -1});
}

static void test_restart_freeze_none(void **state)
{
    int expected[N_FRAMES + 4];
    for (int mode = LOOP_RESTART; mode <= LOOP_NONE; mode++) {
        int n = 0;
        for (; n < N_FRAMES; n++)
            expected[n] = n;
        for (int k = 0; k < 3 && mode != LOOP_NONE; k++)
            expected[n++] = mode == LOOP_RESTART ? k : N_FRAMES - 1;
        expected[n] = -1;
        play((enum loop_mode)mode, 0, (N_FRAMES + 3) * STEP_US, expected);
    }
}

// Frames that follow each other within a microsecond would be planned by the thousand million.
static void test_too_many_frames(void **state)
{
    struct kb_error err = {0};
    struct reader *r = NULL;
    struct planned_frame *plan = NULL;
    int n = -1;
    assert_ok(err, reader_open(&r, video, NULL, &err));
    int64_t pts[N_FRAMES], *own = track->pts;
    for (int i = 0; i < N_FRAMES; i++)
        pts[i] = i;
    struct timeline_params sp = {r, track, LOOP_RESTART, 0, 3600000000};
    track->pts = pts;
    enum kb_code code = timeline_plan(&sp, &plan, &n, &err);
    track->pts = own;
    assert_int_equal(code, KB_BAD_INPUT);
    assert_non_null(strstr(err.text, "frame rate"));
    assert_true(n == -1 && !plan);
    assert_ok(err, timeline_plan(&sp, &plan, &n, &err));
    assert_int_equal(n, 90000);
    free(plan);
    reader_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speech_shorter_than_video),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_pingpong),
        cmocka_unit_test(test_restart_freeze_none),
        cmocka_unit_test(test_too_many_frames),
    };
    return cmocka_run_group_tests(tests, make_video, remove_video);
}
