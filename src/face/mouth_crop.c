#include "face/mouth_crop.h"

#include "base/vectorise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// First and last pixel of a row or column of `size` pixels, both even, that hold low to high.
static void even_range(float low, float high, int size, int *ret_first, int *ret_end)
{
    float end = (float)(size & ~1);
    *ret_first = (int)fminf(fmaxf(low, 0), end) & ~1;
    *ret_end = ((int)ceilf(fminf(fmaxf(high, 0), end)) + 1) & ~1;
}

void mouth_crop_place(struct kept_mouth *ret, const AVFrame *frame, const float lips[4], float grow)
{
    int x0, y0, x1, y1;
    even_range(lips[0] - grow, lips[2] + grow, frame->width, &x0, &x1);
    even_range(lips[1] - grow, lips[3] + grow, frame->height, &y0, &y1);
    int width = KB_MAX(x1 - x0, 2), height = KB_MAX(y1 - y0, 2), side = KB_MAX(width, height);
    float scale = fminf(1, (float)TRACK_MOUTH_MAX_WIDTH / (float)side);
    ret->width = KB_MAX(KB_MIN(width, width * TRACK_MOUTH_MAX_WIDTH / side) & ~1, 2);
    ret->height = KB_MAX(KB_MIN(height, height * TRACK_MOUTH_MAX_WIDTH / side) & ~1, 2);
    ret->x0 = (float)x0;
    ret->y0 = (float)y0;
    ret->scale = scale;
}

// What of a frame's plane lies right of and below the crop's first pixel.
struct part {
    const uint8_t *pixels;
    ptrdiff_t stride;
    int width, height;
};

static struct part part_of(const AVFrame *frame, const struct kept_mouth *place, int plane)
{
    int half = plane ? 1 : 0, x = (int)place->x0 >> half, y = (int)place->y0 >> half;
    ptrdiff_t stride = frame->linesize[plane];
    return (struct part){frame->data[plane] + y * stride + x, stride, (frame->width >> half) - x,
                         (frame->height >> half) - y};
}

static void KB_VECTORISED add_weighted(float *ret, const uint8_t *line, int n, float weight)
{
    for (int i = 0; i < n; i++)
        ret[i] += weight * (float)line[i];
}

// What one column of the result takes from a row: all of the pixels between the first and the last,
// and these in part.
struct taps {
    int first, last;
    float first_weight, last_weight;
};

static struct taps *make_taps(int width, float step, int columns)
{
    struct taps *t = kb_alloc((size_t)width * sizeof(*t));
    for (int x = 0; x < width; x++) {
        float left = (float)x * step, right = left + step;
        int first = KB_MIN((int)left, columns - 1), last = KB_MIN((int)right, columns - 1);
        // Of one and the same pixel the two parts together are what is taken.
        t[x] = (struct taps){first, last, (float)(first + 1) - left, right - (float)last};
        if (first == last)
            t[x].first_weight = 0;
    }
    return t;
}

// To width x height pixels, each the mean of `step` x `step` of the part's. step >= 1.
static void shrink(const struct part *from, int width, int height, float step, uint8_t *ret)
{
    int columns = KB_MIN((int)ceilf((float)width * step), from->width);
    CLEANUP(kb_freep) float *row = kb_alloc((size_t)columns * sizeof(*row));
    CLEANUP(kb_freep) struct taps *taps = make_taps(width, step, columns);
    float share = 1 / (step * step);
    for (int y = 0; y < height; y++) {
        // The sum of the rows, each weighted by what of it lies in [top, bottom).
        float top = (float)y * step, bottom = top + step;
        memset(row, 0, (size_t)columns * sizeof(*row));
        for (int sy = (int)top; (float)sy < bottom && sy < from->height; sy++)
            add_weighted(row, from->pixels + sy * from->stride, columns,
                         fminf((float)sy + 1, bottom) - fmaxf((float)sy, top));
        for (int x = 0; x < width; x++) {
            struct taps t = taps[x];
            float sum = row[t.first] * t.first_weight + row[t.last] * t.last_weight;
            for (int sx = t.first + 1; sx < t.last; sx++)
                sum += row[sx];
            ret[y * width + x] = (uint8_t)fminf(fmaxf(sum * share + 0.5f, 0), 255);
        }
    }
}

// Adds the Laplacian of the n pixels from p on and its squares. n <= 2000: no overflow.
static void KB_VECTORISED add_laplacian(const uint8_t *p, ptrdiff_t stride, int n, int64_t *sum,
                                        int64_t *squares)
{
    int32_t s = 0, q = 0;
    for (int i = 0; i < n; i++) {
        int32_t v = 4 * p[i] - p[i - 1] - p[i + 1] - p[i - stride] - p[i + stride];
        s += v;
        q += v * v;
    }
    *sum += s;
    *squares += q;
}

float mouth_crop_sharpness(const AVFrame *frame, const struct kept_mouth *place)
{
    enum { COLUMNS = 128, MAX_ROWS = 4 * COLUMNS };
    float across = (float)place->width / place->scale, down = (float)place->height / place->scale;
    float step = fmaxf(across / COLUMNS, 1);
    int width = (int)(across / step), height = KB_MIN((int)(down / step), MAX_ROWS);
    struct part from = part_of(frame, place, 0);
    CLEANUP(kb_freep) uint8_t *small = NULL;
    if (step > 1) {
        small = kb_alloc((size_t)width * (size_t)height);
        shrink(&from, width, height, step, small);
        from = (struct part){small, width, width, height};
    }
    int64_t sum = 0, squares = 0;
    for (int y = 1; y < height - 1; y++)
        add_laplacian(from.pixels + y * from.stride + 1, from.stride, width - 2, &sum, &squares);
    double n = KB_MAX((width - 2) * (height - 2), 1), mean = (double)sum / n;
    double variance = (double)squares / n - mean * mean;
    // The same detail has a Laplacian that falls with the square of the scale.
    return (float)(log(fmax(variance, 1e-3)) + 4 * log((double)width / COLUMNS));
}

enum kb_code mouth_crop_take(struct kept_mouth *place, const AVFrame *frame, struct kb_error *err)
{
    uint8_t *to = kb_calloc_checked(mouth_bytes(place->width, place->height), 1);
    if (!to)
        return kb_no_memory(err);
    place->pixels = to;
    for (int k = 0; k < 3; k++) {
        int half = k ? 1 : 0, width = place->width >> half, height = place->height >> half;
        struct part from = part_of(frame, place, k);
        if (place->scale < 1)
            shrink(&from, width, height, 1 / place->scale, to);
        for (int row = 0; row < height && place->scale >= 1; row++)
            memcpy(to + row * width, from.pixels + row * from.stride, (size_t)width);
        to += (size_t)width * (size_t)height;
    }
    return KB_OK;
}
