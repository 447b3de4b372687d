// A person in one film as the rig sees them: one canonical mesh, a pose for every frame, and the
// mouth that everything is measured from, closed.
//
// Canonical units: 1 is the side of the crop in which the mean face has its outer eye corners at
// x 0.28 and 0.72, y 0.32; x to the right of the picture, y down, z away from the camera, 0 between
// the outer eye corners. The face looks straight ahead. Points are the TRACK_N_POINTS points of the
// track, in its order.
//
// person_fit: any thread. A struct person is plain data, read-only once made.
#ifndef RIG_PERSON_H
#define RIG_PERSON_H

#include "base/cancel.h"
#include "face/track.h"

// picture = scale * R * canonical + shift, as a 3-D similarity (Umeyama 1991); z is dropped at the
// end, for the mesh is in weak perspective.
struct pose {
    float scale;   // pixels of the picture in one canonical unit
    float r[3][3]; // rotation
    float shift[3];
};
void pose_apply(const struct pose *p, const float canonical[3], float ret_picture[2]);
void pose_invert(const struct pose *p, const float picture[3], float ret_canonical[3]);
// Least squares over n points with weights (NULL: all 1). False if they do not determine one
// (fewer than 3, all on a line, not finite).
bool pose_fit(struct pose *ret, const float (*canonical)[3], const float (*picture)[3],
              const float *weights, int n);
// Radians, as the track's: yaw > 0 turned to the right side of the picture, pitch > 0 looking down.
void pose_angles(const struct pose *p, float *ret_yaw, float *ret_pitch);

struct person {
    float mean[TRACK_N_POINTS][3];    // over the film
    float neutral[TRACK_N_POINTS][3]; // mean of the most closed 15 % of the frames, its lips closed
                                      // to a quarter of what was left open (the lower lip does 0.7
                                      // of that; the rings around the inner one come along)
    int n_frames;                     // with this face, that were looked at
    // The opening between the inner lips (mean of the nine gaps), canonical units.
    float aperture_low, aperture_high; // 5 % and 95 % of the film's frames
    bool speaks; // the mouth moves in the film as it does in speech, so that its range is the
                 // person's own
};

// KB_BAD_INPUT where the landmarks of this face never make a face (a mask, a drawing that the mesh
// cannot hold, a face of a few pixels): the sentence says which face. Looks at 600 frames at most,
// evenly spread.
enum kb_code person_fit(struct person *ret, const struct track *t, int face,
                        const struct cancel *cancel, struct kb_error *err);

// The pose of this person in any picture, from all its points. False where they make none: not
// numbers, eyes nearer than 6 pixels, or a mesh of another shape.
bool person_pose(const struct person *p, const float (*picture)[3], struct pose *ret);

// One frame of the film.
struct posed {
    struct pose pose;
    float picture[TRACK_N_POINTS][3]; // pixels of the upright, unscaled picture, smoothed over time
    float canonical[TRACK_N_POINTS][3]; // the same, unposed
    float score;                        // of the mesh, 0..1
};
// False where the face is absent or its landmarks make no pose.
bool person_at(const struct person *p, const struct track *t, int face, int frame,
               struct posed *ret);

// Mean of the nine gaps between the inner lips, canonical units; < 0 when they cross.
float lips_aperture(const float (*canonical)[3]);
// How far the jaw is down from the neutral mouth, canonical units: the mean of four points from the
// lower lip's edge to the chin. The mesh moves its chin alone by a fifth of what the teeth do, the
// lip by all that they do and more.
float person_jaw(const struct person *p, const float (*canonical)[3]);

#endif
