#include "finish/reframe.h"

#include "finish/camera.h"
#include "finish/internal.h"
#include "finish/window.h"
#include "media/deep.h"

#include <libavutil/mathematics.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EYES_AT    0.38f // of the window's height, from above
#define SHORT_SIDE 1080  // of the output, unless it is asked for more
#define LEAST_SIDE 32
#define N_EYES     4 // the corners of both eyes, the first of the other points

struct reframe {
    int width, height; // of the window, in the picture
    int out_width, out_height;
    bool square;      // the output's pixels
    float (*path)[2]; // where it begins, for every frame of the track
    int n;            // frames
    struct finish_view view;
    struct SwsContext *scaler;
    int format; // of the scaler
};

bool reframe_parse(const char *text, struct reframe_params *ret)
{
    int w = 0, h = 0, end = 0;
    if (sscanf(text, "%3d:%3d%n", &w, &h, &end) != 2 || text[end] || w < 1 || h < 1 || w > 100 ||
        h > 100 || w > 4 * h || h > 4 * w)
        return false;
    ret->width = w;
    ret->height = h;
    return true;
}

static int even(double side)
{
    return 2 * KB_MAX((int)lround(side / 2), 1);
}

static void reframe_close(void *step)
{
    struct reframe *r = step;
    if (!r)
        return;
    sws_freeContext(r->scaler);
    free(r->path);
    free(r);
}

static void drop(struct reframe **r)
{
    reframe_close(TAKE(*r));
}

// The largest window of the shape, and what becomes of it.
static enum kb_code choose_sizes(struct reframe *r, const struct reframe_params *p,
                                 const struct finish_picture *picture, struct kb_error *err)
{
    AVRational aspect = picture->sample_aspect;
    double pixel = aspect.num > 0 && aspect.den > 0 ? av_q2d(aspect) : 1;
    double shape = (double)p->width / p->height, zoom = p->zoom > 1 ? (double)p->zoom : 1;
    double height = fmin(picture->height, picture->width * pixel / shape) / zoom;
    double width = height * shape / pixel;
    if (width < LEAST_SIDE || height < LEAST_SIDE)
        return kb_fail(err, KB_BAD_INPUT,
                       _("a part of %d:%d of a picture of %dx%d is too small to be a film; choose "
                         "another shape with --crop, or a larger film"),
                       p->width, p->height, picture->width, picture->height);
    r->width = KB_MIN(even(width), picture->width / 2 * 2);
    r->height = KB_MIN(even(height), picture->height / 2 * 2);
    double rows = p->rows > 0 ? p->rows : shape < 1 ? SHORT_SIDE / shape : SHORT_SIDE;
    bool shrink = rows < r->height;
    r->square = shrink || fabs(pixel - 1) > 1e-6;
    r->out_height = shrink ? even(rows) : r->height;
    r->out_width = r->square ? even(r->out_height * shape) : r->width;
    return KB_OK;
}

// Where the window would begin if it followed at once. False: nobody is there.
static bool want(const struct reframe *r, const struct finish_source *s, int frame, double scale_x,
                 double scale_y, float ret[2])
{
    int member = cast_at(s->cast, frame);
    struct track_face f;
    if (member < 0)
        return false;
    track_face(s->track, cast_face(s->cast, member), frame, &f);
    if (!f.present)
        return false;
    float eyes = 0;
    for (int i = 0; i < N_EYES; i++)
        eyes += f.points[TRACK_OTHER_FIRST + i][1] / N_EYES;
    ret[0] = (f.box[0] + f.box[2]) / 2 * (float)scale_x - (float)r->width / 2;
    ret[1] = eyes * (float)scale_y - EYES_AT * (float)r->height;
    return true;
}

// Another view begins with this frame: the film is cut, or somebody else speaks.
static bool is_cut(const struct finish_source *s, const struct track_cut **next, int frame)
{
    const struct track_info *info = track_info(s->track);
    const struct track_cut *end = track_cuts(s->track) + info->n_cuts;
    bool cut = frame > 0 && cast_at(s->cast, frame) != cast_at(s->cast, frame - 1);
    for (; *next < end && (*next)->frame <= frame; ++*next)
        cut |= (*next)->frame == frame && !(*next)->jump;
    return cut;
}

