// Tells where something covers a person's mouth: a hand, a cup, a microphone that comes and goes.
//
// Each frame keeps the colours at landmarks of the lips and of the skin around them, in the light
// that falls on nose and cheeks. When all frames are there, each place has its usual colour and a
// usual spread around it (median and median deviation), which speaking, turning and compression
// have made as wide as they need. A frame in which many places at once are far off is covered.
//
// What is before the mouth most of the time is how this person looks: that is no cover. But that no
// lip's colour is seen there can be told (cover_hides).
//
// Thread-safe (no state).
#ifndef FACE_COVER_H
#define FACE_COVER_H

#include "face/track_internal.h"

#define COVER_LIPS  TRACK_N_LIPS  // places on the lips: the ring between both edges
#define COVER_SKIN  TRACK_N_LOWER // on chin, jaw and cheeks
#define COVER_CELLS (COVER_LIPS + COVER_SKIN)

// What the mouth's surroundings look like in one frame, 207 bytes.
struct cover_look {
    uint8_t yuv[COVER_CELLS][3]; // means of small squares in the light of 128; luma 0: not in the
                                 // picture
};

void cover_see(struct cover_look *ret, const AVFrame *frame, const struct mesh *mesh);

// What is usual.
struct cover_model {
    uint8_t median[COVER_CELLS][3];
    float spread[COVER_CELLS][3]; // one standard deviation or more; 0: too seldom seen
};
// looks: n of them, all frames of a person; looks at 600 at most, evenly spread.
void cover_learn(struct cover_model *ret, const struct cover_look *looks, int n);
// 0 = as ever, 1 = surely covered.
float cover_of(const struct cover_model *m, const struct cover_look *look);
// The part of the lower lip that is mostly not seen, 0..1: places as grey as a microphone on a face
// that is not. Of the lower lip, because moustaches hang over the upper one.
float cover_hides(const struct cover_model *m);

#endif
