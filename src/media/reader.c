// One picture is decoded ahead: its time stamp is the end of the picture that is handed out, and
// the first one tells on opening what the frames will look like. Where the time stamps step back,
// or on by very much, one more tells whether that was one wrong stamp or a clock that started
// again.
#include "media/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/display.h>
#include <libavutil/mathematics.h>

#include "media/deinterlace.h"
#include "media/demux.h"
#include "media/picture.h"

#define STILL_DURATION_US 40000           // 1/25 s
#define MAX_TIME_US       100000000000000 // three years; beyond it a time stamp is garbage
#define MAX_FRAMES        (INT64_C(1) << 40)
#define MAX_RATE          1000     // pictures a second
#define BACK_US           200000   // a step back of less is wrong stamps: pictures out of order
#define HOLE_US           10000000 // a step on of more, where formats have clocks that start again

static const AVRational us = {1, 1000000};

struct reader {
    struct demux source;
    struct deinterlacer deinterlacer;
    struct shaper shaper;
    struct reader_params params;
    struct reader_info info;

    AVFrame *ahead;   // decoded, pts in microseconds, not yet shaped; NULL at the end
    AVFrame *beyond;  // the one after it, if that had to be looked at; pts as it was decoded
    int64_t frame_us; // of a frame at the nominal rate
    int64_t origin;   // time stamp of the first picture, or AV_NOPTS_VALUE
    int64_t shift_us; // added since a jump in the time stamps
    int64_t last_us;  // pts of the picture decoded last, INT64_MIN before the first
    int last_width, last_height; // its size
    bool guessed; // time stamps were missing or wrong: they depend on the pictures before
};

static AVRational find_rate(struct demux *s)
{
    AVRational rate = s->stream->avg_frame_rate;
    if (rate.num <= 0 || rate.den <= 0 || av_q2d(rate) > MAX_RATE)
        rate = av_guess_frame_rate(s->demux, s->stream, NULL);
    if (rate.num <= 0 || rate.den <= 0 || av_q2d(rate) > MAX_RATE || demux_is_still(s))
        return (AVRational){25, 1};
    return rate;
}

// What the clock says, in microseconds from the first picture; INT64_MIN: nothing of use.
static int64_t clock_time(struct reader *r, const AVFrame *f)
{
    int64_t stamp = f->best_effort_timestamp, rel, t = INT64_MIN;
    if (stamp == AV_NOPTS_VALUE)
        return INT64_MIN;
    if (r->origin == AV_NOPTS_VALUE)
        r->origin = stamp;
    if (!__builtin_sub_overflow(stamp, r->origin, &rel))
        t = av_rescale_q(rel, r->source.stream->time_base, us);
    if (llabs(t / 2) > MAX_TIME_US || llabs(t + r->shift_us) > MAX_TIME_US)
        return INT64_MIN;
    return t + r->shift_us;
}

// The next decoded picture, in *ret, which may hold one already.
static enum kb_code decode(struct reader *r, AVFrame **ret, struct kb_error *err)
{
    if (*ret)
        return KB_OK;
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    if (!f)
        return kb_no_memory(err);
    enum kb_code code = demux_is_still(&r->source)
                            ? demux_decode(&r->source, f, err)
                            : deinterlacer_next(&r->deinterlacer, &r->source, f, err);
    if (code == KB_OK)
        *ret = TAKE(f);
    return code;
}

static bool clock_may_start_again(const struct reader *r)
{
    return !r->source.gallery && r->source.demux->iformat->flags & AVFMT_TS_DISCONT;
}

