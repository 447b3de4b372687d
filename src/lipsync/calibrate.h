// What int8 needs to know of Wav2Lip: the ranges of its values on faces that speak.
// Any thread.
#ifndef LIPSYNC_CALIBRATE_H
#define LIPSYNC_CALIBRATE_H

#include "base/watch.h"
#include "face/models.h"
#include "lipsync/lips.h"

struct calibrate_params {
    const char *model; // a path
    const char *const *videos;
    int n_videos;
    const char *audio;        // for all of them; NULL: each video's own sound
    const char *track_folder; // cache of face tracks, or NULL
    int max_frames;           // in all; 0 = 256
    // Of the only video, if the caller has them; else NULL.
    const struct track *track;
    const struct mel *mel;
    int threads;        // 0 = 1
    struct watch watch; // STAGE_PREPROCESSING, then STAGE_GENERATING
};

struct calibration {
    struct ranges *ranges; // owned
    int frames;            // looked at
    int checked;           // other frames, on which int8 was compared with f32
    double psnr_db;        // of int8 against f32 on them, all pixels together
};

// The frames are spread over the first 40 seconds of each video; every other batch of them is
// looked at, the rest are for the check. KB_BAD_INPUT when there are too few faces.
enum kb_code calibrate(struct calibration *ret, const struct calibrate_params *params,
                       struct kb_error *err);
void calibration_clear(struct calibration *c);

#endif
