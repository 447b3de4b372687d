// A worker's job: what it says of it, and what is written down.
#include "worker/internal.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "queue/options.h"
#include "queue/subtitles.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// --- hearing

static bool hear_at(struct seat *s, const json_t *m)
{
    int stage;
    json_int_t done, total;
    double fps;
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT, "{s:s, s:i, s:I, s:I, s:F}", "is",
                       &(const char *){0}, "stage", &stage, "done", &done, "total", &total, "fps",
                       &fps) != 0)
        return false;
    const struct job_report r = {(enum stage)stage, done, total, fps};
    if (!line_report_is_sane(&r))
        return false;
    if (r.stage != s->report.stage || r.done != s->report.done)
        s->moved_us = kb_now_us();
    s->report = r;
    s->report_new = true;
    return true;
}

static bool hear_done(struct seat *s, const json_t *m)
{
    struct dub_result *r = &s->result;
    r->from_s = 0;
    json_int_t frames, animated;
    int picture;
    double *stages = r->stage_s;
    _Static_assert(N_STAGES == 5, "as many as are read here");
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT,
                       "{s:s, s:I, s:I, s:F, s:i, s:i, s:b, s:[F, F, F, F, F], s?:F}", "is",
                       &(const char *){0}, "frames", &frames, "animated", &animated, "seconds",
                       &r->seconds, "width", &r->width, "height", &r->height, "picture", &picture,
                       "stages", &stages[0], &stages[1], &stages[2], &stages[3], &stages[4], "from",
                       &r->from_s) != 0)
        return false;
    r->frames = frames;
    r->frames_animated = animated;
    if (!line_result_is_sane(r))
        return false;
    s->picture = picture;
    s->ending = ENDED_WELL;
    return true;
}

bool seat_hear_job(struct seat *s, const char *is, const json_t *m)
{
    if (strcmp(is, "at") == 0)
        return hear_at(s, m);
    if (strcmp(is, "done") == 0)
        return hear_done(s, m);
    if (strcmp(is, "cues") == 0)
        return seat_hear_cues(s, m);
    if (strcmp(is, "loaded") == 0)
        s->loaded = true;
    else if (strcmp(is, "back") == 0)
        s->ending = ENDED_BACK;
    else if (strcmp(is, "failed") == 0 && line_read_error(m, &s->why)) {
        s->ending = ENDED_BADLY;
        s->spent = s->why.code != KB_CANCELLED || !s->told;
    } else
        return false;
    return true;
}

void seat_let_go(struct seat *s, const char *data)
{
    if (!s->loaded)
        return;
    s->loaded = false;
    if (s->clean && s->has_job && !s->ending)
        harvest_networks(s, data);
    s->clean = false;
    line_send(s->line, true, json_pack("{s:s}", "is", "go"));
}

// --- writing

// A content that somebody took out of the folder. True: *why says whose it was.
static bool is_gone(struct seat *s, struct store *store, struct kb_error *why)
{
    const struct job_claim *c = &s->claim;
    const char *contents[2 + MATERIAL_MOST] = {c->audio_sha256, c->video_sha256};
    const char *names[2 + MATERIAL_MOST] = {c->audio_name, c->video_name};
    for (int i = 0; i < c->n_materials; i++) {
        contents[2 + i] = c->materials[i].sha256;
        names[2 + i] = c->materials[i].name;
    }
    for (int i = 0; i < 2 + c->n_materials; i++) {
        CLEANUP(kb_freep) char *path = kb_printf("files/%s", contents[i]);
        struct stat st;
        if (!contents[i] || !*contents[i] || beneath_stat(store->folder, path, &st) ||
            errno != ENOENT)
            continue;
        *why = (struct kb_error){0};
        kb_fail(why, KB_NOT_FOUND, _("the upload of '%s' is gone: upload it again"), names[i]);
        asset_content_gone(store, contents[i], why, NULL); // else the next job finds it
        return true;
    }
    return false;
}

static enum kb_code write_report(struct seat *s, struct store *store, struct kb_error *err)
{
    bool cancel = false;
    if (kb_now_us() - s->report_us < REPORT_US)
        return KB_OK; // the latest, in a later turn
    s->report_us = kb_now_us();
    store_set_durable(store, false);
    enum kb_code code = job_report(store, &s->claim, &s->report, &cancel, err);
    store_set_durable(store, true);
    if (code != KB_OK && code != KB_NOT_FOUND)
        return code;
    s->report_new = false;
    bool lost = code == KB_NOT_FOUND;
    if ((lost || cancel) && !s->told) {
        line_send(s->line, true, json_pack("{s:s}", "is", lost ? "lost" : "cancel"));
        s->told = true;
        s->told_us = kb_now_us();
    }
    return KB_OK;
}

static enum kb_code write_done(struct seat *s, struct store *store, struct kb_error *err)
{
    enum kb_code code = s->moved ? KB_OK : harvest_result(s, store->folder, err);
    if (code != KB_OK)
        return code;
    s->moved = true;
    CLEANUP(kb_freep) char *cues = subtitles_pack(&s->cues);
    return job_done(store, &s->claim, &s->result, s->picture, cues, err);
}

