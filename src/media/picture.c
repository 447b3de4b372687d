#include "media/picture.h"
#include "media/deep.h"
#include "media/demux.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/mathematics.h>
#include <libavutil/pixdesc.h>

// FFmpeg still has names of their own for full-range formats; here the frame's color_range says it.
static void drop_j_format(AVFrame *f)
{
    static const int pairs[][2] = {
        {AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUV420P}, {AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUV422P},
        {AV_PIX_FMT_YUVJ444P, AV_PIX_FMT_YUV444P}, {AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUV440P},
        {AV_PIX_FMT_YUVJ411P, AV_PIX_FMT_YUV411P},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (f->format == pairs[i][0]) {
            f->format = pairs[i][1];
            f->color_range = AVCOL_RANGE_JPEG;
        }
    }
}

static int sign(int32_t v)
{
    return (v > 0) - (v < 0);
}

// The display matrix maps (x, y) to (a x + c y, b x + d y); only quarter turns and mirrors are
// followed, as players do. Returns filters, each with a comma after it; *ret_swap: sides change.
static const char *upright_filters(const int32_t *matrix, bool *ret_swap)
{
    *ret_swap = false;
    if (!matrix)
        return "";
    int64_t a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
    if (llabs(a) + llabs(d) >= llabs(b) + llabs(c)) {
        if (sign(matrix[0]) < 0)
            return sign(matrix[4]) < 0 ? "hflip,vflip," : "hflip,";
        return sign(matrix[4]) < 0 ? "vflip," : "";
    }
    *ret_swap = true;
    if (sign(matrix[3]) < 0)
        return sign(matrix[1]) < 0 ? "transpose=clock_flip," : "transpose=clock,";
    return sign(matrix[1]) < 0 ? "transpose=cclock," : "transpose=cclock_flip,";
}

static bool is_rgb(int format)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    return d && (d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BAYER));
}

static bool is_gray(int format)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    return d && !is_rgb(format) && d->nb_components <= 2;
}

static bool is_deep(int format)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    return d && d->comp[0].depth > 8 && !is_rgb(format) && !(d->flags & AV_PIX_FMT_FLAG_ALPHA);
}

static enum AVPixelFormat shaped_format(const struct shaper *s)
{
    return s->deep ? DEEP_FORMAT : AV_PIX_FMT_YUV420P;
}

static bool is_hdr(enum AVColorTransferCharacteristic transfer)
{
    return transfer == AVCOL_TRC_SMPTE2084 || transfer == AVCOL_TRC_ARIB_STD_B67;
}

static void choose_colour(struct shaper *s, const AVFrame *f, bool scaled)
{
    s->tone_map = !s->deep && is_hdr(f->color_trc) && avfilter_get_by_name("zscale") != NULL;
    if (s->tone_map) {
        s->range = AVCOL_RANGE_MPEG;
        s->space = AVCOL_SPC_BT709;
        s->primaries = AVCOL_PRI_BT709;
        s->transfer = AVCOL_TRC_BT709;
        return;
    }
    s->range = f->color_range;
    s->space = f->colorspace;
    s->primaries = f->color_primaries;
    s->transfer = f->color_trc;
    // What the source leaves open, players guess by size (BT.709 from 720 rows on). A picture that
    // changes its size or was RGB must therefore say it.
    bool hd = f->width >= 1280 || f->height >= 720;
    if (is_rgb(f->format)) {
        s->range = AVCOL_RANGE_MPEG;
        s->space = AVCOL_SPC_BT709;
    } else if (is_gray(f->format) && s->range == AVCOL_RANGE_UNSPECIFIED) {
        s->range = AVCOL_RANGE_JPEG;
    } else if (scaled && hd && s->space == AVCOL_SPC_UNSPECIFIED) {
        s->space = AVCOL_SPC_BT709;
    }
    if (s->range == AVCOL_RANGE_JPEG && s->space == AVCOL_SPC_UNSPECIFIED)
        s->space = AVCOL_SPC_BT470BG; // JFIF
    if (s->space == AVCOL_SPC_BT709) {
        if (s->primaries == AVCOL_PRI_UNSPECIFIED)
            s->primaries = AVCOL_PRI_BT709;
        if (s->transfer == AVCOL_TRC_UNSPECIFIED)
            s->transfer = AVCOL_TRC_BT709;
    }
}