// f says that it is shown at t, which cannot be: at or before the last picture, or long after it.
static enum kb_code settle_time(struct reader *r, AVFrame *f, int64_t t, struct kb_error *err)
{
    int64_t next = INT64_MIN;
    bool far = t - r->last_us > HOLE_US || r->last_us - t > BACK_US;
    if (far) {
        enum kb_code code = decode(r, &r->beyond, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
        next = r->beyond ? clock_time(r, r->beyond) : INT64_MIN;
    }
    r->guessed = true;
    // The next one goes on where the last one was, or nothing does.
    bool old_clock = next > r->last_us && next - r->last_us <= HOLE_US;
    bool new_clock = far && !old_clock && (!r->beyond || (next > t && next - t <= HOLE_US));
    f->pts = r->last_us + (new_clock ? r->frame_us : KB_MIN(r->frame_us, 1000));
    if (new_clock)
        r->shift_us += f->pts - t;
    return KB_OK;
}

// Give a decoded picture its time: microseconds from the first one, after the one before.
static enum kb_code place(struct reader *r, AVFrame *f, struct kb_error *err)
{
    bool first = r->last_us == INT64_MIN;
    int64_t t = clock_time(r, f);
    enum kb_code code = KB_OK;
    if (f->pts == AV_NOPTS_VALUE || t == INT64_MIN)
        r->guessed = true;
    if (t == INT64_MIN)
        f->pts = first ? 0 : r->last_us + r->frame_us;
    else if (first || (t > r->last_us && (t - r->last_us <= HOLE_US || !clock_may_start_again(r))))
        f->pts = t;
    else
        code = settle_time(r, f, t, err);
    r->last_us = f->pts;
    return code;
}

// Decode the next picture into r->ahead; KB_EOF leaves it NULL.
static enum kb_code look_ahead(struct reader *r, struct kb_error *err)
{
    av_frame_free(&r->ahead);
    CLEANUP(av_frame_free) AVFrame *f = TAKE(r->beyond);
    enum kb_code code = decode(r, &f, err);
    if (code != KB_OK)
        return code;
    bool first = r->last_us == INT64_MIN;
    frame_mark_shot(f, !first && (f->width != r->last_width || f->height != r->last_height));
    r->last_width = f->width;
    r->last_height = f->height;
    code = place(r, f, err);
    if (code == KB_OK)
        r->ahead = TAKE(f);
    return code;
}

// Forget what was decoded.
static void drop_decoded(struct reader *r)
{
    av_frame_free(&r->ahead);
    av_frame_free(&r->beyond);
    deinterlacer_reset(&r->deinterlacer);
}

static enum kb_code no_picture(const struct reader *r, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("not one picture of '%s' can be decoded: the file is cut short or damaged, or "
                     "its pictures are larger than 8192x8192; copy or export it again"),
                   r->source.path);
}

// FFmpeg's own decoder of VP9 leaves the transparency out.
static void choose_decoder(struct reader *r)
{
    const AVStream *stream = r->source.stream;
    const AVDictionaryEntry *alpha = av_dict_get(stream->metadata, "alpha_mode", NULL, 0);
    const AVCodec *other = NULL;
    if (r->params.chequered && alpha && strcmp(alpha->value, "1") == 0 &&
        stream->codecpar->codec_id == AV_CODEC_ID_VP9)
        other = avcodec_find_decoder_by_name("libvpx-vp9");
    if (other)
        r->source.codec = other;
}

// Decode the first picture.
static enum kb_code start(struct reader *r, struct kb_error *err)
{
    choose_decoder(r);
    enum kb_code code = demux_open_decoder(&r->source, r->params.threads, err);
    if (code != KB_OK)
        return code;
    r->deinterlacer.threads = r->params.threads;
    r->origin = AV_NOPTS_VALUE;
    r->shift_us = 0;
    r->last_us = INT64_MIN;
    r->info.frame_rate = find_rate(&r->source);
    r->frame_us = av_rescale_q(1, av_inv_q(r->info.frame_rate), us);
    code = look_ahead(r, err);
    return code == KB_EOF ? no_picture(r, err) : code;
}

static int64_t video_bitrate(const struct demux *s)
{
    if (s->stream->codecpar->bit_rate > 0)
        return s->stream->codecpar->bit_rate;
    int64_t rest = s->demux->bit_rate;
    for (unsigned i = 0; i < s->demux->nb_streams; i++)
        rest -= s->demux->streams[i]->codecpar->bit_rate;
    return KB_MAX(rest, 0);
}

