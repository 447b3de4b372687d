// The supervisor's side: jobs whose worker is gone, and what queued jobs wait for.
#include "queue/sweep.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "queue/internal.h"
#include "store/names.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEASE_MS  15000
#define RETRY_MS  2000 // times the attempts made
#define GONE_KEPT 5000 // deletions that a page may have missed

// --- a worker is gone

struct lost_job {
    int64_t done, total;
    enum stage stage;
    int attempts;
    int64_t heartbeat_ms;
    bool cancel, running;
    char output[NAME_STEM]; // "12_news/film_speech_2026-11-27"
};

static enum kb_code read_lost(struct store *s, int64_t job, struct lost_job *ret,
                              struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT j.done, j.total, j.stage, j.attempts, j.cancel,"
                                    " j.heartbeat_ms, j.output FROM job j"
                                    " WHERE j.id = ? AND j.state IN " JOB_STATES_RUNNING,
                                    "i", job);
    if (code == KB_OK) {
        *ret = (struct lost_job){
            .done = sqlite3_column_int64(q, 0),
            .total = sqlite3_column_int64(q, 1),
            .stage = (enum stage)KB_MIN(sqlite3_column_int(q, 2), STAGE_FINISHING),
            .attempts = sqlite3_column_int(q, 3),
            .cancel = sqlite3_column_int(q, 4),
            .heartbeat_ms = sqlite3_column_int64(q, 5),
            .running = true,
        };
        const char *output = (const char *)sqlite3_column_text(q, 6);
        snprintf(ret->output, sizeof(ret->output), "%s", output ? output : "");
    }
    return code == KB_EOF ? KB_OK : code;
}

// The sentence as it is kept, a new string.
static char *tell_lost(const struct lost_job *j, const char *reason)
{
    struct kb_error why = {0};
    if (j->cancel)
        return sentence_keep(_("cancelled"));
    if (j->attempts < JOB_MAX_ATTEMPTS)
        kb_fail(&why, KB_INTERNAL, _("attempt %d of %d, it is tried again"), j->attempts,
                JOB_MAX_ATTEMPTS);
    else
        kb_fail(&why, KB_INTERNAL,
                _("tried %d times. Repeat it when the machine has less to do; if it fails again, "
                  "convert the video to MP4 (H.264) or make it smaller, and upload it anew"),
                j->attempts);
    reason = _(reason);
    if (j->total > 0 && (j->stage == STAGE_PREPROCESSING || j->stage == STAGE_GENERATING))
        kb_wrap(&why, _("%s while %s, at frame %lld of %lld; "), reason, stage_title(j->stage),
                (long long)j->done, (long long)j->total);
    else
        kb_wrap(&why, _("%s while %s; "), reason, stage_title(j->stage));
    return sentence_of(&why);
}

// What the attempt left. Its video may be whole when the worker died between that and its report.
// But one that was written long after the worker was last heard of is the result of a run that this
// database does not know: it is a backup from the middle of it. That one stays.
//
// A worker that is only late may go on any moment, and renames or removes its part by name. So that
// part stays where it is, and the next attempt has to take another name (result_take_name).
static void remove_output(struct store *s, const struct lost_job *j, bool gone)
{
    if (!j->output[0])
        return;
    CLEANUP(kb_freep) char *name = result_of_mark(j->output);
    CLEANUP(kb_freep) char *path = path_join("results", name);
    CLEANUP(kb_freep) char *half = file_part_path(path, 0);
    struct stat st, part;
    bool whole = beneath_stat(s->folder, path, &st);
    if (!gone && beneath_stat(s->folder, half, &part))
        return;
    if (!whole || st.st_mtim.tv_sec * 1000LL <= j->heartbeat_ms + LEASE_MS) {
        result_unlink(s, name);
    } else {
        beneath_unlink(s->folder, half); // its folder is not empty
        log_info(_("'%s' was written long after its worker was last heard of; it stays there, and "
                   "koubo restore takes it in"),
                 path);
    }
}

