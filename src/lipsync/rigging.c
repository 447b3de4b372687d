#include "lipsync/rigging.h"

#include "base/file.h"
#include "base/log.h"
#include "lipsync/lead.h"

#include <stdlib.h>

// Of a person who is seen in fewer frames it is not known how far the mouth opens in speech.
#define KNOWN_FRAMES 75

void rigging_clear(struct rigging *r)
{
    plan_free(&r->plan);
    for (int i = 0; i < TRACK_MAX_FACES; i++) {
        rig_free(&r->members[i].rig);
        motion_free(&r->members[i].styled);
    }
    motion_free(&r->led);
    track_free(&r->mouth_from);
    track_free(&r->style_from);
}

enum kb_code no_face(const char *video, struct kb_error *err)
{
    return kb_fail(
        err, KB_BAD_INPUT,
        _("no face was found in '%s'; use a video in which a face is seen from the front, "
          "well lit and at least about 60 pixels wide"),
        video);
}

void passes_report(void *opaque, const struct progress *p)
{
    const struct passes *s = opaque;
    watch_tell(s->watch, p->stage, s->first + p->done,
               s->first > 0 ? s->first + p->total : 2 * p->total);
}

// --- other films ---

// Another film of the person, of which the largest face counts. Its frames come after those that
// were looked at before.
static enum kb_code read_other(struct track **ret, struct rigging *r,
                               const struct rigging_params *d, const char *video, const char *key,
                               struct kb_error *err)
{
    const struct dub_params *p = d->p;
    struct track_params tp = {.video_hash = key,
                              .decoder_threads = engine_threads(p->threads),
                              .cache_limit = p->track_cache_limit,
                              .deep = d->film->deep,
                              .watch = {p->watch.cancel, passes_report, &r->passes}};
    int64_t before = r->passes.first > 0 ? r->passes.first : track_info(d->track)->n_frames;
    r->passes = (struct passes){&p->watch, before};
    enum kb_code code = track_obtain(ret, video, p->track_folder, d->engine->faces, &tp, NULL, err);
    if (code != KB_OK)
        return code;
    r->passes.first += track_info(*ret)->n_frames;
    return track_info(*ret)->n_faces == 0 ? no_face(video, err) : KB_OK;
}

// --- rigs ---

// Those whose landmarks make no face stay as they are, unless that is all of them.
static enum kb_code make_rigs(struct rigging *r, const struct rigging_params *d,
                              struct kb_error *err)
{
    struct kb_error why = {0};
    enum kb_code code = KB_OK;
    int n = 0;
    for (int i = 0; i < cast_count(d->cast) && (code == KB_OK || code == KB_BAD_INPUT); i++) {
        struct rig_params rp = {.track = d->track,
                                .face = cast_face(d->cast, i),
                                .follow = d->engine->follow,
                                .mouth_from = r->mouth_from,
                                .cancel = d->p->watch.cancel};
        code = rig_create(&r->members[i].rig, &rp, &why);
        n += code == KB_OK;
        if (code != KB_OK)
            kb_wrap(&why, "'%s'", d->p->video);
        if (code == KB_BAD_INPUT && cast_count(d->cast) > 1)
            log_verbose("%s", why.text);
    }
    if (code == KB_OK || (code == KB_BAD_INPUT && n > 0))
        return KB_OK;
    if (err)
        *err = why;
    return code;
}

// --- the way of speaking ---

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

