#include "lipsync/subtitles.h"

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
