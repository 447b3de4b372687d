#include "media/soundtrack.h"

#include <stdlib.h>
#include <string.h>

#include <libavutil/audio_fifo.h>
#include <libavutil/avstring.h>
#include <libavutil/mathematics.h>

#include "media/demux.h"
#include "media/encode.h"
#include "media/sound.h"

#define AAC_BITRATE 192000
#define MAX_SAMPLES (INT64_C(1) << 48) // a time stamp beyond is garbage

struct soundtrack {
    struct mux *mux;
    int rate_hz;
    int64_t next; // where the next packet or frame starts, in samples
    bool copied, ended;

    // Copied: packets of source. One may be held because it ends too late.
    struct demux source;
    AVPacket *packet;
    bool held;
    int stream; // index in mux

    // Encoded: sound -> fifo -> encoder, which wants frames of its own size.
    struct sound *sound;
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

// mp4 needs the decoder's configuration: it is in the file, or in the ADTS header of every packet.
static bool can_copy(const struct demux *s)
{
    const AVCodecParameters *par = s->stream->codecpar;
    return par->codec_id == AV_CODEC_ID_AAC && par->sample_rate > 0 &&
           par->ch_layout.nb_channels > 0 &&
           (par->extradata_size >= 2 || av_match_name(s->demux->iformat->name, "aac,mpegts"));
}

static enum kb_code open_copy(struct soundtrack *t, struct kb_error *err)
{
    t->copied = true;
    t->rate_hz = t->source.stream->codecpar->sample_rate;
    t->next = INT64_MIN;
    t->packet = av_packet_alloc();
    AVStream *stream = avformat_new_stream(t->mux->out, NULL);
    if (!t->packet || !stream ||
        avcodec_parameters_copy(stream->codecpar, t->source.stream->codecpar) < 0)
        return kb_no_memory(err);
    stream->time_base = sample_units(t);
    t->stream = stream->index;
    stream->codecpar->codec_tag = 0; // the source container's name for AAC
    return KB_OK;
}

static enum kb_code open_encoder(struct soundtrack *t, struct kb_error *err)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_AAC);
    if (!codec)
        return kb_fail(err, KB_UNAVAILABLE, _("this FFmpeg has no AAC encoder"));
    enum kb_code code = encoder_init(&t->encoder, t->mux, codec, err);
    if (code != KB_OK)
        return code;
    AVCodecContext *c = t->encoder.context;
    c->sample_rate = t->rate_hz;
    c->sample_fmt = AV_SAMPLE_FMT_FLTP;
    c->bit_rate = AAC_BITRATE;
    c->time_base = sample_units(t);
    av_channel_layout_default(&c->ch_layout, sound_channels(t->sound));
    int e = avcodec_open2(c, codec, NULL);
    if (e < 0)
        return kb_fail(err, KB_INTERNAL, _("the AAC encoder cannot be started: %s"),
                       ffmpeg_error(e));
    t->fifo = av_audio_fifo_alloc(AV_SAMPLE_FMT_FLTP, sound_channels(t->sound), c->frame_size);
    return t->fifo && encoder_add_stream(&t->encoder) ? KB_OK : kb_no_memory(err);
}

static enum kb_code open_encoded(struct soundtrack *t, const char *path, bool loudnorm,
                                 struct kb_error *err)
{
    struct sound_params params = {
        .format = AV_SAMPLE_FMT_FLTP, .loudnorm = loudnorm, .cancel = t->mux->cancel};
    enum kb_code code = sound_open(&t->sound, path, &params, err);
    if (code != KB_OK)
        return code;
    t->rate_hz = sound_rate_hz(t->sound);
    return open_encoder(t, err);
}

enum kb_code soundtrack_open(struct soundtrack **ret, struct mux *mux, const char *path,
                             bool loudnorm, struct kb_error *err)
{
    CLEANUP(soundtrack_close) struct soundtrack *t = kb_alloc(sizeof(*t));
    t->mux = mux;
    enum kb_code code = demux_open(&t->source, path, AVMEDIA_TYPE_AUDIO, mux->cancel, err);
    if (code != KB_OK)
        return code;
    if (!loudnorm && can_copy(&t->source)) {
        code = open_copy(t, err);
    } else {
        demux_close(&t->source);
        code = open_encoded(t, path, loudnorm, err);
    }
    if (code == KB_OK)
        *ret = TAKE(t);
    return code;
}

// Give a packet its place in samples. Containers with coarse time stamps (Matroska counts
// milliseconds) would make frames of uneven length; what is off by less than 5 ms follows its
// predecessor exactly.
static void place_packet(struct soundtrack *t, AVPacket *p)
{
    AVRational from = t->source.stream->time_base;
    int64_t length = t->source.stream->codecpar->frame_size;
    if (length <= 0)
        length = p->duration > 0 && p->duration < INT32_MAX
                     ? av_rescale_q(p->duration, from, sample_units(t))
                     : 1024;
    int64_t start = t->next == INT64_MIN ? 0 : t->next, stamp = AV_NOPTS_VALUE;
    if (p->pts != AV_NOPTS_VALUE)
        stamp = av_rescale_q(p->pts, from, sample_units(t));
    if (stamp > -MAX_SAMPLES && stamp < MAX_SAMPLES)
        start = stamp - av_rescale(demux_origin(&t->source), t->rate_hz, AV_TIME_BASE);
    if (t->next != INT64_MIN && (start < t->next || start - t->next < t->rate_hz / 200))
        start = t->next;
    p->pts = p->dts = start;
    p->duration = length;
    p->pos = -1;
    p->stream_index = t->stream;
    t->next = start + length;
}

// Copy packets up to a sample. The last one may be cut: players stop where its duration ends.
static enum kb_code copy_until(struct soundtrack *t, int64_t end, bool cut, struct kb_error *err)
{
    for (;;) {
        if (!t->held && !t->ended) {
            enum kb_code code = demux_read(&t->source, t->packet, err);
            if (code != KB_OK && code != KB_EOF)
                return code;
            t->held = code == KB_OK;
            t->ended = code == KB_EOF;
            if (t->held)
                place_packet(t, t->packet);
        }
        if (!t->held || t->packet->pts + (cut ? 1 : t->packet->duration) > end)
            return KB_OK;
        t->packet->duration = KB_MIN(t->packet->duration, end - t->packet->pts);
        t->held = false;
        enum kb_code code = mux_write(t->mux, t->packet, sample_units(t), err);
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
    f->format = AV_SAMPLE_FMT_FLTP;
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

// Fill the fifo to one frame of the encoder, or with all there is.
static enum kb_code fill(struct soundtrack *t, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    while (!t->ended && av_audio_fifo_size(t->fifo) < t->encoder.context->frame_size) {
        enum kb_code code = sound_next(t->sound, f, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
        t->ended = code == KB_EOF;
        if (code == KB_OK &&
            av_audio_fifo_write(t->fifo, (void **)f->extended_data, f->nb_samples) < 0)
            return kb_no_memory(err);
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
    demux_close(&(*t)->source);
    encoder_clear(&(*t)->encoder);
    if ((*t)->fifo)
        av_audio_fifo_free((*t)->fifo);
    av_packet_free(&(*t)->packet);
    free(*t);
    *t = NULL;
}
