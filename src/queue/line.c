// Batches take turns: the n-th job of one stands beside the n-th of the others of its priority,
// later by what its batch has running. That is its slot, and a page of the line is a range of
// slots. How many jobs lie before a slot can be told from the batches alone (batch_sum), so only
// the jobs of the page itself are looked up.
#include "queue/line.h"

#include "queue/internal.h"

#include <stdlib.h>
#include <string.h>

// --- the next one

enum kb_code line_waits(struct store *s, bool *ret, struct kb_error *err)
{
    int64_t waits = 0;
    enum kb_code code =
        store_query_int(s, &waits, err,
                        "SELECT EXISTS (SELECT 1 FROM batch b JOIN batch_sum m ON m.batch = b.id"
                        " WHERE b.ended_ms IS NULL AND NOT b.paused AND m.queued > 0)",
                        "");
    *ret = waits != 0;
    return code;
}

static enum kb_code next_of_batch(struct store *s, int64_t batch, int64_t room, int64_t *ret,
                                  struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT j.id FROM" JOB_AND_FILES "WHERE j.batch = ?1 AND j.state = 'queued'"
                    " AND NOT (" JOB_RESTS(
                        "?2") ") AND a.state IN ('new', 'ready') AND v.state IN ('new', 'ready')"
                              " AND" JOB_NEED "<= ?3"
                              " ORDER BY j.position, j.id LIMIT 1",
                    "iii", batch, kb_wall_ms(), room);
    if (code == KB_OK)
        *ret = sqlite3_column_int64(q, 0);
    return code;
}

enum kb_code line_next(struct store *s, int64_t room, int64_t *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *batches = NULL;
    enum kb_code code = store_query(s, &batches, err,
                                    "SELECT b.id FROM batch b JOIN batch_sum m ON m.batch = b.id"
                                    " LEFT JOIN asset a ON a.id = b.audio WHERE b.ended_ms IS NULL"
                                    " AND NOT b.paused AND m.queued > 0"
                                    " AND (b.speeches > 1 OR a.state IN ('new', 'ready'))"
                                    " ORDER BY b.priority DESC, m.running, b.turn, b.id",
                                    "");
    for (; code == KB_OK; code = store_step(s, batches, err)) {
        enum kb_code found = next_of_batch(s, sqlite3_column_int64(batches, 0), room, ret, err);
        if (found != KB_EOF)
            return found;
    }
    return code;
}

// --- those that wait

struct waiting_batch {
    int64_t id, busy, queued;
    int64_t group; // of equal priority
};

struct place {
    int64_t slot, batch, job; // batch: its place in the order of turns
};

struct line {
    struct waiting_batch *batches; // in the order of turns
    int n_batches;
    struct place *places;
    int n_places, max_places;
};

static void line_free(struct line *l)
{
    free(l->batches);
    free(l->places);
}

static enum kb_code read_batches(struct store *s, struct line *l, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    int capacity = 0;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT b.id, m.running, m.queued, b.paused * 100 - b.priority FROM batch b"
                    " JOIN batch_sum m ON m.batch = b.id WHERE b.ended_ms IS NULL AND m.queued > 0"
                    " ORDER BY b.paused, b.priority DESC, b.turn, b.id",
                    "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        if (!kb_grow(&l->batches, l->n_batches, &capacity, sizeof(*l->batches)))
            return kb_no_memory(err);
        l->batches[l->n_batches++] = (struct waiting_batch){.id = sqlite3_column_int64(q, 0),
                                                            .busy = sqlite3_column_int64(q, 1),
                                                            .queued = sqlite3_column_int64(q, 2),
                                                            .group = sqlite3_column_int64(q, 3)};
    }
    return code == KB_EOF ? KB_OK : code;
}

// How many jobs of the batch stand up to that slot.
static int64_t up_to(const struct waiting_batch *b, int64_t slot)
{
    return KB_MIN(KB_MAX(slot - b->busy, 0), b->queued);
}

