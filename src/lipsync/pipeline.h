// The streaming part of a dub: four threads or more, bounded queues between them. Internal to
// lipsync/.
#ifndef LIPSYNC_PIPELINE_H
#define LIPSYNC_PIPELINE_H

#include "base/watch.h"
#include "finish/finish.h"
#include "lipsync/crop.h"
#include "lipsync/engine.h"
#include "lipsync/pass.h"
#include "lipsync/paste.h"
#include "lipsync/plan.h"
#include "lipsync/timeline.h"
#include "media/mel.h"
#include "media/writer.h"

// frame: with the mouth painted in or moved if it is animated.
typedef enum kb_code pipeline_look_fn(void *onlooker, const struct shown_frame *frame,
                                      bool animated, struct kb_error *err);

struct pipeline_params {            // everything is borrowed
    struct timeline_params source;  // times of what is put out begin at its from_us
    const struct shown_frame *only; // this one frame of it alone; NULL: all
    // Rigs move the lips as planned; or NULL, and a network paints those of the cast.
    const struct plan *plan;
    const struct cast *cast;
    struct lips *const *lanes; // the same network, once for each thread that is to run it
    int n_lanes;               // 1 to ENGINE_MAX_LANES; 0 with a plan
    const struct mel *mel;
    struct cropper
        cropper; // its face does not count, its side and that of the paste are the lanes'
    struct paste_params paste;
    int64_t before_us;         // of the output, before the first frame
    struct finisher *finisher; // what the frames go through before they are put out; or NULL
    struct pass *pass;         // of whose stretches the writer gets packets; NULL: all is decoded
    // Where the frames go: into the writer; or, where that is NULL, past `look`, in order, from the
    // calling thread, and no further.
    struct writer *writer;
    pipeline_look_fn *look;
    void *onlooker;
    struct watch watch; // STAGE_GENERATING, told from the calling thread
};

struct pipeline_result {
    int64_t frames, animated, passed; // put out; of them: drawn into; passed as packets
    double seconds;
};
// Runs until the source ends. The writer is not finished. At least one frame was put out on KB_OK.
enum kb_code pipeline_run(const struct pipeline_params *p, struct pipeline_result *ret,
                          struct kb_error *err);

// What passes undrawn (pass.h) through a pipeline of these parameters, for `pass`: *ret is NULL
// where nothing does. The reader is at its first picture. The codes of pass_create().
enum kb_code pipeline_find_pass(struct pass **ret, const struct pipeline_params *p,
                                struct kb_error *err);

#endif
