// What the files of the oneDNN backend share: the plan, its steps, and how they are added to it.
// Not thread-safe, as the plan is not.
#ifndef NN_ONEDNN_INTERNAL_H
#define NN_ONEDNN_INTERNAL_H

#include "nn/backend.h"
#include "nn/direct/direct.h"
#include "nn/kernels.h"
#include "nn/layout.h"
#include "nn/onednn/library.h"
#include "nn/spatial.h"
#include "nn/tuning.h"
#include "nn/winograd/winograd.h"

// Where a primitive's argument lies: a value, or memory of the plan's own.
struct binding {
    int arg;
    int value; // -1: fixed
    dnnl_memory_t memory;
};

struct step {
    enum {
        STEP_PRIMITIVE,
        STEP_MOVE,
        STEP_PRELU,
        STEP_QUANTIZE,
        STEP_SPATIAL,
        STEP_WINOGRAD,
        STEP_DIRECT
    } kind;
    int op; // of the graph, whose step it is; -1: none's
    dnnl_primitive_t primitive;
    int n_bindings;
    struct binding bindings[6];
    struct move move; // pointers are filled in when memory is planned
    int src[4], dst;  // values of move; dst_offset elements into dst's slot
    int64_t dst_offset;
    float *slope;           // STEP_PRELU, owned; STEP_SPATIAL: the factors
    struct crop_rule *crop; // STEP_SPATIAL, owned
    struct spatial spatial; // STEP_SPATIAL; images from src[0], src[1], dst when memory is planned
    float factor;           // STEP_QUANTIZE: from src[0] to dst
    struct winograd_step *winograd; // STEP_WINOGRAD, owned; src[0], residual src[1] or -1, dst
    struct direct_step *direct;     // STEP_DIRECT, owned; as above
};

struct plan {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int batch, threads;
    int n_steps, n_slots, max_steps, max_slots;
    struct step *steps;
    struct slot *slots;
    char *arena, *scratch;
    size_t arena_bytes, scratch_bytes, weight_bytes;
    dnnl_memory_t *owned; // constants, the session's buffers
    int n_owned, max_owned;
    struct descs descs; // while it is made
    struct observer *observer;
    const struct tuning *tuning; // while it is made
    struct op_time *times;
    struct pack *pack;               // constants come from here, or
    struct pack_writer *pack_writer; // are written there as they are made; either may be NULL
};

// The library's word, not the processor's: it can be limited by ONEDNN_MAX_CPU_ISA.
bool onednn_has_isa(dnnl_cpu_isa_t wanted);
// Instructions that add products of u8 and s8 in 32 bits, of 256 or 512 bits. Without them the
// library adds pairs of products in 16 bits first, which saturate.
bool onednn_has_vnni(void);
bool onednn_is_vnni(unsigned isa); // the same of any set of dnnl_cpu_isa_t
// oneDNN's word as ours; what: what was asked of it.
enum kb_code onednn_check(dnnl_status_t s, const char *what, struct kb_error *err);

