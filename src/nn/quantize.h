// int8: which values of a graph are kept as u8, and what their steps are. Internal to nn/.
// Thread-safe (no state).
//
// Activations are u8 without a zero point (q = x / scale), weights s8 with a scale per output
// channel (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference"). So a value can be u8 if it is never negative: what comes out
// of a ReLU, and pictures. All other operations stay in f32 or bf16.
#ifndef NN_QUANTIZE_H
#define NN_QUANTIZE_H

#include "nn/layout.h"

// Turn types of slots that can be to SLOT_U8 and set their scale.
void quantize_choose(struct slot *slots, const struct graph *g, const struct ranges *ranges);

// The scale of every channel of a u8 value: those of a concatenation differ from part to part.
void quantize_scales(const struct slot *slots, const struct graph *g, int value, float *ret);

// Weights of a convolution that reads u8: ret_weight (as op->weight) holds whole numbers -127…127,
// ret_step[o] is the real value of an accumulator's 1 in output channel o.
// in_pairs: two products are added in 16 bits, those of input channels 2i and 2i + 1 at one place
// of the kernel. So those of one sign in a pair are at most 128 together, for 255 * 128 fits:
// seven bits where both are large, eight where one is.
void quantize_weights(const struct slot *slots, const struct graph *g, const struct op *op,
                      bool in_pairs, float *ret_weight, float *ret_step);

#endif
