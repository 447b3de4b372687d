#include "finish/matte.h"

#include "base/vectorise.h"
#include "finish/box.h"
#include "finish/clamp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RADIUS 64

// Of the first guided filter: the noise of a film's colours, squared.
#define NOISE 2e-4f

struct matter {
    struct matte matte;
    struct box *box;
    float *rough, *rough_before;
    float *guided;    // the mask along the picture's edges
    float *target;    // what a guided filter fits
    float *near;      // how much of the places around is the person, roughly
    float *before[4]; // Y, U, V, alpha of the frame before
    bool has_before;
    int near_radius, far_radius;
};

struct matter *matter_create(int width, int height)
{
    struct matter *m = kb_alloc(sizeof(*m));
    int64_t area = (int64_t)width * height;
    int step = area <= 640 * 512 ? 1 : area <= 1920 * 1088 ? 2 : 4;
    int w = (width + step - 1) / step, h = (height + step - 1) / step;
    m->matte = (struct matte){.width = width, .height = height, .step = step, .w = w, .h = h};
    size_t bytes = (size_t)w * (size_t)h * sizeof(float);
    for (int i = 0; i < N_MATTE_PLANES; i++)
        m->matte.planes[i] = kb_alloc(bytes);
    for (int i = 0; i < 4; i++)
        m->before[i] = kb_alloc(bytes);
    m->rough = kb_alloc(bytes);
    m->rough_before = kb_alloc(bytes);
    m->guided = kb_alloc(bytes);
    m->near = kb_alloc(bytes);
    int side = KB_MIN(KB_MAX(w, h), 2 * KB_MIN(w, h));
    m->near_radius = KB_MIN(KB_MAX(side / 80, 2), MAX_RADIUS);
    m->far_radius = KB_MIN(KB_MAX(side / 26, 4), MAX_RADIUS);
    m->box = box_create(w, h, MAX_RADIUS);
    return m;
}

