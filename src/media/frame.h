// What FFmpeg calls otherwise in a frame from one version to the next: 5.1 (Debian 12) to 7.1
// (Debian 13).
// Thread-safe, each frame in one thread.
#ifndef MEDIA_FRAME_H
#define MEDIA_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include <libavutil/frame.h>

// How long a frame is shown: to be read and set.
#if LIBAVUTIL_VERSION_MAJOR < 58
#define FRAME_DURATION(f) ((f)->pkt_duration)
#else
#define FRAME_DURATION(f) ((f)->duration)
#endif

static inline bool frame_is_interlaced(const AVFrame *f)
{
#if LIBAVUTIL_VERSION_INT < AV_VERSION_INT(58, 7, 100)
    return f->interlaced_frame;
#else
    return f->flags & AV_FRAME_FLAG_INTERLACED;
#endif
}

// Of a frame that reader_next() gave: the picture before it had another size, so nothing that was
// seen there holds any longer. Kept in the field that FFmpeg leaves to its users.
static inline bool frame_is_new_shot(const AVFrame *f)
{
    return f->opaque != NULL;
}

static inline void frame_mark_shot(AVFrame *f, bool is_new)
{
    f->opaque = is_new ? f : NULL;
}

static inline bool frame_is_key(const AVFrame *f)
{
#if LIBAVUTIL_VERSION_INT < AV_VERSION_INT(58, 7, 100)
    return f->key_frame;
#else
    return f->flags & AV_FRAME_FLAG_KEY;
#endif
}

#endif
