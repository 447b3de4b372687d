#include "media/pieces.h"

#include "base/file.h"
#include "base/utf8.h"
#include "media/filters.h"
#include "media/demux.h"
#include "media/recital.h"
#include "media/sound.h"

#include <errno.h>
#include <fcntl.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_S   1200 // of one sentence
#define LEAST_HZ 8000
#define MOST_HZ  48000

// What was decoded of one piece.
struct heard {
    int16_t *samples;
    size_t n, capacity;
    int rate_hz;
};

static bool keep(struct heard *h, const float *samples, int n)
{
    if (h->n + (size_t)n > (size_t)MOST_S * (size_t)h->rate_hz)
        return false;
    if (h->n + (size_t)n > h->capacity) {
        size_t capacity = KB_MAX(2 * h->capacity, h->n + (size_t)n);
        int16_t *grown = reallocarray(h->samples, capacity, sizeof(*grown));
        if (!grown)
            return false;
        h->samples = grown;
        h->capacity = capacity;
    }
    for (int i = 0; i < n; i++)
        h->samples[h->n++] = (int16_t)lrintf(fmaxf(-1, fminf(samples[i], 1)) * 32767);
    return true;
}

// --- faster or slower, at the same pitch

static enum kb_code drain(struct heard *h, struct filters *f, AVFrame *frame, struct kb_error *err)
{
    int e;
    while ((e = av_buffersink_get_frame(f->out, frame)) >= 0) {
        bool kept = keep(h, (const float *)frame->data[0], frame->nb_samples);
        av_frame_unref(frame);
        if (!kept)
            return KB_BAD_INPUT;
    }
    return e == AVERROR(EAGAIN) || e == AVERROR_EOF
               ? KB_OK
               : kb_fail(err, KB_INTERNAL, "atempo: %s", ffmpeg_error(e));
}

static enum kb_code open_tempo(struct filters *f, int rate_hz, double tempo, struct kb_error *err)
{
    char args[120], chain[80];
    snprintf(args, sizeof(args), "sample_rate=%d:sample_fmt=flt:channel_layout=mono:time_base=1/%d",
             rate_hz, rate_hz);
    snprintf(chain, sizeof(chain), "atempo=%.4f,aformat=sample_fmts=flt:channel_layouts=mono",
             fmax(0.5, fmin(tempo, 2)));
    int e = filters_build(f, "abuffer", "abuffersink", args, chain, 1);
    return e >= 0 ? KB_OK : kb_fail(err, KB_INTERNAL, "atempo: %s", ffmpeg_error(e));
}

// --- one piece