enum kb_code job_lose(struct store *s, int64_t job, const char *reason, bool late, bool hung,
                      struct kb_error *err)
{
    struct lost_job j = {0};
    enum kb_code code = read_lost(s, job, &j, err);
    if (code != KB_OK || !j.running)
        return code;
    code = job_lap(s, job, kb_wall_ms(), err);
    if (code != KB_OK)
        return code;
    remove_output(s, &j, !late);
    const char *name = hung ? "hung" : "crashed";
    CLEANUP(kb_freep) char *text = tell_lost(&j, reason);
    if (j.cancel)
        return job_end(s, job, "cancelled", "cancelled", text, err);
    if (j.attempts < JOB_MAX_ATTEMPTS)
        return job_requeue(s, job, (int64_t)RETRY_MS * j.attempts, "retry", name, text, err);
    return job_end(s, job, "failed", name, text, err);
}

// A short list of jobs, so that no statement is open while they change.
struct lost_list {
    struct {
        int64_t job;
        bool late;
    } items[64];
    int n;
};

static enum kb_code lose_all(struct store *s, const struct lost_list *list, const char *reason,
                             bool hung, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < list->n; i++) {
        int64_t job = list->items[i].job;
        const char *why = reason                ? reason
                          : list->items[i].late ? N_("the worker gave no sign of life")
                                                : N_("the worker is gone");
        code = job_lose(s, job, why, list->items[i].late, list->items[i].late || hung, err);
    }
    return code;
}

static enum kb_code lose_worker(struct store *s, const char *worker, const char *reason, bool hung,
                                struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    struct lost_list list = {0};
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT id FROM job WHERE worker = ? AND state IN " JOB_STATES_RUNNING
                    " AND id NOT IN (SELECT job FROM remote)",
                    "t", worker);
    for (; code == KB_OK && list.n < (int)ARRAY_LEN(list.items); code = store_step(s, q, err))
        list.items[list.n++].job = sqlite3_column_int64(q, 0);
    store_reset(&q);
    return code == KB_OK || code == KB_EOF ? lose_all(s, &list, reason, hung, err) : code;
}

enum kb_code sweep_worker_lost(struct store *s, const char *worker, const char *reason, bool hung,
                               struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    return code == KB_OK ? store_end(s, lose_worker(s, worker, reason, hung, err), err) : code;
}

enum kb_code job_take_back(struct store *s, int64_t job, struct kb_error *err)
{
    struct lost_job j = {0};
    enum kb_code code = read_lost(s, job, &j, err);
    if (code != KB_OK || !j.running)
        return code;
    remove_output(s, &j, true);
    if (j.cancel)
        return job_end_cancelled(s, job, err);
    code = job_requeue(s, job, 0, "worker", NULL, NULL, err);
    return code == KB_OK
               ? store_exec(s, NULL, err, "UPDATE job SET attempts = attempts - 1 WHERE id = ?",
                            "i", job)
               : code;
}

static enum kb_code give_all_back(struct store *s, struct kb_error *err)
{
    for (;;) {
        int64_t job = 0;
        enum kb_code code = store_query_int(s, &job, err,
                                            "SELECT id FROM job WHERE state IN " JOB_STATES_RUNNING
                                            " AND id NOT IN (SELECT job FROM remote) LIMIT 1",
                                            "");
        if (code != KB_OK || job == 0)
            return code;
        code = job_take_back(s, job, err);
        if (code != KB_OK)
            return code;
    }
}

enum kb_code sweep_server_lost(struct store *s, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    return code == KB_OK ? store_end(s, give_all_back(s, err), err) : code;
}

// --- the sweep

static bool is_held(const struct sweep_params *p, int64_t job)
{
    for (int i = 0; i < p->n_held; i++)
        if (p->held[i] == job)
            return true;
    return false;
}

static enum kb_code find_lost(struct store *s, const struct sweep_params *p, struct lost_list *ret,
                              struct kb_error *err)
{
    int64_t lease_ms = p->lease_ms > 0 ? p->lease_ms : LEASE_MS;
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    int64_t now = kb_wall_ms();
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT id, worker_pid, heartbeat_ms FROM job WHERE state IN"
                    " " JOB_STATES_RUNNING " AND id NOT IN (SELECT job FROM remote)",
                    "");
    for (; code == KB_OK && ret->n < (int)ARRAY_LEN(ret->items); code = store_step(s, q, err)) {
        if (is_held(p, sqlite3_column_int64(q, 0)))
            continue;
        bool gone = kill((pid_t)sqlite3_column_int64(q, 1), 0) != 0 && errno == ESRCH;
        bool late = now - sqlite3_column_int64(q, 2) > lease_ms;
        if (gone || late) {
            ret->items[ret->n].job = sqlite3_column_int64(q, 0);
            ret->items[ret->n++].late = !gone;
        }
    }
    return code == KB_EOF ? KB_OK : code;
}

