// A dub end to end. See dub.h for the threads; the stages themselves are in pipeline.c.
#include "lipsync/dub.h"

#include "base/log.h"
#include "lipsync/dub_internal.h"
#include "lipsync/kept.h"
#include "lipsync/pipeline.h"
#include "lipsync/subtitles.h"
#include "lipsync/vad.h"
#include "lipsync/wrap.h"
#include "media/aigc.h"
#include "media/reader.h"
#include "media/writer.h"

#include <stdlib.h>
#include <string.h>

bool loop_mode_parse(const char *text, enum loop_mode *ret)
{
    static const char *const names[] = {"pingpong", "restart", "freeze", "none"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum loop_mode)i;
            return true;
        }
    }
    return false;
}

struct dub_params dub_defaults(void)
{
    return (struct dub_params){.face_at = {0, 0, -1},
                               .crf = -1,
                               .mask_feather = -1,
                               .mask_dilate = -1,
                               .mouth_amount = 1,
                               .still_motion = 0.5f,
                               .music = {.volume = 0.5f},
                               .look_from_us = -1};
}

// One budget for the process, divided as it was fastest (docs/performance.md): the stages wait for
// each other, so their threads may be half as many again as there are processors. While a track is
// made, decoding is half of the work and may use all.
static int decoder_threads(int threads)
{
    return KB_MAX(engine_threads(threads) / 2, 1);
}

static int encoder_threads(int threads)
{
    return engine_threads(threads) * 3 / 2;
}

// --- the job ---

struct clock {
    int64_t since_us;
    double *stage_s;
};

static void lap(struct clock *c, enum stage stage)
{
    int64_t now = kb_now_us();
    c->stage_s[stage] += (double)(now - c->since_us) / 1e6;
    c->since_us = now;
}

// How long the output becomes when nothing of the video is kept beyond the speech.
static int64_t speech_length_us(const struct dub_params *p, const struct mel *mel)
{
    int64_t length = mel_duration_us(mel);
    return p->duration_us > 0 ? KB_MIN(length, p->duration_us) : length;
}

// How far the film is looked at for a dub of that length; 0: to its end.
static int64_t track_limit(const struct dub_params *p, int64_t length_us)
{
    return p->keep_video ? 0 : p->start_us + length_us;
}

// With --keep-video: up to the end of the video's last frame, which is shown for last_us.
static int64_t kept_length_us(const struct dub_params *p, const struct timeline_params *source,
                              int64_t speech_us)
{
    int n = track_info(source->track)->n_frames;
    int64_t end = track_pts_us(source->track, n - 1) + source->last_us;
    if (source->last_us == 0 && n > 1) // as long as the one before
        end += end - track_pts_us(source->track, n - 2);
    int64_t length = KB_MAX(end - timeline_begin_us(source), speech_us);
    return p->duration_us > 0 ? KB_MIN(length, p->duration_us) : length;
}

static struct cropper make_cropper(const struct dub_params *p, const struct track *track,
                                   const struct reader_info *v, int side)
{
    const struct track_info *t = track_info(track);
    struct cropper c = {
        .track = track,
        .scale_x = (float)v->width / (float)t->width,
        .scale_y = (float)v->height / (float)t->height,
        .frame_width = v->width,
        .frame_height = v->height,
        .nosmooth = p->nosmooth,
        .side = side,
    };
    static const int published[4] = {0, 10, 0, 0};
    for (int i = 0; i < 4; i++) // pads are pixels of the source, like the track
        c.pads[i] =
            (float)(p->pads_set ? p->pads[i] : published[i]) * (i < 2 ? c.scale_y : c.scale_x);
    return c;
}

// All that is at hand when the frames begin.
struct dub {
    struct engine *engine;
    const struct dub_params *p;
    const struct mel *mel;
    const struct motion *motion; // told by the listener; NULL with a network that paints
    const struct track *track;
    const struct cast *cast;
    struct reader *reader;
    struct dub_kept *kept;
    int64_t length_us, last_us;
    int64_t from_us; // where a look begins
};

