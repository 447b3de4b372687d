// How well lips follow: one video against the true one, both measured with FaceMesh.
#ifndef LIPSYNC_EVAL_H
#define LIPSYNC_EVAL_H

#include "base/cancel.h"
#include "base/progress.h"
#include "face/track.h"

struct eval_result {
    int64_t frames;               // compared: both have a face
    // Pearson correlation of the inner-lip aperture (mean of the vertical gaps between upper and lower inner
    // lip, divided by the face's height) at the best lag within ±5 frames, and that lag
    // (> 0: the test video is late).
    double aperture_correlation;
    int lag_frames;
    double amplitude_ratio;       // standard deviation of the aperture over the truth's
    double lip_landmark_distance; // mean distance of the 40 lip points after a similarity alignment on
                                  // the points that do not speak, in fractions of the face's width
    double psnr_outside_mask;     // dB, luma, outside the lower-face mask; INFINITY if equal
    double jitter_ratio;          // mean |second difference| of lip points over the truth's
};

struct eval_params {
    int threads; // of the decoders; 0 = all processors
    const struct cancel *cancel;
    progress_fn *progress;
    void *opaque;
};

// KB_BAD_INPUT when fewer than 12 frames of both have a face or the sizes differ.
enum kb_code eval_run(struct eval_result *ret, const char *truth, const char *test,
                      struct face_models *models, const struct eval_params *params,
                      struct kb_error *err);

#endif
