// KB_VECTORISED before a function: it is compiled once for each of these instruction sets with all
// of GCC's vectoriser, and the best that the processor has is chosen when the program starts (which
// is before ThreadSanitizer is ready). Results may differ in the last bit between them.
#ifndef BASE_VECTORISE_H
#define BASE_VECTORISE_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define KB_VECTORISED __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define KB_VECTORISED
#endif

#endif
