#include "lipsync/vad.h"

#include <math.h>
#include <stdlib.h>

#define LEVELS      256
#define LEVEL_DB    (100.0f / (LEVELS - 1)) // the mel's -4..4 are 100 dB
#define AROUND      2                       // columns on either side in a level: 60 ms
#define FLOOR_AWAY  (4 * MEL_PER_S)         // columns on either side that make the floor
#define FLOOR_EVERY (MEL_PER_S / 2)
#define FLOOR_PART  0.1f
// Mean rise above the floor over the bands. White noise alone stays below 3.5, a voice in
// noise of 10 dB less reaches 8, a clean one 30.
#define OPEN_DB  7.0f
#define CLOSE_DB 4.5f
// What is so far below the loud parts is another's voice next door, or a breath.
#define QUIET_DB 40.0f

// Of one column: rise above the floor, and level, both in dB and means over the bands.
struct heard {
    float rise, level;
};

struct floors {
    int counts[MEL_BANDS][LEVELS];
    int first, end; // columns that are counted
};

static void measure_levels(uint8_t (*ret)[MEL_BANDS], const struct mel *mel)
{
    for (int c = 0; c < mel_columns(mel); c++)
        for (int b = 0; b < MEL_BANDS; b++) {
            float sum = 0;
            for (int k = -AROUND; k <= AROUND; k++)
                sum += mel_column(mel, c + k)[b];
            float level = (sum / (2 * AROUND + 1) + 4) / 8 * (LEVELS - 1);
            ret[c][b] = (uint8_t)lrintf(fminf(fmaxf(level, 0), LEVELS - 1));
        }
}

static void count_column(struct floors *f, const uint8_t *levels, int by)
{
    for (int b = 0; b < MEL_BANDS; b++)
        f->counts[b][levels[b]] += by;
}

// Let the counted columns be those around column c.
static void move_floors(struct floors *f, const uint8_t (*levels)[MEL_BANDS], int c, int n)
{
    while (f->end < KB_MIN(n, c + FLOOR_AWAY))
        count_column(f, levels[f->end++], 1);
    while (f->first < c - FLOOR_AWAY)
        count_column(f, levels[f->first++], -1);
}

static void read_floors(const struct floors *f, uint8_t ret[MEL_BANDS])
{
    float wanted = FLOOR_PART * (float)(f->end - f->first);
    for (int b = 0; b < MEL_BANDS; b++) {
        int level = 0;
        for (int sum = f->counts[b][0]; (float)sum < wanted; sum += f->counts[b][level])
            level++;
        ret[b] = (uint8_t)level;
    }
}

static void hear(struct heard *ret, const uint8_t (*levels)[MEL_BANDS], int n)
{
    CLEANUP(kb_freep) struct floors *f = kb_alloc(sizeof(*f));
    uint8_t floor[MEL_BANDS] = {0};
    for (int c = 0; c < n; c++) {
        if (c % FLOOR_EVERY == 0) {
            move_floors(f, levels, c, n);
            read_floors(f, floor);
        }
        int rise = 0, level = 0;
        for (int b = 0; b < MEL_BANDS; b++) {
            rise += KB_MAX(levels[c][b] - floor[b], 0);
            level += levels[c][b];
        }
        ret[c].rise = (float)rise * LEVEL_DB / MEL_BANDS;
        ret[c].level = (float)level * LEVEL_DB / MEL_BANDS;
    }
}

// The level that a twentieth of the columns exceed.
static float loud_level(const struct heard *heard, int n)
{
    int counts[101] = {0}, level = 100;
    for (int c = 0; c < n; c++)
        counts[(int)fminf(heard[c].level, 100)]++;
    for (int sum = counts[100]; sum * 20 < n; sum += counts[level])
        level--;
    return (float)level;
}

static float ramp(int samples, int hold)
{
    float away = (float)(samples - hold) / VAD_FADE;
    return away <= 0 ? 1 : away >= 1 ? 0 : 0.5f + 0.5f * cosf((float)M_PI * away);
}

// From 0 and 1 to slopes around what is 1.
static void fade(float *ret, int n)
{
    int since = VAD_FADE;
    for (int i = 0; i < n; i++) {
        since = ret[i] == 1 ? 0 : KB_MIN(since + 1, VAD_FADE);
        ret[i] = ramp(since, 0);
    }
    int until = VAD_AHEAD + VAD_FADE;
    for (int i = n - 1; i >= 0; i--) {
        until = ret[i] == 1 ? 0 : KB_MIN(until + 1, VAD_AHEAD + VAD_FADE);
        ret[i] = fmaxf(ret[i], ramp(until, VAD_AHEAD));
    }
}

enum kb_code vad_find(float *ret, int n, int step, const struct mel *mel, struct kb_error *err)
{
    int columns = mel_columns(mel);
    CLEANUP(kb_freep) uint8_t(*levels)[MEL_BANDS] = kb_calloc_checked((size_t)columns, MEL_BANDS);
    CLEANUP(kb_freep) struct heard *heard = kb_calloc_checked((size_t)columns, sizeof(*heard));
    if (!levels || !heard)
        return kb_no_memory(err);
    measure_levels(levels, mel);
    hear(heard, (const uint8_t(*)[MEL_BANDS])levels, columns);
    float quiet = loud_level(heard, columns) - QUIET_DB;

    bool is_voice = false;
    int last = -2 - VAD_GAP; // the last sample with a voice
    for (int i = 0; i < n; i++) {
        const struct heard *h = &heard[KB_MIN((int64_t)i * step, columns - 1)];
        is_voice = h->level > quiet && h->rise > (is_voice ? CLOSE_DB : OPEN_DB);
        if (is_voice && i - last <= VAD_GAP + 1)
            for (int k = last + 1; k < i; k++)
                ret[k] = 1;
        ret[i] = is_voice;
        last = is_voice ? i : last;
    }
    fade(ret, n);
    return KB_OK;
}
