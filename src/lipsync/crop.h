// Where the network looks in a frame, and what it sees there. Internal to lipsync/.
// Thread-safe: everything is read-only once made.
#ifndef LIPSYNC_CROP_H
#define LIPSYNC_CROP_H

#include "face/warp.h"
#include "lipsync/lips.h"

struct cropper {
    const struct lips_spec *spec;
    const struct track *track;
    int face;
    float scale_x, scale_y; // pixels of the job's frames per pixel of the track
    int frame_width, frame_height;
    float pads[4]; // top, bottom, left, right in pixels of the job's frames; box crops
    bool nosmooth;
};

// The crop of one frame: takes crop pixels (0…width, 0…height of the spec) to frame pixels.
// False if the face is absent or degenerate.
bool crop_of(const struct cropper *c, int track_frame, struct affine *ret_to_frame);

// The track's points of one frame (smoothed as the crop) in crop pixels.
bool crop_points(const struct cropper *c, int track_frame, const struct affine *to_frame,
                 float (*ret)[2]);

// The track's reference picture through the same kind of crop: width * height * 3 floats 0..1 in
// the spec's channel order.
void crop_reference(const struct cropper *c, float *ret);

// Put target (width * height * 3, whole) and reference side by side as the network wants them:
// six floats a pixel, the target black from mask_top on.
void crop_interleave(const struct lips_spec *spec, const float *target, const float *reference,
                     float *ret);

#endif
