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
    const float *mask;
    int mask_width, mask_height;
};

static enum kb_code look_at(struct segmenter *s, const AVFrame *frame, struct look *l,
                            struct kb_error *err)
{
    segmenter_size(s, &l->mask_width, &l->mask_height);
    const struct affine to_frame = {.xx = l->width / (float)l->mask_width,
                                    .x0 = l->x0,
                                    .yy = l->height / (float)l->mask_height,
                                    .y0 = l->y0};
    return segmenter_run(s, frame, &to_frame, &l->mask, err);
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

// Write what was found over what is there.
static void lay(const struct people *p, const struct look *l, struct place *columns, float *ret,
                int width, int height)
{
    float per_x = (float)p->width / (float)width, per_y = (float)p->height / (float)height;
    for (int x = 0; x < width; x++)
        columns[x] = place_of(((float)x + 0.5f) * per_x, l->x0, l->width, l->mask_width, l->rim);
    int from = KB_MAX((int)(l->x0 / per_x), 0);
    int to = KB_MIN((int)((l->x0 + l->width) / per_x) + 1, width);
    for (int y = 0; y < height; y++) {
        struct place row =
            place_of(((float)y + 0.5f) * per_y, l->y0, l->height, l->mask_height, l->rim);
        if (row.weight <= 0)
            continue;
        const float *above = l->mask + (size_t)row.at * (size_t)l->mask_width;
        const float *below = l->mask + (size_t)row.next * (size_t)l->mask_width;
        float *out = ret + (size_t)y * (size_t)width;
        for (int x = from; x < to; x++) {
            const struct place *c = &columns[x];
            float a = above[c->at] + c->part * (above[c->next] - above[c->at]);
            float b = below[c->at] + c->part * (below[c->next] - below[c->at]);
            float weight = row.weight * c->weight;
            out[x] += weight * (a + row.part * (b - a) - out[x]);
        }
    }
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

enum kb_code people_find(struct people *p, const AVFrame *frame, int track_frame, float *ret,
                         int width, int height, struct kb_error *err)
{
    CLEANUP(kb_freep) struct place *columns = kb_alloc((size_t)width * sizeof(*columns));
    struct look looks[MAX_HEADS];
    struct look whole = {.width = (float)p->width, .height = (float)p->height};
    int n = p->head ? find_heads(p, track_frame, looks) : 0;
    enum kb_code code = look_at(p->whole, frame, &whole, err);
    if (code == KB_OK)
        lay(p, &whole, columns, ret, width, height);
    for (int i = 0; code == KB_OK && i < n; i++) {
        code = look_at(p->head, frame, &looks[i], err);
        if (code == KB_OK)
            lay(p, &looks[i], columns, ret, width, height);
    }
    return code;
}