static int64_t all_up_to(const struct line *l, int first, int end, int64_t slot)
{
    int64_t sum = 0;
    for (int i = first; i < end; i++)
        sum += up_to(&l->batches[i], slot);
    return sum;
}

// The first slot up to which at least n jobs of these batches stand; they have that many.
static int64_t slot_of(const struct line *l, int first, int end, int64_t n)
{
    int64_t low = 0, high = 0;
    for (int i = first; i < end; i++)
        high = KB_MAX(high, l->batches[i].busy + l->batches[i].queued);
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (all_up_to(l, first, end, middle) >= n)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static enum kb_code add_place(struct line *l, struct place p, struct kb_error *err)
{
    if (l->n_places == l->max_places) {
        int max = KB_MAX(256, l->max_places * 2);
        struct place *grown = reallocarray(l->places, (size_t)max, sizeof(*grown));
        if (!grown)
            return kb_no_memory(err);
        l->places = grown;
        l->max_places = max;
    }
    l->places[l->n_places++] = p;
    return KB_OK;
}

// The jobs of the i-th batch behind slot low, up to high.
static enum kb_code add_batch(struct store *s, struct line *l, int i, int64_t low, int64_t high,
                              struct kb_error *err)
{
    const struct waiting_batch *b = &l->batches[i];
    int64_t skip = up_to(b, low), take = up_to(b, high) - skip;
    if (take == 0)
        return KB_OK;
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT id FROM job WHERE batch = ? AND state = 'queued'"
                                    " ORDER BY position, id LIMIT ? OFFSET ?",
                                    "iii", b->id, take, skip);
    for (int64_t slot = b->busy + skip + 1; code == KB_OK; code = store_step(s, q, err)) {
        struct place p = {slot++, i, sqlite3_column_int64(q, 0)};
        code = add_place(l, p, err);
        if (code != KB_OK)
            return code;
    }
    return code == KB_EOF ? KB_OK : code;
}

static int by_slot(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    return (x->batch > y->batch) - (x->batch < y->batch);
}

// Of the batches first to end, which are of one priority: n jobs behind the first offset ones.
static enum kb_code add_group(struct store *s, struct line *l, int first, int end, int64_t offset,
                              int n, int64_t *ret, struct kb_error *err)
{
    int64_t low = offset > 0 ? slot_of(l, first, end, offset + 1) - 1 : 0;
    int64_t high = slot_of(l, first, end, offset + n);
    int64_t skip = offset - all_up_to(l, first, end, low);
    enum kb_code code = KB_OK;
    l->n_places = 0;
    for (int i = first; code == KB_OK && i < end; i++)
        code = add_batch(s, l, i, low, high, err);
    if (code != KB_OK)
        return code;
    if (!l->places || l->n_places < skip + n)
        return kb_fail(err, KB_INTERNAL, "batch_sum counts %lld jobs, there are %d",
                       (long long)(skip + n), l->n_places);
    qsort(l->places, (size_t)l->n_places, sizeof(*l->places), by_slot);
    for (int i = 0; i < n; i++)
        ret[i] = l->places[skip + i].job;
    return KB_OK;
}

// *ret_n grows by those that were added.
static enum kb_code list_queued(struct store *s, int64_t offset, int64_t *ret, int max, int *ret_n,
                                struct kb_error *err)
{
    CLEANUP(line_free) struct line l = {0};
    enum kb_code code = read_batches(s, &l, err);
    for (int first = 0, end; code == KB_OK && first < l.n_batches && *ret_n < max; first = end) {
        int64_t n = 0;
        for (end = first; end < l.n_batches && l.batches[end].group == l.batches[first].group;
             end++)
            n += l.batches[end].queued;
        if (offset >= n) {
            offset -= n;
            continue;
        }
        int take = (int)KB_MIN(n - offset, (int64_t)(max - *ret_n));
        code = add_group(s, &l, first, end, offset, take, ret + *ret_n, err);
        *ret_n += take;
        offset = 0;
    }
    return code;
}

