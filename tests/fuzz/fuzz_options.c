// The options of a batch, JSON of the API.
#include "queue/options.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    struct batch_options options = {0};
    CLEANUP(kb_freep) char *json = fuzz_text(data, size);
    if (batch_options_parse(json, &options, &err) == KB_OK)
        batch_options_free(&options);
    return 0;
}