static struct timeline_params timeline_of(const struct dub *d)
{
    return (struct timeline_params){.reader = d->reader,
                                    .track = d->track,
                                    .loop = d->p->loop,
                                    .start_us = d->p->start_us,
                                    .length_us = d->length_us,
                                    .from_us = d->from_us,
                                    .last_us = d->last_us};
}

// What the film has beside its pictures; what of it the result will not have is said.
static enum kb_code read_extras(struct extras *ret, const struct dub *d, struct kb_error *err)
{
    const struct timeline_params source = timeline_of(d);
    const struct reader_info *v = reader_info(d->reader);
    const char *film = d->p->video;
    if (v->is_still)
        return KB_OK;
    enum kb_code code = extras_read(ret, film, v->start_us, d->p->watch.cancel, err);
    if (code == KB_OK)
        code = subtitles_place(ret, &source, err);
    if (code != KB_OK)
        return code;
    if (ret->n_lost_subtitles > 0)
        log_info(_("'%s': %d tracks of subtitles are pictures or of another kind that mp4 does not "
                   "keep; they are left out"),
                 film, ret->n_lost_subtitles);
    if (ret->n_sounds > 1)
        log_info(_("'%s' has %d sound tracks; all are left out, the speech is the only sound"),
                 film, ret->n_sounds);
    if (ret->has_alpha)
        log_info(_("'%s' has transparency, which mp4 does not keep"), film);
    return KB_OK;
}

static struct finish_source finish_source_of(const struct dub *d, const struct wrap *wrap)
{
    return (struct finish_source){.track = d->track,
                                  .cast = d->cast,
                                  .length_us = d->length_us,
                                  .before_us = wrap->before_us,
                                  .output_us = wrap->output_us,
                                  .threads = engine_threads(d->p->threads),
                                  .cancel = d->p->watch.cancel};
}

// What becomes of the pictures after the mouth; NULL where nothing does. picture: how they leave.
static enum kb_code open_finisher(struct finisher **ret, struct subtitles *ret_subtitles,
                                  const struct dub *d, const struct wrap *wrap,
                                  struct finish_picture *picture, struct kb_error *err)
{
    const struct finish_source source = finish_source_of(d, wrap);
    struct finish_params params = d->p->finish;
    enum kb_code code =
        subtitles_load(ret_subtitles, &d->p->finish.captions, d->mel, source.cancel, err);
    params.captions.loaded = ret_subtitles->captions;
    return code == KB_OK ? finisher_open(ret, &params, &source, picture, err) : code;
}

// Pictures that nothing is drawn into pass as they are encoded, where all that follows keeps them.
static enum kb_code open_pass(struct pass **ret, const struct pipeline_params *pp,
                              const struct dub_params *p, struct kb_error *err)
{
    bool asked = !p->encode_all && p->look_us <= 0 && !p->bitrate_source && !pp->finisher;
    return asked ? pipeline_find_pass(ret, pp, err) : KB_OK;
}

static enum kb_code open_writer(struct writer **ret, const struct dub *d,
                                const struct finish_picture *picture, const struct extras *extras,
                                const struct subtitles *subtitles, const struct wrap *wrap,
                                const struct pass *pass, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    const struct reader_info *v = reader_info(d->reader);
    CLEANUP(kb_freep) char *aigc = aigc_make(p->finish.label.producer, NULL);
    CLEANUP(kb_freep) char *cues = p->note ? subtitles_tag(subtitles, wrap->before_us) : NULL;
    CLEANUP(kb_freep) char *mark = label_note(&p->finish.label);
    struct writer_params wp = {
        .width = picture->width,
        .height = picture->height,
        .deep = picture->deep,
        .alpha = picture->alpha,
        .frame_rate = picture->frame_rate,
        .sample_aspect = picture->sample_aspect,
        .range = v->range,
        .space = v->space,
        .primaries = v->primaries,
        .transfer = v->transfer,
        .crf = p->crf >= 0 ? p->crf : 18,
        .bitrate = p->bitrate_source ? v->bitrate : 0,
        .preset = p->preset,
        .threads = encoder_threads(p->threads),
        .audio_path = p->audio,
        .audio_facts = mel_sound(d->mel),
        .mix = wrap->mixed ? &wrap->mix : NULL,
        .loudnorm = p->loudnorm,
        .audio_from_us = d->from_us,
        .max_duration_us = wrap->output_us - d->from_us,
        .subtitles = extras->tracks,
        .n_subtitles = extras->n_tracks,
        .comment = p->note,
        .cues = cues,
        .aigc = aigc,
        .mark = mark,
        .original = pass ? pass_original(pass) : NULL,
        .cancel = p->watch.cancel,
    };
    return writer_open(ret, p->output, &wp, err);
}

