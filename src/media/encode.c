#include "media/encode.h"
#include "media/demux.h"
#include "media/original.h"

enum kb_code encoder_init(struct encoder *e, struct mux *mux, const AVCodec *codec,
                          struct kb_error *err)
{
    *e = (struct encoder){.mux = mux, .packet = av_packet_alloc()};
    return e->packet ? encoder_renew(e, codec, err) : kb_no_memory(err);
}

enum kb_code encoder_renew(struct encoder *e, const AVCodec *codec, struct kb_error *err)
{
    avcodec_free_context(&e->context);
    e->context = avcodec_alloc_context3(codec);
    if (!e->context)
        return kb_no_memory(err);
    e->context->flags |= AV_CODEC_FLAG_GLOBAL_HEADER; // mp4 keeps it in its index
    return KB_OK;
}

AVStream *encoder_add_stream(struct encoder *e)
{
    AVStream *stream = avformat_new_stream(e->mux->out, NULL);
    if (!stream || avcodec_parameters_from_context(stream->codecpar, e->context) < 0)
        return NULL;
    stream->time_base = e->context->time_base;
    e->stream = stream->index;
    return stream;
}

enum kb_code encoder_pass(struct encoder *e, AVPacket *packet, AVRational units,
                          struct kb_error *err)
{
    packet->stream_index = e->stream;
    if (e->splice)
        packet->dts = splice_next_dts(e->splice);
    return mux_write(e->mux, packet, units, err);
}

enum kb_code encoder_put(struct encoder *e, const AVFrame *frame, struct kb_error *err)
{
    int status = avcodec_send_frame(e->context, frame);
    while (status >= 0) {
        status = avcodec_receive_packet(e->context, e->packet);
        if (status < 0)
            break;
        if (e->duration > 0 && e->packet->pts == e->pts)
            e->packet->duration = e->duration;
        enum kb_code code = e->splice ? original_repack(e->packet, 0, NULL, err) : KB_OK;
        if (code == KB_OK)
            code = encoder_pass(e, e->packet, e->context->time_base, err);
        if (code != KB_OK)
            return code;
    }
    if (status == AVERROR(EAGAIN) || status == AVERROR_EOF)
        return KB_OK;
    if (status == AVERROR(ENOMEM))
        return kb_no_memory(err);
    return kb_fail(err, KB_INTERNAL,
                   e->context->codec_type == AVMEDIA_TYPE_VIDEO
                       ? _("a picture cannot be encoded: %s")
                       : _("the sound cannot be encoded: %s"),
                   ffmpeg_error(status));
}

void encoder_clear(struct encoder *e)
{
    avcodec_free_context(&e->context);
    av_packet_free(&e->packet);
}