// The members whose own film is to be looked at, and how they speak there.
static enum kb_code learn_from_film(struct rigging *r, const struct rigging_params *d,
                                    struct kb_error *err)
{
    int members[TRACK_MAX_FACES], faces[TRACK_MAX_FACES], n = 0;
    CLEANUP(kb_freep) struct style *styles = kb_alloc(TRACK_MAX_FACES * sizeof(*styles));
    for (int i = 0; i < cast_count(d->cast); i++)
        if (r->members[i].rig) {
            members[n] = i;
            faces[n++] = cast_face(d->cast, i);
        }
    struct style_film f = {.video = d->p->video,
                           .info = d->film,
                           .track = d->track,
                           .listener = d->engine->motion,
                           .folder = d->p->track_folder,
                           .cancel = d->p->watch.cancel};
    enum kb_code code = style_obtain(styles, &f, faces, n, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", f.video);
    for (int i = 0; i < n; i++) {
        r->members[members[i]].style = styles[i];
        say_style(&styles[i], f.video, false);
    }
    return KB_OK;
}

static enum kb_code learn_from_other(struct rigging *r, const struct rigging_params *d,
                                     struct kb_error *err)
{
    const struct dub_params *p = d->p;
    const struct track *track = r->mouth_from;
    enum kb_code code = KB_OK;
    if (!p->mouth_from || !file_same(p->style_from, p->mouth_from)) {
        code = read_other(&r->style_from, r, d, p->style_from, p->style_key, err);
        track = r->style_from;
    }
    if (code != KB_OK)
        return code;
    struct style style;
    struct style_film f = {.video = p->style_from,
                           .track = track,
                           .listener = d->engine->motion,
                           .folder = p->track_folder,
                           .cancel = p->watch.cancel};
    code = style_obtain(&style, &f, &(int){0}, 1, err);
    if (code != KB_OK)
        return kb_wrap(err, "'%s'", f.video);
    say_style(&style, f.video, true);
    for (int i = 0; i < cast_count(d->cast); i++)
        r->members[i].style = style;
    return KB_OK;
}

// How those in the film speak, and the listener's motion as they do it.
static enum kb_code read_styles(struct rigging *r, const struct rigging_params *d,
                                struct kb_error *err)
{
    const struct dub_params *p = d->p;
    bool other = p->style_from && !file_same(p->style_from, p->video);
    if (p->no_style || !d->motion || (!other && track_info(d->track)->n_frames == 1))
        return KB_OK;
    enum kb_code code = other ? learn_from_other(r, d, err) : learn_from_film(r, d, err);
    for (int i = 0; i < cast_count(d->cast) && code == KB_OK; i++)
        if (r->members[i].rig && r->members[i].style.verdict == STYLE_LEARNT)
            code = style_apply(&r->members[i].styled, &r->members[i].style, d->motion, err);
    return code;
}

// The range of the opening to which the plan stretches the motion; 0, 0: it stays.
static void own_range(const struct rigging *r, const struct rigging_params *d, int member,
                      float *ret_low, float *ret_high)
{
    int lead = cast_lead(d->cast);
    bool whole = !d->p->lead && (d->p->no_style || r->members[member].styled);
    // Most often it is the same person, seen for too short a time.
    if (rig_person(r->members[member].rig)->n_frames < KNOWN_FRAMES && r->members[lead].rig)
        member = lead;
    const struct person *person = rig_person(r->members[member].rig);
    const struct style *style = &r->members[member].style;
    *ret_low = *ret_high = 0;
    if (!whole && style->speaks) {
        *ret_low = style->range_low;
        *ret_high = style->range_high;
    } else if (!whole && person->speaks) {
        *ret_low = person->aperture_low;
        *ret_high = person->aperture_high;
    }
}

// --- a network that leads ---

// The motion, out of what the network paints.
static enum kb_code follow_painting(struct rigging *r, const struct rigging_params *d,
                                    struct kb_error *err)
{
    const struct dub_params *p = d->p;
    const struct person *persons[TRACK_MAX_FACES] = {0};
    for (int i = 0; i < cast_count(d->cast); i++)
        persons[i] = r->members[i].rig ? rig_person(r->members[i].rig) : NULL;
    struct lead_params lp = {
        .painting = d->painting, .persons = persons, .faces = d->engine->faces};
    int64_t frames;
    r->passes = (struct passes){&p->watch, 0};
    lp.painting.watch = (struct watch){p->watch.cancel, passes_report, &r->passes};
    enum kb_code code = lead_run(&r->led, &frames, &lp, err);
    if (code != KB_OK)
        return code == KB_BAD_INPUT ? kb_wrap(err, "'%s'", p->video) : code;
    r->passes.first = frames;
    return KB_OK;
}

// --- the plan ---

enum kb_code rigging_plan(struct rigging *r, const struct rigging_params *d, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    const struct track_info *t = track_info(d->track);
    for (int i = 0; i < cast_count(d->cast); i++) {
        struct plan_part *part = &r->parts[i];
        if (!r->members[i].rig)
            continue;
        struct motion *styled = r->members[i].styled;
        *part = (struct plan_part){.rig = r->members[i].rig,
                                   .motion = p->lead  ? r->led
                                             : styled ? styled
                                                      : d->motion};
        own_range(r, d, i, &part->own_low, &part->own_high);
    }
    struct plan_params pp = {.track = d->track,
                             .cast = d->cast,
                             .parts = r->parts,
                             .source = d->source,
                             .speech_us = mel_duration_us(d->mel),
                             .amount = p->mouth_amount,
                             .still_motion = p->still_motion,
                             .scale_x = (float)d->film->width / (float)t->width,
                             .scale_y = (float)d->film->height / (float)t->height,
                             .cancel = p->watch.cancel};
    plan_free(&r->plan);
    enum kb_code code = plan_create(&r->plan, &pp, err);
    int lead = cast_lead(d->cast);
    if (code != KB_OK || !r->parts[lead].rig)
        return code;
    if (mouths_drawn(rig_mouths(r->parts[lead].rig)))
        log_verbose(_("'%s' shows no open mouth: the inside is drawn; --mouth-from takes it from "
                      "another film of the person"),
                    p->video);
    if (!r->members[lead].styled)
        log_verbose(_("the mouth opens %.2f times as far as the mean speaker's"),
                    (double)plan_gain(r->plan, lead));
    return KB_OK;
}

enum kb_code rigging_make(struct rigging *ret, const struct rigging_params *d, struct kb_error *err)
{
    const struct dub_params *p = d->p;
    enum kb_code code = p->mouth_from
                            ? read_other(&ret->mouth_from, ret, d, p->mouth_from, p->mouth_key, err)
                            : KB_OK;
    if (code == KB_OK)
        code = make_rigs(ret, d, err);
    if (code == KB_OK)
        code = read_styles(ret, d, err);
    return code == KB_OK && p->lead ? follow_painting(ret, d, err) : code;
}
