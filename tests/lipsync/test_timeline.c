// The order in which frames are shown, for every loop mode, on a video whose frames tell their
// number by their brightness.
#include "tests/test.h"

#include <stdlib.h>
#include <unistd.h>

#include "face/track_internal.h"
#include "lipsync/subtitles.h"
#include "media/writer.h"

#define N_FRAMES 20
#define STEP_US  40000

static char folder[] = "/tmp/koubo-source-XXXXXX";
static char video[4096], slides[4096];
static struct track *track, *slides_track;

// What is shown for long, and what only a little longer than at 25 a second.
static const int64_t slides_us[] = {40000, 2000000, 41708, 100000, 40000, 66667, 1500000};
#define N_SLIDES ((int)ARRAY_LEN(slides_us))

static void make_film(const char *path, int n, const int64_t *durations_us, struct track **ret,
                      struct face_models *models)
{
    struct kb_error err = {0};
    struct writer *w = NULL;
    struct writer_params wp = {.width = 64,
                               .height = 48,
                               .frame_rate = {25, 1},
                               .crf = 10,
                               .preset = "ultrafast",
                               .threads = 1};
    int64_t pts = 0;
    assert_ok(err, writer_open(&w, path, &wp, &err));
    for (int k = 0; k < n; k++) {
        AVFrame *f = av_frame_alloc();
        f->format = AV_PIX_FMT_YUV420P;
        f->width = 64;
        f->height = 48;
        assert_int_equal(av_frame_get_buffer(f, 0), 0);
        memset(f->data[0], 20 + 10 * k, (size_t)f->linesize[0] * 48);
        memset(f->data[1], 128, (size_t)f->linesize[1] * 24);
        memset(f->data[2], 128, (size_t)f->linesize[2] * 24);
        f->pts = pts;
        FRAME_DURATION(f) = durations_us ? durations_us[k] : STEP_US;
        pts += FRAME_DURATION(f);
        assert_ok(err, writer_put(w, f, &err));
        av_frame_free(&f);
    }
    assert_ok(err, writer_finish(w, &err));
    writer_close(&w);
    assert_ok(err, track_make(ret, path, models, &(struct track_params){0}, &err));
    assert_int_equal(track_info(*ret)->n_frames, n);
    assert_int_equal(track_info(*ret)->n_faces, 0);
}

static int make_videos(void **state)
{
    struct kb_error err = {0};
    struct face_models *models = NULL;
    if (!mkdtemp(folder))
        return -1;
    snprintf(video, sizeof(video), "%s/numbers.mp4", folder);
    snprintf(slides, sizeof(slides), "%s/slides.mp4", folder);
    assert_ok(err, face_models_load(&models, &err));
    make_film(video, N_FRAMES, NULL, &track, models);
    make_film(slides, N_SLIDES, slides_us, &slides_track, models);
    face_models_free(&models);
    return 0;
}

static int remove_videos(void **state)
{
    track_free(&track);
    track_free(&slides_track);
    unlink(video);
    unlink(slides);
    rmdir(folder);
    return 0;
}

