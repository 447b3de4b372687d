// The part of a picture that a crop covers, at about the crop's resolution, Y, U and V side by
// side. Internal to face/. Thread-safe (no state).
#ifndef FACE_REGION_H
#define FACE_REGION_H

#include "base/base.h"

#include <libavutil/frame.h>

#define REGION_MAX_SHRINK 16

// Which part: region pixel (x, y) is the mean of the frame's pixels from (x0 + x) * shrink_x,
// (y0 + y) * shrink_y on. Beyond the frame its edge is repeated. x0 and y0 are even.
struct region_place {
    int x0, y0, width, height;
    int shrink_x, shrink_y; // powers of two up to REGION_MAX_SHRINK
};

struct region {
    struct region_place place;
    uint32_t *pixels; // width * height of them, in memory Y, U, V, 0 (little endian)
};

// frame: AV_PIX_FMT_YUV420P. place: at least one pixel of it lies in the frame. Chroma is taken at
// the middle of each region pixel, wherever the frame's samples lie (AVFrame.chroma_location).
void region_take(struct region *ret, const AVFrame *frame, const struct region_place *place);
void region_clear(struct region *r);

#endif
