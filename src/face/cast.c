#include "face/cast.h"

#include "face/likeness.h"
#include "face/track_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEADY    0.95f    // of a view's frames: a small face that is there in fewer comes and goes
#define ON_HEAD   (-0.35f) // cosine of the roll: turned by 110 degrees or more
#define MORE_LIKE 0.5f
#define DIFFERENT 1.8f // likeness from which on it is hardly the same person

struct cast {
    int n, faces[TRACK_MAX_FACES], lead;
    int n_frames;
    int8_t *members; // of each frame
    struct cast_gaps gaps;
};

// One face in one view.
struct glimpse {
    int n; // frames
    double area, x, size, upright;
    float distance; // from the wanted point in the first frame; 0 = it holds it
};

void cast_free(struct cast **c)
{
    if (!*c)
        return;
    free((*c)->members);
    free(*c);
    *c = NULL;
}

int cast_count(const struct cast *c)
{
    return c->n;
}

int cast_face(const struct cast *c, int member)
{
    return c->faces[member];
}

int cast_at(const struct cast *c, int frame)
{
    return c->members[KB_MAX(KB_MIN(frame, c->n_frames - 1), 0)];
}

int cast_lead(const struct cast *c)
{
    return c->lead;
}

const struct cast_gaps *cast_gaps(const struct cast *c)
{
    return &c->gaps;
}

// --- one view ---

struct view {
    const struct track *track;
    const struct cast_params *p;
    int chosen;     // face
    float point[2]; // of FACE_AT, pixels
    int first, end;
    const bool *beside;           // the chosen one, in any frame of the film
    const struct likeness *looks; // of each face of the track
    struct glimpse faces[TRACK_MAX_FACES];
};

static void look(struct view *v)
{
    memset(v->faces, 0, sizeof(v->faces));
    for (int f = 0; f < v->track->info.n_faces; f++)
        for (int i = v->first; i < v->end; i++) {
            struct glimpse *g = &v->faces[f];
            const struct track_record *r = track_record(v->track, f, i);
            if (!r)
                continue;
            double w = (double)(r->box[2] - r->box[0]), h = (double)(r->box[3] - r->box[1]);
            if (g->n++ == 0)
                g->distance = record_distance(r, v->point);
            g->area += w * h;
            g->x += (double)(r->box[0] + r->box[2]) / 2;
            g->size += fmax(w, h);
            g->upright += cos(r->angles[2] / 10000.0);
        }
}

static bool too_small(const struct view *v, const struct glimpse *g)
{
    double size = g->size / g->n;
    return size < CAST_LEAST_PX ||
           (size < CAST_SAFE_PX && (float)g->n < STEADY * (float)(v->end - v->first));
}

static bool on_head(const struct view *v, const struct glimpse *g)
{
    return v->p->upright && g->upright / g->n < (double)ON_HEAD;
}

// How much it is the one that the choice means; more is better.
static double merit(const struct view *v, const struct glimpse *g)
{
    double x = g->x / g->n, middle = (double)v->track->info.width / 2;
    switch (v->p->choice) {
    case FACE_LEFT:
        return -x;
    case FACE_RIGHT:
        return x;
    case FACE_CENTER:
        return -fabs(x - middle);
    case FACE_AT:
        return -(double)g->distance;
    default:
        return g->area;
    }
}

// Whether somebody in a view without the chosen one may be them all the same.
static bool may_be_chosen(const struct view *v, int face)
{
    float to_chosen = likeness_distance(&v->looks[face], &v->looks[v->chosen]);
    if (v->faces[face].n == 0 || v->beside[face])
        return false;
    bool alone = true;
    for (int i = 0; i < v->track->info.n_faces; i++) {
        alone = alone && !v->beside[i];
        if (v->beside[i] &&
            likeness_distance(&v->looks[face], &v->looks[i]) + MORE_LIKE < to_chosen)
            return false; // they are more like somebody who stood beside the chosen one
    }
    // With a time the point means one picture, and who is in it; else any.
    bool timed = v->p->choice == FACE_AT && v->p->at[2] >= 0;
    bool pointed_at = v->p->choice == FACE_AT && !timed && v->faces[face].distance < 0;
    bool named = v->p->choice == FACE_NUMBER || timed;
    bool anybody = v->p->choice == FACE_LARGEST || (alone && !named);
    return anybody || pointed_at || to_chosen < DIFFERENT;
}

