// Batches are made: one speech with N videos, or pairs of their own. All of it or nothing.
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
#include <strings.h>

#define MAX_JOBS 1000

static void json_free(json_t **json)
{
    json_decref(*json);
}

struct making {
    struct store *s;
    const struct batch_params *p;
    int64_t batch;
    int n_jobs;
    const char *audio;    // the speech of the batch, the first one of pairs
    char *speech;         // how it is called
    json_t *taken;        // names of results
    int n_useful;         // jobs that may be tried
    char *first_useless;  // why the first of the others is not
    char *latest_options; // of pairs, checked already, with all that was laid over
    char *latest_speech;  // with this one, "" = none
};

static void making_free(struct making *m)
{
    free(m->speech);
    free(m->first_useless);
    free(m->latest_options);
    free(m->latest_speech);
    json_decref(m->taken);
}

static struct batch_pair pair_of(const struct batch_params *p, int i)
{
    if (p->n_pairs > 0)
        return p->pairs[i];
    struct batch_pair ret = {.audio = p->audio, .video = p->videos[i], .face_at = {-1, -1, -1}};
    if (p->face_at)
        memcpy(ret.face_at, p->face_at[i], sizeof(ret.face_at));
    if (p->own_options)
        ret.options = p->own_options[i];
    return ret;
}

// --- its files

enum kb_code speech_useless(const char *name, const char *why, struct kb_error *err)
{
    if (why)
        sentence_fail(err, KB_BAD_INPUT, why);
    else
        kb_fail(err, KB_BAD_INPUT, "%s", _("it cannot be read"));
    kb_wrap(err, _("the speech '%s' cannot be used"), name);
    return KB_BAD_INPUT;
}

// An asset that a batch may use: its name, or the sentence why not. bad_is_fine: a bad file fails
// its job alone, later.
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