static enum kb_code plan(struct reframe *r, const struct finish_source *s,
                         const struct finish_picture *picture, struct kb_error *err)
{
    const struct track_info *info = track_info(s->track);
    size_t n = (size_t)info->n_frames;
    CLEANUP(kb_freep) float(*wanted)[2] = kb_calloc_checked(n, sizeof(*wanted));
    CLEANUP(kb_freep) struct camera_point *points = kb_calloc_checked(n, sizeof(*points));
    CLEANUP(kb_freep) float *line = kb_calloc_checked(n, sizeof(*line));
    r->n = info->n_frames;
    r->path = kb_calloc_checked(n, sizeof(*r->path));
    if (!wanted || !points || !line || !r->path)
        return kb_no_memory(err);
    double scale_x = (double)picture->width / info->width;
    double scale_y = (double)picture->height / info->height;
    const struct track_cut *cut = track_cuts(s->track);
    for (int i = 0; i < r->n; i++)
        points[i] = (struct camera_point){
            .pts_us = track_pts_us(s->track, i),
            .seen = want(r, s, i, scale_x, scale_y, wanted[i]),
            .cut = is_cut(s, &cut, i),
        };
    enum kb_code code = KB_OK;
    for (int axis = 0; axis < 2 && code == KB_OK; axis++) {
        int room = axis ? picture->height - r->height : picture->width - r->width;
        for (int i = 0; i < r->n; i++)
            points[i].wanted = wanted[i][axis];
        code = camera_plan(line, points, r->n, room, axis ? r->height : r->width, s->cancel, err);
        for (int i = 0; i < r->n; i++)
            r->path[i][axis] = line[i];
    }
    return code;
}

static enum kb_code reframe_open(void **ret, const struct finish_params *params,
                                 const struct finish_source *source, struct finish_picture *picture,
                                 struct kb_error *err)
{
    const struct reframe_params *p = &params->reframe;
    if (p->width <= 0)
        return KB_OK;
    CLEANUP(drop) struct reframe *r = kb_alloc(sizeof(*r));
    enum kb_code code = choose_sizes(r, p, picture, err);
    bool whole = r->width == picture->width && r->height == picture->height &&
                 r->out_width == r->width && r->out_height == r->height;
    if (code != KB_OK || whole)
        return code;
    code = source->track ? plan(r, source, picture, err) : KB_OK;
    if (code != KB_OK)
        return code;
    r->view = (struct finish_view){r->path, r->n, r->height, picture->height};
    picture->view = &r->view;
    picture->width = r->out_width;
    picture->height = r->out_height;
    if (r->square)
        picture->sample_aspect = (AVRational){1, 1};
    *ret = TAKE(r);
    return KB_OK;
}

static AVFrame *make_frame(const AVFrame *like, int width, int height)
{
    AVFrame *f = av_frame_alloc();
    if (!f)
        return NULL;
    f->format = like->format;
    f->width = width;
    f->height = height;
    if (av_frame_get_buffer(f, 0) < 0 || av_frame_copy_props(f, like) < 0)
        av_frame_free(&f);
    return f;
}

static enum kb_code scale(struct reframe *r, AVFrame **frame, struct kb_error *err)
{
    const AVFrame *from = *frame;
    if (r->out_width == r->width && r->out_height == r->height)
        return KB_OK;
    if (!r->scaler || r->format != from->format) {
        sws_freeContext(r->scaler);
        r->format = from->format;
        r->scaler = sws_getContext(r->width, r->height, r->format, r->out_width, r->out_height,
                                   r->format, SWS_LANCZOS | SWS_ACCURATE_RND, NULL, NULL, NULL);
    }
    CLEANUP(av_frame_free) AVFrame *to = make_frame(from, r->out_width, r->out_height);
    if (!r->scaler || !to ||
        sws_scale(r->scaler, (const uint8_t *const *)from->data, from->linesize, 0, r->height,
                  to->data, to->linesize) < 0)
        return kb_no_memory(err);
    av_frame_free(frame);
    *frame = TAKE(to);
    return KB_OK;
}

static enum kb_code reframe_put(void *step, AVFrame **frame, const struct finish_moment *at,
                                struct kb_error *err)
{
    struct reframe *r = step;
    const float *place = r->path[KB_MIN(KB_MAX(at->track_frame, 0), r->n - 1)];
    bool deep = (*frame)->opaque_ref != NULL;
    CLEANUP(av_frame_free) AVFrame *ten = deep ? av_frame_alloc() : NULL;
    if (deep && (!ten || deep_join(*frame, ten) < 0))
        return kb_no_memory(err);
    const AVFrame *from = deep ? ten : *frame;
    CLEANUP(av_frame_free) AVFrame *to = make_frame(from, r->width, r->height);
    if (!to)
        return kb_no_memory(err);
    window_take(from, (double)place[0], (double)place[1], to);
    enum kb_code code = scale(r, &to, err);
    if (code != KB_OK)
        return code;
    if (deep && deep_split(to) < 0)
        return kb_no_memory(err);
    if (r->square)
        to->sample_aspect_ratio = (AVRational){1, 1};
    av_frame_free(frame);
    *frame = TAKE(to);
    return KB_OK;
}

const struct finish_step reframe_step = {
    .open = reframe_open, .put = reframe_put, .close = reframe_close};
