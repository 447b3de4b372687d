#include "media/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/avstring.h>
#include <libavutil/mathematics.h>
#include <libavutil/opt.h>

#include "base/text.h"
#include "media/aigc.h"
#include "media/alpha.h"
#include "media/captions.h"
#include "media/cues.h"
#include "media/deep.h"
#include "media/encode.h"
#include "media/mux.h"
#include "media/original.h"
#include "media/soundtrack.h"
#include "media/demux.h"

static const AVRational us = {1, 1000000};

const char *const writer_presets[N_WRITER_PRESETS] = {
    "auto",   "ultrafast", "superfast", "veryfast", "faster", "fast",
    "medium", "slow",      "slower",    "veryslow", "placebo"};

struct writer {
    struct writer_params params;
    struct mux mux;
    struct encoder encoder; // its pts is -1 before the first picture; no context while passing
    const AVCodec *codec;
    AVRational units;      // of its times
    struct splice *splice; // NULL: nothing is passed
    char *preset;
    AVFrame *frame;
    struct alpha_shape shape; // where pictures have alpha
    struct captions *captions;
    struct soundtrack *sound;
    int64_t end_us; // where the last picture ends
};

// Units in which every picture of a constant rate starts at a whole number (24000/1001 included)
// and that are fine enough for microseconds of a variable one: a multiple of the rate near 90 kHz,
// the clock of MPEG.
static AVRational time_units(AVRational rate)
{
    if (rate.num <= 0 || rate.num > 1000000)
        return (AVRational){1, 90000};
    return (AVRational){1, rate.num * ((90000 + rate.num - 1) / rate.num)};
}

static enum kb_code check_preset(const char *preset, struct kb_error *err)
{
    CLEANUP(text_free) struct text words = {0};
    for (size_t i = 0; i < N_WRITER_PRESETS; i++) {
        if (strcmp(preset, writer_presets[i]) == 0)
            return KB_OK;
        text_addf(&words, " %s", writer_presets[i]);
    }
    return kb_fail(err, KB_BAD_INPUT, _("there is no preset '%s'; choose one of:%s"), preset,
                   text_get(&words));
}

static enum kb_code check_params(const struct writer_params *p, struct kb_error *err)
{
    if (p->width < 2 || p->height < 2 || p->width % 2 || p->height % 2)
        return kb_fail(err, KB_BAD_INPUT,
                       _("cannot encode pictures of %dx%d: the sides must be even"), p->width,
                       p->height);
    if (p->bitrate < 0 || (p->bitrate == 0 && (p->crf < 0 || p->crf > 51)))
        return kb_fail(err, KB_BAD_INPUT, _("the quality (crf) is %d; it must be 0 to 51"), p->crf);
    return p->preset ? check_preset(p->preset, err) : KB_OK;
}

static void set_up_effort(AVCodecContext *c, const struct writer_params *p,
                          const struct splice *splice)
{
    const char *more = ""; // than presets say
    bool automatic = !p->preset || strcmp(p->preset, "auto") == 0;
    av_opt_set(c->priv_data, "preset", automatic ? "superfast" : p->preset, 0);
    if (p->deep) {
        // Its threads are not FFmpeg's, and it writes to the terminal.
        char params[64];
        int n = snprintf(params, sizeof(params), "log-level=none");
        if (p->threads > 0)
            snprintf(params + n, sizeof(params) - (size_t)n, ":pools=%d", p->threads);
        av_opt_set(c->priv_data, "x265-params", params, 0);
    } else if (automatic) {
        // Of what veryfast does more than superfast, deciding by how long a block stays in the
        // picture (mbtree) makes a talking head half as large for next to no time. The rest moves
        // bits from textures of a still background to the face: a milder adaptive quantiser that
        // knows how busy the whole picture is, and small coefficients are kept;
        // docs/performance.md.
        more = "mbtree=1:rc-lookahead=10:aq-mode=2:aq-strength=0.8:no-dct-decimate=1";
        av_opt_set(c->priv_data, "x264-params", more, 0);
    }
    if (splice)
        splice_set_up(splice, c, more);
}

