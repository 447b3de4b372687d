// decode ──► crop + network (batches) ──► paste ──► encode        a network that paints
// decode ──► rig ──► encode                                       the person's own pixels, moved
//                       └──► finish ──► encode                    either, where more is asked for
//
// Each arrow is a bounded queue, so the slowest stage sets the pace and memory stays constant.
// Order is kept: every stage is one thread, or, for a large network, a few that take turns: a lane
// takes the next batch while no other does, and passes it on when all before it are. The last stage
// runs in the calling thread, which therefore is the one that reports progress. The first error of
// any stage is kept and ends all of them.
#include "lipsync/pipeline.h"

#include "base/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_FRAMES 6

// One frame on its way. The float arrays are there only if a network paints it.
struct item {
    struct shown_frame shown; // without a frame where packets pass instead
    struct passed *passed;    // or NULL
    bool animate;
    struct affine to_frame;
    float points[TRACK_N_POINTS][2]; // in crop pixels
    float *target;                   // the whole crop of the frame as it was
    float *output;                   // what the network gave
};

struct pipeline {
    const struct pipeline_params *p;
    struct queue *decoded, *generated, *pasted, *finished;
    pthread_mutex_t taking; // held while a lane takes its batch
    int64_t next_taken;     // number of the next batch; protected by taking
    pthread_mutex_t lock;
    pthread_cond_t passed;
    // --- the following fields are protected by lock
    int64_t next_passed; // batch that is passed on next
    int n_running;       // lanes
    enum kb_code code;
    struct kb_error err;
};

struct lane {
    struct pipeline *pipeline;
    struct lips *lips;
    int n, n_animated, capacity; // of the batch
    struct item **batch;
};

static void item_free(void *opaque)
{
    struct item *it = opaque;
    if (!it)
        return;
    av_frame_free(&it->shown.frame);
    passed_free(&it->passed);
    free(it->target);
    free(it->output);
    free(it);
}

static void abort_all(struct pipeline *pl)
{
    queue_abort(pl->decoded);
    queue_abort(pl->generated);
    queue_abort(pl->pasted);
    queue_abort(pl->finished);
}

static void stop_with(struct pipeline *pl, enum kb_code code, const struct kb_error *err)
{
    pthread_mutex_lock(&pl->lock);
    if (pl->code == KB_OK) {
        pl->code = code;
        pl->err = *err;
    }
    pthread_cond_broadcast(&pl->passed);
    pthread_mutex_unlock(&pl->lock);
    abort_all(pl);
}

// --- decode ---

// The only one there is to give.
static enum kb_code next_only(const struct shown_frame *only, struct shown_frame *ret,
                              struct kb_error *err)
{
    *ret = *only;
    ret->frame = av_frame_clone(only->frame);
    return ret->frame ? KB_OK : kb_no_memory(err);
}

// Packets that pass, or a frame.
static enum kb_code next_item(const struct pipeline_params *p, struct timeline *source,
                              struct item *ret, struct kb_error *err)
{
    enum kb_code code = p->pass ? pass_next(p->pass, source, &ret->passed, err) : KB_OK;
    if (code != KB_OK || !ret->passed)
        return code == KB_OK ? timeline_next(source, &ret->shown, err) : code;
    ret->shown.pts_us = ret->passed->begin_us;
    ret->shown.duration_us = ret->passed->duration_us;
    return KB_OK;
}

static void *decode_thread(void *opaque)
{
    struct pipeline *pl = opaque;
    const struct shown_frame *only = pl->p->only;
    struct timeline *source = timeline_create(&pl->p->source);
    struct kb_error err = {0};
    enum kb_code code;
    for (int64_t n = 0;; n++) {
        struct item *it = kb_alloc(sizeof(*it));
        code = watch_check(&pl->p->watch, &err);
        if (code == KB_OK && only)
            code = n > 0 ? KB_EOF : next_only(only, &it->shown, &err);
        else if (code == KB_OK)
            code = next_item(pl->p, source, it, &err);
        if (code != KB_OK || !queue_push(pl->decoded, it)) {
            item_free(it);
            break;
        }
    }
    if (code != KB_OK && code != KB_EOF)
        stop_with(pl, code, &err);
    queue_close(pl->decoded);
    timeline_free(&source);
    return NULL;
}

