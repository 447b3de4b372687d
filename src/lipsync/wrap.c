#include "lipsync/wrap.h"

#include "media/sound.h"

#include <libavutil/mathematics.h>

static enum kb_code open_join(struct join **ret, const char *path, const struct dub_params *p,
                              AVRational rate, struct kb_error *err)
{
    const struct join_params jp = {.path = path,
                                   .frame_rate = rate,
                                   .threads = engine_threads(p->threads),
                                   .cancel = p->watch.cancel};
    return path && p->look_us <= 0 ? join_open(ret, &jp, err) : KB_OK;
}

static struct mix_piece piece_of(const struct join *j, const char *path, bool loudnorm)
{
    return (struct mix_piece){.path = join_has_sound(j) ? path : NULL,
                              .from_us = join_sound_from_us(j),
                              .length_us = join_length_us(j),
                              .loudnorm = loudnorm};
}

void wrap_plan_mix(struct wrap *w, const struct dub_params *p, const struct sound_facts *speech,
                   int64_t speech_us)
{
    struct mix_params *m = &w->mix;
    m->cancel = p->watch.cancel;
    m->music = p->music;
    m->music.to_us = w->output_us;
    if (w->intro) {
        m->pieces[m->n_pieces++] = piece_of(w->intro, p->intro, p->loudnorm);
        m->music.from_us = join_has_sound(w->intro) ? w->before_us : 0;
    }
    m->speech = m->n_pieces;
    m->pieces[m->n_pieces++] = (struct mix_piece){
        .path = p->audio,
        .length_us = w->dub_us,
        .gain = speech && speech->peak > 1 && speech->n_broken == 0 ? 1 / speech->peak : 0,
        .loudnorm = p->loudnorm};
    if (w->outro) {
        m->pieces[m->n_pieces++] = piece_of(w->outro, p->outro, p->loudnorm);
        if (join_has_sound(w->outro))
            m->music.to_us = w->before_us + w->dub_us;
    }
    if (p->look_us > 0) // as loud as in the whole, not faded at the look's end
        m->music.to_us = KB_MAX(speech_us, m->music.to_us + INT64_C(10000000));
    w->mixed = w->intro || w->outro || p->music.path;
}

enum kb_code wrap_open(struct wrap *ret, const struct dub_params *p,
                       const struct timeline_params *source, AVRational frame_rate,
                       const struct sound_facts *speech, int64_t speech_us, struct kb_error *err)
{
    *ret = (struct wrap){.dub_us = source->length_us};
    enum kb_code code = open_join(&ret->intro, p->intro, p, frame_rate, err);
    if (code == KB_OK)
        code = open_join(&ret->outro, p->outro, p, frame_rate, err);
    if (code != KB_OK) {
        wrap_clear(ret);
        return code;
    }
    if (ret->outro)
        ret->dub_us = timeline_end_us(source);
    ret->before_us = ret->intro ? join_length_us(ret->intro) : 0;
    ret->output_us = ret->before_us + ret->dub_us + (ret->outro ? join_length_us(ret->outro) : 0);
    wrap_plan_mix(ret, p, speech, speech_us);
    return KB_OK;
}

static void report(void *opaque, const struct progress *p)
{
    const struct wrap *w = opaque;
    watch_tell(&w->watch, p->stage, w->frames_before + p->done,
               w->frames_before + p->total + w->frames_after);
}

struct watch wrap_watch(struct wrap *w, const struct watch *watch)
{
    w->watch = *watch;
    w->frames_before = w->intro ? join_frames(w->intro) : 0;
    w->frames_after = w->outro ? join_frames(w->outro) : 0;
    return (struct watch){watch->cancel, report, w};
}

enum kb_code wrap_play(struct wrap *w, enum finish_part part, const struct finish_picture *picture,
                       struct finisher *finisher, struct writer *writer, int64_t *ret_frames,
                       struct kb_error *err)
{
    bool first = part == PART_INTRO;
    struct join *j = first ? w->intro : w->outro;
    if (!j)
        return KB_OK;
    // The frames of the dub are not known before, but are as good as its time tells.
    AVRational rate = picture->frame_rate;
    int64_t dub = av_rescale(w->dub_us, rate.num, INT64_C(1000000) * rate.den);
    int64_t outro = w->outro ? join_frames(w->outro) : 0;
    w->frames_before = first ? 0 : dub + (w->intro ? join_frames(w->intro) : 0);
    w->frames_after = first ? dub + outro : 0;
    const struct join_place place = {.part = part,
                                     .at_us = first ? 0 : w->before_us + w->dub_us,
                                     .picture = *picture,
                                     .finisher = finisher,
                                     .writer = writer,
                                     .watch = {w->watch.cancel, report, w}};
    *ret_frames += join_frames(j);
    return join_play(j, &place, err);
}

void wrap_clear(struct wrap *w)
{
    join_close(&w->intro);
    join_close(&w->outro);
}