// --- what changed
//
// What a queued job waits for, and whether it can still be made, depends on its row, its batch, its
// two files, the time and the disk. So it is looked at when one of them has changed; a queue of a
// hundred thousand that stands still costs nothing. A round over all of them is made at first, and
// where there is not room for each of them; it goes in slices, so that the write lock is held for a
// moment only, and not so often that it would cost more than a twentieth of the time.

#define SLICE       1000
#define ROUND_SHARE 20

// Queued jobs that are to be looked at, with their batch and files.
#define CHANGED " sweeping w CROSS JOIN" JOB_AND_FILES "WHERE j.id = w.job AND j.state = 'queued' "

// *ret: where the round has come; -1: this was the end of it.
static enum kb_code note_slice(struct store *s, int64_t *ret, struct kb_error *err)
{
    int64_t n = 0;
    enum kb_code code = store_exec(s, NULL, err,
                                   "INSERT INTO sweeping SELECT id FROM job WHERE id > ?"
                                   " AND +state = 'queued' ORDER BY id LIMIT ?",
                                   "ii", s->swept.round_id, (int64_t)SLICE);
    if (code == KB_OK)
        code = store_query_int(s, &n, err, "SELECT count(*) FROM sweeping", "");
    if (code == KB_OK)
        code = store_query_int(s, ret, err, "SELECT max(job) FROM sweeping", "");
    if (n < SLICE)
        *ret = -1;
    return code;
}

// The plus keeps SQLite from looking at all that are queued.
static enum kb_code note_changed(struct store *s, struct kb_error *err)
{
    return store_exec(s, NULL, err,
                      "INSERT OR IGNORE INTO sweeping"
                      " SELECT id FROM job WHERE rev > ?1 AND +state = 'queued'"
                      " UNION ALL SELECT j.id FROM batch b CROSS JOIN job j ON j.batch = b.id"
                      "  WHERE b.rev > ?1 AND +j.state = 'queued'"
                      " UNION ALL SELECT j.id FROM (SELECT id FROM asset WHERE rev > ?1"
                      "   UNION SELECT id FROM gone WHERE rev > ?1 AND kind = 'asset') f"
                      "  CROSS JOIN batch b ON b.audio = f.id CROSS JOIN job j ON j.batch = b.id"
                      "  WHERE b.ended_ms IS NULL AND +j.state = 'queued'"
                      " UNION ALL SELECT j.id FROM (SELECT id FROM asset WHERE rev > ?1"
                      "   UNION SELECT id FROM gone WHERE rev > ?1 AND kind = 'asset') f"
                      "  CROSS JOIN job j ON j.video = f.id WHERE +j.state = 'queued'"
                      " UNION ALL SELECT j.id FROM (SELECT id FROM asset WHERE rev > ?1"
                      "   UNION SELECT id FROM gone WHERE rev > ?1 AND kind = 'asset') f"
                      "  CROSS JOIN job j ON j.audio = f.id WHERE +j.state = 'queued'"
                      " UNION ALL SELECT id FROM job j WHERE waiting = 'retry' AND NOT (" JOB_RESTS(
                          "?2") ")"
                                "  AND +state = 'queued'",
                      "ii", s->swept.revision, kb_wall_ms());
}

// Is there perhaps not room for all of them, or was there not?
static enum kb_code is_tight(struct store *s, int64_t room, bool *ret, struct kb_error *err)
{
    int64_t waits = 0;
    enum kb_code code = store_query_int(
        s, &waits, err, "SELECT EXISTS (SELECT 1 FROM job WHERE waiting = 'disk')", "");
    *ret = waits || room < s->swept.need_max;
    return code;
}

// The list of deletions is cut; who knows only older revisions has to load everything again.
static enum kb_code find_gone(struct store *s, int64_t *ret, struct kb_error *err)
{
    return store_query_int(s, ret, err, "SELECT rev FROM gone ORDER BY rev DESC LIMIT 1 OFFSET ?",
                           "i", (int64_t)GONE_KEPT);
}