static void set_up_encoder(AVCodecContext *c, const struct writer_params *p,
                           const struct splice *splice)
{
    c->width = p->width;
    c->height = p->height;
    c->pix_fmt = p->deep ? DEEP_FORMAT : AV_PIX_FMT_YUV420P;
    if (p->deep)
        c->codec_tag = MKTAG('h', 'v', 'c', '1'); // or Apple's players show nothing
    c->time_base = time_units(p->frame_rate);
    if (p->frame_rate.num > 0 && p->frame_rate.den > 0)
        c->framerate = p->frame_rate;
    if (p->sample_aspect.num > 0 && p->sample_aspect.den > 0)
        c->sample_aspect_ratio = p->sample_aspect;
    c->color_range = p->range;
    c->colorspace = p->space;
    c->color_primaries = p->primaries;
    c->color_trc = p->transfer;
    c->thread_count = p->threads;
    if (p->alpha) {
        alpha_set_up(c, p->crf);
        return;
    }
    set_up_effort(c, p, splice);
    if (p->bitrate > 0)
        c->bit_rate = p->bitrate;
    else
        av_opt_set_double(c->priv_data, "crf", p->crf, 0);
}

static enum kb_code open_context(struct writer *w, const struct writer_params *p,
                                 const struct splice *splice, struct kb_error *err)
{
    AVCodecContext *c = w->encoder.context;
    set_up_encoder(c, p, splice);
    int e = avcodec_open2(c, w->codec, NULL);
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    if (e < 0)
        return kb_fail(err, KB_BAD_INPUT, _("the encoder refuses pictures of %dx%d: %s"), p->width,
                       p->height, ffmpeg_error(e));
    return KB_OK;
}

// Opened as the film's own parameters want it, if that is possible; else it is as good as new, and
// w->splice stays NULL.
static enum kb_code try_splice(struct writer *w, const struct writer_params *p,
                               struct kb_error *err)
{
    const char *format = w->mux.out->oformat->name;
    bool fits = av_match_name("mp4", format) || av_match_name("mov", format);
    if (!fits || p->deep || p->alpha || p->bitrate > 0)
        return KB_OK;
    CLEANUP(splice_free)
    struct splice *s = splice_create(original_config(p->original), original_sps(p->original));
    if (!s)
        return KB_OK;
    if (open_context(w, p, s, NULL) != KB_OK || !splice_fit(s, w->encoder.context))
        return encoder_renew(&w->encoder, w->codec, err);
    w->splice = TAKE(s);
    return KB_OK;
}

static enum kb_code open_encoder(struct writer *w, const struct writer_params *params,
                                 struct kb_error *err)
{
    const AVCodec *codec = NULL;
    enum kb_code code = params->alpha ? alpha_codec(&codec, &w->mux, err) : KB_OK;
    if (code != KB_OK)
        return code;
    if (!params->alpha)
        codec = avcodec_find_encoder_by_name(params->deep ? "libx265" : "libx264");
    if (!codec && params->deep)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("this FFmpeg has no HEVC encoder (libx265) for ten bits; leave out --hdr "
                         "keep"));
    if (!codec)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("this FFmpeg has no H.264 encoder (libx264); install one that has"));
    w->codec = codec;
    code = encoder_init(&w->encoder, &w->mux, codec, err);
    if (code == KB_OK && params->original)
        code = try_splice(w, params, err);
    if (code == KB_OK && !w->splice)
        code = open_context(w, params, NULL, err);
    if (code != KB_OK)
        return code;
    const AVCodecContext *c = w->encoder.context;
    w->units = c->time_base;
    AVStream *stream = encoder_add_stream(&w->encoder);
    if (!stream)
        return kb_no_memory(err);
    stream->avg_frame_rate = c->framerate;
    stream->sample_aspect_ratio = c->sample_aspect_ratio;
    w->encoder.pts = -1;
    w->encoder.splice = w->splice;
    return w->splice ? splice_describe(w->splice, stream->codecpar, err) : KB_OK;
}

static enum kb_code tell_of_itself(struct writer *w, const struct writer_params *p,
                                   struct kb_error *err)
{
    enum kb_code code = mux_tag(&w->mux, "comment", p->comment, err);
    if (code == KB_OK)
        code = mux_tag(&w->mux, CUES_TAG, p->cues, err);
    if (code == KB_OK)
        code = mux_tag(&w->mux, AIGC_KEY, p->aigc, err);
    return code == KB_OK ? mux_tag(&w->mux, AIGC_MARK_KEY, p->mark, err) : code;
}

