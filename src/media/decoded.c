#include "media/decoded.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavutil/avstring.h>
#include <libavutil/intreadwrite.h>
#include <libavutil/mathematics.h>

#include "media/samples.h"

#define SILENCE_SAMPLES 4096
#define MAX_PARTS       1000 // each is opened anew
#define MAX_CHUNKS      64   // before the samples
// What an encoder that loses something makes of the loudest sound stays below this (12 dB): a frame
// beyond is damaged, though it decodes.
#define LOUDEST     4.0f
#define TAIL_US     50000 // less of damage at the end is a tag, or padding
#define MAX_TAIL_US (INT64_C(3600) * 1000000)

// --- files of several ---

// Does a file at a byte of fd begin as WAV?
static bool is_wav(int fd, int64_t at, int64_t *ret_end)
{
    uint8_t head[12];
    if (pread(fd, head, sizeof(head), at) != sizeof(head) || memcmp(head, "RIFF", 4) != 0 ||
        memcmp(head + 8, "WAVE", 4) != 0)
        return false;
    *ret_end = at + 8 + (int64_t)AV_RL32(head + 4);
    return true;
}

// Do its samples end before that? Else (a stream, whose length was not known) all that follows is
// read as such.
static bool data_ends(int fd, int64_t at, int64_t end)
{
    at += 12;
    for (int i = 0; i < MAX_CHUNKS; i++) {
        uint8_t head[8];
        if (pread(fd, head, sizeof(head), at) != sizeof(head))
            return false;
        int64_t size = (int64_t)AV_RL32(head + 4);
        at += 8 + size + (size & 1);
        if (memcmp(head, "data", 4) == 0)
            return size > 0 && at <= end + 1;
    }
    return false;
}

