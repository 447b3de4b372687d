// Starts workers and keeps them going. One thread looks after all of them five times a second; what
// they do is the broker's, which tells how they are. They are told to end by the end of the line
// that is their standard input.
#include "worker/supervisor.h"

#include "asset/asset.h"
#include "asset/claim.h"
#include "queue/retention.h"
#include "queue/sweep.h"
#include "queue/worker.h"
#include "store/store.h"
#include "worker/broker.h"
#include "worker/hang.h"
#include "worker/internal.h"
#include "worker/previews.h"

#include "base/log.h"
#include "base/proc.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_US           200000
#define SWEEP_US          1000000
#define RETENTION_US      (3600LL * 1000000)
#define STOP_WAIT_US      5000000
#define KILL_WAIT_US      2000000
#define YOUNG_US          5000000 // a worker that dies younger than this is started again later
#define FIRST_PAUSE_US    100000
#define LONGEST_PAUSE_US  30000000
#define HANG_MS           60000
#define CLOCK_LEAP_MS     3000
#define MEMORY_PER_WORKER ((int64_t)KB_GB)
#define MAX_WORKERS       64
#define INSPECTOR         "i1"
#define PREVIEWER         "p1"
#define PREVIEWER_THREADS 2 // it runs beside those that do jobs

struct slot {
    char id[16];
    enum seat_kind kind;
    pid_t pid; // 0: not running
    int seat;  // at the broker's, of the process or the last one; -1: none
    int64_t started_us, start_at_us, pause_us;
    bool hung, bad; // killed by us: it stood still, or said what makes no sense
};

struct supervisor {
    struct supervisor_params params; // strings owned
    struct store *store;
    struct broker *broker;
    pthread_t thread;
    struct cancel stop;
    int64_t wall_ms, now_us;        // when the clocks were last compared
    int64_t patient_until_us;       // with what hangs
    int64_t sweep_patient_until_us; // with leases
    int n_slots, n_generators;
    struct slot slots[MAX_WORKERS + 2];
};

int supervisor_auto_workers(void)
{
    int64_t available = proc_bytes("/proc/meminfo", "MemAvailable");
    int by_memory = (int)KB_MIN(available / MEMORY_PER_WORKER, (int64_t)MAX_WORKERS);
    return KB_MAX(KB_MIN(kb_cpu_count() / 2, by_memory), 1);
}

// --- starting

struct arguments {
    char *list[40];
    int n;
};

static void add(struct arguments *a, char *owned)
{
    a->list[a->n++] = owned;
}

static void add_option(struct arguments *a, const char *name, int64_t value)
{
    add(a, kb_strdup(name));
    add(a, kb_printf("%lld", (long long)value));
}

static struct arguments worker_arguments(const struct supervisor *s, const struct slot *slot)
{
    const struct worker_params *w = &s->params.worker;
    struct arguments a = {0};
    int threads =
        w->threads > 0 ? w->threads : KB_MAX(kb_cpu_count() / KB_MAX(s->n_generators, 1), 1);
    if (slot->kind == SEAT_PREVIEWS)
        threads = KB_MIN(PREVIEWER_THREADS, kb_cpu_count());
    add(&a, kb_strdup("koubo"));
    add(&a, kb_strdup("worker"));
    add(&a, kb_strdup("--lang")); // one language in a terminal and a log
    add(&a, kb_strdup(kb_language_name(kb_language_process())));
    add(&a, kb_strdup("--data"));
    add(&a, kb_strdup(s->params.data));
    add(&a, kb_strdup("--id"));
    add(&a, kb_strdup(slot->id));
    add(&a, kb_strdup("--precision"));
    add(&a, kb_strdup(precision_name(w->precision)));
    add_option(&a, "--threads", threads);
    add_option(&a, "--min-free-bytes", w->min_free_bytes);
    add_option(&a, "--memory-bytes", w->memory_bytes);
    add_option(&a, "--output-bytes", w->output_bytes);
    add_option(&a, "--cpu-factor", w->cpu_factor);
    add_option(&a, "--parent-fd", STDIN_FILENO);
    if (slot->kind == SEAT_INSPECTS)
        add(&a, kb_strdup("--inspect"));
    if (w->unconfined)
        add(&a, kb_strdup("--no-sandbox"));
    if (s->params.log_json)
        add(&a, kb_strdup("--log-json"));
    // A worker says as much as its server; what KOUBO_LOG says they have both read.
    static const char *const levels[] = {
        [LOG_WARN] = "-q", [LOG_VERBOSE] = "-v", [LOG_DEBUG] = "-vv"};
    if (levels[log_level()])
        add(&a, kb_strdup(levels[log_level()]));
    assert(a.n < (int)ARRAY_LEN(a.list)); // the last one is NULL
    return a;
}

