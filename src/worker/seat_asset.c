// An inspector's asset: what it says of it, and what is written down.
#include "worker/internal.h"

#include "asset/speech.h"
#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "queue/subtitles.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_MS     (INT64_C(100) * 365 * 24 * 3600 * 1000)
#define MOST_PIXELS 65536
#define MOST_FACES  10000

static bool in(double value, double low, double high)
{
    return isfinite(value) && value >= low && value <= high;
}

static bool is_result(const struct seat *s)
{
    return s->asset.job != 0;
}

// --- hearing

static bool hear_boxes(struct asset_facts *f, const json_t *list)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > ASSET_FACE_BOXES)
        return false;
    for (size_t i = 0; i < n; i++) {
        double v[4];
        if (json_unpack_ex(json_array_get(list, i), NULL, JSON_STRICT, "[F, F, F, F]", &v[0], &v[1],
                           &v[2], &v[3]) != 0)
            return false;
        for (int k = 0; k < 4; k++) {
            if (!in(v[k], 0, 1))
                return false;
            f->face_boxes[i][k] = (float)v[k];
        }
    }
    f->n_face_boxes = (int)n;
    return true;
}

// Codes as docs/openapi.yaml lists them.
static bool hear_warnings(struct seat *s, const json_t *list)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n >= ARRAY_LEN(s->warnings))
        return false;
    memset(s->warnings, 0, sizeof(s->warnings));
    for (size_t i = 0; i < n; i++) {
        const char *code = json_string_value(json_array_get(list, i));
        size_t length = code ? strlen(code) : 0;
        if (length == 0 || length >= sizeof(s->warnings[0]) ||
            strspn(code, "abcdefghijklmnopqrstuvwxyz_") != length)
            return false;
        memcpy(s->warnings[i], code, length + 1);
    }
    return true;
}

static bool hear_peaks(struct seat *s, const json_t *list)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > sizeof(s->peaks))
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT8_MAX)
            return false;
        s->peaks[i] = (uint8_t)json_integer_value(v);
    }
    s->facts.n_peaks = (int)n;
    return true;
}

// A file of subtitles has some, a result of another machine may.
static bool fits_cues(const struct seat *s, bool video, bool subtitles)
{
    return s->cues.n > 0 ? subtitles || (video && is_result(s)) : !subtitles;
}

static bool hear_facts(struct seat *s, const json_t *m)
{
    struct asset_facts *f = &s->facts;
    const char *kind, *codec = NULL;
    json_int_t duration;
    json_t *boxes, *warnings, *peaks;
    int picture;
    *f = (struct asset_facts){0};
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT,
                       "{s:s, s:s, s:I, s:i, s:i, s:F, s?:s, s:i, s:o, s:F, s:o, s:o, s:b}", "is",
                       &(const char *){0}, "kind", &kind, "duration", &duration, "width", &f->width,
                       "height", &f->height, "fps", &f->fps, "codec", &codec, "faces", &f->n_faces,
                       "boxes", &boxes, "boxes_at", &f->face_boxes_at, "warnings", &warnings,
                       "peaks", &peaks, "picture", &picture) != 0)
        return false;
    bool video = strcmp(kind, "video") == 0, subtitles = strcmp(kind, "text") == 0;
    if ((!video && !subtitles && strcmp(kind, "audio") != 0) || !fits_cues(s, video, subtitles) ||
        duration < 0 || duration > MOST_MS || !in(f->width, 0, MOST_PIXELS) ||
        !in(f->height, 0, MOST_PIXELS) || !in(f->fps, 0, 1e6) ||
        (codec && strlen(codec) >= sizeof(s->codec)) || !in(f->n_faces, -1, MOST_FACES) ||
        !in(f->face_boxes_at, -1e9, 1e9) || !hear_boxes(f, boxes) || !hear_warnings(s, warnings) ||
        !hear_peaks(s, peaks))
        return false;
    snprintf(s->kind, sizeof(s->kind), "%s", kind);
    snprintf(s->codec, sizeof(s->codec), "%s", codec ? codec : "");
    f->duration_ms = duration;
    s->picture = video && picture;
    return true;
}

// When each word is said, if the voice could tell.
static bool hear_speech(struct seat *s, const json_t *m)
{
    json_t *packed = NULL;
    return json_unpack_ex((json_t *)m, NULL, JSON_STRICT, "{s:s, s?:o}", "is", &(const char *){0},
                          "words", &packed) == 0 &&
           (!packed || words_unpack(&s->words, packed));
}

