#include "rig/mouth_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Less than this between the lips (mean gap, canonical units) shows nothing but shadow; so do fewer
// pixels than these.
#define OPEN_MIN        0.022f
#define OPEN_MIN_PIXELS 3.0f
#define SIDE_MIN        8 // of a picture: its chroma must have the four samples of rig/sample.h

struct lip_edge lip_edge_at(const float (*inner)[3], bool lower, float x)
{
    // Ring points from the left corner to the right one, along this edge.
    const float *before = inner[0];
    if (x <= before[0])
        return (struct lip_edge){before[1], before[2]};
    for (int i = 1; i <= LIPS_RIGHT; i++) {
        const float *after = inner[lower ? (TRACK_N_LIPS - i) % TRACK_N_LIPS : i];
        if (x < after[0]) {
            float at = (x - before[0]) / (after[0] - before[0]);
            return (struct lip_edge){before[1] + at * (after[1] - before[1]),
                                     before[2] + at * (after[2] - before[2])};
        }
        if (after[0] > before[0])
            before = after;
    }
    return (struct lip_edge){before[1], before[2]};
}

float mouth_seam(const struct mouths *m)
{
    const float(*neutral)[3] = m->person.neutral + TRACK_INNER_FIRST;
    return (neutral[LIPS_RIGHT / 2][1] + neutral[TRACK_N_LIPS - LIPS_RIGHT / 2][1]) / 2;
}

float mouth_shadow(float below_upper, float above_lower)
{
    return (1 - 0.55f * expf(-fmaxf(below_upper, 0) / 0.008f)) *
           (1 - 0.2f * expf(-fmaxf(above_lower, 0) / 0.006f));
}

// --- light ---

// Upper lip, cheeks beside the mouth, chin.
static const uint16_t skin_ids[] = {165, 92,  186, 391, 322, 410, 164, 167, 393,
                                    18,  200, 201, 421, 216, 436, 57,  287};

static int compare_luma(const void *a, const void *b)
{
    float x = ((const struct mouth_light *)a)->yuv[0], y = ((const struct mouth_light *)b)->yuv[0];
    return (x > y) - (x < y);
}

// Mean of the patch about a point; false if its middle lies outside.
static bool patch_light(const struct mouth_picture *p, const float *at, int radius,
                        struct mouth_light *ret)
{
    if (!(at[0] >= 0 && at[1] >= 0 && at[0] < (float)p->width && at[1] < (float)p->height))
        return false;
    for (int plane = 0; plane < 3; plane++) {
        int shift = plane > 0, width = (p->width + shift) >> shift;
        int height = (p->height + shift) >> shift, r = radius >> shift;
        int x = (int)at[0] >> shift, y = (int)at[1] >> shift, n = 0;
        float sum = 0;
        for (int v = KB_MAX(y - r, 0); v <= KB_MIN(y + r, height - 1); v++)
            for (int u = KB_MAX(x - r, 0); u <= KB_MIN(x + r, width - 1); u++, n++)
                sum += p->planes[plane][v * p->strides[plane] + u];
        ret->yuv[plane] = sum / (float)n;
    }
    return true;
}

struct mouth_light mouth_light_of(const struct mouth_picture *planes, const float (*points)[3])
{
    struct mouth_light found[ARRAY_LEN(skin_ids)], mean = {{0}};
    int n = 0;
    const float *right = points[track_point_of(33)], *left = points[track_point_of(263)];
    float eyes = hypotf(left[0] - right[0], left[1] - right[1]);
    int radius = (int)fminf(fmaxf(eyes / 40, 1), 8);
    for (size_t i = 0; i < ARRAY_LEN(skin_ids); i++)
        n += patch_light(planes, points[track_point_of(skin_ids[i])], radius, &found[n]);
    if (!n)
        return (struct mouth_light){{128, 128, 128}};
    // The middle half by luma: a moustache, a highlight or a hand does not count.
    qsort(found, (size_t)n, sizeof(found[0]), compare_luma);
    int first = n / 4, end = n - n / 4;
    for (int i = first; i < end; i++)
        for (int k = 0; k < 3; k++)
            mean.yuv[k] += found[i].yuv[k] / (float)(end - first);
    return mean;
}

