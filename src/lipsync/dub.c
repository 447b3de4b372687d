// A dub end to end. See dub.h for the threads; the stages themselves are in pipeline.c.
#include "lipsync/dub.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/lead.h"
#include "lipsync/pipeline.h"
#include "lipsync/speech.h"
#include "lipsync/style.h"
#include "media/audio.h"
#include "media/reader.h"
#include "media/writer.h"

#include <stdlib.h>
#include <string.h>

#define SPARE_BYTES (16 << 20) // room that must be free beside the estimated output

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
    return (struct dub_params){
        .crf = -1, .mask_feather = -1, .mask_dilate = -1, .mouth_amount = 1, .still_motion = 0.5f};
}

// One budget for the process, divided as it was fastest (docs/performance.md): the stages wait for
// each other, so their threads may be half as many again as there are processors. While a track is
// made, decoding is half of the work and may use all.
static int thread_count(int threads)
{
    return threads > 0 ? threads : kb_cpu_count();
}

static int decoder_threads(int threads)
{
    return KB_MAX(thread_count(threads) / 2, 1);
}

static int encoder_threads(int threads)
{
    return thread_count(threads) * 3 / 2;
}

// --- before the work ---

// A generous guess of the output's size in bytes.
static int64_t estimate_bytes(const struct reader_info *v, int64_t length_us)
{
    // CRF 18 seldom needs more than 0.15 bits a pixel at 25 fps; a source bitrate may be higher.
    int64_t bits = (int64_t)v->width * v->height * 15 / 100 * 25;
    bits = KB_MAX(bits, v->bitrate) + 192000;
    return bits / 8 * (length_us / 1000000 + 1);
}

static enum kb_code check_inputs(const struct dub_params *p, struct reader **ret_film,
                                 int64_t *ret_bytes, struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *audio = NULL;
    CLEANUP(reader_close) struct reader *video = NULL, *mouth_from = NULL, *style_from = NULL;
    struct audio_params ap = {.cancel = p->watch.cancel};
    struct reader_params rp = {.height = p->height, .cancel = p->watch.cancel};

    enum kb_code code = audio_open(&audio, p->audio, &ap, err);
    if (code == KB_OK)
        code = reader_open(&video, p->video, &rp, err);
    if (code == KB_OK && p->mouth_from)
        code = reader_open(&mouth_from, p->mouth_from, &rp, err);
    if (code == KB_OK && p->style_from)
        code = reader_open(&style_from, p->style_from, &rp, err);
    if (code != KB_OK)
        return code;
    const struct reader_info *info = reader_info(video);
    if (p->start_us > 0 && info->duration_us > 0 && p->start_us >= info->duration_us)
        return kb_fail(err, KB_BAD_INPUT,
                       _("--start %.3f s lies behind the end of '%s' (%.3f s); choose an earlier "
                         "start"),
                       (double)p->start_us / 1e6, p->video, (double)info->duration_us / 1e6);
    int64_t length = audio_duration_us(audio);
    if (p->keep_video)
        length = KB_MAX(length, info->duration_us);
    if (p->duration_us > 0)
        length = KB_MIN(length, p->duration_us);
    *ret_bytes = estimate_bytes(info, length);
    *ret_film = TAKE(video);
    return KB_OK;
}

