// A face of ellipses, which the face mesh takes for one: as tools/golden/tflite.py draws it, in
// whole numbers.
#ifndef TESTS_DRAWN_FACE_H
#define TESTS_DRAWN_FACE_H

#include "base/base.h"

// Turned by an angle with these cosine and sine times unit. 192 x 192, RGB, 0 … 1.
static inline void draw_face(float *to, int cosine, int sine, int unit)
{
    static const struct {
        int x, y, a, b;
        uint8_t colour[3];
    } face[] = {
        {96, 96, 62, 82, {205, 160, 135}}, {96, 40, 60, 36, {70, 50, 40}},
        {96, 84, 52, 52, {205, 160, 135}}, {70, 82, 13, 7, {240, 240, 240}},
        {122, 82, 13, 7, {240, 240, 240}}, {70, 82, 6, 6, {50, 35, 25}},
        {122, 82, 6, 6, {50, 35, 25}},     {70, 68, 16, 3, {70, 50, 40}},
        {122, 68, 16, 3, {70, 50, 40}},    {96, 108, 11, 7, {180, 130, 110}},
        {91, 110, 3, 2, {90, 50, 45}},     {101, 110, 3, 2, {90, 50, 45}},
        {96, 136, 24, 11, {170, 80, 80}},  {96, 136, 17, 5, {60, 20, 25}},
    };
    const int size = 192;
    for (int i = 0; i < size * size; i++) {
        const uint8_t *colour = (const uint8_t[]){90, 110, 120};
        int x = 2 * (i % size) + 1 - size, y = 2 * (i / size) + 1 - size;
        int turned_x = cosine * x + sine * y, turned_y = cosine * y - sine * x;
        for (size_t k = 0; k < ARRAY_LEN(face); k++) {
            int64_t u = (turned_x - unit * (2 * face[k].x - size)) * face[k].b;
            int64_t v = (turned_y - unit * (2 * face[k].y - size)) * face[k].a;
            int64_t r = (int64_t)2 * unit * face[k].a * face[k].b;
            if (u * u + v * v <= r * r)
                colour = face[k].colour;
        }
        for (int c = 0; c < 3; c++)
            to[3 * i + c] = (float)colour[c] / 255;
    }
}

#endif
