// A fuzz target: one function that reads bytes nobody has looked at. It must neither crash nor
// leak, nor take long, whatever they are.
// Threads: one; the functions below keep static buffers.
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "base/base.h"

// Called by the engine, or by main.c, once for each input. 0 always.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The name of a file with these bytes, for readers that want one: in memory, overwritten by the
// next call.
const char *fuzz_file(const void *data, size_t size);

// The input as a text that ends with its first NUL: a new string.
char *fuzz_text(const uint8_t *data, size_t size);

// XXH3-64 of the bytes into those at `at`, which count as zero: what a reader that trusts nothing
// without its checksum would otherwise refuse at once. Nothing where they lie outside.
void fuzz_seal(uint8_t *data, size_t size, size_t at);

#endif
