#include "finish/backdrop.h"

#include "face/warp.h"
#include "media/filters.h"
#include "media/frame.h"
#include "media/reader.h"

#include <inttypes.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backdrop {
    struct finish_picture picture;
    AVFrame *shown; // as large as the frames
    struct reader *reader;
    struct filters filters;
    AVFrame *next;    // of the film, not yet shown
    int64_t start_us; // of this round through the film, as the dub counts
    int64_t round_us; // where the last picture that was read ends
    int64_t asked_us;
    bool is_still;
};

// --- a colour ---

static enum kb_code new_picture(AVFrame **ret, const struct finish_picture *p, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    f->width = p->width;
    f->height = p->height;
    f->format = AV_PIX_FMT_YUV420P;
    f->colorspace = p->space;
    f->color_range = p->range;
    if (av_frame_get_buffer(f, 0) < 0)
        return kb_no_memory(err);
    *ret = TAKE(f);
    return KB_OK;
}

static enum kb_code fill_colour(struct backdrop *b, const uint8_t rgb[3], struct kb_error *err)
{
    enum kb_code code = new_picture(&b->shown, &b->picture, err);
    if (code != KB_OK)
        return code;
    struct yuv_matrix m = yuv_matrix_of(b->shown);
    float yuv[3] = {m.y_offset, 128, 128};
    for (int i = 0; i < 3; i++) {
        yuv[0] += m.to_y[i] * (float)rgb[i] / 255;
        yuv[1] += m.to_u[i] * (float)rgb[i] / 255;
        yuv[2] += m.to_v[i] * (float)rgb[i] / 255;
    }
    for (int i = 0; i < 3; i++) {
        int value = KB_MIN(KB_MAX((int)lrintf(yuv[i]), 0), 255);
        for (int y = 0; y < b->picture.height >> (i > 0); y++)
            memset(b->shown->data[i] + (ptrdiff_t)y * b->shown->linesize[i], value,
                   (size_t)b->picture.width >> (i > 0));
    }
    return KB_OK;
}

// --- a file ---

// As libswscale calls them. What is not said is what face/warp.c and players take it for.
static const char *matrix_name(enum AVColorSpace space, int height)
{
    switch (space) {
    case AVCOL_SPC_BT709:
        return "bt709";
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return "bt2020";
    case AVCOL_SPC_FCC:
        return "fcc";
    case AVCOL_SPC_SMPTE240M:
        return "smpte240m";
    case AVCOL_SPC_UNSPECIFIED:
        return height >= 720 ? "bt709" : "bt601";
    default:
        return "bt601";
    }
}

static const char *range_name(enum AVColorRange range)
{
    return range == AVCOL_RANGE_JPEG ? "pc" : "tv";
}

static double aspect(AVRational sample)
{
    return sample.num > 0 && sample.den > 0 ? av_q2d(sample) : 1;
}

// Cut from the middle to the proportions of the frames as they are shown, then made as large.
static enum kb_code open_filters(struct backdrop *b, const char *path, int threads,
                                 struct kb_error *err)
{
    const struct reader_info *info = reader_info(b->reader);
    const struct finish_picture *p = &b->picture;
    double want = p->width * aspect(p->sample_aspect) / p->height / aspect(info->sample_aspect);
    int w = info->width, h = info->height;
    if (w > h * want)
        w = KB_MAX((int)lrint(h * want / 2) * 2, 2);
    else
        h = KB_MAX((int)lrint(w / want / 2) * 2, 2);
    w = KB_MIN(w, info->width);
    h = KB_MIN(h, info->height);
    char args[160], chain[400];
    snprintf(args, sizeof(args), "video_size=%dx%d:pix_fmt=%d:time_base=1/1000000:pixel_aspect=1/1",
             info->width, info->height, AV_PIX_FMT_YUV420P);
    snprintf(chain, sizeof(chain),
             "crop=%d:%d,scale=%d:%d:flags=%s:in_color_matrix=%s:in_range=%s:out_color_matrix=%s:"
             "out_range=%s,format=yuv420p",
             w, h, p->width, p->height, w > p->width ? "area" : "bicubic",
             matrix_name(info->space, info->height), range_name(info->range),
             matrix_name(p->space, p->height), range_name(p->range));
    int e = filters_build(&b->filters, "buffer", "buffersink", args, chain, threads);
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    return e < 0 ? kb_fail(err, KB_BAD_INPUT, _("the background '%s' cannot be scaled to %dx%d"),
                           path, p->width, p->height)
                 : KB_OK;
}

