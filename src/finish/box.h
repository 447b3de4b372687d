// Means over squares of many planes at once, row by row: what guided filters and estimates of
// colours are made of. The planes are never stored: rows of them are made when they are wanted, and
// the means of a row are given to whoever asked. Not thread-safe: a box belongs to one thread at a
// time.
#ifndef FINISH_BOX_H
#define FINISH_BOX_H

#define BOX_MAX_LANES 16

// Write row y of each lane: the width's values.
typedef void box_fill_fn(void *context, int y, float *const *lanes);
// The means around each place of row y, of as much of the square as lies in the picture.
typedef void box_emit_fn(void *context, int y, float *const *means);

struct box;
struct box *box_create(int width, int height, int max_radius); // never NULL
void box_free(struct box **b);
// Rows are emitted from the first to the last; a row is filled twice, when it comes in and when it
// leaves, and must be the same both times. 0 < radius <= max_radius, n_lanes <= BOX_MAX_LANES.
void box_run(struct box *b, int radius, int n_lanes, box_fill_fn *fill, box_emit_fn *emit,
             void *context);

#endif
