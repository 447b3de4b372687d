#include "rig/raster.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PIXELS (1 << 26)

bool raster_begin(struct raster *r, int x0, int y0, int x1, int y1, int n_values, float fill)
{
    if (x1 <= x0 || y1 <= y0 || (int64_t)(x1 - x0) * (y1 - y0) > MAX_PIXELS)
        return false;
    r->x0 = x0;
    r->y0 = y0;
    r->width = x1 - x0;
    r->height = y1 - y0;
    r->n_values = n_values;
    size_t n = (size_t)r->width * (size_t)r->height;
    if (n > r->capacity) {
        r->capacity = n;
        for (int k = 0; k < RASTER_MAX_VALUES; k++) {
            free(r->values[k]);
            r->values[k] = NULL;
        }
    }
    if (r->height > r->row_capacity) {
        r->row_capacity = r->height;
        free(r->first);
        free(r->last);
        r->first = kb_alloc((size_t)r->height * sizeof(int));
        r->last = kb_alloc((size_t)r->height * sizeof(int));
    }
    for (int k = 0; k < n_values; k++) {
        if (!r->values[k])
            r->values[k] = kb_alloc(r->capacity * sizeof(float));
        if (fill == 0)
            memset(r->values[k], 0, n * sizeof(float));
        for (size_t i = 0; fill != 0 && i < n; i++)
            r->values[k][i] = fill;
    }
    for (int y = 0; y < r->height; y++) {
        r->first[y] = r->width;
        r->last[y] = 0;
    }
    return true;
}

void raster_clear(struct raster *r)
{
    for (int k = 0; k < RASTER_MAX_VALUES; k++)
        free(r->values[k]);
    free(r->first);
    free(r->last);
    *r = (struct raster){0};
}

// The first whole number whose centre is not before v, inside 0 … end.
static int first_centre(float v, int end)
{
    v = ceilf(v - 0.5f);
    return v <= 0 ? 0 : v >= (float)end ? end : (int)v;
}

// One edge going down: x at the centre of a row.
struct edge {
    float x, y, slope;
};

static struct edge edge_between(const struct corner *a, const struct corner *b)
{
    float height = b->y - a->y;
    return (struct edge){a->x, a->y, height > 0 ? (b->x - a->x) / height : 0};
}

static float edge_at(const struct edge *e, float y)
{
    return e->x + (y - e->y) * e->slope;
}

// A value as a plane over the map's pixel centres: at + x dx + y dy.
struct gradient {
    float at, dx, dy;
};

static void fill_row(struct raster *r, int y, float xa, float xb, const struct gradient *g)
{
    int first = first_centre(fminf(xa, xb), r->width), last = first_centre(fmaxf(xa, xb), r->width);
    if (first >= last)
        return;
    r->first[y] = KB_MIN(r->first[y], first);
    r->last[y] = KB_MAX(r->last[y], last);
    for (int k = 0; k < r->n_values; k++) {
        float *row = r->values[k] + (ptrdiff_t)y * r->width;
        float at = g[k].at + (float)first * g[k].dx + (float)y * g[k].dy;
        for (int x = first; x < last; x++, at += g[k].dx)
            row[x] = at;
    }
}

void raster_triangle(struct raster *r, const struct corner *a, const struct corner *b,
                     const struct corner *c)
{
    float area = (b->x - a->x) * (c->y - a->y) - (c->x - a->x) * (b->y - a->y);
    if (!(fabsf(area) > 1e-6f) || !isfinite(area))
        return;
    struct gradient g[RASTER_MAX_VALUES];
    for (int k = 0; k < r->n_values; k++) {
        float ab = b->value[k] - a->value[k], ac = c->value[k] - a->value[k];
        g[k].dx = (ab * (c->y - a->y) - ac * (b->y - a->y)) / area;
        g[k].dy = (ac * (b->x - a->x) - ab * (c->x - a->x)) / area;
        g[k].at = a->value[k] + ((float)r->x0 + 0.5f - a->x) * g[k].dx +
                  ((float)r->y0 + 0.5f - a->y) * g[k].dy;
    }
    // From top to bottom.
    const struct corner *t = a, *m = b, *l = c, *swap;
    if (m->y < t->y)
        swap = t, t = m, m = swap;
    if (l->y < m->y)
        swap = m, m = l, l = swap;
    if (m->y < t->y)
        swap = t, t = m, m = swap;
    struct edge whole = edge_between(t, l), upper = edge_between(t, m), lower = edge_between(m, l);
    int y_first = first_centre(t->y - (float)r->y0, r->height);
    int y_last = first_centre(l->y - (float)r->y0, r->height);
    for (int y = y_first; y < y_last; y++) {
        float at = (float)(y + r->y0) + 0.5f;
        float xa = edge_at(&whole, at), xb = edge_at(at < m->y ? &upper : &lower, at);
        fill_row(r, y, xa - (float)r->x0, xb - (float)r->x0, g);
    }
}
