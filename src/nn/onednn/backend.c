// The CPU backend: convolutions, pooling and element-wise arithmetic by oneDNN's C API, moving of
// numbers by kernels.c. Every dnnl_ name of koubo stands in this folder: the plan and the order of
// its steps here, convolutions in conv.c, other primitives in primitives.c, steps of our own in
// steps.c, memory in memory.c, and in library.c what versions 2 and 3 call otherwise.
//
// Layout. All values are NHWC: oneDNN's fastest convolutions for AVX-512 (brgconv) want it, and a
// concatenation over channels needs no pass of its own: an operation that only moves numbers writes
// straight into its slice of the concatenated value (struct slot: a root that owns the memory, an
// offset and a pixel stride). Convolutions themselves must write dense values: given a strided
// destination the library falls back to its reference code.
//
// Residuals. A full-tensor binary post-op would leave brgconv for an older kernel; the sum post-op
// does not, so the residual is copied to the destination first.
//
// int8. A convolution that reads u8 has s8 weights and gives u8, or the wide type (f32 or bf16)
// where the next operation wants that; one that reads wide and whose result is u8 writes beside it
// first and is then converted.
//
// Memory. One arena for all inner values, planned by first fit over lifetimes; one scratchpad of
// the largest size (user mode: in the library's default mode a primitive must run in the thread
// that created it).
#include "nn/onednn/internal.h"
#include "nn/quantize.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum kb_code onednn_check(dnnl_status_t s, const char *what, struct kb_error *err)
{
    if (s == dnnl_success)
        return KB_OK;
    return kb_fail(err, s == dnnl_out_of_memory ? KB_NO_SPACE : KB_INTERNAL,
                   _("the inference library failed at '%s' (oneDNN status %d)"), what, (int)s);
}

static enum kb_code add_op(struct plan *p, const struct graph *g, const struct op *op,
                           struct kb_error *err)
{
    bool done;
    CHECK(onednn_add_direct(p, g, op, &done, err));
    if (done)
        return KB_OK;
    switch (op->kind) {
    case OP_CONV:
        return onednn_add_conv(p, g, op, err);
    case OP_ADD:
        return onednn_add_sum(p, g, op, err);
    case OP_ACTIVATION:
        return onednn_add_activation(p, g, op, err);
    case OP_MAX_POOL:
        return onednn_add_pool(p, g, op, err);
    case OP_RESIZE_BILINEAR:
        return onednn_add_resize(p, g, op, err);
    case OP_CONCAT:
        onednn_add_concat(p, g, op);
        return KB_OK;
    case OP_RESHAPE: // the same memory
        return KB_OK;
    default:
        break;
    }
    if (is_spatial(op->kind))
        return onednn_add_spatial(p, op, err);
    if (!layout_is_move(op->kind))
        return kb_fail(err, KB_INTERNAL, _("operation %d cannot run on this backend"),
                       (int)op->kind);
    int n_apart = 0;
    for (int i = 0; i < op->n_in && op->kind == OP_INTERLEAVE; i++)
        n_apart += p->slots[op->in[i]].written_apart;
    if (n_apart > 0) // all of them, but for what a pack may say
        return n_apart == op->n_in ? KB_OK : onednn_unfit(err);
    onednn_add_move(p, op, op->in[0], op->out);
    struct step *s = &p->steps[p->n_steps - 1];
    s->move.n_src = op->n_in;
    for (int i = 1; i < op->n_in; i++)
        s->src[i] = op->in[i];
    return KB_OK;
}

static void plan_free(struct plan **pp)
{
    struct plan *p = *pp;
    if (!p)
        return;
    for (int i = 0; i < p->n_steps; i++) {
        struct step *s = &p->steps[i];
        for (int k = 0; k < s->n_bindings; k++)
            if (s->bindings[k].value >= 0 || s->bindings[k].arg == DNNL_ARG_SCRATCHPAD)
                dnnl_memory_destroy(s->bindings[k].memory);
        if (s->primitive)
            dnnl_primitive_destroy(s->primitive);
        free(s->slope);
        free(s->crop);
        onednn_winograd_free(&s->winograd);
        onednn_direct_free(&s->direct);
    }
    for (int i = 0; i < p->n_owned; i++)
        dnnl_memory_destroy(p->owned[i]);
    if (p->stream)
        dnnl_stream_destroy(p->stream);
    if (p->engine)
        dnnl_engine_destroy(p->engine);
    descs_clear(&p->descs);
    free(p->owned);
    free(p->steps);
    free(p->slots);
    free(p->arena);
    free(p->scratch);
    free(p);
    *pp = NULL;
}