static enum kb_code write_ending(struct seat *s, struct store *store, struct kb_error *err)
{
    if (s->ending == ENDED_WELL)
        return write_done(s, store, err);
    if (s->ending == ENDED_BACK)
        return job_give_back(store, &s->claim, err);
    if (s->why.code != KB_CANCELLED)
        is_gone(s, store, &s->why);
    return job_failed(store, &s->claim, &s->why, err);
}

enum kb_code seat_write_job(struct seat *s, struct store *store, struct kb_error *err)
{
    if (!s->ending)
        return s->report_new ? write_report(s, store, err) : KB_OK;
    harvest_tracks(s, store->folder);
    enum kb_code code = write_ending(s, store, err);
    if (s->copy)
        return KB_OK;
    if (code == KB_UNAVAILABLE || code == KB_NO_SPACE)
        return code;
    if (code != KB_OK && s->ending == ENDED_WELL && code != KB_NOT_FOUND) { // it is not there
        s->ending = ENDED_BADLY;
        s->spent = true;
        s->why = *err;
        job_remove_output(store, &s->claim);
        return seat_write_job(s, store, err);
    }
    if (code != KB_OK && code != KB_NOT_FOUND)
        log_error("%s", err->text);
    if (code != KB_OK) // somebody else's by now
        job_remove_output(store, &s->claim);
    harvest_clear(store->folder, s->folder, NULL);
    seat_drop(s);
    return KB_OK;
}

// --- giving

// NULL: a name is not valid UTF-8.
static json_t *pack_materials(const struct job_claim *c, json_error_t *error)
{
    json_t *list = json_array();
    for (int i = 0; list && i < c->n_materials; i++) {
        const struct job_material *m = &c->materials[i];
        json_t *one = !m->path ? NULL
                               : json_pack_ex(error, 0, "{s:s, s:s, s:s}", "role", m->role->name,
                                              "sha256", m->sha256, "name", m->name);
        if (m->path && json_array_append_new(list, one) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *seat_pack_job(const struct seat *s, json_error_t *error)
{
    const struct job_claim *c = &s->claim;
    json_t *materials = pack_materials(c, error);
    if (!materials)
        return NULL;
    return json_pack_ex(
        error, 0, "{s:s, s:I, s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:[f, f, f]}", "is",
        "job", "job", (json_int_t)c->job, "attempt", c->attempt, "file", s->file, "audio",
        c->audio_sha256, "video", c->video_sha256, "audio_name", c->audio_name, "video_name",
        c->video_name, "materials", materials, "output_name",
        c->output_name ? path_name(c->output_name) : c->video_name, "options", c->options, "note",
        c->note ? c->note : "", "face_at", c->face_at[0], c->face_at[1], c->face_at[2]);
}

bool seat_wants_words(const struct seat *s)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    return batch_options_parse(s->claim.options, &o, NULL) == KB_OK && o.subtitles_spoken &&
           !o.dub.finish.captions.text;
}

void seat_lend_words(const struct seat *s, const char *data, const char *words)
{
    CLEANUP(kb_freep) char *path = kb_printf("%s/%s" WORDS_TAIL, s->folder, s->file);
    int fd = *words ? beneath_open(data, path, O_WRONLY | O_CREAT | O_EXCL, 0600) : -1;
    size_t n = strlen(words), at = 0;
    while (fd >= 0 && at < n) {
        ssize_t written = write(fd, words + at, n - at);
        if (written <= 0)
            break;
        at += (size_t)written;
    }
    if (fd >= 0)
        close(fd);
    if (at < n)
        beneath_unlink(data, path);
}

static void lend_words(const struct seat *s, struct store *store)
{
    CLEANUP(kb_freep) char *words = NULL;
    if (seat_wants_words(s) && subtitles_words(store, s->claim.job, &words, NULL) == KB_OK)
        seat_lend_words(s, store->folder, words);
}

enum kb_code seat_give_job(struct seat *s, struct store *store, int64_t min_free_bytes,
                           struct kb_error *err)
{
    s->claim = (struct job_claim){.pid = s->pid};
    enum kb_code code = job_claim(store, s->worker, min_free_bytes, &s->claim, err);
    if (code != KB_OK)
        return code;
    s->has_job = true;
    s->report = (struct job_report){.stage = STAGE_LOADING};
    s->moved_us = kb_now_us();
    kb_random_hex(s->file, FILE_STEM);
    json_error_t error = {0};
    json_t *m = seat_pack_job(s, &error);
    bool never = line_is_closed_to(m, &error);
    if (never) // every worker that got it would wait for it, and the queue behind it
        kb_fail(&s->why, KB_INTERNAL,
                _("job %lld cannot be told to a worker: a name in it is not valid UTF-8, or it is "
                  "too long; upload the files under other names"),
                (long long)s->claim.job);
    if (never || is_gone(s, store, &s->why)) {
        json_decref(m);
        s->ending = ENDED_BADLY;
        return seat_write_job(s, store, err);
    }
    harvest_lend(s, store->folder);
    lend_words(s, store);
    s->asks = !line_send(s->line, true, m);
    if (s->asks)
        s->ending = ENDED_BACK; // it is gone, or does not read, or there is no memory
    return KB_OK;
}
