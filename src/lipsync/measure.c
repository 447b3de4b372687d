#include "lipsync/measure.h"

#include "face/warp.h"

#include <math.h>
#include <string.h>

#define N_LIP_POINTS (2 * TRACK_N_LIPS)
#define N_STILL      (TRACK_N_POINTS - TRACK_OTHER_FIRST)

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

float measure_jitter(const float (*before)[2], const float (*at)[2], const float (*after)[2])
{
    float sum = 0;
    for (int i = TRACK_OUTER_FIRST; i < TRACK_OUTER_FIRST + N_LIP_POINTS; i++)
        sum += hypotf(before[i][0] - 2 * at[i][0] + after[i][0],
                      before[i][1] - 2 * at[i][1] + after[i][1]);
    return sum / N_LIP_POINTS / measure_face_width(at);
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

int measure_lag(const float *truth, const float *test, int n, double *ret_r)
{
    int best_lag = 0;
    double best = -INFINITY;
    for (int i = 0; i <= 2 * MEASURE_MAX_LAG; i++) {
        int lag = (i + 1) / 2 * (i % 2 ? 1 : -1); // 0, 1, -1, 2, -2 …
        struct moments m = moments_of(truth, test, n, lag);
        if (m.n < MEASURE_MIN_FRAMES || flat(m.aa, m.n) || flat(m.bb, m.n))
            continue;
        double r = m.ab / sqrt(m.aa * m.bb);
        if (r > best + 1e-9) {
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
