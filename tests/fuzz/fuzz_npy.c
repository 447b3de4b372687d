// NumPy's .npy.
#include "nn/import/import.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    if (npy_read(&set, fuzz_file(data, size), &err) == KB_OK)
        free(tensor_to_f32(tensor_set_find(set, "array")));
    return 0;
}
