// How long work tells where it is. progress_fn says which threads call it.
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

// The stages a job goes through, in order. STAGE_LOADING is the loading of models.
enum stage { STAGE_LOADING, STAGE_AUDIO, STAGE_PREPROCESSING, STAGE_GENERATING, STAGE_FINISHING };
#define N_STAGES (STAGE_FINISHING + 1)

// "loading", "audio", "preprocessing", "generating", "finishing": for JSON and the database.
const char *stage_id(enum stage stage);
// The same for people in their language: "finding faces".
const char *stage_title(enum stage stage);

// Units are frames; total is 0 while unknown and may be an estimate that is corrected later.
struct progress {
    enum stage stage;
    int64_t done, total;
};

// Called from the thread that called the work, or from one of its stage threads, never two at once.
// It must return quickly. NULL is allowed wherever one is taken.
typedef void progress_fn(void *opaque, const struct progress *p);

#endif
