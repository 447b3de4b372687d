#include "finish/matte.h"

#include "base/vectorise.h"
#include "finish/areas.h"
#include "finish/clamp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RADIUS 64

// Rows that one thread does at a time where all of the picture is gone through.
#define SLICE 48

// Of the first guided filter: the noise of a film's colours, squared.
#define NOISE 2e-4f

// How much of the places around is the person: less, or more than that, and nothing is mixed here
// (emit_mixture()).
#define NEAR_LEAST 0.006f
#define NEAR_MOST  0.988f

// Lanes of a guided filter, and of the colours on both sides.
#define MOMENTS 13
#define SIDES   10

// What a thread has for itself.
struct hand {
    struct box *box;
    float *gains[4]; // of an area and what is around it
    float *rows[2];  // the least and the largest of three rows
};

struct matter {
    struct matte matte;
    struct crew *crew;
    struct hand hands[CREW_MAX_THREADS];
    struct areas *areas;  // where something may be mixed; then where it is
    const AVFrame *frame; // while it is looked at
    float *rough, *rough_before;
    float *guided;    // the mask along the picture's edges
    float *near;      // how much of the places around is the person, roughly
    float *step;      // how much of what is new counts
    float *before[4]; // Y, U, V, alpha of the frame before
    bool has_before;
    int near_radius, far_radius;
};

static size_t row_of(const struct matter *m, int y)
{
    return (size_t)y * (size_t)m->matte.w;
}

static void hand_create(struct hand *a, const struct matter *m)
{
    int w = m->matte.w, h = m->matte.h, near = m->near_radius, far = m->far_radius;
    size_t area = (size_t)(AREA_WIDTH + 2 * near) * (size_t)(h + 2 * near);
    int row = KB_MAX(MOMENTS * (AREA_WIDTH + 4 * near), SIDES * (AREA_WIDTH + 2 * far));
    a->box = box_create(w, h, far, KB_MAX(row, w + 2 * near)); // guide_area, mix_area, near_slice
    for (int i = 0; i < 4; i++)
        a->gains[i] = kb_alloc(area * sizeof(float));
    for (int i = 0; i < 2; i++)
        a->rows[i] = kb_alloc((size_t)w * sizeof(float));
}

static void hand_free(struct hand *a)
{
    box_free(&a->box);
    for (int i = 0; i < 4; i++)
        free(a->gains[i]);
    for (int i = 0; i < 2; i++)
        free(a->rows[i]);
}

struct matter *matter_create(int width, int height, struct crew *crew)
{
    struct matter *m = kb_alloc(sizeof(*m));
    int64_t area = (int64_t)width * height;
    int step = area <= 640 * 512 ? 1 : area <= 1920 * 1088 ? 2 : 4;
    int w = (width + step - 1) / step, h = (height + step - 1) / step;
    m->matte = (struct matte){.width = width, .height = height, .step = step, .w = w, .h = h};
    m->crew = crew;
    size_t n = (size_t)w * (size_t)h, bytes = n * sizeof(float);
    for (int i = 0; i < N_MATTE_PLANES; i++)
        m->matte.planes[i] = kb_alloc(bytes);
    m->matte.cells = kb_alloc(n);
    for (int i = 0; i < 4; i++)
        m->before[i] = kb_alloc(bytes);
    m->rough = kb_alloc(bytes);
    m->rough_before = kb_alloc(bytes);
    m->guided = kb_alloc(bytes);
    m->near = kb_alloc(bytes);
    m->step = kb_alloc(bytes);
    int side = KB_MIN(KB_MAX(w, h), 2 * KB_MIN(w, h));
    m->near_radius = KB_MIN(KB_MAX(side / 80, 2), MAX_RADIUS);
    m->far_radius = KB_MIN(KB_MAX(side / 26, 4), MAX_RADIUS);
    m->areas = areas_create(w, h);
    for (int i = 0; i < crew_threads(crew); i++)
        hand_create(&m->hands[i], m);
    return m;
}

