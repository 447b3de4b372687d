// What machines say, checked: it must be one of a few things, in its range, and signed by who says
// it with one of the latest nonces.
#include "cluster/head_parts.h"

#include "base/log.h"
#include "worker/line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CORES  65536
#define MOST_BYTES  ((int64_t)(64 * KB_GB))
#define MOST_AMOUNT (INT64_C(1) << 53) // of bytes or milliseconds that are only shown
#define MOST_WORD   200
#define MOST_GPUS   64
#define WARN_US     60000000 // between lines of the log about the same

void said_free(struct said *s)
{
    free(s->facts);
    free(s->reports);
    *s = (struct said){0};
}

// --- taking apart

static bool in(double value, double low, double high)
{
    return isfinite(value) && value >= low && value <= high;
}

static bool amount(json_int_t n)
{
    return n >= 0 && n <= MOST_AMOUNT;
}

static bool is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

static bool take_report(struct remote_report *r, const json_t *j)
{
    int stage;
    json_int_t job, lease, done, total;
    double fps;
    if (json_unpack_ex((json_t *)j, NULL, JSON_STRICT, "{s:I, s:I, s:i, s:I, s:I, s:F}", "job",
                       &job, "lease", &lease, "stage", &stage, "done", &done, "total", &total,
                       "fps", &fps) != 0 ||
        job < 1 || lease < 0)
        return false;
    *r = (struct remote_report){
        .job = job, .lease = lease, .at = {(enum stage)stage, done, total, fps}};
    return line_report_is_sane(&r->at);
}

static bool take_reports(struct said *s, const json_t *jobs)
{
    size_t n = json_array_size(jobs);
    if (!json_is_array(jobs) || n > HEAD_JOBS)
        return false;
    s->reports = kb_alloc((n + 1) * sizeof(*s->reports));
    for (size_t i = 0; i < n; i++)
        if (!take_report(&s->reports[i], json_array_get(jobs, i)))
            return false;
    s->n_reports = (int)n;
    return true;
}

static bool are_words(const json_t *list)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > MOST_GPUS)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!json_is_string(json_array_get(list, i)) ||
            json_string_length(json_array_get(list, i)) > MOST_WORD)
            return false;
    return true;
}

// What it tells of itself is shown as it is, without what is for us alone.
static char *facts_of(const json_t *m)
{
    json_auto_t *facts = json_copy((json_t *)m);
    json_object_del(facts, "is");
    json_object_del(facts, "boot");
    json_object_del(facts, "jobs");
    return json_dumps(facts, JSON_COMPACT);
}

static bool take_own_beat(struct said *s, struct mate *mate, const json_t *m)
{
    const char *version, *boot, *cpu;
    int slots, draining, workers, cores;
    double load;
    json_int_t memory[2], disk[2], cache, clock;
    const json_t *gpus, *jobs;
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT,
                       "{s:s, s:s, s:s, s:i, s:b, s:i, s:i, s:s, s:F, s:{s:I, s:I}, s:{s:I, s:I},"
                       " s:I, s:o, s:I, s:o}",
                       "is", &(const char *){0}, "version", &version, "boot", &boot, "slots",
                       &slots, "draining", &draining, "workers", &workers, "cores", &cores, "cpu",
                       &cpu, "load", &load, "memory", "total", &memory[0], "available", &memory[1],
                       "disk", "total", &disk[0], "free", &disk[1], "cache", &cache, "gpus", &gpus,
                       "clock", &clock, "jobs", &jobs) != 0 ||
        strlen(version) >= sizeof(mate->version) || !is_hex(boot, sizeof(mate->boot) - 1) ||
        slots < 0 || slots > HEAD_JOBS || workers < 0 || workers > HEAD_JOBS || cores < 0 ||
        cores > MOST_CORES || strlen(cpu) > MOST_WORD || !in(load, 0, 1e6) || !amount(memory[0]) ||
        !amount(memory[1]) || !amount(disk[0]) || !amount(disk[1]) || !amount(cache) ||
        !amount(clock) || !are_words(gpus) || !take_reports(s, jobs))
        return false;
    s->facts = facts_of(m);
    s->slots = slots;
    if (strcmp(mate->boot, boot) != 0) // a new process does not know yet what it may do
        mate->told = MATE_UNTOLD;
    snprintf(mate->version, sizeof(mate->version), "%s", version);
    snprintf(mate->boot, sizeof(mate->boot), "%s", boot);
    mate->slots = slots;
    mate->leaves = draining;
    return s->facts != NULL;
}

