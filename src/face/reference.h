// Chooses, while a video is decoded, the picture of a face that the mouth network takes as its
// reference. A few good candidates are kept; the choice among them is made at the end, when the
// usual pose of the face is known. Not thread-safe.
#ifndef FACE_REFERENCE_H
#define FACE_REFERENCE_H

#include "face/track_internal.h"

#define REFERENCE_CANDIDATES 3

struct candidate {
    float cost; // of the picture itself, without pose: smaller is better
    float angles[3];
    struct track_reference reference; // rgb owned
};

struct candidates {
    int n;
    struct candidate list[REFERENCE_CANDIDATES];
    double angle_sums[3]; // of all frames offered
    int n_offered;
    float least_blur; // of the pictures looked at
};

// Look at the face in this frame and keep its picture if it is among the best so far.
enum kb_code candidates_offer(struct candidates *c, const AVFrame *frame, int number,
                              const struct mesh *mesh, struct kb_error *err);
// Keep only the best, to save memory.
void candidates_trim(struct candidates *c);
// Hand over the one nearest to the usual pose (yaw, pitch, roll), weighed with its quality.
struct track_reference candidates_take(struct candidates *c, const float usual[3]);
void candidates_clear(struct candidates *c);

#endif
