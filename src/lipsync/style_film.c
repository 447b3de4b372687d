// The style of a film: its sound heard, the fit, and the file that keeps it. docs/track-file.md has
// the format.
#include "lipsync/style.h"

#include "base/file.h"
#include "lipsync/sync.h"
#include "media/audio.h"
#include "media/mel.h"
#include "media/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define STYLE_MAGIC   "KBSTYLE"
#define STYLE_VERSION 2
#define PIECE         16384 // samples
#define NUMBER_MAX    100   // of any in the file
#define SURE_MIN      0.5   // of the judge of sync
// From this correlation on the judge is not asked: it knows GRID's people only, and is 0.001 sure
// of 19 s of a studio film whose own sound reaches 0.74. Another's sound reached 0.62 at most.
#define AGREE_SURE 0.7f
#define SPARE_US   1000000 // of the sound beyond the pictures, which may begin late

struct file_header {
    char magic[8];
    uint32_t version, header_size;
    char video_hash[32], listener_hash[32];
    int32_t n_frames, n_faces; // of the track
    uint64_t file_size;
    uint64_t checksum; // XXH3-64 of the file with this field zero
};
_Static_assert(sizeof(struct file_header) == 104 && sizeof(struct style) == 10672,
               "the file format has no gaps");

// --- hearing ---

// The pictures of the track, microseconds.
static int64_t span_us(const struct track *t)
{
    int n = track_info(t)->n_frames;
    return n > 0 ? track_pts_us(t, n - 1) - track_pts_us(t, 0) : 0;
}

// The sound of a film as far as its track goes, the first minutes at most. KB_EOF: there is none
// that could be a speech.
static enum kb_code hear(struct mel **ret, const struct style_film *f, struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *audio = NULL;
    CLEANUP(mel_free) struct mel *mel = mel_create();
    struct audio_params ap = {.cancel = f->cancel};
    int64_t left_us = KB_MIN(span_us(f->track), STYLE_MAX_FILM_S * 1000000LL) + SPARE_US;
    int64_t left = left_us * MEL_RATE_HZ / 1000000;
    float samples[PIECE];
    int n = 0;
    enum kb_code code = audio_open(&audio, f->video, &ap, err);
    if (code == KB_BAD_INPUT)
        return KB_EOF;
    while (code == KB_OK && left > 0) {
        code = audio_read(audio, samples, PIECE, &n, err);
        if (code == KB_OK)
            code = mel_feed(mel, samples, n, err);
        left -= n;
    }
    if (code != KB_OK && code != KB_EOF)
        return code == KB_BAD_INPUT ? KB_EOF : code; // a damaged sound is as good as none
    code = mel_finish(mel, err);
    if (code == KB_OK)
        *ret = TAKE(mel);
    return code == KB_BAD_INPUT ? KB_EOF : code;
}

// A film's sound, what the listener tells of it, and when the first picture is shown.
struct heard {
    struct mel *mel; // NULL: there is none that could be a speech
    struct motion *told;
    int64_t start_us;
};

static void heard_clear(struct heard *h)
{
    mel_free(&h->mel);
    motion_free(&h->told);
}

// KB_EOF as hear().
static enum kb_code listen(struct heard *ret, const struct style_film *f, struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *reader = NULL;
    const struct watch quiet = {.cancel = f->cancel};
    struct reader_params rp = {.cancel = f->cancel};
    enum kb_code code = f->info ? KB_OK : reader_open(&reader, f->video, &rp, err);
    if (code == KB_OK)
        code = hear(&ret->mel, f, err);
    if (code == KB_OK)
        code = motion_run(&ret->told, f->listener, ret->mel, &quiet, err);
    if (code == KB_OK)
        ret->start_us = (f->info ? f->info : reader_info(reader))->start_us;
    return code;
}

// --- the file ---