bool seat_hear_asset(struct seat *s, const char *is, const json_t *m)
{
    double progress;
    bool text = s->asset.sha256[0] == '\0';
    if (strcmp(is, "look") == 0) {
        if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT, "{s:s, s:F}", "is", &(const char *){0},
                           "progress", &progress) != 0 ||
            !isfinite(progress))
            return false;
        s->progress = fmin(fmax(progress, 0), 1);
        s->report_new = true;
        return true;
    }
    if (strcmp(is, "cues") == 0)
        return !text && seat_hear_cues(s, m);
    if ((strcmp(is, "facts") == 0 && !text && hear_facts(s, m)) ||
        (strcmp(is, "spoken") == 0 && text && hear_speech(s, m)))
        s->ending = ENDED_WELL;
    else if (strcmp(is, "failed") == 0 && line_read_error(m, &s->why))
        s->ending = ENDED_BADLY;
    else if (strcmp(is, "later") == 0)
        s->ending = ENDED_LATER;
    else if (strcmp(is, "back") == 0)
        s->ending = ENDED_BACK;
    else
        return false;
    return true;
}

// --- writing

static enum kb_code write_facts(struct seat *s, struct store *store, struct kb_error *err)
{
    struct asset_facts *f = &s->facts;
    CLEANUP(kb_freep) char *to = kb_printf("thumbs/%s.jpg", s->asset.sha256);
    f->thumbnail = s->picture && (s->moved || harvest_picture(s, store->folder, to));
    s->moved = f->thumbnail;
    f->kind = s->kind;
    f->codec = s->codec[0] ? s->codec : NULL;
    f->peaks = f->n_peaks > 0 ? s->peaks : NULL;
    for (size_t i = 0; i + 1 < ARRAY_LEN(f->warnings); i++)
        f->warnings[i] = s->warnings[i][0] ? s->warnings[i] : NULL;
    enum kb_code code = KB_OK;
    // Of a file of them the codec says which and in what encoding: "srt GB18030".
    if (s->cues.n > 0)
        code = subtitles_set_file(store, s->asset.id, &s->cues, err);
    return code == KB_OK ? asset_set_facts(store, s->asset.id, f, err) : code;
}

static enum kb_code write_speech(const struct seat *s, struct store *store, struct kb_error *err)
{
    CLEANUP(kb_freep) char *words = s->words.n > 0 ? words_json(&s->words) : NULL;
    CLEANUP(kb_freep) char *name = kb_printf("%s/%s.wav", s->folder, s->file);
    CLEANUP(kb_freep) char *path = kb_printf("%s/%s", store->folder, name);
    if (beneath_size(store->folder, name) <= 0) // a link, for instance
        return kb_fail(err, KB_INTERNAL, _("the speech of '%s' is not there"), s->asset.name);
    // First: with its content it is not "making" any more.
    enum kb_code code = words ? asset_set_words(store, s->asset.id, words, err) : KB_OK;
    return code == KB_OK ? asset_set_content(store, s->asset.id, path, err) : code;
}

// True: *why says that its content is not there any more.
static bool is_gone(const struct seat *s, struct store *store, struct kb_error *why)
{
    CLEANUP(kb_freep) char *path = kb_printf("files/%s", s->asset.sha256);
    struct stat st;
    if (!s->asset.sha256[0] || beneath_stat(store->folder, path, &st) || errno != ENOENT)
        return false;
    *why = (struct kb_error){0};
    kb_fail(why, KB_NOT_FOUND, _("the upload of '%s' is gone: upload it again"), s->asset.name);
    return true;
}

static enum kb_code write_ending(struct seat *s, struct store *store, struct kb_error *err)
{
    switch (s->ending) {
    case ENDED_WELL:
        return s->asset.sha256[0] ? write_facts(s, store, err) : write_speech(s, store, err);
    case ENDED_BADLY:
        is_gone(s, store, &s->why);
        return asset_fail(store, s->asset.id, &s->why, err);
    case ENDED_BACK:
        return asset_give_back(store, s->asset.id, s->worker, err);
    default:
        return KB_OK; // later: its lease runs out
    }
}

enum kb_code seat_write_asset(struct seat *s, struct store *store, struct kb_error *err)
{
    if (!s->ending) {
        if (s->report_new && kb_now_us() - s->report_us >= REPORT_US) {
            asset_tell(store, s->asset.id, s->progress);
            s->report_us = kb_now_us();
            s->report_new = false;
        }
        return KB_OK;
    }
    enum kb_code code = write_ending(s, store, err);
    if (code == KB_UNAVAILABLE || code == KB_NO_SPACE)
        return code;
    if (code != KB_OK && code != KB_NOT_FOUND && s->ending == ENDED_WELL) {
        s->ending = ENDED_BADLY;
        s->why = *err;
        return seat_write_asset(s, store, err);
    }
    if (code != KB_OK && code != KB_NOT_FOUND) // deleted meanwhile
        log_error("%s", err->text);
    harvest_clear(store->folder, s->folder, NULL);
    s->spent_us[is_result(s)] += kb_now_us() - s->given_us;
    seat_drop(s);
    return KB_OK;
}

