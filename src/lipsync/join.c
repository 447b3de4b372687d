#include "lipsync/join.h"

#include "media/deep.h"
#include "media/demux.h"
#include "media/filters.h"
#include "media/sound.h"

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/mathematics.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FILLS 1.01 // of proportions: closer than that nobody sees bars
#define SMALL 8    // the blurred copy is made so much smaller

struct join {
    struct join_params p;
    struct finish_picture picture;
    struct reader *reader;
    struct filters filters;
    int64_t n_frames, length_us;
    int64_t end_us; // of the pictures that the filters have
    bool has_sound, ended;
    AVFrame *last; // that was put, again where the film has no more
};

static double aspect_or_1(AVRational a)
{
    return a.num > 0 && a.den > 0 ? av_q2d(a) : 1;
}

static int even(double side)
{
    return 2 * KB_MAX((int)lround(side / 2), 1);
}

// What is not said is as for films of that size.
static const char *matrix_of(enum AVColorSpace space, int height)
{
    switch (space) {
    case AVCOL_SPC_BT709:
        return "bt709";
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
        return "smpte170m";
    case AVCOL_SPC_SMPTE240M:
        return "smpte240m";
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return "bt2020";
    default:
        return height >= 720 ? "bt709" : "smpte170m";
    }
}

static const char *range_of(enum AVColorRange range)
{
    return range == AVCOL_RANGE_JPEG ? "full" : "limited";
}

// The film within the dub's picture, and what fills the rest of it.
static void describe_fit(const struct join *j, char *ret, size_t size)
{
    const struct reader_info *v = reader_info(j->reader);
    const struct finish_picture *to = &j->picture;
    double shape = v->width * aspect_or_1(v->sample_aspect) / v->height;
    shape /= aspect_or_1(to->sample_aspect); // in pixels of the dub
    double room = (double)to->width / to->height, ratio = shape / room;
    char colours[160];
    snprintf(colours, sizeof(colours),
             "in_range=%s:out_range=%s:in_color_matrix=%s:out_color_matrix=%s", range_of(v->range),
             range_of(to->range), matrix_of(v->space, v->height), matrix_of(to->space, to->height));
    if (ratio < FILLS && ratio > 1 / FILLS) {
        snprintf(ret, size, "scale=%d:%d:flags=bicubic+accurate_rnd:%s", to->width, to->height,
                 colours);
        return;
    }
    int w = ratio > 1 ? to->width : even(to->height * shape);
    int h = ratio > 1 ? even(to->width / shape) : to->height;
    int small_w = KB_MAX(even((double)to->width / SMALL), 16);
    int small_h = KB_MAX(even((double)to->height / SMALL), 16);
    int cover_w = ratio > 1 ? KB_MAX(even(small_h * shape), small_w) : small_w;
    int cover_h = ratio > 1 ? small_h : KB_MAX(even(small_w / shape), small_h);
    snprintf(ret, size,
             "split[a][b];"
             "[a]scale=%d:%d:flags=area:%s,crop=%d:%d,gblur=sigma=4,lutyuv=y=val*0.7,"
             "scale=%d:%d:flags=bicubic[under];"
             "[b]scale=%d:%d:flags=bicubic+accurate_rnd:%s[over];"
             "[under][over]overlay=%d:%d:format=yuv420",
             cover_w, cover_h, colours, small_w, small_h, to->width, to->height, w, h, colours,
             (to->width - w) / 4 * 2, (to->height - h) / 4 * 2);
}

static enum kb_code build(struct join *j, struct kb_error *err)
{
    const struct reader_info *v = reader_info(j->reader);
    const struct finish_picture *to = &j->picture;
    char args[160], fit[900], chain[1200];
    snprintf(args, sizeof(args),
             "video_size=%dx%d:pix_fmt=%d:time_base=1/1000000:pixel_aspect=1/1:frame_rate=%d/%d",
             v->width, v->height, AV_PIX_FMT_YUV420P, v->frame_rate.num, v->frame_rate.den);
    describe_fit(j, fit, sizeof(fit));
    snprintf(chain, sizeof(chain), "fps=%d/%d:start_time=0,%s,setsar=1,format=%s",
             to->frame_rate.num, to->frame_rate.den, fit,
             to->alpha  ? "yuva420p"
             : to->deep ? "yuv420p10le"
                        : "yuv420p");
    int e = filters_build(&j->filters, "buffer", "buffersink", args, chain, j->p.threads);
    return e < 0 ? kb_fail(err, ffmpeg_code(e),
                           _("'%s' cannot be brought into the video's shape: %s"), j->p.path,
                           ffmpeg_error(e))
                 : KB_OK;
}

enum kb_code join_too_long(const char *path, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("'%s' is longer than %d minutes, too long for an intro or outro; cut it, or "
                     "join it afterwards"),
                   path, (int)(JOIN_MAX_US / 60000000));
}

// To its last picture's end.
static enum kb_code measure(struct join *j, struct kb_error *err)
{
    int64_t end_us = JOIN_STILL_US;
    enum kb_code code = KB_OK;
    for (bool still = reader_info(j->reader)->is_still; code == KB_OK && !still;) {
        CLEANUP(av_frame_free) AVFrame *f = NULL;
        code = reader_next(j->reader, &f, err);
        if (code == KB_OK)
            end_us = f->pts + FRAME_DURATION(f);
        if (code == KB_OK && end_us > JOIN_MAX_US)
            return join_too_long(j->p.path, err);
    }
    if (code != KB_OK && code != KB_EOF)
        return code;
    AVRational rate = j->p.frame_rate;
    j->n_frames = KB_MAX(av_rescale(end_us, rate.num, INT64_C(1000000) * rate.den), 1);
    j->length_us = av_rescale(j->n_frames, INT64_C(1000000) * rate.den, rate.num);
    const struct reader_params rp = {.threads = j->p.threads, .cancel = j->p.cancel};
    return reader_restart(j->reader, &rp, err);
}

