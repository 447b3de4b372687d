// The worker process. Two threads: this one works, the other keeps the heart beating: it tells the
// database where the job is, hears of cancelling, and notices when the server is gone. They share
// struct pulse, under its lock; each has its own connection.
#include "job/worker.h"

#include "job/assets.h"
#include "job/jobs.h"
#include "job/thumbnail.h"

#include "base/file.h"
#include "base/log.h"
#include "media/audio.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BEAT_US         200000  // of the pulse
#define WORKER_ROW_US   1000000 // how often the worker's own row is written
#define IDLE_POLL_US    100000
#define IDLE_CLAIM_US   1000000 // also without a change: pauses end and disks get free by time
#define GIVE_UP_US      5000000 // after which a job that does not stop is left behind
#define ASSET_LIMIT_US  30000000
#define CPU_S_EVERY_JOB 600
#define CPU_S_A_SECOND  60
#define THUMBNAIL_AT_US 1000000
#define FPS_SMOOTHING   0.3
#define ENDING_TRIES    30

struct pulse {
    const struct worker_params *params;
    struct store *store;
    pthread_t thread;
    struct cancel leave;     // the server is gone or wants us to end
    struct cancel stop_work; // ends the job or asset in work; its parent is leave
    pthread_mutex_t lock;
    // --- under the lock
    const struct job_claim *claim; // NULL: none
    struct job_report report;
    int64_t fps_done, fps_us;      // where report.fps was last measured
    int64_t asset_since_us;        // an inspector's asset was begun then, 0 = none
    const char *state;             // "starting", "idle", "busy"
    const char *model, *precision; // of the loaded engine
    bool lost;                     // the lease: leave the job alone
    int64_t leaving_us;            // since when we are to leave, 0 = we are not
    bool ended; // the pulse may stop
};

// --- the pulse

static bool parent_gone(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLIN));
}

static int64_t resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static void tell_worker(struct pulse *p)
{
    struct worker_row row = {
        .kind = p->params->inspect ? "inspect" : "generate",
        .pid = getpid(),
        .rss_bytes = resident_bytes(),
    };
    snprintf(row.id, sizeof(row.id), "%s", p->params->id);
    pthread_mutex_lock(&p->lock);
    row.state = p->state;
    row.model = p->model;
    row.precision = p->precision;
    pthread_mutex_unlock(&p->lock);
    workers_put(p->store, &row, NULL); // the next beat tries again
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
    pthread_mutex_lock(&p->lock);
    const struct job_claim *claim = p->claim;
    if (claim) {
        measure_fps(p);
        bool cancel = false;
        // The lock is kept, so that the job does not end, and its claim with it, meanwhile.
        enum kb_code code = jobs_report(p->store, claim, &p->report, &cancel, NULL);
        p->lost = p->lost || code == KB_NOT_FOUND;
        if (cancel || p->lost)
            cancel_request(&p->stop_work);
    }
    pthread_mutex_unlock(&p->lock);
}

// The job does not stop: hand it back and go, with whatever it still does.
static void leave_by_force(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->claim && !p->lost)
        jobs_give_back(p->store, p->claim, NULL);
    _exit(0);
}

static void look_after_leaving(struct pulse *p)
{
    bool wanted = parent_gone(p->params->parent_fd) || cancel_requested(p->params->cancel);
    pthread_mutex_lock(&p->lock);
    if (wanted && !p->leaving_us) {
        p->leaving_us = kb_now_us();
        cancel_request(&p->leave);
    }
    bool late = p->leaving_us && kb_now_us() - p->leaving_us > GIVE_UP_US;
    if (p->asset_since_us && kb_now_us() - p->asset_since_us > ASSET_LIMIT_US)
        cancel_request(&p->stop_work);
    pthread_mutex_unlock(&p->lock);
    if (late)
        leave_by_force(p);
}

