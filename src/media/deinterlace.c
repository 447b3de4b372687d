// bwdif, in its mode of one picture for each: a film of 50 fields a second stays one of 25
// pictures. Twice as many would move more smoothly, but every one of them is a face to find and a
// mouth to draw, and the output would no longer have the rate of the film. Of a film that is
// interlaced here and there, as broadcasts are, the other pictures pass as they are.
#include "media/deinterlace.h"

#include "media/frame.h"

#include <stdio.h>

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>

#define MIN_SIDE 16 // no camera makes smaller ones, and the filter wants some rows

static bool is_interlaced(const AVFrame *f)
{
    return frame_is_interlaced(f) && f->width >= MIN_SIDE && f->height >= MIN_SIDE;
}

static int build(struct deinterlacer *d, const AVFrame *f)
{
    char args[128];
    snprintf(args, sizeof(args), "video_size=%dx%d:pix_fmt=%d:time_base=1/1000000:pixel_aspect=1/1",
             f->width, f->height, f->format);
    d->width = f->width;
    d->height = f->height;
    d->format = f->format;
    d->ending = false;
    return filters_build(&d->filters, "buffer", "buffersink", args,
                         "bwdif=mode=send_frame:parity=auto:deint=interlaced",
                         KB_MAX(d->threads, 1));
}

// Give the filters the picture that is held, or their end where it needs other ones.
static int feed(struct deinterlacer *d)
{
    AVFrame *f = d->held;
    int e = d->filters.graph ? 0 : build(d, f);
    if (e < 0 || d->ending)
        return e;
    if (f->width != d->width || f->height != d->height || f->format != d->format) {
        d->ending = true;
        return av_buffersrc_add_frame(d->filters.in, NULL);
    }
    e = av_buffersrc_add_frame(d->filters.in, f); // empties it
    av_frame_free(&d->held);
    return e;
}

// The next picture that the filters have ready. AVERROR(EAGAIN): they want more first.
static int drain(struct deinterlacer *d, AVFrame *ret)
{
    int e = av_buffersink_get_frame(d->filters.out, ret);
    if (e >= 0)
        FRAME_DURATION(ret) = 0; // in other units than it was
    if (e == AVERROR_EOF)
        avfilter_graph_free(&d->filters.graph);
    return e == AVERROR_EOF ? AVERROR(EAGAIN) : e;
}

static enum kb_code failed(int e, struct kb_error *err)
{
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    return kb_fail(err, KB_BAD_INPUT, _("a picture cannot be converted: %s"), ffmpeg_error(e));
}

enum kb_code deinterlacer_next(struct deinterlacer *d, struct demux *source, AVFrame *ret,
                               struct kb_error *err)
{
    for (;;) {
        int e = d->filters.graph ? drain(d, ret) : AVERROR(EAGAIN);
        if (e >= 0)
            return KB_OK;
        if (e != AVERROR(EAGAIN))
            return failed(e, err);
        if (!d->held) {
            enum kb_code code = d->ending ? KB_EOF : demux_decode(source, ret, err);
            if (code == KB_EOF && d->filters.graph && !d->ending) {
                d->ending = true;
                e = av_buffersrc_add_frame(d->filters.in, NULL);
                if (e < 0)
                    return failed(e, err);
                continue;
            }
            if (code != KB_OK || (!d->filters.graph && !is_interlaced(ret)))
                return code;
            d->held = av_frame_alloc();
            if (!d->held)
                return kb_no_memory(err);
            av_frame_move_ref(d->held, ret);
        }
        e = feed(d);
        if (e < 0)
            return failed(e, err);
    }
}

void deinterlacer_reset(struct deinterlacer *d)
{
    avfilter_graph_free(&d->filters.graph);
    av_frame_free(&d->held);
    d->ending = false;
}
