// Which vectors this processor has, for tests of kernels of our own. Needs no set-up; any thread.
#ifndef TESTS_NN_VECTORS_H
#define TESTS_NN_VECTORS_H

#include "nn/kernels.h"

static inline bool has(enum vector_set vectors)
{
#ifdef __x86_64__
    return vectors == VECTORS_VNNI
               ? __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw")
           : vectors == VECTORS_AVX512
               ? __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
           : vectors == VECTORS_AVX2
               ? __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
               : true;
#else
    return vectors == VECTORS_PLAIN;
#endif
}

#endif
