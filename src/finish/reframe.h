// The picture in another shape, around the face that speaks: a virtual camera that rests, moves
// softly and jumps only at cuts (finish/camera.h), with the eyes where a cameraman has them.
// Thread-safe: no state.
#ifndef FINISH_REFRAME_H
#define FINISH_REFRAME_H

#include "base/base.h"

#define REFRAME_MAX_ZOOM 3

struct reframe_params {
    int width, height; // the shape, as shown: 9 and 16; 0: as the film
    float zoom;        // nearer than the largest window of that shape, 1 to REFRAME_MAX_ZOOM; 0 = 1
    int rows;          // of the output at most; 0: as many as there are, its shorter side 1080 at
                       // most
};

// "9:16": two whole numbers from 1 to 100, not further apart than 1 to 4. False if it is anything
// else.
bool reframe_parse(const char *text, struct reframe_params *ret);

struct finish_step;
extern const struct finish_step reframe_step;

#endif
