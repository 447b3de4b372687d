// All of it on a picture half as high as the reduced one (matte.h): what is out of focus has
// nothing finer.
#include "finish/blur.h"

#include "base/vectorise.h"
#include "finish/box.h"
#include "finish/clamp.h"

#include <stdlib.h>
#include <string.h>

#define MAX_RADIUS 32
// Rows that one thread does at a time.
#define SLICE 32

enum lane { LANE_Y, LANE_U, LANE_V, LANE_WEIGHT, N_LANES };

struct blurrer {
    struct crew *crew;
    struct box *boxes[CREW_MAX_THREADS];
    float *rows[CREW_MAX_THREADS]; // a row, one place more at each end
    int w, h, radius;
    float *alpha;
    float *planes[2][N_LANES]; // before and after a pass; the last lane: how much of it is real
    AVFrame *picture;
    // What is under way.
    const struct matte *matte;
    int from, pass;
};

#define N_PASSES 3

struct blurrer *blurrer_create(const struct matte *m, struct crew *crew)
{
    struct blurrer *b = kb_alloc(sizeof(*b));
    b->crew = crew;
    b->w = (m->w + 1) / 2;
    b->h = (m->h + 1) / 2;
    b->radius = KB_MIN(KB_MAX(KB_MIN(m->w, m->h) / 80, 2), MAX_RADIUS);
    size_t bytes = (size_t)b->w * (size_t)b->h * sizeof(float);
    for (int i = 0; i < crew_threads(crew); i++) {
        b->boxes[i] = box_create(b->w, b->h, b->radius, N_LANES * (b->w + 2 * b->radius));
        b->rows[i] = kb_alloc(((size_t)b->w + 2) * sizeof(float));
    }
    b->alpha = kb_alloc(bytes);
    for (int i = 0; i < 2 * N_LANES; i++)
        b->planes[i / N_LANES][i % N_LANES] = kb_alloc(bytes);
    return b;
}

void blurrer_free(struct blurrer **b)
{
    if (!*b)
        return;
    for (int i = 0; i < CREW_MAX_THREADS; i++) {
        box_free(&(*b)->boxes[i]);
        free((*b)->rows[i]);
    }
    free((*b)->alpha);
    for (int i = 0; i < 2 * N_LANES; i++)
        free((*b)->planes[i / N_LANES][i % N_LANES]);
    av_frame_free(&(*b)->picture);
    free(*b);
    *b = NULL;
}

static size_t row_of(const struct blurrer *b, int y)
{
    return (size_t)y * (size_t)b->w;
}

// --- halves ---

// Means of two by two; an odd last column or row is its own neighbour.
KB_VECTORISED static void halve_row(float *restrict to, const float *restrict upper,
                                    const float *restrict lower, int n)
{
    for (int x = 0; x < n / 2; x++)
        to[x] = 0.25f * (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]);
    if (n % 2)
        to[n / 2] = 0.5f * (upper[n - 1] + lower[n - 1]);
}

static void halve_slice(void *context, int task, int worker)
{
    static const int from[] = {MATTE_Y, MATTE_U, MATTE_V, MATTE_ALPHA};
    struct blurrer *b = context;
    const struct matte *m = b->matte;
    const struct box_area slice = slice_at(b->w, b->h, SLICE, task);
    float *const to[] = {b->planes[0][LANE_Y], b->planes[0][LANE_U], b->planes[0][LANE_V],
                         b->alpha};
    (void)worker;
    for (int i = 0; i < 4; i++)
        for (int y = slice.y0; y < slice.y1; y++) {
            const float *upper = m->planes[from[i]] + (size_t)(2 * y) * (size_t)m->w;
            halve_row(to[i] + row_of(b, y), upper, 2 * y + 1 < m->h ? upper + m->w : upper, m->w);
        }
}

// --- who is left out ---

static void fill_alpha(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct blurrer *b = context;
    memcpy(lanes[0], b->alpha + row_of(b, y) + x0, (size_t)(x1 - x0) * sizeof(float));
}

// Nobody is near: what the person's colour may have touched is left out as well.
KB_VECTORISED static void emit_weight(void *context, int y, int x0, int x1, float *const *means)
{
    const struct blurrer *b = context;
    size_t at = row_of(b, y) + (size_t)x0;
    float *restrict weight = b->planes[0][LANE_WEIGHT] + at;
    for (int x = 0; x < x1 - x0; x++)
        weight[x] = larger(1 - means[0][x] * 12, 0) + 1e-5f;
    for (int i = LANE_Y; i <= LANE_V; i++) {
        float *restrict plane = b->planes[0][i] + at;
        for (int x = 0; x < x1 - x0; x++)
            plane[x] *= weight[x];
    }
}

