// Who is animated where: the face that a job asks for, in every view of the film.
//
// Where the chosen one is seen, it is them. In another view somebody is animated too, for most
// often it is the same person whom nobody recognised (face/likeness.h): by the same choice, but
// nobody who is elsewhere seen beside the chosen one, or looks more like one of those; nor somebody
// who looks quite different, if the chosen one was named by number, or by a point and a time, or
// told by place from somebody beside them. A face that is too small is left alone in all frames of
// a view. Read-only once made, any thread.
#ifndef FACE_CAST_H
#define FACE_CAST_H

#include "face/track.h"

// Higher than this many pixels a face is followed well. Down to the second it is animated if it was
// found in nearly all frames of its view; never below that.
#define CAST_SAFE_PX  64
#define CAST_LEAST_PX 40

struct cast_params {
    enum face_choice choice;
    int number;   // of FACE_NUMBER
    double at[3]; // of FACE_AT, as track_choose_at()
    bool upright; // leave alone who stands on their head
};

struct cast_gaps { // views in which a face would be animated if it were
    int n_small, n_turned;
    float size; // of the largest of the small ones
};

struct cast;
// KB_NOT_FOUND as track_choose(). A cast without members is no error: cast_gaps() says why.
enum kb_code cast_make(struct cast **ret, const struct track *t, const struct cast_params *p,
                       struct kb_error *err);
void cast_free(struct cast **c);

// Those who are animated anywhere.
int cast_count(const struct cast *c);
int cast_face(const struct cast *c, int member); // of the track
// Which of them in this frame (they may be absent from it), or -1. Frames beyond the last one count
// as that.
int cast_at(const struct cast *c, int frame);
// The chosen one; who else is animated first, if they are not.
int cast_lead(const struct cast *c);
const struct cast_gaps *cast_gaps(const struct cast *c);

#endif
