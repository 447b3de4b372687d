#include "face/library.h"

#include "face/mouth_crop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_SCORE    0.8f   // of the mesh
#define MIN_MOUTH_PX 8.0f   // smaller ones show nothing
#define MAX_STEP     0.2f   // further than this (in eye distances) lips do not move in a frame
#define CLOSED       0.015f // less than this above the least opening: nothing of the inside is seen
#define CLOSED_MAX   0.03f  // the landmarks of closed lips are up to this far from each other
#define GROW         0.45f  // of the mouth's width, on every side
#define MARGIN       0.1f   // of the mouth's width, which must lie in the picture around the lips
#define SAME         0.3f   // closer than this two mouths look the same
#define LIKE         0.6f   // so near that the sharper one may stand for both
#define BETTER_BY    0.2f   // in quality, for a picture to take the place of the same one
#define SOFT         1.5f   // in quality below the usual: blurred, whatever it shows
#define FIRST_WAIT   4      // frames
#define LAST_WAIT    256

// What counts as a visible difference, in the order of the shape's numbers. Lengths are in
// distances between the outer corners of the eyes (some 90 mm), angles in radians, light in steps
// of 8-bit luma.
enum { OPENING, WIDTH, ROUNDNESS, YAW, PITCH, LIGHT };
static const float units[LIBRARY_SHAPE] = {0.03f, 0.05f, 0.12f, 0.15f, 0.12f, 20};

// --- what a mouth looks like ---

static const float *point(const struct mesh *m, int kept)
{
    return m->points[track_point_ids[kept]];
}

static float length(const float a[3], const float b[3])
{
    return sqrtf((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]) +
                 (a[2] - b[2]) * (a[2] - b[2]));
}

// How far b is from a along the unit vector.
static float along(const float unit[3], const float a[3], const float b[3])
{
    return (b[0] - a[0]) * unit[0] + (b[1] - a[1]) * unit[1] + (b[2] - a[2]) * unit[2];
}

int library_skin(const struct mesh *m, const AVFrame *frame, double sums[3])
{
    static const int ids[] = {164, 165, 391, 57, 287, 182, 406, 200};
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        const float *p = m->points[ids[i]];
        if (!(p[0] >= 2 && p[1] >= 2 && p[0] < (float)frame->width - 3 &&
              p[1] < (float)frame->height - 3))
            continue;
        for (int plane = 0; plane < 3; plane++) {
            ptrdiff_t stride = frame->linesize[plane];
            int x = (int)p[0] >> (plane > 0), y = (int)p[1] >> (plane > 0), sum = 0;
            const uint8_t *at = frame->data[plane] + y * stride + x;
            for (int k = 0; k < 9; k++)
                sum += at[(k / 3 - 1) * stride + k % 3 - 1];
            sums[plane] += sum / 9.0;
        }
        n++;
    }
    return n;
}

static float light_around(const struct mesh *m, const AVFrame *frame)
{
    double sums[3] = {0};
    int n = library_skin(m, frame, sums);
    return n > 0 ? (float)sums[0] / (float)n : 128;
}

// Mean way of the lips since the frame before in eye distances; < 0 when that is not known, not
// finite when the lips are not.
static float lips_step(struct library *l, const struct mesh *m, int number, float eyes)
{
    float lips[2 * TRACK_N_LIPS][2], sum = 0;
    for (int i = 0; i < 2 * TRACK_N_LIPS; i++) {
        memcpy(lips[i], point(m, TRACK_OUTER_FIRST + i), sizeof(lips[i]));
        sum += hypotf(lips[i][0] - l->last_lips[i][0], lips[i][1] - l->last_lips[i][1]);
    }
    bool known = l->last_frame > 0 && l->last_frame == number;
    memcpy(l->last_lips, lips, sizeof(lips));
    l->last_frame = number + 1;
    return known || !isfinite(sum) ? sum / (2 * TRACK_N_LIPS) / eyes : -1;
}

