#include "queue/person.h"

#include "base/utf8.h"
#include "queue/internal.h"
#include "queue/options.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void person_free(struct person *p)
{
    free(p->name);
    free(p->options);
    *p = (struct person){0};
}

static enum kb_code not_found(struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("there is no such person (any more)"));
}

// --- what is given

// A new string; nobody but `except` (an id, "" = nobody) may have it.
static enum kb_code check_name(struct store *s, const char *name, const char *except, char **ret,
                               struct kb_error *err)
{
    int64_t n = 0;
    CLEANUP(kb_freep) char *clean = batch_clean_name(name ? name : "");
    if (clean[strspn(clean, " ")] == '\0')
        return kb_fail(err, KB_BAD_INPUT, _("give the person a name"));
    if (utf8_count(clean) > PERSON_NAME_LETTERS)
        return kb_fail(err, KB_BAD_INPUT, _("the name of a person has at most %d letters"),
                       PERSON_NAME_LETTERS);
    enum kb_code code = store_query_int(
        s, &n, err, "SELECT count(*) FROM person WHERE name = ? AND id <> ?", "tt", clean, except);
    if (code == KB_OK && n > 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("there is a person '%s' already; choose another name, or remove that one"),
                       clean);
    *ret = TAKE(clean);
    return code;
}

static enum kb_code check_video(struct store *s, const char *id, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT name, state IN ('new', 'ready') AND kind IN ('',"
                                    " 'video') FROM asset WHERE id = ? AND job IS NULL",
                                    "t", id);
    if (code == KB_EOF)
        return kb_fail(err, KB_NOT_FOUND,
                       _("there is no file '%.*s' here (any more); upload it again"),
                       utf8_fit(id, 40), id);
    if (code == KB_OK && !sqlite3_column_int(q, 1))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' cannot be a person: that takes a video or picture that is whole and "
                         "can be read"),
                       (const char *)sqlite3_column_text(q, 0));
    return code;
}

static enum kb_code check_face(const double *at, struct kb_error *err)
{
    bool good =
        !at || at[0] < 0 || (at[0] <= 1 && at[1] >= 0 && at[1] <= 1 && at[2] >= -1 && at[2] < 1e7);
    return good ? KB_OK
                : kb_fail(err, KB_BAD_INPUT,
                          _("who speaks is told by two numbers from 0 to 1, and seconds"));
}

// --- rows

static enum kb_code insert(struct store *s, const struct person_params *p, const char *id,
                           struct kb_error *err)
{
    int64_t n = 0;
    CLEANUP(kb_freep) char *name = NULL;
    const double *at = p->face_at ? p->face_at : (const double[]){-1, -1, -1};
    enum kb_code code = store_query_int(s, &n, err, "SELECT count(*) FROM person", "");
    if (code == KB_OK && n >= PERSON_MOST)
        code =
            kb_fail(err, KB_BAD_INPUT, _("there are %d people already; remove one"), PERSON_MOST);
    if (code == KB_OK)
        code = check_name(s, p->name, "", &name, err);
    if (code == KB_OK)
        code = check_video(s, p->video, err);
    if (code == KB_OK)
        code = check_face(at, err);
    if (code == KB_OK && p->options)
        code = batch_check_options(s, p->options, err);
    if (code != KB_OK)
        return code;
    return store_exec(s, NULL, err,
                      "INSERT INTO person(id, name, video, options, face_x, face_y, face_s,"
                      " created_ms) VALUES (?1, ?2, ?3, ?4, iif(?5 >= 0, ?5, NULL),"
                      " iif(?5 >= 0, ?6, NULL), iif(?5 >= 0 AND ?7 >= 0, ?7, NULL), ?8)",
                      "ttttdddi", id, name, p->video, p->options ? p->options : "{}", at[0], at[1],
                      at[2], kb_wall_ms());
}

enum kb_code person_create(struct store *s, const struct person_params *p, char ret_id[33],
                           struct kb_error *err)
{
    char id[33];
    kb_random_hex(id, 32);
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, insert(s, p, id, err), err);
    if (code == KB_OK)
        memcpy(ret_id, id, sizeof(id));
    return code;
}

static enum kb_code update(struct store *s, const char *id, const struct person_params *p,
                           struct kb_error *err)
{
    int n = 0;
    CLEANUP(kb_freep) char *name = NULL;
    enum kb_code code = p->name ? check_name(s, p->name, id, &name, err) : KB_OK;
    if (code == KB_OK)
        code = check_face(p->face_at, err);
    if (code == KB_OK && p->options)
        code = batch_check_options(s, p->options, err);
    if (code == KB_OK)
        code = store_exec(s, &n, err,
                          "UPDATE person SET name = coalesce(?2, name),"
                          " options = coalesce(?3, options) WHERE id = ?1",
                          "ttt", id, name, p->options);
    if (code == KB_OK && n == 0)
        return not_found(err);
    if (code == KB_OK && p->face_at)
        code = store_exec(s, NULL, err,
                          "UPDATE person SET face_x = iif(?2 >= 0, ?2, NULL), face_y ="
                          " iif(?2 >= 0, ?3, NULL), face_s = iif(?2 >= 0 AND ?4 >= 0, ?4, NULL)"
                          " WHERE id = ?1",
                          "tddd", id, p->face_at[0], p->face_at[1], p->face_at[2]);
    return code;
}

