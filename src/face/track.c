#include "face/track_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Indices are FaceMesh's, as MediaPipe publishes them; all rings run clockwise in the picture of a
// person who faces the camera. Oval from the top of the forehead; lips from the picture's left
// corner along the upper edge.
const uint16_t track_point_ids[TRACK_N_POINTS] = {
    // oval
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    // outer lips
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
    // inner lips
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
    // corners of the eyes, ridge of the nose
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4,
    // tip and foot of the nose, lids, outer end and middle of the brows
    1, 2, 159, 145, 386, 374, 70, 105, 300, 334,
    // between the outer and the inner lips
    76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 307, 320, 404, 315, 16, 85, 180, 90, 77,
    // chin, jaw and cheeks
    57, 43, 106, 182, 83, 18, 313, 406, 335, 273, 287, 202, 204, 194, 201, 200, 421, 418, 424, 422,
    208, 199, 428, 175, 171, 396, 165, 92, 186, 391, 322, 410, 164, 167, 393, 216, 207, 187, 436,
    427, 411, 210, 211, 32, 140, 430, 431, 262, 369,
    // nose, cheeks and forehead
    98, 327, 48, 278, 129, 358, 205, 425, 50, 280, 101, 330, 36, 266, 123, 352, 147, 376, 116, 345,
    117, 346, 118, 347, 119, 348, 151, 9, 8,
    // lids
    246, 161, 160, 158, 157, 173, 155, 154, 153, 144, 163, 7, 466, 388, 387, 385, 384, 398, 382,
    381, 380, 373, 390, 249};

int track_point_of(int mesh_index)
{
    for (int i = 0; i < TRACK_N_POINTS; i++)
        if (track_point_ids[i] == mesh_index)
            return i;
    return -1;
}

// --- one face in one frame ---

void mesh_box(const struct mesh *mesh, float ret[4])
{
    const float *first = mesh->points[0];
    ret[0] = ret[2] = first[0];
    ret[1] = ret[3] = first[1];
    for (int i = 1; i < MESH_POINTS; i++) {
        ret[0] = fminf(ret[0], mesh->points[i][0]);
        ret[1] = fminf(ret[1], mesh->points[i][1]);
        ret[2] = fmaxf(ret[2], mesh->points[i][0]);
        ret[3] = fmaxf(ret[3], mesh->points[i][1]);
    }
}

void mesh_angles(const struct mesh *mesh, float ret[3])
{
    // Across the face from eye to eye, down the face from forehead to chin; z grows away from the
    // camera.
    const float *right = mesh->points[33], *left = mesh->points[263];
    const float *top = mesh->points[10], *chin = mesh->points[152];
    float x = left[0] - right[0], y = left[1] - right[1];
    ret[0] = atan2f(left[2] - right[2], hypotf(x, y));
    ret[1] = atan2f(chin[2] - top[2], hypotf(chin[0] - top[0], chin[1] - top[1]));
    ret[2] = atan2f(y, x);
}

static float span(float a, float b)
{
    return fmaxf(b - a, 1e-3f);
}

// Pixels of one step of the records' depth.
static float depth_step(const float box[4])
{
    return fmaxf(span(box[0], box[2]), span(box[1], box[3])) / 16384;
}

// What is not a number becomes 0.
static int16_t to_int16(float value)
{
    return isfinite(value) ? (int16_t)lrintf(fminf(fmaxf(value, -32767), 32767)) : 0;
}

void record_pack(struct track_record *ret, const struct mesh *mesh)
{
    mesh_box(mesh, ret->box);
    float step = depth_step(ret->box);
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        for (int k = 0; k < 2; k++) {
            float at = (mesh->points[track_point_ids[i]][k] - ret->box[k]) /
                       span(ret->box[k], ret->box[k + 2]);
            ret->points[i][k] = (uint16_t)lrintf(fminf(fmaxf(at, 0), 1) * 65535);
        }
        ret->depth[i] = to_int16(mesh->points[track_point_ids[i]][2] / step);
    }
    float angles[3];
    mesh_angles(mesh, angles);
    for (int k = 0; k < 3; k++)
        ret->angles[k] = to_int16(angles[k] * 10000);
    ret->score = (uint16_t)lrintf(fminf(fmaxf(mesh->score, 0), 1) * 65535);
    ret->cover = ret->zero = 0; // known when all frames are
}