void matter_free(struct matter **mp)
{
    struct matter *m = *mp;
    if (!m)
        return;
    for (int i = 0; i < N_MATTE_PLANES; i++)
        free(m->matte.planes[i]);
    free(m->matte.cells);
    for (int i = 0; i < 4; i++)
        free(m->before[i]);
    free(m->rough);
    free(m->rough_before);
    free(m->guided);
    free(m->near);
    free(m->step);
    areas_free(&m->areas);
    for (int i = 0; i < CREW_MAX_THREADS; i++)
        hand_free(&m->hands[i]);
    free(m);
    *mp = NULL;
}

const struct matte *matter_matte(const struct matter *m)
{
    return &m->matte;
}

// --- the reduced picture ---

// Mean of side x side bytes from each place on, what lies beyond the plane left out.
KB_VECTORISED static void shrink_row(float *restrict to, int w, const uint8_t *from,
                                     ptrdiff_t stride, int width, int rows, int side, float scale,
                                     float shift)
{
    int whole = width / side;
    if (side == 1) {
        for (int x = 0; x < KB_MIN(w, whole); x++)
            to[x] = (float)from[x] * scale + shift;
    } else if (side == 2 && rows == 2) {
        const uint8_t *below = from + stride;
        float quarter = scale / 4;
        for (int x = 0; x < KB_MIN(w, whole); x++)
            to[x] =
                (float)(from[2 * x] + from[2 * x + 1] + below[2 * x] + below[2 * x + 1]) * quarter +
                shift;
    } else {
        for (int x = 0; x < KB_MIN(w, whole); x++) {
            int sum = 0;
            for (int j = 0; j < rows; j++)
                for (int i = 0; i < side; i++)
                    sum += from[j * stride + side * x + i];
            to[x] = (float)sum * (scale / (float)(side * rows)) + shift;
        }
    }
    for (int x = whole; x < w; x++)
        to[x] = (float)from[width - 1] * scale + shift;
}

static void shrink(const struct matter *mm, int plane, const struct box_area *area)
{
    const struct matte *m = &mm->matte;
    const AVFrame *frame = mm->frame;
    int shift = plane > 0, width = m->width >> shift, height = m->height >> shift;
    float scale = plane ? 1 / 127.5f : 1 / 255.0f, offset = plane ? -128 / 127.5f : 0;
    int side = KB_MAX(m->step >> shift, 1), repeat = plane && m->step == 1;
    for (int y = area->y0; y < area->y1; y++) {
        float *row = m->planes[MATTE_Y + plane] + row_of(mm, y);
        int from_y = KB_MIN(repeat ? y / 2 : y * side, height - 1);
        const uint8_t *from = frame->data[plane] + (ptrdiff_t)from_y * frame->linesize[plane];
        int rows = KB_MIN(side, height - from_y);
        if (!repeat) {
            shrink_row(row, m->w, from, frame->linesize[plane], width, rows, side, scale, offset);
            continue;
        }
        for (int x = 0; x < m->w; x++)
            row[x] = (float)from[KB_MIN(x / 2, width - 1)] * scale + offset;
    }
}

static void look_slice(void *context, int task, int worker)
{
    const struct matter *m = context;
    const struct box_area slice = slice_at(m->matte.w, m->matte.h, SLICE, task);
    (void)worker;
    for (int i = 0; i < 3; i++)
        shrink(m, i, &slice);
}

void matter_look(struct matter *m, const AVFrame *frame, bool is_cut)
{
    for (int i = 0; i < 3 && m->has_before; i++) {
        float *old = m->before[i];
        m->before[i] = m->matte.planes[MATTE_Y + i];
        m->matte.planes[MATTE_Y + i] = old;
    }
    m->frame = frame;
    crew_run(m->crew, slices_in(m->matte.h, SLICE), look_slice, m);
    if (is_cut)
        m->has_before = false;
}

// --- the guided filter ---

// An area under way.
struct part {
    struct matter *m;
    struct hand *hand;
    const float *target; // what a guided filter fits
    int x0, y0, width;   // of the first place that hand->gains have, and of their rows
};

