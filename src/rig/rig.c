// One frame, in order: where the landmarks are and where they shall be; the sheet of skin between
// them, in both places (rig/field.h); a map from each pixel to where it comes from; the pixels;
// what is seen between the lips.
#include "rig/rig.h"

#include "rig/canvas.h"
#include "rig/field.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CLOSED_GAP  0.001f // of upper and lower lip that would cross, canonical
#define STILL_PX    0.03f  // what moves less stays as it is
#define FEATHER     0.004f // of the edge of the inside, in scales of the face
#define FEATHER_MIN 1.0f
#define OPEN_GAP    0.004f // mean of the gaps from which on something is seen between the lips
#define COPY_MARGIN 4

struct rig {
    struct rig_params p;
    struct person person;
    struct field *field;
    struct mouths *mouths;
};

void rig_free(struct rig **r)
{
    if (!*r)
        return;
    field_free(&(*r)->field);
    mouths_free(&(*r)->mouths);
    free(*r);
    *r = NULL;
}

enum kb_code rig_create(struct rig **ret, const struct rig_params *p, struct kb_error *err)
{
    CLEANUP(rig_free) struct rig *r = kb_alloc(sizeof(*r));
    r->p = *p;
    enum kb_code code = person_fit(&r->person, p->track, p->face, p->cancel, err);
    if (code == KB_OK)
        code = field_create(&r->field, &r->person, err);
    if (code == KB_OK)
        code = mouths_create(&r->mouths, &r->person, p->track, p->face, p->mouth_from,
                             p->mouth_face, err);
    if (code == KB_OK)
        *ret = TAKE(r);
    return code;
}

const struct person *rig_person(const struct rig *r)
{
    return &r->person;
}

const struct mouths *rig_mouths(const struct rig *r)
{
    return r->mouths;
}

// --- where the landmarks shall be ---

static bool moves(int point)
{
    return (point >= TRACK_OUTER_FIRST && point < TRACK_INNER_FIRST + TRACK_N_LIPS) ||
           (point >= TRACK_MIDDLE_FIRST && point < TRACK_LOWER_FIRST + TRACK_N_LOWER);
}

// Upper and lower lip touch, they do not cross.
static void keep_apart(float (*target)[3])
{
    for (int i = 1; i < 10; i++) {
        float *upper = target[TRACK_INNER_FIRST + i], *lower = target[TRACK_INNER_FIRST + 20 - i];
        if (lower[1] - upper[1] >= CLOSED_GAP)
            continue;
        float middle = (upper[1] + lower[1]) / 2;
        upper[1] = middle - CLOSED_GAP / 2;
        lower[1] = middle + CLOSED_GAP / 2;
    }
}

// All points, canonical: those that speech moves from their rest, the others where the frame has
// them (own, or NULL for their rest).
static void find_targets(const struct rig *r, const float delta[40][2], const float (*own)[3],
                         float (*ret)[3])
{
    float move[TRACK_N_POINTS][3];
    follow_apply(r->p.follow, delta, move);
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        bool still = move[i][0] == 0 && move[i][1] == 0 && move[i][2] == 0 && !moves(i);
        for (int k = 0; k < 3; k++)
            ret[i][k] = still && own ? own[i][k] : r->person.neutral[i][k] + move[i][k];
    }
    keep_apart(ret);
}

bool rig_need(const struct rig *r, int track_frame, const float delta[40][2],
              struct mouth_need *ret)
{
    float target[TRACK_N_POINTS][3];
    struct track_face face;
    track_face(r->p.track, r->p.face, track_frame, &face);
    if (!face.present)
        return false;
    find_targets(r, delta, NULL, target);
    for (int i = 0; i < TRACK_N_LIPS; i++)
        for (int k = 0; k < 2; k++)
            ret->inner[i][k] = target[TRACK_INNER_FIRST + i][k];
    ret->yaw = face.yaw;
    ret->pitch = face.pitch;
    ret->light = -1;
    ret->open = lips_aperture((const float(*)[3])target) > OPEN_GAP;
    return true;
}

// --- the sheet ---

struct sheet {
    float from[FIELD_POINTS][2], to[FIELD_POINTS][2]; // pixels of the frame
};

