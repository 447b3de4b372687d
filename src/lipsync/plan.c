#include "lipsync/plan.h"

#include "lipsync/strength.h"
#include "lipsync/style.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct plan {
    struct plan_params p;
    float gains[TRACK_MAX_FACES];
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
static float fit_gain(const struct plan_part *part, float amount)
{
    float low, high;
    if (!part->rig)
        return amount;
    motion_range(part->motion, &low, &high);
    return amount * style_gain(low, high, part->own_low, part->own_high);
}

// The listener tells every sample by itself, and lips have mass: the mean around the time takes the
// tremble out, and closures of a tenth of a second stay closed.
#define MASS_US 32000

static void lips_at(const struct plan *p, int member, int64_t pts_us, float ret[MOTION_POINTS][2])
{
    static const float weights[3] = {0.25f, 0.5f, 0.25f};
    memset(ret, 0, MOTION_POINTS * sizeof(*ret));
    for (int k = 0; k < 3; k++) {
        float delta[MOTION_POINTS][2];
        motion_at(p->p.parts[member].motion, pts_us + (k - 1) * MASS_US,
                  p->gains[member] * weights[k], delta);
        for (int i = 0; i < MOTION_POINTS; i++)
            for (int axis = 0; axis < 2; axis++)
                ret[i][axis] += delta[i][axis];
    }
}

// Who is animated in this frame of the track, or -1.
static int member_at(const struct plan *p, int track_frame)
{
    int member = cast_at(p->p.cast, track_frame);
    return member >= 0 && p->p.parts[member].rig ? member : -1;
}

// The shown frames from i on in which one shot of one person goes on; no film is smoothed, faded or
// held over the cut between two. Returns the end.
static int run_end(const struct plan *p, int i)
{
    int first = p->frames[i].track_frame, shot = track_shot(p->p.track, first);
    int member = member_at(p, first);
    do
        i++;
    while (i < p->n && track_shot(p->p.track, p->frames[i].track_frame) == shot &&
           member_at(p, p->frames[i].track_frame) == member);
    return i;
}

static enum kb_code choose_mouths(struct plan *p, int member, int first, int end,
                                  struct mouth_need *needs, struct kb_error *err)
{
    const struct rig *rig = p->p.parts[member].rig;
    for (int i = first; i < end; i++) {
        float delta[MOTION_POINTS][2];
        enum kb_code code = i % 256 ? KB_OK : cancel_check(p->p.cancel, err);
        if (code != KB_OK)
            return code;
        lips_at(p, member, p->frames[i].pts_us, delta);
        if (!rig_need(rig, p->frames[i].track_frame, (const float(*)[2])delta, &needs[i]))
            needs[i] = (struct mouth_need){.light = -1};
    }
    return mouths_plan(rig_mouths(rig), needs + first, end - first, p->mouths + first, err);
}

static enum kb_code plan_runs(struct plan *p, struct kb_error *err)
{
    CLEANUP(kb_freep)
    struct mouth_need *needs = kb_calloc_checked((size_t)KB_MAX(p->n, 1), sizeof(*needs));
    p->strengths = kb_calloc_checked((size_t)KB_MAX(p->n, 1), sizeof(*p->strengths));
    p->mouths = kb_calloc_checked((size_t)KB_MAX(p->n, 1), sizeof(*p->mouths));
    if (!needs || !p->strengths || !p->mouths)
        return kb_no_memory(err);
    enum kb_code code = KB_OK;
    for (int i = 0, end; i < p->n && code == KB_OK; i = end) {
        int member = member_at(p, p->frames[i].track_frame);
        end = run_end(p, i);
        if (member < 0)
            continue; // strengths are 0
        strength_plan(p->p.track, cast_face(p->p.cast, member), p->frames + i, end - i,
                      p->p.speech_us, p->strengths + i);
        code = choose_mouths(p, member, i, end, needs, err);
    }
    return code;
}

enum kb_code plan_create(struct plan **ret, const struct plan_params *params, struct kb_error *err)
{
    CLEANUP(plan_free) struct plan *p = kb_alloc(sizeof(*p));
    p->p = *params;
    for (int i = 0; i < cast_count(params->cast); i++)
        p->gains[i] = fit_gain(&params->parts[i], params->amount);
    enum kb_code code = timeline_plan(&params->source, &p->frames, &p->n, err);
    if (code == KB_OK)
        code = plan_runs(p, err);
    if (code != KB_OK)
        return code;
    // A film of one picture is a picture.
    int member = member_at(p, 0);
    p->is_still = track_info(params->track)->n_frames == 1 && member >= 0 &&
                  still_begin(&p->still, params->track, cast_face(params->cast, member), 0,
                              params->scale_x, params->scale_y, params->still_motion);
    *ret = TAKE(p);
    return KB_OK;
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
    const struct motion *motion = p->p.parts[member_at(p, 0)].motion;
    *ret = still_at(&p->still, pts_us, liveliness(motion, pts_us));
    return &p->still;
}

float plan_gain(const struct plan *p, int member)
{
    return p->gains[member];
}

bool plan_draws(const struct plan *p, int64_t n, int64_t pts_us)
{
    return p->is_still || (p->strengths[n] > 0 && pts_us < p->p.speech_us);
}

bool plan_frame(const struct plan *p, int64_t n, const struct shown_frame *shown,
                struct rig_frame *ret, const struct rig **ret_rig)
{
    // A film that gave more frames than its track promised goes on as it ended.
    int i = (int)KB_MIN(n, p->n - 1);
    int member = i < 0 ? -1 : member_at(p, shown->track_frame);
    if (member < 0 || !(p->strengths[i] > 0) || shown->pts_us >= p->p.speech_us)
        return false;
    // Pictures may be missing (timeline.h): then this one lies beyond a cut of the plan.
    bool planned = member == member_at(p, p->frames[i].track_frame);
    *ret = (struct rig_frame){.track_frame = shown->track_frame,
                              .mouth = planned ? p->mouths[i] : (struct mouth_choice){0},
                              .strength = p->strengths[i],
                              .scale_x = p->p.scale_x,
                              .scale_y = p->p.scale_y};
    lips_at(p, member, shown->pts_us, ret->delta);
    *ret_rig = p->p.parts[member].rig;
    return true;
}
