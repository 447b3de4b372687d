// The film is looked at in bins of a tenth of a second or more, the places in at most LEVELS steps.
// Of all paths that rest and change, the cheapest is taken (dynamic programming, view by view):
// each bin costs how far its window is from the one that is wanted, beyond a dead zone in full and
// within it next to nothing; each change costs its length and, once, something more. All costs are
// fractions of the window times seconds, so that
//
//   who leans out of the dead zone for less than a second is not followed: there and back would
//   cost as much as waiting;
//   who stays away is followed, to the edge of the dead zone soon, into the middle when the rest
//   has lasted some seconds;
//   small corrections are never made: the change itself costs more.
//
// The changes then become moves: every one is eased with the integral of a Hann window, centred on
// it, so speed and acceleration are continuous and bounded, and moves that follow closely, as
// behind somebody who walks, melt into one.
#include "finish/camera.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS      96
#define BIN_US      100000 // at least
#define MOST_BINS   (1 << 18)
#define DEAD        0.10f // of the window, to either side
#define CALM        0.03f // within that nearly nothing costs anything
#define NEARLY      0.002f
#define WITHIN      0.15f // weight of what is between the two
#define CHANGE      0.03f // of the window times seconds: of a change
#define CHANGE_S    0.5f  // of its length
#define HALF_MOVE   (CAMERA_MOVE_US / 2)
#define CANCEL_BINS 1024

struct view {
    const struct camera_point *points;
    int n; // frames
    int bins;
    int64_t bin_us;
    int step;  // pixels from level to level
    int base;  // pixel of the first
    int count; // levels
    int room, size;
    uint8_t *from; // bins x count: where the cheapest way to a level was, a bin before
};

static float cost_of(float distance)
{
    float d = fabsf(distance);
    return (d > DEAD ? d - DEAD : 0) + (d > CALM ? WITHIN * (d - CALM) : 0) + NEARLY * d;
}

static int pixel_of(const struct view *v, int level)
{
    return KB_MIN(v->base + level * v->step, v->room);
}

static float within(const struct view *v, float wanted)
{
    return fminf(fmaxf(wanted, 0), (float)v->room);
}

// Levels over what is wanted in this view. False: nobody is seen in it.
static bool choose_levels(struct view *v)
{
    float low = (float)v->room, high = 0;
    bool any = false;
    for (int i = 0; i < v->n; i++) {
        if (!v->points[i].seen)
            continue;
        float at = within(v, v->points[i].wanted);
        low = fminf(low, at);
        high = fmaxf(high, at);
        any = true;
    }
    if (!any)
        return false;
    v->base = (int)low / 2 * 2;
    int span = KB_MAX((int)ceilf(high) - v->base, 0);
    v->step = 2 * KB_MAX((span + 2 * LEVELS - 3) / (2 * (LEVELS - 1)), 1);
    v->count = KB_MIN((span + v->step - 1) / v->step + 1, LEVELS);
    return true;
}

// cost[level] of one bin, whose frames begin at *frame, which goes on to the next bin's.
static void cost_bin(const struct view *v, int bin, int *frame, float *cost)
{
    int64_t end = v->points[0].pts_us + (bin + 1) * v->bin_us;
    int first = *frame, seen = 0;
    memset(cost, 0, (size_t)v->count * sizeof(*cost));
    for (; *frame < v->n && v->points[*frame].pts_us < end; ++*frame) {
        const struct camera_point *p = &v->points[*frame];
        float wanted = within(v, p->wanted);
        for (int l = 0; p->seen && l < v->count; l++)
            cost[l] += cost_of(((float)pixel_of(v, l) - wanted) / (float)v->size);
        seen += p->seen;
    }
    for (int l = 0; seen > 0 && l < v->count; l++)
        cost[l] *= (float)v->bin_us / 1e6f / (float)(*frame - first);
}

// The cheapest way to each level by one change: to[l] is where it comes from.
static void change(const struct view *v, const float *best, float *ret, uint8_t *to)
{
    float step = CHANGE_S * (float)v->step / (float)v->size;
    for (int l = 0; l < v->count; l++) {
        ret[l] = best[l];
        to[l] = (uint8_t)l;
    }
    for (int l = 1; l < v->count; l++)
        if (ret[l - 1] + step < ret[l]) {
            ret[l] = ret[l - 1] + step;
            to[l] = to[l - 1];
        }
    for (int l = v->count - 2; l >= 0; l--)
        if (ret[l + 1] + step < ret[l]) {
            ret[l] = ret[l + 1] + step;
            to[l] = to[l + 1];
        }
}

