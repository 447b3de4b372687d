// Distances in space do not change when a head turns, as far as the mesh's depth is right. Measured
// on ten faces of eight people, in sixths of their clips: root mean squares of 0.001 to 0.015
// between parts of one clip (0.026 where a face is small and turns), 0.011 to 0.063 between
// people; in the skin's U and V together less than 2, and 1 to 35. SHAPE and SKIN are where both
// together let none of the 42 pairs pass, and all but the small face's.
#include "face/likeness.h"

#include <math.h>
#include <string.h>

#define SHAPE      0.016f
#define SKIN       8.0f // steps of 8 bits
#define MAX_FRAMES 200

// Corners of the eyes, ridge and foot of the nose, forehead, temples, cheekbones, brows.
static const uint16_t ids[LIKENESS_POINTS] = {33,  133, 362, 263, 168, 6,   197, 195, 5,  4,
                                              2,   98,  327, 10,  109, 338, 67,  297, 54, 284,
                                              127, 356, 234, 454, 93,  323, 21,  251, 70, 300};

// places: of the ids among the kept points. False where the points make no distances.
static bool shapes_of(const struct track_record *r, const int *places, float *ret)
{
    float points[TRACK_N_POINTS][3], mean = 0;
    int n = 0;
    record_points(r, points);
    for (int i = 0; i < LIKENESS_POINTS; i++)
        for (int k = i + 1; k < LIKENESS_POINTS; k++, n++) {
            const float *a = points[places[i]], *b = points[places[k]];
            ret[n] = hypotf(hypotf(a[0] - b[0], a[1] - b[1]), a[2] - b[2]);
            mean += ret[n] / LIKENESS_SHAPES;
        }
    for (int i = 0; i < LIKENESS_SHAPES; i++)
        ret[i] /= mean;
    return mean > 0 && isfinite(mean);
}

void likeness_of(struct likeness *ret, const struct track_record *records, int n,
                 const float skin[3])
{
    float shapes[LIKENESS_SHAPES];
    int places[LIKENESS_POINTS], wanted = KB_MIN(n, MAX_FRAMES), used = 0;
    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < LIKENESS_POINTS; i++)
        places[i] = track_point_of(ids[i]);
    for (int i = 0; i < wanted; i++) {
        if (!shapes_of(&records[(int64_t)i * n / wanted], places, shapes))
            continue;
        used++;
        for (int k = 0; k < LIKENESS_SHAPES; k++)
            ret->shapes[k] += (shapes[k] - ret->shapes[k]) / (float)used;
    }
    ret->n = used > 0 ? n : 0;
    ret->skin[0] = skin[1];
    ret->skin[1] = skin[2];
}

float likeness_distance(const struct likeness *a, const struct likeness *b)
{
    double sum = 0;
    if (a->n == 0 || b->n == 0)
        return INFINITY;
    for (int k = 0; k < LIKENESS_SHAPES; k++) {
        double d = (double)(a->shapes[k] - b->shapes[k]);
        sum += d * d;
    }
    return hypotf((float)sqrt(sum / LIKENESS_SHAPES) / SHAPE,
                  hypotf(a->skin[0] - b->skin[0], a->skin[1] - b->skin[1]) / SKIN);
}

void likeness_add(struct likeness *to, const struct likeness *more)
{
    if (more->n == 0)
        return;
    float part = (float)more->n / (float)(to->n + more->n);
    for (int k = 0; k < LIKENESS_SHAPES; k++)
        to->shapes[k] += (more->shapes[k] - to->shapes[k]) * part;
    for (int k = 0; k < 2; k++)
        to->skin[k] += (more->skin[k] - to->skin[k]) * part;
    to->n += more->n;
}
