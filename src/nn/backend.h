// What a backend gives a session: one table of functions. Internal to nn/. A plan is not
// thread-safe; two of them run side by side without trouble.
#ifndef NN_BACKEND_H
#define NN_BACKEND_H

#include "nn/session.h"

struct plan; // a compiled graph; each backend defines its own

struct backend {
    const char *name;
    // Itself, its version and what of the processor it uses, in a line.
    void (*describe)(char *ret, size_t size);
    // Its library's version and instruction set, for people.
    void (*library)(char *ret, size_t size);
    // Can it run here? Cheap, called before plan_create.
    bool (*available)(void);
    // Can it compute in this precision (not AUTO) on this processor, and does it do so by the
    // processor's own instructions, so that it is faster than the more exact ones?
    bool (*can)(enum precision p);
    bool (*is_native)(enum precision p);
    // Compile an optimized graph. params are resolved (batch >= 1, threads >= 1, no AUTO).
    // inputs and outputs are the session's NHWC f32 buffers, one per input and output of the graph;
    // the plan reads and writes them on every run.
    enum kb_code (*plan_create)(struct plan **ret, const struct graph *g,
                                const struct session_params *params, float *const *inputs,
                                float *const *outputs, struct kb_error *err);
    enum kb_code (*plan_run)(struct plan *p, struct kb_error *err);
    size_t (*plan_memory)(const struct plan *p); // bytes of weights and activations
    void (*plan_free)(struct plan **p);
};

extern const struct backend backend_onednn;

#endif
