// The way back is short because everything expensive happens in the small crop: mask, colour match
// and sharpening are done there, the patch is turned to YUV there (a linear map, so it commutes
// with the bilinear resampling), and each pixel of the frame takes one sample of it.
#include "lipsync/paste.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct paster {
    struct paste_params params;
    int width, height; // of the patch
    float *mask;       // 0..1
    float *patch;      // width * height * 3, R G B
    float *blurred;    // scratch of the sharpening
    float *row;        // scratch of the mask: two rows
    float *yuva;       // width * height * 4: Y, U, V of the patch and the mask
};

struct paster *paster_create(const struct paste_params *params)
{
    struct paster *p = kb_alloc(sizeof(*p));
    p->params = *params;
    p->width = params->spec->out_width;
    p->height = params->spec->out_height;
    size_t n = (size_t)p->width * (size_t)p->height;
    p->mask = kb_alloc(n * sizeof(float));
    p->patch = kb_alloc(n * 3 * sizeof(float));
    p->blurred = kb_alloc(n * 3 * sizeof(float));
    p->row = kb_alloc(2 * (size_t)p->width * sizeof(float));
    p->yuva = kb_alloc(n * 4 * sizeof(float));
    return p;
}

void paster_free(struct paster **p)
{
    if (!*p)
        return;
    free((*p)->mask);
    free((*p)->patch);
    free((*p)->blurred);
    free((*p)->row);
    free((*p)->yuva);
    free(*p);
    *p = NULL;
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
static void row_to_edge(const float a[2], const float b[2], float y, int width,
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

static float smoothstep(float t)
{
    t = min_f(max_f(t, 0), 1);
    return t * t * (3 - 2 * t);
}

const float *paster_mask(struct paster *p, const float (*points)[2])
{
    const struct lips_spec *spec = p->params.spec;
    float poly[POLYGON_MAX][2];
    int n = lower_face(points, poly), width = p->width;
    float left = points[TRACK_OVAL_FIRST + JAW_LAST][0];
    float right = points[TRACK_OVAL_FIRST + JAW_FIRST][0];
    float face_width = max_f(fabsf(right - left), 1);
    float feather = max_f(p->params.feather * face_width, 1);
    float grow = p->params.dilate * face_width;
    float *nearest = p->row, *crossings = p->row + width;

    for (int y = 0; y < p->height; y++) {
        float cy = (float)(y + spec->out_top) + 0.5f;
        for (int x = 0; x < width; x++) {
            nearest[x] = INFINITY;
            crossings[x] = 0;
        }
        for (int i = 0; i < n; i++)
            row_to_edge(poly[i], poly[(i + 1) % n], cy, width, nearest, crossings);
        // Nothing may show the edge of the patch itself. Its upper edge is real picture on both
        // sides, so half the rim is enough there.
        float edge_y = min_f((float)spec->height - cy - 1, 2 * ((float)y - 0.5f));
        for (int x = 0; x < width; x++) {
            float cx = (float)x + 0.5f;
            float d = ((int)crossings[x] & 1 ? sqrtf(nearest[x]) : -sqrtf(nearest[x])) + grow;
            float edge = min_f(min_f(cx, (float)width - cx) - 1, edge_y);
            p->mask[y * width + x] = smoothstep(min_f(d, edge) / feather);
        }
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

// Shift the patch by a plane in x and y per channel, fitted by least squares to the difference
// between the real picture and the patch along the mask's rim, so that no seam shows.
static void match_colour(struct paster *p, const float *target)
{
    double a[3][3] = {{0}}, b[3][3] = {{0}}; // b[channel]
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            size_t i = (size_t)y * (size_t)p->width + (size_t)x;
            double w = p->mask[i] * (1 - p->mask[i]);
            if (w <= 0)
                continue;
            double at[3] = {1, (double)x / p->width - 0.5, (double)y / p->height - 0.5};
            for (int c = 0; c < 3; c++) {
                // A jaw that has moved differs by much more than lighting: it counts no more than
                // it.
                double d = fmin(
                    fmax(target[i * 3 + (size_t)c] - p->patch[i * 3 + (size_t)c], -0.12), 0.12);
                for (int k = 0; k < 3; k++)
                    b[c][k] += w * d * at[k];
            }
            for (int k = 0; k < 3; k++)
                for (int l = 0; l < 3; l++)
                    a[k][l] += w * at[k] * at[l];
        }
    for (int k = 0; k < 3; k++)
        a[k][k] += 1e-3; // no rim: no shift

    for (int c = 0; c < 3; c++) {
        double plane[3];
        if (!solve3(a, b[c], plane))
            continue;
        for (int y = 0; y < p->height; y++)
            for (int x = 0; x < p->width; x++)
                p->patch[((size_t)y * (size_t)p->width + (size_t)x) * 3 + (size_t)c] +=
                    (float)(plane[0] + plane[1] * ((double)x / p->width - 0.5) +
                            plane[2] * ((double)y / p->height - 0.5));
    }
}

// Unsharp mask with a 3x3 binomial blur.
static void sharpen(struct paster *p)
{
    static const float kernel[3] = {0.25f, 0.5f, 0.25f};
    int w = p->width, h = p->height;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) {
                float sum = 0;
                for (int k = 0; k < 9; k++) {
                    int sx = KB_MIN(KB_MAX(x + k % 3 - 1, 0), w - 1);
                    int sy = KB_MIN(KB_MAX(y + k / 3 - 1, 0), h - 1);
                    sum += kernel[k % 3] * kernel[k / 3] * p->patch[(sy * w + sx) * 3 + c];
                }
                p->blurred[(y * w + x) * 3 + c] = sum;
            }
    for (int i = 0; i < w * h * 3; i++)
        p->patch[i] += p->params.sharpen * (p->patch[i] - p->blurred[i]);
}

static void to_yuv(struct paster *p, const struct yuv_matrix *m)
{
    int n = p->width * p->height;
    for (int i = 0; i < n; i++) {
        float r = min_f(max_f(p->patch[i * 3], 0), 1);
        float g = min_f(max_f(p->patch[i * 3 + 1], 0), 1);
        float b = min_f(max_f(p->patch[i * 3 + 2], 0), 1);
        p->yuva[i * 4] = m->y_offset + m->to_y[0] * r + m->to_y[1] * g + m->to_y[2] * b;
        p->yuva[i * 4 + 1] = 128 + m->to_u[0] * r + m->to_u[1] * g + m->to_u[2] * b;
        p->yuva[i * 4 + 2] = 128 + m->to_v[0] * r + m->to_v[1] * g + m->to_v[2] * b;
        p->yuva[i * 4 + 3] = p->mask[i];
    }
}

// --- into the frame ---

// Y, U, V, mask of the patch at a position in crop pixels; mask 0 outside.
static bool sample(const struct paster *p, float x, float y, float ret[4])
{
    x -= 0.5f;
    y -= 0.5f + (float)p->params.spec->out_top;
    if (!(x >= 0 && y >= 0 && x < (float)(p->width - 1) && y < (float)(p->height - 1)))
        return false;
    int x0 = (int)x, y0 = (int)y;
    float tx = x - (float)x0, ty = y - (float)y0;
    const float *a = p->yuva + ((size_t)y0 * (size_t)p->width + (size_t)x0) * 4;
    const float *b = a + (size_t)p->width * 4;
    if (a[3] + a[7] + b[3] + b[7] <= 0)
        return false;
    for (int i = 0; i < 4; i++) {
        float top = a[i] + (a[4 + i] - a[i]) * tx, low = b[i] + (b[4 + i] - b[i]) * tx;
        ret[i] = top + (low - top) * ty;
    }
    return true;
}

static uint8_t mix(uint8_t old, float value, float alpha)
{
    float v = (float)old + (value - (float)old) * alpha + 0.5f;
    return (uint8_t)min_f(max_f(v, 0), 255);
}

// Rows and columns of the frame that the patch can touch.
static void bounds(const struct paster *p, const AVFrame *frame, const struct affine *to_frame,
                   int ret[4])
{
    const struct lips_spec *spec = p->params.spec;
    float x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY;
    for (int k = 0; k < 4; k++) {
        float x, y;
        affine_apply(to_frame, (float)((k & 1) * spec->width),
                     (float)(spec->out_top + (k >> 1) * spec->out_height), &x, &y);
        x0 = min_f(x0, x);
        y0 = min_f(y0, y);
        x1 = max_f(x1, x);
        y1 = max_f(y1, y);
    }
    // Even corners, so that a chroma sample belongs to one block of four.
    ret[0] = (int)min_f(max_f(x0, 0), (float)frame->width) & ~1;
    ret[1] = (int)min_f(max_f(y0, 0), (float)frame->height) & ~1;
    ret[2] = (int)min_f(max_f(x1 + 2, 0), (float)frame->width) & ~1;
    ret[3] = (int)min_f(max_f(y1 + 2, 0), (float)frame->height) & ~1;
}

static void blend(const struct paster *p, AVFrame *frame, const struct affine *to_frame)
{
    struct affine to_crop = affine_invert(to_frame);
    int area[4];
    float s[4], x, y;
    bounds(p, frame, to_frame, area);

    for (int fy = area[1]; fy < area[3]; fy++) {
        uint8_t *row = frame->data[0] + (ptrdiff_t)fy * frame->linesize[0];
        for (int fx = area[0]; fx < area[2]; fx++) {
            affine_apply(&to_crop, (float)fx + 0.5f, (float)fy + 0.5f, &x, &y);
            if (sample(p, x, y, s))
                row[fx] = mix(row[fx], s[0], s[3]);
        }
    }
    for (int cy = area[1] / 2; cy < area[3] / 2; cy++) {
        uint8_t *u = frame->data[1] + (ptrdiff_t)cy * frame->linesize[1];
        uint8_t *v = frame->data[2] + (ptrdiff_t)cy * frame->linesize[2];
        for (int cx = area[0] / 2; cx < area[2] / 2; cx++) {
            affine_apply(&to_crop, (float)cx * 2 + 1, (float)cy * 2 + 1, &x, &y);
            if (!sample(p, x, y, s))
                continue;
            u[cx] = mix(u[cx], s[1], s[3]);
            v[cx] = mix(v[cx], s[2], s[3]);
        }
    }
}

void paste(struct paster *p, AVFrame *frame, const struct affine *to_frame, const float *target,
           const float *output, const float (*points)[2])
{
    const struct lips_spec *spec = p->params.spec;
    size_t n = (size_t)p->width * (size_t)p->height;
    memcpy(p->patch, output, n * 3 * sizeof(float));
    paster_mask(p, points);
    match_colour(p, target + (size_t)spec->out_top * (size_t)spec->width * 3);
    if (p->params.sharpen > 0)
        sharpen(p);
    if (spec->bgr)
        for (size_t i = 0; i < n; i++) {
            float b = p->patch[i * 3];
            p->patch[i * 3] = p->patch[i * 3 + 2];
            p->patch[i * 3 + 2] = b;
        }
    struct yuv_matrix m = yuv_matrix_of(frame);
    to_yuv(p, &m);
    blend(p, frame, to_frame);
}
