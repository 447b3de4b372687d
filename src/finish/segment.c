#include "finish/segment.h"

#include "base/file.h"
#include "nn/import/import.h"
#include "nn/session.h"

#include <stdlib.h>

struct segmenter {
    struct session *session;
    int width, height;
};

enum kb_code segmenter_open(struct segmenter **ret, int width, int height, struct kb_error *err)
{
    bool wide = width * 3 > height * 4;
    const char *file =
        wide ? "face/selfie_segmentation_landscape.tflite" : "face/selfie_segmentation.tflite";
    CLEANUP(segmenter_close) struct segmenter *s = kb_alloc(sizeof(*s));
    CLEANUP(kb_freep) char *path = NULL;
    CLEANUP(file_unmap) struct file_map map = {0};
    CLEANUP(graph_free) struct graph *graph = NULL;
    enum kb_code code = model_locate(&path, file, err);
    if (code == KB_OK)
        code = file_map(&map, path, err);
    if (code != KB_OK)
        return code;
    if (tflite_graph(&graph, map.data, map.size, err) != KB_OK)
        return kb_wrap(err, _("cannot read the model of people '%s'"), path);
    const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};
    code = session_create(&s->session, graph, &params, err);
    if (code != KB_OK)
        return code;
    struct value in = session_input_shape(s->session, 0);
    struct value out = session_output_shape(s->session, 0);
    if (session_n_inputs(s->session) != 1 || session_n_outputs(s->session) != 1 || in.c != 3 ||
        out.c != 1 || in.w != out.w || in.h != out.h)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not the model of people it should be"), path);
    s->width = in.w;
    s->height = in.h;
    *ret = TAKE(s);
    return KB_OK;
}

void segmenter_close(struct segmenter **s)
{
    if (!*s)
        return;
    session_free(&(*s)->session);
    free(*s);
    *s = NULL;
}

void segmenter_size(const struct segmenter *s, int *ret_width, int *ret_height)
{
    *ret_width = s->width;
    *ret_height = s->height;
}

enum kb_code segmenter_run(struct segmenter *s, const AVFrame *frame, const struct affine *to_frame,
                           const float **ret, struct kb_error *err)
{
    const struct warp_params look = {
        .width = s->width, .height = s->height, .pixel_stride = 3, .low = 0, .high = 1};
    warp_crop(frame, to_frame, &look, session_input(s->session, 0));
    enum kb_code code = session_run(s->session, err);
    if (code == KB_OK)
        *ret = session_output(s->session, 0);
    return code;
}
