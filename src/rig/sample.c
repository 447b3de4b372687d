#include "rig/sample.h"

#include <math.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

// Keys' cubic with a = -0.75, rounded so that each phase's four weights make 64: -0.5 leaves lips a
// tenth softer than the film's. Written by tools/cubic_table.py.
static const int8_t weights[64][4] = {
    {0, 64, 0, 0},    {-1, 64, 1, 0},   {-1, 64, 1, 0},   {-2, 64, 2, 0},   {-3, 64, 3, 0},
    {-3, 63, 4, 0},   {-4, 63, 5, 0},   {-4, 62, 6, 0},   {-4, 62, 7, -1},  {-5, 61, 9, -1},
    {-5, 61, 9, -1},  {-6, 60, 11, -1}, {-6, 59, 12, -1}, {-6, 59, 13, -2}, {-6, 58, 14, -2},
    {-7, 57, 16, -2}, {-7, 56, 17, -2}, {-7, 55, 18, -2}, {-7, 55, 19, -3}, {-7, 53, 21, -3},
    {-7, 52, 22, -3}, {-7, 51, 23, -3}, {-7, 50, 25, -4}, {-7, 49, 26, -4}, {-7, 48, 27, -4},
    {-7, 47, 29, -5}, {-7, 46, 30, -5}, {-7, 45, 31, -5}, {-7, 43, 33, -5}, {-7, 42, 34, -5},
    {-6, 41, 35, -6}, {-6, 39, 37, -6}, {-6, 38, 38, -6}, {-6, 37, 39, -6}, {-6, 35, 41, -6},
    {-5, 34, 42, -7}, {-5, 33, 43, -7}, {-5, 31, 45, -7}, {-5, 30, 46, -7}, {-5, 29, 47, -7},
    {-4, 27, 48, -7}, {-4, 26, 49, -7}, {-4, 25, 50, -7}, {-3, 23, 51, -7}, {-3, 22, 52, -7},
    {-3, 21, 53, -7}, {-3, 19, 55, -7}, {-2, 18, 55, -7}, {-2, 17, 56, -7}, {-2, 16, 57, -7},
    {-2, 14, 58, -6}, {-2, 13, 59, -6}, {-1, 12, 59, -6}, {-1, 11, 60, -6}, {-1, 9, 61, -5},
    {-1, 9, 61, -5},  {-1, 7, 62, -4},  {0, 6, 62, -4},   {0, 5, 63, -4},   {0, 4, 63, -3},
    {0, 3, 64, -3},   {0, 2, 64, -2},   {0, 1, 64, -1},   {0, 1, 64, -1},
};

static inline int clamp_int(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

// To 1/64 pixels; the clamp comes first, so that the conversion is defined.
static inline int fixed(float v, int size)
{
    v = v > 1 ? v : 1; // NaN too
    v = v < (float)(size - 3) ? v : (float)(size - 3);
    return (int)lrintf(v * 64);
}

void sample_row_c(const struct plane *p, const float *x, const float *y, int n, uint8_t *ret)
{
    for (int i = 0; i < n; i++) {
        int fx = fixed(x[i], p->width), fy = fixed(y[i], p->height);
        const uint8_t *at = p->data + ((fy >> 6) - 1) * p->stride + (fx >> 6) - 1;
        const int8_t *wx = weights[fx & 63], *wy = weights[fy & 63];
        int sum = 0;
        for (int k = 0; k < 4; k++, at += p->stride)
            sum += wy[k] * (at[0] * wx[0] + at[1] * wx[1] + at[2] * wx[2] + at[3] * wx[3]);
        ret[i] = (uint8_t)clamp_int((sum + 2048) >> 12, 0, 255);
    }
}

#ifdef __x86_64__

#define AVX2 __attribute__((target("avx2,fma")))

AVX2 static inline __m256i fixed_eight(const float *v, int size)
{
    __m256 x = _mm256_max_ps(_mm256_loadu_ps(v), _mm256_set1_ps(1)); // NaN gives the second
    x = _mm256_min_ps(x, _mm256_set1_ps((float)(size - 3)));
    return _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(64)));
}

// Four neighbours of a row are one load of 32 bits; the weights of a phase another.
AVX2 static inline void sample_eight(const struct plane *p, const float *x, const float *y,
                                     uint8_t *ret)
{
    const __m256i phase = _mm256_set1_epi32(63), ones = _mm256_set1_epi16(1);
    __m256i fx = fixed_eight(x, p->width), fy = fixed_eight(y, p->height);
    __m256i stride = _mm256_set1_epi32((int)p->stride);
    __m256i at = _mm256_add_epi32(_mm256_mullo_epi32(_mm256_srai_epi32(fy, 6), stride),
                                  _mm256_srai_epi32(fx, 6));
    const int *table = (const int *)(const void *)weights;
    __m256i wx = _mm256_i32gather_epi32(table, _mm256_and_si256(fx, phase), 4);
    __m256i wy = _mm256_i32gather_epi32(table, _mm256_and_si256(fy, phase), 4);
    __m256i sum = _mm256_set1_epi32(2048);
    const uint8_t *first = p->data - p->stride - 1;
    for (int k = 0; k < 4; k++) {
        __m256i four =
            _mm256_i32gather_epi32((const int *)(const void *)(first + k * p->stride), at, 1);
        __m256i across = _mm256_madd_epi16(_mm256_maddubs_epi16(four, wx), ones);
        __m256i w = _mm256_srai_epi32(_mm256_slli_epi32(wy, 24 - 8 * k), 24);
        sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(across, w));
    }
    sum = _mm256_srai_epi32(sum, 12);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    _mm_storel_epi64((__m128i *)(void *)ret, _mm_packus_epi16(words, words)); // saturates
}

AVX2 void sample_row_avx2(const struct plane *p, const float *x, const float *y, int n,
                          uint8_t *ret)
{
    if (n < 8) {
        sample_row_c(p, x, y, n, ret);
        return;
    }
    for (int i = 0; i < n - 8; i += 8)
        sample_eight(p, x + i, y + i, ret + i);
    sample_eight(p, x + n - 8, y + n - 8, ret + n - 8); // some of them twice
}

#endif

sample_row_fn *sample_row_best(const struct plane *p)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && (int64_t)p->stride * p->height < INT32_MAX)
        return sample_row_avx2;
#endif
    return sample_row_c;
}
