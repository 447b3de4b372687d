#include "lipsync/crop.h"

#include <math.h>
#include <string.h>

#define SMOOTH_SIGMA 1.2f // frames; the bundled weights were trained on crops smoothed like this
#define SMOOTH_BOXES 5    // frames; Wav2Lip's get_smoothened_boxes

// Similarity that takes the canonical points (in crop pixels) onto points.
static struct affine fit(const struct lips_spec *spec, const float (*points)[2], float sx, float sy)
{
    float from[ARRAY_LEN(spec->points)][2], to[ARRAY_LEN(spec->points)][2];
    for (int i = 0; i < spec->n_points; i++) {
        from[i][0] = spec->canonical[i][0] * (float)spec->width;
        from[i][1] = spec->canonical[i][1] * (float)spec->height;
        to[i][0] = points[spec->points[i]][0] * sx;
        to[i][1] = points[spec->points[i]][1] * sy;
    }
    return affine_fit_similarity(from, to, spec->n_points);
}

// Axis-parallel box to crop, grown by the pads and kept inside the frame, as published.
static bool box_crop(const struct cropper *c, const float box[4], struct affine *ret)
{
    float x0 = fmaxf(0, box[0] * c->scale_x - c->pads[2]);
    float y0 = fmaxf(0, box[1] * c->scale_y - c->pads[0]);
    float x1 = fminf((float)c->frame_width, box[2] * c->scale_x + c->pads[3]);
    float y1 = fminf((float)c->frame_height, box[3] * c->scale_y + c->pads[1]);
    if (!(x1 - x0 >= 8 && y1 - y0 >= 8))
        return false;
    *ret = (struct affine){(x1 - x0) / (float)c->spec->width,  0, x0, 0,
                           (y1 - y0) / (float)c->spec->height, y0};
    return true;
}

bool crop_of(const struct cropper *c, int track_frame, struct affine *ret_to_frame)
{
    if (c->spec->n_points == 0) {
        float box[4];
        return track_box_smooth(c->track, c->face, track_frame, c->nosmooth ? 1 : SMOOTH_BOXES,
                                box) &&
               box_crop(c, box, ret_to_frame);
    }
    float points[TRACK_N_POINTS][2];
    if (!track_points_smooth(c->track, c->face, track_frame, c->nosmooth ? 0 : SMOOTH_SIGMA,
                             points))
        return false;
    *ret_to_frame = fit(c->spec, points, c->scale_x, c->scale_y);
    float scale = hypotf(ret_to_frame->xx, ret_to_frame->yx);
    return scale > 0.05f && scale < 100;
}

bool crop_points(const struct cropper *c, int track_frame, const struct affine *to_frame,
                 float (*ret)[2])
{
    if (!track_points_smooth(c->track, c->face, track_frame, c->nosmooth ? 0 : SMOOTH_SIGMA, ret))
        return false;
    struct affine to_crop = affine_invert(to_frame);
    for (int i = 0; i < TRACK_N_POINTS; i++)
        affine_apply(&to_crop, ret[i][0] * c->scale_x, ret[i][1] * c->scale_y, &ret[i][0],
                     &ret[i][1]);
    return true;
}

// Bilinear sample of an RGB picture at a pixel-centred position; the edge is repeated.
static void sample_rgb(const struct track_reference *r, float x, float y, float ret[3])
{
    x = fminf(fmaxf(x - 0.5f, 0), (float)(r->width - 1));
    y = fminf(fmaxf(y - 0.5f, 0), (float)(r->height - 1));
    int x0 = (int)x, y0 = (int)y;
    int x1 = KB_MIN(x0 + 1, r->width - 1), y1 = KB_MIN(y0 + 1, r->height - 1);
    float tx = x - (float)x0, ty = y - (float)y0;
    for (int c = 0; c < 3; c++) {
        float top = (float)r->rgb[(y0 * r->width + x0) * 3 + c] * (1 - tx) +
                    (float)r->rgb[(y0 * r->width + x1) * 3 + c] * tx;
        float low = (float)r->rgb[(y1 * r->width + x0) * 3 + c] * (1 - tx) +
                    (float)r->rgb[(y1 * r->width + x1) * 3 + c] * tx;
        ret[c] = (top * (1 - ty) + low * ty) / 255;
    }
}

void crop_reference(const struct cropper *c, float *ret)
{
    const struct lips_spec *spec = c->spec;
    struct track_reference r;
    track_reference(c->track, c->face, &r);
    struct affine m;
    if (spec->n_points > 0) {
        m = fit(spec, (const float(*)[2])r.points, 1, 1);
    } else {
        m = (struct affine){(r.box[2] - r.box[0]) / (float)spec->width,  0,       r.box[0], 0,
                            (r.box[3] - r.box[1]) / (float)spec->height, r.box[1]};
    }
    // As many samples a side as the crop shrinks the picture, so that it does not alias.
    int n = (int)ceilf(fminf(fmaxf(hypotf(m.xx, m.yx) - 0.5f, 1), 8));
    for (int y = 0; y < spec->height; y++)
        for (int x = 0; x < spec->width; x++) {
            float sum[3] = {0}, one[3], sx, sy;
            for (int k = 0; k < n * n; k++) {
                affine_apply(&m, (float)x + ((float)(k % n) + 0.5f) / (float)n,
                             (float)y + ((float)(k / n) + 0.5f) / (float)n, &sx, &sy);
                sample_rgb(&r, sx, sy, one);
                for (int i = 0; i < 3; i++)
                    sum[i] += one[i];
            }
            float *out = ret + ((size_t)y * (size_t)spec->width + (size_t)x) * 3;
            for (int i = 0; i < 3; i++)
                out[spec->bgr ? 2 - i : i] = sum[i] / (float)(n * n);
        }
}

void crop_interleave(const struct lips_spec *spec, const float *target, const float *reference,
                     float *ret)
{
    for (int y = 0; y < spec->height; y++) {
        bool masked = y >= spec->mask_top;
        for (int x = 0; x < spec->width; x++, target += 3, reference += 3, ret += 6)
            for (int i = 0; i < 3; i++) {
                ret[i] = masked ? 0 : target[i];
                ret[3 + i] = reference[i];
            }
    }
}
