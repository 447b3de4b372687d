#include "nn/spatial.h"

#include "base/vectorise.h"

#include <math.h>
#include <string.h>

bool is_spatial(enum op_kind k)
{
    return k == OP_SCALE || k == OP_CROP_MATRIX || k == OP_WARP || k == OP_PLACE || k == OP_MEAN ||
           k == OP_GATE;
}

// Image n of a batch.
static float *image_at(const struct image *im, int n)
{
    return (float *)im->data + (int64_t)n * im->h * im->w * im->c;
}

static void scale(float *y, const float *x, int64_t n, const float *factors, int n_factors)
{
    for (int64_t i = 0; i < n; i += n_factors)
        for (int k = 0; k < n_factors; k++)
            y[i + k] = x[i + k] * factors[k];
}

// Turned back so that left and right are level, the points have a box; the crop has its middle, its
// sides times grow, and is turned as the face is. The matrix takes the crop's pixels, counted from
// its corner, to where they lie.
static void crop_matrix(const struct crop_rule *r, const float *points, float m[16])
{
    const float *left = points + 3 * r->left, *right = points + 3 * r->right;
    float angle = r->angle - atan2f(right[1] - left[1], right[0] - left[0]);
    float c = cosf(angle), s = sinf(angle);
    float x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY;
    for (int i = 0; i < r->n_points; i++) {
        const float *p = points + 3 * r->points[i];
        float x = c * p[0] - s * p[1], y = s * p[0] + c * p[1];
        x0 = fminf(x0, x);
        x1 = fmaxf(x1, x);
        y0 = fminf(y0, y);
        y1 = fmaxf(y1, y);
    }
    float x = (x0 + x1) / 2, y = (y0 + y1) / 2;
    float per_column = r->grow_x * (x1 - x0) / (float)r->width;
    float per_row = r->grow_y * (y1 - y0) / (float)r->height;
    float half_w = per_column * (float)r->width / 2, half_h = per_row * (float)r->height / 2;
    memset(m, 0, 16 * sizeof(*m));
    m[0] = c * per_column;
    m[1] = s * per_row;
    m[3] = c * (x - half_w) + s * (y - half_h);
    m[4] = -s * per_column;
    m[5] = c * per_row;
    m[7] = -s * (x - half_w) + c * (y - half_h);
    m[10] = m[15] = 1;
}

KB_VECTORISED static void mix(float *restrict y, const float *const corners[4],
                              const float weights[4], int c)
{
    const float *a = corners[0], *b = corners[1], *d = corners[2], *e = corners[3];
    for (int i = 0; i < c; i++)
        y[i] = weights[0] * a[i] + weights[1] * b[i] + weights[2] * d[i] + weights[3] * e[i];
}

// The matrix speaks of pixels' corners, samples lie at their middles: half a pixel there, half
// back. Outside the picture (and where the matrix is not finite) is zero.
static void warp(const struct image *y, float *out, const struct image *x, const float *in,
                 const float *m)
{
    for (int i = 0; i < y->h * y->w; i++, out += y->c) {
        float column = (float)(i % y->w) + 0.5f, row = (float)(i / y->w) + 0.5f;
        float at_x = m[0] * column + m[1] * row + m[3] - 0.5f;
        float at_y = m[4] * column + m[5] * row + m[7] - 0.5f;
        if (!(at_x >= 0 && at_x <= (float)(x->w - 1) && at_y >= 0 && at_y <= (float)(x->h - 1))) {
            memset(out, 0, (size_t)y->c * sizeof(*out));
            continue;
        }
        int x0 = (int)at_x, y0 = (int)at_y;
        int64_t right = x0 + 1 < x->w ? x->c : 0, down = y0 + 1 < x->h ? (int64_t)x->w * x->c : 0;
        float u = at_x - (float)x0, v = at_y - (float)y0;
        const float *p = in + ((int64_t)y0 * x->w + x0) * x->c;
        const float *const corners[4] = {p, p + right, p + down, p + down + right};
        const float weights[4] = {(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v};
        mix(out, corners, weights, y->c);
    }
}

static void place(float *y, const float *x, int n, const float *m)
{
    for (int i = 0; i < n; i++) {
        y[2 * i] = m[0] * x[2 * i] + m[1] * x[2 * i + 1] + m[3];
        y[2 * i + 1] = m[4] * x[2 * i] + m[5] * x[2 * i + 1] + m[7];
    }
}

KB_VECTORISED static void mean(float *restrict y, const float *restrict x, int64_t n, int c)
{
    memset(y, 0, (size_t)c * sizeof(*y));
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < c; k++)
            y[k] += x[i * c + k];
    for (int k = 0; k < c; k++)
        y[k] /= (float)n;
}

KB_VECTORISED static void gate(float *restrict y, const float *restrict x, const float *restrict by,
                               int64_t n, int c)
{
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < c; k++)
            y[i * c + k] = x[i * c + k] * by[k];
}

void spatial_run(const struct spatial *s)
{
    for (int n = 0; n < s->y.n; n++) {
        const float *x = image_at(&s->x, n);
        float *y = image_at(&s->y, n);
        switch (s->kind) {
        case OP_SCALE:
            scale(y, x, (int64_t)s->y.h * s->y.w * s->y.c, s->factors, s->n_factors);
            break;
        case OP_CROP_MATRIX:
            crop_matrix(s->crop, x, y);
            break;
        case OP_WARP:
            warp(&s->y, y, &s->x, x, image_at(&s->matrix, n));
            break;
        case OP_MEAN:
            mean(y, x, (int64_t)s->x.h * s->x.w, s->x.c);
            break;
        case OP_GATE:
            gate(y, x, image_at(&s->matrix, n), (int64_t)s->x.h * s->x.w, s->x.c);
            break;
        default: // OP_PLACE
            place(y, x, s->x.w, image_at(&s->matrix, n));
            break;
        }
    }
}
