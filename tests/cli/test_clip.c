// A clip that can be published, made of a text alone by one command: voice, lips, subtitles in the
// picture, as a stream and as an .srt, the AI label, 9:16 and a logo. What comes out is looked at.
#include "tests/cli/program.h"

#include "base/file.h"
#include "media/aigc.h"
#include "media/audio.h"
#include "media/extras.h"
#include "media/reader.h"
#include "media/subtitle_file.h"

#include <math.h>

#define RATE       16000
#define MAX_FRAMES 400

// What was made, and the same film without anything drawn over it.
static struct clip {
    int width, height, n;
    AVFrame *frames[MAX_FRAMES], *plain;
    struct subtitle_file srt;
    float *samples;
    int n_samples;
} clip;

static void make(const char *text, const char *output, const char *const *more)
{
    // Of one picture: what moves was moved.
    const char *arguments[40] = {
        "generate", "--lang",  "zh",     "-q",      "--text", text, "--voice",
        "zh",       "--speed", "1.3",    "--pause", "1.2",    "-i", clip_path("still_speaks.mp4"),
        "-o",       output,    "--crop", "9:16"};
    int n = 18;
    while (*more)
        arguments[n++] = *more++;
    struct outcome r = {0};
    program_run(&r, arguments);
    assert_status(&r, 0);
    free(r.out);
    free(r.err);
}

static void read_frames(const char *path, AVFrame **ret, int most, int *ret_n)
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *r = NULL;
    assert_ok(err, reader_open(&r, path, &(struct reader_params){0}, &err));
    enum kb_code code = KB_OK;
    for (*ret_n = 0; *ret_n < most; ++*ret_n)
        if ((code = reader_next(r, &ret[*ret_n], &err)) != KB_OK)
            break;
    assert_true(*ret_n > 0 && (code == KB_OK || code == KB_EOF));
}

static int make_clip(void **state)
{
    if (folder_setup(state) != 0)
        return -1;
    static const char *const drawn[] = {
        "--subtitles", "text", "--subtitles-as", "burn,stream,srt", "--logo", NULL, NULL};
    static const char *const plain[] = {"--ai-label", "off", "--duration", "0.1", NULL};
    const char *more[ARRAY_LEN(drawn)];
    memcpy(more, drawn, sizeof(more));
    more[5] = make_faceless_video("logo.mp4", 1); // dark grey
    make("大家好。现在开始上课。", in_folder("clip.mp4"), more);
    make("好。", in_folder("plain.mp4"), plain);

    struct kb_error err = {0};
    int one;
    read_frames(in_folder("clip.mp4"), clip.frames, MAX_FRAMES, &clip.n);
    read_frames(in_folder("plain.mp4"), &clip.plain, 1, &one);
    clip.width = clip.frames[0]->width;
    clip.height = clip.frames[0]->height;
    assert_int_equal(clip.plain->width, clip.width);
    assert_int_equal(clip.plain->height, clip.height);
    assert_ok(err, subtitle_file_read(&clip.srt, in_folder("clip.srt"), &err));
    assert_nothing_half_done();
    return 0;
}

static int drop_clip(void **state)
{
    for (int i = 0; i < clip.n; i++)
        av_frame_free(&clip.frames[i]);
    av_frame_free(&clip.plain);
    subtitle_file_clear(&clip.srt);
    free(clip.samples);
    return folder_teardown(state);
}

// --- looking

// A part of the picture, in per cent of its sides.
struct part {
    int left, top, right, bottom;
};
static const struct part above_left = {3, 1, 46, 9}, above_right = {76, 1, 97, 9},
                         above = {48, 1, 68, 9}, mouth = {36, 75, 64, 83}, eyes = {25, 52, 75, 60},
                         below = {10, 84, 90, 93}, sides = {10, 66, 25, 83};

struct seen {
    double mean; // of the differences of luma
    int n_drawn; // whose luma is quite another
    int n;
};

