// A sentence as it is kept: a worker writes it, the server says it.
#include "base/sentence.h"
#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(kb_freep) char *kept = fuzz_text(data, size);
    CLEANUP(kb_freep) char *said = sentence_say(kept);
    if (utf8_valid(kept) && !utf8_valid(said))
        abort();

    struct kb_error err = {0};
    sentence_fail(&err, KB_BAD_INPUT, kept);
    kb_wrap(&err, "job %d", 7);
    sentence_replace(&err, "a", "bb");
    CLEANUP(kb_freep) char *again = sentence_of(&err);
    CLEANUP(kb_freep) char *logged = sentence_for_log(&err);
    CLEANUP(kb_freep) char *shown = sentence_say(again);
    return 0;
}
