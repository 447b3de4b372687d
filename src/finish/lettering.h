// A few words as a bitmap that is drawn into pictures: white, with a soft dark rim, so that they
// are read on any ground. Set by libass with the font of font.h. Not thread-safe.
#ifndef FINISH_LETTERING_H
#define FINISH_LETTERING_H

#include "finish/overlay.h"

struct lettering_params {
    const char *text;   // UTF-8 of one line, none of { } \ in it
    double letter;      // rows that its smallest kind of letter, capital or Han, has at least
    int width;          // it is broken into lines where it is wider
    double pixel_shape; // width of a pixel by its height, 1 = square
    bool centred;       // the lines of several
};

// A machine has no font with the letters: KB_UNAVAILABLE. KB_BAD_INPUT: too long for width even so.
enum kb_code lettering_make(struct overlay **ret, const struct lettering_params *p,
                            struct kb_error *err);

#endif
