#include "worker/pulse.h"

#include "base/proc.h"
#include "base/utf8.h"
#include "worker/line.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEAT_US        200000
#define IDLE_US        1000000
#define JOB_TOLD_US    800000  // where nothing changes
#define WORKER_TOLD_US 1000000 // how often the server hears how the process is
#define GIVE_UP_US     4000000 // after which a job that does not stop is left behind
#define ASSET_LIMIT_US 30000000
#define ASSET_STUCK_US 10000000 // after being told to stop
#define FPS_SMOOTHING  0.3

struct pulse {
    const struct worker_params *params;
    int line; // to the server
    pthread_t thread;
    struct cancel leave;     // the server is gone or wants us to end
    struct cancel stop_work; // ends the job or asset in work; its parent is leave
    int64_t leaving_us;      // since when we are to leave, 0 = we are not; the thread's alone

    pthread_mutex_t lock;
    pthread_cond_t given_some; // of given, go, stop_work and leave
    // --- under lock
    json_t *given; // work that was not taken yet
    bool working;  // a job is
    bool go;       // it may read what users gave
    bool lost;     // it is no longer ours
    struct progress at;
    double fps;               // frames a second lately, 0 unknown
    int64_t fps_done, fps_us; // where it was last measured
    int64_t told_us;          // where the job is; 0: there is something new to tell
    int64_t asset_since_us;   // an inspector's asset was begun then, 0 = none
    const char *state;        // "starting", "idle", "busy"
    char model[64];           // of the loaded engine, "" = none
    const char *precision;
    bool ended; // the pulse may stop
};

// --- the thread

void pulse_say(struct pulse *p, json_t *message)
{
    line_send(p->line, false, message); // a server that is gone is seen where it is listened to
}

void pulse_log(void *pulse, enum log_level level, const char *text)
{
    CLEANUP(kb_freep) char *clean = utf8_clean(text);
    pulse_say(pulse, json_pack("{s:s, s:i, s:s}", "is", "log", "level", (int)level, "text", clean));
}

static void tell_worker(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    CLEANUP(kb_freep) char *model = utf8_clean(p->model[0] ? p->model : NULL);
    const char *state = p->state, *precision = p->precision;
    pthread_mutex_unlock(&p->lock);
    pulse_say(p,
              json_pack("{s:s, s:s, s:s*, s:s*, s:I}", "is", "worker", "state", state, "model",
                        model, "precision", precision, "rss", (json_int_t)proc_resident_bytes()));
}

static void measure_fps(struct pulse *p)
{
    int64_t now = kb_now_us(), since = now - p->fps_us;
    if (since < BEAT_US)
        return;
    double rate = (double)(p->at.done - p->fps_done) * 1e6 / (double)since;
    if (p->fps_us && rate >= 0)
        p->fps = p->fps > 0 ? p->fps + FPS_SMOOTHING * (rate - p->fps) : rate;
    p->fps_done = p->at.done;
    p->fps_us = now;
}

static void tell_job(struct pulse *p)
{
    // Said under the lock, so that it never comes behind the job's end.
    pthread_mutex_lock(&p->lock);
    if (p->working && !p->lost && kb_now_us() - p->told_us > JOB_TOLD_US) {
        measure_fps(p);
        // Without waiting: the work needs the lock. What is not heard now the next one says better.
        if (line_send(p->line, true,
                      json_pack("{s:s, s:i, s:I, s:I, s:f}", "is", "at", "stage", (int)p->at.stage,
                                "done", (json_int_t)p->at.done, "total", (json_int_t)p->at.total,
                                "fps", p->fps)))
            p->told_us = kb_now_us();
    }
    pthread_mutex_unlock(&p->lock);
}

static void hear(struct pulse *p, json_t *message)
{
    const char *is = line_is(message);
    pthread_mutex_lock(&p->lock);
    if (strcmp(is, "job") == 0 || strcmp(is, "asset") == 0) {
        json_decref(p->given);
        p->given = TAKE(message); // to one who has it alone: the other thread's count is not ours
        pthread_cond_signal(&p->given_some);
    } else if (p->working && strcmp(is, "go") == 0) {
        p->go = true;
        pthread_cond_signal(&p->given_some);
    } else if (p->working) { // "cancel" or "lost"
        p->lost = p->lost || strcmp(is, "lost") == 0;
        cancel_request(&p->stop_work);
        pthread_cond_signal(&p->given_some);
    }
    pthread_mutex_unlock(&p->lock);
    json_decref(message);
}