// Two WAV files joined byte by byte: the first says where it ends, and there begins another.
static bool find_next_part(const struct decoded *d, int64_t *ret_at)
{
    if (!av_match_name(d->source.demux->iformat->name, "wav"))
        return false;
    int fd = open(d->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    int64_t end, next_end;
    bool found = is_wav(fd, d->part_at, &end) && data_ends(fd, d->part_at, end);
    if (found) {
        *ret_at = is_wav(fd, end, &next_end) ? end : end + 1; // chunks are padded to even sizes
        found = is_wav(fd, *ret_at, &next_end);
    }
    close(fd);
    return found;
}

static enum kb_code open_part(struct decoded *d, int64_t at, struct kb_error *err)
{
    enum kb_code code = demux_open_at(&d->source, d->path, at, AVMEDIA_TYPE_AUDIO, d->cancel, err);
    if (code == KB_OK)
        code = demux_open_decoder(&d->source, 1, err);
    d->part_at = at;
    d->n_broken = 0;
    if (code != KB_OK)
        return code;
    const AVCodecDescriptor *codec = avcodec_descriptor_get(d->source.codec->id);
    d->is_lossy = codec && (codec->props & AV_CODEC_PROP_LOSSY);
    // Of a sound that is kept exactly a frame whose checksum is wrong is damaged for sure.
    if (!d->is_lossy)
        d->source.decoder->err_recognition |= AV_EF_CRCCHECK | AV_EF_EXPLODE;
    return KB_OK;
}

// KB_EOF: there is none, or it is no sound after all.
static enum kb_code next_part(struct decoded *d, struct kb_error *err)
{
    int64_t at;
    if (++d->n_parts > MAX_PARTS || !find_next_part(d, &at))
        return KB_EOF;
    demux_close(&d->source);
    enum kb_code code = open_part(d, at, err);
    return code == KB_BAD_INPUT ? KB_EOF : code;
}

// --- decoding ---

// Did something not decode since this was asked last?
static bool has_broken(struct decoded *d)
{
    int64_t more = d->source.n_broken - d->n_broken;
    d->n_broken += more;
    d->facts.n_broken += more;
    return more > 0;
}

// The next frame with samples. KB_EOF: there is none.
static enum kb_code decode(struct decoded *d, AVFrame *f, struct kb_error *err)
{
    for (;; av_frame_unref(f)) {
        enum kb_code code = demux_decode(&d->source, f, err);
        if (code != KB_OK)
            return code;
        if (f->nb_samples <= 0 || f->sample_rate <= 0 || f->ch_layout.nb_channels <= 0)
            continue;
        float peak;
        if (samples_mend(f, d->gain, &peak, &d->facts.n_bad) < 0)
            return kb_no_memory(err);
        if (d->is_lossy && peak > LOUDEST) {
            d->source.n_broken++;
            continue;
        }
        d->facts.peak = KB_MAX(d->facts.peak, peak);
        if (f->ch_layout.order == AV_CHANNEL_ORDER_UNSPEC)
            av_channel_layout_default(&f->ch_layout, f->ch_layout.nb_channels);
        return KB_OK;
    }
}

// One more into the queue. KB_EOF: there is none.
static enum kb_code read_one(struct decoded *d, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    enum kb_code code = f ? decode(d, f, err) : kb_no_memory(err);
    if (code != KB_OK)
        return code;
    struct upcoming *a = &d->ahead[d->n_ahead++];
    *a = (struct upcoming){.damaged = has_broken(d)};
    int64_t stamp = f->pts != AV_NOPTS_VALUE ? f->pts : f->best_effort_timestamp;
    a->piece.length = av_rescale(f->nb_samples, CLOCK_HZ, f->sample_rate);
    a->piece.stamped = clock_stamp(&d->source, stamp, CLOCK_HZ, &a->piece.stamp);
    a->frame = TAKE(f);
    return KB_OK;
}

static enum kb_code look_ahead(struct decoded *d, struct kb_error *err)
{
    while (!d->ended && d->n_ahead < CLOCK_AHEAD) {
        enum kb_code code = read_one(d, err);
        if (code == KB_EOF)
            code = next_part(d, err);
        if (code == KB_EOF)
            d->ended = true;
        else if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

// --- placing ---

static void note_hole(struct decoded *d, int64_t at, int64_t length)
{
    struct sound_facts *f = &d->facts;
    double seconds = (double)length / (double)CLOCK_HZ;
    f->missing_s += seconds;
    if (f->n_holes < SOUND_HOLES)
        f->holes[f->n_holes] = (struct sound_hole){(double)at / (double)CLOCK_HZ, seconds};
    f->n_holes++;
}

// Where does ahead[0] begin, and what comes before it?
static enum kb_code place(struct decoded *d, struct kb_error *err)
{
    struct upcoming *a = &d->ahead[0];
    struct piece pieces[CLOCK_AHEAD];
    for (int i = 0; i < d->n_ahead; i++)
        pieces[i] = d->ahead[i].piece;
    bool first = !d->clock.started;
    int64_t end = KB_MAX(d->clock.next, 0);
    int64_t at = clock_place(&d->clock, pieces, d->n_ahead);
    // A sound that begins later than the picture lacks nothing.
    if (at > end && (!first || a->damaged))
        note_hole(d, end, at - end);
    d->silence = av_rescale(KB_MAX(at - end, 0), a->frame->sample_rate, CLOCK_HZ);
    int early =
        at < 0 ? (int)av_rescale(KB_MIN(-at, a->piece.length), a->frame->sample_rate, CLOCK_HZ) : 0;
    d->placed = true;
    if (early >= a->frame->nb_samples)
        a->frame->nb_samples = 0;
    else if (early > 0 && samples_cut(a->frame, early) < 0)
        return kb_no_memory(err);
    return KB_OK;
}

// What was lost at the end, where no later frame tells of it.
static void find_tail(struct decoded *d)
{
    int64_t end;
    if (!has_broken(d) || d->rate_hz == 0 ||
        !clock_stamp(&d->source, d->source.read_end, CLOCK_HZ, &end))
        return;
    int64_t lost = end + d->clock.shift - d->clock.next;
    if (lost < CLOCK_HZ / 1000000 * TAIL_US || lost > CLOCK_HZ / 1000000 * MAX_TAIL_US)
        return;
    note_hole(d, d->clock.next, lost);
    d->silence = av_rescale(lost, d->rate_hz, CLOCK_HZ);
}

// The format of what comes next is that of a frame.
static enum kb_code follow_format(struct decoded *d, const AVFrame *f, struct kb_error *err)
{
    bool same = f->sample_rate == d->rate_hz && f->format == d->format &&
                av_channel_layout_compare(&f->ch_layout, &d->layout) == 0;
    if (same)
        return KB_OK;
    d->facts.changes += d->rate_hz > 0;
    d->rate_hz = f->sample_rate;
    d->format = f->format;
    return av_channel_layout_copy(&d->layout, &f->ch_layout) < 0 ? kb_no_memory(err) : KB_OK;
}

static enum kb_code give_silence(struct decoded *d, AVFrame **ret, struct kb_error *err)
{
    int n = (int)KB_MIN(d->silence, SILENCE_SAMPLES);
    *ret = samples_silence(d->format, d->rate_hz, &d->layout, n);
    if (!*ret)
        return kb_no_memory(err);
    d->silence -= n;
    return KB_OK;
}

enum kb_code decoded_next(struct decoded *d, AVFrame **ret, struct kb_error *err)
{
    for (;;) {
        enum kb_code code = cancel_check(d->cancel, err);
        if (code == KB_OK && d->silence > 0)
            return give_silence(d, ret, err);
        if (code == KB_OK)
            code = look_ahead(d, err);
        if (code != KB_OK)
            return code;
        if (d->n_ahead == 0) {
            find_tail(d);
            if (d->silence > 0)
                continue;
            return KB_EOF;
        }
        if (!d->placed) {
            code = follow_format(d, d->ahead[0].frame, err);
            if (code == KB_OK)
                code = place(d, err);
            if (code != KB_OK)
                return code;
            continue;
        }
        AVFrame *f = d->ahead[0].frame;
        d->n_ahead--;
        memmove(d->ahead, d->ahead + 1, (size_t)d->n_ahead * sizeof(*d->ahead));
        d->placed = false;
        if (f->nb_samples > 0) {
            *ret = f;
            return KB_OK;
        }
        av_frame_free(&f);
    }
}

const AVFrame *decoded_first(const struct decoded *d)
{
    return d->n_ahead > 0 ? d->ahead[0].frame : NULL;
}

enum kb_code decoded_open(struct decoded *d, const char *path, float gain,
                          const struct cancel *cancel, struct kb_error *err)
{
    *d = (struct decoded){.path = kb_strdup(path), .gain = gain > 0 ? gain : 1, .cancel = cancel};
    enum kb_code code = open_part(d, 0, err);
    if (code == KB_OK) {
        d->duration_us = demux_duration_us(&d->source);
        code = look_ahead(d, err);
    }
    if (code == KB_OK && d->n_ahead == 0)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("no sound of '%s' can be decoded: the file is cut short or damaged; copy "
                         "or export it again"),
                       path);
    if (code != KB_OK)
        decoded_close(d);
    return code;
}

void decoded_close(struct decoded *d)
{
    for (int i = 0; i < d->n_ahead; i++)
        av_frame_free(&d->ahead[i].frame);
    av_channel_layout_uninit(&d->layout);
    demux_close(&d->source);
    free(d->path);
    *d = (struct decoded){0};
}
