// The worker's side of a job: claim it, report where it is, end it. A lease is a random number
// stored with the job; every change names it, so whoever lost it changes nothing.
#include "queue/lease.h"

#include "queue/internal.h"
#include "queue/line.h"
#include "queue/options.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/sentence.h"
#include "store/fate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEARTBEAT_MS 900 // a report that says nothing new is written after this time

// Where each stage lies in the progress of the whole job, as seen on ordinary videos.
static const struct {
    double from, to;
} stages[N_STAGES] = {
    [STAGE_LOADING] = {0, 0.015},         [STAGE_AUDIO] = {0.015, 0.03},
    [STAGE_PREPROCESSING] = {0.03, 0.35}, [STAGE_GENERATING] = {0.35, 0.97},
    [STAGE_FINISHING] = {0.97, 1},
};

static enum kb_code lease_lost(const struct job_claim *c, struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("job %lld is no longer this worker's"), (long long)c->job);
}

// --- claiming

enum kb_code job_room(struct store *s, int64_t min_free_bytes, int64_t *ret, struct kb_error *err)
{
    struct statvfs disk;
    int64_t running = 0;
    enum kb_code code =
        store_query_int(s, &running, err,
                        "SELECT CAST(total(" JOB_NEED ") AS INTEGER) FROM" JOB_AND_FILES
                        "WHERE j.state IN " JOB_STATES_RUNNING,
                        "");
    if (code != KB_OK)
        return code;
    // A disk that does not say how full it is stops nobody here; the writer will find out.
    uint64_t free_bytes = INT64_MAX;
    if (statvfs(s->folder, &disk) == 0 &&
        __builtin_mul_overflow(disk.f_bavail, disk.f_frsize, &free_bytes))
        free_bytes = INT64_MAX;
    int64_t room = (int64_t)KB_MIN(free_bytes, (uint64_t)INT64_MAX);
    if (__builtin_sub_overflow(room, KB_MAX(min_free_bytes, 0), &room) ||
        __builtin_sub_overflow(room, running, &room))
        room = INT64_MIN;
    *ret = room;
    return KB_OK;
}

static int64_t new_lease(void)
{
    char hex[17];
    kb_random_hex(hex, 16);
    return (int64_t)(strtoull(hex, NULL, 16) & INT64_MAX);
}

static enum kb_code take_next(struct store *s, const char *worker, int64_t room,
                              struct job_claim *c, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    int64_t job = 0;
    enum kb_code code = line_next(s, room, &job, err);
    if (code != KB_OK)
        return code;
    c->lease = new_lease();
    code = store_query(
        s, &q, err,
        "UPDATE job SET state = 'loading', stage = 0, attempts = attempts + 1, lease = ?1,"
        " worker = ?2, worker_pid = ?3, waiting = NULL, cancel = 0, done = 0, total = 0, fps = "
        "NULL,"
        " progress = 0, heartbeat_ms = ?4, progressed_ms = ?4, state_since_ms = ?4,"
        " started_ms = ?4, stage_s = NULL, error_code = NULL, error = NULL"
        " WHERE id = ?5 RETURNING id, batch, attempts",
        "itiii", c->lease, worker, (int64_t)c->pid, kb_wall_ms(), job);
    if (code != KB_OK)
        return code;
    c->job = sqlite3_column_int64(q, 0);
    c->batch = sqlite3_column_int64(q, 1);
    c->attempt = sqlite3_column_int(q, 2);
    return KB_OK;
}

