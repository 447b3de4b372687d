// Which way of computing a layer is fastest on this machine, as it was measured here: `koubo bench
// --tune` makes it, sessions obey it, and what it does not know is left to the rule
// (winograd/winograd.h). Thread-safe once made.
#ifndef NN_TUNING_H
#define NN_TUNING_H

#include "nn/session.h"

#include "base/cancel.h"

// A convolution of 3x3 and stride 1 that writes h x w, or (is_twice) a transposed one of stride 2
// whose four phases do.
struct layer {
    int in_c, out_c, h, w, batch;
    bool is_twice;
    int bits; // of the numbers that it reads: 32 f32, 16 bf16, 8 u8
};

// The ways: the library's, and Winograd's by tiles of 2, 3 and 4.
#define TUNING_WAYS 4
int tuning_tile(int way); // 0, 2, 3, 4

struct tuned {
    struct layer layer;
    int n;                  // layers of the network that are such, where it was just measured
    int tile;               // what it should be computed by; 0: the library
    double ms[TUNING_WAYS]; // of one thread's time, all such layers of the network together
};

// The whole network in a precision, as it was measured.
struct tuned_precision {
    double ms; // of one thread's time a batch; 0: not measured
    double mb; // weights and values
};

struct tuning {
    struct tuned_precision whole[PRECISION_INT8 + 1]; // of each enum precision
    char backend[SESSION_BACKEND_SIZE];               // as session_backend() says it
    int n;
    struct tuned *layers; // owned
    int forced;           // while it is measured: the tile for every layer; else -1
};

void tuning_free(struct tuning **t);

// The tile for a layer, -1 where that is not known. t may be NULL.
int tuning_find(const struct tuning *t, const struct layer *layer);
uint64_t tuning_hash(const struct tuning *t); // of what it says; 0 for NULL
void tuning_choose(struct tuned *l);          // sets its tile by its times

// What a precision means here: of auto the fastest that was measured, or one within a tenth of it
// that takes less memory; precision_resolve() where nothing was. has_ranges: int8 may be it.
enum precision tuning_precision(const struct tuning *t, enum precision p, bool has_ranges);
bool tuning_knows_precisions(const struct tuning *t); // t may be NULL

// Measure every layer in every way, in the network, so often, in f32 and, where it is native, bf16;
// then the whole in every precision that can run. *g is optimized. Takes seconds. KB_CANCELLED.
enum kb_code tuning_measure(struct tuning **ret, struct graph *g, int batch, int runs,
                            const struct cancel *cancel, struct kb_error *err);

enum kb_code tuning_save(const struct tuning *t, const char *path, struct kb_error *err);
// NULL: there is none, it is damaged, or another instruction set's or library's.
struct tuning *tuning_load(const char *path);

// What a plan tells while it is tuned, one an operation of the graph.
struct op_time {
    bool can_choose; // it has a choice, and this is
    bool is_first;   // of the operations that make up a layer
    struct layer layer;
    double us; // processor time of the thread, added up over runs
};

#endif
