// Fuzz target: ONNX networks. See main.c for how to run it.
#include "nn/import/import.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    if (onnx_graph(&g, data, size, &err) == KB_OK) {
        wav2lip_arrange(g);
        graph_optimize(g, &err);
    }
    return 0;
}
