// A reference interpreter of graphs: slow, plain, one image at a time, NHWC f32.
#ifndef TESTS_NN_PLAIN_H
#define TESTS_NN_PLAIN_H

#include "nn/graph.h"

struct plain {
    float *data;
    int h, w, c;
};

// Run an unoptimized graph on one image; returns all values.
struct plain *plain_run(const struct graph *g, const float *const *inputs);
void plain_free(const struct graph *g, struct plain *v);

#endif
