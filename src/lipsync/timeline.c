// Backwards playing without keeping the video in memory: the frames are decoded forwards in chunks
// from the last to the first, each chunk held and given out in reverse. A chunk is bounded by
// bytes, so memory does not depend on the video's length; each costs one seek.
#include "lipsync/timeline.h"

#include <stdlib.h>

#define CHUNK_BYTES (48 << 20)
#define CHUNK_MAX   64
#define PLAN_MAX    (1 << 22) // frames: 19 hours at 60 a second

// A picture is whole up to WHOLE_US: at 24 and 23.976 a second, also where the container rounds to
// milliseconds. One that is shown for longer is cut into equal pieces of at most PIECE_US.
#define WHOLE_US 45000
#define PIECE_US 40000
#define ROUND_US 2 // of two time stamps

// Which frame comes when: the order alone, without pictures.
struct order {
    const struct track *track;
    enum loop_mode loop;
    bool is_still;
    int64_t last_us;
    int first, last;    // frames of the track that are played
    int64_t skipped;    // pieces of the first that lie before the start
    int64_t skipped_us; // how long those are
    enum { FORWARD, BACKWARD, FROZEN } direction;
    int next;        // track frame that comes next
    bool seek;       // a reader does not stand before it
    int64_t time_us; // where the next frame begins in the output
    int64_t piece;   // of the next frame, is given next
    int64_t number;  // of the pieces that were taken
};

struct timeline {
    struct timeline_params p;
    struct order order;
    AVFrame *frozen;           // the last frame given, for FROZEN
    AVFrame *current;          // the one of which pieces are left
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

static int64_t time_before_last(const struct track *t)
{
    int n = track_info(t)->n_frames;
    return n > 1 ? track_pts_us(t, n - 1) - track_pts_us(t, n - 2) : PIECE_US;
}

// How long a frame of the video is shown: until the next begins.
static int64_t duration_of(const struct order *o, int frame)
{
    const struct track *t = o->track;
    if (frame + 1 < track_info(t)->n_frames)
        return track_pts_us(t, frame + 1) - track_pts_us(t, frame);
    return o->last_us > 0 ? o->last_us : time_before_last(t);
}

static int64_t pieces_of(int64_t duration_us)
{
    return duration_us <= WHOLE_US ? 1 : (duration_us - ROUND_US + PIECE_US - 1) / PIECE_US;
}

// Where in its picture piece k of n begins.
static int64_t offset_of(int64_t duration_us, int64_t k, int64_t n)
{
    return duration_us / n * k + duration_us % n * k / n;
}

// To the first frame, at its first piece that is played: nothing before the start is shown.
static void go_to_first(struct order *o)
{
    o->next = o->first;
    o->piece = o->skipped;
    o->time_us -= o->skipped_us;
}

static struct order order_begin(const struct timeline_params *p)
{
    int first = p->start_us > 0 ? frame_at(p->track, p->start_us) : 0;
    struct order o = {.track = p->track,
                      .loop = p->loop,
                      .is_still = reader_info(p->reader)->is_still,
                      .last_us = p->last_us,
                      .first = first,
                      .last = track_info(p->track)->n_frames - 1,
                      .seek = first > 0};
    int64_t into = p->start_us - track_pts_us(p->track, first), duration = duration_of(&o, first);
    int64_t n = pieces_of(duration);
    if (into > 0 && n > 1) { // the last piece that begins at or before the start
        o.skipped = KB_MIN(av_rescale_rnd(into + 1, n, duration, AV_ROUND_UP), n) - 1;
        o.skipped_us = offset_of(duration, o.skipped, n);
    }
    go_to_first(&o);
    return o;
}

int64_t timeline_begin_us(const struct timeline_params *p)
{
    struct order o = order_begin(p);
    return track_pts_us(p->track, o.first) + o.skipped_us;
}

AVRational timeline_rate(AVRational film)
{
    if (film.num <= 0 || film.den <= 0)
        return (AVRational){25, 1};
    int64_t n = pieces_of(av_rescale(film.den, 1000000, film.num));
    AVRational rate;
    av_reduce(&rate.num, &rate.den, film.num * n, film.den, INT32_MAX);
    return rate;
}

enum kb_code timeline_measure(struct timeline_params *p, struct kb_error *err)
{
    const struct track *t = p->track;
    const struct reader_info *info = reader_info(p->reader);
    p->last_us = track_info(t)->covered_us == INT64_MAX ? info->last_us : 0;
    int64_t last = track_pts_us(t, track_info(t)->n_frames - 1);
    int64_t to_last = last - timeline_begin_us(p);
    bool within_last = p->start_us > last; // where in it, only its length tells
    if (p->last_us > 0 || info->is_still ||
        (!within_last && to_last + KB_MIN(time_before_last(t), PIECE_US) >= p->length_us))
        return KB_OK;
    CLEANUP(av_frame_free) AVFrame *frame = NULL;
    enum kb_code code = reader_seek(p->reader, last, err);
    if (code == KB_OK)
        code = reader_next(p->reader, &frame, err);
    if (code == KB_OK && frame->pts == last)
        p->last_us = FRAME_DURATION(frame);
    return code == KB_EOF ? KB_OK : code; // a damaged spot: it is not there this time
}

static void drop_chunk(struct timeline *s)
{
    for (int i = 0; i < s->chunk_n; i++)
        av_frame_free(&s->chunk[i]);
    s->chunk_n = 0;
}

void timeline_free(struct timeline **s)
{
    if (!*s)
        return;
    drop_chunk(*s);
    av_frame_free(&(*s)->frozen);
    av_frame_free(&(*s)->current);
    free(*s);
    *s = NULL;
}

static enum kb_code read_forward(struct timeline *s, AVFrame **ret, struct kb_error *err)
{
    if (s->order.seek) {
        enum kb_code code = reader_seek(s->p.reader, track_pts_us(s->p.track, s->order.next), err);
        if (code != KB_OK)
            return code;
        s->order.seek = false;
    }
    return reader_next(s->p.reader, ret, err);
}

// Decode the chunk that ends with track frame s->order.next.
static enum kb_code fill_chunk(struct timeline *s, struct kb_error *err)
{
    const struct reader_info *info = reader_info(s->p.reader);
    int64_t frame_bytes = (int64_t)info->width * info->height * 3 / 2;
    if (info->deep) // carries its ten bits, two bytes each
        frame_bytes *= 3;
    int capacity = (int)KB_MIN(KB_MAX(CHUNK_BYTES / KB_MAX(frame_bytes, 1), 4), CHUNK_MAX);
    int end = s->order.next;

