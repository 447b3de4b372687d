// The f32 network works on all frames and shows every second batch to the observer; then the int8
// network that follows from it is compared on the others.
#include "lipsync/calibrate.h"

#include "lipsync/crop.h"
#include "media/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH      8
#define MAX_FRAMES 256 // unless the caller says less
#define LIMIT_US   40000000

// Of one frame.
#define MEL_FLOATS (LIPS_MEL_COLUMNS * MEL_BANDS)

// The network's input for the frames that are used, and what f32 makes of it.
struct samples {
    int side; // of the faces
    size_t face_floats, out_floats;
    int n;
    int64_t done; // frames that went through a network
    float *mel, *face, *out;
};

static void samples_clear(struct samples *s)
{
    free(s->mel);
    free(s->face);
    free(s->out);
}

static enum kb_code samples_init(struct samples *s, int side, int capacity, struct kb_error *err)
{
    s->side = side;
    s->out_floats = LIPS_FLOATS_OF(side);
    s->face_floats = 2 * s->out_floats;
    s->mel = kb_calloc_checked((size_t)capacity, MEL_FLOATS * sizeof(float));
    s->face = kb_calloc_checked((size_t)capacity, s->face_floats * sizeof(float));
    s->out = kb_calloc_checked((size_t)capacity, s->out_floats * sizeof(float));
    return s->mel && s->face && s->out ? KB_OK : kb_no_memory(err);
}

static enum kb_code load(struct lips **ret, const struct calibrate_params *p,
                         enum precision precision, const struct ranges *ranges,
                         struct observer *observer, struct kb_error *err)
{
    struct lips_params lp = {.model = p->model,
                             .precision = precision,
                             .batch = BATCH,
                             .threads = p->threads,
                             .ranges = ranges,
                             .observer = observer};
    return lips_load(ret, &lp, err);
}

// Half of the frames are seen by one network, the other half by two.
static void report(const struct calibrate_params *p, struct samples *s)
{
    s->done += BATCH;
    watch_tell(&p->watch, STAGE_GENERATING, s->done, s->n * 3 / 2 + BATCH);
}

static void take_frame(struct samples *s, const struct cropper *c, const struct mel *mel,
                       const AVFrame *frame, int number, float *target)
{
    struct affine to_frame;
    if (!crop_of(c, number, &to_frame))
        return;
    crop_take(frame, &to_frame, s->side, target);
    crop_interleave(target, s->side, s->face + (size_t)s->n * s->face_floats);
    mel_window(mel, lips_mel_start(mel, track_pts_us(c->track, number)), LIPS_MEL_COLUMNS,
               s->mel + (ptrdiff_t)s->n * MEL_FLOATS);
    s->n++;
}