enum kb_code style_save(const struct style *styles, const struct track *t, const char *hash,
                        const char *path, struct kb_error *err)
{
    const struct track_info *info = track_info(t);
    size_t body = (size_t)info->n_faces * sizeof(*styles);
    struct file_header head = {.magic = STYLE_MAGIC,
                               .version = STYLE_VERSION,
                               .header_size = sizeof(head),
                               .n_frames = info->n_frames,
                               .n_faces = info->n_faces,
                               .file_size = sizeof(head) + body};
    memcpy(head.video_hash, info->video_hash, sizeof(head.video_hash));
    memcpy(head.listener_hash, hash, sizeof(head.listener_hash));
    CLEANUP(kb_freep) uint8_t *data = kb_alloc(sizeof(head) + body);
    memcpy(data, &head, sizeof(head));
    memcpy(data + sizeof(head), styles, body);
    head.checksum = XXH3_64bits(data, sizeof(head) + body);
    memcpy(data, &head, sizeof(head));
    return file_write_cached(path, data, sizeof(head) + body, err);
}

// Every number of a style is one that a fit can give.
static bool style_sane(const struct style *s)
{
    const struct style_map *m = &s->map;
    if (s->verdict <= STYLE_NONE || s->verdict >= STYLE_N_VERDICTS || m->n_shapes < 0 ||
        m->n_shapes > STYLE_SHAPES || m->n_taps < 0 || m->n_taps > STYLE_TAPS)
        return false;
    for (int i = 0; i < STYLE_TAPS; i++)
        if (abs(m->taps[i]) > MOTION_RATE_HZ)
            return false;
    const float *map = &m->gain, *end = (const float *)(m + 1);
    for (const float *x = map; x < end; x++)
        if (!(fabsf(*x) <= NUMBER_MAX))
            return false;
    const float others[] = {
        s->range_low,    s->range_high,  s->agreement,          s->lag_s,
        s->before.error, s->after.error, s->before.correlation, s->after.correlation};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (!(fabsf(others[i]) <= NUMBER_MAX))
            return false;
    return s->speech_s >= 0 && s->speech_s < 1e6f;
}

static bool is_whole(const struct file_map *file, struct file_header *ret)
{
    if (file->size < sizeof(*ret))
        return false;
    memcpy(ret, file->data, sizeof(*ret));
    if (memcmp(ret->magic, STYLE_MAGIC, sizeof(STYLE_MAGIC)) != 0 ||
        ret->version != STYLE_VERSION || ret->header_size != sizeof(*ret) ||
        ret->file_size != file->size || ret->n_faces < 0 || ret->n_faces > TRACK_MAX_FACES ||
        file->size != sizeof(*ret) + (size_t)ret->n_faces * sizeof(struct style))
        return false;
    CLEANUP(kb_freep) uint8_t *copy = kb_alloc(file->size);
    memcpy(copy, file->data, file->size);
    memset(copy + offsetof(struct file_header, checksum), 0, sizeof(ret->checksum));
    return XXH3_64bits(copy, file->size) == ret->checksum;
}

enum kb_code style_load(struct style ret[TRACK_MAX_FACES], const struct track *t, const char *hash,
                        const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map file = {0};
    struct file_header head;
    const struct track_info *info = track_info(t);
    enum kb_code code = file_map(&file, path, err);
    if (code != KB_OK)
        return code;
    if (!is_whole(&file, &head))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is not a whole file of a person's way of speaking; delete it"),
                       path);
    if (memcmp(head.video_hash, info->video_hash, sizeof(head.video_hash)) != 0 ||
        memcmp(head.listener_hash, hash, sizeof(head.listener_hash)) != 0 ||
        head.n_frames != info->n_frames || head.n_faces != info->n_faces)
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' was learnt from another film or with another listener; make it anew "
                         "with koubo preprocess --learn-style"),
                       path);
    const struct style *styles = (const struct style *)(file.data + sizeof(head));
    for (int i = 0; i < head.n_faces; i++)
        if (!style_sane(&styles[i]))
            return kb_fail(err, KB_BAD_INPUT,
                           _("'%s' is not a whole file of a person's way of speaking; delete it"),
                           path);
    memcpy(ret, styles, (size_t)head.n_faces * sizeof(*ret));
    return KB_OK;
}

