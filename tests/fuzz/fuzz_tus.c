// The header Upload-Metadata of tus.
#include "server/upload/tus.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(tus_metadata_free) struct tus_metadata m = {0};
    CLEANUP(kb_freep) char *header = strndup((const char *)data, size);
    tus_metadata_parse(&m, header, &err);
    return 0;
}
