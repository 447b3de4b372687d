// When a wait is to end, for pthread_cond_timedwait() on a condition with CLOCK_MONOTONIC.
#ifndef BASE_DEADLINE_H
#define BASE_DEADLINE_H

#include <stdint.h>
#include <time.h>

// ms milliseconds from now, 0 or more. Thread-safe.
static inline struct timespec deadline_in(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (ms % 1000) * 1000000;
    t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

#endif
