#include "lipsync/engine.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/calibrate.h"
#include "nn/import/import.h"

#include <stdlib.h>
#include <string.h>

#define MIN_PSNR_DB      36.0
#define CALIBRATE_FRAMES 64 // half of them for the check

static enum kb_code load_one(struct lips **ret, const struct engine *e, int threads,
                             enum precision precision, const struct ranges *ranges,
                             struct kb_error *err)
{
    struct lips_params p = {.model = e->model,
                            .precision = precision,
                            .batch = e->batch,
                            .threads = threads,
                            .ranges = ranges,
                            .cache_folder = e->cache_folder};
    return lips_load(ret, &p, err);
}

static void free_lanes(struct engine *e)
{
    while (e->n_lanes > 0)
        lips_free(&e->lanes[--e->n_lanes]);
    e->lips = NULL;
}

// All lanes; where there can be only one, it gets all threads.
static enum kb_code load_lanes(struct engine *e, enum precision precision,
                               const struct ranges *ranges, struct kb_error *err)
{
    int wanted = e->cache_folder ? KB_MIN(e->threads, ENGINE_MAX_LANES) : 1;
    enum kb_code code = load_one(&e->lanes[0], e, e->threads / wanted, precision, ranges, err);
    if (code != KB_OK)
        return code;
    e->n_lanes = 1;
    e->lips = e->lanes[0];
    while (code == KB_OK && lips_wants_lanes(e->lips) && e->n_lanes < wanted) {
        code = load_one(&e->lanes[e->n_lanes], e, e->threads / wanted, precision, ranges, err);
        e->n_lanes += code == KB_OK;
    }
    if (code != KB_OK)
        free_lanes(e);
    return code;
}

const char *engine_name(const struct engine *e)
{
    return e->motion ? motion_model_name(e->motion) : LIPS_NAME;
}

const char *engine_precision(const struct engine *e)
{
    return precision_name(e->motion ? PRECISION_F32 : lips_precision(e->lips));
}

// The model behind the name: a listener leads the rig, all else must be Wav2Lip.
static enum kb_code load_model(struct engine *e, enum precision precision, struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    if (file_form(e->model) == FORM_ONNX)
        return load_lanes(e, precision, NULL, err);
    enum kb_code code = weights_load(&set, e->model, err);
    if (code != KB_OK || !motion_recognize(set))
        return code == KB_OK ? load_lanes(e, precision, NULL, err) : code;
    code = motion_model_load(&e->motion, e->model, e->threads, err);
    return code == KB_OK ? follow_load(&e->follow, err) : code;
}

static void say_precision(const struct engine *e)
{
    const char *name = engine_name(e);
    if (e->lips && lips_was_measured(e->lips))
        log_info(_("the network %s runs in %s, by what koubo bench --tune measured here"), name,
                 engine_precision(e));
    else
        log_info(_("the network %s runs in %s"), name, engine_precision(e));
    if (e->wants_ranges)
        log_info(_("%s would run faster in int8: the first video will show whether it "
                   "may (koubo model quantize does that ahead of time)"),
                 name);
}

enum kb_code engine_load(struct engine *ret, const struct engine_params *params,
                         struct kb_error *err)
{
    struct engine e = {.batch = params->batch,
                       .threads = engine_threads(params->threads),
                       .cache_folder = kb_strdup(params->cache_folder)};
    watch_tell(&params->watch, STAGE_LOADING, 0, 2);
    enum kb_code code = model_find(&e.model, params->model, err);
    if (code == KB_OK)
        code = load_model(&e, params->precision, err);
    if (code == KB_OK)
        code = watch_check(&params->watch, err);
    if (code == KB_OK) {
        watch_tell(&params->watch, STAGE_LOADING, 1, 2);
        code = face_models_load(&e.faces, err);
    }
    if (code != KB_OK) {
        engine_free(&e);
        return code;
    }
    watch_tell(&params->watch, STAGE_LOADING, 2, 2);
    e.wants_ranges = e.lips && params->precision == PRECISION_AUTO &&
                     lips_auto(e.cache_folder, true, NULL) == PRECISION_INT8 &&
                     lips_precision(e.lips) != PRECISION_INT8;
    say_precision(&e);
    *ret = e;
    return KB_OK;
}

