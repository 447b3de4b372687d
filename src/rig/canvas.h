// What a frame's drawing needs beside the frame: a copy of its pixels around the mouth, maps, rows.
// Internal to rig/. Not thread-safe: one thread draws into a canvas.
#ifndef RIG_CANVAS_H
#define RIG_CANVAS_H

#include "rig/mouth.h"
#include "rig/raster.h"
#include "rig/sample.h"

#include <libavutil/frame.h>

struct canvas {
    // The copy: luma from (x0, y0) on, both even, edges of the frame repeated outwards.
    int x0, y0, width, height;
    uint8_t *copy;
    size_t copy_size;
    struct plane planes[3];
    struct raster raster;
    float *rows[4]; // of row_width floats
    uint8_t *bytes;
    int row_width;
};

// Copy the frame's pixels of an area of luma, which may reach beyond it. False where it does not
// meet the frame or has more than 2^26 pixels.
bool canvas_copy(struct canvas *c, const AVFrame *frame, int x0, int y0, int x1, int y1);
// Write the frame from the copy by the map of displacements (two values: from a pixel to where it
// comes from).
void canvas_warp(struct canvas *c, AVFrame *frame);
// Blend a picture over the frame by the map (six values: place in the picture x and y, factor of
// luma, pixels below the upper and above the lower edge of what it fills, how much of the cavity
// covers the picture). gain: of luma around black; shift: of U and V; cavity: Y, U, V in the
// frame's light; feather: pixels; strength: 0..1.
struct inlay {
    struct mouth_picture from;
    float gain, shift[2], cavity[3];
    float feather, strength;
};
void canvas_inlay(struct canvas *c, AVFrame *frame, const struct inlay *in);

#endif
