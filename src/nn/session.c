#include "nn/session.h"

#include "nn/backend.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PORTS 8 // as graph.h's inputs and outputs

struct session {
    const struct backend *backend;
    struct plan *plan;
    struct observer *observer;
    int batch, n_inputs, n_outputs;
    int input_values[MAX_PORTS];
    struct value input_shapes[MAX_PORTS], output_shapes[MAX_PORTS];
    float *inputs[MAX_PORTS], *outputs[MAX_PORTS];
    size_t port_bytes;
};

const char *precision_name(enum precision p)
{
    static const char *const names[] = {"auto", "f32", "bf16", "int8"};
    return names[p];
}

bool precision_can_run(enum precision p)
{
    return backend_onednn.can(p);
}

bool precision_parse(const char *text, enum precision *ret)
{
    for (enum precision p = PRECISION_AUTO; p <= PRECISION_INT8; p++) {
        if (strcmp(text, precision_name(p)) == 0) {
            *ret = p;
            return true;
        }
    }
    return false;
}

enum precision precision_resolve(enum precision p, bool has_ranges)
{
    const struct backend *b = &backend_onednn;
    if (p != PRECISION_AUTO)
        return p;
    if (has_ranges && b->is_native(PRECISION_INT8))
        return PRECISION_INT8;
    return b->is_native(PRECISION_BF16) ? PRECISION_BF16 : PRECISION_F32;
}

// Buffers, aligned for vector loads, for n ports of the graph.
static enum kb_code make_ports(struct session *s, const struct graph *g, int n, const int *values,
                               struct value *shapes, float **buffers, struct kb_error *err)
{
    for (int i = 0; i < n; i++) {
        const struct value *v = &g->values[values[i]];
        shapes[i] = *v;
        shapes[i].name = kb_strdup(v->name);
        size_t bytes =
            (size_t)s->batch * (size_t)v->h * (size_t)v->w * (size_t)v->c * sizeof(float);
        bytes = (bytes + 63) & ~(size_t)63;
        buffers[i] = aligned_alloc(64, bytes);
        if (!buffers[i])
            return kb_no_memory(err);
        memset(buffers[i], 0, bytes);
        s->port_bytes += bytes;
    }
    return KB_OK;
}

enum kb_code session_create(struct session **ret, struct graph *g,
                            const struct session_params *params, struct kb_error *err)
{
    CLEANUP(session_free) struct session *s = kb_alloc(sizeof(*s));
    struct session_params p = params ? *params : (struct session_params){0};
    p.batch = KB_MAX(p.batch, 1);
    p.threads = KB_MAX(p.threads, 1);
    p.precision = precision_resolve(p.precision, p.ranges != NULL);

    s->batch = p.batch;
    enum kb_code code = graph_optimize(g, err);
    if (code != KB_OK)
        return code;
    if (!precision_can_run(p.precision))
        return kb_fail(err, KB_UNAVAILABLE,
                       _("this processor cannot compute in %s; use --precision auto"),
                       precision_name(p.precision));
    if (p.precision == PRECISION_INT8 && (!p.ranges || p.ranges->n_values != g->n_values))
        return kb_fail(err, KB_BAD_INPUT,
                       _("int8 needs the ranges of the network's values; make them with koubo "
                         "model quantize"));
    if (p.observer) {
        s->observer = p.observer;
        observer_prepare(p.observer, g->n_values);
    }
    s->n_inputs = g->n_inputs;
    memcpy(s->input_values, g->inputs, sizeof(s->input_values));
    s->n_outputs = g->n_outputs;
    code = make_ports(s, g, g->n_inputs, g->inputs, s->input_shapes, s->inputs, err);
    if (code == KB_OK)
        code = make_ports(s, g, g->n_outputs, g->outputs, s->output_shapes, s->outputs, err);
    if (code != KB_OK)
        return code;

    s->backend = &backend_onednn;
    if (!s->backend->available())
        return kb_fail(err, KB_UNAVAILABLE, _("no inference backend can run on this machine"));
    code = s->backend->plan_create(&s->plan, g, &p, s->inputs, s->outputs, err);
    if (code == KB_OK)
        *ret = TAKE(s);
    return code;
}

void session_free(struct session **s)
{
    if (!*s)
        return;
    if ((*s)->plan)
        (*s)->backend->plan_free(&(*s)->plan);
    for (int i = 0; i < MAX_PORTS; i++) {
        free((*s)->inputs[i]);
        free((*s)->outputs[i]);
        free((*s)->input_shapes[i].name);
        free((*s)->output_shapes[i].name);
    }
    free(*s);
    *s = NULL;
}

float *session_input(struct session *s, int i)
{
    return s->inputs[i];
}

const float *session_output(const struct session *s, int i)
{
    return s->outputs[i];
}

struct value session_input_shape(const struct session *s, int i)
{
    return s->input_shapes[i];
}

struct value session_output_shape(const struct session *s, int i)
{
    return s->output_shapes[i];
}

int session_n_inputs(const struct session *s)
{
    return s->n_inputs;
}

int session_n_outputs(const struct session *s)
{
    return s->n_outputs;
}

int session_batch(const struct session *s)
{
    return s->batch;
}

size_t session_memory_bytes(const struct session *s)
{
    return s->port_bytes + s->backend->plan_memory(s->plan);
}

void session_backend(char ret[SESSION_BACKEND_SIZE])
{
    backend_onednn.describe(ret, SESSION_BACKEND_SIZE);
}

void session_library(char *ret, size_t size)
{
    backend_onednn.library(ret, size);
}

enum kb_code session_run(struct session *s, struct kb_error *err)
{
    for (int i = 0; s->observer && i < s->n_inputs; i++) {
        const struct value *v = &s->input_shapes[i];
        observer_note(s->observer, s->input_values[i], s->inputs[i],
                      (size_t)s->batch * (size_t)v->h * (size_t)v->w * (size_t)v->c);
    }
    return s->backend->plan_run(s->plan, err);
}
