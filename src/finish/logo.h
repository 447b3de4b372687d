// A logo in a corner of the picture. Thread-safe: no state.
#ifndef FINISH_LOGO_H
#define FINISH_LOGO_H

#include "base/base.h"

enum logo_place { LOGO_TOP_RIGHT, LOGO_TOP_LEFT, LOGO_BOTTOM_LEFT, LOGO_BOTTOM_RIGHT };
#define LOGO_PLACES      "top-left, top-right, bottom-left, bottom-right"
#define LOGO_MIN_SIZE    0.02f
#define LOGO_MAX_SIZE    0.5f
#define LOGO_MIN_OPACITY 0.05f

struct logo_params {
    const char *path; // a picture; NULL: none
    enum logo_place place;
    // Its width, of that of a picture of 16:9 with as many pixels, so that the same number looks
    // the same in every shape; LOGO_MIN_SIZE to LOGO_MAX_SIZE, 0 = 0.14. It stays in the picture.
    float size;
    float opacity; // LOGO_MIN_OPACITY to 1; 0 = 1
};
bool logo_place_parse(const char *text, enum logo_place *ret);

struct finish_step;
extern const struct finish_step logo_step;

#endif
