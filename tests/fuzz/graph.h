// What targets do with a network that a file has brought.
// Threads: one.
#ifndef TESTS_FUZZ_GRAPH_H
#define TESTS_FUZZ_GRAPH_H

#include "nn/graph.h"

// Optimizes it, and runs it once where that takes no more than a moment. Its failures are its own.
void fuzz_graph(struct graph *g);

#endif
