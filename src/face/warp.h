// Affine sampling of a YUV 4:2:0 picture into float RGB, and the small geometry it needs.
// Thread-safe (no state).
#ifndef FACE_WARP_H
#define FACE_WARP_H

#include "base/base.h"

#include <libavutil/frame.h>

// x' = xx * x + xy * y + x0,  y' = yx * x + yy * y + y0.
// Pixel centres are at integer + 0.5 on both sides.
struct affine {
    float xx, xy, x0;
    float yx, yy, y0;
};

struct affine affine_invert(const struct affine *m); // m must not be singular
void affine_apply(const struct affine *m, float x, float y, float *ret_x, float *ret_y);

// Least-squares similarity (rotation, one scale, shift) that takes from[i] to to[i], n >= 2.
// Umeyama 1991 without reflection, in closed form for 2-D.
struct affine affine_fit_similarity(const float (*from)[2], const float (*to)[2], int n);

// How a picture's YUV becomes RGB and back (matrix and range of one frame; unspecified matrices are
// BT.709 from 720 rows up, else BT.601, as players assume).
struct yuv_matrix {
    float y_offset, y_scale;         // y' = (Y - y_offset) * y_scale, 0..1
    float r_v, g_u, g_v, b_u;        // r = y' + r_v * V', … with U' = U - 128
    float to_y[3], to_u[3], to_v[3]; // back: Y = y_offset + to_y . rgb; U = 128 + to_u . rgb
};
struct yuv_matrix yuv_matrix_of(const AVFrame *frame);

struct warp_params {
    int width, height; // of the crop
    int pixel_stride;  // floats from one pixel to the next in dst, >= 3
    bool bgr;          // channel order B, G, R
    float low, high;   // black and white become these (0, 1 or -1, 1)
};

// Sample frame (AV_PIX_FMT_YUV420P) through to_frame, which takes crop pixels to frame pixels, into
// dst (width * height pixels). Bilinear; where the crop shrinks the picture by more than 2.1, from
// a copy of that part of it shrunk to between one and two times the crop's resolution, so that it
// does not alias. Outside the frame: black.
void warp_crop(const AVFrame *frame, const struct affine *to_frame, const struct warp_params *p,
               float *dst);

#endif
