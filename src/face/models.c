#include "face/models_internal.h"

#include "base/file.h"
#include "nn/import/import.h"

#include <math.h>
#include <stdlib.h>

#define MESH_INPUT 192

// Which points of the mesh the lips are seen again for, in the order of the network's second output
// (MediaPipe's face_landmark_with_attention): outer edge below and above, inner edge, and the lines
// between.
#define LIP_POINTS 80
static const short lip_points[LIP_POINTS] = {
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0,  267, 269, 270, 409,
    78, 95,  88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    76, 77,  90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96,  89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407};

// A network as it must be: a square input, outputs of these numbers of elements. The mesh has
// outputs for the eyes and irises too, which nobody reads: those kept have names.
struct network {
    const char *file;
    int input, n_outputs, sizes[3];
    const char *names[3];
};

static const struct network short_range = {
    "face/face_detection_short_range.tflite", 128, 2, {896 * 16, 896}, {NULL}};
static const struct network full_range = {
    "face/face_detection_full_range.tflite", 192, 2, {2304 * 16, 2304}, {NULL}};
static const struct network mesh_network = {
    "face/face_landmark_attention.tflite",
    MESH_INPUT,
    3,
    {MESH_POINTS * 3, LIP_POINTS * 2, 1},
    {"output_mesh_identity", "output_lips", "conv_faceflag"}};

static bool is_network(const struct session *s, const struct network *n)
{
    struct value in = session_input_shape(s, 0);
    bool fits = session_n_inputs(s) == 1 && session_n_outputs(s) == n->n_outputs &&
                in.h == n->input && in.w == n->input && in.c == 3;
    for (int i = 0; fits && i < n->n_outputs; i++) {
        struct value out = session_output_shape(s, i);
        fits = out.h * out.w * out.c == n->sizes[i];
    }
    return fits;
}

static enum kb_code load_network(struct session **ret, const struct network *n,
                                 struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = NULL;
    CLEANUP(file_unmap) struct file_map file = {0};
    CLEANUP(graph_free) struct graph *graph = NULL;
    CLEANUP(session_free) struct session *s = NULL;
    enum kb_code code = model_locate(&path, n->file, err);
    if (code == KB_OK)
        code = file_map(&file, path, err);
    if (code != KB_OK)
        return code;
    code = tflite_graph(&graph, file.data, file.size, err);
    if (code == KB_OK && n->names[0])
        code = graph_keep_outputs(graph, n->names, n->n_outputs, err);
    if (code != KB_OK)
        return kb_wrap(err, _("cannot read the face model '%s'"), path);
    // f32: the networks are small, and landmarks in bf16 would jitter by a pixel.
    const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};
    code = session_create(&s, graph, &params, err);
    if (code != KB_OK)
        return code;
    if (!is_network(s, n))
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not the face model it should be"), path);
    *ret = TAKE(s);
    return KB_OK;
}

enum kb_code face_models_load(struct face_models **ret, struct kb_error *err)
{
    CLEANUP(face_models_free) struct face_models *m = kb_alloc(sizeof(*m));
    enum kb_code code = load_network(&m->short_range, &short_range, err);
    if (code == KB_OK)
        code = load_network(&m->full_range, &full_range, err);
    if (code == KB_OK)
        code = load_network(&m->mesh, &mesh_network, err);
    if (code == KB_OK)
        *ret = TAKE(m);
    return code;
}

void face_models_free(struct face_models **m)
{
    if (!*m)
        return;
    session_free(&(*m)->short_range);
    session_free(&(*m)->full_range);
    session_free(&(*m)->mesh);
    free(*m);
    *m = NULL;
}

// MediaPipe: the square around the face, half as large again, turned so that the eyes are level.
#define REGION_GROW 1.5f

struct face_region region_from_detection(const struct detection *d)
{
    return (struct face_region){
        .cx = d->x + d->width / 2,
        .cy = d->y + d->height / 2,
        .size = fmaxf(d->width, d->height) * REGION_GROW,
        .angle = atan2f(d->points[1][1] - d->points[0][1], d->points[1][0] - d->points[0][0]),
    };
}

struct face_region region_from_box(const float box[4], const float right_eye[2],
                                   const float left_eye[2])
{
    return (struct face_region){
        .cx = (box[0] + box[2]) / 2,
        .cy = (box[1] + box[3]) / 2,
        .size = fmaxf(box[2] - box[0], box[3] - box[1]) * REGION_GROW,
        .angle = atan2f(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0]),
    };
}

struct face_region region_from_mesh(const struct mesh *mesh)
{
    float x0 = mesh->points[0][0], y0 = mesh->points[0][1], x1 = x0, y1 = y0;
    for (int i = 1; i < MESH_POINTS; i++) {
        x0 = fminf(x0, mesh->points[i][0]);
        x1 = fmaxf(x1, mesh->points[i][0]);
        y0 = fminf(y0, mesh->points[i][1]);
        y1 = fmaxf(y1, mesh->points[i][1]);
    }
    const float box[4] = {x0, y0, x1, y1};
    return region_from_box(box, mesh->points[33], mesh->points[263]);
}

enum kb_code face_mesh(struct face_models *m, const AVFrame *frame,
                       const struct face_region *region, struct mesh *ret, struct kb_error *err)
{
    float scale = region->size / MESH_INPUT, half = MESH_INPUT / 2.0f;
    float c = scale * cosf(region->angle), s = scale * sinf(region->angle);
    struct affine to_frame = {.xx = c,
                              .xy = -s,
                              .x0 = region->cx - c * half + s * half,
                              .yx = s,
                              .yy = c,
                              .y0 = region->cy - s * half - c * half};
    struct warp_params p = {
        .width = MESH_INPUT, .height = MESH_INPUT, .pixel_stride = 3, .high = 1};
    warp_crop(frame, &to_frame, &p, session_input(m->mesh, 0));
    enum kb_code code = session_run(m->mesh, err);
    if (code != KB_OK)
        return code;

    const float *out = session_output(m->mesh, 0), *lips = session_output(m->mesh, 1);
    for (int i = 0; i < MESH_POINTS; i++) {
        affine_apply(&to_frame, out[3 * i], out[3 * i + 1], &ret->points[i][0], &ret->points[i][1]);
        ret->points[i][2] = out[3 * i + 2] * scale;
    }
    for (int i = 0; i < LIP_POINTS; i++) {
        float *point = ret->points[lip_points[i]];
        affine_apply(&to_frame, lips[2 * i], lips[2 * i + 1], &point[0], &point[1]);
    }
    ret->logit = session_output(m->mesh, 2)[0];
    ret->score = 1 / (1 + expf(-ret->logit));
    return KB_OK;
}
