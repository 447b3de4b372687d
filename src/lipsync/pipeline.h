// The streaming part of a job: four threads or more, bounded queues between them. Internal to lipsync/.
#ifndef LIPSYNC_PIPELINE_H
#define LIPSYNC_PIPELINE_H

#include "base/cancel.h"
#include "base/progress.h"
#include "lipsync/crop.h"
#include "lipsync/engine.h"
#include "lipsync/paste.h"
#include "lipsync/source.h"
#include "media/mel.h"
#include "media/writer.h"

struct pipeline_params { // everything is borrowed
    struct lips *const *lanes; // the same network, once for each thread that is to run it
    int n_lanes;               // 1 to ENGINE_MAX_LANES
    const struct mel *mel;
    struct cropper cropper;
    struct source_params source;
    struct paste_params paste;
    struct writer *writer;
    const struct cancel *cancel;
    progress_fn *progress; // STAGE_GENERATING, called from the calling thread
    void *opaque;
};

// Runs until the source ends. The writer is not finished. At least one frame was written on KB_OK.
enum kb_code pipeline_run(const struct pipeline_params *p, int64_t *ret_frames,
                          int64_t *ret_animated, double *ret_seconds, struct kb_error *err);

#endif
