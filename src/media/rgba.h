// One picture with its transparency, for what is drawn over films: PNG, WebP, JPEG, HEIC, GIF, the
// first picture of a film. Thread-safe: no state.
#ifndef MEDIA_RGBA_H
#define MEDIA_RGBA_H

#include "base/base.h"
#include "base/cancel.h"

#include <libavutil/frame.h>

// *ret: AV_PIX_FMT_RGBA of 8 bits, its colours multiplied by A, so that it can be scaled and
// blended without what is hidden; av_frame_free() it. width, height: the box that it fills in one
// direction, in proportion; 1 to 16384 each. KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE, KB_CANCELLED.
enum kb_code rgba_read(AVFrame **ret, const char *path, int width, int height,
                       const struct cancel *cancel, struct kb_error *err);

#endif
