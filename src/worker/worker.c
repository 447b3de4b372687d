// The worker process. Two threads: this one works, the other is its pulse (worker/pulse.h). Each
// has its own connection.
#include "worker/worker.h"

#include "queue/job.h"
#include "queue/lease.h"
#include "queue/options.h"
#include "store/names.h"
#include "worker/inspect.h"
#include "worker/limits.h"
#include "worker/pulse.h"
#include "worker/thumbnail.h"

#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "base/text.h"
#include "lipsync/speech.h"
#include "media/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_POLL_US    100000
#define IDLE_CLAIM_US   1000000 // also without a change: pauses end and disks get free by time
#define THUMBNAIL_AT_US 1000000
#define ENDING_TRIES    30

struct worker {
    const struct worker_params *params;
    struct store *store;
    struct pulse *pulse;

    struct engine engine;
    char *model; // NULL = bundled
    enum precision precision;
    bool loaded;

    struct mel *mel; // of the latest speech, for the next job of the batch
    char mel_sha256[65];
    bool mel_loudnorm;
    bool worn; // its address space was used up once: leave the next job to a fresh process
};

static void unload_engine(struct worker *w)
{
    pulse_set_engine(w->pulse, NULL, NULL);
    engine_free(&w->engine);
    w->loaded = false;
}

static enum kb_code load_engine(struct worker *w, const char *model, enum precision precision,
                                struct kb_error *err)
{
    bool same = w->model && model ? strcmp(w->model, model) == 0 : w->model == model;
    if (w->loaded && same && w->precision == precision)
        return KB_OK;
    unload_engine(w);
    CLEANUP(kb_freep) char *networks = path_join(w->params->data, "networks");
    struct engine_params ep = {.model = model,
                               .precision = precision,
                               .cache_folder = networks,
                               .threads = w->params->threads,
                               .watch = {NULL, pulse_progress, w->pulse}};
    enum kb_code code = engine_load(&w->engine, &ep, err);
    if (code != KB_OK)
        return code;
    char *copy = kb_strdup(model);
    pulse_set_engine(w->pulse, engine_name(&w->engine), engine_precision(&w->engine));
    free(w->model);
    w->model = copy;
    w->precision = precision;
    w->loaded = true;
    return KB_OK;
}

static enum kb_code hear_speech(struct worker *w, const struct job_claim *c, bool loudnorm,
                                struct kb_error *err)
{
    if (w->mel && strcmp(w->mel_sha256, c->audio_sha256) == 0 && w->mel_loudnorm == loudnorm)
        return KB_OK;
    mel_free(&w->mel);
    const struct watch watch = {pulse_work(w->pulse), pulse_progress, w->pulse};
    enum kb_code code = speech_hear(&w->mel, c->audio_path, c->audio_name, loudnorm, &watch, err);
    if (code != KB_OK)
        return code;
    snprintf(w->mel_sha256, sizeof(w->mel_sha256), "%s", c->audio_sha256);
    w->mel_loudnorm = loudnorm;
    return KB_OK;
}

// How long the result can become: as the speech, or as the video if the rest of it is kept.
static int64_t longest_output_us(const struct dub_params *p)
{
    int64_t longest = mel_duration_us(p->mel);
    if (p->keep_video)
        longest = KB_MAX(longest, reader_info(p->film)->duration_us);
    return p->duration_us > 0 ? KB_MIN(longest, p->duration_us) : longest;
}

static void blame_memory(struct worker *w, const struct job_claim *c, struct kb_error *why)
{
    char size[TEXT_SIZE_BYTES];
    int64_t limit = w->params->memory_bytes;
    if (why->code == KB_CANCELLED || !limits_memory_was_short(w->params))
        return;
    w->worn = true;
    kb_fail(why, KB_NO_SPACE,
            _("'%s' needs more memory than the %s that one video may take; choose a smaller "
              "height in the options, or let who runs the server allow more (--memory)"),
            c->video_name, text_size(size, limit));
}