struct sweeping {
    int64_t room, revision, n;
    int64_t gone;     // deletions up to here are forgotten; 0: none
    int64_t round_id; // as in struct store, when this is done
    bool slice;       // a slice of the round is among them
    struct lost_list lost;
};

// One look at the database, which holds up nobody: what must be done.
static enum kb_code look(struct store *s, const struct sweep_params *p, struct sweeping *ret,
                         struct kb_error *err)
{
    int64_t oldest = 0;
    bool tight = false;
    enum kb_code code = find_lost(s, p, &ret->lost, err);
    if (code == KB_OK)
        code = store_query_int(s, &ret->revision, err, "SELECT rev FROM clock", "");
    if (code == KB_OK)
        code = store_query_int(s, &oldest, err, "SELECT oldest FROM clock", "");
    if (code == KB_OK)
        code = job_room(s, p->min_free_bytes, &ret->room, err);
    if (code == KB_OK)
        code = is_tight(s, ret->room, &tight, err);
    if (code == KB_OK)
        code = find_gone(s, &ret->gone, err);
    if (code == KB_OK)
        code = store_exec(s, NULL, err, "DELETE FROM sweeping", "");
    if (code != KB_OK)
        return code;
    bool anew = s->swept.revision < oldest || s->swept.revision == 0;
    if (anew || (tight && s->swept.round_id < 0))
        s->swept.round_id = s->swept.need_max = 0;
    ret->round_id = s->swept.round_id;
    ret->slice = ret->round_id >= 0 && (anew || kb_now_us() >= s->swept.next_us);
    if (ret->slice)
        code = note_slice(s, &ret->round_id, err);
    if (code == KB_OK && !anew)
        code = note_changed(s, err);
    return code == KB_OK ? store_query_int(s, &ret->n, err, "SELECT count(*) FROM sweeping", "")
                         : code;
}

// Queued jobs whose speech or video turned out to be useless: they fail with its sentence.
static enum kb_code sweep_bad(struct store *s, struct kb_error *err)
{
    for (int64_t last = 0;;) {
        CLEANUP(store_reset) sqlite3_stmt *q = NULL;
        enum kb_code code = store_query(
            s, &q, err,
            "SELECT j.id, a.id IS NULL OR v.id IS NULL, a.state IS 'bad',"
            " iif(a.state IS 'bad', a.error, v.error), iif(a.state IS 'bad',"
            " coalesce(j.audio_name, b.audio_name), j.name)"
            " FROM" CHANGED "AND j.id > ? AND (a.id IS NULL OR v.id IS NULL OR a.state = 'bad'"
            " OR v.state = 'bad') ORDER BY j.id LIMIT 1",
            "i", last);
        if (code != KB_OK)
            return code == KB_EOF ? KB_OK : code;
        int64_t job = last = sqlite3_column_int64(q, 0);
        bool missing = sqlite3_column_int(q, 1), speech = sqlite3_column_int(q, 2);
        CLEANUP(kb_freep) char *why = store_column(q, 3);
        CLEANUP(kb_freep) char *name = store_column(q, 4);
        store_reset(&q);
        struct kb_error sentence = {0};
        if (missing)
            kb_fail(&sentence, KB_NOT_FOUND,
                    _("the speech or the video was deleted; upload it again and start a new "
                      "batch"));
        else if (speech)
            speech_useless(name, why, &sentence);
        else if (why)
            sentence_fail(&sentence, KB_BAD_INPUT, why);
        else
            kb_fail(&sentence, KB_BAD_INPUT, "%s", _("it cannot be read"));
        CLEANUP(kb_freep) char *kept = sentence_of(&sentence);
        code = job_end(s, job, "failed", missing ? "not_found" : "bad_input", kept, err);
        if (code != KB_OK)
            return code;
    }
}

static enum kb_code sweep_waiting(struct store *s, int64_t room, struct kb_error *err)
{
    return store_exec(
        s, NULL, err,
        "WITH found AS MATERIALIZED (SELECT j.id, CASE WHEN b.paused THEN 'paused'"
        "  WHEN 'making' IN (a.state, v.state) THEN 'speech'"
        "  WHEN 'fetching' IN (a.state, v.state) THEN 'download'"
        "  WHEN" JOB_RESTS(
            "?1") "THEN 'retry' WHEN" JOB_NEED "> ?2 THEN 'disk'"
                  "  ELSE 'worker' END AS waiting FROM" CHANGED
                  ") UPDATE job SET waiting = found.waiting"
                  " FROM found WHERE job.id = found.id AND job.waiting IS NOT found.waiting",
        "ii", kb_wall_ms(), room);
}

