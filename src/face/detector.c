// BlazeFace (Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond Neural Face Detection on Mobile
// GPUs"), with the anchors, decoding and thresholds that MediaPipe publishes with the two networks.
#include "face/models_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CANDIDATES 512 // of one picture, over all passes
#define SCORE_CLIP     100.0f
#define MERGE_IOU      0.3f
#define SMALL_SIDE     300 // of the squares in which small faces are looked for, at least
#define SMALL_MOST     6   // of them in a row or column
#define N_VALUES       16  // x, y, width, height, then six points

struct detector {
    int input;       // side of the square input in pixels
    float min_score; // MediaPipe: 0.5 short range, 0.6 full range
    int n_grids;
    struct {
        int cells;   // along each side
        int anchors; // per cell
    } grids[2];
};

// Strides 8, 16, 16, 16 of 128 with two anchors a layer; layers of one stride share their grid.
static const struct detector short_range = {128, 0.5f, 2, {{16, 2}, {8, 6}}};
// Stride 4 of 192 with one anchor.
static const struct detector full_range = {192, 0.6f, 1, {{48, 1}, {0, 0}}};

float box_iou(const float a[4], const float b[4])
{
    float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]), h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
    if (w <= 0 || h <= 0)
        return 0;
    float both = w * h;
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

static float detection_iou(const struct detection *a, const struct detection *b)
{
    return box_iou((const float[]){a->x, a->y, a->x + a->width, a->y + a->height},
                   (const float[]){b->x, b->y, b->x + b->width, b->y + b->height});
}

static int by_score(const void *a, const void *b)
{
    float x = ((const struct detection *)a)->score, y = ((const struct detection *)b)->score;
    return (x < y) - (x > y);
}

int detections_merge(struct detection *d, int n)
{
    const int n_floats = 4 + 2 * 6; // box and points, which lie together
    _Static_assert(offsetof(struct detection, score) == (4 + 2 * 6) * sizeof(float),
                   "box and points are contiguous");
    int n_kept = 0;
    qsort(d, (size_t)n, sizeof(*d), by_score);
    while (n_kept < n) {
        // The best that is left takes in all that overlap it, weighted by their scores.
        struct detection best = d[n_kept];
        double sum[4 + 2 * 6] = {0}, weight = 0;
        int n_left = n_kept + 1;
        for (int i = n_kept; i < n; i++) {
            if (i > n_kept && detection_iou(&best, &d[i]) <= MERGE_IOU) {
                d[n_left++] = d[i];
                continue;
            }
            const float *values = &d[i].x;
            for (int k = 0; k < n_floats; k++)
                sum[k] += (double)values[k] * (double)d[i].score;
            weight += (double)d[i].score;
        }
        float *values = &d[n_kept].x;
        for (int k = 0; k < n_floats; k++)
            values[k] = (float)(sum[k] / weight);
        n_kept++;
        n = n_left;
    }
    return n_kept;
}

// One anchor's raw numbers, in input pixels about the centre of its cell (ax, ay).
static struct detection decode(const float *raw, float ax, float ay, float score,
                               const struct affine *to_frame)
{
    struct detection d = {.score = score};
    float w = fabsf(raw[2] * to_frame->xx), h = fabsf(raw[3] * to_frame->yy), x, y;
    affine_apply(to_frame, raw[0] + ax, raw[1] + ay, &x, &y);
    d.x = x - w / 2;
    d.y = y - h / 2;
    d.width = w;
    d.height = h;
    for (int k = 0; k < 6; k++)
        affine_apply(to_frame, raw[4 + 2 * k] + ax, raw[5 + 2 * k] + ay, &d.points[k][0],
                     &d.points[k][1]);
    return d;
}

// Look at the square of the frame with this centre and side; append what is found.
static enum kb_code detect_square(struct session *s, const struct detector *net,
                                  const AVFrame *frame, float cx, float cy, float side,
                                  struct detection *list, int *n, struct kb_error *err)
{
    float scale = side / (float)net->input;
    struct affine to_frame = {.xx = scale, .x0 = cx - side / 2, .yy = scale, .y0 = cy - side / 2};
    struct warp_params p = {
        .width = net->input, .height = net->input, .pixel_stride = 3, .low = -1, .high = 1};
    warp_crop(frame, &to_frame, &p, session_input(s, 0));
    enum kb_code code = session_run(s, err);
    if (code != KB_OK)
        return code;

