// The way back is short because everything expensive happens in the small crop: mask, colour match
// and sharpening are done there, the patch is turned to YUV there (a linear map, so it commutes
// with the bilinear resampling), and each pixel of the frame takes one sample of it.
//
// The loops are plain C over planes and rows, which the compiler vectorises (KB_VECTORISED).
#include "lipsync/paste.h"

#include "base/vectorise.h"
#include "lipsync/blend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct paster {
    struct paste_params params;
    float *mask;      // 0..1
    float *patch[3];  // R, G, B planes
    float *target[3]; // the same place of the untouched frame
    float *scratch;   // rows: for the mask, the colours, the sharpening
    float *yuva;      // side * side * 4: Y, U, V of the patch and the mask
};

#define N_SUMS 9 // of match_colour(), for each column

struct paster *paster_create(const struct paste_params *params)
{
    struct paster *p = kb_alloc(sizeof(*p));
    p->params = *params;
    size_t n = (size_t)params->side * (size_t)params->side;
    p->mask = kb_alloc(n * sizeof(float));
    for (int c = 0; c < 3; c++) {
        p->patch[c] = kb_alloc(n * sizeof(float));
        p->target[c] = kb_alloc(n * sizeof(float));
    }
    p->scratch = kb_alloc(N_SUMS * (size_t)params->side * sizeof(float));
    p->yuva = kb_alloc(n * 4 * sizeof(float));
    return p;
}

void paster_free(struct paster **p)
{
    if (!*p)
        return;
    free((*p)->mask);
    for (int c = 0; c < 3; c++) {
        free((*p)->patch[c]);
        free((*p)->target[c]);
    }
    free((*p)->scratch);
    free((*p)->yuva);
    free(*p);
    *p = NULL;
}

// n pixels of three floats to three planes.
KB_VECTORISED static void split(const float *restrict pixels, int n, float *restrict a,
                                float *restrict b, float *restrict c)
{
    for (int i = 0; i < n; i++) {
        a[i] = pixels[3 * i];
        b[i] = pixels[3 * i + 1];
        c[i] = pixels[3 * i + 2];
    }
}

// --- mask ---

// The face oval runs clockwise from the top of the forehead (as seen in the picture); these of its
// 36 points go from one corner of the jaw (FaceMesh 288), round the chin, to the other (58). The
// cheeks above are left alone: they hardly move, and the real picture is sharper than any
// network's.
#define JAW_FIRST 11
#define JAW_LAST  25

#define POLYGON_MAX (JAW_LAST - JAW_FIRST + 1 + 1)

// The lower face: the jaw line, closed over the base of the nose.
static int lower_face(const float (*points)[2], float (*ret)[2])
{
    int n = 0;
    for (int i = JAW_FIRST; i <= JAW_LAST; i++, n++)
        memcpy(ret[n], points[TRACK_OVAL_FIRST + i], sizeof(ret[n]));
    int base_of_nose = track_point_of(2);
    memcpy(ret[n++], points[base_of_nose], sizeof(ret[0]));
    return n;
}

// Plain comparisons: fminf() and fmaxf() must care for NaN, which keeps loops from being
// vectorised.
static inline float min_f(float a, float b)
{
    return a < b ? a : b;
}

static inline float max_f(float a, float b)
{
    return a > b ? a : b;
}

// Squared distance of the pixels of one row to an edge a-b where that is less than what stands in
// nearest; and whether a ray to the right of them crosses it, counted in crossings.
KB_VECTORISED static void row_to_edge(const float a[2], const float b[2], float y, int width,
                                      float *restrict nearest, float *restrict crossings)
{
    float ex = b[0] - a[0], ey = b[1] - a[1], py = y - a[1];
    float scale = 1 / max_f(ex * ex + ey * ey, 1e-6f);
    bool spans = (a[1] > y) != (b[1] > y);
    float cross_x = spans ? a[0] + py / ey * ex : -1;
    for (int x = 0; x < width; x++) {
        float px = (float)x + 0.5f - a[0];
        float t = min_f(max_f((px * ex + py * ey) * scale, 0), 1);
        float dx = px - t * ex, dy = py - t * ey;
        nearest[x] = min_f(nearest[x], dx * dx + dy * dy);
        crossings[x] += (float)x + 0.5f < cross_x ? 1.0f : 0.0f;
    }
}

