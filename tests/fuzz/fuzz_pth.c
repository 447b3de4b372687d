// PyTorch checkpoints, both forms.
#include "nn/import/import.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    if (pth_read(&set, data, size, &err) == KB_OK && wav2lip_recognize(set)) {
        CLEANUP(graph_free) struct graph *g = NULL;
        wav2lip_graph(&g, set, &err);
    }
    return 0;
}
