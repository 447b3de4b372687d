// A network that paints leads the rig (--paint no): Wav2Lip's mouth is 96 pixels across and soft,
// but its shape is that of the speech. So its picture is put into the film only to be looked at:
// the face mesh reads the lips in it, and the rig moves the film's own pixels to where they are, at
// the film's own resolution. Internal to lipsync/.
//
// Not thread-safe.
#ifndef LIPSYNC_LEAD_H
#define LIPSYNC_LEAD_H

#include "face/models.h"
#include "lipsync/motion.h"
#include "lipsync/pipeline.h"
#include "rig/person.h"

struct lead_params { // borrowed
    // The network's pass over the film, as if its picture were to be kept: source (whose
    // reader is left at its end), cast, lanes, mel, cropper, paste, cancel and progress. Where its
    // frames go is not looked at.
    struct pipeline_params painting;
    const struct person *const *persons; // of each member of the cast; NULL: they are not read
    struct face_models *faces;
};

// The lips that the network paints, as motion: read frame by frame, and smoothed over time by less
// than a frame. Frames without a face are bridged. Progress: STAGE_GENERATING. *ret_frames: how
// many frames it went through. KB_BAD_INPUT where the mesh sees a face in none of the painted
// frames; KB_CANCELLED.
enum kb_code lead_run(struct motion **ret, int64_t *ret_frames, const struct lead_params *p,
                      struct kb_error *err);

// The lips in one picture: displacements from the person's closed mouth, canonical, in the track's
// order. seen: where the face is, as the track has it; scale_x, scale_y: pixels of the picture per
// pixel of the track's. *ret_found: false where the mesh sees no face.
enum kb_code lead_read(struct face_models *faces, const struct person *person,
                       const AVFrame *picture, const struct track_face *seen, float scale_x,
                       float scale_y, float ret[MOTION_POINTS][2], bool *ret_found,
                       struct kb_error *err);

#endif
