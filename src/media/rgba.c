#include "media/rgba.h"

#include "media/demux.h"
#include "media/filters.h"

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/pixdesc.h>
#include <math.h>
#include <stdio.h>

// frame is replaced by what one filter after the other makes of it. 0 or FFmpeg's error.
static int pass(AVFrame *frame, const char *chain)
{
    struct filters f = {0};
    char args[128];
    snprintf(args, sizeof(args), "video_size=%dx%d:pix_fmt=%d:time_base=1/1000000:pixel_aspect=1/1",
             frame->width, frame->height, frame->format);
    int e = filters_build(&f, "buffer", "buffersink", args, chain, 1);
    if (e >= 0)
        e = av_buffersrc_add_frame(f.in, frame); // empties frame
    if (e >= 0)
        e = av_buffersrc_add_frame(f.in, NULL);
    if (e >= 0)
        e = av_buffersink_get_frame(f.out, frame);
    avfilter_graph_free(&f.graph);
    return e;
}

static int to_rgba(AVFrame *f)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    bool full = !d || (d->flags & AV_PIX_FMT_FLAG_RGB) || f->color_range == AVCOL_RANGE_JPEG;
    bool hd = f->colorspace == AVCOL_SPC_BT709;
    char chain[160];
    snprintf(chain, sizeof(chain),
             "scale=flags=bicubic+accurate_rnd+full_chroma_int:in_range=%s:in_color_matrix=%s,"
             "format=rgba",
             full ? "full" : "limited", hd ? "bt709" : "smpte170m");
    return pass(f, chain);
}

static int multiply(AVFrame *f)
{
    int e = av_frame_make_writable(f);
    for (int y = 0; e >= 0 && y < f->height; y++) {
        uint8_t *p = f->data[0] + (ptrdiff_t)y * f->linesize[0];
        for (int x = 0; x < f->width; x++, p += 4)
            for (int c = 0; c < 3; c++)
                p[c] = (uint8_t)((p[c] * p[3] + 127) / 255);
    }
    return e;
}

static int fit(AVFrame *f, int width, int height)
{
    AVRational aspect = f->sample_aspect_ratio;
    double pixel = aspect.num > 0 && aspect.den > 0 ? av_q2d(aspect) : 1;
    double shape = f->width * pixel / f->height;
    double w = fmin(width, height * shape);
    char chain[80];
    snprintf(chain, sizeof(chain), "scale=%d:%d:flags=%s", KB_MAX((int)lrint(w), 1),
             KB_MAX((int)lrint(w / shape), 1), w < f->width ? "area" : "bicubic");
    return pass(f, chain);
}

enum kb_code rgba_read(AVFrame **ret, const char *path, int width, int height,
                       const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(demux_close) struct demux source = {0};
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    enum kb_code code = demux_open(&source, path, AVMEDIA_TYPE_VIDEO, cancel, err);
    if (code == KB_OK)
        code = demux_open_decoder(&source, 1, err);
    if (code == KB_OK)
        code = demux_decode(&source, f, err);
    if (code == KB_EOF)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' holds no picture that can be read"), path);
    if (code != KB_OK)
        return code;
    AVRational aspect = f->sample_aspect_ratio;
    int e = to_rgba(f);
    if (e >= 0)
        e = multiply(f);
    f->sample_aspect_ratio = aspect;
    if (e >= 0)
        e = fit(f, width, height);
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    if (e < 0)
        return kb_fail(err, KB_BAD_INPUT, _("the picture '%s' cannot be converted: %s"), path,
                       ffmpeg_error(e));
    *ret = TAKE(f);
    return KB_OK;
}