// The folder of the job's batch below results/, which is given one with the first attempt, and how
// the result is to be called: new strings.
static enum kb_code find_shelf(struct store *s, const struct job_claim *c, char **ret_shelf,
                               char **ret_stem, const char **ret_ending, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT b.folder, b.name, j.result_name," JOB_OPTIONS "FROM job j"
                    " JOIN batch b ON b.id = j.batch WHERE j.id = ?",
                    "i", c->job);
    if (code != KB_OK)
        return code == KB_EOF ? kb_fail(err, KB_INTERNAL, "job %" PRId64 " vanished", c->job)
                              : code;
    CLEANUP(kb_freep) char *name = store_column(q, 1);
    CLEANUP(kb_freep) char *result = store_column(q, 2);
    CLEANUP(kb_freep) char *stem = path_stem(result);
    CLEANUP(kb_freep) char *shelf = store_column(q, 0);
    *ret_ending = batch_options_ending((const char *)sqlite3_column_text(q, 3));
    store_reset(&q);
    if (!shelf) {
        shelf = shelf_name(c->batch, name);
        code = store_exec(s, NULL, err, "UPDATE batch SET folder = ? WHERE id = ?", "ti", shelf,
                          c->batch);
    }
    *ret_stem = path_safe_name(stem, SHELF_STEM);
    *ret_shelf = TAKE(shelf);
    return code;
}

enum kb_code job_choose_output(struct store *s, struct job_claim *c, struct kb_error *err)
{
    free(TAKE(c->output_name));
    free(TAKE(c->output));
    CLEANUP(kb_freep) char *shelf = NULL;
    CLEANUP(kb_freep) char *base = NULL;
    const char *ending = NULL;
    enum kb_code code = find_shelf(s, c, &shelf, &base, &ending, err);
    if (code == KB_OK)
        code = result_take_name(s, shelf, base, ending, c->job, &c->output_name, err);
    if (code != KB_OK)
        return code;
    c->output = store_path(s, "results", c->output_name);
    CLEANUP(kb_freep) char *mark = result_mark(c->output_name);
    return store_exec(s, NULL, err, "UPDATE job SET output = ? WHERE id = ?", "ti", mark, c->job);
}

void job_drop_part(struct store *s, const struct job_claim *c)
{
    if (!c->output)
        return;
    CLEANUP(kb_freep) char *path = path_join("results", c->output_name);
    CLEANUP(kb_freep) char *part = file_part_path(path, 0);
    beneath_unlink(s->folder, part);
    shelf_prune(s, c->output_name);
}

// The path of the content in column i, a new string, and its hash; NULL and "" where it is NULL.
static char *take_content(struct store *s, sqlite3_stmt *q, int i, char ret_sha256[65])
{
    store_copy_column(ret_sha256, 65, q, i);
    return *ret_sha256 ? store_path(s, "files", ret_sha256) : NULL;
}

static enum kb_code add_material(struct store *s, struct job_claim *c,
                                 const struct material_role *role, const char *asset,
                                 struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    struct job_material *m = &c->materials[c->n_materials++];
    m->role = role;
    enum kb_code code = store_query(
        s, &q, err, "SELECT sha256, name FROM asset WHERE id = ? AND job IS NULL", "t", asset);
    if (code != KB_OK)
        return code == KB_EOF ? KB_OK : code;
    m->path = take_content(s, q, 0, m->sha256);
    if (m->path)
        m->name = store_column(q, 1);
    return KB_OK;
}

// Options that cannot be read (any more) name nothing; who does the job says why.
enum kb_code job_read_materials(struct store *s, struct job_claim *c, struct kb_error *err)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    enum kb_code code = KB_OK;
    if (batch_options_parse(c->options, &o, NULL) != KB_OK)
        return KB_OK;
    for (int i = 0; code == KB_OK && i < o.n_materials; i++)
        code = add_material(s, c, o.materials[i].role, o.materials[i].asset, err);
    return code;
}

