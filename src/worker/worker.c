// The worker process. Two threads: this one works, the other is its pulse (worker/pulse.h), which
// has the line to the server. All it knows of the queue is what the server gives it, and all it may
// write is its own folder.
#include "worker/worker.h"

#include "queue/job.h"
#include "queue/options.h"
#include "store/names.h"
#include "worker/inspect.h"
#include "worker/limits.h"
#include "worker/line.h"
#include "worker/pulse.h"
#include "worker/thumbnail.h"

#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "base/text.h"
#include "lipsync/speech.h"
#include "media/cues.h"
#include "media/reader.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THUMBNAIL_AT_US 1000000

// Of looks before the long run.
#define LOOKS_KEPT   3 // films with speeches of which the costly things are kept
#define LOOK_HEIGHT  720
#define STILL_HEIGHT 480
#define KEY_SIZE     33

// What the server gave; strings are those of its message. Contents are hashes, or NULL.
struct task {
    int64_t job;
    int attempt;
    const char *file; // what its files in the work folder are called, without the tail
    const char *audio, *video;
    const char *audio_name, *video_name, *output_name;
    const char *options, *note;
    double face_at[3];
    double look_seconds, look_at; // a look of so many seconds, or of it a picture; 0: a job
    // --- made of these
    char *audio_path, *video_path, *output;
    struct given {
        const struct material_role *role;
        const char *sha256, *name;
        char *path, key[KEY_SIZE];
    } materials[MATERIAL_MOST];
    int n_materials;
    struct subtitle_track subtitles; // that the result was made with
    struct words words;              // of the speech, where subtitles are made of them
};

struct worker {
    const struct worker_params *params;
    char *folder; // work/ID
    struct pulse *pulse;

    struct engine engine;
    char *model; // NULL = bundled
    enum precision precision;
    bool loaded;

    struct mel *mel; // of the latest speech, for the next job of the batch
    char mel_sha256[65];
    bool mel_loudnorm;
    struct look {
        char *pair; // contents of speech and film; NULL: a free place
        struct dub_kept *kept;
        int64_t used_us;
    } looks[LOOKS_KEPT];
    bool worn; // its address space was used up once: leave the next job to a fresh process
};

static void drop_look(struct look *l)
{
    dub_kept_free(&l->kept);
    kb_freep(&l->pair);
}

static void unload_engine(struct worker *w)
{
    for (int i = 0; i < LOOKS_KEPT; i++)
        drop_look(&w->looks[i]);
    pulse_set_engine(w->pulse, NULL, NULL);
    engine_free(&w->engine);
    w->loaded = false;
}

static enum kb_code load_engine(struct worker *w, const char *model, enum precision precision,
                                struct kb_error *err)
{
    bool same = w->model && model ? strcmp(w->model, model) == 0 : w->model == model;
    if (w->loaded && same && w->precision == precision)
        return KB_OK;
    unload_engine(w);
    struct engine_params ep = {.model = model,
                               .precision = precision,
                               .cache_folder = w->folder,
                               .threads = w->params->threads,
                               .watch = {NULL, pulse_progress, w->pulse}};
    enum kb_code code = engine_load(&w->engine, &ep, err);
    if (code != KB_OK)
        return code;
    char *copy = kb_strdup(model);
    pulse_set_engine(w->pulse, engine_name(&w->engine), engine_precision(&w->engine));
    free(w->model);
    w->model = copy;
    w->precision = precision;
    w->loaded = true;
    return KB_OK;
}

static enum kb_code hear_speech(struct worker *w, const struct task *t, bool loudnorm,
                                struct kb_error *err)
{
    if (w->mel && strcmp(w->mel_sha256, t->audio) == 0 && w->mel_loudnorm == loudnorm)
        return KB_OK;
    mel_free(&w->mel);
    const struct watch watch = {pulse_work(w->pulse), pulse_progress, w->pulse};
    enum kb_code code = speech_hear(&w->mel, t->audio_path, t->audio_name, loudnorm, &watch, err);
    if (code != KB_OK)
        return code;
    snprintf(w->mel_sha256, sizeof(w->mel_sha256), "%s", t->audio);
    w->mel_loudnorm = loudnorm;
    return KB_OK;
}

