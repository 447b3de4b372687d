// Makes a track. In every frame the landmarks of the frame before say where to look for each face;
// the detector, which costs as much as several faces, runs only when a face was just lost, when
// there is none, and once a second for new ones.
//
// A face that was lost and comes back is the same person if it is near its old place and size (for
// a second), or overlaps its old place (however much later). That holds within one view: where the
// film is cut to another one (face/cut.h), everybody's piece of the track ends, and the faces are
// looked for anew. When the new view has ended too and it is known how its people look, each of
// them is joined to somebody of an earlier view who looks the same (face/likeness.h), or stays
// apart. Who takes turns in one place of the picture without a cut becomes one.
#include "face/cut.h"
#include "face/models_internal.h"
#include "face/sitter.h"

#include "base/file.h"
#include "media/ahead.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/frame.h>

#define MAX_PERSONS     64
#define MIN_MESH_SCORE  0.5f
#define MIN_FACE_PX     20.0f   // smaller faces give no usable landmarks
#define CHECK_EVERY_US  1000000 // for new faces
#define SEARCH_EVERY_US 3000000 // the same thoroughly, for small ones
#define RETRY_EVERY_US  300000  // thoroughly while there is no face at all
#define SHORT_LOSS_US   1000000
#define FALSE_FRACTION  0.05    // seen in less of the frames, and
#define FALSE_US        400000  // for less time: not a face
#define SHORT_VIDEO_US  1000000 // below this every face counts
// Of 7 people, the right way up or turned by any angle, the mesh had a logit of 16 to 35 where it
// was laid as the face lies, and -6 to 16 the other way round.
#define SURE_LOGIT   18.0f // nothing else is tried
#define TURNED_LOGIT 14.0f // from here on what was laid the other way round may be right
#define FRAMES_AHEAD 8

_Static_assert(MAX_PERSONS > TRACK_MAX_AT_ONCE, "somebody is lost when all places are taken");

struct tracker {
    struct face_models *models;
    struct sitter persons[MAX_PERSONS];
    int n_persons;
    int n_frames, pts_capacity;
    int64_t *pts;
    int64_t next_check_us, next_search_us, next_retry_us, last_loss_us;
    int n_cuts, cuts_capacity, n_views; // views that have ended
    struct track_cut *cuts;
};

static void tracker_clear(struct tracker *k)
{
    for (int i = 0; i < k->n_persons; i++)
        sitter_clear(&k->persons[i]);
    free(k->pts);
    free(k->cuts);
}

static int n_active(const struct tracker *k)
{
    int n = 0;
    for (int i = 0; i < k->n_persons; i++)
        n += k->persons[i].active;
    return n;
}

static float box_size(const float box[4])
{
    return fmaxf(box[2] - box[0], box[3] - box[1]);
}