static enum kb_code take_frames(struct samples *s, int n_wanted, const struct cropper *c,
                                const struct mel *mel, struct reader *reader,
                                const struct calibrate_params *p, struct kb_error *err)
{
    CLEANUP(kb_freep) float *target = kb_alloc(s->out_floats * sizeof(float));
    int n_frames = 0;
    while (n_frames < track_info(c->track)->n_frames && track_pts_us(c->track, n_frames) < LIMIT_US)
        n_frames++;
    int step = KB_MAX((n_frames + n_wanted - 1) / n_wanted, 1), last = s->n + n_wanted;
    enum kb_code code = KB_OK;
    for (int i = 0; i < n_frames && s->n < last && code == KB_OK; i++) {
        CLEANUP(av_frame_free) AVFrame *frame = NULL;
        code = watch_check(&p->watch, err);
        if (code == KB_OK)
            code = reader_next(reader, &frame, err);
        if (code == KB_OK && i % step == 0)
            take_frame(s, c, mel, frame, i, target);
    }
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code take_tracked(struct samples *s, const char *video, const struct track *track,
                                 const struct mel *mel, const struct calibrate_params *p,
                                 struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *reader = NULL;
    struct reader_params rp = {.threads = KB_MAX(p->threads, 1), .cancel = p->watch.cancel};
    enum kb_code code = reader_open(&reader, video, &rp, err);
    if (code != KB_OK)
        return code;
    if (track_info(track)->n_faces == 0)
        return kb_fail(err, KB_BAD_INPUT, _("no face was found in '%s'"), video);
    struct cropper c = {.track = track,
                        .face = track_choose(track, FACE_LARGEST, 0, err),
                        .scale_x = 1,
                        .scale_y = 1,
                        .frame_width = reader_info(reader)->width,
                        .frame_height = reader_info(reader)->height,
                        .pads = {0, 10, 0, 0},
                        .side = s->side};
    return take_frames(s, p->max_frames / p->n_videos, &c, mel, reader, p, err);
}

static enum kb_code take_video(struct samples *s, const char *video, struct face_models *faces,
                               const struct calibrate_params *p, struct kb_error *err)
{
    CLEANUP(track_free) struct track *track = NULL;
    CLEANUP(mel_free) struct mel *mel = NULL;
    const struct watch quiet = {.cancel = p->watch.cancel};
    struct track_params tp = {
        .limit_us = LIMIT_US, .decoder_threads = KB_MAX(p->threads, 1), .watch = p->watch};
    enum kb_code code = mel_from_file(&mel, p->audio ? p->audio : video, false, &quiet, err);
    if (code == KB_OK)
        code = track_obtain(&track, video, p->track_folder, faces, &tp, NULL, err);
    return code == KB_OK ? take_tracked(s, video, track, mel, p, err) : code;
}

static enum kb_code take_all(struct samples *s, int side, const struct calibrate_params *p,
                             struct kb_error *err)
{
    CLEANUP(face_models_free) struct face_models *faces = NULL;
    enum kb_code code = samples_init(s, side, p->max_frames, err);
    if (code == KB_OK && p->track)
        return take_tracked(s, p->videos[0], p->track, p->mel, p, err);
    if (code == KB_OK)
        code = face_models_load(&faces, err);
    for (int i = 0; i < p->n_videos && code == KB_OK; i++)
        code = take_video(s, p->videos[i], faces, p, err);
    return code;
}

// Run one batch of the samples.
static enum kb_code run_batch(struct lips *l, const struct samples *s, int first,
                              struct kb_error *err)
{
    memcpy(lips_mel(l, 0), s->mel + (ptrdiff_t)first * MEL_FLOATS,
           BATCH * MEL_FLOATS * sizeof(float));
    memcpy(lips_face(l, 0), s->face + (size_t)first * s->face_floats,
           BATCH * s->face_floats * sizeof(float));
    return lips_run(l, err);
}

// A network on every second batch: its output is kept, or compared with what was kept.
static enum kb_code run_half(struct lips *l, struct samples *s, int first, bool compare,
                             double *squares, const struct calibrate_params *p,
                             struct kb_error *err)
{
    enum kb_code code = KB_OK;
    size_t floats = BATCH * s->out_floats;
    for (int i = first * BATCH; i < s->n && code == KB_OK; i += 2 * BATCH) {
        code = watch_check(&p->watch, err);
        if (code == KB_OK)
            code = run_batch(l, s, i, err);
        if (code != KB_OK)
            return code;
        float *f32 = s->out + (size_t)i * s->out_floats;
        const float *got = lips_output(l, 0);
        for (size_t k = 0; k < floats && compare; k++)
            *squares += (double)(got[k] - f32[k]) * (double)(got[k] - f32[k]);
        if (!compare)
            memcpy(f32, got, floats * sizeof(float));
        report(p, s);
    }
    return code;
}

// seen: the f32 network that shows its values to the observer; freed.
static enum kb_code look_and_check(struct calibration *c, struct samples *s, struct lips **seen,
                                   const struct observer *observer,
                                   const struct calibrate_params *p, struct kb_error *err)
{
    CLEANUP(lips_free) struct lips *plain = NULL, *int8 = NULL;
    double squares = 0;
    enum kb_code code = run_half(*seen, s, 0, false, NULL, p, err);
    lips_free(seen);
    if (code == KB_OK)
        code = load(&plain, p, PRECISION_F32, NULL, NULL, err);
    if (code == KB_OK)
        code = run_half(plain, s, 1, false, NULL, p, err);
    lips_free(&plain);
    if (code != KB_OK)
        return code;
    c->ranges = observer_ranges(observer);
    code = load(&int8, p, PRECISION_INT8, c->ranges, NULL, err);
    if (code == KB_OK)
        code = run_half(int8, s, 1, true, &squares, p, err);
    c->checked = s->n / BATCH / 2 * BATCH;
    c->frames = s->n - c->checked;
    c->psnr_db = -10 * log10(squares / ((double)c->checked * (double)s->out_floats) + 1e-12);
    return code;
}

enum kb_code calibrate(struct calibration *ret, const struct calibrate_params *params,
                       struct kb_error *err)
{
    CLEANUP(samples_clear) struct samples samples = {0};
    CLEANUP(observer_free) struct observer *observer = observer_create();
    CLEANUP(lips_free) struct lips *seen = NULL;
    struct calibrate_params p = *params;
    p.max_frames = p.max_frames > 0 ? p.max_frames : MAX_FRAMES;
    enum kb_code code = load(&seen, &p, PRECISION_F32, NULL, observer, err);
    if (code == KB_OK)
        code = take_all(&samples, lips_side(seen), &p, err);
    if (code == KB_OK && samples.n < 2 * BATCH)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("only %d frames show a face; int8 needs %d or more to be measured"),
                       samples.n, 2 * BATCH);
    samples.n -= samples.n % BATCH;
    struct calibration result = {0};
    if (code == KB_OK)
        code = look_and_check(&result, &samples, &seen, observer, &p, err);
    if (code == KB_OK)
        *ret = result;
    else
        calibration_clear(&result);
    return code;
}

void calibration_clear(struct calibration *c)
{
    ranges_free(&c->ranges);
}