// From 0 at the mask's edge (grown by `grow`) to 1 a feather further in; edge: how far the upper
// and lower edge of the patch are, the others are seen to here.
KB_VECTORISED static void mask_row(const float *restrict nearest, const float *restrict crossings,
                                   int width, float grow, float edge, float feather,
                                   float *restrict ret)
{
    for (int x = 0; x < width; x++) {
        float d = sqrtf(nearest[x]), cx = (float)x + 0.5f;
        d = ((int)crossings[x] & 1 ? d : -d) + grow;
        d = min_f(d, min_f(min_f(cx, (float)width - cx) - 1, edge));
        float t = min_f(max_f(d / feather, 0), 1);
        ret[x] = t * t * (3 - 2 * t); // smoothstep
    }
}

const float *paster_mask(struct paster *p, const float (*points)[2])
{
    float poly[POLYGON_MAX][2];
    int n = lower_face(points, poly), width = p->params.side;
    float left = points[TRACK_OVAL_FIRST + JAW_LAST][0];
    float right = points[TRACK_OVAL_FIRST + JAW_FIRST][0];
    float face_width = max_f(fabsf(right - left), 1);
    float feather = max_f(p->params.feather * face_width, 1);
    float grow = p->params.dilate * face_width;
    float *nearest = p->scratch, *crossings = nearest + width;

    for (int y = 0; y < p->params.side; y++) {
        float cy = (float)y + 0.5f;
        for (int x = 0; x < width; x++) {
            nearest[x] = INFINITY;
            crossings[x] = 0;
        }
        for (int i = 0; i < n; i++)
            row_to_edge(poly[i], poly[(i + 1) % n], cy, width, nearest, crossings);
        // Nothing may show the edge of the patch itself. Its upper edge is real picture on both
        // sides, so half the rim is enough there.
        float edge = min_f((float)width - cy - 1, 2 * ((float)y - 0.5f));
        mask_row(nearest, crossings, width, grow, edge, feather, p->mask + y * width);
    }
    return p->mask;
}

// --- colour ---

// Solve the symmetric 3x3 system a * ret = b; false if it is singular.
static bool solve3(const double a[3][3], const double b[3], double ret[3])
{
    double det = a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) -
                 a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0]) +
                 a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);
    if (fabs(det) < 1e-9)
        return false;
    for (int k = 0; k < 3; k++) { // Cramer's rule
        double m[3][3];
        memcpy(m, a, sizeof(m));
        for (int i = 0; i < 3; i++)
            m[i][k] = b[i];
        ret[k] = (m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
                  m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
                  m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])) /
                 det;
    }
    return true;
}

// Add row y to the sums of each column: w, w y, w y y, and per channel w d, w d y, where d is what
// the real picture has more than the patch and w is largest in the middle of the mask's rim.
KB_VECTORISED static void sum_row(const float *restrict mask, const float *const target[3],
                                  const float *const patch[3], float y, int width,
                                  float *restrict sums)
{
    for (int x = 0; x < width; x++) {
        float w = mask[x] * (1 - mask[x]);
        sums[x] += w;
        sums[width + x] += w * y;
        sums[2 * width + x] += w * y * y;
    }
    for (int c = 0; c < 3; c++) {
        const float *restrict t = target[c], *restrict p = patch[c];
        float *restrict by_channel = sums + (3 + 2 * c) * width;
        for (int x = 0; x < width; x++) {
            // A jaw that has moved differs by much more than lighting: it counts no more than it.
            float d = min_f(max_f(t[x] - p[x], -0.12f), 0.12f);
            float wd = mask[x] * (1 - mask[x]) * d;
            by_channel[x] += wd;
            by_channel[width + x] += wd * y;
        }
    }
}

KB_VECTORISED static void add_ramp(float *restrict row, float start, float step, int n)
{
    for (int x = 0; x < n; x++)
        row[x] += start + step * (float)x;
}

