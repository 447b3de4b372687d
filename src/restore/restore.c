#include "restore/restore.h"

#include "asset/name.h"
#include "queue/batch.h"
#include "queue/subtitles.h"
#include "store/fate.h"
#include "worker/peek.h"

#include "base/file.h"
#include "base/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct found {
    struct file_name name;
    int64_t size, time_ms;
};

struct restoring {
    struct store *s;
    const struct restore_params *params;
    struct restore_report *report;
    restore_fn *each;
    void *opaque;
    struct found *files;
    size_t n_files;
    json_t *batches; // made by this run: what they are of -> their number
};

static void restoring_free(struct restoring *r)
{
    free(r->files);
    json_decref(r->batches);
}

// --- which

static enum kb_code note_file(void *opaque, const char *folder, const char *name,
                              const struct file_name *parsed, const struct stat *st,
                              struct kb_error *err)
{
    struct restoring *r = opaque;
    enum fate fate = FATE_KEPT;
    if (parsed->half || parsed->picture)
        return KB_OK;
    enum kb_code code = file_fate(r->s, folder, name, parsed, &fate, err);
    if (code != KB_OK || fate != FATE_LOST)
        return code;
    struct found *grown = reallocarray(r->files, r->n_files + 1, sizeof(*grown));
    if (!grown)
        return kb_no_memory(err);
    r->files = grown;
    r->files[r->n_files++] = (struct found){*parsed, st->st_size, st->st_mtim.tv_sec * 1000LL};
    return KB_OK;
}

static int by_number(const void *a, const void *b)
{
    const struct file_name *x = &((const struct found *)a)->name;
    const struct file_name *y = &((const struct found *)b)->name;
    if (x->batch != y->batch)
        return x->batch < y->batch ? -1 : 1;
    if (x->job != y->job)
        return x->job < y->job ? -1 : 1;
    if (x->attempt != y->attempt)
        return x->attempt < y->attempt ? -1 : 1;
    return strcmp(x->stem, y->stem);
}

// --- what a file says about itself. It may be anybody's: names are cleaned, times must be past

struct history {
    char name[260];               // of the result
    char video[256], speech[256]; // as the user called them
    char *batch;                  // its name
    char *key;                    // which batch it was of
    const char *lang;
    int64_t created_ms, started_ms, ended_ms;
};

static void history_free(struct history *h)
{
    free(h->batch);
    free(h->key);
}

static const char *note_text(const json_t *note, const char *key)
{
    const char *text = json_string_value(json_object_get(note, key));
    return text ? text : "";
}

static int64_t note_time(const json_t *note, const char *key, int64_t latest_ms)
{
    int64_t time = json_integer_value(json_object_get(note, key));
    return time > 0 && time < latest_ms ? time : latest_ms;
}

static void read_note(const struct restoring *r, const struct found *f, const char *text,
                      struct history *ret)
{
    json_auto_t *note = text ? json_loads(text, 0, NULL) : NULL;
    if (json_integer_value(json_object_get(note, "koubo")) != 1) {
        json_decref(note);
        note = NULL;
    }
    asset_clean_name(ret->video, note_text(note, "video"));
    asset_clean_name(ret->speech, note_text(note, "speech"));
    char name[256];
    asset_clean_name(name, note_text(note, "name"));
    CLEANUP(kb_freep) char *stem = path_stem(name);
    // In the folder of a batch it lies under the name it is shown by.
    CLEANUP(kb_freep) char *file = result_of_mark(path_name(f->name.stem));
    CLEANUP(kb_freep) char *lies = result_beside(file, "");
    const char *shown = f->name.batch || !*name ? lies : stem;
    snprintf(ret->name, sizeof(ret->name), "%.*s%s", utf8_fit(shown, 250), shown,
             film_ending(file));
    if (!ret->video[0])
        snprintf(ret->video, sizeof(ret->video), "%.255s", ret->name);
    const char *batch = note_text(note, "batch_name");
    ret->batch = batch_clean_name(*batch ? batch : _("Restored results"));
    ret->key =
        kb_printf("%lld %s", (long long)json_integer_value(json_object_get(note, "batch")), batch);
    const char *lang = note ? note_text(note, "lang") : r->params->lang;
    ret->lang = kb_language_name(kb_language_of(lang));
    ret->ended_ms = KB_MIN(f->time_ms, kb_wall_ms());
    ret->started_ms = note_time(note, "started", ret->ended_ms);
    ret->created_ms = note_time(note, "created", ret->started_ms);
}