// levels[bin] of the cheapest path.
static enum kb_code find_path(struct view *v, uint8_t *levels, const struct cancel *cancel,
                              struct kb_error *err)
{
    float best[LEVELS], other[LEVELS], cost[LEVELS];
    uint8_t to[LEVELS];
    size_t count = (size_t)v->count;
    // A move needs its time within the view.
    int half = (int)(HALF_MOVE / v->bin_us), first = half, last = v->bins - half, frame = 0;
    cost_bin(v, 0, &frame, best);
    for (int b = 1; b < v->bins; b++) {
        enum kb_code code = b % CANCEL_BINS ? KB_OK : cancel_check(cancel, err);
        if (code != KB_OK)
            return code;
        uint8_t *from = v->from + (size_t)b * count;
        cost_bin(v, b, &frame, cost);
        change(v, best, other, to);
        for (int l = 0; l < v->count; l++) {
            bool moves = b >= first && b <= last && other[l] + CHANGE < best[l];
            from[l] = moves ? to[l] : (uint8_t)l;
            best[l] = (moves ? other[l] + CHANGE : best[l]) + cost[l];
        }
    }
    int level = 0;
    for (int l = 1; l < v->count; l++)
        if (best[l] < best[level])
            level = l;
    for (int b = v->bins - 1; b >= 0; b--) {
        levels[b] = (uint8_t)level;
        level = b > 0 ? v->from[(size_t)b * count + (size_t)level] : level;
    }
    return KB_OK;
}

// 0 to 1 over a move: the integral of a Hann window.
static double ease(double u)
{
    return u <= 0 ? 0 : u >= 1 ? 1 : u - sin(2 * M_PI * u) / (2 * M_PI);
}

// ret[i]: the path, its changes eased.
static void follow_path(const struct view *v, const uint8_t *levels, float *ret)
{
    int64_t begin = v->points[0].pts_us;
    int done = 0; // bins whose change is over
    double base = pixel_of(v, levels[0]);
    for (int i = 0; i < v->n; i++) {
        int64_t at = v->points[i].pts_us - begin;
        while (done + 1 < v->bins && at >= (done + 1) * v->bin_us + HALF_MOVE)
            base = pixel_of(v, levels[++done]);
        double x = base;
        for (int b = done + 1; b < v->bins && b * v->bin_us - HALF_MOVE < at; b++)
            if (levels[b] != levels[b - 1])
                x += (pixel_of(v, levels[b]) - pixel_of(v, levels[b - 1])) *
                     ease((double)(at - b * v->bin_us + HALF_MOVE) / CAMERA_MOVE_US);
        ret[i] = (float)fmin(fmax(x, 0), v->room);
    }
}

static enum kb_code plan_view(struct view *v, float stay, float *ret, const struct cancel *cancel,
                              struct kb_error *err)
{
    if (!choose_levels(v)) {
        for (int i = 0; i < v->n; i++)
            ret[i] = stay;
        return KB_OK;
    }
    int64_t span = v->points[v->n - 1].pts_us - v->points[0].pts_us;
    v->bin_us = KB_MAX(span / MOST_BINS + 1, BIN_US);
    v->bins = (int)(span / v->bin_us) + 1;
    size_t cells = (size_t)v->bins * (size_t)v->count;
    CLEANUP(kb_freep) uint8_t *from = v->from = kb_calloc_checked(cells, sizeof(*v->from));
    CLEANUP(kb_freep) uint8_t *levels = kb_calloc_checked((size_t)v->bins, sizeof(*levels));
    if (!from || !levels)
        return kb_no_memory(err);
    enum kb_code code = find_path(v, levels, cancel, err);
    if (code == KB_OK)
        follow_path(v, levels, ret);
    return code;
}

enum kb_code camera_plan(float *ret, const struct camera_point *points, int n, int room, int size,
                         const struct cancel *cancel, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    float stay = (float)(room / 4 * 2);
    for (int i = 0, end; i < n && code == KB_OK; i = end) {
        end = i + 1;
        while (end < n && !points[end].cut)
            end++;
        struct view v = {.points = points + i, .n = end - i, .room = room, .size = size};
        code = plan_view(&v, stay, ret + i, cancel, err);
        stay = code == KB_OK ? ret[end - 1] : 0;
    }
    return code;
}
