// A small JPEG of a frame. Thread-safe.
#ifndef WORKER_THUMBNAIL_H
#define WORKER_THUMBNAIL_H

#include "base/base.h"
#include "base/cancel.h"

#include <libavutil/frame.h>

// frame: yuv420p, of any size. Written whole or not at all.
enum kb_code thumbnail_write(const AVFrame *frame, const char *path, struct kb_error *err);
// The same as high as it is, but no higher than height.
enum kb_code thumbnail_write_high(const AVFrame *frame, int height, const char *path,
                                  struct kb_error *err);
// Of the video at about at_us, or of its first frame if it is shorter. What is transparent lies on
// the chequered ground of the page's player.
enum kb_code thumbnail_of_video(const char *video, int64_t at_us, const char *path,
                                const struct cancel *cancel, struct kb_error *err);

#endif