// --- lists

// Which of the three parts of a list a state names, NULL: all of them.
struct parts {
    bool running, queued, ended;
};

static struct parts parts_of(const char *state)
{
    enum job_state one = JOB_QUEUED;
    if (!state)
        return (struct parts){true, true, true};
    if (strcmp(state, "unfinished") == 0)
        return (struct parts){.running = true, .queued = true};
    if (strcmp(state, "running") == 0)
        return (struct parts){.running = true};
    if (!job_state_parse(state, &one))
        return (struct parts){0};
    return (struct parts){one > JOB_QUEUED && one < JOB_DONE, one == JOB_QUEUED, one >= JOB_DONE};
}

static enum kb_code add_rows(struct store *s, enum kb_code code, sqlite3_stmt *q, int64_t *ret,
                             int *ret_n, struct kb_error *err)
{
    for (; code == KB_OK; code = store_step(s, q, err))
        ret[(*ret_n)++] = sqlite3_column_int64(q, 0);
    return code == KB_EOF ? KB_OK : code;
}

#define RUNS "(j.state = ?1 OR coalesce(?1, 'running') IN ('running', 'unfinished'))"

static enum kb_code list_running(struct store *s, const char *state, int64_t offset, int64_t *ret,
                                 int max, int *ret_n, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT j.id FROM job j JOIN batch b ON b.id = j.batch JOIN batch_sum m ON m.batch = b.id"
        " WHERE j.state IN " JOB_STATES_RUNNING " AND " RUNS
        " ORDER BY b.paused, b.priority DESC, m.running, b.turn, b.id, j.position, j.id"
        " LIMIT ?2 OFFSET ?3",
        "tii", state, (int64_t)(max - *ret_n), offset);
    return add_rows(s, code, q, ret, ret_n, err);
}

#define ENDED(state)                                                                               \
    "SELECT id, ended_ms FROM job WHERE state = '" state "' AND ended_ms IS NOT NULL"

static enum kb_code list_ended(struct store *s, const char *state, int64_t offset, int64_t *ret,
                               int max, int *ret_n, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    int64_t n = max - *ret_n;
    enum kb_code code =
        state ? store_query(s, &q, err,
                            "SELECT id FROM job WHERE state = ? AND ended_ms IS NOT NULL"
                            " ORDER BY ended_ms DESC, id LIMIT ? OFFSET ?",
                            "tii", state, n, offset)
              : store_query(
                    s, &q, err,
                    ENDED("done") " UNION ALL " ENDED("failed") " UNION ALL " ENDED(
                        "cancelled") " UNION ALL " ENDED("skipped") " ORDER BY ended_ms DESC, id "
                                                                    "LIMIT ? OFFSET ?",
                    "ii", n, offset);
    return add_rows(s, code, q, ret, ret_n, err);
}

// What is looked for by batch or text: all that fits is looked at.
#define FITS(scope)                                                                                \
    " FROM job j WHERE " scope " (?2 IS NULL OR j.state = ?2"                                      \
    "  OR (?2 = 'running' AND j.state IN " JOB_STATES_RUNNING ")"                                  \
    "  OR (?2 = 'unfinished' AND j.state NOT IN " JOB_STATES_ENDED "))"                            \
    " AND (?3 IS NULL OR j.name LIKE ?3 ESCAPE '\\'"                                               \
    "  OR j.batch IN (SELECT id FROM batch WHERE name LIKE ?3 ESCAPE '\\'))"
