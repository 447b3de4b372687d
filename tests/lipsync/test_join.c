// Films before and after a dub: how many frames, when, in which shape and colours, and their sound.
#include "tests/media/make.h"

#include "lipsync/join.h"
#include "lipsync/wrap.h"
#include "media/audio.h"

#include <math.h>

#define W    160
#define H    120
#define RATE 16000

static struct finish_picture picture(void)
{
    return (struct finish_picture){.width = W,
                                   .height = H,
                                   .frame_rate = {30, 1},
                                   .sample_aspect = {1, 1},
                                   .range = AVCOL_RANGE_MPEG,
                                   .space = AVCOL_SPC_BT709};
}

static struct join *open_join(const char *path)
{
    struct kb_error err = {0};
    struct join *j = NULL;
    const struct join_params p = {.path = path, .frame_rate = {30, 1}, .threads = 1};
    assert_ok(err, join_open(&j, &p, &err));
    return j;
}

// What comes of one, alone in a file.
static const char *play(struct join *j, struct finish_picture to)
{
    struct kb_error err = {0};
    CLEANUP(writer_close) struct writer *w = NULL;
    const char *path = make_path("joined.mp4");
    const struct writer_params wp = {.width = to.width,
                                     .height = to.height,
                                     .frame_rate = to.frame_rate,
                                     .space = to.space,
                                     .range = to.range,
                                     .preset = "ultrafast"};
    assert_ok(err, writer_open(&w, path, &wp, &err));
    const struct join_place place = {.part = PART_INTRO, .picture = to, .writer = w};
    assert_ok(err, join_play(j, &place, &err));
    assert_ok(err, writer_finish(w, &err));
    return path;
}

// Y, U, V at a place of the n-th frame; all frames are counted and timed.
static int look(const char *path, int n, double x, double y, int ret[3])
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *r = NULL;
    assert_ok(err, reader_open(&r, path, NULL, &err));
    assert_int_equal(reader_info(r)->width, W);
    assert_int_equal(reader_info(r)->height, H);
    int frames = 0;
    for (;; frames++) {
        CLEANUP(av_frame_free) AVFrame *f = NULL;
        enum kb_code code = reader_next(r, &f, &err);
        if (code != KB_OK) {
            assert_int_equal(code, KB_EOF);
            return frames;
        }
        assert_true(llabs(f->pts - frames * INT64_C(1000000) / 30) < 200);
        for (int p = 0; p < 3 && frames == n; p++) {
            int half = p > 0;
            ret[p] = f->data[p][(int)(y * (H >> half)) * f->linesize[p] + (int)(x * (W >> half))];
        }
    }
}

static void near(const int yuv[3], int y, int u, int v)
{
    if (abs(yuv[0] - y) > 4 || abs(yuv[1] - u) > 4 || abs(yuv[2] - v) > 4)
        fail_msg("%d %d %d, wanted %d %d %d", yuv[0], yuv[1], yuv[2], y, u, v);
}

// 1 s at 25 frames a second, red and then, for the last 0.2 s, blue, twice as wide as high, in
// BT.601; a tone in its last 0.2 s.
static const char *make_intro(void)
{
    return make_file("intro.mp4",
                     "-f lavfi -i color=red:s=240x120:r=25:d=0.8 -f lavfi -i "
                     "color=blue:s=240x120:r=25:d=0.2 -f lavfi -i "
                     "aevalsrc=0.5*sin(2*PI*1000*t)*gte(t\\,0.8):d=1 -filter_complex "
                     "[0][1]concat,scale=out_color_matrix=smpte170m,format=yuv420p -colorspace "
                     "smpte170m -c:v libx264 -preset ultrafast -crf 10 -c:a aac");
}

static void test_in_the_shape_rate_and_colours_of_the_dub(void **state)
{
    int yuv[3];
    CLEANUP(join_close) struct join *j = open_join(make_intro());
    assert_int_equal(join_frames(j), 30);
    assert_int_equal(join_length_us(j), 1000000);
    assert_true(join_has_sound(j));
    const char *made = play(j, picture());
    // Red of BT.709 in the middle, a darker red in the bars; blue begins with the 24th frame.
    assert_int_equal(look(made, 2, 0.5, 0.5, yuv), 30);
    near(yuv, 63, 102, 240);
    look(made, 22, 0.5, 0.5, yuv);
    near(yuv, 63, 102, 240);
    look(made, 25, 0.5, 0.5, yuv);
    near(yuv, 32, 240, 118);
    look(made, 2, 0.5, 0.04, yuv);
    near(yuv, 44, 102, 240);
    look(made, 2, 0.5, 0.97, yuv);
    near(yuv, 44, 102, 240);
}

