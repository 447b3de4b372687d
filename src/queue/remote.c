// The rows of jobs that other machines have: claimed, offered, taken, made. Their ends are in
// remote_end.c. What a power cut may take of this is said again by the machines, or offered again.
#include "queue/remote.h"

#include "queue/internal.h"
#include "store/names.h"
#include "queue/line.h"

#include "asset/upload.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define REMOTE                                                                                     \
    "SELECT r.job, r.lease, j.attempts, r.state, r.entry, r.node, r.sha256, r.size, r.asset,"      \
    " j.cancel, b.paused, r.since_ms FROM remote r JOIN job j ON j.id = r.job"                     \
    " JOIN batch b ON b.id = j.batch "

#define COPY(ret, q, column) store_copy_column(ret, sizeof(ret), q, column)

static struct remote read_row(sqlite3_stmt *q)
{
    struct remote r = {
        .job = sqlite3_column_int64(q, 0),
        .lease = sqlite3_column_int64(q, 1),
        .attempt = sqlite3_column_int(q, 2),
        .state = (enum remote_state)sqlite3_column_int(q, 3),
        .size = sqlite3_column_int64(q, 7),
        .cancel = sqlite3_column_int(q, 9),
        .paused = sqlite3_column_int(q, 10),
        .since_ms = sqlite3_column_int64(q, 11),
    };
    COPY(r.entry, q, 4);
    COPY(r.node, q, 5);
    COPY(r.sha256, q, 6);
    COPY(r.asset, q, 8);
    return r;
}

static enum kb_code not_theirs(int64_t job, struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("job %lld is not of this machine (any more)"),
                   (long long)job);
}

// --- looking

enum kb_code remote_list(struct store *s, struct remote **ret, int *ret_n, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) struct remote *list = NULL;
    int n = 0, capacity = 0;
    enum kb_code code = store_query(s, &q, err, REMOTE "ORDER BY r.job", "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        if (!kb_grow(&list, n, &capacity, sizeof(*list)))
            return kb_no_memory(err);
        list[n++] = read_row(q);
    }
    if (code != KB_EOF)
        return code;
    *ret = TAKE(list);
    *ret_n = n;
    return KB_OK;
}

enum kb_code remote_get(struct store *s, int64_t job, struct remote *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err, REMOTE "WHERE r.job = ?", "i", job);
    if (code == KB_OK)
        *ret = read_row(q);
    return code == KB_EOF ? not_theirs(job, err) : code;
}

enum kb_code remote_output(struct store *s, const struct remote *r, struct job_claim *ret,
                           struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT j.batch, j.attempts, j.output"
                                    " FROM remote r JOIN job j ON j.id = r.job"
                                    " WHERE r.job = ? AND r.lease = ? AND j.lease = r.lease",
                                    "ii", r->job, r->lease);
    if (code != KB_OK)
        return code == KB_EOF ? not_theirs(r->job, err) : code;
    const char *mark = (const char *)sqlite3_column_text(q, 2);
    *ret = (struct job_claim){
        .job = r->job,
        .lease = r->lease,
        .batch = sqlite3_column_int64(q, 0),
        .attempt = sqlite3_column_int(q, 1),
        .output_name = mark ? result_of_mark(mark) : kb_strdup(""),
    };
    ret->output = store_path(s, "results", ret->output_name);
    return KB_OK;
}

enum kb_code remote_read(struct store *s, const struct remote *r, struct job_claim *ret,
                         struct kb_error *err)
{
    struct job_claim c = {0};
    enum kb_code code = store_begin_read(s, err);
    if (code != KB_OK)
        return code;
    code = remote_output(s, r, &c, err);
    if (code == KB_OK)
        code = job_read_claim(s, &c, err);
    code = remote_end_told(s, code, err);
    if (code == KB_OK)
        *ret = c;
    else
        job_claim_free(&c);
    return code;
}

// --- offering

