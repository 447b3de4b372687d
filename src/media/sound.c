// decoded -> abuffer [-> loudnorm] -> aresample -> abuffersink [-> mono].
// When the format changes in mid-stream (HE-AAC does, joined files do) the graph is drained and a
// new one is built for what follows.
#include "media/sound.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/channel_layout.h>

#include "media/decoded.h"
#include "media/filters.h"
#include "media/samples.h"

struct sound {
    struct decoded source;
    struct sound_params params;

    AVFrame *waiting;       // decoded, not yet in the graph
    bool ended;             // nothing comes after it
    struct filters filters; // .graph NULL: to be built for waiting
    int in_rate, in_format;
    AVChannelLayout in_layout;
    bool drained;     // the graph was told that no more comes
    struct mono mono; // where two channels become one, here rather than in the graph
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
    // FFmpeg's own way from one channel to two makes both of them 3 dB quieter.
    bool twice = s->params.channels == 2 && s->in_layout.nb_channels == 1;
    return snprintf(ret, size,
                    "%s%saresample,aformat=sample_fmts=%s:sample_rates=%d:channel_layouts=%s",
                    twice ? "pan=stereo|c0=c0|c1=c0," : "",
                    s->params.loudnorm ? "loudnorm=I=-16:TP=-1.5:LRA=11," : "",
                    av_get_sample_fmt_name(s->params.format), s->params.rate_hz,
                    s->params.channels == 2 || s->in_layout.nb_channels > 1 ? "stereo" : "mono");
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

static bool fits_graph(const struct sound *s, const AVFrame *f)
{
    return f->sample_rate == s->in_rate && f->format == s->in_format &&
           av_channel_layout_compare(&f->ch_layout, &s->in_layout) == 0;
}

static enum kb_code get_next(struct sound *s, struct kb_error *err)
{
    if (s->waiting || s->ended)
        return KB_OK;
    enum kb_code code = decoded_next(&s->source, &s->waiting, err);
    s->ended = code == KB_EOF;
    return s->ended ? KB_OK : code;
}

// Give the graph something more to work on.
static enum kb_code push(struct sound *s, struct kb_error *err)
{
    enum kb_code code = get_next(s, err);
    if (code != KB_OK)
        return code;
    int e;
    if (!s->waiting || !fits_graph(s, s->waiting)) {
        s->drained = true;
        e = av_buffersrc_add_frame(s->filters.in, NULL);
    } else {
        s->waiting->pts = AV_NOPTS_VALUE; // samples are counted: the stamps have had their say
        e = av_buffersrc_add_frame(s->filters.in, s->waiting);
        av_frame_free(&s->waiting);
    }
    return e < 0 ? cannot_convert(s, e, err) : KB_OK;
}

// What came out of the graph may still be stereo.
static int take(struct sound *s, AVFrame *frame)
{
    int e = av_buffersink_get_frame(s->filters.out, frame);
    if (e >= 0 && frame->ch_layout.nb_channels > s->params.channels)
        e = mono_mix(&s->mono, frame);
    return e;
}

enum kb_code sound_next(struct sound *s, AVFrame *frame, struct kb_error *err)
{
    for (;;) {
        enum kb_code code = cancel_check(s->params.cancel, err);
        if (code != KB_OK)
            return code;
        if (!s->filters.graph) {
            code = get_next(s, err);
            if (code != KB_OK)
                return code;
            if (!s->waiting)
                return KB_EOF;
            int e = build(s);
            if (e < 0) {
                drop_graph(s);
                return cannot_convert(s, e, err);
            }
        }
        int e = take(s, frame);
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

enum kb_code sound_open(struct sound **ret, const char *path, const struct sound_params *params,
                        struct kb_error *err)
{
    CLEANUP(sound_close) struct sound *s = kb_alloc(sizeof(*s));
    s->params = *params;
    enum kb_code code = decoded_open(&s->source, path, params->gain, params->cancel, err);
    if (code != KB_OK)
        return code;
    const AVFrame *first = decoded_first(&s->source);
    if (s->params.rate_hz <= 0)
        s->params.rate_hz = aac_rate(first->sample_rate);
    if (s->params.channels <= 0)
        s->params.channels = KB_MIN(first->ch_layout.nb_channels, 2);
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
    return s->source.duration_us;
}

const struct sound_facts *sound_facts(const struct sound *s)
{
    return &s->source.facts;
}

void sound_close(struct sound **s)
{
    if (!*s)
        return;
    av_frame_free(&(*s)->waiting);
    drop_graph(*s);
    decoded_close(&(*s)->source);
    free(*s);
    *s = NULL;
}
