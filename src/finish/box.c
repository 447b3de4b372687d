#include "finish/box.h"

#include "base/base.h"
#include "base/vectorise.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct box {
    int width, height, max_radius, max_row;
    float *sums;     // of columns, over the rows of the window, one row a lane, margins of zeros
    float *rows;     // those of the window, a ring; n_lanes each
    float *means;    // what is emitted
    float *per_area; // one over the columns of the window, at each place
    float *scratch;
};

struct box *box_create(int width, int height, int max_radius, int max_row)
{
    struct box *b = kb_alloc(sizeof(*b));
    *b = (struct box){
        .width = width, .height = height, .max_radius = max_radius, .max_row = max_row};
    size_t bytes = (size_t)max_row * sizeof(float);
    b->sums = kb_alloc(bytes);
    b->rows = kb_alloc((2 * (size_t)max_radius + 2) * bytes);
    b->means = kb_alloc(bytes);
    b->per_area = kb_alloc(bytes);
    b->scratch = kb_alloc(bytes);
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

// The parts of one run.
struct run {
    int radius, n_lanes;
    int x0, x1;   // emitted
    int from, to; // filled
    float *sums;  // a lane's first: column x0 - radius
    int n_sums;   // columns of a lane
    float *means, *per_area, *scratch;
};

KB_VECTORISED static void add_rows(const struct run *r, const float *rows, float factor)
{
    int n = r->to - r->from, first = r->from - (r->x0 - r->radius);
    for (int i = 0; i < r->n_lanes; i++) {
        float *restrict sums = r->sums + i * r->n_sums + first;
        const float *restrict row = rows + i * n;
        for (int x = 0; x < n; x++)
            sums[x] += factor * row[x];
    }
}

// Sums over windows of 2 * radius + 1 columns, made of windows of powers of two, times what makes
// means of them.
KB_VECTORISED static void find_means(const struct run *r, float per_row)
{
    int w = r->x1 - r->x0;
    const float *restrict per_area = r->per_area;
    for (int i = 0; i < r->n_lanes; i++) {
        float *a = r->scratch;
        float *restrict to = r->means + i * w;
        int total = r->n_sums, step = 1, done = 0;
        memcpy(a, r->sums + i * r->n_sums, (size_t)total * sizeof(float));
        // 2 * radius + 1 is odd: the single one begins.
        for (int x = 0; x < w; x++)
            to[x] = a[x];
        for (int left = 2 * r->radius + 1;;) {
            done += left & 1 ? step : 0;
            left >>= 1;
            if (left == 0)
                break;
            total -= step;
            const float *later = a + step;
#pragma GCC ivdep
            for (int x = 0; x < total; x++)
                a[x] += later[x];
            step *= 2;
            const float *part = a + done;
            if (left & 1)
                for (int x = 0; x < w; x++)
                    to[x] += part[x];
        }
        for (int x = 0; x < w; x++)
            to[x] *= per_area[x] * per_row;
    }
}

void box_run(struct box *b, const struct box_area *area, int radius, int n_lanes, box_fill_fn *fill,
             box_emit_fn *emit, void *context)
{
    assert(radius > 0 && radius <= b->max_radius && n_lanes <= BOX_MAX_LANES);
    int w = b->width, h = b->height;
    struct run r = {.radius = radius,
                    .n_lanes = n_lanes,
                    .x0 = area->x0,
                    .x1 = area->x1,
                    .from = KB_MAX(area->x0 - radius, 0),
                    .to = KB_MIN(area->x1 + radius, w),
                    .sums = b->sums,
                    .n_sums = area->x1 - area->x0 + 2 * radius,
                    .means = b->means,
                    .per_area = b->per_area,
                    .scratch = b->scratch};
    assert(n_lanes * r.n_sums <= b->max_row);
    int n = r.to - r.from, n_ring = 2 * radius + 2;
    size_t row_size = (size_t)n_lanes * (size_t)n;
    float *means[BOX_MAX_LANES], *lanes[BOX_MAX_LANES];
    for (int i = 0; i < n_lanes; i++)
        means[i] = b->means + i * (r.x1 - r.x0);
    for (int x = r.x0; x < r.x1; x++)
        b->per_area[x - r.x0] =
            1.0f / (float)(KB_MIN(x + radius, w - 1) - KB_MAX(x - radius, 0) + 1);
    memset(b->sums, 0, (size_t)n_lanes * (size_t)r.n_sums * sizeof(float));
    int first = KB_MAX(area->y0 - radius, 0);
    for (int y = first - radius; y < area->y1; y++) {
        if (y + radius < h) {
            float *row = b->rows + (size_t)((y + radius) % n_ring) * row_size;
            for (int i = 0; i < n_lanes; i++)
                lanes[i] = row + i * n;
            fill(context, y + radius, r.from, r.to, lanes);
            add_rows(&r, row, 1);
        }
        if (y - radius - 1 >= first)
            add_rows(&r, b->rows + (size_t)((y - radius - 1) % n_ring) * row_size, -1);
        if (y < area->y0)
            continue;
        float n_rows = (float)(KB_MIN(y + radius, h - 1) - KB_MAX(y - radius, 0) + 1);
        find_means(&r, 1 / n_rows);
        emit(context, y, r.x0, r.x1, means);
    }
}