void record_points(const struct track_record *r, float (*ret)[3])
{
    float step = depth_step(r->box);
    float w = span(r->box[0], r->box[2]) / 65535, h = span(r->box[1], r->box[3]) / 65535;
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        ret[i][0] = r->box[0] + (float)r->points[i][0] * w;
        ret[i][1] = r->box[1] + (float)r->points[i][1] * h;
        ret[i][2] = (float)r->depth[i] * step;
    }
}

void record_unpack(const struct track_record *r, struct track_face *ret)
{
    ret->present = true;
    ret->score = (float)r->score / 65535;
    ret->cover = (float)r->cover / 65535;
    ret->yaw = (float)r->angles[0] / 10000;
    ret->pitch = (float)r->angles[1] / 10000;
    ret->roll = (float)r->angles[2] / 10000;
    memcpy(ret->box, r->box, sizeof(ret->box));
    float points[TRACK_N_POINTS][3];
    record_points(r, points);
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        ret->points[i][0] = points[i][0];
        ret->points[i][1] = points[i][1];
        ret->depth[i] = points[i][2];
    }
}

// --- the track ---

const struct track_info *track_info(const struct track *t)
{
    return &t->info;
}

int64_t track_pts_us(const struct track *t, int frame)
{
    return t->pts[frame];
}

const struct track_record *track_record(const struct track *t, int face, int frame)
{
    if (frame < 0 || frame >= t->info.n_frames || face < 0 || face >= t->info.n_faces)
        return NULL;
    const struct track_identity *f = &t->faces[face];
    return f->at[frame] < 0 ? NULL : &f->records[f->at[frame]];
}

void track_face(const struct track *t, int face, int frame, struct track_face *ret)
{
    const struct track_record *r = track_record(t, face, frame);
    if (r)
        record_unpack(r, ret);
    else
        *ret = (struct track_face){0};
}

float track_hidden(const struct track *t, int face)
{
    return t->faces[face].hidden;
}

// --- cuts ---

const struct track_cut *track_cuts(const struct track *t)
{
    return t->cuts;
}