void matter_free(struct matter **mp)
{
    struct matter *m = *mp;
    if (!m)
        return;
    for (int i = 0; i < N_MATTE_PLANES; i++)
        free(m->matte.planes[i]);
    for (int i = 0; i < 4; i++)
        free(m->before[i]);
    free(m->rough);
    free(m->rough_before);
    free(m->guided);
    free(m->near);
    box_free(&m->box);
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

static void shrink(float *to, const struct matte *m, const AVFrame *frame, int plane)
{
    int shift = plane > 0, width = m->width >> shift, height = m->height >> shift;
    float scale = plane ? 1 / 127.5f : 1 / 255.0f, offset = plane ? -128 / 127.5f : 0;
    int side = KB_MAX(m->step >> shift, 1), repeat = plane && m->step == 1;
    for (int y = 0; y < m->h; y++) {
        float *row = to + (size_t)y * (size_t)m->w;
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

void matter_look(struct matter *m, const AVFrame *frame, bool is_cut)
{
    for (int i = 0; i < 3 && m->has_before; i++) {
        float *old = m->before[i];
        m->before[i] = m->matte.planes[MATTE_Y + i];
        m->matte.planes[MATTE_Y + i] = old;
    }
    for (int i = 0; i < 3; i++)
        shrink(m->matte.planes[MATTE_Y + i], &m->matte, frame, i);
    if (is_cut)
        m->has_before = false;
}

// --- the guided filter ---

static size_t row_of(const struct matter *m, int y)
{
    return (size_t)y * (size_t)m->matte.w;
}

KB_VECTORISED static void fill_moments(void *context, int y, float *const *lanes)
{
    const struct matter *m = context;
    size_t at = row_of(m, y);
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    const float *restrict p = m->target + at;
    size_t row = (size_t)m->matte.w * sizeof(float);
    memcpy(lanes[0], a, row);
    memcpy(lanes[1], b, row);
    memcpy(lanes[2], c, row);
    memcpy(lanes[3], p, row);
    for (int x = 0; x < m->matte.w; x++) {
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

static void gains_at(const struct matter *m, int y, float *ret[4])
{
    for (int i = 0; i < 4; i++)
        ret[i] = m->matte.planes[MATTE_GAIN_Y + i] + row_of(m, y);
}

static void emit_rough(void *context, int y, float *const *means)
{
    const struct matter *m = context;
    float *gains[4];
    gains_at(m, y, gains);
    solve(gains, means, m->matte.w, NOISE);
}

static void emit_fine(void *context, int y, float *const *means)
{
    const struct matter *m = context;
    float *gains[4];
    gains_at(m, y, gains);
    solve(gains, means, m->matte.w, NOISE / 8);
}

static void fill_gains(void *context, int y, float *const *lanes)
{
    const struct matter *m = context;
    float *gains[4];
    gains_at(m, y, gains);
    for (int i = 0; i < 4; i++)
        memcpy(lanes[i], gains[i], (size_t)m->matte.w * sizeof(float));
}

KB_VECTORISED static void emit_guided(void *context, int y, float *const *g)
{
    const struct matter *m = context;
    size_t at = row_of(m, y);
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    float *restrict to = m->guided + at;
    for (int x = 0; x < m->matte.w; x++)
        to[x] = smaller(larger(a[x] * g[0][x] + b[x] * g[1][x] + c[x] * g[2][x] + g[3][x], 0), 1);
}

// --- the colours on both sides ---

// 1 where a place is surely the person (want 1) or surely not (want 0).
static inline float certain(float rough, float guided, float want)
{
    float away = larger(fabsf(rough - want), fabsf(guided - want));
    return smaller(larger(1.6f - 16 * away, 0), 1);
}

KB_VECTORISED static void fill_sides(void *context, int y, float *const *lanes)
{
    const struct matter *m = context;
    size_t at = row_of(m, y);
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    const float *restrict rough = m->rough + at, *restrict guided = m->guided + at;
    for (int x = 0; x < m->matte.w; x++) {
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
KB_VECTORISED static void emit_mixture(void *context, int y, float *const *s)
{
    const struct matter *m = context;
    size_t at = row_of(m, y);
    const float *restrict a = m->matte.planes[MATTE_Y] + at;
    const float *restrict b = m->matte.planes[MATTE_U] + at;
    const float *restrict c = m->matte.planes[MATTE_V] + at;
    const float *restrict guided = m->guided + at, *restrict near = m->near + at;
    float *restrict to = m->matte.planes[MATTE_ALPHA] + at;
    for (int x = 0; x < m->matte.w; x++) {
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

static void fill_rough(void *context, int y, float *const *lanes)
{
    const struct matter *m = context;
    memcpy(lanes[0], m->rough + row_of(m, y), (size_t)m->matte.w * sizeof(float));
}

static void emit_near(void *context, int y, float *const *means)
{
    struct matter *m = context;
    memcpy(m->near + row_of(m, y), means[0], (size_t)m->matte.w * sizeof(float));
}

// --- over time ---

// Where the picture did not change, neither does the alpha: what flickers is the mask. Where it
// did, the new one counts alone.
KB_VECTORISED static void steady(const struct matter *m, float *restrict alpha,
                                 const float *restrict before)
{
    size_t n = (size_t)m->matte.w * (size_t)m->matte.h;
    const float *restrict a = m->matte.planes[MATTE_Y], *restrict b = m->matte.planes[MATTE_U];
    const float *restrict c = m->matte.planes[MATTE_V];
    const float *restrict d = m->before[0], *restrict e = m->before[1], *restrict f = m->before[2];
    for (size_t i = 0; i < n; i++) {
        float change = fabsf(a[i] - d[i]) + fabsf(b[i] - e[i]) + fabsf(c[i] - f[i]);
        float step = smaller(larger((change - 0.02f) * 12, 0) + 0.25f, 1);
        alpha[i] = before[i] + step * (alpha[i] - before[i]);
    }
}

// --- what compose.h wants ---

KB_VECTORISED static void fill_colours(void *context, int y, float *const *lanes)
{
    const struct matter *m = context;
    size_t at = row_of(m, y);
    const float *restrict alpha = m->matte.planes[MATTE_ALPHA] + at;
    memcpy(lanes[0], alpha, (size_t)m->matte.w * sizeof(float));
    for (int i = 0; i < 3; i++) {
        const float *restrict from = m->matte.planes[MATTE_Y + i] + at;
        for (int x = 0; x < m->matte.w; x++) {
            lanes[1 + i][x] = alpha[x] * from[x];
            lanes[4 + i][x] = from[x];
        }
    }
}

KB_VECTORISED static void emit_colours(void *context, int y, float *const *s)
{
    const struct matter *m = context;
    size_t at = row_of(m, y);
    for (int i = 0; i < 3; i++) {
        float *restrict front = m->matte.planes[MATTE_FRONT + i] + at;
        float *restrict back = m->matte.planes[MATTE_BACK + i] + at;
        for (int x = 0; x < m->matte.w; x++) {
            float share = s[0][x];
            front[x] = s[1 + i][x] / larger(share, 1e-4f);
            back[x] = (s[4 + i][x] - s[1 + i][x]) / larger(1 - share, 1e-4f);
        }
    }
}

void matter_refine(struct matter *m, const float *rough)
{
    size_t bytes = (size_t)m->matte.w * (size_t)m->matte.h * sizeof(float);
    memcpy(m->rough, rough, bytes);
    if (m->has_before)
        steady(m, m->rough, m->rough_before);
    memcpy(m->rough_before, m->rough, bytes);
    m->target = m->rough;
    box_run(m->box, m->near_radius, 13, fill_moments, emit_rough, m);
    box_run(m->box, m->near_radius, 4, fill_gains, emit_guided, m);
    box_run(m->box, m->near_radius, 1, fill_rough, emit_near, m);
    box_run(m->box, m->far_radius, 10, fill_sides, emit_mixture, m);

    float *alpha = m->matte.planes[MATTE_ALPHA];
    if (m->has_before)
        steady(m, alpha, m->before[3]);
    memcpy(m->before[3], alpha, bytes);
    m->has_before = true;
    m->target = alpha;
    box_run(m->box, 2, 13, fill_moments, emit_fine, m);
    box_run(m->box, m->far_radius / 2, 7, fill_colours, emit_colours, m);
}
