// The weights of Winograd's convolutions: at the points, in the order in which products read them,
// and for points in 16 bits as whole numbers.
#include "nn/winograd/winograd.h"

#include <math.h>
#include <string.h>

#define MAX_WIDTH 32 // of a panel: two vectors
#define MAX_ALL   (WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS)

static const double places[] = {0, 1, -1, 2, -2};

static size_t numbers(const struct winograd *w)
{
    return (size_t)w->points * (size_t)w->panels * 2 * (size_t)w->lanes * (size_t)w->shape.in_c;
}

size_t winograd_scales_at(const struct winograd *w)
{
    return numbers(w) * (w->shorts ? sizeof(int16_t) : sizeof(float));
}

size_t winograd_weights_size(const struct winograd *w)
{
    size_t n_scales = w->shorts ? (size_t)w->points * (size_t)w->panels * 2 * (size_t)w->lanes : 0;
    return winograd_scales_at(w) + n_scales * sizeof(float);
}

// --- how large a point can become ---

// What a point of a line is made of: the factor of each input, as to_points() has them but perhaps
// for the sign.
static void line_factors(double ret[WINOGRAD_MAX_POINTS], int point, int taps, int out,
                         double spread)
{
    const int points = WINOGRAD_POINTS(taps, out);
    memset(ret, 0, WINOGRAD_MAX_POINTS * sizeof(ret[0]));
    if (taps == 1) {
        ret[point] = 1;
        return;
    }
    ret[0] = 1; // the product of (x - place), but for the point's own
    for (int k = 0, n = 1; k < points - 1; k++) {
        if (k == point)
            continue;
        for (int i = n++; i >= 0; i--)
            ret[i] = (i > 0 ? ret[i - 1] : 0) - places[k] * ret[i];
    }
    for (int i = 0; i < points; i++)
        ret[i] *= pow(spread, -i);
}

void winograd_reach(const struct winograd *w, double ret[MAX_ALL])
{
    const struct winograd_shape *s = &w->shape;
    const int columns = WINOGRAD_POINTS(s->kernel_w, w->tile);
    const bool is_positive = s->in_is_positive || s->in == WINOGRAD_U8;
    for (int p = 0; p < w->points; p++) {
        double down[WINOGRAD_MAX_POINTS], across[WINOGRAD_MAX_POINTS], above = 0, below = 0;
        line_factors(down, p / columns, s->kernel_h, w->tile, w->spread_h);
        line_factors(across, p % columns, s->kernel_w, w->tile, w->spread_w);
        for (int i = 0; i < MAX_ALL; i++) {
            double factor = down[i / WINOGRAD_MAX_POINTS] * across[i % WINOGRAD_MAX_POINTS];
            above += fmax(factor, 0);
            below += fmax(-factor, 0);
        }
        ret[p] = is_positive ? fmax(above, below) : above + below;
    }
}

// --- weights at points ---

struct lines {
    // What a line of so many taps is at each point: [point][tap].
    double down[WINOGRAD_MAX_POINTS][3], across[WINOGRAD_MAX_POINTS][3];
};

static void line_at_points(double ret[WINOGRAD_MAX_POINTS][3], int taps, int out, double spread)
{
    int points = WINOGRAD_POINTS(taps, out);
    memset(ret, 0, WINOGRAD_MAX_POINTS * sizeof(ret[0]));
    for (int i = 0; i < points; i++) {
        if (taps == 1) {
            ret[i][0] = 1;
            continue;
        }
        if (i == points - 1) { // infinity
            ret[i][taps - 1] = pow(spread, taps - 1);
            continue;
        }
        double power = 1;
        for (int k = 0; k < points - 1; k++)
            power /= k == i ? 1 : places[i] - places[k];
        for (int t = 0; t < taps; t++, power *= places[i] * spread)
            ret[i][t] = power;
    }
}

// One kernel at every point: to[point * step].
static void kernel_at_points(const struct winograd *w, const struct lines *l, const float *kernel,
                             float *to, int step)
{
    const int taps_h = w->shape.kernel_h, taps_w = w->shape.kernel_w;
    const int rows = WINOGRAD_POINTS(taps_h, w->tile), columns = WINOGRAD_POINTS(taps_w, w->tile);
    for (int r = 0; r < rows; r++) {
        double line[3] = {0};
        for (int y = 0; y < taps_h; y++)
            for (int x = 0; x < taps_w; x++)
                line[x] += l->down[r][y] * (double)kernel[y * taps_w + x];
        for (int c = 0; c < columns; c++) {
            double sum = 0;
            for (int x = 0; x < taps_w; x++)
                sum += l->across[c][x] * line[x];
            to[(r * columns + c) * step] = (float)sum;
        }
    }
}

