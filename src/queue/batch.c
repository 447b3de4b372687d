// Batches: looked at, steered, deleted. batch_make.c makes them.
#include "queue/batch.h"

#include "queue/internal.h"

#include "base/file.h"
#include "base/sentence.h"
#include "base/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void json_free(json_t **json)
{
    json_decref(*json);
}

// Cut without halving a character.
char *batch_clean_name(const char *name)
{
    char *clean = utf8_clean(name);
    clean[utf8_fit(clean, 255)] = '\0';
    for (char *c = clean; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    return clean;
}

enum kb_code batch_check_priority(int priority, struct kb_error *err)
{
    if (priority < 0 || priority > 9)
        return kb_fail(err, KB_BAD_INPUT, _("the priority must be from 0 (last) to 9 (first)"));
    return KB_OK;
}

// --- looking

enum kb_code batch_list_json(struct store *s, const struct batch_filter *f, struct text *ret,
                             struct kb_error *err)
{
#define CHOSEN                                                                                     \
    " FROM batch b WHERE (?1 IS NULL OR ?1 = CASE WHEN b.ended_ms IS NOT NULL THEN 'ended'"        \
    "  WHEN b.paused THEN 'paused' ELSE 'active' END)"                                             \
    " AND (?2 IS NULL OR b.name LIKE ?2 ESCAPE '\\' OR b.audio_name LIKE ?2 ESCAPE '\\'"           \
    "  OR (b.speeches > 1 AND EXISTS (SELECT 1 FROM job j WHERE j.batch = b.id"                    \
    "   AND j.audio_name LIKE ?2 ESCAPE '\\')))"
    // The time left takes all open jobs: it is found once for the whole page.
    static const struct store_page sql = {
        .page =
            "WITH p AS MATERIALIZED (SELECT b.id AS id, row_number() OVER (ORDER BY"
            "  b.ended_ms IS NOT NULL, b.ended_ms DESC, b.priority DESC, b.turn, b.id) AS n" CHOSEN
            " ORDER BY n LIMIT ?3 OFFSET ?4)"
            " SELECT json FROM batch_json j WHERE j.id IN (SELECT id FROM p)"
            " ORDER BY (SELECT n FROM p WHERE p.id = j.id)",
        .total = "SELECT count(*)" CHOSEN,
    };
#undef CHOSEN
    CLEANUP(kb_freep) char *like = store_like(f->search);
    struct store_page page = sql;
    page.offset = f->offset;
    page.limit = f->limit;
    return store_page_json(s, &page, ret, err, "tt", f->state, like);
}

static enum kb_code no_batch(int64_t id, struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("there is no batch %lld (any more)"), (long long)id);
}

enum kb_code batch_json(struct store *s, int64_t id, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err, "SELECT json FROM batch_json WHERE id = ?", "i", id);
    if (code == KB_EOF)
        return no_batch(id, err);
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code;
}

// --- steering

// KB_NOT_FOUND, or KB_BAD_INPUT when it has ended and must not.
static enum kb_code find(struct store *s, int64_t id, bool unended, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err, "SELECT ended_ms IS NOT NULL, name FROM batch WHERE id = ?", "i", id);
    if (code == KB_EOF)
        return no_batch(id, err);
    if (code == KB_OK && unended && sqlite3_column_int(q, 0))
        return kb_fail(err, KB_BAD_INPUT, _("the batch '%s' has ended already"),
                       (const char *)sqlite3_column_text(q, 1));
    return code;
}

// A jobs' change of the batch id, in a transaction of its own.
typedef enum kb_code change_fn(struct store *s, int64_t id, int64_t argument, struct kb_error *err);

static enum kb_code change(struct store *s, change_fn *fn, bool unended, int64_t id,
                           int64_t argument, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = find(s, id, unended, err);
    if (code == KB_OK)
        code = fn(s, id, argument, err);
    return store_end(s, code, err);
}

