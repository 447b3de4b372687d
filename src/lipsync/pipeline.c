// decode ──► crop + network (batches) ──► paste ──► encode
//
// Each arrow is a bounded queue, so the slowest stage sets the pace and memory stays constant.
// Order is kept: every stage is one thread. The last stage runs in the calling thread, which
// therefore is the one that reports progress. The first error of any stage is kept and ends all of
// them.
#include "lipsync/pipeline.h"

#include "base/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_FRAMES 6

// One frame on its way. The float arrays are there only if it is animated.
struct item {
    struct shown_frame shown;
    bool animate;
    struct affine to_frame;
    float points[TRACK_N_POINTS][2]; // in crop pixels
    float *target;                   // the whole crop of the frame as it was
    float *output;                   // what the network gave
};

struct pipeline {
    const struct pipeline_params *p;
    struct queue *decoded, *generated, *pasted;
    float *reference; // NULL if the frame itself is
    pthread_mutex_t lock;
    // --- the following fields are protected by lock
    enum kb_code code;
    struct kb_error err;
};

static void item_free(void *opaque)
{
    struct item *it = opaque;
    if (!it)
        return;
    av_frame_free(&it->shown.frame);
    free(it->target);
    free(it->output);
    free(it);
}

static void abort_all(struct pipeline *pl)
{
    queue_abort(pl->decoded);
    queue_abort(pl->generated);
    queue_abort(pl->pasted);
}

static void stop_with(struct pipeline *pl, enum kb_code code, const struct kb_error *err)
{
    pthread_mutex_lock(&pl->lock);
    if (pl->code == KB_OK) {
        pl->code = code;
        pl->err = *err;
    }
    pthread_mutex_unlock(&pl->lock);
    abort_all(pl);
}

static size_t crop_floats(const struct lips_spec *s)
{
    return (size_t)s->width * (size_t)s->height * 3;
}

// --- decode ---

static void *decode_thread(void *opaque)
{
    struct pipeline *pl = opaque;
    struct source *source = source_create(&pl->p->source);
    struct kb_error err = {0};
    enum kb_code code;
    for (;;) {
        struct item *it = kb_alloc(sizeof(*it));
        code = cancel_check(pl->p->cancel, &err);
        if (code == KB_OK)
            code = source_next(source, &it->shown, &err);
        if (code != KB_OK || !queue_push(pl->decoded, it)) {
            item_free(it);
            break;
        }
    }
    if (code != KB_OK && code != KB_EOF)
        stop_with(pl, code, &err);
    queue_close(pl->decoded);
    source_free(&source);
    return NULL;
}

// --- crop and network ---

// Decide whether a frame is animated, and fill place i of the batch if so.
static void prepare(struct pipeline *pl, struct item *it, int i)
{
    const struct pipeline_params *p = pl->p;
    const struct lips_spec *spec = p->cropper.spec;
    if (it->shown.pts_us >= mel_duration_us(p->mel) ||
        !crop_of(&p->cropper, it->shown.track_frame, &it->to_frame) ||
        !crop_points(&p->cropper, it->shown.track_frame, &it->to_frame, it->points))
        return;

    it->animate = true;
    it->target = kb_alloc(crop_floats(spec) * sizeof(float));
    struct warp_params wp = {spec->width, spec->height, 3, spec->bgr, 0, 1};
    warp_crop(it->shown.frame, &it->to_frame, &wp, it->target);
    crop_interleave(spec, it->target, pl->reference ? pl->reference : it->target,
                    lips_face(p->lips, i));
    mel_window(p->mel, lips_mel_start(spec, p->mel, it->shown.pts_us), spec->mel_columns,
               lips_mel(p->lips, i));
}

// Run the network over the animated items of a batch and pass all of them on, in order.
static bool flush(struct pipeline *pl, struct item **batch, int n, int n_animated)
{
    const struct lips_spec *spec = pl->p->cropper.spec;
    size_t floats = (size_t)spec->out_width * (size_t)spec->out_height * 3;
    struct kb_error err = {0};
    enum kb_code code = n_animated > 0 ? lips_run(pl->p->lips, &err) : KB_OK;
    if (code != KB_OK)
        stop_with(pl, code, &err);

    bool ok = code == KB_OK;
    for (int i = 0, place = 0; i < n; i++) {
        if (ok && batch[i]->animate) {
            batch[i]->output = kb_alloc(floats * sizeof(float));
            memcpy(batch[i]->output, lips_output(pl->p->lips, place++), floats * sizeof(float));
        }
        if (!ok || !queue_push(pl->generated, batch[i])) {
            ok = false;
            item_free(batch[i]);
        }
    }
    return ok;
}

