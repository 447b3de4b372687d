// How a canonical mesh comes about: every frame's mesh is laid onto one of them by a similarity of
// the points that speech does not move, the mean of all laid so is the next one; after four rounds
// it stands. Then it is turned to look straight ahead and brought into canonical units.
#include "rig/person.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FRAMES 600
#define ROUNDS     4
#define SMOOTH_SIGMA                                                                               \
    0.7f // frames; landmarks shake by a fraction of a pixel, lips move in two frames
#define CLOSED_SHARE 0.15
#define SEAM_LEFT    0.25f // of what the most closed frames leave open
// A face whose outer eye corners are nearer than this (pixels) has no lips to move.
#define EYES_APART_MIN 6.0f
// A mesh off the mean one by more than this (canonical units, root mean square) is not this face;
// real films have 0.002 to 0.004.
#define MISFIT_MAX 0.06f

// Forehead, brows, eyes, ridge of the nose and temples: FaceMesh points that speech leaves alone.
// The first ones give the canonical units: where the mean face has them in the crop of side 1,
// which makes lips of different people comparable.
#define N_RIGID 28
static const uint16_t rigid_ids[N_RIGID] = {33,  133, 362, 263, 168, 6,   197, 195, 5,  4,
                                            10,  151, 9,   8,   67,  109, 338, 297, 70, 105,
                                            300, 334, 127, 356, 54,  284, 103, 332};
#define N_UNITS 10
static const float units[N_UNITS][2] = {
    {0.28f, 0.32f},       {0.41383f, 0.32542f}, {0.58593f, 0.32513f}, {0.72f, 0.32f},
    {0.49898f, 0.29479f}, {0.49901f, 0.33431f}, {0.49948f, 0.37137f}, {0.49989f, 0.40426f},
    {0.50013f, 0.44049f}, {0.50057f, 0.48353f}};

typedef float mesh_points[TRACK_N_POINTS][3];

static void rigid_of(const float (*points)[3], float (*ret)[3])
{
    for (int i = 0; i < N_RIGID; i++)
        memcpy(ret[i], points[track_point_of(rigid_ids[i])], sizeof(ret[i]));
}

static bool all_finite(const float (*points)[3])
{
    // One sum finds any NaN or infinity; of finite pixels it cannot overflow a double.
    double sum = 0;
    for (int i = 0; i < TRACK_N_POINTS; i++)
        for (int k = 0; k < 3; k++)
            sum += (double)points[i][k];
    return isfinite(sum);
}

// Pose of a mesh against the canonical one; false if it makes none or lies badly.
static bool pose_of(const float (*canonical)[3], const float (*picture)[3], struct pose *ret)
{
    float a[N_RIGID][3], b[N_RIGID][3];
    rigid_of(canonical, a);
    rigid_of(picture, b);
    if (!all_finite(picture) || hypotf(b[3][0] - b[0][0], b[3][1] - b[0][1]) < EYES_APART_MIN ||
        !pose_fit(ret, (const float(*)[3])a, (const float(*)[3])b, NULL, N_RIGID))
        return false;
    double misfit = 0;
    for (int i = 0; i < N_RIGID; i++) {
        float c[3];
        pose_invert(ret, b[i], c);
        for (int k = 0; k < 3; k++)
            misfit += (double)((c[k] - a[i][k]) * (c[k] - a[i][k]));
    }
    // In units of the distance of the eye corners, for the first canonical mesh is in pixels.
    double eyes = hypot((double)(a[3][0] - a[0][0]), (double)(a[3][1] - a[0][1])) / 0.44;
    return sqrt(misfit / N_RIGID) < (double)MISFIT_MAX * eyes;
}

static void unpose(const struct pose *p, const float (*picture)[3], float (*ret)[3])
{
    for (int i = 0; i < TRACK_N_POINTS; i++)
        pose_invert(p, picture[i], ret[i]);
}

float lips_aperture(const float (*canonical)[3])
{
    const float(*inner)[3] = canonical + TRACK_INNER_FIRST;
    float sum = 0;
    for (int i = 1; i < TRACK_N_LIPS / 2; i++)
        sum += inner[TRACK_N_LIPS - i][1] - inner[i][1];
    return sum / (TRACK_N_LIPS / 2 - 1);
}

float person_jaw(const struct person *p, const float (*canonical)[3])
{
    static const uint16_t ids[] = {17, 18, 200, 152};
    float sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        sum += canonical[track_point_of(ids[i])][1] - p->neutral[track_point_of(ids[i])][1];
    return sum / (float)ARRAY_LEN(ids);
}

