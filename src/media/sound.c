// decoder -> abuffer [-> loudnorm] -> aresample -> abuffersink.
// When the format changes in mid-stream (HE-AAC does, joined files do) the graph is drained and a
// new one is built for what follows.
#include "media/sound.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/channel_layout.h>
#include <libavutil/mathematics.h>

#include "media/demux.h"
#include "media/filters.h"

#define MAX_LATE_S      3600 // a start later than this is a broken time stamp
#define SILENCE_SAMPLES 4096

struct sound {
    struct demux source;
    struct sound_params params;

    AVFrame *waiting;       // decoded, not yet in the graph
    int64_t silence;        // samples that still go before it
    struct filters filters; // .graph NULL: to be built for waiting
    int in_rate, in_format;
    AVChannelLayout in_layout;
    bool drained; // the graph was told that no more comes
};

static enum kb_code cannot_convert(const struct sound *s, int e, struct kb_error *err)
{
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    return kb_fail(err, KB_BAD_INPUT, _("the sound of '%s' cannot be converted: %s"),
                   s->source.path, ffmpeg_error(e));
}

static int describe(const struct sound *s, char *ret, size_t size)
{
    return snprintf(ret, size,
                    "%saresample,aformat=sample_fmts=%s:sample_rates=%d:channel_layouts=%s",
                    s->params.loudnorm ? "loudnorm=I=-16:TP=-1.5:LRA=11," : "",
                    av_get_sample_fmt_name(s->params.format), s->params.rate_hz,
                    s->params.channels == 2 ? "stereo" : "mono");
}

static int build(struct sound *s)
{
    const AVFrame *f = s->waiting;
    char args[256], layout[64], filters[256];
    int e = av_channel_layout_copy(&s->in_layout, &f->ch_layout);
    if (e < 0)
        return e;
    s->in_rate = f->sample_rate;
    s->in_format = f->format;
    av_channel_layout_describe(&f->ch_layout, layout, sizeof(layout));
    snprintf(args, sizeof(args), "time_base=1/%d:sample_rate=%d:sample_fmt=%s:channel_layout=%s",
             f->sample_rate, f->sample_rate, av_get_sample_fmt_name(f->format), layout);
    describe(s, filters, sizeof(filters));

    e = filters_build(&s->filters, "abuffer", "abuffersink", args, filters, 1);
    s->drained = false;
    return e;
}

static void drop_graph(struct sound *s)
{
    avfilter_graph_free(&s->filters.graph);
    av_channel_layout_uninit(&s->in_layout);
    s->filters.in = s->filters.out = NULL;
}

// Decode the next frame with samples into s->waiting. KB_EOF leaves it NULL.
static enum kb_code decode(struct sound *s, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    for (;;) {
        enum kb_code code = demux_decode(&s->source, f, err);
        if (code != KB_OK)
            return code;
        if (f->nb_samples > 0 && f->sample_rate > 0 && f->ch_layout.nb_channels > 0)
            break;
        av_frame_unref(f);
    }
    if (f->ch_layout.order == AV_CHANNEL_ORDER_UNSPEC)
        av_channel_layout_default(&f->ch_layout, f->ch_layout.nb_channels);
    s->waiting = TAKE(f);
    return KB_OK;
}

static bool fits_graph(const struct sound *s, const AVFrame *f)
{
    return f->sample_rate == s->in_rate && f->format == s->in_format &&
           av_channel_layout_compare(&f->ch_layout, &s->in_layout) == 0;
}

static int push_silence(struct sound *s)
{
    AVFrame *f = av_frame_alloc();
    if (!f)
        return AVERROR(ENOMEM);
    f->nb_samples = (int)KB_MIN(s->silence, SILENCE_SAMPLES);
    f->format = s->in_format;
    f->sample_rate = s->in_rate;
    int e = av_channel_layout_copy(&f->ch_layout, &s->in_layout);
    if (e >= 0)
        e = av_frame_get_buffer(f, 0);
    if (e >= 0) {
        av_samples_set_silence(f->extended_data, 0, f->nb_samples, f->ch_layout.nb_channels,
                               f->format);
        s->silence -= f->nb_samples;
        f->pts = AV_NOPTS_VALUE;
        e = av_buffersrc_add_frame(s->filters.in, f);
    }
    av_frame_free(&f);
    return e;
}