enum kb_code shaper_init(struct shaper *s, const AVFrame *first, const int32_t *matrix, int height,
                         bool denoise, bool deep, int threads, struct kb_error *err)
{
    const AVFrameSideData *side = av_frame_get_side_data(first, AV_FRAME_DATA_DISPLAYMATRIX);
    if (side && side->size >= sizeof(s->matrix))
        matrix = (const int32_t *)side->data;
    s->has_matrix = matrix != NULL;
    if (matrix)
        memcpy(s->matrix, matrix, sizeof(s->matrix));
    s->denoise = denoise;
    s->deep = deep && is_deep(first->format);
    s->threads = KB_MAX(threads, 1);

    bool swap;
    upright_filters(s->has_matrix ? s->matrix : NULL, &swap);
    int w = swap ? first->height : first->width;
    int h = swap ? first->width : first->height;
    AVRational aspect = first->sample_aspect_ratio;
    s->sample_aspect = swap && aspect.num > 0 ? (AVRational){aspect.den, aspect.num} : aspect;
    if (w < 2 || h < 2)
        return kb_fail(err, KB_BAD_INPUT, _("the picture is only %dx%d pixels"), w, h);

    s->first_width = w;
    s->first_height = h;
    bool scaled = height >= 2 && height < h;
    if (scaled) {
        s->height = height & ~1;
        s->width = (int)KB_MAX(2 * av_rescale(w, s->height, 2 * (int64_t)h), 2);
    } else {
        s->height = h & ~1;
        s->width = w & ~1;
    }
    AVFrame plain = {.format = first->format, .color_range = first->color_range};
    drop_j_format(&plain);
    plain.width = first->width;
    plain.height = first->height;
    plain.colorspace = first->colorspace;
    plain.color_primaries = first->color_primaries;
    plain.color_trc = first->color_trc;
    choose_colour(s, &plain, scaled);
    return KB_OK;
}

static const char *range_name(enum AVColorRange range)
{
    return range == AVCOL_RANGE_JPEG ? "full" : "limited";
}

static const char *matrix_name(enum AVColorSpace space)
{
    switch (space) {
    case AVCOL_SPC_BT709:
        return "bt709";
    case AVCOL_SPC_FCC:
        return "fcc";
    case AVCOL_SPC_SMPTE240M:
        return "smpte240m";
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return "bt2020";
    default:
        return "bt601";
    }
}

static double aspect_or_1(AVRational aspect)
{
    return aspect.num > 0 && aspect.den > 0 ? av_q2d(aspect) : 1;
}

#define FILLS 0.99 // from this part of the shape on there are no bars

// How large an upright picture of w x h becomes: all of the shape if it is like the first one or
// has its proportions, else as much of it as keeps them.
static void fit(struct shaper *s, int w, int h, double aspect)
{
    s->inner_width = s->width;
    s->inner_height = s->height;
    double own = aspect_or_1(s->sample_aspect);
    if (w == s->first_width && h == s->first_height && fabs(aspect / own - 1) < 1 - FILLS)
        return;
    double wanted = w * aspect / h, has = s->width * own / s->height;
    if (wanted < has * FILLS)
        s->inner_width = (int)KB_MAX(2 * lrint(s->width * wanted / has / 2), 2);
    else if (wanted > has / FILLS)
        s->inner_height = (int)KB_MAX(2 * lrint(s->height * has / wanted / 2), 2);
}

// Of a picture in PQ or HLG, in light instead of signal: white of a page (203 candela) stays where
// it is, what is brighter, up to 1000 candela, is pressed into the rest. Each colour keeps its
// tone.
static void describe_tone_map(const AVFrame *f, char *ret, size_t size)
{
    int primaries = f->color_primaries, space = f->colorspace;
    bool rgb = is_rgb(f->format);
    if (primaries == AVCOL_PRI_UNSPECIFIED || primaries == AVCOL_PRI_RESERVED0)
        primaries = AVCOL_PRI_BT2020;
    if (space == AVCOL_SPC_UNSPECIFIED || space == AVCOL_SPC_RGB || space == AVCOL_SPC_BT2020_CL)
        space = AVCOL_SPC_BT2020_NCL;
    snprintf(ret, size,
             "zscale=tin=%d:pin=%d:min=%d:rin=%s:t=linear:npl=203,format=gbrpf32le,"
             "zscale=p=bt709,tonemap=mobius:param=0.5:peak=5:desat=0,"
             "zscale=t=bt709:m=bt709:r=limited:d=ordered,format=yuv420p,",
             f->color_trc, primaries, rgb ? AVCOL_SPC_RGB : space,
             range_name(rgb ? AVCOL_RANGE_JPEG : f->color_range));
}

