#include "rig/still.h"

#include "rig/canvas.h"

#include <math.h>

#define MAX_ANGLE 0.026f // 1.5 degrees
#define MAX_SHIFT 0.01f  // of the face's height
#define REACH     2.1f   // radii from the head's centre to where nothing moves
#define RIGID     1.15f  // up to here the head moves as one

#define CLOSE_S 0.09 // a blink: down, held, up
#define HELD_S  0.04
#define OPEN_S  0.16

bool still_begin(struct still *ret, const struct track *t, int face, int frame, float scale_x,
                 float scale_y, float amount)
{
    struct track_face f;
    track_face(t, face, frame, &f);
    if (!f.present || !(amount > 0))
        return false;
    *ret = (struct still){.amount = fminf(amount, 1)};
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        ret->points[i][0] = f.points[i][0] * scale_x;
        ret->points[i][1] = f.points[i][1] * scale_y;
    }
    float height = (f.box[3] - f.box[1]) * scale_y;
    ret->centre[0] = (f.box[0] + f.box[2]) / 2 * scale_x;
    // The mesh ends at the hair line; the head goes on.
    ret->centre[1] = ((f.box[1] + f.box[3]) / 2 - 0.1f * (f.box[3] - f.box[1])) * scale_y;
    ret->radius = height * 0.6f;
    return isfinite(ret->centre[0] + ret->centre[1]) && ret->radius > 8;
}

// --- where the head is ---

// Slow waves whose lengths have no common multiple.
static float wave(double s, double length_s, double phase)
{
    return (float)sin(2 * M_PI * s / length_s + phase);
}

// When the n-th blink begins: every 3 to 6 seconds, the first after 1.5 to 4.5.
static double blink_begin(int n)
{
    uint32_t h = (uint32_t)n * 2654435761u; // Knuth's multiplicative hash
    h ^= h >> 15;
    return 4.5 * n + 1.5 + 1.5 * (double)(h % 1000) / 1000;
}

static float blink_at(double s)
{
    int n = (int)floor((s - 1.5) / 4.5);
    double t = n >= 0 ? s - blink_begin(n) : -1;
    if (t < 0 || t > CLOSE_S + HELD_S + OPEN_S)
        return 0;
    double v = t < CLOSE_S            ? t / CLOSE_S
               : t < CLOSE_S + HELD_S ? 1
                                      : 1 - (t - CLOSE_S - HELD_S) / OPEN_S;
    return (float)(v * v * (3 - 2 * v));
}

struct still_state still_at(const struct still *s, int64_t time_us, float voice)
{
    double t = (double)time_us / 1e6;
    float lively = 0.45f + 0.55f * fminf(fmaxf(voice, 0), 1);
    float turn = 0.6f * wave(t, 7.3, 0) + 0.4f * wave(t, 4.1, 1.3);
    float sway = 0.6f * wave(t, 9.7, 0.7) + 0.4f * wave(t, 5.9, 2.1);
    float nod = 0.5f * wave(t, 6.1, 2.6) + 0.5f * lively * wave(t, 2.3, 0.4);
    return (struct still_state){
        .angle = s->amount * MAX_ANGLE * lively * turn,
        .shift = {s->amount * MAX_SHIFT * 0.7f * sway, s->amount * MAX_SHIFT * 0.7f * nod},
        .blink = blink_at(t)};
}

// --- the eyes ---

// Rows of a lid's grid: the skin below the brow, the upper lid, the lower lid, the skin below.
#define LID_ROWS    4
#define LID_COLUMNS 11 // the nine of the ring, and one beyond each corner

// The rings of the lids, from one corner to the other: FaceMesh.
static const uint16_t upper_lids[2][9] = {{33, 246, 161, 160, 159, 158, 157, 173, 133},
                                          {362, 398, 384, 385, 386, 387, 388, 466, 263}};
static const uint16_t lower_lids[2][9] = {{33, 7, 163, 144, 145, 153, 154, 155, 133},
                                          {362, 382, 381, 380, 374, 373, 390, 249, 263}};

static const float *point_of(const struct still *s, int mesh_index)
{
    return s->points[track_point_of(mesh_index)];
}

static struct corner shifted(const float from[2], float dx, float dy)
{
    return (struct corner){from[0] + dx, from[1] + dy, {-dx, -dy}};
}

// down: across the eye, from lid to lid, a vector as long as the eye is wide.
static void fill_lid_column(const struct still *s, int eye, int column, const float down[2],
                            float blink, struct corner *ret)
{
    int k = KB_MIN(KB_MAX(column - 1, 0), 8);
    const float *upper = point_of(s, upper_lids[eye][k]), *lower = point_of(s, lower_lids[eye][k]);
    float beyond = column == 0 ? -0.25f : column == LID_COLUMNS - 1 ? 0.25f : 0;
    float along[2] = {down[1], -down[0]}; // from the picture's left to its right
    float base[2] = {along[0] * beyond, along[1] * beyond};
    float at[LID_ROWS][2];
    for (int j = 0; j < 2; j++) {
        at[0][j] = upper[j] + base[j] - 0.38f * down[j];
        // The mesh lies within the eye's white; its edge is a little further down.
        at[1][j] = upper[j] + base[j];
        at[2][j] = lower[j] + base[j] + 0.22f * (lower[j] - upper[j]);
        at[3][j] = lower[j] + base[j] + 0.25f * down[j];
    }
    float gap[2] = {at[2][0] - at[1][0], at[2][1] - at[1][1]};
    // The upper lid comes down nearly all the way, the lower one a little up.
    const float share[LID_ROWS] = {0, 0.93f * blink, -0.06f * blink, 0};
    for (int r = 0; r < LID_ROWS; r++)
        ret[r * LID_COLUMNS + column] = shifted(at[r], gap[0] * share[r], gap[1] * share[r]);
}