// How long the output becomes, once the film is known to its end.
static enum kb_code settle_length(struct dub *d, struct kb_error *err)
{
    struct timeline_params source = timeline_of(d);
    if (d->p->keep_video)
        source.length_us = INT64_MAX;
    enum kb_code code = timeline_measure(&source, err);
    if (code == KB_OK && d->p->keep_video)
        d->length_us = kept_length_us(d->p, &source, d->length_us);
    d->last_us = source.last_us;
    return code;
}

// Nobody is large enough, or stands as they should.
static enum kb_code nobody(const struct dub_params *p, const struct cast_gaps *gaps,
                           struct kb_error *err)
{
    if (gaps->n_small > 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the face in '%s' is too small: %.0f pixels high; %d are needed, or %d if "
                         "it is found in every frame. Use a video in which it is larger"),
                       p->video, (double)gaps->size, CAST_SAFE_PX, CAST_LEAST_PX);
    return kb_fail(err, KB_BAD_INPUT,
                   _("the face in '%s' is upside down, and the network paints upright ones only; "
                     "turn the video, or leave out --model"),
                   p->video);
}

static enum kb_code make_cast(struct cast **ret, const struct dub_params *p,
                              const struct track *track, bool paints, struct kb_error *err)
{
    if (track_info(track)->n_faces == 0)
        return no_face(p->video, err);
    const struct cast_params cp = {.choice = p->face,
                                   .number = p->face_number,
                                   .at = {p->face_at[0], p->face_at[1], p->face_at[2]},
                                   .upright = paints};
    enum kb_code code = cast_make(ret, track, &cp, err);
    if (code != KB_OK)
        return code;
    const struct cast_gaps *gaps = cast_gaps(*ret);
    if (cast_count(*ret) == 0)
        return nobody(p, gaps, err);
    if (gaps->n_small > 0)
        log_warn(_("'%s': in %d views of the film the face is too small (%.0f pixels high) and "
                   "stays as it is"),
                 p->video, gaps->n_small, (double)gaps->size);
    if (gaps->n_turned > 0)
        log_warn(_("'%s': in %d views of the film the face is upside down and stays as it is"),
                 p->video, gaps->n_turned);
    return KB_OK;
}

// From the first frame on, as the dub wants them.
static enum kb_code restart_film(struct reader *film, const struct dub_params *p,
                                 struct kb_error *err)
{
    struct reader_params rp = {.height = p->height,
                               .denoise = p->denoise,
                               .deep = dub_is_deep(p),
                               .threads = decoder_threads(p->threads),
                               .cancel = p->watch.cancel};
    return reader_restart(film, &rp, err);
}

// How the network paints, whether that is shown or only looked at.
static struct pipeline_params painting_of(const struct dub *d)
{
    const struct dub_params *p = d->p;
    int side = lips_side(d->engine->lips);
    return (struct pipeline_params){
        .source = timeline_of(d),
        .lanes = d->engine->lanes,
        .n_lanes = d->engine->n_lanes,
        .mel = d->mel,
        .cast = d->cast,
        .cropper = make_cropper(p, d->track, reader_info(d->reader), side),
        .paste = {.side = side,
                  .feather = p->mask_feather >= 0 ? p->mask_feather : 0.10f,
                  .dilate = p->mask_dilate >= 0 ? p->mask_dilate : 0.04f,
                  .sharpen = p->sharpen}};
}

