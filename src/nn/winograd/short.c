// Winograd's loops with points in 16 bits, out of pictures in u8 or bf16: two products an
// instruction and lane, added in 32 bits, which is twice what f32 reaches. Compiled once for each
// instruction set, with KB_WINOGRAD_SHORT, KB_LANES and KB_ROWS as kernels.c.
//
// Out of u8 points are exact: none reaches 13,000 from 255. Out of bf16 a tile is scaled so that
// its largest number gives no point of more than 16 bits. Weights are scaled (weights.c) so that no
// sum of WINOGRAD_BLOCK products leaves 32 bits, whatever the picture.
#include "nn/winograd/vectors.h"

#include <stdbool.h>

#define SHORTS (2 * KB_LANES) // of a vector

typedef int16_t shorts __attribute__((vector_size(SHORTS * 2)));
typedef int32_t ints __attribute__((vector_size(KB_LANES * 4)));

#if KB_LANES == 16

INLINE shorts load_u8(const uint8_t *p)
{
    return (shorts)_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

INLINE vec floats_of_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

INLINE vec floats_of_bf16(const uint16_t *p)
{
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
}

INLINE vec floats_of_ints(ints x)
{
    return _mm512_cvtepi32_ps((__m512i)x);
}

INLINE void store_short(int16_t *p, vec x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
}

INLINE void store_u8(uint8_t *p, vec x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}

// The upper half of an f32, rounded to nearest even.
INLINE void store_bf16(uint16_t *p, vec x)
{
    const ints half = (ints){0} + 0x7fff;
    ints bits = (ints)x, odd = (bits >> 16) & 1;
    _mm256_storeu_si256((__m256i *)(void *)p,
                        _mm512_cvtepi32_epi16((__m512i)((bits + half + odd) >> 16)));
}

#ifdef __AVX512VNNI__
#define ADD_PRODUCTS(sum, a, b)                                                                    \
    (ints) _mm512_dpwssd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b))
#else
#define ADD_PRODUCTS(sum, a, b) ((sum) + (ints)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))
#endif

#else

INLINE shorts load_u8(const uint8_t *p)
{
    return (shorts)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE vec floats_of_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

INLINE vec floats_of_ints(ints x)
{
    return _mm256_cvtepi32_ps((__m256i)x);
}

INLINE void store_u8(uint8_t *p, vec x)
{
    __m256i whole = _mm256_cvtps_epi32(x);
    __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(words, words));
}

#define ADD_PRODUCTS(sum, a, b) ((sum) + (ints)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))

#endif

// --- from inputs to points ---

// As to_points(), on whole numbers. What is between them may run over: the points do not.
INLINE void to_whole_points(shorts *x, int step, int taps, int points)
{
    if (taps == 1)
        return;
    shorts a = x[0], b = x[step], c = x[2 * step], d = x[3 * step];
    if (points == 4) {
        x[0] = c - a;
        x[step] = b + c;
        x[2 * step] = c - b;
        x[3 * step] = d - b;
        return;
    }
    shorts e = x[4 * step];
    if (points == 5) {
        x[0] = 2 * (a - c) + (d - b);
        x[step] = d - c - 2 * b;
        x[2 * step] = d - 3 * c + 2 * b;
        x[3 * step] = d - b;
        x[4 * step] = 2 * (b - d) + (e - c);
        return;
    }
    shorts f = x[5 * step], even = e - 4 * c, odd = d - 4 * b;
    shorts far_even = e - c, far_odd = 2 * (d - b);
    x[0] = 4 * (a - c) - c + e;
    x[step] = even + odd;
    x[2 * step] = even - odd;
    x[3 * step] = far_even + far_odd;
    x[4 * step] = far_even - far_odd;
    x[5 * step] = 4 * (b - d) - d + f;
}

// Where channels do not fill the last vector, it begins earlier.
INLINE void input_u8(const void *const *pixels, int channels, int16_t *to, size_t step, int down,
                     int across, int out)
{
    const int rows = WINOGRAD_POINTS(down, out), columns = WINOGRAD_POINTS(across, out);
    for (int next = 0; next < channels; next += SHORTS) {
        const int c = next + SHORTS > channels ? channels - SHORTS : next;
        shorts x[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS];
#pragma GCC unroll 6
        for (int i = 0; i < columns; i++) {
#pragma GCC unroll 6
            for (int k = 0; k < rows; k++)
                x[k * columns + i] = load_u8((const uint8_t *)pixels[k * columns + i] + c);
            to_whole_points(x + i, columns, down, rows);
        }
#pragma GCC unroll 6
        for (int k = 0; k < rows; k++) {
            to_whole_points(x + k * columns, 1, across, columns);
#pragma GCC unroll 6
            for (int i = 0; i < columns; i++)
                memcpy(to + (size_t)(k * columns + i) * step + c, &x[k * columns + i],
                       sizeof(shorts));
        }
    }
}

#if KB_LANES == 16 // the library computes bf16 with AVX-512 only

