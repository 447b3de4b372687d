// What is passed at once is what a player decodes before it shows more: a picture and those that
// come before it though they are decoded after it. The film's packets are read in a demuxer of its
// own, a second at a time: a stretch that is found shorter than that is not worth its two seams,
// and is decoded.
#include "lipsync/pass.h"

#include <assert.h>
#include <stdlib.h>

#define LEAST_US     1000000 // of a stretch
#define KEYLESS_MOST 8       // stretches, before the film is taken to have no such pictures
#define MAX_HELD     64      // groups of pictures that are read before the first is passed

// Pictures one after another that nothing is drawn into.
struct stretch {
    int frame, end; // of the track
    int64_t number; // of the first one's first piece in the plan
};

struct pass {
    struct timeline_params source;
    struct original *film;
    struct planned_frame *plan;
    int n_plan;
    struct stretch *stretches; // those that are still to come, from `next` on
    int n_stretches, next;
    enum { AHEAD, AT_KEY, PASSING } state; // of the next one: its key not looked for; known; passed
    AVPacket *packet;                      // read already: the next one, or NULL
    int64_t packet_us;
    struct passed *held[MAX_HELD];
    int n_held, i_held;
    int n_keyless; // stretches one after another without a picture to begin with
};

void passed_free(struct passed **p)
{
    for (int i = 0; *p && i < (*p)->n; i++)
        av_packet_free(&(*p)->pictures[i].packet);
    free(TAKE(*p));
}

static void drop_held(struct pass *p)
{
    for (; p->i_held < p->n_held; p->i_held++)
        passed_free(&p->held[p->i_held]);
    p->i_held = p->n_held = 0;
    av_packet_free(&p->packet);
}

void pass_free(struct pass **p)
{
    if (!*p)
        return;
    drop_held(*p);
    original_close(&(*p)->film);
    free((*p)->plan);
    free((*p)->stretches);
    free(*p);
    *p = NULL;
}

const struct original *pass_original(const struct pass *p)
{
    return p->film;
}

// --- where nothing is drawn ---

// After place i of the plan, does the film go on there with the next piece or picture?
static bool goes_on(const struct planned_frame *plan, int i)
{
    const struct planned_frame *a = &plan[i], *b = &plan[i + 1];
    return b->offset_us > 0 ? b->track_frame == a->track_frame
                            : b->track_frame == a->track_frame + 1;
}

static int64_t length_of(const struct track *t, int frame, int end)
{
    int last = KB_MIN(end, track_info(t)->n_frames - 1);
    return track_pts_us(t, last) - track_pts_us(t, frame);
}

static void add_stretch(struct pass *p, struct stretch s)
{
    if (length_of(p->source.track, s.frame, s.end) < LEAST_US)
        return;
    p->stretches = realloc(p->stretches, (size_t)(p->n_stretches + 1) * sizeof(*p->stretches));
    if (!p->stretches)
        abort();
    p->stretches[p->n_stretches++] = s;
}

static void find_stretches(struct pass *p, pass_drawn_fn *is_drawn, const void *opaque)
{
    const struct planned_frame *plan = p->plan;
    int n = p->n_plan, last = track_info(p->source.track)->n_frames - 1;
    for (int i = 0, end; i < n; i = end) {
        end = i + 1;
        if (plan[i].offset_us > 0 || is_drawn(opaque, &plan[i], i))
            continue;
        while (end < n && goes_on(plan, end - 1) && !is_drawn(opaque, &plan[end], end))
            end++;
        int beyond = plan[end - 1].track_frame + 1;
        // Of the last picture another piece is drawn into, or it comes again and must be read.
        if (end < n && (plan[end].offset_us > 0 || beyond > last))
            beyond--;
        add_stretch(p, (struct stretch){plan[i].track_frame, beyond, i});
    }
}

enum kb_code pass_create(struct pass **ret, const struct timeline_params *source,
                         pass_drawn_fn *is_drawn, const void *opaque, const struct cancel *cancel,
                         struct kb_error *err)
{
    CLEANUP(pass_free) struct pass *p = kb_alloc(sizeof(*p));
    p->source = *source;
    *ret = NULL;
    if (reader_info(source->reader)->is_still)
        return KB_OK;
    struct kb_error long_one = {0};
    enum kb_code code = timeline_plan(source, &p->plan, &p->n_plan, &long_one);
    if (code == KB_BAD_INPUT) // more pictures than a plan may have: all are encoded
        return KB_OK;
    if (code != KB_OK) {
        *err = long_one;
        return code;
    }
    find_stretches(p, is_drawn, opaque);
    if (p->n_stretches == 0)
        return KB_OK;
    code = original_open(&p->film, source->reader, cancel, err);
    if (code == KB_OK && p->film)
        *ret = TAKE(p);
    return code;
}

// --- what is passed ---

// The picture of the track that begins at that time exactly, or -1.
static int frame_of(const struct track *t, int64_t pts_us)
{
    int low = 0, high = track_info(t)->n_frames - 1;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (track_pts_us(t, middle) < pts_us)
            low = middle + 1;
        else
            high = middle;
    }
    return track_pts_us(t, low) == pts_us ? low : -1;
}

// The packet that comes next, which stays there. KB_EOF: none that can be passed.
static enum kb_code look(struct pass *p, struct kb_error *err)
{
    if (p->packet)
        return KB_OK;
    CLEANUP(av_packet_free) AVPacket *packet = av_packet_alloc();
    if (!packet)
        return kb_no_memory(err);
    enum kb_code code = original_next(p->film, packet, &p->packet_us, err);
    if (code == KB_OK)
        p->packet = TAKE(packet);
    return code;
}

