// Ridge regression from a few shapes of what is told, at a few times around, to what is seen beyond
// gain × told; how much is worth keeping is asked of parts of the film that were left out.
//
// One matrix of moments per part serves all candidates: each takes some of its columns and its own
// penalty. A penalty without end leaves the bias alone.
#include "lipsync/style_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FEATURES   (STYLE_TAPS * STYLE_SHAPES)
#define MAX_PARTS  4
#define BLOCK_S    2.0
#define FEW_S      16.0  // below: two parts
#define APART_S    0.2   // what is left out of a fit beside the part it is asked about
#define ROUNDS     60    // of the search for shapes
#define REACH      3.5f  // standard deviations of a score
#define ERROR_MOST 0.97  // of the error without a style
#define SIMPLE     0.02f // what weights must win over the bias alone, in error and correlation

struct candidate {
    int n_taps, n_shapes;
    double penalty; // of the mean square of the first score; < 0: no weights at all
};

static const struct candidate candidates[] = {{1, 3, -1},   {1, 3, 1},    {1, 3, 0.3},  {1, 3, 0.1},
                                              {1, 3, 0.03}, {1, 3, 0.01}, {3, 4, 1},    {3, 4, 0.3},
                                              {3, 4, 0.1},  {3, 4, 0.03}, {3, 4, 0.01}, {5, 5, 1},
                                              {5, 5, 0.3},  {5, 5, 0.1},  {5, 5, 0.03}};

const int style_taps[STYLE_TAPS] = {0, -2, 2, -4, 4};

// Sums over rows: of features and of what is left to explain.
struct moments {
    double n, f[FEATURES], r[STYLE_NUMBERS];
    double ff[FEATURES][FEATURES], fr[FEATURES][STYLE_NUMBERS];
};

struct fitting {
    const struct style_rows *rows;
    float gain;
    int n_parts;
    uint8_t *part;                // of each row
    uint8_t *beside;              // bits of the parts that are too near
    float (*scores)[FEATURES];    // tap by tap
    float (*told)[STYLE_NUMBERS]; // by the candidate in question
    float *told_opening, *seen_opening, *sorted;
    float mean[STYLE_NUMBERS], shapes[STYLE_SHAPES][STYLE_NUMBERS];
    double squares[STYLE_SHAPES]; // mean square of the scores of the middle tap
    struct moments *parts, all;   // parts: over the rows that may be fitted for each
};

static void fitting_clear(struct fitting *f)
{
    free(f->part);
    free(f->beside);
    free(f->scores);
    free(f->told);
    free(f->told_opening);
    free(f->seen_opening);
    free(f->sorted);
    free(f->parts);
}

void style_rows_clear(struct style_rows *r)
{
    free(r->time_s);
    free(r->seen);
    free(r->told);
    *r = (struct style_rows){0};
}

// --- shapes ---

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (int i = 0; i < STYLE_NUMBERS; i++)
        sum += a[i] * b[i];
    return sum;
}

// Makes v[i] perpendicular to those before it, and of length 1; or 0, where nothing is left of it.
static void straighten(double v[STYLE_SHAPES][STYLE_NUMBERS], int i)
{
    double before = sqrt(dot(v[i], v[i]));
    for (int twice = 0; twice < 2; twice++)
        for (int k = 0; k < i; k++) {
            double along = dot(v[i], v[k]);
            for (int j = 0; j < STYLE_NUMBERS; j++)
                v[i][j] -= along * v[k][j];
        }
    double length = sqrt(dot(v[i], v[i]));
    for (int j = 0; j < STYLE_NUMBERS; j++)
        v[i][j] = length > 1e-9 * before && length > 0 ? v[i][j] / length : 0;
}

