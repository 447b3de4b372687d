// Finds where a film is cut: from one frame to the next the picture changes at once, unlike before
// and after, and does not change back. Two kinds are told apart:
//
//   CUT_VIEW  another view, of who knows whom: the whole picture changes, or a face altogether
//   CUT_JUMP  the same view with a piece of time left out: what is around a face steps aside
//
// What is compared are the means of 48 x 48 cells of the picture. A flash of one or two frames, a
// quick pan, a fade, and slides that change behind somebody in a corner are no cuts.
// Not thread-safe.
#ifndef FACE_CUT_H
#define FACE_CUT_H

#include "base/base.h"

#include <libavutil/frame.h>

#define CUT_AHEAD 2 // frames after the one in question that are looked at

enum cut { CUT_NONE, CUT_JUMP, CUT_VIEW };

struct cuts;
struct cuts *cuts_create(void); // never NULL
void cuts_free(struct cuts **c);

// The next frame, AV_PIX_FMT_YUV420P.
void cuts_see(struct cuts *c, const AVFrame *frame);
// Is there a cut between frame - 1 and frame? Up to frame + CUT_AHEAD have been seen, where the
// film goes on so far, and none after that. boxes: n of them, x0, y0, x1, y1 of the faces in
// frame - 1, in pixels.
enum cut cuts_before(const struct cuts *c, int frame, const float (*boxes)[4], int n);

#endif
