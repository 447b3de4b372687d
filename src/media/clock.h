// One clock for what a file holds: where a packet or a decoded frame stands, counted from the
// file's first time stamp, and where the pieces of a sound stand when they follow each other.
//
// A sound is counted in samples: that is what lips, length and encoder do. Its time stamps say the
// same until something is missing (a hole in a recording, a damaged frame, a lost packet), so a
// stamp moves the count on where it is later than the samples before it, and only there. Whoever
// reads a sound, decoded or as it is, places its pieces here.
// Thread-safe (a struct clock: one thread at a time).
#ifndef MEDIA_CLOCK_H
#define MEDIA_CLOCK_H

#include <stdbool.h>

#include "media/demux.h"

// Units of a struct clock a second: every usual sample rate and MPEG's 90 kHz divide it.
#define CLOCK_HZ INT64_C(705600000)

// Pieces that clock_place() may want to see.
#define CLOCK_AHEAD 12

// A time stamp of the stream, of a packet or of a frame, less the file's first: in units of 1 / hz
// seconds. Negative for what comes before that: samples that a decoder drops. False, *ret
// untouched: there is no stamp, or it is garbage (more than a year away).
bool clock_stamp(const struct demux *s, int64_t stamp, int64_t hz, int64_t *ret);

// All-zero is at the start.
struct clock {
    int64_t next;    // where the next piece begins if nothing is missing
    int64_t shift;   // to be added to a stamp
    int64_t missing; // in all holes so far
    bool started;
};

struct piece {
    bool stamped;
    int64_t stamp, length; // CLOCK_HZ
};

// Where p[0] begins: behind the piece before, or later when something is missing. The first piece
// may begin before 0. The clock moves on to its end. p[1] … p[n - 1] are those that follow, as far
// as they are known: a stamp that is off by itself is no hole, one that the following ones agree
// with is. Stamps that go back are a new clock: the pieces follow each other.
int64_t clock_place(struct clock *c, const struct piece *p, int n);

#endif