// What the rig needs to know of this dub.
static struct rigging_params rigging_of(const struct dub *d)
{
    return (struct rigging_params){.p = d->p,
                                   .engine = d->engine,
                                   .mel = d->mel,
                                   .motion = d->motion,
                                   .track = d->track,
                                   .cast = d->cast,
                                   .film = reader_info(d->reader),
                                   .source = timeline_of(d)};
}

// Who draws the frames: a rig with its plan, or a network. A network that leads the rig goes
// through the film first, from the beginning of the output on.
static enum kb_code make_painters(struct pipeline_params *ret, const struct dub *d,
                                  struct kb_error *err)
{
    struct dub_kept *k = d->kept;
    if (!d->motion)
        *ret = painting_of(d);
    if (!d->motion && !d->p->lead)
        return KB_OK;
    struct rigging_params rp = rigging_of(d);
    rp.painting = *ret;
    rp.painting.source.from_us = 0;
    enum kb_code code = KB_OK;
    if (kept_wants_people(k, d->p))
        code = rigging_make(&k->people, &rp, err);
    if (code != KB_OK) {
        kb_freep(&k->people_key);
        return code;
    }
    code = rigging_plan(&k->people, &rp, err);
    *ret =
        (struct pipeline_params){.source = timeline_of(d), .plan = k->people.plan, .mel = d->mel};
    return code;
}

// The pictures, from the first one of the intro to the last one of the outro.
static enum kb_code play(struct wrap *wrap, struct pipeline_params *pp,
                         const struct finish_picture *picture, struct dub_result *ret,
                         struct kb_error *err)
{
    int64_t around = 0;
    struct pipeline_result done = {0};
    const struct watch watch = pp->watch;
    pp->watch = wrap_watch(wrap, &watch);
    pp->before_us = wrap->before_us;
    enum kb_code code =
        wrap_play(wrap, PART_INTRO, picture, pp->finisher, pp->writer, &around, err);
    wrap_watch(wrap, &watch);
    if (code == KB_OK)
        code = pipeline_run(pp, &done, err);
    if (code == KB_OK)
        code = wrap_play(wrap, PART_OUTRO, picture, pp->finisher, pp->writer, &around, err);
    ret->frames = done.frames + around;
    ret->frames_animated = done.animated;
    ret->frames_copied = done.passed;
    ret->seconds =
        wrap->outro ? (double)wrap->output_us / 1e6 : done.seconds + (double)wrap->before_us / 1e6;
    return code;
}

// What is around the dub, and the film's subtitles in all of it.
static enum kb_code open_around(struct wrap *wrap, struct extras *extras, const struct dub *d,
                                AVRational frame_rate, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    const struct timeline_params source = timeline_of(d);
    enum kb_code code = wrap_open(wrap, p, &source, frame_rate, mel_sound(d->mel),
                                  speech_length_us(p, d->mel), err);
    if (code == KB_OK && p->look_us <= 0)
        code = read_extras(extras, d, err);
    if (code == KB_OK)
        subtitles_shift(extras, wrap->before_us);
    return code;
}

