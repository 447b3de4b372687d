// People before a screen of one colour, green or blue: found by the rim of the picture, keyed by
// how much of the screen's colour, as it is around there, a pixel has. Not thread-safe.
#ifndef FINISH_CHROMA_H
#define FINISH_CHROMA_H

#include "finish/compose.h"

struct chroma_screen {
    bool found;
    bool blue;
    float y, u, v; // its colour, as matte.h has colours
};

// Is the rim of the picture (its left, right and upper one, since people stand at the lower one)
// evenly green or blue? m: after matter_look(). only: 0 both, 'g' or 'b' just that, and then it may
// be less even.
struct chroma_screen chroma_find(const struct matte *m, char only);
// The same of one frame (yuv420p) alone.
bool chroma_is_screen(const AVFrame *frame);
struct compose_screen chroma_spill(const struct chroma_screen *s);

struct keyer;
// Of this size. The crew is borrowed while the keyer lives. Never NULL.
struct keyer *keyer_create(const struct matte *m, struct crew *crew);
void keyer_free(struct keyer **k);
// alpha holds a rough mask of the people (people.h) and becomes that of all that is before the
// screen: things that people hold too. The mask helps where the screen has folds and shades.
void keyer_run(struct keyer *k, const struct chroma_screen *s, const struct matte *m, float *alpha);

#endif
