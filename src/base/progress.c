#include "base/progress.h"

#include "base/base.h"

static const struct {
    const char *id, *title;
} stages[N_STAGES] = {
    [STAGE_LOADING] = {"loading", N_("loading models")},
    [STAGE_AUDIO] = {"audio", N_("reading speech")},
    [STAGE_PREPROCESSING] = {"preprocessing", N_("finding faces")},
    [STAGE_GENERATING] = {"generating", N_("generating")},
    [STAGE_FINISHING] = {"finishing", N_("finishing")},
};

const char *stage_id(enum stage stage)
{
    return stages[stage].id;
}

const char *stage_title(enum stage stage)
{
    return _(stages[stage].title);
}
