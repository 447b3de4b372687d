// The machine and the server: session, system view, health, metrics, doctor, notification settings.
#include "server/internal.h"

#include "base/utf8.h"
#include "notify/notify.h"
#include "queue/stats.h"
#include "queue/worker.h"
#include "server/api/fields.h"
#include "server/errand.h"
#include "server/pool.h"
#include "server/system.h"
#include "store/lost.h"

#include "base/proc.h"
#include "doctor/doctor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOCTOR_MAX_AGE_US 5000000

// Never asks the database, which may be locked: what requests lately met must do.
static void health(struct request *r)
{
    struct server *s = request_server(r);
    CLEANUP(kb_freep)
    char *json =
        kb_printf("{\"status\":\"ok\",\"version\":\"" KOUBO_VERSION "\",\"database\":\"%s\"}",
                  s->pool && pool_is_locked(s->pool) ? "locked" : "ok");
    reply_json(r, 200, json);
}

// --- the session

static void session_show(struct request *r)
{
    CLEANUP(kb_freep)
    char *json = kb_printf("{\"required\":%s,\"ok\":%s}", http_needs_token(r) ? "true" : "false",
                           http_session_ok(r) ? "true" : "false");
    reply_json(r, 200, json);
}

static void session_begin(struct request *r)
{
    static const char *const names[] = {"token", NULL};
    const char *token = NULL;
    json_t *body = request_json(r);
    if (!body || !fields_known(r, body, names) ||
        !field_text(r, body, "token", http_needs_token(r), 4096, &token))
        return;
    if (http_needs_token(r)) {
        if (!http_token_ok(r, token))
            return;
        CLEANUP(kb_freep) char *cookie = http_session_cookie(r, false);
        reply_header(r, "Set-Cookie", cookie);
    }
    reply_empty(r, 204);
}

static void session_end(struct request *r)
{
    CLEANUP(kb_freep) char *cookie = http_session_cookie(r, true);
    reply_header(r, "Set-Cookie", cookie);
    reply_empty(r, 204);
}

// --- the system view

// A request may come while http_start() has not returned yet.
static int count_connections(const struct server *s)
{
    return s->http ? http_connections(s->http) : 1;
}