// The environment without the keys of an S3 depot: a worker that a file takes over must not have
// them to give away. free(); the strings are the environment's.
static char **worker_environment(void)
{
    int n = 0, n_kept = 0;
    while (environ[n])
        n++;
    char **kept = kb_alloc(((size_t)n + 1) * sizeof(*kept));
    for (int i = 0; i < n; i++)
        if (!text_begins(environ[i], "AWS_"))
            kept[n_kept++] = environ[i];
    return kept;
}

// A group of its own, so that Ctrl-C reaches the server alone and workers end in order.
static int spawn_with(struct slot *slot, const char *program, char **argv, int input)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    CLEANUP(kb_freep) char **environment = worker_environment();
    int e = posix_spawn(&slot->pid, program, &actions, &attributes, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return e;
}

static void start(struct supervisor *s, struct slot *slot)
{
    struct kb_error err = {0};
    int line;
    slot->started_us = kb_now_us();
    slot->start_at_us = slot->started_us + LONGEST_PAUSE_US; // if it fails
    slot->seat = broker_seat(s->broker, slot->id, slot->kind, &line, &err);
    if (slot->seat < 0) {
        log_error(_("worker %s cannot be started: %s"), slot->id, err.text);
        return;
    }
    struct arguments a = worker_arguments(s, slot);
    const char *program = s->params.program ? s->params.program : "/proc/self/exe";
    int e = spawn_with(slot, program, a.list, line);
    for (int i = 0; i < a.n; i++)
        free(a.list[i]);
    close(line);
    if (e != 0) {
        slot->pid = 0;
        log_error(_("worker %s cannot be started: %s"), slot->id, kb_strerror(e));
    }
    broker_begin(s->broker, slot->seat, slot->pid);
    slot->hung = slot->bad = false;
    log_debug("worker %s is process %d", slot->id, (int)slot->pid);
}

// --- ending

// Why a process ended, as a sentence's beginning; NULL: as it should.
static const char *reason_of(const struct slot *slot, int status)
{
    if (slot->hung)
        return N_("the worker made no progress for too long and was ended");
    if (slot->bad)
        return N_("the worker said what makes no sense and was ended");
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0 ? NULL : N_("the worker ended by itself");
    switch (WTERMSIG(status)) {
    case SIGKILL:
        return N_("the system ended the worker, most likely because memory ran out");
    case SIGABRT:
        return N_("the worker ran out of memory");
    case SIGXCPU:
        return N_("the worker used too much processor time");
    case SIGSYS:
        return N_("the worker tried something that its cage forbids");
    default:
        return N_("the worker crashed");
    }
}

// For the log: "SIGSEGV", "exit code 4".
static const char *how_it_ended(int status)
{
    static _Thread_local char text[40];
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        snprintf(text, sizeof(text), "SIG%s", name ? name : "?");
    } else {
        snprintf(text, sizeof(text), _("exit code %d"), WEXITSTATUS(status));
    }
    return text;
}

static void buried(struct supervisor *s, struct slot *slot, int status, const struct rusage *used)
{
    const char *reason = reason_of(slot, status);
    struct broker_look look;
    broker_look(s->broker, slot->seat, &look); // one that was sent away did not die young
    bool young = !look.leaves && kb_now_us() - slot->started_us < YOUNG_US;
    slot->pause_us = !young || slot->pause_us == 0
                         ? FIRST_PAUSE_US
                         : KB_MIN(slot->pause_us * 4, (int64_t)LONGEST_PAUSE_US);
    slot->start_at_us = kb_now_us() + slot->pause_us;
    if (reason)
        log_error(
            _("%s (worker %s, %s, %ld MB of memory at most, %ld s of processor time); another "
              "one is started"),
            _(reason), slot->id, how_it_ended(status), used->ru_maxrss / 1024,
            (long)(used->ru_utime.tv_sec + used->ru_stime.tv_sec));
    else if (slot->kind == SEAT_PREVIEWS)
        log_verbose("worker %s has ended; it is started again when a preview is asked for",
                    slot->id);
    else
        log_info(_("worker %s has ended; another one is started"), slot->id);
    struct worker_row row = {.kind = slot->kind == SEAT_INSPECTS ? "inspect" : "generate",
                             .pid = slot->pid,
                             .state = "stopped"};
    snprintf(row.id, sizeof(row.id), "%s", slot->id);
    if (slot->kind != SEAT_PREVIEWS)
        worker_put(s->store, &row, NULL); // only a line in a list
    slot->pid = 0;
    broker_end(s->broker, slot->seat, reason, slot->hung);
}