static void weigh_slice(void *context, int task, int worker)
{
    struct blurrer *b = context;
    const struct box_area slice = slice_at(b->w, b->h, SLICE, task);
    box_run(b->boxes[worker], &slice, KB_MAX(b->radius / 3, 2), 1, fill_alpha, emit_weight, b);
}

// --- the blur ---

static void fill_pass(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct blurrer *b = context;
    for (int i = 0; i < N_LANES; i++)
        memcpy(lanes[i], b->planes[b->from][i] + row_of(b, y) + x0,
               (size_t)(x1 - x0) * sizeof(float));
}

KB_VECTORISED static void emit_pass(void *context, int y, int x0, int x1, float *const *means)
{
    const struct blurrer *b = context;
    for (int i = 0; i < N_LANES; i++) {
        float *restrict to = b->planes[!b->from][i] + row_of(b, y) + x0;
        const float *restrict mean = means[i], *restrict real = means[LANE_WEIGHT];
        if (b->pass < N_PASSES - 1)
            memcpy(to, mean, (size_t)(x1 - x0) * sizeof(float));
        else
            for (int x = 0; x < x1 - x0; x++)
                to[x] = mean[x] / real[x];
    }
}

static void blur_slice(void *context, int task, int worker)
{
    struct blurrer *b = context;
    const struct box_area slice = slice_at(b->w, b->h, SLICE, task);
    box_run(b->boxes[worker], &slice, b->radius, N_LANES, fill_pass, emit_pass, b);
}

// --- as large as the frame ---

KB_VECTORISED static void between(float *restrict to, const float *restrict a,
                                  const float *restrict b, float t, float scale, float offset,
                                  int n)
{
    for (int x = 0; x < n; x++)
        to[x] = (a[x] + t * (b[x] - a[x])) * scale + offset;
}

// Bilinear: `times` (2^k) pixels for each place of row, of which one lies before and one behind.
// Of the pixels [k] of all places one after another: GCC makes vectors of that.
static inline void widen_by(uint8_t *restrict to, int n, const float *restrict row, int times)
{
    int whole = n / times;
    for (int x = 0; x < whole; x++)
        for (int k = 0; k < times; k++) {
            float at = ((float)k + 0.5f) / (float)times - 0.5f;
            float v =
                at < 0 ? row[x] + at * (row[x] - row[x - 1]) : row[x] + at * (row[x + 1] - row[x]);
            to[times * x + k] = (uint8_t)smaller(larger(v, 0), 255);
        }
    for (int x = whole * times; x < n; x++) // the last place is not whole
        to[x] = (uint8_t)smaller(larger(row[whole], 0), 255);
}

KB_VECTORISED static void widen(uint8_t *restrict to, int n, const float *restrict row, int times)
{
    if (times == 8)
        widen_by(to, n, row, 8);
    else if (times == 4)
        widen_by(to, n, row, 4);
    else if (times == 2)
        widen_by(to, n, row, 2);
    else
        widen_by(to, n, row, 1);
}

static void enlarge_rows(const struct blurrer *b, int plane, int y0, int y1, float *row)
{
    const struct matte *m = b->matte;
    int shift = plane > 0, width = m->width >> shift, times = (2 * m->step) >> shift;
    float scale = plane ? 127.5f : 255, offset = plane ? 128.5f : 0.5f;
    const float *from = b->planes[b->from][plane];
    for (int y = y0; y < y1; y++) {
        float at = ((float)y + 0.5f) / (float)times - 0.5f;
        at = smaller(larger(at, 0), (float)(b->h - 1));
        int upper = (int)at, lower = KB_MIN(upper + 1, b->h - 1);
        between(row + 1, from + row_of(b, upper), from + row_of(b, lower), at - (float)upper, scale,
                offset, b->w);
        row[0] = row[1];
        row[b->w + 1] = row[b->w];
        widen(b->picture->data[plane] + (ptrdiff_t)y * b->picture->linesize[plane], width, row + 1,
              times);
    }
}

static void enlarge_slice(void *context, int task, int worker)
{
    const struct blurrer *b = context;
    int rows = SLICE * 2 * b->matte->step, y0 = task * rows;
    int y1 = KB_MIN(y0 + rows, b->matte->height);
    for (int i = 0; i < 3; i++)
        enlarge_rows(b, i, y0 >> (i > 0), y1 >> (i > 0), b->rows[worker]);
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
    crew_run(b->crew, slices_in(b->h, SLICE), halve_slice, b);
    crew_run(b->crew, slices_in(b->h, SLICE), weigh_slice, b);
    b->from = 0;
    for (b->pass = 0; b->pass < N_PASSES; b->pass++) {
        crew_run(b->crew, slices_in(b->h, SLICE), blur_slice, b);
        b->from = !b->from;
    }
    crew_run(b->crew, slices_in(b->h, SLICE), enlarge_slice, b);
    *ret = b->picture;
    return KB_OK;
}
