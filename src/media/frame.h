// What FFmpeg calls otherwise in a frame from one version to the next: 5.1 (Debian 12) to 7.1
// (Debian 13).
// Thread-safe, each frame in one thread.
#ifndef MEDIA_FRAME_H
#define MEDIA_FRAME_H

#include <stdbool.h>

#include <libavutil/frame.h>

// How long a frame is shown: to be read and set.
#if LIBAVUTIL_VERSION_MAJOR < 58
#define FRAME_DURATION(f) ((f)->pkt_duration)
#else
#define FRAME_DURATION(f) ((f)->duration)
#endif

static inline bool frame_is_key(const AVFrame *f)
{
#if LIBAVUTIL_VERSION_INT < AV_VERSION_INT(58, 7, 100)
    return f->key_frame;
#else
    return f->flags & AV_FRAME_FLAG_KEY;
#endif
}

#endif
