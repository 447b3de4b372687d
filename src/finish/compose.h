// Puts the person of a frame before another picture, by a matte (matte.h): in mixed pixels what was
// behind goes out and what is behind now comes in. Not thread-safe; may move between threads.
#ifndef FINISH_COMPOSE_H
#define FINISH_COMPOSE_H

#include "finish/matte.h"

// A coloured screen's light on the person.
struct compose_screen {
    bool used;
    float u, v; // its direction from grey, of length 1
};

struct composer;
// Of this size. The crew is borrowed while the composer lives. Never NULL.
struct composer *composer_create(const struct matte *m, struct crew *crew);
void composer_free(struct composer **c);
// frame: yuv420p and writable; behind: of the same size and colours. behind NULL: the frame becomes
// the person's colours alone, as straight alpha wants them, with `black` where nobody is, and the
// alpha goes to composer_alpha().
void composer_run(struct composer *c, const struct matte *m, const struct compose_screen *screen,
                  AVFrame *frame, const AVFrame *behind, uint8_t black);
// 0..255, width bytes a row, of the last frame.
const uint8_t *composer_alpha(const struct composer *c);

#endif
