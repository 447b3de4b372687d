// A store in a folder of its own with made-up assets, for the tests of the queue.
#ifndef TESTS_JOB_QUEUE_H
#define TESTS_JOB_QUEUE_H

#include "tests/test.h"

#include "base/file.h"
#include "base/place.h"
#include "queue/batch.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "store/names.h"
#include "store/sql.h"

#include <jansson.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct queue_test {
    char folder[256];
    struct store *s;
    struct kb_error err;
    int n_assets;
};

static inline int queue_setup(void **state)
{
    struct queue_test *t = kb_alloc(sizeof(*t));
    const char *temporary = getenv("TMPDIR");
    snprintf(t->folder, sizeof(t->folder), "%s/koubo-store-XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(t->folder));
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    store_set_durable(t->s, false);
    *state = t;
    return 0;
}

static inline int queue_teardown(void **state)
{
    struct queue_test *t = *state;
    store_close(&t->s);
    place_remove(t->folder);
    free(t);
    return 0;
}

static inline void run_sql(struct queue_test *t, const char *sql)
{
    char *message = NULL;
    if (sqlite3_exec(t->s->db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

// The first column of the first row as a number. Not prepared through the store: the text may be a
// buffer.
static inline int64_t ask(struct queue_test *t, const char *fmt, ...) KB_PRINTF(2, 3);
static inline int64_t ask(struct queue_test *t, const char *fmt, ...)
{
    char sql[1000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sql, sizeof(sql), fmt, args);
    va_end(args);
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(t->s->db, sql, -1, &q, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(t->s->db));
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

// An asset with a content and facts; its id is the 32 digits of its number.
static inline const char *add_asset(struct queue_test *t, const char *kind, const char *state,
                                    const char *name)
{
    static char ids[8][33];
    char *id = ids[t->n_assets % 8];
    snprintf(id, 33, "%032x", ++t->n_assets);
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "INSERT INTO asset(id, state, kind, name, size, received, sha256,"
                                 " duration_ms, width, height, created_ms)"
                                 " VALUES (?1, ?2, ?3, ?4, 9, 9, ?1, 1000, 64, 64, 1)",
                                 "tttt", id, state, kind, name));
    return id;
}

// A batch of one speech and n videos "v.mp4".
static inline int64_t add_batch(struct queue_test *t, int n, int priority)
{
    char audio[33], video[33];
    static const char *videos[1000];
    snprintf(audio, sizeof(audio), "%s", add_asset(t, "audio", "ready", "speech.wav"));
    snprintf(video, sizeof(video), "%s", add_asset(t, "video", "ready", "v.mp4"));
    for (int i = 0; i < n; i++)
        videos[i] = video;
    struct batch_params p = {.audio = audio,
                             .videos = videos,
                             .n_videos = n,
                             .priority = priority,
                             .client = "127.0.0.1",
                             .lang = "en"};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    return id;
}

static inline struct job_claim claim(struct queue_test *t, const char *worker)
{
    struct job_claim c = {0};
    assert_ok(t->err, job_claim(t->s, worker, 0, &c, &t->err));
    return c;
}

// Write the output and report the job as done.
static inline void finish(struct queue_test *t, struct job_claim *c)
{
    struct dub_result r = {.frames = 25,
                           .frames_animated = 24,
                           .seconds = 1,
                           .width = 64,
                           .height = 48,
                           .stage_s = {0, 0.25, 0.5, 1.5, 0.125}};
    assert_ok(t->err, file_write_atomic(c->output, "film", 4, &t->err));
    assert_ok(t->err, job_done(t->s, c, &r, false, NULL, &t->err));
    job_claim_free(c);
}

// What the job's last attempt wrote, below the data folder, with that tail:
// "results/1_speech/v_speech_2026-11-27.mp4". A new string.
static inline char *output_of(struct queue_test *t, int64_t job, const char *tail)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    assert_ok(t->err,
              store_query(t->s, &q, &t->err, "SELECT output FROM job WHERE id = ?", "i", job));
    return kb_printf("results/%s%s", (const char *)sqlite3_column_text(q, 0), tail);
}

// "v_speech_2026-11-27" of today, with that tail; a new string.
static inline char *dated(const char *film, const char *speech, const char *tail)
{
    CLEANUP(kb_freep) char *stem = shelf_stem(film, speech, kb_wall_ms());
    return kb_printf("%s%s", stem, tail);
}

// JSON that must parse; json_decref it.
static inline json_t *parse(struct text *text)
{
    json_error_t where;
    json_t *json = json_loads(text_get(text), JSON_DECODE_ANY, &where);
    if (!json)
        fail_msg("%s in: %s", where.text, text_get(text));
    text_free(text);
    return json;
}

static inline json_t *batch_of(struct queue_test *t, int64_t id)
{
    struct text text = {0};
    assert_ok(t->err, batch_json(t->s, id, &text, &t->err));
    return parse(&text);
}

static inline const char *get_text(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "(none)";
}

static inline long long get_int(const json_t *json, const char *key)
{
    const json_t *v = json_object_get(json, key);
    if (!json_is_number(v))
        fail_msg("no number '%s'", key);
    return (long long)json_number_value(v);
}

static inline int64_t time_in(const json_t *json, const char *key)
{
    return json_integer_value(json_object_get(json, key));
}

// What the API is told of a job, and what koubo itself, are one.
static inline void assert_typed(struct queue_test *t, int64_t id, const json_t *json)
{
    struct job j;
    const json_t *error = json_object_get(json, "error");
    const char *waiting = json_string_value(json_object_get(json, "waiting"));
    double progress = json_number_value(json_object_get(json, "progress"));
    assert_ok(t->err, job_get(t->s, id, &j, &t->err));
    assert_int_equal(j.id, id);
    assert_int_equal(j.batch, get_int(json, "batch"));
    assert_string_equal(j.name, get_text(json, "name"));
    assert_string_equal(job_state_name(j.state), get_text(json, "state"));
    assert_string_equal(j.waiting, waiting ? waiting : "");
    if (json_is_object(error))
        assert_string_equal(j.error, get_text(error, "text"));
    assert_true(j.progress > progress - 1e-4 && j.progress < progress + 1e-4);
    assert_int_equal(j.started_ms, time_in(json, "started"));
    assert_int_equal(j.ended_ms, time_in(json, "ended"));
    assert_int_equal(j.state_since_ms, time_in(json, "state_since"));
    assert_int_equal(j.progressed_ms, time_in(json, "progressed"));
}

static inline json_t *job_of(struct queue_test *t, int64_t id)
{
    struct text text = {0};
    assert_ok(t->err, job_json(t->s, id, &text, &t->err));
    json_t *json = parse(&text);
    assert_typed(t, id, json);
    return json;
}

#define assert_state(t, job, wanted)                                                               \
    do {                                                                                           \
        json_t *j_ = job_of(t, job);                                                               \
        assert_string_equal(get_text(j_, "state"), wanted);                                        \
        json_decref(j_);                                                                           \
    } while (0)

// A path in the data folder, a new string.
static inline char *data_path(struct queue_test *t, const char *fmt, ...) KB_PRINTF(2, 3);
static inline char *data_path(struct queue_test *t, const char *fmt, ...)
{
    char name[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof(name), fmt, args);
    va_end(args);
    return path_join(t->folder, name);
}

#endif
