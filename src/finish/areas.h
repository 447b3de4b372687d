// Which parts of a picture are worth the work: rows of columns' strips are marked, and what is
// marked comes as rectangles. They depend on the marks alone. Not thread-safe, but rows may be
// marked by several threads at once, each its own.
#ifndef FINISH_AREAS_H
#define FINISH_AREAS_H

#include "finish/box.h"

#include <stdint.h>

#define AREA_WIDTH 48 // of a strip, but for the last one

struct areas {
    int width, height, n_strips;
    uint8_t *marks; // height rows of n_strips
    struct box_area *list;
    int n;
};

struct areas *areas_create(int width, int height); // never NULL
void areas_free(struct areas **a);
// The marks of a row, all cleared: one for each strip, 1 where it is wanted.
uint8_t *areas_row(struct areas *a, int y);
// Make the list, higher by `beyond` rows above and below; what lies nearer than `gap` rows in a
// strip becomes one. No two of them overlap.
void areas_gather(struct areas *a, int beyond, int gap);

#endif
