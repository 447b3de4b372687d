// What a dub needs before its first frame is moved: a rig and a way of speaking for each of those
// who are animated, other films of the person, the motion that a network painted, and the plan of
// all frames. Internal to lipsync/. Not thread-safe; once made, rig and plan are read-only.
#ifndef LIPSYNC_RIGGING_H
#define LIPSYNC_RIGGING_H

#include "lipsync/dub.h"
#include "lipsync/pipeline.h"
#include "lipsync/plan.h"
#include "lipsync/style.h"

// The progress of a job that goes through its film twice, where every frame counts for two, or
// through other films after its own.
struct passes {
    const struct watch *watch;
    int64_t first; // frames of the passes before; 0 while the first of two runs
};
void passes_report(void *opaque, const struct progress *p);

struct rigging_params { // borrowed, must outlive the rigging
    const struct dub_params *p;
    struct engine *engine;
    const struct mel *mel;
    const struct motion *motion; // told by the listener; NULL where a network leads
    const struct track *track;
    const struct cast *cast; // not empty
    const struct reader_info *film;
    struct timeline_params source;
    struct pipeline_params painting; // of a network that leads (dub_params.lead)
};

struct rigging {
    struct {
        struct rig *rig;
        struct style style;
        struct motion *styled;  // told by the listener, as the person does it; NULL: nothing learnt
    } members[TRACK_MAX_FACES]; // of the cast
    struct plan_part parts[TRACK_MAX_FACES];
    struct motion *led; // of a network that leads; else NULL
    struct passes passes;
    struct track *mouth_from, *style_from;
    struct plan *plan;
};

// All but the plan. A network that leads leaves the film at its end. KB_BAD_INPUT where none of
// them can be moved.
enum kb_code rigging_make(struct rigging *ret, const struct rigging_params *p,
                          struct kb_error *err);
// The plan, once they are made; another one before is gone.
enum kb_code rigging_plan(struct rigging *r, const struct rigging_params *p, struct kb_error *err);
void rigging_clear(struct rigging *r); // all-zero is fine

// KB_BAD_INPUT: the sentence of a video in which nobody is seen.
enum kb_code no_face(const char *video, struct kb_error *err);

#endif