void engine_free(struct engine *e)
{
    free_lanes(e);
    motion_model_free(&e->motion);
    follow_free(&e->follow);
    face_models_free(&e->faces);
    kb_freep(&e->model);
    kb_freep(&e->cache_folder);
}

// Exchange the network for itself in int8, and remember how.
static enum kb_code go_on_in_int8(struct engine *e, const struct calibration *c,
                                  struct kb_error *err)
{
    CLEANUP(kb_freep) char *kept = NULL;
    struct kb_error why = {0};
    bool saved = lips_ranges_save(&kept, c->ranges, e->model, e->cache_folder, &why) == KB_OK;
    struct engine other = *e;
    other.n_lanes = 0;
    enum kb_code code = load_lanes(&other, PRECISION_INT8, saved ? NULL : c->ranges, err);
    if (code != KB_OK)
        return code;
    free_lanes(e);
    *e = other;
    const char *name = engine_name(e);
    if (saved)
        log_info(_("int8 agrees with f32 to %.1f dB (%d frames): %s goes on in int8 (%s)"),
                 c->psnr_db, c->checked, name, kept);
    else
        log_warn(_("int8 agrees with f32 to %.1f dB (%d frames): %s goes on in int8, but must look "
                   "again the next time: %s"),
                 c->psnr_db, c->checked, name, why.text);
    return KB_OK;
}

// The caller's progress, to whom looking at the video is preprocessing.
struct listener {
    const struct watch *watch;
    int64_t frames; // of the track, which were done before
};

static void pass_on(void *opaque, const struct progress *p)
{
    const struct listener *l = opaque;
    watch_tell(l->watch, STAGE_PREPROCESSING, l->frames + p->done, l->frames + p->total);
}

enum kb_code engine_prepare_int8(struct engine *e, const char *video, const struct track *track,
                                 const struct mel *mel, const struct watch *watch,
                                 struct kb_error *err)
{
    if (!e->wants_ranges || track_info(track)->n_faces == 0)
        return KB_OK;
    CLEANUP(calibration_clear) struct calibration c = {0};
    struct listener listener = {watch, track_info(track)->n_frames};
    struct calibrate_params p = {.model = e->model,
                                 .videos = &video,
                                 .n_videos = 1,
                                 .max_frames = CALIBRATE_FRAMES,
                                 .track = track,
                                 .mel = mel,
                                 .threads = e->threads,
                                 .watch = {watch_cancel(watch), pass_on, &listener}};
    struct kb_error why = {0};
    enum kb_code code = calibrate(&c, &p, &why);
    if (code == KB_CANCELLED)
        return watch_check(watch, err);
    e->wants_ranges = code == KB_BAD_INPUT; // too few faces; perhaps in the next video
    if (code != KB_OK)
        log_info(_("%s stays in %s: %s"), engine_name(e), precision_name(lips_precision(e->lips)),
                 why.text);
    else if (c.psnr_db < MIN_PSNR_DB)
        log_info(_("%s stays in %s: int8 agrees with f32 to only %.1f dB"), engine_name(e),
                 precision_name(lips_precision(e->lips)), c.psnr_db);
    else
        return go_on_in_int8(e, &c, err);
    return KB_OK;
}

enum kb_code engine_prepare_lead(struct engine *e, struct kb_error *err)
{
    if (!e->lips)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("--paint no is for Wav2Lip checkpoints: %s paints nothing; leave it out, or "
              "choose a checkpoint with --model"),
            engine_name(e));
    return e->follow ? KB_OK : follow_load(&e->follow, err);
}

int engine_threads(int wanted)
{
    return wanted > 0 ? wanted : kb_cpu_count();
}