static struct seen compare(const AVFrame *a, const AVFrame *b, struct part p)
{
    struct seen s = {0};
    for (int y = p.top * clip.height / 100; y < p.bottom * clip.height / 100; y++)
        for (int x = p.left * clip.width / 100; x < p.right * clip.width / 100; x++) {
            int by = a->data[0][y * a->linesize[0] + x] - b->data[0][y * b->linesize[0] + x];
            s.mean += abs(by);
            s.n_drawn += abs(by) > 40;
            s.n++;
        }
    s.mean /= s.n;
    return s;
}

static const AVFrame *frame_at(int64_t us)
{
    int i = 0;
    while (i + 1 < clip.n && clip.frames[i + 1]->pts <= us)
        i++;
    return clip.frames[i];
}

// The time between the two subtitles.
static int64_t silence_us(void)
{
    return (clip.srt.track.at[0].end_us + clip.srt.track.at[1].start_us) / 2;
}

// --- tests

static void upright_and_as_long_as_the_speech(void **state)
{
    assert_int_equal(clip.width * 16, clip.height * 9); // 162 x 288
    const struct subtitle_track *t = &clip.srt.track;
    assert_int_equal(t->n, 2);
    int64_t last_us = clip.frames[clip.n - 1]->pts;
    assert_true(last_us > t->at[1].start_us + 500000);
    assert_true(last_us < t->at[1].end_us + 1000000);
}

// In all frames, whatever else is going on.
static void label_and_logo_in_their_corners(void **state)
{
    for (int i = 0; i < clip.n; i++) {
        const AVFrame *f = clip.frames[i];
        struct seen label = compare(f, clip.plain, above_left);
        struct seen logo = compare(f, clip.plain, above_right);
        struct seen between = compare(f, clip.plain, above);
        if (label.n_drawn < label.n / 25 || logo.mean < 25 || between.mean > 4)
            fail_msg("frame %d: label %d of %d, logo %g, between them %g", i, label.n_drawn,
                     label.n, logo.mean, between.mean);
    }
    // Its grey is where its middle is.
    const AVFrame *f = clip.frames[clip.n / 2];
    int x = clip.width * 90 / 100, y = clip.height * 5 / 100;
    assert_in_range(f->data[0][y * f->linesize[0] + x], 30, 52);
    assert_in_range(f->data[1][y / 2 * f->linesize[1] + x / 2], 120, 136);
    assert_in_range(f->data[2][y / 2 * f->linesize[2] + x / 2], 120, 136);
}

// Below the mouth, and only while it is said.
static void subtitles_are_seen_while_they_are_said(void **state)
{
    const struct subtitle_track *t = &clip.srt.track;
    int shown[2] = {0}, hidden = 0;
    for (int i = 0; i < clip.n; i++) {
        const AVFrame *f = clip.frames[i];
        int which = -1;
        bool edge = false;
        for (int k = 0; k < 2; k++) {
            edge |= llabs(f->pts - t->at[k].start_us) < 50000;
            edge |= llabs(f->pts - t->at[k].end_us) < 50000;
            if (f->pts >= t->at[k].start_us && f->pts < t->at[k].end_us)
                which = k;
        }
        if (edge)
            continue;
        int drawn = compare(f, clip.plain, below).n_drawn;
        if (which < 0 ? drawn > 3 : drawn < 60)
            fail_msg("frame %d, subtitle %d: %d pixels drawn", i, which, drawn);
        hidden += which < 0;
        if (which >= 0)
            shown[which] = drawn;
    }
    assert_true(hidden > 5 && shown[0] > 0 && shown[1] > shown[0] * 3 / 2); // 6 letters, 3
}

