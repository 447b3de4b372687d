// A still picture lives: the head moves a little and slowly, and the eyes blink, by warps of the
// picture's own pixels. Nothing moves at the picture's edges, and nothing has a seam.
//
// A struct still is plain data, read-only once made, any thread.
#ifndef RIG_STILL_H
#define RIG_STILL_H

#include "rig/rig.h"

struct still {
    float points[TRACK_N_POINTS][2]; // of the picture, pixels
    float centre[2], radius;         // of the head: half its height
    float amount;                    // 0..1
};

// amount 1: at most 1.5 degrees and 1 % of the face's height. False: no face there, or nothing to
// do.
bool still_begin(struct still *ret, const struct track *t, int face, int frame, float scale_x,
                 float scale_y, float amount);

// Where the head is at a time of the film.
struct still_state {
    float angle;    // radians, clockwise in the picture
    float shift[2]; // in heights of the face
    float blink;    // 0 open, 1 closed
};
// voice: 0..1, smooth: the head follows the speech's rhythm. The same times give the same motion.
struct still_state still_at(const struct still *s, int64_t time_us, float voice);
// frame: writable AV_PIX_FMT_YUV420P, drawn last.
void still_draw(const struct still *s, struct canvas *c, AVFrame *frame,
                const struct still_state *state);

#endif
