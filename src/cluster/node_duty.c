// A job of the head in this machine's hands: from the order that names it to a batch of one in the
// machine's own queue, and what became of that.
#include "cluster/node_internal.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "queue/batch.h"
#include "queue/options.h"
#include "queue/result.h"
#include "store/sql.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTING "node-job-"
// For which a machine takes nothing after a job that it could not do.
#define FIRST_PAUSE_S   10
#define LONGEST_PAUSE_S 300
#define SHORT_US        3000000            // the queue sees within it that there is room again
#define MOST_BYTES      ((int64_t)1 << 40) // of a file

// --- the list

struct duty *duty_find(struct machine *m, int64_t job, int64_t lease)
{
    struct duty *d = m->duties;
    while (d && (d->job != job || d->lease != lease))
        d = d->next;
    return d;
}

struct duty *duty_add(struct machine *m, int64_t job, int64_t lease, enum duty_state state)
{
    struct duty *d = kb_alloc(sizeof(*d));
    d->job = job;
    d->lease = lease;
    d->stop.parent = &m->stop;
    d->outcome = KB_EOF;
    duty_become(d, state);
    pthread_mutex_lock(&m->lock);
    d->next = m->duties;
    m->duties = d;
    pthread_mutex_unlock(&m->lock);
    return d;
}

void duty_become(struct duty *d, enum duty_state state)
{
    d->state = state;
    d->told_us = d->again_us = 0;
    d->tries = 0;
    d->since_us = kb_now_us();
}

bool duty_is_over(const struct duty *d)
{
    return d->state >= DUTY_FAILED;
}

static void duty_free(struct duty *d)
{
    json_decref(d->order);
    free(d->result);
    free(d);
}

// --- the order