// Of another version, which says it in other words perhaps: that alone is to be known, and what it
// says of jobs that it may still end.
static bool take_other_beat(struct said *s, struct mate *mate, const json_t *m, const char *version)
{
    const char *boot = json_string_value(json_object_get(m, "boot"));
    if (boot && is_hex(boot, sizeof(mate->boot) - 1) && strcmp(mate->boot, boot) != 0) {
        snprintf(mate->boot, sizeof(mate->boot), "%s", boot);
        mate->told = MATE_UNTOLD;
    }
    take_reports(s, json_object_get(m, "jobs")); // or none
    snprintf(mate->version, sizeof(mate->version), "%s", version);
    mate->slots = s->slots = 0;
    json_auto_t *facts = json_pack("{s:s}", "version", version);
    s->facts = json_dumps(facts, JSON_COMPACT);
    return s->facts != NULL;
}

static bool take_beat(struct said *s, struct mate *mate, const json_t *m)
{
    const char *version = json_string_value(json_object_get(m, "version"));
    if (!version || strlen(version) >= sizeof(mate->version))
        return false;
    return strcmp(version, KOUBO_VERSION) == 0 ? take_own_beat(s, mate, m)
                                               : take_other_beat(s, mate, m, version);
}

static bool take_done(struct said *s, const json_t *m)
{
    const char *sha256;
    json_int_t size, frames, animated;
    struct dub_result *r = &s->result;
    double *stages = r->stage_s;
    _Static_assert(N_STAGES == 5, "as many as are read here");
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT,
                       "{s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:F, s:i, s:i, s:[F, F, F, F, F]}",
                       "is", &(const char *){0}, "job", &(json_int_t){0}, "lease", &(json_int_t){0},
                       "sha256", &sha256, "size", &size, "frames", &frames, "animated", &animated,
                       "seconds", &r->seconds, "width", &r->width, "height", &r->height, "stages",
                       &stages[0], &stages[1], &stages[2], &stages[3], &stages[4]) != 0 ||
        !is_hex(sha256, sizeof(s->sha256) - 1) || size < 1 || size > MOST_BYTES)
        return false;
    r->frames = frames;
    r->frames_animated = animated;
    if (!line_result_is_sane(r))
        return false;
    memcpy(s->sha256, sha256, sizeof(s->sha256));
    s->size = size;
    return true;
}

// As a worker's line says it (worker/line.h), beside job and lease.
static bool take_failed(struct said *s, const json_t *m)
{
    json_auto_t *line = json_copy((json_t *)m);
    json_object_del(line, "job");
    json_object_del(line, "lease");
    return line && line_read_error(line, &s->why);
}

static bool take_back(struct said *s, const json_t *m)
{
    const char *bad = NULL;
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT, "{s:s, s:I, s:I, s?s}", "is",
                       &(const char *){0}, "job", &(json_int_t){0}, "lease", &(json_int_t){0},
                       "bad", &bad) != 0 ||
        (bad && !is_hex(bad, sizeof(s->bad) - 1)))
        return false;
    snprintf(s->bad, sizeof(s->bad), "%s", bad ? bad : "");
    return true;
}

static bool has_only_job(const json_t *m)
{
    return json_object_size(m) == 3; // is, job, lease
}

static bool take_apart(struct said *s, struct mate *mate, const json_t *m)
{
    const char *is = wire_is(m);
    if (strcmp(is, "beat") == 0) {
        s->kind = SAID_BEAT;
        return take_beat(s, mate, m);
    }
    json_int_t job, lease;
    if (json_unpack((json_t *)m, "{s:I, s:I}", "job", &job, "lease", &lease) != 0 || job < 1 ||
        lease < 0)
        return false;
    s->job = job;
    s->lease = lease;
    if (strcmp(is, "taken") == 0)
        s->kind = SAID_TAKEN;
    else if (strcmp(is, "made") == 0)
        s->kind = SAID_MADE;
    else if (strcmp(is, "back") == 0)
        s->kind = SAID_BACK;
    else if (strcmp(is, "done") == 0)
        s->kind = SAID_DONE;
    else if (strcmp(is, "failed") == 0)
        s->kind = SAID_FAILED;
    else
        return false;
    if (s->kind == SAID_DONE)
        return take_done(s, m);
    if (s->kind == SAID_BACK)
        return take_back(s, m);
    return s->kind == SAID_FAILED ? take_failed(s, m) : has_only_job(m);
}

// --- who lives

static void note_life(struct head *h, struct mate *mate)
{
    if (!mate->here)
        log_info(_("machine %s is here"), mate->row.name);
    mate->here = true;
    mate->heard_clock = h->clock_us;
}