enum kb_code job_read_claim(struct store *s, struct job_claim *c, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT a.sha256, v.sha256, coalesce(j.audio_name, b.audio_name), j.name," JOB_OPTIONS
        ", coalesce(j.note," JOB_NOTE
        "), coalesce(j.face_x, -1), j.face_y, coalesce(j.face_s, -1) FROM" JOB_AND_FILES
        "WHERE j.id = ?",
        "i", c->job);
    if (code != KB_OK)
        return code == KB_EOF ? kb_fail(err, KB_INTERNAL, "job %" PRId64 " vanished", c->job)
                              : code;
    if (!sqlite3_column_text(q, 0) ||
        !sqlite3_column_text(q, 1)) // "new" and "ready" assets have a content
        return kb_fail(err, KB_INTERNAL, "job %" PRId64 ": an asset has no content", c->job);
    c->audio_path = take_content(s, q, 0, c->audio_sha256);
    c->video_path = take_content(s, q, 1, c->video_sha256);
    c->audio_name = store_column(q, 2);
    c->video_name = store_column(q, 3);
    c->options = store_column(q, 4);
    c->note = store_column(q, 5);
    for (int i = 0; i < 3; i++)
        c->face_at[i] = sqlite3_column_double(q, 6 + i);
    return job_read_materials(s, c, err);
}

enum kb_code job_take(struct store *s, const char *worker, int64_t min_free_bytes,
                      struct job_claim *c, struct kb_error *err)
{
    int64_t room = 0;
    enum kb_code code = job_room(s, min_free_bytes, &room, err);
    if (code == KB_OK)
        code = take_next(s, worker, room, c, err);
    if (code == KB_OK)
        code = store_exec(s, NULL, err,
                          "UPDATE batch SET turn = (SELECT max(turn) + 1 FROM batch) WHERE id = ?",
                          "i", c->batch);
    if (code == KB_OK)
        code = job_choose_output(s, c, err);
    return code == KB_OK ? job_read_claim(s, c, err) : code;
}

enum kb_code job_claim(struct store *s, const char *worker, int64_t min_free_bytes,
                       struct job_claim *ret, struct kb_error *err)
{
    struct job_claim c = {.pid = ret->pid ? ret->pid : getpid()};
    bool waits = false;
    // An idle worker asks often and must not take the write lock for it.
    enum kb_code code = line_waits(s, &waits, err);
    if (code != KB_OK || !waits)
        return code == KB_OK ? KB_EOF : code;
    code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, job_take(s, worker, min_free_bytes, &c, err), err);
    if (code == KB_OK) {
        *ret = c;
    } else {
        job_drop_part(s, &c);
        job_claim_free(&c);
    }
    return code;
}

void job_claim_free(struct job_claim *c)
{
    free(c->audio_path);
    free(c->video_path);
    free(c->audio_name);
    free(c->video_name);
    for (int i = 0; i < c->n_materials; i++) {
        free(c->materials[i].path);
        free(c->materials[i].name);
    }
    free(c->output);
    free(c->output_name);
    free(c->options);
    free(c->note);
    *c = (struct job_claim){0};
}

// --- reporting

struct lease_row {
    enum stage stage;
    int64_t done, total, heartbeat_ms;
    bool cancel;
    double progress;
};

static enum kb_code find_lease(struct store *s, const struct job_claim *c, struct lease_row *ret,
                               struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT stage, done, total, heartbeat_ms, cancel, progress"
                                    " FROM job WHERE id = ? AND lease = ?",
                                    "ii", c->job, c->lease);
    if (code == KB_EOF)
        return lease_lost(c, err);
    if (code == KB_OK)
        *ret = (struct lease_row){
            .stage = (enum stage)sqlite3_column_int(q, 0),
            .done = sqlite3_column_int64(q, 1),
            .total = sqlite3_column_int64(q, 2),
            .heartbeat_ms = sqlite3_column_int64(q, 3),
            .cancel = sqlite3_column_int(q, 4),
            .progress = sqlite3_column_double(q, 5),
        };
    return code;
}

static double whole_progress(const struct job_report *r)
{
    double share = r->total > 0 ? (double)r->done / (double)r->total : 0;
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return stages[r->stage].from + share * (stages[r->stage].to - stages[r->stage].from);
}

