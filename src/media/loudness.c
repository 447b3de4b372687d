#include "media/loudness.h"

#include "media/demux.h"
#include "media/filters.h"
#include "media/sound.h"

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define RATE    48000
#define SAMPLES (180LL * RATE)

// What the filter has said so far; the last one counts.
static int take_all(AVFilterContext *out, AVFrame *f, double *ret)
{
    int e;
    while ((e = av_buffersink_get_frame(out, f)) >= 0) {
        const AVDictionaryEntry *i = av_dict_get(f->metadata, "lavfi.r128.I", NULL, 0);
        double value = i ? strtod(i->value, NULL) : -70;
        if (i && isfinite(value))
            *ret = value;
        av_frame_unref(f);
    }
    return e == AVERROR(EAGAIN) || e == AVERROR_EOF ? 0 : e;
}

static enum kb_code measure(struct filters *filters, struct sound *sound, double *ret,
                            struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    CLEANUP(av_frame_free) AVFrame *heard = av_frame_alloc();
    if (!f || !heard)
        return kb_no_memory(err);
    enum kb_code code = KB_OK;
    int e = 0;
    for (int64_t n = 0; n < SAMPLES && code == KB_OK && e >= 0;) {
        code = sound_next(sound, f, err);
        if (code != KB_OK)
            break;
        n += f->nb_samples;
        e = av_buffersrc_add_frame(filters->in, f); // empties f
        if (e >= 0)
            e = take_all(filters->out, heard, ret);
    }
    if (code != KB_OK && code != KB_EOF)
        return code;
    if (e >= 0)
        e = av_buffersrc_add_frame(filters->in, NULL);
    if (e >= 0)
        e = take_all(filters->out, heard, ret);
    return e < 0 ? kb_fail(err, ffmpeg_code(e), _("the loudness cannot be measured: %s"),
                           ffmpeg_error(e))
                 : KB_OK;
}

enum kb_code loudness_of(double *ret, const char *path, float gain, const struct cancel *cancel,
                         struct kb_error *err)
{
    CLEANUP(sound_close) struct sound *sound = NULL;
    const struct sound_params sp = {.rate_hz = RATE,
                                    .channels = 2,
                                    .format = AV_SAMPLE_FMT_FLT,
                                    .gain = gain,
                                    .cancel = cancel};
    enum kb_code code = sound_open(&sound, path, &sp, err);
    if (code != KB_OK)
        return code;
    struct filters filters = {0};
    char args[160];
    snprintf(args, sizeof(args),
             "time_base=1/%d:sample_rate=%d:sample_fmt=flt:channel_layout=stereo", RATE, RATE);
    *ret = -70;
    int e = filters_build(&filters, "abuffer", "abuffersink", args,
                          "ebur128=metadata=1:framelog=verbose", 1);
    code = e >= 0 ? measure(&filters, sound, ret, err)
                  : kb_fail(err, ffmpeg_code(e), _("the loudness cannot be measured: %s"),
                            ffmpeg_error(e));
    avfilter_graph_free(&filters.graph);
    return code;
}