// The filters for pictures like f, or "" when there is nothing to do.
static void describe(struct shaper *s, const AVFrame *f, char *ret, size_t size)
{
    bool swap;
    const char *turn = upright_filters(s->has_matrix ? s->matrix : NULL, &swap);
    int w = swap ? f->height : f->width, h = swap ? f->width : f->height;
    double aspect = aspect_or_1(f->sample_aspect_ratio);
    bool convert = f->format != shaped_format(s);
    char crop[64] = "", scale[400] = "";
    fit(s, w, h, swap ? 1 / aspect : aspect);
    if ((w & ~1) == s->inner_width && (h & ~1) == s->inner_height) {
        if (w != s->inner_width || h != s->inner_height)
            snprintf(crop, sizeof(crop), "crop=%d:%d:0:0,", s->inner_width, s->inner_height);
    } else {
        convert = true;
    }
    if (s->tone_map && is_hdr(f->color_trc)) {
        int n = snprintf(scale, sizeof(scale), "scale=%d:%d:flags=bicubic,", s->inner_width,
                         s->inner_height);
        describe_tone_map(f, scale + n, sizeof(scale) - (size_t)n);
    } else if (convert) {
        bool rgb = is_rgb(f->format);
        bool unknown = f->color_range == AVCOL_RANGE_UNSPECIFIED;
        enum AVColorRange range = rgb ? AVCOL_RANGE_JPEG : unknown ? s->range : f->color_range;
        snprintf(scale, sizeof(scale),
                 "scale=%d:%d:flags=bicubic+accurate_rnd+full_chroma_int:in_range=%s:out_range=%s:"
                 "in_color_matrix=%s:out_color_matrix=%s,format=%s,",
                 s->inner_width, s->inner_height, range_name(range), range_name(s->range),
                 matrix_name(s->space), matrix_name(s->space),
                 av_get_pix_fmt_name(shaped_format(s)));
    }
    snprintf(ret, size, "%s%s%s%s", turn, crop, scale, s->denoise ? "hqdn3d," : "");
    size_t n = strlen(ret);
    if (n > 0)
        ret[n - 1] = '\0'; // the last comma
}

static int build(const struct shaper *s, const AVFrame *f, const char *filters, struct filters *ret)
{
    char args[128];
    snprintf(args, sizeof(args), "video_size=%dx%d:pix_fmt=%d:time_base=1/1000000:pixel_aspect=1/1",
             f->width, f->height, f->format);
    return filters_build(ret, "buffer", "buffersink", args, filters, s->threads);
}

// frame is replaced by what the filters make of it.
static int run(const struct filters *filters, AVFrame *frame)
{
    int e = av_buffersrc_add_frame(filters->in, frame); // empties frame
    return e >= 0 ? av_buffersink_get_frame(filters->out, frame) : e;
}

// --- transparency ---

static bool has_alpha(int format)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    return d && (d->flags & AV_PIX_FMT_FLAG_ALPHA);
}

static int prepare_alpha(struct shaper *s, const AVFrame *f)
{
    if (s->to_rgba.graph && f->width == s->alpha_width && f->height == s->alpha_height &&
        f->format == s->alpha_format)
        return 0;
    avfilter_graph_free(&s->to_rgba.graph);
    char chain[160];
    bool full = is_rgb(f->format) || is_gray(f->format) || f->color_range == AVCOL_RANGE_JPEG;
    snprintf(chain, sizeof(chain),
             "scale=flags=bicubic+accurate_rnd+full_chroma_int:in_range=%s:in_color_matrix=%s,"
             "format=rgba",
             full ? "full" : "limited", matrix_name(s->space));
    int e = build(s, f, chain, &s->to_rgba);
    if (e < 0)
        avfilter_graph_free(&s->to_rgba.graph);
    s->alpha_width = f->width;
    s->alpha_height = f->height;
    s->alpha_format = f->format;
    return e;
}

// As in the page's player (web/src/components/ResultVideo.vue): squares of so many to a picture's
// width, grey and white.
#define SQUARES 27
static const uint8_t chequer_grey[3] = {0xd4, 0xd7, 0xdc};

// What lies behind a pixel.
static int ground(const struct shaper *s, int square, int x, int y, int c)
{
    bool grey = s->chequered && (x / square + y / square) % 2 == 0;
    return grey ? chequer_grey[c] : 255;
}

// Puts a picture with transparency on its ground: before it is scaled, or the hidden colours would
// come in at the edges.
static int put_on_ground(struct shaper *s, AVFrame *frame)
{
    if (!has_alpha(frame->format))
        return 0;
    int square = KB_MAX(frame->width / SQUARES, 1);
    int e = prepare_alpha(s, frame);
    if (e >= 0)
        e = run(&s->to_rgba, frame);
    if (e >= 0)
        e = av_frame_make_writable(frame);
    for (int y = 0; e >= 0 && y < frame->height; y++) {
        uint8_t *p = frame->data[0] + (ptrdiff_t)y * frame->linesize[0];
        for (int x = 0; x < frame->width; x++, p += 4)
            for (int c = 0; c < 3 && p[3] < 255; c++)
                p[c] = (uint8_t)((p[c] * p[3] + ground(s, square, x, y, c) * (255 - p[3]) + 127) /
                                 255);
    }
    frame->format = AV_PIX_FMT_RGB0;
    return e;
}