static void start_leaving(struct pulse *p)
{
    if (p->leaving_us)
        return;
    p->leaving_us = kb_now_us();
    pthread_mutex_lock(&p->lock);
    cancel_request(&p->leave);
    pthread_cond_signal(&p->given_some);
    pthread_mutex_unlock(&p->lock);
}

// Waits for what the server says, or until it is time to tell it something.
static void listen_to_server(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    bool busy = p->working || p->given || p->asset_since_us || p->ended;
    pthread_mutex_unlock(&p->lock);
    if (p->leaving_us) { // nothing more will come, and the end of the line wakes at once
        usleep(BEAT_US);
        return;
    }
    struct pollfd fd = {.fd = p->line, .events = POLLIN};
    poll(&fd, 1, (busy ? BEAT_US : IDLE_US) / 1000);
    json_t *message;
    enum line_state state;
    while ((state = line_receive(p->line, &message)) == LINE_MESSAGE)
        hear(p, message);
    if (state != LINE_NOTHING || cancel_requested(p->params->cancel))
        start_leaving(p);
}

// The job does not stop: hand it back and go, with whatever it still does.
static void leave_by_force(struct pulse *p)
{
    pthread_mutex_lock(&p->lock); // and so nothing more is said of it
    if (p->working)
        line_send(p->line, true, json_pack("{s:s}", "is", "back")); // by force, so without waiting
    _exit(0);
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
        listen_to_server(p);
        if (p->leaving_us && kb_now_us() - p->leaving_us > GIVE_UP_US)
            leave_by_force(p);
        look_after_asset(p);
        tell_job(p);
        if (kb_now_us() - told_us > WORKER_TOLD_US) {
            told_us = kb_now_us();
            tell_worker(p);
        }
        pthread_mutex_lock(&p->lock);
        bool ended = p->ended;
        pthread_mutex_unlock(&p->lock);
        if (ended)
            return NULL;
    }
}

// --- what the worker asks of it

static void pulse_free(struct pulse *p)
{
    json_decref(p->given);
    pthread_cond_destroy(&p->given_some);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

enum kb_code pulse_start(struct pulse **ret, const struct worker_params *params,
                         struct kb_error *err)
{
    struct pulse *p = kb_alloc(sizeof(*p));
    p->params = params;
    p->line = params->parent_fd;
    p->state = "starting";
    p->stop_work.parent = &p->leave;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->given_some, NULL);
    tell_worker(p);
    int e = pthread_create(&p->thread, NULL, pulse_run, p);
    if (e != 0) {
        pulse_free(p);
        return kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
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

json_t *pulse_ask(struct pulse *p)
{
    pulse_say(p, json_pack("{s:s}", "is", "next"));
    pthread_mutex_lock(&p->lock);
    while (!p->given && !cancel_requested(&p->leave))
        pthread_cond_wait(&p->given_some, &p->lock);
    json_t *given = cancel_requested(&p->leave) ? NULL : TAKE(p->given);
    pthread_mutex_unlock(&p->lock);
    return given;
}

void pulse_begin_job(struct pulse *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop_work.requested, false);
    assert(!p->working);
    p->working = true;
    p->lost = p->go = false;
    p->at = (struct progress){.stage = STAGE_LOADING};
    p->fps = 0;
    p->fps_us = p->told_us = 0;
    pthread_mutex_unlock(&p->lock);
    pulse_set_state(p, "busy");
}

void pulse_end_job(struct pulse *p, bool *ret_lost)
{
    pthread_mutex_lock(&p->lock);
    assert(p->working);
    p->working = false;
    *ret_lost = p->lost;
    pthread_mutex_unlock(&p->lock);
}

void pulse_await_go(struct pulse *p)
{
    pulse_say(p, json_pack("{s:s}", "is", "loaded"));
    pthread_mutex_lock(&p->lock);
    while (!p->go && !cancel_requested(&p->stop_work))
        pthread_cond_wait(&p->given_some, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pulse_progress(void *pulse, const struct progress *now)
{
    struct pulse *p = pulse;
    pthread_mutex_lock(&p->lock);
    if (now->stage != p->at.stage) {
        p->fps_us = 0;
        p->fps = 0;
    }
    if (now->stage != p->at.stage || now->done != p->at.done || now->total != p->at.total)
        p->told_us = 0;
    p->at = *now;
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
