// A graph made ready to run with one batch size, precision and backend: weights packed, memory
// planned. Several sessions of one graph may exist.
// Not thread-safe, but may move between threads; two sessions run side by side without trouble.
#ifndef NN_SESSION_H
#define NN_SESSION_H

#include "nn/graph.h"
#include "nn/pack.h"
#include "nn/ranges.h"

enum precision { PRECISION_AUTO, PRECISION_F32, PRECISION_BF16, PRECISION_INT8 };

const char *precision_name(enum precision p);
// "auto", "f32", "bf16", "int8". False if text is none of them.
bool precision_parse(const char *text, enum precision *ret);
// What PRECISION_AUTO means on this processor: int8 where VNNI is native and the ranges of the
// values are known, bf16 where AVX512_BF16 is native, else f32.
enum precision precision_resolve(enum precision p, bool has_ranges);
bool precision_can_run(enum precision p); // on this processor, fast or not

struct session_params {
    int batch;                   // images per run, default 1
    enum precision precision;    // default auto
    int threads;                 // default 1
    const struct ranges *ranges; // of the optimized graph; needed for int8, not kept
    struct observer *observer;   // f32 only: sees every value of every run; outlives the session
    const struct tuning *tuning; // what was measured here (tuning.h); may be NULL; not kept
    struct op_time *times;       // while that is done: an operation each; outlives the session
    struct pack *pack;           // the weights come from here; outlives the session
    struct pack_writer
        *pack_writer; // gets what a pack will need: the same parameters, the same graph
};

struct session;

// The graph must be finished; it is optimized here if it was not, and may be freed afterwards.
enum kb_code session_create(struct session **ret, struct graph *g,
                            const struct session_params *params, struct kb_error *err);
void session_free(struct session **s);

// Input and output buffers: batch * h * w * c floats in NHWC order, owned by the session, valid
// until it is freed. Fill the inputs, run, read the outputs. Index order is the graph's.
float *session_input(struct session *s, int i);
const float *session_output(const struct session *s, int i);
// Shape of one image of an input or output.
struct value session_input_shape(const struct session *s, int i); // .name stays the session's
struct value session_output_shape(const struct session *s, int i);
int session_n_inputs(const struct session *s);
int session_n_outputs(const struct session *s);
int session_batch(const struct session *s);
size_t session_memory_bytes(const struct session *s); // weights and activations

// The backend here, with all that the layout of packed weights depends on beside the graph.
#define SESSION_BACKEND_SIZE 96
void session_backend(char ret[SESSION_BACKEND_SIZE]);
// The library that computes, for people: "2.6.3, AVX-512 with VNNI and BF16".
void session_library(char *ret, size_t size);

enum kb_code session_run(struct session *s, struct kb_error *err);

#endif
