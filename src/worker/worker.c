// The worker process. Two threads: this one works, the other keeps the heart beating: it tells the
// database where the job is, hears of cancelling, and notices when the server is gone. They share
// struct pulse; each has its own connection. The work never waits for a locked database: where it
// is stands under a lock that is held for a moment only.
#include "worker/worker.h"

#include "asset/asset.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "queue/options.h"
#include "queue/worker.h"
#include "worker/limits.h"
#include "worker/thumbnail.h"

#include "base/file.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/sentence.h"
#include "media/audio.h"
#include "media/demux.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEAT_US         200000  // of the pulse
#define WORKER_ROW_US   1000000 // how often the worker's own row is written
#define IDLE_POLL_US    100000
#define IDLE_CLAIM_US   1000000 // also without a change: pauses end and disks get free by time
#define GIVE_UP_US      4000000 // after which a job that does not stop is left behind
#define ASSET_LIMIT_US  30000000
#define ASSET_STUCK_US  10000000 // after being told to stop
#define THUMBNAIL_AT_US 1000000
#define FPS_SMOOTHING   0.3
#define ENDING_TRIES    30

struct pulse {
    const struct worker_params *params;
    pthread_t thread;
    struct cancel leave;     // the server is gone or wants us to end
    struct cancel stop_work; // ends the job or asset in work; its parent is leave
    int64_t leaving_us;      // since when we are to leave, 0 = we are not; the thread's alone

    pthread_mutex_t telling; // taken before lock
    // --- under telling, which is held while the database is spoken to
    struct store *store;
    const struct job_claim *claim; // NULL: none
    bool lost;                     // its lease: leave the job alone

    pthread_mutex_t lock;
    // --- under lock
    struct job_report report;
    int64_t fps_done, fps_us; // where report.fps was last measured
    int64_t asset_since_us;   // an inspector's asset was begun then, 0 = none
    const char *state;        // "starting", "idle", "busy"
    char model[64];           // of the loaded engine, "" = none
    const char *precision;
    bool ended; // the pulse may stop
};

// --- the pulse

static bool parent_gone(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLIN));
}

static void tell_worker(struct pulse *p)
{
    char model[sizeof(p->model)];
    struct worker_row row = {
        .kind = p->params->inspect ? "inspect" : "generate",
        .pid = getpid(),
        .rss_bytes = proc_resident_bytes(),
    };
    snprintf(row.id, sizeof(row.id), "%s", p->params->id);
    pthread_mutex_lock(&p->telling);
    pthread_mutex_lock(&p->lock);
    row.state = p->state;
    memcpy(model, p->model, sizeof(model));
    row.model = model[0] ? model : NULL;
    row.precision = p->precision;
    pthread_mutex_unlock(&p->lock);
    worker_put(p->store, &row, NULL); // the next beat tries again
    pthread_mutex_unlock(&p->telling);
}

static void measure_fps(struct pulse *p)
{
    int64_t now = kb_now_us(), since = now - p->fps_us;
    if (since < BEAT_US)
        return;
    double rate = (double)(p->report.done - p->fps_done) * 1e6 / (double)since;
    if (p->fps_us && rate >= 0)
        p->report.fps =
            p->report.fps > 0 ? p->report.fps + FPS_SMOOTHING * (rate - p->report.fps) : rate;
    p->fps_done = p->report.done;
    p->fps_us = now;
}

static void tell_job(struct pulse *p)
{
    pthread_mutex_lock(&p->telling);
    if (p->claim) {
        pthread_mutex_lock(&p->lock);
        measure_fps(p);
        struct job_report report = p->report;
        pthread_mutex_unlock(&p->lock);
        bool cancel = false;
        enum kb_code code = job_report(p->store, p->claim, &report, &cancel, NULL);
        p->lost = p->lost || code == KB_NOT_FOUND;
        if (cancel || p->lost)
            cancel_request(&p->stop_work);
    }
    pthread_mutex_unlock(&p->telling);
}

// The job does not stop: hand it back and go, with whatever it still does.
static void leave_by_force(struct pulse *p)
{
    pthread_mutex_lock(&p->telling);
    if (p->claim && !p->lost)
        job_give_back(p->store, p->claim, NULL);
    _exit(0);
}

