#include "media/level.h"

#include "base/base.h"

#include <float.h>
#include <math.h>

#define BLOCK     200     // samples; 12.5 ms at 16 kHz
#define LOWEST_DB (-180.) // of the first bin
#define BIN_DB    0.5
// The loudest part of the time may be a knock, at most so many blocks of it; what is so far below
// the mean is a pause.
#define KNOCK_PART 100
#define KNOCK_MOST 8
#define PAUSE_DB   10

static void add_block(struct level *l)
{
    double square = l->energy / BLOCK;
    double bin = (10 * log10(square) - LOWEST_DB) / BIN_DB;
    // Silence goes into the first, what is no number nowhere.
    if (square <= DBL_MAX) {
        struct level_bin *b = &l->bins[(int)fmin(fmax(bin, 0), LEVEL_BINS - 1)];
        b->blocks++;
        b->square += square;
        l->blocks++;
    }
    l->energy = 0;
    l->n = 0;
}

void level_feed(struct level *l, const float *samples, int n)
{
    for (int i = 0; i < n; i++) {
        l->peak = fmaxf(l->peak, fabsf(samples[i]));
        l->energy += (double)samples[i] * (double)samples[i];
        if (++l->n == BLOCK)
            add_block(l);
    }
}

// Mean square of the blocks from a bin on, without the loudest ones.
static double mean_of(const struct level *l, int first, int64_t loudest)
{
    double square = 0;
    int64_t blocks = 0;
    for (int i = LEVEL_BINS - 1; i >= first; i--) {
        const struct level_bin *b = &l->bins[i];
        int64_t left_out = KB_MIN(loudest, b->blocks);
        loudest -= left_out;
        if (b->blocks > left_out) {
            square += b->square / (double)b->blocks * (double)(b->blocks - left_out);
            blocks += b->blocks - left_out;
        }
    }
    return blocks > 0 ? square / (double)blocks : 0;
}

double level_db(const struct level *l)
{
    int64_t loudest = KB_MIN(l->blocks / KNOCK_PART, KNOCK_MOST);
    double mean = 10 * log10(mean_of(l, 0, loudest));
    if (!(mean > LOWEST_DB))
        return -INFINITY;
    int first = (int)fmin(fmax((mean - PAUSE_DB - LOWEST_DB) / BIN_DB, 0), LEVEL_BINS - 1);
    return 10 * log10(mean_of(l, first, loudest));
}

double level_peak_db(const struct level *l)
{
    return 20 * log10((double)l->peak);
}