// How long the result can become: as the speech, or as the video if the rest of it is kept.
static int64_t longest_output_us(const struct dub_params *p)
{
    int64_t longest = mel_duration_us(p->mel);
    if (p->keep_video)
        longest = KB_MAX(longest, reader_info(p->film)->duration_us);
    return p->duration_us > 0 ? KB_MIN(longest, p->duration_us) : longest;
}

static void blame_memory(struct worker *w, const struct task *t, struct kb_error *why)
{
    char size[TEXT_SIZE_BYTES];
    int64_t limit = w->params->memory_bytes;
    if (why->code == KB_CANCELLED || !limits_memory_was_short(w->params))
        return;
    w->worn = true;
    kb_fail(why, KB_NO_SPACE,
            _("'%s' needs more memory than the %s that one video may take; choose a smaller "
              "height in the options, or let who runs the server allow more (--memory)"),
            t->video_name, text_size(size, limit));
}

// Under which name the server keeps the track of a content.
static const char *key_of(const char *content, char ret[KEY_SIZE])
{
    snprintf(ret, KEY_SIZE, "%s", content);
    return ret;
}

// What the options name was given with the job, or is gone.
static enum kb_code put_materials(const struct task *t, const struct batch_options *o,
                                  struct dub_params *dub, struct kb_error *err)
{
    for (int i = 0; i < o->n_materials; i++) {
        const struct given *m = t->materials;
        while (m < t->materials + t->n_materials && m->role != o->materials[i].role)
            m++;
        if (m == t->materials + t->n_materials)
            return material_gone(o->materials[i].role->name, err);
        material_put(m->role, dub, m->path, m->key);
    }
    return KB_OK;
}

// Subtitles of what the speech says: its words lie in the folder, if they are known.
static enum kb_code read_words(const struct worker *w, struct task *t,
                               const struct batch_options *o, struct dub_params *dub,
                               struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map map = {0};
    CLEANUP(kb_freep) char *path = kb_printf("%s/%s" WORDS_TAIL, w->folder, t->file);
    dub->subtitles = &t->subtitles;
    if (!o->subtitles_spoken || !dub->finish.captions.as || dub->finish.captions.text)
        return KB_OK;
    if (file_map(&map, path, NULL) != KB_OK)
        return kb_fail(err, KB_BAD_INPUT,
                       _("what the speech '%s' says is not known, so there are no subtitles of its "
                         "text; give the text, or a file of subtitles"),
                       t->audio_name);
    CLEANUP(kb_freep) char *json = kb_printf("%.*s", (int)map.size, (const char *)map.data);
    enum kb_code code = words_parse(&t->words, json, err);
    dub->finish.captions.words = &t->words;
    return code;
}

// What of it a job and a look have in common.
static void fill_dub(struct worker *w, const struct task *t, char key[KEY_SIZE],
                     struct dub_params *dub)
{
    dub->audio = t->audio_path;
    dub->video = t->video_path;
    dub->output = t->output;
    if (t->face_at[0] >= 0) {
        dub->face = FACE_AT;
        memcpy(dub->face_at, t->face_at, sizeof(dub->face_at));
    }
    dub->track_folder = w->folder;
    dub->video_key = key_of(t->video, key);
    dub->threads = w->params->threads;
    dub->watch = (struct watch){pulse_work(w->pulse), pulse_progress, w->pulse};
}

static enum kb_code make_dub(struct worker *w, const struct task *t, struct dub_params *dub,
                             struct dub_result *result, struct kb_error *err)
{
    enum kb_code code = hear_speech(w, t, dub->loudnorm, err);
    if (code != KB_OK)
        return code;
    dub->note = t->note;
    dub->mel = w->mel;
    CLEANUP(reader_close) struct reader *film = NULL;
    code = dub_check(dub, &film, err);
    if (code != KB_OK)
        return code;
    dub->film = film;
    limits_processor_time(w->params, longest_output_us(dub));
    return dub_run(&w->engine, dub, result, err);
}

// --- looks before the long run

