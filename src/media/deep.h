// Pictures of ten bits, carried by pictures of eight. What finds faces and draws mouths works with
// eight bits; outside of what it draws the output keeps all ten, and inside, the ten that were
// there plus four times what it changed. Thread-safe, each frame in one thread at a time.
#ifndef MEDIA_DEEP_H
#define MEDIA_DEEP_H

#include <stdbool.h>

#include <libavutil/frame.h>

#define DEEP_FORMAT AV_PIX_FMT_YUV420P10LE

// frame, of DEEP_FORMAT, becomes the yuv420p picture of its upper eight bits and carries what it
// was, also when it is cloned or made writable. 0 or FFmpeg's error.
int deep_split(AVFrame *frame);
// What a frame carries, with all that was drawn into it since, in a frame that is empty before.
// AVERROR_INVALIDDATA if it carries nothing.
int deep_join(const AVFrame *frame, AVFrame *ret);

#endif
