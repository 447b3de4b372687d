#include "media/extras.h"

#include "base/utf8.h"
#include "media/demux.h"
#include "media/formats.h"

#include <libavcodec/avcodec.h>
#include <libavutil/pixdesc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SUBTITLES 20000
#define MAX_TEXT      (SUBTITLE_BYTES - 4)

bool subtitle_add(struct subtitle_track *t, int64_t start_us, int64_t end_us, const char *text)
{
    if (t->n >= MAX_SUBTITLES)
        return false;
    if ((t->n & (t->n - 1)) == 0) {
        struct subtitle *at = realloc(t->at, (t->n ? t->n * 2 : 1) * sizeof(*at));
        if (!at)
            abort();
        t->at = at;
    }
    t->at[t->n++] = (struct subtitle){start_us, end_us, kb_strdup(text)};
    return true;
}

void extras_clear(struct extras *e)
{
    for (int i = 0; i < e->n_tracks; i++) {
        for (size_t k = 0; k < e->tracks[i].n; k++)
            free(e->tracks[i].at[k].text);
        free(e->tracks[i].at);
    }
    *e = (struct extras){0};
}

void subtitle_plain(const char *ass, char ret[SUBTITLE_BYTES])
{
    size_t n = 0;
    for (int commas = 0; commas < 8 && *ass; ass++)
        commas += *ass == ',';
    while (*ass && n < MAX_TEXT + 3) { // the rest of a character tells where it begins
        const char *end = *ass == '{' ? strchr(ass, '}') : NULL;
        if (end) {
            ass = end + 1;
        } else if (ass[0] == '\\' && (ass[1] == 'N' || ass[1] == 'n' || ass[1] == 'h')) {
            ret[n++] = ass[1] == 'h' ? ' ' : '\n';
            ass += 2;
        } else {
            ret[n++] = *ass++;
        }
    }
    ret[n] = '\0';
    ret[utf8_fit(ret, MAX_TEXT)] = '\0';
}

// A stream of text that is read, and where it goes.
struct source {
    AVCodecContext *decoder;
    int track; // of the extras
};

static AVCodecContext *open_text(const AVStream *st)
{
    const AVCodec *codec = format_decoder(st->codecpar->codec_id);
    AVCodecContext *c = codec ? avcodec_alloc_context3(codec) : NULL;
    if (c && avcodec_parameters_to_context(c, st->codecpar) >= 0) {
        c->pkt_timebase = st->time_base;
        if (avcodec_open2(c, codec, NULL) >= 0)
            return c;
    }
    avcodec_free_context(&c);
    return NULL;
}

// When a packet is shown, from the film's first picture. False: it does not say, or garbage.
static bool span_of(const AVPacket *packet, AVRational base, int64_t origin_us, int64_t *ret_start,
                    int64_t *ret_end)
{
    if (packet->pts == AV_NOPTS_VALUE || packet->duration <= 0)
        return false;
    int64_t start = av_rescale_q(packet->pts, base, AV_TIME_BASE_Q); // INT64_MIN: does not fit
    int64_t length = av_rescale_q(packet->duration, base, AV_TIME_BASE_Q);
    return start != INT64_MIN && length > 0 &&
           !__builtin_sub_overflow(start, origin_us, ret_start) &&
           !__builtin_add_overflow(*ret_start, length, ret_end);
}

static void take_packet(struct extras *e, const struct source *s, AVPacket *packet,
                        const AVStream *st, int64_t origin_us)
{
    AVSubtitle sub = {0};
    int got = 0;
    int64_t start, end;
    char text[SUBTITLE_BYTES];
    if (!span_of(packet, st->time_base, origin_us, &start, &end) ||
        avcodec_decode_subtitle2(s->decoder, &sub, &got, packet) < 0 || !got)
        return;
    for (unsigned i = 0; i < sub.num_rects; i++) {
        if (!sub.rects[i]->ass)
            continue;
        subtitle_plain(sub.rects[i]->ass, text);
        if (*text)
            subtitle_add(&e->tracks[s->track], start, end, text);
    }
    avsubtitle_free(&sub);
}

static bool is_text(const AVStream *st)
{
    const AVCodecDescriptor *d = avcodec_descriptor_get(st->codecpar->codec_id);
    return d && (d->props & AV_CODEC_PROP_TEXT_SUB) != 0;
}

// FFmpeg gives every GIF as one that could be.
static bool is_transparent(const struct demux *d)
{
    if (demux_is_still(d) || d->stream->codecpar->codec_id == AV_CODEC_ID_GIF)
        return false;
    if (d->gallery)
        return gallery_has_alpha(d->gallery);
    const AVPixFmtDescriptor *pixels = av_pix_fmt_desc_get(d->stream->codecpar->format);
    return pixels && pixels->flags & AV_PIX_FMT_FLAG_ALPHA;
}

// All of the packets of its text streams; sources has one place a stream, most of them empty.
static enum kb_code read_texts(struct extras *e, struct demux *d, const struct source *sources,
                               unsigned n_sources, int64_t origin_us, const struct cancel *cancel,
                               struct kb_error *err)
{
    AVPacket *packet = d->packet;
    while (av_read_frame(d->demux, packet) >= 0) {
        unsigned i = (unsigned)packet->stream_index;
        if (i < n_sources && sources[i].decoder)
            take_packet(e, &sources[i], packet, d->demux->streams[i], origin_us);
        av_packet_unref(packet);
        enum kb_code code = cancel_check(cancel, err);
        if (code != KB_OK)
            return code;
    }
    return cancel_check(cancel, err);
}

enum kb_code extras_read(struct extras *ret, const char *film, int64_t start_us,
                         const struct cancel *cancel, struct kb_error *err)
{
    *ret = (struct extras){0};
    CLEANUP(demux_close) struct demux d = {0};
    enum kb_code code = demux_open(&d, film, AVMEDIA_TYPE_VIDEO, cancel, err);
    if (code != KB_OK)
        return code;
    unsigned n = d.demux->nb_streams; // may grow while packets are read: those are not ours
    struct source *sources = kb_calloc_checked(n, sizeof(*sources));
    if (!sources)
        return kb_no_memory(err);
    ret->has_alpha = is_transparent(&d);
    for (unsigned i = 0; i < n; i++) {
        AVStream *st = d.demux->streams[i];
        enum AVMediaType type = st->codecpar->codec_type;
        ret->n_sounds += type == AVMEDIA_TYPE_AUDIO;
        st->discard = AVDISCARD_ALL;
        if (type != AVMEDIA_TYPE_SUBTITLE)
            continue;
        AVCodecContext *decoder =
            is_text(st) && ret->n_tracks < EXTRAS_MAX_TRACKS ? open_text(st) : NULL;
        if (!decoder) {
            ret->n_lost_subtitles++;
            continue;
        }
        const AVDictionaryEntry *language = av_dict_get(st->metadata, "language", NULL, 0);
        if (language && strlen(language->value) == 3)
            memcpy(ret->tracks[ret->n_tracks].language, language->value, 4);
        sources[i] = (struct source){decoder, ret->n_tracks++};
        st->discard = AVDISCARD_DEFAULT;
    }
    if (ret->n_tracks > 0)
        code = read_texts(ret, &d, sources, n, demux_origin(&d) + start_us, cancel, err);
    for (unsigned i = 0; i < n; i++)
        avcodec_free_context(&sources[i].decoder);
    free(sources);
    if (code != KB_OK)
        extras_clear(ret);
    return code;
}
