// A plane is shrunk row by row: the frame's rows that belong to a row of the region are added up
// with their weights, then the sums along the row. All weights are quarters, which is what chroma
// needs whose samples lie beside the middle of the luma pixels that they belong to.
#include "face/region.h"

#include "base/vectorise.h"

#include <stdlib.h>
#include <string.h>

// One axis of a plane.
struct axis {
    int n;      // samples in the plane
    int shrink; // of them make one of the region's; 0: one makes two (chroma beside unshrunk luma)
    bool sited; // chroma lies on the first of its two luma pixels, not between them
    int x0;     // where the region starts, in region pixels
};

struct plane {
    const uint8_t *data;
    ptrdiff_t stride;
    struct axis columns, rows;
    int shift; // log2 of the sum of all weights of a pixel
};

#define QUARTERS 4

static int log2_of(int power_of_two)
{
    return __builtin_ctz((unsigned)power_of_two);
}

static struct plane plane_of(const AVFrame *frame, int i, const struct region_place *p)
{
    // Unless the frame says otherwise, chroma lies on the left luma column, between two rows.
    enum AVChromaLocation where = frame->chroma_location;
    bool top = where == AVCHROMA_LOC_TOPLEFT || where == AVCHROMA_LOC_TOP;
    bool middle =
        where == AVCHROMA_LOC_CENTER || where == AVCHROMA_LOC_TOP || where == AVCHROMA_LOC_BOTTOM;
    struct plane r = {.data = frame->data[i], .stride = frame->linesize[i]};
    int shift = i ? 1 : 0;
    r.columns =
        (struct axis){(frame->width + shift) >> shift, p->shrink_x >> shift, i && !middle, p->x0};
    r.rows = (struct axis){(frame->height + shift) >> shift, p->shrink_y >> shift, i && top, p->y0};
    r.shift = log2_of(QUARTERS * KB_MAX(r.columns.shrink, 1)) +
              log2_of(QUARTERS * KB_MAX(r.rows.shrink, 1));
    return r;
}

// --- down the columns ---

KB_VECTORISED static void add_row(uint32_t *restrict sums, const uint8_t *restrict row,
                                  uint32_t weight, int n)
{
    for (int i = 0; i < n; i++)
        sums[i] += weight * row[i];
}

// The samples that make pixel i of the region, and their weights in quarters; returns how many.
static int taps(const struct axis *a, int i, int *ret_first, uint32_t weights[])
{
    i += a->x0;
    if (a->shrink == 0) {
        *ret_first = a->sited || i % 2 ? i / 2 : i / 2 - 1;
        weights[0] = a->sited ? (i % 2 ? 2 : 4) : (i % 2 ? 3 : 1);
        weights[1] = QUARTERS - weights[0];
        return 2;
    }
    *ret_first = i * a->shrink;
    for (int k = 0; k < a->shrink; k++)
        weights[k] = QUARTERS;
    if (!a->sited)
        return a->shrink;
    weights[0]--; // the middle lies a quarter of a sample further on
    weights[a->shrink] = 1;
    return a->shrink + 1;
}

// Add up the samples of row y of the region: n of them from column `first` on, which may be -1.
static void sum_rows(const struct plane *p, int y, int first, int n, uint32_t *ret)
{
    uint32_t weights[REGION_MAX_SHRINK + 1];
    int top, count = taps(&p->rows, y, &top, weights);
    int before = first < 0 ? 1 : 0, inside = KB_MIN(n - before, p->columns.n - first - before);
    uint32_t *sums = ret + before;
    memset(sums, 0, (size_t)inside * sizeof(*sums));
    for (int k = 0; k < count; k++) {
        int row = KB_MIN(KB_MAX(top + k, 0), p->rows.n - 1);
        add_row(sums, p->data + row * p->stride + first + before, weights[k], inside);
    }
    if (before)
        ret[0] = ret[1];
    for (int i = inside; i < n - before; i++)
        sums[i] = sums[inside - 1];
}

// --- along the row ---

