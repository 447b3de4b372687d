// Where people are in a picture, roughly: MediaPipe's selfie segmentation (models/face), one value
// for each of some 256 x 144 places. Not thread-safe; may move between threads.
#ifndef FINISH_SEGMENT_H
#define FINISH_SEGMENT_H

#include "base/base.h"
#include "face/warp.h"

#include <libavutil/frame.h>

struct segmenter;

// For pictures of this size: the network whose input has the nearer proportions. KB_NOT_FOUND when
// the files were not fetched.
enum kb_code segmenter_open(struct segmenter **ret, int width, int height, struct kb_error *err);
void segmenter_close(struct segmenter **s);
// Of what it gives, and of what it looks at.
void segmenter_size(const struct segmenter *s, int *ret_width, int *ret_height);
// Look at the part of the picture that to_frame tells, from the pixels of the network's input to
// those of the frame. *ret: probabilities 0..1, row by row, the segmenter's until it runs again.
enum kb_code segmenter_run(struct segmenter *s, const AVFrame *frame, const struct affine *to_frame,
                           const float **ret, struct kb_error *err);

#endif
