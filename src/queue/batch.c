// Batches: made whole or not at all, steered, deleted.
#include "queue/batch.h"

#include "queue/internal.h"

#include "base/file.h"
#include "base/sentence.h"
#include "base/utf8.h"
#include "notify/notify.h"
#include "queue/options.h"
#include "queue/subtitles.h"
#include "store/names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VIDEOS 1000

static void json_free(json_t **json)
{
    json_decref(*json);
}

// --- making one

enum kb_code speech_useless(const char *name, const char *why, struct kb_error *err)
{
    if (why)
        sentence_fail(err, KB_BAD_INPUT, why);
    else
        kb_fail(err, KB_BAD_INPUT, "%s", _("it cannot be read"));
    kb_wrap(err, _("the speech '%s' cannot be used"), name);
    return KB_BAD_INPUT;
}

// An asset that a batch may use: its name, or the sentence why not. bad_is_fine: a bad video fails
// alone, later.
static enum kb_code check_asset(struct store *s, const char *id, bool bad_is_fine, char **ret_name,
                                struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err, "SELECT name, state, error FROM asset WHERE id = ? AND job IS NULL", "t", id);
    if (code == KB_EOF)
        return kb_fail(err, KB_NOT_FOUND,
                       _("there is no file '%.*s' here (any more); upload it again"),
                       utf8_fit(id, 40), id);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *name = store_column(q, 0);
    const char *state = (const char *)sqlite3_column_text(q, 1);
    const char *why = (const char *)sqlite3_column_text(q, 2);
    if (strcmp(state, "uploading") == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is still being uploaded; start the batch when it is complete"),
                       name);
    if (strcmp(state, "bad") == 0 && !bad_is_fine)
        return speech_useless(name, why, err);
    *ret_name = TAKE(name);
    return KB_OK;
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

static char *lower_case(const char *s)
{
    char *ret = kb_strdup(s);
    for (char *c = ret; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    return ret;
}

// "film_speech_2026-11-27.mp4", then "film_speech_2026-11-27-2.mp4"… taken: names given out, small
// and capital letters alike, each with the number that was tried last, so that a thousand equal
// names do not take a million tries.
static char *result_name(json_t *taken, const char *video, const char *speech)
{
    CLEANUP(kb_freep) char *film = path_stem(video);
    CLEANUP(kb_freep) char *stem = shelf_stem(film, speech, kb_wall_ms());
    CLEANUP(kb_freep) char *first = lower_case(stem);
    CLEANUP(kb_freep) char *key = kb_strdup(first);
    json_int_t number = KB_MAX(json_integer_value(json_object_get(taken, first)), 1);
    char *name = kb_printf("%s.mp4", stem);
    while (json_object_get(taken, key)) {
        free(name);
        free(key);
        name = kb_printf("%s-%lld.mp4", stem, (long long)++number);
        key = kb_printf("%s-%lld", first, (long long)number);
    }
    json_object_set_new_nocheck(taken, key, json_integer(1));
    json_object_set_new_nocheck(taken, first, json_integer(number));
    return name;
}

// *ret stays NULL for a video that may be tried; else why not, as it is kept, a new string.
static enum kb_code find_useless(struct store *s, const char *video, char **ret,
                                 struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err,
                    "SELECT state = 'bad', kind IN ('audio', 'text') AND state = 'ready',"
                    " error FROM asset WHERE id = ?",
                    "t", video);
    if (code != KB_OK)
        return code;
    bool bad = sqlite3_column_int(q, 0), sound = sqlite3_column_int(q, 1);
    if (bad && sqlite3_column_type(q, 2) != SQLITE_NULL)
        *ret = store_column(q, 2);
    else if (bad)
        *ret = sentence_keep(_("it cannot be read"));
    else if (sound)
        *ret =
            sentence_keep(_("this is a sound without a picture: it can be the speech of a batch, "
                            "but not one of its videos"));
    return KB_OK;
}

// useless: NULL, or why it is not tried.
static enum kb_code add_job(struct store *s, const struct batch_params *p, int64_t batch, int i,
                            const char *video, const char *result, const char *useless,
                            struct kb_error *err)
{
    int64_t now = kb_wall_ms();
    return store_exec(s, NULL, err,
                      "INSERT INTO job(batch, video, name, result_name, position, state_since_ms,"
                      " created_ms, state, waiting, error_code, error, ended_ms, note)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, iif(?7 IS NULL, 'queued', 'skipped'),"
                      " iif(?7 IS NULL, 'worker', NULL), iif(?7 IS NULL, NULL, 'bad_input'), ?7,"
                      " iif(?7 IS NULL, NULL, ?6), ?8)",
                      "itttditt", batch, p->videos[i], video, result, (double)(i + 1), now, useless,
                      p->note);
}

static enum kb_code add_jobs(struct store *s, const struct batch_params *p, int64_t batch,
                             const char *speech, struct kb_error *err)
{
    CLEANUP(json_free) json_t *taken = json_object();
    CLEANUP(kb_freep) char *first = NULL; // why the first of the useless ones is
    int n_useful = 0;
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < p->n_videos; i++) {
        CLEANUP(kb_freep) char *video = NULL;
        CLEANUP(kb_freep) char *useless = NULL;
        code = check_asset(s, p->videos[i], true, &video, err);
        if (code == KB_OK)
            code = find_useless(s, p->videos[i], &useless, err);
        if (code != KB_OK)
            break;
        CLEANUP(kb_freep) char *name = result_name(taken, video, speech);
        code = add_job(s, p, batch, i, video, name, useless, err);
        n_useful += !useless;
        if (!first)
            first = TAKE(useless);
    }
    if (code == KB_OK && n_useful == 0) {
        sentence_fail(err, KB_BAD_INPUT, first);
        return kb_wrap(err, _("none of these videos can be used"));
    }
    return code;
}