static void *pulse_run(void *opaque)
{
    struct pulse *p = opaque;
    int64_t told_us = 0;
    for (;;) {
        look_after_leaving(p);
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
};

static enum kb_code load_engine(struct worker *w, const char *model, enum precision precision,
                                struct kb_error *err)
{
    bool same = w->model && model ? strcmp(w->model, model) == 0 : w->model == model;
    if (w->loaded && same && w->precision == precision)
        return KB_OK;
    engine_free(&w->engine);
    w->loaded = false;
    struct engine_params ep = {.model = model,
                               .precision = precision,
                               .threads = w->params->threads,
                               .progress = note_progress,
                               .opaque = &w->pulse};
    enum kb_code code = engine_load(&w->engine, &ep, err);
    if (code != KB_OK)
        return code;
    char *copy = kb_strdup(model);
    pthread_mutex_lock(&w->pulse.lock);
    w->pulse.model = lips_spec(w->engine.lips)->name;
    w->pulse.precision = precision_name(precision_resolve(precision));
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

// The soft limit is moved along, so that it counts for each job; SIGXCPU then ends the process.
static void limit_processor_time(const struct worker_params *p, int64_t output_us)
{
    struct rusage used;
    struct rlimit limit;
    if (getrusage(RUSAGE_SELF, &used) != 0 || getrlimit(RLIMIT_CPU, &limit) != 0)
        return;
    int factor = p->cpu_factor > 0 ? p->cpu_factor : CPU_S_A_SECOND;
    limit.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + CPU_S_EVERY_JOB +
                     (rlim_t)(output_us / 1000000) * (rlim_t)factor;
    setrlimit(RLIMIT_CPU, &limit);
}

static char *thumb_path(const char *output)
{
    return kb_printf("%.*s.jpg", (int)(strlen(output) - strlen(".mp4")), output);
}

static enum kb_code run_claimed(struct worker *w, const struct job_claim *c,
                                struct job_result *result, struct kb_error *err)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    enum kb_code code = batch_options_parse(c->options, &o, err);
    if (code == KB_OK)
        code = load_engine(w, o.model,
                           o.precision != PRECISION_AUTO ? o.precision : w->params->precision, err);
    if (code == KB_OK)
        code = hear_speech(w, c, o.job.loudnorm, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *tracks = path_join(w->params->data, "tracks");
    struct job_params job = o.job;
    job.audio = c->audio_path;
    job.video = c->video_path;
    job.output = c->output;
    job.mel = w->mel;
    job.track_folder = tracks;
    job.threads = w->params->threads;
    job.cancel = &w->pulse.stop_work;
    job.progress = note_progress;
    job.opaque = &w->pulse;
    limit_processor_time(w->params, mel_duration_us(w->mel));
    return job_run(&w->engine, &job, result, err);
}

// Ends the job in the database. A locked or full one is asked again for a while: the work is done,
// and only its outcome is left to be written.
static void end_job(struct worker *w, const struct job_claim *c, const struct job_result *result,
                    bool thumb, const struct kb_error *why)
{
    struct kb_error err = {0};
    enum kb_code code = KB_UNAVAILABLE;
    for (int i = 0; i < ENDING_TRIES && (code == KB_UNAVAILABLE || code == KB_NO_SPACE); i++) {
        if (i > 0)
            sleep(1);
        if (result)
            code = jobs_done(w->store, c, result, thumb, &err);
        else if (why)
            code = jobs_failed(w->store, c, why, &err);
        else
            code = jobs_give_back(w->store, c, &err);
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
                        const struct job_result *result)
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
    struct job_result result = {0};
    struct kb_error why = {0};
    log_set_job(c->job);
    kb_language_set_process(strcmp(c->lang, "en") == 0 ? KB_LANGUAGE_SOURCE
                                                       : KB_LANGUAGE_CATALOGUE);
    log_info(_("'%s' begins, attempt %d of %d"), c->video_name, c->attempt, JOB_MAX_ATTEMPTS);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop_work.requested, false);
    p->claim = c;
    p->lost = false;
    p->report = (struct job_report){.stage = STAGE_LOADING};
    p->fps_us = 0;
    pthread_mutex_unlock(&p->lock);
    pulse_set_state(p, "busy");

    enum kb_code code = run_claimed(w, c, &result, &why);

    pthread_mutex_lock(&p->lock);
    p->claim = NULL;
    bool lost = p->lost;
    pthread_mutex_unlock(&p->lock);
    sentence_rename(&why, c->video_path, c->video_name);
    sentence_rename(&why, c->audio_path, c->audio_name);
    sentence_rename(&why, c->output, path_name(c->output));
    if (lost) {
        log_warn(_("'%s' was taken from this worker; nothing of it is kept"), c->video_name);
        unlink(c->output);
    } else if (code == KB_OK) {
        finish_well(w, c, &result);
    } else if (code == KB_CANCELLED && cancel_requested(&p->leave)) {
        log_info(_("'%s' goes back into the queue"), c->video_name);
        end_job(w, c, NULL, false, NULL);
    } else {
        if (code == KB_CANCELLED)
            log_info(_("'%s' is cancelled"), c->video_name);
        else if (code == KB_BAD_INPUT || code == KB_NOT_FOUND) // the user's to mend, not the server's
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
    enum kb_code code = jobs_claim(w->store, w->params->id, w->params->min_free_bytes, &claim, err);
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
    while (!cancel_requested(&w->pulse.leave)) {
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

static void set_limit(int resource, int64_t bytes)
{
    if (bytes <= 0)
        return;
    struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
    setrlimit((__rlimit_resource_t)resource, &limit);
}

static enum kb_code enter_cage(const struct worker_params *p, struct kb_error *err)
{
    CLEANUP(kb_freep) char *temporary = path_join(p->data, "work");
    char missing[200] = "";
    setenv("TMPDIR", temporary, 1);
    set_limit(RLIMIT_AS, p->memory_bytes);
    set_limit(RLIMIT_FSIZE, p->output_bytes);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    enum kb_code code = p->confined ? sandbox_enter(p->data, missing, err) : KB_OK;
    if (missing[0])
        log_warn(_("this kernel lacks %s; the worker is confined without it"), missing);
    return code;
}

static enum kb_code load_all(struct worker *w, struct kb_error *err)
{
    if (w->params->inspect)
        return face_models_load(&w->engine.faces, err);
    return load_engine(w, NULL, w->params->precision, err);
}

enum kb_code worker_run(const struct worker_params *p, struct kb_error *err)
{
    struct worker w = {.params = p};
    enum kb_code code = enter_cage(p, err);
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

void sentence_rename(struct kb_error *err, const char *path, const char *name)
{
    char *at = path && *path ? strstr(err->text, path) : NULL;
    if (!at)
        return;
    char rest[sizeof(err->text)];
    snprintf(rest, sizeof(rest), "%s", at + strlen(path));
    snprintf(at, sizeof(err->text) - (size_t)(at - err->text), "%s%s", name, rest);
}