static enum kb_code find_sound(struct join *j, struct kb_error *err)
{
    CLEANUP(sound_close) struct sound *sound = NULL;
    const struct sound_params sp = {.format = AV_SAMPLE_FMT_FLTP, .cancel = j->p.cancel};
    if (reader_info(j->reader)->is_still)
        return KB_OK;
    struct kb_error none = {0};
    enum kb_code code = sound_open(&sound, j->p.path, &sp, &none);
    j->has_sound = code == KB_OK;
    if (code == KB_NO_SPACE || code == KB_CANCELLED) {
        *err = none;
        return code;
    }
    return KB_OK; // a film may be silent
}

enum kb_code join_open(struct join **ret, const struct join_params *p, struct kb_error *err)
{
    CLEANUP(join_close) struct join *j = kb_alloc(sizeof(*j));
    const struct reader_params rp = {.threads = p->threads, .cancel = p->cancel};
    j->p = *p;
    enum kb_code code = reader_open(&j->reader, p->path, &rp, err);
    if (code == KB_OK)
        code = measure(j, err);
    if (code == KB_OK)
        code = find_sound(j, err);
    if (code == KB_OK)
        *ret = TAKE(j);
    return code;
}

int64_t join_frames(const struct join *j)
{
    return j->n_frames;
}

int64_t join_length_us(const struct join *j)
{
    return j->length_us;
}

bool join_has_sound(const struct join *j)
{
    return j->has_sound;
}

int64_t join_sound_from_us(const struct join *j)
{
    return KB_MAX(reader_info(j->reader)->start_us, 0);
}

// Give the filters one picture more, or tell them that there is none.
static enum kb_code feed(struct join *j, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = NULL;
    enum kb_code code = reader_next(j->reader, &f, err);
    if (code != KB_OK && code != KB_EOF)
        return code;
    j->ended = code == KB_EOF;
    if (j->ended) // or the last picture, which may be the only one, would have no length
        return av_buffersrc_close(j->filters.in, j->end_us, 0) < 0 ? kb_no_memory(err) : KB_OK;
    j->end_us = f->pts + FRAME_DURATION(f);
    frame_mark_shot(f, false);
    return av_buffersrc_add_frame(j->filters.in, f) < 0 ? kb_no_memory(err) : KB_OK;
}

// The next picture into j->last; at the film's end the last one stays.
static enum kb_code next(struct join *j, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    for (;;) {
        int e = av_buffersink_get_frame(j->filters.out, f);
        if (e >= 0)
            break;
        if (e != AVERROR(EAGAIN) && e != AVERROR_EOF)
            return kb_no_memory(err);
        if (e == AVERROR_EOF || j->ended)
            return j->last ? KB_OK
                           : kb_fail(err, KB_BAD_INPUT, _("'%s' gave no picture"), j->p.path);
        enum kb_code code = feed(j, err);
        if (code != KB_OK)
            return code;
    }
    const struct finish_picture *to = &j->picture;
    f->colorspace = to->space;
    f->color_range = to->range;
    f->sample_aspect_ratio = to->sample_aspect;
    if (to->deep && deep_split(f) < 0)
        return kb_no_memory(err);
    av_frame_free(&j->last);
    j->last = TAKE(f);
    return KB_OK;
}

// Frame i, through the finisher, into the writer.
static enum kb_code put(struct join *j, const struct join_place *place, int64_t i,
                        struct kb_error *err)
{
    AVRational rate = j->p.frame_rate;
    int64_t begin = av_rescale(i, INT64_C(1000000) * rate.den, rate.num);
    int64_t end = av_rescale(i + 1, INT64_C(1000000) * rate.den, rate.num);
    enum kb_code code = next(j, err);
    if (code != KB_OK)
        return code;
    CLEANUP(av_frame_free) AVFrame *frame = av_frame_clone(j->last);
    if (!frame)
        return kb_no_memory(err);
    const struct finish_moment at = {.part = place->part,
                                     .pts_us = begin,
                                     .output_us = place->at_us + begin,
                                     .duration_us = end - begin};
    if (place->finisher)
        code = finisher_put(place->finisher, &frame, &at, err);
    if (code != KB_OK)
        return code;
    frame->pts = place->at_us + begin;
    FRAME_DURATION(frame) = end - begin;
    return writer_put(place->writer, frame, err);
}

enum kb_code join_play(struct join *j, const struct join_place *place, struct kb_error *err)
{
    j->picture = place->picture;
    enum kb_code code = build(j, err);
    for (int64_t i = 0; i < j->n_frames && code == KB_OK; i++) {
        code = watch_check(&place->watch, err);
        if (code == KB_OK)
            code = put(j, place, i, err);
        if (code == KB_OK)
            watch_tell(&place->watch, STAGE_GENERATING, i + 1, j->n_frames);
    }
    return code;
}

void join_close(struct join **j)
{
    if (!*j)
        return;
    avfilter_graph_free(&(*j)->filters.graph);
    reader_close(&(*j)->reader);
    av_frame_free(&(*j)->last);
    free(*j);
    *j = NULL;
}
