// Backwards playing without keeping the video in memory: the frames are decoded forwards in chunks
// from the last to the first, each chunk held and given out in reverse. A chunk is bounded by
// bytes, so memory does not depend on the video's length; each costs one seek.
#include "lipsync/source.h"

#include <stdlib.h>

#define CHUNK_BYTES (48 << 20)
#define CHUNK_MAX   64

struct source {
    struct source_params p;
    int first, last; // frames of the track that are played
    enum { FORWARD, BACKWARD, FROZEN } direction;
    int next;                  // track frame that comes next
    bool seek;                 // the reader does not stand before it
    int64_t time_us;           // where the next frame begins in the output
    AVFrame *frozen;           // the last frame given, for FROZEN
    AVFrame *chunk[CHUNK_MAX]; // track frames chunk_first … chunk_first + chunk_n - 1
    int chunk_first, chunk_n;
};

// Last frame that begins at or before time_us.
static int frame_at(const struct track *t, int64_t time_us)
{
    int low = 0, high = track_info(t)->n_frames - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (track_pts_us(t, middle) <= time_us)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

struct source *source_create(const struct source_params *p)
{
    struct source *s = kb_alloc(sizeof(*s));
    s->p = *p;
    s->first = p->start_us > 0 ? frame_at(p->track, p->start_us) : 0;
    s->last = track_info(p->track)->n_frames - 1;
    s->next = s->first;
    s->seek = s->first > 0;
    return s;
}

static void drop_chunk(struct source *s)
{
    for (int i = 0; i < s->chunk_n; i++)
        av_frame_free(&s->chunk[i]);
    s->chunk_n = 0;
}

void source_free(struct source **s)
{
    if (!*s)
        return;
    drop_chunk(*s);
    av_frame_free(&(*s)->frozen);
    free(*s);
    *s = NULL;
}

// How long a frame of the video is shown: until the next begins.
static int64_t duration_of(const struct source *s, int frame, const AVFrame *decoded)
{
    const struct track *t = s->p.track;
    if (frame < s->last)
        return track_pts_us(t, frame + 1) - track_pts_us(t, frame);
    if (decoded->pkt_duration > 0)
        return decoded->pkt_duration;
    return frame > 0 ? track_pts_us(t, frame) - track_pts_us(t, frame - 1) : 40000;
}

static enum kb_code read_forward(struct source *s, AVFrame **ret, struct kb_error *err)
{
    if (s->seek) {
        enum kb_code code = reader_seek(s->p.reader, track_pts_us(s->p.track, s->next), err);
        if (code != KB_OK)
            return code;
        s->seek = false;
    }
    return reader_next(s->p.reader, ret, err);
}

// Decode the chunk that ends with track frame s->next.
static enum kb_code fill_chunk(struct source *s, struct kb_error *err)
{
    const struct reader_info *info = reader_info(s->p.reader);
    int64_t frame_bytes = (int64_t)info->width * info->height * 3 / 2;
    int capacity = (int)KB_MIN(KB_MAX(CHUNK_BYTES / KB_MAX(frame_bytes, 1), 4), CHUNK_MAX);
    int end = s->next;

    s->chunk_first = KB_MAX(end - capacity + 1, s->first);
    enum kb_code code = reader_seek(s->p.reader, track_pts_us(s->p.track, s->chunk_first), err);
    while (code == KB_OK && s->chunk_n <= end - s->chunk_first) {
        code = reader_next(s->p.reader, &s->chunk[s->chunk_n], err);
        s->chunk_n += code == KB_OK;
    }
    s->seek = true;
    // A decoder that gives fewer frames this time (a damaged spot) only shortens the way back.
    return code == KB_EOF && s->chunk_n > 0 ? KB_OK : code;
}

static enum kb_code read_backward(struct source *s, AVFrame **ret, struct kb_error *err)
{
    if (s->chunk_n == 0) {
        enum kb_code code = fill_chunk(s, err);
        if (code != KB_OK)
            return code;
        s->next = s->chunk_first + s->chunk_n - 1;
    }
    *ret = TAKE(s->chunk[s->chunk_n - 1]);
    s->chunk_n--;
    return KB_OK;
}

// The video has been shown to one of its ends: what comes next?
static bool turn_round(struct source *s)
{
    int n = s->last - s->first + 1;
    if (s->direction == BACKWARD) { // back at the start; the first frame itself was not repeated
        s->direction = FORWARD;
        s->next = s->first;
        s->seek = true;
        return true;
    }
    if (s->p.loop == LOOP_NONE && !reader_info(s->p.reader)->is_still)
        return false;
    if (n == 1 || s->p.loop == LOOP_FREEZE || s->p.loop == LOOP_NONE) {
        if (!s->frozen)
            return false;
        s->direction = FROZEN;
    } else if (s->p.loop == LOOP_RESTART || n == 2) {
        s->next = s->first;
        s->seek = true;
    } else {
        s->direction = BACKWARD;
        s->next = s->last - 1;
    }
    return true;
}

static enum kb_code give(struct source *s, AVFrame *frame, int track_frame, struct shown_frame *ret)
{
    *ret = (struct shown_frame){.frame = frame,
                                .track_frame = track_frame,
                                .pts_us = s->time_us,
                                .duration_us = duration_of(s, track_frame, frame)};
    s->time_us += ret->duration_us;
    return KB_OK;
}

enum kb_code source_next(struct source *s, struct shown_frame *ret, struct kb_error *err)
{
    if (s->time_us >= s->p.length_us)
        return KB_EOF;
    bool at_end = (s->direction == FORWARD && s->next > s->last) ||
                  (s->direction == BACKWARD && s->next <= s->first);
    if (at_end && !turn_round(s))
        return KB_EOF;
    if (s->direction == FROZEN) {
        AVFrame *again = av_frame_clone(s->frozen);
        return again ? give(s, again, s->last, ret) : kb_no_memory(err);
    }

    AVFrame *frame = NULL;
    enum kb_code code =
        s->direction == FORWARD ? read_forward(s, &frame, err) : read_backward(s, &frame, err);
    if (code == KB_EOF && s->direction == FORWARD && s->next > s->first) {
        // The file ends before the track does: play what there is.
        s->last = s->next - 1;
        return source_next(s, ret, err);
    }
    if (code != KB_OK)
        return code;
    if (s->next == s->last) {
        av_frame_free(&s->frozen);
        s->frozen = av_frame_clone(frame);
    }
    int track_frame = s->next;
    s->next += s->direction == FORWARD ? 1 : -1;
    return give(s, frame, track_frame, ret);
}
