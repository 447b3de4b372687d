#include "finish/compose.h"

#include "base/vectorise.h"
#include "finish/clamp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Rows of the frame that one thread does at a time; even.
#define SLICE 48

// What is interpolated between the places of the reduced picture.
enum lane { LANE_GAIN_Y, LANE_GAIN_U, LANE_GAIN_V, LANE_OFFSET, LANE_FRONT, LANE_BACK, N_LANES };
static const int lane_planes[N_LANES] = {MATTE_GAIN_Y, MATTE_GAIN_U, MATTE_GAIN_V,
                                         MATTE_OFFSET, MATTE_FRONT,  MATTE_BACK};

// What a thread has for itself.
struct hand {
    float *row;            // a row of places, one more at each end
    float *lanes[N_LANES]; // of pixels
    float *u, *v;          // as matte.h has colours
    float *alpha, *person; // the mixture, and the person's part of it
};

struct composer {
    uint8_t *alpha;
    struct crew *crew;
    struct hand hands[CREW_MAX_THREADS];
    // What is under way.
    const struct matte *m;
    const struct compose_screen *screen;
    AVFrame *frame;
    const AVFrame *behind;
    uint8_t black;
};

struct composer *composer_create(const struct matte *m, struct crew *crew)
{
    struct composer *c = kb_alloc(sizeof(*c));
    c->alpha = kb_alloc((size_t)m->width * (size_t)m->height);
    c->crew = crew;
    size_t bytes = (size_t)m->w * (size_t)m->step * sizeof(float);
    for (int i = 0; i < crew_threads(crew); i++) {
        struct hand *h = &c->hands[i];
        h->row = kb_alloc(((size_t)m->w + 2) * sizeof(float));
        for (int k = 0; k < N_LANES; k++)
            h->lanes[k] = kb_alloc(bytes);
        h->u = kb_alloc(bytes);
        h->v = kb_alloc(bytes);
        h->alpha = kb_alloc(bytes);
        h->person = kb_alloc(bytes);
    }
    return c;
}

void composer_free(struct composer **c)
{
    if (!*c)
        return;
    free((*c)->alpha);
    for (int i = 0; i < CREW_MAX_THREADS; i++) {
        struct hand *h = &(*c)->hands[i];
        free(h->row);
        for (int k = 0; k < N_LANES; k++)
            free(h->lanes[k]);
        free(h->u);
        free(h->v);
        free(h->alpha);
        free(h->person);
    }
    free(*c);
    *c = NULL;
}

const uint8_t *composer_alpha(const struct composer *c)
{
    return c->alpha;
}

// --- from places to pixels ---

KB_VECTORISED static void between(float *restrict to, const float *restrict a,
                                  const float *restrict b, float t, int n)
{
    for (int x = 0; x < n; x++)
        to[x] = a[x] + t * (b[x] - a[x]);
}

// Bilinear: `step` pixels for each of n places, of which one lies before and one behind.
KB_VECTORISED static void widen(float *restrict to, const float *restrict from, int n, int step)
{
    if (step == 1) {
        memcpy(to, from, (size_t)n * sizeof(float));
    } else if (step == 2) {
        for (int x = 0; x < n; x++) {
            float before = from[x - 1], here = from[x], after = from[x + 1];
            to[2 * x] = before + 0.75f * (here - before);
            to[2 * x + 1] = here + 0.25f * (after - here);
        }
    } else {
        for (int x = 0; x < n; x++) {
            float before = from[x - 1], here = from[x], after = from[x + 1];
            to[4 * x] = before + 0.625f * (here - before);
            to[4 * x + 1] = before + 0.875f * (here - before);
            to[4 * x + 2] = here + 0.125f * (after - here);
            to[4 * x + 3] = here + 0.375f * (after - here);
        }
    }
}

// The colour of each of n pixels, from the first on, of one for two of them.
KB_VECTORISED static void spread(float *restrict to, const uint8_t *restrict from, int first, int n)
{
    if (first % 2 == 0) {
        for (int x = 0; x < n / 2; x++)
            to[2 * x] = to[2 * x + 1] = ((float)from[first / 2 + x] - 128) / 127.5f;
        if (n % 2)
            to[n - 1] = ((float)from[(first + n - 1) / 2] - 128) / 127.5f;
        return;
    }
    for (int x = 0; x < n; x++)
        to[x] = ((float)from[(first + x) / 2] - 128) / 127.5f;
}

// --- Y ---

