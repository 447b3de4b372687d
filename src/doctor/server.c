// The server: does it run, answer and move? Its database, log, workers and jobs.
#include "doctor/internal.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "base/port.h"
#include "base/utf8.h"
#include "cluster/node.h"
#include "notify/reason.h"
#include "queue/job.h"
#include "queue/stats.h"
#include "queue/worker.h"
#include "store/backup.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_WAIT_MS  3000
#define STILL_S         10   // a running job moves more often than this
#define HEARTBEAT_MS    5000 // a worker's, every second
#define LOG_TAIL_BYTES  (1 << 20)
#define DAY_S           86400
#define SLOWER_THAN_AVG 5.0
#define OLD_BACKUP_H    72

// --- the process

// "PID\nADDRESS\n" in the file that a running server holds locked. False: none runs.
bool doctor_server_running(const struct doctor *d, long *ret_pid, char ret_url[256])
{
    int fd = beneath_open(d->data, "lock", O_RDONLY, 0);
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

double doctor_ask_health(const char *url, struct kb_error *err)
{
    CLEANUP(kb_freep) char *address = kb_printf("%s/healthz", url);
    CURL *curl = curl_easy_init();
    if (!curl) {
        kb_no_memory(err);
        return -1;
    }
    curl_easy_setopt(curl, CURLOPT_URL, address);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ANSWER_WAIT_MS);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); // also of looking the name up
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
        kb_fail(err, KB_UNAVAILABLE, "%s", transfer_reason(result));
    else if (status != 200)
        kb_fail(err, KB_UNAVAILABLE, "HTTP %ld", status);
    return result == CURLE_OK && status == 200 ? ms : -1;
}

static bool is_of_machine(const struct doctor *d)
{
    CLEANUP(store_close) struct store *s = NULL;
    CLEANUP(text_free) struct text kept = {0};
    return file_is_dir(d->data) && store_open(&s, d->data, false, NULL) == KB_OK &&
           setting_get(s, NODE_SETTING, &kept, NULL) == KB_OK && kept.size > 0;
}

// Is there a server to look further at?
static bool look_at_process(struct doctor *d)
{
    long pid;
    char url[256], owner[128];
    if (doctor_server_running(d, &pid, url)) {
        struct kb_error err = {0};
        if (!*url) { // a machine's, or of somebody who works on the folder
            doctor_add(d, "server", _("server"), FINDING_OK, NULL,
                       _("process %ld works with this folder (koubo node), without a page"), pid);
            return true;
        }
        double ms = doctor_ask_health(url, &err);
        if (ms >= 0)
            doctor_add(d, "server", _("server"), FINDING_OK, NULL,
                       _("runs (process %ld) and answers at %s in %.0f ms"), pid, url, ms);
        else
            doctor_add(d, "server", _("server"), FINDING_PROBLEM,
                       _("stop it (kill the process) and start it again; no job is lost"),
                       _("runs (process %ld) but does not answer at %s: %s"), pid, url, err.text);
        return true;
    }
    if (d->is_machine) {
        doctor_add(d, "server", _("koubo node"), FINDING_WARNING,
                   _("start it with the line that the page of the head showed (docs/cluster.md)"),
                   _("does not run with the folder '%s'"), d->data);
        return false;
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
            snprintf(ret->last_error, sizeof(ret->last_error), "%.*s",
                     utf8_fit(e.text, (int)sizeof(ret->last_error) - 1), e.text);
        }
    }
}