static float centre_distance(const float a[4], const float b[4])
{
    return hypotf((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2);
}

static bool mesh_usable(const struct mesh *mesh, const AVFrame *frame)
{
    float box[4];
    mesh_box(mesh, box);
    float sum = 0; // a minimum or maximum passes over what is not a number
    for (int i = 0; i < MESH_POINTS; i++)
        for (int k = 0; k < 3; k++)
            sum += mesh->points[i][k];
    return mesh->score >= MIN_MESH_SCORE && isfinite(sum) && box_size(box) >= MIN_FACE_PX &&
           box[2] > 0 && box[3] > 0 && box[0] < (float)frame->width &&
           box[1] < (float)frame->height &&
           box_size(box) < 4 * (float)KB_MAX(frame->width, frame->height);
}

// Pictures of mouths are large: only the most seen persons of the film so far may hold all that a
// face may.
static void share_libraries(struct tracker *k)
{
    for (int i = 0; i < k->n_persons; i++) {
        int n_before = 0;
        for (int j = 0; j < k->n_persons; j++)
            n_before += k->persons[j].area > k->persons[i].area;
        library_allow(&k->persons[i].library, n_before < TRACK_MAX_AT_ONCE);
    }
}

// Find the faces of the frame before in this one.
static enum kb_code follow(struct tracker *k, const AVFrame *frame, int number,
                           struct kb_error *err)
{
    for (int i = 0; i < k->n_persons; i++) {
        struct sitter *p = &k->persons[i];
        if (!p->active)
            continue;
        struct face_region region = region_from_mesh(&p->mesh);
        struct mesh mesh;
        float box[4];
        enum kb_code code = face_mesh(k->models, frame, &region, &mesh, err);
        if (code != KB_OK)
            return code;
        mesh_box(&mesh, box);
        // A face does not jump by half its size or change it by half from one frame to the next:
        // that is a cut, or landmarks that slid off.
        float size = box_size(box), before = box_size(p->box);
        bool same = mesh_usable(&mesh, frame) && size < 1.5f * before && before < 1.5f * size &&
                    centre_distance(box, p->box) < 0.5f * before;
        for (int j = 0; same && j < i; j++) // two that slid onto one face
            same = !k->persons[j].active || box_iou(box, k->persons[j].box) < 0.4f;
        if (same) {
            code = sitter_put(p, frame, number, &mesh, err);
            if (code != KB_OK)
                return code;
        } else {
            p->active = false;
            k->last_loss_us = frame->pts;
        }
    }
    return KB_OK;
}

// The lost person who is found again here, or NULL.
static struct sitter *recall(struct tracker *k, const float box[4], int64_t now_us)
{
    struct sitter *best = NULL;
    float best_score = 0;
    for (int i = 0; i < k->n_persons; i++) {
        struct sitter *p = &k->persons[i];
        float size = box_size(box), before = box_size(p->box);
        if (p->active || p->ended || size > 2 * before || before > 2 * size)
            continue;
        float iou = box_iou(box, p->box), nearness = 1 - centre_distance(box, p->box) / before;
        bool recent = now_us - p->last_us <= SHORT_LOSS_US;
        float score = iou + 0.1f * nearness + (recent ? 0.5f : 0);
        if ((iou > 0.3f || (recent && nearness > 0)) && score > best_score) {
            best = p;
            best_score = score;
        }
    }
    return best;
}

// --- views ---

// Somebody of an earlier view who is not yet known to be in this one, and is most like p; or NULL.
static struct sitter *recognise(struct tracker *k, const struct sitter *p, int view)
{
    struct sitter *best = NULL;
    float least = 1;
    for (int i = 0; i < k->n_persons; i++) {
        struct sitter *q = &k->persons[i];
        float d = q->ended && q->view < view ? likeness_distance(&p->likeness, &q->likeness) : 1;
        if (d < least) {
            best = q;
            least = d;
        }
    }
    return best;
}

// The view is over: it is known how its people look.
static enum kb_code end_view(struct tracker *k, struct kb_error *err)
{
    int view = k->n_views++, n = 0;
    enum kb_code code = KB_OK;
    for (int i = 0; i < k->n_persons && code == KB_OK; i++) {
        struct sitter *p = &k->persons[i];
        if (p->ended)
            continue;
        sitter_end(p, view);
        struct sitter *q = recognise(k, p, view);
        if (q)
            code = sitter_join(q, p, err);
    }
    for (int i = 0; i < k->n_persons; i++) // those who were joined leave gaps
        if (k->persons[i].n > 0 && i != n++) {
            k->persons[n - 1] = k->persons[i];
            k->persons[i] = (struct sitter){0};
        }
    k->n_persons = n;
    return code;
}

static enum kb_code add_cut(struct tracker *k, int frame, enum cut cut, struct kb_error *err)
{
    if (k->n_cuts == k->cuts_capacity) {
        int capacity = KB_MAX(k->cuts_capacity * 2, 64);
        void *cuts = realloc(k->cuts, (size_t)capacity * sizeof(k->cuts[0]));
        if (!cuts)
            return kb_no_memory(err);
        k->cuts = cuts;
        k->cuts_capacity = capacity;
    }
    k->cuts[k->n_cuts++] = (struct track_cut){.frame = frame, .jump = cut == CUT_JUMP};
    return cut == CUT_VIEW ? end_view(k, err) : KB_OK;
}

// --- one frame ---

// A place for somebody new; when all are taken, that of the lost person who was seen least.
static struct sitter *new_person(struct tracker *k)
{
    if (k->n_persons < MAX_PERSONS)
        return &k->persons[k->n_persons++];
    struct sitter *least = NULL;
    for (int i = 0; i < k->n_persons; i++)
        if (!k->persons[i].active && (!least || k->persons[i].n < least->n))
            least = &k->persons[i];
    assert(least); // at most TRACK_MAX_AT_ONCE are active
    sitter_clear(least);
    return least;
}

static bool taken(const struct tracker *k, const float box[4])
{
    float x = (box[0] + box[2]) / 2, y = (box[1] + box[3]) / 2;
    for (int i = 0; i < k->n_persons; i++) {
        const struct sitter *p = &k->persons[i];
        if (p->active && (box_iou(box, p->box) > 0.3f ||
                          (x > p->box[0] && x < p->box[2] && y > p->box[1] && y < p->box[3])))
            return true;
    }
    return false;
}

// The mesh of a face that was just detected; *ret_found: false where there is none.
static enum kb_code mesh_at(struct tracker *k, const AVFrame *frame, struct face_region region,
                            struct mesh *ret, bool *ret_found, struct kb_error *err)
{
    *ret_found = false;
    for (int pass = 0; pass < 2; pass++) {
        enum kb_code code = face_mesh(k->models, frame, &region, ret, err);
        if (code != KB_OK || !mesh_usable(ret, frame))
            return code;
        // Once more from the landmarks, as all later frames will be seen.
        region = region_from_mesh(ret);
    }
    *ret_found = true;
    return KB_OK;
}

// The same for faces that may stand on their heads: the detector finds them too, but says that they
// stand upright, and the mesh puts a mouth where their eyes are and is almost sure of it.
static enum kb_code mesh_either_way(struct tracker *k, const AVFrame *frame,
                                    struct face_region region, struct mesh *ret, bool *ret_found,
                                    struct kb_error *err)
{
    struct mesh turned;
    bool found;
    enum kb_code code = mesh_at(k, frame, region, ret, ret_found, err);
    if (code != KB_OK || (*ret_found && ret->logit >= SURE_LOGIT))
        return code;
    region.angle += (float)M_PI;
    code = mesh_at(k, frame, region, &turned, &found, err);
    if (code == KB_OK && found &&
        turned.logit > (*ret_found ? fmaxf(ret->logit, TURNED_LOGIT) : SURE_LOGIT)) {
        *ret = turned;
        *ret_found = true;
    }
    return code;
}

// Run the detector and take up every face that is not tracked yet.
static enum kb_code discover(struct tracker *k, const AVFrame *frame, int number,
                             enum detect_effort effort, struct kb_error *err)
{
    struct detection found[16];
    int n = 0;
    enum kb_code code = detect_faces(k->models, frame, effort, found, ARRAY_LEN(found), &n, err);
    for (int i = 0; code == KB_OK && i < n && n_active(k) < TRACK_MAX_AT_ONCE; i++) {
        const struct detection *d = &found[i];
        float box[4] = {d->x, d->y, d->x + d->width, d->y + d->height};
        struct mesh mesh;
        bool usable;
        if (taken(k, box) || box_size(box) < MIN_FACE_PX)
            continue;
        code = mesh_either_way(k, frame, region_from_detection(d), &mesh, &usable, err);
        if (code != KB_OK || !usable)
            continue;
        mesh_box(&mesh, box);
        if (taken(k, box))
            continue;
        struct sitter *p = recall(k, box, frame->pts);
        code = sitter_put(p ? p : new_person(k), frame, number, &mesh, err);
    }
    return code;
}

static enum kb_code track_frame(struct tracker *k, const AVFrame *frame, enum cut cut,
                                struct kb_error *err)
{
    int number = k->n_frames;
    if (number == k->pts_capacity) {
        int capacity = KB_MAX(k->pts_capacity * 2, 1024);
        void *pts = realloc(k->pts, (size_t)capacity * sizeof(k->pts[0]));
        if (!pts)
            return kb_no_memory(err);
        k->pts = pts;
        k->pts_capacity = capacity;
    }
    k->pts[k->n_frames++] = frame->pts;

    share_libraries(k);
    int64_t now = frame->pts;
    enum kb_code code = cut == CUT_NONE ? KB_OK : add_cut(k, number, cut, err);
    if (code == KB_OK && cut == CUT_VIEW) // all faces are new
        k->next_search_us = now;
    if (code == KB_OK)
        code = follow(k, frame, number, err);
    if (code != KB_OK)
        return code;
    bool none = n_active(k) == 0;
    bool look = none || now - k->last_loss_us < SHORT_LOSS_US || now >= k->next_check_us;
    bool search =
        now >= k->next_search_us || ((none || now == k->last_loss_us) && now >= k->next_retry_us);
    if (!look && !search)
        return KB_OK;
    if (now >= k->next_check_us)
        k->next_check_us = now + CHECK_EVERY_US;
    if (search) {
        k->next_search_us = now + SEARCH_EVERY_US;
        k->next_retry_us = now + RETRY_EVERY_US;
    }
    return discover(k, frame, number,
                    !search ? DETECT_QUICK
                    : none  ? DETECT_SMALL
                            : DETECT_THOROUGH,
                    err);
}

// --- the end ---

static int by_area(const void *a, const void *b)
{
    double x = ((const struct sitter *)a)->area, y = ((const struct sitter *)b)->area;
    return (x < y) - (x > y);
}

// The views of the film: of each frame which one, of each view its frames and how many faces of
// the track are seen in it.
struct views {
    int *at, *n_frames, *n_faces;
};

static void views_clear(struct views *v)
{
    free(v->at);
    free(v->n_frames);
    free(v->n_faces);
}

static enum kb_code views_find(struct views *ret, const struct tracker *k, struct kb_error *err)
{
    ret->at = kb_calloc_checked((size_t)k->n_frames, sizeof(int));
    ret->n_frames = kb_calloc_checked((size_t)k->n_views, sizeof(int));
    ret->n_faces = kb_calloc_checked((size_t)k->n_views, sizeof(int));
    if (!ret->at || !ret->n_frames || !ret->n_faces)
        return kb_no_memory(err);
    for (int i = 0, view = 0, cut = 0; i < k->n_frames; i++) {
        if (cut < k->n_cuts && k->cuts[cut].frame == i)
            view += !k->cuts[cut++].jump;
        ret->at[i] = view;
        ret->n_frames[view]++;
    }
    return KB_OK;
}

// Seen so seldom in its views that it was most likely never a face.
static bool is_false(const struct sitter *p, const struct views *v, double frame_us)
{
    int n = 0;
    for (int i = 0; i < p->n; i++)
        if (i == 0 || v->at[p->frames[i]] != v->at[p->frames[i - 1]])
            n += v->n_frames[v->at[p->frames[i]]];
    return n * frame_us >= SHORT_VIDEO_US && p->n < FALSE_FRACTION * n &&
           p->n * frame_us < FALSE_US;
}

// A view has room for so many faces as can be followed; the largest come first. False if all of
// this person's are full.
static bool take_places(const struct sitter *p, const struct views *v)
{
    bool room = false;
    for (int i = 0; i < p->n; i++)
        room = room || v->n_faces[v->at[p->frames[i]]] < TRACK_MAX_AT_ONCE;
    for (int i = 0; i < p->n && room; i++)
        v->n_faces[v->at[p->frames[i]]] += i == 0 || v->at[p->frames[i]] != v->at[p->frames[i - 1]];
    return room;
}

static enum kb_code finish(struct tracker *k, struct track *t, struct kb_error *err)
{
    int64_t duration_us = k->pts[k->n_frames - 1] - k->pts[0];
    double frame_us = k->n_frames > 1 ? (double)duration_us / (k->n_frames - 1) : 0;
    CLEANUP(views_clear) struct views views = {0};
    enum kb_code code = end_view(k, err);
    if (code == KB_OK)
        code = views_find(&views, k, err);
    if (code != KB_OK)
        return code;
    t->info.n_frames = k->n_frames;
    t->pts = TAKE(k->pts);
    t->faces = kb_alloc(TRACK_MAX_FACES * sizeof(t->faces[0]));
    // Largest and longest seen first: that is the order of --face NUMBER.
    qsort(k->persons, (size_t)k->n_persons, sizeof(k->persons[0]), by_area);
    for (int i = 0; i < k->n_persons && t->info.n_faces < TRACK_MAX_FACES; i++) {
        struct sitter *p = &k->persons[i];
        if (is_false(p, &views, frame_us) || !take_places(p, &views))
            continue;
        code = sitter_hand_over(p, k->n_frames, &t->faces[t->info.n_faces++], err);
        if (code != KB_OK)
            return code;
    }
    t->info.n_cuts = k->n_cuts;
    t->cuts = TAKE(k->cuts);
    return KB_OK;
}

// --- the video ---

static int64_t frames_expected(const struct reader_info *info, int64_t limit_us)
{
    int64_t n = info->n_frames_estimate;
    if (limit_us > 0 && info->frame_rate.den > 0) {
        double within = (double)limit_us * 1e-6 * av_q2d(info->frame_rate);
        if (n == 0 || within < (double)n)
            n = (int64_t)within;
    }
    return n;
}

// Frames on their way to the tracker, CUT_AHEAD of which wait behind the next one.
struct waiting {
    struct ahead *ahead;
    struct cuts *cuts;
    AVFrame *frames[CUT_AHEAD + 1];
    int n;
    bool ended;
    int64_t limit_us, covered_us;
};

static void waiting_clear(struct waiting *w)
{
    for (int i = 0; i < w->n; i++)
        av_frame_free(&w->frames[i]);
    cuts_free(&w->cuts);
    ahead_stop(&w->ahead);
}

static enum kb_code fill(struct waiting *w, struct kb_error *err)
{
    while (!w->ended && w->n <= CUT_AHEAD) {
        AVFrame *frame = NULL;
        enum kb_code code = ahead_next(w->ahead, &frame, err);
        if (code != KB_OK && code != KB_EOF)
            return code;
        bool beyond = code == KB_OK && w->limit_us > 0 && frame->pts >= w->limit_us;
        w->covered_us = beyond ? w->limit_us : INT64_MAX;
        w->ended = beyond || code == KB_EOF;
        if (w->ended) {
            av_frame_free(&frame);
            break;
        }
        cuts_see(w->cuts, frame);
        w->frames[w->n++] = frame;
    }
    return w->n > 0 ? KB_OK : KB_EOF;
}

static AVFrame *pop(struct waiting *w)
{
    AVFrame *first = w->frames[0];
    w->n--;
    memmove(w->frames, w->frames + 1, (size_t)w->n * sizeof(w->frames[0]));
    return first;
}

static enum cut find_cut(const struct tracker *k, const struct waiting *w)
{
    float boxes[TRACK_MAX_AT_ONCE][4];
    int n = 0;
    for (int i = 0; i < k->n_persons; i++)
        if (k->persons[i].active)
            memcpy(boxes[n++], k->persons[i].box, sizeof(boxes[0]));
    return cuts_before(w->cuts, k->n_frames, (const float(*)[4])boxes, n);
}

static enum kb_code track_frames(struct tracker *k, struct reader *r,
                                 const struct track_params *params, int64_t *ret_covered_us,
                                 struct kb_error *err)
{
    int64_t expected = frames_expected(reader_info(r), params->limit_us);
    CLEANUP(waiting_clear)
    struct waiting w = {.cuts = cuts_create(), .limit_us = params->limit_us};
    enum kb_code code = ahead_start(&w.ahead, r, FRAMES_AHEAD, err);
    while (code == KB_OK) {
        code = watch_check(&params->watch, err);
        if (code == KB_OK)
            code = fill(&w, err);
        if (code != KB_OK)
            break;
        CLEANUP(av_frame_free) AVFrame *frame = pop(&w);
        code = track_frame(k, frame, find_cut(k, &w), err);
        watch_tell(&params->watch, STAGE_PREPROCESSING, k->n_frames, KB_MAX(expected, k->n_frames));
    }
    if (code != KB_EOF)
        return code;
    *ret_covered_us = w.covered_us;
    watch_tell(&params->watch, STAGE_PREPROCESSING, k->n_frames, k->n_frames);
    return KB_OK;
}

enum kb_code track_make(struct track **ret, const char *video_path, struct face_models *models,
                        const struct track_params *params, struct kb_error *err)
{
    const struct track_params p = params ? *params : (struct track_params){0};
    const struct reader_params rp = {
        .threads = p.decoder_threads, .deep = p.deep, .cancel = p.watch.cancel};
    CLEANUP(reader_close) struct reader *own = NULL;
    CLEANUP(track_free) struct track *t = kb_alloc(sizeof(*t));
    enum kb_code code = KB_OK;
    if (p.video_hash)
        memcpy(t->info.video_hash, p.video_hash, sizeof(t->info.video_hash));
    else
        code = file_hash(t->info.video_hash, video_path, err);
    if (code == KB_OK)
        code = p.film ? reader_restart(p.film, &rp, err) : reader_open(&own, video_path, &rp, err);
    if (code != KB_OK)
        return code;
    struct reader *r = p.film ? p.film : own;
    t->info.width = reader_info(r)->width;
    t->info.height = reader_info(r)->height;

    CLEANUP(kb_freep) struct tracker *k = kb_alloc(sizeof(*k));
    k->models = models;
    k->last_loss_us = INT64_MIN / 2;
    code = track_frames(k, r, &p, &t->info.covered_us, err);
    if (code == KB_OK && k->n_frames == 0)
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' holds no pictures"), video_path);
    if (code == KB_OK)
        code = finish(k, t, err);
    tracker_clear(k);
    if (code == KB_OK)
        *ret = TAKE(t);
    return code;
}