static enum kb_code run_stages(const struct dub *d, struct dub_result *ret, struct clock *clock,
                               struct kb_error *err)
{
    const struct dub_params *p = d->p;
    CLEANUP(wrap_clear) struct wrap wrap = {0};
    CLEANUP(extras_clear) struct extras extras = {0};
    CLEANUP(subtitles_clear) struct subtitles subtitles = {0};
    CLEANUP(finisher_close) struct finisher *finisher = NULL;
    CLEANUP(pass_free) struct pass *pass = NULL;
    CLEANUP(writer_close) struct writer *writer = NULL;
    struct finish_picture picture = dub_picture(reader_info(d->reader));
    struct pipeline_params pp = {0};
    enum kb_code code = make_painters(&pp, d, err);
    if (code == KB_OK && p->lead)
        code = restart_film(d->reader, p, err);
    if (code == KB_OK)
        code = open_around(&wrap, &extras, d, picture.frame_rate, err);
    if (code == KB_OK)
        code = open_finisher(&finisher, &subtitles, d, &wrap, &picture, err);
    if (code == KB_OK && p->look_us <= 0)
        subtitles_stream(&subtitles, wrap.before_us, &extras);
    pp.finisher = finisher;
    pp.watch = p->watch;
    if (code == KB_OK)
        code = open_pass(&pass, &pp, p, err);
    if (code == KB_OK)
        code = open_writer(&writer, d, &picture, &extras, &subtitles, &wrap, pass, err);
    if (code != KB_OK)
        return code;
    pp.writer = writer;
    pp.pass = writer_passes(writer) ? pass : NULL;
    if (p->lead) // the second time through the film
        pp.watch = (struct watch){p->watch.cancel, passes_report, &d->kept->people.passes};
    code = play(&wrap, &pp, &picture, ret, err);
    lap(clock, STAGE_GENERATING);
    if (code != KB_OK)
        return code;
    watch_tell(&p->watch, STAGE_FINISHING, 0, 1);
    if (p->subtitles)
        subtitles_give(&subtitles, wrap.before_us, p->subtitles);
    else if (p->look_us <= 0)
        code = subtitles_write(&subtitles, wrap.before_us, p->output, err);
    if (code == KB_OK)
        code = writer_finish(writer, err);
    if (code == KB_OK)
        watch_tell(&p->watch, STAGE_FINISHING, 1, 1);
    lap(clock, STAGE_FINISHING);
    ret->from_s = (double)d->from_us / 1e6;
    ret->width = picture.width;
    ret->height = picture.height;
    return code;
}

// Where the voice begins, a moment before it is heard; 0 where none is.
static enum kb_code find_voice(int64_t *ret_us, const struct mel *mel, struct kb_error *err)
{
    const int step = 2;
    int n = (mel_columns(mel) - 1) / step + 1, i = 0;
    CLEANUP(kb_freep) float *voice = kb_calloc_checked((size_t)n, sizeof(*voice));
    if (!voice)
        return kb_no_memory(err);
    enum kb_code code = vad_find(voice, n, step, mel, err);
    while (i < n && voice[i] <= 0)
        i++;
    *ret_us = i == n ? 0 : (int64_t)i * step * 1000000 / MEL_PER_S;
    return code;
}

// A look is the dub up to the end of the look, of which the first part is not shown.
static enum kb_code settle_look(struct dub_params *p, struct dub *d, struct kb_error *err)
{
    int64_t from_us = p->look_from_us;
    enum kb_code code = from_us < 0 ? find_voice(&from_us, d->mel, err) : KB_OK;
    d->from_us = KB_MAX(KB_MIN(from_us, d->length_us - p->look_us), 0);
    d->length_us = KB_MIN(d->from_us + p->look_us, d->length_us);
    p->keep_video = false;
    p->intro = p->outro = NULL;
    return code;
}

// All that must be known before the first frame. p is the dub's own, and changed in a look.
static enum kb_code make_ready(struct dub *d, struct dub_params *p, struct dub_result *ret,
                               struct clock *clock, struct kb_error *err)
{
    struct dub_kept *k = d->kept;
    d->p = p;
    enum kb_code code = p->lead ? engine_prepare_lead(d->engine, err) : KB_OK;
    if (code == KB_OK)
        code = kept_hear(k, d->engine, p, &d->mel, err);
    lap(clock, STAGE_AUDIO);
    if (code != KB_OK)
        return code;
    d->motion = k->motion;
    d->length_us = speech_length_us(p, d->mel);
    if (p->look_us > 0)
        code = settle_look(p, d, err);
    if (code == KB_OK)
        code = kept_track(k, d->engine->faces, p, d->reader, track_limit(p, d->length_us),
                          &ret->track_cached, err);
    lap(clock, STAGE_PREPROCESSING);
    d->track = k->track;
    if (code == KB_OK && p->look_us > 0) { // its pictures are as long as those of the whole
        const struct timeline_params source = timeline_of(d);
        int64_t from_us = timeline_shown_us(&source, d->from_us);
        d->length_us -= d->from_us - from_us;
        d->from_us = from_us;
    }
    if (code == KB_OK && kept_wants_cast(k, p))
        code = make_cast(&k->cast, p, k->track, !d->engine->motion, err);
    d->cast = k->cast;
    if (code == KB_OK)
        code = settle_length(d, err);
    if (code == KB_OK && p->look_us <= 0)
        code = engine_prepare_int8(d->engine, p->video, d->track, d->mel, &p->watch, err);
    return code;
}

