// The last BLEND_MS of the file are kept back in a fifo. At its end it is opened again, and what is
// kept is blended with its beginning: with equal power, for the two have nothing in common.
#include "media/repeat.h"

#include <math.h>
#include <stdlib.h>

#include <libavutil/audio_fifo.h>

#define BLEND_MS 1500
#define CHANNELS 2

struct repeat {
    const char *path;
    struct sound_params params;
    struct sound *sound;
    AVAudioFifo *fifo;
    AVFrame *frame;
    int blend;    // samples that are kept back
    int64_t read; // of this time through the file
};

static enum kb_code begin(struct repeat *r, struct kb_error *err)
{
    sound_close(&r->sound);
    r->read = 0;
    return sound_open(&r->sound, r->path, &r->params, err);
}

enum kb_code repeat_open(struct repeat **ret, const char *path, const struct sound_params *params,
                         struct kb_error *err)
{
    CLEANUP(repeat_close) struct repeat *r = kb_alloc(sizeof(*r));
    r->path = path;
    r->params = *params;
    r->blend = params->rate_hz * BLEND_MS / 1000;
    r->frame = av_frame_alloc();
    r->fifo = av_audio_fifo_alloc(AV_SAMPLE_FMT_FLTP, CHANNELS, 2 * r->blend);
    if (!r->frame || !r->fifo)
        return kb_no_memory(err);
    enum kb_code code = begin(r, err);
    if (code == KB_OK)
        *ret = TAKE(r);
    return code;
}

// At least n samples into the fifo, unless the file ends. *ended tells.
static enum kb_code fill(struct repeat *r, int n, bool *ended, struct kb_error *err)
{
    while (av_audio_fifo_size(r->fifo) < n) {
        enum kb_code code = sound_next(r->sound, r->frame, err);
        *ended = code == KB_EOF;
        if (code != KB_OK)
            return *ended ? KB_OK : code;
        r->read += r->frame->nb_samples;
        int e =
            av_audio_fifo_write(r->fifo, (void **)r->frame->extended_data, r->frame->nb_samples);
        av_frame_unref(r->frame);
        if (e < 0)
            return kb_no_memory(err);
    }
    return KB_OK;
}

static AVFrame *take(struct repeat *r, int n)
{
    AVFrame *f = av_frame_alloc();
    if (!f)
        return NULL;
    f->format = AV_SAMPLE_FMT_FLTP;
    f->nb_samples = n;
    av_channel_layout_default(&f->ch_layout, CHANNELS);
    if (av_frame_get_buffer(f, 0) < 0 ||
        av_audio_fifo_read(r->fifo, (void **)f->extended_data, n) < n)
        av_frame_free(&f);
    return f;
}

// The file has ended, its last samples are in the fifo: from here on its beginning is.
static enum kb_code turn(struct repeat *r, struct kb_error *err)
{
    if (r->read == 0)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' holds no sound that can be read"), r->path);
    bool ended = false, blends = r->read >= 2 * r->blend;
    int n = av_audio_fifo_size(r->fifo);
    CLEANUP(av_frame_free) AVFrame *tail = blends ? take(r, n) : NULL;
    if (blends && !tail)
        return kb_no_memory(err);
    enum kb_code code = begin(r, err);
    if (code == KB_OK && blends)
        code = fill(r, n, &ended, err);
    if (code != KB_OK || !blends)
        return code;
    int got = av_audio_fifo_size(r->fifo);
    CLEANUP(av_frame_free) AVFrame *head = take(r, got);
    if (!head)
        return kb_no_memory(err);
    for (int c = 0; c < CHANNELS; c++) {
        float *to = (float *)head->extended_data[c];
        const float *from = (const float *)tail->extended_data[c];
        for (int i = 0; i < KB_MIN(n, got); i++) {
            double at = (i + 0.5) / n * M_PI / 2;
            to[i] = (float)(to[i] * sin(at) + from[i] * cos(at));
        }
    }
    return av_audio_fifo_write(r->fifo, (void **)head->extended_data, got) < 0 ? kb_no_memory(err)
                                                                               : KB_OK;
}

enum kb_code repeat_next(struct repeat *r, AVFrame *frame, int most, struct kb_error *err)
{
    for (;;) {
        bool ended = false;
        enum kb_code code = fill(r, most + r->blend, &ended, err);
        if (code != KB_OK)
            return code;
        bool keeps = !ended || r->read >= 2 * r->blend; // a short one is not blended
        int n = KB_MIN(av_audio_fifo_size(r->fifo) - (keeps ? r->blend : 0), most);
        if (n > 0) {
            frame->nb_samples = n;
            return av_audio_fifo_read(r->fifo, (void **)frame->extended_data, n) < n
                       ? kb_no_memory(err)
                       : KB_OK;
        }
        code = turn(r, err);
        if (code != KB_OK)
            return code;
    }
}

void repeat_close(struct repeat **r)
{
    if (!*r)
        return;
    sound_close(&(*r)->sound);
    av_frame_free(&(*r)->frame);
    if ((*r)->fifo)
        av_audio_fifo_free((*r)->fifo);
    free(*r);
    *r = NULL;
}