// What is kept of that speech with that film; in the place of the one that was used least lately.
static struct dub_kept *kept_of(struct worker *w, const struct task *t)
{
    CLEANUP(kb_freep) char *pair = kb_printf("%s %s", t->audio, t->video);
    struct look *l = &w->looks[0];
    for (int i = 0; i < LOOKS_KEPT; i++) {
        struct look *other = &w->looks[i];
        bool same = other->pair && strcmp(other->pair, pair) == 0;
        if (same || other->used_us < l->used_us)
            l = other;
        if (same)
            break;
    }
    if (!l->pair || strcmp(l->pair, pair) != 0) {
        drop_look(l);
        l->pair = TAKE(pair);
        l->kept = dub_kept_create();
    }
    l->used_us = kb_now_us();
    return l->kept;
}

static enum kb_code make_still(struct worker *w, const struct task *t, const struct dub_params *dub,
                               struct dub_result *result, struct kb_error *err)
{
    CLEANUP(av_frame_free) AVFrame *frame = NULL;
    CLEANUP(kb_freep) char *path = result_beside(t->output, ".jpg");
    enum kb_code code = dub_still(&w->engine, dub, (int64_t)(t->look_at * 1e6), &frame, err);
    if (code == KB_OK)
        code = thumbnail_write_high(frame, STILL_HEIGHT, path, err);
    if (code == KB_OK)
        *result = (struct dub_result){.frames = 1, .width = frame->width, .height = frame->height};
    return code;
}

// As the job would be, but soon: small, written in a hurry, by what is kept of the look before.
static enum kb_code make_look(struct worker *w, const struct task *t, struct dub_params *dub,
                              struct dub_result *result, struct kb_error *err)
{
    dub->look_us = (int64_t)(t->look_seconds * 1e6);
    dub->kept = kept_of(w, t);
    dub->preset = "ultrafast";
    dub->bitrate_source = dub->keep_deep = false;
    struct background_params *behind = &dub->finish.background;
    if (behind->alpha) // an mp4 has none: what is cut away is green
        *behind = (struct background_params){
            .kind = BACKGROUND_COLOUR, .rgb = {0, 177, 64}, .key = behind->key};
    dub->height = dub->height > 0 ? KB_MIN(dub->height, LOOK_HEIGHT) : LOOK_HEIGHT;
    if (t->look_at >= 0)
        return make_still(w, t, dub, result, err);
    CLEANUP(reader_close) struct reader *film = NULL;
    enum kb_code code = dub_check(dub, &film, err);
    dub->film = film;
    return code == KB_OK ? dub_run(&w->engine, dub, result, err) : code;
}

// --- one job

static enum kb_code run_task(struct worker *w, struct task *t, struct dub_result *result,
                             struct kb_error *err)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    char key[KEY_SIZE];
    // A file that is nothing but work to read has the time that every job has.
    limits_processor_time(w->params, 0);
    enum kb_code code = batch_options_parse(t->options, &o, err);
    if (code == KB_OK)
        code = put_materials(t, &o, &o.dub, err);
    if (code == KB_OK)
        code = load_engine(w, o.model,
                           o.precision != PRECISION_AUTO ? o.precision : w->params->precision, err);
    // From here on it reads what strangers gave; the broker believes less of it, and takes before
    // what it would not take any more.
    pulse_await_go(w->pulse);
    if (code != KB_OK)
        return code;
    fill_dub(w, t, key, &o.dub);
    code = read_words(w, t, &o, &o.dub, err);
    if (code != KB_OK)
        return code;
    code = t->look_seconds > 0 ? make_look(w, t, &o.dub, result, err)
                               : make_dub(w, t, &o.dub, result, err);
    // The first video may have let it go on in int8.
    pulse_set_engine(w->pulse, engine_name(&w->engine), engine_precision(&w->engine));
    return code;
}

static json_t *tell_done(const struct dub_result *r, bool picture)
{
    json_t *stages = json_array();
    for (int i = 0; i < N_STAGES; i++)
        json_array_append_new(stages, json_real(r->stage_s[i]));
    return json_pack("{s:s, s:I, s:I, s:f, s:i, s:i, s:b, s:o}", "is", "done", "frames",
                     (json_int_t)r->frames, "animated", (json_int_t)r->frames_animated, "seconds",
                     r->seconds, "width", r->width, "height", r->height, "picture", (int)picture,
                     "stages", stages);
}

