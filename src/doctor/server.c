// The server: does it run, answer and move? Its database, log, workers and jobs.
#include "doctor/internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/port.h"
#include "base/progress.h"
#include "queue/job.h"
#include "queue/stats.h"
#include "queue/worker.h"

#include <curl/curl.h>
#include <jansson.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_WAIT_MS  3000
#define STILL_MS        10000 // a running job moves more often than this
#define HEARTBEAT_MS    5000  // a worker's, every second
#define LOG_TAIL_BYTES  (1 << 20)
#define DAY_S           86400
#define SLOWER_THAN_AVG 5.0

// --- the process

// "PID\nADDRESS\n" in the file that a running server holds locked. False: none runs.
static bool server_running(const struct doctor *d, long *ret_pid, char ret_url[256])
{
    CLEANUP(kb_freep) char *path = path_join(d->data, "lock");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool running = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    char content[300] = "";
    ssize_t n = pread(fd, content, sizeof(content) - 1, 0);
    close(fd);
    content[KB_MAX(n, 0)] = '\0';
    char *rest;
    *ret_pid = strtol(content, &rest, 10);
    snprintf(ret_url, 256, "%.*s", (int)strcspn(rest + strspn(rest, "\n"), "\n"),
             rest + strspn(rest, "\n"));
    return running;
}

static size_t drop(char *data, size_t size, size_t n, void *opaque)
{
    return size * n;
}

// Milliseconds until /healthz answered 200, negative if it did not (*err).
static double ask_health(const char *url, struct kb_error *err)
{
    CLEANUP(kb_freep) char *address = kb_printf("%s/healthz", url);
    CURL *curl = curl_easy_init();
    if (!curl) {
        kb_no_memory(err);
        return -1;
    }
    curl_easy_setopt(curl, CURLOPT_URL, address);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ANSWER_WAIT_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    int64_t begin = kb_now_us();
    CURLcode result = curl_easy_perform(curl);
    double ms = (double)(kb_now_us() - begin) / 1e3;
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    if (result != CURLE_OK)
        kb_fail(err, KB_UNAVAILABLE, "%s", curl_easy_strerror(result));
    else if (status != 200)
        kb_fail(err, KB_UNAVAILABLE, "HTTP %ld", status);
    return result == CURLE_OK && status == 200 ? ms : -1;
}

// Is there a server to look further at?
static bool look_at_process(struct doctor *d)
{
    long pid;
    char url[256], owner[128];
    if (server_running(d, &pid, url)) {
        struct kb_error err = {0};
        double ms = ask_health(url, &err);
        if (ms >= 0)
            doctor_add(d, "server", _("server"), FINDING_OK, NULL,
                       _("runs (process %ld) and answers at %s in %.0f ms"), pid, url, ms);
        else
            doctor_add(d, "server", _("server"), FINDING_PROBLEM,
                       _("stop it (kill the process) and start it again; no job is lost"),
                       _("runs (process %ld) but does not answer at %s: %s"), pid, url, err.text);
        return true;
    }
    if (port_owner(d->port, owner))
        doctor_add(d, "server", _("server"), FINDING_PROBLEM,
                   _("stop that program, or start koubo on another port: koubo serve --port N"),
                   _("does not run, and port %d is taken by %s"), d->port, owner);
    else
        doctor_add(d, "server", _("server"), FINDING_WARNING,
                   _("start it with ./start.sh or koubo serve"), _("does not run; port %d is free"),
                   d->port);
    return false;
}

// --- the log

static int64_t entry_age_s(const char *time_text)
{
    struct tm tm = {0};
    if (!strptime(time_text, "%Y-%m-%dT%H:%M:%S", &tm))
        return -1;
    return kb_wall_ms() / 1000 - (int64_t)timegm(&tm);
}

struct log_summary {
    int64_t last_age_s; // -1 = no line
    int n_errors;       // within a day
    char last_error[400];
};

static void read_log(FILE *f, struct log_summary *ret)
{
    char line[4096];
    *ret = (struct log_summary){.last_age_s = -1};
    if (fseek(f, -LOG_TAIL_BYTES, SEEK_END) == 0 && !fgets(line, sizeof(line), f))
        return; // the rest of a line cut in two
    while (fgets(line, sizeof(line), f)) {
        struct log_entry e;
        if (!log_parse(line, &e))
            continue;
        int64_t age = entry_age_s(e.time);
        if (age >= 0)
            ret->last_age_s = age;
        if (e.level == LOG_ERROR && age >= 0 && age < DAY_S) {
            ret->n_errors++;
            snprintf(ret->last_error, sizeof(ret->last_error), "%s", e.text);
        }
    }
}

static void look_at_log(struct doctor *d)
{
    CLEANUP(kb_freep) char *folder = path_join(d->data, "logs");
    CLEANUP(kb_freep) char *path = path_join(folder, "koubo.log");
    FILE *f = fopen(path, "re");
    if (!f) {
        doctor_add(d, "log", _("log"), FINDING_WARNING,
                   _("let the user who runs koubo write in that folder"),
                   _("'%s' cannot be read: %s"), path, kb_strerror(errno));
        return;
    }
    struct log_summary log;
    read_log(f, &log);
    fclose(f);
    if (log.last_age_s < 0)
        doctor_add(d, "log", _("log"), FINDING_OK, NULL, _("'%s' is empty"), path);
    else if (log.n_errors)
        doctor_add(d, "log", _("log"), FINDING_WARNING,
                   _("read the log; each error says what to do"),
                   _("last line %lld s ago; %d errors within a day, the last: %s"),
                   (long long)log.last_age_s, log.n_errors, log.last_error);
    else
        doctor_add(d, "log", _("log"), FINDING_OK, NULL,
                   _("last line %lld s ago; no error within a day"), (long long)log.last_age_s);
}

