#include "asset/claim.h"

#include "asset/internal.h"

#include "base/sentence.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define CLAIMABLE                                                                                  \
    "SELECT id FROM asset WHERE state IN ('new', 'making') AND attempts < ?1"                      \
    " AND pieces IS NOT '' AND NOT (" ASSET_IS_HELD(                                               \
        "?2") ") ORDER BY (job IS NULL) = ?3, NOT sample, created_ms, rowid LIMIT 1"

static enum kb_code find_claimable(struct store *s, bool results_first, char ret_id[33],
                                   struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err, CLAIMABLE, "iii", (int64_t)MAX_CLAIMS, kb_wall_ms(),
                                    (int64_t)results_first);
    if (code == KB_OK)
        store_copy_column(ret_id, 33, q, 0);
    return code;
}

static enum kb_code claim_locked(struct store *s, const char *worker, bool results_first,
                                 struct asset *ret, struct kb_error *err)
{
    char id[33];
    enum kb_code code = find_claimable(s, results_first, id, err);
    if (code == KB_OK)
        code = store_exec(s, NULL, err,
                          "UPDATE asset SET worker = ?, lease_ms = ?, progress = 0"
                          " WHERE id = ?",
                          "tit", worker, kb_wall_ms() + ASSET_LEASE_MS, id);
    return code == KB_OK ? asset_find(s, id, ret, err) : code;
}

// A claim, and what was found, may be lost in a power cut: then it is looked at once more.
enum kb_code asset_claim(struct store *s, const char *worker, bool results_first, struct asset *ret,
                         struct kb_error *err)
{
    // Looked for without the write lock first: an idle inspector asks often.
    char id[33];
    bool durable = s->durable;
    enum kb_code code = find_claimable(s, results_first, id, err);
    if (code != KB_OK)
        return code;
    store_set_durable(s, false);
    code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, claim_locked(s, worker, results_first, ret, err), err);
    store_set_durable(s, durable);
    return code;
}

void asset_tell(struct store *s, const char *id, double progress)
{
    bool durable = s->durable;
    store_set_durable(s, false);
    store_exec(s, NULL, NULL,
               "UPDATE asset SET progress = max(coalesce(progress, 0), min(?, 1.0))"
               " WHERE id = ? AND state = 'new' AND worker IS NOT NULL",
               "dt", progress, id);
    store_set_durable(s, durable);
}

enum kb_code asset_give_back(struct store *s, const char *id, const char *worker,
                             struct kb_error *err)
{
    return store_exec(s, NULL, err,
                      "UPDATE asset SET worker = NULL, lease_ms = NULL"
                      " WHERE id = ? AND worker = ? AND state IN ('new', 'making')",
                      "tt", id, worker);
}

enum kb_code asset_worker_lost(struct store *s, const char *worker, struct kb_error *err)
{
    return store_exec(s, NULL, err,
                      "UPDATE asset SET worker = NULL, lease_ms = NULL"
                      " WHERE worker = ? AND state IN ('new', 'making')",
                      "t", worker);
}

enum kb_code asset_worker_crashed(struct store *s, const char *worker, struct kb_error *err)
{
    return store_exec(s, NULL, err,
                      "UPDATE asset SET worker = NULL, lease_ms = NULL, attempts = attempts + 1"
                      " WHERE worker = ? AND state IN ('new', 'making')",
                      "t", worker);
}

enum kb_code asset_content_gone(struct store *s, const char *sha256, const struct kb_error *why,
                                struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = sentence_of(why);
    return store_exec(s, NULL, err,
                      "UPDATE asset SET state = 'bad', error = ?, worker = NULL, lease_ms = NULL"
                      " WHERE sha256 = ? AND state IN ('new', 'ready')",
                      "tt", text, sha256);
}

static char *facts_warnings(const struct asset_facts *f)
{
    json_auto_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(f->warnings) && f->warnings[i]; i++)
        json_array_append_new(list, json_string(f->warnings[i]));
    return json_dumps(list, JSON_COMPACT);
}

static char *facts_face_boxes(const struct asset_facts *f)
{
    json_auto_t *list = json_array();
    for (int i = 0; i < f->n_face_boxes; i++) {
        json_t *box = json_array();
        for (int k = 0; k < 4; k++)
            json_array_append_new(box, json_real(round((double)f->face_boxes[i][k] * 1e4) / 1e4));
        json_array_append_new(list, box);
    }
    return json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(6));
}

static char *facts_peaks(const struct asset_facts *f)
{
    if (!f->peaks || f->n_peaks <= 0)
        return NULL;
    struct text list = {0};
    for (int i = 0; i < KB_MIN(f->n_peaks, 400); i++)
        text_addf(&list, "%c%d", i ? ',' : '[', f->peaks[i]);
    text_add(&list, "]");
    return list.data;
}

enum kb_code asset_set_facts(struct store *s, const char *id, const struct asset_facts *f,
                             struct kb_error *err)
{
    CLEANUP(kb_freep) char *warnings = facts_warnings(f);
    CLEANUP(kb_freep) char *peaks = facts_peaks(f);
    CLEANUP(kb_freep) char *boxes = facts_face_boxes(f);
    int n = 0;
    if (!warnings || !boxes)
        return kb_no_memory(err);
    bool durable = s->durable;
    store_set_durable(s, false);
    // What does not apply is NULL in the table.
    enum kb_code code = store_exec(
        s, &n, err,
        "UPDATE asset SET state = 'ready', kind = ?, duration_ms = NULLIF(?, 0),"
        " width = NULLIF(?, 0), height = NULLIF(?, 0), fps = NULLIF(?, 0.0), codec = ?,"
        " faces = NULLIF(?, -1), face_boxes = ?, face_boxes_at = iif(?, ?, NULL), warnings = ?,"
        " peaks = ?, thumbnail = ?, error = NULL, worker = NULL, lease_ms = NULL"
        " WHERE id = ? AND state = 'new'",
        "tiiidtitidttit", f->kind, f->duration_ms, (int64_t)f->width, (int64_t)f->height, f->fps,
        f->codec, strcmp(f->kind, "video") == 0 ? (int64_t)f->n_faces : (int64_t)-1, boxes,
        (int64_t)(f->n_face_boxes > 0), f->face_boxes_at, warnings, peaks, (int64_t)f->thumbnail,
        id);
    store_set_durable(s, durable);
    return code == KB_OK && n == 0 ? asset_not_found(err) : code;
}

enum kb_code asset_set_words(struct store *s, const char *id, const char *json,
                             struct kb_error *err)
{
    int n = 0;
    enum kb_code code = store_exec(
        s, &n, err, "UPDATE asset SET words = ? WHERE id = ? AND state = 'making'", "tt", json, id);
    return code == KB_OK && n == 0 ? asset_not_found(err) : code;
}

enum kb_code content_facts_json(struct store *s, const char *sha256, struct text *ret,
                                struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT json_object('kind', kind, 'duration_ms', duration_ms, 'width', width,"
                    " 'height', height, 'fps', fps, 'codec', codec, 'faces', faces,"
                    " 'face_boxes', json(face_boxes), 'face_boxes_at', face_boxes_at,"
                    " 'warnings', json(warnings)) FROM asset"
                    " WHERE sha256 = ? AND state = 'ready' AND job IS NULL LIMIT 1",
                    "t", sha256);
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    else if (code == KB_EOF)
        text_add(ret, "null");
    return code == KB_EOF ? KB_OK : code;
}
