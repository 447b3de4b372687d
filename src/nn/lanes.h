// Vectors of KB_LANES floats: for the files of nn/ that are compiled once for each instruction set
// (nn/meson.build). Thread-safe (no state).
#ifndef NN_LANES_H
#define NN_LANES_H

#include <stdint.h>
#include <string.h>
#ifndef KB_LANES
#define KB_LANES 4
#endif
#if KB_LANES > 4
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(KB_LANES * 4)));

INLINE vec load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE void store(float *p, vec v)
{
    memcpy(p, &v, sizeof(v));
}

#if KB_LANES == 16
#define LARGER  _mm512_max_ps
#define SMALLER _mm512_min_ps
#elif KB_LANES == 8
#define LARGER  _mm256_max_ps
#define SMALLER _mm256_min_ps
#else
typedef int32_t mask __attribute__((vector_size(KB_LANES * 4)));

INLINE vec choose(mask m, vec a, vec b)
{
    return (vec)((m & (mask)a) | (~m & (mask)b));
}

#define LARGER(a, b)  choose((a) > (b), a, b)
#define SMALLER(a, b) choose((a) < (b), a, b)
#endif

// Cases of a switch by what is left of a product's rows, at most 11 of them: with each number known
// the sums stay in registers. CASE: a macro that makes one.
#define CASES_OF_REST(CASE)                                                                        \
    CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)

#endif
