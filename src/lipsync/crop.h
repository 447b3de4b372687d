// Where Wav2Lip looks in a frame, and what it sees there: the landmarks' box. Internal to lipsync/.
// Thread-safe: everything is read-only once made.
#ifndef LIPSYNC_CROP_H
#define LIPSYNC_CROP_H

#include "face/track.h"
#include "face/warp.h"
#include "lipsync/lips.h"

struct cropper {
    const struct track *track;
    int face;
    float scale_x, scale_y; // pixels of the dub's frames per pixel of the track
    int frame_width, frame_height;
    float pads[4]; // top, bottom, left, right in pixels of the dub's frames
    bool nosmooth;
    int side; // of the crop in its own pixels: lips_side()
};

// The crop of one frame: takes crop pixels (0…side) to frame pixels.
// False if the face is absent or degenerate.
bool crop_of(const struct cropper *c, int track_frame, struct affine *ret_to_frame);

// The track's points of one frame (smoothed as the crop) in crop pixels.
bool crop_points(const struct cropper *c, int track_frame, const struct affine *to_frame,
                 float (*ret)[2]);

// The pixels of the crop, LIPS_FLOATS_OF(side).
void crop_take(const AVFrame *frame, const struct affine *to_frame, int side, float *ret);

// A crop as the network wants it: six floats a pixel, with the lower half black and then whole.
void crop_interleave(const float *crop, int side, float *ret);

#endif