// What is called as no result is may be anybody's; one that was renamed says that it is ours.
static bool is_ours(const struct found *f, const char *note)
{
    json_auto_t *json = note ? json_loads(note, 0, NULL) : NULL;
    return !f->name.foreign || json_integer_value(json_object_get(json, "koubo")) == 1;
}

// --- taking one in

// The batch of this run for results of that old batch. The user may have deleted it again.
static enum kb_code find_batch(struct restoring *r, const struct history *h, int64_t *ret,
                               struct kb_error *err)
{
    int64_t n = 0;
    *ret = json_integer_value(json_object_get(r->batches, h->key));
    enum kb_code code =
        store_query_int(r->s, &n, err, "SELECT count(*) FROM batch WHERE id = ?", "i", *ret);
    if (code != KB_OK || n > 0)
        return code;
    return store_query_int(
        r->s, ret, err,
        "INSERT INTO batch(name, audio, audio_name, options, priority, turn, lang, created_ms,"
        " ended_ms) VALUES (?1, '', ?2, '{}', 5, (SELECT coalesce(max(turn), 0) + 1 FROM batch),"
        " ?3, ?4, ?5) RETURNING id",
        "tttii", h->batch, h->speech, h->lang, h->created_ms, h->ended_ms);
}

static enum kb_code insert(struct restoring *r, const struct found *f, const struct peek *p,
                           const struct history *h, int64_t *ret_batch, struct kb_error *err)
{
    CLEANUP(kb_freep) char *file = result_of_mark(f->name.stem);
    CLEANUP(kb_freep) char *cues = subtitles_pack(&p->cues);
    // All that is left of its options: whether a player is to show them.
    const char *options = cues && !p->burned ? "{\"subtitles_as\":\"stream\"}" : NULL;
    enum fate fate = FATE_KEPT;
    enum kb_code code = file_fate(r->s, "results", file, &f->name, &fate, err);
    if (code == KB_OK && fate != FATE_LOST)
        return KB_EOF; // another restore took it, or a clean-up
    if (code == KB_OK)
        code = find_batch(r, h, ret_batch, err);
    if (code == KB_OK)
        code = store_exec(
            r->s, NULL, err,
            "INSERT INTO job(batch, video, name, result_name, position, state, waiting, attempts,"
            " output, progress, done, total, state_since_ms, created_ms, started_ms, ended_ms,"
            " result, result_thumb, result_size, result_ms, result_width, result_height,"
            " result_frames, cues, options, audio_name) VALUES (?1, '', ?2, ?3,"
            " (SELECT coalesce(max(position), 0) + 1 FROM job WHERE batch = ?1), 'done', NULL, ?4,"
            " NULL, 1, ?5, ?5, ?6, ?7, ?8, ?6, ?9, ?10, ?11, ?12, ?13, ?14, ?5, ?16, ?17, (SELECT"
            " nullif(?15, audio_name) FROM batch WHERE id = ?1))",
            "ittiiiiitiiiiittt", *ret_batch, h->video, h->name,
            KB_MAX(KB_MIN(f->name.attempt, JOB_MAX_ATTEMPTS), 1), p->frames, h->ended_ms,
            h->created_ms, h->started_ms, file, (int64_t)p->picture, f->size, p->duration_ms,
            (int64_t)p->width, (int64_t)p->height, h->speech, cues, options);
    if (code == KB_OK)
        code = store_exec(r->s, NULL, err,
                          "UPDATE batch SET ended_ms = max(ended_ms, ?2),"
                          " created_ms = min(created_ms, ?3) WHERE id = ?1",
                          "iii", *ret_batch, h->ended_ms, h->created_ms);
    return code;
}