// Whom somebody chose in each of the videos.
static enum kb_code set_faces(struct store *s, const struct batch_params *p, int64_t batch,
                              struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; p->face_at && code == KB_OK && i < p->n_videos; i++)
        if (p->face_at[i][0] >= 0)
            code = store_exec(s, NULL, err,
                              "UPDATE job SET face_x = ?, face_y = ?,"
                              " face_s = iif(?3 >= 0, ?3, NULL) WHERE batch = ? AND position = ?",
                              "dddid", p->face_at[i][0], p->face_at[i][1], p->face_at[i][2], batch,
                              (double)(i + 1));
    return code;
}

// A file that an option names: whole, and of a kind that it takes; jobs do not wait for it.
static enum kb_code check_material(struct store *s, const struct material_role *role,
                                   const char *id, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) char *name = NULL;
    enum kb_code code = check_asset(s, id, true, &name, err);
    if (code == KB_OK)
        code = store_query(
            s, &q, err, "SELECT kind, state IN ('new', 'ready') FROM asset WHERE id = ?", "t", id);
    if (code == KB_OK && (!sqlite3_column_int(q, 1) ||
                          !material_takes(role, (const char *)sqlite3_column_text(q, 0))))
        return kb_fail(err, KB_BAD_INPUT, _(role->refusal), name);
    return code;
}

static enum kb_code check_materials(struct store *s, const struct batch_options *o,
                                    struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < o->n_materials; i++)
        code = check_material(s, o->materials[i].role, o->materials[i].asset, err);
    return code;
}

static enum kb_code create(struct store *s, const struct batch_params *p,
                           const struct batch_options *options, int64_t *ret_id,
                           struct kb_error *err)
{
    CLEANUP(kb_freep) char *audio = NULL;
    enum kb_code code = check_asset(s, p->audio, false, &audio, err);
    if (code == KB_OK)
        code = check_materials(s, options, err);
    if (code == KB_OK)
        code = subtitles_check(s, options, p->audio, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *stem = path_stem(audio);
    CLEANUP(kb_freep) char *name = batch_clean_name(p->name && *p->name ? p->name : stem);
    code = store_query_int(
        s, ret_id, err,
        "INSERT INTO batch(name, audio, audio_name, options, notify, priority, turn, client, lang,"
        " created_ms) VALUES (?, ?, ?, ?, ?, ?,"
        " (SELECT coalesce(max(turn), 0) + 1 FROM batch), ?, ?, ?) RETURNING id",
        "tttttitti", name, p->audio, audio, p->options ? p->options : "{}", p->notify,
        (int64_t)p->priority, p->client, kb_language_name(kb_language_of(p->lang)), kb_wall_ms());
    if (code == KB_OK)
        code = add_jobs(s, p, *ret_id, stem, err);
    if (code == KB_OK)
        code = job_price(s, *ret_id, err);
    return code == KB_OK ? set_faces(s, p, *ret_id, err) : code;
}

static enum kb_code check_priority(int priority, struct kb_error *err)
{
    if (priority < 0 || priority > 9)
        return kb_fail(err, KB_BAD_INPUT, _("the priority must be from 0 (last) to 9 (first)"));
    return KB_OK;
}

static enum kb_code check_params(const struct batch_params *p, struct batch_options *ret,
                                 struct kb_error *err)
{
    if (!p->audio)
        return kb_fail(err, KB_BAD_INPUT, _("no speech: name the audio of the batch"));
    if (p->n_videos < 1 || p->n_videos > MAX_VIDEOS)
        return kb_fail(err, KB_BAD_INPUT, _("a batch takes 1 to %d videos, not %d"), MAX_VIDEOS,
                       p->n_videos);
    enum kb_code code = check_priority(p->priority, err);
    if (code == KB_OK && p->options)
        code = batch_options_parse(p->options, ret, err);
    return code == KB_OK && p->notify ? notify_check(p->notify, err) : code;
}

enum kb_code batch_create(struct store *s, const struct batch_params *p, int64_t *ret_id,
                          struct kb_error *err)
{
    int64_t id = 0;
    CLEANUP(batch_options_free) struct batch_options options = {0};
    CLEANUP(kb_freep) char *complete = NULL;
    struct batch_params with = *p;
    enum kb_code code = check_params(p, &options, err);
    if (code == KB_OK && p->defaults) {
        with.options = complete = batch_options_complete(p->options, p->defaults, p->lang);
        code = complete ? KB_OK : kb_no_memory(err);
    }
    if (code == KB_OK)
        code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = store_end(s, create(s, &with, &options, &id, err), err);
    if (code == KB_OK)
        *ret_id = id;
    return code;
}

// --- looking

enum kb_code batch_list_json(struct store *s, const struct batch_filter *f, struct text *ret,
                             struct kb_error *err)
{
#define CHOSEN                                                                                     \
    " FROM batch b WHERE (?1 IS NULL OR ?1 = CASE WHEN b.ended_ms IS NOT NULL THEN 'ended'"        \
    "  WHEN b.paused THEN 'paused' ELSE 'active' END)"                                             \
    " AND (?2 IS NULL OR b.name LIKE ?2 ESCAPE '\\' OR b.audio_name LIKE ?2 ESCAPE '\\')"
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
    enum kb_code code = check_priority(priority, err);
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
