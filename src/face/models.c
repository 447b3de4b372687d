#include "face/models_internal.h"

#include "base/file.h"
#include "nn/import.h"

#include <math.h>
#include <stdlib.h>

#define MESH_INPUT 192

// Load one network and check that it is the one we know how to read: a square input, two outputs of
// the given numbers of elements.
static enum kb_code load_network(struct session **ret, const char *name, int input, int n_first,
                                 int n_second, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = NULL;
    CLEANUP(file_unmap) struct file_map file = {0};
    CLEANUP(graph_free) struct graph *graph = NULL;
    CLEANUP(session_free) struct session *s = NULL;
    enum kb_code code = model_locate(&path, name, err);
    if (code == KB_OK)
        code = file_map(&file, path, err);
    if (code != KB_OK)
        return code;
    code = tflite_graph(&graph, file.data, file.size, err);
    if (code != KB_OK)
        return kb_wrap(err, _("cannot read the face model '%s'"), path);
    // f32: the networks are small, and landmarks in bf16 would jitter by a pixel.
    const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};
    code = session_create(&s, graph, &params, err);
    if (code != KB_OK)
        return code;

    struct value in = session_input_shape(s, 0);
    if (session_n_inputs(s) != 1 || session_n_outputs(s) != 2 || in.h != input || in.w != input ||
        in.c != 3)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not the face model it should be"), path);
    struct value first = session_output_shape(s, 0), second = session_output_shape(s, 1);
    if (first.h * first.w * first.c != n_first || second.h * second.w * second.c != n_second)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not the face model it should be"), path);
    *ret = TAKE(s);
    return KB_OK;
}

enum kb_code face_models_load(struct face_models **ret, struct kb_error *err)
{
    CLEANUP(face_models_free) struct face_models *m = kb_alloc(sizeof(*m));
    enum kb_code code = load_network(&m->short_range, "face/face_detection_short_range.tflite", 128,
                                     896 * 16, 896, err);
    if (code == KB_OK)
        code = load_network(&m->full_range, "face/face_detection_full_range.tflite", 192, 2304 * 16,
                            2304, err);
    if (code == KB_OK)
        code = load_network(&m->mesh, "face/face_landmark.tflite", MESH_INPUT, MESH_POINTS * 3, 1,
                            err);
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

struct face_region region_from_mesh(const struct mesh *mesh)
{
    float x0 = mesh->points[0][0], y0 = mesh->points[0][1], x1 = x0, y1 = y0;
    for (int i = 1; i < MESH_POINTS; i++) {
        x0 = fminf(x0, mesh->points[i][0]);
        x1 = fmaxf(x1, mesh->points[i][0]);
        y0 = fminf(y0, mesh->points[i][1]);
        y1 = fmaxf(y1, mesh->points[i][1]);
    }
    const float *right = mesh->points[33], *left = mesh->points[263]; // outer corners of the eyes
    return (struct face_region){
        .cx = (x0 + x1) / 2,
        .cy = (y0 + y1) / 2,
        .size = fmaxf(x1 - x0, y1 - y0) * REGION_GROW,
        .angle = atan2f(left[1] - right[1], left[0] - right[0]),
    };
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

    const float *out = session_output(m->mesh, 0);
    for (int i = 0; i < MESH_POINTS; i++) {
        affine_apply(&to_frame, out[3 * i], out[3 * i + 1], &ret->points[i][0], &ret->points[i][1]);
        ret->points[i][2] = out[3 * i + 2] * scale;
    }
    ret->score = 1 / (1 + expf(-session_output(m->mesh, 1)[0]));
    return KB_OK;
}
