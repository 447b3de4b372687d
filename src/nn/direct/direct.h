// Convolutions of few channels computed as they are defined, with all that stands around them in
// one pass: what comes before (each channel's own 3x3 convolution, as in MobileNet's pairs), and
// what comes after (residual, bias, activation). Of networks like MediaPipe's a convolution takes
// microseconds, and each pass over memory beside it as long.
//
// f32, NHWC. Internal to nn/. Thread-safe: no state; direct_run() uses OpenMP, and its results do
// not depend on how many threads there are.
#ifndef NN_DIRECT_DIRECT_H
#define NN_DIRECT_DIRECT_H

#include "nn/kernels.h"

enum direct_way {
    DIRECT_POINTS,    // 1x1, stride 1
    DIRECT_DEPTHWISE, // 3x3 of each channel by itself, then 1x1
    DIRECT_PATCHES,   // any kernel
};

struct direct_shape {
    enum direct_way way;
    int n; // images
    int in_h, in_w, in_c;
    int out_h, out_w, out_c;
    int kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left; // DEPTHWISE: of the 3x3
    int residual_c; // channels, at most out_c; 0: none
    bool is_pooled; // the residual is an image of twice the size, of which the largest of 2x2 count
};

// How one is computed.
struct direct {
    struct direct_shape shape;
    const struct direct_kernels *kernels;
    int depth;           // products in a sum
    int chunk, n_chunks; // pixels that one thread takes at once; PATCHES: a row
    int threads;
};

// Can it be computed so, with these vectors or shorter ones? False where channels do not fill even
// the shortest, or there are more pixels than an int can count.
bool direct_make(struct direct *ret, const struct direct_shape *shape, enum vector_set vectors,
                 int threads);

// The weights as direct_run() wants them, from O I kernel_h kernel_w; DEPTHWISE: of the 1x1, and
// those of the 3x3 with their bias (NULL: zeros).
size_t direct_weights_size(const struct direct *d); // bytes
void direct_weights(const struct direct *d, const float *weight, const float *each,
                    const float *each_bias, float *ret);
// Bytes of memory that a run needs for itself.
size_t direct_scratch_size(const struct direct *d);

struct direct_job {
    const float *weights;
    const float *bias, *slope;      // of each output channel: y > 0 ? y : slope * y
    float top;                      // then at most this
    struct image in, residual, out; // residual.data NULL: there is none
    void *scratch;                  // aligned to 64 bytes
};

void direct_run(const struct direct *d, const struct direct_job *job);

#endif
