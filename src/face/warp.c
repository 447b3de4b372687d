// The sampling is done row by row and plane by plane: for every sample of the grid inside a crop
// pixel, add_row() adds one bilinear sample per pixel of the row to a buffer of floats; then the
// row is turned from YUV to RGB at once. So only add_row() needs vector instructions, and the
// chroma planes, which have half the resolution, get by with half the grid.
#include "face/warp.h"

#include <math.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "face/warp_internal.h"

// --- geometry ---

struct affine affine_invert(const struct affine *m)
{
    double xx = m->xx, xy = m->xy, yx = m->yx, yy = m->yy, x0 = m->x0, y0 = m->y0;
    double d = 1 / (xx * yy - xy * yx);
    return (struct affine){
        .xx = (float)(yy * d),
        .xy = (float)(-xy * d),
        .x0 = (float)((xy * y0 - yy * x0) * d),
        .yx = (float)(-yx * d),
        .yy = (float)(xx * d),
        .y0 = (float)((yx * x0 - xx * y0) * d),
    };
}

struct affine affine_compose(const struct affine *outer, const struct affine *inner)
{
    const struct affine *a = outer, *b = inner;
    return (struct affine){
        .xx = a->xx * b->xx + a->xy * b->yx,
        .xy = a->xx * b->xy + a->xy * b->yy,
        .x0 = a->xx * b->x0 + a->xy * b->y0 + a->x0,
        .yx = a->yx * b->xx + a->yy * b->yx,
        .yy = a->yx * b->xy + a->yy * b->yy,
        .y0 = a->yx * b->x0 + a->yy * b->y0 + a->y0,
    };
}

void affine_apply(const struct affine *m, float x, float y, float *ret_x, float *ret_y)
{
    *ret_x = m->xx * x + m->xy * y + m->x0;
    *ret_y = m->yx * x + m->yy * y + m->y0;
}

struct affine affine_fit_similarity(const float (*from)[2], const float (*to)[2], int n)
{
    double fx = 0, fy = 0, tx = 0, ty = 0;
    for (int i = 0; i < n; i++) {
        fx += from[i][0];
        fy += from[i][1];
        tx += to[i][0];
        ty += to[i][1];
    }
    fx /= n, fy /= n, tx /= n, ty /= n;
    // As complex numbers: the best factor a = sum(conj(f) t) / sum(|f|^2), f and t about their
    // means.
    double re = 0, im = 0, spread = 0;
    for (int i = 0; i < n; i++) {
        double ax = from[i][0] - fx, ay = from[i][1] - fy;
        double bx = to[i][0] - tx, by = to[i][1] - ty;
        re += ax * bx + ay * by;
        im += ax * by - ay * bx;
        spread += ax * ax + ay * ay;
    }
    if (spread > 0) {
        re /= spread;
        im /= spread;
    } else {
        re = 1; // all points in one place: only the shift is known
    }
    return (struct affine){
        .xx = (float)re,
        .xy = (float)-im,
        .x0 = (float)(tx - re * fx + im * fy),
        .yx = (float)im,
        .yy = (float)re,
        .y0 = (float)(ty - im * fx - re * fy),
    };
}

// --- colour ---

// Luma weights of red and blue (ITU-T H.273, table 4).
static void luma_weights(const AVFrame *frame, double *ret_kr, double *ret_kb)
{
    static const struct {
        enum AVColorSpace space;
        double kr, kb;
    } table[] = {
        {AVCOL_SPC_BT709, 0.2126, 0.0722},     {AVCOL_SPC_BT470BG, 0.299, 0.114},
        {AVCOL_SPC_SMPTE170M, 0.299, 0.114},   {AVCOL_SPC_FCC, 0.30, 0.11},
        {AVCOL_SPC_SMPTE240M, 0.212, 0.087},   {AVCOL_SPC_BT2020_NCL, 0.2627, 0.0593},
        {AVCOL_SPC_BT2020_CL, 0.2627, 0.0593},
    };
    size_t row = frame->height >= 720 ? 0 : 1;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].space == frame->colorspace)
            row = i;
    *ret_kr = table[row].kr;
    *ret_kb = table[row].kb;
}