// One row of the frame under way.
struct row {
    const struct matte *m;
    struct hand *hand;
    int above, below;   // rows of places that it lies between
    float part;         // how far from the upper one
    const float *alpha; // of the reduced picture, where that is the frame
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

// n pixels from the first on; lanes, u and v begin with it.
KB_VECTORISED static void mix_pixels(const struct row *r, int first, int n)
{
    const float *restrict gain_y = r->hand->lanes[LANE_GAIN_Y];
    const float *restrict gain_u = r->hand->lanes[LANE_GAIN_U];
    const float *restrict gain_v = r->hand->lanes[LANE_GAIN_V];
    const float *restrict offset = r->hand->lanes[LANE_OFFSET];
    const float *restrict front = r->hand->lanes[LANE_FRONT];
    const float *restrict back = r->hand->lanes[LANE_BACK];
    const float *restrict u = r->hand->u, *restrict v = r->hand->v;
    const float *restrict known = r->alpha ? r->alpha + first : NULL;
    uint8_t *restrict luma = r->y + first, *restrict to_alpha = r->to_alpha + first;
    const uint8_t *restrict new_y = r->new_y ? r->new_y + first : NULL;
    float *restrict alpha = r->hand->alpha, *restrict person = r->hand->person;
    if (known)
        memcpy(alpha, known, (size_t)n * sizeof(float));
    else
        for (int x = 0; x < n; x++)
            alpha[x] = unit((float)luma[x] / 255 * gain_y[x] + u[x] * gain_u[x] + v[x] * gain_v[x] +
                            offset[x]);
    for (int x = 0; x < n; x++) {
        float a = alpha[x];
        float p = person_of((float)luma[x] / 255, a, front[x], back[x]);
        person[x] = smaller(larger(p, 0), a);
        to_alpha[x] = byte_of(a);
    }
    if (new_y)
        for (int x = 0; x < n; x++)
            luma[x] = byte_of(person[x] + (1 - alpha[x]) * (float)new_y[x] / 255);
    else
        for (int x = 0; x < n; x++)
            luma[x] = to_alpha[x] ? byte_of(person[x] / larger(alpha[x], 1e-6f)) : r->black;
}

// The places from x0 to x1 - 1, which are mixed.
static void mix_places(const struct row *r, int x0, int x1)
{
    const struct matte *m = r->m;
    int n = x1 - x0, left = KB_MAX(x0 - 1, 0), right = KB_MIN(x1 + 1, m->w);
    for (int i = 0; i < N_LANES; i++) {
        const float *plane = m->planes[lane_planes[i]];
        float *row = r->hand->row + 1; // row[0] is the place x0's
        between(row + (left - x0), plane + (size_t)r->above * (size_t)m->w + left,
                plane + (size_t)r->below * (size_t)m->w + left, r->part, right - left);
        if (left == x0)
            row[-1] = row[0];
        if (right == x1)
            row[n] = row[n - 1];
        widen(r->hand->lanes[i], row, n, m->step);
    }
    int first = x0 * m->step, n_pixels = KB_MIN(x1 * m->step, m->width) - first;
    spread(r->hand->u, r->u, first, n_pixels);
    spread(r->hand->v, r->v, first, n_pixels);
    mix_pixels(r, first, n_pixels);
}

static int end_of(const uint8_t *cells, int x, int w)
{
    int end = x + 1;
    while (end < w && cells[end] == cells[x])
        end++;
    return end;
}

static void run_row(const struct row *r, const uint8_t *cells)
{
    const struct matte *m = r->m;
    for (int x = 0, end; x < m->w; x = end) {
        end = end_of(cells, x, m->w);
        int from = x * m->step;
        size_t n = (size_t)(KB_MIN(end * m->step, m->width) - from);
        if (cells[x] == CELL_MIXED) {
            mix_places(r, x, end);
            continue;
        }
        memset(r->to_alpha + from, cells[x] == CELL_PERSON ? 255 : 0, n);
        if (cells[x] == CELL_BEHIND && r->new_y)
            memcpy(r->y + from, r->new_y + from, n);
        else if (cells[x] == CELL_BEHIND)
            memset(r->y + from, r->black, n);
    }
}

static void run_luma(const struct composer *c, struct hand *hand, int y)
{
    const struct matte *m = c->m;
    const AVFrame *frame = c->frame, *behind = c->behind;
    float at = ((float)y + 0.5f) / (float)m->step - 0.5f;
    at = smaller(larger(at, 0), (float)(m->h - 1));
    int above = (int)at;
    const struct row r = {
        .m = m,
        .hand = hand,
        .above = above,
        .below = KB_MIN(above + 1, m->h - 1),
        .part = at - (float)above,
        .alpha = m->step == 1 ? m->planes[MATTE_ALPHA] + (size_t)y * (size_t)m->w : NULL,
        .y = frame->data[0] + (ptrdiff_t)y * frame->linesize[0],
        .u = frame->data[1] + (ptrdiff_t)(y / 2) * frame->linesize[1],
        .v = frame->data[2] + (ptrdiff_t)(y / 2) * frame->linesize[2],
        .to_alpha = c->alpha + (size_t)y * (size_t)m->width,
        .new_y = behind ? behind->data[0] + (ptrdiff_t)y * behind->linesize[0] : NULL,
        .black = c->black,
    };
    run_row(&r, m->cells + (size_t)(y / m->step) * (size_t)m->w);
}

// --- U and V ---

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

// A row of U and V under way.
struct coarse_row {
    const struct composer *c;
    const uint8_t *alpha;
    uint8_t *u, *v;
    const uint8_t *new_u, *new_v;
    size_t place; // the first of the row of the reduced picture
};

static void mix_coarse(const struct coarse_row *r, int from, int to)
{
    const struct matte *m = r->c->m;
    const struct compose_screen *screen = r->c->screen;
    for (int x = from; x < to; x++) {
        float a = coarse_alpha(r->alpha, m->width, x);
        if (a == 0) {
            r->u[x] = r->new_u ? r->new_u[x] : 128;
            r->v[x] = r->new_v ? r->new_v[x] : 128;
            continue;
        }
        if (a == 1 && !screen->used)
            continue;
        size_t at = r->place + (size_t)KB_MIN(2 * x / m->step, m->w - 1);
        float pu = ((float)r->u[x] - 128) / 127.5f, pv = ((float)r->v[x] - 128) / 127.5f;
        if (a < 1) {
            pu = person_of(pu, a, m->planes[MATTE_FRONT + 1][at], m->planes[MATTE_BACK + 1][at]);
            pv = person_of(pv, a, m->planes[MATTE_FRONT + 2][at], m->planes[MATTE_BACK + 2][at]);
            pu = smaller(larger(pu, -a), a);
            pv = smaller(larger(pv, -a), a);
        }
        if (screen->used)
            take_spill(screen, &pu, &pv);
        float new_u = r->new_u ? (1 - a) * ((float)r->new_u[x] - 128) / 127.5f : 0;
        float new_v = r->new_v ? (1 - a) * ((float)r->new_v[x] - 128) / 127.5f : 0;
        r->u[x] = chroma_byte(r->new_u ? pu + new_u : pu / a);
        r->v[x] = chroma_byte(r->new_v ? pv + new_v : pv / a);
    }
}

static void lay_behind(const struct coarse_row *r, int from, int to)
{
    size_t n = (size_t)(to - from);
    if (!r->new_u) {
        memset(r->u + from, 128, n);
        memset(r->v + from, 128, n);
        return;
    }
    memcpy(r->u + from, r->new_u + from, n);
    memcpy(r->v + from, r->new_v + from, n);
}

static void run_chroma(const struct composer *c, int y)
{
    const struct matte *m = c->m;
    const AVFrame *frame = c->frame, *behind = c->behind;
    size_t place = (size_t)KB_MIN(2 * y / m->step, m->h - 1) * (size_t)m->w;
    struct coarse_row r = {
        .c = c,
        .alpha = c->alpha + (size_t)(2 * y) * (size_t)m->width,
        .u = frame->data[1] + (ptrdiff_t)y * frame->linesize[1],
        .v = frame->data[2] + (ptrdiff_t)y * frame->linesize[2],
        .new_u = behind ? behind->data[1] + (ptrdiff_t)y * behind->linesize[1] : NULL,
        .new_v = behind ? behind->data[2] + (ptrdiff_t)y * behind->linesize[2] : NULL,
        .place = place,
    };
    if (m->step == 1) { // a pixel lies over two rows of places
        mix_coarse(&r, 0, m->width / 2);
        return;
    }
    const uint8_t *cells = m->cells + place;
    for (int x = 0, end; x < m->w; x = end) {
        end = end_of(cells, x, m->w);
        int from = x * m->step / 2, to = KB_MIN(end * m->step / 2, m->width / 2);
        // The first reaches into what is before.
        int plain = cells[x] == CELL_MIXED || (cells[x] == CELL_PERSON && c->screen->used)
                        ? to
                        : KB_MIN(from + 1, to);
        mix_coarse(&r, from, plain);
        if (cells[x] == CELL_BEHIND)
            lay_behind(&r, plain, to);
    }
}

// Y of a row is mixed by its U and V as they were.
static void run_slice(void *context, int task, int worker)
{
    struct composer *c = context;
    int end = KB_MIN((task + 1) * SLICE, c->m->height);
    for (int y = task * SLICE; y < end; y += 2) {
        run_luma(c, &c->hands[worker], y);
        run_luma(c, &c->hands[worker], y + 1);
        run_chroma(c, y / 2);
    }
}

void composer_run(struct composer *c, const struct matte *m, const struct compose_screen *screen,
                  AVFrame *frame, const AVFrame *behind, uint8_t black)
{
    c->m = m;
    c->screen = screen;
    c->frame = frame;
    c->behind = behind;
    c->black = black;
    crew_run(c->crew, (m->height + SLICE - 1) / SLICE, run_slice, c);
}
