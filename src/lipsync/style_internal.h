// What style.c and style_regress.c share with each other and with the tests. Internal to
// lipsync/. Thread-safe (no state); rows belong to one thread.
#ifndef LIPSYNC_STYLE_INTERNAL_H
#define LIPSYNC_STYLE_INTERNAL_H

#include "lipsync/style.h"

// Moments of a film in which the person speaks, in the order of time.
struct style_rows {
    int n;
    double *time_s;
    float (*seen)[STYLE_NUMBERS];
    // As the listener tells them for that moment and those around (style_taps), with the mass that
    // lips have.
    float (*told)[STYLE_TAPS][STYLE_NUMBERS];
};
void style_rows_clear(struct style_rows *r);

// Samples of the motion before and after the moment; those in the middle are used first.
extern const int style_taps[STYLE_TAPS];

// The best map by parts left out (style_fit()), and the figures of both ways. *ret_better: whether
// it did better by enough; else *ret is not to be used. gain: of told, without a style.
// KB_NO_SPACE, KB_CANCELLED.
struct style_regression {
    struct style_map map;
    struct style_figures before, after;
    bool better;
};
enum kb_code style_regress(struct style_regression *ret, const struct style_rows *rows, float gain,
                           const struct cancel *cancel, struct kb_error *err);

// How far the map's opening is stretched, once its 5 % and 95 % are told_low and told_high.
float style_stretch(float told_low, float told_high, float seen_low, float seen_high);

#endif
