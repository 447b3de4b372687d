// The demo's person, cut out of a photograph that comes with an npm package.
// Thread-safe.
#ifndef CLI_PHOTO_H
#define CLI_PHOTO_H

#include "base/base.h"

#include <libavutil/frame.h>

// A new reference for the caller (av_frame_free). KB_UNAVAILABLE when set-up did not fetch the
// photograph or it is another one.
enum kb_code photo_read(AVFrame **ret, struct kb_error *err);

#endif
