#include "lipsync/blend.h"

#include <math.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

static uint8_t mix(uint8_t old, float value, float alpha)
{
    float v = (float)old + (value - (float)old) * alpha + 0.5f;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

void blend_row_c(const struct patch *p, const struct blend_line *l, bool chroma, int n,
                 uint8_t *const dst[2])
{
    int first = chroma ? 1 : 0, count = chroma ? 2 : 1;
    for (int i = 0; i < n; i++) {
        float x = l->x + (float)i * l->dx, y = l->y + (float)i * l->dy, s[4];
        if (!(x >= 0 && y >= 0 && x < (float)(p->width - 1) && y < (float)(p->height - 1)))
            continue;
        int ix = (int)x, iy = (int)y;
        const float(*a)[4] = p->yuva + (ptrdiff_t)iy * p->width + ix, (*b)[4] = a + p->width;
        x -= (float)ix;
        y -= (float)iy;
        for (int k = 0; k < 4; k++) {
            float left = a[0][k] + (b[0][k] - a[0][k]) * y;
            float right = a[1][k] + (b[1][k] - a[1][k]) * y;
            s[k] = left + (right - left) * x;
        }
        for (int k = 0; k < count; k++)
            dst[k][i] = mix(dst[k][i], s[first + k], s[3]);
    }
}

#ifdef __x86_64__

#define AVX2 __attribute__((target("avx2,fma")))

// The sample at one position: Y, U, V, alpha.
AVX2 static inline __m128 sample(const struct patch *p, int index, float tx, float ty)
{
    const float(*s)[4] = p->yuva + index;
    __m256 a = _mm256_loadu_ps(s[0]), b = _mm256_loadu_ps(s[p->width]);
    a = _mm256_fmadd_ps(_mm256_sub_ps(b, a), _mm256_set1_ps(ty), a);
    __m128 left = _mm256_castps256_ps128(a), right = _mm256_extractf128_ps(a, 1);
    return _mm_fmadd_ps(_mm_sub_ps(right, left), _mm_set1_ps(tx), left);
}

AVX2 static inline void mix_eight(__m256 value, __m256 weight, uint8_t *dst)
{
    __m256 old = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)dst)));
    __m256 v = _mm256_fmadd_ps(_mm256_sub_ps(value, old), weight, old);
    __m256i ints = _mm256_cvttps_epi32(_mm256_add_ps(v, _mm256_set1_ps(0.5f)));
    __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
    _mm_storel_epi64((__m128i *)dst, _mm_packus_epi16(words, words)); // saturates to 0..255
}

// Eight pixels: the positions in one go, then each pixel's four neighbours by two loads, then eight
// of each channel together.
AVX2 static inline void blend_eight(const struct patch *p, const struct blend_line *l, int first,
                                    bool chroma, uint8_t *const dst[2])
{
    const __m256 zero = _mm256_setzero_ps(), lane = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 x_end = _mm256_set1_ps((float)(p->width - 1));
    const __m256 y_end = _mm256_set1_ps((float)(p->height - 1));
    // No fused multiply-add here: inside must be what C finds inside.
    __m256 at = _mm256_add_ps(_mm256_set1_ps((float)first), lane);
    __m256 x = _mm256_add_ps(_mm256_set1_ps(l->x), _mm256_mul_ps(at, _mm256_set1_ps(l->dx)));
    __m256 y = _mm256_add_ps(_mm256_set1_ps(l->y), _mm256_mul_ps(at, _mm256_set1_ps(l->dy)));
    __m256 inside = _mm256_and_ps(
        _mm256_and_ps(_mm256_cmp_ps(x, zero, _CMP_GE_OQ), _mm256_cmp_ps(x, x_end, _CMP_LT_OQ)),
        _mm256_and_ps(_mm256_cmp_ps(y, zero, _CMP_GE_OQ), _mm256_cmp_ps(y, y_end, _CMP_LT_OQ)));
    if (_mm256_testz_ps(inside, inside))
        return;
    x = _mm256_and_ps(x, inside); // pixels outside sample the first and get alpha 0
    y = _mm256_and_ps(y, inside);
    __m256i ix = _mm256_cvttps_epi32(x), iy = _mm256_cvttps_epi32(y);
    __m256i number = _mm256_add_epi32(_mm256_mullo_epi32(iy, _mm256_set1_epi32(p->width)), ix);
    int index[8];
    float tx[8], ty[8];
    _mm256_storeu_si256((__m256i *)index, number);
    _mm256_storeu_ps(tx, _mm256_sub_ps(x, _mm256_cvtepi32_ps(ix)));
    _mm256_storeu_ps(ty, _mm256_sub_ps(y, _mm256_cvtepi32_ps(iy)));

    __m256 s[4]; // pixels k and k + 4
    for (int k = 0; k < 4; k++)
        s[k] = _mm256_insertf128_ps(_mm256_castps128_ps256(sample(p, index[k], tx[k], ty[k])),
                                    sample(p, index[k + 4], tx[k + 4], ty[k + 4]), 1);
    // Transposed within each half: Y U, V A of pixels 0 1 and 2 3, then channels.
    __m256 yu01 = _mm256_unpacklo_ps(s[0], s[1]), va01 = _mm256_unpackhi_ps(s[0], s[1]);
    __m256 yu23 = _mm256_unpacklo_ps(s[2], s[3]), va23 = _mm256_unpackhi_ps(s[2], s[3]);
    __m256 alpha = _mm256_and_ps(_mm256_shuffle_ps(va01, va23, 0xee), inside);
    if (!chroma) {
        mix_eight(_mm256_shuffle_ps(yu01, yu23, 0x44), alpha, dst[0] + first);
    } else {
        mix_eight(_mm256_shuffle_ps(yu01, yu23, 0xee), alpha, dst[0] + first);
        mix_eight(_mm256_shuffle_ps(va01, va23, 0x44), alpha, dst[1] + first);
    }
}