int track_shot(const struct track *t, int frame)
{
    int low = 0, high = t->info.n_cuts; // the answer is between them
    while (low < high) {
        int middle = (low + high) / 2;
        if (t->cuts[middle].frame <= frame)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// The frames [*first, *end) around this one that no cut parts from it.
static void shot_around(const struct track *t, int frame, int *first, int *end)
{
    int shot = track_shot(t, frame);
    *first = shot > 0 ? t->cuts[shot - 1].frame : 0;
    *end = shot < t->info.n_cuts ? t->cuts[shot].frame : t->info.n_frames;
}

void track_view_around(const struct track *t, int frame, int *first, int *end)
{
    int shot = track_shot(t, frame), next = shot;
    while (shot > 0 && t->cuts[shot - 1].jump)
        shot--;
    while (next < t->info.n_cuts && t->cuts[next].jump)
        next++;
    *first = shot > 0 ? t->cuts[shot - 1].frame : 0;
    *end = next < t->info.n_cuts ? t->cuts[next].frame : t->info.n_frames;
}

// --- smoothing ---

bool track_points3_smooth(const struct track *t, int face, int frame, float sigma, float (*ret)[3])
{
    const struct track_record *r = track_record(t, face, frame);
    if (!r)
        return false;
    record_points(r, ret);
    if (!(sigma > 0))
        return true;

    // 3 sigma hold 99.7 % of a Gaussian.
    int radius = (int)ceilf(fminf(sigma * 3, 1000)), first, end;
    shot_around(t, frame, &first, &end);
    double sum[TRACK_N_POINTS][3], weights = 1;
    for (int i = 0; i < TRACK_N_POINTS; i++)
        for (int k = 0; k < 3; k++)
            sum[i][k] = (double)ret[i][k];
    for (int side = -1; side <= 1; side += 2) {
        int most = KB_MIN(radius, side < 0 ? frame - first : end - 1 - frame);
        for (int d = 1; d <= most && (r = track_record(t, face, frame + side * d)); d++) {
            double weight = exp(-0.5 * (double)(d * d) / ((double)sigma * (double)sigma));
            float points[TRACK_N_POINTS][3];
            record_points(r, points);
            for (int i = 0; i < TRACK_N_POINTS; i++)
                for (int k = 0; k < 3; k++)
                    sum[i][k] += weight * (double)points[i][k];
            weights += weight;
        }
    }
    for (int i = 0; i < TRACK_N_POINTS; i++)
        for (int k = 0; k < 3; k++)
            ret[i][k] = (float)(sum[i][k] / weights);
    return true;
}

bool track_points_smooth(const struct track *t, int face, int frame, float sigma, float (*ret)[2])
{
    float points[TRACK_N_POINTS][3];
    if (!track_points3_smooth(t, face, frame, sigma, points))
        return false;
    for (int i = 0; i < TRACK_N_POINTS; i++)
        memcpy(ret[i], points[i], sizeof(ret[i]));
    return true;
}

bool track_box_smooth(const struct track *t, int face, int frame, int n, float ret[4])
{
    if (!track_record(t, face, frame))
        return false;
    n = KB_MAX(n, 1);
    int end = frame + 1, first = frame, shot_first, shot_end;
    shot_around(t, frame, &shot_first, &shot_end);
    while (end < KB_MIN(frame + n, shot_end) && track_record(t, face, end))
        end++;
    while (first > KB_MAX(end - n, shot_first) && track_record(t, face, first - 1))
        first--;
    double sum[4] = {0};
    for (int i = first; i < end; i++)
        for (int k = 0; k < 4; k++)
            sum[k] += (double)track_record(t, face, i)->box[k];
    for (int k = 0; k < 4; k++)
        ret[k] = (float)(sum[k] / (end - first));
    return true;
}

void track_skin(const struct track *t, int face, float ret[3])
{
    memcpy(ret, t->faces[face].skin, sizeof(t->faces[face].skin));
}

int track_n_mouths(const struct track *t, int face)
{
    return t->faces[face].n_mouths;
}

void track_mouth(const struct track *t, int face, int i, struct track_mouth *ret)
{
    const struct kept_mouth *m = &t->faces[face].mouths[i];
    size_t n = (size_t)m->width * (size_t)m->height;
    *ret = (struct track_mouth){.frame = m->frame,
                                .width = m->width,
                                .height = m->height,
                                .x0 = m->x0,
                                .y0 = m->y0,
                                .scale = m->scale,
                                .planes = {m->pixels, m->pixels + n, m->pixels + n + n / 4}};
    const struct track_record *r = track_record(t, face, m->frame);
    assert(r); // who reads and who makes tracks keeps no mouth without one
    record_points(r, ret->points);
}

void track_free(struct track **t)
{
    if (!*t)
        return;
    for (int i = 0; (*t)->faces && i < (*t)->info.n_faces; i++) {
        struct track_identity *f = &(*t)->faces[i];
        free(f->at);
        free(f->records);
        for (int k = 0; k < f->n_mouths; k++)
            free(f->mouths[k].pixels);
        free(f->mouths);
    }
    free((*t)->faces);
    free((*t)->pts);
    free((*t)->cuts);
    free(*t);
    *t = NULL;
}

// --- which face ---

bool face_choice_parse(const char *text, enum face_choice *ret, int *ret_number)
{
    static const char *const names[] = {"largest", "left", "right", "center"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum face_choice)i;
            *ret_number = 0;
            return true;
        }
    }
    char *end;
    long number = strtol(text, &end, 10);
    if (end == text || *end || number < 1 || number > 1000)
        return false;
    *ret = FACE_NUMBER;
    *ret_number = (int)number;
    return true;
}

// Mean over the frames where it is seen of the middle of the face, left to right.
static double mean_x(const struct track_identity *f)
{
    double sum = 0;
    for (int i = 0; i < f->n_records; i++)
        sum += (double)(f->records[i].box[0] + f->records[i].box[2]) / 2;
    return sum / KB_MAX(f->n_records, 1);
}

