#include "lab/measure.h"

#include "face/warp.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_LIP_POINTS (2 * TRACK_N_LIPS)
#define N_STILL      (TRACK_MIDDLE_FIRST - TRACK_OTHER_FIRST)

// --- landmarks ---

// The rings of the track begin at fixed FaceMesh points, see track.h.
#define OVAL_TOP   (TRACK_OVAL_FIRST + 0)
#define OVAL_LEFT  (TRACK_OVAL_FIRST + 8)
#define OVAL_CHIN  (TRACK_OVAL_FIRST + 18)
#define OVAL_RIGHT (TRACK_OVAL_FIRST + 28)

float measure_aperture(const float (*points)[2])
{
    const float *top = points[OVAL_TOP], *chin = points[OVAL_CHIN];
    float dx = chin[0] - top[0], dy = chin[1] - top[1];
    float square = dx * dx + dy * dy;
    if (!(square >= 1))
        return 0;
    // The ring starts at one corner of the mouth and runs over the upper lip to the other, so the
    // point opposite to i is 20 - i.
    float sum = 0;
    for (int i = 1; i < TRACK_N_LIPS / 2; i++) {
        const float *upper = points[TRACK_INNER_FIRST + i];
        const float *lower = points[TRACK_INNER_FIRST + TRACK_N_LIPS - i];
        sum += (lower[0] - upper[0]) * dx + (lower[1] - upper[1]) * dy;
    }
    return sum / (TRACK_N_LIPS / 2 - 1) / square;
}

#define EYE_LEFT  (TRACK_OTHER_FIRST + 0)
#define EYE_RIGHT (TRACK_OTHER_FIRST + 3)

float measure_width(const float (*points)[2])
{
    const float *left = points[EYE_LEFT], *right = points[EYE_RIGHT];
    float dx = right[0] - left[0], dy = right[1] - left[1];
    float square = dx * dx + dy * dy;
    if (!(square >= 1))
        return 0;
    const float *a = points[TRACK_INNER_FIRST];
    const float *b = points[TRACK_INNER_FIRST + TRACK_N_LIPS / 2];
    return ((b[0] - a[0]) * dx + (b[1] - a[1]) * dy) / square;
}

float measure_face_width(const float (*points)[2])
{
    const float *left = points[OVAL_LEFT], *right = points[OVAL_RIGHT];
    return fmaxf(hypotf(right[0] - left[0], right[1] - left[1]), 1);
}

float measure_lip_distance(const float (*truth)[2], const float (*test)[2])
{
    struct affine align =
        affine_fit_similarity(test + TRACK_OTHER_FIRST, truth + TRACK_OTHER_FIRST, N_STILL);
    float sum = 0;
    for (int i = TRACK_OUTER_FIRST; i < TRACK_OUTER_FIRST + N_LIP_POINTS; i++) {
        float x, y;
        affine_apply(&align, test[i][0], test[i][1], &x, &y);
        sum += hypotf(x - truth[i][0], y - truth[i][1]);
    }
    return sum / N_LIP_POINTS / measure_face_width(truth);
}

typedef const float (*const_points)[2];

static float bend(const float before[2], const float at[2], const float after[2])
{
    return hypotf(before[0] - 2 * at[0] + after[0], before[1] - 2 * at[1] + after[1]);
}

static float mean_bend(const_points before, const_points at, const_points after, int first, int n)
{
    float sum = 0;
    for (int i = first; i < first + n; i++)
        sum += bend(before[i], at[i], after[i]);
    return sum / (float)n / measure_face_width(at);
}

float measure_jitter(const float (*before)[2], const float (*at)[2], const float (*after)[2])
{
    return mean_bend(before, at, after, TRACK_OUTER_FIRST, N_LIP_POINTS);
}

float measure_still_jitter(const float (*before)[2], const float (*at)[2], const float (*after)[2])
{
    return mean_bend(before, at, after, TRACK_OTHER_FIRST, N_STILL);
}

#define N_GAPS   (TRACK_N_LIPS / 2 - 1)
#define N_MOTION (N_LIP_POINTS + N_GAPS)