static enum kb_code run_claimed(struct worker *w, const struct job_claim *c,
                                struct dub_result *result, struct kb_error *err)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    enum kb_code code = batch_options_parse(c->options, &o, err);
    if (code == KB_OK && o.mouth_from && !c->mouth_path)
        code = kb_fail(err, KB_NOT_FOUND,
                       _("the video that the option 'mouth_from' names is gone; make a new batch "
                         "with another one, or without"));
    if (code == KB_OK && o.style_from && !c->style_path)
        code = kb_fail(err, KB_NOT_FOUND,
                       _("the video that the option 'style_from' names is gone; make a new batch "
                         "with another one, or without"));
    if (code == KB_OK)
        code = load_engine(w, o.model,
                           o.precision != PRECISION_AUTO ? o.precision : w->params->precision, err);
    if (code == KB_OK)
        code = hear_speech(w, c, o.dub.loudnorm, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *tracks = path_join(w->params->data, "tracks");
    struct dub_params dub = o.dub;
    dub.audio = c->audio_path;
    dub.video = c->video_path;
    dub.mouth_from = c->mouth_path;
    dub.style_from = c->style_path;
    dub.output = c->output;
    if (c->face_at[0] >= 0) {
        dub.face = FACE_AT;
        memcpy(dub.face_at, c->face_at, sizeof(dub.face_at));
    }
    dub.note = c->note;
    dub.mel = w->mel;
    dub.track_folder = tracks;
    dub.threads = w->params->threads;
    dub.watch = (struct watch){pulse_work(w->pulse), pulse_progress, w->pulse};
    CLEANUP(reader_close) struct reader *film = NULL;
    code = dub_check(&dub, &film, err);
    if (code != KB_OK)
        return code;
    dub.film = film;
    limits_processor_time(w->params, longest_output_us(&dub));
    code = dub_run(&w->engine, &dub, result, err);
    // The first video may have let it go on in int8.
    pulse_set_engine(w->pulse, engine_name(&w->engine), engine_precision(&w->engine));
    return code;
}

// Ends the job in the database. A locked or full one is asked again for a while: the work is done,
// and only its outcome is left to be written.
static void end_job(struct worker *w, const struct job_claim *c, const struct dub_result *result,
                    bool thumb, const struct kb_error *why)
{
    struct kb_error err = {0};
    enum kb_code code = KB_UNAVAILABLE;
    for (int i = 0; i < ENDING_TRIES && (code == KB_UNAVAILABLE || code == KB_NO_SPACE); i++) {
        if (i > 0)
            sleep(1);
        if (result)
            code = job_done(w->store, c, result, thumb, &err);
        else if (why)
            code = job_failed(w->store, c, why, &err);
        else
            code = job_give_back(w->store, c, &err);
    }
    if (code != KB_OK)
        log_error("%s", err.text);
    if (code != KB_OK && result)
        job_remove_output(w->store, c);
}

static void finish_well(struct worker *w, const struct job_claim *c,
                        const struct dub_result *result)
{
    struct kb_error ignored = {0};
    CLEANUP(kb_freep) char *picture = result_beside(c->output, ".jpg");
    int64_t at = result->seconds > 1.5 ? THUMBNAIL_AT_US : 0;
    bool thumb = thumbnail_of_video(c->output, at, picture, NULL, &ignored) == KB_OK;
    if (!thumb)
        log_warn("%s", ignored.text);
    end_job(w, c, result, thumb, NULL);
    log_info(_("'%s' is done: %.1f s of video, faces %.1f s, generating %.1f s"), c->video_name,
             result->seconds, result->stage_s[STAGE_PREPROCESSING],
             result->stage_s[STAGE_GENERATING] + result->stage_s[STAGE_FINISHING]);
    for (enum stage i = STAGE_LOADING; i < N_STAGES; i++)
        log_debug("%s: %.3f s", stage_id(i), result->stage_s[i]);
}

