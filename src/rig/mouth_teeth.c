// Where this person's rows of teeth end. Upper teeth stand still with the skull and lower ones move
// with the jaw; between them an open mouth is dark. So, over all pictures in which the jaw is open,
// the upper row ends where on the average light turns to dark most, at a place that is the same in
// all of them, and the lower row begins where dark turns to light most, at a place that goes down
// with the jaw. From person to person that differs by the height of a tooth.
#include "rig/mouth_internal.h"

#include <math.h>

// Canonical units. Where nothing is found; of the drawn mouth too.
#define UPPER_END  0.020f
#define LOWER_END  (-0.004f)
#define FROM       (-0.020f) // looked for, below the seam
#define TO         0.040f
#define STEP       0.001f
#define N_PLACES   61
#define WINDOW     0.006f // compared above and below
#define RIM        0.004f // of the hole: lips and their shadows
#define HALF       0.030f // of the incisors, from the middle
#define ROW_PLACES 31     // looked at in their width
#define JAW_OPEN   0.012f
#define PICTURES   3     // that agree, at least
#define CONTRAST   0.08f // share of the skin's light

// Mean of a row of the picture over the incisors' width, at a place below the seam. False outside.
static bool row_at(const struct mouth_entry *e, float seam, float below, struct mouth_light *ret)
{
    float middle = (e->inner[0][0] + e->inner[LIPS_RIGHT][0]) / 2;
    int n = 0;
    *ret = (struct mouth_light){{0}};
    for (int i = 0; i < ROW_PLACES; i++) {
        float x = HALF * (2 * (float)i / (ROW_PLACES - 1) - 1);
        const float at[3] = {middle + x, seam + below, e->inner[5][2]};
        float px[2];
        pose_apply(&e->pose, at, px);
        float u = (px[0] - e->x0) * e->scale, v = (px[1] - e->y0) * e->scale;
        if (!(u >= 0 && v >= 0 && u < (float)e->picture.width && v < (float)e->picture.height))
            continue;
        for (int k = 0; k < 3; k++)
            ret->yuv[k] +=
                e->picture
                    .planes[k][((int)v >> (k > 0)) * e->picture.strides[k] + ((int)u >> (k > 0))];
        n++;
    }
    for (int k = 0; k < 3 && n; k++)
        ret->yuv[k] /= (float)n;
    return n > 0;
}

// The lips' edges in the middle, below the seam.
static void hole_of(const struct mouth_entry *e, float seam, float *ret_up, float *ret_down)
{
    float middle = (e->inner[0][0] + e->inner[LIPS_RIGHT][0]) / 2;
    *ret_up = lip_edge_at(e->inner, false, middle).y - seam;
    *ret_down = lip_edge_at(e->inner, true, middle).y - seam;
}

// Luma of all rows from PROFILE_FROM below the seam on; < 0 outside the picture.
#define PROFILE_FROM (FROM - 0.010f)
#define N_PROFILE    200

static void read_profile(const struct mouth_entry *e, float seam, float *ret)
{
    for (int i = 0; i < N_PROFILE; i++) {
        struct mouth_light row;
        bool there = row_at(e, seam, PROFILE_FROM + STEP * (float)i, &row);
        ret[i] = there ? row.yuv[0] : -1;
    }
}

// Mean of places [from, to) below the seam; < 0 where one lies outside the picture.
static float mean_of(const float *profile, float from, float to)
{
    int first = KB_MAX((int)lrintf((from - PROFILE_FROM) / STEP), 0);
    int end = KB_MIN((int)lrintf((to - PROFILE_FROM) / STEP), N_PROFILE);
    float sum = 0;
    for (int i = first; i < end; i++) {
        if (profile[i] < 0)
            return -1;
        sum += profile[i];
    }
    return end > first ? sum / (float)(end - first) : -1;
}

// What the rows of all pictures tell of an edge at each place, and how many of them.
struct edge_votes {
    float sum[N_PLACES];
    int n[N_PLACES];
};

static void vote(struct edge_votes *v, const struct mouth_entry *e, float seam,
                 const float *profile, bool lower)
{
    float up, down;
    hole_of(e, seam, &up, &down);
    for (int i = 0; i < N_PLACES; i++) {
        float y = FROM + STEP * (float)i + (lower ? e->jaw : 0);
        if (!(y > up + RIM && y < down - RIM))
            continue;
        float above = mean_of(profile, fmaxf(y - WINDOW, up), y);
        float below = mean_of(profile, y, fminf(y + WINDOW, down));
        if (above < 0 || below < 0)
            continue;
        v->sum[i] += (lower ? below - above : above - below) / fmaxf(e->light.yuv[0] - 16, 16);
        v->n[i]++;
    }
}

static float best_of(const struct edge_votes *v, float otherwise)
{
    float best = CONTRAST, at = otherwise;
    for (int i = 0; i < N_PLACES; i++) {
        if (v->n[i] >= PICTURES && v->sum[i] / (float)v->n[i] > best) {
            best = v->sum[i] / (float)v->n[i];
            at = FROM + STEP * (float)i;
        }
    }
    return at;
}