// The first principal shapes of what is told, by subspace iteration.
static void find_shapes(struct fitting *f, double (*covariance)[STYLE_NUMBERS])
{
    const struct style_rows *r = f->rows;
    double mean[STYLE_NUMBERS] = {0};
    for (int i = 0; i < r->n; i++)
        for (int j = 0; j < STYLE_NUMBERS; j++)
            mean[j] += (double)r->told[i][0][j] / r->n;
    for (int i = 0; i < r->n; i++)
        for (int j = 0; j < STYLE_NUMBERS; j++) {
            double d = (double)r->told[i][0][j] - mean[j];
            for (int k = 0; k <= j; k++)
                covariance[j][k] += d * ((double)r->told[i][0][k] - mean[k]) / r->n;
        }
    for (int j = 0; j < STYLE_NUMBERS; j++)
        for (int k = 0; k < j; k++)
            covariance[k][j] = covariance[j][k];
    double v[STYLE_SHAPES][STYLE_NUMBERS];
    for (int i = 0; i < STYLE_SHAPES; i++)
        for (int j = 0; j < STYLE_NUMBERS; j++)
            v[i][j] = cos(1.0 + 0.7 * j * (i + 1)); // anything that is no shape's perpendicular
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < STYLE_SHAPES; i++) {
            double next[STYLE_NUMBERS];
            for (int j = 0; j < STYLE_NUMBERS; j++)
                next[j] = dot(covariance[j], v[i]);
            memcpy(v[i], next, sizeof(next));
            straighten(v, i);
        }
    for (int j = 0; j < STYLE_NUMBERS; j++) {
        f->mean[j] = (float)mean[j];
        for (int i = 0; i < STYLE_SHAPES; i++)
            f->shapes[i][j] = (float)v[i][j];
    }
}

static void find_scores(struct fitting *f)
{
    const struct style_rows *r = f->rows;
    for (int i = 0; i < r->n; i++)
        for (int t = 0; t < STYLE_TAPS; t++)
            for (int s = 0; s < STYLE_SHAPES; s++) {
                float sum = 0;
                for (int j = 0; j < STYLE_NUMBERS; j++)
                    sum += f->shapes[s][j] * (r->told[i][t][j] - f->mean[j]);
                f->scores[i][t * STYLE_SHAPES + s] = sum;
                if (t == 0)
                    f->squares[s] += (double)sum * (double)sum / r->n;
            }
}

// --- parts ---

static int part_at(double time_s, int n_parts)
{
    int64_t block = (int64_t)floor(time_s / BLOCK_S);
    return (int)(((block % n_parts) + n_parts) % n_parts);
}

static void deal_parts(struct fitting *f, double speech_s)
{
    f->n_parts = speech_s < FEW_S ? 2 : MAX_PARTS;
    for (int i = 0; i < f->rows->n; i++) {
        double t = f->rows->time_s[i];
        f->part[i] = (uint8_t)part_at(t, f->n_parts);
        f->beside[i] = (uint8_t)(1 << part_at(t - APART_S, f->n_parts) | 1 << f->part[i] |
                                 1 << part_at(t + APART_S, f->n_parts));
    }
}

static void add_moments(struct moments *m, const float *scores, const float *left)
{
    m->n += 1;
    for (int a = 0; a < FEATURES; a++) {
        double x = (double)scores[a];
        m->f[a] += x;
        for (int b = 0; b <= a; b++)
            m->ff[a][b] += x * (double)scores[b];
        for (int j = 0; j < STYLE_NUMBERS; j++)
            m->fr[a][j] += x * (double)left[j];
    }
    for (int j = 0; j < STYLE_NUMBERS; j++)
        m->r[j] += (double)left[j];
}

static void sum_moments(struct fitting *f)
{
    const struct style_rows *r = f->rows;
    for (int i = 0; i < r->n; i++) {
        float left[STYLE_NUMBERS];
        for (int j = 0; j < STYLE_NUMBERS; j++)
            left[j] = r->seen[i][j] - f->gain * r->told[i][0][j];
        add_moments(&f->all, f->scores[i], left);
        for (int p = 0; p < f->n_parts; p++)
            if (!(f->beside[i] & 1 << p))
                add_moments(&f->parts[p], f->scores[i], left);
    }
}

// --- a fit ---

struct weights {
    double w[FEATURES][STYLE_NUMBERS]; // of the candidate's features, in its order
    double bias[STYLE_NUMBERS];
};

// Which column of the moments a candidate's feature is.
static int column_of(const struct candidate *c, int feature)
{
    return feature / c->n_shapes * STYLE_SHAPES + feature % c->n_shapes;
}