// From the beginning of the stretch to its first picture before which none is needed: it begins
// there, if it is long enough then. KB_EOF: it is not.
static enum kb_code find_key(struct pass *p, struct stretch *s, struct kb_error *err)
{
    const struct track *t = p->source.track;
    if (!original_seek(p->film, track_pts_us(t, s->frame)))
        return KB_EOF;
    enum kb_code code;
    while ((code = look(p, err)) == KB_OK) {
        int frame = frame_of(t, p->packet_us);
        if (p->packet->flags & AV_PKT_FLAG_KEY && frame >= s->frame) {
            if (length_of(t, frame, s->end) < LEAST_US)
                return KB_EOF;
            while (p->plan[s->number].track_frame != frame)
                s->number++;
            s->frame = frame;
            return KB_OK;
        }
        if (p->packet_us >= track_pts_us(t, s->end - 1))
            return KB_EOF;
        av_packet_free(&p->packet);
    }
    return code;
}

// Is each decoded in time to be shown in its order, as the film promises?
static bool is_in_time(const int *frames, int n, int first, int order)
{
    for (int i = 0; i < n; i++)
        if (frames[i] - first < i - order)
            return false;
    return true;
}

// The next pictures, from `frame` on, up to `end`: as few as are shown one after another. KB_EOF:
// there are none.
static enum kb_code read_group(struct pass *p, int frame, int end, struct passed **ret,
                               struct kb_error *err)
{
    CLEANUP(passed_free) struct passed *group = kb_alloc(sizeof(*group));
    int frames[MAX_PASSED] = {0}, highest = -1, order = original_sps(p->film)->n_reorder;
    enum kb_code code = KB_OK;
    while (group->n < MAX_PASSED && (code = look(p, err)) == KB_OK) {
        int at = frame_of(p->source.track, p->packet_us);
        bool again = false;
        for (int i = 0; i < group->n; i++)
            again |= frames[i] == at;
        if (at < frame || at >= end || again)
            return KB_EOF;
        frames[group->n] = at;
        group->pictures[group->n++].packet = TAKE(p->packet);
        highest = KB_MAX(highest, at);
        if (highest - frame + 1 > group->n) // one that is shown before it is still to come
            continue;
        if (!is_in_time(frames, group->n, frame, KB_MAX(order, 0)))
            return KB_EOF;
        for (int i = 0; i < group->n; i++) // until they are timed: which one of these
            group->pictures[i].pts_us = frames[i] - frame;
        *ret = TAKE(group);
        return KB_OK;
    }
    return group->n == MAX_PASSED ? KB_EOF : code;
}

// The first second of the stretch, into p->held. KB_EOF: it is not that long.
static enum kb_code read_first(struct pass *p, const struct stretch *s, struct kb_error *err)
{
    int frame = s->frame;
    enum kb_code code = KB_OK;
    while (length_of(p->source.track, s->frame, frame) < LEAST_US && p->n_held < MAX_HELD &&
           (code = read_group(p, frame, s->end, &p->held[p->n_held], err)) == KB_OK)
        frame += p->held[p->n_held++]->n;
    return code;
}

// The timeline moves on over the pictures, which thereby get their times.
static void time_them(struct passed *g, struct timeline *s)
{
    int64_t begin[MAX_PASSED] = {0}, duration[MAX_PASSED] = {0};
    for (int i = 0; i < g->n; i++)
        g->n_frames += timeline_pass(s, &begin[i], &duration[i]);
    for (int i = 0; i < g->n; i++) {
        struct passed_picture *picture = &g->pictures[i];
        int place = (int)picture->pts_us;
        picture->pts_us = begin[place];
        picture->duration_us = duration[place];
    }
    g->begin_us = begin[0];
    g->duration_us = begin[g->n - 1] + duration[g->n - 1] - begin[0];
}

static void end_stretch(struct pass *p)
{
    drop_held(p);
    p->next++;
    p->state = AHEAD;
}

// What comes next of a stretch that the timeline has come to.
static enum kb_code next_group(struct pass *p, struct stretch *s, struct passed **ret,
                               struct kb_error *err)
{
    enum kb_code code = p->state == AT_KEY ? read_first(p, s, err) : KB_OK;
    if (code != KB_OK)
        return code;
    p->state = PASSING;
    if (p->i_held < p->n_held) {
        *ret = TAKE(p->held[p->i_held]);
        p->i_held++;
        return KB_OK;
    }
    return read_group(p, s->frame, s->end, ret, err);
}

enum kb_code pass_next(struct pass *p, struct timeline *timeline, struct passed **ret,
                       struct kb_error *err)
{
    int64_t number = timeline_number(timeline);
    enum kb_code code = KB_OK;
    *ret = NULL;
    while (p->next < p->n_stretches) {
        struct stretch *s = &p->stretches[p->next];
        if (p->state == AHEAD && number >= s->number) {
            code = find_key(p, s, err);
            p->state = AT_KEY;
            p->n_keyless = code == KB_EOF ? p->n_keyless + 1 : 0;
            if (p->n_keyless == KEYLESS_MOST) // each is a search from the last key on
                p->next = p->n_stretches - 1;
        }
        if (code == KB_OK && number < s->number)
            return KB_OK;
        if (code == KB_OK && number == s->number && timeline_is_at(timeline, s->frame))
            code = next_group(p, s, ret, err);
        else if (code == KB_OK)
            code = KB_EOF;
        if (code == KB_OK) {
            assert(*ret);
            time_them(*ret, timeline);
            s->frame += (*ret)->n;
            s->number = timeline_number(timeline);
            return KB_OK;
        }
        if (code != KB_EOF)
            return code;
        end_stretch(p);
        code = KB_OK;
    }
    return KB_OK;
}