static enum kb_code claim_all(struct store *s, int64_t min_free_bytes, struct job_claim *ret,
                              int max, int *ret_n, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    while (code == KB_OK && *ret_n < max) {
        struct job_claim *c = &ret[*ret_n];
        *c = (struct job_claim){0}; // no process of this machine
        code = job_take(s, "", min_free_bytes, c, err);
        if (code == KB_EOF)
            return *ret_n > 0 ? KB_OK : KB_EOF;
        ++*ret_n; // also one that failed has something to drop
        if (code == KB_OK)
            code = store_exec(s, NULL, err,
                              "INSERT OR REPLACE INTO remote(job, lease, since_ms)"
                              " VALUES (?, ?, ?)",
                              "iii", c->job, c->lease, kb_wall_ms());
    }
    return code;
}

enum kb_code remote_claim(struct store *s, int64_t min_free_bytes, struct job_claim *ret, int max,
                          int *ret_n, struct kb_error *err)
{
    bool waits = false, durable = s->durable;
    int n = 0;
    *ret_n = 0;
    enum kb_code code = line_waits(s, &waits, err);
    if (code != KB_OK || !waits)
        return code == KB_OK ? KB_EOF : code;
    store_set_durable(s, false); // an offer that is forgotten is made again
    code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, claim_all(s, min_free_bytes, ret, max, &n, err), err);
    store_set_durable(s, durable);
    for (int i = 0; code != KB_OK && i < n; i++) {
        job_drop_part(s, &ret[i]);
        job_claim_free(&ret[i]);
    }
    if (code == KB_OK)
        *ret_n = n;
    return code;
}

// --- what is told

struct told {
    int64_t job, lease;
    const char *node;
    const char *entry;              // remote_offered()
    const char *sha256;             // remote_result()
    int64_t size;                   // of that
    const struct dub_result *facts; // of that
    char *ret_asset;                // remote_asset()
    bool *ret_anew;                 // remote_anew()
};
typedef enum kb_code told_fn(struct store *s, const struct told *t, const struct remote *r,
                             struct kb_error *err);

static enum kb_code check_and_tell(struct store *s, told_fn *fn, const struct told *t,
                                   struct kb_error *err)
{
    struct remote r;
    enum kb_code code = remote_get(s, t->job, &r, err);
    if (code == KB_OK && r.lease != t->lease)
        code = not_theirs(t->job, err);
    return code == KB_OK ? fn(s, t, &r, err) : code;
}

enum kb_code remote_end_told(struct store *s, enum kb_code code, struct kb_error *err)
{
    if (code != KB_NOT_FOUND)
        return store_end(s, code, err);
    enum kb_code ended = store_end(s, KB_OK, NULL);
    return ended == KB_OK ? code : ended;
}

static enum kb_code tell(struct store *s, told_fn *fn, bool durable, const struct told *t,
                         struct kb_error *err)
{
    bool before = s->durable;
    store_set_durable(s, before && durable);
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = remote_end_told(s, check_and_tell(s, fn, t, err), err);
    store_set_durable(s, before);
    return code;
}

static bool is_theirs(const struct told *t, const struct remote *r)
{
    return r->state != REMOTE_OFFERED && strcmp(r->node, t->node) == 0;
}

static enum kb_code set_state(struct store *s, int64_t job, enum remote_state state,
                              struct kb_error *err)
{
    return store_exec(s, NULL, err, "UPDATE remote SET state = ?, since_ms = ? WHERE job = ?",
                      "iii", (int64_t)state, kb_wall_ms(), job);
}

static enum kb_code offered(struct store *s, const struct told *t, const struct remote *r,
                            struct kb_error *err)
{
    enum kb_code code = store_exec(s, NULL, err, "UPDATE remote SET entry = ? WHERE job = ?", "ti",
                                   t->entry, t->job);
    return code == KB_OK && r->state == REMOTE_OFFERED ? set_state(s, t->job, r->state, err) : code;
}

enum kb_code remote_offered(struct store *s, int64_t job, int64_t lease, const char *entry,
                            struct kb_error *err)
{
    return tell(s, offered, false, &(struct told){job, lease, .entry = entry}, err);
}

