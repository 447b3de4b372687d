// Shared by tflite.c (the file), tflite_ops.c (the schema's operations) and tflite_custom.c
// (MediaPipe's own). An import belongs to one thread.
#ifndef NN_IMPORT_TFLITE_INTERNAL_H
#define NN_IMPORT_TFLITE_INTERNAL_H

#include "nn/import/flatbuffer.h"
#include "nn/import/import.h"

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_I32 = 2 }; // schema.fbs TensorType

struct tflite_tensor {
    int rank, dims[4];
    int type;
    const uint8_t *data; // of a constant, else NULL
    size_t size;
    int value; // in the graph, or -1
    char name[64];
};

struct op_code {
    int builtin;
    char custom[32]; // the name of a custom operation
};

struct import {
    struct flat flat;
    struct tflite_tensor *tensors;
    int n_tensors;
    struct op_code *codes;
    int n_codes;
    size_t unfolded; // bytes of weights so far
    struct graph *graph;
};

struct tflite_op {
    const struct op_code *code;
    struct table options;
    struct vector custom_options; // bytes
    int n_in, in[8], out;         // tensors; an optional input that is absent is -1
};

// schema.fbs BuiltinOperator
enum {
    CODE_ADD = 0,
    CODE_AVERAGE_POOL_2D = 1,
    CODE_CONCATENATION = 2,
    CODE_CONV_2D = 3,
    CODE_DEPTHWISE_CONV_2D = 4,
    CODE_DEQUANTIZE = 6,
    CODE_LOGISTIC = 14,
    CODE_MAX_POOL_2D = 17,
    CODE_MUL = 18,
    CODE_RELU = 19,
    CODE_RELU6 = 21,
    CODE_RESHAPE = 22,
    CODE_RESIZE_BILINEAR = 23,
    CODE_CUSTOM = 32,
    CODE_PAD = 34,
    CODE_MEAN = 40,
    CODE_STRIDED_SLICE = 45,
    CODE_PRELU = 54,
    CODE_HARD_SWISH = 117,
};

enum kb_code tflite_unsupported(const char *what, const char *where, struct kb_error *err);

// [1, h, w, c], [1, n, k] as h = 1, w = n, c = k, and [1, k] or [k] as c = k.
enum kb_code tflite_image(const struct tflite_tensor *t, struct value *ret, struct kb_error *err);

// Tensor i that an operation reads, or NULL.
static inline const struct tflite_tensor *tflite_input(const struct import *im,
                                                       const struct tflite_op *o, int i)
{
    return i < o->n_in && o->in[i] >= 0 ? &im->tensors[o->in[i]] : NULL;
}

// What is particular to one kind of operation. op has its name, the shape of its output and one
// input; how many it has in the end is set here.
enum kb_code tflite_read_op(struct import *im, const struct tflite_op *o, struct op *op,
                            struct kb_error *err);
// MediaPipe's Convolution2DTransposeBias.
enum kb_code tflite_read_deconv(struct import *im, const struct tflite_op *o, struct op *op,
                                struct kb_error *err);
enum kb_code tflite_read_custom(struct import *im, const struct tflite_op *o, struct op *op,
                                struct kb_error *err);

#endif
