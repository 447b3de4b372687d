// A film is tracked; what is learnt of it is small and stays in memory until the end.
#include "lab/dataset.h"

#include "base/file.h"
#include "lipsync/motion.h"
#include "media/mel.h"
#include "media/reader.h"
#include "nn/import/import.h"
#include "rig/person.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_FRAMES 25    // of a clip; less teaches nothing
#define MAX_FRAMES 1000  // of a clip; a longer stretch becomes several
#define MAX_FPS    30    // of faster films every second (third, ...) frame is taken
#define STEADY_US  40000 // how far a frame may be from where the film's mean rate puts it
#define N_POINTS   (MOTION_POINTS + 1) // and the chin
#define CHIN       152

// The i-th point of motion.npy, as the track numbers it.
static int motion_point(int i)
{
    return i < MOTION_POINTS ? TRACK_OUTER_FIRST + i : track_point_of(CHIN);
}

// A growing array of floats.
struct numbers {
    float *data;
    size_t n, capacity;
};

struct dataset {
    struct dataset_params params;
    char *folder;
    int64_t n_frames; // in motion.npy
    int n_films;
    struct numbers mel, motion;
    json_t *clips; // each with its "film", until the end
};

static enum kb_code numbers_add(struct numbers *a, const float *data, size_t n,
                                struct kb_error *err)
{
    if (a->n + n > a->capacity) {
        size_t capacity = KB_MAX(a->capacity * 2, a->n + n), bytes;
        if (__builtin_mul_overflow(capacity, sizeof(*data), &bytes))
            return kb_no_memory(err);
        float *grown = realloc(a->data, bytes);
        if (!grown)
            return kb_no_memory(err);
        a->data = grown;
        a->capacity = capacity;
    }
    memcpy(a->data + a->n, data, n * sizeof(*data));
    a->n += n;
    return KB_OK;
}

// Never mix two of them: what is there stays.
static enum kb_code check_folder(const char *folder, struct kb_error *err)
{
    static const char *const names[] = {"index.json", "mel_lips.npz"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(kb_freep) char *path = path_join(folder, names[i]);
        if (file_exists(path))
            return kb_fail(err, KB_BAD_INPUT,
                           _("'%s' holds training data already; choose another folder"), folder);
    }
    return file_make_dirs(folder, err);
}

enum kb_code dataset_create(struct dataset **ret, const struct dataset_params *params,
                            struct kb_error *err)
{
    CLEANUP(dataset_free) struct dataset *d = kb_alloc(sizeof(*d));
    d->params = *params;
    d->folder = kb_strdup(params->folder);
    d->clips = json_array();
    enum kb_code code = check_folder(d->folder, err);
    if (code == KB_OK)
        *ret = TAKE(d);
    return code;
}

// --- which frames ---

// The film that is being added.
struct film {
    const struct dataset_source *source;
    struct track *track;
    struct mel *mel;
    struct reader *reader;
    struct person person;
    int face;
    int step; // every step-th frame is taken
    int tail; // first frame of what is kept for validation; n_frames: nothing is
    double frame_us;
    int64_t mel_row, taken;
};

static void film_clear(struct film *f)
{
    track_free(&f->track);
    mel_free(&f->mel);
    reader_close(&f->reader);
}

// A stretch of frames [first, end) of the track.
struct stretch {
    int first, end;
};

static bool seen(const struct film *f, int frame)
{
    struct posed posed;
    return person_at(&f->person, f->track, f->face, frame, &posed);
}

static bool steady(const struct film *f, int first, int frame)
{
    int64_t at = track_pts_us(f->track, frame) - track_pts_us(f->track, first);
    return fabs((double)at - (frame - first) * f->frame_us) <= STEADY_US;
}

// Where a stretch that begins at from has to end: before what is kept, a second apart from it.
static int limit_of(const struct film *f, int from)
{
    int n = track_info(f->track)->n_frames;
    int end = from < f->tail && f->tail < n ? f->tail - (int)ceil(1e6 / f->frame_us) : n;
    return KB_MIN(end, from + MAX_FRAMES * f->step);
}

// The next clip at or after frame from. False after the last.
static bool next_stretch(const struct film *f, int from, struct stretch *ret)
{
    int n = track_info(f->track)->n_frames, least = MIN_FRAMES * f->step;
    while (from < n) {
        int limit = limit_of(f, from), end = from;
        while (end < limit && seen(f, end) && steady(f, from, end))
            end++;
        if (end - from >= least) {
            *ret = (struct stretch){from, end};
            return true;
        }
        from = end >= limit && from < f->tail && f->tail < n ? f->tail : KB_MAX(end, from + 1);
    }
    return false;
}

