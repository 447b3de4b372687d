// Cuts the picture around a mouth out of a frame. Thread-safe (no state).
#ifndef FACE_MOUTH_CROP_H
#define FACE_MOUTH_CROP_H

#include "face/track_internal.h"

// Where the crop lies: lips (x0, y0, x1, y1, inside the frame) grown on every side by `grow`
// pixels, cut to the frame, beginning at an even pixel. Fills all of *ret but frame and pixels.
void mouth_crop_place(struct kept_mouth *ret, const AVFrame *frame, const float lips[4],
                      float grow);

// How sharp the frame is there: the logarithm of the variance of the Laplacian of luma at a fixed
// number of columns (Pech-Pacheco et al. 2000). Crops with fewer columns count as less sharp.
float mouth_crop_sharpness(const AVFrame *frame, const struct kept_mouth *place);

// Copy the pixels, scaled by area averaging where place says so. KB_NO_SPACE.
enum kb_code mouth_crop_take(struct kept_mouth *place, const AVFrame *frame, struct kb_error *err);

#endif
