// MediaPipe's custom operations (mediapipe/util/tflite/operations), with which the face mesh looks
// again at the lips and the eyes: see spatial.h for what they compute. Their options are
// FlexBuffers.
#include "nn/import/tflite_internal.h"

#include "nn/import/flexbuffer.h"

#include <stdio.h>
#include <string.h>

#define MAX_SIDE 4096 // of a crop

static enum kb_code bad_options(const struct op *op, const char *what, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the options of '%s' in the .tflite file are damaged: %s is missing or "
                     "makes no sense"),
                   op->name, what);
}

// Fields that are read one after the other, up to the first that is wrong.
struct reading {
    struct flex_map map;
    const char *wrong; // its name, or NULL
};

static int read_int(struct reading *r, const char *key, int from, int to)
{
    int v = from;
    if (!r->wrong && (!flex_int(&r->map, key, &v) || v < from || v > to))
        r->wrong = key;
    return v;
}

static float read_float(struct reading *r, const char *key, float from, float to)
{
    float v = from;
    if (!r->wrong && (!flex_float(&r->map, key, &v) || !(v >= from && v <= to)))
        r->wrong = key;
    return v;
}

static enum kb_code open_options(struct import *im, const struct tflite_op *o, const struct op *op,
                                 struct reading *ret, struct kb_error *err)
{
    *ret = (struct reading){0};
    const struct vector *bytes = &o->custom_options;
    return flex_open(&ret->map, im->flat.data + bytes->at, bytes->n)
               ? KB_OK
               : bad_options(op, _("the list of options"), err);
}

// Landmarks2TransformMatrix, version 2 (the first has other options and is not read).
static enum kb_code read_crop_matrix(struct import *im, const struct tflite_op *o, struct op *op,
                                     struct kb_error *err)
{
    struct reading r;
    enum kb_code code = open_options(im, o, op, &r, err);
    if (code != KB_OK)
        return code;
    struct crop_rule *rule = op->crop = kb_alloc(sizeof(*rule));
    const int last_point = 1 << 20; // which points there are is checked by graph_finish()
    op->kind = OP_CROP_MATRIX;
    rule->left = read_int(&r, "left_rotation_idx", 0, last_point);
    rule->right = read_int(&r, "right_rotation_idx", 0, last_point);
    rule->width = read_int(&r, "output_width", 1, MAX_SIDE);
    rule->height = read_int(&r, "output_height", 1, MAX_SIDE);
    rule->grow_x = read_float(&r, "scale_x", 1e-3f, 1e3f);
    rule->grow_y = read_float(&r, "scale_y", 1e-3f, 1e3f);
    rule->angle = read_float(&r, "target_rotation_radians", -7, 7);
    if (!r.wrong &&
        (!flex_ints(&r.map, "subset_idxs", rule->points, CROP_MAX_POINTS, &rule->n_points) ||
         rule->n_points == 0))
        r.wrong = "subset_idxs";
    return r.wrong ? bad_options(op, r.wrong, err) : KB_OK;
}

// TransformTensorBilinear, version 2. The crop's size is in its options and in the output's shape.
static enum kb_code read_warp(struct import *im, const struct tflite_op *o, struct op *op,
                              struct kb_error *err)
{
    struct reading r;
    enum kb_code code = open_options(im, o, op, &r, err);
    if (code != KB_OK)
        return code;
    op->kind = OP_WARP;
    op->n_in = 2;
    op->out_w = read_int(&r, "output_width", 1, MAX_SIDE);
    op->out_h = read_int(&r, "output_height", 1, MAX_SIDE);
    return r.wrong ? bad_options(op, r.wrong, err) : KB_OK;
}

enum kb_code tflite_read_custom(struct import *im, const struct tflite_op *o, struct op *op,
                                struct kb_error *err)
{
    const char *name = o->code->custom;
    if (strcmp(name, "Landmarks2TransformMatrix") == 0)
        return read_crop_matrix(im, o, op, err);
    if (strcmp(name, "TransformTensorBilinear") == 0)
        return read_warp(im, o, op, err);
    if (strcmp(name, "Convolution2DTransposeBias") == 0)
        return tflite_read_deconv(im, o, op, err);
    if (strcmp(name, "TransformLandmarks") == 0) { // has no options in its second version
        op->kind = OP_PLACE;
        op->n_in = 2;
        return KB_OK;
    }
    char unknown[64];
    snprintf(unknown, sizeof(unknown), _("the custom operation %s"), name);
    return tflite_unsupported(unknown, op->name, err);
}
