#include "face/warp_row.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

static float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static float channel(uint32_t pixel, int i)
{
    return (float)(pixel >> (8 * i) & 255);
}

void warp_row_c(const struct region *r, const struct warp_row *row, const struct warp_colours *c,
                int n, int pixel_stride, float *dst)
{
    int width = r->place.width, height = r->place.height;
    for (int i = 0; i < n; i++, dst += pixel_stride) {
        float x = row->x + (float)i * row->dx, y = row->y + (float)i * row->dy, s[3];
        if (!(x >= 0 && x < row->frame_w && y >= 0 && y < row->frame_h)) {
            for (int k = 0; k < 3; k++)
                dst[k] = c->outside[k];
            continue;
        }
        x = clamp(x * row->x_scale - (0.5f + (float)r->place.x0), 0, (float)(width - 1));
        y = clamp(y * row->y_scale - (0.5f + (float)r->place.y0), 0, (float)(height - 1));
        int ix = (int)x, iy = (int)y;
        int right = ix < width - 1 ? 1 : 0, down = iy < height - 1 ? width : 0;
        const uint32_t *p = r->pixels + (ptrdiff_t)iy * width + ix;
        x -= (float)ix;
        y -= (float)iy;
        for (int k = 0; k < 3; k++) {
            float a = channel(p[0], k), b = channel(p[right], k);
            a += (channel(p[down], k) - a) * y;
            b += (channel(p[down + right], k) - b) * y;
            s[k] = a + (b - a) * x;
        }
        for (int k = 0; k < 3; k++)
            dst[k] = clamp(c->from_y[k] * s[0] + c->from_u[k] * s[1] + c->from_v[k] * s[2] +
                               c->constant[k],
                           c->low, c->high);
    }
}

#ifdef __x86_64__

#define AVX2 __attribute__((target("avx2,fma")))

// Eight positions: what of them lies inside, the pixel to the left and above, and the way from
// there to its neighbours.
struct positions {
    int index[8];
    float x[8], y[8];
};

AVX2 static inline unsigned find_positions(const struct region *r, const struct warp_row *row,
                                           int first, struct positions *ret)
{
    const __m256 zero = _mm256_setzero_ps(), lane = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    const int width = r->place.width, height = r->place.height;
    // No fused multiply-add here: inside must be what C finds inside.
    __m256 at = _mm256_add_ps(_mm256_set1_ps((float)first), lane);
    __m256 x = _mm256_add_ps(_mm256_set1_ps(row->x), _mm256_mul_ps(at, _mm256_set1_ps(row->dx)));
    __m256 y = _mm256_add_ps(_mm256_set1_ps(row->y), _mm256_mul_ps(at, _mm256_set1_ps(row->dy)));
    __m256 inside =
        _mm256_and_ps(_mm256_and_ps(_mm256_cmp_ps(x, zero, _CMP_GE_OQ),
                                    _mm256_cmp_ps(x, _mm256_set1_ps(row->frame_w), _CMP_LT_OQ)),
                      _mm256_and_ps(_mm256_cmp_ps(y, zero, _CMP_GE_OQ),
                                    _mm256_cmp_ps(y, _mm256_set1_ps(row->frame_h), _CMP_LT_OQ)));
    x = _mm256_sub_ps(_mm256_mul_ps(x, _mm256_set1_ps(row->x_scale)),
                      _mm256_set1_ps(0.5f + (float)r->place.x0));
    y = _mm256_sub_ps(_mm256_mul_ps(y, _mm256_set1_ps(row->y_scale)),
                      _mm256_set1_ps(0.5f + (float)r->place.y0));
    // max(NaN, 0) is its second operand: no index is wild.
    x = _mm256_min_ps(_mm256_max_ps(x, zero), _mm256_set1_ps((float)(width - 1)));
    y = _mm256_min_ps(_mm256_max_ps(y, zero), _mm256_set1_ps((float)(height - 1)));
    __m256i ix = _mm256_min_epi32(_mm256_cvttps_epi32(x), _mm256_set1_epi32(width - 2));
    __m256i iy = _mm256_min_epi32(_mm256_cvttps_epi32(y), _mm256_set1_epi32(height - 2));
    __m256i index = _mm256_add_epi32(_mm256_mullo_epi32(iy, _mm256_set1_epi32(width)), ix);
    _mm256_storeu_si256((__m256i *)ret->index, index);
    _mm256_storeu_ps(ret->x, _mm256_sub_ps(x, _mm256_cvtepi32_ps(ix)));
    _mm256_storeu_ps(ret->y, _mm256_sub_ps(y, _mm256_cvtepi32_ps(iy)));
    return (unsigned)_mm256_movemask_ps(inside);
}