static float largest(const void *const *pixels, int n, int channels)
{
    __m512i most = _mm512_setzero_si512();
    const __m512i unsign = _mm512_set1_epi16(0x7fff);
    for (int i = 0; i < n; i++)
        for (int next = 0; next < channels; next += SHORTS) {
            const int c = next + SHORTS > channels ? channels - SHORTS : next;
            __m512i x = _mm512_loadu_si512((const uint16_t *)pixels[i] + c);
            most = _mm512_max_epu16(most, _mm512_and_si512(x, unsign));
        }
    uint16_t all[SHORTS], top = 0;
    memcpy(all, &most, sizeof(all));
    for (int i = 0; i < SHORTS; i++)
        top = all[i] > top ? all[i] : top;
    uint32_t bits = (uint32_t)top << 16;
    float ret;
    memcpy(&ret, &bits, sizeof(ret));
    return ret;
}

INLINE void input_bf16(const void *const *pixels, int channels, const float *factors, int16_t *to,
                       size_t step, int down, int across, int out)
{
    const int rows = WINOGRAD_POINTS(down, out), columns = WINOGRAD_POINTS(across, out);
    for (int c = 0; c < channels; c += KB_LANES) {
        vec x[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS];
#pragma GCC unroll 6
        for (int i = 0; i < columns; i++) {
#pragma GCC unroll 6
            for (int k = 0; k < rows; k++)
                x[k * columns + i] = floats_of_bf16((const uint16_t *)pixels[k * columns + i] + c) *
                                     factors[k * columns + i];
            to_points(x + i, columns, down, rows);
        }
#pragma GCC unroll 6
        for (int k = 0; k < rows; k++) {
            to_points(x + k * columns, 1, across, columns);
#pragma GCC unroll 6
            for (int i = 0; i < columns; i++)
                store_short(to + (size_t)(k * columns + i) * step + c, x[k * columns + i]);
        }
    }
}

#endif

// --- products ---

// Through memcpy() GCC 12 keeps them on the stack.
typedef int32_t weights_there __attribute__((vector_size(KB_LANES * 4), aligned(4), may_alias));

INLINE ints load_ints(const int16_t *p)
{
    return *(const weights_there *)(const void *)p;
}

INLINE void product_of(int tiles, int depth, const int16_t *from, size_t from_row,
                       const int16_t *weights, const float *scales, bool is_first, float *to,
                       size_t to_row)
{
    ints sums[KB_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < tiles; i++)
        sums[i][0] = sums[i][1] = (ints){0};
    for (int k = 0; k < depth; k += 2) {
        ints left = load_ints(weights), right = load_ints(weights + SHORTS);
        weights += 2 * SHORTS;
#pragma GCC unroll 16
        for (int i = 0; i < tiles; i++) {
            int32_t pair;
            memcpy(&pair, from + (size_t)i * from_row + (size_t)k, sizeof(pair));
            ints x = (ints){0} + pair;
            sums[i][0] = ADD_PRODUCTS(sums[i][0], x, left);
            sums[i][1] = ADD_PRODUCTS(sums[i][1], x, right);
        }
    }
    const vec left = load(scales), right = load(scales + KB_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < tiles; i++) {
        float *at = to + (size_t)i * to_row;
        vec a = floats_of_ints(sums[i][0]) * left, b = floats_of_ints(sums[i][1]) * right;
        store(at, is_first ? a : a + load(at));
        store(at + KB_LANES, is_first ? b : b + load(at + KB_LANES));
    }
}

// One block of channels.
static void block(int tiles, int depth, const int16_t *from, size_t from_row,
                  const int16_t *weights, const float *scales, bool is_first, float *to,
                  size_t to_row)
{
    for (; tiles >= KB_ROWS; tiles -= KB_ROWS) {
        product_of(KB_ROWS, depth, from, from_row, weights, scales, is_first, to, to_row);
        from += KB_ROWS * from_row;
        to += KB_ROWS * to_row;
    }
    _Static_assert(KB_ROWS <= 12, "a case for each rest");
#define REST(n)                                                                                    \
    case (n):                                                                                      \
        product_of((n) < KB_ROWS ? (n) : KB_ROWS - 1, depth, from, from_row, weights, scales,      \
                   is_first, to, to_row);                                                          \
        break;
    switch (tiles) {
        REST(1)
        CASES_OF_REST(REST)
    default:
        break;
    }
}

static void product(int tiles, int depth, const int16_t *from, size_t from_row,
                    const int16_t *weights, const float *scales, float *to, size_t to_row)
{
    for (int first = 0; first < depth; first += WINOGRAD_BLOCK) {
        const int n = depth - first < WINOGRAD_BLOCK ? depth - first : WINOGRAD_BLOCK;
        block(tiles, n, from + first, from_row, weights, scales, first == 0, to, to_row);
        weights += n * SHORTS;
    }
}

// --- from points to outputs ---

INLINE vec load_as(enum winograd_type type, const void *p, ptrdiff_t at)
{
#if KB_LANES == 16
    if (type == WINOGRAD_BF16)
        return floats_of_bf16((const uint16_t *)p + at);
#endif
    return type == WINOGRAD_U8 ? floats_of_u8((const uint8_t *)p + at)
                               : load((const float *)p + at);
}