AVX2 void blend_row_avx2(const struct patch *p, const struct blend_line *l, bool chroma, int n,
                         uint8_t *const dst[2])
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        blend_eight(p, l, i, chroma, dst);
    struct blend_line rest = {l->x + (float)i * l->dx, l->y + (float)i * l->dy, l->dx, l->dy};
    uint8_t *const rest_dst[2] = {dst[0] + i, chroma ? dst[1] + i : NULL};
    blend_row_c(p, &rest, chroma, n - i, rest_dst);
}

#endif

static blend_row_fn *best_row(const struct patch *p)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && p->width >= 2 &&
        p->height >= 2 && (int64_t)p->width * p->height < 1 << 29)
        return blend_row_avx2;
#endif
    return blend_row_c;
}

// Rows and columns of the frame that the patch can touch.
static void bounds(const struct patch *p, const AVFrame *frame, const struct affine *to_frame,
                   int ret[4])
{
    float x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY;
    for (int k = 0; k < 4; k++) {
        float x, y;
        affine_apply(to_frame, (float)((k & 1) * p->width), (float)((k >> 1) * p->height), &x, &y);
        x0 = fminf(x0, x);
        y0 = fminf(y0, y);
        x1 = fmaxf(x1, x);
        y1 = fmaxf(y1, y);
    }
    // Even corners, so that a chroma sample belongs to one block of four.
    ret[0] = (int)fminf(fmaxf(x0, 0), (float)frame->width) & ~1;
    ret[1] = (int)fminf(fmaxf(y0, 0), (float)frame->height) & ~1;
    ret[2] = (int)fminf(fmaxf(x1 + 2, 0), (float)frame->width) & ~1;
    ret[3] = (int)fminf(fmaxf(y1 + 2, 0), (float)frame->height) & ~1;
}

void blend(const struct patch *p, AVFrame *frame, const struct affine *to_frame)
{
    blend_row_fn *row = best_row(p);
    struct affine to_patch = affine_invert(to_frame);
    int area[4];
    bounds(p, frame, to_frame, area);
    for (int chroma = 0; chroma < 2; chroma++) {
        int step = chroma ? 2 : 1; // frame pixels from one sample of the plane to the next
        struct blend_line l = {.dx = to_patch.xx * (float)step, .dy = to_patch.yx * (float)step};
        for (int y = area[1] / step; y < area[3] / step; y++) {
            int x = area[0] / step, n = area[2] / step - x;
            uint8_t *dst[2] = {NULL};
            for (int k = 0; k < 1 + chroma; k++)
                dst[k] = frame->data[chroma + k] + (ptrdiff_t)y * frame->linesize[chroma + k] + x;
            affine_apply(&to_patch, ((float)x + 0.5f) * (float)step,
                         ((float)y + 0.5f) * (float)step, &l.x, &l.y);
            l.x -= 0.5f;
            l.y -= 0.5f;
            row(p, &l, chroma, n, dst);
        }
    }
}
