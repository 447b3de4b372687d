// The path of a virtual camera along one direction of a film, planned for all of it before the
// first picture: it rests while who is filmed stays about where they are, moves softly when they go
// elsewhere for long, and jumps only where the film is cut. Thread-safe: no state.
#ifndef FINISH_CAMERA_H
#define FINISH_CAMERA_H

#include "base/base.h"
#include "base/cancel.h"

// A move takes so long, from rest to rest.
#define CAMERA_MOVE_US 1600000

// One frame of the film.
struct camera_point {
    int64_t pts_us; // strictly increasing
    float wanted;   // where the window would begin, in pixels, if it followed at once
    bool seen;      // else nobody knows
    bool cut;       // another view begins here
};

// ret[i], i < n: where the window begins, 0 to room; a whole even number wherever it rests. room:
// even; size: of the window, of which the dead zone is a part. A view in which nobody is seen stays
// where the one before was, the first one in the middle. KB_NO_SPACE, KB_CANCELLED.
enum kb_code camera_plan(float *ret, const struct camera_point *points, int n, int room, int size,
                         const struct cancel *cancel, struct kb_error *err);

#endif