// --- what is taken of them ---

static enum kb_code add_motion(struct dataset *d, const struct film *f, int frame,
                               struct kb_error *err)
{
    struct posed posed;
    float motion[N_POINTS][2];
    if (!person_at(&f->person, f->track, f->face, frame, &posed))
        return kb_fail(err, KB_INTERNAL, "frame %d of '%s' has no face", frame, f->source->video);
    for (int i = 0; i < N_POINTS; i++)
        for (int axis = 0; axis < 2; axis++) {
            int point = motion_point(i);
            motion[i][axis] = posed.canonical[point][axis] - f->person.neutral[point][axis];
        }
    return numbers_add(&d->motion, motion[0], N_POINTS * 2, err);
}

// Names are for people: a file name that is no UTF-8 is left out of them.
static char *clip_name(const struct dataset *d, const struct film *f, int first)
{
    json_auto_t *name = json_string(path_name(f->source->video));
    return kb_printf("%d %s#%d", d->n_films + 1, name ? json_string_value(name) : "", first);
}

static enum kb_code add_clip(struct dataset *d, const struct film *f, const struct stretch *s,
                             int64_t first_frame, struct kb_error *err)
{
    CLEANUP(kb_freep) char *name = clip_name(d, f, s->first);
    int64_t n = d->n_frames - first_frame;
    int last = s->first + (int)(n - 1) * f->step;
    int64_t first_us = track_pts_us(f->track, s->first);
    int64_t span_us = track_pts_us(f->track, last) - first_us;
    double lead = (double)(first_us + reader_info(f->reader)->start_us) * MEL_PER_S / 1e6;
    json_t *clip = json_pack("{s:s, s:I, s:I, s:I, s:i, s:f, s:f, s:s, s:s, s:i, s:i}", "name",
                             name, "frame", (json_int_t)first_frame, "n", (json_int_t)n, "mel",
                             (json_int_t)f->mel_row, "mel_n", mel_columns(f->mel), "mel_lead", lead,
                             "fps", (double)(n - 1) * 1e6 / (double)span_us, "split",
                             s->first >= f->tail ? "val" : "train", "group", "own", "cluster", -1,
                             "film", d->n_films);
    return json_array_append_new(d->clips, clip) == 0 ? KB_OK : kb_no_memory(err);
}

static enum kb_code add_stretch(struct dataset *d, struct film *f, const struct stretch *s,
                                struct kb_error *err)
{
    int64_t first = d->n_frames;
    enum kb_code code = KB_OK;
    for (int frame = s->first; frame < s->end && code == KB_OK; frame += f->step) {
        code = add_motion(d, f, frame, err);
        d->n_frames += code == KB_OK;
    }
    f->taken += d->n_frames - first;
    return code == KB_OK ? add_clip(d, f, s, first, err) : code;
}

// --- a film ---

static enum kb_code add_mel(struct dataset *d, struct film *f, struct kb_error *err)
{
    f->mel_row = (int64_t)(d->mel.n / MEL_BANDS);
    enum kb_code code = KB_OK;
    for (int i = 0; i < mel_columns(f->mel) && code == KB_OK; i++) {
        float row[MEL_BANDS];
        for (int k = 0; k < MEL_BANDS; k++)
            row[k] = (mel_column(f->mel, i)[k] + 4) * 63 / 8;
        code = numbers_add(&d->mel, row, MEL_BANDS, err);
    }
    return code;
}

static enum kb_code film_open(struct film *f, struct dataset *d, struct face_models *faces,
                              struct kb_error *err)
{
    const struct dataset_params *p = &d->params;
    const struct watch *watch = &f->source->watch;
    struct reader_params rp = {.threads = KB_MAX(p->threads, 1), .cancel = watch->cancel};
    struct track_params tp = {
        .decoder_threads = KB_MAX(p->threads, 1), .cache_limit = p->track_limit, .watch = *watch};
    enum kb_code code = reader_open(&f->reader, f->source->video, &rp, err);
    if (code == KB_OK)
        code = mel_from_file(&f->mel, f->source->video, false, watch, err);
    tp.film = f->reader;
    if (code == KB_OK)
        code = track_obtain(&f->track, f->source->video, p->track_folder, faces, &tp, NULL, err);
    if (code != KB_OK)
        return code;
    int n = track_info(f->track)->n_frames;
    if (track_info(f->track)->n_faces == 0)
        return kb_fail(err, KB_BAD_INPUT, _("no face was found in '%s'"), f->source->video);
    f->face = track_choose(f->track, p->face, p->face_number, err);
    if (f->face < 0)
        return err ? err->code : KB_NOT_FOUND;
    code = person_fit(&f->person, f->track, f->face, watch->cancel, err);
    if (code != KB_OK)
        return code;
    int64_t span_us = n > 1 ? track_pts_us(f->track, n - 1) - track_pts_us(f->track, 0) : 0;
    f->frame_us = span_us > 0 ? (double)span_us / (n - 1) : 40000;
    f->step = KB_MAX((int)lrint(1e6 / f->frame_us / MAX_FPS), 1);
    f->tail = f->source->alone ? n - n / 10 : n;
    if (f->source->alone && n / 10 < MIN_FRAMES * f->step)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is too short to keep its last tenth for checking, which takes %d "
                         "frames or more; give a longer one or more of them"),
                       f->source->video, 10 * MIN_FRAMES * f->step);
    return KB_OK;
}

