// The row of a table is told by what stands in it: how many values, of which kinds. The tables of
// koubo differ enough for that, and a page holds rows of one table only.
//
// Tables that are not taken over: worker (processes that are gone), remote (attempts, which are
// given back without it), loose (a file that it names would go, and whether a row named the file
// since is not sure any more), gone (only asked who was deleted: rows of pages that were given up
// come back otherwise).
#include "store/salvage.h"

#include "base/file.h"
#include "base/utf8.h"
#include "store/backup.h"
#include "store/internal.h"
#include "store/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_COLUMNS RECORD_VALUES
#define MAX_ROWID   (1LL << 53)
// Pages that know an older revision than they remember load everything anew.
#define REVISION_LEAP "1000000"

enum column_kind { COLUMN_ANY, COLUMN_INT, COLUMN_REAL, COLUMN_TEXT };

struct column {
    char *name;
    enum column_kind kind;
    bool required; // NOT NULL
    bool rowid;    // INTEGER PRIMARY KEY: the row's number, NULL in the record
};

// What is looked for. found: rows are also taken from pages that no way leads to.
static const struct wanted {
    const char *name;
    bool found, revised; // revised: it has a column rev, which tells the newer of two states
    bool counted;        // in the report
} wanted[] = {
    {"asset", true, true, true},
    {"batch", true, true, true},
    {"job", true, true, true},
    {"setting", true, false, true},
    {"easy", true, false, true},
    {"notice", false, false, true},
    {"node", false, false, true}, // one that was removed must not come back
    {"person", false, false, true},
    {"clock", false, false, false},
    {"tally", false, false, false},
    {"gone", true, false, false},
    {"sqlite_sequence", false, false, false},
};
#define N_TABLES ARRAY_LEN(wanted)

struct table {
    const struct wanted *what;
    struct column columns[MAX_COLUMNS];
    int n_columns, n_least; // of the version that made it
    bool without_rowid;
    uint32_t root;      // 0: not known
    int64_t n_expected; // rows that its fullest index has
    int64_t n_left_out;
    sqlite3_stmt *insert;
    int n_insert; // for so many values
};

struct salvage {
    sqlite3 *db;
    struct pages *pages;
    struct table tables[N_TABLES];
    struct table *at;  // whose rows come now
    uint8_t *accepted; // of each page: a row of it was taken over
    int64_t n_counted; // cells of an index
    bool fits;         // all rows of a page so far
    bool failed;
    int64_t n_bad;
};

static void salvage_free(struct salvage *s)
{
    for (size_t i = 0; i < N_TABLES; i++) {
        for (int k = 0; k < s->tables[i].n_columns; k++)
            free(s->tables[i].columns[k].name);
        sqlite3_finalize(s->tables[i].insert);
    }
    sqlite3_close(s->db);
    pages_close(&s->pages);
    free(s->accepted);
}

// --- the new database

static enum kb_code refuse(struct salvage *s, const char *to, struct kb_error *err)
{
    CLEANUP(kb_freep) char *folder = path_folder(to);
    struct store bare = {.db = s->db, .folder = folder};
    return store_error(&bare, err);
}

static enum kb_code run(struct salvage *s, const char *to, const char *sql, struct kb_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? KB_OK : refuse(s, to, err);
}

