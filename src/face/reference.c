#include "face/reference.h"

#include "face/warp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Candidates closer than this in time are one scene: they compete with each other only.
#define SAME_SCENE_FRAMES 10
// What a new candidate must be better by, so that slow changes do not cost a picture each frame.
#define BETTER_BY 0.02f

static float distance(const struct mesh *m, int a, int b)
{
    return hypotf(m->points[a][0] - m->points[b][0], m->points[a][1] - m->points[b][1]);
}

// Mouth slightly open, eyes open, frontal, whole in the picture.
static float geometry_cost(const struct mesh *m, const float angles[3], const AVFrame *frame)
{
    float height = fmaxf(distance(m, 10, 152), 1);
    float mouth = distance(m, 13, 14) / height;
    float eyes = (distance(m, 159, 145) / fmaxf(distance(m, 33, 133), 1) +
                  distance(m, 386, 374) / fmaxf(distance(m, 362, 263), 1)) /
                 2;
    float cost = 0.5f * fabsf(angles[0]) + 0.3f * fabsf(angles[1]);
    // 0.02 to 0.08 of the face's height shows lips and a little of the teeth; 0 is closed.
    if (mouth < 0.02f)
        cost += 0.25f * (0.02f - mouth) / 0.02f;
    else if (mouth > 0.08f)
        cost += 5 * (mouth - 0.08f);
    cost += 3 * fmaxf(0.2f - eyes, 0); // an open eye is some 0.3 as high as wide
    float box[4];
    mesh_box(m, box);
    if (box[0] < 0 || box[1] < 0 || box[2] > (float)frame->width || box[3] > (float)frame->height)
        cost += 1;
    return cost + (1 - m->score);
}

static float pose_distance(const float a[3], const float b[3])
{
    return fabsf(a[0] - b[0]) + fabsf(a[1] - b[1]) + 0.5f * fabsf(a[2] - b[2]);
}

// Minus the logarithm of the variance of the Laplacian over the face at a fixed scale: the usual
// measure of focus (Pech-Pacheco et al. 2000).
static float blur_cost(const AVFrame *frame, const float box[4])
{
    enum { SIDE = 96 };
    CLEANUP(kb_freep) float *rgb = kb_alloc(SIDE * SIDE * 3 * sizeof(*rgb));
    struct affine to_frame = {
        .xx = (box[2] - box[0]) / SIDE, .x0 = box[0], .yy = (box[3] - box[1]) / SIDE, .y0 = box[1]};
    struct warp_params p = {.width = SIDE, .height = SIDE, .pixel_stride = 3, .high = 1};
    warp_crop(frame, &to_frame, &p, rgb);
    double sum = 0, squares = 0;
    for (int y = 1; y < SIDE - 1; y++) {
        for (int x = 1; x < SIDE - 1; x++) {
            const float *g = rgb + (y * SIDE + x) * 3 + 1; // green is most of luma
            double v = (double)(4 * g[0] - g[-3] - g[3] - g[-3 * SIDE] - g[3 * SIDE]);
            sum += v;
            squares += v * v;
        }
    }
    double n = (SIDE - 2) * (SIDE - 2), variance = squares / n - sum / n * (sum / n);
    return -0.15f * (float)log(fmax(variance, 1e-9));
}

// The box grown by half about its middle, cut to the picture, at most REFERENCE_MAX_SIDE large.
static enum kb_code take_picture(struct track_reference *ret, const AVFrame *frame, int number,
                                 const struct mesh *mesh, struct kb_error *err)
{
    float box[4];
    mesh_box(mesh, box);
    float grow_x = (box[2] - box[0]) / 4, grow_y = (box[3] - box[1]) / 4;
    float x0 = floorf(fmaxf(box[0] - grow_x, 0)), x1 = fminf(box[2] + grow_x, (float)frame->width);
    float y0 = floorf(fmaxf(box[1] - grow_y, 0)), y1 = fminf(box[3] + grow_y, (float)frame->height);
    float w = fmaxf(x1 - x0, 2), h = fmaxf(y1 - y0, 2);
    float scale = fminf(REFERENCE_MAX_SIDE / fmaxf(w, h), 1);

    struct track_reference r = {.frame = number,
                                .width = KB_MAX((int)(w * scale), 1),
                                .height = KB_MAX((int)(h * scale), 1)};
    size_t n = (size_t)r.width * (size_t)r.height * 3;
    CLEANUP(kb_freep) float *values = kb_calloc_checked(n, sizeof(*values));
    uint8_t *rgb = kb_calloc_checked(n, 1);
    if (!values || !rgb) {
        free(rgb);
        return kb_no_memory(err);
    }
    struct affine to_frame = {.xx = 1 / scale, .x0 = x0, .yy = 1 / scale, .y0 = y0};
    struct warp_params p = {.width = r.width, .height = r.height, .pixel_stride = 3, .high = 255};
    warp_crop(frame, &to_frame, &p, values);
    for (size_t i = 0; i < n; i++)
        rgb[i] = (uint8_t)(values[i] + 0.5f);
    r.rgb = rgb;
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        r.points[i][0] = (mesh->points[track_point_ids[i]][0] - x0) * scale;
        r.points[i][1] = (mesh->points[track_point_ids[i]][1] - y0) * scale;
    }
    for (int k = 0; k < 4; k++)
        r.box[k] = (box[k] - (k % 2 ? y0 : x0)) * scale;
    *ret = r;
    return KB_OK;
}

