// The frame's own background out of focus, without the people: they are filled out with what is
// beside them before it is blurred, so that no colour of theirs is in it. Not thread-safe; may move
// between threads.
#ifndef FINISH_BLUR_H
#define FINISH_BLUR_H

#include "finish/matte.h"

struct blurrer;
// Of this size. The crew is borrowed while the blurrer lives. Never NULL.
struct blurrer *blurrer_create(const struct matte *m, struct crew *crew);
void blurrer_free(struct blurrer **b);
// *ret, the blurrer's until the next call: a picture as large as the frame. KB_NO_SPACE.
enum kb_code blurrer_run(struct blurrer *b, const struct matte *m, const AVFrame **ret,
                         struct kb_error *err);

#endif