// --- crop and network ---

// Decide whether a frame is animated, and fill the next place of the batch if so.
static void prepare(struct lane *lane, struct item *it)
{
    const struct pipeline_params *p = lane->pipeline->p;
    if (it->passed)
        return;
    int member = cast_at(p->cast, it->shown.track_frame);
    struct cropper cropper = p->cropper;
    cropper.face = member >= 0 ? cast_face(p->cast, member) : -1;
    if (member < 0 || it->shown.pts_us >= mel_duration_us(p->mel) ||
        !crop_of(&cropper, it->shown.track_frame, &it->to_frame) ||
        !crop_points(&cropper, it->shown.track_frame, &it->to_frame, it->points))
        return;

    it->animate = true;
    int side = p->cropper.side;
    it->target = kb_alloc(LIPS_FLOATS_OF(side) * sizeof(float));
    crop_take(it->shown.frame, &it->to_frame, side, it->target);
    crop_interleave(it->target, side, lips_face(lane->lips, lane->n_animated));
    mel_window(p->mel, lips_mel_start(p->mel, it->shown.pts_us), LIPS_MEL_COLUMNS,
               lips_mel(lane->lips, lane->n_animated));
    lane->n_animated++;
}

// Take the next batch and its number; false at the end. Frames without a face wait in the batch
// too, so that order is kept; twice the network's batch bounds how many.
static bool take_batch(struct lane *lane, int64_t *ret_number)
{
    struct pipeline *pl = lane->pipeline;
    struct item *it;
    lane->n = lane->n_animated = 0;
    pthread_mutex_lock(&pl->taking);
    while (lane->n_animated < lane->capacity && lane->n < 2 * lane->capacity &&
           (it = queue_pop(pl->decoded))) {
        prepare(lane, it);
        lane->batch[lane->n++] = it;
    }
    *ret_number = pl->next_taken;
    pl->next_taken += lane->n > 0;
    pthread_mutex_unlock(&pl->taking);
    return lane->n > 0;
}

// Wait until all batches before this one are passed on. False: the work has failed meanwhile.
static bool wait_for_turn(struct pipeline *pl, int64_t number)
{
    pthread_mutex_lock(&pl->lock);
    while (pl->next_passed != number && pl->code == KB_OK)
        pthread_cond_wait(&pl->passed, &pl->lock);
    bool ok = pl->code == KB_OK;
    pthread_mutex_unlock(&pl->lock);
    return ok;
}

static void end_turn(struct pipeline *pl)
{
    pthread_mutex_lock(&pl->lock);
    pl->next_passed++;
    pthread_cond_broadcast(&pl->passed);
    pthread_mutex_unlock(&pl->lock);
}

// Run the network over the animated items of the batch and pass all of them on, in order.
static bool run_batch(struct lane *lane, int64_t number)
{
    struct pipeline *pl = lane->pipeline;
    size_t bytes = LIPS_FLOATS_OF(lips_side(lane->lips)) * sizeof(float);
    struct kb_error err = {0};
    enum kb_code code = lane->n_animated > 0 ? lips_run(lane->lips, &err) : KB_OK;
    if (code != KB_OK)
        stop_with(pl, code, &err);

    bool ok = wait_for_turn(pl, number);
    for (int i = 0, place = 0; i < lane->n; i++) {
        struct item *it = lane->batch[i];
        if (ok && it->animate) {
            it->output = kb_alloc(bytes);
            memcpy(it->output, lips_output(lane->lips, place++), bytes);
        }
        if (!ok || !queue_push(pl->generated, it)) {
            ok = false;
            item_free(it);
        }
    }
    end_turn(pl);
    return ok;
}

