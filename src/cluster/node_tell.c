// What a node tells the head: that it lives and how far its jobs are, and of each job what the head
// has to know, again and again until it answers.
#include "cluster/node_internal.h"

#include "base/log.h"
#include "base/proc.h"
#include "worker/line.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define BEAT_US       1000000
#define BUSY_BEAT_US  500000
#define PULSE_US      3000000
#define AGAIN_US      5000000
#define TAKEN_US      2000000 // "taken", which the head answers at once
#define UNANSWERED_US 15000000
#define COMPLAIN_US   60000000

static enum kb_code tell(struct machine *m, json_t *body, struct kb_error *err)
{
    const struct node_params *p = m->params;
    return wire_tell(m->redis, p->name, p->secret, m->pulse, body, err);
}

// --- the beat

static void add_gpu(void *list, const char *name)
{
    json_array_append_new(list, json_string(name));
}

static json_t *list_jobs(struct machine *m)
{
    json_t *list = json_array();
    pthread_mutex_lock(&m->lock);
    for (const struct duty *d = m->duties; d; d = d->next) {
        if (d->state == DUTY_TAKEN || d->state == DUTY_FORGOTTEN)
            continue;
        const struct job_report *r = &d->report;
        json_array_append_new(list, json_pack("{s:I, s:I, s:i, s:I, s:I, s:f}", "job",
                                              (json_int_t)d->job, "lease", (json_int_t)d->lease,
                                              "stage", (int)r->stage, "done", (json_int_t)r->done,
                                              "total", (json_int_t)r->total, "fps", r->fps));
    }
    pthread_mutex_unlock(&m->lock);
    return list;
}