bool person_pose(const struct person *p, const float (*picture)[3], struct pose *ret)
{
    return pose_of((const float(*)[3])p->mean, picture, ret);
}

// The points of a frame, smoothed over time; a damaged neighbour does not take it along.
static bool points_at(const struct track *t, int face, int frame, float (*ret)[3])
{
    if (!track_points3_smooth(t, face, frame, SMOOTH_SIGMA, ret))
        return false;
    return all_finite((const float(*)[3])ret) || track_points3_smooth(t, face, frame, 0, ret);
}

// --- the canonical mesh ---

struct film {
    mesh_points *picture; // of the frames that are looked at
    int *frames;          // which these are
    int n;
};

static void film_clear(struct film *f)
{
    free(f->picture);
    free(f->frames);
}

// Up to MAX_FRAMES of the frames in which the face is present and its points are numbers.
static enum kb_code film_read(struct film *ret, const struct track *t, int face,
                              const struct cancel *cancel, struct kb_error *err)
{
    const struct track_info *info = track_info(t);
    CLEANUP(kb_freep) int *present = kb_calloc_checked((size_t)info->n_frames + 1, sizeof(int));
    ret->picture = kb_calloc_checked(MAX_FRAMES, sizeof(*ret->picture));
    ret->frames = kb_calloc_checked(MAX_FRAMES, sizeof(*ret->frames));
    if (!present || !ret->picture || !ret->frames)
        return kb_no_memory(err);
    int n = 0;
    struct track_face seen;
    for (int i = 0; i < info->n_frames; i++) {
        if (i % 256 == 0 && cancel_requested(cancel))
            return cancel_check(cancel, err);
        track_face(t, face, i, &seen);
        if (seen.present)
            present[n++] = i;
    }
    int wanted = KB_MIN(n, MAX_FRAMES);
    for (int i = 0; i < wanted; i++) {
        int frame = present[(int)((int64_t)i * n / wanted)];
        if (points_at(t, face, frame, ret->picture[ret->n]) &&
            all_finite((const float(*)[3])ret->picture[ret->n]))
            ret->frames[ret->n++] = frame;
    }
    return KB_OK;
}

// Lays every frame onto the canonical mesh and takes the mean; false if none lies on it.
static bool mean_round(const struct film *f, mesh_points canonical)
{
    double sum[TRACK_N_POINTS][3];
    memset(sum, 0, sizeof(sum));
    int n = 0;
    for (int i = 0; i < f->n; i++) {
        struct pose p;
        mesh_points laid;
        if (!pose_of((const float(*)[3])canonical, (const float(*)[3])f->picture[i], &p))
            continue;
        unpose(&p, (const float(*)[3])f->picture[i], laid);
        for (int j = 0; j < TRACK_N_POINTS; j++)
            for (int k = 0; k < 3; k++)
                sum[j][k] += (double)laid[j][k];
        n++;
    }
    for (int j = 0; n && j < TRACK_N_POINTS; j++)
        for (int k = 0; k < 3; k++)
            canonical[j][k] = (float)(sum[j][k] / n);
    return n > 0;
}

static bool normalise(float v[3])
{
    float length = sqrtf(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    for (int k = 0; k < 3; k++)
        v[k] /= length;
    return length > 0 && isfinite(length);
}

// Turns the mesh to look straight ahead: x from eye to eye, y down from forehead to chin.
static bool make_frontal(mesh_points m)
{
    const float *right = m[track_point_of(33)], *left = m[track_point_of(263)];
    const float *top = m[track_point_of(10)], *chin = m[track_point_of(152)];
    float axes[3][3];
    for (int k = 0; k < 3; k++) {
        axes[0][k] = left[k] - right[k];
        axes[1][k] = chin[k] - top[k];
    }
    if (!normalise(axes[0]))
        return false;
    float along = 0;
    for (int k = 0; k < 3; k++)
        along += axes[1][k] * axes[0][k];
    for (int k = 0; k < 3; k++)
        axes[1][k] -= along * axes[0][k];
    if (!normalise(axes[1]))
        return false;
    for (int k = 0; k < 3; k++)
        axes[2][k] = axes[0][(k + 1) % 3] * axes[1][(k + 2) % 3] -
                     axes[0][(k + 2) % 3] * axes[1][(k + 1) % 3];
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        float p[3];
        memcpy(p, m[i], sizeof(p));
        for (int j = 0; j < 3; j++)
            m[i][j] = axes[j][0] * p[0] + axes[j][1] * p[1] + axes[j][2] * p[2];
    }
    return true;
}

