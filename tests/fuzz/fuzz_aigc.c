// What a film says under AIGC, which anybody may have written.
#include "media/aigc.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(kb_freep) char *text = fuzz_text(data, size);
    struct aigc a;
    char *problems[AIGC_MAX_PROBLEMS];
    bool broken;
    if (!aigc_parse(text, &a))
        return 0;
    int n = aigc_check(&a, problems, &broken);
    if (n > AIGC_MAX_PROBLEMS || (broken && n == 0))
        abort();
    while (n > 0)
        free(problems[--n]);
    aigc_clear(&a);
    return 0;
}