static void *network_thread(void *opaque)
{
    struct pipeline *pl = opaque;
    // Frames without a face wait in the batch too, so that order is kept; twice the network's
    // batch bounds how many.
    int capacity = lips_batch(pl->p->lips), n = 0, n_animated = 0;
    struct item **batch = kb_alloc((size_t)capacity * 2 * sizeof(*batch));
    struct item *it;
    bool ok = true;
    while (ok && (it = queue_pop(pl->decoded))) {
        prepare(pl, it, n_animated);
        n_animated += it->animate;
        batch[n++] = it;
        if (n_animated == capacity || n == capacity * 2) {
            ok = flush(pl, batch, n, n_animated);
            n = n_animated = 0;
        }
    }
    if (ok && n > 0)
        flush(pl, batch, n, n_animated);
    queue_close(pl->generated);
    free(batch);
    return NULL;
}

// --- paste ---

static void *paste_thread(void *opaque)
{
    struct pipeline *pl = opaque;
    struct paster *paster = paster_create(&pl->p->paste);
    struct item *it;
    while ((it = queue_pop(pl->generated))) {
        if (it->animate) {
            if (av_frame_make_writable(it->shown.frame) < 0) {
                struct kb_error err = {0};
                stop_with(pl, kb_no_memory(&err), &err);
                item_free(it);
                break;
            }
            paste(paster, it->shown.frame, &it->to_frame, it->target, it->output,
                  (const float(*)[2])it->points);
        }
        if (!queue_push(pl->pasted, it)) {
            item_free(it);
            break;
        }
    }
    queue_close(pl->pasted);
    paster_free(&paster);
    return NULL;
}

// --- encode, in the calling thread ---

// How many frames the output will have, from the video's mean frame duration.
static int64_t frames_expected(const struct source_params *s)
{
    int n = track_info(s->track)->n_frames;
    double span = n > 1 ? (double)track_pts_us(s->track, n - 1) / (n - 1) : 40000;
    return (int64_t)((double)s->length_us / KB_MAX(span, 1.0) + 0.999);
}

static void encode_all(struct pipeline *pl, int64_t *ret_frames, int64_t *ret_animated,
                       double *ret_seconds)
{
    const struct pipeline_params *p = pl->p;
    struct kb_error err = {0};
    struct item *it;
    int64_t end_us = 0, total = frames_expected(&p->source);
    while ((it = queue_pop(pl->pasted))) {
        AVFrame *frame = it->shown.frame;
        frame->pts = it->shown.pts_us;
        frame->pkt_duration = it->shown.duration_us;
        enum kb_code code = writer_put(p->writer, frame, &err);
        end_us = it->shown.pts_us + it->shown.duration_us;
        *ret_animated += it->animate;
        item_free(it);
        if (code != KB_OK) {
            stop_with(pl, code, &err);
            return;
        }
        ++*ret_frames;
        if (p->progress)
            p->progress(p->opaque, &(struct progress){STAGE_GENERATING, *ret_frames,
                                                      KB_MAX(total, *ret_frames)});
    }
    *ret_seconds = (double)KB_MIN(end_us, p->source.length_us) / 1e6;
}

enum kb_code pipeline_run(const struct pipeline_params *p, int64_t *ret_frames,
                          int64_t *ret_animated, double *ret_seconds, struct kb_error *err)
{
    struct pipeline pl = {.p = p};
    pthread_mutex_init(&pl.lock, NULL);
    pl.decoded = queue_create(QUEUE_FRAMES, item_free);
    pl.generated = queue_create(QUEUE_FRAMES, item_free);
    pl.pasted = queue_create(QUEUE_FRAMES, item_free);
    if (!p->cropper.spec->reference_is_self) {
        pl.reference = kb_alloc(crop_floats(p->cropper.spec) * sizeof(float));
        crop_reference(&p->cropper, pl.reference);
    }

    void *(*const stages[])(void *) = {decode_thread, network_thread, paste_thread};
    pthread_t threads[ARRAY_LEN(stages)];
    size_t started = 0;
    struct kb_error failure = {0};
    while (started < ARRAY_LEN(stages) &&
           pthread_create(&threads[started], NULL, stages[started], &pl) == 0)
        started++;
    if (started < ARRAY_LEN(stages))
        stop_with(&pl, kb_fail(&failure, KB_NO_SPACE, _("cannot start a thread")), &failure);

    *ret_frames = *ret_animated = 0;
    *ret_seconds = 0;
    encode_all(&pl, ret_frames, ret_animated, ret_seconds);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);

    queue_free(&pl.decoded);
    queue_free(&pl.generated);
    queue_free(&pl.pasted);
    free(pl.reference);
    pthread_mutex_destroy(&pl.lock);
    if (pl.code != KB_OK) {
        if (err)
            *err = pl.err;
        return pl.code;
    }
    if (*ret_frames == 0)
        return kb_fail(err, KB_BAD_INPUT, _("the video gave no picture to work on"));
    return KB_OK;
}