// The sample at one position: Y, U, V, 0.
AVX2 static inline __m128 sample(const uint32_t *pixels, int width, const struct positions *at,
                                 int k)
{
    const uint32_t *p = pixels + at->index[k];
    __m256 a = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
    __m256 b =
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + width))));
    a = _mm256_fmadd_ps(_mm256_sub_ps(b, a), _mm256_broadcast_ss(&at->y[k]), a);
    __m128 left = _mm256_castps256_ps128(a), right = _mm256_extractf128_ps(a, 1);
    return _mm_fmadd_ps(_mm_sub_ps(right, left), _mm_broadcast_ss(&at->x[k]), left);
}

AVX2 static inline void store3(float *dst, __m128 v)
{
    _mm_storel_pi((__m64 *)dst, v);
    _mm_store_ss(dst + 2, _mm_movehl_ps(v, v));
}

AVX2 void warp_row_avx2(const struct region *r, const struct warp_row *row,
                        const struct warp_colours *c, int n, int pixel_stride, float *dst)
{
    const __m256 from_y = _mm256_broadcast_ps((const __m128 *)c->from_y);
    const __m256 from_u = _mm256_broadcast_ps((const __m128 *)c->from_u);
    const __m256 from_v = _mm256_broadcast_ps((const __m128 *)c->from_v);
    const __m256 constant = _mm256_broadcast_ps((const __m128 *)c->constant);
    const __m256 low = _mm256_set1_ps(c->low), high = _mm256_set1_ps(c->high);
    const __m128 outside = _mm_loadu_ps(c->outside);
    const uint32_t *pixels = r->pixels;
    const int width = r->place.width;
    for (int i = 0; i < n; i += 8) {
        struct positions at;
        unsigned inside = find_positions(r, row, i, &at);
        int count = n - i < 8 ? n - i : 8;
        for (int k = 0; k < count; k += 2, dst += 2 * pixel_stride) {
            __m256 s = _mm256_insertf128_ps(_mm256_castps128_ps256(sample(pixels, width, &at, k)),
                                            sample(pixels, width, &at, k + 1), 1);
            __m256 v = _mm256_fmadd_ps(_mm256_permute_ps(s, 0x00), from_y, constant);
            v = _mm256_fmadd_ps(_mm256_permute_ps(s, 0x55), from_u, v);
            v = _mm256_fmadd_ps(_mm256_permute_ps(s, 0xaa), from_v, v);
            v = _mm256_min_ps(_mm256_max_ps(v, low), high);
            store3(dst, inside >> k & 1 ? _mm256_castps256_ps128(v) : outside);
            if (k + 1 < count)
                store3(dst + pixel_stride,
                       inside >> (k + 1) & 1 ? _mm256_extractf128_ps(v, 1) : outside);
        }
    }
}

#endif

warp_row_fn *warp_row_best(const struct region *r)
{
#ifdef __x86_64__
    int64_t pixels = (int64_t)r->place.width * r->place.height;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && r->place.width >= 2 &&
        r->place.height >= 2 && pixels < INT32_MAX)
        return warp_row_avx2;
#endif
    return warp_row_c;
}
