// The operations that only move numbers, on NHWC data of 1, 2 or 4 bytes an element, and PReLU,
// which the library can fuse only into its slow reference convolution. Internal to nn/.
// Thread-safe: no state, parallel over rows with OpenMP.
#ifndef NN_KERNELS_H
#define NN_KERNELS_H

#include "nn/graph.h"

// Which vectors the convolutions of our own are computed with. VECTORS_VNNI: AVX-512 with it.
enum vector_set { VECTORS_PLAIN, VECTORS_AVX2, VECTORS_AVX512, VECTORS_VNNI };

// A batch of images in memory. A pixel's channels are dense; pixels of a row stand pixel_stride
// elements apart (more than c where the image is a slice of the channels of a wider one); rows
// and images follow each other without gaps.
struct image {
    void *data;
    int n, h, w, c;
    int64_t pixel_stride; // elements
};

// One operation. elem_size: bytes per element.
struct move {
    enum op_kind kind; // INTERLEAVE, CONCAT, PAD
    int elem_size;
    int n_src; // INTERLEAVE: 4, else 1
    struct image src[4];
    struct image dst;
    int top, left; // CONCAT and PAD: where src lies in dst, rows and columns
};

void move_run(const struct move *m);

// y = x > 0 ? x : slope[c] * x, in place.
void prelu_run(const struct image *x, const float *slope, bool is_bf16);

// f32 or bf16 to u8: src * factor, rounded, cut to 0…255. Both images dense.
void quantize_run(const struct image *dst, const struct image *src, bool src_is_bf16, float factor);

#endif
