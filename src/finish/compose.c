#include "finish/compose.h"

#include "base/vectorise.h"
#include "finish/clamp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Of a place of the reduced picture and those around it: all behind, all person, or something
// between, which alone has to be reckoned pixel by pixel.
enum cell { CELL_BEHIND, CELL_PERSON, CELL_MIXED };

// What is interpolated between two rows of the reduced picture.
enum lane { LANE_GAIN_Y, LANE_GAIN_U, LANE_GAIN_V, LANE_OFFSET, LANE_FRONT, LANE_BACK, N_LANES };
static const int lane_planes[N_LANES] = {MATTE_GAIN_Y, MATTE_GAIN_U, MATTE_GAIN_V,
                                         MATTE_OFFSET, MATTE_FRONT,  MATTE_BACK};

struct composer {
    uint8_t *alpha;
    uint8_t *cells;        // of the whole reduced picture
    float *lanes[N_LANES]; // between two rows of it
};

struct composer *composer_create(const struct matte *m)
{
    struct composer *c = kb_alloc(sizeof(*c));
    c->alpha = kb_alloc((size_t)m->width * (size_t)m->height);
    c->cells = kb_alloc((size_t)m->w * (size_t)m->h);
    for (int i = 0; i < N_LANES; i++)
        c->lanes[i] = kb_alloc((size_t)m->w * sizeof(float));
    return c;
}

void composer_free(struct composer **c)
{
    if (!*c)
        return;
    free((*c)->alpha);
    free((*c)->cells);
    for (int i = 0; i < N_LANES; i++)
        free((*c)->lanes[i]);
    free(*c);
    *c = NULL;
}

const uint8_t *composer_alpha(const struct composer *c)
{
    return c->alpha;
}

static void sort_cells(struct composer *c, const struct matte *m)
{
    const float least = 1.5f / 255, most = 253.5f / 255;
    for (int y = 0; y < m->h; y++) {
        const float *row = m->planes[MATTE_ALPHA] + (size_t)y * (size_t)m->w;
        const float *above = y > 0 ? row - m->w : row, *below = y + 1 < m->h ? row + m->w : row;
        uint8_t *cells = c->cells + (size_t)y * (size_t)m->w;
        float low[3], high[3]; // of the columns before, here, and after
        for (int i = 0; i < 3; i++) {
            int x = KB_MIN(KB_MAX(i - 1, 0), m->w - 1);
            low[i] = smaller(smaller(above[x], row[x]), below[x]);
            high[i] = larger(larger(above[x], row[x]), below[x]);
        }
        for (int x = 0; x < m->w; x++) {
            float lowest = smaller(smaller(low[0], low[1]), low[2]);
            float highest = larger(larger(high[0], high[1]), high[2]);
            cells[x] = highest < least ? CELL_BEHIND : lowest > most ? CELL_PERSON : CELL_MIXED;
            int next = KB_MIN(x + 2, m->w - 1);
            low[0] = low[1], low[1] = low[2], high[0] = high[1], high[1] = high[2];
            low[2] = smaller(smaller(above[next], row[next]), below[next]);
            high[2] = larger(larger(above[next], row[next]), below[next]);
        }
    }
}

KB_VECTORISED static void between(float *restrict to, const float *restrict a,
                                  const float *restrict b, float t, int n)
{
    for (int x = 0; x < n; x++)
        to[x] = a[x] + t * (b[x] - a[x]);
}

// One row of the frame under way.
struct row {
    const struct matte *m;
    const float *alpha; // of the reduced picture, where that is the frame
    float *const *lanes;
    uint8_t *y, *to_alpha;
    const uint8_t *u, *v, *new_y;
    uint8_t black;
};

static inline uint8_t byte_of(float v)
{
    return (uint8_t)(smaller(larger(v, 0), 1) * 255 + 0.5f);
}

// What a pixel of the person's looks like, times alpha. front, back: the colours nearby.
static inline float person_of(float pixel, float alpha, float front, float back)
{
    return alpha * (front + alpha * (pixel - alpha * front - (1 - alpha) * back));
}

static void mix_pixels(const struct row *r, int from, int to)
{
    const struct matte *m = r->m;
    float per_place = 1 / (float)m->step;
    for (int x = from; x < to; x++) {
        float at = smaller(larger(((float)x + 0.5f) * per_place - 0.5f, 0), (float)(m->w - 1));
        int x0 = (int)at, x1 = KB_MIN(x0 + 1, m->w - 1);
        float t = at - (float)x0, v[N_LANES];
        for (int i = 0; i < N_LANES; i++)
            v[i] = r->lanes[i][x0] + t * (r->lanes[i][x1] - r->lanes[i][x0]);
        float y = (float)r->y[x] / 255;
        float a = r->alpha
                      ? r->alpha[x]
                      : y * v[LANE_GAIN_Y] + ((float)r->u[x / 2] - 128) / 127.5f * v[LANE_GAIN_U] +
                            ((float)r->v[x / 2] - 128) / 127.5f * v[LANE_GAIN_V] + v[LANE_OFFSET];
        a = smaller(larger(a, 0), 1);
        float person = person_of(y, a, v[LANE_FRONT], v[LANE_BACK]);
        person = smaller(larger(person, 0), a);
        r->to_alpha[x] = byte_of(a);
        if (r->new_y)
            r->y[x] = byte_of(person + (1 - a) * (float)r->new_y[x] / 255);
        else
            r->y[x] = r->to_alpha[x] ? byte_of(person / a) : r->black;
    }
}

