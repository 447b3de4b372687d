// Both videos are read twice: once by the face networks, which gives two tracks, and once side by
// side for the pixels outside the mouth. Nothing but the tracks stays in memory.
#include "lab/eval.h"

#include "lab/measure.h"
#include "media/reader.h"

#include <math.h>
#include <stdlib.h>

// A generated mouth may move the jaw a little beyond the truth's, and its rim is soft.
#define MASK_GROW 0.10f // widths of the face

// One of the two videos.
struct side {
    const char *path;
    struct track *track;
    int face; // whose lips are measured
    struct reader *reader;
    AVFrame *frame; // the last that was decoded
    int position;   // its index; -1 before the first
};

static void side_close(struct side *s)
{
    track_free(&s->track);
    reader_close(&s->reader);
    av_frame_free(&s->frame);
}

// --- progress: three passes of one length ---

#define N_PASSES 3

struct passes {
    const struct eval_params *params;
    int pass;      // 0, 1: a track is made; 2: the pixels are compared
    bool only_one; // there is the first pass alone
    int64_t total; // of one pass; 0 = not known yet
};

static void on_pass_progress(void *opaque, const struct progress *p)
{
    struct passes *passes = opaque;
    if (passes->pass == 0)
        passes->total = p->total;
    int64_t done = passes->total > 0 ? KB_MIN(p->done, passes->total) : p->done;
    watch_tell(&passes->params->watch, STAGE_PREPROCESSING, passes->pass * passes->total + done,
               passes->total * (passes->only_one ? 1 : N_PASSES));
}

// --- which frames and faces belong together ---

// For each frame of truth the frame of test that is nearest in time, or -1 if none is within half
// a frame. free() the result.
static enum kb_code match_frames(int **ret, const struct track *truth, const struct track *test,
                                 struct kb_error *err)
{
    int n = track_info(truth)->n_frames, n_test = track_info(test)->n_frames;
    int *match = kb_calloc_checked((size_t)KB_MAX(n, 1), sizeof(*match));
    if (!match)
        return kb_no_memory(err);
    int64_t span_us = n > 1 ? track_pts_us(truth, n - 1) - track_pts_us(truth, 0) : 0;
    int64_t tolerance_us = span_us > 0 ? span_us / (n - 1) / 2 + 1 : 20000;

    for (int k = 0, m = 0; k < n; k++) {
        int64_t at = track_pts_us(truth, k);
        while (m + 1 < n_test &&
               llabs(track_pts_us(test, m + 1) - at) <= llabs(track_pts_us(test, m) - at))
            m++;
        bool near = n_test > 0 && llabs(track_pts_us(test, m) - at) <= tolerance_us;
        match[k] = near ? m : -1;
    }
    *ret = match;
    return KB_OK;
}

static float overlap(const float a[4], const float b[4])
{
    float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]), h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
    if (!(w > 0 && h > 0))
        return 0;
    float both = w * h;
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

// The largest face of truth, and the face of test that lies where that one does.
static enum kb_code choose_faces(struct side *truth, struct side *test, const int *match,
                                 struct kb_error *err)
{
    const struct side *without = NULL;
    if (track_info(test->track)->n_faces == 0)
        without = test;
    if (track_info(truth->track)->n_faces == 0)
        without = truth;
    if (without)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no face was found in '%s'; give two videos of the same person"),
                       without->path);
    truth->face = track_choose(truth->track, FACE_LARGEST, 0, err);
    test->face = track_choose(test->track, FACE_LARGEST, 0, err);

    double best = 0;
    for (int face = 0; face < track_info(test->track)->n_faces; face++) {
        double sum = 0;
        for (int k = 0; k < track_info(truth->track)->n_frames; k++) {
            struct track_face a, b;
            if (match[k] < 0)
                continue;
            track_face(truth->track, truth->face, k, &a);
            track_face(test->track, face, match[k], &b);
            if (a.present && b.present)
                sum += (double)overlap(a.box, b.box);
        }
        if (sum > best) {
            best = sum;
            test->face = face;
        }
    }
    return KB_OK;
}

// --- lips ---

// The faces of one pair of frames. False if either is missing.
static bool face_pair(const struct side *truth, const struct side *test, const int *match, int k,
                      struct track_face *ret_truth, struct track_face *ret_test)
{
    if (k < 0 || k >= track_info(truth->track)->n_frames || match[k] < 0)
        return false;
    track_face(truth->track, truth->face, k, ret_truth);
    track_face(test->track, test->face, match[k], ret_test);
    return ret_truth->present && ret_test->present;
}