KB_VECTORISED static void fill_moments(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct part *part = context;
    const struct matter *m = part->m;
    size_t at = row_of(m, y) + (size_t)x0;
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    const float *restrict p = part->target + at;
    for (int x = 0; x < x1 - x0; x++) {
        lanes[0][x] = a[x];
        lanes[1][x] = b[x];
        lanes[2][x] = c[x];
        lanes[3][x] = p[x];
        lanes[4][x] = a[x] * a[x];
        lanes[5][x] = a[x] * b[x];
        lanes[6][x] = a[x] * c[x];
        lanes[7][x] = b[x] * b[x];
        lanes[8][x] = b[x] * c[x];
        lanes[9][x] = c[x] * c[x];
        lanes[10][x] = a[x] * p[x];
        lanes[11][x] = b[x] * p[x];
        lanes[12][x] = c[x] * p[x];
    }
}

// The linear model of the colours around a place that comes nearest to the target there.
KB_VECTORISED static void solve(float *const *restrict gains, float *const *m, int n, float noise)
{
    for (int x = 0; x < n; x++) {
        float a = m[0][x], b = m[1][x], c = m[2][x], p = m[3][x];
        float aa = m[4][x] - a * a + noise, ab = m[5][x] - a * b, ac = m[6][x] - a * c;
        float bb = m[7][x] - b * b + noise, bc = m[8][x] - b * c, cc = m[9][x] - c * c + noise;
        float ap = m[10][x] - a * p, bp = m[11][x] - b * p, cp = m[12][x] - c * p;
        float i00 = bb * cc - bc * bc, i01 = ac * bc - ab * cc, i02 = ab * bc - ac * bb;
        float i11 = aa * cc - ac * ac, i12 = ab * ac - aa * bc, i22 = aa * bb - ab * ab;
        float d = 1 / larger(aa * i00 + ab * i01 + ac * i02, 1e-20f);
        float ga = (i00 * ap + i01 * bp + i02 * cp) * d;
        float gb = (i01 * ap + i11 * bp + i12 * cp) * d;
        float gc = (i02 * ap + i12 * bp + i22 * cp) * d;
        gains[0][x] = ga;
        gains[1][x] = gb;
        gains[2][x] = gc;
        gains[3][x] = p - ga * a - gb * b - gc * c;
    }
}

// Into the hand's own gains.
static void emit_rough(void *context, int y, int x0, int x1, float *const *means)
{
    const struct part *p = context;
    float *gains[4];
    for (int i = 0; i < 4; i++)
        gains[i] = p->hand->gains[i] + (ptrdiff_t)(y - p->y0) * p->width + (x0 - p->x0);
    solve(gains, means, x1 - x0, NOISE);
}

static void emit_fine(void *context, int y, int x0, int x1, float *const *means)
{
    const struct part *p = context;
    float *gains[4];
    for (int i = 0; i < 4; i++)
        gains[i] = p->m->matte.planes[MATTE_GAIN_Y + i] + row_of(p->m, y) + x0;
    solve(gains, means, x1 - x0, NOISE / 8);
}

static void fill_gains(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct part *p = context;
    for (int i = 0; i < 4; i++)
        memcpy(lanes[i], p->hand->gains[i] + (ptrdiff_t)(y - p->y0) * p->width + (x0 - p->x0),
               (size_t)(x1 - x0) * sizeof(float));
}

KB_VECTORISED static void emit_guided(void *context, int y, int x0, int x1, float *const *g)
{
    const struct part *p = context;
    const struct matter *m = p->m;
    size_t at = row_of(m, y) + (size_t)x0;
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    float *restrict to = m->guided + at;
    for (int x = 0; x < x1 - x0; x++)
        to[x] = smaller(larger(a[x] * g[0][x] + b[x] * g[1][x] + c[x] * g[2][x] + g[3][x], 0), 1);
}

// The mask along the picture's edges, in an area; elsewhere it is the rough one (emit_near()).
static void guide_area(void *context, int task, int worker)
{
    struct matter *m = context;
    const struct box_area *area = &m->areas->list[task];
    const int r = m->near_radius;
    const struct box_area wider = {KB_MAX(area->x0 - r, 0), KB_MAX(area->y0 - r, 0),
                                   KB_MIN(area->x1 + r, m->matte.w),
                                   KB_MIN(area->y1 + r, m->matte.h)};
    struct part p = {m, &m->hands[worker], m->rough, wider.x0, wider.y0, wider.x1 - wider.x0};
    box_run(p.hand->box, &wider, r, MOMENTS, fill_moments, emit_rough, &p);
    box_run(p.hand->box, area, r, 4, fill_gains, emit_guided, &p);
}