struct yuv_matrix yuv_matrix_of(const AVFrame *frame)
{
    bool full = frame->color_range == AVCOL_RANGE_JPEG;
    double kr, kb;
    luma_weights(frame, &kr, &kb);
    double kg = 1 - kr - kb, y_size = full ? 255 : 219, c_size = full ? 255 : 224;
    double to_b = 2 * (1 - kb), to_r = 2 * (1 - kr); // chroma is (b - y) / to_b, -0.5 to 0.5
    return (struct yuv_matrix){
        .y_offset = full ? 0 : 16,
        .y_scale = (float)(1 / y_size),
        .r_v = (float)(to_r / c_size),
        .g_u = (float)(-to_b * kb / kg / c_size),
        .g_v = (float)(-to_r * kr / kg / c_size),
        .b_u = (float)(to_b / c_size),
        .to_y = {(float)(kr * y_size), (float)(kg * y_size), (float)(kb * y_size)},
        .to_u = {(float)(-kr / to_b * c_size), (float)(-kg / to_b * c_size),
                 (float)((1 - kb) / to_b * c_size)},
        .to_v = {(float)((1 - kr) / to_r * c_size), (float)(-kg / to_r * c_size),
                 (float)(-kb / to_r * c_size)},
    };
}

// --- sampling ---

void warp_add_row_c(const struct warp_plane *p, const struct warp_line *l, int n, float *sum)
{
    for (int i = 0; i < n; i++) {
        float x = l->x + (float)i * l->dx, y = l->y + (float)i * l->dy;
        if (!(x >= p->x_min && x < p->x_max && y >= p->y_min && y < p->y_max)) {
            sum[i] += p->outside;
            continue;
        }
        float fx = fminf(fmaxf(x - 0.5f, 0), (float)(p->width - 1));
        float fy = fminf(fmaxf(y - 0.5f, 0), (float)(p->height - 1));
        int ix = KB_MAX(KB_MIN((int)fx, p->width - 2), 0), jx = KB_MIN(ix + 1, p->width - 1);
        int iy = KB_MAX(KB_MIN((int)fy, p->height - 2), 0), jy = KB_MIN(iy + 1, p->height - 1);
        const uint8_t *a = p->data + (ptrdiff_t)iy * p->stride;
        const uint8_t *b = p->data + (ptrdiff_t)jy * p->stride;
        float ax = fx - (float)ix, ay = fy - (float)iy;
        float top = a[ix] + ax * (float)(a[jx] - a[ix]);
        float bottom = b[ix] + ax * (float)(b[jx] - b[ix]);
        sum[i] += top + ay * (bottom - top);
    }
}