// Brings a frontal mesh into canonical units, its z about that of the eye corners. The least
// squares of a 2-D similarity (no reflection) over the ten points.
static bool make_canonical_units(mesh_points m)
{
    double from[2] = {0}, to[2] = {0}, dot = 0, cross = 0, squares = 0;
    for (int i = 0; i < N_UNITS; i++)
        for (int k = 0; k < 2; k++) {
            from[k] += (double)m[track_point_of(rigid_ids[i])][k] / N_UNITS;
            to[k] += (double)units[i][k] / N_UNITS;
        }
    for (int i = 0; i < N_UNITS; i++) {
        const float *p = m[track_point_of(rigid_ids[i])];
        double x = (double)p[0] - from[0], y = (double)p[1] - from[1];
        double u = (double)units[i][0] - to[0], v = (double)units[i][1] - to[1];
        dot += x * u + y * v;
        cross += x * v - y * u;
        squares += x * x + y * y;
    }
    double c = dot / squares, s = cross / squares, scale = hypot(c, s);
    if (!(squares > 0) || !isfinite(scale) || scale <= 0)
        return false;
    double z0 = (double)(m[track_point_of(33)][2] + m[track_point_of(263)][2]) / 2;
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        double x = (double)m[i][0] - from[0], y = (double)m[i][1] - from[1];
        m[i][0] = (float)(c * x - s * y + to[0]);
        m[i][1] = (float)(s * x + c * y + to[1]);
        m[i][2] = (float)(((double)m[i][2] - z0) * scale);
    }
    return true;
}

// A face is about 1 high: what is further away than this (canonical units) belongs to none, and a
// mouth drawn for it would fill the memory.
#define REACH_MAX 4.0f

static bool all_near(const float (*m)[3])
{
    for (int i = 0; i < TRACK_N_POINTS; i++)
        for (int k = 0; k < 3; k++)
            if (!(fabsf(m[i][k]) < REACH_MAX))
                return false;
    return true;
}

// A mouth of a mouth's width between the nose and the chin.
static bool looks_like_a_face(const float (*m)[3])
{
    const float *left = m[TRACK_INNER_FIRST], *right = m[TRACK_INNER_FIRST + TRACK_N_LIPS / 2];
    float width = right[0] - left[0], y = (left[1] + right[1]) / 2;
    return all_near(m) && width > 0.06f && width < 0.6f && y > m[track_point_of(4)][1] &&
           y < m[track_point_of(152)][1];
}

static bool canonicalise(const struct film *f, mesh_points ret)
{
    // Frames that lie badly on the first mesh might be the good ones: begin with another then.
    static const double starts[] = {0.5, 0.25, 0.75, 0, 0.999};
    for (size_t s = 0; f->n && s < ARRAY_LEN(starts); s++) {
        memcpy(ret, f->picture[(int)(starts[s] * f->n)], sizeof(mesh_points));
        bool good = true;
        for (int i = 0; good && i < ROUNDS; i++)
            good = mean_round(f, ret);
        if (good && make_frontal(ret) && make_canonical_units(ret) && mean_round(f, ret) &&
            looks_like_a_face((const float(*)[3])ret))
            return true;
    }
    return false;
}

// --- the closed mouth, and how far it opens ---

struct opening {
    float aperture;
    int index; // in the film
};

static int compare_openings(const void *a, const void *b)
{
    float x = ((const struct opening *)a)->aperture, y = ((const struct opening *)b)->aperture;
    return (x > y) - (x < y);
}

// Closes the lips to SEAM_LEFT. The lower lip does more of it than the upper, as its share of an
// opening is larger, and the rings around follow, so that lips keep their thickness even in a
// picture in which the mouth was wide open.
static void close_seam(mesh_points m)
{
    const float upper_share = 0.3f, outer_share = 0.85f;
    for (int i = 1; i < TRACK_N_LIPS / 2; i++) {
        int upper = i, lower = TRACK_N_LIPS - i;
        for (int k = 0; k < 3; k++) {
            float closing = (1 - SEAM_LEFT) *
                            (m[TRACK_INNER_FIRST + lower][k] - m[TRACK_INNER_FIRST + upper][k]);
            float up = closing * upper_share, down = closing * (1 - upper_share);
            m[TRACK_INNER_FIRST + upper][k] += up;
            m[TRACK_INNER_FIRST + lower][k] -= down;
            m[TRACK_MIDDLE_FIRST + upper][k] += up;
            m[TRACK_MIDDLE_FIRST + lower][k] -= down;
            m[TRACK_OUTER_FIRST + upper][k] += up * outer_share;
            m[TRACK_OUTER_FIRST + lower][k] -= down * outer_share;
        }
    }
}