static void subtitles_in_stream_and_file(void **state)
{
    struct kb_error err = {0};
    CLEANUP(extras_clear) struct extras e = {0};
    assert_ok(err, extras_read(&e, in_folder("clip.mp4"), 0, NULL, &err));
    assert_int_equal(e.n_tracks, 1);
    assert_string_equal(e.tracks[0].language, "chi");
    const struct subtitle_track *file = &clip.srt.track, *stream = &e.tracks[0];
    static const char *const texts[] = {"大家好", "现在开始上课"};
    assert_int_equal(file->n, 2);
    assert_int_equal(stream->n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(file->at[i].text, texts[i]);
        assert_string_equal(stream->at[i].text, texts[i]);
        assert_true(llabs(file->at[i].start_us - stream->at[i].start_us) < 20000);
        assert_true(llabs(file->at[i].end_us - stream->at[i].end_us) < 20000);
    }
    assert_true(file->at[0].start_us < 200000);
    assert_true(file->at[1].start_us - file->at[0].end_us > 300000); // the pause
}

static double loudness(int64_t from_us, int64_t to_us)
{
    double sum = 0;
    int from = (int)(from_us * RATE / 1000000);
    int to = KB_MIN((int)(to_us * RATE / 1000000), clip.n_samples);
    assert_true(from < to);
    for (int i = from; i < to; i++)
        sum += (double)clip.samples[i] * (double)clip.samples[i];
    return sqrt(sum / (to - from));
}

// The voice is heard when the subtitles say so, and the mouth moves to it.
static void voice_and_mouth_go_with_the_subtitles(void **state)
{
    struct kb_error err = {0};
    CLEANUP(audio_close) struct audio_reader *a = NULL;
    const int capacity = MAX_FRAMES * RATE / 25;
    int n;
    clip.samples = kb_alloc((size_t)capacity * sizeof(float));
    assert_ok(err, audio_open(&a, in_folder("clip.mp4"), &(struct audio_params){0}, &err));
    while (clip.n_samples < capacity && audio_read(a, clip.samples + clip.n_samples,
                                                   capacity - clip.n_samples, &n, &err) == KB_OK)
        clip.n_samples += n;

    const int64_t at = silence_us();
    const AVFrame *quiet = frame_at(at);
    assert_true(loudness(at - 100000, at + 100000) < 0.003);
    for (int k = 0; k < 2; k++) {
        const struct subtitle *s = &clip.srt.track.at[k];
        double most = 0, still = 0;
        assert_true(loudness(s->start_us, s->start_us + 700000) > 0.02);
        for (int64_t us = s->start_us + 80000; us < s->end_us; us += 40000) {
            most = KB_MAX(most, compare(frame_at(us), quiet, mouth).mean);
            still = KB_MAX(still, compare(frame_at(us), quiet, eyes).mean);
            still = KB_MAX(still, compare(frame_at(us), quiet, sides).mean);
        }
        if (most < 5 || still > most / 3)
            fail_msg("the mouth changes by %g, what is around it by %g", most, still);
    }
}

static void says_that_ai_made_it(void **state)
{
    struct kb_error err = {0};
    CLEANUP(aigc_tags_clear) struct aigc_tags tags = {0};
    CLEANUP(aigc_clear) struct aigc label = {0};
    assert_ok(err, aigc_read(in_folder("clip.mp4"), NULL, &tags, &err));
    assert_non_null(tags.aigc);
    assert_true(aigc_parse(tags.aigc, &label));
    assert_string_equal(label.value[AIGC_LABEL], "1");
    assert_string_equal(label.value[AIGC_CONTENT_PRODUCER], "koubo");
    assert_int_equal(strlen(label.value[AIGC_PRODUCE_ID]), 32);
    assert_string_equal(tags.mark, "corner AI生成");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upright_and_as_long_as_the_speech),
        cmocka_unit_test(label_and_logo_in_their_corners),
        cmocka_unit_test(subtitles_are_seen_while_they_are_said),
        cmocka_unit_test(subtitles_in_stream_and_file),
        cmocka_unit_test(voice_and_mouth_go_with_the_subtitles),
        cmocka_unit_test(says_that_ai_made_it),
    };
    return cmocka_run_group_tests_name("cli/clip", tests, make_clip, drop_clip);
}