// at: where it is; NULL = not told.
static void note_job(struct head *h, const struct mate *mate, int64_t job, int64_t lease,
                     const struct job_report *at)
{
    struct held *held = head_held_by(h, mate->row.name, job, lease);
    if (!held)
        return;
    held->heard_clock = h->clock_us;
    held->missing = 0;
    if (at && held->r.state <= REMOTE_TAKEN && (at->stage != held->stage || at->done != held->done))
        held->moved_clock = h->clock_us;
    if (at) {
        held->stage = at->stage;
        held->done = at->done;
    }
}

// A job that a later process of its machine does not know is not there any more.
static void note_missing(struct head *h, const struct mate *mate, const struct said *s)
{
    for (int i = 0; i < h->n_held; i++) {
        struct held *held = &h->held[i];
        if (held->ended || strcmp(held->r.node, mate->row.name) != 0 || !held->boot[0] ||
            strcmp(held->boot, mate->boot) == 0)
            continue;
        bool mentioned = false;
        for (int j = 0; j < s->n_reports && !mentioned; j++)
            mentioned = s->reports[j].job == held->r.job && s->reports[j].lease == held->r.lease;
        if (mentioned)
            memcpy(held->boot, mate->boot, sizeof(held->boot)); // it goes on with it
        else
            held->missing++;
    }
}

static void note_beat(struct head *h, struct mate *mate, const struct said *s)
{
    bool refused = strcmp(mate->version, KOUBO_VERSION) != 0;
    if (refused && !mate->refused)
        log_warn(_("machine %s runs koubo %s and gets no jobs: this one is koubo %s"),
                 mate->row.name, mate->version, KOUBO_VERSION);
    mate->refused = refused;
    for (int i = 0; i < s->n_reports; i++)
        note_job(h, mate, s->reports[i].job, s->reports[i].lease, &s->reports[i].at);
    note_missing(h, mate, s);
}

// --- hearing

static bool is_fresh(const struct head *h, const char *nonce)
{
    for (int i = 0; i < HEAD_NONCES; i++) // written by this thread alone
        if (h->nonces[i][0] && strcmp(h->nonces[i], nonce) == 0)
            return true;
    return false;
}

static void name_stranger(struct head *h, const char *node, bool known)
{
    int64_t now = kb_now_us();
    if (h->strangers_us && now - h->strangers_us < WARN_US)
        return;
    h->strangers_us = now;
    if (!node_name_is_valid(node))
        node = "?";
    if (known)
        log_warn(_("somebody speaks as machine %s and does not have its token: nobody listens to "
                   "that. A new token is made in the page"),
                 node);
    else
        log_warn(_("a machine that calls itself %s is not known here: add it in the page"), node);
}

static void take_one(struct head *h, const struct wire_told *told)
{
    struct mate *mate = head_mate(h, told->node);
    if (!mate || !wire_is_by(told, mate->row.secret)) {
        head_refresh_mates(h); // it may be a new one, or have a new secret
        mate = head_mate(h, told->node);
    }
    if (!mate || !wire_is_by(told, mate->row.secret)) {
        name_stranger(h, told->node, mate != NULL);
        return;
    }
    if (!is_fresh(h, told->nonce) || h->n_said == HEAD_TOLD)
        return;
    // What is beyond this a machine says again, or it floods.
    if (!flood_may_speak(&mate->flood, kb_now_us()))
        return;
    flood_heard(&mate->flood, strlen(told->text));
    struct said *s = &h->said[h->n_said];
    *s = (struct said){0};
    if (!told->body || !take_apart(s, mate, told->body)) {
        said_free(s);
        if (kb_now_us() - mate->warned_us > WARN_US)
            log_warn(_("machine %s said what makes no sense; that is left out"), mate->row.name);
        mate->warned_us = kb_now_us();
        return;
    }
    snprintf(s->node, sizeof(s->node), "%s", told->node);
    note_life(h, mate);
    if (s->kind == SAID_BEAT)
        note_beat(h, mate, s);
    else
        note_job(h, mate, s->job, s->lease, NULL);
    h->n_said++;
}

void head_take(struct head *h, const struct wire_told *told, int n)
{
    for (int i = 0; i < n; i++)
        take_one(h, &told[i]);
    for (int i = h->n_said; i-- > 0;) {
        struct said *s = &h->said[i];
        s->is_last = s->kind == SAID_BEAT;
        for (int j = i + 1; j < h->n_said && s->is_last; j++)
            s->is_last = h->said[j].kind != SAID_BEAT || strcmp(h->said[j].node, s->node) != 0;
    }
}
