#include "finish/box.h"

#include "base/base.h"
#include "base/vectorise.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct box {
    int width, height, max_radius;
    size_t stride;   // of a row with its margins
    float *sums;     // of columns, over the rows of the window, one row a lane, margins of zeros
    float *rows;     // what comes in or leaves
    float *means;    // what is emitted
    float *per_area; // one over the columns of the window, at each place
    float *scratch;
};

struct box *box_create(int width, int height, int max_radius)
{
    struct box *b = kb_alloc(sizeof(*b));
    *b = (struct box){.width = width, .height = height, .max_radius = max_radius};
    b->stride = (size_t)width + 2 * (size_t)max_radius + 2;
    b->sums = kb_alloc(BOX_MAX_LANES * b->stride * sizeof(float));
    b->rows = kb_alloc(BOX_MAX_LANES * (size_t)width * sizeof(float));
    b->means = kb_alloc(BOX_MAX_LANES * (size_t)width * sizeof(float));
    b->per_area = kb_alloc((size_t)width * sizeof(float));
    b->scratch = kb_alloc(b->stride * sizeof(float));
    return b;
}

void box_free(struct box **b)
{
    if (!*b)
        return;
    free((*b)->sums);
    free((*b)->rows);
    free((*b)->means);
    free((*b)->per_area);
    free((*b)->scratch);
    free(*b);
    *b = NULL;
}

KB_VECTORISED static void add_row(float *restrict sums, const float *restrict row, int n,
                                  float factor)
{
    for (int x = 0; x < n; x++)
        sums[x] += factor * row[x];
}

KB_VECTORISED static void add_shifted(float *restrict to, const float *restrict from, int n)
{
    for (int x = 0; x < n; x++)
        to[x] += from[x];
}

// Each becomes itself and the one `step` later.
KB_VECTORISED static void double_up(float *a, int n, int step)
{
    const float *later = a + step;
#pragma GCC ivdep
    for (int x = 0; x < n; x++)
        a[x] += later[x];
}

KB_VECTORISED static void scale_row(float *restrict a, const float *restrict by, int n,
                                    float factor)
{
    for (int x = 0; x < n; x++)
        a[x] *= by[x] * factor;
}

// Sums over windows of 2 * radius + 1 columns, made of windows of powers of two. from has radius
// zeros before its first and behind its last.
static void sum_windows(const struct box *b, int radius, const float *from, float *to)
{
    int total = b->width + 2 * radius, step = 1, done = 0;
    memcpy(b->scratch, from, (size_t)total * sizeof(float));
    memset(to, 0, (size_t)b->width * sizeof(float));
    for (int left = 2 * radius + 1; left > 0; left >>= 1) {
        if (left & 1) {
            add_shifted(to, b->scratch + done, b->width);
            done += step;
        }
        if (left > 1) {
            total -= step;
            double_up(b->scratch, total, step);
            step *= 2;
        }
    }
}

void box_run(struct box *b, int radius, int n_lanes, box_fill_fn *fill, box_emit_fn *emit,
             void *context)
{
    assert(radius > 0 && radius <= b->max_radius && n_lanes <= BOX_MAX_LANES);
    int w = b->width, h = b->height;
    float *rows[BOX_MAX_LANES], *means[BOX_MAX_LANES];
    for (int i = 0; i < n_lanes; i++) {
        rows[i] = b->rows + (size_t)i * (size_t)w;
        means[i] = b->means + (size_t)i * (size_t)w;
    }
    for (int x = 0; x < w; x++)
        b->per_area[x] = 1.0f / (float)(KB_MIN(x + radius, w - 1) - KB_MAX(x - radius, 0) + 1);
    memset(b->sums, 0, BOX_MAX_LANES * b->stride * sizeof(float));
    for (int y = -radius; y < h; y++) {
        if (y + radius < h) {
            fill(context, y + radius, rows);
            for (int i = 0; i < n_lanes; i++)
                add_row(b->sums + (size_t)i * b->stride + radius, rows[i], w, 1);
        }
        if (y - radius - 1 >= 0) {
            fill(context, y - radius - 1, rows);
            for (int i = 0; i < n_lanes; i++)
                add_row(b->sums + (size_t)i * b->stride + radius, rows[i], w, -1);
        }
        if (y < 0)
            continue;
        float n_rows = (float)(KB_MIN(y + radius, h - 1) - KB_MAX(y - radius, 0) + 1);
        for (int i = 0; i < n_lanes; i++) {
            sum_windows(b, radius, b->sums + (size_t)i * b->stride, means[i]);
            scale_row(means[i], b->per_area, w, 1 / n_rows);
        }
        emit(context, y, means);
    }
}