static void finish_well(struct worker *w, const struct task *t, const struct dub_result *result)
{
    struct kb_error ignored = {0};
    if (t->look_seconds > 0) {
        log_verbose("'%s': a look is done: %s", t->video_name,
                    t->look_at >= 0 ? "a picture" : "a film");
        json_t *done = tell_done(result, false);
        json_object_set_new(done, "from", json_real(result->from_s));
        pulse_say(w->pulse, done);
        return;
    }
    CLEANUP(kb_freep) char *picture = result_beside(t->output, ".jpg");
    int64_t at = result->seconds > 1.5 ? THUMBNAIL_AT_US : 0;
    bool thumb = thumbnail_of_video(t->output, at, picture, NULL, &ignored) == KB_OK;
    if (!thumb)
        log_warn("%s", ignored.text);
    log_info(_("'%s' is done: %.1f s of video, faces %.1f s, generating %.1f s"), t->video_name,
             result->seconds, result->stage_s[STAGE_PREPROCESSING],
             result->stage_s[STAGE_GENERATING] + result->stage_s[STAGE_FINISHING]);
    for (enum stage i = STAGE_LOADING; i < N_STAGES; i++)
        log_debug("%s: %.3f s", stage_id(i), result->stage_s[i]);
    for (size_t next = 0; next < t->subtitles.n;)
        pulse_say(w->pulse, json_pack("{s:s, s:o*}", "is", "cues", "cues",
                                      cues_pack(&t->subtitles, &next, LINE_CUES_BYTES)));
    pulse_say(w->pulse, tell_done(result, thumb));
}

static void finish_badly(struct worker *w, const struct task *t, struct kb_error *why)
{
    blame_memory(w, t, why);
    if (why->code == KB_CANCELLED && t->look_seconds > 0)
        log_verbose("'%s': a look is given up", t->video_name);
    else if (why->code == KB_CANCELLED)
        log_info(_("'%s' is cancelled"), t->video_name);
    else if (why->code == KB_BAD_INPUT ||
             why->code == KB_NOT_FOUND) // the user's to mend, not the server's
        log_warn("%s", why->text);
    else
        log_error("%s", why->text);
    pulse_say(w->pulse, line_error("failed", why));
}

static void run_job(struct worker *w, struct task *t)
{
    struct dub_result result = {0};
    struct kb_error why = {0};
    bool lost;
    if (t->look_seconds <= 0)
        log_info(_("'%s' begins, attempt %d of %d"), t->video_name, t->attempt, JOB_MAX_ATTEMPTS);
    log_debug("output %s, options %s", t->output_name, t->options);
    pulse_begin_job(w->pulse);
    enum kb_code code = run_task(w, t, &result, &why);
    pulse_end_job(w->pulse, &lost);
    // Lower layers name a content's file; the user knows it by another name.
    sentence_replace(&why, t->video_path, t->video_name);
    sentence_replace(&why, t->audio_path, t->audio_name);
    for (int i = 0; i < t->n_materials; i++)
        sentence_replace(&why, t->materials[i].path, t->materials[i].name);
    sentence_replace(&why, t->output, t->output_name);
    if (lost) {
        log_warn(_("'%s' was taken from this worker; nothing of it is kept"), t->video_name);
        pulse_say(w->pulse, json_pack("{s:s}", "is", "back"));
    } else if (code == KB_OK) {
        finish_well(w, t, &result);
    } else if (code == KB_CANCELLED && cancel_requested(pulse_leave(w->pulse))) {
        if (t->look_seconds <= 0)
            log_info(_("'%s' goes back into the queue"), t->video_name);
        pulse_say(w->pulse, json_pack("{s:s}", "is", "back"));
    } else {
        finish_badly(w, t, &why);
    }
    pulse_set_state(w->pulse, "idle");
}

static char *content_path(const struct worker *w, const char *content)
{
    return kb_printf("%s/files/%s", w->params->data, content);
}