// --- giving

// Where both wait, users' files and results get as much of the inspector's time each: a film that
// was just chosen does not wait for a hundred results, nor does a job's end for an hour of uploads.
// What nobody waited for while the others had the time is not made up for.
static enum kb_code claim(struct seat *s, struct store *store, struct kb_error *err)
{
    bool results_first = s->spent_us[1] <= s->spent_us[0];
    enum kb_code code = asset_claim(store, s->worker, results_first, &s->asset, err);
    if (code == KB_EOF || (code == KB_OK && is_result(s) != results_first))
        s->spent_us[0] = s->spent_us[1] = 0;
    return code;
}

// What a voice service said lies where uploads do, which the worker cannot reach: a second name in
// its folder, or a copy where disks have no second names.
static enum kb_code lend_pieces(const struct seat *s, const struct store *store,
                                struct kb_error *err)
{
    CLEANUP(kb_freep) char *from = kb_printf("uploads/%s.part", s->asset.id);
    CLEANUP(kb_freep) char *to = kb_printf("%s/%s.pieces", s->folder, s->file);
    struct stat st;
    if (beneath_link(store->folder, from, to))
        return KB_OK;
    int in = beneath_open(store->folder, from, O_RDONLY, 0);
    int out = in >= 0 ? beneath_open(store->folder, to, O_WRONLY | O_CREAT | O_EXCL, 0600) : -1;
    bool ok = out >= 0 && fstat(in, &st) == 0 && file_copy(out, in, st.st_size, NULL);
    int number = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return ok ? KB_OK
              : kb_fail(err, number == ENOSPC ? KB_NO_SPACE : KB_INTERNAL,
                        _("the speech is not whole; make it again"));
}

// How the text is to be spoken, or the pieces that were, into the message.
static enum kb_code add_speech(const struct seat *s, const struct store *store,
                               const struct asset_speech *how, const char *pieces, json_t *m,
                               struct kb_error *err)
{
    json_t *sizes = *pieces ? json_loads(pieces, 0, NULL) : NULL;
    double speed = sizes ? how->tempo : how->speed;
    if (speed > 0)
        json_object_set_new(m, "speed", json_real(speed));
    if (how->has_pause)
        json_object_set_new(m, "pause", json_integer(how->pause_ms));
    if (!sizes)
        return KB_OK;
    json_object_set_new(m, "pieces", sizes);
    return lend_pieces(s, store, err);
}

enum kb_code seat_give_asset(struct seat *s, struct store *store, struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = NULL;
    CLEANUP(kb_freep) char *pieces = NULL;
    struct asset_speech how;
    enum kb_code code = claim(s, store, err);
    if (code == KB_OK && !s->asset.sha256[0])
        code = asset_source(store, s->asset.id, &text, err);
    if (code == KB_OK && text)
        code = asset_speech(store, s->asset.id, &how, &pieces, err);
    if (code != KB_OK)
        return code;
    log_debug("%s looks at '%s', %s, %lld bytes", s->worker, s->asset.name, s->asset.state,
              (long long)s->asset.size_bytes);
    s->has_asset = true;
    s->given_us = kb_now_us();
    kb_random_hex(s->file, FILE_STEM);
    s->words.text = kb_strdup(text);
    json_error_t error = {0};
    json_t *m =
        json_pack_ex(&error, 0, "{s:s, s:s, s:s, s:s*, s:s*, s:s*}", "is", "asset", "file", s->file,
                     "name", s->asset.name, "content", text ? NULL : s->asset.sha256, "text", text,
                     "voice", s->asset.voice[0] ? s->asset.voice : NULL);
    if (m && is_result(s))
        json_object_set_new(m, "result", json_true());
    if (m && text && add_speech(s, store, &how, pieces, m, &s->why) != KB_OK) {
        json_decref(m);
        s->ending = ENDED_BADLY;
        return seat_write_asset(s, store, err);
    }
    bool never = line_is_closed_to(m, &error);
    if (never) // the next worker would get it again, and no other
        kb_fail(&s->why, KB_BAD_INPUT,
                _("the upload cannot be told to a worker: its name is not valid UTF-8, or it is "
                  "too long; upload it under another name"));
    if (never || is_gone(s, store, &s->why)) {
        json_decref(m);
        s->ending = ENDED_BADLY;
        return seat_write_asset(s, store, err);
    }
    s->asks = !line_send(s->line, true, m);
    if (s->asks)
        s->ending = ENDED_BACK; // it is gone, or does not read, or there is no memory
    return KB_OK;
}
