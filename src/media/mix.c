#include "media/mix.h"

#include "media/demux.h"
#include "media/loudness.h"
#include "media/repeat.h"
#include "media/samples.h"
#include "media/sound.h"

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/mathematics.h>
#include <libavutil/samplefmt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CHANNELS 2
#define CHUNK    4096
#define SEAM     384 // samples, 8 ms, over which a piece that is cut short falls silent

#define FADE_IN_S    1.0
#define FADE_OUT_S   2.0
#define SPEECH_LUFS  (-16.) // of --loudnorm, and where there is nothing to measure
#define DUCK_FROM_DB 14.    // below the speech's loudness: what is louder is speech
#define LIMIT        0.84   // -1.5 dB, as loudnorm has it

struct mix {
    struct mix_params p;

    // The pieces, one after the other.
    int piece;           // that is being read
    int64_t at, end;     // in samples: of the voice so far, of the piece
    int64_t skip;        // of the piece's file, that are not heard
    struct sound *sound; // of the piece; NULL: silence
    AVFrame *frame;

    // With music.
    struct repeat *music;
    int64_t music_at;     // in samples
    AVFilterGraph *graph; // NULL: none
    AVFilterContext *voice_in, *music_in, *out;
    bool voice_ended;
};

static int64_t samples_at(int64_t time_us)
{
    return av_rescale(time_us, MIX_RATE_HZ, 1000000);
}

static enum kb_code filter_failed(int e, struct kb_error *err)
{
    return e == AVERROR(ENOMEM)
               ? kb_no_memory(err)
               : kb_fail(err, KB_INTERNAL, _("the sounds cannot be mixed: %s"), ffmpeg_error(e));
}

static int make_frame(AVFrame *f, int n)
{
    f->format = AV_SAMPLE_FMT_FLTP;
    f->sample_rate = MIX_RATE_HZ;
    f->nb_samples = n;
    av_channel_layout_default(&f->ch_layout, CHANNELS);
    return av_frame_get_buffer(f, 0);
}

// --- the pieces

static int64_t end_of(const struct mix *m, int piece)
{
    int64_t us = 0;
    for (int i = 0; i <= piece; i++)
        us += m->p.pieces[i].length_us;
    return samples_at(us);
}

static enum kb_code open_piece(struct mix *m, struct kb_error *err)
{
    const struct mix_piece *p = &m->p.pieces[m->piece];
    const struct sound_params sp = {.rate_hz = MIX_RATE_HZ,
                                    .channels = CHANNELS,
                                    .format = AV_SAMPLE_FMT_FLTP,
                                    .gain = p->gain,
                                    .loudnorm = p->loudnorm,
                                    .cancel = m->p.cancel};
    m->end = end_of(m, m->piece);
    m->skip = samples_at(p->from_us);
    return p->path ? sound_open(&m->sound, p->path, &sp, err) : KB_OK;
}