// --- both ---

static char *file_of(const struct style_film *f)
{
    CLEANUP(kb_freep) char *name = kb_printf("%s.kbs", track_info(f->track)->video_hash);
    return path_join(f->folder, name);
}

static bool find_kept(struct style *ret, const struct style_film *f, const int *faces, int n)
{
    if (!f->folder || track_info(f->track)->covered_us != INT64_MAX)
        return false;
    CLEANUP(kb_freep) struct style *all = kb_alloc(TRACK_MAX_FACES * sizeof(*all));
    CLEANUP(kb_freep) char *path = file_of(f);
    bool found = style_load(all, f->track, motion_model_hash(f->listener), path, NULL) == KB_OK;
    for (int i = 0; i < n && found; i++)
        ret[i] = all[faces[i]];
    return found;
}

// A sound that goes up and down as the lips do, more or less, need not be theirs: the judge of sync
// must agree.
static enum kb_code ask_judge(struct style *s, const struct style_film *f, int face,
                              const struct heard *heard, struct kb_error *err)
{
    CLEANUP(sync_judge_free) struct sync_judge *judge = NULL;
    CLEANUP(kb_freep) struct person *person = kb_alloc(sizeof(*person));
    struct sync_result found = {0};
    enum kb_code code = sync_judge_load(&judge, NULL, 1, err);
    if (code == KB_OK)
        code = person_fit(person, f->track, face, f->cancel, err);
    if (code == KB_OK)
        code = sync_measure(&found, judge, f->track, face, person, heard->mel, heard->start_us,
                            f->cancel, err);
    if (code == KB_OK && found.film.sureness < SURE_MIN) {
        s->verdict = STYLE_DUBBED;
        memset(&s->map, 0, sizeof(s->map));
    }
    sync_result_clear(&found);
    return code;
}

static enum kb_code fit_face(struct style *ret, const struct style_film *f, int face,
                             const struct heard *heard, struct kb_error *err)
{
    static const struct motion nothing;
    struct style_params p = {.track = f->track,
                             .face = face,
                             .told = heard->told ? heard->told : &nothing,
                             .start_us = heard->start_us,
                             .cancel = f->cancel};
    enum kb_code code = style_fit(ret, &p, err);
    if (code == KB_BAD_INPUT) {
        *ret = (struct style){.verdict = STYLE_QUIET};
        return KB_OK;
    }
    bool ask = code == KB_OK && ret->verdict == STYLE_LEARNT && ret->agreement < AGREE_SURE;
    return ask ? ask_judge(ret, f, face, heard, err) : code;
}

static enum kb_code fit_faces(struct style *ret, const struct style_film *f, const int *faces,
                              int n, struct kb_error *err)
{
    CLEANUP(heard_clear) struct heard heard = {0};
    // What is too short whatever is said in it is not heard.
    enum kb_code code =
        span_us(f->track) < STYLE_MIN_SPEECH_S * 1000000LL ? KB_EOF : listen(&heard, f, err);
    if (code != KB_OK && code != KB_EOF)
        return code;
    code = KB_OK;
    for (int i = 0; i < n && code == KB_OK; i++)
        code = fit_face(&ret[i], f, faces[i], &heard, err);
    return code;
}

enum kb_code style_obtain(struct style *ret, const struct style_film *f, const int *faces, int n,
                          struct kb_error *err)
{
    return find_kept(ret, f, faces, n) ? KB_OK : fit_faces(ret, f, faces, n, err);
}

enum kb_code style_learn(struct style ret[TRACK_MAX_FACES], const struct style_film *f,
                         struct kb_error *err)
{
    int faces[TRACK_MAX_FACES];
    for (int i = 0; i < TRACK_MAX_FACES; i++)
        faces[i] = i;
    enum kb_code code = fit_faces(ret, f, faces, track_info(f->track)->n_faces, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *path = file_of(f);
    return style_save(ret, f->track, motion_model_hash(f->listener), path, err);
}
