// What a step is, for the files of finish/ alone. Thread-safe: no state.
#ifndef FINISH_INTERNAL_H
#define FINISH_INTERNAL_H

#include "finish/finish.h"

struct finish_step {
    // *ret stays NULL where nothing of it is asked for. A step that changes shape, colours or rate
    // of the pictures says so in *picture, from which the steps after it take them. Without a track
    // (finisher_check()) it opens what needs none.
    enum kb_code (*open)(void **ret, const struct finish_params *p,
                         const struct finish_source *source, struct finish_picture *picture,
                         struct kb_error *err);
    // As finisher_put().
    enum kb_code (*put)(void *step, AVFrame **frame, const struct finish_moment *at,
                        struct kb_error *err);
    void (*close)(void *step);
    bool everywhere; // over intro and outro too
};

extern const struct finish_step background_step;
extern const struct finish_step label_step;
extern const struct finish_step captions_step;

#endif