// Speech opens and closes the mouth within a tenth of a second, by more than landmarks shake. Films
// of speakers have a spread (5 % to 95 %) of 0.036 to 0.05 and change within 0.12 s by 0.8 to 1.4
// times their standard deviation; a silent face has a spread of 0.005.
#define SPREAD_MIN   0.014f
#define CHANGE_US    100000
#define CHANGE_MIN   0.35
#define CHANGE_REACH 12 // frames to look ahead for

static bool aperture_at(const struct person *p, const struct track *t, int face, int frame,
                        float *ret)
{
    struct posed posed;
    if (!person_at(p, t, face, frame, &posed))
        return false;
    *ret = lips_aperture((const float(*)[3])posed.canonical);
    return true;
}

// Root mean square of how the opening differs CHANGE_US later, in standard deviations.
static double change_of(const struct person *p, const struct track *t, int face,
                        const struct film *f, const struct opening *openings, int n)
{
    double mean = 0, squares = 0, changes = 0;
    int n_changes = 0;
    for (int i = 0; i < n; i++)
        mean += (double)openings[i].aperture / n;
    for (int i = 0; i < n; i++) {
        double d = (double)openings[i].aperture - mean;
        squares += d * d / n;
        int frame = f->frames[openings[i].index], later = frame + 1;
        while (later < track_info(t)->n_frames - 1 && later < frame + CHANGE_REACH &&
               track_pts_us(t, later) < track_pts_us(t, frame) + CHANGE_US)
            later++;
        float then;
        if (later >= track_info(t)->n_frames || !aperture_at(p, t, face, later, &then))
            continue;
        d = (double)(then - openings[i].aperture);
        changes += d * d;
        n_changes++;
    }
    return n_changes && squares > 0 ? sqrt(changes / n_changes / squares) : 0;
}

static bool measure_mouth(struct person *p, const struct track *t, int face, const struct film *f,
                          struct opening *openings)
{
    int n = 0;
    mesh_points laid;
    struct pose pose;
    for (int i = 0; i < f->n; i++) {
        if (!person_pose(p, (const float(*)[3])f->picture[i], &pose))
            continue;
        unpose(&pose, (const float(*)[3])f->picture[i], laid);
        openings[n++] = (struct opening){lips_aperture((const float(*)[3])laid), i};
    }
    if (!n)
        return false;
    qsort(openings, (size_t)n, sizeof(*openings), compare_openings);
    p->n_frames = n;
    p->aperture_low = openings[(int)(0.05 * (n - 1))].aperture;
    p->aperture_high = openings[(int)(0.95 * (n - 1) + 0.5)].aperture;

    int closed = KB_MAX((int)(CLOSED_SHARE * n), 1);
    memset(p->neutral, 0, sizeof(p->neutral));
    for (int i = 0; i < closed; i++) {
        const float(*picture)[3] = (const float(*)[3])f->picture[openings[i].index];
        if (person_pose(p, picture, &pose))
            unpose(&pose, picture, laid);
        for (int j = 0; j < TRACK_N_POINTS; j++)
            for (int k = 0; k < 3; k++)
                p->neutral[j][k] += laid[j][k] / (float)closed;
    }
    if (!all_near((const float(*)[3])p->neutral))
        return false;
    close_seam(p->neutral);
    p->speaks = p->aperture_high - p->aperture_low > SPREAD_MIN &&
                change_of(p, t, face, f, openings, n) > CHANGE_MIN;
    return true;
}

enum kb_code person_fit(struct person *ret, const struct track *t, int face,
                        const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(film_clear) struct film film = {0};
    struct person p = {0};
    enum kb_code code = film_read(&film, t, face, cancel, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) struct opening *openings = kb_alloc(MAX_FRAMES * sizeof(*openings));
    if (!canonicalise(&film, p.mean) || !measure_mouth(&p, t, face, &film, openings))
        return kb_fail(err, KB_BAD_INPUT,
                       _("face %d cannot be moved: in none of the %d frames looked at do its "
                         "landmarks make a face (too small, a mask, or a drawing of another kind); "
                         "choose another face or another video"),
                       face + 1, film.n);
    code = cancel_check(cancel, err);
    if (code == KB_OK)
        *ret = p;
    return code;
}

bool person_at(const struct person *p, const struct track *t, int face, int frame,
               struct posed *ret)
{
    if (!points_at(t, face, frame, ret->picture) ||
        !person_pose(p, (const float(*)[3])ret->picture, &ret->pose))
        return false;
    unpose(&ret->pose, (const float(*)[3])ret->picture, ret->canonical);
    struct track_face seen;
    track_face(t, face, frame, &seen);
    ret->score = seen.score;
    return true;
}
