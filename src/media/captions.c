// mp4's own subtitles: 3GPP timed text (TS 26.245, "tx3g"; FFmpeg calls it mov_text). A sample is
// two bytes of length and UTF-8; the gaps between samples are the muxer's to fill. QuickTime takes
// the same ones. WebM has WebVTT: a cue's text, in which "<", "&" and ">" (of "-->", which begins a
// cue) are written out and no line is empty.
#include "media/captions.h"

#include "base/text.h"

#include <libavutil/mem.h>
#include <stdlib.h>
#include <string.h>

struct captions {
    struct mux *mux;
    const struct subtitle_track *tracks;
    int n;
    bool vtt;
    int streams[EXTRAS_MAX_TRACKS];
    size_t next[EXTRAS_MAX_TRACKS];
    AVPacket *packet;
};

// TextSampleEntry: centred at the bottom, white, 18 points, one font.
static const uint8_t sample_entry[] = {
    0, 0, 0, 0,  1,   0xff, 0,   0,   0,    0,                // flags, justification, background
    0, 0, 0, 0,  0,   0,    0,   0,                           // the box: the player's
    0, 0, 0, 0,  0,   1,    0,   18,  0xff, 0xff, 0xff, 0xff, // style
    0, 0, 0, 18, 'f', 't',  'a', 'b', 0,    1,    0,    1,    5, 'S', 'e', 'r', 'i', 'f'};

static bool set_sample_entry(AVCodecParameters *par)
{
    par->extradata = av_mallocz(sizeof(sample_entry) + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!par->extradata)
        return false;
    memcpy(par->extradata, sample_entry, sizeof(sample_entry));
    par->extradata_size = sizeof(sample_entry);
    par->codec_tag = MKTAG('t', 'x', '3', 'g'); // QuickTime's own has another entry
    return true;
}

static enum kb_code add_stream(struct captions *c, int track, struct kb_error *err)
{
    AVStream *st = avformat_new_stream(c->mux->out, NULL);
    if (!st || (!c->vtt && !set_sample_entry(st->codecpar)))
        return kb_no_memory(err);
    st->codecpar->codec_type = AVMEDIA_TYPE_SUBTITLE;
    st->codecpar->codec_id = c->vtt ? AV_CODEC_ID_WEBVTT : AV_CODEC_ID_MOV_TEXT;
    st->time_base = (AVRational){1, 1000};
    if (*c->tracks[track].language)
        av_dict_set(&st->metadata, "language", c->tracks[track].language, 0);
    c->streams[track] = st->index;
    return KB_OK;
}

enum kb_code captions_open(struct captions **ret, struct mux *mux,
                           const struct subtitle_track *tracks, int n, struct kb_error *err)
{
    CLEANUP(captions_close) struct captions *c = kb_alloc(sizeof(*c));
    c->mux = mux;
    c->tracks = tracks;
    c->n = n;
    c->vtt = strcmp(mux->out->oformat->name, "webm") == 0;
    c->packet = av_packet_alloc();
    enum kb_code code = c->packet ? KB_OK : kb_no_memory(err);
    for (int i = 0; i < n && code == KB_OK; i++)
        code = add_stream(c, i, err);
    if (code == KB_OK)
        *ret = TAKE(c);
    return code;
}

static int fill_timed_text(AVPacket *packet, const char *text)
{
    size_t n = strlen(text);
    int e = av_new_packet(packet, (int)n + 2);
    if (e < 0)
        return e;
    packet->data[0] = (uint8_t)(n >> 8);
    packet->data[1] = (uint8_t)n;
    memcpy(packet->data + 2, text, n);
    return 0;
}

static int fill_vtt(AVPacket *packet, const char *text)
{
    CLEANUP(text_free) struct text cue = {0};
    for (; *text; text++) {
        if (*text == '&')
            text_add(&cue, "&amp;");
        else if (*text == '<')
            text_add(&cue, "&lt;");
        else if (*text == '>')
            text_add(&cue, "&gt;");
        else if (*text != '\n' || (cue.size > 0 && cue.data[cue.size - 1] != '\n'))
            text_add_bytes(&cue, text, 1);
    }
    int e = av_new_packet(packet, (int)cue.size);
    if (e >= 0 && cue.size > 0)
        memcpy(packet->data, cue.data, cue.size);
    return e;
}

static enum kb_code write_one(struct captions *c, int track, const struct subtitle *s,
                              struct kb_error *err)
{
    if ((c->vtt ? fill_vtt(c->packet, s->text) : fill_timed_text(c->packet, s->text)) < 0)
        return kb_no_memory(err);
    c->packet->stream_index = c->streams[track];
    c->packet->pts = c->packet->dts = s->start_us;
    c->packet->duration = s->end_us - s->start_us;
    c->packet->flags |= AV_PKT_FLAG_KEY;
    return mux_write(c->mux, c->packet, AV_TIME_BASE_Q, err);
}

enum kb_code captions_write(struct captions *c, int64_t until_us, struct kb_error *err)
{
    for (int i = 0; i < c->n; i++) {
        const struct subtitle_track *t = &c->tracks[i];
        for (; c->next[i] < t->n && t->at[c->next[i]].start_us < until_us; c->next[i]++) {
            enum kb_code code = write_one(c, i, &t->at[c->next[i]], err);
            if (code != KB_OK)
                return code;
        }
    }
    return KB_OK;
}

void captions_close(struct captions **c)
{
    if (!*c)
        return;
    av_packet_free(&(*c)->packet);
    free(*c);
    *c = NULL;
}