// --- the colours on both sides ---

// 1 where a place is surely the person (want 1) or surely not (want 0).
static inline float certain(float rough, float guided, float want)
{
    float away = larger(fabsf(rough - want), fabsf(guided - want));
    return smaller(larger(1.6f - 16 * away, 0), 1);
}

KB_VECTORISED static void fill_sides(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct matter *m = context;
    size_t at = row_of(m, y) + (size_t)x0;
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    const float *restrict rough = m->rough + at, *restrict guided = m->guided + at;
    for (int x = 0; x < x1 - x0; x++) {
        float front = certain(rough[x], guided[x], 1), back = certain(rough[x], guided[x], 0);
        float square = a[x] * a[x] + b[x] * b[x] + c[x] * c[x];
        lanes[0][x] = front;
        lanes[1][x] = front * a[x];
        lanes[2][x] = front * b[x];
        lanes[3][x] = front * c[x];
        lanes[4][x] = front * square;
        lanes[5][x] = back;
        lanes[6][x] = back * a[x];
        lanes[7][x] = back * b[x];
        lanes[8][x] = back * c[x];
        lanes[9][x] = back * square;
    }
}

// Between the mean colours of both sides lies what is mixed of them, the further apart the surer.
// Where they are alike, or one side is nowhere near, the guided filter's word stands.
KB_VECTORISED static void emit_mixture(void *context, int y, int x0, int x1, float *const *s)
{
    const struct matter *m = context;
    size_t at = row_of(m, y) + (size_t)x0;
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    const float *restrict guided = m->guided + at, *restrict near = m->near + at;
    float *restrict to = m->matte.planes[MATTE_ALPHA] + at;
    for (int x = 0; x < x1 - x0; x++) {
        float nf = 1 / larger(s[0][x], 1e-6f), nb = 1 / larger(s[5][x], 1e-6f);
        float fa = s[1][x] * nf, fb = s[2][x] * nf, fc = s[3][x] * nf;
        float ba = s[6][x] * nb, bb = s[7][x] * nb, bc = s[8][x] * nb;
        float da = fa - ba, db = fb - bb, dc = fc - bc;
        float apart = da * da + db * db + dc * dc;
        float vf = larger(s[4][x] * nf - fa * fa - fb * fb - fc * fc, 0);
        float vb = larger(s[9][x] * nb - ba * ba - bb * bb - bc * bc, 0);
        float along =
            ((a[x] - ba) * da + (b[x] - bb) * db + (c[x] - bc) * dc) / larger(apart, 1e-6f);
        float mixed = smaller(larger((along - 0.08f) / 0.84f, 0), 1);
        // Where nothing is known an edge is better than a haze.
        float edge = smaller(larger((guided[x] - 0.5f) * 1.8f + 0.5f, 0), 1);
        float trust = apart / (apart + 3 * (vf + vb) + 2e-3f);
        trust *= smaller(s[0][x] * 40, 1) * smaller(s[5][x] * 40, 1);
        // Only where the rough mask changes: hair stands out further than gaps reach in.
        float rim = smaller(smaller(near[x] * 10, (1 - near[x]) * 5), 1);
        float alpha = edge + trust * (mixed - edge);
        alpha = rim * alpha + (1 - rim) * (near[x] > 0.5f ? 1 : 0);
        to[x] = smaller(larger((alpha - 0.06f) / 0.88f, 0), 1);
    }
}

static void mix_area(void *context, int task, int worker)
{
    struct matter *m = context;
    box_run(m->hands[worker].box, &m->areas->list[task], m->far_radius, SIDES, fill_sides,
            emit_mixture, m);
}

static void fill_rough(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct matter *m = context;
    memcpy(lanes[0], m->rough + row_of(m, y) + x0, (size_t)(x1 - x0) * sizeof(float));
}

