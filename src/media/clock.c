#include "media/clock.h"

#include <stdlib.h>

#include <libavutil/mathematics.h>

#define YEAR_S INT64_C(31622400)
#define EARLY  (CLOCK_HZ / 1000) // rounding in containers that count milliseconds
// Two thirds of a frame of Opus or AAC: one that is lost is noticed, stamps that tremble are not.
#define HOLE    (CLOCK_HZ * 15 / 1000)
#define JUMP    CLOCK_HZ          // between two pieces: not trembling, another clock
#define MISSING (CLOCK_HZ * 3600) // an hour in all holes: beyond that stamps are broken
#define DRIFT   256               // a part of a piece's length that it may be off without a hole

bool clock_stamp(const struct demux *s, int64_t stamp, int64_t hz, int64_t *ret)
{
    AVRational base = s->stream->time_base;
    if (stamp == AV_NOPTS_VALUE || base.num <= 0 || base.den <= 0)
        return false;
    double seconds = (double)stamp * av_q2d(base) - (double)demux_origin(s) / AV_TIME_BASE;
    if (!(seconds > -(double)YEAR_S && seconds < (double)YEAR_S))
        return false;
    *ret = av_rescale_q(stamp, base, (AVRational){1, (int)hz}) -
           av_rescale(demux_origin(s), hz, AV_TIME_BASE);
    return true;
}

// How much later p[0] is than the count says, or earlier (< 0), by its own stamp and those that
// follow; 0 where they do not agree. late: by its own.
static int64_t agreed(const struct clock *c, const struct piece *p, int n, int64_t late)
{
    int64_t counted = c->next, least = late, last = late;
    for (int i = 1; i < n; i++) {
        counted += p[i - 1].length;
        if (!p[i].stamped)
            continue;
        int64_t here = p[i].stamp + c->shift - counted;
        if (llabs(here - last) > JUMP)
            break;
        if ((here > 0) != (late > 0) || llabs(here) < HOLE)
            return 0;
        if (here > 0 && here < least)
            least = here;
        last = here;
    }
    return least;
}

static int64_t first_place(struct clock *c, const struct piece *p)
{
    c->started = true;
    if (!p->stamped)
        return 0;
    if (llabs(p->stamp) > MISSING) {
        c->shift = -p->stamp;
        return 0;
    }
    return llabs(p->stamp) > EARLY ? p->stamp : 0;
}

// How much is missing before p[0].
static int64_t find_hole(struct clock *c, const struct piece *p, int n)
{
    if (!p->stamped)
        return 0;
    int64_t late = p->stamp + c->shift - c->next;
    if (llabs(late) < HOLE) {
        // Two clocks, that of the samples and that of the stamps, drift apart.
        int64_t most = p->length / DRIFT;
        c->shift -= KB_MAX(-most, KB_MIN(late, most));
        return 0;
    }
    int64_t hole = agreed(c, p, n, late);
    if (hole < 0 || c->missing + hole > MISSING) {
        c->shift -= hole;
        return 0;
    }
    c->missing += hole;
    return hole;
}

int64_t clock_place(struct clock *c, const struct piece *p, int n)
{
    int64_t place = c->started ? c->next + find_hole(c, p, n) : first_place(c, p);
    c->next = place + p->length;
    return place;
}