static void place_sheet(const struct rig *r, const struct posed *at, const float (*target)[3],
                        const struct rig_frame *f, struct sheet *ret)
{
    const uint8_t *controls;
    int n = field_controls(r->field, &controls);
    const float(*anchors)[3] = field_anchors(r->field), (*rest)[3] = field_rest(r->field);
    float v[TRACK_N_POINTS][4];
    for (int i = 0; i < n; i++) {
        float base[2], to[2];
        pose_apply(&at->pose, anchors[i], base);
        pose_apply(&at->pose, target[controls[i]], to);
        for (int k = 0; k < 2; k++) {
            float from = at->picture[controls[i]][k];
            v[i][k] = from - base[k];
            v[i][2 + k] = from + (to[k] - from) * f->strength - base[k];
        }
    }
    float moved[FIELD_POINTS][4];
    field_move(r->field, v[0], 4, moved[0]);
    for (int i = 0; i < FIELD_POINTS; i++) {
        float base[2];
        pose_apply(&at->pose, rest[i], base);
        ret->from[i][0] = (base[0] + moved[i][0]) * f->scale_x;
        ret->from[i][1] = (base[1] + moved[i][1]) * f->scale_y;
        ret->to[i][0] = (base[0] + moved[i][2]) * f->scale_x;
        ret->to[i][1] = (base[1] + moved[i][3]) * f->scale_y;
    }
}

struct bounds {
    float x0, y0, x1, y1;
};

static void extend(struct bounds *b, float x, float y)
{
    b->x0 = fminf(b->x0, x);
    b->y0 = fminf(b->y0, y);
    b->x1 = fmaxf(b->x1, x);
    b->y1 = fmaxf(b->y1, y);
}

static bool moved_here(const struct sheet *s, int point)
{
    return fabsf(s->to[point][0] - s->from[point][0]) > STILL_PX ||
           fabsf(s->to[point][1] - s->from[point][1]) > STILL_PX;
}

static void corners_of(int side, int row, int column, int ret[4])
{
    for (int k = 0; k < 4; k++)
        ret[k] = field_point(side, row + (k >> 1), column + (k & 1));
}

static bool cell_moves(const struct sheet *s, const int points[4])
{
    return moved_here(s, points[0]) || moved_here(s, points[1]) || moved_here(s, points[2]) ||
           moved_here(s, points[3]);
}

// What of the sheet moves: in the frame (to) and in the film (from). False: nothing.
static bool find_bounds(const struct sheet *s, struct bounds *to, struct bounds *from)
{
    *to = *from = (struct bounds){INFINITY, INFINITY, -INFINITY, -INFINITY};
    for (int side = 0; side < 2; side++)
        for (int r = 0; r < (side ? FIELD_LOWER : FIELD_UPPER) - 1; r++)
            for (int c = 0; c < FIELD_COLUMNS - 1; c++) {
                int points[4];
                corners_of(side, r, c, points);
                for (int k = 0; k < 4 && cell_moves(s, points); k++) {
                    extend(to, s->to[points[k]][0], s->to[points[k]][1]);
                    extend(from, s->from[points[k]][0], s->from[points[k]][1]);
                }
            }
    return to->x1 > to->x0 && from->x1 > from->x0;
}

static struct corner warp_corner(const float to[2], const float from[2])
{
    return (struct corner){to[0], to[1], {from[0] - to[0], from[1] - to[1]}};
}

static void add_cell(struct raster *m, const struct corner c[4])
{
    raster_triangle(m, &c[0], &c[1], &c[2]);
    raster_triangle(m, &c[1], &c[3], &c[2]);
}

// Between the lips the skin of either goes on to the middle, so that the soft edge of the inside
// lies on it.
static void add_rim(struct raster *m, const struct sheet *s)
{
    for (int c = FIELD_LEFT; c < FIELD_RIGHT; c++)
        for (int side = 0; side < 2; side++) {
            struct corner q[4];
            for (int k = 0; k < 2; k++) {
                int here = field_point(side, 0, c + k), other = field_point(!side, 0, c + k);
                q[k] = warp_corner(s->to[here], s->from[here]);
                q[2 + k] = q[k];
                q[2 + k].x = (s->to[here][0] + s->to[other][0]) / 2;
                q[2 + k].y = (s->to[here][1] + s->to[other][1]) / 2;
            }
            add_cell(m, q);
        }
}

static void add_sheet(struct raster *m, const struct sheet *s)
{
    for (int side = 0; side < 2; side++)
        for (int r = (side ? FIELD_LOWER : FIELD_UPPER) - 2; r >= 0; r--)
            for (int c = 0; c < FIELD_COLUMNS - 1; c++) {
                int points[4];
                struct corner q[4];
                corners_of(side, r, c, points);
                if (!cell_moves(s, points))
                    continue;
                for (int k = 0; k < 4; k++)
                    q[k] = warp_corner(s->to[points[k]], s->from[points[k]]);
                add_cell(m, q);
            }
}