// Solves a x = b in place of b; a is symmetric, its lower half counts and is destroyed (Cholesky).
// False if it is not positive definite.
static bool solve(double a[FEATURES][FEATURES], double b[FEATURES][STYLE_NUMBERS], int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k <= i; k++) {
            double sum = a[i][k];
            for (int j = 0; j < k; j++)
                sum -= a[i][j] * a[k][j];
            if (i == k && !(sum > 0))
                return false;
            a[i][k] = i == k ? sqrt(sum) : sum / a[k][k];
        }
    for (int c = 0; c < STYLE_NUMBERS; c++) {
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < i; j++)
                b[i][c] -= a[i][j] * b[j][c];
            b[i][c] /= a[i][i];
        }
        for (int i = n - 1; i >= 0; i--) {
            for (int j = i + 1; j < n; j++)
                b[i][c] -= a[j][i] * b[j][c];
            b[i][c] /= a[i][i];
        }
    }
    return true;
}

static bool fit_weights(struct weights *ret, const struct fitting *f, const struct moments *m,
                        const struct candidate *c)
{
    int n = c->penalty < 0 ? 0 : c->n_taps * c->n_shapes;
    double a[FEATURES][FEATURES] = {0};
    memset(ret, 0, sizeof(*ret));
    if (!(m->n > 0))
        return false;
    for (int i = 0; i < n; i++) {
        int row = column_of(c, i);
        for (int k = 0; k <= i; k++) {
            int column = column_of(c, k);
            a[i][k] =
                m->ff[KB_MAX(row, column)][KB_MIN(row, column)] - m->f[row] * m->f[column] / m->n;
        }
        a[i][i] += c->penalty * m->n * f->squares[0];
        for (int j = 0; j < STYLE_NUMBERS; j++)
            ret->w[i][j] = m->fr[row][j] - m->f[row] * m->r[j] / m->n;
    }
    if (!solve(a, ret->w, n))
        return false;
    for (int j = 0; j < STYLE_NUMBERS; j++) {
        ret->bias[j] = m->r[j] / m->n;
        for (int i = 0; i < n; i++)
            ret->bias[j] -= m->f[column_of(c, i)] / m->n * ret->w[i][j];
    }
    return true;
}

static void tell_row(const struct fitting *f, const struct candidate *c, const struct weights *w,
                     int row, float ret[STYLE_NUMBERS])
{
    int n = c->penalty < 0 ? 0 : c->n_taps * c->n_shapes;
    double sum[STYLE_NUMBERS];
    for (int j = 0; j < STYLE_NUMBERS; j++)
        sum[j] = (double)(f->gain * f->rows->told[row][0][j]) + w->bias[j];
    for (int i = 0; i < n; i++) {
        double score = (double)f->scores[row][column_of(c, i)];
        for (int j = 0; j < STYLE_NUMBERS; j++)
            sum[j] += score * w->w[i][j];
    }
    for (int j = 0; j < STYLE_NUMBERS; j++)
        ret[j] = (float)sum[j];
}

// --- how well ---

float style_stretch(float told_low, float told_high, float seen_low, float seen_high)
{
    float told = told_high - told_low, seen = seen_high - seen_low;
    return told > 1e-4f ? fminf(fmaxf(seen / told, 0.6f), 1.6f) : 1;
}

// How the points go with the opening, least squares over the rows that are not of a part (-1: all).
static void opening_shape(const struct fitting *f, int without, float ret[STYLE_NUMBERS])
{
    double mean = 0, squares = 0, n = 0, sum[STYLE_NUMBERS] = {0};
    for (int i = 0; i < f->rows->n; i++)
        if (f->part[i] != without) {
            mean += (double)f->seen_opening[i];
            n++;
        }
    mean /= fmax(n, 1);
    for (int i = 0; i < f->rows->n; i++) {
        double d = (double)f->seen_opening[i] - mean;
        if (f->part[i] == without)
            continue;
        squares += d * d;
        for (int j = 0; j < STYLE_NUMBERS; j++)
            sum[j] += d * (double)f->rows->seen[i][j];
    }
    for (int j = 0; j < STYLE_NUMBERS; j++)
        ret[j] = squares > 0 ? (float)(sum[j] / squares) : 0;
}

