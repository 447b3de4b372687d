// What changed since a revision, for live pages.
#include "queue/change.h"

#include "store/sql.h"

#include <string.h>

// More than this is quicker to load page by page.
#define MAX_CHANGES 2000

int64_t change_revision(struct store *s)
{
    int64_t rev = 0;
    return store_query_int(s, &rev, NULL, "SELECT rev FROM clock", "") == KB_OK ? rev : 0;
}

// Append "name":[…] with the first column of every row of a statement that takes the revision.
static enum kb_code add_array(struct store *s, const char *name, const char *sql, int64_t rev,
                              struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    text_addf(ret, ",\"%s\":[", name);
    enum kb_code code = store_query(s, &q, err, sql, "i", rev);
    for (bool first = true; code == KB_OK; code = store_step(s, q, err), first = false) {
        text_add(ret, first ? "" : ",");
        store_add_column(ret, q, 0);
    }
    text_add(ret, "]");
    return code == KB_EOF ? KB_OK : code;
}

// Of so many unfinished batches the place in line and the time left follow every change.
#define BATCHES_FOLLOWED "50"

// A page knows nothing useful when deletions since rev were forgotten, when its revision is not of
// this database, or when nearly everything is new.
static enum kb_code must_reset(struct store *s, int64_t rev, int64_t now_rev, bool *ret,
                               struct kb_error *err)
{
    int64_t oldest = 0, n = 0;
    enum kb_code code = store_query_int(s, &oldest, err, "SELECT oldest FROM clock", "");
    if (code == KB_OK)
        code = store_query_int(
            s, &n, err,
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM job WHERE rev > ?1 LIMIT ?2))"
            " + (SELECT count(*) FROM (SELECT 1 FROM asset WHERE rev > ?1 LIMIT ?2))",
            "ii", rev, (int64_t)MAX_CHANGES + 1);
    *ret = rev < oldest || rev > now_rev || n > MAX_CHANGES;
    return code;
}

static enum kb_code add_changes(struct store *s, int64_t rev, int64_t now_ms, struct text *ret,
                                int64_t *ret_rev, struct kb_error *err)
{
    bool reset = false;
    int64_t now_rev = 0;
    enum kb_code code = store_query_int(s, &now_rev, err, "SELECT rev FROM clock", "");
    if (code == KB_OK)
        code = must_reset(s, rev, now_rev, &reset, err);
    if (code != KB_OK)
        return code;
    text_addf(ret, "{\"rev\":%lld,\"now\":%lld", (long long)now_rev, (long long)now_ms);
    if (reset) {
        text_add(ret, ",\"batches\":[],\"jobs\":[],\"assets\":[],\"gone\":[],\"reset\":true}");
        *ret_rev = now_rev;
        return KB_OK;
    }
    // A batch shows the counts and the progress of its jobs, so theirs are its changes; and what
    // happens to the others changes its place and its time left.
    code = add_array(
        s, "batches",
        "SELECT json FROM batch_json WHERE id IN (SELECT id FROM batch WHERE rev > ?1"
        " UNION SELECT batch FROM job WHERE rev > ?1 UNION SELECT id FROM"
        " (SELECT id FROM batch WHERE ended_ms IS NULL AND (EXISTS"
        "  (SELECT 1 FROM job WHERE rev > ?1) OR EXISTS (SELECT 1 FROM batch WHERE rev > ?1)"
        "  OR EXISTS (SELECT 1 FROM gone WHERE rev > ?1 AND kind = 'batch'))"
        "  ORDER BY paused, priority DESC, turn, id LIMIT " BATCHES_FOLLOWED "))",
        rev, ret, err);
    if (code == KB_OK)
        code = add_array(s, "jobs", "SELECT json FROM job_json WHERE rev > ? ORDER BY rev", rev,
                         ret, err);
    if (code == KB_OK)
        code = add_array(s, "assets", "SELECT json FROM asset_json WHERE rev > ? ORDER BY rev", rev,
                         ret, err);
    if (code == KB_OK)
        code = add_array(s, "gone",
                         "SELECT json_object('kind', kind, 'id', id) FROM gone WHERE rev > ?"
                         " ORDER BY rev",
                         rev, ret, err);
    text_add(ret, "}");
    if (code == KB_OK)
        *ret_rev = now_rev;
    return code;
}

enum kb_code change_list_json(struct store *s, int64_t rev, const bool wanted[KB_LANGUAGES],
                              struct text ret[KB_LANGUAGES], int64_t *ret_rev, struct kb_error *err)
{
    int64_t now_ms = kb_wall_ms();
    enum kb_code code = store_begin_read(s, err);
    if (code != KB_OK)
        return code;
    for (int i = 0; i < KB_LANGUAGES && code == KB_OK; i++) {
        if (!wanted[i])
            continue;
        enum kb_language before = kb_language_set_thread((enum kb_language)i);
        code = add_changes(s, rev, now_ms, &ret[i], ret_rev, err);
        kb_language_set_thread(before);
    }
    return store_end(s, code, err);
}