float record_distance(const struct track_record *r, const float point[2])
{
    float w = fmaxf(r->box[2] - r->box[0], 1) / 2, h = fmaxf(r->box[3] - r->box[1], 1) / 2;
    float x = fabsf(point[0] - (r->box[0] + r->box[2]) / 2);
    float y = fabsf(point[1] - (r->box[1] + r->box[3]) / 2);
    if (x <= w && y <= h)
        return fmaxf(x / w, y / h) - 1;
    return hypotf(fmaxf(x - w, 0), fmaxf(y - h, 0));
}

static int no_face(struct kb_error *err)
{
    kb_fail(err, KB_NOT_FOUND, _("no face was found in the video"));
    return -1;
}

// The frame that is shown at that time; the first one before, the last one after the track.
static int frame_at(const struct track *t, double seconds)
{
    int i = 0;
    while (i + 1 < t->info.n_frames && (double)t->pts[i + 1] / 1e6 <= seconds)
        i++;
    return i;
}

struct search {
    const struct track *track;
    float point[2], least; // how far the best one is from the point
    int best;
};

// Anybody in this frame who is nearer? True once the point is in somebody's box.
static bool look_into(struct search *s, int frame)
{
    for (int f = 0; f < s->track->info.n_faces; f++) {
        const struct track_record *r = track_record(s->track, f, frame);
        float d = r ? record_distance(r, s->point) : INFINITY;
        if (d < s->least) {
            s->least = d;
            s->best = f;
        }
    }
    return s->least < 0;
}

// All frames of [first, end) but [*done_first, *done_end) between them, the nearer ones in time
// first. True once the point is in somebody's box.
static bool look_outwards(struct search *s, int first, int end, double seconds, int *done_first,
                          int *done_end)
{
    const int64_t *pts = s->track->pts;
    bool found = false;
    while (!found && (*done_first > first || *done_end < end)) {
        bool back = *done_first > first &&
                    (*done_end == end || seconds - (double)pts[*done_first - 1] / 1e6 <
                                             (double)pts[*done_end] / 1e6 - seconds);
        found = look_into(s, back ? --*done_first : (*done_end)++);
    }
    return found;
}

int track_choose_at(const struct track *t, const double at[3], struct kb_error *err)
{
    struct search s = {
        .track = t,
        .point = {(float)at[0] * (float)t->info.width, (float)at[1] * (float)t->info.height},
        .least = INFINITY,
        .best = -1};
    int middle = frame_at(t, at[2]), first, end, done_first = middle, done_end = middle;
    track_view_around(t, middle, &first, &end);
    if (!look_outwards(&s, first, end, at[2], &done_first, &done_end))
        look_outwards(&s, 0, t->info.n_frames, at[2], &done_first, &done_end);
    return s.best >= 0 ? s.best : no_face(err);
}

bool face_at_parse(const char *text, double ret[3])
{
    double at[3] = {0, 0, -1};
    for (int i = 0; i < 3; i++) {
        char *end;
        if (!((*text >= '0' && *text <= '9') || *text == '.'))
            return false;
        at[i] = strtod(text, &end);
        if (end == text || !isfinite(at[i]) || (i < 2 && at[i] > 1))
            return false;
        if (*end == '\0' && i > 0)
            break;
        if (*end != ',' || i == 2)
            return false;
        text = end + 1;
    }
    memcpy(ret, at, sizeof(at));
    return true;
}

int track_choose(const struct track *t, enum face_choice choice, int number, struct kb_error *err)
{
    int n = t->info.n_faces, best = 0;
    if (n == 0)
        return no_face(err);
    if (choice == FACE_NUMBER && (number < 1 || number > n)) {
        kb_fail(err, KB_NOT_FOUND,
                ngettext("there is no face number %d: the video has %d face",
                         "there is no face number %d: the video has %d faces", (unsigned long)n),
                number, n);
        return -1;
    }
    if (choice == FACE_NUMBER)
        return number - 1; // faces are kept in order of size
    for (int i = 1; i < n && choice != FACE_LARGEST; i++) {
        double x = mean_x(&t->faces[i]), x_best = mean_x(&t->faces[best]);
        double middle = (double)t->info.width / 2;
        if (choice == FACE_LEFT    ? x < x_best
            : choice == FACE_RIGHT ? x > x_best
                                   : fabs(x - middle) < fabs(x_best - middle))
            best = i;
    }
    return best;
}