static void add_grid(struct raster *m, const struct corner *grid, int rows, int columns)
{
    for (int r = 0; r + 1 < rows; r++)
        for (int c = 0; c + 1 < columns; c++) {
            const struct corner *q = grid + r * columns + c;
            raster_triangle(m, &q[0], &q[1], &q[columns]);
            raster_triangle(m, &q[1], &q[columns + 1], &q[columns]);
        }
}

// Warp the frame by a grid of displacements.
static void warp_grid(struct canvas *c, AVFrame *frame, const struct corner *grid, int rows,
                      int columns)
{
    float x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY;
    for (int i = 0; i < rows * columns; i++) {
        x0 = fminf(x0, grid[i].x);
        y0 = fminf(y0, grid[i].y);
        x1 = fmaxf(x1, grid[i].x);
        y1 = fmaxf(y1, grid[i].y);
    }
    float limit = 8 * (float)KB_MAX(frame->width, frame->height);
    if (!(x0 > -limit && y0 > -limit && x1 < limit && y1 < limit))
        return;
    int margin = (int)((x1 - x0) * 0.1f) + 8;
    int a[4] = {KB_MAX((int)x0, 0) & ~1, KB_MAX((int)y0, 0) & ~1,
                KB_MIN((int)x1 + 2, frame->width) & ~1, KB_MIN((int)y1 + 2, frame->height) & ~1};
    if (!canvas_copy(c, frame, a[0] - margin, a[1] - margin, a[2] + margin, a[3] + margin) ||
        !raster_begin(&c->raster, a[0], a[1], a[2], a[3], 2, 0))
        return;
    add_grid(&c->raster, grid, rows, columns);
    canvas_warp(c, frame);
}

static void draw_blink(const struct still *s, struct canvas *c, AVFrame *frame, float blink)
{
    for (int eye = 0; eye < 2; eye++) {
        const float *left = point_of(s, upper_lids[eye][0]);
        const float *right = point_of(s, upper_lids[eye][8]);
        float down[2] = {-(right[1] - left[1]), right[0] - left[0]};
        struct corner grid[LID_ROWS * LID_COLUMNS];
        for (int i = 0; i < LID_COLUMNS; i++)
            fill_lid_column(s, eye, i, down, blink, grid);
        warp_grid(c, frame, grid, LID_ROWS, LID_COLUMNS);
    }
}

// --- the head ---

#define HEAD_CELLS 28

// 1 inside `full`, 0 from `none` on, without a kink.
static float falloff(float v, float full, float none)
{
    float t = (v - full) / (none - full);
    return t <= 0 ? 1 : t >= 1 ? 0 : 1 - t * t * (3 - 2 * t);
}

static void draw_head(const struct still *s, struct canvas *c, AVFrame *frame,
                      const struct still_state *state)
{
    struct corner grid[(HEAD_CELLS + 1) * (HEAD_CELLS + 1)];
    float sine = sinf(state->angle), cosine = cosf(state->angle), reach = REACH * s->radius;
    float height = s->radius / 0.6f, rim = 0.5f * s->radius;
    // Still up to the picture's edge and a cell inside, for between its corners a cell is straight.
    float cell = 2 * reach / HEAD_CELLS;
    // The head turns about its neck.
    float pivot[2] = {s->centre[0], s->centre[1] + 1.3f * s->radius};
    for (int i = 0; i <= HEAD_CELLS; i++)
        for (int k = 0; k <= HEAD_CELLS; k++) {
            float p[2] = {s->centre[0] + reach * (2 * (float)k / HEAD_CELLS - 1),
                          s->centre[1] + reach * (2 * (float)i / HEAD_CELLS - 1)};
            float d = hypotf((p[0] - s->centre[0]) * 1.15f, p[1] - s->centre[1]) / s->radius;
            float edge = fminf(fminf(p[0], (float)frame->width - p[0]),
                               fminf(p[1], (float)frame->height - p[1]));
            float w = falloff(d, RIGID, REACH * 0.97f) * (1 - falloff(edge, cell, cell + rim));
            float q[2] = {p[0] - pivot[0], p[1] - pivot[1]};
            float dx = w * (cosine * q[0] - sine * q[1] - q[0] + state->shift[0] * height);
            float dy = w * (sine * q[0] + cosine * q[1] - q[1] + state->shift[1] * height);
            grid[i * (HEAD_CELLS + 1) + k] = shifted(p, dx, dy);
        }
    warp_grid(c, frame, grid, HEAD_CELLS + 1, HEAD_CELLS + 1);
}

void still_draw(const struct still *s, struct canvas *c, AVFrame *frame,
                const struct still_state *state)
{
    if (state->blink > 0)
        draw_blink(s, c, frame, state->blink * fminf(s->amount * 4, 1));
    draw_head(s, c, frame, state);
}
