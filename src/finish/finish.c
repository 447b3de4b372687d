#include "finish/internal.h"

#include <stdlib.h>

// In the order in which they draw.
static const struct finish_step *const steps[] = {
    &background_step, // what is behind the people
    &reframe_step,    // another shape
    &logo_step,       // in a corner
    &captions_step,   // what is said, to be read
    &label_step,      // what AI made says so
    NULL,             // the last
};

struct finisher {
    void *opened[ARRAY_LEN(steps)];
};

enum kb_code finisher_open(struct finisher **ret, const struct finish_params *p,
                           const struct finish_source *source, struct finish_picture *picture,
                           struct kb_error *err)
{
    CLEANUP(finisher_close) struct finisher *f = kb_alloc(sizeof(*f));
    enum kb_code code = KB_OK;
    bool any = false;
    for (int i = 0; code == KB_OK && steps[i]; i++) {
        code = steps[i]->open(&f->opened[i], p, source, picture, err);
        any |= f->opened[i] != NULL;
    }
    *ret = NULL;
    if (code == KB_OK && any)
        *ret = TAKE(f);
    return code;
}

enum kb_code finisher_check(const struct finish_params *p, const struct finish_source *source,
                            const struct finish_picture *picture, struct kb_error *err)
{
    CLEANUP(finisher_close) struct finisher *f = NULL;
    struct finish_picture changed = *picture;
    return finisher_open(&f, p, source, &changed, err);
}

enum kb_code finisher_put(struct finisher *f, AVFrame **frame, const struct finish_moment *at,
                          struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && steps[i]; i++)
        if (f->opened[i] && (at->part == PART_DUB || steps[i]->everywhere))
            code = steps[i]->put(f->opened[i], frame, at, err);
    return code;
}

void finisher_close(struct finisher **f)
{
    for (int i = 0; *f && steps[i]; i++)
        if ((*f)->opened[i])
            steps[i]->close((*f)->opened[i]);
    free(TAKE(*f));
}