enum kb_code dub_check(const struct dub_params *p, struct reader **ret_film, struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *film = NULL;
    int64_t bytes = 0;
    if (file_same(p->video, p->output) || file_same(p->audio, p->output) ||
        (p->mouth_from && file_same(p->mouth_from, p->output)) ||
        (p->style_from && file_same(p->style_from, p->output)))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the output '%s' is one of the inputs; choose another name"), p->output);
    enum kb_code code = check_inputs(p, &film, &bytes, err);
    if (code == KB_OK)
        code = file_check_writable(p->output, bytes + SPARE_BYTES, err);
    if (code == KB_OK && ret_film)
        *ret_film = TAKE(film);
    return code;
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

// With --keep-video: up to the end of the video's last frame, which is shown for last_us.
static int64_t kept_length_us(const struct dub_params *p, const struct track *track,
                              int64_t last_us, int64_t speech_us)
{
    int n = track_info(track)->n_frames;
    int64_t end = track_pts_us(track, n - 1) + last_us;
    if (last_us == 0 && n > 1) // as long as the one before
        end += end - track_pts_us(track, n - 2);
    int64_t length = KB_MAX(end - p->start_us, speech_us);
    return p->duration_us > 0 ? KB_MIN(length, p->duration_us) : length;
}

static enum kb_code open_writer(struct writer **ret, const struct dub_params *p,
                                const struct reader_info *v, const struct mel *mel,
                                int64_t length_us, struct kb_error *err)
{
    struct writer_params wp = {
        .width = v->width,
        .height = v->height,
        .frame_rate = timeline_rate(v->frame_rate),
        .sample_aspect = v->sample_aspect,
        .range = v->range,
        .space = v->space,
        .primaries = v->primaries,
        .transfer = v->transfer,
        .crf = p->crf >= 0 ? p->crf : 18,
        .bitrate = p->bitrate_source ? v->bitrate : 0,
        .preset = p->preset,
        .threads = encoder_threads(p->threads),
        .audio_path = p->audio,
        .audio_facts = mel_sound(mel),
        .loudnorm = p->loudnorm,
        .max_duration_us = length_us,
        .comment = p->note,
        .cancel = p->watch.cancel,
    };
    if (p->bitrate_source && v->bitrate <= 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("--bitrate source: '%s' does not say its bitrate; use --crf instead"),
                       p->video);
    return writer_open(ret, p->output, &wp, err);
}

static struct cropper make_cropper(const struct dub_params *p, const struct track *track, int face,
                                   const struct reader_info *v)
{
    const struct track_info *t = track_info(track);
    struct cropper c = {
        .track = track,
        .face = face,
        .scale_x = (float)v->width / (float)t->width,
        .scale_y = (float)v->height / (float)t->height,
        .frame_width = v->width,
        .frame_height = v->height,
        .nosmooth = p->nosmooth,
    };
    static const int published[4] = {0, 10, 0, 0};
    for (int i = 0; i < 4; i++) // pads are pixels of the source, like the track
        c.pads[i] =
            (float)(p->pads_set ? p->pads[i] : published[i]) * (i < 2 ? c.scale_y : c.scale_x);
    return c;
}

static enum kb_code no_face(const char *video, struct kb_error *err)
{
    return kb_fail(
        err, KB_BAD_INPUT,
        _("no face was found in '%s'; use a video in which a face is seen from the front, "
          "well lit and at least about 60 pixels wide"),
        video);
}

// All that is at hand when the frames begin.
struct dub {
    struct engine *engine;
    const struct dub_params *p;
    const struct mel *mel;
    const struct motion *motion; // told by the listener; NULL with a network that paints
    const struct track *track;
    int face;
    struct reader *reader;
    int64_t length_us, last_us;
};

static struct timeline_params timeline_of(const struct dub *d)
{
    return (struct timeline_params){.reader = d->reader,
                                    .track = d->track,
                                    .loop = d->p->loop,
                                    .start_us = d->p->start_us,
                                    .length_us = d->length_us,
                                    .last_us = d->last_us};
}

// How long the output becomes, once the film is known to its end.
static enum kb_code settle_length(struct dub *d, struct kb_error *err)
{
    struct timeline_params source = timeline_of(d);
    if (d->p->keep_video)
        source.length_us = INT64_MAX;
    enum kb_code code = timeline_measure(&source, err);
    if (code == KB_OK && d->p->keep_video)
        d->length_us = kept_length_us(d->p, d->track, source.last_us, d->length_us);
    d->last_us = source.last_us;
    return code;
}

static enum kb_code choose_face(struct dub *d, struct kb_error *err)
{
    if (track_info(d->track)->n_faces == 0)
        return no_face(d->p->video, err);
    d->face = track_choose(d->track, d->p->face, d->p->face_number, err);
    return d->face >= 0 ? KB_OK : KB_NOT_FOUND;
}

// From the first frame on, as the dub wants them.
static enum kb_code restart_film(struct reader *film, const struct dub_params *p,
                                 struct kb_error *err)
{
    struct reader_params rp = {.height = p->height,
                               .denoise = p->denoise,
                               .threads = decoder_threads(p->threads),
                               .cancel = p->watch.cancel};
    return reader_restart(film, &rp, err);
}

// How the network paints, whether that is shown or only looked at.
static struct pipeline_params painting_of(const struct dub *d)
{
    const struct dub_params *p = d->p;
    return (struct pipeline_params){
        .source = timeline_of(d),
        .lanes = d->engine->lanes,
        .n_lanes = d->engine->n_lanes,
        .mel = d->mel,
        .cropper = make_cropper(p, d->track, d->face, reader_info(d->reader)),
        .paste = {.feather = p->mask_feather >= 0 ? p->mask_feather : 0.10f,
                  .dilate = p->mask_dilate >= 0 ? p->mask_dilate : 0.04f,
                  .sharpen = p->sharpen}};
}

// The progress of a job that goes through its film twice, where every frame counts for two, or
// through other films after its own.
struct passes {
    const struct watch *watch;
    int64_t first; // frames of the passes before; 0 while the first of two runs
};

static void report_pass(void *opaque, const struct progress *p)
{
    const struct passes *s = opaque;
    watch_tell(s->watch, p->stage, s->first + p->done,
               s->first > 0 ? s->first + p->total : 2 * p->total);
}

// What the rig needs, decided before the first frame.
struct rigging {
    struct motion *led;    // of a network that leads; else NULL
    struct motion *styled; // told by the listener, as the person does it; NULL: nothing was learnt
    struct style style;
    struct passes passes;
    struct track *mouth_from, *style_from;
    struct rig *rig;
    struct plan *plan;
};

static void rigging_clear(struct rigging *r)
{
    plan_free(&r->plan);
    rig_free(&r->rig);
    motion_free(&r->led);
    motion_free(&r->styled);
    track_free(&r->mouth_from);
    track_free(&r->style_from);
}

// Another film of the person, of which the largest face counts. Its frames come after those that
// were looked at before.
static enum kb_code read_other(struct track **ret, struct rigging *r, const struct dub *d,
                               const char *video, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    struct track_params tp = {.decoder_threads = thread_count(p->threads),
                              .cache_limit = p->track_cache_limit,
                              .watch = {p->watch.cancel, report_pass, &r->passes}};
    int64_t before = r->passes.first > 0 ? r->passes.first : track_info(d->track)->n_frames;
    r->passes = (struct passes){&p->watch, before};
    enum kb_code code = track_obtain(ret, video, p->track_folder, d->engine->faces, &tp, NULL, err);
    if (code != KB_OK)
        return code;
    r->passes.first += track_info(*ret)->n_frames;
    return track_info(*ret)->n_faces == 0 ? no_face(video, err) : KB_OK;
}

static void say_style(const struct style *s, const char *video, bool asked_for)
{
    CLEANUP(kb_freep) char *found = style_describe(s);
    if (s->verdict == STYLE_LEARNT)
        log_verbose(_("the way of speaking of '%s': %s"), video, found);
    else if (asked_for)
        log_warn(_("the way of speaking of '%s' is not used, at most how far the mouth opens: %s"),
                 video, found);
    else
        log_verbose(
            _("the way of speaking of '%s' is not used, at most how far the mouth opens: %s"),
            video, found);
}

// How the person speaks, and the listener's motion as they do it.
static enum kb_code read_style(struct rigging *r, const struct dub *d, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    bool other = p->style_from && !file_same(p->style_from, p->video);
    if (p->no_style || !d->motion || (!other && track_info(d->track)->n_frames == 1))
        return KB_OK;
    const struct track *track = d->track;
    enum kb_code code = KB_OK;
    if (other && p->mouth_from && file_same(p->style_from, p->mouth_from)) {
        track = r->mouth_from;
    } else if (other) {
        code = read_other(&r->style_from, r, d, p->style_from, err);
        track = r->style_from;
    }
    if (code != KB_OK)
        return code;
    struct style_film f = {.video = other ? p->style_from : p->video,
                           .info = other ? NULL : reader_info(d->reader),
                           .track = track,
                           .face = other ? 0 : d->face,
                           .listener = d->engine->motion,
                           .folder = p->track_folder,
                           .cancel = p->watch.cancel};
    code = style_obtain(&r->style, &f, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", f.video);
    say_style(&r->style, f.video, other);
    return r->style.verdict == STYLE_LEARNT ? style_apply(&r->styled, &r->style, d->motion, err)
                                            : KB_OK;
}

// The range of the opening to which the plan stretches the motion; 0, 0: it stays.
static void own_range(const struct rigging *r, const struct dub *d, float *ret_low, float *ret_high)
{
    const struct person *person = rig_person(r->rig);
    bool whole = !d->p->lead && (d->p->no_style || r->styled);
    *ret_low = *ret_high = 0;
    if (!whole && r->style.speaks) {
        *ret_low = r->style.range_low;
        *ret_high = r->style.range_high;
    } else if (!whole && person->speaks) {
        *ret_low = person->aperture_low;
        *ret_high = person->aperture_high;
    }
}

// The motion, out of what the network paints.
static enum kb_code follow_painting(struct rigging *r, const struct dub *d, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    struct lead_params lp = {
        .painting = painting_of(d), .person = rig_person(r->rig), .faces = d->engine->faces};
    int64_t frames;
    r->passes = (struct passes){&p->watch, 0};
    lp.painting.watch = (struct watch){p->watch.cancel, report_pass, &r->passes};
    enum kb_code code = lead_run(&r->led, &frames, &lp, err);
    if (code != KB_OK)
        return code == KB_BAD_INPUT ? kb_wrap(err, "'%s'", p->video) : code;
    r->passes.first = frames;
    return restart_film(d->reader, p, err);
}

static enum kb_code prepare_rig(struct rigging *r, const struct dub *d, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    const struct reader_info *v = reader_info(d->reader);
    const struct track_info *t = track_info(d->track);
    enum kb_code code =
        p->mouth_from ? read_other(&r->mouth_from, r, d, p->mouth_from, err) : KB_OK;
    if (code == KB_OK)
        code = read_style(r, d, err);
    if (code != KB_OK)
        return code;
    struct rig_params rp = {.track = d->track,
                            .face = d->face,
                            .follow = d->engine->follow,
                            .mouth_from = r->mouth_from,
                            .cancel = p->watch.cancel};
    code = rig_create(&r->rig, &rp, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", p->video);
    code = p->lead ? follow_painting(r, d, err) : KB_OK;
    if (code != KB_OK)
        return code;
    struct plan_params pp = {.rig = r->rig,
                             .track = d->track,
                             .face = d->face,
                             .motion = p->lead     ? r->led
                                       : r->styled ? r->styled
                                                   : d->motion,
                             .source = timeline_of(d),
                             .speech_us = mel_duration_us(d->mel),
                             .amount = p->mouth_amount,
                             .still_motion = p->still_motion,
                             .scale_x = (float)v->width / (float)t->width,
                             .scale_y = (float)v->height / (float)t->height,
                             .cancel = p->watch.cancel};
    own_range(r, d, &pp.own_low, &pp.own_high);
    code = plan_create(&r->plan, &pp, err);
    if (code == KB_OK && mouths_drawn(rig_mouths(r->rig)))
        log_verbose(_("'%s' shows no open mouth: the inside is drawn; --mouth-from takes it from "
                      "another film of the person"),
                    p->video);
    if (code == KB_OK && !r->styled)
        log_verbose(_("the mouth opens %.2f times as far as the mean speaker's"),
                    (double)plan_gain(r->plan));
    return code;
}

static enum kb_code run_stages(const struct dub *d, struct dub_result *ret, struct clock *clock,
                               struct kb_error *err)
{
    const struct dub_params *p = d->p;
    const struct reader_info *info = reader_info(d->reader);
    CLEANUP(rigging_clear) struct rigging rigging = {0};
    CLEANUP(writer_close) struct writer *writer = NULL;
    bool moves = d->motion || p->lead;
    enum kb_code code = moves ? prepare_rig(&rigging, d, err) : KB_OK;
    if (code == KB_OK)
        code = open_writer(&writer, p, info, d->mel, d->length_us, err);
    if (code != KB_OK)
        return code;
    struct pipeline_params pp = moves ? (struct pipeline_params){.source = timeline_of(d),
                                                                 .rig = rigging.rig,
                                                                 .plan = rigging.plan,
                                                                 .mel = d->mel}
                                      : painting_of(d);
    pp.writer = writer;
    pp.watch = p->watch;
    if (p->lead) // the second time through the film
        pp.watch = (struct watch){p->watch.cancel, report_pass, &rigging.passes};
    code = pipeline_run(&pp, &ret->frames, &ret->frames_animated, &ret->seconds, err);
    lap(clock, STAGE_GENERATING);
    if (code != KB_OK)
        return code;
    watch_tell(&p->watch, STAGE_FINISHING, 0, 1);
    code = writer_finish(writer, err);
    if (code == KB_OK)
        watch_tell(&p->watch, STAGE_FINISHING, 1, 1);
    lap(clock, STAGE_FINISHING);
    return code;
}

enum kb_code dub_run(struct engine *e, const struct dub_params *p, struct dub_result *ret,
                     struct kb_error *err)
{
    CLEANUP(mel_free) struct mel *own_mel = NULL;
    CLEANUP(reader_close) struct reader *own_film = NULL;
    CLEANUP(track_free) struct track *track = NULL;
    CLEANUP(motion_free) struct motion *motion = NULL;
    struct dub_result result = {0};
    struct clock clock = {kb_now_us(), result.stage_s};
    const struct watch quiet = {.cancel = p->watch.cancel};

    enum kb_code code = p->film ? KB_OK : dub_check(p, &own_film, err);
    struct reader *film = p->film ? p->film : own_film;
    if (code == KB_OK && p->lead)
        code = engine_prepare_lead(e, err);
    if (code == KB_OK && !p->mel)
        code = speech_hear(&own_mel, p->audio, p->audio, p->loudnorm, &p->watch, err);
    const struct mel *mel = p->mel ? p->mel : own_mel;
    if (code == KB_OK && e->motion)
        code = motion_run(&motion, e->motion, mel, &quiet, err);
    lap(&clock, STAGE_AUDIO);
    if (code != KB_OK)
        return code;

    int64_t length_us = speech_length_us(p, mel);
    struct track_params tp = {.limit_us = p->keep_video ? 0 : p->start_us + length_us,
                              .film = film,
                              .decoder_threads = thread_count(p->threads),
                              .cache_limit = p->track_cache_limit,
                              .watch = p->watch};
    code =
        track_obtain(&track, p->video, p->track_folder, e->faces, &tp, &result.track_cached, err);
    lap(&clock, STAGE_PREPROCESSING);
    struct dub d = {.engine = e,
                    .p = p,
                    .mel = mel,
                    .motion = motion,
                    .track = track,
                    .reader = film,
                    .length_us = length_us};
    if (code == KB_OK)
        code = choose_face(&d, err);
    if (code == KB_OK)
        code = settle_length(&d, err);
    if (code == KB_OK)
        code = engine_prepare_int8(e, p->video, track, mel, &p->watch, err);
    if (code == KB_OK)
        code = restart_film(film, p, err);
    if (code == KB_OK)
        code = run_stages(&d, &result, &clock, err);
    if (code != KB_OK)
        return code;
    result.width = reader_info(film)->width;
    result.height = reader_info(film)->height;
    *ret = result;
    return KB_OK;
}
