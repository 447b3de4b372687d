#include "rig/canvas.h"

#include "rig/rig.h"

#include "base/vectorise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct canvas *canvas_create(void)
{
    return kb_alloc(sizeof(struct canvas));
}

void canvas_free(struct canvas **c)
{
    if (!*c)
        return;
    free((*c)->copy);
    raster_clear(&(*c)->raster);
    for (int k = 0; k < 4; k++)
        free((*c)->rows[k]);
    free((*c)->bytes);
    free(*c);
    *c = NULL;
}

static void need_rows(struct canvas *c, int width)
{
    if (width <= c->row_width)
        return;
    c->row_width = width;
    for (int k = 0; k < 4; k++) {
        free(c->rows[k]);
        c->rows[k] = kb_alloc((size_t)width * sizeof(float));
    }
    free(c->bytes);
    c->bytes = kb_alloc((size_t)width);
}

// --- the copy ---

static int clamp_int(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

static void copy_plane(const uint8_t *from, ptrdiff_t stride, int from_width, int from_height,
                       int x0, int y0, struct plane *to, uint8_t *data)
{
    int left = clamp_int(-x0, 0, to->width);
    int right = clamp_int(from_width - x0, left, to->width);
    for (int y = 0; y < to->height; y++) {
        const uint8_t *row = from + (ptrdiff_t)clamp_int(y0 + y, 0, from_height - 1) * stride;
        uint8_t *out = data + (ptrdiff_t)y * to->stride;
        memset(out, row[0], (size_t)left);
        memcpy(out + left, row + x0 + left, (size_t)(right - left));
        memset(out + right, row[from_width - 1], (size_t)(to->width - right));
    }
    to->data = data;
}

bool canvas_copy(struct canvas *c, const AVFrame *frame, int x0, int y0, int x1, int y1)
{
    if (x0 >= frame->width || y0 >= frame->height || x1 <= 0 || y1 <= 0)
        return false;
    c->x0 = x0 & ~1;
    c->y0 = y0 & ~1;
    c->width = KB_MAX((x1 - c->x0 + 1) & ~1, 8);
    c->height = KB_MAX((y1 - c->y0 + 1) & ~1, 8);
    if ((int64_t)c->width * c->height > 1 << 26)
        return false;
    // The samples are read four bytes at a time: one row more.
    size_t luma = (size_t)c->width * (size_t)c->height, need = luma * 3 / 2 + (size_t)c->width;
    if (need > c->copy_size) {
        free(c->copy);
        c->copy = kb_alloc(need);
        c->copy_size = need;
    }
    uint8_t *data = c->copy;
    for (int k = 0; k < 3; k++) {
        int half = k > 0;
        struct plane *to = &c->planes[k];
        to->width = c->width >> half;
        to->height = c->height >> half;
        to->stride = to->width;
        copy_plane(frame->data[k], frame->linesize[k], (frame->width + half) >> half,
                   (frame->height + half) >> half, c->x0 >> half, c->y0 >> half, to, data);
        data += (ptrdiff_t)to->stride * to->height;
    }
    return true;
}

// --- the warp ---

KB_VECTORISED static void to_places(const float *restrict dx, const float *restrict dy, int n,
                                    float x, float y, float *restrict ret_x, float *restrict ret_y)
{
    for (int i = 0; i < n; i++) {
        ret_x[i] = x + (float)i + dx[i];
        ret_y[i] = y + dy[i];
    }
}

// Mean of two rows at every second column.
KB_VECTORISED static void halve_rows(const float *restrict a, const float *restrict b, int n,
                                     float factor, float *restrict ret)
{
    for (int i = 0; i < n; i++)
        ret[i] = (a[2 * i] + b[2 * i]) * factor;
}

static void warp_luma(struct canvas *c, AVFrame *frame, sample_row_fn *sample)
{
    const struct raster *m = &c->raster;
    for (int y = 0; y < m->height; y++) {
        int first = m->first[y], n = m->last[y] - first;
        if (n <= 0)
            continue;
        ptrdiff_t at = (ptrdiff_t)y * m->width + first;
        to_places(m->values[0] + at, m->values[1] + at, n, (float)(m->x0 + first - c->x0),
                  (float)(m->y0 + y - c->y0), c->rows[0], c->rows[1]);
        sample(&c->planes[0], c->rows[0], c->rows[1], n,
               frame->data[0] + (ptrdiff_t)(m->y0 + y) * frame->linesize[0] + m->x0 + first);
    }
}

// Of the map's rows y and y + 1 together: the first column, even, and how many chroma samples.
static int chroma_span(const struct raster *m, int y, int *ret_first)
{
    *ret_first = KB_MIN(m->first[y], m->first[y + 1]) & ~1;
    return (KB_MAX(m->last[y], m->last[y + 1]) - *ret_first + 1) / 2;
}

// A chroma sample lies on the first of its two luma columns and between its two luma rows, as in
// MPEG-2; its displacement is theirs, halved.
static void warp_chroma(struct canvas *c, AVFrame *frame, sample_row_fn *sample)
{
    const struct raster *m = &c->raster;
    for (int y = 0; y + 1 < m->height; y += 2) {
        int first, n = chroma_span(m, y, &first);
        if (n <= 0)
            continue;
        ptrdiff_t at = (ptrdiff_t)y * m->width + first;
        halve_rows(m->values[0] + at, m->values[0] + at + m->width, n, 0.25f, c->rows[2]);
        halve_rows(m->values[1] + at, m->values[1] + at + m->width, n, 0.25f, c->rows[3]);
        int x = (m->x0 + first) / 2, row = (m->y0 + y) / 2;
        to_places(c->rows[2], c->rows[3], n, (float)(x - c->x0 / 2), (float)(row - c->y0 / 2),
                  c->rows[0], c->rows[1]);
        for (int k = 1; k < 3; k++)
            sample(&c->planes[k], c->rows[0], c->rows[1], n,
                   frame->data[k] + (ptrdiff_t)row * frame->linesize[k] + x);
    }
}

void canvas_warp(struct canvas *c, AVFrame *frame)
{
    need_rows(c, c->raster.width + 2);
    warp_luma(c, frame, sample_row_best(&c->planes[0]));
    warp_chroma(c, frame, sample_row_best(&c->planes[1]));
}

// --- the inlay ---

// How much of the inlay a pixel shows: half at the edge, all half a feather further in; little
// where the hole itself is narrower than the feather.
KB_VECTORISED static void find_alpha(const float *restrict below, const float *restrict above,
                                     int n, float feather, float strength, float *restrict ret)
{
    for (int i = 0; i < n; i++) {
        float edge = below[i] < above[i] ? below[i] : above[i];
        float open = (below[i] + above[i]) / feather, a = 0.8f + edge / feather;
        open = open < 1 ? open : 1;
        a = a < 0 ? 0 : a > 1 ? 1 : a;
        ret[i] = a * (open > 0 ? open : 0) * strength;
    }
}

KB_VECTORISED static void blend_luma(const uint8_t *restrict from, const float *restrict shade,
                                     const float *restrict dark, const float *restrict alpha, int n,
                                     float gain, float cavity, uint8_t *restrict to)
{
    for (int i = 0; i < n; i++) {
        float v = ((float)from[i] - 16) * gain;
        v = 16 + (v + (cavity - 16 - v) * dark[i]) * shade[i];
        v = (float)to[i] + (v - (float)to[i]) * alpha[i] + 0.5f;
        to[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

KB_VECTORISED static void blend_chroma(const uint8_t *restrict from, const float *restrict dark,
                                       const float *restrict alpha, int n, float shift,
                                       float cavity, uint8_t *restrict to)
{
    for (int i = 0; i < n; i++) {
        float v = (float)from[i] + shift;
        v += (cavity - v) * dark[i];
        v = (float)to[i] + (v - (float)to[i]) * alpha[i] + 0.5f;
        to[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

static struct plane picture_plane(const struct mouth_picture *p, int k)
{
    return (struct plane){p->planes[k], p->strides[k], k ? (p->width + 1) / 2 : p->width,
                          k ? (p->height + 1) / 2 : p->height};
}

// Places in the picture are of pixel corners; samples are of pixel centres.
static void inlay_luma(struct canvas *c, AVFrame *frame, const struct inlay *in)
{
    const struct raster *m = &c->raster;
    struct plane p = picture_plane(&in->from, 0);
    sample_row_fn *sample = sample_row_best(&p);
    for (int y = 0; y < m->height; y++) {
        int first = m->first[y], n = m->last[y] - first;
        if (n <= 0)
            continue;
        ptrdiff_t at = (ptrdiff_t)y * m->width + first;
        for (int i = 0; i < n; i++) {
            c->rows[0][i] = m->values[0][at + i] - 0.5f;
            c->rows[1][i] = m->values[1][at + i] - 0.5f;
        }
        sample(&p, c->rows[0], c->rows[1], n, c->bytes);
        find_alpha(m->values[3] + at, m->values[4] + at, n, in->feather, in->strength, c->rows[2]);
        blend_luma(c->bytes, m->values[2] + at, m->values[5] + at, c->rows[2], n, in->gain,
                   in->cavity[0],
                   frame->data[0] + (ptrdiff_t)(m->y0 + y) * frame->linesize[0] + m->x0 + first);
    }
}

static void inlay_chroma(struct canvas *c, AVFrame *frame, const struct inlay *in)
{
    const struct raster *m = &c->raster;
    for (int y = 0; y + 1 < m->height; y += 2) {
        int first, n = chroma_span(m, y, &first);
        if (n <= 0)
            continue;
        // The upper of the two rows speaks for both; where it is not set, the lower.
        int from = m->first[y] < m->last[y] ? y : y + 1;
        ptrdiff_t at = (ptrdiff_t)from * m->width + first;
        halve_rows(m->values[3] + at, m->values[3] + at, n, 0.5f, c->rows[0]);
        halve_rows(m->values[4] + at, m->values[4] + at, n, 0.5f, c->rows[1]);
        find_alpha(c->rows[0], c->rows[1], n, in->feather, in->strength, c->rows[2]);
        for (int i = 0; i < n; i++) {
            c->rows[0][i] = (m->values[0][at + 2 * i] - 0.5f) / 2;
            c->rows[1][i] = (m->values[1][at + 2 * i] - 0.5f) / 2;
            c->rows[3][i] = m->values[5][at + 2 * i];
        }
        int x = (m->x0 + first) / 2, row = (m->y0 + y) / 2;
        for (int k = 1; k < 3; k++) {
            struct plane p = picture_plane(&in->from, k);
            sample_row_best (&p)(&p, c->rows[0], c->rows[1], n, c->bytes);
            blend_chroma(c->bytes, c->rows[3], c->rows[2], n, in->shift[k - 1], in->cavity[k],
                         frame->data[k] + (ptrdiff_t)row * frame->linesize[k] + x);
        }
    }
}

void canvas_inlay(struct canvas *c, AVFrame *frame, const struct inlay *in)
{
    need_rows(c, c->raster.width + 2);
    inlay_luma(c, frame, in);
    inlay_chroma(c, frame, in);
}
