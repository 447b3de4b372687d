#include "lipsync/lead.h"

#include "lipsync/vad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Below this the mesh is as likely to look at something else; the tracker lets a face go there too.
#define SCORE_MIN 0.5f
// Lips further from their rest than this, half a face, are misread.
#define DELTA_MAX 0.5f
// The mesh shakes by a fraction of a pixel, lips need two frames to open: together with the
// straight lines between frames (at 25 a second) this smooths as a Gaussian of 26 ms does.
#define SMOOTH_US    20000.0
#define SMOOTH_STEP  5000 // of the sum over time
#define SMOOTH_REACH 12   // steps: three times SMOOTH_US

struct reading {
    int64_t pts_us;
    float delta[MOTION_POINTS][2];
};

struct lead {
    const struct lead_params *p;
    struct reading *readings; // in the order of time
    int n, capacity;
    int64_t painted; // frames that were to be read
};

static void lead_clear(struct lead *l)
{
    free(l->readings);
}

// --- one picture ---

enum kb_code lead_read(struct face_models *faces, const struct person *person,
                       const AVFrame *picture, const struct track_face *seen, float scale_x,
                       float scale_y, float ret[MOTION_POINTS][2], bool *ret_found,
                       struct kb_error *err)
{
    float box[4], eyes[2][2];
    const float *right = seen->points[track_point_of(33)],
                *left = seen->points[track_point_of(263)];
    for (int i = 0; i < 2; i++) {
        float scale = i ? scale_y : scale_x;
        box[i] = seen->box[i] * scale;
        box[2 + i] = seen->box[2 + i] * scale;
        eyes[0][i] = right[i] * scale;
        eyes[1][i] = left[i] * scale;
    }
    struct face_region region = region_from_box(box, eyes[0], eyes[1]);
    struct mesh mesh;
    *ret_found = false;
    enum kb_code code = face_mesh(faces, picture, &region, &mesh, err);
    if (code != KB_OK)
        return code;

    // Its own pose, not the track's: forehead, eyes and nose were not painted, and where the whole
    // mesh is off by a little, they are off with the lips.
    float points[TRACK_N_POINTS][3];
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        const float *p = mesh.points[track_point_ids[i]];
        points[i][0] = p[0] / scale_x;
        points[i][1] = p[1] / scale_y;
        points[i][2] = p[2] / scale_x;
    }
    struct pose pose;
    if (!(mesh.score >= SCORE_MIN) || !person_pose(person, (const float(*)[3])points, &pose))
        return KB_OK;
    for (int i = 0; i < MOTION_POINTS; i++) {
        float canonical[3];
        pose_invert(&pose, points[TRACK_OUTER_FIRST + i], canonical);
        for (int k = 0; k < 2; k++) {
            ret[i][k] = canonical[k] - person->neutral[TRACK_OUTER_FIRST + i][k];
            if (!(fabsf(ret[i][k]) <= DELTA_MAX))
                return KB_OK;
        }
    }
    *ret_found = true;
    return KB_OK;
}

// --- all of them ---

static enum kb_code look(void *opaque, const struct shown_frame *shown, bool painted,
                         struct kb_error *err)
{
    struct lead *l = opaque;
    const struct cropper *c = &l->p->painting.cropper;
    const struct cast *cast = l->p->painting.cast;
    int member = cast_at(cast, shown->track_frame);
    if (!painted || !l->p->persons[member])
        return KB_OK;
    if (l->n == l->capacity) {
        int capacity = KB_MAX(l->capacity * 2, 256);
        void *grown = realloc(l->readings, (size_t)capacity * sizeof(*l->readings));
        if (!grown)
            return kb_no_memory(err);
        l->readings = grown;
        l->capacity = capacity;
    }
    struct reading *r = &l->readings[l->n];
    struct track_face seen;
    bool found = false;
    track_face(c->track, cast_face(cast, member), shown->track_frame, &seen);
    enum kb_code code = lead_read(l->p->faces, l->p->persons[member], shown->frame, &seen,
                                  c->scale_x, c->scale_y, r->delta, &found, err);
    r->pts_us = shown->pts_us;
    l->n += found;
    l->painted++;
    return code;
}

// Adds weight times the reading at a time, straight between the two around it; at: where to begin
// to look for them, which moves on with the time.
static void add_at(const struct lead *l, int64_t pts_us, int *at, float weight,
                   float sum[MOTION_POINTS][2])
{
    const struct reading *r = l->readings;
    while (*at < l->n - 2 && r[*at + 1].pts_us <= pts_us)
        ++*at;
    const struct reading *a = &r[*at], *b = &r[KB_MIN(*at + 1, l->n - 1)];
    int64_t span = KB_MAX(b->pts_us - a->pts_us, 1);
    float t = fminf(fmaxf((float)(pts_us - a->pts_us) / (float)span, 0), 1);
    for (int i = 0; i < MOTION_POINTS; i++)
        for (int k = 0; k < 2; k++)
            sum[i][k] += weight * (a->delta[i][k] + t * (b->delta[i][k] - a->delta[i][k]));
}

static void resample(const struct lead *l, struct motion *ret)
{
    float weights[2 * SMOOTH_REACH + 1], sum = 0;
    for (int k = -SMOOTH_REACH; k <= SMOOTH_REACH; k++) {
        double d = k * SMOOTH_STEP / SMOOTH_US;
        sum += weights[k + SMOOTH_REACH] = (float)exp(-d * d / 2);
    }
    int first = 0; // reading before the earliest time that counts
    for (int i = 0; i < ret->n; i++) {
        int64_t middle = (int64_t)i * 1000000 / MOTION_RATE_HZ;
        int64_t earliest = middle - SMOOTH_REACH * SMOOTH_STEP;
        while (first < l->n - 2 && l->readings[first + 1].pts_us <= earliest)
            first++;
        int at = first;
        for (int k = -SMOOTH_REACH; k <= SMOOTH_REACH; k++)
            add_at(l, middle + k * SMOOTH_STEP, &at, weights[k + SMOOTH_REACH] / sum,
                   ret->delta[i]);
    }
}

enum kb_code lead_run(struct motion **ret, int64_t *ret_frames, const struct lead_params *p,
                      struct kb_error *err)
{
    CLEANUP(lead_clear) struct lead lead = {.p = p};
    CLEANUP(motion_free) struct motion *m = kb_alloc(sizeof(*m));
    struct pipeline_params painting = p->painting;
    painting.writer = NULL;
    painting.look = look;
    painting.onlooker = &lead;
    struct pipeline_result done;
    enum kb_code code = pipeline_run(&painting, &done, err);
    *ret_frames = done.frames;
    if (code != KB_OK)
        return code;
    if (lead.painted > 0 && lead.n == 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("no lips could be read in what the model painted; leave out --paint no"));

    int step = MEL_PER_S / MOTION_RATE_HZ;
    m->n = (mel_columns(painting.mel) - 1) / step + 1;
    m->delta = kb_calloc_checked((size_t)m->n, sizeof(*m->delta));
    m->voice = kb_calloc_checked((size_t)m->n, sizeof(*m->voice));
    if (!m->delta || !m->voice)
        return kb_no_memory(err);
    if (lead.n > 0)
        resample(&lead, m);
    code = vad_find(m->voice, m->n, step, painting.mel, err);
    if (code == KB_OK)
        *ret = TAKE(m);
    return code;
}
