// The figures of koubo eval, as functions of landmarks, of curves and of two pictures. Internal to
// lipsync/. Thread-safe (no state).
//
// points are always the TRACK_N_POINTS points of a struct track_face, in pixels.
#ifndef LAB_MEASURE_H
#define LAB_MEASURE_H

#include "face/track.h"

#define MEASURE_MAX_LAG    5  // frames
#define MEASURE_MIN_FRAMES 12 // fewer pairs of frames say nothing

// How far the mouth is open, in heights of the face. With d the vector from the top of the face
// oval (FaceMesh 10) to the chin (152), and u_i, l_i the nine opposite pairs of inner-lip points:
//     mean_i((l_i - u_i) . d) / (d . d)
// so a head that leans over measures the same. 0 for a degenerate face.
float measure_aperture(const float (*points)[2]);

// How wide the mouth is, in distances of the outer eye corners (FaceMesh 33 and 263): that of the
// inner corners of the lips (78 and 308) along the line through the eye corners. A turned head
// shortens both alike. 0 for a degenerate face.
float measure_width(const float (*points)[2]);

// Distance of the oval's points beside the ears (FaceMesh 234 and 454), pixels, at least 1.
float measure_face_width(const float (*points)[2]);

// Mean distance of the 40 lip points after the similarity that takes test's 20 points around eyes,
// brows and nose to truth's (least squares), in widths of truth's face.
float measure_lip_distance(const float (*truth)[2], const float (*test)[2]);

// Mean length of p[k-1] - 2 p[k] + p[k+1] over the 40 lip points, in widths of the face at k.
float measure_jitter(const float (*before)[2], const float (*at)[2], const float (*after)[2]);

// The same of the mouth's own motion: before and after are first taken to the face at k by the
// similarity on the 20 points around eyes, brows and nose, so that a head that turns, nods, nears
// or trembles as a whole counts nothing. Mean over the 40 lip points and the nine gaps of the inner
// lips (the vectors l_i - u_i of measure_aperture()), in widths of the face at k.
float measure_lip_motion(const float (*before)[2], const float (*at)[2], const float (*after)[2]);

// As measure_jitter(), over the 20 points around eyes, brows and nose, which speech does not move.
float measure_still_jitter(const float (*before)[2], const float (*at)[2], const float (*after)[2]);

// test / truth; 1 if both are 0, INFINITY if truth alone is, NAN if either is NAN.
double measure_ratio(double truth, double test);

// The one in the middle, or the mean of the two; NANs are left out; NAN if there is nothing else.
// Sorts values.
double measure_median(double *values, int n);

// The lag in -5..5 at which test[k + lag] follows truth[k] best (> 0: test is late), and Pearson's
// correlation there:
//     r = sum((a - mean a) (b - mean b)) / sqrt(sum((a - mean a)^2) sum((b - mean b)^2))
// NAN marks frames without a face; a pair counts when both are numbers, a lag when it has at least
// 12 pairs. The smallest lag wins a tie. No lag counts, or a curve is flat: lag 0 and r 0.
int measure_lag(const float *truth, const float *test, int n, double *ret_r);

// Pearson's correlation as above at lag 0 alone; 0 with fewer than 12 pairs or a flat curve.
double measure_correlation(const float *truth, const float *test, int n);

// The closed stretches of two curves of openings, and how many of truth's are found in test.
//
// Both curves are judged by truth's own closed mouth and range, for lips that are told to close but
// stay apart do not close: with v the values of truth in order, m of them, over the frames where
// both curves are numbers, low = v[round(0.05 (m - 1))] and range = v[round(0.95 (m - 1))] - low, a
// mouth becomes closed when its opening falls below low + 0.15 range, and open again when it is no
// longer below low + 0.25 range, or where a curve is no number. A stretch is a run of closed
// frames, however short. Two stretches match when truth's, grown by two frames on both sides,
// shares a frame with test's; each counts for one match at most, in the order of time, so that a
// mouth that never opens finds one. Nothing is found with fewer than 12 such frames or a flat
// truth.
struct closures {
    int n_truth, n_test, n_matched;
};
#define MEASURE_CLOSED_NEAR 2 // frames
enum kb_code measure_closures(struct closures *ret, const float *truth, const float *test, int n,
                              struct kb_error *err); // KB_NO_SPACE
// matched / test's, matched / truth's, and 2 matched / (truth's + test's), which is the harmonic
// mean of the two. NAN where that is nothing over nothing.
double closures_precision(const struct closures *c);
double closures_recall(const struct closures *c);
double closures_f1(const struct closures *c);

// Standard deviation of test over that of truth, over the frames where both are numbers; 1 if both
// are flat, INFINITY if truth alone is.
double measure_amplitude(const float *truth, const float *test, int n);

// Sum of squared differences of luma, and over how many pixels.
struct luma_error {
    double squares;
    int64_t pixels;
};

// Add the pixels of two pictures of one size (8-bit luma) that lie further than grow pixels outside
// the lower face: the jaw line from cheek to cheek, closed over the foot of the nose. points NULL:
// all pixels.
void measure_outside(struct luma_error *sum, const AVFrame *truth, const AVFrame *test,
                     const float (*points)[2], float grow);

// The bounding box of the 40 lip points, grown on every side by 0.3 of its width or height: x0, y0,
// x1, y1.
void measure_lips_box(const float (*points)[2], float ret[4]);

// How much fine detail a part of a picture (8-bit luma) has: the root of the mean square of
//     (L * G * luma)(x, y)
// over the pixels that box touches. G: Gaussian of sigma 0.8 pixels, cut off beyond 3 and of sum 1;
// L: Laplacian, left + right + above + below - 4 times the middle; beyond its border the picture
// repeats its outermost pixels. 1 = from black to white, whatever the range of the luma. Less than
// a thousandth of a grey level is 0; NAN if box touches no pixel.
double measure_sharpness(const AVFrame *frame, const float box[4]);

// 10 log10(255^2 / mean square) in dB; INFINITY if all pixels are equal.
double measure_psnr(const struct luma_error *sum);

#endif
