// Triangles with values at their corners to a map of values for each pixel: a pixel belongs to the
// triangle that holds its centre, an edge that two triangles share to just one of them.
//
// A struct raster holds scratch memory: one thread at a time. Pixel (x, y) has its centre at
// (x + 0.5, y + 0.5), as everywhere in the track.
#ifndef RIG_RASTER_H
#define RIG_RASTER_H

#include "base/base.h"

#define RASTER_MAX_VALUES 6

struct corner {
    float x, y;
    float value[RASTER_MAX_VALUES];
};

struct raster {
    int x0, y0, width, height; // of the map, in pixels of the picture
    int n_values;
    float *values[RASTER_MAX_VALUES]; // width * height each
    int *first, *last;                // of each row: columns first … last - 1 of the map are set
    size_t capacity;                  // --- private: floats there is room for in each map
    int row_capacity;
};

// Begin a map; what no triangle covers between first and last will be `fill`. False where it would
// be empty or larger than 2^26 pixels.
bool raster_begin(struct raster *r, int x0, int y0, int x1, int y1, int n_values, float fill);
void raster_triangle(struct raster *r, const struct corner *a, const struct corner *b,
                     const struct corner *c);
void raster_clear(struct raster *r);

#endif
