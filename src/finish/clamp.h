// The smaller and the larger of two, for loops over many: fminf() and fmaxf() promise things about
// what is no number, and are calls for that. Thread-safe: no state.
#ifndef FINISH_CLAMP_H
#define FINISH_CLAMP_H

static inline float smaller(float a, float b)
{
    return a < b ? a : b;
}

static inline float larger(float a, float b)
{
    return a > b ? a : b;
}

// Not below 0, not above 1.
static inline float unit(float a)
{
    return smaller(larger(a, 0), 1);
}

#endif
