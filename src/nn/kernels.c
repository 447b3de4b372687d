#include "nn/kernels.h"

#include "base/vectorise.h"

#include <string.h>

static char *pixel(const struct image *im, int n, int y, int x, int elem_size)
{
    int64_t index = ((int64_t)n * im->h + y) * im->w + x;
    return (char *)im->data + index * im->pixel_stride * elem_size;
}

// Copy count pixels; one memcpy where both sides are dense.
static void copy_pixels(const struct image *dst, char *d, const struct image *src, const char *s,
                        int count, int elem_size)
{
    size_t bytes = (size_t)src->c * (size_t)elem_size;
    if (dst->pixel_stride == src->c && src->pixel_stride == src->c) {
        memcpy(d, s, bytes * (size_t)count);
        return;
    }
    for (int x = 0; x < count; x++)
        memcpy(d + x * dst->pixel_stride * elem_size, s + x * src->pixel_stride * elem_size, bytes);
}

static void one_row(const struct move *m, int n, int y)
{
    const struct image *src = &m->src[0], *dst = &m->dst;
    int es = m->elem_size;
    size_t bytes = (size_t)src->c * (size_t)es;
    char *d = pixel(dst, n, y, 0, es);
    int64_t step = dst->pixel_stride * es;

    switch (m->kind) {
    case OP_INTERLEAVE:
        for (int x = 0; x < dst->w; x++)
            memcpy(d + x * step, pixel(&m->src[(y & 1) * 2 + (x & 1)], n, y / 2, x / 2, es), bytes);
        break;
    case OP_PAD:
        memset(d, 0, (size_t)dst->w * (size_t)step);
        if (y < m->top || y >= m->top + src->h)
            break;
        copy_pixels(dst, d + m->left * step, src, pixel(src, n, y - m->top, 0, es), src->w, es);
        break;
    case OP_CONCAT: // dst is already the slice of channels; only rows and columns shift
        if (y < m->top || y >= m->top + src->h)
            break;
        copy_pixels(dst, d + m->left * step, src, pixel(src, n, y - m->top, 0, es), src->w, es);
        break;
    default:
        break;
    }
}

void move_run(const struct move *m)
{
    int rows = m->dst.n * m->dst.h;
#pragma omp parallel for schedule(static) if (rows >= 16)
    for (int i = 0; i < rows; i++)
        one_row(m, i / m->dst.h, i % m->dst.h);
}

KB_VECTORISED static void prelu_f32(float *restrict x, const float *restrict slope, int c)
{
    for (int i = 0; i < c; i++) {
        float scaled = slope[i] * x[i];
        x[i] = x[i] > 0 ? x[i] : scaled;
    }
}

// bf16 is the upper half of an f32; rounding to nearest even on the way back.
KB_VECTORISED static void prelu_bf16(uint16_t *restrict x, const float *restrict slope, int c)
{
    for (int i = 0; i < c; i++) {
        union {
            uint32_t bits;
            float value;
        } v = {.bits = (uint32_t)x[i] << 16};
        float scaled = slope[i] * v.value;
        v.value = v.value > 0 ? v.value : scaled;
        x[i] = (uint16_t)((v.bits + 0x7fff + ((v.bits >> 16) & 1)) >> 16);
    }
}

void prelu_run(const struct image *x, const float *slope, bool is_bf16)
{
    int64_t pixels = (int64_t)x->n * x->h * x->w;
#pragma omp parallel for schedule(static) if (pixels >= 256)
    for (int64_t i = 0; i < pixels; i++) {
        if (is_bf16)
            prelu_bf16((uint16_t *)x->data + i * x->pixel_stride, slope, x->c);
        else
            prelu_f32((float *)x->data + i * x->pixel_stride, slope, x->c);
    }
}

static inline uint8_t to_u8(float v)
{
    v = v > 0 ? v : 0;
    v = v < 255 ? v : 255;
    return (uint8_t)(int)(v + 0.5f);
}

KB_VECTORISED static void quantize_f32(uint8_t *restrict d, const float *restrict s, int64_t n,
                                       float factor)
{
    for (int64_t i = 0; i < n; i++)
        d[i] = to_u8(s[i] * factor);
}

KB_VECTORISED static void quantize_bf16(uint8_t *restrict d, const uint16_t *restrict s, int64_t n,
                                        float factor)
{
    for (int64_t i = 0; i < n; i++) {
        union {
            uint32_t bits;
            float value;
        } v = {.bits = (uint32_t)s[i] << 16};
        d[i] = to_u8(v.value * factor);
    }
}

void quantize_run(const struct image *dst, const struct image *src, bool src_is_bf16, float factor)
{
    int64_t row = (int64_t)src->w * src->c, rows = (int64_t)src->n * src->h;
#pragma omp parallel for schedule(static) if (rows >= 16)
    for (int64_t i = 0; i < rows; i++) {
        if (src_is_bf16)
            quantize_bf16((uint8_t *)dst->data + i * row, (uint16_t *)src->data + i * row, row,
                          factor);
        else
            quantize_f32((uint8_t *)dst->data + i * row, (float *)src->data + i * row, row, factor);
    }
}