// 5 % and 95 % of openings over the rows that are not of a part (-1: all).
static void range_without(const struct fitting *f, const float *openings, int without, float ret[2])
{
    int n = 0;
    for (int i = 0; i < f->rows->n; i++)
        if (f->part[i] != without)
            f->sorted[n++] = openings[i];
    motion_spread(f->sorted, n, &ret[0], &ret[1]);
}

// Sums for a correlation and an error, over the rows of one part.
struct tally {
    double n, x, y, xx, yy, xy, squares;
};

static void tally_row(struct tally *t, const float *told, const float *seen)
{
    double x = (double)motion_opening((const float(*)[2])told);
    double y = (double)motion_opening((const float(*)[2])seen);
    for (int j = 0; j < STYLE_NUMBERS; j++)
        t->squares += (double)(told[j] - seen[j]) * (double)(told[j] - seen[j]);
    t->n++;
    t->x += x;
    t->y += y;
    t->xx += x * x;
    t->yy += y * y;
    t->xy += x * y;
}

static struct style_figures sum_tallies(const struct tally *t, int n_parts)
{
    double n = 0, squares = 0, correlation = 0;
    for (int p = 0; p < n_parts; p++) {
        if (!(t[p].n > 1))
            continue;
        double xx = t[p].xx - t[p].x * t[p].x / t[p].n, yy = t[p].yy - t[p].y * t[p].y / t[p].n;
        double xy = t[p].xy - t[p].x * t[p].y / t[p].n;
        correlation += xx > 0 && yy > 0 ? t[p].n * xy / sqrt(xx * yy) : 0;
        squares += t[p].squares;
        n += t[p].n;
    }
    return (struct style_figures){(float)sqrt(squares / fmax(n * MOTION_POINTS, 1)),
                                  (float)(correlation / fmax(n, 1))};
}

// The figures of what a candidate tells of each part after a fit on the others. False where a fit
// failed.
static bool try_candidate(struct fitting *f, const struct candidate *c, struct style_figures *ret)
{
    CLEANUP(kb_freep) struct weights *w = kb_alloc(MAX_PARTS * sizeof(*w));
    struct tally tallies[MAX_PARTS] = {0};
    for (int p = 0; p < f->n_parts; p++)
        if (!fit_weights(&w[p], f, &f->parts[p], c))
            return false;
    for (int i = 0; i < f->rows->n; i++) {
        tell_row(f, c, &w[f->part[i]], i, f->told[i]);
        f->told_opening[i] = motion_opening((const float(*)[2])f->told[i]);
    }
    for (int p = 0; p < f->n_parts; p++) {
        float told[2], seen[2], shape[STYLE_NUMBERS];
        range_without(f, f->told_opening, p, told);
        range_without(f, f->seen_opening, p, seen);
        opening_shape(f, p, shape);
        float by = style_stretch(told[0], told[1], seen[0], seen[1]);
        for (int i = 0; i < f->rows->n; i++) {
            if (f->part[i] != p)
                continue;
            float more = seen[0] + by * (f->told_opening[i] - told[0]) - f->told_opening[i];
            float lips[STYLE_NUMBERS];
            for (int j = 0; j < STYLE_NUMBERS; j++)
                lips[j] = f->told[i][j] + more * shape[j];
            tally_row(&tallies[p], lips, f->rows->seen[i]);
        }
    }
    *ret = sum_tallies(tallies, f->n_parts);
    return true;
}

static struct style_figures without_style(const struct fitting *f)
{
    struct tally tallies[MAX_PARTS] = {0};
    for (int i = 0; i < f->rows->n; i++) {
        float lips[STYLE_NUMBERS];
        for (int j = 0; j < STYLE_NUMBERS; j++)
            lips[j] = f->gain * f->rows->told[i][0][j];
        tally_row(&tallies[f->part[i]], lips, f->rows->seen[i]);
    }
    return sum_tallies(tallies, f->n_parts);
}

// --- all of it ---

