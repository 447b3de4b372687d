// Jobs as the API sees and steers them, and what ends them.
#include "queue/job.h"

#include "queue/internal.h"
#include "queue/line.h"

#include "base/sentence.h"
#include "notify/notify.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[N_JOB_STATES] = {
    [JOB_QUEUED] = "queued",
    [JOB_LOADING] = "loading",
    [JOB_AUDIO] = "audio",
    [JOB_PREPROCESSING] = "preprocessing",
    [JOB_GENERATING] = "generating",
    [JOB_FINISHING] = "finishing",
    [JOB_DONE] = "done",
    [JOB_FAILED] = "failed",
    [JOB_CANCELLED] = "cancelled",
    [JOB_SKIPPED] = "skipped",
};

const char *job_state_name(enum job_state state)
{
    return state_names[state];
}

bool job_state_parse(const char *name, enum job_state *ret)
{
    for (int i = 0; i < N_JOB_STATES; i++)
        if (strcmp(state_names[i], name) == 0) {
            *ret = (enum job_state)i;
            return true;
        }
    return false;
}

// --- lists

static const char one_sql[] = "SELECT json FROM job_json WHERE id = ?";

// The numbers first, so that no statement is open while the jobs are looked at.
static enum kb_code add_page(struct store *s, const struct job_filter *f, struct text *ret,
                             struct kb_error *err)
{
    int64_t ids[STORE_PAGE_MAX], rev = 0, total = 0;
    int n = 0;
    enum kb_code code = store_query_int(s, &rev, err, "SELECT rev FROM clock", "");
    if (code == KB_OK)
        code = line_count(s, f, &total, err);
    if (code == KB_OK)
        code = line_list(s, f, ids, store_limit(f->limit), &n, err);
    text_addf(ret, "{\"total\":%lld,\"rev\":%lld,\"items\":[", (long long)total, (long long)rev);
    for (int i = 0; code == KB_OK && i < n; i++) {
        text_add(ret, i ? "," : "");
        code = job_json(s, ids[i], ret, err);
    }
    text_add(ret, "]}");
    return code;
}

enum kb_code job_list_json(struct store *s, const struct job_filter *f, struct text *ret,
                           struct kb_error *err)
{
    enum kb_code code = store_begin_read(s, err);
    return code == KB_OK ? store_end(s, add_page(s, f, ret, err), err) : code;
}

static enum kb_code no_job(int64_t id, struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("there is no job %lld (any more)"), (long long)id);
}

enum kb_code job_json(struct store *s, int64_t id, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err, one_sql, "i", id);
    if (code == KB_EOF)
        return no_job(id, err);
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code;
}

// --- one by one, and typed

enum kb_code job_get(struct store *s, int64_t id, struct job *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT j.batch, j.name, j.state, j.stage," JOB_WAITING
                                    ", say(j.error), j.progress, j.started_ms, j.ended_ms,"
                                    " j.state_since_ms, j.progressed_ms FROM job j WHERE j.id = ?",
                                    "i", id);
    if (code == KB_EOF)
        return no_job(id, err);
    if (code != KB_OK)
        return code;
    struct job j = {
        .id = id,
        .batch = sqlite3_column_int64(q, 0),
        .stage = (enum stage)sqlite3_column_int(q, 3),
        .progress = sqlite3_column_double(q, 6),
        .started_ms = sqlite3_column_int64(q, 7),
        .ended_ms = sqlite3_column_int64(q, 8),
        .state_since_ms = sqlite3_column_int64(q, 9),
        .progressed_ms = sqlite3_column_int64(q, 10),
    };
    store_copy_column(j.name, sizeof(j.name), q, 1);
    store_copy_column(j.waiting, sizeof(j.waiting), q, 4);
    store_copy_column(j.error, sizeof(j.error), q, 5);
    const char *state = (const char *)sqlite3_column_text(q, 2);
    if (!job_state_parse(state, &j.state) || (unsigned)j.stage >= N_STAGES)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the database is damaged: job %lld is in a state '%s' that there is not"),
                       (long long)id, state);
    *ret = j;
    return KB_OK;
}

static enum kb_code list_jobs(struct store *s, const struct job_filter *f, struct job **ret,
                              int *ret_n, struct kb_error *err)
{
    int64_t ids[STORE_PAGE_MAX];
    int n = 0;
    enum kb_code code = line_list(s, f, ids, store_limit(f->limit), &n, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) struct job *jobs = kb_alloc(((size_t)n + 1) * sizeof(*jobs));
    for (int i = 0; code == KB_OK && i < n; i++)
        code = job_get(s, ids[i], &jobs[i], err);
    if (code != KB_OK)
        return code;
    *ret = TAKE(jobs);
    *ret_n = n;
    return KB_OK;
}

