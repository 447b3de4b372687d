// Chooses, while a video is decoded, the pictures of a person's mouth that the track keeps (struct
// track_mouth): as different as can be in shape, pose and light, and of what is alike the sharpest.
//
// Each picture is a point in a space of six numbers (opening, width and roundness of the lips, yaw,
// pitch, light), scaled so that 1 is a difference that can be seen. A frame is taken when it is
// further from all that is kept than the closest two of these are from each other; then the worse
// of those two goes. That is the greedy answer to the k-centres problem for what passes only once.
// Not thread-safe.
#ifndef FACE_LIBRARY_H
#define FACE_LIBRARY_H

#include "face/track_internal.h"

#define LIBRARY_SHAPE 6
// Pictures of a person who has not been seen long enough to be one of the track's faces.
#define LIBRARY_FEW 8

struct library_entry {
    struct kept_mouth mouth;
    float shape[LIBRARY_SHAPE];
    float steadiness;    // how sure the mesh is and how little the lips moved; 0 = best
    float quality;       // the same with sharpness: larger is better
    int next_look, wait; // when a better picture of the same is looked for again, in frames
};

struct library {
    bool whole; // may hold TRACK_MAX_MOUTHS, else LIBRARY_FEW
    int n;
    struct library_entry list[TRACK_MAX_MOUTHS];
    float least_opening; // seen so far, at most what a closed mouth may seem to be
    int last_frame;      // number of the frame that last_lips are of, plus 1; 0 = none
    float last_lips[2 * TRACK_N_LIPS][2];
};

// Adds the mean Y, U and V of each of some small patches of skin around the mouth, those inside the
// picture. How many these were.
int library_skin(const struct mesh *m, const AVFrame *frame, double sums[3]);

// May it hold all that a face of the track may, or only a few? Drops what is too much.
void library_allow(struct library *l, bool whole);
// Look at the mouth in this frame and keep its picture if it adds something. KB_NO_SPACE.
enum kb_code library_offer(struct library *l, const AVFrame *frame, int number,
                           const struct mesh *mesh, struct kb_error *err);
// What another one of the same person holds, chosen as if it had been offered here; it is left
// empty.
void library_join(struct library *to, struct library *from);
// Something turned out to cover the mouth in this frame.
void library_forget(struct library *l, int number);
// Hand over what was chosen, in the order of frames, less what is blurred: where most
// of the others are not, or something sharper shows nearly the same. Leaves the library empty.
void library_take(struct library *l, struct kept_mouth **ret, int *ret_n);
void library_clear(struct library *l);

#endif
