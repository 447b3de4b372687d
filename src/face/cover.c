#include "face/cover.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Places near landmarks, so that they go along with the face. Luma is told in the light of the
// cheeks, and what then differs alike in all places is another light, not a cover.
#define MAX_LOOKS 600
#define PATCH     0.06f // side of a square, in distances between the eyes
#define SAMPLES   4     // in a square, each way
#define MAX_SHADE 1.3f
#define MAX_TINT  5.0f
// Spreads are at least this: noise and compression of still faces.
#define LEAST_LUMA   7
#define LEAST_CHROMA 2
// In spreads: a place that is less off than this looks as ever, one that is more is something else.
#define OFF_FROM 3.0f
#define OFF_SURE 6.0f
// The part of the places that are something else.
#define PART_FROM 0.03f
#define PART_SURE 0.15f
#define COLOURED  6    // distance of skin from grey, from which on it is no grey film
#define GREY      0.4f // less than this part of the skin's is grey
#define DARKEST   40   // luma of nose and cheeks from which on noise is not made larger

// Nose and cheeks: seldom in the shade of a hand that is before the mouth.
static const int light_ids[] = {48,  278, 205, 425, 50,  280, 101, 330, 36, 266,
                                117, 346, 118, 347, 119, 348, 4,   5,   195};

// Just below and just above the lips.
static const int beside_ids[] = {57,  43,  106, 182, 83,  18,  313, 406, 335, 273,
                                 287, 165, 92,  186, 391, 322, 410, 164, 167, 393};

struct square {
    const float *middle;
    float side;
};

// Mean of a plane over a square of the picture, 0 where its middle is not in it.
static float mean_in(const AVFrame *f, int plane, const struct square *s)
{
    float half = plane ? 0.5f : 1;
    int width = f->width >> (plane ? 1 : 0), height = f->height >> (plane ? 1 : 0);
    if (!(s->middle[0] >= 0 && s->middle[1] >= 0 && s->middle[0] < (float)f->width &&
          s->middle[1] < (float)f->height))
        return 0;
    int sum = 0;
    for (int i = 0; i < SAMPLES * SAMPLES; i++) {
        float dx = ((float)(i % SAMPLES) + 0.5f) / SAMPLES - 0.5f;
        float dy = ((float)(i / SAMPLES) + 0.5f) / SAMPLES - 0.5f;
        int x = (int)((s->middle[0] + dx * s->side) * half);
        int y = (int)((s->middle[1] + dy * s->side) * half);
        x = KB_MAX(KB_MIN(x, width - 1), 0);
        y = KB_MAX(KB_MIN(y, height - 1), 0);
        sum += f->data[plane][y * f->linesize[plane] + x];
    }
    return (float)sum / (SAMPLES * SAMPLES);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Median luma of nose and cheeks.
static float light_of(const AVFrame *frame, const struct mesh *mesh, float side)
{
    float lumas[ARRAY_LEN(light_ids)];
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(light_ids); i++) {
        float luma = mean_in(frame, 0, &(struct square){mesh->points[light_ids[i]], side});
        if (luma > 0)
            lumas[n++] = luma;
    }
    qsort(lumas, (size_t)n, sizeof(lumas[0]), by_value);
    return n > 0 ? lumas[n / 2] : 128;
}

static uint8_t to_byte(float v, int least)
{
    return (uint8_t)fminf(fmaxf(v + 0.5f, (float)least), 255);
}

void cover_see(struct cover_look *ret, const AVFrame *frame, const struct mesh *mesh)
{
    const float *a = mesh->points[33], *b = mesh->points[263];
    float side = PATCH * hypotf(hypotf(b[0] - a[0], b[1] - a[1]), b[2] - a[2]);
    side = fminf(side, (float)frame->width);
    float gain = 128 / fmaxf(light_of(frame, mesh, side), DARKEST);
    for (int i = 0; i < COVER_CELLS; i++) {
        int kept = i < COVER_LIPS ? TRACK_MIDDLE_FIRST + i : TRACK_LOWER_FIRST + i - COVER_LIPS;
        struct square s = {mesh->points[track_point_ids[kept]], side};
        float luma = mean_in(frame, 0, &s);
        ret->yuv[i][0] = luma > 0 ? to_byte(luma * gain, 1) : 0;
        for (int k = 1; k < 3; k++)
            ret->yuv[i][k] = to_byte((mean_in(frame, k, &s) - 128) * gain + 128, 0);
    }
}

static int median_of(const int counts[256], int n)
{
    int v = 0;
    for (int sum = counts[0]; 2 * sum < n && v < 255; v++)
        sum += counts[v + 1];
    return v;
}