static float total_cost(const struct candidate *c, const float usual[3])
{
    return c->cost + pose_distance(c->angles, usual);
}

// Whom a picture of this frame would replace: a neighbour in time, else a free place (c->n), else
// the worst.
static int rival_of(const struct candidates *c, int number, const float usual[3])
{
    int worst = 0;
    for (int i = 0; i < c->n; i++) {
        if (abs(number - c->list[i].reference.frame) < SAME_SCENE_FRAMES)
            return i;
        if (total_cost(&c->list[i], usual) > total_cost(&c->list[worst], usual))
            worst = i;
    }
    return c->n < REFERENCE_CANDIDATES ? c->n : worst;
}

enum kb_code candidates_offer(struct candidates *c, const AVFrame *frame, int number,
                              const struct mesh *mesh, struct kb_error *err)
{
    struct candidate offer = {0};
    float usual[3], box[4];
    mesh_angles(mesh, offer.angles);
    c->n_offered++;
    for (int k = 0; k < 3; k++) {
        c->angle_sums[k] += (double)offer.angles[k];
        usual[k] = (float)(c->angle_sums[k] / c->n_offered);
    }
    int rival = rival_of(c, number, usual);
    float to_beat = rival < c->n ? total_cost(&c->list[rival], usual) - BETTER_BY : INFINITY;
    offer.cost = geometry_cost(mesh, offer.angles, frame);
    // Sharpness costs a look at the picture: only where it can help. Twice the variance of the
    // sharpest picture so far is 0.1.
    float least_blur = c->n > 0 ? c->least_blur - 0.1f : 0;
    if (total_cost(&offer, usual) + least_blur >= to_beat)
        return KB_OK;
    mesh_box(mesh, box);
    float blur = blur_cost(frame, box);
    c->least_blur = c->n > 0 ? fminf(c->least_blur, blur) : blur;
    offer.cost += blur;
    if (total_cost(&offer, usual) >= to_beat)
        return KB_OK;
    enum kb_code code = take_picture(&offer.reference, frame, number, mesh, err);
    if (code != KB_OK)
        return code;
    if (rival < c->n)
        free((void *)c->list[rival].reference.rgb);
    else
        c->n++;
    c->list[rival] = offer;
    return KB_OK;
}

static void remove_at(struct candidates *c, int i)
{
    free((void *)c->list[i].reference.rgb);
    c->list[i] = c->list[--c->n];
}

static int best_of(const struct candidates *c, const float usual[3])
{
    int best = 0;
    for (int i = 1; i < c->n; i++)
        if (total_cost(&c->list[i], usual) < total_cost(&c->list[best], usual))
            best = i;
    return best;
}

void candidates_trim(struct candidates *c)
{
    float usual[3];
    for (int k = 0; k < 3; k++)
        usual[k] = (float)(c->angle_sums[k] / KB_MAX(c->n_offered, 1));
    if (c->n > 1) {
        struct candidate best = c->list[best_of(c, usual)];
        for (int i = 0; i < c->n; i++)
            if (c->list[i].reference.rgb != best.reference.rgb)
                free((void *)c->list[i].reference.rgb);
        c->list[0] = best;
        c->n = 1;
    }
}

struct track_reference candidates_take(struct candidates *c, const float usual[3])
{
    struct candidate *best = &c->list[best_of(c, usual)];
    struct track_reference r = best->reference;
    best->reference.rgb = NULL;
    candidates_clear(c);
    return r;
}

void candidates_clear(struct candidates *c)
{
    while (c->n > 0)
        remove_at(c, c->n - 1);
}