// The attempt begins now, not when it was offered.
static enum kb_code taken(struct store *s, const struct told *t, const struct remote *r,
                          struct kb_error *err)
{
    if (r->state != REMOTE_OFFERED)
        return is_theirs(t, r) ? KB_OK : not_theirs(t->job, err);
    enum kb_code code =
        store_exec(s, NULL, err, "UPDATE remote SET node = ? WHERE job = ?", "ti", t->node, t->job);
    if (code == KB_OK)
        code = set_state(s, t->job, REMOTE_TAKEN, err);
    return code == KB_OK ? store_exec(s, NULL, err,
                                      "UPDATE job SET worker = ?2, started_ms = ?3,"
                                      " heartbeat_ms = ?3, progressed_ms = ?3, state_since_ms = ?3"
                                      " WHERE id = ?1",
                                      "iti", t->job, t->node, kb_wall_ms())
                         : code;
}

enum kb_code remote_taken(struct store *s, int64_t job, int64_t lease, const char *node,
                          struct kb_error *err)
{
    return tell(s, taken, false, &(struct told){job, lease, .node = node}, err);
}

static enum kb_code report_all(struct store *s, const char *node, struct remote_report *reports,
                               int n, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < n; i++) {
        struct remote_report *p = &reports[i];
        struct remote r;
        const struct told t = {p->job, p->lease, .node = node};
        code = remote_get(s, p->job, &r, err);
        if (code == KB_OK && r.lease == p->lease && is_theirs(&t, &r))
            code = job_report(s, &(struct job_claim){.job = p->job, .lease = p->lease}, &p->at,
                              &p->cancel, err);
        else if (code == KB_OK)
            code = KB_NOT_FOUND;
        p->lost = code == KB_NOT_FOUND;
        if (p->lost)
            code = KB_OK;
    }
    return code;
}

enum kb_code remote_report(struct store *s, const char *node, struct remote_report *reports, int n,
                           struct kb_error *err)
{
    bool durable = s->durable;
    store_set_durable(s, false);
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, report_all(s, node, reports, n, err), err);
    store_set_durable(s, durable);
    return code;
}

static enum kb_code made(struct store *s, const struct told *t, const struct remote *r,
                         struct kb_error *err)
{
    if (!is_theirs(t, r))
        return not_theirs(t->job, err);
    return r->state == REMOTE_TAKEN ? set_state(s, t->job, REMOTE_MADE, err) : KB_OK;
}

enum kb_code remote_made(struct store *s, int64_t job, int64_t lease, const char *node,
                         struct kb_error *err)
{
    return tell(s, made, false, &(struct told){job, lease, .node = node}, err);
}

static char *facts_json(const struct dub_result *f)
{
    const double *t = f->stage_s;
    _Static_assert(N_STAGES == 5, "as many as are written here");
    json_auto_t *json =
        json_pack("{s:I, s:I, s:f, s:i, s:i, s:[f, f, f, f, f]}", "frames", (json_int_t)f->frames,
                  "animated", (json_int_t)f->frames_animated, "seconds", f->seconds, "width",
                  f->width, "height", f->height, "stages", t[0], t[1], t[2], t[3], t[4]);
    return json_dumps(json, JSON_COMPACT);
}

// Is what is told now another file than was told before? Or than came, if it came before it was
// told of; what still comes is checked when it is whole.
static enum kb_code is_other(struct store *s, const struct told *t, const struct remote *r,
                             bool *ret, struct kb_error *err)
{
    int64_t n = 0;
    if (r->sha256[0]) {
        *ret = strcmp(r->sha256, t->sha256) != 0 || r->size != t->size;
        return KB_OK;
    }
    enum kb_code code = store_query_int(
        s, &n, err, "SELECT count(*) FROM asset WHERE id = ? AND sha256 <> ?", "tt", r->asset,
        t->sha256); // NULL until it is whole
    *ret = n > 0;
    return code;
}

