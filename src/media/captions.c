// mp4's own subtitles: 3GPP timed text (TS 26.245, "tx3g"; FFmpeg calls it mov_text). A sample is
// two bytes of length and UTF-8; the gaps between samples are the muxer's to fill.
#include "media/captions.h"

#include <libavutil/mem.h>
#include <stdlib.h>
#include <string.h>

struct captions {
    struct mux *mux;
    const struct subtitle_track *tracks;
    int n;
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

static enum kb_code add_stream(struct captions *c, int track, struct kb_error *err)
{
    AVStream *st = avformat_new_stream(c->mux->out, NULL);
    uint8_t *extra = av_mallocz(sizeof(sample_entry) + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!st || !extra) {
        av_free(extra);
        return kb_no_memory(err);
    }
    memcpy(extra, sample_entry, sizeof(sample_entry));
    st->codecpar->codec_type = AVMEDIA_TYPE_SUBTITLE;
    st->codecpar->codec_id = AV_CODEC_ID_MOV_TEXT;
    st->codecpar->extradata = extra;
    st->codecpar->extradata_size = sizeof(sample_entry);
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
    c->packet = av_packet_alloc();
    enum kb_code code = c->packet ? KB_OK : kb_no_memory(err);
    for (int i = 0; i < n && code == KB_OK; i++)
        code = add_stream(c, i, err);
    if (code == KB_OK)
        *ret = TAKE(c);
    return code;
}

static enum kb_code write_one(struct captions *c, int track, const struct subtitle *s,
                              struct kb_error *err)
{
    size_t n = strlen(s->text);
    if (av_new_packet(c->packet, (int)n + 2) < 0)
        return kb_no_memory(err);
    c->packet->data[0] = (uint8_t)(n >> 8);
    c->packet->data[1] = (uint8_t)n;
    memcpy(c->packet->data + 2, s->text, n);
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