enum kb_code dataset_add(struct dataset *d, const struct dataset_source *source,
                         struct face_models *faces, int64_t *ret_frames, struct kb_error *err)
{
    CLEANUP(film_clear) struct film f = {.source = source};
    enum kb_code code = film_open(&f, d, faces, err);
    if (code != KB_OK)
        return code;
    struct stretch s;
    if (!next_stretch(&f, 0, &s))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' shows nowhere a face in %d frames in a row; nothing to learn from"),
                       source->video, MIN_FRAMES * f.step);
    code = add_mel(d, &f, err);
    for (bool more = true; more && code == KB_OK; more = next_stretch(&f, s.end, &s))
        code = add_stretch(d, &f, &s, err);
    if (code != KB_OK)
        return code;
    d->n_films++;
    *ret_frames = f.taken;
    return KB_OK;
}

// --- the end ---

// Which clips are for validation: of a film alone its tail, of several whole films.
static enum kb_code split_clips(struct dataset *d, struct kb_error *err)
{
    size_t n_val = 0, n = json_array_size(d->clips);
    for (size_t i = 0; i < n; i++) {
        json_t *clip = json_array_get(d->clips, i);
        int film = (int)json_integer_value(json_object_get(clip, "film"));
        json_object_del(clip, "film");
        bool last = d->n_films < 10 && film + 1 == d->n_films;
        if (d->n_films > 1 && (last || film % 10 == 9))
            json_object_set_new(clip, "split", json_string("val"));
        n_val += strcmp(json_string_value(json_object_get(clip, "split")), "val") == 0;
    }
    if (n_val > 0 && n_val < n)
        return KB_OK;
    return kb_fail(err, KB_BAD_INPUT,
                   _("there is nothing left to %s; give a longer video or more of them"),
                   n == n_val ? _("train on") : _("check with"));
}

static enum kb_code write_index(struct dataset *d, struct kb_error *err)
{
    json_t *points = json_array();
    for (int i = 0; i < N_POINTS; i++)
        json_array_append_new(points, json_integer(track_point_ids[motion_point(i)]));
    json_t *index =
        json_pack("{s:i, s:o, s:O}", "version", 2, "motion_points", points, "clips", d->clips);
    CLEANUP(kb_freep) char *text = json_dumps(index, JSON_REAL_PRECISION(9));
    json_decref(index);
    if (!text)
        return kb_no_memory(err);
    CLEANUP(kb_freep) char *path = path_join(d->folder, "index.json");
    return file_write_atomic(path, text, strlen(text), err);
}

static enum kb_code write_numbers(const struct dataset *d, const char *name, int n_dims,
                                  const int64_t *dims, const struct numbers *a,
                                  struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(d->folder, name);
    return npy_write(path, n_dims, dims, a->data, err);
}

enum kb_code dataset_finish(struct dataset *d, struct kb_error *err)
{
    if (d->n_frames == 0)
        return kb_fail(err, KB_BAD_INPUT, _("no video gave anything to learn from"));
    int64_t mel_dims[] = {(int64_t)(d->mel.n / MEL_BANDS), MEL_BANDS};
    int64_t motion_dims[] = {d->n_frames, N_POINTS, 2};
    enum kb_code code = split_clips(d, err);
    if (code == KB_OK)
        code = write_numbers(d, "mel.npy", 2, mel_dims, &d->mel, err);
    if (code == KB_OK)
        code = write_numbers(d, "motion.npy", 3, motion_dims, &d->motion, err);
    return code == KB_OK ? write_index(d, err) : code; // without an index there is no data
}

void dataset_free(struct dataset **d)
{
    if (!*d)
        return;
    json_decref((*d)->clips);
    free((*d)->mel.data);
    free((*d)->motion.data);
    free((*d)->folder);
    free(*d);
    *d = NULL;
}
