// A .safetensors file, up to a run of the network in its metadata.
#include "nn/import/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    CLEANUP(graph_free) struct graph *g = NULL;
    if (safetensors_read(&set, data, size, &err) == KB_OK &&
        graph_from_metadata(&g, set, &err) == KB_OK)
        fuzz_graph(g);
    return 0;
}