static void test_a_picture_stands_for_three_seconds(void **state)
{
    int yuv[3];
    const char *path = make_file("still.png", "-f lavfi -i color=white:s=320x240 -frames:v 1");
    CLEANUP(join_close) struct join *j = open_join(path);
    assert_int_equal(join_frames(j), 90);
    assert_false(join_has_sound(j));
    assert_int_equal(look(play(j, picture()), 80, 0.02, 0.02, yuv), 90);
    near(yuv, 235, 128, 128);
}

static void test_what_is_no_film(void **state)
{
    struct kb_error err = {0};
    struct join *j = NULL;
    struct join_params p = {.path = "/nowhere", .frame_rate = {30, 1}, .threads = 1};
    assert_fails(err, KB_NOT_FOUND, "/nowhere", join_open(&j, &p, &err));
    p.path = make_file("sound.wav", "-f lavfi -i sine=d=0.2");
    assert_fails(err, KB_BAD_INPUT, "sound.wav", join_open(&j, &p, &err));
    assert_null(j);
}

// The speech's click and the outro's tone come where the pictures before them end.
static void test_sound_is_where_its_pictures_are(void **state)
{
    struct kb_error err = {0};
    struct dub_params dp = dub_defaults();
    dp.intro = dp.outro = make_intro();
    dp.audio = make_file("speech.wav", "-f lavfi -i aevalsrc=0.6*between(t\\,0.5\\,0.51):d=1.5");
    struct wrap w = {.before_us = 1000000, .dub_us = 1500000, .output_us = 3500000, .mixed = true};
    w.intro = open_join(dp.intro);
    w.outro = open_join(dp.outro);
    wrap_plan_mix(&w, &dp, NULL, 1500000);
    CLEANUP(writer_close) struct writer *writer = NULL;
    const char *path = make_path("whole.mp4");
    const struct writer_params wp = {.width = W,
                                     .height = H,
                                     .frame_rate = {30, 1},
                                     .preset = "ultrafast",
                                     .mix = &w.mix,
                                     .max_duration_us = w.output_us};
    assert_ok(err, writer_open(&writer, path, &wp, &err));
    const struct finish_picture to = picture();
    int64_t frames = 0;
    assert_ok(err, wrap_play(&w, PART_INTRO, &to, NULL, writer, &frames, &err));
    assert_ok(err, wrap_play(&w, PART_OUTRO, &to, NULL, writer, &frames, &err));
    assert_int_equal(frames, 60);
    assert_ok(err, writer_finish(writer, &err));
    wrap_clear(&w);

    CLEANUP(audio_close) struct audio_reader *a = NULL;
    static float samples[5 * RATE];
    int n = 0, got;
    assert_ok(err, audio_open(&a, path, NULL, &err));
    while (n < 4 * RATE && audio_read(a, samples + n, 4096, &got, &err) == KB_OK)
        n += got;
    if (abs(n - 35 * RATE / 10) > RATE / 40) // AAC has whole frames
        fail_msg("%d samples", n);
    // Where it begins to be loud: the intro's tone, the click, the outro's tone.
    static const double wanted[] = {0.8, 1.5, 3.3};
    int found = 0, quiet = RATE;
    for (int i = 0; i < n; i++) {
        bool loud = fabsf(samples[i]) > 0.15f;
        if (loud && quiet > RATE / 10) {
            assert_true(found < 3);
            if (fabs((double)i / RATE - wanted[found]) > 0.02)
                fail_msg("at %.3f s, wanted %.3f", (double)i / RATE, wanted[found]);
            found++;
        }
        quiet = loud ? 0 : quiet + 1;
    }
    assert_int_equal(found, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_the_shape_rate_and_colours_of_the_dub),
        cmocka_unit_test(test_a_picture_stands_for_three_seconds),
        cmocka_unit_test(test_what_is_no_film),
        cmocka_unit_test(test_sound_is_where_its_pictures_are),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