KB_VECTORISED static void add_pairs(uint32_t *restrict ret, const uint32_t *restrict in, int n)
{
    for (int i = 0; i < n; i++)
        ret[i] = in[2 * i] + in[2 * i + 1];
}

KB_VECTORISED static void to_quarters(uint32_t *restrict ret, const uint32_t *restrict boxes, int n)
{
    for (int i = 0; i < n; i++)
        ret[i] = QUARTERS * boxes[i];
}

// A quarter of a sample further on: less of each box's first, more of the one behind it.
KB_VECTORISED static void lean(uint32_t *restrict ret, const uint32_t *restrict samples, int step,
                               int n)
{
    for (int i = 0; i < n; i++)
        ret[i] += samples[(i + 1) * step] - samples[i * step];
}

// Two of each; in starts with the sample before. w: of the one before, this, this, the next.
KB_VECTORISED static void double_up(uint32_t *restrict ret, const uint32_t *restrict in,
                                    const uint32_t w[4], int pairs)
{
    for (int i = 0; i < pairs; i++) {
        ret[2 * i] = w[0] * in[i] + w[1] * in[i + 1];
        ret[2 * i + 1] = w[2] * in[i + 1] + w[3] * in[i + 2];
    }
}

// Row y of the region, each value times 1 << p->shift. scratch: three arrays of room values.
static void shrink_row(const struct plane *p, int y, int width, size_t room, uint32_t *scratch,
                       uint32_t *ret)
{
    const struct axis *a = &p->columns;
    uint32_t *samples = scratch;
    if (a->shrink == 0) {
        static const uint32_t between[4] = {1, 3, 3, 1}, sited[4] = {0, 4, 2, 2};
        int pairs = (width + 1) / 2;
        sum_rows(p, y, a->x0 / 2 - 1, pairs + 2, samples);
        double_up(ret, samples, a->sited ? sited : between, pairs);
        return;
    }
    sum_rows(p, y, a->x0 * a->shrink, width * a->shrink + 1, samples);
    const uint32_t *boxes = samples;
    uint32_t *next = scratch + room, *other = next + room;
    for (int step = a->shrink; step > 1; step /= 2) {
        add_pairs(next, boxes, width * step / 2);
        boxes = next;
        next = other;
        other = (uint32_t *)boxes;
    }
    to_quarters(ret, boxes, width);
    if (a->sited)
        lean(ret, samples, a->shrink, width);
}

// Y, U, V and 0, the first in the lowest byte.
KB_VECTORISED static void pack(uint32_t *restrict ret, const uint32_t *restrict y,
                               const uint32_t *restrict u, const uint32_t *restrict v, int y_shift,
                               int c_shift, int n)
{
    uint32_t y_half = 1u << y_shift >> 1, c_half = 1u << c_shift >> 1;
    for (int i = 0; i < n; i++)
        ret[i] = (y[i] + y_half) >> y_shift | ((u[i] + c_half) >> c_shift) << 8 |
                 ((v[i] + c_half) >> c_shift) << 16;
}

void region_take(struct region *ret, const AVFrame *frame, const struct region_place *place)
{
    int width = place->width;
    size_t room = (size_t)width * (size_t)place->shrink_x + 4;
    ret->place = *place;
    ret->pixels = kb_alloc((size_t)width * (size_t)place->height * sizeof(ret->pixels[0]));
    CLEANUP(kb_freep) uint32_t *scratch = kb_alloc(6 * room * sizeof(*scratch));
    uint32_t *rows[3] = {scratch, scratch + room, scratch + 2 * room};
    struct plane planes[3];
    for (int i = 0; i < 3; i++)
        planes[i] = plane_of(frame, i, place);
    for (int y = 0; y < place->height; y++) {
        for (int i = 0; i < 3; i++)
            shrink_row(&planes[i], y, width, room, scratch + 3 * room, rows[i]);
        pack(ret->pixels + (size_t)y * (size_t)width, rows[0], rows[1], rows[2], planes[0].shift,
             planes[1].shift, width);
    }
}

void region_clear(struct region *r)
{
    free(r->pixels);
    *r = (struct region){0};
}
