#include "lipsync/plan.h"

#include "lipsync/strength.h"
#include "lipsync/style.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct plan {
    struct plan_params p;
    float gain;
    bool is_still;
    struct still still;
    int n;
    struct planned_frame *frames;
    float *strengths;
    struct mouth_choice *mouths;
};

void plan_free(struct plan **p)
{
    if (!*p)
        return;
    free((*p)->frames);
    free((*p)->strengths);
    free((*p)->mouths);
    free(*p);
    *p = NULL;
}

// The speech opens the mouth as far as the person does in the film, if the person speaks there.
static float fit_gain(const struct plan_params *p)
{
    float low, high;
    motion_range(p->motion, &low, &high);
    return p->amount * style_gain(low, high, p->own_low, p->own_high);
}

// The listener tells every sample by itself, and lips have mass: the mean around the time takes the
// tremble out, and closures of a tenth of a second stay closed.
#define MASS_US 32000

static void lips_at(const struct plan *p, int64_t pts_us, float ret[MOTION_POINTS][2])
{
    static const float weights[3] = {0.25f, 0.5f, 0.25f};
    memset(ret, 0, MOTION_POINTS * sizeof(*ret));
    for (int k = 0; k < 3; k++) {
        float delta[MOTION_POINTS][2];
        motion_at(p->p.motion, pts_us + (k - 1) * MASS_US, p->gain * weights[k], delta);
        for (int i = 0; i < MOTION_POINTS; i++)
            for (int axis = 0; axis < 2; axis++)
                ret[i][axis] += delta[i][axis];
    }
}

static enum kb_code choose_mouths(struct plan *p, struct kb_error *err)
{
    CLEANUP(kb_freep)
    struct mouth_need *needs = kb_calloc_checked((size_t)p->n, sizeof(*needs));
    p->mouths = kb_calloc_checked((size_t)p->n, sizeof(*p->mouths));
    if (!needs || !p->mouths)
        return kb_no_memory(err);
    for (int i = 0; i < p->n; i++) {
        float delta[MOTION_POINTS][2];
        enum kb_code code = i % 256 ? KB_OK : cancel_check(p->p.cancel, err);
        if (code != KB_OK)
            return code;
        lips_at(p, p->frames[i].pts_us, delta);
        if (!rig_need(p->p.rig, p->frames[i].track_frame, (const float(*)[2])delta, &needs[i]))
            needs[i] = (struct mouth_need){.light = -1};
    }
    return mouths_plan(rig_mouths(p->p.rig), needs, p->n, p->mouths, err);
}

enum kb_code plan_create(struct plan **ret, const struct plan_params *params, struct kb_error *err)
{
    CLEANUP(plan_free) struct plan *p = kb_alloc(sizeof(*p));
    p->p = *params;
    p->gain = fit_gain(params);
    enum kb_code code = timeline_plan(&params->source, &p->frames, &p->n, err);
    if (code != KB_OK)
        return code;
    p->strengths = kb_calloc_checked((size_t)KB_MAX(p->n, 1), sizeof(*p->strengths));
    if (!p->strengths)
        return kb_no_memory(err);
    strength_plan(params->track, params->face, p->frames, p->n, params->speech_us, p->strengths);
    // A film of one picture is a picture.
    p->is_still = track_info(params->track)->n_frames == 1 &&
                  still_begin(&p->still, params->track, params->face, 0, params->scale_x,
                              params->scale_y, params->still_motion);
    if (p->n > 0)
        code = choose_mouths(p, err);
    if (code == KB_OK)
        *ret = TAKE(p);
    return code;
}

// How lively the speech is around a time: the mean of the voice over half a second.
static float liveliness(const struct motion *m, int64_t pts_us)
{
    int at = (int)KB_MIN(pts_us * MOTION_RATE_HZ / 1000000, m->n - 1), reach = MOTION_RATE_HZ / 4;
    int first = KB_MAX(at - reach, 0), last = KB_MIN(at + reach, m->n - 1);
    float sum = 0;
    for (int i = first; i <= last; i++)
        sum += m->voice[i];
    return last >= first ? sum / (float)(last - first + 1) : 0;
}

const struct still *plan_still(const struct plan *p, int64_t pts_us, struct still_state *ret)
{
    if (!p->is_still)
        return NULL;
    *ret = still_at(&p->still, pts_us, liveliness(p->p.motion, pts_us));
    return &p->still;
}

float plan_gain(const struct plan *p)
{
    return p->gain;
}

bool plan_frame(const struct plan *p, int64_t n, const struct shown_frame *shown,
                struct rig_frame *ret)
{
    // A film that gave more frames than its track promised goes on as it ended.
    int i = (int)KB_MIN(n, p->n - 1);
    if (i < 0 || !(p->strengths[i] > 0) || shown->pts_us >= p->p.speech_us)
        return false;
    *ret = (struct rig_frame){.track_frame = shown->track_frame,
                              .mouth = p->mouths[i],
                              .strength = p->strengths[i],
                              .scale_x = p->p.scale_x,
                              .scale_y = p->p.scale_y};
    lips_at(p, shown->pts_us, ret->delta);
    return true;
}