// The lip points of a face as they lie where the head is as in frame at, and the gaps of the inner
// lips.
static void mouth_of(float (*ret)[2], const_points face, const_points at)
{
    struct affine align =
        affine_fit_similarity(face + TRACK_OTHER_FIRST, at + TRACK_OTHER_FIRST, N_STILL);
    for (int i = 0; i < N_LIP_POINTS; i++)
        affine_apply(&align, face[TRACK_OUTER_FIRST + i][0], face[TRACK_OUTER_FIRST + i][1],
                     &ret[i][0], &ret[i][1]);
    const float(*inner)[2] = (const_points)ret + TRACK_INNER_FIRST - TRACK_OUTER_FIRST;
    for (int i = 1; i <= N_GAPS; i++)
        for (int k = 0; k < 2; k++)
            ret[N_LIP_POINTS + i - 1][k] = inner[TRACK_N_LIPS - i][k] - inner[i][k];
}

float measure_lip_motion(const float (*before)[2], const float (*at)[2], const float (*after)[2])
{
    float a[N_MOTION][2], b[N_MOTION][2], c[N_MOTION][2], sum = 0;
    mouth_of(a, before, at);
    mouth_of(b, at, at);
    mouth_of(c, after, at);
    for (int i = 0; i < N_MOTION; i++)
        sum += bend(a[i], b[i], c[i]);
    return sum / N_MOTION / measure_face_width(at);
}

// --- curves ---

struct moments {
    int n;
    double aa, bb, ab; // sums of products of the deviations from the mean
};

static bool both(const float *a, const float *b, int n, int k, int lag)
{
    int l = k + lag;
    return l >= 0 && l < n && !isnan(a[k]) && !isnan(b[l]);
}

static struct moments moments_of(const float *a, const float *b, int n, int lag)
{
    struct moments m = {0};
    double mean_a = 0, mean_b = 0;
    for (int k = 0; k < n; k++) {
        if (!both(a, b, n, k, lag))
            continue;
        mean_a += (double)a[k];
        mean_b += (double)b[k + lag];
        m.n++;
    }
    mean_a /= KB_MAX(m.n, 1);
    mean_b /= KB_MAX(m.n, 1);
    for (int k = 0; k < n; k++) {
        if (!both(a, b, n, k, lag))
            continue;
        double da = (double)a[k] - mean_a, db = (double)b[k + lag] - mean_b;
        m.aa += da * da;
        m.bb += db * db;
        m.ab += da * db;
    }
    return m;
}

// A curve whose deviation is below a millionth of the face's height is flat.
static bool flat(double squares, int n)
{
    return squares <= 1e-12 * n;
}

// Of the pairs at a lag. False where these say nothing.
static bool correlation_at(const float *truth, const float *test, int n, int lag, double *ret)
{
    struct moments m = moments_of(truth, test, n, lag);
    if (m.n < MEASURE_MIN_FRAMES || flat(m.aa, m.n) || flat(m.bb, m.n))
        return false;
    *ret = m.ab / sqrt(m.aa * m.bb);
    return true;
}

double measure_correlation(const float *truth, const float *test, int n)
{
    double r = 0;
    correlation_at(truth, test, n, 0, &r);
    return r;
}

int measure_lag(const float *truth, const float *test, int n, double *ret_r)
{
    int best_lag = 0;
    double best = -INFINITY;
    for (int i = 0; i <= 2 * MEASURE_MAX_LAG; i++) {
        int lag = (i + 1) / 2 * (i % 2 ? 1 : -1); // 0, 1, -1, 2, -2 …
        double r;
        if (correlation_at(truth, test, n, lag, &r) && r > best + 1e-9) {
            best = r;
            best_lag = lag;
        }
    }
    *ret_r = isfinite(best) ? best : 0;
    return best_lag;
}

double measure_amplitude(const float *truth, const float *test, int n)
{
    struct moments m = moments_of(truth, test, n, 0);
    if (flat(m.aa, m.n))
        return flat(m.bb, m.n) ? 1 : INFINITY;
    return sqrt(m.bb / m.aa);
}