// The map of a candidate, fitted on everything; the ranges of what it tells are those of the parts
// left out, for what is fitted on a film follows that film too eagerly.
static bool make_map(struct fitting *f, const struct candidate *c, struct style_map *ret)
{
    struct style_figures figures;
    struct weights w;
    float range[2];
    if (!try_candidate(f, c, &figures) || !fit_weights(&w, f, &f->all, c))
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->n_taps = c->penalty < 0 ? 0 : c->n_taps;
    ret->n_shapes = c->penalty < 0 ? 0 : c->n_shapes;
    ret->gain = f->gain;
    for (int t = 0; t < ret->n_taps; t++) {
        ret->taps[t] = style_taps[t];
        for (int s = 0; s < ret->n_shapes; s++)
            for (int j = 0; j < STYLE_NUMBERS; j++)
                ret->weights[t][s][j] = (float)w.w[t * c->n_shapes + s][j];
    }
    for (int j = 0; j < STYLE_NUMBERS; j++) {
        ret->mean[j] = f->mean[j];
        ret->bias[j] = (float)w.bias[j];
    }
    for (int s = 0; s < ret->n_shapes; s++) {
        memcpy(ret->shapes[s], f->shapes[s], sizeof(ret->shapes[s]));
        ret->reach[s] = REACH * (float)sqrt(f->squares[s]);
    }
    range_without(f, f->told_opening, -1, range);
    ret->told_low = range[0];
    ret->told_high = range[1];
    range_without(f, f->seen_opening, -1, range);
    ret->seen_low = range[0];
    ret->seen_high = range[1];
    opening_shape(f, -1, ret->opening);
    return true;
}

static enum kb_code fitting_begin(struct fitting *f, struct kb_error *err)
{
    size_t n = (size_t)f->rows->n;
    CLEANUP(kb_freep)
    double(*covariance)[STYLE_NUMBERS] = kb_calloc_checked(STYLE_NUMBERS, sizeof(*covariance));
    f->part = kb_calloc_checked(n, 1);
    f->beside = kb_calloc_checked(n, 1);
    f->scores = kb_calloc_checked(n, sizeof(*f->scores));
    f->told = kb_calloc_checked(n, sizeof(*f->told));
    f->told_opening = kb_calloc_checked(n, sizeof(float));
    f->seen_opening = kb_calloc_checked(n, sizeof(float));
    f->sorted = kb_calloc_checked(n, sizeof(float));
    f->parts = kb_calloc_checked(MAX_PARTS, sizeof(*f->parts));
    if (!covariance || !f->part || !f->beside || !f->scores || !f->told || !f->told_opening ||
        !f->seen_opening || !f->sorted || !f->parts)
        return kb_no_memory(err);
    double span_s = f->rows->time_s[n - 1] - f->rows->time_s[0];
    for (size_t i = 0; i < n; i++)
        f->seen_opening[i] = motion_opening((const float(*)[2])f->rows->seen[i]);
    find_shapes(f, covariance);
    find_scores(f);
    deal_parts(f, span_s);
    sum_moments(f);
    return KB_OK;
}

enum kb_code style_regress(struct style_regression *ret, const struct style_rows *rows, float gain,
                           const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(fitting_clear) struct fitting f = {.rows = rows, .gain = gain};
    struct style_regression found = {0};
    enum kb_code code = rows->n > 1 ? fitting_begin(&f, err) : KB_OK;
    if (code != KB_OK || rows->n <= 1) {
        *ret = found;
        return code;
    }
    found.before = without_style(&f);
    float best = INFINITY;
    int chosen = -1;
    for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
        struct style_figures figures;
        code = cancel_check(cancel, err);
        if (code != KB_OK)
            return code;
        if (!try_candidate(&f, &candidates[i], &figures))
            continue;
        float score = figures.error / found.before.error - figures.correlation +
                      (candidates[i].penalty < 0 ? 0 : SIMPLE);
        bool better = figures.error < (float)ERROR_MOST * found.before.error &&
                      figures.correlation >= found.before.correlation - 1e-3f;
        // One that is better is chosen before any that is not; of those, the figures are told.
        if (better > found.better || (better == found.better && score < best)) {
            best = score;
            chosen = (int)i;
            found.better = better;
            found.after = figures;
        }
    }
    found.better = found.better && chosen >= 0 && make_map(&f, &candidates[chosen], &found.map);
    *ret = found;
    return KB_OK;
}