static void look_at(struct supervisor *s, struct slot *slot)
{
    int status;
    struct rusage used;
    if (slot->pid && wait4(slot->pid, &status, WNOHANG, &used) == slot->pid)
        buried(s, slot, status, &used);
    // Not before all that the last one said is written down.
    bool seated = slot->seat >= 0 && broker_is_seated(s->broker, slot->seat);
    bool wanted = slot->kind != SEAT_PREVIEWS || previews_wait(broker_previews(s->broker));
    if (!slot->pid && !seated && wanted && kb_now_us() >= slot->start_at_us)
        start(s, slot);
}

// A job that does not move, or a worker of which nothing is heard: one that hangs while it starts,
// an idle one that could not take the next job, an inspector that was stopped. And one that lives
// and does not do what its program does, since a file took it over: that never ends an asset or
// what was cancelled, or asks for nothing. NULL: neither, else what it was at.
static const char *hangs_in(const struct supervisor *s, const struct slot *slot,
                            const struct broker_look *look)
{
    int64_t limit = s->params.hang_ms, age = kb_now_us() - slot->started_us;
    if ((look->job || look->preview) && look->still_ms > limit)
        return stage_id(look->stage);
    if (look->told_ms > HANG_TOLD_MS)
        return "cancelled";
    if (look->asset_ms > hang_asset_ms(limit))
        return "asset";
    if (look->idle_ms > limit)
        return "idle";
    if (look->starting && age > HANG_MS * 1000LL)
        return "starting"; // models come from a slow disk at times, however patient jobs are
    // Until it is there a slow disk may hold it up: the program itself is read from one, too.
    return look->silent_ms > (look->starting ? limit : hang_silent_ms(limit)) ? "silent" : NULL;
}

static void end_bad(struct supervisor *s, struct slot *slot)
{
    struct broker_look look;
    if (!slot->pid || slot->hung || slot->bad)
        return;
    broker_look(s->broker, slot->seat, &look);
    slot->bad = look.bad;
    const char *where = slot->bad ? NULL : hangs_in(s, slot, &look);
    slot->hung = where != NULL && kb_now_us() >= s->patient_until_us;
    int64_t longest_ms = KB_MAX(KB_MAX(look.silent_ms, look.still_ms),
                                KB_MAX(KB_MAX(look.told_ms, look.asset_ms), look.idle_ms));
    if (slot->hung)
        log_warn(_("worker %s made no progress for %lld s (%s): it is ended and started again"),
                 slot->id, (long long)longest_ms / 1000, where);
    if (slot->hung || slot->bad)
        kill(slot->pid, SIGKILL);
}

// Leases are wall clock: after a leap of it all look as if they had run out. What the broker knows
// of its workers is not, and hangs are seen as ever. After the machine slept, or stood, every
// worker looks as if it had been silent for long; they get the time to be heard again. Whether it
// slept is seen at our own sleep only: what we do besides may wait long for the database, which a
// worker that hangs may hold.
static void rest(struct supervisor *s)
{
    int64_t begin_us = kb_now_us();
    usleep(LOOK_US);
    int64_t wall_ms = kb_wall_ms(), now_us = kb_now_us();
    bool stood = now_us - begin_us > LOOK_US + CLOCK_LEAP_MS * 1000;
    if (stood)
        s->patient_until_us = now_us + s->params.hang_ms * 1000;
    if (stood || llabs((wall_ms - s->wall_ms) - (now_us - s->now_us) / 1000) > CLOCK_LEAP_MS)
        s->sweep_patient_until_us = now_us + s->params.hang_ms * 1000;
    s->wall_ms = wall_ms;
    s->now_us = now_us;
}

static void sweep(struct supervisor *s)
{
    struct kb_error err = {0};
    int64_t held[BROKER_SEATS];
    struct sweep_params p = {.lease_ms = s->params.lease_ms,
                             .min_free_bytes = s->params.worker.min_free_bytes,
                             .held = held,
                             .n_held = broker_jobs(s->broker, held)};
    if (kb_now_us() < s->sweep_patient_until_us)
        p.lease_ms = INT64_MAX;
    enum kb_code code = sweep_run(s->store, &p, &err);
    if (code == KB_OK)
        code = asset_sweep(s->store, &err);
    if (code != KB_OK)
        log_warn("%s", err.text);
}

static void retain(struct supervisor *s)
{
    struct kb_error err = {0};
    char size[TEXT_SIZE_BYTES];
    struct retention_report report = {0};
    struct retention_params p = {.keep_days = s->params.keep_days,
                                 .keep_bytes = s->params.keep_bytes};
    if (retention_run(s->store, &p, NULL, NULL, &report, &err) != KB_OK)
        log_warn("%s", err.text);
    else if (report.n_removed)
        log_info(_("cleaned up: %d things, %s"), report.n_removed,
                 text_size(size, report.bytes_removed));
}

