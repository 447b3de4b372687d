// Makes a track. In every frame the landmarks of the frame before say where to look for each face;
// the detector, which costs as much as several faces, runs only when a face was just lost, when
// there is none, and once a second for new ones.
//
// A face that was lost and comes back is the same person if it is near its old place and size (for
// a second), or overlaps its old place (however much later). There is no recognition of identity,
// so two people who take turns in the same place of the picture become one.
#include "face/cover.h"
#include "face/library.h"
#include "face/models_internal.h"
#include "face/track_internal.h"

#include "base/file.h"
#include "media/ahead.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/frame.h>

#define MAX_PERSONS     32
#define MIN_MESH_SCORE  0.5f
#define MIN_FACE_PX     20.0f   // smaller faces give no usable landmarks
#define CHECK_EVERY_US  1000000 // for new faces
#define SEARCH_EVERY_US 3000000 // the same thoroughly, for small ones
#define RETRY_EVERY_US  300000  // thoroughly while there is no face at all
#define SHORT_LOSS_US   1000000
#define FALSE_FRACTION  0.05    // seen in less of the frames, and
#define FALSE_US        400000  // for less time: not a face
#define SHORT_VIDEO_US  1000000 // below this every face counts
#define FRAMES_AHEAD    8
#define COVERED         0.2f // from this cover on the mouth's picture is of no use

_Static_assert(MAX_PERSONS > TRACK_MAX_FACES, "somebody is lost when all places are taken");

struct person {
    int n, capacity; // records
    struct track_record *records;
    int32_t *frames;          // number of the frame of each record
    struct cover_look *looks; // what it shows around the mouth
    bool active;
    struct mesh mesh; // of the last frame where it was seen
    float box[4];
    int64_t last_us;
    double area;    // sum over frames
    double skin[3]; // sums of library_skin()
    int64_t n_skin;
    struct library library;
};

struct tracker {
    struct face_models *models;
    struct person persons[MAX_PERSONS];
    int n_persons;
    int n_frames, pts_capacity;
    int64_t *pts;
    int64_t next_check_us, next_search_us, next_retry_us, last_loss_us;
};

static void person_clear(struct person *p)
{
    free(p->records);
    free(p->frames);
    free(p->looks);
    library_clear(&p->library);
    *p = (struct person){0};
}