static const float (*points_of(const struct track_face *f))[2]
{
    return (const float(*)[2])f->points;
}

// Second differences, see measure.h; summed over the frames whose neighbours show both faces too.
struct motion_sums {
    double jitter, lips, still;
};

static void add_motion(struct motion_sums *sums, const struct track_face faces[3])
{
    const float(*before)[2] = points_of(&faces[0]), (*at)[2] = points_of(&faces[1]);
    const float(*after)[2] = points_of(&faces[2]);
    sums->jitter += (double)measure_jitter(before, at, after);
    sums->lips += (double)measure_lip_motion(before, at, after);
    sums->still += (double)measure_still_jitter(before, at, after);
}

// Everything that moves: apertures and widths per frame (NAN without a face) and the sums of the
// rest.
struct lips_sums {
    float *truth, *test;             // one aperture per frame of truth
    float *truth_width, *test_width; // the same of widths
    int64_t frames;
    double distance;
    struct motion_sums motion_truth, motion_test;
};

static void measure_frame(struct lips_sums *sums, const struct side *truth, const struct side *test,
                          const int *match, int k)
{
    struct track_face a[3], b[3]; // frames k - 1, k, k + 1
    sums->truth[k] = sums->test[k] = sums->truth_width[k] = sums->test_width[k] = NAN;
    // Each curve is as long as its own face is seen, so that a lag can use all of it.
    track_face(truth->track, truth->face, k, &a[1]);
    if (a[1].present) {
        sums->truth[k] = measure_aperture(points_of(&a[1]));
        sums->truth_width[k] = measure_width(points_of(&a[1]));
    }
    if (match[k] >= 0) {
        track_face(test->track, test->face, match[k], &b[1]);
        if (b[1].present) {
            sums->test[k] = measure_aperture(points_of(&b[1]));
            sums->test_width[k] = measure_width(points_of(&b[1]));
        }
    }

    if (!face_pair(truth, test, match, k, &a[1], &b[1]))
        return;
    sums->frames++;
    sums->distance += (double)measure_lip_distance(points_of(&a[1]), points_of(&b[1]));
    if (face_pair(truth, test, match, k - 1, &a[0], &b[0]) &&
        face_pair(truth, test, match, k + 1, &a[2], &b[2])) {
        add_motion(&sums->motion_truth, a);
        add_motion(&sums->motion_test, b);
    }
}

static enum kb_code compare_curves(struct eval_result *ret, const struct lips_sums *sums, int n,
                                   struct kb_error *err)
{
    struct closures closures;
    enum kb_code code = measure_closures(&closures, sums->truth, sums->test, n, err);
    if (code != KB_OK)
        return code;
    ret->lag_frames = measure_lag(sums->truth, sums->test, n, &ret->aperture_correlation);
    ret->aperture_correlation_lag_0 = measure_correlation(sums->truth, sums->test, n);
    ret->amplitude_ratio = measure_amplitude(sums->truth, sums->test, n);
    ret->width_lag_frames =
        measure_lag(sums->truth_width, sums->test_width, n, &ret->width_correlation);
    ret->width_correlation_lag_0 = measure_correlation(sums->truth_width, sums->test_width, n);
    ret->closure_precision = closures_precision(&closures);
    ret->closure_recall = closures_recall(&closures);
    ret->closure_f1 = closures_f1(&closures);
    return KB_OK;
}

static enum kb_code compare_lips(struct eval_result *ret, const struct side *truth,
                                 const struct side *test, const int *match, struct kb_error *err)
{
    int n = track_info(truth->track)->n_frames;
    CLEANUP(kb_freep) float *curves = kb_calloc_checked((size_t)n, 4 * sizeof(*curves));
    if (!curves)
        return kb_no_memory(err);
    struct lips_sums sums = {.truth = curves,
                             .test = curves + n,
                             .truth_width = curves + 2 * (ptrdiff_t)n,
                             .test_width = curves + 3 * (ptrdiff_t)n};
    for (int k = 0; k < n; k++)
        measure_frame(&sums, truth, test, match, k);
    if (sums.frames < MEASURE_MIN_FRAMES)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' and '%s' have a face at the same time in only %d frames; at least "
                         "%d are needed, so give two videos of the same scene"),
                       truth->path, test->path, (int)sums.frames, MEASURE_MIN_FRAMES);

    ret->frames = sums.frames;
    ret->lip_landmark_distance = sums.distance / (double)sums.frames;
    ret->jitter_ratio = measure_ratio(sums.motion_truth.jitter, sums.motion_test.jitter);
    ret->motion_smoothness = measure_ratio(sums.motion_truth.lips, sums.motion_test.lips);
    ret->still_jitter = measure_ratio(sums.motion_truth.still, sums.motion_test.still);
    return compare_curves(ret, &sums, n, err);
}

