// How the rooms that own tables (asset, notify, queue, server/duix) talk to SQLite.
// Threads: as a store, see store.h.
#ifndef STORE_SQL_H
#define STORE_SQL_H

#include "store/states.h"
#include "store/store.h"

#include <sqlite3.h>

struct store {
    sqlite3 *db;
    char *folder;
    struct store_statement *statements; // prepared ones
    int n_statements;
    int depth;    // of begin
    bool doomed;  // an inner rollback happened
    bool durable; // wanted
    bool synced;  // what the connection is set to
    struct {
        int64_t revision;      // changes up to here are swept; 0: nothing is
        int64_t round_id;      // the present round over all has come so far; -1: there is none
        int64_t need_max;      // the most that a queued job needs of the disk, or more
        int64_t next_us;       // no round goes on before this
    } swept;                   // of queue/sweep.c
    struct patience *patience; // store/patience.h; NULL: 5 s for each lock
    int64_t wait_left_us;      // what is left of it
    long long wait_entered;    // patience->entered when the present wait began
};

// The tables and triggers of version 1, and what makes versions 2 to 6 of them; PRAGMA user_version
// is STORE_VERSION.
extern const char store_schema[], store_schema_2[], store_schema_3[], store_schema_4[],
    store_schema_5[], store_schema_6[];
#define STORE_VERSION 6
// Temporary views that build JSON. Made by every connection for itself, so they need no migration.
extern const char store_views[];

// Was a row of node heard of lately? In milliseconds, by the wall clock of SQLite.
#define NODE_IS_HEARD                                                                              \
    "heard_ms > CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - 10000"

// sql is a string literal: its statement is prepared once per connection and kept (looked up by
// address), so one text cannot be walked twice at a time.
//
// Bind in order; the letters of types: i int64_t, d double, t const char * (NULL = NULL), n NULL
// (takes no argument). Mind the widths: an int must be cast to int64_t.
// Then step once: KB_OK with a row, KB_EOF without one (or done). *ret is NULL on failure.
enum kb_code store_query(struct store *s, sqlite3_stmt **ret, struct kb_error *err, const char *sql,
                         const char *types, ...);
enum kb_code store_step(struct store *s, sqlite3_stmt *q, struct kb_error *err);
// Bind and run a statement without rows. *ret_changes (may be NULL): rows changed.
enum kb_code store_exec(struct store *s, int *ret_changes, struct kb_error *err, const char *sql,
                        const char *types, ...);
// The first column of the first row, 0 without one.
enum kb_code store_query_int(struct store *s, int64_t *ret, struct kb_error *err, const char *sql,
                             const char *types, ...);
// For CLEANUP: reset, so that the read transaction ends.
void store_reset(sqlite3_stmt **q);

// BEGIN IMMEDIATE; nests (an inner begin/commit does nothing, an inner rollback dooms the outer).
enum kb_code store_begin(struct store *s, struct kb_error *err);
// The same for several reads that must see one state of the database. No writes inside.
enum kb_code store_begin_read(struct store *s, struct kb_error *err);
enum kb_code store_commit(struct store *s, struct kb_error *err);
void store_rollback(struct store *s); // fine when none is open
// Commit when code is KB_OK, else roll back and return code.
enum kb_code store_end(struct store *s, enum kb_code code, struct kb_error *err);

// A copy of column i of the row for free(), NULL for NULL.
char *store_column(sqlite3_stmt *q, int i);
// The text of column i into ret, cut to its size; "" for NULL.
void store_copy_column(char *ret, size_t size, sqlite3_stmt *q, int i);
// Append the text of column i of the row (JSON from a view) to ret.
void store_add_column(struct text *ret, sqlite3_stmt *q, int i);
// The seconds that the result of a video v (asset) becomes with a speech of so many seconds, and
// its pixels; options: the JSON of a batch's, or NULL. NULL: not known. As in lipsync/dub.c.
#define FILM_S(options)                                                                            \
    " max(coalesce(v.duration_ms, 0) / 1000.0 - coalesce(json_extract(" options                    \
    ", '$.start'), 0), 0) "
#define DUB_S(speech_s, options)                                                                   \
    " min(max(" speech_s ", iif(json_extract(" options ", '$.keep_video')," FILM_S(                \
        options) ", 0)), coalesce(json_extract(" options                                           \
                 ", '$.duration'), 1e9), iif(json_extract(" options                                \
                 ", '$.loop') IS 'none' AND v.duration_ms > 0," FILM_S(options) ", 1e9)) "