// Of the first picture, from where audio_open() counts; 0 for what cannot be.
static int64_t find_start(const struct reader *r)
{
    if (r->origin == AV_NOPTS_VALUE || r->info.is_still)
        return 0;
    int64_t t = av_rescale_q(r->origin, r->source.stream->time_base, us), late;
    if (__builtin_sub_overflow(t, demux_origin(&r->source), &late) || llabs(late) > MAX_TIME_US)
        return 0;
    return late;
}

// As the container says, which may be anything: others count on the limits.
static void fill_length(struct reader_info *ret, const struct demux *s)
{
    ret->duration_us =
        ret->is_still ? STILL_DURATION_US : KB_MIN(demux_duration_us(s), MAX_TIME_US);
    int64_t n = ret->is_still ? 1
                : s->stream->nb_frames > 0
                    ? s->stream->nb_frames
                    : av_rescale_q(ret->duration_us, us, av_inv_q(ret->frame_rate));
    ret->n_frames_estimate = KB_MIN(n, MAX_FRAMES);
}

static void fill_info(struct reader *r)
{
    const struct demux *s = &r->source;
    const struct shaper *shape = &r->shaper;
    struct reader_info *info = &r->info;
    info->width = shape->width;
    info->height = shape->height;
    info->sample_aspect = shape->sample_aspect;
    info->deep = shape->deep;
    info->range = shape->range;
    info->space = shape->space;
    info->primaries = shape->primaries;
    info->transfer = shape->transfer;
    info->is_still = demux_is_still(s);
    fill_length(info, s);
    info->start_us = find_start(r);
    info->bitrate = video_bitrate(s);
    snprintf(info->codec, sizeof(info->codec), "%s",
             s->gallery ? gallery_format(s->gallery) : avcodec_get_name(s->codec->id));
}

// How the container says that pictures are to be turned; NULL if it says nothing.
static const int32_t *display_matrix(const AVStream *s)
{
#if LIBAVCODEC_VERSION_INT < AV_VERSION_INT(60, 31, 102) // before FFmpeg 6.1
    size_t size = 0;
    const void *data = av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, &size);
#else
    const AVPacketSideData *side = av_packet_side_data_get(
        s->codecpar->coded_side_data, s->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    size_t size = side ? side->size : 0;
    const void *data = side ? side->data : NULL;
#endif
    return size >= 9 * sizeof(int32_t) ? data : NULL;
}