enum kb_code writer_open(struct writer **ret, const char *path, const struct writer_params *params,
                         struct kb_error *err)
{
    enum kb_code code = check_params(params, err);
    if (code != KB_OK)
        return code;
    CLEANUP(writer_close) struct writer *w = kb_alloc(sizeof(*w));
    w->params = *params;
    w->params.preset = w->preset = params->preset ? kb_strdup(params->preset) : NULL;
    w->params.audio_path = w->params.comment = NULL;
    w->params.original = NULL;
    w->params.cues = w->params.aigc = w->params.mark = NULL;
    w->params.mix = NULL;
    w->params.audio_facts = NULL; // the caller's, good only until we return
    w->frame = av_frame_alloc();
    if (!w->frame)
        return kb_no_memory(err);
    code = mux_open(&w->mux, path, params->cancel, err);
    if (code == KB_OK)
        code = open_encoder(w, params, err);
    if (code == KB_OK)
        code = tell_of_itself(w, params, err);
    if (code == KB_OK && (params->audio_path || params->mix)) {
        const struct soundtrack_params sound = {.path = params->audio_path,
                                                .facts = params->audio_facts,
                                                .loudnorm = params->loudnorm,
                                                .mix = params->mix,
                                                .from_us = params->audio_from_us};
        code = soundtrack_open(&w->sound, &w->mux, &sound, err);
    }
    if (code == KB_OK && params->n_subtitles > 0)
        code = captions_open(&w->captions, &w->mux, params->subtitles, params->n_subtitles, err);
    if (code == KB_OK)
        code = mux_start(&w->mux, err);
    if (code == KB_OK)
        *ret = TAKE(w);
    return code;
}

// After pictures that were passed.
static enum kb_code encode_again(struct writer *w, struct kb_error *err)
{
    enum kb_code code = encoder_renew(&w->encoder, w->codec, err);
    if (code == KB_OK)
        code = open_context(w, &w->params, w->splice, err);
    if (code == KB_OK && !splice_fits_again(w->splice, w->encoder.context))
        code = kb_fail(err, KB_INTERNAL, "the encoder writes another kind of pictures this time");
    return code;
}

// What is heard and read up to a time.
static enum kb_code write_beside(struct writer *w, int64_t to_us, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    if (w->sound)
        code = soundtrack_write(w->sound, to_us, err);
    if (code == KB_OK && w->captions)
        code = captions_write(w->captions, to_us, err);
    return code;
}

enum kb_code writer_put(struct writer *w, AVFrame *frame, struct kb_error *err)
{
    enum kb_code code = cancel_check(w->params.cancel, err);
    if (code != KB_OK)
        return code;
    if (frame->width != w->params.width || frame->height != w->params.height ||
        frame->format != (w->params.alpha ? AV_PIX_FMT_YUVA420P : AV_PIX_FMT_YUV420P))
        return kb_fail(err, KB_INTERNAL, _("a picture of %dx%d does not fit a video of %dx%d"),
                       frame->width, frame->height, w->params.width, w->params.height);
    int64_t limit_us = w->params.max_duration_us;
    if (limit_us > 0 && frame->pts >= limit_us)
        return KB_OK;

    struct encoder *e = &w->encoder;
    AVRational units = w->units, rate = w->params.frame_rate;
    if (!e->context)
        code = encode_again(w, err);
    if (code != KB_OK)
        return code;
    int64_t duration_us = FRAME_DURATION(frame);
    if (duration_us <= 0)
        duration_us = rate.num > 0 && rate.den > 0 ? av_rescale_q(1, av_inv_q(rate), us) : 40000;
    w->end_us = frame->pts + duration_us;
    if (limit_us > 0)
        w->end_us = KB_MIN(w->end_us, limit_us);
    e->pts = KB_MAX(av_rescale_q(frame->pts, us, units), e->pts + 1);
    e->duration = KB_MAX(av_rescale_q(w->end_us, us, units) - e->pts, 1);

