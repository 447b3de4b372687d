// Means over squares of many planes at once, row by row: what guided filters and estimates of
// colours are made of. Of the planes only the rows of a window are ever there, and
// the means of a row are given to whoever asked; of a part of the picture, where only that counts.
// Not thread-safe: a box belongs to one thread at a time.
#ifndef FINISH_BOX_H
#define FINISH_BOX_H

#include "base/base.h"

#define BOX_MAX_LANES 16

// A part of the picture: columns x0 to x1, rows y0 to y1, without the last.
struct box_area {
    int x0, y0, x1, y1;
};

// All of the picture in slices of so many rows, of which the last may be lower: how many there are,
// and one of them.
static inline int slices_in(int height, int rows)
{
    return (height + rows - 1) / rows;
}

static inline struct box_area slice_at(int width, int height, int rows, int i)
{
    return (struct box_area){.x1 = width, .y0 = i * rows, .y1 = KB_MIN((i + 1) * rows, height)};
}

// The values of row y, columns x0 to x1 - 1, of each lane: lanes[i][0] is column x0's.
typedef void box_fill_fn(void *context, int y, int x0, int x1, float *const *lanes);
// The means around each of these places, of as much of the square as lies in the picture.
typedef void box_emit_fn(void *context, int y, int x0, int x1, float *const *means);

struct box;
// max_row: the most floats that a row has, all lanes of a run with radius columns more at both ends
// of each. Never NULL.
struct box *box_create(int width, int height, int max_radius, int max_row);
void box_free(struct box **b);
// Rows of the area are emitted from the first to the last; what is filled reaches radius beyond the
// area, and each row is filled once. 0 < radius <= max_radius, n_lanes <= BOX_MAX_LANES, of each
// lane 2 * radius more than the area's columns fit into max_row, the area lies in the picture.
void box_run(struct box *b, const struct box_area *area, int radius, int n_lanes, box_fill_fn *fill,
             box_emit_fn *emit, void *context);

#endif