enum kb_code person_change(struct store *s, const char *id, const struct person_params *p,
                           struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    return code == KB_OK ? store_end(s, update(s, id, p, err), err) : code;
}

enum kb_code person_delete(struct store *s, const char *id, struct kb_error *err)
{
    int n = 0;
    enum kb_code code = store_exec(s, &n, err, "DELETE FROM person WHERE id = ?", "t", id);
    return code == KB_OK && n == 0 ? not_found(err) : code;
}

// --- looking

static double column_or_none(sqlite3_stmt *q, int i)
{
    return sqlite3_column_type(q, i) == SQLITE_NULL ? -1 : sqlite3_column_double(q, i);
}

enum kb_code person_find(struct store *s, const char *word, bool by_name, struct person *ret,
                         struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT id, name, video, options, face_x, face_y, face_s,"
                                    " created_ms FROM person WHERE iif(?2, name, id) = ?1",
                                    "ti", word, (int64_t)by_name);
    if (code == KB_EOF && by_name)
        return kb_fail(err, KB_NOT_FOUND,
                       _("there is no person '%.*s'; koubo person list shows them"),
                       utf8_fit(word, 400), word);
    if (code != KB_OK)
        return code == KB_EOF ? not_found(err) : code;
    *ret = (struct person){
        .name = store_column(q, 1),
        .options = store_column(q, 3),
        .face_at = {column_or_none(q, 4), column_or_none(q, 5), column_or_none(q, 6)},
        .created_ms = sqlite3_column_int64(q, 7),
    };
    store_copy_column(ret->id, sizeof(ret->id), q, 0);
    store_copy_column(ret->video, sizeof(ret->video), q, 2);
    return KB_OK;
}

#define PERSON_JSON                                                                                \
    " json_object('id', p.id, 'name', p.name, 'video', json((SELECT json FROM asset_json a"        \
    "  WHERE a.id = p.video)), 'options', json(p.options), 'face_at', CASE WHEN p.face_x IS NULL"  \
    "  THEN NULL WHEN p.face_s IS NULL THEN json_array(p.face_x, p.face_y) ELSE"                   \
    "  json_array(p.face_x, p.face_y, p.face_s) END, 'bytes', (SELECT sum(size) FROM asset a"      \
    "  WHERE a.id IN (SELECT asset FROM person_asset f WHERE f.person = p.id)), 'created',"        \
    "  p.created_ms) "

enum kb_code person_json(struct store *s, const char *id, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(s, &q, err, "SELECT" PERSON_JSON "FROM person p WHERE p.id = ?", "t", id);
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code == KB_EOF ? not_found(err) : code;
}

enum kb_code person_list_json(struct store *s, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    int n = 0;
    enum kb_code code = store_query(
        s, &q, err, "SELECT" PERSON_JSON "FROM person p ORDER BY p.name COLLATE NOCASE, p.name",
        "");
    text_add(ret, "{\"people\":[");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        text_add(ret, n++ ? "," : "");
        store_add_column(ret, q, 0);
    }
    text_add(ret, "]}");
    return code == KB_EOF ? KB_OK : code;
}

// Of two options that exclude each other the batch's holds: is it said, the person's other goes.
static void drop_excluded(json_t *own, const json_t *said)
{
    static const char *const pairs[][2] = {{"alpha", "background"}, {"crf", "bitrate"}};
    for (size_t i = 0; i < 2 * ARRAY_LEN(pairs); i++) {
        const json_t *value = json_object_get(said, pairs[i / 2][i % 2]);
        const char *word = json_string_value(value);
        if (value && !json_is_null(value) && (!word || strcmp(word, "none") != 0))
            json_object_del(own, pairs[i / 2][1 - i % 2]);
    }
}

enum kb_code person_own_options(const struct person *p, const char *options, char **ret,
                                struct kb_error *err)
{
    json_auto_t *own = json_loads(p->options, 0, NULL);
    json_auto_t *said = options ? json_loads(options, 0, NULL) : NULL;
    const char *name;
    json_t *value;
    json_object_foreach(said, name, value) json_object_del(own, name);
    drop_excluded(own, said);
    *ret = own ? json_dumps(own, JSON_COMPACT) : NULL;
    return *ret ? KB_OK : kb_no_memory(err);
}