static enum kb_code write_report(struct store *s, const struct job_claim *c,
                                 const struct lease_row *old, const struct job_report *r,
                                 struct kb_error *err)
{
    int changes = 0;
    int64_t now = kb_wall_ms();
    bool moved = r->stage != old->stage || r->done != old->done;
    enum kb_code code = r->stage != old->stage ? job_lap(s, c->job, now, err) : KB_OK;
    if (code != KB_OK)
        return code;
    double progress = KB_MAX(whole_progress(r), old->progress);
    code = store_exec(s, &changes, err,
                      "UPDATE job SET state = ?3, stage = ?4, done = ?5, total = ?6,"
                      " fps = nullif(?7, 0.0), progress = ?8, heartbeat_ms = ?9,"
                      " progressed_ms = iif(?10, ?9, progressed_ms),"
                      " state_since_ms = iif(?11, ?9, state_since_ms)"
                      " WHERE id = ?1 AND lease = ?2",
                      "iitiiiddiii", c->job, c->lease, stage_id(r->stage), (int64_t)r->stage,
                      r->done, r->total, r->fps, progress, now, (int64_t)moved,
                      (int64_t)(r->stage != old->stage));
    return code == KB_OK && changes == 0 ? lease_lost(c, err) : code;
}

enum kb_code job_report(struct store *s, const struct job_claim *c, const struct job_report *r,
                        bool *ret_cancel, struct kb_error *err)
{
    struct lease_row old;
    enum kb_code code = find_lease(s, c, &old, err);
    if (code != KB_OK)
        return code;
    if (ret_cancel)
        *ret_cancel = old.cancel;
    if (r->stage == old.stage && r->done == old.done && r->total == old.total &&
        kb_wall_ms() - old.heartbeat_ms <= HEARTBEAT_MS)
        return KB_OK;
    bool durable = s->durable;
    store_set_durable(s, false); // the next heartbeat is worth as much as this one
    code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, write_report(s, c, &old, r, err), err);
    store_set_durable(s, durable);
    return code;
}

// --- ending

// The worker measured its stages to the millisecond; the laps know only reports. The loading of the
// models is the laps' alone.
static enum kb_code write_stages(struct store *s, const struct job_claim *c,
                                 const struct dub_result *r, struct kb_error *err)
{
    enum kb_code code = job_lap(s, c->job, kb_wall_ms(), err);
    if (code != KB_OK)
        return code;
    return store_exec(
        s, NULL, err,
        "UPDATE job SET stage_s = json_set(stage_s,"
        " '$.audio', iif(?2 > 0, round(?2, 3), json_extract(stage_s, '$.audio')),"
        " '$.preprocessing', iif(?3 > 0, round(?3, 3), json_extract(stage_s, '$.preprocessing')),"
        " '$.generating', iif(?4 > 0, round(?4, 3), json_extract(stage_s, '$.generating')),"
        " '$.finishing', iif(?5 > 0, round(?5, 3), json_extract(stage_s, '$.finishing')))"
        " WHERE id = ?1",
        "idddd", c->job, r->stage_s[STAGE_AUDIO], r->stage_s[STAGE_PREPROCESSING],
        r->stage_s[STAGE_GENERATING], r->stage_s[STAGE_FINISHING]);
}

static enum kb_code done(struct store *s, const struct job_claim *c, const struct dub_result *r,
                         bool thumb, const char *cues, int64_t size, struct kb_error *err)
{
    int changes = 0;
    enum kb_code code = write_stages(s, c, r, err);
    if (code == KB_OK)
        code = store_exec(
            s, &changes, err,
            "UPDATE job SET state = 'done', progress = 1, ended_ms = ?3, state_since_ms = ?3,"
            " heartbeat_ms = ?3, lease = NULL, worker_pid = NULL, cancel = 0, error_code = NULL,"
            " error = NULL, result = ?4, result_thumb = ?5, result_size = ?6, result_ms = ?7,"
            " result_width = ?8, result_height = ?9, result_frames = ?10, result_animated = ?11,"
            " result_name = ?12, cues = ?13 WHERE id = ?1 AND lease = ?2",
            "iiitiiiiiiitt", c->job, c->lease, kb_wall_ms(), c->output_name, (int64_t)thumb, size,
            (int64_t)(r->seconds * 1000), (int64_t)r->width, (int64_t)r->height, r->frames,
            r->frames_animated, path_name(c->output_name), cues);
    if (code == KB_OK && changes == 0)
        return lease_lost(c, err);
    if (code == KB_OK)
        code = store_exec(s, NULL, err, "UPDATE tally SET done = done + 1, seconds = seconds + ?",
                          "d", r->seconds);
    return code == KB_OK ? batch_check_ended(s, c->batch, err) : code;
}