// --- closures ---

#define CLOSED_LOW  0.05f // parts of the frames, in order of the opening
#define CLOSED_HIGH 0.95f
#define CLOSES      0.15f // parts of the range between these
#define OPENS       0.25f

// A mouth becomes closed below closes and open from opens on.
struct closed_levels {
    float closes, opens;
};

static int compare_openings(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Sorts openings. False if nothing can be told from them.
static bool closed_levels_of(struct closed_levels *ret, float *openings, int n)
{
    if (n < MEASURE_MIN_FRAMES)
        return false;
    qsort(openings, (size_t)n, sizeof(*openings), compare_openings);
    float low = openings[lroundf(CLOSED_LOW * (float)(n - 1))];
    float range = openings[lroundf(CLOSED_HIGH * (float)(n - 1))] - low;
    *ret = (struct closed_levels){low + CLOSES * range, low + OPENS * range};
    return range > 1e-6f;
}

// Frames begin … end - 1 of a curve.
struct closed_stretch {
    int begin, end;
};

// The first closed stretch that begins at frame `from` or later, where both curves are numbers.
// False: there is none.
static bool next_closed(const float *curve, const float *other, int n, int from,
                        const struct closed_levels *levels, struct closed_stretch *ret)
{
    int begin = from, end;
    while (begin < n && !(curve[begin] < levels->closes && !isnan(other[begin])))
        begin++;
    for (end = begin; end < n && curve[end] < levels->opens && !isnan(other[end]);)
        end++;
    *ret = (struct closed_stretch){begin, end};
    return begin < n;
}

static int count_closed(const float *curve, const float *other, int n,
                        const struct closed_levels *levels)
{
    int count = 0;
    struct closed_stretch s = {0, 0};
    while (next_closed(curve, other, n, s.end, levels, &s))
        count++;
    return count;
}

enum kb_code measure_closures(struct closures *ret, const float *truth, const float *test, int n,
                              struct kb_error *err)
{
    CLEANUP(kb_freep) float *openings = kb_calloc_checked((size_t)n + 1, sizeof(*openings));
    if (!openings)
        return kb_no_memory(err);
    int n_both = 0;
    for (int k = 0; k < n; k++)
        if (both(truth, test, n, k, 0))
            openings[n_both++] = truth[k];
    struct closed_levels levels;
    *ret = (struct closures){0};
    if (!closed_levels_of(&levels, openings, n_both))
        return KB_OK;
    ret->n_truth = count_closed(truth, test, n, &levels);
    ret->n_test = count_closed(test, truth, n, &levels);

    struct closed_stretch a, b;
    bool has_a = next_closed(truth, test, n, 0, &levels, &a);
    bool has_b = next_closed(test, truth, n, 0, &levels, &b);
    while (has_a && has_b) {
        bool before = b.end <= a.begin - MEASURE_CLOSED_NEAR;
        bool behind = b.begin >= a.end + MEASURE_CLOSED_NEAR;
        ret->n_matched += !before && !behind;
        if (!before)
            has_a = next_closed(truth, test, n, a.end, &levels, &a);
        if (!behind)
            has_b = next_closed(test, truth, n, b.end, &levels, &b);
    }
    return KB_OK;
}

double closures_precision(const struct closures *c)
{
    return c->n_test > 0 ? (double)c->n_matched / c->n_test : NAN;
}

double closures_recall(const struct closures *c)
{
    return c->n_truth > 0 ? (double)c->n_matched / c->n_truth : NAN;
}

double closures_f1(const struct closures *c)
{
    int n = c->n_truth + c->n_test;
    return n > 0 ? 2.0 * c->n_matched / n : NAN;
}

double measure_ratio(double truth, double test)
{
    if (isnan(truth) || isnan(test))
        return NAN;
    if (truth > 0)
        return test / truth;
    return test > 0 ? INFINITY : 1;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double measure_median(double *values, int n)
{
    int m = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(values[i]))
            values[m++] = values[i];
    if (m == 0)
        return NAN;
    qsort(values, (size_t)m, sizeof(*values), compare);
    return m % 2 ? values[m / 2] : (values[m / 2 - 1] + values[m / 2]) / 2;
}

// --- pictures ---

// Of the oval's 36 points these go from the cheek at the height of the mouth's corner, round the
// chin, to the other cheek.
#define JAW_FIRST (TRACK_OVAL_FIRST + 9)
#define JAW_LAST  (TRACK_OVAL_FIRST + 27)
#define N_CORNERS (JAW_LAST - JAW_FIRST + 2)

// Is (x, y) in the polygon, or at most grow away from it?
static bool covered(const float (*corners)[2], float grow, float x, float y)
{
    bool inside = false;
    for (int i = 0, j = N_CORNERS - 1; i < N_CORNERS; j = i++) {
        float ax = corners[j][0], ay = corners[j][1], bx = corners[i][0], by = corners[i][1];
        float ex = bx - ax, ey = by - ay, px = x - ax, py = y - ay;
        float t = (px * ex + py * ey) / fmaxf(ex * ex + ey * ey, 1e-6f);
        t = fminf(fmaxf(t, 0), 1);
        float dx = px - t * ex, dy = py - t * ey;
        if (dx * dx + dy * dy <= grow * grow)
            return true;
        if ((ay > y) != (by > y) && x < ax + (y - ay) / (by - ay) * ex)
            inside = !inside;
    }
    return inside;
}

static int clamp(float v, int high)
{
    return (int)fminf(fmaxf(v, 0), (float)high);
}

static void add_row(struct luma_error *sum, const uint8_t *a, const uint8_t *b, int from, int to)
{
    uint64_t squares = 0;
    for (int x = from; x < to; x++) {
        int d = a[x] - b[x];
        squares += (unsigned)(d * d);
    }
    sum->squares += (double)squares;
    sum->pixels += KB_MAX(to - from, 0);
}

void measure_outside(struct luma_error *sum, const AVFrame *truth, const AVFrame *test,
                     const float (*points)[2], float grow)
{
    int width = truth->width, height = truth->height;
    int area[4] = {0}; // the pixels that the mask can reach: x0, y0, x1, y1
    float corners[N_CORNERS][2];
    if (points) {
        memcpy(corners, points[JAW_FIRST], sizeof(corners[0]) * (N_CORNERS - 1));
        memcpy(corners[N_CORNERS - 1], points[track_point_of(2)], sizeof(corners[0]));
        float box[4] = {INFINITY, INFINITY, -INFINITY, -INFINITY};
        for (int i = 0; i < N_CORNERS; i++) {
            for (int k = 0; k < 2; k++) {
                box[k] = fminf(box[k], corners[i][k] - grow);
                box[k + 2] = fmaxf(box[k + 2], corners[i][k] + grow + 1);
            }
        }
        for (int k = 0; k < 4; k++)
            area[k] = clamp(box[k], k % 2 ? height : width);
    }

    for (int y = 0; y < height; y++) {
        const uint8_t *a = truth->data[0] + (ptrdiff_t)y * truth->linesize[0];
        const uint8_t *b = test->data[0] + (ptrdiff_t)y * test->linesize[0];
        if (y < area[1] || y >= area[3]) {
            add_row(sum, a, b, 0, width);
            continue;
        }
        add_row(sum, a, b, 0, area[0]);
        for (int x = area[0]; x < area[2]; x++)
            if (!covered((const float(*)[2])corners, grow, (float)x + 0.5f, (float)y + 0.5f))
                add_row(sum, a, b, x, x + 1);
        add_row(sum, a, b, area[2], width);
    }
}

double measure_psnr(const struct luma_error *sum)
{
    if (sum->squares <= 0)
        return INFINITY;
    return 10 * log10(255.0 * 255.0 * (double)sum->pixels / sum->squares);
}

// --- sharpness ---

#define BOX_GROW 0.3f // of the lips' box, on every side

// exp(-k^2 / (2 * 0.8^2)), divided by the sum over -3..3.
#define RADIUS 3
static const float gaussian[RADIUS + 1] = {0.49867645f, 0.22831072f, 0.02191031f, 0.00044074f};

// The box goes through in tiles, so that nothing is allocated and all of a tile stays in the cache.
// A Laplacian needs the blurred pixels next to it, and they what lies RADIUS further.
#define TILE   64
#define MARGIN (RADIUS + 1)

void measure_lips_box(const float (*points)[2], float ret[4])
{
    const float *first = points[TRACK_OUTER_FIRST];
    float box[4] = {first[0], first[1], first[0], first[1]};
    for (int i = TRACK_OUTER_FIRST + 1; i < TRACK_OUTER_FIRST + N_LIP_POINTS; i++) {
        for (int k = 0; k < 2; k++) {
            box[k] = fminf(box[k], points[i][k]);
            box[k + 2] = fmaxf(box[k + 2], points[i][k]);
        }
    }
    for (int k = 0; k < 2; k++) {
        float grow = BOX_GROW * (box[k + 2] - box[k]);
        ret[k] = box[k] - grow;
        ret[k + 2] = box[k + 2] + grow;
    }
}

// dst[i] is the Gaussian over seven values of src, step apart, of which the middle one is
// src[i + 3 * step].
static void blur(float *dst, const float *src, int step, int n)
{
    for (int i = 0; i < n; i++) {
        const float *middle = src + i + RADIUS * step;
        float sum = gaussian[0] * middle[0];
        for (int k = 1; k <= RADIUS; k++)
            sum += gaussian[k] * (middle[-k * step] + middle[k * step]);
        dst[i] = sum;
    }
}

// Sum of the squares of the Laplacian over one tile of at most TILE x TILE pixels.
static double laplacian_squares(const AVFrame *frame, int x0, int y0, int width, int height)
{
    float line[TILE + 2 * MARGIN], across[TILE + 2 * MARGIN][TILE + 2];
    assert(width > 0 && width <= TILE && height > 0 && height <= TILE);
    for (int r = 0; r < height + 2 * MARGIN; r++) {
        int y = KB_MIN(KB_MAX(y0 + r - MARGIN, 0), frame->height - 1);
        const uint8_t *luma = frame->data[0] + (ptrdiff_t)y * frame->linesize[0];
        for (int i = 0; i < width + 2 * MARGIN; i++)
            line[i] = luma[KB_MIN(KB_MAX(x0 + i - MARGIN, 0), frame->width - 1)];
        blur(across[r], line, 1, width + 2);
    }

    float blurred[TILE + 2][TILE + 2];
    for (int r = 0; r < height + 2; r++)
        blur(blurred[r], across[r], TILE + 2, width + 2);
    double sum = 0;
    for (int r = 1; r <= height; r++) {
        float squares = 0; // of one line: its rounding is far below that of the luma
        for (int i = 1; i <= width; i++) {
            float v = blurred[r][i - 1] + blurred[r][i + 1] + blurred[r - 1][i] +
                      blurred[r + 1][i] - 4 * blurred[r][i];
            squares += v * v;
        }
        sum += (double)squares;
    }
    return sum;
}

double measure_sharpness(const AVFrame *frame, const float box[4])
{
    int area[4];
    for (int k = 0; k < 4; k++)
        area[k] =
            clamp(k < 2 ? floorf(box[k]) : ceilf(box[k]), k % 2 ? frame->height : frame->width);
    if (area[2] <= area[0] || area[3] <= area[1])
        return NAN;
    double sum = 0;
    for (int y = area[1]; y < area[3]; y += TILE)
        for (int x = area[0]; x < area[2]; x += TILE)
            sum += laplacian_squares(frame, x, y, KB_MIN(TILE, area[2] - x),
                                     KB_MIN(TILE, area[3] - y));
    double rms = sqrt(sum / (area[2] - area[0]) / (area[3] - area[1]));
    return rms < 0.001 ? 0 : rms * (double)yuv_matrix_of(frame).y_scale;
}