static void run_job(struct worker *w, const struct job_claim *c)
{
    struct dub_result result = {0};
    struct kb_error why = {0};
    bool lost;
    log_set_job(c->job);
    log_info(_("'%s' begins, attempt %d of %d"), c->video_name, c->attempt, JOB_MAX_ATTEMPTS);
    log_debug("batch %lld, lease %llx, output %s, options %s", (long long)c->batch,
              (unsigned long long)c->lease, path_name(c->output), c->options);
    pulse_begin_job(w->pulse, c);
    enum kb_code code = run_claimed(w, c, &result, &why);
    pulse_end_job(w->pulse, &lost);
    // Lower layers name a content's file; the user knows it by another name.
    sentence_replace(&why, c->video_path, c->video_name);
    sentence_replace(&why, c->audio_path, c->audio_name);
    sentence_replace(&why, c->mouth_path, c->mouth_name);
    sentence_replace(&why, c->style_path, c->style_name);
    sentence_replace(&why, c->output, path_name(c->output));
    if (lost) {
        log_warn(_("'%s' was taken from this worker; nothing of it is kept"), c->video_name);
        job_remove_output(w->store, c);
    } else if (code == KB_OK) {
        finish_well(w, c, &result);
    } else if (code == KB_CANCELLED && cancel_requested(pulse_leave(w->pulse))) {
        log_info(_("'%s' goes back into the queue"), c->video_name);
        end_job(w, c, NULL, false, NULL);
    } else {
        blame_memory(w, c, &why);
        code = why.code;
        if (code == KB_CANCELLED)
            log_info(_("'%s' is cancelled"), c->video_name);
        else if (code == KB_BAD_INPUT ||
                 code == KB_NOT_FOUND) // the user's to mend, not the server's
            log_warn("%s", why.text);
        else
            log_error("%s", why.text);
        end_job(w, c, NULL, false, &why);
    }
    log_set_job(0);
    pulse_set_state(w->pulse, "idle");
}

static enum kb_code take_job(struct worker *w, struct kb_error *err)
{
    struct job_claim claim = {0};
    enum kb_code code = job_claim(w->store, w->params->id, w->params->min_free_bytes, &claim, err);
    if (code == KB_OK)
        run_job(w, &claim);
    job_claim_free(&claim);
    return code;
}

static enum kb_code take_asset(struct worker *w, struct kb_error *err)
{
    pulse_begin_asset(w->pulse);
    enum kb_code code =
        inspect_next(w->store, w->params->id, w->engine.faces, pulse_work(w->pulse), err);
    pulse_end_asset(w->pulse);
    return code;
}

static void work_until_leaving(struct worker *w)
{
    int64_t version = -1, looked_us = 0;
    bool complained = false;
    while (!cancel_requested(pulse_leave(w->pulse)) && !w->worn) {
        int64_t now_version = store_data_version(w->store);
        if (now_version == version && kb_now_us() - looked_us < IDLE_CLAIM_US) {
            usleep(IDLE_POLL_US);
            continue;
        }
        version = now_version;
        looked_us = kb_now_us();
        struct kb_error err = {0};
        enum kb_code code = w->params->inspect ? take_asset(w, &err) : take_job(w, &err);
        if (code == KB_OK) {
            version = -1; // look for the next one at once
        } else if (code != KB_EOF) {
            if (!complained)
                log_error("%s", err.text);
            sleep(1);
        }
        complained = code != KB_OK && code != KB_EOF;
    }
}

// --- the process

static enum kb_code load_all(struct worker *w, struct kb_error *err)
{
    if (w->params->inspect)
        return face_models_load(&w->engine.faces, err);
    return load_engine(w, NULL, w->params->precision, err);
}

enum kb_code worker_run(const struct worker_params *p, struct kb_error *err)
{
    struct worker w = {.params = p};
    enum kb_code code = limits_enter(p, err);
    if (code == KB_OK)
        code = store_open(&w.store, p->data, false, err);
    if (code == KB_OK)
        code = pulse_start(&w.pulse, p, err);
    if (code != KB_OK) {
        store_close(&w.store);
        return code;
    }
    code = load_all(&w, err);
    if (code == KB_OK) {
        pulse_set_state(w.pulse, "idle");
        work_until_leaving(&w);
    }
    pulse_stop(&w.pulse);
    engine_free(&w.engine);
    mel_free(&w.mel);
    free(w.model);
    store_close(&w.store);
    return code;
}