// *ret stays NULL for a video that may be tried; else why not, as it is kept, a new string.
static enum kb_code find_useless_video(struct store *s, const char *video, char **ret,
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

// The same of a speech.
static enum kb_code find_useless_speech(struct store *s, const char *audio, char **ret,
                                        struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    struct kb_error why = {0};
    enum kb_code code = store_query(
        s, &q, err, "SELECT name, error FROM asset WHERE id = ? AND state = 'bad'", "t", audio);
    if (code != KB_OK)
        return code == KB_EOF ? KB_OK : code;
    speech_useless((const char *)sqlite3_column_text(q, 0), (const char *)sqlite3_column_text(q, 1),
                   &why);
    *ret = sentence_of(&why);
    return KB_OK;
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

// speech: whose subtitles they may make, an asset; NULL: they are checked again with one.
static enum kb_code check_options(struct store *s, const char *options, const char *speech,
                                  struct kb_error *err)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    enum kb_code code = batch_options_parse(options, &o, err);
    for (int i = 0; code == KB_OK && i < o.n_materials; i++)
        code = check_material(s, o.materials[i].role, o.materials[i].asset, err);
    return code == KB_OK && speech ? subtitles_check(s, &o, speech, err) : code;
}

enum kb_code batch_check_options(struct store *s, const char *options, struct kb_error *err)
{
    return check_options(s, options, NULL, err);
}

static bool is_latest(const char *latest, const char *s)
{
    return latest && strcmp(latest, s) == 0;
}

// The options of a pair, its own laid over the batch's: in order, as they stand there. speech as
// of check_options().
static enum kb_code check_own_options(struct making *m, const struct batch_pair *pair,
                                      const char *speech, struct kb_error *err)
{
    CLEANUP(kb_freep) char *merged = NULL;
    enum kb_code code = batch_options_merge(m->p->options, pair->options, &merged, err);
    if (code != KB_OK ||
        (is_latest(m->latest_options, merged) && is_latest(m->latest_speech, speech ? speech : "")))
        return code;
    free(m->latest_options);
    free(m->latest_speech);
    m->latest_options = TAKE(merged);
    m->latest_speech = kb_strdup(speech ? speech : "");
    return check_options(m->s, m->latest_options, speech, err);
}

// --- names

static char *lower_case(const char *s)
{
    char *ret = kb_strdup(s);
    for (char *c = ret; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    return ret;
}

// "film_speech_2026-11-27.mp4", then "film_speech_2026-11-27-2.mp4"… wanted: the user's own name,
// or NULL. ending: ".mp4", or what the job's options want. taken: names given out without their
// ending, small and capital letters alike, each with the number that was tried last, so that a
// thousand equal names do not take a million tries.
static char *result_name(json_t *taken, const char *wanted, const char *video, const char *speech,
                         const char *ending)
{
    CLEANUP(kb_freep) char *film = path_stem(video);
    CLEANUP(kb_freep) char *audio = path_stem(speech);
    CLEANUP(kb_freep) char *own = result_bare_name(wanted ? wanted : "", ending);
    CLEANUP(kb_freep)
    char *stem = wanted ? path_safe_name(own, SHELF_STEM) : shelf_stem(film, audio, kb_wall_ms());
    CLEANUP(kb_freep) char *first = lower_case(stem);
    CLEANUP(kb_freep) char *key = kb_strdup(first);
    json_int_t number = KB_MAX(json_integer_value(json_object_get(taken, first)), 1);
    char *name = kb_printf("%s%s", stem, ending);
    while (json_object_get(taken, key)) {
        free(name);
        free(key);
        name = kb_printf("%s-%lld%s", stem, (long long)++number, ending);
        key = kb_printf("%s-%lld", first, (long long)number);
    }
    json_object_set_new_nocheck(taken, key, json_integer(1));
    json_object_set_new_nocheck(taken, first, json_integer(number));
    return name;
}

// --- its jobs

// useless: NULL, or why it is not tried. own: the pair has a speech of its own.
static enum kb_code add_row(const struct making *m, int i, const struct batch_pair *pair, bool own,
                            const char *video, const char *speech, const char *result,
                            const char *useless, struct kb_error *err)
{
    return store_exec(m->s, NULL, err,
                      "INSERT INTO job(batch, video, name, result_name, position, state_since_ms,"
                      " created_ms, state, waiting, error_code, error, ended_ms, note, audio, "
                      "audio_name, options,"
                      " face_x, face_y, face_s)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, iif(?7 IS NULL, 'queued', 'skipped'),"
                      " iif(?7 IS NULL, 'worker', NULL), iif(?7 IS NULL, NULL, 'bad_input'), ?7,"
                      " iif(?7 IS NULL, NULL, ?6), ?8, ?9, ?10, ?11, iif(?12 >= 0, ?12, NULL),"
                      " iif(?12 >= 0, ?13, NULL), iif(?12 >= 0 AND ?14 >= 0, ?14, NULL))",
                      "itttditttttddd", m->batch, pair->video, video, result, (double)(i + 1),
                      kb_wall_ms(), useless, m->p->note, own ? pair->audio : NULL,
                      own ? speech : NULL, pair->options, pair->face_at[0], pair->face_at[1],
                      pair->face_at[2]);
}

static enum kb_code add_job(struct making *m, int i, struct kb_error *err)
{
    struct batch_pair pair = pair_of(m->p, i);
    CLEANUP(kb_freep) char *options = NULL;
    CLEANUP(kb_freep) char *video = NULL;
    CLEANUP(kb_freep) char *speech = NULL;
    CLEANUP(kb_freep) char *useless = NULL;
    bool own = strcmp(pair.audio, m->audio) != 0;
    enum kb_code code = check_asset(m->s, pair.video, true, &video, err);
    if (code == KB_OK && own)
        code = check_asset(m->s, pair.audio, true, &speech, err);
    if (code == KB_OK && m->p->n_pairs > 0)
        code = find_useless_speech(m->s, pair.audio, &useless, err);
    if (code == KB_OK && !useless)
        code = find_useless_video(m->s, pair.video, &useless, err);
    if (code == KB_OK && pair.options && m->p->defaults &&
        (options = batch_options_restore(pair.options, m->p->options, m->p->defaults, m->p->lang)))
        pair.options = options;
    if (code == KB_OK && (m->p->n_pairs > 0 || pair.options))
        code = check_own_options(m, &pair, useless ? NULL : pair.audio, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *merged = NULL;
    if (pair.options)
        code = batch_options_merge(m->p->options, pair.options, &merged, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep)
    char *name = result_name(m->taken, pair.name, video, own ? speech : m->speech,
                             batch_options_ending(merged ? merged : m->p->options));
    code = add_row(m, i, &pair, own, video, speech, name, useless, err);
    m->n_useful += !useless;
    if (!m->first_useless)
        m->first_useless = TAKE(useless);
    return code;
}

static enum kb_code add_jobs(struct making *m, struct kb_error *err)
{
    for (int i = 0; i < m->n_jobs; i++) {
        enum kb_code code = add_job(m, i, err);
        if (code != KB_OK && m->p->n_pairs > 0)
            kb_wrap(err, _("pair %d"), i + 1);
        if (code != KB_OK)
            return code;
    }
    if (m->n_useful > 0)
        return KB_OK;
    sentence_fail(err, KB_BAD_INPUT, m->first_useless);
    return kb_wrap(err, m->p->n_pairs > 0 ? _("none of these pairs can be used")
                                          : _("none of these videos can be used"));
}

// --- the batch

// How many different speeches it has.
static int count_speeches(const struct batch_params *p)
{
    CLEANUP(json_free) json_t *seen = json_object();
    for (int i = 0; i < p->n_pairs; i++)
        json_object_set_new_nocheck(seen, p->pairs[i].audio, json_true());
    return p->n_pairs > 0 ? (int)json_object_size(seen) : 1;
}

// Named after its speech; "lesson +2" where two more come with it.
static char *batch_name(const struct batch_params *p, const char *speech, int n_speeches)
{
    if (p->name && *p->name)
        return batch_clean_name(p->name);
    CLEANUP(kb_freep) char *stem = path_stem(speech);
    CLEANUP(kb_freep)
    char *name = n_speeches > 1 ? kb_printf("%.*s +%d", utf8_fit(stem, 240), stem, n_speeches - 1)
                                : kb_strdup(stem);
    return batch_clean_name(name);
}

static enum kb_code create(struct making *m, struct kb_error *err)
{
    const struct batch_params *p = m->p;
    m->audio = pair_of(p, 0).audio;
    enum kb_code code = check_asset(m->s, m->audio, p->n_pairs > 0, &m->speech, err);
    if (code == KB_OK && p->options)
        code = check_options(m->s, p->options, p->n_pairs > 0 ? NULL : m->audio, err);
    if (code != KB_OK)
        return code;
    int n_speeches = count_speeches(p);
    CLEANUP(kb_freep) char *name = batch_name(p, m->speech, n_speeches);
    code = store_query_int(
        m->s, &m->batch, err,
        "INSERT INTO batch(name, audio, audio_name, speeches, options, notify, priority, turn,"
        " client, lang, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?,"
        " (SELECT coalesce(max(turn), 0) + 1 FROM batch), ?, ?, ?) RETURNING id",
        "tttittitti", name, m->audio, m->speech, (int64_t)n_speeches,
        p->options ? p->options : "{}", p->notify, (int64_t)p->priority, p->client,
        kb_language_name(kb_language_of(p->lang)), kb_wall_ms());
    if (code == KB_OK)
        code = add_jobs(m, err);
    return code == KB_OK ? job_price(m->s, m->batch, err) : code;
}

static enum kb_code check_params(const struct batch_params *p, struct kb_error *err)
{
    int n = p->n_pairs > 0 ? p->n_pairs : p->n_videos;
    if (p->n_pairs == 0 && !p->audio)
        return kb_fail(err, KB_BAD_INPUT, _("no speech: name the audio of the batch"));
    if (n < 1 || n > MAX_JOBS)
        return kb_fail(err, KB_BAD_INPUT,
                       p->n_pairs > 0 ? _("a batch takes 1 to %d pairs, not %d")
                                      : _("a batch takes 1 to %d videos, not %d"),
                       MAX_JOBS, n);
    CLEANUP(batch_options_free) struct batch_options o = {0};
    enum kb_code code = batch_check_priority(p->priority, err);
    if (code == KB_OK && p->options)
        code = batch_options_parse(p->options, &o, err);
    return code == KB_OK && p->notify ? notify_check(p->notify, err) : code;
}

enum kb_code batch_create(struct store *s, const struct batch_params *p, int64_t *ret_id,
                          struct kb_error *err)
{
    CLEANUP(kb_freep) char *complete = NULL;
    struct batch_params with = *p;
    enum kb_code code = check_params(p, err);
    if (code == KB_OK && p->defaults) {
        with.options = complete = batch_options_complete(p->options, p->defaults, p->lang);
        code = complete ? KB_OK : kb_no_memory(err);
    }
    if (code == KB_OK)
        code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    CLEANUP(making_free)
    struct making m = {.s = s,
                       .p = &with,
                       .n_jobs = p->n_pairs > 0 ? p->n_pairs : p->n_videos,
                       .taken = json_object()};
    code = store_end(s, create(&m, err), err);
    if (code == KB_OK)
        *ret_id = m.batch;
    return code;
}

enum kb_code batch_check_pair(struct store *s, const struct batch_params *p, struct kb_error *err)
{
    CLEANUP(kb_freep) char *audio = NULL;
    CLEANUP(kb_freep) char *video = NULL;
    CLEANUP(kb_freep) char *useless = NULL;
    enum kb_code code = check_asset(s, p->audio, false, &audio, err);
    if (code == KB_OK)
        code = check_options(s, p->options, p->audio, err);
    if (code == KB_OK)
        code = check_asset(s, p->videos[0], true, &video, err);
    if (code == KB_OK)
        code = find_useless_video(s, p->videos[0], &useless, err);
    return code == KB_OK && useless ? sentence_fail(err, KB_BAD_INPUT, useless) : code;
}