// Play and compare with the expected numbers (-1 ends the list); times must follow without gaps.
static void play(enum loop_mode loop, int64_t start_us, int64_t length_us, const int *expected)
{
    struct kb_error err = {0};
    struct reader *r = NULL;
    assert_ok(err, reader_open(&r, video, NULL, &err));
    struct timeline_params sp = {r, track, loop, start_us, length_us, 0, 0};
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

// Each of them from the middle on: what is passed over is missing, and nothing else.
static void test_from(void **state)
{
    static const struct {
        enum loop_mode loop;
        int64_t start_us;
    } cases[] = {{LOOP_PINGPONG, 0},
                 {LOOP_RESTART, 17 * STEP_US},
                 {LOOP_FREEZE, 7 * STEP_US},
                 {LOOP_NONE, 0}};
    enum { LENGTH = 3 * N_FRAMES };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++)
        for (int from = 0; from < LENGTH; from += 7) {
            struct kb_error err = {0};
            CLEANUP(reader_close) struct reader *r = NULL;
            CLEANUP(kb_freep) struct planned_frame *plan = NULL;
            int n;
            assert_ok(err, reader_open(&r, video, NULL, &err));
            struct timeline_params sp = {.reader = r,
                                         .track = track,
                                         .loop = cases[c].loop,
                                         .start_us = cases[c].start_us,
                                         .length_us = LENGTH * STEP_US};
            assert_ok(err, timeline_plan(&sp, &plan, &n, &err));
            sp.from_us = from * STEP_US + STEP_US / 3;
            int64_t shown = timeline_shown_us(&sp, sp.from_us);
            assert_int_equal(shown, KB_MIN(from, n - 1) * STEP_US);
            assert_int_equal(timeline_count(&sp), KB_MAX(n - from, 0));
            struct timeline *s = timeline_create(&sp);
            struct shown_frame f = {0};
            int k = from;
            for (; timeline_next(s, &f, &err) == KB_OK; k++) {
                assert_int_equal(f.number, k);
                assert_int_equal(f.pts_us, plan[k].pts_us);
                assert_int_equal(f.track_frame, plan[k].track_frame);
                int luma = f.frame->data[0][20 * f.frame->linesize[0] + 30];
                assert_int_equal((luma - 20 + 5) / 10, f.track_frame);
                av_frame_free(&f.frame);
            }
            assert_int_equal(KB_MAX(k, n), KB_MAX(n, from));
            timeline_free(&s);
        }
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
    struct timeline_params sp = {r, track, LOOP_RESTART, 0, 3600000000, 0, 0};
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

static int luma_of(const struct shown_frame *f)
{
    return (f->frame->data[0][20 * f->frame->linesize[0] + 30] - 20 + 5) / 10;
}

// A picture that is shown for long is given in pieces, in whatever way the film is gone through;
// the plan says the same as what is shown, and nothing of the time is lost.
static void test_pieces(void **state)
{
    static const struct {
        enum loop_mode loop;
        int64_t start_us, length_us;
    } cases[] = {{LOOP_PINGPONG, 0, 1000000},
                 {LOOP_PINGPONG, 0, 12000000},
                 {LOOP_RESTART, 0, 9000000},
                 {LOOP_FREEZE, 0, 7000000},
                 {LOOP_NONE, 0, 7000000},
                 {LOOP_RESTART, 2500000, 6000000},
                 {LOOP_PINGPONG, 2100000, 12345678},
                 {LOOP_PINGPONG, 3700000, 4000000}};
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct kb_error err = {0};
        struct reader *r = NULL;
        struct planned_frame *plan = NULL;
        int n_planned, n = 0;
        assert_ok(err, reader_open(&r, slides, NULL, &err));
        struct timeline_params sp = {
            r, slides_track, cases[c].loop, cases[c].start_us, cases[c].length_us, 0, 0};
        assert_ok(err, timeline_measure(&sp, &err));
        assert_ok(err, timeline_plan(&sp, &plan, &n_planned, &err));
        assert_int_equal(timeline_count(&sp), n_planned);
        assert_ok(err, reader_restart(r, NULL, &err));
        struct timeline *s = timeline_create(&sp);
        int64_t end_us = 0, of_picture_us = 0;
        int picture = -1;
        for (;; n++) {
            struct shown_frame f = {0};
            if (timeline_next(s, &f, &err) == KB_EOF)
                break;
            assert_non_null(f.frame);
            assert_int_equal(luma_of(&f), f.track_frame);
            assert_true(n < n_planned);
            assert_int_equal(f.track_frame, plan[n].track_frame);
            assert_int_equal(f.pts_us, plan[n].pts_us);
            assert_int_equal(f.pts_us, end_us);
            assert_true(f.duration_us > 20000);
            // At most 40 ms, but for the one that is whole.
            assert_true(f.duration_us <= 40001 || (f.duration_us < 42000 && f.track_frame == 2));
            if (picture >= 0 && f.track_frame != picture && n > 1 &&
                llabs(of_picture_us % slides_us[picture]) > 2000)
                fail_msg("case %zu: picture %d is shown for %lld us", c, picture,
                         (long long)of_picture_us);
            of_picture_us = f.track_frame == picture ? of_picture_us : 0;
            picture = f.track_frame;
            of_picture_us += f.duration_us;
            end_us = f.pts_us + f.duration_us;
            av_frame_free(&f.frame);
        }
        assert_int_equal(n, n_planned);
        if (cases[c].loop != LOOP_NONE)
            assert_true(end_us >= cases[c].length_us && end_us < cases[c].length_us + 42000);
        else // as long as the film
            assert_in_range(end_us, 3788300, 3788500);
        timeline_free(&s);
        reader_close(&r);
        free(plan);
    }
}

