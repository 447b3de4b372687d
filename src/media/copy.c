#include "media/copy.h"

#include "base/file.h"
#include "media/demux.h"
#include "media/mux.h"

#include <libavutil/mem.h>
#include <stdlib.h>
#include <string.h>

struct copy {
    struct demux from;
    struct mux to;
    int *streams; // of the output, by those of the input; -1: left out
    AVPacket *packet;
    struct copied *told;
};

static void copy_close(struct copy *c)
{
    av_packet_free(&c->packet);
    mux_close(&c->to);
    demux_close(&c->from);
    free(c->streams);
}

// How the picture is turned, its mastering display and the like. Newer FFmpeg has them among the
// parameters.
static bool copy_side_data(AVStream *to, const AVStream *from)
{
#if LIBAVCODEC_VERSION_INT < AV_VERSION_INT(60, 31, 102) // before FFmpeg 6.1
    for (int i = 0; i < from->nb_side_data; i++) {
        const AVPacketSideData *s = &from->side_data[i];
        uint8_t *data = av_stream_new_side_data(to, s->type, s->size);
        if (!data)
            return false;
        memcpy(data, s->data, s->size);
    }
#endif
    return true;
}

static bool fits(const struct copy *c, const AVStream *s)
{
    enum AVMediaType type = s->codecpar->codec_type;
    return (type == AVMEDIA_TYPE_VIDEO || type == AVMEDIA_TYPE_AUDIO ||
            type == AVMEDIA_TYPE_SUBTITLE) &&
           avformat_query_codec(c->to.out->oformat, s->codecpar->codec_id, FF_COMPLIANCE_NORMAL) ==
               1;
}

static enum kb_code add_stream(struct copy *c, AVStream *from, struct kb_error *err)
{
    enum AVMediaType type = from->codecpar->codec_type;
    const struct AVCodecTag *const *tags = c->to.out->oformat->codec_tag;
    if (!fits(c, from)) {
        if (type == AVMEDIA_TYPE_VIDEO || type == AVMEDIA_TYPE_AUDIO)
            return kb_fail(err, KB_BAD_INPUT,
                           type == AVMEDIA_TYPE_VIDEO
                               ? _("'%s': its pictures (%s) cannot be put into '%s' as they are; "
                                   "give the output the ending of the input, or .mkv")
                               : _("'%s': its sound (%s) cannot be put into '%s' as it is; give "
                                   "the output the ending of the input, or .mkv"),
                           c->from.path, avcodec_get_name(from->codecpar->codec_id), c->to.path);
        from->discard = AVDISCARD_ALL;
        c->told->n_left++;
        return KB_OK;
    }
    AVStream *to = avformat_new_stream(c->to.out, NULL);
    if (!to || avcodec_parameters_copy(to->codecpar, from->codecpar) < 0 ||
        !copy_side_data(to, from) || av_dict_copy(&to->metadata, from->metadata, 0) < 0)
        return kb_no_memory(err);
    // A tag of another format may mean something else here.
    if (!tags || av_codec_get_id(tags, to->codecpar->codec_tag) != to->codecpar->codec_id)
        to->codecpar->codec_tag = 0;
    to->time_base = from->time_base;
    to->avg_frame_rate = from->avg_frame_rate;
    to->r_frame_rate = from->r_frame_rate;
    to->sample_aspect_ratio = from->sample_aspect_ratio;
    to->disposition = from->disposition;
    from->discard = AVDISCARD_DEFAULT;
    c->streams[from->index] = to->index;
    return KB_OK;
}

// The muxer frees them with the rest.
static enum kb_code copy_chapters(struct copy *c, struct kb_error *err)
{
    const AVFormatContext *in = c->from.demux;
    AVFormatContext *out = c->to.out;
    if (in->nb_chapters == 0)
        return KB_OK;
    out->chapters = av_calloc(in->nb_chapters, sizeof(*out->chapters));
    for (unsigned i = 0; out->chapters && i < in->nb_chapters; i++) {
        AVChapter *chapter = av_mallocz(sizeof(*chapter));
        if (!chapter)
            break;
        *chapter = *in->chapters[i];
        chapter->metadata = NULL;
        out->chapters[out->nb_chapters++] = chapter;
        if (av_dict_copy(&chapter->metadata, in->chapters[i]->metadata, 0) < 0)
            break;
    }
    return out->nb_chapters == in->nb_chapters ? KB_OK : kb_no_memory(err);
}

static enum kb_code copy_tags(struct copy *c, const char *name, const char *value,
                              struct kb_error *err)
{
    static const char *const of_the_format[] = {"major_brand", "minor_version", "compatible_brands",
                                                "encoder"};
    AVDictionary **tags = &c->to.out->metadata;
    if (av_dict_copy(tags, c->from.demux->metadata, 0) < 0)
        return kb_no_memory(err);
    for (size_t i = 0; i < ARRAY_LEN(of_the_format); i++)
        av_dict_set(tags, of_the_format[i], NULL, 0);
    return mux_tag(&c->to, name, value, err);
}

static enum kb_code copy_packets(struct copy *c, struct kb_error *err)
{
    AVFormatContext *in = c->from.demux;
    enum kb_code code = KB_OK;
    while (code == KB_OK && (code = cancel_check(c->to.cancel, err)) == KB_OK) {
        int e = av_read_frame(in, c->packet);
        if (e == AVERROR_EOF)
            return KB_OK;
        if (e < 0)
            return kb_fail(err, ffmpeg_code(e), _("'%s' breaks off: %s"), c->from.path,
                           ffmpeg_error(e));
        int to = c->packet->stream_index < (int)in->nb_streams ? c->streams[c->packet->stream_index]
                                                               : -1; // one that appeared on the way
        if (to < 0) {
            av_packet_unref(c->packet);
            continue;
        }
        AVRational units = in->streams[c->packet->stream_index]->time_base;
        c->packet->stream_index = to;
        c->packet->pos = -1;
        code = mux_write(&c->to, c->packet, units, err);
    }
    return code;
}

static enum kb_code open_both(struct copy *c, const char *path, const char *output,
                              const struct cancel *cancel, struct kb_error *err)
{
    enum kb_code code = demux_open(&c->from, path, AVMEDIA_TYPE_VIDEO, cancel, err);
    if (code == KB_OK && (c->from.gallery || demux_is_still(&c->from)))
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not a video"), path_name(path));
    if (code == KB_OK)
        code = mux_open(&c->to, output, cancel, err);
    if (code != KB_OK)
        return code;
    unsigned n = c->from.demux->nb_streams;
    c->packet = av_packet_alloc();
    c->streams = kb_alloc(n * sizeof(*c->streams));
    for (unsigned i = 0; i < n; i++)
        c->streams[i] = -1;
    for (unsigned i = 0; code == KB_OK && i < n; i++)
        code = add_stream(c, c->from.demux->streams[i], err);
    return code == KB_OK && !c->packet ? kb_no_memory(err) : code;
}

enum kb_code copy_with_tag(const char *path, const char *output, const char *name,
                           const char *value, const struct cancel *cancel, struct copied *ret,
                           struct kb_error *err)
{
    CLEANUP(copy_close) struct copy c = {.told = ret};
    *ret = (struct copied){0};
    enum kb_code code = open_both(&c, path, output, cancel, err);
    if (code == KB_OK)
        code = copy_chapters(&c, err);
    if (code == KB_OK)
        code = copy_tags(&c, name, value, err);
    if (code == KB_OK)
        code = mux_start(&c.to, err);
    if (code == KB_OK)
        code = copy_packets(&c, err);
    return code == KB_OK ? mux_finish(&c.to, err) : code;
}