static enum kb_code cancel(struct store *s, int64_t id, int64_t argument, struct kb_error *err)
{
    enum kb_code code = store_exec(
        s, NULL, err, "UPDATE job SET cancel = 1 WHERE batch = ? AND state IN " JOB_STATES_RUNNING,
        "i", id);
    CLEANUP(kb_freep) char *kept = sentence_keep(_("cancelled"));
    if (code == KB_OK)
        code = store_exec(s, NULL, err,
                          "UPDATE job SET state = 'cancelled', error_code = 'cancelled',"
                          " error = ?2, ended_ms = ?3, state_since_ms = ?3, waiting = NULL"
                          " WHERE batch = ?1 AND state = 'queued'",
                          "iti", id, kept, kb_wall_ms());
    return code == KB_OK ? batch_check_ended(s, id, err) : code;
}

enum kb_code batch_cancel(struct store *s, int64_t id, struct kb_error *err)
{
    return change(s, cancel, true, id, 0, err);
}

static enum kb_code pause(struct store *s, int64_t id, int64_t paused, struct kb_error *err)
{
    enum kb_code code =
        store_exec(s, NULL, err, "UPDATE batch SET paused = ? WHERE id = ?", "ii", paused, id);
    if (code != KB_OK)
        return code;
    // The sweep would say so a second later; who resumes may have to wait for something else.
    return store_exec(s, NULL, err,
                      "UPDATE job SET waiting = iif(?2, 'paused', 'worker')"
                      " WHERE batch = ?1 AND state = 'queued'",
                      "ii", id, paused);
}

enum kb_code batch_pause(struct store *s, int64_t id, bool paused, struct kb_error *err)
{
    return change(s, pause, true, id, paused, err);
}

static enum kb_code retry(struct store *s, int64_t id, int64_t argument, struct kb_error *err)
{
    int changes = 0;
    enum kb_code code = store_exec(
        s, &changes, err,
        "UPDATE job SET state = 'queued', waiting = 'worker', attempts = 0, retried = retried + 1,"
        " not_before_ms = 0,"
        " cancel = 0, worker = NULL, done = 0, total = 0, fps = NULL, progress = 0,"
        " heartbeat_ms = NULL, progressed_ms = NULL, state_since_ms = ?2, started_ms = NULL,"
        " ended_ms = NULL, stage_s = NULL, error_code = NULL, error = NULL"
        " WHERE batch = ?1 AND state IN ('failed', 'cancelled')",
        "ii", id, kb_wall_ms());
    if (code == KB_OK && changes == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no job of batch %lld has failed or was cancelled; there is nothing to "
                         "repeat"),
                       (long long)id);
    if (code == KB_OK)
        code = store_exec(s, NULL, err,
                          "UPDATE batch SET paused = iif(ended_ms IS NULL, paused, 0),"
                          " ended_ms = NULL WHERE id = ?",
                          "i", id);
    return code;
}

enum kb_code batch_retry(struct store *s, int64_t id, struct kb_error *err)
{
    return change(s, retry, false, id, 0, err);
}

static enum kb_code set_priority(struct store *s, int64_t id, int64_t priority,
                                 struct kb_error *err)
{
    return store_exec(s, NULL, err, "UPDATE batch SET priority = ? WHERE id = ?", "ii", priority,
                      id);
}

enum kb_code batch_set_priority(struct store *s, int64_t id, int priority, struct kb_error *err)
{
    enum kb_code code = batch_check_priority(priority, err);
    return code == KB_OK ? change(s, set_priority, false, id, priority, err) : code;
}

enum kb_code batch_rename(struct store *s, int64_t id, const char *name, struct kb_error *err)
{
    CLEANUP(kb_freep) char *clean = batch_clean_name(name);
    if (clean[strspn(clean, " ")] == '\0')
        return kb_fail(err, KB_BAD_INPUT, _("a batch needs a name"));
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = find(s, id, false, err);
    if (code == KB_OK)
        code = store_exec(s, NULL, err, "UPDATE batch SET name = ? WHERE id = ?", "ti", clean, id);
    if (code == KB_OK) // its jobs show the name: a new revision for each
        code = store_exec(s, NULL, err, "UPDATE job SET batch = batch WHERE batch = ?", "i", id);
    return store_end(s, code, err);
}

// --- order