// Another file comes anew: what there is goes.
static enum kb_code result(struct store *s, const struct told *t, const struct remote *r,
                           struct kb_error *err)
{
    if (!is_theirs(t, r))
        return not_theirs(t->job, err);
    bool other = false;
    CLEANUP(kb_freep) char *facts = facts_json(t->facts);
    if (!facts)
        return kb_no_memory(err);
    enum kb_code code = is_other(s, t, r, &other, err);
    if (code == KB_OK && (other || r->state == REMOTE_TAKEN))
        code = set_state(s, t->job, REMOTE_MADE, err);
    return code == KB_OK ? store_exec(s, NULL, err,
                                      "UPDATE remote SET sha256 = ?2, size = ?3, facts = ?4,"
                                      " asset = iif(?5, '', asset) WHERE job = ?1 AND"
                                      " (sha256, size, facts) IS NOT (?2, ?3, ?4)",
                                      "ititi", t->job, t->sha256, t->size, facts, (int64_t)other)
                         : code;
}

enum kb_code remote_result(struct store *s, int64_t job, int64_t lease, const char *node,
                           const char *sha256, int64_t size, const struct dub_result *r,
                           struct kb_error *err)
{
    const struct told t = {job, lease, .node = node, .sha256 = sha256, .size = size, .facts = r};
    enum kb_code code = tell(s, result, false, &t, err);
    if (code == KB_OK)
        remote_sweep(s, NULL);
    return code;
}

static enum kb_code make_asset(struct store *s, const struct told *t, const struct remote *r,
                               struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT j.result_name, b.lang FROM job j"
                                    " JOIN batch b ON b.id = j.batch WHERE j.id = ?",
                                    "i", t->job);
    if (code != KB_OK)
        return code == KB_EOF ? not_theirs(t->job, err) : code;
    CLEANUP(kb_freep) char *name = store_column(q, 0);
    CLEANUP(kb_freep) char *lang = store_column(q, 1);
    store_reset(&q);
    const struct asset_params p = {
        .name = name, .lang = lang, .size_bytes = r->sha256[0] ? r->size : -1, .job = t->job};
    code = asset_create(s, &p, t->ret_asset, err);
    if (code == KB_OK)
        code = set_state(s, t->job, REMOTE_COMING, err);
    return code == KB_OK ? store_exec(s, NULL, err, "UPDATE remote SET asset = ? WHERE job = ?",
                                      "ti", t->ret_asset, t->job)
                         : code;
}

// "" where there is none, or it is gone.
static enum kb_code look_for_asset(struct store *s, const struct told *t, const struct remote *r,
                                   struct kb_error *err)
{
    int64_t there = 0;
    if (!is_theirs(t, r))
        return not_theirs(t->job, err);
    enum kb_code code = store_query_int(
        s, &there, err, "SELECT EXISTS (SELECT 1 FROM asset WHERE id = ?)", "t", r->asset);
    if (code == KB_OK && there)
        memcpy(t->ret_asset, r->asset, sizeof(r->asset));
    return code;
}

// Over HTTP a result comes before it is told of.
static enum kb_code asset(struct store *s, const struct told *t, const struct remote *r,
                          struct kb_error *err)
{
    enum kb_code code = look_for_asset(s, t, r, err);
    return code == KB_OK && !t->ret_asset[0] ? make_asset(s, t, r, err) : code;
}

// Made for good: else the bytes that come could outlive their row in a power cut. Nearly always it
// is there, for which nobody need wait for a lock.
enum kb_code remote_asset(struct store *s, int64_t job, int64_t lease, const char *node,
                          char ret_asset[33], struct kb_error *err)
{
    char id[33] = "";
    const struct told t = {job, lease, .node = node, .ret_asset = id};
    enum kb_code code = check_and_tell(s, look_for_asset, &t, err);
    if (code == KB_OK && !id[0])
        code = tell(s, asset, true, &t, err);
    if (code == KB_OK)
        memcpy(ret_asset, id, sizeof(id));
    return code;
}

