#include "tests/fuzz/graph.h"

#include "nn/session.h"

#define MAX_OPS    24
#define MAX_MACS   200000
#define MAX_FLOATS 100000 // of all values together

// The engine's own calculations take any size; here only what a thousand a second can be of.
static bool is_small(const struct graph *g)
{
    int64_t floats = graph_params(g);
    for (int i = 0; i < g->n_values; i++) {
        const struct value *v = &g->values[i];
        if (v->h > 512 || v->w > 512 || v->c > 512)
            return false;
        floats += (int64_t)v->h * v->w * v->c;
    }
    return g->n_ops <= MAX_OPS && floats <= MAX_FLOATS && graph_macs(g) <= MAX_MACS;
}

void fuzz_graph(struct graph *g)
{
    struct kb_error err = {0};
    if (graph_optimize(g, &err) != KB_OK || !is_small(g))
        return;
    const struct session_params params = {.batch = 1, .precision = PRECISION_F32, .threads = 1};
    CLEANUP(session_free) struct session *s = NULL;
    if (session_create(&s, g, &params, &err) != KB_OK)
        return;
    for (int i = 0; i < session_n_inputs(s); i++) {
        struct value v = session_input_shape(s, i);
        float *x = session_input(s, i);
        for (int k = 0; k < v.h * v.w * v.c; k++)
            x[k] = (float)(k % 17) / 16;
    }
    session_run(s, &err);
}