static void look_at_log(struct doctor *d)
{
    CLEANUP(kb_freep) char *path = path_join(d->data, LOG_FILE);
    int fd = beneath_open(d->data, LOG_FILE, O_RDONLY, 0);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!f) {
        doctor_add(d, "log", _("log"), FINDING_WARNING,
                   _("let the user who runs koubo write in that folder"),
                   _("'%s' cannot be read: %s"), path, beneath_reason(errno));
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

static double seconds_since(int64_t ms)
{
    return ms ? (double)(kb_wall_ms() - ms) / 1e3 : 0;
}

static void look_at_workers(struct doctor *d, struct store *s, bool running)
{
    CLEANUP(kb_freep) struct worker_status *workers = NULL;
    int n_all, n = 0, n_late = 0;
    if (!running || worker_list(s, &workers, &n_all, NULL) != KB_OK)
        return;
    for (int i = 0; i < n_all; i++) {
        n += strcmp(workers[i].kind, "generate") == 0;
        n_late += kb_wall_ms() - workers[i].heartbeat_ms > HEARTBEAT_MS;
    }
    if (n == 0 && doctor_has_machines(d, s)) // serve --workers 0
        doctor_add(d, "workers", _("workers"), FINDING_OK, NULL, "%s",
                   _("none here; other machines do the jobs"));
    else if (n == 0)
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
}

// One running job against what its stage usually takes.
static void look_at_job(struct doctor *d, const struct job *job, const struct stats *stats)
{
    double in_stage = seconds_since(job->state_since_ms);
    double average = KB_MAX(stats->stage_average_s[job->stage], 0);
    double still = seconds_since(job->progressed_ms);
    bool stuck = still > STILL_S;
    bool slow = average > 1 && in_stage > SLOWER_THAN_AVG * average;
    doctor_add(d, "job", _("job"), stuck || slow ? FINDING_WARNING : FINDING_OK,
               stuck  ? _("wait: without progress for a minute it is started again by itself")
               : slow ? _("a long video, or a busy machine; its progress says how far it is")
                      : NULL,
               _("#%lld '%s': %s for %.0f s (usually %.0f s), last progress %.0f s ago"),
               (long long)job->id, job->name, stage_title(job->stage), in_stage, average, still);
}

static void look_at_queue(struct doctor *d, struct store *s, const struct stats *stats)
{
    CLEANUP(kb_freep) struct job *first = NULL;
    int n;
    if (job_list(s, &(struct job_filter){.state = "queued", .limit = 1}, &first, &n, NULL) != KB_OK)
        return;
    long long n_queued = stats->jobs[JOB_QUEUED];
    if (n > 0 && strcmp(first->waiting, "disk") == 0)
        doctor_add(d, "queue", _("queue"), FINDING_PROBLEM,
                   _("delete old results, run koubo clean, or lower --min-free"),
                   _("%lld jobs wait for disk space"), n_queued);
    else
        doctor_add(d, "queue", _("queue"), FINDING_OK, NULL,
                   _("%lld jobs wait, %lld done, %lld failed"), n_queued,
                   (long long)stats->jobs[JOB_DONE], (long long)stats->jobs[JOB_FAILED]);
}

static void look_at_jobs(struct doctor *d, struct store *s)
{
    CLEANUP(kb_freep) struct job *running = NULL;
    struct stats stats;
    int n;
    if (stats_get(s, &stats, NULL) != KB_OK ||
        job_list(s, &(struct job_filter){.state = "running", .limit = 1000}, &running, &n, NULL) !=
            KB_OK)
        return;
    for (int i = 0; i < n; i++)
        look_at_job(d, &running[i], &stats);
    look_at_queue(d, s, &stats);
}

static void say_sound(struct doctor *d, bool running)
{
    int64_t last_ms = backup_last_ms(d->data);
    double hours = seconds_since(last_ms) / 3600;
    if (d->is_machine)
        doctor_add(d, "database", _("database"), FINDING_OK, NULL,
                   _("in order, in '%s'; the folder of a machine needs no backup"), d->data);
    else if (!last_ms)
        doctor_add(d, "database", _("database"), FINDING_OK, NULL,
                   _("in order, in '%s'; no backup yet, a running server makes one a day"),
                   d->data);
    else
        doctor_add(d, "database", _("database"),
                   running && hours > OLD_BACKUP_H ? FINDING_WARNING : FINDING_OK,
                   running && hours > OLD_BACKUP_H
                       ? _("read the log: it says why there is no newer backup")
                       : NULL,
                   _("in order, in '%s'; backed up %.0f hours ago"), d->data, hours);
}

void doctor_look_at_server(struct doctor *d)
{
    d->is_machine = d->is_machine || is_of_machine(d);
    bool running = look_at_process(d);
    if (!file_is_dir(d->data)) {
        doctor_add(d, "database", _("database"), FINDING_OK, NULL,
                   d->is_machine ? _("none yet; koubo node makes the data folder '%s'")
                                 : _("none yet; koubo serve makes the data folder '%s'"),
                   d->data);
        return;
    }
    CLEANUP(store_close) struct store *s = NULL;
    struct kb_error err = {0};
    enum kb_code code = store_open(&s, d->data, false, &err);
    if (code == KB_OK)
        code = store_check(s, 0, &err);
    if (code == KB_OK)
        say_sound(d, running);
    else
        doctor_add(d, "database", _("database"), FINDING_PROBLEM,
                   _("koubo restore brings back what can be had; no result in the folder is "
                     "touched by it"),
                   "%s", err.text);
    look_at_log(d);
    if (s) {
        look_at_workers(d, s, running);
        look_at_jobs(d, s);
    }
}