// Where nothing can be mixed the alpha is known now.
KB_VECTORISED static void emit_near(void *context, int y, int x0, int x1, float *const *means)
{
    struct matter *m = context;
    const float *restrict mean = means[0], *restrict rough = m->rough + row_of(m, y);
    float *restrict near = m->near + row_of(m, y), *restrict guided = m->guided + row_of(m, y);
    float *restrict alpha = m->matte.planes[MATTE_ALPHA] + row_of(m, y);
    for (int x = x0; x < x1; x++) {
        near[x] = mean[x];
        guided[x] = rough[x];
        alpha[x] = mean[x] > 0.5f ? 1 : 0;
    }
    uint8_t *marks = areas_row(m->areas, y);
    for (int s = 0; s < m->areas->n_strips; s++) {
        int n = 0, end = KB_MIN((s + 1) * AREA_WIDTH, x1);
        for (int x = s * AREA_WIDTH; x < end; x++)
            n += (near[x] > NEAR_LEAST) & (near[x] < NEAR_MOST);
        marks[s] = n > 0;
    }
}

static void near_slice(void *context, int task, int worker)
{
    struct matter *m = context;
    const struct box_area slice = slice_at(m->matte.w, m->matte.h, SLICE, task);
    box_run(m->hands[worker].box, &slice, m->near_radius, 1, fill_rough, emit_near, m);
}

// --- over time ---

// How much the picture changed: where it did not, neither does the alpha, for what flickers is the
// mask. Where it did, the new one counts alone.
KB_VECTORISED static void find_steps(const struct matter *m, size_t from, size_t n)
{
    const float *restrict a = m->matte.planes[MATTE_Y] + from, *restrict d = m->before[0] + from;
    const float *restrict b = m->matte.planes[MATTE_U] + from, *restrict e = m->before[1] + from;
    const float *restrict c = m->matte.planes[MATTE_V] + from, *restrict f = m->before[2] + from;
    float *restrict step = m->step + from;
    for (size_t i = 0; i < n; i++) {
        float change = fabsf(a[i] - d[i]) + fabsf(b[i] - e[i]) + fabsf(c[i] - f[i]);
        step[i] = smaller(larger((change - 0.02f) * 12, 0) + 0.25f, 1);
    }
}

KB_VECTORISED static void steady(float *restrict now, float *restrict before,
                                 const float *restrict step, size_t n)
{
    for (size_t i = 0; i < n; i++)
        before[i] = now[i] = before[i] + step[i] * (now[i] - before[i]);
}

// Of the rough mask, or of the alpha; what is kept of the frame before becomes this one's.
static void steady_slice(const struct matter *m, int task, float *now, float *before)
{
    const struct box_area slice = slice_at(m->matte.w, m->matte.h, SLICE, task);
    size_t from = row_of(m, slice.y0), n = row_of(m, slice.y1) - from;
    if (m->has_before)
        steady(now + from, before + from, m->step + from, n);
    else
        memcpy(before + from, now + from, n * sizeof(float));
}

static void rough_slice(void *context, int task, int worker)
{
    const struct matter *m = context;
    const struct box_area slice = slice_at(m->matte.w, m->matte.h, SLICE, task);
    size_t from = row_of(m, slice.y0);
    (void)worker;
    if (m->has_before)
        find_steps(m, from, row_of(m, slice.y1) - from);
    steady_slice(m, task, m->rough, m->rough_before);
}

static void alpha_slice(void *context, int task, int worker)
{
    const struct matter *m = context;
    (void)worker;
    steady_slice(m, task, m->matte.planes[MATTE_ALPHA], m->before[3]);
}

// --- what compose.h wants ---

