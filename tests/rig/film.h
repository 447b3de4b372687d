// Tracks of a face made of numbers, for the tests of rig: a canonical mesh that is known, moved by
// poses that are known.
#ifndef TESTS_RIG_FILM_H
#define TESTS_RIG_FILM_H

#include "face/track_internal.h"
#include "rig/person.h"

// What one frame shows. scale 0: no face.
struct shot {
    float scale, yaw, pitch, roll, x, y; // pixels in a canonical unit, radians, place of (0, 0)
    float open;                          // the gap in the middle of the mouth, canonical units
    float score;                         // 0: 0.95
};

// The face in canonical units, its mouth open so far, in the track's order.
void film_face(float open, float (*ret)[3]);
struct pose film_pose(const struct shot *shot);
// A film of 1280x720 at 25 frames a second with one face.
struct track *film_make(const struct shot *shots, int n);
// Keeps a picture of frame i: width pixels for a canonical unit and a half about the mouth, painted
// with grey 100 outside the lips and value inside.
void film_keep_mouth(struct track *t, int frame, int width, uint8_t value);

#endif
