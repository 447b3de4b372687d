// Targets of notifications, JSON of the API: two documents apart by a line of "---", the new one
// and the one that is kept. A masked secret must not come out for another address than it went to.
#include "base/text.h"
#include "notify/notify.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *text = fuzz_text(data, size);
    char *parting = strstr(text, "\n---\n");
    const char *old = parting ? parting + 5 : "{}";
    if (parting)
        *parting = '\0';
    CLEANUP(text_free) struct text masked = {0}, whole = {0}, again = {0};
    bool is_good = notify_check(text, &err) == KB_OK;
    if (is_good != (notify_mask(text, &masked, &err) == KB_OK))
        abort();
    // What is masked is good as well, and masking hides nothing twice.
    if (is_good && (notify_mask(text_get(&masked), &again, &err) != KB_OK ||
                    strcmp(text_get(&masked), text_get(&again)) != 0))
        abort();
    if (is_good && notify_check(old, &err) == KB_OK &&
        notify_unmask(text, old, &whole, &err) == KB_OK &&
        notify_check(text_get(&whole), &err) != KB_OK)
        abort();
    return 0;
}