INLINE void store_as(enum winograd_type type, void *p, ptrdiff_t at, vec x)
{
    const vec zero = {0};
#if KB_LANES == 16
    if (type == WINOGRAD_BF16) {
        store_bf16((uint16_t *)p + at, x);
        return;
    }
#endif
    if (type == WINOGRAD_U8)
        store_u8((uint8_t *)p + at, SMALLER(LARGER(x, zero), zero + 255));
    else
        store((float *)p + at, x);
}

INLINE void output_tile(const float *from, size_t step, int channels,
                        const struct winograd_finish *f, int down, int across, int out,
                        enum winograd_type type)
{
    const int rows = WINOGRAD_POINTS(down, out), columns = WINOGRAD_POINTS(across, out);
    const vec zero = {0}, top = zero + f->top;
    for (int c = 0; c < channels; c += KB_LANES) {
        vec half[WINOGRAD_MAX_OUT * WINOGRAD_MAX_POINTS];
        vec bias = load(f->bias + c), slope = load(f->slope + c);
#pragma GCC unroll 6
        for (int i = 0; i < columns; i++) {
            vec x[WINOGRAD_MAX_POINTS];
#pragma GCC unroll 6
            for (int k = 0; k < rows; k++)
                x[k] = load(from + (size_t)(k * columns + i) * step + c);
            to_outputs(half + i, columns, x, 1, down, out);
        }
        for (int k = 0; k < f->rows; k++) {
            vec y[WINOGRAD_MAX_OUT];
            to_outputs(y, 1, half + k * columns, 1, across, out);
#pragma GCC unroll 4
            for (int i = 0; i < out; i++) {
                if (i >= f->columns)
                    break;
                y[i] = y[i] * f->factors[k * out + i] + bias;
                if (f->residual)
                    y[i] +=
                        f->residual_factor *
                        load_as(type, f->residual, k * f->residual_row + i * f->residual_pixel + c);
                y[i] = LARGER(y[i], zero) + slope * SMALLER(y[i], zero);
                store_as(type, f->to, k * f->to_row + i * f->to_pixel + c, SMALLER(y[i], top));
            }
        }
    }
}

// --- the table ---

#define INPUT_U8(down, across, out)                                                                \
    static void input_u8_##down##across##out(const void *const *pixels, int channels,              \
                                             const float *factors, int16_t *to, size_t step)       \
    {                                                                                              \
        (void)factors;                                                                             \
        input_u8(pixels, channels, to, step, down, across, out);                                   \
    }
#define INPUT_BF16(down, across, out)                                                              \
    static void input_bf16_##down##across##out(const void *const *pixels, int channels,            \
                                               const float *factors, int16_t *to, size_t step)     \
    {                                                                                              \
        input_bf16(pixels, channels, factors, to, step, down, across, out);                        \
    }
#define OUTPUT(down, across, out, name, type)                                                      \
    static void output_##name##_##down##across##out(const float *from, size_t step, int channels,  \
                                                    const struct winograd_finish *f)               \
    {                                                                                              \
        output_tile(from, step, channels, f, down, across, out, type);                             \
    }
#define OUTPUT_U8(down, across, out)        OUTPUT(down, across, out, u8, WINOGRAD_U8)
#define OUTPUT_BF16(down, across, out)      OUTPUT(down, across, out, bf16, WINOGRAD_BF16)
#define OUTPUT_F32(down, across, out)       OUTPUT(down, across, out, f32, WINOGRAD_F32)
#define INPUT_U8_NAME(down, across, out)    input_u8_##down##across##out,
#define INPUT_BF16_NAME(down, across, out)  input_bf16_##down##across##out,
#define OUTPUT_U8_NAME(down, across, out)   output_u8_##down##across##out,
#define OUTPUT_BF16_NAME(down, across, out) output_bf16_##down##across##out,
#define OUTPUT_F32_NAME(down, across, out)  output_f32_##down##across##out,

WINOGRAD_FORMS(INPUT_U8)
WINOGRAD_FORMS(OUTPUT_U8)
WINOGRAD_FORMS(OUTPUT_F32)
#if KB_LANES == 16
WINOGRAD_FORMS(INPUT_BF16)
WINOGRAD_FORMS(OUTPUT_BF16)
#endif

#define TABLE(name)  TABLE_(name)
#define TABLE_(name) winograd_short_##name

const struct winograd_short_kernels TABLE(KB_WINOGRAD_SHORT) = {
    .lanes = KB_LANES,
    .rows = KB_ROWS,
    .input[WINOGRAD_U8] = {WINOGRAD_FORMS(INPUT_U8_NAME)},
    .product = product,
    .output[WINOGRAD_U8] = {WINOGRAD_FORMS(OUTPUT_U8_NAME)},
    .output[WINOGRAD_F32] = {WINOGRAD_FORMS(OUTPUT_F32_NAME)},
#if KB_LANES == 16
    .largest = largest,
    .input[WINOGRAD_BF16] = {WINOGRAD_FORMS(INPUT_BF16_NAME)},
    .output[WINOGRAD_BF16] = {WINOGRAD_FORMS(OUTPUT_BF16_NAME)},
#endif
};
