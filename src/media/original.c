#include "media/original.h"

#include <stdlib.h>
#include <string.h>

#include <libavutil/avstring.h>
#include <libavutil/intreadwrite.h>
#include <libavutil/mathematics.h>

#include "media/demux.h"

struct original {
    struct demux source;
    struct h264_config config; // points into the stream's parameters
    struct h264_sps sps;
    int64_t origin;
    bool changed; // see is_changed()
};

void original_close(struct original **o)
{
    if (!*o)
        return;
    demux_close(&(*o)->source);
    free(*o);
    *o = NULL;
}

const struct h264_config *original_config(const struct original *o)
{
    return &o->config;
}

const struct h264_sps *original_sps(const struct original *o)
{
    return &o->sps;
}

// What the stream says of itself fits what is done here.
static bool read_sets(struct original *o, const AVCodecParameters *par,
                      const struct reader_info *info)
{
    const struct h264_sps *s = &o->sps;
    if (par->codec_id != AV_CODEC_ID_H264 || par->extradata_size <= 0 ||
        !h264_read_config(&o->config, par->extradata, (size_t)par->extradata_size) ||
        !h264_read_sps(&o->sps, &o->config.sps))
        return false;
    for (int i = 0; i < o->config.n_pps; i++) {
        int id, sps_id;
        if (!h264_read_pps(&o->config.pps[i], &id, &sps_id) || sps_id != s->id)
            return false;
    }
    // Where pictures are not shown as they are decoded, it must say how far that goes.
    return (s->n_reorder >= 0 || s->order_type == 2) &&
           s->width * 16 - 2 * (s->crop[0] + s->crop[1]) == info->width &&
           s->height * 16 - 2 * (s->crop[2] + s->crop[3]) == info->height;
}

static bool is_the_same(const struct demux *a, const struct demux *b)
{
    const AVCodecParameters *p = a->stream->codecpar, *q = b->stream->codecpar;
    return a->stream->index == b->stream->index && avio_size(a->io) == avio_size(b->io) &&
           av_cmp_q(a->stream->time_base, b->stream->time_base) == 0 &&
           a->stream->nb_frames == b->stream->nb_frames && p->extradata_size > 0 &&
           p->extradata_size == q->extradata_size &&
           memcmp(p->extradata, q->extradata, (size_t)p->extradata_size) == 0;
}

static bool container_fits(const struct demux *s)
{
    const char *format = s->gallery ? "" : s->demux->iformat->name;
    return av_match_name("mp4", format) || av_match_name("matroska", format);
}

enum kb_code original_open(struct original **ret, const struct reader *film,
                           const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(original_close) struct original *o = kb_alloc(sizeof(*o));
    const struct demux *source = reader_source(film);
    *ret = NULL;
    if (!reader_is_plain(film) || !container_fits(source) ||
        !read_sets(o, source->stream->codecpar, reader_info(film)))
        return KB_OK;
    enum kb_code code = demux_open_quick(&o->source, source->path, AVMEDIA_TYPE_VIDEO, cancel, err);
    if (code == KB_CANCELLED || code == KB_NO_SPACE)
        return code;
    if (code != KB_OK || !is_the_same(source, &o->source) ||
        !read_sets(o, o->source.stream->codecpar, reader_info(film)))
        return KB_OK;
    o->origin = reader_origin(film);
    *ret = TAKE(o);
    return KB_OK;
}

bool original_seek(struct original *o, int64_t pts_us)
{
    return demux_seek(
        &o->source, o->origin + av_rescale_q(pts_us, AV_TIME_BASE_Q, o->source.stream->time_base));
}

// Is the unit one of those that the file says of the whole stream?
static bool is_known(const struct h264_unit *u, const struct h264_config *config)
{
    if (!config)
        return true;
    for (int i = -1; i < config->n_pps; i++) {
        const struct h264_unit *set = i < 0 ? &config->sps : &config->pps[i];
        if (set->size == u->size && memcmp(set->data, u->data, u->size) == 0)
            return true;
    }
    return false;
}

