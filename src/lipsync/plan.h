// What the rig does in each frame of a dub, decided for the whole dub before the first frame is
// drawn: which lips, which mouth between them, and how strongly. Internal to lipsync/. Read-only
// once made, any thread.
#ifndef LIPSYNC_PLAN_H
#define LIPSYNC_PLAN_H

#include "face/cast.h"
#include "lipsync/motion.h"
#include "lipsync/timeline.h"
#include "rig/rig.h"
#include "rig/still.h"

// One of those who are animated.
struct plan_part {
    const struct rig *rig;       // NULL: they are not, their landmarks make no face
    const struct motion *motion; // told by a listener, or read in what a network painted
    // 5 % and 95 % of the opening that the person has when speaking, to which the motion is
    // stretched; 0, 0: it is that person's already, or a mean speaker's and shall stay so
    float own_low, own_high;
};

struct plan_params { // borrowed, must outlive the plan
    const struct track *track;
    const struct cast *cast;
    const struct plan_part *parts; // of each member of the cast
    struct timeline_params source;
    int64_t speech_us;      // from here on the film is shown as it is
    float amount;           // of the motion, on top of that
    float still_motion;     // 0..1: of the head and the lids of a still picture
    float scale_x, scale_y; // pixels of the frame per pixel of the track's picture
    const struct cancel *cancel;
};

struct plan;

enum kb_code plan_create(struct plan **ret, const struct plan_params *p, struct kb_error *err);
void plan_free(struct plan **p);

// The n-th shown frame, and the rig that draws it. False: the film is shown as it is.
bool plan_frame(const struct plan *p, int64_t n, const struct shown_frame *shown,
                struct rig_frame *ret, const struct rig **ret_rig);
// Is anything drawn in the n-th frame, which is planned for that time?
bool plan_draws(const struct plan *p, int64_t n, int64_t pts_us);
// The head of a still picture at the time of a shown frame. NULL: this is a film, it moves by
// itself.
const struct still *plan_still(const struct plan *p, int64_t pts_us, struct still_state *ret);
// How far the speech's motion is stretched for this member of the cast.
float plan_gain(const struct plan *p, int member);

#endif