#ifdef __x86_64__
// Eight pixels at a time. One 32-bit gather fetches both neighbours of a row; near the right edge
// it starts a little to the left, so that it never reads beyond the row. No fused multiply-add: the
// test of "inside" must fall as in C.
__attribute__((target("avx2"))) void warp_add_row_avx2(const struct warp_plane *p,
                                                       const struct warp_line *l, int n, float *sum)
{
    const __m256 lane = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 zero = _mm256_setzero_ps(), half = _mm256_set1_ps(0.5f);
    const __m256i byte = _mm256_set1_epi32(255), eight = _mm256_set1_epi32(8);
    const __m256i stride = _mm256_set1_epi32(p->stride);
    const int *base = (const int *)(const void *)p->data;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 at = _mm256_add_ps(_mm256_set1_ps((float)i), lane);
        __m256 x = _mm256_add_ps(_mm256_set1_ps(l->x), _mm256_mul_ps(at, _mm256_set1_ps(l->dx)));
        __m256 y = _mm256_add_ps(_mm256_set1_ps(l->y), _mm256_mul_ps(at, _mm256_set1_ps(l->dy)));
        __m256 in_x = _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(p->x_min), _CMP_GE_OQ),
                                    _mm256_cmp_ps(x, _mm256_set1_ps(p->x_max), _CMP_LT_OQ));
        __m256 in_y = _mm256_and_ps(_mm256_cmp_ps(y, _mm256_set1_ps(p->y_min), _CMP_GE_OQ),
                                    _mm256_cmp_ps(y, _mm256_set1_ps(p->y_max), _CMP_LT_OQ));
        // max(0, NaN) is its second operand: keep zero there, so that no index is wild.
        __m256 fx = _mm256_min_ps(_mm256_max_ps(_mm256_sub_ps(x, half), zero),
                                  _mm256_set1_ps((float)(p->width - 1)));
        __m256 fy = _mm256_min_ps(_mm256_max_ps(_mm256_sub_ps(y, half), zero),
                                  _mm256_set1_ps((float)(p->height - 1)));
        __m256i ix = _mm256_min_epi32(_mm256_cvttps_epi32(fx), _mm256_set1_epi32(p->width - 2));
        __m256i iy = _mm256_min_epi32(_mm256_cvttps_epi32(fy), _mm256_set1_epi32(p->height - 2));
        __m256 ax = _mm256_sub_ps(fx, _mm256_cvtepi32_ps(ix));
        __m256 ay = _mm256_sub_ps(fy, _mm256_cvtepi32_ps(iy));

        __m256i from = _mm256_min_epi32(ix, _mm256_set1_epi32(p->width - 4));
        __m256i shift = _mm256_slli_epi32(_mm256_sub_epi32(ix, from), 3);
        __m256i index = _mm256_add_epi32(_mm256_mullo_epi32(iy, stride), from);
        __m256i a = _mm256_srlv_epi32(_mm256_i32gather_epi32(base, index, 1), shift);
        __m256i b = _mm256_srlv_epi32(
            _mm256_i32gather_epi32(base, _mm256_add_epi32(index, stride), 1), shift);
        __m256 a0 = _mm256_cvtepi32_ps(_mm256_and_si256(a, byte));
        __m256 b0 = _mm256_cvtepi32_ps(_mm256_and_si256(b, byte));
        __m256 a1 = _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srlv_epi32(a, eight), byte));
        __m256 b1 = _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srlv_epi32(b, eight), byte));
        __m256 top = _mm256_add_ps(a0, _mm256_mul_ps(ax, _mm256_sub_ps(a1, a0)));
        __m256 bottom = _mm256_add_ps(b0, _mm256_mul_ps(ax, _mm256_sub_ps(b1, b0)));
        __m256 v = _mm256_add_ps(top, _mm256_mul_ps(ay, _mm256_sub_ps(bottom, top)));
        v = _mm256_blendv_ps(_mm256_set1_ps(p->outside), v, _mm256_and_ps(in_x, in_y));
        _mm256_storeu_ps(sum + i, _mm256_add_ps(_mm256_loadu_ps(sum + i), v));
    }
    struct warp_line rest = {l->x + (float)i * l->dx, l->y + (float)i * l->dy, l->dx, l->dy};
    warp_add_row_c(p, &rest, n - i, sum + i);
}
#endif

static warp_add_row_fn *pick_add_row(const struct warp_plane *p)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && p->width >= 4 && p->height >= 2 && p->stride > 0 &&
        (int64_t)p->stride * p->height < INT32_MAX)
        return warp_add_row_avx2;
#endif
    return warp_add_row_c;
}

// The luma plane (0) or a chroma plane of the frame. Sets to_plane: frame pixels to plane pixels.
static struct warp_plane frame_plane(const AVFrame *frame, int i, float outside,
                                     struct affine *to_plane)
{
    struct warp_plane p = {.data = frame->data[i],
                           .stride = frame->linesize[i],
                           .width = i ? (frame->width + 1) / 2 : frame->width,
                           .height = i ? (frame->height + 1) / 2 : frame->height,
                           .outside = outside};
    float scale = i ? 0.5f : 1, x0 = 0, y0 = 0;
    // Chroma samples lie on the left luma column unless the frame says centre (JPEG, MPEG-1).
    enum AVChromaLocation where = frame->chroma_location;
    if (i && where != AVCHROMA_LOC_CENTER && where != AVCHROMA_LOC_TOP &&
        where != AVCHROMA_LOC_BOTTOM)
        x0 = 0.25f;
    if (i && (where == AVCHROMA_LOC_TOPLEFT || where == AVCHROMA_LOC_TOP))
        y0 = 0.25f;
    *to_plane = (struct affine){.xx = scale, .yy = scale, .x0 = x0, .y0 = y0};
    p.x_min = x0;
    p.y_min = y0;
    p.x_max = (float)frame->width * scale + x0;
    p.y_max = (float)frame->height * scale + y0;
    return p;
}