static void *lane_thread(void *opaque)
{
    struct lane *lane = opaque;
    struct pipeline *pl = lane->pipeline;
    int64_t number;
    lane->capacity = lips_batch(lane->lips);
    lane->batch = kb_alloc((size_t)lane->capacity * 2 * sizeof(*lane->batch));
    while (take_batch(lane, &number) && run_batch(lane, number))
        continue;
    free(lane->batch);
    pthread_mutex_lock(&pl->lock);
    bool last = --pl->n_running == 0;
    pthread_mutex_unlock(&pl->lock);
    if (last)
        queue_close(pl->generated);
    return NULL;
}

// --- paste, or move ---

// What draws a frame, in one thread.
struct brush {
    const struct pipeline_params *p;
    struct paster *paster; // NULL: the rig
    struct canvas *canvas;
};

static enum kb_code draw(struct brush *b, struct item *it, struct kb_error *err)
{
    const struct plan *plan = b->p->plan;
    const struct rig *rig = NULL;
    struct rig_frame f;
    struct still_state state;
    if (it->passed)
        return KB_OK;
    const struct still *still = plan ? plan_still(plan, it->shown.pts_us, &state) : NULL;
    if (plan)
        it->animate = plan_frame(plan, it->shown.number, &it->shown, &f, &rig);
    if (!it->animate && !still)
        return KB_OK;
    if (av_frame_make_writable(it->shown.frame) < 0)
        return kb_no_memory(err);
    if (b->paster)
        paste(b->paster, it->shown.frame, &it->to_frame, it->target, it->output,
              (const float(*)[2])it->points);
    else if (it->animate)
        it->animate = rig_draw(rig, b->canvas, it->shown.frame, &f);
    if (still)
        still_draw(still, b->canvas, it->shown.frame, &state);
    return KB_OK;
}

static void *draw_thread(void *opaque)
{
    struct pipeline *pl = opaque;
    struct brush brush = {.p = pl->p};
    struct queue *from = pl->p->plan ? pl->decoded : pl->generated;
    struct item *it;
    if (pl->p->plan)
        brush.canvas = canvas_create();
    else
        brush.paster = paster_create(&pl->p->paste);
    while ((it = queue_pop(from))) {
        struct kb_error err = {0};
        enum kb_code code = draw(&brush, it, &err);
        if (code != KB_OK)
            stop_with(pl, code, &err);
        if (code != KB_OK || !queue_push(pl->pasted, it)) {
            item_free(it);
            break;
        }
    }
    queue_close(pl->pasted);
    paster_free(&brush.paster);
    canvas_free(&brush.canvas);
    return NULL;
}

// --- background, shape, labels ---

static void *finish_thread(void *opaque)
{
    struct pipeline *pl = opaque;
    struct item *it;
    while ((it = queue_pop(pl->pasted))) {
        struct kb_error err = {0};
        const struct finish_moment at = {.part = PART_DUB,
                                         .pts_us = it->shown.pts_us,
                                         .output_us = pl->p->before_us + it->shown.pts_us,
                                         .duration_us = it->shown.duration_us,
                                         .track_frame = it->shown.track_frame};
        enum kb_code code =
            it->passed ? KB_OK : finisher_put(pl->p->finisher, &it->shown.frame, &at, &err);
        if (code != KB_OK)
            stop_with(pl, code, &err);
        if (code != KB_OK || !queue_push(pl->finished, it)) {
            item_free(it);
            break;
        }
    }
    queue_close(pl->finished);
    return NULL;
}

// --- encode, in the calling thread ---

static enum kb_code put_out(const struct pipeline_params *p, struct item *it, struct kb_error *err)
{
    AVFrame *frame = it->shown.frame;
    for (int i = 0; it->passed && i < it->passed->n; i++)
        it->passed->pictures[i].pts_us += p->before_us - p->source.from_us;
    if (it->passed)
        return writer_pass(p->writer, it->passed->pictures, it->passed->n, err);
    int64_t begin_us = KB_MAX(it->shown.pts_us, p->source.from_us);
    frame->pts = p->before_us + begin_us - p->source.from_us;
    FRAME_DURATION(frame) = it->shown.pts_us + it->shown.duration_us - begin_us;
    return p->writer ? writer_put(p->writer, frame, err)
                     : p->look(p->onlooker, &it->shown, it->animate, err);
}

