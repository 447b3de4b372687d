#include "tests/test.h"

#include "lab/eval.h"
#include "media/reader.h"
#include "media/writer.h"

#include <math.h>
#include <unistd.h>

#define CLIP "grid_brbk7n.mpg" // 3 s, 25 frames a second, 360x288

static struct face_models *models;

static int load_models(void **state)
{
    struct kb_error err = {0};
    assert_ok(err, face_models_load(&models, &err));
    return 0;
}

static int free_models(void **state)
{
    face_models_free(&models);
    return 0;
}

// Every row drawn out over those below it, then over those above: nothing moves.
static void blur(AVFrame *frame)
{
    assert_int_equal(av_frame_make_writable(frame), 0);
    int stride = frame->linesize[0];
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 1; i < frame->height; i++) {
            int y = pass == 0 ? i : frame->height - 1 - i;
            uint8_t *row = frame->data[0] + (ptrdiff_t)y * stride;
            const uint8_t *before = pass == 0 ? row - stride : row + stride;
            for (int x = 0; x < frame->width; x++)
                row[x] = (uint8_t)((row[x] + before[x] + 1) / 2);
        }
    }
}

// The first frames of a clip again, each shown delay frames later, the first one until then; change
// (NULL: none) sees each once.
static void write_late(const char *from, const char *to, int delay, int n_frames,
                       void (*change)(AVFrame *))
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *reader = NULL;
    CLEANUP(writer_close) struct writer *writer = NULL;
    CLEANUP(av_frame_free) AVFrame *frame = NULL;
    assert_ok(err, reader_open(&reader, from, &(struct reader_params){0}, &err));
    const struct reader_info *info = reader_info(reader);
    struct writer_params wp = {.width = info->width,
                               .height = info->height,
                               .frame_rate = info->frame_rate,
                               .sample_aspect = info->sample_aspect,
                               .crf = 12};
    assert_ok(err, writer_open(&writer, to, &wp, &err));
    for (int i = 0; i < n_frames; i++) {
        if (i == 0 || i > delay) {
            av_frame_free(&frame);
            assert_ok(err, reader_next(reader, &frame, &err));
            if (change)
                change(frame);
        }
        frame->pts = i * INT64_C(40000);
        FRAME_DURATION(frame) = 40000;
        assert_ok(err, writer_put(writer, frame, &err));
    }
    assert_ok(err, writer_finish(writer, &err));
}

struct seen {
    int calls;
    int64_t last, total;
    bool back;
};

static void on_progress(void *opaque, const struct progress *p)
{
    struct seen *seen = opaque;
    seen->back |= p->done < seen->last;
    seen->last = p->done;
    seen->total = p->total;
    seen->calls++;
}

static void test_self(void **state)
{
    const char *path = clip_path(CLIP);
    struct kb_error err = {0};
    struct seen seen = {0};
    struct eval_params params = {.watch = {NULL, on_progress, &seen}};
    struct eval_result r;
    assert_ok(err, eval_run(&r, path, path, models, &params, &err));
    assert_in_range(r.frames, 70, 76);
    assert_float_equal(r.aperture_correlation, 1, 1e-6);
    assert_int_equal(r.lag_frames, 0);
    assert_float_equal(r.aperture_correlation_lag_0, 1, 1e-6);
    assert_float_equal(r.width_correlation, 1, 1e-6);
    assert_float_equal(r.width_correlation_lag_0, 1, 1e-6);
    assert_int_equal(r.width_lag_frames, 0);
    assert_float_equal(r.closure_precision, 1, 0);
    assert_float_equal(r.closure_recall, 1, 0);
    assert_float_equal(r.closure_f1, 1, 0);
    assert_float_equal(r.amplitude_ratio, 1, 1e-6);
    assert_float_equal(r.lip_landmark_distance, 0, 1e-5);
    assert_float_equal(r.jitter_ratio, 1, 1e-6);
    assert_float_equal(r.motion_smoothness, 1, 1e-6);
    assert_float_equal(r.still_jitter, 1, 1e-6);
    assert_float_equal(r.lip_sharpness, 1, 1e-6);
    assert_true(isinf(r.psnr_outside_mask));
    assert_true(seen.calls > 3 && !seen.back);
    assert_true(seen.total > 0 && seen.last == seen.total);
}