// A start within a picture that is shown for long: only what is left of it, also when the film
// comes back to there.
static void test_start_within(void **state)
{
    static const struct {
        enum loop_mode loop;
        int64_t start_us, begin_us, length_us;
        struct {
            int picture, pieces;
        } shown[16];
    } cases[] = {
        {LOOP_NONE, 1000000, 1000000, 9000000, {{1, 26}, {2, 1}, {3, 3}, {4, 1}, {5, 2}, {6, 38}}},
        {LOOP_NONE, 1039999, 1000000, 1040000, {{1, 26}}},
        {LOOP_RESTART,
         1980000,
         1960000,
         2000000,
         {{1, 2}, {2, 1}, {3, 3}, {4, 1}, {5, 2}, {6, 38}, {1, 2}, {2, 1}, {3, 2}}},
        {LOOP_PINGPONG,
         1960000,
         1960000,
         3890000,
         {{1, 2},
          {2, 1},
          {3, 3},
          {4, 1},
          {5, 2},
          {6, 38},
          {5, 2},
          {4, 1},
          {3, 3},
          {2, 1},
          {1, 2},
          {2, 1},
          {3, 3},
          {4, 1},
          {5, 2},
          {6, 38}}},
        {LOOP_NONE, 3700000, 3669000, 9000000, {{6, 3}}}, // within the last
        {LOOP_FREEZE, 3700000, 3669000, 1600000, {{6, 41}}},
        {LOOP_NONE, 20000, 0, 100000, {{0, 1}, {1, 2}}}, // one that is whole
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct kb_error err = {0};
        struct reader *r = NULL;
        assert_ok(err, reader_open(&r, slides, NULL, &err));
        struct timeline_params sp = {
            r, slides_track, cases[c].loop, cases[c].start_us, cases[c].length_us, 0, 0};
        assert_ok(err, timeline_measure(&sp, &err));
        assert_true(llabs(timeline_begin_us(&sp) - cases[c].begin_us) < 1000);
        assert_ok(err, reader_restart(r, NULL, &err));
        struct timeline *s = timeline_create(&sp);
        int k = 0, n = 0;
        int64_t end_us = 0;
        struct shown_frame f = {0};
        while (timeline_next(s, &f, &err) == KB_OK) {
            assert_int_equal(luma_of(&f), f.track_frame);
            assert_int_equal(f.pts_us, end_us);
            end_us = f.pts_us + f.duration_us;
            if (n == cases[c].shown[k].pieces) {
                k++;
                n = 0;
            }
            if (k == 16 || f.track_frame != cases[c].shown[k].picture)
                fail_msg("case %zu: picture %d comes after %d times the one before", c,
                         f.track_frame, n);
            n++;
            av_frame_free(&f.frame);
        }
        assert_int_equal(n, cases[c].shown[k].pieces);
        assert_true(k == 15 || cases[c].shown[k + 1].pieces == 0);
        timeline_free(&s);
        reader_close(&r);
    }
}

// The last picture that the speech comes to, of a film that is longer: how long it is shown, the
// track, which ends there, does not know.
static void test_cut_track(void **state)
{
    struct kb_error err = {0};
    struct reader *r = NULL;
    int64_t covered_us = slides_track->info.covered_us;
    slides_track->info.n_frames = 2;
    slides_track->info.covered_us = 1000000;
    assert_ok(err, reader_open(&r, slides, NULL, &err));
    struct timeline_params sp = {r, slides_track, LOOP_PINGPONG, 0, 1000000, 0, 0};
    enum kb_code code = timeline_measure(&sp, &err);
    int64_t n = timeline_count(&sp);
    slides_track->info.n_frames = N_SLIDES;
    slides_track->info.covered_us = covered_us;
    assert_ok(err, code);
    assert_in_range(sp.last_us, 1999900, 2000100);
    assert_int_equal(n, 25);
    reader_close(&r);
}

static void test_rate(void **state)
{
    static const struct {
        AVRational film, shown;
    } cases[] = {{{25, 1}, {25, 1}}, {{24, 1}, {24, 1}}, {{24000, 1001}, {24000, 1001}},
                 {{60, 1}, {60, 1}}, {{10, 1}, {30, 1}}, {{15, 1}, {30, 1}},
                 {{25, 2}, {25, 1}}, {{1, 1}, {25, 1}},  {{1, 5}, {25, 1}},
                 {{0, 0}, {25, 1}}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AVRational rate = timeline_rate(cases[i].film);
        if (av_cmp_q(rate, cases[i].shown) != 0)
            fail_msg("%d/%d: %d/%d", cases[i].film.num, cases[i].film.den, rate.num, rate.den);
    }
}

