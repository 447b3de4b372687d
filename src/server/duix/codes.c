#include "server/duix/codes.h"

#include "base/sentence.h"
#include "base/utf8.h"
#include "store/sql.h"

#include <stdio.h>

#define KEEP_MS (90 * 24 * 3600 * 1000LL) // a code whose job is gone

static enum kb_code take_code(struct store *s, const char *code, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code found =
        store_query(s, &q, err,
                    "SELECT 1 FROM easy e LEFT JOIN job j ON j.id = e.job WHERE e.code = ?"
                    " AND ((e.job IS NULL AND e.error IS NULL)"
                    "  OR j.state NOT IN " JOB_STATES_ENDED ")",
                    "t", code);
    if (found == KB_OK)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the task '%s' is still being worked on; use another code"), code);
    if (found != KB_EOF)
        return found;
    store_reset(&q);
    enum kb_code done = store_exec(s, NULL, err,
                                   "DELETE FROM easy WHERE created_ms < ?"
                                   " AND (job IS NULL OR job NOT IN (SELECT id FROM job))",
                                   "i", kb_wall_ms() - KEEP_MS);
    if (done != KB_OK)
        return done;
    return store_exec(s, NULL, err, "INSERT OR REPLACE INTO easy(code, created_ms) VALUES (?, ?)",
                      "ti", code, kb_wall_ms());
}

enum kb_code easy_begin(struct store *s, const char *code, struct kb_error *err)
{
    enum kb_code done = store_begin(s, err);
    return done == KB_OK ? store_end(s, take_code(s, code, err), err) : done;
}

// No time is compared: a clock may be set back.
enum kb_code easy_cut_off(struct store *s, struct kb_error *err)
{
    CLEANUP(kb_freep)
    char *why =
        sentence_keep(_("the server was restarted while this was submitted; submit it again"));
    return store_exec(s, NULL, err, "UPDATE easy SET error = ? WHERE job IS NULL AND error IS NULL",
                      "t", why);
}

enum kb_code easy_end(struct store *s, const char *code, int64_t job, const struct kb_error *why,
                      struct kb_error *err)
{
    CLEANUP(kb_freep) char *kept = why ? sentence_of(why) : NULL;
    return store_exec(s, NULL, err, "UPDATE easy SET job = NULLIF(?, 0), error = ? WHERE code = ?",
                      "itt", job, kept, code);
}

static void read_row(sqlite3_stmt *q, struct easy *ret)
{
    CLEANUP(kb_freep) char *error = sentence_say((const char *)sqlite3_column_text(q, 2));
    snprintf(ret->code, sizeof(ret->code), "%s", (const char *)sqlite3_column_text(q, 0));
    ret->job = sqlite3_column_int64(q, 1);
    snprintf(ret->error, sizeof(ret->error), "%s", error ? error : "");
    utf8_mend(ret->error, sizeof(ret->error));
}

enum kb_code easy_find(struct store *s, const char *code, struct easy *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code found =
        store_query(s, &q, err, "SELECT code, job, error FROM easy WHERE code = ?", "t", code);
    if (found == KB_EOF)
        return kb_fail(err, KB_NOT_FOUND, _("there is no task '%.*s'"), utf8_fit(code, 64), code);
    if (found == KB_OK)
        read_row(q, ret);
    return found;
}

enum kb_code easy_next_delivery(struct store *s, bool (*wanted)(void *ctx, const char *code),
                                void *ctx, struct easy *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code found =
        store_query(s, &q, err,
                    "SELECT e.code, e.job, e.error FROM easy e"
                    " JOIN job j ON j.id = e.job WHERE e.delivered = 0 AND j.state = 'done'"
                    " AND j.result IS NOT NULL",
                    "");
    for (; found == KB_OK; found = store_step(s, q, err)) {
        read_row(q, ret);
        if (wanted(ctx, ret->code))
            break;
    }
    return found;
}

enum kb_code easy_set_delivered(struct store *s, const struct easy *e, struct kb_error *err)
{
    return store_exec(s, NULL, err, "UPDATE easy SET delivered = 1 WHERE code = ? AND job = ?",
                      "ti", e->code, e->job);
}
