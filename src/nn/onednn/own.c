// What the convolutions of our own (direct.c, winograd.c) have in common: which vectors they may
// use, and the constants of a step.
#include "nn/onednn/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum vector_set onednn_vectors(void)
{
    if (onednn_has_isa(dnnl_cpu_isa_avx512_core_vnni))
        return VECTORS_VNNI;
    if (onednn_has_isa(dnnl_cpu_isa_avx512_core))
        return VECTORS_AVX512;
    return onednn_has_isa(dnnl_cpu_isa_avx2) ? VECTORS_AVX2 : VECTORS_PLAIN;
}

void onednn_constants_clear(struct constants *c)
{
    free(c->weights);
    free(c->bias);
    free(c->slope);
}

enum kb_code onednn_take_weights(struct plan *p, struct constants *c, size_t size, const void **ret,
                                 struct kb_error *err)
{
    if (p->pack) {
        *ret = pack_take(p->pack, size);
        return *ret ? KB_OK : onednn_unfit(err);
    }
    *ret = c->weights = aligned_alloc(64, (size + 63) & ~(size_t)63);
    return *ret ? KB_OK : kb_no_memory(err);
}

void onednn_keep_weights(struct plan *p, const struct constants *c, size_t size)
{
    p->weight_bytes += size;
    if (p->pack_writer)
        pack_put(p->pack_writer, c->weights, size);
}

void onednn_activation(const struct op *op, int n, float **bias, float **slope, float *top)
{
    *bias = kb_alloc((size_t)n * sizeof(float));
    *slope = kb_alloc((size_t)n * sizeof(float));
    if (op->bias)
        memcpy(*bias, op->bias, (size_t)n * sizeof(float));
    for (int i = 0; i < n; i++)
        (*slope)[i] = op->act == ACT_PRELU        ? op->slope[i]
                      : op->act == ACT_LEAKY_RELU ? op->alpha
                                                  : op->act == ACT_NONE;
    *top = op->act == ACT_RELU6 ? 6 : INFINITY;
}