// What is not u8 in int8: the faster of the two on this processor.
static enum slot_type wide_type(enum precision precision)
{
    if (precision == PRECISION_INT8)
        precision = precision_resolve(PRECISION_AUTO, false);
    return precision == PRECISION_BF16 ? SLOT_BF16 : SLOT_F32;
}

static enum kb_code plan_create(struct plan **ret, const struct graph *g,
                                const struct session_params *params, float *const *inputs,
                                float *const *outputs, struct kb_error *err)
{
    CLEANUP(plan_free) struct plan *p = kb_alloc(sizeof(*p));
    p->batch = params->batch;
    p->threads = params->threads;
    p->observer = params->observer;
    p->tuning = params->tuning;
    p->times = params->times;
    p->pack = params->pack;
    p->pack_writer = params->pack_writer;
    omp_set_num_threads(p->threads); // the calling thread's own setting
    DNNL_CHECK(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
    DNNL_CHECK(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));

    // At most: a copy, a primitive and a PReLU or a conversion an operation, eight parts a
    // concatenation.
    size_t n_steps = 2 * ARRAY_LEN(g->inputs);
    for (int i = 0; i < g->n_ops; i++)
        n_steps += KB_MAX(3, (size_t)g->ops[i].n_in);
    p->steps = kb_alloc(n_steps * sizeof(p->steps[0]));
    p->max_steps = (int)n_steps;
    p->n_slots = g->n_values;
    // Beside the values: one an operation and one an input that is converted to u8.
    p->max_slots = p->n_slots + g->n_ops + g->n_inputs;
    p->slots = kb_alloc((size_t)p->max_slots * sizeof(p->slots[0]));
    // Weights, bias and scales (version 3) of an operation, the session's buffers.
    p->max_owned = 3 * g->n_ops + g->n_inputs + g->n_outputs;
    p->owned = kb_alloc((size_t)p->max_owned * sizeof(p->owned[0]));

    layout_choose(p->slots, g, wide_type(params->precision),
                  params->precision == PRECISION_INT8 ? params->ranges : NULL);
    for (int i = 0; i < g->n_inputs; i++) {
        int v = g->inputs[i];
        if (p->slots[v].type == SLOT_F32) {
            p->slots[v].external = inputs[i];
        } else if (p->slots[v].type == SLOT_BF16) {
            CHECK(onednn_add_convert(p, g, v, inputs[i], true, err));
        } else {
            int outer = onednn_add_slot(p, g, v, SLOT_F32);
            p->slots[outer].external = inputs[i];
            onednn_add_quantize(p, outer, v);
        }
    }
    for (int i = 0; i < g->n_ops; i++) {
        int first = p->n_steps;
        CHECK(add_op(p, g, &g->ops[i], err));
        for (int k = first; k < p->n_steps; k++)
            p->steps[k].op = i;
    }
    for (int i = 0; i < g->n_outputs; i++) {
        struct slot *s = &p->slots[g->outputs[i]];
        if (s->type == SLOT_F32 && s->root == g->outputs[i] && !s->external)
            s->external = outputs[i];
        else
            CHECK(onednn_add_convert(p, g, g->outputs[i], outputs[i], false, err));
    }
    CHECK(onednn_map_memory(p, g, err));
    descs_clear(&p->descs);
    p->tuning = NULL;
    *ret = TAKE(p);
    return KB_OK;
}

// Show the observer what a step has written.
static enum kb_code observe(const struct plan *p, const struct step *s, struct kb_error *err)
{
    for (int i = 0; i < s->n_bindings; i++) {
        const struct binding *b = &s->bindings[i];
        desc_ref md;
        if (b->arg != DNNL_ARG_DST || b->value < 0)
            continue;
        DNNL_CHECK(dnnl_memory_get_memory_desc(b->memory, &md));
        observer_note(p->observer, b->value, (const float *)(void *)onednn_address(p, b->value),
                      dnnl_memory_desc_get_size(md) / sizeof(float));
    }
    return KB_OK;
}