// Samples per crop pixel along each axis. A bilinear sample covers two pixels of the plane, so one
// for every 1.5 leaves no gaps; from shrinking 12 times on they are spread wider to bound the time.
static int grid_for(const struct affine *m)
{
    float shrink = fmaxf(hypotf(m->xx, m->yx), hypotf(m->xy, m->yy));
    if (!(shrink > 1.5f))
        return 1;
    return (int)fminf(ceilf(shrink / 1.5f), 8);
}

#define CHUNK 512 // pixels of a row at a time

// The means of n pixels of a plane from crop pixel (x, y) on.
static void sample_row(const struct warp_plane *p, const struct affine *to_plane, int x, int y,
                       int n, float *ret)
{
    warp_add_row_fn *add_row = pick_add_row(p);
    int grid = grid_for(to_plane);
    memset(ret, 0, (size_t)n * sizeof(*ret));
    for (int k = 0; k < grid * grid; k++) {
        float cx = (float)x + ((float)(k % grid) + 0.5f) / (float)grid;
        float cy = (float)y + ((float)(k / grid) + 0.5f) / (float)grid;
        struct warp_line line = {.dx = to_plane->xx, .dy = to_plane->yx};
        affine_apply(to_plane, cx, cy, &line.x, &line.y);
        add_row(p, &line, n, ret);
    }
    float scale = 1 / (float)(grid * grid);
    for (int i = 0; grid > 1 && i < n; i++)
        ret[i] *= scale;
}

static void row_to_rgb(const struct yuv_matrix *m, const struct warp_params *p, int n,
                       const float *luma, const float *chroma_u, const float *chroma_v, float *dst)
{
    int red = p->bgr ? 2 : 0, blue = 2 - red;
    float range = p->high - p->low;
    for (int i = 0; i < n; i++) {
        float y = (luma[i] - m->y_offset) * m->y_scale;
        float u = chroma_u[i] - 128, v = chroma_v[i] - 128;
        float r = y + m->r_v * v, g = y + m->g_u * u + m->g_v * v, b = y + m->b_u * u;
        float *pixel = dst + (ptrdiff_t)i * p->pixel_stride;
        r = r < 0 ? 0 : r > 1 ? 1 : r;
        g = g < 0 ? 0 : g > 1 ? 1 : g;
        b = b < 0 ? 0 : b > 1 ? 1 : b;
        pixel[red] = p->low + range * r;
        pixel[1] = p->low + range * g;
        pixel[blue] = p->low + range * b;
    }
}

void warp_crop(const AVFrame *frame, const struct affine *to_frame, const struct warp_params *p,
               float *dst)
{
    struct yuv_matrix matrix = yuv_matrix_of(frame);
    struct warp_plane planes[3];
    struct affine to_plane[3];
    for (int i = 0; i < 3; i++) {
        struct affine half;
        planes[i] = frame_plane(frame, i, i ? 128 : matrix.y_offset, &half);
        to_plane[i] = affine_compose(&half, to_frame);
    }
    float rows[3][CHUNK];
    for (int y = 0; y < p->height; y++) {
        for (int x = 0; x < p->width; x += CHUNK) {
            int n = KB_MIN(p->width - x, CHUNK);
            for (int i = 0; i < 3; i++)
                sample_row(&planes[i], &to_plane[i], x, y, n, rows[i]);
            float *out = dst + ((ptrdiff_t)y * p->width + x) * p->pixel_stride;
            row_to_rgb(&matrix, p, n, rows[0], rows[1], rows[2], out);
        }
    }
}
