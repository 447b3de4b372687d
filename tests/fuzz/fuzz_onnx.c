// An .onnx file, up to a run of the network in it.
#include "nn/import/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(graph_free) struct graph *g = NULL;
    onnx_recognize(data, size);
    if (onnx_graph(&g, data, size, &err) == KB_OK) {
        wav2lip_arrange(g);
        fuzz_graph(g);
    }
    return 0;
}
