#include "tests/test.h"

#include "tests/rig/film.h"

#include <math.h>

#define SEAM       0.69f
#define HALF_WIDTH 0.11f

// Ring i of 20: height above (< 0) and below the seam when closed, share of an opening.
static void set_ring(float (*points)[3], const uint16_t *ids, float half, float up, float down,
                     float open)
{
    for (int i = 0; i < TRACK_N_LIPS; i++) {
        int column = i <= 10 ? i : 20 - i;
        float u = (float)column / 5 - 1, bump = 1 - u * u;
        float *p = points[ids[i]];
        p[0] = 0.5f + half * u;
        p[1] = SEAM + (i <= 10 ? -bump * (up + 0.3f * open) : bump * (down + 0.7f * open));
        p[2] = 0.6f * u * u * half - 0.02f;
    }
}

static void make_face(float open, float (*points)[3])
{
    for (int i = 0; i < MESH_POINTS; i++) {
        float a = (float)i * 0.31f, r = 0.5f * (float)(i + 1) / MESH_POINTS;
        points[i][0] = 0.5f + 0.75f * r * cosf(a);
        points[i][1] = 0.47f + r * sinf(a);
        points[i][2] = 1.2f * (points[i][0] - 0.5f) * (points[i][0] - 0.5f);
    }
    static const struct {
        int id;
        float x, y, z;
    } known[] = {{33, 0.28f, 0.32f, 0},
                 {133, 0.41383f, 0.32542f, -0.03f},
                 {362, 0.58593f, 0.32513f, -0.03f},
                 {263, 0.72f, 0.32f, 0},
                 {168, 0.49898f, 0.29479f, -0.08f},
                 {6, 0.49901f, 0.33431f, -0.09f},
                 {197, 0.49948f, 0.37137f, -0.11f},
                 {195, 0.49989f, 0.40426f, -0.13f},
                 {5, 0.50013f, 0.44049f, -0.15f},
                 {4, 0.50057f, 0.48353f, -0.17f},
                 {10, 0.5f, 0.02f, 0},
                 {152, 0.5f, 0.92f, 0}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        memcpy(points[known[i].id], &known[i].x, 3 * sizeof(float));
    set_ring(points, track_point_ids + TRACK_OUTER_FIRST, HALF_WIDTH + 0.02f, 0.035f, 0.045f, open);
    set_ring(points, track_point_ids + TRACK_MIDDLE_FIRST, HALF_WIDTH + 0.01f, 0.018f, 0.022f,
             open);
    set_ring(points, track_point_ids + TRACK_INNER_FIRST, HALF_WIDTH, 0, 0, open);
    static const int jaw[] = {18, 200, 152};
    for (size_t i = 0; i < ARRAY_LEN(jaw); i++)
        points[jaw[i]][1] += 0.3f * open; // lips move further than the jaw
}

void film_face(float open, float (*ret)[3])
{
    float points[MESH_POINTS][3];
    make_face(open, points);
    for (int i = 0; i < TRACK_N_POINTS; i++)
        memcpy(ret[i], points[track_point_ids[i]], sizeof(ret[i]));
}

struct pose film_pose(const struct shot *s)
{
    float cy = cosf(s->yaw), sy = sinf(s->yaw), cp = cosf(s->pitch), sp = sinf(s->pitch);
    float cr = cosf(s->roll), sr = sinf(s->roll);
    // Roll about z after pitch about x after yaw about y.
    struct pose p = {.scale = s->scale, .shift = {s->x, s->y, 0}};
    const float r[3][3] = {{cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy},
                           {sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy},
                           {-cp * sy, sp, cp * cy}};
    memcpy(p.r, r, sizeof(r));
    return p;
}

static void shoot(const struct shot *s, struct mesh *ret)
{
    float points[MESH_POINTS][3];
    make_face(s->open, points);
    struct pose pose = film_pose(s);
    for (int i = 0; i < MESH_POINTS; i++)
        for (int k = 0; k < 3; k++) {
            ret->points[i][k] = pose.shift[k];
            for (int j = 0; j < 3; j++)
                ret->points[i][k] += pose.scale * pose.r[k][j] * points[i][j];
        }
    ret->score = s->score > 0 ? s->score : 0.95f;
}

struct track *film_make(const struct shot *shots, int n)
{
    struct track *t = kb_alloc(sizeof(*t));
    t->info = (struct track_info){
        .width = 1280, .height = 720, .n_frames = n, .n_faces = 1, .covered_us = INT64_MAX};
    memset(t->info.video_hash, 'a', 32);
    t->pts = kb_alloc(((size_t)n + 1) * sizeof(*t->pts));
    t->faces = kb_alloc(TRACK_MAX_FACES * sizeof(*t->faces));
    struct track_identity *id = t->faces;
    id->at = kb_alloc(((size_t)n + 1) * sizeof(*id->at));
    id->records = kb_alloc(((size_t)n + 1) * sizeof(*id->records));
    for (int i = 0; i < n; i++) {
        t->pts[i] = (int64_t)i * 40000;
        id->at[i] = -1;
        if (!(shots[i].scale > 0))
            continue;
        struct mesh mesh;
        shoot(&shots[i], &mesh);
        id->at[i] = id->n_records;
        record_pack(&id->records[id->n_records++], &mesh);
    }
    return t;
}

// Whether a pixel lies within the inner lips, by the even-odd rule.
static bool within_lips(const float (*inner)[3], float x, float y)
{
    bool inside = false;
    for (int i = 0, j = TRACK_N_LIPS - 1; i < TRACK_N_LIPS; j = i++)
        if ((inner[i][1] > y) != (inner[j][1] > y) &&
            x < (inner[j][0] - inner[i][0]) * (y - inner[i][1]) / (inner[j][1] - inner[i][1]) +
                    inner[i][0])
            inside = !inside;
    return inside;
}

void film_keep_mouth(struct track *t, int frame, int width, uint8_t value)
{
    struct track_identity *id = t->faces;
    if (!id->mouths)
        id->mouths = kb_alloc(TRACK_MAX_MOUTHS * sizeof(*id->mouths));
    float points[TRACK_N_POINTS][3];
    record_points(&id->records[id->at[frame]], points);
    const float(*inner)[3] = (const float(*)[3])points + TRACK_INNER_FIRST;
    float span = hypotf(inner[10][0] - inner[0][0], inner[10][1] - inner[0][1]) * 2.5f;
    struct kept_mouth *m = &id->mouths[id->n_mouths++];
    *m = (struct kept_mouth){.frame = frame,
                             .width = width,
                             .height = width,
                             .x0 = (inner[0][0] + inner[10][0] - span) / 2,
                             .y0 = (inner[0][1] + inner[10][1] - span) / 2,
                             .scale = (float)width / span};
    m->pixels = kb_alloc(mouth_bytes(width, width));
    memset(m->pixels, 120, mouth_bytes(width, width));
    for (int y = 0; y < width; y++)
        for (int x = 0; x < width; x++)
            m->pixels[y * width + x] = within_lips(inner, ((float)x + 0.5f) / m->scale + m->x0,
                                                   ((float)y + 0.5f) / m->scale + m->y0)
                                           ? value
                                           : 100;
}