// --- pixels ---

// Decode up to frame index. KB_EOF when the file has fewer frames now than its track.
static enum kb_code advance(struct side *s, int index, struct kb_error *err)
{
    while (s->position < index) {
        av_frame_free(&s->frame);
        enum kb_code code = reader_next(s->reader, &s->frame, err);
        if (code != KB_OK)
            return code;
        s->position++;
    }
    return KB_OK;
}

struct pixel_sums {
    struct luma_error outside;
    double *sharpness; // one ratio per frame of truth, NAN without a face
};

static void measure_pixels(struct pixel_sums *sums, const struct side *truth,
                           const struct side *test, const int *match, int k)
{
    struct track_face a = {0}, b;
    bool pair = face_pair(truth, test, match, k, &a, &b);
    const float(*points)[2] = a.present ? points_of(&a) : NULL;
    float grow = points ? MASK_GROW * measure_face_width(points) : 0;
    measure_outside(&sums->outside, truth->frame, test->frame, points, grow);
    if (!pair)
        return;
    float box[4];
    measure_lips_box(points, box);
    sums->sharpness[k] =
        measure_ratio(measure_sharpness(truth->frame, box), measure_sharpness(test->frame, box));
}

static enum kb_code compare_pixels(struct eval_result *ret, struct side *truth, struct side *test,
                                   const int *match, struct passes *passes, struct kb_error *err)
{
    int n = track_info(truth->track)->n_frames;
    CLEANUP(kb_freep) double *sharpness = kb_calloc_checked((size_t)n, sizeof(*sharpness));
    if (!sharpness)
        return kb_no_memory(err);
    for (int k = 0; k < n; k++)
        sharpness[k] = NAN;
    struct pixel_sums sums = {.sharpness = sharpness};
    enum kb_code code = KB_OK;
    for (int k = 0; k < n && code == KB_OK; k++) {
        if (match[k] < 0)
            continue;
        code = advance(truth, k, err);
        if (code == KB_OK)
            code = advance(test, match[k], err);
        if (code != KB_OK)
            break;
        measure_pixels(&sums, truth, test, match, k);
        on_pass_progress(passes, &(struct progress){STAGE_PREPROCESSING, k + 1, n});
        code = watch_check(&passes->params->watch, err);
    }
    ret->psnr_outside_mask = measure_psnr(&sums.outside);
    ret->lip_sharpness = measure_median(sharpness, n);
    return code == KB_EOF ? KB_OK : code;
}

// --- all of it ---

static int decoder_threads(const struct eval_params *params)
{
    return params->threads > 0 ? params->threads : kb_cpu_count();
}

static enum kb_code open_both(struct side *truth, struct side *test,
                              const struct eval_params *params, struct kb_error *err)
{
    struct reader_params rp = {.threads = decoder_threads(params), .cancel = params->watch.cancel};
    enum kb_code code = reader_open(&truth->reader, truth->path, &rp, err);
    if (code == KB_OK)
        code = reader_open(&test->reader, test->path, &rp, err);
    if (code != KB_OK)
        return code;
    const struct reader_info *a = reader_info(truth->reader), *b = reader_info(test->reader);
    if (a->width != b->width || a->height != b->height)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is %dx%d and '%s' is %dx%d; only videos of the same size can be "
                         "compared"),
                       truth->path, a->width, a->height, test->path, b->width, b->height);
    return KB_OK;
}