#define DNNL_CHECK(call)                                                                           \
    do {                                                                                           \
        enum kb_code code_ = onednn_check(call, #call, err);                                       \
        if (code_ != KB_OK)                                                                        \
            return code_;                                                                          \
    } while (0)
#define CHECK(call)                                                                                \
    do {                                                                                           \
        enum kb_code code_ = call;                                                                 \
        if (code_ != KB_OK)                                                                        \
            return code_;                                                                          \
    } while (0)

// --- memory.c: where values and constants lie ---

dnnl_data_type_t onednn_type(const struct plan *p, int value);
// NHWC memory of a value, dense. Logical dims are NCHW as the library wants them.
desc_ref onednn_desc(struct plan *p, const struct graph *g, int value, dnnl_data_type_t type);
// A place beside that of a value, of its shape. Returns its index.
int onednn_add_slot(struct plan *p, const struct graph *g, int value, enum slot_type type);
// An argument of the primitive; value -1: the memory is fixed.
void onednn_add_binding(struct step *s, int arg, int value, dnnl_memory_t memory);
// The argument of a primitive is a value; -1: of the plan's own, set later.
enum kb_code onednn_bind(struct plan *p, struct step *s, int arg, desc_ref md, int value,
                         struct kb_error *err);
// It is memory of the plan's own with this content, in the layout the primitive asked for; or the
// pack's.
enum kb_code onednn_bind_constant(struct plan *p, struct step *s, int arg, const float *data,
                                  desc_ref user, desc_ref wanted, struct kb_error *err);
// The plan destroys it.
void onednn_own(struct plan *p, dnnl_memory_t memory);
// The pack holds something else: KB_BAD_INPUT.
enum kb_code onednn_unfit(struct kb_error *err);
// Where a value begins, once the memory is mapped.
char *onednn_address(const struct plan *p, int value);
// After the last step was added: gives all values their places and the steps their pointers.
enum kb_code onednn_map_memory(struct plan *p, const struct graph *g, struct kb_error *err);

// --- steps.c ---

// The next step, empty; kind: STEP_….
struct step *onednn_step(struct plan *p, int kind);
void onednn_add_move(struct plan *p, const struct op *op, int src, int dst);
// A dense copy of one value into another of the same shape and type.
void onednn_add_copy(struct plan *p, int src, int dst);
void onednn_add_prelu(struct plan *p, const struct graph *g, const struct op *op);
// From a wide value to u8.
void onednn_add_quantize(struct plan *p, int src, int dst);
enum kb_code onednn_add_spatial(struct plan *p, const struct op *op, struct kb_error *err);
void onednn_add_concat(struct plan *p, const struct graph *g, const struct op *op);

// --- own.c ---

// Of a step whose kernel is our own. weights: NULL where they are the pack's.
struct constants {
    void *weights;
    float *bias, *slope;
};
void onednn_constants_clear(struct constants *c);
// Of the library's instruction set.
enum vector_set onednn_vectors(void);
// *ret: the weights of a step, out of the pack, which has to have so many bytes of them, or room
// for them in c->weights, aligned to 64 bytes: who fills it calls onednn_keep_weights().
enum kb_code onednn_take_weights(struct plan *p, struct constants *c, size_t size, const void **ret,
                                 struct kb_error *err);
void onednn_keep_weights(struct plan *p, const struct constants *c, size_t size);
// What a convolution's activation is to the kernels of our own: for each of n channels bias and
// slope, which become the caller's, and the top. Not of sigmoid and hard swish.
void onednn_activation(const struct op *op, int n, float **bias, float **slope, float *top);

// --- winograd.c ---

// Add a convolution as one step of its own, or nothing (*ret_done false) where the library's is as
// fast.
enum kb_code onednn_add_winograd(struct plan *p, const struct graph *g, const struct op *op,
                                 bool *ret_done, struct kb_error *err);
void onednn_winograd_run(const struct plan *p, const struct step *s);
void onednn_winograd_free(struct winograd_step **w);

// --- direct.c ---

// Add an operation as a step of our own, with those that it takes in, or as none because another
// takes it in; or nothing (*ret_done false).
enum kb_code onednn_add_direct(struct plan *p, const struct graph *g, const struct op *op,
                               bool *ret_done, struct kb_error *err);
void onednn_direct_run(const struct plan *p, const struct step *s);
void onednn_direct_free(struct direct_step **d);

// --- primitives.c, conv.c ---

// Post-ops of one operation: the residual already in the destination, times sum (0: none), then the
// activation. unit: the real value of 1 in the destination.
enum kb_code onednn_attr(dnnl_primitive_attr_t *ret, float sum, const struct op *op, float unit,
                         struct kb_error *err);
// Make the primitive of a step from its descriptor and remember its scratchpad.
enum kb_code onednn_primitive(struct plan *p, struct step *s, dnnl_primitive_desc_t pd,
                              struct kb_error *err);
enum kb_code onednn_add_sum(struct plan *p, const struct graph *g, const struct op *op,
                            struct kb_error *err);
enum kb_code onednn_add_activation(struct plan *p, const struct graph *g, const struct op *op,
                                   struct kb_error *err);
enum kb_code onednn_add_pool(struct plan *p, const struct graph *g, const struct op *op,
                             struct kb_error *err);
enum kb_code onednn_add_resize(struct plan *p, const struct graph *g, const struct op *op,
                               struct kb_error *err);
// f32 <-> bf16 between a value and the session's buffer, which is f32.
enum kb_code onednn_add_convert(struct plan *p, const struct graph *g, int value, float *buffer,
                                bool to_value, struct kb_error *err);
enum kb_code onednn_add_conv(struct plan *p, const struct graph *g, const struct op *op,
                             struct kb_error *err);

#endif
