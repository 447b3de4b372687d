// How well lips follow, how steadily and how sharp they are: one video against the true one, both
// measured with FaceMesh. A ratio of something still to something still is 1.
// Thread-safe, each call with face models of its own.
#ifndef LAB_EVAL_H
#define LAB_EVAL_H

#include "base/watch.h"
#include "face/track.h"
#include "lipsync/sync.h"

struct eval_result {
    int64_t frames; // compared: both have a face
    // Pearson correlation of the inner-lip aperture (mean of the vertical gaps between upper and
    // lower inner lip, divided by the face's height) at the best lag within ±5 frames, and that lag
    // (> 0: the test video is late).
    double aperture_correlation;
    int lag_frames;
    double aperture_correlation_lag_0; // the same without a lag
    // The same of the width of the mouth (measure_width()).
    double width_correlation, width_correlation_lag_0;
    int width_lag_frames;
    // Does the mouth close where the true one does, as far as the true one does, within two frames?
    // measure_closures() says what a closed stretch and a match are. NAN: there is none.
    double closure_precision, closure_recall, closure_f1;
    double amplitude_ratio; // standard deviation of the aperture over the truth's
    // Mean distance of the 40 lip points after a similarity alignment on the points that do not
    // speak, in fractions of the face's width.
    double lip_landmark_distance;
    double psnr_outside_mask; // dB, luma, outside the lower-face mask; INFINITY if equal
    double jitter_ratio;      // mean |second difference| of lip points over the truth's
    // The same after the similarity that takes each frame's neighbours to it on the points that do
    // not speak, over the lip points and the gaps between opposite points of the inner lips.
    // jitter_ratio holds the head's own motion, which both videos share and which draws it to 1;
    // this is of the mouth alone: > 1 jerks from frame to frame, < 1 moves more smoothly than a
    // mouth does, or less.
    double motion_smoothness;
    // The same of the points that speech leaves alone (eyes, lids, brows, nose), not aligned: > 1
    // when making the mouth made them tremble.
    double still_jitter;
    // How sharp the mouth is. Of each frame sqrt(ms_test / ms_truth), and the median of that over
    // the frames. ms: mean square of the Laplacian of the luma after a Gaussian of sigma 0.8
    // pixels, over the box around the 40 lip points *of the truth's frame* grown by 0.3 of its
    // width and height on every side, in both frames (measure_lips_box(), measure_sharpness()). A
    // frame that is flat there in both counts 1, in the truth alone INFINITY. NAN if the lips lie
    // outside the picture throughout.
    double lip_sharpness;
};

struct eval_params {
    int threads; // of the decoders; 0 = all processors
    struct watch watch;
};

// KB_BAD_INPUT when fewer than 12 frames of both have a face or the sizes differ.
enum kb_code eval_run(struct eval_result *ret, const char *truth, const char *test,
                      struct face_models *models, const struct eval_params *params,
                      struct kb_error *err);

// How far a film's sound is off from the lips in it, without a truth.
struct eval_sync {
    struct sync_result sync; // of the face that fits the sound most surely
    int face;                // which one, 0 = the largest
    double frame_ms;         // mean time from one frame of the film to the next
};
// model: NULL = the bundled judge (sync.h). KB_BAD_INPUT when the film has no sound or no face, and
// as sync_measure() of its largest face if none can be judged.
enum kb_code eval_sync_run(struct eval_sync *ret, const char *path, const char *model,
                           struct face_models *models, const struct eval_params *params,
                           struct kb_error *err);

#endif