enum kb_code job_list(struct store *s, const struct job_filter *f, struct job **ret, int *ret_n,
                      struct kb_error *err)
{
    enum kb_code code = store_begin_read(s, err);
    return code == KB_OK ? store_end(s, list_jobs(s, f, ret, ret_n, err), err) : code;
}

enum kb_code job_count(struct store *s, const struct job_filter *f, int64_t *ret,
                       struct kb_error *err)
{
    enum kb_code code = store_begin_read(s, err);
    return code == KB_OK ? store_end(s, line_count(s, f, ret, err), err) : code;
}

// --- the end of a job

const char *job_error_code(enum kb_code code)
{
    switch (code) {
    case KB_BAD_INPUT:
        return "bad_input";
    case KB_NOT_FOUND:
        return "not_found";
    case KB_NO_SPACE:
        return "no_space";
    case KB_UNAVAILABLE:
        return "unavailable";
    case KB_CANCELLED:
        return "cancelled";
    default:
        return "internal";
    }
}

enum kb_code job_lap(struct store *s, int64_t job, int64_t now_ms, struct kb_error *err)
{
    return store_exec(
        s, NULL, err,
        "UPDATE job SET stage_s = json_set("
        "  coalesce(stage_s, '{\"loading\":0.0,\"audio\":0.0,\"preprocessing\":0.0,"
        "\"generating\":0.0,\"finishing\":0.0}'), p.path,"
        "  round(coalesce(json_extract(stage_s, p.path), 0)"
        "        + max(?2 - state_since_ms, 0) / 1000.0, 3))"
        " FROM (SELECT '$.' || json_extract('[\"loading\",\"audio\",\"preprocessing\","
        "\"generating\",\"finishing\"]', '$[' || stage || ']') AS path FROM job WHERE id = ?1) p"
        " WHERE id = ?1",
        "ii", job, now_ms);
}

// Give the batch a new revision: one of its jobs is gone.
static enum kb_code touch_batch(struct store *s, int64_t batch, struct kb_error *err)
{
    return store_exec(s, NULL, err, "UPDATE batch SET turn = turn WHERE id = ?", "i", batch);
}

enum kb_code batch_check_ended(struct store *s, int64_t batch, struct kb_error *err)
{
    int changes = 0;
    enum kb_code code = store_exec(
        s, &changes, err,
        "UPDATE batch SET ended_ms = ?2 WHERE id = ?1 AND ended_ms IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM job WHERE batch = ?1 AND state NOT IN " JOB_STATES_ENDED ")",
        "ii", batch, kb_wall_ms());
    return code == KB_OK && changes ? notify_batch_ended(s, batch, err) : code;
}

enum kb_code job_end(struct store *s, int64_t job, const char *state, const char *error_code,
                     const char *text, struct kb_error *err)
{
    int64_t batch = 0, now = kb_wall_ms();
    bool failed = strcmp(state, "failed") == 0;
    enum kb_code code = store_query_int(
        s, &batch, err,
        "UPDATE job SET state = ?2, error_code = ?3, error = ?4, ended_ms = ?5,"
        " state_since_ms = ?5, lease = NULL, worker_pid = NULL, cancel = 0, waiting = NULL"
        " WHERE id = ?1 RETURNING batch",
        "ittti", job, state, error_code, text, now);
    if (code == KB_OK && failed)
        code = store_exec(s, NULL, err, "UPDATE tally SET failed = failed + 1", "");
    if (code == KB_OK && failed)
        code = notify_job_failed(s, job, err);
    return code == KB_OK ? batch_check_ended(s, batch, err) : code;
}

enum kb_code job_end_cancelled(struct store *s, int64_t job, struct kb_error *err)
{
    CLEANUP(kb_freep) char *kept = sentence_keep(_("cancelled"));
    return job_end(s, job, "cancelled", "cancelled", kept, err);
}

// --- what the API does with one job

struct job_row {
    int64_t batch;
    bool queued, ended, done, skipped;
};

static enum kb_code find(struct store *s, int64_t id, struct job_row *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT batch, state = 'queued', state IN " JOB_STATES_ENDED
                                    ", state = 'done', state = 'skipped' FROM job WHERE id = ?",
                                    "i", id);
    if (code == KB_EOF)
        return no_job(id, err);
    if (code == KB_OK)
        *ret = (struct job_row){sqlite3_column_int64(q, 0), sqlite3_column_int(q, 1),
                                sqlite3_column_int(q, 2), sqlite3_column_int(q, 3),
                                sqlite3_column_int(q, 4)};
    return code;
}