static bool read_materials(const struct worker *w, struct task *t, const json_t *list)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        struct given *m = &t->materials[t->n_materials];
        const char *role;
        if (i >= MATERIAL_MOST || json_unpack(one, "{s:s, s:s, s:s}", "role", &role, "sha256",
                                              &m->sha256, "name", &m->name) != 0)
            return false;
        m->role = material_find(role);
        if (!m->role)
            return false;
        m->path = content_path(w, m->sha256);
        key_of(m->sha256, m->key);
        t->n_materials++;
    }
    return true;
}

static void task_free(struct task *t)
{
    free(t->audio_path);
    free(t->video_path);
    free(t->output);
    subtitle_track_clear(&t->subtitles);
    words_free(&t->words);
    for (int i = 0; i < t->n_materials; i++)
        free(t->materials[i].path);
}

static enum kb_code take_job(struct worker *w, const json_t *message, struct kb_error *err)
{
    CLEANUP(task_free) struct task t = {0};
    json_int_t job;
    const json_t *materials;
    if (json_unpack((json_t *)message,
                    "{s:I, s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:[F, F, F],"
                    " s?:{s:F, s:F}}",
                    "job", &job, "attempt", &t.attempt, "file", &t.file, "audio", &t.audio, "video",
                    &t.video, "audio_name", &t.audio_name, "video_name", &t.video_name, "materials",
                    &materials, "output_name", &t.output_name, "options", &t.options, "note",
                    &t.note, "face_at", &t.face_at[0], &t.face_at[1], &t.face_at[2], "look",
                    "seconds", &t.look_seconds, "at", &t.look_at) != 0 ||
        !read_materials(w, &t, materials))
        return kb_fail(err, KB_INTERNAL, "a job that makes no sense");
    t.job = job;
    t.audio_path = content_path(w, t.audio);
    t.video_path = content_path(w, t.video);
    const char *ending = t.look_seconds > 0 ? "" : film_ending(t.output_name);
    t.output = kb_printf("%s/%s%s", w->folder, t.file, *ending ? ending : ".mp4");
    run_job(w, &t);
    return KB_OK;
}

static enum kb_code take_asset(struct worker *w, const json_t *message, struct kb_error *err)
{
    limits_processor_time(w->params, 0);
    pulse_begin_asset(w->pulse);
    enum kb_code code =
        inspect_asset(w->pulse, message, w->params->data, w->folder, w->engine.faces, err);
    pulse_end_asset(w->pulse);
    return code;
}

static enum kb_code work_until_leaving(struct worker *w, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    while (code == KB_OK && !w->worn) {
        json_auto_t *message = pulse_ask(w->pulse);
        if (!message)
            break;
        code = w->params->inspect ? take_asset(w, message, err) : take_job(w, message, err);
    }
    return code;
}

// --- the process

static enum kb_code load_all(struct worker *w, struct kb_error *err)
{
    limits_processor_time(w->params, 0);
    if (w->params->inspect)
        return face_models_load(&w->engine.faces, err);
    return load_engine(w, NULL, w->params->precision, err);
}

// The terminal from which the server was started is nothing for what a film may have made of this
// process. Who looks for a fault keeps it: with --no-sandbox, or to be told what the cage refuses.
static void leave_terminal(const struct worker_params *p)
{
    int nowhere =
        p->unconfined || getenv("KOUBO_CAGE") ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0)
        return;
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

enum kb_code worker_run(const struct worker_params *p, struct kb_error *err)
{
    struct worker w = {.params = p, .folder = work_folder(p)};
    enum kb_code code = limits_enter(p, err);
    if (code == KB_OK)
        code = pulse_start(&w.pulse, p, err);
    if (code != KB_OK) {
        free(w.folder);
        return code;
    }
    log_send_to(pulse_log, w.pulse);
    leave_terminal(p);
    code = load_all(&w, err);
    if (code == KB_OK) {
        pulse_set_state(w.pulse, "idle");
        code = work_until_leaving(&w, err);
    }
    if (code != KB_OK)
        log_error("%s", err ? err->text : "?");
    log_send_to(NULL, NULL);
    pulse_stop(&w.pulse);
    for (int i = 0; i < LOOKS_KEPT; i++)
        drop_look(&w.looks[i]);
    engine_free(&w.engine);
    mel_free(&w.mel);
    free(w.model);
    free(w.folder);
    return code;
}