// --- workers and jobs

static json_t *parse_taken(struct text *t)
{
    json_t *value = json_loads(text_get(t), 0, NULL);
    text_free(t);
    return value;
}

static const char *string_of(json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "?";
}

static int64_t ms_since(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? kb_wall_ms() - json_integer_value(value) : -1;
}

static void look_at_workers(struct doctor *d, struct store *s, bool running)
{
    struct text t = {0};
    if (!running || worker_list_json(s, &t, NULL) != KB_OK)
        return;
    json_t *workers = parse_taken(&t), *worker;
    size_t i;
    int n = 0, n_late = 0;
    json_array_foreach(workers, i, worker)
    {
        if (strcmp(string_of(worker, "kind"), "generate") == 0)
            n++;
        n_late += ms_since(worker, "heartbeat") > HEARTBEAT_MS;
    }
    if (n == 0)
        doctor_add(
            d, "workers", _("workers"), FINDING_PROBLEM,
            _("right after a start wait some seconds; else read the log, which says why they end"),
            "%s", _("no worker runs, so no job can"));
    else if (n_late)
        doctor_add(d, "workers", _("workers"), FINDING_WARNING,
                   _("wait a minute: a worker that hangs is replaced; else start the server again"),
                   _("%d run; %d of the processes have not been heard of for %d s"), n, n_late,
                   HEARTBEAT_MS / 1000);
    else
        doctor_add(d, "workers", _("workers"), FINDING_OK, NULL, _("%d run"), n);
    json_decref(workers);
}

// The queue calls a stage as base/progress.h does.
static const char *state_title(const char *state)
{
    enum stage stage;
    return stage_parse(state, &stage) ? stage_title(stage) : state;
}

// One running job against what its stage usually takes.
static void look_at_job(struct doctor *d, json_t *job, json_t *averages)
{
    const char *state = string_of(job, "state");
    double in_stage = (double)ms_since(job, "state_since") / 1e3;
    double average = json_number_value(json_object_get(averages, state));
    int64_t still = ms_since(job, "progressed");
    bool stuck = still > STILL_MS;
    bool slow = average > 1 && in_stage > SLOWER_THAN_AVG * average;
    doctor_add(d, "job", _("job"), stuck || slow ? FINDING_WARNING : FINDING_OK,
               stuck  ? _("wait: without progress for a minute it is started again by itself")
               : slow ? _("a long video, or a busy machine; its progress says how far it is")
                      : NULL,
               _("#%lld '%s': %s for %.0f s (usually %.0f s), last progress %.0f s ago"),
               (long long)json_integer_value(json_object_get(job, "id")), string_of(job, "name"),
               state_title(state), in_stage, average, (double)KB_MAX(still, 0) / 1e3);
}

static void look_at_queue(struct doctor *d, struct store *s, json_t *counts)
{
    struct text t = {0};
    struct job_filter queued = {.state = "queued", .limit = 1};
    if (job_list_json(s, &queued, &t, NULL) != KB_OK)
        return;
    json_t *list = parse_taken(&t);
    json_t *first = json_array_get(json_object_get(list, "items"), 0);
    int64_t n = json_integer_value(json_object_get(counts, "queued"));
    const char *waiting = first ? string_of(first, "waiting") : "";
    bool disk = strcmp(waiting, "disk") == 0;
    if (disk)
        doctor_add(d, "queue", _("queue"), FINDING_PROBLEM,
                   _("delete old results, run koubo clean, or lower --min-free"),
                   _("%lld jobs wait for disk space"), (long long)n);
    else
        doctor_add(d, "queue", _("queue"), FINDING_OK, NULL,
                   _("%lld jobs wait, %lld done, %lld failed"), (long long)n,
                   (long long)json_integer_value(json_object_get(counts, "done")),
                   (long long)json_integer_value(json_object_get(counts, "failed")));
    json_decref(list);
}

static void look_at_jobs(struct doctor *d, struct store *s)
{
    struct text stats_text = {0}, list_text = {0};
    struct job_filter filter = {.state = "running", .limit = 1000};
    if (stats_json(s, &stats_text, NULL) != KB_OK ||
        job_list_json(s, &filter, &list_text, NULL) != KB_OK) {
        text_free(&stats_text);
        text_free(&list_text);
        return;
    }
    json_t *stats = parse_taken(&stats_text), *list = parse_taken(&list_text), *job;
    size_t i;
    json_array_foreach(json_object_get(list, "items"), i, job)
        look_at_job(d, job, json_object_get(stats, "stage_average_s"));
    look_at_queue(d, s, json_object_get(stats, "jobs"));
    json_decref(stats);
    json_decref(list);
}

void doctor_look_at_server(struct doctor *d)
{
    bool running = look_at_process(d);
    if (!file_is_dir(d->data)) {
        doctor_add(d, "database", _("database"), FINDING_OK, NULL,
                   _("none yet; koubo serve makes the data folder '%s'"), d->data);
        return;
    }
    CLEANUP(store_close) struct store *s = NULL;
    struct kb_error err = {0};
    if (store_open(&s, d->data, false, &err) == KB_OK)
        doctor_add(d, "database", _("database"), FINDING_OK, NULL, _("in order, in '%s'"), d->data);
    else
        doctor_add(d, "database", _("database"), FINDING_PROBLEM,
                   _("move koubo.db and its -wal file away and start the server; it makes a new "
                     "one, results stay in the folder results"),
                   "%s", err.text);
    look_at_log(d);
    if (s) {
        look_at_workers(d, s, running);
        look_at_jobs(d, s);
    }
}