static json_t *make_beat(struct machine *m, int slots)
{
    char cpu[128] = "";
    double load = 0;
    struct statvfs disk = {0};
    json_t *gpus = json_array();
    proc_value("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
    if (getloadavg(&load, 1) != 1)
        load = 0;
    if (statvfs(m->data, &disk) != 0)
        disk = (struct statvfs){0};
    proc_gpus(add_gpu, gpus);
    json_t *beat = json_pack(
        "{s:s, s:s, s:s, s:i, s:b, s:i, s:i, s:s, s:f, s:{s:I, s:I}, s:{s:I, s:I}, s:I, s:o, s:I,"
        " s:o}",
        "is", "beat", "version", m->params->version, "boot", m->boot, "slots", slots, "draining",
        (int)(m->drain_end_us != 0), "workers", m->living, "cores", kb_cpu_count(), "cpu", cpu,
        "load", load, "memory", "total", (json_int_t)proc_bytes("/proc/meminfo", "MemTotal"),
        "available", (json_int_t)proc_bytes("/proc/meminfo", "MemAvailable"), "disk", "total",
        (json_int_t)disk.f_blocks * (json_int_t)disk.f_frsize, "free",
        (json_int_t)disk.f_bavail * (json_int_t)disk.f_frsize, "cache", (json_int_t)m->cache_used,
        "gpus", gpus, "clock", (json_int_t)kb_wall_ms(), "jobs", list_jobs(m));
    return beat;
}

static enum kb_code beat(struct machine *m, struct kb_error *err)
{
    bool busy = false;
    for (const struct duty *d = m->duties; d; d = d->next)
        busy = busy || (d->state != DUTY_TAKEN && d->state != DUTY_FORGOTTEN);
    if (!m->beat_now && kb_now_us() - m->beat_us < (busy ? BUSY_BEAT_US : BEAT_US))
        return KB_OK;
    enum kb_code code = tell(m, make_beat(m, m->slots), err);
    if (code == KB_OK) {
        m->beat_us = kb_now_us();
        m->beat_now = false;
    }
    return code;
}

// --- a job

static json_t *name_job(const char *is, const struct duty *d)
{
    return json_pack("{s:s, s:I, s:I}", "is", is, "job", (json_int_t)d->job, "lease",
                     (json_int_t)d->lease);
}

static json_t *make_done(const struct duty *d)
{
    const struct dub_result *r = &d->made;
    const double *s = r->stage_s;
    _Static_assert(N_STAGES == 5, "as many as are told here");
    json_t *done = name_job("done", d);
    json_t *more =
        json_pack("{s:s, s:I, s:I, s:I, s:f, s:i, s:i, s:[f, f, f, f, f]}", "sha256", d->sha256,
                  "size", (json_int_t)d->size, "frames", (json_int_t)r->frames, "animated",
                  (json_int_t)r->frames_animated, "seconds", r->seconds, "width", r->width,
                  "height", r->height, "stages", s[0], s[1], s[2], s[3], s[4]);
    json_object_update(done, more);
    json_decref(more);
    return done;
}

static json_t *make_failed(const struct duty *d)
{
    json_t *failed = line_error("failed", &d->why);
    json_object_set_new(failed, "job", json_integer(d->job));
    json_object_set_new(failed, "lease", json_integer(d->lease));
    return failed;
}

static json_t *make_back(const struct duty *d)
{
    json_t *back = name_job("back", d);
    if (d->bad)
        json_object_set_new(back, "bad", json_string(d->bad));
    return back;
}

static json_t *make_word(const struct duty *d)
{
    switch (d->state) {
    case DUTY_TAKEN:
        return name_job("taken", d);
    case DUTY_SENDING:
        return name_job("made", d);
    case DUTY_SENT:
        return make_done(d);
    case DUTY_FAILED:
        return make_failed(d);
    case DUTY_BACK:
        return make_back(d);
    case DUTY_FETCHING:
    case DUTY_WORKING:
    case DUTY_FORGOTTEN:
        break;
    }
    return NULL;
}

static enum kb_code tell_of(struct machine *m, struct duty *d, struct kb_error *err)
{
    int64_t again = d->state == DUTY_TAKEN ? TAKEN_US : AGAIN_US;
    if (d->told_us && kb_now_us() - d->told_us < again)
        return KB_OK;
    json_t *word = make_word(d);
    enum kb_code code = word ? tell(m, word, err) : KB_OK;
    if (code == KB_OK && word)
        d->told_us = kb_now_us();
    return code;
}

// --- all of it

static enum kb_code read_pulse(struct machine *m, struct kb_error *err)
{
    char pulse[WIRE_NONCE_BYTES] = "";
    if (m->pulse_us && kb_now_us() - m->pulse_us < (*m->pulse ? PULSE_US : BUSY_BEAT_US))
        return KB_OK;
    enum kb_code code = wire_pulse(m->redis, pulse, err);
    if (code != KB_OK)
        return code;
    m->pulse_us = kb_now_us();
    pthread_mutex_lock(&m->lock); // porters read it
    memcpy(m->pulse, pulse, sizeof(pulse));
    pthread_mutex_unlock(&m->lock);
    return KB_OK;
}

// No head, or one that does not know this machine: it answers nobody whom it does not.
static void complain(struct machine *m)
{
    int64_t now = kb_now_us();
    if (!*m->pulse) {
        m->told_us = 0;
        if (!m->headless)
            log_warn(_("no head is at work at %s; this machine waits for 'koubo serve --cluster'"),
                     redis_place(m->redis));
        m->headless = true;
        return;
    }
    m->headless = false;
    if (!m->told_us)
        m->told_us = now;
    if (now - KB_MAX(m->told_us, m->heard_us) < UNANSWERED_US ||
        (m->complained_us && now - m->complained_us < COMPLAIN_US))
        return;
    m->complained_us = now;
    log_warn(_("the head does not answer this machine: is '%s' among the machines of its page, and "
               "its token the one that the page showed last?"),
             m->params->name);
}

enum kb_code machine_tell(struct machine *m, struct kb_error *err)
{
    enum kb_code code = read_pulse(m, err);
    if (code == KB_OK)
        complain(m);
    if (code != KB_OK || !*m->pulse)
        return code;
    for (struct duty *d = m->duties; d && code == KB_OK; d = d->next)
        code = tell_of(m, d, err);
    return code == KB_OK ? beat(m, err) : code;
}
