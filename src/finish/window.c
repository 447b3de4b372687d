#include "finish/window.h"

#include "base/base.h"

#include <libavutil/pixdesc.h>
#include <math.h>
#include <string.h>

#define TAPS    6
#define BEFORE  2 // of them lie before the sample
#define ONE     (1 << 14)
#define LONGEST 16384 // samples of a row

// Weights of the samples around a place between two of them, 0 <= fraction < 1.
static void taps_at(double fraction, int32_t ret[TAPS])
{
    double weights[TAPS], sum = 0;
    for (int i = 0; i < TAPS; i++) {
        double d = i - BEFORE - fraction, r = d * M_PI;
        weights[i] = fabs(d) < 1e-9 ? 1 : 3 * sin(r) * sin(r / 3) / (r * r);
        sum += weights[i];
    }
    int32_t left = ONE;
    for (int i = 0; i < TAPS; i++) {
        ret[i] = (int32_t)lrint(weights[i] / sum * ONE);
        left -= ret[i];
    }
    ret[BEFORE + (fraction > 0.5)] += left; // a plain surface stays as it is
}

// One plane of a picture, of one or two bytes a sample.
struct plane {
    const uint8_t *data;
    ptrdiff_t stride;
    int width, height;
    bool wide;
};

static int sample(const struct plane *p, const uint8_t *row, int x)
{
    int at = KB_MIN(KB_MAX(x, 0), p->width - 1);
    return p->wide ? ((const uint16_t *)row)[at] : row[at];
}

static const uint8_t *row_of(const struct plane *p, int y)
{
    return p->data + KB_MIN(KB_MAX(y, 0), p->height - 1) * p->stride;
}

// n samples of a row from x on; those within the picture at once.
static void read_row(const struct plane *p, int x, int y, int n, int32_t *ret)
{
    const uint8_t *row = row_of(p, y);
    int first = KB_MIN(KB_MAX(-x, 0), n), last = KB_MAX(KB_MIN(p->width - x, n), first);
    for (int i = 0; i < first; i++)
        ret[i] = sample(p, row, x + i);
    if (p->wide)
        for (int i = first; i < last; i++)
            ret[i] = ((const uint16_t *)row)[x + i];
    else
        for (int i = first; i < last; i++)
            ret[i] = row[x + i];
    for (int i = last; i < n; i++)
        ret[i] = sample(p, row, x + i);
}

// The row at a place between two rows.
static void mix_rows(const struct plane *p, int x, int y, const int32_t *taps, int n,
                     int32_t *restrict ret, int32_t *restrict row)
{
    for (int i = 0; i < n; i++)
        ret[i] = ONE / 2;
    for (int t = 0; t < TAPS; t++) {
        read_row(p, x, y + t - BEFORE, n, row);
        for (int i = 0; i < n; i++)
            ret[i] += taps[t] * row[i];
    }
    for (int i = 0; i < n; i++)
        ret[i] >>= 14;
}

static void mix_columns(const int32_t *restrict row, const int32_t *taps, int n,
                        int32_t *restrict ret)
{
    for (int i = 0; i < n; i++) {
        int32_t v = ONE / 2;
        for (int t = 0; t < TAPS; t++)
            v += taps[t] * row[i + t];
        ret[i] = v >> 14;
    }
}

static void write_row(uint8_t *to, const int32_t *row, int n, bool wide)
{
    int most = wide ? 1023 : 255;
    for (int i = 0; i < n && wide; i++)
        ((uint16_t *)to)[i] = (uint16_t)KB_MIN(KB_MAX(row[i], 0), most);
    for (int i = 0; i < n && !wide; i++)
        to[i] = (uint8_t)KB_MIN(KB_MAX(row[i], 0), most);
}

static void take_plane(const struct plane *p, double x, double y, uint8_t *to, ptrdiff_t stride,
                       int width, int height)
{
    int32_t across[TAPS], down[TAPS];
    int32_t rows[2][LONGEST + TAPS], mixed[LONGEST];
    int x0 = (int)floor(x), y0 = (int)floor(y);
    bool slides = x > x0, sinks = y > y0;
    taps_at(x - x0, across);
    taps_at(y - y0, down);
    int n = width + (slides ? TAPS - 1 : 0), left = x0 - (slides ? BEFORE : 0);
    bool inside = left >= 0 && left + n <= p->width;
    for (int i = 0; i < height; i++, to += stride) {
        if (!slides && !sinks && inside) {
            size_t bytes = p->wide ? 2 : 1;
            memcpy(to, row_of(p, y0 + i) + (size_t)x0 * bytes, (size_t)width * bytes);
            continue;
        }
        if (sinks)
            mix_rows(p, left, y0 + i, down, n, rows[0], rows[1]);
        else
            read_row(p, left, y0 + i, n, rows[0]);
        if (slides)
            mix_columns(rows[0], across, width, mixed);
        write_row(to, slides ? mixed : rows[0], width, p->wide);
    }
}

void window_take(const AVFrame *from, double x, double y, AVFrame *ret)
{
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(from->format);
    for (int i = 0; i < format->nb_components; i++) {
        int half = i == 1 || i == 2;
        const struct plane p = {
            from->data[i], from->linesize[i], half ? (from->width + 1) / 2 : from->width,
            half ? (from->height + 1) / 2 : from->height, format->comp[0].depth > 8};
        take_plane(&p, half ? x / 2 : x, half ? y / 2 : y, ret->data[i], ret->linesize[i],
                   half ? ret->width / 2 : ret->width, half ? ret->height / 2 : ret->height);
    }
}