enum kb_code backdrop_open(struct backdrop **ret, const struct background_params *p,
                           const struct finish_picture *picture, const struct finish_source *source,
                           struct kb_error *err)
{
    CLEANUP(backdrop_close) struct backdrop *b = kb_alloc(sizeof(*b));
    b->picture = *picture;
    enum kb_code code;
    if (p->kind == BACKGROUND_COLOUR) {
        code = fill_colour(b, p->rgb, err);
    } else {
        const struct reader_params rp = {.threads = 1, .cancel = source->cancel};
        code = reader_open(&b->reader, p->path, &rp, err);
        if (code != KB_OK)
            return code == KB_CANCELLED ? code : kb_wrap(err, _("the background (--background)"));
        b->is_still = reader_info(b->reader)->is_still;
        code = open_filters(b, p->path, 1, err);
    }
    if (code == KB_OK)
        *ret = TAKE(b);
    return code;
}

void backdrop_close(struct backdrop **b)
{
    if (!*b)
        return;
    avfilter_graph_free(&(*b)->filters.graph);
    reader_close(&(*b)->reader);
    av_frame_free(&(*b)->shown);
    av_frame_free(&(*b)->next);
    free(*b);
    *b = NULL;
}

static enum kb_code show(struct backdrop *b, AVFrame *picture, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *scaled = av_frame_alloc();
    int e = scaled
                ? av_buffersrc_add_frame_flags(b->filters.in, picture, AV_BUFFERSRC_FLAG_KEEP_REF)
                : AVERROR(ENOMEM);
    if (e >= 0)
        e = av_buffersink_get_frame(b->filters.out, scaled);
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    if (e < 0)
        return kb_fail(err, KB_INTERNAL, "a picture of the background cannot be scaled");
    av_frame_free(&b->shown);
    b->shown = TAKE(scaled);
    return KB_OK;
}

// The next picture of the film, from its beginning again after its last.
static enum kb_code read_next(struct backdrop *b, struct kb_error *err)
{
    enum kb_code code = reader_next(b->reader, &b->next, err);
    if (code == KB_EOF) {
        b->start_us += KB_MAX(b->round_us, 10000);
        code = reader_seek(b->reader, 0, err);
        if (code == KB_OK)
            code = reader_next(b->reader, &b->next, err);
    }
    if (code == KB_EOF)
        return kb_fail(err, KB_BAD_INPUT, _("the background has no pictures"));
    if (code == KB_OK)
        b->round_us = b->next->pts + KB_MAX(FRAME_DURATION(b->next), 1);
    return code;
}

enum kb_code backdrop_at(struct backdrop *b, int64_t at_us, const AVFrame **ret,
                         struct kb_error *err)
{
    enum kb_code code = KB_OK;
    bool wants = b->reader && !(b->shown && b->is_still);
    if (wants && at_us < b->asked_us) { // from the beginning
        b->start_us = 0;
        av_frame_free(&b->next);
        av_frame_free(&b->shown);
        code = reader_seek(b->reader, 0, err);
    }
    b->asked_us = at_us;
    CLEANUP(av_frame_free) AVFrame *due = NULL;
    while (wants && code == KB_OK) {
        if (!b->next)
            code = read_next(b, err);
        if (code != KB_OK || (b->start_us + b->next->pts > at_us && (b->shown || due)))
            break;
        av_frame_free(&due);
        due = TAKE(b->next);
        if (b->is_still)
            break;
    }
    if (code == KB_OK && due)
        code = show(b, due, err);
    *ret = b->shown;
    return code;
}
