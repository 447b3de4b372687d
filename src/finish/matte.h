// How much of each pixel is the person: from a rough mask to hair. All of it works on a reduced
// picture of some 640 x 360 and is brought to the frame's own pixels by linear models of its
// colours, so that edges have the frame's sharpness for a fraction of the work.
//
//   rough mask ──► guided filter ──► colours of person and background nearby ──► what mixture of
//   the two a pixel is ──► steady over time ──► linear models, colours to mix (compose.h)
//
// Only where something can be mixed is any of it reckoned, in rectangles (areas.h) that several
// threads share; what comes out does not depend on how many.
//
// Guided filter: He, Sun, Tang 2010 and 2015; colours in mixed pixels: Forte 2021. Not thread-safe;
// may move between threads.
#ifndef FINISH_MATTE_H
#define FINISH_MATTE_H

#include "base/base.h"
#include "base/crew.h"

#include <libavutil/frame.h>

// The reduced picture: step x step pixels of the frame are one place of it. Y is 0..1; U and V are
// -1..1 about grey.
enum matte_plane {
    MATTE_Y,
    MATTE_U,
    MATTE_V,
    MATTE_ALPHA,
    // alpha = Y * GAIN_Y + U * GAIN_U + V * GAIN_V + OFFSET, of the frame's own pixels
    MATTE_GAIN_Y,
    MATTE_GAIN_U,
    MATTE_GAIN_V,
    MATTE_OFFSET,
    MATTE_FRONT,                  // colours of the person nearby: three planes
    MATTE_BACK = MATTE_FRONT + 3, // of what is behind
    N_MATTE_PLANES = MATTE_BACK + 3
};

// Of a place and those around it: all behind, all person, or something between, which alone has
// to be reckoned pixel by pixel.
enum cell { CELL_BEHIND, CELL_PERSON, CELL_MIXED };

struct matte {
    int width, height; // of the frame
    int step;          // 1, 2 or 4
    int w, h;          // of the planes
    // Those behind ALPHA are there at mixed places and those beside them.
    float *planes[N_MATTE_PLANES];
    uint8_t *cells; // enum cell
};

struct matter;
// Even sizes. The crew is borrowed while the matter lives. Never NULL.
struct matter *matter_create(int width, int height, struct crew *crew);
void matter_free(struct matter **m);
const struct matte *matter_matte(const struct matter *m);
// The frame (yuv420p of that size) comes next. is_cut: it has nothing to do with the one before.
void matter_look(struct matter *m, const AVFrame *frame, bool is_cut);
// Fills all planes from the ALPHA one on, by a mask as large as they are: a rough one of people, or
// what a coloured screen leaves.
void matter_refine(struct matter *m, const float *rough);

#endif
