#include "worker/thumbnail.h"

#include "base/file.h"
#include "media/filters.h"
#include "media/reader.h"
#include "media/demux.h"

#include <libavcodec/avcodec.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <stdio.h>

#define WIDTH_320 "320:-2"
#define QUALITY   4 // of mjpeg's 2 (best) to 31

static enum kb_code failed(struct kb_error *err, int e)
{
    return kb_fail(err, e == AVERROR(ENOMEM) ? KB_NO_SPACE : KB_INTERNAL,
                   _("the preview picture cannot be made: %s"), ffmpeg_error(e));
}

// to: what libavfilter's scale takes, "320:-2".
static int scale(const AVFrame *frame, const char *to, AVFrame *ret)
{
    char args[200], chain[100];
    struct filters f = {0};
    AVRational aspect = frame->sample_aspect_ratio;
    if (aspect.num <= 0 || aspect.den <= 0)
        aspect = (AVRational){1, 1};
    snprintf(args, sizeof(args),
             "video_size=%dx%d:pix_fmt=%d:time_base=1/1000000:pixel_aspect=%d/%d", frame->width,
             frame->height, frame->format, aspect.num, aspect.den);
    snprintf(chain, sizeof(chain), "scale=%s:out_range=full,format=yuvj420p,setsar=1", to);
    int e = filters_build(&f, "buffer", "buffersink", args, chain, 1);
    CLEANUP(av_frame_free) AVFrame *copy = av_frame_clone(frame);
    if (e >= 0 && !copy)
        e = AVERROR(ENOMEM);
    if (e >= 0)
        e = av_buffersrc_add_frame(f.in, copy);
    if (e >= 0)
        e = av_buffersink_get_frame(f.out, ret);
    avfilter_graph_free(&f.graph);
    return e;
}

static int encode(AVFrame *frame, AVPacket *ret)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    if (!codec)
        return AVERROR_ENCODER_NOT_FOUND;
    CLEANUP(avcodec_free_context) AVCodecContext *c = avcodec_alloc_context3(codec);
    if (!c)
        return AVERROR(ENOMEM);
    c->width = frame->width;
    c->height = frame->height;
    c->pix_fmt = AV_PIX_FMT_YUVJ420P;
    c->color_range = AVCOL_RANGE_JPEG;
    c->time_base = (AVRational){1, 25};
    c->flags |= AV_CODEC_FLAG_QSCALE;
    c->global_quality = FF_QP2LAMBDA * QUALITY;
    frame->quality = c->global_quality;
    frame->pts = 0;
    frame->pict_type = AV_PICTURE_TYPE_NONE;
    int e = avcodec_open2(c, codec, NULL);
    if (e >= 0)
        e = avcodec_send_frame(c, frame);
    return e >= 0 ? avcodec_receive_packet(c, ret) : e;
}

static enum kb_code write_scaled(const AVFrame *frame, const char *to, const char *path,
                                 struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *small = av_frame_alloc();
    CLEANUP(av_packet_free) AVPacket *packet = av_packet_alloc();
    if (!small || !packet)
        return kb_no_memory(err);
    int e = scale(frame, to, small);
    if (e >= 0)
        e = encode(small, packet);
    if (e < 0)
        return failed(err, e);
    return file_write_atomic(path, packet->data, (size_t)packet->size, err);
}

enum kb_code thumbnail_write(const AVFrame *frame, const char *path, struct kb_error *err)
{
    return write_scaled(frame, WIDTH_320, path, err);
}

enum kb_code thumbnail_write_high(const AVFrame *frame, int height, const char *path,
                                  struct kb_error *err)
{
    char to[40];
    snprintf(to, sizeof(to), "-2:'min(%d,ih)'", height / 2 * 2);
    return write_scaled(frame, to, path, err);
}

enum kb_code thumbnail_of_video(const char *video, int64_t at_us, const char *path,
                                const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *reader = NULL;
    CLEANUP(av_frame_free) AVFrame *frame = NULL;
    const struct reader_params p = {.chequered = true, .cancel = cancel};
    enum kb_code code = reader_open(&reader, video, &p, err);
    if (code != KB_OK)
        return code;
    if (reader_info(reader)->duration_us > at_us && reader_seek(reader, at_us, err) != KB_OK)
        return err ? err->code : KB_INTERNAL;
    code = reader_next(reader, &frame, err);
    if (code == KB_EOF) {
        code = reader_seek(reader, 0, err);
        if (code == KB_OK)
            code = reader_next(reader, &frame, err);
    }
    if (code == KB_EOF)
        return kb_fail(err, KB_BAD_INPUT, _("the video '%s' has no picture"), path_name(video));
    return code == KB_OK ? thumbnail_write(frame, path, err) : code;
}