static enum kb_code next_piece(struct mix *m, struct kb_error *err)
{
    sound_close(&m->sound);
    while (m->at >= m->end) {
        if (++m->piece >= m->p.n_pieces)
            return KB_EOF;
        enum kb_code code = open_piece(m, err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

// Cut what lies beyond the piece, which falls silent before that.
static int cut(struct mix *m, AVFrame *f)
{
    int64_t left = m->end - m->at;
    int e = f->nb_samples > left - SEAM ? av_frame_make_writable(f) : 0;
    for (int c = 0; c < CHANNELS && e >= 0 && m->p.n_pieces > 1; c++) {
        float *samples = (float *)f->extended_data[c];
        for (int64_t i = KB_MAX(left - SEAM, 0); i < f->nb_samples && i < left; i++)
            samples[i] *= (float)(left - i) / SEAM;
    }
    f->nb_samples = (int)KB_MIN(f->nb_samples, left);
    return e;
}

static enum kb_code voice_next(struct mix *m, AVFrame *f, struct kb_error *err)
{
    enum kb_code code = m->at >= m->end ? next_piece(m, err) : KB_OK;
    if (code != KB_OK)
        return code;
    int e = 0;
    code = m->sound ? sound_next(m->sound, f, err) : KB_EOF;
    for (; code == KB_OK && m->skip >= f->nb_samples; code = sound_next(m->sound, f, err)) {
        m->skip -= f->nb_samples;
        av_frame_unref(f);
    }
    if (code == KB_OK && m->skip > 0) {
        e = samples_cut(f, (int)m->skip);
        m->skip = 0;
    }
    if (code == KB_EOF) {
        sound_close(&m->sound);
        e = make_frame(f, (int)KB_MIN(m->end - m->at, CHUNK));
        if (e >= 0)
            av_samples_set_silence(f->extended_data, 0, f->nb_samples, CHANNELS, f->format);
    } else if (code == KB_OK) {
        e = e < 0 ? e : cut(m, f);
    } else {
        return code;
    }
    if (e < 0)
        return kb_no_memory(err);
    f->pts = m->at;
    m->at += f->nb_samples;
    return KB_OK;
}

// --- music

static int add_source(AVFilterGraph *graph, const char *name, AVFilterContext **ret)
{
    char args[160];
    snprintf(args, sizeof(args),
             "time_base=1/%d:sample_rate=%d:sample_fmt=fltp:channel_layout=stereo", MIX_RATE_HZ,
             MIX_RATE_HZ);
    return avfilter_graph_create_filter(ret, avfilter_get_by_name("abuffer"), name, args, NULL,
                                        graph);
}

static AVFilterInOut *open_end(const char *name, AVFilterContext *filter, AVFilterInOut *next)
{
    AVFilterInOut *end = avfilter_inout_alloc();
    if (!end)
        return next;
    *end = (AVFilterInOut){.name = av_strdup(name), .filter_ctx = filter, .next = next};
    return end;
}

static void describe(const struct mix *m, double speech, double gain_db, char *ret, size_t size)
{
    const struct music_params *p = &m->p.music;
    double from = (double)p->from_us / 1e6, to = (double)p->to_us / 1e6, length = to - from;
    double in = fmin(FADE_IN_S, length / 4), out = fmin(FADE_OUT_S, length / 3);
    double threshold = fmin(fmax(pow(10, (speech - DUCK_FROM_DB) / 20), 0.001), 1);
    char duck[160] = "[quiet]anull[under];";
    if (!p->steady)
        snprintf(duck, sizeof(duck),
                 "[quiet][key]sidechaincompress=threshold=%.6f:ratio=6:attack=30:release=700:"
                 "detection=rms[under];",
                 threshold);
    snprintf(ret, size,
             "[music]volume=%.2fdB,adelay=%lldS:all=1,afade=t=in:st=%.4f:d=%.4f,"
             "afade=t=out:st=%.4f:d=%.4f[quiet];"
             "%s%s[%s][under]amix=inputs=2:duration=first:normalize=0,"
             "alimiter=limit=%.2f:level=0:latency=1,"
             "aformat=sample_fmts=fltp:sample_rates=%d:channel_layouts=stereo[out]",
             gain_db, (long long)samples_at(p->from_us), from, in, to - out, out,
             p->steady ? "" : "[voice]asplit[plain][key];", duck, p->steady ? "voice" : "plain",
             LIMIT, MIX_RATE_HZ);
}

static int build(struct mix *m, const char *chain)
{
    m->graph = avfilter_graph_alloc();
    if (!m->graph)
        return AVERROR(ENOMEM);
    m->graph->nb_threads = 1;
    int e = add_source(m->graph, "voice", &m->voice_in);
    if (e >= 0)
        e = add_source(m->graph, "music", &m->music_in);
    if (e >= 0)
        e = avfilter_graph_create_filter(&m->out, avfilter_get_by_name("abuffersink"), "out", NULL,
                                         NULL, m->graph);
    if (e < 0)
        return e;
    AVFilterInOut *from = open_end("voice", m->voice_in, open_end("music", m->music_in, NULL));
    AVFilterInOut *to = open_end("out", m->out, NULL);
    e = avfilter_graph_parse_ptr(m->graph, chain, &to, &from, NULL);
    avfilter_inout_free(&from);
    avfilter_inout_free(&to);
    return e >= 0 ? avfilter_graph_config(m->graph, NULL) : e;
}

// How loud the speech is, whatever is done to it.
static enum kb_code speech_loudness(const struct mix *m, double *ret, struct kb_error *err)
{
    const struct mix_piece *p = &m->p.pieces[m->p.speech];
    *ret = SPEECH_LUFS;
    if (p->loudnorm || !p->path)
        return KB_OK;
    enum kb_code code = loudness_of(ret, p->path, p->gain, m->p.cancel, err);
    if (code == KB_OK && *ret <= LOUDNESS_SILENT)
        *ret = SPEECH_LUFS;
    return code;
}

static enum kb_code open_music(struct mix *m, struct kb_error *err)
{
    const struct music_params *p = &m->p.music;
    const struct sound_params sp = {.rate_hz = MIX_RATE_HZ,
                                    .channels = CHANNELS,
                                    .format = AV_SAMPLE_FMT_FLTP,
                                    .cancel = m->p.cancel};
    double speech = 0, music = 0;
    if (!p->path || !(p->volume > 0) || p->to_us - p->from_us < 100000)
        return KB_OK;
    enum kb_code code = speech_loudness(m, &speech, err);
    if (code == KB_OK)
        code = loudness_of(&music, p->path, 1, m->p.cancel, err);
    if (code != KB_OK || music <= LOUDNESS_SILENT) // of nothing, nothing is heard
        return code;
    code = repeat_open(&m->music, p->path, &sp, err);
    if (code != KB_OK)
        return code;
    double gain_db = speech + 40 * log10(fmin((double)p->volume, 1)) - music;
    char chain[800];
    describe(m, speech, fmin(fmax(gain_db, -90), 30), chain, sizeof(chain));
    int e = build(m, chain);
    return e < 0 ? filter_failed(e, err) : KB_OK;
}

static enum kb_code feed_voice(struct mix *m, struct kb_error *err)
{
    enum kb_code code = m->voice_ended ? KB_EOF : voice_next(m, m->frame, err);
    if (code != KB_OK && code != KB_EOF)
        return code;
    m->voice_ended = code == KB_EOF;
    int e = av_buffersrc_add_frame(m->voice_in, m->voice_ended ? NULL : m->frame);
    return e < 0 ? filter_failed(e, err) : KB_OK;
}

static enum kb_code feed_music(struct mix *m, struct kb_error *err)
{
    int e = make_frame(m->frame, CHUNK);
    if (e < 0)
        return kb_no_memory(err);
    enum kb_code code = repeat_next(m->music, m->frame, CHUNK, err);
    if (code == KB_OK) {
        m->frame->pts = m->music_at; // FFmpeg 7's afade goes by it
        m->music_at += m->frame->nb_samples;
        e = av_buffersrc_add_frame(m->music_in, m->frame);
    }
    av_frame_unref(m->frame);
    return code == KB_OK && e < 0 ? filter_failed(e, err) : code;
}

enum kb_code mix_next(struct mix *m, AVFrame *frame, struct kb_error *err)
{
    if (!m->graph)
        return voice_next(m, frame, err);
    for (;;) {
        int e = av_buffersink_get_frame(m->out, frame);
        if (e >= 0)
            return KB_OK;
        if (e == AVERROR_EOF)
            return KB_EOF;
        if (e != AVERROR(EAGAIN))
            return filter_failed(e, err);
        enum kb_code code = cancel_check(m->p.cancel, err);
        unsigned hungry = av_buffersrc_get_nb_failed_requests(m->music_in);
        if (code == KB_OK)
            code = !m->voice_ended && av_buffersrc_get_nb_failed_requests(m->voice_in) >= hungry
                       ? feed_voice(m, err)
                       : feed_music(m, err);
        if (code != KB_OK)
            return code;
    }
}

enum kb_code mix_open(struct mix **ret, const struct mix_params *p, struct kb_error *err)
{
    CLEANUP(mix_close) struct mix *m = kb_alloc(sizeof(*m));
    m->p = *p;
    m->frame = av_frame_alloc();
    if (!m->frame)
        return kb_no_memory(err);
    enum kb_code code = open_piece(m, err);
    if (code == KB_OK)
        code = open_music(m, err);
    if (code == KB_OK)
        *ret = TAKE(m);
    return code;
}

void mix_close(struct mix **m)
{
    if (!*m)
        return;
    avfilter_graph_free(&(*m)->graph);
    repeat_close(&(*m)->music);
    sound_close(&(*m)->sound);
    av_frame_free(&(*m)->frame);
    free(*m);
    *m = NULL;
}
