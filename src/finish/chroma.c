#include "finish/chroma.h"

#include <math.h>
#include <string.h>

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

struct compose_screen chroma_spill(const struct chroma_screen *s)
{
    float size = fmaxf(hypotf(s->u, s->v), 1e-6f);
    return (struct compose_screen){.used = true, .u = s->u / size, .v = s->v / size};
}

void chroma_key(const struct chroma_screen *s, const struct matte *m, float *ret_alpha)
{
    float size = fmaxf(hypotf(s->u, s->v), 1e-6f), ku = s->u / size, kv = s->v / size;
    size_t n = (size_t)m->w * (size_t)m->h;
    const float *y = m->planes[MATTE_Y], *u = m->planes[MATTE_U], *v = m->planes[MATTE_V];
    for (size_t i = 0; i < n; i++) {
        // A screen in the shade has less colour, as it has less light.
        float light = fminf(fmaxf(y[i] / fmaxf(s->y, 0.02f), 0.6f), 1);
        float along = u[i] * ku + v[i] * kv, across = fabsf(v[i] * ku - u[i] * kv);
        float share = (along - 1.2f * across) / (size * light);
        ret_alpha[i] = fminf(fmaxf((0.78f - share) / 0.66f, 0), 1);
    }
}
