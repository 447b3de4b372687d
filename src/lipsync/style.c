#include "lipsync/style.h"

#include "lipsync/style_internal.h"
#include "rig/person.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GAIN_LOW  0.6f // bounds of what is fitted to the person
#define GAIN_HIGH 1.6f
#define MASS      1.28 // samples: 32 ms, as plan.c
#define MAX_ROWS  4500
// Frames that show no mouth to learn from.
#define SCORE_MIN 0.5f
#define COVER_MAX 0.25f
#define YAW_MAX   0.7f
// Correlation that no two things reach which have nothing to do with each other: openings have some
// five independent values a second, so three standard deviations of chance are 3 / sqrt(5 s). Of
// 738 pairs of faces with the speech of others, 10 to 20 s long, one reached 0.42 at any lag (at
// 10 s one in a hundred had 0.40 or more, at 20 s 0.24).
#define AGREE_MIN    0.45f // two people who talk with each other reach 0.33
#define VALUES_PER_S 5.0f
// What the range of a speech counts beside that of the person's film, seconds of voice.
#define RANGE_S 3.0f

float style_gain(float low, float high, float own_low, float own_high)
{
    if (!(own_high > own_low) || !(high - low > 1e-3f))
        return 1;
    return fminf(fmaxf((own_high - own_low) / (high - low), GAIN_LOW), GAIN_HIGH);
}

// --- what is told at a moment ---

static void add_between(const struct motion *m, double sample, float weight,
                        float ret[STYLE_NUMBERS])
{
    double place = fmin(fmax(sample, 0), m->n - 1);
    int i = KB_MAX(KB_MIN((int)place, m->n - 2), 0);
    float t = (float)(place - i);
    const float *a = (const float *)m->delta[i];
    const float *b = (const float *)m->delta[KB_MIN(i + 1, m->n - 1)];
    for (int j = 0; j < STYLE_NUMBERS; j++)
        ret[j] += weight * (a[j] + t * (b[j] - a[j]));
}

// What is told at a sample of the motion, between samples straight, as the plan shows it: with the
// mean over 64 ms. Without the fade in silence. Beyond the ends: as there.
static void told_at(const struct motion *m, double sample, float ret[STYLE_NUMBERS])
{
    memset(ret, 0, STYLE_NUMBERS * sizeof(*ret));
    add_between(m, sample - MASS, 0.25f, ret);
    add_between(m, sample, 0.5f, ret);
    add_between(m, sample + MASS, 0.25f, ret);
}

static bool voice_at(const struct motion *m, double sample)
{
    int i = (int)lround(sample);
    return i >= 0 && i < m->n && m->voice[i] > 0.5f;
}

// --- what is seen ---

struct moment {
    double time_s;
    float opening;
    int frame;
};

struct look {
    const struct style_params *p;
    struct person person;
    struct moment *moments; // frames that show the mouth
    int n;
};

static void look_clear(struct look *l)
{
    free(l->moments);
}

static void displacements(const struct person *person, const struct posed *at,
                          float ret[STYLE_NUMBERS])
{
    for (int i = 0; i < MOTION_POINTS; i++)
        for (int k = 0; k < 2; k++)
            ret[2 * i + k] =
                at->canonical[TRACK_OUTER_FIRST + i][k] - person->neutral[TRACK_OUTER_FIRST + i][k];
}

static bool shows_mouth(const struct style_params *p, int frame)
{
    struct track_face seen;
    track_face(p->track, p->face, frame, &seen);
    return seen.present && seen.score >= SCORE_MIN && seen.cover < COVER_MAX &&
           fabsf(seen.yaw) < YAW_MAX;
}