// The box around the lips; false where they, with a margin, are not inside the picture, or are too
// small.
static bool lips_box(const struct mesh *m, const AVFrame *frame, float width, float ret[4])
{
    ret[0] = ret[1] = INFINITY;
    ret[2] = ret[3] = -INFINITY;
    for (int i = TRACK_OUTER_FIRST; i < TRACK_INNER_FIRST + TRACK_N_LIPS; i++) {
        const float *p = point(m, i);
        for (int k = 0; k < 2; k++) {
            ret[k] = fminf(ret[k], p[k]);
            ret[k + 2] = fmaxf(ret[k + 2], p[k]);
        }
    }
    float margin = MARGIN * width;
    return width >= MIN_MOUTH_PX && width < (float)KB_MAX(frame->width, frame->height) &&
           ret[0] - margin >= 0 && ret[1] - margin >= 0 && ret[2] + margin <= (float)frame->width &&
           ret[3] + margin <= (float)frame->height;
}

// Everything but the picture's sharpness; false where there is no mouth worth keeping.
static bool describe(struct library *l, const AVFrame *frame, int number, const struct mesh *m,
                     struct library_entry *ret)
{
    const float *top = m->points[10], *chin = m->points[152];
    float eyes = length(m->points[33], m->points[263]), height = length(top, chin);
    if (!(eyes >= 1 && height >= 1 && isfinite(eyes + height)))
        return false;
    if (l->last_frame == 0)
        l->least_opening = CLOSED_MAX;
    float step = lips_step(l, m, number, eyes);
    if (m->score < MIN_SCORE || !(step < MAX_STEP))
        return false;

    float down[3], opening = 0, angles[3], box[4];
    for (int k = 0; k < 3; k++)
        down[k] = (chin[k] - top[k]) / height;
    for (int i = 1; i < TRACK_N_LIPS / 2; i++)
        opening += along(down, point(m, TRACK_INNER_FIRST + i),
                         point(m, TRACK_INNER_FIRST + TRACK_N_LIPS - i));
    opening /= (float)(TRACK_N_LIPS / 2 - 1) * eyes;
    float width = length(m->points[61], m->points[291]);
    mesh_angles(m, angles);
    float shape[LIBRARY_SHAPE] = {
        [OPENING] = opening,
        [WIDTH] = length(m->points[78], m->points[308]) / eyes,
        [ROUNDNESS] = along(down, m->points[0], m->points[17]) / fmaxf(width, 1),
        [YAW] = angles[0],
        [PITCH] = angles[1],
        [LIGHT] = light_around(m, frame),
    };
    for (int i = 0; i < LIBRARY_SHAPE; i++) {
        ret->shape[i] = shape[i] / units[i];
        if (!isfinite(ret->shape[i]))
            return false;
    }
    if (!lips_box(m, frame, width, box))
        return false;
    l->least_opening = fminf(l->least_opening, opening);
    // A shutter that is open for half the frame smears by half the step. Unknown counts as a
    // quick movement.
    ret->steadiness = -20 * (step < 0 ? 0.05f : step) - 4 * (1 - m->score);
    ret->mouth.frame = number;
    mouth_crop_place(&ret->mouth, frame, box, GROW * width);
    return true;
}

// What closed lips look like to the landmarks differs from person to person.
static bool is_closed(const struct library *l, const struct library_entry *e)
{
    return e->shape[OPENING] * units[OPENING] < l->least_opening + CLOSED;
}

// Of two that are both open or both closed; else infinite. Between mouths that are hardly open a
// difference counts for half: they show little of the inside.
static float distance(const struct library *l, const struct library_entry *a,
                      const struct library_entry *b)
{
    if (is_closed(l, a) != is_closed(l, b))
        return INFINITY;
    float sum = 0;
    for (int i = 0; i < LIBRARY_SHAPE; i++)
        sum += (a->shape[i] - b->shape[i]) * (a->shape[i] - b->shape[i]);
    float open = fmaxf(a->shape[OPENING], b->shape[OPENING]) * units[OPENING] / 0.06f;
    return sqrtf(sum) * (0.5f + 0.5f * fminf(fmaxf(open, 0), 1));
}