static enum kb_code make_track(struct side *s, struct face_models *models, struct passes *passes,
                               struct kb_error *err)
{
    struct track_params tp = {.film = s->reader,
                              .decoder_threads = decoder_threads(passes->params),
                              .watch = {passes->params->watch.cancel, on_pass_progress, passes}};
    struct reader_params rp = {.threads = tp.decoder_threads, .cancel = tp.watch.cancel};
    enum kb_code code = track_make(&s->track, s->path, models, &tp, err);
    passes->pass++;
    return code == KB_OK ? reader_restart(s->reader, &rp, err) : code; // for the pixels
}

enum kb_code eval_run(struct eval_result *ret, const char *truth_path, const char *test_path,
                      struct face_models *models, const struct eval_params *params,
                      struct kb_error *err)
{
    CLEANUP(side_close) struct side truth = {.path = truth_path, .position = -1};
    CLEANUP(side_close) struct side test = {.path = test_path, .position = -1};
    CLEANUP(kb_freep) int *match = NULL;
    struct passes passes = {.params = params};
    struct eval_result result = {0};

    enum kb_code code = open_both(&truth, &test, params, err);
    if (code == KB_OK)
        code = make_track(&truth, models, &passes, err);
    if (code == KB_OK)
        code = make_track(&test, models, &passes, err);
    if (code == KB_OK)
        code = match_frames(&match, truth.track, test.track, err);
    if (code == KB_OK)
        code = choose_faces(&truth, &test, match, err);
    if (code == KB_OK)
        code = compare_lips(&result, &truth, &test, match, err);
    if (code == KB_OK)
        code = compare_pixels(&result, &truth, &test, match, &passes, err);
    if (code == KB_OK)
        *ret = result;
    return code;
}

// --- without a truth ---

// The face that the sound belongs to most surely; if none can be judged, why the largest cannot.
static enum kb_code judge_faces(struct eval_sync *ret, struct sync_judge *judge,
                                const struct track *t, const struct mel *mel, int64_t start_us,
                                const struct cancel *cancel, struct kb_error *err)
{
    enum kb_code first = KB_OK;
    bool found = false;
    for (int face = 0; face < track_info(t)->n_faces; face++) {
        CLEANUP(sync_result_clear) struct sync_result sync = {0};
        struct person person;
        struct kb_error why = {0};
        enum kb_code code = person_fit(&person, t, face, cancel, &why);
        if (code == KB_OK)
            code = sync_measure(&sync, judge, t, face, &person, mel, start_us, cancel, &why);
        if (code != KB_OK && code != KB_BAD_INPUT)
            return kb_fail(err, code, "%s", why.text);
        if (code != KB_OK && face == 0)
            first = kb_fail(err, code, "%s", why.text);
        if (code != KB_OK || (found && sync.film.sureness <= ret->sync.film.sureness))
            continue;
        sync_result_clear(&ret->sync);
        ret->sync = sync;
        ret->face = face;
        sync = (struct sync_result){0};
        found = true;
    }
    return found ? KB_OK : first;
}

enum kb_code eval_sync_run(struct eval_sync *ret, const char *path, const char *model,
                           struct face_models *models, const struct eval_params *params,
                           struct kb_error *err)
{
    CLEANUP(side_close) struct side side = {.path = path, .position = -1};
    CLEANUP(sync_judge_free) struct sync_judge *judge = NULL;
    CLEANUP(mel_free) struct mel *mel = NULL;
    struct eval_sync result = {.face = 0};
    struct reader_params rp = {.threads = decoder_threads(params), .cancel = params->watch.cancel};
    const struct watch quiet = {.cancel = params->watch.cancel};
    struct passes passes = {.params = params, .only_one = true};
    enum kb_code code = sync_judge_load(&judge, model, 1, err);
    if (code == KB_OK)
        code = reader_open(&side.reader, path, &rp, err);
    if (code == KB_OK)
        code = mel_from_file(&mel, path, false, &quiet, err);
    if (code == KB_OK)
        code = make_track(&side, models, &passes, err);
    if (code != KB_OK)
        return code;
    int n = track_info(side.track)->n_frames;
    if (track_info(side.track)->n_faces == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no face was found in '%s', so there are no lips to lay its sound on"),
                       path);
    result.frame_ms = n > 1 ? (double)track_pts_us(side.track, n - 1) / (n - 1) / 1e3 : 40;
    code = judge_faces(&result, judge, side.track, mel, reader_info(side.reader)->start_us,
                       params->watch.cancel, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", path);
    *ret = result;
    return KB_OK;
}