// The face that is animated in this view, or -1.
static int find(struct view *v, struct cast_gaps *gaps)
{
    look(v);
    int best = v->faces[v->chosen].n > 0 ? v->chosen : -1;
    for (int f = 0; v->faces[v->chosen].n == 0 && f < v->track->info.n_faces; f++)
        if (may_be_chosen(v, f) && (best < 0 || merit(v, &v->faces[f]) > merit(v, &v->faces[best])))
            best = f;
    if (best < 0)
        return -1;
    const struct glimpse *g = &v->faces[best];
    bool small = too_small(v, g), turned = !small && on_head(v, g);
    if (small)
        gaps->size = fmaxf(gaps->size, (float)(g->size / g->n));
    gaps->n_small += small;
    gaps->n_turned += turned;
    return small || turned ? -1 : best;
}

// --- all of them ---

static int member_of(struct cast *c, int face)
{
    for (int i = 0; i < c->n; i++)
        if (c->faces[i] == face)
            return i;
    c->faces[c->n] = face;
    return c->n++;
}

static void find_beside(const struct track *t, int chosen, bool *ret)
{
    for (int i = 0; i < t->info.n_frames; i++)
        for (int f = 0; f < t->info.n_faces && track_record(t, chosen, i); f++)
            ret[f] = ret[f] || (f != chosen && track_record(t, f, i));
}

// What everybody looks like, a new array; needed where there is more than one view.
static struct likeness *look_at_all(const struct track *t)
{
    struct likeness *ret = kb_alloc(TRACK_MAX_FACES * sizeof(*ret));
    for (int i = 0; i < t->info.n_faces && t->info.n_cuts > 0; i++)
        likeness_of(&ret[i], t->faces[i].records, t->faces[i].n_records, t->faces[i].skin);
    return ret;
}

static int next_view(const struct track *t, int frame)
{
    int first, end;
    track_view_around(t, frame, &first, &end);
    return end;
}

// Who stands left, right or in the middle is told by the view in which most are seen together, the
// longest of these: elsewhere the camera may have been turned to them alone.
static int choose_by_place(struct view *v)
{
    int most = 0, longest = 0, best = -1;
    for (v->first = 0; v->first < v->track->info.n_frames; v->first = v->end) {
        int n = 0, face = -1;
        v->end = next_view(v->track, v->first);
        look(v);
        for (int f = 0; f < v->track->info.n_faces; f++) {
            if (v->faces[f].n == 0)
                continue;
            n++;
            if (face < 0 || merit(v, &v->faces[f]) > merit(v, &v->faces[face]))
                face = f;
        }
        if (n > most || (n == most && v->end - v->first > longest)) {
            most = n;
            longest = v->end - v->first;
            best = face;
        }
    }
    return best;
}

static int choose(struct view *v, struct kb_error *err)
{
    const struct cast_params *p = v->p;
    if (p->choice == FACE_AT)
        return track_choose_at(v->track, p->at, err);
    if (p->choice == FACE_LARGEST || p->choice == FACE_NUMBER || v->track->info.n_cuts == 0)
        return track_choose(v->track, p->choice, p->number, err);
    int face = choose_by_place(v);
    return face >= 0 ? face : track_choose(v->track, p->choice, p->number, err); // says why
}

enum kb_code cast_make(struct cast **ret, const struct track *t, const struct cast_params *p,
                       struct kb_error *err)
{
    CLEANUP(cast_free) struct cast *c = kb_alloc(sizeof(*c));
    bool beside[TRACK_MAX_FACES] = {0};
    struct view v = {.track = t, .p = p, .beside = beside};
    v.chosen = choose(&v, err);
    if (v.chosen < 0)
        return KB_NOT_FOUND;
    v.point[0] = (float)p->at[0] * (float)t->info.width;
    v.point[1] = (float)p->at[1] * (float)t->info.height;
    c->n_frames = t->info.n_frames;
    c->members = kb_calloc_checked((size_t)c->n_frames, 1);
    if (!c->members)
        return kb_no_memory(err);
    find_beside(t, v.chosen, beside);
    CLEANUP(kb_freep) struct likeness *looks = look_at_all(t);
    v.looks = looks;
    for (v.first = 0; v.first < c->n_frames; v.first = v.end) {
        v.end = next_view(t, v.first);
        int face = find(&v, &c->gaps), member = face >= 0 ? member_of(c, face) : -1;
        memset(c->members + v.first, member, (size_t)(v.end - v.first));
        if (face == v.chosen)
            c->lead = member;
    }
    *ret = TAKE(c);
    return KB_OK;
}