enum kb_code dub_run(struct engine *e, const struct dub_params *params, struct dub_result *ret,
                     struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *own_film = NULL;
    CLEANUP(dub_kept_free) struct dub_kept *own = params->kept ? NULL : dub_kept_create();
    struct dub_params p = *params;
    dub_settle_rows(&p);
    struct dub_result result = {0};
    struct clock clock = {kb_now_us(), result.stage_s};
    enum kb_code code = p.film ? KB_OK : dub_check(&p, &own_film, err);
    struct dub d = {.engine = e, .reader = p.film ? p.film : own_film, .kept = own ? own : p.kept};
    if (code == KB_OK)
        code = make_ready(&d, &p, &result, &clock, err);
    if (code == KB_OK)
        code = restart_film(d.reader, &p, err);
    if (code == KB_OK)
        code = run_stages(&d, &result, &clock, err);
    if (code != KB_OK)
        return code;
    *ret = result;
    return KB_OK;
}

// --- ahead of it

enum kb_code dub_prepare(struct face_models *faces, const struct dub_params *params,
                         struct kb_error *err)
{
    struct dub_params half = *params, *p = &half;
    half.threads = decoder_threads(params->threads); // the dub beside it has the rest
    CLEANUP(reader_close) struct reader *film = NULL;
    const struct reader_params rp = {.deep = dub_is_deep(p), .cancel = p->watch.cancel};
    bool cached;
    enum kb_code code = reader_open(&film, p->video, &rp, err);
    if (code == KB_OK)
        code = kept_track(p->kept, faces, p, film, track_limit(p, speech_length_us(p, p->mel)),
                          &cached, err);
    return code;
}

// --- one frame

static enum kb_code take_still(void *onlooker, const struct shown_frame *shown, bool animated,
                               struct kb_error *err)
{
    AVFrame **ret = onlooker;
    (void)animated;
    av_frame_free(ret);
    *ret = av_frame_clone(shown->frame);
    return *ret ? KB_OK : kb_no_memory(err);
}

enum kb_code dub_still(struct engine *e, const struct dub_params *params, int64_t at_us,
                       AVFrame **ret, struct kb_error *err)
{
    CLEANUP(subtitles_clear) struct subtitles subtitles = {0};
    CLEANUP(finisher_close) struct finisher *finisher = NULL;
    CLEANUP(av_frame_free) AVFrame *frame = NULL;
    struct dub_params p = *params;
    dub_settle_rows(&p);
    struct dub_result told = {0};
    struct clock clock = {kb_now_us(), told.stage_s};
    struct dub d = {.engine = e, .kept = p.kept};
    struct pipeline_params pp = {0};
    enum kb_code code = kept_open(d.kept, &p, err);
    d.reader = d.kept->reader;
    if (code == KB_OK)
        code = make_ready(&d, &p, &told, &clock, err);
    if (code == KB_OK && p.lead) // the network goes through the film first
        code = restart_film(d.reader, &p, err);
    if (code == KB_OK)
        code = make_painters(&pp, &d, err);
    if (code != KB_OK)
        return code;
    pp.source.from_us = KB_MIN(d.from_us + KB_MAX(at_us, 0), d.length_us - 1);
    code = kept_frame(d.kept, &p, &pp.source, err);
    struct finish_picture picture = dub_picture(reader_info(d.reader));
    if (code == KB_OK)
        code = open_finisher(&finisher, &subtitles, &d, &(struct wrap){.output_us = d.length_us},
                             &picture, err);
    pp.only = &d.kept->frame;
    pp.finisher = finisher;
    pp.look = take_still;
    pp.onlooker = &frame;
    pp.watch.cancel = p.watch.cancel;
    if (code == KB_OK)
        code = pipeline_run(&pp, &(struct pipeline_result){0}, err);
    if (code == KB_OK)
        *ret = TAKE(frame);
    return code;
}