// Without the triggers, which would count the revisions and note what is deleted.
static enum kb_code make_database(struct salvage *s, const char *to, struct kb_error *err)
{
    enum kb_code code = database_make_file(to, err);
    if (code != KB_OK)
        return code;
    if (sqlite3_open_v2(to, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return s->db ? refuse(s, to, err) : kb_no_memory(err);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    code = run(s, to,
               "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;"
               " PRAGMA temp_store = MEMORY; BEGIN",
               err);
    return code == KB_OK && store_make_tables(s->db, STORE_VERSION) != SQLITE_OK
               ? refuse(s, to, err)
               : code;
}

static enum column_kind kind_of(const char *type)
{
    if (strcmp(type, "INTEGER") == 0)
        return COLUMN_INT;
    if (strcmp(type, "REAL") == 0)
        return COLUMN_REAL;
    return strcmp(type, "TEXT") == 0 ? COLUMN_TEXT : COLUMN_ANY;
}

static void describe_columns(sqlite3 *db, struct table *t)
{
    sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep)
    char *sql = kb_printf("SELECT i.name, i.type, i.\"notnull\", i.pk, l.wr FROM"
                          " pragma_table_info('%s') i, pragma_table_list('%s') l",
                          t->what->name, t->what->name);
    sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    while (q && sqlite3_step(q) == SQLITE_ROW && t->n_columns < MAX_COLUMNS) {
        struct column *c = &t->columns[t->n_columns++];
        c->name = store_column(q, 0);
        c->kind = kind_of((const char *)sqlite3_column_text(q, 1));
        t->without_rowid = sqlite3_column_int(q, 4);
        c->rowid = !t->without_rowid && sqlite3_column_int(q, 3) == 1 && c->kind == COLUMN_INT;
        c->required = sqlite3_column_int(q, 2) || (sqlite3_column_int(q, 3) && !c->rowid);
    }
    sqlite3_finalize(q);
}

// How many columns a table of version 1 had then: rows that were never changed since have no more.
static int count_at_first(sqlite3 *first, const char *name)
{
    sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep)
    char *sql = kb_printf("SELECT count(*) FROM pragma_table_info('%s')", name);
    int n = 0;
    if (sqlite3_prepare_v2(first, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return n;
}

static enum kb_code describe_tables(struct salvage *s, const char *to, struct kb_error *err)
{
    sqlite3 *first = NULL;
    bool made =
        sqlite3_open(":memory:", &first) == SQLITE_OK && store_make_tables(first, 1) == SQLITE_OK;
    for (size_t i = 0; made && i < N_TABLES; i++) {
        s->tables[i].what = &wanted[i];
        describe_columns(s->db, &s->tables[i]);
        s->tables[i].n_least = count_at_first(first, wanted[i].name);
        if (s->tables[i].n_least == 0) // made later
            s->tables[i].n_least = s->tables[i].n_columns;
        made = s->tables[i].n_columns > 0;
    }
    sqlite3_close(first);
    return made ? KB_OK : refuse(s, to, err);
}

// --- does a row belong to a table?

static bool is_text(const struct value *v)
{
    if (memchr(v->data, '\0', v->size))
        return false;
    CLEANUP(kb_freep) char *copy = kb_printf("%.*s", (int)v->size, v->data);
    return utf8_valid(copy);
}

static bool value_fits(const struct column *c, const struct value *v)
{
    if (v->kind == VALUE_NULL)
        return !c->required;
    switch (c->kind) {
    case COLUMN_INT:
    case COLUMN_REAL:
        return v->kind == VALUE_INT || v->kind == VALUE_REAL;
    case COLUMN_TEXT:
        return v->kind == VALUE_TEXT && is_text(v);
    default:
        return v->kind == VALUE_INT || (v->kind == VALUE_TEXT && is_text(v));
    }
}

static bool row_fits(const struct table *t, const struct record *r)
{
    if (r->n < t->n_least || r->n > t->n_columns)
        return false;
    for (int i = 0; i < r->n; i++) {
        const struct column *c = &t->columns[i];
        if (c->rowid ? r->values[i].kind != VALUE_NULL || r->rowid < 1 || r->rowid > MAX_ROWID
                     : !value_fits(c, &r->values[i]))
            return false;
    }
    return true;
}

// --- taking one over

// Of two states of a row the newer one stays.
static char *insert_sql(const struct table *t, int n)
{
    CLEANUP(text_free) struct text sql = {0}, marks = {0}, changes = {0};
    const char *name = t->what->name, *key = t->columns[0].name;
    text_addf(&sql, "INSERT %sINTO %s(", t->what->revised ? "" : "OR IGNORE ", name);
    for (int i = 0; i < n; i++) {
        const char *column = t->columns[i].name;
        text_addf(&sql, "%s%s", i ? ", " : "", column);
        text_addf(&marks, "%s?", i ? ", " : "");
        if (i)
            text_addf(&changes, "%s%s = excluded.%s", i > 1 ? ", " : "", column, column);
    }
    text_addf(&sql, ") VALUES (%s)", text_get(&marks));
    if (t->what->revised)
        text_addf(&sql, " ON CONFLICT(%s) DO UPDATE SET %s WHERE excluded.rev > %s.rev", key,
                  text_get(&changes), name);
    return kb_strdup(text_get(&sql));
}

static bool prepare(struct salvage *s, struct table *t, int n)
{
    if (t->insert && t->n_insert == n)
        return true;
    sqlite3_finalize(TAKE(t->insert));
    CLEANUP(kb_freep) char *sql = insert_sql(t, n);
    t->n_insert = n;
    return sqlite3_prepare_v2(s->db, sql, -1, &t->insert, NULL) == SQLITE_OK;
}

static void bind(sqlite3_stmt *q, int i, const struct value *v)
{
    if (v->kind == VALUE_INT)
        sqlite3_bind_int64(q, i, v->i);
    else if (v->kind == VALUE_REAL)
        sqlite3_bind_double(q, i, v->d);
    else if (v->kind == VALUE_TEXT)
        sqlite3_bind_text(q, i, v->data, (int)v->size, SQLITE_STATIC);
    else
        sqlite3_bind_null(q, i);
}

static void take(void *opaque, const struct record *r)
{
    struct salvage *s = opaque;
    struct table *t = s->at;
    if (!row_fits(t, r)) {
        t->n_left_out++;
        return;
    }
    if (s->failed || !prepare(s, t, r->n)) {
        s->failed = true;
        return;
    }
    for (int i = 0; i < r->n; i++)
        if (t->columns[i].rowid)
            sqlite3_bind_int64(t->insert, i + 1, r->rowid);
        else
            bind(t->insert, i + 1, &r->values[i]);
    int result = sqlite3_step(t->insert);
    sqlite3_reset(t->insert);
    sqlite3_clear_bindings(t->insert);
    s->accepted[r->page] = 1;
    if (result == SQLITE_FULL || result == SQLITE_IOERR || result == SQLITE_NOMEM)
        s->failed = true;
    else if (result != SQLITE_DONE || sqlite3_changes(s->db) == 0)
        t->n_left_out++;
}

// --- where they are

static bool says(const struct value *v, const char *text)
{
    return v->kind == VALUE_TEXT && v->size == strlen(text) && memcmp(v->data, text, v->size) == 0;
}

static struct table *find_table(struct salvage *s, const struct value *name)
{
    for (size_t i = 0; i < N_TABLES; i++)
        if (says(name, s->tables[i].what->name))
            return &s->tables[i];
    return NULL;
}

// Indices are walked after the tables: so many at most.
struct index {
    struct table *of;
    uint32_t root;
};
struct schema {
    struct salvage *s;
    struct index indices[64];
    int n_indices;
};

// A row of sqlite_master: type, name, tbl_name, rootpage, sql.
static void read_schema(void *opaque, const struct record *r)
{
    struct schema *c = opaque;
    const struct value *v = r->values;
    struct table *t = r->n == 5 ? find_table(c->s, &v[2]) : NULL;
    if (!t || v[3].kind != VALUE_INT || v[3].i < 1 || v[3].i > UINT32_MAX)
        return;
    bool partial = v[4].kind == VALUE_TEXT && memmem(v[4].data, v[4].size, " WHERE ", 7);
    if (says(&v[0], "table") && says(&v[1], t->what->name))
        t->root = (uint32_t)v[3].i;
    else if (says(&v[0], "index") && !partial && c->n_indices < (int)ARRAY_LEN(c->indices))
        c->indices[c->n_indices++] = (struct index){t, (uint32_t)v[3].i};
}

static void count_row(void *opaque, const struct record *r)
{
    ((struct salvage *)opaque)->n_counted++;
}

static void take_by_schema(struct salvage *s, bool *ret_headless)
{
    struct schema schema = {.s = s};
    int n_bad = 0, ignored = 0;
    if (pages_version(s->pages) >= 0)
        pages_walk(s->pages, 1, read_schema, &schema, &n_bad);
    for (size_t i = 0; i < N_TABLES; i++) {
        s->at = &s->tables[i];
        if (s->at->root)
            pages_walk(s->pages, s->at->root, take, s, &n_bad);
    }
    for (int i = 0; i < schema.n_indices; i++) {
        struct table *t = schema.indices[i].of;
        s->n_counted = 0;
        pages_walk(s->pages, schema.indices[i].root, count_row, s, &ignored);
        t->n_expected = KB_MAX(t->n_expected, s->n_counted);
    }
    s->n_bad = n_bad;
    *ret_headless = s->tables[2].root == 0;
}

static void check_fit(void *opaque, const struct record *r)
{
    struct salvage *s = opaque;
    s->fits = s->fits && row_fits(s->at, r);
}

// Pages that no way leads to any more. One that holds rows of two tables is none of either.
static void take_from_anywhere(struct salvage *s)
{
    for (uint32_t page = 1; page <= pages_count(s->pages); page++) {
        enum page_kind kind = pages_kind(s->pages, page);
        if (s->accepted[page] || pages_is_spoken_for(s->pages, page) || kind == PAGE_OTHER ||
            kind == PAGE_TABLE_INNER)
            continue;
        for (size_t i = 0; i < N_TABLES; i++) {
            s->at = &s->tables[i];
            s->fits = s->at->what->found && s->at->without_rowid == (kind != PAGE_TABLE);
            if (s->fits)
                pages_each(s->pages, page, check_fit, s);
            if (!s->fits)
                continue;
            int64_t left_out = s->at->n_left_out; // older states of rows that are there
            pages_each(s->pages, page, take, s);
            s->at->n_left_out = left_out;
            break;
        }
    }
}

// --- what holds them together

static const char mend[] =
    // What was deleted and not forgotten yet.
    "DELETE FROM job WHERE id IN (SELECT id FROM gone WHERE kind = 'job');"
    "DELETE FROM batch WHERE id IN (SELECT id FROM gone WHERE kind = 'batch');"
    "DELETE FROM asset WHERE id IN (SELECT id FROM gone WHERE kind = 'asset');"
    "DELETE FROM asset WHERE length(id) <> 32 OR id GLOB '*[^0-9a-f]*' OR state NOT IN"
    " ('uploading', 'fetching', 'making', 'new', 'ready', 'bad');"
    // A lost batch comes back by the videos that it made, which know its number and its folder.
    "INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang, created_ms,"
    " ended_ms, folder) SELECT batch, iif(folder = '', 'batch ' || batch,"
    "  substr(folder, instr(folder, '_') + 1)), '', '', '{}', 5, batch, 'zh', created, ended,"
    "  nullif(folder, '') FROM (SELECT batch, min(created_ms) AS created, max(ended_ms) AS ended,"
    "  coalesce(max(substr(result, 1, instr(result, '/') - 1)), '') AS folder FROM job"
    "  WHERE ended_ms > 0 AND batch > 0 AND batch NOT IN (SELECT id FROM batch)"
    "  AND batch NOT IN (SELECT id FROM gone WHERE kind = 'batch') AND state IN " JOB_STATES_ENDED
    "  GROUP BY batch);"
    "DELETE FROM job WHERE state IN " JOB_STATES_OPEN
    " AND batch IN (SELECT id FROM batch WHERE audio = '');"
    "DELETE FROM job WHERE batch NOT IN (SELECT id FROM batch) OR"
    " state NOT IN " JOB_STATES_OPEN " AND state NOT IN " JOB_STATES_ENDED ";"
    "DELETE FROM setting WHERE NOT json_valid(json);"
    "UPDATE batch SET options = '{}' WHERE NOT json_valid(options);"
    "UPDATE job SET options = NULL WHERE NOT json_valid(options);"
    "UPDATE batch SET notify = NULL WHERE NOT json_valid(notify);"
    "UPDATE asset SET warnings = '[]' WHERE NOT json_valid(warnings);"
    "UPDATE asset SET face_boxes = '[]' WHERE NOT json_valid(face_boxes);"
    "UPDATE asset SET peaks = NULL WHERE NOT json_valid(peaks);"
    "UPDATE job SET stage_s = NULL WHERE NOT json_valid(stage_s);"
    "UPDATE node SET facts = NULL WHERE NOT json_valid(facts);"
    "UPDATE person SET options = '{}' WHERE NOT json_valid(options);"
    "DELETE FROM person WHERE video NOT IN (SELECT id FROM asset);"
    "UPDATE batch SET ended_ms = iif((SELECT count(*) FROM job j WHERE j.batch = batch.id AND"
    "  j.state IN " JOB_STATES_OPEN ") > 0, NULL, coalesce(ended_ms, created_ms));"
    // One row each, whatever was found; no page believes to know what is now.
    "UPDATE clock SET rev = max(rev, (SELECT coalesce(max(rev), 0) FROM gone),"
    " (SELECT coalesce(max(rev), 0) FROM asset), (SELECT coalesce(max(rev), 0) FROM batch),"
    " (SELECT coalesce(max(rev), 0) FROM job)) + " REVISION_LEAP ";"
    "CREATE TEMP TABLE last AS SELECT max(rev) AS rev FROM clock;"
    "DELETE FROM clock; INSERT INTO clock SELECT rev, rev FROM last;"
    "CREATE TEMP TABLE sums AS SELECT max(done) AS done, max(failed) AS failed,"
    " max(seconds) AS seconds FROM tally;"
    "DELETE FROM tally; INSERT INTO tally SELECT"
    " max(done, (SELECT count(*) FROM job WHERE state = 'done')),"
    " max(failed, (SELECT count(*) FROM job WHERE state = 'failed')),"
    " max(seconds, (SELECT total(result_ms) / 1000 FROM job)) FROM sums;"
    // Numbers are not used again: neither those that were counted nor those of what is deleted.
    "CREATE TEMP TABLE number AS SELECT name, max(seq) AS seq FROM (SELECT name, seq FROM"
    "  sqlite_sequence UNION ALL SELECT kind, id FROM gone WHERE typeof(id) = 'integer'"
    "  UNION ALL SELECT 'job', max(id) FROM job UNION ALL SELECT 'batch', max(id) FROM batch)"
    " WHERE name IN ('job', 'batch') AND seq > 0 AND seq < 9007199254740992 GROUP BY name;"
    "DELETE FROM sqlite_sequence; INSERT INTO sqlite_sequence SELECT name, seq FROM number;"
    "DELETE FROM gone; COMMIT;";

static int64_t count(struct salvage *s, const char *name)
{
    CLEANUP(kb_freep) char *sql = kb_printf("SELECT count(*) FROM %s", name);
    sqlite3_stmt *q = NULL;
    int64_t n = 0;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static void fill_report(struct salvage *s, struct salvage_report *ret)
{
    ret->n_bad = s->n_bad;
    for (size_t i = 0; i < N_TABLES; i++) {
        const struct table *t = &s->tables[i];
        if (!t->what->counted)
            continue;
        int64_t n = count(s, t->what->name);
        ret->tables[ret->n_tables++] = (struct salvaged){
            .table = t->what->name,
            .n_rows = n,
            .n_lost = KB_MAX(t->n_left_out, KB_MAX(t->n_expected - n, 0)),
        };
    }
}

static enum kb_code salvage(struct salvage *s, const char *from, const char *to,
                            struct salvage_report *ret, struct kb_error *err)
{
    enum kb_code code = pages_open(&s->pages, from, err);
    if (code == KB_OK && pages_version(s->pages) > STORE_VERSION)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("the database '%s' was made by a newer koubo; update koubo first"), from);
    if (code == KB_OK)
        code = make_database(s, to, err);
    if (code == KB_OK)
        code = describe_tables(s, to, err);
    if (code != KB_OK)
        return code;
    s->accepted = kb_calloc_checked((size_t)pages_count(s->pages) + 1, 1);
    if (!s->accepted)
        return kb_no_memory(err);
    take_by_schema(s, &ret->headless);
    take_from_anywhere(s);
    if (pages_lacked_memory(s->pages))
        return kb_no_memory(err);
    if (s->failed)
        return refuse(s, to, err);
    if (pages_version(s->pages) > 0 && pages_version(s->pages) < 6)
        code = run(s, to, STORE_OUTPUTS_6, err);
    if (code == KB_OK)
        code = run(s, to, mend, err);
    if (code == KB_OK)
        fill_report(s, ret);
    return code;
}

enum kb_code salvage_run(const char *from, const char *to, struct salvage_report *ret,
                         struct kb_error *err)
{
    struct salvage *s = kb_alloc(sizeof(*s)); // too large for a stack
    *ret = (struct salvage_report){0};
    enum kb_code code = salvage(s, from, to, ret, err);
    salvage_free(s);
    free(s);
    if (code == KB_OK)
        code = database_finish_file(to, to, err);
    if (code != KB_OK)
        unlink(to);
    return code;
}