// Subtitles go with their pictures: 1 is shown with the frames 2 to 4, 2 with 4 to 9 and hides it
// there, 3 before the start, 4 behind the end.
static void test_subtitles(void **state)
{
    static const struct {
        enum loop_mode loop;
        int start, length; // frames
        const char *shown; // one letter a frame
    } cases[] = {
        {LOOP_NONE, 0, 20, "3.112222222........."},
        {LOOP_NONE, 0, 7, "3.11222"},
        {LOOP_PINGPONG, 3, 17, "12222222........."},
        {LOOP_PINGPONG, 8, 26, "222.................22222."},
        {LOOP_RESTART, 9, 22, "22.........22........."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(reader_close) struct reader *r = NULL;
        CLEANUP(extras_clear) struct extras e = {.n_tracks = 2};
        assert_ok(err, reader_open(&r, video, NULL, &err));
        subtitle_add(&e.tracks[1], 4 * STEP_US, 11 * STEP_US - 9000, "2");
        subtitle_add(&e.tracks[1], 2 * STEP_US - 7000, 5 * STEP_US - 1, "1");
        subtitle_add(&e.tracks[1], -STEP_US, STEP_US / 2, "3");
        subtitle_add(&e.tracks[1], 90 * STEP_US, 91 * STEP_US, "4");
        const struct timeline_params sp = {
            r, track, cases[i].loop, cases[i].start * STEP_US, cases[i].length * STEP_US, 0, 0};
        assert_ok(err, subtitles_place(&e, &sp, &err));
        assert_int_equal(e.n_tracks, 1); // an empty one is dropped
        char shown[64] = "";
        memset(shown, '.', (size_t)cases[i].length);
        for (size_t k = 0; k < e.tracks[0].n; k++) {
            const struct subtitle *s = &e.tracks[0].at[k];
            assert_true(s->start_us < s->end_us);
            for (int64_t at = s->start_us / STEP_US; at < s->end_us / STEP_US; at++)
                shown[at] = s->text[0];
        }
        assert_string_equal(shown, cases[i].shown);
    }
}

// Within a picture that is shown for long, too: 2 is shown with its middle, 1 with its beginning
// and the picture before it, 3 with the last one.
static void test_subtitles_of_slides(void **state)
{
    static const struct {
        enum loop_mode loop;
        int64_t length_us;
        struct {
            char text;
            int64_t start_us, end_us;
        } shown[8];
    } cases[] = {
        {LOOP_NONE, 3788333, {{'1', 0, 240000}, {'2', 1000000, 1240000}, {'3', 2500000, 3000000}}},
        // The last but one picture is at 3788 … 3855 ms, the second at 4037 … 6037 ms.
        {LOOP_PINGPONG,
         6100000,
         {{'1', 0, 240000},
          {'2', 1000000, 1240000},
          {'3', 2500000, 3000000},
          {'1', 4037000, 4237000},
          {'2', 4997000, 5237000},
          {'1', 6037000, 6100000}}},
        {LOOP_FREEZE,
         5000000,
         {{'1', 0, 240000},
          {'2', 1000000, 1240000},
          {'3', 2500000, 3000000},
          {'3', 4000000, 4500000}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(reader_close) struct reader *r = NULL;
        CLEANUP(extras_clear) struct extras e = {.n_tracks = 1};
        assert_ok(err, reader_open(&r, slides, NULL, &err));
        subtitle_add(&e.tracks[0], 0, 240000, "1");
        subtitle_add(&e.tracks[0], 1000000, 1240000, "2");
        subtitle_add(&e.tracks[0], 2500000, 3000000, "3");
        struct timeline_params sp = {r, slides_track, cases[i].loop, 0, cases[i].length_us, 0, 0};
        assert_ok(err, timeline_measure(&sp, &err));
        assert_ok(err, subtitles_place(&e, &sp, &err));
        assert_int_equal(e.n_tracks, 1);
        size_t n = 0;
        for (; n < 8 && cases[i].shown[n].text; n++) {
            const struct subtitle *s = &e.tracks[0].at[n];
            assert_true(n < e.tracks[0].n);
            assert_int_equal(s->text[0], cases[i].shown[n].text);
            // Each begins and ends with a piece.
            if (llabs(s->start_us - cases[i].shown[n].start_us) > 42000 ||
                llabs(s->end_us - cases[i].shown[n].end_us) > 42000)
                fail_msg("case %zu: %s from %lld to %lld us", i, s->text, (long long)s->start_us,
                         (long long)s->end_us);
        }
        assert_int_equal(e.tracks[0].n, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speech_shorter_than_video),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_from),
        cmocka_unit_test(test_pingpong),
        cmocka_unit_test(test_restart_freeze_none),
        cmocka_unit_test(test_too_many_frames),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_start_within),
        cmocka_unit_test(test_cut_track),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_subtitles),
        cmocka_unit_test(test_subtitles_of_slides),
    };
    return cmocka_run_group_tests(tests, make_videos, remove_videos);
}
