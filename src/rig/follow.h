// How the face around the lips follows them: a linear map from the displacements of the 40 points
// of the lips to those of the points around them, and to the depth of the lips themselves. Its
// numbers are `models/koubo-follow.safetensors`; docs/models.md has the contract of the file.
//
// A struct follow is read-only once made, any thread.
#ifndef RIG_FOLLOW_H
#define RIG_FOLLOW_H

#include "face/track.h"

#define FOLLOW_N_LIPS (2 * TRACK_N_LIPS) // outer, then inner, in the track's order

struct follow;

// The shipped map. KB_NOT_FOUND, KB_BAD_INPUT.
enum kb_code follow_load(struct follow **ret, struct kb_error *err);
enum kb_code follow_read(struct follow **ret, const char *path, struct kb_error *err);
void follow_free(struct follow **f); // NULL is fine

// Displacements of all points of the track, canonical units (rig/person.h), for those of the lips.
// Lips go where they are told, with a depth of the map's; what the map does not know stays, 0.
void follow_apply(const struct follow *f, const float delta[FOLLOW_N_LIPS][2],
                  float ret[TRACK_N_POINTS][3]);

#endif
