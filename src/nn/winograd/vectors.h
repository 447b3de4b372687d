// The transforms along a line, of vectors (nn/lanes.h). Thread-safe (no state).
//
// Transforms are those of Toom and Cook for the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray
// 2015, "Fast algorithms for convolutional neural networks"), as many of them as are needed. Their
// denominators stand with the weights (weights.c), so that only small whole numbers are left here.
#ifndef NN_WINOGRAD_VECTORS_H
#define NN_WINOGRAD_VECTORS_H

#include "nn/lanes.h"
#include "nn/winograd/kernels.h"

// --- from inputs to points ---

// x[0], x[step], …: the inputs along a line, which become its points.
INLINE void to_points(vec *x, int step, int taps, int points)
{
    if (taps == 1)
        return;
    vec a = x[0], b = x[step], c = x[2 * step], d = x[3 * step];
    if (points == 4) {
        x[0] = c - a;
        x[step] = b + c;
        x[2 * step] = c - b;
        x[3 * step] = d - b;
        return;
    }
    vec e = x[4 * step];
    if (points == 5) {
        x[0] = 2.0f * (a - c) + (d - b);
        x[step] = d - c - 2.0f * b;
        x[2 * step] = d - 3.0f * c + 2.0f * b;
        x[3 * step] = d - b;
        x[4 * step] = 2.0f * (b - d) + (e - c);
        return;
    }
    vec f = x[5 * step], even = e - 4.0f * c, odd = d - 4.0f * b;
    vec far_even = e - c, far_odd = 2.0f * (d - b);
    x[0] = 4.0f * a - 5.0f * c + e;
    x[step] = even + odd;
    x[2 * step] = even - odd;
    x[3 * step] = far_even + far_odd;
    x[4 * step] = far_even - far_odd;
    x[5 * step] = 4.0f * b - 5.0f * d + f;
}

// --- from points to outputs ---

// y: as many outputs as the line has. x as in to_points().
INLINE void to_outputs(vec *y, int y_step, const vec *x, int step, int taps, int out)
{
    if (taps == 1) {
#pragma GCC unroll 4
        for (int i = 0; i < out; i++)
            y[i * y_step] = x[i * step];
        return;
    }
    const int points = WINOGRAD_POINTS(taps, out);
    vec sum = x[step] + x[2 * step], difference = x[step] - x[2 * step];
    vec first = x[0] + sum, second = difference, third = sum, fourth = difference;
    if (points == 5) {
        vec a = x[3 * step];
        first += a;
        second += 2.0f * a;
        third += 4.0f * a;
        fourth += 8.0f * a;
    } else if (points == 6) {
        vec a = x[3 * step] + x[4 * step], b = x[3 * step] - x[4 * step];
        first += a;
        second += 2.0f * b;
        third += 4.0f * a;
        fourth += 8.0f * b;
    }
    vec last = x[(points - 1) * step];
    y[0] = first;
    y[y_step] = out == 2 ? second + last : second;
    if (out > 2)
        y[2 * y_step] = out == 3 ? third + last : third;
    if (out > 3)
        y[3 * y_step] = fourth + last;
}

#endif
