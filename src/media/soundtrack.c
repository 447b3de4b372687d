#include "media/soundtrack.h"

#include <stdlib.h>
#include <string.h>

#include <libavutil/audio_fifo.h>
#include <libavutil/avstring.h>
#include <libavutil/mathematics.h>

#include "media/clock.h"
#include "media/encode.h"

#define AAC_BITRATE  192000
#define OPUS_BITRATE 128000
#define OPUS_RATE_HZ 48000 // it knows few others

struct soundtrack {
    struct mux *mux;
    int rate_hz;
    bool copied, ended;

    // Copied: packets of source, the next ones, whose stamps the clock looks at. The first one has
    // its place when it is held.
    struct demux source;
    struct clock clock;
    AVPacket *packets[CLOCK_AHEAD];
    struct piece pieces[CLOCK_AHEAD];
    int n_packets;
    bool held;
    int stream; // index in mux

    // Encoded: sound -> fifo -> encoder, which wants frames of its own size.
    int64_t next; // where the next frame starts, in samples
    int64_t skip; // samples that are not written
    struct sound *sound;
    struct mix *mix; // instead of sound
    int channels;
    AVAudioFifo *fifo;
    struct encoder encoder;
};

static AVRational sample_units(const struct soundtrack *t)
{
    return (AVRational){1, t->rate_hz};
}

static int64_t samples_at(const struct soundtrack *t, int64_t time_us)
{
    return av_rescale(time_us, t->rate_hz, 1000000);
}

// Which takes Opus, and no AAC.
static bool is_webm(const struct soundtrack *t)
{
    return strcmp(t->mux->out->oformat->name, "webm") == 0;
}

static enum AVSampleFormat format_of(const struct soundtrack *t)
{
    return is_webm(t) ? AV_SAMPLE_FMT_FLT : AV_SAMPLE_FMT_FLTP;
}

// mp4 needs the decoder's configuration: it is in the file, or in the ADTS header of every packet.
static bool can_copy(const struct soundtrack *t, const struct demux *s,
                     const struct soundtrack_params *p)
{
    const AVCodecParameters *par = s->stream->codecpar;
    const struct sound_facts *f = p->facts;
    bool whole = !f || (f->n_holes == 0 && f->n_broken == 0 && f->changes == 0);
    return whole && !is_webm(t) && !p->loudnorm && p->from_us <= 0 &&
           par->codec_id == AV_CODEC_ID_AAC && par->sample_rate > 0 &&
           par->ch_layout.nb_channels > 0 &&
           (par->extradata_size >= 2 || av_match_name(s->demux->iformat->name, "aac,mpegts"));
}

static enum kb_code open_copy(struct soundtrack *t, struct kb_error *err)
{
    t->copied = true;
    t->rate_hz = t->source.stream->codecpar->sample_rate;
    AVStream *stream = avformat_new_stream(t->mux->out, NULL);
    if (!stream || avcodec_parameters_copy(stream->codecpar, t->source.stream->codecpar) < 0)
        return kb_no_memory(err);
    stream->time_base = sample_units(t);
    t->stream = stream->index;
    stream->codecpar->codec_tag = 0; // the source container's name for AAC
    return KB_OK;
}

static enum kb_code open_encoder(struct soundtrack *t, struct kb_error *err)
{
    const AVCodec *codec = is_webm(t) ? avcodec_find_encoder_by_name("libopus")
                                      : avcodec_find_encoder(AV_CODEC_ID_AAC);
    if (!codec)
        return kb_fail(err, KB_UNAVAILABLE, _("this FFmpeg has no %s encoder"),
                       is_webm(t) ? "Opus" : "AAC");
    enum kb_code code = encoder_init(&t->encoder, t->mux, codec, err);
    if (code != KB_OK)
        return code;
    AVCodecContext *c = t->encoder.context;
    c->sample_rate = t->rate_hz;
    c->sample_fmt = format_of(t);
    c->bit_rate = is_webm(t) ? OPUS_BITRATE : AAC_BITRATE;
    c->time_base = sample_units(t);
    av_channel_layout_default(&c->ch_layout, t->channels);
    int e = avcodec_open2(c, codec, NULL);
    if (e < 0)
        return kb_fail(err, KB_INTERNAL, _("the encoder of the sound cannot be started: %s"),
                       ffmpeg_error(e));
    t->fifo = av_audio_fifo_alloc(format_of(t), t->channels, c->frame_size);
    return t->fifo && encoder_add_stream(&t->encoder) ? KB_OK : kb_no_memory(err);
}