static bool is_set(const struct h264_unit *u)
{
    return h264_type(u) == H264_SPS || h264_type(u) == H264_PPS;
}

// Left out: sets, which the file says once, and of the film what its maker told beside the pictures
// (captions of the words that are no longer spoken, a camera's notes).
static bool is_left_out(const struct h264_unit *u, const struct h264_config *config)
{
    return is_set(u) || (config && h264_type(u) == H264_SEI);
}

// How many bytes the packet will have; 0: it cannot be passed on.
static size_t measure(const AVPacket *packet, int length_bytes, const struct h264_config *config,
                      bool *ret_key)
{
    struct h264_units units = {packet->data, packet->data + packet->size, length_bytes, false};
    struct h264_unit u;
    size_t n = 0;
    bool has_picture = false, fits = true;
    *ret_key = false;
    while (h264_next(&units, &u)) {
        int type = h264_type(&u);
        bool picture = type == H264_SLICE || type == H264_IDR;
        has_picture |= picture;
        *ret_key |= type == H264_IDR;
        fits &= is_set(&u)
                    ? is_known(&u, config)
                    : picture || type == H264_SEI || type == H264_DELIMITER || type == H264_FILLER;
        if (!is_left_out(&u, config))
            n += 4 + u.size;
    }
    return fits && has_picture && !units.broken && n < INT32_MAX / 2 ? n : 0;
}

enum kb_code original_repack(AVPacket *packet, int length_bytes, const struct h264_config *config,
                             struct kb_error *err)
{
    bool key;
    size_t n = measure(packet, length_bytes, config, &key);
    if (n == 0)
        return KB_EOF;
    AVBufferRef *buffer = av_buffer_allocz(n + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!buffer)
        return kb_no_memory(err);
    struct h264_units units = {packet->data, packet->data + packet->size, length_bytes, false};
    struct h264_unit u;
    uint8_t *to = buffer->data;
    while (h264_next(&units, &u)) {
        if (is_left_out(&u, config))
            continue;
        AV_WB32(to, (uint32_t)u.size);
        memcpy(to + 4, u.data, u.size);
        to += 4 + u.size;
    }
    av_buffer_unref(&packet->buf);
    packet->buf = buffer;
    packet->data = buffer->data;
    packet->size = (int)n;
    packet->flags = key ? packet->flags | AV_PKT_FLAG_KEY : packet->flags & ~AV_PKT_FLAG_KEY;
    return KB_OK;
}

// Is it a picture that is shown?
static bool is_usual(const AVPacket *packet)
{
    return packet->pts != AV_NOPTS_VALUE &&
           !(packet->flags & (AV_PKT_FLAG_DISCARD | AV_PKT_FLAG_CORRUPT));
}

// From here on, is the stream described by something else than what the file says of all?
static bool is_changed(const AVPacket *packet)
{
    size_t size;
    return av_packet_get_side_data(packet, AV_PKT_DATA_NEW_EXTRADATA, &size) ||
           av_packet_get_side_data(packet, AV_PKT_DATA_PARAM_CHANGE, &size);
}

enum kb_code original_next(struct original *o, AVPacket *ret, int64_t *ret_us, struct kb_error *err)
{
    enum kb_code code = demux_read(&o->source, ret, err);
    if (code != KB_OK)
        return code;
    int64_t since = 0;
    bool fits = is_usual(ret) && !__builtin_sub_overflow(ret->pts, o->origin, &since);
    // A change is told with its first packet alone; what comes after it looks as usual.
    o->changed |= is_changed(ret);
    code = fits && !o->changed ? original_repack(ret, o->config.length_bytes, &o->config, err)
                               : KB_EOF;
    if (code == KB_OK)
        *ret_us = av_rescale_q(since, o->source.stream->time_base, AV_TIME_BASE_Q);
    else
        av_packet_unref(ret);
    return code;
}