static void system_show(struct request *r)
{
    struct server *s = request_server(r);
    struct kb_error err = {0};
    CLEANUP(text_free) struct text workers = {0}, stats_text = {0}, all = {0};
    struct stats stats;
    struct lost lost;
    if (worker_list_json(request_store(r), &workers, &err) != KB_OK ||
        lost_remembered(request_store(r), &lost, &err) != KB_OK ||
        stats_get(request_store(r), &stats, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    stats_json(&stats, &stats_text);
    CLEANUP(kb_freep) char *results = store_path(request_store(r), "results", ".");
    CLEANUP(kb_freep) char *absolute = realpath(results, NULL);
    json_auto_t *head = json_pack(
        "{s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:{s:I, s:i}, s:o, s:{s:i, s:i, s:I}}", "version",
        KOUBO_VERSION, "started", (json_int_t)s->started_ms, "now", (json_int_t)kb_wall_ms(), "cpu",
        system_cpu_json(true), "memory", system_memory_json(), "disk",
        system_disk_json(s->params.data, s->params.supervisor.worker.min_free_bytes), "gpu",
        system_gpus_json(), "server", "rss", (json_int_t)proc_resident_bytes(), "connections",
        count_connections(s), "models", system_models_json(), "lost", "results", lost.n_results,
        "others", lost.n_others, "bytes", (json_int_t)lost.bytes);
    json_t *folder = absolute ? json_string(absolute) : NULL; // its name may be no UTF-8
    json_object_set_new(head, "results_folder", folder ? folder : json_null());
    json_object_set_new(head, "defaults", json_loads(s->params.defaults, 0, NULL));
    system_add_object(&all, head);
    system_add_member(&all, "workers", text_get(&workers));
    system_add_member(&all, "stats", text_get(&stats_text));
    system_add_previews(s, &all);
    if (system_add_cluster(s, request_store(r), &all, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, 200, text_get(&all));
}

// --- metrics: the text format of Prometheus, version 0.0.4

static void metric(struct text *t, const char *name, const char *type, const char *help)
{
    text_addf(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metric_one(struct text *t, const char *name, const char *type, const char *help,
                       double value)
{
    metric(t, name, type, help);
    text_addf(t, "%s %.17g\n", name, value);
}

static void metric_sample(struct text *t, const char *name, const char *label, const char *value,
                          double number)
{
    text_addf(t, "%s{%s=\"%s\"} %.17g\n", name, label, value, number);
}

static void metrics_of_jobs(struct text *t, const struct stats *stats)
{
    metric(t, "koubo_jobs", "gauge", "Jobs by state.");
    for (int i = 0; i < N_JOB_STATES; i++)
        metric_sample(t, "koubo_jobs", "state", job_state_name((enum job_state)i),
                      (double)stats->jobs[i]);
    metric(t, "koubo_job_stage_seconds", "gauge", "Mean wall clock of a stage, done jobs.");
    for (enum stage i = STAGE_LOADING; i < N_STAGES; i++)
        if (stats->stage_average_s[i] >= 0)
            metric_sample(t, "koubo_job_stage_seconds", "stage", stage_id(i),
                          stats->stage_average_s[i]);
    metric_one(t, "koubo_jobs_done_total", "counter", "Jobs that were done.",
               (double)stats->done_total);
    metric_one(t, "koubo_jobs_failed_total", "counter", "Jobs that failed.",
               (double)stats->failed_total);
    metric_one(t, "koubo_job_seconds_total", "counter", "Wall clock of all jobs that were done.",
               stats->seconds_total);
}

static void metrics_of_data(struct text *t, const struct stats *stats)
{
    static const char bytes[] = "koubo_data_bytes";
    metric_one(t, "koubo_batches", "gauge", "Batches.", (double)stats->batches);
    metric_one(t, "koubo_assets", "gauge", "Uploaded, fetched and made files.",
               (double)stats->assets);
    metric_one(t, "koubo_results", "gauge", "Results kept.", (double)stats->results);
    metric(t, bytes, "gauge", "Size of parts of the data folder.");
    metric_sample(t, bytes, "part", "files", (double)stats->files_bytes);
    metric_sample(t, bytes, "part", "results", (double)stats->results_bytes);
    metric_sample(t, bytes, "part", "tracks", (double)stats->tracks_bytes);
    metric_sample(t, bytes, "part", "uploads", (double)stats->uploads_bytes);
}

static void metrics_of_workers(struct text *t, const struct worker_status *workers, int n_workers)
{
    static const char *const kinds[] = {"generate", "inspect"};
    static const char *const states[] = {"starting", "idle", "busy", "stopped"};
    metric(t, "koubo_workers", "gauge", "Worker processes by kind and state.");
    for (size_t k = 0; k < ARRAY_LEN(kinds) * ARRAY_LEN(states); k++) {
        const char *kind = kinds[k / ARRAY_LEN(states)], *state = states[k % ARRAY_LEN(states)];
        int n = 0;
        for (int i = 0; i < n_workers; i++)
            n += strcmp(workers[i].kind, kind) == 0 && strcmp(workers[i].state, state) == 0;
        text_addf(t, "koubo_workers{kind=\"%s\",state=\"%s\"} %d\n", kind, state, n);
    }
}

// What machines tell of themselves; nothing where this server works alone.
static void metrics_of_cluster(struct text *t, json_t *all)
{
    static const char *const states[] = {"new", "active", "draining", "refused", "silent"};
    static const struct {
        const char *name, *help;
    } each[] = {{"koubo_node_jobs", "Jobs that a machine has."},
                {"koubo_node_slots", "Jobs that a machine would have at a time."},
                {"koubo_node_heard_time_seconds", "When a machine was last heard; 0 = never."}};
    json_t *cluster = json_object_get(all, "cluster"), *nodes = json_object_get(all, "nodes"), *n;
    size_t i;
    if (!json_is_object(cluster))
        return;
    metric(t, "koubo_nodes", "gauge", "Machines of the cluster by state.");
    for (size_t k = 0; k < ARRAY_LEN(states); k++) {
        int count = 0;
        json_array_foreach(nodes, i, n)
        {
            count += strcmp(json_string_value(json_object_get(n, "state")), states[k]) == 0;
        }
        metric_sample(t, "koubo_nodes", "state", states[k], count);
    }
    for (size_t k = 0; k < ARRAY_LEN(each); k++) {
        metric(t, each[k].name, "gauge", each[k].help);
        json_array_foreach(nodes, i, n)
        {
            double heard_ms = json_number_value(json_object_get(n, "heard"));
            double values[] = {(double)json_array_size(json_object_get(n, "jobs")),
                               json_number_value(json_object_get(n, "slots")), heard_ms / 1e3};
            metric_sample(t, each[k].name, "node", json_string_value(json_object_get(n, "name")),
                          values[k]);
        }
    }
    metric_one(t, "koubo_offers", "gauge", "Jobs that are offered to machines.",
               json_number_value(json_object_get(cluster, "offers")));
    metric_one(t, "koubo_arriving", "gauge", "Results that are on their way from machines.",
               json_number_value(json_object_get(cluster, "arriving")));
    metric_one(t, "koubo_redis_connected", "gauge", "Is Redis reached? 1 = yes.",
               json_is_true(json_object_get(json_object_get(cluster, "redis"), "connected")));
}

static void metrics(struct request *r)
{
    struct server *s = request_server(r);
    struct kb_error err = {0};
    CLEANUP(text_free) struct text text = {0}, cluster = {0};
    CLEANUP(kb_freep) struct worker_status *workers = NULL;
    struct stats stats;
    int n_workers;
    text_add(&cluster, "{}");
    if (worker_list(request_store(r), &workers, &n_workers, &err) != KB_OK ||
        stats_get(request_store(r), &stats, &err) != KB_OK ||
        system_add_cluster(s, request_store(r), &cluster, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    metric(&text, "koubo_build_info", "gauge", "Which koubo this is.");
    text_addf(&text, "koubo_build_info{version=\"%s\"} 1\n", KOUBO_VERSION);
    metrics_of_jobs(&text, &stats);
    metrics_of_data(&text, &stats);
    metrics_of_workers(&text, workers, n_workers);
    json_auto_t *others = json_loads(text_get(&cluster), 0, NULL);
    metrics_of_cluster(&text, others);
    metric_one(&text, "koubo_connections", "gauge", "Open HTTP connections.", count_connections(s));
    metric_one(&text, "koubo_disk_free_bytes", "gauge", "Free on the disk of the data folder.",
               (double)system_disk_free(s->params.data));
    metric_one(&text, "koubo_disk_min_free_bytes", "gauge", "Below this new jobs wait.",
               (double)s->params.supervisor.worker.min_free_bytes);
    metric_one(&text, "process_resident_memory_bytes", "gauge", "Memory of the server process.",
               (double)proc_resident_bytes());
    metric_one(&text, "process_start_time_seconds", "gauge", "When the server was started.",
               (double)s->started_ms / 1e3);
    reply_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", text_get(&text));
}

// --- the doctor

// What it said lately, by language. Outlives the server while an errand still holds it.
struct doctor_cache {
    pthread_mutex_t lock; // held while it looks, so that others wait for its answer
    char *json[KB_LANGUAGES];
    int64_t made_us[KB_LANGUAGES];
    pthread_mutex_t refs_lock;
    int refs;
};

struct doctor_cache *doctor_cache_create(void)
{
    struct doctor_cache *c = kb_alloc(sizeof(*c));
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->refs_lock, NULL);
    c->refs = 1;
    return c;
}

static struct doctor_cache *doctor_cache_ref(struct doctor_cache *c)
{
    pthread_mutex_lock(&c->refs_lock);
    c->refs++;
    pthread_mutex_unlock(&c->refs_lock);
    return c;
}

void doctor_cache_unref(struct doctor_cache **cache)
{
    struct doctor_cache *c = TAKE(*cache);
    if (!c)
        return;
    pthread_mutex_lock(&c->refs_lock);
    bool last = --c->refs == 0;
    pthread_mutex_unlock(&c->refs_lock);
    if (!last)
        return;
    for (int i = 0; i < KB_LANGUAGES; i++)
        free(c->json[i]);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->refs_lock);
    free(c);
}

struct doctor_errand {
    struct doctor_cache *cache;
    char *data;
    char *redis, *depot, *credentials; // of the cluster, or NULL
    int port;
    enum kb_language language;
};

static void doctor_errand_free(void *ctx)
{
    struct doctor_errand *d = ctx;
    doctor_cache_unref(&d->cache);
    free(d->data);
    free(d->redis);
    free(d->depot);
    free(d->credentials);
    free(d);
}

static void doctor_work(void *ctx, const struct cancel *cancel, struct text *ret)
{
    struct doctor_errand *e = ctx;
    struct doctor_cache *c = e->cache;
    char **json = &c->json[e->language];
    pthread_mutex_lock(&c->lock);
    if (!*json || kb_now_us() - c->made_us[e->language] > DOCTOR_MAX_AGE_US) {
        CLEANUP(text_free) struct text text = {0};
        CLEANUP(doctor_clear)
        struct doctor d = {.data = e->data,
                           .port = e->port,
                           .redis = e->redis,
                           .depot = e->depot,
                           .credentials = e->credentials,
                           .is_head = e->redis != NULL};
        doctor_look(&d);
        doctor_json(&d, &text);
        kb_freep(json);
        *json = kb_strdup(text_get(&text));
        c->made_us[e->language] = kb_now_us();
    }
    text_add(ret, *json);
    pthread_mutex_unlock(&c->lock);
}

static void doctor(struct request *r)
{
    struct server *s = request_server(r);
    struct doctor_errand *d = kb_alloc(sizeof(*d));
    d->cache = doctor_cache_ref(s->doctor);
    d->data = kb_strdup(s->params.data);
    d->redis = kb_strdup(s->params.head.redis);
    d->depot = kb_strdup(s->params.head.depot);
    d->credentials = kb_strdup(s->params.head.credentials);
    d->port = server_port(s);
    d->language = kb_language_of(request_lang(r));
    reply_errand(r, s->errands, doctor_work, doctor_errand_free, d);
}

// --- notification settings

// The stored document, "{}" when there is none.
static enum kb_code load_notify(struct store *store, struct text *ret, struct kb_error *err)
{
    enum kb_code code = setting_get(store, "notify", ret, err);
    if (code == KB_OK && ret->size == 0)
        text_add(ret, "{}");
    return code;
}

static void reply_masked(struct request *r, const char *json)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text masked = {0};
    if (notify_mask(json, &masked, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, 200, text_get(&masked));
}

static void notify_show(struct request *r)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text json = {0};
    if (load_notify(request_store(r), &json, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_masked(r, text_get(&json));
}

bool take_notify(struct request *r, const char *json, struct text *ret)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text old = {0};
    if (load_notify(request_store(r), &old, &err) == KB_OK &&
        notify_unmask(json, text_get(&old), ret, &err) == KB_OK &&
        notify_check(text_get(ret), &err) == KB_OK)
        return true;
    reply_error(r, &err);
    return false;
}

static bool take_document(struct request *r, json_t *document, struct text *ret)
{
    CLEANUP(kb_freep) char *json = json_dumps(document, JSON_COMPACT);
    return take_notify(r, json ? json : "", ret);
}

static void notify_put(struct request *r)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text json = {0};
    json_t *body = request_json(r);
    if (!body || !take_document(r, body, &json))
        return;
    if (setting_put(request_store(r), "notify", text_get(&json), &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_masked(r, text_get(&json));
}

struct notify_errand {
    char *json, *base_url;
    struct guard guard; // a copy: an errand may outlive the server
};

static void notify_errand_free(void *ctx)
{
    struct notify_errand *n = ctx;
    free(n->json);
    free(n->base_url);
    free(n);
}

static void notify_work(void *ctx, const struct cancel *cancel, struct text *ret)
{
    struct notify_errand *n = ctx;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text items = {0};
    const struct notify_way way = {n->base_url, &n->guard};
    if (notify_test(n->json, &way, &items, &err) == KB_OK) {
        text_addf(ret, "{\"items\":%s}", text_get(&items));
        return;
    }
    CLEANUP(kb_freep) char *sentence = utf8_clean(err.text);
    json_t *failed =
        json_pack("{s:[{s:s, s:b, s:s}]}", "items", "target", "notify", "ok", 0, "error", sentence);
    char *json = failed ? json_dumps(failed, JSON_COMPACT) : NULL;
    text_add(ret, json ? json : "{\"items\":[]}");
    free(json);
    json_decref(failed);
}

// The body is the document to try, which need not be saved yet; empty = the saved one.
static void notify_try(struct request *r)
{
    struct server *s = request_server(r);
    CLEANUP(text_free) struct text json = {0};
    json_t *body = request_json(r);
    if (!body)
        return;
    if (json_object_size(body) > 0) {
        if (!take_document(r, body, &json))
            return;
    } else {
        struct kb_error err = {0};
        if (load_notify(request_store(r), &json, &err) != KB_OK) {
            reply_error(r, &err);
            return;
        }
    }
    struct notify_errand *n = kb_alloc(sizeof(*n));
    n->json = kb_strdup(text_get(&json));
    n->base_url = kb_strdup(s->base_url);
    n->guard = s->params.guard;
    reply_errand(r, s->errands, notify_work, notify_errand_free, n);
}

const struct route api_system_routes[] = {
    {"GET", "/healthz", health, ROUTE_OPEN | ROUTE_VITAL, NULL},
    {"GET", "/api/v1/session", session_show, ROUTE_OPEN, NULL},
    {"POST", "/api/v1/session", session_begin, ROUTE_OPEN, NULL},
    {"DELETE", "/api/v1/session", session_end, ROUTE_OPEN, NULL},
    {"GET", "/metrics", metrics, 0, NULL},
    {"GET", "/api/v1/system", system_show, 0, NULL},
    {"GET", "/api/v1/doctor", doctor, 0, NULL},
    {"GET", "/api/v1/settings/notify", notify_show, 0, NULL},
    {"PUT", "/api/v1/settings/notify", notify_put, 0, NULL},
    {"POST", "/api/v1/settings/notify/test", notify_try, 0, NULL},
    {0},
};