// The frame's part of b as whole pixels, corners even.
static void inside(const struct bounds *b, const AVFrame *frame, int ret[4])
{
    ret[0] = (int)floorf(fminf(fmaxf(b->x0, 0), (float)frame->width)) & ~1;
    ret[1] = (int)floorf(fminf(fmaxf(b->y0, 0), (float)frame->height)) & ~1;
    ret[2] = (int)ceilf(fminf(fmaxf(b->x1, 0), (float)frame->width)) + 1;
    ret[3] = (int)ceilf(fminf(fmaxf(b->y1, 0), (float)frame->height)) + 1;
    // Chroma rows and columns are whole only up to here.
    ret[2] = KB_MIN(ret[2] & ~1, frame->width & ~1);
    ret[3] = KB_MIN(ret[3] & ~1, frame->height & ~1);
}

static bool warp_skin(struct canvas *c, AVFrame *frame, const struct sheet *s)
{
    struct bounds to, from;
    int area[4];
    if (!find_bounds(s, &to, &from))
        return false;
    inside(&to, frame, area);
    from.x0 = fminf(from.x0, to.x0);
    from.y0 = fminf(from.y0, to.y0);
    from.x1 = fmaxf(from.x1, to.x1);
    from.y1 = fmaxf(from.y1, to.y1);
    float limit = 4 * (float)KB_MAX(frame->width, frame->height);
    if (!(from.x0 > -limit && from.y0 > -limit && from.x1 < limit && from.y1 < limit) ||
        !canvas_copy(c, frame, (int)floorf(from.x0) - COPY_MARGIN,
                     (int)floorf(from.y0) - COPY_MARGIN, (int)ceilf(from.x1) + COPY_MARGIN,
                     (int)ceilf(from.y1) + COPY_MARGIN) ||
        !raster_begin(&c->raster, area[0], area[1], area[2], area[3], 2, 0))
        return false;
    add_sheet(&c->raster, s);
    add_rim(&c->raster, s);
    canvas_warp(c, frame);
    return true;
}

// --- between the lips ---

// The grid with one row more above and below, a feather beyond the lips' edges, where nothing
// of it is seen.
#define INLAY_ROWS (MOUTH_ROWS + 2)

struct inlay_grid {
    struct corner corners[INLAY_ROWS * MOUTH_COLUMNS];
};

static void place_column(const struct rig *r, const struct posed *at, const struct mouth_grid *g,
                         const float (*target)[3], const struct rig_frame *f, int column,
                         float feather, struct inlay_grid *ret)
{
    // Depth as the lips' in this column.
    float ring = (float)column * 10 / (MOUTH_COLUMNS - 1);
    int i = KB_MIN((int)ring, 9);
    float t = ring - (float)i;
    const float(*inner)[3] = target + TRACK_INNER_FIRST;
    float z[2] = {inner[i][2] + (inner[i + 1][2] - inner[i][2]) * t,
                  inner[(20 - i) % 20][2] + (inner[19 - i][2] - inner[(20 - i) % 20][2]) * t};
    struct corner *rows[INLAY_ROWS];
    for (int k = 0; k < INLAY_ROWS; k++)
        rows[k] = &ret->corners[k * MOUTH_COLUMNS + column];
    const float *first = g->target[column];
    float height = g->target[(MOUTH_ROWS - 1) * MOUTH_COLUMNS + column][1] - first[1];
    for (int k = 0; k < MOUTH_ROWS; k++) {
        int n = k * MOUTH_COLUMNS + column;
        float down = height > 0 ? (g->target[n][1] - first[1]) / height : 0, px[2];
        float p[3] = {g->target[n][0], g->target[n][1], z[0] + (z[1] - z[0]) * down};
        pose_apply(&at->pose, p, px);
        *rows[k + 1] = (struct corner){px[0] * f->scale_x,
                                       px[1] * f->scale_y,
                                       {g->source[n][0], g->source[n][1], g->shade[n]}};
        rows[k + 1]->value[5] = g->dark[n];
    }
    const struct corner *top = rows[1], *low = rows[MOUTH_ROWS];
    float gap = hypotf(low->x - top->x, low->y - top->y);
    for (int k = 1; k <= MOUTH_ROWS; k++) {
        rows[k]->value[3] = hypotf(rows[k]->x - top->x, rows[k]->y - top->y);
        rows[k]->value[4] = gap - rows[k]->value[3];
    }
    // Beyond the edges along the column; the picture's own edge pixels go on there.
    float up[2] = {-at->pose.r[0][1], -at->pose.r[1][1]}, length = hypotf(up[0], up[1]);
    for (int side = 0; side < 2; side++) {
        struct corner *beyond = rows[side ? INLAY_ROWS - 1 : 0];
        float step = (side ? -feather : feather) / fmaxf(length, 1e-3f);
        *beyond = *rows[side ? MOUTH_ROWS : 1];
        beyond->x += up[0] * step;
        beyond->y += up[1] * step;
        beyond->value[3 + side] -= feather;
        beyond->value[4 - side] += feather;
    }
}