    // The first frame is not among them: it comes next time forwards.
    s->chunk_first = KB_MAX(end - capacity + 1, s->order.first + 1);
    enum kb_code code = reader_seek(s->p.reader, track_pts_us(s->p.track, s->chunk_first), err);
    while (code == KB_OK && s->chunk_n <= end - s->chunk_first) {
        code = reader_next(s->p.reader, &s->chunk[s->chunk_n], err);
        s->chunk_n += code == KB_OK;
    }
    s->order.seek = true;
    // A decoder that gives fewer frames this time (a damaged spot) only shortens the way back.
    return code == KB_EOF && s->chunk_n > 0 ? KB_OK : code;
}

static enum kb_code read_backward(struct timeline *s, AVFrame **ret, struct kb_error *err)
{
    if (s->chunk_n == 0) {
        enum kb_code code = fill_chunk(s, err);
        if (code != KB_OK)
            return code;
        s->order.next = s->chunk_first + s->chunk_n - 1;
    }
    *ret = TAKE(s->chunk[s->chunk_n - 1]);
    s->chunk_n--;
    return KB_OK;
}

// The video has been shown to one of its ends: what comes next? False: nothing.
static bool turn_round(struct order *o)
{
    int n = o->last - o->first + 1;
    if (o->direction == BACKWARD) { // back at the start; the first frame itself was not repeated
        o->direction = FORWARD;
        go_to_first(o);
        o->seek = true;
        return true;
    }
    if (o->loop == LOOP_NONE && !o->is_still)
        return false;
    if (n == 1 || o->loop == LOOP_FREEZE || o->loop == LOOP_NONE) {
        o->direction = FROZEN;
    } else if (o->loop == LOOP_RESTART || n == 2) {
        go_to_first(o);
        o->seek = true;
    } else {
        o->direction = BACKWARD;
        o->next = o->last - 1;
    }
    return true;
}

// Turn where the video ends. False: the order ends here.
static bool order_ready(struct order *o)
{
    bool at_end = (o->direction == FORWARD && o->next > o->last) ||
                  (o->direction == BACKWARD && o->next <= o->first);
    return o->piece > 0 || !at_end || turn_round(o);
}

// Where in the output piece k of n of the next frame begins.
static int64_t piece_begin(const struct order *o, int64_t duration_us, int64_t k, int64_t n)
{
    return o->time_us + offset_of(duration_us, k, n);
}

// Where the next piece begins, if there is one.
static int64_t order_time(const struct order *o)
{
    if (o->piece == 0)
        return o->time_us;
    int64_t duration = duration_of(o, o->direction == FROZEN ? o->last : o->next);
    return piece_begin(o, duration, o->piece, pieces_of(duration));
}

// The piece of a frame that is shown now; the order moves on.
static int order_take(struct order *o, int64_t *ret_pts_us, int64_t *ret_duration_us)
{
    int frame = o->direction == FROZEN ? o->last : o->next;
    int64_t duration = duration_of(o, frame), n = pieces_of(duration);
    *ret_pts_us = piece_begin(o, duration, o->piece, n);
    *ret_duration_us = piece_begin(o, duration, o->piece + 1, n) - *ret_pts_us;
    o->number++;
    if (++o->piece < n)
        return frame;
    o->piece = 0;
    o->time_us += duration;
    o->next += o->direction == FORWARD ? 1 : o->direction == BACKWARD ? -1 : 0;
    return frame;
}

// Passes over whole pictures that end before from_us. One that may be frozen later is read.
static void order_skip(struct order *o, int64_t from_us)
{
    bool freezes = o->is_still || o->loop == LOOP_FREEZE || o->loop == LOOP_NONE;
    int64_t pts, duration;
    while (order_time(o) < from_us && order_ready(o) && o->direction != FROZEN) {
        if (o->next == o->last && (freezes || o->first == o->last))
            return;
        if (o->time_us + duration_of(o, o->next) > from_us)
            return;
        bool forward = o->direction == FORWARD;
        do
            order_take(o, &pts, &duration);
        while (o->piece > 0);
        o->seek = o->seek || forward;
    }
}

int64_t timeline_shown_us(const struct timeline_params *p, int64_t time_us)
{
    struct order o = order_begin(p);
    int64_t pts = 0, duration = 0;
    order_skip(&o, time_us);
    while (pts + duration <= time_us && order_ready(&o))
        order_take(&o, &pts, &duration);
    return KB_MIN(pts, time_us);
}

int64_t timeline_end_us(const struct timeline_params *p)
{
    struct order o = order_begin(p);
    int64_t n = 0, pts, duration, end = 0;
    for (; n < PLAN_MAX && order_time(&o) < p->length_us && order_ready(&o); n++) {
        order_take(&o, &pts, &duration);
        end = pts + duration;
    }
    return end;
}

int64_t timeline_count(const struct timeline_params *p)
{
    struct order o = order_begin(p);
    int64_t n = 0, pts, duration;
    order_skip(&o, p->from_us);
    while (n < PLAN_MAX && order_time(&o) < p->length_us && order_ready(&o)) {
        order_take(&o, &pts, &duration);
        n += pts + duration > p->from_us;
    }
    return n;
}

enum kb_code timeline_plan(const struct timeline_params *p, struct planned_frame **ret, int *ret_n,
                           struct kb_error *err)
{
    struct order o = order_begin(p);
    CLEANUP(kb_freep) struct planned_frame *plan = NULL;
    int n = 0, capacity = 0;
    while (order_time(&o) < p->length_us && order_ready(&o)) {
        if (n == PLAN_MAX)
            return kb_fail(err, KB_BAD_INPUT,
                           _("the speech would need more than %d frames of this video: its frames "
                             "follow each other within microseconds; convert it to a usual frame "
                             "rate"),
                           PLAN_MAX);
        if (n == capacity) {
            capacity = KB_MAX(capacity * 2, 1024);
            void *grown = realloc(plan, (size_t)capacity * sizeof(*plan));
            if (!grown)
                return kb_no_memory(err);
            plan = grown;
        }
        int64_t picture_us = o.time_us, duration;
        plan[n].track_frame = order_take(&o, &plan[n].pts_us, &duration);
        plan[n].offset_us = plan[n].pts_us - picture_us;
        n++;
    }
    *ret = TAKE(plan);
    *ret_n = n;
    return KB_OK;
}

struct timeline *timeline_create(const struct timeline_params *p)
{
    struct timeline *s = kb_alloc(sizeof(*s));
    s->p = *p;
    s->order = order_begin(p);
    order_skip(&s->order, p->from_us);
    return s;
}

// The next frame of the film, as the order has it.
static enum kb_code read_next(struct timeline *s, AVFrame **ret, struct kb_error *err)
{
    struct order *o = &s->order;
    if (o->direction == FROZEN) {
        *ret = s->frozen ? av_frame_clone(s->frozen) : NULL;
        return *ret ? KB_OK : s->frozen ? kb_no_memory(err) : KB_EOF;
    }
    enum kb_code code =
        o->direction == FORWARD ? read_forward(s, ret, err) : read_backward(s, ret, err);
    if (code == KB_OK && o->next == o->last) {
        av_frame_free(&s->frozen);
        s->frozen = av_frame_clone(*ret);
    }
    return code;
}

static enum kb_code next_piece(struct timeline *s, struct shown_frame *ret, struct kb_error *err)
{
    struct order *o = &s->order;
    if (order_time(o) >= s->p.length_us || !order_ready(o))
        return KB_EOF;
    AVFrame *frame = NULL;
    if (!s->current) {
        enum kb_code code = read_next(s, &frame, err);
        if (code == KB_EOF && o->direction == FORWARD && o->next > o->first) {
            // The file ends before the track does: play what there is.
            o->last = o->next - 1;
            return next_piece(s, ret, err);
        }
        if (code != KB_OK)
            return code;
    } else {
        frame = TAKE(s->current);
    }
    ret->number = o->number;
    ret->track_frame = order_take(o, &ret->pts_us, &ret->duration_us);
    ret->frame = frame;
    if (o->piece > 0 && !(s->current = av_frame_clone(frame))) {
        av_frame_free(&ret->frame);
        return kb_no_memory(err);
    }
    return KB_OK;
}

enum kb_code timeline_next(struct timeline *s, struct shown_frame *ret, struct kb_error *err)
{
    enum kb_code code = next_piece(s, ret, err);
    while (code == KB_OK && ret->pts_us + ret->duration_us <= s->p.from_us) {
        av_frame_free(&ret->frame);
        code = next_piece(s, ret, err);
    }
    return code;
}

int64_t timeline_number(const struct timeline *s)
{
    return s->order.number;
}

bool timeline_is_at(struct timeline *s, int track_frame)
{
    struct order *o = &s->order;
    return !s->current && order_time(o) < s->p.length_us && order_ready(o) &&
           o->direction == FORWARD && o->piece == 0 && o->next == track_frame;
}

int64_t timeline_pass(struct timeline *s, int64_t *ret_pts_us, int64_t *ret_duration_us)
{
    struct order *o = &s->order;
    int64_t n = 1, pts, duration;
    order_take(o, ret_pts_us, ret_duration_us);
    for (; o->piece > 0 && order_time(o) < s->p.length_us; n++) {
        order_take(o, &pts, &duration);
        *ret_duration_us += duration;
    }
    o->seek = true;
    return n;
}
