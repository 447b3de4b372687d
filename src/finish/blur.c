#include "finish/blur.h"

#include "base/vectorise.h"
#include "finish/box.h"
#include "finish/clamp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RADIUS 64

struct blurrer {
    const struct matte *matte;
    struct box *box;
    int radius;
    float *weight;       // 1 where surely nobody is
    float *planes[2][4]; // before and after a pass: Y, U, V, how much of it is real
    int from;
    AVFrame *picture;
    float *row;
};

struct blurrer *blurrer_create(const struct matte *m)
{
    struct blurrer *b = kb_alloc(sizeof(*b));
    size_t bytes = (size_t)m->w * (size_t)m->h * sizeof(float);
    b->box = box_create(m->w, m->h, MAX_RADIUS);
    b->radius = KB_MIN(KB_MAX(KB_MIN(m->w, m->h) / 40, 3), MAX_RADIUS / 2);
    b->weight = kb_alloc(bytes);
    for (int i = 0; i < 8; i++)
        b->planes[i / 4][i % 4] = kb_alloc(bytes);
    b->row = kb_alloc((size_t)m->w * sizeof(float));
    return b;
}

void blurrer_free(struct blurrer **b)
{
    if (!*b)
        return;
    free((*b)->weight);
    for (int i = 0; i < 8; i++)
        free((*b)->planes[i / 4][i % 4]);
    free((*b)->row);
    box_free(&(*b)->box);
    av_frame_free(&(*b)->picture);
    free(*b);
    *b = NULL;
}

static size_t row_of(const struct blurrer *b, int y)
{
    return (size_t)y * (size_t)b->matte->w;
}

static void fill_alpha(void *context, int y, float *const *lanes)
{
    const struct blurrer *b = context;
    memcpy(lanes[0], b->matte->planes[MATTE_ALPHA] + row_of(b, y),
           (size_t)b->matte->w * sizeof(float));
}

// Nobody is near: what the person's colour may have touched is left out as well.
KB_VECTORISED static void emit_weight(void *context, int y, float *const *means)
{
    const struct blurrer *b = context;
    float *restrict to = b->weight + row_of(b, y);
    for (int x = 0; x < b->matte->w; x++)
        to[x] = larger(1 - means[0][x] * 12, 0) + 1e-5f;
}

KB_VECTORISED static void fill_behind(void *context, int y, float *const *lanes)
{
    const struct blurrer *b = context;
    size_t at = row_of(b, y);
    const float *restrict weight = b->weight + at;
    for (int i = 0; i < 3; i++) {
        const float *restrict from = b->matte->planes[MATTE_Y + i] + at;
        for (int x = 0; x < b->matte->w; x++)
            lanes[i][x] = from[x] * weight[x];
    }
    memcpy(lanes[3], weight, (size_t)b->matte->w * sizeof(float));
}

static void fill_again(void *context, int y, float *const *lanes)
{
    const struct blurrer *b = context;
    for (int i = 0; i < 4; i++)
        memcpy(lanes[i], b->planes[b->from][i] + row_of(b, y), (size_t)b->matte->w * sizeof(float));
}

static void emit_pass(void *context, int y, float *const *means)
{
    const struct blurrer *b = context;
    for (int i = 0; i < 4; i++)
        memcpy(b->planes[!b->from][i] + row_of(b, y), means[i],
               (size_t)b->matte->w * sizeof(float));
}

KB_VECTORISED static void divide(float *restrict plane, const float *restrict by, size_t n)
{
    for (size_t i = 0; i < n; i++)
        plane[i] /= by[i];
}

// One row of the picture's, bilinear between the columns of the reduced one.
KB_VECTORISED static void widen(uint8_t *restrict to, int width, const float *restrict row, int w,
                                float per_place, float scale, float offset)
{
    for (int x = 0; x < width; x++) {
        float at = smaller(larger(((float)x + 0.5f) * per_place - 0.5f, 0), (float)(w - 1));
        int x0 = (int)at, x1 = x0 + (x0 < w - 1);
        float v = row[x0] + (at - (float)x0) * (row[x1] - row[x0]);
        to[x] = (uint8_t)smaller(larger(v * scale + offset, 0), 255);
    }
}

KB_VECTORISED static void between(float *restrict to, const float *restrict a,
                                  const float *restrict b, float t, int n)
{
    for (int x = 0; x < n; x++)
        to[x] = a[x] + t * (b[x] - a[x]);
}

static void enlarge(struct blurrer *b, int plane)
{
    const struct matte *m = b->matte;
    int shift = plane > 0, width = m->width >> shift, height = m->height >> shift;
    float per_place = (float)(1 << shift) / (float)m->step;
    float scale = plane ? 127.5f : 255, offset = plane ? 128.5f : 0.5f;
    for (int y = 0; y < height; y++) {
        float at = ((float)y + 0.5f) * per_place - 0.5f;
        at = smaller(larger(at, 0), (float)(m->h - 1));
        int y0 = (int)at, y1 = KB_MIN(y0 + 1, m->h - 1);
        const float *from = b->planes[b->from][plane];
        between(b->row, from + row_of(b, y0), from + row_of(b, y1), at - (float)y0, m->w);
        widen(b->picture->data[plane] + (ptrdiff_t)y * b->picture->linesize[plane], width, b->row,
              m->w, per_place, scale, offset);
    }
}

enum kb_code blurrer_run(struct blurrer *b, const struct matte *m, const AVFrame **ret,
                         struct kb_error *err)
{
    b->matte = m;
    if (!b->picture) {
        b->picture = av_frame_alloc();
        if (!b->picture)
            return kb_no_memory(err);
        b->picture->width = m->width;
        b->picture->height = m->height;
        b->picture->format = AV_PIX_FMT_YUV420P;
        if (av_frame_get_buffer(b->picture, 0) < 0)
            return kb_no_memory(err);
    }
    box_run(b->box, KB_MAX(b->radius / 3, 2), 1, fill_alpha, emit_weight, b);
    b->from = 1;
    box_run(b->box, b->radius, 4, fill_behind, emit_pass, b);
    for (int pass = 0; pass < 2; pass++) {
        b->from = !b->from;
        box_run(b->box, b->radius, 4, fill_again, emit_pass, b);
    }
    b->from = !b->from;
    for (int i = 0; i < 3; i++)
        divide(b->planes[b->from][i], b->planes[b->from][3], (size_t)m->w * (size_t)m->h);
    for (int i = 0; i < 3; i++)
        enlarge(b, i);
    *ret = b->picture;
    return KB_OK;
}