enum kb_code place_find(struct store *s, const struct place_sql *sql, int64_t scope, int64_t id,
                        int64_t before, double *ret, struct kb_error *err)
{
    for (int tries = 0; tries < 2; tries++) {
        CLEANUP(store_reset) sqlite3_stmt *q = NULL;
        enum kb_code code =
            store_query(s, &q, err, before > 0 ? sql->beside : sql->ends, "iii", scope, before, id);
        if (code != KB_OK)
            return code == KB_EOF ? KB_NOT_FOUND : code;
        if (before <= 0) {
            *ret = sqlite3_column_double(q, before == 0 ? 1 : 0);
            return KB_OK;
        }
        double other = sqlite3_column_double(q, 0), below = sqlite3_column_double(q, 1);
        if (sqlite3_column_type(q, 1) == SQLITE_NULL)
            below = other - 2;
        *ret = (below + other) / 2;
        if (*ret > below && *ret < other)
            return KB_OK;
        store_reset(&q); // some fifty moves to one place used up the digits
        code = store_exec(s, NULL, err, sql->renumber, "i", scope);
        if (code != KB_OK)
            return code;
    }
    return kb_fail(err, KB_INTERNAL, "no place before %lld", (long long)before);
}

static const struct place_sql place = {
    .ends = "SELECT min(turn) - 1, max(turn) + 1 FROM batch",
    .beside = "SELECT p.turn, (SELECT max(turn) FROM batch WHERE turn < p.turn AND id <> ?3)"
              " FROM batch p WHERE p.id = ?2",
    .renumber = "UPDATE batch SET turn = o.n FROM (SELECT id, row_number() OVER"
                " (ORDER BY turn, id) AS n FROM batch) o WHERE batch.id = o.id",
};

static enum kb_code move(struct store *s, int64_t id, int64_t before, struct kb_error *err)
{
    double turn = 0;
    if (id == before)
        return KB_OK;
    enum kb_code code = place_find(s, &place, 0, id, before, &turn, err);
    if (code == KB_NOT_FOUND)
        return no_batch(before, err);
    if (code != KB_OK)
        return code;
    code = store_exec(s, NULL, err, "UPDATE batch SET turn = ? WHERE id = ?", "di", turn, id);
    // All may have a new number. It gives a revision only where it stays as it is.
    return code == KB_OK
               ? store_exec(s, NULL, err, "UPDATE batch SET turn = turn WHERE ended_ms IS NULL", "")
               : code;
}

enum kb_code batch_move(struct store *s, int64_t id, int64_t before, struct kb_error *err)
{
    return change(s, move, true, id, before, err);
}

// --- deleting

static enum kb_code delete_row(struct store *s, int64_t id, json_t *files, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    int64_t running = 0;
    enum kb_code code = find(s, id, false, err);
    if (code == KB_OK)
        code = store_query_int(s, &running, err,
                               "SELECT count(*) FROM job WHERE batch = ? AND state IN"
                               " " JOB_STATES_RUNNING,
                               "i", id);
    if (code == KB_OK && running)
        return kb_fail(err, KB_BAD_INPUT,
                       _("a job of batch %lld is running; cancel the batch first"), (long long)id);
    if (code != KB_OK)
        return code;
    code = store_query(s, &q, err, "SELECT result FROM job WHERE batch = ? AND result IS NOT NULL",
                       "i", id);
    for (; code == KB_OK; code = store_step(s, q, err))
        json_array_append_new(files, json_string((const char *)sqlite3_column_text(q, 0)));
    if (code != KB_EOF)
        return code;
    code = store_exec(s, NULL, err, "DELETE FROM job WHERE batch = ?", "i", id);
    if (code == KB_OK)
        code = store_exec(s, NULL, err, "DELETE FROM batch WHERE id = ?", "i", id);
    return code;
}

enum kb_code batch_delete(struct store *s, int64_t id, struct kb_error *err)
{
    CLEANUP(json_free) json_t *files = json_array();
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, delete_row(s, id, files, err), err);
    for (size_t i = 0; code == KB_OK && i < json_array_size(files); i++)
        result_release(s, json_string_value(json_array_get(files, i)), 0);
    return code;
}