static void encode_all(struct pipeline *pl, struct pipeline_result *ret)
{
    const struct pipeline_params *p = pl->p;
    struct kb_error err = {0};
    struct item *it;
    int64_t end_us = p->source.from_us, done = 0, total = p->only ? 1 : timeline_count(&p->source);
    struct queue *from = p->finisher ? pl->finished : pl->pasted;
    while ((it = queue_pop(from))) {
        enum kb_code code = put_out(p, it, &err);
        end_us = it->shown.pts_us + it->shown.duration_us;
        ret->animated += it->animate;
        int64_t n = it->passed ? it->passed->n : 0;
        ret->passed += n;
        done += it->passed ? it->passed->n_frames : 1;
        item_free(it);
        if (code != KB_OK) {
            stop_with(pl, code, &err);
            return;
        }
        ret->frames += KB_MAX(n, 1);
        watch_tell(&p->watch, STAGE_GENERATING, done, KB_MAX(total, done));
    }
    ret->seconds = (double)(KB_MIN(end_us, p->source.length_us) - p->source.from_us) / 1e6;
}

enum kb_code pipeline_run(const struct pipeline_params *p, struct pipeline_result *ret,
                          struct kb_error *err)
{
    struct pipeline pl = {.p = p, .n_running = p->n_lanes};
    pthread_mutex_init(&pl.lock, NULL);
    pthread_mutex_init(&pl.taking, NULL);
    pthread_cond_init(&pl.passed, NULL);
    pl.decoded = queue_create(QUEUE_FRAMES, item_free);
    pl.generated = queue_create(QUEUE_FRAMES, item_free);
    pl.pasted = queue_create(QUEUE_FRAMES, item_free);
    pl.finished = queue_create(QUEUE_FRAMES, item_free);

    struct lane lanes[ENGINE_MAX_LANES];
    pthread_t threads[3 + ENGINE_MAX_LANES];
    int n_wanted = 2 + p->n_lanes + (p->finisher != NULL), started = 0;
    for (int i = 0; i < p->n_lanes; i++)
        lanes[i] = (struct lane){.pipeline = &pl, .lips = p->lanes[i]};
    for (int e = 0; started < n_wanted && e == 0; started += e == 0) {
        int lane = started - 2;
        e = lane >= p->n_lanes ? pthread_create(&threads[started], NULL, finish_thread, &pl)
            : lane >= 0        ? pthread_create(&threads[started], NULL, lane_thread, &lanes[lane])
                               : pthread_create(&threads[started], NULL,
                                         started == 0 ? decode_thread : draw_thread, &pl);
    }
    struct kb_error failure = {0};
    if (started < n_wanted)
        stop_with(&pl, kb_fail(&failure, KB_NO_SPACE, _("cannot start a thread")), &failure);

    *ret = (struct pipeline_result){0};
    encode_all(&pl, ret);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);

    queue_free(&pl.decoded);
    queue_free(&pl.generated);
    queue_free(&pl.pasted);
    queue_free(&pl.finished);
    pthread_cond_destroy(&pl.passed);
    pthread_mutex_destroy(&pl.taking);
    pthread_mutex_destroy(&pl.lock);
    if (pl.code != KB_OK) {
        if (err)
            *err = pl.err;
        return pl.code;
    }
    if (ret->frames == 0)
        return kb_fail(err, KB_BAD_INPUT, _("the video gave no picture to work on"));
    return KB_OK;
}

// A network paints whoever is in the cast, as long as there is speech.
static bool is_drawn(const void *opaque, const struct planned_frame *frame, int place)
{
    const struct pipeline_params *p = opaque;
    if (p->plan)
        return plan_draws(p->plan, place, frame->pts_us);
    return cast_at(p->cast, frame->track_frame) >= 0 && frame->pts_us < mel_duration_us(p->mel);
}

enum kb_code pipeline_find_pass(struct pass **ret, const struct pipeline_params *p,
                                struct kb_error *err)
{
    return pass_create(ret, &p->source, is_drawn, p, p->watch.cancel, err);
}