static void learn_one(struct cover_model *ret, const struct cover_look *looks, int n, int cell,
                      int plane)
{
    int values[256] = {0}, offs[256] = {0}, seen = 0, step = (n + MAX_LOOKS - 1) / MAX_LOOKS;
    for (int i = 0; i < n; i += step) {
        seen += looks[i].yuv[cell][0] > 0;
        values[looks[i].yuv[cell][plane]] += looks[i].yuv[cell][0] > 0;
    }
    int median = median_of(values, seen);
    for (int v = 0; v < 256; v++)
        offs[abs(v - median)] += values[v];
    ret->median[cell][plane] = (uint8_t)median;
    // 1.4826 median deviations are one standard deviation of a Gaussian.
    float spread = 1.4826f * (float)median_of(offs, seen);
    ret->spread[cell][plane] = seen > 0 ? fmaxf(spread, plane ? LEAST_CHROMA : LEAST_LUMA) : 0;
}

void cover_learn(struct cover_model *ret, const struct cover_look *looks, int n)
{
    for (int cell = 0; cell < COVER_CELLS; cell++)
        for (int k = 0; k < 3; k++)
            learn_one(ret, looks, n, cell, k);
}

static bool is_known(const struct cover_model *m, const struct cover_look *look, int cell)
{
    return look->yuv[cell][0] > 0 && m->spread[cell][0] > 0;
}

// The whole mouth lies in the shade, or in another light: the usual luma times ret[0], and so much
// more U and V, in all places.
static void shade_of(const struct cover_model *m, const struct cover_look *look, float ret[3])
{
    float values[COVER_CELLS];
    for (int k = 0; k < 3; k++) {
        int n = 0;
        for (int i = 0; i < COVER_CELLS; i++) {
            float here = look->yuv[i][k], usual = m->median[i][k];
            if (is_known(m, look, i))
                values[n++] = k ? here - usual : here / usual;
        }
        qsort(values, (size_t)n, sizeof(values[0]), by_value);
        float middle = n > 0 ? values[n / 2] : !k;
        ret[k] = k ? fminf(fmaxf(middle, -MAX_TINT), MAX_TINT)
                   : fminf(fmaxf(middle, 1 / MAX_SHADE), MAX_SHADE);
    }
}

// How far a place is from its usual colour, in spreads.
static float off_by(const struct cover_model *m, const struct cover_look *look, int cell,
                    const float shade[3])
{
    float off = 0;
    for (int k = 0; k < 3; k++) {
        float usual = m->median[cell][k];
        usual = k ? usual + shade[k] : usual * shade[0];
        off = fmaxf(off, fabsf((float)look->yuv[cell][k] - usual) / m->spread[cell][k]);
    }
    return off;
}

// How much a place says: most beside the lips, where speaking changes least; little where a hand
// does not yet cover the mouth.
static float weight_of(int cell)
{
    int id = track_point_ids[cell < COVER_LIPS ? 0 : TRACK_LOWER_FIRST + cell - COVER_LIPS];
    for (size_t i = 0; i < ARRAY_LEN(beside_ids); i++)
        if (cell >= COVER_LIPS && beside_ids[i] == id)
            return 1;
    return 0.5f;
}

float cover_of(const struct cover_model *m, const struct cover_look *look)
{
    float sum = 0, weights = 0, shade[3];
    shade_of(m, look, shade);
    for (int i = 0; i < COVER_CELLS; i++) {
        if (!is_known(m, look, i))
            continue;
        float odd = (off_by(m, look, i, shade) - OFF_FROM) / (OFF_SURE - OFF_FROM);
        sum += weight_of(i) * fminf(fmaxf(odd, 0), 1);
        weights += weight_of(i);
    }
    float part = weights > 0 ? sum / weights : 0;
    return fminf(fmaxf((part - PART_FROM) / (PART_SURE - PART_FROM), 0), 1);
}

static float colour_of(const uint8_t yuv[3])
{
    return hypotf((float)yuv[1] - 128, (float)yuv[2] - 128);
}

float cover_hides(const struct cover_model *m)
{
    float colours[COVER_SKIN];
    for (int i = 0; i < COVER_SKIN; i++)
        colours[i] = colour_of(m->median[COVER_LIPS + i]);
    qsort(colours, COVER_SKIN, sizeof(colours[0]), by_value);
    float skin = colours[COVER_SKIN / 2];
    int n = 0;
    for (int i = COVER_LIPS / 2 + 1; i < COVER_LIPS; i++)
        n += skin >= COLOURED && m->spread[i][0] > 0 && colour_of(m->median[i]) < GREY * skin;
    return (float)n / (COVER_LIPS / 2 - 1);
}