    const float *raw = session_output(s, 0), *scores = session_output(s, 1);
    for (int g = 0; g < net->n_grids; g++) {
        int cells = net->grids[g].cells, anchors = net->grids[g].anchors;
        float stride = (float)net->input / (float)cells;
        for (int i = 0; i < cells * cells * anchors; i++, raw += N_VALUES, scores++) {
            float score = 1 / (1 + expf(-fminf(fmaxf(*scores, -SCORE_CLIP), SCORE_CLIP)));
            if (!(score >= net->min_score) || *n >= MAX_CANDIDATES)
                continue;
            int cell = i / anchors;
            struct detection d = decode(raw, ((float)(cell % cells) + 0.5f) * stride,
                                        ((float)(cell / cells) + 0.5f) * stride, score, &to_frame);
            if (d.width > 0 && d.height > 0 && isfinite(d.width + d.height + d.x + d.y))
                list[(*n)++] = d;
        }
    }
    return KB_OK;
}

// Squares of half the shorter side, overlapping by at least a quarter.
static enum kb_code detect_small(struct face_models *m, const AVFrame *frame,
                                 struct detection *list, int *n, struct kb_error *err)
{
    float w = (float)frame->width, h = (float)frame->height, side = fminf(w, h) / 2;
    if (side < SMALL_SIDE)
        return KB_OK; // the whole picture is not shrunk much more than its parts would be
    int columns = KB_MIN((int)ceilf((w - side) / (0.75f * side)) + 1, SMALL_MOST);
    int rows = KB_MIN((int)ceilf((h - side) / (0.75f * side)) + 1, SMALL_MOST);
    for (int i = 0; i < columns * rows; i++) {
        float x = side / 2 + (w - side) * (float)(i % columns) / (float)(columns - 1);
        float y = side / 2 + (h - side) * (float)(i / columns) / (float)(rows - 1);
        enum kb_code code =
            detect_square(m->full_range, &full_range, frame, x, y, side, list, n, err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

enum kb_code detect_faces(struct face_models *m, const AVFrame *frame, enum detect_effort effort,
                          struct detection *ret, int capacity, int *ret_n, struct kb_error *err)
{
    CLEANUP(kb_freep) struct detection *list = kb_alloc(MAX_CANDIDATES * sizeof(*list));
    float w = (float)frame->width, h = (float)frame->height;
    float longer = fmaxf(w, h), shorter = fminf(w, h);
    int n = 0;

    enum kb_code code =
        detect_square(m->short_range, &short_range, frame, w / 2, h / 2, longer, list, &n, err);
    if (code == KB_OK && effort >= DETECT_THOROUGH)
        code =
            detect_square(m->full_range, &full_range, frame, w / 2, h / 2, longer, list, &n, err);
    // Squares of the shorter side, overlapping by at least a fifth, see small faces larger.
    int n_squares = effort >= DETECT_THOROUGH && longer > 1.2f * shorter
                        ? (int)ceilf((longer - shorter) / (0.8f * shorter)) + 1
                        : 0;
    for (int i = 0; code == KB_OK && i < KB_MIN(n_squares, 4); i++) {
        float at = shorter / 2 + (longer - shorter) * (float)i / (float)(n_squares - 1);
        code = detect_square(m->full_range, &full_range, frame, w > h ? at : w / 2,
                             w > h ? h / 2 : at, shorter, list, &n, err);
    }
    if (code == KB_OK && effort == DETECT_SMALL && n == 0)
        code = detect_small(m, frame, list, &n, err);
    if (code != KB_OK)
        return code;
    n = KB_MIN(detections_merge(list, n), capacity);
    memcpy(ret, list, (size_t)n * sizeof(*ret));
    *ret_n = n;
    return KB_OK;
}

enum kb_code face_detect(struct face_models *m, const AVFrame *frame, struct detection *ret,
                         int capacity, int *ret_n, struct kb_error *err)
{
    return detect_faces(m, frame, DETECT_SMALL, ret, capacity, ret_n, err);
}