static enum kb_code decode(struct heard *h, struct sound *sound, const struct pieces *p,
                           struct filters *tempo, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *frame = av_frame_alloc();
    CLEANUP(av_frame_free) AVFrame *made = av_frame_alloc();
    enum kb_code code = frame && made ? KB_OK : kb_no_memory(err);
    while (code == KB_OK) {
        code = cancel_check(p->cancel, err);
        if (code == KB_OK)
            code = sound_next(sound, frame, err);
        if (code != KB_OK)
            break;
        if (!tempo->graph) {
            if (!keep(h, (const float *)frame->data[0], frame->nb_samples))
                code = KB_BAD_INPUT; // too long, or there is no memory for it
        } else if (av_buffersrc_add_frame(tempo->in, frame) < 0) {
            code = kb_no_memory(err);
        } else {
            code = drain(h, tempo, made, err);
        }
        av_frame_unref(frame);
    }
    if (code == KB_EOF && tempo->graph)
        return av_buffersrc_add_frame(tempo->in, NULL) < 0 ? kb_no_memory(err)
                                                           : drain(h, tempo, made, err);
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code read_piece(struct heard *h, const struct pieces *p, struct kb_error *err)
{
    CLEANUP(sound_close) struct sound *sound = NULL;
    struct filters tempo = {0};
    struct sound_params params = {
        .rate_hz = h->rate_hz, .channels = 1, .format = AV_SAMPLE_FMT_FLT, .cancel = p->cancel};
    enum kb_code code = sound_open(&sound, p->scratch, &params, err);
    if (code == KB_OK && h->rate_hz == 0) {
        h->rate_hz = KB_MAX(LEAST_HZ, KB_MIN(sound_rate_hz(sound), MOST_HZ));
        if (h->rate_hz != sound_rate_hz(sound)) {
            sound_close(&sound);
            params.rate_hz = h->rate_hz;
            code = sound_open(&sound, p->scratch, &params, err);
        }
    }
    if (code == KB_OK && p->tempo > 0 && fabs(p->tempo - 1) > 0.001)
        code = open_tempo(&tempo, h->rate_hz, p->tempo, err);
    if (code == KB_OK)
        code = decode(h, sound, p, &tempo, err);
    avfilter_graph_free(&tempo.graph);
    return code;
}

// The next size bytes of the pieces into a file of their own.
static enum kb_code cut_out(int from, int64_t at, int64_t size, const char *to,
                            struct kb_error *err)
{
    CLEANUP(kb_freep) char *buffer = size > 0 && size <= INT32_MAX ? malloc((size_t)size) : NULL;
    size_t got = 0;
    if (!buffer)
        return size > 0 && size <= INT32_MAX ? kb_no_memory(err)
                                             : kb_fail(err, KB_BAD_INPUT, _("it is empty"));
    while (got < (size_t)size) {
        ssize_t n = pread(from, buffer + got, (size_t)size - got, at + (int64_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return kb_fail(err, KB_INTERNAL, _("the speech is not whole; make it again"));
        got += (size_t)n;
    }
    return file_write_cached(to, buffer, (size_t)size, err);
}

static enum kb_code join(struct recital **ret, int fd, const char *text,
                         const struct sentence *sentences, const struct pieces *p,
                         struct kb_error *err)
{
    int rate_hz = 0;
    int64_t at = 0;
    for (int i = 0; i < p->n; i++) {
        struct heard heard = {.rate_hz = rate_hz};
        const struct sentence *s = &sentences[i];
        enum kb_code code = cut_out(fd, at, p->sizes[i], p->scratch, err);
        if (code == KB_OK)
            code = read_piece(&heard, p, err);
        at += p->sizes[i];
        rate_hz = heard.rate_hz;
        if (code == KB_OK && !*ret)
            code = recital_open(ret, text, rate_hz, p->pause_ms, err);
        else if (code == KB_BAD_INPUT) // a sentence of its own: that one names a file of ours
            kb_fail(err, code, _("what the voice answered to '%.*s' is no sound"),
                    utf8_fit(text + s->first, (int)KB_MIN(s->n, (size_t)60)), text + s->first);
        if (code == KB_OK)
            code = recital_say(*ret, s, heard.samples, heard.n, NULL, 0, err);
        free(heard.samples);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

enum kb_code pieces_join(const char *path, const char *text, const struct pieces *p,
                         struct words *ret_words, struct kb_error *err)
{
    CLEANUP(recital_close) struct recital *r = NULL;
    CLEANUP(kb_freep) struct sentence *sentences = NULL;
    int n = 0;
    if (!sentences_find(text, &sentences, &n))
        return kb_no_memory(err);
    if (n != p->n || n == 0)
        return kb_fail(err, KB_INTERNAL, _("the speech is not whole; make it again"));
    int fd = open(p->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kb_fail(err, KB_INTERNAL, _("the speech is not whole; make it again"));
    enum kb_code code = join(&r, fd, text, sentences, p, err);
    close(fd);
    unlink(p->scratch);
    if (code == KB_OK && recital_is_empty(r))
        code = kb_fail(err, KB_BAD_INPUT, _("the voice said nothing: all of it is silence"));
    return code == KB_OK ? recital_write(r, path, ret_words, err) : code;
}
