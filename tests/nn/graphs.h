// Graphs for tests: operations with weights out of a hat, and three networks that have all kinds of
// them between them.
#ifndef TESTS_NN_GRAPHS_H
#define TESTS_NN_GRAPHS_H

#include "tests/test.h"

#include "nn/session.h"

// The same numbers in every run once seed is set: -scale … scale. free() them.
extern uint32_t seed;
float noise(void);
float *noises(int n, float scale);

// Add an operation that reads x; more inputs stand in o.in from 1 on, with o.n_in. The value it
// makes.
int graph_op(struct graph *g, int x, struct op o);
#define OP(g, x, ...) graph_op(g, x, (struct op){__VA_ARGS__})

// The same with weights, a bias and, for ACT_PRELU, slopes made of noise.
int graph_conv(struct graph *g, int x, int in_c, struct op o);
#define CONV(g, x, in_c, ...) graph_conv(g, x, in_c, (struct op){.kind = OP_CONV, __VA_ARGS__})

struct graph *build_unet(void);
struct graph *build_wav2lip_like(void);
struct graph *build_mediapipe_like(void);
// Positive weights into a ReLU, a residual and a concatenation: all of it can be u8, so the arena
// is about half of bf16's and the weights too.
struct graph *build_rectified(void);

// Layers of 3x3 and a transposed one, with so many channels and pixels that they are computed
// Winograd's way, at odd sizes, with every activation and a residual.
struct graph *build_wide(void);

// Pairs of 3x3 of each channel and 1x1, some of half the size beside their input's maximum, with so
// few channels that they are computed directly.
struct graph *build_narrow(void);

#define N_BUILDERS 5
extern struct graph *(*const builders[N_BUILDERS])(void); // all but build_rectified()

// The ranges of a graph's values on the inputs that compare() in test_session.c gives it.
struct ranges *calibrate(struct graph *(*build)(void), int batch);

#endif