// Shift the patch by a plane in x and y per channel, fitted by least squares to the difference
// between the real picture and the patch along the mask's rim, so that no seam shows.
static void match_colour(struct paster *p)
{
    int width = p->params.side;
    float *sums = p->scratch, step = 1 / (float)width;
    memset(sums, 0, N_SUMS * (size_t)width * sizeof(*sums));
    for (int y = 0; y < p->params.side; y++) {
        ptrdiff_t row = (ptrdiff_t)y * width;
        const float *const target[3] = {p->target[0] + row, p->target[1] + row, p->target[2] + row};
        const float *const patch[3] = {p->patch[0] + row, p->patch[1] + row, p->patch[2] + row};
        sum_row(p->mask + row, target, patch, (float)y * step - 0.5f, width, sums);
    }

    double a[3][3] = {{0}}, b[3][3] = {{0}}; // of 1, x, y; b[channel]
    for (int i = 0; i < width; i++) {
        double x = i * (double)step - 0.5, s[N_SUMS];
        for (int k = 0; k < N_SUMS; k++)
            s[k] = (double)sums[k * width + i];
        a[0][0] += s[0];
        a[0][1] += s[0] * x;
        a[0][2] += s[1];
        a[1][1] += s[0] * x * x;
        a[1][2] += s[1] * x;
        a[2][2] += s[2];
        for (int c = 0; c < 3; c++) {
            b[c][0] += s[3 + 2 * c];
            b[c][1] += s[3 + 2 * c] * x;
            b[c][2] += s[4 + 2 * c];
        }
    }
    for (int k = 0; k < 3; k++) {
        a[k][k] += 1e-3; // no rim: no shift
        for (int l = 0; l < k; l++)
            a[k][l] = a[l][k];
    }
    for (int c = 0; c < 3; c++) {
        double plane[3];
        if (!solve3(a, b[c], plane))
            continue;
        for (int y = 0; y < p->params.side; y++)
            add_ramp(p->patch[c] + (ptrdiff_t)y * width,
                     (float)(plane[0] - plane[1] / 2 + plane[2] * (y * (double)step - 0.5)),
                     (float)plane[1] * step, width);
    }
}

// A row of the binomial blur of three rows, from one column to the next; the edge is repeated.
KB_VECTORISED static void sharpen_row(const float *restrict above, const float *restrict row,
                                      const float *restrict below, float *restrict column, int n,
                                      float amount, float *restrict ret)
{
    for (int x = 0; x < n; x++)
        column[x] = 0.25f * above[x] + 0.5f * row[x] + 0.25f * below[x];
    for (int x = 0; x < n; x++) {
        float left = column[x > 0 ? x - 1 : 0], right = column[x < n - 1 ? x + 1 : n - 1];
        float blurred = 0.25f * left + 0.5f * column[x] + 0.25f * right;
        ret[x] = row[x] + amount * (row[x] - blurred);
    }
}

// Unsharp mask. The result goes where the target was, which nobody needs any more.
static void sharpen(struct paster *p)
{
    int side = p->params.side;
    for (int c = 0; c < 3; c++) {
        for (int y = 0; y < side; y++) {
            const float *row = p->patch[c] + (ptrdiff_t)y * side;
            sharpen_row(y > 0 ? row - side : row, row, y < side - 1 ? row + side : row, p->scratch,
                        side, p->params.sharpen, p->target[c] + (ptrdiff_t)y * side);
        }
        float *sharp = p->target[c];
        p->target[c] = p->patch[c];
        p->patch[c] = sharp;
    }
}

KB_VECTORISED static void to_yuva(const float *restrict red, const float *restrict green,
                                  const float *restrict blue, const float *restrict mask,
                                  const struct yuv_matrix *matrix, int n, float *restrict ret)
{
    const struct yuv_matrix m = *matrix;
    for (int i = 0; i < n; i++) {
        float r = min_f(max_f(red[i], 0), 1);
        float g = min_f(max_f(green[i], 0), 1);
        float b = min_f(max_f(blue[i], 0), 1);
        ret[i * 4] = m.y_offset + m.to_y[0] * r + m.to_y[1] * g + m.to_y[2] * b;
        ret[i * 4 + 1] = 128 + m.to_u[0] * r + m.to_u[1] * g + m.to_u[2] * b;
        ret[i * 4 + 2] = 128 + m.to_v[0] * r + m.to_v[1] * g + m.to_v[2] * b;
        ret[i * 4 + 3] = mask[i];
    }
}

void paste(struct paster *p, AVFrame *frame, const struct affine *to_frame, const float *target,
           const float *output, const float (*points)[2])
{
    int side = p->params.side, n = side * side;
    split(output, n, p->patch[2], p->patch[1], p->patch[0]);
    split(target, n, p->target[2], p->target[1], p->target[0]);
    paster_mask(p, points);
    match_colour(p);
    if (p->params.sharpen > 0)
        sharpen(p);
    struct yuv_matrix m = yuv_matrix_of(frame);
    to_yuva(p->patch[0], p->patch[1], p->patch[2], p->mask, &m, n, p->yuva);

    struct patch patch = {side, side, (const float(*)[4])p->yuva};
    blend(&patch, frame, to_frame);
}