// One input channel of a panel: to[point * step + column].
static void channel_at_points(const struct winograd *w, const struct lines *l, const float *weight,
                              int panel, int channel, float *to, size_t step)
{
    const struct winograd_shape *s = &w->shape;
    const int width = 2 * w->lanes, n = KB_MIN(width, s->out_c - panel * width);
    float all[MAX_ALL * MAX_WIDTH] = {0}; // to may be pages from point to point
    for (int o = 0; o < n; o++) {
        size_t from = (size_t)(panel * width + o) * (size_t)s->in_c + (size_t)channel;
        kernel_at_points(w, l, weight + from * (size_t)(s->kernel_h * s->kernel_w), all + o, width);
    }
    for (int p = 0; p < w->points; p++)
        memcpy(to + (size_t)p * step, all + p * width, (size_t)width * sizeof(*to));
}

static void float_panel(const struct winograd *w, const struct lines *l, const float *weight,
                        int panel, float *ret)
{
    const size_t width = 2 * (size_t)w->lanes, in_c = (size_t)w->shape.in_c;
    for (int i = 0; i < w->shape.in_c; i++)
        channel_at_points(w, l, weight, panel, i, ret + ((size_t)panel * in_c + (size_t)i) * width,
                          (size_t)w->panels * in_c * width);
}

// --- as whole numbers ---

// No sum may reach 2^31, nor with what rounding adds to it: half of 32767 for each of a block.
#define SUM_LIMIT (2147483647.0 - WINOGRAD_BLOCK * 32768.0)

// What the weights of one column at one point are multiplied by: from[channel * width].
static double column_scale(const struct winograd *w, const float *from, double reach)
{
    const int width = 2 * w->lanes;
    double largest = 0, most = 0, sum = 0;
    for (int i = 0; i < w->shape.in_c; i++) {
        double size = fabs((double)from[i * width]);
        sum = i % WINOGRAD_BLOCK == 0 ? size : sum + size;
        largest = fmax(largest, size);
        most = fmax(most, sum);
    }
    return largest > 0 ? fmin(32767 / largest, SUM_LIMIT / (most * reach)) : 1;
}

// from[channel][column] of one point and panel to to[channel / 2][column][channel % 2].
static void round_weights(const struct winograd *w, const float *from, double reach, int16_t *to,
                          float *ret_scales)
{
    const int width = 2 * w->lanes;
    for (int o = 0; o < width; o++) {
        double scale = column_scale(w, from + o, reach);
        for (int i = 0; i < w->shape.in_c; i++)
            to[(i / 2 * width + o) * 2 + i % 2] =
                (int16_t)lrint((double)from[i * width + o] * scale);
        ret_scales[o] = (float)(1 / scale);
    }
}

static void short_panel(const struct winograd *w, const struct lines *l, const float *weight,
                        int panel, const double *reach, char *ret)
{
    const size_t width = 2 * (size_t)w->lanes, step = (size_t)w->shape.in_c * width;
    CLEANUP(kb_freep) float *all = kb_alloc((size_t)w->points * step * sizeof(*all));
    for (int i = 0; i < w->shape.in_c; i++)
        channel_at_points(w, l, weight, panel, i, all + (size_t)i * width, step);
    int16_t *to = (int16_t *)(void *)ret;
    float *scales = (float *)(void *)(ret + winograd_scales_at(w));
    for (int p = 0; p < w->points; p++) {
        size_t at = (size_t)p * (size_t)w->panels + (size_t)panel;
        round_weights(w, all + (size_t)p * step, reach[p] * (double)w->limit, to + at * step,
                      scales + at * width);
    }
}

void winograd_weights(const struct winograd *w, const float *weight, void *ret)
{
    const struct winograd_shape *s = &w->shape;
    double reach[MAX_ALL];
    struct lines l;
    line_at_points(l.down, s->kernel_h, w->tile, w->spread_h);
    line_at_points(l.across, s->kernel_w, w->tile, w->spread_w);
    if (w->shorts)
        winograd_reach(w, reach);
#pragma omp parallel for schedule(static)
    for (int panel = 0; panel < w->panels; panel++) {
        if (w->shorts)
            short_panel(w, &l, weight, panel, reach, ret);
        else
            float_panel(w, &l, weight, panel, ret);
    }
}
