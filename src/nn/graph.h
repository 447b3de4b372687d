// A network as a list of operations on named values. Importers build it, passes rewrite it,
// a session runs it.
//
// Every value is a dense batch of images in NHWC order: n images of height h, width w, channels c.
// Flat things are images too (a vector of k numbers is h = w = 1, c = k). Shapes are stored for one
// image (n = 1); the session multiplies the batch in.
//
// Weights belong to the graph, always as f32 in OIHW order (O = outputs, I = inputs per group).
//
// Not thread-safe while being built; read-only afterwards and then safe from any thread.
#ifndef NN_GRAPH_H
#define NN_GRAPH_H

#include "base/base.h"

enum op_kind {
    OP_INPUT,
    OP_CONV,            // grouped convolution, fused with bias, residual and activation
    OP_DECONV,          // transposed convolution as PyTorch's; split into OP_CONV + OP_INTERLEAVE
    OP_BATCHNORM,       // y = scale * x + bias per channel; folded into the convolution before it
    OP_ACTIVATION,      // alone
    OP_ADD,             // in[0] + in[1], same shape, then activation
    OP_CONCAT,          // along axis: 'h', 'w' or 'c'
    OP_MAX_POOL,        // kernel, stride, pads (padding counts as minus infinity)
    OP_RESIZE_BILINEAR, // to out_h x out_w, half-pixel centres
    OP_PAD,             // zeros: pad_top … pad_right, and pad_channels after the last channel
    OP_RESHAPE,         // same elements in NHWC order, new out_h, out_w, out_c
    OP_INTERLEAVE,      // four values (phases 00 01 10 11) to one of twice the height and width
    // For networks that look again at a part of the picture (spatial.h); f32 only, since in bf16 a
    // place in a picture of 192 pixels is known to a pixel at best.
    OP_SCALE,       // in[0] times constants: n_scale numbers in NHWC order, over and over
    OP_CROP_MATRIX, // 1 x n points (x, y, z) to a 4x4 matrix: places in a crop around them to
                    // theirs
    OP_WARP,        // in[0], bilinear, at the places of an out_h x out_w crop by the matrix in[1]
    OP_PLACE,       // 1 x n points (x, y) of a crop by the matrix in[1] to where they are
    // For networks that weigh their channels by what the whole picture shows (squeeze and
    // excitation); f32 only.
    OP_MEAN, // of all places, a channel: 1 x 1 x c
    OP_GATE, // in[0] times in[1], which is 1 x 1 x c
};

// ACT_HARD_SWISH: x * relu6(x + 3) / 6.
enum activation {
    ACT_NONE,
    ACT_RELU,
    ACT_RELU6,
    ACT_PRELU,
    ACT_SIGMOID,
    ACT_LEAKY_RELU,
    ACT_HARD_SWISH
};

// OP_CROP_MATRIX: which points the crop goes around, and how it lies.
#define CROP_MAX_POINTS 256
struct crop_rule {
    int left, right;      // points that lie level in the crop, but for
    float angle;          // radians
    float grow_x, grow_y; // the crop's sides over those of the box around the points
    int width, height;    // of the crop in its own pixels
    int n_points, points[CROP_MAX_POINTS];
};

struct op {
    enum op_kind kind;
    char *name; // for messages; may be NULL
    int n_in;
    int in[8]; // values read
    int out;   // value written
    // OP_CONV, OP_DECONV, OP_MAX_POOL
    int groups; // OP_CONV only, >= 1
    int kernel_h, kernel_w, stride_h, stride_w;
    int dilation_h, dilation_w; // OP_CONV only: from tap to tap of the kernel, 1 = side by side
    int pad_top, pad_left, pad_bottom, pad_right; // OP_DECONV: top/left = PyTorch's padding
    int out_pad_h, out_pad_w;                     // OP_DECONV: PyTorch's output_padding
    float *weight; // owned. OP_CONV (out_c, in_c / groups, kh, kw); OP_DECONV (in_c, out_c, kh, kw)
    float *bias;   // owned, out_c floats; NULL means zeros. OP_BATCHNORM: the shift
    float *scale;  // owned; OP_BATCHNORM: out_c floats, OP_SCALE: n_scale
    int n_scale;   // OP_SCALE: 1, c or h * w * c
    struct crop_rule *crop; // owned; OP_CROP_MATRIX
    int residual;           // OP_CONV: value added before the activation, or -1
    enum activation act;
    float *slope;            // owned, out_c floats, for ACT_PRELU
    float alpha;             // for ACT_LEAKY_RELU
    char axis;               // OP_CONCAT
    int out_h, out_w, out_c; // OP_RESIZE_BILINEAR, OP_RESHAPE, OP_WARP
    int pad_channels;        // OP_PAD
};

struct value {
    char *name;  // owned; may be NULL for inner values
    int h, w, c; // set by graph_finish()
};

struct graph {
    int n_values, n_ops, n_inputs, n_outputs;
    struct value *values;
    struct op *ops;            // in an order that can be run
    int inputs[8], outputs[8]; // values
    bool is_optimized;
    bool is_packed; // its convolutions have no weights: a pack has them (pack.h)
};

struct graph *graph_create(void); // never NULL
void graph_free(struct graph **g);

// A new value; the name (may be NULL) is copied. Returns its index.
int graph_add_value(struct graph *g, const char *name);
int graph_find_value(const struct graph *g, const char *name); // or -1

// An input of the network of known shape. Returns its value.
int graph_add_input(struct graph *g, const char *name, int h, int w, int c);
void graph_add_output(struct graph *g, int value);

// Append an operation; the graph takes over the arrays that *op owns and copies the name.
// A zero-initialised op with kind, in, out and what its kind needs is right: graph_add_op turns
// groups, strides and kernel of 0 into 1. NOTE: residual 0 is value 0, so set it to -1.
void graph_add_op(struct graph *g, const struct op *op);

// Work out the shape of what the last operation writes, from those of what it reads, which must be
// known: for importers that want to know it before the end. KB_BAD_INPUT with a sentence.
enum kb_code graph_infer_last(struct graph *g, struct kb_error *err);

// Work out every shape and check that operations fit together. KB_BAD_INPUT with a sentence.
enum kb_code graph_finish(struct graph *g, struct kb_error *err);

// Make the values of these names the only outputs, in this order, and drop the operations that none
// of them needs. Before graph_optimize(). KB_BAD_INPUT when there is no output of such a name.
enum kb_code graph_keep_outputs(struct graph *g, const char *const *names, int n_names,
                                struct kb_error *err);

// The rewriting that every session wants, after graph_finish(); only the first time does anything:
// batch norm folded into its convolution, residual additions and activations fused into it,
// OP_DECONV of stride 2 split by output phase into convolutions and of stride 1 turned into one.
enum kb_code graph_optimize(struct graph *g, struct kb_error *err);

// How often a value is read, as an output of the network too; and the operation that writes it, or
// -1.
int graph_uses(const struct graph *g, int value);
int graph_producer(const struct graph *g, int value);

// Multiply-accumulates and parameters for one image.
int64_t graph_macs(const struct graph *g);
int64_t graph_params(const struct graph *g);

#endif
