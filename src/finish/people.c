#include "finish/people.h"

#include "finish/clamp.h"
#include "finish/segment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// As many heads are looked at from near, the largest first.
#define MAX_HEADS 3
// The side of what is looked at, over the height of the face.
#define HEAD_SIDE 3.2f
// The rim of it counts less and less, over this part of its half.
#define HEAD_RIM 0.3f

// Rows that one thread does at a time.
#define SLICE 48

struct people {
    const struct track *track;
    int width, height; // of the pictures
    struct segmenter *whole;
    struct segmenter *head; // square; NULL where there is no track
};

enum kb_code people_open(struct people **ret, const struct finish_picture *picture,
                         const struct finish_source *source, struct kb_error *err)
{
    CLEANUP(people_close) struct people *p = kb_alloc(sizeof(*p));
    p->track = source->track;
    p->width = picture->width;
    p->height = picture->height;
    enum kb_code code = segmenter_open(&p->whole, p->width, p->height, err);
    if (code == KB_OK && p->track)
        code = segmenter_open(&p->head, 1, 1, err);
    if (code == KB_OK)
        *ret = TAKE(p);
    return code;
}

void people_close(struct people **p)
{
    if (!*p)
        return;
    segmenter_close(&(*p)->whole);
    segmenter_close(&(*p)->head);
    free(*p);
    *p = NULL;
}

// A part of the picture, and what was found in it.
struct look {
    float x0, y0, width, height; // of the picture, pixels
    float rim;                   // part of its half where it counts less; 0 = none
    float *mask;                 // free()
    int mask_width, mask_height;
};

// Looks at one frame; the networks at once.
struct search {
    struct people *p;
    const AVFrame *frame;
    struct look whole, heads[MAX_HEADS];
    int n_heads;
    enum kb_code code[2]; // of the whole picture, of the heads
    struct kb_error err[2];
    // What is laid
    struct place *columns[MAX_HEADS + 1];
    float *ret;
    int width, height;
};

static void search_clear(struct search *s)
{
    free(s->whole.mask);
    for (int i = 0; i < MAX_HEADS; i++)
        free(s->heads[i].mask);
    for (int i = 0; i < MAX_HEADS + 1; i++)
        free(s->columns[i]);
}

static enum kb_code look_at(struct segmenter *s, const AVFrame *frame, struct look *l,
                            struct kb_error *err)
{
    const float *mask;
    segmenter_size(s, &l->mask_width, &l->mask_height);
    const struct affine to_frame = {.xx = l->width / (float)l->mask_width,
                                    .x0 = l->x0,
                                    .yy = l->height / (float)l->mask_height,
                                    .y0 = l->y0};
    enum kb_code code = segmenter_run(s, frame, &to_frame, &mask, err);
    if (code != KB_OK)
        return code;
    size_t bytes = (size_t)l->mask_width * (size_t)l->mask_height * sizeof(float);
    l->mask = memcpy(kb_alloc(bytes), mask, bytes);
    return KB_OK;
}

static void search_with(void *context, int task, int worker)
{
    struct search *s = context;
    (void)worker;
    if (task == 0)
        s->code[0] = look_at(s->p->whole, s->frame, &s->whole, &s->err[0]);
    for (int i = 0; task == 1 && s->code[1] == KB_OK && i < s->n_heads; i++)
        s->code[1] = look_at(s->p->head, s->frame, &s->heads[i], &s->err[1]);
}

// Where a place of ret lies in the mask: its left neighbour, how far beyond; and how much it
// counts.
struct place {
    int at, next;
    float part, weight;
};

static struct place place_of(float x, float x0, float length, int n, float rim)
{
    float along = (x - x0) / length, at = along * (float)n - 0.5f;
    at = smaller(larger(at, 0), (float)(n - 1));
    struct place p = {.at = (int)at, .weight = 1};
    p.next = KB_MIN(p.at + 1, n - 1);
    p.part = at - (float)p.at;
    if (rim > 0)
        p.weight = smaller(larger((0.5f - fabsf(along - 0.5f)) * 2 / rim, 0), 1);
    return p;
}

