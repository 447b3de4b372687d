// The operations by which a network looks again at a part of its picture: a crop around some of the
// landmarks it has found, and the landmarks of the crop brought back; and those by which it weighs
// its channels (OP_SCALE … OP_GATE of graph.h). f32, dense values. Internal to nn/. Thread-safe (no
// state).
//
// What they compute is MediaPipe's Landmarks2TransformMatrix and TransformTensorBilinear in their
// second version, and TransformLandmarks (mediapipe/util/tflite/operations).
#ifndef NN_SPATIAL_H
#define NN_SPATIAL_H

#include "nn/kernels.h"

// One operation: images of x and y as their kind in graph.h wants them.
struct spatial {
    enum op_kind kind;
    struct image x, matrix, y; // matrix: OP_WARP, OP_PLACE; OP_GATE: the factors
    const float *factors;      // OP_SCALE
    int n_factors;
    const struct crop_rule *crop; // OP_CROP_MATRIX
};

bool is_spatial(enum op_kind k);
void spatial_run(const struct spatial *s);

#endif