static bool is_hash(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

// A head of another version may ask for what this machine would not do.
static bool is_role(const char *role)
{
    return strcmp(role, "audio") == 0 || strcmp(role, "video") == 0 || strcmp(role, "model") == 0 ||
           material_find(role);
}

static bool read_file(struct duty *d, const json_t *v)
{
    struct duty_file *f = &d->files[d->n_files];
    json_int_t size;
    json_t *facts = NULL;
    if (d->n_files == DUTY_FILES ||
        json_unpack_ex((json_t *)v, NULL, JSON_STRICT, "{s:s, s:s, s:I, s:s, s:o}", "role",
                       &f->role, "sha256", &f->sha256, "size", &size, "name", &f->name, "facts",
                       &facts) != 0 ||
        !is_hash(f->sha256) || size < 1 || size > MOST_BYTES || !*f->name ||
        (!json_is_object(facts) && !json_is_null(facts)))
        return false;
    bool known = is_role(f->role);
    for (int i = 0; i < d->n_files; i++)
        known = known && strcmp(f->role, d->files[i].role) != 0;
    f->size = size;
    f->facts = facts;
    d->n_files++;
    return known && (strcmp(f->role, "model") != 0 || model_is_file(f->name));
}

static const struct duty_file *file_of(const struct duty *d, const char *role)
{
    for (int i = 0; i < d->n_files; i++)
        if (strcmp(d->files[i].role, role) == 0)
            return &d->files[i];
    return NULL;
}

static bool read_order(struct duty *d, json_t *o)
{
    json_int_t job, lease;
    const char *is, *output_name, *batch_name;
    const json_t *files;
    double *at = d->face_at;
    if (json_unpack_ex(
            o, NULL, JSON_STRICT, "{s:s, s:I, s:I, s:i, s:o, s:o, s:s, s:s, s:[F, F, F], s:s, s:s}",
            "is", &is, "job", &job, "lease", &lease, "attempt", &d->attempt, "files", &files,
            "options", &d->options, "output_name", &output_name, "note", &d->note, "face_at",
            &at[0], &at[1], &at[2], "lang", &d->lang, "batch_name", &batch_name) != 0 ||
        d->attempt < 1 || d->attempt > JOB_MAX_ATTEMPTS || !json_is_object(d->options) ||
        !json_is_array(files) || at[0] > 1 || (at[0] >= 0 && !(at[1] >= 0 && at[1] <= 1)))
        return false;
    for (size_t i = 0; i < json_array_size(files); i++)
        if (!read_file(d, json_array_get(files, i)))
            return false;
    return file_of(d, "audio") && file_of(d, "video");
}

enum kb_code duty_read(struct duty *d, json_t *order, struct kb_error *err)
{
    json_decref(d->order);
    d->order = order;
    d->n_files = 0;
    if (!read_order(d, order))
        return kb_fail(err, KB_BAD_INPUT,
                       _("this machine does not understand what the head asks for; are head and "
                         "machine of one version?"));
    return KB_OK;
}

// --- what is kept

static char *setting_name(const struct duty *d)
{
    return kb_printf(SETTING "%lld-%lld", (long long)d->job, (long long)d->lease);
}

static char *batch_name(const struct duty *d)
{
    return kb_printf("%lld-%lld", (long long)d->job, (long long)d->lease);
}

enum kb_code duty_keep(struct machine *m, const struct duty *d, struct kb_error *err)
{
    CLEANUP(kb_freep) char *name = setting_name(d);
    CLEANUP(kb_freep) char *json = json_dumps(d->order, JSON_COMPACT);
    return json ? setting_put(m->store, name, json, err) : kb_no_memory(err);
}

static enum kb_code find_batch(struct machine *m, struct duty *d, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) char *name = batch_name(d);
    enum kb_code code = store_query(m->store, &q, err,
                                    "SELECT b.id, j.id FROM batch b JOIN job j ON j.batch = b.id"
                                    " WHERE b.name = ?",
                                    "t", name);
    if (code == KB_OK) {
        d->batch = sqlite3_column_int64(q, 0);
        d->local = sqlite3_column_int64(q, 1);
    }
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code load_kept(struct machine *m, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(m->store, &q, err,
                                    "SELECT json FROM setting WHERE name GLOB '" SETTING "*'", "");
    for (; code == KB_OK; code = store_step(m->store, q, err)) {
        json_int_t job = 0, lease = 0;
        json_t *order = json_loads((const char *)sqlite3_column_text(q, 0), 0, NULL);
        if (!order || json_unpack(order, "{s:I, s:I}", "job", &job, "lease", &lease) != 0) {
            json_decref(order);
            continue;
        }
        struct duty *d = duty_add(m, job, lease, DUTY_FETCHING);
        if (duty_read(d, order, &d->why) != KB_OK)
            duty_become(d, DUTY_BACK);
    }
    return code == KB_EOF ? KB_OK : code;
}

// A batch whose order is gone was to be forgotten when the machine stopped.
static enum kb_code load_orphans(struct machine *m, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(m->store, &q, err,
                                    "SELECT b.id, j.id, b.name FROM batch b"
                                    " LEFT JOIN job j ON j.batch = b.id",
                                    "");
    for (; code == KB_OK; code = store_step(m->store, q, err)) {
        long long job = 0, lease = 0;
        const char *name = (const char *)sqlite3_column_text(q, 2);
        if (sscanf(name, "%lld-%lld", &job, &lease) == 2 && duty_find(m, job, lease))
            continue;
        struct duty *d = duty_add(m, job, lease, DUTY_FORGOTTEN);
        d->batch = sqlite3_column_int64(q, 0);
        d->local = sqlite3_column_int64(q, 1);
    }
    return code == KB_EOF ? KB_OK : code;
}

enum kb_code duty_load(struct machine *m, struct kb_error *err)
{
    enum kb_code code = load_kept(m, err);
    for (struct duty *d = m->duties; d && code == KB_OK; d = d->next) {
        code = find_batch(m, d, err);
        if (code == KB_OK && d->batch && d->state == DUTY_FETCHING)
            duty_become(d, DUTY_WORKING);
    }
    return code == KB_OK ? load_orphans(m, err) : code;
}

// --- its batch

// As the head has them, but for what is called otherwise here.
static enum kb_code make_options(struct machine *m, const struct duty *d,
                                 char assets[DUTY_FILES][33], char **ret, struct kb_error *err)
{
    json_auto_t *options = json_deep_copy(d->options);
    enum kb_code code = options ? KB_OK : kb_no_memory(err);
    for (int i = 0; code == KB_OK && i < d->n_files; i++) {
        const struct duty_file *f = &d->files[i];
        char model[MODEL_NAME_BYTES];
        if (material_find(f->role))
            json_object_set_new(options, f->role, json_string(assets[i]));
        else if (strcmp(f->role, "model") == 0) {
            code = copies_name_model(m->store, f, model, err);
            json_object_set_new(options, "model", json_string(model));
        }
    }
    if (code == KB_OK)
        *ret = json_dumps(options, JSON_COMPACT);
    return code == KB_OK && !*ret ? kb_no_memory(err) : code;
}

static enum kb_code begin(struct machine *m, struct duty *d, struct kb_error *err)
{
    char assets[DUTY_FILES][33] = {0};
    CLEANUP(kb_freep) char *options = NULL;
    CLEANUP(kb_freep) char *name = batch_name(d);
    struct batch_params p = {.name = name, .n_videos = 1, .priority = 5, .lang = d->lang};
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < d->n_files; i++)
        code = copies_use(m->store, &d->files[i], assets[i], err);
    if (code == KB_OK)
        code = make_options(m, d, assets, &options, err);
    if (code != KB_OK)
        return code;
    const char *video = assets[file_of(d, "video") - d->files];
    p.audio = assets[file_of(d, "audio") - d->files];
    p.videos = &video;
    p.face_at = (const double(*)[3])d->face_at;
    p.options = options;
    p.note = d->note;
    code = batch_create(m->store, &p, &d->batch, err);
    return code == KB_OK ? find_batch(m, d, err) : code;
}

