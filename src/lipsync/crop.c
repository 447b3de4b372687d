#include "lipsync/crop.h"

#include <math.h>

#define SMOOTH_SIGMA 1.2f // frames; of the landmarks, for the mask
#define SMOOTH_BOXES 5    // frames; Wav2Lip's get_smoothened_boxes

// Axis-parallel box to crop, grown by the pads and kept inside the frame, as published.
static bool box_crop(const struct cropper *c, const float box[4], struct affine *ret)
{
    float x0 = fmaxf(0, box[0] * c->scale_x - c->pads[2]);
    float y0 = fmaxf(0, box[1] * c->scale_y - c->pads[0]);
    float x1 = fminf((float)c->frame_width, box[2] * c->scale_x + c->pads[3]);
    float y1 = fminf((float)c->frame_height, box[3] * c->scale_y + c->pads[1]);
    if (!(x1 - x0 >= 8 && y1 - y0 >= 8))
        return false;
    *ret = (struct affine){(x1 - x0) / (float)c->side, 0, x0, 0, (y1 - y0) / (float)c->side, y0};
    return true;
}

bool crop_of(const struct cropper *c, int track_frame, struct affine *ret_to_frame)
{
    float box[4];
    return track_box_smooth(c->track, c->face, track_frame, c->nosmooth ? 1 : SMOOTH_BOXES, box) &&
           box_crop(c, box, ret_to_frame);
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

void crop_take(const AVFrame *frame, const struct affine *to_frame, int side, float *ret)
{
    struct warp_params p = {
        .width = side, .height = side, .pixel_stride = 3, .bgr = true, .high = 1};
    warp_crop(frame, to_frame, &p, ret);
}

void crop_interleave(const float *crop, int side, float *ret)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++, crop += 3, ret += 6)
            for (int i = 0; i < 3; i++) {
                ret[i] = y >= side / 2 ? 0 : crop[i];
                ret[3 + i] = crop[i];
            }
}
