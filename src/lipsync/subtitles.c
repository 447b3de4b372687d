#include "lipsync/subtitles.h"

#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "lipsync/spoken.h"
#include "media/cues.h"
#include "media/subtitle_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Where a subtitle is shown: the frames' order tells. at: which was shown last, to begin from.
static const struct subtitle *shown_at(const struct subtitle_track *t, int64_t us)
{
    const struct subtitle *best = NULL;
    size_t low = 0, high = t->n; // the first that begins behind us
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->at[middle].start_us <= us)
            low = middle + 1;
        else
            high = middle;
    }
    // Of those before, the last that is not over; a few of them may lie over each other.
    for (size_t i = low; i-- > 0 && low - i <= 8 && !best;)
        if (us < t->at[i].end_us)
            best = &t->at[i];
    return best;
}

static int by_start(const void *a, const void *b)
{
    int64_t x = ((const struct subtitle *)a)->start_us, y = ((const struct subtitle *)b)->start_us;
    return (x > y) - (x < y);
}

static void place_track(struct subtitle_track *ret, struct subtitle_track *from,
                        const struct track *track, const struct planned_frame *frames, int n,
                        int64_t length_us)
{
    qsort(from->at, from->n, sizeof(*from->at), by_start);
    const struct subtitle *last = NULL;
    int64_t since = 0;
    for (int i = 0; i <= n; i++) {
        bool ends = i == n;
        // A picture is gone through forwards even where the film runs backwards.
        const struct subtitle *s =
            ends ? NULL
                 : shown_at(from, track_pts_us(track, frames[i].track_frame) + frames[i].offset_us);
        if (s == last)
            continue;
        int64_t now = ends ? length_us : frames[i].pts_us;
        if (last && now > since)
            subtitle_add(ret, since, now, last->text);
        last = s;
        since = now;
    }
}

enum kb_code subtitles_place(struct extras *e, const struct timeline_params *source,
                             struct kb_error *err)
{
    struct planned_frame *frames = NULL;
    int n = 0;
    if (e->n_tracks == 0)
        return KB_OK;
    enum kb_code code = timeline_plan(source, &frames, &n, err);
    if (code != KB_OK)
        return code;
    struct extras placed = *e;
    placed.n_tracks = 0;
    for (int i = 0; i < e->n_tracks; i++) {
        struct subtitle_track *to = &placed.tracks[placed.n_tracks];
        *to = (struct subtitle_track){0};
        memcpy(to->language, e->tracks[i].language, sizeof(to->language));
        if (e->tracks[i].n > 0)
            place_track(to, &e->tracks[i], source->track, frames, n, source->length_us);
        placed.n_tracks += to->n > 0;
    }
    free(frames);
    extras_clear(e);
    *e = placed;
    return KB_OK;
}

// --- those that were asked for

enum kb_code subtitles_load(struct subtitles *ret, const struct captions_params *p,
                            const struct mel *mel, const struct cancel *cancel,
                            struct kb_error *err)
{
    enum kb_code code = KB_OK;
    if (!captions_wanted(p))
        return KB_OK;
    bool align = !p->file && !p->cues && !(p->words && p->words->n > 0);
    if (align)
        code = spoken_align(&ret->words, p->text, mel, cancel, err);
    if (code == KB_OK)
        code = captions_load(&ret->captions, p, align ? &ret->words : NULL, err);
    const struct subtitle_file *file = code == KB_OK ? captions_file(ret->captions) : NULL;
    if (file)
        log_info(_("%zu subtitles were read, as %s in %s"), file->track.n, file->format,
                 file->encoding);
    if (file && file->n_skipped > 0)
        log_warn(_("%d subtitles have no time or nothing to show, and are left out"),
                 file->n_skipped);
    return code;
}

void subtitles_clear(struct subtitles *s)
{
    captions_free(&s->captions);
    words_free(&s->words);
}

// What players call the track: told by its letters, where they tell. ISO 639-2.
static const char *language_of(const struct subtitle_track *t)
{
    size_t han = 0, kana = 0, hangul = 0, all = 0;
    for (size_t i = 0; i < t->n; i++) {
        const char *c = t->at[i].text;
        for (int length; *c; c += length) {
            int32_t letter = utf8_next(c, &length);
            han += letter >= 0x3400 && letter <= 0x9fff;
            kana += letter >= 0x3041 && letter <= 0x30ff;
            hangul += letter >= 0xac00 && letter <= 0xd7a3;
            all += letter > ' ';
        }
    }
    return kana * 8 > all ? "jpn" : hangul * 4 > all ? "kor" : han * 4 > all ? "chi" : "";
}

void subtitles_give(const struct subtitles *s, int64_t before_us, struct subtitle_track *ret)
{
    const struct subtitle_track *t = s->captions ? captions_track(s->captions) : NULL;
    for (size_t i = 0; t && i < t->n; i++)
        subtitle_add(ret, t->at[i].start_us + before_us, t->at[i].end_us + before_us,
                     t->at[i].text);
}

char *subtitles_tag(const struct subtitles *s, int64_t before_us)
{
    CLEANUP(subtitle_track_clear) struct subtitle_track all = {0};
    subtitles_give(s, before_us, &all);
    return cues_tag(&all, s->captions && captions_as(s->captions) & CAPTIONS_BURN);
}

void subtitles_stream(const struct subtitles *s, int64_t before_us, struct extras *e)
{
    if (!s->captions)
        return;
    for (int i = 0; i < e->n_tracks; i++)
        subtitle_track_clear(&e->tracks[i]);
    e->n_tracks = 0;
    const struct subtitle_track *t = captions_track(s->captions);
    if (!(captions_as(s->captions) & CAPTIONS_STREAM) || t->n == 0)
        return;
    struct subtitle_track *to = &e->tracks[e->n_tracks++];
    snprintf(to->language, sizeof(to->language), "%s", language_of(t));
    subtitles_give(s, before_us, to);
}

char *subtitles_path(const char *output)
{
    CLEANUP(kb_freep) char *folder = path_folder(output);
    CLEANUP(kb_freep) char *stem = path_stem(output);
    CLEANUP(kb_freep) char *name = kb_printf("%s.srt", stem);
    return path_join(folder, name);
}

enum kb_code subtitles_write(const struct subtitles *s, int64_t before_us, const char *output,
                             struct kb_error *err)
{
    if (!s->captions || !(captions_as(s->captions) & CAPTIONS_SRT))
        return KB_OK;
    CLEANUP(text_free) struct text srt = {0};
    CLEANUP(kb_freep) char *path = subtitles_path(output);
    subtitles_to_srt(&srt, captions_track(s->captions), before_us);
    return file_write_atomic(path, text_get(&srt), srt.size, err);
}

void subtitles_shift(struct extras *e, int64_t by_us)
{
    for (int t = 0; t < e->n_tracks; t++)
        for (size_t i = 0; i < e->tracks[t].n; i++) {
            e->tracks[t].at[i].start_us += by_us;
            e->tracks[t].at[i].end_us += by_us;
        }
}
