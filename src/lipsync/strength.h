// Where the lips may be moved, and how strongly: not on profiles, not where something covers the
// mouth, not at the picture's edge, not after the speech; and never from one to the other at once.
// Internal to lipsync/. Thread-safe (no state).
#ifndef LIPSYNC_STRENGTH_H
#define LIPSYNC_STRENGTH_H

#include "lipsync/timeline.h"

// ret: of each of the n shown frames, 0 = the film as it is … 1 = as the speech says.
void strength_plan(const struct track *track, int face, const struct planned_frame *frames, int n,
                   int64_t speech_us, float *ret);

#endif