static void look_after_leaving(struct pulse *p)
{
    bool wanted = parent_gone(p->params->parent_fd) || cancel_requested(p->params->cancel);
    if (wanted && !p->leaving_us) {
        p->leaving_us = kb_now_us();
        cancel_request(&p->leave);
    }
    if (p->leaving_us && kb_now_us() - p->leaving_us > GIVE_UP_US)
        leave_by_force(p);
}

// A file may keep its decoder from hearing that it is to stop. Then another process has to look at
// the next one; the third that fails so gives the file up.
static void look_after_asset(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    int64_t since = p->asset_since_us ? kb_now_us() - p->asset_since_us : 0;
    if (since > ASSET_LIMIT_US)
        cancel_request(&p->stop_work);
    pthread_mutex_unlock(&p->lock);
    if (since > ASSET_LIMIT_US + ASSET_STUCK_US)
        _exit(1);
}

static void *pulse_run(void *opaque)
{
    struct pulse *p = opaque;
    int64_t told_us = 0;
    for (;;) {
        look_after_leaving(p);
        look_after_asset(p);
        tell_job(p);
        if (kb_now_us() - told_us > WORKER_ROW_US) {
            told_us = kb_now_us();
            tell_worker(p);
        }
        pthread_mutex_lock(&p->lock);
        bool ended = p->ended;
        pthread_mutex_unlock(&p->lock);
        if (ended)
            return NULL;
        usleep(BEAT_US);
    }
}

static enum kb_code pulse_start(struct pulse *p, const struct worker_params *params,
                                struct kb_error *err)
{
    *p = (struct pulse){.params = params, .state = "starting"};
    p->stop_work.parent = &p->leave;
    pthread_mutex_init(&p->telling, NULL);
    pthread_mutex_init(&p->lock, NULL);
    enum kb_code code = store_open(&p->store, params->data, false, err);
    if (code != KB_OK)
        return code;
    store_set_durable(p->store, false);
    int e = pthread_create(&p->thread, NULL, pulse_run, p);
    if (e != 0) {
        store_close(&p->store);
        return kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
    }
    return KB_OK;
}

static void pulse_stop(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    store_close(&p->store);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->telling);
}

static void pulse_set_state(struct pulse *p, const char *state)
{
    pthread_mutex_lock(&p->lock);
    p->state = state;
    pthread_mutex_unlock(&p->lock);
    tell_worker(p);
}

// A progress_fn: remembers where the work is; the pulse tells it.
static void note_progress(void *opaque, const struct progress *now)
{
    struct pulse *p = opaque;
    pthread_mutex_lock(&p->lock);
    if (now->stage != p->report.stage) {
        p->fps_us = 0;
        p->report.fps = 0;
    }
    p->report.stage = now->stage;
    p->report.done = now->done;
    p->report.total = now->total;
    pthread_mutex_unlock(&p->lock);
}

// --- the work

struct worker {
    const struct worker_params *params;
    struct store *store;
    struct pulse pulse;

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
    pthread_mutex_lock(&w->pulse.lock);
    w->pulse.model[0] = '\0';
    w->pulse.precision = NULL;
    pthread_mutex_unlock(&w->pulse.lock);
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
                               .progress = note_progress,
                               .opaque = &w->pulse};
    enum kb_code code = engine_load(&w->engine, &ep, err);
    if (code != KB_OK)
        return code;
    char *copy = kb_strdup(model);
    pthread_mutex_lock(&w->pulse.lock);
    snprintf(w->pulse.model, sizeof(w->pulse.model), "%s", engine_name(&w->engine));
    w->pulse.precision = engine_precision(&w->engine);
    pthread_mutex_unlock(&w->pulse.lock);
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
    struct audio_params ap = {.loudnorm = loudnorm, .cancel = &w->pulse.stop_work};
    enum kb_code code = mel_from_file(&w->mel, c->audio_path, &ap, note_progress, &w->pulse, err);
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
    struct demux video = {0};
    if (p->keep_video &&
        demux_open(&video, p->video, AVMEDIA_TYPE_VIDEO, p->cancel, NULL) == KB_OK)
        longest = KB_MAX(longest, demux_duration_us(&video));
    demux_close(&video);
    return p->duration_us > 0 ? KB_MIN(longest, p->duration_us) : longest;
}