KB_VECTORISED static void find_cells(const struct matter *m, struct hand *hand, int y)
{
    const float least = 1.5f / 255, most = 253.5f / 255;
    const int w = m->matte.w;
    const float *restrict row = m->matte.planes[MATTE_ALPHA] + row_of(m, y);
    const float *restrict above = y > 0 ? row - w : row;
    const float *restrict below = y + 1 < m->matte.h ? row + w : row;
    float *restrict low = hand->rows[0], *restrict high = hand->rows[1];
    uint8_t *restrict cells = m->matte.cells + row_of(m, y);
    for (int x = 0; x < w; x++) {
        low[x] = smaller(smaller(above[x], row[x]), below[x]);
        high[x] = larger(larger(above[x], row[x]), below[x]);
    }
    for (int x = 0; x < w; x++) {
        int before = x - (x > 0), after = x + (x < w - 1);
        float lowest = smaller(smaller(low[before], low[x]), low[after]);
        float highest = larger(larger(high[before], high[x]), high[after]);
        cells[x] = highest < least ? CELL_BEHIND : lowest > most ? CELL_PERSON : CELL_MIXED;
    }
}

// Mixed cells, and marks where they are or beside them.
static void cells_slice(void *context, int task, int worker)
{
    struct matter *m = context;
    const struct box_area slice = slice_at(m->matte.w, m->matte.h, SLICE, task);
    for (int y = slice.y0; y < slice.y1; y++) {
        find_cells(m, &m->hands[worker], y);
        const uint8_t *cells = m->matte.cells + row_of(m, y);
        uint8_t *marks = areas_row(m->areas, y);
        for (int s = 0; s < m->areas->n_strips; s++) {
            int from = KB_MAX(s * AREA_WIDTH - 1, 0);
            int to = KB_MIN((s + 1) * AREA_WIDTH + 1, m->matte.w);
            marks[s] = memchr(cells + from, CELL_MIXED, (size_t)(to - from)) != NULL;
        }
    }
}

KB_VECTORISED static void fill_colours(void *context, int y, int x0, int x1, float *const *lanes)
{
    const struct matter *m = context;
    size_t at = row_of(m, y) + (size_t)x0;
    const float *restrict alpha = m->matte.planes[MATTE_ALPHA] + at;
    memcpy(lanes[0], alpha, (size_t)(x1 - x0) * sizeof(float));
    for (int i = 0; i < 3; i++) {
        const float *restrict from = m->matte.planes[MATTE_Y + i] + at;
        for (int x = 0; x < x1 - x0; x++) {
            lanes[1 + i][x] = alpha[x] * from[x];
            lanes[4 + i][x] = from[x];
        }
    }
}

KB_VECTORISED static void emit_colours(void *context, int y, int x0, int x1, float *const *s)
{
    const struct matter *m = context;
    size_t at = row_of(m, y) + (size_t)x0;
    for (int i = 0; i < 3; i++) {
        float *restrict front = m->matte.planes[MATTE_FRONT + i] + at;
        float *restrict back = m->matte.planes[MATTE_BACK + i] + at;
        for (int x = 0; x < x1 - x0; x++) {
            float share = s[0][x];
            front[x] = s[1 + i][x] / larger(share, 1e-4f);
            back[x] = (s[4 + i][x] - s[1 + i][x]) / larger(1 - share, 1e-4f);
        }
    }
}

static void colour_area(void *context, int task, int worker)
{
    struct matter *m = context;
    const struct box_area *area = &m->areas->list[task];
    struct part p = {.m = m, .hand = &m->hands[worker], .target = m->matte.planes[MATTE_ALPHA]};
    box_run(p.hand->box, area, 2, MOMENTS, fill_moments, emit_fine, &p);
    box_run(p.hand->box, area, m->far_radius / 2, 7, fill_colours, emit_colours, m);
}

void matter_refine(struct matter *m, const float *rough)
{
    memcpy(m->rough, rough, row_of(m, m->matte.h) * sizeof(float));
    crew_run(m->crew, slices_in(m->matte.h, SLICE), rough_slice, m);
    crew_run(m->crew, slices_in(m->matte.h, SLICE), near_slice, m);
    areas_gather(m->areas, 0, m->far_radius);
    crew_run(m->crew, m->areas->n, guide_area, m);
    crew_run(m->crew, m->areas->n, mix_area, m);
    crew_run(m->crew, slices_in(m->matte.h, SLICE), alpha_slice, m);
    crew_run(m->crew, slices_in(m->matte.h, SLICE), cells_slice, m);
    areas_gather(m->areas, 1, m->far_radius / 2);
    crew_run(m->crew, m->areas->n, colour_area, m);
    m->has_before = true;
}