static void *supervise(void *opaque)
{
    struct supervisor *s = opaque;
    int64_t swept_us = 0, retained_us = 0;
    s->wall_ms = kb_wall_ms();
    s->now_us = kb_now_us();
    while (!cancel_requested(&s->stop)) {
        for (int i = 0; i < s->n_slots; i++) {
            look_at(s, &s->slots[i]);
            end_bad(s, &s->slots[i]);
        }
        if (kb_now_us() - swept_us > SWEEP_US) {
            sweep(s);
            swept_us = kb_now_us();
        }
        if (!retained_us || kb_now_us() - retained_us > RETENTION_US) {
            retain(s);
            retained_us = kb_now_us();
        }
        rest(s);
    }
    return NULL;
}

// --- the whole

static struct slot *add_slot(struct supervisor *s)
{
    struct slot *slot = &s->slots[s->n_slots++];
    slot->seat = -1;
    return slot;
}

static void make_slots(struct supervisor *s)
{
    const struct supervisor_params *p = &s->params;
    int n = p->n_workers > 0 ? p->n_workers : supervisor_auto_workers();
    s->n_generators = p->no_generators ? 0 : KB_MIN(n, MAX_WORKERS);
    for (int i = 0; i < s->n_generators; i++) {
        struct slot *slot = add_slot(s);
        snprintf(slot->id, sizeof(slot->id), "w%d", i + 1);
    }
    if (!p->no_inspector) {
        struct slot *slot = add_slot(s);
        slot->kind = SEAT_INSPECTS;
        snprintf(slot->id, sizeof(slot->id), INSPECTOR);
    }
    if (p->previews) {
        struct slot *slot = add_slot(s);
        slot->kind = SEAT_PREVIEWS;
        snprintf(slot->id, sizeof(slot->id), PREVIEWER);
    }
}

static void supervisor_free(struct supervisor *s)
{
    broker_stop(&s->broker, 0);
    store_close(&s->store);
    free((void *)s->params.data);
    free((void *)s->params.program);
    free(s);
}

enum kb_code supervisor_start(struct supervisor **ret, const struct supervisor_params *p,
                              struct kb_error *err)
{
    struct supervisor *s = kb_alloc(sizeof(*s));
    s->params = *p;
    s->params.data = kb_strdup(p->data);
    s->params.program = kb_strdup(p->program);
    s->params.hang_ms = p->hang_ms > 0 ? p->hang_ms : HANG_MS;
    make_slots(s);
    enum kb_code code = store_open(&s->store, p->data, true, err);
    if (code == KB_OK)
        code = worker_remove(s->store, "", err);
    if (code == KB_OK) // what the inspector of a killed server was at
        code = asset_worker_lost(s->store, INSPECTOR, err);
    if (code == KB_OK) // and its workers
        code = sweep_server_lost(s->store, err);
    if (code == KB_OK)
        code = broker_start(&s->broker, s->params.data, s->params.worker.min_free_bytes, err);
    if (code == KB_OK && s->params.previews) // of the server before
        seat_clear_previews(s->params.data);
    int e = code == KB_OK ? pthread_create(&s->thread, NULL, supervise, s) : 0;
    if (e != 0)
        code = kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
    if (code != KB_OK) {
        supervisor_free(s);
        return code;
    }
    *ret = s;
    return KB_OK;
}

// Until all have ended or the time is over.
static bool bury_all(struct supervisor *s, int64_t wait_us)
{
    int64_t end = kb_now_us() + wait_us;
    bool any;
    do {
        any = false;
        for (int i = 0; i < s->n_slots; i++) {
            struct slot *slot = &s->slots[i];
            int status;
            if (slot->pid && waitpid(slot->pid, &status, WNOHANG) == slot->pid) {
                slot->pid = 0;
                broker_end(s->broker, slot->seat, NULL, false);
            }
            any = any || slot->pid;
        }
        if (any)
            usleep(20000);
    } while (any && kb_now_us() < end);
    return !any;
}

void supervisor_stop(struct supervisor **sp)
{
    struct supervisor *s = *sp;
    if (!s)
        return;
    *sp = NULL;
    cancel_request(&s->stop);
    pthread_join(s->thread, NULL);
    broker_leave(s->broker);
    if (!bury_all(s, STOP_WAIT_US)) {
        for (int i = 0; i < s->n_slots; i++)
            if (s->slots[i].pid)
                kill(s->slots[i].pid, SIGKILL);
        bury_all(s, KILL_WAIT_US);
    }
    broker_stop(&s->broker, STOP_WAIT_US / 1000);
    worker_remove(s->store, "", NULL);
    if (s->params.previews)
        seat_clear_previews(s->params.data);
    supervisor_free(s);
}

struct previews *supervisor_previews(struct supervisor *s)
{
    return broker_previews(s->broker);
}