static enum kb_code cancel(struct store *s, int64_t id, struct kb_error *err)
{
    struct job_row job;
    enum kb_code code = find(s, id, &job, err);
    if (code != KB_OK)
        return code;
    if (job.ended)
        return kb_fail(err, KB_BAD_INPUT, _("job %lld has ended already"), (long long)id);
    if (job.queued)
        return job_end_cancelled(s, id, err);
    return store_exec(s, NULL, err, "UPDATE job SET cancel = 1 WHERE id = ?", "i", id);
}

enum kb_code job_cancel(struct store *s, int64_t id, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    return code == KB_OK ? store_end(s, cancel(s, id, err), err) : code;
}

static enum kb_code retry(struct store *s, int64_t id, struct kb_error *err)
{
    struct job_row job;
    int64_t present = 0;
    enum kb_code code = find(s, id, &job, err);
    if (code != KB_OK)
        return code;
    if (job.skipped)
        return kb_fail(err, KB_BAD_INPUT,
                       _("job %lld was not tried, because its video cannot be used; upload another "
                         "one and start a new batch"),
                       (long long)id);
    if (!job.ended || job.done)
        return kb_fail(err, KB_BAD_INPUT,
                       _("job %lld neither failed nor was cancelled; only such jobs can be "
                         "repeated"),
                       (long long)id);
    code = store_query_int(s, &present, err,
                           "SELECT a.id IS NOT NULL AND v.id IS NOT NULL FROM" JOB_AND_FILES
                           "WHERE j.id = ?",
                           "i", id);
    if (code != KB_OK)
        return code;
    if (!present)
        return kb_fail(err, KB_NOT_FOUND,
                       _("the speech or the video of job %lld was deleted; upload it again and "
                         "start a new batch"),
                       (long long)id);
    code = job_requeue(s, id, 0, "worker", NULL, NULL, err);
    if (code == KB_OK)
        code =
            store_exec(s, NULL, err,
                       "UPDATE job SET attempts = 0, retried = retried + 1 WHERE id = ?", "i", id);
    if (code == KB_OK)
        code = store_exec(s, NULL, err,
                          "UPDATE batch SET paused = iif(ended_ms IS NULL, paused, 0),"
                          " ended_ms = NULL WHERE id = ?",
                          "i", job.batch);
    return code;
}

enum kb_code job_retry(struct store *s, int64_t id, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    return code == KB_OK ? store_end(s, retry(s, id, err), err) : code;
}

static const struct place_sql place = {
    .ends = "SELECT min(position) - 1, max(position) + 1 FROM job WHERE batch = ?1",
    .beside = "SELECT p.position, (SELECT max(position) FROM job WHERE batch = ?1"
              " AND position < p.position AND id <> ?3)"
              " FROM job p WHERE p.batch = ?1 AND p.id = ?2",
    .renumber = "UPDATE job SET position = o.n FROM (SELECT id, row_number() OVER"
                " (ORDER BY position, id) AS n FROM job WHERE batch = ?1) o WHERE job.id = o.id",
};

static enum kb_code move(struct store *s, int64_t id, int64_t before, struct kb_error *err)
{
    struct job_row job;
    double position = 0;
    enum kb_code code = find(s, id, &job, err);
    if (code != KB_OK || id == before)
        return code;
    code = place_find(s, &place, job.batch, id, before, &position, err);
    if (code == KB_NOT_FOUND)
        return kb_fail(err, KB_NOT_FOUND, _("there is no job %lld in the batch of job %lld"),
                       (long long)before, (long long)id);
    if (code != KB_OK)
        return code;
    return store_exec(s, NULL, err, "UPDATE job SET position = ? WHERE id = ?", "di", position, id);
}

enum kb_code job_move(struct store *s, int64_t id, int64_t before, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    return code == KB_OK ? store_end(s, move(s, id, before, err), err) : code;
}

static enum kb_code delete_row(struct store *s, int64_t id, char **ret_result, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    struct job_row job;
    enum kb_code code = find(s, id, &job, err);
    if (code != KB_OK)
        return code;
    if (!job.ended)
        return kb_fail(err, KB_BAD_INPUT, _("job %lld has not ended; cancel it first"),
                       (long long)id);
    code = store_query(s, &q, err, "DELETE FROM job WHERE id = ? RETURNING result", "i", id);
    if (code == KB_OK)
        *ret_result = store_column(q, 0);
    store_reset(&q);
    return code == KB_OK || code == KB_EOF ? touch_batch(s, job.batch, err) : code;
}

enum kb_code job_delete(struct store *s, int64_t id, struct kb_error *err)
{
    CLEANUP(kb_freep) char *result = NULL;
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, delete_row(s, id, &result, err), err);
    if (code == KB_OK && result)
        result_release(s, result, 0);
    return code;
}
