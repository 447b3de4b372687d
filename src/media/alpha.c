#include "media/alpha.h"

#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <string.h>

enum kb_code alpha_codec(const AVCodec **ret, const struct mux *mux, struct kb_error *err)
{
    const char *format = mux->out->oformat->name, *name = NULL;
    if (strcmp(format, "webm") == 0)
        name = "libvpx-vp9";
    else if (strcmp(format, "mov") == 0)
        name = "prores_ks";
    if (!name)
        return kb_fail(err, KB_BAD_INPUT, _("'%s': a film with transparency ends in .webm or .mov"),
                       mux->path);
    *ret = avcodec_find_encoder_by_name(name);
    return *ret ? KB_OK
                : kb_fail(err, KB_UNAVAILABLE, _("this FFmpeg cannot write transparency (%s)"),
                          name);
}

void alpha_set_up(AVCodecContext *c, int crf)
{
    if (c->codec_id == AV_CODEC_ID_PRORES) {
        c->pix_fmt = AV_PIX_FMT_YUVA444P10LE;
        c->codec_tag = MKTAG('a', 'p', '4', 'h');
        av_opt_set(c->priv_data, "profile", "4444", 0);
        av_opt_set(c->priv_data, "vendor", "apl0", 0); // as Apple's programs want it
        av_opt_set_int(c->priv_data, "alpha_bits", 8, 0);
        return;
    }
    c->pix_fmt = AV_PIX_FMT_YUVA420P;
    c->bit_rate = 0; // quality alone
    // VP9 goes from 0 to 63, and looks alike some eight above x264.
    av_opt_set_double(c->priv_data, "crf", KB_MIN(crf + 8, 63), 0);
    av_opt_set(c->priv_data, "deadline", "realtime", 0);
    av_opt_set_int(c->priv_data, "cpu-used", 6, 0);
    av_opt_set_int(c->priv_data, "row-mt", 1, 0);
    av_opt_set_int(c->priv_data, "auto-alt-ref", 0, 0); // cannot be with alpha
    av_opt_set_int(c->priv_data, "lag-in-frames", 0, 0);
}

int alpha_shape(struct alpha_shape *s, const AVCodecContext *c, const AVFrame *frame, AVFrame *ret)
{
    if (c->pix_fmt == AV_PIX_FMT_YUVA420P)
        return av_frame_ref(ret, frame);
    if (!s->scaler)
        s->scaler = sws_getContext(frame->width, frame->height, AV_PIX_FMT_YUVA420P, frame->width,
                                   frame->height, c->pix_fmt, SWS_BICUBIC, NULL, NULL, NULL);
    if (!s->scaler)
        return AVERROR(ENOMEM);
    ret->width = frame->width;
    ret->height = frame->height;
    ret->format = c->pix_fmt;
    int e = av_frame_get_buffer(ret, 0);
    if (e >= 0)
        e = av_frame_copy_props(ret, frame);
    if (e >= 0)
        e = sws_scale(s->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0,
                      frame->height, ret->data, ret->linesize);
    return e < 0 ? e : 0;
}

void alpha_shape_clear(struct alpha_shape *s)
{
    sws_freeContext(s->scaler);
    s->scaler = NULL;
}