static enum kb_code look_at_film(struct look *l, struct kb_error *err)
{
    const struct style_params *p = l->p;
    int n_frames = track_info(p->track)->n_frames;
    int64_t end_us = track_pts_us(p->track, 0) + STYLE_MAX_FILM_S * 1000000LL;
    while (n_frames > 0 && track_pts_us(p->track, n_frames - 1) > end_us)
        n_frames--;
    int step = (n_frames - 1) / MAX_ROWS + 1;
    l->moments = kb_calloc_checked((size_t)(n_frames / step) + 1, sizeof(*l->moments));
    if (!l->moments)
        return kb_no_memory(err);
    for (int i = 0; i < n_frames; i += step) {
        enum kb_code code = i / step % 64 ? KB_OK : cancel_check(p->cancel, err);
        if (code != KB_OK)
            return code;
        struct posed posed;
        float delta[STYLE_NUMBERS];
        if (!shows_mouth(p, i) || !person_at(&l->person, p->track, p->face, i, &posed))
            continue;
        displacements(&l->person, &posed, delta);
        l->moments[l->n++] =
            (struct moment){(double)(track_pts_us(p->track, i) + p->start_us) / 1e6,
                            motion_opening((const float(*)[2])delta), i};
    }
    return KB_OK;
}

// --- does the sound fit? ---

// Seconds of voice with the mouth in the picture. A gap between frames counts as a tenth at most.
static float count_speech(const struct look *l, int lag)
{
    double sum = 0;
    for (int i = 0; i + 1 < l->n; i++)
        if (voice_at(l->p->told, l->moments[i].time_s * MOTION_RATE_HZ + lag))
            sum += fmin(l->moments[i + 1].time_s - l->moments[i].time_s, 0.1);
    return (float)sum;
}

// Correlation of the opening told, so many samples later, with the one seen, while a voice is
// heard.
static float agree(const struct look *l, const float *told, int lag)
{
    const struct motion *m = l->p->told;
    double n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < l->n; i++) {
        double place = l->moments[i].time_s * MOTION_RATE_HZ + lag;
        if (!voice_at(m, place))
            continue;
        int k = KB_MAX(KB_MIN((int)place, m->n - 2), 0);
        double a = (double)told[k], b = (double)l->moments[i].opening;
        a += (place - k) * ((double)told[KB_MIN(k + 1, m->n - 1)] - a);
        n++;
        x += a;
        y += b;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    xx -= x * x / fmax(n, 1);
    yy -= y * y / fmax(n, 1);
    return xx > 0 && yy > 0 ? (float)((xy - x * y / n) / sqrt(xx * yy)) : 0;
}

static enum kb_code find_lag(struct look *l, int *ret_lag, float *ret_agreement,
                             struct kb_error *err)
{
    const struct motion *m = l->p->told;
    CLEANUP(kb_freep) float *told = kb_calloc_checked((size_t)m->n, sizeof(*told));
    if (!told)
        return kb_no_memory(err);
    for (int i = 0; i < m->n; i++) {
        float lips[STYLE_NUMBERS];
        told_at(m, i, lips);
        told[i] = motion_opening((const float(*)[2])lips);
    }
    *ret_lag = 0;
    *ret_agreement = -1;
    for (int k = 0; k <= 2 * STYLE_MAX_LAG; k++) { // 0, 1, -1, 2, …
        int lag = k % 2 ? (k + 1) / 2 : -k / 2;
        float r = agree(l, told, lag);
        if (r > *ret_agreement) {
            *ret_agreement = r;
            *ret_lag = lag;
        }
    }
    return KB_OK;
}

// --- the fit ---

static enum kb_code gather_rows(struct style_rows *ret, const struct look *l, int lag,
                                struct kb_error *err)
{
    ret->time_s = kb_calloc_checked((size_t)l->n, sizeof(*ret->time_s));
    ret->seen = kb_calloc_checked((size_t)l->n, sizeof(*ret->seen));
    ret->told = kb_calloc_checked((size_t)l->n, sizeof(*ret->told));
    if (!ret->time_s || !ret->seen || !ret->told)
        return kb_no_memory(err);
    for (int i = 0; i < l->n; i++) {
        double place = l->moments[i].time_s * MOTION_RATE_HZ + lag;
        struct posed posed;
        if (!voice_at(l->p->told, place) ||
            !person_at(&l->person, l->p->track, l->p->face, l->moments[i].frame, &posed))
            continue;
        int row = ret->n++;
        ret->time_s[row] = l->moments[i].time_s;
        displacements(&l->person, &posed, ret->seen[row]);
        for (int t = 0; t < STYLE_TAPS; t++)
            told_at(l->p->told, place + style_taps[t], ret->told[row][t]);
    }
    return KB_OK;
}