// Give the graph something more to work on.
static enum kb_code push(struct sound *s, struct kb_error *err)
{
    if (!s->waiting) {
        enum kb_code code = decode(s, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
    }
    int e;
    if (!s->waiting || !fits_graph(s, s->waiting)) {
        s->drained = true;
        e = av_buffersrc_add_frame(s->filters.in, NULL);
    } else if (s->silence > 0) {
        e = push_silence(s);
    } else {
        s->waiting->pts = AV_NOPTS_VALUE; // samples are counted, gaps in the stamps are ignored
        e = av_buffersrc_add_frame(s->filters.in, s->waiting);
        av_frame_free(&s->waiting);
    }
    return e < 0 ? cannot_convert(s, e, err) : KB_OK;
}

enum kb_code sound_next(struct sound *s, AVFrame *frame, struct kb_error *err)
{
    for (;;) {
        enum kb_code code = cancel_check(s->params.cancel, err);
        if (code != KB_OK)
            return code;
        if (!s->filters.graph) {
            if (!s->waiting)
                return KB_EOF;
            int e = build(s);
            if (e < 0) {
                drop_graph(s);
                return cannot_convert(s, e, err);
            }
        }
        int e = av_buffersink_get_frame(s->filters.out, frame);
        if (e >= 0)
            return KB_OK;
        if (e == AVERROR_EOF || (e == AVERROR(EAGAIN) && s->drained)) {
            drop_graph(s);
            continue;
        }
        if (e != AVERROR(EAGAIN))
            return cannot_convert(s, e, err);
        code = push(s, err);
        if (code != KB_OK)
            return code;
    }
}

// The nearest rate that AAC has a number for (ISO/IEC 14496-3, table 1.18), up to 48 kHz beyond 96.
static int aac_rate(int rate_hz)
{
    static const int rates[] = {96000, 88200, 64000, 48000, 44100, 32000,
                                24000, 22050, 16000, 12000, 11025, 8000};
    if (rate_hz > rates[0])
        return 48000;
    int best = rates[0];
    for (size_t i = 1; i < ARRAY_LEN(rates); i++)
        if (abs(rates[i] - rate_hz) < abs(best - rate_hz))
            best = rates[i];
    return best;
}

static void find_late_start(struct sound *s)
{
    int64_t stamp = s->waiting->best_effort_timestamp, origin = demux_origin(&s->source);
    if (stamp == AV_NOPTS_VALUE)
        return;
    int64_t t = av_rescale_q(stamp, s->source.stream->time_base, AV_TIME_BASE_Q);
    // A millisecond is rounding in containers with coarse time stamps.
    if (t > origin + 1000 && t - origin < (int64_t)MAX_LATE_S * AV_TIME_BASE)
        s->silence = av_rescale(t - origin, s->waiting->sample_rate, AV_TIME_BASE);
}

enum kb_code sound_open(struct sound **ret, const char *path, const struct sound_params *params,
                        struct kb_error *err)
{
    CLEANUP(sound_close) struct sound *s = kb_alloc(sizeof(*s));
    s->params = *params;
    enum kb_code code = demux_open(&s->source, path, AVMEDIA_TYPE_AUDIO, params->cancel, err);
    if (code == KB_OK)
        code = demux_open_decoder(&s->source, 1, err);
    if (code == KB_OK)
        code = decode(s, err);
    if (code == KB_EOF)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no sound of '%s' can be decoded: the file is cut short or damaged; copy "
                         "or export it again"),
                       path);
    if (code != KB_OK)
        return code;
    find_late_start(s);
    if (s->params.rate_hz <= 0)
        s->params.rate_hz = aac_rate(s->waiting->sample_rate);
    if (s->params.channels <= 0)
        s->params.channels = KB_MIN(s->waiting->ch_layout.nb_channels, 2);
    *ret = TAKE(s);
    return KB_OK;
}

int sound_rate_hz(const struct sound *s)
{
    return s->params.rate_hz;
}

int sound_channels(const struct sound *s)
{
    return s->params.channels;
}

int64_t sound_duration_us(const struct sound *s)
{
    return demux_duration_us(&s->source);
}

void sound_close(struct sound **s)
{
    if (!*s)
        return;
    av_frame_free(&(*s)->waiting);
    drop_graph(*s);
    demux_close(&(*s)->source);
    free(*s);
    *s = NULL;
}