static void draw_inside(const struct rig *r, struct canvas *c, AVFrame *frame,
                        const struct posed *at, const float (*target)[3], const struct rig_frame *f,
                        int picture, float strength, const struct mouth_light *light)
{
    struct mouth_grid g;
    struct inlay_grid grid;
    struct bounds b = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    float feather = fmaxf(at->pose.scale * f->scale_y * FEATHER, FEATHER_MIN);
    int area[4];
    mouths_place(r->mouths, picture, target, &g);
    for (int i = 0; i < MOUTH_COLUMNS; i++)
        place_column(r, at, &g, target, f, i, feather, &grid);
    for (size_t i = 0; i < ARRAY_LEN(grid.corners); i++)
        extend(&b, grid.corners[i].x, grid.corners[i].y);
    if (!isfinite(b.x0 + b.y0 + b.x1 + b.y1))
        return;
    inside(&b, frame, area);
    if (!raster_begin(&c->raster, area[0], area[1], area[2], area[3], 6, -1e6f))
        return;
    for (int k = 0; k < INLAY_ROWS - 1; k++)
        for (int i = 0; i < MOUTH_COLUMNS - 1; i++) {
            const struct corner *q = &grid.corners[k * MOUTH_COLUMNS + i];
            raster_triangle(&c->raster, &q[0], &q[1], &q[MOUTH_COLUMNS]);
            raster_triangle(&c->raster, &q[1], &q[MOUTH_COLUMNS + 1], &q[MOUTH_COLUMNS]);
        }
    struct inlay in = {.from = g.from, .feather = feather, .strength = strength};
    float own = fmaxf(light->yuv[0] - 16, 1), other = fmaxf(g.light.yuv[0] - 16, 1);
    in.gain = fminf(fmaxf(own / other, 0.4f), 2.5f);
    for (int k = 0; k < 2; k++)
        in.shift[k] = light->yuv[1 + k] - g.light.yuv[1 + k];
    // A tint of the light shows in the dark as far as there is light.
    float lit = fminf(fmaxf((g.cavity.yuv[0] - 16) / other, 0), 1);
    in.cavity[0] = 16 + (g.cavity.yuv[0] - 16) * in.gain;
    for (int k = 1; k < 3; k++)
        in.cavity[k] = g.cavity.yuv[k] + in.shift[k - 1] * lit;
    canvas_inlay(c, frame, &in);
}

static struct mouth_light frame_light(const struct canvas *c, const struct posed *at,
                                      const struct rig_frame *f)
{
    struct mouth_picture p = {.width = c->width, .height = c->height};
    float points[TRACK_N_POINTS][3];
    for (int k = 0; k < 3; k++) {
        p.planes[k] = c->planes[k].data;
        p.strides[k] = (int)c->planes[k].stride;
    }
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        points[i][0] = at->picture[i][0] * f->scale_x - (float)c->x0;
        points[i][1] = at->picture[i][1] * f->scale_y - (float)c->y0;
        points[i][2] = 0;
    }
    return mouth_light_of(&p, (const float(*)[3])points);
}

bool rig_draw(const struct rig *r, struct canvas *c, AVFrame *frame, const struct rig_frame *f)
{
    struct posed at;
    float target[TRACK_N_POINTS][3];
    struct sheet sheet;
    if (!(f->strength > 0) || !person_at(&r->person, r->p.track, r->p.face, f->track_frame, &at))
        return false;
    find_targets(r, f->delta, (const float(*)[3])at.canonical, target);
    place_sheet(r, &at, (const float(*)[3])target, f, &sheet);
    if (!warp_skin(c, frame, &sheet))
        return false;
    if (!(lips_aperture((const float(*)[3])target) > OPEN_GAP) || f->mouth.a < 0)
        return true;
    struct mouth_light light = frame_light(c, &at, f);
    const float(*to)[3] = (const float(*)[3])target;
    draw_inside(r, c, frame, &at, to, f, f->mouth.a, f->strength, &light);
    if (f->mouth.mix > 0)
        draw_inside(r, c, frame, &at, to, f, f->mouth.b, f->strength * f->mouth.mix, &light);
    return true;
}