enum kb_code duty_begin(struct machine *m, struct duty *d, struct kb_error *err)
{
    enum kb_code code = store_begin(m->store, err);
    if (code == KB_OK)
        code = store_end(m->store, begin(m, d, err), err);
    if (code != KB_OK) {
        d->batch = d->local = 0;
        return code;
    }
    duty_become(d, DUTY_WORKING);
    log_info(_("job %lld begins: '%s' with '%s'"), (long long)d->job, file_of(d, "video")->name,
             file_of(d, "audio")->name);
    return KB_OK;
}

// --- how that stands

static enum kb_code code_of(const char *name)
{
    static const struct {
        const char *name;
        enum kb_code code;
    } codes[] = {{"bad_input", KB_BAD_INPUT},
                 {"not_found", KB_NOT_FOUND},
                 {"no_space", KB_NO_SPACE},
                 {"unavailable", KB_UNAVAILABLE},
                 {"cancelled", KB_CANCELLED}};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(name, codes[i].name) == 0)
            return codes[i].code;
    return KB_INTERNAL;
}

static const char *text_of(sqlite3_stmt *q, int i)
{
    const char *text = (const char *)sqlite3_column_text(q, i);
    return text ? text : "";
}

static void read_made(struct duty *d, sqlite3_stmt *q)
{
    json_auto_t *stages = json_loads(text_of(q, 12), 0, NULL);
    d->made = (struct dub_result){.frames = sqlite3_column_int64(q, 7),
                                  .frames_animated = sqlite3_column_int64(q, 8),
                                  .seconds = sqlite3_column_int64(q, 9) / 1000.0,
                                  .width = sqlite3_column_int(q, 10),
                                  .height = sqlite3_column_int(q, 11)};
    for (enum stage i = STAGE_LOADING; i < N_STAGES; i++)
        d->made.stage_s[i] = json_number_value(json_object_get(stages, stage_id(i)));
    free(d->result);
    d->result = path_join("results", text_of(q, 13));
}

// The disk was full, or the job is too large for what is free: others may have more room.
static bool lacks_room(const struct machine *m, const char *state, const char *waiting,
                       const char *error)
{
    bool full = copies_free_bytes(m->data) < m->params->supervisor.worker.min_free_bytes;
    return strcmp(waiting, "disk") == 0 ||
           (strcmp(error, "no_space") == 0 && full && strcmp(state, "done") != 0);
}

// What is only kept makes room; where that is not enough, soon, the job goes back.
static void make_room(struct machine *m, struct duty *d)
{
    int64_t before = m->cache_used, left = before;
    if (!d->trimmed && copies_trim(m, 0, 0, &left, NULL) == KB_OK) {
        d->trimmed = true;
        m->cache_used = left;
        d->short_us = left < before ? kb_now_us() : 0;
    }
    if (kb_now_us() - d->short_us < SHORT_US)
        return;
    log_warn(_("job %lld goes back to the head: this machine's disk has no room for it"),
             (long long)d->job);
    duty_back(m, d);
}

// It takes nothing for a while, longer with each in a row.
static void rest(struct machine *m)
{
    int64_t pause_s = KB_MIN((int64_t)FIRST_PAUSE_S << KB_MIN(m->n_back, 10), LONGEST_PAUSE_S);
    m->wait_until_us = kb_now_us() + pause_s * 1000000;
    m->n_back++;
}

