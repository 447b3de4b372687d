#include "lipsync/kept.h"

#include "lipsync/speech.h"

#include <stdlib.h>
#include <string.h>

struct dub_kept *dub_kept_create(void)
{
    return kb_alloc(sizeof(struct dub_kept));
}

// --- letting go, from what depends on most to what depends on least

static void drop_frame(struct dub_kept *k)
{
    kb_freep(&k->frame_key);
    av_frame_free(&k->frame.frame);
}

static void drop_reader(struct dub_kept *k)
{
    drop_frame(k);
    kb_freep(&k->reader_key);
    reader_close(&k->reader);
}

static void drop_people(struct dub_kept *k)
{
    kb_freep(&k->people_key);
    rigging_clear(&k->people);
    k->people = (struct rigging){0};
}

static void drop_cast(struct dub_kept *k)
{
    drop_people(k);
    kb_freep(&k->cast_key);
    cast_free(&k->cast);
}

static void drop_track(struct dub_kept *k)
{
    drop_cast(k);
    drop_frame(k);
    kb_freep(&k->film_key);
    track_free(&k->track);
}

static void drop_speech(struct dub_kept *k)
{
    drop_people(k); // their motion is told of it
    kb_freep(&k->speech_key);
    mel_free(&k->mel);
    motion_free(&k->motion);
}

void dub_kept_free(struct dub_kept **kept)
{
    struct dub_kept *k = TAKE(*kept);
    if (!k)
        return;
    drop_reader(k);
    drop_track(k);
    drop_speech(k);
    free(k);
}

// --- what is there

bool kept_is(char **key, char *now)
{
    bool same = *key && now && strcmp(*key, now) == 0;
    free(*key);
    *key = now;
    return same;
}

enum kb_code kept_hear(struct dub_kept *k, struct engine *e, const struct dub_params *p,
                       const struct mel **ret_mel, struct kb_error *err)
{
    const struct watch quiet = {.cancel = p->watch.cancel};
    CLEANUP(kb_freep) char *key = kb_printf("%s\n%d", p->audio, p->loudnorm);
    enum kb_code code = KB_OK;
    if (!k->speech_key || strcmp(k->speech_key, key) != 0)
        drop_speech(k);
    if (!p->mel && !k->mel)
        code = speech_hear(&k->mel, p->audio, p->audio, p->loudnorm, &p->watch, err);
    *ret_mel = p->mel ? p->mel : k->mel;
    if (code == KB_OK && e->motion && !k->motion)
        code = motion_run(&k->motion, e->motion, *ret_mel, &quiet, err);
    if (code == KB_OK)
        kept_is(&k->speech_key, TAKE(key));
    return code;
}

enum kb_code kept_track(struct dub_kept *k, struct face_models *faces, const struct dub_params *p,
                        struct reader *film, int64_t limit_us, bool *ret_cached,
                        struct kb_error *err)
{
    bool deep = reader_info(film)->deep;
    CLEANUP(kb_freep)
    char *key = kb_printf("%s\n%d %lld", p->video, deep, (long long)limit_us);
    *ret_cached = k->film_key && strcmp(k->film_key, key) == 0;
    if (*ret_cached)
        return KB_OK;
    drop_track(k);
    struct track_params tp = {.video_hash = p->video_key,
                              .limit_us = limit_us,
                              .look = p->look_us > 0,
                              .film = film,
                              .decoder_threads = engine_threads(p->threads),
                              .cache_limit = p->track_cache_limit,
                              .deep = deep,
                              .watch = p->watch};
    enum kb_code code =
        track_obtain(&k->track, p->video, p->track_folder, faces, &tp, ret_cached, err);
    if (code == KB_OK)
        kept_is(&k->film_key, TAKE(key));
    return code;
}

bool kept_wants_cast(struct dub_kept *k, const struct dub_params *p)
{
    CLEANUP(kb_freep)
    char *key = kb_printf("%d %d %.6f %.6f %.6f", p->face, p->face_number, p->face_at[0],
                          p->face_at[1], p->face_at[2]);
    if (k->cast && k->cast_key && strcmp(k->cast_key, key) == 0)
        return false;
    drop_cast(k);
    kept_is(&k->cast_key, TAKE(key));
    return true;
}

bool kept_wants_people(struct dub_kept *k, const struct dub_params *p)
{
    CLEANUP(kb_freep)
    char *key = kb_printf("%s\n%s\n%d", p->mouth_from ? p->mouth_from : "",
                          p->style_from ? p->style_from : "", p->no_style);
    // What leads them was painted with all the other options.
    if (!p->lead && k->people_key && strcmp(k->people_key, key) == 0)
        return false;
    drop_people(k);
    if (!p->lead)
        kept_is(&k->people_key, TAKE(key));
    return true;
}

// --- stills

enum kb_code kept_open(struct dub_kept *k, const struct dub_params *p, struct kb_error *err)
{
    struct reader_params rp = {.height = p->height,
                               .denoise = p->denoise,
                               .deep = dub_is_deep(p),
                               .threads = engine_threads(p->threads),
                               .cancel = p->watch.cancel};
    CLEANUP(kb_freep)
    char *key = kb_printf("%s\n%d %d %d", p->video, p->height, p->denoise, dub_is_deep(p));
    if (k->reader_key && strcmp(k->reader_key, key) == 0)
        return KB_OK;
    drop_reader(k);
    enum kb_code code = reader_open(&k->reader, p->video, &rp, err);
    if (code == KB_OK)
        kept_is(&k->reader_key, TAKE(key));
    return code;
}

enum kb_code kept_frame(struct dub_kept *k, const struct dub_params *p,
                        const struct timeline_params *source, struct kb_error *err)
{
    CLEANUP(kb_freep)
    char *key =
        kb_printf("%d %lld %lld", p->loop, (long long)p->start_us, (long long)source->from_us);
    if (k->frame_key && strcmp(k->frame_key, key) == 0)
        return KB_OK;
    drop_frame(k);
    struct reader_params rp = {.height = p->height,
                               .denoise = p->denoise,
                               .deep = dub_is_deep(p),
                               .threads = engine_threads(p->threads),
                               .cancel = p->watch.cancel};
    enum kb_code code = reader_restart(k->reader, &rp, err);
    if (code != KB_OK) {
        drop_reader(k); // nothing else can be done with it
        return code;
    }
    struct timeline *t = timeline_create(source);
    code = timeline_next(t, &k->frame, err);
    timeline_free(&t);
    if (code == KB_EOF)
        return kb_fail(err, KB_BAD_INPUT, _("the video gave no picture to work on"));
    if (code == KB_OK)
        kept_is(&k->frame_key, TAKE(key));
    return code;
}