static enum kb_code find_need(struct store *s, int64_t *ret, struct kb_error *err)
{
    return store_query_int(
        s, ret, err, "SELECT CAST(coalesce(max(" JOB_NEED "), 0) AS INTEGER) FROM" CHANGED, "");
}

enum kb_code job_price(struct store *s, int64_t batch, struct kb_error *err)
{
#define PRICE(from)                                                                                \
    "WITH found AS MATERIALIZED (SELECT j.id, CAST(" JOB_OUTPUT " AS INTEGER) AS cost FROM" from   \
    ") UPDATE job SET cost = found.cost FROM found"                                                \
    " WHERE job.id = found.id AND job.cost IS NOT found.cost"
    if (batch)
        return store_exec(s, NULL, err,
                          PRICE(JOB_AND_FILES "WHERE j.batch = ? AND j.state = 'queued'"), "i",
                          batch);
    return store_exec(s, NULL, err, PRICE(CHANGED), "");
#undef PRICE
}

static enum kb_code sweep_gone(struct store *s, struct kb_error *err)
{
    int64_t last = 0;
    enum kb_code code = find_gone(s, &last, err);
    if (code != KB_OK || last == 0)
        return code;
    code = store_exec(s, NULL, err, "DELETE FROM gone WHERE rev <= ?", "i", last);
    return code == KB_OK ? store_exec(s, NULL, err, "UPDATE clock SET oldest = ?", "i", last)
                         : code;
}

// Under the write lock.
static enum kb_code sweep(struct store *s, const struct sweep_params *p, struct sweeping *w,
                          struct kb_error *err)
{
    int64_t now_rev = 0;
    enum kb_code code = store_query_int(s, &now_rev, err, "SELECT rev FROM clock", "");
    bool alone = now_rev == w->revision; // nobody wrote since the look
    w->lost.n = 0;                       // a worker may have been heard in between
    if (code == KB_OK)
        code = find_lost(s, p, &w->lost, err);
    if (code == KB_OK)
        code = lose_all(s, &w->lost, NULL, false, err);
    if (code == KB_OK)
        code = sweep_bad(s, err);
    if (code == KB_OK)
        code = sweep_waiting(s, w->room, err);
    if (code == KB_OK)
        code = job_price(s, 0, err);
    if (code == KB_OK)
        code = sweep_gone(s, err);
    // Its own changes need not be looked at, but for the jobs that were just queued again.
    if (code == KB_OK && alone && w->lost.n == 0)
        code = store_query_int(s, &w->revision, err, "SELECT rev FROM clock", "");
    return code;
}

enum kb_code sweep_run(struct store *s, const struct sweep_params *p, struct kb_error *err)
{
    struct sweeping w = {0};
    int64_t begin_us = kb_now_us(), need = 0;
    enum kb_code code = store_exec(
        s, NULL, err, "CREATE TEMP TABLE IF NOT EXISTS sweeping(job INTEGER PRIMARY KEY)", "");
    if (code == KB_OK)
        code = store_begin_read(s, err);
    if (code != KB_OK)
        return code;
    code = look(s, p, &w, err);
    if (code == KB_OK)
        code = find_need(s, &need, err);
    code = store_end(s, code, err);
    if (code == KB_OK && (w.n > 0 || w.lost.n > 0 || w.gone)) {
        code = store_begin(s, err);
        if (code == KB_OK)
            code = store_end(s, sweep(s, p, &w, err), err);
    }
    if (code == KB_OK)
        code = remote_sweep(s, err);
    if (code != KB_OK)
        return code;
    s->swept.revision = KB_MAX(w.revision, 1);
    s->swept.need_max = KB_MAX(need, s->swept.need_max);
    s->swept.round_id = w.round_id;
    if (w.slice)
        s->swept.next_us = kb_now_us() + ROUND_SHARE * (kb_now_us() - begin_us);
    return KB_OK;
}
