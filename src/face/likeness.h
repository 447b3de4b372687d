// Whether two stretches of a film show the same person: by the shape of the face and the colour of
// the skin. Enough to know somebody again after a cut in the same film, where light and camera are
// mostly the same; no recognition of people. Where in doubt they are different: who is taken for
// somebody else only loses what the other stretch knows of them.
// Thread-safe (no state).
#ifndef FACE_LIKENESS_H
#define FACE_LIKENESS_H

#include "face/track_internal.h"

#define LIKENESS_POINTS 30
#define LIKENESS_SHAPES (LIKENESS_POINTS * (LIKENESS_POINTS - 1) / 2)

struct likeness {
    int n;                         // frames it is the mean of; 0: nothing is known
    float shapes[LIKENESS_SHAPES]; // distances between points that speech leaves alone, mean 1
    float skin[2];                 // U, V
};

// records: n of them, 200 at most are looked at, evenly spread. skin: mean Y, U, V (track_skin()).
void likeness_of(struct likeness *ret, const struct track_record *records, int n,
                 const float skin[3]);
// 0 = alike; below 1 the same person. Infinite where nothing is known of one.
float likeness_distance(const struct likeness *a, const struct likeness *b);
// What is known of both together.
void likeness_add(struct likeness *to, const struct likeness *more);

#endif