// With the films before and after it; a picture stands for three seconds (lipsync/join.h).
#define WRAP_S(options, which)                                                                     \
    " coalesce((SELECT iif(coalesce(w.duration_ms, 0) < 100, 3, w.duration_ms / 1000.0)"           \
    " FROM asset w WHERE w.id = json_extract(" options ", '$." which "')), 0) "
#define OUTPUT_S(speech_s, options)                                                                \
    " (" DUB_S(speech_s, options) "+" WRAP_S(options, "intro") "+" WRAP_S(options, "outro") ") "
// Of a film, or of what is cut out of it (finish/reframe.c): the largest window of that shape,
// nearer by crop_zoom; as many rows as were asked for, else 1080 of its shorter side at most.
#define OUTPUT_PIXELS(options)                                                                     \
    " iif(json_extract(" options ", '$.crop') IS NULL, coalesce(json_extract(" options             \
    ", '$.height') * json_extract(" options ", '$.height') * 1.0 * v.width / v.height,"            \
    " v.width * v.height),"                                                                        \
    " (SELECT shape * high * high FROM (SELECT shape, min(rows, min(v.height, v.width / shape)"    \
    "   / zoom) AS high FROM (SELECT shape, zoom, coalesce(rows, 1080 / min(shape, 1)) AS rows"    \
    "   FROM (SELECT CAST(crop AS REAL)"                                                           \
    "     / nullif(CAST(substr(crop, instr(crop, ':') + 1) AS REAL), 0) AS shape, zoom, rows"      \
    "     FROM (SELECT json_extract(" options                                                      \
    ", '$.crop') AS crop, coalesce(json_extract(" options                                          \
    ", '$.crop_zoom'), 1) AS zoom, json_extract(" options ", '$.height') AS rows)))))) "

// How many times as long as a plain second and pixel one takes, as measured (docs/performance.md):
// another background is as much processor time again as all the rest, a film there has to be read,
// and the encoders that keep alpha take longer than x264.
#define OUTPUT_EFFORT(options)                                                                     \
    " CASE coalesce(json_extract(" options ", '$.alpha'), 'none')"                                 \
    " WHEN 'webm' THEN 2.9 WHEN 'mov' THEN 8.0 ELSE"                                               \
    " CASE coalesce(json_extract(" options ", '$.background'), 'none')"                            \
    " WHEN 'none' THEN 1.0 WHEN 'blur' THEN 2.2 ELSE iif((SELECT w.duration_ms FROM asset w"       \
    " WHERE w.id = json_extract(" options ", '$.background')) >= 100, 2.3, 2.0) END END "

// Seconds, pixels and effort of the result of a job, multiplied: speech a, video v, batch b. What
// it will take is in proportion to it; job.cost keeps it.
#define JOB_EFFORT OUTPUT_EFFORT(JOB_OPTIONS)
#define JOB_OUTPUT                                                                                 \
    OUTPUT_S("a.duration_ms / 1000.0", JOB_OPTIONS)                                                \
    "*" OUTPUT_PIXELS(JOB_OPTIONS) "*" JOB_EFFORT

// The options of a job j of the batch b: those of the batch, with its own laid over.
#define JOB_OPTIONS " iif(j.options IS NULL, b.options, json_patch(b.options, j.options)) "

// "…%…" for LIKE … ESCAPE '\', a new string; NULL stays NULL.
char *store_like(const char *search);

// How many rows a page may have: 0 = 50, at most STORE_PAGE_MAX.
#define STORE_PAGE_MAX 1000
int store_limit(int wanted);
// One page as {"total":N,"rev":N,"items":[…]}. Three literals: page gives the keys in order and
// takes the bindings of types, the last two of which are limit and offset; total counts and takes
// the same without these two; one gives the JSON for the key (integer or text), or no row. one
// NULL: page gives the JSON itself, for views that are dear to ask for each row anew. limit and
// offset are brought into their range.
struct store_page {
    const char *page, *total, *one;
    int offset, limit;
};
enum kb_code store_page_json(struct store *s, const struct store_page *p, struct text *ret,
                             struct kb_error *err, const char *types, ...);

#endif