static struct mouth_picture picture_of(const struct track_mouth *t)
{
    return (struct mouth_picture){{t->planes[0], t->planes[1], t->planes[2]},
                                  {t->width, t->width / 2, t->width / 2},
                                  t->width,
                                  t->height};
}

static struct mouth_light light_of(const struct track_mouth *t)
{
    struct mouth_picture picture = picture_of(t);
    float points[TRACK_N_POINTS][3];
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        points[i][0] = (t->points[i][0] - t->x0) * t->scale;
        points[i][1] = (t->points[i][1] - t->y0) * t->scale;
        points[i][2] = 0;
    }
    return mouth_light_of(&picture, (const float(*)[3])points);
}

// Pixels in a canonical unit where the face is largest, of a few frames all over the film.
static float film_scale(const struct person *person, const struct track *t, int face)
{
    enum { N = 24 };
    int n_frames = track_info(t)->n_frames;
    float largest = 0;
    for (int i = 0; i < N; i++) {
        struct posed posed;
        if (person_at(person, t, face, (int)((int64_t)i * n_frames / N), &posed))
            largest = fmaxf(largest, posed.pose.scale);
    }
    return largest > 0 ? largest : INFINITY; // seen in no frame of these: as fine as it goes
}

// --- the library ---

// False for a mouth that is not open, whose points make no pose, or whose picture is too small.
static bool take_entry(const struct person *person, const struct track_mouth *t,
                       struct mouth_entry *ret)
{
    float canonical[TRACK_N_POINTS][3];
    if (t->width < SIDE_MIN || t->height < SIDE_MIN || !person_pose(person, t->points, &ret->pose))
        return false;
    for (int i = 0; i < TRACK_N_POINTS; i++)
        pose_invert(&ret->pose, t->points[i], canonical[i]);
    ret->aperture = lips_aperture((const float(*)[3])canonical);
    if (!(ret->aperture >= OPEN_MIN) ||
        ret->aperture * ret->pose.scale * t->scale < OPEN_MIN_PIXELS)
        return false;
    memcpy(ret->inner, canonical + TRACK_INNER_FIRST, sizeof(ret->inner));
    ret->picture = picture_of(t);
    ret->light = light_of(t);
    ret->x0 = t->x0;
    ret->y0 = t->y0;
    ret->scale = t->scale;
    ret->jaw = person_jaw(person, (const float(*)[3])canonical);
    pose_angles(&ret->pose, &ret->yaw, &ret->pitch);
    return true;
}

static void take_film(struct mouths *m, const struct track *t, int face)
{
    int n = track_n_mouths(t, face);
    for (int i = 0; i < n && m->n < TRACK_MAX_MOUTHS; i++) {
        struct track_mouth picture;
        track_mouth(t, face, i, &picture);
        m->n += take_entry(&m->person, &picture, &m->entries[m->n]);
    }
}

enum kb_code mouths_create(struct mouths **ret, const struct person *person,
                           const struct track *own, int face, const struct track *other,
                           int other_face, struct kb_error *err)
{
    CLEANUP(mouths_free) struct mouths *m = kb_calloc_checked(1, sizeof(*m));
    if (!m)
        return kb_no_memory(err);
    m->person = *person;
    if (other)
        take_film(m, other, other_face);
    if (!m->n)
        take_film(m, own, face);
    if (!m->n) {
        struct mouth_light light;
        track_skin(own, face, light.yuv);
        enum kb_code code = mouth_draw(m, &light, film_scale(person, own, face), err);
        if (code != KB_OK)
            return code;
    }
    mouth_find_teeth(m);
    *ret = TAKE(m);
    return KB_OK;
}

void mouths_free(struct mouths **m)
{
    if (!*m)
        return;
    free((*m)->pixels);
    free(*m);
    *m = NULL;
}

int mouths_count(const struct mouths *m)
{
    return m->n;
}

bool mouths_drawn(const struct mouths *m)
{
    return m->drawn;
}