static enum kb_code run_step(const struct plan *p, const struct step *s, struct kb_error *err)
{
    dnnl_exec_arg_t args[ARRAY_LEN(s->bindings)];
    switch (s->kind) {
    case STEP_MOVE:
        move_run(&s->move);
        break;
    case STEP_PRELU:
        prelu_run(&s->move.dst, s->slope, p->slots[s->dst].type == SLOT_BF16);
        break;
    case STEP_QUANTIZE:
        quantize_run(&s->move.dst, &s->move.src[0], p->slots[s->src[0]].type == SLOT_BF16,
                     s->factor);
        break;
    case STEP_SPATIAL:
        spatial_run(&s->spatial);
        break;
    case STEP_WINOGRAD:
        onednn_winograd_run(p, s);
        break;
    case STEP_DIRECT:
        onednn_direct_run(p, s);
        break;
    case STEP_PRIMITIVE:
        for (int k = 0; k < s->n_bindings; k++)
            args[k] = (dnnl_exec_arg_t){s->bindings[k].arg, s->bindings[k].memory};
        DNNL_CHECK(dnnl_primitive_execute(s->primitive, p->stream, s->n_bindings, args));
        if (p->observer)
            CHECK(observe(p, s, err));
    }
    return KB_OK;
}

static double thread_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static enum kb_code plan_run(struct plan *p, struct kb_error *err)
{
    omp_set_num_threads(p->threads);
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        double since = p->times ? thread_us() : 0;
        CHECK(run_step(p, s, err));
        if (p->times && s->op >= 0)
            p->times[s->op].us += thread_us() - since;
    }
    DNNL_CHECK(dnnl_stream_wait(p->stream));
    return KB_OK;
}

static size_t plan_memory(const struct plan *p)
{
    return p->arena_bytes + p->scratch_bytes + p->weight_bytes;
}

static bool available(void)
{
    return true; // oneDNN runs on any x86-64 and picks kernels by what the processor has
}

static void describe(char *ret, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(ret, size, "onednn %d.%d.%d %s isa %x", v->major, v->minor, v->patch, v->hash,
             (unsigned)dnnl_get_effective_cpu_isa());
}

bool onednn_has_isa(dnnl_cpu_isa_t wanted)
{
    return (dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

bool onednn_is_vnni(unsigned isa)
{
    const unsigned wide = dnnl_cpu_isa_avx512_core_vnni, narrow = dnnl_cpu_isa_avx2_vnni;
    return (isa & wide) == wide || (isa & narrow) == narrow;
}

bool onednn_has_vnni(void)
{
    return onednn_is_vnni((unsigned)dnnl_get_effective_cpu_isa());
}

static void library(char *ret, size_t size)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } sets[] = {
        // The largest that is whole: each includes those below it, but for AVX2 with VNNI.
        {dnnl_cpu_isa_avx512_core_amx, "AVX-512 with VNNI, BF16 and AMX"},
        {dnnl_cpu_isa_avx512_core_bf16, "AVX-512 with VNNI and BF16"},
        {dnnl_cpu_isa_avx512_core_vnni, "AVX-512 with VNNI"},
        {dnnl_cpu_isa_avx512_core, "AVX-512"},
        {dnnl_cpu_isa_avx2_vnni, "AVX2 with VNNI"},
        {dnnl_cpu_isa_avx2, "AVX2"},
        {dnnl_cpu_isa_avx, "AVX"},
        {dnnl_cpu_isa_sse41, "SSE4.1"},
    };
    size_t i = 0;
    while (i < ARRAY_LEN(sets) && !onednn_has_isa(sets[i].isa))
        i++;
    const dnnl_version_t *v = dnnl_version();
    snprintf(ret, size, "%d.%d.%d, %s", v->major, v->minor, v->patch,
             i < ARRAY_LEN(sets) ? sets[i].name : "no vector instructions");
}

// bf16 is emulated with AVX-512 alone; below that the library has no kernels for it.
static bool can(enum precision p)
{
    return p != PRECISION_BF16 || onednn_has_isa(dnnl_cpu_isa_avx512_core);
}

static bool is_native(enum precision p)
{
    return p == PRECISION_F32 ||
           (p == PRECISION_BF16 && onednn_has_isa(dnnl_cpu_isa_avx512_core_bf16)) ||
           (p == PRECISION_INT8 && onednn_has_vnni());
}

const struct backend backend_onednn = {
    .name = "onednn",
    .describe = describe,
    .library = library,
    .available = available,
    .can = can,
    .is_native = is_native,
    .plan_create = plan_create,
    .plan_run = plan_run,
    .plan_memory = plan_memory,
    .plan_free = plan_free,
};