// --- of one picture ---
//
// How far the jaw is open is told from the chin, to a few pixels; where this picture's own edges
// are seen near those of all, they are there.

#define UPPER_NEAR 0.006f
#define LOWER_NEAR 0.014f
#define FINE       0.003f // compared above and below

// The strongest edge in [from, to], below the seam; `otherwise` if there is none.
static float edge_in(const struct mouth_entry *e, const float *profile, float from, float to,
                     bool lower, float otherwise)
{
    float light = fmaxf(e->light.yuv[0] - 16, 16), best = CONTRAST, at = otherwise;
    int n = to >= from ? (int)((to - from) / STEP) + 1 : 0;
    for (int i = 0; i < n; i++) {
        float y = from + STEP * (float)i;
        float above = mean_of(profile, y - FINE, y), below = mean_of(profile, y, y + FINE);
        float contrast = (lower ? below - above : above - below) / light;
        if (above >= 0 && below >= 0 && contrast > best) {
            best = contrast;
            at = y;
        }
    }
    return at;
}

static void find_edges(const struct mouths *m, struct mouth_entry *e, float seam)
{
    float profile[N_PROFILE], up, down, upper = m->upper_end, lower = m->lower_end + e->jaw;
    if (!m->drawn) {
        read_profile(e, seam, profile);
        hole_of(e, seam, &up, &down);
        up += RIM;
        down -= RIM;
        upper = edge_in(e, profile, fmaxf(upper - UPPER_NEAR, up), fminf(upper + UPPER_NEAR, down),
                        false, upper);
        lower = edge_in(e, profile, fmaxf(lower - LOWER_NEAR, fmaxf(up, upper)),
                        fminf(lower + LOWER_NEAR, down), true, lower);
    }
    e->upper_end = upper;
    e->lower_end = fmaxf(lower, upper);
}

// --- the cavity ---

#define CAVITY_GAP  0.010f // between the rows at least, where it is looked for
#define CAVITY_MOST 0.5f   // of the skin's light: more is no cavity
// Where none is seen: shares of the skin's luma, and of its colour at equal luma.
#define CAVITY_LUMA 0.22f
#define CAVITY_U    0.9f
#define CAVITY_V    2.0f

// The darkest row of what a picture has between its teeth, away from their edges.
static bool cavity_of(const struct mouth_entry *e, float seam, struct mouth_light *ret)
{
    float up, down;
    hole_of(e, seam, &up, &down);
    float from = fmaxf(e->upper_end, up + RIM), to = fminf(e->lower_end, down - RIM);
    float away = (to - from) / 4;
    if (to - from < CAVITY_GAP)
        return false;
    ret->yuv[0] = 16 + CAVITY_MOST * (e->light.yuv[0] - 16);
    bool found = false;
    int n_rows = (int)((to - from - 2 * away) / STEP);
    for (int i = 0; i < n_rows; i++) {
        struct mouth_light row;
        if (row_at(e, seam, from + away + STEP * (float)i, &row) && row.yuv[0] < ret->yuv[0]) {
            *ret = row;
            found = true;
        }
    }
    return found;
}

// The mean over all pictures that show one.
static void find_cavity(struct mouths *m, float seam)
{
    struct mouth_light cavity = {{0}}, skin = {{0}};
    int n = 0;
    for (int i = 0; i < m->n && !m->drawn; i++) {
        struct mouth_light one = {{0}};
        if (!cavity_of(&m->entries[i], seam, &one))
            continue;
        n++;
        for (int k = 0; k < 3; k++) {
            cavity.yuv[k] += one.yuv[k];
            skin.yuv[k] += m->entries[i].light.yuv[k];
        }
    }
    if (n) {
        for (int k = 0; k < 3; k++) {
            m->cavity.yuv[k] = cavity.yuv[k] / (float)n;
            m->cavity_skin.yuv[k] = skin.yuv[k] / (float)n;
        }
        return;
    }
    m->cavity_skin = m->entries[0].light;
    const float *yuv = m->cavity_skin.yuv;
    m->cavity = (struct mouth_light){{16 + CAVITY_LUMA * (yuv[0] - 16),
                                      128 + CAVITY_LUMA * CAVITY_U * (yuv[1] - 128),
                                      128 + CAVITY_LUMA * CAVITY_V * (yuv[2] - 128)}};
}

void mouth_find_teeth(struct mouths *m)
{
    float seam = mouth_seam(m);
    struct edge_votes upper = {{0}, {0}}, lower = {{0}, {0}};
    for (int i = 0; i < m->n && !m->drawn; i++) {
        float profile[N_PROFILE];
        if (m->entries[i].jaw < JAW_OPEN)
            continue;
        read_profile(&m->entries[i], seam, profile);
        vote(&upper, &m->entries[i], seam, profile, false);
        vote(&lower, &m->entries[i], seam, profile, true);
    }
    m->upper_end = best_of(&upper, UPPER_END);
    m->lower_end = best_of(&lower, LOWER_END);
    for (int i = 0; i < m->n; i++)
        find_edges(m, &m->entries[i], seam);
    find_cavity(m, seam);
}