static void tracker_clear(struct tracker *k)
{
    for (int i = 0; i < k->n_persons; i++)
        person_clear(&k->persons[i]);
    free(k->pts);
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

static enum kb_code person_put(struct person *p, const AVFrame *frame, int number,
                               const struct mesh *mesh, struct kb_error *err)
{
    if (p->n == p->capacity) {
        int capacity = KB_MAX(p->capacity * 2, 256);
        void *records = realloc(p->records, (size_t)capacity * sizeof(p->records[0]));
        if (records)
            p->records = records;
        void *frames = realloc(p->frames, (size_t)capacity * sizeof(p->frames[0]));
        if (frames)
            p->frames = frames;
        void *looks = realloc(p->looks, (size_t)capacity * sizeof(p->looks[0]));
        if (looks)
            p->looks = looks;
        if (!records || !frames || !looks)
            return kb_no_memory(err);
        p->capacity = capacity;
    }
    record_pack(&p->records[p->n], mesh);
    cover_see(&p->looks[p->n], frame, mesh);
    p->frames[p->n++] = number;
    p->mesh = *mesh;
    mesh_box(mesh, p->box);
    p->last_us = frame->pts;
    p->active = true;
    p->area += (double)(p->box[2] - p->box[0]) * (double)(p->box[3] - p->box[1]);
    p->n_skin += library_skin(mesh, frame, p->skin);
    return library_offer(&p->library, frame, number, mesh, err);
}

// Pictures of mouths are large: only those persons who would be faces of the track if the video
// ended here may hold all that a face may.
static void share_libraries(struct tracker *k)
{
    for (int i = 0; i < k->n_persons; i++) {
        int n_before = 0;
        for (int j = 0; j < k->n_persons; j++)
            n_before += k->persons[j].area > k->persons[i].area;
        library_allow(&k->persons[i].library, n_before < TRACK_MAX_FACES);
    }
}

// Find the faces of the frame before in this one.
static enum kb_code follow(struct tracker *k, const AVFrame *frame, int number,
                           struct kb_error *err)
{
    for (int i = 0; i < k->n_persons; i++) {
        struct person *p = &k->persons[i];
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
            code = person_put(p, frame, number, &mesh, err);
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
static struct person *recall(struct tracker *k, const float box[4], int64_t now_us)
{
    struct person *best = NULL;
    float best_score = 0;
    for (int i = 0; i < k->n_persons; i++) {
        struct person *p = &k->persons[i];
        float size = box_size(box), before = box_size(p->box);
        if (p->active || size > 2 * before || before > 2 * size)
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

// A place for somebody new; when all are taken, that of the lost person who was seen least.
static struct person *new_person(struct tracker *k)
{
    if (k->n_persons < MAX_PERSONS)
        return &k->persons[k->n_persons++];
    struct person *least = NULL;
    for (int i = 0; i < k->n_persons; i++)
        if (!k->persons[i].active && (!least || k->persons[i].n < least->n))
            least = &k->persons[i];
    assert(least); // at most TRACK_MAX_FACES are active
    person_clear(least);
    return least;
}

static bool taken(const struct tracker *k, const float box[4])
{
    float x = (box[0] + box[2]) / 2, y = (box[1] + box[3]) / 2;
    for (int i = 0; i < k->n_persons; i++) {
        const struct person *p = &k->persons[i];
        if (p->active && (box_iou(box, p->box) > 0.3f ||
                          (x > p->box[0] && x < p->box[2] && y > p->box[1] && y < p->box[3])))
            return true;
    }
    return false;
}

// Run the detector and take up every face that is not tracked yet.
static enum kb_code discover(struct tracker *k, const AVFrame *frame, int number,
                             enum detect_effort effort, struct kb_error *err)
{
    struct detection found[16];
    int n = 0;
    enum kb_code code = detect_faces(k->models, frame, effort, found, ARRAY_LEN(found), &n, err);
    for (int i = 0; code == KB_OK && i < n && n_active(k) < TRACK_MAX_FACES; i++) {
        const struct detection *d = &found[i];
        float box[4] = {d->x, d->y, d->x + d->width, d->y + d->height};
        struct mesh mesh;
        if (taken(k, box) || box_size(box) < MIN_FACE_PX)
            continue;
        struct face_region region = region_from_detection(d);
        code = face_mesh(k->models, frame, &region, &mesh, err);
        if (code != KB_OK || !mesh_usable(&mesh, frame))
            continue;
        // Once more from the landmarks, as all later frames will be seen.
        region = region_from_mesh(&mesh);
        code = face_mesh(k->models, frame, &region, &mesh, err);
        if (code != KB_OK || !mesh_usable(&mesh, frame))
            continue;
        mesh_box(&mesh, box);
        if (taken(k, box))
            continue;
        struct person *p = recall(k, box, frame->pts);
        code = person_put(p ? p : new_person(k), frame, number, &mesh, err);
    }
    return code;
}

static enum kb_code track_frame(struct tracker *k, const AVFrame *frame, struct kb_error *err)
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
    enum kb_code code = follow(k, frame, number, err);
    if (code != KB_OK)
        return code;
    int64_t now = frame->pts;
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
    return discover(k, frame, number, search ? DETECT_THOROUGH : DETECT_QUICK, err);
}

// --- the end ---

static int by_area(const void *a, const void *b)
{
    double x = ((const struct person *)a)->area, y = ((const struct person *)b)->area;
    return (x < y) - (x > y);
}

// Seen so seldom that it was most likely never a face.
static bool is_false(const struct tracker *k, const struct person *p, int64_t duration_us)
{
    double seen = (double)p->n / k->n_frames;
    return duration_us >= SHORT_VIDEO_US && seen < FALSE_FRACTION &&
           seen * (double)duration_us < FALSE_US;
}

// Where the mouth does not look as it does mostly; such pictures of it are of no use. Returns the
// part of the lower lip that is mostly hidden.
static float judge_cover(struct person *p)
{
    struct cover_model usual;
    cover_learn(&usual, p->looks, p->n);
    for (int i = 0; i < p->n; i++) {
        float cover = cover_of(&usual, &p->looks[i]);
        p->records[i].cover = (uint16_t)lrintf(cover * 65535);
        if (cover >= COVERED)
            library_forget(&p->library, p->frames[i]);
    }
    return cover_hides(&usual);
}

static enum kb_code hand_over(struct person *p, int n_frames, struct track_identity *ret,
                              struct kb_error *err)
{
    ret->at = kb_calloc_checked((size_t)n_frames, sizeof(ret->at[0]));
    if (!ret->at)
        return kb_no_memory(err);
    memset(ret->at, 0xff, (size_t)n_frames * sizeof(ret->at[0])); // all -1
    for (int i = 0; i < p->n; i++)
        ret->at[p->frames[i]] = i;
    ret->hidden = judge_cover(p);
    static const float daylight[3] = {140, 118, 146}; // where its mouth is never in the picture
    for (int i = 0; i < 3; i++)
        ret->skin[i] = p->n_skin ? (float)(p->skin[i] / (double)p->n_skin) : daylight[i];
    library_take(&p->library, &ret->mouths, &ret->n_mouths);
    ret->n_records = p->n;
    ret->records = TAKE(p->records);
    return KB_OK;
}

static enum kb_code finish(struct tracker *k, struct track *t, struct kb_error *err)
{
    int64_t duration_us = k->pts[k->n_frames - 1] - k->pts[0];
    duration_us += k->n_frames > 1 ? duration_us / (k->n_frames - 1) : 0;
    t->info.n_frames = k->n_frames;
    t->pts = TAKE(k->pts);
    t->faces = kb_alloc(TRACK_MAX_FACES * sizeof(t->faces[0]));
    // Largest and longest seen first: that is the order of --face NUMBER.
    qsort(k->persons, (size_t)k->n_persons, sizeof(k->persons[0]), by_area);
    for (int i = 0; i < k->n_persons && t->info.n_faces < TRACK_MAX_FACES; i++) {
        struct person *p = &k->persons[i];
        if (is_false(k, p, duration_us))
            continue;
        enum kb_code code = hand_over(p, k->n_frames, &t->faces[t->info.n_faces++], err);
        if (code != KB_OK)
            return code;
    }
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

static enum kb_code track_frames(struct tracker *k, struct reader *r,
                                 const struct track_params *params, int64_t *ret_covered_us,
                                 struct kb_error *err)
{
    int64_t expected = frames_expected(reader_info(r), params->limit_us);
    CLEANUP(ahead_stop) struct ahead *ahead = NULL;
    enum kb_code code = ahead_start(&ahead, r, FRAMES_AHEAD, err);
    if (code != KB_OK)
        return code;
    *ret_covered_us = INT64_MAX;
    while (true) {
        CLEANUP(av_frame_free) AVFrame *frame = NULL;
        code = watch_check(&params->watch, err);
        if (code == KB_OK)
            code = ahead_next(ahead, &frame, err);
        if (code == KB_EOF)
            break;
        if (code != KB_OK)
            return code;
        if (params->limit_us > 0 && frame->pts >= params->limit_us) {
            *ret_covered_us = params->limit_us;
            break;
        }
        code = track_frame(k, frame, err);
        if (code != KB_OK)
            return code;
        watch_tell(&params->watch, STAGE_PREPROCESSING, k->n_frames, KB_MAX(expected, k->n_frames));
    }
    watch_tell(&params->watch, STAGE_PREPROCESSING, k->n_frames, k->n_frames);
    return KB_OK;
}

enum kb_code track_make(struct track **ret, const char *video_path, struct face_models *models,
                        const struct track_params *params, struct kb_error *err)
{
    const struct track_params p = params ? *params : (struct track_params){0};
    const struct reader_params rp = {.threads = p.decoder_threads, .cancel = p.watch.cancel};
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