// Without a style: as far as the range of the person wants it.
static float usual_gain(const struct style_rows *rows, const struct style *s)
{
    CLEANUP(kb_freep) float *openings = kb_alloc((size_t)KB_MAX(rows->n, 1) * sizeof(*openings));
    float low, high;
    for (int i = 0; i < rows->n; i++)
        openings[i] = motion_opening((const float(*)[2])rows->told[i][0]);
    motion_spread(openings, rows->n, &low, &high);
    return style_gain(low, high, s->range_low, s->range_high);
}

static enum kb_code learn(struct style *s, struct look *l, struct kb_error *err)
{
    CLEANUP(style_rows_clear) struct style_rows rows = {0};
    struct style_regression found;
    int lag = 0;
    enum kb_code code = find_lag(l, &lag, &s->agreement, err);
    if (code != KB_OK)
        return code;
    s->lag_s = (float)lag / MOTION_RATE_HZ;
    s->speech_s = count_speech(l, lag);
    float needed = fmaxf(AGREE_MIN, 3 / sqrtf(VALUES_PER_S * fmaxf(s->speech_s, 1)));
    s->verdict = STYLE_DUBBED;
    if (s->agreement < needed)
        return KB_OK;
    code = gather_rows(&rows, l, lag, err);
    if (code == KB_OK)
        code = style_regress(&found, &rows, usual_gain(&rows, s), l->p->cancel, err);
    if (code != KB_OK)
        return code;
    s->before = found.before;
    s->after = found.after;
    s->verdict = found.better ? STYLE_LEARNT : STYLE_NO_BETTER;
    if (found.better)
        s->map = found.map;
    return KB_OK;
}

enum kb_code style_fit(struct style *ret, const struct style_params *p, struct kb_error *err)
{
    CLEANUP(look_clear) struct look look = {.p = p};
    CLEANUP(kb_freep) struct style *s = kb_alloc(sizeof(*s));
    enum kb_code code = person_fit(&look.person, p->track, p->face, p->cancel, err);
    if (code != KB_OK)
        return code;
    s->verdict = STYLE_QUIET;
    s->speaks = look.person.speaks;
    if (s->speaks) {
        s->range_low = look.person.aperture_low;
        s->range_high = look.person.aperture_high;
        code = look_at_film(&look, err);
        s->speech_s = code == KB_OK ? count_speech(&look, 0) : 0;
        bool may_do = look.n > 1 && look.moments[look.n - 1].time_s - look.moments[0].time_s >=
                                        STYLE_MIN_SPEECH_S;
        s->verdict = may_do && !(s->speech_s > 0) ? STYLE_NO_SOUND : STYLE_SHORT;
    }
    if (code == KB_OK && s->speech_s >= STYLE_MIN_SPEECH_S)
        code = learn(s, &look, err);
    if (code == KB_OK)
        *ret = *s;
    return code;
}

// --- applying it ---

static void score_sample(const struct style_map *m, const float *told, float ret[STYLE_SHAPES])
{
    for (int s = 0; s < m->n_shapes; s++) {
        float sum = 0;
        for (int j = 0; j < STYLE_NUMBERS; j++)
            sum += m->shapes[s][j] * (told[j] - m->mean[j]);
        ret[s] = fminf(fmaxf(sum, -m->reach[s]), m->reach[s]);
    }
}

static void map_motion(const struct style_map *m, const struct motion *told,
                       const float (*scores)[STYLE_SHAPES], struct motion *ret)
{
    for (int i = 0; i < told->n; i++) {
        const float *from = (const float *)told->delta[i];
        float *to = (float *)ret->delta[i];
        for (int j = 0; j < STYLE_NUMBERS; j++)
            to[j] = m->gain * from[j] + m->bias[j];
        for (int t = 0; t < m->n_taps; t++) {
            const float *score = scores[KB_MIN(KB_MAX(i + m->taps[t], 0), told->n - 1)];
            for (int s = 0; s < m->n_shapes; s++)
                for (int j = 0; j < STYLE_NUMBERS; j++)
                    to[j] += score[s] * m->weights[t][s][j];
        }
        ret->voice[i] = told->voice[i];
    }
}