static struct place *find_columns(const struct search *s, const struct look *l)
{
    struct place *columns = kb_alloc((size_t)s->width * sizeof(*columns));
    float per_x = (float)s->p->width / (float)s->width;
    for (int x = 0; x < s->width; x++)
        columns[x] = place_of(((float)x + 0.5f) * per_x, l->x0, l->width, l->mask_width, l->rim);
    return columns;
}

// Write what was found over what is there, in some rows.
static void lay(const struct search *s, const struct look *l, const struct place *columns, int y0,
                int y1)
{
    float per_x = (float)s->p->width / (float)s->width;
    float per_y = (float)s->p->height / (float)s->height;
    int from = KB_MAX((int)(l->x0 / per_x), 0);
    int to = KB_MIN((int)((l->x0 + l->width) / per_x) + 1, s->width);
    for (int y = y0; y < y1; y++) {
        struct place row =
            place_of(((float)y + 0.5f) * per_y, l->y0, l->height, l->mask_height, l->rim);
        if (row.weight <= 0)
            continue;
        const float *above = l->mask + (size_t)row.at * (size_t)l->mask_width;
        const float *below = l->mask + (size_t)row.next * (size_t)l->mask_width;
        float *out = s->ret + (size_t)y * (size_t)s->width;
        for (int x = from; x < to; x++) {
            const struct place *c = &columns[x];
            float a = above[c->at] + c->part * (above[c->next] - above[c->at]);
            float b = below[c->at] + c->part * (below[c->next] - below[c->at]);
            float weight = row.weight * c->weight;
            out[x] += weight * (a + row.part * (b - a) - out[x]);
        }
    }
}

static void lay_rows(void *context, int task, int worker)
{
    const struct search *s = context;
    int y0 = task * SLICE, y1 = KB_MIN(y0 + SLICE, s->height);
    (void)worker;
    lay(s, &s->whole, s->columns[0], y0, y1);
    for (int i = 0; i < s->n_heads; i++)
        lay(s, &s->heads[i], s->columns[i + 1], y0, y1);
}

// The heads of a frame, as the track has them, largest first.
static int find_heads(const struct people *p, int frame, struct look *ret)
{
    const struct track_info *t = track_info(p->track);
    float scale_x = (float)p->width / (float)t->width;
    float scale_y = (float)p->height / (float)t->height;
    int n = 0;
    for (int i = 0; i < t->n_faces && frame < t->n_frames; i++) {
        struct track_face f;
        track_face(p->track, i, frame, &f);
        float height = (f.box[3] - f.box[1]) * scale_y, width = (f.box[2] - f.box[0]) * scale_x;
        float side = HEAD_SIDE * larger(height, width);
        // It must show more than the whole picture does, and something at all.
        if (!f.present || side < 48 || side > 0.9f * (float)KB_MIN(p->width, p->height))
            continue;
        struct look l = {.width = side,
                         .height = side,
                         .rim = HEAD_RIM,
                         .x0 = (f.box[0] + f.box[2]) / 2 * scale_x - side / 2,
                         .y0 = (f.box[1] + f.box[3]) / 2 * scale_y - side * 0.52f};
        int at = n < MAX_HEADS ? n++ : MAX_HEADS;
        for (; at > 0 && ret[at - 1].width < l.width; at--)
            if (at < MAX_HEADS)
                ret[at] = ret[at - 1];
        if (at < MAX_HEADS)
            ret[at] = l;
    }
    return n;
}

enum kb_code people_find(struct people *p, struct crew *crew, const AVFrame *frame, int track_frame,
                         float *ret, int width, int height, struct kb_error *err)
{
    CLEANUP(search_clear)
    struct search s = {.p = p,
                       .frame = frame,
                       .whole = {.width = (float)p->width, .height = (float)p->height},
                       .ret = ret,
                       .width = width,
                       .height = height};
    s.n_heads = p->head ? find_heads(p, track_frame, s.heads) : 0;
    crew_run(crew, 2, search_with, &s);
    for (int i = 0; i < 2; i++)
        if (s.code[i] != KB_OK) {
            *err = s.err[i];
            return s.code[i];
        }
    s.columns[0] = find_columns(&s, &s.whole);
    for (int i = 0; i < s.n_heads; i++)
        s.columns[i + 1] = find_columns(&s, &s.heads[i]);
    crew_run(crew, (height + SLICE - 1) / SLICE, lay_rows, &s);
    return KB_OK;
}