    int status = w->params.alpha  ? alpha_shape(&w->shape, e->context, frame, w->frame)
                 : w->params.deep ? deep_join(frame, w->frame)
                                  : av_frame_ref(w->frame, frame);
    if (status == AVERROR_INVALIDDATA)
        return kb_fail(err, KB_INTERNAL, "a picture of eight bits for a film of ten");
    if (status < 0)
        return kb_no_memory(err);
    // What the source's decoder noted about the picture would steer this encoder.
    w->frame->pts = e->pts;
    w->frame->pict_type = AV_PICTURE_TYPE_NONE;
    while (w->frame->nb_side_data > 0)
        av_frame_remove_side_data(w->frame, w->frame->side_data[0]->type);
    if (w->splice)
        code = splice_expect(w->splice, e->pts, err);
    if (code == KB_OK)
        code = encoder_put(e, w->frame, err);
    av_frame_unref(w->frame);
    return code == KB_OK ? write_beside(w, frame->pts, err) : code;
}

bool writer_passes(const struct writer *w)
{
    return w->splice != NULL;
}

// The last pictures that are in the encoder. It cannot go on after that.
static enum kb_code stop_encoding(struct writer *w, struct kb_error *err)
{
    if (!w->encoder.context)
        return KB_OK;
    enum kb_code code = encoder_put(&w->encoder, NULL, err);
    avcodec_free_context(&w->encoder.context);
    return code;
}

// Which of these pictures is shown as number i: ret[i].
static void sort_pictures(const struct passed_picture *pictures, int n, int *ret)
{
    for (int i = 0; i < n; i++) {
        int k = i;
        for (; k > 0 && pictures[ret[k - 1]].pts_us > pictures[i].pts_us; k--)
            ret[k] = ret[k - 1];
        ret[k] = i;
    }
}

enum kb_code writer_pass(struct writer *w, const struct passed_picture *pictures, int n,
                         struct kb_error *err)
{
    struct encoder *e = &w->encoder;
    int order[MAX_PASSED];
    enum kb_code code = cancel_check(w->params.cancel, err);
    if (code == KB_OK)
        code = stop_encoding(w, err);
    sort_pictures(pictures, n, order);
    for (int i = 0; i < n && code == KB_OK; i++) {
        const struct passed_picture *p = &pictures[order[i]];
        w->end_us = p->pts_us + p->duration_us;
        if (w->params.max_duration_us > 0)
            w->end_us = KB_MIN(w->end_us, w->params.max_duration_us);
        e->pts = KB_MAX(av_rescale_q(p->pts_us, us, w->units), e->pts + 1);
        p->packet->pts = e->pts;
        p->packet->duration = KB_MAX(av_rescale_q(w->end_us, us, w->units) - e->pts, 1);
        p->packet->pos = -1;
        code = splice_expect(w->splice, e->pts, err);
    }
    for (int i = 0; i < n && code == KB_OK; i++)
        code = encoder_pass(e, pictures[i].packet, w->units, err);
    return code == KB_OK ? write_beside(w, pictures[order[n - 1]].pts_us, err) : code;
}

enum kb_code writer_finish(struct writer *w, struct kb_error *err)
{
    enum kb_code code = cancel_check(w->params.cancel, err);
    if (code == KB_OK && w->encoder.pts < 0)
        code = kb_fail(err, KB_BAD_INPUT, _("there is no picture to write to '%s'"), w->mux.path);
    if (code == KB_OK)
        code = stop_encoding(w, err);
    if (code == KB_OK && w->sound)
        code = soundtrack_finish(w->sound, w->end_us, err);
    if (code == KB_OK && w->captions)
        code = captions_write(w->captions, w->end_us, err);
    if (code == KB_OK)
        code = mux_finish(&w->mux, err);
    mux_close(&w->mux);
    return code;
}

void writer_close(struct writer **w)
{
    if (!*w)
        return;
    soundtrack_close(&(*w)->sound);
    captions_close(&(*w)->captions);
    encoder_clear(&(*w)->encoder);
    splice_free(&(*w)->splice);
    free((*w)->preset);
    alpha_shape_clear(&(*w)->shape);
    av_frame_free(&(*w)->frame);
    mux_close(&(*w)->mux);
    free(*w);
    *w = NULL;
}