static enum kb_code take(struct restoring *r, const struct found *f, const struct peek *p,
                         const struct history *h, struct kb_error *err)
{
    int64_t batch = 0;
    if (r->params->dry_run)
        return KB_OK;
    enum kb_code code = store_begin(r->s, err);
    if (code == KB_OK)
        code = store_end(r->s, insert(r, f, p, h, &batch, err), err);
    if (code == KB_OK)
        json_object_set_new(r->batches, h->key, json_integer(batch));
    return code;
}

// Of what may be anybody's no picture is made before it says that it is ours: there may be one.
// *ret_skip: it is not.
static enum kb_code look_into(struct restoring *r, const struct found *f, const char *path,
                              const char *picture, struct peek *ret, bool *ret_skip,
                              struct kb_error *err)
{
    const struct restore_params *p = r->params;
    const char *first = f->name.foreign || p->dry_run ? NULL : picture;
    enum kb_code code = peek_video(path, first, r->s->folder, p->cancel, ret, err);
    *ret_skip = f->name.foreign && (code == KB_OK ? !is_ours(f, ret->note)
                                                  : code != KB_CANCELLED && code != KB_NO_SPACE &&
                                                        code != KB_UNAVAILABLE);
    if (code != KB_OK || *ret_skip || !f->name.foreign || p->dry_run)
        return code;
    peek_clear(ret);
    return peek_video(path, picture, r->s->folder, p->cancel, ret, err);
}

static enum kb_code restore_one(struct restoring *r, const struct found *f, struct kb_error *err)
{
    CLEANUP(kb_freep) char *file = result_of_mark(f->name.stem);
    CLEANUP(kb_freep) char *path = store_path(r->s, "results", file);
    CLEANUP(kb_freep) char *thumb = result_beside(file, ".jpg");
    CLEANUP(kb_freep) char *picture = store_path(r->s, "results", thumb);
    CLEANUP(history_free) struct history h = {0};
    struct kb_error why = {0};
    CLEANUP(peek_clear) struct peek p = {0};
    bool skip = false;
    enum kb_code code = look_into(r, f, path, picture, &p, &skip, &why);
    if (code == KB_CANCELLED || code == KB_NO_SPACE || code == KB_UNAVAILABLE) {
        *err = why;
        return code;
    }
    if (skip)
        return KB_OK;
    if (code == KB_OK) {
        read_note(r, f, p.note, &h);
        code = take(r, f, &p, &h, err);
        if (code != KB_OK)
            return code == KB_EOF ? KB_OK : code;
        r->report->n_taken++;
    } else {
        r->report->n_refused++;
    }
    if (r->each)
        r->each(r->opaque, file, h.batch ? h.name : NULL, h.batch, why.text);
    return KB_OK;
}

enum kb_code restore_run(struct store *s, const struct restore_params *p, restore_fn *each,
                         void *opaque, struct restore_report *ret, struct kb_error *err)
{
    *ret = (struct restore_report){0};
    CLEANUP(restoring_free)
    struct restoring r = {.s = s,
                          .params = p,
                          .report = ret,
                          .each = each,
                          .opaque = opaque,
                          .batches = json_object()};
    // New jobs get new numbers, which must not be those of files.
    enum kb_code code = lost_survey(s, &ret->lost, err);
    if (code == KB_OK)
        code = folder_for_each(s, "results", note_file, &r, err);
    if (code == KB_OK && r.n_files > 0)
        qsort(r.files, r.n_files, sizeof(*r.files), by_number);
    for (size_t i = 0; code == KB_OK && i < r.n_files; i++)
        code = restore_one(&r, &r.files[i], err);
    // Also after a failure: what was taken in before it is no longer lost.
    struct kb_error ignored;
    enum kb_code counted = lost_survey(s, &ret->lost, code == KB_OK ? err : &ignored);
    return code == KB_OK ? counted : code;
}
