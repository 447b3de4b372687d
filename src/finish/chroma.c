#include "finish/chroma.h"

#include "base/vectorise.h"
#include "finish/box.h"
#include "finish/clamp.h"

#include <math.h>
#include <stdlib.h>

// Less colour than this is a wall, not a screen.
#define LEAST_COLOUR 0.15f

struct rim {
    double y, u, v;
    int n;
};

// Visits the rim: f is called with the place of each pixel of it.
static void sum_rim(const struct matte *m, struct rim *sum, const struct rim *mean, int *ret_even)
{
    int side = KB_MAX(m->w / 24, 2), top = KB_MAX(m->h / 20, 2), even = 0;
    *sum = (struct rim){0};
    // The lower sixth may be a table, or arms.
    for (int y = 0; y < m->h - m->h / 6; y++)
        for (int x = 0; x < m->w; x++) {
            if (y >= top && x == side)
                x = m->w - side;
            size_t at = (size_t)y * (size_t)m->w + (size_t)x;
            double u = (double)m->planes[MATTE_U][at], v = (double)m->planes[MATTE_V][at];
            if (mean) {
                double size = hypot(mean->u, mean->v);
                double along = (u * mean->u + v * mean->v) / size;
                double across = fabs(v * mean->u - u * mean->v) / size;
                even += along > size * 0.45 && across < along * 0.4;
            }
            sum->y += (double)m->planes[MATTE_Y][at];
            sum->u += u;
            sum->v += v;
            sum->n++;
        }
    if (ret_even)
        *ret_even = even;
}

struct chroma_screen chroma_find(const struct matte *m, char only)
{
    struct rim sum, again;
    int even;
    sum_rim(m, &sum, NULL, NULL);
    struct rim mean = {sum.y / sum.n, sum.u / sum.n, sum.v / sum.n, sum.n};
    double colour = hypot(mean.u, mean.v), angle = atan2(mean.v, mean.u);
    bool green = angle > -2.7 && angle <= -1.5, blue = angle > -1.5 && angle < -0.1;
    struct chroma_screen s = {
        .blue = blue, .y = (float)mean.y, .u = (float)mean.u, .v = (float)mean.v};
    float least = only ? LEAST_COLOUR / 3 : LEAST_COLOUR;
    if (colour < (double)least || (only == 'g' && !green) || (only == 'b' && !blue) ||
        (!green && !blue))
        return s;
    sum_rim(m, &again, &mean, &even);
    s.found = even >= sum.n * (only ? 0.5 : 0.93);
    return s;
}

bool chroma_is_screen(const AVFrame *frame)
{
    CLEANUP(crew_free) struct crew *alone = crew_create(1);
    CLEANUP(matter_free) struct matter *m = matter_create(frame->width, frame->height, alone);
    matter_look(m, frame, true);
    return chroma_find(matter_matte(m), 0).found;
}

struct compose_screen chroma_spill(const struct chroma_screen *s)
{
    float size = larger(hypotf(s->u, s->v), 1e-6f);
    return (struct compose_screen){.used = true, .u = s->u / size, .v = s->v / size};
}

// --- the key ---

#define RADIUS 48
// Columns that one thread does at a time.
#define STRIP   256
#define N_LANES 3

struct keyer {
    struct crew *crew;
    struct box *boxes[CREW_MAX_THREADS];
    const struct matte *matte;
    const struct chroma_screen *screen;
    float *alpha;
};

struct keyer *keyer_create(const struct matte *m, struct crew *crew)
{
    struct keyer *k = kb_alloc(sizeof(*k));
    k->crew = crew;
    for (int i = 0; i < crew_threads(crew); i++)
        k->boxes[i] = box_create(m->w, m->h, RADIUS, N_LANES * (STRIP + 2 * RADIUS));
    return k;
}

void keyer_free(struct keyer **k)
{
    if (!*k)
        return;
    for (int i = 0; i < CREW_MAX_THREADS; i++)
        box_free(&(*k)->boxes[i]);
    free(*k);
    *k = NULL;
}

// How much of a colour of this direction and strength is in u, v: less where another one is.
static inline float share_of(float u, float v, float ku, float kv, float size)
{
    return (u * ku + v * kv - 1.2f * fabsf(v * ku - u * kv)) / size;
}

// The colours of what is surely screen.
KB_VECTORISED static void fill_screen(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct keyer *k = context;
    const struct matte *m = k->matte;
    size_t at = (size_t)y * (size_t)m->w + (size_t)x0;
    const float *restrict u = m->planes[MATTE_U] + at, *restrict v = m->planes[MATTE_V] + at;
    float size = hypotf(k->screen->u, k->screen->v);
    float ku = k->screen->u / size, kv = k->screen->v / size;
    for (int x = 0; x < x1 - x0; x++) {
        float share = share_of(u[x], v[x], ku, kv, size);
        float weight = smaller(larger((share - 0.4f) * 4, 0), 1) + 1e-4f;
        lanes[0][x] = weight;
        lanes[1][x] = weight * u[x];
        lanes[2][x] = weight * v[x];
    }
}

KB_VECTORISED static void emit_key(void *context, int y, int x0, int x1, float *const *means)
{
    const struct keyer *k = context;
    const struct matte *m = k->matte;
    size_t at = (size_t)y * (size_t)m->w + (size_t)x0;
    const float *restrict u = m->planes[MATTE_U] + at, *restrict v = m->planes[MATTE_V] + at;
    float *restrict alpha = k->alpha + at;
    float su = k->screen->u, sv = k->screen->v;
    for (int x = 0; x < x1 - x0; x++) {
        // Far from any screen its mean colour over the rim.
        float known = smaller(means[0][x] * 20, 1), n = known / means[0][x];
        float lu = means[1][x] * n + (1 - known) * su, lv = means[2][x] * n + (1 - known) * sv;
        float size = larger(sqrtf(lu * lu + lv * lv), 0.02f);
        float share = share_of(u[x], v[x], lu / size, lv / size, size);
        float keyed = smaller(larger((0.85f - share) / 0.7f, 0), 1), rough = alpha[x];
        // What is half of the screen's colour is a fold of it where nobody is, and its light on
        // somebody where they surely are.
        float low = larger(0.02f - rough, 0) * 25, high = larger(rough - 0.97f, 0) * 10;
        keyed = smaller(larger((keyed - low) / (1 - low), 0), 1);
        alpha[x] = smaller(keyed / (1 - high), 1);
    }
}

static void key_strip(void *context, int task, int worker)
{
    struct keyer *k = context;
    const struct box_area strip = {
        .x0 = task * STRIP, .x1 = KB_MIN((task + 1) * STRIP, k->matte->w), .y1 = k->matte->h};
    box_run(k->boxes[worker], &strip, RADIUS, N_LANES, fill_screen, emit_key, k);
}

void keyer_run(struct keyer *k, const struct chroma_screen *s, const struct matte *m, float *alpha)
{
    k->matte = m;
    k->screen = s;
    k->alpha = alpha;
    crew_run(k->crew, (m->w + STRIP - 1) / STRIP, key_strip, k);
    // The film's own rim is often black, or has the screen's end in it.
    int side = KB_MAX(m->w / 100, 1), top = KB_MAX(m->h / 80, 1);
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++) {
            if (y >= top && x == side)
                x = m->w - side;
            float *a = &alpha[(size_t)y * (size_t)m->w + (size_t)x];
            size_t inner = (size_t)KB_MAX(y, top) * (size_t)m->w +
                           (size_t)KB_MIN(KB_MAX(x, side), m->w - 1 - side);
            *a = smaller(*a, alpha[inner]);
        }
}