#define OF_BATCH "j.batch = ?1 AND"
#define OF_ALL   "?1 = 0 AND"
#define FOUND(scope)                                                                               \
    "WITH found AS MATERIALIZED (SELECT j.id, j.batch, j.state, j.position, j.ended_ms" FITS(      \
        scope) "), ranked AS (SELECT *, iif(state = 'queued', row_number() OVER"                   \
               "  (PARTITION BY batch, state = 'queued' ORDER BY position, id), 0) AS rank"        \
               "  FROM found)"                                                                     \
               " SELECT j.id FROM ranked j JOIN batch b ON b.id = j.batch"                         \
               " JOIN batch_sum m ON m.batch = b.id"                                               \
               " ORDER BY j.ended_ms IS NOT NULL, j.ended_ms DESC, j.rank > 0, b.paused,"          \
               " b.priority DESC, j.rank + m.running, b.turn, b.id, j.position, j.id"              \
               " LIMIT ?4 OFFSET ?5"

static enum kb_code list_found(struct store *s, const struct job_filter *f, int64_t *ret, int max,
                               int *ret_n, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) char *like = store_like(f->search);
    enum kb_code code =
        store_query(s, &q, err, f->batch ? FOUND(OF_BATCH) : FOUND(OF_ALL), "ittii", f->batch,
                    f->state, like, (int64_t)max, (int64_t)KB_MAX(f->offset, 0));
    return add_rows(s, code, q, ret, ret_n, err);
}

// Jobs in each part of the list, without a look at them.
static enum kb_code count_parts(struct store *s, const char *state, int64_t ret[3],
                                struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    struct parts p = parts_of(state);
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT total(running), total(queued), CASE ?1 WHEN 'done' THEN total(done)"
                    " WHEN 'failed' THEN total(failed) WHEN 'cancelled' THEN total(cancelled)"
                    " WHEN 'skipped' THEN total(skipped)"
                    " ELSE total(done + failed + cancelled + skipped) END FROM batch_sum",
                    "t", state);
    if (code != KB_OK)
        return code;
    ret[0] = p.running ? sqlite3_column_int64(q, 0) : 0;
    ret[1] = p.queued ? sqlite3_column_int64(q, 1) : 0;
    ret[2] = p.ended ? sqlite3_column_int64(q, 2) : 0;
    if (ret[0] == 0)
        return KB_OK;
    return store_query_int(
        s, &ret[0], err,
        "SELECT count(*) FROM job j WHERE j.state IN " JOB_STATES_RUNNING " AND " RUNS, "t", state);
}

enum kb_code line_list(struct store *s, const struct job_filter *f, int64_t *ret, int max,
                       int *ret_n, struct kb_error *err)
{
    int64_t counts[3] = {0}, offset = KB_MAX(f->offset, 0);
    *ret_n = 0;
    if (f->batch || f->search)
        return list_found(s, f, ret, max, ret_n, err);
    enum kb_code code = count_parts(s, f->state, counts, err);
    if (code == KB_OK && offset < counts[0])
        code = list_running(s, f->state, offset, ret, max, ret_n, err);
    offset = KB_MAX(offset - counts[0], 0);
    if (code == KB_OK && offset < counts[1] && *ret_n < max)
        code = list_queued(s, offset, ret, max, ret_n, err);
    offset = KB_MAX(offset - counts[1], 0);
    if (code == KB_OK && offset < counts[2] && *ret_n < max)
        code = list_ended(s, f->state && parts_of(f->state).ended ? f->state : NULL, offset, ret,
                          max, ret_n, err);
    return code;
}

enum kb_code line_count(struct store *s, const struct job_filter *f, int64_t *ret,
                        struct kb_error *err)
{
    int64_t counts[3] = {0};
    if (!f->batch && !f->search) {
        enum kb_code code = count_parts(s, f->state, counts, err);
        *ret = counts[0] + counts[1] + counts[2];
        return code;
    }
    CLEANUP(kb_freep) char *like = store_like(f->search);
    return store_query_int(
        s, ret, err, f->batch ? "SELECT count(*)" FITS(OF_BATCH) : "SELECT count(*)" FITS(OF_ALL),
        "itt", f->batch, f->state, like);
}