// Stretches all openings so that those of this speech span the person's range. A short speech says
// little of its own range: then that of the film's speech counts too.
static enum kb_code stretch_motion(const struct style_map *map, struct motion *m,
                                   struct kb_error *err)
{
    CLEANUP(kb_freep) float *openings = kb_calloc_checked((size_t)KB_MAX(m->n, 1), sizeof(float));
    if (!openings)
        return kb_no_memory(err);
    int n = 0;
    float low, high, lips[STYLE_NUMBERS];
    for (int i = 0; i < m->n; i++)
        if (voice_at(m, i)) {
            told_at(m, i, lips);
            openings[n++] = motion_opening((const float(*)[2])lips);
        }
    motion_spread(openings, n, &low, &high);
    float part = (float)n / ((float)n + RANGE_S * MOTION_RATE_HZ);
    low = map->told_low + part * (low - map->told_low);
    high = map->told_high + part * (high - map->told_high);
    float by = style_stretch(low, high, map->seen_low, map->seen_high);
    for (int i = 0; i < m->n; i++) {
        float *to = (float *)m->delta[i], opening = motion_opening((const float(*)[2])to);
        float more = map->seen_low + by * (opening - low) - opening;
        for (int j = 0; j < STYLE_NUMBERS; j++)
            to[j] += more * map->opening[j];
    }
    return KB_OK;
}

enum kb_code style_apply(struct motion **ret, const struct style *s, const struct motion *told,
                         struct kb_error *err)
{
    CLEANUP(motion_free) struct motion *m = kb_alloc(sizeof(*m));
    size_t n = (size_t)told->n;
    CLEANUP(kb_freep) float(*scores)[STYLE_SHAPES] = kb_calloc_checked(n, sizeof(*scores));
    m->n = told->n;
    m->delta = kb_calloc_checked(n, sizeof(*m->delta));
    m->voice = kb_calloc_checked(n, sizeof(*m->voice));
    if (!scores || !m->delta || !m->voice)
        return kb_no_memory(err);
    for (int i = 0; i < told->n; i++)
        score_sample(&s->map, (const float *)told->delta[i], scores[i]);
    map_motion(&s->map, told, (const float(*)[STYLE_SHAPES])scores, m);
    enum kb_code code = stretch_motion(&s->map, m, err);
    if (code == KB_OK)
        *ret = TAKE(m);
    return code;
}

char *style_describe(const struct style *s)
{
    switch ((enum style_verdict)s->verdict) {
    case STYLE_NO_SOUND:
        return kb_strdup(_("no voice is heard in it"));
    case STYLE_QUIET:
        return kb_strdup(_("the mouth does not move in it as it does in speech"));
    case STYLE_SHORT:
        if (!(s->speech_s > 0))
            return kb_printf(_("the face is in it for less than %d s"), STYLE_MIN_SPEECH_S);
        return kb_printf(_("it shows the face speaking for %.1f s, and %d s are needed"),
                         (double)s->speech_s, STYLE_MIN_SPEECH_S);
    case STYLE_DUBBED:
        return kb_printf(_("its sound does not fit the lips (correlation %.2f); it may be dubbed, "
                           "or somebody else speaks"),
                         (double)s->agreement);
    case STYLE_NO_BETTER:
        return kb_printf(_("on parts of the film that were left out, what was learnt did no better "
                           "(error %.4f instead of %.4f, correlation %.3f instead of %.3f)"),
                         (double)s->after.error, (double)s->before.error,
                         (double)s->after.correlation, (double)s->before.correlation);
    case STYLE_LEARNT:
        return kb_printf(_("learnt from %.0f s of speech: on parts of the film that were left out, "
                           "error %.4f instead of %.4f, correlation %.3f instead of %.3f"),
                         (double)s->speech_s, (double)s->after.error, (double)s->before.error,
                         (double)s->after.correlation, (double)s->before.correlation);
    default:
        return kb_strdup(_("nothing was looked at"));
    }
}
