#include "media/deep.h"

#include "base/base.h"

#include <libavutil/buffer.h>

static void free_original(void *opaque, uint8_t *data)
{
    AVFrame *f = (AVFrame *)data;
    av_frame_free(&f);
}

// A frame like one, of another format and with room for its picture.
static int make_like(const AVFrame *frame, enum AVPixelFormat format, AVFrame *ret)
{
    ret->format = format;
    ret->width = frame->width;
    ret->height = frame->height;
    int e = av_frame_get_buffer(ret, 0);
    return e >= 0 ? av_frame_copy_props(ret, frame) : e;
}

static const uint16_t *deep_row(const AVFrame *f, int plane, int y)
{
    return (const uint16_t *)(f->data[plane] + (ptrdiff_t)y * f->linesize[plane]);
}

int deep_split(AVFrame *frame)
{
    CLEANUP(av_frame_free) AVFrame *original = av_frame_alloc();
    CLEANUP(av_frame_free) AVFrame *upper = av_frame_alloc();
    int e = original && upper ? make_like(frame, AV_PIX_FMT_YUV420P, upper) : AVERROR(ENOMEM);
    if (e < 0)
        return e;
    for (int p = 0; p < 3; p++) {
        int w = p ? frame->width / 2 : frame->width, h = p ? frame->height / 2 : frame->height;
        for (int y = 0; y < h; y++) {
            const uint16_t *from = deep_row(frame, p, y);
            uint8_t *to = upper->data[p] + (ptrdiff_t)y * upper->linesize[p];
            for (int x = 0; x < w; x++)
                to[x] = (uint8_t)(from[x] >> 2);
        }
    }
    av_buffer_unref(&upper->opaque_ref);
    upper->opaque_ref =
        av_buffer_create((uint8_t *)original, sizeof(*original), free_original, NULL, 0);
    if (!upper->opaque_ref)
        return AVERROR(ENOMEM);
    av_frame_move_ref(TAKE(original), frame);
    av_frame_move_ref(frame, upper);
    return 0;
}

int deep_join(const AVFrame *frame, AVFrame *ret)
{
    if (!frame->opaque_ref || frame->format != AV_PIX_FMT_YUV420P)
        return AVERROR_INVALIDDATA;
    const AVFrame *original = (const AVFrame *)frame->opaque_ref->data;
    if (original->width != frame->width || original->height != frame->height)
        return AVERROR_INVALIDDATA;
    int e = make_like(frame, DEEP_FORMAT, ret);
    if (e < 0)
        return e;
    av_buffer_unref(&ret->opaque_ref);
    for (int p = 0; p < 3; p++) {
        int w = p ? frame->width / 2 : frame->width, h = p ? frame->height / 2 : frame->height;
        for (int y = 0; y < h; y++) {
            const uint16_t *was = deep_row(original, p, y);
            const uint8_t *now = frame->data[p] + (ptrdiff_t)y * frame->linesize[p];
            uint16_t *to = (uint16_t *)(ret->data[p] + (ptrdiff_t)y * ret->linesize[p]);
            for (int x = 0; x < w; x++) {
                int v = was[x] + 4 * (now[x] - (was[x] >> 2));
                to[x] = (uint16_t)KB_MIN(KB_MAX(v, 0), 1023);
            }
        }
    }
    return 0;
}