// --- shape ---

static void drop_filters(struct shaper *s)
{
    avfilter_graph_free(&s->filters.graph);
    s->ready = false;
}

static int prepare(struct shaper *s, const AVFrame *f)
{
    if (s->ready && f->width == s->in_width && f->height == s->in_height &&
        f->format == s->in_format && f->sample_aspect_ratio.num == s->in_aspect.num &&
        f->sample_aspect_ratio.den == s->in_aspect.den)
        return 0;
    drop_filters(s);
    char filters[640];
    describe(s, f, filters, sizeof(filters));
    int e = filters[0] ? build(s, f, filters, &s->filters) : 0;
    if (e < 0) {
        drop_filters(s);
        return e;
    }
    s->in_width = f->width;
    s->in_height = f->height;
    s->in_format = f->format;
    s->in_aspect = f->sample_aspect_ratio;
    s->ready = true;
    return 0;
}

bool shaper_is_plain(const struct shaper *s, const AVFrame *f)
{
    struct shaper tried = *s; // only described
    AVFrame plain = {.format = f->format,
                     .width = f->width,
                     .height = f->height,
                     .color_trc = f->color_trc,
                     .sample_aspect_ratio = f->sample_aspect_ratio};
    char filters[640];
    drop_j_format(&plain);
    describe(&tried, &plain, filters, sizeof(filters));
    return !filters[0] && !s->deep && f->width == s->width && f->height == s->height;
}

// n samples of a plane's row; wide: two bytes each, ten bits.
static void fill_row(uint8_t *row, int n, int value, bool wide)
{
    if (!wide)
        memset(row, value, (size_t)n);
    for (int x = 0; wide && x < n; x++)
        ((uint16_t *)row)[x] = (uint16_t)(value * 4);
}

// The picture in the middle of the shape, black around it.
static int add_bars(const struct shaper *s, AVFrame *frame)
{
    CLEANUP(av_frame_free) AVFrame *whole = av_frame_alloc();
    if (!whole)
        return AVERROR(ENOMEM);
    whole->format = frame->format;
    whole->width = s->width;
    whole->height = s->height;
    int e = av_frame_get_buffer(whole, 0);
    if (e >= 0)
        e = av_frame_copy_props(whole, frame);
    if (e < 0)
        return e;
    int x0 = (s->width - frame->width) / 4 * 2, y0 = (s->height - frame->height) / 4 * 2;
    int bytes = s->deep ? 2 : 1; // of a sample
    for (int p = 0; p < 3; p++) {
        int half = p > 0, black = half ? 128 : s->range == AVCOL_RANGE_JPEG ? 0 : 16;
        for (int y = 0; y < s->height >> half; y++)
            fill_row(whole->data[p] + (ptrdiff_t)y * whole->linesize[p], s->width >> half, black,
                     s->deep);
        for (int y = 0; y < frame->height >> half; y++)
            memcpy(whole->data[p] + (ptrdiff_t)(y + (y0 >> half)) * whole->linesize[p] +
                       (ptrdiff_t)(x0 >> half) * bytes,
                   frame->data[p] + (ptrdiff_t)y * frame->linesize[p],
                   (size_t)(frame->width >> half) * (size_t)bytes);
    }
    av_frame_unref(frame);
    av_frame_move_ref(frame, whole);
    return 0;
}

enum kb_code shaper_apply(struct shaper *s, AVFrame *frame, struct kb_error *err)
{
    int64_t pts = frame->pts, duration = FRAME_DURATION(frame);
    drop_j_format(frame);
    int e = put_on_ground(s, frame);
    if (e >= 0)
        e = prepare(s, frame);
    if (e >= 0 && s->filters.graph)
        e = run(&s->filters, frame);
    if (e >= 0 && (frame->width != s->width || frame->height != s->height))
        e = add_bars(s, frame);
    if (e >= 0 && s->deep)
        e = deep_split(frame);
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    if (e < 0)
        return kb_fail(err, KB_BAD_INPUT, _("a picture cannot be converted: %s"), ffmpeg_error(e));
    av_frame_remove_side_data(frame, AV_FRAME_DATA_DISPLAYMATRIX);
    frame->pts = pts;
    FRAME_DURATION(frame) = duration;
    frame->sample_aspect_ratio = s->sample_aspect;
    frame->color_range = s->range;
    frame->colorspace = s->space;
    frame->color_primaries = s->primaries;
    frame->color_trc = s->transfer;
    return KB_OK;
}

void shaper_reset(struct shaper *s)
{
    drop_filters(s);
    avfilter_graph_free(&s->to_rgba.graph);
}
