// A bitmap with transparency (text, a logo) that is drawn into yuv420p and yuva420p frames, in the
// frame's own matrix and range. It is converted once and kept, so a frame costs the bitmap's area
// only: 0.005 ms for the label of 720p.
//
// White is white: in frames of PQ and HLG it is that of a page (203 candela, ITU-R BT.2408), not
// the brightest that the screen can.
//
// Not thread-safe: an overlay belongs to one thread at a time.
#ifndef FINISH_OVERLAY_H
#define FINISH_OVERLAY_H

#include "base/base.h"

#include <libavutil/frame.h>

#define OVERLAY_MAX_SIDE 16384

struct overlay_bitmap {
    const uint8_t *data; // RGBA, the colours already multiplied by A; or A alone where alpha_only
    ptrdiff_t stride;    // bytes from row to row
    int width, height;   // 1 to OVERLAY_MAX_SIDE
    bool alpha_only;
    uint32_t colour; // of alpha_only: 0xRRGGBB
};

struct overlay;

// Copies the bitmap. KB_NO_SPACE; KB_INTERNAL for sizes out of range.
enum kb_code overlay_create(struct overlay **ret, const struct overlay_bitmap *bitmap,
                            struct kb_error *err);
// Its left top at x, y of the frame, which may lie outside: what does is cut off. opacity: 0 to 1.
// The frame is made writable. Where it is transparent itself it becomes as opaque as what is drawn.
// Fastest while frames have the same colours and x and y stay even or odd. KB_NO_SPACE.
enum kb_code overlay_draw(struct overlay *o, AVFrame *frame, int x, int y, float opacity,
                          struct kb_error *err);
int overlay_width(const struct overlay *o);
int overlay_height(const struct overlay *o);
void overlay_free(struct overlay **o); // NULL is fine

#endif