static enum kb_code open_encoded(struct soundtrack *t, const struct soundtrack_params *p,
                                 struct kb_error *err)
{
    const struct sound_facts *f = p->facts;
    struct sound_params params = {.rate_hz = is_webm(t) ? OPUS_RATE_HZ : 0,
                                  .format = format_of(t),
                                  .loudnorm = p->loudnorm,
                                  .cancel = t->mux->cancel};
    if (f && f->peak > 1 && f->n_broken == 0) // else the loudest may be what is damaged
        params.gain = 1 / f->peak;
    enum kb_code code = sound_open(&t->sound, p->path, &params, err);
    if (code != KB_OK)
        return code;
    t->rate_hz = sound_rate_hz(t->sound);
    t->channels = sound_channels(t->sound);
    t->skip = samples_at(t, KB_MAX(p->from_us, 0));
    return open_encoder(t, err);
}

static enum kb_code open_mixed(struct soundtrack *t, const struct soundtrack_params *p,
                               struct kb_error *err)
{
    enum kb_code code = mix_open(&t->mix, p->mix, err);
    if (code != KB_OK)
        return code;
    t->rate_hz = MIX_RATE_HZ;
    t->channels = 2;
    t->skip = samples_at(t, KB_MAX(p->from_us, 0));
    return open_encoder(t, err);
}

enum kb_code soundtrack_open(struct soundtrack **ret, struct mux *mux,
                             const struct soundtrack_params *params, struct kb_error *err)
{
    CLEANUP(soundtrack_close) struct soundtrack *t = kb_alloc(sizeof(*t));
    t->mux = mux;
    enum kb_code code =
        params->mix ? open_mixed(t, params, err)
                    : demux_open(&t->source, params->path, AVMEDIA_TYPE_AUDIO, mux->cancel, err);
    if (code == KB_OK && params->mix)
        *ret = TAKE(t);
    if (code != KB_OK || params->mix)
        return code;
    if (can_copy(t, &t->source, params)) {
        code = open_copy(t, err);
    } else {
        demux_close(&t->source);
        code = open_encoded(t, params, err);
    }
    if (code == KB_OK)
        *ret = TAKE(t);
    return code;
}

static struct piece piece_of(const struct soundtrack *t, const AVPacket *p)
{
    AVRational base = t->source.stream->time_base;
    int64_t length = t->source.stream->codecpar->frame_size;
    if (length <= 0)
        length = p->duration > 0 && p->duration < INT32_MAX
                     ? av_rescale_q(p->duration, base, sample_units(t))
                     : 1024;
    struct piece piece = {.length = av_rescale(length, CLOCK_HZ, t->rate_hz)};
    piece.stamped = clock_stamp(&t->source, p->pts, CLOCK_HZ, &piece.stamp);
    return piece;
}