// --- what is kept ---

static int max_mouths(const struct library *l)
{
    return l->whole ? TRACK_MAX_MOUTHS : LIBRARY_FEW;
}

// Closed mouths are alike and show nothing of the inside: an eighth is enough.
static bool closed_full(const struct library *l)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        n += is_closed(l, &l->list[i]);
    return n >= max_mouths(l) / 8;
}

static void drop(struct library *l, int i)
{
    free(l->list[i].mouth.pixels);
    l->list[i] = l->list[--l->n];
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Much less sharp than the person's mouths are mostly: worthless even if nothing else is like it.
// Closed and open mouths differ in what detail they have, so each is held against its like.
static bool is_soft(const struct library *l, const struct library_entry *e)
{
    float qualities[TRACK_MAX_MOUTHS];
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (is_closed(l, &l->list[i]) == is_closed(l, e))
            qualities[n++] = l->list[i].quality;
    qsort(qualities, (size_t)n, sizeof(qualities[0]), by_value);
    return n >= LIBRARY_FEW && e->quality < qualities[n / 2] - SOFT;
}

// The one to go first: of the closest two the worse or, where they are equally good, the older. -1
// when no two can be compared.
static int weakest(const struct library *l, bool only_closed, float *ret_distance)
{
    int best = -1;
    *ret_distance = INFINITY;
    for (int i = 0; i < l->n; i++) {
        const struct library_entry *a = &l->list[i];
        for (int j = i + 1; j < l->n && (!only_closed || is_closed(l, a)); j++) {
            const struct library_entry *b = &l->list[j];
            float d = distance(l, a, b);
            if (!(d < *ret_distance))
                continue;
            *ret_distance = d;
            bool even = fabsf(a->quality - b->quality) < BETTER_BY;
            best = (even ? a->mouth.frame < b->mouth.frame : a->quality < b->quality) ? i : j;
        }
    }
    return best;
}

// The least sharp of the open mouths if it is too soft, else -1.
static int softest(const struct library *l)
{
    int least = -1;
    for (int i = 0; i < l->n; i++)
        if (!is_closed(l, &l->list[i]) &&
            (least < 0 || l->list[i].quality < l->list[least].quality))
            least = i;
    return least >= 0 && is_soft(l, &l->list[least]) ? least : -1;
}

void library_allow(struct library *l, bool whole)
{
    l->whole = whole;
    while (l->n > max_mouths(l)) {
        float unused;
        drop(l, KB_MAX(weakest(l, false, &unused), 0));
    }
}

static int nearest(const struct library *l, const struct library_entry *e, float *ret_distance)
{
    int best = -1;
    *ret_distance = INFINITY;
    for (int i = 0; i < l->n; i++) {
        float d = distance(l, &l->list[i], e);
        if (d < *ret_distance) {
            *ret_distance = d;
            best = i;
        }
    }
    return best;
}

static enum kb_code keep(struct library *l, struct library_entry *e, const AVFrame *frame,
                         struct kb_error *err)
{
    enum kb_code code = mouth_crop_take(&e->mouth, frame, err);
    if (code != KB_OK)
        return code;
    e->next_look = e->mouth.frame + FIRST_WAIT;
    e->wait = FIRST_WAIT;
    l->list[l->n++] = *e;
    return KB_OK;
}

static void judge(struct library_entry *e, const AVFrame *frame)
{
    e->quality = mouth_crop_sharpness(frame, &e->mouth) + e->steadiness;
}

// The same mouth is there already: take the new picture where it is better. Looking costs time and
// mostly changes nothing, so it is done at growing intervals.
static enum kb_code improve(struct library *l, int i, struct library_entry *e, const AVFrame *frame,
                            struct kb_error *err)
{
    struct library_entry *old = &l->list[i];
    if (e->mouth.frame < old->next_look)
        return KB_OK;
    old->wait = KB_MIN(2 * old->wait, LAST_WAIT);
    old->next_look = e->mouth.frame + old->wait;
    judge(e, frame);
    if (e->quality < old->quality + BETTER_BY)
        return KB_OK;
    int wait = old->wait;
    drop(l, i);
    enum kb_code code = keep(l, e, frame, err);
    if (code == KB_OK) {
        l->list[l->n - 1].wait = wait;
        l->list[l->n - 1].next_look = e->mouth.frame + wait;
    }
    return code;
}

enum kb_code library_offer(struct library *l, const AVFrame *frame, int number,
                           const struct mesh *mesh, struct kb_error *err)
{
    struct library_entry e = {0};
    if (!describe(l, frame, number, mesh, &e))
        return KB_OK;
    float novelty, closest;
    int same = nearest(l, &e, &novelty);
    if (novelty < SAME)
        return improve(l, same, &e, frame, err);

    bool crowded = is_closed(l, &e) && closed_full(l);
    if (crowded || l->n >= max_mouths(l)) {
        int goes = weakest(l, crowded, &closest), soft = crowded ? -1 : softest(l);
        if (goes < 0 || novelty <= closest)
            return novelty < LIKE ? improve(l, same, &e, frame, err) : KB_OK;
        judge(&e, frame);
        if (is_soft(l, &e))
            return KB_OK;
        drop(l, soft >= 0 ? soft : goes);
    } else {
        judge(&e, frame);
    }
    return keep(l, &e, frame, err);
}

// Whether it gets a place; what has to go for it goes.
static bool make_room(struct library *l, const struct library_entry *e)
{
    float novelty, closest;
    int same = nearest(l, e, &novelty), goes = -1;
    bool crowded = is_closed(l, e) && closed_full(l);
    if (novelty >= SAME && !crowded && l->n < max_mouths(l))
        return true;
    if (novelty >= SAME) {
        goes = weakest(l, crowded, &closest);
        goes = novelty > closest ? goes : -1;
    }
    if (goes < 0 && novelty < LIKE && e->quality >= l->list[same].quality + BETTER_BY)
        goes = same;
    if (goes >= 0)
        drop(l, goes);
    return goes >= 0;
}

void library_join(struct library *to, struct library *from)
{
    if (from->last_frame > 0) // else it has seen no mouth
        to->least_opening = to->last_frame > 0 ? fminf(to->least_opening, from->least_opening)
                                               : from->least_opening;
    to->whole = to->whole || from->whole;
    to->last_frame = KB_MAX(to->last_frame, from->last_frame);
    for (int i = 0; i < from->n; i++) {
        if (make_room(to, &from->list[i]))
            to->list[to->n++] = from->list[i];
        else
            free(from->list[i].mouth.pixels);
    }
    from->n = 0;
}

void library_forget(struct library *l, int number)
{
    for (int i = l->n - 1; i >= 0; i--)
        if (l->list[i].mouth.frame == number)
            drop(l, i);
}

// --- the end ---

// Blurred, as little else is or while something much sharper shows nearly the same.
static bool is_blurred(const struct library *l, int i)
{
    if (is_soft(l, &l->list[i]))
        return true;
    for (int j = 0; j < l->n; j++)
        if (distance(l, &l->list[i], &l->list[j]) < 2 &&
            l->list[j].quality > l->list[i].quality + 1)
            return true;
    return false;
}

static int by_frame(const void *a, const void *b)
{
    int x = ((const struct kept_mouth *)a)->frame, y = ((const struct kept_mouth *)b)->frame;
    return (x > y) - (x < y);
}

void library_take(struct library *l, struct kept_mouth **ret, int *ret_n)
{
    *ret = kb_alloc(KB_MAX((size_t)l->n, 1) * sizeof(**ret));
    *ret_n = 0;
    for (int i = 0; i < l->n; i++)
        if (!is_blurred(l, i))
            (*ret)[(*ret_n)++] = l->list[i].mouth;
        else
            free(l->list[i].mouth.pixels);
    qsort(*ret, (size_t)*ret_n, sizeof(**ret), by_frame);
    l->n = 0;
}

void library_clear(struct library *l)
{
    while (l->n > 0)
        drop(l, l->n - 1);
}
