#include "worker/pulse.h"

#include "queue/worker.h"

#include "base/proc.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEAT_US        200000
#define WORKER_ROW_US  1000000 // how often the worker's own row is written
#define GIVE_UP_US     4000000 // after which a job that does not stop is left behind
#define ASSET_LIMIT_US 30000000
#define ASSET_STUCK_US 10000000 // after being told to stop
#define FPS_SMOOTHING  0.3

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

// --- the thread

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

// --- what the worker asks of it

static void pulse_free(struct pulse *p)
{
    store_close(&p->store);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->telling);
    free(p);
}

enum kb_code pulse_start(struct pulse **ret, const struct worker_params *params,
                         struct kb_error *err)
{
    struct pulse *p = kb_alloc(sizeof(*p));
    p->params = params;
    p->state = "starting";
    p->stop_work.parent = &p->leave;
    pthread_mutex_init(&p->telling, NULL);
    pthread_mutex_init(&p->lock, NULL);
    enum kb_code code = store_open(&p->store, params->data, false, err);
    if (code == KB_OK)
        store_set_durable(p->store, false);
    int e = code == KB_OK ? pthread_create(&p->thread, NULL, pulse_run, p) : 0;
    if (e != 0)
        code = kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
    if (code != KB_OK) {
        pulse_free(p);
        return code;
    }
    *ret = p;
    return KB_OK;
}

void pulse_stop(struct pulse **pulse)
{
    struct pulse *p = TAKE(*pulse);
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pulse_free(p);
}

const struct cancel *pulse_leave(const struct pulse *p)
{
    return &p->leave;
}

const struct cancel *pulse_work(const struct pulse *p)
{
    return &p->stop_work;
}

void pulse_set_state(struct pulse *p, const char *state)
{
    pthread_mutex_lock(&p->lock);
    p->state = state;
    pthread_mutex_unlock(&p->lock);
    tell_worker(p);
}

void pulse_set_engine(struct pulse *p, const char *model, const char *precision)
{
    pthread_mutex_lock(&p->lock);
    snprintf(p->model, sizeof(p->model), "%s", model ? model : "");
    p->precision = precision;
    pthread_mutex_unlock(&p->lock);
}

void pulse_begin_job(struct pulse *p, const struct job_claim *claim)
{
    pthread_mutex_lock(&p->telling);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop_work.requested, false);
    assert(!p->claim);
    p->claim = claim;
    p->lost = false;
    p->report = (struct job_report){.stage = STAGE_LOADING};
    p->fps_us = 0;
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->telling);
    pulse_set_state(p, "busy");
}

void pulse_end_job(struct pulse *p, bool *ret_lost)
{
    pthread_mutex_lock(&p->telling);
    assert(p->claim);
    p->claim = NULL;
    *ret_lost = p->lost;
    pthread_mutex_unlock(&p->telling);
}

void pulse_progress(void *pulse, const struct progress *now)
{
    struct pulse *p = pulse;
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

void pulse_begin_asset(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop_work.requested, false);
    p->asset_since_us = kb_now_us();
    pthread_mutex_unlock(&p->lock);
}

void pulse_end_asset(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    p->asset_since_us = 0;
    pthread_mutex_unlock(&p->lock);
}
