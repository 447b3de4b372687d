// Fuzz target: safetensors and the graph in their metadata. See main.c for how to run it.
#include "nn/import/import.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    if (safetensors_read(&set, data, size, &err) == KB_OK) {
        CLEANUP(graph_free) struct graph *g = NULL;
        graph_from_metadata(&g, set, &err);
    }
    return 0;
}