static enum kb_code read_packets(struct soundtrack *t, struct kb_error *err)
{
    while (!t->ended && t->n_packets < CLOCK_AHEAD) {
        CLEANUP(av_packet_free) AVPacket *p = av_packet_alloc();
        if (!p)
            return kb_no_memory(err);
        enum kb_code code = demux_read(&t->source, p, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
        t->ended = code == KB_EOF;
        if (code == KB_OK) {
            t->pieces[t->n_packets] = piece_of(t, p);
            t->packets[t->n_packets++] = TAKE(p);
        }
    }
    return KB_OK;
}

// Give the first packet its place, in samples: the clock of the decoded sound, so that frames are
// of even length where containers have coarse time stamps (Matroska counts milliseconds).
static void place_packet(struct soundtrack *t)
{
    AVPacket *p = t->packets[0];
    int64_t at = clock_place(&t->clock, t->pieces, t->n_packets);
    p->pts = p->dts = av_rescale(at, t->rate_hz, CLOCK_HZ);
    p->duration = av_rescale(t->pieces[0].length, t->rate_hz, CLOCK_HZ);
    p->pos = -1;
    p->stream_index = t->stream;
    t->held = true;
}

static AVPacket *take_packet(struct soundtrack *t)
{
    AVPacket *p = t->packets[0];
    t->n_packets--;
    memmove(t->packets, t->packets + 1, (size_t)t->n_packets * sizeof(t->packets[0]));
    memmove(t->pieces, t->pieces + 1, (size_t)t->n_packets * sizeof(t->pieces[0]));
    t->held = false;
    return p;
}

// Copy packets up to a sample. The last one may be cut: players stop where its duration ends.
static enum kb_code copy_until(struct soundtrack *t, int64_t end, bool cut, struct kb_error *err)
{
    for (;;) {
        enum kb_code code = read_packets(t, err);
        if (code != KB_OK || t->n_packets == 0)
            return code;
        if (!t->held)
            place_packet(t);
        const AVPacket *first = t->packets[0];
        if (first->pts + (cut ? 1 : first->duration) > end)
            return KB_OK;
        CLEANUP(av_packet_free) AVPacket *p = take_packet(t);
        p->duration = KB_MIN(p->duration, end - p->pts);
        code = mux_write(t->mux, p, sample_units(t), err);
        if (code != KB_OK)
            return code;
    }
}

// Take n samples from the fifo and encode them.
static enum kb_code encode_samples(struct soundtrack *t, int n, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    f->format = format_of(t);
    f->sample_rate = t->rate_hz;
    f->nb_samples = n;
    if (av_channel_layout_copy(&f->ch_layout, &t->encoder.context->ch_layout) < 0 ||
        av_frame_get_buffer(f, 0) < 0)
        return kb_no_memory(err);
    av_audio_fifo_read(t->fifo, (void **)f->extended_data, n);
    f->pts = t->next;
    t->next += n;
    return encoder_put(&t->encoder, f, err);
}

// Into the fifo, as the encoder wants it; a mix gives each channel by itself.
static enum kb_code put_samples(struct soundtrack *t, const AVFrame *f, struct kb_error *err)
{
    if (!t->mix || !is_webm(t))
        return av_audio_fifo_write(t->fifo, (void **)f->extended_data, f->nb_samples) < 0
                   ? kb_no_memory(err)
                   : KB_OK;
    size_t n = (size_t)f->nb_samples, channels = (size_t)t->channels;
    CLEANUP(kb_freep) float *samples = kb_alloc(n * channels * sizeof(float));
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < n; i++)
            samples[i * channels + c] = ((const float *)f->extended_data[c])[i];
    void *all = samples;
    return av_audio_fifo_write(t->fifo, &all, f->nb_samples) < 0 ? kb_no_memory(err) : KB_OK;
}

// Fill the fifo to one frame of the encoder, or with all there is.
static enum kb_code fill(struct soundtrack *t, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    while (!t->ended && av_audio_fifo_size(t->fifo) < t->encoder.context->frame_size) {
        enum kb_code code = t->mix ? mix_next(t->mix, f, err) : sound_next(t->sound, f, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
        t->ended = code == KB_EOF;
        if (code == KB_OK)
            code = put_samples(t, f, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
        if (t->skip > 0) {
            int n = (int)KB_MIN(t->skip, av_audio_fifo_size(t->fifo));
            av_audio_fifo_drain(t->fifo, n);
            t->skip -= n;
        }
        av_frame_unref(f);
    }
    return KB_OK;
}

static enum kb_code encode_until(struct soundtrack *t, int64_t end, bool cut, struct kb_error *err)
{
    int whole = t->encoder.context->frame_size;
    for (;;) {
        if (t->next >= end)
            return KB_OK;
        enum kb_code code = fill(t, err);
        if (code != KB_OK)
            return code;
        int n = KB_MIN(av_audio_fifo_size(t->fifo), whole);
        if (cut)
            n = (int)KB_MIN(n, end - t->next);
        else if (n < whole || t->next + n > end)
            return KB_OK;
        if (n == 0)
            return KB_OK;
        code = encode_samples(t, n, err);
        if (code != KB_OK)
            return code;
    }
}

enum kb_code soundtrack_write(struct soundtrack *t, int64_t until_us, struct kb_error *err)
{
    int64_t end = samples_at(t, until_us);
    return t->copied ? copy_until(t, end, false, err) : encode_until(t, end, false, err);
}

enum kb_code soundtrack_finish(struct soundtrack *t, int64_t end_us, struct kb_error *err)
{
    int64_t end = samples_at(t, end_us);
    if (t->copied)
        return copy_until(t, end, true, err);
    enum kb_code code = encode_until(t, end, true, err);
    return code == KB_OK ? encoder_put(&t->encoder, NULL, err) : code;
}

void soundtrack_close(struct soundtrack **t)
{
    if (!*t)
        return;
    sound_close(&(*t)->sound);
    mix_close(&(*t)->mix);
    demux_close(&(*t)->source);
    encoder_clear(&(*t)->encoder);
    if ((*t)->fifo)
        av_audio_fifo_free((*t)->fifo);
    for (int i = 0; i < (*t)->n_packets; i++)
        av_packet_free(&(*t)->packets[i]);
    free(*t);
    *t = NULL;
}