static void blame_memory(struct worker *w, const struct job_claim *c, struct kb_error *why)
{
    int64_t limit = w->params->memory_bytes;
    if (why->code == KB_CANCELLED || !limits_memory_was_short(w->params))
        return;
    w->worn = true;
    kb_fail(why, KB_NO_SPACE,
            _("'%s' needs more memory than the %.1f GB that a worker may take; choose a smaller "
              "height in the options, or start the server with a larger --memory"),
            c->video_name, (double)limit / (1 << 30));
}

static char *thumb_path(const char *output)
{
    return kb_printf("%.*s.jpg", (int)(strlen(output) - strlen(".mp4")), output);
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
    dub.note = c->note;
    dub.mel = w->mel;
    dub.track_folder = tracks;
    dub.threads = w->params->threads;
    dub.cancel = &w->pulse.stop_work;
    dub.progress = note_progress;
    dub.opaque = &w->pulse;
    limits_processor_time(w->params, longest_output_us(&dub));
    code = dub_run(&w->engine, &dub, result, err);
    pthread_mutex_lock(&w->pulse.lock); // the first video may have let it go on in int8
    w->pulse.precision = engine_precision(&w->engine);
    pthread_mutex_unlock(&w->pulse.lock);
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
    if (code != KB_OK && result) {
        CLEANUP(kb_freep) char *picture = thumb_path(c->output);
        unlink(c->output);
        unlink(picture);
    }
}

static void finish_well(struct worker *w, const struct job_claim *c,
                        const struct dub_result *result)
{
    struct kb_error ignored = {0};
    CLEANUP(kb_freep) char *picture = thumb_path(c->output);
    int64_t at = result->seconds > 1.5 ? THUMBNAIL_AT_US : 0;
    bool thumb = thumbnail_of_video(c->output, at, picture, NULL, &ignored) == KB_OK;
    if (!thumb)
        log_warn("%s", ignored.text);
    end_job(w, c, result, thumb, NULL);
    log_info(_("'%s' is done: %.1f s of video, faces %.1f s, generating %.1f s"), c->video_name,
             result->seconds, result->stage_s[STAGE_PREPROCESSING],
             result->stage_s[STAGE_GENERATING] + result->stage_s[STAGE_FINISHING]);
}

static void run_job(struct worker *w, const struct job_claim *c)
{
    struct pulse *p = &w->pulse;
    struct dub_result result = {0};
    struct kb_error why = {0};
    log_set_job(c->job);
    log_info(_("'%s' begins, attempt %d of %d"), c->video_name, c->attempt, JOB_MAX_ATTEMPTS);
    pthread_mutex_lock(&p->telling);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop_work.requested, false);
    p->claim = c;
    p->lost = false;
    p->report = (struct job_report){.stage = STAGE_LOADING};
    p->fps_us = 0;
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->telling);
    pulse_set_state(p, "busy");

    enum kb_code code = run_claimed(w, c, &result, &why);

    pthread_mutex_lock(&p->telling);
    p->claim = NULL;
    bool lost = p->lost;
    pthread_mutex_unlock(&p->telling);
    // Lower layers name a content's file; the user knows it by another name.
    sentence_replace(&why, c->video_path, c->video_name);
    sentence_replace(&why, c->audio_path, c->audio_name);
    sentence_replace(&why, c->output, path_name(c->output));
    if (lost) {
        log_warn(_("'%s' was taken from this worker; nothing of it is kept"), c->video_name);
        unlink(c->output);
    } else if (code == KB_OK) {
        finish_well(w, c, &result);
    } else if (code == KB_CANCELLED && cancel_requested(&p->leave)) {
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
    pulse_set_state(p, "idle");
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
    struct pulse *p = &w->pulse;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop_work.requested, false);
    p->asset_since_us = kb_now_us();
    pthread_mutex_unlock(&p->lock);
    enum kb_code code = inspect_next(w->store, w->params->id, w->engine.faces, &p->stop_work, err);
    pthread_mutex_lock(&p->lock);
    p->asset_since_us = 0;
    pthread_mutex_unlock(&p->lock);
    return code;
}

static void work_until_leaving(struct worker *w)
{
    int64_t version = -1, looked_us = 0;
    bool complained = false;
    while (!cancel_requested(&w->pulse.leave) && !w->worn) {
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
        pulse_set_state(&w.pulse, "idle");
        work_until_leaving(&w);
    }
    pulse_stop(&w.pulse);
    engine_free(&w.engine);
    mel_free(&w.mel);
    free(w.model);
    store_close(&w.store);
    return code;
}