enum kb_code job_done(struct store *s, const struct job_claim *c, const struct dub_result *r,
                      bool thumb, const char *cues, struct kb_error *err)
{
    struct lease_row old;
    CLEANUP(kb_freep) char *path = path_join("results", c->output_name);
    int64_t size = beneath_size(s->folder, path);
    if (size < 0)
        return kb_fail(err, KB_INTERNAL,
                       _("the result '%s' of job %lld is not there; repeat the job"), c->output,
                       (long long)c->job);
    if (!file_settle(s, "results", c->output_name))
        return kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_INTERNAL,
                       _("the disk of '%s' reports an error: %s; check the disk"), s->folder,
                       kb_strerror(errno));
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = find_lease(s, c, &old, err);
    if (code == KB_OK)
        code = done(s, c, r, thumb, cues, size, err);
    return store_end(s, code, err);
}

enum kb_code job_requeue(struct store *s, int64_t job, int64_t pause_ms, const char *waiting,
                         const char *error_code, const char *text, struct kb_error *err)
{
    int64_t now = kb_wall_ms();
    return store_exec(
        s, NULL, err,
        "UPDATE job SET state = 'queued', stage = 0, waiting = ?2, not_before_ms = ?3, lease = "
        "NULL,"
        " worker = NULL, worker_pid = NULL, cancel = 0, done = 0, total = 0, fps = NULL,"
        " progress = 0, heartbeat_ms = NULL, progressed_ms = NULL, state_since_ms = ?4,"
        " started_ms = NULL, ended_ms = NULL, stage_s = NULL, error_code = ?5, error = ?6"
        " WHERE id = ?1",
        "itiitt", job, waiting, pause_ms ? now + pause_ms : 0, now, error_code, text);
}

static enum kb_code failed(struct store *s, const struct job_claim *c, const struct kb_error *why,
                           struct kb_error *err)
{
    struct lease_row old;
    enum kb_code code = find_lease(s, c, &old, err);
    if (code == KB_OK)
        code = job_lap(s, c->job, kb_wall_ms(), err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *text = sentence_of(why);
    const char *name = job_error_code(why->code);
    if (why->code == KB_CANCELLED)
        return job_end(s, c->job, "cancelled", name, text, err);
    if (why->code == KB_NO_SPACE && c->attempt < JOB_MAX_ATTEMPTS && !old.cancel)
        return job_requeue(s, c->job, 10000LL * c->attempt, "retry", name, text, err);
    return job_end(s, c->job, "failed", name, text, err);
}

enum kb_code job_failed(struct store *s, const struct job_claim *c, const struct kb_error *why,
                        struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = failed(s, c, why, err);
    if (code == KB_OK)
        job_drop_part(s, c);
    return store_end(s, code, err);
}

static enum kb_code give_back(struct store *s, const struct job_claim *c, struct kb_error *err)
{
    struct lease_row old;
    enum kb_code code = find_lease(s, c, &old, err);
    if (code != KB_OK)
        return code;
    if (old.cancel)
        return job_end_cancelled(s, c->job, err);
    code = job_requeue(s, c->job, 0, "worker", NULL, NULL, err);
    return code == KB_OK
               ? store_exec(s, NULL, err, "UPDATE job SET attempts = attempts - 1 WHERE id = ?",
                            "i", c->job)
               : code;
}

enum kb_code job_give_back(struct store *s, const struct job_claim *c, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = give_back(s, c, err);
    if (code == KB_OK)
        job_drop_part(s, c);
    return store_end(s, code, err);
}

void job_remove_output(struct store *s, const struct job_claim *c)
{
    result_release(s, c->output_name, c->lease);
}
