#include "worker/flood.h"

#define SECOND_US    1000000
#define MESSAGES     5000
#define BYTES        (4 << 20)
#define MOST_SECONDS 10

static bool is_full(const struct flood *f)
{
    return f->messages >= MESSAGES || f->bytes >= BYTES;
}

bool flood_may_speak(struct flood *f, int64_t now_us)
{
    if (now_us - f->since_us >= SECOND_US) {
        f->seconds = is_full(f) ? f->seconds + 1 : 0;
        f->since_us = now_us;
        f->messages = f->bytes = 0;
    }
    return !is_full(f);
}

void flood_heard(struct flood *f, size_t bytes)
{
    f->messages++;
    f->bytes += bytes;
}

bool flood_is_too_long(const struct flood *f)
{
    return f->seconds >= MOST_SECONDS;
}