static enum kb_code anew(struct store *s, const struct told *t, const struct remote *r,
                         struct kb_error *err)
{
    if (!is_theirs(t, r))
        return not_theirs(t->job, err);
    *t->ret_anew = r->asset[0] && !r->sha256[0];
    if (!*t->ret_anew)
        return KB_OK;
    enum kb_code code = set_state(s, t->job, REMOTE_MADE, err);
    return code == KB_OK
               ? store_exec(s, NULL, err, "UPDATE remote SET asset = '' WHERE job = ?", "i", t->job)
               : code;
}

enum kb_code remote_anew(struct store *s, int64_t job, int64_t lease, const char *node, bool *ret,
                         struct kb_error *err)
{
    *ret = false;
    const struct told t = {job, lease, .node = node, .ret_anew = ret};
    enum kb_code code = tell(s, anew, false, &t, err);
    if (code == KB_OK && *ret)
        remote_sweep(s, NULL);
    return code;
}

// --- contents

enum kb_code remote_may_read(struct store *s, const char *node, const char *sha256, bool *ret,
                             struct kb_error *err)
{
    int64_t may = 0;
    enum kb_code code =
        store_query_int(s, &may, err,
                        "SELECT EXISTS (SELECT 1 FROM remote r JOIN job j ON j.id = r.job"
                        " JOIN batch b ON b.id = j.batch JOIN asset f ON f.id IN"
                        "  (coalesce(j.audio, b.audio), j.video)"
                        "  OR f.id IN (SELECT m.asset FROM material m WHERE m.batch = b.id"
                        "   AND coalesce(m.job, j.id) = j.id)"
                        " WHERE r.node = ?1 AND r.state > 0 AND f.sha256 = ?2)",
                        "tt", node, sha256);
    *ret = may != 0;
    return code;
}

enum kb_code remote_needs(struct store *s, const char *sha256, bool *ret, struct kb_error *err)
{
    int64_t needed = 0;
    enum kb_code code = store_query_int(
        s, &needed, err,
        "SELECT EXISTS (SELECT 1 FROM remote WHERE sha256 = ?1) OR EXISTS"
        " (SELECT 1 FROM asset f WHERE f.sha256 = ?1 AND"
        "  (EXISTS (SELECT 1 FROM job j WHERE f.id IN (j.video, j.audio)"
        "   AND j.state IN " JOB_STATES_OPEN
        "   ) OR EXISTS (SELECT 1 FROM batch b WHERE b.ended_ms IS NULL AND f.id = b.audio)"
        "   OR f.id IN (SELECT m.asset FROM material m JOIN batch b ON b.id = m.batch"
        "    WHERE b.ended_ms IS NULL)))",
        "t", sha256);
    *ret = needed != 0;
    return code;
}

enum kb_code remote_contents(struct store *s, char (**ret)[65], int *ret_n, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    char(*list)[65] = NULL;
    int n = 0, capacity = 0;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT f.sha256 FROM batch b JOIN asset f ON f.id = b.audio"
                    "  WHERE b.ended_ms IS NULL AND f.sha256 IS NOT NULL"
                    " UNION SELECT f.sha256 FROM material m JOIN batch b ON b.id = m.batch"
                    "  JOIN asset f ON f.id = m.asset"
                    "  WHERE b.ended_ms IS NULL AND f.sha256 IS NOT NULL"
                    " UNION SELECT f.sha256 FROM (SELECT DISTINCT video FROM job"
                    "  WHERE state IN " JOB_STATES_OPEN " UNION SELECT audio FROM job"
                    "  WHERE state IN " JOB_STATES_OPEN ") j JOIN asset f ON f.id = j.video"
                    "  WHERE f.sha256 IS NOT NULL"
                    " UNION SELECT sha256 FROM remote WHERE sha256 <> '' ORDER BY 1",
                    "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        if (!kb_grow(&list, n, &capacity, sizeof(*list))) {
            code = kb_no_memory(err);
            break;
        }
        COPY(list[n], q, 0);
        n++;
    }
    if (code != KB_EOF) {
        free(list);
        return code;
    }
    *ret = list;
    *ret_n = n;
    return KB_OK;
}