// What the first picture tells.
static enum kb_code set_up(struct reader *r, struct kb_error *err)
{
    enum kb_code code = start(r, err);
    if (code != KB_OK)
        return code;
    code = shaper_init(&r->shaper, r->ahead, display_matrix(r->source.stream), r->params.height,
                       r->params.denoise, r->params.deep, r->params.threads, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", r->source.path);
    r->shaper.chequered = r->params.chequered;
    fill_info(r);
    return KB_OK;
}

enum kb_code reader_open(struct reader **ret, const char *path, const struct reader_params *params,
                         struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *r = kb_alloc(sizeof(*r));
    if (params)
        r->params = *params;
    enum kb_code code = demux_open(&r->source, path, AVMEDIA_TYPE_VIDEO, r->params.cancel, err);
    if (code == KB_OK)
        code = set_up(r, err);
    if (code == KB_OK)
        *ret = TAKE(r);
    return code;
}

enum kb_code reader_restart(struct reader *r, const struct reader_params *params,
                            struct kb_error *err)
{
    r->params = params ? *params : (struct reader_params){0};
    shaper_reset(&r->shaper);
    r->shaper = (struct shaper){0};
    drop_decoded(r);
    enum kb_code code = demux_restart(&r->source, r->params.cancel, err);
    return code == KB_OK ? set_up(r, err) : code;
}

const struct reader_info *reader_info(const struct reader *r)
{
    return &r->info;
}

bool reader_is_plain(const struct reader *r)
{
    return r->ahead && !r->guessed && !r->info.is_still && !r->source.gallery &&
           r->origin != AV_NOPTS_VALUE && r->ahead->pts == 0 &&
           shaper_is_plain(&r->shaper, r->ahead);
}

const struct demux *reader_source(const struct reader *r)
{
    return &r->source;
}

int64_t reader_origin(const struct reader *r)
{
    return r->origin;
}

// What the container says about the last picture, if it makes sense: it is not long, or it may
// stand until the film is over.
static int64_t last_duration(const struct reader *r, const AVFrame *f)
{
    int64_t d = av_rescale_q(FRAME_DURATION(f), r->source.stream->time_base, us);
    int64_t left = KB_MIN(r->info.duration_us, MAX_TIME_US) - f->pts;
    return d > 0 && (d <= 10 * r->frame_us || d <= left + r->frame_us) ? d : r->frame_us;
}

enum kb_code reader_next(struct reader *r, AVFrame **ret, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = TAKE(r->ahead);
    if (!f)
        return KB_EOF;
    if (r->info.is_still) {
        f->pts = 0;
        FRAME_DURATION(f) = STILL_DURATION_US;
    } else {
        enum kb_code code = look_ahead(r, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
        if (code == KB_EOF)
            r->info.last_us = last_duration(r, f);
        FRAME_DURATION(f) = code == KB_OK ? r->ahead->pts - f->pts : r->info.last_us;
    }
    enum kb_code code = shaper_apply(&r->shaper, f, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", r->source.path);
    *ret = TAKE(f);
    return KB_OK;
}

// Let the container jump to before from_us and decode up to a key frame. True if that lies at or
// before to_us: then everything after it is what decoding from the start would have given.
static bool jump(struct reader *r, int64_t from_us, int64_t to_us)
{
    int64_t stamp = r->origin + av_rescale_q(from_us, us, r->source.stream->time_base);
    drop_decoded(r);
    if (!demux_seek(&r->source, stamp))
        return false;
    r->last_us = INT64_MIN;
    do {
        if (look_ahead(r, NULL) != KB_OK)
            return false;
        if (frame_is_key(r->ahead))
            return r->ahead->pts <= to_us && !r->guessed;
    } while (r->ahead->pts <= to_us);
    return false;
}

static enum kb_code skip_to(struct reader *r, int64_t pts_us, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    while (code == KB_OK && r->ahead && r->ahead->pts < pts_us)
        code = look_ahead(r, err);
    return code == KB_EOF ? KB_OK : code; // reader_next() tells the end
}

enum kb_code reader_seek(struct reader *r, int64_t pts_us, struct kb_error *err)
{
    // Containers index by decoding time or with gaps, so the first try may land too late.
    static const int64_t steps_us[] = {0, 500000, 3000000, 15000000};
    shaper_reset(&r->shaper);
    bool found = false;
    bool exact = !r->guessed && !r->info.is_still && r->origin != AV_NOPTS_VALUE;
    for (size_t i = 0; i < ARRAY_LEN(steps_us) && exact && !found; i++) {
        if (pts_us <= steps_us[i])
            break;
        found = jump(r, pts_us - steps_us[i], pts_us);
    }
    enum kb_code code = cancel_check(r->params.cancel, err);
    if (code == KB_OK && found)
        code = skip_to(r, pts_us, err);
    // Not where the container led to: its clock may have started again on the way.
    if (code == KB_OK && found && (r->ahead || !clock_may_start_again(r)))
        return KB_OK;
    if (code == KB_OK) {
        drop_decoded(r);
        code = demux_restart(&r->source, r->params.cancel, err);
    }
    if (code == KB_OK)
        code = start(r, err);
    return code == KB_OK ? skip_to(r, pts_us, err) : code;
}

void reader_close(struct reader **r)
{
    if (!*r)
        return;
    drop_decoded(*r);
    shaper_reset(&(*r)->shaper);
    demux_close(&(*r)->source);
    free(*r);
    *r = NULL;
}