static void run_row(const struct row *r, const uint8_t *cells)
{
    const struct matte *m = r->m;
    for (int x = 0; x < m->w;) {
        int end = x + 1;
        while (end < m->w && cells[end] == cells[x])
            end++;
        int from = x * m->step, to = KB_MIN(end * m->step, m->width);
        size_t n = (size_t)(to - from);
        if (cells[x] == CELL_MIXED) {
            mix_pixels(r, from, to);
        } else {
            memset(r->to_alpha + from, cells[x] == CELL_PERSON ? 255 : 0, n);
            if (cells[x] == CELL_BEHIND && r->new_y)
                memcpy(r->y + from, r->new_y + from, n);
            else if (cells[x] == CELL_BEHIND)
                memset(r->y + from, r->black, n);
        }
        x = end;
    }
}

static void run_luma(struct composer *c, const struct matte *m, AVFrame *frame,
                     const AVFrame *behind, uint8_t black)
{
    for (int y = 0; y < m->height; y++) {
        float at = ((float)y + 0.5f) / (float)m->step - 0.5f;
        at = smaller(larger(at, 0), (float)(m->h - 1));
        int y0 = (int)at, y1 = KB_MIN(y0 + 1, m->h - 1), cell = y / m->step;
        const uint8_t *cells = c->cells + (size_t)cell * (size_t)m->w;
        if (memchr(cells, CELL_MIXED, (size_t)m->w))
            for (int i = 0; i < N_LANES; i++)
                between(c->lanes[i], m->planes[lane_planes[i]] + (size_t)y0 * (size_t)m->w,
                        m->planes[lane_planes[i]] + (size_t)y1 * (size_t)m->w, at - (float)y0,
                        m->w);
        const struct row r = {
            .m = m,
            .alpha = m->step == 1 ? m->planes[MATTE_ALPHA] + (size_t)y * (size_t)m->w : NULL,
            .lanes = c->lanes,
            .y = frame->data[0] + (ptrdiff_t)y * frame->linesize[0],
            .u = frame->data[1] + (ptrdiff_t)(y / 2) * frame->linesize[1],
            .v = frame->data[2] + (ptrdiff_t)(y / 2) * frame->linesize[2],
            .to_alpha = c->alpha + (size_t)y * (size_t)m->width,
            .new_y = behind ? behind->data[0] + (ptrdiff_t)y * behind->linesize[0] : NULL,
            .black = black,
        };
        run_row(&r, cells);
    }
}

// The share of the person in a pixel of U and V, whose middle lies between two pixels of Y of two
// rows and over the left one.
static inline float coarse_alpha(const uint8_t *alpha, int width, int x)
{
    const uint8_t *below = alpha + width;
    int left = KB_MAX(2 * x - 1, 0), mid = 2 * x, right = 2 * x + 1;
    int sum =
        alpha[left] + below[left] + 2 * (alpha[mid] + below[mid]) + alpha[right] + below[right];
    return (float)sum / (8 * 255.0f);
}

// The screen's light on the person: no more of its colour than of the colours across.
static inline void take_spill(const struct compose_screen *s, float *u, float *v)
{
    float along = *u * s->u + *v * s->v, across = *v * s->u - *u * s->v;
    float most = fabsf(across);
    if (along > most) {
        *u -= (along - most) * s->u;
        *v -= (along - most) * s->v;
    }
}

static inline uint8_t chroma_byte(float v)
{
    return (uint8_t)smaller(larger(v * 127.5f + 128.5f, 0), 255);
}

static void run_chroma(const struct composer *c, const struct matte *m,
                       const struct compose_screen *screen, AVFrame *frame, const AVFrame *behind)
{
    for (int y = 0; y < m->height / 2; y++) {
        const uint8_t *alpha = c->alpha + (size_t)(2 * y) * (size_t)m->width;
        uint8_t *u = frame->data[1] + (ptrdiff_t)y * frame->linesize[1];
        uint8_t *v = frame->data[2] + (ptrdiff_t)y * frame->linesize[2];
        const uint8_t *new_u = NULL, *new_v = NULL;
        if (behind) {
            new_u = behind->data[1] + (ptrdiff_t)y * behind->linesize[1];
            new_v = behind->data[2] + (ptrdiff_t)y * behind->linesize[2];
        }
        size_t row = (size_t)KB_MIN(2 * y / m->step, m->h - 1) * (size_t)m->w;
        for (int x = 0; x < m->width / 2; x++) {
            float a = coarse_alpha(alpha, m->width, x);
            if (a == 0) {
                u[x] = new_u ? new_u[x] : 128;
                v[x] = new_v ? new_v[x] : 128;
                continue;
            }
            if (a == 1 && !screen->used)
                continue;
            size_t at = row + (size_t)KB_MIN(2 * x / m->step, m->w - 1);
            float pu = ((float)u[x] - 128) / 127.5f, pv = ((float)v[x] - 128) / 127.5f;
            if (a < 1) {
                pu =
                    person_of(pu, a, m->planes[MATTE_FRONT + 1][at], m->planes[MATTE_BACK + 1][at]);
                pv =
                    person_of(pv, a, m->planes[MATTE_FRONT + 2][at], m->planes[MATTE_BACK + 2][at]);
                pu = smaller(larger(pu, -a), a);
                pv = smaller(larger(pv, -a), a);
            }
            if (screen->used)
                take_spill(screen, &pu, &pv);
            u[x] = chroma_byte(behind ? pu + (1 - a) * ((float)new_u[x] - 128) / 127.5f : pu / a);
            v[x] = chroma_byte(behind ? pv + (1 - a) * ((float)new_v[x] - 128) / 127.5f : pv / a);
        }
    }
}

void composer_run(struct composer *c, const struct matte *m, const struct compose_screen *screen,
                  AVFrame *frame, const AVFrame *behind, uint8_t black)
{
    sort_cells(c, m);
    run_luma(c, m, frame, behind, black);
    run_chroma(c, m, screen, frame, behind);
}