static void test_late(void **state)
{
    const char *path = clip_path(CLIP);
    static const char late[] = "test_eval_late.mp4";
    struct kb_error err = {0};
    struct eval_params params = {0};
    struct eval_result r;
    write_late(path, late, 2, 70, NULL);
    assert_ok(err, eval_run(&r, path, late, models, &params, &err));
    assert_int_equal(r.lag_frames, 2);
    assert_true(r.aperture_correlation > 0.95);
    assert_true(r.aperture_correlation_lag_0 < r.aperture_correlation - 0.1);
    assert_int_equal(r.width_lag_frames, 2);
    assert_true(r.width_correlation > 0.9);
    assert_true(r.width_correlation_lag_0 < r.width_correlation - 0.1);
    assert_true(r.closure_f1 > 0.7); // two frames late is near enough
    assert_true(r.amplitude_ratio > 0.8 && r.amplitude_ratio < 1.2);
    assert_true(r.lip_landmark_distance > 0.001 && r.lip_landmark_distance < 0.1);
    assert_true(r.psnr_outside_mask > 25 && r.psnr_outside_mask < 60);

    // The other way round it is early.
    assert_ok(err, eval_run(&r, late, path, models, &params, &err));
    assert_int_equal(r.lag_frames, -2);
    unlink(late);
}

// A blurred copy is less sharp by a plain amount, and the truth sharper than the copy by the same:
// the box is the one around the same lips.
static void test_blurred(void **state)
{
    const char *path = clip_path(CLIP);
    static const char copy[] = "test_eval_blurred.mp4";
    struct kb_error err = {0};
    struct eval_params params = {0};
    struct eval_result r;
    write_late(path, copy, 0, 30, blur);
    assert_ok(err, eval_run(&r, path, copy, models, &params, &err));
    double less = r.lip_sharpness;
    assert_true(less > 0.4 && less < 0.9);
    assert_true(r.motion_smoothness > 0.5 && r.motion_smoothness < 2);
    assert_true(r.still_jitter > 0.5 && r.still_jitter < 2);
    assert_ok(err, eval_run(&r, copy, path, models, &params, &err));
    assert_float_equal(r.lip_sharpness * less, 1, 0.1);
    unlink(copy);
}

static void test_too_short(void **state)
{
    const char *path = clip_path(CLIP);
    static const char brief[] = "test_eval_brief.mp4";
    struct kb_error err = {0};
    struct eval_params params = {0};
    struct eval_result r;
    write_late(path, brief, 0, 11, NULL);
    assert_fails(err, KB_BAD_INPUT, "11 frames", eval_run(&r, path, brief, models, &params, &err));
    unlink(brief);
}

static void test_bad_input(void **state)
{
    const char *truth = clip_path(CLIP), *other = clip_path("square_512.mp4");
    struct kb_error err = {0};
    struct eval_params params = {0};
    struct eval_result r;
    assert_fails(err, KB_NOT_FOUND, "nowhere.mp4",
                 eval_run(&r, truth, "nowhere.mp4", models, &params, &err));
    assert_fails(err, KB_BAD_INPUT, "360x288", eval_run(&r, truth, other, models, &params, &err));
}

static void cancel_at_fifty(void *opaque, const struct progress *p)
{
    if (p->done >= 50)
        cancel_request(opaque);
}

static void test_cancel(void **state)
{
    const char *path = clip_path(CLIP);
    struct kb_error err = {0};
    struct cancel cancel = {0};
    struct eval_params params = {.watch = {&cancel, cancel_at_fifty, &cancel}};
    struct eval_result r = {.frames = 7};
    assert_fails(err, KB_CANCELLED, "", eval_run(&r, path, path, models, &params, &err));
    assert_int_equal(r.frames, 7); // untouched
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self),      cmocka_unit_test(test_late),
        cmocka_unit_test(test_blurred),   cmocka_unit_test(test_too_short),
        cmocka_unit_test(test_bad_input), cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, load_models, free_models);
}