static void make_out(struct machine *m, struct duty *d, sqlite3_stmt *q)
{
    const char *state = text_of(q, 0), *error = text_of(q, 5), *waiting = text_of(q, 4);
    if (strcmp(state, "done") == 0) {
        read_made(d, q);
        duty_become(d, DUTY_SENDING);
        log_info(_("job %lld is made, and is being sent"), (long long)d->job);
    } else if (strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0 ||
               strcmp(state, "skipped") == 0) {
        sentence_fail(&d->why, code_of(error), text_of(q, 6));
        bool back = !d->cancel && (d->why.code == KB_CANCELLED || lacks_room(m, state, "", error));
        log_warn(_("job %lld ended: %s"), (long long)d->job, d->why.text);
        if (back)
            duty_back(m, d);
        else
            duty_become(d, DUTY_FAILED);
        if (!back && d->why.code == KB_INTERNAL) // if that is this machine's fault, others go first
            rest(m);
    } else if (!d->dropped && lacks_room(m, state, waiting, error)) {
        make_room(m, d);
    } else {
        pthread_mutex_lock(&m->lock);
        d->report =
            (struct job_report){(enum stage)sqlite3_column_int(q, 1), sqlite3_column_int64(q, 2),
                                sqlite3_column_int64(q, 3), sqlite3_column_double(q, 14)};
        pthread_mutex_unlock(&m->lock);
    }
}

enum kb_code duty_look(struct machine *m, struct duty *d, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(m->store, &q, err,
                    "SELECT state, stage, done, total, waiting, error_code, error, result_frames,"
                    " result_animated, result_ms, result_width, result_height, stage_s, result,"
                    " coalesce(fps, 0) FROM job WHERE id = ?",
                    "i", d->local);
    if (code == KB_EOF) { // somebody deleted it
        duty_back(m, d);
        return KB_OK;
    }
    if (code != KB_OK)
        return code;
    make_out(m, d, q);
    return KB_OK;
}

// --- its end

void duty_drop(struct machine *m, struct duty *d)
{
    struct kb_error err = {0};
    d->dropped = true;
    enum kb_code code = batch_cancel(m->store, d->batch, &err);
    if (code != KB_OK && code != KB_BAD_INPUT && code != KB_NOT_FOUND) { // it has ended
        d->dropped = false;                                              // once more, later
        log_warn("%s", err.text);
    }
}

void duty_back(struct machine *m, struct duty *d)
{
    duty_become(d, DUTY_BACK);
    cancel_request(&d->stop);
    if (d->batch && !d->dropped)
        duty_drop(m, d);
    rest(m);
}

void duty_forget(struct machine *m, struct duty *d)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *name = setting_name(d);
    enum kb_code code =
        store_exec(m->store, NULL, &err, "DELETE FROM setting WHERE name = ?", "t", name);
    if (code != KB_OK) { // the head says it again
        log_warn("%s", err.text);
        return;
    }
    duty_become(d, DUTY_FORGOTTEN);
    m->beat_now = true; // it is not among its jobs any more, which the head sees at once
    cancel_request(&d->stop);
    if (d->batch)
        duty_drop(m, d);
}

// True: nothing of it is here any more.
static bool is_gone(struct machine *m, struct duty *d)
{
    pthread_mutex_lock(&m->lock);
    bool carried = d->carried;
    d->wanted = false;
    pthread_mutex_unlock(&m->lock);
    if (carried || !d->batch)
        return !carried;
    if (!d->dropped)
        duty_drop(m, d);
    enum kb_code code = batch_delete(m->store, d->batch, NULL);
    return code == KB_OK || code == KB_NOT_FOUND; // else its worker is still at it
}

void duty_free_all(struct machine *m)
{
    while (m->duties) {
        struct duty *d = m->duties;
        m->duties = d->next;
        duty_free(d);
    }
}

void duty_bury(struct machine *m)
{
    for (struct duty **at = &m->duties; *at;) {
        struct duty *d = *at;
        if (d->state != DUTY_FORGOTTEN || !is_gone(m, d)) {
            at = &d->next;
            continue;
        }
        pthread_mutex_lock(&m->lock);
        *at = d->next;
        pthread_mutex_unlock(&m->lock);
        duty_free(d);
        m->trimmed_us = 0;
    }
}
